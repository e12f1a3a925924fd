//! NodePublishVolume beside a bare kernel mount, memory of many volumes, and what a killed driver costs.

use std::collections::HashMap;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use efs_csi_e2e::mounts;
use efs_csi_e2e::pulse::Pulse;
use efs_csi_e2e::stack::{Driver, DriverOptions, Fake, Volume};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use tokio::process::Command;

use super::{Board, Declaration, Setting};
use crate::peers::own_tunnel::NAME;
use crate::peers::program;
use crate::report::Better::Lower;
use crate::stats::quantile;
use crate::usage;

/// The row that publishing is compared with.
pub const BARE: &str = "kernel mount";
/// The row that unpublishing is compared with.
pub const UMOUNT: &str = "umount(8)";
const HELPER: &str = "Python helper";
/// The row that a stall is compared with.
const UNDISTURBED: &str = "undisturbed";
/// The row that the health of volumes with frozen servers is compared with.
const ANSWERING: &str = "servers that answer";
/// What AWS's mount helper imports from Python's own library, then the kernel mount.
const HELPER_SCRIPT: &str = "\
import argparse, base64, configparser, ctypes, errno, fcntl, glob, hashlib, hmac, http.client, json, logging, logging.handlers, \
os, platform, pwd, random, re, shutil, signal, socket, subprocess, sys, threading, time, urllib.parse, urllib.request
libc = ctypes.CDLL(None, use_errno=True)
if libc.mount(sys.argv[1].encode(), sys.argv[2].encode(), b'nfs4', 0, sys.argv[3].encode()):
    sys.exit(os.strerror(ctypes.get_errno()))
";

/// The measurements of this scenario.
pub fn declare(board: &mut Board) {
    let mut declare = |id, title, unit, method, peers| {
        board.declare(Declaration { id, title, unit, better: Lower, method, peers });
    };
    let one = "A volume with an access point of its own, published over TLS while nothing else of its mount target is mounted: \
        certificate, tunnel, a checked connection, the mount in a child process, the record on disk. The bare mount is mount(2) \
        of the same mount target without TLS. The Python helper is that mount from a new Python process with the imports of \
        AWS's helper; it leaves out the certificate, openssl, the tunnel process, DNS and the watchdog.";
    declare("publish.one", "NodePublishVolume", "ms", one, WITH_HELPER);
    declare(
        "unpublish.one",
        "NodeUnpublishVolume",
        "ms",
        "Unmount, remove the directory and the record, close the tunnel. umount(8) is what the Go driver runs for it, here on a mount of \
            the same mount target without TLS; the kernel mount is umount2(2) alone on such a mount, from a running process.",
        WITH_UMOUNT,
    );
    let fifty = "50 volumes published at once; the time until the last one is mounted. The peer's 50 mounts are of one mount \
        target and share one connection, which costs them less.";
    declare("publish.fifty", "50 volumes published at once", "ms", fifty, WITH_MOUNT);
    let slowest = "The 99th percentile of those calls in a round.";
    declare("publish.fifty.p99", "NodePublishVolume, 50 at once, 99th percentile", "ms", slowest, WITH_MOUNT);
    let memory = "Resident set of a fresh driver with 200 volumes mounted less that with 50, by 150.";
    declare("memory.volume", "Memory per further mounted TLS volume, idle", "KiB", memory, &[]);
    let full = "Resident set of the driver with 200 volumes mounted.";
    declare("memory.full", "Memory of the driver with 200 mounted volumes", "MiB", full, &[]);
    let stall = "A program writes a record and waits until the server has it (fdatasync), every 5 ms; the driver is ended with \
        SIGKILL and started again at once. The longest wait of one record.";
    declare("recovery.stall", "Stall of running I/O when the driver is killed and restarted", "ms", stall, &[]);
    let many = "The same with 100 volumes and a record every 250 ms on each. The longest wait of one record, the time that 100 \
        files take to be written at once on the guest's one processor included: how long that is shows the peer, the same writers \
        for two seconds with nothing happening to the driver.";
    declare("recovery.stall.many", "Stall of I/O on 100 volumes when the driver is killed", "ms", many, &[UNDISTURBED]);
    let handover = "The same with one volume and a successor that starts beside the running driver, which is then asked to stop, as in a \
        rolling update with a surge.";
    declare("recovery.handover", "Stall of running I/O when a successor takes over", "ms", handover, &[]);
    let frozen = "32 volumes are mounted, each of a file system of its own, and none of the servers answers any more while a program waits \
        for a write on each. Each volume is asked for 20 times, one after the other as the kubelet does; the 99th percentile of a round.";
    declare("health.frozen.p99", "Volume health with every server frozen, 99th percentile", "ms", frozen, WITH_WELL);
    let probe = "From the start of the new process to its first answer to Probe, with the volume mounted.";
    declare("recovery.probe", "Restart of the driver to the first answer to Probe", "ms", probe, &[]);
}

