//! Several pods and one volume.

use anyhow::{Context as _, ensure};
use serde_json::Value;

use super::workload::{Class, Stage, Task};

pub(super) async fn shared(stage: Stage) -> anyhow::Result<()> {
    const PODS: usize = 6;
    stage.volume(&Class::default()).await?;
    let nodes = stage.nodes().await?;
    let nodes: Vec<_> = nodes.iter().take(2).collect();
    for n in 0..PODS {
        let script =
            format!("echo {n} >/data/{n}; until [ $(ls /data | wc -l) -eq {PODS} ]; do sleep 0.2; done; cat /data/*");
        let name = format!("pod-{n}");
        stage.start(&Task::new(&name, "data", &script).on(nodes[n % nodes.len()])).await?;
    }
    let all: String = (0..PODS).map(|n| format!("{n}\n")).collect();
    for n in 0..PODS {
        let log = stage.finish(&format!("pod-{n}")).await?;
        ensure!(log == all, "pod {n} reads {log:?}");
    }
    Ok(())
}

pub(super) async fn read_only(stage: Stage) -> anyhow::Result<()> {
    stage.volume(&Class::default()).await?;
    stage.run(&Task::new("writer", "data", "echo kept >/data/file")).await?;
    let script = "cat /data/file; if echo more >>/data/file; then exit 1; fi; if touch /data/new; then exit 1; fi";
    let log = stage.run(&Task::new("reader", "data", script).read_only()).await?;
    ensure!(log.contains("kept"), "the reader reads {log:?}");
    Ok(())
}

pub(super) async fn one_pod(stage: Stage) -> anyhow::Result<()> {
    let class = stage.class(&Class::default()).await?;
    stage.claim("data", &class, "ReadWriteOncePod").await?;
    stage.bound("data").await?;
    stage.start(&Task::new("first", "data", "sleep 3600")).await?;
    stage.running("first").await?;
    stage.start(&Task::new("second", "data", "true")).await?;
    let refused = |pod: &Value| {
        let conditions = pod["status"]["conditions"].as_array();
        conditions.into_iter().flatten().any(|c| c["type"] == "PodScheduled" && c["status"] == "False")
    };
    stage.cluster.wait_for("Pod", &stage.namespace, "second", "refused by the scheduler", refused).await?;
    stage.remove("Pod", "first").await?;
    stage.finish("second").await.context("the second pod must get the volume when the first is gone")?;
    Ok(())
}
