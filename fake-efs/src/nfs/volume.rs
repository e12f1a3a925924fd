//! A file system as the NFS server sees it: the state of its clients, and the directory that a connection has as its root.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use super::attributes::FileSystem;
use super::duplicates::Duplicates;
use super::partition::Partitions;
use super::state::State;
use crate::admission::{Admission, CreationInfo};
use crate::store::{Attributes, FileId, Kind, NewBody, NewNode, Store, StoreError};

/// Most bytes in one READ or WRITE.
pub(super) const IO_SIZE: u32 = 1 << 20;

/// One file system and its clients.
pub(super) struct Volume {
    store: Weak<dyn Store>,
    state: Mutex<State>,
    pub(super) duplicates: Duplicates,
    pub(super) partitions: Partitions,
    pub(super) file_system: FileSystem,
    /// Random in each life of the server: unstable writes may be lost between two of them.
    pub(super) verifier: [u8; 8],
}

impl Volume {
    pub(super) fn new(store: &Arc<dyn Store>, lease: Duration, partitions: Partitions) -> Self {
        let file_system = FileSystem {
            instance: store.instance(),
            limits: store.limits(),
            lease_seconds: u32::try_from(lease.as_secs()).unwrap_or(u32::MAX).max(1),
            io_size: IO_SIZE,
        };
        let mut state = State::new(Arc::downgrade(store), lease, Arc::new(Instant::now));
        state.recover();
        let state = Mutex::new(state);
        Self {
            store: Arc::downgrade(store),
            state,
            duplicates: Duplicates::default(),
            partitions,
            file_system,
            verifier: rand::random(),
        }
    }

    /// Whether the file system still exists.
    pub(super) fn is_alive(&self) -> bool {
        self.store.strong_count() > 0
    }

    /// The clients' state. A panic under the lock spoils one client's state at worst, so the lock stays usable.
    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Why a connection has no root directory.
#[derive(Debug, thiserror::Error)]
pub(super) enum NoRoot {
    #[error("root directory {path}: {source}")]
    Store { path: String, source: StoreError },
    #[error("root directory {0} does not exist and the access point has no CreationInfo")]
    Missing(String),
    #[error("root directory {0} is not a directory")]
    NotADirectory(String),
    #[error("root directory {0:?} has a name that no file can have")]
    Impossible(String),
}

/// Finds the directory that is `/` for a connection. A missing one is made as the access point says; missing directories
/// above it belong to root, mode 0755. Symbolic links are not followed.
pub(super) fn root_directory(admission: &Admission) -> Result<Attributes, NoRoot> {
    let (store, path) = (&*admission.store, &admission.root_path);
    let failed = |source| NoRoot::Store { path: path.clone(), source };
    let names: Vec<&str> = path.split('/').filter(|name| !name.is_empty()).collect();
    if names.iter().any(|name| name.contains('\0') || matches!(*name, "." | "..")) {
        return Err(NoRoot::Impossible(path.clone()));
    }
    let mut at = store.root();
    for (index, name) in names.iter().enumerate() {
        let is_last = index + 1 == names.len();
        at = match (store.lookup(at, name.as_bytes()), &admission.creation_info) {
            (Err(StoreError::NotFound), Some(info)) => {
                make_directory(store, at, name.as_bytes(), is_last.then_some(info)).map_err(failed)?
            }
            (Err(StoreError::NotFound), None) => return Err(NoRoot::Missing(path.clone())),
            (Err(StoreError::NotDirectory), _) => return Err(NoRoot::NotADirectory(path.clone())),
            (found, _) => found.map_err(failed)?,
        };
    }
    let root = store.attributes(at).map_err(failed)?;
    if root.kind == Kind::Directory { Ok(root) } else { Err(NoRoot::NotADirectory(path.clone())) }
}

fn make_directory(
    store: &dyn Store,
    parent: FileId,
    name: &[u8],
    info: Option<&CreationInfo>,
) -> Result<FileId, StoreError> {
    let (uid, gid, mode) = info.map_or((0, 0, 0o755), |info| (info.owner_uid, info.owner_gid, info.permissions));
    match store.create(parent, name, &NewNode { body: NewBody::Directory, mode, uid, gid }) {
        Ok((made, _)) => Ok(made.id),
        // Another connection was faster.
        Err(StoreError::Exists) => store.lookup(parent, name),
        Err(error) => Err(error),
    }
}
