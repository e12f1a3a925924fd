//! Volumes that share a directory, or overlap.

use std::time::Duration;

use efs_csi_driver::controller::cluster::{ClusterFacts, VolumeFacts};
use fake_efs::faults::{Effect, Rule};
use tonic::Code;

use super::{Deleting, directory, is_there, point, precious};
use crate::support::{Bed, assert_refused, claimant, request};

/// Puts down what an earlier driver notes of a volume.
async fn note(files: &dyn nfs_rs::Mount, name: &str, at: &str) {
    use sha2::{Digest, Sha256};
    let note = serde_json::json!({
        "name": name, "path": at, "uid": 0, "gid": 0, "permissions": "700", "capacity": 42,
    });
    for (kind, of) in [("path", at), ("name", name)] {
        let file = format!("/.efs-csi-volumes/{kind}-{}", hex::encode(Sha256::digest(of)));
        let file = files.create_path(&file, Some(0o600)).await.unwrap();
        files.write(file.fh.clone(), 0, note.to_string().into_bytes().into()).await.unwrap();
        files.close(file.fh).await.unwrap();
    }
}

/// An earlier driver is still at work during an upgrade: what it makes is a volume for the next one as soon as it is noted.
#[tokio::test]
async fn a_volume_that_an_earlier_driver_makes_meanwhile_is_deleted_like_others() {
    let Deleting { bed, fs, files } = Deleting::new().await;
    bed.create(directory("pvc-1", &fs, "/pvc-1")).await.unwrap();
    precious(&*files, "/pvc-2").await;
    note(&*files, "pvc-2", "/pvc-2").await;
    bed.delete(&format!("efs:{fs}:/pvc-2:")).await.unwrap();
    assert!(!is_there(&*files, "/pvc-2").await);
    files.umount().await.unwrap();
}

/// An access point of the usual class makes no claim of its own; it is refused in a directory that a volume has.
#[tokio::test]
async fn an_access_point_is_not_made_in_a_directory_volume() {
    let Deleting { bed, fs, .. } = Deleting::new().await;
    bed.create(directory("outer", &fs, "/team")).await.unwrap();
    let inside = request("inner", &fs, &[("basePath", "/team")]);
    assert_refused(bed.create(inside).await, Code::AlreadyExists, &["/team", "outer", "inside"]);
    assert!(bed.access_points(&fs).await.is_empty());
}

/// Notes of an earlier driver, which let volumes overlap. Both are volumes, and both can be deleted, whichever comes first.
#[tokio::test]
async fn overlapping_volumes_of_an_earlier_driver_are_volumes() {
    let Deleting { bed, fs, files } = Deleting::new().await;
    precious(&*files, "/team/app").await;
    files.mkdir_path("/.efs-csi-volumes", 0o700).await.unwrap();
    for (name, at) in [("team", "/team"), ("app", "/team/app")] {
        note(&*files, name, at).await;
    }
    let handles = [format!("efs:{fs}:/team:"), format!("efs:{fs}:/team/app:")];
    let facts = handles.iter().map(|handle| VolumeFacts { handle: handle.clone(), secret: None }).collect();
    *bed.cluster.facts.lock().unwrap() = Some(ClusterFacts { classes: vec![], volumes: facts });
    let mut abnormal = 0;
    for handle in &handles {
        let asked = csi_proto::csi::ControllerGetVolumeRequest { volume_id: handle.clone() };
        let found = bed.csi.clone().controller_get_volume(asked).await.unwrap().into_inner();
        assert_eq!(found.volume.unwrap().capacity_bytes, 42);
        abnormal += usize::from(found.status.unwrap().volume_condition.unwrap().abnormal);
    }
    assert_eq!(abnormal, 1, "one of them is told to be where the other is");
    let listed =
        bed.csi.clone().list_volumes(csi_proto::csi::ListVolumesRequest::default()).await.unwrap().into_inner();
    let listed: Vec<String> = listed.entries.into_iter().filter_map(|it| it.volume).map(|it| it.volume_id).collect();
    assert!(handles.iter().all(|handle| listed.contains(handle)), "{listed:?}");
    files.umount().await.unwrap();
}

