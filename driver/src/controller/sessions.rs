//! Sessions with file systems: the controller's way to directories. A user-space NFSv4.1 client goes through the driver's own TLS tunnel,
//! so that the controller mounts nothing, needs no privilege, and a dead server costs it one call.
//!
//! Calls about one file system share one session, and with it one tunnel, one certificate and one question for credentials. A session
//! that nobody has used for a while is closed; one that broke is not given out again.

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use efs_common::open_files::OutOfFiles;
use efs_directories::nfs::NfsFiles;
use efs_directories::{Files, FilesError, Ledger, Trash};
use efs_tunnel::{
    Admission, DialDeps, DialError, IamSource, Locate, LocateError, OpenError, Route, Service, TunnelLease, TunnelSpec,
    Tunnels,
};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::ControllerError;
use super::paths::is_named_after;
use crate::efs::{LifeCycle, MountTarget};
use crate::volume::FileSystemId;

/// Limit of making a connection with its session. All calls that wait for it fail with it, so it is shorter than csi-provisioner's
/// limit of 15 s.
const CONNECT: Duration = Duration::from_secs(12);

/// How long a session stays open when nobody uses it: longer than the pauses between the calls of a burst, shorter than the lease of
/// 90 s after which EFS would forget it.
const IDLE: Duration = Duration::from_secs(60);

/// Sessions that are open at once. Each holds a local port.
const MOST_SESSIONS: u64 = 64;

/// Local ports of the controller's tunnels, above those of the node's.
const PORTS: std::ops::RangeInclusive<u16> = 21_300..=21_399;

/// A file system and how to reach it.
#[derive(Debug, Clone)]
pub struct Place {
    /// The file system.
    pub file_system: FileSystemId,
    /// Its region.
    pub region: String,
    /// TCP port of its mount targets.
    pub port: u16,
}

/// A session with a file system. The notes of earlier drivers have been taken over.
#[derive(Debug, Clone)]
pub struct Session(Arc<Open>);

#[derive(Debug)]
struct Open {
    ledger: Ledger,
    trash: Trash,
}

impl Session {
    /// Begins to work with the files of a file system.
    ///
    /// # Errors
    /// When the notes of earlier drivers can't be taken over.
    pub async fn begin(files: Arc<dyn Files>) -> Result<Self, ControllerError> {
        let ledger = Ledger::new(Arc::clone(&files));
        ledger.migrate(is_named_after).await?;
        Ok(Self(Arc::new(Open { ledger, trash: Trash::new(files) })))
    }

    /// Who owns which directory.
    pub fn ledger(&self) -> &Ledger {
        &self.0.ledger
    }

    /// Deleted directories.
    pub fn trash(&self) -> &Trash {
        &self.0.trash
    }

    /// The files themselves.
    pub fn files(&self) -> &dyn Files {
        &**self.0.ledger.files()
    }
}

/// Gives sessions.
#[async_trait]
pub trait Sessions: std::fmt::Debug + Send + Sync + 'static {
    /// A session with the file system, a new one or one that other calls use too.
    ///
    /// # Errors
    /// When no mount target is available, or none answers.
    async fn session(&self, place: &Place, targets: &[MountTarget]) -> Result<Session, ControllerError>;

    /// The next session is to be a new one: the last one has met what it remembers and isn't there any more.
    async fn forget(&self, _: &FileSystemId) {}
}

/// The mount targets that the controller has learnt from the EFS API.
#[derive(Debug, Default)]
pub struct Addresses(Mutex<HashMap<(Service, String), Vec<SocketAddr>>>);

#[async_trait]
impl Locate for Addresses {
    async fn locate(&self, spec: &TunnelSpec) -> Result<Vec<SocketAddr>, LocateError> {
        let known = self
            .0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(&(spec.service, spec.file_system.clone()))
            .cloned();
        known.ok_or_else(|| LocateError { message: "no mount target is known".to_owned(), missing: true })
    }

    fn forget(&self, _: &TunnelSpec) {}
}

/// [`Sessions`] through tunnels.
pub struct TunnelSessions {
    tunnels: Tunnels,
    addresses: Arc<Addresses>,
    open: moka::future::Cache<FileSystemId, Carried>,
}

/// An NFS session with the tunnel that carries it. When the last user is gone, both are closed.
#[derive(Clone)]
struct Carried {
    session: Session,
    closing: Arc<Closing>,
}

struct Closing {
    files: Arc<NfsFiles>,
    lease: TunnelLease,
}

impl Drop for Closing {
    fn drop(&mut self) {
        let (files, lease) = (Arc::clone(&self.files), self.lease.clone());
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move {
                files.close().await;
                drop(lease);
            });
        }
    }
}

impl std::fmt::Debug for TunnelSessions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TunnelSessions").field("open", &self.open.entry_count()).finish_non_exhaustive()
    }
}

