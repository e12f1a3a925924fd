//! Volumes that are plain directories (`provisioningMode: efs-dir`).
//!
//! A creation claims the directory first and looks for access points on it then; whoever makes an access point looks at the claims
//! afterwards. So of two at once, one at least sees the other.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use efs_directories::claim::{Origin, Owner};
use efs_directories::deletion::{self, Deleted};
use efs_directories::ledger::Kept;
use efs_directories::trash::Intent;
use efs_directories::volumes::{self, Begun, Purpose, Standing, Wanted};
use efs_directories::{Claim, DirectoryError, DirectoryPath, PathError};

use super::capacity::CapacityRange;
use super::cluster::Claimant;
use super::neighbours::Whose;
use super::parameters::CreateParameters;
use super::paths::{Root, is_named_after};
use super::sessions::{Place, Session, Sessions};
use super::{Controller, ControllerError};
use crate::conditions::Reason;
use crate::efs::{EfsApi, MountTarget, Role};
use crate::volume::{FileSystemId, FileSystemKind, VolumeId};

/// Ends the handle of a directory volume. An empty last field is allowed by the handle's grammar and tells our directories
/// from those that people name in static volumes, which are never removed.
const DIRECTORY_MARK: char = ':';

/// Claims whose contents are kept, of all file systems together; beyond, they are read again for every listing.
const MOST_CLAIMS_KEPT: usize = 20_000;

/// How long a volume counts as young enough for its PersistentVolume not to be stored yet, seconds.
const NOT_STORED_YET: u64 = 10 * 60;

/// The handle of a directory volume.
pub(super) fn directory_handle(file_system: FileSystemId, path: &str) -> String {
    format!("{}{DIRECTORY_MARK}", VolumeId::of_directory(file_system, path.to_owned()))
}

/// Whether a handle is that of a directory volume.
pub(super) fn is_directory_handle(handle: &str, volume: &VolumeId) -> bool {
    let parts = (volume.kind(), volume.path.is_some(), volume.access_point.is_none());
    handle.starts_with("efs:") && handle.ends_with(DIRECTORY_MARK) && parts == (FileSystemKind::Efs, true, true)
}

/// What a CreateVolume call asks of a directory.
pub(super) struct WantedDirectory<'a> {
    pub(super) name: &'a str,
    pub(super) root: &'a Root,
    pub(super) parameters: &'a CreateParameters,
    pub(super) capacity: &'a CapacityRange,
}

/// A directory volume that was made or found.
#[derive(Debug)]
pub(super) struct MadeDirectory {
    pub(super) handle: String,
    pub(super) capacity: i64,
    pub(super) file_id: Option<u64>,
}

/// A directory volume that exists.
#[derive(Debug)]
pub(super) struct DirectoryVolume {
    /// Capacity in bytes that it was made with or expanded to.
    pub(super) capacity: i64,
    /// What is wrong with it.
    pub(super) trouble: Option<(Reason, String)>,
}

/// Claims as they were last read, so that a listing reads only what has changed since.
#[derive(Debug, Default)]
pub(super) struct KeptClaims(Mutex<BTreeMap<FileSystemId, Kept>>);

impl KeptClaims {
    fn take(&self, id: &FileSystemId) -> Kept {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(id).unwrap_or_default()
    }

    fn put(&self, id: &FileSystemId, kept: Kept) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if all.values().map(Kept::len).sum::<usize>() + kept.len() <= MOST_CLAIMS_KEPT {
            all.insert(id.clone(), kept);
        }
    }
}

impl Controller {
    /// A session with a file system.
    pub(super) async fn session(
        &self,
        api: &dyn EfsApi,
        file_system: &FileSystemId,
        role: Option<&Role>,
    ) -> Result<Session, ControllerError> {
        let (sessions, place, targets) = self.reach(api, file_system, role).await?;
        sessions.session(&place, &targets).await
    }

    /// Whether a file system has mount targets, in whatever state.
    pub(super) async fn has_mount_targets(
        &self,
        api: &dyn EfsApi,
        file_system: &FileSystemId,
        role: Option<&Role>,
    ) -> Result<bool, ControllerError> {
        let targets = self.mount_targets.get(api, file_system, role).await;
        let targets =
            targets.map_err(ControllerError::efs(format!("cannot list the mount targets of {file_system}")))?;
        Ok(!targets.is_empty())
    }

