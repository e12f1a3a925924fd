//! AWS clients: made when first needed, one for the driver's own account and one for each assumed role.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use aws_config::retry::RetryConfig;
use aws_config::sts::AssumeRoleProvider;
use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, ConfigLoader, Region, SdkConfig};
use aws_credential_types::Credentials;
use aws_sdk_efs::config::{
    ConfigBag, Intercept, RuntimeComponents,
    interceptors::{BeforeTransmitInterceptorContextRef, FinalizerInterceptorContextRef},
    retry::RetryPartition,
};
use aws_smithy_runtime_api::box_error::BoxError;
use aws_smithy_runtime_api::client::http::SharedHttpClient;
use aws_smithy_types::config_bag::{Storable, StoreReplace};
use tokio::sync::OnceCell;

use super::api::{EfsApi, LifeCycle, MountTarget};
use super::aws::{AwsEfs, OperationClients};
use super::credentials::{OwnCredentials, in_region};
use super::endpoint_urls;
use super::errors::{EfsError, EfsErrorKind};
use super::http_client::http_client;
use super::metadata::{NodeFacts, NodeObject};
use super::mount_targets::ListMountTargets;
use super::profiles::Profiles;
use super::refusal::refusal;
use super::region;
use super::s3files::{AwsS3Files, BucketClients};
use crate::blocking::Blocking;
use crate::config::AwsConfig;
use crate::endpoints::is_region;
use crate::metrics::Metrics;
use crate::rpc::STRIPPED;
use crate::volume::{AccessPointId, FileSystemId, FileSystemKind};

/// Roles whose clients are kept; the least used ones beyond are made anew.
const MOST_ROLES: u64 = 64;

/// Limit of one attempt of a call, from connect to the last byte.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(10);

/// Limit of a call with its retries. csi-provisioner's own limit is 15 s by default and ends a call earlier.
const OPERATION_TIMEOUT: Duration = Duration::from_secs(50);

/// Limit of a TCP connect.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// Throttling explains a slow answer for this long.
const LATELY: Duration = Duration::from_secs(30);

/// A role of another account, to be assumed for its file systems.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Role {
    /// The role's ARN.
    pub arn: String,
    /// The external id that the role's trust policy may ask for. It comes from a Secret and is never shown.
    pub external_id: Option<String>,
}

impl fmt::Debug for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let external_id = self.external_id.as_ref().map(|_| STRIPPED);
        f.debug_struct("Role").field("arn", &self.arn).field("external_id", &external_id).finish()
    }
}

/// Gives clients by service and account.
#[async_trait]
pub trait EfsClients: std::fmt::Debug + Send + Sync + 'static {
    /// The client of a service for the driver's own account, or for the account of `role`.
    ///
    /// # Errors
    /// When no region can be found. Wrong credentials show at the first call.
    async fn client(&self, kind: FileSystemKind, role: Option<&Role>) -> Result<Arc<dyn EfsApi>, EfsError>;

    /// The region of all clients.
    ///
    /// # Errors
    /// When no region can be found.
    async fn region(&self) -> Result<String, EfsError>;
}

/// [`EfsClients`] with the AWS SDK. Nothing is looked up before the first call, so that the driver starts at once.
#[derive(Debug)]
pub struct AwsClients {
    config: AwsConfig,
    metrics: Metrics,
    blocking: Blocking,
    /// This node in Kubernetes, whose label tells the region where nothing else does.
    node: Option<Arc<dyn NodeObject>>,
    base: OnceCell<SdkConfig>,
    own: OnceCell<Arc<dyn EfsApi>>,
    /// Made when the first volume of S3 Files comes.
    own_s3_files: OnceCell<Arc<dyn EfsApi>>,
    roles: moka::future::Cache<(FileSystemKind, Role), Arc<dyn EfsApi>>,
    throttled: Throttled,
}

/// When AWS has throttled a call for the last time.
#[derive(Debug, Clone, Default)]
struct Throttled(Arc<Mutex<Option<Instant>>>);

impl Throttled {
    fn note(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
    }

    fn is_recent(&self) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).is_some_and(|at| at.elapsed() < LATELY)
    }
}

