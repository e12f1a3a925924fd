//! Identifiers: file systems, access points and mount targets, their ARNs, and the source of new ones.

use std::fmt;

use rand::rngs::StdRng;
use rand::{RngCore, SeedableRng};
use serde::{Deserialize, Serialize};

use super::scope::{Scope, Service};

/// Declares an identifier type with a fixed prefix followed by 8 to 40 lowercase hex digits.
macro_rules! identifier {
    ($(#[$doc:meta])* $name:ident, $prefix:literal) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// What every such id starts with.
            pub const PREFIX: &'static str = $prefix;

            /// Parses a bare id; `None` if it is malformed.
            pub fn parse(text: &str) -> Option<Self> {
                is_id(text, Self::PREFIX).then(|| Self(text.to_owned()))
            }

            /// The id as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl TryFrom<String> for $name {
            type Error = MalformedId;

            fn try_from(text: String) -> Result<Self, MalformedId> {
                Self::parse(&text).ok_or(MalformedId(text))
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> Self {
                id.0
            }
        }
    };
}

identifier!(
    /// `fs-` and 8 to 40 hex digits; new ones have 17.
    FileSystemId, "fs-"
);
identifier!(
    /// `fsap-` and 8 to 40 hex digits; new ones have 17.
    AccessPointId, "fsap-"
);
identifier!(
    /// `fsmt-` and 8 to 40 hex digits; new ones have 17.
    MountTargetId, "fsmt-"
);

/// Text that is no identifier.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not an id")]
pub struct MalformedId(String);

/// Whether `text` is `prefix` and 8 to 40 lowercase hex digits.
pub(crate) fn is_id(text: &str, prefix: &str) -> bool {
    text.strip_prefix(prefix)
        .is_some_and(|hex| (8..=40).contains(&hex.len()) && hex.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')))
}

/// What an ARN of a file system or of something that belongs to one names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Arn<'a> {
    pub(crate) service: Service,
    pub(crate) region: &'a str,
    pub(crate) account: &'a str,
    /// `file-system/fs-…`, `access-point/fsap-…` or `mount-target/fsmt-…`, split at the slash.
    pub(crate) kind: &'a str,
    pub(crate) id: &'a str,
}

impl<'a> Arn<'a> {
    /// Parses `arn:aws…:SERVICE:REGION:ACCOUNT:KIND/ID`. S3 Files names an access point's file system, too:
    /// `file-system/fs-…/access-point/fsap-…`.
    pub(crate) fn parse(text: &'a str) -> Option<Self> {
        let mut parts = text.splitn(6, ':');
        let (arn, partition, service) = (parts.next()?, parts.next()?, parts.next()?);
        let service = [Service::Efs, Service::S3Files].into_iter().find(|known| known.signing_name() == service)?;
        if arn != "arn" || !partition.starts_with("aws") {
            return None;
        }
        let (region, account) = (parts.next()?, parts.next()?);
        let resource = parts.next()?;
        let resource = match service {
            Service::Efs => resource,
            Service::S3Files => within_file_system(resource)?,
        };
        let (kind, id) = resource.split_once('/')?;
        Some(Self { service, region, account, kind, id })
    }
}

/// What the last part of an ARN of S3 Files names, its file system left out where it is something within one.
fn within_file_system(resource: &str) -> Option<&str> {
    let (kind, id) = resource.split_once('/')?;
    match id.split_once('/') {
        None => Some(resource),
        Some((file_system, inner)) => {
            (kind == "file-system" && is_id(file_system, FileSystemId::PREFIX)).then_some(inner)
        }
    }
}

/// Takes the bare id out of an id or an ARN. An ARN of another service, account or region names nothing here: `None`.
pub(crate) fn bare<'a>(text: &'a str, scope: &Scope) -> Option<&'a str> {
    if !text.starts_with("arn:") {
        return Some(text);
    }
    let arn = Arn::parse(text)?;
    let same = arn.service == scope.service && arn.region == scope.region && arn.account == scope.account;
    same.then_some(arn.id)
}

/// Source of new ids. Seeded, so that a run can be repeated.
#[derive(Debug)]
pub(crate) struct IdSource(StdRng);

impl IdSource {
    pub(crate) fn new(seed: u64) -> Self {
        Self(StdRng::seed_from_u64(seed))
    }

    /// `digits` random hex digits.
    fn hex(&mut self, digits: usize) -> String {
        let mut bytes = vec![0; digits.div_ceil(2)];
        self.0.fill_bytes(&mut bytes);
        let mut text = hex::encode(bytes);
        text.truncate(digits);
        text
    }

    pub(crate) fn file_system(&mut self) -> FileSystemId {
        FileSystemId(format!("fs-0{}", self.hex(16)))
    }

    /// A token for a request that has none.
    pub(crate) fn token(&mut self) -> String {
        self.hex(32)
    }

    pub(crate) fn access_point(&mut self) -> AccessPointId {
        AccessPointId(format!("fsap-0{}", self.hex(16)))
    }

    pub(crate) fn mount_target(&mut self) -> MountTargetId {
        MountTargetId(format!("fsmt-0{}", self.hex(16)))
    }

    pub(crate) fn network_interface(&mut self) -> String {
        format!("eni-0{}", self.hex(16))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_its_prefix_and_8_to_40_hex_digits() {
        assert!(FileSystemId::parse("fs-01234567").is_some());
        assert!(AccessPointId::parse("fsap-0123456789abcdef0").is_some());
        for bad in ["fs-0123456", "fs-0123456G", "fsap-01234567", "fs-01234567/..", "", "fs-"] {
            assert_eq!(FileSystemId::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn an_arn_stands_for_its_id_in_its_own_account_and_region_only() {
        let scope = Scope::new("123456789012", "us-east-1");
        let arn = "arn:aws:elasticfilesystem:us-east-1:123456789012:file-system/fs-01234567";
        assert_eq!(bare(arn, &scope), Some("fs-01234567"));
        assert_eq!(bare(arn, &Scope::new("123456789012", "eu-west-1")), None);
        assert_eq!(bare("fs-01234567", &scope), Some("fs-01234567"));
        let of_s3 = scope.clone().of(Service::S3Files);
        assert_eq!(bare(arn, &of_s3), None);
        let point = "arn:aws:s3files:us-east-1:123456789012:file-system/fs-01234567/access-point/fsap-01234567";
        assert_eq!(bare(point, &of_s3), Some("fsap-01234567"));
        assert_eq!(bare(point, &scope), None);
    }

    #[test]
    fn new_ids_have_17_digits_and_repeat_with_the_seed() {
        let id = IdSource::new(7).file_system();
        assert_eq!(id.as_str().len(), 20);
        assert_eq!(id, IdSource::new(7).file_system());
        assert!(FileSystemId::parse(id.as_str()).is_some());
    }
}
