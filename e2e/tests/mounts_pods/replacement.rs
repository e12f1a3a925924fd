//! The driver's pod is replaced, or its container ended, while volumes are written.

use std::time::{Duration, Instant};

use efs_csi_e2e::kubelet::disturbance::Disturbance;
use efs_csi_e2e::kubelet::lab::{DRIVER, PodVolume, READY_WITHIN, TUNNEL};
use efs_csi_e2e::kubelet::plugins::Event;
use efs_csi_e2e::kubelet::pod::Pod;
use efs_csi_e2e::mounts::failed_connects;
use efs_csi_e2e::pulse::Pulse;
use rustix::process::{Signal, kill_process};

use crate::fixture::{Fixture, until};

/// The kernel's client does not come back earlier than three seconds after it last connected (XS_TCP_INIT_REEST_TO).
const SETTLE: Duration = Duration::from_millis(3500);
/// Records are written for this long after a change.
const AFTER: Duration = Duration::from_millis(1500);

/// A volume that is being written, and the connections that had failed before.
struct Written {
    volume: PodVolume,
    pulse: Pulse,
    failed: u64,
}

async fn written(fixture: &Fixture) -> Written {
    let volume = fixture.lab.publish("volume").await.unwrap();
    let pulse = fixture.write(std::slice::from_ref(&volume));
    tokio::time::sleep(SETTLE).await;
    Written { volume, pulse, failed: failed_connects().unwrap() }
}

impl Written {
    /// Ends the writer; nothing that it wrote is lost. A kernel that was refused once would have waited for three seconds and more,
    /// so that nobody was refused says more than a time.
    async fn end_unrefused(self, fixture: &Fixture, what: &str) {
        let failed = self.failed;
        let volume = self.end(fixture, what).await;
        if failed_connects().unwrap() != failed {
            for pod in ["efs-csi-node-0", "efs-csi-node-1", "efs-csi-node-2"] {
                println!("{pod}:\n{}", fixture.lab.log(pod, TUNNEL));
            }
        }
        assert_eq!(failed_connects().unwrap(), failed, "{what}: the kernel was refused");
        fixture.lab.unpublish(&volume).await.unwrap();
    }

    async fn end(self, fixture: &Fixture, what: &str) -> PodVolume {
        tokio::time::sleep(AFTER).await;
        fixture.stop_writing(what, self.pulse).await;
        self.volume
    }
}

/// Publishes and unpublishes a volume: what the kubelet calls is served.
async fn serves(fixture: &Fixture, name: &str) {
    let volume = fixture.lab.publish(name).await.unwrap();
    std::fs::write(volume.path.join("file"), name).unwrap();
    fixture.lab.unpublish(&volume).await.unwrap();
}

#[tokio::test]
async fn a_rolling_update_is_noticed_by_nobody() {
    let Some(mut fixture) = Fixture::start("").await else { return };
    let written = written(&fixture).await;
    for _ in 0..2 {
        fixture.lab.pods.rollout_restart(READY_WITHIN).await.unwrap();
    }
    written.end_unrefused(&fixture, "two rolling updates").await;
    assert_eq!(fixture.lab.plugins.events(), [Event::Registered], "the kubelet must not lose the driver");
    serves(&fixture, "afterwards").await;
    fixture.stop().await;
}

#[tokio::test]
async fn a_successor_that_fails_leaves_everything_to_the_pod_before() {
    let Some(mut fixture) = Fixture::start("").await else { return };
    let written = written(&fixture).await;
    // One that never gets so far.
    Disturbance::FailedUpdate.cause(&mut fixture.lab).await.unwrap();
    serves(&fixture, "beside-a-broken-one").await;
    // One that has put its sockets in place, and dies.
    let successor = fixture.lab.pods.surge().unwrap();
    assert!(successor.until(READY_WITHIN, |pod| pod.container(DRIVER).ready).await, "it must get ready");
    kill_process(successor.container(DRIVER).pid.unwrap(), Signal::KILL).unwrap();
    successor.end(Some(Duration::ZERO)).await.unwrap();
    until("the pod before has its socket again", async || fixture.lab.plugins.node_client().await.ok()).await;
    serves(&fixture, "after-a-dead-one").await;
    written.end_unrefused(&fixture, "two failed updates").await;
    fixture.stop().await;
}

#[tokio::test]
async fn a_pod_that_is_deleted_by_force_serves_until_the_next_one_does() {
    let Some(mut fixture) = Fixture::start("").await else { return };
    // What an update that failed has left under the names must not be taken for the next pod.
    Disturbance::FailedUpdate.cause(&mut fixture.lab).await.unwrap();
    let written = written(&fixture).await;
    let begin = Instant::now();
    Disturbance::DeletedByForce.cause(&mut fixture.lab).await.unwrap();
    // The kubelet grants two seconds. Where the next container takes longer to start, as on a guest that is kept from its processor, nobody
    // can have taken the sockets over.
    let took = fixture.lab.pods.pod().unwrap().container(TUNNEL).since.map(|since| since - begin);
    if took.is_some_and(|took| took < Duration::from_millis(1500)) {
        written.end_unrefused(&fixture, "deleted by force").await;
    } else {
        println!("the next data plane was started after {took:?}: too late to take over");
        let volume = written.end(&fixture, "deleted by force").await;
        fixture.lab.unpublish(&volume).await.unwrap();
    }
    fixture.stop().await;
}

