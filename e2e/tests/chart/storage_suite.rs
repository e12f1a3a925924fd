//! `e2e/kubernetes/testdriver.yaml` tells Kubernetes' storage tests what to expect of the driver; it must be what the driver declares.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use csi_proto::csi;
use csi_proto::csi::controller_service_capability as controller;
use csi_proto::csi::node_service_capability as node;
use efs_csi_driver::identity::PLUGIN_NAME;
use efs_csi_driver::node::NodeService;
use efs_csi_e2e::stack::{Driver, DriverOptions, Fake};
use serde::Deserialize;
use serde_json::Value;

/// What the suite knows (`Capability` in test/e2e/storage/framework/testdriver.go of Kubernetes). A name that it doesn't know would be
/// ignored without a word, and one that is left out counts as false.
const CAPABILITIES: [&str; 20] = [
    "RWX",
    "block",
    "capReadOnlyMany",
    "capacity",
    "controllerExpansion",
    "exec",
    "fsGroup",
    "multiplePVsSameID",
    "multipods",
    "nodeExpansion",
    "offlineExpansion",
    "onlineExpansion",
    "persistence",
    "pvcDataSource",
    "readWriteOncePod",
    "singleNodeVolume",
    "snapshotDataSource",
    "topology",
    "volumeLimits",
    "volumeMountGroup",
];

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct Definition {
    driver_info: DriverInfo,
    storage_class: StorageClass,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
#[expect(dead_code, reason = "the fields are read to be sure that the suite would find them")]
struct DriverInfo {
    name: String,
    max_file_size: i64,
    supported_size_range: BTreeMap<String, String>,
    supported_mount_option: BTreeMap<String, BTreeMap<String, String>>,
    required_access_modes: Vec<String>,
    capabilities: BTreeMap<String, bool>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct StorageClass {
    from_existing_class_name: String,
}

fn read<T: serde::de::DeserializeOwned>(path: &str) -> T {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let text = std::fs::read_to_string(root.join(path)).unwrap_or_else(|e| panic!("{path}: {e}"));
    serde_yaml_ng::from_str(&text).unwrap_or_else(|e| panic!("{path}: {e}"))
}

/// What the driver's process answers.
async fn declared() -> BTreeSet<controller::rpc::Type> {
    let folder = tempfile::tempdir().expect("a temporary directory");
    let test = std::env::current_exe().expect("a test is a file");
    let bin_dir = test.ancestors().nth(2).expect("it lies in target/PROFILE/deps");
    let mut fake = Fake::start(&bin_dir.join("fake-efs"), folder.path(), &[]).await.expect("the fake starts");
    let mut options = DriverOptions::new(&bin_dir.join("efs-csi-driver"), &folder.path().join("driver"), &fake);
    options.mode = "controller";
    let mut driver = Driver::start(options).await.expect("the driver starts");
    let answer = driver.controller().controller_get_capabilities(csi::ControllerGetCapabilitiesRequest {}).await;
    driver.stop().await.expect("the driver ends");
    fake.stop().await.expect("the fake ends");
    let capabilities = answer.expect("it answers").into_inner().capabilities;
    let kind = |it: csi::ControllerServiceCapability| match it.r#type {
        Some(controller::Type::Rpc(rpc)) => rpc.r#type(),
        None => controller::rpc::Type::Unknown,
    };
    capabilities.into_iter().map(kind).collect()
}

#[tokio::test]
async fn the_storage_suite_expects_what_the_driver_declares() {
    use controller::rpc::Type as Controller;
    use node::rpc::Type as Node;
    let definition: Definition = read("e2e/kubernetes/testdriver.yaml");
    let info = definition.driver_info;
    assert_eq!(info.name, PLUGIN_NAME);
    assert_eq!(info.capabilities.keys().map(String::as_str).collect::<BTreeSet<_>>(), CAPABILITIES.into());

    let controller = declared().await;
    assert!(controller.contains(&Controller::CreateDeleteVolume));
    let expected = [
        ("controllerExpansion", Controller::ExpandVolume),
        ("snapshotDataSource", Controller::CreateDeleteSnapshot),
        ("pvcDataSource", Controller::CloneVolume),
    ];
    for (capability, declares) in expected {
        assert_eq!(info.capabilities[capability], controller.contains(&declares), "{capability}");
    }
    let on_nodes: Vec<_> = NodeService::capabilities()
        .into_iter()
        .filter_map(|it| it.r#type.map(|node::Type::Rpc(rpc)| rpc.r#type()))
        .collect();
    for (capability, declares) in [("nodeExpansion", Node::ExpandVolume), ("volumeMountGroup", Node::VolumeMountGroup)]
    {
        assert_eq!(info.capabilities[capability], on_nodes.contains(&declares), "{capability}");
    }
    // What a pod's fsGroup asks for, the server refuses: files are the access point's user's.
    assert!(!info.capabilities["fsGroup"]);
    // SINGLE_NODE_MULTI_WRITER is how ReadWriteOncePod is told from ReadWriteOnce.
    let told =
        controller.contains(&Controller::SingleNodeMultiWriter) && on_nodes.contains(&Node::SingleNodeMultiWriter);
    assert_eq!(info.capabilities["readWriteOncePod"], told);

    let values: Value = read("deploy/chart/values.yaml");
    assert_eq!(values["fake-efs"]["storageClassName"], definition.storage_class.from_existing_class_name);
}
