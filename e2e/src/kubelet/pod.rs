//! One pod: its containers, started in order, restarted when they end, probed, and ended as a kubelet ends them.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::{Container as ContainerSpec, PodSpec, Probe};
use rustix::process::{Pid, Signal};
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;
use tokio::time::{sleep, sleep_until};

use super::HostRoot;
use super::oci::{self, PodIdentity};
use super::probe::{self, Timing};
use super::runtime::{Container, Runtime};
use crate::stack::Exit;

/// A container that ends again and again waits this long before its second restart, and twice as long before each further one.
const FIRST_BACK_OFF: Duration = Duration::from_secs(10);
/// A kubelet grants every container at least this, also where the API server was told to wait for nothing.
const LEAST_GRACE: Duration = Duration::from_secs(2);
/// A pod that doesn't say has this long to end.
const DEFAULT_GRACE: Duration = Duration::from_secs(30);

/// What all pods of a node share.
#[derive(Debug)]
pub struct Node {
    /// The host's files.
    pub host: HostRoot,
    /// The container runtime.
    pub runtime: Runtime,
    /// The files of images, by the image's name without its tag.
    pub images: HashMap<String, PathBuf>,
    /// The files of ConfigMaps and Secrets, by name.
    pub config_maps: HashMap<String, BTreeMap<String, Vec<u8>>>,
    /// `spec.nodeName` of all pods.
    pub name: String,
    /// Where containers print to.
    pub logs: PathBuf,
}

/// How it is with one container.
#[derive(Clone, Debug, Default)]
pub struct ContainerStatus {
    /// Its first process, while it runs.
    pub pid: Option<Pid>,
    /// Since when it runs.
    pub since: Option<Instant>,
    /// Whether its start-up probe has succeeded, if it has one.
    pub started: bool,
    /// Whether it counts as ready.
    pub ready: bool,
    /// How often it was started again.
    pub restarts: u32,
    /// When and how it ended last.
    pub ended: Option<(Instant, Exit)>,
    /// How long the runtime took to start it, the last time.
    pub start_took: Option<Duration>,
    /// Why its probes failed, the last time that one did.
    pub complaint: Option<String>,
}

/// A pod that runs until it is ended.
#[derive(Debug)]
pub struct Pod {
    /// Its names.
    pub identity: PodIdentity,
    shared: Arc<Shared>,
    task: JoinHandle<anyhow::Result<()>>,
}

#[derive(Debug)]
struct Shared {
    node: Arc<Node>,
    identity: PodIdentity,
    spec: PodSpec,
    containers: Mutex<BTreeMap<String, ContainerStatus>>,
    changed: watch::Sender<u64>,
    /// How long the pod's end may take; `None` as long as it is to run.
    ending: watch::Sender<Option<Duration>>,
    /// Told when the containers proper have ended, and those that run beside them are to end.
    beside: watch::Sender<bool>,
}

impl Pod {
    /// Starts a pod.
    pub fn start(node: Arc<Node>, name: &str, uid: &str, spec: PodSpec) -> Self {
        let identity = PodIdentity { name: name.to_owned(), uid: uid.to_owned(), node: node.name.clone() };
        let shared = Arc::new(Shared {
            node,
            identity: identity.clone(),
            spec,
            containers: Mutex::default(),
            changed: watch::channel(0).0,
            ending: watch::channel(None).0,
            beside: watch::channel(false).0,
        });
        let task = tokio::spawn(Arc::clone(&shared).run());
        Self { identity, shared, task }
    }

    /// How it is with a container.
    pub fn container(&self, name: &str) -> ContainerStatus {
        self.shared.lock().get(name).cloned().unwrap_or_default()
    }

    /// The same of all.
    pub fn containers(&self) -> BTreeMap<String, ContainerStatus> {
        self.shared.lock().clone()
    }

    /// Whether all its containers are ready.
    pub fn is_ready(&self) -> bool {
        self.shared.is_ready()
    }

    /// Waits until `wanted` holds of the pod; false when it has not by then.
    pub async fn until(&self, limit: Duration, wanted: impl Fn(&Self) -> bool) -> bool {
        let mut changed = self.shared.changed.subscribe();
        let reached = async {
            while !wanted(self) {
                if changed.changed().await.is_err() {
                    return;
                }
            }
        };
        tokio::time::timeout(limit, reached).await.is_ok() && wanted(self)
    }

    /// Ends it: SIGTERM, and SIGKILL after the pod's own time or `grace`. Returns when it has ended.
    pub async fn end(self, grace: Option<Duration>) -> anyhow::Result<()> {
        let own = self.shared.spec.termination_grace_period_seconds.and_then(|it| u64::try_from(it).ok());
        let grace = grace.unwrap_or_else(|| own.map_or(DEFAULT_GRACE, Duration::from_secs)).max(LEAST_GRACE);
        self.shared.ending.send_replace(Some(grace));
        self.task.await?
    }
}

