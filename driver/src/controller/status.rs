//! The one table from errors to gRPC codes, and what an operator should do about each.
//!
//! csi-provisioner divides codes into final ones (the volume is not being made) and CANCELLED, DEADLINE_EXCEEDED,
//! UNAVAILABLE, RESOURCE_EXHAUSTED and ABORTED, after which it repeats the call until it gets a final answer, even when the claim
//! is gone by then. An answer whose outcome AWS left open must therefore be non-final, or an access point would be lost.

use efs_common::retry::Retry;
use efs_directories::{DirectoryError, FilesError};
use tonic::{Code, Status};

use super::ControllerError;
use super::cluster::ClusterError;
use crate::efs::EfsErrorKind;

/// What an AWS error is answered with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Answer {
    /// The gRPC code.
    pub code: Code,
    /// What the operator should do.
    pub advice: &'static str,
}

/// What to do where the file server refuses the controller.
const CLIENT_ACCESS: &str = "the file system's policy must let the controller's role mount and write as root \
    (elasticfilesystem:ClientMount, ClientWrite and ClientRootAccess; s3files: for S3 Files)";

/// Whether csi-provisioner takes the code as the end of a CreateVolume, with nothing made.
pub fn is_final(code: Code) -> bool {
    !matches!(
        code,
        Code::Cancelled | Code::DeadlineExceeded | Code::Unavailable | Code::ResourceExhausted | Code::Aborted
    )
}

/// The table of AWS errors.
pub fn answer_to(kind: &EfsErrorKind) -> Answer {
    let (code, advice) = match kind {
        EfsErrorKind::AccessPointAlreadyExists(_) => {
            (Code::Aborted, "another call is making this volume; the provisioner repeats the call")
        }
        EfsErrorKind::AccessPointLimitExceeded => (
            Code::ResourceExhausted,
            "delete unused access points (efs-csi-driver orphans), raise the quota of access points, or use another file system",
        ),
        EfsErrorKind::AccessPointNotFound => (Code::NotFound, "the access point was deleted behind the driver's back"),
        EfsErrorKind::FileSystemNotFound => (
            Code::InvalidArgument,
            "check fileSystemId, the driver's --region, and the account (awsRoleArn for another one)",
        ),
        EfsErrorKind::MountTargetNotFound => {
            (Code::FailedPrecondition, "create a mount target in the file system's VPC")
        }
        EfsErrorKind::IncorrectFileSystemLifeCycleState => {
            (Code::FailedPrecondition, "wait until the file system is available")
        }
        EfsErrorKind::Misconfigured => (
            Code::Unavailable,
            "correct what the message names: bucket, role of the file system, KMS key; the call is repeated",
        ),
        EfsErrorKind::BadRequest => (Code::InvalidArgument, "correct the StorageClass parameter that AWS names"),
        EfsErrorKind::Throttled => {
            (Code::Unavailable, "the provisioner repeats the call; lower its --worker-threads if this lasts")
        }
        EfsErrorKind::AccessDenied => {
            (Code::PermissionDenied, "add the action to the IAM policy of the controller's role")
        }
        EfsErrorKind::RoleDenied => (
            Code::PermissionDenied,
            "what is refused is to assume the role: its trust policy must name the controller's own role, and the externalId if it asks \
             for one; the own role's policy must allow the STS action",
        ),
        EfsErrorKind::Unauthenticated => (
            Code::Unauthenticated,
            "check the controller's credentials: service account role, awsRoleArn, externalId, clock",
        ),
        EfsErrorKind::Server => (Code::Unavailable, "AWS failed; the provisioner repeats the call"),
        EfsErrorKind::Timeout => (
            Code::DeadlineExceeded,
            "check the way to the EFS API (VPC endpoint, proxy, security group); the call is repeated",
        ),
        EfsErrorKind::Connection => (
            Code::Unavailable,
            "check the way to the EFS API (DNS, VPC endpoint, proxy, security group); the call is repeated",
        ),
        EfsErrorKind::Settings => {
            (Code::Unavailable, "correct the setting that the message names; the call is repeated")
        }
        EfsErrorKind::NoRegion => {
            (Code::FailedPrecondition, "say the region in one of the ways that the message names")
        }
        EfsErrorKind::RegionNotNow => (
            Code::Unavailable,
            "say the region in one of the ways that the message names, or wait for the API server; the call is repeated",
        ),
        EfsErrorKind::OutOfFiles => {
            (Code::ResourceExhausted, "raise the limit that the message names; the provisioner repeats the call")
        }
        EfsErrorKind::Unreadable => (Code::Unavailable, "see the message; the provisioner repeats the call"),
        EfsErrorKind::AfterLostAttempt(_) => {
            (Code::Unavailable, "an earlier attempt may have done the work; the provisioner repeats the call")
        }
        EfsErrorKind::Other(_) => (Code::Internal, "see the message; report it if it is not clear"),
    };
    Answer { code, advice }
}

