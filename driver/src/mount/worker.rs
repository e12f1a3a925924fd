//! The child process that makes calls which may hang, and how its parent runs it.
//!
//! The child is this program again (`efs-csi-driver mount-worker PARENT`): it reads a [`Job`] as a line of JSON from standard
//! input, does it, and writes the [`Outcome`] to standard output. The parent kills it when time is up, and keeps it for the
//! next job when all went well. No shell, no PATH.
//!
//! The child dies with its parent: a mount that came about after the next driver has looked at the mount table would be
//! nobody's.

use std::ffi::OsString;
use std::io::{self, BufRead, Read as _, Write};
use std::path::{Path, PathBuf};
use std::process::{ExitCode, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use efs_common::open_files::OutOfFiles;
use rustix::io::Errno;
use rustix::process::{Pid, Signal, getppid, set_parent_process_death_signal};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader, Take};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::time::{sleep, timeout};

use crate::blocking::Blocking;
use crate::metrics::Metrics;
use crate::starter;

use super::kernel::{Job, JobError, Outcome, Usage, perform};

/// The word on the command line that makes the program a worker.
pub const COMMAND: &str = "mount-worker";
/// A job or an outcome is never longer than this, in bytes.
const MESSAGE_MAX: u64 = 64 * 1024;
/// How long a killed child may take to go away before it is left to the background.
const KILLED_FOR: Duration = Duration::from_secs(2);
/// Workers that are kept at most, each with about a MiB of its own.
const SPARES: usize = 4;
/// How long a worker without a job is kept.
const SPARE_FOR: Duration = Duration::from_secs(30);

/// Why a job wasn't done.
#[derive(Debug, thiserror::Error)]
pub enum WorkerError {
    /// The system refused.
    #[error(transparent)]
    Job(#[from] JobError),
    /// Time was up; the child has been killed.
    #[error("no result within {} s", .0.as_secs())]
    Timeout(Duration),
    /// No pipe can be made to the child.
    #[error("mount worker: {0}")]
    Files(OutOfFiles),
    /// No further process or thread may be started. `fork` says EAGAIN of all limits alike.
    #[error(
        "mount worker: no further process may be started here; raise the limit of processes of the node's pods (podPidsLimit of the \
         kubelet), of the container (--pids-limit of its runtime) or of the user (ulimit -u), or see what has taken them all"
    )]
    Processes,
    /// The child could not be started, or died, or talked nonsense.
    #[error("mount worker: {0}")]
    Broken(String),
}

impl From<io::Error> for WorkerError {
    fn from(error: io::Error) -> Self {
        match OutOfFiles::of(&error) {
            Some(reason) => Self::Files(reason),
            None if error.raw_os_error() == Some(Errno::AGAIN.raw_os_error()) => Self::Processes,
            None => Self::Broken(error.to_string()),
        }
    }
}

/// Starts worker processes and keeps some of them for further jobs.
#[derive(Clone, Debug)]
pub struct Worker {
    program: PathBuf,
    metrics: Option<Metrics>,
    spares: Arc<Spares>,
    blocking: Blocking,
}

impl Worker {
    /// Workers are `program mount-worker`.
    pub fn new(program: PathBuf) -> Self {
        Self { program, metrics: None, spares: Arc::default(), blocking: Blocking::default() }
    }

    /// The same, with every job timed in `metrics`.
    #[must_use]
    pub fn with_metrics(self, metrics: Metrics) -> Self {
        Self { metrics: Some(metrics), ..self }
    }

    /// The same, with every start of a process among the calls of `blocking`.
    #[must_use]
    pub fn with_blocking(self, blocking: Blocking) -> Self {
        Self { blocking, ..self }
    }

    /// Workers are this running program, even if its file has been replaced meanwhile.
    pub fn this_program() -> Self {
        Self::new(PathBuf::from("/proc/self/exe"))
    }

    /// The program that workers run.
    pub fn program(&self) -> &Path {
        &self.program
    }

    /// Mounts or unmounts.
    pub async fn run(&self, job: &Job, deadline: Duration) -> Result<(), WorkerError> {
        match self.perform(job, deadline).await? {
            Outcome::Done => Ok(()),
            Outcome::Failed(error) => Err(error.into()),
            other @ Outcome::Usage(_) => Err(WorkerError::Broken(format!("unexpected outcome {other:?}"))),
        }
    }

    /// Asks how full the file system at `path` is.
    pub async fn usage(&self, path: PathBuf, deadline: Duration) -> Result<Usage, WorkerError> {
        match self.perform(&Job::Usage { path }, deadline).await? {
            Outcome::Usage(usage) => Ok(usage),
            Outcome::Failed(error) => Err(error.into()),
            Outcome::Done => Err(WorkerError::Broken("no usage in the outcome".to_owned())),
        }
    }

    async fn perform(&self, job: &Job, deadline: Duration) -> Result<Outcome, WorkerError> {
        let started = Instant::now();
        let result = self.try_perform(job, deadline).await;
        if let Some(metrics) = &self.metrics {
            let operation = match job {
                Job::Mount { .. } => "mount",
                Job::Unmount { force: false, .. } => "unmount",
                Job::Unmount { force: true, .. } => "forced_unmount",
                Job::Usage { .. } => "statfs",
            };
            let outcome = match &result {
                Ok(Outcome::Done | Outcome::Usage(_)) => "ok",
                Err(WorkerError::Timeout(_)) => "timeout",
                Ok(Outcome::Failed(_)) | Err(_) => "error",
            };
            metrics.mount_job(operation, outcome, started.elapsed());
        }
        result
    }