    async fn reach(
        &self,
        api: &dyn EfsApi,
        file_system: &FileSystemId,
        role: Option<&Role>,
    ) -> Result<(&dyn Sessions, Place, Vec<MountTarget>), ControllerError> {
        let Some(sessions) = self.sessions.as_deref() else {
            return Err(ControllerError::Invalid(
                "this controller has no way to make or remove directories".to_owned(),
            ));
        };
        let region = self.clients.region().await.map_err(ControllerError::efs("cannot find the region"))?;
        let targets = self.mount_targets.get(api, file_system, role).await;
        let targets =
            targets.map_err(ControllerError::efs(format!("cannot list the mount targets of {file_system}")))?;
        let port = self.config.mount_target_port;
        Ok((sessions, Place { file_system: file_system.clone(), region, port }, targets))
    }

    /// Makes a directory volume, or finds it.
    pub(super) async fn create_directory(
        &self,
        api: &dyn EfsApi,
        file_system: &FileSystemId,
        role: Option<&Role>,
        asked: WantedDirectory<'_>,
    ) -> Result<MadeDirectory, ControllerError> {
        let wanted = wanted(&asked)?;
        let wanted = Wanted { cluster: self.name_for_new().await?, ..wanted };
        let session = self.session(api, file_system, role).await?;
        let begun = self.begin_directory(api, file_system, &session, &wanted).await?;
        let handle = directory_handle(file_system.clone(), &asked.root.path);
        let claim = self.finish_directory(api, file_system, &session, &handle, begun).await?;
        // Something may have been made by now: no failure may be told as final, or the caller would forget it.
        let has = session.ledger().size(&claim).await.map_err(unfinished)?;
        match difference(&claim, &wanted, has, asked.capacity) {
            None => Ok(MadeDirectory {
                handle: directory_handle(file_system.clone(), &claim.path.to_string()),
                capacity: has,
                file_id: claim.file_id,
            }),
            Some(difference) => {
                let existing = format!("directory {:?}", claim.path.to_string());
                Err(ControllerError::Conflict { name: wanted.volume, existing, difference })
            }
        }
    }

    /// Claims a directory, once more where the first attempt has met what keeps it for nobody.
    async fn begin_directory(
        &self,
        api: &dyn EfsApi,
        file_system: &FileSystemId,
        session: &Session,
        wanted: &Wanted,
    ) -> Result<Begun, ControllerError> {
        let error = match volumes::begin(session.ledger(), wanted).await {
            Ok(begun) => return Ok(begun),
            Err(error) => error,
        };
        if self.clear_away(api, file_system, session, &wanted.path, &error).await? {
            Ok(volumes::begin(session.ledger(), wanted).await?)
        } else {
            Err(error.into())
        }
    }

    /// Whether what was in a creation's way may be there for nobody, and has been looked after.
    async fn clear_away(
        &self,
        api: &dyn EfsApi,
        file_system: &FileSystemId,
        session: &Session,
        path: &DirectoryPath,
        met: &DirectoryError,
    ) -> Result<bool, ControllerError> {
        let ledger = session.ledger();
        let owner = match met {
            DirectoryError::Exists { .. } => None,
            DirectoryError::Taken { owner, .. } => Some(owner),
            _ => return Ok(false),
        };
        // An earlier driver may have made or deleted it since its notes were taken over.
        let is_of_earlier = ledger.legacy_note(path).await?.is_some()
            || match owner {
                Some(owner) => ledger.is_deleted_by_earlier(owner).await?,
                None => false,
            };
        if is_of_earlier {
            ledger.migrate(is_named_after).await?;
            return Ok(true);
        }
        match owner {
            Some(owner) if self.is_abandoned(api, file_system, session, owner).await? => {
                volumes::release(ledger, owner).await?;
                Ok(true)
            }
            _ => Ok(false),
        }
    }

