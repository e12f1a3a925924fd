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
/// Drivers connected at a time: one, or two during an upgrade. One more takes the place of the one that has been silent longest.
const DRIVERS_MAX: usize = 8;
/// Who connects has something to say at once.
const SPEAKS_WITHIN: Duration = Duration::from_secs(5);
/// How often a keeper that stays sees whether its name still leads to it.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// The flag of a keeper that stays until it is told to end.
const STAY: &str = "--stay";
/// The flag that asks whether there is a keeper that answers.
const CHECK: &str = "--check";

/// Runs the keeper: `port-keeper [--stay | --check] DIRECTORY`. Call it first thing in `main`.
pub fn main(arguments: impl Iterator<Item = OsString>) -> ExitCode {
    let arguments: Vec<OsString> = arguments.collect();
    let (work, directory): (fn(&Path) -> io::Result<()>, _) = match arguments.as_slice() {
        [flag, directory] if flag == STAY => (stay, directory),
        [flag, directory] if flag == CHECK => (check, directory),
        [directory] if !directory.as_encoded_bytes().starts_with(b"-") => (keep, directory),
        _ => {
            eprintln!("usage: {} [{STAY} | {CHECK}] DIRECTORY", super::COMMAND);
            return ExitCode::FAILURE;
        }
    };
    match work(Path::new(directory)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{}: {}: {error}", super::COMMAND, Path::new(directory).display());
            ExitCode::FAILURE
        }
    }
}

/// Asks the keeper what it holds, for a liveness probe.
fn check(directory: &Path) -> io::Result<()> {
    super::take_all(&Channel::connect(directory)?).map(drop)
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
    // A disk under the name that takes no change is tried again; meanwhile the sockets are held.
    while keeper.turn(Some(end.as_fd()), Some(LOOK_EVERY))? {
        if keeper.door.is_lost() {
            match Door::open(directory) {
                Ok(door) => keeper.door = door,
                Err(error) => eprintln!("{}: {}: {error}", super::COMMAND, directory.display()),
            }
        }
    }
    keeper.door.close()
}

/// The sockets and those who may ask for them.
struct Keeping {
    door: Door,
    drivers: Vec<Driver>,
    sockets: BTreeMap<u16, OwnedFd>,
    /// The keeper before. Until it ends, the driver before may still hand it new sockets.
    before: Option<Channel>,
}

/// A connection, and when something last came over it.
struct Driver {
    channel: Channel,
    heard: Instant,
    has_spoken: bool,
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
        let silent = self.drivers.iter().any(|driver| !driver.has_spoken);
        let limit = if silent { Some(limit.unwrap_or(SPEAKS_WITHIN).min(SPEAKS_WITHIN)) } else { limit };
        let ready = wait(&self.door, &self.drivers, end, limit)?;
        // From the back, so that removal doesn't shift what is still to come.
        for index in (0..self.drivers.len()).rev() {
            if ready[index + 1] {
                self.before = self.before.take().filter(|before| take_over(before, &mut self.sockets));
                if serve(&self.drivers[index].channel, &mut self.sockets).unwrap_or(false) {
                    (self.drivers[index].heard, self.drivers[index].has_spoken) = (Instant::now(), true);
                } else {
                    self.drivers.remove(index);
                }
            }
        }
        self.drivers.retain(|driver| driver.has_spoken || driver.heard.elapsed() < SPEAKS_WITHIN);
        if ready[0] {
            // The one that goes connects again if it lives.
            if self.drivers.len() == DRIVERS_MAX
                && let Some(index) = (0..DRIVERS_MAX).min_by_key(|index| self.drivers[*index].heard)
            {
                self.drivers.remove(index);
            }
            self.drivers.push(Driver { channel: self.door.accept()?, heard: Instant::now(), has_spoken: false });
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
    drivers: &[Driver],
    end: Option<BorrowedFd<'_>>,
    limit: Option<Duration>,
) -> io::Result<Vec<bool>> {
    let limit =
        limit.map(|limit| Timespec { tv_sec: limit.as_secs().cast_signed(), tv_nsec: limit.subsec_nanos().into() });
    let all = std::iter::once(door.as_fd()).chain(drivers.iter().map(|driver| driver.channel.as_fd())).chain(end);
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