    async fn try_perform(&self, job: &Job, deadline: Duration) -> Result<Outcome, WorkerError> {
        let mut message = serde_json::to_vec(job).map_err(|error| WorkerError::Broken(error.to_string()))?;
        message.push(b'\n');
        let mut process = match self.spares.take() {
            Some(spare) => spare,
            None => Process::start(&self.program, &self.blocking).await?,
        };
        match timeout(deadline, process.converse(&message)).await {
            // One that has seen a failure is not trusted with another job.
            Ok(Ok(outcome @ (Outcome::Done | Outcome::Usage(_)))) => {
                self.spares.keep(process);
                Ok(outcome)
            }
            result => {
                reap(process.child).await;
                result.unwrap_or(Err(WorkerError::Timeout(deadline)))
            }
        }
    }
}

/// A worker process that waits for its next job.
#[derive(Debug)]
struct Process {
    child: Child,
    stdin: ChildStdin,
    stdout: BufReader<Take<ChildStdout>>,
}

impl Process {
    async fn start(program: &Path, blocking: &Blocking) -> Result<Self, WorkerError> {
        let mut command = Command::new(program);
        command
            .arg(COMMAND)
            .arg(std::process::id().to_string())
            .env_clear()
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .kill_on_drop(true);
        let mut child = starter::start(blocking, command).await?;
        let (Some(stdin), Some(stdout)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(WorkerError::Broken("no pipes".to_owned()));
        };
        Ok(Self { child, stdin, stdout: BufReader::new(stdout.take(MESSAGE_MAX)) })
    }

    async fn converse(&mut self, message: &[u8]) -> Result<Outcome, WorkerError> {
        self.stdin.write_all(message).await?;
        self.stdout.get_mut().set_limit(MESSAGE_MAX);
        let mut answer = Vec::new();
        self.stdout.read_until(b'\n', &mut answer).await?;
        if answer.last() != Some(&b'\n') {
            let status = self.child.wait().await?;
            return Err(WorkerError::Broken(format!("{status}, and no whole answer")));
        }
        serde_json::from_slice(&answer).map_err(|error| WorkerError::Broken(error.to_string()))
    }

    fn is_alive(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }
}

/// Workers that have done a job well. Starting a process costs milliseconds, more than most jobs, and kubelet's calls come
/// in bursts.
#[derive(Debug, Default)]
struct Spares(Mutex<Vec<(Instant, Process)>>);

impl Spares {
    fn lock(&self) -> MutexGuard<'_, Vec<(Instant, Process)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The one that was used last.
    fn take(&self) -> Option<Process> {
        let mut spares = self.lock();
        while let Some((_, mut process)) = spares.pop() {
            if process.is_alive() {
                return Some(process);
            }
        }
        None
    }

    /// Keeps a worker for a while; more than [`SPARES`] are not kept.
    fn keep(self: &Arc<Self>, process: Process) {
        let mut spares = self.lock();
        if spares.len() >= SPARES {
            return;
        }
        spares.push((Instant::now(), process));
        // Who drops the driver's last handle drops its workers too.
        let kept = Arc::downgrade(self);
        tokio::spawn(async move {
            sleep(SPARE_FOR).await;
            if let Some(kept) = kept.upgrade() {
                kept.lock().retain(|(since, _)| since.elapsed() < SPARE_FOR);
            }
        });
    }
}

/// Kills a child and waits until it is gone. One that sits in an uninterruptible call goes later, in the background.
pub(crate) async fn reap(mut child: Child) {
    if let Err(error) = child.start_kill() {
        tracing::debug!(%error, "the child process is gone already");
    }
    if timeout(KILLED_FOR, child.wait()).await.is_err() {
        tracing::warn!(pid = child.id(), "a killed child process is stuck in the kernel");
        tokio::spawn(async move { child.wait().await });
    }
}

/// Why the child ends.
#[derive(Debug, thiserror::Error)]
enum ChildError {
    #[error("usage: {COMMAND} PARENT")]
    Usage,
    #[error("process {0} has gone")]
    Orphan(i32),
    #[error("{0}")]
    Io(#[from] io::Error),
}

/// The child's side: does the jobs of standard input, a line each, until it ends. `parent` is the process id of who asks.
/// Call it first thing in `main`, before any thread is started.
pub fn main(parent: Option<OsString>) -> ExitCode {
    match die_with(parent).and_then(|()| Ok(serve(io::stdin().lock(), io::stdout().lock())?)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{COMMAND}: {error}");
            ExitCode::FAILURE
        }
    }
}

fn serve(mut jobs: impl BufRead, mut outcomes: impl Write) -> io::Result<()> {
    loop {
        let mut message = Vec::new();
        if jobs.by_ref().take(MESSAGE_MAX).read_until(b'\n', &mut message)? == 0 {
            return Ok(());
        }
        let mut outcome = serde_json::to_vec(&perform(&serde_json::from_slice(&message)?))?;
        outcome.push(b'\n');
        outcomes.write_all(&outcome)?;
        outcomes.flush()?;
    }
}

/// Has the kernel kill this process when the parent dies. A parent that is dead already is found out by its number, which
/// this process then is no child of any more.
fn die_with(parent: Option<OsString>) -> Result<(), ChildError> {
    let parent: i32 =
        parent.and_then(|word| word.into_string().ok()).and_then(|word| word.parse().ok()).ok_or(ChildError::Usage)?;
    set_parent_process_death_signal(Some(Signal::KILL)).map_err(io::Error::from)?;
    match getppid().map(Pid::as_raw_pid) {
        Some(now) if now == parent => Ok(()),
        _ => Err(ChildError::Orphan(parent)),
    }
}
