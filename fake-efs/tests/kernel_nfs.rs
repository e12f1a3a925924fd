//! The Linux kernel's NFS client against the server: mounting, the basic file operations, and what happens when connections
//! break. Runs in the lab (`just mounts`).

#![allow(clippy::unwrap_used, reason = "a test that can not go on must panic")]

#[path = "wire/server.rs"]
mod server;

use std::collections::BTreeSet;
use std::ffi::CString;
use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, ErrorKind, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use fake_efs::admission::{CreationInfo, PosixUser, Rights};
use fake_efs::nfs::{Options, WireEffect, WireFault};
use fake_efs::store::MemoryStore;
use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};
use server::Running;
use tempfile::TempDir;

/// A kernel mount; forced off when dropped.
struct Mount(TempDir);

impl Mount {
    fn try_new(running: &Running, path: &str, options: &str) -> io::Result<Self> {
        let target = TempDir::new()?;
        let port = running.address.port();
        let data = format!("{options},addr=127.0.0.1,port={port},hard,timeo=600,retrans=2,noresvport");
        let data = CString::new(data)?;
        let source = format!("127.0.0.1:{path}");
        mount(source.as_str(), target.path(), "nfs4", MountFlags::empty(), Some(data.as_c_str()))?;
        Ok(Self(target))
    }

    fn new(running: &Running) -> Self {
        // nosharecache: mounts of one test must not share what they have read.
        Self::try_new(running, "/", "vers=4.1,rsize=1048576,wsize=1048576,nosharecache").unwrap()
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let _ = unmount(self.0.path(), UnmountFlags::FORCE | UnmountFlags::DETACH);
    }
}

/// Whether this machine can mount NFS; says why not, and fails if nothing may be skipped.
fn lab() -> bool {
    let has_nfs = fs::read_to_string("/proc/filesystems").is_ok_and(|text| text.contains("nfs4"));
    let ready = has_nfs && rustix::process::getuid().is_root();
    if !ready {
        assert!(std::env::var("REQUIRE_ALL").is_err(), "REQUIRE_ALL is set and the kernel can't mount NFS");
        println!("SKIP needs root and a kernel with an NFS client: run it in the lab (just mounts)");
    }
    ready
}

fn kind<T>(result: io::Result<T>) -> ErrorKind {
    result.err().map_or(ErrorKind::Other, |error| error.kind())
}

fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|index| (index * 31 % 251) as u8).collect()
}

