//! The CSI node service: publishes volumes as kernel mounts, most of them through a tunnel.
//!
//! - [`request`]: what a request asks for
//! - [`publish`], [`unpublish`]: the two calls that change something
//! - [`stats`]: how full a volume is and whether it is well
//! - `health`: what is known to be wrong with volumes and with the way to EFS, without asking anybody
//! - `events`: telling operators of it through Kubernetes
//! - [`usage`], [`walker`]: adding up what a volume holds
//! - [`recovery`]: picking up the mounts of an earlier process, and keeping state and mounts in step
//! - [`report`]: what the service tells about itself
//! - [`metrics`]: the same for Prometheus
//! - [`cluster`]: what Kubernetes knows about this node
//! - [`startup_taint`]: taking the start-up taint off
//! - [`records`]: what survives a restart
//! - [`pod`]: whose credentials a mount with the pod's identity has
//! - [`pod_errors`]: why it has none
//! - `trunking`: one port for a tunnel, whichever process asks, so that the kernel never mixes up two ways
//! - [`prerequisites`]: what pod and node must give
//! - [`target`]: target directories
//! - [`errors`]: what can go wrong, with gRPC codes

use std::collections::{HashMap, HashSet};
use std::io;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use csi_proto::csi::{self, node_server::Node};
use efs_common::open_files;
use efs_tunnel::keeper::Keeper;
use efs_tunnel::plane::client::Answers;
use efs_tunnel::plane::host::Start;
use efs_tunnel::plane::{self, DataPlane, Host, Lease};
use efs_tunnel::roots::{self, RootsError};
use efs_tunnel::{DialLimits, Locate, ProvideCredentials};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tonic::{Request, Response, Status};

use crate::blocking::{Blocking, Dependency};
use crate::config::NodeConfig;
use crate::efs::metadata::{Given, Metadata, NodeObject};
use crate::efs::mount_targets::{ListMountTargets, MountTargets};
use crate::efs::pod_identity::{Exchange, PodIdentities, WithPods};
use crate::efs_utils::Settings;
use crate::metrics::Metrics;
use crate::mount::Worker;
use crate::mount::mountinfo::{self, MountEntry};
use crate::rpc;

mod claims;
pub mod cluster;
pub mod errors;
mod events;
mod health;
pub mod metrics;
pub mod pod;
pub mod pod_errors;
pub mod prerequisites;
pub mod publish;
pub mod records;
pub mod recovery;
pub mod report;
pub mod request;
pub mod startup_taint;
pub mod stats;
pub mod target;
mod trunking;
pub mod unpublish;
pub mod usage;
pub mod walker;

use claims::Claims;
use cluster::ThisNode;
use errors::NodeError;
use events::Events;
use health::Health;
use prerequisites::{Missing, Prerequisites};
use records::{Record, Records};
use report::NodeReport;
use usage::Walks;

/// First local port of tunnels, as in AWS's client.
const FIRST_PORT: u16 = 20049;
/// Last local port unless `PORT_RANGE_UPPER_BOUND` says otherwise.
const LAST_PORT: u16 = 21048;
/// Topology key of the availability zone.
const ZONE_KEY: &str = "topology.kubernetes.io/zone";

/// What the node service needs from outside.
pub struct NodeDeps {
    /// The EFS API, for finding mount targets.
    pub efs: Arc<dyn ListMountTargets>,
    /// Credentials for mounts with IAM authorization.
    pub credentials: Arc<dyn ProvideCredentials>,
    /// Gives credentials for the tokens of pods.
    pub exchange: Arc<dyn Exchange>,
    /// Starts mount workers.
    pub worker: Worker,
    /// Local ports for tunnels.
    pub ports: RangeInclusive<u16>,
    /// How many files this process may have open, if that is limited.
    pub open_files: Option<u64>,
    /// What this process waits for.
    pub blocking: Blocking,
    /// Where the metrics of tunnels and mounts are registered.
    pub metrics: Metrics,
    /// This node in Kubernetes; `None` outside a cluster.
    pub kubernetes: Option<Arc<ThisNode>>,
    /// Whether the instance metadata service may be asked, and is about this node.
    pub imds: bool,
    /// Whether the start-up taint is this driver's to remove.
    pub remove_taint: bool,
    /// What pod and node give, and don't.
    pub prerequisites: Prerequisites,
    /// The region that the environment names (`AWS_REGION`, `AWS_DEFAULT_REGION`).
    pub region_variable: Option<String>,
    /// Where the data plane runs, if not where the settings say.
    pub data_plane: Option<Host>,
    /// Ends the connection to the data plane. Later than the other work of the service: a call that runs when the driver is asked to
    /// stop needs its tunnel to finish its mount.
    pub tunnels_end: CancellationToken,
}

