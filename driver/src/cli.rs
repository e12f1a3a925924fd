//! The command line: every flag of the Go driver v3.4.1 with Go's syntax, and our own.
//!
//! Go's `flag` package reads `-x` like `--x`, takes `--x v` and `--x=v`, and lets a boolean stand alone or take one of
//! twelve words. [`parse`] brings that form into one that clap understands, so that existing manifests keep working.

use std::collections::HashSet;
use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, CommandFactory, FromArgMatches, Parser, Subcommand, ValueEnum};

/// Amazon EFS CSI driver.
#[derive(Debug, Parser)]
#[command(name = "efs-csi-driver", disable_version_flag = true, args_conflicts_with_subcommands = true)]
pub struct Cli {
    /// What to do instead of serving CSI.
    #[command(subcommand)]
    pub command: Option<Command>,
    /// The flags of the server.
    #[command(flatten)]
    pub serve: ServeFlags,
}

/// The other jobs of the binary.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// List access points that this driver made and that no PersistentVolume refers to.
    Orphans(OrphansFlags),
    /// List, restore or empty the deleted directories that a file system still has.
    Trash(TrashFlags),
    /// Show tunnels, mounts, certificates and recent errors of the node plug-in that runs here.
    Debug(DebugFlags),
}

/// Flags of `efs-csi-driver debug`.
#[derive(Debug, Clone, Args)]
pub struct DebugFlags {
    /// The state directory of the running plug-in.
    #[arg(long, default_value = "/var/lib/efs-csi", value_name = "DIR")]
    pub state_dir: PathBuf,
    /// Print JSON, one object a report.
    #[arg(long)]
    pub json: bool,
    /// Print again and again.
    #[arg(long)]
    pub watch: bool,
    /// Pause between two reports of --watch.
    #[arg(long, default_value = "2s", value_parser = parse_go_duration, value_name = "DURATION")]
    pub interval: Duration,
}

/// Flags of `efs-csi-driver orphans`.
#[derive(Debug, Clone, Args)]
pub struct OrphansFlags {
    /// Look at one file system only; all of the account's by default.
    #[arg(long)]
    pub file_system_id: Option<String>,
    /// Delete what was found, of this cluster only. Directories and their files stay.
    #[arg(long)]
    pub delete: bool,
    /// With --delete: delete access points that don't tell their cluster, too. On a file system that clusters share, those of the other
    /// clusters may be among them: look before you delete.
    #[arg(long, requires = "delete")]
    pub any_cluster: bool,
    /// Pause between the two looks that an orphan must be seen in, so that a volume that is just being provisioned is none. At least ten
    /// minutes with --delete; without it there is one look.
    #[arg(long, default_value = "10m", value_parser = parse_go_duration, value_name = "DURATION")]
    pub settle: Duration,
    /// The cluster's id; the uid of the namespace kube-system by default.
    #[arg(long, value_name = "ID")]
    pub cluster_id: Option<String>,
    /// The AWS region; found out by the SDK's own rules when absent.
    #[arg(long, env = "AWS_REGION")]
    pub region: Option<String>,
    /// Take the handles in use from this file, one a line, instead of asking Kubernetes.
    #[arg(long, value_name = "FILE")]
    pub handles_from: Option<PathBuf>,
}

/// Flags of `efs-csi-driver trash`.
#[derive(Debug, Clone, Args)]
pub struct TrashFlags {
    /// What to do.
    #[command(subcommand)]
    pub action: TrashAction,
    /// The file system.
    #[arg(long, global = true, default_value = "", value_name = "FS-ID")]
    pub file_system_id: String,
    /// The AWS region; found out by the SDK's own rules when absent.
    #[arg(long, env = "AWS_REGION", global = true)]
    pub region: Option<String>,
    /// PEM file of the authorities that vouch for mount targets; Amazon's by default.
    #[arg(long, value_name = "PEM", global = true)]
    pub tls_ca_file: Option<PathBuf>,
    /// TCP port of NFS on mount targets.
    #[arg(long, default_value_t = 2049, global = true)]
    pub mount_target_port: u16,
}

