//! Changes to bytes: bits, words that mean something to a decoder, and pieces that are cut, doubled or moved.

use rand::Rng;
use rand::rngs::StdRng;

/// Words at the edges of what lengths, counts and flags may be.
const WORDS: [u32; 16] =
    [0, 1, 2, 3, 4, 5, 16, 255, 256, 1024, 0xffff, 1 << 20, 0x7fff_ffff, 0x8000_0000, 0xffff_fffe, 0xffff_ffff];

/// A word that a decoder may stumble over.
pub(crate) fn word(rng: &mut StdRng) -> u32 {
    if rng.random_bool(0.8) { WORDS[rng.random_range(0..WORDS.len())] } else { rng.random() }
}

/// So many random bytes at most.
pub(crate) fn bytes(rng: &mut StdRng, most: usize) -> Vec<u8> {
    let mut bytes = vec![0; rng.random_range(0..=most)];
    rng.fill(&mut bytes[..]);
    bytes
}

/// One of several things.
pub(crate) fn one<T: Clone>(rng: &mut StdRng, of: &[T]) -> T {
    of[rng.random_range(0..of.len())].clone()
}

/// Changes bytes behind `from` in one to four places.
pub(crate) fn mutate(rng: &mut StdRng, data: &mut Vec<u8>, from: usize) {
    for _ in 0..rng.random_range(1..=4) {
        if data.len() <= from {
            data.extend(bytes(rng, 16));
            continue;
        }
        let at = rng.random_range(from..data.len());
        let end = rng.random_range(at..data.len()).min(at + 64) + 1;
        let aligned = from + (at - from) / 4 * 4;
        match rng.random_range(0..8) {
            0 => data[at] ^= 1 << rng.random_range(0..8),
            1 => data[at] = rng.random(),
            2 | 3 => {
                let word = word(rng).to_be_bytes();
                let room = (data.len() - aligned).min(4);
                data[aligned..aligned + room].copy_from_slice(&word[..room]);
            }
            4 => drop(data.drain(at..end)),
            5 => {
                let piece = data[at..end].to_vec();
                let to = rng.random_range(from..=data.len());
                data.splice(to..to, piece);
            }
            6 => {
                let piece = bytes(rng, 32);
                data.splice(at..at, piece);
            }
            _ => data.truncate(at),
        }
    }
}
