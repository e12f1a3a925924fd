//! What the controller reads from Kubernetes: file system ids in ConfigMaps and Secrets, volume handles in use, and which file
//! systems StorageClasses and PersistentVolumes name.

use std::collections::{BTreeMap, HashMap};

use async_trait::async_trait;
use k8s_openapi::api::core::v1::{ConfigMap, PersistentVolume, Secret};
use k8s_openapi::api::storage::v1::StorageClass;
use kube::api::ListParams;
use kube::{Api, Client, Resource};
use tokio::sync::OnceCell;

use super::ControllerError;
use super::parameters::ObjectKey;
use crate::identity::PLUGIN_NAME;

/// PersistentVolumes asked for at once.
const PAGE: u32 = 500;

/// The parameter keys (with this beginning) by which a StorageClass names the Secret for the provisioner.
const PROVISIONER_SECRET: &str = "csi.storage.k8s.io/provisioner-secret";

/// The annotations (with this beginning) by which csi-provisioner remembers the Secret for the deletion of a volume.
const DELETION_SECRET: &str = "volume.kubernetes.io/provisioner-deletion-secret";

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

    /// The handles of all PersistentVolumes of this driver that are not on their way out, each as often as it is used.
    /// `None` outside a cluster.
    ///
    /// # Errors
    /// When the API server can't be asked.
    async fn handles_in_use(&self) -> Result<Option<Vec<String>>, ControllerError>;

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
#[derive(Default)]
pub struct KubeCluster {
    client: OnceCell<Client>,
}

impl std::fmt::Debug for KubeCluster {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KubeCluster").field("connected", &self.client.initialized()).finish()
    }
}

impl KubeCluster {
    async fn client(&self, what: &str) -> Result<&Client, ControllerError> {
        let made = self.client.get_or_try_init(Client::try_default).await;
        made.map_err(|error| ControllerError::Cluster {
            what: what.to_owned(),
            reason: format!("no way to the API server: {error}"),
            transient: false,
            forbidden: false,
        })
    }
}

fn failed(what: &str, error: &kube::Error) -> ControllerError {
    let (transient, forbidden) = match error {
        kube::Error::Api(status) => (status.code == 429 || status.code >= 500, status.code == 403),
        _ => (true, false),
    };
    let hint = if forbidden { "; allow get on it in the RBAC of the controller's service account" } else { "" };
    ControllerError::Cluster { what: what.to_owned(), reason: format!("{error}{hint}"), transient, forbidden }
}

impl KubeCluster {
    /// The handles of all PersistentVolumes of this driver, in whatever state.
    ///
    /// # Errors
    /// When the API server can't be asked.
    pub async fn all_handles(&self) -> Result<Vec<String>, ControllerError> {
        self.handles(handle).await
    }

    async fn handles(&self, pick: fn(PersistentVolume) -> Option<String>) -> Result<Vec<String>, ControllerError> {
        self.list("PersistentVolumes", pick).await
    }

