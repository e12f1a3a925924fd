//! The EFS API through the AWS SDK.

use std::collections::BTreeMap;
use std::error::Error as StdError;

use async_trait::async_trait;
use aws_sdk_efs::Client;
use aws_sdk_efs::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_efs::operation::create_access_point::CreateAccessPointError;
use aws_sdk_efs::types as sdk;
use aws_sdk_sts::operation::assume_role::AssumeRoleError;
use aws_sdk_sts::operation::assume_role_with_web_identity::AssumeRoleWithWebIdentityError;
use aws_smithy_runtime_api::http::Response;
use aws_types::request_id::RequestId;
use efs_common::causes::{causes, chain};
use efs_common::open_files::OutOfFiles;

use super::api::{
    AccessPoint, AccessPointPage, EfsApi, FileSystem, LifeCycle, MountTarget, NewAccessPoint, Owner, PosixUser,
};
use super::attempts::Attempts;
use super::credentials::Doubtful;
use super::errors::{EfsError, EfsErrorKind};
use super::refusal::is_throttle;
use crate::bounded_program;
use crate::files::FileError;
use crate::volume::{AccessPointId, FileSystemId};

/// One SDK client per group of operations, each with retries of its own, so that one throttled operation does not use up
/// the retry budget of another.
#[derive(Debug, Clone)]
pub struct OperationClients {
    /// CreateAccessPoint.
    pub create: Client,
    /// DeleteAccessPoint.
    pub delete: Client,
    /// DescribeAccessPoints.
    pub access_points: Client,
    /// DescribeFileSystems.
    pub file_systems: Client,
    /// DescribeMountTargets.
    pub mount_targets: Client,
    /// TagResource.
    pub tags: Client,
}

impl OperationClients {
    /// The same client for every operation.
    pub fn all(client: &Client) -> Self {
        Self {
            create: client.clone(),
            delete: client.clone(),
            access_points: client.clone(),
            file_systems: client.clone(),
            mount_targets: client.clone(),
            tags: client.clone(),
        }
    }
}

/// [`EfsApi`] over the AWS SDK.
#[derive(Debug, Clone)]
pub struct AwsEfs {
    clients: OperationClients,
}

impl AwsEfs {
    /// Uses these clients; retries, timeouts and credentials are theirs.
    pub fn new(clients: OperationClients) -> Self {
        Self { clients }
    }
}

#[async_trait]
impl EfsApi for AwsEfs {
    async fn create_access_point(&self, request: &NewAccessPoint) -> Result<AccessPoint, EfsError> {
        const OPERATION: &str = "CreateAccessPoint";
        let root = sdk::RootDirectory::builder()
            .path(&request.root)
            .set_creation_info(
                request.root_owner.as_ref().map(creation_info).transpose().map_err(malformed(OPERATION))?,
            )
            .build();
        let user = request.posix_user.as_ref().map(posix_user).transpose().map_err(malformed(OPERATION))?;
        let attempts = Attempts::default();
        let answer = self
            .clients
            .create
            .create_access_point()
            .client_token(&request.client_token)
            .file_system_id(request.file_system.as_str())
            .set_posix_user(user)
            .root_directory(root)
            .set_tags(Some(sdk_tags(&request.tags).map_err(malformed(OPERATION))?))
            .customize()
            .interceptor(attempts.clone())
            .send()
            .await
            .map_err(|error| {
                let taken_by = match error.as_service_error() {
                    Some(CreateAccessPointError::AccessPointAlreadyExists(taken)) => {
                        Some(taken.access_point_id().parse().ok())
                    }
                    _ => None,
                };
                let mut error = efs_error(OPERATION, &error);
                if let Some(id) = taken_by {
                    error.kind = EfsErrorKind::AccessPointAlreadyExists(id);
                }
                attempts.mark(error)
            })?;
        access_point(
            OPERATION,
            Described {
                id: answer.access_point_id(),
                file_system: answer.file_system_id(),
                client_token: answer.client_token(),
                user: answer.posix_user(),
                root: answer.root_directory(),
                state: answer.life_cycle_state(),
                tags: answer.tags(),
            },
        )
    }

