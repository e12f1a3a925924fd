//! Questions whose answers must not be older than the question, asked once for all who ask at the same time.
//!
//! A deletion has to know who else uses a directory *now*; a hundred deletions at once must not list the account's access points a hundred
//! times. Whoever asks while a listing runs waits for the next one, which then answers all of them.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// Answers by key. Answers are kept only while somebody waits for one.
#[derive(Debug)]
pub(super) struct Afresh<K, T, E> {
    slots: Mutex<HashMap<K, Arc<Slot<T, E>>>>,
    /// Orders questions and listings. A clock would not do: two of its readings can be equal.
    ticks: AtomicU64,
}

type Answer<T, E> = Result<Arc<T>, E>;

/// The last answer to one question, with the tick at which it was begun. The lock is held while it is being asked.
#[derive(Debug)]
struct Slot<T, E>(tokio::sync::Mutex<Option<(u64, Answer<T, E>)>>);

impl<K, T, E> Default for Afresh<K, T, E> {
    fn default() -> Self {
        Self { slots: Mutex::default(), ticks: AtomicU64::new(0) }
    }
}

impl<K: Eq + Hash + Clone, T, E: Clone> Afresh<K, T, E> {
    /// An answer that was begun after this call.
    pub(super) async fn ask(&self, key: &K, question: impl Future<Output = Result<T, E>>) -> Answer<T, E> {
        let slot = {
            let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
            // Nobody waits for what only this table holds.
            slots.retain(|_, slot| Arc::strong_count(slot) > 1);
            let fresh = || Arc::new(Slot(tokio::sync::Mutex::default()));
            Arc::clone(slots.entry(key.clone()).or_insert_with(fresh))
        };
        let asked = self.ticks.fetch_add(1, Ordering::SeqCst);
        let mut last = slot.0.lock().await;
        if let Some((begun, answer)) = &*last
            && *begun > asked
        {
            return answer.clone();
        }
        let begun = self.ticks.fetch_add(1, Ordering::SeqCst);
        let answer = question.await.map(Arc::new);
        *last = Some((begun, answer.clone()));
        answer
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[tokio::test(start_paused = true)]
    async fn a_hundred_at_once_are_answered_by_two_listings_none_of_which_is_older_than_the_question() {
        let afresh: Afresh<u8, u64, ()> = Afresh::default();
        let listings = AtomicU64::new(0);
        let ask = || async {
            let before = listings.load(Ordering::SeqCst);
            let listing = async {
                let number = listings.fetch_add(1, Ordering::SeqCst) + 1;
                tokio::time::sleep(Duration::from_millis(50)).await;
                Ok(number)
            };
            let answer = *afresh.ask(&0, listing).await.unwrap();
            assert!(answer > before, "answer {answer} was begun before the question, after {before}");
        };
        let late = async {
            tokio::time::sleep(Duration::from_millis(10)).await;
            futures::future::join_all((0..99).map(|_| ask())).await;
        };
        tokio::join!(ask(), late);
        assert_eq!(listings.load(Ordering::SeqCst), 2);
    }
}
