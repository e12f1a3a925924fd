//! Calls about objects.

use std::sync::Arc;

use futures::stream;
use s3s::dto::{
    ChecksumMode, CopyObjectInput, CopyObjectOutput, CopyObjectResult, CopySource, DeleteObjectInput,
    DeleteObjectOutput, DeleteObjectsInput, DeleteObjectsOutput, DeletedObject, Error, GetObjectInput, GetObjectOutput,
    HeadObjectInput, HeadObjectOutput, MetadataDirective, PutObjectInput, PutObjectOutput, Range, ServerSideEncryption,
    StorageClass, StreamingBlob,
};
use s3s::{S3Error, S3ErrorCode, S3Request, S3Response, S3Result};

use super::access::{Call, resource};
use super::attributes::{attributes, encryption};
use super::convert::{Sums, done, etag, etags, length, source_conditions, split, time, version, write_condition};
use super::digests;
use super::errors::not_implemented;
use crate::buckets::{Deleted, Found, Object, ReadConditions, Refusal, WriteCondition};
use crate::rest::Front;

/// Most keys of DeleteObjects.
const MOST_KEYS: usize = 1000;

/// PutObject.
pub(super) async fn put(front: &Front, request: S3Request<PutObjectInput>) -> S3Result<S3Response<PutObjectOutput>> {
    let (input, call) = split(request)?;
    let condition = write_condition(input.if_match.clone(), input.if_none_match.clone())?;
    let attributes = attributes!(input);
    let content = call.take_content()?;
    let claims = digests::Claims::new(input.content_md5.as_deref(), digests::given!(input));
    let (content, checksum) = claims.check(content).await?;
    let object = digests::object(content, attributes, checksum).await?;
    let (encryption, key) = encryption(&object.attributes);
    let sums = Sums::from(object.checksum.as_ref());
    let written = front.world.buckets().put(&input.bucket, &input.key, object, &condition, front.world.now())?;
    done(PutObjectOutput {
        checksum_crc32: sums.crc32,
        checksum_crc32c: sums.crc32c,
        checksum_crc64nvme: sums.crc64nvme,
        checksum_sha1: sums.sha1,
        checksum_sha256: sums.sha256,
        checksum_type: sums.kind,
        e_tag: Some(etag(&written.etag)),
        ssekms_key_id: key,
        server_side_encryption: Some(encryption),
        version_id: written.version_id.map(|id| id.to_string()),
        ..PutObjectOutput::default()
    })
}

/// What GetObject and HeadObject answer alike.
macro_rules! described {
    ($output:ident, $found:expr, $range:expr, $checksums:expr, $part:expr) => {{
        let (found, range): (&Found, &std::ops::Range<u64>) = (&$found, &$range);
        let Object { content, attributes, checksum, .. } = &*found.object;
        let is_part = range.end - range.start < content.size();
        let sums = Sums::from(checksum.as_ref().filter(|_| $checksums && !is_part));
        let (encryption, key) = encryption(attributes);
        $output {
            accept_ranges: Some("bytes".to_owned()),
            cache_control: attributes.cache_control.clone(),
            checksum_crc32: sums.crc32,
            checksum_crc32c: sums.crc32c,
            checksum_crc64nvme: sums.crc64nvme,
            checksum_sha1: sums.sha1,
            checksum_sha256: sums.sha256,
            checksum_type: sums.kind,
            content_disposition: attributes.content_disposition.clone(),
            content_encoding: attributes.content_encoding.clone(),
            content_language: attributes.content_language.clone(),
            content_length: Some(length(range.end - range.start)),
            content_type: Some(attributes.content_type.as_deref().unwrap_or("binary/octet-stream").to_owned()),
            e_tag: Some(etag(&found.object.etag)),
            expires: attributes.expires.map(time),
            last_modified: Some(time(found.modified)),
            // Told to who asks for a part.
            parts_count: $part.and(i32::try_from(found.object.parts.len()).ok().filter(|parts| *parts > 0)),
            metadata: Some(attributes.metadata.clone().into_iter().collect()),
            ssekms_key_id: key,
            server_side_encryption: Some(encryption),
            storage_class: attributes.storage_class.clone().map(StorageClass::from),
            version_id: found.version_id.as_ref().map(ToString::to_string),
            ..$output::default()
        }
    }};
}

