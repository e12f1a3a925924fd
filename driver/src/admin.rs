//! The admin socket: tells a running driver's state to whoever may open it, for `efs-csi-driver debug`.
//!
//! The protocol is as small as can be: connect, read one JSON object ([`Report`]) to the end. The socket lies in the state
//! directory and is its owner's alone; what it tells holds no secrets all the same.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use serde::{Deserialize, Serialize};
use tokio::io::AsyncWriteExt;
use tokio::net::UnixStream;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::blocking::Blocking;
use crate::node::report::NodeReport;
use crate::recent::RecentEvent;
use crate::registration::KubeletAnswer;
use crate::socket::KeptSocket;

/// The socket's name in the state directory.
pub const SOCKET: &str = "admin.sock";
/// The owner alone.
const MODE: u32 = 0o600;
/// A client that doesn't read is cut off after this long.
const READ_WITHIN: Duration = Duration::from_secs(5);

/// The state of a running driver.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// The driver's version.
    pub version: String,
    /// Its process id.
    pub pid: u32,
    /// Seconds since it started.
    pub up_seconds: u64,
    /// What the kubelet said, if this driver registers itself.
    pub kubelet: Option<KubeletAnswer>,
    /// Tunnels, mounts, walks.
    pub node: NodeReport,
    /// The last warnings and errors, oldest first.
    pub recent: Vec<RecentEvent>,
}

/// Where a driver's admin socket is.
pub fn socket_path(state_dir: &Path) -> PathBuf {
    state_dir.join(SOCKET)
}

/// Tells the report to every client until `shutdown`. Without its socket the driver runs on: mounts don't depend on it.
pub async fn serve(
    path: PathBuf,
    report: Arc<dyn Fn() -> Report + Send + Sync>,
    blocking: Blocking,
    shutdown: CancellationToken,
) {
    let mut socket = tokio::select! {
        () = shutdown.cancelled() => return,
        socket = KeptSocket::bind_patiently(path, MODE, "admin socket", &blocking) => socket,
    };
    loop {
        let stream = tokio::select! {
            () = shutdown.cancelled() => return,
            Some(Ok(stream)) = socket.next() => stream,
        };
        // One client after the other: this is for people.
        if let Ok(Err(error)) = timeout(READ_WITHIN, tell(stream, Arc::clone(&report))).await {
            tracing::debug!(%error, "a client of the admin socket went away");
        }
    }
}

async fn tell(mut stream: UnixStream, report: Arc<dyn Fn() -> Report + Send + Sync>) -> std::io::Result<()> {
    // It reads the mount table.
    let report = tokio::task::spawn_blocking(move || report()).await?;
    let mut text = serde_json::to_vec(&report)?;
    text.push(b'\n');
    stream.write_all(&text).await?;
    stream.shutdown().await
}
