//! From the file system into the bucket: what has been left alone for long enough is written as a new version.

use std::sync::Arc;

use bytes::Bytes;
use jiff::{SignedDuration, Timestamp};

use super::ledger::{Ledger, Origin};
use super::{Bonded, metadata};
use crate::buckets::{Attributes, Content, Object, Refusal, WriteCondition, Written};
use crate::store::{FileId, Result, StoreError};

/// A bucket without room is not tried at every use of the files.
const RETRY: SignedDuration = SignedDuration::from_secs(1);

impl Bonded {
    /// Exports what is due.
    pub(super) fn export(&self, ledger: &mut Ledger, now: Timestamp) -> Result<()> {
        let Some(until) = self.due(now).filter(|until| ledger.earliest.is_some_and(|earliest| earliest <= *until))
        else {
            return Ok(());
        };
        let is_due = |changed: Option<Timestamp>| changed.is_some_and(|changed| changed <= until);
        let files: Vec<_> = ledger.files.iter().filter(|(_, file)| is_due(file.changed)).map(|(id, _)| *id).collect();
        let directories: Vec<_> =
            ledger.directories.iter().filter(|(_, known)| is_due(known.changed)).map(|(id, _)| *id).collect();
        for id in directories {
            self.export_directory(ledger, id, now)?;
        }
        for id in files {
            self.export_file(ledger, id, now)?;
        }
        let removals: Vec<_> = ledger.removals.iter().filter(|(_, (since, _))| *since <= until).collect();
        let removals: Vec<_> = removals.into_iter().map(|(key, (_, origin))| (key.clone(), origin.clone())).collect();
        for (key, origin) in removals {
            // What has another version now is the bucket's again.
            let condition = WriteCondition::Unchanged(origin.etag);
            let _ = self.buckets.delete_object(&self.bucket, &key, &condition, now);
            ledger.removals.remove(&key);
        }
        let changed = ledger.files.values().filter_map(|file| file.changed);
        let changed = changed.chain(ledger.directories.values().filter_map(|known| known.changed));
        ledger.earliest = changed.chain(ledger.removals.values().map(|(since, _)| *since)).min();
        Ok(())
    }

    fn export_file(&self, ledger: &mut Ledger, id: FileId, now: Timestamp) -> Result<()> {
        let Some(file) = ledger.files.get(&id).cloned() else { return Ok(()) };
        let done = |ledger: &mut Ledger| {
            if let Some(file) = ledger.files.get_mut(&id) {
                file.changed = None;
            }
        };
        let Some(key) = ledger.key(&self.prefix, file.parent, &file.name) else {
            // No key can name it, so that it stays in the file system.
            done(ledger);
            return Ok(());
        };
        let attributes = match self.inner.attributes(id) {
            // Nobody can reach it any more.
            Err(StoreError::Stale) => {
                ledger.files.remove(&id);
                return Ok(());
            }
            found => found?,
        };
        let content = match &file.missing {
            Some(object) => Ok(Arc::clone(&object.content)),
            None => self.content(id, attributes.size)?,
        };
        let condition = match &file.origin {
            Some(origin) => WriteCondition::Unchanged(origin.etag.clone()),
            None => WriteCondition::Absent,
        };
        let said = Attributes { metadata: metadata::of(&attributes), ..Attributes::default() };
        let written: std::result::Result<Written, Refusal> = content.and_then(|content| {
            let object = Arc::new(Object::new(content, said, None));
            self.buckets.put(&self.bucket, &key, object, &condition, now)
        });
        match written {
            Ok(written) => {
                done(ledger);
                if let Some(file) = ledger.files.get_mut(&id) {
                    file.origin = Some(Origin { version: written.version_id, etag: written.etag });
                }
                Ok(())
            }
            Err(Refusal::PreconditionFailed(_) | Refusal::NoSuchKey { .. }) => self.apply(ledger, &key),
            Err(refusal) => {
                tracing::warn!(bucket = %self.bucket, key, error = %refusal, "can't export a file; it is tried again");
                if let Some(file) = ledger.files.get_mut(&id) {
                    file.changed = now.checked_add(RETRY).ok();
                }
                Ok(())
            }
        }
    }

    /// Reads a whole file into the room of the buckets.
    fn content(&self, id: FileId, size: u64) -> Result<std::result::Result<Arc<Content>, Refusal>> {
        let mut room = match self.buckets.room(size) {
            Ok(room) => room,
            Err(refusal) => return Ok(Err(refusal)),
        };
        let mut bytes = Vec::new();
        let wanted = usize::try_from(size).unwrap_or(usize::MAX);
        while bytes.len() < wanted {
            let before = bytes.len();
            self.inner.read(id, before as u64, wanted - before, &mut bytes)?;
            if bytes.len() == before {
                break;
            }
        }
        room.shrink(bytes.len() as u64);
        Ok(Ok(Arc::new(Content::new(Bytes::from(bytes), room))))
    }

    /// A directory is an object without bytes whose key ends in a slash.
    fn export_directory(&self, ledger: &mut Ledger, id: FileId, now: Timestamp) -> Result<()> {
        let Some(known) = ledger.directories.get_mut(&id) else { return Ok(()) };
        known.changed = None;
        let (parent, mut name) = (known.parent, known.name.clone());
        if ledger.is_root(id) {
            return Ok(());
        }
        name.push(b'/');
        let Some(key) = ledger.key(&self.prefix, parent, &name) else { return Ok(()) };
        let Ok(room) = self.buckets.room(0) else { return Ok(()) };
        let said = Attributes { metadata: metadata::of(&self.inner.attributes(id)?), ..Attributes::default() };
        let object = Arc::new(Object::new(Arc::new(Content::new(Bytes::new(), room)), said, None));
        if let Err(refusal) = self.buckets.put(&self.bucket, &key, object, &WriteCondition::Always, now) {
            tracing::warn!(bucket = %self.bucket, key, error = %refusal, "can't export a directory");
        }
        Ok(())
    }
}
