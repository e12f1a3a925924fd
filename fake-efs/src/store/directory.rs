//! The store in a directory of the host: contents in files named by inode number, everything else in a log.
//!
//! Owners, modes and names are the log's business alone, so root is not needed and any host file system will do. Whatever a
//! client was told is done survives a crash of this process at any point. A crash of the host loses nothing that was committed
//! (COMMIT, or a WRITE that asked for stable storage), nor the names made before that; names made after it may be lost, as with
//! a kernel's server that exports with `async`.

mod log;

use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use super::memory::tables::{Change, Inode, ROOT, Tables};
use super::{
    Attributes, Changes, DirectoryChange, Entry, FileClock, FileId, Instance, Limits, NewNode, Result, Store,
    StoreError, Time, Usage,
};
use log::Log;

/// Most files of the host that are kept open.
const OPEN_FILES: usize = 256;

/// Why a directory can't be opened as a store.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The host refuses.
    #[error("{path}: {source}")]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file is not what this program has written.
    #[error("{path} line {line} is damaged; move the directory away to start with an empty file system")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Counting from 1.
        line: usize,
    },
}

/// Files in a directory of the host.
#[derive(Debug)]
pub struct DirectoryStore {
    instance: Instance,
    limits: Limits,
    clock: FileClock,
    path: PathBuf,
    tables: RwLock<Tables>,
    log: Mutex<Log>,
    files: Mutex<HashMap<FileId, Arc<File>>>,
    /// Whether the host's files that were made lately might vanish in a crash of the host.
    new_files: AtomicBool,
}

impl DirectoryStore {
    /// Opens a directory, which is made if it is missing. Only one process may have it open at a time.
    pub fn open(path: &Path, limits: Limits) -> Result<Self, OpenError> {
        Self::with_clock(path, limits, FileClock::default())
    }

    /// The same, with a clock that can be moved.
    pub fn with_clock(path: &Path, limits: Limits, clock: FileClock) -> Result<Self, OpenError> {
        let failed = |path: &Path| {
            let path = path.to_owned();
            move |source| OpenError::Io { path, source }
        };
        let contents = path.join("contents");
        fs::create_dir_all(&contents).map_err(failed(&contents))?;
        let mut tables = Tables::new(clock.clone());
        let instance = log::instance(path)?;
        let existed = log::read(path, &mut tables)?;
        tables.finish_restore(|id| {
            let metadata = fs::metadata(contents.join(id.0.to_string())).ok()?;
            let modified =
                Time { seconds: metadata.mtime(), nanoseconds: u32::try_from(metadata.mtime_nsec()).unwrap_or(0) };
            Some((metadata.len(), used(&metadata), modified))
        });
        let log = Log::start(path, &tables)?;
        tables.start_notes();
        let store = Self {
            instance,
            limits,
            clock,
            path: path.to_owned(),
            tables: RwLock::new(tables),
            log: Mutex::new(log),
            files: Mutex::default(),
            new_files: AtomicBool::new(false),
        };
        if existed {
            store.remove_leftovers(&contents).map_err(failed(&contents))?;
        }
        Ok(store)
    }

    /// Removes contents of files that were removed while they were open, or whose making was not written down.
    fn remove_leftovers(&self, contents: &Path) -> io::Result<()> {
        let known: std::collections::HashSet<String> =
            self.read_tables().regular_files().map(|id| id.0.to_string()).collect();
        for entry in fs::read_dir(contents)? {
            let entry = entry?;
            if !entry.file_name().to_str().is_some_and(|name| known.contains(name)) {
                fs::remove_file(entry.path())?;
            }
        }
        Ok(())
    }

    fn read_tables(&self) -> RwLockReadGuard<'_, Tables> {
        self.tables.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write_tables(&self) -> RwLockWriteGuard<'_, Tables> {
        self.tables.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn host_path(&self, id: FileId) -> PathBuf {
        self.path.join("contents").join(id.0.to_string())
    }

    /// The host's file with an inode's contents, made when it is needed first.
    fn host_file(&self, id: FileId) -> io::Result<Arc<File>> {
        let mut files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(file) = files.get(&id) {
            return Ok(Arc::clone(file));
        }
        let (path, mut options) = (self.host_path(id), OpenOptions::new());
        let file = match options.read(true).write(true).open(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                self.new_files.store(true, Ordering::Release);
                options.create(true).truncate(false).open(&path)?
            }
            opened => opened?,
        };
        let file = Arc::new(file);
        if files.len() >= OPEN_FILES {
            files.clear();
        }
        files.insert(id, Arc::clone(&file));
        Ok(file)
    }

    /// Does a step on the tables and writes down what it changed, before anybody else sees it.
    fn step<T>(&self, step: impl FnOnce(&mut Tables) -> Result<T>) -> Result<T> {
        let mut tables = self.write_tables();
        let result = step(&mut tables);
        let changes = tables.take_changes();
        if !changes.is_empty() {
            let mut log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
            log.append(&tables, &changes)?;
            for change in changes {
                if let Change::Gone(id) = change {
                    self.discard(id);
                }
            }
        }
        result
    }

    fn discard(&self, id: FileId) {
        self.files.lock().unwrap_or_else(PoisonError::into_inner).remove(&id);
        match fs::remove_file(self.host_path(id)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                tracing::warn!(%error, id = id.0, "can't remove the contents of a removed file");
            }
            _ => {}
        }
    }
}

