//! Mounts with the identity of the pod: what the kubelet's republish costs, and what a further service account does.

use std::path::Path;
use std::time::Instant;

use anyhow::{Context as _, ensure};
use csi_proto::csi;
use efs_csi_e2e::stack::{Driver, DriverOptions, Fake, many_writers};
use efs_csi_e2e::tenants::{self, Way};

use super::{Board, Declaration, Setting};
use crate::peers::own_tunnel::NAME;
use crate::report::Better::Lower;
use crate::stats::quantile;
use crate::usage;

/// The same mounts by way of an access point each, all with the identity of the driver: what a mount takes anyway.
const THE_DRIVERS: &str = "the driver's identity";

/// Publishes at once: less than the kernel and the fake have trouble with.
const AT_ONCE: usize = 25;

const MEMORY: &str = "memory.identity";

/// The measurements of this scenario.
pub fn declare(board: &mut Board) {
    let mut declare = |id, title, unit, method, peers| {
        board.declare(Declaration { id, title, unit, better: Lower, method, peers });
    };
    let republish = "200 mounts of one file system, each with a service account and a role of its own. The kubelet's repeated call for each, one \
        after the other, with a token that is new each time; the median of a round. STS is asked by none of them.";
    declare("republish.many", "NodePublishVolume again, for a fresh token, at 200 mounts", "ms", republish, &[][..]);
    let memory = "Resident sets of driver and data plane with 200 such mounts less those with 50, by 150: a mount, its tunnel with its \
        connection, credentials, token and certificate. Beside it the same for mounts of 200 access points with the option iam: mount, tunnel and \
        certificate of the one identity of the driver.";
    declare(MEMORY, "Memory per further mount with an identity of its own", "KiB", memory, &[THE_DRIVERS][..]);
}

/// Takes the samples.
pub async fn run(setting: &Setting, board: &mut Board) -> anyhow::Result<()> {
    ensure!(rustix::process::geteuid().is_root(), "mounting needs root");
    let mut fake = Fake::start(&setting.bin_dir.join("fake-efs"), &setting.dir, &[]).await?;
    let (file_system, _) = fake.create_file_system("identities").await?;
    let folder = setting.dir.join("driver");
    let options = DriverOptions::new(&setting.bin_dir.join("efs-csi-driver"), &folder, &fake);
    let (some, all) = setting.amount((50, 200), (2, 4));
    let (mut pods, mut points) = (Vec::new(), Vec::new());
    for number in 0..all {
        let parent = setting.dir.join("pods").join(number.to_string());
        std::fs::create_dir_all(&parent)?;
        pods.push((format!("tenant-{number}"), parent.join("mount")));
        let token = format!("point-{number}");
        let made = fake.client().create_access_point().client_token(token).file_system_id(&file_system).send().await?;
        points.push(format!("{file_system}::{}", made.access_point_id().context("no id")?));
    }
    let of_point = |number: usize| csi::NodePublishVolumeRequest {
        volume_id: points[number].clone(),
        target_path: pods[number].1.display().to_string(),
        volume_capability: Some(with_iam()),
        ..Default::default()
    };
    let of_pod = |number: usize| tenants::request(&pods[number].0, Way::Irsa, &file_system, &pods[number].1, 1);
    let mut serial = 0;
    for _ in setting.rounds(3, 1) {
        let mut driver = Driver::start(options.clone()).await?;
        let each = grown(setting, &driver, &folder, (some, all), of_point).await?;
        board.sample(MEMORY, THE_DRIVERS, each);
        for number in 0..all {
            unpublish(&driver, points[number].clone(), &pods[number].1).await?;
        }
        driver.stop().await?;

        let before = tenants::exchanges(&fake).await?;
        let mut driver = Driver::start(options.clone()).await?;
        let each = grown(setting, &driver, &folder, (some, all), of_pod).await?;
        board.sample(MEMORY, NAME, each);
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
            unpublish(&driver, file_system.clone(), target).await?;
        }
        driver.stop().await?;
    }
    fake.stop().await
}

/// KiB for each further mount beyond `some`, up to `all`.
async fn grown(
    setting: &Setting,
    driver: &Driver,
    folder: &Path,
    (some, all): (usize, usize),
    request: impl Fn(usize) -> csi::NodePublishVolumeRequest,
) -> anyhow::Result<f64> {
    publish(driver, (0..some).map(&request).collect()).await?;
    settle(setting).await;
    let few = resident(driver, folder)?;
    publish(driver, (some..all).map(&request).collect()).await?;
    settle(setting).await;
    let full = resident(driver, folder)?;
    Ok(full.saturating_sub(few) as f64 / (all - some) as f64)
}

async fn publish(driver: &Driver, requests: Vec<csi::NodePublishVolumeRequest>) -> anyhow::Result<()> {
    for chunk in requests.chunks(AT_ONCE) {
        let each = chunk.iter().map(|request| async { driver.node().node_publish_volume(request.clone()).await });
        futures::future::try_join_all(each).await?;
    }
    Ok(())
}

async fn unpublish(driver: &Driver, volume_id: String, target: &Path) -> anyhow::Result<()> {
    let request = csi::NodeUnpublishVolumeRequest { volume_id, target_path: target.display().to_string() };
    driver.node().node_unpublish_volume(request).await?;
    Ok(())
}

fn with_iam() -> csi::VolumeCapability {
    let mut capability = many_writers();
    if let Some(csi::volume_capability::AccessType::Mount(mount)) = &mut capability.access_type {
        mount.mount_flags = vec!["iam".to_owned()];
    }
    capability
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
