//! Drivers that follow each other under I/O: every mount keeps its port, and every port its volume.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use efs_csi_e2e::mounts;
use serde_json::json;
use tokio::process::{Child, Command};

use crate::fixture::{Fixture, can_mount, until};

/// Volumes that are written at the same time.
const VOLUMES: usize = 3;
/// The longest that a writer may take to come to its end. Generous: it is about errors, not about time.
const END: Duration = Duration::from_secs(120);

/// Appends lines with the volume's name, each one confirmed by the server, until `$0/stop` appears beside the mount; then
/// prints their number. A process of its own, because files that this process has open would be inherited by new drivers.
const WRITER: &str = r#"
count=0
until [ -e "$1" ]; do
    echo "$2 $count" | dd of="$0/lines" oflag=append conv=notrunc,fsync status=none || exit 1
    count=$((count + 1))
done
echo $count
"#;

struct Volume {
    id: String,
    target: PathBuf,
    port: String,
    writer: Child,
}

fn port(target: &Path) -> String {
    mounts::at(target).unwrap()[0].option("port").unwrap().to_owned()
}

/// Writes a file and waits until the server has it, in a process that can be given up.
async fn write_at(target: &Path) {
    let file = target.join("file");
    let mut write = Command::new("dd");
    write.arg("if=/dev/zero").arg(format!("of={}", file.display()));
    write.args(["bs=64k", "count=1", "conv=fsync", "status=none"]).kill_on_drop(true);
    let status = tokio::time::timeout(END, write.status()).await.expect("nobody serves the mount").unwrap();
    assert!(status.success(), "{status}");
    assert_eq!(std::fs::metadata(&file).unwrap().len(), 64 * 1024);
}

#[tokio::test]
async fn drivers_follow_each_other_under_io_and_every_port_keeps_its_volume() {
    if !can_mount() {
        return;
    }
    let mut fixture = Fixture::start().await;
    let stop = fixture.path("stop");
    let mut volumes = Vec::new();
    for index in 0..VOLUMES {
        let (id, _) = fixture.fake.create_file_system(&format!("volume {index}")).await.unwrap();
        let target = fixture.target_named(&format!("{index}"));
        fixture.publish(&id, &target).await.unwrap();
        let writer = Command::new("bash")
            .args(["-c", WRITER])
            .arg(&target)
            .arg(&stop)
            .arg(&id)
            .kill_on_drop(true)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        volumes.push(Volume { port: port(&target), id, target, writer });
    }
    let lines = |volume: &Volume| std::fs::metadata(volume.target.join("lines")).map(|file| file.len()).unwrap_or(0);
    for change in ["hand over", "kill", "hand over", "hand over"] {
        // Looking at a file from here is safe only while no process is being started.
        let before: Vec<u64> = volumes.iter().map(lines).collect();
        match change {
            "kill" => fixture.driver.replace().await.unwrap(),
            _ => fixture.driver.hand_over().await.unwrap(),
        }
        until(&format!("every volume is written after: {change}"), || {
            volumes.iter().zip(&before).all(|(volume, before)| lines(volume) > *before).then_some(())
        })
        .await;
        for volume in &volumes {
            assert_eq!(port(&volume.target), volume.port, "{change}: {} has another port", volume.id);
        }
    }
    std::fs::write(&stop, "").unwrap();
    for volume in volumes {
        let output =
            tokio::time::timeout(END, volume.writer.wait_with_output()).await.expect("a writer hangs").unwrap();
        assert!(output.status.success(), "{}", output.status);
        let count: usize = String::from_utf8(output.stdout).unwrap().trim().parse().unwrap();
        // Unpublished and published afresh, it shows what the server has and nothing that this kernel remembers.
        fixture.unpublish(&volume.id, &volume.target).await.unwrap();
        fixture.publish(&volume.id, &volume.target).await.unwrap();
        let text = std::fs::read_to_string(volume.target.join("lines")).unwrap();
        let wanted: Vec<String> = (0..count).map(|line| format!("{} {line}", volume.id)).collect();
        assert_eq!(text.lines().collect::<Vec<_>>(), wanted, "{count} lines were confirmed");
        fixture.unpublish(&volume.id, &volume.target).await.unwrap();
    }
    fixture.assert_nothing_left().await;
    fixture.stop().await;
}

