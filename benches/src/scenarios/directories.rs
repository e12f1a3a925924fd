//! Directory volumes (`efs-dir`) over the socket: what a claim and a deletion by handle cost beside an access point, whether that grows
//! with the number of volumes, and how often another account's credentials are asked for.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use csi_proto::csi;
use efs_csi_e2e::stack::{Driver, DriverOptions, Fake, many_writers};
use futures::{StreamExt as _, TryStreamExt as _, stream};

use super::{Board, Declaration, Setting};
use crate::peers::own_tunnel::NAME;
use crate::report::Better::Lower;
use crate::rest::Rest;
use crate::stats::quantile;

/// The row that the others are compared with: volumes of the same driver that are access points.
pub const ACCESS_POINT: &str = "access points";
/// The row of a file system without other volumes.
pub const EMPTY: &str = "no other volumes";
/// Directory volumes on the full file system.
const FULL: usize = 5000;
/// Calls at a time.
const CONCURRENCY: [usize; 2] = [1, 32];
/// Claims that are deleted at once, as with their namespace; csi-provisioner has as many workers in the chart.
const CLAIMS: usize = 100;
/// Volumes that are made and deleted with a role.
const FOREIGN: usize = 10;

/// The measurements of this scenario.
pub fn declare(board: &mut Board) {
    let create = "The median latency of a round's CreateVolume calls for directories: claimed, made and moved into place over \
        NFS through the controller's tunnel. The peer is the same driver making access points, in the same round.";
    let delete = "The median latency of a round's DeleteVolume calls for empty directories: looked at for neighbours, noted, moved \
        to the trash and purged. The peer is the same driver deleting access points without their directories.";
    for at_once in CONCURRENCY {
        for (what, call, method) in [("create", "CreateVolume", create), ("delete", "DeleteVolume", delete)] {
            board.declare(Declaration {
                id: &format!("directory.{what}.{at_once}"),
                title: &format!("{call} of a directory, {at_once} at a time"),
                unit: "ms",
                better: Lower,
                method,
                peers: &[ACCESS_POINT],
            });
        }
    }
    board.declare(Declaration {
        id: "directory.full",
        title: "CreateVolume of a directory beside 5,000 others, 32 at a time",
        unit: "ms",
        better: Lower,
        method: "The median latency of a round's CreateVolume calls on a file system with 5,000 directory volumes; the peer is the \
            same driver on an empty one, in the same round.",
        peers: &[EMPTY],
    });
    board.declare(Declaration {
        id: "directory.delete.claims",
        title: "The last of 100 DeleteVolume at once, with deleteAccessPointRootDir",
        unit: "ms",
        better: Lower,
        method: "100 access points whose root directories hold a file each are deleted at once by a driver with \
            --delete-access-point-root-dir; a sample is the time of the last answer. One that fails ends the scenario. The peer is the \
            same driver without the flag deleting as many access points, whose directories stay.",
        peers: &[ACCESS_POINT],
    });
    board.declare(Declaration {
        id: "directory.sts",
        title: "STS calls of 10 creates and 10 deletes with a role",
        unit: "calls",
        better: Lower,
        method: "AssumeRole calls in the fake's journal while ten directory volumes are created and deleted, one after another, with a role \
            in the secret, as for another account, by a controller that has just started.",
        peers: &[],
    });
}

/// Takes the samples.
pub async fn run(setting: &Setting, board: &mut Board) -> anyhow::Result<()> {
    let mut fake = Fake::start(&setting.bin_dir.join("fake-efs"), &setting.dir, &[]).await?;
    let mut options = DriverOptions::new(&setting.bin_dir.join("efs-csi-driver"), &setting.dir.join("driver"), &fake);
    options.mode = "controller";
    let mut driver = Driver::start(options.clone()).await?;
    let (empty, _) = fake.create_file_system("bench-directories").await?;
    let (full, _) = fake.create_file_system("bench-many-directories").await?;
    let full = Volumes { driver: &driver, mode: "efs-dir", file_system: &full, role: None };
    full.create("pvc-there", setting.amount(FULL, 20), 32).await?;
    let directories = Volumes { mode: "efs-dir", file_system: &empty, ..full };
    let access_points = Volumes { mode: "efs-ap", ..directories };
    for round in setting.rounds(6, 1) {
        for at_once in CONCURRENCY {
            let count = setting.amount(if at_once == 1 { 50 } else { 300 }, 4);
            let mut kinds = [(directories, NAME), (access_points, ACCESS_POINT)];
            // Nobody is always first.
            kinds.rotate_left(round % 2);
            for (kind, name) in kinds {
                let label = format!("pvc-{}-{at_once}-{round}", kind.mode);
                let made = kind.create(&label, count, at_once).await?;
                board.sample(&format!("directory.create.{at_once}"), name, made.median()?);
                if at_once == 32 && kind.mode == "efs-dir" {
                    board.sample("directory.full", EMPTY, made.median()?);
                }
                let gone = kind.delete(&made.handles, at_once).await?;
                board.sample(&format!("directory.delete.{at_once}"), name, gone.median()?);
            }
        }
        let made = full.create(&format!("pvc-more-{round}"), setting.amount(300, 4), 32).await?;
        board.sample("directory.full", NAME, made.median()?);
        full.delete(&made.handles, 32).await?;
    }
    let (claims, _) = fake.create_file_system("bench-claims").await?;
    let mut deleting = options.clone();
    deleting.dir = setting.dir.join("deleting");
    deleting.arguments.push("--delete-access-point-root-dir=true".to_owned());
    let mut deleting = Driver::start(deleting).await?;
    for round in setting.rounds(6, 1) {
        let mut kinds = [(&deleting, NAME, "claims"), (&driver, ACCESS_POINT, "kept")];
        // Nobody is always first.
        kinds.rotate_left(round % 2);
        for (driver, name, label) in kinds {
            let volumes = Volumes { driver, mode: "efs-ap", file_system: &claims, role: None };
            let last = volumes.delete_claims(&fake, &format!("pvc-{label}-{round}"), setting.amount(CLAIMS, 4)).await?;
            board.sample("directory.delete.claims", name, last.as_secs_f64() * 1e3);
        }
    }
    deleting.stop().await?;
    driver.stop().await?;
    // A new process: nothing has been asked for yet.
    let mut driver = Driver::start(options).await?;
    // Of the fake's own account, to which the file system belongs; the driver asks STS whatever the account.
    let role = Some("arn:aws:iam::123456789012:role/efs");
    let foreign = Volumes { driver: &driver, mode: "efs-dir", file_system: &empty, role };
    board.sample("directory.sts", NAME, foreign.sts_calls(&fake).await? as f64);
    driver.stop().await?;
    fake.stop().await
}

