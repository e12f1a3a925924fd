//! Directories on a file system, made and removed by a user-space NFSv4.1 client over the driver's own TLS tunnel: the
//! controller mounts nothing, needs no privilege, and a dead server costs it one call.
//!
//! A directory is removed in two steps. It is first renamed into [`TRASH`], which is atomic and quick, and emptied there in the
//! background. What a restart interrupts goes on when the file system is next visited. Symbolic links are removed, never
//! followed: every name is looked up in the handle of its parent.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use nfs_rs::{Mount, NfsError};
use serde::{Deserialize, Serialize};
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::ControllerError;
use super::paths::sha256_hex;
use crate::efs::{LifeCycle, MountTarget};
use crate::locks::KeyedLocks;
use crate::tunnel::{
    Admission, DialDeps, IamSource, Locate, LocateError, OpenError, Route, TunnelLease, TunnelSpec, Tunnels,
};
use crate::volume::FileSystemId;

/// Where removed directories wait for being emptied. No access point can have its root here: EFS allows no leading dot.
pub const TRASH: &str = "/.efs-csi-trash";

/// Where the directories of `efs-dir` volumes are noted.
pub const RECORDS: &str = "/.efs-csi-volumes";

/// Limit of making a connection with its session.
const CONNECT: Duration = Duration::from_secs(12);

/// Limit of one operation on the file system.
const OPERATION: Duration = Duration::from_secs(10);

/// Directories that are emptied at once.
const PURGES: usize = 4;

/// The beginning of the names of notes that are found by a directory's path.
const BY_PATH: &str = "path-";

/// Ends the name of a note that is being written.
const FRESH: &str = ".new";

/// Notes that are read at once.
const READERS: usize = 8;

/// Notes whose contents are kept, of all file systems together; beyond, they are read again for every listing.
const MOST_NOTES_KEPT: usize = 20_000;

/// Names that are tried for one directory in the trash; more than one is needed only when EFS made the directory anew.
const TRASH_NAMES: usize = 16;

/// Local ports of the controller's tunnels, above those of the node's.
const PORTS: std::ops::RangeInclusive<u16> = 21_300..=21_399;

/// A directory's owner and mode.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DirectoryRecord {
    /// The volume's name.
    pub name: String,
    /// The directory, absolute.
    pub path: String,
    /// Owning user.
    pub uid: u32,
    /// Owning group.
    pub gid: u32,
    /// Mode, in octal digits.
    pub permissions: String,
    /// Bytes that the volume was made for.
    pub capacity: i64,
}

/// Which version of a file something was read from: its number and the time of its last change.
type Version = (u64, u32, u32);

/// The notes of a file system by their names, each with the version that it was read from.
type Notes = BTreeMap<String, (Option<Version>, DirectoryRecord)>;

/// Makes and removes directories.
pub struct RootDirectories {
    /// Notes as they were last read, so that a listing reads only what has changed since.
    notes: Mutex<HashMap<FileSystemId, Notes>>,
    tunnels: Tunnels,
    addresses: Arc<Addresses>,
    purges: Arc<Semaphore>,
    /// Purges that run or wait, by file system: one of each kind is enough.
    purging: Mutex<HashMap<String, u8>>,
    turn: KeyedLocks<String>,
}

impl std::fmt::Debug for RootDirectories {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RootDirectories").finish_non_exhaustive()
    }
}

/// The mount targets that the controller has learnt from the EFS API.
#[derive(Debug, Default)]
pub struct Addresses(Mutex<HashMap<String, Vec<SocketAddr>>>);

#[async_trait::async_trait]
impl Locate for Addresses {
    async fn locate(&self, spec: &TunnelSpec) -> Result<Vec<SocketAddr>, LocateError> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner).get(&spec.file_system).cloned();
        known.ok_or_else(|| LocateError { message: "no mount target is known".to_owned(), missing: true })
    }

    fn forget(&self, _: &TunnelSpec) {}
}

/// A file system and how to reach it.
#[derive(Debug, Clone)]
pub struct Place {
    /// The file system.
    pub file_system: FileSystemId,
    /// Its region.
    pub region: String,
    /// TCP port of its mount targets.
    pub port: u16,
}

/// A session with a file system. The tunnel lives as long.
struct Session {
    mount: Box<dyn Mount>,
    place: String,
    _lease: TunnelLease,
}

