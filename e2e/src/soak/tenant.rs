//! One volume's life: published, written, read, renamed, unpublished, and compared with a model all along.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use csi_proto::csi;
use csi_proto::csi::node_client::NodeClient;
use rand::rngs::StdRng;
use rand::seq::IteratorRandom as _;
use rand::{Rng as _, SeedableRng as _};
use tokio::time::{Instant, sleep, timeout};
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status};

use super::Options;
use super::content::RECORD;
use super::io::{Io, Job};
use super::journal::Journal;
use crate::stack::{Driver, Volume, many_writers};

/// Files of a volume.
const NAMES: [&str; 6] = ["a", "b", "c", "d", "e", "f"];
/// Records of the largest file.
const RECORDS: usize = 64;
/// The longest pause between two actions, in milliseconds.
const PAUSE: u64 = 200;
/// No call may take longer: the driver has deadlines of its own, and all are shorter.
const CALL: Duration = Duration::from_secs(90);
/// So long a call is repeated while servers are away, as the kubelet would.
const REPEATED_FOR: Duration = Duration::from_secs(240);
/// The pause before a call is repeated, in milliseconds; as the kubelet does at first.
const REPEAT_AFTER: std::ops::Range<u64> = 300..700;

/// Whoever uses a volume.
pub(super) struct Tenant {
    pub(super) volume: Volume,
    name: String,
    /// Two pods' targets, and whether the volume is published there.
    targets: [(PathBuf, bool); 2],
    /// The model: files and their records' numbers.
    files: BTreeMap<&'static str, Vec<u64>>,
    io: Io,
    rng: StdRng,
    node: NodeClient<Channel>,
    journal: Arc<Journal>,
}

impl Tenant {
    /// Creates the volume.
    pub(super) async fn create(
        index: usize,
        options: &Options,
        driver: &Driver,
        file_system: &str,
        dir: &Path,
        journal: &Arc<Journal>,
    ) -> anyhow::Result<Self> {
        let name = format!("pvc-{index:02}");
        let (first, second) = (dir.join("pods").join(&name).join("first"), dir.join("pods").join(&name).join("second"));
        std::fs::create_dir_all(dir.join("pods").join(&name))?;
        let parameters = [
            ("provisioningMode", "efs-ap"),
            ("fileSystemId", file_system),
            ("directoryPerms", "0700"),
            ("basePath", "/volumes"),
        ];
        let volume = driver.create_volume(&name, &parameters).await?;
        // A connection of its own, as the kubelet has one: it must find its way to a new driver by itself.
        let channel = Endpoint::from_shared(format!("unix://{}", driver.options.socket().display()))?.connect_lazy();
        Ok(Self {
            volume,
            name,
            targets: [(first, false), (second, false)],
            files: BTreeMap::new(),
            io: Io::start(&options.bin_dir.join("efs-csi-soak"))?,
            rng: StdRng::seed_from_u64(options.seed.wrapping_mul(1_000_003).wrapping_add(index as u64)),
            node: NodeClient::new(channel),
            journal: Arc::clone(journal),
        })
    }

    /// Acts at random until the time is over.
    pub(super) async fn live(&mut self, until: Instant) -> anyhow::Result<()> {
        while Instant::now() < until {
            self.act().await.with_context(|| format!("{} ({})", self.name, self.volume.id))?;
            self.journal.done();
            sleep(Duration::from_millis(self.rng.random_range(0..PAUSE))).await;
        }
        Ok(())
    }

    /// Unpublishes the volume wherever it is.
    pub(super) async fn leave(&mut self) -> anyhow::Result<()> {
        for index in 0..self.targets.len() {
            if self.targets[index].1 {
                self.unpublish(index).await.with_context(|| self.name.clone())?;
            }
        }
        Ok(())
    }

    /// Publishes the volume afresh and compares everything.
    pub(super) async fn check(&mut self) -> anyhow::Result<()> {
        let result = async {
            self.publish(0).await?;
            let target = self.targets[0].0.clone();
            self.list(&target).await?;
            for (name, numbers) in self.files.clone() {
                self.verify(&target, name, numbers).await?;
            }
            self.unpublish(0).await
        };
        result.await.with_context(|| self.name.clone())
    }

