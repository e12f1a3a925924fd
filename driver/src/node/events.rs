//! Events on claims, pods and this node, for what an operator must know of (`--kubernetes-events`).
//!
//! What is wrong is what the health of volumes tells ([`super::health`]). An event is told when that begins and again every five minutes
//! for as long as it lasts; `kube`'s recorder makes one object with a count of it. Whoever tells one never waits: a task asks for the objects
//! and publishes, so many a minute. What doesn't get into its queue is told with a later look. Without an API server all goes on.

use std::convert::Infallible;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use csi_proto::csi::node_get_storage_health_response::StorageBackendHealth;
use k8s_openapi::api::core::v1::{ObjectReference, PersistentVolume, Pod};
use kube::api::ListParams;
use kube::runtime::events::{Event, EventType, Recorder, Reporter};
use kube::{Api, Resource as _};
use moka::sync::Cache;
use tokio::sync::{OnceCell, mpsc};
use tokio_util::sync::CancellationToken;
use tower::{Service as _, ServiceBuilder, ServiceExt as _};

use super::cluster::{ClusterError, ThisNode};
use crate::conditions::{self, Condition, Reason, StorageReason};
use crate::identity::PLUGIN_NAME;

/// What is told of a mount; the rest is in the volume's health, or in the kubelet's own event of a failed mount.
const TOLD: &[Reason] = &[
    Reason::AccessDenied,
    Reason::CredentialsMissing,
    Reason::PortTaken,
    Reason::CertificateNotRenewed,
    Reason::UsageOverSoftLimit,
];
/// Reason of the event of a walk that was given up.
const NOT_COUNTED: &str = "UsageNotCounted";
/// What the driver was doing, as the API wants it said.
const ACTION: &str = "Serving";
/// As often is one thing told of one object. Shorter than the recorder's memory, so that it goes on counting.
const AGAIN: Duration = Duration::from_secs(300);
/// Things that are remembered as told: a node has some hundred mounts.
const MOST_TOLD: u64 = 4096;
/// Events that wait for their turn.
const QUEUE: usize = 64;
/// Events in [`PER`], each with four calls at most: a node in trouble must not be trouble for the API server.
const AT_MOST: u64 = 20;
const PER: Duration = Duration::from_secs(60);

/// What an event is about.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum About {
    /// The pod and the claim of a mount.
    Mount { target: PathBuf, volume: String },
    /// This node.
    Node,
}

/// One event.
#[derive(Debug)]
struct Told {
    about: About,
    reason: String,
    note: String,
}

/// The way to tell events.
#[derive(Clone)]
pub(super) struct Events {
    queue: mpsc::Sender<Told>,
    told: Cache<(About, String), ()>,
}

impl fmt::Debug for Events {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Events").finish_non_exhaustive()
    }
}

impl Events {
    /// Begins to publish events, until `shutdown`.
    pub(super) fn start(this: Arc<ThisNode>, shutdown: CancellationToken) -> Self {
        Self::start_with(this, shutdown, AGAIN)
    }

    fn start_with(this: Arc<ThisNode>, shutdown: CancellationToken, again: Duration) -> Self {
        let (queue, waiting) = mpsc::channel(QUEUE);
        let publisher = Publisher { this, recorder: OnceCell::new(), claims: remembered(again) };
        tokio::spawn(async move { shutdown.run_until_cancelled(publish_all(publisher, waiting)).await });
        Self { queue, told: remembered(again) }
    }

    /// Tells what is wrong with a mount, as far as an operator must know of it.
    pub(super) fn of_mount(&self, volume: &str, target: &Path, wrong: impl IntoIterator<Item = Condition>) {
        let wrong = wrong.into_iter().filter(|it| TOLD.contains(&it.reason));
        let about = About::Mount { target: target.to_owned(), volume: volume.to_owned() };
        for entry in conditions::volume(volume, wrong).health_statuses {
            // Who has the port is a matter of the node, and its administrator's.
            if entry.reason == Reason::PortTaken.word() {
                self.tell(About::Node, &entry.reason, &entry.message);
            }
            self.tell(about.clone(), &entry.reason, &entry.message);
        }
    }

    /// Tells that the walk of a volume was given up.
    pub(super) fn of_walk(&self, volume: &str, target: &Path, reason: &str) {
        let about = About::Mount { target: target.to_owned(), volume: volume.to_owned() };
        let note = format!("cannot count what the volume holds, its statistics are those of the file system: {reason}");
        self.tell(about, NOT_COUNTED, &note);
    }

    /// Tells what is wrong with this node's way to EFS.
    pub(super) fn of_node(&self, wrong: &[StorageBackendHealth]) {
        for entry in wrong {
            debug_assert!(StorageReason::ALL.iter().any(|it| it.word() == entry.reason));
            self.tell(About::Node, &entry.reason, &entry.message);
        }
    }

    fn tell(&self, about: About, reason: &str, note: &str) {
        let key = (about, reason.to_owned());
        if !self.told.entry(key.clone()).or_insert(()).is_fresh() {
            return;
        }
        let told = Told { about: key.0.clone(), reason: reason.to_owned(), note: conditions::cut_message(note) };
        if self.queue.try_send(told).is_err() {
            // The queue is full, or the driver ends: it is told by a later look, if it is still so.
            self.told.invalidate(&key);
        }
    }
}

fn remembered<K: std::hash::Hash + Eq + Send + Sync + 'static>(again: Duration) -> Cache<K, ()> {
    Cache::builder().max_capacity(MOST_TOLD).time_to_live(again).build()
}

