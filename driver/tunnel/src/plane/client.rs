//! The driver's side: orders to the data plane, answers to its questions, and the leases of tunnels.
//!
//! A data plane that dies is there again within milliseconds, with all tunnels. Calls wait for that long, and leases go on.

use std::collections::{BTreeSet, HashMap};
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use efs_common::disk;
use futures::{SinkExt as _, StreamExt as _};
use tokio::net::UnixStream;
use tokio::sync::{Notify, Semaphore, mpsc, oneshot, watch};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout, timeout_at};
use tokio_util::codec::{FramedRead, FramedWrite};
use tokio_util::sync::CancellationToken;

use super::host::Host;
use super::wire::{self, Answer, Order, Question, Reply, TO_DRIVER_MAX, TO_PLANE_MAX, ToDriver, ToPlane};
use super::{VERSION, executable};
use crate::dial::{Locate, ProvideCredentials};
use crate::failure::{Failure, FailureKind};
use crate::identity::TunnelSpec;
use crate::keeper::{Condition, Keeper};
use crate::lock;
use crate::report::TunnelReport;

/// A data plane that is away is waited for so long; one that dies is back sooner by far.
const THERE_WITHIN: Duration = Duration::from_secs(10);
/// The checks have deadlines of their own, step by step; together they are not longer.
const CHECKED_WITHIN: Duration = Duration::from_secs(60);
/// Whether files can be made is seen at once.
const LOOKED_WITHIN: Duration = Duration::from_secs(1);
/// A report is for people and for metrics. What is known is told when it takes longer.
const REPORT_WITHIN: Duration = Duration::from_secs(1);
/// Who connects is greeted at once.
const HELLO_WITHIN: Duration = Duration::from_secs(5);
/// First and longest pause before the next attempt to connect.
const PAUSES: (Duration, Duration) = (Duration::from_millis(2), Duration::from_millis(500));
/// How often it is seen whether the keeper answers.
const KEEPER_LOOK_EVERY: Duration = Duration::from_secs(1);
/// How often it is seen whether the data plane answers: one that hangs keeps its connection, and every volume stands still.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// How often a tunnel whose port can't be had is tried again.
const RETRY: Duration = Duration::from_secs(1);
/// Orders on their way.
const ORDERS: usize = 4096;
/// Questions that are looked into at a time.
const QUESTIONS: usize = 512;
/// Copies of sockets are fetched together when several tunnels are opened one after the other.
const COPIED_AFTER: Duration = Duration::from_millis(20);

/// What the driver knows and the data plane doesn't.
#[derive(Clone)]
pub struct Answers {
    /// Finds mount targets.
    pub locate: Arc<dyn Locate>,
    /// Gives IAM credentials.
    pub credentials: Arc<dyn ProvideCredentials>,
}

/// The driver's way to the data plane.
#[derive(Clone)]
pub struct DataPlane {
    inner: Arc<Inner>,
}

struct Inner {
    host: Host,
    directory: PathBuf,
    /// Holds copies of the listening sockets for a keeper whose container ends.
    keeper: Keeper,
    answers: Answers,
    leases: Mutex<HashMap<u16, Weak<Held>>>,
    link: watch::Sender<Option<Link>>,
    wanted: Notify,
    opened: Notify,
    /// From then on nothing is closed: leases end with the process, and the mounts don't.
    stop: CancellationToken,
    /// Since when the data plane is needed and does not answer.
    away: Mutex<Option<Instant>>,
    numbers: AtomicU64,
    questions: Arc<Semaphore>,
    last_report: Mutex<Vec<TunnelReport>>,
}

/// A connection that orders go over.
#[derive(Clone)]
struct Link {
    say: mpsc::Sender<ToPlane>,
    waiting: Arc<Mutex<HashMap<u64, oneshot::Sender<Reply>>>>,
}

/// A share of a tunnel. The tunnel is closed when the last one is dropped.
#[derive(Clone, Debug)]
pub struct Lease {
    held: Arc<Held>,
}

struct Held {
    spec: TunnelSpec,
    port: u16,
    address: Mutex<Option<SocketAddr>>,
    served: AtomicBool,
    plane: Weak<Inner>,
}

