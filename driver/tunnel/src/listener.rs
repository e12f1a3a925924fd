//! The local port of one tunnel: accepts the kernel's connections and gives each its own connection to the mount target.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use rand::Rng;
use tokio::io::Interest;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::admission::{Admission, Refused};
use super::bind::CONNECTIONS_MAX;
use super::dial::Connection;
use super::drain::{Hushed, drained};
use super::failure::{Failure, FailureKind};
use super::mux::multiplex;
use super::peer;
use super::pump::{PumpError, Side, pump};
use super::scale::Scaled;
use super::tunnel::Tunnel;

/// Connections that one tunnel carries at a time; the kernel opens at most 16 (`nconnect`) and replaces them one by one.
const CONNECTIONS: usize = 64;
/// First and longest pause between two attempts to reach the mount target.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(5));
/// Refused connections are told at once and then together after this long: any program of the node can make them.
const REFUSALS_TOLD_EVERY: Duration = Duration::from_secs(10);
/// Pause after the process ran out of file descriptors or memory for a new connection.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Serves `listener` until `stop`. Connections end with it, when what is under way has been answered.
pub async fn serve(tunnel: Arc<Tunnel>, listener: TcpListener, admission: Admission, stop: CancellationToken) {
    let room = Arc::new(Semaphore::new(CONNECTIONS));
    let tasks = TaskTracker::new();
    let mut refusals = Refusals::default();
    loop {
        let accepted = tokio::select! {
            biased;
            () = stop.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        let (stream, from) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(tunnel = %tunnel.spec(), port = tunnel.port(), %error, "cannot accept a connection");
                sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        if let Err(reason) = admit(&stream, from, admission) {
            tunnel.counters().refused.fetch_add(1, Ordering::Relaxed);
            if let Some(untold) = refusals.tell(Instant::now()) {
                let reason = reason.to_string();
                tracing::warn!(tunnel = %tunnel.spec(), port = tunnel.port(), %from, reason, untold, "refused a local connection");
            }
            continue;
        }
        let Ok(permit) = Arc::clone(&room).try_acquire_owned() else {
            if let Some(untold) = refusals.tell(Instant::now()) {
                tracing::warn!(tunnel = %tunnel.spec(), port = tunnel.port(), untold, "more than {CONNECTIONS} connections at once");
            }
            continue;
        };
        let (tunnel, stop) = (Arc::clone(&tunnel), stop.clone());
        tasks.spawn(async move {
            tokio::select! {
                biased;
                () = drained(&stop, &tunnel.counters().traffic) => {}
                () = carry(&tunnel, stream, &stop) => {}
            }
            drop(permit);
        });
    }
    drop(listener);
    tunnel.close();
    tasks.close();
    tasks.wait().await;
}

/// Which of many refusals get a line in the log.
#[derive(Default)]
struct Refusals {
    told: Option<Instant>,
    untold: u64,
}

impl Refusals {
    /// Whether to tell this one, and how many have not been told before it.
    fn tell(&mut self, now: Instant) -> Option<u64> {
        if self.told.is_some_and(|told| now.duration_since(told) < REFUSALS_TOLD_EVERY) {
            self.untold += 1;
            return None;
        }
        self.told = Some(now);
        Some(std::mem::take(&mut self.untold))
    }
}

fn admit(stream: &TcpStream, from: SocketAddr, admission: Admission) -> Result<(), Refused> {
    let ours = stream.local_addr().map_err(Refused::Address)?;
    match peer::owner(from, ours) {
        Ok(Some(owner)) => admission.admit(owner),
        Ok(None) => Err(Refused::Gone),
        Err(error) => Err(Refused::Owner(error)),
    }
}

/// Carries one connection from accept to end.
async fn carry(tunnel: &Tunnel, local: TcpStream, stop: &CancellationToken) {
    if let Err(error) = local.set_nodelay(true) {
        tracing::debug!(%error, "cannot switch off Nagle's algorithm");
    }
    let Some(connection) = reach(tunnel, &local).await else { return };
    let tcp = connection.stream.get_ref().0.get_ref();
    let address = tcp.peer_addr().map_or_else(|error| error.to_string(), |address| address.to_string());
    let _active = tunnel.activate();
    tracing::debug!(tunnel = %tunnel.spec(), port = tunnel.port(), %address, partition = ?connection.partition(), "connected");
    match move_bytes(tunnel, Hushed::new(local, stop.clone()), connection).await {
        Ok(side) => {
            tracing::debug!(tunnel = %tunnel.spec(), port = tunnel.port(), %address, ?side, "connection closed");
        }
        Err(error) => {
            tunnel.note_error(Failure::new(FailureKind::Unreachable, error.to_string()));
            tracing::warn!(tunnel = %tunnel.spec(), port = tunnel.port(), %address, %error, "connection lost");
        }
    }
}

/// Over one connection as it comes, or over several as calls and replies, where the server says which of them belong together.
async fn move_bytes(tunnel: &Tunnel, local: Hushed<TcpStream>, connection: Connection) -> Result<Side, PumpError> {
    let traffic = &tunnel.counters().traffic;
    let (Some(partition), Some(bound)) = (connection.partition(), connection.bound) else {
        return pump(local, connection.stream, traffic).await;
    };
    let (orders, received) = mpsc::channel(CONNECTIONS_MAX);
    let connections = AtomicUsize::new(0);
    let scaled = Scaled {
        tunnel,
        partition,
        incarnation: connection.incarnation,
        scale_up: bound.scale_up.unwrap_or_default(),
        connections: &connections,
        orders,
    };
    let counts = &tunnel.counters().multiplexed;
    tokio::select! {
        ended = multiplex(local, connection.stream, received, traffic, counts, &connections) => ended,
        never = scaled.run() => match never {},
    }
}

/// Connects to the mount target, again and again with growing pauses, as long as the kernel waits. (Closing instead would
/// make the kernel wait longer and longer before it tries again.) `None` when the kernel has given up.
async fn reach(tunnel: &Tunnel, local: &TcpStream) -> Option<Connection> {
    let connection = match tunnel.take_warm() {
        Some(warm) => warm,
        None => insist(tunnel, local).await?,
    };
    let connection = tunnel.dialer().lead_to(tunnel.partition(), connection).await;
    tunnel.set_partition(connection.partition());
    Some(connection)
}

async fn insist(tunnel: &Tunnel, local: &TcpStream) -> Option<Connection> {
    let mut pause = BACKOFF.0;
    loop {
        let error = match tunnel.dialer().dial().await {
            Ok(connection) => {
                tunnel.note_reached();
                return Some(connection);
            }
            Err(error) => error,
        };
        tunnel.counters().dial_failures.fetch_add(1, Ordering::Relaxed);
        let error = Failure::from(error);
        if tunnel.note_error(error.clone()) {
            tracing::warn!(tunnel = %tunnel.spec(), port = tunnel.port(), %error, "cannot reach the mount target");
        }
        let jitter = rand::rng().random_range(0.5..1.0);
        sleep(pause.mul_f64(jitter)).await;
        pause = (pause * 2).min(BACKOFF.1);
        if matches!(is_closed(local), Ok(true) | Err(_)) {
            return None;
        }
    }
}

/// Whether the kernel has closed its side. There may be unread calls before the end, so reading is no way to know.
fn is_closed(local: &TcpStream) -> io::Result<bool> {
    use futures::FutureExt;
    match local.ready(Interest::READABLE).now_or_never() {
        Some(ready) => Ok(ready?.is_read_closed()),
        None => Ok(false),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_are_told_at_most_every_ten_seconds_and_none_is_forgotten() {
        let (mut refusals, start) = (Refusals::default(), Instant::now());
        let told: Vec<_> = (0..25).map(|second| refusals.tell(start + Duration::from_secs(second))).collect();
        let lines: Vec<_> = told.iter().enumerate().filter_map(|(at, told)| told.map(|untold| (at, untold))).collect();
        assert_eq!(lines, [(0, 0), (10, 9), (20, 9)]);
    }
}
