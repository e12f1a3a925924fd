//! All tunnels of this process: one per specification, each with its port, shared by the mounts that want the same.

use std::collections::{HashMap, HashSet};
use std::io;
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener};
use std::ops::RangeInclusive;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, Weak};

use efs_common::open_files::OutOfFiles;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use super::admission::Admission;
use super::dial::DialDeps;
use super::failure::{Failure, FailureKind};
use super::identity::TunnelSpec;
use super::listener::serve;
use super::lock;
use super::tunnel::Tunnel;

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

impl From<OpenError> for Failure {
    fn from(error: OpenError) -> Self {
        let kind = match error {
            OpenError::NoPort { .. } => FailureKind::NoPort,
            OpenError::Files { .. } => FailureKind::Files,
            OpenError::Port { .. } | OpenError::OtherTunnel { .. } => FailureKind::Port,
        };
        Self::new(kind, error.to_string())
    }
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
        list.sort_by_key(|tunnel| tunnel.port());
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
        let tunnel = Arc::new(Tunnel::new(Arc::clone(&spec), port, Arc::clone(&self.deps), socket));
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
