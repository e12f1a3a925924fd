//! Eleven ways in which data of others was lost or shown, each tried against the driver as it was when it happened. The numbers are those
//! of the report.

use std::sync::Arc;
use std::time::Duration;

use efs_csi_driver::config::ControllerConfig;
use efs_csi_driver::controller::cluster::{Claimant, ClusterFacts, VolumeFacts};
use efs_csi_driver::controller::uses::Used;
use fake_efs::faults::{Effect, Rule};
use futures::TryStreamExt as _;
use tonic::Code;

use crate::support::{Bed, assert_refused, claimant, config, request};

/// A bed on which root directories are deleted, and deleted directories stay in the trash.
async fn bed() -> Bed {
    let trash_retention = Duration::from_secs(3600);
    Bed::with_files(ControllerConfig { delete_root_directory: true, trash_retention, ..config() }).await
}

fn directory(name: &str, fs: &str, at: &str) -> csi_proto::csi::CreateVolumeRequest {
    let parameters = [("provisioningMode", "efs-dir"), ("subPathPattern", at), ("ensureUniqueDirectory", "false")];
    request(name, fs, &parameters)
}

fn point(name: &str, fs: &str, at: &str) -> csi_proto::csi::CreateVolumeRequest {
    request(name, fs, &[("subPathPattern", at), ("ensureUniqueDirectory", "false")])
}

/// Makes a directory with those around it, and a file in it.
async fn precious(files: &dyn nfs_rs::Mount, at: &str) {
    let mut path = String::new();
    for part in at.split('/').filter(|part| !part.is_empty()) {
        path = format!("{path}/{part}");
        drop(files.mkdir_path(&path, 0o755).await);
    }
    let file = files.create_path(&format!("{at}/precious"), Some(0o644)).await.unwrap();
    files.close(file.fh).await.unwrap();
}

async fn is_there(files: &dyn nfs_rs::Mount, at: &str) -> bool {
    files.lookup_path(&format!("{at}/precious")).await.is_ok()
}

/// The names in the trash.
async fn in_trash(files: &dyn nfs_rs::Mount) -> Vec<String> {
    let listed = files.readdir_path("/.efs-csi-deleted").await.unwrap();
    listed.map_ok(|entry| entry.file_name).try_collect().await.unwrap()
}

#[tokio::test]
async fn row_1_a_volume_inside_another_one() {
    let bed = bed().await;
    let fs = bed.mountable_file_system().await;
    let files = bed.files(&fs).await;
    let outer = bed.create(directory("outer", &fs, "/team")).await.unwrap().volume_id;
    for inner in [directory("inner", &fs, "/team/app"), point("inner-point", &fs, "/team/app")] {
        assert_refused(bed.create(inner).await, Code::AlreadyExists, &["/team/app", "outer", "inside"]);
    }
    assert_refused(bed.create(directory("around", &fs, "/")).await, Code::InvalidArgument, &["root"]);
    // An administrator's access point comes all the same.
    precious(&*files, "/team/app").await;
    let root = aws_sdk_efs::types::RootDirectory::builder().path("/team/app").build();
    let foreign = bed.aws.create_access_point().client_token("x").file_system_id(&fs).root_directory(root);
    let foreign = foreign.send().await.unwrap().access_point_id().unwrap().to_owned();
    assert_refused(bed.delete(&outer).await, Code::FailedPrecondition, &["/team", &foreign]);
    assert!(is_there(&*files, "/team/app").await);
    bed.aws.delete_access_point().access_point_id(foreign).send().await.unwrap();
    // What a static PersistentVolume names, is used too.
    let inside = claimant("static", &format!("{fs}:/team/app"), false);
    *bed.cluster.claimants.lock().unwrap() = Some(vec![claimant("outer", &outer, true), inside]);
    assert_refused(bed.delete(&outer).await, Code::FailedPrecondition, &["/team/app"]);
    *bed.cluster.claimants.lock().unwrap() = None;
    bed.delete(&outer).await.unwrap();
    assert!(files.lookup_path("/team").await.is_err());
    files.umount().await.unwrap();
}

