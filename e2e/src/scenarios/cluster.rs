//! The API server, as scenarios use it: objects as JSON, waits with a deadline.

use std::time::Duration;

use anyhow::{Context as _, bail};
use kube::api::{
    Api, ApiResource, DeleteParams, DynamicObject, GroupVersionKind, ListParams, Patch, PatchParams, PostParams,
};
use kube::{Client, ResourceExt as _};
use serde_json::{Value, json};
use tokio::time::Instant;

/// The label that all objects of a scenario have; its value is the scenario's namespace.
pub const LABEL: &str = "efs-csi-e2e";

/// How to wait.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// Between two looks.
    pub pause: Duration,
    /// Until a wait is given up.
    pub limit: Duration,
}

/// A connection to the API server.
#[derive(Clone)]
pub struct Cluster {
    client: Client,
    patience: Patience,
}

impl std::fmt::Debug for Cluster {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cluster").field("patience", &self.patience).finish_non_exhaustive()
    }
}

/// A kind of object, by the name that manifests give it.
fn resource(kind: &str) -> anyhow::Result<(ApiResource, bool)> {
    let (group, version, plural, namespaced) = match kind {
        "Namespace" => ("", "v1", "namespaces", false),
        "Node" => ("", "v1", "nodes", false),
        "PersistentVolume" => ("", "v1", "persistentvolumes", false),
        "PersistentVolumeClaim" => ("", "v1", "persistentvolumeclaims", true),
        "Pod" => ("", "v1", "pods", true),
        "Event" => ("", "v1", "events", true),
        "Secret" => ("", "v1", "secrets", true),
        "Service" => ("", "v1", "services", true),
        "ServiceAccount" => ("", "v1", "serviceaccounts", true),
        "DaemonSet" => ("apps", "v1", "daemonsets", true),
        "Deployment" => ("apps", "v1", "deployments", true),
        "StorageClass" => ("storage.k8s.io", "v1", "storageclasses", false),
        "CSINode" => ("storage.k8s.io", "v1", "csinodes", false),
        "ClusterRole" => ("rbac.authorization.k8s.io", "v1", "clusterroles", false),
        "ClusterRoleBinding" => ("rbac.authorization.k8s.io", "v1", "clusterrolebindings", false),
        other => bail!("{other} is not a kind that scenarios use"),
    };
    Ok((ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk(group, version, kind), plural), namespaced))
}

impl Cluster {
    /// A cluster that is reached through `client`.
    pub fn new(client: Client, patience: Patience) -> Self {
        Self { client, patience }
    }

    fn api(&self, kind: &str, namespace: &str) -> anyhow::Result<Api<DynamicObject>> {
        let (resource, namespaced) = resource(kind)?;
        Ok(if namespaced && !namespace.is_empty() {
            Api::namespaced_with(self.client.clone(), namespace, &resource)
        } else {
            Api::all_with(self.client.clone(), &resource)
        })
    }

    /// Creates an object.
    ///
    /// # Errors
    /// What the API server says.
    pub async fn create(&self, manifest: Value) -> anyhow::Result<()> {
        let kind = manifest["kind"].as_str().unwrap_or_default().to_owned();
        let namespace = manifest["metadata"]["namespace"].as_str().unwrap_or_default().to_owned();
        let object: DynamicObject = serde_json::from_value(manifest)?;
        let name = object.name_any();
        self.api(&kind, &namespace)?
            .create(&PostParams::default(), &object)
            .await
            .with_context(|| format!("can't create {kind} {name}"))?;
        Ok(())
    }

    /// Reads an object; `None` if there is none.
    ///
    /// # Errors
    /// What the API server says otherwise.
    pub async fn get(&self, kind: &str, namespace: &str, name: &str) -> anyhow::Result<Option<Value>> {
        let found =
            self.api(kind, namespace)?.get_opt(name).await.with_context(|| format!("can't get {kind} {name}"))?;
        found.map(|object| Ok(serde_json::to_value(object)?)).transpose()
    }

    /// Lists objects, of all namespaces if `namespace` is empty; `selector` is a label selector.
    ///
    /// # Errors
    /// What the API server says.
    pub async fn list(&self, kind: &str, namespace: &str, selector: &str) -> anyhow::Result<Vec<Value>> {
        let mut parameters = ListParams::default();
        if !selector.is_empty() {
            parameters = parameters.labels(selector);
        }
        let list = self.api(kind, namespace)?.list(&parameters).await.with_context(|| format!("can't list {kind}"))?;
        list.items.into_iter().map(|object| Ok(serde_json::to_value(object)?)).collect()
    }

    /// Merges `changes` into an object.
    ///
    /// # Errors
    /// What the API server says.
    pub async fn patch(&self, kind: &str, namespace: &str, name: &str, changes: &Value) -> anyhow::Result<()> {
        self.api(kind, namespace)?
            .patch(name, &PatchParams::default(), &Patch::Merge(changes))
            .await
            .with_context(|| format!("can't change {kind} {name}"))?;
        Ok(())
    }

    /// Deletes an object; it is fine if there is none.
    ///
    /// # Errors
    /// What the API server says otherwise.
    pub async fn delete(&self, kind: &str, namespace: &str, name: &str) -> anyhow::Result<()> {
        match self.api(kind, namespace)?.delete(name, &DeleteParams::default()).await {
            Ok(_) => Ok(()),
            Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
            Err(error) => Err(error).with_context(|| format!("can't delete {kind} {name}")),
        }
    }

