//! The driver's image.

use csi_proto::csi;
use csi_proto::csi::controller_client::ControllerClient;
use csi_proto::csi::identity_client::IdentityClient;
use testcontainers::core::WaitFor;
use testcontainers::core::wait::ExitWaitStrategy;
use testcontainers::runners::AsyncRunner;
use testcontainers::{ContainerAsync, GenericImage, ImageExt};
use tonic::transport::{Channel, Endpoint};

use crate::docker::{Shared, confined, have, outcome, run, unique};
use crate::fake::Fake;

const IMAGE: &str = "efs-csi-driver";

/// The driver, confined, with its socket in `shared`.
async fn driver(shared: &Shared, mode: &str, fake: Option<&Fake>) -> ContainerAsync<GenericImage> {
    let args = [
        "--endpoint=unix:///csi/csi.sock",
        mode,
        "--region=us-east-1",
        "--node-id=a",
        "--availability-zone=us-east-1a",
    ];
    let mut request = confined(IMAGE, WaitFor::message_on_stderr("serving CSI"), args)
        .with_mount(shared.at("/csi"))
        .with_mount(state());
    if let Some(fake) = fake {
        request = request
            .with_network(&fake.network)
            .with_env_var("AWS_ENDPOINT_URL", fake.url_inside())
            .with_env_var("AWS_ACCESS_KEY_ID", "AKIAIOSFODNN7EXAMPLE")
            .with_env_var("AWS_SECRET_ACCESS_KEY", "not-a-secret");
    }
    request.start().await.expect("the driver starts")
}

/// What the chart gives the controller for its state: an empty directory of its own.
fn state() -> testcontainers::core::Mount {
    testcontainers::core::Mount::tmpfs_mount("/var/lib/efs-csi").with_mode(0o1777)
}

async fn connect(shared: &Shared) -> Channel {
    let url = format!("unix://{}", shared.join("csi.sock").display());
    Endpoint::from_shared(url).expect("a valid URL").connect().await.expect("the socket is served")
}

#[tokio::test]
async fn wrong_flags_are_named_and_exit_with_2() {
    if !have(&[IMAGE]) {
        return;
    }
    for (arg, complaint) in [
        ("--no-such-flag", "--no-such-flag"),
        ("--endpoint=ftp://x", "--endpoint"),
        ("--debug-logs=maybe", "maybe"),
        ("--unmount-timeout=30", "30"),
    ] {
        let (code, _, stderr) = run(IMAGE, &[arg]).await;
        assert_eq!(code, 2, "{arg}: {stderr}");
        assert!(stderr.contains(complaint), "{arg}: {stderr}");
    }
}

#[tokio::test]
async fn the_version_is_printed_as_the_go_driver_prints_it() {
    if !have(&[IMAGE]) {
        return;
    }
    let (code, stdout, _) = run(IMAGE, &["--version"]).await;
    assert_eq!(code, 0);
    let version: serde_json::Value = serde_json::from_str(&stdout).expect("JSON");
    assert_eq!(version["driverVersion"], crate::docker::TAG);
}

#[tokio::test]
async fn the_controller_serves_without_root_capabilities_or_a_writable_image() {
    if !have(&[IMAGE]) {
        return;
    }
    let shared = Shared::new();
    let container = driver(&shared, "--mode=controller", None).await;
    let mut identity = IdentityClient::new(connect(&shared).await);
    let info = identity.get_plugin_info(csi::GetPluginInfoRequest {}).await.expect("it answers").into_inner();
    assert_eq!(info.name, "efs.csi.aws.com");
    let probe = identity.probe(csi::ProbeRequest {}).await.expect("it answers").into_inner();
    assert_eq!(probe.ready, Some(true));
    drop(container);
}

#[tokio::test]
async fn sigterm_ends_the_driver_with_0_and_removes_its_socket() {
    if !have(&[IMAGE]) {
        return;
    }
    let shared = Shared::new();
    let container = driver(&shared, "--mode=controller", None).await;
    assert!(shared.join("csi.sock").exists());
    container.stop_with_timeout(Some(30)).await.expect("docker stops it");
    let (code, _, stderr) = outcome(&container).await;
    // 137 would be the SIGKILL that follows an ignored SIGTERM.
    assert_eq!(code, 0, "{stderr}");
    assert!(!shared.join("csi.sock").exists());
}

