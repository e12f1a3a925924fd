//! The flags and what they make of a run.

use std::{ffi::OsString, path::PathBuf, time::Duration};

use clap::Parser;
use regex_lite::Regex;

use super::go_flags::duration;
use crate::{
    check::Group,
    checks,
    config::{AccessType, Config, INVALID_TOKEN, PathCommands, Secrets, Spec, load_pairs},
    endpoint::Endpoint,
    selection::{FileFilter, LabelFilter, Selection},
};

/// Which checks run when none are named.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Checks {
    /// The 98 checks of the Go suite (95 with --spec=1.12)
    Go,
    /// Ours, which go further
    Extra,
    /// All of them
    All,
}

/// Checks a driver of the Container Storage Interface for conformance.
///
/// Exit code 0: all checks passed; 1: a check failed; 2: the run could not be completed.
#[derive(Debug, Parser)]
#[command(name = "csi-sanity", version, disable_version_flag = true, max_term_width = 120, args_override_self = true)]
pub(super) struct Arguments {
    /// Address of the driver: unix:///path, a path, or dns:///host:port
    #[arg(long = "csi.endpoint", value_name = "ADDRESS")]
    endpoint: Option<String>,
    /// Address of the controller services, if they are elsewhere
    #[arg(long = "csi.controllerendpoint", value_name = "ADDRESS", default_value = "")]
    controller_endpoint: String,
    /// Parent directory of the publish target, made before and removed after each check [default: $TMPDIR/csi-mount];
    /// empty: the suite makes no directory
    #[arg(long = "csi.mountdir", value_name = "DIR")]
    mount_dir: Option<OsString>,
    /// Staging target path [default: $TMPDIR/csi-staging]
    #[arg(long = "csi.stagingdir", value_name = "DIR")]
    staging_dir: Option<OsString>,
    /// Program that makes the target's parent and prints the path to use
    #[arg(long = "csi.createmountpathcmd", value_name = "PROGRAM", default_value = "")]
    create_mount: OsString,
    /// Program that makes the staging path and prints the path to use
    #[arg(long = "csi.createstagingpathcmd", value_name = "PROGRAM", default_value = "")]
    create_staging: OsString,
    /// Limit of both
    #[arg(long = "csi.createpathcmdtimeout", value_name = "TIME", default_value = "10s", value_parser = duration)]
    create_timeout: Duration,
    /// Program that removes the target's parent
    #[arg(long = "csi.removemountpathcmd", value_name = "PROGRAM", default_value = "")]
    remove_mount: OsString,
    /// Program that removes the staging path
    #[arg(long = "csi.removestagingpathcmd", value_name = "PROGRAM", default_value = "")]
    remove_staging: OsString,
    /// Limit of both
    #[arg(long = "csi.removepathcmdtimeout", value_name = "TIME", default_value = "10s", value_parser = duration)]
    remove_timeout: Duration,
    /// Program that prints what is at a path: file, directory, not_found or other
    #[arg(long = "csi.checkpathcmd", value_name = "PROGRAM", default_value = "")]
    check_path: OsString,
    /// Its limit
    #[arg(long = "csi.checkpathcmdtimeout", value_name = "TIME", default_value = "10s", value_parser = duration)]
    check_timeout: Duration,
    /// YAML file with secrets for each RPC (CreateVolumeSecret, NodePublishVolumeSecret, …)
    #[arg(long = "csi.secrets", value_name = "FILE", default_value = "")]
    secrets: OsString,
    /// mount or block
    #[arg(long = "csi.testvolumeaccesstype", value_name = "TYPE", default_value = "mount")]
    access_type: AccessType,
    /// Size of the volumes made, in bytes
    #[arg(long = "csi.testvolumesize", value_name = "BYTES", default_value_t = 10 << 30, value_parser = clap::value_parser!(i64).range(1..))]
    volume_size: i64,
    /// Size that volumes are expanded to, in bytes; 0: 1 GiB more than the volume
    #[arg(long = "csi.testvolumeexpandsize", value_name = "BYTES", default_value_t = 0, value_parser = clap::value_parser!(i64).range(0..))]
    expand_size: i64,
    /// YAML file with CreateVolume's parameters
    #[arg(long = "csi.testvolumeparameters", value_name = "FILE", default_value = "")]
    volume_parameters: OsString,
    /// YAML file with mutable parameters
    #[arg(long = "csi.testvolumemutableparameters", value_name = "FILE", default_value = "")]
    mutable_parameters: OsString,
    /// YAML file with CreateSnapshot's parameters
    #[arg(long = "csi.testsnapshotparameters", value_name = "FILE", default_value = "")]
    snapshot_parameters: OsString,
    /// Try out the node's attach limit (check 33)
    #[arg(long = "csi.testnodevolumeattachlimit", num_args = 0..=1, require_equals = true, default_value_t = false, default_missing_value = "true", action = clap::ArgAction::Set)]
    test_attach_limit: bool,
    /// A token that no list gives out (check 7)
    #[arg(long = "csi.testinvalidlistvolumesstartingtoken", value_name = "TOKEN", default_value = INVALID_TOKEN)]
    invalid_starting_token: String,