    async fn act(&mut self) -> anyhow::Result<()> {
        let Some(index) = (0..self.targets.len()).filter(|index| self.targets[*index].1).choose(&mut self.rng) else {
            let index = self.rng.random_range(0..self.targets.len());
            return self.publish(index).await;
        };
        let target = self.targets[index].0.clone();
        match self.rng.random_range(0..100) {
            0..8 => self.unpublish(index).await,
            8..15 => match self.targets.iter().position(|target| !target.1) {
                Some(other) => self.publish(other).await,
                // Publishing again must change nothing.
                None => self.publish(index).await,
            },
            15..50 => self.write(&target).await,
            50..80 => match self.files.iter().choose(&mut self.rng) {
                Some((name, numbers)) => {
                    let (name, numbers) = (*name, numbers.clone());
                    self.verify(&target, name, numbers).await
                }
                None => self.list(&target).await,
            },
            80..86 => self.rename(&target).await,
            86..91 => self.remove(&target).await,
            91..96 => self.list(&target).await,
            _ => self.ask_for_statistics(&target).await,
        }
    }

    async fn write(&mut self, target: &Path) -> anyhow::Result<()> {
        let name = NAMES[self.rng.random_range(0..NAMES.len())];
        let numbers = self.files.entry(name).or_default();
        let truncate = self.rng.random_bool(0.2);
        if truncate {
            numbers.clear();
        }
        // Anywhere in the file or at its end, without holes.
        let first = self.rng.random_range(0..=numbers.len().min(RECORDS - 1));
        let count = self.rng.random_range(1..=(RECORDS - first).min(24));
        let new: Vec<u64> = (0..count).map(|_| self.rng.random()).collect();
        numbers.resize(numbers.len().max(first + count), 0);
        numbers[first..first + count].copy_from_slice(&new);
        let sync = self.rng.random_bool(0.7);
        self.journal.count("bytes written", (count * RECORD) as u64);
        let what = format!("write {name} records {first}+{count} truncate={truncate} sync={sync}");
        self.perform("write", &what, Job::Write { path: target.join(name), first, numbers: new, truncate, sync }).await
    }

    async fn verify(&mut self, target: &Path, name: &str, numbers: Vec<u64>) -> anyhow::Result<()> {
        self.journal.count("bytes verified", (numbers.len() * RECORD) as u64);
        let what = format!("verify {name} of {} records", numbers.len());
        self.perform("verify", &what, Job::Verify { path: target.join(name), numbers }).await
    }

    async fn rename(&mut self, target: &Path) -> anyhow::Result<()> {
        let Some(from) = self.files.keys().copied().choose(&mut self.rng) else { return Ok(()) };
        let to = NAMES[self.rng.random_range(0..NAMES.len())];
        if let Some(numbers) = self.files.remove(from) {
            self.files.insert(to, numbers);
        }
        let job = Job::Rename { from: target.join(from), to: target.join(to) };
        self.perform("rename", &format!("rename {from} to {to}"), job).await
    }

    async fn remove(&mut self, target: &Path) -> anyhow::Result<()> {
        let Some(name) = self.files.keys().copied().choose(&mut self.rng) else { return Ok(()) };
        self.files.remove(name);
        self.perform("remove", &format!("remove {name}"), Job::Remove { path: target.join(name) }).await
    }

    async fn list(&mut self, target: &Path) -> anyhow::Result<()> {
        let names = self.names();
        self.perform("list", "list", Job::List { path: target.to_owned(), names }).await
    }

    fn names(&self) -> BTreeSet<String> {
        self.files.keys().map(|name| (*name).to_owned()).collect()
    }