/// What to do with the trash.
#[derive(Debug, Clone, Subcommand)]
pub enum TrashAction {
    /// List deleted directories: name, state, age, volume, where they were, and the cluster that deleted them.
    List,
    /// Move a deleted directory back to where it was. Its volume and access point are not made again: use it as a static volume.
    Restore {
        /// The entry's name, as listed.
        entry: String,
        /// Another place for it.
        #[arg(long, value_name = "DIRECTORY")]
        to: Option<String>,
    },
    /// Remove a deleted directory with all its files now.
    Purge {
        /// The entry's name, as listed; `--all` for every entry.
        #[arg(required_unless_present = "all")]
        entry: Option<String>,
        /// Every entry that is not kept for good.
        #[arg(long, conflicts_with = "entry")]
        all: bool,
        /// With --all, where several clusters have deleted directories: those of this cluster, and those that tell none.
        #[arg(long, requires = "all", value_name = "ID")]
        cluster_id: Option<String>,
    },
}

/// Which services run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Mode {
    /// Identity, controller and node, like the Go driver.
    All,
    /// Identity and controller; needs no privilege.
    Controller,
    /// Identity and node.
    Node,
}

/// What CreateVolume does with StorageClass parameters that it does not know.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum UnknownParameters {
    /// Answer INVALID_ARGUMENT and suggest the nearest known name.
    Refuse,
    /// Ignore them without a word, like the Go driver.
    Ignore,
}

/// The form of log lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// One line of text an event.
    Text,
    /// One JSON object an event.
    Json,
}

/// A Go boolean flag: `--x`, `--x=true`, `--x=F`, …
macro_rules! go_bool_words {
    (true) => {
        "1" | "t" | "T" | "true" | "TRUE" | "True"
    };
    (false) => {
        "0" | "f" | "F" | "false" | "FALSE" | "False"
    };
}

/// A word of the command line, or of a parameter, that doesn't mean anything.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WordError {
    /// It isn't the id of a cluster.
    #[error("must be 1 to 64 letters, digits, '-', '_' or '.'")]
    ClusterId,
    /// It isn't a boolean.
    #[error("{0:?} is not a boolean; use true or false (also 1, 0, t, f, T, F)")]
    Boolean(String),
    /// It isn't a duration.
    #[error("{0:?} is not a duration; use a number with a unit, such as 30s, 1m30s or 500ms")]
    Duration(String),
}

/// Reads a cluster's id: it becomes the value of a tag that may hold several of them.
fn parse_cluster_id(text: &str) -> Result<String, WordError> {
    let is_id =
        (1..=64).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b));
    is_id.then(|| text.to_owned()).ok_or(WordError::ClusterId)
}

/// Reads a boolean as Go's `strconv.ParseBool` does.
pub fn parse_go_bool(text: &str) -> Result<bool, WordError> {
    match text {
        go_bool_words!(true) => Ok(true),
        go_bool_words!(false) => Ok(false),
        _ => Err(WordError::Boolean(text.to_owned())),
    }
}

/// Reads a duration as Go's `time.ParseDuration` does: decimal numbers with the units ns, us, ms, s, m, h, such as `1m30s`.
pub fn parse_go_duration(text: &str) -> Result<Duration, WordError> {
    let wrong = || WordError::Duration(text.to_owned());
    if text == "0" {
        return Ok(Duration::ZERO);
    }
    let mut rest = text.strip_prefix('+').unwrap_or(text);
    let mut total = 0f64;
    if rest.is_empty() {
        return Err(wrong());
    }
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').ok_or_else(wrong)?;
        let number: f64 = rest[..digits].parse().map_err(|_| wrong())?;
        rest = &rest[digits..];
        let unit_end = rest.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(rest.len());
        let seconds = match &rest[..unit_end] {
            "ns" => 1e-9,
            "us" | "µs" | "μs" => 1e-6,
            "ms" => 1e-3,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3600.0,
            _ => return Err(wrong()),
        };
        total += number * seconds;
        rest = &rest[unit_end..];
    }
    Duration::try_from_secs_f64(total).map_err(|_| wrong())
}

