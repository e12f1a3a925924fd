//! The CSI controller service: volumes are access points of file systems of EFS or S3 Files, or directories of EFS.
//!
//! [`Controller`] holds what the calls share; each call has a file of its own. [`ControllerService`] puts them on gRPC.

mod afresh;
pub mod capacity;
pub mod cluster;
mod cluster_id;
mod create_volume;
mod delete_volume;
mod directories;
mod errors;
mod existing;
mod expand;
mod get;
pub mod gid_pool;
mod health;
mod id_check;
mod id_order;
mod known;
mod lately;
mod list;
mod modify;
mod mount_targets;
mod names;
mod neighbours;
pub mod parameters;
pub mod paths;
mod reuse;
mod root_directories;
pub mod secrets;
mod service;
pub mod sessions;
pub mod status;
mod tagging;
mod trash_keeper;
pub mod uses;
mod validate;

use std::sync::Arc;
use std::time::Duration;

pub use errors::ControllerError;
pub use service::ControllerService;
#[cfg(test)]
pub(crate) use tagging::CLUSTER_ID_TAG;
pub(crate) use tagging::{CLUSTER_TAG, clusters_of};

use crate::config::ControllerConfig;
use crate::efs::{EfsApi, EfsClients, EfsError, FileSystem, Role};
use crate::locks::{KeyedGuard, KeyedLocks};
use crate::metrics::Metrics;
use crate::volume::{FileSystemId, FileSystemKind};

use cluster::Cluster;
use cluster_id::ClusterId;
use directories::KeptClaims;
use gid_pool::GidPools;
use health::HealthFacts;
use known::KnownFileSystems;
use mount_targets::MountTargetCache;
use names::Names;
use neighbours::Neighbours;
use parameters::{FileSystemSource, ObjectKey};
pub(crate) use reuse::is_token_of;
use reuse::{Returned, Wanted};
use sessions::Sessions;
use tagging::TagPolicy;
use trash_keeper::TrashKeeper;

/// How long a call waits for another one about the same volume. Shorter than csi-provisioner's limit of 15 s, so that the
/// caller gets an answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// How long a file system's description is taken for true.
const FILE_SYSTEM_AGE: Duration = Duration::from_secs(60);

/// File systems whose descriptions are kept.
const MOST_FILE_SYSTEMS: u64 = 1000;

/// What the controller's calls share.
#[derive(Debug)]
pub struct Controller {
    config: ControllerConfig,
    clients: Arc<dyn EfsClients>,
    cluster: Arc<dyn Cluster>,
    pools: GidPools,
    names: KeyedLocks<String>,
    tags: TagPolicy,
    known: KnownFileSystems,
    file_systems: moka::future::Cache<FileSystemId, FileSystem>,
    /// The zones of One Zone file systems; they never change.
    zones: moka::future::Cache<FileSystemId, Option<String>>,
    mount_targets: MountTargetCache,
    neighbours: Neighbours,
    health: HealthFacts,
    made: Names,
    returned: Returned,
    wanted: Wanted,
    kept_claims: KeptClaims,
    keeper: TrashKeeper,
    sessions: Option<Arc<dyn Sessions>>,
    cluster_id: ClusterId,
    metrics: Metrics,
}

impl Controller {
    /// A controller that has asked nobody anything yet.
    pub fn new(
        config: ControllerConfig,
        clients: Arc<dyn EfsClients>,
        cluster: Arc<dyn Cluster>,
        metrics: Metrics,
    ) -> Self {
        let file_systems =
            moka::future::Cache::builder().max_capacity(MOST_FILE_SYSTEMS).time_to_live(FILE_SYSTEM_AGE).build();
        Self {
            tags: TagPolicy::new(config.tags.clone()),
            config,
            clients,
            cluster,
            pools: GidPools::new(metrics.clone()),
            names: KeyedLocks::default(),
            known: KnownFileSystems::default(),
            file_systems,
            zones: moka::future::Cache::new(MOST_FILE_SYSTEMS),
            mount_targets: MountTargetCache::default(),
            neighbours: Neighbours::default(),
            health: HealthFacts::default(),
            made: Names::default(),
            returned: Returned::default(),
            wanted: Wanted::default(),
            kept_claims: KeptClaims::default(),
            keeper: TrashKeeper::default(),
            sessions: None,
            cluster_id: ClusterId::default(),
            metrics,
        }
    }

