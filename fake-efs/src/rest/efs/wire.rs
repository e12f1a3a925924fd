//! The operations' outputs as JSON.

use std::sync::Arc;

use jiff::Timestamp;
use serde::Serialize;
use serde_json::json;

use super::Operation;
use crate::world::file_systems::FileSystemView;
use crate::world::ids::Arn;
use crate::world::model::{
    AccessPoint, BackupStatus, LifeCycleState, LifecyclePolicy, MountTarget, PerformanceMode, PosixUser, Protection,
    Replication, ReplicationStatus, ResourceIdType, RootDirectory, Tag, ThroughputMode,
};

/// A page and the next one's token.
type Page<T> = (Vec<T>, Option<String>);

/// Serialises an output. These types have string keys and finite numbers only, so it can't fail.
fn encode(value: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(value).expect("outputs have string keys and finite numbers only")
}

/// Seconds since 1970, to the millisecond.
fn seconds(at: Timestamp) -> f64 {
    at.as_millisecond() as f64 / 1000.0
}

/// The value of the tag `Name`.
fn name(tags: &[Tag]) -> Option<&str> {
    tags.iter().find(|tag| tag.key == "Name").map(|tag| tag.value.as_str())
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Size {
    value: u64,
    timestamp: f64,
    #[serde(rename = "ValueInIA")]
    value_in_ia: u64,
    value_in_standard: u64,
    value_in_archive: u64,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct ProtectionDescription {
    replication_overwrite_protection: Protection,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct FileSystemDescription<'a> {
    owner_id: &'a str,
    creation_token: &'a str,
    file_system_id: &'a str,
    file_system_arn: String,
    creation_time: f64,
    life_cycle_state: LifeCycleState,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
    number_of_mount_targets: usize,
    size_in_bytes: Size,
    performance_mode: PerformanceMode,
    encrypted: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    kms_key_id: Option<&'a str>,
    throughput_mode: ThroughputMode,
    #[serde(skip_serializing_if = "Option::is_none")]
    provisioned_throughput_in_mibps: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    availability_zone_name: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    availability_zone_id: Option<&'a str>,
    tags: &'a [Tag],
    file_system_protection: ProtectionDescription,
}

impl<'a> From<&'a FileSystemView> for FileSystemDescription<'a> {
    fn from(view: &'a FileSystemView) -> Self {
        let row = &view.row;
        Self {
            owner_id: &row.scope.account,
            creation_token: &row.creation_token,
            file_system_id: row.id.as_str(),
            file_system_arn: row.arn(),
            creation_time: seconds(row.creation_time),
            life_cycle_state: row.state,
            name: name(&row.tags),
            number_of_mount_targets: view.mount_targets,
            size_in_bytes: Size {
                value: view.bytes,
                timestamp: seconds(view.measured).trunc(),
                value_in_ia: 0,
                value_in_standard: view.bytes,
                value_in_archive: 0,
            },
            performance_mode: row.performance_mode,
            encrypted: row.encrypted,
            kms_key_id: row.kms_key_id.as_deref(),
            throughput_mode: row.throughput_mode,
            provisioned_throughput_in_mibps: row.provisioned_mibps,
            availability_zone_name: row.zone.as_ref().map(|zone| zone.name.as_str()),
            availability_zone_id: row.zone.as_ref().map(|zone| zone.id.as_str()),
            tags: &row.tags,
            file_system_protection: ProtectionDescription { replication_overwrite_protection: row.protection },
        }
    }
}

pub(super) fn file_system(view: &FileSystemView) -> Vec<u8> {
    encode(&FileSystemDescription::from(view))
}

/// A listing with `Marker` and `NextMarker`.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Marked<T> {
    #[serde(skip_serializing_if = "Option::is_none")]
    marker: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    file_systems: Option<Vec<T>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    mount_targets: Option<Vec<T>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tags: Option<Vec<T>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_marker: Option<String>,
}

/// A listing with `NextToken`.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Tokened<T> {
    #[serde(skip_serializing_if = "Option::is_none")]
    access_points: Option<Vec<T>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    replications: Option<Vec<T>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tags: Option<Vec<T>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_token: Option<String>,
}

pub(super) fn file_systems((views, next_marker): &Page<FileSystemView>, marker: Option<String>) -> Vec<u8> {
    let rows = views.iter().map(FileSystemDescription::from).collect();
    let next_marker = next_marker.clone();
    encode(&Marked { marker, file_systems: Some(rows), mount_targets: None, tags: None, next_marker })
}

pub(super) fn protection(protection: Protection) -> Vec<u8> {
    encode(&ProtectionDescription { replication_overwrite_protection: protection })
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct AccessPointDescription<'a> {
    client_token: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
    tags: &'a [Tag],
    access_point_id: &'a str,
    access_point_arn: String,
    file_system_id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    posix_user: Option<&'a PosixUser>,
    root_directory: &'a RootDirectory,
    owner_id: &'a str,
    life_cycle_state: LifeCycleState,
}

impl<'a> From<&'a AccessPoint> for AccessPointDescription<'a> {
    fn from(row: &'a AccessPoint) -> Self {
        Self {
            client_token: &row.client_token,
            name: name(&row.tags),
            tags: &row.tags,
            access_point_id: row.id.as_str(),
            access_point_arn: row.arn(),
            file_system_id: row.file_system.as_str(),
            posix_user: row.posix_user.as_ref(),
            root_directory: &row.root_directory,
            owner_id: &row.scope.account,
            life_cycle_state: row.state,
        }
    }
}

pub(super) fn access_point(row: &AccessPoint) -> Vec<u8> {
    encode(&AccessPointDescription::from(row))
}

