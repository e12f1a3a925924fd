//! The configuration of a running driver: flags and environment, checked together and turned into types.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use efs_tunnel::plane;

use crate::cli::{Mode, PlaneFlags, ServeFlags, UnknownParameters};
use crate::efs_utils::{Override, Settings};
use crate::fips;
use crate::pod_agent::{AgentUri, WrongAgent};
use crate::registration::Registration;
use crate::volume::tags::parse_tags;

/// A flag or variable that the driver can't start with. The message names it, its value and the rule.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// `--endpoint` is not a usable address.
    #[error("--endpoint={value:?}: {reason}; use unix:///path/csi.sock or tcp://host:port")]
    Endpoint {
        /// The flag's value.
        value: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A flag has a value that is out of its range, or that does not go with another flag.
    #[error("--{flag}={value}: {reason}")]
    Flag {
        /// The flag's name.
        flag: &'static str,
        /// The flag's value.
        value: String,
        /// The rule.
        reason: String,
    },
    /// `AWS_USE_FIPS_ENDPOINT` is set in a region that has no FIPS endpoints.
    #[error(
        "AWS_USE_FIPS_ENDPOINT=true, but region {0:?} has no FIPS endpoint for EFS (only us-* and ca-* have); unset it"
    )]
    Fips(String),
    /// `FIPS_ENABLED` is set and this build has no FIPS module.
    #[error(
        "FIPS_ENABLED=true, but this build has no FIPS module; use the one built with `--features fips`, or unset it"
    )]
    NoFipsModule,
}

/// What this client calls itself in certificates; EFS shows it in its logs.
const CLIENT_SOURCE: &str = "k8s";

/// Where CSI is served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Endpoint {
    /// A Unix socket at an absolute path.
    Unix(PathBuf),
    /// A TCP address, `host:port`.
    Tcp(String),
}

/// The HTTP endpoint for health and metrics.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpConfig {
    /// Address to listen on, `host:port` or `:port`.
    pub address: String,
    /// PEM files of certificate and key, when it speaks TLS.
    pub tls: Option<(PathBuf, PathBuf)>,
}

/// What AWS clients are made of.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AwsConfig {
    /// The region, if given by flag; `AWS_REGION` and metadata otherwise.
    pub region: Option<String>,
    /// Adaptive retries with 5 attempts, else standard with 3.
    pub adaptive_retry: bool,
}

/// The controller's settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ControllerConfig {
    /// DeleteVolume removes the root directory too.
    pub delete_root_directory: bool,
    /// Tags of `--tags`.
    pub tags: BTreeMap<String, String>,
    /// What happens to unknown parameters.
    pub unknown_parameters: UnknownParameters,
    /// Access points that a file system may hold.
    pub access_point_quota: u32,
    /// PEM file of the authorities that vouch for mount targets; Amazon's by default.
    pub tls_ca_file: Option<PathBuf>,
    /// TCP port of NFS on mount targets.
    pub mount_target_port: u16,
    /// How long deleted directories can be taken back.
    pub trash_retention: Duration,
    /// What tells this cluster from others; the uid of its namespace kube-system by default.
    pub cluster_id: Option<String>,
}

