//! Walks a directory tree and adds up what it holds, like `du`, without being in the way of anybody.
//!
//! - On one device: mount points and other file systems below are left out.
//! - Symbolic links are counted and never followed, not even when a directory is replaced by one during the walk.
//! - Several threads share the tree, because a network file system answers many small questions at once better than one
//!   after the other. A single large directory is shared too.
//! - Bounded memory: directories to come wait in a queue of fixed length; when it is full, a thread goes on in depth and
//!   remembers only its way back.
//! - It can be cancelled, and held to a number of entries per second.
//!
//! A walk may wait as long as a server likes, so the driver runs it in a child process that it can kill (see
//! [`main`] and [`super::usage`]).

use std::collections::HashSet;
use std::ffi::CStr;
use std::io::{self, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, RawDir, ResolveFlags, SeekFrom, Statx, StatxFlags};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

/// The word on the command line that makes the program walk.
pub const COMMAND: &str = "volume-walker";
/// Directories and batches of names that wait for a thread.
const QUEUE: usize = 1024;
/// Names of files that are looked at together, and handed to another thread together.
const BATCH: usize = 256;
/// What one call of getdents may fill, in bytes.
const LISTING: usize = 64 * 1024;
/// Longest path for one system call, in bytes; longer ones are walked piece by piece.
const PIECE: usize = 4000;
/// Files with several names that are told apart. Beyond that (33 MiB), further ones are counted under each name.
const LINKS: usize = 1 << 20;
/// How often a walker process reports.
const REPORT_EVERY: Duration = Duration::from_secs(1);
/// A walker's order or report is never longer than this, in bytes.
const MESSAGE_MAX: u64 = 64 * 1024;

/// How to walk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Options {
    /// Threads; at least one is used.
    pub threads: usize,
    /// Entries per second in all; `None` for as many as the file system gives.
    pub entries_per_second: Option<u32>,
}

impl Default for Options {
    fn default() -> Self {
        Self { threads: 4, entries_per_second: None }
    }
}

/// What a tree holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Totals {
    /// Space in use, in bytes: blocks of 512, as `du` counts. A file with several names counts once.
    pub bytes: u64,
    /// Files, directories and everything else with an inode, the root included.
    pub inodes: u64,
    /// How many of them are directories.
    pub directories: u64,
    /// Directories that could not be read for lack of permission; what is in them is missing in the other numbers.
    pub unreadable: u64,
}

/// The numbers of a walk so far, and the switch that ends it.
#[derive(Debug, Default)]
pub struct Progress {
    bytes: AtomicU64,
    inodes: AtomicU64,
    directories: AtomicU64,
    unreadable: AtomicU64,
    cancelled: AtomicBool,
}

impl Progress {
    /// What has been counted so far.
    pub fn totals(&self) -> Totals {
        Totals {
            bytes: self.bytes.load(Ordering::Relaxed),
            inodes: self.inodes.load(Ordering::Relaxed),
            directories: self.directories.load(Ordering::Relaxed),
            unreadable: self.unreadable.load(Ordering::Relaxed),
        }
    }

    /// Ends the walk at the next batch.
    pub fn cancel(&self) {
        self.cancelled.store(true, Ordering::Relaxed);
    }

    fn add(&self, more: Totals) {
        self.bytes.fetch_add(more.bytes, Ordering::Relaxed);
        self.inodes.fetch_add(more.inodes, Ordering::Relaxed);
        self.directories.fetch_add(more.directories, Ordering::Relaxed);
        self.unreadable.fetch_add(more.unreadable, Ordering::Relaxed);
    }
}

/// Why a walk ended early.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum WalkError {
    /// [`Progress::cancel`] was called.
    #[error("cancelled")]
    Cancelled,
    /// The file system failed.
    #[error("{path}: {}", io::Error::from(*errno))]
    System {
        /// Where.
        path: PathBuf,
        /// How.
        errno: Errno,
    },
}

/// Walks the tree at `root` and blocks until it is done. `progress` shows the numbers meanwhile.
///
/// # Errors
/// When the walk was cancelled, when the root can't be opened, or when the file system fails (vanished entries and lacking
/// permissions aside).
pub fn walk(root: &Path, options: &Options, progress: &Progress) -> Result<Totals, WalkError> {
    walk_within(root, options, progress, Limits { queue: QUEUE, batch: BATCH })
}

#[derive(Clone, Copy)]
struct Limits {
    queue: usize,
    batch: usize,
}

