//! A child process whose output goes to a log file and which never outlives its owner.

use std::fs::File;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, bail};
use rustix::process::{Pid, Signal, kill_process};
use tokio::process::{Child, ChildStdout, Command};

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// It returned this status.
    Code(i32),
    /// It was ended by this signal.
    Signal(i32),
}

impl Exit {
    /// Whether it has done what it was to do.
    pub fn is_success(&self) -> bool {
        matches!(self, Self::Code(0))
    }
}

/// A running child process.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts `command`; standard error (and standard output, unless it is wanted as a pipe) is appended to `log`.
    pub fn spawn(name: &str, mut command: Command, log: &Path, pipe_stdout: bool) -> anyhow::Result<Self> {
        let file = File::options().create(true).append(true).open(log).with_context(|| format!("opening {log:?}"))?;
        command.stdin(Stdio::null()).stderr(file.try_clone()?).kill_on_drop(true);
        if pipe_stdout {
            command.stdout(Stdio::piped())
        } else {
            command.stdout(file)
        };
        let program = command.as_std().get_program().to_owned();
        let child = command.spawn().with_context(|| format!("starting {program:?}"))?;
        Ok(Self { name: name.to_owned(), child, log: log.to_owned() })
    }

    /// The standard output, if it was asked for as a pipe and not taken before.
    pub fn take_stdout(&mut self) -> Option<ChildStdout> {
        self.child.stdout.take()
    }

    /// The process id, or `None` once it has ended.
    pub fn id(&self) -> Option<u32> {
        self.child.id()
    }

    /// The log file.
    pub fn log(&self) -> &Path {
        &self.log
    }

    /// The last `lines` lines of the log, for the report of a failure.
    pub fn log_tail(&self, lines: usize) -> String {
        let text = std::fs::read_to_string(&self.log).unwrap_or_default();
        let all: Vec<&str> = text.lines().collect();
        all[all.len().saturating_sub(lines)..].join("\n")
    }

    /// Fails with the log's end if the process has ended already.
    pub fn check_alive(&mut self) -> anyhow::Result<()> {
        if let Some(status) = self.child.try_wait()? {
            bail!("{} ended too early ({status}); its last words:\n{}", self.name, self.log_tail(20));
        }
        Ok(())
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) -> anyhow::Result<()> {
        let pid = self.id().with_context(|| format!("{} is not running", self.name))?;
        let pid = Pid::from_raw(i32::try_from(pid)?).context("process id 0")?;
        kill_process(pid, signal).with_context(|| format!("sending {signal:?} to {}", self.name))
    }

    /// Waits for the end; fails after `limit`.
    pub async fn wait(&mut self, limit: Duration) -> anyhow::Result<Exit> {
        let status = tokio::time::timeout(limit, self.child.wait())
            .await
            .with_context(|| format!("{} did not end within {limit:?}", self.name))??;
        match (status.code(), status.signal()) {
            (Some(code), _) => Ok(Exit::Code(code)),
            (None, Some(signal)) => Ok(Exit::Signal(signal)),
            (None, None) => bail!("{} ended with neither a status nor a signal", self.name),
        }
    }

    /// Ends the process at once (SIGKILL) and waits for its end.
    pub async fn kill(&mut self, limit: Duration) -> anyhow::Result<Exit> {
        self.signal(Signal::KILL)?;
        self.wait(limit).await
    }

    /// Asks the process to stop (SIGTERM) and waits for its end.
    pub async fn stop(&mut self, limit: Duration) -> anyhow::Result<Exit> {
        self.signal(Signal::TERM)?;
        self.wait(limit).await
    }
}
