//! What goes with a volume that is deleted, and what stays.

use std::sync::Arc;
use std::time::Duration;

use efs_csi_driver::controller::cluster::Claimant;
use efs_csi_driver::controller::uses::Used;
use fake_efs::faults::{Effect, Rule};
use tonic::Code;

use super::{Deleting, denied, directory, in_trash, is_there, precious};
use crate::support::{Bed, assert_refused, claimant, request};

/// Found by people who didn't write it: a copy of a PersistentVolume shares the volume with another namespace.
#[tokio::test]
async fn a_copy_of_a_persistent_volume_keeps_the_volume() {
    let Deleting { bed, fs, files } = Deleting::new().await;
    let volumes = [("pvc-1", request("pvc-1", &fs, &[])), ("pvc-2", directory("pvc-2", &fs, "/pvc-2"))];
    for (name, asked) in volumes {
        let id = bed.create(asked).await.unwrap().volume_id;
        precious(&*files, &format!("/{name}")).await;
        let copied = vec![claimant(name, &id, true), claimant("copy", &id, false)];
        *bed.cluster.claimants.lock().unwrap() = Some(copied);
        bed.delete(&id).await.unwrap();
        assert!(is_there(&*files, &format!("/{name}")).await, "{name}");
    }
    assert_eq!(bed.access_points(&fs).await.len(), 1);
    files.umount().await.unwrap();
}

/// Also where it bears the volume's own name.
#[tokio::test]
async fn a_directory_that_was_there_before_stays_whatever_its_name() {
    let Deleting { bed, fs, files } = Deleting::new().await;
    precious(&*files, "/base/pvc-1").await;
    let asked = || request("pvc-1", &fs, &[("basePath", "/base")]);
    let id = bed.create(asked()).await.unwrap().volume_id;
    assert_eq!(bed.create(asked()).await.unwrap().volume_id, id);
    bed.delete(&id).await.unwrap();
    assert!(is_there(&*files, "/base/pvc-1").await);
    // The note went with the access point, so that somebody else may have it.
    let mut adopting = directory("other", &fs, "/base/pvc-1");
    adopting.parameters.insert("adoptDirectory".into(), "true".into());
    bed.create(adopting).await.unwrap();
    // What the volume itself has made its pods' files in, goes with it, however often CreateVolume was repeated.
    let asked = || request("pvc-2", &fs, &[("basePath", "/base")]);
    let id = bed.create(asked()).await.unwrap().volume_id;
    precious(&*files, "/base/pvc-2").await;
    assert_eq!(bed.create(asked()).await.unwrap().volume_id, id);
    bed.delete(&id).await.unwrap();
    assert!(!is_there(&*files, "/base/pvc-2").await);
    files.umount().await.unwrap();
}

/// The handle of a directory volume is its path. Only as CreateVolume writes it, it is one.
#[tokio::test]
async fn other_spellings_of_a_handle_delete_nothing() {
    let Deleting { bed, fs, files } = Deleting::new().await;
    let id = bed.create(directory("pvc-1", &fs, "/a/vol")).await.unwrap().volume_id;
    precious(&*files, "/a/vol").await;
    for path in ["/a/../a/vol:", "/a//vol:", "a/vol:", "/a/./vol:", "/a/vol/:", "/a/vol"] {
        bed.delete(&format!("efs:{fs}:{path}")).await.unwrap();
        assert!(is_there(&*files, "/a/vol").await, "{path}");
    }
    bed.delete(&id).await.unwrap();
    assert!(!is_there(&*files, "/a/vol").await);
    files.umount().await.unwrap();
}

