//! Mounts with the identity of the pod.

use anyhow::{Context as _, ensure};
use serde_json::json;

use super::workload::{Class, Stage, Task};

/// The service account's name.
const ACCOUNT: &str = "app";

pub(super) async fn irsa(stage: Stage) -> anyhow::Result<()> {
    let role = role(&stage);
    account(&stage, Some(&role)).await?;
    arrives_as_itself(&stage, "AssumeRoleWithWebIdentity").await
}

pub(super) async fn agent(stage: Stage) -> anyhow::Result<()> {
    let fake = stage.fake.as_ref().context("the fake is needed")?;
    fake.associate(&stage.namespace, ACCOUNT, &role(&stage)).await?;
    account(&stage, None).await?;
    arrives_as_itself(&stage, "GetCredentials").await
}

/// A role that nobody else has: it is called as the namespace.
fn role(stage: &Stage) -> String {
    format!("arn:aws:iam::123456789012:role/{}", stage.namespace)
}

async fn account(stage: &Stage, role: Option<&str>) -> anyhow::Result<()> {
    let annotations = role.map(|role| json!({ "eks.amazonaws.com/role-arn": role }));
    let metadata = json!({ "name": ACCOUNT, "namespace": stage.namespace, "annotations": annotations });
    stage.cluster.create(json!({ "apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata })).await
}

/// A pod of the service account writes, another one reads; the file system has seen the role of both, who got it by `operation`.
async fn arrives_as_itself(stage: &Stage, operation: &str) -> anyhow::Result<()> {
    let parameters = vec![("authenticationSource", "pod".to_owned())];
    stage.volume(&Class { parameters, ..Class::default() }).await?;
    stage.run(&Task::new("writer", "data", "echo kept >/data/file").of(ACCOUNT)).await?;
    let log = stage.run(&Task::new("reader", "data", "cat /data/file").of(ACCOUNT)).await?;
    ensure!(log == "kept\n", "the reader reads {log:?}");
    let fake = stage.fake.as_ref().context("the fake is needed")?;
    let asked = fake.journal_of(operation).await?;
    ensure!(asked.contains(operation), "nobody called {operation}");
    let principal = format!("assumed-role/{}/", stage.namespace);
    let connected = fake.journal_of("Connect").await?;
    ensure!(connected.contains(&principal), "the file system has never seen {principal}");
    Ok(())
}
