//! The data plane: all tunnels of a node in a process of their own.
//!
//! It carries the bytes of the volumes and does nothing else. The driver tells it which tunnels to open, over a Unix socket that only
//! root and its own user may open, and answers what can't be known here: addresses and credentials. When the driver ends, however it
//! ends, the tunnels go on. When the data plane ends, the [`keeper`](crate::keeper), which has started it, holds the listening sockets
//! and starts the next one, which goes on with the tunnels that are noted with them, whether a driver is there or not.
//!
//! - [`wire`]: what driver and data plane say to each other
//! - [`client`]: the driver's side
//! - `greet`: what is said to a data plane by who is no driver
//! - [`host`]: where the data plane runs, and how it is started
//! - [`serve`]: the data plane's side
//! - [`remote`]: what it asks of the driver
//! - `door`: the socket where drivers connect
//! - [`process`]: the process

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::{fs, io};

use rustix::fs::{AtFlags, Gid, Mode, OFlags, Uid};
use rustix::io::Errno;

pub mod client;
mod door;
mod greet;
pub mod host;
pub mod process;
pub mod remote;
pub mod serve;
pub mod wire;

pub use crate::failure::{Failure, FailureKind};
pub use client::{DataPlane, Lease};
pub use greet::check;
pub use host::Host;
pub use serve::Plane;

/// The word on the command line that makes the program a data plane with its keeper.
pub const COMMAND: &str = "tunnel";
/// Its flag for the data plane itself, which the keeper starts.
pub const SERVE: &str = "--serve";
/// The keeper's flag for going on with a data plane whose keeper is gone.
pub const ADOPT: &str = "--adopt";
/// What the processes of one release say of themselves.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The folder of data plane and keeper within a state directory. Its name is older than the data plane: the next keeper finds the one before.
pub fn directory(state_dir: &Path) -> PathBuf {
    state_dir.join("keeper")
}

/// Which executable a program is: the same file says the same, and a new one in its place says something else.
pub fn executable(program: &Path) -> String {
    match fs::metadata(program) {
        Ok(file) => format!("{:x}:{:x}:{:x}:{:x}", file.dev(), file.ino(), file.mtime(), file.size()),
        Err(error) => format!("unknown: {error}"),
    }
}

/// The executable of this process.
pub const OWN_EXECUTABLE: &str = "/proc/self/exe";

/// The files in the directory, which go with it to another user.
const FILES: [&str; 3] = ["client-key.pem", "orders", "socket"];

/// Gives the directory, with the sockets and the key of an earlier data plane, to `user`, who is to run the next one.
///
/// # Errors
/// When it can't be made or given away.
pub fn give_directory(directory: &Path, user: u32) -> io::Result<()> {
    fs::create_dir_all(directory)?;
    let open = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let opened = rustix::fs::open(directory, open, Mode::empty())?;
    let (owner, group) = (Some(Uid::from_raw(user)), Some(Gid::from_raw(user)));
    for name in FILES {
        // What the user before has put in their place, be it a link, is that user's and is not followed. A file that has another name, too,
        // may be anybody's: it is left as it is, and who can't use it says so.
        let open = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let found = match rustix::fs::openat(&opened, name, open, Mode::empty()) {
            Err(Errno::NOENT) => continue,
            found => found?,
        };
        if rustix::fs::fstat(&found)?.st_nlink == 1 {
            rustix::fs::chownat(&found, "", owner, group, AtFlags::EMPTY_PATH)?;
        }
    }
    rustix::fs::fchmod(&opened, Mode::RWXU)?;
    Ok(rustix::fs::fchown(&opened, owner, group)?)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use super::*;

    #[test]
    fn the_directory_goes_to_its_user_and_what_links_lead_to_stays() {
        let dir = tempfile::tempdir().expect("temp dir");
        let (own, foreign) = (dir.path().join("keeper"), dir.path().join("foreign"));
        fs::write(&foreign, "x").expect("write");
        let (user, owner) = if rustix::process::geteuid().is_root() {
            (65_532, fs::metadata(&foreign).expect("metadata").uid())
        } else {
            // Nobody but root can give anything away.
            let own = rustix::process::geteuid().as_raw();
            (own, own)
        };
        give_directory(&own, user).expect("made");
        fs::write(own.join("client-key.pem"), "key").expect("write");
        symlink(&foreign, own.join("orders")).expect("link");
        let linked = dir.path().join("linked");
        fs::write(&linked, "x").expect("write");
        fs::hard_link(&linked, own.join("socket")).expect("link");
        give_directory(&own, user).expect("again");
        let metadata = fs::metadata(&own).expect("metadata");
        assert_eq!((metadata.uid(), metadata.permissions().mode() & 0o777), (user, 0o700));
        assert_eq!(fs::metadata(own.join("client-key.pem")).expect("metadata").uid(), user);
        assert_eq!(fs::metadata(&foreign).expect("metadata").uid(), owner, "a link is not followed");
        assert_eq!(fs::metadata(&linked).expect("metadata").uid(), owner, "a hard link is not followed");
    }
}
