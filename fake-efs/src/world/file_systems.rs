//! Operations on file systems.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;
use tokio_util::sync::CancellationToken;

use super::errors::{EfsError, ErrorName, Result};
use super::ids::{self, FileSystemId};
use super::lifecycle::Timer;
use super::model::{BackupStatus, FileSystem, Kind, LifeCycleState, PerformanceMode, Protection, Tag, ThroughputMode};
use super::paging::{DEFAULT_ROWS, Page, PageRequest};
use super::scope::{Requester, Scope};
use super::{Entity, State, World, tags};

/// Input of CreateFileSystem.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct CreateFileSystem {
    /// 1 to 64 characters.
    pub creation_token: String,
    /// Defaults to generalPurpose.
    pub performance_mode: Option<PerformanceMode>,
    /// Defaults to false.
    pub encrypted: Option<bool>,
    /// Key id, alias or ARN; needs `encrypted`.
    pub kms_key_id: Option<String>,
    /// Defaults to bursting.
    pub throughput_mode: Option<ThroughputMode>,
    /// MiB/s; exactly with the provisioned mode.
    pub provisioned_throughput_in_mibps: Option<f64>,
    /// Makes it a One Zone file system.
    pub availability_zone_name: Option<String>,
    /// Defaults to true for One Zone, else to false.
    pub backup: Option<bool>,
    /// At most 50.
    #[serde(default)]
    pub tags: Vec<Tag>,
}

/// Input of UpdateFileSystem.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct UpdateFileSystem {
    /// Id or ARN.
    pub file_system_id: String,
    /// New mode.
    pub throughput_mode: Option<ThroughputMode>,
    /// New number of MiB/s.
    pub provisioned_throughput_in_mibps: Option<f64>,
}

/// Input of UpdateFileSystemProtection.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct UpdateFileSystemProtection {
    /// Id or ARN.
    pub file_system_id: String,
    /// New protection.
    pub replication_overwrite_protection: Option<Protection>,
}

/// Input of DescribeFileSystems.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct DescribeFileSystems {
    /// Only the one with this id or ARN.
    pub file_system_id: Option<String>,
    /// Only the one with this token.
    pub creation_token: Option<String>,
    /// Which page.
    #[serde(flatten)]
    pub page: PageRequest,
}

/// A file system as operations show it: the row and what is counted elsewhere.
#[derive(Clone, Debug)]
pub struct FileSystemView {
    /// The row.
    pub row: Arc<FileSystem>,
    /// Mount targets that exist.
    pub mount_targets: usize,
    /// Metered size.
    pub bytes: u64,
    /// When the size was taken.
    pub measured: Timestamp,
}

/// Checks a throughput mode against its number.
fn check_throughput(mode: ThroughputMode, mibps: Option<f64>, state: &State) -> Result<()> {
    match (mode, mibps) {
        (ThroughputMode::Provisioned, None) => Err(EfsError::bad_request(
            "ProvisionedThroughputInMibps is required when ThroughputMode is set to provisioned.",
        )),
        (ThroughputMode::Provisioned, Some(mibps)) if mibps > state.limits.provisioned_mibps => Err(EfsError::new(
            ErrorName::ThroughputLimitExceeded,
            format!("The provisioned throughput limit of {} MiB/s would be exceeded.", state.limits.provisioned_mibps),
        )),
        (ThroughputMode::Provisioned, Some(_)) | (_, None) => Ok(()),
        (_, Some(_)) => Err(EfsError::bad_request(
            "ProvisionedThroughputInMibps can only be specified when ThroughputMode is set to provisioned.",
        )),
    }
}

/// Checks whether `mibps` more can be provisioned beside what file systems other than `except` have.
fn check_capacity(mibps: Option<f64>, except: Option<&FileSystemId>, state: &State) -> Result<()> {
    let Some(mibps) = mibps else { return Ok(()) };
    let others = state.file_systems.values().filter(|fs| Some(&fs.id) != except).filter_map(|fs| fs.provisioned_mibps);
    if others.sum::<f64>() + mibps <= state.limits.throughput_capacity_mibps {
        return Ok(());
    }
    Err(EfsError::new(
        ErrorName::InsufficientThroughputCapacity,
        "There is not enough capacity to provision additional throughput.",
    ))
}