#[tokio::test]
async fn row_2_a_directory_volume_inside_an_access_points_root() {
    let bed = bed().await;
    let fs = bed.mountable_file_system().await;
    let files = bed.files(&fs).await;
    let outer = bed.create(point("outer", &fs, "/team")).await.unwrap().volume_id;
    assert_refused(bed.create(directory("inner", &fs, "/team/app")).await, Code::AlreadyExists, &["/team"]);
    precious(&*files, "/team").await;
    bed.delete(&outer).await.unwrap();
    assert!(files.lookup_path("/team").await.is_err(), "made for the volume, it goes with it");
    files.umount().await.unwrap();
}

#[tokio::test]
async fn row_3_the_base_path_is_nobodys_to_delete() {
    let bed = bed().await;
    let fs = bed.mountable_file_system().await;
    let files = bed.files(&fs).await;
    precious(&*files, "/base/others").await;
    for (n, pattern) in ["/", "", ".", "//"].into_iter().enumerate() {
        let parameters = [("basePath", "/base"), ("subPathPattern", pattern), ("ensureUniqueDirectory", "false")];
        let id = bed.create(request(&format!("pvc-{n}"), &fs, &parameters)).await.unwrap().volume_id;
        bed.delete(&id).await.unwrap();
        assert!(is_there(&*files, "/base/others").await, "{pattern:?}");
        let of_directory = [&[("provisioningMode", "efs-dir")], parameters.as_slice()].concat();
        let refused = bed.create(request(&format!("dir-{n}"), &fs, &of_directory)).await;
        assert_refused(refused, Code::InvalidArgument, &["base path"]);
    }
    files.umount().await.unwrap();
}

#[tokio::test]
async fn row_4_an_access_point_that_an_administrator_made_on_a_volumes_directory() {
    let bed = bed().await;
    let fs = bed.mountable_file_system().await;
    let files = bed.files(&fs).await;
    for (n, below) in ["", "/below"].into_iter().enumerate() {
        let name = format!("pvc-{n}");
        let id = bed.create(request(&name, &fs, &[("basePath", "/base")])).await.unwrap().volume_id;
        let at = format!("/base/{name}{below}");
        precious(&*files, &at).await;
        let root = aws_sdk_efs::types::RootDirectory::builder().path(&at).build();
        let token = format!("foreign-{n}");
        bed.aws
            .create_access_point()
            .client_token(token)
            .file_system_id(&fs)
            .root_directory(root)
            .send()
            .await
            .unwrap();
        bed.delete(&id).await.unwrap();
        assert!(is_there(&*files, &at).await, "{at}");
    }
    files.umount().await.unwrap();
}

#[tokio::test]
async fn row_5_what_aws_refuses_leaves_every_byte() {
    let bed = bed().await;
    let fs = bed.mountable_file_system().await;
    let files = bed.files(&fs).await;
    precious(&*files, "/base/pvc-1").await;
    let root = aws_sdk_efs::types::RootDirectory::builder().path("/base/pvc-1").build();
    let untagged = bed.aws.create_access_point().client_token("pvc-1").file_system_id(&fs).root_directory(root);
    let untagged = untagged.send().await.unwrap().access_point_id().unwrap().to_owned();
    let own = bed.create(request("pvc-2", &fs, &[("basePath", "/base")])).await.unwrap().volume_id;
    precious(&*files, "/base/pvc-2").await;
    let denied = Effect::Error { name: "AccessDeniedException".into(), status: Some(403), message: None };
    let rule = bed.fake.faults().add(Rule::on("DeleteAccessPoint", denied)).unwrap();
    for (id, at) in [(format!("efs:{fs}::{untagged}"), "/base/pvc-1"), (own.clone(), "/base/pvc-2")] {
        assert_refused(bed.delete(&id).await, Code::PermissionDenied, &["DeleteAccessPoint"]);
        assert!(is_there(&*files, at).await, "{at}");
    }
    bed.fake.faults().remove(rule);
    bed.delete(&format!("efs:{fs}::{untagged}")).await.unwrap();
    assert!(is_there(&*files, "/base/pvc-1").await, "no driver made it");
    bed.delete(&own).await.unwrap();
    assert!(!is_there(&*files, "/base/pvc-2").await);
    files.umount().await.unwrap();
}

