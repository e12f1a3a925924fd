//! Broken servers, full tables and hostile files: each call is answered in time with the right code and leaves nothing
//! behind, and another volume of the node goes on working.

use std::io::Write as _;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

use csi_proto::csi;
use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};
use rustix::net::{AddressFamily, SocketType, bind, listen, socket};
use serde_json::json;
use tokio::process::{Child, Command};
use tonic::Code;

use crate::fixture::{self, Fixture, can_mount, children};

/// No call may take longer than this. The longest deadline of the driver is that of the kernel's mount, 30 seconds.
const LIMIT: Duration = Duration::from_secs(60);

/// An address that neither accepts nor refuses connections: the queue of its socket is full. Open as long as the answer is.
fn deaf(address: Ipv4Addr, port: u16) -> (std::os::fd::OwnedFd, Vec<TcpStream>) {
    let address = SocketAddr::from((address, port));
    let door = socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
    bind(&door, &address).unwrap();
    listen(&door, 0).unwrap();
    let mut queued = Vec::new();
    while let Ok(stream) = TcpStream::connect_timeout(&address, Duration::from_secs(1)) {
        queued.push(stream);
        assert!(queued.len() < 64, "the queue does not fill");
    }
    (door, queued)
}

/// A server that speaks at once, and not TLS.
fn plain(address: Ipv4Addr, port: u16) {
    let door = TcpListener::bind((address, port)).unwrap();
    std::thread::spawn(move || {
        for stream in door.incoming() {
            // Whoever hangs up has understood.
            let _ = stream.and_then(|mut stream| stream.write_all(&[0x80, 0, 0, 0x18, 0, 0, 0, 1, 0, 0, 0, 1]));
        }
    });
}

/// All ways in which a server can fall silent, at once, because each takes its whole deadline.
#[tokio::test]
async fn a_server_that_stalls_at_any_stage_is_given_up_in_time() {
    if !can_mount() {
        return;
    }
    let mut fixture = Fixture::start().await;
    let (first_call, _) = fixture.fake.create_file_system("first call").await.unwrap();
    let (in_mount, _) = fixture.fake.create_file_system("in mount").await.unwrap();
    fixture.publish_neighbour().await;
    let port = fixture.fake.ready.nfs.port();
    let (_door, _queued) = deaf(Ipv4Addr::new(127, 77, 77, 81), port);
    let _silent = TcpListener::bind(("127.77.77.82", port)).unwrap();
    // The driver's own first call passes, the kernel's does not.
    for (file_system, skip) in [(&first_call, 0), (&in_mount, 1)] {
        let fault = json!({"file_system_id": file_system, "skip": skip, "effect": {"kind": "stall"}});
        fixture.fake.add_wire_fault(&fault).await.unwrap();
    }
    let file_system = fixture.file_system.clone();
    let cases = [
        ("connect", &file_system, Some("127.77.77.81"), &[Code::Unavailable][..]),
        ("tls", &file_system, Some("127.77.77.82"), &[Code::Unavailable]),
        ("first call", &first_call, None, &[Code::Unavailable]),
        ("in mount", &in_mount, None, &[Code::DeadlineExceeded]),
    ];
    let mut calls = tokio::task::JoinSet::new();
    for (name, handle, address, codes) in cases {
        let context: Vec<_> = address.iter().map(|address| ("mounttargetip", *address)).collect();
        let mut request = fixture.publish_request(handle, &context);
        request.target_path = fixture.target_named(name).display().to_string();
        let mut node = fixture.driver.node();
        calls.spawn(async move {
            let answer = tokio::time::timeout(LIMIT, node.node_publish_volume(request)).await;
            (name, codes, answer.unwrap_or_else(|_| panic!("{name}: no answer within {LIMIT:?}")))
        });
    }
    fixture.assert_neighbour_works();
    while let Some(call) = calls.join_next().await {
        let (name, codes, answer) = call.unwrap();
        let status = answer.expect_err(name);
        println!("{name}: {:?} {}", status.code(), status.message());
        assert!(codes.contains(&status.code()), "{name}: {status:?}");
        assert!(!fixture.target_named(name).exists(), "{name}: the target is left");
    }
    fixture.assert_neighbour_works();
    // The kernel keeps its port for as long as it waits for the server.
    fixture.heal().await;
    fixture.assert_nothing_left().await;
    fixture.stop().await;
}

