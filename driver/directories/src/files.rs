//! The few operations on files that claims and trash need. All of them go by the handle of a directory and one name in it, so that
//! nobody can bend the way between two of them.

use std::fmt;

use async_trait::async_trait;
use bytes::Bytes;

/// A file handle: what a file is called whatever becomes of its names.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Handle(pub Bytes);

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Handle({})", hex::encode(&self.0))
    }
}

/// What a name stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A directory.
    Directory,
    /// A symbolic link.
    Link,
    /// A file or anything else.
    Other,
}

/// An object on the file system.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// How to get at it.
    pub handle: Handle,
    /// What it is.
    pub kind: Kind,
    /// Its number, which nothing else on the file system has as long as it exists.
    pub file_id: u64,
    /// When it was last changed, renaming included, by the server's clock: seconds and nanoseconds since 1970.
    pub changed: (u64, u32),
}

/// An entry of a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// Its name. Bytes that are not UTF-8 have been replaced, so that a lookup may not find it.
    pub name: String,
    /// Its kind, if the server told.
    pub kind: Option<Kind>,
    /// Its number and the time of its last change, if the server told.
    pub version: Option<(u64, (u64, u32))>,
}

/// Why an operation failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FilesError {
    /// There is no such name.
    #[error("no such file or directory")]
    NotFound,
    /// The name is taken.
    #[error("the name exists already")]
    Exists,
    /// What should be a directory is none.
    #[error("not a directory")]
    NotDirectory,
    /// A directory still has entries.
    #[error("the directory is not empty")]
    NotEmpty,
    /// The object is gone.
    #[error("the file is gone")]
    Stale,
    /// Whoever is asked is not allowed to. Nothing was done.
    #[error("access denied")]
    Denied,
    /// The server refused for another reason. Nothing was done.
    #[error("{0}")]
    Refused(String),
    /// The connection broke or no answer came in time. Whether the operation was done is unknown.
    #[error("{0}")]
    Lost(String),
}

/// A file system, seen as root.
#[async_trait]
pub trait Files: fmt::Debug + Send + Sync + 'static {
    /// The root directory.
    async fn root(&self) -> Handle;

    /// What a name in a directory stands for. Links are not followed.
    async fn lookup(&self, directory: &Handle, name: &str) -> Result<Node, FilesError>;

    /// Makes a directory; the name must be free.
    async fn make_directory(&self, directory: &Handle, name: &str, mode: u32) -> Result<Node, FilesError>;

    /// Makes a symbolic link; the name must be free. In one step the link is there with its whole text, or it is not.
    async fn make_link(&self, directory: &Handle, name: &str, text: &str) -> Result<Node, FilesError>;

    /// The text of a symbolic link.
    async fn read_link(&self, link: &Handle) -> Result<String, FilesError>;

    /// The first 64 KiB of a file.
    async fn read_file(&self, directory: &Handle, name: &str) -> Result<Vec<u8>, FilesError>;

    /// Sets mode and owner.
    async fn set_owner(&self, node: &Handle, mode: u32, uid: u32, gid: u32) -> Result<(), FilesError>;

    /// Moves `name` of one directory to `new` in another, replacing what POSIX lets a rename replace.
    async fn rename(&self, from: &Handle, name: &str, to: &Handle, new: &str) -> Result<(), FilesError>;

    /// Removes a name: of a file, a link or an empty directory.
    async fn remove(&self, directory: &Handle, name: &str) -> Result<(), FilesError>;

    /// The first `most` entries of a directory, without `.` and `..`.
    async fn list(&self, directory: &Handle, most: usize) -> Result<Vec<Listed>, FilesError>;

    /// Whether a connection that lies behind has been lost, so that a new one should be made.
    fn is_lost(&self) -> bool {
        false
    }
}

/// Turns "there is none" into nothing.
pub(crate) fn found<T>(result: Result<T, FilesError>) -> Result<Option<T>, FilesError> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(FilesError::NotFound | FilesError::Stale) => Ok(None),
        Err(error) => Err(error),
    }
}
