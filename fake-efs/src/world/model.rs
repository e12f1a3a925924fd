//! The things that exist: file systems, access points, mount targets and replications, as they are kept and stored.

use std::net::{IpAddr, Ipv6Addr};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::ids::{AccessPointId, FileSystemId, MountTargetId};
use super::network::Zone;
use super::scope::{Scope, Service};

/// Where a resource is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LifeCycleState {
    /// Being made.
    Creating,
    /// Ready.
    Available,
    /// Being changed.
    Updating,
    /// Being taken away.
    Deleting,
    /// Broken; only a fault brings a resource here.
    Error,
    /// Something that the service needs is gone or forbidden to it, such as a file system's bucket. S3 Files only.
    Misconfigured,
}

/// A file system's trade between latency and parallelism.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum PerformanceMode {
    /// The default.
    GeneralPurpose,
    /// Previous generation.
    #[serde(rename = "maxIO")]
    MaxIo,
}

/// How a file system's throughput is granted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ThroughputMode {
    /// The default.
    Bursting,
    /// A bought number of MiB/s.
    Provisioned,
    /// As needed.
    Elastic,
}

/// Whether a file system may be overwritten by replication.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Protection {
    /// It can't be a replication's destination; the default.
    Enabled,
    /// It can, and is read-only.
    Disabled,
    /// It is one, and is read-only.
    Replicating,
}

/// State of automatic backups.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum BackupStatus {
    /// On.
    Enabled,
    /// On its way to on.
    Enabling,
    /// Off.
    Disabled,
    /// On its way to off.
    Disabling,
}

/// A tag, on the wire and stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Tag {
    /// 1 to 128 characters.
    #[serde(alias = "key")]
    pub key: String,
    /// Up to 256 characters.
    #[serde(alias = "value")]
    pub value: String,
}

/// One rule of lifecycle management; exactly one member is set.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LifecyclePolicy {
    /// `AFTER_…_DAYS`: when to move to Infrequent Access.
    #[serde(rename = "TransitionToIA", default, skip_serializing_if = "Option::is_none")]
    pub transition_to_ia: Option<String>,
    /// `AFTER_1_ACCESS`: whether to move back.
    #[serde(rename = "TransitionToPrimaryStorageClass", default, skip_serializing_if = "Option::is_none")]
    pub transition_to_primary_storage_class: Option<String>,
    /// `AFTER_…_DAYS`: when to move to Archive.
    #[serde(rename = "TransitionToArchive", default, skip_serializing_if = "Option::is_none")]
    pub transition_to_archive: Option<String>,
}

/// What kind of file system one is, with what only this kind has.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Of EFS.
    #[default]
    Efs,
    /// Of S3 Files: a bucket, or a part of one.
    S3Files(Bond),
}

/// What ties a file system of S3 Files to its bucket.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bond {
    /// ARN of the bucket.
    pub bucket: String,
    /// Only keys below it; none for the whole bucket.
    pub prefix: Option<String>,
    /// The role as which the service uses the bucket.
    pub role_arn: String,
    /// Why the file system is in its state, if that is anything but good.
    pub status_message: Option<String>,
    /// What is imported when, and when it goes.
    pub synchronization: Synchronization,
}

/// A synchronization configuration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Synchronization {
    /// Counts the changes.
    pub latest_version_number: i64,
    /// 1 to 10.
    pub import_data_rules: Vec<ImportDataRule>,
    /// Exactly one.
    pub expiration_data_rules: Vec<ExpirationDataRule>,
}

/// Which data comes into the file system, and when.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ImportDataRule {
    /// Keys that begin so; empty for all.
    pub prefix: String,
    /// What starts the import.
    pub trigger: ImportTrigger,
    /// Only objects with fewer bytes.
    pub size_less_than: i64,
}

/// What starts an import.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum ImportTrigger {
    /// The first look into a directory.
    OnDirectoryFirstAccess,
    /// The first look at a file.
    OnFileAccess,
}

/// When data that nobody uses leaves the file system.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ExpirationDataRule {
    /// 1 to 365.
    pub days_after_last_access: u16,
}

/// Objects smaller than this are imported with their directory unless configured otherwise.
const IMPORTED_AT_ONCE: i64 = 128 << 10;
/// Days that unused data stays unless configured otherwise.
const KEPT_FOR: u16 = 30;

impl Default for Synchronization {
    fn default() -> Self {
        Self {
            latest_version_number: 1,
            import_data_rules: vec![ImportDataRule {
                prefix: String::new(),
                trigger: ImportTrigger::OnDirectoryFirstAccess,
                size_less_than: IMPORTED_AT_ONCE,
            }],
            expiration_data_rules: vec![ExpirationDataRule { days_after_last_access: KEPT_FOR }],
        }
    }
}