const WITH_WELL: &[&str] = &[ANSWERING];
const WITH_MOUNT: &[&str] = &[BARE];
const WITH_UMOUNT: &[&str] = &[UMOUNT, BARE];
const WITH_HELPER: &[&str] = &[BARE, HELPER];

/// A driver and a fake with one file system.
struct Stack {
    fake: Fake,
    file_system: String,
    address: IpAddr,
    dir: PathBuf,
}

impl Stack {
    async fn volume(&self, driver: &Driver, name: &str) -> anyhow::Result<Volume> {
        let parameters =
            [("provisioningMode", "efs-ap"), ("fileSystemId", self.file_system.as_str()), ("directoryPerms", "0700")];
        driver.create_volume(name, &parameters).await
    }

    fn target(&self, name: impl std::fmt::Display) -> anyhow::Result<PathBuf> {
        let parent = self.dir.join("pods").join(name.to_string());
        std::fs::create_dir_all(&parent)?;
        Ok(parent.join("mount"))
    }
}

/// Takes the samples.
pub async fn run(setting: &Setting, board: &mut Board) -> anyhow::Result<()> {
    ensure!(rustix::process::geteuid().is_root(), "mounting needs root");
    let fake = Fake::start(&setting.bin_dir.join("fake-efs"), &setting.dir, &[]).await?;
    let (file_system, address) = fake.create_file_system("bench").await?;
    let stack = Stack { file_system, address: address.parse()?, dir: setting.dir.clone(), fake };
    let options = DriverOptions::new(&setting.bin_dir.join("efs-csi-driver"), &setting.dir.join("driver"), &stack.fake);
    let mut driver = Driver::start(options).await?;
    one_by_one(setting, board, &stack, &driver).await?;
    for round in setting.rounds(6, 1) {
        for disturbance in [Disturbance::Kill, Disturbance::HandOver] {
            stall(setting, board, &stack, &mut driver, disturbance, round).await?;
        }
    }
    for round in setting.rounds(3, 1) {
        stall_many(setting, board, &stack, &mut driver, round).await?;
    }
    many(setting, board, &stack, &mut driver).await?;
    frozen(setting, board, &stack, &driver).await?;
    driver.stop().await?;
    let Stack { mut fake, .. } = stack;
    fake.stop().await
}