    /// A page that a pod or service serves, through the API server: `target` is `pods/NAME:PORT` or `services/NAME:PORT`.
    ///
    /// # Errors
    /// When the API server or the page says no.
    pub async fn page(
        &self,
        method: http::Method,
        namespace: &str,
        target: &str,
        path: &str,
        body: Option<&Value>,
    ) -> anyhow::Result<String> {
        let uri = format!("/api/v1/namespaces/{namespace}/{target}/proxy{path}");
        let request = http::Request::builder().method(method).uri(&uri).header("content-type", "application/json");
        let body = body.map(Value::to_string).unwrap_or_default().into_bytes();
        self.client.request_text(request.body(body)?).await.with_context(|| format!("can't read {uri}"))
    }

    /// The log of a container.
    ///
    /// # Errors
    /// What the API server says.
    pub async fn log(&self, namespace: &str, pod: &str, container: &str, previous: bool) -> anyhow::Result<String> {
        let uri = format!("/api/v1/namespaces/{namespace}/pods/{pod}/log?container={container}&previous={previous}");
        let request = http::Request::get(&uri).body(Vec::new())?;
        self.client.request_text(request).await.with_context(|| format!("can't read the log of {pod}/{container}"))
    }

    /// Looks again and again until `look` gives something.
    ///
    /// # Errors
    /// When it errs, or gives nothing within the limit; the last thing that it complained about is in the message.
    pub async fn wait<T, F>(&self, what: &str, mut look: impl FnMut(Cluster) -> F) -> anyhow::Result<T>
    where
        F: Future<Output = anyhow::Result<Result<T, String>>>,
    {
        let start = Instant::now();
        loop {
            let missing = match look(self.clone()).await? {
                Ok(found) => return Ok(found),
                Err(missing) => missing,
            };
            if start.elapsed() >= self.patience.limit {
                bail!("waited {} s for {what}: {missing}", self.patience.limit.as_secs());
            }
            tokio::time::sleep(self.patience.pause).await;
        }
    }

    /// Waits until an object is as `is_as_wanted` says, and returns it.
    ///
    /// # Errors
    /// When it isn't within the limit.
    pub async fn wait_for(
        &self,
        kind: &str,
        namespace: &str,
        name: &str,
        what: &str,
        is_as_wanted: impl Fn(&Value) -> bool,
    ) -> anyhow::Result<Value> {
        self.wait(&format!("{kind} {name} to be {what}"), |cluster| {
            let is_as_wanted = &is_as_wanted;
            async move {
                Ok(match cluster.get(kind, namespace, name).await? {
                    Some(object) if is_as_wanted(&object) => Ok(object),
                    Some(object) => Err(format!("its status is {}", object["status"])),
                    None => Err("there is none".to_owned()),
                })
            }
        })
        .await
    }

    /// Waits until an object is gone.
    ///
    /// # Errors
    /// When it is still there after the limit.
    pub async fn wait_gone(&self, kind: &str, namespace: &str, name: &str) -> anyhow::Result<()> {
        self.wait(&format!("{kind} {name} to go"), |cluster| async move {
            Ok(match cluster.get(kind, namespace, name).await? {
                None => Ok(()),
                Some(object) => Err(format!("it is there, finalizers {}", object["metadata"]["finalizers"])),
            })
        })
        .await
    }

    /// Waits until a DaemonSet or Deployment has all its pods, of its newest template, ready.
    ///
    /// # Errors
    /// When it hasn't within the limit.
    pub async fn wait_rolled_out(&self, kind: &str, namespace: &str, name: &str) -> anyhow::Result<()> {
        let fields = match kind {
            "DaemonSet" => ("desiredNumberScheduled", "updatedNumberScheduled", "numberReady"),
            _ => ("replicas", "updatedReplicas", "readyReplicas"),
        };
        let rolled_out = |object: &Value| {
            let status = &object["status"];
            let wanted = if kind == "Deployment" { &object["spec"]["replicas"] } else { &status[fields.0] };
            object["metadata"]["generation"] == status["observedGeneration"]
                && wanted == &status[fields.1]
                && wanted == &status[fields.2]
                && wanted.as_u64().is_some_and(|count| count > 0)
        };
        self.wait_for(kind, namespace, name, "rolled out", rolled_out).await?;
        Ok(())
    }

    /// Removes all that a scenario made: its namespace with everything in it, then what is cluster-wide.
    ///
    /// # Errors
    /// When something doesn't go; it is named.
    pub async fn clean_up(&self, namespace: &str) -> anyhow::Result<()> {
        self.delete("Namespace", "", namespace).await?;
        self.wait_gone("Namespace", "", namespace).await?;
        // Dynamic volumes go with their claims; the provisioner needs the StorageClass's secrets until then.
        self.wait("the volumes of the namespace to go", |cluster| async move {
            let volumes = cluster.list("PersistentVolume", "", "").await?;
            let left = volumes.iter().filter(|volume| {
                volume["spec"]["claimRef"]["namespace"] == namespace
                    && volume["spec"]["persistentVolumeReclaimPolicy"] == "Delete"
            });
            let left: Vec<_> = left.map(|volume| volume["metadata"]["name"].to_string()).collect();
            Ok(if left.is_empty() { Ok(()) } else { Err(format!("{left:?} are left")) })
        })
        .await?;
        for kind in ["PersistentVolume", "StorageClass"] {
            for object in self.list(kind, "", &format!("{LABEL}={namespace}")).await? {
                let name = object["metadata"]["name"].as_str().unwrap_or_default().to_owned();
                self.delete(kind, "", &name).await?;
                self.wait_gone(kind, "", &name).await?;
            }
        }
        for volume in self.list("PersistentVolume", "", "").await? {
            if volume["spec"]["claimRef"]["namespace"] == namespace {
                let name = volume["metadata"]["name"].as_str().unwrap_or_default().to_owned();
                self.delete("PersistentVolume", "", &name).await?;
            }
        }
        Ok(())
    }
}

/// A namespace for a scenario.
pub fn namespace(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": {LABEL: name}}})
}
