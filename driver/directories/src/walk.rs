//! Ways to a directory, component by component and by handle. A symbolic link on the way is refused: whoever may write in a directory
//! could otherwise lead the driver into somebody else's files.

use crate::error::DirectoryError;
use crate::files::{Files, FilesError, Handle, Kind, Node, found};
use crate::path::DirectoryPath;

/// Mode of the directories that are made on the way to a volume's. They hold no data; volumes must be reachable through them.
const WAY_MODE: u32 = 0o755;

/// What stands at a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// A directory, and the handle of the directory that holds it.
    Directory {
        /// The directory around it.
        parent: Handle,
        /// The directory.
        node: Node,
    },
    /// Nothing; `parent` is the directory around it, if that exists.
    Free {
        /// The directory around it.
        parent: Option<Handle>,
    },
}

/// Looks at a path and changes nothing.
///
/// # Errors
/// A link or a file on the way or at its end.
pub async fn look(files: &dyn Files, path: &DirectoryPath) -> Result<Place, DirectoryError> {
    let mut parent = files.root().await;
    let ways: Vec<DirectoryPath> = path.ancestors().chain([path.clone()]).collect();
    for (n, at) in ways.iter().enumerate() {
        let is_last = n + 1 == ways.len();
        match step(files, &parent, path, at).await? {
            None => return Ok(Place::Free { parent: is_last.then_some(parent) }),
            Some(node) if is_last => return Ok(Place::Directory { parent, node }),
            Some(node) => parent = node.handle,
        }
    }
    Ok(Place::Free { parent: None })
}

/// Whether a directory stands at a path that has this file id. A link or a file there is another thing.
///
/// # Errors
/// When the file system can't be asked.
pub(crate) async fn stands_at(
    files: &dyn Files,
    path: &DirectoryPath,
    file_id: Option<u64>,
) -> Result<bool, DirectoryError> {
    match look(files, path).await {
        Ok(Place::Directory { node, .. }) => Ok(Some(node.file_id) == file_id),
        Ok(Place::Free { .. }) | Err(DirectoryError::Link { .. } | DirectoryError::NotDirectory { .. }) => Ok(false),
        Err(error) => Err(error),
    }
}

/// The handle of the directory that holds `path`; it and those around it are made where they are missing.
///
/// # Errors
/// A link or a file on the way, or the server's refusal.
pub async fn make_way(files: &dyn Files, path: &DirectoryPath) -> Result<Handle, DirectoryError> {
    let mut parent = files.root().await;
    for at in path.ancestors() {
        let node = match step(files, &parent, path, &at).await? {
            Some(node) => node,
            None => match files.make_directory(&parent, at.name(), WAY_MODE).await {
                Ok(node) => node,
                // Somebody else was faster; what is there is looked at like anything else.
                Err(FilesError::Exists) => step(files, &parent, path, &at).await?.ok_or_else(|| {
                    DirectoryError::Contended { path: path.clone(), what: format!("{at} comes and goes") }
                })?,
                Err(error) => return Err(DirectoryError::files(format!("make directory {at}"))(error)),
            },
        };
        parent = node.handle;
    }
    Ok(parent)
}

/// What has the last name of `at` in `parent`; it must be a directory or nothing.
async fn step(
    files: &dyn Files,
    parent: &Handle,
    path: &DirectoryPath,
    at: &DirectoryPath,
) -> Result<Option<Node>, DirectoryError> {
    let node = found(files.lookup(parent, at.name()).await);
    match node.map_err(DirectoryError::files(format!("look up {at}")))? {
        Some(Node { kind: Kind::Link, .. }) => Err(DirectoryError::Link { path: path.clone(), at: at.clone() }),
        Some(Node { kind: Kind::Other, .. }) => {
            Err(DirectoryError::NotDirectory { path: path.clone(), at: at.clone() })
        }
        other => Ok(other),
    }
}