impl RootDirectories {
    /// Directories through tunnels made with these; `deps.locate` must be `addresses`.
    pub fn new(deps: DialDeps, addresses: Arc<Addresses>, stop: CancellationToken) -> Self {
        let own_uid = rustix::process::getuid().as_raw();
        Self {
            notes: Mutex::default(),
            tunnels: Tunnels::new(deps, PORTS, Admission::OnlyUid(own_uid), stop),
            addresses,
            purges: Arc::new(Semaphore::new(PURGES)),
            purging: Mutex::default(),
            turn: KeyedLocks::default(),
        }
    }

    async fn open(&self, place: &Place, targets: &[MountTarget]) -> Result<Session, ControllerError> {
        let failed = |reason: String, transient| ControllerError::Directory {
            doing: format!("cannot reach {} over NFS", place.file_system),
            reason,
            transient,
        };
        let addresses: Vec<SocketAddr> = targets
            .iter()
            .filter(|target| target.state == LifeCycle::Available)
            .filter_map(|target| target.address)
            .map(|address| SocketAddr::new(address, place.port))
            .collect();
        if addresses.is_empty() {
            let id = &place.file_system;
            return Err(ControllerError::MountTarget(format!("file system {id} has no available mount target")));
        }
        let name = place.file_system.to_string();
        self.addresses.0.lock().unwrap_or_else(PoisonError::into_inner).insert(name.clone(), addresses);
        let spec = TunnelSpec {
            server_name: crate::efs::endpoints::file_system_name(&name, &place.region),
            file_system: name.clone(),
            access_point: None,
            region: place.region.clone(),
            iam: Some(IamSource::Default),
            route: Route::default(),
        };
        let lease =
            self.tunnels.open(&spec, &HashSet::new()).map_err(|error: OpenError| failed(error.to_string(), true))?;
        let connect = async {
            lease.check().await.map_err(|error| failed(error.to_string(), true))?;
            let port = lease.port();
            let url = format!("nfs://127.0.0.1/?version=4.1,4.0&nfsport={port}&noresvport=true&uid=0&gid=0");
            nfs_rs::parse_url_and_mount(&url).await.map_err(|error| failed(error.to_string(), true))
        };
        let mount = timeout(CONNECT, connect)
            .await
            .unwrap_or_else(|_| Err(failed(format!("no answer within {} s", CONNECT.as_secs()), true)))?;
        Ok(Session { mount, place: name, _lease: lease })
    }

    /// Makes the directory of a volume and notes it, or finds it made. The answer is what is noted.
    ///
    /// Once something may have been made, a failure is never told as final: the caller repeats the call instead of forgetting it.
    ///
    /// # Errors
    /// When the file system can't be reached or refuses. A directory that another volume has is a conflict.
    pub async fn create(
        &self,
        place: &Place,
        targets: &[MountTarget],
        wanted: &DirectoryRecord,
    ) -> Result<DirectoryRecord, ControllerError> {
        let session = self.open(place, targets).await?;
        let by_name = format!("{RECORDS}/name-{}", sha256_hex(&wanted.name));
        let by_path = record_of(&wanted.path);
        let mut begun = false;
        let result = async {
            if let Some(existing) = session.read_record(&by_name).await? {
                let noted = session.read_record(&record_of(&existing.path)).await?;
                let existing = noted.filter(|noted| noted.name == existing.name).unwrap_or(existing);
                // A deletion that was cut off may have left the note without the directory.
                if existing.path != wanted.path || session.exists(&existing.path).await? {
                    return Ok(existing);
                }
            }
            if let Some(existing) = session.read_record(&by_path).await?
                && existing.name != wanted.name
            {
                return Ok(existing);
            }
            begun = true;
            session.make_directory(RECORDS, 0o700).await?;
            // The note by path goes first: a directory without one is never removed.
            session.write_record(&by_path, wanted).await?;
            let mut parents = String::new();
            let mut parts: Vec<&str> = wanted.path.split('/').filter(|part| !part.is_empty()).collect();
            let last = parts.pop().unwrap_or_default();
            for part in parts {
                parents = format!("{parents}/{part}");
                session.make_directory(&parents, 0o755).await?;
            }
            let mode = u32::from_str_radix(&wanted.permissions, 8).unwrap_or(0o700);
            let path = format!("{parents}/{last}");
            session.make_directory(&path, mode).await?;
            session.own(&path, mode, wanted.uid, wanted.gid).await?;
            session.write_record(&by_name, wanted).await?;
            Ok(wanted.clone())
        }
        .await;
        session.close().await;
        match result {
            Err(ControllerError::Directory { doing, reason, .. }) if begun => {
                Err(ControllerError::Directory { doing, reason, transient: true })
            }
            other => other,
        }
    }

