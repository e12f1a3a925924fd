//! `reuseAccessPoint`: an access point that claims of one name take up, one after the other or at once.
//!
//! It is in use as long as a PersistentVolume that isn't being deleted has its handle (one that is retained counts, in whatever phase), a
//! claim of its name waits for a volume, or it was handed out and the PersistentVolume is not stored yet. All but the last come from
//! Kubernetes, so that a new leader and a second replica know them too; for the last a new leader sees the claim that waits.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::create_volume::reuse_tokens;
use super::paths::{is_hashed, sha256_hex};
use super::tagging::{CLUSTER_ID_TAG, clusters_of};
use super::{Controller, ControllerError};
use crate::efs::{AccessPoint, EfsApi, EfsErrorKind};
use crate::locks::KeyedGuard;
use crate::volume::{AccessPointId, FileSystemId};

/// How long an access point that was handed out counts as in use although no PersistentVolume shows it: csi-provisioner stores one within
/// seconds, and tries for some minutes when the API server is away.
const HANDED_OUT: Duration = Duration::from_secs(10 * 60);

/// An access point whose volume is being deleted is not taken up before this long: by then a deletion that began before the new claim could
/// be seen has ended, wherever it runs; one that begins later sees the claim and leaves the access point. Twice csi-provisioner's limit
/// of a call, which AWS may outlast by a little.
const DELETING: Duration = Duration::from_secs(30);

/// Hand-outs that are remembered outside a cluster, where nothing else tells who uses what.
const MOST_REMEMBERED: usize = 10_000;

/// Whether an access point may be deleted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Use {
    /// Nobody else uses it.
    None,
    /// These do.
    Others(String),
}

/// Which volumes were told to use which access point, and when.
#[derive(Debug, Default)]
pub(super) struct Returned(Mutex<HashMap<AccessPointId, BTreeMap<String, Instant>>>);

impl Returned {
    fn note(&self, id: &AccessPointId, volume: &str) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if all.len() >= MOST_REMEMBERED {
            all.retain(|_, volumes| volumes.values().any(|at| at.elapsed() < HANDED_OUT));
        }
        all.entry(id.clone()).or_default().insert(volume.to_owned(), Instant::now());
    }

    pub(super) fn forget(&self, id: &AccessPointId) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(id);
    }

    /// Forgets the volumes whose PersistentVolumes are stored.
    pub(super) fn settle(&self, id: &AccessPointId, is_stored: impl Fn(&str) -> bool) {
        if let Some(volumes) = self.0.lock().unwrap_or_else(PoisonError::into_inner).get_mut(id) {
            volumes.retain(|name, _| !is_stored(name));
        }
    }

    fn volumes(&self, id: &AccessPointId) -> BTreeMap<String, Instant> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(id).cloned().unwrap_or_default()
    }
}

/// Access points that are wanted again while their volumes are being deleted, and since when.
#[derive(Debug, Default)]
pub(super) struct Wanted(Mutex<HashMap<AccessPointId, Instant>>);

impl Wanted {
    /// For how long it has been wanted.
    fn wait(&self, id: &AccessPointId) -> Duration {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if all.len() >= MOST_REMEMBERED {
            all.retain(|_, since| since.elapsed() < HANDED_OUT);
        }
        all.entry(id.clone()).or_insert_with(Instant::now).elapsed()
    }

    fn forget(&self, id: &AccessPointId) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(id);
    }
}

impl Controller {
    /// Refuses an access point for a while that another controller may just be about to delete: one that no PersistentVolume has which isn't being
    /// deleted. One of another cluster, whose PersistentVolumes nobody sees here, is told first that this cluster takes it up.
    pub(super) async fn wait_for_deletion(
        &self,
        api: &dyn EfsApi,
        it: &AccessPoint,
        volume: &str,
    ) -> Result<(), ControllerError> {
        let Some(claimants) = self.cluster.claimants().await? else { return Ok(()) };
        let is_held = claimants.iter().any(|claimant| !claimant.is_leaving && claimant.has(&it.id));
        // A call of this volume that is repeated has been through this.
        if is_held || self.returned.volumes(&it.id).contains_key(volume) {
            self.wanted.forget(&it.id);
            return Ok(());
        }
        self.join_clusters(api, it).await?;
        if self.wanted.wait(&it.id) < DELETING {
            let leaving = claimants.iter().find(|claimant| claimant.has(&it.id)).map(|claimant| claimant.name.as_str());
            return Err(ControllerError::Busy(format!(
                "access point {} is used by no PersistentVolume{}; it is taken up when a deletion that may be under way has been seen through, within \
                 {} s",
                it.id,
                leaving.map(|name| format!(" but {name:?}, which is being deleted")).unwrap_or_default(),
                DELETING.as_secs()
            )));
        }
        self.wanted.forget(&it.id);
        Ok(())
    }

    /// Keeps calls that hand out or delete the access points of this token apart.
    pub(super) async fn lock_token(&self, token: &str) -> Result<KeyedGuard<String>, ControllerError> {
        self.lock(&format!("reuse {token}")).await
    }

    /// The same for an access point that exists, if it is one that claims take up.
    pub(super) async fn lock_reuse(&self, it: &AccessPoint) -> Result<Option<KeyedGuard<String>>, ControllerError> {
        if is_hashed(&it.client_token) { self.lock_token(&it.client_token).await.map(Some) } else { Ok(None) }
    }