    async fn perform(&mut self, kind: &str, what: &str, job: Job) -> anyhow::Result<()> {
        let begin = Instant::now();
        self.journal.note(&self.name, what);
        let servers = self.journal.servers();
        let mut result = self.io.perform(&job).await;
        if let Err(failure) = &result
            && self.journal.servers() != servers
            && let Some(proof) = job.is_done_twice(failure, self.names())
        {
            self.journal.note(&self.name, &format!("{kind}: {failure}; another server may have been asked again"));
            self.journal.count(&format!("file operations done twice: {kind}"), 1);
            result = self.io.perform(&proof).await;
        }
        self.journal.count(&format!("file operations: {kind}"), 1);
        if begin.elapsed() > Duration::from_secs(1) {
            self.journal.note(&self.name, &format!("{kind} took {:?}", begin.elapsed()));
        }
        result.with_context(|| what.to_owned())
    }

    async fn publish(&mut self, index: usize) -> anyhow::Result<()> {
        let (target, published) = &mut self.targets[index];
        let request = csi::NodePublishVolumeRequest {
            volume_id: self.volume.id.clone(),
            target_path: target.display().to_string(),
            volume_capability: Some(many_writers()),
            volume_context: self.volume.context.clone(),
            ..Default::default()
        };
        *published = true;
        let node = &self.node;
        let call = || {
            let (mut node, request) = (node.clone(), request.clone());
            async move { node.node_publish_volume(request).await.map(drop) }
        };
        repeat(&self.journal, &self.name, &format!("publish {index}"), call).await
    }

    async fn unpublish(&mut self, index: usize) -> anyhow::Result<()> {
        let target = self.targets[index].0.clone();
        let request = csi::NodeUnpublishVolumeRequest {
            volume_id: self.volume.id.clone(),
            target_path: target.display().to_string(),
        };
        let node = &self.node;
        let call = || {
            let (mut node, request) = (node.clone(), request.clone());
            async move { node.node_unpublish_volume(request).await.map(drop) }
        };
        repeat(&self.journal, &self.name, &format!("unpublish {index}"), call).await?;
        self.targets[index].1 = false;
        ensure!(!target.exists(), "{target:?} is left after the unpublish");
        Ok(())
    }

    /// The condition may be anything while things fail; the answer must come.
    async fn ask_for_statistics(&mut self, target: &Path) -> anyhow::Result<()> {
        let request = csi::NodeGetVolumeStatsRequest {
            volume_id: self.volume.id.clone(),
            volume_path: target.display().to_string(),
            ..Default::default()
        };
        let node = &self.node;
        let call = || {
            let (mut node, request) = (node.clone(), request.clone());
            async move { node.node_get_volume_stats(request).await.map(drop) }
        };
        repeat(&self.journal, &self.name, "statistics", call).await
    }
}

/// Makes a call until it succeeds. Answers that say "no" rather than "not now" are failures at once.
async fn repeat<F: Future<Output = Result<(), Status>>>(
    journal: &Journal,
    who: &str,
    what: &str,
    call: impl Fn() -> F,
) -> anyhow::Result<()> {
    let kind = what.split(' ').next().unwrap_or_default();
    let begin = Instant::now();
    journal.note(who, what);
    loop {
        let status = match timeout(CALL, call()).await {
            Ok(Ok(())) => {
                journal.count(&format!("calls: {kind}"), 1);
                if begin.elapsed() > Duration::from_secs(1) {
                    journal.note(who, &format!("{what} took {:?}", begin.elapsed()));
                }
                return Ok(());
            }
            Ok(Err(status)) => status,
            Err(_) => bail!("{what}: no answer within {CALL:?}"),
        };
        journal.note(who, &format!("{what}: {:?} {}", status.code(), status.message()));
        let for_now = matches!(
            status.code(),
            Code::Unavailable | Code::Aborted | Code::DeadlineExceeded | Code::Cancelled | Code::Unknown
        );
        // What the transport says of a driver that was killed in the middle of an answer.
        let cut_off = status.code() == Code::Internal && status.message().contains("h2");
        ensure!(for_now || cut_off, "{what}: {:?} {}", status.code(), status.message());
        ensure!(begin.elapsed() < REPEATED_FOR, "{what}: still {:?} {}", status.code(), status.message());
        journal.count(&format!("calls repeated after {:?}: {kind}", status.code()), 1);
        let pause = rand::rng().random_range(REPEAT_AFTER);
        sleep(Duration::from_millis(pause)).await;
    }
}
