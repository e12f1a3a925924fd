//! One tunnel: what it stands for, what it counts, and what is known of the way to its mount target.

use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::bind::{Binding, Partition};
use super::dial::{Connection, DialDeps, DialError, Dialer, Handshakes, Remembered};
use super::failure::{Failure, FailureKind};
use super::identity::TunnelSpec;
use super::lock;
use super::mux::Counts;
use super::pump::Traffic;
use super::warm::{WARM_FOR, Warm};

/// Connections of the kernel's to one tunnel: at most 16 (`nconnect` of nfs(5)).
const EXPECTED_MAX: usize = 16;

/// What a tunnel counts.
#[derive(Debug, Default)]
pub struct Counters {
    /// Bytes.
    pub traffic: Traffic,
    /// Connections to the mount target made for the kernel.
    pub connected: AtomicU64,
    /// How many of them took the place of one that had ended.
    pub reconnected: AtomicU64,
    /// Connections that have ended and have not been replaced yet.
    ended: AtomicU64,
    /// Failed attempts to reach the mount target.
    pub dial_failures: AtomicU64,
    /// Local connections turned away.
    pub refused: AtomicU64,
    /// What happens where a connection of the kernel's has several to the mount target.
    pub multiplexed: Counts,
}

impl Counters {
    pub(super) fn count_start(&self) {
        self.connected.fetch_add(1, Ordering::Relaxed);
        let replaced = self.ended.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |ended| ended.checked_sub(1));
        if replaced.is_ok() {
            self.reconnected.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(super) fn count_end(&self) {
        self.ended.fetch_add(1, Ordering::Relaxed);
    }
}

/// One open tunnel. It lives as long as somebody holds it; the port is closed when the last holder lets go.
pub struct Tunnel {
    spec: Arc<TunnelSpec>,
    port: u16,
    dialer: Dialer,
    counters: Counters,
    active: AtomicUsize,
    health: Mutex<Health>,
    /// A copy of the listening socket, for the keeper, while the tunnel is open.
    socket: Mutex<Option<Arc<OwnedFd>>>,
    warm: Warm,
    /// Where the last connection has led. The kernel's sessions are there.
    partition: Mutex<Option<Partition>>,
}

#[derive(Debug, Default)]
struct Health {
    last_error: Option<Failure>,
    failing_since: Option<Instant>,
    /// Why there is no new client certificate though it is time for one, and since when.
    not_renewed: Option<(String, Instant)>,
}

impl Tunnel {
    /// A tunnel behind a port that is bound: `socket` is a copy of its listener.
    pub(super) fn new(spec: Arc<TunnelSpec>, port: u16, deps: Arc<DialDeps>, socket: Arc<OwnedFd>) -> Self {
        Self {
            dialer: Dialer::new(Arc::clone(&spec), deps),
            spec,
            port,
            counters: Counters::default(),
            active: AtomicUsize::new(0),
            health: Mutex::default(),
            socket: Mutex::new(Some(socket)),
            warm: Warm::default(),
            partition: Mutex::new(None),
        }
    }

    /// What it stands for.
    pub fn spec(&self) -> &TunnelSpec {
        &self.spec
    }

    /// The local port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The listening socket, unless the tunnel has been closed.
    pub fn socket(&self) -> Option<Arc<OwnedFd>> {
        lock(&self.socket).clone()
    }

    /// Gives up the port.
    pub(super) fn close(&self) {
        *lock(&self.socket) = None;
    }

    /// What it has counted so far.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// How TLS handshakes with the mount target have ended.
    pub fn handshakes(&self) -> &Handshakes {
        self.dialer.handshakes()
    }

    /// For how long the current client certificate is still good; `None` while there is none.
    pub fn certificate_expires_in(&self) -> Option<Duration> {
        self.dialer.certificate_expires_in()
    }

    /// The mount target's address at the last connection.
    pub fn mount_target(&self) -> Option<SocketAddr> {
        self.dialer.reached()
    }

    /// Connections that are carried now.
    pub fn active(&self) -> usize {
        self.active.load(Ordering::Relaxed)
    }

