//! What one connection may do, decided once when it arrives.

use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::credentials::{EXECUTE, User};
use super::duplicates::{Link, Source};
use super::partition::Partitions;
use super::rpc::Credential;
use super::state::Origin;
use super::status::Status;
use super::volume::{Volume, root_directory};
use crate::admission::{Admission, Dialect, Rate, Rights};
use crate::store::{FileId, Limits, MemoryStore, Store};

/// The other end of a connection.
pub(super) struct Peer {
    pub(super) admission: Admission,
    pub(super) volume: Arc<Volume>,
    /// Distinguishes clients, see [`Admission::identity`].
    pub(super) identity: String,
    /// Where the connection has landed; sessions of other partitions are not known there.
    pub(super) partition: u32,
    /// Whose repeated requests may come over this connection, and its place among the others.
    pub(super) source: Source,
    pub(super) link: Link,
    refused: bool,
    root: Mutex<Option<FileId>>,
}

impl Peer {
    pub(super) fn admitted(admission: Admission, volume: Arc<Volume>, address: IpAddr) -> Self {
        let identity = admission.identity();
        let partition = volume.partitions.land();
        Self { partition, ..Self::new(admission, volume, identity, address, false) }
    }

    fn new(admission: Admission, volume: Arc<Volume>, identity: String, address: IpAddr, refused: bool) -> Self {
        let source = Source { identity: identity.clone(), address };
        let (link, root) = (Link::new(), Mutex::new(None));
        Self { admission, volume, identity, partition: 0, source, link, refused, root }
    }

    /// Where its requests about sessions come from.
    pub(super) fn origin(&self) -> Origin<'_> {
        Origin { identity: &self.identity, partition: self.partition }
    }

    /// A caller that was turned away. It may set up a session, so that its kernel gets as far as being told the reason;
    /// everything else is refused, and the empty file system behind it is its own.
    pub(super) fn refused(dialect: Dialect, lease: Duration, address: IpAddr) -> Self {
        let store: Arc<dyn Store> = Arc::new(MemoryStore::new(Limits::default()));
        let volume = Arc::new(Volume::new(&store, lease, Partitions::one()));
        let admission = Admission {
            dialect,
            file_system_id: "-".to_owned(),
            access_point_id: None,
            principal: "refused".to_owned(),
            mount_target_id: None,
            root_path: "/".to_owned(),
            creation_info: None,
            posix_user: None,
            rights: Rights { write: false, root: false },
            store,
            rate: Rate::default(),
            revoked: tokio_util::sync::CancellationToken::new(),
        };
        let identity = format!("refused/{:016x}", rand::random::<u64>());
        Self::new(admission, volume, identity, address, true)
    }

    /// Fails for a caller that was turned away.
    pub(super) fn require_admission(&self) -> Result<(), Status> {
        if self.refused { Err(Status::Access) } else { Ok(()) }
    }

    /// The directory that the connection sees as `/`, made if need be.
    pub(super) fn root(&self) -> Result<FileId, Status> {
        self.require_admission()?;
        let mut known = self.root.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(root) = known.filter(|root| self.admission.store.attributes(*root).is_ok_and(|a| a.links > 0)) {
            return Ok(root);
        }
        let root = root_directory(&self.admission).map_err(|error| {
            tracing::info!(identity = self.identity, %error, "mount refused");
            Status::Access
        })?;
        if self.admission.posix_user.is_some() {
            let user = User::of_call(&Credential::None, &self.admission);
            user.require(&root, EXECUTE)?;
        }
        *known = Some(root.id);
        Ok(root.id)
    }

    /// The directory above one, as far as the connection sees any: nothing above its root, and nothing around a directory that isn't
    /// below it, whose handle it has from elsewhere or from before the directory was moved away.
    pub(super) fn parent(&self, id: FileId) -> Result<FileId, Status> {
        let (store, root) = (&self.admission.store, self.root()?);
        if id == root {
            return Err(Status::NoEnt);
        }
        let parent = store.parent(id)?;
        let mut above = parent;
        while above != root {
            if above == store.root() {
                return Err(Status::NoEnt);
            }
            above = store.parent(above)?;
        }
        Ok(parent)
    }
}