/// The gRPC code of a controller error.
pub fn code_of(error: &ControllerError) -> Code {
    match error {
        ControllerError::Efs { source, .. } => answer_to(&source.kind).code,
        ControllerError::Invalid(_) | ControllerError::Parameters(_) => Code::InvalidArgument,
        ControllerError::OutOfRange(_) => Code::OutOfRange,
        ControllerError::Secret(_) => Code::InvalidArgument,
        ControllerError::Cluster { source: ClusterError::Forbidden { .. }, .. } => Code::PermissionDenied,
        ControllerError::Cluster { source, .. } => match source.retry() {
            Retry::Later => Code::Unavailable,
            // What the StorageClass names isn't there, or isn't what it should be.
            Retry::Never => Code::InvalidArgument,
        },
        ControllerError::Conflict { .. } => Code::AlreadyExists,
        ControllerError::Busy(_) | ControllerError::Token(_) => Code::Aborted,
        ControllerError::IdsExhausted { .. } | ControllerError::Topology { .. } => Code::ResourceExhausted,
        ControllerError::NotFound(..) => Code::NotFound,
        ControllerError::NotKnownNow { .. } => Code::Unavailable,
        ControllerError::WrongFileSystem { .. } | ControllerError::MountTarget(_) => Code::FailedPrecondition,
        // Not final: the access point exists, and a provisioner that forgot it would leave it behind.
        ControllerError::Broken { .. } => Code::Unavailable,
        ControllerError::InUse { creating: true, .. } => Code::AlreadyExists,
        ControllerError::InUse { .. } => Code::FailedPrecondition,
        ControllerError::UnknownAccount { .. } => Code::Unavailable,
        ControllerError::Directories(error) => directory_code(error),
        ControllerError::Files { .. } => Code::ResourceExhausted,
        ControllerError::Unreachable { .. } | ControllerError::Unfinished(_) => Code::Unavailable,
    }
}

fn directory_code(error: &DirectoryError) -> Code {
    match error {
        DirectoryError::Taken { .. }
        | DirectoryError::Exists { .. }
        | DirectoryError::Occupied { .. }
        | DirectoryError::Elsewhere(_) => Code::AlreadyExists,
        DirectoryError::Link { .. } | DirectoryError::NotDirectory { .. } | DirectoryError::Missing { .. } => {
            Code::InvalidArgument
        }
        DirectoryError::Contended { .. } => Code::Aborted,
        DirectoryError::Files { source: FilesError::Denied, .. } => Code::PermissionDenied,
        DirectoryError::Files { .. } if error.retry() == Retry::Later => Code::Unavailable,
        DirectoryError::Files { .. } | DirectoryError::Unreadable { .. } => Code::Internal,
    }
}

impl ControllerError {
    /// The same failure of a creation that may have made something: the caller repeats it instead of forgetting it.
    pub(crate) fn unfinished(self) -> Self {
        match is_final(code_of(&self)) {
            true => Self::Unfinished(Box::new(self)),
            false => self,
        }
    }
}

