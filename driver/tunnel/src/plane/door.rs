//! The socket where drivers connect to the data plane.

use std::fs::{self, File};
use std::io;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use efs_common::durable;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, socket_with};
use tokio::net::{UnixListener, UnixStream};

use crate::keeper::ORDERS as SOCKET;

/// The listening socket under its name. Whoever may enter the directory may connect, and the callers' uids are looked at besides.
pub(super) struct Door {
    listener: UnixListener,
    directory: PathBuf,
    inode: u64,
}

impl Door {
    /// Listens in `directory`, in the place of an earlier data plane.
    pub(super) fn open(directory: &Path) -> io::Result<Self> {
        let fresh = format!("{SOCKET}.{}", std::process::id());
        durable::remove(&directory.join(&fresh))?;
        let opened = File::open(directory)?;
        let listener = UnixListener::bind(through(&opened).join(&fresh))?;
        let placed = || {
            fs::set_permissions(directory.join(&fresh), fs::Permissions::from_mode(0o600))?;
            let inode = fs::symlink_metadata(directory.join(&fresh))?.ino();
            fs::rename(directory.join(&fresh), directory.join(SOCKET))?;
            io::Result::Ok(inode)
        };
        let inode = placed().inspect_err(|_| {
            // The error says enough. What stays here would be one file more with each attempt.
            let _removed = durable::remove(&directory.join(&fresh));
        })?;
        Ok(Self { listener, directory: directory.to_owned(), inode })
    }

    /// The next driver, if it is root's or this user's.
    pub(super) async fn accept(&self) -> io::Result<Option<UnixStream>> {
        let (stream, _) = self.listener.accept().await?;
        let uid = stream.peer_cred()?.uid();
        if uid == 0 || uid == rustix::process::geteuid().as_raw() {
            return Ok(Some(stream));
        }
        tracing::warn!(uid, "refused a connection of another user");
        Ok(None)
    }

    /// Whether the name leads to nobody: somebody has removed it or put something in its place that is no socket, or the successor whose it
    /// was has died.
    pub(super) fn is_lost(&self) -> bool {
        match fs::symlink_metadata(self.directory.join(SOCKET)) {
            Ok(found) if found.ino() == self.inode => false,
            Ok(found) => !found.file_type().is_socket() || is_deserted(&self.directory),
            Err(error) => error.kind() == io::ErrorKind::NotFound,
        }
    }

    /// Whether another data plane has the name, and lives.
    pub(super) fn has_successor(&self) -> bool {
        let found = fs::symlink_metadata(self.directory.join(SOCKET));
        found.is_ok_and(|found| found.file_type().is_socket() && found.ino() != self.inode)
            && !is_deserted(&self.directory)
    }

    /// Takes the name away, unless another data plane has it by now.
    pub(super) fn close(self) -> io::Result<()> {
        if self.has_successor() { Ok(()) } else { durable::remove(&self.directory.join(SOCKET)) }
    }
}

/// Connects to the data plane in `directory`.
pub(super) async fn connect(directory: &Path) -> io::Result<UnixStream> {
    let directory = File::open(directory)?;
    UnixStream::connect(through(&directory).join(SOCKET)).await
}

/// Whether nobody listens at the socket any more. Doesn't wait for one who hangs; one that can't be asked counts as living.
fn is_deserted(directory: &Path) -> bool {
    let asked = || {
        let directory = File::open(directory)?;
        let address = SocketAddrUnix::new(through(&directory).join(SOCKET))?;
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
        io::Result::Ok(rustix::net::connect(&socket, &address)?)
    };
    asked().is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused)
}

/// Socket addresses hold 107 bytes of path, state directories may be longer: the way leads through an open directory.
fn through(directory: &File) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", directory.as_raw_fd()))
}

/// Which socket has the name now: its inode and when it was made, as the number of one that is gone is given again.
pub(super) fn identity(directory: &Path) -> Option<(u64, i64, i64)> {
    let found = fs::symlink_metadata(directory.join(SOCKET)).ok()?;
    Some((found.ino(), found.ctime(), found.ctime_nsec()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_successor_that_has_died_is_none_and_leaves_the_name_to_who_was_before() {
        let directory = tempfile::tempdir().expect("a directory");
        let state = |door: &Door| (door.has_successor(), door.is_lost());
        let first = Door::open(directory.path()).expect("a door");
        assert_eq!(state(&first), (false, false));
        let second = Door::open(directory.path()).expect("a door");
        assert_eq!(state(&first), (true, false));
        assert_eq!(state(&second), (false, false));
        // Killed: its name stays.
        drop(second);
        assert_eq!(state(&first), (false, true));
        let first = Door::open(directory.path()).expect("the door again");
        assert_eq!(state(&first), (false, false));
        first.close().expect("closed");
        assert!(!directory.path().join(SOCKET).exists());
    }
}