#[tokio::test]
async fn wrong_servers_are_told_apart_and_leave_nothing() {
    if !can_mount() {
        return;
    }
    let mut fixture = Fixture::start().await;
    let (victim, _) = fixture.fake.create_file_system("victim").await.unwrap();
    fixture.publish_neighbour().await;
    let handshakes = [
        (json!({"kind": "bad-certificate", "flaw": "wrong-name"}), Code::FailedPrecondition),
        (json!({"kind": "bad-certificate", "flaw": "expired"}), Code::FailedPrecondition),
        (json!({"kind": "refuse-tls"}), Code::Unavailable),
    ];
    for (effect, code) in handshakes {
        fixture.fake.add_wire_fault(&json!({"effect": effect})).await.unwrap();
        let status = fixture.publish_fails(fixture.publish_request(&victim, &[]), LIMIT).await;
        assert_eq!(status.code(), code, "{effect}: {status:?}");
        fixture.fake.clear_wire_faults().await.unwrap();
        fixture.assert_neighbour_works();
    }
    plain(Ipv4Addr::new(127, 77, 77, 83), fixture.fake.ready.nfs.port());
    let request = fixture.publish_request(&victim, &[("mounttargetip", "127.77.77.83")]);
    let status = fixture.publish_fails(request, LIMIT).await;
    assert_eq!(status.code(), Code::Unavailable, "{status:?}");
    assert!(status.message().contains("encryptInTransit"), "{status:?}");
    // The same volume mounts when the server is right again.
    fixture.publish_and_unpublish(&victim).await;
    fixture.assert_neighbour_works();
    fixture.stop().await;
}

/// Asks for statistics until the volume's condition says that the server does not answer. Every answer comes in time.
async fn until_abnormal(fixture: &Fixture, volume: &str, target: &Path) {
    let request = csi::NodeGetVolumeStatsRequest {
        volume_id: volume.to_owned(),
        volume_path: target.display().to_string(),
        ..Default::default()
    };
    for _ in 0..50 {
        let mut node = fixture.driver.node();
        let answer = tokio::time::timeout(LIMIT, node.node_get_volume_stats(request.clone())).await.unwrap();
        if answer.unwrap().into_inner().volume_condition.is_some_and(|condition| condition.abnormal) {
            return;
        }
        // The kernel answers from its memory for a while.
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    panic!("the server stalls and the condition is fine");
}

/// Copies `from` to `to`, confirmed by the server. A process of its own, because one that waits for a dead server can be killed.
fn copy(from: &Path, to: &Path) -> Child {
    let mut command = Command::new("dd");
    command.arg(format!("if={}", from.display())).arg(format!("of={}", to.display()));
    command.args(["bs=64k", "conv=fsync", "status=none"]).kill_on_drop(true).spawn().unwrap()
}

#[tokio::test]
async fn a_server_that_stalls_in_mid_write_loses_nothing_and_blocks_nobody_else() {
    if !can_mount() {
        return;
    }
    let mut fixture = Fixture::start().await;
    let (victim, _) = fixture.fake.create_file_system("victim").await.unwrap();
    fixture.publish_neighbour().await;
    let target = fixture.target();
    let source = fixture.path("source");
    let bytes: Vec<u8> = (0..16_u32 << 18).flat_map(|word| word.wrapping_mul(2_654_435_761).to_le_bytes()).collect();
    std::fs::write(&source, &bytes).unwrap();
    // Some of the sixteen writes pass, the rest waits.
    let fault = json!({"file_system_id": victim, "skip": 8, "effect": {"kind": "stall"}});

    fixture.publish(&victim, &target).await.unwrap();
    fixture.fake.add_wire_fault(&fault).await.unwrap();
    let mut writer = copy(&source, &target.join("resumed"));
    until_abnormal(&fixture, &victim, &target).await;
    assert!(writer.try_wait().unwrap().is_none(), "the write has ended although the server stalls");
    fixture.assert_neighbour_works();
    fixture.heal().await;
    let status = tokio::time::timeout(LIMIT, writer.wait()).await.expect("the write does not resume").unwrap();
    assert!(status.success(), "{status}");
    // Published afresh, it shows what the server has and nothing that this kernel remembers.
    fixture.unpublish(&victim, &target).await.unwrap();
    fixture.publish(&victim, &target).await.unwrap();
    assert!(std::fs::read(target.join("resumed")).unwrap() == bytes, "the file differs from what was written");

    // And with a pod that is killed instead of waiting, as the kubelet does before it unpublishes. The kernel lets a process
    // that waits for its written pages go only when the server has answered or the mount was ended by force.
    fixture.fake.add_wire_fault(&fault).await.unwrap();
    let mut writer = copy(&source, &target.join("abandoned"));
    until_abnormal(&fixture, &victim, &target).await;
    writer.start_kill().unwrap();
    tokio::time::timeout(LIMIT, fixture.unpublish(&victim, &target)).await.expect("no answer").unwrap();
    fixture.assert_neighbour_works();
    fixture.heal().await;
    tokio::time::timeout(LIMIT, writer.wait()).await.expect("the killed writer stays").unwrap();
    fixture.assert_nothing_left().await;
    fixture.stop().await;
}

#[tokio::test]
async fn statistics_of_a_volume_whose_server_stalls_come_in_time_and_say_so() {
    if !can_mount() {
        return;
    }
    let mut fixture = Fixture::start().await;
    let (victim, _) = fixture.fake.create_file_system("victim").await.unwrap();
    fixture.publish_neighbour().await;
    let target = fixture.target();
    fixture.publish(&victim, &target).await.unwrap();
    let fault = json!({"file_system_id": victim, "effect": {"kind": "stall"}});
    fixture.fake.add_wire_fault(&fault).await.unwrap();
    until_abnormal(&fixture, &victim, &target).await;
    fixture.assert_neighbour_works();
    fixture.heal().await;
    fixture.unpublish(&victim, &target).await.unwrap();
    fixture.assert_nothing_left().await;
    fixture.stop().await;
}

#[tokio::test]
async fn without_a_free_port_a_mount_is_refused_until_one_is_given_back() {
    if !can_mount() {
        return;
    }
    let mut fixture = Fixture::start_with(|options| {
        let range = "mount:port_range_lower_bound=20500,mount:port_range_upper_bound=20502";
        options.arguments.push(format!("--efs-utils-conf-overrides={range}"));
    })
    .await;
    let (second, _) = fixture.fake.create_file_system("second").await.unwrap();
    let (third, _) = fixture.fake.create_file_system("third").await.unwrap();
    fixture.publish_neighbour().await;
    let target = fixture.target_named("second");
    fixture.publish(&second, &target).await.unwrap();
    let status = fixture.publish(&third, &fixture.target()).await.expect_err("there are two ports");
    assert_eq!(status.code(), Code::ResourceExhausted, "{status:?}");
    assert!(!fixture.target().exists());
    fixture.unpublish(&second, &target).await.unwrap();
    fixture.assert_nothing_left().await;
    fixture.publish_and_unpublish(&third).await;
    fixture.assert_neighbour_works();
    fixture.stop().await;
}

/// Unmounts the small disk when the test is over, whichever way.
struct SmallDisk(PathBuf);

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // A test that fails is reported already.
        let _ = unmount(&self.0, UnmountFlags::DETACH);
    }
}

