//! How many connections to the mount target one of the kernel's has: more while it is busy, where the server welcomes them.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use rand::Rng;
use tokio::io::AsyncWriteExt as _;
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout, timeout_at};

use crate::bind::{Bound, Partition, Place, ScaleUp};
use crate::dial::{Connection, Upstream};
use crate::mux::Order;
use crate::tunnel::Tunnel;

/// How often the traffic is looked at.
const SAMPLE: Duration = Duration::from_secs(1);
/// A search begins after at most this, so that the mounts of a node, and the nodes of a fleet, don't all begin at once.
const JITTER: Duration = Duration::from_millis(500);
/// A search ends after so long, or so many connections. Which partition a connection leads to is chance.
const SEARCH: (Duration, usize) = (Duration::from_secs(15), 60);
/// Pause after a search that has not found enough, or a server that wants no more.
const PAUSE: Duration = Duration::from_secs(300);
/// Pause after a connection that could not be made.
const FAILED: Duration = Duration::from_millis(200);
/// Below this part of the threshold for so long, one connection is enough again: a file system has 25,000 in all.
const QUIET: (u64, Duration) = (4, Duration::from_secs(60));
/// How long saying farewell to a connection that isn't wanted may take.
const FAREWELL: Duration = Duration::from_secs(1);

/// One of the kernel's connections, as far as its number of connections to the mount target goes.
pub(crate) struct Scaled<'a> {
    pub(crate) tunnel: &'a Tunnel,
    /// Where its first connection leads. The others must, too.
    pub(crate) partition: Partition,
    pub(crate) incarnation: i64,
    pub(crate) scale_up: ScaleUp,
    pub(crate) connections: &'a AtomicUsize,
    pub(crate) orders: mpsc::Sender<Order<Upstream>>,
}

impl Scaled<'_> {
    /// Opens and closes connections as the traffic asks for, off its way.
    pub(crate) async fn run(mut self) -> Infallible {
        let mut tick = interval(SAMPLE);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (mut bytes, mut sampled) = (self.bytes(), Instant::now());
        let (mut quiet_since, mut not_before) = (None::<Instant>, Instant::now());
        loop {
            tick.tick().await;
            let (before, since) = (bytes, sampled);
            (bytes, sampled) = (self.bytes(), Instant::now());
            let millis = u64::try_from((sampled - since).as_millis()).unwrap_or(u64::MAX).max(1);
            let rate = bytes.saturating_sub(before).saturating_mul(1000) / millis;
            let Some(threshold) = self.scale_up.threshold else { continue };
            if rate >= threshold / QUIET.0 {
                quiet_since = None;
            } else if quiet_since.get_or_insert(sampled).elapsed() >= QUIET.1 {
                self.retire().await;
            }
            if rate >= threshold && self.connections() < self.most() && sampled >= not_before {
                let has_found_all = self.search().await;
                if !has_found_all {
                    not_before = Instant::now() + PAUSE.mul_f64(rand::rng().random_range(0.8..1.2));
                }
                // What has gone over meanwhile is no sample.
                (bytes, sampled) = (self.bytes(), Instant::now());
                tick.reset();
            }
        }
    }

    /// Bytes so far. Several connections of the kernel's (`nconnect`) share a tunnel and carry about the same.
    fn bytes(&self) -> u64 {
        let traffic = &self.tunnel.counters().traffic;
        let sum = traffic.sent.load(Ordering::Relaxed) + traffic.received.load(Ordering::Relaxed);
        sum / self.tunnel.active().max(1) as u64
    }

    fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }

    fn most(&self) -> usize {
        self.scale_up.connections.min(self.tunnel.binding().most)
    }

    async fn retire(&self) {
        for _ in 1..self.connections() {
            // The other end lives as long as this one.
            let _sent = self.orders.send(Order::Retire).await;
        }
    }

    /// Makes connections until enough of them lead to the partition; whether there are enough.
    async fn search(&mut self) -> bool {
        let pause = JITTER.mul_f64(rand::rng().random());
        sleep(pause).await;
        let Ok(_permit) = Arc::clone(&self.tunnel.binding().searches).acquire_owned().await else { return false };
        let deadline = Instant::now() + SEARCH.0;
        let mut connections = self.connections();
        for _ in 0..SEARCH.1 {
            if connections >= self.most() {
                break;
            }
            let Ok(dialled) = timeout_at(deadline, self.tunnel.dialer().dial_another(self.incarnation)).await else {
                break;
            };
            let Connection { stream, bound, .. } = match dialled {
                Ok(connection) => connection,
                Err(error) => {
                    tracing::debug!(tunnel = %self.tunnel.spec(), %error, "no further connection");
                    sleep(FAILED).await;
                    continue;
                }
            };
            let Some(Bound { place, scale_up }) = bound else { break };
            self.scale_up = scale_up.unwrap_or(self.scale_up);
            match place {
                Place::Ready(partition) if partition == self.partition && connections < self.most() => {
                    let _sent = self.orders.send(Order::Add(stream)).await;
                    connections += 1;
                }
                Place::Ready(_) | Place::Elsewhere => dismiss(stream).await,
                Place::Later => {
                    dismiss(stream).await;
                    break;
                }
            }
        }
        let (port, most) = (self.tunnel.port(), self.most());
        tracing::info!(tunnel = %self.tunnel.spec(), port, connections, most, "more connections for a busy mount");
        connections >= most
    }
}

async fn dismiss(mut stream: Upstream) {
    // Whether it hears the farewell or not, it is closed.
    let _said = timeout(FAREWELL, stream.shutdown()).await;
}