/// The node service's settings.
#[derive(Debug, Clone, PartialEq)]
pub struct NodeConfig {
    /// Name of the node, if given.
    pub node_id: Option<String>,
    /// Region, if given.
    pub region: Option<String>,
    /// Availability zone, if given.
    pub availability_zone: Option<String>,
    /// Directory of tunnel state.
    pub state_dir: PathBuf,
    /// TCP port of NFS on mount targets.
    pub mount_target_port: u16,
    /// Registration with the kubelet; `None` when a sidecar does it.
    pub registration: Option<Registration>,
    /// Socket of the start-up probe, if there is one.
    pub probe_socket: Option<PathBuf>,
    /// PEM file of the authorities that vouch for mount targets, if not Amazon's. The data plane's, looked at here, too: one that can't
    /// read it does not start, and of that only its own log would tell.
    pub tls_ca_file: Option<PathBuf>,
    /// Whether the data plane is a container beside this one.
    pub tunnel_sidecar: bool,
    /// Arguments of the data plane if it isn't.
    pub tunnel_arguments: Vec<OsString>,
    /// How often and how many volume walks run; `None` when statistics are off.
    pub volume_metrics: Option<VolumeMetrics>,
    /// Bytes in a volume from which on its health says so.
    pub usage_soft_limit: Option<u64>,
    /// Limit of concurrent NodePublishVolume calls.
    pub max_inflight_mounts: Option<usize>,
    /// Limit of volumes a node, as reported to Kubernetes.
    pub volume_attach_limit: Option<i64>,
    /// How long a plain unmount may take.
    pub unmount_timeout: Duration,
    /// Tunnels serve every process of uid 0 in the driver's network namespace, not the kernel alone.
    pub tunnels_trust_root: bool,
    /// What `--efs-utils-conf-overrides` comes to.
    pub efs_utils: Settings,
    /// Where the agent of EKS Pod Identity is, for pods with an identity of their own.
    pub pod_identity_agent: AgentUri,
    /// Events of Kubernetes are told.
    pub tells_events: bool,
}

/// The settings of volume statistics.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct VolumeMetrics {
    /// Age after which statistics are computed anew.
    pub refresh: Duration,
    /// Walks that may run at once on one file system.
    pub walks_per_file_system: usize,
}

/// What the environment says that is checked together with the flags.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Environment {
    /// `AWS_USE_FIPS_ENDPOINT`: AWS calls go to FIPS endpoints.
    pub fips_endpoints: bool,
    /// `FIPS_ENABLED`: tunnels use a FIPS module.
    pub fips_tunnels: bool,
}

impl Environment {
    /// The environment of this process.
    pub fn of_process() -> Self {
        let is_true = |name| std::env::var(name).is_ok_and(|value| value.eq_ignore_ascii_case("true"));
        Self { fips_endpoints: is_true("AWS_USE_FIPS_ENDPOINT"), fips_tunnels: is_true("FIPS_ENABLED") }
    }
}

/// Everything that the server is made of.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// Which services run.
    pub mode: Mode,
    /// Where CSI is served.
    pub endpoint: Endpoint,
    /// Health and metrics.
    pub http: Option<HttpConfig>,
    /// AWS clients.
    pub aws: AwsConfig,
    /// The controller service.
    pub controller: ControllerConfig,
    /// The node service.
    pub node: NodeConfig,
    /// Flags that were given and have no effect here, each with the reason.
    pub notes: Vec<String>,
}

impl Config {
    /// Checks the flags, alone and together.
    ///
    /// # Errors
    /// The first flag that is wrong.
    pub fn new(flags: &ServeFlags, environment: Environment) -> Result<Self, ConfigError> {
        if environment.fips_tunnels && !fips::MODULE {
            return Err(ConfigError::NoFipsModule);
        }
        if environment.fips_endpoints
            && let Some(region) = &flags.region
            && !region.starts_with("us-")
            && !region.starts_with("ca-")
        {
            return Err(ConfigError::Fips(region.clone()));
        }
        let tags = parse_tags(&flags.tags).map_err(|e| ConfigError::Flag {
            flag: "tags",
            value: format!("{:?}", flags.tags),
            reason: e.to_string(),
        })?;
        let node = node_config(flags)?;
        parse_overrides("s3files-utils-conf-overrides", &flags.inherited.s3files_utils_conf_overrides)?;
        Ok(Self {
            mode: flags.mode,
            endpoint: parse_endpoint(&flags.endpoint)?,
            http: http_config(flags)?,
            aws: AwsConfig { region: flags.region.clone(), adaptive_retry: flags.adaptive_retry_mode },
            controller: ControllerConfig {
                delete_root_directory: flags.delete_access_point_root_dir,
                tags,
                unknown_parameters: flags.unknown_parameters,
                access_point_quota: flags.access_point_quota,
                tls_ca_file: flags.tunnel.tls_ca_file.clone(),
                mount_target_port: flags.mount_target_port,
                trash_retention: flags.trash_retention,
                cluster_id: flags.cluster_id.clone(),
            },
            notes: notes(flags, &node),
            node,
        })
    }
}