impl Shared {
    async fn run(self: Arc<Self>) -> anyhow::Result<()> {
        let beside: Vec<ContainerSpec> = self.spec.init_containers.clone().unwrap_or_default();
        let mut running_beside = Vec::new();
        for spec in beside {
            if spec.restart_policy.as_deref() != Some("Always") {
                self.run_once(&spec).await?;
                continue;
            }
            let name = spec.name.clone();
            running_beside.push(tokio::spawn(Arc::clone(&self).keep(spec, true)));
            // The next one starts when this one has.
            let mut changed = self.changed.subscribe();
            while !self.lock().get(&name).is_some_and(|it| it.started) && self.ending.borrow().is_none() {
                changed.changed().await?;
            }
        }
        let containers = self.spec.containers.clone();
        let running: Vec<_> =
            containers.into_iter().map(|spec| tokio::spawn(Arc::clone(&self).keep(spec, false))).collect();
        for container in running {
            container.await??;
        }
        self.beside.send_replace(true);
        for container in running_beside {
            container.await??;
        }
        Ok(())
    }

    /// Runs an init container to its end.
    async fn run_once(&self, spec: &ContainerSpec) -> anyhow::Result<()> {
        let mut container = self.start_container(spec, 0).await?;
        let exit = container.wait().await?;
        container.remove().await?;
        self.update(&spec.name, |status| {
            let ended = Some((Instant::now(), exit));
            *status = ContainerStatus { started: true, ready: true, ended, ..ContainerStatus::default() };
        });
        anyhow::ensure!(exit.is_success(), "the init container {} has ended: {exit:?}", spec.name);
        Ok(())
    }

    /// Keeps one container running until the pod is ended.
    async fn keep(self: Arc<Self>, spec: ContainerSpec, beside: bool) -> anyhow::Result<()> {
        let (mut ending, mut others_gone) = (self.ending.subscribe(), self.beside.subscribe());
        let end = async move {
            if beside {
                others_gone.wait_for(|gone| *gone).await.is_ok()
            } else {
                ending.wait_for(Option::is_some).await.is_ok()
            }
        };
        tokio::pin!(end);
        let mut restarts = 0_u32;
        loop {
            let mut container = self.start_container(&spec, restarts).await?;
            let probes = tokio::spawn(Arc::clone(&self).probe(spec.clone(), container.id().to_owned()));
            let failed = Arc::new(Notify::new());
            let watching = tokio::spawn(Arc::clone(&self).watch_liveness(
                spec.clone(),
                container.id().to_owned(),
                Arc::clone(&failed),
            ));
            let (exit, over) = tokio::select! {
                exit = container.wait() => (exit?, false),
                _ = &mut end => {
                    let grace = self.ending.borrow().unwrap_or(DEFAULT_GRACE);
                    (stop(&mut container, grace).await?, true)
                }
                () = failed.notified() => {
                    let of_probe = spec.liveness_probe.as_ref().and_then(|it| it.termination_grace_period_seconds);
                    let seconds = of_probe.or(self.spec.termination_grace_period_seconds);
                    let own = seconds.and_then(|it| u64::try_from(it).ok());
                    (stop(&mut container, own.map_or(DEFAULT_GRACE, Duration::from_secs)).await?, false)
                }
            };
            probes.abort();
            watching.abort();
            self.update(&spec.name, |status| {
                *status = ContainerStatus {
                    ended: Some((Instant::now(), exit)),
                    restarts,
                    complaint: status.complaint.take(),
                    ..ContainerStatus::default()
                };
            });
            container.remove().await?;
            if over {
                return Ok(());
            }
            restarts += 1;
            let pause = match restarts {
                1 => Duration::ZERO,
                more => FIRST_BACK_OFF * 2_u32.pow(more.min(6) - 2),
            };
            tokio::select! {
                () = sleep(pause) => {}
                _ = &mut end => return Ok(()),
            }
        }
    }

