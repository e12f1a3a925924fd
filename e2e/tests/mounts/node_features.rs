//! What a node tells about its mounts: statistics by walking, metrics, the admin socket; and that telling is in nobody's way.

use std::path::Path;
use std::time::Duration;

use csi_proto::csi;
use csi_proto::csi::volume_usage::Unit;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::process::Command;

use crate::fixture::{Fixture, can_mount};

/// What `efs-csi-driver debug --json` prints for the fixture's driver.
async fn debug(fixture: &Fixture) -> Value {
    let state_dir = fixture.driver.options.dir.join("state");
    let mut command = Command::new(&fixture.driver.options.binary);
    let output = command.args(["debug", "--json", "--state-dir"]).arg(state_dir).output().await.unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// The page of `/metrics`.
async fn metrics(port: u16) -> String {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").await.unwrap();
    let mut page = String::new();
    stream.read_to_string(&mut page).await.unwrap();
    page
}

/// The usage entries of a volume: unit, used, total.
async fn usage(fixture: &Fixture, target: &Path) -> Vec<(Unit, i64, i64)> {
    let request = csi::NodeGetVolumeStatsRequest {
        volume_id: fixture.file_system.clone(),
        volume_path: target.display().to_string(),
        ..Default::default()
    };
    let answer = fixture.driver.node().node_get_volume_stats(request).await.unwrap().into_inner();
    assert!(!answer.volume_condition.unwrap().abnormal);
    answer.usage.iter().map(|entry| (entry.unit(), entry.used, entry.total)).collect()
}

#[tokio::test]
async fn a_volume_shows_in_statistics_metrics_and_debug_until_it_is_unpublished() {
    if !can_mount() {
        return;
    }
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let http = format!("--http-endpoint=127.0.0.1:{port}");
    let fixture = Fixture::start_with(|options| {
        options.arguments.extend([
            "--vol-metrics-opt-in".to_owned(),
            "--vol-metrics-refresh-period=0".to_owned(),
            http,
        ]);
    })
    .await;
    let request = fixture.publish_request(&fixture.file_system, &[]);
    fixture.driver.node().node_publish_volume(request).await.unwrap();
    let target = fixture.target();
    let directory = target.join("directory");
    std::fs::create_dir(&directory).unwrap();
    for file in 0..40 {
        std::fs::write(directory.join(format!("{file}")), vec![1; 10_000]).unwrap();
    }

    // The first answer comes at once, a later one knows what has been counted: 40 files, one directory, the root.
    assert_eq!(usage(&fixture, &target).await[0].0, Unit::Bytes);
    let counted = loop {
        let entries = usage(&fixture, &target).await;
        if let Some(entry) = entries.iter().find(|entry| entry.0 == Unit::Inodes && entry.1 == 42) {
            println!("counted: {entry:?}");
            break entries;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    assert!((400_000..4_000_000).contains(&counted[0].1), "{counted:?}");
    assert!(counted[0].2 > counted[0].1, "{counted:?}");

    let page = metrics(port).await;
    let series = format!("{{file_system=\"{}\",access_point=\"\",port=", fixture.file_system);
    for name in ["efs_csi_tunnel_up", "efs_csi_tunnel_tls_handshakes_total", "efs_csi_tunnel_sent_bytes_total"] {
        let line = page.lines().find(|line| line.starts_with(&format!("{name}{series}"))).expect(name);
        let value: f64 = line.rsplit(' ').next().unwrap().parse().unwrap();
        assert!(value >= 1.0, "{line}");
    }
    assert!(page.contains("\nefs_csi_mounts 1\n"), "{page}");
    assert!(page.contains(r#"efs_csi_mount_duration_seconds_count{operation="mount",outcome="ok"} 1"#), "{page}");

    let report = debug(&fixture).await;
    assert_eq!(report["pid"], fixture.driver.process.id().unwrap());
    let (tunnel, mount) = (&report["node"]["tunnels"][0], &report["node"]["mounts"][0]);
    assert_eq!(tunnel["file_system"], fixture.file_system);
    assert!(tunnel["received_bytes"].as_u64().unwrap() > 0 && tunnel["connections"] == 1, "{tunnel}");
    assert!(tunnel["certificate_expires_in"].as_u64().unwrap() > 3600, "{tunnel}");
    assert_eq!(mount["target"], target.display().to_string());
    assert_eq!(mount["server"], format!("127.0.0.1:{}", tunnel["port"]));
    assert_eq!((&tunnel["trouble"], &mount["trouble"]), (&Value::Null, &Value::Null));
    assert_eq!(report["node"]["walks"][0]["volume"], fixture.file_system);

    // With a refresh period of zero each call starts a walk: this unmount meets one, or the start of one.
    usage(&fixture, &target).await;
    fixture.unpublish(&fixture.file_system, &target).await.unwrap();
    assert!(!target.exists(), "the target directory is left");
    let page = metrics(port).await;
    assert!(!page.contains(&series) && page.contains("\nefs_csi_mounts 0\n"), "{page}");
    let report = debug(&fixture).await;
    assert_eq!(report["node"], serde_json::json!({"tunnels": [], "mounts": [], "walks": [], "pod_identities": []}));
    fixture.stop().await;
}
