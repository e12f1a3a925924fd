//! Calls about objects that come in parts.

use std::ops::Range as Span;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use s3s::dto::{
    AbortMultipartUploadInput, AbortMultipartUploadOutput, ChecksumAlgorithm, ChecksumType,
    CompleteMultipartUploadInput, CompleteMultipartUploadOutput, CopyPartResult, CreateMultipartUploadInput,
    CreateMultipartUploadOutput, Initiator, ListMultipartUploadsInput, ListMultipartUploadsOutput, ListPartsInput,
    ListPartsOutput, MultipartUpload, Part as PartEntry, Range, StorageClass, UploadPartCopyInput,
    UploadPartCopyOutput, UploadPartInput, UploadPartOutput,
};
use s3s::{S3Error, S3ErrorCode, S3Request, S3Response, S3Result};

use super::attributes::{attributes, encryption};
use super::convert::{Sums, done, etag, length, owner, source_conditions, split, time, write_condition};
use super::objects::Source;
use super::{digests, listings};
use crate::buckets::{Algorithm, Assembled, Checksum, Chosen, Content, Intent, MOST_PARTS, Object, Part, PartsPage};
use crate::rest::Front;

/// CreateMultipartUpload.
pub(super) fn begin(
    front: &Front,
    request: S3Request<CreateMultipartUploadInput>,
) -> S3Result<S3Response<CreateMultipartUploadOutput>> {
    let (input, _) = split(request)?;
    let attributes = attributes!(input);
    let algorithm = input.checksum_algorithm.as_ref().map(ChecksumAlgorithm::as_str);
    let kind = input.checksum_type.as_ref().map(ChecksumType::as_str);
    let kind = checksum_type(algorithm, kind)?;
    let (encryption, key) = encryption(&attributes);
    let intent =
        Intent { attributes, checksum_algorithm: algorithm.map(str::to_owned), checksum_type: kind.map(str::to_owned) };
    let id = front.world.buckets().begin_upload(&input.bucket, &input.key, intent, front.world.now())?;
    done(CreateMultipartUploadOutput {
        bucket: Some(input.bucket),
        checksum_algorithm: input.checksum_algorithm,
        checksum_type: kind.map(|kind| ChecksumType::from(kind.to_owned())),
        key: Some(input.key),
        ssekms_key_id: key,
        server_side_encryption: Some(encryption),
        upload_id: Some(id),
        ..CreateMultipartUploadOutput::default()
    })
}

/// What kind of checksum an object in parts gets: each algorithm has its own, and some have both.
fn checksum_type<'a>(algorithm: Option<&str>, kind: Option<&'a str>) -> S3Result<Option<&'a str>> {
    let Some(algorithm) = algorithm else { return Ok(None) };
    let known = digests::algorithm(algorithm);
    let (composite, full) = match known {
        Some(Algorithm::Crc64Nvme) => (false, true),
        Some(Algorithm::Sha1 | Algorithm::Sha256) => (true, false),
        Some(Algorithm::Crc32 | Algorithm::Crc32c) => (true, true),
        None => (false, false),
    };
    match kind {
        None if composite => Ok(Some(ChecksumType::COMPOSITE)),
        None if full => Ok(Some(ChecksumType::FULL_OBJECT)),
        Some(ChecksumType::COMPOSITE) if composite => Ok(kind),
        Some(ChecksumType::FULL_OBJECT) if full => Ok(kind),
        _ => {
            let words = format!(
                "The {} checksum type cannot be used with the {algorithm} checksum algorithm.",
                kind.unwrap_or("")
            );
            Err(S3Error::with_message(S3ErrorCode::InvalidRequest, words))
        }
    }
}

fn number(number: i32) -> S3Result<u32> {
    u32::try_from(number).ok().filter(|number| (1..=MOST_PARTS).contains(number)).ok_or_else(|| {
        let words = "Part number must be an integer between 1 and 10000, inclusive";
        S3Error::with_message(S3ErrorCode::InvalidArgument, words)
    })
}