    /// The same controller with a way to make and remove directories.
    #[must_use]
    pub fn with_sessions(self, sessions: Arc<dyn Sessions>) -> Self {
        Self { sessions: Some(sessions), ..self }
    }

    /// After a call that met folders of the driver's that are gone, the next one looks for them anew.
    async fn forget_stale<T>(
        &self,
        file_system: &FileSystemId,
        result: Result<T, ControllerError>,
    ) -> Result<T, ControllerError> {
        use efs_directories::{DirectoryError, FilesError};
        let is_stale = matches!(
            &result,
            Err(ControllerError::Directories(DirectoryError::Files {
                source: FilesError::Stale | FilesError::NotFound,
                ..
            }))
        );
        if let (true, Some(sessions)) = (is_stale, &self.sessions) {
            sessions.forget(file_system).await;
        }
        result
    }

    /// The API of the service that a file system belongs to.
    async fn api(&self, of: &FileSystemId, role: Option<&Role>) -> Result<Arc<dyn EfsApi>, ControllerError> {
        self.api_of(of.kind(), role).await
    }

    async fn api_of(&self, kind: FileSystemKind, role: Option<&Role>) -> Result<Arc<dyn EfsApi>, ControllerError> {
        self.clients.client(kind, role).await.map_err(ControllerError::efs("cannot make an AWS client"))
    }

    /// Keeps other calls about the same volume out.
    async fn lock(&self, volume: &str) -> Result<KeyedGuard<String>, ControllerError> {
        self.names
            .acquire(volume.to_owned(), PATIENCE)
            .await
            .ok_or_else(|| ControllerError::Busy(format!("another call for volume {volume:?} is still running")))
    }

    /// Finds the file system's id, wherever the StorageClass says it stands. It is one of the service that the class provisions on.
    async fn resolve(&self, source: &FileSystemSource, kind: FileSystemKind) -> Result<FileSystemId, ControllerError> {
        let (what, at, value) = match source {
            FileSystemSource::Id(id) => return Ok(id.clone().of(kind)),
            FileSystemSource::ConfigMap(at) => ("ConfigMap", at, self.cluster.config_map(at).await?),
            FileSystemSource::Secret(at) => ("Secret", at, self.cluster.secret(at).await?),
        };
        let ObjectKey { namespace, name, key } = at;
        match value.as_deref().map(str::trim) {
            None | Some("") => {
                Err(ControllerError::Invalid(format!("{what} {namespace}/{name} has no value for key {key:?}")))
            }
            Some(id) => id
                .parse()
                .map(|id: FileSystemId| id.of(kind))
                .map_err(|error| ControllerError::Invalid(format!("{what} {namespace}/{name}, key {key:?}: {error}"))),
        }
    }

    /// A file system's description, at most [`FILE_SYSTEM_AGE`] old; equal questions at once are asked once.
    async fn file_system(&self, api: &dyn EfsApi, id: &FileSystemId) -> Result<FileSystem, EfsError> {
        self.file_systems.try_get_with_by_ref(id, api.file_system(id)).await.map_err(|error| (*error).clone())
    }

    /// The zone of a One Zone file system; none of a regional one. Each file system is looked up once.
    async fn zone(&self, api: &dyn EfsApi, id: &FileSystemId) -> Result<Option<String>, EfsError> {
        let look_up = async { Ok(self.file_system(api, id).await?.availability_zone) };
        self.zones.try_get_with_by_ref(id, look_up).await.map_err(|error: Arc<EfsError>| (*error).clone())
    }
}
