//! The keeper's child: the data plane, started again at once when it dies.

use std::ffi::OsString;
use std::io;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

/// Pause before a child that died young is started again: the first one is short, each further one twice as long. It may have been
/// killed by chance; one that can't start would take a processor otherwise.
const PAUSES: (Duration, Duration) = (Duration::from_millis(10), Duration::from_secs(2));
/// A child that lived so long died for another reason than the one before.
const LIVED: Duration = Duration::from_secs(10);

/// How to start it.
#[derive(Debug)]
pub struct Start {
    /// The executable.
    pub program: PathBuf,
    /// Its arguments.
    pub arguments: Vec<OsString>,
}

impl Start {
    fn spawn(&self) -> io::Result<Child> {
        Command::new(&self.program).args(&self.arguments).stdin(Stdio::null()).stdout(Stdio::null()).spawn()
    }
}

/// The child and what becomes of it.
pub(super) struct Supervised {
    start: Start,
    running: Option<(Child, Instant)>,
    /// When the next one is started.
    due: Instant,
    pause: Duration,
    /// Whether it has been asked to end: then there is no next one.
    ends: bool,
}

impl Supervised {
    pub(super) fn new(start: Start) -> Self {
        Self { start, running: None, due: Instant::now(), pause: PAUSES.0, ends: false }
    }

    /// Starts the child if it is time, and sees whether it has ended; the status of one that is not to be started again.
    pub(super) fn look(&mut self) -> Option<ExitStatus> {
        if let Some((child, since)) = &mut self.running {
            let status = match child.try_wait() {
                Ok(None) => return None,
                Ok(Some(status)) => status,
                // Collected by somebody else, which nobody is there for.
                Err(error) => {
                    eprintln!("tunnel: lost sight of the data plane: {error}");
                    ExitStatus::default()
                }
            };
            if since.elapsed() > LIVED {
                self.pause = PAUSES.0;
                self.due = Instant::now();
            } else {
                self.due = Instant::now() + self.pause;
                self.pause = (self.pause * 2).min(PAUSES.1);
            }
            self.running = None;
            if self.ends || status.success() {
                return Some(status);
            }
            eprintln!("tunnel: the data plane has ended ({status}) and is started again");
        }
        if self.due <= Instant::now() {
            match self.start.spawn() {
                Ok(child) => self.running = Some((child, Instant::now())),
                Err(error) => {
                    eprintln!("tunnel: cannot start the data plane: {error}");
                    self.due = Instant::now() + PAUSES.1;
                }
            }
        }
        None
    }

    /// How long nothing is to be done, unless the child ends.
    pub(super) fn idle_for(&self) -> Option<Duration> {
        self.running.is_none().then(|| self.due.saturating_duration_since(Instant::now()))
    }

    /// Asks it to end.
    pub(super) fn end(&mut self) {
        self.ends = true;
        self.signal(Signal::TERM);
    }

    /// Ends it.
    pub(super) fn kill(&self) {
        self.signal(Signal::KILL);
    }

    fn signal(&self, signal: Signal) {
        let pid = self.running.as_ref().and_then(|(child, _)| Pid::from_raw(child.id().cast_signed()));
        // It hasn't been collected, so the number is still its own.
        if let Some(pid) = pid
            && let Err(error) = kill_process(pid, signal)
        {
            eprintln!("tunnel: cannot signal the data plane: {error}");
        }
    }

    pub(super) fn is_running(&self) -> bool {
        self.running.is_some()
    }
}
