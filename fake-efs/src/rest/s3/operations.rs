//! Which operation is done where. Those that aren't here are answered with NotImplemented by the crate.

use std::sync::Arc;

use s3s::dto::*;
use s3s::{S3, S3Request, S3Response, S3Result};

use super::{buckets, listings, objects, uploads};
use crate::rest::Front;

/// What there is to call: S3's operations on the fake's buckets.
pub(super) struct Operations(pub(super) Arc<Front>);

/// Declares operations, each with its input, its output and the function that does it.
macro_rules! operations {
    ($($name:ident $input:ident $output:ident $function:path $(, $wait:ident)?;)*) => {
        /// Whether there is an operation of this name.
        pub(in crate::rest) fn is_operation(name: &str) -> bool {
            // Inputs are called after their operations.
            const INPUTS: &[&str] = &[$(stringify!($input)),*];
            INPUTS.iter().any(|input| input.strip_suffix("Input") == Some(name))
        }

        #[async_trait::async_trait]
        impl S3 for Operations {
            $(async fn $name(&self, request: S3Request<$input>) -> S3Result<S3Response<$output>> {
                $function(&self.0, request) $(.$wait)?
            })*
        }
    };
}

operations! {
    create_bucket CreateBucketInput CreateBucketOutput buckets::create;
    delete_bucket DeleteBucketInput DeleteBucketOutput buckets::delete;
    head_bucket HeadBucketInput HeadBucketOutput buckets::head;
    list_buckets ListBucketsInput ListBucketsOutput buckets::list;
    get_bucket_location GetBucketLocationInput GetBucketLocationOutput buckets::location;
    get_bucket_versioning GetBucketVersioningInput GetBucketVersioningOutput buckets::versioning;
    put_bucket_versioning PutBucketVersioningInput PutBucketVersioningOutput buckets::set_versioning;
    put_object PutObjectInput PutObjectOutput objects::put, await;
    get_object GetObjectInput GetObjectOutput objects::get;
    head_object HeadObjectInput HeadObjectOutput objects::head;
    copy_object CopyObjectInput CopyObjectOutput objects::copy, await;
    delete_object DeleteObjectInput DeleteObjectOutput objects::delete;
    delete_objects DeleteObjectsInput DeleteObjectsOutput objects::delete_many;
    list_objects ListObjectsInput ListObjectsOutput listings::older;
    list_objects_v2 ListObjectsV2Input ListObjectsV2Output listings::second;
    create_multipart_upload CreateMultipartUploadInput CreateMultipartUploadOutput uploads::begin;
    upload_part UploadPartInput UploadPartOutput uploads::put, await;
    upload_part_copy UploadPartCopyInput UploadPartCopyOutput uploads::copy, await;
    complete_multipart_upload CompleteMultipartUploadInput CompleteMultipartUploadOutput uploads::complete, await;
    abort_multipart_upload AbortMultipartUploadInput AbortMultipartUploadOutput uploads::abort;
    list_parts ListPartsInput ListPartsOutput uploads::parts;
    list_multipart_uploads ListMultipartUploadsInput ListMultipartUploadsOutput uploads::list;
    list_object_versions ListObjectVersionsInput ListObjectVersionsOutput listings::versions;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operations_are_known_by_their_names() {
        assert!(is_operation("PutObject") && is_operation("ListObjectsV2"));
        assert!(!is_operation("PutObjectInput") && !is_operation("put_object") && !is_operation(""));
    }
}