#[tokio::test]
async fn a_container_without_memory_is_started_again_on_the_same_sockets() {
    let Some(mut fixture) = Fixture::start("").await else { return };
    let written = written(&fixture).await;
    Disturbance::OutOfMemory.cause(&mut fixture.lab).await.unwrap();
    written.end_unrefused(&fixture, "out of memory").await;
    assert_eq!(fixture.lab.plugins.events(), [Event::Registered], "the kubelet must not lose the driver");
    fixture.stop().await;
}

#[tokio::test]
async fn a_driver_that_hangs_is_ended_by_its_liveness_probe() {
    let Some(mut fixture) = Fixture::start("").await else { return };
    let written = written(&fixture).await;
    Disturbance::Hung.cause(&mut fixture.lab).await.unwrap();
    written.end_unrefused(&fixture, "hung").await;
    fixture.stop().await;
}

/// The keeper starts the next one, which goes on with nobody's help: the driver hangs at the same time.
#[tokio::test]
async fn a_data_plane_that_is_killed_is_replaced_with_the_driver_or_without() {
    let Some(mut fixture) = Fixture::start("").await else { return };
    let written = written(&fixture).await;
    Disturbance::DataPlaneKilled.cause(&mut fixture.lab).await.unwrap();
    tokio::time::sleep(SETTLE).await;
    let driver = fixture.lab.pods.pod().unwrap().container(DRIVER).pid.unwrap();
    kill_process(driver, Signal::STOP).unwrap();
    Disturbance::DataPlaneKilled.cause(&mut fixture.lab).await.unwrap();
    tokio::time::sleep(SETTLE).await;
    kill_process(driver, Signal::CONT).unwrap();
    serves(&fixture, "afterwards").await;
    written.end_unrefused(&fixture, "the data plane was killed twice").await;
    fixture.stop().await;
}

/// The driver has copies of the sockets, so that a container that ends with all its processes closes none.
#[tokio::test]
async fn a_tunnel_container_that_ends_or_hangs_gets_its_sockets_back() {
    let Some(fixture) = Fixture::start("").await else { return };
    let written = written(&fixture).await;
    let pod = fixture.lab.pods.pod().unwrap();
    let again = |times: u32| move |pod: &Pod| pod.container(TUNNEL).restarts == times && pod.is_ready();
    kill_process(pod.container(TUNNEL).pid.unwrap(), Signal::KILL).unwrap();
    assert!(pod.until(READY_WITHIN, again(1)).await, "{:?}", pod.containers());
    serves(&fixture, "after-the-end").await;
    tokio::time::sleep(SETTLE).await;
    // Its liveness probe finds out about this one.
    kill_process(pod.container(TUNNEL).pid.unwrap(), Signal::STOP).unwrap();
    assert!(pod.until(2 * READY_WITHIN, again(2)).await, "{:?}", pod.containers());
    serves(&fixture, "after-the-hang").await;
    written.end_unrefused(&fixture, "the container ended and hung").await;
    fixture.stop().await;
}

/// Nobody has the sockets then. The kernel is refused, waits, and comes back to the same ports.
#[tokio::test]
async fn all_containers_killed_at_once_serve_every_mount_again() {
    let Some(fixture) = Fixture::start("").await else { return };
    let written = written(&fixture).await;
    let pod = fixture.lab.pods.pod().unwrap();
    for name in [TUNNEL, DRIVER] {
        kill_process(pod.container(name).pid.unwrap(), Signal::KILL).unwrap();
    }
    let again = |pod: &Pod| [TUNNEL, DRIVER].iter().all(|name| pod.container(name).restarts == 1) && pod.is_ready();
    assert!(pod.until(READY_WITHIN, again).await, "{:?}", pod.containers());
    serves(&fixture, "afterwards").await;
    let volume = written.end(&fixture, "all containers were killed").await;
    fixture.lab.unpublish(&volume).await.unwrap();
    fixture.stop().await;
}

/// Nobody can hold sockets while there is no pod. The kernel is refused, waits, and comes back.
#[tokio::test]
async fn writers_outlive_an_eviction() {
    let Some(mut fixture) = Fixture::start("").await else { return };
    let written = written(&fixture).await;
    fixture.lab.pods.evict(READY_WITHIN).await.unwrap();
    let volume = written.end(&fixture, "evicted").await;
    fixture.lab.unpublish(&volume).await.unwrap();
    assert_eq!(fixture.lab.plugins.events(), [Event::Registered, Event::Unregistered, Event::Registered]);
    fixture.stop().await;
}

#[tokio::test]
async fn a_node_that_was_switched_off_begins_afresh() {
    let Some(fixture) = Fixture::start("").await else { return };
    let volume = fixture.lab.publish("volume").await.unwrap();
    // A reboot takes mounts and processes along; records and sockets are on the disk.
    efs_csi_e2e::mounts::unmount(&volume.path).unwrap();
    let pod = fixture.lab.pods.pod().unwrap();
    for pid in pod.containers().values().filter_map(|container| container.pid) {
        kill_process(pid, Signal::KILL).unwrap();
    }
    let again = |pod: &Pod| [TUNNEL, DRIVER].iter().all(|name| pod.container(name).restarts == 1) && pod.is_ready();
    assert!(pod.until(READY_WITHIN, again).await, "{:?}", pod.containers());
    until("the driver is registered", async || fixture.lab.plugins.node_client().await.ok()).await;
    serves(&fixture, "afterwards").await;
    fixture.lab.unpublish(&volume).await.unwrap();
    fixture.stop().await;
}
