//! The EFS API: from the parts of an HTTP request to an operation of the world, and back to JSON.

#[cfg(test)]
mod documentation;
mod operations;
mod shapes;
mod wire;

use serde_json::{Map, Value};

pub(super) use self::operations::Operation;
use super::operations::{id, read, tabulated};
use super::reply::Reply;
use crate::world::World;
use crate::world::errors::{EfsError, Result};
use crate::world::model::{ResourceIdType, Tag};
use crate::world::scope::{Requester, Service};
use crate::world::{file_systems, tags};

impl super::operations::Operation for Operation {
    const SERVICE: Service = Service::Efs;
    const VERSION: &'static str = "/2015-02-01";

    tabulated!();

    fn run(self, world: &World, requester: &Requester, input: Map<String, Value>) -> Result<Vec<u8>> {
        run(self, world, requester, input)
    }

    fn refusal(error: &EfsError) -> Reply {
        Reply::from(error)
    }

    fn front_error(status: u16, name: &str, message: &str) -> Reply {
        Reply::error(status, name, message, None)
    }
}

/// Input of PutAccountPreferences.
#[derive(serde::Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Preference {
    resource_id_type: ResourceIdType,
}

/// Input of TagResource and CreateTags.
#[derive(serde::Deserialize)]
#[serde(rename_all = "PascalCase")]
struct AddTags {
    #[serde(alias = "FileSystemId")]
    resource_id: String,
    tags: Vec<Tag>,
}

/// Input of UntagResource and DeleteTags.
#[derive(serde::Deserialize)]
#[serde(rename_all = "PascalCase")]
struct RemoveTags {
    #[serde(alias = "FileSystemId")]
    resource_id: String,
    tag_keys: Vec<String>,
}

fn run(operation: Operation, world: &World, requester: &Requester, input: Map<String, Value>) -> Result<Vec<u8>> {
    use Operation::*;
    Ok(match operation {
        CreateFileSystem => wire::file_system(&world.create_file_system(requester, read(input)?)?),
        DescribeFileSystems => {
            let input: file_systems::DescribeFileSystems = read(input)?;
            wire::file_systems(&world.describe_file_systems(requester, &input)?, input.page.token)
        }
        UpdateFileSystem => wire::file_system(&world.update_file_system(requester, &read(input)?)?),
        UpdateFileSystemProtection => wire::protection(world.update_file_system_protection(requester, &read(input)?)?),
        DeleteFileSystem => {
            world.delete_file_system(requester, &id(&input, "FileSystemId"))?;
            Vec::new()
        }
        CreateReplicationConfiguration => {
            wire::replication(&*world.create_replication(requester, &read(input)?)?, world.now())
        }
        DescribeReplicationConfigurations => {
            wire::replications(&world.describe_replications(requester, &read(input)?)?, world.now())
        }
        DeleteReplicationConfiguration => {
            world.delete_replication(requester, &read(input)?)?;
            Vec::new()
        }
        CreateAccessPoint => wire::access_point(&world.create_access_point(requester, read(input)?)?),
        DescribeAccessPoints => wire::access_points(&world.describe_access_points(requester, &read(input)?)?),
        DeleteAccessPoint => {
            world.delete_access_point(requester, &id(&input, "AccessPointId"))?;
            Vec::new()
        }
        CreateMountTarget => wire::mount_target(&world.create_mount_target(requester, read(input)?)?),
        DescribeMountTargets => {
            let input: crate::world::mount_targets::DescribeMountTargets = read(input)?;
            wire::mount_targets(&world.describe_mount_targets(requester, &input)?, input.page.token)
        }
        DeleteMountTarget => {
            world.delete_mount_target(requester, &id(&input, "MountTargetId"))?;
            Vec::new()
        }
        DescribeMountTargetSecurityGroups => {
            wire::security_groups(&world.describe_security_groups(requester, &id(&input, "MountTargetId"))?)
        }
        ModifyMountTargetSecurityGroups => {
            world.modify_security_groups(requester, read(input)?)?;
            Vec::new()
        }
        TagResource | CreateTags => {
            let AddTags { resource_id, tags } = read(input)?;
            world.tag_resource(requester, &resource_id, tags)?;
            wire::nothing(operation)
        }
        UntagResource | DeleteTags => {
            let RemoveTags { resource_id, tag_keys } = read(input)?;
            world.untag_resource(requester, &resource_id, &tag_keys)?;
            wire::nothing(operation)
        }
        ListTagsForResource => wire::tags(&world.list_tags(requester, &read(input)?)?),
        DescribeTags => {
            let input: tags::ListTags = read(input)?;
            wire::old_tags(&world.list_tags(requester, &input)?, input.page.token)
        }
        PutLifecycleConfiguration => wire::lifecycle(&world.put_lifecycle_configuration(requester, read(input)?)?),
        DescribeLifecycleConfiguration => {
            wire::lifecycle(&world.describe_lifecycle_configuration(requester, &id(&input, "FileSystemId"))?)
        }
        PutFileSystemPolicy => {
            let text = id(&input, "FileSystemId");
            wire::policy(&text, &world.put_file_system_policy(requester, read(input)?)?)
        }
        DescribeFileSystemPolicy => {
            let text = id(&input, "FileSystemId");
            wire::policy(&text, &world.describe_file_system_policy(requester, &text)?)
        }
        DeleteFileSystemPolicy => {
            world.delete_file_system_policy(requester, &id(&input, "FileSystemId"))?;
            wire::nothing(operation)
        }
        PutBackupPolicy => wire::backup(world.put_backup_policy(requester, &read(input)?)?),
        DescribeBackupPolicy => wire::backup(world.describe_backup_policy(requester, &id(&input, "FileSystemId"))?),
        PutAccountPreferences => {
            let input: Preference = read(input)?;
            wire::preferences(Some(world.put_account_preferences(requester, input.resource_id_type)?))
        }
        DescribeAccountPreferences => wire::preferences(world.describe_account_preferences(requester)),
    })
}
