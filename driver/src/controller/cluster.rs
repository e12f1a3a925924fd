//! What the controller reads from Kubernetes: file system ids in ConfigMaps and Secrets, who uses which volume, which file systems
//! StorageClasses and PersistentVolumes name, and what tells the cluster from others.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, PersistentVolume, PersistentVolumeClaim, Secret};
use k8s_openapi::api::storage::v1::StorageClass;
use kube::api::ListParams;
use kube::{Api, Client, Resource};
use tokio::sync::OnceCell;

use super::ControllerError;
use super::parameters::ObjectKey;
use super::uses::Used;
use crate::blocking::Blocking;
use crate::cli::parse_go_bool;
use crate::identity::PLUGIN_NAME;
use crate::kubernetes::{self, Deadline, Unanswered};
use crate::volume::AccessPointId;

mod error;

pub use error::ClusterError;

/// PersistentVolumes asked for at once.
const PAGE: u32 = 500;

/// Limit of one question to the API server, or of one page of a list. Its client repeats what failed for longer than callers wait.
const ANSWER: Duration = Duration::from_secs(8);

/// Limit of the lists of one question, all pages. csi-provisioner gives a call up after 15 s by default.
const LISTS: Duration = Duration::from_secs(12);

/// The parameter keys (with this beginning) by which a StorageClass names the Secret for the provisioner.
const PROVISIONER_SECRET: &str = "csi.storage.k8s.io/provisioner-secret";

/// The annotations (with this beginning) by which csi-provisioner remembers the Secret for the deletion of a volume.
const DELETION_SECRET: &str = "volume.kubernetes.io/provisioner-deletion-secret";

/// The annotation of PersistentVolumes that a provisioner has made.
const PROVISIONED_BY: &str = "pv.kubernetes.io/provisioned-by";

/// A Secret.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct SecretName {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

impl SecretName {
    /// From the pair `PREFIX-name` and `PREFIX-namespace`. A template such as `${pvc.namespace}` names no certain one.
    fn read(pairs: &BTreeMap<String, String>, prefix: &str) -> Option<Self> {
        let get = |what: &str| pairs.get(&format!("{prefix}-{what}")).filter(|v| !v.is_empty() && !v.contains("${"));
        Some(Self { namespace: get("namespace")?.clone(), name: get("name")?.clone() })
    }
}

/// A StorageClass of this driver.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ClassFacts {
    /// Its parameters.
    pub parameters: HashMap<String, String>,
    /// The Secret that the provisioner sends along.
    pub secret: Option<SecretName>,
}

/// A PersistentVolume of this driver.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VolumeFacts {
    /// Its handle.
    pub handle: String,
    /// The Secret that the provisioner sends along when it is deleted.
    pub secret: Option<SecretName>,
}

/// A PersistentVolume of this driver, or another one that uses EFS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claimant {
    /// The PersistentVolume's name, which was CreateVolume's.
    pub name: String,
    /// Its handle; empty if it is not this driver's.
    pub handle: String,
    /// What it uses.
    pub uses: Option<Used>,
    /// The namespace of the claim that it is or was bound to.
    pub namespace: Option<String>,
    /// Whether csi-provisioner is deleting it: released, and its policy is Delete. One that is retained stays, in whatever phase.
    pub is_leaving: bool,
}

impl Claimant {
    /// Whether it names this access point.
    pub fn has(&self, id: &AccessPointId) -> bool {
        self.access_point() == Some(id)
    }

    /// The access point that it names.
    pub fn access_point(&self) -> Option<&AccessPointId> {
        self.uses.as_ref()?.access_point.as_ref()
    }
}

/// A claim that has no PersistentVolume yet, and whose class takes up what an earlier claim of its name had.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WaitingClaim {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

/// What a cluster says about this driver's file systems.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ClusterFacts {
    /// StorageClasses.
    pub classes: Vec<ClassFacts>,
    /// PersistentVolumes in any state.
    pub volumes: Vec<VolumeFacts>,
}

