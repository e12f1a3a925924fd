//! A fake with two teams' roles, a file system, and a node service whose data plane is in this process.

use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use csi_proto::csi;
use csi_proto::csi::node_server::Node as _;
use csi_proto::csi::volume_capability::{AccessMode, AccessType, MountVolume, access_mode::Mode};
use efs_csi_driver::blocking::Blocking;
use efs_csi_driver::cli;
use efs_csi_driver::config::{Config, Environment, NodeConfig};
use efs_csi_driver::efs::mount_targets::ListMountTargets;
use efs_csi_driver::efs::pod_identity::AwsExchange;
use efs_csi_driver::efs::{EfsError, MountTarget};
use efs_csi_driver::metrics::Metrics;
use efs_csi_driver::mount::Worker;
use efs_csi_driver::node::cluster::ThisNode;
use efs_csi_driver::node::prerequisites::Prerequisites;
use efs_csi_driver::node::{NodeDeps, NodeService};
use efs_csi_driver::volume::{AccessPointId, FileSystemId};
use efs_tunnel::plane::remote::Remote;
use efs_tunnel::plane::{Host, Plane};
use efs_tunnel::{Admission, Binding, DialDeps, DialLimits, IssuerSlot, Locate, ProvideCredentials, Tunnels, roots};
use fake_efs::identities::{PodAssociation, Role, Signatures};
use fake_efs::journal::Query;
use fake_efs::world::scope::{Requester, Scope};
use fake_efs::{FakeEfs, Instance};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use tonic::{Request, Status};

use crate::support;

/// Namespaces, each with a service account `app` and a role of its own name.
pub(crate) const TEAM_A: &str = "team-a";
pub(crate) const TEAM_B: &str = "team-b";
/// Where the kubelet puts tokens.
pub(crate) const TOKENS: &str = "csi.storage.k8s.io/serviceAccount.tokens";
const STS: &str = "sts.amazonaws.com";
const AGENT: &str = "pods.eks.amazonaws.com";
/// A part of every token's signature, which must be found nowhere.
pub(crate) const MARK: &str = "dGhpcy1pcy1hLXNlY3JldC1zaWduYXR1cmU";

/// The role of a team.
pub(crate) fn role(team: &str) -> String {
    format!("arn:aws:iam::123456789012:role/{team}")
}

/// A token as the kubelet brings it.
#[derive(Clone)]
pub(crate) struct Jwt {
    pub(crate) namespace: String,
    pub(crate) audience: &'static str,
    pub(crate) expires: i64,
    pub(crate) serial: u32,
}

impl Jwt {
    fn new(namespace: &str, audience: &'static str) -> Self {
        Self { namespace: namespace.to_owned(), audience, expires: 4_102_444_800, serial: 1 }
    }

    pub(crate) fn text(&self) -> String {
        let subject = format!("system:serviceaccount:{}:app", self.namespace);
        let claims = json!({ "sub": subject, "aud": [self.audience], "exp": self.expires, "jti": self.serial });
        let part = |value: Value| URL_SAFE_NO_PAD.encode(value.to_string());
        format!("{}.{}.{MARK}", part(json!({"alg": "none"})), part(claims))
    }
}

/// A pod and what its volume says.
#[derive(Clone)]
pub(crate) struct Pod {
    pub(crate) namespace: String,
    pub(crate) tokens: Vec<Jwt>,
    pub(crate) in_secrets: bool,
    pub(crate) attributes: HashMap<String, String>,
}

impl Pod {
    /// With a role that the volume names.
    pub(crate) fn irsa(team: &str) -> Self {
        Self::annotated(team).with("roleArn", &role(team))
    }

    /// With a token for STS alone, and nothing else: the service account says which role.
    pub(crate) fn annotated(team: &str) -> Self {
        Self::with_tokens(team, &[STS])
    }

    /// With EKS Pod Identity.
    pub(crate) fn agent(team: &str) -> Self {
        Self::with_tokens(team, &[AGENT])
    }

    /// With tokens for both.
    pub(crate) fn both(team: &str) -> Self {
        Self::with_tokens(team, &[STS, AGENT])
    }

    fn with_tokens(team: &str, audiences: &[&'static str]) -> Self {
        Self {
            namespace: team.to_owned(),
            tokens: audiences.iter().map(|audience| Jwt::new(team, audience)).collect(),
            in_secrets: false,
            attributes: HashMap::from([("authenticationSource".to_owned(), "pod".to_owned())]),
        }
    }

    pub(crate) fn with(mut self, key: &str, value: &str) -> Self {
        self.attributes.insert(key.to_owned(), value.to_owned());
        self
    }

    pub(crate) fn changed(mut self, change: impl Fn(&mut Jwt)) -> Self {
        self.tokens.iter_mut().for_each(change);
        self
    }

    /// The JSON text of its tokens.
    pub(crate) fn tokens(&self) -> String {
        let entry = |jwt: &Jwt| {
            let ends = jiff::Timestamp::from_second(jwt.expires).unwrap();
            (jwt.audience.to_owned(), json!({ "token": jwt.text(), "expirationTimestamp": ends.to_string() }))
        };
        Value::Object(self.tokens.iter().map(entry).collect()).to_string()
    }
}

/// No mount targets but those that volumes name.
struct Nowhere;

#[async_trait::async_trait]
impl ListMountTargets for Nowhere {
    async fn mount_targets(&self, _: &FileSystemId) -> Result<Vec<MountTarget>, EfsError> {
        Ok(Vec::new())
    }

