//! Unix sockets at fixed paths: put in place in one step with the right mode, and removed only by the process whose they are.

use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use efs_common::open_files;
use futures::{Stream, StreamExt};
use tokio::net::{UnixListener, UnixStream};

use self::authority::AnyAuthority;
pub(crate) use self::authority::LIST_MAX as HEADERS_MAX;
pub use self::guests::Guest;
use self::guests::Guests;
pub use self::kept::{KeptSocket, Place};

pub mod authority;
mod guests;
mod kept;

/// Callers at once, or fewer where few files may be open. Kubelet and sidecars have some.
const CALLERS: usize = 256;

/// Nobody needs this long between bind and rename.
const LEFT_OVER_AFTER: Duration = Duration::from_secs(60);

/// Why a socket can't be had at a path.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// Something that is not a socket stands in its place.
    #[error("{0} exists and is not a socket; remove it or choose another path")]
    NotASocket(PathBuf),
    /// The system refused.
    #[error("cannot listen on {path}: {source}")]
    System {
        /// The path.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
}

/// A socket file that is removed at the end, unless a successor has put its own in place.
#[derive(Debug)]
pub struct SocketFile {
    path: PathBuf,
    /// `None` when it is not this process's to remove any more.
    inode: Option<u64>,
}

impl SocketFile {
    /// Where it was put.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The socket that is at `path` now, as if this process had put it there.
    fn present(path: &Path) -> Option<Self> {
        let found = std::fs::symlink_metadata(path).ok().filter(|found| found.file_type().is_socket())?;
        Some(Self { path: path.to_owned(), inode: Some(found.ino()) })
    }

    /// Whether it is still what the path leads to.
    fn is_there(&self) -> bool {
        self.inode.is_some_and(|inode| std::fs::symlink_metadata(&self.path).is_ok_and(|found| found.ino() == inode))
    }

    /// Leaves the file where it is at the end.
    fn leave(&mut self) {
        self.inode = None;
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if self.is_there()
            && let Err(error) = std::fs::remove_file(&self.path)
        {
            tracing::warn!(path = %self.path.display(), %error, "cannot remove the socket");
        }
    }
}

/// Listens at `path` with the permission bits `mode`. A socket that an earlier process left is replaced in one step, so that
/// clients never find the path missing.
///
/// # Errors
/// When something that is not a socket is in the way, or the system refuses.
pub fn bind(path: &Path, mode: u32) -> Result<(UnixListener, SocketFile), BindError> {
    let fail = |source| BindError::System { path: path.to_owned(), source };
    match std::fs::symlink_metadata(path) {
        Ok(found) if !found.file_type().is_socket() => return Err(BindError::NotASocket(path.to_owned())),
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(fail(error)),
    }
    let name = path.file_name().ok_or_else(|| fail(io::ErrorKind::InvalidInput.into()))?;
    // Bind under another name, set the mode, then rename over: nobody can connect before the mode is right. The kubelet, which
    // watches its directory for sockets, leaves names with a leading dot alone.
    let mut fresh = std::ffi::OsString::from(".");
    fresh.push(name);
    fresh.push(".");
    remove_left_over(path, &fresh);
    // Not the process id: two drivers that start at once in their containers are both process 1.
    fresh.push(format!("{:08x}", rand::random::<u32>()));
    let fresh = path.with_file_name(fresh);
    let listener = UnixListener::bind(&fresh).map_err(fail)?;
    let placed = std::fs::set_permissions(&fresh, std::fs::Permissions::from_mode(mode))
        .and_then(|()| std::fs::symlink_metadata(&fresh))
        .and_then(|found| std::fs::rename(&fresh, path).map(|()| found.ino()));
    match placed {
        Ok(inode) => Ok((listener, SocketFile { path: path.to_owned(), inode: Some(inode) })),
        Err(error) => {
            // The bind's own error matters more than a left-over name.
            let _ = std::fs::remove_file(&fresh);
            Err(fail(error))
        }
    }
}

/// Removes what processes have left that died between bind and rename.
fn remove_left_over(path: &Path, prefix: &std::ffi::OsStr) {
    let Some(directory) = path.parent() else { return };
    for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
        let begins = entry.file_name().as_encoded_bytes().starts_with(prefix.as_encoded_bytes());
        let made = entry.metadata().and_then(|it| it.modified());
        let is_old = made.is_ok_and(|made| made.elapsed().is_ok_and(|age| age > LEFT_OVER_AFTER));
        if begins && is_old {
            // It is in nobody's way.
            let _gone = std::fs::remove_file(entry.path());
        }
    }
}

/// The connections of gRPC callers, whatever they call the socket. When there are too many, the one that has been silent longest ends.
pub fn callers(socket: KeptSocket) -> impl Stream<Item = io::Result<AnyAuthority<Guest<UnixStream>>>> {
    let guests = Guests::new(open_files::most_connections(CALLERS));
    socket.map(move |connection| connection.map(|stream| AnyAuthority::new(guests.let_in(stream))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_predecessors_socket_is_replaced_and_a_successors_is_left_alone() {
        let dir = tempfile::tempdir().expect("temp dir");
        let path = dir.path().join("csi.sock");
        let (_listener, first) = bind(&path, 0o600).expect("first");
        let (_listener, second) = bind(&path, 0o640).expect("second");
        assert_eq!(std::fs::metadata(&path).expect("there").permissions().mode() & 0o777, 0o640);
        drop(first);
        assert!(path.exists() && second.is_there(), "the predecessor must not remove its successor's socket");
        drop(second);
        assert_eq!(std::fs::read_dir(dir.path()).expect("list").count(), 0, "nothing is left");
    }

    #[tokio::test]
    async fn what_is_no_socket_is_never_replaced() {
        let dir = tempfile::tempdir().expect("temp dir");
        let path = dir.path().join("csi.sock");
        std::fs::write(&path, "precious").expect("write");
        assert!(matches!(bind(&path, 0o600), Err(BindError::NotASocket(_))));
        assert_eq!(std::fs::read(&path).expect("read"), b"precious");
        let nowhere = dir.path().join("missing/csi.sock");
        assert!(bind(&nowhere, 0o600).expect_err("no directory").to_string().contains("missing/csi.sock"));
    }
}