/// The cluster, as far as the controller needs it.
#[async_trait]
pub trait Cluster: std::fmt::Debug + Send + Sync + 'static {
    /// The value of a key in a ConfigMap; `None` when the key is missing.
    ///
    /// # Errors
    /// When the object can't be read.
    async fn config_map(&self, at: &ObjectKey) -> Result<Option<String>, ControllerError>;

    /// The value of a key in a Secret; `None` when the key is missing.
    ///
    /// # Errors
    /// When the object can't be read.
    async fn secret(&self, at: &ObjectKey) -> Result<Option<String>, ControllerError>;

    /// All PersistentVolumes of this driver, in whatever state. `None` outside a cluster.
    ///
    /// # Errors
    /// When the API server can't be asked.
    async fn claimants(&self) -> Result<Option<Vec<Claimant>>, ControllerError>;

    /// The claims that wait for a volume of a class with `reuseAccessPoint`. `None` outside a cluster.
    ///
    /// # Errors
    /// When the API server can't be asked.
    async fn waiting_claims(&self) -> Result<Option<Vec<WaitingClaim>>, ControllerError>;

    /// What tells this cluster from others: the uid of its namespace kube-system. `None` outside a cluster.
    ///
    /// # Errors
    /// When the API server can't be asked.
    async fn id(&self) -> Result<Option<String>, ControllerError>;

    /// The StorageClasses and PersistentVolumes of this driver. `None` outside a cluster.
    ///
    /// # Errors
    /// When the API server can't be asked.
    async fn facts(&self) -> Result<Option<ClusterFacts>, ControllerError>;

    /// All values of a Secret that are text.
    ///
    /// # Errors
    /// When it can't be read.
    async fn secret_values(&self, name: &SecretName) -> Result<HashMap<String, String>, ControllerError>;
}

/// [`Cluster`] through the API server, by the pod's service account or a kubeconfig; looked for when first needed.
pub struct KubeCluster {
    blocking: Blocking,
    client: OnceCell<Client>,
    deadline: Deadline,
}

impl Default for KubeCluster {
    fn default() -> Self {
        Self { blocking: Blocking::default(), client: OnceCell::new(), deadline: Deadline::new(ANSWER) }
    }
}

impl std::fmt::Debug for KubeCluster {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KubeCluster").field("connected", &self.client.initialized()).finish()
    }
}

impl KubeCluster {
    /// The same, whose reading of files is seen in `blocking`.
    #[must_use]
    pub fn with_blocking(self, blocking: Blocking) -> Self {
        Self { blocking, ..self }
    }

    /// Asks the API server under a deadline.
    async fn ask<T, F>(
        &self,
        what: &str,
        verb: &'static str,
        question: impl FnOnce(Client) -> F,
    ) -> Result<T, ControllerError>
    where
        F: Future<Output = Result<T, kube::Error>>,
    {
        let asked = async {
            let client = self.client.get_or_try_init(|| kubernetes::client(&self.blocking)).await?.clone();
            Ok::<_, Unanswered>(question(client).await?)
        };
        let source = match self.deadline.ask(asked, Unanswered::is_told).await {
            Ok(Ok(answer)) => return Ok(answer),
            Ok(Err(Unanswered::Kube(error))) => ClusterError::from_answer(verb, error),
            Ok(Err(error @ Unanswered::NoWay(_))) if error.is_away() => ClusterError::Silent(Arc::new(error)),
            Ok(Err(Unanswered::NoWay(error))) => ClusterError::NoWay(Arc::new(error)),
            Err(silent) => ClusterError::Silent(Arc::new(silent)),
        };
        Err(ControllerError::Cluster { what: what.to_owned(), source })
    }
}

/// Ends lists that the API server tells too slowly.
async fn in_time<T>(what: &str, lists: impl Future<Output = Result<T, ControllerError>>) -> Result<T, ControllerError> {
    let slow = |_| ControllerError::Cluster { what: what.to_owned(), source: ClusterError::SlowList(LISTS) };
    tokio::time::timeout(LISTS, lists).await.map_err(slow)?
}

impl KubeCluster {
    /// All PersistentVolumes that use EFS, in whatever state, from wherever this program runs.
    ///
    /// # Errors
    /// When the API server can't be asked.
    pub async fn all_claimants(&self) -> Result<Vec<Claimant>, ControllerError> {
        self.list("PersistentVolumes", claimant).await
    }

    /// The claims that wait for a volume of a class with `reuseAccessPoint`, from wherever this program runs.
    ///
    /// # Errors
    /// When the API server can't be asked.
    pub async fn all_waiting_claims(&self) -> Result<Vec<WaitingClaim>, ControllerError> {
        let classes: Vec<StorageClass> = self.list("StorageClasses", Some).await?;
        // A class that is gone may have been one of those; its claims count.
        let others: HashSet<String> =
            classes.into_iter().filter(|class| !takes_up(class)).filter_map(|class| class.metadata.name).collect();
        let claims: Vec<PersistentVolumeClaim> = self.list("PersistentVolumeClaims", Some).await?;
        Ok(claims.into_iter().filter_map(|claim| waiting_claim(claim, &others)).collect())
    }

