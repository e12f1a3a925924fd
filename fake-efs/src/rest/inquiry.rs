//! A request, read completely.

use std::error::Error;

use axum::RequestExt;
use axum::extract::{FromRequest, Request};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::request::Parts;
use http_body_util::{BodyExt, LengthLimitError};
use tokio::time::{Instant, timeout};

use super::PATIENCE;
use super::reply::{Abort, Reply};
use super::router::LARGEST_BODY;
use super::signature::Signed;

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

    /// Reads the body, as far as the router's limit lets it and within [`PATIENCE`].
    async fn from_request(request: Request, _: &S) -> Result<Self, Response> {
        let id = uuid::Uuid::new_v4().to_string();
        let started = Instant::now();
        let (parts, body) = request.with_limited_body().into_parts();
        match timeout(PATIENCE, body.collect()).await {
            Ok(Ok(body)) => Ok(Self { parts, body: body.to_bytes(), id, started }),
            Ok(Err(error)) if error.source().is_some_and(|source| source.is::<LengthLimitError>()) => {
                let text = format!("The request body is larger than {LARGEST_BODY} bytes.");
                Err(Reply::error(413, "RequestEntityTooLargeException", &text, None).into_response_to(&id))
            }
            // The client went away, or sent what is not HTTP.
            Ok(Err(_)) => Err(Abort.into_response()),
            Err(_) => Err(Reply::error(408, "RequestTimeoutException", "Timed out.", None).into_response_to(&id)),
        }
    }
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
