//! ControllerGetVolumeHealth and ControllerListVolumeHealth: what AWS says of volumes, wherever they are used.
//!
//! Nobody looks in the background: the calls ask AWS when it is time ([`facts`]), and what can't be asked right now is an error. A list
//! tells the volumes that have something wrong, and a caller asks singly for those that were on it and are no more.

mod facts;

use std::collections::BTreeMap;

use csi_proto::csi;

use super::directories::is_directory_handle;
use super::secrets::CrossAccount;
use super::{Controller, ControllerError};
use crate::conditions::{self, Condition, Reason};
use crate::efs::{LifeCycle, Role};
use crate::volume::{AccessPointId, FileSystemId, VolumeId};
pub(in crate::controller) use facts::HealthFacts;
use facts::{FileSystemFacts, Point};

/// An access point that a list of this age does not name doesn't exist.
const LISTED_WITHIN: std::time::Duration = std::time::Duration::from_secs(60);
/// What a token for the next page begins with; the last handle of the page follows.
const TOKEN: &str = "after:";

impl Controller {
    pub(crate) async fn get_volume_health(
        &self,
        request: csi::ControllerGetVolumeHealthRequest,
    ) -> Result<csi::ControllerGetVolumeHealthResponse, ControllerError> {
        let handle = &request.volume_id;
        if handle.is_empty() {
            return Err(ControllerError::Invalid("volume_id: is missing".to_owned()));
        }
        let not_found = |why: String| ControllerError::NotFound(handle.clone(), why);
        let id: VolumeId = handle.parse().map_err(|error: crate::volume::IdError| not_found(error.to_string()))?;
        let role = match CrossAccount::read(&request.secrets)?.role {
            Some(role) => Some(role),
            None => self.role_of(&id.file_system).await?,
        };
        let facts = self.health_facts(&id.file_system, role.as_ref()).await?;
        let mut wrong = wrong_with_all(&id.file_system, &facts);
        if let Some(access_point) = &id.access_point {
            match facts.points.get(access_point) {
                Some(point) => wrong.extend(wrong_with(&id, point)),
                None if self.health.has_deleted(access_point) => {
                    return Err(not_found("this driver has deleted its access point".to_owned()));
                }
                None if facts.points_age > LISTED_WITHIN => {
                    let age = facts.points_age.as_secs();
                    let reason = format!(
                        "{access_point} was not among the access points of {}, listed {age} s ago; they are listed anew within three minutes",
                        id.file_system
                    );
                    return Err(ControllerError::NotKnownNow { volume: handle.clone(), reason });
                }
                None if self.is_claimed(handle).await? => wrong.push(missing(&id)),
                None => return Err(not_found(format!("{} has no access point {access_point}", id.file_system))),
            }
        } else if facts.state.is_none() {
            if !self.is_claimed(handle).await? {
                return Err(not_found(format!("there is no file system {}", id.file_system)));
            }
        } else if is_directory_handle(handle, &id) && wrong.is_empty() && self.sessions.is_some() {
            // Only the file system itself knows its directories.
            let api = self.api(&id.file_system, role.as_ref()).await?;
            let directory = self.directory(api.as_ref(), &id, role.as_ref()).await?;
            let directory =
                directory.ok_or_else(|| not_found("there is no directory that this driver made".to_owned()))?;
            wrong.extend(directory.trouble.map(|(reason, seen)| Condition::new(reason, seen)));
        }
        Ok(csi::ControllerGetVolumeHealthResponse { volume_health: Some(conditions::volume(handle, wrong)) })
    }

    pub(crate) async fn list_volume_health(
        &self,
        request: csi::ControllerListVolumeHealthRequest,
    ) -> Result<csi::ControllerListVolumeHealthResponse, ControllerError> {
        let most = usize::try_from(request.max_entries).map_err(|_| {
            ControllerError::Invalid(format!("max_entries: {} must not be negative", request.max_entries))
        })?;
        let after = match request.starting_token.as_str() {
            "" => None,
            token => {
                let handle = token.strip_prefix(TOKEN).filter(|handle| handle.parse::<VolumeId>().is_ok());
                Some(handle.ok_or_else(|| ControllerError::Token(token.to_owned()))?.to_owned())
            }
        };
        let mut unwell: Vec<_> = self.unwell().await?.into_iter().collect();
        unwell.retain(|(handle, _)| after.as_ref().is_none_or(|after| handle > after));
        let mut next_token = String::new();
        if most > 0 && unwell.len() > most {
            unwell.truncate(most);
            next_token = unwell.last().map(|(handle, _)| format!("{TOKEN}{handle}")).unwrap_or_default();
        }
        let entries = unwell.into_iter().map(|(handle, wrong)| conditions::volume(&handle, wrong)).collect();
        Ok(csi::ControllerListVolumeHealthResponse { entries, next_token })
    }