    /// The cluster's id, from wherever this program runs.
    ///
    /// # Errors
    /// When the API server can't be asked.
    pub async fn uid(&self) -> Result<Option<String>, ControllerError> {
        const WHAT: &str = "Namespace kube-system";
        let get = async |client| Api::<Namespace>::all(client).get("kube-system").await;
        let found = self.ask(WHAT, "get", get).await?;
        Ok(found.metadata.uid)
    }

    /// Lists all objects of a kind page by page, and keeps of each what `pick` takes.
    async fn list<K, T>(&self, what: &str, pick: fn(K) -> Option<T>) -> Result<Vec<T>, ControllerError>
    where
        K: Resource<DynamicType = ()> + Clone + std::fmt::Debug + serde::de::DeserializeOwned,
    {
        let mut picked = Vec::new();
        let mut params = ListParams::default().limit(PAGE);
        loop {
            let list = async |client| Api::<K>::all(client).list(&params).await;
            let page = self.ask(what, "list", list).await?;
            picked.extend(page.items.into_iter().filter_map(pick));
            match page.metadata.continue_.filter(|token| !token.is_empty()) {
                Some(token) => params = params.continue_token(&token),
                None => return Ok(picked),
            }
        }
    }
}

fn is_in_cluster() -> bool {
    std::env::var_os("KUBERNETES_SERVICE_HOST").is_some() || std::env::var_os("KUBECONFIG").is_some()
}

#[async_trait]
impl Cluster for KubeCluster {
    async fn config_map(&self, at: &ObjectKey) -> Result<Option<String>, ControllerError> {
        let what = format!("ConfigMap {}/{}", at.namespace, at.name);
        let get = async |client| Api::<ConfigMap>::namespaced(client, &at.namespace).get(&at.name).await;
        let object = self.ask(&what, "get", get).await?;
        Ok(object.data.and_then(|mut data| data.remove(&at.key)))
    }

    async fn secret(&self, at: &ObjectKey) -> Result<Option<String>, ControllerError> {
        let what = format!("Secret {}/{}", at.namespace, at.name);
        let get = async |client| Api::<Secret>::namespaced(client, &at.namespace).get(&at.name).await;
        let object = self.ask(&what, "get", get).await?;
        let value = object.data.and_then(|mut data| data.remove(&at.key));
        Ok(value.map(|bytes| String::from_utf8_lossy(&bytes.0).into_owned()))
    }

    async fn claimants(&self) -> Result<Option<Vec<Claimant>>, ControllerError> {
        if !is_in_cluster() {
            return Ok(None);
        }
        in_time("PersistentVolumes", self.all_claimants()).await.map(Some)
    }

    async fn waiting_claims(&self) -> Result<Option<Vec<WaitingClaim>>, ControllerError> {
        if !is_in_cluster() {
            return Ok(None);
        }
        in_time("PersistentVolumeClaims", self.all_waiting_claims()).await.map(Some)
    }

    async fn id(&self) -> Result<Option<String>, ControllerError> {
        if !is_in_cluster() {
            return Ok(None);
        }
        self.uid().await
    }

    async fn facts(&self) -> Result<Option<ClusterFacts>, ControllerError> {
        if !is_in_cluster() {
            return Ok(None);
        }
        let lists = async {
            let classes = self.list("StorageClasses", class_facts).await?;
            let volumes = self.list("PersistentVolumes", volume_facts).await?;
            Ok(Some(ClusterFacts { classes, volumes }))
        };
        in_time("StorageClasses and PersistentVolumes", lists).await
    }

    async fn secret_values(&self, name: &SecretName) -> Result<HashMap<String, String>, ControllerError> {
        let what = format!("Secret {}/{}", name.namespace, name.name);
        let get = async |client| Api::<Secret>::namespaced(client, &name.namespace).get(&name.name).await;
        let object = self.ask(&what, "get", get).await?;
        let text = |(key, value): (String, k8s_openapi::ByteString)| Some((key, String::from_utf8(value.0).ok()?));
        Ok(object.data.unwrap_or_default().into_iter().filter_map(text).collect())
    }
}

