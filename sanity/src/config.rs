//! What a run is given. Every field has the Go suite's default.

use std::{collections::HashMap, path::PathBuf, time::Duration};

use crate::{endpoint::Endpoint, selection::Selection};

mod files;

pub use files::FileError;
pub(crate) use files::load_pairs;

/// String pairs as CSI's maps have them.
pub type Pairs = HashMap<String, String>;

/// The token that the Go suite takes for an invalid one by default.
pub(crate) const INVALID_TOKEN: &str = "invalid-token";

/// A version of CSI, and the Go suite's that goes with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum)]
pub enum Spec {
    /// CSI v1.12, csi-test v5.5.0
    #[value(name = "1.12")]
    V1_12,
    /// CSI v1.13, csi-test v5.6.0
    #[value(name = "1.13")]
    V1_13,
}

/// One GiB in bytes.
pub(crate) const GIB: i64 = 1 << 30;

/// Everything that a run needs to know.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where the Node and Identity services answer.
    pub endpoint: Endpoint,
    /// Where the Controller services answer, when that is elsewhere.
    pub controller_endpoint: Option<Endpoint>,
    /// How long to try to connect.
    pub connect_timeout: Duration,
    /// How long one call may take.
    pub call_deadline: Duration,
    /// How long the whole run may take.
    pub run_limit: Duration,
    /// Parent directory of the publish targets; `None` means that the suite makes and removes no directories.
    pub mount_dir: Option<PathBuf>,
    /// Staging target path.
    pub staging_dir: Option<PathBuf>,
    /// Programs that make, remove and look at the directories in the suite's stead.
    pub path_commands: PathCommands,
    /// Secrets for each RPC.
    pub secrets: Secrets,
    /// `CreateVolumeRequest.parameters`.
    pub volume_parameters: Pairs,
    /// `mutable_parameters` for creating and modifying volumes.
    pub mutable_parameters: Pairs,
    /// `CreateSnapshotRequest.parameters`.
    pub snapshot_parameters: Pairs,
    /// A token that no list gives out.
    pub invalid_starting_token: String,
    /// Mounted or block volumes.
    pub access_type: AccessType,
    /// Size of the volumes made, in bytes.
    pub volume_size: i64,
    /// Size that volumes are expanded to, in bytes; `None` is one GiB more than `volume_size`.
    pub expand_size: Option<i64>,
    /// Whether the attach limit of the node is tried out (check 33).
    pub test_attach_limit: bool,
    /// How often calls are repeated in the idempotency checks; 0 skips check 90.
    pub idempotent_count: u32,
    /// How many callers the concurrency checks use at once.
    pub callers: usize,
    /// A shell command that restarts the driver; without it the restart checks are skipped.
    pub restart_command: Option<String>,
    /// How long the driver may take to answer after that command has ended.
    pub restart_limit: Duration,
    /// Which checks run.
    pub selection: Selection,
    /// Stop at the first failure.
    pub fail_fast: bool,
    /// Order the checks by this seed instead of by number.
    pub shuffle: Option<u64>,
    /// How often a check is tried before it counts as failed; at least 1.
    pub attempts: u32,
    /// How many checks may run at the same time; at least 1. Those that need the driver for themselves run after the others.
    pub parallel: usize,
}

impl Config {
    /// The Go suite's defaults for a driver at `endpoint`.
    #[must_use]
    pub fn new(endpoint: Endpoint) -> Self {
        let temporary = std::env::temp_dir();
        Self {
            endpoint,
            controller_endpoint: None,
            connect_timeout: Duration::from_secs(10),
            call_deadline: Duration::from_secs(60),
            run_limit: Duration::from_secs(3600),
            mount_dir: Some(temporary.join("csi-mount")),
            staging_dir: Some(temporary.join("csi-staging")),
            path_commands: PathCommands::default(),
            secrets: Secrets::default(),
            volume_parameters: Pairs::new(),
            mutable_parameters: Pairs::new(),
            snapshot_parameters: Pairs::new(),
            invalid_starting_token: INVALID_TOKEN.to_owned(),
            access_type: AccessType::Mount,
            volume_size: 10 * GIB,
            expand_size: None,
            test_attach_limit: false,
            idempotent_count: 10,
            callers: 32,
            restart_command: None,
            restart_limit: Duration::from_secs(60),
            selection: Selection::default(),
            fail_fast: false,
            shuffle: None,
            attempts: 1,
            parallel: 1,
        }
    }

