//! The data plane's side: tunnels, who holds them, and the orders of drivers.
//!
//! A tunnel belongs to the connections that have opened it. A driver that ends without a word, as by SIGKILL, leaves its tunnels open:
//! mounts depend on them. The next driver opens them again, which is to hold them, and then has those closed that no record knows
//! ([`Order::Settle`]).

use std::collections::{BTreeSet, HashMap, HashSet};
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::Path;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use std::future::ready;

use efs_common::open_files::{self, OutOfFiles};
use futures::{SinkExt as _, StreamExt as _, stream};
use serde::{Deserialize, Serialize};
use tokio::net::UnixStream;
use tokio::sync::{Notify, Semaphore, mpsc};
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};
use tokio_util::codec::{FramedRead, FramedWrite};

use super::remote::Remote;
use super::wire::{self, Expected, Order, Reply, TO_DRIVER_MAX, TO_PLANE_MAX, ToDriver, ToPlane};
use super::{OWN_EXECUTABLE, VERSION, executable};
use crate::dial::{Locate as _, Remembered};
use crate::failure::{Failure, FailureKind};
use crate::identity::TunnelSpec;
use crate::keeper::Keeper;
use crate::report::TunnelReport;
use crate::supervisor::{TunnelLease, Tunnels};

/// Who connects says so at once.
const HELLO_WITHIN: Duration = Duration::from_secs(5);
/// Drivers connected at a time: one, or two during an upgrade.
pub(super) const DRIVERS_MAX: usize = 16;
/// Messages on their way to a driver. One that reads nothing is not asked any more when they are so many.
const MESSAGES: usize = 256;
/// Orders of a driver that wait for their turn.
const ORDERS: usize = 2048;
/// Mount targets that are being checked at a time.
const CHECKS: usize = 512;
/// Handshakes at a time for connections that another data plane still carries: they must not take its processor away.
const AHEAD: usize = 4;
/// Names of DNS have at most 253 bytes, ids of AWS less.
const TEXT_MAX: usize = 512;
/// Notes change together when a tunnel is used for the first time: certificate, address.
const NOTED_AFTER: Duration = Duration::from_millis(50);
/// How often it is seen to certificates that will soon be too old, and to a keeper that was away.
const LOOK_EVERY: (Duration, Duration) = (Duration::from_secs(20), Duration::from_secs(1));

/// What the keeper holds beside a listening socket.
#[derive(Debug, Serialize, Deserialize)]
struct Note {
    spec: TunnelSpec,
    #[serde(flatten)]
    remembered: Remembered,
}

/// All tunnels of a node, and who holds them.
#[derive(Clone)]
pub struct Plane {
    inner: Arc<Inner>,
}

struct Inner {
    tunnels: Tunnels,
    remote: Arc<Remote>,
    keeper: Option<Keeper>,
    changed: Arc<Notify>,
    /// By port. Locked while something is opened or closed, the keeper's part included: one after the other.
    held: tokio::sync::Mutex<HashMap<u16, Holding>>,
    checks: Arc<Semaphore>,
    /// Tunnels for which there are files enough. One more would take those that the others need when they connect again.
    room: u64,
    numbers: AtomicU64,
    drivers: AtomicUsize,
    /// Since when no driver is connected.
    alone_since: Mutex<Instant>,
}

struct Holding {
    lease: TunnelLease,
    /// Drivers, and how often each of them has opened it without closing it.
    holders: HashMap<u64, usize>,
    noted: Vec<u8>,
}

impl Holding {
    /// A driver needs it once less; whether nobody needs it any more.
    fn release(&mut self, driver: u64) -> bool {
        if let Some(times) = self.holders.get_mut(&driver) {
            *times -= 1;
            if *times == 0 {
                self.holders.remove(&driver);
            }
        }
        self.holders.is_empty()
    }
}

