//! Directories of volumes, made and given up under a claim.
//!
//! A directory is made out of sight, under the claim's own name in the ledger, with its owner and mode; then its place is claimed with
//! its file id; then it is moved there in one step. So at no time does anything stand at the place that the claim doesn't describe, and
//! a call that finds the claim of one that was cut off knows its own directory by its number.

use std::sync::Arc;

use efs_common::retry::Retry;

use crate::claim::{Claim, ClaimId, Origin, Owner};
use crate::error::DirectoryError;
use crate::files::{FilesError, found};
use crate::ledger::{Ledger, Put};
use crate::path::{DirectoryPath, Relation};
use crate::trash::{Trash, label};
use crate::walk::{Place, look, make_way, stands_at};

/// How often a creation begins anew because it meets the left-overs of others.
const ATTEMPTS: usize = 8;

/// For what a directory is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// A directory volume, which has it alone. What is there already is refused.
    Own,
    /// A directory volume that uses what is there already, as it is, and leaves it when it is deleted.
    Adopt,
    /// An access point whose class names the directory without making it unique: others may have it, too, and what is there already is
    /// used as EFS uses it.
    Share,
}

/// A directory that is wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// The volume's name.
    pub volume: String,
    /// Its directory.
    pub path: DirectoryPath,
    /// Owning user of a directory that is made.
    pub uid: u32,
    /// Owning group.
    pub gid: u32,
    /// Mode, in octal digits.
    pub permissions: String,
    /// Capacity in bytes, for information.
    pub capacity: i64,
    /// For what.
    pub purpose: Purpose,
    /// The cluster, if it is known.
    pub cluster: Option<String>,
}

/// How far a creation has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Begun {
    /// The volume is there.
    Ready(Claim),
    /// Its directory is claimed, and is not at its place yet. Either [`place`] or [`release`] follows.
    Claimed(Claim),
}

/// What stands at the place of a claim.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// Nobody has claimed it.
    Unclaimed,
    /// It is claimed and there.
    Present(Claim),
    /// It is claimed, and must never be removed: it was there before, or nobody knows.
    Kept(Claim),
    /// It is claimed, and there is nothing.
    Gone(Claim),
    /// It is claimed, and what stands there is something else than the claim says.
    Replaced(Claim),
}

impl Wanted {
    /// Whether a claim is for the same kind of volume.
    fn is_for(&self, claim: &Claim) -> bool {
        claim.is_directory_volume() != (self.purpose == Purpose::Share)
    }
}

impl Standing {
    /// The claim, if there is one.
    pub fn claim(&self) -> Option<&Claim> {
        match self {
            Self::Unclaimed => None,
            Self::Present(claim) | Self::Kept(claim) | Self::Gone(claim) | Self::Replaced(claim) => Some(claim),
        }
    }
}

/// Claims the directory of a volume, or finds it claimed by an earlier call for the same volume.
///
/// # Errors
/// Another volume has the directory, one around it or one in it; something was there before; a link is in the way; the file
/// system can't be asked.
pub async fn begin(ledger: &Ledger, wanted: &Wanted) -> Result<Begun, DirectoryError> {
    for _ in 0..ATTEMPTS {
        if let Some(begun) = try_begin(ledger, wanted).await? {
            return Ok(begun);
        }
    }
    Err(DirectoryError::Contended {
        path: wanted.path.clone(),
        what: format!("other calls for volume {:?} are under way", wanted.volume),
    })
}

