//! External Data Representation (RFC 4506): big-endian words, opaque data padded to four bytes.

/// The data ended early, was not followed by enough padding, or a length was above its limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("malformed XDR")]
pub struct Malformed;

/// Reads XDR from a slice without copying.
#[derive(Clone, Debug)]
pub struct Decoder<'a> {
    rest: &'a [u8],
}

impl<'a> Decoder<'a> {
    /// Starts at the beginning of `data`.
    pub fn new(data: &'a [u8]) -> Self {
        Self { rest: data }
    }

    /// What has not been read yet.
    pub fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// Exactly `length` bytes and their padding.
    pub fn fixed(&mut self, length: usize) -> Result<&'a [u8], Malformed> {
        let padded = length.checked_next_multiple_of(4).ok_or(Malformed)?;
        if self.rest.len() < padded {
            return Err(Malformed);
        }
        let (data, rest) = self.rest.split_at(padded);
        self.rest = rest;
        Ok(&data[..length])
    }

    /// An array of bytes of a length known at compile time.
    pub fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        self.fixed(N)?.try_into().map_err(|_| Malformed)
    }

    /// Variable-length opaque data or a string of at most `limit` bytes.
    pub fn opaque(&mut self, limit: usize) -> Result<&'a [u8], Malformed> {
        let length = self.u32()? as usize;
        if length > limit {
            return Err(Malformed);
        }
        self.fixed(length)
    }

    /// An unsigned word.
    pub fn u32(&mut self) -> Result<u32, Malformed> {
        self.array().map(u32::from_be_bytes)
    }

    /// An unsigned double word.
    pub fn u64(&mut self) -> Result<u64, Malformed> {
        self.array().map(u64::from_be_bytes)
    }

    /// A signed double word.
    pub fn i64(&mut self) -> Result<i64, Malformed> {
        self.array().map(i64::from_be_bytes)
    }

    /// A truth value; anything but 0 and 1 is malformed.
    pub fn boolean(&mut self) -> Result<bool, Malformed> {
        match self.u32()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(Malformed),
        }
    }

    /// An array of at most `limit` words.
    pub fn words(&mut self, limit: usize) -> Result<Vec<u32>, Malformed> {
        let count = self.u32()? as usize;
        if count > limit || count > self.rest.len() / 4 {
            return Err(Malformed);
        }
        (0..count).map(|_| self.u32()).collect()
    }
}

/// Writes XDR to the end of a buffer.
#[derive(Clone, Debug, Default)]
pub struct Encoder {
    /// What was written.
    pub buffer: Vec<u8>,
}

impl Encoder {
    /// Goes on at the end of `buffer`.
    pub fn after(buffer: Vec<u8>) -> Self {
        Self { buffer }
    }

    /// An unsigned word.
    pub fn u32(&mut self, value: u32) -> &mut Self {
        self.buffer.extend_from_slice(&value.to_be_bytes());
        self
    }

    /// An unsigned double word.
    pub fn u64(&mut self, value: u64) -> &mut Self {
        self.buffer.extend_from_slice(&value.to_be_bytes());
        self
    }

    /// A signed double word.
    pub fn i64(&mut self, value: i64) -> &mut Self {
        self.buffer.extend_from_slice(&value.to_be_bytes());
        self
    }

    /// A truth value.
    pub fn boolean(&mut self, value: bool) -> &mut Self {
        self.u32(u32::from(value))
    }

    /// Bytes of a length that both sides know, and their padding.
    pub fn fixed(&mut self, data: &[u8]) -> &mut Self {
        self.buffer.extend_from_slice(data);
        self.pad(data.len())
    }

    /// Variable-length opaque data or a string.
    pub fn opaque(&mut self, data: &[u8]) -> &mut Self {
        // Nothing that is sent comes near 4 GiB: records are limited to a little over 1 MiB.
        self.u32(data.len() as u32).fixed(data)
    }

    /// Zero bytes after data of this length, up to the next multiple of four.
    pub fn pad(&mut self, length: usize) -> &mut Self {
        let padding = length.next_multiple_of(4) - length;
        self.buffer.extend_from_slice(&[0; 3][..padding]);
        self
    }

    /// An array of words.
    pub fn words(&mut self, words: &[u32]) -> &mut Self {
        self.u32(words.len() as u32);
        for word in words {
            self.u32(*word);
        }
        self
    }

    /// Overwrites the word at a position in the buffer that was written before.
    pub fn set_u32(&mut self, position: usize, value: u32) {
        self.buffer[position..position + 4].copy_from_slice(&value.to_be_bytes());
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_is_written_is_read_back(word: u32, long: u64, flag: bool, data: Vec<u8>, words: Vec<u32>) {
            let mut encoder = Encoder::default();
            encoder.u32(word).opaque(&data).u64(long).boolean(flag).words(&words);
            prop_assert_eq!(encoder.buffer.len() % 4, 0);
            let mut decoder = Decoder::new(&encoder.buffer);
            prop_assert_eq!(decoder.u32(), Ok(word));
            prop_assert_eq!(decoder.opaque(usize::MAX), Ok(&data[..]));
            prop_assert_eq!(decoder.u64(), Ok(long));
            prop_assert_eq!(decoder.boolean(), Ok(flag));
            prop_assert_eq!(decoder.words(usize::MAX), Ok(words));
            prop_assert!(decoder.rest().is_empty());
            for cut in 0..encoder.buffer.len() {
                let mut decoder = Decoder::new(&encoder.buffer[..cut]);
                let whole = decoder.u32().and_then(|_| decoder.opaque(usize::MAX)).and_then(|_| decoder.u64())
                    .and_then(|_| decoder.boolean()).and_then(|_| decoder.words(usize::MAX));
                prop_assert_eq!(whole, Err(Malformed));
            }
        }
    }

    #[test]
    fn a_length_above_the_limit_or_the_data_is_malformed() {
        let data = [0, 0, 0, 5, 1, 2, 3, 4, 5, 0, 0, 0];
        assert_eq!(Decoder::new(&data).opaque(4), Err(Malformed));
        assert_eq!(Decoder::new(&data).opaque(5), Ok(&[1, 2, 3, 4, 5][..]));
        assert_eq!(Decoder::new(&data[..9]).opaque(5), Err(Malformed));
        assert_eq!(Decoder::new(&[0xff; 8]).opaque(usize::MAX), Err(Malformed));
        assert_eq!(Decoder::new(&[0xff; 8]).words(usize::MAX), Err(Malformed));
    }
}
