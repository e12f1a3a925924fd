//! What a creation makes, and what it leaves behind when it fails.

use fake_efs::faults::{Effect, Rule};
use tonic::Code;

use super::{Deleting, denied, directory, is_there, point, precious};
use crate::support::{assert_refused, request};

/// 100 callers of csi-provisioner at once, against 64 connections of a tunnel.
#[tokio::test]
async fn a_hundred_at_once_share_a_session_and_its_credentials() {
    let Deleting { bed, fs, .. } = Deleting::new().await;
    let calls = (0..100).map(|n| bed.create(directory(&format!("pvc-{n}"), &fs, &format!("/dynamic/pvc-{n}"))));
    let made: Vec<_> = futures::future::join_all(calls).await.into_iter().map(|it| it.unwrap().volume_id).collect();
    let points = (0..100).map(|n| bed.create(request(&format!("point-{n}"), &fs, &[("basePath", "/points")])));
    let points: Vec<_> = futures::future::join_all(points).await.into_iter().map(|it| it.unwrap().volume_id).collect();
    for deleted in futures::future::join_all(made.iter().chain(&points).map(|id| bed.delete(id))).await {
        deleted.unwrap();
    }
    assert!(bed.access_points(&fs).await.is_empty());
    assert!(bed.fake.files().connections().list().len() <= 2, "one session, and that of this test");
}

/// A creation that AWS refuses leaves no directory behind that a later volume would take for somebody else's.
#[tokio::test]
async fn a_refused_creation_leaves_no_directory() {
    let Deleting { bed, fs, files } = Deleting::new().await;
    let rule = bed.fake.faults().add(Rule::on("CreateAccessPoint", denied())).unwrap();
    assert_refused(bed.create(point("pvc-1", &fs, "/shared")).await, Code::PermissionDenied, &["CreateAccessPoint"]);
    assert!(files.lookup_path("/shared").await.is_err());
    bed.fake.faults().remove(rule);
    let id = bed.create(point("pvc-1", &fs, "/shared")).await.unwrap().volume_id;
    precious(&*files, "/shared").await;
    bed.delete(&id).await.unwrap();
    assert!(!is_there(&*files, "/shared").await, "made for the volume, it goes with it");
    files.umount().await.unwrap();
}

/// EFS takes no names of 128 characters or with a dot in front, so their hashes stand for them.
#[tokio::test]
async fn a_name_that_is_the_hash_of_another_one_is_another_volume() {
    use sha2::{Digest, Sha256};
    let Deleting { bed, fs, .. } = Deleting::new().await;
    for name in ["x".repeat(128), ".h".to_owned(), "café".to_owned()] {
        let hash = hex::encode(Sha256::digest(&name));
        let first = bed.create(request(&name, &fs, &[])).await.unwrap().volume_id;
        let second = bed.create(request(&hash, &fs, &[])).await.unwrap().volume_id;
        assert_ne!(first, second, "{name}");
    }
    let points = bed.access_points(&fs).await;
    let roots: std::collections::BTreeSet<_> =
        points.iter().map(|it| it.root_directory().unwrap().path().unwrap().to_owned()).collect();
    assert_eq!((points.len(), roots.len()), (6, 6));
}

/// An administrator removes the driver's folders while it runs.
#[tokio::test]
async fn a_ledger_that_is_taken_away_is_made_anew() {
    let Deleting { bed, fs, files } = Deleting::new().await;
    bed.create(directory("pvc-1", &fs, "/a")).await.unwrap();
    files.rename_path("/.efs-csi-volumes", "/away").await.unwrap();
    // Removed for good: the handles that the session remembers are stale.
    for folder in ["tree/a", "tree", "making", "released"] {
        drop(files.remove_path(&format!("/away/{folder}")).await);
    }
    let mut made = Err(tonic::Status::internal("not tried"));
    for _ in 0..3 {
        made = bed.create(directory("pvc-2", &fs, "/b")).await;
        if made.is_ok() {
            break;
        }
    }
    made.unwrap();
    files.umount().await.unwrap();
}

/// AWS has made the access point, its answer was lost, and the attempt after it is told that the access point exists.
#[tokio::test]
async fn a_lost_answer_does_not_make_a_directory_the_volumes_own() {
    let Deleting { bed, fs, files } = Deleting::new().await;
    precious(&*files, "/base/pvc-1").await;
    bed.fake.faults().add(Rule::on("CreateAccessPoint", Effect::DropAfter).times(1)).unwrap();
    let id = bed.create(request("pvc-1", &fs, &[("basePath", "/base")])).await.unwrap().volume_id;
    bed.delete(&id).await.unwrap();
    assert!(is_there(&*files, "/base/pvc-1").await);
    files.umount().await.unwrap();
}

/// One name is one volume, of whatever kind and wherever.
#[tokio::test]
async fn a_name_gives_no_second_volume_of_another_kind_or_elsewhere() {
    let Deleting { bed, fs, .. } = Deleting::new().await;
    let other = bed.mountable_file_system().await;
    let id = bed.create(directory("pvc-1", &fs, "/a")).await.unwrap().volume_id;
    for (asked, word) in [
        (directory("pvc-1", &other, "/a"), other.as_str()),
        (request("pvc-1", &fs, &[]), "provisioningMode efs-dir, but efs-ap"),
    ] {
        assert_refused(bed.create(asked).await, Code::AlreadyExists, &[&id, word]);
    }
    assert!(bed.access_points(&fs).await.is_empty());
    assert_eq!(bed.create(directory("pvc-1", &fs, "/a")).await.unwrap().volume_id, id);
    bed.delete(&id).await.unwrap();
    let point = bed.create(request("pvc-1", &fs, &[])).await.unwrap().volume_id;
    assert_refused(bed.create(directory("pvc-1", &fs, "/b")).await, Code::AlreadyExists, &[&point]);
}
