//! The node service in process: what flags do to its answers. Nothing is mounted here.

#[path = "support/log.rs"]
mod log;
mod support;

use std::sync::Arc;

use async_trait::async_trait;
use csi_proto::csi::node_server::Node;
use csi_proto::csi::{self, volume_capability};
use efs_csi_driver::blocking::Blocking;
use efs_csi_driver::cli;
use efs_csi_driver::config::{Config, Environment, NodeConfig};
use efs_csi_driver::efs::EfsError;
use efs_csi_driver::efs::mount_targets::ListMountTargets;
use efs_csi_driver::efs::pod_identity::AwsExchange;
use efs_csi_driver::metrics::Metrics;
use efs_csi_driver::mount::Worker;
use efs_csi_driver::node::prerequisites::{Missing, Prerequisites};
use efs_csi_driver::node::{NodeDeps, NodeService};
use efs_csi_driver::pod_agent::AgentUri;
use efs_csi_driver::volume::{AccessPointId, FileSystemId};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tonic::{Code, Request};

/// A region without mount targets.
struct Nowhere;

#[async_trait]
impl ListMountTargets for Nowhere {
    async fn mount_targets(&self, _: &FileSystemId) -> Result<Vec<efs_csi_driver::efs::MountTarget>, EfsError> {
        Ok(Vec::new())
    }

    async fn is_gone(&self, _: &FileSystemId, _: &AccessPointId) -> Result<bool, EfsError> {
        Ok(false)
    }
}

struct Started {
    node: NodeService,
    dir: tempfile::TempDir,
    stop: CancellationToken,
}