    /// Notes another capacity for a directory; gives the note, or nothing when there is none.
    ///
    /// # Errors
    /// When the file system can't be reached or refuses.
    pub async fn set_capacity(
        &self,
        place: &Place,
        targets: &[MountTarget],
        path: &str,
        capacity: i64,
    ) -> Result<Option<DirectoryRecord>, ControllerError> {
        let session = self.open(place, targets).await?;
        let result = async {
            let by_path = record_of(path);
            let Some(noted) = session.read_record(&by_path).await? else { return Ok(None) };
            let changed = DirectoryRecord { capacity, ..noted };
            session.write_record(&by_path, &changed).await?;
            Ok(Some(changed))
        }
        .await;
        session.close().await;
        result
    }

    /// The notes of all directory volumes of a file system by their names, in the order of these. Only those that changed
    /// since the last time are read.
    ///
    /// # Errors
    /// When the file system can't be reached or refuses.
    pub async fn records(
        &self,
        place: &Place,
        targets: &[MountTarget],
    ) -> Result<BTreeMap<String, DirectoryRecord>, ControllerError> {
        let kept = self.notes.lock().unwrap_or_else(PoisonError::into_inner).remove(&place.file_system);
        let session = self.open(place, targets).await?;
        let read = session.read_notes(kept.unwrap_or_default()).await;
        session.close().await;
        let notes = read?;
        let records = notes.iter().map(|(name, (_, record))| (name.clone(), record.clone())).collect();
        let mut all = self.notes.lock().unwrap_or_else(PoisonError::into_inner);
        if all.values().map(BTreeMap::len).sum::<usize>() + notes.len() <= MOST_NOTES_KEPT {
            all.insert(place.file_system.clone(), notes);
        }
        Ok(records)
    }

    /// The note of a directory that this driver made.
    ///
    /// # Errors
    /// When the file system can't be reached.
    pub async fn record(
        &self,
        place: &Place,
        targets: &[MountTarget],
        path: &str,
    ) -> Result<Option<DirectoryRecord>, ControllerError> {
        let session = self.open(place, targets).await?;
        let record = session.read_record(&record_of(path)).await;
        session.close().await;
        record
    }

    /// Moves a directory to the trash and forgets its notes; what is in it is removed in the background. A directory that is
    /// not there is as good as moved.
    ///
    /// # Errors
    /// When the file system can't be reached or refuses, or `path` is the root of the file system.
    pub async fn remove(
        self: &Arc<Self>,
        place: &Place,
        targets: &[MountTarget],
        path: &str,
        label: &str,
    ) -> Result<(), ControllerError> {
        if path.split('/').all(str::is_empty)
            || path.split('/').any(|part| part == ".." || part.starts_with(".efs-csi"))
        {
            return Err(ControllerError::Directory {
                doing: format!("refused to remove {path:?} of {}", place.file_system),
                reason: "it is not the directory of a volume".to_owned(),
                transient: false,
            });
        }
        let session = self.open(place, targets).await?;
        let moved: Result<(), ControllerError> = async {
            session.make_directory(TRASH, 0o700).await?;
            session.move_to_trash(path, label).await?;
            let by_path = record_of(path);
            if let Some(record) = session.read_record(&by_path).await? {
                session.remove_file(&format!("{RECORDS}/name-{}", sha256_hex(&record.name))).await?;
                session.remove_file(&by_path).await?;
            }
            Ok(())
        }
        .await;
        session.close().await;
        moved?;
        self.purge(place.clone(), targets.to_vec());
        Ok(())
    }

