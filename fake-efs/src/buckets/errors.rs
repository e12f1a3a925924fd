//! Why S3 refuses a call, in S3's own words.

use super::version::VersionId;

/// Result of what is done to buckets.
pub type Result<T> = std::result::Result<T, Refusal>;

/// A refusal. Its code stands in the one table of the door: `rest/s3/errors.rs`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// No such bucket.
    #[error("The specified bucket does not exist")]
    NoSuchBucket,
    /// The name breaks S3's rules.
    #[error("The specified bucket is not valid.")]
    InvalidBucketName,
    /// Another account has a bucket of this name: names are there once for all accounts.
    #[error(
        "The requested bucket name is not available. The bucket namespace is shared by all users of the system. Please \
         select a different name and try again."
    )]
    BucketAlreadyExists,
    /// The caller made it before.
    #[error("Your previous request to create the named bucket succeeded and you already own it.")]
    BucketAlreadyOwnedByYou,
    /// It has objects.
    #[error("The bucket you tried to delete is not empty")]
    BucketNotEmpty,
    /// It has versions or delete markers.
    #[error("The bucket you tried to delete is not empty. You must delete all versions in the bucket.")]
    VersionsLeft,
    /// No such object, or its latest version is a delete marker.
    #[error("The specified key does not exist.")]
    NoSuchKey {
        /// The delete marker that hides it.
        marker: Option<VersionId>,
    },
    /// No such version.
    #[error("The specified version does not exist.")]
    NoSuchVersion,
    /// The version that was named is a delete marker.
    #[error("The specified method is not allowed against this resource.")]
    IsDeleteMarker(VersionId),
    /// The text can't be a version's id.
    #[error("Invalid version id specified")]
    InvalidVersionId,
    /// A key has 1 to 1,024 bytes.
    #[error("Your key is too long")]
    KeyTooLong,
    /// A condition does not hold.
    #[error("At least one of the pre-conditions you specified did not hold")]
    PreconditionFailed(Condition),
    /// The caller has it already.
    #[error("Not Modified")]
    NotModified {
        /// Its ETag, which stands in the answer.
        etag: String,
    },
    /// User metadata may take 2 KB.
    #[error("Your metadata headers exceed the maximum allowed metadata size.")]
    MetadataTooLarge,
    /// More than this fake keeps.
    #[error(
        "Your proposed upload exceeds the maximum allowed size: this fake keeps at most {most} bytes in buckets (the \
         limit `bucket_bytes`), of which {free} are free, and {wanted} more were asked for."
    )]
    Full {
        /// Asked for.
        wanted: u64,
        /// Left.
        free: u64,
        /// The limit.
        most: u64,
    },
    /// No such upload, or it is completed or aborted.
    #[error(
        "The specified upload does not exist. The upload ID may be invalid, or the upload may have been aborted or \
         completed."
    )]
    NoSuchUpload,
    /// A part isn't there, or is another one.
    #[error(
        "One or more of the specified parts could not be found. The part may not have been uploaded, or the specified \
         entity tag may not match the part's entity tag."
    )]
    InvalidPart,
    /// The parts are to be named in order.
    #[error("The list of parts was not in ascending order. The parts list must be specified in order by part number.")]
    InvalidPartOrder,
    /// A part that isn't the last has less than 5 MiB.
    #[error("Your proposed upload is smaller than the minimum allowed size")]
    PartTooSmall,
    /// An object has a part at least.
    #[error("You must specify at least one part")]
    NoParts,
    /// A token of a listing that this fake has not given.
    #[error("The continuation token provided is incorrect")]
    InvalidToken,
}

/// The condition of a request, as S3 names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Condition {
    /// The header If-Match.
    IfMatch,
    /// The header If-None-Match.
    IfNoneMatch,
    /// The header If-Unmodified-Since.
    IfUnmodifiedSince,
    /// The header If-Modified-Since, of the source of a copy.
    IfModifiedSince,
}

impl Condition {
    /// The header's name.
    pub fn header(self) -> &'static str {
        match self {
            Self::IfMatch => "If-Match",
            Self::IfNoneMatch => "If-None-Match",
            Self::IfUnmodifiedSince => "If-Unmodified-Since",
            Self::IfModifiedSince => "If-Modified-Since",
        }
    }
}