fn walk_within(root: &Path, options: &Options, progress: &Progress, limits: Limits) -> Result<Totals, WalkError> {
    let walk = Walk::new(root, options, progress, limits)?;
    std::thread::scope(|scope| {
        for _ in 1..options.threads {
            scope.spawn(|| walk.work());
        }
        walk.work();
    });
    match walk.queue.into_inner().unwrap_or_else(PoisonError::into_inner).failure {
        Some(failure) => Err(failure),
        None => Ok(progress.totals()),
    }
}

/// Something for a thread to do.
enum Work {
    /// A directory, by its path below the root without a leading slash; empty for the root itself.
    Directory(Vec<u8>),
    /// Some files of a directory: their names, each with its closing NUL.
    Files(Arc<OwnedFd>, Vec<u8>),
}

#[derive(Default)]
struct Queue {
    items: Vec<Work>,
    threads: usize,
    waiting: usize,
    done: bool,
    failure: Option<WalkError>,
}

/// A directory that a thread came through on its way down, and where to go on in it.
struct Frame {
    path: Vec<u8>,
    offset: u64,
}

/// How far a thread has come in a directory.
enum Reached {
    End,
    /// A subdirectory for which the queue has no room, and the offset behind it.
    Below(Vec<u8>, u64),
}

struct Walk<'a> {
    root: &'a Path,
    top: OwnedFd,
    device: (u32, u32),
    limits: Limits,
    progress: &'a Progress,
    pace: Option<Pace>,
    queue: Mutex<Queue>,
    changed: Condvar,
    /// Threads that wait for work, readable without the lock.
    idle: AtomicUsize,
    /// Files with several names that were counted already.
    links: Mutex<HashSet<u64>>,
}

impl<'a> Walk<'a> {
    fn new(root: &'a Path, options: &Options, progress: &'a Progress, limits: Limits) -> Result<Self, WalkError> {
        let fail = |errno| WalkError::System { path: root.to_owned(), errno };
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let top = rustix::fs::openat(CWD, root, flags, Mode::empty()).map_err(fail)?;
        let device = device(&look(&top, c"", AtFlags::EMPTY_PATH).map_err(fail)?);
        let threads = options.threads.max(1);
        Ok(Self {
            root,
            top,
            device,
            limits,
            progress,
            pace: options.entries_per_second.map(|rate| Pace {
                rate: rate.max(1),
                since: Instant::now(),
                taken: AtomicU64::new(0),
            }),
            queue: Mutex::new(Queue { items: vec![Work::Directory(Vec::new())], threads, ..Queue::default() }),
            changed: Condvar::new(),
            idle: AtomicUsize::new(0),
            links: Mutex::default(),
        })
    }
}