/// Texts of a specification go to logs, certificates and the keeper's notes.
fn check(spec: &TunnelSpec) -> Result<(), Failure> {
    let route = spec.route.by_zone.keys().chain(&spec.route.zone);
    let texts = [&spec.file_system, &spec.region, &spec.server_name].into_iter().chain(&spec.access_point).chain(route);
    for text in texts {
        if text.len() > TEXT_MAX || text.chars().any(char::is_control) {
            let message = format!(
                "a text of the tunnel's specification is longer than {TEXT_MAX} bytes or holds control characters"
            );
            return Err(Failure::new(FailureKind::Internal, message));
        }
    }
    Ok(())
}

impl Plane {
    /// A data plane with `tunnels`, which ask `remote` and tell `changed`. Without a keeper the tunnels end with the process.
    pub fn new(tunnels: Tunnels, remote: Arc<Remote>, keeper: Option<Keeper>, changed: Arc<Notify>) -> Self {
        let inner = Inner {
            tunnels,
            remote,
            keeper,
            changed,
            held: tokio::sync::Mutex::default(),
            checks: Arc::new(Semaphore::new(CHECKS)),
            room: open_files::most_volumes(open_files::current()),
            numbers: AtomicU64::new(1),
            drivers: AtomicUsize::new(0),
            alone_since: Mutex::new(Instant::now()),
        };
        Self { inner: Arc::new(inner) }
    }

    /// Opens the tunnels that the keeper has a note of; how many.
    pub async fn restore(&self) -> usize {
        let Some(keeper) = self.inner.keeper.clone() else { return 0 };
        let asking = keeper.clone();
        let asked = tokio::task::spawn_blocking(move || {
            let inherited = asking.inherit(|_| true);
            // The driver's, not ours.
            drop(asking.take_registration());
            inherited
        });
        let inherited = asked.await.unwrap_or_default();
        let mut held = self.inner.held.lock().await;
        let mut restored = 0;
        for (port, (listener, bytes)) in inherited {
            let Ok(note) = serde_json::from_slice::<Note>(&bytes) else {
                // Of a keeper before there were notes. The driver knows whether it is needed, and for what.
                keeper.forget(port);
                continue;
            };
            // Known before the first connection asks for it.
            if let Some(address) = note.remembered.address {
                self.inner.remote.remember(&note.spec, address);
            }
            match self.inner.tunnels.reopen(&note.spec, port, Some(listener)) {
                Ok(lease) => {
                    lease.inherit(note.remembered);
                    held.insert(port, Holding { lease, holders: HashMap::new(), noted: bytes });
                    restored += 1;
                }
                Err(error) => tracing::error!(port, %error, "a mount has no tunnel"),
            }
        }
        restored
    }

    /// Keeps notes, certificates and the keeper up to date, for ever.
    pub async fn look_after(&self) {
        let (mut ahead, mut second) = (interval(LOOK_EVERY.0), interval(LOOK_EVERY.1));
        ahead.set_missed_tick_behavior(MissedTickBehavior::Delay);
        second.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut reviving = None::<tokio::task::JoinHandle<()>>;
        loop {
            tokio::select! {
                () = self.inner.changed.notified() => {
                    sleep(NOTED_AFTER).await;
                    self.note().await;
                }
                _ = ahead.tick() => {
                    for tunnel in self.inner.tunnels.list() {
                        tokio::spawn(async move {
                            if let Err(error) = tunnel.renew_ahead().await {
                                tracing::debug!(tunnel = %tunnel.spec(), %error, "no new certificate yet");
                            }
                        });
                    }
                }
                _ = second.tick() => {
                    // One at a time: a keeper that doesn't answer takes longer than a second to say so.
                    if let Some(keeper) = self.inner.keeper.clone()
                        && reviving.as_ref().is_none_or(tokio::task::JoinHandle::is_finished)
                    {
                        reviving = Some(tokio::task::spawn_blocking(move || keeper.revive()));
                    }
                }
            }
        }
    }

    /// For how long there has been no driver; nothing while there is one.
    pub fn alone_for(&self) -> Option<Duration> {
        let alone = self.inner.drivers.load(Ordering::SeqCst) == 0;
        alone.then(|| self.inner.alone_since.lock().unwrap_or_else(PoisonError::into_inner).elapsed())
    }

    /// Whether the keeper has gone.
    pub fn is_without_keeper(&self) -> bool {
        self.inner.keeper.as_ref().is_some_and(|keeper| !keeper.is_there())
    }