/// The process before finishes its call when the successor has read the state directory already, and goes.
#[tokio::test]
async fn a_mount_made_during_a_hand_over_goes_on_with_the_successor() {
    if !can_mount() {
        return;
    }
    let mut fixture = Fixture::start().await;
    fixture.publish_neighbour().await;
    let (young, _) = fixture.fake.create_file_system("young").await.unwrap();
    // The driver's own first call passes; every one of the kernel's takes so long that the hand-over falls into its mount.
    let fault = json!({"file_system_id": young, "skip": 1, "effect": {"kind": "delay", "milliseconds": 700}});
    fixture.fake.add_wire_fault(&fault).await.unwrap();
    let (mut node, request) = (fixture.driver.node(), fixture.publish_request(&young, &[]));
    let call = tokio::spawn(async move { node.node_publish_volume(request).await });
    let records = fixture.driver.options.dir.join("state/mounts");
    let written = || std::fs::read_dir(&records).unwrap().count() == 2;
    until("the record of the mount is written", || written().then_some(())).await;
    let mut old = fixture.driver.succeed().await.unwrap();
    assert!(
        !call.is_finished() && mounts::at(&fixture.target()).unwrap().is_empty(),
        "the mount was too fast to be handed over"
    );
    // A second port for the same volume would mislead the kernel: both drivers have the tunnel of the one data plane.
    let second = fixture.target_named("second");
    fixture.publish(&young, &second).await.unwrap();
    old.stop().await.unwrap();
    call.await.unwrap().expect("the old process finishes the call that it has begun");
    fixture.fake.clear_wire_faults().await.unwrap();
    let statistics = csi_proto::csi::NodeGetVolumeStatsRequest {
        volume_id: young.clone(),
        volume_path: fixture.target().display().to_string(),
        ..Default::default()
    };
    fixture.driver.node().node_get_volume_stats(statistics).await.expect("the successor knows the volume at once");

    write_at(&fixture.target()).await;
    // The successor knows the volume: published again it is the same, and it can be taken away.
    fixture.publish(&young, &fixture.target()).await.unwrap();
    assert_eq!(port(&second), port(&fixture.target()));
    fixture.unpublish(&young, &second).await.unwrap();
    fixture.unpublish(&young, &fixture.target()).await.unwrap();
    fixture.assert_nothing_left().await;
    fixture.assert_neighbour_works();
    fixture.stop().await;
}

/// Neither DNS nor the EFS API is needed to go on with what is mounted: both may be down, or slow because all nodes ask.
#[tokio::test]
async fn a_restarted_driver_serves_its_mounts_without_asking_where_they_are() {
    if !can_mount() {
        return;
    }
    let mut fixture = Fixture::start().await;
    fixture.publish(&fixture.file_system, &fixture.target()).await.unwrap();
    let api = std::mem::replace(&mut fixture.driver.options.endpoint_url, "http://127.0.0.1:9".to_owned());
    for _ in 0..2 {
        fixture.driver.replace().await.unwrap();
        write_at(&fixture.target()).await;
    }
    // What is not known is asked.
    let (other, _) = fixture.fake.create_file_system("other").await.unwrap();
    fixture.publish(&other, &fixture.target_named("other")).await.expect_err("the EFS API is out of reach");
    fixture.driver.options.endpoint_url = api;
    fixture.driver.replace().await.unwrap();
    fixture.unpublish(&fixture.file_system, &fixture.target()).await.unwrap();
    fixture.assert_nothing_left().await;
    fixture.stop().await;
}