/// A directory that was made for volumes and stays because an administrator uses it is not theirs any more: the next volume there finds it as one
/// that was there before.
#[tokio::test]
async fn a_shared_directory_that_stayed_for_somebody_else_is_not_inherited() {
    let Deleting { bed, fs, files } = Deleting::new().await;
    for (n, by_access_point) in [true, false].into_iter().enumerate() {
        let at = format!("/shared-{n}");
        let first = bed.create(point(&format!("first-{n}"), &fs, &at)).await.unwrap().volume_id;
        let second = bed.create(point(&format!("second-{n}"), &fs, &at)).await.unwrap().volume_id;
        bed.delete(&first).await.unwrap();
        let foreign = match by_access_point {
            true => {
                let root = aws_sdk_efs::types::RootDirectory::builder().path(&at).build();
                let made = bed.aws.create_access_point().client_token("admin").file_system_id(&fs).root_directory(root);
                made.send().await.unwrap().access_point_id().map(str::to_owned)
            }
            false => {
                let theirs = vec![claimant("static", &format!("{fs}:{at}"), false)];
                *bed.cluster.claimants.lock().unwrap() = Some(theirs);
                None
            }
        };
        bed.delete(&second).await.unwrap();
        precious(&*files, &at).await;
        let third = bed.create(point(&format!("third-{n}"), &fs, &at)).await.unwrap().volume_id;
        if let Some(id) = foreign {
            bed.aws.delete_access_point().access_point_id(id).send().await.unwrap();
        }
        *bed.cluster.claimants.lock().unwrap() = None;
        bed.delete(&third).await.unwrap();
        assert!(is_there(&*files, &at).await, "the administrator's file");
    }
    files.umount().await.unwrap();
}

/// A claim of access points keeps a directory for nobody when they are all gone, deleted by hand or by a driver that keeps directories.
#[tokio::test]
async fn a_directory_is_not_kept_for_access_points_that_are_gone() {
    let Deleting { bed, fs, files } = Deleting::new().await;
    let id = bed.create(point("pvc-1", &fs, "/shared")).await.unwrap().volume_id;
    precious(&*files, "/shared").await;
    let gone = bed.aws.delete_access_point().access_point_id(id.rsplit(':').next().unwrap());
    gone.send().await.unwrap();
    assert_refused(bed.create(directory("pvc-2", &fs, "/shared")).await, Code::AlreadyExists, &["pvc-1"]);
    // For a minute it may still be on its way; the model has what comes then.
    assert_refused(bed.create(point("pvc-3", &fs, "/shared")).await, Code::Aborted, &["pvc-1", "not there yet"]);
    assert!(is_there(&*files, "/shared").await);
    files.umount().await.unwrap();
}

/// CreateVolume at `/shared`, repeated as csi-provisioner does.
async fn patiently(bed: &Bed, name: &str, fs: &str) -> String {
    loop {
        match bed.create(point(name, fs, "/shared")).await {
            Ok(made) => return made.volume_id,
            Err(status) => assert_eq!(status.code(), Code::Aborted, "{status:?}"),
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// One volume's creation is refused late, when another one shares its directory.
#[tokio::test]
async fn a_late_refusal_leaves_the_directory_to_who_shares_it() {
    let Deleting { bed, fs, files } = Deleting::new().await;
    let mut rule = Rule::on("CreateAccessPoint", Effect::Throttle);
    rule.resource = Some("pvc-a".into());
    bed.fake.faults().add(rule).unwrap();
    let late = async {
        while files.lookup_path("/shared").await.is_err() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        patiently(&bed, "pvc-b", &fs).await;
        files.getattr_path("/shared").await.map(|it| it.fileid).unwrap()
    };
    let (refused, before) = tokio::join!(bed.create(point("pvc-a", &fs, "/shared")), late);
    assert!(refused.is_err());
    assert_eq!(files.getattr_path("/shared").await.map(|it| it.fileid).ok(), Some(before));
    files.umount().await.unwrap();
}

/// A namespace is deleted: the last two volumes that share a directory go at once. It was made for the first of them.
#[tokio::test]
async fn the_last_two_that_share_a_directory_take_it_along() {
    let Deleting { bed, fs, files } = Deleting::new().await;
    // One may be told to come again, as long as the other one's access point is not there.
    bed.fake.faults().add(Rule::on("CreateAccessPoint", Effect::Delay { milliseconds: 200 }).times(2)).unwrap();
    let (a, b) = tokio::join!(patiently(&bed, "pvc-a", &fs), patiently(&bed, "pvc-b", &fs));
    precious(&*files, "/shared").await;
    bed.delete(&a).await.unwrap();
    assert!(is_there(&*files, "/shared").await);
    bed.delete(&b).await.unwrap();
    assert!(!is_there(&*files, "/shared").await);
    let a = bed.create(point("pvc-c", &fs, "/other")).await.unwrap().volume_id;
    let b = bed.create(point("pvc-d", &fs, "/other")).await.unwrap().volume_id;
    precious(&*files, "/other").await;
    bed.fake.faults().add(Rule::on("DeleteAccessPoint", Effect::Delay { milliseconds: 300 })).unwrap();
    let (first, second) = tokio::join!(bed.delete(&a), bed.delete(&b));
    first.unwrap();
    second.unwrap();
    assert!(!is_there(&*files, "/other").await);
    files.umount().await.unwrap();
}