impl std::fmt::Debug for Held {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Held").field("spec", &self.spec).field("port", &self.port).finish_non_exhaustive()
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if let Some(plane) = self.plane.upgrade() {
            plane.close(self.port);
        }
    }
}

impl Lease {
    /// What the tunnel stands for.
    pub fn spec(&self) -> &TunnelSpec {
        &self.held.spec
    }

    /// Its local port.
    pub fn port(&self) -> u16 {
        self.held.port
    }

    /// Whether the data plane has the port. It may not after it was away, while something else has it.
    pub fn is_served(&self) -> bool {
        self.held.served.load(Ordering::Relaxed)
    }

    /// Makes sure that the mount target can be reached and talks NFS with us; where that was, if it is known. The connection made for it
    /// is kept for the kernel's first connection.
    ///
    /// # Errors
    /// Why not.
    pub async fn check(&self) -> Result<Option<SocketAddr>, Failure> {
        let Some(plane) = self.held.plane.upgrade() else { return Err(gone()) };
        match plane.call(Order::Check { port: self.port() }, CHECKED_WITHIN).await? {
            Reply::Reached { address } => {
                *lock(&self.held.address) = address;
                Ok(address)
            }
            other => Err(unexpected(&other)),
        }
    }

    /// Closes the connection that [`Self::check`] made, if the kernel has not used it.
    pub fn discard_warm(&self) {
        if let Some(plane) = self.held.plane.upgrade() {
            plane.say(Order::DiscardWarm { port: self.port() });
        }
    }
}

impl DataPlane {
    /// The way to the data plane in `directory`, until `stop`. Leases that are dropped after that leave their tunnels open, for the next
    /// driver.
    pub fn new(host: Host, directory: PathBuf, answers: Answers, stop: CancellationToken) -> Self {
        let inner = Arc::new(Inner {
            host,
            keeper: Keeper::new(directory.clone()),
            directory,
            answers,
            leases: Mutex::default(),
            link: watch::Sender::new(None),
            wanted: Notify::new(),
            opened: Notify::new(),
            stop: stop.clone(),
            away: Mutex::default(),
            numbers: AtomicU64::new(1),
            questions: Arc::new(Semaphore::new(QUESTIONS)),
            last_report: Mutex::default(),
        });
        let plane = Arc::clone(&inner);
        tokio::spawn(async move {
            tokio::select! {
                () = stop.cancelled() => {}
                () = plane.stay_connected() => {}
                () = plane.hold_copies() => {}
                () = plane.look_after_keeper() => {}
            }
        });
        Self { inner }
    }

    /// The keeper beside the data plane.
    pub fn keeper(&self) -> &Keeper {
        &self.inner.keeper
    }

    /// Whether the data plane is needed and does not answer. Doesn't wait.
    pub fn is_away(&self) -> bool {
        lock(&self.inner.away).is_some()
    }

    /// The tunnel for `spec`, if this process has it open.
    pub fn find(&self, spec: &TunnelSpec) -> Option<Lease> {
        let leases = lock(&self.inner.leases);
        leases.values().filter_map(Weak::upgrade).find(|held| held.spec == *spec).map(|held| Lease { held })
    }

    /// The tunnel for `spec`, at an open port or a new one of `ports` that isn't in `avoid`.
    ///
    /// # Errors
    /// When there is no port, or no data plane.
    pub async fn open(
        &self,
        spec: &TunnelSpec,
        ports: &RangeInclusive<u16>,
        avoid: BTreeSet<u16>,
    ) -> Result<Lease, Failure> {
        let order = Order::Open { spec: spec.clone(), first: *ports.start(), last: *ports.end(), avoid };
        match self.inner.call(order, THERE_WITHIN).await? {
            Reply::Open { port } => Ok(self.inner.lease(spec, port, None)),
            other => Err(unexpected(&other)),
        }
    }

    /// The tunnel for `spec` at `port`, where a mount expects it. The mount target was reached at `address` the last time.
    ///
    /// # Errors
    /// When the port can't be had, or there is no data plane.
    pub async fn reopen(&self, spec: &TunnelSpec, port: u16, address: Option<SocketAddr>) -> Result<Lease, Failure> {
        match self.inner.call(Order::Reopen { spec: spec.clone(), port, address }, THERE_WITHIN).await? {
            Reply::Open { port } => Ok(self.inner.lease(spec, port, address)),
            other => Err(unexpected(&other)),
        }
    }