async fn try_begin(ledger: &Ledger, wanted: &Wanted) -> Result<Option<Begun>, DirectoryError> {
    let path = &wanted.path;
    if let Some(note) = ledger.name_note(&wanted.volume).await? {
        match ledger.claim_at(&note.path).await? {
            Some(claim) if claim.volume == wanted.volume => {
                withdraw_moved(ledger, &claim).await?;
                return match claim.path == *path && wanted.is_for(&claim) {
                    true => go_on(ledger, claim).await,
                    false => Err(DirectoryError::Elsewhere(Box::new(claim))),
                };
            }
            // A creation or deletion was cut off after it noted, or before it forgot the name.
            _ => ledger.forget_unclaimed_name(&wanted.volume, &note).await?,
        }
    }
    let is_shared = wanted.purpose == Purpose::Share;
    match ledger.owner_of(path).await? {
        Some((Relation::Same, claim))
            if is_shared && claim.owner == Owner::AccessPoints && claim.volume != wanted.volume =>
        {
            return Ok(Some(Begun::Ready(claim)));
        }
        Some((Relation::Same, claim)) if claim.volume == wanted.volume && wanted.is_for(&claim) => {
            // Whether somebody else takes the name in this moment makes no difference to the claim.
            ledger.take_name(&claim).await?;
            return go_on(ledger, claim).await;
        }
        Some((relation, owner)) => {
            return Err(DirectoryError::Taken { path: path.clone(), relation, owner: Box::new(owner) });
        }
        None => {}
    }
    let Wanted { volume, uid, gid, permissions, capacity, cluster, .. } = wanted.clone();
    let owner = match is_shared {
        true => Owner::AccessPoints,
        false => Owner::Directory { uid, gid, permissions, capacity },
    };
    let id = ClaimId::random();
    let place = look(&**ledger.files(), path).await?;
    let (origin, file_id) = match (place, wanted.purpose) {
        (Place::Directory { node, .. }, Purpose::Adopt | Purpose::Share) => (Origin::Adopted, node.file_id),
        (Place::Directory { .. }, Purpose::Own) => return Err(DirectoryError::Exists { path: path.clone() }),
        (Place::Free { .. }, Purpose::Adopt) => return Err(DirectoryError::Missing { path: path.clone() }),
        (Place::Free { .. }, Purpose::Own | Purpose::Share) => {
            let mode = u32::from_str_radix(&wanted.permissions, 8).unwrap_or(0o700);
            (Origin::Made, ledger.stage(&id, mode, uid, gid).await?.file_id)
        }
    };
    let claim = Claim { id, volume, path: path.clone(), owner, origin, file_id: Some(file_id), cluster };
    // The name goes first: a name without a claim stands for nothing, a claim without a name could be made twice.
    let put = match ledger.take_name(&claim).await {
        Ok(true) => ledger.put(&claim).await,
        Ok(false) => {
            ledger.unstage(&claim.id).await?;
            return Ok(None);
        }
        Err(error) => Err(error),
    };
    match put {
        // Another call for the name may have taken the note for a left-over before the claim stood.
        Ok(Put::New) if !ledger.has_name(&claim).await? && !ledger.take_name(&claim).await? => {
            release(ledger, &claim).await?;
            Ok(None)
        }
        Ok(Put::New) => Ok(Some(Begun::Claimed(claim))),
        Ok(Put::Held(_)) => {
            release(ledger, &claim).await?;
            Ok(None)
        }
        // Another volume that may share the directory came first.
        Err(DirectoryError::Taken { relation: Relation::Same, owner, .. })
            if is_shared && owner.owner == Owner::AccessPoints =>
        {
            release(ledger, &claim).await?;
            Ok(None)
        }
        Err(error) => {
            // Where the outcome is unknown, the claim may stand: the repeated call finds it.
            if error.retry() == Retry::Never {
                release(ledger, &claim).await?;
            }
            Err(error)
        }
    }
}

/// A deletion that was cut off behind the move has left the volume's files in the trash.
async fn withdraw_moved(ledger: &Ledger, claim: &Claim) -> Result<(), DirectoryError> {
    if claim.is_directory_volume() {
        let trash = Trash::new(Arc::clone(ledger.files()));
        for noted in trash.unsettled(&label(claim)).await? {
            // Another call may settle it in this moment, and gives up the claim then: what is settled stays where it is.
            trash.withdraw_unsettled(&noted).await?;
        }
    }
    Ok(())
}

/// Whether the directory of a claim is where the claim says.
pub(crate) async fn is_at_its_place(ledger: &Ledger, claim: &Claim) -> Result<bool, DirectoryError> {
    stands_at(&**ledger.files(), &claim.path, claim.file_id).await
}

/// Whether a claim stands no more, so that what is at its place may be another call's.
async fn is_given_up(ledger: &Ledger, claim: &Claim) -> Result<bool, DirectoryError> {
    Ok(ledger.claim_at(&claim.path).await?.is_none_or(|held| held.id != claim.id))
}

