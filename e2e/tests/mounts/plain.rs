//! Volumes that are mounted without encryption: straight at the mount target, beside tunnels of the same volume.

use std::path::Path;

use csi_proto::csi;
use efs_csi_e2e::mounts;

use crate::fixture::{Fixture, can_mount};

/// Publishes the fixture's file system at `target`, encrypted or not, writes there and tells where the kernel has mounted it from.
async fn use_at(fixture: &Fixture, target: &Path, encrypted: &str) -> String {
    let request = csi::NodePublishVolumeRequest {
        target_path: target.display().to_string(),
        ..fixture.publish_request(&fixture.file_system, &[("encryptInTransit", encrypted)])
    };
    fixture.driver.node().node_publish_volume(request).await.unwrap();
    std::fs::write(target.join(encrypted), encrypted).unwrap();
    mounts::at(target).unwrap()[0].option("addr").unwrap().to_owned()
}

#[tokio::test]
async fn a_volume_is_mounted_with_and_without_encryption_side_by_side() {
    if !can_mount() {
        return;
    }
    let mut fixture = Fixture::start().await;
    let [first, second, third] = ["first", "second", "third"].map(|name| fixture.target_named(name));
    let mount_target = use_at(&fixture, &first, "false").await;
    assert_ne!(mount_target, "127.0.0.1", "a tunnel for a volume that wants none");
    // A mount without a port of ours says nothing about which port the tunnel has; nor does it when it is only on record.
    assert_eq!(use_at(&fixture, &second, "true").await, "127.0.0.1");
    fixture.unpublish(&fixture.file_system, &second).await.unwrap();
    fixture.driver.replace().await.unwrap();
    assert_eq!(use_at(&fixture, &second, "true").await, "127.0.0.1");
    assert_eq!(use_at(&fixture, &third, "false").await, mount_target);
    for target in [&first, &second, &third] {
        for name in ["true", "false"] {
            assert_eq!(std::fs::read_to_string(target.join(name)).unwrap(), name, "{target:?}");
        }
    }
    // The kernel must not have sent the plain mounts through the tunnel: they outlive it.
    fixture.unpublish(&fixture.file_system, &second).await.unwrap();
    for target in [&first, &third] {
        std::fs::write(target.join("after"), "after").unwrap();
        fixture.unpublish(&fixture.file_system, target).await.unwrap();
    }
    fixture.assert_nothing_left().await;
    fixture.stop().await;
}
