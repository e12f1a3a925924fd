//! The programs in the pods understand what the chart tells them: every argument is parsed by the program's own code.

use std::ffi::OsString;
use std::path::Path;

use clap::Parser as _;
use efs_csi_driver::cli::{self, Mode, PlaneFlags};
use efs_csi_driver::config::{Config, Endpoint, Environment, plane_settings};
use efs_csi_e2e::scenarios::options::Options;
use efs_csi_e2e::scenarios::plan::Plan;
use efs_tunnel::plane::process::Settings;
use serde_json::{Value, json};

use crate::helm::{Helm, container, find, values_file};

/// The arguments of a container, `$(NAME)` replaced as the kubelet does, from its environment.
fn arguments(program: &str, container: &Value) -> Vec<OsString> {
    let mut arguments = vec![OsString::from(program)];
    for argument in container["args"].as_array().expect("the container has arguments") {
        let mut argument = argument.as_str().expect("arguments are strings").to_owned();
        for variable in container["env"].as_array().into_iter().flatten() {
            let reference = format!("$({})", variable["name"].as_str().expect("variables have names"));
            argument = argument.replace(&reference, variable["value"].as_str().unwrap_or("from-the-cluster"));
        }
        // The kubelet's own, for the Service of the fake.
        argument =
            argument.replace("$(FAKE_EFS_SERVICE_HOST)", "192.0.2.1").replace("$(FAKE_EFS_SERVICE_PORT)", "8080");
        arguments.push(argument.into());
    }
    arguments
}

fn driver_config(container: &Value) -> Config {
    let arguments = arguments("efs-csi-driver", container);
    let cli = cli::parse(arguments.clone()).unwrap_or_else(|e| panic!("{arguments:?}: {e}"));
    Config::new(&cli.serve, Environment::default()).unwrap_or_else(|e| panic!("{arguments:?}: {e}"))
}

#[test]
fn the_driver_accepts_every_argument() {
    let Some(helm) = Helm::find() else { return };
    for name in ["", "everything.yaml", "fake-efs.yaml", "go-driver-4.4.1.yaml"] {
        let documents = helm.documents(&if name.is_empty() { String::new() } else { values_file(name) });
        let controller = driver_config(container(find(&documents, "Deployment", "efs-csi-controller"), "efs-plugin"));
        assert_eq!(controller.mode, Mode::Controller, "{name}");
        assert_eq!(controller.endpoint, Endpoint::Unix("/var/lib/csi/sockets/pluginproxy/csi.sock".into()));
        let node = driver_config(container(find(&documents, "DaemonSet", "efs-csi-node"), "efs-plugin"));
        assert_eq!(node.mode, Mode::Node, "{name}");
        assert_eq!(node.endpoint, Endpoint::Unix("/csi/csi.sock".into()));
    }
}

#[test]
fn values_arrive_in_the_drivers_configuration() {
    let Some(helm) = Helm::find() else { return };
    let documents = helm.documents(&values_file("everything.yaml"));
    let controller = driver_config(container(find(&documents, "Deployment", "efs-csi-controller"), "efs-plugin"));
    assert!(controller.controller.delete_root_directory);
    assert!(!controller.aws.adaptive_retry);
    assert_eq!(controller.aws.region.as_deref(), Some("us-gov-west-1"));
    assert_eq!(controller.controller.tags["cost-center"], "12 34");
    assert_eq!(controller.controller.mount_target_port, 12049);
    let http = controller.http.expect("metrics are on");
    assert!(http.address.ends_with(":3301"), "{}", http.address);
    assert!(http.tls.is_some());

    let node = driver_config(container(find(&documents, "DaemonSet", "efs-csi-node"), "efs-plugin")).node;
    assert_eq!(node.availability_zone.as_deref(), Some("us-gov-west-1b"));
    assert_eq!(node.tls_ca_file.as_deref(), Some("/etc/efs-csi-driver/tls/authority.pem".as_ref()));
    assert_eq!(node.max_inflight_mounts, Some(10));
    assert_eq!(node.volume_attach_limit, Some(20));
    assert_eq!(node.unmount_timeout.as_secs(), 90);
    assert_eq!(node.efs_utils.port_bound, Some(22000));
    let metrics = node.volume_metrics.expect("statistics are on");
    assert_eq!((metrics.refresh.as_secs(), metrics.walks_per_file_system), (1830, 5));
}