/// UploadPart.
pub(super) async fn put(front: &Front, request: S3Request<UploadPartInput>) -> S3Result<S3Response<UploadPartOutput>> {
    let (input, call) = split(request)?;
    let number = number(input.part_number)?;
    let claims = digests::Claims::new(input.content_md5.as_deref(), digests::given!(input));
    let (content, checksum) = claims.check(call.take_content()?).await?;
    let md5 = digests::md5(&content).await?;
    let sums = Sums::from(checksum.as_ref());
    let part = Part { content, etag: md5.clone(), checksum, modified: front.world.now() };
    front.world.buckets().put_part(&input.bucket, &input.key, &input.upload_id, number, part)?;
    done(UploadPartOutput {
        checksum_crc32: sums.crc32,
        checksum_crc32c: sums.crc32c,
        checksum_crc64nvme: sums.crc64nvme,
        checksum_sha1: sums.sha1,
        checksum_sha256: sums.sha256,
        e_tag: Some(etag(&md5)),
        ..UploadPartOutput::default()
    })
}

/// UploadPartCopy. The part shares the bytes of its source.
pub(super) async fn copy(
    front: &Front,
    request: S3Request<UploadPartCopyInput>,
) -> S3Result<S3Response<UploadPartCopyOutput>> {
    let (input, call) = split(request)?;
    let number = number(input.part_number)?;
    let source = Source { source: &input.copy_source, conditions: source_conditions!(input) };
    let found = source.find(front, &call)?;
    let size = found.object.content.size();
    let span = input.copy_source_range.as_deref().map_or(Ok(0..size), |range| copied(range, size))?;
    let content = Arc::new(found.object.content.part(span));
    let md5 = digests::md5(&content).await?;
    let now = front.world.now();
    let part = Part { content, etag: md5.clone(), checksum: None, modified: now };
    front.world.buckets().put_part(&input.bucket, &input.key, &input.upload_id, number, part)?;
    let result =
        CopyPartResult { e_tag: Some(etag(&md5)), last_modified: Some(time(now)), ..CopyPartResult::default() };
    done(UploadPartCopyOutput {
        copy_part_result: Some(result),
        copy_source_version_id: found.version_id.map(|id| id.to_string()),
        ..UploadPartCopyOutput::default()
    })
}

/// The bytes that a part is copied from. Unlike a read's, such a range has both ends, within the object.
fn copied(text: &str, size: u64) -> S3Result<Span<u64>> {
    match Range::parse(text) {
        Ok(Range::Int { first, last: Some(last) }) if last < size => Ok(first..last + 1),
        _ => {
            let words = format!("Range specified is not valid for source object of size: {size}");
            Err(S3Error::with_message(S3ErrorCode::InvalidArgument, words))
        }
    }
}