/// The ARN under which a key shows. Any key is accepted: there is no KMS here.
pub(super) fn key_arn(scope: &Scope, key: Option<&str>) -> String {
    const DEFAULT_KEY: &str = "0fa4e0ef-5000-4000-8000-000000000001";
    let key = key.unwrap_or(DEFAULT_KEY);
    if key.starts_with("arn:") {
        return key.to_owned();
    }
    let path = if key.starts_with("alias/") { key.to_owned() } else { format!("key/{key}") };
    format!("arn:{}:kms:{}:{}:{path}", scope.partition(), scope.region, scope.account)
}

impl World {
    /// CreateFileSystem.
    pub fn create_file_system(&self, requester: &Requester, input: CreateFileSystem) -> Result<FileSystemView> {
        self.step(|state, now| {
            let row = self.new_file_system(state, now, &requester.scope, input, None)?;
            Ok(self.view(state, &row, now))
        })
    }

    /// Makes a file system with a given id, for the seed.
    pub fn seed_file_system(
        &self,
        requester: &Requester,
        input: CreateFileSystem,
        id: Option<FileSystemId>,
    ) -> Result<FileSystemView> {
        self.step(|state, now| {
            if let Some(id) = id.as_ref().filter(|id| state.file_systems.get(*id).is_some()) {
                return Err(EfsError::file_system_exists(&input.creation_token, id));
            }
            let row = self.new_file_system(state, now, &requester.scope, input, id)?;
            Ok(self.view(state, &row, now))
        })
    }

    /// Checks the request and makes the file system, in any account and region: replication makes its destinations here.
    pub(super) fn new_file_system(
        &self,
        state: &mut State,
        now: Timestamp,
        scope: &Scope,
        input: CreateFileSystem,
        id: Option<FileSystemId>,
    ) -> Result<Arc<FileSystem>> {
        let token = (scope.clone(), input.creation_token.clone());
        if let Some(id) = state.creation_tokens.get(&token) {
            return Err(EfsError::file_system_exists(&input.creation_token, id));
        }
        if !input.creation_token.is_ascii() {
            return Err(EfsError::bad_request("The creation token must consist of ASCII characters."));
        }
        tags::check(&input.tags, state.limits.tags)?;
        let encrypted = input.encrypted.unwrap_or(false);
        if input.kms_key_id.is_some() && !encrypted {
            return Err(EfsError::bad_request("KmsKeyId can only be specified when Encrypted is set to true."));
        }
        let throughput_mode = input.throughput_mode.unwrap_or(ThroughputMode::Bursting);
        check_throughput(throughput_mode, input.provisioned_throughput_in_mibps, state)?;
        let performance_mode = input.performance_mode.unwrap_or(PerformanceMode::GeneralPurpose);
        if performance_mode == PerformanceMode::MaxIo {
            if throughput_mode == ThroughputMode::Elastic {
                return Err(EfsError::bad_request("The maxIO performance mode does not support elastic throughput."));
            }
            if input.availability_zone_name.is_some() {
                return Err(EfsError::bad_request("One Zone file systems do not support the maxIO performance mode."));
            }
        }
        let zone = input.availability_zone_name.as_deref().map(|name| {
            state.network.one_zone(&scope.region, name).ok_or_else(|| {
                EfsError::new(
                    ErrorName::UnsupportedAvailabilityZone,
                    format!("One Zone file systems are not supported in Availability Zone '{name}'."),
                )
            })
        });
        let zone = zone.transpose()?;
        if state.file_systems.count(scope) >= state.limits.file_systems {
            return Err(EfsError::new(
                ErrorName::FileSystemLimitExceeded,
                format!("The limit of {} file systems per account and Region is reached.", state.limits.file_systems),
            ));
        }
        check_capacity(input.provisioned_throughput_in_mibps, None, state)?;
        let backup = input.backup.unwrap_or_else(|| zone.is_some());
        let id = id.unwrap_or_else(|| state.ids.file_system());
        let row = FileSystem {
            kind: Kind::Efs,
            id: id.clone(),
            scope: scope.clone(),
            seq: state.file_systems.next_seq(),
            creation_token: input.creation_token,
            creation_time: now,
            state: LifeCycleState::Creating,
            performance_mode,
            encrypted,
            kms_key_id: encrypted.then(|| key_arn(scope, input.kms_key_id.as_deref())),
            throughput_mode,
            provisioned_mibps: input.provisioned_throughput_in_mibps,
            throughput_changed: None,
            zone,
            tags: input.tags,
            backup: backup.then_some(BackupStatus::Enabled),
            lifecycle: Vec::new(),
            policy: None,
            protection: Protection::Enabled,
            was_mountable: false,
        };
        self.volumes.create(&id).map_err(|error| EfsError::new(ErrorName::InternalServerError, error.to_string()))?;
        state.creation_tokens.insert(token, id.clone());
        state.system_revocations.insert(id.clone(), CancellationToken::new());
        state.file_systems.insert(id.clone(), row.clone());
        state.dirty.insert(Entity::FileSystem(id.clone()));
        state.schedule(now, state.delays.file_system_create, Timer::FileSystemReady(id));
        Ok(Arc::new(row))
    }

