//! The tables as records that can be written down and read back in order.

use serde::{Deserialize, Serialize};

use super::{Body, Content, Directory, Inode, ROOT, Tables};
use crate::store::{FileId, Kind, Time};

/// Something that is no longer as it was written down.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::store) enum Change {
    Inode(FileId),
    Entry(FileId, Vec<u8>),
    Gone(FileId),
}

/// The present state of one thing. Later records replace earlier ones about the same thing.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(in crate::store) enum Record {
    Inode(InodeRecord),
    Entry(EntryRecord),
    Gone(u64),
    /// Numbers below this have been used.
    Next(u64),
}

/// An inode without its contents.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(in crate::store) struct InodeRecord {
    pub(in crate::store) id: u64,
    kind: u8,
    mode: u32,
    uid: u32,
    gid: u32,
    links: u32,
    accessed: (i64, u32),
    modified: (i64, u32),
    changed: (i64, u32),
    created: (i64, u32),
    change: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    verifier: Option<[u8; 8]>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    target: Option<Hex>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    parent: Option<u64>,
}

/// An entry of a directory, or that there is none of that name.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(in crate::store) struct EntryRecord {
    directory: u64,
    name: Hex,
    /// Position and inode.
    stands_for: Option<(u64, u64)>,
}

/// Bytes that are written as hexadecimal digits, because names need not be text.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
struct Hex(Vec<u8>);

impl From<Hex> for String {
    fn from(bytes: Hex) -> Self {
        hex::encode(bytes.0)
    }
}

impl TryFrom<String> for Hex {
    type Error = hex::FromHexError;

    fn try_from(digits: String) -> Result<Self, Self::Error> {
        hex::decode(digits).map(Self)
    }
}

impl From<Time> for (i64, u32) {
    fn from(time: Time) -> Self {
        (time.seconds, time.nanoseconds)
    }
}

fn time((seconds, nanoseconds): (i64, u32)) -> Time {
    Time { seconds, nanoseconds }
}

impl Inode {
    fn record(&self) -> InodeRecord {
        let kind = match self.attributes().kind {
            Kind::Regular => 1,
            Kind::Directory => 2,
            Kind::Symlink => 5,
            Kind::Socket => 6,
            Kind::Fifo => 7,
        };
        let parent = match &self.body {
            Body::Directory(directory) => Some(directory.parent().0),
            _ => None,
        };
        InodeRecord {
            id: self.id.0,
            kind,
            mode: self.mode,
            uid: self.uid,
            gid: self.gid,
            links: self.links,
            accessed: self.accessed.into(),
            modified: self.modified.into(),
            changed: self.changed.into(),
            created: self.created.into(),
            change: self.change,
            verifier: self.verifier(),
            target: self.link_target().map(|target| Hex(target.to_vec())),
            parent,
        }
    }
}

impl Tables {
    /// Starts to note what changes.
    pub(in crate::store) fn start_notes(&mut self) {
        self.changes = Some(Vec::new());
    }

    /// Notes that an inode is to be written down although nothing in this module changed it.
    pub(in crate::store) fn note_inode(&mut self, id: FileId) {
        self.note(Change::Inode(id));
    }

    /// What has changed since the last call.
    pub(in crate::store) fn take_changes(&mut self) -> Vec<Change> {
        self.changes.as_mut().map(std::mem::take).unwrap_or_default()
    }

    /// The present state of what has changed.
    pub(in crate::store) fn record(&self, change: &Change) -> Option<Record> {
        match change {
            Change::Inode(id) => self.inodes.get(id).map(|inode| Record::Inode(inode.record())),
            Change::Gone(id) => Some(Record::Gone(id.0)),
            Change::Entry(id, name) => {
                let Body::Directory(directory) = &self.inodes.get(id)?.body else { return None };
                let stands_for = directory.position(name).map(|(cookie, id)| (cookie, id.0));
                Some(Record::Entry(EntryRecord { directory: id.0, name: Hex(name.clone()), stands_for }))
            }
        }
    }

