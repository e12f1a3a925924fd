//! The keeper as a process: sockets outlive the one that opened them, and go from one keeper to the next.

mod support;

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;

use efs_tunnel::keeper::Keeper;
use efs_tunnel::plane;

fn listener() -> (TcpListener, u16) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("bind");
    let port = listener.local_addr().expect("address").port();
    (listener, port)
}

fn keeper(state_dir: &Path) -> Keeper {
    Keeper::new(plane::directory(state_dir))
}

/// Has a keeper hold a listener; its port.
fn keep_one(keeper: &Keeper) -> u16 {
    let (socket, port) = listener();
    keeper.keep(port, Arc::new(OwnedFd::from(socket)), Vec::new());
    port
}

#[test]
fn a_connection_waits_in_the_kept_socket_and_is_served_by_the_next_process() {
    let dir = tempfile::tempdir().expect("temp dir");
    let _sidecar = Sidecar::start(dir.path());
    let (socket, port) = listener();
    let first = keeper(dir.path());
    first.keep(port, Arc::new(OwnedFd::from(socket)), b"note".to_vec());
    // Whoever reaches the keeper can take the sockets.
    let mode = std::fs::metadata(dir.path().join("keeper")).expect("metadata").permissions().mode();
    assert_eq!(mode & 0o777, 0o700);
    // The first process dies: all it had is gone but what the keeper holds.
    drop(first);
    let mut client = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).expect("the port must still take connections");
    client.write_all(b"call").expect("write");

    let second = keeper(dir.path());
    let mut inherited = second.inherit(|_| true);
    assert_eq!(inherited.keys().copied().collect::<Vec<_>>(), [port]);
    let (socket, note) = inherited.remove(&port).expect("listener");
    assert_eq!(note, b"note");
    let (mut accepted, _) = socket.accept().expect("accept");
    let mut call = [0; 4];
    accepted.read_exact(&mut call).expect("read");
    assert_eq!(&call, b"call");
    drop(socket);

    second.release(port);
    TcpStream::connect((Ipv4Addr::LOCALHOST, port)).expect_err("the port must be closed");
}

/// A keeper that stays, as a pod's sidecar.
struct Sidecar(std::process::Child);

impl Sidecar {
    fn start(state_dir: &Path) -> Self {
        let directory = state_dir.join("keeper");
        std::fs::create_dir_all(&directory).expect("mkdir");
        // Told apart by their times: a number of an inode is given again. The data plane comes up last.
        let doors = || {
            let made = |name: &str| std::fs::metadata(directory.join(name)).and_then(|it| it.modified()).ok();
            (made("socket"), made("orders"))
        };
        let begin = doors();
        let child = std::process::Command::new(support::driver()).args(["tunnel", "--stay"]).arg(&directory).spawn();
        let sidecar = Self(child.expect("start"));
        let is_new = |now: Option<_>, before: Option<_>| now.is_some() && now != before;
        while !is_new(doors().0, begin.0) || !is_new(doors().1, begin.1) {
            std::thread::yield_now();
        }
        sidecar
    }

    fn signal(&self, signal: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_raw(i32::try_from(self.0.id()).expect("pid")).expect("pid");
        rustix::process::kill_process(pid, signal).expect("signal");
    }
}

impl Drop for Sidecar {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _gone = self.0.kill();
        let _reaped = self.0.wait();
    }
}

fn held(state_dir: &Path) -> Vec<u16> {
    let mut ports: Vec<u16> = keeper(state_dir).inherit(|_| true).into_keys().collect();
    ports.sort_unstable();
    ports
}

#[test]
fn a_sidecar_is_told_what_it_missed_and_nobody_waits_for_it() {
    let dir = tempfile::tempdir().expect("temp dir");
    let sidecar = Sidecar::start(dir.path());
    let user = keeper(dir.path());
    let (a, port_a) = listener();
    let (b, port_b) = listener();
    let (c, port_c) = listener();
    user.keep(port_a, Arc::new(OwnedFd::from(a)), Vec::new());
    assert_eq!(held(dir.path()), [port_a]);
    // It hangs: the first call finds out, which takes two seconds, and the others leave it to revive().
    sidecar.signal(rustix::process::Signal::STOP);
    user.release(port_a);
    let begin = std::time::Instant::now();
    user.keep(port_b, Arc::new(OwnedFd::from(b)), Vec::new());
    user.keep(port_c, Arc::new(OwnedFd::from(c)), Vec::new());
    user.release(port_c);
    assert!(begin.elapsed() < std::time::Duration::from_secs(2), "the calls wait for a keeper that is known to hang");
    sidecar.signal(rustix::process::Signal::CONT);
    while held(dir.path()) != [port_b] {
        user.revive();
    }
    TcpStream::connect((Ipv4Addr::LOCALHOST, port_a)).expect_err("nobody needs the port any more");
    // Killed, and started again empty.
    drop(sidecar);
    let _sidecar = Sidecar::start(dir.path());
    while held(dir.path()) != [port_b] {
        user.revive();
    }
}

