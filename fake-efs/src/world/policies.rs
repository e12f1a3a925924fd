//! What is put on a file system: its policy, its backup policy and its lifecycle rules; and an account's preferences.

use serde::Deserialize;

use super::errors::{EfsError, ErrorName, Result};
use super::lifecycle::Timer;
use super::model::{BackupStatus, LifecyclePolicy, PerformanceMode, ResourceIdType, ThroughputMode};
use super::policy::{Policy, Question};
use super::scope::Requester;
use super::{Entity, World};

/// Input of PutFileSystemPolicy.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct PutFileSystemPolicy {
    /// Id or ARN.
    pub file_system_id: String,
    /// JSON text, up to 20,000 characters.
    pub policy: String,
    /// Whether the caller may lock itself out.
    #[serde(default)]
    pub bypass_policy_lockout_safety_check: bool,
}

/// Input of PutLifecycleConfiguration.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct PutLifecycleConfiguration {
    /// Id or ARN.
    pub file_system_id: String,
    /// At most three.
    pub lifecycle_policies: Vec<LifecyclePolicy>,
}

/// Input of PutBackupPolicy.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct PutBackupPolicy {
    /// Id or ARN.
    pub file_system_id: String,
    /// The new policy.
    pub backup_policy: BackupPolicy,
}

/// A backup policy.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct BackupPolicy {
    /// On or off.
    pub status: BackupStatus,
}

/// Days of a rule like `AFTER_30_DAYS`.
fn days(rule: &str) -> Option<u32> {
    rule.split('_').nth(1)?.parse().ok()
}

/// Checks lifecycle rules among each other.
fn check_lifecycle(rules: &[LifecyclePolicy], elastic_general_purpose: bool) -> Result<()> {
    let malformed = |why: &str| {
        Err(EfsError::bad_request(format!("One or more LifecyclePolicy objects specified are malformed. {why}")))
    };
    let (mut to_ia, mut to_archive, mut back) = (None, None, None);
    for rule in rules {
        let set = [&rule.transition_to_ia, &rule.transition_to_archive, &rule.transition_to_primary_storage_class];
        if set.iter().filter(|t| t.is_some()).count() != 1 {
            return malformed("Each object must have exactly one transition.");
        }
        for (seen, transition) in [&mut to_ia, &mut to_archive, &mut back].into_iter().zip(set) {
            if transition.is_some() && seen.replace(transition.clone()).is_some() {
                return malformed("A transition is given more than once.");
            }
        }
    }
    let days_of = |rule: Option<Option<String>>| rule.flatten().as_deref().and_then(days);
    if let (Some(ia), Some(archive)) = (days_of(to_ia), days_of(to_archive.clone()))
        && archive <= ia
    {
        return malformed("TransitionToArchive must be later than TransitionToIA.");
    }
    if to_archive.is_some() && !elastic_general_purpose {
        return Err(EfsError::bad_request(
            "The Archive storage class needs the elastic throughput mode and the generalPurpose performance mode.",
        ));
    }
    Ok(())
}

impl World {
    /// PutFileSystemPolicy: the policy as it was put.
    pub fn put_file_system_policy(&self, requester: &Requester, input: PutFileSystemPolicy) -> Result<String> {
        self.step(|state, _| {
            let fs = state.available_file_system(requester, &input.file_system_id)?;
            let id = fs.id.clone();
            let policy = Policy::parse(&input.policy, fs.scope.service)?;
            let arn = fs.arn();
            let question = Question {
                service: fs.scope.service,
                principal: Some(&requester.principal),
                file_system: &arn,
                access_point: None,
                secure: true,
                source: None,
            };
            if policy.locks_out(&question) && !input.bypass_policy_lockout_safety_check {
                return Err(EfsError::new(
                    ErrorName::InvalidPolicyException,
                    "The policy would prevent its author from replacing it. Set BypassPolicyLockoutSafetyCheck if that \
                     is intended.",
                ));
            }
            state.change_file_system(&id, |fs| fs.policy = Some(input.policy.clone()));
            Ok(input.policy)
        })
    }

    /// DescribeFileSystemPolicy.
    pub fn describe_file_system_policy(&self, requester: &Requester, text: &str) -> Result<String> {
        self.step(|state, _| {
            let fs = state.file_system(requester, text)?;
            fs.policy.clone().ok_or_else(|| {
                EfsError::new(ErrorName::PolicyNotFound, format!("No policy exists for file system '{}'.", fs.id))
            })
        })
    }

    /// DeleteFileSystemPolicy: back to the default policy.
    pub fn delete_file_system_policy(&self, requester: &Requester, text: &str) -> Result<()> {
        self.step(|state, _| {
            let id = state.available_file_system(requester, text)?.id.clone();
            state.change_file_system(&id, |fs| fs.policy = None);
            Ok(())
        })
    }