    /// Has all tunnels closed that no driver holds but those at `ports`. A data plane that isn't there has none.
    pub async fn settle(&self, ports: BTreeSet<u16>) {
        let link = self.inner.link.borrow().clone();
        if link.is_some()
            && let Err(error) = self.inner.call(Order::Settle { ports }, THERE_WITHIN).await
        {
            tracing::warn!(%error, "tunnels that nobody needs may be open");
        }
    }

    /// All tunnels, by port. The last known ones while the data plane is away.
    pub async fn report(&self) -> Vec<TunnelReport> {
        let is_there = self.inner.link.borrow().is_some();
        if is_there && let Ok(Reply::Report { tunnels }) = self.inner.call(Order::Report, REPORT_WITHIN).await {
            lock(&self.inner.last_report).clone_from(&tunnels);
        }
        self.last_report()
    }

    /// What [`Self::report`] has told the last time. While the data plane is away each tunnel is in trouble: what it told is not so any
    /// more.
    pub fn last_report(&self) -> Vec<TunnelReport> {
        let mut tunnels = lock(&self.inner.last_report).clone();
        if let Some(since) = *lock(&self.inner.away) {
            let trouble = (away().to_string(), since.elapsed().as_secs());
            for tunnel in &mut tunnels {
                tunnel.trouble = Some(trouble.clone());
                tunnel.trouble_kind = Some(FailureKind::Away);
            }
        }
        tunnels
    }
}

impl Inner {
    fn lease(self: &Arc<Self>, spec: &TunnelSpec, port: u16, address: Option<SocketAddr>) -> Lease {
        let mut leases = lock(&self.leases);
        if let Some(held) = leases.get(&port).and_then(Weak::upgrade) {
            drop(leases);
            // It counts once for this process.
            self.say(Order::Close { port });
            return Lease { held };
        }
        let held = Arc::new(Held {
            spec: spec.clone(),
            port,
            address: Mutex::new(address),
            served: AtomicBool::new(true),
            plane: Arc::downgrade(self),
        });
        leases.insert(port, Arc::downgrade(&held));
        self.opened.notify_one();
        Lease { held }
    }

    fn close(&self, port: u16) {
        if self.stop.is_cancelled() {
            return;
        }
        let mut leases = lock(&self.leases);
        // Another one may have been made since.
        if leases.get(&port).is_some_and(|held| held.strong_count() == 0) {
            leases.remove(&port);
            self.keeper.forget(port);
        }
        drop(leases);
        self.say(Order::Close { port });
    }

    /// Says something whose reply nobody needs. While the data plane is away there is nobody to tell: a tunnel that isn't held again is
    /// closed when things are settled.
    fn say(&self, order: Order) {
        let id = self.numbers.fetch_add(1, Ordering::Relaxed);
        if let Some(link) = &*self.link.borrow()
            && link.say.try_send(ToPlane::Order { id, order }).is_err()
        {
            tracing::debug!("the data plane takes no orders");
        }
    }

    /// Has an order carried out, again if the data plane dies meanwhile.
    async fn call(&self, order: Order, within: Duration) -> Result<Reply, Failure> {
        let deadline = Instant::now() + within;
        let mut links = self.link.subscribe();
        loop {
            self.wanted.notify_one();
            let link = match timeout_at(deadline, links.wait_for(Option::is_some)).await {
                Ok(Ok(link)) => link.clone(),
                _ => None,
            };
            let Some(link) = link else { return Err(self.away().await) };
            match timeout_at(deadline, self.call_over(&link, order.clone())).await {
                Ok(Some(Reply::Failed(failure))) => return Err(failure),
                Ok(Some(reply)) => return Ok(reply),
                // The connection has ended; the next one may be there already.
                Ok(None) => links.mark_unchanged(),
                Err(_) => return Err(self.away().await),
            }
            // Whoever has ended the connection takes it out at once.
            let ended = |now: &Option<Link>| !now.as_ref().is_some_and(|now| now.say.same_channel(&link.say));
            if timeout_at(deadline, links.wait_for(ended)).await.is_err() {
                return Err(self.away().await);
            }
        }
    }