/// Publishes what is in the queue, one after the other, so many in a while.
async fn publish_all(publisher: Publisher, mut waiting: mpsc::Receiver<Told>) {
    let publisher = Arc::new(publisher);
    let mut failing = false;
    let mut paced = ServiceBuilder::new().rate_limit(AT_MOST, PER).service_fn(move |told: Told| {
        let publisher = Arc::clone(&publisher);
        async move { Ok::<_, Infallible>(publisher.publish(&told).await) }
    });
    while let Some(told) = waiting.recv().await {
        let Ok(ready) = paced.ready().await;
        let Ok(published) = ready.call(told).await;
        match published {
            Ok(()) => failing = false,
            Err(error) if failing => tracing::debug!(%error, "cannot publish an event"),
            Err(error) => {
                tracing::warn!(%error, "cannot publish events; the next failures are told at debug level");
                failing = true;
            }
        }
    }
}

/// The work of the task.
struct Publisher {
    this: Arc<ThisNode>,
    recorder: OnceCell<Recorder>,
    /// Claims that were told something: on a node they may have many pods.
    claims: Cache<(String, String), ()>,
}

impl Publisher {
    async fn publish(&self, told: &Told) -> Result<(), ClusterError> {
        let (target, volume) = match &told.about {
            About::Mount { target, volume } => (target, volume),
            About::Node => {
                let node = self.this.node().await?;
                return self.record(told, &node.object_ref(&())).await;
            }
        };
        let Some((uid, name)) = pod_and_volume(target) else { return Ok(()) };
        let Some(claim) = self.claim(name, volume).await? else { return Ok(()) };
        let pod = self.pod(claim.namespace.as_deref().unwrap_or_default(), uid).await?;
        let key = (claim.uid.clone().unwrap_or_default(), told.reason.clone());
        if self.claims.entry(key.clone()).or_insert(()).is_fresh()
            && let Err(error) = self.record(told, &claim).await
        {
            self.claims.invalidate(&key);
            return Err(error);
        }
        match pod {
            Some(pod) => self.record(told, &pod).await,
            None => Ok(()),
        }
    }

    /// The claim of the PersistentVolume that the kubelet has named in the target path; nothing when it is another volume's.
    async fn claim(&self, name: &str, volume: &str) -> Result<Option<ObjectReference>, ClusterError> {
        let read = async |client| Api::<PersistentVolume>::all(client).get_opt(name).await;
        let found = self.this.ask(format!("PersistentVolume {name}"), "allow get on persistentvolumes", read).await?;
        let spec = found.and_then(|found| found.spec);
        let spec = spec.filter(|spec| spec.csi.as_ref().is_some_and(|csi| csi.volume_handle == volume));
        Ok(spec.and_then(|spec| spec.claim_ref).map(|claim| ObjectReference {
            api_version: Some("v1".to_owned()),
            kind: Some("PersistentVolumeClaim".to_owned()),
            namespace: claim.namespace,
            name: claim.name,
            uid: claim.uid,
            ..ObjectReference::default()
        }))
    }

    /// The pod with this uid among those of this node.
    async fn pod(&self, namespace: &str, uid: &str) -> Result<Option<ObjectReference>, ClusterError> {
        let own = ListParams::default().fields(&format!("spec.nodeName={}", self.this.name()));
        let read = async |client| Api::<Pod>::namespaced(client, namespace).list_metadata(&own).await;
        let found = self.this.ask(format!("the pods of {namespace} on this node"), "allow list on pods", read).await?;
        let pod = found.items.into_iter().find(|pod| pod.metadata.uid.as_deref() == Some(uid));
        Ok(pod.map(|pod| ObjectReference {
            api_version: Some("v1".to_owned()),
            kind: Some("Pod".to_owned()),
            namespace: pod.metadata.namespace.or_else(|| Some(namespace.to_owned())),
            name: pod.metadata.name,
            uid: pod.metadata.uid,
            ..ObjectReference::default()
        }))
    }

    async fn record(&self, told: &Told, about: &ObjectReference) -> Result<(), ClusterError> {
        let event = Event {
            type_: EventType::Warning,
            reason: told.reason.clone(),
            note: Some(told.note.clone()),
            action: ACTION.to_owned(),
            secondary: None,
        };
        let named = |it: &Option<String>| it.clone().unwrap_or_default();
        let what = format!("the event {} of {} {}", told.reason, named(&about.kind), named(&about.name));
        let publish = async |client| {
            let reporter = Reporter { controller: PLUGIN_NAME.to_owned(), instance: Some(self.this.name().to_owned()) };
            let recorder = self.recorder.get_or_init(async || Recorder::new(client, reporter)).await;
            recorder.publish(&event, about).await
        };
        self.this.ask(what, "allow create and patch on events of events.k8s.io", publish).await
    }
}

/// The uid of the pod and the name of the PersistentVolume in a target path of the kubelet: `…/pods/UID/volumes/kubernetes.io~csi/PV/mount`.
fn pod_and_volume(target: &Path) -> Option<(&str, &str)> {
    let mut parts = target.iter().rev().map(|part| part.to_str());
    let mut next = || parts.next().flatten();
    let ("mount", volume, "kubernetes.io~csi", "volumes", uid, "pods") =
        (next()?, next()?, next()?, next()?, next()?, next()?)
    else {
        return None;
    };
    Some((uid, volume))
}

#[cfg(test)]
mod tests;
