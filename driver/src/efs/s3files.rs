//! The S3 Files API through the AWS SDK.
//!
//! AWS's managed policy for the driver allows two lists, to make and to delete; GetAccessPoint, GetFileSystem and the rest are tried,
//! and done without for a while after the first refusal. The lists tell neither an access point's token nor its tags.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use aws_sdk_s3files::Client;
use aws_sdk_s3files::operation::create_access_point::CreateAccessPointError;
use aws_sdk_s3files::types as sdk;
use aws_smithy_types::error::operation::BuildError;
use tokio::time::Instant;

use super::api::{
    AccessPoint, AccessPointPage, EfsApi, FileSystem, LARGEST_PAGE, LifeCycle, MountTarget, NewAccessPoint, Owner,
    PosixUser,
};
use super::attempts::Attempts;
use super::aws::{efs_error, failure, malformed, unreadable};
use super::errors::{EfsError, EfsErrorKind};
use crate::volume::{AccessPointId, FileSystemId, FileSystemKind};

/// How long a call is done without after AWS refused it.
const REFUSAL_AGE: Duration = Duration::from_secs(10 * 60);
/// The largest page of file systems and of mount targets.
const LARGEST_OTHER_PAGE: i32 = 100;
/// An account has at most 1,000 file systems and a file system one mount target a zone: more pages are a server's that loops.
const MOST_PAGES: usize = 100;

/// One SDK client per group of operations, as for EFS.
#[derive(Debug, Clone)]
pub struct BucketClients {
    /// CreateAccessPoint.
    pub create: Client,
    /// DeleteAccessPoint.
    pub delete: Client,
    /// GetAccessPoint and ListAccessPoints.
    pub access_points: Client,
    /// GetFileSystem and ListFileSystems.
    pub file_systems: Client,
    /// ListMountTargets.
    pub mount_targets: Client,
    /// TagResource.
    pub tags: Client,
}

/// A call that the IAM policy may not allow.
#[derive(Debug, Default)]
struct Optional(Mutex<Option<Instant>>);

impl Optional {
    fn is_refused(&self) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).is_some_and(|at| at.elapsed() < REFUSAL_AGE)
    }

    fn refused(&self, error: &EfsError) {
        tracing::info!(%error, "doing without this call for a while");
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
    }
}

/// [`EfsApi`] over the AWS SDK, for file systems of S3 Files.
#[derive(Debug)]
pub struct AwsS3Files {
    clients: BucketClients,
    get_access_point: Optional,
    get_file_system: Optional,
}

impl AwsS3Files {
    /// Uses these clients; retries, timeouts and credentials are theirs.
    pub fn new(clients: BucketClients) -> Self {
        Self { clients, get_access_point: Optional::default(), get_file_system: Optional::default() }
    }

    async fn got_access_point(&self, id: &AccessPointId) -> Result<AccessPoint, EfsError> {
        const OPERATION: &str = "s3files:GetAccessPoint";
        let attempts = Attempts::default();
        let call = self.clients.access_points.get_access_point().access_point_id(id.as_str());
        let answer = call.customize().interceptor(attempts.clone()).send().await;
        let it = answer.map_err(|error| attempts.explain(not_found(OPERATION, &error, Missing::AccessPoint)))?;
        access_point(
            OPERATION,
            Described {
                id: it.access_point_id(),
                file_system: it.file_system_id(),
                user: it.posix_user(),
                root: it.root_directory(),
                state: it.status(),
                more: Some((it.client_token(), it.tags())),
            },
        )
    }

    async fn got_file_system(&self, id: &FileSystemId) -> Result<FileSystem, EfsError> {
        const OPERATION: &str = "s3files:GetFileSystem";
        let attempts = Attempts::default();
        let call = self.clients.file_systems.get_file_system().file_system_id(id.as_str());
        let answer = call.customize().interceptor(attempts.clone()).send().await;
        let it = answer.map_err(|error| attempts.explain(not_found(OPERATION, &error, Missing::FileSystem)))?;
        Ok(file_system(id, it.status(), it.status_message()))
    }