fn class_facts(class: StorageClass) -> Option<ClassFacts> {
    let parameters = class.parameters.unwrap_or_default();
    let secret = SecretName::read(&parameters, PROVISIONER_SECRET);
    (class.provisioner == PLUGIN_NAME).then(|| ClassFacts { parameters: parameters.into_iter().collect(), secret })
}

fn volume_facts(volume: PersistentVolume) -> Option<VolumeFacts> {
    let secret = SecretName::read(volume.metadata.annotations.as_ref().unwrap_or(&BTreeMap::new()), DELETION_SECRET);
    Some(VolumeFacts { handle: handle(volume)?, secret })
}

/// The handle of a volume of this driver.
fn handle(volume: PersistentVolume) -> Option<String> {
    volume.spec?.csi.filter(|csi| csi.driver == PLUGIN_NAME).map(|csi| csi.volume_handle)
}

/// Whether a class takes up the access points of earlier claims.
fn takes_up(class: &StorageClass) -> bool {
    let reuse = class.parameters.as_ref().and_then(|parameters| parameters.get("reuseAccessPoint"));
    class.provisioner == PLUGIN_NAME && reuse.is_some_and(|value| parse_go_bool(value) == Ok(true))
}

fn waiting_claim(claim: PersistentVolumeClaim, other_classes: &HashSet<String>) -> Option<WaitingClaim> {
    let spec = claim.spec.unwrap_or_default();
    let is_bound = spec.volume_name.is_some_and(|name| !name.is_empty());
    let is_other = spec.storage_class_name.is_none_or(|name| other_classes.contains(&name));
    if is_bound || is_other {
        return None;
    }
    Some(WaitingClaim { namespace: claim.metadata.namespace?, name: claim.metadata.name? })
}

