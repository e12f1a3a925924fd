//! Notes of drivers before 0.2: flat files, found by the hash of a path or of a name, without the directory's file id and without a
//! word on whether it was there before. They are taken over as claims when a ledger is opened.

use futures::{FutureExt, StreamExt};
use serde::Deserialize;

use super::names::sha256_hex;
use super::{Claim, ClaimId, Ledger, Origin, Owner, Put};
use crate::error::DirectoryError;
use crate::files::found;
use crate::path::DirectoryPath;
use crate::walk::{Place, look};

/// The beginnings of the names of notes.
const BY_PATH: &str = "path-";
const BY_NAME: &str = "name-";

/// Ends the name of a note that was being written.
const FRESH: &str = ".new";

/// Notes that are taken over at once.
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
    capacity: i64,
}

impl Ledger {
    /// Takes over what earlier drivers have noted; gives the number of notes that stay because their directories are equal to those
    /// of others, inside or around them. `is_named_after` tells whether a directory bears its volume's own name: then the earlier
    /// driver made it; otherwise it may have been there before, and is never removed.
    ///
    /// # Errors
    /// When the file system can't be asked. What was taken over until then stays so.
    pub async fn take_over(&self, is_named_after: fn(&str, &DirectoryPath) -> bool) -> Result<usize, DirectoryError> {
        let Some(top) = self.top(false).await? else { return Ok(0) };
        let listed = self.files.list(&top, usize::MAX).await.map_err(DirectoryError::files("list the ledger"))?;
        let notes: Vec<String> = listed
            .into_iter()
            .map(|entry| entry.name)
            .filter(|name| name.starts_with(BY_PATH) && !name.ends_with(FRESH))
            .collect();
        let taken = notes.into_iter().map(|name| self.take_over_one(name, is_named_after).boxed());
        let taken: Vec<Result<bool, DirectoryError>> =
            futures::stream::iter(taken).buffer_unordered(AT_ONCE).collect().await;
        let mut left = 0;
        for taken in taken {
            left += usize::from(!taken?);
        }
        Ok(left)
    }

    /// A note that could not be taken over, for this directory.
    ///
    /// # Errors
    /// When the file system can't be asked.
    pub async fn legacy_note(&self, path: &DirectoryPath) -> Result<Option<LegacyNote>, DirectoryError> {
        self.read_legacy(&format!("{BY_PATH}{}", sha256_hex(&path.to_string()))).await
    }

    async fn read_legacy(&self, name: &str) -> Result<Option<LegacyNote>, DirectoryError> {
        let Some(top) = self.top(false).await? else { return Ok(None) };
        let read = found(self.files.read_file(&top, name).await);
        let Some(text) = read.map_err(DirectoryError::files(format!("read the note {name}")))? else { return Ok(None) };
        // A torn note is none: the call that wrote it never finished and was repeated.
        Ok(serde_json::from_slice(&text).ok())
    }

    async fn take_over_one(
        &self,
        name: String,
        is_named_after: fn(&str, &DirectoryPath) -> bool,
    ) -> Result<bool, DirectoryError> {
        let Some(note) = self.read_legacy(&name).await? else { return Ok(true) };
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
                tracing::warn!(%error, "a directory volume of an earlier driver overlaps with another; it can't be deleted before that one");
                return Ok(false);
            }
            Err(error) => return Err(error),
        };
        // Another path may have the name already: earlier drivers kept one note a name, and overwrote it.
        self.take_name(&held).await?;
        let Some(top) = self.top(false).await? else { return Ok(true) };
        for name in [format!("{BY_NAME}{}", sha256_hex(&held.volume)), name] {
            found(self.files.remove(&top, &name).await)
                .map_err(DirectoryError::files(format!("remove the note {name}")))?;
        }
        tracing::info!(volume = held.volume, path = %held.path, ?origin, "took over the note of an earlier driver");
        Ok(true)
    }
}
