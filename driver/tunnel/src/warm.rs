//! Connections to the mount target that are made before the kernel asks for them.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use crate::dial::Connection;
use crate::lock;

/// One that no mount has claimed is closed after this long.
pub(crate) const WARM_FOR: Duration = Duration::from_secs(10);

/// The connections of one tunnel that wait for the kernel's.
#[derive(Default)]
pub(crate) struct Warm {
    waiting: Mutex<Vec<(Instant, Connection)>>,
}

impl Warm {
    /// One more.
    pub(crate) fn put(&self, connection: Connection) {
        lock(&self.waiting).push((Instant::now(), connection));
    }

    /// One for a connection of the kernel's.
    pub(crate) fn take(&self) -> Option<Connection> {
        self.drop_expired();
        lock(&self.waiting).pop().map(|(_, connection)| connection)
    }

    /// Closes all.
    pub(crate) fn discard(&self) {
        lock(&self.waiting).clear();
    }

    /// Closes those that have waited too long.
    pub(crate) fn drop_expired(&self) {
        lock(&self.waiting).retain(|(made, _)| made.elapsed() < WARM_FOR);
    }
}
