//! The reference driver passes every check that applies to it.

mod support;

use std::{
    collections::BTreeSet,
    sync::{Arc, Condvar, Mutex},
    time::Duration,
};

use csi_proto::csi::{
    NodeServiceCapability, ProbeResponse, controller_service_capability::rpc::Type as C, node_service_capability,
    node_service_capability::rpc::Type as N, plugin_capability::service::Type as S,
};
use csi_sanity::{
    Group, Selection,
    config::{AccessType, Spec},
    reference::{Features, server::Hooks},
    report::{CheckResult, Report, Status, ginkgo, junit},
    suite,
};
use support::start;

/// Numbers of the Go suite's checks that ran.
fn ran(report: &Report) -> BTreeSet<u16> {
    let ran = |check: &&CheckResult| matches!(check.status, Status::Passed | Status::Failed);
    report.checks.iter().filter(|check| check.group == Group::Go).filter(ran).map(|check| check.number).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_driver_with_every_capability_passes_every_check() {
    let running = start(Features::all(), Hooks::default());
    let report = suite::run(&running.config).await.unwrap();
    assert!(report.passed(), "{report}");
    assert_eq!(ran(&report).len(), 98, "{report}");
    let skipped: Vec<u16> =
        report.checks.iter().filter(|check| check.status == Status::Skipped).map(|check| check.number).collect();
    assert_eq!(skipped, [169, 170, 181, 182, 183], "these are for drivers that lack a capability");
    assert!(report.leftovers.is_empty(), "{:?}", report.leftovers);
    println!("{report}");
}

/// The Go suite asks for capabilities only before checks that may be skipped, and the node's when a volume is removed.
#[tokio::test]
async fn what_a_driver_can_not_say_about_itself_fails_only_checks_that_depend_on_it() {
    let outcome = async |hooks: Hooks| {
        let mut running = start(Features::all(), hooks);
        running.config.selection = Selection { numbers: vec![4, 5, 10, 26, 27, 28, 29, 58], ..Selection::everything() };
        let report = suite::run(&running.config).await.unwrap();
        report.failures()
    };
    let refuse = || tonic::Status::internal("out of order");
    let controller =
        Hooks { controller_get_capabilities: Some(Box::new(move |_, _| Err(refuse()))), ..Hooks::default() };
    assert_eq!(outcome(controller).await, BTreeSet::from([4, 5, 10, 58]));
    let node = Hooks { node_get_capabilities: Some(Box::new(move |_, _| Err(refuse()))), ..Hooks::default() };
    assert_eq!(outcome(node).await, BTreeSet::from([27, 28]), "those that make a volume");
}

#[tokio::test]
async fn a_driver_for_block_volumes_passes_too() {
    let mut running = start(Features::all(), Hooks::default());
    running.config.access_type = AccessType::Block;
    let report = suite::run(&running.config).await.unwrap();
    assert!(report.passed(), "{report}");
    assert_eq!(ran(&report).len(), 98, "{report}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn several_checks_at_a_time_find_the_same_and_the_report_is_in_order() {
    let mut running = start(Features::all(), Hooks::default());
    let alone = suite::run(&running.config).await.unwrap();
    running.config.parallel = 3;
    let config = running.config.clone();
    let together = tokio::spawn(async move { suite::run(&config).await.unwrap() }).await.unwrap();
    let outcome = |report: &Report| report.checks.iter().map(|check| (check.number, check.status)).collect::<Vec<_>>();
    assert!(together.passed(), "{together}");
    assert_eq!(outcome(&alone), outcome(&together));
    assert!(together.leftovers.is_empty(), "{:?}", together.leftovers);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn several_checks_are_under_way_at_a_time() {
    // GetCapacity is answered when two checks ask for it.
    let inside = Arc::new((Mutex::new(0), Condvar::new()));
    let hooks = Hooks {
        get_capacity: Some(Box::new(move |driver, request| {
            let (count, changed) = &*inside;
            let mut asked = count.lock().unwrap();
            *asked += 1;
            changed.notify_all();
            let (asked, waited) =
                changed.wait_timeout_while(asked, Duration::from_secs(30), |asked| *asked < 2).unwrap();
            drop(asked);
            if waited.timed_out() {
                return Err(tonic::Status::internal("nobody else asked"));
            }
            driver.get_capacity(request)
        })),
        ..Hooks::default()
    };
    let mut running = start(Features::all(), hooks);
    running.config.selection = Selection { numbers: vec![5, 146], ..Selection::everything() };
    running.config.parallel = 2;
    let report = suite::run(&running.config).await.unwrap();
    assert!(report.passed(), "{report}");
}

#[tokio::test]
async fn nothing_is_left_in_the_directories() {
    let mut running = start(Features::all(), Hooks::default());
    running.config.parallel = 3;
    suite::run(&running.config).await.unwrap();
    let mount_dir = running.config.mount_dir.as_deref().unwrap();
    let mut left: Vec<String> = std::fs::read_dir(mount_dir.parent().unwrap())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    left.sort();
    assert_eq!(left, ["csi.sock"]);
}

#[tokio::test]
async fn capabilities_decide_how_many_checks_run() {
    let base = [C::CreateDeleteVolume];
    let stats = [N::GetVolumeStats];
    let more = [C::CreateDeleteVolume, C::ListVolumes, C::GetCapacity];
    for (features, expected) in [
        (Features::least().with_controller(&base), 28),
        (Features::least().with_controller(&base).with_node(&stats), 32),
        (Features::least().with_controller(&base).with_node(&[N::GetVolumeStats, N::SingleNodeMultiWriter]), 33),
        (Features::least().with_controller(&more).with_node(&[N::GetVolumeStats, N::SingleNodeMultiWriter]), 37),
        (
            Features::least()
                .with_controller(&more)
                .with_controller(&[C::ModifyVolume])
                .with_node(&[N::GetVolumeStats, N::SingleNodeMultiWriter]),
            45,
        ),
        (
            Features::least()
                .with_controller(&more)
                .with_controller(&[C::ModifyVolume, C::ExpandVolume])
                .with_node(&[N::GetVolumeStats, N::SingleNodeMultiWriter]),
            48,
        ),
        (Features::least().with_controller(&base).with_controller(&[C::PublishUnpublishVolume]), 36),
        (Features::least().with_controller(&base).with_node(&[N::StageUnstageVolume]), 33),
        (Features::least().with_controller(&base).with_node(&[N::GetVolumeHealth, N::GetStorageHealth]), 31),
    ] {
        let shown = format!("{features:?}");
        let mut running = start(features, Hooks::default());
        running.config.test_attach_limit = false;
        let report = suite::run(&running.config).await.unwrap();
        assert!(report.passed(), "{shown}: {report}");
        assert_eq!(ran(&report).len(), expected, "{shown}: {report}");
    }
}

#[tokio::test]
async fn what_the_go_suite_lets_pass_passes() {
    let hooks = Hooks {
        probe: Some(Box::new(|_, _| Ok(ProbeResponse { ready: None }))),
        validate_volume_capabilities: Some(Box::new(|driver, request| {
            let mut answer = driver.validate_volume_capabilities(request)?;
            answer.confirmed = None;
            answer.message = "not today".into();
            Ok(answer)
        })),
        node_get_capabilities: Some(Box::new(|driver, request| {
            let mut answer = driver.node_get_capabilities(request)?;
            let unknown = node_service_capability::Rpc { r#type: N::Unknown.into() };
            let r#type = Some(node_service_capability::Type::Rpc(unknown));
            answer.capabilities.push(NodeServiceCapability { r#type });
            Ok(answer)
        })),
        ..Hooks::default()
    };
    let report = suite::run(&start(Features::all(), hooks).config).await.unwrap();
    assert!(report.passed(), "{report}");
}

#[tokio::test]
async fn a_driver_without_sizes_skips_what_is_about_sizes() {
    let hooks = Hooks {
        create_volume: Some(Box::new(|driver, mut request| {
            request.capacity_range = None;
            let mut answer = driver.create_volume(request)?;
            if let Some(volume) = &mut answer.volume {
                volume.capacity_bytes = 0;
            }
            Ok(answer)
        })),
        ..Hooks::default()
    };
    let mut running = start(Features::all(), hooks);
    running.config.selection = Selection { numbers: vec![13, 14, 15, 16, 143, 144, 173], ..Selection::everything() };
    let report = suite::run(&running.config).await.unwrap();
    assert!(report.passed(), "{report}");
    let skipped: Vec<u16> =
        report.checks.iter().filter(|check| check.status == Status::Skipped).map(|check| check.number).collect();
    assert_eq!(skipped, [15, 173]);
}

#[tokio::test]
async fn every_check_runs_alone() {
    let mut running = start(Features::all(), Hooks::default());
    for check in csi_sanity::all_checks().iter().filter(|check| !check.pending()) {
        running.config.selection = Selection { numbers: vec![check.number()], ..Selection::everything() };
        let report = suite::run(&running.config).await.unwrap();
        assert_eq!(report.checks.len(), 1);
        assert!(report.passed(), "{report}");
    }
}

#[tokio::test]
async fn identity_is_checked_at_both_addresses() {
    let node = start(Features::all(), Hooks::default());
    let sick = Hooks { probe: Some(Box::new(|_, _| Err(tonic::Status::internal("sick")))), ..Hooks::default() };
    let controller = start(Features::all(), sick);
    let mut config = node.config.clone();
    config.selection = Selection { numbers: vec![1, 2, 3], ..Selection::everything() };
    assert!(suite::run(&config).await.unwrap().passed());
    config.controller_endpoint = Some(controller.config.endpoint.clone());
    let report = suite::run(&config).await.unwrap();
    assert_eq!(report.failures(), [2].into(), "{report}");
}

#[tokio::test]
async fn a_node_that_does_not_name_the_controller_is_checked_as_by_the_go_suite() {
    let mut features = Features::least().with_node(&[N::GetVolumeStats]);
    features.plugin.clear();
    let node = start(features, Hooks::default());
    let mut config = node.config.clone();
    config.selection = Selection { numbers: vec![67, 68, 81, 82, 83, 89, 90, 162], ..Selection::everything() };
    let report = suite::run(&config).await.unwrap();
    assert!(report.passed(), "{report}");
    let skipped: Vec<u16> =
        report.checks.iter().filter(|check| check.status == Status::Skipped).map(|check| check.number).collect();
    assert_eq!(skipped, [89, 90, 162]);
}

#[tokio::test]
async fn the_order_of_the_checks_does_not_matter() {
    let mut running = start(Features::all(), Hooks::default());
    for seed in [1, 2] {
        running.config.shuffle = Some(seed);
        let report = suite::run(&running.config).await.unwrap();
        assert!(report.passed(), "seed {seed}: {report}");
    }
}

#[tokio::test]
async fn reports_name_every_check_as_the_go_suite_does() {
    let running = start(Features::least().with_controller(&[C::CreateDeleteVolume]), Hooks::default());
    let report = suite::run(&running.config).await.unwrap();
    let xml = junit::document(&report).unwrap();
    for name in [
        "Controller Service [Controller Server] CreateVolume should fail when no name is provided",
        "Node Service should be idempotent",
        "ListSnapshots [Controller Server] should return empty when the specified snapshot id does not exist",
    ] {
        assert!(xml.contains(&format!("<testcase name=\"{name}\"")), "{name} is not in {xml}");
    }
    assert_eq!(xml.matches("<testcase ").count(), csi_sanity::all_checks().len());
    let json: serde_json::Value = serde_json::from_str(&report.to_json().unwrap()).unwrap();
    assert_eq!(json["checks"].as_array().unwrap().len(), csi_sanity::all_checks().len());
    assert_eq!(json["totals"]["failed"], 0);
    assert_eq!(json["driver"]["name"], csi_sanity::reference::NAME);
    let ginkgo: serde_json::Value = serde_json::from_str(&ginkgo::document(&report).unwrap()).unwrap();
    let specs = ginkgo[0]["SpecReports"].as_array().unwrap();
    assert_eq!((specs.len(), &ginkgo[0]["SuiteSucceeded"]), (csi_sanity::all_checks().len(), &true.into()));
    assert_eq!(specs[15]["LeafNodeText"], "should not fail when creating volume with maximum-length name");
    assert_eq!(specs[15]["ContainerHierarchyTexts"][0], "Controller Service [Controller Server] CreateVolume");
    assert_eq!(specs[15]["LeafNodeLocation"]["LineNumber"], 453);
    let state = |number: usize| specs[number - 1]["State"].as_str().unwrap();
    assert_eq!([state(8), state(9), state(10)], ["skipped", "pending", "passed"]);
}

/// `--spec=1.12` is the suite as it was, for drivers that know no more.
#[tokio::test]
async fn a_driver_of_1_12_is_checked_by_the_suite_of_its_time() {
    let features = Features {
        plugin: vec![S::ControllerService, S::VolumeAccessibilityConstraints, S::GroupControllerService],
        ..Features::all()
    };
    let without = |features: Features| Features {
        controller: features.controller.into_iter().filter(|kind| *kind as i32 <= C::GetSnapshot as i32).collect(),
        node: features.node.into_iter().filter(|kind| *kind as i32 <= N::VolumeMountGroup as i32).collect(),
        ..features
    };
    let mut running = start(without(features), Hooks::default());
    running.config.selection.spec = Spec::V1_12;
    let report = suite::run(&running.config).await.unwrap();
    assert!(report.passed(), "{report}");
    assert_eq!((ran(&report).len(), report.checks.len()), (95, 164), "{report}");

    let mut newer = start(Features::all(), Hooks::default());
    newer.config.selection = Selection { spec: Spec::V1_12, numbers: vec![1, 4, 67, 97], ..Selection::everything() };
    let report = suite::run(&newer.config).await.unwrap();
    assert_eq!(report.failures(), [1, 4, 67].into(), "as in csi-test v5.5.0: {report}");
}

/// What 1.13 has retired does no harm.
#[tokio::test]
async fn retired_capabilities_pass() {
    let mut running = start(
        Features::least().with_controller(&[C::VolumeCondition]).with_node(&[N::VolumeCondition]),
        Hooks::default(),
    );
    running.config.selection = Selection { numbers: vec![4, 67], ..Selection::everything() };
    let report = suite::run(&running.config).await.unwrap();
    assert!(report.passed() && ran(&report).len() == 2, "{report}");
}