    /// Lists all objects of a kind page by page, and keeps of each what `pick` takes.
    async fn list<K, T>(&self, what: &str, pick: fn(K) -> Option<T>) -> Result<Vec<T>, ControllerError>
    where
        K: Resource<DynamicType = ()> + Clone + std::fmt::Debug + serde::de::DeserializeOwned,
    {
        let api: Api<K> = Api::all(self.client(what).await?.clone());
        let mut picked = Vec::new();
        let mut params = ListParams::default().limit(PAGE);
        loop {
            let page = api.list(&params).await.map_err(|error| failed(what, &error))?;
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
        let api: Api<ConfigMap> = Api::namespaced(self.client(&what).await?.clone(), &at.namespace);
        let object = api.get(&at.name).await.map_err(|error| failed(&what, &error))?;
        Ok(object.data.and_then(|mut data| data.remove(&at.key)))
    }

    async fn secret(&self, at: &ObjectKey) -> Result<Option<String>, ControllerError> {
        let what = format!("Secret {}/{}", at.namespace, at.name);
        let api: Api<Secret> = Api::namespaced(self.client(&what).await?.clone(), &at.namespace);
        let object = api.get(&at.name).await.map_err(|error| failed(&what, &error))?;
        let value = object.data.and_then(|mut data| data.remove(&at.key));
        Ok(value.map(|bytes| String::from_utf8_lossy(&bytes.0).into_owned()))
    }

    async fn handles_in_use(&self) -> Result<Option<Vec<String>>, ControllerError> {
        if !is_in_cluster() {
            return Ok(None);
        }
        self.handles(handle_in_use).await.map(Some)
    }

    async fn facts(&self) -> Result<Option<ClusterFacts>, ControllerError> {
        if !is_in_cluster() {
            return Ok(None);
        }
        let classes = self.list("StorageClasses", class_facts).await?;
        let volumes = self.list("PersistentVolumes", volume_facts).await?;
        Ok(Some(ClusterFacts { classes, volumes }))
    }

    async fn secret_values(&self, name: &SecretName) -> Result<HashMap<String, String>, ControllerError> {
        let what = format!("Secret {}/{}", name.namespace, name.name);
        let api: Api<Secret> = Api::namespaced(self.client(&what).await?.clone(), &name.namespace);
        let object = api.get(&name.name).await.map_err(|error| failed(&what, &error))?;
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

/// The handle of a volume of this driver that is not being given up.
fn handle_in_use(volume: PersistentVolume) -> Option<String> {
    let phase = volume.status.as_ref().and_then(|status| status.phase.as_deref()).unwrap_or_default();
    let leaving = volume.metadata.deletion_timestamp.is_some() || phase == "Released" || phase == "Failed";
    if leaving { None } else { handle(volume) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::{Request, Response};
    use kube::client::Body;

    /// A cluster whose API server gives one answer.
    fn cluster(status: u16, body: serde_json::Value) -> KubeCluster {
        let service = tower::service_fn(move |_: Request<Body>| {
            let answer =
                Response::builder().status(status).body(Body::from(serde_json::to_vec(&body).unwrap())).unwrap();
            async move { Ok::<_, std::convert::Infallible>(answer) }
        });
        KubeCluster { client: OnceCell::new_with(Some(Client::new(service, "default"))) }
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
        for (code, transient, forbidden) in
            [(503, true, false), (429, true, false), (403, false, true), (404, false, false)]
        {
            let status = serde_json::json!({
                "kind": "Status", "status": "Failure", "message": "no", "reason": "x", "code": code
            });
            match cluster(code, status).secret(&at()).await.unwrap_err() {
                ControllerError::Cluster { what, transient: t, forbidden: f, .. } => {
                    assert_eq!((what.as_str(), t, f), ("Secret efs/ids", transient, forbidden), "{code}");
                }
                other => panic!("{other:?}"),
            }
        }
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

    #[test]
    fn only_volumes_that_stay_count_as_users() {
        let volume = |driver: &str, phase: &str, leaving: bool| -> PersistentVolume {
            let time = leaving.then_some("2026-01-01T00:00:00Z");
            serde_json::from_value(serde_json::json!({
                "metadata": {"name": "pv", "deletionTimestamp": time},
                "spec": {"csi": {"driver": driver, "volumeHandle": "efs:fs-01234567::fsap-01234567"}},
                "status": {"phase": phase},
            }))
            .unwrap()
        };
        assert!(handle_in_use(volume(PLUGIN_NAME, "Bound", false)).is_some());
        assert!(handle_in_use(volume(PLUGIN_NAME, "Released", false)).is_none());
        assert!(handle_in_use(volume(PLUGIN_NAME, "Bound", true)).is_none());
        assert!(handle_in_use(volume("other", "Bound", false)).is_none());
    }
}
