//! Things that break or are replaced while volumes are in use.

use std::collections::BTreeSet;

use anyhow::{Context as _, ensure};
use serde_json::{Value, json};

use super::plan::RELEASE;
use super::workload::{Class, Stage, Task};

/// Appends a number each tenth of a second, reads it back, prints it; any error ends the pod.
const WRITER: &str =
    "i=0; while :; do echo $i >>/data/log; [ \"$(tail -n1 /data/log)\" = $i ]; echo $i; i=$((i+1)); sleep 0.1; done";

/// The last number that the writer printed; all numbers before it must have been printed too.
async fn progress(stage: &Stage) -> anyhow::Result<u64> {
    let pod = stage.cluster.get("Pod", &stage.namespace, "writer").await?.context("the writer is gone")?;
    let log = stage.cluster.log(&stage.namespace, "writer", "task", false).await?;
    ensure!(pod["status"]["phase"] == "Running", "the writer failed:\n{log}");
    let numbers: Vec<u64> = log.lines().map_while(|line| line.parse().ok()).collect();
    ensure!(numbers.iter().zip(0..).all(|(found, wanted)| *found == wanted), "the writer skipped numbers:\n{log}");
    Ok(numbers.last().copied().unwrap_or(0))
}

/// Waits until the writer has come further by `more` numbers.
async fn writes_on(stage: &Stage, more: u64) -> anyhow::Result<()> {
    let start = progress(stage).await?;
    stage
        .cluster
        .wait("the writer to write on", |_| async move {
            let now = progress(stage).await?;
            Ok(if now >= start + more { Ok(()) } else { Err(format!("it stands at {now}, after {start}")) })
        })
        .await
}

async fn start_writer(stage: &Stage) -> anyhow::Result<String> {
    stage.volume(&Class::default()).await?;
    stage.start(&Task::new("writer", "data", WRITER)).await?;
    let pod = stage.running("writer").await?;
    writes_on(stage, 5).await?;
    Ok(pod["spec"]["nodeName"].as_str().unwrap_or_default().to_owned())
}

/// The node driver's pod on a node.
async fn node_pod(stage: &Stage, node: &str) -> anyhow::Result<Value> {
    let pods = stage.cluster.list("Pod", &stage.options.namespace, "app=efs-csi-node").await?;
    pods.into_iter().find(|pod| pod["spec"]["nodeName"] == node).with_context(|| format!("no node driver on {node}"))
}

/// Deletes the node driver's pod on a node and waits until another one is ready.
async fn replace_node_pod(stage: &Stage, node: &str) -> anyhow::Result<()> {
    let old = node_pod(stage, node).await?;
    let name = old["metadata"]["name"].as_str().unwrap_or_default().to_owned();
    stage.cluster.delete("Pod", &stage.options.namespace, &name).await?;
    let old = old["metadata"]["uid"].clone();
    stage
        .cluster
        .wait("a new node driver", |_| {
            let old = old.clone();
            async move {
                Ok(match node_pod(stage, node).await {
                    Ok(pod) if pod["metadata"]["uid"] != old && is_ready(&pod) => Ok(()),
                    Ok(pod) => Err(format!("{} is not ready", pod["metadata"]["name"])),
                    Err(missing) => Err(missing.to_string()),
                })
            }
        })
        .await
}

fn is_ready(pod: &Value) -> bool {
    let conditions = pod["status"]["conditions"].as_array();
    conditions.into_iter().flatten().any(|c| c["type"] == "Ready" && c["status"] == "True")
}

pub(super) async fn node_restart(stage: Stage) -> anyhow::Result<()> {
    let node = start_writer(&stage).await?;
    replace_node_pod(&stage, &node).await?;
    writes_on(&stage, 20).await?;
    // The new process can also unmount what the old one mounted, and mount anew.
    stage.remove("Pod", "writer").await?;
    stage.run(&Task::new("reader", "data", "tail -n1 /data/log").on(&node)).await?;
    Ok(())
}

pub(super) async fn crash_loop(stage: Stage) -> anyhow::Result<()> {
    let node = start_writer(&stage).await?;
    for _ in 0..4 {
        replace_node_pod(&stage, &node).await?;
    }
    writes_on(&stage, 20).await
}

pub(super) async fn api_outage(stage: Stage) -> anyhow::Result<()> {
    let fake = stage.fake.clone().context("needs the fake")?;
    let class = stage.class(&Class::default()).await?;
    let outages = [
        ("throttled", json!({"kind": "throttle"})),
        ("down", json!({"kind": "error", "name": "InternalServerError", "status": 500, "message": "down"})),
        ("cut", json!({"kind": "drop-after"})),
    ];
    for (name, effect) in outages {
        fake.add_fault("CreateAccessPoint", &effect).await?;
        let outcome = fails_for_now(&stage, name, &class).await;
        fake.clear_faults().await?;
        outcome?;
        stage.bound(name).await.with_context(|| format!("after the API was {name}"))?;
    }
    // An answer that got lost must not have left a second access point behind.
    let names: BTreeSet<_> = fake.access_points().await?.iter().map(|a| a["ClientToken"].to_string()).collect();
    ensure!(names.len() == fake.access_points().await?.len(), "two access points have one client token");
    Ok(())
}

