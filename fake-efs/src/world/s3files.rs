//! What only S3 Files has: file systems that are buckets, and what is configured about the way between the two.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use super::bonds::bucket_name;
use super::errors::{EfsError, ErrorName, Result};
use super::file_systems::key_arn;
use super::ids::FileSystemId;
use super::lifecycle::Timer;
use super::model::{
    Bond, ExpirationDataRule, FileSystem, ImportDataRule, Kind, LifeCycleState, PerformanceMode, Protection,
    Synchronization, Tag, ThroughputMode,
};
use super::paging::{DEFAULT_ROWS, Page, PageRequest};
use super::scope::Requester;
use super::{Entity, State, World, tags};
use crate::buckets::Versioning;

/// Input of CreateFileSystem.
#[derive(Clone, Debug)]
pub struct CreateBucketFileSystem {
    /// ARN of the bucket.
    pub bucket: String,
    /// Only keys below it.
    pub prefix: Option<String>,
    /// The role as which the service uses the bucket.
    pub role_arn: String,
    /// A key that isn't the service's own.
    pub kms_key_id: Option<String>,
    /// 1 to 64 characters; made up if it is missing.
    pub client_token: Option<String>,
    /// At most 50.
    pub tags: Vec<Tag>,
}

/// Input of ListFileSystems.
#[derive(Clone, Debug, Default)]
pub struct ListBucketFileSystems {
    /// Only those of this bucket.
    pub bucket: Option<String>,
    /// Which page.
    pub page: PageRequest,
}

/// Input of PutSynchronizationConfiguration.
#[derive(Clone, Debug)]
pub struct PutSynchronization {
    /// Id or ARN.
    pub file_system_id: String,
    /// The version that the caller has seen; none if it is the first to configure anything.
    pub latest_version_number: Option<i64>,
    /// The new rules.
    pub import_data_rules: Vec<ImportDataRule>,
    /// The new rules.
    pub expiration_data_rules: Vec<ExpirationDataRule>,
}

impl FileSystem {
    /// What ties it to its bucket, if it is of S3 Files.
    pub fn bond(&self) -> Option<&Bond> {
        match &self.kind {
            Kind::Efs => None,
            Kind::S3Files(bond) => Some(bond),
        }
    }
}

impl World {
    /// CreateFileSystem. The same request with the same token is answered with what it made before.
    pub fn create_bucket_file_system(
        &self,
        requester: &Requester,
        input: CreateBucketFileSystem,
    ) -> Result<Arc<FileSystem>> {
        let error = match self.seed_bucket_file_system(requester, input.clone(), None) {
            Ok(made) => return Ok(made),
            Err(error) => error,
        };
        self.step(|state, _| state.bound_before(requester, &error, &input).ok_or(error))
    }

    /// Makes a file system with a given id, for the seed.
    pub fn seed_bucket_file_system(
        &self,
        requester: &Requester,
        input: CreateBucketFileSystem,
        id: Option<FileSystemId>,
    ) -> Result<Arc<FileSystem>> {
        let scope = &requester.scope;
        self.step(|state, now| {
            let client_token = input.client_token.clone().unwrap_or_else(|| state.ids.token());
            let token = (scope.clone(), client_token.clone());
            if let Some(id) = state.creation_tokens.get(&token) {
                return Err(EfsError::file_system_exists(&client_token, id));
            }
            if let Some(id) = id.as_ref().filter(|id| state.file_systems.get(*id).is_some()) {
                return Err(EfsError::file_system_exists(&client_token, id));
            }
            tags::check(&input.tags, state.limits.tags)?;
            self.check_bucket(requester, &input.bucket)?;
            if state.file_systems.count(scope) >= state.limits.file_systems {
                let most = state.limits.file_systems;
                let text = format!("The limit of {most} file systems per account and Region is reached.");
                return Err(EfsError::new(ErrorName::FileSystemLimitExceeded, text));
            }
            let id = id.unwrap_or_else(|| state.ids.file_system());
            let row = FileSystem {
                kind: Kind::S3Files(input.bond()),
                id: id.clone(),
                scope: scope.clone(),
                seq: state.file_systems.next_seq(),
                creation_token: client_token,
                creation_time: now,
                state: LifeCycleState::Creating,
                performance_mode: PerformanceMode::GeneralPurpose,
                encrypted: true,
                kms_key_id: input.kms_key_id.as_deref().map(|key| key_arn(scope, Some(key))),
                throughput_mode: ThroughputMode::Elastic,
                provisioned_mibps: None,
                throughput_changed: None,
                zone: None,
                tags: input.tags,
                backup: None,
                lifecycle: Vec::new(),
                policy: None,
                protection: Protection::Enabled,
                was_mountable: false,
            };
            let made = self.volumes.create(&id);
            made.map_err(|error| EfsError::new(ErrorName::InternalServerError, error.to_string()))?;
            state.creation_tokens.insert(token, id.clone());
            state.system_revocations.insert(id.clone(), CancellationToken::new());
            state.file_systems.insert(id.clone(), row.clone());
            state.dirty.insert(Entity::FileSystem(id.clone()));
            state.schedule(now, state.delays.file_system_create, Timer::FileSystemReady(id));
            Ok(Arc::new(row))
        })
    }

    /// A token for a request that has none.
    pub fn new_token(&self) -> String {
        self.step(|state, _| state.ids.token())
    }

