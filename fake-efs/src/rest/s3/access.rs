//! Who may do what to buckets: their owners, as far as the policies of the owners' principals allow it.
//!
//! Buckets have no policies and no access control lists here.

use std::sync::{Arc, Mutex, PoisonError};

use s3s::access::{S3Access, S3AccessContext};
use s3s::auth::{S3Auth, SecretKey};
use s3s::path::S3Path;
use s3s::{S3Error, S3ErrorCode, S3Result};
use serde_json::{Value, json};

use super::errors;
use crate::buckets::{Content, Refusal};
use crate::faults::Effect;
use crate::rest::Front;
use crate::rest::calls::{Subject, injected};
use crate::world::scope::Requester;

/// What goes with a request through the crate that reads and writes S3's wire format.
#[derive(Clone)]
pub(super) struct Call(Arc<Inner>);

struct Inner {
    requester: Requester,
    state: Mutex<Noted>,
}

/// What became known of a call on its way.
#[derive(Default)]
pub(super) struct Noted {
    /// An object's bytes, for who takes them.
    pub(super) content: Option<Content>,
    /// The operation and what it is about, for the journal.
    pub(super) operation: Option<(String, Value)>,
    /// The fault rule that has struck, and what it does.
    pub(super) strike: Option<(u64, Effect)>,
    /// The connection is to be ended, which the journal knows already.
    pub(super) aborted: bool,
}

impl Call {
    pub(super) fn new(requester: Requester, content: Option<Content>) -> Self {
        Self(Arc::new(Inner { requester, state: Mutex::new(Noted { content, ..Noted::default() }) }))
    }

    pub(super) fn requester(&self) -> &Requester {
        &self.0.requester
    }

    /// The bytes of the object that the request brought. They can be taken once.
    pub(super) fn take_content(&self) -> S3Result<Content> {
        self.noted(|noted| noted.content.take()).ok_or_else(|| S3Error::new(S3ErrorCode::MissingContentLength))
    }