    /// The version of CSI that the driver is checked against
    #[arg(long, value_enum, default_value_t = Spec::V1_13, help_heading = "Selection")]
    spec: Spec,
    /// Which checks run
    #[arg(long, value_enum, default_value_t = Checks::Go, help_heading = "Selection")]
    checks: Checks,
    /// Run only checks whose name matches (may be repeated)
    #[arg(long, visible_alias = "ginkgo.focus", value_name = "REGEX", help_heading = "Selection")]
    focus: Vec<Regex>,
    /// Leave out checks whose name matches (may be repeated)
    #[arg(long, visible_alias = "ginkgo.skip", value_name = "REGEX", help_heading = "Selection")]
    skip: Vec<Regex>,
    /// Run only checks of the Go suite that are in these files: file.go, file.go:10 or file.go:10-20,30 (may be repeated)
    #[arg(long = "ginkgo.focus-file", value_name = "FILE[:LINES]", help_heading = "Selection")]
    focus_file: Vec<FileFilter>,
    /// Leave out checks of the Go suite that are in these files (may be repeated)
    #[arg(long = "ginkgo.skip-file", value_name = "FILE[:LINES]", help_heading = "Selection")]
    skip_file: Vec<FileFilter>,
    /// Run only checks whose labels (go, extra, identity, controller, node, group, whole) satisfy an expression
    #[arg(long, visible_alias = "ginkgo.label-filter", value_name = "EXPRESSION", help_heading = "Selection")]
    label_filter: Option<String>,
    /// Run only these numbers, like 10,12,101-120
    #[arg(long, value_name = "LIST", value_delimiter = ',', value_parser = numbers, help_heading = "Selection")]
    number: Vec<(u16, u16)>,
    /// List the chosen checks and stop
    #[arg(long, visible_alias = "ginkgo.dry-run", help_heading = "Selection")]
    pub(super) list: bool,