/// The words of the data plane's containers and of the start-up probe are commands of the driver, and meet the driver where it waits; what
/// both must know is told to both.
#[test]
fn the_data_plane_and_the_start_up_probe_reach_the_driver() {
    let Some(helm) = Helm::find() else { return };
    let documents = helm.documents(
        "{tlsCa: {configMapName: ca, key: ca.crt}, node: {stateDir: /mnt/efs-state/, maxConnectionsPerMount: 5, \
         efsUtilsConfOverrides: 'client-info:source=mine', additionalArgs: [--tunnels-trust-root]}}",
    );
    let object = find(&documents, "DaemonSet", "efs-csi-node");
    let plugin = container(object, "efs-plugin");
    let config = driver_config(plugin).node;
    assert!(config.tunnel_sidecar);
    let asked = config.probe_socket.expect("the driver answers the probe");
    let command = json!(["/efs-csi-driver", efs_csi_driver::probe::COMMAND, asked]);
    assert_eq!(plugin["startupProbe"]["exec"]["command"], command);

    let pod = &object["spec"]["template"]["spec"];
    let on_host = |container: &Value, path: &Path| {
        let mounts = container["volumeMounts"].as_array().expect("mounts");
        let at =
            |mount: &Value| path.strip_prefix(mount["mountPath"].as_str().unwrap_or("none")).ok().map(Path::to_owned);
        let (name, rest) = mounts.iter().find_map(|mount| Some((&mount["name"], at(mount)?))).expect("it is mounted");
        let volume = pod["volumes"].as_array().expect("volumes").iter().find(|volume| &volume["name"] == name);
        Path::new(volume.expect("the volume is there")["hostPath"]["path"].as_str().expect("on the host")).join(rest)
    };
    for container in pod["initContainers"].as_array().expect("containers") {
        let words = container["args"].as_array().expect("arguments").iter().filter_map(Value::as_str);
        let [command, words @ ..] = &words.collect::<Vec<_>>()[..] else { panic!("no arguments") };
        assert_eq!(*command, efs_tunnel::plane::COMMAND);
        let flags = PlaneFlags::try_parse_from(std::iter::once("tunnel").chain(words.iter().copied())).expect("flags");
        assert_eq!(on_host(container, &flags.directory), on_host(plugin, &config.state_dir.join("keeper")));
        if flags.prepare.is_none() {
            let expected = PlaneFlags::try_parse_from(
                std::iter::once("tunnel".into()).chain(config.tunnel_arguments.clone()).chain(["/keeper".into()]),
            );
            let settings = |flags: &PlaneFlags| plane_settings(flags).expect("settings");
            let expected = Settings { stays: true, ..settings(&expected.expect("flags")) };
            assert_eq!(settings(&flags), expected, "the data plane beside the driver is as one that it starts itself");
        }
    }
}

/// The end-to-end run installs the chart with values of its own making.
#[test]
fn the_chart_accepts_the_values_of_an_end_to_end_run() {
    let Some(helm) = Helm::find() else { return };
    let runs: [&[&str]; 3] =
        [&["--tag=1.0"], &["--registry=r.example.com", "--fake-address=192.0.2.7"], &["--file-system=fs-01234567"]];
    for run in runs {
        let options = Options::parse_from(["efs-csi-e2e", "--kubeconfig=/nowhere"].iter().chain(run));
        let install = Plan::new(&options).upgrade(&[("node.podAnnotations.efs-csi-e2e/upgraded", "yes")]);
        let set: Vec<_> = install.arguments.iter().map(String::as_str).filter(|a| a.starts_with("--set")).collect();
        assert!(set.len() > 5, "{set:?}");
        let documents = helm.documents_with(&set);
        find(&documents, "Deployment", "efs-csi-controller");
        let node = find(&documents, "DaemonSet", "efs-csi-node");
        assert_eq!(node["spec"]["template"]["metadata"]["annotations"]["efs-csi-e2e/upgraded"], "yes");
    }
}
