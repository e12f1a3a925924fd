//! Directories on the file system, through the driver's tunnel and the fake's file server.

use std::sync::Arc;
use std::time::Duration;

use efs_csi_driver::controller::cluster::{ClusterFacts, VolumeFacts};
use tonic::Code;

use crate::support::{Bed, GIB, assert_refused, config, request};

async fn bed(delete_root_directory: bool) -> Bed {
    Bed::with_files(efs_csi_driver::config::ControllerConfig { delete_root_directory, ..config() }).await
}

fn directory_request(name: &str, fs: &str, parameters: &[(&str, &str)]) -> csi_proto::csi::CreateVolumeRequest {
    request(name, fs, &[&[("provisioningMode", "efs-dir")], parameters].concat())
}

#[tokio::test]
async fn a_directory_volume_is_made_found_again_and_removed() {
    let bed = bed(false).await;
    let fs = bed.mountable_file_system().await;
    let owned = [
        ("uid", "1001"),
        ("gid", "1002"),
        ("basePath", "/dynamic/deep"),
        ("directoryPerms", "750"),
        ("encryptInTransit", "false"),
    ];
    let volume = bed.create(directory_request("pvc-1", &fs, &owned)).await.unwrap();
    assert_eq!(volume.volume_id, format!("efs:{fs}:/dynamic/deep/pvc-1:"));
    assert_eq!(volume.capacity_bytes, GIB);
    assert_eq!(volume.volume_context["encryptInTransit"], "false");
    assert!(bed.access_points(&fs).await.is_empty());
    let files = bed.files(&fs).await;
    let made = files.getattr_path("/dynamic/deep/pvc-1").await.unwrap();
    assert_eq!((made.uid, made.gid, made.file_mode & 0o7777), (1001, 1002, 0o750));

    assert_eq!(volume, bed.create(directory_request("pvc-1", &fs, &owned)).await.unwrap());
    // AWS and the ledger are told nothing of it.
    let refused = bed.create(directory_request("pvc-1", &fs, &owned[..4])).await;
    assert_refused(refused, Code::AlreadyExists, &["encryptInTransit false", "true is asked for"]);
    let other_owner = [
        ("basePath", "/dynamic/deep"),
        ("directoryPerms", "750"),
        ("uid", "7"),
        ("gid", "1002"),
        ("encryptInTransit", "false"),
    ];
    let refused = bed.create(directory_request("pvc-1", &fs, &other_owner)).await;
    assert_refused(refused, Code::AlreadyExists, &["owner 1001:1002", "7:1002"]);
    let taken = [("subPathPattern", "dynamic/deep/pvc-1"), ("ensureUniqueDirectory", "false")];
    let refused = bed.create(directory_request("pvc-2", &fs, &taken)).await;
    assert_refused(refused, Code::AlreadyExists, &["pvc-1", "belongs to"]);

    fill(&*files, "/dynamic/deep/pvc-1").await;
    bed.delete(&volume.volume_id).await.unwrap();
    assert!(files.lookup_path("/dynamic/deep/pvc-1").await.unwrap_err().is_not_found());
    files.lookup_path("/dynamic/deep").await.expect("the base path stays");
    until_gone(&*files).await;
    files.lookup_path("/outside").await.expect("a link's target is not followed");
    bed.delete(&volume.volume_id).await.unwrap();
    files.umount().await.unwrap();
}

/// A directory with files, a subdirectory, and a link to a directory outside.
async fn fill(files: &dyn nfs_rs::Mount, path: &str) {
    files.mkdir_path("/outside", 0o755).await.unwrap();
    files.mkdir_path("/outside/kept", 0o755).await.unwrap();
    files.mkdir_path(&format!("{path}/sub"), 0o755).await.unwrap();
    files.mkdir_path(&format!("{path}/sub/sub"), 0o755).await.unwrap();
    for n in 0..5 {
        let file = files.create_path(&format!("{path}/sub/file-{n}"), Some(0o644)).await.unwrap();
        files.close(file.fh).await.unwrap();
    }
    files.symlink_path("/outside", &format!("{path}/sub/link")).await.unwrap();
}

