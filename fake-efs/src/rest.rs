//! The HTTP side: the APIs of EFS, of S3 Files and of S3, and beside them what its clients need to find their credentials.
//!
//! A request goes from the connection through the [`router`] into an [`inquiry`], is answered as one of the [`calls`], and
//! leaves as a [`reply`].

mod admin;
mod calls;
mod console;
mod efs;
mod forms;
pub mod imds;
mod inquiry;
mod operations;
mod reply;
mod router;
mod s3;
mod s3files;
mod schema;
mod signature;
mod sts;
mod uri;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use http::Request;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt;
use tracing::{debug, warn};

pub(crate) use self::admin::{AttachedPolicy, NewKey};
pub(crate) use self::console::Activity;
use self::reply::Abort;
use crate::faults::Faults;
use crate::identities::Identities;
use crate::journal::Journal;
use crate::nfs::Server;
use crate::world::World;

/// How long a client may take for a request's head, and again for its body.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long running requests may go on when the server stops.
const GRACE: Duration = Duration::from_secs(2);
/// Connections at a time; more wait in the kernel's queue.
const MOST_CONNECTIONS: usize = 4096;

/// All that requests need.
pub struct Front {
    /// What exists.
    pub world: Arc<World>,
    /// What was asked.
    pub journal: Arc<Journal>,
    /// What goes wrong.
    pub faults: Arc<Faults>,
    /// Who is who.
    pub identities: Arc<Identities>,
    /// The file server.
    pub files: Server,
    /// Ends streams that have no end of their own.
    pub stop: CancellationToken,
    /// How busy the file server was.
    pub(crate) activity: Activity,
    /// The machine that clients are on.
    pub(crate) metadata: imds::Metadata,
}

/// Serves HTTP until `stop` is cancelled.
pub async fn run(listener: TcpListener, front: Arc<Front>, stop: CancellationToken) {
    let connections = TaskTracker::new();
    connections.spawn(console::watch(Arc::clone(&front), stop.clone()));
    let router = router::new(front);
    let room = Arc::new(tokio::sync::Semaphore::new(MOST_CONNECTIONS));
    loop {
        let Ok(permit) = Arc::clone(&room).acquire_owned().await else { break };
        let stream = tokio::select! {
            () = stop.cancelled() => break,
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => stream,
                Err(error) => {
                    // Out of file descriptors, mostly: wait for connections to end.
                    warn!(%error, "can't accept a connection");
                    sleep(Duration::from_millis(50)).await;
                    continue;
                }
            },
        };
        let (router, stop) = (router.clone(), stop.clone());
        connections.spawn(async move {
            serve(stream, router, stop).await;
            drop(permit);
        });
    }
    connections.close();
    if timeout(GRACE, connections.wait()).await.is_err() {
        debug!("some HTTP connections did not end in time");
    }
}

/// Serves one connection.
async fn serve(stream: TcpStream, router: Router, stop: CancellationToken) {
    // Answers are small and complete; waiting for more to send only costs time.
    if let Err(error) = stream.set_nodelay(true) {
        debug!(%error, "can't set TCP_NODELAY");
    }
    // A router always answers; a fault rule that ends the connection says so in a mark on the answer.
    let service = service_fn(|request: Request<Incoming>| {
        let answer = router.clone().oneshot(request);
        async move {
            let response = answer.await.unwrap_or_else(|never| match never {});
            match response.extensions().get::<Abort>() {
                Some(abort) => Err(*abort),
                None => Ok(response),
            }
        }
    });
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(PATIENCE)
        .max_buf_size(64 << 10)
        .serve_connection(TokioIo::new(stream), service);
    tokio::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            match timeout(GRACE, connection).await {
                Ok(ended) => ended,
                Err(_) => return,
            }
        }
    };
    if let Err(error) = ended {
        debug!(%error, "an HTTP connection ended with an error");
    }
}
