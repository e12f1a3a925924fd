//! From the bucket into the file system: entries at a directory's first use, bytes by the rules, changes as they are made.

use std::collections::BTreeSet;
use std::sync::Arc;

use jiff::Timestamp;

use super::ledger::{Directory, File, Ledger, Origin, is_name};
use super::{Bonded, metadata};
use crate::buckets::{Changed, Found, Object, Place, Wanted};
use crate::store::{Changes, FileId, Kind, NewBody, NewNode, Result, Store, StoreError, Time};

/// Where versions go that have lost against the bucket's.
pub(super) const LOST: &[u8] = b"lost+found";

fn time(time: Timestamp) -> Time {
    let nanoseconds = time.as_nanosecond();
    Time {
        seconds: i64::try_from(nanoseconds.div_euclid(1_000_000_000)).unwrap_or(0),
        nanoseconds: u32::try_from(nanoseconds.rem_euclid(1_000_000_000)).unwrap_or(0),
    }
}

impl Bonded {
    /// Imports a directory's entries, if that was not done before.
    pub(super) fn import(&self, ledger: &mut Ledger, directory: FileId) -> Result<()> {
        if ledger.directories.get(&directory).is_none_or(|known| known.listed) {
            return Ok(());
        }
        let Some(path) = ledger.path(directory) else { return Ok(()) };
        let prefix = format!("{}{path}", self.prefix);
        let mut after = None;
        loop {
            let wanted = Wanted { prefix: prefix.clone(), delimiter: Some("/".to_owned()), most: usize::MAX, after };
            // A bucket that is gone has nothing more to give.
            let Ok(page) = self.buckets.objects(&self.bucket, &wanted) else { break };
            for group in &page.prefixes {
                let name = &group[prefix.len()..group.len() - 1];
                if is_name(name) && !self.is_lost_and_found(ledger, directory, name.as_bytes()) {
                    self.import_directory(ledger, directory, name)?;
                }
            }
            for row in &page.rows {
                let name = &row.key[prefix.len()..];
                if is_name(name) && !self.is_lost_and_found(ledger, directory, name.as_bytes()) {
                    self.apply_in(ledger, directory, name, &row.key)?;
                }
            }
            after = page.next;
            if !matches!(after, Some(Place::Key(_) | Place::Prefix(_))) {
                break;
            }
        }
        if let Some(known) = ledger.directories.get_mut(&directory) {
            known.listed = true;
        }
        Ok(())
    }

    /// Imports all that is below a directory.
    pub(super) fn import_all(&self, ledger: &mut Ledger, directory: FileId) -> Result<()> {
        self.import(ledger, directory)?;
        let below = ledger.directories.iter().filter(|(id, known)| known.parent == directory && **id != directory);
        let below: Vec<_> = below.map(|(id, _)| *id).collect();
        below.into_iter().try_for_each(|id| self.import_all(ledger, id))
    }

    pub(super) fn is_lost_and_found(&self, ledger: &Ledger, directory: FileId, name: &[u8]) -> bool {
        ledger.is_root(directory) && name == LOST
    }

    fn import_directory(&self, ledger: &mut Ledger, parent: FileId, name: &str) -> Result<()> {
        let id = match self.inner.lookup(parent, name.as_bytes()) {
            Ok(id) if self.inner.attributes(id)?.kind == Kind::Directory => id,
            // A file has the name: what is behind the key can't be shown.
            Ok(_) => return Ok(()),
            Err(StoreError::NotFound) => {
                let node = NewNode { body: NewBody::Directory, mode: 0o755, uid: 0, gid: 0 };
                self.inner.create(parent, name.as_bytes(), &node)?.0.id
            }
            Err(error) => return Err(error),
        };
        let directory = Directory { parent, name: name.into(), listed: false, changed: None };
        ledger.directories.entry(id).or_insert(directory);
        let marker = ledger.key(&self.prefix, parent, format!("{name}/").as_bytes());
        if let Some(found) = marker.and_then(|key| self.current(&key)) {
            let changes = metadata::read(&found.object.attributes.metadata);
            if !changes.is_empty() {
                self.inner.set_attributes(id, &changes)?;
            }
        }
        Ok(())
    }

