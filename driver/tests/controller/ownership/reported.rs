//! Eleven ways in which data of others was lost or shown, each tried against the driver as it was when it happened. The numbers are those
//! of the report.

use efs_csi_driver::controller::cluster::WaitingClaim;
use fake_efs::faults::Rule;
use tonic::Code;

use super::{Deleting, denied, directory, is_there, point, precious};
use crate::support::{assert_refused, claimant, request};

#[tokio::test]
async fn row_1_a_volume_inside_another_one() {
    let Deleting { bed, fs, files } = Deleting::new().await;
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
    let Deleting { bed, fs, files } = Deleting::new().await;
    let outer = bed.create(point("outer", &fs, "/team")).await.unwrap().volume_id;
    assert_refused(bed.create(directory("inner", &fs, "/team/app")).await, Code::AlreadyExists, &["/team"]);
    precious(&*files, "/team").await;
    bed.delete(&outer).await.unwrap();
    assert!(files.lookup_path("/team").await.is_err(), "made for the volume, it goes with it");
    files.umount().await.unwrap();
}

#[tokio::test]
async fn row_3_the_base_path_is_nobodys_to_delete() {
    let Deleting { bed, fs, files } = Deleting::new().await;
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
    let Deleting { bed, fs, files } = Deleting::new().await;
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
    let Deleting { bed, fs, files } = Deleting::new().await;
    precious(&*files, "/base/pvc-1").await;
    let root = aws_sdk_efs::types::RootDirectory::builder().path("/base/pvc-1").build();
    let untagged = bed.aws.create_access_point().client_token("pvc-1").file_system_id(&fs).root_directory(root);
    let untagged = untagged.send().await.unwrap().access_point_id().unwrap().to_owned();
    let own = bed.create(request("pvc-2", &fs, &[("basePath", "/base")])).await.unwrap().volume_id;
    precious(&*files, "/base/pvc-2").await;
    let rule = bed.fake.faults().add(Rule::on("DeleteAccessPoint", denied())).unwrap();
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
    let Deleting { bed, fs, .. } = Deleting::new().await;
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
    let Deleting { bed, fs, .. } = Deleting::new().await;
    let id = bed.create(reusing("pvc-1", &fs)).await.unwrap().volume_id;
    *bed.cluster.claimants.lock().unwrap() = Some(vec![claimant("pvc-1", &id, false)]);
    assert_eq!(bed.create(reusing("pvc-2", &fs)).await.unwrap().volume_id, id);
    *bed.cluster.claimants.lock().unwrap() = Some(vec![claimant("pvc-1", &id, true)]);
    assert_refused(bed.delete(&id).await, Code::Aborted, &["pvc-2", "handed out"]);
    // Another leader knows nothing of that, and sees the claim that waits.
    let (mut other, _served) = bed.another_controller().await;
    let waiting = WaitingClaim { namespace: "a".into(), name: "data".into() };
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
    let Deleting { bed, fs, .. } = Deleting::new().await;
    let id = bed.create(reusing("pvc-1", &fs)).await.unwrap().volume_id;
    bed.create(reusing("pvc-2", &fs)).await.unwrap();
    bed.delete(&id).await.unwrap();
    assert_eq!(bed.access_points(&fs).await.len(), 1);
}

#[tokio::test]
async fn row_8_two_creations_of_one_directory_at_once() {
    let Deleting { bed, fs, .. } = Deleting::new().await;
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
    let Deleting { bed, fs, files } = Deleting::new().await;
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
    let Deleting { bed, fs, files } = Deleting::new().await;
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