impl Drop for Started {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

fn config(dir: &std::path::Path, flags: &[&str]) -> NodeConfig {
    let state_dir = format!("--state-dir={}", dir.join("state").display());
    let fixed =
        ["efs-csi-driver", "--node-id=node-a", "--region=us-east-1", "--availability-zone=us-east-1a", &state_dir];
    let args = fixed.into_iter().chain(flags.iter().copied()).map(std::ffi::OsString::from);
    Config::new(&cli::parse(args).expect("flags").serve, Environment::default()).expect("configuration").node
}

async fn start(flags: &[&str]) -> Started {
    start_with(flags, Prerequisites::default()).await
}

async fn start_with(flags: &[&str], prerequisites: Prerequisites) -> Started {
    start_seen(flags, prerequisites, Blocking::default()).await
}

/// One whose troubles are seen in `blocking`.
async fn start_seen(flags: &[&str], prerequisites: Prerequisites, blocking: Blocking) -> Started {
    let dir = tempfile::tempdir().expect("temp dir");
    let stop = CancellationToken::new();
    let deps = NodeDeps {
        open_files: None,
        blocking,
        efs: Arc::new(Nowhere),
        credentials: Arc::new(support::NoCredentials),
        exchange: Arc::new(AwsExchange::new(AgentUri::default())),
        worker: Worker::new(support::driver()),
        ports: 0..=0,
        metrics: Metrics::new(),
        kubernetes: None,
        imds: false,
        remove_taint: false,
        prerequisites,
        region_variable: None,
        data_plane: None,
        tunnels_end: stop.clone(),
    };
    let node = NodeService::start(config(dir.path(), flags), deps, stop.clone()).await.expect("start");
    Started { node, dir, stop }
}

fn publish(started: &Started, name: &str, address: &str) -> Request<csi::NodePublishVolumeRequest> {
    let parent = started.dir.path().join(name);
    std::fs::create_dir_all(&parent).expect("mkdir");
    Request::new(csi::NodePublishVolumeRequest {
        volume_id: support::FILE_SYSTEM.to_owned(),
        target_path: parent.join("mount").display().to_string(),
        volume_capability: Some(csi::VolumeCapability {
            access_mode: Some(volume_capability::AccessMode {
                mode: volume_capability::access_mode::Mode::MultiNodeMultiWriter.into(),
            }),
            access_type: Some(volume_capability::AccessType::Mount(volume_capability::MountVolume::default())),
        }),
        volume_context: [("mounttargetip".to_owned(), address.to_owned())].into(),
        ..Default::default()
    })
}

#[tokio::test]
async fn the_limit_of_volumes_is_reported_when_it_is_asked_for() {
    let info = |started: Started| async move {
        started.node.node_get_info(Request::new(csi::NodeGetInfoRequest {})).await.expect("info").into_inner()
    };
    let plain = info(start(&[]).await).await;
    assert_eq!((plain.node_id.as_str(), plain.max_volumes_per_node), ("node-a", 0));
    let zone = plain.accessible_topology.expect("topology");
    assert_eq!(zone.segments["topology.kubernetes.io/zone"], "us-east-1a");
    let ignored = info(start(&["--volume-attach-limit=25"]).await).await;
    assert_eq!(ignored.max_volumes_per_node, 0, "without the opt-in the number means nothing");
    let limited = info(start(&["--volume-attach-limit-opt-in", "--volume-attach-limit=25"]).await).await;
    assert_eq!(limited.max_volumes_per_node, 25);
}

/// A mount target that accepts connections and never says a word keeps the first call busy.
#[tokio::test]
async fn one_mount_call_more_than_allowed_is_turned_away_at_once() {
    // Any loopback address will do, as long as the port is the one of --mount-target-port.
    let silent = TcpListener::bind("127.0.0.1:0").await.expect("bind");
    let port = format!("--mount-target-port={}", silent.local_addr().expect("address").port());
    let started = start(&["--max-inflight-mount-calls-opt-in", "--max-inflight-mount-calls=1", &port]).await;
    let node = started.node.clone();
    let first = publish(&started, "first", "127.0.0.1");
    let first = tokio::spawn(async move { node.node_publish_volume(first).await });
    let (busy, _) = silent.accept().await.expect("the first call connects");

    let second = started.node.node_publish_volume(publish(&started, "second", "127.0.0.1")).await;
    let status = second.expect_err("one too many");
    assert_eq!(status.code(), Code::Aborted);
    assert!(
        status.message().contains("1 mount calls are running") && status.message().contains("--max-inflight"),
        "{status}"
    );
    assert!(!started.dir.path().join("second/mount").exists(), "a call that is turned away leaves nothing");

    drop((busy, silent));
    let status = first.await.expect("task").expect_err("the server hung up");
    assert_eq!(status.code(), Code::Unavailable, "{status}");
    // The place is free again: the next call gets as far as the mount target.
    let third = started.node.node_publish_volume(publish(&started, "third", "127.0.0.1")).await;
    assert_eq!(third.expect_err("nobody listens").code(), Code::Unavailable);
}

#[tokio::test]
async fn a_publication_is_logged_without_its_secrets() {
    let started = start(&[]).await;
    log::collect();
    let mut request = publish(&started, "pod", "127.0.0.1");
    request.get_mut().secrets = [("password".to_owned(), "hide-this".to_owned())].into();
    request.get_mut().volume_id = "no volume".to_owned();
    let status = started.node.node_publish_volume(request).await.expect_err("no such volume");
    assert_eq!(status.code(), Code::InvalidArgument);
    let text = log::text();
    assert!(text.contains("password") && text.contains(efs_csi_driver::rpc::STRIPPED), "{text}");
    assert!(!text.contains("hide-this"), "{text}");
}

#[tokio::test]
async fn the_clients_name_of_the_overrides_is_in_the_certificate() {
    let authority = support::Authority::new();
    let dir = tempfile::tempdir().expect("temp dir");
    let server = support::Server::start(authority.server(support::SERVER_NAME, 0, false), |_| async {}).await;
    let started = start(&[
        &format!("--tls-ca-file={}", authority.write(dir.path()).display()),
        &format!("--mount-target-port={}", server.address.port()),
        "--efs-utils-conf-overrides=client-info:source=my-cluster",
    ])
    .await;
    let status = started.node.node_publish_volume(publish(&started, "pod", "127.0.0.1")).await;
    assert_eq!(status.expect_err("no NFS there").code(), Code::Unavailable);
    let certificates = server.certificates.lock().expect("lock").clone();
    assert!(String::from_utf8_lossy(&certificates[0]).contains("my-cluster"));
}

/// Neither a server nor its policy is blamed for what the pod lacks: nobody is asked.
#[tokio::test]
async fn what_the_pod_lacks_is_named_before_anybody_is_asked() {
    // Nobody listens: whoever asks hears UNAVAILABLE.
    let free = TcpListener::bind("127.0.0.1:0").await.expect("bind").local_addr().expect("address");
    let port = format!("--mount-target-port={}", free.port());
    let lacking = [
        (Prerequisites { privilege: Some(Missing::Privilege), ..Prerequisites::default() }, "CAP_SYS_ADMIN"),
        (
            Prerequisites {
                distinction: Some(Missing::Distinction("cgroup v1".to_owned())),
                ..Prerequisites::default()
            },
            "--tunnels-trust-root",
        ),
    ];
    for (prerequisites, named) in lacking {
        let plain_works = prerequisites.privilege.is_none();
        let started = start_with(&[&port], prerequisites).await;
        let status =
            started.node.node_publish_volume(publish(&started, "pod", "127.0.0.1")).await.expect_err("refused");
        assert_eq!(status.code(), Code::FailedPrecondition, "{status}");
        assert!(status.message().contains(named), "{status}");
        assert!(!started.dir.path().join("pod/mount").exists(), "nothing is left");
        // Without a tunnel the kernel speaks with the mount target itself, and need not be told from anybody.
        let mut plain = publish(&started, "plain", "127.0.0.1");
        plain.get_mut().volume_context.insert("encryptInTransit".to_owned(), "false".to_owned());
        let status = started.node.node_publish_volume(plain).await.expect_err("nobody listens");
        let want = if plain_works { Code::Unavailable } else { Code::FailedPrecondition };
        assert_eq!(status.code(), want, "{status}");
    }
}

async fn health(started: &Started, volume: &str, path: &str) -> Result<csi::VolumeHealth, tonic::Status> {
    let request = csi::NodeGetVolumeHealthRequest {
        volume_id: volume.to_owned(),
        volume_publish_path: path.to_owned(),
        ..Default::default()
    };
    let answer = started.node.node_get_volume_health(Request::new(request)).await?;
    Ok(answer.into_inner().volume_health.expect("it is always set"))
}

fn reasons(health: &csi::VolumeHealth) -> Vec<(csi::VolumeHealthErrorType, &str)> {
    health.health_statuses.iter().map(|entry| (entry.status(), entry.reason.as_str())).collect()
}

#[tokio::test]
async fn the_health_of_what_is_unknown_is_an_error_and_never_well() {
    let started = start(&[]).await;
    let code = async |volume: &str, path: &str| health(&started, volume, path).await.expect_err("refused").code();
    assert_eq!(code("", "").await, Code::InvalidArgument);
    assert_eq!(code(support::FILE_SYSTEM, "not/absolute").await, Code::InvalidArgument);
    assert_eq!(code("fake-vol-id-0", "").await, Code::NotFound);
    assert_eq!(code(support::FILE_SYSTEM, "/pods/a/mount").await, Code::NotFound);
}

/// The kubelet asks for the health of volumes that could not be mounted, too.
#[tokio::test]
async fn a_volume_that_could_not_be_published_is_inaccessible_until_it_is_wanted_no_more() {
    // Nobody listens.
    let free = TcpListener::bind("127.0.0.1:0").await.expect("bind").local_addr().expect("address");
    let started = start(&[&format!("--mount-target-port={}", free.port())]).await;
    let request = publish(&started, "pod", "127.0.0.1");
    let target = request.get_ref().target_path.clone();
    let failure = started.node.node_publish_volume(request).await.expect_err("nobody listens");
    for path in [target.as_str(), "", "/another/path"] {
        let health = health(&started, support::FILE_SYSTEM, path).await.expect("health");
        assert_eq!(health.volume_id, support::FILE_SYSTEM);
        let inaccessible = csi::VolumeHealthErrorType::Inaccessible;
        assert_eq!(reasons(&health), [(inaccessible, "MountTargetUnreachable")]);
        let message = &health.health_statuses[0].message;
        assert!(message.starts_with(failure.message()) && message.contains("security group"), "{message}");
    }
    let request =
        csi::NodeUnpublishVolumeRequest { volume_id: support::FILE_SYSTEM.to_owned(), target_path: target.clone() };
    started.node.node_unpublish_volume(Request::new(request)).await.expect("nothing is there");
    let gone = health(&started, support::FILE_SYSTEM, &target).await.expect_err("forgotten");
    assert_eq!(gone.code(), Code::NotFound);
}

#[tokio::test]
async fn a_node_without_volumes_has_nothing_wrong_with_its_storage() {
    let started = start(&[]).await;
    let ask = async || {
        let request = Request::new(csi::NodeGetStorageHealthRequest::default());
        started.node.node_get_storage_health(request).await.map(tonic::Response::into_inner)
    };
    // Before the first look nothing is known, which is not the same as nothing wrong.
    let answer = loop {
        match ask().await {
            Err(status) => assert_eq!(status.code(), Code::Unavailable, "{status}"),
            Ok(answer) => break answer,
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    };
    assert_eq!(answer.backend_health, []);
}

/// 1.12 looks for the condition, 1.13 for health; each skips the other's numbers.
#[test]
fn callers_of_1_12_and_of_1_13_find_their_capabilities() {
    let of_node = NodeService::capabilities();
    let types: Vec<i32> = of_node
        .into_iter()
        .map(|it| match it.r#type {
            Some(csi::node_service_capability::Type::Rpc(rpc)) => rpc.r#type,
            None => panic!("no rpc"),
        })
        .collect();
    assert_eq!(types, [2, 4, 5, 7, 8]);
}

/// As with cgroups of version 1: each mount with encryption would be refused, so it is no node that is well.
#[tokio::test]
async fn a_node_that_can_admit_nobody_to_its_tunnels_says_so_to_every_probe() {
    let reason = "this node keeps pods apart in cgroups of version 1";
    let lacks =
        Prerequisites { distinction: Some(Missing::Distinction(reason.to_owned())), ..Prerequisites::default() };
    let blocking = Blocking::default();
    let started = start_seen(&[], lacks, blocking.clone()).await;
    let told = blocking.degraded();
    let [line] = &told[..] else { panic!("one line: {told:?}") };
    for words in ["volumes can't be published", reason, "--tunnels-trust-root"] {
        assert!(line.contains(words), "{line}");
    }
    assert_eq!(started.node.can_not_serve(), None, "mounts without encryption can still come");
}