async fn one_by_one(setting: &Setting, board: &mut Board, stack: &Stack, driver: &Driver) -> anyhow::Result<()> {
    let python = program("python3");
    if python.is_none() {
        board.peer_missing(HELPER, "not installed (Debian package python3)");
    }
    let umount = program("umount");
    if umount.is_none() {
        board.peer_missing(UMOUNT, "not installed (Debian package mount)");
    }
    for round in setting.rounds(15, 2) {
        let volume = stack.volume(driver, &format!("pvc-one-{round}")).await?;
        let target = stack.target(format!("one-{round}"))?;
        let begin = Instant::now();
        driver.publish(&volume, &target).await?;
        board.sample("publish.one", NAME, millis(begin));
        let begin = Instant::now();
        driver.unpublish(&volume, &target).await?;
        board.sample("unpublish.one", NAME, millis(begin));

        let target = stack.target("bare")?;
        let (address, port) = (stack.address, stack.fake.ready.nfs.port());
        let begin = Instant::now();
        bare_mount(address, port, target.clone()).await?;
        board.sample("publish.one", BARE, millis(begin));
        let begin = Instant::now();
        unmount(target.clone()).await?;
        board.sample("unpublish.one", BARE, millis(begin));
        if let Some(umount) = &umount {
            bare_mount(address, port, target.clone()).await?;
            let begin = Instant::now();
            let status = Command::new(umount).arg(&target).status().await?;
            ensure!(status.success(), "umount ended with {status}");
            board.sample("unpublish.one", UMOUNT, millis(begin));
        }

        let Some(python) = &python else { continue };
        let data = format!("vers=4.1,addr={address},port={port},hard,timeo=600,retrans=2,noresvport");
        let mut command = Command::new(python);
        command.args(["-c", HELPER_SCRIPT, &format!("{address}:/")]).arg(&target).arg(data);
        let begin = Instant::now();
        let status = command.status().await?;
        ensure!(status.success(), "the Python helper ended with {status}");
        board.sample("publish.one", HELPER, millis(begin));
        unmount(target).await?;
    }
    Ok(())
}

async fn many(setting: &Setting, board: &mut Board, stack: &Stack, driver: &mut Driver) -> anyhow::Result<()> {
    let (some, all) = setting.amount((50, 200), (2, 4));
    let makes: &Driver = driver;
    let volumes: Vec<Volume> = stream::iter(0..all)
        .map(|number| async move { stack.volume(makes, &format!("pvc-many-{number}")).await })
        .buffered(16)
        .try_collect()
        .await?;
    let targets: Vec<PathBuf> =
        (0..all).map(|number| stack.target(format!("many-{number}"))).collect::<Result<_, _>>()?;
    let pairs: Vec<(&Volume, &PathBuf)> = volumes.iter().zip(&targets).collect();
    for _ in setting.rounds(3, 1) {
        let begin = Instant::now();
        let each = pairs[..some].iter().map(|(volume, target)| timed(driver.publish(volume, target)));
        let times = futures::future::try_join_all(each).await?;
        board.sample("publish.fifty", NAME, millis(begin));
        board.sample("publish.fifty.p99", NAME, slowest(&times)?);
        unpublish(driver, &pairs[..some]).await?;

        let targets: Vec<PathBuf> =
            (0..some).map(|number| stack.target(format!("bare-{number}"))).collect::<Result<_, _>>()?;
        let (address, port) = (stack.address, stack.fake.ready.nfs.port());
        let begin = Instant::now();
        let each = targets.iter().map(|target| timed(bare_mount(address, port, target.clone())));
        let times = futures::future::try_join_all(each).await?;
        board.sample("publish.fifty", BARE, millis(begin));
        board.sample("publish.fifty.p99", BARE, slowest(&times)?);
        futures::future::try_join_all(targets.into_iter().map(unmount)).await?;
    }
    memory(setting, board, driver, &pairs, some).await
}

