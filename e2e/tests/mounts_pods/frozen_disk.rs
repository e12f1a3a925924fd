//! The disk with the driver's state stops to answer.

use std::time::{Duration, Instant};

use csi_proto::csi;
use csi_proto::csi::identity_client::IdentityClient;
use efs_csi_e2e::kubelet::lab::{DRIVER, READY_WITHIN, STATE, Setup};
use efs_csi_e2e::stack::many_writers;
use http_body_util::BodyExt as _;
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use rustix::process::{Signal, kill_process};
use tonic::Code;
use tonic::transport::Endpoint;

use crate::fixture::{Fixture, until};

/// Long after the first call was given up.
const FROZEN_FOR: Duration = Duration::from_secs(30);
/// Whoever looks after the driver's health waits this long.
const ANSWER_WITHIN: Duration = Duration::from_secs(1);

async fn health() -> String {
    let client = Client::builder(TokioExecutor::new()).build_http::<http_body_util::Empty<bytes::Bytes>>();
    let answer = client.get("http://127.0.0.1:9809/healthz".parse().unwrap()).await.unwrap();
    assert!(answer.status().is_success());
    String::from_utf8(answer.into_body().collect().await.unwrap().to_bytes().to_vec()).unwrap()
}

#[tokio::test]
async fn a_frozen_disk_holds_up_neither_probes_nor_mounts_and_is_named() {
    let setup = Setup { state_on_disk: true, ..Setup::default() };
    let Some(fixture) = Fixture::start_with(setup).await else { return };
    let volume = fixture.lab.publish("volume").await.unwrap();
    let pulse = fixture.write(std::slice::from_ref(&volume));
    let host = &fixture.lab.node.host;
    host.freeze(STATE).await.unwrap();
    let begin = Instant::now();
    // Several at once: as many as there are threads of the runtime, and more.
    let mut calls = Vec::new();
    for number in 0..8 {
        let target = format!("/var/lib/kubelet/pods/new-{number}/mount");
        std::fs::create_dir_all(host.at(format!("/var/lib/kubelet/pods/new-{number}"))).unwrap();
        let request = csi::NodePublishVolumeRequest {
            volume_id: fixture.lab.file_system.clone(),
            target_path: target,
            volume_capability: Some(many_writers()),
            ..Default::default()
        };
        let mut node = fixture.lab.plugins.node_client().await.unwrap();
        calls.push(tokio::spawn(async move { node.node_publish_volume(request).await }));
    }
    let socket = host.at("/var/lib/kubelet/plugins/efs.csi.aws.com/csi.sock");
    let mut named = 0;
    while begin.elapsed() < FROZEN_FOR {
        tokio::time::sleep(Duration::from_millis(500)).await;
        let said = tokio::time::timeout(ANSWER_WITHIN, health()).await.expect("/healthz hangs");
        named += usize::from(said.contains("the state directory (--state-dir) has not answered"));
        let probed = async {
            let channel =
                Endpoint::from_shared(format!("unix://{}", socket.display())).unwrap().connect().await.unwrap();
            IdentityClient::new(channel).probe(csi::ProbeRequest {}).await.unwrap()
        };
        tokio::time::timeout(ANSWER_WITHIN, probed).await.expect("Probe hangs");
    }
    assert!(named > 20, "the health page has named what hangs {named} times only");
    for call in calls {
        let status = call.await.unwrap().expect_err("nothing can be recorded");
        assert_eq!(status.code(), Code::Unavailable, "{status:?}");
        assert!(status.message().contains("state directory"), "{status:?}");
    }
    host.thaw(STATE).await.unwrap();
    let beats = fixture.stop_writing("frozen for 30 s", pulse).await;
    assert!(beats.longest < FROZEN_FOR / 2, "the mount stood still with the disk");
    // The calls that were given up are finished first; kubelets try again.
    let again = until("a volume is published", async || fixture.lab.publish("afterwards").await.ok()).await;
    fixture.lab.unpublish(&again).await.unwrap();
    assert_eq!(fixture.lab.pods.pod().unwrap().container(DRIVER).restarts, 0, "nobody is to be restarted for it");
    fixture.lab.unpublish(&volume).await.unwrap();
    fixture.stop().await;
}

/// Reading goes on on a frozen disk, and reading is all that the mounts of the process before need.
#[tokio::test]
async fn a_driver_that_starts_on_a_frozen_disk_serves_the_mounts_of_the_one_before() {
    let setup = Setup { state_on_disk: true, ..Setup::default() };
    let Some(fixture) = Fixture::start_with(setup).await else { return };
    let volume = fixture.lab.publish("volume").await.unwrap();
    let pulse = fixture.write(std::slice::from_ref(&volume));
    let host = &fixture.lab.node.host;
    host.freeze(STATE).await.unwrap();
    let pod = fixture.lab.pods.pod().unwrap();
    kill_process(pod.container(DRIVER).pid.unwrap(), Signal::KILL).unwrap();
    let is_back = pod
        .until(READY_WITHIN, |pod| {
            let driver = pod.container(DRIVER);
            driver.restarts == 1 && driver.ready
        })
        .await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    host.thaw(STATE).await.unwrap();
    assert!(is_back, "the driver does not start on a frozen disk");
    let beats = fixture.stop_writing("started on a frozen disk", pulse).await;
    assert!(beats.longest < FROZEN_FOR / 2, "the mount is not served");
    let again = until("a volume is published", async || fixture.lab.publish("afterwards").await.ok()).await;
    fixture.lab.unpublish(&again).await.unwrap();
    fixture.lab.unpublish(&volume).await.unwrap();
    fixture.stop().await;
}
