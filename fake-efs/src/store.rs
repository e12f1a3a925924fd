//! Where a file system keeps its files.
//!
//! A [`Store`] is a table of inodes and nothing more: it keeps names, contents and attributes consistent, every method being
//! one atomic step. Who may do what is decided by its caller, the NFS server. Two stores exist: one in [memory](MemoryStore)
//! and one in a [directory of the host](DirectoryStore).

mod attributes;
#[cfg(test)]
mod conformance;
mod content;
mod directory;
mod memory;

use std::io;

pub use attributes::{Attributes, Changes, FileClock, Kind, Time};
pub use directory::{DirectoryStore, OpenError};
pub use memory::MemoryStore;

/// Number of an inode. Never used again within one store, so that a handle to a removed file stays stale for ever.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FileId(pub u64);

/// What tells one store from another and makes its file handles unforgeable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Instance {
    /// Random; a handle of another instance is stale here.
    pub id: [u8; 8],
    /// Secret; keys the check value in file handles.
    pub key: [u8; 32],
}

impl Instance {
    /// Draws a new instance.
    pub fn random() -> Self {
        Self { id: rand::random(), key: rand::random() }
    }
}

/// Change counters of a directory before and after one step, from which NFS clients see whether they know its contents.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DirectoryChange {
    /// Counter before the step.
    pub before: u64,
    /// Counter after the step.
    pub after: u64,
}

/// An object to be created.
#[derive(Clone, Debug)]
pub struct NewNode {
    /// What it is.
    pub body: NewBody,
    /// Permission bits including set-id and sticky bits, e.g. 0o644.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
}

/// The kind-dependent part of a [`NewNode`].
#[derive(Clone, Debug)]
pub enum NewBody {
    /// A regular file, empty. The verifier is that of an exclusive create, kept so that a repeated request is recognised.
    Regular {
        /// Chosen by the client.
        verifier: Option<[u8; 8]>,
    },
    /// An empty directory.
    Directory,
    /// A symbolic link.
    Symlink {
        /// Its text, 1 to 4080 bytes.
        target: Vec<u8>,
    },
    /// A named pipe.
    Fifo,
    /// A Unix socket.
    Socket,
}

/// One entry of a directory as [`Store::read_directory`] shows it.
#[derive(Debug)]
pub struct Entry<'a> {
    /// Position: pass it to go on behind this entry. Greater than 2.
    pub cookie: u64,
    /// File name, not necessarily UTF-8.
    pub name: &'a [u8],
    /// Attributes of what it names.
    pub attributes: &'a Attributes,
}

/// How much is stored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Bytes as Amazon EFS meters them: file data in units of 4 KiB, plus 2 KiB of metadata an object; a directory or
    /// symbolic link counts as 4 KiB of data. An empty file system has 6 KiB.
    pub metered_bytes: u64,
    /// Number of objects, the root included.
    pub objects: u64,
}

/// What a store does not exceed.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Largest file in bytes (EFS: 47.9 TiB).
    pub file_size: u64,
    /// Most hard links to one file (EFS: 177).
    pub links: u32,
    /// Longest name in bytes.
    pub name: usize,
    /// Longest symbolic link in bytes.
    pub symlink: usize,
    /// Most directories below one another (EFS: 1000).
    pub depth: u32,
    /// Most metered bytes in the store; protects the host's memory or disk.
    pub metered_bytes: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            file_size: 52_673_613_135_872,
            links: 177,
            name: 255,
            symlink: 4080,
            depth: 1000,
            metered_bytes: 16 << 30,
        }
    }
}

/// Why a store refuses.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The inode does not exist any more, or never did.
    #[error("the file is gone")]
    Stale,
    /// No entry of that name.
    #[error("no such file or directory")]
    NotFound,
    /// The name is taken.
    #[error("the name exists already")]
    Exists,
    /// A directory was needed.
    #[error("not a directory")]
    NotDirectory,
    /// Anything but a directory was needed.
    #[error("is a directory")]
    IsDirectory,
    /// A directory to be removed or replaced has entries.
    #[error("directory not empty")]
    NotEmpty,
    /// The step makes no sense for this object, for example moving a directory into itself.
    #[error("invalid argument")]
    Invalid,
    /// Longer than [`Limits::name`], [`Limits::symlink`] or deeper than [`Limits::depth`].
    #[error("name too long")]
    NameTooLong,
    /// More than [`Limits::links`].
    #[error("too many links")]
    TooManyLinks,
    /// Beyond [`Limits::file_size`].
    #[error("file too large")]
    FileTooBig,
    /// Beyond [`Limits::metered_bytes`].
    #[error("no space left")]
    NoSpace,
    /// The host failed; only directory stores.
    #[error("storage failed: {0}")]
    Io(io::Error),
}

