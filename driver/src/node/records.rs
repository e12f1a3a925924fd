//! What the state directory remembers of each published target, so that a restarted driver can serve its mounts again.
//!
//! One file per target, written before the mount and removed after the unmount. A record is a claim, mountinfo is the
//! truth: a record without its mount is dropped at start. Records hold no secrets.

use std::collections::{BTreeMap, HashSet};
use std::fs;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use efs_common::durable;
use efs_tunnel::TunnelSpec;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::mount::MountOptions;

/// The version that this driver writes. Files of another version are left alone.
const VERSION: u32 = 1;
/// A record is never longer than this, in bytes.
const SIZE_MAX: u64 = 64 * 1024;
/// How long another process may still work on a mount that it writes a record for: the longest NodePublishVolume, and the time
/// that a stopped driver grants its calls.
pub(super) const UNFINISHED_FOR: Duration = Duration::from_secs(120);

/// What is published at one target.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Record {
    /// The record format.
    pub version: u32,
    /// The target path of the request, after its parent's symbolic links have been resolved.
    pub target: PathBuf,
    /// The volume's id as in the request.
    pub volume: String,
    /// The CSI access mode's number.
    pub access_mode: i32,
    /// What is mounted and how.
    pub mount: MountRequest,
    /// How the kernel reaches it.
    pub reached: Reached,
    /// Where the tunnel has reached the mount target. A restarted driver goes there at once, with no question to DNS or AWS.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mount_target: Option<SocketAddr>,
}

/// What a request asks to be mounted. Two requests are compatible when these are equal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MountRequest {
    /// File system, access point, identity and route.
    pub spec: TunnelSpec,
    /// True for encryption in transit.
    pub encrypted: bool,
    /// The directory inside the file system or access point; absolute and clean.
    pub path: String,
    /// Options for the kernel.
    pub options: MountOptions,
}

/// The address that the kernel mounted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reached {
    /// A tunnel's local port.
    Tunnel(u16),
    /// A mount target, directly.
    Direct(IpAddr, u16),
}

impl Record {
    /// A record of the current version.
    pub fn new(target: PathBuf, volume: String, access_mode: i32, mount: MountRequest, reached: Reached) -> Self {
        Self { version: VERSION, target, volume, access_mode, mount, reached, mount_target: None }
    }

    /// The tunnel's port, unless the mount goes directly to the mount target.
    pub fn port(&self) -> Option<u16> {
        match self.reached {
            Reached::Tunnel(port) => Some(port),
            Reached::Direct(..) => None,
        }
    }

    fn check(&self, name: &str) -> Result<(), BadRecord> {
        if self.version != VERSION {
            return Err(BadRecord::Version(self.version));
        }
        if !self.target.is_absolute() || file_name(&self.target) != name {
            return Err(BadRecord::Name);
        }
        // No tunnel has such a port; whoever wrote this wants the kernel to be led elsewhere.
        if matches!(self.reached, Reached::Tunnel(port) if port < 1024) {
            return Err(BadRecord::Port);
        }
        Ok(())
    }
}

/// Why a file of the directory is no record that can be used.
#[derive(Debug, thiserror::Error)]
enum BadRecord {
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("not a file of at most {SIZE_MAX} bytes")]
    File,
    /// Torn, or of a version that knows more.
    #[error("{0}")]
    Json(#[from] serde_json::Error),
    #[error("version {0} is not {VERSION}")]
    Version(u32),
    #[error("the file's name does not belong to its target")]
    Name,
    #[error("the port is privileged")]
    Port,
}

/// The directory of records.
#[derive(Clone, Debug)]
pub struct Records {
    directory: PathBuf,
    /// How many files of it the log has told of that are no records which can be used.
    told: Arc<AtomicUsize>,
}

impl Records {
    /// The records below `state_dir`; makes the directory.
    pub fn open(state_dir: &Path) -> io::Result<Self> {
        let directory = state_dir.join("mounts");
        // On a frozen disk even making what is there waits, and reading doesn't: the mounts of the process before are served.
        if !directory.is_dir() {
            fs::create_dir_all(&directory)?;
        }
        Ok(Self { directory, told: Arc::default() })
    }

