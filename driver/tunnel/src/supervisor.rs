//! All tunnels of this process: one per specification, each with its port, shared by the mounts that want the same.

use std::collections::{HashMap, HashSet};
use std::io;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpListener};
use std::ops::RangeInclusive;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::time::{Duration, Instant};

use efs_common::open_files::OutOfFiles;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use super::admission::Admission;
use super::bind::Partition;
use super::dial::{Connection, DialDeps, DialError, Dialer, Handshakes, Remembered};
use super::identity::TunnelSpec;
use super::listener::{lead_to, serve};
use super::lock;
use super::mux::Counts;
use super::plane::{Failure, FailureKind};
use super::pump::Traffic;
use super::scale::Binding;
use super::warm::{WARM_FOR, Warm};

/// Connections of the kernel's to one tunnel: at most 16 (`nconnect` of nfs(5)).
const EXPECTED_MAX: usize = 16;

/// Why a tunnel could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Every port of the range is taken.
    #[error("all ports from {first} to {last} are in use; unmount volumes or raise PORT_RANGE_UPPER_BOUND")]
    NoPort {
        /// First port of the range.
        first: u16,
        /// Last port of the range.
        last: u16,
    },
    /// A particular port, which a mount depends on, can't be had.
    #[error("cannot listen on 127.0.0.1:{port} for {spec}: {source}")]
    Port {
        /// The port.
        port: u16,
        /// The tunnel.
        spec: String,
        /// What the system said.
        source: io::Error,
    },
    /// No socket can be made.
    #[error("cannot open a tunnel for {spec}: {reason}")]
    Files {
        /// The tunnel.
        spec: String,
        /// The limit that is reached.
        reason: OutOfFiles,
    },
    /// The port belongs to a tunnel for something else.
    #[error("port {port} serves {other}, not {spec}")]
    OtherTunnel {
        /// The port.
        port: u16,
        /// The tunnel that was asked for.
        spec: String,
        /// The tunnel that is there.
        other: String,
    },
}

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

/// A holder's share of a tunnel.
#[derive(Clone)]
pub struct TunnelLease {
    tunnel: Arc<Tunnel>,
    _open: Arc<DropGuard>,
}

impl TunnelLease {
    /// The tunnel, which is open as long as somebody has a lease.
    pub fn tunnel(&self) -> Arc<Tunnel> {
        Arc::clone(&self.tunnel)
    }
}

impl std::ops::Deref for TunnelLease {
    type Target = Tunnel;

    fn deref(&self) -> &Tunnel {
        &self.tunnel
    }
}

impl Tunnel {
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
            self.warm.put(lead_to(partition, connection, &self.dialer).await);
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

/// All tunnels.
pub struct Tunnels {
    deps: Arc<DialDeps>,
    ports: RangeInclusive<u16>,
    admission: Admission,
    stop: CancellationToken,
    open: Mutex<Open>,
    serving: TaskTracker,
}

#[derive(Default)]
struct Open {
    tunnels: HashMap<u16, (Arc<Tunnel>, Weak<DropGuard>)>,
    last_port: Option<u16>,
}

impl Tunnels {
    /// No tunnel yet. New ones take ports of `ports` in turn; all end with `stop`.
    pub fn new(deps: DialDeps, ports: RangeInclusive<u16>, admission: Admission, stop: CancellationToken) -> Self {
        Self { deps: Arc::new(deps), ports, admission, stop, open: Mutex::default(), serving: TaskTracker::new() }
    }

    /// The open tunnel for `spec`, if there is one.
    pub fn find(&self, spec: &TunnelSpec) -> Option<TunnelLease> {
        lock(&self.open).find(spec)
    }

    /// The tunnel for `spec`, an open one if there is one. Ports in `avoid` are not taken: the kernel may still talk to
    /// them for another volume.
    pub fn open(&self, spec: &TunnelSpec, avoid: &HashSet<u16>) -> Result<TunnelLease, OpenError> {
        self.open_within(spec, &self.ports, avoid)
    }

    /// The same with ports of another range.
    pub fn open_within(
        &self,
        spec: &TunnelSpec,
        ports: &RangeInclusive<u16>,
        avoid: &HashSet<u16>,
    ) -> Result<TunnelLease, OpenError> {
        let mut open = lock(&self.open);
        open.forget_unheld();
        if let Some(lease) = open.find(spec) {
            return Ok(lease);
        }
        let (first, last) = (*ports.start(), *ports.end());
        let next = open.last_port.and_then(|port| port.checked_add(1));
        let start = next.filter(|port| ports.contains(port)).unwrap_or(first);
        for port in (start..=last).chain(first..start) {
            if avoid.contains(&port) || open.tunnels.contains_key(&port) {
                continue;
            }
            match bind(port) {
                Ok(listener) => {
                    open.last_port = Some(port);
                    return self.start(&mut open, spec, port, listener);
                }
                // Then no other port can be had either.
                Err(error) => {
                    if let Some(reason) = OutOfFiles::of(&error) {
                        return Err(OpenError::Files { spec: spec.to_string(), reason });
                    }
                }
            }
        }
        Err(OpenError::NoPort { first, last })
    }

