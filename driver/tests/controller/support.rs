//! A driver on a socket with a fake EFS behind it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use aws_config::retry::RetryConfig;
use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_credential_types::Credentials;
use csi_proto::csi;
use csi_proto::csi::controller_client::ControllerClient;
use csi_proto::csi::controller_server::ControllerServer;
use csi_proto::csi::volume_capability::access_mode::Mode;
use csi_proto::csi::volume_capability::{AccessMode, AccessType, MountVolume};
use efs_csi_driver::blocking::Blocking;
use efs_csi_driver::cli::UnknownParameters;
use efs_csi_driver::config::{ControllerConfig, Endpoint};
use efs_csi_driver::controller::cluster::{Claimant, Cluster, ClusterError, ClusterFacts, SecretName, WaitingClaim};
use efs_csi_driver::controller::parameters::ObjectKey;
use efs_csi_driver::controller::sessions::{Addresses, Sessions, TunnelSessions};
use efs_csi_driver::controller::uses::Used;
use efs_csi_driver::controller::{Controller, ControllerError, ControllerService};
use efs_csi_driver::efs::AwsClients;
use efs_csi_driver::efs::http_client::http_client;
use efs_csi_driver::metrics::Metrics;
use efs_csi_driver::server::{self, Listener};
use efs_tunnel::{Binding, DialDeps, DialLimits, IamSource, IssuerSlot, Locate, ProvideCredentials};
use fake_efs::{FakeEfs, Instance};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use tokio_rustls::rustls::RootCertStore;
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;
use tonic::transport::{Channel, Endpoint as Peer};
use tonic::{Code, Status};

/// One gibibyte.
pub(crate) const GIB: i64 = 1 << 30;

/// A cluster of maps.
#[derive(Debug, Default)]
pub(crate) struct MapCluster {
    pub(crate) objects: Mutex<HashMap<String, String>>,
    pub(crate) claimants: Mutex<Option<Vec<Claimant>>>,
    pub(crate) waiting: Mutex<Vec<WaitingClaim>>,
    pub(crate) id: Mutex<Option<String>>,
    /// The API server doesn't tell it, because it is forbidden or because it is away.
    pub(crate) is_id_hidden: Mutex<Option<bool>>,
    pub(crate) facts: Mutex<Option<ClusterFacts>>,
    /// Values of Secrets, by `namespace/name`.
    pub(crate) secrets: Mutex<HashMap<String, HashMap<String, String>>>,
}

/// A PersistentVolume.
pub(crate) fn claimant(name: &str, handle: &str, is_leaving: bool) -> Claimant {
    let (name, handle, uses) = (name.to_owned(), handle.to_owned(), Used::of_handle(handle));
    Claimant { name, handle, uses, namespace: Some("a".to_owned()), is_leaving }
}

impl MapCluster {
    fn get(&self, kind: &str, at: &ObjectKey) -> Option<String> {
        let path = format!("{kind} {}/{}/{}", at.namespace, at.name, at.key);
        self.objects.lock().unwrap().get(&path).cloned()
    }
}

#[async_trait]
impl Cluster for MapCluster {
    async fn config_map(&self, at: &ObjectKey) -> Result<Option<String>, ControllerError> {
        Ok(self.get("ConfigMap", at))
    }

    async fn secret(&self, at: &ObjectKey) -> Result<Option<String>, ControllerError> {
        Ok(self.get("Secret", at))
    }

    async fn claimants(&self) -> Result<Option<Vec<Claimant>>, ControllerError> {
        Ok(self.claimants.lock().unwrap().clone())
    }

    async fn waiting_claims(&self) -> Result<Option<Vec<WaitingClaim>>, ControllerError> {
        Ok(Some(self.waiting.lock().unwrap().clone()))
    }

    async fn id(&self) -> Result<Option<String>, ControllerError> {
        if let Some(forbidden) = *self.is_id_hidden.lock().unwrap() {
            let what = "Namespace kube-system".to_owned();
            let words = "no".to_owned();
            let source =
                if forbidden { ClusterError::Forbidden { verb: "get", words } } else { ClusterError::Busy(words) };
            return Err(ControllerError::Cluster { what, source });
        }
        Ok(self.id.lock().unwrap().clone())
    }

    async fn facts(&self) -> Result<Option<ClusterFacts>, ControllerError> {
        Ok(self.facts.lock().unwrap().clone())
    }

    async fn secret_values(&self, name: &SecretName) -> Result<HashMap<String, String>, ControllerError> {
        let path = format!("{}/{}", name.namespace, name.name);
        let found = self.secrets.lock().unwrap().get(&path).cloned();
        found.ok_or_else(|| ControllerError::Invalid(format!("no Secret {path}")))
    }
}

/// The same credentials for every mount.
struct FixedCredentials;

#[async_trait]
impl ProvideCredentials for FixedCredentials {
    async fn credentials(&self, _: &IamSource, _: &str) -> Result<Credentials, efs_tunnel::CredentialsError> {
        Ok(Credentials::new("AKIAEXAMPLE", "secret", None, None, "test"))
    }
}

