//! The keeper's own process: one loop, no runtime, no threads.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::Permissions;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::SignalFd;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Resource, getrlimit, setrlimit};

use super::SOCKETS_MAX;
use super::channel::{Channel, Door, Message};

/// Without a driver, the sockets are held this long: an upgrade's pause, not an uninstalled driver's afterlife.
const ORPHANED_FOR: Duration = Duration::from_secs(15 * 60);
/// A keeper that no driver ever spoke to ends after this.
const UNUSED_FOR: Duration = Duration::from_secs(10);
/// Drivers connected at a time: one, or two during an upgrade.
const DRIVERS_MAX: usize = 8;

/// The flag of a keeper that stays until it is told to end.
const STAY: &str = "--stay";

/// Runs the keeper: `port-keeper [--stay] DIRECTORY`. Call it first thing in `main`.
pub fn main(arguments: impl Iterator<Item = OsString>) -> ExitCode {
    let (flags, directories): (Vec<_>, Vec<_>) = arguments.partition(|word| word == STAY);
    let [directory] = directories.as_slice() else {
        eprintln!("usage: {} [{STAY}] DIRECTORY", super::COMMAND);
        return ExitCode::FAILURE;
    };
    let kept = if flags.is_empty() { keep(Path::new(directory)) } else { stay(Path::new(directory)) };
    match kept {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{}: {error}", super::COMMAND);
            ExitCode::FAILURE
        }
    }
}

/// Keeps sockets for as long as there are any, and drivers.
fn keep(directory: &Path) -> io::Result<()> {
    let mut keeper = Keeping::open(directory, None)?;
    let mut alone_since = Instant::now();
    let mut used = false;
    loop {
        let patience = match (keeper.drivers.is_empty(), used) {
            (false, _) => None,
            (true, false) => Some(UNUSED_FOR),
            (true, true) if keeper.sockets.is_empty() => return Ok(()),
            (true, true) => Some(ORPHANED_FOR),
        };
        let left = patience.map(|patience| patience.saturating_sub(alone_since.elapsed()));
        if left.is_some_and(|left| left.is_zero()) {
            return Ok(());
        }
        let before = keeper.drivers.len();
        keeper.turn(None, left)?;
        used |= !keeper.drivers.is_empty();
        if keeper.drivers.len() < before {
            alone_since = Instant::now();
        }
    }
}

/// Keeps sockets until SIGTERM, beginning with those of another keeper of the same directory.
fn stay(directory: &Path) -> io::Result<()> {
    // The first process of a container is not ended by a signal that it doesn't ask for.
    let mut end = SigSet::empty();
    end.add(Signal::SIGTERM);
    end.add(Signal::SIGINT);
    end.thread_block()?;
    let end = SignalFd::new(&end)?;
    // Nobody but its owner and the driver has business here.
    std::fs::set_permissions(directory, Permissions::from_mode(0o700))?;
    let mut keeper = Keeping::open(directory, Channel::connect(directory).ok())?;
    while keeper.turn(Some(end.as_fd()), None)? {}
    keeper.door.close()
}

/// The sockets and those who may ask for them.
struct Keeping {
    door: Door,
    drivers: Vec<Channel>,
    sockets: BTreeMap<u16, OwnedFd>,
    /// The keeper before. Until it ends, the driver before may still hand it new sockets.
    before: Option<Channel>,
}

impl Keeping {
    fn open(directory: &Path, before: Option<Channel>) -> io::Result<Self> {
        let mut limit = getrlimit(Resource::Nofile);
        limit.current = limit.maximum;
        if let Err(error) = setrlimit(Resource::Nofile, limit) {
            eprintln!("cannot raise the number of open files: {error}");
        }
        let mut sockets = BTreeMap::new();
        let before = before.filter(|before| take_over(before, &mut sockets));
        // Opened last: whoever finds this keeper finds all that there is.
        Ok(Self { door: Door::open(directory)?, drivers: Vec::new(), sockets, before })
    }

    /// Waits for something to do, and does it; false when it is time to end.
    fn turn(&mut self, end: Option<BorrowedFd<'_>>, limit: Option<Duration>) -> io::Result<bool> {
        let ready = wait(&self.door, &self.drivers, end, limit)?;
        // From the back, so that removal doesn't shift what is still to come.
        for index in (0..self.drivers.len()).rev() {
            if ready[index + 1] {
                self.before = self.before.take().filter(|before| take_over(before, &mut self.sockets));
                if !serve(&self.drivers[index], &mut self.sockets).unwrap_or(false) {
                    self.drivers.remove(index);
                }
            }
        }
        if ready[0] && self.drivers.len() < DRIVERS_MAX {
            self.drivers.push(self.door.accept()?);
        }
        Ok(end.is_none() || ready.last() != Some(&true))
    }
}

/// Takes over what another keeper holds and this one doesn't; false when it has gone.
fn take_over(before: &Channel, sockets: &mut BTreeMap<u16, OwnedFd>) -> bool {
    match super::take_all(before) {
        Ok(taken) => {
            for (port, socket) in taken {
                sockets.entry(port).or_insert(socket);
            }
            true
        }
        Err(_) => false,
    }
}

/// Waits until the door, a driver or the order to end has something; tells which, in this order.
fn wait(
    door: &Door,
    drivers: &[Channel],
    end: Option<BorrowedFd<'_>>,
    limit: Option<Duration>,
) -> io::Result<Vec<bool>> {
    let limit =
        limit.map(|limit| Timespec { tv_sec: limit.as_secs().cast_signed(), tv_nsec: limit.subsec_nanos().into() });
    let all = std::iter::once(door.as_fd()).chain(drivers.iter().map(AsFd::as_fd)).chain(end);
    let mut polled: Vec<PollFd<'_>> = all.map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN)).collect();
    match poll(&mut polled, limit.as_ref()) {
        Ok(_) | Err(rustix::io::Errno::INTR) => {}
        Err(error) => return Err(error.into()),
    }
    Ok(polled.iter().map(|fd| !fd.revents().is_empty()).collect())
}

/// Serves one message; false when the driver is gone.
fn serve(driver: &Channel, sockets: &mut BTreeMap<u16, OwnedFd>) -> io::Result<bool> {
    match driver.receive()? {
        None | Some((Message::Done, _)) => return Ok(false),
        Some((Message::Keep(port), Some(socket))) if sockets.len() < SOCKETS_MAX => {
            sockets.insert(port, socket);
        }
        Some((Message::Keep(_), _)) => return Ok(false),
        Some((Message::Release(port), _)) => {
            sockets.remove(&port);
        }
        Some((Message::List, _)) => {
            for (port, socket) in sockets.iter() {
                driver.send(Message::Keep(*port), Some(socket))?;
            }
        }
    }
    driver.send(Message::Done, None)?;
    Ok(true)
}