    /// Empties the trash of a file system in the background. One purge runs at a time; a second one waits, to find what comes
    /// in meanwhile; further ones are not needed.
    pub fn purge(self: &Arc<Self>, place: Place, targets: Vec<MountTarget>) {
        let name = place.file_system.to_string();
        let this = Arc::clone(self);
        {
            let mut purging = self.purging.lock().unwrap_or_else(PoisonError::into_inner);
            let count = purging.entry(name.clone()).or_default();
            if *count >= 2 {
                return;
            }
            *count += 1;
        }
        tokio::spawn(async move {
            let _turn = this.turn.acquire(name.clone(), Duration::MAX).await;
            let Ok(_permit) = this.purges.acquire().await else { return };
            let result = match this.open(&place, &targets).await {
                Ok(session) => {
                    let emptied = session.empty(TRASH).await;
                    session.close().await;
                    emptied
                }
                Err(error) => Err(error),
            };
            {
                let mut purging = this.purging.lock().unwrap_or_else(PoisonError::into_inner);
                match purging.get_mut(&name) {
                    Some(count) if *count > 1 => *count -= 1,
                    _ => drop(purging.remove(&name)),
                }
            }
            match result {
                Ok(0) => {}
                Ok(removed) => tracing::info!(file_system = name, removed, "emptied the trash"),
                // The next removal on the file system tries again.
                Err(error) => tracing::warn!(file_system = name, %error, "the trash is not empty yet"),
            }
        });
    }
}

fn record_of(path: &str) -> String {
    format!("{RECORDS}/{BY_PATH}{}", sha256_hex(path))
}

impl Session {
    /// Runs one operation under its deadline.
    async fn run<T>(
        &self,
        what: &str,
        work: impl Future<Output = nfs_rs::Result<T>>,
    ) -> Result<Option<T>, ControllerError> {
        let failed = |reason: String, transient| ControllerError::Directory {
            doing: format!("cannot {what} on {}", self.place),
            reason,
            transient,
        };
        match timeout(OPERATION, work).await {
            Ok(Ok(value)) => Ok(Some(value)),
            Ok(Err(error)) if error.is_not_found() => Ok(None),
            Ok(Err(error)) => {
                let transient = !matches!(error, NfsError::Nfs4(_));
                Err(failed(error.to_string(), transient))
            }
            Err(_) => Err(failed(format!("no answer within {} s", OPERATION.as_secs()), true)),
        }
    }

    /// Like [`Self::run`], but what is not there is an error too.
    async fn must<T>(&self, what: &str, work: impl Future<Output = nfs_rs::Result<T>>) -> Result<T, ControllerError> {
        self.run(what, work).await?.ok_or_else(|| ControllerError::Directory {
            doing: format!("cannot {what} on {}", self.place),
            reason: "its directory does not exist".to_owned(),
            transient: true,
        })
    }

    async fn make_directory(&self, path: &str, mode: u32) -> Result<(), ControllerError> {
        let made = async {
            match self.mount.mkdir_path(path, mode).await {
                Err(error) if error.is_exist() => Ok(()),
                other => other.map(drop),
            }
        };
        self.must(&format!("make directory {path:?}"), made).await
    }

    async fn own(&self, path: &str, mode: u32, uid: u32, gid: u32) -> Result<(), ControllerError> {
        let set = self.mount.setattr_path(path, false, Some(mode), Some(uid), Some(gid), None, None, None);
        self.must(&format!("set owner and mode of {path:?}"), set).await.map(drop)
    }

    async fn read_record(&self, path: &str) -> Result<Option<DirectoryRecord>, ControllerError> {
        let read = async {
            let file = self.mount.open_path(path, nfs_rs::OPEN_READ).await?;
            let data = self.mount.read(file.fh.clone(), 0, 64 * 1024).await;
            self.mount.close(file.fh).await?;
            data
        };
        let Some(data) = self.run(&format!("read {path:?}"), read).await? else { return Ok(None) };
        // A torn note is none: the call that wrote it never finished and will be repeated.
        Ok(serde_json::from_slice(&data).ok())
    }

    /// Reads the notes that `kept` doesn't have in their current version.
    async fn read_notes(&self, kept: Notes) -> Result<Notes, ControllerError> {
        let listing = async {
            let mut entries = self.mount.readdirplus_path(RECORDS).await?;
            let mut found = Vec::new();
            while let Some(entry) = entries.next().await {
                let entry = entry?;
                if entry.file_name.starts_with(BY_PATH) && !entry.file_name.ends_with(FRESH) {
                    let version = entry.attr.map(|attr| (attr.fileid, attr.ctime.seconds, attr.ctime.nseconds));
                    found.push((entry.file_name, version));
                }
            }
            Ok(found)
        };
        let found = self.run("list the notes of directory volumes", listing).await?.unwrap_or_default();
        let kept = &kept;
        let reads = found.into_iter().map(|(name, version)| async move {
            let record = match kept.get(&name) {
                Some((known, record)) if version.is_some() && *known == version => Some(record.clone()),
                _ => self.read_record(&format!("{RECORDS}/{name}")).await?,
            };
            Ok(record.map(|record| (name, (version, record))))
        });
        let read: Vec<Result<Option<_>, ControllerError>> =
            futures::stream::iter(reads).buffer_unordered(READERS).collect().await;
        // A note that went away in between is no failure.
        read.into_iter().filter_map(Result::transpose).collect()
    }