impl Walk<'_> {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One thread's work, until nothing is left.
    fn work(&self) {
        let mut listing = vec![MaybeUninit::uninit(); LISTING];
        while let Some(work) = self.next() {
            let result = match work {
                Work::Directory(path) => self.tree(path, &mut listing),
                Work::Files(directory, names) => self.files(directory.as_fd(), &names),
            };
            if let Err(failure) = result {
                let mut queue = self.queue();
                // The others are deep in their own branches; this reaches them there.
                self.progress.cancel();
                queue.failure.get_or_insert(failure);
                queue.done = true;
                self.changed.notify_all();
            }
        }
    }

    fn next(&self) -> Option<Work> {
        let mut queue = self.queue();
        loop {
            if queue.done {
                return None;
            }
            if let Some(work) = queue.items.pop() {
                return Some(work);
            }
            queue.waiting += 1;
            if queue.waiting == queue.threads {
                queue.done = true;
                self.changed.notify_all();
                return None;
            }
            self.idle.store(queue.waiting, Ordering::Relaxed);
            queue = self.changed.wait(queue).unwrap_or_else(PoisonError::into_inner);
            queue.waiting -= 1;
            self.idle.store(queue.waiting, Ordering::Relaxed);
        }
    }

    /// Leaves work to others; gives it back when the queue is full.
    fn offer(&self, work: Work) -> Result<(), Work> {
        let mut queue = self.queue();
        if queue.items.len() >= self.limits.queue {
            return Err(work);
        }
        queue.items.push(work);
        if queue.waiting > 0 {
            self.changed.notify_one();
        }
        Ok(())
    }

    /// A directory, and below it whatever the queue has no room for.
    fn tree(&self, path: Vec<u8>, listing: &mut [MaybeUninit<u8>]) -> Result<(), WalkError> {
        let mut way = vec![Frame { path, offset: 0 }];
        while let Some(mut frame) = way.pop() {
            if let Reached::Below(path, offset) = self.directory(&frame, listing)? {
                frame.offset = offset;
                way.push(frame);
                way.push(Frame { path, offset: 0 });
            }
        }
        Ok(())
    }

    /// The entries of one directory, from an offset on.
    fn directory(&self, at: &Frame, listing: &mut [MaybeUninit<u8>]) -> Result<Reached, WalkError> {
        let Some(directory) = self.enter(at)? else { return Ok(Reached::End) };
        let directory = Arc::new(directory);
        let mut names = Vec::new();
        let mut count = 0;
        let mut entries = RawDir::new(directory.as_fd(), listing);
        while let Some(entry) = entries.next() {
            let entry = match entry {
                Ok(entry) => entry,
                Err(errno) => {
                    self.excuse(errno, || self.path(&at.path))?;
                    break;
                }
            };
            let name = entry.file_name();
            if matches!(name.to_bytes(), b"." | b"..") {
                continue;
            }
            let is_directory = match entry.file_type() {
                FileType::Directory => true,
                FileType::Unknown => self.is_directory(directory.as_fd(), name, &at.path)?,
                _ => false,
            };
            if is_directory {
                let child = join(&at.path, name.to_bytes());
                if let Err(Work::Directory(child)) = self.offer(Work::Directory(child)) {
                    let offset = entry.next_entry_cookie();
                    self.files(directory.as_fd(), &names)?;
                    return Ok(Reached::Below(child, offset));
                }
                continue;
            }
            names.extend_from_slice(name.to_bytes_with_nul());
            count += 1;
            if count == self.limits.batch {
                count = 0;
                self.share(&directory, &mut names)?;
            }
        }
        self.files(directory.as_fd(), &names)?;
        Ok(Reached::End)
    }

    /// Looks at a full batch, or lets a thread do so that has nothing to do.
    fn share(&self, directory: &Arc<OwnedFd>, names: &mut Vec<u8>) -> Result<(), WalkError> {
        let batch = std::mem::take(names);
        let batch = if self.idle.load(Ordering::Relaxed) > 0 {
            match self.offer(Work::Files(Arc::clone(directory), batch)) {
                Err(Work::Files(_, batch)) => batch,
                _ => return Ok(()),
            }
        } else {
            batch
        };
        self.files(directory.as_fd(), &batch)?;
        *names = batch;
        names.clear();
        Ok(())
    }

    /// Opens a directory and, the first time, counts it. `None` when it is gone, out of bounds or unreadable.
    fn enter(&self, at: &Frame) -> Result<Option<OwnedFd>, WalkError> {
        self.admit(1)?;
        let directory = match self.open(&at.path) {
            Ok(directory) => directory,
            Err(errno) => {
                if matches!(errno, Errno::ACCESS | Errno::PERM) && !at.path.is_empty() {
                    self.progress.add(Totals { inodes: 1, directories: 1, unreadable: 1, ..Totals::default() });
                    return Ok(None);
                }
                self.excuse(errno, || self.path(&at.path))?;
                return Ok(None);
            }
        };
        let fail = |errno| WalkError::System { path: self.path(&at.path), errno };
        if at.offset > 0 {
            rustix::fs::seek(&directory, SeekFrom::Start(at.offset)).map_err(fail)?;
            return Ok(Some(directory));
        }
        let found = look(&directory, c"", AtFlags::EMPTY_PATH).map_err(fail)?;
        if device(&found) != self.device {
            return Ok(None);
        }
        self.progress.add(Totals { bytes: found.stx_blocks * 512, inodes: 1, directories: 1, ..Totals::default() });
        Ok(Some(directory))
    }

    /// Opens a path below the root that leads through no symbolic link and no mount point.
    fn open(&self, path: &[u8]) -> Result<OwnedFd, Errno> {
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_XDEV;
        let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mut start: Option<OwnedFd> = None;
        let mut rest = path;
        while rest.len() > PIECE {
            let cut = rest[..PIECE].iter().rposition(|byte| *byte == b'/').ok_or(Errno::NAMETOOLONG)?;
            let from = start.as_ref().unwrap_or(&self.top);
            start = Some(open_below(from.as_fd(), &rest[..cut], flags | OFlags::PATH, resolve)?);
            rest = &rest[cut + 1..];
        }
        let from = start.as_ref().unwrap_or(&self.top);
        open_below(from.as_fd(), if rest.is_empty() { b"." } else { rest }, flags | OFlags::RDONLY, resolve)
    }

    fn is_directory(&self, directory: BorrowedFd<'_>, name: &CStr, path: &[u8]) -> Result<bool, WalkError> {
        match look(directory, name, AtFlags::empty()) {
            Ok(found) => Ok(FileType::from_raw_mode(u32::from(found.stx_mode)) == FileType::Directory),
            Err(errno) => self.excuse(errno, || self.path(&join(path, name.to_bytes()))).map(|()| false),
        }
    }

    /// Counts files.
    fn files(&self, directory: BorrowedFd<'_>, names: &[u8]) -> Result<(), WalkError> {
        let mut sum = Totals::default();
        let mut rest = names;
        let count = names.iter().filter(|byte| **byte == 0).count();
        if count == 0 {
            return Ok(());
        }
        self.admit(count)?;
        while let Ok(name) = CStr::from_bytes_until_nul(rest) {
            rest = &rest[name.to_bytes_with_nul().len()..];
            match look(directory, name, AtFlags::empty()) {
                Ok(found) if device(&found) != self.device => {}
                Ok(found) if found.stx_nlink > 1 && !self.is_new_link(found.stx_ino) => {}
                Ok(found) => {
                    sum.bytes += found.stx_blocks * 512;
                    sum.inodes += 1;
                }
                Err(errno) => self.excuse(errno, || self.root.join(std::ffi::OsStr::from_bytes(name.to_bytes())))?,
            }
        }
        self.progress.add(sum);
        Ok(())
    }

    fn is_new_link(&self, inode: u64) -> bool {
        let mut links = self.links.lock().unwrap_or_else(PoisonError::into_inner);
        if links.len() >= LINKS {
            return !links.contains(&inode);
        }
        links.insert(inode)
    }

    /// Waits for the pace; an error when the walk is over.
    fn admit(&self, entries: usize) -> Result<(), WalkError> {
        let ended = |queue: &Queue| queue.done || self.progress.cancelled.load(Ordering::Relaxed);
        if self.progress.cancelled.load(Ordering::Relaxed) {
            return Err(WalkError::Cancelled);
        }
        let Some(pace) = &self.pace else { return Ok(()) };
        let due = pace.due(entries as u64);
        let mut queue = self.queue();
        while !ended(&queue) {
            let Some(left) = due.checked_duration_since(Instant::now()).filter(|left| !left.is_zero()) else {
                return Ok(());
            };
            // In slices, since nobody wakes this thread when the walk is cancelled.
            let slice = left.min(Duration::from_millis(100));
            queue = self.changed.wait_timeout(queue, slice).unwrap_or_else(PoisonError::into_inner).0;
        }
        Err(WalkError::Cancelled)
    }

    /// What vanishes during a walk, or turns into something else, is nobody's fault; everything else is.
    fn excuse(&self, errno: Errno, path: impl FnOnce() -> PathBuf) -> Result<(), WalkError> {
        match errno {
            Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::XDEV => Ok(()),
            Errno::ACCESS | Errno::PERM => {
                self.progress.add(Totals { unreadable: 1, ..Totals::default() });
                Ok(())
            }
            errno => Err(WalkError::System { path: path(), errno }),
        }
    }

    fn path(&self, below: &[u8]) -> PathBuf {
        self.root.join(std::ffi::OsStr::from_bytes(below))
    }
}

