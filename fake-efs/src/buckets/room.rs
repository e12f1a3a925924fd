//! The memory that buckets may take: whoever keeps something takes room for it first, and gives it back when it goes.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::errors::{Refusal, Result};

/// How much there is, and how much of it is taken.
#[derive(Debug)]
pub(super) struct Budget {
    most: AtomicU64,
    taken: AtomicU64,
}

/// Some bytes of the budget, until it is dropped.
#[derive(Debug)]
pub struct Room {
    budget: Arc<Budget>,
    bytes: u64,
}

impl Budget {
    pub(super) fn new(most: u64) -> Arc<Self> {
        Arc::new(Self { most: AtomicU64::new(most), taken: AtomicU64::new(0) })
    }

    /// Changes the limit. What is kept already stays.
    pub(super) fn set(&self, most: u64) {
        self.most.store(most, Ordering::Relaxed);
    }

    /// Bytes that are taken.
    pub(super) fn taken(&self) -> u64 {
        self.taken.load(Ordering::Relaxed)
    }

    /// Takes room, or refuses.
    pub(super) fn take(self: &Arc<Self>, wanted: u64) -> Result<Room> {
        let most = self.most.load(Ordering::Relaxed);
        let fits = |taken: u64| taken.checked_add(wanted).filter(|sum| *sum <= most);
        match self.taken.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fits) {
            Ok(_) => Ok(Room { budget: Arc::clone(self), bytes: wanted }),
            Err(taken) => Err(Refusal::Full { wanted, free: most.saturating_sub(taken), most }),
        }
    }
}

impl Room {
    /// Gives back what is more than so many bytes.
    pub fn shrink(&mut self, bytes: u64) {
        if let Some(rest) = self.bytes.checked_sub(bytes) {
            self.budget.taken.fetch_sub(rest, Ordering::Relaxed);
            self.bytes = bytes;
        }
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        self.budget.taken.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_is_taken_until_there_is_none_and_given_back() {
        let budget = Budget::new(10);
        let mut six = budget.take(6).unwrap();
        assert_eq!(budget.take(5).unwrap_err(), Refusal::Full { wanted: 5, free: 4, most: 10 });
        six.shrink(5);
        let five = budget.take(5).unwrap();
        assert_eq!(budget.taken(), 10);
        drop((six, five));
        assert_eq!(budget.taken(), 0);
        assert!(budget.take(u64::MAX).is_err());
        budget.set(0);
        assert!(budget.take(1).is_err());
    }
}
