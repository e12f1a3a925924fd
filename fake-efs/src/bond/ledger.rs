//! What a bonded file system knows of its files: which object each one is, and what has yet to be told to the bucket.

use std::collections::{BTreeMap, HashMap};

use std::sync::Arc;

use jiff::Timestamp;

use crate::buckets::{Found, Object, VersionId};
use crate::store::FileId;

/// Longest key, in bytes; what would have a longer one stays in the file system.
const LONGEST_KEY: usize = 1024;

/// The version of an object that a file was when the two were last equal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Origin {
    pub(super) version: Option<VersionId>,
    pub(super) etag: String,
}

impl From<&Found> for Origin {
    fn from(found: &Found) -> Self {
        Self { version: found.version_id.clone(), etag: found.object.etag.clone() }
    }
}

/// A regular file.
#[derive(Clone, Debug)]
pub(super) struct File {
    pub(super) parent: FileId,
    pub(super) name: Vec<u8>,
    /// None as long as the bucket has never had it.
    pub(super) origin: Option<Origin>,
    /// The object whose bytes have not come yet.
    pub(super) missing: Option<Arc<Object>>,
    /// When it was changed last, if the bucket doesn't know.
    pub(super) changed: Option<Timestamp>,
}

/// A directory: a beginning of keys.
#[derive(Clone, Debug)]
pub(super) struct Directory {
    pub(super) parent: FileId,
    pub(super) name: Vec<u8>,
    /// Whether its entries have been imported.
    pub(super) listed: bool,
    pub(super) changed: Option<Timestamp>,
}

/// All of it. Directories that aren't here have nothing to do with the bucket, nor has what is in them.
#[derive(Debug)]
pub(super) struct Ledger {
    root: FileId,
    /// Up to which change of the bucket everything is known.
    pub(super) sequence: u64,
    pub(super) directories: HashMap<FileId, Directory>,
    pub(super) files: HashMap<FileId, File>,
    /// Objects that are to go, since when, and as what they were known.
    pub(super) removals: BTreeMap<String, (Timestamp, Origin)>,
    /// Before that there is nothing to export.
    pub(super) earliest: Option<Timestamp>,
}

impl Ledger {
    pub(super) fn new(root: FileId, sequence: u64) -> Self {
        let directory = Directory { parent: root, name: Vec::new(), listed: false, changed: None };
        Self {
            root,
            sequence,
            directories: HashMap::from([(root, directory)]),
            files: HashMap::new(),
            removals: BTreeMap::new(),
            earliest: None,
        }
    }

    pub(super) fn is_root(&self, id: FileId) -> bool {
        id == self.root
    }

    /// The beginning of the keys of what is in a directory, behind the file system's own prefix.
    pub(super) fn path(&self, directory: FileId) -> Option<String> {
        let mut names = Vec::new();
        let mut at = directory;
        while !self.is_root(at) {
            let known = self.directories.get(&at)?;
            names.push(std::str::from_utf8(&known.name).ok()?);
            at = known.parent;
        }
        Some(names.iter().rev().map(|name| format!("{name}/")).collect())
    }

    /// The key of a name in a directory; none if no key can name it.
    pub(super) fn key(&self, prefix: &str, directory: FileId, name: &[u8]) -> Option<String> {
        let key = format!("{prefix}{}{}", self.path(directory)?, std::str::from_utf8(name).ok()?);
        (key.len() <= LONGEST_KEY).then_some(key)
    }

    /// Notes that something has changed.
    pub(super) fn note(&mut self, now: Timestamp) {
        self.earliest = Some(self.earliest.map_or(now, |earliest| earliest.min(now)));
    }

    pub(super) fn changed(&mut self, id: FileId, now: Timestamp) {
        let changed = match (self.files.get_mut(&id), self.directories.get_mut(&id)) {
            (Some(file), _) => &mut file.changed,
            (None, Some(directory)) => &mut directory.changed,
            (None, None) => return,
        };
        *changed = Some(now);
        self.note(now);
    }

    /// Has an object go, if there is one.
    pub(super) fn remove_object(&mut self, key: Option<String>, origin: Option<Origin>, now: Timestamp) {
        if let (Some(key), Some(origin)) = (key, origin) {
            self.removals.insert(key, (now, origin));
            self.note(now);
        }
    }
}

/// Whether a key's part can be a name.
pub(super) fn is_name(part: &str) -> bool {
    !part.is_empty() && part.len() <= 255 && part != "." && part != ".." && !part.contains('\0')
}
