//! The data plane as a process: tunnels outlive the driver, and the process that serves them.

mod support;

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use efs_tunnel::plane::client::{Answers, Lease};
use efs_tunnel::plane::host::Start;
use efs_tunnel::plane::{self, DataPlane, FailureKind, Host};
use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;
use tokio_util::sync::CancellationToken;

use support::{Authority, SERVER_NAME, Server, spec};

/// Ports that the system doesn't give out by itself, apart from those of other tests.
const PORTS: std::ops::RangeInclusive<u16> = 0..=0;

/// A driver, as far as the data plane knows it. Its end is that of its connection.
struct Driver {
    plane: DataPlane,
    stop: CancellationToken,
}

impl Driver {
    fn start(state_dir: &Path, program: PathBuf) -> Self {
        Self::start_for(state_dir, program, Vec::new(), (Ipv4Addr::LOCALHOST, 9).into())
    }

    /// One whose data plane is started with `arguments` and finds its mount targets at `address`.
    fn start_for(state_dir: &Path, program: PathBuf, arguments: Vec<OsString>, address: SocketAddr) -> Self {
        Self::start_at(state_dir, Host::Child(Arc::new(Start { program, arguments })), address)
    }

    fn start_at(state_dir: &Path, host: Host, address: SocketAddr) -> Self {
        let stop = CancellationToken::new();
        let answers =
            Answers { locate: Arc::new(support::At(vec![address])), credentials: Arc::new(support::NoCredentials) };
        Self { plane: DataPlane::new(host, plane::directory(state_dir), answers, stop.clone()), stop }
    }

