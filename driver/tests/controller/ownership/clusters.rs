//! Clusters and accounts that have file systems in common.

use efs_csi_driver::controller::cluster::{ClusterFacts, SecretName, VolumeFacts};
use tonic::Code;

use super::{Deleting, directory, is_there, precious};
use crate::support::{Bed, assert_refused, request};

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

/// What another cluster has made is not this one's to delete, even if somebody has copied its PersistentVolume.
#[tokio::test]
async fn another_clusters_volume_stays() {
    let Deleting { bed, fs, files } = Deleting::new().await;
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

/// A cluster that doesn't know its own id can't tell its volumes from those of others; whoever runs outside a cluster has none of them.
#[tokio::test]
async fn what_carries_a_clusters_name_stays_where_ones_own_is_unknown() {
    let Deleting { bed, fs, files } = Deleting::new().await;
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