fn open_below(from: BorrowedFd<'_>, path: &[u8], flags: OFlags, resolve: ResolveFlags) -> Result<OwnedFd, Errno> {
    match rustix::fs::openat2(from, path, flags, Mode::empty(), resolve) {
        // Kernels before 5.6, and sandboxes that don't know the call: one component at a time.
        Err(Errno::NOSYS | Errno::PERM) => open_stepwise(from, path, flags),
        opened => opened,
    }
}

fn open_stepwise(from: BorrowedFd<'_>, path: &[u8], flags: OFlags) -> Result<OwnedFd, Errno> {
    let mut at: Option<OwnedFd> = None;
    for part in path.split(|byte| *byte == b'/') {
        let from = at.as_ref().map_or(from, AsFd::as_fd);
        at = Some(rustix::fs::openat(from, part, flags, Mode::empty())?);
    }
    at.ok_or(Errno::NOENT)
}

fn join(directory: &[u8], name: &[u8]) -> Vec<u8> {
    if directory.is_empty() { name.to_vec() } else { [directory, b"/", name].concat() }
}

fn look<Fd: AsFd>(at: Fd, name: &CStr, flags: AtFlags) -> Result<Statx, Errno> {
    // A listing of a network file system has just brought the attributes; asking the server once more for each would make
    // the walk many times longer.
    let flags = flags | AtFlags::SYMLINK_NOFOLLOW | AtFlags::NO_AUTOMOUNT | AtFlags::STATX_DONT_SYNC;
    let wanted = StatxFlags::TYPE | StatxFlags::INO | StatxFlags::NLINK | StatxFlags::BLOCKS;
    rustix::fs::statx(at, name, flags, wanted)
}

