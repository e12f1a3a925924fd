//! The ledger of a file system: which volume owns which directory.
//!
//! A *claim* is a symbolic link whose text is a JSON document, because NFS makes a link in one step that either happens with the whole
//! text or fails when the name is taken, without open files, locks or torn writes. Claims stand in a folder that mirrors the file
//! system: the claim on `/team/app` is the link `.efs-csi-volumes/tree/team/app`. So the file system itself keeps the one rule that
//! matters, atomically and for any number of drivers: a link has no entries, hence nothing can be claimed inside a claimed directory,
//! and a folder with entries can't become a link, hence nothing can be claimed around one.
//!
//! ```text
//! /.efs-csi-volumes/          root's alone, mode 0700; not visible through access points
//!   tree/team/app             the claim on /team/app
//!   names/SHA-256(volume)     path and claim of a volume's name, so that one name never gives two volumes
//!   making/CLAIM              a directory that is being made; it is moved to its place in one step
//!   sizes/CLAIM               the capacity after an expansion
//!   released/CLAIM            a claim on its way out
//!   path-*, name-*            notes of drivers before 0.2. They are migrated to claims when the ledger is opened, and stay as long
//!                             as their volumes, for such a driver may still be at work or come back
//!   known/SHA-256(path)       which of those notes are migrated, with the claim
//! ```

mod legacy;
mod names;
mod tree;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::OnceCell;

use crate::claim::{Claim, ClaimId, Origin, Owner};
use crate::error::DirectoryError;
use crate::files::{Files, FilesError, Handle, Kind, Node, found};
use crate::path::DirectoryPath;

pub use legacy::LegacyNote;
pub use tree::Put;

/// The ledger's folder at the root of the file system.
pub const LEDGER: &str = ".efs-csi-volumes";

/// Mode of the ledger's folders: they tell names of volumes, which are nobody's business.
const PRIVATE: u32 = 0o700;

/// A folder of the ledger.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Folder {
    Tree,
    Names,
    Making,
    Sizes,
    Released,
    Known,
}

impl Folder {
    fn name(self) -> &'static str {
        match self {
            Self::Tree => "tree",
            Self::Names => "names",
            Self::Making => "making",
            Self::Sizes => "sizes",
            Self::Released => "released",
            Self::Known => "known",
        }
    }
}

/// Claims as they were last read, by file id, each with the version that it was read from.
pub type Kept = HashMap<u64, ((u64, u32), Claim)>;

/// The ledger of one file system. Handles of its folders are kept; when somebody removed them, calls fail as stale and a new
/// ledger has to be opened.
#[derive(Debug)]
pub struct Ledger {
    files: Arc<dyn Files>,
    top: OnceCell<Handle>,
    folders: [OnceCell<Handle>; 6],
    /// Directories of earlier drivers' notes of which the log has told that they can't be taken over.
    told: Mutex<BTreeSet<DirectoryPath>>,
}

impl Ledger {
    /// The ledger of the file system behind `files`. Nothing is read or made yet.
    pub fn new(files: Arc<dyn Files>) -> Self {
        Self { files, top: OnceCell::new(), folders: Default::default(), told: Mutex::default() }
    }

    /// The file system.
    pub fn files(&self) -> &Arc<dyn Files> {
        &self.files
    }

    /// Whether the log has not told of this directory yet.
    fn is_told_anew(&self, path: &DirectoryPath) -> bool {
        self.told.lock().unwrap_or_else(PoisonError::into_inner).insert(path.clone())
    }

    /// The ledger's own folder; nothing when there is none and `make` doesn't ask for one.
    async fn top(&self, make: bool) -> Result<Option<Handle>, DirectoryError> {
        let root = self.files.root().await;
        self.folder_in(&self.top, &root, LEDGER, make).await
    }

    async fn find_folder(&self, folder: Folder) -> Result<Option<Handle>, DirectoryError> {
        let Some(top) = self.top(false).await? else { return Ok(None) };
        self.folder_in(&self.folders[folder as usize], &top, folder.name(), false).await
    }

    async fn folder(&self, folder: Folder) -> Result<Handle, DirectoryError> {
        let missing = || DirectoryError::Files { doing: "open the ledger".to_owned(), source: FilesError::Stale };
        let top = self.top(true).await?.ok_or_else(missing)?;
        let cell = &self.folders[folder as usize];
        self.folder_in(cell, &top, folder.name(), true).await?.ok_or_else(missing)
    }

    async fn folder_in(
        &self,
        cell: &OnceCell<Handle>,
        parent: &Handle,
        name: &str,
        make: bool,
    ) -> Result<Option<Handle>, DirectoryError> {
        if let Some(handle) = cell.get() {
            return Ok(Some(handle.clone()));
        }
        let Some(handle) = private_folder(&*self.files, parent, name, make).await? else { return Ok(None) };
        Ok(Some(cell.get_or_init(|| async { handle }).await.clone()))
    }

    /// Notes another capacity for a claim.
    ///
    /// # Errors
    /// When the file system can't be asked or refuses.
    pub async fn set_size(&self, claim: &ClaimId, bytes: i64) -> Result<(), DirectoryError> {
        let failed = || DirectoryError::files(format!("note the capacity of claim {claim}"));
        let (making, sizes) = (self.folder(Folder::Making).await?, self.folder(Folder::Sizes).await?);
        let fresh = format!("size-{}", ClaimId::random());
        self.files.make_link(&making, &fresh, &bytes.to_string()).await.map_err(failed())?;
        self.files.rename(&making, &fresh, &sizes, claim.as_str()).await.map_err(failed())
    }