    /// DescribeFileSystems: one page, and the next one's token.
    pub fn describe_file_systems(
        &self,
        requester: &Requester,
        input: &DescribeFileSystems,
    ) -> Result<(Vec<FileSystemView>, Option<String>)> {
        self.step(|state, now| {
            let (rows, token) = match (&input.file_system_id, &input.creation_token) {
                (Some(_), Some(_)) => {
                    return Err(EfsError::bad_request("Specify either a FileSystemId or a CreationToken, not both."));
                }
                (Some(text), None) => {
                    let id = &state.file_system(requester, text)?.id;
                    (state.file_systems.get(id).cloned().into_iter().collect(), None)
                }
                (None, Some(token)) => {
                    let id = state.creation_tokens.get(&(requester.scope.clone(), token.clone()));
                    // A token is a filter and not an id: AWS answers with an empty list.
                    let row = id.and_then(|id| state.file_systems.get(id));
                    (row.cloned().into_iter().collect(), None)
                }
                (None, None) => {
                    let page = Page::new(&input.page, "file-systems", DEFAULT_ROWS)?;
                    page.take(
                        state.file_systems.range(&requester.scope, page.range()).map(|(seq, r)| (seq, Arc::clone(r))),
                    )
                }
            };
            Ok((rows.iter().map(|row| self.view(state, row, now)).collect(), token))
        })
    }

