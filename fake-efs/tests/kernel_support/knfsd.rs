//! The Linux kernel's own NFS server on a tmpfs: the reference that most clients are tested with.

use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::Command;

use anyhow::Context as _;

use super::mounts::Mounted;
use super::process::{self, output};
use super::reference::Reference;

/// Why it can't be started.
pub(crate) fn missing() -> Option<String> {
    if !["rpc.nfsd", "rpc.mountd", "exportfs"].iter().all(|program| process::installed(program)) {
        return Some("nfs-kernel-server is not installed".to_owned());
    }
    let known = std::fs::read_to_string("/proc/filesystems").unwrap_or_default();
    if known.lines().any(|line| line.ends_with("\tnfsd")) || load().is_ok() {
        None
    } else {
        Some("this kernel has no NFS server".to_owned())
    }
}

/// The lab's runner names the folder with the guest's modules.
fn load() -> anyhow::Result<()> {
    let mut command = Command::new("modprobe");
    if let Some(scratch) = std::env::var_os("SCRATCH") {
        command.arg("-d").arg(scratch);
    }
    output(command.arg("nfsd")).map(drop)
}

/// Starts it on a tmpfs of its own in this folder, which it serves as `/`.
pub(crate) fn start(folder: &Path) -> anyhow::Result<Reference> {
    for state in ["sm", "v4recovery", "rpc_pipefs", "nfsdcld"] {
        std::fs::create_dir_all(Path::new("/var/lib/nfs").join(state))?;
    }
    for table in ["etab", "rmtab", "xtab"] {
        std::fs::write(Path::new("/var/lib/nfs").join(table), "")?;
    }
    let _ = output(Command::new("mount").args(["-t", "nfsd", "nfsd", "/proc/fs/nfsd"]));
    let data = Mounted::tmpfs(&folder.join("data"))?;
    // The shortest that it takes; the grace period is ended by hand below.
    std::fs::write("/proc/fs/nfsd/nfsv4leasetime", "10")?;
    std::fs::write("/proc/fs/nfsd/nfsv4gracetime", "10")?;
    // Debian's configuration has it look up groups by user id; without one it takes those that the client sends, as EFS does.
    std::fs::write(folder.join("nfs.conf"), "")?;
    let unconfigured = Mounted::cover(&folder.join("nfs.conf"), Path::new("/etc/nfs.conf"))?;
    let export = format!("*:{}", data.path().display());
    output(Command::new("exportfs").args(["-i", "-o", "rw,insecure,no_subtree_check,fsid=0,no_root_squash", &export]))?;
    output(Command::new("rpc.mountd").args(["-N", "2", "-N", "3", "-u"]))?;
    let port = TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port();
    let stop = Threads;
    output(Command::new("rpc.nfsd").args(["-N", "3", "-U", "-H", "127.0.0.1", "--port", &port.to_string(), "4"]))?;
    std::fs::write("/proc/fs/nfsd/v4_end_grace", "Y").context("ending the grace period")?;
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    Ok(Reference { address, export: "/", _held: vec![Box::new(stop), Box::new(data), Box::new(unconfigured)] })
}

/// Ends the server's threads when dropped.
struct Threads;

impl Drop for Threads {
    fn drop(&mut self) {
        let _ = output(Command::new("rpc.nfsd").arg("0"));
        let _ = output(Command::new("exportfs").arg("-ua"));
    }
}
