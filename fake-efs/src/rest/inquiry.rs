//! A request, read completely.

use axum::body::Body;
use axum::extract::{FromRequest, Request};
use axum::response::{IntoResponse, Response};
use bytes::{Bytes, BytesMut};
use http::request::Parts;
use http_body_util::BodyExt;
use tokio::time::{Instant, timeout};

use super::PATIENCE;
use super::reply::{Abort, Reply};
use super::signature::Signed;

/// Largest request body, in bytes. The largest valid one (a policy of 20,000 characters) is well below.
const LARGEST_BODY: usize = 1 << 20;

/// A request with its body.
pub(super) struct Inquiry {
    pub(super) parts: Parts,
    pub(super) body: Bytes,
    /// Names it in answer and journal.
    pub(super) id: String,
    pub(super) started: Instant,
}

impl<S: Sync> FromRequest<S> for Inquiry {
    type Rejection = Response;

    /// Reads the body within [`PATIENCE`], and keeps it if it is not too long.
    async fn from_request(request: Request, _: &S) -> Result<Self, Response> {
        let id = uuid::Uuid::new_v4().to_string();
        let started = Instant::now();
        let (parts, mut body) = request.into_parts();
        let too_long = || {
            let text = format!("The request body is larger than {LARGEST_BODY} bytes.");
            Reply::error(413, "RequestEntityTooLargeException", &text, None).into_response_to(&id)
        };
        if parts.headers.contains_key(http::header::EXPECT) && announced(&parts) > LARGEST_BODY as u64 {
            // The client has asked whether to send it at all.
            return Err(too_long());
        }
        match timeout(PATIENCE, read(&mut body)).await {
            Ok(Ok(Some(body))) => Ok(Self { parts, body, id, started }),
            Ok(Ok(None)) => Err(too_long()),
            // The client went away, or sent what is not HTTP.
            Ok(Err(_)) => Err(Abort.into_response()),
            Err(_) => Err(Reply::error(408, "RequestTimeoutException", "Timed out.", None).into_response_to(&id)),
        }
    }
}

/// The length that the head promises.
fn announced(parts: &Parts) -> u64 {
    let length = parts.headers.get(http::header::CONTENT_LENGTH);
    length.and_then(|length| length.to_str().ok()?.parse().ok()).unwrap_or_default()
}

/// The body; `None` if it is too long. That is read to its end even so, and not kept: clients send all of it before they look at
/// the answer, and a connection that is closed on them in the middle of it is reset, which throws the answer away.
async fn read(body: &mut Body) -> Result<Option<Bytes>, axum::Error> {
    let (mut kept, mut length) = (BytesMut::new(), 0usize);
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame?.into_data() else { continue };
        length = length.saturating_add(data.len());
        if length > LARGEST_BODY {
            kept = BytesMut::new();
        } else {
            kept.extend_from_slice(&data);
        }
    }
    Ok((length <= LARGEST_BODY).then(|| kept.freeze()))
}

impl Inquiry {
    pub(super) fn path(&self) -> &str {
        self.parts.uri.path()
    }

    pub(super) fn query(&self) -> &str {
        self.parts.uri.query().unwrap_or_default()
    }

    /// A header, if it is there and text.
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.parts.headers.get(name).and_then(|value| value.to_str().ok())
    }

    pub(super) fn signed(&self) -> Signed<'_> {
        Signed {
            method: self.parts.method.as_str(),
            path: self.path(),
            query: self.query(),
            headers: &self.parts.headers,
            body: &self.body,
        }
    }
}

/// No operation has this method and path. The body is read nevertheless, so that the connection can be used again.
pub(super) async fn unknown(inquiry: Inquiry) -> Response {
    let reply = Reply::error(404, "UnknownOperationException", "No operation has this method and path.", None);
    reply.into_response_to(&inquiry.id)
}