/// Why there is no session; told to all calls that waited for it.
#[derive(Debug, Clone)]
enum NoSession {
    MountTarget(String),
    Unreachable(Unreachable),
    Files(OutOfFiles),
    Refused(efs_directories::DirectoryError),
}

/// Where the way to a file system's files ends.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Unreachable {
    /// There is no tunnel.
    #[error("{0}")]
    Tunnel(#[source] Arc<OpenError>),
    /// The tunnel's mount target can't be reached, or refuses.
    #[error("{0}")]
    MountTarget(#[source] Arc<DialError>),
    /// The NFS session can't be opened.
    #[error("{0}")]
    Nfs(#[source] FilesError),
    /// All of it took too long.
    #[error("no answer within {} s", .0.as_secs())]
    Silent(Duration),
    /// What it needs first failed.
    #[error("{0}")]
    Before(#[source] Arc<ControllerError>),
}

impl TunnelSessions {
    /// Sessions through tunnels made with these; `deps.locate` must be `addresses`.
    pub fn new(deps: DialDeps, addresses: Arc<Addresses>, stop: CancellationToken) -> Self {
        Self {
            tunnels: Tunnels::new(deps, PORTS, Admission::ThisProcess, stop),
            addresses,
            open: moka::future::Cache::builder().max_capacity(MOST_SESSIONS).time_to_idle(IDLE).build(),
        }
    }

    /// Ends all sessions, for a program that ends.
    pub async fn close(&self) {
        for (_, carried) in &self.open {
            carried.closing.files.close().await;
        }
    }

    async fn connect(&self, place: &Place, targets: &[MountTarget]) -> Result<Carried, NoSession> {
        let id = &place.file_system;
        let addresses: Vec<SocketAddr> = targets
            .iter()
            .filter(|target| target.state == LifeCycle::Available)
            .flat_map(|target| &target.addresses)
            .map(|address| SocketAddr::new(*address, place.port))
            .collect();
        if addresses.is_empty() {
            return Err(NoSession::MountTarget(format!(
                "file system {id} has no available mount target; create one in the file system's VPC, or wait until it is available"
            )));
        }
        let name = id.to_string();
        self.addresses
            .0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert((id.kind().into(), name.clone()), addresses);
        let spec = TunnelSpec {
            service: id.kind().into(),
            server_name: crate::endpoints::file_system_name(id.kind().into(), &name, &place.region),
            file_system: name,
            access_point: None,
            region: place.region.clone(),
            iam: Some(IamSource::Default),
            route: Route::default(),
        };
        let lease = self.tunnels.open(&spec, &HashSet::new()).map_err(|error| match error {
            OpenError::Files { reason, .. } => NoSession::Files(reason),
            other => NoSession::Unreachable(Unreachable::Tunnel(Arc::new(other))),
        })?;
        let connect = async {
            lease.check().await.map_err(|error| match error {
                DialError::Files { reason, .. } => NoSession::Files(reason),
                other => NoSession::Unreachable(Unreachable::MountTarget(Arc::new(other))),
            })?;
            let connected = NfsFiles::connect(lease.port()).await;
            connected.map_err(|error| NoSession::Unreachable(Unreachable::Nfs(error)))
        };
        let files = timeout(CONNECT, connect).await;
        let files = files.map_err(|_| NoSession::Unreachable(Unreachable::Silent(CONNECT)))??;
        let files = Arc::new(files);
        let closing = Arc::new(Closing { files: Arc::clone(&files), lease });
        let session = Session::begin(files).await.map_err(|error| match error {
            ControllerError::Directories(error) => NoSession::Refused(error),
            other => NoSession::Unreachable(Unreachable::Before(Arc::new(other))),
        })?;
        Ok(Carried { session, closing })
    }
}

#[async_trait]
impl Sessions for TunnelSessions {
    async fn forget(&self, file_system: &FileSystemId) {
        self.open.invalidate(file_system).await;
    }

    async fn session(&self, place: &Place, targets: &[MountTarget]) -> Result<Session, ControllerError> {
        let id = &place.file_system;
        if self.open.get(id).await.is_some_and(|carried| carried.session.files().is_lost()) {
            self.open.invalidate(id).await;
        }
        let carried = self.open.try_get_with_by_ref(id, self.connect(place, targets)).await;
        match carried {
            Ok(carried) => Ok(carried.session),
            Err(error) => Err(match &*error {
                NoSession::MountTarget(message) => ControllerError::MountTarget(message.clone()),
                NoSession::Unreachable(source) => {
                    ControllerError::Unreachable { file_system: id.clone(), source: source.clone() }
                }
                NoSession::Files(reason) => {
                    ControllerError::Files { doing: format!("cannot reach {id} over NFS"), source: reason.clone() }
                }
                NoSession::Refused(error) => ControllerError::Directories(error.clone()),
            }),
        }
    }
}