    /// Whether there are tunnels.
    pub fn is_used(&self) -> bool {
        !self.inner.tunnels.list().is_empty()
    }

    /// Serves a driver until it hangs up.
    pub async fn attend(&self, stream: UnixStream) {
        if self.inner.drivers.fetch_add(1, Ordering::SeqCst) < DRIVERS_MAX {
            self.serve(stream).await;
        } else {
            tracing::warn!("more than {DRIVERS_MAX} drivers at once");
        }
        *self.inner.alone_since.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
        self.inner.drivers.fetch_sub(1, Ordering::SeqCst);
    }

    async fn serve(&self, stream: UnixStream) {
        let pid = stream.peer_cred().ok().and_then(|peer| peer.pid());
        let (read, write) = stream.into_split();
        let mut frames = FramedRead::new(read, wire::frames(TO_PLANE_MAX));
        let mut write = FramedWrite::new(write, wire::frames(TO_DRIVER_MAX));
        // Who only looks whether somebody is there hangs up.
        let Ok(Some(first)) = timeout(HELLO_WITHIN, frames.next()).await else { return };
        let (id, version) = match first.ok().map(|it| wire::decode(&it)) {
            Some(Ok(ToPlane::Order { id, order: Order::Hello { version } })) => (id, version),
            Some(Ok(ToPlane::Order { id, order: Order::Expect { tunnels } })) => {
                self.expect(tunnels).await;
                // One that has gone needs no reply.
                let _sent = write.send(wire::encode(&ToDriver::Reply { id, reply: Reply::Done })).await;
                return;
            }
            _ => {
                tracing::warn!(pid, "something that isn't a driver has connected: its first order is no hello");
                return;
            }
        };
        tracing::debug!(version, "a driver is here");
        let (say, mut said) = mpsc::channel::<ToDriver>(MESSAGES);
        let reply = Reply::Hello { version: VERSION.to_owned(), executable: executable(Path::new(OWN_EXECUTABLE)) };
        // The queue is empty, and its other end lives.
        let _queued = say.try_send(ToDriver::Reply { id, reply });
        let driver = self.inner.numbers.fetch_add(1, Ordering::Relaxed);
        self.inner.remote.join(driver, say.clone());
        let (orders, mut waiting) = mpsc::channel::<(u64, Order)>(ORDERS);
        let reading = async {
            while let Some(Ok(frame)) = frames.next().await {
                match wire::decode::<ToPlane>(&frame) {
                    Ok(ToPlane::Order { id, order }) => {
                        if orders.try_send((id, order)).is_err() {
                            tracing::warn!("a driver that doesn't wait for replies is cut off");
                            return;
                        }
                    }
                    Ok(ToPlane::Answer { id, answer }) => self.inner.remote.answered(id, answer),
                    Err(error) => {
                        let Some(id) = wire::order_id(&frame) else {
                            tracing::warn!(%error, "a driver says what can't be understood, and is cut off");
                            return;
                        };
                        let message = format!(
                            "the data plane is of version {VERSION} and does not understand an order, driver and data plane may be of different \
                             versions: {error}"
                        );
                        let failure = Failure::new(FailureKind::Internal, message);
                        let _queued = say.try_send(ToDriver::Reply { id, reply: Reply::Failed(failure) });
                    }
                }
            }
        };
        let writing = async {
            while let Some(message) = said.recv().await {
                if write.send(wire::encode(&message)).await.is_err() {
                    return;
                }
            }
        };
        let carrying_out = async {
            while let Some((id, order)) = waiting.recv().await {
                self.carry_out(driver, id, order, &say).await;
            }
        };
        tokio::select! {
            () = reading => {}
            () = writing => {}
            () = carrying_out => {}
        }
        self.inner.remote.leave(driver);
        for holding in self.inner.held.lock().await.values_mut() {
            holding.holders.remove(&driver);
        }
    }

