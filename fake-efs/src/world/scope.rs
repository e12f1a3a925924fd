//! Who asks, and in which account and region.

use serde::{Deserialize, Serialize};

/// Whose file systems they are: each service has its own API, and sees nothing of the other's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Service {
    /// Amazon EFS.
    #[default]
    #[serde(rename = "efs")]
    Efs,
    /// Amazon S3 Files: buckets as file systems.
    #[serde(rename = "s3files")]
    S3Files,
}

impl Service {
    /// As it stands in signatures, ARNs and the actions of policies.
    pub fn signing_name(self) -> &'static str {
        match self {
            Self::Efs => "elasticfilesystem",
            Self::S3Files => "s3files",
        }
    }

    /// An action as policies write it, e.g. `elasticfilesystem:ClientMount`.
    pub(crate) fn action(self, name: &str) -> String {
        format!("{}:{name}", self.signing_name())
    }

    /// As it stands in the journal and in fault rules.
    pub fn name(self) -> &'static str {
        match self {
            Self::Efs => "efs",
            Self::S3Files => "s3files",
        }
    }

    fn is_efs(&self) -> bool {
        *self == Self::Efs
    }
}

/// An account in a region, as one service knows it: the name space of ids, tokens and limits.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Scope {
    /// 12 digits.
    pub account: String,
    /// For example `us-east-1`.
    pub region: String,
    /// Whose resources are meant.
    #[serde(default, skip_serializing_if = "Service::is_efs")]
    pub service: Service,
}

impl Scope {
    /// Names an account in a region, as EFS knows it.
    pub fn new(account: impl Into<String>, region: impl Into<String>) -> Self {
        Self { account: account.into(), region: region.into(), service: Service::Efs }
    }

    /// The same account and region, as another service knows them.
    #[must_use]
    pub fn of(self, service: Service) -> Self {
        Self { service, ..self }
    }

    /// The ARN of one of the service's resources, `kind` being `file-system`, `access-point` or `mount-target`.
    pub fn arn(&self, kind: &str, id: &str) -> String {
        let Self { account, region, service } = self;
        format!("arn:{}:{}:{region}:{account}:{kind}/{id}", self.partition(), service.signing_name())
    }

    /// The partition that the region belongs to, as it stands in ARNs.
    pub fn partition(&self) -> &'static str {
        partition(&self.region)
    }
}

/// The partition of a region, as it stands in ARNs.
pub fn partition(region: &str) -> &'static str {
    match region.split('-').next() {
        Some("cn") => "aws-cn",
        Some("eusc") => "aws-eusc",
        _ if region.starts_with("us-gov-") => "aws-us-gov",
        _ if region.starts_with("us-isob-") => "aws-iso-b",
        _ if region.starts_with("us-isof-") => "aws-iso-f",
        _ if region.starts_with("us-iso-") => "aws-iso",
        _ if region.starts_with("eu-isoe-") => "aws-iso-e",
        _ => "aws",
    }
}

/// The caller of an API operation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Requester {
    /// Account and region that the call is about.
    pub scope: Scope,
    /// ARN of the principal.
    pub principal: String,
    /// The access key that signed, if the request was signed.
    pub access_key_id: Option<String>,
}

impl Requester {
    /// The account's root user, as whom unsigned calls run.
    pub fn root(scope: Scope) -> Self {
        let principal = format!("arn:{}:iam::{}:root", scope.partition(), scope.account);
        Self { scope, principal, access_key_id: None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arns_carry_the_partition_of_their_region() {
        assert_eq!(
            Scope::new("123456789012", "cn-north-1").arn("file-system", "fs-01234567"),
            "arn:aws-cn:elasticfilesystem:cn-north-1:123456789012:file-system/fs-01234567"
        );
        assert_eq!(partition("us-gov-west-1"), "aws-us-gov");
        assert_eq!(partition("eu-central-1"), "aws");
    }
}
