//! How much there may be, and how long things take.

use serde::{Deserialize, Serialize};

/// Quotas, as AWS's defaults.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// File systems of an account in a region.
    pub file_systems: usize,
    /// Access points of a file system.
    pub access_points: usize,
    /// Mount targets of a file system in a zone.
    pub mount_targets_per_zone: usize,
    /// Network interfaces of an account in a region.
    pub network_interfaces: usize,
    /// Security groups of a mount target.
    pub security_groups: usize,
    /// Tags of a resource.
    pub tags: usize,
    /// Highest provisioned throughput of a file system, in MiB/s.
    pub provisioned_mibps: f64,
    /// Provisioned throughput of all file systems together, in MiB/s; more is InsufficientThroughputCapacity.
    pub throughput_capacity_mibps: f64,
    /// Hours between two changes of the throughput mode, or two decreases.
    pub throughput_change_hours: i64,
    /// Calls of one operation that an account may make in a region at once before it is throttled; 0 for any number. AWS does
    /// not publish its own.
    pub call_burst: u32,
    /// Calls that an account gets back each second.
    pub calls_per_second: f64,
    /// Bytes a second that may go over one connection to the file server in each direction; 0 for any number. AWS speaks of
    /// 500 MiB/s.
    pub connection_bytes_per_second: u64,
    /// Bytes that the objects of all buckets may take together, with what is kept beside them.
    pub bucket_bytes: u64,
    /// Whether S3 Files answers a create call whose token is taken with ConflictException, even if it is the same call again. AWS's
    /// documentation says that such a call is ignored without an error, and that is the default here; its CSI driver expects a conflict.
    pub repeats_conflict: bool,
    /// Regions in which AWS Backup is not available.
    pub regions_without_backup: Vec<String>,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            file_systems: 1000,
            access_points: 10_000,
            mount_targets_per_zone: 1,
            network_interfaces: 5000,
            security_groups: 5,
            tags: 50,
            provisioned_mibps: 3414.0,
            throughput_capacity_mibps: 1e9,
            throughput_change_hours: 24,
            call_burst: 0,
            calls_per_second: 1.0,
            connection_bytes_per_second: 0,
            bucket_bytes: 1 << 30,
            repeats_conflict: false,
            regions_without_backup: Vec::new(),
        }
    }
}

/// How long DeleteMountTarget waits for EC2, in seconds.
pub(super) const EC2_PATIENCE: f64 = 30.0;

/// How long resources stay in passing states, in seconds. All but one are 0 by default: the first answer still says `creating`, and
/// the next look finds the resource ready.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Delays {
    /// A file system: creating to available. AWS: 5 to 15.
    pub file_system_create: f64,
    /// A file system: updating to available.
    pub file_system_update: f64,
    /// A file system: deleting to gone.
    pub file_system_delete: f64,
    /// An access point: creating to available. AWS: up to 5.
    pub access_point_create: f64,
    /// An access point: deleting to gone.
    pub access_point_delete: f64,
    /// A mount target: creating to available. AWS: 30 to 120.
    pub mount_target_create: f64,
    /// A mount target: deleting to gone.
    pub mount_target_delete: f64,
    /// EC2's answer when a mount target's network interface is to be removed. DeleteMountTarget waits 30 s for it and then
    /// fails with DependencyTimeout.
    pub network_interface_delete: f64,
    /// A backup policy: ENABLING to ENABLED, DISABLING to DISABLED.
    pub backup: f64,
    /// A replication: ENABLING to ENABLED, DELETING to gone.
    pub replication: f64,
    /// A file of S3 Files: from its last change until it is exported to the bucket. 60 by default, as AWS's documentation says.
    pub bucket_export: f64,
}

impl Default for Delays {
    fn default() -> Self {
        Self {
            file_system_create: 0.0,
            file_system_update: 0.0,
            file_system_delete: 0.0,
            access_point_create: 0.0,
            access_point_delete: 0.0,
            mount_target_create: 0.0,
            mount_target_delete: 0.0,
            network_interface_delete: 0.0,
            backup: 0.0,
            replication: 0.0,
            bucket_export: 60.0,
        }
    }
}