    /// Brings a claimed directory to its place, after a look at who else uses it. The claim is given up where somebody does.
    async fn finish_directory(
        &self,
        api: &dyn EfsApi,
        file_system: &FileSystemId,
        session: &Session,
        handle: &str,
        begun: Begun,
    ) -> Result<Claim, ControllerError> {
        let ledger = session.ledger();
        let (claim, is_new) = match begun {
            Begun::Claimed(claim) => (claim, true),
            // A directory that was there is ready as soon as it is claimed. The call that made the claim may still be looking who else uses it,
            // and give it up.
            Begun::Ready(claim) if claim.origin == Origin::Adopted => (claim, false),
            Begun::Ready(claim) => return Ok(claim),
        };
        // From here on something may have been made: no failure may be told as final, or the caller would forget it.
        let other = self.access_point_at(api, file_system, &claim.path, Whose::Directory(handle)).await;
        if let Some(other) = other.map_err(ControllerError::unfinished)? {
            let in_use = ControllerError::InUse {
                what: format!("directory {}", claim.path),
                by: other.to_string(),
                advice: "choose another directory",
                creating: true,
            };
            if is_new && volumes::release_unplaced(ledger, &claim).await.map_err(unfinished)? {
                return Err(in_use);
            }
            if self.is_wanted(session, &claim, handle).await? {
                return Err(in_use.unfinished());
            }
            volumes::release(ledger, &claim).await.map_err(unfinished)?;
            return Err(in_use);
        }
        if is_new {
            match volumes::place(ledger, &claim).await {
                Ok(()) => {}
                Err(error @ DirectoryError::Exists { .. }) => return Err(error.into()),
                Err(error) => return Err(ControllerError::from(error).unfinished()),
            }
        }
        let held = ledger.claim_at(&claim.path).await.map_err(unfinished)?;
        held.filter(|held| held.id == claim.id).ok_or_else(|| {
            ControllerError::Busy(format!(
                "another call for volume {:?} has given up directory {}",
                claim.volume, claim.path
            ))
        })
    }

    /// Whether somebody may still be looking whether a claim can stay, or has its volume.
    async fn is_wanted(&self, session: &Session, claim: &Claim, handle: &str) -> Result<bool, ControllerError> {
        let now = session.trash().now().await.map_err(unfinished)?;
        let age = session.ledger().age(claim, now).await.map_err(unfinished)?;
        let claimants = self.claimants_afresh().await.map_err(ControllerError::unfinished)?;
        Ok(age <= NOT_STORED_YET || claimants.iter().flatten().any(|volume| volume.handle == handle))
    }

    /// Whether a claim is that of access points which are all gone, so that it keeps a directory for nobody.
    async fn is_abandoned(
        &self,
        api: &dyn EfsApi,
        file_system: &FileSystemId,
        session: &Session,
        claim: &Claim,
    ) -> Result<bool, ControllerError> {
        if claim.is_directory_volume() || self.is_shared(api, file_system, &claim.path, None).await? {
            return Ok(false);
        }
        // The access point of a young one may be on its way.
        Ok(session.ledger().age(claim, session.trash().now().await?).await? > NOT_STORED_YET)
    }

    /// A directory volume; nothing when there is no claim. A controller without a way to directories can't tell.
    pub(super) async fn directory(
        &self,
        api: &dyn EfsApi,
        volume: &VolumeId,
        role: Option<&Role>,
    ) -> Result<Option<DirectoryVolume>, ControllerError> {
        let Ok(path) = path_of(volume) else { return Ok(None) };
        let session = self.session(api, &volume.file_system, role).await?;
        let standing = match standing(&session, &path).await {
            Err(ControllerError::Directories(error @ DirectoryError::Taken { .. })) => {
                let note = session.ledger().legacy_note(&path).await?;
                return Ok(note.map(|note| DirectoryVolume {
                    capacity: note.capacity,
                    trouble: Some((
                        Reason::DirectoryShared,
                        format!("an earlier driver made it where another volume is: {error}"),
                    )),
                }));
            }
            other => other?,
        };
        let (claim, trouble) = match standing {
            Standing::Unclaimed => return Ok(None),
            Standing::Present(claim) | Standing::Kept(claim) => (claim, None),
            Standing::Gone(claim) => (claim, Some((Reason::DirectoryMissing, format!("directory {path} is gone")))),
            Standing::Replaced(claim) => {
                let text = format!("what is at {path} now is not the directory that was made for the volume");
                (claim, Some((Reason::DirectoryMissing, text)))
            }
        };
        Ok(Some(DirectoryVolume { capacity: session.ledger().size(&claim).await?, trouble }))
    }