/// What the kubelet does with a plug-in: it finds a socket in its directory, asks for name and CSI socket, talks to that, and
/// says that the plug-in is registered.
#[tokio::test]
async fn the_kubelet_finds_the_node_plugin_by_its_registration_socket() {
    use csi_proto::csi::node_client::NodeClient;
    use csi_proto::registration::registration_client::RegistrationClient;
    use csi_proto::registration::{InfoRequest, RegistrationStatus};
    if !have(&[IMAGE]) {
        return;
    }
    let (shared, registry) = (Shared::new(), Shared::new());
    let csi_socket = shared.join("csi.sock").display().to_string();
    let path_flag = format!("--kubelet-registration-path={csi_socket}");
    let args = [
        "--endpoint=unix:///csi/csi.sock",
        "--mode=node",
        "--region=us-east-1",
        "--node-id=a",
        "--availability-zone=us-east-1a",
        &path_flag,
    ];
    let ready = WaitFor::message_on_stderr("waiting for the kubelet to register the driver");
    let container = confined(IMAGE, ready, args)
        .with_mount(shared.at("/csi"))
        .with_mount(registry.at("/registration"))
        .with_mount(state())
        .start()
        .await
        .expect("the driver starts");

    let socket = registry.join("efs.csi.aws.com-reg.sock");
    let channel = Endpoint::from_shared(format!("unix://{}", socket.display())).expect("a valid URL").connect().await;
    let mut registration = RegistrationClient::new(channel.expect("the socket is served"));
    let info = registration.get_info(InfoRequest {}).await.expect("it answers").into_inner();
    assert_eq!((info.r#type.as_str(), info.name.as_str()), ("CSIPlugin", "efs.csi.aws.com"));
    assert_eq!(info.endpoint, csi_socket);
    let channel = Endpoint::from_shared(format!("unix://{}", info.endpoint)).expect("a valid URL").connect().await;
    let mut node = NodeClient::new(channel.expect("the announced socket is served"));
    let info = node.node_get_info(csi::NodeGetInfoRequest {}).await.expect("it answers").into_inner();
    assert_eq!(info.node_id, "a");
    let registered = RegistrationStatus { plugin_registered: true, error: String::new() };
    registration.notify_registration_status(registered).await.expect("it answers");
    drop((registration, node));

    container.stop_with_timeout(Some(30)).await.expect("docker stops it");
    let (code, _, stderr) = outcome(&container).await;
    assert_eq!(code, 0, "{stderr}");
    assert!(stderr.contains("the kubelet has registered the driver"), "{stderr}");
    assert!(!socket.exists(), "the kubelet would go on asking a driver that is gone");
}

#[tokio::test]
async fn volumes_are_made_and_removed_against_the_fake_on_a_private_network() {
    if !have(&[IMAGE, "fake-efs"]) {
        return;
    }
    let fake = Fake::start().await;
    let file_system = fake.create_file_system().await;
    let shared = Shared::new();
    let _container = driver(&shared, "--mode=controller", Some(&fake)).await;
    let mut controller = ControllerClient::new(connect(&shared).await);
    let parameters =
        [("provisioningMode", "efs-ap"), ("fileSystemId", file_system.as_str()), ("directoryPerms", "700")];
    let request = csi::CreateVolumeRequest {
        name: unique("pvc"),
        parameters: parameters.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect(),
        volume_capabilities: vec![csi::VolumeCapability {
            access_mode: Some(csi::volume_capability::AccessMode {
                mode: csi::volume_capability::access_mode::Mode::MultiNodeMultiWriter.into(),
            }),
            access_type: Some(
                csi::volume_capability::AccessType::Mount(csi::volume_capability::MountVolume::default()),
            ),
        }],
        ..Default::default()
    };
    let first = controller.create_volume(request.clone()).await.expect("a volume is made").into_inner().volume.unwrap();
    assert!(first.volume_id.starts_with(&format!("efs:{file_system}::fsap-")), "{}", first.volume_id);
    let again = controller.create_volume(request).await.expect("a retry succeeds").into_inner().volume.unwrap();
    assert_eq!(again.volume_id, first.volume_id);
    assert_eq!(fake.access_points().await.len(), 1);
    let request = csi::DeleteVolumeRequest { volume_id: first.volume_id, ..Default::default() };
    controller.delete_volume(request.clone()).await.expect("the volume is removed");
    controller.delete_volume(request).await.expect("a retry succeeds");
    assert_eq!(fake.access_points().await, Vec::<String>::new());
}

/// The conformance suite's own image, against the driver's, on the fake's network. Node checks need mounts, so only identity
/// and controller checks run; the suite asks the node service for its capabilities all the same.
#[tokio::test]
async fn the_controller_passes_the_conformance_suite() {
    if !have(&[IMAGE, "fake-efs", "csi-sanity"]) {
        return;
    }
    let fake = Fake::start().await;
    let file_system = fake.create_file_system().await;
    let shared = Shared::new();
    let _container = driver(&shared, "--mode=all", Some(&fake)).await;
    let parameters = format!("provisioningMode: efs-ap\nfileSystemId: {file_system}\ndirectoryPerms: \"700\"\n");
    std::fs::write(shared.join("parameters.yaml"), parameters).expect("the directory is ours");
    let args = [
        "--csi.endpoint=unix:///csi/csi.sock",
        "--csi.testvolumeparameters=/csi/parameters.yaml",
        "--csi.mountdir=/tmp/mount",
        "--csi.stagingdir=/tmp/staging",
        "--ginkgo.focus=Identity|Controller",
    ];
    let suite = confined("csi-sanity", WaitFor::exit(ExitWaitStrategy::new()), args)
        .with_mount(shared.at("/csi"))
        .with_mount(testcontainers::core::Mount::tmpfs_mount("/tmp").with_mode(0o1777))
        .start()
        .await
        .expect("the suite runs");
    let (code, stdout, stderr) = outcome(&suite).await;
    assert_eq!(code, 0, "{stdout}\n{stderr}");
}