/// The conditions of a read.
macro_rules! conditions {
    ($input:expr) => {
        ReadConditions {
            if_match: $input.if_match.clone().map(etags),
            if_none_match: $input.if_none_match.clone().map(etags),
            if_modified_since: $input.if_modified_since.as_ref().and_then(super::convert::moment),
            if_unmodified_since: $input.if_unmodified_since.as_ref().and_then(super::convert::moment),
        }
    };
}

/// What a read is about.
struct Read<'a> {
    bucket: &'a str,
    key: &'a str,
    version: Option<&'a str>,
    range: Option<Range>,
    part: Option<i32>,
}

impl Read<'_> {
    /// Finds the object, and the bytes of it that are asked for. Whether they are a part, the answer's status says.
    fn find(
        &self,
        front: &Front,
        call: &Call,
        conditions: &ReadConditions,
    ) -> S3Result<(Found, std::ops::Range<u64>, Option<String>)> {
        let version = version(self.version)?;
        let found = front.world.buckets().get(self.bucket, self.key, version.as_ref());
        let found = found.map_err(|refusal| front.veiled(call, self.bucket, refusal))?;
        conditions.check(&found.object.etag, found.modified)?;
        let size = found.object.content.size();
        let range = match (self.range, self.part) {
            (None, None) => return Ok((found, 0..size, None)),
            (Some(_), Some(_)) => {
                let words = "Cannot specify both Range header and partNumber query parameter";
                return Err(S3Error::with_message(S3ErrorCode::InvalidRequest, words));
            }
            (None, Some(number)) => {
                let part = u32::try_from(number).ok().and_then(|number| found.object.part(number));
                let range = part.ok_or_else(|| {
                    let words = "The requested partnumber is not satisfiable";
                    super::errors::named(416, "InvalidPartNumber", words.to_owned())
                })?;
                let text = (range.start < range.end).then(|| shown(&range, size));
                return Ok((found, range, text));
            }
            (Some(range), None) => range,
        };
        let range = range.check(size).ok().filter(|range| range.start < range.end);
        let range = range.ok_or_else(|| {
            S3Error::with_message(S3ErrorCode::InvalidRange, "The requested range is not satisfiable")
        })?;
        let text = shown(&range, size);
        Ok((found, range, Some(text)))
    }
}

/// A range as it stands in the head of an answer.
fn shown(range: &std::ops::Range<u64>, size: u64) -> String {
    format!("bytes {}-{}/{size}", range.start, range.end - 1)
}

fn wants_checksum(mode: Option<&ChecksumMode>) -> bool {
    mode.is_some_and(|mode| mode.as_str() == ChecksumMode::ENABLED)
}

/// GetObject.
pub(super) fn get(front: &Front, request: S3Request<GetObjectInput>) -> S3Result<S3Response<GetObjectOutput>> {
    let (input, call) = split(request)?;
    no_customer_key(input.sse_customer_algorithm.as_deref())?;
    let read = Read {
        bucket: &input.bucket,
        key: &input.key,
        version: input.version_id.as_deref(),
        range: input.range,
        part: input.part_number,
    };
    let (found, range, content_range) = read.find(front, &call, &conditions!(input))?;
    if found.object.attributes.is_archived() {
        let words = "The operation is not valid for the object's storage class";
        return Err(S3Error::with_message(S3ErrorCode::InvalidObjectState, words));
    }
    let mut output =
        described!(GetObjectOutput, found, range, wants_checksum(input.checksum_mode.as_ref()), input.part_number);
    output.content_range = content_range;
    let slices = found.object.content.slice(range);
    output.body = Some(StreamingBlob::wrap(stream::iter(slices.into_iter().map(Ok::<_, std::convert::Infallible>))));
    done(output)
}

