//! Where the data plane runs, and how it is started.

use std::fs::DirBuilder;
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use tokio::net::UnixStream;
use tokio::time::sleep;

use super::serve::Plane;
use super::{ADOPT, COMMAND, door};
pub use crate::keeper::process::Start;
use crate::keeper::{Condition, Keeper};

/// A data plane that can't be reached by then has failed to start.
const START_WITHIN: Duration = Duration::from_secs(5);
/// Pause between two attempts to connect to one that starts.
const START_PAUSE: Duration = Duration::from_millis(2);

/// What the data plane reads of its environment: how much is logged, and whether FIPS is insisted on.
const INHERITED: [&str; 4] = ["RUST_LOG", "RUST_BACKTRACE", "FIPS_ENABLED", "PATH"];

/// Where the data plane runs.
#[derive(Clone)]
pub enum Host {
    /// In a container beside this one. It is never started from here; while it is gone, it is waited for.
    Sidecar,
    /// As a child of this process, from this executable with these arguments, when the first tunnel is opened.
    Child(std::sync::Arc<Start>),
    /// In this process, for tests.
    Within(Plane),
}

impl Host {
    /// Connects to the data plane in `directory`.
    pub(super) async fn connect(&self, directory: &Path) -> io::Result<UnixStream> {
        match self {
            Self::Sidecar | Self::Child(_) => door::connect(directory).await,
            Self::Within(plane) => {
                let (ours, theirs) = UnixStream::pair()?;
                let plane = plane.clone();
                tokio::spawn(async move { plane.attend(theirs).await });
                Ok(ours)
            }
        }
    }

    /// Starts a data plane and waits until it answers. One that is there hands everything over to it.
    pub(super) async fn start(&self, directory: &Path) -> io::Result<()> {
        let Self::Child(start) = self else { return Ok(()) };
        make(directory)?;
        let before = door::identity(directory);
        let mut child = command(start, directory, &[]).spawn()?;
        let started = Instant::now();
        while door::identity(directory) == before || door::connect(directory).await.is_err() {
            if let Some(status) = child.try_wait()? {
                return Err(io::Error::other(format!("the data plane has ended at once ({status})")));
            }
            if started.elapsed() > START_WITHIN {
                child.kill()?;
                child.wait()?;
                return Err(io::Error::new(io::ErrorKind::TimedOut, "the data plane does not answer"));
            }
            sleep(START_PAUSE).await;
        }
        collect(child)
    }

    /// Ends a keeper that hangs, if there is one, and starts another for the data plane, if that runs. Blocks for a moment.
    pub(super) fn replace_keeper(&self, directory: &Path, hangs: Option<Pid>, plane_runs: bool) -> io::Result<()> {
        let Self::Child(start) = self else { return Ok(()) };
        if let Some(pid) = hangs {
            let process = pidfd_open(pid, PidfdFlags::empty())?;
            // The number may be another process's by now.
            match Keeper::new(directory.to_owned()).look() {
                Condition::Hangs(seen) if seen.is_none_or(|seen| seen == pid) => {}
                _ => return Ok(()),
            }
            pidfd_send_signal(&process, Signal::KILL)?;
        }
        if !plane_runs {
            // Whoever connects next starts both.
            return Ok(());
        }
        make(directory)?;
        collect(command(start, directory, &[ADOPT]).spawn()?)
    }
}

/// Makes the directory with those above it: somebody may have taken the whole state directory away under a running driver.
fn make(directory: &Path) -> io::Result<()> {
    // On a frozen disk even making what is there waits.
    if directory.is_dir() {
        return Ok(());
    }
    DirBuilder::new().mode(0o700).recursive(true).create(directory)
}

fn command(start: &Start, directory: &Path, flags: &[&str]) -> Command {
    let mut command = Command::new(&start.program);
    command
        .arg(COMMAND)
        .args(flags)
        .args(&start.arguments)
        .arg(directory)
        .current_dir("/")
        // It outlives the driver, parses what the network sends, and needs none of the driver's credentials.
        .env_clear()
        .envs(std::env::vars_os().filter(|(name, _)| INHERITED.iter().any(|kept| name == kept)))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        // A signal for the driver's process group is not meant for it.
        .process_group(0);
    command
}

/// Whoever is still running when it ends must collect it.
fn collect(mut child: Child) -> io::Result<()> {
    std::thread::Builder::new().name("tunnel-exit".to_owned()).stack_size(64 * 1024).spawn(move || child.wait())?;
    Ok(())
}
