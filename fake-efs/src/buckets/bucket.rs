//! One bucket: its keys, and the versions behind each.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use jiff::Timestamp;
use serde::Serialize;

use super::conditions::WriteCondition;
use super::errors::{Refusal, Result};
use super::object::{Found, Object};
use super::room::Room;
use super::uploads::Uploads;
use super::version::VersionId;

/// Whether a bucket keeps the versions of its objects.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Versioning {
    /// It never has.
    #[default]
    Never,
    /// It does.
    Enabled,
    /// It did; what it has kept stays.
    Suspended,
}

/// What is known of a bucket.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct BucketInfo {
    /// Its name, which no other bucket of any account has.
    pub name: String,
    /// Whose it is: 12 digits.
    pub account: String,
    /// Where it is.
    pub region: String,
    /// When it was made.
    pub created: Timestamp,
    /// Whether it keeps versions.
    pub versioning: Versioning,
}

/// A version of an object, or a delete marker, which stands for none.
#[derive(Debug)]
pub(super) struct Version {
    pub(super) id: VersionId,
    pub(super) modified: Timestamp,
    pub(super) object: Option<Arc<Object>>,
    /// For what is kept beside the bytes.
    _room: Room,
}

/// What a write made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Written {
    /// None if the bucket has never kept versions.
    pub version_id: Option<VersionId>,
    /// The new object's.
    pub etag: String,
    /// When.
    pub modified: Timestamp,
}

/// What a deletion did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deleted {
    /// The version that is gone, or the marker that was made.
    pub version_id: Option<VersionId>,
    /// Whether that is a delete marker.
    pub marker: bool,
}

/// The versions of a key, the oldest first. Never empty while they are in a bucket.
pub(super) type Versions = Vec<Version>;

/// Changes that are remembered for who follows a bucket; who is further behind looks at everything.
const MOST_CHANGES: usize = 4096;

/// What has changed in a bucket since a time that somebody remembers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Changed {
    /// These keys show something else, or nothing; and the time now.
    Keys(Vec<String>, u64),
    /// Too long ago; and the time now.
    TooMany(u64),
}

/// A bucket with what is in it.
#[derive(Debug)]
pub(super) struct Bucket {
    pub(super) info: BucketInfo,
    pub(super) keys: BTreeMap<String, Versions>,
    pub(super) uploads: Uploads,
    /// Counts changes of what keys show.
    sequence: u64,
    /// The keys of the last ones, the youngest last.
    recent: VecDeque<String>,
    _room: Room,
}

/// The object that a key shows without a version's name.
pub(super) fn shown(versions: &Versions) -> Option<(&Version, &Arc<Object>)> {
    let latest = versions.last()?;
    Some((latest, latest.object.as_ref()?))
}

impl Bucket {
    pub(super) fn new(info: BucketInfo, room: Room) -> Self {
        Self {
            info,
            keys: BTreeMap::new(),
            uploads: Uploads::default(),
            sequence: 0,
            recent: VecDeque::new(),
            _room: room,
        }
    }

    /// What has changed since a time.
    pub(super) fn changes(&self, since: u64) -> Changed {
        let new = usize::try_from(self.sequence.saturating_sub(since)).unwrap_or(usize::MAX);
        if new > self.recent.len() {
            return Changed::TooMany(self.sequence);
        }
        Changed::Keys(self.recent.iter().skip(self.recent.len() - new).cloned().collect(), self.sequence)
    }

    fn note(&mut self, key: &str) {
        self.sequence += 1;
        if self.recent.len() == MOST_CHANGES {
            self.recent.pop_front();
        }
        self.recent.push_back(key.to_owned());
    }

    /// Whether nothing at all is left.
    pub(super) fn check_empty(&self) -> Result<()> {
        if self.keys.is_empty() {
            return Ok(());
        }
        let visible = self.keys.values().any(|versions| shown(versions).is_some());
        Err(if visible { Refusal::BucketNotEmpty } else { Refusal::VersionsLeft })
    }

    /// A version's id as callers get it: buckets that never kept versions say nothing.
    fn told(&self, id: &VersionId) -> Option<VersionId> {
        (self.info.versioning != Versioning::Never).then(|| id.clone())
    }

    /// Finds an object, or a version of it.
    pub(super) fn find(&self, key: &str, version: Option<&VersionId>) -> Result<Found> {
        let versions = self.keys.get(key);
        let found = match version {
            None => versions.and_then(|versions| versions.last()),
            Some(id) => {
                let found = versions.and_then(|versions| versions.iter().rev().find(|version| version.id == *id));
                Some(found.ok_or(Refusal::NoSuchVersion)?)
            }
        };
        let Some(found) = found else { return Err(Refusal::NoSuchKey { marker: None }) };
        match &found.object {
            Some(object) => {
                Ok(Found { version_id: self.told(&found.id), modified: found.modified, object: Arc::clone(object) })
            }
            None if version.is_some() => Err(Refusal::IsDeleteMarker(found.id.clone())),
            None => Err(Refusal::NoSuchKey { marker: Some(found.id.clone()) }),
        }
    }

    /// Checks a condition against the object that a key shows.
    pub(super) fn check(&self, key: &str, condition: &WriteCondition) -> Result<()> {
        let there = self.keys.get(key).and_then(shown).map(|(_, object)| object.etag.as_str());
        condition.check(there)
    }

    /// Writes an object. `new_id` makes the name of a version.
    pub(super) fn put(
        &mut self,
        key: &str,
        object: Arc<Object>,
        new_id: impl FnOnce() -> VersionId,
        room: Room,
        now: Timestamp,
    ) -> Written {
        let etag = object.etag.clone();
        let id = self.add(key, Some(object), new_id, room, now);
        Written { version_id: self.told(&id), etag, modified: now }
    }

    /// Puts a version on top of the others. Without versioning it takes the place of the one that has no name.
    fn add(
        &mut self,
        key: &str,
        object: Option<Arc<Object>>,
        new_id: impl FnOnce() -> VersionId,
        room: Room,
        modified: Timestamp,
    ) -> VersionId {
        let id = if self.info.versioning == Versioning::Enabled { new_id() } else { VersionId::Null };
        let versions = self.keys.entry(key.to_owned()).or_default();
        if id == VersionId::Null {
            versions.retain(|version| version.id != VersionId::Null);
        }
        versions.push(Version { id: id.clone(), modified, object, _room: room });
        self.note(key);
        id
    }

    /// Deletes an object: for good, or behind a delete marker, which alone needs the room.
    pub(super) fn delete(
        &mut self,
        key: &str,
        new_id: impl FnOnce() -> VersionId,
        room: Result<Room>,
        now: Timestamp,
    ) -> Result<Deleted> {
        if self.info.versioning == Versioning::Never {
            self.keys.remove(key);
            self.note(key);
            return Ok(Deleted { version_id: None, marker: false });
        }
        let id = self.add(key, None, new_id, room?, now);
        Ok(Deleted { version_id: Some(id), marker: true })
    }

    /// Deletes a version for good. That there is no such version is none of S3's refusals.
    pub(super) fn delete_version(&mut self, key: &str, id: &VersionId) -> Deleted {
        let mut marker = false;
        if let Some(versions) = self.keys.get_mut(key) {
            versions.retain(|version| {
                let goes = version.id == *id;
                marker |= goes && version.object.is_none();
                !goes
            });
            if versions.is_empty() {
                self.keys.remove(key);
            }
        }
        self.note(key);
        Deleted { version_id: Some(id.clone()), marker }
    }
}
