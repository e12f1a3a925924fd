//! What is said to a data plane by somebody who is no driver: a probe, and a data plane that ends.

use std::io;
use std::path::Path;
use std::time::Duration;

use futures::{SinkExt as _, StreamExt as _};
use tokio::time::timeout;
use tokio_util::codec::Framed;

use super::wire::{self, Expected, Order, Reply, ToDriver, ToPlane};
use super::{VERSION, door};

/// A data plane has so long to say that it is there.
const CHECKED_WITHIN: Duration = Duration::from_secs(2);
/// And so long to make connections: a hundred handshakes on a busy processor take some seconds. Kubernetes gives a pod half a minute to end.
const READY_WITHIN: Duration = Duration::from_secs(10);

/// Asks the data plane in `directory` whether it is there, for a liveness probe.
///
/// # Errors
/// When there is none, or it doesn't answer.
pub async fn check(directory: &Path) -> io::Result<()> {
    say(directory, Order::Hello { version: VERSION.to_owned() }, CHECKED_WITHIN).await.map(drop)
}

/// Has the data plane in `directory` make connections for those that this one is about to end.
///
/// # Errors
/// When it can't be told, takes too long, or is of a version that doesn't know this.
pub(super) async fn announce(directory: &Path, tunnels: Vec<Expected>) -> io::Result<()> {
    match say(directory, Order::Expect { tunnels }, READY_WITHIN).await? {
        Reply::Done => Ok(()),
        _ => Err(io::ErrorKind::Unsupported.into()),
    }
}

async fn say(directory: &Path, order: Order, within: Duration) -> io::Result<Reply> {
    let talk = async {
        let mut frames = Framed::new(door::connect(directory).await?, wire::frames(wire::TO_DRIVER_MAX));
        frames.send(wire::encode(&ToPlane::Order { id: 0, order })).await?;
        let answer = frames.next().await.ok_or(io::ErrorKind::UnexpectedEof)??;
        match wire::decode(&answer)? {
            ToDriver::Reply { reply, .. } => Ok(reply),
            ToDriver::Question { .. } => Err(io::ErrorKind::InvalidData.into()),
        }
    };
    timeout(within, talk).await.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?
}