    /// Ends without a word, as by SIGKILL.
    async fn die(self) {
        self.stop.cancel();
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// The processes whose command line has the folder of `state_dir` and `word`.
fn processes(state_dir: &Path, word: &str) -> Vec<Pid> {
    let folder = plane::directory(state_dir).display().to_string();
    let all = std::fs::read_dir("/proc").expect("proc").flatten();
    all.filter_map(|entry| {
        let line = std::fs::read(entry.path().join("cmdline")).ok()?;
        let words: Vec<&[u8]> = line.split(|byte| *byte == 0).collect();
        let has = |word: &str| words.contains(&word.as_bytes());
        let pid = entry.file_name().to_str()?.parse().ok().and_then(Pid::from_raw)?;
        (has(&folder) && has(word)).then_some(pid)
    })
    .collect()
}

fn takes_connections(port: u16) -> bool {
    TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok()
}

/// Whether this is root; where it must be and isn't, the test can't be left out.
fn is_root(why: &str) -> bool {
    let is_root = rustix::process::geteuid().is_root();
    if !is_root {
        println!("SKIP {why}");
        assert!(std::env::var_os("REQUIRE_ALL").is_none(), "REQUIRE_ALL is set");
    }
    is_root
}

async fn until(what: &str, mut done: impl AsyncFnMut() -> bool) {
    for _ in 0..2000 {
        if done().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("not within 20 s: {what}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_data_plane_that_is_killed_is_back_with_its_ports_and_nobody_is_told() {
    let dir = tempfile::tempdir().expect("temp dir");
    let driver = Driver::start(dir.path(), support::driver());
    let lease = driver.plane.open(&spec("fsap-0123456789abcdef0"), &PORTS, BTreeSet::new()).await.expect("open");
    let all = processes(dir.path(), plane::SERVE);
    let [before] = all[..] else { panic!("not one data plane: {all:?}") };
    kill_process(before, Signal::KILL).expect("kill");
    // Connections wait in the socket that the keeper holds.
    assert!(takes_connections(lease.port()), "the port is refused");
    until("there is another", async || processes(dir.path(), plane::SERVE).first().is_some_and(|now| *now != before))
        .await;
    let same = driver.plane.reopen(lease.spec(), lease.port(), None).await.expect("it has the port");
    assert!(lease.is_served() && takes_connections(lease.port()));
    assert_eq!(driver.plane.report().await.len(), 1);
    let port = lease.port();
    drop((lease, same));
    until("the port is closed", async || !takes_connections(port)).await;
}

/// A data plane that carries a connection, with the processes that belong to it.
struct Carrying {
    driver: Driver,
    lease: Lease,
    carried: tokio::net::TcpStream,
    plane: Pid,
    _server: Server,
    dir: tempfile::TempDir,
}

impl Carrying {
    async fn start() -> Self {
        let dir = tempfile::tempdir().expect("temp dir");
        let authority = Authority::new();
        let server = Server::start(authority.server(SERVER_NAME, 0, false), support::echo).await;
        let mut arguments = vec![OsString::from("--tunnels-trust-root"), "--tls-ca-file".into()];
        arguments.push(authority.write(dir.path()).into());
        let driver = Driver::start_for(dir.path(), support::driver(), arguments, server.address);
        let lease = driver.plane.open(&spec("fsap-0123456789abcdef0"), &PORTS, BTreeSet::new()).await.expect("open");
        until("the driver has a copy", async || driver.plane.keeper().ports() == [lease.port()]).await;
        let carried = tokio::net::TcpStream::connect((Ipv4Addr::LOCALHOST, lease.port())).await.expect("connect");
        let [plane] = processes(dir.path(), plane::SERVE)[..] else { panic!("not one data plane") };
        let mut this = Self { driver, lease, carried, plane, _server: server, dir };
        this.ask().await;
        this
    }

    fn keeper(&self) -> Option<Pid> {
        processes(self.dir.path(), plane::COMMAND).into_iter().find(|pid| *pid != self.plane)
    }

    async fn ask(&mut self) {
        self.carried.write_all(b"hello").await.expect("write");
        let mut answer = [0; 5];
        self.carried.read_exact(&mut answer).await.expect("read");
        assert_eq!(&answer, b"hello");
    }

    /// The keeper is replaced, which the driver says, and what is carried goes on. Then the data plane may die.
    async fn goes_on_without(mut self, before: Pid) {
        let keeper = self.driver.plane.keeper().clone();
        until("it is told", async || keeper.is_out_of_reach()).await;
        until("there is another keeper", async || self.keeper().is_some_and(|now| now != before)).await;
        until("it is told no more", async || !keeper.is_out_of_reach()).await;
        self.ask().await;
        assert_eq!(processes(self.dir.path(), plane::SERVE), [self.plane], "the data plane is the same");
        // What it didn't have it gets: from the data plane, with notes.
        let held = async || plane_notes(self.dir.path()) == 1;
        until("the new one has the socket with its note", held).await;
        kill_process(self.plane, Signal::KILL).expect("kill");
        let (port, gone) = (self.lease.port(), self.plane);
        assert!(takes_connections(port), "the port is refused");
        until("there is another data plane", async || {
            processes(self.dir.path(), plane::SERVE).first().is_some_and(|now| *now != gone)
        })
        .await;
        self.carried = tokio::net::TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.expect("connect");
        self.ask().await;
        assert_eq!(processes(self.dir.path(), plane::COMMAND).len(), 2, "one keeper, one data plane");
    }
}

/// Sockets that the keeper of this state directory holds with a note.
fn plane_notes(state_dir: &Path) -> usize {
    let keeper = efs_tunnel::keeper::Keeper::new(plane::directory(state_dir));
    keeper.inherit(|_| true).values().filter(|(_, note)| !note.is_empty()).count()
}

/// Outside Kubernetes nobody but the driver sees that a keeper has died alone.
#[tokio::test(flavor = "multi_thread")]
async fn a_keeper_that_dies_alone_is_replaced_and_takes_no_tunnel_along() {
    if !is_root("a data plane admits root alone") {
        return;
    }
    let carrying = Carrying::start().await;
    let keeper = carrying.keeper().expect("a keeper");
    kill_process(keeper, Signal::KILL).expect("kill");
    carrying.goes_on_without(keeper).await;
}

/// Whoever connects to it waits; the kernel doesn't, as the data plane goes on.
#[tokio::test(flavor = "multi_thread")]
async fn a_keeper_that_hangs_is_replaced_and_takes_no_tunnel_along() {
    if !is_root("a data plane admits root alone") {
        return;
    }
    let carrying = Carrying::start().await;
    let keeper = carrying.keeper().expect("a keeper");
    kill_process(keeper, Signal::STOP).expect("stop");
    carrying.goes_on_without(keeper).await;
    let state = std::fs::read_to_string(format!("/proc/{}/stat", keeper.as_raw_nonzero())).unwrap_or_default();
    assert!(state.is_empty() || state.contains(") Z "), "the one that hung is gone: {state}");
}

/// In a pod the kubelet replaces it. Until then the driver tells, and no longer.
#[tokio::test(flavor = "multi_thread")]
async fn a_sidecars_keeper_that_hangs_is_told_for_as_long_as_it_does() {
    let dir = tempfile::tempdir().expect("temp dir");
    let folder = plane::directory(dir.path());
    std::fs::create_dir_all(&folder).expect("mkdir");
    let mut sidecar = std::process::Command::new(support::driver());
    let mut sidecar = sidecar.args(["tunnel", "--stay"]).arg(&folder).spawn().expect("start");
    let driver = Driver::start_at(dir.path(), Host::Sidecar, (Ipv4Addr::LOCALHOST, 9).into());
    let keeper = driver.plane.keeper().clone();
    let _first = driver.plane.open(&spec("fsap-0123456789abcdef0"), &PORTS, BTreeSet::new()).await.expect("open");
    until("it is well", async || !keeper.is_out_of_reach()).await;
    let pid = Pid::from_raw(i32::try_from(sidecar.id()).expect("pid")).expect("pid");
    kill_process(pid, Signal::STOP).expect("stop");
    until("it is told, though nobody has asked for anything", async || keeper.is_out_of_reach()).await;
    // What its driver does every second, and what a call for a volume that comes and goes meanwhile leaves to it.
    let revive = async || {
        let keeper = keeper.clone();
        tokio::task::spawn_blocking(move || keeper.revive()).await.expect("revive");
    };
    let (socket, port) = (std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("bind"), 1);
    keeper.keep(port, Arc::new(socket.into()), Vec::new());
    keeper.forget(port);
    revive().await;
    kill_process(pid, Signal::CONT).expect("continue");
    until("it is told no more", async || {
        revive().await;
        !keeper.is_out_of_reach()
    })
    .await;
    sidecar.kill().expect("kill");
    sidecar.wait().expect("reap");
}

/// The worst: nobody starts the data plane again but a driver that sees that the keeper hangs.
#[tokio::test(flavor = "multi_thread")]
async fn a_data_plane_that_dies_while_its_keeper_hangs_is_replaced_with_it() {
    if !is_root("a data plane admits root alone") {
        return;
    }
    let mut carrying = Carrying::start().await;
    let keeper = carrying.keeper().expect("a keeper");
    kill_process(keeper, Signal::STOP).expect("stop");
    kill_process(carrying.plane, Signal::KILL).expect("kill");
    let port = carrying.lease.port();
    assert!(takes_connections(port), "the driver's copy keeps the port");
    let asked = async {
        carrying.carried = tokio::net::TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.expect("connect");
        carrying.ask().await;
    };
    tokio::time::timeout(Duration::from_secs(15), asked).await.expect("served again");
    until("the driver has a data plane", async || !carrying.driver.plane.is_away()).await;
    assert!(carrying.lease.is_served());
}

/// Its connection is there all the time.
#[tokio::test(flavor = "multi_thread")]
async fn a_data_plane_that_hangs_is_noticed_for_as_long_as_it_does() {
    let dir = tempfile::tempdir().expect("temp dir");
    let driver = Driver::start(dir.path(), support::driver());
    let _lease = driver.plane.open(&spec("fsap-0123456789abcdef0"), &PORTS, BTreeSet::new()).await.expect("open");
    let all = processes(dir.path(), plane::SERVE);
    let [hangs] = all[..] else { panic!("not one data plane: {all:?}") };
    let troubled = async || driver.plane.report().await.iter().map(|it| it.trouble_kind).collect::<Vec<_>>();
    assert!(!driver.plane.is_away());
    assert_eq!(troubled().await, [None]);
    kill_process(hangs, Signal::STOP).expect("stop");
    until("it is noticed", async || driver.plane.is_away()).await;
    // What it told before is not what is so now.
    assert_eq!(troubled().await, [Some(FailureKind::Away)]);
    kill_process(hangs, Signal::CONT).expect("continue");
    until("it answers again", async || !driver.plane.is_away()).await;
    until("its own report is told", async || troubled().await == [None]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tunnels_of_a_driver_that_dies_go_on_until_the_next_one_has_settled_which_are_needed() {
    let dir = tempfile::tempdir().expect("temp dir");
    let first = Driver::start(dir.path(), support::driver());
    let (kept, lost) = (spec("fsap-0123456789abcdef0"), spec("fsap-0123456789abcdef1"));
    let a = first.plane.open(&kept, &PORTS, BTreeSet::new()).await.expect("open");
    let b = first.plane.open(&lost, &PORTS, BTreeSet::new()).await.expect("open");
    let (port_a, port_b) = (a.port(), b.port());
    // The leases die with the process.
    first.die().await;
    drop((a, b));
    assert!(takes_connections(port_a) && takes_connections(port_b));

    let second = Driver::start(dir.path(), support::driver());
    let again = second.plane.reopen(&kept, port_a, None).await.expect("its port");
    let refused = second.plane.reopen(&kept, port_b, None).await.expect_err("the port is another volume's");
    assert_eq!(refused.kind, FailureKind::Port);
    second.plane.settle([port_a].into()).await;
    until("the port that nobody needs is closed", async || !takes_connections(port_b)).await;
    assert!(takes_connections(again.port()));
    assert_eq!(processes(dir.path(), plane::SERVE).len(), 1, "the second driver has the same data plane");
}

/// A driver that ends in order drops everything that it has; its mounts go on.
#[tokio::test(flavor = "multi_thread")]
async fn a_driver_that_stops_leaves_its_tunnels_open() {
    let dir = tempfile::tempdir().expect("temp dir");
    for round in 0..5 {
        let driver = Driver::start(dir.path(), support::driver());
        let tunnel = spec(&format!("fsap-0123456789abcdef{round}"));
        let lease = driver.plane.open(&tunnel, &PORTS, BTreeSet::new()).await.expect("open");
        let port = lease.port();
        driver.stop.cancel();
        drop((lease, driver));
        tokio::time::sleep(Duration::from_millis(100)).await;
        assert!(takes_connections(port), "the port is closed");
    }
}

/// As after an upgrade of the program, outside Kubernetes.
#[tokio::test(flavor = "multi_thread")]
async fn a_new_program_starts_a_data_plane_of_its_own_which_takes_everything_over() {
    let dir = tempfile::tempdir().expect("temp dir");
    let older = dir.path().join("older-driver");
    std::fs::copy(support::driver(), &older).expect("copy");
    let first = Driver::start(dir.path(), older.clone());
    let tunnel = spec("fsap-0123456789abcdef0");
    let lease = first.plane.open(&tunnel, &PORTS, BTreeSet::new()).await.expect("open");
    let port = lease.port();
    first.die().await;
    drop(lease);
    let second = Driver::start(dir.path(), support::driver());
    let again = second.plane.reopen(&tunnel, port, None).await.expect("the port");
    let runs = |pid: &Pid| std::fs::read_link(format!("/proc/{}/exe", pid.as_raw_nonzero())).ok();
    until("the older one has gone", async || {
        let now: Vec<PathBuf> = processes(dir.path(), plane::SERVE).iter().filter_map(runs).collect();
        now == [support::driver().canonicalize().expect("the driver")]
    })
    .await;
    assert!(takes_connections(port) && again.is_served());
    assert_eq!(second.plane.report().await.len(), 1);
}

/// What the older process still carries is ready in the newer one before it ends: the kernel waits for no handshake.
#[tokio::test(flavor = "multi_thread")]
async fn connections_of_the_process_before_are_made_ahead() {
    if !is_root("a data plane admits root alone") {
        return;
    }
    let dir = tempfile::tempdir().expect("temp dir");
    let authority = Authority::new();
    let server = Server::start(authority.server(SERVER_NAME, 0, false), support::echo).await;
    let handshakes = || server.certificates.lock().expect("lock").len();
    let mut arguments = vec![OsString::from("--tunnels-trust-root"), "--tls-ca-file".into()];
    arguments.push(authority.write(dir.path()).into());
    let start = |program| Driver::start_for(dir.path(), program, arguments.clone(), server.address);
    let older = dir.path().join("older-driver");
    std::fs::copy(support::driver(), &older).expect("copy");
    let first = start(older);
    let tunnel = spec("fsap-0123456789abcdef0");
    let lease = first.plane.open(&tunnel, &PORTS, BTreeSet::new()).await.expect("open");
    let port = lease.port();
    let connect = async || tokio::net::TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.expect("connect");
    let mut carried = connect().await;
    let ask = async |stream: &mut tokio::net::TcpStream| {
        stream.write_all(b"hello").await.expect("write");
        let mut answer = [0; 5];
        stream.read_exact(&mut answer).await.expect("read");
        assert_eq!(&answer, b"hello");
    };
    ask(&mut carried).await;
    assert_eq!(handshakes(), 1);
    first.die().await;
    drop(lease);
    let second = start(support::driver());
    let _again = second.plane.reopen(&tunnel, port, None).await.expect("the port");
    let ended = tokio::time::timeout(Duration::from_secs(20), carried.read(&mut [0; 1])).await.expect("an end");
    assert!(!matches!(ended, Ok(1..)), "{ended:?}");
    assert_eq!(handshakes(), 2, "the next one was there before the end");
    let mut next = connect().await;
    ask(&mut next).await;
    assert_eq!(handshakes(), 2, "and it is used");
}

/// A disk of 64 KiB, which goes with its owner.
struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    fn new() -> Self {
        let dir = tempfile::tempdir().expect("temp dir");
        let options = std::ffi::CString::new("size=64k").expect("text");
        rustix::mount::mount(
            "small",
            dir.path(),
            "tmpfs",
            rustix::mount::MountFlags::empty(),
            Some(options.as_c_str()),
        )
        .expect("mount");
        Self(dir)
    }

    fn fill(&self) {
        let mut file = std::fs::File::create(self.0.path().join("ballast")).expect("create");
        while std::io::Write::write(&mut file, &[b'x'; 4096]).is_ok_and(|written| written > 0) {}
    }

    fn read_only(&self) {
        let flags = rustix::mount::MountFlags::RDONLY;
        rustix::mount::mount_remount(self.0.path(), flags, c"").expect("remount");
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _gone = rustix::mount::unmount(self.0.path(), rustix::mount::UnmountFlags::DETACH);
    }
}

/// Neither the socket nor the key finds room. Whoever wants to mount must hear that, and where.
#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_takes_nothing_more_is_named_by_the_failure() {
    if !is_root("only root mounts a disk") {
        return;
    }
    let open = async |disk: &SmallDisk| {
        let driver = Driver::start(disk.0.path(), support::driver());
        let failure = match driver.plane.open(&spec("fsap-0123456789abcdef0"), &PORTS, BTreeSet::new()).await {
            Err(failure) => failure,
            Ok(lease) => lease.check().await.expect_err("no key, no connection"),
        };
        (failure.kind, failure.message)
    };
    let full = SmallDisk::new();
    full.fill();
    let (kind, message) = open(&full).await;
    assert_eq!(kind, FailureKind::DiskFull, "{message}");
    assert!(message.contains("disk full") && message.contains(full.0.path().to_str().expect("text")), "{message}");
    let read_only = SmallDisk::new();
    read_only.read_only();
    let (kind, message) = open(&read_only).await;
    assert_eq!(kind, FailureKind::ReadOnlyDisk, "{message}");
    assert!(message.contains("read-only") && message.contains(read_only.0.path().to_str().expect("text")), "{message}");
}

/// What comes over the socket may be anything; whoever else is connected does not notice.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_order_is_cut_off_and_bounded() {
    let dir = tempfile::tempdir().expect("temp dir");
    let driver = Driver::start(dir.path(), support::driver());
    let lease = driver.plane.open(&spec("fsap-0123456789abcdef0"), &PORTS, BTreeSet::new()).await.expect("open");
    let door = plane::directory(dir.path()).join("orders");
    let frame = |text: &str| {
        let length = u32::try_from(text.len()).expect("short").to_be_bytes();
        [&length[..], text.as_bytes()].concat()
    };
    let hello = frame(r#"{"order":{"id":0,"order":{"do":"hello","version":"9.0.0","mood":"good"}}}"#);
    let too_long = [&0x7fff_ffff_u32.to_be_bytes()[..], &[b'x'; 100]].concat();
    for bad in [b"GET / HTTP/1.1\r\n\r\n".to_vec(), frame("{}"), frame("nonsense"), too_long.clone(), frame("")] {
        for begin in [Vec::new(), hello.clone()] {
            let mut stream = UnixStream::connect(&door).await.expect("connect");
            stream.write_all(&[begin, bad.clone()].concat()).await.expect("write");
            let mut answer = Vec::new();
            let ended = tokio::time::timeout(Duration::from_secs(10), stream.read_to_end(&mut answer)).await;
            // A reset is an end, too.
            assert!(ended.is_ok(), "it still listens after {:?}", String::from_utf8_lossy(&bad));
        }
    }
    // One of a newer version is understood as far as it goes.
    let mut newer = UnixStream::connect(&door).await.expect("connect");
    let unknown = frame(r#"{"order":{"id":1,"order":{"do":"dance"}}}"#);
    newer.write_all(&[hello, unknown].concat()).await.expect("write");
    let mut answer = String::new();
    while !answer.contains("unsupported") {
        let mut bytes = [0; 512];
        let length = newer.read(&mut bytes).await.expect("read");
        assert!(length > 0, "hung up after {answer}");
        answer.push_str(&String::from_utf8_lossy(&bytes[..length]));
    }
    // Many that say nothing take nobody's place.
    let mut silent = Vec::new();
    for _ in 0..40 {
        silent.push(UnixStream::connect(&door).await.expect("connect"));
    }
    let other = driver.plane.open(&spec("fsap-0123456789abcdef1"), &PORTS, BTreeSet::new()).await.expect("open");
    assert!(lease.is_served() && other.port() != lease.port());
}

/// Memory of the data plane holds keys and credentials.
#[tokio::test(flavor = "multi_thread")]
async fn no_core_is_dumped() {
    let dir = tempfile::tempdir().expect("temp dir");
    let driver = Driver::start(dir.path(), support::driver());
    let _lease = driver.plane.open(&spec("fsap-0123456789abcdef0"), &PORTS, BTreeSet::new()).await.expect("open");
    for pid in processes(dir.path(), plane::COMMAND) {
        let limits = std::fs::read_to_string(format!("/proc/{}/limits", pid.as_raw_nonzero())).expect("limits");
        let core = limits.lines().find(|line| line.starts_with("Max core file size")).expect("the limit of core dumps");
        let soft: u64 = core.split_whitespace().nth(4).and_then(|limit| limit.parse().ok()).expect("a number");
        assert!(soft <= 1, "{core}");
    }
}

/// What is in the way of the socket, or of the key, does not keep volumes from being carried.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_in_the_way_is_told_and_tunnels_go_on() {
    let dir = tempfile::tempdir().expect("temp dir");
    let driver = Driver::start(dir.path(), support::driver());
    let lease = driver.plane.open(&spec("fsap-0123456789abcdef0"), &PORTS, BTreeSet::new()).await.expect("open");
    let folder = plane::directory(dir.path());
    // A file or link is replaced.
    std::fs::remove_file(folder.join("orders")).expect("remove");
    std::fs::write(folder.join("orders"), "x").expect("write");
    until("the socket is back", async || UnixStream::connect(folder.join("orders")).await.is_ok()).await;
    // A directory can't be. The next data plane carries what it has a note of, and waits.
    std::fs::remove_file(folder.join("orders")).expect("remove");
    std::fs::create_dir(folder.join("orders")).expect("a directory");
    let all = processes(dir.path(), plane::SERVE);
    let [before] = all[..] else { panic!("not one data plane: {all:?}") };
    kill_process(before, Signal::KILL).expect("kill");
    let next = || processes(dir.path(), plane::SERVE).into_iter().find(|now| *now != before);
    until("there is another", async || next().is_some()).await;
    let another = next().expect("another");
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(next(), Some(another), "it ends and is started again");
    let left = std::fs::read_dir(&folder).expect("the folder").flatten();
    let left: Vec<_> =
        left.map(|entry| entry.file_name()).filter(|name| name.to_string_lossy().contains("orders.")).collect();
    assert!(left.is_empty(), "{left:?}");
    assert!(takes_connections(lease.port()));
    std::fs::remove_dir(folder.join("orders")).expect("out of the way");
    until("orders are taken again", async || driver.plane.reopen(lease.spec(), lease.port(), None).await.is_ok()).await;
}

/// Nobody but root and its own user may give orders.
#[tokio::test(flavor = "multi_thread")]
async fn another_user_is_refused() {
    if !is_root("only root can be somebody else") {
        return;
    }
    let dir = tempfile::tempdir().expect("temp dir");
    let driver = Driver::start(dir.path(), support::driver());
    let lease = driver.plane.open(&spec("fsap-0123456789abcdef0"), &PORTS, BTreeSet::new()).await.expect("open");
    let folder = plane::directory(dir.path());
    let check = || {
        use std::os::unix::process::CommandExt as _;
        let mut command = std::process::Command::new(support::driver());
        command.args(["tunnel", "--check"]).arg(&folder).stderr(std::process::Stdio::null()).uid(65_534);
        command.status().expect("run").success()
    };
    assert!(!check(), "the folder is closed");
    // Even where somebody has opened the way.
    use std::os::unix::fs::PermissionsExt as _;
    for (path, mode) in [(dir.path().to_owned(), 0o755), (folder.clone(), 0o777), (folder.join("orders"), 0o777)] {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).expect("chmod");
    }
    let folder = folder.clone();
    let talked = tokio::task::spawn_blocking(move || {
        // The driver's own check begins with the keeper, whose socket is closed to others; this is about orders.
        let script = "import socket,sys\ns=socket.socket(socket.AF_UNIX)\ns.connect(sys.argv[1])\n\
                      b=b'{\"order\":{\"id\":0,\"order\":{\"do\":\"hello\",\"version\":\"1\"}}}'\n\
                      try:\n s.sendall(len(b).to_bytes(4,'big')+b)\n answer=s.recv(1)\n\
                      except ConnectionError: answer=b''\nsys.exit(0 if answer==b'' else 1)";
        use std::os::unix::process::CommandExt as _;
        let mut command = std::process::Command::new("python3");
        command.args(["-c", script]).arg(folder.join("orders")).uid(65_534);
        command.status().expect("run").success()
    });
    assert!(talked.await.expect("join"), "another user got an answer");
    assert!(lease.is_served());
}
