//! Calls about buckets.

use s3s::dto::{
    Bucket, BucketLocationConstraint, BucketVersioningStatus, CreateBucketInput, CreateBucketOutput, DeleteBucketInput,
    DeleteBucketOutput, GetBucketLocationInput, GetBucketLocationOutput, GetBucketVersioningInput,
    GetBucketVersioningOutput, HeadBucketInput, HeadBucketOutput, ListBucketsInput, ListBucketsOutput, MFADelete,
    PutBucketVersioningInput, PutBucketVersioningOutput,
};
use s3s::{S3Error, S3ErrorCode, S3Request, S3Response, S3Result};

use super::convert::{done, owner, split, time};
use super::errors::not_implemented;
use crate::buckets::{Place, Refusal, Versioning};
use crate::rest::Front;

/// The region that is none: buckets there have no location.
const FIRST_REGION: &str = "us-east-1";
/// Most buckets of a page.
const MOST_BUCKETS: usize = 10_000;

/// CreateBucket.
pub(super) fn create(front: &Front, request: S3Request<CreateBucketInput>) -> S3Result<S3Response<CreateBucketOutput>> {
    let (input, call) = split(request)?;
    if input.object_lock_enabled_for_bucket == Some(true) {
        return Err(not_implemented("x-amz-bucket-object-lock-enabled"));
    }
    let scope = &call.requester().scope;
    let wanted = input.create_bucket_configuration.and_then(|configuration| configuration.location_constraint);
    let region = region(&scope.region, wanted.as_ref().map(BucketLocationConstraint::as_str))?;
    match front.world.buckets().create(&input.bucket, &scope.account, region, front.world.now()) {
        // The oldest region answers as it always has.
        Err(Refusal::BucketAlreadyOwnedByYou) if region == FIRST_REGION => {}
        made => made?,
    }
    done(CreateBucketOutput { location: Some(format!("/{}", input.bucket)) })
}

/// The region that a bucket is made in, from the one that was asked and the one that was asked for.
fn region<'a>(asked: &'a str, wanted: Option<&'a str>) -> S3Result<&'a str> {
    let illegal = |name: &str| {
        let words = format!(
            "The {name} location constraint is incompatible for the region specific endpoint this request was sent to."
        );
        Err(S3Error::with_message(S3ErrorCode::IllegalLocationConstraintException, words))
    };
    match wanted.filter(|wanted| !wanted.is_empty()) {
        None if asked == FIRST_REGION => Ok(asked),
        None => illegal("unspecified"),
        Some(FIRST_REGION) => {
            let words = "The specified location-constraint is not valid";
            Err(S3Error::with_message(S3ErrorCode::InvalidLocationConstraint, words))
        }
        Some(wanted) if asked == FIRST_REGION || wanted == asked => Ok(wanted),
        Some(wanted) => illegal(wanted),
    }
}

/// DeleteBucket.
pub(super) fn delete(front: &Front, request: S3Request<DeleteBucketInput>) -> S3Result<S3Response<DeleteBucketOutput>> {
    front.world.buckets().delete(&request.input.bucket)?;
    done(DeleteBucketOutput::default())
}

/// HeadBucket.
pub(super) fn head(front: &Front, request: S3Request<HeadBucketInput>) -> S3Result<S3Response<HeadBucketOutput>> {
    let info = front.world.buckets().info(&request.input.bucket)?;
    done(HeadBucketOutput { bucket_region: Some(info.region), ..HeadBucketOutput::default() })
}