    /// The configuration of one of several workers, the first being number 0: each has directories of its own.
    pub(crate) fn of_worker(&self, number: usize) -> Self {
        let own = |path: &Option<PathBuf>| {
            path.as_ref().map(|path| {
                let mut name = path.clone().into_os_string();
                if number > 0 {
                    name.push(format!("-{}", number + 1));
                }
                PathBuf::from(name)
            })
        };
        Self { mount_dir: own(&self.mount_dir), staging_dir: own(&self.staging_dir), ..self.clone() }
    }

    /// The size that volumes are expanded to, in bytes.
    #[must_use]
    pub fn expanded_size(&self) -> i64 {
        self.expand_size.unwrap_or_else(|| self.volume_size.saturating_add(GIB))
    }
}

/// How the volumes of a run are used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AccessType {
    /// As a file system.
    Mount,
    /// As a block device.
    Block,
}

impl std::str::FromStr for AccessType {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.trim().to_ascii_lowercase().as_str() {
            "mount" => Ok(Self::Mount),
            "block" => Ok(Self::Block),
            _ => Err(format!("{text:?} is not an access type: give mount or block")),
        }
    }
}

/// Programs that handle paths on the node, for a driver that sees another file system than the suite. Each is run with
/// the path as its only argument.
#[derive(Debug, Clone)]
pub struct PathCommands {
    /// Makes the target's parent; its output is the path to use.
    pub create_mount: Option<PathBuf>,
    /// Makes the staging path; its output is the path to use.
    pub create_staging: Option<PathBuf>,
    /// Limit for both.
    pub create_timeout: Duration,
    /// Removes the target's parent; its failure is ignored.
    pub remove_mount: Option<PathBuf>,
    /// Removes the staging path; its failure is ignored.
    pub remove_staging: Option<PathBuf>,
    /// Limit for both.
    pub remove_timeout: Duration,
    /// Prints what is at a path: `file`, `directory`, `not_found` or `other`.
    pub check: Option<PathBuf>,
    /// Its limit.
    pub check_timeout: Duration,
}

impl Default for PathCommands {
    fn default() -> Self {
        let limit = Duration::from_secs(10);
        Self {
            create_mount: None,
            create_staging: None,
            create_timeout: limit,
            remove_mount: None,
            remove_staging: None,
            remove_timeout: limit,
            check: None,
            check_timeout: limit,
        }
    }
}

/// Secrets by RPC, as the Go suite's `--csi.secrets` file names them.
#[derive(Clone, Default, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
#[allow(missing_docs, reason = "each field is named after its key in the file")]
pub struct Secrets {
    #[serde(rename = "CreateVolumeSecret")]
    pub create_volume: Pairs,
    #[serde(rename = "DeleteVolumeSecret")]
    pub delete_volume: Pairs,
    #[serde(rename = "ControllerPublishVolumeSecret")]
    pub controller_publish_volume: Pairs,
    #[serde(rename = "ControllerUnpublishVolumeSecret")]
    pub controller_unpublish_volume: Pairs,
    #[serde(rename = "ControllerValidateVolumeCapabilitiesSecret")]
    pub validate_volume_capabilities: Pairs,
    #[serde(rename = "NodeStageVolumeSecret")]
    pub node_stage_volume: Pairs,
    #[serde(rename = "NodePublishVolumeSecret")]
    pub node_publish_volume: Pairs,
    #[serde(rename = "CreateSnapshotSecret")]
    pub create_snapshot: Pairs,
    #[serde(rename = "DeleteSnapshotSecret")]
    pub delete_snapshot: Pairs,
    #[serde(rename = "ControllerExpandVolumeSecret")]
    pub controller_expand_volume: Pairs,
    #[serde(rename = "ControllerModifyVolumeSecret")]
    pub controller_modify_volume: Pairs,
    #[serde(rename = "ListSnapshotsSecret")]
    pub list_snapshots: Pairs,
    #[serde(rename = "GetSnapshotSecret")]
    pub get_snapshot: Pairs,
}

impl std::fmt::Debug for Secrets {
    /// Secrets are never printed.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secrets(***)")
    }
}
