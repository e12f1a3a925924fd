//! Locks by key: one holder per volume name or path, in no other one's way.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::OwnedMutexGuard;

/// A set of locks, one for each key that is held or waited for; keys that nobody uses take no memory.
#[derive(Debug)]
pub struct KeyedLocks<K: Eq + Hash + Clone> {
    entries: Arc<Mutex<HashMap<K, Arc<tokio::sync::Mutex<()>>>>>,
}

impl<K: Eq + Hash + Clone> Default for KeyedLocks<K> {
    fn default() -> Self {
        Self { entries: Arc::default() }
    }
}

/// Holds a key until it is dropped.
#[derive(Debug)]
pub struct KeyedGuard<K: Eq + Hash + Clone> {
    entries: Arc<Mutex<HashMap<K, Arc<tokio::sync::Mutex<()>>>>>,
    key: K,
    guard: Option<OwnedMutexGuard<()>>,
}

impl<K: Eq + Hash + Clone> KeyedLocks<K> {
    /// Waits for the key, at most for `patience`; `None` when another holder keeps it longer.
    pub async fn acquire(&self, key: K, patience: Duration) -> Option<KeyedGuard<K>> {
        let lock = {
            let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(entries.entry(key.clone()).or_default())
        };
        // The guard exists before the wait, so that a caller who gives up cleans up too.
        let mut held = KeyedGuard { entries: Arc::clone(&self.entries), key, guard: None };
        held.guard = Some(tokio::time::timeout(patience, lock.lock_owned()).await.ok()?);
        Some(held)
    }

    /// Keys that are held or waited for.
    pub fn len(&self) -> usize {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// Whether no key is in use.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl<K: Eq + Hash + Clone> Drop for KeyedGuard<K> {
    fn drop(&mut self) {
        self.guard = None;
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        // The map's own reference is the only one left when nobody holds the key or waits for it.
        if entries.get(&self.key).is_some_and(|lock| Arc::strong_count(lock) == 1) {
            entries.remove(&self.key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Duration = Duration::from_millis(1);

    #[tokio::test(start_paused = true)]
    async fn a_key_has_one_holder_and_other_keys_are_free() {
        let locks = KeyedLocks::default();
        let held = locks.acquire("a", NOW).await.unwrap();
        assert!(locks.acquire("a", NOW).await.is_none());
        assert!(locks.acquire("b", NOW).await.is_some());
        drop(held);
        assert!(locks.acquire("a", NOW).await.is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_is_left_of_keys_that_nobody_uses() {
        let locks = Arc::new(KeyedLocks::default());
        let held = locks.acquire(1, NOW).await.unwrap();
        // UB-25: in the Go driver a waiter that gave up would take the lock later and never release it.
        assert!(locks.acquire(1, NOW).await.is_none());
        drop(held);
        assert!(locks.is_empty());

        let held = locks.acquire(1, NOW).await.unwrap();
        let waiter = tokio::spawn({
            let locks = Arc::clone(&locks);
            async move { locks.acquire(1, Duration::from_secs(9)).await.is_some() }
        });
        tokio::task::yield_now().await;
        drop(held);
        assert!(waiter.await.unwrap());
        assert!(locks.is_empty());
    }
}