/// HeadObject.
pub(super) fn head(front: &Front, request: S3Request<HeadObjectInput>) -> S3Result<S3Response<HeadObjectOutput>> {
    let (input, call) = split(request)?;
    no_customer_key(input.sse_customer_algorithm.as_deref())?;
    let read = Read {
        bucket: &input.bucket,
        key: &input.key,
        version: input.version_id.as_deref(),
        range: input.range,
        part: input.part_number,
    };
    let (found, range, content_range) = read.find(front, &call, &conditions!(input))?;
    let mut output =
        described!(HeadObjectOutput, found, range, wants_checksum(input.checksum_mode.as_ref()), input.part_number);
    output.content_range = content_range;
    done(output)
}

/// Keys that only the caller knows are of no use where nothing is encrypted.
fn no_customer_key(algorithm: Option<&str>) -> S3Result<()> {
    match algorithm {
        Some(_) => Err(not_implemented("x-amz-server-side-encryption-customer-algorithm")),
        None => Ok(()),
    }
}

/// DeleteObject.
pub(super) fn delete(front: &Front, request: S3Request<DeleteObjectInput>) -> S3Result<S3Response<DeleteObjectOutput>> {
    let (input, _) = split(request)?;
    if input.if_match_size.is_some() || input.if_match_last_modified_time.is_some() {
        return Err(not_implemented("x-amz-if-match-…"));
    }
    let condition = write_condition(input.if_match, None)?;
    let deleted = delete_one(front, &input.bucket, &input.key, input.version_id.as_deref(), &condition)?;
    done(DeleteObjectOutput {
        delete_marker: deleted.marker.then_some(true),
        version_id: deleted.version_id.map(|id| id.to_string()),
        ..DeleteObjectOutput::default()
    })
}

fn delete_one(
    front: &Front,
    bucket: &str,
    key: &str,
    id: Option<&str>,
    condition: &WriteCondition,
) -> S3Result<Deleted> {
    let buckets = front.world.buckets();
    match version(id)? {
        Some(_) if *condition != WriteCondition::Always => Err(not_implemented("If-Match for a version")),
        Some(id) => Ok(buckets.delete_version(bucket, key, &id)?),
        None => Ok(buckets.delete_object(bucket, key, condition, front.world.now())?),
    }
}

/// DeleteObjects: each key for itself.
pub(super) fn delete_many(
    front: &Front,
    request: S3Request<DeleteObjectsInput>,
) -> S3Result<S3Response<DeleteObjectsOutput>> {
    let (input, call) = split(request)?;
    let (bucket, wanted) = (input.bucket, input.delete);
    if wanted.objects.is_empty() || wanted.objects.len() > MOST_KEYS {
        let words = "The XML you provided was not well-formed or did not validate against our published schema";
        return Err(S3Error::with_message(S3ErrorCode::MalformedXML, words));
    }
    let (mut deleted, mut errors) = (Vec::new(), Vec::new());
    for object in wanted.objects {
        let (key, id) = (object.key, object.version_id);
        let action = if id.is_some() { "s3:DeleteObjectVersion" } else { "s3:DeleteObject" };
        let condition =
            object.e_tag.map_or(WriteCondition::Always, |etag| WriteCondition::Unchanged(etag.into_value()));
        let gone = front
            .check_policy(&call, action, &resource(&call, Some(&bucket), Some(&key)))
            .and_then(|()| delete_one(front, &bucket, &key, id.as_deref(), &condition));
        match gone {
            Ok(gone) => {
                let marker = gone.version_id.filter(|_| gone.marker).map(|id| id.to_string());
                deleted.push(DeletedObject {
                    delete_marker: gone.marker.then_some(true),
                    delete_marker_version_id: marker,
                    key: Some(key),
                    version_id: id,
                });
            }
            Err(error) => errors.push(Error {
                code: Some(error.code().as_str().to_owned()),
                key: Some(key),
                message: error.message().map(str::to_owned),
                version_id: id,
            }),
        }
    }
    let deleted = (wanted.quiet != Some(true)).then_some(deleted);
    done(DeleteObjectsOutput { deleted, errors: Some(errors), ..DeleteObjectsOutput::default() })
}