fn node_config(flags: &ServeFlags) -> Result<NodeConfig, ConfigError> {
    let volume_metrics = if flags.vol_metrics_opt_in {
        let minutes = flags.vol_metrics_refresh_period;
        let refresh = Duration::try_from_secs_f64(minutes * 60.0).map_err(|_| ConfigError::Flag {
            flag: "vol-metrics-refresh-period",
            value: minutes.to_string(),
            reason: "must be a number of minutes, at least 0".to_owned(),
        })?;
        let walks = positive("vol-metrics-fs-rate-limit", flags.vol_metrics_fs_rate_limit)?;
        Some(VolumeMetrics { refresh, walks_per_file_system: usize::try_from(walks).unwrap_or(usize::MAX) })
    } else {
        None
    };
    let max_inflight_mounts = match flags.max_inflight_mount_calls_opt_in {
        true => {
            let limit = positive("max-inflight-mount-calls", flags.max_inflight_mount_calls)?;
            Some(usize::try_from(limit).unwrap_or(usize::MAX))
        }
        false => None,
    };
    let volume_attach_limit = match flags.volume_attach_limit_opt_in {
        true => Some(positive("volume-attach-limit", flags.volume_attach_limit)?),
        false => None,
    };
    let efs_utils = efs_utils(&flags.inherited.efs_utils_conf_overrides)?;
    Ok(NodeConfig {
        registration: registration(flags)?,
        probe_socket: flags.probe_socket.clone(),
        tls_ca_file: flags.tunnel.tls_ca_file.clone().or_else(|| efs_utils.ca_file.clone()),
        tunnel_sidecar: flags.tunnel_sidecar,
        tunnel_arguments: tunnel_arguments(flags),
        node_id: flags.node_id.clone(),
        region: flags.region.clone().or_else(|| efs_utils.region.clone()),
        availability_zone: flags.availability_zone.clone(),
        state_dir: flags.state_dir.clone(),
        mount_target_port: flags.mount_target_port,
        volume_metrics,
        usage_soft_limit: usage_soft_limit(flags)?,
        max_inflight_mounts,
        volume_attach_limit,
        pod_identity_agent: flags.pod_identity_agent.parse().map_err(|error: WrongAgent| ConfigError::Flag {
            flag: "pod-identity-agent",
            value: format!("{:?}", flags.pod_identity_agent),
            reason: error.to_string(),
        })?,
        tells_events: flags.kubernetes_events,
        unmount_timeout: flags.unmount_timeout,
        tunnels_trust_root: flags.tunnel.tunnels_trust_root,
        efs_utils,
    })
}

/// The limit needs somebody who counts.
fn usage_soft_limit(flags: &ServeFlags) -> Result<Option<u64>, ConfigError> {
    match flags.volume_usage_soft_limit {
        0 => Ok(None),
        limit if flags.vol_metrics_opt_in => Ok(Some(limit)),
        limit => Err(ConfigError::Flag {
            flag: "volume-usage-soft-limit",
            value: limit.to_string(),
            reason: "needs --vol-metrics-opt-in, which counts what a volume holds".to_owned(),
        }),
    }
}

/// What `--efs-utils-conf-overrides` comes to.
fn efs_utils(overrides: &str) -> Result<Settings, ConfigError> {
    const FLAG: &str = "efs-utils-conf-overrides";
    Settings::new(&parse_overrides(FLAG, overrides)?, fips::MODULE).map_err(|error| ConfigError::Flag {
        flag: FLAG,
        value: format!("{overrides:?}"),
        reason: error.to_string(),
    })
}

