//! Mounts with the identity of the pod: what the kubelet's republish costs, and what a further service account does.

use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context as _, ensure};
use efs_csi_e2e::stack::{Driver, DriverOptions, Fake};
use efs_csi_e2e::tenants::{self, Way};

use super::{Board, Declaration, Setting};
use crate::peers::own_tunnel::NAME;
use crate::report::Better::Lower;
use crate::stats::quantile;
use crate::usage;

/// Publishes at once: less than the kernel and the fake have trouble with.
const AT_ONCE: usize = 25;

/// The measurements of this scenario.
pub fn declare(board: &mut Board) {
    let mut declare = |id, title, unit, method| {
        board.declare(Declaration { id, title, unit, better: Lower, method, peers: &[] });
    };
    let republish = "200 mounts of one file system, each with a service account and a role of its own. The kubelet's repeated call for each, one \
        after the other, with a token that is new each time; the median of a round. STS is asked by none of them.";
    declare("republish.many", "NodePublishVolume again, for a fresh token, at 200 mounts", "ms", republish);
    let memory = "Resident sets of driver and data plane with 200 such mounts less those with 50, by 150: a mount, its tunnel with its \
        connection, credentials, token and certificate.";
    declare("memory.identity", "Memory per further mount with an identity of its own", "KiB", memory);
}

/// Takes the samples.
pub async fn run(setting: &Setting, board: &mut Board) -> anyhow::Result<()> {
    ensure!(rustix::process::geteuid().is_root(), "mounting needs root");
    let mut fake = Fake::start(&setting.bin_dir.join("fake-efs"), &setting.dir, &[]).await?;
    let (file_system, _) = fake.create_file_system("identities").await?;
    let folder = setting.dir.join("driver");
    let options = DriverOptions::new(&setting.bin_dir.join("efs-csi-driver"), &folder, &fake);
    let (some, all) = setting.amount((50, 200), (2, 4));
    let mut pods = Vec::new();
    for number in 0..all {
        let parent = setting.dir.join("pods").join(number.to_string());
        std::fs::create_dir_all(&parent)?;
        pods.push((format!("tenant-{number}"), parent.join("mount")));
    }
    let mut serial = 0;
    for _ in setting.rounds(3, 1) {
        let before = tenants::exchanges(&fake).await?;
        let mut driver = Driver::start(options.clone()).await?;
        publish(&driver, &file_system, &pods[..some]).await?;
        settle(setting).await;
        let few = resident(&driver, &folder)?;
        publish(&driver, &file_system, &pods[some..]).await?;
        settle(setting).await;
        let full = resident(&driver, &folder)?;
        board.sample("memory.identity", NAME, full.saturating_sub(few) as f64 / (all - some) as f64);
        let mut times = Vec::new();
        serial += 1;
        for (namespace, target) in &pods {
            let request = tenants::request(namespace, Way::Irsa, &file_system, target, 1 + serial);
            let begin = Instant::now();
            driver.node().node_publish_volume(request).await?;
            times.push(begin.elapsed().as_secs_f64() * 1e3);
        }
        board.sample("republish.many", NAME, quantile(&times, 0.5).context("nothing was mounted")?);
        let asked = tenants::exchanges(&fake).await? - before;
        ensure!(asked == all, "STS was asked {asked} times for {all} identities");
        for (_, target) in &pods {
            let request = csi_proto::csi::NodeUnpublishVolumeRequest {
                volume_id: file_system.clone(),
                target_path: target.display().to_string(),
            };
            driver.node().node_unpublish_volume(request).await?;
        }
        driver.stop().await?;
    }
    fake.stop().await
}

async fn publish(driver: &Driver, volume: &str, pods: &[(String, PathBuf)]) -> anyhow::Result<()> {
    for chunk in pods.chunks(AT_ONCE) {
        let each = chunk.iter().map(|(namespace, target)| async move {
            let request = tenants::request(namespace, Way::Irsa, volume, target, 1);
            driver.node().node_publish_volume(request).await
        });
        futures::future::try_join_all(each).await?;
    }
    Ok(())
}

/// Grown buffers are given back after five quiet seconds, looked for every five seconds.
async fn settle(setting: &Setting) {
    tokio::time::sleep(std::time::Duration::from_secs(setting.amount(11, 0))).await;
}

/// Resident sets of the driver and of its data plane, in KiB.
fn resident(driver: &Driver, folder: &Path) -> anyhow::Result<u64> {
    let pid = driver.process.id().context("the driver has ended")?;
    let plane = data_plane(&folder.join("state/keeper")).context("there is no data plane")?;
    Ok(usage::memory(pid)?.rss + usage::memory(plane)?.rss)
}

/// The process that serves the tunnels of this keeper.
fn data_plane(keeper: &Path) -> Option<u32> {
    let keeper = keeper.display().to_string();
    std::fs::read_dir("/proc").ok()?.flatten().find_map(|entry| {
        let line = std::fs::read_to_string(entry.path().join("cmdline")).unwrap_or_default();
        let words: Vec<&str> = line.split('\0').collect();
        let serves = words.contains(&"--serve") && words.contains(&keeper.as_str());
        serves.then(|| entry.file_name().to_string_lossy().parse().ok()).flatten()
    })
}
