//! `--efs-utils-conf-overrides`: settings of efs-utils.conf, as far as they mean something without efs-utils.
//!
//! The flag exists so that manifests of the Go driver go on working. What has a counterpart here is honoured, what could not be
//! honoured without lying is refused, what steers a program that isn't there is noted, and what efs-utils doesn't know either
//! is a mistake and refused with the nearest known name, as the Go driver refuses it.

use std::path::PathBuf;
use std::time::Duration;

use crate::endpoints;

/// Certificates are made anew after at most this long; they are good for three hours.
const RENEWAL_MAX: u64 = 150;
/// The longest name of a client, in characters.
const SOURCE_MAX: usize = 100;

/// One entry of `--efs-utils-conf-overrides`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Override {
    /// The section of efs-utils.conf.
    pub section: String,
    /// The key in it.
    pub key: String,
    /// The value.
    pub value: String,
}

/// What the overrides come to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// `mount:region`.
    pub region: Option<String>,
    /// `mount:port_range_lower_bound`: the first local port.
    pub first_port: Option<u16>,
    /// `mount:port_range_upper_bound`: the local port after the last one.
    pub port_bound: Option<u16>,
    /// `mount:stunnel_cafile`.
    pub ca_file: Option<PathBuf>,
    /// `mount-watchdog:tls_cert_renewal_interval_min`.
    pub renew_after: Option<Duration>,
    /// `client-info:source`.
    pub source: Option<String>,
    /// Settings without effect, as `section:key`.
    pub without_effect: Vec<String>,
}

/// An override that can't be honoured.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SettingError {
    /// It is wrong by itself.
    #[error("{setting}: {source}")]
    Wrong {
        /// The override as it was given.
        setting: String,
        /// Why.
        source: SettingProblem,
    },
    /// No port is left between the two bounds.
    #[error("mount:port_range_lower_bound={first}: must be below port_range_upper_bound={bound}")]
    NoPorts {
        /// The lower one.
        first: u16,
        /// The upper one.
        bound: u16,
    },
}

/// What is wrong with an override.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SettingProblem {
    /// It isn't the name of a region.
    #[error("is not the name of a region")]
    Region,
    /// It isn't a path from the root.
    #[error("must be an absolute path")]
    Path,
    /// It would make tunnels believe any server.
    #[error("the server's name is always checked; remove this setting")]
    Unchecked,
    /// It asks for a module that this build hasn't got.
    #[error("this build has no FIPS module; use the one that has, or remove this setting")]
    Fips,
    /// It isn't a number of minutes that certificates allow.
    #[error("must be a number of minutes from 1 to {RENEWAL_MAX}")]
    Minutes,
    /// It isn't a name that fits into a certificate.
    #[error("must be 1 to {SOURCE_MAX} printable ASCII characters")]
    Source,
    /// It isn't an unprivileged port.
    #[error("must be a port from 1024 to 65535")]
    Port,
    /// efs-utils doesn't know it either.
    #[error("efs-utils.conf has no such setting; did you mean {0}?")]
    Unknown(String),
}

/// The keys of each section that efs-utils has and that have no counterpart here. Sections are compared without a region
/// (`mount.us-east-1` is `mount`).
const WITHOUT_EFFECT: &[(&str, &[&str])] = &[
    ("DEFAULT", &["logging_level", "logging_max_bytes", "logging_file_count", "state_file_dir_mode"]),
    (
        "mount",
        &[
            "disable_fetch_ec2_metadata_token",
            "dns_name_format",
            "dns_name_suffix",
            "fall_back_to_mount_target_ip_address_enabled",
            "fips_mode_enabled",
            "optimize_readahead",
            "retry_nfs_mount_command",
            "retry_nfs_mount_command_count",
            "retry_nfs_mount_command_timeout_sec",
            "stunnel_check_cert_hostname",
            "stunnel_check_cert_validity",
            "stunnel_debug_enabled",
            "stunnel_logs_file",
        ],
    ),
    (
        "mount-watchdog",
        &[
            "enabled",
            "poll_interval_sec",
            "stunnel_health_check_command_timeout_sec",
            "stunnel_health_check_enabled",
            "stunnel_health_check_interval_min",
            "unmount_count_for_consistency",
            "unmount_grace_period_sec",
        ],
    ),
    ("cloudwatch-log", &["enabled", "log_group_name", "retention_in_days"]),
];