    async fn start_container(&self, spec: &ContainerSpec, restarts: u32) -> anyhow::Result<Container> {
        let image = spec.image.as_deref().unwrap_or_default();
        let image = image.rsplit('/').next().unwrap_or(image).split([':', '@']).next().unwrap_or_default();
        let rootfs = self.node.images.get(image).ok_or_else(|| anyhow::anyhow!("no image {image}"))?;
        let config = oci::config(&self.node.host, &self.identity, &self.spec, spec, &self.node.config_maps)?;
        let id = format!("{}-{}-{restarts}", self.identity.name, spec.name);
        let log = self.node.logs.join(format!("{}-{}.log", self.identity.name, spec.name));
        let container = self.node.runtime.start(&id, rootfs, &config, &log).await?;
        self.update(&spec.name, |status| {
            status.pid = Some(container.pid());
            status.since = Some(container.started);
            status.restarts = restarts;
            status.start_took = Some(container.started - container.ordered);
            status.started = spec.startup_probe.is_none();
            status.ready = status.started && spec.readiness_probe.is_none();
        });
        Ok(container)
    }

    /// Asks the start-up probe until it succeeds, then the readiness probe.
    async fn probe(self: Arc<Self>, spec: ContainerSpec, id: String) {
        if let Some(probe) = &spec.startup_probe {
            self.ask_until_well(&spec.name, probe, &id).await;
            self.update(&spec.name, |status| {
                status.started = true;
                status.ready = spec.readiness_probe.is_none();
            });
        }
        let Some(probe) = &spec.readiness_probe else { return };
        let timing = Timing::of(probe);
        sleep(timing.initial_delay).await;
        let mut row = Row::default();
        loop {
            let next = tokio::time::Instant::now() + timing.period;
            let answer = probe::ask(probe, &self.node.runtime, &id).await;
            let counts = row.count(answer.is_ok());
            self.update(&spec.name, |status| {
                if answer.is_ok() && counts >= timing.success_threshold {
                    status.ready = true;
                } else if answer.is_err() && counts >= timing.failure_threshold {
                    status.ready = false;
                }
                status.complaint = answer.err().or_else(|| status.complaint.take());
            });
            sleep_until(next).await;
        }
    }

    async fn ask_until_well(&self, name: &str, probe: &Probe, id: &str) {
        let timing = Timing::of(probe);
        sleep(timing.initial_delay).await;
        loop {
            let next = tokio::time::Instant::now() + timing.period;
            match probe::ask(probe, &self.node.runtime, id).await {
                Ok(()) => return,
                Err(reason) => self.update(name, |status| status.complaint = Some(reason)),
            }
            sleep_until(next).await;
        }
    }

    /// Tells `failed` when the liveness probe has failed often enough; for start-up probes too, which a container must not fail for ever.
    async fn watch_liveness(self: Arc<Self>, spec: ContainerSpec, id: String, failed: Arc<Notify>) {
        if let Some(probe) = &spec.startup_probe {
            let timing = Timing::of(probe);
            let limit = timing.initial_delay + timing.period * timing.failure_threshold;
            let begin = Instant::now();
            while !self.lock().get(&spec.name).is_some_and(|it| it.started) {
                if begin.elapsed() > limit {
                    failed.notify_one();
                    return;
                }
                sleep(Duration::from_millis(50)).await;
            }
        }
        let Some(probe) = &spec.liveness_probe else { return };
        let timing = Timing::of(probe);
        sleep(timing.initial_delay).await;
        let mut row = Row::default();
        loop {
            let next = tokio::time::Instant::now() + timing.period;
            let answer = probe::ask(probe, &self.node.runtime, &id).await;
            let counts = row.count(answer.is_ok());
            if let Err(reason) = answer {
                self.update(&spec.name, |status| status.complaint = Some(reason));
                if counts >= timing.failure_threshold {
                    failed.notify_one();
                    return;
                }
            }
            sleep_until(next).await;
        }
    }

    fn is_ready(&self) -> bool {
        let containers = self.lock();
        let wanted = self.spec.containers.iter().chain(self.spec.init_containers.iter().flatten());
        wanted.map(|spec| containers.get(&spec.name)).all(|it| it.is_some_and(|it| it.ready))
    }

    fn update(&self, name: &str, change: impl FnOnce(&mut ContainerStatus)) {
        change(self.lock().entry(name.to_owned()).or_default());
        self.changed.send_modify(|count| *count += 1);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, ContainerStatus>> {
        self.containers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Equal answers in a row.
#[derive(Default)]
struct Row {
    last: bool,
    length: u32,
}

impl Row {
    fn count(&mut self, answer: bool) -> u32 {
        self.length = if self.last == answer { self.length + 1 } else { 1 };
        self.last = answer;
        self.length
    }
}

/// SIGTERM, and SIGKILL after `grace`.
async fn stop(container: &mut Container, grace: Duration) -> anyhow::Result<Exit> {
    container.signal(Signal::TERM);
    match tokio::time::timeout(grace, container.wait()).await {
        Ok(exit) => exit,
        Err(_) => {
            container.signal(Signal::KILL);
            container.wait().await
        }
    }
}
