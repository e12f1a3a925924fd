//! The bond between a file system of S3 Files and its bucket: a [`Store`] that imports from the bucket what is looked at, and exports to
//! it what has changed.
//!
//! There is no process of its own: whoever uses the files, or the bucket, has the bond [brought up to date](Bonded::synchronize) first. So
//! what one can see is as if changes of the bucket came at once and those of files after their delay, by the world's clock.

mod export;
mod import;
mod ledger;
mod metadata;
#[cfg(test)]
mod tests;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use jiff::{SignedDuration, Timestamp};

use self::ledger::{Directory, File, Ledger, Origin};
use crate::buckets::{Buckets, Changed};
use crate::store::{
    Attributes, Changes, DirectoryChange, Entry, FileId, Instance, Limits, NewBody, NewNode, Result, Store, StoreError,
    Time, Usage,
};

/// The world's time.
pub(crate) type Now = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// When what moves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Terms {
    /// What comes whole when its directory is looked at; everything else comes when it is read.
    pub(crate) at_once: Vec<AtOnce>,
    /// How long a file is left alone before it is exported.
    pub(crate) export_after: SignedDuration,
}

/// Objects that are imported with their directory's entries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct AtOnce {
    /// How their keys begin, behind the file system's own prefix.
    pub(crate) prefix: String,
    /// They have less bytes.
    pub(crate) below: u64,
}

/// Files that are objects of a bucket.
pub(crate) struct Bonded {
    inner: Arc<dyn Store>,
    buckets: Arc<Buckets>,
    bucket: String,
    /// Of all keys.
    prefix: String,
    now: Now,
    terms: RwLock<Terms>,
    ledger: Mutex<Ledger>,
}

impl Bonded {
    /// Bonds files to what is below a prefix in a bucket.
    pub(crate) fn new(
        inner: Arc<dyn Store>,
        buckets: Arc<Buckets>,
        bucket: String,
        prefix: String,
        now: Now,
        terms: Terms,
    ) -> Self {
        // Nothing is imported yet, so that no change so far matters.
        let sequence = match buckets.changes(&bucket, u64::MAX) {
            Ok(Changed::Keys(_, upto) | Changed::TooMany(upto)) => upto,
            Err(_) => 0,
        };
        let ledger = Mutex::new(Ledger::new(inner.root(), sequence));
        Self { inner, buckets, bucket, prefix, now, terms: RwLock::new(terms), ledger }
    }

    /// Changes the terms.
    pub(crate) fn set_terms(&self, terms: Terms) {
        *self.terms.write().unwrap_or_else(PoisonError::into_inner) = terms;
    }

    fn comes_at_once(&self, path: &str, size: u64) -> bool {
        let terms = self.terms.read().unwrap_or_else(PoisonError::into_inner);
        terms.at_once.iter().any(|rule| size < rule.below && path.starts_with(&rule.prefix))
    }

    /// What was changed until then is exported now.
    fn due(&self, now: Timestamp) -> Option<Timestamp> {
        now.checked_sub(self.terms.read().unwrap_or_else(PoisonError::into_inner).export_after).ok()
    }

    /// Imports what has changed in the bucket, and exports what is due.
    pub(crate) fn synchronize(&self) -> Result<()> {
        self.up_to_date().map(drop)
    }

    /// How many files and directories have yet to be exported, and how many objects have yet to go.
    pub(crate) fn pending(&self) -> (usize, usize) {
        let ledger = self.lock();
        let files = ledger.files.values().filter(|file| file.changed.is_some()).count();
        let directories = ledger.directories.values().filter(|known| known.changed.is_some()).count();
        (files + directories, ledger.removals.len())
    }

    fn lock(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn up_to_date(&self) -> Result<MutexGuard<'_, Ledger>> {
        let mut ledger = self.lock();
        self.follow(&mut ledger)?;
        self.export(&mut ledger, (self.now)())?;
        Ok(ledger)
    }