    async fn access_point(&self, _: &FileSystemId, id: &AccessPointId) -> Result<AccessPoint, EfsError> {
        const OPERATION: &str = "DescribeAccessPoints";
        let attempts = Attempts::default();
        let call = self.clients.access_points.describe_access_points().access_point_id(id.as_str());
        let answer = call.customize().interceptor(attempts.clone()).send().await;
        let answer = answer.map_err(|error| attempts.explain(efs_error(OPERATION, &error)))?;
        match answer.access_points() {
            [one] => access_point(OPERATION, Described::from(one)),
            [] => Err(failure(OPERATION, EfsErrorKind::AccessPointNotFound, format!("no access point {id}"))),
            many => Err(unreadable(OPERATION, format!("{} access points answer to {id}", many.len()))),
        }
    }

    async fn access_points(
        &self,
        file_system: Option<&FileSystemId>,
        limit: u16,
        token: Option<&str>,
    ) -> Result<AccessPointPage, EfsError> {
        const OPERATION: &str = "DescribeAccessPoints";
        let attempts = Attempts::default();
        let answer = self
            .clients
            .access_points
            .describe_access_points()
            .set_file_system_id(file_system.map(ToString::to_string))
            .max_results(i32::from(limit))
            .set_next_token(token.map(str::to_owned))
            .customize()
            .interceptor(attempts.clone())
            .send()
            .await
            .map_err(|error| attempts.explain(efs_error(OPERATION, &error)))?;
        let access_points = answer
            .access_points()
            .iter()
            .map(|one| access_point(OPERATION, Described::from(one)))
            .collect::<Result<_, _>>()?;
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
            let error = efs_error("DeleteAccessPoint", &error);
            // Gone is gone, whichever attempt did it.
            if error.is_not_found() { error } else { attempts.mark(error) }
        })
    }

    async fn file_system(&self, id: &FileSystemId) -> Result<FileSystem, EfsError> {
        const OPERATION: &str = "DescribeFileSystems";
        let attempts = Attempts::default();
        let call = self.clients.file_systems.describe_file_systems().file_system_id(id.as_str());
        let answer = call.customize().interceptor(attempts.clone()).send().await;
        let answer = answer.map_err(|error| attempts.explain(efs_error(OPERATION, &error)))?;
        match answer.file_systems() {
            [one] => Ok(FileSystem {
                id: id.clone(),
                state: LifeCycle::from_word(one.life_cycle_state().as_str()),
                availability_zone: one.availability_zone_name().map(str::to_owned),
                size_bytes: one.size_in_bytes().map_or(0, |size| u64::try_from(size.value()).unwrap_or(0)),
                status_message: None,
            }),
            [] => Err(failure(OPERATION, EfsErrorKind::FileSystemNotFound, format!("no file system {id}"))),
            many => Err(unreadable(OPERATION, format!("{} file systems answer to {id}", many.len()))),
        }
    }

    async fn mount_targets(&self, file_system: &FileSystemId) -> Result<Vec<MountTarget>, EfsError> {
        const OPERATION: &str = "DescribeMountTargets";
        // One mount target a zone: a second page is rare and a hundredth one a server that loops.
        const MOST_PAGES: usize = 100;
        let mut targets = Vec::new();
        let mut marker: Option<String> = None;
        for _ in 0..MOST_PAGES {
            let attempts = Attempts::default();
            let answer = self
                .clients
                .mount_targets
                .describe_mount_targets()
                .file_system_id(file_system.as_str())
                .set_marker(marker)
                .customize()
                .interceptor(attempts.clone())
                .send()
                .await
                .map_err(|error| attempts.explain(efs_error(OPERATION, &error)))?;
            targets.extend(answer.mount_targets().iter().map(|target| {
                MountTarget {
                    id: target.mount_target_id().to_owned(),
                    state: LifeCycle::from_word(target.life_cycle_state().as_str()),
                    availability_zone: target.availability_zone_name().map(str::to_owned),
                    availability_zone_id: target.availability_zone_id().map(str::to_owned),
                    addresses: [target.ip_address(), target.ipv6_address()]
                        .into_iter()
                        .flatten()
                        .filter_map(|address| address.parse().ok())
                        .collect(),
                }
            }));
            match answer.next_marker {
                Some(next) => marker = Some(next),
                None => return Ok(targets),
            }
        }
        Err(unreadable(OPERATION, format!("more than {MOST_PAGES} pages of mount targets of {file_system}")))
    }

    async fn tag(&self, id: &AccessPointId, tags: &BTreeMap<String, String>) -> Result<(), EfsError> {
        const OPERATION: &str = "TagResource";
        let tags = sdk_tags(tags).map_err(malformed(OPERATION))?;
        let attempts = Attempts::default();
        let call = self.clients.tags.tag_resource().resource_id(id.as_str()).set_tags(Some(tags));
        let answer = call.customize().interceptor(attempts.clone()).send().await;
        answer.map(drop).map_err(|error| attempts.explain(efs_error(OPERATION, &error)))
    }
}

