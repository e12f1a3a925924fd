//! The inodes of a memory store and the steps on them. The caller holds the lock, so each method is one atomic step.

mod directory;
mod persistent;

use std::collections::HashMap;

use super::super::content::{Chunks, Content};
use super::super::{
    Attributes, Changes, DirectoryChange, Entry, FileClock, FileId, Kind, Limits, NewBody, NewNode, Result, StoreError,
    Time, Usage,
};
use directory::Directory;
pub(in super::super) use persistent::{Change, Record};

/// Number of the root directory.
pub(in super::super) const ROOT: FileId = FileId(1);

/// Metadata of an object as EFS meters it, and the unit in which data is metered, in bytes.
const METADATA: u64 = 2048;
const BLOCK: u64 = 4096;

#[derive(Debug)]
enum Body {
    Regular { content: Content, verifier: Option<[u8; 8]> },
    Directory(Directory),
    Symlink(Vec<u8>),
    Fifo,
    Socket,
}

/// One object.
#[derive(Debug)]
pub(in super::super) struct Inode {
    id: FileId,
    body: Body,
    mode: u32,
    uid: u32,
    gid: u32,
    links: u32,
    accessed: Time,
    modified: Time,
    changed: Time,
    created: Time,
    change: u64,
    pins: u32,
}

impl Inode {
    fn new(id: FileId, body: Body, mode: u32, uid: u32, gid: u32, now: Time) -> Self {
        let links = if matches!(body, Body::Directory(_)) { 2 } else { 1 };
        let mode = mode & 0o7777;
        Self {
            id,
            body,
            mode,
            uid,
            gid,
            links,
            accessed: now,
            modified: now,
            changed: now,
            created: now,
            change: 1,
            pins: 0,
        }
    }

    pub(in super::super) fn attributes(&self) -> Attributes {
        let (kind, size, used) = match &self.body {
            Body::Regular { content, .. } => (Kind::Regular, content.size(), content.used()),
            Body::Directory(_) => (Kind::Directory, BLOCK, BLOCK),
            Body::Symlink(target) => (Kind::Symlink, target.len() as u64, 0),
            Body::Fifo => (Kind::Fifo, 0, 0),
            Body::Socket => (Kind::Socket, 0, 0),
        };
        Attributes {
            id: self.id,
            kind,
            mode: self.mode,
            uid: self.uid,
            gid: self.gid,
            links: self.links,
            size,
            used,
            accessed: self.accessed,
            modified: self.modified,
            changed: self.changed,
            created: self.created,
            change: self.change,
        }
    }

    pub(in super::super) fn verifier(&self) -> Option<[u8; 8]> {
        match &self.body {
            Body::Regular { verifier, .. } => *verifier,
            _ => None,
        }
    }

    pub(in super::super) fn link_target(&self) -> Option<&[u8]> {
        match &self.body {
            Body::Symlink(target) => Some(target),
            _ => None,
        }
    }

    pub(in super::super) fn content(&self) -> Result<&Content> {
        match &self.body {
            Body::Regular { content, .. } => Ok(content),
            Body::Directory(_) => Err(StoreError::IsDirectory),
            _ => Err(StoreError::Invalid),
        }
    }

    fn content_mut(&mut self) -> Result<&mut Content> {
        match &mut self.body {
            Body::Regular { content, .. } => Ok(content),
            Body::Directory(_) => Err(StoreError::IsDirectory),
            _ => Err(StoreError::Invalid),
        }
    }

    fn directory_mut(&mut self) -> Result<&mut Directory> {
        match &mut self.body {
            Body::Directory(directory) => Ok(directory),
            _ => Err(StoreError::NotDirectory),
        }
    }

    fn is_directory(&self) -> bool {
        matches!(self.body, Body::Directory(_))
    }

    fn touch_attributes(&mut self, now: Time) {
        self.changed = now;
        self.change += 1;
    }

    fn touch_contents(&mut self, now: Time) {
        (self.modified, self.changed) = (now, now);
        self.change += 1;
    }

    fn metered(&self) -> u64 {
        METADATA
            + match &self.body {
                Body::Regular { content, .. } => content.used().next_multiple_of(BLOCK),
                Body::Directory(_) | Body::Symlink(_) => BLOCK,
                Body::Fifo | Body::Socket => 0,
            }
    }
}

/// All inodes of a store.
#[derive(Debug)]
pub(in super::super) struct Tables {
    inodes: HashMap<FileId, Inode>,
    next: u64,
    metered: u64,
    clock: FileClock,
    /// What has changed and is not yet written down; `None` for a store that lives in memory.
    changes: Option<Vec<Change>>,
}

