//! The keeper's own process: one loop, no runtime, no threads.

use std::collections::BTreeMap;
use std::fs::{DirBuilder, Permissions};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::Path;
use std::time::{Duration, Instant};

use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Resource, getrlimit, setrlimit};

use super::channel::{Channel, Door, Message, Packet};
pub use super::child::Start;
use super::child::Supervised;
use super::{SOCKETS_MAX, Taken, take};

/// Users connected at a time: the data plane, the driver, a successor. One more takes the place of the one that has been silent longest.
const USERS_MAX: usize = 8;
/// Files of its own: standard ones, signals, its door, users, a socket that is just coming, and the child's pipes.
const OWN_FILES: usize = 24;
/// Who connects has something to say at once.
const SPEAKS_WITHIN: Duration = Duration::from_secs(5);
/// How often it sees whether its name still leads to it.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// Pause after something that should not fail has failed.
const FAILED_PAUSE: Duration = Duration::from_millis(100);
/// The data plane has so long to end when it is asked to: as long as it waits for a successor, and some more.
const END_WITHIN: Duration = Duration::from_secs(8);

/// Asks the keeper what it holds, for a liveness probe.
///
/// # Errors
/// When there is none, or it doesn't answer.
pub fn check(directory: &Path) -> io::Result<()> {
    take(&Channel::connect(directory)?, Message::List).map(drop)
}

/// Keeps sockets, beginning with those of another keeper of the same directory, and a child running; until SIGTERM, or until the child
/// ends by itself. With `adopts`, a data plane that runs counts as the child, and is started again like one.
///
/// # Errors
/// When the directory can't be used.
pub fn run(directory: &Path, child: Start, adopts: bool) -> io::Result<()> {
    // The first process of a container is not ended by a signal that it doesn't ask for.
    let mut asked_for = SigSet::empty();
    for signal in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGCHLD] {
        asked_for.add(signal);
    }
    asked_for.thread_block()?;
    let signals = SignalFd::with_flags(&asked_for, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)?;
    // On a frozen disk even making what is there waits.
    if !directory.is_dir() {
        DirBuilder::new().mode(0o700).create(directory)?;
    }
    // Nobody but its owner and the driver has business here.
    std::fs::set_permissions(directory, Permissions::from_mode(0o700))?;
    let mut keeper = Keeping::open(directory)?;
    let mut child = if adopts { Supervised::adopting(child, directory) } else { Supervised::new(child) };
    let mut ends: Option<Instant> = None;
    while child.look().is_none() {
        let idle = child.idle_for().map_or(LOOK_EVERY, |idle| idle.min(LOOK_EVERY));
        let ends_now = keeper.turn(&signals, child.adopted(), idle).unwrap_or_else(|error| {
            // To end would lose every socket.
            eprintln!("tunnel: {}: {error}", directory.display());
            std::thread::sleep(FAILED_PAUSE);
            false
        });
        if ends_now && ends.is_none() {
            ends = Some(Instant::now());
            child.end();
        }
        match ends {
            Some(_) if !child.is_running() => break,
            Some(since) if since.elapsed() > END_WITHIN => child.kill(),
            _ => {}
        }
        // A disk under the name that takes no change is tried again; meanwhile the sockets are held.
        if ends.is_none() && keeper.door.is_lost() {
            match Door::open(directory) {
                Ok(door) => keeper.door = door,
                Err(error) => eprintln!("tunnel: {}: {error}", directory.display()),
            }
        }
    }
    keeper.door.close()
}

/// Lets the child hear the signals that the keeper reads from a file, before it starts any thread: they are blocked in a child, too.
///
/// # Errors
/// What the system says.
pub fn hear_signals() -> io::Result<()> {
    Ok(SigSet::all().thread_unblock()?)
}

/// A listening socket, and what its owner has noted about it.
struct Held {
    socket: OwnedFd,
    note: Vec<u8>,
}

/// The sockets and those who may ask for them.
struct Keeping {
    door: Door,
    users: Vec<User>,
    sockets: BTreeMap<u16, Held>,
    /// So many fit, and leave files for those who ask.
    room: usize,
    /// The keeper before. Until it ends, its data plane may still hand it new sockets.
    before: Option<Channel>,
}

/// A connection, and when something last came over it.
struct User {
    channel: Channel,
    heard: Instant,
    has_spoken: bool,
}

impl Keeping {
    fn open(directory: &Path) -> io::Result<Self> {
        let mut limit = getrlimit(Resource::Nofile);
        limit.current = limit.maximum;
        if let Err(error) = setrlimit(Resource::Nofile, limit) {
            eprintln!("tunnel: cannot raise the number of open files: {error}");
        }
        let files = limit.current.and_then(|limit| usize::try_from(limit).ok()).unwrap_or(usize::MAX);
        let room = SOCKETS_MAX.min(files.saturating_sub(OWN_FILES));
        let mut sockets = BTreeMap::new();
        let before = take_over_first(directory, &mut sockets);
        // Opened last: whoever finds this keeper finds all that there is.
        Ok(Self { door: Door::open(directory)?, users: Vec::new(), sockets, room, before })
    }