pub(super) fn access_points((rows, next_token): &Page<Arc<AccessPoint>>) -> Vec<u8> {
    let rows = rows.iter().map(|row| AccessPointDescription::from(&**row)).collect();
    let next_token = next_token.clone();
    encode(&Tokened { access_points: Some(rows), replications: None, tags: None, next_token })
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct MountTargetDescription<'a> {
    owner_id: &'a str,
    mount_target_id: &'a str,
    file_system_id: &'a str,
    subnet_id: &'a str,
    life_cycle_state: LifeCycleState,
    #[serde(skip_serializing_if = "Option::is_none")]
    ip_address: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ipv6_address: Option<String>,
    network_interface_id: &'a str,
    availability_zone_id: &'a str,
    availability_zone_name: &'a str,
    vpc_id: &'a str,
}

impl<'a> From<&'a MountTarget> for MountTargetDescription<'a> {
    fn from(row: &'a MountTarget) -> Self {
        Self {
            owner_id: &row.scope.account,
            mount_target_id: row.id.as_str(),
            file_system_id: row.file_system.as_str(),
            subnet_id: &row.subnet,
            life_cycle_state: row.state,
            ip_address: row.address.map(|address| address.to_string()),
            ipv6_address: row.address_v6.map(|address| address.to_string()),
            network_interface_id: &row.network_interface,
            availability_zone_id: &row.zone.id,
            availability_zone_name: &row.zone.name,
            vpc_id: &row.vpc,
        }
    }
}

pub(super) fn mount_target(row: &MountTarget) -> Vec<u8> {
    encode(&MountTargetDescription::from(row))
}

pub(super) fn mount_targets((rows, next_marker): &Page<Arc<MountTarget>>, marker: Option<String>) -> Vec<u8> {
    let rows = rows.iter().map(|row| MountTargetDescription::from(&**row)).collect();
    let next_marker = next_marker.clone();
    encode(&Marked { marker, file_systems: None, mount_targets: Some(rows), tags: None, next_marker })
}

pub(super) fn security_groups(groups: &[String]) -> Vec<u8> {
    encode(&json!({ "SecurityGroups": groups }))
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Destination<'a> {
    status: ReplicationStatus,
    file_system_id: &'a str,
    region: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_replicated_timestamp: Option<f64>,
    owner_id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    role_arn: Option<&'a str>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct ReplicationDescription<'a> {
    source_file_system_id: &'a str,
    source_file_system_region: &'a str,
    source_file_system_arn: String,
    original_source_file_system_arn: String,
    creation_time: f64,
    destinations: [Destination<'a>; 1],
    source_file_system_owner_id: &'a str,
}

impl<'a> ReplicationDescription<'a> {
    fn new(row: &'a Replication, now: Timestamp) -> Self {
        let arn = row.source_scope.arn("file-system", row.source.as_str());
        Self {
            source_file_system_id: row.source.as_str(),
            source_file_system_region: &row.source_scope.region,
            source_file_system_arn: arn.clone(),
            original_source_file_system_arn: arn,
            creation_time: seconds(row.creation_time),
            destinations: [Destination {
                status: row.status,
                file_system_id: row.destination.as_str(),
                region: &row.destination_scope.region,
                last_replicated_timestamp: (row.status == ReplicationStatus::Enabled).then(|| seconds(now).trunc()),
                owner_id: &row.destination_scope.account,
                role_arn: row.role_arn.as_deref(),
            }],
            source_file_system_owner_id: &row.source_scope.account,
        }
    }
}

pub(super) fn replication(row: &Replication, now: Timestamp) -> Vec<u8> {
    encode(&ReplicationDescription::new(row, now))
}

pub(super) fn replications((rows, next_token): &Page<Arc<Replication>>, now: Timestamp) -> Vec<u8> {
    let rows = rows.iter().map(|row| ReplicationDescription::new(row, now)).collect();
    let next_token = next_token.clone();
    encode(&Tokened { access_points: None, replications: Some(rows), tags: None, next_token })
}

pub(super) fn tags((rows, next_token): &Page<Tag>) -> Vec<u8> {
    let next_token = next_token.clone();
    encode(&Tokened { access_points: None, replications: None, tags: Some(rows.iter().collect()), next_token })
}

pub(super) fn old_tags((rows, next_marker): &Page<Tag>, marker: Option<String>) -> Vec<u8> {
    let next_marker = next_marker.clone();
    let tags = Some(rows.iter().collect());
    encode(&Marked { marker, file_systems: None, mount_targets: None, tags, next_marker })
}

pub(super) fn lifecycle(rules: &[LifecyclePolicy]) -> Vec<u8> {
    encode(&json!({ "LifecyclePolicies": rules }))
}

/// A file-system policy; the id is shown bare, also if an ARN was given.
pub(super) fn policy(text: &str, policy: &str) -> Vec<u8> {
    let id = Arn::parse(text).map_or(text, |arn| arn.id);
    encode(&json!({ "FileSystemId": id, "Policy": policy }))
}

pub(super) fn backup(status: BackupStatus) -> Vec<u8> {
    encode(&json!({ "BackupPolicy": { "Status": status } }))
}

pub(super) fn preferences(preference: Option<ResourceIdType>) -> Vec<u8> {
    encode(&json!({
        "ResourceIdPreference": {
            "ResourceIdType": preference.unwrap_or(ResourceIdType::LongId),
            "Resources": ["FILE_SYSTEM", "MOUNT_TARGET"],
        }
    }))
}

/// An empty output: `{}` where the status allows a body.
pub(super) fn nothing(operation: Operation) -> Vec<u8> {
    if operation.status() == 204 { Vec::new() } else { b"{}".to_vec() }
}
