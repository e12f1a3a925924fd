//! The world's time. Tests and the admin API move it; lifecycle delays follow it.

use std::sync::Mutex;
use std::sync::PoisonError;

use jiff::{SignedDuration, Timestamp};

/// Where the time comes from.
pub trait Clock: Send + Sync + 'static {
    /// The present moment.
    fn now(&self) -> Timestamp;

    /// Moves the clock forward.
    fn advance(&self, by: SignedDuration);
}

/// The machine's clock plus an offset, 0 at first.
#[derive(Debug, Default)]
pub struct SystemClock {
    offset: Mutex<SignedDuration>,
}

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        let offset = *self.offset.lock().unwrap_or_else(PoisonError::into_inner);
        Timestamp::now().checked_add(offset).unwrap_or(Timestamp::MAX)
    }

    fn advance(&self, by: SignedDuration) {
        let mut offset = self.offset.lock().unwrap_or_else(PoisonError::into_inner);
        *offset = offset.saturating_add(by);
    }
}

/// A clock that moves only when told to.
#[derive(Debug)]
pub struct ManualClock {
    now: Mutex<Timestamp>,
}

impl ManualClock {
    /// Starts at the given moment.
    pub fn new(start: Timestamp) -> Self {
        Self { now: Mutex::new(start) }
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        *self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn advance(&self, by: SignedDuration) {
        let mut now = self.now.lock().unwrap_or_else(PoisonError::into_inner);
        *now = now.checked_add(by).unwrap_or(Timestamp::MAX);
    }
}