    /// Removes what crashes have left of unfinished writes; a young one may be a write of the process before, during an upgrade.
    pub fn tidy(&self) -> io::Result<()> {
        for entry in fs::read_dir(&self.directory)? {
            let entry = entry?;
            if entry.file_name().as_encoded_bytes().starts_with(b".") && !is_younger(&entry.path(), UNFINISHED_FOR) {
                durable::remove(&entry.path())?;
            }
        }
        Ok(())
    }

    /// Writes a record again if somebody has removed it; whether that was so.
    pub fn restore(&self, record: &Record) -> io::Result<bool> {
        if self.directory.join(file_name(&record.target)).try_exists()? {
            return Ok(false);
        }
        fs::create_dir_all(&self.directory)?;
        self.store(record)?;
        Ok(true)
    }

    /// All readable records by target. Others are left in place: they may belong to a newer driver. They are told with one line, and again
    /// when there are more or fewer of them: the directory is read each minute.
    pub fn load(&self) -> io::Result<BTreeMap<PathBuf, Record>> {
        let mut records = BTreeMap::new();
        let (mut unusable, mut example) = (0_usize, None);
        for entry in fs::read_dir(&self.directory)? {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            // An unfinished write.
            if name.starts_with('.') {
                continue;
            }
            // What has another name is nobody's record, and needn't be read, however many there are.
            let record = if is_file_name(&name) { read(&entry.path(), &name) } else { Err(BadRecord::Name) };
            match record {
                Ok(record) => {
                    records.insert(record.target.clone(), record);
                }
                Err(error) => {
                    unusable += 1;
                    example.get_or_insert_with(|| (entry.path(), error));
                }
            }
        }
        if self.told.swap(unusable, Ordering::Relaxed) != unusable
            && let Some((file, reason)) = example
        {
            tracing::warn!(file = %file.display(), %reason, unusable, "skipping state files that can't be used; one of them is named here");
        }
        Ok(records)
    }

    /// The readable records that were written less than `age` ago.
    pub fn younger_than(&self, age: Duration) -> io::Result<Vec<Record>> {
        self.readable(|entry, _| is_younger(&entry.path(), age))
    }

    /// The readable records of all targets but these.
    pub fn except<'a>(&self, targets: impl Iterator<Item = &'a Path>) -> io::Result<Vec<Record>> {
        let known: HashSet<String> = targets.map(file_name).collect();
        self.readable(|_, name| !known.contains(name))
    }

    /// What can't be read is passed over in silence: another process may just be writing or removing it.
    fn readable(&self, wanted: impl Fn(&fs::DirEntry, &str) -> bool) -> io::Result<Vec<Record>> {
        let mut found = Vec::new();
        for entry in fs::read_dir(&self.directory)? {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            if is_file_name(&name)
                && wanted(&entry, &name)
                && let Ok(record) = read(&entry.path(), &name)
            {
                found.push(record);
            }
        }
        Ok(found)
    }

    /// The record of `target`, if there is one that can be read.
    pub fn get(&self, target: &Path) -> Option<Record> {
        let name = file_name(target);
        read(&self.directory.join(&name), &name).ok()
    }

    /// Whether the record of `target` was written less than `age` ago.
    pub fn is_younger(&self, target: &Path, age: Duration) -> bool {
        is_younger(&self.directory.join(file_name(target)), age)
    }

    /// Writes a record, durably, before it returns.
    pub fn store(&self, record: &Record) -> io::Result<()> {
        let path = self.directory.join(file_name(&record.target));
        durable::write(&path, 0o600, |file| Ok(serde_json::to_writer_pretty(file, record)?))
    }

    /// Removes the record of `target`, if there is one.
    pub fn remove(&self, target: &Path) -> io::Result<()> {
        durable::remove(&self.directory.join(file_name(target)))
    }
}

/// A time in the future, of a clock that was set back, counts as now.
fn is_younger(path: &Path, age: Duration) -> bool {
    let written = fs::symlink_metadata(path).and_then(|metadata| metadata.modified());
    written.is_ok_and(|written| written.elapsed().unwrap_or_default() < age)
}

