//! The chart's node DaemonSet for given values.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context as _, ensure};
use k8s_openapi::api::apps::v1::DaemonSet;
use serde::Deserialize as _;
use tokio::process::Command;

/// Renders the chart with `values` (YAML; later ones come before earlier ones) and gives the DaemonSet of the node pods.
pub async fn node_daemon_set(helm: &Path, chart: &Path, values: &[&str]) -> anyhow::Result<DaemonSet> {
    let folder = tempfile::tempdir()?;
    let mut files = Vec::new();
    for (number, text) in values.iter().enumerate() {
        let file = folder.path().join(format!("{number}.yaml"));
        std::fs::write(&file, text)?;
        files.push(format!("--values={}", file.display()));
    }
    let output = Command::new(helm)
        .args(["template", "efs"])
        .arg(chart)
        .arg("--namespace=kube-system")
        .args(&files)
        .env("KUBECONFIG", "/dev/null")
        .stdin(Stdio::null())
        .output()
        .await
        .with_context(|| format!("starting {}", helm.display()))?;
    ensure!(output.status.success(), "helm: {}", String::from_utf8_lossy(&output.stderr));
    for document in serde_yaml_ng::Deserializer::from_slice(&output.stdout) {
        let document = serde_yaml_ng::Value::deserialize(document)?;
        if document["kind"] == "DaemonSet" {
            return serde_yaml_ng::from_value(document).context("the chart's DaemonSet is none of Kubernetes'");
        }
    }
    anyhow::bail!("the chart has no DaemonSet")
}

/// Where helm is: `HELM`, or where `./bootstrap` puts it.
pub fn find_helm(target: &Path) -> Option<PathBuf> {
    let given = std::env::var_os("HELM").map(PathBuf::from);
    let path = std::env::var_os("PATH").unwrap_or_default();
    let on_path = std::env::split_paths(&path).map(|directory| directory.join("helm")).collect::<Vec<_>>();
    given
        .into_iter()
        .chain([target.join("tools/bin/helm"), target.join("tools/helm")])
        .chain(on_path)
        .find(|it| it.is_file())
}
