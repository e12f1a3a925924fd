//! Operations on replication configurations. What is kept in step is the destination's state (read-only, protected); the
//! bytes are not copied.

use std::sync::Arc;

use serde::Deserialize;

use super::errors::{EfsError, ErrorName, Result};
use super::file_systems::CreateFileSystem;
use super::ids::{Arn, FileSystemId};
use super::lifecycle::Timer;
use super::model::{FileSystem, LifeCycleState, PerformanceMode, Protection, Replication, ReplicationStatus};
use super::paging::{DEFAULT_ROWS, Page, PageRequest};
use super::scope::{Requester, Scope};
use super::{Entity, State, World};

/// Input of CreateReplicationConfiguration.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct CreateReplication {
    /// Id or ARN of what is to be copied.
    pub source_file_system_id: String,
    /// Exactly one.
    pub destinations: Vec<DestinationToCreate>,
}

/// Where to copy to.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct DestinationToCreate {
    /// Region of a new file system, or of the given one.
    pub region: Option<String>,
    /// Makes a new One Zone file system.
    pub availability_zone_name: Option<String>,
    /// Key of the new file system.
    pub kms_key_id: Option<String>,
    /// An existing file system, by id or, in another account, by ARN.
    pub file_system_id: Option<String>,
    /// Needed across accounts.
    pub role_arn: Option<String>,
}

/// Input of DescribeReplicationConfigurations.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct DescribeReplications {
    /// Only the one that this file system is part of.
    pub file_system_id: Option<String>,
    /// Which page.
    #[serde(flatten)]
    pub page: PageRequest,
}

/// Input of DeleteReplicationConfiguration.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct DeleteReplication {
    /// Id or ARN of the source.
    pub source_file_system_id: String,
    /// `ALL_CONFIGURATIONS` (default) or `LOCAL_CONFIGURATION_ONLY`; the query's spelling is `deletionMode`.
    pub deletion_mode: Option<String>,
}

impl World {
    /// CreateReplicationConfiguration.
    pub fn create_replication(&self, requester: &Requester, input: &CreateReplication) -> Result<Arc<Replication>> {
        self.step(|state, now| {
            let source = state.available_file_system(requester, &input.source_file_system_id)?.clone();
            let [wanted] = input.destinations.as_slice() else {
                return Err(EfsError::bad_request("Exactly one destination must be specified."));
            };
            state.check_unreplicated(&source.id)?;
            let destination = match &wanted.file_system_id {
                Some(text) => state.existing_destination(requester, text, wanted, &source)?,
                None => {
                    let scope = destination_scope(requester, wanted)?;
                    let input = CreateFileSystem {
                        creation_token: format!("destination-{}", source.id),
                        performance_mode: Some(if wanted.availability_zone_name.is_some() {
                            PerformanceMode::GeneralPurpose
                        } else {
                            source.performance_mode
                        }),
                        encrypted: Some(true),
                        kms_key_id: wanted.kms_key_id.clone(),
                        throughput_mode: Some(source.throughput_mode),
                        provisioned_throughput_in_mibps: source.provisioned_mibps,
                        availability_zone_name: wanted.availability_zone_name.clone(),
                        backup: Some(false),
                        tags: Vec::new(),
                    };
                    self.new_file_system(state, now, &scope, input, None)?
                }
            };
            state.change_file_system(&destination.id, |fs| fs.protection = Protection::Replicating);
            state.replicated.insert(destination.id.clone(), source.id.clone());
            let replication = Replication {
                source: source.id.clone(),
                source_scope: source.scope.clone(),
                seq: state.replications.next_seq(),
                creation_time: now,
                destination: destination.id.clone(),
                destination_scope: destination.scope.clone(),
                status: ReplicationStatus::Enabling,
                role_arn: wanted.role_arn.clone(),
            };
            state.replications.insert(source.id.clone(), replication.clone());
            state.dirty.insert(Entity::Replication(source.id.clone()));
            state.schedule(now, state.delays.replication, Timer::ReplicationReady(source.id));
            Ok(Arc::new(replication))
        })
    }

    /// DescribeReplicationConfigurations: one page, and the next one's token.
    pub fn describe_replications(
        &self,
        requester: &Requester,
        input: &DescribeReplications,
    ) -> Result<(Vec<Arc<Replication>>, Option<String>)> {
        self.step(|state, _| match &input.file_system_id {
            Some(text) => {
                let id = state.file_system(requester, text)?.id.clone();
                let row = state.replication_of(&id).ok_or_else(|| not_replicated(&id))?;
                Ok((vec![Arc::clone(row)], None))
            }
            None => {
                let page = Page::new(&input.page, "replications", DEFAULT_ROWS)?;
                let rows = state.replications.range(&requester.scope, page.range());
                Ok(page.take(rows.map(|(seq, row)| (seq, Arc::clone(row)))))
            }
        })
    }

