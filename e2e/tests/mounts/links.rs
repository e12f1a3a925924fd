//! A directory volume is mounted as the directory that was made for it, or not at all, whatever its name means by then.

use std::time::Duration;

use tonic::Code;

use crate::fixture::{Fixture, can_mount};

#[tokio::test]
async fn a_link_or_another_directory_in_a_volumes_place_is_never_mounted() {
    if !can_mount() {
        return;
    }
    let fixture = Fixture::start().await;
    let parameters = [
        ("provisioningMode", "efs-dir"),
        ("fileSystemId", fixture.file_system.as_str()),
        ("directoryPerms", "700"),
        ("basePath", "/team"),
    ];
    let volume = fixture.driver.create_volume("pvc-1", &parameters).await.unwrap();
    // Whoever may write around the volume: here, root on the whole file system.
    let outer = fixture.target_named("outer");
    fixture.publish(&fixture.file_system, &outer).await.unwrap();
    std::fs::create_dir(outer.join("secret")).unwrap();
    std::fs::write(outer.join("secret/theirs"), "secret").unwrap();
    let place = outer.join("team/pvc-1");

    let inner = fixture.target_named("inner");
    fixture.driver.publish(&volume, &inner).await.unwrap();
    std::fs::write(inner.join("own"), "own").unwrap();
    fixture.driver.unpublish(&volume, &inner).await.unwrap();

    std::fs::rename(&place, outer.join("moved")).unwrap();
    std::os::unix::fs::symlink("../secret", &place).unwrap();
    let refused = |error: anyhow::Error| {
        let text = format!("{error:#}");
        let status = error.downcast_ref::<tonic::Status>().map(tonic::Status::code);
        assert!(text.contains("not the directory that was made for the volume"), "{text}");
        assert!(status.is_none_or(|code| code == Code::Unavailable), "{text}");
    };
    refused(fixture.driver.publish(&volume, &inner).await.unwrap_err());
    std::fs::remove_file(&place).unwrap();
    std::fs::create_dir(&place).unwrap();
    refused(fixture.driver.publish(&volume, &inner).await.unwrap_err());
    assert!(!inner.join("theirs").exists());

    std::fs::remove_dir(&place).unwrap();
    std::fs::rename(outer.join("moved"), &place).unwrap();
    // The kernel may know the names for a while as they were.
    let deadline = tokio::time::Instant::now() + Duration::from_secs(60);
    while let Err(error) = fixture.driver.publish(&volume, &inner).await {
        assert!(tokio::time::Instant::now() < deadline, "{error:#}");
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    assert_eq!(std::fs::read_to_string(inner.join("own")).unwrap(), "own");
    fixture.driver.unpublish(&volume, &inner).await.unwrap();
    fixture.unpublish(&fixture.file_system, &outer).await.unwrap();
    fixture.driver.delete_volume(&volume).await.unwrap();
    fixture.assert_nothing_left().await;
    fixture.stop().await;
}
