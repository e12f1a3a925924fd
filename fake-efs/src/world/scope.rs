//! Who asks, and in which account and region.

use serde::{Deserialize, Serialize};

/// An account in a region: the name space of ids, tokens and limits.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Scope {
    /// 12 digits.
    pub account: String,
    /// For example `us-east-1`.
    pub region: String,
}

impl Scope {
    /// Names an account in a region.
    pub fn new(account: impl Into<String>, region: impl Into<String>) -> Self {
        Self { account: account.into(), region: region.into() }
    }

    /// The ARN of one of the service's resources, `kind` being `file-system`, `access-point` or `mount-target`.
    pub fn arn(&self, kind: &str, id: &str) -> String {
        format!("arn:{}:elasticfilesystem:{}:{}:{kind}/{id}", self.partition(), self.region, self.account)
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
