//! How many files this process may have open. Each connection and each listening socket counts as one, so the limit is a limit of volumes.

use std::error::Error;
use std::fs::File;
use std::io;

use rustix::io::Errno;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::causes::chain;

/// Files of a volume through a tunnel: the listening socket and the copy that is handed to the process that keeps ports, the kernel's
/// connection, and the one to the mount target.
const PER_VOLUME: u64 = 4;

/// Files of the process itself: gRPC, metrics, the EFS API, the API server, mount workers.
const OWN: u64 = 128;

/// What an operator can do.
pub const HOW_TO_RAISE: &str = "raise its hard limit of open files (LimitNOFILE= of the container runtime's service, or its default ulimit nofile)";

/// No file can be opened, and no connection made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OutOfFiles {
    /// This process has as many as it may have.
    #[error("this process has all {limit} files open that it may; {HOW_TO_RAISE}")]
    Process {
        /// The limit.
        limit: u64,
    },
    /// The whole system has.
    #[error("the system has as many files open as it may; raise the sysctl fs.file-max")]
    System,
}

impl OutOfFiles {
    /// Whether that is what an error of the system means.
    pub fn of(error: &io::Error) -> Option<Self> {
        error.raw_os_error().and_then(|errno| Self::of_errno(Errno::from_raw_os_error(errno)))
    }

    /// The same of an error number.
    pub fn of_errno(errno: Errno) -> Option<Self> {
        match errno {
            Errno::MFILE => Some(Self::of_this_process()),
            Errno::NFILE => Some(Self::System),
            _ => None,
        }
    }

    /// What to say where there would be too few for what is wanted.
    pub fn of_this_process() -> Self {
        Self::Process { limit: current() }
    }

    /// The same of an error or one of its causes.
    pub fn among_causes(error: &(dyn Error + 'static)) -> Option<Self> {
        chain(error).find_map(|error| error.downcast_ref::<io::Error>().and_then(Self::of))
    }
}

/// Files that are open for nothing, for those who must be answered when no other is left: one is closed, and the next connection has it.
#[derive(Debug)]
pub struct Spare {
    held: Vec<File>,
    wanted: usize,
}

impl Spare {
    /// Holds so many.
    pub fn new(wanted: usize) -> Self {
        let mut this = Self { held: Vec::with_capacity(wanted), wanted };
        this.refill();
        this
    }

    /// Gives one up; false when there is none.
    pub fn lend(&mut self) -> bool {
        self.held.pop().is_some()
    }

    /// Takes back what was given up, as far as there are files again.
    pub fn refill(&mut self) {
        while self.held.len() < self.wanted
            && let Ok(file) = File::open("/dev/null")
        {
            self.held.push(file);
        }
    }
}

/// How many connections a door may have, so that those of one leave enough for the others and for what they ask for.
pub fn most_connections(at_most: usize) -> usize {
    let share = usize::try_from(current() / 8).unwrap_or(usize::MAX);
    share.clamp(4, at_most.max(4))
}

fn limit() -> Rlimit {
    getrlimit(Resource::Nofile)
}

/// Raises the soft limit to the hard one, and gives it; nothing when there is none. Container runtimes leave the soft limit at 1,024, for
/// programs that use `select`; this one doesn't.
pub fn raise_limit() -> Option<u64> {
    let Rlimit { current, maximum } = limit();
    if current == maximum {
        return current;
    }
    match setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }) {
        Ok(()) => maximum,
        Err(error) => {
            tracing::warn!(%error, "cannot raise the limit of open files");
            current
        }
    }
}

/// How many volumes with a tunnel each fit in a limit of open files.
pub fn most_volumes(limit: u64) -> u64 {
    limit.saturating_sub(OWN) / PER_VOLUME
}

/// The limit that holds now.
pub fn current() -> u64 {
    limit().current.unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_found_among_the_causes_of_an_error() {
        #[derive(Debug, thiserror::Error)]
        #[error("outer")]
        struct Outer(#[source] io::Error);
        let found = |errno: Errno| OutOfFiles::among_causes(&Outer(errno.into()));
        assert!(matches!(found(Errno::MFILE), Some(OutOfFiles::Process { limit }) if limit > 0));
        assert_eq!(found(Errno::NFILE), Some(OutOfFiles::System));
        assert_eq!(found(Errno::CONNREFUSED), None);
    }

    #[test]
    fn a_volume_takes_four_files() {
        assert_eq!(most_volumes(1024), 224);
        assert_eq!(most_volumes(64), 0);
    }
}
