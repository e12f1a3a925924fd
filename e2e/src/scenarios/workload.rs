//! The objects of scenarios, and what a scenario has at hand.

use serde_json::{Value, json};

use super::cluster::{Cluster, LABEL};
use super::fake::FakeAdmin;
use super::plan::Plan;
use super::{DRIVER, options::Options};

/// What a scenario has at hand.
#[derive(Clone, Debug)]
pub struct Stage {
    /// The API server.
    pub cluster: Cluster,
    /// The fake, unless a real file system is used.
    pub fake: Option<FakeAdmin>,
    /// The scenario's own namespace.
    pub namespace: String,
    /// The command line.
    pub options: Options,
    /// The commands of the run.
    pub plan: Plan,
}

/// How a volume is to be made.
#[derive(Clone, Debug, Default)]
pub struct Class {
    /// More StorageClass parameters, over the usual ones.
    pub parameters: Vec<(&'static str, String)>,
    /// Keep the volume when its claim goes.
    pub retain: bool,
    /// Wait for the first pod.
    pub late: bool,
}

/// What a pod does with a claim.
#[derive(Clone, Debug)]
pub struct Task<'a> {
    /// The pod's name.
    pub name: &'a str,
    /// The claim, mounted at /data.
    pub claim: &'a str,
    /// Shell lines; the first that fails ends the pod.
    pub script: &'a str,
    /// Mount read-only.
    pub read_only: bool,
    /// Run on this node.
    pub node: Option<&'a str>,
    /// As this service account of the namespace.
    pub account: Option<&'a str>,
}

impl<'a> Task<'a> {
    /// A pod that may write, anywhere.
    pub fn new(name: &'a str, claim: &'a str, script: &'a str) -> Self {
        Self { name, claim, script, read_only: false, node: None, account: None }
    }

    /// The same, on this node.
    pub fn on(self, node: &'a str) -> Self {
        Self { node: Some(node), ..self }
    }

    /// The same, as this service account.
    pub fn of(self, account: &'a str) -> Self {
        Self { account: Some(account), ..self }
    }

    /// The same, mounted read-only.
    pub fn read_only(self) -> Self {
        Self { read_only: true, ..self }
    }
}

impl Stage {
    fn metadata(&self, name: &str) -> Value {
        json!({"name": name, "namespace": self.namespace, "labels": {LABEL: self.namespace}})
    }

    /// The name of an object that doesn't belong to a namespace.
    pub fn cluster_name(&self, stem: &str) -> String {
        format!("{}-{stem}", self.namespace)
    }

    /// Makes a StorageClass and returns its name.
    ///
    /// # Errors
    /// What the API server says.
    pub async fn class(&self, class: &Class) -> anyhow::Result<String> {
        let name = self.cluster_name("class");
        let mut parameters = json!({
            "provisioningMode": "efs-ap",
            "fileSystemId": self.options.file_system(),
            "directoryPerms": "700",
        });
        for (key, value) in &class.parameters {
            parameters[*key] = json!(value);
        }
        self.cluster
            .create(json!({
                "apiVersion": "storage.k8s.io/v1",
                "kind": "StorageClass",
                "metadata": {"name": name, "labels": {LABEL: self.namespace}},
                "provisioner": DRIVER,
                "parameters": parameters,
                "reclaimPolicy": if class.retain { "Retain" } else { "Delete" },
                "volumeBindingMode": if class.late { "WaitForFirstConsumer" } else { "Immediate" },
                "allowVolumeExpansion": true,
            }))
            .await?;
        Ok(name)
    }

    /// Makes a claim of 1 GiB.
    ///
    /// # Errors
    /// What the API server says.
    pub async fn claim(&self, name: &str, class: &str, access_mode: &str) -> anyhow::Result<()> {
        self.cluster
            .create(json!({
                "apiVersion": "v1",
                "kind": "PersistentVolumeClaim",
                "metadata": self.metadata(name),
                "spec": {
                    "accessModes": [access_mode],
                    "storageClassName": class,
                    "resources": {"requests": {"storage": "1Gi"}},
                },
            }))
            .await
    }

    /// Waits until a claim is bound, and returns its PersistentVolume.
    ///
    /// # Errors
    /// When it isn't in time.
    pub async fn bound(&self, claim: &str) -> anyhow::Result<Value> {
        let is_bound = |claim: &Value| claim["status"]["phase"] == "Bound";
        let claim = self.cluster.wait_for("PersistentVolumeClaim", &self.namespace, claim, "bound", is_bound).await?;
        let volume = claim["spec"]["volumeName"].as_str().unwrap_or_default();
        self.cluster.wait_for("PersistentVolume", "", volume, "there", |_| true).await
    }

    /// A class, a claim `data` for many writers, and its volume.
    ///
    /// # Errors
    /// When it isn't bound in time.
    pub async fn volume(&self, class: &Class) -> anyhow::Result<Value> {
        let class = self.class(class).await?;
        self.claim("data", &class, "ReadWriteMany").await?;
        self.bound("data").await
    }

