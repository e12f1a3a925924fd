//! What can go wrong in the controller's calls. The gRPC code of each error is in [`super::status`].

use efs_common::open_files::OutOfFiles;
use efs_directories::DirectoryError;

use crate::efs::EfsError;
use crate::volume::{AccessPointId, FileSystemId, VolumeId};

use super::cluster::ClusterError;
use super::parameters::Problems;
use super::sessions::Unreachable;

/// A failed controller call.
#[derive(Debug, thiserror::Error)]
pub enum ControllerError {
    /// A field of the request is missing or has a value that is not allowed.
    #[error("{0}")]
    Invalid(String),
    /// StorageClass parameters are wrong; all problems at once.
    #[error("{0}")]
    Parameters(#[from] Problems),
    /// The capacity range can't be met.
    #[error("{0}")]
    OutOfRange(String),
    /// The provisioner secret is unusable.
    #[error("{0}")]
    Secret(String),
    /// The ConfigMap or Secret that holds the file system id can't be read just now.
    #[error("cannot read {what}: {source}")]
    Cluster {
        /// The object, `ConfigMap ns/name` or `Secret ns/name`.
        what: String,
        /// Why.
        source: ClusterError,
    },
    /// An AWS call failed.
    #[error("{doing}: {source}")]
    Efs {
        /// What the driver was about to do.
        doing: String,
        /// The failure.
        #[source]
        source: EfsError,
    },
    /// A volume of this name exists and differs from what was asked.
    #[error(
        "volume {name:?} exists as {existing} with {difference}; delete it first, or use the parameters that it was made with"
    )]
    Conflict {
        /// The volume's name.
        name: String,
        /// The access point or directory that has the name.
        existing: String,
        /// What differs, with both values.
        difference: String,
    },
    /// The volume's access point is in a state that AWS names no way out of.
    #[error(
        "access point {access_point} of volume {name:?} is in state error; delete it (aws efs delete-access-point \
         --access-point-id {access_point}), then it is made anew"
    )]
    Broken {
        /// The volume's name.
        name: String,
        /// Its access point.
        access_point: AccessPointId,
    },
    /// Another call for the same volume runs, or AWS is still removing its predecessor.
    #[error("{0}; the call can be repeated")]
    Busy(String),
    /// No id is free in the range.
    #[error(
        "no free id on {file_system}: all {size} ids of gidRangeStart={start}..gidRangeEnd={end} are in use by access points \
         or being given out; widen the range, or delete volumes, or use another file system"
    )]
    IdsExhausted {
        /// The file system.
        file_system: FileSystemId,
        /// First id of the range.
        start: u32,
        /// Last id of the range.
        end: u32,
        /// Ids in the range.
        size: u64,
    },
    /// The file system is in a zone that the request doesn't allow.
    #[error("file system {file_system} is in zone {zone}, which is not among the requisite zones {requisite:?}")]
    Topology {
        /// The file system.
        file_system: FileSystemId,
        /// Its zone.
        zone: String,
        /// The zones that were asked for.
        requisite: Vec<String>,
    },
    /// The volume does not exist.
    #[error("volume {0:?} does not exist: {1}")]
    NotFound(String, String),
    /// The access point of a handle belongs to another file system.
    #[error("access point {access_point} belongs to {actual}, not to the file system of volume {volume}")]
    WrongFileSystem {
        /// The handle.
        volume: VolumeId,
        /// Its access point.
        access_point: AccessPointId,
        /// The file system that has the access point.
        actual: FileSystemId,
    },
    /// The state of a volume can't be found out right now.
    #[error("volume {volume:?}: {reason}")]
    NotKnownNow {
        /// The handle.
        volume: String,
        /// Why.
        reason: String,
    },
    /// No mount target can be used.
    #[error("{0}")]
    MountTarget(String),
    /// A paging token that this driver did not give out.
    #[error("starting_token {0:?} is not one of this driver's; start again without a token")]
    Token(String),
    /// Somebody else uses what should be made or deleted.
    #[error("{what}: {by}; {advice}")]
    InUse {
        /// What.
        what: String,
        /// By whom.
        by: String,
        /// What to do.
        advice: &'static str,
        /// Whether it should be made.
        creating: bool,
    },
    /// The account of a file system is unknown, so nothing can be said of what is on it.
    #[error("the account of file system {file_system} can't be found out: {reason}")]
    UnknownAccount {
        /// The file system.
        file_system: FileSystemId,
        /// Why.
        reason: String,
    },
    /// A directory can't be had, or can't be given up.
    #[error(transparent)]
    Directories(#[from] DirectoryError),
    /// No connection can be made because too many files are open.
    #[error("{doing}: {source}")]
    Files {
        /// What the driver was about to do.
        doing: String,
        /// The limit that is reached.
        source: OutOfFiles,
    },
    /// The file system can't be reached over NFS.
    #[error("cannot reach {file_system} over NFS: {source}")]
    Unreachable {
        /// The file system.
        file_system: FileSystemId,
        /// Where it failed.
        source: Unreachable,
    },
    /// A creation failed for good when something may have been made already. The caller has to repeat it instead of forgetting it.
    #[error("the directory may have been made: {0}")]
    Unfinished(#[source] Box<ControllerError>),
}

impl ControllerError {
    /// Wraps an AWS failure with what was being done.
    pub(crate) fn efs(doing: impl Into<String>) -> impl FnOnce(EfsError) -> Self {
        move |source| Self::Efs { doing: doing.into(), source }
    }
}
