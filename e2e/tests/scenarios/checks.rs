//! The scenarios run, on good clusters and on broken ones.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::Duration;

use clap::Parser as _;
use efs_csi_e2e::scenarios::catalogue::{SCENARIOS, Scenario};
use efs_csi_e2e::scenarios::cluster::{Cluster, Patience};
use efs_csi_e2e::scenarios::options::Options;
use efs_csi_e2e::scenarios::runner::{Outcome, Verdict, chosen, run_all, run_one, write_junit};

use crate::api::Server;
use crate::controllers::Defect;

/// Options for a run whose helm is a program that does nothing.
fn options(folder: &Path) -> Options {
    let helm = folder.join("helm");
    if !helm.exists() {
        std::fs::write(&helm, "#!/bin/sh\nexit 0\n").expect("the folder is ours");
        std::fs::set_permissions(&helm, std::fs::Permissions::from_mode(0o755)).expect("the file is ours");
    }
    let mut options = Options::parse_from(["efs-csi-e2e", "--kubeconfig=/nowhere"]);
    options.output = folder.join("evidence");
    options.tools = Some(folder.to_owned());
    options
}

/// A good cluster is waited for as long as a busy machine may need; on a broken one every wait comes to its end.
fn patience(defect: Option<Defect>) -> Patience {
    let limit = Duration::from_millis(if defect.is_none() { 30_000 } else { 300 });
    Patience { pause: Duration::from_millis(1), limit }
}

fn scenario(name: &str) -> &'static Scenario {
    SCENARIOS.iter().find(|s| s.name == name).unwrap_or_else(|| panic!("there is no scenario {name}"))
}

async fn run(name: &str, defect: Option<Defect>, folder: &Path) -> (Outcome, Server) {
    let server = Server::new(defect);
    let cluster = Cluster::new(server.client(), patience(defect));
    (run_one(scenario(name), &cluster, &options(folder)).await, server)
}

/// The objects that exist, node drivers without the number in their names.
fn inventory(server: &Server) -> Vec<String> {
    let world = server.0.lock().expect("no test panics in there");
    let mut names: Vec<_> = world
        .objects
        .keys()
        .filter(|(plural, _, _)| plural != "events")
        .map(|(plural, namespace, name)| {
            let name = name.split_once("driver-").map_or(name.as_str(), |_| "driver");
            format!("{plural} {namespace}/{name}")
        })
        .collect();
    names.sort();
    names
}

#[tokio::test]
async fn every_scenario_passes_on_a_good_cluster_and_leaves_nothing_behind() {
    let folder = tempfile::tempdir().unwrap();
    for scenario in SCENARIOS {
        let (outcome, server) = run(scenario.name, None, folder.path()).await;
        assert!(matches!(outcome.verdict, Verdict::Passed), "{}: {:?}", scenario.name, outcome.verdict);
        assert_eq!(inventory(&server), inventory(&Server::new(None)), "{}", scenario.name);
    }
    assert!(!folder.path().join("evidence").exists(), "there is evidence without a failure");
}

#[tokio::test]
async fn every_scenario_fails_on_clusters_that_break_what_it_shows() {
    use Defect::{
        AccessPointsGo, AccessPointsStay, AllScheduled, DirectoriesHaveAccessPoints, DriversIdentity, NoNewDriver,
        NoOutage, NoRole, NothingBinds, NothingCounted, NothingGrows, OneAccessPoint, OneGroup, OtherContent,
        OtherFileSystem, PodsFail, Restarts, RoleStays, TaintStays, TwoOfOneToken, VolumesStay, WriterSkips,
        WriterStops,
    };
    let expected: &[(&str, &[Defect])] = &[
        ("dynamic", &[NothingBinds, OtherFileSystem, PodsFail, OtherContent, VolumesStay]),
        ("static", &[NothingBinds, PodsFail, OtherContent]),
        ("ownership", &[PodsFail, OtherContent]),
        ("sub-path", &[PodsFail, OtherContent]),
        ("directory-mode", &[DirectoriesHaveAccessPoints, OtherContent]),
        ("cross-account", &[NoRole, NothingBinds, OtherFileSystem, PodsFail]),
        ("many-claims", &[OneAccessPoint, OneGroup, NothingBinds]),
        ("shared", &[OtherContent, PodsFail]),
        ("read-only", &[OtherContent, PodsFail]),
        ("one-pod", &[AllScheduled]),
        ("pod-identity-irsa", &[DriversIdentity, NothingBinds, PodsFail, OtherContent]),
        ("pod-identity-agent", &[DriversIdentity, NothingBinds, PodsFail, OtherContent]),
        ("delete", &[VolumesStay, AccessPointsStay, PodsFail]),
        ("retain", &[AccessPointsGo, OtherContent]),
        ("expansion", &[NothingGrows, Restarts]),
        ("api-outage", &[NoOutage, TwoOfOneToken]),
        ("node-restart", &[WriterStops, WriterSkips, NoNewDriver]),
        ("crash-loop", &[WriterStops, NoNewDriver]),
        ("startup-taint", &[TaintStays, NoNewDriver]),
        ("metrics", &[NothingCounted]),
        ("chart-upgrade", &[WriterSkips]),
        ("uninstall", &[RoleStays]),
    ];
    let folder = tempfile::tempdir().unwrap();
    for scenario in SCENARIOS {
        assert!(expected.iter().any(|(name, _)| *name == scenario.name), "{} is never seen to fail", scenario.name);
    }
    for (name, defects) in expected {
        for defect in *defects {
            let (outcome, _) = run(name, Some(*defect), folder.path()).await;
            assert!(matches!(outcome.verdict, Verdict::Failed(_)), "{name} with {defect:?}: {:?}", outcome.verdict);
        }
    }
}