    /// Notes another capacity for a directory volume.
    pub(super) async fn expand_directory(
        &self,
        api: &dyn EfsApi,
        volume: &VolumeId,
        role: Option<&Role>,
        capacity: i64,
    ) -> Result<(), ControllerError> {
        let gone = || ControllerError::NotFound(volume.to_string(), "its directory was removed meanwhile".to_owned());
        let path = path_of(volume).map_err(|_| gone())?;
        let session = self.session(api, &volume.file_system, role).await?;
        let claim = session.ledger().claim_at(&path).await?.ok_or_else(gone)?;
        Ok(session.ledger().set_size(&claim.id, capacity).await?)
    }

    /// All directory volumes of a file system with their capacities, by path.
    pub(super) async fn directory_claims(
        &self,
        api: &dyn EfsApi,
        file_system: &FileSystemId,
        role: Option<&Role>,
    ) -> Result<BTreeMap<DirectoryPath, i64>, ControllerError> {
        let session = self.session(api, file_system, role).await?;
        let mut kept = self.kept_claims.take(file_system);
        let claims = session.ledger().claims(&mut kept).await?;
        self.kept_claims.put(file_system, kept);
        let sizes = session.ledger().sizes().await?;
        let size = |claim: &Claim| sizes.get(&claim.id).copied().unwrap_or_else(|| claim.capacity());
        let claimed = claims.into_iter().filter(|(_, claim)| claim.is_directory_volume());
        // Those of an earlier driver that overlap with others have notes only.
        let noted = session.ledger().legacy_notes().await?.into_iter().map(|note| (note.path, note.capacity));
        Ok(noted.chain(claimed.map(|(path, claim)| (path, size(&claim)))).collect())
    }

    /// Removes a directory volume.
    pub(super) async fn delete_directory(
        &self,
        handle: &str,
        volume: &VolumeId,
        role: Option<&Role>,
    ) -> Result<(), ControllerError> {
        let api = self.api(&volume.file_system, role).await?;
        match self.file_system(api.as_ref(), &volume.file_system).await {
            Ok(_) => {}
            Err(error) if error.is_not_found() => return Ok(()),
            Err(error) => return Err(ControllerError::efs(format!("cannot look up {}", volume.file_system))(error)),
        }
        let Ok(path) = path_of(volume) else {
            tracing::warn!(%volume, "no directory that a volume can own; nothing is removed");
            return Ok(());
        };
        let session = self.session(api.as_ref(), &volume.file_system, role).await?;
        let ledger = session.ledger();
        let standing = standing(&session, &path).await?;
        if let Some(claim) = standing.claim()
            && let Some(reason) = self.is_of_another(handle, claim, &session).await?
        {
            tracing::warn!(%volume, reason, "the directory stays");
            return Ok(());
        }
        let keeper = self.trash_keeper().await;
        let intent = |claim: &Claim| Intent {
            path: path.clone(),
            file_id: claim.file_id.unwrap_or_default(),
            volume: handle.to_owned(),
            access_point: None,
            claim: Some(claim.id.clone()),
            cluster: keeper.cluster,
            retention: Some(keeper.retention),
        };
        let user = || self.user_of(api.as_ref(), &volume.file_system, &path, Whose::Directory(handle));
        match deletion::delete(ledger, standing, intent, user).await? {
            Deleted::Moved => {}
            Deleted::Unclaimed => {
                tracing::warn!(%volume, "no directory that this driver made; nothing is removed");
                return Ok(());
            }
            Deleted::Kept(origin) => {
                tracing::info!(%volume, ?origin, "the directory was not made for the volume; it stays");
                return Ok(());
            }
            Deleted::Gone => return Ok(()),
            Deleted::Replaced => {
                tracing::warn!(%volume, "what has the directory's name now is something else; it stays");
                return Ok(());
            }
            Deleted::InUse(user) => {
                return Err(ControllerError::InUse {
                    what: format!("directory {path} of volume {handle}"),
                    by: user.to_string(),
                    advice: "delete that one first; until then nothing is removed",
                    creating: false,
                });
            }
        }
        self.keep_trash(&volume.file_system, role);
        Ok(())
    }
}

