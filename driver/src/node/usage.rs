//! How much of a volume is used, found out by walking it (`--vol-metrics-opt-in`), because EFS only tells the size of whole
//! file systems.
//!
//! Nobody ever waits for a walk: a call gets the last numbers and, when they are old or missing, a walk starts in the
//! background. It runs in a child process that is killed when the volume is unpublished, when it makes no progress any more, and
//! when the driver stops. A failed walk gives its place back and is tried again later.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::watch;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

use super::walker::{self, Options, Order, Report, Totals};
use crate::blocking::Blocking;
use crate::config::VolumeMetrics;
use crate::mount::worker::reap;
use crate::starter;

/// Walks at once on this node, over all file systems.
const AT_ONCE: usize = 8;
/// A walk that counts nothing more for this long is given up.
const STALLED: Duration = Duration::from_secs(300);
/// A failed walk is tried again after this long, or after the refresh period if that is shorter.
const RETRY: Duration = Duration::from_secs(300);
/// How long [`Walks::pause`] waits for a killed walk to be gone.
const GONE_WITHIN: Duration = Duration::from_secs(3);
/// How the driver walks: gently, since pods work on the same file system. A million files take a minute.
pub const GENTLY: Options = Options { threads: 4, entries_per_second: Some(16_000) };

/// The walks of a node.
#[derive(Clone)]
pub struct Walks {
    program: PathBuf,
    settings: VolumeMetrics,
    options: Options,
    inner: Arc<Mutex<Inner>>,
    blocking: Blocking,
    stop: CancellationToken,
}

#[derive(Default)]
struct Inner {
    volumes: HashMap<String, Volume>,
    /// Running walks by file system.
    running: HashMap<String, usize>,
}

#[derive(Default)]
struct Volume {
    result: Option<(Instant, Totals)>,
    failure: Option<(Instant, String)>,
    running: Option<Running>,
    /// How many [`Pause`]s there are.
    paused: usize,
}

struct Running {
    since: Instant,
    counted: Totals,
    stop: CancellationToken,
    ended: watch::Receiver<()>,
}

/// Where the walk of a volume stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WalkState {
    /// The volume.
    pub volume: String,
    /// The last numbers and their age in seconds.
    pub result: Option<(u64, Totals)>,
    /// A running walk: seconds since its start, and what it has counted.
    pub running: Option<(u64, Totals)>,
    /// Why the last walk failed, if it did.
    pub failure: Option<String>,
}

/// While it lives, a volume is not walked.
pub struct Pause {
    volume: String,
    inner: Arc<Mutex<Inner>>,
}

impl Drop for Pause {
    fn drop(&mut self) {
        if let Some(volume) = lock(&self.inner).volumes.get_mut(&self.volume) {
            volume.paused -= 1;
        }
    }
}

impl Walks {
    /// Walks by `program volume-walker`, until `stop`.
    pub fn new(program: PathBuf, settings: VolumeMetrics, options: Options, stop: CancellationToken) -> Self {
        Self { program, settings, options, inner: Arc::default(), blocking: Blocking::default(), stop }
    }

    /// The same, with every start of a process among the calls of `blocking`.
    #[must_use]
    pub fn with_blocking(self, blocking: Blocking) -> Self {
        Self { blocking, ..self }
    }

    /// The last numbers of a volume that is mounted at `target`, if there are any. Starts a walk when it is due and there is
    /// room for one; otherwise the next call tries again.
    pub fn totals(&self, volume: &str, file_system: &str, target: &Path) -> Option<Totals> {
        let mut inner = lock(&self.inner);
        let Inner { volumes, running } = &mut *inner;
        let here = running.get(file_system).copied().unwrap_or_default();
        let room = running.values().sum::<usize>() < AT_ONCE && here < self.settings.walks_per_file_system;
        let state = volumes.entry(volume.to_owned()).or_default();
        let result = state.result.map(|(_, totals)| totals);
        if !room || !state.is_due(self.settings.refresh) || self.stop.is_cancelled() {
            return result;
        }
        let (end, ended) = watch::channel(());
        let stop = self.stop.child_token();
        state.running = Some(Running { since: Instant::now(), counted: Totals::default(), stop: stop.clone(), ended });
        running.insert(file_system.to_owned(), here + 1);
        drop(inner);
        let (walks, volume, file_system) = (self.clone(), volume.to_owned(), file_system.to_owned());
        let target = target.to_owned();
        tokio::spawn(async move {
            let started = Instant::now();
            let outcome = walks.walk(&volume, target, &stop).await;
            walks.finish(&volume, &file_system, outcome, started.elapsed());
            drop(end);
        });
        result
    }

    /// Ends the walk of a volume, and keeps it from being walked until the answer is dropped: a walk would keep the mount busy.
    pub async fn pause(&self, volume: &str) -> Pause {
        let ended = {
            let mut inner = lock(&self.inner);
            let state = inner.volumes.entry(volume.to_owned()).or_default();
            state.paused += 1;
            state.running.as_ref().map(|running| {
                running.stop.cancel();
                running.ended.clone()
            })
        };
        let pause = Pause { volume: volume.to_owned(), inner: Arc::clone(&self.inner) };
        if let Some(mut ended) = ended {
            // The sender is dropped when the child is gone; a child that the kernel holds is left behind.
            let _ = timeout(GONE_WITHIN, ended.changed()).await;
        }
        pause
    }