/// What a copy is made of.
pub(super) struct Source<'a> {
    pub(super) source: &'a CopySource,
    pub(super) conditions: ReadConditions,
}

impl Source<'_> {
    /// Finds the object, if the caller may read it.
    pub(super) fn find(&self, front: &Front, call: &Call) -> S3Result<Found> {
        let CopySource::Bucket { bucket, key, version_id } = self.source else {
            return Err(not_implemented("x-amz-copy-source of an access point"));
        };
        let action = if version_id.is_some() { "s3:GetObjectVersion" } else { "s3:GetObject" };
        front.check_owner(call, bucket, "GetObject")?;
        front.check_policy(call, action, &resource(call, Some(bucket), Some(key)))?;
        let version = version(version_id.as_deref())?;
        let found = front.world.buckets().get(bucket, key, version.as_ref()).map_err(|refusal| match refusal {
            Refusal::IsDeleteMarker(_) => {
                let words = "The source of a copy request may not specifically refer to a delete marker by version id.";
                S3Error::with_message(S3ErrorCode::InvalidRequest, words)
            }
            refusal => front.veiled(call, bucket, refusal),
        })?;
        self.conditions.check_source(&found.object.etag, found.modified)?;
        if found.object.attributes.is_archived() {
            let words = "Operation is not valid for the source object's storage class";
            return Err(S3Error::with_message(S3ErrorCode::InvalidObjectState, words));
        }
        Ok(found)
    }

    fn is(&self, to_bucket: &str, to_key: &str) -> bool {
        matches!(self.source, CopySource::Bucket { bucket, key, version_id: None }
            if **bucket == *to_bucket && **key == *to_key)
    }
}

/// CopyObject. The copy shares the bytes.
pub(super) async fn copy(front: &Front, request: S3Request<CopyObjectInput>) -> S3Result<S3Response<CopyObjectOutput>> {
    let (input, call) = split(request)?;
    no_customer_key(input.copy_source_sse_customer_algorithm.as_deref())?;
    let source = Source { source: &input.copy_source, conditions: source_conditions!(input) };
    let replaces = input.metadata_directive.as_ref().is_some_and(|it| it.as_str() == MetadataDirective::REPLACE);
    let said = attributes!(input);
    let found = source.find(front, &call)?;
    let changes = replaces || input.storage_class.is_some() || input.server_side_encryption.is_some();
    if !changes && source.is(&input.bucket, &input.key) {
        let words = "This copy request is illegal because it is trying to copy an object to itself without changing the \
                     object's metadata, storage class, website redirect location or encryption attributes.";
        return Err(S3Error::with_message(S3ErrorCode::InvalidRequest, words));
    }
    let mut attributes = if replaces { said.clone() } else { found.object.attributes.clone() };
    (attributes.storage_class, attributes.kms_key_id) = (said.storage_class, said.kms_key_id);
    let checksum = found.object.checksum.clone().filter(|checksum| !checksum.value.contains('-'));
    let object = digests::object(Arc::clone(&found.object.content), attributes, checksum).await?;
    let (encryption, key): (ServerSideEncryption, _) = encryption(&object.attributes);
    let sums = Sums::from(object.checksum.as_ref());
    let (buckets, now) = (front.world.buckets(), front.world.now());
    let written = buckets.put(&input.bucket, &input.key, object, &WriteCondition::Always, now)?;
    let result = CopyObjectResult {
        checksum_crc32: sums.crc32,
        checksum_crc32c: sums.crc32c,
        checksum_crc64nvme: sums.crc64nvme,
        checksum_sha1: sums.sha1,
        checksum_sha256: sums.sha256,
        checksum_type: sums.kind,
        e_tag: Some(etag(&written.etag)),
        last_modified: Some(time(written.modified)),
    };
    done(CopyObjectOutput {
        copy_object_result: Some(result),
        copy_source_version_id: found.version_id.map(|id| id.to_string()),
        ssekms_key_id: key,
        server_side_encryption: Some(encryption),
        version_id: written.version_id.map(|id| id.to_string()),
        ..CopyObjectOutput::default()
    })
}