fn posix_user(user: &PosixUser) -> Result<sdk::PosixUser, aws_smithy_types::error::operation::BuildError> {
    let secondary = user.secondary_gids.iter().map(|gid| i64::from(*gid)).collect::<Vec<_>>();
    sdk::PosixUser::builder()
        .uid(user.uid.into())
        .gid(user.gid.into())
        .set_secondary_gids((!secondary.is_empty()).then_some(secondary))
        .build()
}

fn creation_info(owner: &Owner) -> Result<sdk::CreationInfo, aws_smithy_types::error::operation::BuildError> {
    sdk::CreationInfo::builder()
        .owner_uid(owner.uid.into())
        .owner_gid(owner.gid.into())
        .permissions(&owner.permissions)
        .build()
}

fn sdk_tags(tags: &BTreeMap<String, String>) -> Result<Vec<sdk::Tag>, aws_smithy_types::error::operation::BuildError> {
    tags.iter().map(|(key, value)| sdk::Tag::builder().key(key).value(value).build()).collect()
}

/// The parts that CreateAccessPoint's and DescribeAccessPoints' answers have in common.
struct Described<'a> {
    id: Option<&'a str>,
    file_system: Option<&'a str>,
    client_token: Option<&'a str>,
    user: Option<&'a sdk::PosixUser>,
    root: Option<&'a sdk::RootDirectory>,
    state: Option<&'a sdk::LifeCycleState>,
    tags: &'a [sdk::Tag],
}

impl<'a> From<&'a sdk::AccessPointDescription> for Described<'a> {
    fn from(it: &'a sdk::AccessPointDescription) -> Self {
        Self {
            id: it.access_point_id(),
            file_system: it.file_system_id(),
            client_token: it.client_token(),
            user: it.posix_user(),
            root: it.root_directory(),
            state: it.life_cycle_state(),
            tags: it.tags(),
        }
    }
}

fn access_point(operation: &'static str, it: Described<'_>) -> Result<AccessPoint, EfsError> {
    let id = it.id.unwrap_or_default().parse().map_err(|e| unreadable(operation, e))?;
    let file_system = it.file_system.unwrap_or_default().parse().map_err(|e| unreadable(operation, e))?;
    let number = |value: i64| u32::try_from(value).map_err(|_| unreadable(operation, format!("id {value} of {id}")));
    let posix_user = match it.user {
        Some(user) => Some(PosixUser {
            uid: number(user.uid())?,
            gid: number(user.gid())?,
            secondary_gids: user.secondary_gids().iter().copied().map(number).collect::<Result<_, _>>()?,
        }),
        None => None,
    };
    let root_owner = match it.root.and_then(sdk::RootDirectory::creation_info) {
        Some(info) => Some(Owner {
            uid: number(info.owner_uid())?,
            gid: number(info.owner_gid())?,
            permissions: info.permissions().to_owned(),
        }),
        None => None,
    };
    let root = it.root.and_then(sdk::RootDirectory::path).unwrap_or("/").to_owned();
    Ok(AccessPoint {
        file_system,
        client_token: it.client_token.unwrap_or_default().to_owned(),
        posix_user,
        root,
        root_owner,
        state: it.state.map_or(LifeCycle::Unknown, |state| LifeCycle::from_word(state.as_str())),
        tags: it.tags.iter().map(|tag| (tag.key().to_owned(), tag.value().to_owned())).collect(),
        tags_told: true,
        id,
    })
}

