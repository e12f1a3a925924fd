//! Inputs as the world's types, and the operations' outputs as JSON.

use std::sync::Arc;

use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::world::access_points;
use crate::world::model::{self, AccessPoint, FileSystem, MountTarget, Synchronization, Tag};
use crate::world::mount_targets::{self, IpAddressType};
use crate::world::paging::PageRequest;
use crate::world::s3files::{CreateBucketFileSystem, ListBucketFileSystems, PutSynchronization};

/// A page and the next one's token.
type Page<T> = (Vec<T>, Option<String>);

/// Where a listing goes on.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Paging {
    max_results: Option<u32>,
    next_token: Option<String>,
}

impl From<Paging> for PageRequest {
    fn from(paging: Paging) -> Self {
        // An empty token is none.
        Self { max: paging.max_results, token: paging.next_token.filter(|token| !token.is_empty()) }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct CreateFileSystem {
    bucket: String,
    prefix: Option<String>,
    client_token: Option<String>,
    kms_key_id: Option<String>,
    role_arn: String,
    #[serde(default)]
    tags: Vec<Tag>,
}

impl From<CreateFileSystem> for CreateBucketFileSystem {
    fn from(input: CreateFileSystem) -> Self {
        let CreateFileSystem { bucket, prefix, client_token, kms_key_id, role_arn, tags } = input;
        Self { bucket, prefix: prefix.filter(|prefix| !prefix.is_empty()), role_arn, kms_key_id, client_token, tags }
    }
}

#[derive(Deserialize)]
pub(super) struct ListFileSystems {
    bucket: Option<String>,
    #[serde(flatten)]
    page: Paging,
}

impl From<ListFileSystems> for ListBucketFileSystems {
    fn from(input: ListFileSystems) -> Self {
        Self { bucket: input.bucket, page: input.page.into() }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct PutSynchronizationConfiguration {
    file_system_id: String,
    latest_version_number: Option<i64>,
    import_data_rules: Vec<model::ImportDataRule>,
    expiration_data_rules: Vec<model::ExpirationDataRule>,
}

impl From<PutSynchronizationConfiguration> for PutSynchronization {
    fn from(input: PutSynchronizationConfiguration) -> Self {
        Self {
            file_system_id: input.file_system_id,
            latest_version_number: input.latest_version_number,
            import_data_rules: input.import_data_rules,
            expiration_data_rules: input.expiration_data_rules,
        }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct PosixUser {
    uid: u32,
    gid: u32,
    secondary_gids: Option<Vec<u32>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct CreationPermissions {
    owner_uid: u32,
    owner_gid: u32,
    permissions: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RootDirectory {
    path: Option<String>,
    creation_permissions: Option<CreationPermissions>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct CreateAccessPoint {
    client_token: Option<String>,
    file_system_id: String,
    #[serde(default)]
    tags: Vec<Tag>,
    posix_user: Option<PosixUser>,
    root_directory: Option<RootDirectory>,
}

impl CreateAccessPoint {
    /// As the world wants it, with a token in place of a missing one.
    pub(super) fn with_token(self, token: impl FnOnce() -> String) -> access_points::CreateAccessPoint {
        let user = |PosixUser { uid, gid, secondary_gids }| model::PosixUser { uid, gid, secondary_gids };
        let creation = |CreationPermissions { owner_uid, owner_gid, permissions }| model::CreationInfo {
            owner_uid,
            owner_gid,
            permissions,
        };
        let root = |root: RootDirectory| model::RootDirectory {
            path: root.path.unwrap_or_else(|| "/".to_owned()),
            creation_info: root.creation_permissions.map(creation),
        };
        access_points::CreateAccessPoint {
            client_token: self.client_token.unwrap_or_else(token),
            file_system_id: self.file_system_id,
            tags: self.tags,
            posix_user: self.posix_user.map(user),
            root_directory: self.root_directory.map(root),
        }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ListAccessPoints {
    file_system_id: String,
    #[serde(flatten)]
    page: Paging,
}

impl From<ListAccessPoints> for access_points::DescribeAccessPoints {
    fn from(input: ListAccessPoints) -> Self {
        Self { access_point_id: None, file_system_id: Some(input.file_system_id), page: input.page.into() }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct CreateMountTarget {
    file_system_id: String,
    subnet_id: String,
    ipv4_address: Option<String>,
    ipv6_address: Option<String>,
    ip_address_type: Option<IpAddressType>,
    security_groups: Option<Vec<String>>,
}

impl From<CreateMountTarget> for mount_targets::CreateMountTarget {
    fn from(input: CreateMountTarget) -> Self {
        Self {
            file_system_id: input.file_system_id,
            subnet_id: input.subnet_id,
            ip_address: input.ipv4_address,
            ipv6_address: input.ipv6_address,
            ip_address_type: input.ip_address_type,
            security_groups: input.security_groups,
        }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct UpdateMountTarget {
    mount_target_id: String,
    security_groups: Vec<String>,
}

impl From<UpdateMountTarget> for mount_targets::ModifySecurityGroups {
    fn from(input: UpdateMountTarget) -> Self {
        Self { mount_target_id: input.mount_target_id, security_groups: Some(input.security_groups) }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ListMountTargets {
    pub(super) file_system_id: Option<String>,
    pub(super) access_point_id: Option<String>,
    #[serde(flatten)]
    pub(super) page: Paging,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct TagResource {
    pub(super) resource_id: String,
    pub(super) tags: Vec<Tag>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct UntagResource {
    pub(super) resource_id: String,
    pub(super) tag_keys: Vec<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ListTags {
    pub(super) resource_id: String,
    #[serde(flatten)]
    pub(super) page: Paging,
}

/// Serialises an output without the members that it hasn't.
fn encode(mut value: Value) -> Vec<u8> {
    prune(&mut value);
    value.to_string().into_bytes()
}

fn prune(value: &mut Value) {
    match value {
        Value::Object(members) => {
            members.retain(|_, member| !member.is_null());
            members.values_mut().for_each(prune);
        }
        Value::Array(items) => items.iter_mut().for_each(prune),
        _ => {}
    }
}

/// Seconds since 1970, to the millisecond.
fn seconds(at: Timestamp) -> f64 {
    at.as_millisecond() as f64 / 1000.0
}

/// The value of the tag `Name`.
fn name(tags: &[Tag]) -> Option<&str> {
    tags.iter().find(|tag| tag.key == "Name").map(|tag| tag.value.as_str())
}

/// Tags; none at all where there would be an empty list, which the model doesn't allow.
fn tag_list(tags: &[Tag]) -> Option<Vec<Value>> {
    let all: Vec<_> = tags.iter().map(|tag| json!({ "key": tag.key, "value": tag.value })).collect();
    Some(all).filter(|all| !all.is_empty())
}

/// A file system as listings show it.
fn file_system_summary(row: &FileSystem) -> Value {
    let bond = row.bond();
    json!({
        "creationTime": seconds(row.creation_time),
        "fileSystemArn": row.arn(),
        "fileSystemId": row.id,
        "name": name(&row.tags),
        "bucket": bond.map(|bond| &bond.bucket),
        "status": row.state,
        "statusMessage": bond.and_then(|bond| bond.status_message.as_ref()),
        "roleArn": bond.map(|bond| &bond.role_arn),
        "ownerId": row.scope.account,
    })
}

pub(super) fn file_system(row: &FileSystem) -> Vec<u8> {
    let mut all = file_system_summary(row);
    all["prefix"] = json!(row.bond().and_then(|bond| bond.prefix.as_ref()));
    all["clientToken"] = json!(row.creation_token);
    all["kmsKeyId"] = json!(row.kms_key_id);
    all["tags"] = json!(tag_list(&row.tags));
    encode(all)
}

pub(super) fn file_systems((rows, next): &Page<Arc<FileSystem>>) -> Vec<u8> {
    let rows: Vec<_> = rows.iter().map(|row| file_system_summary(row)).collect();
    encode(json!({ "fileSystems": rows, "nextToken": next }))
}

/// An access point as listings show it: without token and tags.
fn access_point_summary(row: &AccessPoint) -> Value {
    let user = row.posix_user.as_ref();
    let user = user.map(|user| json!({ "uid": user.uid, "gid": user.gid, "secondaryGids": user.secondary_gids }));
    let creation =
        row.root_directory.creation_info.as_ref().map(
            |info| json!({ "ownerUid": info.owner_uid, "ownerGid": info.owner_gid, "permissions": info.permissions }),
        );
    json!({
        "accessPointArn": row.arn(),
        "accessPointId": row.id,
        "fileSystemId": row.file_system,
        "status": row.state,
        "ownerId": row.scope.account,
        "posixUser": user,
        "rootDirectory": { "path": row.root_directory.path, "creationPermissions": creation },
        "name": name(&row.tags),
    })
}

pub(super) fn access_point(row: &AccessPoint) -> Vec<u8> {
    let mut all = access_point_summary(row);
    all["clientToken"] = json!(row.client_token);
    all["tags"] = json!(tag_list(&row.tags));
    encode(all)
}

pub(super) fn access_points((rows, next): &Page<Arc<AccessPoint>>) -> Vec<u8> {
    let rows: Vec<_> = rows.iter().map(|row| access_point_summary(row)).collect();
    encode(json!({ "accessPoints": rows, "nextToken": next }))
}

/// A mount target as listings show it: without security groups.
fn mount_target_summary(row: &MountTarget) -> Value {
    json!({
        "availabilityZoneId": row.zone.id,
        "fileSystemId": row.file_system,
        "ipv4Address": row.address,
        "ipv6Address": row.address_v6,
        "mountTargetId": row.id,
        "networkInterfaceId": row.network_interface,
        "ownerId": row.scope.account,
        "status": row.state,
        "subnetId": row.subnet,
        "vpcId": row.vpc,
    })
}

pub(super) fn mount_target(row: &MountTarget) -> Vec<u8> {
    let mut all = mount_target_summary(row);
    all["securityGroups"] = json!(row.security_groups);
    encode(all)
}

pub(super) fn mount_targets((rows, next): &Page<Arc<MountTarget>>) -> Vec<u8> {
    let rows: Vec<_> = rows.iter().map(|row| mount_target_summary(row)).collect();
    encode(json!({ "mountTargets": rows, "nextToken": next }))
}

pub(super) fn tags((rows, next): &Page<Tag>) -> Vec<u8> {
    encode(json!({ "tags": tag_list(rows), "nextToken": next }))
}

pub(super) fn policy(file_system: &str, policy: &str) -> Vec<u8> {
    encode(json!({ "fileSystemId": file_system, "policy": policy }))
}

pub(super) fn synchronization(configuration: &Synchronization) -> Vec<u8> {
    encode(json!(configuration))
}

/// An output without members.
pub(super) fn nothing() -> Vec<u8> {
    b"{}".to_vec()
}
