//! Where the records of a stream of RPC messages begin and end (record marking, RFC 5531 §11), without holding any of it.

/// A record may have so many bytes, marks included. The kernel's NFS client transfers at most 1 MiB a call, EFS the same; what
/// says that it is longer lies.
pub const RECORD_MAX: usize = 4 * 1024 * 1024;
/// After so many bytes it must be known what a record is. Empty fragments are legal, an endless row of them isn't meant well.
const HEAD_WITHIN: usize = 256;
/// What every message begins with: transaction id and kind.
const HEAD: usize = 8;
const LAST_FRAGMENT: u32 = 1 << 31;

/// Which way a message goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A call.
    Call,
    /// The answer to one.
    Reply,
}

/// What the first bytes of a record tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// The transaction id, by which call and reply belong together.
    pub xid: u32,
    /// Call or reply.
    pub kind: Kind,
    /// The whole length, marks included, if the record is in one fragment.
    pub length: Option<usize>,
}

/// What stands at a place of the stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// The record that has begun is this.
    Head(Head),
    /// It ends here.
    End,
}

/// A stream that is not one of RPC records.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// Longer than any that can be meant.
    #[error("a record of more than {RECORD_MAX} bytes")]
    TooLong,
    /// Too short for a transaction id.
    #[error("a record that is too short for an RPC message")]
    TooShort,
    /// Nothing but empty fragments.
    #[error("a record without content in its first {HEAD_WITHIN} bytes")]
    Empty,
    /// Neither call nor reply.
    #[error("an RPC message that is neither call nor reply but {0}")]
    Kind(u32),
}

/// Follows a stream from record to record.
#[derive(Debug, Default)]
pub struct Cutter {
    mark: [u8; 4],
    mark_read: usize,
    /// Bytes of the current fragment that are still to come.
    left: usize,
    is_last: bool,
    total: usize,
    first_length: Option<usize>,
    head: [u8; HEAD],
    head_read: usize,
    is_told: bool,
}

impl Cutter {
    /// Whether a record has begun and not ended.
    pub fn is_inside(&self) -> bool {
        self.total > 0
    }

    /// Looks at the stream's next bytes up to the first place where something is to be told; how many bytes these are.
    pub fn next(&mut self, bytes: &[u8]) -> Result<(usize, Option<Event>), RecordError> {
        let mut seen = 0;
        loop {
            if self.left == 0 && self.mark_read == self.mark.len() && self.is_last {
                if !self.is_told {
                    return Err(RecordError::TooShort);
                }
                *self = Self::default();
                return Ok((seen, Some(Event::End)));
            }
            if seen == bytes.len() {
                return Ok((seen, None));
            }
            if self.left == 0 {
                if self.mark_read == self.mark.len() {
                    self.mark_read = 0;
                }
                self.mark[self.mark_read] = bytes[seen];
                self.mark_read += 1;
                seen += 1;
                self.count(1)?;
                if self.mark_read == self.mark.len() {
                    self.begin_fragment()?;
                }
                continue;
            }
            let mut step = self.left.min(bytes.len() - seen);
            if !self.is_told {
                step = step.min(HEAD - self.head_read);
                self.head[self.head_read..self.head_read + step].copy_from_slice(&bytes[seen..seen + step]);
                self.head_read += step;
            }
            seen += step;
            self.left -= step;
            self.count(step)?;
            if !self.is_told && self.head_read == HEAD {
                self.is_told = true;
                return Ok((seen, Some(Event::Head(self.head()?))));
            }
        }
    }

    fn begin_fragment(&mut self) -> Result<(), RecordError> {
        let mark = u32::from_be_bytes(self.mark);
        self.is_last = mark & LAST_FRAGMENT != 0;
        self.left = (mark & !LAST_FRAGMENT) as usize;
        if self.left > RECORD_MAX {
            return Err(RecordError::TooLong);
        }
        if self.total == self.mark.len() && self.is_last {
            self.first_length = Some(self.mark.len() + self.left);
        }
        Ok(())
    }

    fn count(&mut self, bytes: usize) -> Result<(), RecordError> {
        self.total += bytes;
        match () {
            () if self.total > RECORD_MAX => Err(RecordError::TooLong),
            () if !self.is_told && self.total > HEAD_WITHIN => Err(RecordError::Empty),
            () => Ok(()),
        }
    }

