//! The API of S3 Files: from the parts of an HTTP request to an operation of the world, and back to JSON.

mod errors;
mod operations;
mod shapes;
mod wire;

use serde_json::{Map, Value};

pub(super) use self::operations::Operation;
use super::operations::{id, read, tabulated};
use super::reply::Reply;
use crate::world::World;
use crate::world::errors::{EfsError, Result};
use crate::world::ids::Arn;
use crate::world::mount_targets::DescribeMountTargets;
use crate::world::policies;
use crate::world::scope::{Requester, Service};
use crate::world::tags;

impl super::operations::Operation for Operation {
    const SERVICE: Service = Service::S3Files;
    const VERSION: &'static str = "";

    tabulated!();

    fn run(self, world: &World, requester: &Requester, input: Map<String, Value>) -> Result<Vec<u8>> {
        run(self, world, requester, input)
    }

    fn refusal(error: &EfsError) -> Reply {
        errors::reply(error)
    }

    fn front_error(status: u16, name: &str, message: &str) -> Reply {
        errors::front(status, name, message)
    }
}

fn run(operation: Operation, world: &World, requester: &Requester, input: Map<String, Value>) -> Result<Vec<u8>> {
    use Operation::*;
    Ok(match operation {
        CreateFileSystem => {
            let input: wire::CreateFileSystem = read(input)?;
            wire::file_system(&*world.create_bucket_file_system(requester, input.into())?)
        }
        GetFileSystem => wire::file_system(&world.bucket_file_system(requester, &id(&input, "fileSystemId"))?),
        ListFileSystems => {
            let input: wire::ListFileSystems = read(input)?;
            wire::file_systems(&world.list_bucket_file_systems(requester, &input.into())?)
        }
        DeleteFileSystem => {
            world.delete_file_system(requester, &id(&input, "fileSystemId"))?;
            Vec::new()
        }
        PutFileSystemPolicy => {
            let input = policies::PutFileSystemPolicy {
                file_system_id: id(&input, "fileSystemId"),
                policy: id(&input, "policy"),
                bypass_policy_lockout_safety_check: true,
            };
            world.put_file_system_policy(requester, input)?;
            wire::nothing()
        }
        GetFileSystemPolicy => {
            let text = id(&input, "fileSystemId");
            let policy = world.describe_file_system_policy(requester, &text)?;
            wire::policy(Arn::parse(&text).map_or(&*text, |arn| arn.id), &policy)
        }
        DeleteFileSystemPolicy => {
            world.delete_file_system_policy(requester, &id(&input, "fileSystemId"))?;
            Vec::new()
        }
        PutSynchronizationConfiguration => {
            let input: wire::PutSynchronizationConfiguration = read(input)?;
            world.put_synchronization(requester, input.into())?;
            wire::nothing()
        }
        GetSynchronizationConfiguration => {
            wire::synchronization(&world.synchronization(requester, &id(&input, "fileSystemId"))?)
        }
        CreateAccessPoint => {
            let input: wire::CreateAccessPoint = read(input)?;
            let input = input.with_token(|| world.new_token());
            wire::access_point(&world.create_access_point(requester, input)?)
        }
        GetAccessPoint => wire::access_point(&world.get_access_point(requester, &id(&input, "accessPointId"))?),
        ListAccessPoints => {
            let input: wire::ListAccessPoints = read(input)?;
            wire::access_points(&world.describe_access_points(requester, &input.into())?)
        }
        DeleteAccessPoint => {
            world.delete_access_point(requester, &id(&input, "accessPointId"))?;
            Vec::new()
        }
        CreateMountTarget => {
            let input: wire::CreateMountTarget = read(input)?;
            wire::mount_target(&world.create_mount_target(requester, input.into())?)
        }
        GetMountTarget => wire::mount_target(&world.get_mount_target(requester, &id(&input, "mountTargetId"))?),
        UpdateMountTarget => {
            let text = id(&input, "mountTargetId");
            let input: wire::UpdateMountTarget = read(input)?;
            world.modify_security_groups(requester, input.into())?;
            wire::mount_target(&world.get_mount_target(requester, &text)?)
        }
        ListMountTargets => wire::mount_targets(&world.list_mount_targets(requester, &read_targets(input)?)?),
        DeleteMountTarget => {
            world.delete_mount_target(requester, &id(&input, "mountTargetId"))?;
            Vec::new()
        }
        TagResource => {
            let wire::TagResource { resource_id, tags } = read(input)?;
            world.tag_resource(requester, &resource_id, tags)?;
            wire::nothing()
        }
        UntagResource => {
            let wire::UntagResource { resource_id, tag_keys } = read(input)?;
            world.untag_resource(requester, &resource_id, &tag_keys)?;
            wire::nothing()
        }
        ListTagsForResource => {
            let wire::ListTags { resource_id, page } = read(input)?;
            wire::tags(&world.list_tags(requester, &tags::ListTags { resource_id, page: page.into() })?)
        }
    })
}

fn read_targets(input: Map<String, Value>) -> Result<DescribeMountTargets> {
    let wire::ListMountTargets { file_system_id, access_point_id, page } = read(input)?;
    Ok(DescribeMountTargets { file_system_id, mount_target_id: None, access_point_id, page: page.into() })
}
