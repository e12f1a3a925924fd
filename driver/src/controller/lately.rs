//! What counts for a while after it was noted: things that listings don't show yet, names that were given.
//!
//! A call costs the same whether ten things were noted or ten thousand: what is too old lies at one end of a queue and is taken from there. To
//! look through all of them at each call made a burst of deletions quadratic.

use std::borrow::Borrow;
use std::collections::{HashMap, VecDeque};
use std::hash::Hash;
use std::time::Duration;

use tokio::time::Instant;

/// The queue may hold this many keys of things that were removed, and as many again as there are things, before it is cleared of them.
const SLACK: usize = 64;

/// Values by key, until they are too old or too many.
#[derive(Debug)]
pub(super) struct Lately<K, V> {
    lasts: Duration,
    most: usize,
    noted: HashMap<K, (V, Instant)>,
    /// The keys in the order in which they were noted. One that was removed or noted again since has another time in `noted`.
    order: VecDeque<(Instant, K)>,
}

impl<K: Clone + Eq + Hash, V> Lately<K, V> {
    /// Each value counts for this long.
    pub(super) fn lasting(lasts: Duration) -> Self {
        Self { lasts, most: usize::MAX, noted: HashMap::new(), order: VecDeque::new() }
    }

    /// Only the last `most` values count, however old they are.
    pub(super) fn at_most(most: usize) -> Self {
        Self { most, ..Self::lasting(Duration::MAX) }
    }

    /// Notes a value, in the place of the key's former one.
    pub(super) fn note(&mut self, key: K, value: V) {
        let now = Instant::now();
        self.expire(now);
        self.noted.insert(key.clone(), (value, now));
        self.order.push_back((now, key));
        while self.noted.len() > self.most && self.drop_oldest() {}
        if self.order.len() > 2 * self.noted.len() + SLACK {
            let noted = &self.noted;
            self.order.retain(|(at, key)| is_current(noted, *at, key));
        }
    }

    /// The value of a key that counts.
    pub(super) fn get<Q: Eq + Hash + ?Sized>(&self, key: &Q) -> Option<&V>
    where
        K: Borrow<Q>,
    {
        self.noted.get(key).filter(|(_, at)| at.elapsed() < self.lasts).map(|(value, _)| value)
    }

    /// Takes a value out, if it still counts.
    pub(super) fn remove<Q: Eq + Hash + ?Sized>(&mut self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
    {
        self.noted.remove(key).filter(|(_, at)| at.elapsed() < self.lasts).map(|(value, _)| value)
    }

    /// All that counts.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        let now = Instant::now();
        self.noted
            .iter()
            .filter(move |(_, (_, at))| now.duration_since(*at) < self.lasts)
            .map(|(key, (value, _))| (key, value))
    }

    fn expire(&mut self, now: Instant) {
        while self.order.front().is_some_and(|(at, _)| now.duration_since(*at) >= self.lasts) && self.drop_oldest() {}
    }

    /// Forgets what was noted first; false when there is nothing.
    fn drop_oldest(&mut self) -> bool {
        let Some((at, key)) = self.order.pop_front() else { return false };
        if is_current(&self.noted, at, &key) {
            self.noted.remove(&key);
        }
        true
    }
}

fn is_current<K: Eq + Hash, V>(noted: &HashMap<K, (V, Instant)>, at: Instant, key: &K) -> bool {
    noted.get(key).is_some_and(|(_, noted)| *noted == at)
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    #[tokio::test(start_paused = true)]
    async fn a_value_counts_until_it_is_too_old_and_is_then_forgotten() {
        let mut lately = Lately::lasting(MINUTE);
        lately.note("a", 1);
        advance(MINUTE / 2).await;
        lately.note("b", 2);
        lately.note("a", 3);
        advance(MINUTE / 2).await;
        assert_eq!((lately.get("a"), lately.get("b"), lately.iter().count()), (Some(&3), Some(&2), 2), "noted again");
        advance(MINUTE / 2).await;
        assert_eq!((lately.get("a"), lately.iter().count()), (None, 0));
        assert_eq!(lately.remove("b"), None);
        lately.note("c", 4);
        assert_eq!((lately.noted.len(), lately.order.len()), (1, 1), "nothing is kept for nobody");
    }

    #[tokio::test(start_paused = true)]
    async fn the_last_ones_count_when_there_are_too_many() {
        let mut lately = Lately::at_most(3);
        for number in 0..5 {
            lately.note(number, ());
            advance(MINUTE).await;
        }
        let mut left: Vec<_> = lately.iter().map(|(number, ())| *number).collect();
        left.sort_unstable();
        assert_eq!(left, [2, 3, 4]);
        assert_eq!(lately.remove(&3), Some(()));
        lately.note(5, ());
        assert!(lately.get(&2).is_some(), "what was removed is not among them");
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_removed_at_once_leaves_nothing_behind() {
        let mut lately = Lately::lasting(MINUTE);
        for number in 0..10_000 {
            lately.note(number, ());
            lately.remove(&number);
        }
        assert!(lately.noted.is_empty());
        assert!(lately.order.len() <= SLACK + 1, "{}", lately.order.len());
    }
}
