//! Runs csi-sanity against our own driver, with fake-efs behind it and the kernel's NFS client under it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Instant;

use anyhow::Context as _;
use tokio::process::Command;
use tokio::sync::Mutex;

use crate::stack::{Driver, DriverOptions, Fake};

mod outcome;
pub mod restarts;

pub use outcome::{Outcome, Totals};

/// One way to run the suite.
#[derive(Clone, Copy, Debug)]
pub struct Setup {
    /// The name in reports, e.g. `efs-ap, one endpoint`.
    pub name: &'static str,
    /// StorageClass parameters besides the file system.
    pub parameters: &'static [(&'static str, &'static str)],
    /// Mutable parameters, as a VolumeAttributesClass has them; directories have nothing that could be modified.
    pub mutable_parameters: &'static [(&'static str, &'static str)],
    /// Whether controller and node are two processes on two sockets, as in a cluster.
    pub two_endpoints: bool,
}

/// Access points are modified by their tags.
const TIER: &[(&str, &str)] = &[("tagSpecification_1", "tier=gold")];

/// Every setup that `just sanity` runs.
pub const SETUPS: &[Setup] = &[
    Setup {
        name: "efs-ap-one-endpoint",
        parameters: &[("provisioningMode", "efs-ap"), ("directoryPerms", "0700")],
        mutable_parameters: TIER,
        two_endpoints: false,
    },
    Setup {
        name: "efs-ap-two-endpoints",
        parameters: &[("provisioningMode", "efs-ap"), ("directoryPerms", "0700"), ("uid", "1001"), ("gid", "1002")],
        mutable_parameters: TIER,
        two_endpoints: true,
    },
    Setup {
        name: "efs-dir-one-endpoint",
        parameters: &[("provisioningMode", "efs-dir"), ("directoryPerms", "0777"), ("basePath", "/directories")],
        mutable_parameters: &[],
        two_endpoints: false,
    },
    Setup {
        name: "efs-dir-plain-two-endpoints",
        parameters: &[("provisioningMode", "efs-dir"), ("directoryPerms", "0777"), ("encryptInTransit", "false")],
        mutable_parameters: &[],
        two_endpoints: true,
    },
];

/// How many checks run at the same time, and how many callers the checks of concurrency have: the lab has one processor.
const PARALLEL: usize = 4;
const CALLERS: usize = 16;

/// Writes pairs as csi-sanity reads them.
fn written(file: PathBuf, pairs: Vec<(&str, &str)>) -> anyhow::Result<PathBuf> {
    let pairs: BTreeMap<&str, &str> = pairs.into_iter().collect();
    std::fs::write(&file, serde_json::to_string(&pairs)?)?;
    Ok(file)
}

/// Runs one setup with the executables in `binaries`; mounts and sockets go below `dir`, the report to `reports`. `arguments` are
/// further arguments of csi-sanity.
pub async fn run(
    setup: &Setup,
    binaries: &Path,
    dir: &Path,
    reports: &Path,
    arguments: &[String],
) -> anyhow::Result<Outcome> {
    std::fs::create_dir_all(dir)?;
    std::fs::create_dir_all(reports)?;
    let mut fake = Fake::start(&binaries.join("fake-efs"), dir, &[]).await?;
    let (file_system, _) = fake.create_file_system(setup.name).await?;
    let modes: &[&str] = if setup.two_endpoints { &["node", "controller"] } else { &["all"] };
    let mut drivers = Vec::new();
    for mode in modes {
        let own = dir.join(mode);
        std::fs::create_dir_all(&own)?;
        let mut options = DriverOptions::new(&binaries.join("efs-csi-driver"), &own, &fake);
        options.mode = mode;
        if *mode != "controller" {
            options.arguments.push("--vol-metrics-opt-in=true".into());
        }
        drivers.push(Driver::start(options).await?);
    }
    let sockets: Vec<PathBuf> = drivers.iter().map(|driver| driver.options.socket()).collect();
    let logs: Vec<PathBuf> = drivers.iter().map(|driver| driver.process.log().to_owned()).collect();
    let drivers = Arc::new(Mutex::new(drivers));
    let restarts = dir.join("restarts.sock");
    let serving = restarts::serve(&restarts, Arc::clone(&drivers))?;

    let given = [setup.parameters, &[("fileSystemId", file_system.as_str())]].concat();
    let parameters = written(dir.join("parameters.yaml"), given)?;
    let mutable = written(dir.join("mutable-parameters.yaml"), setup.mutable_parameters.to_vec())?;
    let json = reports.join(format!("{}.json", setup.name));
    let mut command = Command::new(binaries.join("csi-sanity"));
    command
        .args(["--checks=all", "--quiet", &format!("--parallel={PARALLEL}"), &format!("--callers={CALLERS}")])
        .arg(format!("--csi.endpoint=unix://{}", sockets[0].display()))
        .arg(format!("--csi.testvolumeparameters={}", parameters.display()))
        .arg(format!("--csi.testvolumemutableparameters={}", mutable.display()))
        .arg(format!("--csi.mountdir={}", dir.join("mount").display()))
        .arg(format!("--csi.stagingdir={}", dir.join("staging").display()))
        .arg(format!("--restart-cmd={}", restarts::command(&binaries.join("efs-csi-sanity-lab"), &restarts)))
        .arg(format!("--junit={}", reports.join(format!("{}.xml", setup.name)).display()))
        .arg(format!("--json={}", json.display()))
        .stdin(Stdio::null())
        .kill_on_drop(true);
    if let Some(controller) = sockets.get(1) {
        command.arg(format!("--csi.controllerendpoint=unix://{}", controller.display()));
    }
    let begin = Instant::now();
    let status = command.args(arguments).status().await.context("starting csi-sanity")?;
    let took = begin.elapsed();
    serving.abort();
    let text = std::fs::read_to_string(&json)
        .with_context(|| format!("csi-sanity ended with {status} and left no report at {json:?}"))?;
    let outcome = Outcome::of_report(&text)?;
    let Totals { passed, failed, skipped } = outcome.totals;
    println!("{}: {passed} passed, {failed} failed, {skipped} skipped in {:.1} s", setup.name, took.as_secs_f64());
    if failed > 0 {
        copy_logs(logs.iter().map(PathBuf::as_path).chain([fake.process.log()]), reports, setup.name)?;
    }
    anyhow::ensure!(status.success() || failed > 0, "csi-sanity ended with {status} but reported no failure");

    for mut driver in std::mem::take(&mut *drivers.lock().await) {
        driver.stop().await?;
    }
    fake.stop().await?;
    Ok(outcome)
}

fn copy_logs<'a>(logs: impl Iterator<Item = &'a Path>, reports: &Path, name: &str) -> anyhow::Result<()> {
    for log in logs {
        let part =
            |path: Option<&Path>| path.and_then(Path::file_name).unwrap_or_default().to_string_lossy().into_owned();
        std::fs::copy(log, reports.join(format!("{name}-{}-{}", part(log.parent()), part(Some(log)))))?;
    }
    Ok(())
}