    /// How long to try to connect
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = duration, help_heading = "Run")]
    connect_timeout: Duration,
    /// How long one call may take
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = duration, help_heading = "Run")]
    call_deadline: Duration,
    /// How long the run may take
    #[arg(long, visible_alias = "ginkgo.timeout", value_name = "TIME", default_value = "1h", value_parser = duration, help_heading = "Run")]
    timeout: Duration,
    /// How many checks run at the same time, in directories of their own; those that count or restart run alone
    #[arg(long, visible_alias = "ginkgo.procs", value_name = "COUNT", default_value_t = 1, value_parser = 1..=64, help_heading = "Run")]
    parallel: i64,
    /// How often calls are repeated in the idempotency checks
    #[arg(long, value_name = "COUNT", default_value_t = 10, help_heading = "Run")]
    idempotent_count: u32,
    /// How many callers the concurrency checks use at once
    #[arg(long, value_name = "COUNT", default_value_t = 32, value_parser = 2..=1024, help_heading = "Run")]
    callers: i64,
    /// Shell command that restarts the driver, for the checks of restarts
    #[arg(long, value_name = "COMMAND", help_heading = "Run")]
    restart_cmd: Option<String>,
    /// How long the driver may take to answer after that command
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = duration, help_heading = "Run")]
    restart_limit: Duration,
    /// Stop at the first failure
    #[arg(long, visible_alias = "ginkgo.fail-fast", help_heading = "Run")]
    fail_fast: bool,
    /// Fail when a check is pending
    #[arg(long, visible_alias = "ginkgo.fail-on-pending", help_heading = "Run")]
    pub(super) fail_on_pending: bool,
    /// How often a check is tried before it counts as failed
    #[arg(
        long,
        visible_alias = "ginkgo.flake-attempts",
        value_name = "COUNT",
        default_value_t = 1,
        help_heading = "Run"
    )]
    flake_attempts: u32,
    /// Seed for --randomize-all
    #[arg(long, visible_alias = "ginkgo.seed", value_name = "NUMBER", default_value_t = 1, help_heading = "Run")]
    seed: u64,
    /// Run the checks in random order
    #[arg(long, visible_alias = "ginkgo.randomize-all", help_heading = "Run")]
    randomize_all: bool,

    /// Write a JUnit report
    #[arg(long = "junit", visible_aliases = ["ginkgo.junit-report", "csi.junitfile"], value_name = "FILE", help_heading = "Report")]
    pub(super) junit: Option<PathBuf>,
    /// Write a JSON report
    #[arg(long = "json", value_name = "FILE", help_heading = "Report")]
    pub(super) json: Option<PathBuf>,
    /// Write a report as the Go suite's, in Ginkgo's JSON
    #[arg(long = "ginkgo.json-report", value_name = "FILE", help_heading = "Report")]
    pub(super) ginkgo_json: Option<PathBuf>,
    /// Print skipped checks too
    #[arg(long, visible_aliases = ["ginkgo.v", "ginkgo.vv"], help_heading = "Report")]
    pub(super) verbose: bool,
    /// Print failures only
    #[arg(long, visible_alias = "ginkgo.succinct", help_heading = "Report")]
    pub(super) quiet: bool,
    /// Print no skipped checks, even with --verbose
    #[arg(long, visible_alias = "ginkgo.silence-skips", help_heading = "Report")]
    pub(super) silence_skips: bool,
    /// Print no colours
    #[arg(long, visible_alias = "ginkgo.no-color", help_heading = "Report")]
    pub(super) no_color: bool,
    #[command(flatten)]
    accepted: Accepted,
    /// Print the version and stop
    #[arg(long, help_heading = "Report")]
    pub(super) version: bool,
}

/// Ginkgo's flags that change nothing here: what they ask for is always so, or is about Ginkgo itself.
#[derive(Debug, clap::Args)]
struct Accepted {
    #[arg(long = "ginkgo.trace", hide = true)]
    trace: bool,
    #[arg(long = "ginkgo.show-node-events", hide = true)]
    show_node_events: bool,
    #[arg(long = "ginkgo.github-output", hide = true)]
    github_output: bool,
    #[arg(long = "ginkgo.force-newlines", hide = true)]
    force_newlines: bool,
    #[arg(long = "ginkgo.fail-on-empty", hide = true)]
    fail_on_empty: bool,
    #[arg(long = "ginkgo.poll-progress-after", hide = true, value_parser = duration)]
    poll_progress_after: Option<Duration>,
    #[arg(long = "ginkgo.poll-progress-interval", hide = true, value_parser = duration)]
    poll_progress_interval: Option<Duration>,
    #[arg(long = "ginkgo.grace-period", hide = true, value_parser = duration)]
    grace_period: Option<Duration>,
    #[arg(long = "ginkgo.output-interceptor-mode", hide = true)]
    output_interceptor_mode: Option<String>,
    #[arg(long = "ginkgo.source-root", hide = true)]
    source_root: Vec<String>,
    #[arg(long = "ginkgo.sem-ver-filter", hide = true)]
    sem_ver_filter: Option<String>,
    /// Reports that are not written; a script that waits for one must hear of it.
    #[arg(long = "ginkgo.gojson-report", alias = "ginkgo.teamcity-report", hide = true, value_parser = no_such_report)]
    other_report: Option<String>,
    /// The Ginkgo command sets these when it runs a suite in processes of its own.
    #[arg(long = "ginkgo.parallel.total", aliases = ["ginkgo.parallel.process", "ginkgo.parallel.host"], hide = true, value_parser = no_processes)]
    processes: Option<String>,
}