fn device(found: &Statx) -> (u32, u32) {
    (found.stx_dev_major, found.stx_dev_minor)
}

/// Holds a walk to a number of entries per second.
struct Pace {
    rate: u32,
    since: Instant,
    taken: AtomicU64,
}

impl Pace {
    /// When `entries` more may be looked at.
    fn due(&self, entries: u64) -> Instant {
        let before = self.taken.fetch_add(entries, Ordering::Relaxed);
        self.since + Duration::from_secs_f64(before as f64 / f64::from(self.rate))
    }
}

/// What a walker process is to do.
#[derive(Debug, Serialize, Deserialize)]
pub struct Order {
    /// The tree.
    pub root: PathBuf,
    /// How.
    pub options: Options,
}

/// What a walker process writes, one JSON object a line.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Report {
    /// Numbers so far; written only when they have changed.
    Counting(Totals),
    /// The end.
    Done(Totals),
    /// The end, too early.
    Failed(String),
}

/// The child's side: walks by the order on standard input and reports to standard output. Call it first thing in `main`.
pub fn main() -> ExitCode {
    let mut message = Vec::new();
    let order = io::stdin()
        .lock()
        .take(MESSAGE_MAX)
        .read_to_end(&mut message)
        .and_then(|_| serde_json::from_slice::<Order>(&message).map_err(io::Error::from));
    match order.and_then(obey) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{COMMAND}: {error}");
            ExitCode::FAILURE
        }
    }
}

fn obey(order: Order) -> io::Result<()> {
    // Whoever waits for the numbers has gone with the parent; everybody else has more urgent work.
    rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))?;
    if let Err(error) = rustix::process::nice(10) {
        eprintln!("{COMMAND}: {}", io::Error::from(error));
    }
    let progress = Arc::new(Progress::default());
    let (sender, result) = mpsc::channel();
    let shared = Arc::clone(&progress);
    std::thread::spawn(move || {
        // The receiver only goes when the process does.
        let _ = sender.send(walk(&order.root, &order.options, &shared));
    });
    let mut last = Totals::default();
    loop {
        match result.recv_timeout(REPORT_EVERY) {
            Ok(Ok(totals)) => return report(&Report::Done(totals)),
            Ok(Err(error)) => return report(&Report::Failed(error.to_string())),
            Err(RecvTimeoutError::Timeout) => {
                let now = progress.totals();
                if now != last {
                    last = now;
                    report(&Report::Counting(now))?;
                }
            }
            Err(RecvTimeoutError::Disconnected) => return report(&Report::Failed("the walk crashed".to_owned())),
        }
    }
}