impl From<ControllerError> for Status {
    fn from(error: ControllerError) -> Self {
        let message = match &error {
            ControllerError::Efs { source, .. } => format!("{error}; {}", answer_to(&source.kind).advice),
            ControllerError::Directories(DirectoryError::Files { source: FilesError::Denied, .. }) => {
                format!("{error}; {CLIENT_ACCESS}")
            }
            _ => error.to_string(),
        };
        Status::new(code_of(&error), message)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use efs_common::open_files::OutOfFiles;

    use super::super::parameters::{Problem, Problems};
    use super::super::sessions::Unreachable;
    use super::*;
    use crate::efs::EfsError;
    use csi_proto::code_name;

    fn kinds() -> Vec<EfsErrorKind> {
        vec![
            EfsErrorKind::AccessPointAlreadyExists(None),
            EfsErrorKind::AccessPointLimitExceeded,
            EfsErrorKind::AccessPointNotFound,
            EfsErrorKind::FileSystemNotFound,
            EfsErrorKind::MountTargetNotFound,
            EfsErrorKind::IncorrectFileSystemLifeCycleState,
            EfsErrorKind::Misconfigured,
            EfsErrorKind::BadRequest,
            EfsErrorKind::Throttled,
            EfsErrorKind::AccessDenied,
            EfsErrorKind::RoleDenied,
            EfsErrorKind::Unauthenticated,
            EfsErrorKind::Server,
            EfsErrorKind::Timeout,
            EfsErrorKind::Connection,
            EfsErrorKind::Settings,
            EfsErrorKind::NoRegion,
            EfsErrorKind::RegionNotNow,
            EfsErrorKind::OutOfFiles,
            EfsErrorKind::Unreadable,
            EfsErrorKind::AfterLostAttempt(Box::new(EfsErrorKind::Other("any error after a lost answer".to_owned()))),
            EfsErrorKind::Other("any other".to_owned()),
        ]
    }

    fn own() -> Vec<(&'static str, ControllerError)> {
        let fs = || "fs-0123456789abcdef0".parse().unwrap();
        let path = || "/a".parse().unwrap();
        let problem =
            Problem { parameter: "uid".into(), value: Some("-1".into()), rule: "must be 0 to 4294967295".into() };
        let cluster = |source| ControllerError::Cluster { what: "Secret efs/ids".into(), source };
        vec![
            ("a field of the request is wrong", ControllerError::Invalid("volume_id: is missing".into())),
            ("StorageClass parameters are wrong; all at once", ControllerError::Parameters(Problems(vec![problem]))),
            ("the capacity range can't be met", ControllerError::OutOfRange("…".into())),
            ("the provisioner secret is unusable", ControllerError::Secret("…".into())),
            (
                "the ConfigMap or Secret with the file system id: API server away",
                cluster(ClusterError::Busy("…".into())),
            ),
            ("… RBAC forbids it", cluster(ClusterError::Forbidden { verb: "get", words: "…".into() })),
            ("… missing", cluster(ClusterError::Refused("…".into()))),
            (
                "the name is taken by a volume that differs",
                ControllerError::Conflict {
                    name: "pvc-1".into(), existing: "fsap-…".into(), difference: "…".into()
                },
            ),
            (
                "the volume's health can't be found out right now",
                ControllerError::NotKnownNow { volume: "efs:…".into(), reason: "…".into() },
            ),
            (
                "the volume's access point is in state error",
                ControllerError::Broken { name: "pvc-1".into(), access_point: "fsap-01234567".parse().unwrap() },
            ),
            ("another call for the volume runs", ControllerError::Busy("…".into())),
            ("no id is free", ControllerError::IdsExhausted { file_system: fs(), start: 1, end: 2, size: 2 }),
            (
                "the One Zone file system is in no requisite zone",
                ControllerError::Topology { file_system: fs(), zone: "a".into(), requisite: vec!["b".into()] },
            ),
            ("the volume does not exist", ControllerError::NotFound("…".into(), "…".into())),
            (
                "the access point is another file system's",
                ControllerError::WrongFileSystem {
                    volume: "fs-01234567::fsap-01234567".parse().unwrap(),
                    access_point: "fsap-01234567".parse().unwrap(),
                    actual: fs(),
                },
            ),
            ("no mount target is usable", ControllerError::MountTarget("…".into())),
            ("the paging token is not ours", ControllerError::Token("…".into())),
            (
                "creating: an access point is on, in or around the directory",
                ControllerError::InUse { what: "…".into(), by: "…".into(), advice: "…", creating: true },
            ),
            (
                "deleting: somebody else uses the directory, or one in it",
                ControllerError::InUse { what: "…".into(), by: "…".into(), advice: "…", creating: false },
            ),
            (
                "the account of a file system can't be found out",
                ControllerError::UnknownAccount { file_system: fs(), reason: "…".into() },
            ),
            (
                "the directory exists already, or another volume has it, one in it or one around it",
                ControllerError::Directories(DirectoryError::Exists { path: path() }),
            ),
            (
                "a symbolic link or a file is in the way; the directory to be adopted doesn't exist",
                ControllerError::Directories(DirectoryError::Missing { path: path() }),
            ),
            (
                "others work on the same directory at this moment",
                ControllerError::Directories(DirectoryError::Contended { path: path(), what: "…".into() }),
            ),
            (
                "the file system can't be reached over NFS",
                ControllerError::Unreachable { file_system: fs(), source: Unreachable::Silent(Duration::from_secs(1)) },
            ),
            (
                "the file system's policy refuses the controller",
                ControllerError::Directories(DirectoryError::files("…")(FilesError::Denied)),
            ),
            (
                "the file system refuses",
                ControllerError::Directories(DirectoryError::files("…")(FilesError::Refused("…".into()))),
            ),
            (
                "no connection can be made: too many files are open",
                ControllerError::Files { doing: "…".into(), source: OutOfFiles::System },
            ),
        ]
    }

    fn finality(code: Code) -> &'static str {
        if is_final(code) { "yes" } else { "no" }
    }