    /// Forgets the numbers of all volumes that aren't `published`.
    pub fn forget_unless(&self, published: impl Fn(&str) -> bool) {
        lock(&self.inner)
            .volumes
            .retain(|volume, state| state.running.is_some() || state.paused > 0 || published(volume));
    }

    /// What the last walk has counted in a volume.
    pub fn counted(&self, volume: &str) -> Option<Totals> {
        lock(&self.inner).volumes.get(volume)?.result.map(|(_, totals)| totals)
    }

    /// Why the last walk of a volume was given up, if it was.
    pub fn failure(&self, volume: &str) -> Option<String> {
        lock(&self.inner).volumes.get(volume)?.failure.as_ref().map(|(_, reason)| reason.clone())
    }

    /// Where the walks stand, by volume.
    pub fn list(&self) -> Vec<WalkState> {
        let inner = lock(&self.inner);
        let mut list: Vec<_> = inner.volumes.iter().filter_map(|(volume, state)| state.show(volume)).collect();
        list.sort_by(|a, b| a.volume.cmp(&b.volume));
        list
    }

    async fn walk(&self, volume: &str, target: PathBuf, stop: &CancellationToken) -> Result<Totals, WalkError> {
        let order = Order { root: target, options: self.options };
        let order = serde_json::to_vec(&order).map_err(io::Error::from)?;
        let mut command = Command::new(&self.program);
        command
            .arg(walker::COMMAND)
            .env_clear()
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .kill_on_drop(true);
        let child = starter::start(&self.blocking, command).await;
        let mut child = child.map_err(WalkError::Start)?;
        let outcome = tokio::select! {
            () = stop.cancelled() => Err(WalkError::Cancelled),
            outcome = self.listen(volume, &mut child, &order) => outcome,
        };
        reap(child).await;
        outcome
    }

    async fn listen(&self, volume: &str, child: &mut Child, order: &[u8]) -> Result<Totals, WalkError> {
        let (Some(mut stdin), Some(stdout)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(io::Error::other("no pipes").into());
        };
        stdin.write_all(order).await?;
        drop(stdin);
        let mut lines = BufReader::new(stdout).lines();
        loop {
            let Ok(line) = timeout(STALLED, lines.next_line()).await else {
                return Err(WalkError::Stalled);
            };
            let Some(line) = line? else { return Err(WalkError::Ended) };
            match serde_json::from_str(&line).map_err(io::Error::from)? {
                Report::Counting(counted) => {
                    if let Some(running) = lock(&self.inner).volumes.get_mut(volume).and_then(|it| it.running.as_mut())
                    {
                        running.counted = counted;
                    }
                }
                Report::Done(totals) => return Ok(totals),
                Report::Failed(reason) => return Err(WalkError::Failed(reason)),
            }
        }
    }

    /// Gives the walk's place back, whatever came of it.
    fn finish(&self, volume: &str, file_system: &str, outcome: Result<Totals, WalkError>, took: Duration) {
        let mut inner = lock(&self.inner);
        let left = inner.running.get(file_system).copied().unwrap_or(1) - 1;
        if left == 0 {
            inner.running.remove(file_system);
        } else {
            inner.running.insert(file_system.to_owned(), left);
        }
        let Some(state) = inner.volumes.get_mut(volume) else { return };
        let cancelled = state.running.take().is_some_and(|running| running.stop.is_cancelled());
        match outcome {
            Ok(totals) => {
                tracing::debug!(volume, ?totals, ?took, "walked a volume");
                state.result = Some((Instant::now(), totals));
                state.failure = None;
            }
            Err(_) if cancelled => tracing::debug!(volume, ?took, "the walk of a volume was cancelled"),
            Err(error) => {
                let reason = error.to_string();
                tracing::warn!(
                    volume,
                    reason,
                    ?took,
                    "cannot walk a volume, its statistics are those of the file system"
                );
                state.failure = Some((Instant::now(), reason));
            }
        }
    }
}

/// Why a walk has no numbers.
#[derive(Debug, thiserror::Error)]
enum WalkError {
    #[error("cancelled")]
    Cancelled,
    #[error("cannot start a walker: {0}")]
    Start(#[source] io::Error),
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("nothing more to count for {} s; the server may hang", STALLED.as_secs())]
    Stalled,
    #[error("the walker ended without a result")]
    Ended,
    /// The walker's own words.
    #[error("{0}")]
    Failed(String),
}

impl Volume {
    fn is_due(&self, refresh: Duration) -> bool {
        let fresh = |since: Instant, period: Duration| since.elapsed() < period;
        let known = self.result.is_some_and(|(at, _)| fresh(at, refresh));
        let failed = self.failure.as_ref().is_some_and(|(at, _)| fresh(*at, RETRY.min(refresh)));
        self.running.is_none() && self.paused == 0 && !known && !failed
    }

    fn show(&self, volume: &str) -> Option<WalkState> {
        let age = |at: Instant| at.elapsed().as_secs();
        let state = WalkState {
            volume: volume.to_owned(),
            result: self.result.map(|(at, totals)| (age(at), totals)),
            running: self.running.as_ref().map(|running| (age(running.since), running.counted)),
            failure: self.failure.as_ref().map(|(_, reason)| reason.clone()),
        };
        (state.result.is_some() || state.running.is_some() || state.failure.is_some()).then_some(state)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