/// The range of local ports, given the value of `PORT_RANGE_UPPER_BOUND`, of which anything below the default counts as not
/// given, like in the Go driver; overrides of efs-utils.conf come before that.
pub fn port_range(upper_bound: Option<&str>, overrides: &Settings) -> RangeInclusive<u16> {
    let given = upper_bound.and_then(|text| text.trim().parse::<u16>().ok()).filter(|last| *last > LAST_PORT);
    let bound = overrides.port_bound.or(given).unwrap_or(LAST_PORT + 1);
    let first = overrides.first_port.unwrap_or(FIRST_PORT);
    first..=(bound - 1).max(first)
}

/// Why the node service could not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The state directory can't be used.
    #[error("cannot use the state directory {path}: {source}; --state-dir must be a writable, persistent directory")]
    StateDir {
        /// The directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// `--tls-ca-file` can't be used.
    #[error("--tls-ca-file: {0}")]
    Roots(#[from] RootsError),
    /// The mount table can't be read.
    #[error("cannot read /proc/self/mountinfo: {0}")]
    Mountinfo(io::Error),
}

/// The node service.
#[derive(Clone)]
pub struct NodeService {
    node: Arc<State>,
}

/// What all calls share.
struct State {
    config: NodeConfig,
    metadata: Arc<Metadata>,
    locate: Arc<dyn Locate>,
    efs: Arc<dyn ListMountTargets>,
    limits: DialLimits,
    /// Volumes for which there are files enough, where that is the tightest limit.
    volumes_by_files: Option<i64>,
    worker: Worker,
    /// Places for calls that ask a server how full it is, each in a process of its own.
    asking: Semaphore,
    prerequisites: Prerequisites,
    /// The service accounts whose pods have mounts with an identity of their own.
    pods: Arc<PodIdentities>,
    /// This node's way to the API server.
    cluster: Option<Arc<ThisNode>>,
    plane: DataPlane,
    ports: RangeInclusive<u16>,
    records: Records,
    /// Whatever touches a disk or the mount table goes through this.
    blocking: Blocking,
    published: Mutex<HashMap<PathBuf, Published>>,
    claims: Claims,
    mounting: Option<(Arc<Semaphore>, usize)>,
    /// What must come to its end before the process does.
    tasks: TaskTracker,
    /// Walks for statistics, when they are switched on.
    walks: Option<Walks>,
    health: Health,
    /// The way to tell events, when they are switched on.
    events: Option<Events>,
}

/// A published target.
#[derive(Clone)]
struct Published {
    record: Record,
    /// The tunnel, unless the mount is unencrypted or its port can't be had (yet).
    lease: Option<Lease>,
}

impl Published {
    /// Whether it has all that it needs: a mount without encryption needs no tunnel.
    fn is_served(&self) -> bool {
        self.record.port().is_none() || self.lease.as_ref().is_some_and(Lease::is_served)
    }
}

impl NodeService {
    /// Starts the service: reads the state directory, serves the mounts of an earlier process again, and goes on keeping
    /// state and mounts in step until `shutdown`. When this returns, every recorded tunnel listens that can.
    pub async fn start(config: NodeConfig, deps: NodeDeps, shutdown: CancellationToken) -> Result<Self, StartError> {
        let state_error = |source| StartError::StateDir { path: config.state_dir.clone(), source };
        let directory = config.state_dir.clone();
        let on = Dependency::StateDirectory;
        let opened = deps.blocking.run_patiently(on.clone(), "opening the records", move || Records::open(&directory));
        let records = opened.await.map_err(state_error)?;
        if let Some(path) = &config.tls_ca_file {
            drop(roots::load(path).await?);
        }
        let given = Given {
            node_id: config.node_id.clone(),
            region: config.region.clone(),
            availability_zone: config.availability_zone.clone(),
        };
        let object = deps.kubernetes.clone().map(|node| node as Arc<dyn NodeObject>);
        let metadata = Metadata::new(given, deps.region_variable).with_node_object(object);
        let metadata = metadata.with_blocking(deps.blocking.clone());
        let metadata = Arc::new(if deps.imds { metadata } else { metadata.without_imds() });
        let locate: Arc<dyn Locate> =
            Arc::new(MountTargets::new(Arc::clone(&deps.efs), Arc::clone(&metadata), config.mount_target_port));
        let volumes_by_files = volumes_by_files(deps.open_files, deps.ports.len());
        deps.blocking.note("open files", deps.open_files.and_then(too_few_files));
        deps.prerequisites.tell(config.registration.as_ref().map(|it| it.csi_socket.as_path()), &deps.blocking);
        let host = deps.data_plane.unwrap_or_else(|| match config.tunnel_sidecar {
            true => Host::Sidecar,
            false => Host::Child(Arc::new(Start {
                program: deps.worker.program().to_owned(),
                arguments: config.tunnel_arguments.clone(),
            })),
        });
        let pods = Arc::new(PodIdentities::new(deps.exchange));
        let credentials = Arc::new(WithPods { pods: Arc::clone(&pods), others: deps.credentials });
        let answers = Answers { locate: Arc::clone(&locate), credentials };
        let plane = DataPlane::new(host, plane::directory(&config.state_dir), answers, deps.tunnels_end);
        if config.tunnel_sidecar {
            let keeper = plane.keeper().clone();
            // The tunnels' sockets are the data plane's matter; the registration with the kubelet is this process's.
            let asked = move || {
                drop(keeper.inherit(|_| false));
                Ok(())
            };
            deps.blocking.run_patiently(on, "asking the port keeper", asked).await.map_err(state_error)?;
        }
        let mounting = config.max_inflight_mounts.map(|limit| (Arc::new(Semaphore::new(limit)), limit));
        let walks = config
            .volume_metrics
            .map(|settings| Walks::new(deps.worker.program().to_owned(), settings, usage::GENTLY, shutdown.clone()))
            .map(|walks| walks.with_blocking(deps.blocking.clone()));
        let events = deps.kubernetes.clone().filter(|_| config.tells_events);
        let events = events.map(|this| Events::start(this, shutdown.clone()));
        let node = Arc::new(State {
            walks,
            config,
            metadata,
            locate,
            efs: deps.efs,
            limits: DialLimits::default(),
            volumes_by_files,
            worker: deps.worker,
            prerequisites: deps.prerequisites,
            pods,
            cluster: deps.kubernetes.clone(),
            plane,
            ports: deps.ports,
            records,
            blocking: deps.blocking,
            published: Mutex::default(),
            claims: Claims::default(),
            mounting,
            asking: Semaphore::new(stats::ASKING),
            tasks: TaskTracker::new(),
            health: Health::default(),
            events,
        });
        let unfinished = node.recover().await.map_err(|error| match error {
            recovery::RecoverError::Records(source) => {
                StartError::StateDir { path: node.config.state_dir.clone(), source }
            }
            recovery::RecoverError::Mountinfo(source) => StartError::Mountinfo(source),
        })?;
        let plane = node.plane.clone();
        deps.metrics.refresh_with(move || {
            let plane = plane.clone();
            Box::pin(async move { drop(plane.report().await) })
        });
        deps.metrics.register(|registry| {
            registry.register_collector(Box::new(metrics::NodeCollector::new(Arc::downgrade(&node))));
        });
        tokio::spawn(recovery::reconcile_until(Arc::clone(&node), unfinished, shutdown.clone()));
        tokio::spawn(health::watch(Arc::downgrade(&node), shutdown.clone()));
        if let Some(this) = deps.kubernetes.filter(|_| deps.remove_taint) {
            let limited = node.config.volume_attach_limit.is_some();
            tokio::spawn(async move { startup_taint::remove(&this, limited, shutdown).await });
        }
        Ok(Self { node })
    }

    /// Waits for what must not be broken off: calls whose caller has hung up. Call it when no further call can come.
    pub async fn finish(&self) {
        self.node.tasks.close();
        self.node.tasks.wait().await;
    }

    /// The keeper, if it outlives this process and its container.
    pub fn lasting_keeper(&self) -> Option<Keeper> {
        self.node.config.tunnel_sidecar.then(|| self.node.plane.keeper().clone())
    }

    /// Whether every mount that needs a tunnel has it.
    pub fn serves_all(&self) -> bool {
        self.node.published().values().all(Published::is_served)
    }

    /// Why the mounts that are there and need a tunnel will never be served by this process. Mounts without encryption need none.
    pub fn can_not_serve(&self) -> Option<&Missing> {
        let missing = self.node.prerequisites.distinction.as_ref();
        missing.filter(|_| self.node.published().values().any(|it| it.record.port().is_some()))
    }

    /// The state of tunnels, mounts and walks now. Call it on a thread that may wait.
    pub fn report(&self) -> NodeReport {
        tokio::runtime::Handle::current().block_on(self.node.plane.report());
        self.node.report()
    }

    /// The capabilities that the node service declares.
    pub fn capabilities() -> Vec<csi::NodeServiceCapability> {
        use csi::node_service_capability::rpc::Type as Kind;
        use csi::node_service_capability::{Rpc, Type};
        // 1.13 has retired VOLUME_CONDITION and its callers skip the number; those of 1.12 look for it, and skip the numbers of health.
        [
            Kind::GetVolumeStats,
            Kind::VolumeCondition,
            Kind::SingleNodeMultiWriter,
            Kind::GetVolumeHealth,
            Kind::GetStorageHealth,
        ]
        .into_iter()
        .map(|kind| csi::NodeServiceCapability { r#type: Some(Type::Rpc(Rpc { r#type: kind.into() })) })
        .collect()
    }
}

/// Volumes for which there are files enough, if they are fewer than there are ports for.
fn volumes_by_files(open_files: Option<u64>, ports: usize) -> Option<i64> {
    let volumes = open_files.map(open_files::most_volumes).filter(|volumes| *volumes < ports as u64)?;
    // 0 would mean that there is no limit.
    Some(i64::try_from(volumes).unwrap_or(i64::MAX).max(1))
}

/// What to tell where not even one volume's tunnel has the files that it needs, though the scheduler can't be told 0.
fn too_few_files(limit: u64) -> Option<String> {
    (open_files::most_volumes(limit) == 0).then(|| {
        format!(
            "volumes with a tunnel can't be published: this process may have {limit} files open, which is not enough for one; {}",
            open_files::HOW_TO_RAISE
        )
    })
}

impl State {
    /// What the scheduler is told to be the most volumes on this node; 0 when it need not know.
    fn most_volumes(&self) -> i64 {
        let limits = [self.config.volume_attach_limit, self.volumes_by_files];
        limits.into_iter().flatten().min().unwrap_or(0)
    }

    /// Does something with the records.
    async fn on_disk<T: Send + 'static>(
        &self,
        doing: &'static str,
        work: impl FnOnce(&Records) -> io::Result<T> + Send + 'static,
    ) -> io::Result<T> {
        let records = self.records.clone();
        self.blocking.run(Dependency::StateDirectory, doing, move || work(&records)).await
    }

    /// The mount table.
    async fn mounts(&self) -> io::Result<Vec<MountEntry>> {
        self.blocking.run(Dependency::MountTable, "reading it", mountinfo::table).await
    }

    /// What is mounted at exactly `target`, lowest layer first.
    async fn mounts_at(&self, target: &Path) -> io::Result<Vec<MountEntry>> {
        let target = target.to_owned();
        self.blocking.run(Dependency::MountTable, "reading it", move || mountinfo::at(&target)).await
    }

    /// The ports that the kernel's NFS client knows besides those of mounts.
    async fn kernel_ports(&self) -> io::Result<HashSet<u16>> {
        kernel_ports(&self.blocking).await
    }

    fn published(&self) -> MutexGuard<'_, HashMap<PathBuf, Published>> {
        lock(&self.published)
    }
}

/// The ports that the kernel's NFS client knows besides those of mounts.
async fn kernel_ports(blocking: &Blocking) -> io::Result<HashSet<u16>> {
    blocking.run(Dependency::MountTable, "reading the list of NFS servers", || Ok(mountinfo::nfs_ports(&[]))).await
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Runs a call to its end even if the caller hangs up: half a mount is worse than one that nobody waits for.
async fn to_the_end<T: Send + 'static>(
    tasks: TaskTracker,
    call: impl Future<Output = Result<T, NodeError>> + Send + 'static,
) -> Result<T, Status> {
    use tracing::Instrument;
    let task = tasks.spawn(call.in_current_span());
    let result = task.await.unwrap_or_else(|error| Err(NodeError::Internal(error.to_string())));
    result.map_err(Status::from)
}

#[tonic::async_trait]
impl Node for NodeService {
    async fn node_publish_volume(
        &self,
        request: Request<csi::NodePublishVolumeRequest>,
    ) -> Result<Response<csi::NodePublishVolumeResponse>, Status> {
        let request = request.into_inner();
        let (volume, target) = (request.volume_id.clone(), request.target_path.clone());
        let shown = csi::NodePublishVolumeRequest {
            secrets: rpc::blanked(&request.secrets),
            volume_context: rpc::without_tokens(&request.volume_context),
            ..request.clone()
        };
        let node = Arc::clone(&self.node);
        let tasks = self.node.tasks.clone();
        let call = to_the_end(tasks, async move {
            let result = publish::publish(&node, &request).await;
            health::published(&node, &request, result.as_ref().copied());
            result
        });
        let response = async { call.await.map(|()| csi::NodePublishVolumeResponse {}) };
        rpc::observe_target("NodePublishVolume", &volume, &target, shown, response).await
    }

    async fn node_unpublish_volume(
        &self,
        request: Request<csi::NodeUnpublishVolumeRequest>,
    ) -> Result<Response<csi::NodeUnpublishVolumeResponse>, Status> {
        let request = request.into_inner();
        let (volume, target, shown) = (request.volume_id.clone(), request.target_path.clone(), request.clone());
        let node = Arc::clone(&self.node);
        let tasks = self.node.tasks.clone();
        let call = to_the_end(tasks, async move {
            let walks = node.walks.as_ref();
            let pause = match walks {
                Some(walks) => Some(walks.pause(&request.volume_id).await),
                None => None,
            };
            let result = unpublish::unpublish(&node, &request).await;
            if result.is_ok() {
                node.health.unpublished(&request.volume_id, Path::new(&request.target_path));
            }
            drop(pause);
            if let Some(walks) = walks {
                let published = node.published();
                walks.forget_unless(|volume| published.values().any(|it| it.record.volume == volume));
            }
            result
        });
        let response = async { call.await.map(|()| csi::NodeUnpublishVolumeResponse {}) };
        rpc::observe_target("NodeUnpublishVolume", &volume, &target, shown, response).await
    }

    async fn node_get_volume_stats(
        &self,
        request: Request<csi::NodeGetVolumeStatsRequest>,
    ) -> Result<Response<csi::NodeGetVolumeStatsResponse>, Status> {
        let request = request.into_inner();
        let (volume, shown) = (request.volume_id.clone(), request.clone());
        let call = async { stats::stats(&self.node, &request).await.map_err(Status::from) };
        rpc::observe_target("NodeGetVolumeStats", &volume, &request.volume_path, shown, call).await
    }

    async fn node_get_volume_health(
        &self,
        request: Request<csi::NodeGetVolumeHealthRequest>,
    ) -> Result<Response<csi::NodeGetVolumeHealthResponse>, Status> {
        let request = request.into_inner();
        let (volume, target, shown) = (request.volume_id.clone(), request.volume_publish_path.clone(), request.clone());
        let call = async { health::volume_health(&self.node, &request).map_err(Status::from) };
        rpc::observe_target("NodeGetVolumeHealth", &volume, &target, shown, call).await
    }

    async fn node_get_storage_health(
        &self,
        request: Request<csi::NodeGetStorageHealthRequest>,
    ) -> Result<Response<csi::NodeGetStorageHealthResponse>, Status> {
        let secrets = rpc::blanked(&request.into_inner().secrets);
        let call = async { health::storage_health(&self.node).map_err(Status::from) };
        rpc::observe("NodeGetStorageHealth", "", csi::NodeGetStorageHealthRequest { secrets }, call).await
    }

    async fn node_get_capabilities(
        &self,
        _: Request<csi::NodeGetCapabilitiesRequest>,
    ) -> Result<Response<csi::NodeGetCapabilitiesResponse>, Status> {
        Ok(Response::new(csi::NodeGetCapabilitiesResponse { capabilities: Self::capabilities() }))
    }

    async fn node_get_info(
        &self,
        request: Request<csi::NodeGetInfoRequest>,
    ) -> Result<Response<csi::NodeGetInfoResponse>, Status> {
        let call = async {
            let node_id = self.node.metadata.node_id().await.map_err(NodeError::Unknown)?;
            let zone = self.node.metadata.zone().await;
            Ok(csi::NodeGetInfoResponse {
                node_id,
                max_volumes_per_node: self.node.most_volumes(),
                accessible_topology: zone
                    .map(|zone| csi::Topology { segments: HashMap::from([(ZONE_KEY.to_owned(), zone)]) }),
            })
        };
        rpc::observe("NodeGetInfo", "", request.into_inner(), call).await
    }

    async fn node_stage_volume(
        &self,
        _: Request<csi::NodeStageVolumeRequest>,
    ) -> Result<Response<csi::NodeStageVolumeResponse>, Status> {
        Err(Status::unimplemented("volumes are published without staging"))
    }

    async fn node_unstage_volume(
        &self,
        _: Request<csi::NodeUnstageVolumeRequest>,
    ) -> Result<Response<csi::NodeUnstageVolumeResponse>, Status> {
        Err(Status::unimplemented("volumes are published without staging"))
    }

    async fn node_expand_volume(
        &self,
        _: Request<csi::NodeExpandVolumeRequest>,
    ) -> Result<Response<csi::NodeExpandVolumeResponse>, Status> {
        Err(Status::unimplemented("EFS volumes are elastic, there is nothing to expand on a node"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_limit_volumes_where_they_are_fewer_than_ports() {
        assert_eq!(volumes_by_files(None, 1000), None);
        assert_eq!(volumes_by_files(Some(1 << 20), 1000), None);
        assert_eq!(volumes_by_files(Some(1024), 1000), Some(224));
        assert_eq!(volumes_by_files(Some(64), 1000), Some(1));
        assert!(too_few_files(128).is_some_and(|told| told.contains("128 files") && told.contains("LimitNOFILE")));
        assert_eq!(too_few_files(132), None);
    }

    #[test]
    fn the_port_range_follows_the_environment_like_in_the_go_driver() {
        let none = Settings::default();
        assert_eq!(port_range(None, &none), 20049..=21048);
        assert_eq!(port_range(Some("21049"), &none), 20049..=21048);
        assert_eq!(port_range(Some("22049"), &none), 20049..=22048);
        for ignored in ["", "many", "20050", "99999"] {
            assert_eq!(port_range(Some(ignored), &none), 20049..=21048);
        }
        let overrides = Settings { first_port: Some(30000), port_bound: Some(30010), ..none.clone() };
        assert_eq!(port_range(Some("22049"), &overrides), 30000..=30009);
        let above = Settings { first_port: Some(30000), ..none };
        assert_eq!(port_range(None, &above), 30000..=30000);
    }
}