fn read(path: &Path, name: &str) -> Result<Record, BadRecord> {
    let metadata = fs::symlink_metadata(path)?;
    if !metadata.is_file() || metadata.len() > SIZE_MAX {
        return Err(BadRecord::File);
    }
    let record: Record = serde_json::from_slice(&fs::read(path)?)?;
    record.check(name).map(|()| record)
}

/// Targets are too long and too odd for file names; their hash is neither.
fn file_name(target: &Path) -> String {
    use std::os::unix::ffi::OsStrExt;
    let hash = Sha256::digest(target.as_os_str().as_bytes());
    format!("{}.json", hex::encode(&hash[..16]))
}

/// Whether a record can be called so.
fn is_file_name(name: &str) -> bool {
    name.strip_suffix(".json").is_some_and(|hash| hash.len() == 32 && hash.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

#[cfg(test)]
mod tests {
    use efs_tunnel::Route;
    use tracing_subscriber::layer::SubscriberExt;

    use super::*;
    use crate::recent::RecentEvents;

    fn record(target: &str) -> Record {
        let spec = TunnelSpec {
            service: efs_tunnel::Service::Efs,
            file_system: "fs-12345678".to_owned(),
            access_point: Some("fsap-0123456789abcdef0".to_owned()),
            region: "us-east-1".to_owned(),
            server_name: "fs-12345678.efs.us-east-1.amazonaws.com".to_owned(),
            iam: None,
            route: Route { address: Some([127, 0, 0, 1].into()), ..Route::default() },
        };
        let mount = MountRequest { spec, encrypted: true, path: "/".to_owned(), options: MountOptions::default() };
        Record::new(target.into(), "fs-12345678".to_owned(), 5, mount, Reached::Tunnel(20049))
    }

    /// Makes a file look an hour old.
    fn age(path: &Path) {
        let file = fs::File::open(path).expect("open");
        file.set_modified(std::time::SystemTime::now() - Duration::from_secs(3600)).expect("set the time");
    }

    #[test]
    fn records_come_back_and_go_away() {
        let dir = tempfile::tempdir().expect("temp dir");
        let records = Records::open(dir.path()).expect("open");
        let (a, b) = (record("/pods/a/mount"), record("/pods/b/mount"));
        records.store(&a).expect("store");
        records.store(&b).expect("store");
        assert_eq!(records.load().expect("load").into_values().collect::<Vec<_>>(), [a.clone(), b.clone()]);
        assert_eq!(records.except([a.target.as_path()].into_iter()).expect("list"), std::slice::from_ref(&b));
        records.remove(&a.target).expect("remove");
        records.remove(&a.target).expect("removing twice is fine");
        assert!(records.restore(&a).expect("restore") && !records.restore(&a).expect("it is there"));
        fs::remove_dir_all(dir.path().join("mounts")).expect("remove");
        assert!(records.restore(&b).expect("restore"), "with its directory");
        assert_eq!(records.load().expect("load").len(), 1);
    }

    #[test]
    fn records_have_an_age() {
        let dir = tempfile::tempdir().expect("temp dir");
        let records = Records::open(dir.path()).expect("open");
        let (old, new) = (record("/pods/old/mount"), record("/pods/new/mount"));
        for record in [&old, &new] {
            records.store(record).expect("store");
        }
        let directory = dir.path().join("mounts");
        age(&directory.join(file_name(&old.target)));
        fs::write(directory.join("half.json"), "{").expect("write");
        let minute = Duration::from_secs(60);
        assert_eq!(records.younger_than(minute).expect("list"), std::slice::from_ref(&new));
        assert!(records.is_younger(&new.target, minute) && !records.is_younger(&old.target, minute));
        assert!(!records.is_younger(Path::new("/pods/none/mount"), minute));
        assert_eq!((records.get(&old.target), records.get(Path::new("/pods/none/mount"))), (Some(old), None));
    }

    /// What somebody has left in the directory is not read at all, and is told once however often the directory is.
    #[test]
    fn files_of_others_are_told_once_and_again_when_their_number_changes() {
        let dir = tempfile::tempdir().expect("temp dir");
        let records = Records::open(dir.path()).expect("open");
        records.store(&record("/pods/a/mount")).expect("store");
        let directory = dir.path().join("mounts");
        for name in ["core", "notes.json", "0123456789abcdef0123456789abcdef.json"] {
            fs::write(directory.join(name), "x").expect("write");
        }
        let log = RecentEvents::default();
        tracing::subscriber::with_default(tracing_subscriber::registry().with(log.clone()), || {
            for more in ["core", "core", "core.2"] {
                fs::write(directory.join(more), "x").expect("write");
                assert_eq!(records.load().expect("load").len(), 1);
            }
        });
        let lines: Vec<String> = log.list().into_iter().map(|event| event.text).collect();
        let [first, second] = &lines[..] else { panic!("{lines:?}") };
        assert!(first.contains("unusable=3") && second.contains("unusable=4"), "{lines:?}");
    }

    /// The clock was set back: what was written before that lies in the future.
    #[test]
    fn a_record_of_the_future_is_a_young_one() {
        let dir = tempfile::tempdir().expect("temp dir");
        let records = Records::open(dir.path()).expect("open");
        let record = record("/pods/a/mount");
        records.store(&record).expect("store");
        let directory = dir.path().join("mounts");
        fs::write(directory.join(".being-written"), "x").expect("write");
        for entry in fs::read_dir(&directory).expect("list") {
            let file = fs::File::open(entry.expect("entry").path()).expect("open");
            file.set_modified(std::time::SystemTime::now() + Duration::from_secs(3600)).expect("set the time");
        }
        assert!(records.is_younger(&record.target, UNFINISHED_FOR));
        assert_eq!(records.younger_than(UNFINISHED_FOR).expect("list"), [record]);
        assert_eq!(records.load().expect("load").len(), 1);
        assert!(directory.join(".being-written").exists(), "the process before may still rename it");
    }

    /// A crash in the middle of a write must leave the old record, and nobody else may read either.
    #[test]
    fn a_record_is_replaced_and_never_written_over() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().expect("temp dir");
        let records = Records::open(dir.path()).expect("open");
        let (path, old) =
            (dir.path().join("mounts").join(file_name(Path::new("/pods/a/mount"))), dir.path().join("old"));
        let record = record("/pods/a/mount");
        records.store(&record).expect("store");
        fs::hard_link(&path, &old).expect("link");
        let before = fs::read(&old).expect("read");
        records.store(&Record { volume: "fs-87654321".to_owned(), ..record }).expect("store");
        assert_eq!(fs::read(&old).expect("read"), before);
        assert_ne!(fs::read(&path).expect("read"), before);
        assert_eq!(fs::metadata(&path).expect("metadata").permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn torn_foreign_and_hostile_files_are_skipped() {
        let dir = tempfile::tempdir().expect("temp dir");
        let records = Records::open(dir.path()).expect("open");
        let good = record("/pods/a/mount");
        records.store(&good).expect("store");
        let text = serde_json::to_string(&record("/pods/b/mount")).expect("json");
        let directory = dir.path().join("mounts");
        let name_of_b = file_name(Path::new("/pods/b/mount"));
        let put = |name: &str, text: &str| fs::write(directory.join(name), text).expect("write");
        put("half.json", &text[..text.len() / 2]);
        put("another-name.json", &text);
        put(".half-written", "x");
        age(&directory.join(".half-written"));
        put(".being-written", "x");
        put(
            &file_name(Path::new("/pods/c/mount")),
            &text.replace("/pods/b/mount", "/pods/c/mount").replace("20049", "22"),
        );
        put(&name_of_b, &text.replace("\"version\":1", "\"version\":2"));
        fs::create_dir(directory.join("directory.json")).expect("mkdir");
        std::os::unix::fs::symlink("/etc/passwd", directory.join("link.json")).expect("symlink");
        assert_eq!(records.load().expect("load").into_values().collect::<Vec<_>>(), [good]);
        records.tidy().expect("tidy");
        assert!(!directory.join(".half-written").exists());
        assert!(directory.join(".being-written").exists(), "the process before may still rename it");
        assert!(directory.join(name_of_b).exists(), "a record of a newer version must stay");
    }
}