pub(super) fn failure(operation: &'static str, kind: EfsErrorKind, message: impl ToString) -> EfsError {
    EfsError { operation, kind, message: message.to_string(), request_id: None }
}

pub(super) fn unreadable(operation: &'static str, what: impl ToString) -> EfsError {
    failure(operation, EfsErrorKind::Unreadable, what)
}

pub(super) fn malformed(
    operation: &'static str,
) -> impl Fn(aws_smithy_types::error::operation::BuildError) -> EfsError {
    move |error| failure(operation, EfsErrorKind::BadRequest, error)
}

/// Turns the SDK's error into ours.
pub(super) fn efs_error<E>(operation: &'static str, error: &SdkError<E, Response>) -> EfsError
where
    E: ProvideErrorMetadata + StdError + Send + Sync + 'static,
{
    let request_id = error.request_id().map(str::to_owned);
    let (kind, message) = match error {
        SdkError::ServiceError(context) => {
            let status = context.raw().status().as_u16();
            let kind = kind_of_code(error.code().unwrap_or_default(), status);
            let message = match &kind {
                EfsErrorKind::Unreadable => no_answer_of_aws(context.raw()),
                _ => error.message().unwrap_or_default().to_owned(),
            };
            (kind, message)
        }
        SdkError::TimeoutError(_) => (EfsErrorKind::Timeout, causes(error)),
        SdkError::ResponseError(context) => {
            let status = context.raw().status();
            let kind = if status.is_server_error() { EfsErrorKind::Server } else { EfsErrorKind::Unreadable };
            (kind, causes(error))
        }
        other => {
            if let Some(refused) = credentials_failure(operation, other) {
                return refused;
            }
            if let Some(reason) = OutOfFiles::among_causes(other) {
                return failure(operation, EfsErrorKind::OutOfFiles, reason.to_string());
            }
            let kind = match other {
                SdkError::DispatchFailure(failure) if failure.is_timeout() => EfsErrorKind::Timeout,
                // What our own HTTP client could not even try (`http_client`).
                SdkError::DispatchFailure(failure) if failure.is_user() => EfsErrorKind::Settings,
                SdkError::DispatchFailure(_) => EfsErrorKind::Connection,
                _ => EfsErrorKind::Other("a client error".to_owned()),
            };
            (kind, causes(other))
        }
    };
    EfsError { operation, kind, message, request_id }
}

/// What came in the place of AWS's JSON. Not its text: of STS that would be credentials.
fn no_answer_of_aws(answer: &Response) -> String {
    if answer.status().as_u16() == 407 {
        return "HTTP status 407: the proxy wants a user and a password; give them in its address, as in \
                HTTPS_PROXY=http://user:password@proxy:3128"
            .to_owned();
    }
    let (status, kind) = (answer.status().as_u16(), answer.headers().get("content-type").unwrap_or("no content type"));
    format!(
        "HTTP status {status} with {kind}, which is not what the API answers; a proxy, a portal or a wrong endpoint (AWS_ENDPOINT_URL) may have \
         answered"
    )
}

/// Looks for a failure to get credentials in an error's chain of causes. A refusal of STS is told like one of EFS.
fn credentials_failure(operation: &'static str, error: &(dyn StdError + 'static)) -> Option<EfsError> {
    let mut failure = credentials_refusal(operation, error)?;
    let doubtful = chain(error).find_map(|error| error.downcast_ref::<Doubtful>()).map(ToString::to_string);
    if let Some(doubts) = doubtful.filter(|doubts| !failure.message.contains(doubts)) {
        failure.message = format!("{}; {doubts}", failure.message);
    }
    Some(failure)
}

