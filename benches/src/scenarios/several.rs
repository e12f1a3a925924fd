//! One mount over several connections, where the server lets each carry so much and no more.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use efs_csi_e2e::stack::{Driver, DriverOptions, Fake, Volume};

use super::{Board, Declaration, Setting};
use crate::peers::own_tunnel::NAME;
use crate::report::Better::{Higher, Lower};
use crate::workloads;

/// The row that several connections are compared with.
pub const ONE: &str = "one connection";
/// As many as AWS's own client uses.
const SEVERAL: usize = 5;
/// What the fake lets over a connection, in bytes a second. EFS's limit is ten times that, which no guest reaches five times.
const CAP: &str = "--connection-bytes-per-second=41943040";
/// Above this they are welcome: a quarter of the cap.
const THRESHOLD: &str = "--bind-threshold-bytes-per-second=10485760";
/// Further connections are there by then, or never.
const FOUND_WITHIN: Duration = Duration::from_secs(60);

/// The measurements of this scenario.
pub fn declare(board: &mut Board) {
    let common = "Kernel client over TLS, one mount, a fake with three partitions that lets 40 MiB a second over each connection and direction. \
        Both drivers are the same but for --max-connections-per-mount, 5 and 1, and take turns.";
    let mut declare = |id, title, unit, better, how: &str, peers| {
        let method = format!("{how} {common}");
        board.declare(Declaration { id, title, unit, better, method: &method, peers });
    };
    declare(
        "several.write",
        "five connections: sequential write",
        "MiB/s",
        Higher,
        "A new file in writes of 1 MiB, then fsync.",
        &[ONE],
    );
    declare(
        "several.read",
        "five connections: sequential read",
        "MiB/s",
        Higher,
        "The same file after the client's caches were dropped.",
        &[ONE],
    );
    let first = "From the first byte of a load to the second connection.";
    declare("several.first", "first further connection after the load starts", "s", Lower, first, &[]);
    let all = "From the first byte of a load to the fifth connection, each of which leads to one of three partitions by chance.";
    declare("several.all", "all five connections after the load starts", "s", Lower, all, &[]);
}

/// A driver with one published volume.
struct Subject {
    name: &'static str,
    driver: Driver,
    volume: Volume,
    target: PathBuf,
}

impl Subject {
    async fn start(
        setting: &Setting,
        fake: &Fake,
        name: &'static str,
        connections: usize,
        round: usize,
    ) -> anyhow::Result<Self> {
        let (file_system, _) = fake.create_file_system(&format!("bench-{connections}-{round}")).await?;
        let dir = setting.dir.join(format!("driver-{connections}"));
        let mut options = DriverOptions::new(&setting.bin_dir.join("efs-csi-driver"), &dir, fake);
        options.arguments.push(format!("--max-connections-per-mount={connections}"));
        let driver = Driver::start(options).await?;
        let parameters =
            [("provisioningMode", "efs-ap"), ("fileSystemId", file_system.as_str()), ("directoryPerms", "0700")];
        let volume = driver.create_volume(&format!("pvc-several-{connections}-{round}"), &parameters).await?;
        let parent = setting.dir.join("pods").join(connections.to_string());
        std::fs::create_dir_all(&parent)?;
        let target = parent.join("mount");
        driver.publish(&volume, &target).await?;
        Ok(Self { name, driver, volume, target })
    }

    async fn stop(mut self) -> anyhow::Result<()> {
        self.driver.unpublish(&self.volume, &self.target).await?;
        self.driver.stop().await
    }
}

/// Takes the samples.
pub async fn run(setting: &Setting, board: &mut Board) -> anyhow::Result<()> {
    let mut fake =
        Fake::start(&setting.bin_dir.join("fake-efs"), &setting.dir, &["--partitions=3", CAP, THRESHOLD]).await?;
    let mib = setting.amount(96, 2);
    for round in setting.rounds(6, 1) {
        let one = Subject::start(setting, &fake, ONE, 1, round).await?;
        let several = Subject::start(setting, &fake, NAME, SEVERAL, round).await?;
        let path = several.target.join("sequential");
        scale_up(setting, board, &fake, path).await?;
        let mut subjects = [one, several];
        if round % 2 == 1 {
            // Nobody is always first.
            subjects.reverse();
        }
        for Subject { name, target, .. } in &subjects {
            let path = target.join("sequential");
            let (write, read) = tokio::task::spawn_blocking(move || -> anyhow::Result<_> {
                let write = workloads::sequential_write(&path, mib)?;
                std::fs::write("/proc/sys/vm/drop_caches", "3")?;
                let read = workloads::sequential_read(&path, mib)?;
                std::fs::remove_file(&path)?;
                Ok((write, read))
            })
            .await??;
            board.sample("several.write", name, write);
            board.sample("several.read", name, read);
        }
        for subject in subjects {
            subject.stop().await?;
        }
    }
    fake.stop().await
}

/// Writes until all connections are there, and notes when they came.
async fn scale_up(setting: &Setting, board: &mut Board, fake: &Fake, path: PathBuf) -> anyhow::Result<()> {
    let (begin, wanted) = (Instant::now(), setting.amount(SEVERAL, 2));
    let mut first = None;
    while begin.elapsed() < FOUND_WITHIN {
        let path = path.clone();
        // A piece short enough that what it leads to is seen soon.
        let written = tokio::task::spawn_blocking(move || workloads::sequential_write(&path, 8));
        written.await?.context("the load")?;
        let now = most_bound(fake).await?;
        if now >= 2 {
            first.get_or_insert_with(|| begin.elapsed());
        }
        if now >= wanted {
            board.sample("several.first", NAME, first.unwrap_or_default().as_secs_f64());
            board.sample("several.all", NAME, begin.elapsed().as_secs_f64());
            return Ok(());
        }
    }
    ensure!(false, "no {wanted} connections within {} s", FOUND_WITHIN.as_secs());
    Ok(())
}

/// The connections that the fake knows as bound to one partition, where there are most.
async fn most_bound(fake: &Fake) -> anyhow::Result<usize> {
    let bound = fake.bound_partitions().await?;
    Ok(bound.iter().map(|partition| bound.iter().filter(|it| *it == partition).count()).max().unwrap_or(0))
}
