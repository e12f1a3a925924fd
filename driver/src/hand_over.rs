//! The end of a process whose mounts go on: who takes them over, and how long they are served until then.

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};

use crate::node::NodeService;
use crate::socket::Place;

/// How long a stopped driver serves its mounts for a successor that has not come yet. Kubernetes starts the next pod beside one
/// that is deleted by force, and grants that one two seconds; a pod whose successor waits for its end must not make it wait.
const LINGER: Duration = Duration::from_secs(3);
/// Pause between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// A mount whose tunnel can't be had by then is served as soon as it can, and holds up the update no longer.
const PORTS_WITHIN: Duration = Duration::from_secs(30);

/// Serves the mounts until a successor has taken `csi`, the CSI socket's path; not longer than that helps.
pub(crate) async fn linger(node: &NodeService, csi: Place) {
    let succeeded = async {
        while node.has_tunnels() {
            let looked_at = csi.clone();
            if tokio::task::spawn_blocking(move || looked_at.has_successor()).await.unwrap_or(true) {
                tracing::info!("a successor serves; going");
                return;
            }
            sleep(LOOK_EVERY).await;
        }
    };
    // The path's disk may hang, and the look at it with it.
    let _in_time = timeout(LINGER, succeeded).await;
}

/// Sets `serving` when every mount has its tunnel.
pub(crate) async fn tell_when_serving(node: NodeService, serving: watch::Sender<bool>) {
    let begin = Instant::now();
    while !node.serves_all() {
        if begin.elapsed() > PORTS_WITHIN {
            tracing::error!("some mounts still have no tunnel; the start counts as done all the same");
            break;
        }
        sleep(LOOK_EVERY).await;
    }
    serving.send_replace(true);
}