/// Goes on with a claim of the same volume. Nothing when it has to begin anew.
async fn go_on(ledger: &Ledger, claim: Claim) -> Result<Option<Begun>, DirectoryError> {
    match look(&**ledger.files(), &claim.path).await? {
        Place::Directory { node, .. } if Some(node.file_id) == claim.file_id => return Ok(Some(Begun::Ready(claim))),
        // A deletion and a creation may have passed by since the claim was read: then it is the next volume's.
        Place::Directory { .. } if is_given_up(ledger, &claim).await? => return Ok(None),
        Place::Directory { .. } => return Err(DirectoryError::Exists { path: claim.path }),
        Place::Free { .. } if claim.origin == Origin::Adopted => {
            return Err(DirectoryError::Missing { path: claim.path });
        }
        Place::Free { .. } => {}
    }
    let (_, staged) = ledger.staging(&claim.id).await?;
    if staged.is_some_and(|node| Some(node.file_id) == claim.file_id) {
        return Ok(Some(Begun::Claimed(claim)));
    }
    // Since the first look another call for the volume may have moved it to its place, from the ledger or back from the trash.
    if is_at_its_place(ledger, &claim).await? {
        return Ok(Some(Begun::Ready(claim)));
    }
    let trash = Trash::new(Arc::clone(ledger.files()));
    if claim.is_directory_volume() && !trash.unsettled(&label(&claim)).await?.is_empty() {
        return Ok(None);
    }
    // Somebody has taken the directory away, or a deletion was cut off when its move was settled: the volume begins anew.
    release(ledger, &claim).await?;
    Ok(None)
}

/// Gives a directory that was made for a volume to another owner, as long as it is that directory.
///
/// # Errors
/// When the file system can't be asked or refuses.
pub async fn own(ledger: &Ledger, claim: &Claim, mode: u32, uid: u32, gid: u32) -> Result<(), DirectoryError> {
    match look(&**ledger.files(), &claim.path).await? {
        Place::Directory { node, .. } if claim.origin == Origin::Made && Some(node.file_id) == claim.file_id => {
            let set = ledger.files().set_owner(&node.handle, mode, uid, gid).await;
            set.map_err(DirectoryError::files(format!("set owner and mode of directory {}", claim.path)))
        }
        _ => Ok(()),
    }
}

/// Moves a claimed directory to its place.
///
/// # Errors
/// Something stands there by now: then the claim is given up. The file system can't be asked: then the call can be repeated.
pub async fn place(ledger: &Ledger, claim: &Claim) -> Result<(), DirectoryError> {
    if claim.origin != Origin::Made {
        return Ok(());
    }
    let files = &**ledger.files();
    let parent = make_way(files, &claim.path).await?;
    let (making, _) = ledger.staging(&claim.id).await?;
    // Renaming would replace an empty directory. Somebody may still make one between the question and the move; it is empty and a
    // moment old then.
    if let Place::Free { .. } = look(files, &claim.path).await? {
        match files.rename(&making, claim.id.as_str(), &parent, claim.path.name()).await {
            Ok(()) | Err(FilesError::NotFound) => {}
            Err(FilesError::Exists | FilesError::NotEmpty | FilesError::NotDirectory) => {}
            Err(error) => {
                return Err(DirectoryError::files(format!("move directory {} to its place", claim.path))(error));
            }
        }
    }
    match look(files, &claim.path).await? {
        Place::Directory { node, .. } if Some(node.file_id) == claim.file_id => Ok(()),
        Place::Directory { .. } if is_given_up(ledger, claim).await? => Err(DirectoryError::Contended {
            path: claim.path.clone(),
            what: format!("volume {:?} was deleted while it was made", claim.volume),
        }),
        Place::Directory { .. } => {
            release(ledger, claim).await?;
            Err(DirectoryError::Exists { path: claim.path.clone() })
        }
        Place::Free { .. } => Err(DirectoryError::Contended {
            path: claim.path.clone(),
            what: "it was moved away while it was made".to_owned(),
        }),
    }
}