#[tokio::test]
async fn a_full_disk_under_the_state_directory_refuses_mounts_and_lets_go_of_old_ones() {
    if !can_mount() {
        return;
    }
    let mut state = PathBuf::new();
    let mut fixture = Fixture::start_with(|options| {
        state = options.dir.join("state");
        std::fs::create_dir(&state).unwrap();
        mount("tmpfs", &state, "tmpfs", MountFlags::empty(), c"size=256k").unwrap();
    })
    .await;
    let disk = SmallDisk(state.clone());
    let (other, _) = fixture.fake.create_file_system("other").await.unwrap();
    fixture.publish_neighbour().await;
    let filler = state.join("filler");
    let mut file = std::fs::File::create(&filler).unwrap();
    while file.write_all(&[1; 512]).is_ok() {}
    let status = fixture.publish_fails(fixture.publish_request(&other, &[]), LIMIT).await;
    assert_eq!(status.code(), Code::ResourceExhausted, "{status:?}");
    fixture.assert_neighbour_works();
    fixture.unpublish_neighbour().await;
    std::fs::remove_file(&filler).unwrap();
    fixture.publish_and_unpublish(&other).await;
    fixture.stop().await;
    drop(disk);
}

#[tokio::test]
async fn torn_and_hostile_state_files_are_passed_over_at_a_restart() {
    if !can_mount() {
        return;
    }
    let mut fixture = Fixture::start().await;
    let (other, _) = fixture.fake.create_file_system("other").await.unwrap();
    fixture.publish_neighbour().await;
    let state = fixture.driver.options.dir.join("state");
    let records = state.join("mounts");
    let entries: Vec<_> = std::fs::read_dir(&records).unwrap().map(|entry| entry.unwrap().path()).collect();
    let [record] = entries.as_slice() else { panic!("{entries:?}") };
    let text = std::fs::read_to_string(record).unwrap();
    fixture.driver.process.kill(Duration::from_secs(30)).await.unwrap();
    let put = |name: &str, text: &str| std::fs::write(records.join(name), text).unwrap();
    put("torn.json", &text[..text.len() / 2]);
    put("empty.json", "");
    put("stolen.json", &text);
    put("deep.json", &"[".repeat(60_000));
    put("long.json", &" ".repeat(1 << 20));
    put("0123456789abcdef0123456789abcdef.json", &text.replace("\"version\": 1", "\"version\": 99"));
    std::fs::create_dir(records.join("directory.json")).unwrap();
    std::os::unix::fs::symlink("/dev/zero", records.join("endless.json")).unwrap();
    rustix::fs::mknodat(rustix::fs::CWD, records.join("pipe.json"), rustix::fs::FileType::Fifo, 0o600.into(), 0)
        .unwrap();
    // The key is lost too: the next data plane makes another, and certificates of the lost one are of no use.
    std::fs::write(state.join("keeper/client-key.pem"), "-----BEGIN PRIVATE KEY-----\nAAAA").unwrap();
    fixture.kill_data_plane();
    fixture.restart_driver().await;
    fixture.assert_neighbour_works();
    fixture.publish_and_unpublish(&other).await;
    fixture.unpublish_neighbour().await;
    fixture.stop().await;
}