/// Everything that a test needs.
pub(crate) struct Bed {
    pub(crate) fake: Instance,
    pub(crate) aws: aws_sdk_efs::Client,
    pub(crate) csi: ControllerClient<Channel>,
    pub(crate) cluster: Arc<MapCluster>,
    pub(crate) metrics: Metrics,
    config: ControllerConfig,
    /// Whether its controllers can reach the fake's files.
    with_files: bool,
    base: SdkConfig,
    stop: CancellationToken,
    _served: Served,
}

/// What keeps a served controller reachable.
pub(crate) struct Served {
    _socket_dir: tempfile::TempDir,
}

/// Volumes of a test that is a matter of numbers: 200, or as many as CONTROLLER_TEST_VOLUMES says.
pub(crate) fn amount() -> usize {
    std::env::var("CONTROLLER_TEST_VOLUMES")
        .map_or(200, |text| text.parse().expect("CONTROLLER_TEST_VOLUMES is a number"))
}

pub(crate) fn config() -> ControllerConfig {
    ControllerConfig {
        delete_root_directory: false,
        tags: [].into(),
        unknown_parameters: UnknownParameters::Refuse,
        access_point_quota: 10_000,
        tls_ca_file: None,
        mount_target_port: 2049,
        trash_retention: Duration::ZERO,
        cluster_id: None,
    }
}

impl Bed {
    pub(crate) async fn new() -> Self {
        Self::with(config()).await
    }

    pub(crate) async fn with(config: ControllerConfig) -> Self {
        Self::on(FakeEfs::builder().start().await.unwrap(), config, false).await
    }

    /// A bed whose controller can reach the fake's files.
    pub(crate) async fn with_files(mut config: ControllerConfig) -> Self {
        let fake = FakeEfs::builder().start().await.unwrap();
        config.mount_target_port = fake.nfs_addr().port();
        Self::on(fake, config, true).await
    }

    async fn on(fake: Instance, config: ControllerConfig, with_files: bool) -> Self {
        let base = sdk_config(&fake.http_url()).await;
        let sessions = with_files.then(|| tunnel_sessions(&fake));
        let cluster = Arc::new(MapCluster::default());
        let stop = CancellationToken::new();
        let metrics = Metrics::new();
        let (csi, served) =
            serve(config.clone(), base.clone(), Arc::clone(&cluster), metrics.clone(), sessions, stop.clone()).await;
        let aws = aws_sdk_efs::Client::new(&base);
        Self { fake, aws, csi, cluster, metrics, config, with_files, base, stop, _served: served }
    }

    /// A second controller on the same fake, as after a restart or a change of leader. It knows nothing.
    pub(crate) async fn another_controller(&self) -> (ControllerClient<Channel>, Served) {
        self.another_controller_with(|_| {}).await
    }

    /// The same with other flags.
    pub(crate) async fn another_controller_with(
        &self,
        change: impl FnOnce(&mut ControllerConfig),
    ) -> (ControllerClient<Channel>, Served) {
        let cluster = Arc::clone(&self.cluster);
        let sessions = self.with_files.then(|| tunnel_sessions(&self.fake));
        let mut config = self.config.clone();
        change(&mut config);
        serve(config, self.base.clone(), cluster, Metrics::new(), sessions, self.stop.clone()).await
    }

    /// A client of another account's EFS.
    pub(crate) fn aws_of(&self, account: &str) -> aws_sdk_efs::Client {
        let key = format!("AKIA{account}");
        self.fake.identities().add_key(fake_efs::identities::Credential {
            access_key_id: key.clone(),
            secret: "secret".to_owned(),
            session_token: None,
            expires: None,
            account: account.to_owned(),
            principal: format!("arn:aws:iam::{account}:user/owner"),
        });
        let credentials = Credentials::new(key, "secret", None, None, "test");
        let config = aws_sdk_efs::config::Builder::from(&self.base).credentials_provider(credentials);
        aws_sdk_efs::Client::from_conf(config.build())
    }

    /// A fresh file system; One Zone when a zone is given.
    pub(crate) async fn file_system(&self, zone: Option<&str>) -> String {
        let made = self.aws.create_file_system().set_availability_zone_name(zone.map(str::to_owned)).send().await;
        made.unwrap().file_system_id().to_owned()
    }

    /// A fresh file system with a mount target.
    pub(crate) async fn mountable_file_system(&self) -> String {
        let fs = self.file_system(None).await;
        self.aws.create_mount_target().file_system_id(&fs).subnet_id("subnet-0123456789abcdef0").send().await.unwrap();
        fs
    }

    /// The file system as root sees it, over plain NFS to its mount target.
    pub(crate) async fn files(&self, fs: &str) -> Box<dyn nfs_rs::Mount> {
        let targets = self.aws.describe_mount_targets().file_system_id(fs).send().await.unwrap();
        let ip = targets.mount_targets()[0].ip_address().unwrap();
        let port = self.fake.nfs_addr().port();
        let url = format!("nfs://{ip}/?version=4.1,4.0&nfsport={port}&noresvport=true&uid=0&gid=0");
        nfs_rs::parse_url_and_mount(&url).await.unwrap()
    }