/// What a data plane that the driver starts is told.
fn tunnel_arguments(flags: &ServeFlags) -> Vec<OsString> {
    let mut arguments = flags.tunnel.arguments();
    arguments.extend(flags.log.arguments());
    let overrides = &flags.inherited.efs_utils_conf_overrides;
    if !overrides.is_empty() {
        arguments.push(format!("--efs-utils-conf-overrides={overrides}").into());
    }
    arguments
}

/// The settings of a data plane.
///
/// # Errors
/// When `--efs-utils-conf-overrides` can't be honoured.
pub fn plane_settings(flags: &PlaneFlags) -> Result<plane::process::Settings, ConfigError> {
    let efs_utils = efs_utils(&flags.efs_utils_conf_overrides)?;
    Ok(plane::process::Settings {
        directory: flags.directory.clone(),
        tls_ca_file: flags.tunnel.tls_ca_file.clone().or(efs_utils.ca_file),
        source: efs_utils.source.unwrap_or_else(|| CLIENT_SOURCE.to_owned()),
        renew_after: efs_utils.renew_after,
        max_connections_per_mount: flags.tunnel.max_connections_per_mount.into(),
        trusts_root: flags.tunnel.tunnels_trust_root,
        stays: flags.stay,
    })
}

/// What the operator should know about flags that do less here than the Go driver's manual says.
fn notes(flags: &ServeFlags, node: &NodeConfig) -> Vec<String> {
    let inherited = &flags.inherited;
    let mut notes: Vec<String> = node
        .efs_utils
        .without_effect
        .iter()
        .map(|key| format!("--efs-utils-conf-overrides: {key} has no effect, it steers a program of efs-utils"))
        .collect();
    let without_efs_utils = [
        ("efs-cloudwatch-log-enabled", inherited.efs_cloudwatch_log_enabled),
        ("s3files-utils-conf-overrides", !inherited.s3files_utils_conf_overrides.is_empty()),
    ];
    let given = without_efs_utils.into_iter().filter(|(_, given)| *given);
    notes.extend(given.map(|(flag, _)| format!("--{flag} has no effect: there are no efs-utils")));
    if flags.force_unmount_after_timeout {
        let note = "--force-unmount-after-timeout is always on: a mount whose server is gone must not hold up the node";
        notes.push(note.to_owned());
    }
    let unused = [
        ("max-inflight-mount-calls", flags.max_inflight_mount_calls != -1, flags.max_inflight_mount_calls_opt_in),
        ("volume-attach-limit", flags.volume_attach_limit != -1, flags.volume_attach_limit_opt_in),
    ];
    let unused = unused.into_iter().filter(|(_, given, opted_in)| *given && !opted_in);
    notes.extend(unused.map(|(flag, _, _)| format!("--{flag} has no effect without --{flag}-opt-in")));
    notes
}

fn registration(flags: &ServeFlags) -> Result<Option<Registration>, ConfigError> {
    const FLAG: &str = "kubelet-registration-path";
    let path = PathBuf::from(&flags.kubelet_registration_path);
    let wrong = |reason: &str| {
        let value = format!("{:?}", flags.kubelet_registration_path);
        ConfigError::Flag { flag: FLAG, value, reason: reason.to_owned() }
    };
    match () {
        () if path.as_os_str().is_empty() => Ok(None),
        () if flags.mode == Mode::Controller => {
            Err(wrong("the kubelet registers node plug-ins, not --mode=controller"))
        }
        () if path.is_relative() => Err(wrong("must be an absolute path, the CSI socket as the kubelet sees it")),
        () => Ok(Some(Registration { directory: flags.plugin_registration_path.clone(), csi_socket: path })),
    }
}

fn positive(flag: &'static str, value: i64) -> Result<i64, ConfigError> {
    if value > 0 {
        Ok(value)
    } else {
        Err(ConfigError::Flag { flag, value: value.to_string(), reason: "must be above 0".to_owned() })
    }
}

