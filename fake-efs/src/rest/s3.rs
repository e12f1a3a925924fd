//! The door to the buckets: Amazon S3's API, at the same address as the others.
//!
//! S3's addresses are names of buckets and keys, which may be anything; so a request is S3's when its signature says so. The crate `s3s`
//! reads and writes the wire format. Signatures are checked here, by the same code as for the other services, and taken off before.

mod access;
mod attributes;
mod body;
mod buckets;
mod chunks;
mod convert;
mod digests;
mod errors;
mod host;
mod listings;
mod objects;
mod operations;
mod uploads;

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE, RANGE};
use http::request::Parts;
use http::{HeaderName, HeaderValue, StatusCode, Uri};
use http_body_util::BodyExt;
use s3s::dto::Range;
use s3s::service::{S3Service, S3ServiceBuilder};
use s3s::{HttpResponse, S3Error};
use serde_json::json;
use tokio::time::Instant;

use self::access::{Access, Call, NoKeys, Noted};
use self::operations::Operations;
pub(super) use self::operations::is_operation;
use super::Front;
use super::reply::{Abort, disturbed};
use super::signature::{Claim, Pieces, Signed};
use super::uri;
use crate::buckets::Content;
use crate::identities::Signatures;
use crate::world::scope::{Requester, Service};

/// As it stands in signatures, in the journal and in fault rules.
const SERVICE: &str = "s3";
/// Names a call in its answer.
const REQUEST_ID: HeaderName = HeaderName::from_static("x-amz-request-id");
/// What a presigned address says of its signature.
const SIGNING: [&str; 8] = [
    "X-Amz-Algorithm",
    "X-Amz-Content-Sha256",
    "X-Amz-Credential",
    "X-Amz-Date",
    "X-Amz-Expires",
    "X-Amz-Security-Token",
    "X-Amz-Signature",
    "X-Amz-SignedHeaders",
];

/// The door.
#[derive(Clone)]
pub(super) struct Door {
    front: Arc<Front>,
    service: S3Service,
}

impl Door {
    pub(super) fn new(front: Arc<Front>) -> Self {
        let mut builder = S3ServiceBuilder::new(Operations(Arc::clone(&front)));
        builder.set_auth(NoKeys);
        builder.set_access(Access(Arc::clone(&front)));
        builder.set_host(host::Hosts);
        Self { service: builder.build(), front }
    }

    /// Answers a call of S3.
    async fn answer(&self, request: Request) -> Result<Response, Abort> {
        let (id, started) = (uuid::Uuid::new_v4().simple().to_string()[..16].to_uppercase(), Instant::now());
        let (mut parts, body) = request.into_parts();
        let identified = if is_signed_as_before(&parts) {
            Err(errors::outdated_signature())
        } else {
            let identified = self.front.identify(&signed(&parts), SERVICE, Service::Efs);
            identified.map_err(|error| errors::of_signature(&error))
        };
        // Whoever calls, the body is read, so that the connection can be used again.
        let signatures = self.signatures(&parts);
        let sent = body::read(&mut parts, body, self.front.world.buckets(), signatures).await;
        let (call, response) = match identified.and_then(|requester| Ok((requester, sent?))) {
            Ok((requester, sent)) => {
                if self.front.world.has_bonds() {
                    // Files that are due are exported before anybody looks.
                    let world = Arc::clone(&self.front.world);
                    tokio::task::spawn_blocking(move || world.synchronize()).await.map_err(|_| Abort)?;
                }
                let content = sent.room.map(|room| Content::new(sent.bytes.clone(), room));
                let call = Call::new(requester, content);
                let response = self.call(&mut parts, &call, sent.bytes).await;
                (call, response)
            }
            Err(error) => {
                let requester = Requester::root(self.front.world.home().clone());
                let call = Call::new(Requester { principal: "anonymous".to_owned(), ..requester }, None);
                (call, error.to_http_response())
            }
        };
        let response = response.map_err(|_| Abort)?;
        self.finish(&call, response, &id, started.elapsed()).await
    }

    /// The signatures that the pieces of a body must have, if they are signed and that is checked.
    fn signatures(&self, parts: &Parts) -> Option<Pieces> {
        let identities = &self.front.identities;
        let hash = body::text(&parts.headers, body::CONTENT_SHA256)?;
        if identities.signatures == Signatures::Ignored || !chunks::are_signed(hash) {
            return None;
        }
        let request = signed(parts);
        let claim = Claim::read(&request)?.ok()?;
        Some(claim.pieces(&request, &identities.find(&claim.access_key_id)?))
    }

    /// Has the crate read the request and find the operation.
    async fn call(&self, parts: &mut Parts, call: &Call, bytes: Bytes) -> Result<HttpResponse, S3Error> {
        take_off_signature(parts);
        if parts.headers.get(RANGE).is_some_and(|range| range.to_str().is_ok_and(|text| Range::parse(text).is_err())) {
            // S3 gives the whole object to who asks for a range that can't be understood.
            parts.headers.remove(RANGE);
        }
        let mut request = http::Request::new(s3s::Body::from(bytes));
        *request.method_mut() = parts.method.clone();
        *request.uri_mut() = parts.uri.clone();
        *request.headers_mut() = parts.headers.clone();
        request.extensions_mut().insert(call.clone());
        self.service.call(request).await.map_err(|error| S3Error::internal_error(Opaque(error.into())))
    }