/// The keys that are honoured.
const HONOURED: &[(&str, &str)] = &[
    ("mount", "region"),
    ("mount", "port_range_lower_bound"),
    ("mount", "port_range_upper_bound"),
    ("mount", "stunnel_cafile"),
    ("mount-watchdog", "tls_cert_renewal_interval_min"),
    ("client-info", "source"),
];

impl Settings {
    /// Reads the overrides; a later one wins over an earlier one. `fips` tells whether this build has a FIPS module.
    ///
    /// # Errors
    /// The entry that can't be honoured, and why.
    pub fn new(overrides: &[Override], fips: bool) -> Result<Self, SettingError> {
        let mut settings = Self::default();
        for entry in overrides {
            settings.apply(entry, fips).map_err(|source| SettingError::Wrong {
                setting: format!("{}:{}={}", entry.section, entry.key, entry.value),
                source,
            })?;
        }
        match (settings.first_port, settings.port_bound) {
            (Some(first), Some(bound)) if first >= bound => Err(SettingError::NoPorts { first, bound }),
            _ => Ok(settings),
        }
    }

    fn apply(&mut self, entry: &Override, fips: bool) -> Result<(), SettingProblem> {
        let section = match entry.section.split_once('.') {
            Some(("mount", region)) if endpoints::is_region(region) => "mount",
            _ => entry.section.as_str(),
        };
        match (section, entry.key.as_str()) {
            ("mount", "region") if endpoints::is_region(&entry.value) => self.region = Some(entry.value.clone()),
            ("mount", "region") => return Err(SettingProblem::Region),
            ("mount", "port_range_lower_bound") => self.first_port = Some(port(&entry.value)?),
            ("mount", "port_range_upper_bound") => self.port_bound = Some(port(&entry.value)?),
            ("mount", "stunnel_cafile") if entry.value.starts_with('/') => {
                self.ca_file = Some(PathBuf::from(&entry.value));
            }
            ("mount", "stunnel_cafile") => return Err(SettingProblem::Path),
            ("mount", "stunnel_check_cert_hostname") if is(&entry.value, false) => {
                return Err(SettingProblem::Unchecked);
            }
            ("mount", "fips_mode_enabled") if is(&entry.value, true) && !fips => {
                return Err(SettingProblem::Fips);
            }
            ("mount-watchdog", "tls_cert_renewal_interval_min") => {
                let minutes = entry.value.parse().ok().filter(|minutes| (1..=RENEWAL_MAX).contains(minutes));
                let minutes = minutes.ok_or(SettingProblem::Minutes)?;
                self.renew_after = Some(Duration::from_secs(minutes * 60));
            }
            ("client-info", "source") => {
                let fits = (1..=SOURCE_MAX).contains(&entry.value.len()) && entry.value.is_ascii();
                if !fits || entry.value.contains(char::is_control) {
                    return Err(SettingProblem::Source);
                }
                self.source = Some(entry.value.clone());
            }
            (section, key) if is_known(section, key) => self.without_effect.push(format!("{}:{key}", entry.section)),
            (section, key) => return Err(unknown(section, key)),
        }
        Ok(())
    }
}

fn is_known(section: &str, key: &str) -> bool {
    WITHOUT_EFFECT.iter().any(|(known, keys)| *known == section && keys.contains(&key))
}