fn reusing(volume: &str, fs: &str) -> csi_proto::csi::CreateVolumeRequest {
    let claim = [("csi.storage.k8s.io/pvc/name", "data"), ("csi.storage.k8s.io/pvc/namespace", "a")];
    request(volume, fs, &[&[("reuseAccessPoint", "true"), ("basePath", "/base")], claim.as_slice()].concat())
}

#[tokio::test]
async fn row_6_a_retained_volume_uses_a_reused_access_point() {
    let bed = bed().await;
    let fs = bed.mountable_file_system().await;
    let id = bed.create(reusing("pvc-1", &fs)).await.unwrap().volume_id;
    // The default naming finds the first claim's directory.
    assert_eq!(bed.create(reusing("pvc-2", &fs)).await.unwrap().volume_id, id);
    *bed.cluster.claimants.lock().unwrap() = Some(vec![claimant("pvc-1", &id, false), claimant("pvc-2", &id, true)]);
    bed.delete(&id).await.unwrap();
    assert_eq!(bed.access_points(&fs).await.len(), 1, "pvc-1 is released and retained");
    *bed.cluster.claimants.lock().unwrap() = Some(vec![claimant("pvc-1", &id, true)]);
    bed.delete(&id).await.unwrap();
    assert!(bed.access_points(&fs).await.is_empty());
}

#[tokio::test]
async fn row_7_an_access_point_that_was_just_handed_out() {
    let bed = bed().await;
    let fs = bed.mountable_file_system().await;
    let id = bed.create(reusing("pvc-1", &fs)).await.unwrap().volume_id;
    *bed.cluster.claimants.lock().unwrap() = Some(vec![claimant("pvc-1", &id, false)]);
    assert_eq!(bed.create(reusing("pvc-2", &fs)).await.unwrap().volume_id, id);
    *bed.cluster.claimants.lock().unwrap() = Some(vec![claimant("pvc-1", &id, true)]);
    assert_refused(bed.delete(&id).await, Code::Aborted, &["pvc-2", "handed out"]);
    // Another leader knows nothing of that, and sees the claim that waits.
    let (mut other, _served) = bed.another_controller().await;
    let waiting = efs_csi_driver::controller::cluster::WaitingClaim { namespace: "a".into(), name: "data".into() };
    bed.cluster.waiting.lock().unwrap().push(waiting);
    let request = csi_proto::csi::DeleteVolumeRequest { volume_id: id.clone(), ..Default::default() };
    assert_refused(other.delete_volume(request).await, Code::Aborted, &["a/data", "waits"]);
    bed.cluster.waiting.lock().unwrap().clear();
    *bed.cluster.claimants.lock().unwrap() = Some(vec![claimant("pvc-1", &id, true), claimant("pvc-2", &id, false)]);
    bed.delete(&id).await.unwrap();
    assert_eq!(bed.access_points(&fs).await.len(), 1);
}

/// Outside a cluster nobody tells who has an access point that was handed out twice.
#[tokio::test]
async fn row_7_outside_a_cluster() {
    let bed = bed().await;
    let fs = bed.mountable_file_system().await;
    let id = bed.create(reusing("pvc-1", &fs)).await.unwrap().volume_id;
    bed.create(reusing("pvc-2", &fs)).await.unwrap();
    bed.delete(&id).await.unwrap();
    assert_eq!(bed.access_points(&fs).await.len(), 1);
}

#[tokio::test]
async fn row_8_two_creations_of_one_directory_at_once() {
    let bed = bed().await;
    let fs = bed.mountable_file_system().await;
    let (mut other, _served) = bed.another_controller().await;
    for n in 0..20 {
        let at = format!("/shared-{n}");
        let (a, b) = (directory(&format!("a-{n}"), &fs, &at), directory(&format!("b-{n}"), &fs, &at));
        let (a, b) = tokio::join!(bed.create(a), other.create_volume(b));
        let outcomes = [a.map(drop), b.map(drop)];
        assert_eq!(outcomes.iter().filter(|it| it.is_ok()).count(), 1, "{outcomes:?}");
        let refused = outcomes.into_iter().find(Result::is_err).unwrap();
        assert_refused(refused, Code::AlreadyExists, &[&at]);
    }
}

