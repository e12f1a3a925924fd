//! Making volumes.

use std::collections::BTreeSet;

use anyhow::ensure;
use serde_json::json;

use super::cluster::LABEL;
use super::plan::OTHER_ACCOUNT;
use super::workload::{Class, Stage, Task, access_point};

pub(super) async fn dynamic(stage: Stage) -> anyhow::Result<()> {
    let volume = stage.volume(&Class::default()).await?;
    let handle = volume["spec"]["csi"]["volumeHandle"].as_str().unwrap_or_default();
    ensure!(handle.contains(stage.options.file_system()), "the handle {handle} doesn't name the file system");
    if let Some(fake) = &stage.fake {
        let id = access_point(&volume)?;
        ensure!(fake.has_access_point(&id).await?, "the fake has no access point {id}");
    }
    stage.run(&Task::new("writer", "data", "echo kept >/data/file; sync")).await?;
    stage.remove("Pod", "writer").await?;
    let log = stage.run(&Task::new("reader", "data", "cat /data/file")).await?;
    ensure!(log.trim() == "kept", "the second pod reads {log:?}");
    Ok(())
}

pub(super) async fn whole_file_system(stage: Stage) -> anyhow::Result<()> {
    stage.static_volume("whole", stage.options.file_system()).await?;
    let folder = format!("/data/{}", stage.namespace);
    let script = format!("mkdir {folder}; echo here >{folder}/file; cat {folder}/file; rm -r {folder}");
    let log = stage.run(&Task::new("visitor", "whole", &script)).await?;
    ensure!(log.trim() == "here", "the pod reads {log:?}");
    Ok(())
}

pub(super) async fn ownership(stage: Stage) -> anyhow::Result<()> {
    let parameters = vec![("uid", "1234".to_owned()), ("gid", "5678".to_owned())];
    stage.volume(&Class { parameters, ..Class::default() }).await?;
    // chown by others than the owner's root is refused on EFS, even to what the file has already.
    let script = "touch /data/file; stat -c %u:%g /data/file; if chown 1:1 /data/file; then exit 1; fi";
    let log = stage.run(&Task::new("root", "data", script)).await?;
    ensure!(log.lines().any(|line| line == "1234:5678"), "the file's owner is {log:?}");
    Ok(())
}

pub(super) async fn sub_path(stage: Stage) -> anyhow::Result<()> {
    let parameters = vec![
        ("basePath", "/e2e".to_owned()),
        ("subPathPattern", "${.PVC.namespace}/${.PVC.name}".to_owned()),
        ("ensureUniqueDirectory", "false".to_owned()),
    ];
    stage.volume(&Class { parameters, ..Class::default() }).await?;
    stage.run(&Task::new("writer", "data", "echo found >/data/file")).await?;
    stage.static_volume("whole", stage.options.file_system()).await?;
    let script = format!("cat /data/e2e/{}/data/file", stage.namespace);
    let log = stage.run(&Task::new("visitor", "whole", &script)).await?;
    ensure!(log.trim() == "found", "below the file system's root there is {log:?}");
    Ok(())
}

pub(super) async fn directory_mode(stage: Stage) -> anyhow::Result<()> {
    let parameters = vec![("provisioningMode", "efs-dir".to_owned()), ("basePath", "/e2e-directories".to_owned())];
    let volume = stage.volume(&Class { parameters, ..Class::default() }).await?;
    let handle = volume["spec"]["csi"]["volumeHandle"].as_str().unwrap_or_default();
    ensure!(!handle.contains("fsap-"), "the handle {handle} names an access point");
    stage.run(&Task::new("writer", "data", "echo kept >/data/file")).await?;
    let log = stage.run(&Task::new("reader", "data", "cat /data/file")).await?;
    ensure!(log.trim() == "kept", "the second pod reads {log:?}");
    Ok(())
}

/// The Secret has the one name that the chart's default RBAC lets the provisioner read.
pub(super) async fn cross_account(stage: Stage) -> anyhow::Result<()> {
    let (name, namespace) = ("x-account", stage.options.namespace.clone());
    stage
        .cluster
        .create(json!({
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": name, "namespace": namespace, "labels": {LABEL: stage.namespace}},
            "stringData": {
                "awsRoleArn": format!("arn:aws:iam::{}:role/efs", OTHER_ACCOUNT.id),
                "externalId": OTHER_ACCOUNT.external_id,
            },
        }))
        .await?;
    let outcome = provision_with_secret(&stage, name, &namespace).await;
    // Not in the scenario's namespace, so it doesn't go with it. The volume needs it until it is deleted.
    stage.remove("Pod", "writer").await?;
    stage.cluster.delete("PersistentVolumeClaim", &stage.namespace, "data").await?;
    if let Ok(volume) = &outcome {
        stage.cluster.wait_gone("PersistentVolume", "", volume).await?;
    }
    stage.cluster.delete("Secret", &namespace, name).await?;
    outcome.map(drop)
}

async fn provision_with_secret(stage: &Stage, name: &str, namespace: &str) -> anyhow::Result<String> {
    let parameters = vec![
        ("fileSystemId", OTHER_ACCOUNT.file_system.to_owned()),
        ("csi.storage.k8s.io/provisioner-secret-name", name.to_owned()),
        ("csi.storage.k8s.io/provisioner-secret-namespace", namespace.to_owned()),
    ];
    let volume = stage.volume(&Class { parameters, ..Class::default() }).await?;
    if let Some(fake) = &stage.fake {
        let journal = fake.journal().await?.to_string();
        ensure!(journal.contains("AssumeRole"), "no role was assumed");
    }
    let handle = volume["spec"]["csi"]["volumeHandle"].as_str().unwrap_or_default();
    ensure!(
        handle.contains(OTHER_ACCOUNT.file_system),
        "the handle {handle} doesn't name the other account's file system"
    );
    // Nodes know no mount target of that account but those in the volume's context.
    stage.run(&Task::new("writer", "data", "echo kept >/data/file")).await?;
    Ok(volume["metadata"]["name"].as_str().unwrap_or_default().to_owned())
}

pub(super) async fn many_claims(stage: Stage) -> anyhow::Result<()> {
    const CLAIMS: usize = 100;
    let class = stage.class(&Class::default()).await?;
    let names: Vec<String> = (0..CLAIMS).map(|n| format!("claim-{n}")).collect();
    for name in &names {
        stage.claim(name, &class, "ReadWriteMany").await?;
    }
    let mut handles = BTreeSet::new();
    for name in &names {
        handles.insert(access_point(&stage.bound(name).await?)?);
    }
    ensure!(handles.len() == CLAIMS, "{CLAIMS} claims have {} access points", handles.len());
    if let Some(fake) = &stage.fake {
        let mut groups = BTreeSet::new();
        for found in fake.access_points().await? {
            if found["AccessPointId"].as_str().is_some_and(|id| handles.contains(id)) {
                groups.insert(found["PosixUser"]["Gid"].to_string());
            }
        }
        ensure!(groups.len() == CLAIMS, "{CLAIMS} claims have {} group ids", groups.len());
    }
    Ok(())
}