impl AwsClients {
    /// Clients for the region of `config`, or the one that the SDK finds; each attempt is counted in `metrics`.
    pub fn new(config: AwsConfig, metrics: Metrics) -> Self {
        Self {
            config,
            metrics,
            blocking: Blocking::default(),
            node: None,
            base: OnceCell::new(),
            own: OnceCell::new(),
            own_s3_files: OnceCell::new(),
            roles: moka::future::Cache::new(MOST_ROLES),
            throttled: Throttled::default(),
        }
    }

    /// The same with a node object to ask for the region, after all that the SDK asks.
    #[must_use]
    pub fn with_node(self, node: Option<Arc<dyn NodeObject>>) -> Self {
        Self { node, ..self }
    }

    /// The same, whose reading of files is seen in `blocking`.
    #[must_use]
    pub fn with_blocking(self, blocking: Blocking) -> Self {
        Self { blocking, ..self }
    }

    /// Clients with a configuration that is loaded already.
    pub fn with_base(base: SdkConfig, metrics: Metrics) -> Self {
        Self { base: OnceCell::new_with(Some(base)), ..Self::new(AwsConfig::default(), metrics) }
    }

    /// The SDK's configuration: region, credentials, endpoints, timeouts.
    ///
    /// # Errors
    /// When no region can be found, or it has no FIPS endpoint although one is demanded.
    pub async fn base(&self) -> Result<&SdkConfig, EfsError> {
        self.base.get_or_try_init(|| load(&self.config, &self.blocking, self.node.as_deref())).await
    }

    /// Makes the clients, and goes through all of a call but its sending, so that the first one finds the code in memory and what the SDK makes
    /// once made.
    ///
    /// # Errors
    /// When no region can be found.
    pub async fn prepare(&self) -> Result<(), EfsError> {
        self.client(FileSystemKind::Efs, None).await?;
        let nobody = Credentials::new("rehearsal", "rehearsal", None, None, "rehearsal");
        let config = aws_sdk_efs::config::Builder::from(self.base().await?).credentials_provider(nobody);
        let client = aws_sdk_efs::Client::from_conf(config.interceptor(Rehearsal).build());
        // It ends with the error of the interceptor.
        let _ended = client.describe_access_points().send().await;
        Ok(())
    }

    fn connect(&self, kind: FileSystemKind, config: &SdkConfig) -> Arc<dyn EfsApi> {
        match kind {
            FileSystemKind::Efs => self.connect_efs(config),
            FileSystemKind::S3Files => self.connect_s3_files(config),
        }
    }

    fn connect_s3_files(&self, config: &SdkConfig) -> Arc<dyn EfsApi> {
        let client = |partition: &'static str| {
            let config = aws_sdk_s3files::config::Builder::from(config)
                .retry_partition(RetryPartition::new(partition))
                .interceptor(AttemptMetrics("s3files", self.metrics.clone(), self.throttled.clone()))
                .build();
            aws_sdk_s3files::Client::from_conf(config)
        };
        Arc::new(AwsS3Files::new(BucketClients {
            create: client("s3files-create-access-point"),
            delete: client("s3files-delete-access-point"),
            access_points: client("s3files-access-points"),
            file_systems: client("s3files-file-systems"),
            mount_targets: client("s3files-mount-targets"),
            tags: client("s3files-tags"),
        }))
    }

    fn connect_efs(&self, config: &SdkConfig) -> Arc<dyn EfsApi> {
        let client = |partition: &'static str| {
            let config = aws_sdk_efs::config::Builder::from(config)
                .retry_partition(RetryPartition::new(partition))
                .interceptor(AttemptMetrics("efs", self.metrics.clone(), self.throttled.clone()))
                .build();
            aws_sdk_efs::Client::from_conf(config)
        };
        Arc::new(AwsEfs::new(OperationClients {
            create: client("efs-create-access-point"),
            delete: client("efs-delete-access-point"),
            access_points: client("efs-describe-access-points"),
            file_systems: client("efs-describe-file-systems"),
            mount_targets: client("efs-describe-mount-targets"),
            tags: client("efs-tags"),
        }))
    }
}

#[async_trait]
impl EfsClients for AwsClients {
    async fn region(&self) -> Result<String, EfsError> {
        let region = self.base().await?.region();
        Ok(region.map(ToString::to_string).unwrap_or_default())
    }

