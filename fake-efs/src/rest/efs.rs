//! The EFS API: from the parts of an HTTP request to an operation of the world, and back to JSON.

#[cfg(test)]
mod documentation;
mod operations;
pub(crate) mod schema;
mod shapes;
mod wire;

use std::sync::Arc;

use axum::Router;
use axum::extract::rejection::RawPathParamsRejection;
use axum::extract::{RawPathParams, State};
use axum::routing::{MethodFilter, on};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

pub(super) use self::operations::Operation;
use super::inquiry::Inquiry;
use super::router::unknown;
use super::{Front, uri};
use crate::world::World;
use crate::world::errors::{EfsError, Result};
use crate::world::model::{ResourceIdType, Tag};
use crate::world::scope::Requester;
use crate::world::{file_systems, tags};

/// An operation with its input, not yet checked.
#[derive(Clone, Debug)]
pub(super) struct Call {
    /// Which operation.
    pub(super) operation: Operation,
    /// Members from path, query and body together.
    pub(super) input: Map<String, Value>,
}

/// The answer of an operation that went well.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Answer {
    /// HTTP status.
    pub(super) status: u16,
    /// JSON, or nothing.
    pub(super) body: Vec<u8>,
}

/// A member of the input that stands in the path, decoded.
pub(super) type Label = (String, String);

/// The members in a path, unless they are not UTF-8.
type Labels = std::result::Result<RawPathParams, RawPathParamsRejection>;

/// The routes to all operations. A trailing slash makes no difference.
pub(super) fn routes() -> Router<Arc<Front>> {
    Operation::ALL.iter().fold(Router::new(), |router, &operation| {
        // The router splits the path before it decodes the members: an ARN has its slash percent-encoded. Those that are not
        // UTF-8 name nothing; and HEAD, which the router takes for GET, is no method of the API.
        let serve = move |front: State<Arc<Front>>, labels: Labels, inquiry: Inquiry| async move {
            match labels {
                Ok(labels) if inquiry.parts.method == operation.method() => {
                    let labels = labels.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
                    front.efs(&inquiry, operation, labels).await
                }
                _ => Ok(unknown(inquiry).await),
            }
        };
        let filter = MethodFilter::try_from(operation.method()).unwrap_or(MethodFilter::GET);
        let path = format!("/2015-02-01{}", operation.path());
        router.route(&format!("{path}/"), on(filter, serve)).route(&path, on(filter, serve))
    })
}

/// Collects an operation's input from path, query and body.
pub(super) fn gather(operation: Operation, labels: Vec<Label>, query: &str, body: &[u8]) -> Result<Call> {
    let mut input = match body {
        body if operation.takes_body() && !body.is_empty() => read_body(body)?,
        _ => Map::new(),
    };
    for (name, text) in
        uri::query(query).ok_or_else(|| EfsError::bad_request("The query string is not valid UTF-8."))?
    {
        let Some(member) = operation.query_member(&name) else { continue };
        let field = operation.input().iter().find(|field| field.name == member).map(|field| &field.shape);
        match field {
            Some(schema::Shape::List { .. }) => {
                let list = input.entry(member).or_insert_with(|| Value::Array(Vec::new()));
                if let Value::Array(items) = list {
                    items.push(Value::String(text));
                }
            }
            Some(schema::Shape::Whole(..)) => {
                let number: i64 = text.parse().map_err(|_| {
                    EfsError::bad_request(format!("The value '{text}' of '{name}' is not a whole number."))
                })?;
                input.insert(member.to_owned(), number.into());
            }
            _ => {
                input.insert(member.to_owned(), Value::String(text));
            }
        }
    }
    input.extend(labels.into_iter().map(|(member, text)| (member, Value::String(text))));
    Ok(Call { operation, input })
}

fn read_body(body: &[u8]) -> Result<Map<String, Value>> {
    match serde_json::from_slice(body) {
        Ok(Value::Object(map)) => Ok(map),
        Ok(_) => Err(EfsError::bad_request("The request body must be a JSON object.")),
        Err(error) => Err(EfsError::bad_request(format!("The request body is not valid JSON: {error}"))),
    }
}

/// Reads a checked input into an operation's type.
fn read<T: DeserializeOwned>(input: Map<String, Value>) -> Result<T> {
    // `null` counts as absent, for lists too.
    let input = input.into_iter().filter(|(_, value)| !value.is_null()).collect();
    serde_json::from_value(Value::Object(input)).map_err(|error| EfsError::bad_request(error.to_string()))
}

/// The member that names the one resource that the operation is about.
fn id(input: &Map<String, Value>, member: &str) -> String {
    input.get(member).and_then(Value::as_str).unwrap_or_default().to_owned()
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

/// Checks and runs an operation.
pub(super) fn perform(world: &World, requester: &Requester, call: Call) -> Result<Answer> {
    let Call { operation, input } = call;
    schema::check(operation.input(), &input)?;
    let body = run(world, requester, operation, input)?;
    Ok(Answer { status: operation.status(), body })
}

fn run(world: &World, requester: &Requester, operation: Operation, input: Map<String, Value>) -> Result<Vec<u8>> {
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
