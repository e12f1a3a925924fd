//! The hand-over to this process: when it serves what the one before served.

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep};

use crate::node::NodeService;
use crate::probe::Serving;

/// Pause between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// A mount whose tunnel can't be had by then is served as soon as it can, and holds up the update no longer.
const PORTS_WITHIN: Duration = Duration::from_secs(30);

/// Sets `serving` when every mount has its tunnel, or to why none ever will: then the process before, which may have been allowed more, stays.
pub(crate) async fn tell_when_serving(node: NodeService, serving: watch::Sender<Serving>) {
    if let Some(missing) = node.can_not_serve() {
        serving.send_replace(Serving::Never(missing.to_string()));
        return;
    }
    let begin = Instant::now();
    while !node.serves_all() {
        if begin.elapsed() > PORTS_WITHIN {
            tracing::error!("some mounts still have no tunnel; the start counts as done all the same");
            break;
        }
        sleep(LOOK_EVERY).await;
    }
    serving.send_replace(Serving::Yes);
}
