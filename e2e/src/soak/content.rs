//! What files hold: records that a number decides, so that a model of a file is a list of numbers.

use rand::rngs::StdRng;
use rand::{RngCore as _, SeedableRng as _};

/// Bytes of a record. No divisor or multiple of a page, so that records lie across pages and transfers.
pub(super) const RECORD: usize = 3001;

/// The record of a number.
pub(super) fn record(number: u64) -> Vec<u8> {
    let mut bytes = vec![0; RECORD];
    StdRng::seed_from_u64(number).fill_bytes(&mut bytes);
    bytes
}

/// Compares what was read with what should be there; the difference in words.
pub(super) fn compare(found: &[u8], numbers: &[u64]) -> Result<(), String> {
    let wanted = numbers.len() * RECORD;
    if found.len() != wanted {
        return Err(format!("{} bytes instead of {wanted}", found.len()));
    }
    for (index, (part, number)) in found.chunks(RECORD).zip(numbers).enumerate() {
        let right = record(*number);
        if let Some(at) = (0..RECORD).find(|at| part[*at] != right[*at]) {
            let zeros = if part[at..].iter().all(|byte| *byte == 0) { ", zeros to the record's end" } else { "" };
            let offset = index * RECORD + at;
            return Err(format!("record {index} ({number:#x}) differs at offset {offset} of the file{zeros}"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_difference_is_found() {
        let numbers = [7, 8];
        let file: Vec<u8> = numbers.iter().flat_map(|number| record(*number)).collect();
        assert_eq!(compare(&file, &numbers), Ok(()));
        assert_eq!(compare(&file[1..], &numbers), Err("6001 bytes instead of 6002".to_owned()));
        assert!(compare(&file, &[8, 7]).is_err());
        let mut lost = file.clone();
        lost[RECORD + 5..].fill(0);
        let words = compare(&lost, &numbers).unwrap_err();
        assert!(words.contains("record 1 (0x8)") && words.contains("zeros"), "{words}");
        for at in [0, RECORD - 1, RECORD, 2 * RECORD - 1] {
            let mut wrong = file.clone();
            wrong[at] ^= 1;
            assert!(compare(&wrong, &numbers).unwrap_err().contains(&format!("offset {at} ")), "{at}");
        }
    }
}