/// The flags of the CSI server. Units and rules stand with each flag; cross-checks are in [`crate::config`].
#[derive(Debug, Clone, Args)]
pub struct ServeFlags {
    /// CSI endpoint: unix:///path/csi.sock or tcp://host:port.
    #[arg(long, default_value = "unix://tmp/csi.sock", value_name = "URL")]
    pub endpoint: String,
    /// Print version information as JSON and exit.
    #[arg(long, num_args = 0..=1, require_equals = true, default_value = "false", default_missing_value = "true",
        value_parser = parse_go_bool, action = clap::ArgAction::Set)]
    pub version: bool,
    /// The services to run.
    #[arg(long, value_enum, default_value = "all")]
    pub mode: Mode,

    /// Name of this node for NodeGetInfo; the instance id by default.
    #[arg(long, help_heading = "Node")]
    pub node_id: Option<String>,
    /// AWS region; from the metadata services when absent.
    #[arg(long)]
    pub region: Option<String>,
    /// Availability zone of this node; from the metadata services when absent.
    #[arg(long, help_heading = "Node")]
    pub availability_zone: Option<String>,
    /// Directory for tunnel state, kept across restarts (a hostPath).
    #[arg(long, default_value = "/var/lib/efs-csi", value_name = "DIR", help_heading = "Node")]
    pub state_dir: PathBuf,
    /// Path of the CSI socket as the kubelet sees it. When given, the driver registers itself with the kubelet; without it, a
    /// node-driver-registrar has to.
    #[arg(long, default_value = "", value_name = "PATH", help_heading = "Node")]
    pub kubelet_registration_path: String,
    /// Where the kubelet's directory for registration sockets is mounted.
    #[arg(long, default_value = "/registration", value_name = "DIR", help_heading = "Node")]
    pub plugin_registration_path: PathBuf,
    /// Socket of the start-up probe (`efs-csi-driver probe PATH`), which only this container sees.
    #[arg(long, value_name = "PATH", help_heading = "Node")]
    pub probe_socket: Option<PathBuf>,
    /// A sidecar runs `efs-csi-driver tunnel --stay` in the folder `keeper` of the state directory; without, the driver starts
    /// the data plane itself, which ends with the driver's container.
    #[arg(long, num_args = 0..=1, default_value_t = false, default_missing_value = "true", action = clap::ArgAction::Set, help_heading = "Node")]
    pub tunnel_sidecar: bool,
    /// TCP port of NFS on mount targets.
    #[arg(long, default_value_t = 2049, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    pub mount_target_port: u16,
    /// host:port of /healthz, /readyz and /metrics; off when empty.
    #[arg(long, default_value = "", value_name = "ADDR")]
    pub http_endpoint: String,
    /// TLS certificate (PEM) of the HTTP endpoint.
    #[arg(long, default_value = "", value_name = "PEM")]
    pub metrics_cert_file: String,
    /// TLS key (PEM) of the HTTP endpoint.
    #[arg(long, default_value = "", value_name = "PEM")]
    pub metrics_key_file: String,

    /// Delete the root directory of an access point together with its volume.
    #[arg(long, num_args = 0..=1, require_equals = true, default_value = "false", default_missing_value = "true",
        value_parser = parse_go_bool, action = clap::ArgAction::Set, help_heading = "Controller")]
    pub delete_access_point_root_dir: bool,
    /// How long deleted directories stay in the trash, where `efs-csi-driver trash` can take them back; 0 empties it at once.
    #[arg(long, default_value = "0s", value_parser = parse_go_duration, value_name = "DURATION", help_heading = "Controller")]
    pub trash_retention: Duration,
    /// What tells this cluster from others on the same file system; the uid of the namespace kube-system by default.
    #[arg(long, value_parser = parse_cluster_id, value_name = "ID", help_heading = "Controller")]
    pub cluster_id: Option<String>,
    /// Tags for access points: space-separated key:value, with \ before a space, a colon or a backslash.
    #[arg(long, default_value = "", help_heading = "Controller")]
    pub tags: String,
    /// What to do with StorageClass parameters that the driver does not know.
    #[arg(long, value_enum, default_value = "refuse", help_heading = "Controller")]
    pub unknown_parameters: UnknownParameters,
    /// Access points that a file system may hold (the AWS quota), for GetCapacity.
    #[arg(long, default_value_t = 10_000, value_name = "N", value_parser = clap::value_parser!(u32).range(1..),
        help_heading = "Controller")]
    pub access_point_quota: u32,
    /// AWS SDK retries: adaptive with 5 attempts (true) or standard with 3 (false).
    #[arg(long, num_args = 0..=1, require_equals = true, default_value = "true", default_missing_value = "true",
        value_parser = parse_go_bool, action = clap::ArgAction::Set)]
    pub adaptive_retry_mode: bool,

    /// Report volume statistics by walking volumes in the background.
    #[arg(long, num_args = 0..=1, require_equals = true, default_value = "false", default_missing_value = "true",
        value_parser = parse_go_bool, action = clap::ArgAction::Set, help_heading = "Node")]
    pub vol_metrics_opt_in: bool,
    /// Minutes before a volume's statistics are computed anew.
    #[arg(long, default_value_t = 240.0, value_name = "MINUTES", help_heading = "Node")]
    pub vol_metrics_refresh_period: f64,
    /// Walks that may run at once on one file system.
    #[arg(long, default_value_t = 5, value_name = "N", help_heading = "Node")]
    pub vol_metrics_fs_rate_limit: i64,
    /// Bytes in a volume from which on its health says UsageOverSoftLimit; nothing is refused. 0: no limit.
    #[arg(long, default_value_t = 0, value_name = "BYTES", help_heading = "Node")]
    pub volume_usage_soft_limit: u64,
    /// Limit concurrent NodePublishVolume calls.
    #[arg(long, num_args = 0..=1, require_equals = true, default_value = "false", default_missing_value = "true",
        value_parser = parse_go_bool, action = clap::ArgAction::Set, help_heading = "Node")]
    pub max_inflight_mount_calls_opt_in: bool,
    /// The limit of --max-inflight-mount-calls-opt-in; above 0.
    #[arg(long, default_value_t = -1, value_name = "N", help_heading = "Node")]
    pub max_inflight_mount_calls: i64,
    /// Report a limit of volumes per node.
    #[arg(long, num_args = 0..=1, require_equals = true, default_value = "false", default_missing_value = "true",
        value_parser = parse_go_bool, action = clap::ArgAction::Set, help_heading = "Node")]
    pub volume_attach_limit_opt_in: bool,
    /// The limit of --volume-attach-limit-opt-in; above 0.
    #[arg(long, default_value_t = -1, value_name = "N", help_heading = "Node")]
    pub volume_attach_limit: i64,
    /// Always on: an unmount that takes longer than --unmount-timeout is repeated by force.
    #[arg(long, num_args = 0..=1, require_equals = true, default_value = "false", default_missing_value = "true",
        value_parser = parse_go_bool, action = clap::ArgAction::Set, help_heading = "Node")]
    pub force_unmount_after_timeout: bool,
    /// How long a plain unmount may take.
    #[arg(long, default_value = "30s", value_parser = parse_go_duration, value_name = "DURATION", help_heading = "Node")]
    pub unmount_timeout: Duration,
    /// The agent of EKS Pod Identity, for volumes with `authenticationSource: pod`: http://ADDRESS[:PORT]/PATH.
    #[arg(
        long,
        default_value = "http://169.254.170.23/v1/credentials",
        value_name = "URL",
        env = "EKS_POD_IDENTITY_AGENT_CONTAINER_CREDENTIALS_FULL_URI",
        help_heading = "Node"
    )]
    pub pod_identity_agent: String,
    /// Tell Kubernetes events on claims, pods and the node when a mount is refused, a port is taken, a certificate can't be renewed, or a
    /// volume can't be counted or holds more than its soft limit.
    #[arg(long, num_args = 0..=1, require_equals = true, default_value = "false", default_missing_value = "true",
        value_parser = parse_go_bool, action = clap::ArgAction::Set, help_heading = "Node")]
    pub kubernetes_events: bool,
    /// Flags of the data plane.
    #[command(flatten)]
    pub tunnel: TunnelFlags,

    /// Flags of the log.
    #[command(flatten)]
    pub log: LogFlags,

    /// Flags of the Go driver for efs-utils and klog.
    #[command(flatten)]
    pub inherited: InheritedFlags,
}

