//! What callers say of an object: what is kept, and what is refused because it would be ignored.

use std::collections::HashMap;

use s3s::dto::{ObjectCannedACL, ServerSideEncryption, StorageClass};
use s3s::{S3Error, S3ErrorCode, S3Result};

use super::errors::not_implemented;

/// Storage classes of general purpose buckets.
const CLASSES: [&str; 8] = [
    StorageClass::STANDARD,
    StorageClass::REDUCED_REDUNDANCY,
    StorageClass::STANDARD_IA,
    StorageClass::ONEZONE_IA,
    StorageClass::INTELLIGENT_TIERING,
    StorageClass::GLACIER,
    StorageClass::GLACIER_IR,
    StorageClass::DEEP_ARCHIVE,
];

/// The attributes in an input that has them: PutObject's, CopyObject's and CreateMultipartUpload's have the same members.
macro_rules! attributes {
    ($input:expr) => {{
        let input = &$input;
        let refused = [
            ("x-amz-tagging", input.tagging.is_some()),
            ("x-amz-website-redirect-location", input.website_redirect_location.is_some()),
            ("x-amz-object-lock-mode", input.object_lock_mode.is_some()),
            ("x-amz-object-lock-legal-hold", input.object_lock_legal_hold_status.is_some()),
            ("x-amz-server-side-encryption-customer-algorithm", input.sse_customer_algorithm.is_some()),
        ];
        $crate::rest::s3::attributes::refuse(&refused)?;
        let grants = [&input.grant_full_control, &input.grant_read, &input.grant_read_acp, &input.grant_write_acp];
        let grants = grants.iter().any(|grant| grant.is_some());
        $crate::rest::s3::attributes::check_acl(input.acl.as_ref(), grants)?;
        let kms_key_id = $crate::rest::s3::attributes::kms_key(
            input.server_side_encryption.as_ref(),
            input.ssekms_key_id.as_deref(),
        )?;
        $crate::buckets::Attributes {
            content_type: input.content_type.clone(),
            metadata: $crate::rest::s3::attributes::metadata(input.metadata.as_ref()),
            cache_control: input.cache_control.clone(),
            content_disposition: input.content_disposition.clone(),
            content_encoding: input.content_encoding.clone(),
            content_language: input.content_language.clone(),
            expires: input.expires.as_ref().and_then($crate::rest::s3::convert::moment),
            storage_class: $crate::rest::s3::attributes::storage_class(input.storage_class.as_ref())?,
            kms_key_id,
        }
    }};
}
pub(super) use attributes;

/// Refuses what is asked for and not there.
pub(super) fn refuse(asked: &[(&str, bool)]) -> S3Result<()> {
    asked.iter().find(|(_, asked)| *asked).map_or(Ok(()), |(header, _)| Err(not_implemented(header)))
}

/// Buckets have no access control lists, as new ones of S3's don't.
pub(super) fn check_acl(acl: Option<&ObjectCannedACL>, grants: bool) -> S3Result<()> {
    let owner_s = |acl: &ObjectCannedACL| {
        matches!(acl.as_str(), ObjectCannedACL::PRIVATE | ObjectCannedACL::BUCKET_OWNER_FULL_CONTROL)
    };
    if grants || acl.is_some_and(|acl| !owner_s(acl)) {
        let words = "The bucket does not allow ACLs";
        return Err(S3Error::with_message(S3ErrorCode::AccessControlListNotSupported, words));
    }
    Ok(())
}

/// The key that an object is said to be encrypted by, if it isn't S3's own.
pub(super) fn kms_key(algorithm: Option<&ServerSideEncryption>, key: Option<&str>) -> S3Result<Option<String>> {
    match (algorithm.map(ServerSideEncryption::as_str), key) {
        (None | Some(ServerSideEncryption::AES256), None) => Ok(None),
        (Some(ServerSideEncryption::AWS_KMS), key) => Ok(Some(key.unwrap_or("alias/aws/s3").to_owned())),
        (algorithm, key) => {
            let words = format!(
                "x-amz-server-side-encryption must be AES256 or aws:kms, and a key goes with the latter only: {} with {}",
                algorithm.unwrap_or("nothing"),
                key.unwrap_or("no key")
            );
            Err(S3Error::with_message(S3ErrorCode::InvalidArgument, words))
        }
    }
}

/// How an object is said to be encrypted, and by which key.
pub(super) fn encryption(attributes: &crate::buckets::Attributes) -> (ServerSideEncryption, Option<String>) {
    let algorithm = match attributes.kms_key_id {
        Some(_) => ServerSideEncryption::AWS_KMS,
        None => ServerSideEncryption::AES256,
    };
    (ServerSideEncryption::from_static(algorithm), attributes.kms_key_id.clone())
}

/// The storage class, if it isn't the usual one.
pub(super) fn storage_class(class: Option<&StorageClass>) -> S3Result<Option<String>> {
    let Some(class) = class.map(StorageClass::as_str) else { return Ok(None) };
    if !CLASSES.contains(&class) {
        let words = "The storage class you specified is not valid";
        return Err(S3Error::with_message(S3ErrorCode::InvalidStorageClass, words));
    }
    Ok((class != StorageClass::STANDARD).then(|| class.to_owned()))
}

/// User metadata, by name.
pub(super) fn metadata(metadata: Option<&HashMap<String, String>>) -> std::collections::BTreeMap<String, String> {
    metadata.into_iter().flatten().map(|(name, value)| (name.clone(), value.clone())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_would_be_ignored_is_refused() {
        let error = refuse(&[("x-a", false), ("x-b", true)]).unwrap_err();
        assert!(error.message().unwrap().contains("x-b"));
        let acl = |text: &'static str| check_acl(Some(&ObjectCannedACL::from_static(text)), false);
        assert!(acl("private").is_ok() && acl("bucket-owner-full-control").is_ok());
        assert_eq!(acl("public-read").unwrap_err().code(), &S3ErrorCode::AccessControlListNotSupported);
        assert!(check_acl(None, true).is_err());
        let sse = |text: &'static str| ServerSideEncryption::from_static(text);
        assert_eq!(kms_key(Some(&sse("AES256")), None).unwrap(), None);
        assert_eq!(kms_key(Some(&sse("aws:kms")), None).unwrap().as_deref(), Some("alias/aws/s3"));
        assert!(kms_key(None, Some("k")).is_err() && kms_key(Some(&sse("rot13")), None).is_err());
        assert!(storage_class(Some(&StorageClass::from_static("TAPE"))).is_err());
        assert_eq!(storage_class(Some(&StorageClass::from_static("STANDARD"))).unwrap(), None);
    }
}
