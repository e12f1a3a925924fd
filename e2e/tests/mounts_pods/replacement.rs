//! The driver's pod is replaced while volumes are written.

use std::time::Duration;

use efs_csi_e2e::kubelet::lab::READY_WITHIN;
use efs_csi_e2e::kubelet::plugins::Event;

use crate::fixture::Fixture;

/// The kernel's client does not come back earlier than three seconds after it last connected (XS_TCP_INIT_REEST_TO).
const SETTLE: Duration = Duration::from_millis(3500);

#[tokio::test]
async fn a_rolling_update_is_noticed_by_nobody() {
    let Some(mut fixture) = Fixture::start("").await else { return };
    let volume = fixture.lab.publish("volume").await.unwrap();
    let pulse = fixture.write(std::slice::from_ref(&volume));
    tokio::time::sleep(SETTLE).await;
    fixture.lab.pods.rollout_restart(READY_WITHIN).await.unwrap();
    tokio::time::sleep(Duration::from_millis(1500)).await;
    fixture.stop_writing("rolling update", pulse).await;
    assert_eq!(fixture.lab.plugins.events(), [Event::Registered], "the kubelet must not lose the driver");
    fixture.lab.unpublish(&volume).await.unwrap();
    fixture.stop().await;
}
