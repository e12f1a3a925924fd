//! Root directories of access points, deleted with them where `--delete-access-point-root-dir` asks for it.
//!
//! The order is such that a crash or a refusal can only leave files: whose directory it is (the tag of the access point and the
//! directory's name, or a claim); nobody else there; the intent noted; the access point deleted, which uses up AWS's permission; the
//! directory moved to the trash; emptied. What was cut off goes on from the intent.

use efs_directories::claim::Origin;
use efs_directories::trash::{Intent, Noted, Outcome};
use efs_directories::volumes::{self, Begun, Purpose, Wanted};
use efs_directories::walk::{Place, look};
use efs_directories::{Claim, DirectoryError, DirectoryPath, Relation};

use super::paths::{client_token, is_made_unique, is_named_after};
use super::sessions::Session;
use super::tagging::{CLUSTER_TAG, clusters_of};
use super::{Controller, ControllerError};
use crate::efs::{AccessPoint, EfsApi, PosixUser, Role};
use crate::locks::KeyedGuard;
use crate::volume::{AccessPointId, FileSystemId, VolumeId};

/// How long an access point may be on its way after its directory was claimed, seconds: the limit of a call of the EFS API with its retries,
/// and a little more.
const BEING_MADE: u64 = 60;

/// What goes with an access point.
pub(super) struct Going {
    session: Session,
    path: DirectoryPath,
    /// Its root directory, unless that stays.
    noted: Option<Noted>,
    /// The claim on the directory, whether that goes or was there before.
    claim: Option<Claim>,
    /// Keeps the deletions of volumes that share the directory apart.
    _sharers: Option<KeyedGuard<String>>,
}

impl Going {
    /// A directory that stays, as long as nothing is noted.
    fn new(session: Session, path: DirectoryPath, claim: Option<Claim>) -> Self {
        Self { session, path, noted: None, claim, _sharers: None }
    }

    /// Nothing goes with an access point whose directory stays and has no claim.
    fn if_claimed(self) -> Option<Self> {
        self.claim.is_some().then_some(self)
    }
}

/// For whom a root directory is claimed.
pub(super) struct RootOwner<'a> {
    pub(super) token: &'a str,
    pub(super) path: &'a DirectoryPath,
    pub(super) user: &'a PosixUser,
    pub(super) permissions: &'a str,
}

/// Whose a root directory is.
enum Verdict {
    /// The access point's alone, as far as names and claims tell.
    Own(Option<Claim>),
    /// Not certainly, or not alone. The claim says that it was there before.
    Stays(String, Option<Claim>),
}

impl Controller {
    /// Notes that the root directory of an access point is to go with it; nothing where it has to stay.
    pub(super) async fn intend_root(
        &self,
        api: &dyn EfsApi,
        access_point: &AccessPoint,
        role: Option<&Role>,
    ) -> Result<Option<Going>, ControllerError> {
        let id = &access_point.id;
        let Ok(path) = access_point.root.parse::<DirectoryPath>() else {
            tracing::warn!(access_point = %id, root = access_point.root, "its root is no directory of a volume; nothing is removed");
            return Ok(None);
        };
        let session = self.session(api, &access_point.file_system, role).await?;
        let (claim, stays) = match whose(&session, access_point, &path).await? {
            Verdict::Own(claim) => (claim, None),
            Verdict::Stays(reason, claim) => (claim, Some(reason)),
        };
        let mut going = Going::new(session, path, claim);
        if let Some(reason) = stays {
            tracing::warn!(access_point = %id, path = %going.path, reason, "the root directory stays");
            return Ok(going.if_claimed());
        }
        // Of two volumes that share a directory and are deleted at once, the second must see that the first is gone.
        if going.claim.is_some() {
            going._sharers = Some(self.lock(&format!("root {} {}", access_point.file_system, going.path)).await?);
        }
        let Going { session, path, claim, .. } = &going;
        if let Some(user) = self.user_of_root(api, &access_point.file_system, path, id, claim.is_some()).await? {
            tracing::warn!(access_point = %id, %path, %user, "the root directory stays");
            return Ok(going.if_claimed());
        }
        let node = match look(session.files(), path).await {
            Ok(Place::Directory { node, .. }) => node,
            // The access point was never used.
            Ok(Place::Free { .. }) => return Ok(going.if_claimed()),
            Err(error @ (DirectoryError::Link { .. } | DirectoryError::NotDirectory { .. })) => {
                tracing::warn!(access_point = %id, %error, "nothing is removed");
                return Ok(None);
            }
            Err(error) => return Err(error.into()),
        };
        if claim.as_ref().is_some_and(|claim| claim.file_id != Some(node.file_id)) {
            tracing::warn!(access_point = %id, %path, "what has the directory's name now is something else; it stays");
            // Its claim is given up when AWS has deleted the access point: until then it tells a repeated call so.
            return Ok(Some(going));
        }
        let keeper = self.trash_keeper().await;
        let intent = Intent {
            path: path.clone(),
            file_id: node.file_id,
            volume: VolumeId::of_access_point(access_point.file_system.clone(), id.clone()).to_string(),
            access_point: Some(id.to_string()),
            claim: claim.as_ref().map(|claim| claim.id.clone()),
            cluster: keeper.cluster,
            retention: Some(keeper.retention),
        };
        going.noted = Some(session.trash().intend(id.as_str(), intent).await?);
        Ok(Some(going))
    }