#[tokio::test]
async fn a_failure_leaves_evidence_and_is_cleaned_up_all_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let (outcome, server) = run("dynamic", Some(Defect::OtherContent), folder.path()).await;
    let Verdict::Failed(error) = outcome.verdict else { panic!("it must fail") };
    assert!(format!("{error:#}").contains("something else"), "{error:#}");
    assert_eq!(inventory(&server), inventory(&Server::new(None)));

    let evidence = folder.path().join("evidence/dynamic");
    let read = |name: &str| std::fs::read_to_string(evidence.join(name)).unwrap_or_else(|e| panic!("{name}: {e}"));
    assert!(read("failure.txt").contains("something else"));
    assert!(read("claims.json").contains("\"Bound\""));
    assert!(read("volumes.json").contains("volumeHandle"));
    assert!(read("pods.json").contains("reader"));
    assert!(read("controller.efs-plugin.log").contains("log of controller"));
    assert!(read("reader.task.log").contains("something else"));
    assert!(read("mounts.txt").contains("node-b:"));
    assert!(read("fake-journal.json").contains("entries"));
    assert!(read("fake-state.json").contains("access_points_total"));
    let logs = std::fs::read_dir(&evidence).unwrap().filter(|e| {
        let name = e.as_ref().unwrap().file_name();
        name.to_string_lossy().starts_with("driver-") && name.to_string_lossy().ends_with(".log")
    });
    assert_eq!(logs.count(), 2, "one log for each node driver");
}

#[tokio::test]
async fn scenarios_that_need_what_is_not_there_are_skipped_with_the_reason() {
    let folder = tempfile::tempdir().unwrap();
    let mut options = options(folder.path());
    options.file_system = Some("fs-01234567".to_owned());
    options.keep = true;
    let server = Server::new(None);
    server.0.lock().unwrap().objects.retain(|_, object| object["spec"]["nodeName"] != "node-b");
    let cluster = Cluster::new(server.client(), patience(None));
    for (name, reason) in [("api-outage", "fake"), ("shared", "two nodes"), ("uninstall", "--keep")] {
        let outcome = run_one(scenario(name), &cluster, &options).await;
        let Verdict::Skipped(said) = outcome.verdict else { panic!("{name}: {:?}", outcome.verdict) };
        assert!(said.contains(reason), "{name}: {said}");
    }
}

#[tokio::test]
async fn the_report_has_every_outcome() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::new(Some(Defect::TaintStays));
    let cluster = Cluster::new(server.client(), patience(Some(Defect::TaintStays)));
    let scenarios = chosen(&["startup-taint".to_owned(), "metrics".to_owned()]);
    let outcomes = run_all(&scenarios, &cluster, &options(folder.path())).await;
    let path = folder.path().join("new/junit.xml");
    write_junit(&outcomes, &path).unwrap();
    let xml = std::fs::read_to_string(path).unwrap();
    assert!(xml.contains(r#"tests="2""#) && xml.contains(r#"failures="1""#), "{xml}");
    assert!(xml.contains(r#"name="metrics""#) && xml.contains(r#"name="startup-taint""#), "{xml}");
}