    /// Looks through the pages of all file systems.
    async fn listed_file_system(&self, id: &FileSystemId) -> Result<FileSystem, EfsError> {
        const OPERATION: &str = "s3files:ListFileSystems";
        let mut token: Option<String> = None;
        for _ in 0..MOST_PAGES {
            let attempts = Attempts::default();
            let call = self.clients.file_systems.list_file_systems().max_results(LARGEST_OTHER_PAGE);
            let answer = call.set_next_token(token).customize().interceptor(attempts.clone()).send().await;
            let page = answer.map_err(|error| attempts.explain(efs_error(OPERATION, &error)))?;
            if let Some(it) = page.file_systems().iter().find(|it| it.file_system_id() == id.as_str()) {
                return Ok(file_system(id, Some(it.status()), it.status_message()));
            }
            match page.next_token {
                Some(next) => token = Some(next),
                None => {
                    let why = format!("no file system {id} of S3 Files");
                    return Err(failure(OPERATION, EfsErrorKind::FileSystemNotFound, why));
                }
            }
        }
        Err(unreadable(OPERATION, format!("more than {MOST_PAGES} pages of file systems")))
    }

    /// Looks through the pages of a file system's access points.
    async fn listed_access_point(&self, of: &FileSystemId, id: &AccessPointId) -> Result<AccessPoint, EfsError> {
        let mut token: Option<String> = None;
        loop {
            let page = self.access_points(Some(of), LARGEST_PAGE, token.as_deref()).await?;
            if let Some(it) = page.access_points.into_iter().find(|it| it.id == *id) {
                return Ok(it);
            }
            match page.next_token {
                Some(next) => token = Some(next),
                None => {
                    let why = format!("no access point {id} on {of}");
                    return Err(failure("s3files:ListAccessPoints", EfsErrorKind::AccessPointNotFound, why));
                }
            }
        }
    }

    /// What a conflict without an access point is about: the file system isn't ready, perhaps for a reason that AWS tells.
    async fn explained(&self, of: &FileSystemId, error: EfsError) -> EfsError {
        match self.file_system(of).await {
            Ok(FileSystem { state: LifeCycle::Misconfigured, status_message, .. }) => {
                let why = status_message.unwrap_or_else(|| error.message.clone());
                EfsError {
                    kind: EfsErrorKind::Misconfigured,
                    message: format!("{of} is misconfigured: {why}"),
                    ..error
                }
            }
            _ => error,
        }
    }
}

#[async_trait]
impl EfsApi for AwsS3Files {
    async fn create_access_point(&self, request: &NewAccessPoint) -> Result<AccessPoint, EfsError> {
        const OPERATION: &str = "s3files:CreateAccessPoint";
        let permissions =
            request.root_owner.as_ref().map(creation_permissions).transpose().map_err(malformed(OPERATION))?;
        let root = sdk::RootDirectory::builder().path(&request.root).set_creation_permissions(permissions).build();
        let user = request.posix_user.as_ref().map(posix_user).transpose().map_err(malformed(OPERATION))?;
        let tags = sdk_tags(&request.tags).map_err(malformed(OPERATION))?;
        let attempts = Attempts::default();
        let answer = self
            .clients
            .create
            .create_access_point()
            .client_token(&request.client_token)
            .file_system_id(request.file_system.as_str())
            .set_posix_user(user)
            .root_directory(root)
            // An empty list is none to AWS.
            .set_tags((!tags.is_empty()).then_some(tags))
            .customize()
            .interceptor(attempts.clone())
            .send()
            .await;
        let it = match answer {
            Ok(it) => it,
            Err(error) => {
                let resource = match error.as_service_error() {
                    Some(CreateAccessPointError::ConflictException(conflict)) => conflict.resource_id(),
                    _ => None,
                };
                let taken_by = resource.and_then(|id| id.rsplit('/').next()?.parse::<AccessPointId>().ok());
                let mut refused = not_found(OPERATION, &error, Missing::FileSystem);
                if let Some(id) = taken_by {
                    refused.kind = EfsErrorKind::AccessPointAlreadyExists(Some(id));
                } else if refused.kind == EfsErrorKind::IncorrectFileSystemLifeCycleState {
                    refused = self.explained(&request.file_system, refused).await;
                }
                return Err(attempts.mark(refused));
            }
        };
        access_point(
            OPERATION,
            Described {
                id: it.access_point_id(),
                file_system: it.file_system_id(),
                user: it.posix_user(),
                root: it.root_directory(),
                state: it.status(),
                more: Some((it.client_token(), it.tags())),
            },
        )
    }

    async fn access_point(&self, file_system: &FileSystemId, id: &AccessPointId) -> Result<AccessPoint, EfsError> {
        if !self.get_access_point.is_refused() {
            match self.got_access_point(id).await {
                Err(error) if error.kind == EfsErrorKind::AccessDenied => self.get_access_point.refused(&error),
                answer => return answer,
            }
        }
        self.listed_access_point(file_system, id).await
    }

