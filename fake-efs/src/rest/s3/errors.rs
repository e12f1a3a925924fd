//! S3's codes: of what buckets refuse, and of signatures.

use http::header::ETAG;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use s3s::{S3Error, S3ErrorCode};

use crate::buckets::Refusal;
use crate::rest::signature::SignatureError;

/// Tells of a delete marker.
pub(super) const DELETE_MARKER: HeaderName = HeaderName::from_static("x-amz-delete-marker");
/// Names a version.
pub(super) const VERSION_ID: HeaderName = HeaderName::from_static("x-amz-version-id");

/// The code of a refusal.
fn code(refusal: &Refusal) -> S3ErrorCode {
    use S3ErrorCode::*;
    match refusal {
        Refusal::NoSuchBucket => NoSuchBucket,
        Refusal::InvalidBucketName => InvalidBucketName,
        Refusal::BucketAlreadyExists => BucketAlreadyExists,
        Refusal::BucketAlreadyOwnedByYou => BucketAlreadyOwnedByYou,
        Refusal::BucketNotEmpty | Refusal::VersionsLeft => BucketNotEmpty,
        Refusal::NoSuchKey { .. } => NoSuchKey,
        Refusal::NoSuchVersion => NoSuchVersion,
        Refusal::IsDeleteMarker(_) => MethodNotAllowed,
        Refusal::InvalidVersionId | Refusal::InvalidToken => InvalidArgument,
        Refusal::KeyTooLong => KeyTooLongError,
        Refusal::PreconditionFailed(_) => PreconditionFailed,
        Refusal::NotModified { .. } => NotModified,
        Refusal::MetadataTooLarge => MetadataTooLarge,
        Refusal::Full { .. } => EntityTooLarge,
        Refusal::NoSuchUpload => NoSuchUpload,
        Refusal::InvalidPart => InvalidPart,
        Refusal::InvalidPartOrder => InvalidPartOrder,
        Refusal::PartTooSmall => EntityTooSmall,
        Refusal::NoParts => MalformedXML,
    }
}

/// What stands in the head of a refusal.
fn headers(refusal: &Refusal) -> HeaderMap {
    let mut headers = HeaderMap::new();
    let mut set = |name: HeaderName, value: &str| {
        if let Ok(value) = HeaderValue::from_str(value) {
            headers.insert(name, value);
        }
    };
    match refusal {
        Refusal::NoSuchKey { marker: Some(id) } | Refusal::IsDeleteMarker(id) => {
            set(DELETE_MARKER, "true");
            set(VERSION_ID, &id.to_string());
            if matches!(refusal, Refusal::IsDeleteMarker(_)) {
                set(http::header::ALLOW, "DELETE");
            }
        }
        Refusal::NotModified { etag } => set(ETAG, &format!("\"{etag}\"")),
        _ => {}
    }
    headers
}

impl From<Refusal> for S3Error {
    fn from(refusal: Refusal) -> Self {
        let mut error = Self::with_message(code(&refusal), refusal.to_string());
        error.set_headers(headers(&refusal));
        error
    }
}

/// The code of a refused signature.
pub(super) fn of_signature(error: &SignatureError) -> S3Error {
    use S3ErrorCode::*;
    let (code, words) = match error {
        SignatureError::Missing => (AccessDenied, "Access Denied".to_owned()),
        SignatureError::UnknownKey => {
            (InvalidAccessKeyId, "The AWS Access Key Id you provided does not exist in our records.".to_owned())
        }
        SignatureError::Expired => (ExpiredToken, "The provided token has expired.".to_owned()),
        SignatureError::Late(..) | SignatureError::Early(..) => {
            let words = "The difference between the request time and the server's time is too large.";
            (RequestTimeTooSkewed, words.to_owned())
        }
        SignatureError::Over => (AccessDenied, error.to_string()),
        SignatureError::Timeless => {
            (AccessDenied, "AWS authentication requires a valid Date or x-amz-date header".to_owned())
        }
        SignatureError::Incomplete | SignatureError::Scope => (AuthorizationHeaderMalformed, error.to_string()),
        SignatureError::Mismatch => (SignatureDoesNotMatch, error.to_string()),
    };
    S3Error::with_message(code, words)
}

/// New regions know one method of signing only.
pub(super) fn outdated_signature() -> S3Error {
    let words = "The authorization mechanism you have provided is not supported. Please use AWS4-HMAC-SHA256.";
    S3Error::with_message(S3ErrorCode::InvalidRequest, words)
}

/// An error whose code the crate may not know.
pub(super) fn named(status: u16, code: &str, message: String) -> S3Error {
    let known = S3ErrorCode::from_bytes(code.as_bytes());
    let mut error = S3Error::with_message(known.unwrap_or(S3ErrorCode::InternalError), message);
    if let Ok(status) = StatusCode::from_u16(status) {
        error.set_status_code(status);
    }
    error
}

/// Nobody may do that here.
pub(super) fn denied(principal: &str, action: &str, resource: &str) -> S3Error {
    let words = format!(
        "User: {principal} is not authorized to perform: {action} on resource: \"{resource}\" because no identity-based \
         policy allows the {action} action"
    );
    S3Error::with_message(S3ErrorCode::AccessDenied, words)
}

/// What this fake does not know, named so that nobody believes it was done.
pub(super) fn not_implemented(what: &str) -> S3Error {
    let words = format!("A header you provided implies functionality that is not implemented: {what}");
    S3Error::with_message(S3ErrorCode::NotImplemented, words)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::buckets::VersionId;

    #[test]
    fn a_refusal_has_s3_s_code_status_and_headers() {
        let error = S3Error::from(Refusal::IsDeleteMarker(VersionId::Null));
        assert_eq!(error.code().as_str(), "MethodNotAllowed");
        assert_eq!(error.status_code(), Some(StatusCode::METHOD_NOT_ALLOWED));
        let headers = error.headers().unwrap();
        assert_eq!(headers[DELETE_MARKER], "true");
        assert_eq!(headers[VERSION_ID], "null");
        let error = S3Error::from(Refusal::NotModified { etag: "a".to_owned() });
        assert_eq!(error.status_code(), Some(StatusCode::NOT_MODIFIED));
        assert_eq!(error.headers().unwrap()[ETAG], "\"a\"");
        let full = S3Error::from(Refusal::Full { wanted: 3, free: 2, most: 10 });
        assert_eq!((full.code().as_str(), full.status_code()), ("EntityTooLarge", Some(StatusCode::BAD_REQUEST)));
    }

    #[test]
    fn codes_that_nobody_knows_keep_their_names() {
        let error = named(418, "Teapot", "short".to_owned());
        assert_eq!((error.code().as_str(), error.status_code()), ("Teapot", Some(StatusCode::IM_A_TEAPOT)));
    }
}
