//! A node with the chart's driver in a container, and fake-efs outside it.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use csi_proto::csi;
use k8s_openapi::api::apps::v1::DaemonSet;

use super::daemon_set::NodePods;
use super::plugins::{Event, Plugins};
use super::pod::Node;
use super::runtime::Runtime;
use super::{HostRoot, chart, image};
use crate::stack::{Fake, many_writers};

/// The container with the driver.
pub const DRIVER: &str = "efs-plugin";
/// The container with the data plane and its keeper.
pub const TUNNEL: &str = "tunnel";
/// How long a pod may take until it is ready. Generous: it is about whether, not when.
pub const READY_WITHIN: Duration = Duration::from_secs(60);
const CA: &str = "fake-ca";

/// A node, its driver and a file system.
#[derive(Debug)]
pub struct PodLab {
    /// The file server.
    pub fake: Fake,
    /// The node.
    pub node: Arc<Node>,
    /// The driver's pods.
    pub pods: NodePods,
    /// The kubelet's view of it.
    pub plugins: Plugins,
    /// The only file system.
    pub file_system: String,
    helm: PathBuf,
    checkout: PathBuf,
    settings: String,
}

/// What is different from the chart's defaults on a usual node.
#[derive(Clone, Copy, Debug, Default)]
pub struct Setup<'a> {
    /// Values of the chart (YAML).
    pub values: &'a str,
    /// Whether the state directory has a disk of its own, which can be frozen.
    pub state_on_disk: bool,
}

/// Where the chart keeps its state on the host.
pub const STATE: &str = "/var/lib/efs-csi";

/// A volume that pods of the node use.
#[derive(Clone, Debug)]
pub struct PodVolume {
    /// The handle.
    pub id: String,
    /// Where the kubelet wants it.
    pub target: String,
    /// The same directory outside the driver's container.
    pub path: PathBuf,
}

impl PodLab {
    /// Starts everything below `dir`, with the executables of `bin_dir`. `None` when a tool is missing: a container runtime, or helm.
    pub async fn start(bin_dir: &Path, dir: &Path, setup: Setup<'_>) -> anyhow::Result<Option<Self>> {
        let checkout = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").canonicalize()?;
        let target = bin_dir.parent().context("the executables are in a folder of target/")?;
        let (Some(runtime), Some(helm)) = (Runtime::find(&dir.join("runtime")).await, chart::find_helm(target)) else {
            return Ok(None);
        };
        let fake = Fake::start(&bin_dir.join("fake-efs"), dir, &[]).await?;
        let (file_system, _) = fake.create_file_system("pods").await?;
        let rootfs = image(&checkout, &bin_dir.join("efs-csi-driver"), &dir.join("images")).await?;
        let authority = std::fs::read(&fake.ready.ca_file)?;
        let logs = dir.join("logs");
        std::fs::create_dir_all(&logs)?;
        let host = HostRoot::new(&dir.join("host")).await?;
        if setup.state_on_disk {
            host.put_on_disk(STATE, &dir.join("disk")).await?;
        }
        let node = Arc::new(Node {
            host,
            runtime,
            images: HashMap::from([("efs-csi-driver".to_owned(), rootfs)]),
            config_maps: HashMap::from([(CA.to_owned(), BTreeMap::from([("ca.crt".to_owned(), authority)]))]),
            name: "lab-node".to_owned(),
            logs,
        });
        let plugins = Plugins::watch(Arc::clone(&node));
        let settings = settings(&fake);
        let object = render(&helm, &checkout, &settings, setup.values).await?;
        let pods = NodePods::start(Arc::clone(&node), object, READY_WITHIN).await?;
        Ok(Some(Self { fake, node, pods, plugins, file_system, helm, checkout, settings }))
    }

    /// The DaemonSet with other values.
    pub async fn daemon_set(&self, values: &str) -> anyhow::Result<DaemonSet> {
        render(&self.helm, &self.checkout, &self.settings, values).await
    }

    /// Waits until the driver has registered and publishes an access point of its own to a pod.
    pub async fn publish(&self, name: &str) -> anyhow::Result<PodVolume> {
        let directory = aws_sdk_efs::types::RootDirectory::builder()
            .path(format!("/{name}"))
            .creation_info(
                aws_sdk_efs::types::CreationInfo::builder().owner_uid(0).owner_gid(0).permissions("0700").build()?,
            )
            .build();
        let made = self
            .fake
            .client()
            .create_access_point()
            .client_token(format!("{name}-{}", rand::random::<u32>()))
            .file_system_id(&self.file_system)
            .root_directory(directory)
            .send()
            .await?;
        let access_point = made.access_point_id.context("an access point has an id")?;
        let target = format!("/var/lib/kubelet/pods/{name}/volumes/kubernetes.io~csi/{name}/mount");
        let path = self.node.host.at(&target);
        std::fs::create_dir_all(path.parent().context("a target has a parent")?)?;
        let volume = PodVolume { id: format!("{}::{access_point}", self.file_system), target, path };
        self.registered().await?;
        let request = csi::NodePublishVolumeRequest {
            volume_id: volume.id.clone(),
            target_path: volume.target.clone(),
            volume_capability: Some(many_writers()),
            ..Default::default()
        };
        self.plugins.node_client().await?.node_publish_volume(request).await.context("NodePublishVolume")?;
        Ok(volume)
    }

    /// Takes it away again.
    pub async fn unpublish(&self, volume: &PodVolume) -> anyhow::Result<()> {
        let request =
            csi::NodeUnpublishVolumeRequest { volume_id: volume.id.clone(), target_path: volume.target.clone() };
        self.plugins.node_client().await?.node_unpublish_volume(request).await.context("NodeUnpublishVolume")?;
        Ok(())
    }

    /// What a pod's container has printed.
    pub fn log(&self, pod: &str, container: &str) -> String {
        std::fs::read_to_string(self.node.logs.join(format!("{pod}-{container}.log"))).unwrap_or_default()
    }

    /// Ends the pod and the file server.
    pub async fn stop(self) -> anyhow::Result<()> {
        self.pods.end().await?;
        let mut fake = self.fake;
        fake.stop().await
    }

    async fn registered(&self) -> anyhow::Result<()> {
        let registered = async {
            while self.plugins.events().last() != Some(&Event::Registered) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(READY_WITHIN, registered).await.context("the driver has not registered")
    }
}

/// What points the driver at the fake: its addresses, its certificate authority, credentials that it takes.
fn settings(fake: &Fake) -> String {
    format!(
        "region: {region}\navailabilityZone: us-east-1a\nmountTargetPort: {port}\ntlsCa: {{configMapName: {CA}, key: ca.crt}}\n\
         node:\n  nodeId: lab-node\n  env:\n    - {{name: AWS_ENDPOINT_URL, value: \"{http}\"}}\n    \
         - {{name: AWS_ACCESS_KEY_ID, value: AKIAIOSFODNN7EXAMPLE}}\n    - {{name: AWS_SECRET_ACCESS_KEY, value: secret}}\n",
        region = fake.ready.region,
        port = fake.ready.nfs.port(),
        http = fake.ready.http,
    )
}

async fn render(helm: &Path, checkout: &Path, settings: &str, values: &str) -> anyhow::Result<DaemonSet> {
    chart::node_daemon_set(helm, &checkout.join("deploy/chart"), &[settings, values]).await
}