    /// The volumes that have something wrong, by handle: those of PersistentVolumes, and the access points of this driver.
    ///
    /// A file system of which AWS tells nothing (another account's whose role is gone, say) must not hide what is wrong with all others:
    /// its volumes are left out. Before a caller takes one that was on the list for well, it asks for it singly, and gets the error.
    async fn unwell(&self) -> Result<BTreeMap<String, Vec<Condition>>, ControllerError> {
        self.survey().await?;
        let mut volumes: BTreeMap<FileSystemId, Vec<String>> = BTreeMap::new();
        for (id, _) in self.known.all() {
            volumes.entry(id).or_default();
        }
        let claimants = self.claimants_afresh().await?;
        for claimant in claimants.iter().flatten().filter(|it| !it.handle.is_empty() && !it.is_leaving) {
            if let Ok(id) = claimant.handle.parse::<VolumeId>() {
                volumes.entry(id.file_system).or_default().push(claimant.handle.clone());
            }
        }
        let (mut unwell, mut failures, asked) = (BTreeMap::new(), Vec::new(), volumes.len());
        for (file_system, mut handles) in volumes {
            let facts = match self.health_facts_of(&file_system).await {
                Ok(facts) => facts,
                Err(error) => {
                    tracing::warn!(%error, %file_system, "the list of unwell volumes leaves out those of a file system");
                    failures.push(error);
                    continue;
                }
            };
            let own = facts.points.iter().filter(|(_, point)| point.is_volume);
            handles.extend(own.map(|(id, _)| VolumeId::of_access_point(file_system.clone(), id.clone()).to_string()));
            let of_all = wrong_with_all(&file_system, &facts);
            for handle in handles {
                let Ok(id) = handle.parse::<VolumeId>() else { continue };
                let mut wrong = of_all.clone();
                if let Some(access_point) = &id.access_point {
                    match facts.points.get(access_point) {
                        Some(point) => wrong.extend(wrong_with(&id, point)),
                        None if self.health.has_deleted(access_point) || facts.points_age > LISTED_WITHIN => {}
                        None => wrong.push(missing(&id)),
                    }
                }
                if !wrong.is_empty() {
                    unwell.insert(handle, wrong);
                }
            }
        }
        let nothing_known = failures.len() == asked;
        match failures.pop() {
            Some(error) if nothing_known => Err(error),
            _ => Ok(unwell),
        }
    }

    async fn health_facts_of(&self, file_system: &FileSystemId) -> Result<FileSystemFacts, ControllerError> {
        let role = self.role_of(file_system).await?;
        self.health_facts(file_system, role.as_ref()).await
    }

    async fn health_facts(
        &self,
        file_system: &FileSystemId,
        role: Option<&Role>,
    ) -> Result<FileSystemFacts, ControllerError> {
        let api = self.api(file_system, role).await?;
        let facts = self.health.of(api.as_ref(), file_system).await;
        facts.map_err(ControllerError::efs(format!("cannot find out how {file_system} is")))
    }

    /// Whether a PersistentVolume that nobody is deleting has this handle.
    async fn is_claimed(&self, handle: &str) -> Result<bool, ControllerError> {
        let claimants = self.claimants_afresh().await?;
        Ok(claimants.iter().flatten().any(|claimant| claimant.handle == handle && !claimant.is_leaving))
    }
}

/// What is wrong with every volume of a file system.
fn wrong_with_all(id: &FileSystemId, facts: &FileSystemFacts) -> Vec<Condition> {
    match facts.state {
        None => vec![Condition::new(Reason::FileSystemMissing, format!("there is no file system {id}"))],
        Some(state) => {
            file_system_wrong(id, state).or_else(|| no_mount_target(id, facts.has_mount_target)).into_iter().collect()
        }
    }
}

/// What a file system's state says of its volumes.
pub(super) fn file_system_wrong(id: &FileSystemId, state: LifeCycle) -> Option<Condition> {
    match state {
        LifeCycle::Available | LifeCycle::Updating => None,
        state => {
            Some(Condition::new(Reason::FileSystemNotAvailable, format!("file system {id} is {}", state.as_str())))
        }
    }
}

/// What it says of them that none of its mount targets is available.
pub(super) fn no_mount_target(id: &FileSystemId, has_one: bool) -> Option<Condition> {
    let text = || format!("file system {id} has no available mount target");
    (!has_one).then(|| Condition::new(Reason::MountTargetMissing, text()))
}

/// What an access point's state says of its volume.
pub(super) fn access_point_wrong(id: &AccessPointId, state: LifeCycle) -> Option<Condition> {
    match state {
        LifeCycle::Available | LifeCycle::Updating => None,
        state => {
            Some(Condition::new(Reason::AccessPointNotAvailable, format!("access point {id} is {}", state.as_str())))
        }
    }
}

/// What is wrong with a volume's own access point.
fn wrong_with(id: &VolumeId, point: &Point) -> Option<Condition> {
    let access_point = id.access_point.as_ref()?;
    match point.state {
        LifeCycle::Deleted => Some(missing(id)),
        state => access_point_wrong(access_point, state),
    }
}

fn missing(id: &VolumeId) -> Condition {
    let access_point = id.access_point.as_ref().map(ToString::to_string).unwrap_or_default();
    Condition::new(Reason::AccessPointMissing, format!("there is no access point {access_point} on {}", id.file_system))
}