/// Flags of tunnels, for the data plane and for the driver that starts it.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub struct TunnelFlags {
    /// PEM file of the authorities that vouch for mount targets; Amazon's by default.
    #[arg(long, value_name = "PEM")]
    pub tls_ca_file: Option<PathBuf>,
    /// Serve tunnels to every process of uid 0 in the host's network, not to the kernel's NFS client alone: for nodes where
    /// the two can't be told apart (cgroup v1, Linux before 5.8). It does so on every node that it is given on, cgroup v2 or not.
    #[arg(long, num_args = 0..=1, require_equals = true, default_value = "false", default_missing_value = "true",
        value_parser = parse_go_bool, action = clap::ArgAction::Set, help_heading = "Node")]
    pub tunnels_trust_root: bool,
    /// How many connections to the mount target a busy mount through a tunnel may have. EFS serves one at about 500 MiB/s, and says
    /// when more are welcome; 1 never asks.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=16), value_name = "COUNT",
        help_heading = "Node")]
    pub max_connections_per_mount: u8,
}

impl TunnelFlags {
    /// The same as arguments.
    pub fn arguments(&self) -> Vec<OsString> {
        let mut arguments = vec![
            format!("--tunnels-trust-root={}", self.tunnels_trust_root).into(),
            format!("--max-connections-per-mount={}", self.max_connections_per_mount).into(),
        ];
        if let Some(path) = &self.tls_ca_file {
            let mut argument = OsString::from("--tls-ca-file=");
            // The data plane runs in another directory.
            argument.push(std::path::absolute(path).unwrap_or_else(|_| path.clone()));
            arguments.push(argument);
        }
        arguments
    }
}