    /// The last error and for how long the mount target has been out of reach, if it is.
    pub fn trouble(&self) -> Option<(Failure, Duration)> {
        let health = lock(&self.health);
        let error = || Failure::new(FailureKind::Internal, "nothing is known of the error");
        health.failing_since.map(|since| (health.last_error.clone().unwrap_or_else(error), since.elapsed()))
    }

    /// Why the client certificate that is in use can't be renewed, and for how long, if it can't.
    pub fn not_renewed(&self) -> Option<(String, Duration)> {
        lock(&self.health).not_renewed.as_ref().map(|(error, since)| (error.clone(), since.elapsed()))
    }

    /// Makes sure that the mount target can be reached and talks NFS with us, unless a connection proves it already. The
    /// connection made for it is kept for the kernel's first connection.
    pub async fn check(&self) -> Result<(), DialError> {
        if self.active() > 0 {
            return Ok(());
        }
        let connection = self.dialer.dial_checked().await?;
        self.note_reached();
        self.warm.discard();
        self.warm.put(connection);
        Ok(())
    }

    /// Makes connections ahead of the kernel's, which another process carries until they are ready. They lead to `partition`, where the
    /// kernel's sessions are, if that can be had.
    ///
    /// # Errors
    /// When the mount target can't be reached.
    pub async fn expect(self: Arc<Self>, connections: usize, partition: Option<Partition>) -> Result<(), DialError> {
        for _ in 0..connections.min(EXPECTED_MAX) {
            let connection = self.dialer.dial().await?;
            self.note_reached();
            self.warm.put(self.dialer.lead_to(partition, connection).await);
        }
        let mut known = lock(&self.partition);
        *known = known.or(partition);
        drop(known);
        tokio::spawn(async move {
            tokio::time::sleep(WARM_FOR).await;
            self.warm.drop_expired();
        });
        Ok(())
    }

    /// What it would like to know again after a restart.
    pub fn remembered(&self) -> Remembered {
        self.dialer.remembered()
    }

    /// Goes on with what a tunnel of an earlier process remembered.
    pub fn inherit(&self, remembered: Remembered) {
        self.dialer.inherit(remembered);
    }

    /// Makes a new client certificate if the one that there is will soon be too old.
    ///
    /// # Errors
    /// When there are no credentials.
    pub async fn renew_ahead(&self) -> Result<(), DialError> {
        let result = self.dialer.renew_ahead().await;
        let mut health = lock(&self.health);
        health.not_renewed = result.as_ref().err().map(|error| {
            let since = health.not_renewed.as_ref().map_or_else(Instant::now, |(_, since)| *since);
            (error.to_string(), since)
        });
        drop(health);
        result
    }

    /// Closes the connection that [`Self::check`] made, if nobody has used it.
    pub fn discard_warm(&self) {
        self.warm.discard();
    }

    pub(super) fn take_warm(&self) -> Option<Connection> {
        self.warm.take()
    }

    /// Where the kernel's sessions are, if that is known.
    pub fn partition(&self) -> Option<Partition> {
        *lock(&self.partition)
    }

    pub(super) fn set_partition(&self, partition: Option<Partition>) {
        *lock(&self.partition) = partition;
    }

    pub(super) fn binding(&self) -> &Binding {
        self.dialer.binding()
    }

    pub(super) fn dialer(&self) -> &Dialer {
        &self.dialer
    }

    pub(super) fn activate(&self) -> impl Drop + '_ {
        struct Active<'a>(&'a Tunnel);
        impl Drop for Active<'_> {
            fn drop(&mut self) {
                self.0.active.fetch_sub(1, Ordering::Relaxed);
                self.0.counters.count_end();
            }
        }
        self.counters.count_start();
        self.active.fetch_add(1, Ordering::Relaxed);
        Active(self)
    }

    pub(super) fn note_reached(&self) {
        lock(&self.health).failing_since = None;
    }

    /// Remembers an error; true when it differs from the one before, so that a log isn't flooded.
    pub(super) fn note_error(&self, error: Failure) -> bool {
        let mut health = lock(&self.health);
        health.failing_since.get_or_insert_with(Instant::now);
        let new = health.last_error.as_ref() != Some(&error);
        health.last_error = Some(error);
        new
    }
}
