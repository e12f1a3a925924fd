//! The process that touches a volume's files, and its parent's side. One JSON job a line, one JSON answer a line.

use std::collections::BTreeSet;
use std::fmt;
use std::fs::{self, File};
use std::io::{self, BufRead as _, Read as _, Write as _};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::process::{ExitCode, Stdio};
use std::time::Duration;

use anyhow::Context as _;
use rustix::fs::{Advice, fadvise};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

use super::content::{RECORD, compare, record};

/// The word on the command line that makes the program such a process.
pub const COMMAND: &str = "io";
/// The longest that a file operation may take. A lost reply costs the kernel's client a minute, a server that restarts may
/// have to wait out the lease of a client that is gone.
const LIMIT: Duration = Duration::from_secs(240);

/// What to do.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) enum Job {
    /// Write records into a file, which is made if it is missing, and wait until the server has them.
    Write {
        /// The file.
        path: PathBuf,
        /// The first record.
        first: usize,
        /// The records' numbers.
        numbers: Vec<u64>,
        /// Whether what the file had before goes.
        truncate: bool,
        /// With fsync; otherwise closing the file has to do.
        sync: bool,
    },
    /// Compare a whole file.
    Verify {
        /// The file.
        path: PathBuf,
        /// Its records' numbers.
        numbers: Vec<u64>,
    },
    /// Rename a file, over another one if there is one.
    Rename {
        /// Its name.
        from: PathBuf,
        /// The new one.
        to: PathBuf,
    },
    /// Remove a file.
    Remove {
        /// The file.
        path: PathBuf,
    },
    /// Compare the names in a directory.
    List {
        /// The directory.
        path: PathBuf,
        /// All names.
        names: BTreeSet<String>,
    },
}

/// Why a job failed.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Failure {
    reason: String,
    /// What the kernel said.
    errno: Option<i32>,
}

impl Failure {
    /// Whether a file was missing.
    fn is_missing(&self) -> bool {
        self.errno == Some(rustix::io::Errno::NOENT.raw_os_error())
    }

    /// What is there is not what should be.
    fn verification(path: &Path, reason: impl fmt::Display) -> Self {
        Self { reason: format!("VERIFICATION {path:?} {reason}"), errno: None }
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self { reason: error.to_string(), errno: error.raw_os_error() }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.reason)
    }
}

impl std::error::Error for Failure {}

impl Job {
    /// How to see that the job is done although the answer says that a file is missing, for a job that says so when it is done twice.
    ///
    /// The kernel's client repeats a request whose reply it did not get. A server knows from its replay cache that it has done
    /// the work already; one that was restarted has none, and renames a file that has its new name by now. Only a server
    /// with persistent sessions (RFC 8881 §2.10.6.5, which they are free to offer) could do better.
    pub(super) fn is_done_twice(&self, failure: &anyhow::Error, names: BTreeSet<String>) -> Option<Self> {
        let missing = failure.downcast_ref::<Failure>().is_some_and(Failure::is_missing);
        match self {
            Self::Rename { from: path, .. } | Self::Remove { path } if missing => {
                Some(Self::List { path: path.parent()?.to_owned(), names })
            }
            _ => None,
        }
    }

    fn perform(&self) -> Result<(), Failure> {
        match self {
            Self::Write { path, first, numbers, truncate, sync } => {
                let mut options = File::options();
                let file = options.write(true).create(true).truncate(*truncate).open(path)?;
                for (index, number) in numbers.iter().enumerate() {
                    file.write_all_at(&record(*number), ((first + index) * RECORD) as u64)?;
                }
                if *sync {
                    file.sync_all()?;
                }
            }
            Self::Verify { path, numbers } => {
                let mut file = File::open(path)?;
                // What this machine has cached proves nothing.
                fadvise(&file, 0, None, Advice::DontNeed).map_err(io::Error::from)?;
                let mut found = Vec::new();
                file.read_to_end(&mut found)?;
                compare(&found, numbers).map_err(|reason| Failure::verification(path, reason))?;
            }
            Self::Rename { from, to } => fs::rename(from, to)?,
            Self::Remove { path } => fs::remove_file(path)?,
            Self::List { path, names } => {
                let mut found = BTreeSet::new();
                for entry in fs::read_dir(path)? {
                    found.insert(entry?.file_name().to_string_lossy().into_owned());
                }
                if found != *names {
                    return Err(Failure::verification(path, format!("holds {found:?} instead of {names:?}")));
                }
            }
        }
        Ok(())
    }
}

/// The process: does the jobs of standard input.
pub fn main() -> ExitCode {
    let mut out = io::stdout().lock();
    for line in io::stdin().lock().lines() {
        let answer = line
            .and_then(|line| Ok(serde_json::from_str::<Job>(&line)?))
            .map_err(Failure::from)
            .and_then(|job| job.perform());
        let written = serde_json::to_vec(&answer)
            .map_err(io::Error::from)
            .and_then(|answer| out.write_all(&[answer, b"\n".to_vec()].concat()))
            .and_then(|()| out.flush());
        if written.is_err() {
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}

/// Such a process, as its parent sees it. It is killed when this is dropped.
#[derive(Debug)]
pub(super) struct Io {
    _child: Child,
    jobs: ChildStdin,
    answers: Lines<BufReader<ChildStdout>>,
}

impl Io {
    pub(super) fn start(program: &Path) -> anyhow::Result<Self> {
        let mut command = Command::new(program);
        command.arg(COMMAND).stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn().with_context(|| format!("starting {program:?}"))?;
        let (jobs, answers) = (child.stdin.take().context("no pipe")?, child.stdout.take().context("no pipe")?);
        Ok(Self { _child: child, jobs, answers: BufReader::new(answers).lines() })
    }

    pub(super) async fn perform(&mut self, job: &Job) -> anyhow::Result<()> {
        let line = [serde_json::to_vec(job)?, b"\n".to_vec()].concat();
        let answer = tokio::time::timeout(LIMIT, async {
            self.jobs.write_all(&line).await?;
            self.answers.next_line().await
        });
        let answer = answer.await.with_context(|| format!("not done within {LIMIT:?}: {job:?}"))??;
        let answer = answer.context("the process for files has ended")?;
        Ok(serde_json::from_str::<Result<(), Failure>>(&answer)??)
    }
}
