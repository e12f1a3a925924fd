//! Record marking: requests and replies on a stream (RFC 5531 §11).

use bytes::{Buf, Bytes, BytesMut};

const LAST: u32 = 0x8000_0000;

/// The stream is not RPC, or a record is longer than anything that can be answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a record is too long")]
pub(super) struct TooLong;

/// What the bytes so far amount to.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Progress {
    /// A whole record, taken from the buffer.
    Record(Bytes),
    /// At least this many bytes are missing.
    Missing(usize),
}

/// Puts records together. One of a single fragment, as real clients send them, is taken from the buffer without a copy.
#[derive(Debug, Default)]
pub(super) struct Assembler {
    /// The fragments of the present record that are complete.
    parts: BytesMut,
    /// What they count for towards the limit: an empty one counts as a byte, or a record could go on for ever.
    counted: usize,
}

impl Assembler {
    /// Whether a part of a record was taken.
    pub(super) fn has_begun(&self) -> bool {
        self.counted > 0
    }

    /// Takes the first record from a buffer if it is complete.
    pub(super) fn take(&mut self, buffer: &mut BytesMut, limit: usize) -> Result<Progress, TooLong> {
        loop {
            let Some(header) = buffer.first_chunk() else { return Ok(Progress::Missing(4 - buffer.len())) };
            let header = u32::from_be_bytes(*header);
            let (length, is_last) = ((header & !LAST) as usize, header & LAST != 0);
            self.counted = self.counted.saturating_add(if is_last { length } else { length.max(1) });
            if self.counted > limit {
                return Err(TooLong);
            }
            if buffer.len() < 4 + length {
                // It is counted again when it is complete.
                self.counted -= if is_last { length } else { length.max(1) };
                return Ok(Progress::Missing(4 + length - buffer.len()));
            }
            buffer.advance(4);
            let fragment = buffer.split_to(length);
            if is_last {
                self.counted = 0;
                let mut record = std::mem::take(&mut self.parts);
                if record.is_empty() {
                    return Ok(Progress::Record(fragment.freeze()));
                }
                record.extend_from_slice(&fragment);
                return Ok(Progress::Record(record.freeze()));
            }
            self.parts.extend_from_slice(&fragment);
        }
    }
}

/// Starts a reply record at the end of a buffer; give the result to [`finish`].
pub(super) fn start(buffer: &mut Vec<u8>) -> usize {
    buffer.extend_from_slice(&[0; 4]);
    buffer.len()
}

/// Completes the record that was started.
pub(super) fn finish(buffer: &mut [u8], start: usize) {
    let length = (buffer.len() - start) as u32;
    buffer[start - 4..start].copy_from_slice(&(length | LAST).to_be_bytes());
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn records_are_found_however_they_are_cut(
            records in prop::collection::vec(prop::collection::vec(prop::collection::vec(any::<u8>(), 0..20), 1..4), 1..5),
            cut in 1usize..9,
        ) {
            let mut stream = Vec::new();
            for fragments in &records {
                for (index, fragment) in fragments.iter().enumerate() {
                    let last = if index + 1 == fragments.len() { LAST } else { 0 };
                    stream.extend_from_slice(&(fragment.len() as u32 | last).to_be_bytes());
                    stream.extend_from_slice(fragment);
                }
            }
            let (mut buffer, mut assembler, mut found) = (BytesMut::new(), Assembler::default(), Vec::new());
            for piece in stream.chunks(cut) {
                buffer.extend_from_slice(piece);
                loop {
                    match assembler.take(&mut buffer, 100).unwrap() {
                        Progress::Record(record) => found.push(record.to_vec()),
                        Progress::Missing(count) => { prop_assert!(count > 0); break; }
                    }
                }
            }
            let expected: Vec<Vec<u8>> = records.iter().map(|fragments| fragments.concat()).collect();
            prop_assert_eq!(found, expected);
        }
    }

    #[test]
    fn endless_records_are_refused_before_they_are_read() {
        let take = |bytes: &[u8], limit| Assembler::default().take(&mut BytesMut::from(bytes), limit);
        assert_eq!(take(&[0x80, 0, 1, 0], 255), Err(TooLong));
        assert_eq!(take(&[0; 4 * 256], 255), Err(TooLong));
        assert_eq!(take(&[0; 4 * 255], 255), Ok(Progress::Missing(4)), "empty fragments");
        assert_eq!(take(b"GET / HTTP/1.1\r\n", 2 << 20), Err(TooLong));
        let mut assembler = Assembler::default();
        let mut buffer = BytesMut::from(&[0, 0, 0, 100, 0][..]);
        for _ in 0..3 {
            assert_eq!(
                assembler.take(&mut buffer, 255),
                Ok(Progress::Missing(99)),
                "counted once, however often it is seen"
            );
        }
        buffer.extend_from_slice(&[0; 99]);
        buffer.extend_from_slice(&[0x80, 0, 0, 156]);
        assert_eq!(assembler.take(&mut buffer, 255), Err(TooLong), "the fragments together");
    }

    #[test]
    fn a_record_may_have_as_many_fragments_as_bytes() {
        let mut buffer = BytesMut::new();
        for byte in 0..200 {
            buffer.extend_from_slice(&[if byte == 199 { 0x80 } else { 0 }, 0, 0, 1, byte]);
        }
        let record = Bytes::from_iter(0..200);
        assert_eq!(Assembler::default().take(&mut buffer, 200), Ok(Progress::Record(record)));
    }

    #[test]
    fn a_reply_says_how_long_it_is() {
        let mut buffer = b"before".to_vec();
        let at = start(&mut buffer);
        buffer.extend_from_slice(b"reply");
        finish(&mut buffer, at);
        assert_eq!(buffer, b"before\x80\0\0\x05reply");
    }
}