    /// The access point was not deleted, so its directory must not go.
    pub(super) async fn keep_root(&self, going: &Going) {
        let Some(noted) = &going.noted else { return };
        if let Err(error) = going.session.trash().cancel(noted).await {
            tracing::warn!(%error, path = %going.path, "an intent to delete it stays; it is taken back later, as its access point exists");
        }
    }

    /// Releases the claim on a directory that stays, unless other volumes share it. Whoever it stays for may have put files there: to the next
    /// volume it is a directory that was there before.
    async fn release_kept(
        &self,
        api: &dyn EfsApi,
        file_system: &FileSystemId,
        id: &AccessPointId,
        Going { session, path, claim, .. }: &Going,
    ) -> Result<(), ControllerError> {
        let Some(claim) = claim else { return Ok(()) };
        if self.is_shared(api, file_system, path, Some(id)).await? {
            return Ok(());
        }
        Ok(volumes::release(session.ledger(), claim).await?)
    }

    /// Moves a directory to the trash, now that its access point is gone.
    pub(super) async fn remove_root(
        &self,
        api: &dyn EfsApi,
        file_system: &FileSystemId,
        role: Option<&Role>,
        id: &AccessPointId,
        going: &Going,
    ) -> Result<(), ControllerError> {
        let Going { session, path, noted, claim, .. } = going;
        let Some(noted) = noted else { return self.release_kept(api, file_system, id, going).await };
        match session.trash().carry_out(noted).await? {
            Outcome::Moved => {
                // An access point that was made since the first look would lose its files. Where that can't be seen now, the repeated
                // call looks: nothing is emptied before it is settled.
                if let Some(user) = self.user_of_root(api, file_system, path, id, claim.is_some()).await? {
                    session.trash().withdraw(noted).await?;
                    tracing::warn!(access_point = %id, %path, %user, "the root directory stays");
                    return self.release_kept(api, file_system, id, going).await;
                }
                session.trash().settle(noted).await?;
            }
            Outcome::Gone => {}
            Outcome::Replaced => {
                tracing::warn!(access_point = %id, %path, "what has the directory's name now is something else; it stays");
            }
        }
        if let Some(claim) = claim {
            volumes::release(session.ledger(), claim).await?;
        }
        self.keep_trash(file_system, role);
        Ok(())
    }

    /// Goes on with deletions of an access point that is gone by now.
    pub(super) async fn finish_root(
        &self,
        api: &dyn EfsApi,
        file_system: &FileSystemId,
        role: Option<&Role>,
        id: &AccessPointId,
    ) -> Result<(), ControllerError> {
        let session = self.session(api, file_system, role).await?;
        let unsettled = session.trash().unsettled(id.as_str()).await?;
        let is_begun = !unsettled.is_empty();
        for noted in unsettled {
            self.resume_root(api, file_system, role, &session, noted).await?;
        }
        if is_begun {
            return Ok(());
        }
        // Somebody else has deleted the access point, and the directory stays.
        for volume in self.claimants_afresh().await?.iter().flatten().filter(|volume| volume.has(id)) {
            let claim = session.ledger().claim_of(&client_token(&volume.name)).await?;
            if let Some(claim) = claim.filter(|claim| !claim.is_directory_volume()) {
                let going = Going::new(session.clone(), claim.path.clone(), Some(claim));
                self.release_kept(api, file_system, id, &going).await?;
            }
        }
        Ok(())
    }

    /// Goes on with one deletion whose access point is gone.
    pub(super) async fn resume_root(
        &self,
        api: &dyn EfsApi,
        file_system: &FileSystemId,
        role: Option<&Role>,
        session: &Session,
        noted: Noted,
    ) -> Result<(), ControllerError> {
        let Some(id) = noted.intent.access_point.as_deref().and_then(|id| id.parse::<AccessPointId>().ok()) else {
            return Ok(());
        };
        let path = noted.intent.path.clone();
        let held = session.ledger().claim_at(&path).await?;
        let claim = held.filter(|claim| noted.intent.claim.as_ref() == Some(&claim.id));
        // What was nobody else's then may be somebody's now.
        let other = session.ledger().owner_of(&path).await?.filter(|(_, owner)| claim.as_ref() != Some(owner));
        let user = self.user_of_root(api, file_system, &path, &id, claim.is_some()).await?;
        let going = Going::new(session.clone(), path, claim);
        if other.is_some() || user.is_some() {
            session.trash().withdraw(&noted).await?;
            tracing::warn!(access_point = %id, path = %going.path, user = user.map(|user| user.to_string()), owner = other.map(|(_, it)| it.volume), "the root directory stays");
            return self.release_kept(api, file_system, &id, &going).await;
        }
        self.remove_root(api, file_system, role, &id, &Going { noted: Some(noted), ..going }).await
    }

