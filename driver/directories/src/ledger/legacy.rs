//! Notes of drivers before 0.2: flat files, found by the hash of a path or of a name, without the directory's file id and without a
//! word on whether it was there before. They are migrated to claims when a ledger is opened.
//!
//! During an upgrade, or after a step back, such a driver is at work, too. It knows a directory to be taken by its note only, so the notes
//! stay as long as the volumes. A note that is gone although its volume is known tells that the earlier driver has deleted the volume.

use std::collections::BTreeSet;

use futures::{FutureExt, StreamExt};
use serde::Deserialize;

use super::names::{NameNote, sha256_hex};
use super::{Claim, ClaimId, Folder, Ledger, Origin, Owner, Put};
use crate::error::DirectoryError;
use crate::files::{FilesError, found};
use crate::path::DirectoryPath;
use crate::walk::{Place, look};

/// The beginnings of the names of notes.
const BY_PATH: &str = "path-";
const BY_NAME: &str = "name-";

/// Ends the name of a note that was being written.
const FRESH: &str = ".new";

/// Notes that are migrated at once.
const AT_ONCE: usize = 8;

/// A note of an earlier driver.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct LegacyNote {
    /// The volume's name.
    pub name: String,
    /// The directory.
    pub path: DirectoryPath,
    uid: u32,
    gid: u32,
    permissions: String,
    /// Capacity in bytes.
    pub capacity: i64,
}

impl Ledger {
    /// Migrates what earlier drivers have noted; gives the number of notes that stay because their directories are equal to those
    /// of others, inside or around them. `is_named_after` tells whether a directory bears its volume's own name: then the earlier
    /// driver made it; otherwise it may have been there before, and is never removed.
    ///
    /// # Errors
    /// When the file system can't be asked. What was migrated until then stays so.
    pub async fn migrate(&self, is_named_after: fn(&str, &DirectoryPath) -> bool) -> Result<usize, DirectoryError> {
        let (notes, known) = self.legacy_names().await?;
        for path_hash in known.difference(&notes) {
            self.follow_deletion(path_hash).await?;
        }
        let fresh: Vec<String> = notes.difference(&known).cloned().collect();
        let taken = fresh.into_iter().map(|path_hash| self.migrate_one(path_hash, is_named_after).boxed());
        let taken: Vec<Result<bool, DirectoryError>> =
            futures::stream::iter(taken).buffer_unordered(AT_ONCE).collect().await;
        let mut left = 0;
        for taken in taken {
            left += usize::from(!taken?);
        }
        Ok(left)
    }

    /// The hashes of the paths of all notes, and of those that are migrated.
    async fn legacy_names(&self) -> Result<(BTreeSet<String>, BTreeSet<String>), DirectoryError> {
        let failed = || DirectoryError::files("list the ledger");
        let Some(top) = self.top(false).await? else { return Ok(Default::default()) };
        let listed = self.files.list(&top, usize::MAX).await.map_err(failed())?;
        let notes = listed.iter().filter_map(|entry| entry.name.strip_prefix(BY_PATH));
        let notes = notes.filter(|name| !name.ends_with(FRESH)).map(str::to_owned).collect();
        let known = match self.find_folder(Folder::Known).await? {
            Some(known) => self.files.list(&known, usize::MAX).await.map_err(failed())?,
            None => Vec::new(),
        };
        Ok((notes, known.into_iter().map(|entry| entry.name).collect()))
    }

    /// The notes that could not be migrated.
    ///
    /// # Errors
    /// When the file system can't be asked.
    pub async fn legacy_notes(&self) -> Result<Vec<LegacyNote>, DirectoryError> {
        let (notes, known) = self.legacy_names().await?;
        let mut left = Vec::new();
        for path_hash in notes.difference(&known) {
            left.extend(self.read_legacy(path_hash).await?);
        }
        Ok(left)
    }

    /// A note that is not, or could not be, migrated, for this directory.
    ///
    /// # Errors
    /// When the file system can't be asked.
    pub async fn legacy_note(&self, path: &DirectoryPath) -> Result<Option<LegacyNote>, DirectoryError> {
        let path_hash = sha256_hex(&path.to_string());
        match self.read_legacy(&path_hash).await? {
            Some(note) if self.known(&path_hash).await?.is_none() => Ok(Some(note)),
            _ => Ok(None),
        }
    }

    /// The claim as which a note was migrated.
    async fn known(&self, path_hash: &str) -> Result<Option<NameNote>, DirectoryError> {
        let Some(known) = self.find_folder(Folder::Known).await? else { return Ok(None) };
        let text = self.read_link_at(&known, path_hash).await?;
        Ok(text.and_then(|text| serde_json::from_str(&text).ok()))
    }

