//! Volumes that go, stay and grow.

use anyhow::ensure;
use serde_json::{Value, json};

use super::workload::{Class, Stage, Task, access_point};

/// A class whose directories can be found from the file system's root.
fn findable(retain: bool) -> Class {
    let parameters = vec![
        ("basePath", "/e2e".to_owned()),
        ("subPathPattern", "${.PVC.namespace}".to_owned()),
        ("ensureUniqueDirectory", "false".to_owned()),
    ];
    Class { parameters, retain, ..Class::default() }
}

/// The chart is installed with deleteAccessPointRootDir.
pub(super) async fn delete(stage: Stage) -> anyhow::Result<()> {
    let volume = stage.volume(&findable(false)).await?;
    let id = access_point(&volume)?;
    stage.run(&Task::new("writer", "data", "mkdir -p /data/a/b; echo x >/data/a/b/file")).await?;
    stage.remove("Pod", "writer").await?;
    stage.remove("PersistentVolumeClaim", "data").await?;
    stage.cluster.wait_gone("PersistentVolume", "", volume["metadata"]["name"].as_str().unwrap_or_default()).await?;
    if let Some(fake) = &stage.fake {
        ensure!(!fake.has_access_point(&id).await?, "the access point {id} is still there");
    }
    stage.static_volume("whole", stage.options.file_system()).await?;
    // Files are removed in the background.
    let script =
        format!("for i in $(seq 300); do [ -e /data/e2e/{} ] || exit 0; sleep 0.2; done; exit 1", stage.namespace);
    stage.run(&Task::new("visitor", "whole", &script)).await?;
    Ok(())
}

pub(super) async fn retain(stage: Stage) -> anyhow::Result<()> {
    let volume = stage.volume(&findable(true)).await?;
    let name = volume["metadata"]["name"].as_str().unwrap_or_default().to_owned();
    let id = access_point(&volume)?;
    stage.run(&Task::new("writer", "data", "echo kept >/data/file")).await?;
    stage.remove("Pod", "writer").await?;
    stage.remove("PersistentVolumeClaim", "data").await?;
    let released = |volume: &Value| volume["status"]["phase"] == "Released";
    stage.cluster.wait_for("PersistentVolume", "", &name, "released", released).await?;
    if let Some(fake) = &stage.fake {
        ensure!(fake.has_access_point(&id).await?, "the access point {id} is gone");
    }
    stage.static_volume("again", &format!("{}::{id}", stage.options.file_system())).await?;
    let log = stage.run(&Task::new("reader", "again", "cat /data/file; rm /data/file")).await?;
    ensure!(log.trim() == "kept", "the file has {log:?}");
    // With the policy Delete the provisioner takes the access point away with the volume.
    let changes = json!({"spec": {"persistentVolumeReclaimPolicy": "Delete"}});
    stage.cluster.patch("PersistentVolume", "", &name, &changes).await?;
    stage.cluster.wait_gone("PersistentVolume", "", &name).await
}

pub(super) async fn expansion(stage: Stage) -> anyhow::Result<()> {
    stage.volume(&Class::default()).await?;
    stage.start(&Task::new("user", "data", "echo kept >/data/file; sleep 3600")).await?;
    stage.running("user").await?;
    let changes = json!({"spec": {"resources": {"requests": {"storage": "2Gi"}}}});
    stage.cluster.patch("PersistentVolumeClaim", &stage.namespace, "data", &changes).await?;
    let grown = |claim: &Value| claim["status"]["capacity"]["storage"] == "2Gi";
    stage.cluster.wait_for("PersistentVolumeClaim", &stage.namespace, "data", "2 GiB large", grown).await?;
    let pod = stage.running("user").await?;
    let restarts = &pod["status"]["containerStatuses"][0]["restartCount"];
    ensure!(restarts.as_u64().unwrap_or(0) == 0, "the pod was restarted {restarts} times");
    Ok(())
}
