//! What the controller knows of the file systems that it works on: in which account each is, and whether it holds directory
//! volumes.
//!
//! The calls that list volumes name no file system and carry no secrets. So the controller remembers what other calls brought along;
//! after a restart it asks the cluster, whose StorageClasses and PersistentVolumes name file systems and secrets.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::cluster::SecretName;
use super::directories::is_directory_handle;
use super::parameters::{DIRECTORY_MODE, file_system_source, service_of};
use super::secrets::CrossAccount;
use super::{Controller, ControllerError};
use crate::efs::Role;
use crate::volume::{FileSystemId, VolumeId};

/// How long the cluster is not asked again.
const SURVEY_AGE: Duration = Duration::from_secs(5 * 60);

/// How long the first creation waits for what the cluster says.
const FIRST_SURVEY: Duration = Duration::from_secs(5);

/// File systems that are remembered; AWS allows 1,000 in an account and region.
const MOST_FILE_SYSTEMS: usize = 10_000;

/// What is known of a file system.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Facts {
    /// The role for its account; none for the driver's own.
    pub(super) role: Option<Role>,
    /// Whether it may hold directory volumes.
    pub(super) directories: bool,
}

/// The file systems that calls or the cluster have named.
#[derive(Debug, Default)]
pub(super) struct KnownFileSystems {
    facts: Mutex<BTreeMap<FileSystemId, Facts>>,
    /// Why the account of a file system that a PersistentVolume names could not be found out.
    doubts: Mutex<BTreeMap<FileSystemId, String>>,
    /// Whether a creation has asked the cluster.
    asked: AtomicBool,
    /// When the cluster was asked; held while it is being asked, so that concurrent calls ask once.
    surveyed: tokio::sync::Mutex<Option<Instant>>,
}

impl KnownFileSystems {
    fn facts(&self) -> MutexGuard<'_, BTreeMap<FileSystemId, Facts>> {
        self.facts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn doubts(&self) -> MutexGuard<'_, BTreeMap<FileSystemId, String>> {
        self.doubts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes that a file system was reached with this role. What is known of directories stays known.
    pub(super) fn learn(&self, id: &FileSystemId, role: Option<&Role>, directories: bool) {
        let mut facts = self.facts();
        if facts.len() >= MOST_FILE_SYSTEMS && !facts.contains_key(id) {
            return;
        }
        let known = facts.entry(id.clone()).or_default();
        known.role = role.cloned();
        known.directories |= directories;
    }

    fn get(&self, id: &FileSystemId) -> Option<Facts> {
        self.facts().get(id).cloned()
    }

    /// Whether a file system may hold directory volumes.
    pub(super) fn has_directories(&self, id: &FileSystemId) -> bool {
        self.facts().get(id).is_some_and(|facts| facts.directories)
    }

    /// All of them, by id.
    pub(super) fn all(&self) -> Vec<(FileSystemId, Facts)> {
        self.facts().iter().map(|(id, facts)| (id.clone(), facts.clone())).collect()
    }

    /// The roles for other accounts.
    pub(super) fn roles(&self) -> BTreeSet<Role> {
        self.facts().values().filter_map(|facts| facts.role.clone()).collect()
    }
}

