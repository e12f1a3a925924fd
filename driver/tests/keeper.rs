//! The port keeper as a process: sockets outlive the one that opened them, and the keeper doesn't outlive its use.

mod support;

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;

use efs_csi_driver::tunnel::keeper::{Host, Keeper};

fn listener() -> (TcpListener, u16) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("bind");
    let port = listener.local_addr().expect("address").port();
    (listener, port)
}

/// Processes whose command line names this state directory.
fn keepers(state_dir: &Path) -> usize {
    let processes = std::fs::read_dir("/proc").expect("proc").flatten();
    let lines = processes.filter_map(|process| std::fs::read(process.path().join("cmdline")).ok());
    lines.filter(|line| String::from_utf8_lossy(line).contains(&format!("{}/", state_dir.display()))).count()
}

#[test]
fn a_connection_waits_in_the_kept_socket_and_is_served_by_the_next_driver() {
    let dir = tempfile::tempdir().expect("temp dir");
    let (socket, port) = listener();
    let first = Keeper::new(Host::Child(support::driver()), dir.path());
    first.keep(port, Arc::new(OwnedFd::from(socket)));
    assert_eq!(keepers(dir.path()), 1);
    // Whoever reaches the keeper can take the sockets.
    let mode = std::fs::metadata(dir.path().join("keeper")).expect("metadata").permissions().mode();
    assert_eq!(mode & 0o777, 0o700);
    // The first driver dies: all it had is gone but what the keeper holds.
    drop(first);
    let mut client = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).expect("the port must still take connections");
    client.write_all(b"call").expect("write");

    let second = Keeper::new(Host::Child(support::driver()), dir.path());
    let mut inherited = second.inherit(|_| true);
    assert_eq!(inherited.keys().copied().collect::<Vec<_>>(), [port]);
    let socket = inherited.remove(&port).expect("listener");
    let (mut accepted, _) = socket.accept().expect("accept");
    let mut call = [0; 4];
    accepted.read_exact(&mut call).expect("read");
    assert_eq!(&call, b"call");
    drop(socket);

    second.release(port);
    TcpStream::connect((Ipv4Addr::LOCALHOST, port)).expect_err("the port must be closed");
    while keepers(dir.path()) > 0 {
        std::thread::yield_now();
    }
}

#[test]
fn a_killed_keeper_is_replaced_and_a_new_one_starts_after_the_last_ended() {
    let dir = tempfile::tempdir().expect("temp dir");
    let keeper = Keeper::new(Host::Child(support::driver()), dir.path());
    let (a, port_a) = listener();
    let (b, port_b) = listener();
    keeper.keep(port_a, Arc::new(OwnedFd::from(a)));
    keeper.keep(port_b, Arc::new(OwnedFd::from(b)));
    assert_eq!(keepers(dir.path()), 1, "one keeper holds all ports");

    let pid = std::fs::read_dir("/proc")
        .expect("proc")
        .flatten()
        .find(|process| {
            let line = std::fs::read(process.path().join("cmdline")).unwrap_or_default();
            String::from_utf8_lossy(&line).contains(&format!("{}/", dir.path().display()))
        })
        .and_then(|process| process.file_name().to_str()?.parse().ok())
        .and_then(rustix::process::Pid::from_raw)
        .expect("keeper");
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).expect("kill");
    while keepers(dir.path()) > 0 {
        std::thread::yield_now();
    }
    // A dying process loses its command line before its sockets, so the first call may still find the channel open. The
    // driver calls this every minute.
    while keepers(dir.path()) == 0 {
        keeper.revive();
    }
    assert_eq!(keepers(dir.path()), 1);
    let next = Keeper::new(Host::Child(support::driver()), dir.path());
    assert_eq!(next.inherit(|_| true).len(), 2);
    drop(next);

    keeper.release(port_a);
    keeper.release(port_b);
    let (c, port_c) = listener();
    keeper.keep(port_c, Arc::new(OwnedFd::from(c)));
    assert_eq!(
        Keeper::new(Host::Child(support::driver()), dir.path()).inherit(|_| true).keys().copied().collect::<Vec<_>>(),
        [port_c]
    );
    keeper.release(port_c);
}

#[test]
fn without_a_keeper_nothing_is_inherited() {
    let dir = tempfile::tempdir().expect("temp dir");
    assert!(Keeper::new(Host::Child(support::driver()), dir.path()).inherit(|_| true).is_empty());
    std::fs::create_dir(dir.path().join("keeper")).expect("mkdir");
    std::fs::write(dir.path().join("keeper/socket"), "not a socket").expect("write");
    assert!(Keeper::new(Host::Child(support::driver()), dir.path()).inherit(|_| true).is_empty());
}
