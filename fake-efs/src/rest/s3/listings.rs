//! Calls that list objects and versions.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use s3s::dto::{
    CommonPrefix, DeleteMarkerEntry, EncodingType, ListObjectVersionsInput, ListObjectVersionsOutput, ListObjectsInput,
    ListObjectsOutput, ListObjectsV2Input, ListObjectsV2Output, Object as ObjectEntry, ObjectStorageClass,
    ObjectVersion, ObjectVersionStorageClass, StorageClass,
};
use s3s::{S3Error, S3ErrorCode, S3Request, S3Response, S3Result};

use super::convert::{done, etag, length, owner, split, time, version};
use crate::buckets::{MOST_ROWS, Object, ObjectRow, Page, Place, VersionRow, Wanted};
use crate::rest::Front;

/// What the encoding `url` leaves as it is.
const PLAIN: &AsciiSet =
    &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~').remove(b'*').remove(b'/');

/// How keys are written into an answer. XML can't hold all characters that keys may have.
#[derive(Clone, Copy)]
pub(super) enum Encoding {
    Plain,
    Url,
}

impl Encoding {
    pub(super) fn of(wanted: Option<&EncodingType>) -> S3Result<Self> {
        match wanted.map(EncodingType::as_str) {
            None => Ok(Self::Plain),
            Some(EncodingType::URL) => Ok(Self::Url),
            Some(_) => {
                let words = "Invalid Encoding Method specified in Request";
                Err(S3Error::with_message(S3ErrorCode::InvalidArgument, words))
            }
        }
    }

    pub(super) fn write(self, text: &str) -> String {
        match self {
            Self::Plain => text.to_owned(),
            Self::Url => utf8_percent_encode(text, PLAIN).to_string(),
        }
    }

    pub(super) fn told(self) -> Option<EncodingType> {
        matches!(self, Self::Url).then(|| EncodingType::from_static(EncodingType::URL))
    }

    fn prefixes(self, prefixes: &[String]) -> Option<Vec<CommonPrefix>> {
        Some(prefixes.iter().map(|prefix| CommonPrefix { prefix: Some(self.write(prefix)) }).collect())
    }
}

/// How many rows are wanted; more than S3 gives at once is no error.
pub(super) fn most(wanted: Option<i32>) -> S3Result<usize> {
    let Some(wanted) = wanted else { return Ok(MOST_ROWS) };
    usize::try_from(wanted).map(|most| most.min(MOST_ROWS)).map_err(|_| {
        let words = "Argument maxKeys must be an integer between 0 and 2147483647";
        S3Error::with_message(S3ErrorCode::InvalidArgument, words)
    })
}

fn rows(page: &Page<ObjectRow>, encoding: Encoding, account: Option<&str>) -> Option<Vec<ObjectEntry>> {
    let row = |row: &ObjectRow| ObjectEntry {
        e_tag: Some(etag(&row.object.etag)),
        key: Some(encoding.write(&row.key)),
        last_modified: Some(time(row.modified)),
        owner: account.map(owner),
        size: Some(length(row.object.content.size())),
        storage_class: Some(ObjectStorageClass::from(class(&row.object))),
        ..ObjectEntry::default()
    };
    Some(page.rows.iter().map(row).collect())
}

fn class(object: &Object) -> String {
    object.attributes.storage_class.as_deref().unwrap_or(StorageClass::STANDARD).to_owned()
}

/// ListObjectsV2.
pub(super) fn second(
    front: &Front,
    request: S3Request<ListObjectsV2Input>,
) -> S3Result<S3Response<ListObjectsV2Output>> {
    let (input, call) = split(request)?;
    let encoding = Encoding::of(input.encoding_type.as_ref())?;
    let most = most(input.max_keys)?;
    let after = match (&input.continuation_token, &input.start_after) {
        (Some(token), _) => Some(Place::from_token(token)?),
        (None, Some(key)) if !key.is_empty() => Some(Place::Key(key.clone())),
        (None, _) => None,
    };
    let prefix = input.prefix.clone().unwrap_or_default();
    let wanted = Wanted { prefix, delimiter: input.delimiter.clone(), most, after };
    let page = front.world.buckets().objects(&input.bucket, &wanted)?;
    let account = (input.fetch_owner == Some(true)).then_some(call.requester().scope.account.as_str());
    done(ListObjectsV2Output {
        name: Some(input.bucket),
        prefix: Some(encoding.write(&wanted.prefix)),
        max_keys: Some(count(most)),
        key_count: Some(count(page.rows.len() + page.prefixes.len())),
        continuation_token: input.continuation_token,
        is_truncated: Some(page.next.is_some()),
        next_continuation_token: page.next.as_ref().map(Place::to_token),
        contents: rows(&page, encoding, account),
        common_prefixes: encoding.prefixes(&page.prefixes),
        delimiter: input.delimiter.map(|delimiter| encoding.write(&delimiter)),
        encoding_type: encoding.told(),
        start_after: input.start_after.map(|key| encoding.write(&key)),
        ..ListObjectsV2Output::default()
    })
}

/// At most a thousand.
pub(super) fn count(rows: usize) -> i32 {
    i32::try_from(rows).unwrap_or(i32::MAX)
}