/// Waits until the trash is empty.
async fn until_gone(files: &dyn nfs_rs::Mount) {
    use futures::StreamExt;
    let empty = async {
        loop {
            let entries: Vec<_> = files.readdirplus_path("/.efs-csi-deleted").await.unwrap().collect().await;
            if entries.iter().all(|entry| entry.as_ref().is_ok_and(|e| e.file_name == "." || e.file_name == "..")) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), empty).await.expect("the trash is emptied");
    files.lookup_path("/outside/kept").await.expect("what a link points to stays");
}

#[tokio::test]
async fn the_root_directory_goes_with_its_access_point_when_asked() {
    for delete_root in [false, true] {
        let bed = bed(delete_root).await;
        let fs = bed.mountable_file_system().await;
        let id = bed.create(request("pvc-1", &fs, &[("basePath", "/base")])).await.unwrap().volume_id;
        let files = bed.files(&fs).await;
        files.mkdir_path("/base", 0o755).await.unwrap();
        files.mkdir_path("/base/pvc-1", 0o700).await.unwrap();
        fill(&*files, "/base/pvc-1").await;
        bed.delete(&id).await.unwrap();
        assert!(bed.access_points(&fs).await.is_empty());
        assert_eq!(files.lookup_path("/base/pvc-1").await.is_err(), delete_root);
        files.lookup_path("/base").await.unwrap();
        if delete_root {
            until_gone(&*files).await;
        }
        files.umount().await.unwrap();
    }
}

/// UB-11 and its kin: what is the whole file system, or what others use, is not removed.
#[tokio::test]
async fn shared_directories_and_the_file_systems_root_are_never_removed() {
    let bed = bed(true).await;
    let fs = bed.mountable_file_system().await;
    let files = bed.files(&fs).await;
    files.mkdir_path("/precious", 0o755).await.unwrap();
    let root = bed.aws.create_access_point().client_token("root").file_system_id(&fs).send().await.unwrap();
    bed.delete(&format!("efs:{fs}::{}", root.access_point_id().unwrap())).await.unwrap();

    let shared = [("subPathPattern", "precious"), ("ensureUniqueDirectory", "false")];
    let made = [("subPathPattern", "made"), ("ensureUniqueDirectory", "false")];
    for (at, parameters, stays) in [("/precious", shared, true), ("/made", made, false)] {
        let first = bed.create(request(&format!("first{at}"), &fs, &parameters)).await.unwrap().volume_id;
        let second = bed.create(request(&format!("second{at}"), &fs, &parameters)).await.unwrap().volume_id;
        files.lookup_path(at).await.expect("it is there with the access point");
        bed.delete(&first).await.unwrap();
        files.lookup_path(at).await.expect("the second one still uses it");
        bed.delete(&second).await.unwrap();
        // Its last user takes it along, unless it was there before the first one.
        assert_eq!(files.lookup_path(at).await.is_ok(), stays, "{at}");
    }
    assert!(bed.access_points(&fs).await.is_empty());
    files.umount().await.unwrap();
}

#[tokio::test]
async fn an_unreachable_file_system_keeps_the_access_point_for_the_next_try() {
    let bed = bed(true).await;
    let fs = bed.file_system(None).await;
    let id = bed.create(request("pvc-1", &fs, &[])).await.unwrap().volume_id;
    assert_refused(bed.delete(&id).await, Code::FailedPrecondition, &["no available mount target", &fs]);
    assert_eq!(bed.access_points(&fs).await.len(), 1);
    let refused = bed.create(directory_request("pvc-2", &fs, &[])).await;
    assert_refused(refused, Code::FailedPrecondition, &["no available mount target"]);
}

/// A controller that starts goes on with what an earlier one left in the trash.
#[tokio::test]
async fn a_restart_resumes_the_purge() {
    let bed = bed(true).await;
    let fs = bed.mountable_file_system().await;
    let files = bed.files(&fs).await;
    files.mkdir_path("/.efs-csi-deleted", 0o700).await.unwrap();
    files.mkdir_path("/.efs-csi-deleted/fsap-01234567-0", 0o700).await.unwrap();
    fill(&*files, "/.efs-csi-deleted/fsap-01234567-0").await;
    let volume = VolumeFacts { handle: format!("efs:{fs}::fsap-89abcdef"), secret: None };
    *bed.cluster.facts.lock().unwrap() = Some(ClusterFacts { classes: vec![], volumes: vec![volume] });
    let (mut fresh, _served) = bed.another_controller().await;
    // What csi-provisioner asks first.
    fresh.controller_get_capabilities(csi_proto::csi::ControllerGetCapabilitiesRequest {}).await.unwrap();
    until_gone(&*files).await;
    files.umount().await.unwrap();
}

