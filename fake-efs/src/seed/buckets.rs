//! The seed's buckets, and the objects in them.

use std::collections::BTreeMap;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde::Deserialize;

use super::SeedError;
use crate::buckets::{Attributes, Content, Object, Refusal, WriteCondition};
use crate::world::World;

/// A bucket.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SeedBucket {
    name: String,
    account: Option<String>,
    pub(super) region: Option<String>,
    versioning: Option<SeedVersioning>,
    #[serde(default)]
    objects: Vec<SeedObject>,
}

/// Whether versions are kept. A bucket that says nothing never has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum SeedVersioning {
    Enabled,
    Suspended,
}

/// An object.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct SeedObject {
    key: String,
    /// The bytes as text.
    text: Option<String>,
    /// The bytes in base64.
    base64: Option<String>,
    content_type: Option<String>,
    #[serde(default)]
    metadata: BTreeMap<String, String>,
}

/// Why a bucket of the seed can't be made.
#[derive(Debug, thiserror::Error)]
pub enum SeedBucketError {
    /// S3 would refuse it, too.
    #[error("{source} ({hint})")]
    Refused {
        /// Why.
        source: Refusal,
        /// What would do.
        hint: &'static str,
    },
    /// It is no account.
    #[error("an account has 12 digits, in quotation marks")]
    Account,
    /// It is no base64.
    #[error("not base64: {0}")]
    Base64(#[from] base64::DecodeError),
    /// Both ways to say what is in it.
    #[error("an object has `text` or `base64`, not both")]
    Both,
}

impl SeedBucketError {
    fn refused(hint: &'static str) -> impl FnOnce(Refusal) -> Self {
        move |source| Self::Refused { source, hint }
    }
}

impl SeedBucket {
    /// Makes the bucket and what is in it. `number` is its place in the seed.
    pub(super) fn plant(&self, world: &World, number: usize) -> Result<(), SeedError> {
        let at = |field: &str| {
            let field = format!("buckets[{number}].{field}");
            move |source| SeedError::Bucket { field, source }
        };
        let (home, buckets, now) = (world.home(), world.buckets(), world.now());
        let account = self.account.as_ref().unwrap_or(&home.account);
        if account.len() != 12 || !account.bytes().all(|b| b.is_ascii_digit()) {
            return Err(at("account")(SeedBucketError::Account));
        }
        let region = self.region.as_ref().unwrap_or(&home.region);
        let name = "3 to 63 lower-case letters, digits, dots and hyphens; each name once";
        let made = buckets.create(&self.name, account, region, now).map_err(SeedBucketError::refused(name));
        made.map_err(at("name"))?;
        if let Some(versioning) = self.versioning {
            let set = buckets.set_versioning(&self.name, versioning == SeedVersioning::Enabled);
            set.map_err(SeedBucketError::refused("the bucket was just made")).map_err(at("versioning"))?;
        }
        for (i, object) in self.objects.iter().enumerate() {
            let at = |field: &str| at(&format!("objects[{i}].{field}"));
            let bytes = match (&object.text, &object.base64) {
                (Some(_), Some(_)) => return Err(at("text")(SeedBucketError::Both)),
                (Some(text), None) => text.clone().into_bytes(),
                (None, Some(text)) => STANDARD.decode(text).map_err(|error| at("base64")(error.into()))?,
                (None, None) => Vec::new(),
            };
            let hint = "the limit `bucket_bytes` says how much fits";
            let room = buckets.room(bytes.len() as u64).map_err(SeedBucketError::refused(hint)).map_err(at("text"))?;
            let content = Arc::new(Content::new(Bytes::from(bytes), room));
            let attributes = Attributes {
                content_type: object.content_type.clone(),
                metadata: object.metadata.clone(),
                ..Attributes::default()
            };
            let object_made = Arc::new(Object::new(content, attributes, None));
            let made = buckets.put(&self.name, &object.key, object_made, &WriteCondition::Always, now);
            let hint = "a key has 1 to 1,024 bytes, its metadata 2 KB at most";
            let field = if matches!(made, Err(Refusal::MetadataTooLarge)) { "metadata" } else { "key" };
            made.map_err(SeedBucketError::refused(hint)).map_err(at(field))?;
        }
        Ok(())
    }
}
