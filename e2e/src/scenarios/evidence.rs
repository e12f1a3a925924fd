//! What is kept when a scenario fails: everything that one would ask for first.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::workload::Stage;

/// Longest piece kept of one log, in bytes; its end says more than its beginning.
const LOG_LIMIT: usize = 1 << 20;

/// Collects evidence below `output`, in a folder named after the scenario, and returns the folder. What can't be had is noted
/// in its place: the collection itself never fails a run.
pub async fn collect(stage: &Stage, scenario: &str, failure: &anyhow::Error, output: &Path) -> PathBuf {
    let folder = output.join(scenario);
    let keep = |name: &str, content: &str| {
        let start = content.len().saturating_sub(LOG_LIMIT);
        let start = (start..content.len()).find(|&i| content.is_char_boundary(i)).unwrap_or(content.len());
        let written =
            std::fs::create_dir_all(&folder).and_then(|()| std::fs::write(folder.join(name), &content[start..]));
        if let Err(error) = written {
            eprintln!("can't keep {name}: {error}");
        }
    };
    keep("failure.txt", &format!("{failure:?}\n"));

    let driver = &stage.options.namespace;
    for (kind, namespace, name) in [
        ("Event", stage.namespace.as_str(), "events"),
        ("Event", driver.as_str(), "driver-events"),
        ("Pod", stage.namespace.as_str(), "pods"),
        ("Pod", driver.as_str(), "driver-pods"),
        ("PersistentVolumeClaim", stage.namespace.as_str(), "claims"),
        ("PersistentVolume", "", "volumes"),
        ("StorageClass", "", "classes"),
        ("CSINode", "", "csinodes"),
    ] {
        keep(&format!("{name}.json"), &text(stage.cluster.list(kind, namespace, "").await.map(Value::from)));
    }
    for (namespace, selector) in [
        (driver.as_str(), "app=efs-csi-controller"),
        (driver.as_str(), "app=efs-csi-node"),
        (driver.as_str(), "app=fake-efs"),
        (stage.namespace.as_str(), ""),
    ] {
        for pod in stage.cluster.list("Pod", namespace, selector).await.unwrap_or_default() {
            let pod_name = pod["metadata"]["name"].as_str().unwrap_or_default();
            for container in pod["spec"]["containers"].as_array().into_iter().flatten() {
                let container_name = container["name"].as_str().unwrap_or_default();
                for previous in [false, true] {
                    // Most containers have no predecessor, which is no loss.
                    if let Ok(log) = stage.cluster.log(namespace, pod_name, container_name, previous).await {
                        let suffix = if previous { ".previous" } else { "" };
                        keep(&format!("{pod_name}.{container_name}{suffix}.log"), &log);
                    }
                }
            }
        }
    }
    keep("mounts.txt", &mounts(stage).await.unwrap_or_else(|error| format!("{error:#}\n")));
    if let Some(fake) = &stage.fake {
        keep("fake-journal.json", &text(fake.journal().await));
        keep("fake-state.json", &text(fake.state().await));
    }
    folder
}

fn text(value: anyhow::Result<Value>) -> String {
    value.map_or_else(|error| format!("{error:#}\n"), |value| format!("{value:#}\n"))
}

/// The NFS mounts of every node, as its first process sees them.
async fn mounts(stage: &Stage) -> anyhow::Result<String> {
    let mut all = String::new();
    for (n, node) in stage.nodes().await?.iter().enumerate() {
        let name = format!("mounts-{n}");
        stage
            .cluster
            .create(json!({
                "apiVersion": "v1",
                "kind": "Pod",
                "metadata": {"name": name, "namespace": stage.namespace},
                "spec": {
                    "restartPolicy": "Never",
                    "hostPID": true,
                    "nodeName": node,
                    "tolerations": [{"operator": "Exists"}],
                    "containers": [{
                        "name": "task",
                        "image": stage.options.pod_image,
                        "command": ["sh", "-c", "grep nfs4 /proc/1/mountinfo || echo none"],
                        "securityContext": {"privileged": true},
                    }],
                },
            }))
            .await?;
        let log = stage.finish(&name).await.unwrap_or_else(|error| format!("{error:#}"));
        all += &format!("{node}:\n{log}\n");
    }
    Ok(all)
}