    async fn access_points(
        &self,
        file_system: Option<&FileSystemId>,
        limit: u16,
        token: Option<&str>,
    ) -> Result<AccessPointPage, EfsError> {
        const OPERATION: &str = "s3files:ListAccessPoints";
        let Some(file_system) = file_system else {
            let why = "S3 Files lists the access points of one file system";
            return Err(failure(OPERATION, EfsErrorKind::BadRequest, why));
        };
        let attempts = Attempts::default();
        let answer = self
            .clients
            .access_points
            .list_access_points()
            .file_system_id(file_system.as_str())
            .max_results(i32::from(limit))
            .set_next_token(token.map(str::to_owned))
            .customize()
            .interceptor(attempts.clone())
            .send()
            .await
            .map_err(|error| attempts.explain(not_found(OPERATION, &error, Missing::FileSystem)))?;
        let described = answer.access_points().iter().map(|it| {
            access_point(
                OPERATION,
                Described {
                    id: it.access_point_id(),
                    file_system: it.file_system_id(),
                    user: it.posix_user(),
                    root: it.root_directory(),
                    state: it.status(),
                    more: None,
                },
            )
        });
        let access_points = described.collect::<Result<_, _>>()?;
        // Whoever asks for page after page would ask for ever.
        if answer.next_token.is_some() && answer.next_token.as_deref() == token {
            return Err(unreadable(OPERATION, "the next page's token is this page's".to_owned()));
        }
        Ok(AccessPointPage { access_points, next_token: answer.next_token })
    }

    async fn delete_access_point(&self, id: &AccessPointId) -> Result<(), EfsError> {
        let attempts = Attempts::default();
        let call = self.clients.delete.delete_access_point().access_point_id(id.as_str());
        let answer = call.customize().interceptor(attempts.clone()).send().await;
        answer.map(drop).map_err(|error| {
            let error = not_found("s3files:DeleteAccessPoint", &error, Missing::AccessPoint);
            // Gone is gone, whichever attempt did it.
            if error.is_not_found() { error } else { attempts.mark(error) }
        })
    }

    async fn file_system(&self, id: &FileSystemId) -> Result<FileSystem, EfsError> {
        if !self.get_file_system.is_refused() {
            match self.got_file_system(id).await {
                Err(error) if error.kind == EfsErrorKind::AccessDenied => self.get_file_system.refused(&error),
                answer => return answer,
            }
        }
        self.listed_file_system(id).await
    }

    async fn mount_targets(&self, file_system: &FileSystemId) -> Result<Vec<MountTarget>, EfsError> {
        const OPERATION: &str = "s3files:ListMountTargets";
        let mut targets = Vec::new();
        let mut token: Option<String> = None;
        for _ in 0..MOST_PAGES {
            let attempts = Attempts::default();
            let call = self.clients.mount_targets.list_mount_targets().file_system_id(file_system.as_str());
            let answer = call.set_next_token(token).customize().interceptor(attempts.clone()).send().await;
            let answer = answer.map_err(|error| attempts.explain(not_found(OPERATION, &error, Missing::FileSystem)))?;
            targets.extend(answer.mount_targets().iter().map(|target| {
                MountTarget {
                    id: target.mount_target_id().to_owned(),
                    state: target.status().map_or(LifeCycle::Unknown, |state| LifeCycle::from_word(state.as_str())),
                    availability_zone: None,
                    availability_zone_id: target.availability_zone_id().map(str::to_owned),
                    addresses: [target.ipv4_address(), target.ipv6_address()]
                        .into_iter()
                        .flatten()
                        .filter_map(|address| address.parse().ok())
                        .collect(),
                }
            }));
            match answer.next_token {
                Some(next) => token = Some(next),
                None => return Ok(targets),
            }
        }
        Err(unreadable(OPERATION, format!("more than {MOST_PAGES} pages of mount targets of {file_system}")))
    }

    async fn tag(&self, id: &AccessPointId, tags: &BTreeMap<String, String>) -> Result<(), EfsError> {
        const OPERATION: &str = "s3files:TagResource";
        let tags = sdk_tags(tags).map_err(malformed(OPERATION))?;
        let attempts = Attempts::default();
        let call = self.clients.tags.tag_resource().resource_id(id.as_str()).set_tags(Some(tags));
        let answer = call.customize().interceptor(attempts.clone()).send().await;
        answer.map(drop).map_err(|error| attempts.explain(not_found(OPERATION, &error, Missing::AccessPoint)))
    }
}