    /// Why the data plane does not answer, as far as that can be seen from here.
    async fn away(&self) -> Failure {
        let directory = self.directory.clone();
        // It has its socket and its key there. A disk that hangs is not waited for.
        let looking = tokio::task::spawn_blocking(move || {
            disk::look(&directory).or_else(|| directory.parent().and_then(disk::look).filter(|_| !directory.is_dir()))
        });
        match timeout(LOOKED_WITHIN, looking).await {
            Ok(Ok(Some(unwritable))) => Failure::new(
                Failure::by_disk(Some(unwritable), FailureKind::Away),
                format!(
                    "the data plane, which holds the tunnels, can't begin: it can write nothing in {}: {unwritable}",
                    self.directory.display()
                ),
            ),
            _ => away(),
        }
    }

    async fn call_over(&self, link: &Link, order: Order) -> Option<Reply> {
        let id = self.numbers.fetch_add(1, Ordering::Relaxed);
        let (tell, reply) = oneshot::channel();
        lock(&link.waiting).insert(id, tell);
        let _forget = Forget { link, id };
        link.say.send(ToPlane::Order { id, order }).await.ok()?;
        reply.await.ok()
    }

    async fn stay_connected(self: &Arc<Self>) {
        let (mut pause, mut told, mut may_replace) = (PAUSES.0, false, true);
        loop {
            let error = match self.connect().await {
                Ok(stream) => {
                    let begin = Instant::now();
                    if self.converse(stream, may_replace).await {
                        may_replace = false;
                        if let Err(error) = self.host.start(&self.directory).await {
                            tracing::error!(%error, "the tunnels stay with the data plane of an earlier version");
                        }
                    }
                    if begin.elapsed() > PAUSES.1 {
                        pause = PAUSES.0;
                    }
                    told = false;
                    "the connection has ended".to_owned()
                }
                Err(error) => error.to_string(),
            };
            let needed = self.is_needed();
            self.note_away(needed);
            if needed && !told && pause == PAUSES.1 {
                tracing::error!(error, "no data plane: volumes can't be mounted; trying again and again");
                told = true;
            }
            sleep(pause).await;
            pause = (pause * 2).min(PAUSES.1);
        }
    }

    /// Notes whether the data plane is needed and does not answer. Whether it was so before.
    fn note_away(&self, now: bool) -> bool {
        let mut since = lock(&self.away);
        let before = since.is_some();
        *since = now.then(|| since.unwrap_or_else(Instant::now));
        before
    }

    fn is_needed(&self) -> bool {
        lock(&self.leases).values().any(|held| held.strong_count() > 0)
    }

    async fn connect(&self) -> std::io::Result<UnixStream> {
        let error = match self.host.connect(&self.directory).await {
            Ok(stream) => return Ok(stream),
            Err(error) => error,
        };
        // Its keeper starts it again, with what it had.
        if !matches!(self.host, Host::Child(_)) || self.keeper.is_there() {
            return Err(error);
        }
        if !self.is_needed() {
            self.wanted.notified().await;
        }
        self.host.start(&self.directory).await?;
        self.host.connect(&self.directory).await
    }

    /// Looks whether the keeper answers, for whoever asks about it. Outside a pod nobody else starts one again that has ended alone, or ends
    /// one that hangs: without one, a data plane that dies stays dead, or the kernel finds its ports shut. The data plane and what it carries
    /// are left alone.
    async fn look_after_keeper(&self) {
        let is_ours = matches!(self.host, Host::Child(_));
        // The process that did not answer the last time. When its queue is full it can't be seen any more.
        let mut hung = None;
        loop {
            sleep(KEEPER_LOOK_EVERY).await;
            if is_ours && !self.is_needed() {
                continue;
            }
            let keeper = self.keeper.clone();
            let looked = tokio::task::spawn_blocking(move || keeper.look()).await.unwrap_or(Condition::Unknown);
            // That of a sidecar is the kubelet's.
            if !is_ours {
                continue;
            }
            let hangs = match looked {
                Condition::Hangs(pid) => match hung.take() {
                    Some(before) => pid.or(before),
                    // One that is only slow gets a second chance.
                    None => {
                        hung = Some(pid);
                        continue;
                    }
                },
                // When both are gone, the next connection starts both.
                Condition::Gone if self.link.borrow().is_some() => None,
                Condition::Well | Condition::Gone | Condition::Unknown => {
                    hung = None;
                    continue;
                }
            };
            tracing::error!(
                hangs = matches!(looked, Condition::Hangs(_)),
                "no port keeper answers; starting another, while the connections go on"
            );
            let (host, directory) = (self.host.clone(), self.directory.clone());
            let plane_runs = self.link.borrow().is_some();
            let replaced =
                tokio::task::spawn_blocking(move || host.replace_keeper(&directory, hangs, plane_runs)).await;
            if let Ok(Err(error)) = replaced {
                tracing::error!(%error, "cannot put another port keeper in the place of the one before");
            }
        }
    }