    async fn client(&self, kind: FileSystemKind, role: Option<&Role>) -> Result<Arc<dyn EfsApi>, EfsError> {
        let base = self.base().await?;
        let own = match kind {
            FileSystemKind::Efs => &self.own,
            FileSystemKind::S3Files => &self.own_s3_files,
        };
        match role {
            None => Ok(own.get_or_init(|| async { self.connect(kind, base) }).await.clone()),
            Some(role) => {
                let make = async {
                    let mut provider =
                        AssumeRoleProvider::builder(&role.arn).session_name("efs-csi-driver").configure(base);
                    if let Some(id) = &role.external_id {
                        provider = provider.external_id(id);
                    }
                    let provider = provider.build().await;
                    let config = base
                        .to_builder()
                        .credentials_provider(aws_credential_types::provider::SharedCredentialsProvider::new(provider))
                        .identity_cache(aws_config::identity::IdentityCache::lazy().build())
                        .build();
                    self.connect(kind, &config)
                };
                Ok(self.roles.get_with((kind, role.clone()), make).await)
            }
        }
    }
}

/// The node asks with the driver's own credentials only: the mount targets of other accounts stand in the volume context.
#[async_trait]
impl ListMountTargets for AwsClients {
    async fn mount_targets(&self, file_system: &FileSystemId) -> Result<Vec<MountTarget>, EfsError> {
        self.client(file_system.kind(), None).await?.mount_targets(file_system).await
    }

    fn throttled_lately(&self) -> bool {
        self.throttled.is_recent()
    }

    async fn is_gone(&self, file_system: &FileSystemId, access_point: &AccessPointId) -> Result<bool, EfsError> {
        match self.client(file_system.kind(), None).await?.access_point(file_system, access_point).await {
            Ok(found) => Ok(matches!(found.state, LifeCycle::Deleting | LifeCycle::Deleted)),
            Err(error) if error.is_not_found() => Ok(true),
            Err(error) => Err(error),
        }
    }
}

/// What a client of any kind is made with.
fn loader(config: &AwsConfig, http: SharedHttpClient) -> ConfigLoader {
    let retries = match config.adaptive_retry {
        true => RetryConfig::adaptive().with_max_attempts(5),
        false => RetryConfig::standard().with_max_attempts(3),
    };
    let timeouts = TimeoutConfig::builder()
        .connect_timeout(CONNECT_TIMEOUT)
        .operation_attempt_timeout(ATTEMPT_TIMEOUT)
        .operation_timeout(OPERATION_TIMEOUT)
        .build();
    let loader = aws_config::defaults(BehaviorVersion::latest())
        .http_client(http)
        .retry_config(retries)
        .timeout_config(timeouts);
    in_region(loader, config.region.as_ref())
}

async fn load(config: &AwsConfig, blocking: &Blocking, node: Option<&dyn NodeObject>) -> Result<SdkConfig, EfsError> {
    let profiles =
        Profiles::of_process(blocking).await.map_err(|error| EfsError::from_file("AWS configuration", &error))?;
    let http = http_client(blocking);
    let region = region::known(config.region.as_deref(), &profiles, &http).await;
    let config = &AwsConfig { region, ..config.clone() };
    let own = {
        let (config, http) = (config.clone(), http.clone());
        OwnCredentials::new(blocking.clone(), move || loader(&config, http.clone()))
    };
    let mut loaded = loader(config, http).profile_files(profiles.files()).credentials_provider(own).load().await;
    let refused = |kind, message: String| EfsError { operation: "AWS configuration", kind, message, request_id: None };
    endpoint_urls::check_loaded(&loaded)
        .map_err(|error| refused(EfsErrorKind::Other("a wrong endpoint".to_owned()), error.to_string()))?;
    let mut kind = EfsErrorKind::NoRegion;
    let mut reason = "there is no node object to ask".to_owned();
    // The SDK takes a variable that is blank for a region.
    let is_blank = loaded.region().is_none_or(|region| region.as_ref().trim().is_empty());
    if let (true, Some(node)) = (is_blank, node) {
        match node.facts().await {
            Ok(NodeFacts { region: Some(region), .. }) => {
                loaded = loaded.to_builder().region(Region::new(region)).build();
            }
            Ok(_) => reason = "the node has no label topology.kubernetes.io/region".to_owned(),
            Err(error) => {
                if error.is_away {
                    kind = EfsErrorKind::RegionNotNow;
                }
                reason = format!("the node object can't be read: {}", error.reason);
            }
        }
    }
    let Some(region) = loaded.region().filter(|region| !region.as_ref().trim().is_empty()) else {
        let ways = "give --region, AWS_REGION, or access to the instance metadata service";
        return Err(refused(kind, format!("{ways}; {reason}")));
    };
    if !is_region(region.as_ref()) {
        let message = format!(
            "{:?} is no region's name, which is like us-east-1; correct --region or AWS_REGION",
            region.as_ref()
        );
        return Err(refused(EfsErrorKind::NoRegion, message));
    }
    let has_fips = region.as_ref().starts_with("us-") || region.as_ref().starts_with("ca-");
    if loaded.use_fips() == Some(true) && !has_fips {
        let message = format!("AWS_USE_FIPS_ENDPOINT=true, but region {region} has no FIPS endpoint; unset it");
        return Err(refused(EfsErrorKind::NoRegion, message));
    }
    Ok(loaded)
}