/// A deletion was cut off between the move to the trash and the end: the name must be free for a new directory.
#[tokio::test]
async fn a_note_without_its_directory_is_no_volume() {
    let bed = bed(false).await;
    let fs = bed.mountable_file_system().await;
    let volume = bed.create(directory_request("pvc-1", &fs, &[("basePath", "b")])).await.unwrap();
    let files = bed.files(&fs).await;
    files.rename_path("/b/pvc-1", "/moved").await.unwrap();
    let again = bed.create(directory_request("pvc-1", &fs, &[("basePath", "b")])).await.unwrap();
    assert_eq!(again.volume_id, volume.volume_id);
    // Nodes must not take the one for the other.
    assert_ne!(again.volume_context["directoryId"], volume.volume_context["directoryId"]);
    files.lookup_path("/b/pvc-1").await.expect("it was made anew");
    files.umount().await.unwrap();
}

#[tokio::test]
async fn concurrent_directory_volumes_do_not_disturb_each_other() {
    let bed = Arc::new(bed(false).await);
    let fs = bed.mountable_file_system().await;
    let calls = (0..8).map(|n| bed.create(directory_request(&format!("pvc-{}", n % 4), &fs, &[("basePath", "b")])));
    let ids: std::collections::HashSet<String> =
        futures::future::join_all(calls).await.into_iter().map(|volume| volume.unwrap().volume_id).collect();
    assert_eq!(ids.len(), 4);
    for deleted in futures::future::join_all(ids.iter().map(|id| bed.delete(id))).await {
        deleted.unwrap();
    }
    let files = bed.files(&fs).await;
    for n in 0..4 {
        assert!(files.lookup_path(&format!("/b/pvc-{n}")).await.is_err());
    }
    files.umount().await.unwrap();
}

/// All calls for a file system share one session with it. A caller that gives up must not take the session along in the middle of an
/// exchange.
#[tokio::test]
async fn creations_that_are_given_up_disturb_no_other() {
    let bed = bed(false).await;
    let fs = bed.mountable_file_system().await;
    bed.create(directory_request("first", &fs, &[])).await.unwrap();
    for round in 0..6_u64 {
        let given_up = (0..30_u64).map(async |n| {
            let call = bed.create(directory_request(&format!("given-up-{round}-{n}"), &fs, &[]));
            let _may_be_done = tokio::time::timeout(Duration::from_millis(1 + n * (1 + round)), call).await;
        });
        let whole = (0..10).map(|n| bed.create(directory_request(&format!("pvc-{round}-{n}"), &fs, &[])));
        let (_, made) = tokio::join!(futures::future::join_all(given_up), futures::future::join_all(whole));
        for volume in made {
            volume.expect("nobody gave this one up");
        }
    }
}

/// As after a change of leaders, or of a caller that asks again before its first call has ended.
#[tokio::test]
async fn a_volume_that_was_made_twice_and_deleted_at_once_can_be_made_again() {
    let bed = bed(false).await;
    let fs = bed.mountable_file_system().await;
    for n in 0..12_u64 {
        let name = format!("pvc-{n}");
        let create = || bed.create(directory_request(&name, &fs, &[]));
        let id = format!("efs:{fs}:/{name}:");
        let delete = async {
            tokio::time::sleep(Duration::from_millis(n)).await;
            bed.delete(&id).await
        };
        let _any = tokio::join!(create(), create(), delete);
        let mut deleted = bed.delete(&id).await;
        for _ in 0..3 {
            if deleted.as_ref().is_err_and(|status| status.code() == Code::Aborted) {
                deleted = bed.delete(&id).await;
            }
        }
        deleted.unwrap();
        create().await.unwrap_or_else(|status| panic!("{name}: {status:?}"));
    }
}