    /// Waits for something to do, and does it; true when it is time to end.
    fn turn(&mut self, signals: &SignalFd, child: Option<BorrowedFd<'_>>, limit: Duration) -> io::Result<bool> {
        let silent = self.users.iter().any(|user| !user.has_spoken);
        let limit = if silent { limit.min(SPEAKS_WITHIN) } else { limit };
        let ready = wait(&self.door, &self.users, signals.as_fd(), child, limit)?;
        // From the back, so that removal doesn't shift what is still to come.
        for index in (0..self.users.len()).rev() {
            if ready[index + 1] {
                self.before = self.before.take().filter(|before| take_over(before, &mut self.sockets).is_ok());
                if serve(&self.users[index].channel, &mut self.sockets, self.room).unwrap_or(false) {
                    (self.users[index].heard, self.users[index].has_spoken) = (Instant::now(), true);
                } else {
                    self.users.remove(index);
                }
            }
        }
        self.users.retain(|user| user.has_spoken || user.heard.elapsed() < SPEAKS_WITHIN);
        if ready[0] {
            // The one that goes connects again if it lives.
            if self.users.len() == USERS_MAX
                && let Some(index) = (0..USERS_MAX).min_by_key(|index| self.users[*index].heard)
            {
                self.users.remove(index);
            }
            self.users.push(User { channel: self.door.accept()?, heard: Instant::now(), has_spoken: false });
        }
        let mut end = false;
        while let Some(signal) = signals.read_signal()? {
            end |= signal.ssi_signo != Signal::SIGCHLD as u32;
        }
        Ok(end)
    }
}

/// Takes over what the keeper before holds, be it one that knows no notes; the connection to it, if it lives.
fn take_over_first(directory: &Path, sockets: &mut BTreeMap<u16, Held>) -> Option<Channel> {
    let before = Channel::connect(directory).ok()?;
    if take_over(&before, sockets).is_ok() {
        return Some(before);
    }
    // It has closed the connection, as it does with what it doesn't know.
    let before = Channel::connect(directory).ok()?;
    take_over_with(&before, Message::List, sockets).is_ok().then_some(before)
}

/// Takes over what another keeper holds and this one doesn't.
fn take_over(before: &Channel, sockets: &mut BTreeMap<u16, Held>) -> io::Result<()> {
    take_over_with(before, Message::ListNoted, sockets)
}

fn take_over_with(before: &Channel, list: Message, sockets: &mut BTreeMap<u16, Held>) -> io::Result<()> {
    for Taken { port, socket, note } in take(before, list)? {
        sockets.entry(port).or_insert(Held { socket, note });
    }
    Ok(())
}

/// Waits until the door, a user or a signal has something, or a child that is no child of ours ends; tells which, in this order.
fn wait(
    door: &Door,
    users: &[User],
    signals: BorrowedFd<'_>,
    child: Option<BorrowedFd<'_>>,
    limit: Duration,
) -> io::Result<Vec<bool>> {
    let limit = Timespec { tv_sec: limit.as_secs().cast_signed(), tv_nsec: limit.subsec_nanos().into() };
    let users = users.iter().map(|user| user.channel.as_fd());
    let all = std::iter::once(door.as_fd()).chain(users).chain(std::iter::once(signals)).chain(child);
    let mut polled: Vec<PollFd<'_>> = all.map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN)).collect();
    match poll(&mut polled, Some(&limit)) {
        Ok(_) | Err(rustix::io::Errno::INTR) => {}
        Err(error) => return Err(error.into()),
    }
    Ok(polled.iter().map(|fd| !fd.revents().is_empty()).collect())
}

/// Serves one message; false when the user is gone.
fn serve(user: &Channel, sockets: &mut BTreeMap<u16, Held>, room: usize) -> io::Result<bool> {
    let Some(Packet { message, socket, note }) = user.receive()? else { return Ok(false) };
    match (message, socket) {
        (Message::Done, _) | (Message::Keep(_), None) => return Ok(false),
        (Message::Keep(port), Some(socket)) if sockets.len() < room || sockets.contains_key(&port) => {
            sockets.insert(port, Held { socket, note });
        }
        (Message::Keep(_), Some(_)) => return Ok(false),
        (Message::Release(port), _) => {
            sockets.remove(&port);
        }
        (Message::List, _) => {
            for (port, held) in sockets.iter() {
                user.send_socket(*port, &held.socket, &[])?;
            }
        }
        (Message::ListNoted, _) => {
            for (port, held) in sockets.iter() {
                user.send_socket(*port, &held.socket, &held.note)?;
            }
        }
    }
    user.send(Message::Done)?;
    Ok(true)
}