fn report(report: &Report) -> io::Result<()> {
    let mut line = serde_json::to_vec(report)?;
    line.push(b'\n');
    let mut out = io::stdout().lock();
    out.write_all(&line)?;
    out.flush()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::{MetadataExt, symlink};

    /// The same numbers the plain way.
    fn reference(root: &Path) -> Totals {
        fn visit(path: &Path, device: u64, seen: &mut HashSet<u64>, sum: &mut Totals) {
            let Ok(found) = fs::symlink_metadata(path) else { return };
            if found.dev() != device || (!found.is_dir() && found.nlink() > 1 && !seen.insert(found.ino())) {
                return;
            }
            sum.bytes += found.blocks() * 512;
            sum.inodes += 1;
            if found.is_dir() {
                sum.directories += 1;
                for entry in fs::read_dir(path).expect("list") {
                    visit(&entry.expect("entry").path(), device, seen, sum);
                }
            }
        }
        let mut sum = Totals::default();
        visit(root, fs::metadata(root).expect("root").dev(), &mut HashSet::new(), &mut sum);
        sum
    }

    /// A tree with a bit of everything: wide, deep, hard links, links in circles, holes.
    fn tree() -> tempfile::TempDir {
        let dir = tempfile::tempdir().expect("temp dir");
        let root = dir.path();
        for outer in 0..12 {
            let outer = root.join(format!("directory-{outer}"));
            fs::create_dir(&outer).expect("mkdir");
            for inner in 0..7 {
                let inner = outer.join(format!("{inner}"));
                fs::create_dir(&inner).expect("mkdir");
                for file in 0..5_usize {
                    fs::write(inner.join(format!("file {file}")), vec![1; file * 3000]).expect("write");
                }
            }
            symlink(root, outer.join("circle")).expect("symlink");
            symlink("/", outer.join("outside")).expect("symlink");
        }
        let wide = root.join("wide");
        fs::create_dir(&wide).expect("mkdir");
        for file in 0..1500 {
            fs::write(wide.join(format!("{file:05}")), b"x").expect("write");
        }
        fs::write(root.join("first name"), vec![1; 100_000]).expect("write");
        fs::hard_link(root.join("first name"), root.join("second name")).expect("link");
        fs::hard_link(root.join("first name"), wide.join("third name")).expect("link");
        fs::File::create(root.join("hole")).expect("create").set_len(1 << 30).expect("truncate");
        dir
    }

    #[test]
    fn every_way_of_sharing_the_work_gives_the_same_numbers() {
        let dir = tree();
        let want = reference(dir.path());
        assert!(want.inodes > 1900 && want.directories == 98 && want.bytes < 1 << 29, "{want:?}");
        for threads in [1, 2, 7] {
            for limits in [
                Limits { queue: QUEUE, batch: BATCH },
                Limits { queue: 0, batch: 1 },
                Limits { queue: 1, batch: 10 },
                Limits { queue: 3, batch: 1 },
            ] {
                // No room at all: the first directory is given by hand, everything else goes in depth.
                let options = Options { threads, entries_per_second: None };
                let got = walk_within(dir.path(), &options, &Progress::default(), limits).expect("walk");
                assert_eq!(got, want, "threads {threads} queue {} batch {}", limits.queue, limits.batch);
            }
        }
    }

    #[test]
    fn paths_longer_than_a_system_call_takes_are_walked_to_the_end() {
        let dir = tempfile::tempdir().expect("temp dir");
        let name = "d".repeat(200);
        let mut at = rustix::fs::open(dir.path(), OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()).expect("open");
        for _ in 0..50 {
            rustix::fs::mkdirat(&at, name.as_str(), Mode::from_raw_mode(0o755)).expect("mkdir");
            at = rustix::fs::openat(&at, name.as_str(), OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
                .expect("open");
        }
        let flags = OFlags::CREATE | OFlags::WRONLY | OFlags::CLOEXEC;
        drop(rustix::fs::openat(&at, "leaf", flags, Mode::from_raw_mode(0o644)).expect("create"));
        for queue in [0, QUEUE] {
            let limits = Limits { queue, batch: BATCH };
            let got = walk_within(dir.path(), &Options::default(), &Progress::default(), limits).expect("walk");
            assert_eq!((got.inodes, got.directories, got.unreadable), (52, 51, 0));
        }
    }

    const FLAGS: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

    fn prepare<'a>(root: &'a Path, progress: &'a Progress) -> Walk<'a> {
        Walk::new(root, &Options::default(), progress, Limits { queue: QUEUE, batch: BATCH }).expect("walk")
    }

    /// A tenant exchanges a directory for a link between its listing and its turn, at the end of the path or in its middle.
    #[test]
    fn a_directory_that_was_exchanged_for_a_link_is_not_entered() {
        let dir = tempfile::tempdir().expect("temp dir");
        fs::create_dir_all(dir.path().join("tree")).expect("mkdir");
        fs::create_dir_all(dir.path().join("secret/below")).expect("mkdir");
        for (name, to) in [("out", "../secret"), ("within", "."), ("absolute", "/")] {
            symlink(to, dir.path().join("tree").join(name)).expect("symlink");
        }
        let (root, progress) = (dir.path().join("tree"), Progress::default());
        let walk = prepare(&root, &progress);
        for path in ["out", "out/below", "within", "within/within", "absolute", "absolute/tmp"] {
            let refused = walk.open(path.as_bytes()).expect_err(path);
            assert!(matches!(refused, Errno::LOOP | Errno::NOTDIR), "{path}: {refused}");
            let refused = open_stepwise(walk.top.as_fd(), path.as_bytes(), FLAGS).expect_err(path);
            assert!(matches!(refused, Errno::LOOP | Errno::NOTDIR), "{path}, step by step: {refused}");
            let frame = Frame { path: path.as_bytes().to_vec(), offset: 0 };
            assert!(walk.enter(&frame).expect("no failure of the walk").is_none(), "{path}");
        }
        // No listing gives such names; the kernel refuses them all the same.
        for path in ["../secret", "/tmp"] {
            assert_eq!(walk.open(path.as_bytes()).map(drop), Err(Errno::XDEV), "{path}");
        }
        assert_eq!(progress.totals().directories, 0);
    }

    #[test]
    fn a_directory_that_was_mounted_on_is_not_entered() {
        let progress = Progress::default();
        let walk = prepare(Path::new("/"), &progress);
        assert_eq!(walk.open(b"proc").map(drop), Err(Errno::XDEV));
        assert_eq!(walk.open(b"proc/self").map(drop), Err(Errno::XDEV));
        // Where the kernel has no such check, the device tells.
        let elsewhere = Walk { device: (u32::MAX, u32::MAX), ..prepare(Path::new("/proc"), &progress) };
        assert!(elsewhere.enter(&Frame { path: Vec::new(), offset: 0 }).expect("no failure").is_none());
        elsewhere.files(elsewhere.top.as_fd(), b"version\0").expect("no failure");
        assert_eq!(progress.totals(), Totals::default());
    }

    /// /dev is a file system of its own that others are mounted in.
    #[test]
    fn other_file_systems_below_are_left_out() {
        let inside = fs::metadata("/dev").expect("stat").dev();
        let mounted = fs::read_dir("/dev").expect("list").flatten().filter(|entry| entry.path().is_dir());
        if !mounted.into_iter().any(|entry| fs::metadata(entry.path()).is_ok_and(|found| found.dev() != inside)) {
            println!("SKIP nothing is mounted in /dev here");
            return;
        }
        let got = walk(Path::new("/dev"), &Options::default(), &Progress::default()).expect("walk");
        assert_eq!((got.inodes, got.directories), {
            let want = reference(Path::new("/dev"));
            (want.inodes, want.directories)
        });
    }

    #[test]
    fn a_root_that_is_no_directory_is_an_error_with_its_path() {
        let dir = tempfile::tempdir().expect("temp dir");
        let link = dir.path().join("link");
        symlink(dir.path(), &link).expect("symlink");
        for path in [link, dir.path().join("missing")] {
            let error = walk(&path, &Options::default(), &Progress::default()).expect_err("no walk");
            assert!(error.to_string().starts_with(&path.display().to_string()), "{error}");
        }
    }

    #[test]
    fn a_cancelled_walk_ends_early() {
        let dir = tree();
        let progress = Progress::default();
        progress.cancel();
        assert_eq!(walk(dir.path(), &Options::default(), &progress), Err(WalkError::Cancelled));
        assert_eq!(progress.totals().inodes, 0);
    }

    /// One entry in ten seconds: without the cancellation this would take hours.
    #[test]
    fn a_walk_keeps_its_pace_and_can_be_cancelled_while_it_waits() {
        let dir = tree();
        let progress = Progress::default();
        let slow = Options { threads: 2, entries_per_second: Some(1) };
        let result = std::thread::scope(|scope| {
            let walking = scope.spawn(|| walk(dir.path(), &slow, &progress));
            while progress.totals().inodes == 0 {
                std::thread::yield_now();
            }
            progress.cancel();
            walking.join().expect("no panic")
        });
        assert_eq!(result, Err(WalkError::Cancelled));
        assert!(progress.totals().inodes < 1900);
    }

    #[test]
    fn the_pace_grants_entries_in_proportion_to_time() {
        let pace = Pace { rate: 100, since: Instant::now(), taken: AtomicU64::new(0) };
        assert_eq!(pace.due(250), pace.since);
        assert_eq!(pace.due(50), pace.since + Duration::from_millis(2500));
        assert_eq!(pace.due(1), pace.since + Duration::from_secs(3));
    }
}