    /// Makes a PersistentVolume by hand, and a claim of the same name that is bound to it.
    ///
    /// # Errors
    /// When it isn't bound in time.
    pub async fn static_volume(&self, name: &str, handle: &str) -> anyhow::Result<()> {
        let volume = self.cluster_name(name);
        self.cluster
            .create(json!({
                "apiVersion": "v1",
                "kind": "PersistentVolume",
                "metadata": {"name": volume, "labels": {LABEL: self.namespace}},
                "spec": {
                    "capacity": {"storage": "1Gi"},
                    "accessModes": ["ReadWriteMany"],
                    "persistentVolumeReclaimPolicy": "Retain",
                    "storageClassName": "",
                    "csi": {"driver": DRIVER, "volumeHandle": handle},
                },
            }))
            .await?;
        self.cluster
            .create(json!({
                "apiVersion": "v1",
                "kind": "PersistentVolumeClaim",
                "metadata": self.metadata(name),
                "spec": {
                    "accessModes": ["ReadWriteMany"],
                    "storageClassName": "",
                    "volumeName": volume,
                    "resources": {"requests": {"storage": "1Gi"}},
                },
            }))
            .await?;
        self.bound(name).await?;
        Ok(())
    }

    /// Starts a pod.
    ///
    /// # Errors
    /// What the API server says.
    pub async fn start(&self, task: &Task<'_>) -> anyhow::Result<()> {
        let mut pod = json!({
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": self.metadata(task.name),
            "spec": {
                "restartPolicy": "Never",
                "terminationGracePeriodSeconds": 1,
                "containers": [{
                    "name": "task",
                    "image": self.options.pod_image,
                    "command": ["sh", "-euc", task.script],
                    "volumeMounts": [{"name": "data", "mountPath": "/data"}],
                }],
                "volumes": [{
                    "name": "data",
                    "persistentVolumeClaim": {"claimName": task.claim, "readOnly": task.read_only},
                }],
            },
        });
        if let Some(node) = task.node {
            // Not nodeName, which goes round the scheduler and so round a claim that waits for its first pod.
            pod["spec"]["nodeSelector"] = json!({"kubernetes.io/hostname": node});
        }
        if let Some(account) = task.account {
            pod["spec"]["serviceAccountName"] = json!(account);
        }
        self.cluster.create(pod).await
    }

    /// Waits until a pod has ended well, and returns what it printed.
    ///
    /// # Errors
    /// When it fails, with what it printed, or doesn't end in time.
    pub async fn finish(&self, name: &str) -> anyhow::Result<String> {
        let ended = |pod: &Value| ["Succeeded", "Failed"].iter().any(|phase| pod["status"]["phase"] == *phase);
        let pod = self.cluster.wait_for("Pod", &self.namespace, name, "done", ended).await?;
        let log = self.cluster.log(&self.namespace, name, "task", false).await?;
        anyhow::ensure!(pod["status"]["phase"] == "Succeeded", "pod {name} failed:\n{log}");
        Ok(log)
    }

    /// Runs a pod to its end and returns what it printed.
    ///
    /// # Errors
    /// When it fails or doesn't end in time.
    pub async fn run(&self, task: &Task<'_>) -> anyhow::Result<String> {
        self.start(task).await?;
        self.finish(task.name).await
    }

    /// Waits until a pod runs.
    ///
    /// # Errors
    /// When it doesn't in time.
    pub async fn running(&self, name: &str) -> anyhow::Result<Value> {
        let runs = |pod: &Value| pod["status"]["phase"] == "Running";
        self.cluster.wait_for("Pod", &self.namespace, name, "running", runs).await
    }

    /// Deletes an object of the namespace and waits until it is gone.
    ///
    /// # Errors
    /// When it doesn't go in time.
    pub async fn remove(&self, kind: &str, name: &str) -> anyhow::Result<()> {
        self.cluster.delete(kind, &self.namespace, name).await?;
        self.cluster.wait_gone(kind, &self.namespace, name).await
    }

    /// The names of the nodes on which the node driver runs.
    ///
    /// # Errors
    /// When there is none.
    pub async fn nodes(&self) -> anyhow::Result<Vec<String>> {
        let pods = self.cluster.list("Pod", &self.options.namespace, "app=efs-csi-node").await?;
        let nodes: Vec<_> = pods.iter().filter_map(|p| p["spec"]["nodeName"].as_str().map(str::to_owned)).collect();
        anyhow::ensure!(!nodes.is_empty(), "the node driver runs nowhere");
        Ok(nodes)
    }
}

/// The access point in a PersistentVolume's handle.
///
/// # Errors
/// When the handle has none.
pub fn access_point(volume: &Value) -> anyhow::Result<String> {
    let handle = volume["spec"]["csi"]["volumeHandle"].as_str().unwrap_or_default();
    let last = handle.rsplit(':').next().filter(|last| last.starts_with("fsap-"));
    last.map(str::to_owned).ok_or_else(|| anyhow::anyhow!("the handle {handle:?} names no access point"))
}
