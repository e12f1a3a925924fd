//! Byte-range locks of one file.

/// An inclusive range of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) struct Range {
    pub(in super::super) first: u64,
    pub(in super::super) last: u64,
}

impl Range {
    /// The range that an offset and a length stand for; all ones mean "to the end". `None` if there is no such range: their sum has
    /// to be a number, too (RFC 8881 §18.10.3), so that only a range to the end has the last byte.
    pub(in super::super) fn new(offset: u64, length: u64) -> Option<Self> {
        match length {
            0 => None,
            u64::MAX => Some(Self { first: offset, last: u64::MAX }),
            _ => offset.checked_add(length).map(|end| Self { first: offset, last: end - 1 }),
        }
    }

    /// Length as NFS writes it.
    pub(in super::super) fn length(self) -> u64 {
        if self.last == u64::MAX { u64::MAX } else { self.last - self.first + 1 }
    }

    fn overlaps(self, other: Self) -> bool {
        self.first <= other.last && other.first <= self.last
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Held {
    holder: u64,
    range: Range,
    exclusive: bool,
}

/// A lock that is in the way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) struct Conflict {
    /// Number of the lock state that holds it.
    pub(super) holder: u64,
    pub(in super::super) range: Range,
    pub(in super::super) exclusive: bool,
}

/// All locks of a file. A holder stands for one owner of one client.
#[derive(Clone, Debug, Default)]
pub(super) struct Ranges(Vec<Held>);

impl Ranges {
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn count(&self, holder: u64) -> usize {
        self.0.iter().filter(|held| held.holder == holder).count()
    }

    /// Another holder's lock that can't stand beside the wanted one.
    pub(super) fn conflict(&self, holder: u64, range: Range, exclusive: bool) -> Option<Conflict> {
        let in_the_way =
            |held: &&Held| held.holder != holder && held.range.overlaps(range) && (held.exclusive || exclusive);
        self.0.iter().find(in_the_way).map(|held| Conflict {
            holder: held.holder,
            range: held.range,
            exclusive: held.exclusive,
        })
    }

    /// Gives a range to a holder, replacing what it held there. The caller has asked for conflicts before.
    pub(super) fn lock(&mut self, holder: u64, range: Range, exclusive: bool) {
        self.unlock(holder, range);
        let mut merged = range;
        self.0.retain(|held| {
            let touches = held.range.last.checked_add(1).is_some_and(|next| next >= merged.first)
                && merged.last.checked_add(1).is_none_or(|next| next >= held.range.first)
                || held.range.overlaps(merged);
            let joins = held.holder == holder && held.exclusive == exclusive && touches;
            if joins {
                merged = Range { first: merged.first.min(held.range.first), last: merged.last.max(held.range.last) };
            }
            !joins
        });
        self.0.push(Held { holder, range: merged, exclusive });
    }

    /// Takes a range from a holder; a lock around it is split in two.
    pub(super) fn unlock(&mut self, holder: u64, range: Range) {
        let mut rest = Vec::new();
        self.0.retain(|held| {
            if held.holder != holder || !held.range.overlaps(range) {
                return true;
            }
            if held.range.first < range.first {
                rest.push(Held { range: Range { first: held.range.first, last: range.first - 1 }, ..*held });
            }
            if held.range.last > range.last {
                rest.push(Held { range: Range { first: range.last + 1, last: held.range.last }, ..*held });
            }
            false
        });
        self.0.append(&mut rest);
    }

    pub(super) fn release(&mut self, holder: u64) {
        self.0.retain(|held| held.holder != holder);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn lengths_are_checked() {
        assert_eq!(Range::new(5, 0), None);
        assert_eq!(Range::new(u64::MAX, 2), None);
        assert_eq!(Range::new(5, 5), Some(Range { first: 5, last: 9 }));
        assert_eq!(Range::new(5, u64::MAX), Some(Range { first: 5, last: u64::MAX }));
        assert_eq!(Range::new(u64::MAX - 1, 1), Some(Range { first: u64::MAX - 1, last: u64::MAX - 1 }));
        assert_eq!(Range::new(u64::MAX, 1), None, "only what goes to the end has the last byte");
    }

    proptest! {
        #[test]
        fn locks_agree_with_a_table_of_single_bytes(
            steps in prop::collection::vec((1u64..4, 0u64..20, 1u64..10, 0u8..3), 1..40)
        ) {
            let mut ranges = Ranges::default();
            let mut table = [[None; 32]; 4];
            for (holder, first, length, what) in steps {
                let range = Range::new(first, length).unwrap();
                let bytes = first as usize..=(first + length - 1) as usize;
                if what == 2 {
                    ranges.unlock(holder, range);
                    table[holder as usize][bytes].fill(None);
                } else {
                    let exclusive = what == 1;
                    let expected = (1..4).filter(|other| *other != holder).any(|other| {
                        table[other as usize][bytes.clone()].iter().flatten().any(|held| *held || exclusive)
                    });
                    prop_assert_eq!(ranges.conflict(holder, range, exclusive).is_some(), expected);
                    if !expected {
                        ranges.lock(holder, range, exclusive);
                        table[holder as usize][bytes].fill(Some(exclusive));
                    }
                }
                for holder in 1..4u64 {
                    for byte in 0..32u64 {
                        let held = ranges.0.iter().find(|held| {
                            held.holder == holder && held.range.first <= byte && byte <= held.range.last
                        });
                        prop_assert_eq!(held.map(|held| held.exclusive), table[holder as usize][byte as usize]);
                    }
                    let runs = table[holder as usize].chunk_by(|a, b| a == b).filter(|run| run[0].is_some()).count();
                    prop_assert_eq!(ranges.count(holder), runs);
                }
            }
        }
    }
}