#[tokio::test]
async fn row_9_a_directory_that_was_there_before() {
    let bed = bed().await;
    let fs = bed.mountable_file_system().await;
    let files = bed.files(&fs).await;
    precious(&*files, "/data").await;
    let before = files.getattr_path("/data").await.unwrap();
    assert_refused(
        bed.create(directory("pvc-1", &fs, "/data")).await,
        Code::AlreadyExists,
        &["/data", "adoptDirectory"],
    );
    let mut adopting = directory("pvc-1", &fs, "/data");
    adopting.parameters.insert("adoptDirectory".into(), "true".into());
    adopting.parameters.insert("uid".into(), "5".into());
    let id = bed.create(adopting).await.unwrap().volume_id;
    let after = files.getattr_path("/data").await.unwrap();
    assert_eq!((before.uid, before.gid, before.file_mode), (after.uid, after.gid, after.file_mode));
    bed.delete(&id).await.unwrap();
    assert!(is_there(&*files, "/data").await);
    // The access point of a class that names it uses it as it is, and leaves it.
    let id = bed.create(point("pvc-2", &fs, "/data")).await.unwrap().volume_id;
    bed.delete(&id).await.unwrap();
    assert!(is_there(&*files, "/data").await);
    files.umount().await.unwrap();
}

// Row 10, orphans while a volume is being provisioned: `orphans::tests::a_volume_that_is_being_provisioned_is_no_orphan`.

#[tokio::test]
async fn row_11_a_link_that_a_tenant_made() {
    let bed = bed().await;
    let fs = bed.mountable_file_system().await;
    let files = bed.files(&fs).await;
    precious(&*files, "/secret").await;
    files.mkdir_path("/team", 0o777).await.unwrap();
    files.symlink_path("../secret", "/team/app").await.unwrap();
    for at in ["/team/app", "/team/app/deeper", "team//./app/"] {
        let refused = bed.create(directory("pvc-1", &fs, at)).await;
        assert_refused(refused, Code::InvalidArgument, &["/team/app", "symbolic link"]);
    }
    assert!(files.lookup_path("/secret/deeper").await.is_err());
    files.umount().await.unwrap();
}