impl Tables {
    pub(in super::super) fn new(clock: FileClock) -> Self {
        let root = Inode::new(ROOT, Body::Directory(Directory::new(ROOT)), 0o755, 0, 0, clock.now());
        let metered = root.metered();
        Self { inodes: HashMap::from([(ROOT, root)]), next: ROOT.0 + 1, metered, clock, changes: None }
    }

    fn note(&mut self, change: Change) {
        if let Some(changes) = &mut self.changes {
            changes.push(change);
        }
    }

    pub(in super::super) fn usage(&self) -> Usage {
        Usage { metered_bytes: self.metered, objects: self.inodes.len() as u64 }
    }

    pub(in super::super) fn inode(&self, id: FileId) -> Result<&Inode> {
        self.inodes.get(&id).ok_or(StoreError::Stale)
    }

    fn inode_mut(&mut self, id: FileId) -> Result<&mut Inode> {
        self.inodes.get_mut(&id).ok_or(StoreError::Stale)
    }

    pub(in super::super) fn directory(&self, id: FileId) -> Result<&Directory> {
        match &self.inode(id)?.body {
            Body::Directory(directory) => Ok(directory),
            _ => Err(StoreError::NotDirectory),
        }
    }

    /// Shows `visit` the entries of a directory whose cookies are above `after`, in their order. `false` when it wanted no
    /// more.
    pub(in super::super) fn visit_entries(
        &self,
        directory: FileId,
        after: u64,
        visit: &mut dyn FnMut(Entry<'_>) -> bool,
    ) -> Result<bool> {
        for (cookie, name, id) in self.directory(directory)?.entries_after(after) {
            let attributes = self.inode(id)?.attributes();
            if !visit(Entry { cookie, name, attributes: &attributes }) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    pub(in super::super) fn set_attributes(
        &mut self,
        id: FileId,
        changes: &Changes,
        limits: &Limits,
    ) -> Result<Attributes> {
        let now = self.clock.now();
        let inode = self.inodes.get_mut(&id).ok_or(StoreError::Stale)?;
        let before = inode.metered();
        if let Some(size) = changes.size {
            if size > limits.file_size {
                return Err(StoreError::FileTooBig);
            }
            let content = inode.content_mut()?;
            content.resize(size);
            inode.touch_contents(now);
        }
        inode.mode = changes.mode.map_or(inode.mode, |mode| mode & 0o7777);
        inode.uid = changes.uid.unwrap_or(inode.uid);
        inode.gid = changes.gid.unwrap_or(inode.gid);
        inode.accessed = changes.accessed.unwrap_or(inode.accessed);
        inode.modified = changes.modified.unwrap_or(inode.modified);
        inode.touch_attributes(now);
        self.metered = self.metered - before + inode.metered();
        let attributes = inode.attributes();
        self.note(Change::Inode(id));
        Ok(attributes)
    }

    pub(in super::super) fn create(
        &mut self,
        parent: FileId,
        name: &[u8],
        node: &NewNode,
        limits: &Limits,
    ) -> Result<(Attributes, DirectoryChange)> {
        check_name(name, limits)?;
        if self.directory(parent)?.get(name).is_some() {
            return Err(StoreError::Exists);
        }
        if self.inode(parent)?.links == 0 {
            return Err(StoreError::NotFound);
        }
        let body = match &node.body {
            NewBody::Regular { verifier } => {
                let on_host = self.changes.is_some();
                let memory = || Content::Memory(Chunks::default());
                let content = if on_host { Content::Host { size: 0, used: 0 } } else { memory() };
                Body::Regular { content, verifier: *verifier }
            }
            NewBody::Directory if self.depth(parent)? >= limits.depth => return Err(StoreError::NameTooLong),
            NewBody::Directory => Body::Directory(Directory::new(parent)),
            NewBody::Symlink { target } if target.is_empty() => return Err(StoreError::Invalid),
            NewBody::Symlink { target } if target.len() > limits.symlink => return Err(StoreError::NameTooLong),
            NewBody::Symlink { target } => Body::Symlink(target.clone()),
            NewBody::Fifo => Body::Fifo,
            NewBody::Socket => Body::Socket,
        };
        let id = FileId(self.next);
        let inode = Inode::new(id, body, node.mode, node.uid, node.gid, self.clock.now());
        if self.metered + inode.metered() > limits.metered_bytes {
            return Err(StoreError::NoSpace);
        }
        self.next += 1;
        self.metered += inode.metered();
        let attributes = inode.attributes();
        self.inodes.insert(id, inode);
        self.note(Change::Inode(id));
        let links = i32::from(attributes.kind == Kind::Directory);
        let change = self.change_directory(parent, links, name, |directory| directory.insert(name, id))?;
        Ok((attributes, change))
    }

    pub(in super::super) fn link(
        &mut self,
        id: FileId,
        parent: FileId,
        name: &[u8],
        limits: &Limits,
    ) -> Result<DirectoryChange> {
        check_name(name, limits)?;
        let inode = self.inode(id)?;
        if inode.is_directory() {
            return Err(StoreError::IsDirectory);
        }
        // A file that lost its last name and only lives on as an open one must not come back.
        if inode.links == 0 {
            return Err(StoreError::Stale);
        }
        if inode.links >= limits.links {
            return Err(StoreError::TooManyLinks);
        }
        if self.directory(parent)?.get(name).is_some() {
            return Err(StoreError::Exists);
        }
        if self.inode(parent)?.links == 0 {
            return Err(StoreError::NotFound);
        }
        let now = self.clock.now();
        let inode = self.inode_mut(id)?;
        inode.links += 1;
        inode.touch_attributes(now);
        self.note(Change::Inode(id));
        self.change_directory(parent, 0, name, |directory| directory.insert(name, id))
    }

    pub(in super::super) fn remove(&mut self, parent: FileId, name: &[u8]) -> Result<DirectoryChange> {
        let id = self.directory(parent)?.get(name).ok_or(StoreError::NotFound)?;
        self.check_empty(id)?;
        let links = -i32::from(self.inode(id)?.is_directory());
        let change = self.change_directory(parent, links, name, |directory| directory.remove(name))?;
        self.drop_name(id)?;
        Ok(change)
    }

    pub(in super::super) fn rename(
        &mut self,
        from_parent: FileId,
        from: &[u8],
        to_parent: FileId,
        to: &[u8],
        limits: &Limits,
    ) -> Result<(DirectoryChange, DirectoryChange)> {
        let id = self.directory(from_parent)?.get(from).ok_or(StoreError::NotFound)?;
        check_name(to, limits)?;
        let target = self.directory(to_parent)?.get(to);
        if self.inode(to_parent)?.links == 0 {
            return Err(StoreError::NotFound);
        }
        // POSIX: when both names stand for the same file, nothing happens.
        if target == Some(id) {
            let (a, b) = (self.inode(from_parent)?.change, self.inode(to_parent)?.change);
            return Ok((DirectoryChange { before: a, after: a }, DirectoryChange { before: b, after: b }));
        }
        let is_directory = self.inode(id)?.is_directory();
        if is_directory && self.is_within(to_parent, id)? {
            return Err(StoreError::Invalid);
        }
        if let Some(target) = target {
            match (is_directory, self.inode(target)?.is_directory()) {
                (true, false) => return Err(StoreError::NotDirectory),
                (false, true) => return Err(StoreError::IsDirectory),
                _ => self.check_empty(target)?,
            }
        }
        let moves = is_directory && from_parent != to_parent;
        if moves && self.depth(to_parent)? + self.height(id, limits.depth)? > limits.depth {
            return Err(StoreError::NameTooLong);
        }
        let taken = i32::from(is_directory && target.is_some());
        let same = from_parent == to_parent;
        let mut source =
            self.change_directory(from_parent, -i32::from(moves), from, |directory| directory.remove(from))?;
        let mut destination =
            self.change_directory(to_parent, i32::from(moves) - taken, to, |directory| directory.insert(to, id))?;
        if same {
            source.after = destination.after;
            destination.before = source.before;
        }
        if let Some(target) = target {
            self.drop_name(target)?;
        }
        let now = self.clock.now();
        let inode = self.inode_mut(id)?;
        inode.touch_attributes(now);
        if moves {
            inode.directory_mut()?.set_parent(to_parent);
        }
        self.note(Change::Inode(id));
        Ok((source, destination))
    }

    /// Whether a write fits into the file's and the store's limits.
    pub(in super::super) fn check_write(&self, id: FileId, offset: u64, length: u64, limits: &Limits) -> Result<()> {
        let content = self.inode(id)?.content()?;
        if offset.checked_add(length).is_none_or(|end| end > limits.file_size) {
            return Err(StoreError::FileTooBig);
        }
        if self.metered + content.growth(offset, length) > limits.metered_bytes {
            return Err(StoreError::NoSpace);
        }
        Ok(())
    }

    pub(in super::super) fn write(
        &mut self,
        id: FileId,
        offset: u64,
        data: &[u8],
        limits: &Limits,
    ) -> Result<Attributes> {
        self.check_write(id, offset, data.len() as u64, limits)?;
        self.change_content(id, |content| {
            if let Content::Memory(chunks) = content {
                chunks.write(offset, data);
            }
        })
    }

    /// Notes that a host file has been written to.
    pub(in super::super) fn wrote(&mut self, id: FileId, size: u64, used: u64) -> Result<Attributes> {
        self.change_content(id, |content| *content = Content::Host { size, used })
    }

    fn change_content(&mut self, id: FileId, step: impl FnOnce(&mut Content)) -> Result<Attributes> {
        let now = self.clock.now();
        let inode = self.inodes.get_mut(&id).ok_or(StoreError::Stale)?;
        let before = inode.metered();
        step(inode.content_mut()?);
        inode.touch_contents(now);
        self.metered = self.metered - before + inode.metered();
        Ok(inode.attributes())
    }

    pub(in super::super) fn pin(&mut self, id: FileId) -> Result<()> {
        self.inode_mut(id)?.pins += 1;
        Ok(())
    }

    pub(in super::super) fn unpin(&mut self, id: FileId) {
        if let Some(inode) = self.inodes.get_mut(&id) {
            inode.pins = inode.pins.saturating_sub(1);
            self.forget_if_unused(id);
        }
    }

    /// Changes the entries of a directory, its link count and its times.
    fn change_directory(
        &mut self,
        id: FileId,
        links: i32,
        name: &[u8],
        step: impl FnOnce(&mut Directory),
    ) -> Result<DirectoryChange> {
        let now = self.clock.now();
        let inode = self.inode_mut(id)?;
        step(inode.directory_mut()?);
        let before = inode.change;
        inode.links = inode.links.saturating_add_signed(links);
        inode.touch_contents(now);
        let after = inode.change;
        self.note(Change::Inode(id));
        if self.changes.is_some() {
            self.note(Change::Entry(id, name.to_vec()));
        }
        Ok(DirectoryChange { before, after })
    }

    fn check_empty(&self, id: FileId) -> Result<()> {
        match &self.inode(id)?.body {
            Body::Directory(directory) if !directory.is_empty() => Err(StoreError::NotEmpty),
            _ => Ok(()),
        }
    }

    fn drop_name(&mut self, id: FileId) -> Result<()> {
        let now = self.clock.now();
        let inode = self.inode_mut(id)?;
        inode.links = if inode.is_directory() { 0 } else { inode.links.saturating_sub(1) };
        inode.touch_attributes(now);
        self.note(Change::Inode(id));
        self.forget_if_unused(id);
        Ok(())
    }

    fn forget_if_unused(&mut self, id: FileId) {
        if self.inodes.get(&id).is_some_and(|inode| inode.links == 0 && inode.pins == 0)
            && let Some(inode) = self.inodes.remove(&id)
        {
            self.metered -= inode.metered();
            self.note(Change::Gone(id));
        }
    }

    /// Number of directories above a directory.
    fn depth(&self, mut id: FileId) -> Result<u32> {
        let mut depth = 0;
        while id != ROOT {
            id = self.directory(id)?.parent();
            depth += 1;
        }
        Ok(depth)
    }

    /// Number of directory levels from this one down, itself included; stops counting above `limit`.
    fn height(&self, id: FileId, limit: u32) -> Result<u32> {
        let (mut level, mut height) = (vec![id], 0);
        while !level.is_empty() && height <= limit {
            height += 1;
            let mut below = Vec::new();
            for directory in level {
                let children = self.directory(directory)?.entries_after(0).map(|(_, _, child)| child);
                below.extend(children.filter(|child| self.inodes.get(child).is_some_and(Inode::is_directory)));
            }
            level = below;
        }
        Ok(height)
    }

    /// Whether a directory is another one or below it.
    fn is_within(&self, mut id: FileId, ancestor: FileId) -> Result<bool> {
        loop {
            if id == ancestor {
                return Ok(true);
            }
            if id == ROOT {
                return Ok(false);
            }
            id = self.directory(id)?.parent();
        }
    }
}

fn check_name(name: &[u8], limits: &Limits) -> Result<()> {
    match name.len() {
        0 => Err(StoreError::Invalid),
        length if length > limits.name => Err(StoreError::NameTooLong),
        _ => Ok(()),
    }
}
