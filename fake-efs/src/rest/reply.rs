//! Answers: the errors' wire shape, and what faults do to an answer on its way out.

use std::time::Duration;

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures::StreamExt;
use http::{HeaderValue, StatusCode};
use serde_json::json;

use crate::faults::Effect;
use crate::world::errors::EfsError;

/// How long the server takes at most to send what it has.
const FLUSH: Duration = Duration::from_millis(20);

/// The connection is to be ended, because a fault says so. As an answer it is a mark for the server.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("connection ended by a fault rule")]
pub(crate) struct Abort;

impl IntoResponse for Abort {
    fn into_response(self) -> Response {
        let mut response = Response::default();
        response.extensions_mut().insert(self);
        response
    }
}

/// An answer before it is sent.
#[derive(Clone, Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) content_type: &'static str,
    /// The error's name, for the header that SDKs look at, and for the journal.
    pub(crate) error: Option<String>,
    pub(crate) headers: Vec<(&'static str, String)>,
    pub(crate) body: Vec<u8>,
}

impl Reply {
    /// JSON.
    pub(crate) fn json(status: u16, body: Vec<u8>) -> Self {
        Self { status, content_type: "application/json", error: None, headers: Vec::new(), body }
    }

    /// Text of some type.
    pub(crate) fn text(status: u16, content_type: &'static str, body: impl Into<Vec<u8>>) -> Self {
        Self { status, content_type, error: None, headers: Vec::new(), body: body.into() }
    }

    /// An error of the EFS API.
    pub(crate) fn error(status: u16, name: &str, message: &str, existing: Option<&(&'static str, String)>) -> Self {
        let mut body = json!({ "ErrorCode": name, "Message": message });
        if let Some((member, id)) = existing {
            body[*member] = json!(id);
        }
        Self { error: Some(name.to_owned()), ..Self::json(status, body.to_string().into_bytes()) }
    }

    /// Turns the reply into the response to a request.
    pub(crate) fn into_response_to(self, request_id: &str) -> Response {
        let length = self.body.len();
        let mut response = Response::new(Body::from(self.body));
        *response.status_mut() = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let headers = response.headers_mut();
        if length > 0 {
            headers.insert(http::header::CONTENT_TYPE, HeaderValue::from_static(self.content_type));
        }
        let mut set = |name: &'static str, value: &str| {
            if let Ok(value) = HeaderValue::from_str(value) {
                headers.insert(name, value);
            }
        };
        set("x-amzn-requestid", request_id);
        if let Some(error) = &self.error {
            set("x-amzn-errortype", error);
        }
        for (name, value) in &self.headers {
            set(name, value);
        }
        response
    }
}

impl IntoResponse for Reply {
    /// The response to a request that nobody else named.
    fn into_response(self) -> Response {
        self.into_response_to(&uuid::Uuid::new_v4().to_string())
    }
}

impl From<&EfsError> for Reply {
    fn from(error: &EfsError) -> Self {
        Self::error(error.name.status(), error.name.as_str(), &error.message, error.existing.as_ref())
    }
}

/// Lets a fault strike a finished answer.
pub(crate) fn disturb(reply: Reply, request_id: &str, effect: Option<&Effect>) -> Result<Response, Abort> {
    let body = disturbed(&reply.body, effect)?;
    Ok(match body {
        Some(body) => rebody(reply, request_id, body),
        None => reply.into_response_to(request_id),
    })
}

/// What a fault makes of an answer's body; none if it leaves it alone.
pub(crate) fn disturbed(body: &[u8], effect: Option<&Effect>) -> Result<Option<Body>, Abort> {
    match effect {
        Some(Effect::DropAfter) => Err(Abort),
        Some(Effect::Truncate) => {
            let half = Bytes::copy_from_slice(&body[..body.len() / 2]);
            let end = async {
                // What was written so far is sent first.
                tokio::time::sleep(FLUSH).await;
                Err(Abort)
            };
            let frames = futures::stream::once(async { Ok(half) }).chain(futures::stream::once(end));
            Ok(Some(Body::from_stream(frames)))
        }
        Some(Effect::Slow { milliseconds_per_byte }) => {
            let pause = Duration::from_millis(*milliseconds_per_byte);
            let bytes = Bytes::copy_from_slice(body);
            let frames = futures::stream::iter(0..bytes.len()).then(move |i| {
                let byte = bytes.slice(i..=i);
                async move {
                    tokio::time::sleep(pause).await;
                    Ok::<_, Abort>(byte)
                }
            });
            Ok(Some(Body::from_stream(frames)))
        }
        _ => Ok(None),
    }
}

/// A response that promises the whole length but has another body.
fn rebody(reply: Reply, request_id: &str, body: Body) -> Response {
    let length = reply.body.len();
    let mut response = reply.into_response_to(request_id);
    response.headers_mut().insert(http::header::CONTENT_LENGTH, HeaderValue::from(length));
    *response.body_mut() = body;
    response
}