fn http_config(flags: &ServeFlags) -> Result<Option<HttpConfig>, ConfigError> {
    let wrong = |flag, value: &str, reason: &str| ConfigError::Flag {
        flag,
        value: format!("{value:?}"),
        reason: reason.to_owned(),
    };
    let tls = match (flags.metrics_cert_file.as_str(), flags.metrics_key_file.as_str()) {
        ("", "") => None,
        (cert, "") => return Err(wrong("metrics-cert-file", cert, "needs --metrics-key-file too")),
        ("", key) => return Err(wrong("metrics-key-file", key, "needs --metrics-cert-file too")),
        (cert, key) => Some((PathBuf::from(cert), PathBuf::from(key))),
    };
    match flags.http_endpoint.as_str() {
        "" => Ok(None),
        address => {
            let port = address.rsplit_once(':').map(|(_, port)| port.parse::<u16>());
            if !matches!(port, Some(Ok(_))) {
                return Err(wrong("http-endpoint", address, "must be host:port or :port"));
            }
            Ok(Some(HttpConfig { address: address.to_owned(), tls }))
        }
    }
}

fn parse_endpoint(value: &str) -> Result<Endpoint, ConfigError> {
    let wrong = |reason: &str| ConfigError::Endpoint { value: value.to_owned(), reason: reason.to_owned() };
    let (scheme, rest) = value.split_once(':').ok_or_else(|| wrong("it has no scheme"))?;
    let rest = rest.strip_prefix("//").unwrap_or(rest);
    match scheme.to_ascii_lowercase().as_str() {
        // Like the Go driver: host and path of the URL make up the path, so unix://tmp/x and unix:/tmp/x are the same.
        "unix" => match rest.trim_start_matches('/') {
            "" => Err(wrong("it has no path")),
            path => Ok(Endpoint::Unix(PathBuf::from(format!("/{path}")))),
        },
        "tcp" => {
            let address = rest.trim_end_matches('/');
            let port = address.rsplit_once(':').map(|(_, port)| port.parse::<u16>());
            match port {
                Some(Ok(_)) if address.parse::<SocketAddr>().is_ok() || !address.starts_with(':') => {
                    Ok(Endpoint::Tcp(address.to_owned()))
                }
                Some(Ok(_)) => Ok(Endpoint::Tcp(format!("[::]{address}"))),
                _ => Err(wrong("it has no port")),
            }
        }
        other => Err(wrong(&format!("protocol {other:?} is not supported"))),
    }
}

