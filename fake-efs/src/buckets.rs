//! Buckets as S3 has them: objects and their versions, in memory.
//!
//! [`Buckets`] is one lock around all buckets. Nothing here knows about HTTP, policies or file systems: who may do what is decided
//! before. What is kept takes room from one budget, so that a fake's memory has a bound.

mod bucket;
mod conditions;
mod errors;
mod listing;
mod names;
mod object;
mod room;
#[cfg(test)]
mod tests;
mod uploads;
mod version;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use rand::SeedableRng;
use rand::distr::{Alphanumeric, SampleString};
use rand::rngs::StdRng;

use self::bucket::Bucket;
pub use self::bucket::{BucketInfo, Changed, Deleted, Versioning, Written};
pub use self::conditions::{Etags, ReadConditions, WriteCondition};
pub use self::errors::{Condition, Refusal, Result};
pub use self::listing::{MOST_ROWS, ObjectRow, Page, Place, VersionRow, Wanted};
pub use self::object::{Algorithm, Attributes, Checksum, Content, Found, Object};
use self::room::Budget;
pub use self::room::Room;
pub use self::uploads::{Assembled, Chosen, Intent, MOST_PARTS, Part, PartsPage, UploadRow};
pub use self::version::VersionId;

/// What a bucket takes beside its objects, about.
const OF_A_BUCKET: u64 = 1024;
/// What a version takes beside its bytes, its key and its metadata, about.
const OF_A_VERSION: u64 = 512;

/// All buckets of all accounts.
#[derive(Debug)]
pub struct Buckets {
    budget: Arc<Budget>,
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    buckets: BTreeMap<String, Bucket>,
    rng: StdRng,
}

impl Buckets {
    /// No buckets, and room for so many bytes. The seed makes the names of versions.
    pub fn new(bytes: u64, seed: u64) -> Self {
        let inner = Inner { buckets: BTreeMap::new(), rng: StdRng::seed_from_u64(seed) };
        Self { budget: Budget::new(bytes), inner: Mutex::new(inner) }
    }

    /// Changes how much room there is. What is kept already stays.
    pub fn set_room(&self, bytes: u64) {
        self.budget.set(bytes);
    }

    /// Bytes that are kept.
    pub fn bytes(&self) -> u64 {
        self.budget.taken()
    }

    /// Takes room for what is about to come.
    pub fn room(&self, bytes: u64) -> Result<Room> {
        self.budget.take(bytes)
    }

    /// The state stays usable when a test's thread panicked while holding it: operations check before they change.
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes a bucket.
    pub fn create(&self, name: &str, account: &str, region: &str, now: Timestamp) -> Result<()> {
        names::check_bucket(name)?;
        let room = self.room(OF_A_BUCKET)?;
        let mut inner = self.lock();
        match inner.buckets.get(name) {
            Some(there) if there.info.account == account => Err(Refusal::BucketAlreadyOwnedByYou),
            Some(_) => Err(Refusal::BucketAlreadyExists),
            None => {
                let info = BucketInfo {
                    name: name.to_owned(),
                    account: account.to_owned(),
                    region: region.to_owned(),
                    created: now,
                    versioning: Versioning::Never,
                };
                inner.buckets.insert(name.to_owned(), Bucket::new(info, room));
                Ok(())
            }
        }
    }

    /// Deletes a bucket that has nothing in it.
    pub fn delete(&self, name: &str) -> Result<()> {
        let mut inner = self.lock();
        inner.bucket(name)?.check_empty()?;
        inner.buckets.remove(name);
        Ok(())
    }

    /// Whether there is none at all.
    pub fn is_empty(&self) -> bool {
        self.lock().buckets.is_empty()
    }

    /// All buckets, by name.
    pub fn list(&self) -> Vec<BucketInfo> {
        self.lock().buckets.values().map(|bucket| bucket.info.clone()).collect()
    }

    /// What is known of a bucket.
    pub fn info(&self, name: &str) -> Result<BucketInfo> {
        self.lock().bucket(name).map(|bucket| bucket.info.clone())
    }

    /// Has a bucket keep versions, or no longer.
    pub fn set_versioning(&self, name: &str, enabled: bool) -> Result<()> {
        let mut inner = self.lock();
        inner.bucket(name)?.info.versioning = if enabled { Versioning::Enabled } else { Versioning::Suspended };
        Ok(())
    }

    /// What has changed since a time that an answer before has told.
    pub fn changes(&self, name: &str, since: u64) -> Result<Changed> {
        Ok(self.lock().bucket(name)?.changes(since))
    }

    /// Writes an object.
    pub fn put(
        &self,
        name: &str,
        key: &str,
        object: Arc<Object>,
        condition: &WriteCondition,
        now: Timestamp,
    ) -> Result<Written> {
        names::check_key(key)?;
        object.attributes.check()?;
        let room = self.room_of(key, Some(&object.attributes))?;
        let mut inner = self.lock();
        let Inner { buckets, rng } = &mut *inner;
        let bucket = buckets.get_mut(name).ok_or(Refusal::NoSuchBucket)?;
        bucket.check(key, condition)?;
        Ok(bucket.put(key, object, || new_id(rng), room, now))
    }