    /// Looks at what is noted, or notes more.
    pub(super) fn noted<R>(&self, work: impl FnOnce(&mut Noted) -> R) -> R {
        work(&mut self.0.state.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Finds the call that a request belongs to.
pub(super) fn call_of(extensions: &http::Extensions) -> S3Result<Call> {
    extensions.get::<Call>().cloned().ok_or_else(|| S3Error::new(S3ErrorCode::InternalError))
}

/// Signatures have been checked, and taken off, when a request comes here; the crate asks for access only if somebody would know keys.
pub(super) struct NoKeys;

#[async_trait::async_trait]
impl S3Auth for NoKeys {
    async fn get_secret_key(&self, _: &str) -> S3Result<SecretKey> {
        Err(S3Error::new(S3ErrorCode::InvalidAccessKeyId))
    }
}

/// Asks fault rules, ownership and policies.
pub(super) struct Access(pub(super) Arc<Front>);

#[async_trait::async_trait]
impl S3Access for Access {
    async fn check(&self, context: &mut S3AccessContext<'_>) -> S3Result<()> {
        let call = call_of(context.extensions_mut())?;
        let operation = context.s3_op().name().to_owned();
        let query = context.uri().query().unwrap_or_default();
        let of_version = query.split('&').any(|pair| pair.starts_with("versionId="));
        let (arguments, bucket, key) = match context.s3_path() {
            S3Path::Root => (json!({}), None, None),
            S3Path::Bucket { bucket } => (json!({ "Bucket": bucket }), Some(bucket.to_string()), None),
            S3Path::Object { bucket, key } => {
                (json!({ "Bucket": bucket, "Key": key }), Some(bucket.to_string()), Some(key.to_string()))
            }
        };
        call.noted(|noted| noted.operation = Some((operation.clone(), arguments.clone())));
        self.strike(&call, &operation, arguments).await?;
        if let Some(bucket) = &bucket
            && operation != "CreateBucket"
        {
            self.0.check_owner(&call, bucket, &operation)?;
        }
        let resource = resource(&call, bucket.as_deref(), key.as_deref());
        match action(&operation, of_version) {
            Some(action) => self.0.check_policy(&call, action, &resource),
            None => Ok(()),
        }
    }
}

impl Access {
    /// Asks the fault rules.
    async fn strike(&self, call: &Call, operation: &str, arguments: Value) -> S3Result<()> {
        let subject = subject(call.requester(), operation, arguments);
        let strike = self.0.strike(&subject).await.map_err(|_| {
            call.noted(|noted| noted.aborted = true);
            S3Error::new(S3ErrorCode::InternalError)
        })?;
        let error = strike.as_ref().and_then(|(_, effect)| match effect {
            Effect::Throttle => Some(errors::named(503, "SlowDown", "Please reduce your request rate.".to_owned())),
            other => injected(other).map(|(status, name, message)| errors::named(status, &name, message)),
        });
        call.noted(|noted| noted.strike = strike);
        error.map_or(Ok(()), Err)
    }
}

/// A call as the journal and the fault rules see it.
pub(super) fn subject(requester: &Requester, operation: &str, arguments: Value) -> Subject {
    Subject { service: "s3", operation: operation.to_owned(), requester: requester.clone(), arguments }
}

/// The ARN of a bucket or an object.
pub(super) fn resource(call: &Call, bucket: Option<&str>, key: Option<&str>) -> String {
    let partition = call.requester().scope.partition();
    match (bucket, key) {
        (None, _) => "*".to_owned(),
        (Some(bucket), None) => format!("arn:{partition}:s3:::{bucket}"),
        (Some(bucket), Some(key)) => format!("arn:{partition}:s3:::{bucket}/{key}"),
    }
}

/// The action that an operation needs, by the service authorization reference. None for those that look at each key themselves.
fn action(operation: &str, of_version: bool) -> Option<&'static str> {
    Some(match operation {
        "ListBuckets" => "s3:ListAllMyBuckets",
        "CreateBucket" => "s3:CreateBucket",
        "DeleteBucket" => "s3:DeleteBucket",
        "HeadBucket" | "ListObjects" | "ListObjectsV2" => "s3:ListBucket",
        "ListObjectVersions" => "s3:ListBucketVersions",
        "GetBucketLocation" => "s3:GetBucketLocation",
        "GetBucketVersioning" => "s3:GetBucketVersioning",
        "PutBucketVersioning" => "s3:PutBucketVersioning",
        "GetObject" | "HeadObject" if of_version => "s3:GetObjectVersion",
        "GetObject" | "HeadObject" => "s3:GetObject",
        "DeleteObject" if of_version => "s3:DeleteObjectVersion",
        "DeleteObject" => "s3:DeleteObject",
        "PutObject"
        | "CopyObject"
        | "CreateMultipartUpload"
        | "UploadPart"
        | "UploadPartCopy"
        | "CompleteMultipartUpload" => "s3:PutObject",
        "AbortMultipartUpload" => "s3:AbortMultipartUpload",
        "ListParts" => "s3:ListMultipartUploadParts",
        "ListMultipartUploads" => "s3:ListBucketMultipartUploads",
        _ => return None,
    })
}

impl Front {
    /// Refuses who isn't of the account that has the bucket. One that doesn't exist is refused by the operation itself.
    pub(super) fn check_owner(&self, call: &Call, bucket: &str, operation: &str) -> S3Result<()> {
        let requester = call.requester();
        match self.world.buckets().info(bucket) {
            Ok(info) if info.account != requester.scope.account => {
                let action = action(operation, false).unwrap_or("s3:GetObject");
                Err(errors::denied(&requester.principal, action, &resource(call, Some(bucket), None)))
            }
            Ok(_) => Ok(()),
            Err(refusal) => Err(refusal.into()),
        }
    }

    /// Asks the caller's own policy, if it has one.
    pub(super) fn check_policy(&self, call: &Call, action: &str, resource: &str) -> S3Result<()> {
        if self.may(call, action, resource) {
            return Ok(());
        }
        Err(errors::denied(&call.requester().principal, action, resource))
    }

    fn may(&self, call: &Call, action: &str, resource: &str) -> bool {
        let principal = &call.requester().principal;
        let facts = |key: &str| match key {
            "aws:principalarn" => vec![principal.clone()],
            "aws:principalaccount" => vec![call.requester().scope.account.clone()],
            _ => Vec::new(),
        };
        self.identities.policy(principal).is_none_or(|policy| policy.allows(action, resource, &facts))
    }

    /// A refusal as its caller may see it: who may not list the bucket doesn't learn that a key is missing.
    pub(super) fn veiled(&self, call: &Call, bucket: &str, refusal: Refusal) -> S3Error {
        let action = "s3:ListBucket";
        let arn = resource(call, Some(bucket), None);
        let tells = matches!(refusal, Refusal::NoSuchKey { .. });
        if tells && !self.may(call, action, &arn) {
            return errors::denied(&call.requester().principal, action, &arn);
        }
        refusal.into()
    }
}