/// ListObjects, the older one, which many programs still use.
pub(super) fn older(front: &Front, request: S3Request<ListObjectsInput>) -> S3Result<S3Response<ListObjectsOutput>> {
    let (input, call) = split(request)?;
    let encoding = Encoding::of(input.encoding_type.as_ref())?;
    let most = most(input.max_keys)?;
    let prefix = input.prefix.clone().unwrap_or_default();
    let marker = input.marker.clone().filter(|marker| !marker.is_empty());
    let after = marker.map(|marker| Place::marked(marker, &prefix, input.delimiter.as_deref()));
    let wanted = Wanted { prefix, delimiter: input.delimiter.clone(), most, after };
    let page = front.world.buckets().objects(&input.bucket, &wanted)?;
    // Without a delimiter, callers go on behind the last key that they got.
    let next = page.next.as_ref().filter(|_| input.delimiter.is_some()).map(|next| match next {
        Place::Key(text) | Place::Prefix(text) | Place::Version(text, _) => encoding.write(text),
    });
    done(ListObjectsOutput {
        name: Some(input.bucket),
        prefix: Some(encoding.write(&wanted.prefix)),
        marker: Some(encoding.write(input.marker.as_deref().unwrap_or_default())),
        max_keys: Some(count(most)),
        is_truncated: Some(page.next.is_some()),
        contents: rows(&page, encoding, Some(&call.requester().scope.account)),
        common_prefixes: encoding.prefixes(&page.prefixes),
        delimiter: input.delimiter.map(|delimiter| encoding.write(&delimiter)),
        next_marker: next,
        encoding_type: encoding.told(),
        ..ListObjectsOutput::default()
    })
}

/// ListObjectVersions.
pub(super) fn versions(
    front: &Front,
    request: S3Request<ListObjectVersionsInput>,
) -> S3Result<S3Response<ListObjectVersionsOutput>> {
    let (input, call) = split(request)?;
    let encoding = Encoding::of(input.encoding_type.as_ref())?;
    let most = most(input.max_keys)?;
    let prefix = input.prefix.clone().unwrap_or_default();
    let key = input.key_marker.clone().filter(|key| !key.is_empty());
    let id = version(input.version_id_marker.as_deref().filter(|id| !id.is_empty()))?;
    let after = match (key, id) {
        (None, None) => None,
        (None, Some(_)) => {
            let words = "A version-id marker cannot be specified without a key marker.";
            return Err(S3Error::with_message(S3ErrorCode::InvalidArgument, words));
        }
        (Some(key), Some(id)) => Some(Place::Version(key, id)),
        (Some(key), None) => Some(Place::marked(key, &prefix, input.delimiter.as_deref())),
    };
    let wanted = Wanted { prefix, delimiter: input.delimiter.clone(), most, after };
    let page = front.world.buckets().versions(&input.bucket, &wanted)?;
    let owner = owner(&call.requester().scope.account);
    let (mut versions, mut markers) = (Vec::new(), Vec::new());
    for VersionRow { key, version_id, latest, modified, object } in page.rows {
        let (key, version_id) = (Some(encoding.write(&key)), Some(version_id.to_string()));
        let (owner, last_modified, is_latest) = (Some(owner.clone()), Some(time(modified)), Some(latest));
        match object {
            Some(object) => versions.push(ObjectVersion {
                e_tag: Some(etag(&object.etag)),
                is_latest,
                key,
                last_modified,
                owner,
                size: Some(length(object.content.size())),
                storage_class: Some(ObjectVersionStorageClass::from(class(&object))),
                version_id,
                ..ObjectVersion::default()
            }),
            None => markers.push(DeleteMarkerEntry { is_latest, key, last_modified, owner, version_id }),
        }
    }
    let (next_key, next_id) = match &page.next {
        None => (None, None),
        Some(Place::Key(text) | Place::Prefix(text)) => (Some(encoding.write(text)), None),
        Some(Place::Version(key, id)) => (Some(encoding.write(key)), Some(id.to_string())),
    };
    done(ListObjectVersionsOutput {
        common_prefixes: encoding.prefixes(&page.prefixes),
        delete_markers: Some(markers),
        delimiter: input.delimiter.map(|delimiter| encoding.write(&delimiter)),
        encoding_type: encoding.told(),
        is_truncated: Some(page.next.is_some()),
        key_marker: Some(encoding.write(input.key_marker.as_deref().unwrap_or_default())),
        max_keys: Some(count(most)),
        name: Some(input.bucket),
        next_key_marker: next_key,
        next_version_id_marker: next_id,
        prefix: Some(encoding.write(&wanted.prefix)),
        version_id_marker: Some(input.version_id_marker.unwrap_or_default()),
        versions: Some(versions),
        ..ListObjectVersionsOutput::default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_encoded_for_who_asks() {
        let url = EncodingType::from_static("url");
        assert_eq!(Encoding::of(Some(&url)).unwrap().write("a b+c/ä\u{1}"), "a%20b%2Bc/%C3%A4%01");
        assert_eq!(Encoding::of(None).unwrap().write("a b"), "a b");
        assert!(Encoding::of(Some(&EncodingType::from_static("rot13"))).is_err());
    }

    #[test]
    fn a_page_has_a_thousand_rows_at_most() {
        assert_eq!((most(None).unwrap(), most(Some(5)).unwrap(), most(Some(i32::MAX)).unwrap()), (1000, 5, 1000));
        assert!(most(Some(-1)).is_err());
    }
}
