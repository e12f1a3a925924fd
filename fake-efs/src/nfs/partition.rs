//! Partitions: the servers that stand behind one address, each with sessions of its own.
//!
//! Nobody outside AWS knows how EFS divides its clients. That a connection lands on one of several servers by chance, and that
//! a session is known to one of them only, is inferred from AWS's proxy, which looks for connections to the same partition
//! before it spreads one session over them.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Mutex, PoisonError};

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::store::Instance;

/// Length of a partition's name.
const NAME_LENGTH: usize = 64;

/// The partitions of one file system, and the chance that leads connections to them.
#[derive(Debug)]
pub(super) struct Partitions {
    count: u32,
    /// None where there is nothing to choose.
    chance: Option<Mutex<StdRng>>,
}

impl Partitions {
    /// One for all.
    pub(super) fn one() -> Self {
        Self { count: 1, chance: None }
    }

    /// As many as that, at least one. The same seed and file system lead connections, in their order, to the same ones.
    pub(super) fn new(count: u32, seed: u64, file_system_id: &str) -> Self {
        if count <= 1 {
            return Self::one();
        }
        // Hashed together, so that two file systems don't repeat each other's chances.
        let mut hasher = DefaultHasher::new();
        (seed, file_system_id).hash(&mut hasher);
        Self { count, chance: Some(Mutex::new(StdRng::seed_from_u64(hasher.finish()))) }
    }

    /// The partition of the next connection.
    pub(super) fn land(&self) -> u32 {
        let Some(chance) = &self.chance else { return 0 };
        chance.lock().unwrap_or_else(PoisonError::into_inner).random_range(0..self.count)
    }
}

/// A partition's name: the same for all connections to it, in this life of a durable store and the next.
pub(super) fn name(instance: &Instance, partition: u32) -> [u8; NAME_LENGTH] {
    let mut name = [0; NAME_LENGTH];
    name[..8].copy_from_slice(&instance.id);
    name[8..12].copy_from_slice(&partition.to_be_bytes());
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    fn landings(partitions: &Partitions) -> Vec<u32> {
        (0..64).map(|_| partitions.land()).collect()
    }

    #[test]
    fn chances_repeat_with_seed_and_file_system() {
        let run = |seed, file_system| landings(&Partitions::new(4, seed, file_system));
        assert_eq!(run(1, "fs-1"), run(1, "fs-1"));
        assert_ne!(run(1, "fs-1"), run(2, "fs-1"));
        assert_ne!(run(1, "fs-1"), run(1, "fs-2"));
        for partition in 0..4 {
            assert!(run(1, "fs-1").contains(&partition));
        }
        assert!(run(1, "fs-1").iter().all(|partition| *partition < 4));
    }

    #[test]
    fn without_a_choice_there_is_one() {
        for count in [0, 1] {
            assert_eq!(landings(&Partitions::new(count, 7, "fs-1")), [0; 64]);
        }
    }

    #[test]
    fn names_differ_by_file_system_and_partition() {
        let (a, b) = (Instance { id: [1; 8], key: [0; 32] }, Instance { id: [2; 8], key: [0; 32] });
        let names = [name(&a, 0), name(&a, 1), name(&b, 0), name(&b, 1)];
        assert_eq!(names, [name(&a, 0), name(&a, 1), name(&b, 0), name(&b, 1)]);
        for (index, name) in names.iter().enumerate() {
            assert!(!names[..index].contains(name));
        }
    }
}
