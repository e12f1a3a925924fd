//! What can go wrong on the node, and the gRPC code of each.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use efs_common::disk::Unwritable;
use efs_common::open_files::OutOfFiles;
use efs_tunnel::plane::{Failure, FailureKind};
use efs_tunnel::{DialError, IamSource, OpenError, PodIdentity};
use rustix::io::Errno;
use tonic::{Code, Status};

use super::pod_errors::PodError;
use super::prerequisites::Missing;
use crate::efs::metadata::UnknownError;
use crate::mount::{JobError, WorkerError};

/// What the driver's container lacks when this node's kernel forbids a step of a mount.
const UNPRIVILEGED: &str = "; this node's kernel forbids it, no server was asked: run the node plug-in's container with \
                            `securityContext.privileged: true`, and look for a security module's denials in the kernel's log";

/// Why a node call failed. The texts name the field, path or address, and the fix where there is one.
#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    /// A field of the request is missing or wrong.
    #[error("{field}: {reason}")]
    Request {
        /// The field's name as in the CSI specification, or the mount option or attribute.
        field: String,
        /// What is wrong with it.
        reason: String,
    },
    /// Another call works on the same target.
    #[error("another call is working on {0}; try again")]
    InProgress(PathBuf),
    /// `--max-inflight-mount-calls` is reached.
    #[error("{0} mount calls are running, which is the limit of --max-inflight-mount-calls; try again")]
    TooManyMounts(usize),
    /// Too many volumes are asked for their statistics.
    #[error("{0} volumes are being asked how full they are, and their servers take long to answer; ask again later")]
    TooManyQuestions(usize),
    /// The volume is published at the target with other arguments.
    #[error("volume {volume} is published at {target} already, with {difference}")]
    Incompatible {
        /// The volume.
        volume: String,
        /// The target.
        target: PathBuf,
        /// What differs.
        difference: String,
    },
    /// Another volume is published at the target.
    #[error("volume {there} is published at {target}; volume {asked} needs another target path")]
    OtherVolume {
        /// The volume that is there.
        there: String,
        /// The volume that is asked for.
        asked: String,
        /// The target.
        target: PathBuf,
    },
    /// Something else is in the target's place.
    #[error("{what} is mounted at {target}; this driver did not mount it there")]
    ForeignMount {
        /// What is mounted.
        what: String,
        /// The target.
        target: PathBuf,
    },
    /// The access mode allows one target per node, and there is another.
    #[error("volume {volume} is published at {other} on this node, and its access mode {mode} allows no second target")]
    SingleNode {
        /// The volume.
        volume: String,
        /// The other target.
        other: PathBuf,
        /// The access mode's name.
        mode: String,
    },
    /// The target can't be used.
    #[error("target path {target}: {reason}")]
    Target {
        /// The target.
        target: PathBuf,
        /// What is in the way.
        reason: String,
    },
    /// A file operation failed.
    #[error("{what} {path}: {}", in_words(source))]
    File {
        /// What was tried, e.g. "cannot create".
        what: &'static str,
        /// The path.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Pod or node lack what a mount needs.
    #[error(transparent)]
    Missing(#[from] Missing),
    /// A pod has no identity.
    #[error(transparent)]
    Pod(#[from] PodError),
    /// Something failed for a mount that has a pod's identity.
    #[error("{source} (as {identity})")]
    AsPod {
        /// Whose.
        identity: Box<PodIdentity>,
        /// What.
        source: Box<NodeError>,
    },
    /// The node doesn't know something about itself.
    #[error(transparent)]
    Unknown(#[from] UnknownError),
    /// No tunnel, or the mount target can't be reached or refuses us.
    #[error(transparent)]
    Tunnel(#[from] Failure),
    /// The kernel's mount failed.
    #[error("cannot mount {what} at {target}: {reason}{hint}")]
    Mount {
        /// File system and path.
        what: String,
        /// The target.
        target: PathBuf,
        /// What the kernel said.
        reason: WorkerError,
        /// How to fix it, with leading punctuation; may be empty.
        hint: &'static str,
    },
    /// The kernel's unmount failed.
    #[error("cannot unmount {target}: {reason}")]
    Unmount {
        /// The target.
        target: PathBuf,
        /// What the kernel said.
        reason: WorkerError,
    },
    /// The mount is still there when time is up.
    #[error("{target} is still mounted after {} s, after a lazy forced unmount too", .after.as_secs())]
    StillMounted {
        /// The target.
        target: PathBuf,
        /// How long was tried.
        after: Duration,
    },
    /// The access point of the volume is gone.
    #[error("access point {access_point} does not exist any more: {refusal}")]
    NoAccessPoint {
        /// The access point.
        access_point: String,
        /// How that showed.
        refusal: String,
    },
    /// The volume is not where the request says.
    #[error("volume {volume} is not published at {path}")]
    NotPublished {
        /// The volume.
        volume: String,
        /// The path of the request.
        path: PathBuf,
    },
    /// Nobody has tried to publish the volume here.
    #[error("volume {0} is not on this node: nobody has tried to publish it since the driver was started")]
    UnknownVolume(String),
    /// The state of this node's mounts is not known right now.
    #[error(
        "the state of this node's mounts is not known: {}{reason}",
        .seconds.map(|seconds| format!("it was seen {seconds} s ago; ")).unwrap_or_default()
    )]
    Unseen {
        /// How long ago it was known, if it ever was.
        seconds: Option<u64>,
        /// Why it isn't.
        reason: String,
    },
    /// A task of the driver died.
    #[error("internal error: {0}")]
    Internal(String),
}

impl NodeError {
    /// A wrong field.
    pub fn request(field: impl Into<String>, reason: impl Into<String>) -> Self {
        Self::Request { field: field.into(), reason: reason.into() }
    }

    /// A failed mount, with a hint for the errors that users meet.
    pub fn mount(what: String, target: PathBuf, reason: WorkerError) -> Self {
        let hint = match errno(&reason) {
            Some(Errno::ACCESS | Errno::PERM) if !is_servers(&reason) => UNPRIVILEGED,
            Some(Errno::NOENT) => "; the directory does not exist in the file system, create it first",
            Some(Errno::ACCESS | Errno::PERM) => {
                "; the file system's policy, the access point or the mount target's network refuses this client"
            }
            Some(Errno::NODEV) => "; this kernel has no NFSv4 client, load its module with `modprobe nfsv4`",
            Some(Errno::MFILE | Errno::NFILE) => {
                "; the driver or the system has as many files open as it may, raise the hard limit of open files"
            }
            Some(Errno::PROTONOSUPPORT) => "; EFS speaks NFS 4.0 and 4.1",
            _ => "",
        };
        Self::Mount { what, target, reason, hint }
    }

    /// The same for a mount with this identity, which people need to know.
    pub(super) fn of(self, source: Option<&IamSource>) -> Self {
        match source {
            Some(IamSource::Pod(identity)) => {
                Self::AsPod { identity: Box::new(identity.clone()), source: Box::new(self) }
            }
            _ => self,
        }
    }

    /// The gRPC code, by the CSI specification's tables.
    pub fn code(&self) -> Code {
        match self {
            Self::Request { .. } => Code::InvalidArgument,
            Self::Pod(error) => error.code(),
            Self::AsPod { source, .. } => source.code(),
            Self::InProgress(_) | Self::TooManyMounts(_) | Self::TooManyQuestions(_) => Code::Aborted,
            Self::Incompatible { .. } | Self::OtherVolume { .. } => Code::AlreadyExists,
            Self::ForeignMount { .. } => Code::AlreadyExists,
            Self::Unknown(error) if error.is_away => Code::Unavailable,
            Self::SingleNode { .. } | Self::Target { .. } | Self::Unknown(_) | Self::Missing(_) => {
                Code::FailedPrecondition
            }
            Self::File { source, .. }
                if Unwritable::of(source).is_some_and(Unwritable::is_full) || OutOfFiles::of(source).is_some() =>
            {
                Code::ResourceExhausted
            }
            Self::File { source, .. } if source.kind() == io::ErrorKind::ReadOnlyFilesystem => Code::FailedPrecondition,
            // What hangs may answer the next time.
            Self::File { source, .. } if source.kind() == io::ErrorKind::TimedOut => Code::Unavailable,
            Self::File { .. } | Self::Internal(_) => Code::Internal,
            Self::Tunnel(failure) => tunnel_code(failure.kind),
            Self::Mount { reason, .. } => mount_code(reason),
            // Nothing that the server or a later attempt could change.
            Self::Unmount { reason, .. } if is_forbidden_here(reason) => Code::FailedPrecondition,
            Self::Unmount { .. } => Code::Internal,
            Self::StillMounted { .. } => Code::DeadlineExceeded,
            Self::NoAccessPoint { .. } | Self::NotPublished { .. } | Self::UnknownVolume(_) => Code::NotFound,
            Self::Unseen { .. } => Code::Unavailable,
        }
    }
}

/// What the system said of a file, with what to do where that is known.
fn in_words(error: &io::Error) -> String {
    match (OutOfFiles::of(error), Unwritable::of(error)) {
        (Some(reason), _) => reason.to_string(),
        (None, Some(disk)) => disk.to_string(),
        (None, None) => error.to_string(),
    }
}

fn tunnel_code(kind: FailureKind) -> Code {
    match kind {
        FailureKind::NoPort | FailureKind::Files | FailureKind::DiskFull => Code::ResourceExhausted,
        FailureKind::Missing => Code::NotFound,
        FailureKind::Port | FailureKind::Unreachable | FailureKind::Away => Code::Unavailable,
        FailureKind::NotTheServer | FailureKind::ReadOnlyDisk => Code::FailedPrecondition,
        FailureKind::Refused => Code::PermissionDenied,
        FailureKind::Credentials => Code::Unauthenticated,
        FailureKind::Internal => Code::Internal,
    }
}

fn mount_code(error: &WorkerError) -> Code {
    match error {
        WorkerError::Timeout(_) => Code::DeadlineExceeded,
        WorkerError::Files(_) | WorkerError::Processes => Code::ResourceExhausted,
        WorkerError::Broken(_) => Code::Internal,
        WorkerError::Job(_) => match errno(error) {
            Some(Errno::NOENT) => Code::NotFound,
            Some(Errno::ACCESS | Errno::PERM) if !is_servers(error) => Code::FailedPrecondition,
            Some(Errno::ACCESS | Errno::PERM) => Code::PermissionDenied,
            Some(Errno::INVAL | Errno::PROTONOSUPPORT) => Code::InvalidArgument,
            Some(Errno::NODEV | Errno::NOTDIR) => Code::FailedPrecondition,
            Some(Errno::MFILE | Errno::NFILE) => Code::ResourceExhausted,
            Some(
                Errno::TIMEDOUT
                | Errno::CONNREFUSED
                | Errno::CONNRESET
                | Errno::HOSTUNREACH
                | Errno::NETUNREACH
                | Errno::IO
                | Errno::STALE,
            ) => Code::Unavailable,
            _ => Code::Internal,
        },
    }
}

/// Whether the server has a part in the failure, or may have.
fn is_servers(error: &WorkerError) -> bool {
    matches!(error, WorkerError::Job(JobError { asked_server: true, .. }))
}

/// Whether this node's kernel forbids it to the driver.
fn is_forbidden_here(error: &WorkerError) -> bool {
    matches!(errno(error), Some(Errno::ACCESS | Errno::PERM)) && !is_servers(error)
}

fn errno(error: &WorkerError) -> Option<Errno> {
    match error {
        WorkerError::Job(JobError { errno, .. }) => Some(Errno::from_raw_os_error(*errno)),
        _ => None,
    }
}

impl From<OpenError> for NodeError {
    fn from(error: OpenError) -> Self {
        Self::Tunnel(error.into())
    }
}

impl From<DialError> for NodeError {
    fn from(error: DialError) -> Self {
        Self::Tunnel(error.into())
    }
}

impl From<NodeError> for Status {
    fn from(error: NodeError) -> Self {
        Self::new(error.code(), error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use efs_tunnel::key::KeyError;
    use efs_tunnel::{LocateError, PodAuthority};

    use super::*;
    use crate::efs::pod_identity::store::NoCredentials;
    use crate::efs::pod_identity::{ExchangeError, TokenError};
    use csi_proto::code_name;
    use std::fmt::Write as _;

    fn job(errno: Errno) -> WorkerError {
        WorkerError::Job(JobError {
            step: "mount 127.0.0.1:/".to_owned(),
            errno: errno.raw_os_error(),
            words: Vec::new(),
            asked_server: true,
        })
    }

    fn local(step: &str, errno: Errno) -> WorkerError {
        let (step, errno) = (step.to_owned(), errno.raw_os_error());
        WorkerError::Job(JobError { step, errno, words: Vec::new(), asked_server: false })
    }

    fn mount(reason: WorkerError) -> NodeError {
        NodeError::mount("fs-1:/".to_owned(), "/pods/a".into(), reason)
    }

    fn dial(missing: bool) -> NodeError {
        let source = LocateError { message: "the file system does not exist".to_owned(), missing };
        DialError::Locate { spec: "fs-1".to_owned(), source }.into()
    }

    /// What goes wrong with the identity of a pod.
    fn pods_errors() -> Vec<NodeError> {
        let identity = |by| PodIdentity { namespace: "team-a".to_owned(), service_account: "app".to_owned(), by };
        let role = "arn:aws:iam::123456789012:role/team-a".to_owned();
        let by_role = || identity(PodAuthority::Sts { role: role.clone(), region: "us-east-1".to_owned() });
        let account = || "service account team-a/app".to_owned();
        let refused =
            |source| PodError::NoCredentials(NoCredentials::Refused { identity: Box::new(by_role()), source });
        let pods = [
            PodError::NoPodInfo("csi.storage.k8s.io/pod.namespace"),
            PodError::NoTokens { account: account() },
            PodError::Tokens { account: account(), source: TokenError::NotJson { line: 1, column: 7 } },
            PodError::OtherAudience {
                wanted: "sts.amazonaws.com",
                account: account(),
                there: vec!["vault".to_owned()],
            },
            PodError::NoRole { account: account() },
            PodError::WrongRole { account: account(), value: "team-a".to_owned() },
            PodError::NoCluster { account: account() },
            PodError::NoCredentials(NoCredentials::NoToken(Box::new(identity(PodAuthority::Agent)))),
            refused(ExchangeError::Denied("AWS STS in us-east-1 says: AccessDenied".to_owned())),
            refused(ExchangeError::Token("AWS STS in us-east-1 says: ExpiredTokenException".to_owned())),
            refused(ExchangeError::Away("AWS STS in us-east-1: no answer within 10 s".to_owned())),
        ];
        let own = |by| move |error: NodeError| error.of(Some(&IamSource::Pod(by)));
        let failed = [own(by_role())(mount(job(Errno::ACCESS))), own(identity(PodAuthority::Agent))(dial(false))];
        pods.into_iter().map(NodeError::from).chain(failed).collect()
    }

    /// Every kind of failure with its code and words: what people read in events and logs.
    #[test]
    fn codes_and_words_are_as_recorded() {
        let (volume, target) = ("fs-1".to_owned(), PathBuf::from("/pods/a"));
        let address = ([192, 0, 2, 1], 2049).into();
        let (spec, reason) = ("fs-1/fsap-1".to_owned(), "reason".to_owned());
        let file = |kind: io::ErrorKind| NodeError::File {
            what: "cannot create",
            path: "/pods/a".into(),
            source: kind.into(),
        };
        let key = |errno: Errno| {
            let source = io::Error::from(errno);
            DialError::Key(Arc::new(KeyError::File { path: "/state/keeper/client-key.pem".into(), source }))
        };
        let errors = [
            NodeError::request("target_path", "is missing"),
            NodeError::InProgress(target.clone()),
            NodeError::TooManyMounts(3),
            NodeError::TooManyQuestions(32),
            NodeError::Incompatible {
                volume: volume.clone(),
                target: target.clone(),
                difference: "other mount options".to_owned(),
            },
            NodeError::OtherVolume { there: volume.clone(), asked: "fs-2".to_owned(), target: target.clone() },
            NodeError::ForeignMount { what: "tmpfs (tmpfs)".to_owned(), target: target.clone() },
            NodeError::SingleNode {
                volume: volume.clone(),
                other: "/pods/b".into(),
                mode: "SINGLE_NODE_WRITER".to_owned(),
            },
            NodeError::Target { target: target.clone(), reason: "is a file".to_owned() },
            file(io::ErrorKind::StorageFull),
            file(io::ErrorKind::PermissionDenied),
            NodeError::File { what: "cannot create", path: "/pods/a".into(), source: Errno::MFILE.into() },
            NodeError::File { what: "cannot write", path: "/var/lib/a".into(), source: Errno::ROFS.into() },
            NodeError::File { what: "cannot write", path: "/var/lib/a".into(), source: Errno::NOSPC.into() },
            NodeError::File { what: "cannot write", path: "/var/lib/a".into(), source: Errno::DQUOT.into() },
            key(Errno::NOSPC).into(),
            key(Errno::DQUOT).into(),
            key(Errno::ROFS).into(),
            key(Errno::ACCESS).into(),
            UnknownError::for_test(false).into(),
            UnknownError::for_test(true).into(),
            Missing::Privilege.into(),
            Missing::Propagation(target.clone()).into(),
            Missing::Distinction("reason".to_owned()).into(),
            OpenError::NoPort { first: 20049, last: 21048 }.into(),
            OpenError::Files { spec: spec.clone(), reason: OutOfFiles::Process { limit: 1024 } }.into(),
            OpenError::Port { port: 20049, spec: spec.clone(), source: io::ErrorKind::AddrInUse.into() }.into(),
            OpenError::OtherTunnel { port: 20049, spec: spec.clone(), other: "fs-2".to_owned() }.into(),
            dial(true),
            dial(false),
            DialError::Connect { spec: spec.clone(), address, reason: reason.clone() }.into(),
            DialError::Files { spec: spec.clone(), reason: OutOfFiles::System }.into(),
            DialError::NotTheServer { address, name: "fs-1.efs".to_owned(), reason: reason.clone() }.into(),
            DialError::Refused { spec: spec.clone(), address, reason: reason.clone() }.into(),
            DialError::Handshake { address, reason: reason.clone() }.into(),
            DialError::NotNfs { address, reason: reason.clone() }.into(),
            DialError::Credentials { spec, source: efs_tunnel::CredentialsError::Told(reason) }.into(),
            mount(job(Errno::NOENT)),
            mount(job(Errno::ACCESS)),
            mount(local("fsopen nfs4", Errno::PERM)),
            mount(local("move_mount to /pods/a", Errno::ACCESS)),
            mount(job(Errno::NODEV)),
            mount(job(Errno::PROTONOSUPPORT)),
            mount(job(Errno::INVAL)),
            mount(job(Errno::TIMEDOUT)),
            mount(job(Errno::NOMEM)),
            mount(job(Errno::MFILE)),
            mount(WorkerError::Files(OutOfFiles::Process { limit: 1024 })),
            mount(io::Error::from_raw_os_error(Errno::AGAIN.raw_os_error()).into()),
            mount(WorkerError::Timeout(Duration::from_secs(30))),
            mount(WorkerError::Broken("no pipes".to_owned())),
            NodeError::Unmount { target: target.clone(), reason: job(Errno::BUSY) },
            NodeError::StillMounted { target: target.clone(), after: Duration::from_secs(40) },
            NodeError::NoAccessPoint { access_point: "fsap-1".to_owned(), refusal: "refused".to_owned() },
            NodeError::NotPublished { volume: volume.clone(), path: target },
            NodeError::UnknownVolume(volume),
            NodeError::Unseen { seconds: Some(75), reason: "no answer".to_owned() },
            NodeError::Unseen { seconds: None, reason: "the first look is under way".to_owned() },
            NodeError::Internal("task 1 panicked".to_owned()),
        ];
        let mut text = String::new();
        for error in errors.into_iter().chain(pods_errors()) {
            writeln!(text, "{}\n    {error}", code_name(error.code())).expect("write");
        }
        insta::assert_snapshot!(text);
    }
}