    /// What the bucket shows under a key.
    fn current(&self, key: &str) -> Option<Found> {
        self.buckets.get(&self.bucket, key, None).ok()
    }

    /// Applies what has changed in the bucket since the last time.
    pub(super) fn follow(&self, ledger: &mut Ledger) -> Result<()> {
        let Ok(changed) = self.buckets.changes(&self.bucket, ledger.sequence) else { return Ok(()) };
        let (keys, upto) = match changed {
            Changed::Keys(keys, upto) => (keys.into_iter().collect(), upto),
            Changed::TooMany(upto) => (self.all_keys(ledger), upto),
        };
        ledger.sequence = upto;
        keys.iter().filter(|key| key.starts_with(&self.prefix)).try_for_each(|key| self.apply(ledger, key))
    }

    /// All keys that could have changed: those of known files, and those of listed directories.
    fn all_keys(&self, ledger: &Ledger) -> BTreeSet<String> {
        let known = ledger.files.values().filter_map(|file| ledger.key(&self.prefix, file.parent, &file.name));
        let mut keys: BTreeSet<String> = known.collect();
        let mut after = None;
        loop {
            let wanted = Wanted { prefix: self.prefix.clone(), delimiter: None, most: usize::MAX, after };
            let Ok(page) = self.buckets.objects(&self.bucket, &wanted) else { break };
            keys.extend(page.rows.into_iter().map(|row| row.key));
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        keys
    }

    /// Brings the file system up to what the bucket shows under a key.
    pub(super) fn apply(&self, ledger: &mut Ledger, key: &str) -> Result<()> {
        let path = &key[self.prefix.len()..];
        let (directories, name) = path.rsplit_once('/').map_or(("", path), |(before, name)| (before, name));
        let mut at = self.inner.root();
        for part in directories.split('/').filter(|_| !directories.is_empty()) {
            if !is_name(part) || self.is_lost_and_found(ledger, at, part.as_bytes()) {
                return Ok(());
            }
            if ledger.directories.get(&at).is_none_or(|known| !known.listed) {
                // It comes when somebody looks.
                return Ok(());
            }
            at = match self.inner.lookup(at, part.as_bytes()) {
                Ok(id) => id,
                Err(StoreError::NotFound) if self.current(key).is_some() => {
                    return self.import_directory(ledger, at, part);
                }
                Err(StoreError::NotFound) => return Ok(()),
                Err(error) => return Err(error),
            };
        }
        let is_listed = ledger.directories.get(&at).is_some_and(|known| known.listed);
        if is_listed && is_name(name) && !self.is_lost_and_found(ledger, at, name.as_bytes()) {
            self.apply_in(ledger, at, name, key)?;
        }
        Ok(())
    }

    /// The same, for a name in a directory.
    fn apply_in(&self, ledger: &mut Ledger, directory: FileId, name: &str, key: &str) -> Result<()> {
        let current = self.current(key);
        let id = match self.inner.lookup(directory, name.as_bytes()) {
            Ok(id) => id,
            Err(StoreError::NotFound) => {
                // It may have been removed here, and written there meanwhile.
                let pending = ledger.removals.get(key).map(|(_, origin)| origin.clone());
                let Some(found) = current else {
                    ledger.removals.remove(key);
                    return Ok(());
                };
                if pending.is_some_and(|origin| origin == Origin::from(&found)) {
                    return Ok(());
                }
                ledger.removals.remove(key);
                return self.create(ledger, directory, name, &found);
            }
            Err(error) => return Err(error),
        };
        let Some(file) = ledger.files.get(&id) else {
            return self.adopt(ledger, id, directory, name, current.as_ref());
        };
        if file.origin == current.as_ref().map(Origin::from) {
            return Ok(());
        }
        if file.changed.is_some() {
            self.lose(ledger, id)?;
            return current.map_or(Ok(()), |found| self.create(ledger, directory, name, &found));
        }
        match current {
            Some(found) => self.fill(ledger, id, &found),
            None => {
                ledger.files.remove(&id);
                self.inner.remove(directory, name.as_bytes()).map(|_| ())
            }
        }
    }

    /// A file that was there before the fake's last start is taken for what the bucket has.
    fn adopt(&self, ledger: &mut Ledger, id: FileId, parent: FileId, name: &str, found: Option<&Found>) -> Result<()> {
        if self.inner.attributes(id)?.kind == Kind::Regular {
            let origin = found.map(Origin::from);
            ledger.files.insert(id, File { parent, name: name.into(), origin, missing: None, changed: None });
        }
        Ok(())
    }

    /// Makes the file of an object.
    fn create(&self, ledger: &mut Ledger, parent: FileId, name: &str, found: &Found) -> Result<()> {
        let node = NewNode { body: NewBody::Regular { verifier: None }, mode: 0o644, uid: 0, gid: 0 };
        let id = self.inner.create(parent, name.as_bytes(), &node)?.0.id;
        let file = File { parent, name: name.into(), origin: None, missing: None, changed: None };
        ledger.files.insert(id, file);
        self.fill(ledger, id, found)
    }

    /// Makes a file what an object is: its attributes at once, its bytes by the rules.
    fn fill(&self, ledger: &mut Ledger, id: FileId, found: &Found) -> Result<()> {
        let Some(file) = ledger.files.get(&id) else { return Ok(()) };
        let path = ledger.key("", file.parent, &file.name).unwrap_or_default();
        let Some(file) = ledger.files.get_mut(&id) else { return Ok(()) };
        let object = &found.object;
        let size = object.content.size();
        self.inner.set_attributes(id, &Changes { size: Some(0), ..Changes::default() })?;
        file.origin = Some(Origin::from(found));
        let at_once = self.comes_at_once(&path, size) && !object.attributes.is_archived();
        file.missing = None;
        if at_once {
            write(&*self.inner, id, object)?;
        } else {
            self.inner.set_attributes(id, &Changes { size: Some(size), ..Changes::default() })?;
            file.missing = Some(Arc::clone(object));
        }
        let said = metadata::read(&object.attributes.metadata);
        let modified = said.modified.or_else(|| Some(time(found.modified)));
        self.inner.set_attributes(id, &Changes { modified, ..said }).map(|_| ())
    }

    /// Brings the bytes of a file that have not come yet.
    pub(super) fn fetch(&self, ledger: &mut Ledger, id: FileId) -> Result<()> {
        let Some(object) = ledger.files.get(&id).and_then(|file| file.missing.clone()) else { return Ok(()) };
        if object.attributes.is_archived() {
            let words = "the object is in an archive's storage class";
            return Err(StoreError::Io(std::io::Error::new(std::io::ErrorKind::PermissionDenied, words)));
        }
        let before = self.inner.attributes(id)?;
        write(&*self.inner, id, &object)?;
        self.inner.set_attributes(id, &Changes { modified: Some(before.modified), ..Changes::default() })?;
        if let Some(file) = ledger.files.get_mut(&id) {
            file.missing = None;
        }
        Ok(())
    }

    /// Moves a version that has lost out of the way. The bucket has no part in where it goes.
    fn lose(&self, ledger: &mut Ledger, id: FileId) -> Result<()> {
        self.fetch(ledger, id)?;
        let Some(file) = ledger.files.remove(&id) else { return Ok(()) };
        let root = self.inner.root();
        let lost = match self.inner.lookup(root, LOST) {
            Ok(lost) => lost,
            Err(StoreError::NotFound) => {
                let node = NewNode { body: NewBody::Directory, mode: 0o700, uid: 0, gid: 0 };
                self.inner.create(root, LOST, &node)?.0.id
            }
            Err(error) => return Err(error),
        };
        // The inode's number makes the name one of its own.
        let mut name = file.name.clone();
        name.truncate(230);
        name.extend(format!(".{}", id.0).bytes());
        self.inner.rename(file.parent, &file.name, lost, &name).map(|_| ())
    }
}

fn write(store: &dyn Store, id: FileId, object: &Object) -> Result<()> {
    let mut at = 0;
    for slice in object.content.slice(0..object.content.size()) {
        store.write(id, at, &slice)?;
        at += slice.len() as u64;
    }
    Ok(())
}