    /// The document is what operators read; it must say what the code does.
    #[test]
    fn the_document_of_errors_holds_the_tables() {
        let mut table = String::from("| AWS error | gRPC code | final | what to do |\n|---|---|---|---|\n");
        for kind in kinds() {
            let Answer { code, advice } = answer_to(&kind);
            table += &format!("| {} | {} | {} | {advice} |\n", kind.name(), code_name(code), finality(code));
        }
        let mut others = String::from("| what | gRPC code | final |\n|---|---|---|\n");
        for (what, error) in own() {
            let code = code_of(&error);
            others += &format!("| {what} | {} | {} |\n", code_name(code), finality(code));
        }
        let document = include_str!("../../../docs/errors.md");
        assert!(document.contains(&table), "docs/errors.md must hold this table:\n{table}");
        assert!(document.contains(&others), "docs/errors.md must hold this table:\n{others}");
    }

    /// csi-provisioner forgets the volume after a final answer: then there must be none.
    #[test]
    fn an_open_outcome_is_never_answered_with_a_final_code() {
        for kind in [EfsErrorKind::Server, EfsErrorKind::Timeout, EfsErrorKind::Connection, EfsErrorKind::Throttled] {
            assert!(!is_final(answer_to(&kind).code), "{kind:?}");
        }
        for kind in [EfsErrorKind::BadRequest, EfsErrorKind::FileSystemNotFound, EfsErrorKind::AccessDenied] {
            assert!(is_final(answer_to(&kind).code), "{kind:?}");
        }
    }

    #[test]
    fn messages_carry_what_was_done_the_request_id_and_the_advice() {
        let source = EfsError {
            operation: "CreateAccessPoint",
            kind: EfsErrorKind::AccessDenied,
            message: "not authorized".into(),
            request_id: Some("1-2-3".into()),
        };
        let status = Status::from(ControllerError::Efs { doing: "cannot create it".into(), source });
        assert_eq!(status.code(), Code::PermissionDenied);
        insta::assert_snapshot!(status.message(), @"cannot create it: CreateAccessPoint failed with AccessDeniedException: not authorized; the IAM policy must allow elasticfilesystem:CreateAccessPoint (AWS request id 1-2-3); add the action to the IAM policy of the controller's role");
    }
}