    async fn carry_out(&self, driver: u64, id: u64, order: Order, say: &mpsc::Sender<ToDriver>) {
        let reply = match order {
            Order::Hello { .. } | Order::Expect { .. } | Order::Unknown => Reply::Unsupported,
            Order::Open { spec, first, last, avoid } => {
                self.open(driver, &spec, &(first..=last), &avoid).await.unwrap_or_else(Reply::Failed)
            }
            Order::Reopen { spec, port, address } => {
                self.reopen(driver, &spec, port, address).await.unwrap_or_else(Reply::Failed)
            }
            Order::Check { port } => {
                // A check may wait for an answer of this very driver; what it orders next must not wait for the check.
                let (plane, say, checks) = (self.clone(), say.clone(), Arc::clone(&self.inner.checks));
                tokio::spawn(async move {
                    let reply = match checks.acquire_owned().await {
                        Ok(_permit) => plane.check(port).await.unwrap_or_else(Reply::Failed),
                        Err(closed) => Reply::Failed(Failure::new(FailureKind::Internal, closed.to_string())),
                    };
                    let _sent = say.send(ToDriver::Reply { id, reply }).await;
                });
                return;
            }
            Order::DiscardWarm { port } => {
                if let Some(holding) = self.inner.held.lock().await.get(&port) {
                    holding.lease.discard_warm();
                }
                Reply::Done
            }
            Order::Close { port } => {
                let mut held = self.inner.held.lock().await;
                if held.get_mut(&port).is_some_and(|holding| holding.release(driver)) {
                    self.close(&mut held, port).await;
                }
                Reply::Done
            }
            Order::Settle { ports } => {
                self.settle(&ports).await;
                Reply::Done
            }
            Order::Report => {
                let tunnels = self.inner.tunnels.list().iter().map(|tunnel| TunnelReport::new(tunnel)).collect();
                Reply::Report { tunnels }
            }
        };
        // A driver that has gone needs no reply.
        let _sent = say.send(ToDriver::Reply { id, reply }).await;
    }

    /// Makes connections for what another data plane still carries.
    async fn expect(&self, tunnels: Vec<Expected>) {
        let held = self.inner.held.lock().await;
        let known: Vec<_> = tunnels
            .into_iter()
            .filter_map(|expected| Some((held.get(&expected.port)?.lease.tunnel(), expected)))
            .collect();
        drop(held);
        let count = known.len();
        let made = stream::iter(known).map(|(tunnel, Expected { port, connections, partition })| async move {
            let made = tunnel.expect(connections, partition).await;
            made.inspect_err(|error| tracing::debug!(port, %error, "no connection ahead of the kernel's")).is_ok()
        });
        let made = made.buffer_unordered(AHEAD).filter(|made| ready(*made)).count().await;
        tracing::info!(tunnels = count, made, "ready for the connections of the data plane before");
    }

    /// What is carried now, for whoever is to carry it on.
    pub(super) fn carried(&self) -> Vec<Expected> {
        let tunnels = self.inner.tunnels.list().into_iter();
        let carried = tunnels.map(|tunnel| Expected {
            port: tunnel.port(),
            connections: tunnel.active(),
            partition: tunnel.partition(),
        });
        carried.filter(|expected| expected.connections > 0).collect()
    }

    /// Ends all tunnels, when what is under way has been answered.
    pub(super) async fn end(&self) {
        self.inner.tunnels.end().await;
    }

    async fn open(
        &self,
        driver: u64,
        spec: &TunnelSpec,
        ports: &RangeInclusive<u16>,
        avoid: &BTreeSet<u16>,
    ) -> Result<Reply, Failure> {
        check(spec)?;
        let mut held = self.inner.held.lock().await;
        let avoid = avoid.iter().copied().collect();
        if held.len() as u64 >= self.inner.room && self.inner.tunnels.find(spec).is_none() {
            return Err(Failure::new(FailureKind::Files, OutOfFiles::of_this_process().to_string()));
        }
        let lease = self.inner.tunnels.open_within(spec, ports, &avoid)?;
        Ok(self.hold(&mut held, driver, lease).await)
    }