fn no_such_report(_: &str) -> Result<String, String> {
    Err("reports are written as JUnit (--junit), JSON (--json) and Ginkgo's JSON (--ginkgo.json-report)".into())
}

fn no_processes(_: &str) -> Result<String, String> {
    Err("the suite runs checks in parallel by itself: give --parallel=COUNT".into())
}

/// A number or a range of numbers.
fn numbers(text: &str) -> Result<(u16, u16), String> {
    let number = |text: &str| text.trim().parse::<u16>().map_err(|_| format!("{text:?} is not a number of a check"));
    match text.split_once('-') {
        Some((first, last)) => Ok((number(first)?, number(last)?)),
        None => number(text).map(|number| (number, number)),
    }
}

fn given(path: OsString) -> Option<PathBuf> {
    (!path.is_empty()).then(|| path.into())
}

impl Arguments {
    pub(super) fn selection(&self) -> Result<Selection, String> {
        let all = checks::all();
        let numbers: Vec<u16> = all
            .iter()
            .map(|check| check.number)
            .filter(|n| self.number.iter().any(|(a, b)| (a..=b).contains(&n)))
            .collect();
        if !self.number.is_empty() && numbers.is_empty() {
            return Err("no check has one of these numbers".into());
        }
        Ok(Selection {
            spec: self.spec,
            groups: match self.checks {
                Checks::Go => vec![Group::Go],
                Checks::Extra => vec![Group::Extra],
                Checks::All => vec![Group::Go, Group::Extra],
            },
            focus: self.focus.clone(),
            skip: self.skip.clone(),
            numbers,
            focus_files: self.focus_file.clone(),
            skip_files: self.skip_file.clone(),
            labels: self.label_filter.as_deref().map(str::parse::<LabelFilter>).transpose()?,
        })
    }