fn unknown(section: &str, key: &str) -> SettingProblem {
    let asked = format!("{section}:{key}");
    let known =
        WITHOUT_EFFECT.iter().flat_map(|(section, keys)| keys.iter().map(move |key| format!("{section}:{key}")));
    let honoured = HONOURED.iter().map(|(section, key)| format!("{section}:{key}"));
    let nearest = known
        .chain(honoured)
        .max_by(|a, b| strsim::jaro_winkler(a, &asked).total_cmp(&strsim::jaro_winkler(b, &asked)));
    SettingProblem::Unknown(nearest.unwrap_or_default())
}

/// Booleans as Python's configparser reads them.
fn is(text: &str, wanted: bool) -> bool {
    let words = if wanted { ["1", "yes", "true", "on"] } else { ["0", "no", "false", "off"] };
    words.iter().any(|word| text.eq_ignore_ascii_case(word))
}

fn port(text: &str) -> Result<u16, SettingProblem> {
    text.parse().ok().filter(|port| *port >= 1024).ok_or(SettingProblem::Port)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entries(text: &str) -> Vec<Override> {
        text.split(',')
            .map(|entry| {
                let (section, rest) = entry.split_once(':').expect("section");
                let (key, value) = rest.split_once('=').expect("value");
                Override { section: section.into(), key: key.into(), value: value.into() }
            })
            .collect()
    }

    fn settings(text: &str) -> Result<Settings, SettingError> {
        Settings::new(&entries(text), false)
    }

    #[test]
    fn what_has_a_counterpart_is_honoured() {
        let got = settings(
            "mount:region=us-east-1,mount:region=eu-west-1,mount:port_range_lower_bound=21000,\
             mount:port_range_upper_bound=21005,mount:stunnel_cafile=/etc/ca.pem,\
             mount-watchdog:tls_cert_renewal_interval_min=30,client-info:source=my-cluster",
        );
        let want = Settings {
            region: Some("eu-west-1".to_owned()),
            first_port: Some(21000),
            port_bound: Some(21005),
            ca_file: Some("/etc/ca.pem".into()),
            renew_after: Some(Duration::from_secs(1800)),
            source: Some("my-cluster".to_owned()),
            without_effect: Vec::new(),
        };
        assert_eq!(got, Ok(want));
    }

    #[test]
    fn what_steers_a_missing_program_is_noted() {
        let got = settings(
            "mount-watchdog:poll_interval_sec=5,mount.eu-west-1:dns_name_suffix=x,cloudwatch-log:enabled=true",
        );
        let want = ["mount-watchdog:poll_interval_sec", "mount.eu-west-1:dns_name_suffix", "cloudwatch-log:enabled"];
        assert_eq!(got.expect("settings").without_effect, want);
        assert!(settings("mount:stunnel_check_cert_hostname=true,mount:fips_mode_enabled=false").is_ok());
    }

    #[test]
    fn what_is_wrong_or_would_be_a_lie_is_refused() {
        for (text, want) in [
            ("mount:stunnel_check_cert_hostname=False", "always checked"),
            ("mount:fips_mode_enabled=true", "no FIPS module"),
            ("mount:region=-", "not the name of a region"),
            ("mount:port_range_lower_bound=80", "a port from 1024"),
            ("mount:port_range_lower_bound=30000,mount:port_range_upper_bound=30000", "below port_range_upper_bound"),
            ("mount:stunnel_cafile=ca.pem", "absolute path"),
            ("mount-watchdog:tls_cert_renewal_interval_min=181", "from 1 to 150"),
            ("client-info:source=", "1 to 100"),
            ("mount:port_range_uper_bound=1", "did you mean mount:port_range_upper_bound?"),
            ("watchdog:poll_interval_sec=1", "did you mean mount-watchdog:poll_interval_sec?"),
        ] {
            let reason = settings(text).expect_err(text).to_string();
            assert!(reason.contains(want), "{reason}");
        }
        assert!(Settings::new(&entries("mount:fips_mode_enabled=true"), true).is_ok());
    }

    /// A key in both tables would be honoured or not by the order of the code.
    #[test]
    fn no_key_is_in_both_tables() {
        assert!(HONOURED.iter().all(|(section, key)| !is_known(section, key)));
    }
}