    async fn reopen(
        &self,
        driver: u64,
        spec: &TunnelSpec,
        port: u16,
        address: Option<SocketAddr>,
    ) -> Result<Reply, Failure> {
        check(spec)?;
        if let Some(address) = address {
            self.inner.remote.remember(spec, address);
        }
        let mut held = self.inner.held.lock().await;
        let listener = match (&self.inner.keeper, held.contains_key(&port)) {
            (Some(keeper), false) => {
                let keeper = keeper.clone();
                let asked = tokio::task::spawn_blocking(move || keeper.inherit(|wanted| wanted == port));
                asked.await.unwrap_or_default().remove(&port).map(|(listener, _)| listener)
            }
            _ => None,
        };
        let lease = self.inner.tunnels.reopen(spec, port, listener)?;
        Ok(self.hold(&mut held, driver, lease).await)
    }

    /// Holds a tunnel for a driver. Its socket is the keeper's before the driver hears of it.
    async fn hold(&self, held: &mut HashMap<u16, Holding>, driver: u64, lease: TunnelLease) -> Reply {
        let port = lease.port();
        let holding = held.entry(port).or_insert_with(|| Holding { lease, holders: HashMap::new(), noted: Vec::new() });
        *holding.holders.entry(driver).or_default() += 1;
        tracing::debug!(tunnel = %holding.lease.spec(), port, driver, "opened");
        self.keep(holding).await;
        Reply::Open { port }
    }

    async fn check(&self, port: u16) -> Result<Reply, Failure> {
        let lease = self.inner.held.lock().await.get(&port).map(|holding| holding.lease.clone());
        let lease =
            lease.ok_or_else(|| Failure::new(FailureKind::Internal, format!("no tunnel is open at port {port}")))?;
        lease.check().await?;
        // Known to the next data plane before anybody mounts: there may be no driver to ask.
        if let Some(holding) = self.inner.held.lock().await.get_mut(&port) {
            self.keep(holding).await;
        }
        Ok(Reply::Reached { address: lease.mount_target() })
    }

    /// Closes what no driver holds and no record knows.
    async fn settle(&self, ports: &BTreeSet<u16>) {
        let mut held = self.inner.held.lock().await;
        let unwanted: Vec<u16> = held
            .iter()
            .filter(|(port, holding)| holding.holders.is_empty() && !ports.contains(port))
            .map(|(port, _)| *port)
            .collect();
        for port in unwanted {
            tracing::info!(port, "closing a tunnel that nobody needs");
            self.close(&mut held, port).await;
        }
        let Some(keeper) = self.inner.keeper.clone() else { return };
        let wanted: HashSet<u16> = held.keys().chain(ports).copied().collect();
        if let Err(error) = tokio::task::spawn_blocking(move || keeper.keep_only(&wanted)).await {
            tracing::warn!(%error, "cannot release ports");
        }
    }

    async fn close(&self, held: &mut HashMap<u16, Holding>, port: u16) {
        let Some(holding) = held.remove(&port) else { return };
        tracing::debug!(tunnel = %holding.lease.spec(), port, "closed");
        self.inner.remote.forget_tunnel(holding.lease.spec());
        drop(holding);
        if let Some(keeper) = self.inner.keeper.clone()
            && let Err(error) = tokio::task::spawn_blocking(move || keeper.release(port)).await
        {
            tracing::warn!(port, %error, "cannot release a port");
        }
    }

    /// Has the keeper hold what has changed.
    async fn note(&self) {
        for holding in self.inner.held.lock().await.values_mut() {
            self.keep(holding).await;
        }
    }

    async fn keep(&self, holding: &mut Holding) {
        let Some(keeper) = self.inner.keeper.clone() else { return };
        let Some(socket) = holding.lease.socket() else { return };
        let note = Note { spec: holding.lease.spec().clone(), remembered: holding.lease.remembered() };
        let bytes = wire::encode(&note).to_vec();
        if bytes == holding.noted {
            return;
        }
        holding.noted.clone_from(&bytes);
        let port = holding.lease.port();
        // With a keeper that hangs the first one waits, for two seconds, and the others don't.
        if let Err(error) = tokio::task::spawn_blocking(move || keeper.keep(port, socket, bytes)).await {
            tracing::warn!(port, %error, "cannot have the port kept");
        }
    }
}
