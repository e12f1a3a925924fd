//! Between the crate's types and those of the buckets.

use std::time::SystemTime;

use jiff::Timestamp;
use s3s::dto::{self, ETag, ETagCondition, TimestampFormat};
use s3s::{S3Error, S3ErrorCode, S3Request, S3Response, S3Result};
use sha2::{Digest, Sha256};

use super::access::{Call, call_of};
use super::errors::not_implemented;
use crate::buckets::{Algorithm, Checksum, Etags, Refusal, VersionId, WriteCondition};

/// A request's input and the call that it belongs to.
pub(super) fn split<T>(request: S3Request<T>) -> S3Result<(T, Call)> {
    let call = call_of(&request.extensions)?;
    Ok((request.input, call))
}

/// An answer.
pub(super) fn done<T>(output: T) -> S3Result<S3Response<T>> {
    Ok(S3Response::new(output))
}

/// A time as the crate has it.
pub(super) fn time(time: Timestamp) -> dto::Timestamp {
    SystemTime::from(time).into()
}

/// A time as the fake has it, to the second; none if there is no such time.
pub(super) fn moment(time: &dto::Timestamp) -> Option<Timestamp> {
    let mut text = Vec::new();
    time.format(TimestampFormat::EpochSeconds, &mut text).ok()?;
    let text = String::from_utf8(text).ok()?;
    Timestamp::from_second(text.split('.').next()?.parse().ok()?).ok()
}

/// An ETag as the crate has it.
pub(super) fn etag(etag: &str) -> ETag {
    ETag::Strong(etag.to_owned())
}

/// The ETags that a condition means.
pub(super) fn etags(condition: ETagCondition) -> Etags {
    match condition {
        ETagCondition::Any => Etags::Any,
        ETagCondition::ETag(etag) => Etags::One(etag.into_value()),
    }
}

/// The condition of a write.
pub(super) fn write_condition(
    if_match: Option<ETagCondition>,
    if_none_match: Option<ETagCondition>,
) -> S3Result<WriteCondition> {
    match (if_match, if_none_match) {
        (None, None) => Ok(WriteCondition::Always),
        (None, Some(ETagCondition::Any)) => Ok(WriteCondition::Absent),
        (Some(ETagCondition::ETag(etag)), None) => Ok(WriteCondition::Unchanged(etag.into_value())),
        (None, Some(_)) => Err(not_implemented("If-None-Match with anything but *")),
        (Some(ETagCondition::Any), None) => Err(not_implemented("If-Match: *")),
        (Some(_), Some(_)) => Err(not_implemented("If-Match together with If-None-Match")),
    }
}

/// A version's id.
pub(super) fn version(text: Option<&str>) -> S3Result<Option<VersionId>> {
    match text {
        Some("") => Err(S3Error::with_message(S3ErrorCode::InvalidArgument, "Version id cannot be the empty string")),
        Some(text) => Ok(Some(VersionId::parse(text).ok_or(Refusal::InvalidVersionId)?)),
        None => Ok(None),
    }
}

/// The canonical user who owns what is in an account's buckets. S3's ids have 64 hexadecimal digits, too.
pub(super) fn owner(account: &str) -> dto::Owner {
    dto::Owner { display_name: None, id: Some(hex::encode(Sha256::digest(account))) }
}

/// A number of bytes. More than fits is more than a fake's memory.
pub(super) fn length(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

/// The conditions of a copy, about its source.
macro_rules! source_conditions {
    ($input:expr) => {
        $crate::buckets::ReadConditions {
            if_match: $input.copy_source_if_match.clone().map($crate::rest::s3::convert::etags),
            if_none_match: $input.copy_source_if_none_match.clone().map($crate::rest::s3::convert::etags),
            if_modified_since: $input
                .copy_source_if_modified_since
                .as_ref()
                .and_then($crate::rest::s3::convert::moment),
            if_unmodified_since: $input
                .copy_source_if_unmodified_since
                .as_ref()
                .and_then($crate::rest::s3::convert::moment),
        }
    };
}
pub(super) use source_conditions;

/// The checksums of an answer, each with a member of its own.
#[derive(Default)]
pub(super) struct Sums {
    pub(super) crc32: Option<String>,
    pub(super) crc32c: Option<String>,
    pub(super) crc64nvme: Option<String>,
    pub(super) sha1: Option<String>,
    pub(super) sha256: Option<String>,
    pub(super) kind: Option<dto::ChecksumType>,
}

impl From<Option<&Checksum>> for Sums {
    fn from(checksum: Option<&Checksum>) -> Self {
        let Some(checksum) = checksum else { return Self::default() };
        let of = |algorithm| (checksum.algorithm == algorithm).then(|| checksum.value.clone());
        // A checksum of checksums has the number of parts behind it.
        let kind =
            if checksum.value.contains('-') { dto::ChecksumType::COMPOSITE } else { dto::ChecksumType::FULL_OBJECT };
        Self {
            crc32: of(Algorithm::Crc32),
            crc32c: of(Algorithm::Crc32c),
            crc64nvme: of(Algorithm::Crc64Nvme),
            sha1: of(Algorithm::Sha1),
            sha256: of(Algorithm::Sha256),
            kind: Some(dto::ChecksumType::from_static(kind)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_go_there_and_back_to_the_second() {
        let now: Timestamp = "2026-12-03T07:20:30.5Z".parse().unwrap();
        assert_eq!(moment(&time(now)), Some("2026-12-03T07:20:30Z".parse().unwrap()));
    }

    #[test]
    fn writes_know_two_conditions() {
        let one = || Some(ETagCondition::ETag(etag("a")));
        assert_eq!(write_condition(one(), None).unwrap(), WriteCondition::Unchanged("a".to_owned()));
        assert_eq!(write_condition(None, Some(ETagCondition::Any)).unwrap(), WriteCondition::Absent);
        for (if_match, if_none_match) in
            [(None, one()), (Some(ETagCondition::Any), None), (one(), Some(ETagCondition::Any))]
        {
            assert_eq!(write_condition(if_match, if_none_match).unwrap_err().code(), &S3ErrorCode::NotImplemented);
        }
    }
}
