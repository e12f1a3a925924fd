//! A name that is taken: the same volume is found, another one is refused with what differs.

use csi_proto::csi;
use tonic::Code;

use crate::support::{Bed, GIB, assert_refused, claimant, request};

fn sized(name: &str, fs: &str, required_bytes: i64, limit_bytes: i64) -> csi::CreateVolumeRequest {
    let mut asked = request(name, fs, &[("uid", "1"), ("gid", "1")]);
    asked.capacity_range = Some(csi::CapacityRange { required_bytes, limit_bytes });
    asked
}

#[tokio::test]
async fn another_capacity_is_a_conflict_unless_the_volume_has_it() {
    let bed = Bed::new().await;
    let fs = bed.file_system(None).await;
    let first = bed.create(sized("pvc-1", &fs, 2 * GIB, 2 * GIB)).await.unwrap();
    let smaller = bed.create(sized("pvc-1", &fs, GIB, 0)).await.unwrap();
    assert_eq!(first, smaller, "a volume of two is one of at least one");
    for (required, limit) in [(4 * GIB, 4 * GIB), (3 * GIB, 0), (GIB, GIB)] {
        let refused = bed.create(sized("pvc-1", &fs, required, limit)).await;
        assert_refused(refused, Code::AlreadyExists, &["pvc-1", "capacity", "2147483648"]);
    }
}