/// CompleteMultipartUpload.
pub(super) async fn complete(
    front: &Front,
    request: S3Request<CompleteMultipartUploadInput>,
) -> S3Result<S3Response<CompleteMultipartUploadOutput>> {
    let (input, _) = split(request)?;
    let condition = write_condition(input.if_match.clone(), input.if_none_match.clone())?;
    let chosen = input.multipart_upload.unwrap_or_default().parts.unwrap_or_default().into_iter().map(|part| {
        let etag = part.e_tag.map(|etag| etag.into_value()).unwrap_or_default();
        Ok(Chosen { number: number(part.part_number.unwrap_or(0))?, etag })
    });
    let chosen: Vec<Chosen> = chosen.collect::<S3Result<_>>()?;
    let buckets = front.world.buckets();
    let assembled = buckets.assemble(&input.bucket, &input.key, &input.upload_id, &chosen)?;
    let content = Arc::new(Content::joined(assembled.parts.iter().map(|part| &*part.content)));
    if input.mpu_object_size.is_some_and(|size| u64::try_from(size) != Ok(content.size())) {
        let words = "The provided 'x-amz-mp-object-size' header does not match what was computed.";
        return Err(S3Error::with_message(S3ErrorCode::InvalidRequest, words));
    }
    let checksum = checksum_of(&assembled, &content).await?;
    let object = Arc::new(Object {
        parts: assembled.parts.iter().map(|part| part.content.size()).collect(),
        content,
        etag: assembled.etag,
        attributes: assembled.intent.attributes.clone(),
        checksum,
    });
    let (encryption, key) = encryption(&object.attributes);
    let sums = Sums::from(object.checksum.as_ref());
    let now = front.world.now();
    let written = buckets.complete_upload(&input.bucket, &input.key, &input.upload_id, object, &condition, now)?;
    done(CompleteMultipartUploadOutput {
        location: Some(format!("/{}/{}", input.bucket, input.key)),
        bucket: Some(input.bucket),
        checksum_crc32: sums.crc32,
        checksum_crc32c: sums.crc32c,
        checksum_crc64nvme: sums.crc64nvme,
        checksum_sha1: sums.sha1,
        checksum_sha256: sums.sha256,
        checksum_type: sums.kind,
        e_tag: Some(etag(&written.etag)),
        key: Some(input.key),
        ssekms_key_id: key,
        server_side_encryption: Some(encryption),
        version_id: written.version_id.map(|id| id.to_string()),
        ..CompleteMultipartUploadOutput::default()
    })
}

/// The checksum of the whole, if one was announced: of all bytes, or of the parts' checksums with their number.
async fn checksum_of(assembled: &Assembled, content: &Arc<Content>) -> S3Result<Option<Checksum>> {
    let Some(algorithm) = assembled.intent.checksum_algorithm.as_deref().and_then(digests::algorithm) else {
        return Ok(None);
    };
    if assembled.intent.checksum_type.as_deref() == Some(ChecksumType::FULL_OBJECT) {
        let value = digests::checksum_of(algorithm, Arc::clone(content)).await?;
        return Ok(Some(Checksum { algorithm, value }));
    }
    let sums = assembled.parts.iter().map(|part| {
        let sum = part.checksum.as_ref().filter(|sum| sum.algorithm == algorithm)?;
        STANDARD.decode(&sum.value).ok()
    });
    // A part without one has none that could be put together.
    let Some(sums) = sums.collect::<Option<Vec<_>>>() else { return Ok(None) };
    let value = digests::checksum_of_bytes(algorithm, &sums.concat());
    Ok(Some(Checksum { algorithm, value: format!("{value}-{}", sums.len()) }))
}

/// AbortMultipartUpload.
pub(super) fn abort(
    front: &Front,
    request: S3Request<AbortMultipartUploadInput>,
) -> S3Result<S3Response<AbortMultipartUploadOutput>> {
    let input = request.input;
    front.world.buckets().abort_upload(&input.bucket, &input.key, &input.upload_id)?;
    done(AbortMultipartUploadOutput::default())
}

