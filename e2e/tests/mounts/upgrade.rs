//! Drivers that follow each other under I/O: every mount keeps its port, and every port its volume.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use efs_csi_e2e::mounts;
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