/// Flags of the log, which all processes have.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub struct LogFlags {
    /// Log at debug level.
    #[arg(long, num_args = 0..=1, require_equals = true, default_value = "false", default_missing_value = "true",
        value_parser = parse_go_bool, action = clap::ArgAction::Set, help_heading = "Logging")]
    pub debug_logs: bool,
    /// The form of log lines.
    #[arg(long, value_enum, default_value = "text", help_heading = "Logging")]
    pub log_format: LogFormat,
    /// Log level by klog's numbers: 4 is debug, 6 is trace.
    #[arg(long, short = 'v', default_value_t = 0, value_name = "LEVEL", help_heading = "Logging")]
    pub v: i32,
}

impl LogFlags {
    /// The same as arguments.
    pub fn arguments(&self) -> Vec<OsString> {
        let format = match self.log_format {
            LogFormat::Text => "text",
            LogFormat::Json => "json",
        };
        vec![
            format!("--debug-logs={}", self.debug_logs).into(),
            format!("--log-format={format}").into(),
            format!("--v={}", self.v).into(),
        ]
    }
}

/// The data plane: carries the bytes of all tunnels of a node, in a process of its own.
#[derive(Debug, Parser)]
#[command(name = "efs-csi-driver tunnel", disable_version_flag = true)]
pub struct PlaneFlags {
    /// Where its sockets are: the folder `keeper` of the driver's state directory.
    #[arg(value_name = "DIRECTORY")]
    pub directory: PathBuf,
    /// Stay when nobody needs it, as a pod's sidecar.
    #[arg(long)]
    pub stay: bool,
    /// Tell whether the one that runs answers, as a liveness probe.
    #[arg(long, conflicts_with_all = ["stay", "serve"])]
    pub check: bool,
    /// Give the folder to this user, as an init container of root's, and end.
    #[arg(long, value_name = "UID", conflicts_with_all = ["stay", "serve", "check"],
          value_parser = clap::value_parser!(u32).range(1..i64::from(u32::MAX)))]
    pub prepare: Option<u32>,
    /// Be the child that carries the bytes.
    #[arg(long, hide = true)]
    pub serve: bool,
    /// Keep the sockets of the data plane that runs already.
    #[arg(long, hide = true, conflicts_with = "serve")]
    pub adopt: bool,
    /// Flags that the driver has, too.
    #[command(flatten)]
    pub tunnel: TunnelFlags,
    /// Overrides of efs-utils.conf: section:key=value,… Here stunnel_cafile, the certificate renewal interval and the client's source
    /// count.
    #[arg(long, default_value = "")]
    pub efs_utils_conf_overrides: String,
    /// Flags of the log.
    #[command(flatten)]
    pub log: LogFlags,
}

