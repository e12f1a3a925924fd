//! Record marking: requests and replies on a stream (RFC 5531 §11).

use bytes::{Buf, Bytes, BytesMut};

/// Most fragments of one record; real clients send one.
const MAX_FRAGMENTS: usize = 64;
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

/// Takes the first record from a buffer if it is complete.
pub(super) fn take(buffer: &mut BytesMut, limit: usize) -> Result<Progress, TooLong> {
    let (mut at, mut length, mut fragments) = (0, 0, 0);
    loop {
        let Some(header) = buffer.get(at..at + 4).and_then(|word| word.first_chunk()) else {
            return Ok(Progress::Missing(at + 4 - buffer.len()));
        };
        let header = u32::from_be_bytes(*header);
        let fragment = (header & !LAST) as usize;
        length += fragment;
        fragments += 1;
        if length > limit || fragments > MAX_FRAGMENTS {
            return Err(TooLong);
        }
        at += 4 + fragment;
        if buffer.len() < at {
            return Ok(Progress::Missing(at - buffer.len()));
        }
        if header & LAST != 0 {
            break;
        }
    }
    if fragments == 1 {
        buffer.advance(4);
        return Ok(Progress::Record(buffer.split_to(length).freeze()));
    }
    let mut raw = buffer.split_to(at);
    let mut record = BytesMut::with_capacity(length);
    while raw.has_remaining() {
        let fragment = (raw.get_u32() & !LAST) as usize;
        record.extend_from_slice(&raw.split_to(fragment));
    }
    Ok(Progress::Record(record.freeze()))
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
            let (mut buffer, mut found) = (BytesMut::new(), Vec::new());
            for piece in stream.chunks(cut) {
                buffer.extend_from_slice(piece);
                loop {
                    match take(&mut buffer, 100).unwrap() {
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
        let mut long = BytesMut::from(&[0x80, 0, 1, 0][..]);
        assert_eq!(take(&mut long, 255), Err(TooLong));
        let mut empty_fragments = BytesMut::from(&[0; 400][..]);
        assert_eq!(take(&mut empty_fragments, 255), Err(TooLong));
        let mut http = BytesMut::from(&b"GET / HTTP/1.1\r\n"[..]);
        assert_eq!(take(&mut http, 2 << 20), Err(TooLong));
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