fn claimant(volume: PersistentVolume) -> Option<Claimant> {
    let spec = volume.spec.as_ref();
    let phase = volume.status.as_ref().and_then(|status| status.phase.as_deref()).unwrap_or_default();
    // csi-provisioner deletes what it has provisioned. One that somebody wrote by hand stays, whatever its policy says.
    let provisioner = volume.metadata.annotations.as_ref().and_then(|them| them.get(PROVISIONED_BY));
    let is_deleted = spec.and_then(|spec| spec.persistent_volume_reclaim_policy.as_deref()) == Some("Delete")
        && provisioner.is_some_and(|provisioner| provisioner == PLUGIN_NAME);
    // An object on its way out is still mounted as long as it is bound.
    let is_let_go =
        matches!(phase, "Released" | "Failed") || (volume.metadata.deletion_timestamp.is_some() && phase != "Bound");
    Some(Claimant {
        name: volume.metadata.name.clone().unwrap_or_default(),
        namespace: spec.and_then(|spec| spec.claim_ref.as_ref()).and_then(|claim| claim.namespace.clone()),
        is_leaving: is_deleted && is_let_go,
        uses: spec.and_then(Used::of_volume),
        handle: handle(volume).unwrap_or_default(),
    })
    .filter(|claimant| claimant.uses.is_some() || !claimant.handle.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use efs_common::retry::Retry;
    use http::{Request, Response};
    use kube::client::Body;

    fn with_client(client: Client) -> KubeCluster {
        KubeCluster { client: OnceCell::new_with(Some(client)), ..KubeCluster::default() }
    }

    /// A cluster whose API server gives one answer.
    fn cluster(status: u16, body: serde_json::Value) -> KubeCluster {
        let service = tower::service_fn(move |_: Request<Body>| {
            let answer =
                Response::builder().status(status).body(Body::from(serde_json::to_vec(&body).unwrap())).unwrap();
            async move { Ok::<_, std::convert::Infallible>(answer) }
        });
        with_client(Client::new(service, "default"))
    }

    fn at() -> ObjectKey {
        ObjectKey { namespace: "efs".into(), name: "ids".into(), key: "fs".into() }
    }

    #[tokio::test]
    async fn keys_are_read_from_config_maps_and_secrets() {
        let map = serde_json::json!({"metadata": {"name": "ids"}, "data": {"fs": "fs-01234567"}});
        assert_eq!(cluster(200, map.clone()).config_map(&at()).await.unwrap().unwrap(), "fs-01234567");
        let other = ObjectKey { key: "other".into(), ..at() };
        assert_eq!(cluster(200, map).config_map(&other).await.unwrap(), None);
        let secret = serde_json::json!({"metadata": {"name": "ids"}, "data": {"fs": "ZnMtMDEyMzQ1Njc="}});
        assert_eq!(cluster(200, secret).secret(&at()).await.unwrap().unwrap(), "fs-01234567");
    }

    /// UB-4: the Go driver answers INVALID_ARGUMENT even when the API server is just away.
    #[tokio::test]
    async fn an_outage_is_told_from_a_refusal_and_from_a_missing_object() {
        for (code, retry, forbidden) in [
            (503, Retry::Later, false),
            (429, Retry::Later, false),
            (403, Retry::Never, true),
            (404, Retry::Never, false),
        ] {
            let status = serde_json::json!({
                "kind": "Status", "status": "Failure", "message": "no", "reason": "x", "code": code
            });
            match cluster(code, status).secret(&at()).await.unwrap_err() {
                ControllerError::Cluster { what, source } => {
                    let is_forbidden = matches!(source, ClusterError::Forbidden { .. });
                    assert_eq!((&*what, source.retry(), is_forbidden), ("Secret efs/ids", retry, forbidden), "{code}");
                    let reason = source.to_string();
                    assert!(reason == "no" || (forbidden && reason.starts_with("no; allow")), "{reason}");
                }
                other => panic!("{other:?}"),
            }
        }
    }

    /// csi-provisioner gives a call up after 15 s; an API server that says nothing must not hold calls for longer.
    #[tokio::test(start_paused = true)]
    async fn a_silent_api_server_is_unavailable_within_its_deadline() {
        let service = tower::service_fn(|_: Request<Body>| {
            std::future::pending::<Result<Response<Body>, std::convert::Infallible>>()
        });
        let silent = with_client(Client::new(service, "default"));
        let begin = tokio::time::Instant::now();
        let name = SecretName { namespace: "ns".into(), name: "x".into() };
        for refused in [
            silent.secret(&at()).await.unwrap_err(),
            silent.config_map(&at()).await.unwrap_err(),
            silent.secret_values(&name).await.unwrap_err(),
            silent.all_claimants().await.unwrap_err(),
            silent.all_waiting_claims().await.unwrap_err(),
            silent.uid().await.unwrap_err(),
        ] {
            assert!(refused.to_string().ends_with("gave no answer within 8 s"), "{refused}");
            assert_eq!(tonic::Status::from(refused).code(), tonic::Code::Unavailable);
        }
        assert_eq!(begin.elapsed(), ANSWER);
    }

    /// Each page comes in time, and there is always another one.
    #[tokio::test(start_paused = true)]
    async fn a_list_without_end_is_given_up() {
        let service = tower::service_fn(|_: Request<Body>| async {
            tokio::time::sleep(Duration::from_secs(5)).await;
            let page = serde_json::json!({"metadata": {"continue": "more"}, "items": []});
            Ok::<_, std::convert::Infallible>(Response::new(Body::from(serde_json::to_vec(&page).unwrap())))
        });
        let slow = with_client(Client::new(service, "default"));
        let begin = tokio::time::Instant::now();
        let refused = in_time("PersistentVolumes", slow.all_claimants()).await.unwrap_err();
        assert!(refused.to_string().contains("did not list all within 12 s"), "{refused}");
        assert_eq!(tonic::Status::from(refused).code(), tonic::Code::Unavailable);
        assert_eq!(begin.elapsed(), LISTS);
    }

    #[tokio::test]
    async fn a_secrets_values_are_read_as_text() {
        let secret = serde_json::json!({"metadata": {"name": "x"}, "data": {"awsRoleArn": "YXJu", "binary": "/w=="}});
        let name = SecretName { namespace: "ns".into(), name: "x".into() };
        let values = cluster(200, secret).secret_values(&name).await.unwrap();
        assert_eq!(values, HashMap::from([("awsRoleArn".to_owned(), "arn".to_owned())]));
    }

    #[test]
    fn classes_and_volumes_of_this_driver_name_their_secrets() {
        let class = |provisioner: &str, namespace: &str| -> StorageClass {
            serde_json::from_value(serde_json::json!({
                "metadata": {"name": "efs"}, "provisioner": provisioner,
                "parameters": {
                    "fileSystemId": "fs-01234567", "csi.storage.k8s.io/provisioner-secret-name": "x-account",
                    "csi.storage.k8s.io/provisioner-secret-namespace": namespace,
                },
            }))
            .unwrap()
        };
        let secret = Some(SecretName { namespace: "kube-system".into(), name: "x-account".into() });
        let facts = class_facts(class(PLUGIN_NAME, "kube-system")).unwrap();
        assert_eq!((facts.parameters["fileSystemId"].as_str(), &facts.secret), ("fs-01234567", &secret));
        assert_eq!(class_facts(class(PLUGIN_NAME, "${pvc.namespace}")).unwrap().secret, None);
        assert_eq!(class_facts(class("other", "kube-system")), None);
        let volume = serde_json::from_value(serde_json::json!({
            "metadata": {"name": "pv", "annotations": {
                "volume.kubernetes.io/provisioner-deletion-secret-name": "x-account",
                "volume.kubernetes.io/provisioner-deletion-secret-namespace": "kube-system",
            }},
            "spec": {"csi": {"driver": PLUGIN_NAME, "volumeHandle": "efs:fs-01234567::fsap-01234567"}},
        }));
        assert_eq!(volume_facts(volume.unwrap()).unwrap().secret, secret);
    }

    /// One that is retained counts whatever its phase; one that is to be deleted counts until it is released.
    #[test]
    fn only_volumes_that_are_being_deleted_are_leaving() {
        let volume = |policy: &str, phase: &str, deleted: bool| -> PersistentVolume {
            let time = deleted.then_some("2026-01-01T00:00:00Z");
            serde_json::from_value(serde_json::json!({
                "metadata": {
                    "name": "pv", "deletionTimestamp": time, "annotations": {PROVISIONED_BY: PLUGIN_NAME},
                },
                "spec": {
                    "csi": {"driver": PLUGIN_NAME, "volumeHandle": "efs:fs-01234567::fsap-01234567"},
                    "persistentVolumeReclaimPolicy": policy, "claimRef": {"namespace": "team", "name": "data"},
                },
                "status": {"phase": phase},
            }))
            .unwrap()
        };
        for (policy, phase, deleted, leaving) in [
            ("Delete", "Bound", false, false),
            ("Delete", "Released", false, true),
            ("Delete", "Failed", false, true),
            ("Delete", "Bound", true, false),
            ("Delete", "Available", true, true),
            ("Retain", "Bound", false, false),
            ("Retain", "Released", false, false),
            ("Retain", "Failed", true, false),
        ] {
            let it = claimant(volume(policy, phase, deleted)).unwrap();
            assert_eq!(it.is_leaving, leaving, "{policy} {phase} {deleted}");
            assert_eq!((it.name.as_str(), it.namespace.as_deref()), ("pv", Some("team")));
        }
        // Nobody's provisioner deletes one that was written by hand.
        let mut by_hand = volume("Delete", "Released", false);
        by_hand.metadata.annotations = None;
        assert!(!claimant(by_hand).unwrap().is_leaving);
        let other: PersistentVolume = serde_json::from_value(serde_json::json!({
            "metadata": {"name": "pv"}, "spec": {"csi": {"driver": "other", "volumeHandle": "x"}},
        }))
        .unwrap();
        assert_eq!(claimant(other), None);
    }

    #[test]
    fn claims_wait_until_they_are_bound_unless_their_class_takes_nothing_up() {
        let claim = |class: Option<&str>, volume: &str| -> PersistentVolumeClaim {
            serde_json::from_value(serde_json::json!({
                "metadata": {"name": "data", "namespace": "team"},
                "spec": {"storageClassName": class, "volumeName": volume},
            }))
            .unwrap()
        };
        let others = HashSet::from(["other".to_owned()]);
        let waits = |class, volume| waiting_claim(claim(class, volume), &others).is_some();
        assert!(waits(Some("efs"), "") && waits(Some("gone"), ""));
        assert!(!waits(Some("efs"), "pv-1") && !waits(Some("other"), "") && !waits(None, ""));
        let class = |value: &str| -> StorageClass {
            serde_json::from_value(serde_json::json!({
                "metadata": {"name": "x"}, "provisioner": PLUGIN_NAME, "parameters": {"reuseAccessPoint": value},
            }))
            .unwrap()
        };
        assert!(takes_up(&class("true")) && !takes_up(&class("false")));
    }

    #[tokio::test]
    async fn the_clusters_id_is_that_of_kube_system() {
        let namespace = serde_json::json!({"metadata": {"name": "kube-system", "uid": "0f8fad5b"}});
        assert_eq!(cluster(200, namespace).uid().await.unwrap().as_deref(), Some("0f8fad5b"));
    }
}
