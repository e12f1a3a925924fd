//! The driver as a process, with the calls that Kubernetes' sidecars and kubelet make.

use std::collections::HashMap;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use csi_proto::csi;
use csi_proto::csi::controller_client::ControllerClient;
use csi_proto::csi::identity_client::IdentityClient;
use csi_proto::csi::node_client::NodeClient;
use csi_proto::csi::volume_capability::access_mode::Mode;
use csi_proto::csi::volume_capability::{AccessMode, AccessType, MountVolume};
use tokio::process::Command;
use tonic::transport::{Channel, Endpoint};

use super::fake::Fake;
use super::process::{Exit, Process};

/// How long the driver may take to answer its first Probe.
const FIRST_PROBE: Duration = Duration::from_secs(20);

/// How long it may take to stop: it lets running calls end for 20 seconds.
const STOP_WITHIN: Duration = Duration::from_secs(60);

/// How to start the driver.
#[derive(Clone, Debug)]
pub struct DriverOptions {
    /// The executable.
    pub binary: PathBuf,
    /// Holds the socket, the state directory and the log.
    pub dir: PathBuf,
    /// `all`, `controller` or `node`.
    pub mode: &'static str,
    /// Further arguments.
    pub arguments: Vec<String>,
    /// The certificate authority that the driver trusts.
    pub ca_file: PathBuf,
    /// Where the EFS API is.
    pub endpoint_url: String,
    region: String,
    mount_target_port: u16,
}

impl DriverOptions {
    /// Options that point the driver at `fake`.
    pub fn new(binary: &Path, dir: &Path, fake: &Fake) -> Self {
        Self {
            binary: binary.to_owned(),
            dir: dir.to_owned(),
            mode: "all",
            arguments: Vec::new(),
            endpoint_url: fake.ready.http.clone(),
            region: fake.ready.region.clone(),
            ca_file: fake.ready.ca_file.clone(),
            mount_target_port: fake.ready.nfs.port(),
        }
    }

    /// The CSI socket.
    pub fn socket(&self) -> PathBuf {
        self.dir.join("csi.sock")
    }
}

/// A provisioned volume.
#[derive(Clone, Debug)]
pub struct Volume {
    /// The handle.
    pub id: String,
    /// What CreateVolume wants passed on to NodePublishVolume.
    pub context: HashMap<String, String>,
}

impl Volume {
    /// The access point in the handle (`efs:fs-…::fsap-…`).
    pub fn access_point(&self) -> Option<&str> {
        self.id.rsplit(':').next().filter(|last| last.starts_with("fsap-"))
    }
}

/// A running driver.
#[derive(Debug)]
pub struct Driver {
    /// How it was started.
    pub options: DriverOptions,
    /// The process.
    pub process: Process,
    /// From the start of the process to the first answer to Probe.
    pub first_probe: Duration,
    channel: Channel,
}

impl Driver {
    /// Starts the driver with an empty PATH, as in an image with nothing else in it, and waits for the first Probe.
    pub async fn start(options: DriverOptions) -> anyhow::Result<Self> {
        let started = Instant::now();
        let process = Self::spawn(&options)?;
        Self::connect(options, process, started).await
    }

    fn spawn(options: &DriverOptions) -> anyhow::Result<Process> {
        std::fs::create_dir_all(options.dir.join("state"))?;
        let endpoint = format!("unix://{}", options.socket().display());
        let mut command = Command::new(&options.binary);
        command
            .env_clear()
            .env("PATH", "")
            .env("AWS_ENDPOINT_URL_EFS", &options.endpoint_url)
            .env("AWS_ENDPOINT_URL", &options.endpoint_url)
            .env("AWS_ACCESS_KEY_ID", "AKIAIOSFODNN7EXAMPLE")
            .env("AWS_SECRET_ACCESS_KEY", "secret")
            .env("RUST_BACKTRACE", "1")
            .arg(format!("--endpoint={endpoint}"))
            .arg(format!("--mode={}", options.mode))
            .args(["--node-id=demo-node", "--availability-zone=us-east-1a"])
            .arg(format!("--region={}", options.region))
            .arg(format!("--state-dir={}", options.dir.join("state").display()))
            .arg(format!("--tls-ca-file={}", options.ca_file.display()))
            .arg(format!("--mount-target-port={}", options.mount_target_port))
            .args(&options.arguments);
        Process::spawn("efs-csi-driver", command, &options.dir.join("driver.log"), false)
    }

