//! Which request is whose. S3 is known by its signature, all others by their paths: the APIs of EFS and S3 Files, STS and the console,
//! the metadata services, and the fake's own API.

use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::any;
use http::header::{DATE, HOST, ORIGIN};
use http::{HeaderMap, HeaderValue, Method};
use tower_http::trace::TraceLayer;

use super::inquiry::{Inquiry, unknown};
use super::reply::{Abort, Reply};
use super::{Front, admin, efs, operations, s3, s3files, sts};

/// All routes. Paths are matched as they came, before anything is decoded. Requests show up in the log at level debug.
pub(super) fn new(front: Arc<Front>) -> Router {
    Router::new()
        .merge(operations::routes::<efs::Operation>())
        .merge(operations::routes::<s3files::Operation>())
        .nest("/_fake", admin::routes())
        .route("/", any(root))
        .route("/latest/", any(imds))
        .route("/latest/{*path}", any(imds))
        .route("/v1/credentials", any(pod_identity))
        .fallback(unknown)
        .method_not_allowed_fallback(unknown)
        .layer((
            TraceLayer::new_for_http(),
            from_fn_with_state(Arc::clone(&front), around),
            // S3's addresses may be anything, so its signature is looked at before any address is.
            from_fn_with_state(s3::Door::new(Arc::clone(&front)), s3::first),
        ))
        .with_state(front)
}

/// What holds for all requests: other sites' pages may not make them in the name of who looks at those pages, and answers bear the
/// time of the world, by which signatures are judged, so that an SDK finds out how far its own clock is off.
async fn around(State(front): State<Arc<Front>>, request: Request, next: Next) -> Response {
    let looks_only = matches!(*request.method(), Method::GET | Method::HEAD);
    let is_own = !request.uri().path().starts_with("/_fake/");
    let mut response = if is_foreign(request.headers()) && !(looks_only && is_own) {
        let text = "Pages of other sites may not use this API: open it directly, or send no Origin.";
        unknown_origin(text)
    } else {
        next.run(request).await
    };
    let now = front.world.now().strftime("%a, %d %b %Y %H:%M:%S GMT").to_string();
    if let Ok(now) = HeaderValue::from_str(&now) {
        response.headers_mut().insert(DATE, now);
    }
    response
}

fn unknown_origin(text: &str) -> Response {
    Reply::error(403, "ForbiddenOrigin", text, None).into_response()
}

/// Whether a browser says that a page of another site asks.
fn is_foreign(headers: &HeaderMap) -> bool {
    let text = |name| headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok());
    let other_site = headers.get("sec-fetch-site").is_some_and(|site| site == "cross-site");
    let other_origin = headers.contains_key(ORIGIN) && {
        let host = text(ORIGIN).and_then(|origin| origin.split_once("://")).map(|(_, host)| host);
        host.is_none() || host != text(HOST)
    };
    other_site || other_origin
}

/// STS and the console share a path; an `Action` tells.
async fn root(State(front): State<Arc<Front>>, inquiry: Inquiry) -> Result<Response, Abort> {
    if let Some(form) = sts::Form::read(inquiry.query(), &inquiry.body) {
        return front.sts(&inquiry, &form).await;
    }
    if inquiry.parts.method == http::Method::GET {
        let (page, id) = (Arc::clone(&front), inquiry.id.clone());
        // A directory may have many entries, and its store a disk.
        let page = tokio::task::spawn_blocking(move || page.console(inquiry.query())).await;
        return page.map(|page| page.into_response_to(&id)).map_err(|_| Abort);
    }
    Ok(unknown(inquiry).await)
}

async fn imds(State(front): State<Arc<Front>>, inquiry: Inquiry) -> Result<Response, Abort> {
    front.imds(&inquiry).await
}

async fn pod_identity(State(front): State<Arc<Front>>, inquiry: Inquiry) -> Result<Response, Abort> {
    front.pod_identity(&inquiry).await
}
