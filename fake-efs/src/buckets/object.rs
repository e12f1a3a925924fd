//! Objects: their bytes and what is said of them.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use jiff::Timestamp;
use md5::{Digest, Md5};

use super::errors::{Refusal, Result};
use super::room::Room;
use super::version::VersionId;

/// What user metadata may take: the bytes of all names and values.
const MOST_METADATA: usize = 2048;

/// Bytes with the room that they take. Copies of an object share them.
#[derive(Debug)]
pub struct Content {
    segments: Vec<Bytes>,
    size: u64,
    rooms: Vec<Arc<Room>>,
}

impl Content {
    /// Bytes that came in one piece.
    pub fn new(bytes: Bytes, room: Room) -> Self {
        let size = bytes.len() as u64;
        Self { segments: vec![bytes], size, rooms: vec![Arc::new(room)] }
    }

    /// Several contents, one after the other; no byte is copied.
    pub fn joined<'a>(parts: impl Iterator<Item = &'a Self>) -> Self {
        let mut whole = Self { segments: Vec::new(), size: 0, rooms: Vec::new() };
        for part in parts {
            whole.segments.extend(part.segments.iter().cloned());
            whole.rooms.extend(part.rooms.iter().cloned());
            whole.size += part.size;
        }
        whole
    }

    /// The bytes of a range that lies within, as a content of its own that shares them.
    pub fn part(&self, range: Range<u64>) -> Self {
        let size = range.end.saturating_sub(range.start);
        Self { segments: self.slice(range), size, rooms: self.rooms.clone() }
    }

    /// How many bytes.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The bytes of a range that lies within.
    pub fn slice(&self, range: Range<u64>) -> Vec<Bytes> {
        let mut begin = 0;
        let mut slices = Vec::new();
        for segment in &self.segments {
            let end = begin + segment.len() as u64;
            let (from, to) = (range.start.max(begin), range.end.min(end));
            if from < to {
                // Both are within a segment, so they fit.
                slices.push(segment.slice((from - begin) as usize..(to - begin) as usize));
            }
            begin = end;
        }
        slices
    }

    /// MD5 of all bytes.
    pub fn md5(&self) -> [u8; 16] {
        let mut md5 = Md5::new();
        for segment in &self.segments {
            md5.update(segment);
        }
        md5.finalize().into()
    }
}

/// What callers say of an object, and get back.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Attributes {
    /// `binary/octet-stream` if nobody said anything.
    pub content_type: Option<String>,
    /// `x-amz-meta-…`, without that prefix.
    pub metadata: BTreeMap<String, String>,
    /// A header that is given back as it came.
    pub cache_control: Option<String>,
    /// A header that is given back as it came.
    pub content_disposition: Option<String>,
    /// A header that is given back as it came.
    pub content_encoding: Option<String>,
    /// A header that is given back as it came.
    pub content_language: Option<String>,
    /// When caches should forget it.
    pub expires: Option<Timestamp>,
    /// `STANDARD` if nobody said anything.
    pub storage_class: Option<String>,
    /// The key of KMS by which it is said to be encrypted; S3's own if missing.
    pub kms_key_id: Option<String>,
}

impl Attributes {
    /// Whether the bytes can't be read before they are restored.
    pub fn is_archived(&self) -> bool {
        matches!(self.storage_class.as_deref(), Some("GLACIER" | "DEEP_ARCHIVE"))
    }

    pub(super) fn check(&self) -> Result<()> {
        let size: usize = self.metadata.iter().map(|(name, value)| name.len() + value.len()).sum();
        if size <= MOST_METADATA { Ok(()) } else { Err(Refusal::MetadataTooLarge) }
    }
}

/// How a checksum is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names are S3's own")]
pub enum Algorithm {
    Crc32,
    Crc32c,
    Crc64Nvme,
    Sha1,
    Sha256,
}

/// A checksum that the caller gave, and that was right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checksum {
    /// How it is made.
    pub algorithm: Algorithm,
    /// In base64.
    pub value: String,
}

/// An object: one version's bytes and what is said of them. Never changed once it is there.
#[derive(Debug)]
pub struct Object {
    /// The bytes.
    pub content: Arc<Content>,
    /// Hexadecimal MD5, or that of the parts' with their number; without quotation marks.
    pub etag: String,
    /// What the caller said.
    pub attributes: Attributes,
    /// What the caller proved.
    pub checksum: Option<Checksum>,
    /// How large the parts are that it came in; none if it came in one piece.
    pub parts: Vec<u64>,
}

impl Object {
    /// An object that came in one piece.
    pub fn new(content: Arc<Content>, attributes: Attributes, checksum: Option<Checksum>) -> Self {
        let etag = hex::encode(content.md5());
        Self { content, etag, attributes, checksum, parts: Vec::new() }
    }
}

impl Object {
    /// The bytes of a part, by its number.
    pub fn part(&self, number: u32) -> Option<Range<u64>> {
        let before = usize::try_from(number).ok()?.checked_sub(1)?;
        if self.parts.is_empty() {
            return (before == 0).then(|| 0..self.content.size());
        }
        let size = self.parts.get(before)?;
        let begin: u64 = self.parts[..before].iter().sum();
        Some(begin..begin + size)
    }
}

/// A version of an object as it was found.
#[derive(Clone, Debug)]
pub struct Found {
    /// None if the bucket has never kept versions.
    pub version_id: Option<VersionId>,
    /// When it was written.
    pub modified: Timestamp,
    /// Bytes and attributes.
    pub object: Arc<Object>,
}

#[cfg(test)]
mod tests {
    use super::super::room::Budget;
    use super::*;

    fn content(text: &'static str) -> Content {
        Content::new(Bytes::from_static(text.as_bytes()), Budget::new(100).take(text.len() as u64).unwrap())
    }

    #[test]
    fn a_slice_of_joined_contents_goes_over_their_seams() {
        let parts = [content("abc"), content(""), content("defg"), content("h")];
        let whole = Content::joined(parts.iter());
        let text = |range| String::from_utf8(whole.slice(range).concat()).unwrap();
        assert_eq!(whole.size(), 8);
        assert_eq!(text(0..8), "abcdefgh");
        assert_eq!(text(2..4), "cd");
        assert_eq!(text(3..7), "defg");
        assert_eq!(text(7..8), "h");
        assert_eq!(text(4..4), "");
    }

    #[test]
    fn an_etag_is_the_md5_of_the_bytes() {
        let object = Object::new(Arc::new(content("hello")), Attributes::default(), None);
        assert_eq!(object.etag, "5d41402abc4b2a76b9719d911017c592");
    }

    #[test]
    fn metadata_beyond_two_kilobytes_are_refused() {
        let mut attributes = Attributes::default();
        attributes.metadata.insert("k".to_owned(), "v".repeat(2047));
        assert_eq!(attributes.check(), Ok(()));
        attributes.metadata.insert("l".to_owned(), String::new());
        assert_eq!(attributes.check(), Err(Refusal::MetadataTooLarge));
    }
}
