//! The stores of all file systems.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};

use super::ids::FileSystemId;
use crate::store::{DirectoryStore, FileClock, Limits, MemoryStore, OpenError, Store};

/// The files of all file systems.
pub trait Volumes: Send + Sync + 'static {
    /// Makes room for a new file system, or opens what a restored one has.
    fn create(&self, id: &FileSystemId) -> Result<(), OpenError>;

    /// Stamps the files of file systems that are made from now on by this clock.
    fn follow(&self, _clock: &FileClock) {}

    /// Forgets a file system's files.
    fn remove(&self, id: &FileSystemId);

    /// A file system's files.
    fn store(&self, id: &FileSystemId) -> Option<Arc<dyn Store>>;

    /// Bytes that EFS would bill for.
    fn metered_bytes(&self, id: &FileSystemId) -> u64 {
        self.store(id).map_or(0, |store| store.usage().metered_bytes)
    }
}

fn clock_of(clock: &RwLock<FileClock>) -> FileClock {
    clock.read().unwrap_or_else(PoisonError::into_inner).clone()
}

/// Files in memory. They are gone when their file system is, or when the process ends.
#[derive(Default)]
pub struct MemoryVolumes {
    clock: RwLock<FileClock>,
    stores: RwLock<HashMap<FileSystemId, Arc<dyn Store>>>,
}

impl Volumes for MemoryVolumes {
    fn create(&self, id: &FileSystemId) -> Result<(), OpenError> {
        let store = Arc::new(MemoryStore::with_clock(Limits::default(), clock_of(&self.clock)));
        self.stores.write().unwrap_or_else(PoisonError::into_inner).insert(id.clone(), store);
        Ok(())
    }

    fn follow(&self, clock: &FileClock) {
        clock.clone_into(&mut self.clock.write().unwrap_or_else(PoisonError::into_inner));
    }

    fn remove(&self, id: &FileSystemId) {
        self.stores.write().unwrap_or_else(PoisonError::into_inner).remove(id);
    }

    fn store(&self, id: &FileSystemId) -> Option<Arc<dyn Store>> {
        self.stores.read().unwrap_or_else(PoisonError::into_inner).get(id).cloned()
    }
}

/// Files in a folder of the host, one folder in it for each file system.
pub struct DirectoryVolumes {
    folder: PathBuf,
    clock: RwLock<FileClock>,
    stores: RwLock<HashMap<FileSystemId, Arc<dyn Store>>>,
}

impl DirectoryVolumes {
    /// Keeps files in a folder, which is made when the first file system is.
    pub fn new(folder: PathBuf) -> Self {
        Self { folder, clock: RwLock::default(), stores: RwLock::default() }
    }
}

impl Volumes for DirectoryVolumes {
    fn create(&self, id: &FileSystemId) -> Result<(), OpenError> {
        let (folder, clock) = (self.folder.join(id.as_str()), clock_of(&self.clock));
        let store = Arc::new(DirectoryStore::with_clock(&folder, Limits::default(), clock)?);
        self.stores.write().unwrap_or_else(PoisonError::into_inner).insert(id.clone(), store);
        Ok(())
    }

    fn follow(&self, clock: &FileClock) {
        clock.clone_into(&mut self.clock.write().unwrap_or_else(PoisonError::into_inner));
    }

    fn remove(&self, id: &FileSystemId) {
        self.stores.write().unwrap_or_else(PoisonError::into_inner).remove(id);
        // An id is `fs-` and hex digits, so that this can't lead out of the folder.
        let path = self.folder.join(id.as_str());
        if let Err(error) = std::fs::remove_dir_all(&path) {
            tracing::warn!(path = %path.display(), %error, "can't remove the files of a deleted file system");
        }
    }

    fn store(&self, id: &FileSystemId) -> Option<Arc<dyn Store>> {
        self.stores.read().unwrap_or_else(PoisonError::into_inner).get(id).cloned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_keeps_file_systems_until_they_are_removed() {
        let folder = tempfile::TempDir::new().unwrap();
        let id = FileSystemId::parse("fs-0123456789abcdef0").unwrap();
        let open = || {
            let volumes = DirectoryVolumes::new(folder.path().join("files"));
            volumes.create(&id).unwrap();
            volumes
        };
        let instance = open().store(&id).unwrap().instance();
        let volumes = open();
        assert_eq!(volumes.store(&id).unwrap().instance(), instance);
        volumes.remove(&id);
        assert!(volumes.store(&id).is_none());
        assert_ne!(open().store(&id).unwrap().instance(), instance);
    }
}