    pub(super) fn config(self, selection: Selection) -> Result<Config, String> {
        let Some(endpoint) = self.endpoint.as_deref().filter(|endpoint| !endpoint.is_empty()) else {
            return Err("no driver to check: give its address with --csi.endpoint=unix:///path/to/csi.sock".into());
        };
        let text = |error: &dyn std::error::Error| error.to_string();
        let endpoint: Endpoint = endpoint.parse().map_err(|e| text(&e))?;
        let defaults = Config::new(endpoint);
        let pairs = |what, path: OsString| given(path).map(|path| load_pairs(what, &path)).transpose();
        Ok(Config {
            controller_endpoint: match self.controller_endpoint.as_str() {
                "" => None,
                address => Some(address.parse().map_err(|e| text(&e))?),
            },
            connect_timeout: self.connect_timeout,
            call_deadline: self.call_deadline,
            run_limit: self.timeout,
            mount_dir: self.mount_dir.map_or(defaults.mount_dir, given),
            staging_dir: self.staging_dir.map_or(defaults.staging_dir, given),
            path_commands: PathCommands {
                create_mount: given(self.create_mount),
                create_staging: given(self.create_staging),
                create_timeout: self.create_timeout,
                remove_mount: given(self.remove_mount),
                remove_staging: given(self.remove_staging),
                remove_timeout: self.remove_timeout,
                check: given(self.check_path),
                check_timeout: self.check_timeout,
            },
            secrets: given(self.secrets)
                .map(|path| Secrets::load(&path))
                .transpose()
                .map_err(|e| text(&e))?
                .unwrap_or_default(),
            volume_parameters: pairs("volume parameters (a map of strings)", self.volume_parameters)
                .map_err(|e| text(&e))?
                .unwrap_or_default(),
            mutable_parameters: pairs("mutable parameters (a map of strings)", self.mutable_parameters)
                .map_err(|e| text(&e))?
                .unwrap_or_default(),
            snapshot_parameters: pairs("snapshot parameters (a map of strings)", self.snapshot_parameters)
                .map_err(|e| text(&e))?
                .unwrap_or_default(),
            invalid_starting_token: self.invalid_starting_token,
            access_type: self.access_type,
            volume_size: self.volume_size,
            expand_size: (self.expand_size != 0).then_some(self.expand_size),
            test_attach_limit: self.test_attach_limit,
            idempotent_count: self.idempotent_count,
            callers: usize::try_from(self.callers).unwrap_or(2),
            restart_command: self.restart_cmd,
            restart_limit: self.restart_limit,
            selection,
            fail_fast: self.fail_fast,
            shuffle: self.randomize_all.then_some(self.seed),
            attempts: self.flake_attempts.max(1),
            parallel: usize::try_from(self.parallel).unwrap_or(1),
            endpoint: defaults.endpoint,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::as_clap_takes_them;

    fn parse(arguments: &[&str]) -> Result<Config, String> {
        let all = std::iter::once("csi-sanity").chain(arguments.iter().copied()).map(OsString::from);
        let arguments = Arguments::try_parse_from(as_clap_takes_them(all)).map_err(|error| error.to_string())?;
        let selection = arguments.selection()?;
        arguments.config(selection)
    }

    #[test]
    fn the_definition_of_the_flags_is_sound() {
        use clap::CommandFactory;
        Arguments::command().debug_assert();
    }

    #[test]
    fn flags_work_with_one_dash_and_with_two() {
        for dashes in ["-", "--"] {
            let config = parse(&[
                &format!("{dashes}csi.endpoint=unix:///tmp/a.sock"),
                &format!("{dashes}csi.controllerendpoint"),
                "dns:///b:1",
                &format!("{dashes}csi.testnodevolumeattachlimit"),
                &format!("{dashes}csi.testvolumeaccesstype= Block "),
                &format!("{dashes}csi.createpathcmdtimeout=1m30s"),
            ])
            .unwrap();
            assert_eq!(config.endpoint, Endpoint::Unix("/tmp/a.sock".into()));
            assert_eq!(config.controller_endpoint, Some(Endpoint::Tcp("b:1".into())));
            assert!(config.test_attach_limit);
            assert_eq!(config.access_type, AccessType::Block);
            assert_eq!(config.path_commands.create_timeout, Duration::from_secs(90));
        }
    }

    #[test]
    fn the_defaults_are_those_of_the_go_suite() {
        let config = parse(&["--csi.endpoint=/a.sock"]).unwrap();
        assert_eq!(config.mount_dir, Some(std::env::temp_dir().join("csi-mount")));
        assert_eq!(config.staging_dir, Some(std::env::temp_dir().join("csi-staging")));
        assert_eq!((config.volume_size, config.expanded_size()), (10_737_418_240, 11_811_160_064));
        assert!(!config.test_attach_limit);
        assert_eq!(config.selection.groups, [Group::Go]);
        assert_eq!((config.selection.spec, config.invalid_starting_token.as_str()), (Spec::V1_13, "invalid-token"));
    }

    #[test]
    fn an_older_specification_leaves_later_checks_out() {
        let chosen = |arguments: &[&str]| {
            let config = parse(&[&["--csi.endpoint=/a.sock", "--checks=all"], arguments].concat()).unwrap();
            let all = checks::all();
            all.iter().filter(|check| config.selection.chooses(check)).map(|check| check.number).collect::<Vec<_>>()
        };
        let (now, before) = (chosen(&[]), chosen(&["--spec=1.12"]));
        assert_eq!(now.len(), checks::all().len());
        let left_out: Vec<u16> = now.iter().filter(|number| !before.contains(number)).copied().collect();
        assert_eq!(left_out, (97..=99).chain(201..=214).collect::<Vec<_>>());
        assert_eq!(chosen(&["--spec=1.12", "--number=97,3"]), [3]);
        let token = parse(&["--csi.endpoint=/a.sock", "-csi.testinvalidlistvolumesstartingtoken=x:y"]).unwrap();
        assert_eq!(token.invalid_starting_token, "x:y");
    }

    #[test]
    fn an_empty_mount_directory_means_no_directory() {
        assert_eq!(parse(&["-csi.endpoint=/a.sock", "-csi.mountdir="]).unwrap().mount_dir, None);
        assert!(!parse(&["-csi.endpoint=/a", "-csi.testnodevolumeattachlimit=false"]).unwrap().test_attach_limit);
    }

    #[test]
    fn wrong_arguments_are_refused_with_a_reason() {
        for (arguments, word) in [
            (vec![], "--csi.endpoint"),
            (vec!["--csi.endpoint="], "--csi.endpoint"),
            (vec!["--csi.endpoint=/a", "--csi.testvolumeparameters=/nonexistent.yaml"], "/nonexistent.yaml"),
            (vec!["--csi.endpoint=/a", "--csi.testvolumeaccesstype=tape"], "tape"),
            (vec!["--csi.endpoint=/a", "--csi.testvolumesize=-1"], "testvolumesize"),
            (vec!["--csi.endpoint=/a", "--number=9999"], "no check"),
            (vec!["--csi.endpoint=/a", "--focus=("], "focus"),
            (vec!["--csi.endpoint=/a", "--label-filter=go &&"], "label filter"),
            (vec!["--csi.endpoint=/a", "--csi.nosuchflag"], "nosuchflag"),
        ] {
            let error = parse(&arguments).unwrap_err();
            assert!(error.contains(word), "{arguments:?}: {error}");
        }
    }

    #[test]
    fn flags_of_ginkgo_are_understood_as_go_writes_them() {
        let config = parse(&[
            "-csi.endpoint=/a.sock",
            "-ginkgo.v",
            "-ginkgo.vv=false",
            "-ginkgo.fail-fast=true",
            "-ginkgo.fail-fast=1",
            "-ginkgo.randomize-all=T",
            "-ginkgo.seed=7",
            "-ginkgo.seed",
            "8",
            "-ginkgo.timeout=1h30m",
            "-ginkgo.no-color",
            "-ginkgo.succinct=FALSE",
            "-ginkgo.flake-attempts=0",
            "-ginkgo.trace=true",
            "-ginkgo.github-output",
            "-ginkgo.show-node-events",
            "-ginkgo.force-newlines",
            "-ginkgo.fail-on-empty",
            "-ginkgo.poll-progress-after=0",
            "-ginkgo.poll-progress-interval=10s",
            "-ginkgo.grace-period=30s",
            "-ginkgo.output-interceptor-mode=none",
            "-ginkgo.source-root=.",
            "-ginkgo.focus-file=controller.go:100-200",
            "-ginkgo.skip-file=node.go",
            "-ginkgo.json-report=/tmp/x.json",
        ])
        .unwrap();
        assert!(config.fail_fast);
        assert_eq!((config.shuffle, config.attempts, config.run_limit), (Some(8), 1, Duration::from_secs(5400)));
        let chosen = |number| {
            let check = checks::all().into_iter().find(|check| check.number == number).unwrap();
            config.selection.chooses(&check)
        };
        assert!(chosen(4) && !chosen(8) && !chosen(67));
    }

    #[test]
    fn flags_that_would_change_what_a_script_gets_are_refused_with_what_to_give_instead() {
        for (flag, word) in [
            ("-ginkgo.teamcity-report=/x", "--junit"),
            ("-ginkgo.gojson-report=/x", "--junit"),
            ("-ginkgo.parallel.total=4", "--parallel"),
            ("-ginkgo.focus-file=a.go:b", "a.go:b"),
            ("-ginkgo.fail-fast=maybe", "maybe"),
            ("--parallel=0", "parallel"),
        ] {
            let error = parse(&["--csi.endpoint=/a", flag]).unwrap_err();
            assert!(error.contains(word), "{flag}: {error}");
        }
    }
}
