//! Volumes' names: one name has one directory on a file system.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::{Claim, ClaimId, Folder, Ledger};
use crate::error::DirectoryError;
use crate::files::{FilesError, found};
use crate::path::DirectoryPath;

/// What a volume's name stands for. Without a claim at the path it is a left-over and stands for nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct NameNote {
    pub(crate) path: DirectoryPath,
    pub(crate) claim: ClaimId,
}

impl NameNote {
    /// The text of a note that stands for this claim.
    pub(super) fn text(claim: &Claim) -> String {
        let note = Self { path: claim.path.clone(), claim: claim.id.clone() };
        serde_json::to_string(&note).expect("a path and an id are always JSON")
    }
}

/// The SHA-256 of a text, 64 hex digits.
pub(super) fn sha256_hex(text: &str) -> String {
    hex::encode(Sha256::digest(text.as_bytes()))
}

impl Ledger {
    /// The claim that the volume of this name has.
    ///
    /// # Errors
    /// When the file system can't be asked.
    pub async fn claim_of(&self, volume: &str) -> Result<Option<Claim>, DirectoryError> {
        let Some(note) = self.name_note(volume).await? else { return Ok(None) };
        Ok(self.claim_at(&note.path).await?.filter(|claim| claim.volume == volume))
    }

    pub(crate) async fn name_note(&self, volume: &str) -> Result<Option<NameNote>, DirectoryError> {
        let Some(names) = self.find_folder(Folder::Names).await? else { return Ok(None) };
        let text = self.read_link_at(&names, &sha256_hex(volume)).await?;
        Ok(text.and_then(|text| serde_json::from_str(&text).ok()))
    }

    /// Takes the name for a claim that is about to be made. False when it is taken already.
    pub(crate) async fn take_name(&self, claim: &Claim) -> Result<bool, DirectoryError> {
        let names = self.folder(Folder::Names).await?;
        match self.files.make_link(&names, &sha256_hex(&claim.volume), &NameNote::text(claim)).await {
            Ok(_) => Ok(true),
            Err(FilesError::Exists) => Ok(false),
            Err(error) => Err(DirectoryError::files(format!("note the name of volume {:?}", claim.volume))(error)),
        }
    }

    /// Whether the volume's name stands for this claim.
    pub(crate) async fn has_name(&self, claim: &Claim) -> Result<bool, DirectoryError> {
        Ok(self.name_note(&claim.volume).await?.is_some_and(|note| note.claim == claim.id))
    }

    /// Forgets a name behind which no claim was seen. One that came since keeps it: whoever makes a claim looks for its name afterwards,
    /// and whoever forgets a name looks for its claim afterwards, so one of two at once sees the other.
    pub(crate) async fn forget_unclaimed_name(&self, volume: &str, note: &NameNote) -> Result<(), DirectoryError> {
        self.forget_name(volume, &note.claim).await?;
        match self.claim_at(&note.path).await? {
            // Where somebody has the name by now, the claim's maker has yet to look.
            Some(claim) if claim.id == note.claim => self.take_name(&claim).await.map(drop),
            _ => Ok(()),
        }
    }

    /// Forgets a name, if it still stands for this claim.
    pub(crate) async fn forget_name(&self, volume: &str, claim: &ClaimId) -> Result<(), DirectoryError> {
        if self.name_note(volume).await?.is_none_or(|note| note.claim != *claim) {
            return Ok(());
        }
        let names = self.folder(Folder::Names).await?;
        let removed = found(self.files.remove(&names, &sha256_hex(volume)).await);
        removed.map(drop).map_err(DirectoryError::files(format!("forget the name of volume {volume:?}")))
    }
}
