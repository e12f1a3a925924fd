//! Volumes of S3 Files with the kernel's client: NFSv4.2 through a tunnel that is signed for that service.

use std::path::Path;

use csi_proto::csi;
use efs_csi_e2e::mounts;
use efs_csi_e2e::stack::many_writers;
use tonic::Code;

use crate::fixture::{Fixture, can_mount};

const FILE_SYSTEM: &str = "fs-0123456789abcdef0";
const POINT: &str = "fsap-0123456789abcdef0";
const MOUNT_TARGET: &str = "subnet-0000000a";

/// The fake with a file system of S3 Files. It checks every signature, so that one for another service is found out.
async fn start() -> Fixture {
    let dir = tempfile::tempdir().unwrap();
    let seed = dir.path().join("seed.yaml");
    let text = format!(
        r#"
keys: [{{access_key_id: AKIAIOSFODNN7EXAMPLE, secret_access_key: secret}}]
s3_file_systems:
  - id: {FILE_SYSTEM}
    bucket: a-bucket
    mount_targets: [{{subnet: {MOUNT_TARGET}}}]
    access_points: [{{id: {POINT}, path: /team, uid: 1000, gid: 1000, permissions: "0750"}}]
"#
    );
    std::fs::write(&seed, text).unwrap();
    Fixture::start_both_with(&["--seed-file", seed.to_str().unwrap(), "--strict-signatures"], |_| {}).await
}

/// The version of NFS with which something is mounted here.
fn version(target: &Path) -> String {
    mounts::at(target).unwrap()[0].option("vers").unwrap().to_owned()
}

#[tokio::test]
async fn a_volume_of_s3_files_is_mounted_written_and_read() {
    if !can_mount() {
        return;
    }
    let fixture = start().await;
    let [whole, point] = ["whole", "point"].map(|name| fixture.target_named(name));
    fixture.publish(&format!("s3files:{FILE_SYSTEM}"), &whole).await.unwrap();
    fixture.publish(&format!("s3files:{FILE_SYSTEM}::{POINT}"), &point).await.unwrap();
    assert_eq!((version(&whole), version(&point)), ("4.2".to_owned(), "4.2".to_owned()));
    let content = vec![7_u8; 3 << 20];
    std::fs::write(point.join("file"), &content).unwrap();
    std::fs::rename(point.join("file"), point.join("renamed")).unwrap();
    assert_eq!(
        std::fs::read(whole.join("team/renamed")).unwrap(),
        content,
        "the access point is a directory of the whole"
    );
    // What 4.2 adds is not offered, and the kernel does without: a sparse file, a copy.
    let sparse = std::fs::File::create(point.join("sparse")).unwrap();
    sparse.set_len(1 << 20).unwrap();
    let allocated = rustix::fs::fallocate(&sparse, rustix::fs::FallocateFlags::empty(), 0, 4096);
    assert!(allocated.is_err(), "the server has no ALLOCATE");
    drop(sparse);
    std::fs::copy(point.join("renamed"), point.join("copy")).unwrap();
    assert_eq!(std::fs::read(point.join("copy")).unwrap(), content);
    // An object has one key.
    let link = std::fs::hard_link(point.join("copy"), point.join("link")).unwrap_err();
    assert!(!point.join("link").exists(), "{link}");
    fixture.unpublish(&format!("s3files:{FILE_SYSTEM}"), &whole).await.unwrap();
    fixture.unpublish(&format!("s3files:{FILE_SYSTEM}::{POINT}"), &point).await.unwrap();
    fixture.assert_nothing_left().await;
    fixture.stop().await;
}

#[tokio::test]
async fn mount_options_choose_the_version_and_refusals_leave_nothing() {
    if !can_mount() {
        return;
    }
    let fixture = start().await;
    let handle = format!("s3files:{FILE_SYSTEM}::{POINT}");
    let with = |flag: &str| {
        let mut request = fixture.publish_request(&handle, &[]);
        let mut capability = many_writers();
        if let Some(csi::volume_capability::AccessType::Mount(mount)) = &mut capability.access_type {
            mount.mount_flags = vec![flag.to_owned()];
        }
        request.volume_capability = Some(capability);
        request
    };
    fixture.driver.node().node_publish_volume(with("vers=4.1")).await.unwrap();
    assert_eq!(version(&fixture.target()), "4.1");
    std::fs::write(fixture.target().join("old"), "4.1").unwrap();
    fixture.unpublish(&handle, &fixture.target()).await.unwrap();
    let limit = std::time::Duration::from_secs(20);
    for flag in ["vers=4.0", "az=use1-az4", "stunnel", "notls"] {
        let status = fixture.publish_fails(with(flag), limit).await;
        assert_eq!(status.code(), Code::InvalidArgument, "{flag}: {}", status.message());
    }
    // The same digits at the other service are another file system, which is not there.
    let status =
        fixture.publish_fails(fixture.publish_request(&format!("efs:{FILE_SYSTEM}::{POINT}"), &[]), limit).await;
    assert_ne!(status.code(), Code::Ok);
    fixture.stop().await;
}

#[tokio::test]
async fn a_volume_is_provisioned_mounted_and_deleted() {
    if !can_mount() {
        return;
    }
    let fixture = start().await;
    let parameters = [("provisioningMode", "s3files-ap"), ("fileSystemId", FILE_SYSTEM), ("directoryPerms", "700")];
    let request = csi::CreateVolumeRequest {
        name: "pvc-1".to_owned(),
        volume_capabilities: vec![many_writers()],
        parameters: parameters.map(|(key, value)| (key.to_owned(), value.to_owned())).into(),
        ..Default::default()
    };
    let volume = fixture.driver.controller().create_volume(request).await.unwrap().into_inner().volume.unwrap();
    assert!(volume.volume_id.starts_with(&format!("s3files:{FILE_SYSTEM}::fsap-")), "{}", volume.volume_id);
    fixture.publish_and_unpublish(&volume.volume_id).await;
    let request = csi::DeleteVolumeRequest { volume_id: volume.volume_id, ..Default::default() };
    fixture.driver.controller().delete_volume(request).await.unwrap();
    fixture.stop().await;
}