    /// Talks with the data plane until the connection ends. True when it is of another version, which this driver replaces.
    async fn converse(self: &Arc<Self>, stream: UnixStream, may_replace: bool) -> bool {
        let (read, write) = stream.into_split();
        let mut frames = FramedRead::new(read, wire::frames(TO_DRIVER_MAX));
        let mut write = FramedWrite::new(write, wire::frames(TO_PLANE_MAX));
        let (say, mut said) = mpsc::channel(ORDERS);
        let link = Link { say, waiting: Arc::default() };
        let reading = async {
            while let Some(Ok(frame)) = frames.next().await {
                match wire::decode(&frame) {
                    Ok(ToDriver::Reply { id, reply }) => self.replied(&link, id, reply),
                    Ok(ToDriver::Question { id, question }) => self.look_into(&link, id, question),
                    Err(error) => return tracing::error!(%error, "the data plane says what can't be understood"),
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
        let working = async {
            let hello = self.call_over(&link, Order::Hello { version: VERSION.to_owned() });
            let Ok(Some(Reply::Hello { version, executable: other })) = timeout(HELLO_WITHIN, hello).await else {
                tracing::error!("what listens in the data plane's place is none");
                return false;
            };
            if let Host::Child(start) = &self.host
                && may_replace
                && other != executable(&start.program)
            {
                tracing::info!(version, "the data plane is another program's; starting one in its place");
                return true;
            }
            self.hold_again(&link, |_| true).await;
            self.link.send_replace(Some(link.clone()));
            self.note_away(false);
            let mut retry = interval(RETRY);
            retry.set_missed_tick_behavior(MissedTickBehavior::Delay);
            loop {
                retry.tick().await;
                self.hold_again(&link, |held| !held.served.load(Ordering::Relaxed)).await;
            }
        };
        let replace = tokio::select! {
            () = reading => false,
            () = writing => false,
            () = self.watch(&link) => false,
            replace = working => replace,
        };
        self.link.send_replace(None);
        // Those who wait learn that it has ended.
        lock(&link.waiting).clear();
        replace
    }

    /// Sees whether the data plane still answers, for as long as there is the connection.
    async fn watch(&self, link: &Link) {
        loop {
            sleep(LOOK_EVERY).await;
            // A second greeting is nothing that it does, so any reply will do.
            let asked = self.call_over(link, Order::Hello { version: VERSION.to_owned() });
            let hangs = timeout(HELLO_WITHIN, asked).await.is_err() && self.is_needed();
            let hung = self.note_away(hangs);
            if hangs && !hung {
                tracing::error!(
                    "the data plane does not answer: volumes with a tunnel stand still until it goes on or is ended"
                );
            } else if hung && !hangs {
                tracing::info!("the data plane answers again");
            }
        }
    }

    /// Opens the tunnels of all leases again, or of some.
    async fn hold_again(&self, link: &Link, wanted: impl Fn(&Held) -> bool) {
        let leases: Vec<Arc<Held>> = lock(&self.leases).values().filter_map(Weak::upgrade).collect();
        let leases: Vec<Arc<Held>> = leases.into_iter().filter(|held| wanted(held)).collect();
        if leases.is_empty() {
            return;
        }
        // A keeper that has begun anew gets the sockets before the data plane asks it for them.
        let keeper = self.keeper.clone();
        if let Err(error) = tokio::task::spawn_blocking(move || keeper.revive()).await {
            tracing::warn!(%error, "cannot hand the ports' sockets over");
        }
        let again = leases.into_iter().map(async |held| {
            let order = Order::Reopen { spec: held.spec.clone(), port: held.port, address: *lock(&held.address) };
            let reply = self.call_over(link, order).await;
            let was = held.served.swap(matches!(reply, Some(Reply::Open { .. })), Ordering::Relaxed);
            if let Some(Reply::Failed(failure)) = reply
                && was
            {
                tracing::error!(tunnel = %held.spec, port = held.port, error = %failure, "a mount has no tunnel");
            }
        });
        futures::future::join_all(again).await;
    }

    fn replied(&self, link: &Link, id: u64, reply: Reply) {
        let waiting = lock(&link.waiting).remove(&id);
        match (waiting, reply) {
            (Some(waiting), reply) => {
                if let Err(Reply::Open { port }) = waiting.send(reply) {
                    self.say(Order::Close { port });
                }
            }
            // Whoever has ordered it has given up.
            (None, Reply::Open { port }) => self.say(Order::Close { port }),
            (None, _) => {}
        }
    }

    fn look_into(&self, link: &Link, id: u64, question: Question) {
        let (answers, say) = (self.answers.clone(), link.say.clone());
        if let Question::Forget { spec } = &question {
            return answers.locate.forget(spec);
        }
        // Without an answer the data plane goes on with what it knows.
        let Ok(permit) = Arc::clone(&self.questions).try_acquire_owned() else { return };
        tokio::spawn(async move {
            let answer = answer(&answers, question).await;
            let _sent = say.send(ToPlane::Answer { id, answer }).await;
            drop(permit);
        });
    }

    /// Holds copies of the sockets of all tunnels that this process holds, for ever.
    async fn hold_copies(&self) {
        loop {
            self.opened.notified().await;
            sleep(COPIED_AFTER).await;
            let ports: BTreeSet<u16> = lock(&self.leases).keys().copied().collect();
            let keeper = self.keeper.clone();
            let copied = tokio::task::spawn_blocking(move || drop(keeper.inherit(|port| ports.contains(&port)))).await;
            if let Err(error) = copied {
                tracing::warn!(%error, "no copies of the ports' sockets");
            }
            let leases = lock(&self.leases);
            for port in self.keeper.ports() {
                // Closed meanwhile.
                if !leases.contains_key(&port) {
                    self.keeper.forget(port);
                }
            }
        }
    }
}

/// Takes an order off the list when nobody waits for its reply any more.
struct Forget<'a> {
    link: &'a Link,
    id: u64,
}

impl Drop for Forget<'_> {
    fn drop(&mut self) {
        lock(&self.link.waiting).remove(&self.id);
    }
}

async fn answer(answers: &Answers, question: Question) -> Answer {
    match question {
        Question::Locate { spec } => match answers.locate.locate(&spec).await {
            Ok(addresses) => Answer::Addresses { addresses },
            Err(error) => error.into(),
        },
        Question::Credentials { source, region } => match answers.credentials.credentials(&source, &region).await {
            Ok(credentials) => Answer::Credentials((&credentials).into()),
            Err(error) if answers.credentials.awaits_token(&source) => Answer::NotYet { reason: error.to_string() },
            Err(error) => Answer::NoCredentials { reason: error.to_string() },
        },
        Question::Forget { .. } | Question::Unknown => Answer::Unsupported,
    }
}

fn away() -> Failure {
    Failure::new(
        FailureKind::Away,
        "the data plane, which holds the tunnels, does not answer; one that has ended is started again by itself, one that hangs has to be ended, which the kubelet does; see its log (in the chart that of the container `tunnel`)",
    )
}

fn gone() -> Failure {
    Failure::new(FailureKind::Internal, "the driver stops")
}

fn unexpected(reply: &Reply) -> Failure {
    let message = match reply {
        Reply::Unsupported => "the data plane is of another version, which can't do this".to_owned(),
        other => format!("the data plane's reply is none: {other:?}"),
    };
    Failure::new(FailureKind::Internal, message)
}
