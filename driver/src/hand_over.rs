//! The hand-over to this process: when it serves what the one before served.

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep};

use crate::node::NodeService;

/// Pause between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// A mount whose tunnel can't be had by then is served as soon as it can, and holds up the update no longer.
const PORTS_WITHIN: Duration = Duration::from_secs(30);

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