/// Makes a claim and waits until the provisioner says on it that it fails.
async fn fails_for_now(stage: &Stage, name: &str, class: &str) -> anyhow::Result<()> {
    stage.claim(name, class, "ReadWriteMany").await?;
    stage
        .cluster
        .wait(&format!("an event that {name} fails"), |cluster| async move {
            let events = cluster.list("Event", &stage.namespace, "").await?;
            let told =
                events.iter().any(|e| e["involvedObject"]["name"] == name && e["reason"] == "ProvisioningFailed");
            Ok(if told { Ok(()) } else { Err(format!("none of {} events says so", events.len())) })
        })
        .await
}

pub(super) async fn startup_taint(stage: Stage) -> anyhow::Result<()> {
    let nodes = stage.nodes().await?;
    let node = nodes.last().context("there is a node")?;
    let found = stage.cluster.get("Node", "", node).await?.context("the node is there")?;
    let mut taints = found["spec"]["taints"].as_array().cloned().unwrap_or_default();
    // Any effect will do. NoExecute would evict whatever runs on the node, the fake with its files included.
    let ours = json!({"key": "efs.csi.aws.com/agent-not-ready", "effect": "NoSchedule"});
    taints.push(ours.clone());
    stage.cluster.patch("Node", "", node, &json!({"spec": {"taints": taints}})).await?;
    replace_node_pod(&stage, node).await?;
    let clean = |node: &Value| {
        node["spec"]["taints"].as_array().is_none_or(|taints| taints.iter().all(|t| t["key"] != ours["key"]))
    };
    let outcome = stage.cluster.wait_for("Node", "", node, "without the start-up taint", clean).await;
    if outcome.is_err() {
        taints.pop();
        stage.cluster.patch("Node", "", node, &json!({"spec": {"taints": taints}})).await?;
    }
    outcome.map(drop)
}

pub(super) async fn metrics(stage: Stage) -> anyhow::Result<()> {
    stage.volume(&Class::default()).await?;
    let namespace = stage.options.namespace.clone();
    let pods = stage.cluster.list("Pod", &namespace, "app=efs-csi-controller").await?;
    let mut calls = 0;
    for pod in &pods {
        let port = pod["metadata"]["annotations"]["prometheus.io/port"].as_str().context("no port annotation")?;
        let target = format!("pods/{}:{port}", pod["metadata"]["name"].as_str().unwrap_or_default());
        let page = stage.cluster.page(http::Method::GET, &namespace, &target, "/metrics", None).await?;
        ensure!(page.contains("# TYPE aws_efs_csi_api_request_duration_seconds histogram"), "not among:\n{page}");
        let made = "aws_efs_csi_api_request_duration_seconds_count{request=\"CreateAccessPoint\",service=\"efs\"} ";
        let line = page.lines().find_map(|line| line.strip_prefix(made)).context("CreateAccessPoint isn't counted")?;
        calls += line.split(' ').next().unwrap_or_default().parse::<u64>()?;
    }
    // Only the leader of two controllers makes volumes.
    ensure!(calls > 0, "no controller has counted a CreateAccessPoint");
    Ok(())
}

pub(super) async fn chart_upgrade(stage: Stage) -> anyhow::Result<()> {
    start_writer(&stage).await?;
    let change = ("node.podAnnotations.efs-csi-e2e/upgraded", "yes");
    stage.plan.upgrade(&[change]).run(stage.options.tools.as_deref()).await?;
    stage.cluster.wait_rolled_out("DaemonSet", &stage.options.namespace, "efs-csi-node").await?;
    writes_on(&stage, 20).await?;
    stage.plan.upgrade(&[]).run(stage.options.tools.as_deref()).await?;
    stage.cluster.wait_rolled_out("DaemonSet", &stage.options.namespace, "efs-csi-node").await?;
    writes_on(&stage, 20).await
}

pub(super) async fn uninstall(stage: Stage) -> anyhow::Result<()> {
    let remove =
        stage.plan.tear_down.iter().find(|step| step.program == "helm").context("nothing removes the chart")?;
    remove.run(stage.options.tools.as_deref()).await?;
    let selector = format!("app.kubernetes.io/instance={RELEASE}");
    let kinds = [
        "DaemonSet",
        "Deployment",
        "Pod",
        "Service",
        "ServiceAccount",
        "Secret",
        "StorageClass",
        "ClusterRole",
        "ClusterRoleBinding",
    ];
    for kind in kinds {
        let selector = &selector;
        stage
            .cluster
            .wait(&format!("every {kind} to go"), |cluster| async move {
                let left = cluster.list(kind, "", selector).await?;
                let names: Vec<_> = left.iter().map(|object| object["metadata"]["name"].to_string()).collect();
                Ok(if names.is_empty() { Ok(()) } else { Err(format!("{names:?} are left")) })
            })
            .await?;
    }
    stage.plan.upgrade(&[]).run(stage.options.tools.as_deref()).await
}