    async fn is_gone(&self, _: &FileSystemId, _: &AccessPointId) -> Result<bool, EfsError> {
        Ok(false)
    }
}

/// Everything for one test.
pub(crate) struct Scene {
    pub(crate) fake: Instance,
    pub(crate) node: NodeService,
    pub(crate) file_system: String,
    pub(crate) metrics: Metrics,
    address: String,
    dir: tempfile::TempDir,
    stop: CancellationToken,
}

impl Drop for Scene {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// What can be chosen about a scene.
#[derive(Default)]
pub(crate) struct Choice {
    pub(crate) kubernetes: Option<Arc<ThisNode>>,
    /// Where STS and the agent are, if not at the fake.
    pub(crate) elsewhere: Option<String>,
}

impl Scene {
    pub(crate) async fn start() -> Self {
        Self::start_with(Choice::default()).await
    }

    pub(crate) async fn start_with(choice: Choice) -> Self {
        let fake = FakeEfs::builder().signatures(Signatures::Checked).start().await.unwrap();
        for team in [TEAM_A, TEAM_B] {
            fake.identities().add_role(Role {
                arn: role(team),
                external_id: None,
                trusted: vec![format!("system:serviceaccount:{team}:app")],
                web_identity: true,
            });
            fake.identities().associate(PodAssociation {
                namespace: team.to_owned(),
                service_account: "app".to_owned(),
                role: role(team),
            });
        }
        let requester = Requester::root(Scope::new("123456789012", "us-east-1"));
        let input = serde_json::from_value(json!({ "CreationToken": "tenants" })).unwrap();
        let file_system = fake.world().create_file_system(&requester, input).unwrap().row.id.to_string();
        let subnet = json!({ "FileSystemId": file_system, "SubnetId": "subnet-0123456789abcdef0" });
        let target = fake.world().create_mount_target(&requester, serde_json::from_value(subnet).unwrap()).unwrap();
        let address = target.address.unwrap().to_string();
        let (dir, stop, metrics) = (tempfile::tempdir().unwrap(), CancellationToken::new(), Metrics::new());
        let at = choice.elsewhere.clone().unwrap_or_else(|| fake.http_url());
        let deps = NodeDeps {
            efs: Arc::new(Nowhere),
            credentials: Arc::new(support::NoCredentials),
            exchange: Arc::new(AwsExchange::new(format!("{at}/v1/credentials").parse().unwrap()).with_sts_at(at)),
            worker: Worker::new(support::driver()),
            ports: 0..=0,
            open_files: None,
            blocking: Blocking::default(),
            metrics: metrics.clone(),
            kubernetes: choice.kubernetes,
            imds: false,
            remove_taint: false,
            prerequisites: Prerequisites::default(),
            region_variable: None,
            data_plane: Some(Host::Within(data_plane(&fake, dir.path(), stop.clone()))),
            tunnels_end: stop.clone(),
        };
        let node = NodeService::start(config(dir.path(), &fake), deps, stop.clone()).await.unwrap();
        Self { fake, node, file_system, metrics, address, dir, stop }
    }

    /// A file-system policy that lets these teams' roles in, and nobody else.
    pub(crate) async fn allow_only(&self, teams: &[&str]) {
        let principals: Vec<String> = teams.iter().map(|team| role(team)).collect();
        let policy = json!({ "Version": "2012-10-17", "Statement": [{
            "Effect": "Allow",
            "Principal": { "AWS": principals },
            "Action": ["elasticfilesystem:ClientMount", "elasticfilesystem:ClientWrite"],
        }]});
        let input = json!({
            "FileSystemId": self.file_system,
            "Policy": policy.to_string(),
            "BypassPolicyLockoutSafetyCheck": true,
        });
        let requester = Requester::root(Scope::new("123456789012", "us-east-1"));
        self.fake.world().put_file_system_policy(&requester, serde_json::from_value(input).unwrap()).unwrap();
    }

    /// Where a pod of this name has its volume.
    pub(crate) fn target(&self, name: &str) -> PathBuf {
        let parent = self.dir.path().join("pods").join(name);
        std::fs::create_dir_all(&parent).unwrap();
        parent.join("mount")
    }

