//! The errors of the EFS API, as its service model names them.

use super::ids::{AccessPointId, FileSystemId};

/// Result of an operation.
pub type Result<T> = std::result::Result<T, EfsError>;

/// Declares the errors that carry nothing but a message, and the table of all error names.
macro_rules! errors {
    ($($(#[$doc:meta])* $name:ident = $status:literal),* $(,)?) => {
        /// The name of an error in the service model; its HTTP status is fixed by the model.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum ErrorName { $($(#[$doc])* $name),* }

        impl ErrorName {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$name),*];

            /// As it goes over the wire.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$name => stringify!($name)),* }
            }

            /// The HTTP status that goes with it.
            pub fn status(self) -> u16 {
                match self { $(Self::$name => $status),* }
            }

            /// Finds an error by its name.
            pub fn parse(name: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|e| e.as_str() == name)
            }
        }
    };
}

errors! {
    /// The request is malformed or makes no sense.
    BadRequest = 400,
    /// A member breaks the model's constraints, or AWS Backup isn't available.
    ValidationException = 400,
    /// No such subnet.
    SubnetNotFound = 400,
    /// No such security group.
    SecurityGroupNotFound = 400,
    /// Too many security groups.
    SecurityGroupLimitExceeded = 400,
    /// The zone does not exist or can't do it.
    UnsupportedAvailabilityZone = 400,
    /// The subnet is in another zone than the One Zone file system.
    AvailabilityZonesMismatch = 400,
    /// The policy is no policy, or would lock its author out.
    InvalidPolicyException = 400,
    /// More throughput than allowed.
    ThroughputLimitExceeded = 400,
    /// The file system is full of access points.
    AccessPointLimitExceeded = 403,
    /// The account is full of file systems.
    FileSystemLimitExceeded = 403,
    /// No such file system in this account and region.
    FileSystemNotFound = 404,
    /// No such access point in this account and region.
    AccessPointNotFound = 404,
    /// No such mount target in this account and region.
    MountTargetNotFound = 404,
    /// No policy was ever put.
    PolicyNotFound = 404,
    /// The file system isn't replicated.
    ReplicationNotFound = 404,
    /// No such bucket in this account, for S3 Files.
    BucketNotFound = 404,
    /// The client token is taken; carries the access point's id.
    AccessPointAlreadyExists = 409,
    /// The creation token is taken; carries the file system's id.
    FileSystemAlreadyExists = 409,
    /// It has mount targets or is being replicated.
    FileSystemInUse = 409,
    /// The file system isn't `available`.
    IncorrectFileSystemLifeCycleState = 409,
    /// The mount target is being deleted.
    IncorrectMountTargetState = 409,
    /// A second mount target in one zone, or one in another VPC.
    MountTargetConflict = 409,
    /// The address is taken.
    IpAddressInUse = 409,
    /// The subnet has no address left.
    NoFreeAddressesInSubnet = 409,
    /// The account has no network interface left.
    NetworkInterfaceLimitExceeded = 409,
    /// The file system is part of a replication.
    ReplicationAlreadyExists = 409,
    /// The source is encrypted and the destination isn't.
    ConflictException = 409,
    /// Too many calls.
    ThrottlingException = 429,
    /// The throughput was changed less than 24 hours ago.
    TooManyRequests = 429,
    /// The server failed.
    InternalServerError = 500,
    /// No throughput left to provision.
    InsufficientThroughputCapacity = 503,
    /// Something behind the service timed out.
    DependencyTimeout = 504,
}

/// An operation's refusal.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}: {message}", name.as_str())]
pub struct EfsError {
    /// Which error.
    pub name: ErrorName,
    /// For people.
    pub message: String,
    /// The id of what exists already, with the member's name, for the two `…AlreadyExists` errors that carry one.
    pub existing: Option<(&'static str, String)>,
}

impl EfsError {
    /// An error with a message.
    pub fn new(name: ErrorName, message: impl Into<String>) -> Self {
        Self { name, message: message.into(), existing: None }
    }

    /// The request makes no sense.
    pub fn bad_request(message: impl Into<String>) -> Self {
        Self::new(ErrorName::BadRequest, message)
    }

    /// The client token is taken.
    pub fn access_point_exists(id: &AccessPointId) -> Self {
        Self {
            name: ErrorName::AccessPointAlreadyExists,
            message: format!("Access point with the same client token already exists: {id}"),
            existing: Some(("AccessPointId", id.to_string())),
        }
    }

    /// The creation token is taken.
    pub fn file_system_exists(token: &str, id: &FileSystemId) -> Self {
        Self {
            name: ErrorName::FileSystemAlreadyExists,
            message: format!("File system '{id}' already exists with creation token '{token}'"),
            existing: Some(("FileSystemId", id.to_string())),
        }
    }

    /// No such file system for this caller.
    pub fn file_system_not_found(id: &str) -> Self {
        Self::new(ErrorName::FileSystemNotFound, format!("File system '{id}' does not exist."))
    }

    /// No such access point for this caller.
    pub fn access_point_not_found(id: &str) -> Self {
        Self::new(ErrorName::AccessPointNotFound, format!("Access point '{id}' does not exist."))
    }

    /// No such mount target for this caller.
    pub fn mount_target_not_found(id: &str) -> Self {
        Self::new(ErrorName::MountTargetNotFound, format!("Mount target '{id}' does not exist."))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_error_is_found_by_its_own_name() {
        for name in ErrorName::ALL {
            assert_eq!(ErrorName::parse(name.as_str()), Some(*name));
            assert!((400..600).contains(&name.status()));
        }
        assert_eq!(ErrorName::parse("Nonsense"), None);
    }
}
