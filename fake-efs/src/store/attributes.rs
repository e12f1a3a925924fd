//! What a store knows about an object besides its contents.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use super::FileId;

/// Kinds of objects that EFS stores.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A regular file.
    Regular,
    /// A directory.
    Directory,
    /// A symbolic link.
    Symlink,
    /// A named pipe.
    Fifo,
    /// A Unix socket.
    Socket,
}

/// A point in time as POSIX keeps it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Time {
    /// Seconds since 1970-01-01 UTC, without leap seconds.
    pub seconds: i64,
    /// Nanoseconds to add, below 10^9.
    pub nanoseconds: u32,
}

impl Time {
    fn later(self, nanoseconds: i64) -> Self {
        let all = i64::from(self.nanoseconds) + nanoseconds % 1_000_000_000;
        Self {
            seconds: self.seconds + nanoseconds / 1_000_000_000 + all.div_euclid(1_000_000_000),
            nanoseconds: all.rem_euclid(1_000_000_000) as u32,
        }
    }

    /// The host's clock.
    pub fn now() -> Self {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self { seconds: i64::try_from(since.as_secs()).unwrap_or(i64::MAX), nanoseconds: since.subsec_nanos() }
    }
}

/// The clock of a store's files: the host's, and as far ahead of it as it was told to go. Reading it takes no lock.
#[derive(Clone, Debug, Default)]
pub struct FileClock {
    /// Nanoseconds.
    ahead: Arc<AtomicI64>,
}

impl FileClock {
    /// The time of what happens now.
    pub fn now(&self) -> Time {
        let now = Time::now();
        match self.ahead.load(Ordering::Relaxed) {
            0 => now,
            ahead => now.later(ahead),
        }
    }

    /// Moves the clock forward, by at most 292 years in all.
    pub fn advance(&self, nanoseconds: i64) {
        let add = |ahead: i64| Some(ahead.saturating_add(nanoseconds));
        // The closure never refuses.
        let _ = self.ahead.fetch_update(Ordering::Relaxed, Ordering::Relaxed, add);
    }
}

/// Attributes of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attributes {
    /// Its number.
    pub id: FileId,
    /// What it is.
    pub kind: Kind,
    /// Permission bits including set-id and sticky bits (0 to 0o7777).
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Number of names.
    pub links: u32,
    /// Size in bytes; of a directory 4096.
    pub size: u64,
    /// Bytes of storage used.
    pub used: u64,
    /// Last access; EFS does not update it on reads.
    pub accessed: Time,
    /// Last change of the contents.
    pub modified: Time,
    /// Last change of anything.
    pub changed: Time,
    /// Creation.
    pub created: Time,
    /// Counter that differs after every change of contents or attributes.
    pub change: u64,
}

/// Attributes to be changed; `None` leaves one as it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// Permission bits.
    pub mode: Option<u32>,
    /// Owner.
    pub uid: Option<u32>,
    /// Group.
    pub gid: Option<u32>,
    /// Size in bytes, of regular files only.
    pub size: Option<u64>,
    /// Time of last access.
    pub accessed: Option<Time>,
    /// Time of last modification.
    pub modified: Option<Time>,
}

impl Changes {
    /// Whether nothing is to be changed.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}