fn parse_overrides(flag: &'static str, text: &str) -> Result<Vec<Override>, ConfigError> {
    text.split(',')
        .map(str::trim)
        .filter(|entry| !entry.is_empty())
        .map(|entry| {
            let parsed = entry.split_once(':').and_then(|(section, rest)| {
                let (key, value) = rest.split_once('=')?;
                let (section, key) = (section.trim(), key.trim());
                let entry = Override { section: section.into(), key: key.into(), value: value.trim().into() };
                (!section.is_empty() && !key.is_empty()).then_some(entry)
            });
            parsed.ok_or_else(|| ConfigError::Flag {
                flag,
                value: format!("{text:?}"),
                reason: format!("entry {entry:?} is not section:key=value"),
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::cli;
    use std::ffi::OsString;

    fn config(args: &[&str]) -> Result<Config, ConfigError> {
        let args = std::iter::once("efs-csi-driver").chain(args.iter().copied()).map(OsString::from);
        Config::new(&cli::parse(args).unwrap().serve, Environment::default())
    }

    #[test]
    fn endpoints_are_read_like_the_go_driver_reads_them() {
        for (text, want) in [
            ("unix:/csi/csi.sock", Endpoint::Unix("/csi/csi.sock".into())),
            ("unix:///csi/csi.sock", Endpoint::Unix("/csi/csi.sock".into())),
            ("unix://tmp/csi.sock", Endpoint::Unix("/tmp/csi.sock".into())),
            ("UNIX:///a", Endpoint::Unix("/a".into())),
            ("tcp://127.0.0.1:10000", Endpoint::Tcp("127.0.0.1:10000".into())),
            ("tcp://:10000", Endpoint::Tcp("[::]:10000".into())),
            ("tcp://localhost:1/", Endpoint::Tcp("localhost:1".into())),
        ] {
            assert_eq!(parse_endpoint(text), Ok(want), "{text}");
        }
        for bad in ["", "csi.sock", "unix://", "tcp://host", "http://h:1", "tcp://h:99999"] {
            let message = parse_endpoint(bad).unwrap_err().to_string();
            assert!(message.contains(&format!("{bad:?}")) && message.contains("use unix:///"), "{message}");
        }
    }

    #[test]
    fn limits_are_checked_only_when_opted_in() {
        assert!(config(&["--max-inflight-mount-calls=-5", "--volume-attach-limit=0"]).is_ok());
        for flags in [
            ["--max-inflight-mount-calls-opt-in", "--max-inflight-mount-calls=0"],
            ["--volume-attach-limit-opt-in", "--volume-attach-limit=-1"],
            ["--vol-metrics-opt-in", "--vol-metrics-fs-rate-limit=0"],
        ] {
            let message = config(&flags).unwrap_err().to_string();
            assert!(message.ends_with("must be above 0"), "{message}");
        }
        let config = config(&["--volume-attach-limit-opt-in", "--volume-attach-limit=7"]).unwrap();
        assert_eq!(config.node.volume_attach_limit, Some(7));
    }

    #[test]
    fn overrides_are_split_at_the_first_colon_and_equals_sign() {
        let entries = parse_overrides("flag", "mount:region=us-east-1,, a:b=c=d:e ,").unwrap();
        let entry = |s: &str, k: &str, v: &str| Override { section: s.into(), key: k.into(), value: v.into() };
        assert_eq!(entries, [entry("mount", "region", "us-east-1"), entry("a", "b", "c=d:e")]);
    }

    #[test]
    fn overrides_of_efs_utils_give_way_to_flags() {
        let overrides = "--efs-utils-conf-overrides=mount:region=us-east-1,mount:stunnel_cafile=/a.pem";
        let node = config(&[overrides]).unwrap().node;
        assert_eq!(node.region.as_deref(), Some("us-east-1"));
        assert_eq!(plane(&node).tls_ca_file.as_deref(), Some("/a.pem".as_ref()));
        let node = config(&[overrides, "--region=eu-west-1", "--tls-ca-file=/b.pem"]).unwrap().node;
        assert_eq!(node.region.as_deref(), Some("eu-west-1"));
        assert_eq!(plane(&node).tls_ca_file.as_deref(), Some("/b.pem".as_ref()));
    }

    /// What a data plane makes of the arguments that the driver gives it.
    fn plane(node: &NodeConfig) -> plane::process::Settings {
        let given = node.tunnel_arguments.iter().cloned().chain(["/state/keeper".into()]);
        let flags = PlaneFlags::try_parse_from(std::iter::once("tunnel".into()).chain(given)).expect("arguments");
        plane_settings(&flags).expect("settings")
    }

    #[test]
    fn a_data_plane_that_the_driver_starts_is_told_the_same() {
        let overrides =
            "--efs-utils-conf-overrides=client-info:source=mine,mount-watchdog:tls_cert_renewal_interval_min=30";
        let given =
            [overrides, "--max-connections-per-mount=5", "--tunnels-trust-root", "--tls-ca-file=/c.pem", "--v=4"];
        let expected = plane::process::Settings {
            directory: "/state/keeper".into(),
            tls_ca_file: Some("/c.pem".into()),
            source: "mine".to_owned(),
            renew_after: Some(Duration::from_secs(1800)),
            max_connections_per_mount: 5,
            trusts_root: true,
            stays: false,
        };
        assert_eq!(plane(&config(&given).unwrap().node), expected);
        let usual = plane(&config(&[]).unwrap().node);
        assert_eq!((usual.source.as_str(), usual.trusts_root, usual.tls_ca_file), ("k8s", false, None));
    }

    /// A flag that is accepted has an effect, or the log says that it has none.
    #[test]
    fn flags_without_effect_are_noted() {
        assert_eq!(config(&[]).unwrap().notes, Vec::<String>::new());
        for (flag, word) in [
            ("--efs-utils-conf-overrides=mount-watchdog:poll_interval_sec=5", "mount-watchdog:poll_interval_sec"),
            ("--s3files-utils-conf-overrides=proxy:x=y", "--s3files-utils-conf-overrides"),
            ("--efs-cloudwatch-log-enabled", "--efs-cloudwatch-log-enabled"),
            ("--force-unmount-after-timeout", "always on"),
            ("--max-inflight-mount-calls=3", "--max-inflight-mount-calls-opt-in"),
            ("--volume-attach-limit=3", "--volume-attach-limit-opt-in"),
        ] {
            let notes = config(&[flag]).unwrap().notes;
            assert!(notes.len() == 1 && notes[0].contains(word), "{flag}: {notes:?}");
        }
    }

    #[test]
    fn a_soft_limit_of_usage_goes_with_walks() {
        let limit = |flags: &[&str]| config(flags).unwrap().node.usage_soft_limit;
        assert_eq!(limit(&[]), None);
        assert_eq!(limit(&["--vol-metrics-opt-in"]), None);
        assert_eq!(limit(&["--vol-metrics-opt-in", "--volume-usage-soft-limit=1073741824"]), Some(1 << 30));
    }

    #[test]
    fn wrong_values_name_the_flag() {
        for (args, want) in [
            (&["--efs-utils-conf-overrides=mount"][..], "--efs-utils-conf-overrides"),
            (&["--efs-utils-conf-overrides=mount:stunnel_check_cert_hostname=no"], "--efs-utils-conf-overrides"),
            (&["--s3files-utils-conf-overrides=:k=v"], "--s3files-utils-conf-overrides"),
            (&["--http-endpoint=8080"], "--http-endpoint"),
            (&["--volume-usage-soft-limit=5"], "--volume-usage-soft-limit"),
            (&["--http-endpoint=:1", "--metrics-cert-file=x"], "--metrics-cert-file"),
            (&["--tags=a:b:c"], "--tags"),
            (&["--kubelet-registration-path=csi.sock"], "--kubelet-registration-path"),
            (&["--mode=controller", "--kubelet-registration-path=/csi.sock"], "--kubelet-registration-path"),
            (&["--vol-metrics-opt-in", "--vol-metrics-refresh-period=-1"], "--vol-metrics-refresh-period"),
        ] {
            let message = config(args).unwrap_err().to_string();
            assert!(message.starts_with(want), "{message}");
        }
    }

    #[test]
    fn fips_endpoints_are_refused_where_there_are_none() {
        let flags =
            |region: &str| cli::parse(["d", "--region", region].map(OsString::from)).expect("valid flags").serve;
        let endpoints = Environment { fips_endpoints: true, fips_tunnels: false };
        assert_eq!(Config::new(&flags("eu-west-1"), endpoints), Err(ConfigError::Fips("eu-west-1".into())));
        assert!(Config::new(&flags("us-gov-west-1"), endpoints).is_ok());
        assert!(Config::new(&flags("eu-west-1"), Environment::default()).is_ok());
    }

    /// An operator who asks for FIPS must never get something else without a word.
    #[test]
    fn fips_tunnels_need_a_fips_build() {
        let flags = cli::parse(["d"].map(OsString::from)).expect("valid flags").serve;
        let asked = Config::new(&flags, Environment { fips_endpoints: false, fips_tunnels: true });
        match fips::MODULE {
            true => assert!(asked.is_ok()),
            false => assert_eq!(asked, Err(ConfigError::NoFipsModule)),
        }
    }
}
