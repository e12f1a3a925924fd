//! The order in which a volume's name tries the ids of a range.

use std::ops::RangeInclusive;

use sha2::{Digest, Sha256};

/// Every id of `range` once, scattered, in an order that the name decides. Neighbours in the order are far apart in the range,
/// so that a long run of ids in use, which is what the Go driver leaves, is not searched from one end to the other.
pub(super) fn scattered(range: &RangeInclusive<u32>, name: &str) -> impl Iterator<Item = u32> + Clone + use<> {
    let first = u64::from(*range.start());
    let size = u64::from(*range.end()) - first + 1;
    let digest = Sha256::digest(name.as_bytes());
    let word = |at: usize| digest[at..].iter().take(8).fold(0_u64, |word, byte| word << 8 | u64::from(*byte));
    // A step without a common divisor comes through all ids before it returns to the first.
    let step = (word(8) % size..).find(|step| gcd(*step, size) == 1).unwrap_or(1);
    std::iter::successors(Some(word(0) % size), move |at| Some((at + step) % size))
        .take(usize::try_from(size).unwrap_or(usize::MAX))
        .map(move |at| u32::try_from(first + at).expect("an id of the range"))
}

fn gcd(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { gcd(b, a % b) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn every_id_comes_once(first: u32, size in 1_u32..300, name in ".{0,40}") {
            let range = first..=first.saturating_add(size - 1);
            let mut ids: Vec<u32> = scattered(&range, &name).collect();
            prop_assert_eq!(&ids, &scattered(&range, &name).collect::<Vec<_>>());
            ids.sort_unstable();
            prop_assert_eq!(ids, range.collect::<Vec<_>>());
        }
    }

    #[test]
    fn the_whole_space_of_ids_is_no_problem() {
        let mut ids = scattered(&(0..=u32::MAX), "pvc-1");
        assert_ne!(ids.next(), ids.next());
    }

    #[test]
    fn a_long_run_of_used_ids_is_left_soon() {
        let longest = (0..1000).map(|number| {
            let mut order = scattered(&(50_000..=59_999), &format!("pvc-{number}"));
            order.position(|id| id >= 59_000).expect("the last tenth is free")
        });
        assert!(longest.clone().sum::<usize>() / 1000 < 20, "on average");
        assert!(longest.max() < Some(1000));
    }
}