    /// The same, with a directory's entries imported.
    fn imported(&self, directory: FileId) -> Result<MutexGuard<'_, Ledger>> {
        let mut ledger = self.up_to_date()?;
        self.import(&mut ledger, directory)?;
        Ok(ledger)
    }

    /// Takes a name's file or directory out of the ledger, as it goes from the file system.
    fn forget(&self, ledger: &mut Ledger, id: FileId) {
        let now = (self.now)();
        if let Some(file) = ledger.files.remove(&id) {
            let key = ledger.key(&self.prefix, file.parent, &file.name);
            ledger.remove_object(key, file.origin, now);
        } else if let Some(known) = ledger.directories.get(&id).cloned() {
            let key = ledger.key(&self.prefix, known.parent, &[&known.name[..], b"/"].concat());
            self.remove_marker(ledger, key, now);
            ledger.directories.remove(&id);
        }
    }

    /// Has the object of a directory go, if there is one.
    fn remove_marker(&self, ledger: &mut Ledger, key: Option<String>, now: Timestamp) {
        let found = key.as_ref().and_then(|key| self.buckets.get(&self.bucket, key, None).ok());
        ledger.remove_object(key, found.as_ref().map(Origin::from), now);
    }

    /// Notes that a file or directory has another name from now on. Its object goes, and another one comes.
    fn renamed(&self, ledger: &mut Ledger, id: FileId, parent: FileId, name: &[u8]) {
        let now = (self.now)();
        if ledger.files.contains_key(&id) {
            self.leave(ledger, id, now);
            let key = ledger.key(&self.prefix, parent, name);
            // What had the name before is written over rather than removed.
            let before = key.and_then(|key| ledger.removals.remove(&key)).map(|(_, origin)| origin);
            if let Some(file) = ledger.files.get_mut(&id) {
                (file.parent, file.name, file.origin) = (parent, name.to_vec(), before);
            }
        } else if ledger.directories.contains_key(&id) {
            let below = self.below(ledger, id);
            for id in &below {
                self.leave(ledger, *id, now);
            }
            if let Some(known) = ledger.directories.get_mut(&id) {
                (known.parent, known.name) = (parent, name.to_vec());
            }
            for id in below {
                ledger.changed(id, now);
            }
        }
        ledger.changed(id, now);
    }

    /// Has the object go that stands for a file or directory under its present name.
    fn leave(&self, ledger: &mut Ledger, id: FileId, now: Timestamp) {
        if let Some(file) = ledger.files.get_mut(&id) {
            let (origin, parent, name) = (file.origin.take(), file.parent, file.name.clone());
            let key = ledger.key(&self.prefix, parent, &name);
            ledger.remove_object(key, origin, now);
        } else if let Some(known) = ledger.directories.get(&id).cloned() {
            let key = ledger.key(&self.prefix, known.parent, &[&known.name[..], b"/"].concat());
            self.remove_marker(ledger, key, now);
        }
    }

    /// A directory and everything that is known below it.
    fn below(&self, ledger: &Ledger, directory: FileId) -> Vec<FileId> {
        let mut all = vec![directory];
        let mut next = 0;
        while let Some(&at) = all.get(next) {
            next += 1;
            let inside = ledger.directories.iter().filter(|(id, known)| known.parent == at && **id != at);
            all.extend(inside.map(|(id, _)| *id));
            all.extend(ledger.files.iter().filter(|(_, file)| file.parent == at).map(|(id, _)| *id));
        }
        all
    }
}

impl Store for Bonded {
    fn instance(&self) -> Instance {
        self.inner.instance()
    }

    fn is_durable(&self) -> bool {
        self.inner.is_durable()
    }

    fn blocks(&self) -> bool {
        self.inner.blocks()
    }

    fn limits(&self) -> Limits {
        self.inner.limits()
    }

    fn now(&self) -> Time {
        self.inner.now()
    }

    fn root(&self) -> FileId {
        self.inner.root()
    }

    fn attributes(&self, id: FileId) -> Result<Attributes> {
        drop(self.up_to_date()?);
        self.inner.attributes(id)
    }

    fn set_attributes(&self, id: FileId, changes: &Changes) -> Result<Attributes> {
        let mut ledger = self.up_to_date()?;
        match changes.size {
            // Of what is cut off altogether nothing is needed.
            Some(0) => {
                if let Some(file) = ledger.files.get_mut(&id) {
                    file.missing = None;
                }
            }
            Some(_) => self.fetch(&mut ledger, id)?,
            None => {}
        }
        let attributes = self.inner.set_attributes(id, changes)?;
        ledger.changed(id, (self.now)());
        Ok(attributes)
    }

    fn lookup(&self, directory: FileId, name: &[u8]) -> Result<FileId> {
        drop(self.imported(directory)?);
        self.inner.lookup(directory, name)
    }

