//! Mounts of the kernel's NFS client, gone when dropped.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::time::Duration;

use rustix::io::Errno;
use rustix::mount::{MountFlags, UnmountFlags};

/// A mount that must come up or fail within this time: servers are local.
const LIMIT: Duration = Duration::from_secs(30);

/// How long an unmount is waited for.
const FAREWELL: Duration = Duration::from_secs(5);

/// Something mounted.
#[derive(Debug)]
pub(crate) struct Mounted {
    path: PathBuf,
}

impl Mounted {
    /// Mounts `source_path` of an NFSv4.1 server with the options of AWS's mount helper and `extra` ones.
    pub(crate) fn nfs(server: SocketAddr, source_path: &str, path: &Path, extra: &str) -> Result<Self, Errno> {
        let options = format!(
            "vers=4.1,addr={},port={},rsize=1048576,wsize=1048576,hard,timeo=600,retrans=2,noresvport,nosharecache{extra}",
            server.ip(),
            server.port()
        );
        Self::new(&format!("{}:{source_path}", server.ip()), "nfs4", path, &options)
    }

    /// Mounts an empty tmpfs.
    pub(crate) fn tmpfs(path: &Path) -> Result<Self, Errno> {
        Self::new("tmpfs", "tmpfs", path, "mode=755")
    }

    /// Shows a directory at a second place.
    pub(crate) fn bind(from: &Path, path: &Path) -> Result<Self, Errno> {
        std::fs::create_dir_all(path).expect("the lab's folders can be written");
        rustix::mount::mount_bind(from, path)?;
        Ok(Self { path: path.to_owned() })
    }

    /// Shows a file in another's place.
    pub(crate) fn cover(file: &Path, path: &Path) -> Result<Self, Errno> {
        rustix::mount::mount_bind(file, path)?;
        Ok(Self { path: path.to_owned() })
    }

    fn new(source: &str, kind: &str, path: &Path, options: &str) -> Result<Self, Errno> {
        std::fs::create_dir_all(path).expect("the lab's folders can be written");
        // In a thread of its own: a mount waits for a silent server as long as it likes.
        let (send, receive) = mpsc::channel();
        let (source, kind, target) = (source.to_owned(), kind.to_owned(), path.to_owned());
        let options = std::ffi::CString::new(options).expect("options contain no zero byte");
        std::thread::spawn(move || {
            let answer = rustix::mount::mount(source, &target, kind, MountFlags::empty(), options.as_c_str());
            if send.send(answer).is_err() && answer.is_ok() {
                let _ = rustix::mount::unmount(&target, UnmountFlags::FORCE | UnmountFlags::DETACH);
            }
        });
        receive.recv_timeout(LIMIT).unwrap_or(Err(Errno::TIMEDOUT))?;
        Ok(Self { path: path.to_owned() })
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        // The kernel says good-bye to a server that may be gone, for as long as that takes; the test does not wait for it.
        let (send, receive) = mpsc::channel();
        let path = self.path.clone();
        std::thread::spawn(move || {
            // Already unmounted is fine, and so is a caller who has stopped listening.
            let _ = rustix::mount::unmount(&path, UnmountFlags::FORCE | UnmountFlags::DETACH);
            let _ = send.send(());
        });
        let _ = receive.recv_timeout(FAREWELL);
    }
}

/// Whether this kernel has an NFS client and we may mount.
pub(crate) fn unavailable() -> Option<&'static str> {
    let kinds = std::fs::read_to_string("/proc/filesystems").unwrap_or_default();
    if !kinds.lines().any(|line| line.ends_with("\tnfs4")) {
        Some("this kernel has no NFS client (`just mounts` runs these tests in the lab)")
    } else if !rustix::process::geteuid().is_root() {
        Some("mounting needs root")
    } else {
        None
    }
}