    /// The tunnel for `spec` at `port`, where a mount expects it after a restart. `inherited` is the port's listening socket, if
    /// another process has left it.
    pub fn reopen(
        &self,
        spec: &TunnelSpec,
        port: u16,
        inherited: Option<TcpListener>,
    ) -> Result<TunnelLease, OpenError> {
        let mut open = lock(&self.open);
        open.forget_unheld();
        if let Some(lease) = open.at(port) {
            if lease.spec() == spec {
                return Ok(lease);
            }
            return Err(OpenError::OtherTunnel { port, spec: spec.to_string(), other: lease.spec().to_string() });
        }
        let listener = match inherited {
            Some(listener) => listener,
            None => bind(port).map_err(port_error(port, spec))?,
        };
        self.start(&mut open, spec, port, listener)
    }

    /// The open tunnels, by port.
    pub fn list(&self) -> Vec<Arc<Tunnel>> {
        let mut open = lock(&self.open);
        open.forget_unheld();
        let mut list: Vec<_> = open.tunnels.values().map(|(tunnel, _)| Arc::clone(tunnel)).collect();
        list.sort_by_key(|tunnel| tunnel.port);
        list
    }

    /// Ends all tunnels: their ports first, then their connections, as soon as what is under way has been answered.
    pub async fn end(&self) {
        self.stop.cancel();
        self.serving.close();
        self.serving.wait().await;
    }

    fn start(
        &self,
        open: &mut Open,
        spec: &TunnelSpec,
        port: u16,
        listener: TcpListener,
    ) -> Result<TunnelLease, OpenError> {
        listener.set_nonblocking(true).map_err(port_error(port, spec))?;
        // With port 0 the system has picked one.
        let port = listener.local_addr().map_err(port_error(port, spec))?.port();
        let socket = Arc::new(OwnedFd::from(listener.try_clone().map_err(port_error(port, spec))?));
        let listener = tokio::net::TcpListener::from_std(listener).map_err(port_error(port, spec))?;
        let spec = Arc::new(spec.clone());
        let tunnel = Arc::new(Tunnel {
            spec: Arc::clone(&spec),
            port,
            dialer: Dialer::new(Arc::clone(&spec), Arc::clone(&self.deps)),
            counters: Counters::default(),
            active: AtomicUsize::new(0),
            health: Mutex::default(),
            socket: Mutex::new(Some(socket)),
            warm: Warm::default(),
            partition: Mutex::new(None),
        });
        let stop = self.stop.child_token();
        self.serving.spawn(serve(Arc::clone(&tunnel), listener, self.admission, stop.clone()));
        let guard = Arc::new(stop.drop_guard());
        open.tunnels.insert(port, (Arc::clone(&tunnel), Arc::downgrade(&guard)));
        Ok(TunnelLease { tunnel, _open: guard })
    }
}

impl Open {
    fn forget_unheld(&mut self) {
        self.tunnels.retain(|_, (_, guard)| guard.strong_count() > 0);
    }

    fn find(&self, spec: &TunnelSpec) -> Option<TunnelLease> {
        let (port, _) = self.tunnels.iter().find(|(_, (tunnel, _))| tunnel.spec() == spec)?;
        self.at(*port)
    }

    fn at(&self, port: u16) -> Option<TunnelLease> {
        let (tunnel, guard) = self.tunnels.get(&port)?;
        Some(TunnelLease { tunnel: Arc::clone(tunnel), _open: guard.upgrade()? })
    }
}

/// Wraps what the system said about a port that a tunnel is to have.
fn port_error(port: u16, spec: &TunnelSpec) -> impl FnOnce(io::Error) -> OpenError {
    let spec = spec.to_string();
    move |source| match OutOfFiles::of(&source) {
        Some(reason) => OpenError::Files { spec, reason },
        None => OpenError::Port { port, spec, source },
    }
}

fn bind(port: u16) -> io::Result<TcpListener> {
    TcpListener::bind(SocketAddrV4::new(Ipv4Addr::LOCALHOST, port))
}
