//! The health of volumes whose servers are frozen, whose mounts are gone, and of the node that has them: from memory, at once.

use std::path::Path;
use std::time::Duration;

use csi_proto::csi;
use rustix::mount::{UnmountFlags, unmount};
use serde_json::json;

use crate::fixture::{Fixture, can_mount};

/// Far more than an answer from memory takes; one that waits for a server takes longer. (How long it does take is a matter of the benches.)
const FROM_MEMORY: Duration = Duration::from_secs(5);
/// An idle mount says something to its server when its lease is renewed, and silence counts after that.
const NOTICED_WITHIN: Duration = Duration::from_secs(180);

type Told = Vec<(csi::VolumeHealthErrorType, String)>;

async fn health(fixture: &Fixture, volume: &str, target: &Path) -> Told {
    let request = csi::NodeGetVolumeHealthRequest {
        volume_id: volume.to_owned(),
        volume_publish_path: target.display().to_string(),
        ..Default::default()
    };
    let answer = tokio::time::timeout(FROM_MEMORY, fixture.driver.node().node_get_volume_health(request)).await;
    let found = answer.expect("an answer at once").unwrap().into_inner().volume_health.unwrap();
    assert_eq!(found.volume_id, volume);
    println!("{found:?}");
    found.health_statuses.iter().map(|entry| (entry.status(), entry.reason.clone())).collect()
}

async fn storage(fixture: &Fixture) -> Vec<String> {
    let request = csi::NodeGetStorageHealthRequest::default();
    let answer = tokio::time::timeout(FROM_MEMORY, fixture.driver.node().node_get_storage_health(request)).await;
    let answer = answer.expect("an answer at once").unwrap().into_inner();
    answer.backend_health.into_iter().map(|entry| entry.reason).collect()
}

/// Asks until it is told so.
async fn until_told(fixture: &Fixture, volume: &str, target: &Path, want: &[(csi::VolumeHealthErrorType, &str)]) {
    let want: Told = want.iter().map(|(status, reason)| (*status, (*reason).to_owned())).collect();
    let asking = async {
        loop {
            let told = health(fixture, volume, target).await;
            if told == want {
                return;
            }
            tokio::time::sleep(Duration::from_secs(2)).await;
        }
    };
    let told = tokio::time::timeout(NOTICED_WITHIN, asking).await;
    told.unwrap_or_else(|_| panic!("{volume} is never said to be {want:?}"));
}

#[tokio::test]
async fn a_frozen_server_makes_its_volume_inaccessible_and_no_other_until_it_answers() {
    if !can_mount() {
        return;
    }
    let fixture = Fixture::start().await;
    let (frozen, _) = fixture.fake.create_file_system("frozen").await.unwrap();
    let (target, other) = (fixture.target_named("frozen"), fixture.target_named("other"));
    fixture.publish(&frozen, &target).await.unwrap();
    fixture.publish(&fixture.file_system, &other).await.unwrap();
    until_told(&fixture, &frozen, &target, &[]).await;
    let fault = json!({"file_system_id": frozen, "effect": {"kind": "stall"}});
    fixture.fake.add_wire_fault(&fault).await.unwrap();
    let file = target.join("waits");
    let writer = std::thread::spawn(move || std::fs::write(file, "x"));
    let inaccessible = csi::VolumeHealthErrorType::Inaccessible;
    until_told(&fixture, &frozen, &target, &[(inaccessible, "ServerNotAnswering")]).await;
    assert_eq!(health(&fixture, &fixture.file_system, &other).await, []);
    assert_eq!(storage(&fixture).await, [] as [&str; 0], "the other one reaches its server");

    // The kernel goes on with what the server has not answered once its connection has ended.
    fixture.heal().await;
    writer.join().unwrap().unwrap();
    until_told(&fixture, &frozen, &target, &[]).await;
    fixture.unpublish(&frozen, &target).await.unwrap();
    fixture.unpublish(&fixture.file_system, &other).await.unwrap();
    fixture.stop().await;
}

#[tokio::test]
async fn a_volume_that_somebody_unmounts_is_inaccessible() {
    if !can_mount() {
        return;
    }
    let fixture = Fixture::start().await;
    let target = fixture.target();
    fixture.publish(&fixture.file_system, &target).await.unwrap();
    unmount(&target, UnmountFlags::empty()).unwrap();
    let inaccessible = csi::VolumeHealthErrorType::Inaccessible;
    until_told(&fixture, &fixture.file_system, &target, &[(inaccessible, "MountMissing")]).await;
    fixture.unpublish(&fixture.file_system, &target).await.unwrap();
    fixture.assert_nothing_left().await;
    fixture.stop().await;
}

#[tokio::test]
async fn a_node_none_of_whose_tunnels_reaches_its_server_says_so() {
    if !can_mount() {
        return;
    }
    let fixture = Fixture::start().await;
    let target = fixture.target();
    fixture.publish(&fixture.file_system, &target).await.unwrap();
    until_told(&fixture, &fixture.file_system, &target, &[]).await;
    fixture.fake.add_wire_fault(&json!({"effect": {"kind": "refuse-tls"}})).await.unwrap();
    fixture.fake.end_connections().await.unwrap();
    let file = target.join("waits");
    let writer = std::thread::spawn(move || std::fs::write(file, "x"));
    let asking = async {
        while storage(&fixture).await != ["NoServerReached"] {
            tokio::time::sleep(Duration::from_secs(2)).await;
        }
    };
    tokio::time::timeout(NOTICED_WITHIN, asking).await.expect("the node says so");
    let told = health(&fixture, &fixture.file_system, &target).await;
    let inaccessible = csi::VolumeHealthErrorType::Inaccessible;
    assert!(told.contains(&(inaccessible, "MountTargetUnreachable".to_owned())), "{told:?}");
    fixture.heal().await;
    writer.join().unwrap().unwrap();
    until_told(&fixture, &fixture.file_system, &target, &[]).await;
    assert_eq!(storage(&fixture).await, [] as [&str; 0]);
    fixture.unpublish(&fixture.file_system, &target).await.unwrap();
    fixture.stop().await;
}