#[test]
fn files_directories_and_links_work() {
    if !lab() {
        return;
    }
    let running = Running::memory();
    let mount = Mount::new(&running);
    let data = pattern(3 << 20);
    fs::write(mount.path("big"), &data).unwrap();
    assert!(fs::read(mount.path("big")).unwrap() == data);
    fs::create_dir_all(mount.path("a/b/c")).unwrap();
    fs::write(mount.path("a/b/c/f"), "x").unwrap();
    fs::rename(mount.path("a/b"), mount.path("moved")).unwrap();
    assert_eq!(fs::read_to_string(mount.path("moved/c/f")).unwrap(), "x");
    fs::hard_link(mount.path("moved/c/f"), mount.path("hard")).unwrap();
    assert_eq!(fs::metadata(mount.path("hard")).unwrap().nlink(), 2);
    symlink("moved/c", mount.path("soft")).unwrap();
    assert_eq!(fs::read_to_string(mount.path("soft/f")).unwrap(), "x");
    assert_eq!(fs::read_link(mount.path("soft")).unwrap(), Path::new("moved/c"));
    assert_eq!(kind(fs::remove_dir(mount.path("moved"))), ErrorKind::DirectoryNotEmpty);
    fs::remove_dir_all(mount.path("moved")).unwrap();
    let mut names: Vec<_> =
        fs::read_dir(mount.0.path()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    assert_eq!(names, ["a", "big", "hard", "soft"]);
    chown(mount.path("hard"), Some(1001), Some(1002)).unwrap();
    fs::set_permissions(mount.path("hard"), Permissions::from_mode(0o4640)).unwrap();
    let metadata = fs::metadata(mount.path("hard")).unwrap();
    assert_eq!((metadata.uid(), metadata.gid(), metadata.mode() & 0o7777), (1001, 1002, 0o4640));
    let statistics = rustix::fs::statvfs(mount.0.path()).unwrap();
    assert_eq!(statistics.f_blocks * statistics.f_frsize, 9_223_372_036_853_727_232);
    assert_eq!((statistics.f_files, statistics.f_namemax), (0, 255));
}

#[test]
fn a_large_directory_is_listed_completely() {
    if !lab() {
        return;
    }
    let running = Running::memory();
    let mount = Mount::new(&running);
    for number in 0..2000 {
        File::create(mount.path(&format!("a-file-with-a-longer-name-{number:05}"))).unwrap();
    }
    let other = Mount::new(&running);
    let mut names: Vec<_> =
        fs::read_dir(other.0.path()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    let expected: Vec<_> = (0..2000).map(|number| format!("a-file-with-a-longer-name-{number:05}")).collect();
    assert_eq!(names, expected);
}

#[test]
fn vers_4_2_is_declined_and_4_0_is_served() {
    if !lab() {
        return;
    }
    let running = Running::memory();
    assert!(Mount::try_new(&running, "/", "vers=4.2").is_err());
    let mount = Mount::try_new(&running, "/", "vers=4.0,nosharecache").unwrap();
    let data = pattern(300_000);
    fs::write(mount.path("f"), &data).unwrap();
    let mut file = OpenOptions::new().read(true).write(true).open(mount.path("f")).unwrap();
    rustix::fs::fcntl_lock(&file, rustix::fs::FlockOperation::NonBlockingLockExclusive).unwrap();
    file.seek(SeekFrom::Start(7)).unwrap();
    file.write_all(b"seven").unwrap();
    rustix::fs::fcntl_lock(&file, rustix::fs::FlockOperation::Unlock).unwrap();
    drop(file);
    fs::rename(mount.path("f"), mount.path("g")).unwrap();
    let read = fs::read(mount.path("g")).unwrap();
    assert_eq!((&read[7..12], read.len()), (&b"seven"[..], data.len()));
    fs::remove_file(mount.path("g")).unwrap();
}

#[test]
fn locks_exclude_between_two_mounts() {
    use rustix::fs::{FlockOperation, fcntl_lock};
    if !lab() {
        return;
    }
    let running = Running::memory();
    let (a, b) = (Mount::new(&running), Mount::new(&running));
    fs::write(a.path("f"), "data").unwrap();
    let open = |mount: &Mount| OpenOptions::new().read(true).write(true).open(mount.path("f")).unwrap();
    let (first, second) = (open(&a), open(&b));
    // Locks of one process never exclude each other, so the second locker is another process.
    fcntl_lock(&first, FlockOperation::NonBlockingLockExclusive).unwrap();
    let script = "import fcntl,sys; f=open(sys.argv[1],'r+'); fcntl.lockf(f, fcntl.LOCK_EX|fcntl.LOCK_NB)";
    let locker = |path: PathBuf| {
        std::process::Command::new("python3")
            .args(["-c", script])
            .arg(path)
            .stderr(std::process::Stdio::null())
            .status()
    };
    let Ok(refused) = locker(b.path("f")) else {
        println!("SKIP no python3 to lock from another process");
        return;
    };
    assert!(!refused.success());
    fcntl_lock(&first, FlockOperation::Unlock).unwrap();
    assert!(locker(b.path("f")).unwrap().success());
    drop(second);
}

#[test]
fn an_access_point_s_user_and_root_are_enforced() {
    if !lab() {
        return;
    }
    let running = Running::memory();
    running.policy(|policy| {
        policy.access_point_id = Some("fsap-1".into());
        policy.root_path = "/volumes/one".into();
        policy.creation_info = Some(CreationInfo { owner_uid: 1001, owner_gid: 1002, permissions: 0o750 });
        policy.posix_user = Some(PosixUser { uid: 1001, gid: 1002, secondary_gids: vec![] });
    });
    let mount = Mount::new(&running);
    let root = fs::metadata(mount.0.path()).unwrap();
    assert_eq!((root.uid(), root.gid(), root.mode() & 0o7777), (1001, 1002, 0o750));
    fs::write(mount.path("f"), "by root").unwrap();
    let file = fs::metadata(mount.path("f")).unwrap();
    assert_eq!((file.uid(), file.gid()), (1001, 1002));
    assert_eq!(kind(chown(mount.path("f"), Some(0), None)), ErrorKind::PermissionDenied);
    let store = running.store();
    let parent = store.lookup(store.root(), b"volumes").unwrap();
    let parent = store.attributes(parent).unwrap();
    assert_eq!((parent.uid, parent.gid, parent.mode), (0, 0, 0o755));
}

#[test]
fn a_refused_caller_is_told_at_once() {
    if !lab() {
        return;
    }
    let running = Running::memory();
    running.policy(|policy| policy.refuse = true);
    let refused = Mount::try_new(&running, "/", "vers=4.1");
    assert_eq!(kind(refused.map(|_| ())), ErrorKind::PermissionDenied);
    running.policy(|policy| {
        policy.refuse = false;
        policy.root_path = "/missing".into();
    });
    let missing = Mount::try_new(&running, "/", "vers=4.1");
    assert_eq!(kind(missing.map(|_| ())), ErrorKind::PermissionDenied);
    running.policy(|policy| {
        policy.root_path = "/".into();
        policy.rights = Rights { write: false, root: false };
    });
    let mount = Mount::new(&running);
    assert_eq!(kind(fs::write(mount.path("f"), "x")), ErrorKind::ReadOnlyFilesystem);
}

#[test]
fn nothing_is_lost_while_connections_break() {
    if !lab() {
        return;
    }
    let running = Running::memory();
    let mount = Mount::new(&running);
    let data = pattern(8 << 20);
    running.server.faults().add(WireFault { skip: 20, ..WireFault::new(WireEffect::Reset).times(3) });
    running.server.faults().add(WireFault { skip: 40, ..WireFault::new(WireEffect::DropReply).times(3) });
    thread::scope(|scope| {
        for number in 0..4 {
            let (mount, data) = (&mount, &data);
            scope.spawn(move || {
                let mut file = File::create(mount.path(&format!("f{number}"))).unwrap();
                for chunk in data.chunks(100_000) {
                    file.write_all(chunk).unwrap();
                }
                file.sync_all().unwrap();
                for step in 0..20 {
                    let (from, to) = (format!("d{number}-{step}"), format!("d{number}-{}", step + 1));
                    fs::create_dir(mount.path(&from)).unwrap();
                    fs::rename(mount.path(&from), mount.path(&to)).unwrap();
                    fs::remove_dir(mount.path(&to)).unwrap();
                }
            });
        }
    });
    assert!(running.server.faults().list().is_empty(), "the faults have not struck");
    let other = Mount::new(&running);
    for number in 0..4 {
        assert!(fs::read(other.path(&format!("f{number}"))).unwrap() == data);
    }
}

/// A connection that lands on another partition finds its session unknown there: Linux makes itself another one, and has its
/// files open in it.
#[test]
fn nothing_is_lost_while_connections_land_on_other_partitions() {
    if !lab() {
        return;
    }
    let options = Options { partitions: 4, random_seed: 1, ..Options::default() };
    let running = Running::with(Arc::new(MemoryStore::default()), options);
    let mount = Mount::new(&running);
    let data = pattern(4 << 20);
    let mut partitions = BTreeSet::new();
    let mut file = File::create(mount.path("f")).unwrap();
    // More often than a client may have sessions.
    let chunks: Vec<_> = data.chunks(data.len() / 24 + 1).collect();
    for chunk in &chunks {
        file.write_all(chunk).unwrap();
        file.sync_all().unwrap();
        partitions.extend(running.server.connections().list().iter().filter_map(|view| view.partition));
        running.server.connections().close(|_| true);
    }
    drop(file);
    assert!(chunks.len() > 20 && partitions.len() > 2, "it landed on {partitions:?} only");
    assert!(fs::read(Mount::new(&running).path("f")).unwrap() == data);
    let start = Instant::now();
    unmount(mount.0.path(), UnmountFlags::empty()).unwrap();
    assert!(start.elapsed() < Duration::from_secs(5), "the client could not be destroyed: {:?}", start.elapsed());
}

/// Sessions keep the answers of 4.1; in 4.0 each owner's numbers and the duplicate request cache do.
#[test]
fn no_lost_reply_is_seen_by_an_application() {
    if !lab() {
        return;
    }
    for version in ["vers=4.0", "vers=4.1"] {
        let running = Running::memory();
        let mount = Mount::try_new(&running, "/", &format!("{version},nosharecache")).unwrap();
        for skip in 0..40 {
            let path = |name: &str| mount.path(&format!("{name}{skip}"));
            running.server.faults().add(WireFault { skip, ..WireFault::new(WireEffect::DropReply).times(1) });
            let step = || -> io::Result<()> {
                fs::create_dir(path("d"))?;
                fs::rename(path("d"), path("moved"))?;
                fs::write(path("moved").join("f"), "x")?;
                fs::hard_link(path("moved").join("f"), path("hard"))?;
                fs::set_permissions(path("hard"), Permissions::from_mode(0o600))?;
                let file = OpenOptions::new().read(true).write(true).create_new(true).open(path("new"))?;
                rustix::fs::fcntl_lock(&file, rustix::fs::FlockOperation::NonBlockingLockExclusive)?;
                file.write_all_at(b"12345", 0)?;
                file.set_len(3)?;
                rustix::fs::fcntl_lock(&file, rustix::fs::FlockOperation::Unlock)?;
                drop(file);
                symlink(path("new"), path("soft"))?;
                assert_eq!(fs::read_to_string(path("soft"))?, "123");
                fs::remove_file(path("hard"))?;
                fs::remove_dir_all(path("moved"))
            };
            let done = step();
            assert!(done.is_ok(), "{version}, the reply behind {skip} others was lost: {done:?}");
            running.server.faults().clear();
        }
    }
}

#[test]
fn a_client_claims_its_open_files_and_locks_back_after_a_restart() {
    if !lab() {
        return;
    }
    let running = Running::with(std::sync::Arc::new(fake_efs::store::MemoryStore::default()), server::short_lease(10));
    let mount = Mount::new(&running);
    let file = OpenOptions::new().read(true).write(true).create(true).truncate(true).open(mount.path("f")).unwrap();
    rustix::fs::fcntl_lock(&file, rustix::fs::FlockOperation::NonBlockingLockExclusive).unwrap();
    file.write_all_at(b"before", 0).unwrap();
    file.sync_all().unwrap();
    running.server.restart(true);
    file.write_all_at(b" after", 6).unwrap();
    file.sync_all().unwrap();
    let mut text = String::new();
    File::open(mount.path("f")).unwrap().read_to_string(&mut text).unwrap();
    assert_eq!(text, "before after");
    fs::write(mount.path("g"), "new").unwrap();
}

#[test]
fn a_revoked_connection_ends_and_is_not_let_in_again() {
    if !lab() {
        return;
    }
    let running = Running::memory();
    let mount = Mount::try_new(&running, "/", "vers=4.1,soft,timeo=10,retrans=1,nosharecache").unwrap();
    fs::write(mount.path("f"), "x").unwrap();
    running.policy(|policy| policy.refuse = true);
    running.policy(|policy| policy.revoked.cancel());
    // A request that arrives before the connection has ended is still served.
    let deadline = Instant::now() + Duration::from_secs(30);
    while running.server.connections().list().iter().any(|connection| connection.file_system_id.is_some()) {
        assert!(Instant::now() < deadline, "the connection goes on");
        thread::sleep(Duration::from_millis(10));
    }
    assert!(fs::write(mount.path("g"), "x").is_err());
}

#[test]
fn a_write_goes_on_after_a_server_with_a_directory_was_replaced() {
    use std::sync::Arc;

    use fake_efs::store::{DirectoryStore, Limits};

    if !lab() {
        return;
    }
    let data = TempDir::new().unwrap();
    let open = || Arc::new(DirectoryStore::open(data.path(), Limits::default()).unwrap());
    // Declared before all that uses the mount, so that it is still there when that is closed.
    let mut running = Some(Running::with(open(), server::short_lease(10)));
    let mount = Mount::new(running.as_ref().unwrap());
    let address = running.as_ref().unwrap().address;
    let file = OpenOptions::new().read(true).write(true).create(true).truncate(true).open(mount.path("f")).unwrap();
    rustix::fs::fcntl_lock(&file, rustix::fs::FlockOperation::NonBlockingLockExclusive).unwrap();
    let expected = pattern(6 << 20);
    let mut chunks = expected.chunks(64 << 10).enumerate();
    for (index, chunk) in chunks.by_ref().take(40) {
        file.write_all_at(chunk, (index * (64 << 10)) as u64).unwrap();
    }
    // Nothing is closed or written down for the occasion: the old server just ends, as if it was killed.
    running.take();
    let running = running.insert(Running::at(address, open(), server::short_lease(10)));
    for (index, chunk) in chunks {
        file.write_all_at(chunk, (index * (64 << 10)) as u64).unwrap();
    }
    file.sync_all().unwrap();
    let other = Mount::new(running);
    assert!(fs::read(other.path("f")).unwrap() == expected);
    assert_eq!(fs::metadata(other.path("f")).unwrap().ino(), file.metadata().unwrap().ino());
}

#[test]
fn after_a_server_in_memory_was_replaced_errors_are_clean() {
    if !lab() {
        return;
    }
    let mut running = Some(Running::memory());
    let mount = Mount::new(running.as_ref().unwrap());
    let address = running.as_ref().unwrap().address;
    let file = File::create(mount.path("f")).unwrap();
    file.write_all_at(b"gone", 0).unwrap();
    file.sync_all().unwrap();
    running.take();
    let store = std::sync::Arc::new(fake_efs::store::MemoryStore::default());
    running.replace(Running::at(address, store, fake_efs::nfs::Options::default()));
    let written = file.write_all_at(b"x", 0).and_then(|()| file.sync_all());
    assert!(written.is_err(), "a write to a file that is gone succeeded");
    assert_eq!(kind(fs::metadata(mount.path("f"))), ErrorKind::StaleNetworkFileHandle);
}
