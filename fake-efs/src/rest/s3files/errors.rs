//! The world's errors as this API has them: six of its own, each with the particular one as `errorCode`.

use serde_json::json;

use crate::rest::reply::Reply;
use crate::world::errors::{EfsError, ErrorName};

/// Name and status of the API's own error.
fn class(name: ErrorName) -> (&'static str, u16) {
    use ErrorName::*;
    match name {
        BadRequest
        | ValidationException
        | UnsupportedAvailabilityZone
        | AvailabilityZonesMismatch
        | InvalidPolicyException => ("ValidationException", 400),
        SecurityGroupLimitExceeded
        | ThroughputLimitExceeded
        | AccessPointLimitExceeded
        | FileSystemLimitExceeded
        | NetworkInterfaceLimitExceeded
        | NoFreeAddressesInSubnet => ("ServiceQuotaExceededException", 402),
        SubnetNotFound
        | SecurityGroupNotFound
        | FileSystemNotFound
        | AccessPointNotFound
        | MountTargetNotFound
        | PolicyNotFound
        | ReplicationNotFound
        | BucketNotFound => ("ResourceNotFoundException", 404),
        AccessPointAlreadyExists
        | FileSystemAlreadyExists
        | FileSystemInUse
        | IncorrectFileSystemLifeCycleState
        | IncorrectMountTargetState
        | MountTargetConflict
        | IpAddressInUse
        | ReplicationAlreadyExists
        | ConflictException => ("ConflictException", 409),
        ThrottlingException | TooManyRequests => ("ThrottlingException", 429),
        InternalServerError | InsufficientThroughputCapacity | DependencyTimeout => ("InternalServerException", 500),
    }
}

/// An error of the world.
pub(super) fn reply(error: &EfsError) -> Reply {
    let (name, status) = class(error.name);
    let mut body = json!({ "errorCode": error.name.as_str(), "message": error.message });
    if let Some((member, id)) = &error.existing {
        body["resourceId"] = json!(id);
        body["resourceType"] = json!(member.trim_end_matches("Id"));
    }
    Reply { error: Some(name.to_owned()), ..Reply::json(status, body.to_string().into_bytes()) }
}

/// An error that comes from in front of the service, or from a fault rule.
pub(super) fn front(status: u16, name: &str, message: &str) -> Reply {
    let body = json!({ "errorCode": name, "message": message });
    Reply { error: Some(name.to_owned()), ..Reply::json(status, body.to_string().into_bytes()) }
}