impl Controller {
    /// Whether a handle means another volume by now than the one that is deleted: the handle of a directory volume is its path, and a
    /// deletion whose answer was lost is repeated when the path may have been given to the next volume. Tells why it does.
    async fn is_of_another(
        &self,
        handle: &str,
        claim: &Claim,
        session: &Session,
    ) -> Result<Option<String>, ControllerError> {
        let cluster: Vec<&str> = claim.cluster.iter().map(String::as_str).collect();
        if let [cluster] = self.others_among(&cluster).await?[..] {
            return Ok(Some(format!("it is that of volume {:?} of cluster {cluster}", claim.volume)));
        }
        let claimants = self.claimants_afresh().await?;
        let named: Vec<&Claimant> = claimants.iter().flatten().filter(|volume| volume.handle == handle).collect();
        // A copy of the PersistentVolume shares the volume.
        if let Some(user) = named.iter().find(|volume| !volume.is_leaving) {
            return Ok(Some(format!("PersistentVolume {:?} has it and is not being deleted", user.name)));
        }
        if named.iter().any(|volume| volume.name == claim.volume) {
            return Ok(None);
        }
        // Either the PersistentVolume of the claim's volume is not stored yet, or somebody has made one anew under another name, or this
        // is a late call for an earlier volume at the path, whose PersistentVolume is gone.
        if claimants.is_some() && session.ledger().age(claim, session.trash().now().await?).await? < NOT_STORED_YET {
            return Err(ControllerError::Busy(format!(
                "directory {} was just given to volume {:?}, whose PersistentVolume is not stored yet",
                claim.path, claim.volume
            )));
        }
        Ok(None)
    }
}

/// What the ledger says of a directory, after notes that an earlier driver has left meanwhile were taken over.
async fn standing(session: &Session, path: &DirectoryPath) -> Result<Standing, ControllerError> {
    let ledger = session.ledger();
    if ledger.legacy_note(path).await?.is_some() {
        ledger.migrate(is_named_after).await?;
    }
    Ok(volumes::standing(ledger, path).await?)
}

/// What a CreateVolume call asks of the file system, for whichever cluster.
fn wanted(asked: &WantedDirectory<'_>) -> Result<Wanted, ControllerError> {
    let WantedDirectory { name, root, parameters, capacity } = asked;
    let refused =
        |reason: &str| Err(ControllerError::Invalid(format!("volume {name:?}: directory {:?} {reason}", root.path)));
    let Some(path) = root.own() else {
        return refused("is the base path itself, which no volume can own; give subPathPattern a name");
    };
    if root.path.contains(DIRECTORY_MARK) {
        return refused("must not contain a colon, which volume handles are divided by");
    }
    Ok(Wanted {
        volume: (*name).to_owned(),
        path: path.clone(),
        uid: parameters.uid.unwrap_or(0),
        gid: parameters.gid.unwrap_or(0),
        permissions: parameters.permissions.clone(),
        capacity: capacity.required,
        purpose: if parameters.adopt { Purpose::Adopt } else { Purpose::Own },
        cluster: None,
    })
}

/// A failure to ask the file system after a creation may have made something there.
fn unfinished(error: DirectoryError) -> ControllerError {
    ControllerError::from(error).unfinished()
}

fn path_of(volume: &VolumeId) -> Result<DirectoryPath, PathError> {
    volume.subdirectory().parse()
}

/// In what a directory volume differs from what is asked for.
fn difference(claim: &Claim, wanted: &Wanted, has: i64, capacity: &CapacityRange) -> Option<String> {
    let octal = |text: &str| u32::from_str_radix(text, 8).ok();
    let Owner::Directory { uid, gid, permissions, .. } = &claim.owner else {
        return Some("access points, but a directory volume is asked for".to_owned());
    };
    if (*uid, *gid) != (wanted.uid, wanted.gid) {
        Some(format!("owner {uid}:{gid}, but {}:{} is asked for", wanted.uid, wanted.gid))
    } else if octal(permissions) != octal(&wanted.permissions) {
        Some(format!("directoryPerms {permissions}, but {} is asked for", wanted.permissions))
    } else if has > 0 && !capacity.allows(has) {
        Some(format!("capacity {has}, but {capacity} is asked for"))
    } else {
        None
    }
}