    /// Waits for the first Probe.
    async fn connect(options: DriverOptions, mut process: Process, started: Instant) -> anyhow::Result<Self> {
        let endpoint = format!("unix://{}", options.socket().display());
        let channel = Endpoint::from_shared(endpoint)?.connect_lazy();
        loop {
            process.check_alive()?;
            let mut identity = IdentityClient::new(channel.clone());
            let answer = identity.probe(csi::ProbeRequest {}).await;
            if answer.is_ok_and(|answer| answer.into_inner().ready.unwrap_or(true)) {
                break;
            }
            ensure!(started.elapsed() < FIRST_PROBE, "no Probe answered within 20 s:\n{}", process.log_tail(20));
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        let first_probe = started.elapsed();
        Ok(Self { options, process, first_probe, channel })
    }

    /// The Identity service.
    pub fn identity(&self) -> IdentityClient<Channel> {
        IdentityClient::new(self.channel.clone())
    }

    /// The Controller service.
    pub fn controller(&self) -> ControllerClient<Channel> {
        ControllerClient::new(self.channel.clone())
    }

    /// The Node service.
    pub fn node(&self) -> NodeClient<Channel> {
        NodeClient::new(self.channel.clone())
    }

    /// CreateVolume with these StorageClass parameters.
    pub async fn create_volume(&self, name: &str, parameters: &[(&str, &str)]) -> anyhow::Result<Volume> {
        let request = csi::CreateVolumeRequest {
            name: name.to_owned(),
            volume_capabilities: vec![many_writers()],
            parameters: parameters.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect(),
            ..Default::default()
        };
        let answer = self.controller().create_volume(request).await.context("CreateVolume")?;
        let volume = answer.into_inner().volume.context("CreateVolume answered without a volume")?;
        Ok(Volume { id: volume.volume_id, context: volume.volume_context })
    }

    /// DeleteVolume.
    pub async fn delete_volume(&self, volume: &Volume) -> anyhow::Result<()> {
        let request = csi::DeleteVolumeRequest { volume_id: volume.id.clone(), ..Default::default() };
        self.controller().delete_volume(request).await.context("DeleteVolume")?;
        Ok(())
    }

    /// NodePublishVolume, read-write for many nodes.
    pub async fn publish(&self, volume: &Volume, target: &Path) -> anyhow::Result<()> {
        let request = csi::NodePublishVolumeRequest {
            volume_id: volume.id.clone(),
            target_path: target.display().to_string(),
            volume_capability: Some(many_writers()),
            volume_context: volume.context.clone(),
            ..Default::default()
        };
        self.node().node_publish_volume(request).await.context("NodePublishVolume")?;
        Ok(())
    }

    /// NodeUnpublishVolume.
    pub async fn unpublish(&self, volume: &Volume, target: &Path) -> anyhow::Result<()> {
        let request =
            csi::NodeUnpublishVolumeRequest { volume_id: volume.id.clone(), target_path: target.display().to_string() };
        self.node().node_unpublish_volume(request).await.context("NodeUnpublishVolume")?;
        Ok(())
    }

    /// Ends the process at once, as the kernel's out-of-memory killer would, and starts a new one on the same state.
    pub async fn kill_and_restart(mut self) -> anyhow::Result<Self> {
        self.replace().await?;
        Ok(self)
    }

    /// The same in place.
    pub async fn replace(&mut self) -> anyhow::Result<()> {
        let exit = self.process.kill(Duration::from_secs(5)).await?;
        ensure!(exit == Exit::Signal(9), "the driver ended with {exit:?} before it was killed");
        *self = Self::start(self.options.clone()).await?;
        Ok(())
    }

    /// Upgrades it without a gap, as a rolling update with a surge does: the successor starts beside it and puts its socket
    /// in place of the old one before this process is asked to stop.
    pub async fn hand_over(&mut self) -> anyhow::Result<()> {
        let mut old = self.succeed().await?;
        old.stop().await
    }

    /// The first half of that: the successor takes this place, the answer is the old process, which has not been asked to
    /// stop yet.
    pub async fn succeed(&mut self) -> anyhow::Result<Self> {
        let socket = self.options.socket();
        let before = std::fs::metadata(&socket)?.ino();
        let started = Instant::now();
        let mut process = Self::spawn(&self.options)?;
        // A client that connected earlier would talk to the old process.
        while std::fs::metadata(&socket).is_ok_and(|found| found.ino() == before) {
            process.check_alive()?;
            ensure!(started.elapsed() < FIRST_PROBE, "the successor opened no socket:\n{}", process.log_tail(20));
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        let successor = Self::connect(self.options.clone(), process, started).await?;
        Ok(std::mem::replace(self, successor))
    }

    /// Stops it as kubelet would; a clean stop exits 0.
    pub async fn stop(&mut self) -> anyhow::Result<()> {
        let exit = self.process.stop(STOP_WITHIN).await?;
        ensure!(exit == Exit::Code(0), "the driver ended with {exit:?} on SIGTERM:\n{}", self.process.log_tail(20));
        Ok(())
    }
}

/// ReadWriteMany on a file system.
#[must_use]
pub fn many_writers() -> csi::VolumeCapability {
    csi::VolumeCapability {
        access_type: Some(AccessType::Mount(MountVolume::default())),
        access_mode: Some(AccessMode { mode: Mode::MultiNodeMultiWriter.into() }),
    }
}
