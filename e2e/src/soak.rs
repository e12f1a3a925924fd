//! Everything at once, for as long as wanted: volumes come and go and are written and read while connections, the server and
//! the driver fail. At the end nothing may be lost and nothing may be left.
//!
//! One run has these parts:
//! 1. disorder of every kind, for half of the time;
//! 2. twice a quarter of the time with disorder that leaves the driver alone, each followed by a rest with everything
//!    unpublished, in which the driver must not be larger than in the rest before;
//! 3. every volume is published afresh and checked whole;
//! 4. all is removed, and nothing may be left.
//!
//! Files are touched by processes of their own ([`io`]): a process that has files of a hung volume open can't start others,
//! because exec closes what the child inherited.

mod content;
mod disorder;
pub mod io;
mod journal;
mod residue;
mod tenant;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::mounts;
use crate::stack::{Driver, DriverOptions, Fake};
use disorder::{Disorder, Kinds};
use journal::Journal;
use residue::Usage;
use tenant::Tenant;

/// How much larger the driver may be at the second rest than at the first: what a cache or an allocator may do.
const RSS_MAY_GROW: u64 = 6 << 20;
/// The same for open files: connections to the EFS API that are kept for a while.
const FILES_MAY_GROW: usize = 4;

/// A server with partitions that soon wants more connections and lets little over each, so that there are several and they come and go.
const SERVER: &[&str] = &[
    "--partitions=3",
    "--bind-max-connections=5",
    "--bind-threshold-bytes-per-second=200000",
    "--connection-bytes-per-second=8000000",
];
const DRIVER: [&str; 2] = ["--unmount-timeout=10s", "--max-connections-per-mount=5"];

/// What to run.
#[derive(Clone, Debug)]
pub struct Options {
    /// Folder with the executables efs-csi-driver, fake-efs and efs-csi-soak.
    pub bin_dir: PathBuf,
    /// How long there is disorder; start and end come on top.
    pub time: Duration,
    /// Chooses what happens. Processes race, so two runs with the same seed are alike and not equal.
    pub seed: u64,
    /// How many volumes.
    pub volumes: usize,
}

/// Runs it with everything in `dir` and gives the account to print. The actions are in `log`.
///
/// # Errors
/// The first check that failed. Mounts may be left then.
pub async fn run(options: &Options, dir: &Path, log: &Path) -> anyhow::Result<String> {
    let journal = Arc::new(Journal::create(log)?);
    let result = Run::start(options, dir, &journal).await;
    let result = match result {
        Ok(run) => run.finish(options.time).await,
        Err(error) => Err(error.context("start")),
    };
    if let Err(error) = &result {
        journal.note("soak", &format!("FAILED {error:#}"));
    }
    journal.count("actions", journal.actions() as u64);
    result.map(|usage| format!("{}\n{usage}", journal.account())).with_context(|| {
        format!("seed {}, actions in {}; the last ones:\n{}", options.seed, log.display(), journal.tail(40))
    })
}

struct Run {
    disorder: Disorder,
    tenants: Vec<Tenant>,
    dir: PathBuf,
    ports: Vec<u16>,
    journal: Arc<Journal>,
}

impl Run {
    async fn start(options: &Options, dir: &Path, journal: &Arc<Journal>) -> anyhow::Result<Self> {
        let ports = mounts::listening_ports()?;
        let mut rng = StdRng::seed_from_u64(options.seed);
        let data = dir.join("data");
        let data = data.to_str().context("the folder's name is not UTF-8")?;
        // Below the ports that the kernel gives to connections, and beside those of tunnels.
        let first = rng.random_range(22_000..30_000);
        let arguments = [&["--data", data], SERVER].concat();
        let fake = Fake::start_at(&options.bin_dir.join("fake-efs"), dir, (first, first + 1), &arguments).await?;
        let (file_system, _) = fake.create_file_system("soak").await?;
        let mut how = DriverOptions::new(&options.bin_dir.join("efs-csi-driver"), dir, &fake);
        how.arguments.extend(DRIVER.map(str::to_owned));
        let driver = Driver::start(how).await?;
        let mut tenants = Vec::new();
        for index in 0..options.volumes {
            let tenant = Tenant::create(index, options, &driver, &file_system, dir, journal).await;
            tenants.push(tenant.with_context(|| format!("volume {index}"))?);
        }
        let rng = StdRng::seed_from_u64(rng.random());
        let disorder = Disorder { driver, fake, rng, journal: Arc::clone(journal) };
        Ok(Self { disorder, tenants, dir: dir.to_owned(), ports, journal: Arc::clone(journal) })
    }

    async fn finish(mut self, time: Duration) -> anyhow::Result<String> {
        self.live(Kinds::All, time / 2).await?;
        self.rest().await?;
        self.live(Kinds::SparingTheDriver, time / 4).await?;
        let before = self.rest().await?;
        self.live(Kinds::SparingTheDriver, time / 4).await?;
        let after = self.rest().await?;
        let account = format!("driver at the first rest: {before}\ndriver at the second rest: {after}");
        ensure!(after.rss <= before.rss + RSS_MAY_GROW, "the driver grows\n{account}");
        ensure!(after.files <= before.files + FILES_MAY_GROW, "the driver's open files grow\n{account}");
        self.check_volumes().await?;
        self.rest().await?;
        self.end().await?;
        Ok(account)
    }

    /// Lets all tenants live until the time is over.
    async fn live(&mut self, kinds: Kinds, time: Duration) -> anyhow::Result<()> {
        self.journal.note("soak", &format!("{kinds:?} for {time:?}"));
        let until = Instant::now() + time;
        let mut living = JoinSet::new();
        for mut tenant in self.tenants.drain(..) {
            living.spawn(async move { tenant.live(until).await.map(|()| tenant) });
        }
        let tenants = async {
            let mut tenants = Vec::new();
            while let Some(tenant) = living.join_next().await {
                tenants.push(tenant??);
            }
            anyhow::Ok(tenants)
        };
        let ((), tenants) = tokio::try_join!(self.disorder.reign(kinds, until), tenants)?;
        self.tenants = tenants;
        Ok(())
    }

    /// Unpublishes everything and sees to it that nothing is left; how large the driver is then.
    async fn rest(&mut self) -> anyhow::Result<Usage> {
        self.journal.note("soak", "rest");
        self.disorder.fake.clear_wire_faults().await?;
        for tenant in &mut self.tenants {
            tenant.leave().await?;
        }
        let driver = self.disorder.driver.process.id().context("the driver has ended")?;
        residue::nothing_is_mounted(&self.dir, &self.disorder.driver.options, driver, &self.ports).await?;
        Usage::of(driver)
    }

    /// Publishes every volume afresh and compares all that is in it.
    async fn check_volumes(&mut self) -> anyhow::Result<()> {
        self.journal.note("soak", "checking every volume");
        for tenant in &mut self.tenants {
            tenant.check().await?;
        }
        Ok(())
    }

    /// Deletes the volumes and stops everything.
    async fn end(mut self) -> anyhow::Result<()> {
        let Disorder { driver, fake, .. } = &mut self.disorder;
        for tenant in self.tenants {
            driver.delete_volume(&tenant.volume).await?;
        }
        let left = fake.client().describe_access_points().send().await?;
        ensure!(left.access_points().is_empty(), "{} access points are left", left.access_points().len());
        let options = driver.options.clone();
        driver.stop().await?;
        residue::no_driver_is_left(&options).await?;
        fake.stop().await
    }
}