    /// Notes a call in the journal and sends its answer, as far as faults let it.
    async fn finish(&self, call: &Call, response: HttpResponse, id: &str, took: Duration) -> Result<Response, Abort> {
        let (operation, strike, aborted) =
            call.noted(|Noted { operation, strike, aborted, .. }| (operation.take(), strike.take(), *aborted));
        if aborted {
            return Err(Abort);
        }
        let (mut head, body) = response.into_parts();
        if let Ok(id) = HeaderValue::from_str(id) {
            head.headers.insert(REQUEST_ID, id);
        }
        let failed = head.status.is_client_error() || head.status.is_server_error();
        let (body, error) = if failed {
            let text = String::from_utf8_lossy(&whole(s3s_body(body)).await?).into_owned();
            head.headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/xml"));
            let code = code_in(&text);
            (Body::from(text.replacen("</Error>", &format!("<RequestId>{id}</RequestId></Error>"), 1)), code)
        } else if head.status == StatusCode::NOT_MODIFIED {
            head.headers.remove(CONTENT_TYPE);
            head.headers.remove(CONTENT_LENGTH);
            (Body::empty(), None)
        } else {
            (s3s_body(body), None)
        };
        let (operation, arguments) = operation.unwrap_or_else(|| ("Unknown".to_owned(), json!({})));
        let subject = access::subject(call.requester(), &operation, arguments);
        let rule = strike.as_ref().map(|(rule, _)| *rule);
        self.front.note(&subject, id, head.status.as_u16(), error, rule, took);
        let Some((_, effect)) = strike else { return Ok(Response::from_parts(head, body)) };
        let whole = whole(body).await?;
        let body = disturbed(&whole, Some(&effect))?.unwrap_or_else(|| Body::from(whole.clone()));
        if !whole.is_empty() {
            head.headers.insert(CONTENT_LENGTH, HeaderValue::from(whole.len()));
        }
        Ok(Response::from_parts(head, body))
    }
}

/// Sends requests that are signed for S3 to S3, and all others on.
pub(super) async fn first(State(door): State<Door>, request: Request, next: Next) -> Result<Response, Abort> {
    let (parts, body) = request.into_parts();
    let is_ours = Claim::read(&signed(&parts)).and_then(Result::ok).is_some_and(|claim| claim.service == SERVICE);
    let is_ours = is_ours || is_signed_as_before(&parts);
    let request = Request::from_parts(parts, body);
    if is_ours { door.answer(request).await } else { Ok(next.run(request).await) }
}

/// Whether a request is signed by S3's method of old, which no other service had.
fn is_signed_as_before(parts: &Parts) -> bool {
    let header = parts.headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
    let query = parts.uri.query().unwrap_or_default();
    let has = |name: &str| query.split('&').any(|pair| pair.starts_with(name));
    header.is_some_and(|header| header.starts_with("AWS ")) || has("AWSAccessKeyId=") && has("Signature=")
}

/// What a signature covers but for the body.
fn signed(parts: &Parts) -> Signed<'_> {
    Signed {
        method: parts.method.as_str(),
        path: parts.uri.path(),
        query: parts.uri.query().unwrap_or_default(),
        headers: &parts.headers,
        body: &[],
    }
}

/// Takes off what says who signed.
fn take_off_signature(parts: &mut Parts) {
    parts.headers.remove(AUTHORIZATION);
    let Some(query) = parts.uri.query() else { return };
    let name = |pair: &str| uri::decode(pair.split('=').next().unwrap_or_default()).unwrap_or_default();
    let rest: Vec<_> = query
        .split('&')
        .filter(|pair| !SIGNING.iter().any(|signing| name(pair).eq_ignore_ascii_case(signing)))
        .collect();
    let target =
        if rest.is_empty() { parts.uri.path().to_owned() } else { format!("{}?{}", parts.uri.path(), rest.join("&")) };
    if let Ok(uri) = target.parse::<Uri>() {
        parts.uri = uri;
    }
}

fn s3s_body(body: s3s::Body) -> Body {
    Body::new(body)
}

/// All of a body. One that ends early ends the connection.
async fn whole(body: Body) -> Result<Bytes, Abort> {
    body.collect().await.map(http_body_util::Collected::to_bytes).map_err(|_| Abort)
}

/// The code in an error's document.
fn code_in(text: &str) -> Option<String> {
    let (_, rest) = text.split_once("<Code>")?;
    Some(rest.split_once("</Code>")?.0.to_owned())
}

/// An error of the crate, as one that errors can have for a cause.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Opaque(Box<dyn std::error::Error + Send + Sync>);