/// ListParts.
pub(super) fn parts(front: &Front, request: S3Request<ListPartsInput>) -> S3Result<S3Response<ListPartsOutput>> {
    let (input, call) = split(request)?;
    let most = listings::most(input.max_parts)?;
    let marker = u32::try_from(input.part_number_marker.unwrap_or(0)).unwrap_or(0);
    let PartsPage { intent, rows, more } =
        front.world.buckets().parts(&input.bucket, &input.key, &input.upload_id, marker, most)?;
    let next = rows.last().filter(|_| more).map(|(number, _)| *number);
    let rows = rows.into_iter().map(|(number, part)| {
        let sums = Sums::from(part.checksum.as_ref());
        PartEntry {
            checksum_crc32: sums.crc32,
            checksum_crc32c: sums.crc32c,
            checksum_crc64nvme: sums.crc64nvme,
            checksum_sha1: sums.sha1,
            checksum_sha256: sums.sha256,
            e_tag: Some(etag(&part.etag)),
            last_modified: Some(time(part.modified)),
            part_number: i32::try_from(number).ok(),
            size: Some(length(part.content.size())),
        }
    });
    let account = &call.requester().scope.account;
    done(ListPartsOutput {
        bucket: Some(input.bucket),
        checksum_algorithm: intent.checksum_algorithm.clone().map(ChecksumAlgorithm::from),
        checksum_type: intent.checksum_type.clone().map(ChecksumType::from),
        initiator: Some(initiator(&call.requester().principal)),
        is_truncated: Some(more),
        key: Some(input.key),
        max_parts: Some(listings::count(most)),
        next_part_number_marker: next.and_then(|next| i32::try_from(next).ok()),
        owner: Some(owner(account)),
        part_number_marker: Some(input.part_number_marker.unwrap_or(0)),
        parts: Some(rows.collect()),
        storage_class: Some(class(&intent)),
        upload_id: Some(input.upload_id),
        ..ListPartsOutput::default()
    })
}

fn initiator(principal: &str) -> Initiator {
    Initiator { display_name: None, id: Some(principal.to_owned()) }
}

fn class(intent: &Intent) -> StorageClass {
    StorageClass::from(intent.attributes.storage_class.as_deref().unwrap_or(StorageClass::STANDARD).to_owned())
}

/// ListMultipartUploads.
pub(super) fn list(
    front: &Front,
    request: S3Request<ListMultipartUploadsInput>,
) -> S3Result<S3Response<ListMultipartUploadsOutput>> {
    let (input, call) = split(request)?;
    if input.delimiter.as_ref().is_some_and(|delimiter| !delimiter.is_empty()) {
        return Err(super::errors::not_implemented("delimiter of ListMultipartUploads"));
    }
    let encoding = listings::Encoding::of(input.encoding_type.as_ref())?;
    let most = listings::most(input.max_uploads)?;
    let prefix = input.prefix.clone().unwrap_or_default();
    let key = input.key_marker.clone().filter(|key| !key.is_empty());
    // A key alone means behind all of its uploads, whose names are letters and digits.
    let after = key.map(|key| {
        let id = input.upload_id_marker.clone().filter(|id| !id.is_empty());
        (key, id.unwrap_or_else(|| char::MAX.to_string()))
    });
    let (rows, more) = front.world.buckets().uploads(&input.bucket, &prefix, after, most)?;
    let last = rows.last().filter(|_| more);
    let next_key_marker = last.map(|row| encoding.write(&row.key));
    let next_upload_id_marker = last.map(|row| row.id.clone());
    let owner = owner(&call.requester().scope.account);
    let rows = rows.into_iter().map(|row| MultipartUpload {
        checksum_algorithm: row.intent.checksum_algorithm.clone().map(ChecksumAlgorithm::from),
        checksum_type: row.intent.checksum_type.clone().map(ChecksumType::from),
        initiated: Some(time(row.begun)),
        initiator: Some(initiator(&call.requester().principal)),
        key: Some(encoding.write(&row.key)),
        owner: Some(owner.clone()),
        storage_class: Some(class(&row.intent)),
        upload_id: Some(row.id),
    });
    done(ListMultipartUploadsOutput {
        uploads: Some(rows.collect()),
        bucket: Some(input.bucket),
        encoding_type: encoding.told(),
        is_truncated: Some(more),
        key_marker: Some(encoding.write(input.key_marker.as_deref().unwrap_or_default())),
        max_uploads: Some(listings::count(most)),
        next_key_marker,
        next_upload_id_marker,
        prefix: Some(encoding.write(&prefix)),
        upload_id_marker: Some(input.upload_id_marker.unwrap_or_default()),
        ..ListMultipartUploadsOutput::default()
    })
}
