//! A kubelet's part in a pod's life, for the lab: the shipped images under a real container runtime, as the chart describes them.
//!
//! What a node does to a driver's pod is what breaks mounts: it starts a successor beside it, kills it for its memory or for a
//! probe that isn't answered, evicts it, and replaces it without asking. None of that can be shown with bare processes: in a
//! container the driver is PID 1, everything that it has started dies with it, and mounts pass through propagation.
//!
//! * [`chart`] renders the chart and gives the pod's template
//! * [`oci`] turns a container of a pod into what a runtime is told
//! * [`runtime`] runs containers with runc or crun
//! * [`pod`] keeps the containers of one pod running and probes them
//! * [`probe`] asks one probe
//! * [`daemon_set`] replaces pods as the DaemonSet controller does
//! * [`plugins`] watches for drivers that register, and calls them
//! * [`disturbance`] is what happens to the pod in production
//! * [`lab`] puts all of it together, with fake-efs as the file server
//!
//! What is different from a real node: no image is pulled, no pod sandbox is made (all pods here use the host's network), and
//! containers are noticed to have ended at once instead of within a second.

pub mod chart;
pub mod daemon_set;
pub mod disturbance;
pub mod lab;
pub mod oci;
pub mod plugins;
pub mod pod;
pub mod probe;
pub mod runtime;

use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context as _, ensure};
use tokio::process::Command;

/// What is below the host's root directory, as far as pods can tell.
#[derive(Debug)]
pub struct HostRoot {
    path: PathBuf,
}

impl HostRoot {
    /// Makes a root directory at `path`, a file system of its own whose mounts are shared, as systemd makes a node's.
    pub async fn new(path: &Path) -> anyhow::Result<Self> {
        std::fs::create_dir_all(path)?;
        command("mount", &["-t", "tmpfs", "-o", "mode=0755", "host", &path.display().to_string()]).await?;
        command("mount", &["--make-rshared", &path.display().to_string()]).await?;
        let host = Self { path: path.to_owned() };
        for directory in ["/var/lib/kubelet/plugins", "/var/lib/kubelet/plugins_registry", "/var/lib/kubelet/pods"] {
            std::fs::create_dir_all(host.at(directory))?;
        }
        Ok(host)
    }

    /// Puts a directory on a disk of its own, which can be frozen; `disk` is the file that stands for it.
    pub async fn put_on_disk(&self, directory: &str, disk: &Path) -> anyhow::Result<()> {
        std::fs::File::create(disk)?.set_len(64 << 20)?;
        let (disk, at) = (disk.display().to_string(), self.at(directory));
        std::fs::create_dir_all(&at)?;
        command("mkfs.ext4", &["-q", &disk]).await?;
        command("mount", &["-o", "loop", &disk, &at.display().to_string()]).await?;
        Ok(())
    }

    /// Has the disk of a directory answer no write any more.
    pub async fn freeze(&self, directory: &str) -> anyhow::Result<()> {
        command("fsfreeze", &["--freeze", &self.at(directory).display().to_string()]).await.map(drop)
    }

    /// Ends that.
    pub async fn thaw(&self, directory: &str) -> anyhow::Result<()> {
        command("fsfreeze", &["--unfreeze", &self.at(directory).display().to_string()]).await.map(drop)
    }

    /// Where a path of the host is really.
    pub fn at(&self, path: impl AsRef<Path>) -> PathBuf {
        let path = path.as_ref();
        self.path.join(path.strip_prefix("/").unwrap_or(path))
    }
}

/// The folder of an image's files, laid out by the script that every image is built with.
pub async fn image(root: &Path, executable: &Path, into: &Path) -> anyhow::Result<PathBuf> {
    let name = executable.file_name().context("an executable has a name")?;
    let rootfs = into.join(name);
    let script = root.join("deploy/image/rootfs.sh");
    command(&script.display().to_string(), &[&executable.display().to_string(), &rootfs.display().to_string()]).await?;
    // Debug information would fill the guest's memory.
    command("strip", &[&rootfs.join(name).display().to_string()]).await?;
    Ok(rootfs)
}

/// Runs a program to its end; fails with what it said.
pub(crate) async fn command(program: &str, arguments: &[&str]) -> anyhow::Result<String> {
    let output = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .await
        .with_context(|| format!("starting {program}"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{program} {} ended with {}: {said}", arguments.join(" "), output.status);
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