    /// GetFileSystem.
    pub fn bucket_file_system(&self, requester: &Requester, text: &str) -> Result<FileSystem> {
        self.step(|state, _| state.file_system(requester, text).cloned())
    }

    /// ListFileSystems: one page, and the next one's token.
    pub fn list_bucket_file_systems(
        &self,
        requester: &Requester,
        input: &ListBucketFileSystems,
    ) -> Result<(Vec<Arc<FileSystem>>, Option<String>)> {
        self.step(|state, _| {
            let page = Page::new(&input.page, "file-systems", DEFAULT_ROWS)?;
            let is_meant = |fs: &FileSystem| {
                input.bucket.as_ref().is_none_or(|bucket| fs.bond().is_some_and(|bond| bond.bucket == *bucket))
            };
            let rows = state.file_systems.range(&requester.scope, page.range()).filter(|(_, fs)| is_meant(fs));
            Ok(page.take(rows.map(|(seq, row)| (seq, Arc::clone(row)))))
        })
    }

    /// GetAccessPoint.
    pub fn get_access_point(&self, requester: &Requester, text: &str) -> Result<super::model::AccessPoint> {
        self.step(|state, _| state.access_point(requester, text).map(|point| (**point).clone()))
    }

    /// GetSynchronizationConfiguration.
    pub fn synchronization(&self, requester: &Requester, text: &str) -> Result<Synchronization> {
        self.step(|state, _| {
            let fs = state.file_system(requester, text)?;
            fs.bond().map(|bond| bond.synchronization.clone()).ok_or_else(|| EfsError::file_system_not_found(text))
        })
    }

    /// PutSynchronizationConfiguration. Who has not seen the latest version must not overwrite it.
    pub fn put_synchronization(&self, requester: &Requester, input: PutSynchronization) -> Result<()> {
        self.step(|state, _| {
            let fs = state.available_file_system(requester, &input.file_system_id)?;
            let (id, bond) = (fs.id.clone(), fs.bond());
            let now = bond.map_or(0, |bond| bond.synchronization.latest_version_number);
            // As long as nobody has configured anything, there is no version that one had to see.
            let seen = input.latest_version_number.unwrap_or(1);
            if seen != now {
                let text = format!("The latest version of the synchronization configuration is {now}, not {seen}.");
                return Err(EfsError::new(ErrorName::ConflictException, text));
            }
            state.change_file_system(&id, |fs| {
                if let Kind::S3Files(bond) = &mut fs.kind {
                    bond.synchronization = Synchronization {
                        latest_version_number: now + 1,
                        import_data_rules: input.import_data_rules,
                        expiration_data_rules: input.expiration_data_rules,
                    };
                }
            });
            self.renew_terms(state);
            Ok(())
        })
    }

    /// Checks that a file system can be bound to a bucket: the caller has it, and it keeps versions. As long as nobody has made any
    /// bucket, every name will do: who is after file systems only needs none.
    fn check_bucket(&self, requester: &Requester, arn: &str) -> Result<()> {
        if self.buckets.is_empty() {
            return Ok(());
        }
        let name = bucket_name(arn);
        let found = self.buckets.info(name).ok().filter(|bucket| bucket.account == requester.scope.account);
        let Some(bucket) = found else {
            let text = format!("The bucket '{name}' does not exist, or belongs to another account.");
            return Err(EfsError::new(ErrorName::BucketNotFound, text));
        };
        if bucket.versioning == Versioning::Enabled {
            return Ok(());
        }
        let text = format!("The bucket '{name}' does not keep versions. Enable versioning with PutBucketVersioning.");
        Err(EfsError::new(ErrorName::ValidationException, text))
    }

    /// Lets a file system become `misconfigured`, for the reason given, or `available` again. False if there is no such file system of
    /// S3 Files.
    pub fn misconfigure(&self, id: &FileSystemId, why: Option<String>) -> bool {
        self.step(|state, _| {
            let known = state.file_systems.get(id).is_some_and(|fs| fs.bond().is_some());
            state.change_file_system(id, |fs| {
                let Kind::S3Files(bond) = &mut fs.kind else { return };
                fs.state = match why {
                    Some(_) => LifeCycleState::Misconfigured,
                    None => LifeCycleState::Available,
                };
                bond.status_message = why;
            });
            known
        })
    }
}

impl CreateBucketFileSystem {
    fn bond(&self) -> Bond {
        Bond {
            bucket: self.bucket.clone(),
            prefix: self.prefix.clone(),
            role_arn: self.role_arn.clone(),
            status_message: None,
            synchronization: Synchronization::default(),
        }
    }
}

impl State {
    /// The file system that a refused request has made before, if it is that which was asked for.
    fn bound_before(
        &self,
        requester: &Requester,
        refusal: &EfsError,
        input: &CreateBucketFileSystem,
    ) -> Option<Arc<FileSystem>> {
        let (_, id) = refusal.existing.as_ref().filter(|_| !self.limits.repeats_conflict)?;
        let row = self.file_systems.get(&FileSystemId::parse(id)?)?;
        let bond = row.bond()?;
        let same = bond.bucket == input.bucket
            && bond.prefix == input.prefix
            && bond.role_arn == input.role_arn
            && row.kms_key_id == input.kms_key_id.as_deref().map(|key| key_arn(&requester.scope, Some(key)))
            && row.tags == input.tags;
        same.then(|| Arc::clone(row))
    }
}