    /// The kubelet's request.
    pub(crate) fn request(&self, pod: &Pod, name: &str) -> csi::NodePublishVolumeRequest {
        let mut context = pod.attributes.clone();
        let mut add = |key: &str, value: &str| context.insert(key.to_owned(), value.to_owned());
        add("mounttargetip", &self.address);
        add("csi.storage.k8s.io/pod.name", name);
        add("csi.storage.k8s.io/pod.namespace", &pod.namespace);
        add("csi.storage.k8s.io/serviceAccount.name", "app");
        let mut secrets = HashMap::new();
        match pod.in_secrets {
            true => drop(secrets.insert(TOKENS.to_owned(), pod.tokens())),
            false => drop(context.insert(TOKENS.to_owned(), pod.tokens())),
        }
        csi::NodePublishVolumeRequest {
            volume_id: self.file_system.clone(),
            target_path: self.target(name).display().to_string(),
            volume_capability: Some(csi::VolumeCapability {
                access_mode: Some(AccessMode { mode: Mode::MultiNodeMultiWriter.into() }),
                access_type: Some(AccessType::Mount(MountVolume::default())),
            }),
            volume_context: context,
            secrets,
            ..Default::default()
        }
    }

    pub(crate) async fn publish(&self, pod: &Pod, name: &str) -> Result<(), Status> {
        self.send(self.request(pod, name)).await
    }

    pub(crate) async fn send(&self, request: csi::NodePublishVolumeRequest) -> Result<(), Status> {
        self.node.node_publish_volume(Request::new(request)).await.map(drop)
    }

    /// Whether a publish got as far as the kernel, which has no NFS here or may not mount: everything before has succeeded.
    pub(crate) fn is_kernels(status: &Status) -> bool {
        status.message().starts_with("cannot mount ")
    }

    /// Whom the file system has let in, once there are `at_least` so many.
    pub(crate) async fn connected(&self, at_least: usize) -> Vec<String> {
        let let_in = || -> BTreeSet<String> {
            let calls = self.calls("Connect").into_iter();
            calls.filter(|(_, error)| error.is_none()).map(|(principal, _)| principal).collect()
        };
        within_reason(at_least, || let_in().into_iter().collect()).await
    }

    /// Why it has refused others, once there are `at_least` so many reasons.
    pub(crate) async fn refused(&self, at_least: usize) -> Vec<String> {
        within_reason(at_least, || self.calls("Connect").into_iter().filter_map(|(_, error)| error).collect()).await
    }

    /// Principal and error of each call of an operation.
    pub(crate) fn calls(&self, operation: &str) -> Vec<(String, Option<String>)> {
        let query = Query { operation: Some(operation.to_owned()), ..Query::default() };
        self.fake.journal().query(&query).into_iter().map(|call| (call.principal, call.error)).collect()
    }

    /// No target, no record, no tunnel, no identity.
    pub(crate) async fn assert_nothing_left(&self) {
        for pod in std::fs::read_dir(self.dir.path().join("pods")).into_iter().flatten() {
            let target = pod.unwrap().path().join("mount");
            assert!(!target.exists(), "{} is left", target.display());
        }
        let records = std::fs::read_dir(self.dir.path().join("state/mounts")).unwrap();
        assert_eq!(records.count(), 0, "records are left");
        for _ in 0..500 {
            let node = self.node.clone();
            let report = tokio::task::spawn_blocking(move || node.report()).await.unwrap();
            if report.tunnels.is_empty() && report.pod_identities.is_empty() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("tunnels or identities are left");
    }

    /// What the driver keeps on disk.
    pub(crate) fn state(&self) -> Vec<(PathBuf, Vec<u8>)> {
        let (mut found, mut folders) = (Vec::new(), vec![self.dir.path().join("state")]);
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).into_iter().flatten() {
                let path = entry.unwrap().path();
                match path.is_dir() {
                    true => folders.push(path),
                    false => found.push((path.clone(), std::fs::read(&path).unwrap_or_default())),
                }
            }
        }
        found
    }
}

/// A client has done its part of TLS 1.3 before the server has seen it: the file system notes a connection a moment after a publish
/// went on.
async fn within_reason(at_least: usize, list: impl Fn() -> Vec<String>) -> Vec<String> {
    for _ in 0..500 {
        if list().len() >= at_least {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    list()
}

fn config(dir: &Path, fake: &Instance) -> NodeConfig {
    let state_dir = format!("--state-dir={}", dir.join("state").display());
    let port = format!("--mount-target-port={}", fake.nfs_addr().port());
    let flags = ["efs-csi-driver", "--node-id=a", "--region=us-east-1", "--availability-zone=a", &state_dir, &port];
    let flags = cli::parse(flags.map(std::ffi::OsString::from)).unwrap().serve;
    Config::new(&flags, Environment::default()).unwrap().node
}

fn data_plane(fake: &Instance, dir: &Path, stop: CancellationToken) -> Plane {
    let ca = dir.join("ca.pem");
    std::fs::write(&ca, fake.ca_pem()).unwrap();
    let (remote, changed) = (Arc::new(Remote::default()), Arc::default());
    let deps = DialDeps {
        issuer: IssuerSlot::new(None),
        roots: Arc::new(roots::from_file(&ca).unwrap()),
        locate: Arc::clone(&remote) as Arc<dyn Locate>,
        credentials: Arc::clone(&remote) as Arc<dyn ProvideCredentials>,
        source: "test".to_owned(),
        limits: DialLimits::default(),
        binding: Binding::off(),
        changed: Arc::clone(&changed),
    };
    Plane::new(Tunnels::new(deps, 0..=0, Admission::ThisProcess, stop), remote, None, changed)
}
