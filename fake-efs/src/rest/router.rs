//! Which path is whose: the EFS API, STS and the console, the metadata services, and the fake's own API.

use std::sync::Arc;

use axum::Router;
use axum::extract::{DefaultBodyLimit, State};
use axum::response::Response;
use axum::routing::any;
use tower_http::trace::TraceLayer;

use super::inquiry::Inquiry;
use super::reply::{Abort, Reply};
use super::{Front, admin, efs, sts};

/// Largest request body, in bytes. The largest valid one (a policy of 20,000 characters) is well below.
pub(super) const LARGEST_BODY: usize = 1 << 20;

/// All routes. Paths are matched as they came, before anything is decoded. Requests show up in the log at level debug.
pub(super) fn new(front: Arc<Front>) -> Router {
    Router::new()
        .merge(efs::routes())
        .nest("/_fake", admin::routes())
        .route("/", any(root))
        .route("/latest/", any(imds))
        .route("/latest/{*path}", any(imds))
        .route("/v1/credentials", any(pod_identity))
        .fallback(unknown)
        .method_not_allowed_fallback(unknown)
        .layer((TraceLayer::new_for_http(), DefaultBodyLimit::max(LARGEST_BODY)))
        .with_state(front)
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

/// No operation has this method and path. The body is read nevertheless, so that the connection can be used again.
pub(super) async fn unknown(inquiry: Inquiry) -> Response {
    let reply = Reply::error(404, "UnknownOperationException", "No operation has this method and path.", None);
    reply.into_response_to(&inquiry.id)
}
