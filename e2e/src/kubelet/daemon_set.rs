//! Replacing a node's pod as the DaemonSet controller does.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use k8s_openapi::api::apps::v1::DaemonSet;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::pod::{Node, Pod};

/// The pods of one DaemonSet on one node: one, or two during an update.
#[derive(Debug)]
pub struct NodePods {
    node: Arc<Node>,
    object: DaemonSet,
    /// `None` only in the middle of a replacement without a surge.
    pod: Option<Pod>,
    made: u32,
}

impl NodePods {
    /// Starts the DaemonSet's first pod on `node` and waits until it is ready.
    pub async fn start(node: Arc<Node>, object: DaemonSet, limit: Duration) -> anyhow::Result<Self> {
        let mut pods = Self { node, object, pod: None, made: 0 };
        pods.pod = Some(pods.next_pod()?);
        until_ready(pods.pod()?, limit).await?;
        Ok(pods)
    }

    /// The pod that was there first, or took its place.
    pub fn pod(&self) -> anyhow::Result<&Pod> {
        self.pod.as_ref().context("the pod is being replaced")
    }

    /// From now on pods are made by `object`.
    pub fn apply(&mut self, object: DaemonSet) {
        self.object = object;
    }

    /// `kubectl rollout restart`: with a surge the successor is started first, and the old pod ended when it is ready.
    pub async fn rollout_restart(&mut self, limit: Duration) -> anyhow::Result<()> {
        if !self.has_surge() {
            return self.evict(limit).await;
        }
        let next = self.next_pod()?;
        until_ready(&next, limit).await?;
        end(self.pod.replace(next)).await
    }

    /// The first half of that: a successor beside the pod that runs, which is the caller's to end.
    pub fn surge(&mut self) -> anyhow::Result<Pod> {
        ensure!(self.has_surge(), "without a surge there is never a second pod");
        self.next_pod()
    }

    /// `kubectl delete pod --force`: the object is gone at once, so the next pod is started while this one is being ended.
    pub async fn delete_by_force(&mut self, limit: Duration) -> anyhow::Result<()> {
        let next = self.next_pod()?;
        let old = self.pod.replace(next).context("the pod is being replaced")?;
        let (ended, ready) = tokio::join!(old.end(Some(Duration::ZERO)), until_ready(self.pod()?, limit));
        ended?;
        ready
    }

    /// An eviction, or an update without a surge: the next pod is made when this one has ended.
    pub async fn evict(&mut self, limit: Duration) -> anyhow::Result<()> {
        end(self.pod.take()).await?;
        self.pod = Some(self.next_pod()?);
        until_ready(self.pod()?, limit).await
    }

    /// Ends the pod for good.
    pub async fn end(self) -> anyhow::Result<()> {
        end(self.pod).await
    }

    fn has_surge(&self) -> bool {
        let strategy = self.object.spec.as_ref().and_then(|it| it.update_strategy.as_ref());
        let surge = strategy.and_then(|it| it.rolling_update.as_ref()).and_then(|it| it.max_surge.as_ref());
        surge.is_some_and(|surge| *surge != IntOrString::Int(0))
    }

    fn next_pod(&mut self) -> anyhow::Result<Pod> {
        let template = self.object.spec.as_ref().and_then(|it| it.template.spec.clone());
        let spec = template.context("the DaemonSet has no template")?;
        let name = self.object.metadata.name.as_deref().unwrap_or("pod");
        let number = self.made;
        self.made += 1;
        Ok(Pod::start(Arc::clone(&self.node), &format!("{name}-{number}"), &format!("{number:08}-0000"), spec))
    }
}

/// Waits until a pod is ready; says how it is with it if it does not become so.
pub async fn until_ready(pod: &Pod, limit: Duration) -> anyhow::Result<()> {
    if !pod.until(limit, Pod::is_ready).await {
        bail!("{} is not ready within {limit:?}: {:?}", pod.identity.name, pod.containers());
    }
    Ok(())
}

async fn end(pod: Option<Pod>) -> anyhow::Result<()> {
    match pod {
        Some(pod) => pod.end(None).await,
        None => Ok(()),
    }
}