    /// What a version takes beside its bytes.
    fn room_of(&self, key: &str, attributes: Option<&Attributes>) -> Result<Room> {
        let said = attributes.map_or(0, |attributes| {
            let metadata = attributes.metadata.iter();
            metadata.map(|(name, value)| name.len() + value.len()).sum::<usize>()
        });
        self.room(OF_A_VERSION + (key.len() + said) as u64)
    }

    /// Finds an object, or a version of it.
    pub fn get(&self, name: &str, key: &str, version: Option<&VersionId>) -> Result<Found> {
        self.lock().bucket(name)?.find(key, version)
    }

    /// Deletes an object, if the condition holds: for good, or, if the bucket keeps versions, behind a delete marker.
    pub fn delete_object(&self, name: &str, key: &str, condition: &WriteCondition, now: Timestamp) -> Result<Deleted> {
        names::check_key(key)?;
        let room = self.room_of(key, None);
        let mut inner = self.lock();
        let Inner { buckets, rng } = &mut *inner;
        let bucket = buckets.get_mut(name).ok_or(Refusal::NoSuchBucket)?;
        bucket.check(key, condition)?;
        bucket.delete(key, || new_id(rng), room, now)
    }

    /// Deletes a version for good.
    pub fn delete_version(&self, name: &str, key: &str, version: &VersionId) -> Result<Deleted> {
        Ok(self.lock().bucket(name)?.delete_version(key, version))
    }

    /// The objects of a bucket.
    pub fn objects(&self, name: &str, wanted: &Wanted) -> Result<Page<ObjectRow>> {
        Ok(self.lock().bucket(name)?.list(wanted))
    }

    /// The versions and delete markers of a bucket.
    pub fn versions(&self, name: &str, wanted: &Wanted) -> Result<Page<VersionRow>> {
        Ok(self.lock().bucket(name)?.list_versions(wanted))
    }
}

/// Objects that come in parts.
impl Buckets {
    /// Begins an upload; its name.
    pub fn begin_upload(&self, name: &str, key: &str, intent: Intent, now: Timestamp) -> Result<String> {
        names::check_key(key)?;
        intent.attributes.check()?;
        let room = self.room_of(key, Some(&intent.attributes))?;
        let mut inner = self.lock();
        let id = new_id(&mut inner.rng).to_string();
        inner.bucket(name)?.uploads.begin(key, id.clone(), intent, room, now);
        Ok(id)
    }

    /// Keeps a part.
    pub fn put_part(&self, name: &str, key: &str, id: &str, number: u32, part: Part) -> Result<()> {
        let room = self.room(OF_A_VERSION)?;
        self.lock().bucket(name)?.uploads.find(key, id)?.parts.insert(number, (part, room));
        Ok(())
    }

    /// The object that the chosen parts make. The upload stays as it is.
    pub fn assemble(&self, name: &str, key: &str, id: &str, chosen: &[Chosen]) -> Result<Assembled> {
        self.lock().bucket(name)?.uploads.find(key, id)?.assemble(chosen)
    }

    /// Writes the object of an upload and ends the upload, if it hasn't ended meanwhile.
    pub fn complete_upload(
        &self,
        name: &str,
        key: &str,
        id: &str,
        object: Arc<Object>,
        condition: &WriteCondition,
        now: Timestamp,
    ) -> Result<Written> {
        let room = self.room_of(key, Some(&object.attributes))?;
        let mut inner = self.lock();
        let Inner { buckets, rng } = &mut *inner;
        let bucket = buckets.get_mut(name).ok_or(Refusal::NoSuchBucket)?;
        bucket.uploads.find(key, id)?;
        bucket.check(key, condition)?;
        bucket.uploads.remove(key, id)?;
        Ok(bucket.put(key, object, || new_id(rng), room, now))
    }

    /// Forgets an upload and its parts.
    pub fn abort_upload(&self, name: &str, key: &str, id: &str) -> Result<()> {
        self.lock().bucket(name)?.uploads.remove(key, id)
    }

    /// What was said of an upload, its parts behind a number, at most so many, and whether there are more.
    pub fn parts(&self, name: &str, key: &str, id: &str, after: u32, most: usize) -> Result<PartsPage> {
        let mut inner = self.lock();
        let upload = inner.bucket(name)?.uploads.find(key, id)?;
        let mut parts = upload.parts.range(after.saturating_add(1)..);
        let rows = parts.by_ref().take(most).map(|(number, (part, _))| (*number, part.clone())).collect();
        Ok(PartsPage { intent: Arc::clone(&upload.intent), rows, more: parts.next().is_some() })
    }

    /// The uploads of keys that begin so, behind a key and an upload's name, at most so many, and whether there are more.
    pub fn uploads(
        &self,
        name: &str,
        prefix: &str,
        after: Option<(String, String)>,
        most: usize,
    ) -> Result<(Vec<UploadRow>, bool)> {
        Ok(self.lock().bucket(name)?.uploads.list(prefix, after, most))
    }
}

impl Inner {
    fn bucket(&mut self, name: &str) -> Result<&mut Bucket> {
        self.buckets.get_mut(name).ok_or(Refusal::NoSuchBucket)
    }
}

fn new_id(rng: &mut StdRng) -> VersionId {
    VersionId::Made(Alphanumeric.sample_string(rng, version::LENGTH).into())
}
