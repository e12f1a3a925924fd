//! The store that lives in memory.

pub(super) mod tables;

use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use super::{
    Attributes, Changes, DirectoryChange, Entry, FileClock, FileId, Instance, Limits, NewNode, Result, Store,
    StoreError, Time, Usage,
};
use tables::Tables;

/// Files in memory; gone when it is dropped.
#[derive(Debug)]
pub struct MemoryStore {
    instance: Instance,
    limits: Limits,
    clock: FileClock,
    tables: RwLock<Tables>,
}

impl MemoryStore {
    /// An empty file system whose root belongs to root, mode 0755, as a new EFS file system's does.
    pub fn new(limits: Limits) -> Self {
        Self::with_clock(limits, FileClock::default())
    }

    /// The same, with a clock that can be moved.
    pub fn with_clock(limits: Limits, clock: FileClock) -> Self {
        let tables = RwLock::new(Tables::new(clock.clone()));
        Self { instance: Instance::random(), limits, clock, tables }
    }

    // A panic while the lock is held can't leave the tables half changed in a way that memory safety depends on; going on
    // serves a test better than failing every later call.
    fn read_tables(&self) -> RwLockReadGuard<'_, Tables> {
        self.tables.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write_tables(&self) -> RwLockWriteGuard<'_, Tables> {
        self.tables.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for MemoryStore {
    fn default() -> Self {
        Self::new(Limits::default())
    }
}

impl Store for MemoryStore {
    fn instance(&self) -> Instance {
        self.instance
    }

    fn limits(&self) -> Limits {
        self.limits
    }

    fn now(&self) -> Time {
        self.clock.now()
    }

    fn root(&self) -> FileId {
        tables::ROOT
    }

    fn attributes(&self, id: FileId) -> Result<Attributes> {
        self.read_tables().inode(id).map(tables::Inode::attributes)
    }

    fn set_attributes(&self, id: FileId, changes: &Changes) -> Result<Attributes> {
        self.write_tables().set_attributes(id, changes, &self.limits)
    }

    fn lookup(&self, directory: FileId, name: &[u8]) -> Result<FileId> {
        self.read_tables().directory(directory)?.get(name).ok_or(StoreError::NotFound)
    }

    fn parent(&self, directory: FileId) -> Result<FileId> {
        Ok(self.read_tables().directory(directory)?.parent())
    }

    fn create(&self, directory: FileId, name: &[u8], node: &NewNode) -> Result<(Attributes, DirectoryChange)> {
        self.write_tables().create(directory, name, node, &self.limits)
    }

    fn verifier(&self, id: FileId) -> Result<Option<[u8; 8]>> {
        self.read_tables().inode(id).map(tables::Inode::verifier)
    }

    fn link(&self, id: FileId, directory: FileId, name: &[u8]) -> Result<DirectoryChange> {
        self.write_tables().link(id, directory, name, &self.limits)
    }

    fn remove(&self, directory: FileId, name: &[u8]) -> Result<DirectoryChange> {
        self.write_tables().remove(directory, name)
    }

    fn rename(
        &self,
        from_directory: FileId,
        from: &[u8],
        to_directory: FileId,
        to: &[u8],
    ) -> Result<(DirectoryChange, DirectoryChange)> {
        self.write_tables().rename(from_directory, from, to_directory, to, &self.limits)
    }

    fn read_link(&self, id: FileId) -> Result<Vec<u8>> {
        self.read_tables().inode(id)?.link_target().map(<[u8]>::to_vec).ok_or(StoreError::Invalid)
    }

    fn read(&self, id: FileId, offset: u64, count: usize, out: &mut Vec<u8>) -> Result<bool> {
        let tables = self.read_tables();
        let chunks = tables.inode(id)?.content()?.chunks().ok_or(StoreError::Invalid)?;
        Ok(chunks.read(offset, count, out))
    }

    fn write(&self, id: FileId, offset: u64, data: &[u8]) -> Result<Attributes> {
        self.write_tables().write(id, offset, data, &self.limits)
    }

    fn commit(&self, id: FileId) -> Result<()> {
        self.read_tables().inode(id).map(|_| ())
    }

    fn read_directory(&self, directory: FileId, after: u64, visit: &mut dyn FnMut(Entry<'_>) -> bool) -> Result<bool> {
        self.read_tables().visit_entries(directory, after, visit)
    }

    fn pin(&self, id: FileId) -> Result<()> {
        self.write_tables().pin(id)
    }

    fn unpin(&self, id: FileId) {
        self.write_tables().unpin(id);
    }

    fn usage(&self) -> Usage {
        self.read_tables().usage()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{NewBody, conformance};

    #[test]
    fn behaves_as_every_store_must() {
        conformance::check_all(&|limits| Box::new(MemoryStore::new(limits)));
    }

    #[test]
    fn an_empty_file_system_meters_six_kibibytes() {
        assert_eq!(MemoryStore::default().usage(), Usage { metered_bytes: 6144, objects: 1 });
    }

    #[test]
    fn two_stores_never_share_an_instance() {
        assert_ne!(MemoryStore::default().instance(), MemoryStore::default().instance());
    }

    #[test]
    fn metered_size_returns_to_its_start_when_everything_is_removed() {
        let store = MemoryStore::default();
        let empty = store.usage();
        let body = NewBody::Regular { verifier: None };
        let (file, _) = store.create(store.root(), b"f", &NewNode { body, mode: 0o644, uid: 0, gid: 0 }).unwrap();
        store.write(file.id, 0, &[1; 5000]).unwrap();
        assert_eq!(store.usage().metered_bytes, empty.metered_bytes + 8192 + 2048);
        store.set_attributes(file.id, &Changes { size: Some(1), ..Changes::default() }).unwrap();
        assert_eq!(store.usage().metered_bytes, empty.metered_bytes + 4096 + 2048);
        store.remove(store.root(), b"f").unwrap();
        assert_eq!(store.usage(), empty);
    }
}