    /// Everything, in an order in which it can be read back.
    pub(in crate::store) fn records(&self) -> impl Iterator<Item = Record> + '_ {
        let inodes = self.inodes.values().map(|inode| Record::Inode(inode.record()));
        let entries = self.inodes.values().flat_map(|inode| {
            let directory = if let Body::Directory(directory) = &inode.body { Some(directory) } else { None };
            directory.into_iter().flat_map(|directory| directory.entries_after(0)).map(|(cookie, name, id)| {
                Record::Entry(EntryRecord {
                    directory: inode.id.0,
                    name: Hex(name.to_vec()),
                    stands_for: Some((cookie, id.0)),
                })
            })
        });
        std::iter::once(Record::Next(self.next)).chain(inodes).chain(entries)
    }

    /// Applies a record; false if it makes no sense.
    pub(in crate::store) fn apply(&mut self, record: Record) -> bool {
        match record {
            Record::Next(next) => self.next = self.next.max(next),
            Record::Gone(id) => {
                self.inodes.remove(&FileId(id));
            }
            Record::Entry(EntryRecord { directory, name, stands_for }) => {
                let Some(inode) = self.inodes.get_mut(&FileId(directory)) else { return false };
                let Body::Directory(directory) = &mut inode.body else { return false };
                match stands_for {
                    Some((cookie, id)) => directory.restore(&name.0, cookie, FileId(id)),
                    None => directory.remove(&name.0),
                }
            }
            Record::Inode(record) => return self.apply_inode(record),
        }
        true
    }

    fn apply_inode(&mut self, record: InodeRecord) -> bool {
        let id = FileId(record.id);
        let kept = self.inodes.remove(&id).map(|inode| inode.body);
        let body = match (record.kind, kept) {
            (1, _) => Body::Regular { content: Content::Host { size: 0, used: 0 }, verifier: record.verifier },
            (2, Some(Body::Directory(mut directory))) => {
                directory.set_parent(FileId(record.parent.unwrap_or(ROOT.0)));
                Body::Directory(directory)
            }
            (2, _) => Body::Directory(Directory::new(FileId(record.parent.unwrap_or(ROOT.0)))),
            (5, _) => Body::Symlink(record.target.map(|target| target.0).unwrap_or_default()),
            (6, _) => Body::Socket,
            (7, _) => Body::Fifo,
            _ => return false,
        };
        let inode = Inode {
            id,
            body,
            mode: record.mode,
            uid: record.uid,
            gid: record.gid,
            links: record.links,
            accessed: time(record.accessed),
            modified: time(record.modified),
            changed: time(record.changed),
            created: time(record.created),
            change: record.change,
            pins: 0,
        };
        self.next = self.next.max(record.id + 1);
        self.inodes.insert(id, inode);
        true
    }

    /// Completes what was read back: drops files that lived on only because they were open, takes sizes and times from the
    /// host's files, and moves the change counters past any that may have been given out without being written down.
    pub(in crate::store) fn finish_restore(&mut self, host_file: impl Fn(FileId) -> Option<(u64, u64, Time)>) {
        self.inodes.retain(|id, inode| *id == ROOT || inode.links > 0);
        for inode in self.inodes.values_mut() {
            inode.change += 1 << 32;
            if let Body::Regular { content, .. } = &mut inode.body
                && let Some((size, used, modified)) = host_file(inode.id)
            {
                *content = Content::Host { size, used };
                inode.modified = inode.modified.max(modified);
            }
        }
        self.metered = self.inodes.values().map(Inode::metered).sum();
    }

    /// Numbers of all regular files.
    pub(in crate::store) fn regular_files(&self) -> impl Iterator<Item = FileId> + '_ {
        self.inodes.values().filter(|inode| matches!(inode.body, Body::Regular { .. })).map(|inode| inode.id)
    }
}