/// Flags of the Go driver that steer programs which this driver does without. They are accepted so that manifests work
/// unchanged, and checked like the Go driver checks them; a note at start names those that have no effect.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Accepted for the Go driver's manifests")]
pub struct InheritedFlags {
    /// Overrides of efs-utils.conf: section:key=value,… The region, the port range, stunnel_cafile, the certificate renewal
    /// interval and the client's source count; other settings are noted or refused.
    #[arg(long, default_value = "")]
    pub efs_utils_conf_overrides: String,
    /// Overrides of s3files-utils.conf.
    #[arg(long, default_value = "")]
    pub s3files_utils_conf_overrides: String,
    /// No effect: efs-utils is not used.
    #[arg(long, default_value = "/var/amazon/efs")]
    pub efs_utils_config_dir_path: String,
    /// No effect: efs-utils is not used.
    #[arg(long, default_value = "/etc/amazon/efs-legacy")]
    pub efs_utils_config_legacy_dir_path: String,
    /// No effect: efs-utils is not used.
    #[arg(long, default_value = "/etc/amazon/efs-static-files/")]
    pub efs_utils_static_files_path: String,
    /// No effect: efs-utils is not used.
    #[arg(long, num_args = 0..=1, require_equals = true, default_value = "false", default_missing_value = "true",
        value_parser = parse_go_bool, action = clap::ArgAction::Set)]
    pub efs_cloudwatch_log_enabled: bool,
    /// No effect: efs-utils is not used.
    #[arg(long, num_args = 0..=1, require_equals = true, default_value = "true", default_missing_value = "true",
        value_parser = parse_go_bool, action = clap::ArgAction::Set)]
    pub s3files_cloudwatch_log_enabled: bool,
    /// No effect: efs-utils is not used.
    #[arg(long, num_args = 0..=1, require_equals = true, default_value = "true", default_missing_value = "true",
        value_parser = parse_go_bool, action = clap::ArgAction::Set)]
    pub s3files_cloudwatch_metrics_enabled: bool,
    /// No effect: klog.
    #[arg(long)]
    pub vmodule: Option<String>,
    /// No effect: logs go to standard error.
    #[arg(long, num_args = 0..=1, require_equals = true, default_value = "true", default_missing_value = "true",
        value_parser = parse_go_bool, action = clap::ArgAction::Set)]
    pub logtostderr: bool,
    /// No effect: logs go to standard error.
    #[arg(long, num_args = 0..=1, require_equals = true, default_value = "false", default_missing_value = "true",
        value_parser = parse_go_bool, action = clap::ArgAction::Set)]
    pub alsologtostderr: bool,
    /// No effect: klog.
    #[arg(long)]
    pub stderrthreshold: Option<String>,
    /// No effect: klog.
    #[arg(long = "legacy_stderr_threshold_behavior", num_args = 0..=1, require_equals = true, default_value = "false",
        default_missing_value = "true", value_parser = parse_go_bool, action = clap::ArgAction::Set)]
    pub legacy_stderr_threshold_behavior: bool,
    /// No effect: klog.
    #[arg(long = "log_dir")]
    pub log_dir: Option<String>,
    /// No effect: klog.
    #[arg(long = "log_file")]
    pub log_file: Option<String>,
    /// No effect: klog.
    #[arg(long = "log_file_max_size")]
    pub log_file_max_size: Option<u64>,
    /// No effect: klog.
    #[arg(long = "skip_headers", num_args = 0..=1, require_equals = true, default_value = "false",
        default_missing_value = "true", value_parser = parse_go_bool, action = clap::ArgAction::Set)]
    pub skip_headers: bool,
    /// No effect: klog.
    #[arg(long = "skip_log_headers", num_args = 0..=1, require_equals = true, default_value = "false",
        default_missing_value = "true", value_parser = parse_go_bool, action = clap::ArgAction::Set)]
    pub skip_log_headers: bool,
    /// No effect: klog.
    #[arg(long = "add_dir_header", num_args = 0..=1, require_equals = true, default_value = "false",
        default_missing_value = "true", value_parser = parse_go_bool, action = clap::ArgAction::Set)]
    pub add_dir_header: bool,
    /// No effect: klog.
    #[arg(long = "one_output", num_args = 0..=1, require_equals = true, default_value = "false",
        default_missing_value = "true", value_parser = parse_go_bool, action = clap::ArgAction::Set)]
    pub one_output: bool,
    /// No effect: klog.
    #[arg(long = "log_backtrace_at")]
    pub log_backtrace_at: Option<String>,
}