/// How long the health of volumes takes to tell while their servers answer, and while none does.
async fn frozen(setting: &Setting, board: &mut Board, stack: &Stack, driver: &Driver) -> anyhow::Result<()> {
    let amount = setting.amount(32, 2);
    let mut mounted = Vec::new();
    for number in 0..amount {
        let (id, _) = stack.fake.create_file_system(&format!("frozen-{number}")).await?;
        mounted.push((Volume { id, context: HashMap::new() }, stack.target(format!("frozen-{number}"))?));
    }
    let pairs: Vec<(&Volume, &PathBuf)> = mounted.iter().map(|(volume, target)| (volume, target)).collect();
    publish(driver, &pairs).await?;
    for _ in setting.rounds(6, 1) {
        board.sample("health.frozen.p99", ANSWERING, asked(setting, driver, &pairs).await?);
        for (volume, _) in &pairs {
            let fault = serde_json::json!({"file_system_id": volume.id, "effect": {"kind": "stall"}});
            stack.fake.add_wire_fault(&fault).await?;
        }
        let waits = |target: &PathBuf| {
            let file = target.join("waits");
            std::thread::spawn(move || std::fs::write(file, "x"))
        };
        let writers: Vec<_> = pairs.iter().map(|(_, target)| waits(target)).collect();
        // The driver looks every ten seconds and meets what hangs.
        tokio::time::sleep(Duration::from_secs(setting.amount(25, 1))).await;
        board.sample("health.frozen.p99", NAME, asked(setting, driver, &pairs).await?);
        stack.fake.clear_wire_faults().await?;
        stack.fake.end_connections().await?;
        tokio::task::spawn_blocking(move || writers.into_iter().map(|writer| writer.join())).await?.try_for_each(
            |written| match written {
                Ok(result) => Ok(result?),
                Err(_) => anyhow::bail!("a writer panicked"),
            },
        )?;
    }
    unpublish(driver, &pairs).await
}

/// Asks for the health of each volume, one after the other; the 99th percentile of the times.
async fn asked(setting: &Setting, driver: &Driver, pairs: &[(&Volume, &PathBuf)]) -> anyhow::Result<f64> {
    let mut node = driver.node();
    let mut times = Vec::new();
    for _ in 0..setting.amount(20, 2) {
        for (volume, target) in pairs {
            let request = csi_proto::csi::NodeGetVolumeHealthRequest {
                volume_id: volume.id.clone(),
                volume_publish_path: target.display().to_string(),
                ..Default::default()
            };
            let begin = Instant::now();
            node.node_get_volume_health(request).await?;
            times.push(millis(begin));
        }
    }
    slowest(&times)
}

/// Memory of a driver with some of these volumes mounted and with all of them.
async fn memory(
    setting: &Setting,
    board: &mut Board,
    driver: &mut Driver,
    pairs: &[(&Volume, &PathBuf)],
    some: usize,
) -> anyhow::Result<()> {
    for _ in setting.rounds(3, 1) {
        // One that has held many volumes before keeps memory for them.
        driver.replace().await?;
        let pid = driver.process.id().context("the driver has ended")?;
        publish(driver, &pairs[..some]).await?;
        settle(setting).await;
        let few = usage::memory(pid)?.rss;
        for chunk in pairs[some..].chunks(50) {
            publish(driver, chunk).await?;
        }
        settle(setting).await;
        let full = usage::memory(pid)?.rss;
        board.sample("memory.volume", NAME, full.saturating_sub(few) as f64 / (pairs.len() - some) as f64);
        board.sample("memory.full", NAME, full as f64 / 1024.0);
        for chunk in pairs.chunks(50) {
            unpublish(driver, chunk).await?;
        }
    }
    Ok(())
}

/// How long a call took, in milliseconds.
async fn timed(call: impl Future<Output = anyhow::Result<()>>) -> anyhow::Result<f64> {
    let begin = Instant::now();
    call.await?;
    Ok(millis(begin))
}

fn slowest(times: &[f64]) -> anyhow::Result<f64> {
    quantile(times, 0.99).context("nothing was mounted")
}

/// Grown buffers are given back after five quiet seconds, looked for every five seconds.
async fn settle(setting: &Setting) {
    tokio::time::sleep(Duration::from_secs(setting.amount(11, 0))).await;
}

async fn publish(driver: &Driver, pairs: &[(&Volume, &PathBuf)]) -> anyhow::Result<()> {
    futures::future::try_join_all(pairs.iter().map(|(volume, target)| driver.publish(volume, target))).await.map(drop)
}

async fn unpublish(driver: &Driver, pairs: &[(&Volume, &PathBuf)]) -> anyhow::Result<()> {
    futures::future::try_join_all(pairs.iter().map(|(volume, target)| driver.unpublish(volume, target))).await.map(drop)
}

/// What happens to the driver while records are written.
#[derive(Clone, Copy)]
enum Disturbance {
    /// SIGKILL and a new start.
    Kill,
    /// A successor that starts beside it.
    HandOver,
}

