//! The keeper's own process: one loop, no runtime, no threads.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

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

/// Runs the keeper: `port-keeper DIRECTORY`. Call it first thing in `main`.
pub fn main(directory: Option<OsString>) -> ExitCode {
    let Some(directory) = directory else {
        eprintln!("usage: {} DIRECTORY", super::COMMAND);
        return ExitCode::FAILURE;
    };
    match keep(Path::new(&directory)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{}: {error}", super::COMMAND);
            ExitCode::FAILURE
        }
    }
}

fn keep(directory: &Path) -> io::Result<()> {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    if let Err(error) = setrlimit(Resource::Nofile, limit) {
        eprintln!("cannot raise the number of open files: {error}");
    }
    let door = Door::open(directory)?;
    let mut drivers: Vec<Channel> = Vec::new();
    let mut sockets: BTreeMap<u16, OwnedFd> = BTreeMap::new();
    let mut alone_since = Instant::now();
    let mut used = false;
    loop {
        let patience = match (drivers.is_empty(), used) {
            (false, _) => None,
            (true, false) => Some(UNUSED_FOR),
            (true, true) if sockets.is_empty() => return Ok(()),
            (true, true) => Some(ORPHANED_FOR),
        };
        let left = patience.map(|patience| patience.saturating_sub(alone_since.elapsed()));
        if left.is_some_and(|left| left.is_zero()) {
            return Ok(());
        }
        let ready = wait(&door, &drivers, left)?;
        // From the back, so that removal doesn't shift what is still to come.
        for index in (0..drivers.len()).rev() {
            if ready[index + 1] && !serve(&drivers[index], &mut sockets).unwrap_or(false) {
                drivers.remove(index);
                alone_since = Instant::now();
            }
        }
        if ready[0] && drivers.len() < DRIVERS_MAX {
            drivers.push(door.accept()?);
            used = true;
        }
    }
}

/// Waits until the door or a driver has something; tells which.
fn wait(door: &Door, drivers: &[Channel], limit: Option<Duration>) -> io::Result<Vec<bool>> {
    let limit =
        limit.map(|limit| Timespec { tv_sec: limit.as_secs().cast_signed(), tv_nsec: limit.subsec_nanos().into() });
    let all = std::iter::once(door.as_fd()).chain(drivers.iter().map(AsFd::as_fd));
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