    fn head(&self) -> Result<Head, RecordError> {
        let [a, b, c, d, e, f, g, h] = self.head;
        let kind = match u32::from_be_bytes([e, f, g, h]) {
            0 => Kind::Call,
            1 => Kind::Reply,
            other => return Err(RecordError::Kind(other)),
        };
        Ok(Head { xid: u32::from_be_bytes([a, b, c, d]), kind, length: self.first_length })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A record of these fragments.
    pub(crate) fn record(fragments: &[&[u8]]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for (index, fragment) in fragments.iter().enumerate() {
            let last = if index + 1 == fragments.len() { LAST_FRAGMENT } else { 0 };
            bytes.extend((u32::try_from(fragment.len()).unwrap() | last).to_be_bytes());
            bytes.extend(*fragment);
        }
        bytes
    }

    /// The events of a stream that comes in these pieces, with their places.
    fn events<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Result<Vec<(usize, Event)>, RecordError> {
        let (mut cutter, mut events, mut place) = (Cutter::default(), Vec::new(), 0);
        for mut piece in pieces {
            loop {
                let (seen, event) = cutter.next(piece)?;
                place += seen;
                piece = &piece[seen..];
                match event {
                    Some(event) => events.push((place, event)),
                    None => break,
                }
            }
            assert!(piece.is_empty());
        }
        Ok(events)
    }

    fn message(xid: u32, kind: u32, rest: &[u8]) -> Vec<u8> {
        [&xid.to_be_bytes(), &kind.to_be_bytes(), rest].concat()
    }

    #[test]
    fn what_lies_is_told() {
        let broken = |bytes: &[u8]| events([bytes]).unwrap_err();
        assert_eq!(broken(&record(&[b"short"])), RecordError::TooShort);
        assert_eq!(broken(&0x7fff_ffff_u32.to_be_bytes()), RecordError::TooLong);
        assert_eq!(broken(&vec![0; 1000]), RecordError::Empty);
        assert_eq!(broken(&record(&[&message(1, 7, b"")])), RecordError::Kind(7));
        let mut endless = record(&[&message(1, 1, b"")]);
        endless[0] = 0;
        while endless.len() <= RECORD_MAX {
            endless.extend([&1000_u32.to_be_bytes()[..], &[7; 1000]].concat());
        }
        assert_eq!(broken(&endless), RecordError::TooLong);
    }

    proptest! {
        #[test]
        fn records_are_found_in_any_pieces_and_fragments(
            messages in prop::collection::vec((any::<u32>(), any::<bool>(), 0..300_usize, prop::collection::vec(0..40_usize, 0..4)), 1..6),
            pieces in prop::collection::vec(1..60_usize, 1..20),
        ) {
            let (mut stream, mut wanted) = (Vec::new(), Vec::new());
            for (xid, is_reply, length, cuts) in &messages {
                let whole = message(*xid, u32::from(*is_reply), &vec![9; *length]);
                let mut fragments = Vec::new();
                let mut rest = &whole[..];
                for cut in cuts {
                    let (fragment, left) = rest.split_at((*cut).min(rest.len()));
                    fragments.push(fragment);
                    rest = left;
                }
                fragments.push(rest);
                stream.extend(record(&fragments));
                wanted.push((*xid, if *is_reply { Kind::Reply } else { Kind::Call }, stream.len()));
            }
            let mut rest = &stream[..];
            let mut cut = Vec::new();
            for length in pieces.iter().cycle() {
                if rest.is_empty() {
                    break;
                }
                let (piece, left) = rest.split_at((*length).min(rest.len()));
                cut.push(piece);
                rest = left;
            }
            let found = events(cut).unwrap();
            let heads: Vec<_> = found.iter().filter_map(|(_, event)| match event {
                Event::Head(head) => Some((head.xid, head.kind)),
                Event::End => None,
            }).collect();
            let ends: Vec<_> = found.iter().filter(|(_, event)| *event == Event::End).map(|(place, _)| *place).collect();
            prop_assert_eq!(heads, wanted.iter().map(|(xid, kind, _)| (*xid, *kind)).collect::<Vec<_>>());
            prop_assert_eq!(ends, wanted.iter().map(|(_, _, end)| *end).collect::<Vec<_>>());
        }
    }
}