/// Volumes of one kind on one file system.
#[derive(Clone, Copy)]
struct Volumes<'a> {
    driver: &'a Driver,
    mode: &'static str,
    file_system: &'a str,
    role: Option<&'static str>,
}

/// What some calls answered, and how long each took.
struct Calls {
    handles: Vec<String>,
    took: Vec<Duration>,
}

impl Calls {
    fn new(calls: Vec<(String, Duration)>) -> Self {
        let (handles, took) = calls.into_iter().unzip();
        Self { handles, took }
    }

    /// In milliseconds.
    fn median(&self) -> anyhow::Result<f64> {
        let took: Vec<f64> = self.took.iter().map(|took| took.as_secs_f64() * 1e3).collect();
        quantile(&took, 0.5).context("nothing was called")
    }
}

impl Volumes<'_> {
    fn secrets(&self) -> HashMap<String, String> {
        self.role.iter().map(|role| ("awsRoleArn".to_owned(), (*role).to_owned())).collect()
    }

    async fn create(&self, label: &str, count: usize, at_once: usize) -> anyhow::Result<Calls> {
        let parameters =
            [("provisioningMode", self.mode), ("fileSystemId", self.file_system), ("directoryPerms", "0700")];
        let parameters: HashMap<String, String> =
            parameters.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        let calls = stream::iter(0..count).map(|number| {
            let request = csi::CreateVolumeRequest {
                name: format!("{label}-{number}"),
                volume_capabilities: vec![many_writers()],
                parameters: parameters.clone(),
                secrets: self.secrets(),
                ..Default::default()
            };
            async move {
                let begin = Instant::now();
                let answer = self.driver.controller().create_volume(request).await.context("CreateVolume")?;
                let volume = answer.into_inner().volume.context("CreateVolume answered without a volume")?;
                anyhow::Ok((volume.volume_id, begin.elapsed()))
            }
        });
        Ok(Calls::new(calls.buffer_unordered(at_once).try_collect().await?))
    }

    async fn delete(&self, handles: &[String], at_once: usize) -> anyhow::Result<Calls> {
        let calls = stream::iter(handles).map(|handle| {
            let request = csi::DeleteVolumeRequest { volume_id: handle.clone(), secrets: self.secrets() };
            async move {
                let begin = Instant::now();
                self.driver.controller().delete_volume(request).await.context("DeleteVolume")?;
                anyhow::Ok((handle.clone(), begin.elapsed()))
            }
        });
        Ok(Calls::new(calls.buffer_unordered(at_once).try_collect().await?))
    }

    /// Makes access points with a file each, and deletes them at once; the time of the last answer.
    async fn delete_claims(&self, fake: &Fake, label: &str, count: usize) -> anyhow::Result<Duration> {
        let made = self.create(label, count, 32).await?;
        fill_root_directories(fake, self.file_system).await?;
        let begin = Instant::now();
        self.delete(&made.handles, count).await?;
        Ok(begin.elapsed())
    }

    async fn sts_calls(&self, fake: &Fake) -> anyhow::Result<usize> {
        let rest = Rest::new(&fake.ready.http);
        rest.call("DELETE", "/_fake/journal", None).await?;
        let made = self.create("pvc-foreign", FOREIGN, 1).await?;
        self.delete(&made.handles, 1).await?;
        let journal = rest.call("GET", "/_fake/journal?service=sts", None).await?;
        Ok(journal["entries"].as_array().context("the journal has no entries")?.len())
    }
}

/// Makes the root directories of all access points of a file system, as their first mounts would, with a file in each.
async fn fill_root_directories(fake: &Fake, file_system: &str) -> anyhow::Result<()> {
    let address = fake.client().describe_mount_targets().file_system_id(file_system).send().await?;
    let address = address.mount_targets().first().and_then(|it| it.ip_address()).context("no mount target")?.to_owned();
    let port = fake.ready.nfs.port();
    let url = format!("nfs://{address}/?version=4.1&nfsport={port}&noresvport=true&uid=0&gid=0");
    let files = nfs_rs::parse_url_and_mount(&url).await?;
    let points = fake.client().describe_access_points().file_system_id(file_system).max_results(1000).send().await?;
    for point in points.access_points() {
        let path =
            point.root_directory().and_then(|it| it.path()).context("an access point without a root directory")?;
        let mut made = String::new();
        for part in path.split('/').filter(|part| !part.is_empty()) {
            made = format!("{made}/{part}");
            match files.mkdir_path(&made, 0o700).await {
                Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => return Err(error.into()),
                _ => {}
            }
        }
        files.create_path(&format!("{made}/file"), Some(0o600)).await?;
    }
    files.umount().await?;
    Ok(())
}