/// Gives up a claim: of a volume that is deleted, whose directory is in the trash by now or stays, or of one whose directory never came to
/// its place and is removed here.
///
/// # Errors
/// When the file system can't be asked.
pub async fn release(ledger: &Ledger, claim: &Claim) -> Result<(), DirectoryError> {
    // Before the claim: another call for the volume that still holds it could move the directory to its place afterwards, where nobody
    // would own it.
    if claim.origin == Origin::Made {
        ledger.unstage(&claim.id).await?;
    }
    ledger.release(claim).await?;
    ledger.forget_name(&claim.volume, &claim.id).await
}

/// Gives up a claim unless another call for the volume has brought its directory to its place, and may have told so; tells whether it did.
///
/// # Errors
/// When the file system can't be asked.
pub async fn release_unplaced(ledger: &Ledger, claim: &Claim) -> Result<bool, DirectoryError> {
    if claim.origin == Origin::Made && !ledger.unstage(&claim.id).await? {
        return Ok(false);
    }
    release(ledger, claim).await.map(|()| true)
}

/// Rolls back a claim whose volume was not made after all, with the directory that was made for it, as long as that is empty.
///
/// # Errors
/// When the file system can't be asked.
pub async fn roll_back(ledger: &Ledger, claim: &Claim) -> Result<(), DirectoryError> {
    let files = &**ledger.files();
    let failed = || DirectoryError::files(format!("take directory {} back", claim.path));
    // Somebody who found no volume behind it may have given it up, and have the directory now.
    if ledger.claim_at(&claim.path).await?.is_none_or(|held| held.id != claim.id) {
        return release(ledger, claim).await;
    }
    // First, so that no other call for the volume brings it to its place after the look.
    if claim.origin == Origin::Made {
        ledger.unstage(&claim.id).await?;
    }
    if let Place::Directory { parent, node } = look(files, &claim.path).await?
        && claim.origin == Origin::Made
        && Some(node.file_id) == claim.file_id
        && files.list(&node.handle, 1).await.map_err(failed())?.is_empty()
    {
        // Removing goes by name, and the name may mean something else by now: so it is moved aside, looked at, and moved back if need be.
        let (making, _) = ledger.staging(&claim.id).await?;
        let aside = claim.id.as_str();
        if found(files.rename(&parent, claim.path.name(), &making, aside).await).map_err(failed())?.is_some() {
            let moved = found(files.lookup(&making, aside).await).map_err(failed())?;
            let is_it = moved.is_some_and(|moved| Some(moved.file_id) == claim.file_id);
            // Somebody has put something into it: then it stays, and counts as one that was there before.
            let is_gone = is_it && files.remove(&making, aside).await.is_ok();
            if !is_gone {
                found(files.rename(&making, aside, &parent, claim.path.name()).await).map_err(failed())?;
            }
        }
    }
    release(ledger, claim).await
}

/// What the ledger and the file system say of a directory volume's directory.
///
/// # Errors
/// The file system can't be asked; or an earlier driver has noted the directory and it overlaps with that of another volume.
pub async fn standing(ledger: &Ledger, path: &DirectoryPath) -> Result<Standing, DirectoryError> {
    let Some(claim) = ledger.claim_at(path).await?.filter(Claim::is_directory_volume) else {
        if ledger.legacy_note(path).await?.is_some()
            && let Some((relation, owner)) = ledger.owner_of(path).await?
        {
            return Err(DirectoryError::Taken { path: path.clone(), relation, owner: Box::new(owner) });
        }
        return Ok(Standing::Unclaimed);
    };
    let there = match look(&**ledger.files(), path).await {
        Ok(Place::Directory { node, .. }) => Some(node.file_id),
        Ok(Place::Free { .. }) => None,
        Err(DirectoryError::Link { .. } | DirectoryError::NotDirectory { .. }) => return Ok(Standing::Replaced(claim)),
        Err(error) => return Err(error),
    };
    Ok(match (there, claim.origin) {
        (None, _) => Standing::Gone(claim),
        (Some(id), _) if claim.file_id != Some(id) => Standing::Replaced(claim),
        (Some(_), Origin::Made) => Standing::Present(claim),
        (Some(_), Origin::Adopted | Origin::Unknown) => Standing::Kept(claim),
    })
}
