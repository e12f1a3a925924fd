//! Many volumes are deleted at once, as when a namespace with their claims goes.

use std::path::Path;
use std::time::Instant;

use csi_proto::csi;
use tokio::task::JoinSet;

use crate::fixture::{Fixture, can_mount};

/// csi-provisioner's workers in the chart (`controller.workerThreads`).
const VOLUMES: usize = 100;
const BASE: &str = "/claims";

/// The names of what is below [`BASE`], and how many files, on a mount of the whole file system.
fn below(mount: &Path) -> (Vec<String>, usize) {
    let entries = std::fs::read_dir(mount.join(&BASE[1..])).unwrap();
    let directories: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    let files = directories.iter().filter(|directory| directory.join("file").exists()).count();
    (directories.iter().map(|it| it.file_name().unwrap().to_string_lossy().into_owned()).collect(), files)
}

#[tokio::test]
async fn a_hundred_volumes_that_are_deleted_at_once_go_with_their_files_and_none_fails() {
    if !can_mount() {
        return;
    }
    let fixture =
        Fixture::start_with(|options| options.arguments.push("--delete-access-point-root-dir=true".to_owned())).await;
    let parameters = [
        ("provisioningMode", "efs-ap"),
        ("fileSystemId", fixture.file_system.as_str()),
        ("basePath", BASE),
        ("directoryPerms", "0700"),
    ];
    let mut volumes = Vec::new();
    for number in 0..VOLUMES {
        volumes.push(fixture.driver.create_volume(&format!("pvc-{number}"), &parameters).await.unwrap());
    }
    // EFS makes an access point's root directory with its first mount; a hundred mounts are not the subject here.
    let whole = fixture.target();
    fixture.publish(&fixture.file_system, &whole).await.unwrap();
    let points = fixture.fake.client().describe_access_points().file_system_id(&fixture.file_system).max_results(1000);
    for point in points.send().await.unwrap().access_points() {
        let path = point.root_directory().unwrap().path().unwrap().trim_start_matches('/').to_owned();
        std::fs::create_dir_all(whole.join(&path)).unwrap();
        std::fs::write(whole.join(&path).join("file"), &path).unwrap();
    }
    let (names, files) = below(&whole);
    assert_eq!((names.len(), files), (VOLUMES, VOLUMES));
    fixture.unpublish(&fixture.file_system, &whole).await.unwrap();

    let begin = Instant::now();
    let mut calls = JoinSet::new();
    for volume in volumes {
        let mut controller = fixture.driver.controller();
        let request = csi::DeleteVolumeRequest { volume_id: volume.id, ..Default::default() };
        calls.spawn(async move { controller.delete_volume(request).await.map(|_| begin.elapsed()) });
    }
    let outcomes = calls.join_all().await;
    let failed: Vec<_> = outcomes.iter().filter_map(|outcome| outcome.as_ref().err()).collect();
    assert!(failed.is_empty(), "{} of {VOLUMES} failed, one with {:?}", failed.len(), failed[0]);
    println!("{VOLUMES} DeleteVolume at once: the last was answered after {:?}", begin.elapsed());

    assert_eq!(fixture.access_points().await, 0);
    fixture.publish(&fixture.file_system, &whole).await.unwrap();
    assert_eq!(below(&whole).0, Vec::<String>::new(), "directories are left");
    fixture.unpublish(&fixture.file_system, &whole).await.unwrap();
    fixture.assert_nothing_left().await;
    fixture.stop().await;
}