    /// DeleteReplicationConfiguration. The destination becomes writable when it is gone.
    pub fn delete_replication(&self, requester: &Requester, input: &DeleteReplication) -> Result<()> {
        self.step(|state, now| {
            let id = state.file_system(requester, &input.source_file_system_id)?.id.clone();
            let Some(replication) = state.replications.get_mut(&id) else { return Err(not_replicated(&id)) };
            let local_only = input.deletion_mode.as_deref() == Some("LOCAL_CONFIGURATION_ONLY");
            if local_only && replication.destination_scope == replication.source_scope {
                return Err(EfsError::bad_request(
                    "LOCAL_CONFIGURATION_ONLY can't be used for replication within one account and Region.",
                ));
            }
            if replication.status != ReplicationStatus::Deleting {
                replication.status = ReplicationStatus::Deleting;
                state.dirty.insert(Entity::Replication(id.clone()));
                state.schedule(now, state.delays.replication, Timer::ReplicationGone(id));
            }
            Ok(())
        })
    }
}

impl State {
    /// The replication that a file system is source or destination of.
    fn replication_of(&self, id: &FileSystemId) -> Option<&Arc<Replication>> {
        self.replications.get(id).or_else(|| self.replications.get(self.replicated.get(id)?))
    }

    /// A file system can be part of one replication only.
    fn check_unreplicated(&self, id: &FileSystemId) -> Result<()> {
        match self.replication_of(id) {
            None => Ok(()),
            Some(_) => Err(EfsError::bad_request(format!(
                "File system '{id}' is already part of a replication configuration."
            ))),
        }
    }

    /// Checks an existing file system that is to be overwritten.
    fn existing_destination(
        &self,
        requester: &Requester,
        text: &str,
        wanted: &DestinationToCreate,
        source: &FileSystem,
    ) -> Result<Arc<FileSystem>> {
        let (id, account) = match Arn::parse(text) {
            Some(arn) => (arn.id, arn.account),
            None => (text, requester.scope.account.as_str()),
        };
        if account != requester.scope.account && wanted.role_arn.is_none() {
            return Err(EfsError::bad_request("RoleArn is required for replication to another account."));
        }
        let row = FileSystemId::parse(id)
            .and_then(|id| self.file_systems.get(&id))
            .filter(|fs| fs.scope.account == account)
            .filter(|fs| wanted.region.as_ref().is_none_or(|region| *region == fs.scope.region))
            .ok_or_else(|| EfsError::file_system_not_found(text))?;
        if row.id == source.id {
            return Err(EfsError::bad_request("A file system can't be replicated to itself."));
        }
        if row.state != LifeCycleState::Available {
            return Err(EfsError::new(
                ErrorName::IncorrectFileSystemLifeCycleState,
                format!("File system '{}' is not in the 'available' lifecycle state.", row.id),
            ));
        }
        self.check_unreplicated(&row.id)?;
        if row.protection != Protection::Disabled {
            return Err(EfsError::bad_request(format!(
                "Replication overwrite protection of file system '{}' must be disabled first.",
                row.id
            )));
        }
        if source.encrypted && !row.encrypted {
            return Err(EfsError::new(
                ErrorName::ConflictException,
                "The source file system is encrypted but the destination file system is not.",
            ));
        }
        Ok(Arc::clone(row))
    }
}

/// Account and region of a new destination.
fn destination_scope(requester: &Requester, wanted: &DestinationToCreate) -> Result<Scope> {
    let region = match (&wanted.region, &wanted.availability_zone_name) {
        (Some(region), _) => region.clone(),
        (None, Some(zone)) => zone.trim_end_matches(|c: char| c.is_ascii_alphabetic()).to_owned(),
        (None, None) => return Err(EfsError::bad_request("Specify a Region, an Availability Zone or a file system.")),
    };
    Ok(Scope::new(requester.scope.account.clone(), region))
}

/// Nothing is replicated.
fn not_replicated(id: &FileSystemId) -> EfsError {
    EfsError::new(
        ErrorName::ReplicationNotFound,
        format!("File system '{id}' does not have a replication configuration."),
    )
}
