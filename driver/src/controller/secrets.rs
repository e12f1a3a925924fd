//! The provisioner secret: which role of another account to assume, and how nodes find the file system there.

use std::collections::HashMap;

use super::ControllerError;
use crate::cli::parse_go_bool;
use crate::efs::Role;

/// What a provisioner secret says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CrossAccount {
    /// The role to assume; none for the driver's own account.
    pub role: Option<Role>,
    /// Nodes resolve the file system's name by its zone instead of using addresses from the controller.
    pub by_dns: bool,
}

impl CrossAccount {
    /// Reads `awsRoleArn`, `externalId` and `crossaccount`; other keys are none of ours.
    ///
    /// # Errors
    /// When `crossaccount` is no boolean or the role is no ARN. Values are not repeated: they are secret.
    pub fn read(secrets: &HashMap<String, String>) -> Result<Self, ControllerError> {
        let filled = |key: &str| secrets.get(key).map(|value| value.trim()).filter(|value| !value.is_empty());
        let role = filled("awsRoleArn")
            .map(|arn| Role { arn: arn.to_owned(), external_id: filled("externalId").map(str::to_owned) });
        let by_dns = secrets.get("crossaccount").map_or(Ok(false), |value| parse_go_bool(value));
        let mut problems = Vec::new();
        if role.as_ref().is_some_and(|role| !role.arn.starts_with("arn:") || !role.arn.contains(":role/")) {
            problems.push("secret key awsRoleArn must be arn:PARTITION:iam::ACCOUNT:role/NAME");
        }
        if by_dns.is_err() {
            problems.push("secret key crossaccount must be boolean, true or false");
        }
        match by_dns {
            Ok(by_dns) if problems.is_empty() => Ok(Self { role, by_dns }),
            _ => Err(ControllerError::Secret(problems.join("; "))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(pairs: &[(&str, &str)]) -> Result<CrossAccount, ControllerError> {
        CrossAccount::read(&pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect())
    }

    #[test]
    fn the_go_drivers_keys_are_read() {
        assert_eq!(read(&[]).unwrap(), CrossAccount::default());
        let arn = "arn:aws:iam::123456789012:role/efs";
        let read = read(&[("awsRoleArn", arn), ("externalId", "x"), ("crossaccount", "True"), ("other", "y")]).unwrap();
        assert_eq!(read.role, Some(Role { arn: arn.into(), external_id: Some("x".into()) }));
        assert!(read.by_dns);
    }

    #[test]
    fn bad_secrets_are_named_without_their_value() {
        for (key, value) in [("crossaccount", "maybe-hidden"), ("awsRoleArn", "hidden")] {
            let message = read(&[(key, value)]).unwrap_err().to_string();
            assert!(message.contains(key) && !message.contains("hidden"), "{message}");
        }
        let both = read(&[("crossaccount", "maybe"), ("awsRoleArn", "x")]).unwrap_err().to_string();
        assert!(both.contains("crossaccount") && both.contains("awsRoleArn"), "all at once: {both}");
    }
}