/// A file system.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FileSystem {
    /// Whose it is. Its scope names the same service.
    #[serde(default)]
    pub kind: Kind,
    /// Its id.
    pub id: FileSystemId,
    /// Owner and region.
    pub scope: Scope,
    /// Order of creation, for paging.
    pub seq: u64,
    /// The caller's token.
    pub creation_token: String,
    /// When it was made.
    pub creation_time: Timestamp,
    /// Where it is in its life.
    pub state: LifeCycleState,
    /// Fixed at creation.
    pub performance_mode: PerformanceMode,
    /// Whether it is encrypted at rest, as far as anybody can see.
    pub encrypted: bool,
    /// ARN of the key of an encrypted file system.
    pub kms_key_id: Option<String>,
    /// How throughput is granted.
    pub throughput_mode: ThroughputMode,
    /// In MiB/s; set exactly if the mode is provisioned.
    pub provisioned_mibps: Option<f64>,
    /// When throughput was last lowered or its mode changed.
    pub throughput_changed: Option<Timestamp>,
    /// Its only zone, if it is a One Zone file system.
    pub zone: Option<Zone>,
    /// At most 50.
    pub tags: Vec<Tag>,
    /// `None` until a backup policy exists.
    pub backup: Option<BackupStatus>,
    /// At most three.
    pub lifecycle: Vec<LifecyclePolicy>,
    /// The file-system policy as it was put; `None` is AWS's default policy.
    pub policy: Option<String>,
    /// Whether replication may overwrite it.
    pub protection: Protection,
    /// Whether it ever had a mount target.
    pub was_mountable: bool,
}

/// The identity that an access point forces on its clients.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct PosixUser {
    /// User id.
    pub uid: u32,
    /// Primary group.
    pub gid: u32,
    /// Up to 16 more groups.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secondary_gids: Option<Vec<u32>>,
}

/// How to make a missing root directory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct CreationInfo {
    /// Owner.
    pub owner_uid: u32,
    /// Group.
    pub owner_gid: u32,
    /// Three or four octal digits.
    pub permissions: String,
}

/// The directory that an access point shows as `/`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct RootDirectory {
    /// Absolute; `/` if nothing was asked for.
    #[serde(default = "root_path")]
    pub path: String,
    /// How to make it at the first connection.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub creation_info: Option<CreationInfo>,
}

/// The default of [`RootDirectory::path`].
fn root_path() -> String {
    "/".to_owned()
}

impl Default for RootDirectory {
    fn default() -> Self {
        Self { path: root_path(), creation_info: None }
    }
}

/// An access point.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccessPoint {
    /// Its id.
    pub id: AccessPointId,
    /// Owner and region.
    pub scope: Scope,
    /// Order of creation, for paging.
    pub seq: u64,
    /// The caller's token.
    pub client_token: String,
    /// The file system it leads into.
    pub file_system: FileSystemId,
    /// Where it is in its life.
    pub state: LifeCycleState,
    /// Forced identity.
    pub posix_user: Option<PosixUser>,
    /// Shown as `/`.
    pub root_directory: RootDirectory,
    /// At most 50.
    pub tags: Vec<Tag>,
}

impl FileSystem {
    /// Its ARN.
    pub fn arn(&self) -> String {
        self.scope.arn("file-system", self.id.as_str())
    }
}

impl AccessPoint {
    /// Its ARN. That of S3 Files names the file system, too.
    pub fn arn(&self) -> String {
        match self.scope.service {
            Service::Efs => self.scope.arn("access-point", self.id.as_str()),
            Service::S3Files => {
                format!("{}/access-point/{}", self.scope.arn("file-system", self.file_system.as_str()), self.id)
            }
        }
    }
}

/// A mount target.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MountTarget {
    /// Its id.
    pub id: MountTargetId,
    /// Owner and region.
    pub scope: Scope,
    /// Order of creation, for paging.
    pub seq: u64,
    /// The file system it leads to.
    pub file_system: FileSystemId,
    /// Where it is in its life.
    pub state: LifeCycleState,
    /// The subnet that was asked for.
    pub subnet: String,
    /// The subnet's VPC.
    pub vpc: String,
    /// The subnet's zone.
    pub zone: Zone,
    /// The address to mount; `None` for an IPv6-only target.
    pub address: Option<IpAddr>,
    /// Whether `address` is this target's alone, so that connections to it need not name the file system.
    pub owns_address: bool,
    /// The IPv6 address of a dual-stack or IPv6-only target.
    pub address_v6: Option<Ipv6Addr>,
    /// `eni-…`
    pub network_interface: String,
    /// At most five, unless configured otherwise.
    pub security_groups: Vec<String>,
}

/// State of a replication.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum ReplicationStatus {
    /// The first copy is under way.
    Enabling,
    /// In step.
    Enabled,
    /// Being taken away.
    Deleting,
}

/// A replication; its key is the source file system.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Replication {
    /// What is copied.
    pub source: FileSystemId,
    /// Owner and region of the source.
    pub source_scope: Scope,
    /// Order of creation, for paging.
    pub seq: u64,
    /// When it was set up.
    pub creation_time: Timestamp,
    /// What it is copied to.
    pub destination: FileSystemId,
    /// Owner and region of the destination.
    pub destination_scope: Scope,
    /// Where it is in its life.
    pub status: ReplicationStatus,
    /// The role that AWS would use.
    pub role_arn: Option<String>,
}

/// Length of new ids that an account prefers. AWS no longer grants short ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum ResourceIdType {
    /// 17 digits.
    LongId,
    /// 8 digits.
    ShortId,
}
