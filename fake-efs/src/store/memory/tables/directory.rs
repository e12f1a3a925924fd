//! The entries of one directory, by name and by a position that never moves.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::FileId;

/// Positions up to here are special to NFS (0 start, 1 and 2 reserved).
const RESERVED: u64 = 2;

#[derive(Debug)]
pub(in super::super::super) struct Directory {
    parent: FileId,
    by_name: HashMap<Arc<[u8]>, (u64, FileId)>,
    by_cookie: BTreeMap<u64, (Arc<[u8]>, FileId)>,
    last: u64,
}

impl Directory {
    pub(super) fn new(parent: FileId) -> Self {
        Self { parent, by_name: HashMap::new(), by_cookie: BTreeMap::new(), last: RESERVED }
    }

    pub(in super::super::super) fn parent(&self) -> FileId {
        self.parent
    }

    pub(super) fn set_parent(&mut self, parent: FileId) {
        self.parent = parent;
    }

    pub(super) fn is_empty(&self) -> bool {
        self.by_name.is_empty()
    }

    pub(in super::super::super) fn get(&self, name: &[u8]) -> Option<FileId> {
        self.by_name.get(name).map(|&(_, id)| id)
    }

    /// Adds an entry, or makes an existing one stand for another object. A replaced entry keeps its position, so that a
    /// name that always exists is seen by every traversal.
    pub(super) fn insert(&mut self, name: &[u8], id: FileId) {
        if let Some(entry) = self.by_name.get_mut(name) {
            entry.1 = id;
            if let Some(positioned) = self.by_cookie.get_mut(&entry.0) {
                positioned.1 = id;
            }
            return;
        }
        self.last += 1;
        let name: Arc<[u8]> = name.into();
        self.by_cookie.insert(self.last, (Arc::clone(&name), id));
        self.by_name.insert(name, (self.last, id));
    }

    /// Puts an entry where it was before a restart.
    pub(super) fn restore(&mut self, name: &[u8], cookie: u64, id: FileId) {
        self.remove(name);
        let name: Arc<[u8]> = name.into();
        self.by_cookie.insert(cookie, (Arc::clone(&name), id));
        self.by_name.insert(name, (cookie, id));
        self.last = self.last.max(cookie);
    }

    /// Position of a name, and what it stands for.
    pub(super) fn position(&self, name: &[u8]) -> Option<(u64, FileId)> {
        self.by_name.get(name).copied()
    }

    pub(super) fn remove(&mut self, name: &[u8]) {
        if let Some((cookie, _)) = self.by_name.remove(name) {
            self.by_cookie.remove(&cookie);
        }
    }

    pub(in super::super::super) fn entries_after(&self, cookie: u64) -> impl Iterator<Item = (u64, &[u8], FileId)> {
        let start = cookie.saturating_add(1);
        self.by_cookie.range(start..).map(|(&cookie, (name, id))| (cookie, &**name, *id))
    }
}
