//! The bytes of a regular file. In memory: sparse, in chunks, so that neither large nor sparse files cost a copy of the whole.

use std::collections::BTreeMap;

/// Bytes in a chunk. Holes are kept at this granularity.
const CHUNK: u64 = 64 * 1024;

/// Where the bytes of a file are.
#[derive(Debug)]
pub(super) enum Content {
    /// Here.
    Memory(Chunks),
    /// In a file of the host; these are its length and the bytes that it takes there.
    Host { size: u64, used: u64 },
}

impl Content {
    /// Length in bytes.
    pub(super) fn size(&self) -> u64 {
        match self {
            Self::Memory(chunks) => chunks.size,
            Self::Host { size, .. } => *size,
        }
    }

    /// Bytes really held, holes not counted.
    pub(super) fn used(&self) -> u64 {
        match self {
            Self::Memory(chunks) => chunks.used,
            Self::Host { used, .. } => *used,
        }
    }

    /// Cuts the file, or extends it with a hole. Of a file of the host only the numbers change.
    pub(super) fn resize(&mut self, new: u64) {
        match self {
            Self::Memory(chunks) => chunks.resize(new),
            Self::Host { size, used } => {
                *size = new;
                *used = new.min(*used);
            }
        }
    }

    /// Bytes that a write would add to [`Self::used`], at most.
    pub(super) fn growth(&self, offset: u64, length: u64) -> u64 {
        match self {
            Self::Memory(chunks) => chunks.growth(offset, length),
            // What lies before the end is taken to be held already.
            Self::Host { size, .. } => offset.saturating_add(length).saturating_sub(*size).min(length),
        }
    }

    /// The bytes, if they are in memory.
    pub(super) fn chunks(&self) -> Option<&Chunks> {
        match self {
            Self::Memory(chunks) => Some(chunks),
            Self::Host { .. } => None,
        }
    }
}

/// The bytes of one file in memory.
#[derive(Debug, Default)]
pub(super) struct Chunks {
    size: u64,
    /// By index; a chunk may be shorter than [`CHUNK`], the rest of it reads as zeros.
    chunks: BTreeMap<u64, Vec<u8>>,
    used: u64,
}

impl Chunks {
    /// Bytes that a write would add.
    fn growth(&self, offset: u64, length: u64) -> u64 {
        let (mut at, end, mut growth) = (offset, offset.saturating_add(length), 0);
        while at < end {
            let index = at / CHUNK;
            let until = ((index + 1) * CHUNK).min(end);
            let held = self.chunks.get(&index).map_or(0, |c| c.len() as u64);
            growth += (until - index * CHUNK).saturating_sub(held);
            at = until;
        }
        growth
    }

    /// Appends up to `count` bytes from `offset` to `out`; true when that reached the end of the file.
    pub(super) fn read(&self, offset: u64, count: usize, out: &mut Vec<u8>) -> bool {
        let end = offset.saturating_add(count as u64).min(self.size);
        let mut at = offset;
        while at < end {
            let index = at / CHUNK;
            let within = (at % CHUNK) as usize;
            let want = ((index + 1) * CHUNK).min(end) - at;
            let want = want as usize;
            let held = self.chunks.get(&index).map_or(&[][..], |c| c.get(within..).unwrap_or_default());
            let copied = held.len().min(want);
            out.extend_from_slice(&held[..copied]);
            out.resize(out.len() + want - copied, 0);
            at += want as u64;
        }
        end >= self.size
    }

    /// Writes bytes, extending the file where needed.
    pub(super) fn write(&mut self, offset: u64, mut data: &[u8]) {
        if data.is_empty() {
            return;
        }
        let mut at = offset;
        while !data.is_empty() {
            let within = (at % CHUNK) as usize;
            let room = (CHUNK as usize - within).min(data.len());
            let (now, later) = data.split_at(room);
            let chunk = self.chunks.entry(at / CHUNK).or_default();
            let before = chunk.len();
            if before < within {
                chunk.resize(within, 0);
            }
            let overlap = (chunk.len() - within).min(room);
            chunk[within..within + overlap].copy_from_slice(&now[..overlap]);
            chunk.extend_from_slice(&now[overlap..]);
            self.used += (chunk.len() - before) as u64;
            at += room as u64;
            data = later;
        }
        self.size = self.size.max(at);
    }

    /// Cuts the file, or extends it with a hole.
    fn resize(&mut self, size: u64) {
        if size < self.size {
            let removed = self.chunks.split_off(&size.div_ceil(CHUNK));
            self.used -= removed.values().map(|c| c.len() as u64).sum::<u64>();
            if let Some(last) = self.chunks.get_mut(&(size / CHUNK)) {
                let keep = ((size % CHUNK) as usize).min(last.len());
                self.used -= (last.len() - keep) as u64;
                last.truncate(keep);
                last.shrink_to_fit();
            }
        }
        self.size = size;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[derive(Clone, Debug)]
    enum Step {
        Write(u64, Vec<u8>),
        Resize(u64),
    }

    fn step() -> impl Strategy<Value = Step> {
        // Offsets around the chunk boundaries, where the mistakes would be.
        let offset = (0u64..4, -40i64..40).prop_map(|(chunk, d)| (chunk * CHUNK).saturating_add_signed(d));
        prop_oneof![
            (offset.clone(), prop::collection::vec(any::<u8>(), 0..100)).prop_map(|(o, d)| Step::Write(o, d)),
            (offset.clone(), any::<u8>()).prop_map(|(o, b)| Step::Write(o, vec![b; CHUNK as usize + 7])),
            offset.prop_map(Step::Resize),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]
        #[test]
        fn behaves_like_a_vector_of_bytes(steps in prop::collection::vec(step(), 1..20)) {
            let (mut content, mut model) = (Chunks::default(), Vec::new());
            for step in steps {
                match step {
                    Step::Write(offset, data) => {
                        let expected = content.used + content.growth(offset, data.len() as u64);
                        content.write(offset, &data);
                        prop_assert_eq!(content.used, expected);
                        let end = offset as usize + data.len();
                        if !data.is_empty() {
                            if model.len() < end { model.resize(end, 0); }
                            model[offset as usize..end].copy_from_slice(&data);
                        }
                    }
                    Step::Resize(size) => { content.resize(size); model.resize(size as usize, 0); }
                }
                let mut out = Vec::new();
                prop_assert!(content.read(0, usize::MAX, &mut out));
                prop_assert!(out == model);
                prop_assert_eq!(content.size, model.len() as u64);
                prop_assert_eq!(content.used, content.chunks.values().map(|c| c.len() as u64).sum::<u64>());
            }
        }
    }

    #[test]
    fn a_sparse_file_holds_only_what_was_written() {
        let mut content = Chunks::default();
        content.write(40 << 40, b"end");
        assert_eq!(content.size, (40 << 40) + 3);
        assert!(content.used <= CHUNK);
        let mut out = Vec::new();
        assert!(!content.read(1 << 40, 5, &mut out));
        assert_eq!(out, [0; 5]);
    }

    #[test]
    fn reading_past_the_end_gives_nothing_and_says_so() {
        let mut content = Chunks::default();
        content.write(0, b"abc");
        let mut out = Vec::new();
        assert!(content.read(3, 10, &mut out));
        assert!(content.read(100, 10, &mut out));
        assert!(out.is_empty());
    }
}