    /// Whether an earlier driver has deleted the volume of a claim.
    ///
    /// # Errors
    /// When the file system can't be asked.
    pub async fn is_deleted_by_earlier(&self, claim: &Claim) -> Result<bool, DirectoryError> {
        let path_hash = sha256_hex(&claim.path.to_string());
        let is_known = self.known(&path_hash).await?.is_some_and(|known| known.claim == claim.id);
        Ok(is_known && self.read_legacy(&path_hash).await?.is_none())
    }

    /// An earlier driver has deleted a volume that was migrated: its claim goes, too, unless the directory is still there.
    async fn follow_deletion(&self, path_hash: &str) -> Result<(), DirectoryError> {
        if let Some(NameNote { path, claim }) = self.known(path_hash).await?
            && let Some(held) = self.claim_at(&path).await?.filter(|held| held.id == claim)
        {
            match look(&*self.files, &path).await {
                Ok(Place::Free { .. }) => {}
                Err(error @ DirectoryError::Files { .. }) => return Err(error),
                Ok(Place::Directory { .. }) | Err(_) => return Ok(()),
            }
            tracing::info!(volume = held.volume, %path, "an earlier driver has deleted a directory volume");
            self.release(&held).await?;
            return self.forget_name(&held.volume, &held.id).await;
        }
        self.forget_known(path_hash).await
    }

    async fn forget_known(&self, path_hash: &str) -> Result<(), DirectoryError> {
        let Some(known) = self.find_folder(Folder::Known).await? else { return Ok(()) };
        let removed = found(self.files.remove(&known, path_hash).await);
        removed.map(drop).map_err(DirectoryError::files("forget a note of an earlier driver"))
    }

    /// Removes the notes of an earlier driver of which a claim was made.
    pub(super) async fn forget_legacy(&self, claim: &Claim) -> Result<(), DirectoryError> {
        let path_hash = sha256_hex(&claim.path.to_string());
        if self.known(&path_hash).await?.is_none_or(|known| known.claim != claim.id) {
            return Ok(());
        }
        if let Some(top) = self.top(false).await? {
            for name in [format!("{BY_NAME}{}", sha256_hex(&claim.volume)), format!("{BY_PATH}{path_hash}")] {
                found(self.files.remove(&top, &name).await)
                    .map_err(DirectoryError::files(format!("remove the note {name}")))?;
            }
        }
        self.forget_known(&path_hash).await
    }

    async fn read_legacy(&self, path_hash: &str) -> Result<Option<LegacyNote>, DirectoryError> {
        let name = format!("{BY_PATH}{path_hash}");
        let Some(top) = self.top(false).await? else { return Ok(None) };
        // Usually there is none. Opening a file has to wait while a server that was restarted lets its clients come back; looking doesn't.
        let there = found(self.files.lookup(&top, &name).await);
        if there.map_err(DirectoryError::files(format!("look for the note {name}")))?.is_none() {
            return Ok(None);
        }
        let read = found(self.files.read_file(&top, &name).await);
        let Some(text) = read.map_err(DirectoryError::files(format!("read the note {name}")))? else { return Ok(None) };
        // A torn note is none: the call that wrote it never finished and was repeated.
        Ok(serde_json::from_slice(&text).ok())
    }

    async fn migrate_one(
        &self,
        path_hash: String,
        is_named_after: fn(&str, &DirectoryPath) -> bool,
    ) -> Result<bool, DirectoryError> {
        let Some(note) = self.read_legacy(&path_hash).await? else { return Ok(true) };
        let file_id = match look(&*self.files, &note.path).await {
            Ok(Place::Directory { node, .. }) => Some(node.file_id),
            Ok(Place::Free { .. }) => None,
            Err(error @ DirectoryError::Files { .. }) => return Err(error),
            // A link or a file in its place: nothing that the volume has.
            Err(_) => None,
        };
        let LegacyNote { name: volume, path, uid, gid, permissions, capacity } = note;
        let origin = if is_named_after(&volume, &path) { Origin::Made } else { Origin::Unknown };
        let owner = Owner::Directory { uid, gid, permissions, capacity };
        let claim = Claim { id: ClaimId::random(), volume, path, owner, origin, file_id, cluster: None };
        let held = match self.put(&claim).await {
            Ok(Put::New) => claim,
            Ok(Put::Held(held)) => held,
            Err(error @ DirectoryError::Taken { .. }) => {
                if self.is_told_anew(&claim.path) {
                    tracing::warn!(%error, "a directory volume of an earlier driver overlaps with another; it can't be deleted before that one");
                }
                return Ok(false);
            }
            Err(error) => return Err(error),
        };
        // Another path may have the name already: earlier drivers kept one note a name, and overwrote it.
        self.take_name(&held).await?;
        let known = self.folder(Folder::Known).await?;
        match self.files.make_link(&known, &path_hash, &NameNote::text(&held)).await {
            Ok(_) | Err(FilesError::Exists) => {}
            Err(error) => return Err(DirectoryError::files("note that a note is taken over")(error)),
        }
        tracing::info!(volume = held.volume, path = %held.path, ?origin, "took over the note of an earlier driver");
        Ok(true)
    }
}