/// Nobody has to call again: what has been in the trash for its time is removed.
#[tokio::test]
async fn the_trash_empties_itself_when_its_time_has_come() {
    let Deleting { bed, fs, files } = Deleting::keeping_for(Duration::from_secs(4)).await;
    let volumes = [
        bed.create(directory("pvc-1", &fs, "/pvc-1")).await.unwrap().volume_id,
        bed.create(request("pvc-2", &fs, &[])).await.unwrap().volume_id,
    ];
    precious(&*files, "/pvc-1").await;
    precious(&*files, "/pvc-2").await;
    for id in &volumes {
        bed.delete(id).await.unwrap();
    }
    let waiting = || async { in_trash(&*files).await.iter().filter(|name| !name.starts_with('.')).count() };
    assert!(waiting().await >= 2, "deleted directories stay for a while");
    let begin = std::time::Instant::now();
    while waiting().await > 0 {
        assert!(begin.elapsed() < Duration::from_secs(30), "the trash is not emptied");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    files.umount().await.unwrap();
}

/// Both replicas of the controller are called for one deletion, as after a change of leader.
#[tokio::test]
async fn two_deletions_of_one_volume_at_once_leave_one_entry_that_can_be_restored() {
    let Deleting { bed, fs, files } = Deleting::new().await;
    let (other, _served) = bed.another_controller().await;
    for n in 0..20 {
        let (name, at) = (format!("pvc-{n}"), format!("/pvc-{n}"));
        let asked = if n % 2 == 0 { directory(&name, &fs, &at) } else { request(&name, &fs, &[]) };
        let id = bed.create(asked).await.unwrap().volume_id;
        precious(&*files, &at).await;
        let mut other = other.clone();
        let again = csi_proto::csi::DeleteVolumeRequest { volume_id: id.clone(), ..Default::default() };
        let (first, second) = tokio::join!(bed.delete(&id), other.delete_volume(again.clone()));
        // One of them may be told to come again; both are done when it has.
        if first.is_err() {
            bed.delete(&id).await.unwrap();
        }
        if second.is_err() {
            other.delete_volume(again).await.unwrap();
        }
        assert!(!is_there(&*files, &at).await);
        let names = in_trash(&*files).await;
        let notes: Vec<&str> = names.iter().filter_map(|name| name.strip_suffix(".note")).collect();
        assert_eq!(notes.len(), n + 1, "{names:?}");
        for note in notes {
            assert!(is_there(&*files, &format!("/.efs-csi-deleted/{note}")).await, "{note} of {names:?}");
        }
    }
    files.umount().await.unwrap();
}

/// A PersistentVolume may name its access point in its mount options, or a directory below another access point's root, or it may be one of
/// Kubernetes' own NFS volumes: it uses the volume like any other.
#[tokio::test]
async fn persistent_volumes_use_more_than_their_handles_say() {
    let Deleting { bed, fs, files } = Deleting::new().await;
    let root = aws_sdk_efs::types::RootDirectory::builder().path("/").build();
    let whole = bed.aws.create_access_point().client_token("whole").file_system_id(&fs).root_directory(root);
    let whole = whole.send().await.unwrap().access_point_id().unwrap().to_owned();
    let csi = |handle: String| serde_json::json!({"driver": "efs.csi.aws.com", "volumeHandle": handle});
    let nfs = |path: &str| serde_json::json!({"server": format!("{fs}.efs.us-east-1.amazonaws.com"), "path": path});
    let at = bed.create(directory("pvc-dir", &fs, "/pvc-dir")).await.unwrap().volume_id;
    let is_used_as = |spec: serde_json::Value| {
        let uses = Used::of_volume(&serde_json::from_value(spec).unwrap());
        assert!(uses.is_some());
        let theirs = Claimant { uses, ..claimant("theirs", "", false) };
        *bed.cluster.claimants.lock().unwrap() = Some(vec![claimant("pvc-dir", &at, true), theirs]);
    };
    precious(&*files, "/pvc-dir").await;
    for used in [
        serde_json::json!({"csi": csi(format!("{fs}:/pvc-dir:{whole}"))}),
        serde_json::json!({"nfs": nfs("/pvc-dir/below")}),
    ] {
        is_used_as(used);
        assert_refused(bed.delete(&at).await, Code::FailedPrecondition, &["/pvc-dir", "\"theirs\""]);
        assert!(is_there(&*files, "/pvc-dir").await);
    }

    let id = bed.create(request("pvc-1", &fs, &[])).await.unwrap().volume_id;
    let point = id.rsplit(':').next().unwrap();
    is_used_as(serde_json::json!({"csi": csi(fs.clone()), "mountOptions": ["tls", format!("accesspoint={point}")]}));
    bed.delete(&id).await.unwrap();
    assert_eq!(bed.access_points(&fs).await.len(), 2, "the access point is in use");
    // The access point goes, the directory stays.
    for (n, at) in [("2", csi(format!("{fs}:/pvc-2/below:{whole}"))), ("3", csi(format!("{fs}:/pvc-3")))] {
        let id = bed.create(request(&format!("pvc-{n}"), &fs, &[])).await.unwrap().volume_id;
        precious(&*files, &format!("/pvc-{n}")).await;
        is_used_as(serde_json::json!({"csi": at}));
        bed.delete(&id).await.unwrap();
        assert!(is_there(&*files, &format!("/pvc-{n}")).await, "pvc-{n}");
        assert_eq!(bed.access_points(&fs).await.len(), 2);
    }
    *bed.cluster.claimants.lock().unwrap() = Some(vec![claimant("pvc-dir", &at, true), claimant("pvc-1", &id, true)]);
    bed.delete(&at).await.unwrap();
    bed.delete(&id).await.unwrap();
    assert_eq!(bed.access_points(&fs).await.len(), 1);
    assert!(!is_there(&*files, "/pvc-dir").await);
    files.umount().await.unwrap();
}

/// A deletion is cut off before AWS has deleted the access point. The volume is kept after all, and later somebody deletes the access point alone.
#[tokio::test]
async fn an_intent_that_nobody_goes_on_with_deletes_nothing() {
    let Deleting { bed, fs, files } = Deleting::keeping_for(Duration::ZERO).await;
    let id = bed.create(request("pvc-1", &fs, &[])).await.unwrap().volume_id;
    precious(&*files, "/pvc-1").await;
    let failed = Effect::Error { name: "InternalServerError".into(), status: Some(500), message: None };
    let rule = bed.fake.faults().add(Rule::on("DeleteAccessPoint", failed)).unwrap();
    assert_refused(bed.delete(&id).await, Code::Unavailable, &["DeleteAccessPoint"]);
    bed.fake.faults().remove(rule);
    let point = id.rsplit(':').next().unwrap();
    bed.aws.delete_access_point().access_point_id(point).send().await.unwrap();
    // Whatever makes controllers look at the trash.
    let other = bed.create(request("pvc-2", &fs, &[])).await.unwrap().volume_id;
    precious(&*files, "/pvc-2").await;
    bed.delete(&other).await.unwrap();
    let (mut fresh, _served) = bed.another_controller().await;
    fresh.controller_get_capabilities(csi_proto::csi::ControllerGetCapabilitiesRequest {}).await.unwrap();
    for _ in 0..30 {
        assert!(is_there(&*files, "/pvc-1").await);
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    // DeleteVolume goes on with it.
    bed.delete(&id).await.unwrap();
    assert!(!is_there(&*files, "/pvc-1").await);
    files.umount().await.unwrap();
}

/// A copy of the PersistentVolume comes while AWS is deleting the access point.
#[tokio::test]
async fn a_copy_that_comes_during_the_deletion_keeps_the_directory() {
    let Deleting { bed, fs, files } = Deleting::new().await;
    let bed = Arc::new(bed);
    let id = bed.create(request("pvc-1", &fs, &[])).await.unwrap().volume_id;
    precious(&*files, "/pvc-1").await;
    *bed.cluster.claimants.lock().unwrap() = Some(vec![claimant("pvc-1", &id, true)]);
    let slow = Effect::Delay { milliseconds: 1500 };
    bed.fake.faults().add(Rule::on("DeleteAccessPoint", slow)).unwrap();
    let deleting = {
        let (bed, id) = (Arc::clone(&bed), id.clone());
        tokio::spawn(async move { bed.delete(&id).await })
    };
    // The intent is noted just before AWS is asked.
    while files.lookup_path("/.efs-csi-deleted").await.is_err() || in_trash(&*files).await.is_empty() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    *bed.cluster.claimants.lock().unwrap() = Some(vec![claimant("pvc-1", &id, true), claimant("copy", &id, false)]);
    deleting.await.unwrap().unwrap();
    assert!(is_there(&*files, "/pvc-1").await);
    files.umount().await.unwrap();
}

/// An administrator's access point may carry the driver's tag, and a directory's name end with a UUID.
#[tokio::test]
async fn a_uuid_at_the_end_of_a_name_tells_nothing() {
    let Deleting { bed, fs, files } = Deleting::new().await;
    let at = "/backup-0f8fad5b-d9cb-469f-a165-70867728950e";
    precious(&*files, at).await;
    let tag = aws_sdk_efs::types::Tag::builder().key("efs.csi.aws.com/cluster").value("true").build().unwrap();
    let root = aws_sdk_efs::types::RootDirectory::builder().path(at).build();
    let made = bed.aws.create_access_point().client_token("backup").file_system_id(&fs).root_directory(root).tags(tag);
    let id = made.send().await.unwrap().access_point_id().unwrap().to_owned();
    bed.delete(&format!("efs:{fs}::{id}")).await.unwrap();
    assert!(is_there(&*files, at).await);
    files.umount().await.unwrap();
}

/// A call for an earlier volume at the path comes late: its PersistentVolume is gone, and that of the next volume is not stored yet.
#[tokio::test]
async fn a_late_deletion_waits_until_the_next_volume_is_stored() {
    let Deleting { bed, fs, files } = Deleting::new().await;
    let id = bed.create(directory("pvc-2", &fs, "/data")).await.unwrap().volume_id;
    precious(&*files, "/data").await;
    *bed.cluster.claimants.lock().unwrap() = Some(vec![]);
    assert_refused(bed.delete(&id).await, Code::Aborted, &["pvc-2", "not stored yet"]);
    *bed.cluster.claimants.lock().unwrap() = Some(vec![claimant("pvc-2", &id, false)]);
    bed.delete(&id).await.unwrap();
    assert!(is_there(&*files, "/data").await);
    files.umount().await.unwrap();
}

/// AWS deletes the access point, its answer is lost, and the attempt after it is refused.
async fn delete_and_lose_the_answer(bed: &Bed, id: &str) {
    bed.fake.faults().add(Rule::on("DeleteAccessPoint", Effect::DropAfter).times(1)).unwrap();
    let rule = bed.fake.faults().add(Rule::on("DeleteAccessPoint", denied())).unwrap();
    assert_refused(bed.delete(id).await, Code::Unavailable, &["DeleteAccessPoint"]);
    bed.fake.faults().remove(rule);
}

#[tokio::test]
async fn a_refusal_after_a_lost_deletion_does_not_end_it() {
    let Deleting { bed, fs, files } = Deleting::new().await;
    let id = bed.create(request("pvc-1", &fs, &[])).await.unwrap().volume_id;
    precious(&*files, "/pvc-1").await;
    delete_and_lose_the_answer(&bed, &id).await;
    bed.delete(&id).await.unwrap();
    assert!(!is_there(&*files, "/pvc-1").await);
    files.umount().await.unwrap();
}

/// A deletion is cut off behind AWS's part. Before anybody goes on with it, a directory volume adopts the directory.
#[tokio::test]
async fn a_directory_with_a_new_owner_survives_the_rest_of_a_deletion() {
    let Deleting { bed, fs, files } = Deleting::new().await;
    let id = bed.create(request("pvc-1", &fs, &[])).await.unwrap().volume_id;
    precious(&*files, "/pvc-1").await;
    delete_and_lose_the_answer(&bed, &id).await;
    let mut adoption = directory("pvc-2", &fs, "/pvc-1");
    adoption.parameters.insert("adoptDirectory".to_owned(), "true".to_owned());
    // The controller that was cut off still knows the access point; its successor asks AWS.
    let (mut fresh, _served) = bed.another_controller().await;
    fresh.create_volume(adoption).await.unwrap();
    bed.delete(&id).await.unwrap();
    assert!(is_there(&*files, "/pvc-1").await, "it is the directory volume's");
    files.umount().await.unwrap();
}

/// The first call says that what has the directory's name now stays, and is refused by AWS. The second one must say so, too.
#[tokio::test]
async fn what_a_refused_deletion_says_to_stay_stays() {
    let Deleting { bed, fs, files } = Deleting::new().await;
    let parameters = [
        ("basePath", "/base"),
        ("subPathPattern", "${.PV.name}"),
        ("ensureUniqueDirectory", "false"),
        ("csi.storage.k8s.io/pv/name", "pvc-1"),
    ];
    let id = bed.create(request("pvc-1", &fs, &parameters)).await.unwrap().volume_id;
    files.rename_path("/base/pvc-1", "/base/away").await.unwrap();
    precious(&*files, "/base/pvc-1").await;
    let rule = bed.fake.faults().add(Rule::on("DeleteAccessPoint", denied())).unwrap();
    assert_refused(bed.delete(&id).await, Code::PermissionDenied, &["DeleteAccessPoint"]);
    bed.fake.faults().remove(rule);
    bed.delete(&id).await.unwrap();
    assert!(is_there(&*files, "/base/pvc-1").await);
    files.umount().await.unwrap();
}