/// 100 callers of csi-provisioner at once, against 64 connections of a tunnel.
#[tokio::test]
async fn a_hundred_at_once_share_a_session_and_its_credentials() {
    let bed = Arc::new(bed().await);
    let fs = bed.mountable_file_system().await;
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

/// Two clusters, at once, on one file system.
#[tokio::test]
async fn two_clusters_give_out_no_id_twice() {
    let bed = Bed::new().await;
    let fs = bed.file_system(None).await;
    let (other, _served) = bed.another_controller().await;
    let range = [("gidRangeStart", "7000"), ("gidRangeEnd", "7150")];
    let own = (0..60).map(|n| bed.create(request(&format!("a-{n}"), &fs, &range)));
    let others = (0..60).map(|n| {
        let (mut csi, asked) = (other.clone(), request(&format!("b-{n}"), &fs, &range));
        async move { csi.create_volume(asked).await }
    });
    let (own, others) = tokio::join!(futures::future::join_all(own), futures::future::join_all(others));
    assert!(own.iter().all(Result::is_ok) && others.iter().all(Result::is_ok));
    let points = bed.access_points(&fs).await;
    let ids: std::collections::BTreeSet<i64> = points.iter().map(|it| it.posix_user().unwrap().gid()).collect();
    assert_eq!((points.len(), ids.len()), (120, 120));
}

/// A role that can't be found out must not make the volumes of another account seem deleted.
#[tokio::test]
async fn an_unknown_account_is_unavailable_and_not_deleted() {
    use efs_csi_driver::controller::cluster::{ClusterFacts, SecretName, VolumeFacts};
    let bed = Bed::new().await;
    let owner = bed.aws_of("210987654321");
    let fs = owner.create_file_system().send().await.unwrap().file_system_id().to_owned();
    let point = owner.create_access_point().file_system_id(&fs).send().await.unwrap();
    let handle = format!("efs:{fs}::{}", point.access_point_id().unwrap());
    let secret = Some(SecretName { namespace: "kube-system".into(), name: "x-account".into() });
    let volume = VolumeFacts { handle: handle.clone(), secret };
    *bed.cluster.facts.lock().unwrap() = Some(ClusterFacts { classes: vec![], volumes: vec![volume] });
    assert_refused(bed.delete(&handle).await, Code::Unavailable, &[&fs, "account", "x-account"]);
}

/// Found by people who didn't write it: a copy of a PersistentVolume shares the volume with another namespace.
#[tokio::test]
async fn a_copy_of_a_persistent_volume_keeps_the_volume() {
    let bed = bed().await;
    let fs = bed.mountable_file_system().await;
    let files = bed.files(&fs).await;
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
    let bed = bed().await;
    let fs = bed.mountable_file_system().await;
    let files = bed.files(&fs).await;
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

/// A creation that AWS refuses leaves no directory behind that a later volume would take for somebody else's.
#[tokio::test]
async fn a_refused_creation_leaves_no_directory() {
    let bed = bed().await;
    let fs = bed.mountable_file_system().await;
    let files = bed.files(&fs).await;
    let denied = Effect::Error { name: "AccessDeniedException".into(), status: Some(403), message: None };
    let rule = bed.fake.faults().add(Rule::on("CreateAccessPoint", denied)).unwrap();
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
    let bed = bed().await;
    let fs = bed.mountable_file_system().await;
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

/// The handle of a directory volume is its path. Only as CreateVolume writes it, it is one.
#[tokio::test]
async fn other_spellings_of_a_handle_delete_nothing() {
    let bed = bed().await;
    let fs = bed.mountable_file_system().await;
    let files = bed.files(&fs).await;
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

/// An administrator removes the driver's folders while it runs.
#[tokio::test]
async fn a_ledger_that_is_taken_away_is_made_anew() {
    let bed = bed().await;
    let fs = bed.mountable_file_system().await;
    let files = bed.files(&fs).await;
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

/// What another cluster has made is not this one's to delete, even if somebody has copied its PersistentVolume.
#[tokio::test]
async fn another_clusters_volume_stays() {
    let bed = bed().await;
    let fs = bed.mountable_file_system().await;
    let files = bed.files(&fs).await;
    *bed.cluster.id.lock().unwrap() = Some("blue".to_owned());
    let point = bed.create(request("pvc-1", &fs, &[])).await.unwrap().volume_id;
    let at = bed.create(directory("pvc-2", &fs, "/pvc-2")).await.unwrap().volume_id;
    precious(&*files, "/pvc-2").await;
    *bed.cluster.id.lock().unwrap() = Some("green".to_owned());
    let (mut other, _served) = bed.another_controller().await;
    for id in [point, at] {
        let request = csi_proto::csi::DeleteVolumeRequest { volume_id: id, ..Default::default() };
        other.delete_volume(request).await.unwrap();
    }
    assert_eq!(bed.access_points(&fs).await.len(), 1);
    assert!(is_there(&*files, "/pvc-2").await);
    files.umount().await.unwrap();
}

/// Nobody has to call again: what has been in the trash for its time is removed.
#[tokio::test]
async fn the_trash_empties_itself_when_its_time_has_come() {
    let trash_retention = Duration::from_secs(4);
    let bed = Bed::with_files(ControllerConfig { delete_root_directory: true, trash_retention, ..config() }).await;
    let fs = bed.mountable_file_system().await;
    let files = bed.files(&fs).await;
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
    let bed = bed().await;
    let fs = bed.mountable_file_system().await;
    let files = bed.files(&fs).await;
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
    let bed = bed().await;
    let fs = bed.mountable_file_system().await;
    let files = bed.files(&fs).await;
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

/// A cluster that doesn't know its own id can't tell its volumes from those of others; whoever runs outside a cluster has none of them.
#[tokio::test]
async fn what_carries_a_clusters_name_stays_where_ones_own_is_unknown() {
    let bed = bed().await;
    let fs = bed.mountable_file_system().await;
    let files = bed.files(&fs).await;
    *bed.cluster.id.lock().unwrap() = Some("blue".to_owned());
    let point = bed.create(request("pvc-1", &fs, &[])).await.unwrap().volume_id;
    let at = bed.create(directory("pvc-2", &fs, "/pvc-2")).await.unwrap().volume_id;
    precious(&*files, "/pvc-2").await;
    for is_unknown in [true, false] {
        *bed.cluster.id.lock().unwrap() = None;
        *bed.cluster.is_id_hidden.lock().unwrap() = is_unknown.then_some(false);
        let (mut other, _served) = bed.another_controller().await;
        for id in [&point, &at] {
            let request = csi_proto::csi::DeleteVolumeRequest { volume_id: id.clone(), ..Default::default() };
            let deleted = other.delete_volume(request).await;
            match is_unknown {
                true => assert_refused(deleted, Code::Unavailable, &["cluster's id", "--cluster-id"]),
                false => drop(deleted.unwrap()),
            }
        }
        if is_unknown {
            let made = other.create_volume(request("pvc-3", &fs, &[])).await;
            assert_refused(made, Code::Unavailable, &["cluster's id"]);
        }
        assert_eq!(bed.access_points(&fs).await.len(), 1);
        assert!(is_there(&*files, "/pvc-2").await);
    }
    bed.delete(&point).await.unwrap();
    bed.delete(&at).await.unwrap();
    assert!(bed.access_points(&fs).await.is_empty() && !is_there(&*files, "/pvc-2").await);
    files.umount().await.unwrap();
}

/// Notes of an earlier driver, which let volumes overlap. Both are volumes, and both can be deleted, whichever comes first.
#[tokio::test]
async fn overlapping_volumes_of_an_earlier_driver_are_volumes() {
    use sha2::{Digest, Sha256};
    let bed = bed().await;
    let fs = bed.mountable_file_system().await;
    let files = bed.files(&fs).await;
    precious(&*files, "/team/app").await;
    files.mkdir_path("/.efs-csi-volumes", 0o700).await.unwrap();
    for (name, at) in [("team", "/team"), ("app", "/team/app")] {
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
    let bed = bed().await;
    let fs = bed.mountable_file_system().await;
    let files = bed.files(&fs).await;
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

/// A deletion is cut off before AWS has deleted the access point. The volume is kept after all, and later somebody deletes the access point alone.
#[tokio::test]
async fn an_intent_that_nobody_goes_on_with_deletes_nothing() {
    let trash_retention = Duration::ZERO;
    let bed = Bed::with_files(ControllerConfig { delete_root_directory: true, trash_retention, ..config() }).await;
    let fs = bed.mountable_file_system().await;
    let files = bed.files(&fs).await;
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
    let bed = Arc::new(bed().await);
    let fs = bed.mountable_file_system().await;
    let files = bed.files(&fs).await;
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

/// With `--cluster-id` a cluster takes over what another one has made. What it has made itself before stays its own.
#[tokio::test]
async fn a_cluster_with_another_ones_id_has_both_ones_volumes() {
    let bed = Bed::new().await;
    let mut volumes = Vec::new();
    for uid in ["green", "blue"] {
        *bed.cluster.id.lock().unwrap() = Some(uid.to_owned());
        let (mut csi, _served) = bed.another_controller().await;
        // Each on a file system of its own, where nobody waits for others.
        let fs = bed.file_system(None).await;
        let made = csi.create_volume(request(&format!("pvc-{uid}"), &fs, &[])).await.unwrap().into_inner();
        volumes.push((fs, made.volume.unwrap().volume_id));
    }
    let (mut csi, _served) = bed.another_controller_with(|config| config.cluster_id = Some("green".to_owned())).await;
    for (fs, id) in volumes {
        csi.delete_volume(csi_proto::csi::DeleteVolumeRequest { volume_id: id, ..Default::default() }).await.unwrap();
        assert!(bed.access_points(&fs).await.is_empty());
    }
}

/// A claim of access points keeps a directory for nobody when they are all gone, deleted by hand or by a driver that keeps directories.
#[tokio::test]
async fn a_directory_is_not_kept_for_access_points_that_are_gone() {
    let bed = bed().await;
    let fs = bed.mountable_file_system().await;
    let files = bed.files(&fs).await;
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

/// An administrator's access point may carry the driver's tag, and a directory's name end with a UUID.
#[tokio::test]
async fn a_uuid_at_the_end_of_a_name_tells_nothing() {
    let bed = bed().await;
    let fs = bed.mountable_file_system().await;
    let files = bed.files(&fs).await;
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
    let bed = bed().await;
    let fs = bed.mountable_file_system().await;
    let files = bed.files(&fs).await;
    let id = bed.create(directory("pvc-2", &fs, "/data")).await.unwrap().volume_id;
    precious(&*files, "/data").await;
    *bed.cluster.claimants.lock().unwrap() = Some(vec![]);
    assert_refused(bed.delete(&id).await, Code::Aborted, &["pvc-2", "not stored yet"]);
    *bed.cluster.claimants.lock().unwrap() = Some(vec![claimant("pvc-2", &id, false)]);
    bed.delete(&id).await.unwrap();
    assert!(is_there(&*files, "/data").await);
    files.umount().await.unwrap();
}

fn denied() -> Effect {
    Effect::Error { name: "AccessDeniedException".into(), status: Some(403), message: None }
}

/// AWS has made the access point, its answer was lost, and the attempt after it is told that the access point exists.
#[tokio::test]
async fn a_lost_answer_does_not_make_a_directory_the_volumes_own() {
    let bed = bed().await;
    let fs = bed.mountable_file_system().await;
    let files = bed.files(&fs).await;
    precious(&*files, "/base/pvc-1").await;
    bed.fake.faults().add(Rule::on("CreateAccessPoint", Effect::DropAfter).times(1)).unwrap();
    let id = bed.create(request("pvc-1", &fs, &[("basePath", "/base")])).await.unwrap().volume_id;
    bed.delete(&id).await.unwrap();
    assert!(is_there(&*files, "/base/pvc-1").await);
    files.umount().await.unwrap();
}

/// AWS has deleted the access point, its answer was lost, and the attempt after it is refused.
#[tokio::test]
async fn a_refusal_after_a_lost_deletion_does_not_end_it() {
    let bed = bed().await;
    let fs = bed.mountable_file_system().await;
    let files = bed.files(&fs).await;
    let id = bed.create(request("pvc-1", &fs, &[])).await.unwrap().volume_id;
    precious(&*files, "/pvc-1").await;
    bed.fake.faults().add(Rule::on("DeleteAccessPoint", Effect::DropAfter).times(1)).unwrap();
    let rule = bed.fake.faults().add(Rule::on("DeleteAccessPoint", denied())).unwrap();
    assert_refused(bed.delete(&id).await, Code::Unavailable, &["DeleteAccessPoint"]);
    bed.fake.faults().remove(rule);
    bed.delete(&id).await.unwrap();
    assert!(!is_there(&*files, "/pvc-1").await);
    files.umount().await.unwrap();
}

/// The first call says that what has the directory's name now stays, and is refused by AWS. The second one must say so, too.
#[tokio::test]
async fn what_a_refused_deletion_says_to_stay_stays() {
    let bed = bed().await;
    let fs = bed.mountable_file_system().await;
    let files = bed.files(&fs).await;
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
    let bed = bed().await;
    let fs = bed.mountable_file_system().await;
    let files = bed.files(&fs).await;
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
    let bed = bed().await;
    let fs = bed.mountable_file_system().await;
    let files = bed.files(&fs).await;
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

/// One name is one volume, of whatever kind and wherever.
#[tokio::test]
async fn a_name_gives_no_second_volume_of_another_kind_or_elsewhere() {
    let bed = bed().await;
    let (fs, other) = (bed.mountable_file_system().await, bed.mountable_file_system().await);
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