    /// PutLifecycleConfiguration: the rules as they were put.
    pub fn put_lifecycle_configuration(
        &self,
        requester: &Requester,
        input: PutLifecycleConfiguration,
    ) -> Result<Vec<LifecyclePolicy>> {
        self.step(|state, _| {
            let fs = state.available_file_system(requester, &input.file_system_id)?;
            let id = fs.id.clone();
            let archive =
                fs.throughput_mode == ThroughputMode::Elastic && fs.performance_mode == PerformanceMode::GeneralPurpose;
            check_lifecycle(&input.lifecycle_policies, archive)?;
            state.change_file_system(&id, |fs| fs.lifecycle.clone_from(&input.lifecycle_policies));
            Ok(input.lifecycle_policies)
        })
    }

    /// DescribeLifecycleConfiguration.
    pub fn describe_lifecycle_configuration(&self, requester: &Requester, text: &str) -> Result<Vec<LifecyclePolicy>> {
        self.step(|state, _| Ok(state.file_system(requester, text)?.lifecycle.clone()))
    }

    /// PutBackupPolicy: the status that it starts with.
    pub fn put_backup_policy(&self, requester: &Requester, input: &PutBackupPolicy) -> Result<BackupStatus> {
        self.step(|state, now| {
            let id = state.available_file_system(requester, &input.file_system_id)?.id.clone();
            self.check_backup_region(state, requester)?;
            let status = match input.backup_policy.status {
                BackupStatus::Enabled => BackupStatus::Enabling,
                BackupStatus::Disabled => BackupStatus::Disabling,
                BackupStatus::Enabling | BackupStatus::Disabling => {
                    return Err(EfsError::bad_request("The backup policy's status must be ENABLED or DISABLED."));
                }
            };
            state.change_file_system(&id, |fs| fs.backup = Some(status));
            state.schedule(now, state.delays.backup, Timer::BackupSettled(id));
            Ok(status)
        })
    }

    /// DescribeBackupPolicy.
    pub fn describe_backup_policy(&self, requester: &Requester, text: &str) -> Result<BackupStatus> {
        self.step(|state, _| {
            let fs = state.file_system(requester, text)?;
            self.check_backup_region(state, requester)?;
            fs.backup.ok_or_else(|| {
                EfsError::new(
                    ErrorName::PolicyNotFound,
                    format!("No backup policy exists for file system '{}'.", fs.id),
                )
            })
        })
    }

    /// Refuses regions without AWS Backup.
    fn check_backup_region(&self, state: &super::State, requester: &Requester) -> Result<()> {
        if !state.limits.regions_without_backup.contains(&requester.scope.region) {
            return Ok(());
        }
        Err(EfsError::new(ErrorName::ValidationException, "AWS Backup is not available in this Region."))
    }

    /// PutAccountPreferences: the new preference. AWS grants long ids only since October 2021.
    pub fn put_account_preferences(&self, requester: &Requester, wanted: ResourceIdType) -> Result<ResourceIdType> {
        if wanted == ResourceIdType::ShortId {
            return Err(EfsError::bad_request("Short resource IDs can no longer be chosen. Contact AWS Support."));
        }
        self.step(|state, _| {
            state.preferences.insert(requester.scope.clone(), wanted);
            state.dirty.insert(Entity::Preference(requester.scope.clone()));
            Ok(wanted)
        })
    }

    /// DescribeAccountPreferences: `None` as long as nothing was put.
    pub fn describe_account_preferences(&self, requester: &Requester) -> Option<ResourceIdType> {
        self.step(|state, _| state.preferences.get(&requester.scope).copied())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(ia: Option<&str>, archive: Option<&str>) -> LifecyclePolicy {
        LifecyclePolicy {
            transition_to_ia: ia.map(str::to_owned),
            transition_to_archive: archive.map(str::to_owned),
            ..Default::default()
        }
    }

    #[test]
    fn lifecycle_rules_have_one_transition_each_and_archive_after_infrequent_access() {
        let (ia, archive) = (rule(Some("AFTER_30_DAYS"), None), rule(None, Some("AFTER_90_DAYS")));
        assert!(check_lifecycle(&[ia.clone(), archive.clone()], true).is_ok());
        assert!(check_lifecycle(&[], false).is_ok());
        assert!(check_lifecycle(std::slice::from_ref(&archive), false).is_err());
        assert!(check_lifecycle(&[ia.clone(), ia.clone()], true).is_err());
        assert!(check_lifecycle(&[rule(None, None)], true).is_err());
        assert!(check_lifecycle(&[rule(Some("AFTER_1_DAY"), Some("AFTER_7_DAYS"))], true).is_err());
        assert!(check_lifecycle(&[ia, rule(None, Some("AFTER_14_DAYS"))], true).is_err());
    }
}