    fn parent(&self, directory: FileId) -> Result<FileId> {
        self.inner.parent(directory)
    }

    fn create(&self, directory: FileId, name: &[u8], node: &NewNode) -> Result<(Attributes, DirectoryChange)> {
        let mut ledger = self.imported(directory)?;
        let made = self.inner.create(directory, name, node)?;
        let (parent, now) = (directory, (self.now)());
        let is_ours = ledger.directories.contains_key(&parent) && !self.is_lost_and_found(&ledger, parent, name);
        match node.body {
            NewBody::Regular { .. } if is_ours => {
                let key = ledger.key(&self.prefix, parent, name);
                let origin = key.and_then(|key| ledger.removals.remove(&key)).map(|(_, origin)| origin);
                let file = File { parent, name: name.to_vec(), origin, missing: None, changed: Some(now) };
                ledger.files.insert(made.0.id, file);
                ledger.note(now);
            }
            NewBody::Directory if is_ours => {
                // Its name was free, so that no key begins with it.
                let directory = Directory { parent, name: name.to_vec(), listed: true, changed: Some(now) };
                ledger.directories.insert(made.0.id, directory);
                ledger.note(now);
            }
            _ => {}
        }
        Ok(made)
    }

    fn verifier(&self, id: FileId) -> Result<Option<[u8; 8]>> {
        self.inner.verifier(id)
    }

    fn link(&self, _: FileId, _: FileId, _: &[u8]) -> Result<DirectoryChange> {
        // An object has one key.
        Err(StoreError::TooManyLinks)
    }

    fn remove(&self, directory: FileId, name: &[u8]) -> Result<DirectoryChange> {
        let mut ledger = self.imported(directory)?;
        let id = self.inner.lookup(directory, name)?;
        self.import(&mut ledger, id)?;
        let change = self.inner.remove(directory, name)?;
        self.forget(&mut ledger, id);
        Ok(change)
    }

    fn rename(
        &self,
        from_directory: FileId,
        from: &[u8],
        to_directory: FileId,
        to: &[u8],
    ) -> Result<(DirectoryChange, DirectoryChange)> {
        let mut ledger = self.imported(from_directory)?;
        self.import(&mut ledger, to_directory)?;
        let id = self.inner.lookup(from_directory, from)?;
        let replaced = self.inner.lookup(to_directory, to).ok().filter(|replaced| *replaced != id);
        // Every object below gets another key.
        self.import_all(&mut ledger, id)?;
        if let Some(replaced) = replaced {
            self.import(&mut ledger, replaced)?;
        }
        let changes = self.inner.rename(from_directory, from, to_directory, to)?;
        if (from_directory, from) != (to_directory, to) {
            if let Some(replaced) = replaced {
                self.forget(&mut ledger, replaced);
            }
            self.renamed(&mut ledger, id, to_directory, to);
        }
        Ok(changes)
    }

    fn read_link(&self, id: FileId) -> Result<Vec<u8>> {
        self.inner.read_link(id)
    }

    fn read(&self, id: FileId, offset: u64, count: usize, out: &mut Vec<u8>) -> Result<bool> {
        let mut ledger = self.up_to_date()?;
        self.fetch(&mut ledger, id)?;
        drop(ledger);
        self.inner.read(id, offset, count, out)
    }

    fn write(&self, id: FileId, offset: u64, data: &[u8]) -> Result<Attributes> {
        let mut ledger = self.up_to_date()?;
        self.fetch(&mut ledger, id)?;
        let attributes = self.inner.write(id, offset, data)?;
        ledger.changed(id, (self.now)());
        Ok(attributes)
    }

    fn commit(&self, id: FileId) -> Result<()> {
        self.inner.commit(id)
    }

    fn read_directory(&self, directory: FileId, after: u64, visit: &mut dyn FnMut(Entry<'_>) -> bool) -> Result<bool> {
        drop(self.imported(directory)?);
        self.inner.read_directory(directory, after, visit)
    }

    fn pin(&self, id: FileId) -> Result<()> {
        self.inner.pin(id)
    }

    fn unpin(&self, id: FileId) {
        self.inner.unpin(id);
    }

    fn usage(&self) -> Usage {
        self.inner.usage()
    }

    fn save_clients(&self, clients: &[Vec<u8>]) {
        self.inner.save_clients(clients);
    }

    fn saved_clients(&self) -> Vec<Vec<u8>> {
        self.inner.saved_clients()
    }
}