fn credentials_refusal(operation: &'static str, error: &(dyn StdError + 'static)) -> Option<EfsError> {
    let mut credentials = None;
    for error in chain(error) {
        let refused = sts_refusal::<AssumeRoleError>(operation, "sts:AssumeRole", error).or_else(|| {
            sts_refusal::<AssumeRoleWithWebIdentityError>(operation, "sts:AssumeRoleWithWebIdentity", error)
        });
        if refused.is_some() {
            return refused;
        }
        if let Some(file) = error.downcast_ref::<FileError>() {
            return Some(EfsError::from_file(operation, file));
        }
        if error.is::<aws_credential_types::provider::error::CredentialsError>() {
            let message = causes(error);
            // A program that hangs today may answer tomorrow.
            let kind = match message.contains(bounded_program::LATE) {
                true => EfsErrorKind::Settings,
                false => EfsErrorKind::Unauthenticated,
            };
            credentials = Some(failure(operation, kind, message));
        }
    }
    credentials
}

/// A cause that is a failed call of STS. What is no answer of STS (a timeout, a broken connection) is told by its chain.
fn sts_refusal<E>(operation: &'static str, call: &str, cause: &(dyn StdError + 'static)) -> Option<EfsError>
where
    E: ProvideErrorMetadata + StdError + Send + Sync + 'static,
{
    let error = cause.downcast_ref::<SdkError<E, Response>>()?;
    let mut inner = efs_error(operation, error);
    inner.kind = match inner.kind {
        EfsErrorKind::AccessDenied => EfsErrorKind::RoleDenied,
        // https://docs.aws.amazon.com/STS/latest/APIReference/API_AssumeRoleWithWebIdentity.html#API_AssumeRoleWithWebIdentity_Errors: what it
        // is given is no token, or nobody's that it knows.
        EfsErrorKind::Other(code)
            if matches!(code.as_str(), "ValidationError" | "InvalidIdentityToken" | "IDPRejectedClaim") =>
        {
            EfsErrorKind::Unauthenticated
        }
        EfsErrorKind::Other(code) if code == "IDPCommunicationError" => EfsErrorKind::Server,
        other => other,
    };
    Some(EfsError { message: format!("{call}: {}", inner.message), ..inner })
}

/// What an AWS error code means. `status` is the HTTP status, 0 when unknown.
fn kind_of_code(code: &str, status: u16) -> EfsErrorKind {
    match code {
        "AccessPointAlreadyExists" => EfsErrorKind::AccessPointAlreadyExists(None),
        "AccessPointLimitExceeded" | "ServiceQuotaExceededException" => EfsErrorKind::AccessPointLimitExceeded,
        "AccessPointNotFound" => EfsErrorKind::AccessPointNotFound,
        "FileSystemNotFound" => EfsErrorKind::FileSystemNotFound,
        "MountTargetNotFound" => EfsErrorKind::MountTargetNotFound,
        // What S3 Files calls so names an access point in most cases, which the caller looks at.
        "IncorrectFileSystemLifeCycleState" | "ConflictException" => EfsErrorKind::IncorrectFileSystemLifeCycleState,
        "BadRequest" | "ValidationException" | "InvalidParameterValue" => EfsErrorKind::BadRequest,
        "AccessDenied" | "AccessDeniedException" | "UnauthorizedOperation" => EfsErrorKind::AccessDenied,
        "ExpiredToken"
        | "ExpiredTokenException"
        | "InvalidClientTokenId"
        | "UnrecognizedClientException"
        | "InvalidSignatureException"
        | "SignatureDoesNotMatch"
        | "IncompleteSignature"
        | "MissingAuthenticationToken"
        | "MissingAuthenticationTokenException" => EfsErrorKind::Unauthenticated,
        "InternalServerError"
        | "InternalFailure"
        | "InternalServerException"
        | "ServiceUnavailable"
        | "ServiceUnavailableException"
        | "DependencyTimeout" => EfsErrorKind::Server,
        code if is_throttle(code) => EfsErrorKind::Throttled,
        // AWS leads nobody elsewhere: a portal or another service has answered.
        _ if (200..400).contains(&status) => EfsErrorKind::Unreadable,
        _ if status == 429 => EfsErrorKind::Throttled,
        _ if status >= 500 => EfsErrorKind::Server,
        _ if status == 403 => EfsErrorKind::AccessDenied,
        // AWS names all its errors.
        "" => EfsErrorKind::Unreadable,
        code => EfsErrorKind::Other(code.to_owned()),
    }
}
