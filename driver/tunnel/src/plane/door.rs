//! The socket where drivers connect to the data plane.

use std::fs::{self, File};
use std::io;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use efs_common::durable;
use tokio::net::{UnixListener, UnixStream};

const SOCKET: &str = "orders";

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

    /// Whether somebody has removed the name, or put something in its place that is no socket.
    pub(super) fn is_lost(&self) -> bool {
        match fs::symlink_metadata(self.directory.join(SOCKET)) {
            Ok(found) => !found.file_type().is_socket(),
            Err(error) => error.kind() == io::ErrorKind::NotFound,
        }
    }

    /// Whether another data plane has the name.
    pub(super) fn has_successor(&self) -> bool {
        let found = fs::symlink_metadata(self.directory.join(SOCKET));
        found.is_ok_and(|found| found.file_type().is_socket() && found.ino() != self.inode)
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

/// Socket addresses hold 107 bytes of path, state directories may be longer: the way leads through an open directory.
fn through(directory: &File) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", directory.as_raw_fd()))
}

/// Which socket has the name now: its inode and when it was made, as the number of one that is gone is given again.
pub(super) fn identity(directory: &Path) -> Option<(u64, i64, i64)> {
    let found = fs::symlink_metadata(directory.join(SOCKET)).ok()?;
    Some((found.ino(), found.ctime(), found.ctime_nsec()))
}