    pub(crate) async fn access_points(&self, fs: &str) -> Vec<aws_sdk_efs::types::AccessPointDescription> {
        let pages = self.aws.describe_access_points().file_system_id(fs).into_paginator().items().send();
        pages.collect::<Result<Vec<_>, _>>().await.unwrap()
    }

    pub(crate) async fn create(&self, request: csi::CreateVolumeRequest) -> Result<csi::Volume, Status> {
        let answer = self.csi.clone().create_volume(request).await?;
        Ok(answer.into_inner().volume.expect("a volume"))
    }

    pub(crate) async fn delete(&self, volume_id: &str) -> Result<(), Status> {
        let request = csi::DeleteVolumeRequest { volume_id: volume_id.to_owned(), ..Default::default() };
        self.csi.clone().delete_volume(request).await.map(drop)
    }

    /// Calls of an operation that the fake has seen.
    pub(crate) fn calls(&self, operation: &str) -> usize {
        self.fake.journal().count(operation)
    }
}

impl Drop for Bed {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

pub(crate) async fn sdk_config(url: &str) -> SdkConfig {
    let retries = RetryConfig::standard()
        .with_max_attempts(4)
        .with_initial_backoff(Duration::from_millis(1))
        .with_max_backoff(Duration::from_millis(10));
    aws_config::defaults(BehaviorVersion::latest())
        .http_client(http_client(&Blocking::default()))
        .region(Region::new("us-east-1"))
        .credentials_provider(Credentials::new("AKIAEXAMPLE", "secret", None, None, "test"))
        .endpoint_url(url)
        .retry_config(retries)
        .load()
        .await
}

async fn serve(
    config: ControllerConfig,
    base: SdkConfig,
    cluster: Arc<MapCluster>,
    metrics: Metrics,
    sessions: Option<Arc<dyn Sessions>>,
    stop: CancellationToken,
) -> (ControllerClient<Channel>, Served) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("csi.sock");
    let clients = Arc::new(AwsClients::with_base(base, metrics.clone()));
    let mut controller = Controller::new(config, clients, cluster, metrics.clone());
    if let Some(sessions) = sessions {
        controller = controller.with_sessions(sessions);
    }
    let routes = Routes::new(ControllerServer::new(ControllerService::new(Arc::new(controller))));
    let listener = Listener::bind(&Endpoint::Unix(path.clone())).await.unwrap();
    tokio::spawn(server::serve(listener, routes, metrics, stop));
    let channel = Peer::from_shared(format!("unix://{}", path.display())).unwrap().connect().await.unwrap();
    (ControllerClient::new(channel), Served { _socket_dir: dir })
}

/// A way to the files of the fake.
fn tunnel_sessions(fake: &Instance) -> Arc<dyn Sessions> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(fake.ca_pem().as_bytes()) {
        roots.add(certificate.unwrap()).unwrap();
    }
    let addresses = Arc::new(Addresses::default());
    let deps = DialDeps {
        issuer: IssuerSlot::new(None),
        roots: Arc::new(roots),
        locate: Arc::clone(&addresses) as Arc<dyn Locate>,
        credentials: Arc::new(FixedCredentials),
        source: "test".to_owned(),
        limits: DialLimits::default(),
        binding: Binding::off(),
        changed: Arc::default(),
    };
    Arc::new(TunnelSessions::new(deps, addresses, CancellationToken::new()))
}

pub(crate) fn capability(mode: Mode) -> csi::VolumeCapability {
    csi::VolumeCapability {
        access_mode: Some(AccessMode { mode: mode.into() }),
        access_type: Some(AccessType::Mount(MountVolume::default())),
    }
}

/// The usual request: `efs-ap`, mode 700, and the given parameters on top.
pub(crate) fn request(name: &str, fs: &str, parameters: &[(&str, &str)]) -> csi::CreateVolumeRequest {
    let usual = [("provisioningMode", "efs-ap"), ("fileSystemId", fs), ("directoryPerms", "700")];
    csi::CreateVolumeRequest {
        name: name.to_owned(),
        capacity_range: Some(csi::CapacityRange { required_bytes: GIB, limit_bytes: 0 }),
        volume_capabilities: vec![capability(Mode::MultiNodeMultiWriter)],
        parameters: usual.iter().chain(parameters).map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect(),
        ..Default::default()
    }
}

/// Asserts a refusal's code and that its message holds all the words.
#[track_caller]
pub(crate) fn assert_refused<T: std::fmt::Debug>(result: Result<T, Status>, code: Code, words: &[&str]) {
    let status = result.expect_err("a refusal");
    assert_eq!(status.code(), code, "{}", status.message());
    for word in words {
        assert!(status.message().contains(word), "{word:?} is not in {:?}", status.message());
    }
}