/// What an operation is about, which AWS doesn't say when it knows none.
#[derive(Debug, Clone, Copy)]
enum Missing {
    FileSystem,
    AccessPoint,
}

/// The SDK's error as ours.
fn not_found<E>(
    operation: &'static str,
    error: &aws_sdk_s3files::error::SdkError<E, aws_smithy_runtime_api::http::Response>,
    missing: Missing,
) -> EfsError
where
    E: aws_sdk_s3files::error::ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
{
    let mut told = efs_error(operation, error);
    if told.kind == EfsErrorKind::Other("ResourceNotFoundException".to_owned()) {
        told.kind = match missing {
            Missing::FileSystem => EfsErrorKind::FileSystemNotFound,
            Missing::AccessPoint => EfsErrorKind::AccessPointNotFound,
        };
    }
    told
}

fn posix_user(user: &PosixUser) -> Result<sdk::PosixUser, BuildError> {
    let secondary = user.secondary_gids.iter().map(|gid| i64::from(*gid)).collect::<Vec<_>>();
    sdk::PosixUser::builder()
        .uid(user.uid.into())
        .gid(user.gid.into())
        .set_secondary_gids((!secondary.is_empty()).then_some(secondary))
        .build()
}

fn creation_permissions(owner: &Owner) -> Result<sdk::CreationPermissions, BuildError> {
    sdk::CreationPermissions::builder()
        .owner_uid(owner.uid.into())
        .owner_gid(owner.gid.into())
        .permissions(&owner.permissions)
        .build()
}

fn sdk_tags(tags: &BTreeMap<String, String>) -> Result<Vec<sdk::Tag>, BuildError> {
    tags.iter().map(|(key, value)| sdk::Tag::builder().key(key).value(value).build()).collect()
}

fn file_system(id: &FileSystemId, state: Option<&sdk::LifeCycleState>, message: Option<&str>) -> FileSystem {
    FileSystem {
        id: id.clone(),
        state: state.map_or(LifeCycle::Unknown, |state| LifeCycle::from_word(state.as_str())),
        availability_zone: None,
        size_bytes: 0,
        status_message: message.map(str::to_owned),
    }
}

/// The parts that all answers have in common, and those that lists don't have.
struct Described<'a> {
    id: &'a str,
    file_system: &'a str,
    user: Option<&'a sdk::PosixUser>,
    root: Option<&'a sdk::RootDirectory>,
    state: &'a sdk::LifeCycleState,
    /// Token and tags.
    more: Option<(&'a str, &'a [sdk::Tag])>,
}

fn access_point(operation: &'static str, it: Described<'_>) -> Result<AccessPoint, EfsError> {
    let id: AccessPointId = it.id.parse().map_err(|e| unreadable(operation, e))?;
    let file_system: FileSystemId = it.file_system.parse().map_err(|e| unreadable(operation, e))?;
    let number = |value: i64| u32::try_from(value).map_err(|_| unreadable(operation, format!("id {value} of {id}")));
    let posix_user = match it.user {
        Some(user) => Some(PosixUser {
            uid: number(user.uid())?,
            gid: number(user.gid())?,
            secondary_gids: user.secondary_gids().iter().copied().map(number).collect::<Result<_, _>>()?,
        }),
        None => None,
    };
    let root_owner = match it.root.and_then(sdk::RootDirectory::creation_permissions) {
        Some(info) => Some(Owner {
            uid: number(info.owner_uid())?,
            gid: number(info.owner_gid())?,
            permissions: info.permissions().to_owned(),
        }),
        None => None,
    };
    let tags = it.more.iter().flat_map(|(_, tags)| tags.iter());
    Ok(AccessPoint {
        file_system: file_system.of(FileSystemKind::S3Files),
        client_token: it.more.map(|(token, _)| token.to_owned()).unwrap_or_default(),
        posix_user,
        root: it.root.and_then(sdk::RootDirectory::path).unwrap_or("/").to_owned(),
        root_owner,
        state: LifeCycle::from_word(it.state.as_str()),
        tags: tags.map(|tag| (tag.key().to_owned(), tag.value().to_owned())).collect(),
        tags_told: it.more.is_some(),
        id,
    })
}