    /// UpdateFileSystem.
    pub fn update_file_system(&self, requester: &Requester, input: &UpdateFileSystem) -> Result<FileSystemView> {
        self.step(|state, now| {
            let fs = state.available_file_system(requester, &input.file_system_id)?.clone();
            if input.throughput_mode.is_none() && input.provisioned_throughput_in_mibps.is_none() {
                return Err(EfsError::bad_request("Nothing to update: specify a throughput mode or a throughput."));
            }
            let mode = input.throughput_mode.unwrap_or(fs.throughput_mode);
            let kept = fs.provisioned_mibps.filter(|_| mode == fs.throughput_mode);
            let mibps = input.provisioned_throughput_in_mibps.or(kept);
            check_throughput(mode, mibps, state)?;
            if mode == ThroughputMode::Elastic && fs.performance_mode == PerformanceMode::MaxIo {
                return Err(EfsError::bad_request("The maxIO performance mode does not support elastic throughput."));
            }
            let lowers = mibps.zip(fs.provisioned_mibps).is_some_and(|(new, old)| new < old);
            let restricted = mode != fs.throughput_mode || lowers;
            let pause = SignedDuration::from_hours(state.limits.throughput_change_hours);
            if restricted && fs.throughput_changed.is_some_and(|at| now.duration_since(at) < pause) {
                return Err(EfsError::new(
                    ErrorName::TooManyRequests,
                    format!(
                        "Wait at least {} hours before changing the throughput mode or decreasing the provisioned \
                         throughput again.",
                        state.limits.throughput_change_hours
                    ),
                ));
            }
            check_capacity(mibps, Some(&fs.id), state)?;
            state.change_file_system(&fs.id, |fs| {
                fs.throughput_mode = mode;
                fs.provisioned_mibps = mibps;
                fs.throughput_changed = if restricted { Some(now) } else { fs.throughput_changed };
                fs.state = LifeCycleState::Updating;
            });
            let row = state.file_system(requester, &input.file_system_id)?.clone();
            state.schedule(now, state.delays.file_system_update, Timer::FileSystemReady(fs.id));
            Ok(self.view(state, &Arc::new(row), now))
        })
    }

    /// UpdateFileSystemProtection: the new protection.
    pub fn update_file_system_protection(
        &self,
        requester: &Requester,
        input: &UpdateFileSystemProtection,
    ) -> Result<Protection> {
        self.step(|state, _| {
            let fs = state.available_file_system(requester, &input.file_system_id)?.clone();
            let Some(protection) = input.replication_overwrite_protection else { return Ok(fs.protection) };
            if protection == Protection::Replicating {
                return Err(EfsError::bad_request("REPLICATING is set by Amazon EFS only."));
            }
            if state.replicated.contains_key(&fs.id) || state.replications.get(&fs.id).is_some() {
                return Err(EfsError::new(
                    ErrorName::ReplicationAlreadyExists,
                    format!("File system '{}' is part of a replication configuration.", fs.id),
                ));
            }
            state.change_file_system(&fs.id, |fs| fs.protection = protection);
            Ok(protection)
        })
    }

    /// DeleteFileSystem. Connections end at once, the id is gone when the delay has passed.
    pub fn delete_file_system(&self, requester: &Requester, text: &str) -> Result<()> {
        self.step(|state, now| {
            let fs = state.file_system(requester, text)?.clone();
            if fs.state == LifeCycleState::Deleting {
                return Ok(());
            }
            let in_use = |why| EfsError::new(ErrorName::FileSystemInUse, format!("File system '{}' {why}", fs.id));
            if state.targets_of.get(&fs.id).is_some_and(|targets| !targets.is_empty()) {
                return Err(in_use("has mount targets; delete them first."));
            }
            if state.replicated.contains_key(&fs.id) || state.replications.get(&fs.id).is_some() {
                return Err(in_use("is part of a replication configuration; delete that first."));
            }
            state.change_file_system(&fs.id, |fs| fs.state = LifeCycleState::Deleting);
            if let Some(revocation) = state.system_revocations.get(&fs.id) {
                revocation.cancel();
            }
            state.schedule(now, state.delays.file_system_delete, Timer::FileSystemGone(fs.id));
            Ok(())
        })
    }

    /// Whether an id or ARN names one of the caller's file systems.
    pub fn has_file_system(&self, requester: &Requester, text: &str) -> bool {
        ids::bare(text, &requester.scope).is_some() && self.step(|state, _| state.file_system(requester, text).is_ok())
    }

    /// Adds to a row what is counted elsewhere.
    pub(super) fn view(&self, state: &State, row: &Arc<FileSystem>, now: Timestamp) -> FileSystemView {
        FileSystemView {
            row: Arc::clone(row),
            mount_targets: state.targets_of.get(&row.id).map_or(0, std::collections::BTreeMap::len),
            bytes: self.volumes.metered_bytes(&row.id),
            measured: now,
        }
    }
}