    /// Notes that an access point is handed out to a volume, here and, where it comes from another cluster, in its tag.
    pub(super) async fn return_for_reuse(
        &self,
        api: &dyn EfsApi,
        it: &AccessPoint,
        volume: &str,
    ) -> Result<(), ControllerError> {
        self.returned.note(&it.id, volume);
        self.join_clusters(api, it).await
    }

    /// Adds this cluster to those that the tag of an access point names, if it names any.
    async fn join_clusters(&self, api: &dyn EfsApi, it: &AccessPoint) -> Result<(), ControllerError> {
        let (Some(own), clusters) = (self.cluster_id().await, clusters_of(&it.tags)) else { return Ok(()) };
        if clusters.is_empty() || clusters.contains(&own.as_str()) {
            return Ok(());
        }
        let all = format!("{} {own}", clusters.join(" "));
        match api.tag(&it.id, &BTreeMap::from([(CLUSTER_ID_TAG.to_owned(), all)])).await {
            Ok(()) => Ok(()),
            Err(error) if error.kind == EfsErrorKind::AccessDenied => {
                tracing::warn!(access_point = %it.id, "another cluster's access point is taken up, and the IAM policy does not allow to say so");
                self.tags.refused();
                Ok(())
            }
            Err(error) => Err(ControllerError::efs(format!(
                "cannot note that this cluster takes up access point {}",
                it.id
            ))(error)),
        }
    }

    /// An access point of the Go driver's rule, which goes by the claim's name alone, may be another namespace's.
    pub(super) async fn is_of_namespace(
        &self,
        it: &AccessPoint,
        namespace: Option<&str>,
    ) -> Result<bool, ControllerError> {
        let claimants = self.cluster.claimants().await?.unwrap_or_default();
        let mut owners = claimants.iter().filter(|volume| volume.has(&it.id)).map(|volume| &volume.namespace);
        Ok(owners.all(|owner| owner.as_deref().is_none_or(|owner| Some(owner) == namespace)))
    }

    /// Whether others use an access point whose volume is to be deleted. Only a token that is a hash can be that of a reused one, so
    /// that other deletions need not ask Kubernetes.
    pub(super) async fn use_of(&self, api: &dyn EfsApi, it: &AccessPoint) -> Result<Use, ControllerError> {
        if let Some(others) = self.leave_to_others(api, it).await? {
            return Ok(Use::Others(others));
        }
        if it.tags_told && !is_hashed(&it.client_token) {
            return Ok(Use::None);
        }
        // Claims before volumes: a claim that is bound by then has its PersistentVolume, which the second listing shows.
        let waiting = self.cluster.waiting_claims().await?.unwrap_or_default();
        let Some(claimants) = self.cluster.claimants().await? else {
            // Outside a cluster nobody tells which of the volumes still exist.
            let returned = self.returned.volumes(&it.id);
            let many = returned.len() > 1;
            return Ok(if many { Use::Others(format!("volumes {:?}", returned.keys())) } else { Use::None });
        };
        // Once its PersistentVolume was seen, that tells, also by being gone again.
        self.returned.settle(&it.id, |name| claimants.iter().any(|volume| volume.name == name));
        if let Some(user) = claimants.iter().find(|volume| volume.has(&it.id) && !volume.is_leaving) {
            return Ok(Use::Others(format!("PersistentVolume {}", user.name)));
        }
        let returned = self.returned.volumes(&it.id);
        let pending = returned.iter().find(|(_, at)| at.elapsed() < HANDED_OUT);
        let waits =
            waiting.iter().find(|claim| is_token_of(&it.client_token, &it.file_system, &claim.namespace, &claim.name));
        match (pending, waits) {
            (Some((name, _)), _) => Err(ControllerError::Busy(format!(
                "access point {} was just handed out to volume {name:?}, whose PersistentVolume is not stored yet",
                it.id
            ))),
            (None, Some(claim)) => Err(ControllerError::Busy(format!(
                "claim {}/{} waits for a volume and takes up access point {}",
                claim.namespace, claim.name, it.id
            ))),
            (None, None) => Ok(Use::None),
        }
    }

    /// Where other clusters use the access point too, takes this cluster's name off it; gives their names.
    async fn leave_to_others(&self, api: &dyn EfsApi, it: &AccessPoint) -> Result<Option<String>, ControllerError> {
        let clusters = clusters_of(&it.tags);
        let others = self.others_among(&clusters).await?;
        if others.is_empty() {
            return Ok(None);
        }
        let was_ours = others.len() < clusters.len();
        let others = others.join(" ");
        let claimants = self.cluster.claimants().await?.unwrap_or_default();
        if was_ours && !claimants.iter().any(|volume| volume.has(&it.id) && !volume.is_leaving) {
            let tags = BTreeMap::from([(CLUSTER_ID_TAG.to_owned(), others.clone())]);
            if let Err(error) = api.tag(&it.id, &tags).await {
                tracing::warn!(access_point = %it.id, %error, "cannot take this cluster's name off the access point");
            }
        }
        Ok(Some(format!("clusters {others}")))
    }
}

/// Whether an access point's token is that of a claim, by our rule or the Go driver's.
pub(crate) fn is_token_of(token: &str, file_system: &FileSystemId, namespace: &str, name: &str) -> bool {
    let tokens = reuse_tokens(file_system, namespace, name);
    token == tokens.scoped || token == sha256_hex(name)
}