async fn stall(
    setting: &Setting,
    board: &mut Board,
    stack: &Stack,
    driver: &mut Driver,
    disturbance: Disturbance,
    round: usize,
) -> anyhow::Result<()> {
    let (name, id) = match disturbance {
        Disturbance::Kill => ("stall", "recovery.stall"),
        Disturbance::HandOver => ("handover", "recovery.handover"),
    };
    let volume = stack.volume(driver, &format!("pvc-{name}-{round}")).await?;
    let target = stack.target(format!("{name}-{round}"))?;
    driver.publish(&volume, &target).await?;
    let pulse = Pulse::start(&setting.bin_dir, Duration::from_millis(5), &[target.join("records")])?;
    let longest = disturbed(setting, driver, disturbance, pulse).await?;
    if let Disturbance::Kill = disturbance {
        board.sample("recovery.probe", NAME, driver.first_probe.as_secs_f64() * 1e3);
    }
    board.sample(id, NAME, longest.as_secs_f64() * 1e3);
    driver.unpublish(&volume, &target).await
}

async fn stall_many(
    setting: &Setting,
    board: &mut Board,
    stack: &Stack,
    driver: &mut Driver,
    round: usize,
) -> anyhow::Result<()> {
    let mut mounted = Vec::new();
    for number in 0..setting.amount(100, 3) {
        let volume = stack.volume(driver, &format!("pvc-stall-{round}-{number}")).await?;
        mounted.push((volume, stack.target(format!("stall-{round}-{number}"))?));
    }
    let pairs: Vec<(&Volume, &PathBuf)> = mounted.iter().map(|(volume, target)| (volume, target)).collect();
    for chunk in pairs.chunks(25) {
        publish(driver, chunk).await?;
    }
    let files: Vec<PathBuf> = mounted.iter().map(|(_, target)| target.join("records")).collect();
    let every = Duration::from_millis(250);
    let pulse = Pulse::start(&setting.bin_dir, every, &files)?;
    tokio::time::sleep(Duration::from_millis(setting.amount(2000, 200))).await;
    board.sample("recovery.stall.many", UNDISTURBED, pulse.stop().await?.longest.as_secs_f64() * 1e3);
    let pulse = Pulse::start(&setting.bin_dir, every, &files)?;
    let longest = disturbed(setting, driver, Disturbance::Kill, pulse).await?;
    board.sample("recovery.stall.many", NAME, longest.as_secs_f64() * 1e3);
    for chunk in pairs.chunks(25) {
        unpublish(driver, chunk).await?;
    }
    Ok(())
}

/// Disturbs the driver while records are being written; answers the longest wait of one record.
///
/// The kernel's client does not come back earlier than three seconds after it last connected (XS_TCP_INIT_REEST_TO), so a younger
/// connection would wait for that alone.
async fn disturbed(
    setting: &Setting,
    driver: &mut Driver,
    disturbance: Disturbance,
    pulse: Pulse,
) -> anyhow::Result<Duration> {
    tokio::time::sleep(Duration::from_millis(setting.amount(3500, 200))).await;
    match disturbance {
        Disturbance::Kill => driver.replace().await?,
        Disturbance::HandOver => driver.hand_over().await?,
    }
    // The kernel reconnects by itself; a record that waits for it is still being timed when the pulse is told to stop.
    tokio::time::sleep(Duration::from_millis(setting.amount(1500, 200))).await;
    Ok(pulse.stop().await?.longest)
}

async fn bare_mount(address: IpAddr, port: u16, target: PathBuf) -> anyhow::Result<()> {
    tokio::task::spawn_blocking(move || mounts::mount_plain(address, port, &target)).await?
}

async fn unmount(target: PathBuf) -> anyhow::Result<()> {
    tokio::task::spawn_blocking(move || mounts::unmount(&target)).await?
}

fn millis(begin: Instant) -> f64 {
    begin.elapsed().as_secs_f64() * 1e3
}