/// Ends a call before it is sent.
#[derive(Debug)]
struct Rehearsal;

#[aws_smithy_runtime_api::client::interceptors::dyn_dispatch_hint]
impl Intercept for Rehearsal {
    fn name(&self) -> &'static str {
        "Rehearsal"
    }

    fn read_before_transmit(
        &self,
        _: &BeforeTransmitInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        Err("this call is not sent".into())
    }
}

/// Counts every attempt of every call.
#[derive(Debug)]
struct AttemptMetrics(&'static str, Metrics, Throttled);

#[derive(Debug, Clone)]
struct AttemptStart(Instant);

impl Storable for AttemptStart {
    type Storer = StoreReplace<Self>;
}

#[aws_smithy_runtime_api::client::interceptors::dyn_dispatch_hint]
impl Intercept for AttemptMetrics {
    fn name(&self) -> &'static str {
        "AttemptMetrics"
    }

    fn read_before_attempt(
        &self,
        _: &BeforeTransmitInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        cfg: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        cfg.interceptor_state().store_put(AttemptStart(Instant::now()));
        Ok(())
    }

    fn read_after_attempt(
        &self,
        context: &FinalizerInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        cfg: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let took = cfg.load::<AttemptStart>().map(|start| start.0.elapsed()).unwrap_or_default();
        let operation = cfg
            .load::<aws_smithy_runtime_api::client::orchestrator::Metadata>()
            .map(|metadata| metadata.name().to_owned())
            .unwrap_or_default();
        // Errors without an answer (network, credentials) count nowhere, as in the Go driver.
        let Some(response) = context.response() else { return Ok(()) };
        let refusal = refusal(response);
        if refusal.as_ref().is_some_and(|(_, throttled)| *throttled) {
            self.2.note();
        }
        let outcome = refusal.as_ref().map_or(Ok(()), |(code, throttled)| Err((code.as_str(), *throttled)));
        self.1.api_attempt(self.0, &operation, took, outcome);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::efs::metadata::NoFacts;

    /// A node with this region in its label, or without one.
    #[derive(Debug)]
    struct Labelled(Option<&'static str>);

    #[async_trait]
    impl NodeObject for Labelled {
        async fn facts(&self) -> Result<NodeFacts, NoFacts> {
            Ok(NodeFacts { region: self.0.map(str::to_owned), ..NodeFacts::default() })
        }
    }

    /// Where neither flag, environment nor metadata service tell.
    #[tokio::test]
    async fn the_nodes_label_tells_the_region_in_the_end() {
        let clients = |config: AwsConfig, label| {
            AwsClients::new(config, Metrics::new()).with_node(Some(Arc::new(Labelled(label))))
        };
        let given = AwsConfig { region: Some("eu-west-1".to_owned()), ..AwsConfig::default() };
        assert_eq!(clients(given, Some("us-east-2")).region().await.unwrap(), "eu-west-1");
        let told = clients(AwsConfig::default(), Some("us-east-2")).region().await.unwrap();
        match std::env::var("AWS_REGION").or_else(|_| std::env::var("AWS_DEFAULT_REGION")) {
            Ok(variable) => assert_eq!(told, variable),
            Err(_) => {
                assert_eq!(told, "us-east-2");
                let unknown = clients(AwsConfig::default(), None).region().await.unwrap_err();
                assert_eq!(unknown.kind, EfsErrorKind::NoRegion);
                assert!(unknown.message.contains("topology.kubernetes.io/region"), "{unknown}");
            }
        }
    }
}