/// ListBuckets.
pub(super) fn list(front: &Front, request: S3Request<ListBucketsInput>) -> S3Result<S3Response<ListBucketsOutput>> {
    let (input, call) = split(request)?;
    let account = &call.requester().scope.account;
    let after = match input.continuation_token.as_deref().map(Place::from_token).transpose()? {
        Some(Place::Key(name)) => name,
        _ => String::new(),
    };
    let most = match input.max_buckets.map(usize::try_from) {
        None => MOST_BUCKETS,
        Some(Ok(most @ 1..=MOST_BUCKETS)) => most,
        Some(_) => {
            let words = "Argument max-buckets must be an integer between 1 and 10000";
            return Err(S3Error::with_message(S3ErrorCode::InvalidArgument, words));
        }
    };
    let prefix = input.prefix.as_deref().unwrap_or_default();
    let mut all = front.world.buckets().list();
    all.retain(|bucket| {
        let there = input.bucket_region.as_deref().is_none_or(|region| region == bucket.region);
        there && bucket.account == *account && bucket.name.starts_with(prefix) && bucket.name > after
    });
    let more = all.len() > most;
    all.truncate(most);
    let next = all.last().filter(|_| more).map(|last| Place::Key(last.name.clone()).to_token());
    let rows = all.into_iter().map(|bucket| Bucket {
        bucket_region: Some(bucket.region),
        creation_date: Some(time(bucket.created)),
        name: Some(bucket.name),
    });
    done(ListBucketsOutput {
        buckets: Some(rows.collect()),
        continuation_token: next,
        owner: Some(owner(account)),
        prefix: input.prefix,
    })
}

/// GetBucketLocation.
pub(super) fn location(
    front: &Front,
    request: S3Request<GetBucketLocationInput>,
) -> S3Result<S3Response<GetBucketLocationOutput>> {
    let region = front.world.buckets().info(&request.input.bucket)?.region;
    let location_constraint = (region != FIRST_REGION).then(|| BucketLocationConstraint::from(region));
    done(GetBucketLocationOutput { location_constraint })
}

/// GetBucketVersioning.
pub(super) fn versioning(
    front: &Front,
    request: S3Request<GetBucketVersioningInput>,
) -> S3Result<S3Response<GetBucketVersioningOutput>> {
    let status = match front.world.buckets().info(&request.input.bucket)?.versioning {
        Versioning::Never => None,
        Versioning::Enabled => Some(BucketVersioningStatus::ENABLED),
        Versioning::Suspended => Some(BucketVersioningStatus::SUSPENDED),
    };
    let status = status.map(BucketVersioningStatus::from_static);
    done(GetBucketVersioningOutput { status, ..GetBucketVersioningOutput::default() })
}

/// PutBucketVersioning.
pub(super) fn set_versioning(
    front: &Front,
    request: S3Request<PutBucketVersioningInput>,
) -> S3Result<S3Response<PutBucketVersioningOutput>> {
    let wanted = request.input.versioning_configuration;
    if wanted.mfa_delete.as_ref().is_some_and(|mfa| mfa.as_str() == MFADelete::ENABLED) {
        return Err(not_implemented("MfaDelete"));
    }
    let enabled = match wanted.status.as_ref().map(BucketVersioningStatus::as_str) {
        Some(BucketVersioningStatus::ENABLED) => true,
        Some(BucketVersioningStatus::SUSPENDED) => false,
        _ => {
            let words = "The XML you provided was not well-formed or did not validate against our published schema";
            return Err(S3Error::with_message(S3ErrorCode::MalformedXML, words));
        }
    };
    front.world.buckets().set_versioning(&request.input.bucket, enabled)?;
    done(PutBucketVersioningOutput {})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_oldest_region_makes_buckets_elsewhere() {
        assert_eq!(region("us-east-1", None).unwrap(), "us-east-1");
        assert_eq!(region("us-east-1", Some("eu-central-1")).unwrap(), "eu-central-1");
        assert_eq!(region("eu-central-1", Some("eu-central-1")).unwrap(), "eu-central-1");
        let code = |asked, wanted| region(asked, wanted).unwrap_err().code().clone();
        assert_eq!(code("eu-central-1", None), S3ErrorCode::IllegalLocationConstraintException);
        assert_eq!(code("eu-central-1", Some("eu-west-1")), S3ErrorCode::IllegalLocationConstraintException);
        assert_eq!(code("us-east-1", Some("us-east-1")), S3ErrorCode::InvalidLocationConstraint);
    }
}