fn check(state_dir: &Path) -> bool {
    let mut command = std::process::Command::new(support::driver());
    command.args(["tunnel", "--check"]).arg(state_dir.join("keeper")).stderr(std::process::Stdio::null());
    command.status().expect("run").success()
}

/// A connection to the keeper that says nothing.
fn silent(state_dir: &Path) -> OwnedFd {
    use rustix::net::{AddressFamily, SocketAddrUnix, SocketType, connect, socket};
    let silent = socket(AddressFamily::UNIX, SocketType::SEQPACKET, None).expect("socket");
    let address = SocketAddrUnix::new(state_dir.join("keeper/socket")).expect("address");
    connect(&silent, &address).expect("connect");
    silent
}

#[test]
fn a_sidecar_that_hangs_is_found_out_and_holds_up_nobody() {
    let dir = tempfile::tempdir().expect("temp dir");
    assert!(!check(dir.path()), "there is none");
    let sidecar = Sidecar::start(dir.path());
    assert!(check(dir.path()));
    let user = keeper(dir.path());
    sidecar.signal(rustix::process::Signal::STOP);
    assert!(!check(dir.path()));
    // Its queue of connections is full after some attempts; each of them, and those behind it, come back all the same.
    let begin = std::time::Instant::now();
    for _ in 0..12 {
        assert!(user.inherit(|_| true).is_empty());
    }
    assert!(begin.elapsed() < std::time::Duration::from_secs(30) && user.is_out_of_reach());
    sidecar.signal(rustix::process::Signal::CONT);
    while !check(dir.path()) {}
    let port_a = keep_one(&user);
    while held(dir.path()) != [port_a] {
        user.revive();
    }
    assert!(!user.is_out_of_reach());
}

#[test]
fn connections_that_say_nothing_do_not_keep_drivers_from_a_sidecar() {
    let dir = tempfile::tempdir().expect("temp dir");
    let _sidecar = Sidecar::start(dir.path());
    let user = keeper(dir.path());
    let port_a = keep_one(&user);
    let _silent: Vec<OwnedFd> = (0..40)
        .map(|_| {
            let silent = silent(dir.path());
            std::thread::sleep(std::time::Duration::from_millis(10));
            silent
        })
        .collect();
    assert_eq!(held(dir.path()), [port_a]);
    assert!(check(dir.path()));
}

#[test]
fn a_sidecar_takes_its_name_back() {
    let dir = tempfile::tempdir().expect("temp dir");
    let _sidecar = Sidecar::start(dir.path());
    let user = keeper(dir.path());
    let port_a = keep_one(&user);
    std::fs::remove_file(dir.path().join("keeper/socket")).expect("remove");
    while !check(dir.path()) {
        std::thread::yield_now();
    }
    assert_eq!(held(dir.path()), [port_a]);
}

#[test]
fn a_sidecar_begins_with_what_the_one_before_holds_and_ends_when_it_is_told() {
    let dir = tempfile::tempdir().expect("temp dir");
    let first = Sidecar::start(dir.path());
    let old = keeper(dir.path());
    let port_a = keep_one(&old);
    let second = Sidecar::start(dir.path());
    assert_eq!(held(dir.path()), [port_a]);
    // The driver before still speaks to its own keeper; the next one hears of it as long as that lives.
    let port_b = keep_one(&old);
    let mut both = [port_a, port_b];
    both.sort_unstable();
    assert_eq!(held(dir.path()), both);
    drop((first, old));
    assert_eq!(held(dir.path()), both);
    second.signal(rustix::process::Signal::TERM);
    let (mut second, begin) = (second, std::time::Instant::now());
    assert!(second.0.wait().expect("it ends").success());
    assert!(begin.elapsed() < std::time::Duration::from_secs(6), "the data plane had to be killed");
    assert!(!dir.path().join("keeper/socket").exists());
}

#[test]
fn without_a_keeper_nothing_is_inherited() {
    let dir = tempfile::tempdir().expect("temp dir");
    assert!(keeper(dir.path()).inherit(|_| true).is_empty());
    std::fs::create_dir(dir.path().join("keeper")).expect("mkdir");
    std::fs::write(dir.path().join("keeper/socket"), "not a socket").expect("write");
    assert!(keeper(dir.path()).inherit(|_| true).is_empty());
}