    /// The capacity of a claim, as it was made or last expanded.
    ///
    /// # Errors
    /// When the file system can't be asked.
    pub async fn size(&self, claim: &Claim) -> Result<i64, DirectoryError> {
        let Some(sizes) = self.find_folder(Folder::Sizes).await? else { return Ok(claim.capacity()) };
        let text = self.read_link_at(&sizes, claim.id.as_str()).await?;
        Ok(text.and_then(|text| text.parse().ok()).unwrap_or_else(|| claim.capacity()))
    }

    /// The capacities of all claims that were expanded.
    ///
    /// # Errors
    /// When the file system can't be asked.
    pub async fn sizes(&self) -> Result<BTreeMap<ClaimId, i64>, DirectoryError> {
        let mut all = BTreeMap::new();
        let Some(sizes) = self.find_folder(Folder::Sizes).await? else { return Ok(all) };
        let listed = self.files.list(&sizes, usize::MAX).await.map_err(DirectoryError::files("list capacities"))?;
        for entry in listed {
            if let Some(bytes) = self.read_link_at(&sizes, &entry.name).await?.and_then(|text| text.parse().ok()) {
                all.insert(ClaimId(entry.name), bytes);
            }
        }
        Ok(all)
    }

    /// The text of the link `name` in a folder; nothing when there is none.
    async fn read_link_at(&self, folder: &Handle, name: &str) -> Result<Option<String>, DirectoryError> {
        let failed = || DirectoryError::files(format!("read the note {name}"));
        let Some(node) = found(self.files.lookup(folder, name).await).map_err(failed())? else { return Ok(None) };
        if node.kind != Kind::Link {
            return Ok(None);
        }
        found(self.files.read_link(&node.handle).await).map_err(failed())
    }

    /// Where a directory is made before it is moved to its place, and what is there for this claim.
    pub(crate) async fn staging(&self, claim: &ClaimId) -> Result<(Handle, Option<Node>), DirectoryError> {
        let making = self.folder(Folder::Making).await?;
        let node = found(self.files.lookup(&making, claim.as_str()).await);
        Ok((making, node.map_err(DirectoryError::files("look for a directory that is being made"))?))
    }

    /// Makes a directory that is not at its place yet, with its owner and mode.
    pub(crate) async fn stage(&self, claim: &ClaimId, mode: u32, uid: u32, gid: u32) -> Result<Node, DirectoryError> {
        let failed = || DirectoryError::files("make a directory in the ledger");
        let making = self.folder(Folder::Making).await?;
        let node = self.files.make_directory(&making, claim.as_str(), mode).await.map_err(failed())?;
        self.files.set_owner(&node.handle, mode, uid, gid).await.map_err(failed())?;
        Ok(node)
    }

    /// Forgets a directory that never came to its place; false when there is none (any more). It is empty, or it isn't removed.
    pub(crate) async fn unstage(&self, claim: &ClaimId) -> Result<bool, DirectoryError> {
        let Some(making) = self.find_folder(Folder::Making).await? else { return Ok(false) };
        let removed = found(self.files.remove(&making, claim.as_str()).await);
        removed
            .map(|removed| removed.is_some())
            .map_err(DirectoryError::files("remove an unused directory of the ledger"))
    }

    /// Removes what creations that were cut off have left in `making` and `released` for longer than `seconds`; `now` is the
    /// server's time.
    ///
    /// # Errors
    /// When the file system can't be asked.
    pub async fn sweep(&self, now: u64, seconds: u64) -> Result<usize, DirectoryError> {
        let mut removed = 0;
        for folder in [Folder::Making, Folder::Released] {
            let Some(handle) = self.find_folder(folder).await? else { continue };
            let listed = self.files.list(&handle, usize::MAX).await;
            for entry in listed.map_err(DirectoryError::files("list the ledger"))? {
                let old = entry.version.is_some_and(|(_, (changed, _))| now.saturating_sub(changed) > seconds);
                // A directory with files in it is somebody's, whatever it is called: it can't be removed this way.
                if old && self.files.remove(&handle, &entry.name).await.is_ok() {
                    removed += 1;
                }
            }
        }
        Ok(removed)
    }
}

/// A folder of the driver's own; nothing when there is none and `make` doesn't ask for one.
pub(crate) async fn private_folder(
    files: &dyn Files,
    parent: &Handle,
    name: &str,
    make: bool,
) -> Result<Option<Handle>, DirectoryError> {
    let failed = || DirectoryError::files(format!("open the folder {name}"));
    let node = match found(files.lookup(parent, name).await).map_err(failed())? {
        Some(node) => node,
        None if !make => return Ok(None),
        None => match files.make_directory(parent, name, PRIVATE).await {
            Ok(node) => node,
            Err(FilesError::Exists) => files.lookup(parent, name).await.map_err(failed())?,
            Err(error) => return Err(failed()(error)),
        },
    };
    if node.kind == Kind::Directory {
        return Ok(Some(node.handle));
    }
    Err(DirectoryError::Unreadable {
        at: name.to_owned(),
        reason: "it should be a directory of the driver's".to_owned(),
    })
}