    async fn exists(&self, path: &str) -> Result<bool, ControllerError> {
        Ok(self.run(&format!("look up {path:?}"), self.mount.lookup_path(path)).await?.is_some())
    }

    async fn write_record(&self, path: &str, record: &DirectoryRecord) -> Result<(), ControllerError> {
        let text = serde_json::to_vec(record).expect("a record of texts and numbers is always JSON");
        let fresh = format!("{path}{FRESH}");
        let write = async {
            let file = self.mount.create_path(&fresh, Some(0o600)).await?;
            let written = nfs_rs::write_all(&*self.mount, file.fh.clone(), 0, Bytes::from(text)).await;
            self.mount.close(file.fh).await?;
            written.map(drop)?;
            self.mount.rename_path(&fresh, path).await
        };
        self.must(&format!("write {path:?}"), write).await
    }

    async fn remove_file(&self, path: &str) -> Result<(), ControllerError> {
        self.run(&format!("remove {path:?}"), self.mount.remove_path(path)).await.map(drop)
    }

    async fn move_to_trash(&self, path: &str, label: &str) -> Result<(), ControllerError> {
        for n in 0..TRASH_NAMES {
            let to = format!("{TRASH}/{label}-{n}");
            // A name that is taken belongs to an earlier removal of the same directory, which EFS has made anew since.
            if self.run(&format!("look up {to:?}"), self.mount.lookup_path(&to)).await?.is_some() {
                continue;
            }
            return self.run(&format!("move {path:?} to the trash"), self.mount.rename_path(path, &to)).await.map(drop);
        }
        Err(ControllerError::Directory {
            doing: format!("cannot move {path:?} of {} to the trash", self.place),
            reason: format!("{TRASH_NAMES} earlier copies of it are still there"),
            transient: true,
        })
    }

    /// Removes everything in a directory, depth first, without recursion; gives the number of removed entries.
    async fn empty(&self, path: &str) -> Result<u64, ControllerError> {
        const DIRECTORY: u32 = 2;
        let Some(top) = self.run(&format!("look up {path:?}"), self.mount.lookup_path(path)).await? else {
            return Ok(0);
        };
        let mut removed = 0;
        // Handles of the directories from the top to the one being emptied, each with its own name.
        let mut stack: Vec<(Bytes, String)> = vec![(top.fh, String::new())];
        while let Some((directory, _)) = stack.last().cloned() {
            let mut deeper = None;
            let listing = async {
                let mut entries = self.mount.readdirplus(directory.clone()).await;
                // One page at a time, so that a huge directory takes no memory; the loop comes back for the rest.
                let mut page = Vec::new();
                while let Some(entry) = entries.next().await {
                    page.push(entry?);
                    if page.len() == 512 {
                        break;
                    }
                }
                Ok(page)
            };
            let page = self.run("list a directory in the trash", listing).await?.unwrap_or_default();
            let done = page.iter().all(|entry| entry.file_name == "." || entry.file_name == "..");
            for entry in page {
                if entry.file_name == "." || entry.file_name == ".." {
                    continue;
                }
                if entry.attr.as_ref().is_some_and(|attr| attr.type_ == DIRECTORY) {
                    let found = self.mount.lookup(directory.clone(), &entry.file_name);
                    if let Some(found) = self.run("look up a directory in the trash", found).await? {
                        deeper = Some((found.fh, entry.file_name));
                        break;
                    }
                } else {
                    self.run("remove a file in the trash", self.mount.remove(directory.clone(), &entry.file_name))
                        .await?;
                    removed += 1;
                }
            }
            if let Some(deeper) = deeper {
                stack.push(deeper);
            } else if done {
                let Some((_, name)) = stack.pop() else { break };
                if let Some((parent, _)) = stack.last() {
                    self.run("remove a directory in the trash", self.mount.rmdir(parent.clone(), &name)).await?;
                    removed += 1;
                }
            }
        }
        Ok(removed)
    }

    async fn close(self) {
        if !matches!(timeout(OPERATION, self.mount.umount()).await, Ok(Ok(()))) {
            tracing::debug!(file_system = self.place, "the NFS session was not closed cleanly; it expires by itself");
        }
    }
}
