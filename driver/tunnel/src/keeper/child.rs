//! The keeper's child: the data plane, started again at once when it dies.

use std::ffi::OsString;
use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::sockopt::socket_peercred;
use rustix::net::{AddressFamily, SocketFlags, SocketType, connect, socket_with};
use rustix::process::{Pid, PidfdFlags, Signal, geteuid, kill_process, pidfd_open, pidfd_send_signal};

use super::ORDERS;
use super::channel::with_address;

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

/// A data plane that another keeper has started.
struct Adopted {
    process: OwnedFd,
    directory: PathBuf,
    /// Its socket's inode. It takes the name away when it ends in order.
    inode: u64,
}

impl Adopted {
    /// The one that listens in `directory`.
    fn find(directory: &Path) -> io::Result<Self> {
        let inode = std::fs::symlink_metadata(directory.join(ORDERS))?.ino();
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
        with_address(directory, ORDERS, |address| Ok(connect(&socket, address)?))?;
        let peer = socket_peercred(&socket)?;
        if peer.uid != geteuid() {
            return Err(io::Error::other("another user's"));
        }
        let process = pidfd_open(peer.pid, PidfdFlags::empty())?;
        Ok(Self { process, directory: directory.to_owned(), inode })
    }

    fn has_ended(&self) -> bool {
        let mut polled = [PollFd::new(&self.process, PollFlags::IN)];
        let now = Timespec { tv_sec: 0, tv_nsec: 0 };
        poll(&mut polled, Some(&now)).is_ok() && !polled[0].revents().is_empty()
    }

    /// Whether it has ended in order, as nobody needs it or another one is in its place.
    fn is_done(&self) -> bool {
        let found = std::fs::symlink_metadata(self.directory.join(ORDERS));
        found.map_or_else(|error| error.kind() == io::ErrorKind::NotFound, |found| found.ino() != self.inode)
    }
}

enum Running {
    Child(Child),
    Adopted(Adopted),
}

impl Running {
    /// How it has ended. What a process that is no child of ours ended with can't be known.
    fn ended(&mut self) -> io::Result<Option<ExitStatus>> {
        match self {
            Self::Child(child) => child.try_wait(),
            Self::Adopted(plane) if !plane.has_ended() => Ok(None),
            Self::Adopted(plane) if plane.is_done() => Ok(Some(ExitStatus::default())),
            Self::Adopted(_) => Ok(Some(ExitStatus::from_raw(KILLED))),
        }
    }
}

/// As by SIGKILL.
const KILLED: i32 = 9;

/// The child and what becomes of it.
pub(super) struct Supervised {
    start: Start,
    running: Option<(Running, Instant)>,
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

    /// The same with the data plane that runs in `directory`, if there is one.
    pub(super) fn adopting(start: Start, directory: &Path) -> Self {
        let found = Adopted::find(directory).inspect_err(|error| eprintln!("tunnel: no data plane to adopt: {error}"));
        Self { running: found.ok().map(|plane| (Running::Adopted(plane), Instant::now())), ..Self::new(start) }
    }

    /// To be waited for beside the signals, which don't tell its end.
    pub(super) fn adopted(&self) -> Option<BorrowedFd<'_>> {
        match &self.running {
            Some((Running::Adopted(plane), _)) => Some(plane.process.as_fd()),
            _ => None,
        }
    }

    /// Starts the child if it is time, and sees whether it has ended; the status of one that is not to be started again.
    pub(super) fn look(&mut self) -> Option<ExitStatus> {
        if let Some((child, since)) = &mut self.running {
            let status = match child.ended() {
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
                Ok(child) => self.running = Some((Running::Child(child), Instant::now())),
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
        let done = match &self.running {
            // It hasn't been collected, so the number is still its own.
            Some((Running::Child(child), _)) => match Pid::from_raw(child.id().cast_signed()) {
                Some(pid) => kill_process(pid, signal),
                None => return,
            },
            Some((Running::Adopted(plane), _)) => pidfd_send_signal(&plane.process, signal),
            None => return,
        };
        if let Err(error) = done {
            eprintln!("tunnel: cannot signal the data plane: {error}");
        }
    }

    pub(super) fn is_running(&self) -> bool {
        self.running.is_some()
    }
}
