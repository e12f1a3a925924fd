//! NodeUnpublishVolume when something is missing: it ends in time, and nothing is left.

use std::net::TcpListener;
use std::path::Path;
use std::time::Duration;

use efs_csi_e2e::mounts;
use rustix::mount::{UnmountFlags, unmount};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;
use tonic::Code;

use crate::fixture::{Fixture, can_mount, children};

/// Above --unmount-timeout and the forced unmount's ten seconds.
const LIMIT: Duration = Duration::from_secs(45);

/// A fixture that is quick to force, with its file system published.
async fn published() -> Fixture {
    let fixture = Fixture::start_with(|options| {
        options.arguments.extend(["--unmount-timeout=2s".to_owned(), "--force-unmount-after-timeout".to_owned()]);
    })
    .await;
    fixture.publish(&fixture.file_system, &fixture.target()).await.unwrap();
    std::fs::write(fixture.target().join("file"), "content").unwrap();
    fixture
}

async fn unpublish_in_time(fixture: &Fixture) {
    let target = fixture.target();
    let answer = tokio::time::timeout(LIMIT, fixture.unpublish(&fixture.file_system, &target)).await;
    answer.expect("no answer in time").unwrap();
}

async fn assert_unpublishes(fixture: &Fixture) {
    unpublish_in_time(fixture).await;
    fixture.assert_nothing_left().await;
    fixture.unpublish(&fixture.file_system, &fixture.target()).await.expect("again");
}

/// Kills the driver, its keeper and its data plane.
async fn kill_all(fixture: &mut Fixture) {
    let driver = fixture.driver.process.id().unwrap();
    let family = children(driver);
    let others: Vec<_> =
        family.iter().flat_map(|(pid, _)| children(pid.unsigned_abs())).chain(family.clone()).collect();
    fixture.driver.process.kill(Duration::from_secs(30)).await.unwrap();
    // The keeper first: it would start the data plane again.
    for (pid, _) in others.into_iter().rev() {
        // Workers die with their driver.
        let _ = kill_process(Pid::from_raw(pid).unwrap(), Signal::KILL);
    }
}

#[tokio::test]
async fn a_volume_whose_server_is_gone_is_unpublished() {
    if !can_mount() {
        return;
    }
    let mut fixture = published().await;
    fixture.fake.process.kill(Duration::from_secs(30)).await.unwrap();
    assert_unpublishes(&fixture).await;
    fixture.driver.stop().await.unwrap();
}

#[tokio::test]
async fn a_volume_whose_server_is_silent_is_unpublished() {
    if !can_mount() {
        return;
    }
    let fixture = published().await;
    fixture.fake.add_wire_fault(&json!({"effect": {"kind": "stall"}})).await.unwrap();
    assert_unpublishes(&fixture).await;
    fixture.stop().await;
}

#[tokio::test]
async fn a_volume_whose_tunnel_is_gone_is_unpublished() {
    if !can_mount() {
        return;
    }
    let mut fixture = published().await;
    let mount = mounts::at(&fixture.target()).unwrap().remove(0);
    let port: u16 = mount.option("port").unwrap().parse().unwrap();
    kill_all(&mut fixture).await;
    // Somebody else has taken the port meanwhile, so that the next driver can't serve the mount.
    let thief = crate::fixture::until("the port is free", || TcpListener::bind(("127.0.0.1", port)).ok()).await;
    fixture.restart_driver().await;
    unpublish_in_time(&fixture).await;
    drop(thief);
    fixture.assert_nothing_left().await;
    fixture.stop().await;
}

#[tokio::test]
async fn a_volume_whose_state_is_lost_is_unpublished() {
    if !can_mount() {
        return;
    }
    let mut fixture = published().await;
    kill_all(&mut fixture).await;
    std::fs::remove_dir_all(fixture.driver.options.dir.join("state")).unwrap();
    fixture.restart_driver().await;
    assert_unpublishes(&fixture).await;
    fixture.stop().await;
}

#[tokio::test]
async fn a_volume_whose_mount_is_gone_is_unpublished() {
    if !can_mount() {
        return;
    }
    let fixture = published().await;
    unmount(fixture.target(), UnmountFlags::empty()).unwrap();
    assert_unpublishes(&fixture).await;
    fixture.stop().await;
}

/// The Go driver would stack a second mount, and one unpublish would leave it.
#[tokio::test]
async fn a_repeated_publish_changes_nothing() {
    if !can_mount() {
        return;
    }
    let fixture = published().await;
    let request = fixture.publish_request(&fixture.file_system, &[]);
    fixture.driver.node().node_publish_volume(request.clone()).await.unwrap();
    assert_eq!(mounts::at(&fixture.target()).unwrap().len(), 1);
    let other = csi_proto::csi::NodePublishVolumeRequest { readonly: true, ..request };
    let status = fixture.driver.node().node_publish_volume(other).await.expect_err("it is read-write");
    assert_eq!(status.code(), Code::AlreadyExists, "{status:?}");
    let another = format!("{}:/another", fixture.file_system);
    let other = fixture.publish_request(&another, &[]);
    let status = fixture.driver.node().node_publish_volume(other).await.expect_err("another volume is there");
    assert_eq!(status.code(), Code::AlreadyExists, "{status:?}");
    assert!(
        [&fixture.file_system, &another].iter().all(|volume| status.message().contains(volume.as_str())),
        "{status:?}"
    );
    assert_eq!(mounts::at(&fixture.target()).unwrap().len(), 1);
    assert_unpublishes(&fixture).await;
    fixture.stop().await;
}

#[tokio::test]
async fn a_plain_directory_is_removed_if_it_is_empty() {
    if !can_mount() {
        return;
    }
    let fixture = Fixture::start().await;
    let target = fixture.target();
    std::fs::create_dir(&target).unwrap();
    assert_unpublishes(&fixture).await;
    std::fs::create_dir(&target).unwrap();
    std::fs::write(target.join("file"), "mine").unwrap();
    let status = fixture.unpublish(&fixture.file_system, &target).await.expect_err("it is not empty");
    assert_eq!(status.code(), Code::FailedPrecondition, "{status:?}");
    assert_eq!(std::fs::read_to_string(Path::new(&target).join("file")).unwrap(), "mine");
    fixture.stop().await;
}
