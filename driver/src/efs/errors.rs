//! What an AWS call failed with, independent of the SDK's types.

use std::fmt;

use crate::files::FileError;
use crate::volume::AccessPointId;

/// The failures that the driver tells apart. The variants carry AWS's own error names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EfsErrorKind {
    /// `AccessPointAlreadyExists`: the client token is taken by this access point.
    AccessPointAlreadyExists(Option<AccessPointId>),
    /// `AccessPointLimitExceeded`: the file system holds as many access points as the account allows.
    AccessPointLimitExceeded,
    /// `AccessPointNotFound`.
    AccessPointNotFound,
    /// `FileSystemNotFound`.
    FileSystemNotFound,
    /// `MountTargetNotFound`.
    MountTargetNotFound,
    /// `IncorrectFileSystemLifeCycleState`: the file system is not `available`.
    IncorrectFileSystemLifeCycleState,
    /// S3 Files can't get at the bucket, or at something else that it needs; the message is AWS's.
    Misconfigured,
    /// `BadRequest` or `ValidationException`: AWS refuses the values.
    BadRequest,
    /// `ThrottlingException` and its kin: too many calls, after the client's own retries.
    Throttled,
    /// `AccessDeniedException` or `AccessDenied` (STS): the principal lacks a permission.
    AccessDenied,
    /// `AccessDenied` of STS: the role can't be assumed.
    RoleDenied,
    /// Missing, expired or wrong credentials.
    Unauthenticated,
    /// `InternalServerError` or another 5xx: AWS failed; the outcome of a mutation is unknown.
    Server,
    /// The call took longer than its limit; the outcome of a mutation is unknown.
    Timeout,
    /// The endpoint could not be reached, or the connection broke; the outcome of a mutation is unknown.
    Connection,
    /// The proxy, the certificate authorities, the profile or the token that this process is told to use can't be used, so nothing was sent.
    Settings,
    /// No region can be found, or none that fits what is asked for.
    NoRegion,
    /// The region can't be found out just now: Kubernetes, which may know it, is away.
    RegionNotNow,
    /// No connection can be made because too many files are open on this side.
    OutOfFiles,
    /// An answer that cannot be read; the outcome of a mutation is unknown.
    Unreadable,
    /// The last attempt of a mutation was refused with this, but the answer of an earlier one was lost: the outcome is unknown.
    AfterLostAttempt(Box<EfsErrorKind>),
    /// An error with this code, which the driver does not know, or a fault on this side before anything was sent.
    Other(String),
}

/// A failed call of the EFS API (or of STS on the way to it), after all retries.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct EfsError {
    /// The API operation, such as `CreateAccessPoint`, or `s3files:CreateAccessPoint`.
    pub operation: &'static str,
    /// What it failed with.
    pub kind: EfsErrorKind,
    /// AWS's message, or the chain of causes below the SDK.
    pub message: String,
    /// `x-amzn-RequestId` of the last answer; AWS support asks for it.
    pub request_id: Option<String>,
}

impl EfsError {
    /// A file that the environment names can't be read.
    pub(super) fn from_file(operation: &'static str, error: &FileError) -> Self {
        Self { operation, kind: EfsErrorKind::Settings, message: error.to_string(), request_id: None }
    }

    /// The action of an IAM policy that allows the operation.
    fn action(&self) -> String {
        match self.operation.contains(':') {
            true => self.operation.to_owned(),
            false => format!("elasticfilesystem:{}", self.operation),
        }
    }

    /// Whether the thing that the call was about does not exist (any more).
    pub fn is_not_found(&self) -> bool {
        matches!(
            self.kind,
            EfsErrorKind::AccessPointNotFound | EfsErrorKind::FileSystemNotFound | EfsErrorKind::MountTargetNotFound
        )
    }
}

impl EfsErrorKind {
    /// Whether the error means for sure that the call changed nothing.
    pub fn made_nothing(&self) -> bool {
        match self {
            // It may have been an earlier attempt's connection that a later one could not make again.
            Self::Settings => false,
            Self::Server | Self::Timeout | Self::Connection | Self::Unreadable | Self::AfterLostAttempt(_) => false,
            // The token is taken: by an earlier volume, or by an earlier attempt of the same call.
            Self::AccessPointAlreadyExists(_) => false,
            Self::AccessPointLimitExceeded
            | Self::AccessPointNotFound
            | Self::FileSystemNotFound
            | Self::MountTargetNotFound
            | Self::IncorrectFileSystemLifeCycleState
            | Self::Misconfigured
            | Self::BadRequest
            | Self::Throttled
            | Self::AccessDenied
            | Self::RoleDenied
            | Self::Unauthenticated
            | Self::NoRegion
            | Self::RegionNotNow
            | Self::OutOfFiles
            | Self::Other(_) => true,
        }
    }

    /// AWS's name of the error, or a word for what went wrong on the way.
    pub fn name(&self) -> &str {
        match self {
            Self::AccessPointAlreadyExists(_) => "AccessPointAlreadyExists",
            Self::AccessPointLimitExceeded => "AccessPointLimitExceeded",
            Self::AccessPointNotFound => "AccessPointNotFound",
            Self::FileSystemNotFound => "FileSystemNotFound",
            Self::MountTargetNotFound => "MountTargetNotFound",
            Self::IncorrectFileSystemLifeCycleState => "IncorrectFileSystemLifeCycleState",
            Self::Misconfigured => "misconfigured",
            Self::BadRequest => "BadRequest",
            Self::Throttled => "ThrottlingException",
            Self::AccessDenied => "AccessDeniedException",
            Self::RoleDenied => "AccessDenied of STS",
            Self::Unauthenticated => "invalid credentials",
            Self::Server => "InternalServerError",
            Self::Timeout => "timeout",
            Self::Connection => "connection failure",
            Self::Settings => "unusable settings",
            Self::NoRegion => "no usable region",
            Self::RegionNotNow => "no region yet",
            Self::OutOfFiles => "too many open files",
            Self::Unreadable => "an unreadable answer",
            Self::AfterLostAttempt(last) => last.name(),
            Self::Other(code) => code,
        }
    }
}

impl fmt::Display for EfsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} failed with {}", self.operation, self.kind.name())?;
        if let EfsErrorKind::AfterLostAttempt(_) = self.kind {
            f.write_str(" after an attempt whose answer was lost")?;
        }
        if !self.message.is_empty() {
            write!(f, ": {}", self.message)?;
        }
        if self.kind == EfsErrorKind::AccessDenied && self.operation != "AssumeRole" {
            // Kubernetes shows this text in an event; whoever reads it wants to know what to put into the policy.
            write!(f, "; the IAM policy must allow {}", self.action())?;
        }
        match &self.request_id {
            Some(id) => write!(f, " (AWS request id {id})"),
            None => Ok(()),
        }
    }
}
