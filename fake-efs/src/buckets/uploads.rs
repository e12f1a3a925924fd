//! Objects that come in parts: kept beside the bucket's keys until somebody completes or aborts the upload.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

use jiff::Timestamp;
use md5::{Digest, Md5};

use super::errors::{Refusal, Result};
use super::object::{Attributes, Checksum, Content};
use super::room::Room;

/// Most parts of an object.
pub const MOST_PARTS: u32 = 10_000;
/// Smallest part, but for the last.
const SMALLEST_PART: u64 = 5 << 20;

/// What is said of an upload when it begins.
#[derive(Clone, Debug, Default)]
pub struct Intent {
    /// Those of the object.
    pub attributes: Attributes,
    /// How the object's checksum is to be made, by S3's name.
    pub checksum_algorithm: Option<String>,
    /// Whether it is one of the whole object, or of the parts' checksums, by S3's name.
    pub checksum_type: Option<String>,
}

/// A part. A later one with the same number takes its place.
#[derive(Clone, Debug)]
pub struct Part {
    /// Its bytes.
    pub content: Arc<Content>,
    /// Hexadecimal MD5.
    pub etag: String,
    /// What the caller proved.
    pub checksum: Option<Checksum>,
    /// When it came.
    pub modified: Timestamp,
}

/// An upload that has begun.
#[derive(Debug)]
pub(super) struct Upload {
    pub(super) intent: Arc<Intent>,
    pub(super) begun: Timestamp,
    pub(super) parts: BTreeMap<u32, (Part, Room)>,
    _room: Room,
}

/// A part that is to be in the object, as the caller names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chosen {
    /// 1 to 10,000.
    pub number: u32,
    /// Without quotation marks.
    pub etag: String,
}

/// The parts of an object, in order.
#[derive(Clone, Debug)]
pub struct Assembled {
    /// What was said when the upload began.
    pub intent: Arc<Intent>,
    /// The parts.
    pub parts: Vec<Part>,
    /// The object's ETag: MD5 of the parts' sums, and how many there are.
    pub etag: String,
}

/// The parts of an upload, as far as a listing goes.
#[derive(Clone, Debug)]
pub struct PartsPage {
    /// What was said when the upload began.
    pub intent: Arc<Intent>,
    /// Numbers and parts.
    pub rows: Vec<(u32, Part)>,
    /// Whether there are more.
    pub more: bool,
}

/// An upload in a listing.
#[derive(Clone, Debug)]
pub struct UploadRow {
    /// The object's key.
    pub key: String,
    /// The upload's name.
    pub id: String,
    /// What was said when it began.
    pub intent: Arc<Intent>,
    /// When that was.
    pub begun: Timestamp,
}

/// The uploads of a bucket, by key and by their names.
#[derive(Debug, Default)]
pub(super) struct Uploads(BTreeMap<(String, String), Upload>);

impl Uploads {
    pub(super) fn begin(&mut self, key: &str, id: String, intent: Intent, room: Room, begun: Timestamp) {
        let upload = Upload { intent: Arc::new(intent), begun, parts: BTreeMap::new(), _room: room };
        self.0.insert((key.to_owned(), id), upload);
    }

    pub(super) fn find(&mut self, key: &str, id: &str) -> Result<&mut Upload> {
        self.0.get_mut(&(key.to_owned(), id.to_owned())).ok_or(Refusal::NoSuchUpload)
    }

    pub(super) fn remove(&mut self, key: &str, id: &str) -> Result<()> {
        self.0.remove(&(key.to_owned(), id.to_owned())).map(drop).ok_or(Refusal::NoSuchUpload)
    }

    /// Uploads of keys that begin so, behind a place, at most so many; and whether there are more.
    pub(super) fn list(&self, prefix: &str, after: Option<(String, String)>, most: usize) -> (Vec<UploadRow>, bool) {
        let first = || Bound::Included((prefix.to_owned(), String::new()));
        let begin = after.map_or_else(first, Bound::Excluded);
        let behind = self.0.range((begin, Bound::Unbounded));
        // A place in front of the prefix is as good as none.
        let mut uploads = behind
            .skip_while(|((key, _), _)| key.as_str() < prefix)
            .take_while(|((key, _), _)| key.starts_with(prefix));
        let rows = uploads.by_ref().take(most).map(|((key, id), upload)| UploadRow {
            key: key.clone(),
            id: id.clone(),
            intent: Arc::clone(&upload.intent),
            begun: upload.begun,
        });
        let rows = rows.collect();
        (rows, uploads.next().is_some())
    }
}

impl Upload {
    /// Puts the chosen parts together.
    pub(super) fn assemble(&self, chosen: &[Chosen]) -> Result<Assembled> {
        if chosen.is_empty() {
            return Err(Refusal::NoParts);
        }
        if chosen.windows(2).any(|pair| pair[0].number >= pair[1].number) {
            return Err(Refusal::InvalidPartOrder);
        }
        let mut parts = Vec::new();
        let mut md5 = Md5::new();
        for Chosen { number, etag } in chosen {
            let found = self.parts.get(number).map(|(part, _)| part).filter(|part| part.etag == *etag);
            let part = found.ok_or(Refusal::InvalidPart)?;
            md5.update(hex::decode(&part.etag).unwrap_or_default());
            parts.push(part.clone());
        }
        let but_last = &parts[..parts.len() - 1];
        if but_last.iter().any(|part| part.content.size() < SMALLEST_PART) {
            return Err(Refusal::PartTooSmall);
        }
        let etag = format!("{}-{}", hex::encode(md5.finalize()), parts.len());
        Ok(Assembled { intent: Arc::clone(&self.intent), parts, etag })
    }
}
