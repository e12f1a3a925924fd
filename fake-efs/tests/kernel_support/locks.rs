//! Byte-range locks. They belong to the open file, so that one process can play several owners.

use std::fs::File;
use std::os::fd::AsRawFd as _;

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, fcntl};
use nix::libc;

/// Shared or exclusive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A read lock.
    Shared,
    /// A write lock.
    Exclusive,
}

impl Kind {
    fn raw(self) -> libc::c_int {
        match self {
            Self::Shared => libc::F_RDLCK,
            Self::Exclusive => libc::F_WRLCK,
        }
    }
}

/// Bytes from `start`; a length of 0 reaches to the end of the file, wherever that will be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Range {
    /// First byte.
    pub(crate) start: i64,
    /// Number of bytes.
    pub(crate) length: i64,
}

impl Range {
    /// The whole file.
    pub(crate) const ALL: Self = Self { start: 0, length: 0 };

    /// `length` bytes from `start`.
    pub(crate) const fn new(start: i64, length: i64) -> Self {
        Self { start, length }
    }
}

fn describe(kind: libc::c_int, range: Range) -> libc::flock {
    libc::flock {
        l_type: i16::try_from(kind).expect("lock types are 0 to 2"),
        l_whence: i16::try_from(libc::SEEK_SET).expect("SEEK_SET is 0"),
        l_start: range.start,
        l_len: range.length,
        l_pid: 0,
    }
}

/// Locks or says EAGAIN at once.
pub(crate) fn try_lock(file: &File, kind: Kind, range: Range) -> Result<(), Errno> {
    fcntl(file.as_raw_fd(), FcntlArg::F_OFD_SETLK(&describe(kind.raw(), range))).map(drop)
}

/// Locks, waiting as long as needed.
pub(crate) fn lock(file: &File, kind: Kind, range: Range) -> Result<(), Errno> {
    fcntl(file.as_raw_fd(), FcntlArg::F_OFD_SETLKW(&describe(kind.raw(), range))).map(drop)
}

/// Gives up whatever is locked of the range.
pub(crate) fn unlock(file: &File, range: Range) -> Result<(), Errno> {
    fcntl(file.as_raw_fd(), FcntlArg::F_OFD_SETLK(&describe(libc::F_UNLCK, range))).map(drop)
}

/// What stands in the way of a lock: its kind and range.
pub(crate) fn conflict(file: &File, kind: Kind, range: Range) -> Result<Option<(Kind, Range)>, Errno> {
    let mut probe = describe(kind.raw(), range);
    fcntl(file.as_raw_fd(), FcntlArg::F_OFD_GETLK(&mut probe))?;
    let kind = match libc::c_int::from(probe.l_type) {
        libc::F_UNLCK => return Ok(None),
        libc::F_RDLCK => Kind::Shared,
        _ => Kind::Exclusive,
    };
    Ok(Some((kind, Range { start: probe.l_start, length: probe.l_len })))
}
