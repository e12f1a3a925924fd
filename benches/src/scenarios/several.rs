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
/// What the machine can do at all: one connection to a fake that doesn't count bytes.
const UNCAPPED: &str = "one connection without a limit";
/// As many as AWS's own client uses.
const SEVERAL: usize = 5;
const MIB: u64 = 1024 * 1024;
/// Further connections are there by then, or never.
const FOUND_WITHIN: Duration = Duration::from_secs(60);

/// What the fake lets over each connection.
#[derive(Debug)]
struct Cap {
    /// Of the measurements.
    prefix: &'static str,
    /// MiB a second, in each direction; EFS's limit is some 500.
    rate: u64,
    /// MiB of the file that is written and read.
    file: u64,
}

/// Five times the first is more than the lab's one processor can encrypt, decrypt and serve; what a machine reaches that isn't the limit itself
/// is seen with the second.
const CAPS: [Cap; 2] =
    [Cap { prefix: "several", rate: 40, file: 96 }, Cap { prefix: "several.slow", rate: 8, file: 64 }];

impl Cap {
    /// Arguments of the fake. Further connections are welcome above a quarter of what one may carry.
    fn arguments(&self) -> [String; 3] {
        let rate = self.rate * MIB;
        [
            "--partitions=3".to_owned(),
            format!("--connection-bytes-per-second={rate}"),
            format!("--bind-threshold-bytes-per-second={}", rate / 4),
        ]
    }

    fn id(&self, what: &str) -> String {
        format!("{}.{what}", self.prefix)
    }
}

/// The measurements of this scenario.
pub fn declare(board: &mut Board) {
    for cap in &CAPS {
        let Cap { rate, .. } = cap;
        let common = format!(
            "Kernel client over TLS, one mount, a fake with three partitions that lets {rate} MiB a second over each connection and direction. \
            The drivers are the same but for --max-connections-per-mount, and take turns; one has a fake without that limit."
        );
        let mut declare = |what, title: &str, unit, better, how: &str, peers| {
            let (id, title) = (cap.id(what), format!("five connections of {rate} MiB/s: {title}"));
            let method = format!("{how} {common}");
            board.declare(Declaration { id: &id, title: &title, unit, better, method: &method, peers });
        };
        let write = "A new file in writes of 1 MiB, then fsync.";
        declare("write", "sequential write", "MiB/s", Higher, write, &[ONE, UNCAPPED]);
        let read = "The same file after the client's caches were dropped.";
        declare("read", "sequential read", "MiB/s", Higher, read, &[ONE, UNCAPPED]);
        let first = "From the first byte of a load to the second connection.";
        declare("first", "first further connection after the load starts", "s", Lower, first, &[]);
        let all = "From the first byte of a load to the fifth connection, each of which leads to one of three partitions by chance.";
        declare("all", "all of them after the load starts", "s", Lower, all, &[]);
    }
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
        cap: &Cap,
        fake: &Fake,
        name: &'static str,
        connections: usize,
        round: usize,
    ) -> anyhow::Result<Self> {
        let label = format!("{}-{}", cap.prefix, name.replace(' ', "-"));
        let (file_system, _) = fake.create_file_system(&format!("bench-{label}-{round}")).await?;
        let dir = setting.dir.join(format!("driver-{label}"));
        let mut options = DriverOptions::new(&setting.bin_dir.join("efs-csi-driver"), &dir, fake);
        options.arguments.push(format!("--max-connections-per-mount={connections}"));
        let driver = Driver::start(options).await?;
        let parameters =
            [("provisioningMode", "efs-ap"), ("fileSystemId", file_system.as_str()), ("directoryPerms", "0700")];
        let volume = driver.create_volume(&format!("pvc-{label}-{round}"), &parameters).await?;
        let parent = setting.dir.join("pods").join(&label);
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
    for cap in &CAPS {
        capped(setting, board, cap).await?;
    }
    Ok(())
}

async fn capped(setting: &Setting, board: &mut Board, cap: &Cap) -> anyhow::Result<()> {
    let program = setting.bin_dir.join("fake-efs");
    let [limited, free] = ["limited", "free"].map(|name| setting.dir.join(format!("{}-{name}", cap.prefix)));
    std::fs::create_dir_all(&limited)?;
    std::fs::create_dir_all(&free)?;
    let arguments = cap.arguments();
    let mut fake = Fake::start(&program, &limited, &arguments.each_ref().map(String::as_str)).await?;
    let mut uncapped = Fake::start(&program, &free, &["--partitions=3"]).await?;
    let mib = setting.amount(cap.file, 2);
    for round in setting.rounds(6, 1) {
        let start = |fake, name, connections| Subject::start(setting, cap, fake, name, connections, round);
        let one = start(&fake, ONE, 1).await?;
        let several = start(&fake, NAME, SEVERAL).await?;
        let unlimited = start(&uncapped, UNCAPPED, 1).await?;
        scale_up(setting, board, cap, &fake, several.target.join("sequential")).await?;
        let mut subjects = [one, several, unlimited];
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
            board.sample(&cap.id("write"), name, write);
            board.sample(&cap.id("read"), name, read);
        }
        for subject in subjects {
            subject.stop().await?;
        }
    }
    uncapped.stop().await?;
    fake.stop().await
}

/// Writes until all connections are there, and notes when they came.
async fn scale_up(setting: &Setting, board: &mut Board, cap: &Cap, fake: &Fake, path: PathBuf) -> anyhow::Result<()> {
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
            board.sample(&cap.id("first"), NAME, first.unwrap_or_default().as_secs_f64());
            board.sample(&cap.id("all"), NAME, begin.elapsed().as_secs_f64());
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