impl From<io::Error> for StoreError {
    /// What the host says of its own limits is told as if they were EFS's: clients know what to do then.
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::FileTooLarge => Self::FileTooBig,
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::NoSpace,
            _ => Self::Io(error),
        }
    }
}

/// Result of a store's method.
pub type Result<T, E = StoreError> = std::result::Result<T, E>;

/// A table of inodes. Every method is atomic and may be called from several threads.
pub trait Store: Send + Sync + 'static {
    /// Names this store in file handles.
    fn instance(&self) -> Instance;

    /// Whether files and handles outlive the process, so that clients may reclaim their locks after a restart.
    fn is_durable(&self) -> bool {
        false
    }

    /// Whether methods may wait for the host's disk, and so must not be called on an asynchronous task's thread.
    fn blocks(&self) -> bool {
        false
    }

    /// The limits that hold.
    fn limits(&self) -> Limits;

    /// The time by which files are stamped.
    fn now(&self) -> Time;

    /// The root directory.
    fn root(&self) -> FileId;

    /// Attributes of an inode.
    fn attributes(&self, id: FileId) -> Result<Attributes>;

    /// Changes attributes and returns the new ones. A changed size truncates or extends a regular file.
    fn set_attributes(&self, id: FileId, changes: &Changes) -> Result<Attributes>;

    /// What a name in a directory stands for.
    fn lookup(&self, directory: FileId, name: &[u8]) -> Result<FileId>;

    /// The directory that holds this directory; the root is its own parent.
    fn parent(&self, directory: FileId) -> Result<FileId>;

    /// Makes an object with a name that must be free.
    fn create(&self, directory: FileId, name: &[u8], node: &NewNode) -> Result<(Attributes, DirectoryChange)>;

    /// The verifier of the exclusive create that made this file.
    fn verifier(&self, id: FileId) -> Result<Option<[u8; 8]>>;

    /// Gives a file another name.
    fn link(&self, id: FileId, directory: FileId, name: &[u8]) -> Result<DirectoryChange>;

    /// Removes a name: of a file, or of an empty directory. Contents stay while the inode is [pinned](Self::pin).
    fn remove(&self, directory: FileId, name: &[u8]) -> Result<DirectoryChange>;

    /// Moves an object, replacing what has the new name if that is of the same kind (a directory must be empty).
    fn rename(
        &self,
        from_directory: FileId,
        from: &[u8],
        to_directory: FileId,
        to: &[u8],
    ) -> Result<(DirectoryChange, DirectoryChange)>;

    /// The text of a symbolic link.
    fn read_link(&self, id: FileId) -> Result<Vec<u8>>;

    /// Appends up to `count` bytes from `offset` to `out`; true when the end of the file was reached.
    fn read(&self, id: FileId, offset: u64, count: usize, out: &mut Vec<u8>) -> Result<bool>;

    /// Writes bytes at an offset and returns the new attributes.
    fn write(&self, id: FileId, offset: u64, data: &[u8]) -> Result<Attributes>;

    /// Makes what was written to the file survive a crash of the host.
    fn commit(&self, id: FileId) -> Result<()>;

    /// Shows the entries behind a cookie (0: all) in cookie order until `visit` answers false; true when all were shown.
    ///
    /// An entry that exists throughout a traversal is shown exactly once, whatever else changes meanwhile.
    fn read_directory(&self, directory: FileId, after: u64, visit: &mut dyn FnMut(Entry<'_>) -> bool) -> Result<bool>;

    /// Keeps the contents of a file that is open although its last name may go. Counted.
    fn pin(&self, id: FileId) -> Result<()>;

    /// Ends one [`pin`](Self::pin).
    fn unpin(&self, id: FileId);

    /// How much is stored.
    fn usage(&self) -> Usage;

    /// Keeps what the server needs to know after a restart about the clients that it had, replacing what was kept before.
    fn save_clients(&self, _clients: &[Vec<u8>]) {}

    /// What was kept by [`save_clients`](Self::save_clients).
    fn saved_clients(&self) -> Vec<Vec<u8>> {
        Vec::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_of_the_host_are_told_apart_from_failures() {
        let of = |kind: io::ErrorKind| StoreError::from(io::Error::from(kind));
        assert!(matches!(of(io::ErrorKind::FileTooLarge), StoreError::FileTooBig));
        assert!(matches!(of(io::ErrorKind::StorageFull), StoreError::NoSpace));
        assert!(matches!(of(io::ErrorKind::QuotaExceeded), StoreError::NoSpace));
        assert!(matches!(of(io::ErrorKind::UnexpectedEof), StoreError::Io(_)));
    }
}