fn used(metadata: &fs::Metadata) -> u64 {
    (metadata.blocks() * 512).min(metadata.len())
}

impl Store for DirectoryStore {
    fn instance(&self) -> Instance {
        self.instance
    }

    fn is_durable(&self) -> bool {
        true
    }

    fn blocks(&self) -> bool {
        true
    }

    fn limits(&self) -> Limits {
        self.limits
    }

    fn now(&self) -> Time {
        self.clock.now()
    }

    fn root(&self) -> FileId {
        ROOT
    }

    fn attributes(&self, id: FileId) -> Result<Attributes> {
        self.read_tables().inode(id).map(Inode::attributes)
    }

    fn set_attributes(&self, id: FileId, changes: &Changes) -> Result<Attributes> {
        self.step(|tables| {
            let attributes = tables.set_attributes(id, changes, &self.limits)?;
            if let Some(size) = changes.size {
                self.host_file(id)?.set_len(size)?;
            }
            Ok(attributes)
        })
    }

    fn lookup(&self, directory: FileId, name: &[u8]) -> Result<FileId> {
        self.read_tables().directory(directory)?.get(name).ok_or(StoreError::NotFound)
    }

    fn parent(&self, directory: FileId) -> Result<FileId> {
        Ok(self.read_tables().directory(directory)?.parent())
    }

    fn create(&self, directory: FileId, name: &[u8], node: &NewNode) -> Result<(Attributes, DirectoryChange)> {
        self.step(|tables| tables.create(directory, name, node, &self.limits))
    }

    fn verifier(&self, id: FileId) -> Result<Option<[u8; 8]>> {
        self.read_tables().inode(id).map(Inode::verifier)
    }

    fn link(&self, id: FileId, directory: FileId, name: &[u8]) -> Result<DirectoryChange> {
        self.step(|tables| tables.link(id, directory, name, &self.limits))
    }

    fn remove(&self, directory: FileId, name: &[u8]) -> Result<DirectoryChange> {
        self.step(|tables| tables.remove(directory, name))
    }

    fn rename(
        &self,
        from_directory: FileId,
        from: &[u8],
        to_directory: FileId,
        to: &[u8],
    ) -> Result<(DirectoryChange, DirectoryChange)> {
        self.step(|tables| tables.rename(from_directory, from, to_directory, to, &self.limits))
    }

    fn read_link(&self, id: FileId) -> Result<Vec<u8>> {
        self.read_tables().inode(id)?.link_target().map(<[u8]>::to_vec).ok_or(StoreError::Invalid)
    }

    fn read(&self, id: FileId, offset: u64, count: usize, out: &mut Vec<u8>) -> Result<bool> {
        let size = self.read_tables().inode(id)?.content()?.size();
        let count = usize::try_from(size.saturating_sub(offset)).map_or(count, |left| left.min(count));
        if count == 0 {
            return Ok(offset >= size);
        }
        let (file, start) = (self.host_file(id)?, out.len());
        out.resize(start + count, 0);
        let mut read = 0;
        while read < count {
            match file.read_at(&mut out[start + read..], offset + read as u64) {
                Ok(0) => break,
                Ok(length) => read += length,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
        // A file that was cut meanwhile ends earlier.
        out.truncate(start + read);
        Ok(read < count || offset + read as u64 >= size)
    }

    fn write(&self, id: FileId, offset: u64, data: &[u8]) -> Result<Attributes> {
        let mut tables = self.write_tables();
        tables.check_write(id, offset, data.len() as u64, &self.limits)?;
        let file = self.host_file(id)?;
        file.write_all_at(data, offset)?;
        let metadata = file.metadata()?;
        // Not written down: the host's file itself says how long it is and when it was changed.
        tables.wrote(id, metadata.len(), used(&metadata))
    }

    fn commit(&self, id: FileId) -> Result<()> {
        let kind = self.attributes(id)?.kind;
        if kind == super::Kind::Regular {
            self.host_file(id)?.sync_data()?;
            if self.new_files.swap(false, Ordering::AcqRel) {
                log::sync_names(&self.path.join("contents"))
                    .inspect_err(|_| self.new_files.store(true, Ordering::Release))?;
            }
        }
        self.step(|tables| {
            tables.note_inode(id);
            Ok(())
        })?;
        self.log.lock().unwrap_or_else(PoisonError::into_inner).sync()?;
        Ok(())
    }

    fn read_directory(&self, directory: FileId, after: u64, visit: &mut dyn FnMut(Entry<'_>) -> bool) -> Result<bool> {
        self.read_tables().visit_entries(directory, after, visit)
    }

    fn pin(&self, id: FileId) -> Result<()> {
        self.write_tables().pin(id)
    }

    fn unpin(&self, id: FileId) {
        let unpinned = self.step(|tables| {
            tables.note_inode(id);
            tables.unpin(id);
            Ok(())
        });
        if let Err(error) = unpinned {
            tracing::error!(%error, "can't write down that a file was closed");
        }
    }

    fn usage(&self) -> Usage {
        self.read_tables().usage()
    }

    fn save_clients(&self, clients: &[Vec<u8>]) {
        if let Err(error) = log::save_clients(&self.path, clients) {
            tracing::error!(%error, "can't write down the clients; they will not reclaim their locks after a restart");
        }
    }

    fn saved_clients(&self) -> Vec<Vec<u8>> {
        log::saved_clients(&self.path)
    }
}

#[cfg(test)]
mod tests;