#[tokio::test]
async fn targets_that_are_something_else_are_refused_and_left_as_they_are() {
    if !can_mount() {
        return;
    }
    let mut fixture = Fixture::start().await;
    fixture.publish_neighbour().await;
    let volume = fixture.file_system.clone();
    let try_both = async |target: &Path, publish: Code, unpublish: Code| {
        let answer = tokio::time::timeout(LIMIT, fixture.publish(&volume, target)).await;
        let status = answer.expect("no answer").expect_err("publish");
        println!("publish {target:?}: {:?} {}", status.code(), status.message());
        assert_eq!(status.code(), publish, "publish {target:?}: {status:?}");
        let answer = tokio::time::timeout(LIMIT, fixture.unpublish(&volume, target)).await;
        let status = answer.expect("no answer").expect_err("unpublish");
        println!("unpublish {target:?}: {:?} {}", status.code(), status.message());
        assert_eq!(status.code(), unpublish, "unpublish {target:?}: {status:?}");
    };
    let file = fixture.target_named("file");
    std::fs::write(&file, "mine").unwrap();
    try_both(&file, Code::FailedPrecondition, Code::FailedPrecondition).await;
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "mine");

    let link = fixture.target_named("link");
    let elsewhere = fixture.target_named("elsewhere");
    std::fs::create_dir(&elsewhere).unwrap();
    std::os::unix::fs::symlink(&elsewhere, &link).unwrap();
    try_both(&link, Code::FailedPrecondition, Code::FailedPrecondition).await;
    assert!(link.is_symlink() && elsewhere.is_dir());

    let foreign = fixture.target_named("foreign");
    std::fs::create_dir(&foreign).unwrap();
    mount("tmpfs", &foreign, "tmpfs", MountFlags::empty(), c"size=64k").unwrap();
    std::fs::write(foreign.join("file"), "mine").unwrap();
    try_both(&foreign, Code::AlreadyExists, Code::FailedPrecondition).await;
    assert_eq!(std::fs::read_to_string(foreign.join("file")).unwrap(), "mine");
    unmount(&foreign, UnmountFlags::empty()).unwrap();

    let climbing = fixture.target_named("pods").join("../../../../../../climbed");
    try_both(&climbing, Code::InvalidArgument, Code::InvalidArgument).await;
    assert!(!Path::new("/climbed").exists());
    try_both(Path::new("relative/mount"), Code::InvalidArgument, Code::InvalidArgument).await;
    fixture.assert_nothing_left().await;
    fixture.assert_neighbour_works();
    fixture.stop().await;
}

/// A child that is in the middle of a mount when its driver is killed would mount later, when nobody knows of it any more.
#[tokio::test]
async fn a_killed_driver_takes_its_mount_workers_along() {
    if !can_mount() {
        return;
    }
    let mut fixture = Fixture::start().await;
    let fault = json!({"skip": 1, "effect": {"kind": "stall"}});
    fixture.fake.add_wire_fault(&fault).await.unwrap();
    let mut node = fixture.driver.node();
    let request = fixture.publish_request(&fixture.file_system, &[]);
    let call = tokio::spawn(async move { node.node_publish_volume(request).await });
    let driver = fixture.driver.process.id().unwrap();
    let worker = fixture::until("a worker starts", || {
        children(driver).into_iter().find(|(_, line)| line.contains("mount-worker")).map(|(pid, _)| pid)
    })
    .await;
    fixture.driver.process.kill(Duration::from_secs(30)).await.unwrap();
    fixture::until("the worker is gone", || {
        let stat = std::fs::read_to_string(format!("/proc/{worker}/stat")).unwrap_or_default();
        (stat.is_empty() || stat.contains(") Z ")).then_some(())
    })
    .await;
    assert!(call.await.unwrap().is_err());
    fixture.heal().await;
    fixture.restart_driver().await;
    let target = fixture.target();
    fixture.unpublish(&fixture.file_system, &target).await.unwrap();
    fixture.assert_nothing_left().await;
    fixture.publish_and_unpublish(&fixture.file_system.clone()).await;
    fixture.stop().await;
}