/// Parses a command line, the program's name first.
///
/// # Errors
/// clap's error, which says what is wrong; also `--help`, as clap has it.
pub fn parse(args: impl IntoIterator<Item = OsString>) -> Result<Cli, clap::Error> {
    let command = Cli::command();
    let matches = command.clone().try_get_matches_from(go_syntax(&command, args))?;
    Cli::from_arg_matches(&matches)
}

/// Rewrites Go's flag syntax: one dash becomes two, and a value that follows its flag is joined to it with `=`, because the
/// value may begin with a dash (`--max-inflight-mount-calls -1`).
fn go_syntax(command: &clap::Command, args: impl IntoIterator<Item = OsString>) -> Vec<OsString> {
    let mut with_value = HashSet::new();
    let mut known = HashSet::new();
    for arg in command.get_arguments() {
        if let Some(long) = arg.get_long() {
            known.insert(long.to_owned());
            if arg.get_action().takes_values() && arg.get_num_args().is_none_or(|n| n.min_values() > 0) {
                with_value.insert(long.to_owned());
            }
        }
    }
    known.insert("v".to_owned());
    with_value.insert("v".to_owned());

    let mut args = args.into_iter();
    let mut out: Vec<OsString> = args.next().into_iter().collect();
    while let Some(arg) = args.next() {
        let Some(text) = arg.to_str() else {
            out.push(arg);
            continue;
        };
        if command.find_subcommand(text).is_some() || text == "--" {
            out.push(arg);
            out.extend(args);
            break;
        }
        let name_and_value = text.strip_prefix("--").or_else(|| text.strip_prefix('-')).unwrap_or_default();
        let name = name_and_value.split('=').next().unwrap_or_default();
        if !known.contains(name) {
            out.push(arg);
            continue;
        }
        let mut rewritten = OsString::from(format!("--{name_and_value}"));
        if !name_and_value.contains('=')
            && with_value.contains(name)
            && let Some(value) = args.next()
        {
            rewritten.push("=");
            rewritten.push(value);
        }
        out.push(rewritten);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn serve(args: &[&str]) -> Result<ServeFlags, clap::Error> {
        let args = std::iter::once("efs-csi-driver").chain(args.iter().copied()).map(OsString::from);
        parse(args).map(|cli| cli.serve)
    }

    #[test]
    fn go_flag_syntax_is_understood() {
        let flags = serve(&[
            "-endpoint",
            "unix:/csi/csi.sock",
            "--v=5",
            "-logtostderr",
            "--delete-access-point-root-dir=T",
            "-adaptive-retry-mode=False",
            "--max-inflight-mount-calls",
            "-1",
            "-unmount-timeout=1m30s",
            "--tags",
            "a:b c:d",
        ])
        .unwrap();
        assert_eq!(flags.endpoint, "unix:/csi/csi.sock");
        assert_eq!((flags.log.v, flags.delete_access_point_root_dir, flags.adaptive_retry_mode), (5, true, false));
        assert_eq!((flags.max_inflight_mount_calls, flags.unmount_timeout), (-1, Duration::from_secs(90)));
        assert_eq!(flags.tags, "a:b c:d");
    }

    #[test]
    fn every_flag_of_the_go_driver_is_accepted() {
        let with_value = [
            "endpoint",
            "efs-utils-config-dir-path",
            "efs-utils-config-legacy-dir-path",
            "efs-utils-static-files-path",
            "tags",
            "efs-utils-conf-overrides",
            "s3files-utils-conf-overrides",
            "http-endpoint",
            "metrics-cert-file",
            "metrics-key-file",
            "vmodule",
            "stderrthreshold",
            "log_dir",
            "log_file",
            "log_backtrace_at",
        ];
        let numbers = [
            "vol-metrics-refresh-period",
            "vol-metrics-fs-rate-limit",
            "max-inflight-mount-calls",
            "volume-attach-limit",
            "v",
            "log_file_max_size",
        ];
        let booleans = [
            "version",
            "vol-metrics-opt-in",
            "delete-access-point-root-dir",
            "adaptive-retry-mode",
            "max-inflight-mount-calls-opt-in",
            "volume-attach-limit-opt-in",
            "force-unmount-after-timeout",
            "debug-logs",
            "efs-cloudwatch-log-enabled",
            "s3files-cloudwatch-log-enabled",
            "s3files-cloudwatch-metrics-enabled",
            "logtostderr",
            "alsologtostderr",
            "legacy_stderr_threshold_behavior",
            "skip_headers",
            "skip_log_headers",
            "add_dir_header",
            "one_output",
        ];
        for dashes in ["-", "--"] {
            for name in with_value {
                serve(&[&format!("{dashes}{name}=x")]).unwrap_or_else(|e| panic!("{e}"));
                serve(&[&format!("{dashes}{name}"), "x"]).unwrap_or_else(|e| panic!("{e}"));
            }
            for name in numbers {
                serve(&[&format!("{dashes}{name}=7")]).unwrap_or_else(|e| panic!("{e}"));
            }
            for name in booleans {
                for value in ["", "=1", "=0", "=t", "=f", "=T", "=F", "=true", "=FALSE", "=True"] {
                    serve(&[&format!("{dashes}{name}{value}")]).unwrap_or_else(|e| panic!("{e}"));
                }
                assert!(serve(&[&format!("{dashes}{name}=yes")]).is_err(), "{name}=yes");
            }
        }
        serve(&["-unmount-timeout=1.5h"]).unwrap();
    }

    #[test]
    fn wrong_flags_say_what_is_wrong() {
        let unknown = serve(&["--endpiont=x"]).unwrap_err();
        assert_eq!(unknown.exit_code(), 2);
        assert!(unknown.to_string().contains("--endpiont"), "{unknown}");
        let boolean = serve(&["--debug-logs=maybe"]).unwrap_err();
        assert_eq!(boolean.exit_code(), 2);
        assert!(boolean.to_string().contains("is not a boolean"), "{boolean}");
        assert!(serve(&["--unmount-timeout=30"]).unwrap_err().to_string().contains("is not a duration"));
        assert!(serve(&["--mount-target-port=0"]).unwrap_err().to_string().contains("1..=65535"));
        assert!(serve(&["--access-point-quota=0"]).unwrap_err().to_string().contains("1..="));
        assert!(serve(&["stray"]).is_err());
    }

    #[test]
    fn durations_are_read_like_go_reads_them() {
        assert_eq!(parse_go_duration("1h15m30.918s"), Ok(Duration::from_millis(4_530_918)));
        assert_eq!(parse_go_duration("0"), Ok(Duration::ZERO));
        assert_eq!(parse_go_duration("250ms"), Ok(Duration::from_millis(250)));
        for bad in ["", "5", "s", "-1s", "1d", "1..2s", "+"] {
            assert!(parse_go_duration(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn subcommands_keep_their_own_arguments() {
        let args = ["efs-csi-driver", "orphans", "--file-system-id", "fs-01234567", "--delete"].map(OsString::from);
        let Some(Command::Orphans(flags)) = parse(args).unwrap().command else { panic!("not orphans") };
        assert!(flags.delete);
        assert_eq!(flags.file_system_id.as_deref(), Some("fs-01234567"));

        let args = ["efs-csi-driver", "debug", "--watch", "--interval=500ms", "--state-dir", "/x"].map(OsString::from);
        let Some(Command::Debug(flags)) = parse(args).unwrap().command else { panic!("not debug") };
        assert!(flags.watch && !flags.json);
        assert_eq!((flags.interval, flags.state_dir), (Duration::from_millis(500), PathBuf::from("/x")));
    }
}