impl Controller {
    /// Learns from the cluster, unless it was asked lately. Outside a cluster there is nothing to learn.
    ///
    /// # Errors
    /// When the API server is away.
    pub(super) async fn survey(&self) -> Result<(), ControllerError> {
        let mut surveyed = self.known.surveyed.lock().await;
        if surveyed.is_some_and(|at| at.elapsed() < SURVEY_AGE) {
            return Ok(());
        }
        if let Some(facts) = self.cluster.facts().await? {
            let (mut roles, mut doubts) = (HashMap::new(), BTreeMap::new());
            for class in facts.classes {
                let Some(source) = file_system_source(&class.parameters) else { continue };
                let mode = class.parameters.get("provisioningMode").map(String::as_str);
                let directories = mode == Some(DIRECTORY_MODE);
                let kind = service_of(mode);
                let (id, role) = match (self.resolve(&source, kind).await, self.role_in(class.secret, &mut roles).await)
                {
                    (Ok(id), Ok(role)) => (id, role),
                    (Ok(id), Err(error)) => {
                        tracing::warn!(%error, file_system = %id, "the account of a StorageClass is unknown");
                        doubts.insert(id, error.to_string());
                        continue;
                    }
                    (Err(error), _) => {
                        tracing::warn!(%error, "a StorageClass names a file system that can't be looked at");
                        continue;
                    }
                };
                self.known.learn(&id, role.as_ref(), directories);
            }
            for volume in facts.volumes {
                let Ok(id) = volume.handle.parse::<VolumeId>() else { continue };
                let directories = is_directory_handle(&volume.handle, &id);
                // A static volume says nothing about the account; a StorageClass or an earlier call may have.
                let said = volume.secret.is_some();
                let known = || self.known.get(&id.file_system).and_then(|facts| facts.role);
                let role = if said { self.role_in(volume.secret, &mut roles).await } else { Ok(known()) };
                match role {
                    Ok(role) => self.known.learn(&id.file_system, role.as_ref(), directories),
                    Err(error) => {
                        tracing::warn!(%error, volume = %id, "the account of a PersistentVolume is unknown");
                        doubts.insert(id.file_system, error.to_string());
                    }
                }
            }
            let certain = doubts.is_empty();
            *self.known.doubts() = doubts;
            // With a doubt, the next call asks again.
            *surveyed = certain.then(Instant::now);
            return Ok(());
        }
        *surveyed = Some(Instant::now());
        Ok(())
    }

    /// Whether a file system may hold directory volumes. The first question asks the cluster; where it doesn't answer soon, what is known counts.
    pub(super) async fn may_have_directories(&self, id: &FileSystemId) -> bool {
        let is_first = !self.known.asked.swap(true, Ordering::Relaxed);
        if is_first && !matches!(tokio::time::timeout(FIRST_SURVEY, self.survey()).await, Ok(Ok(()))) {
            tracing::warn!(
                "the cluster has not told which file systems hold directory volumes; access points are made without knowing"
            );
        }
        self.known.has_directories(id)
    }

    /// The role that a Secret names; each Secret is read once.
    async fn role_in(
        &self,
        secret: Option<SecretName>,
        roles: &mut HashMap<SecretName, Option<Role>>,
    ) -> Result<Option<Role>, ControllerError> {
        let Some(secret) = secret else { return Ok(None) };
        if let Some(role) = roles.get(&secret) {
            return Ok(role.clone());
        }
        let values = self.cluster.secret_values(&secret).await?;
        let role = CrossAccount::read(&values)?.role;
        roles.insert(secret, role.clone());
        Ok(role)
    }

    /// The role for a file system whose call brought no secret.
    ///
    /// # Errors
    /// When it may be another account's and the role can't be found out: to take the driver's own would make its volumes seem deleted.
    pub(super) async fn role_of(&self, id: &FileSystemId) -> Result<Option<Role>, ControllerError> {
        let unknown = |reason| ControllerError::UnknownAccount { file_system: id.clone(), reason };
        let is_doubtful = self.known.doubts().contains_key(id);
        if self.known.get(id).is_none() || is_doubtful {
            self.survey().await.map_err(|error| unknown(error.to_string()))?;
        }
        // A static volume makes a file system known without saying whose it is, so that a doubt weighs more than no role.
        match (self.known.get(id).and_then(|facts| facts.role), self.known.doubts().get(id)) {
            (Some(role), _) => Ok(Some(role)),
            (None, Some(reason)) => Err(unknown(reason.clone())),
            (None, None) => Ok(None),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directories_stay_known_and_the_role_is_the_last_one() {
        let known = KnownFileSystems::default();
        let (id, role) = ("fs-01234567".parse().unwrap(), Role { arn: "arn:x".into(), external_id: None });
        assert_eq!(known.get(&id), None);
        known.learn(&id, None, true);
        known.learn(&id, Some(&role), false);
        assert_eq!(known.get(&id), Some(Facts { role: Some(role), directories: true }));
        assert_eq!((known.roles().len(), known.all().len()), (1, 1));
    }
}