#[tokio::test]
async fn other_parameters_are_a_conflict_that_names_both_values() {
    let bed = Bed::new().await;
    let fs = bed.file_system(None).await;
    let other_fs = bed.file_system(None).await;
    bed.create(request("pvc-1", &fs, &[("uid", "1000"), ("gid", "1000"), ("basePath", "/base")])).await.unwrap();
    type Parameters<'a> = &'a [(&'a str, &'a str)];
    let changed: [(&str, &str, Parameters<'_>); 5] = [
        (&fs, "uid", &[("uid", "1001"), ("gid", "1000"), ("basePath", "/base")]),
        (&fs, "gid", &[("uid", "1000"), ("gid", "7"), ("basePath", "/base")]),
        // UB-18: the Go driver takes /basement for a directory below /base.
        (&fs, "/basement/pvc-1", &[("uid", "1000"), ("gid", "1000"), ("basePath", "/basement")]),
        (&fs, "directoryPerms", &[("uid", "1000"), ("gid", "1000"), ("basePath", "/base"), ("directoryPerms", "750")]),
        (&other_fs, "file system", &[("uid", "1000"), ("gid", "1000"), ("basePath", "/base")]),
    ];
    for (fs, word, parameters) in changed {
        let refused = bed.create(request("pvc-1", fs, parameters)).await;
        assert_refused(refused, Code::AlreadyExists, &[word, "fsap-"]);
    }
    assert_eq!(bed.access_points(&fs).await.len(), 1);
    assert!(bed.access_points(&other_fs).await.is_empty());
}

/// CSI specification, CreateVolume: AWS is told nothing of what nodes alone read, and the name stands for one volume all the same.
#[tokio::test]
async fn what_only_nodes_read_is_a_conflict_too() {
    let bed = Bed::new().await;
    let fs = bed.file_system(None).await;
    let pods = [("authenticationSource", "pod"), ("roleArn", "arn:aws:iam::123456789012:role/a")];
    let first = bed.create(request("pvc-1", &fs, &pods)).await.unwrap();
    assert_eq!(bed.create(request("pvc-1", &fs, &pods)).await.unwrap(), first);
    let refused = bed.create(request("pvc-1", &fs, &[])).await;
    assert_refused(refused, Code::AlreadyExists, &["authenticationSource pod", "unset", "fsap-"]);
    let other = [("authenticationSource", "pod"), ("roleArn", "arn:aws:iam::123456789012:role/b")];
    let refused = bed.create(request("pvc-1", &fs, &other)).await;
    assert_refused(refused, Code::AlreadyExists, &["roleArn", "role/a", "role/b"]);
    bed.delete(&first.volume_id).await.unwrap();
    bed.create(request("pvc-1", &fs, &[])).await.expect("the name is free again");
}

#[tokio::test]
async fn ids_outside_the_range_are_a_conflict() {
    let bed = Bed::new().await;
    let fs = bed.file_system(None).await;
    bed.create(request("pvc-1", &fs, &[("uid", "1"), ("gid", "1")])).await.unwrap();
    let range = [("gidRangeStart", "5000"), ("gidRangeEnd", "6000")];
    assert_refused(bed.create(request("pvc-1", &fs, &range)).await, Code::AlreadyExists, &["5000 to 6000"]);
}

#[tokio::test]
async fn an_access_point_of_the_go_driver_is_taken_for_the_same_volume() {
    let bed = Bed::new().await;
    let fs = bed.file_system(None).await;
    // As the Go driver makes it: its own choice of id, no capacity tag, a random suffix.
    let root = "/base/data-0f8fad5b-d9cb-469f-a165-70867728950e";
    let made = bed
        .aws
        .create_access_point()
        .client_token("pvc-1")
        .file_system_id(&fs)
        .posix_user(aws_sdk_efs::types::PosixUser::builder().uid(50000).gid(50000).build().unwrap())
        .root_directory(aws_sdk_efs::types::RootDirectory::builder().path(root).build())
        .send()
        .await
        .unwrap();
    let volume = bed.create(request("pvc-1", &fs, &[("basePath", "base"), ("subPathPattern", "data")])).await.unwrap();
    assert_eq!(volume.volume_id, format!("efs:{fs}::{}", made.access_point_id().unwrap()));
    assert_eq!(volume.capacity_bytes, GIB);
}

#[tokio::test]
async fn a_foreign_access_point_with_the_token_is_never_taken_over() {
    let bed = Bed::new().await;
    let fs = bed.file_system(None).await;
    // UB-42: the Go driver panics at access points without a POSIX user or a root directory.
    bed.aws.create_access_point().client_token("pvc-1").file_system_id(&fs).send().await.unwrap();
    assert_refused(bed.create(request("pvc-1", &fs, &[])).await, Code::AlreadyExists, &["root directory /"]);
}

#[tokio::test]
async fn reuse_finds_the_access_point_of_an_earlier_claim_in_the_same_namespace_only() {
    let bed = Bed::new().await;
    let fs = bed.file_system(None).await;
    let other_fs = bed.file_system(None).await;
    let claim = |volume: &str, fs: &str, namespace: &str| {
        let meta = [("csi.storage.k8s.io/pvc/name", "data"), ("csi.storage.k8s.io/pvc/namespace", namespace)];
        let usual = [("reuseAccessPoint", "true"), ("subPathPattern", "data"), ("ensureUniqueDirectory", "false")];
        request(volume, fs, &[usual.as_slice(), meta.as_slice()].concat())
    };
    let first = bed.create(claim("pvc-1", &fs, "a")).await.unwrap();
    let again = bed.create(claim("pvc-2", &fs, "a")).await.unwrap();
    assert_eq!(first.volume_id, again.volume_id);
    // UB-17: with the Go driver these two would share the first one's data.
    let elsewhere = bed.create(claim("pvc-3", &fs, "b")).await.unwrap();
    let other = bed.create(claim("pvc-4", &other_fs, "a")).await.unwrap();
    assert_ne!(first.volume_id, elsewhere.volume_id);
    assert_ne!(first.volume_id, other.volume_id);
    assert_eq!((bed.access_points(&fs).await.len(), bed.access_points(&other_fs).await.len()), (2, 1));
}

#[tokio::test]
async fn reuse_still_recognises_the_go_drivers_token() {
    use sha2::{Digest, Sha256};
    let bed = Bed::new().await;
    let fs = bed.file_system(None).await;
    let made = bed
        .aws
        .create_access_point()
        .client_token(hex::encode(Sha256::digest("data")))
        .file_system_id(&fs)
        .posix_user(aws_sdk_efs::types::PosixUser::builder().uid(50001).gid(50001).build().unwrap())
        .root_directory(aws_sdk_efs::types::RootDirectory::builder().path("/data").build())
        .send()
        .await
        .unwrap();
    let parameters = [
        ("reuseAccessPoint", "true"),
        ("csi.storage.k8s.io/pvc/name", "data"),
        ("csi.storage.k8s.io/pvc/namespace", "any"),
        ("subPathPattern", "${.PVC.name}"),
        ("ensureUniqueDirectory", "false"),
    ];
    let volume = bed.create(request("pvc-1", &fs, &parameters)).await.unwrap();
    assert!(volume.volume_id.ends_with(made.access_point_id().unwrap()));
}

/// UB-27: the Go driver deletes a reused access point although other volumes still use it.
#[tokio::test]
async fn a_reused_access_point_stays_while_another_volume_uses_it() {
    let bed = Bed::new().await;
    let fs = bed.file_system(None).await;
    let parameters = [
        ("reuseAccessPoint", "true"),
        ("csi.storage.k8s.io/pvc/name", "data"),
        ("csi.storage.k8s.io/pvc/namespace", "a"),
    ];
    let id = bed.create(request("pvc-1", &fs, &parameters)).await.unwrap().volume_id;
    *bed.cluster.claimants.lock().unwrap() = Some(vec![claimant("pvc-1", &id, true), claimant("pvc-2", &id, false)]);
    bed.delete(&id).await.unwrap();
    assert_eq!(bed.access_points(&fs).await.len(), 1);
    *bed.cluster.claimants.lock().unwrap() = Some(vec![claimant("pvc-1", &id, true)]);
    bed.delete(&id).await.unwrap();
    assert!(bed.access_points(&fs).await.is_empty());
}