    /// Claims the directory of an access point whose class does not make it unique, or that will carry no tag, so that a later deletion
    /// knows whether it was made for the volume. It is made here, with the owner that EFS would give it. Gives the claim if it is new.
    pub(super) async fn claim_root(
        &self,
        api: &dyn EfsApi,
        file_system: &FileSystemId,
        role: Option<&Role>,
        root: RootOwner<'_>,
    ) -> Result<Option<Claim>, ControllerError> {
        let RootOwner { token, path, user: PosixUser { uid, gid, .. }, permissions } = root;
        let session = self.session(api, file_system, role).await?;
        let ledger = session.ledger();
        let wanted = Wanted {
            volume: token.to_owned(),
            path: path.clone(),
            uid: *uid,
            gid: *gid,
            permissions: permissions.to_owned(),
            capacity: 0,
            purpose: Purpose::Share,
            cluster: self.name_for_new().await?,
        };
        let begun = match volumes::begin(ledger, &wanted).await? {
            // Nobody has it any more: whoever deleted the last access point there wanted the directory to stay, and may have used it since.
            Begun::Ready(claim) if claim.volume != token && !self.is_shared(api, file_system, path, None).await? => {
                if ledger.age(&claim, session.trash().now().await?).await? < BEING_MADE {
                    return Err(ControllerError::Busy(format!(
                        "directory {path} was just claimed for the access point of volume {:?}, which is not there yet",
                        claim.volume
                    )));
                }
                volumes::release(ledger, &claim).await?;
                volumes::begin(ledger, &wanted).await?
            }
            begun => begun,
        };
        match begun {
            Begun::Claimed(claim) => {
                volumes::place(ledger, &claim).await?;
                Ok(Some(claim))
            }
            // An earlier call may have chosen another id for the volume.
            Begun::Ready(claim) if claim.volume == token => {
                let mode = u32::from_str_radix(permissions, 8).unwrap_or(0o700);
                volumes::own(ledger, &claim, mode, *uid, *gid).await?;
                Ok(None)
            }
            Begun::Ready(_) => Ok(None),
        }
    }

    /// Whether something has the place of a volume's directory.
    pub(super) async fn is_there(
        &self,
        api: &dyn EfsApi,
        file_system: &FileSystemId,
        role: Option<&Role>,
        path: &DirectoryPath,
    ) -> Result<bool, ControllerError> {
        let session = self.session(api, file_system, role).await?;
        match look(session.files(), path).await {
            Ok(Place::Directory { .. }) => Ok(true),
            Ok(Place::Free { .. }) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Releases a claim whose access point was not made.
    pub(super) async fn release_root(
        &self,
        api: &dyn EfsApi,
        file_system: &FileSystemId,
        role: Option<&Role>,
        claim: &Claim,
    ) {
        let released = async {
            let session = self.session(api, file_system, role).await?;
            volumes::roll_back(session.ledger(), claim).await.map_err(ControllerError::from)
        };
        if let Err(error) = released.await {
            tracing::warn!(path = %claim.path, %error, "the claim of a volume that was not made stays");
        }
    }

    /// The directory volume that has a directory, one around it or one in it.
    pub(super) async fn directory_volume_at(
        &self,
        api: &dyn EfsApi,
        file_system: &FileSystemId,
        role: Option<&Role>,
        path: &DirectoryPath,
    ) -> Result<Option<(Relation, Claim)>, ControllerError> {
        let session = self.session(api, file_system, role).await?;
        let owner = session.ledger().owner_of(path).await?;
        Ok(owner.filter(|(_, claim)| claim.is_directory_volume()))
    }
}

/// Whether names and claims say that the directory is the access point's alone.
async fn whose(
    session: &Session,
    access_point: &AccessPoint,
    path: &DirectoryPath,
) -> Result<Verdict, ControllerError> {
    let stays = |reason: String| Ok(Verdict::Stays(reason, None));
    match session.ledger().owner_of(path).await? {
        Some((Relation::Same, claim)) if !claim.is_directory_volume() => match claim.origin {
            Origin::Made => Ok(Verdict::Own(Some(claim))),
            Origin::Adopted | Origin::Unknown => {
                Ok(Verdict::Stays("it was there before the volume".to_owned(), Some(claim)))
            }
        },
        Some((_, claim)) => stays(format!(
            "it belongs to volume {:?} or lies inside or around its directory {}",
            claim.volume, claim.path
        )),
        None if !access_point.may_have_tag(CLUSTER_TAG) => {
            stays(format!("no driver made its access point: it has no tag {CLUSTER_TAG}"))
        }
        // Today's access points name their cluster, where the IAM policy lets them.
        None if clusters_of(&access_point.tags).is_empty() && is_made_unique(&access_point.client_token, path) => {
            Ok(Verdict::Own(None))
        }
        None if !is_named_after(&access_point.client_token, path) => {
            stays("it does not bear the volume's name, and nobody has noted that it was made for the volume".to_owned())
        }
        None => Ok(Verdict::Own(None)),
    }
}
