//! Ids are given out once, from the range, at the cost of one call a volume.

use std::collections::HashSet;
use std::time::Duration;

use futures::StreamExt;
use tonic::Code;

use crate::support::{Bed, assert_refused, claimant, request};

/// UB-16: the Go driver gives the same id to most volumes of a concurrent batch.
#[tokio::test]
async fn concurrent_volumes_get_ids_of_their_own_at_one_call_each() {
    const VOLUMES: usize = 300;
    let bed = Bed::new().await;
    let fs = bed.file_system(None).await;
    // Hardly more ids than volumes, so that calls that run at once want the same ones.
    let range = [("gidRangeStart", "7000"), ("gidRangeEnd", "7309")];
    let calls = (0..VOLUMES).map(|n| bed.create(request(&format!("pvc-{n}"), &fs, &range)));
    let made: Vec<_> = futures::stream::iter(calls).buffer_unordered(32).collect().await;
    assert!(made.iter().all(Result::is_ok), "{:?}", made.iter().find(|it| it.is_err()));
    // One listing to fill the table, and a few of those who come first, to see whether other clusters are there.
    assert_eq!(bed.calls("CreateAccessPoint"), VOLUMES);
    assert!(bed.calls("DescribeAccessPoints") <= 4, "{}", bed.calls("DescribeAccessPoints"));
    let points = bed.access_points(&fs).await;
    let ids: HashSet<i64> = points.iter().map(|point| point.posix_user().unwrap().gid()).collect();
    assert_eq!(ids.len(), VOLUMES);
    assert!(points.iter().all(|point| point.posix_user().is_some_and(|user| user.uid() == user.gid())));
    assert!(ids.iter().all(|id| (7000..=7309).contains(id)));
}

#[tokio::test]
async fn ids_of_existing_access_points_are_not_given_out() {
    let bed = Bed::new().await;
    let fs = bed.file_system(None).await;
    for (n, uid, gid) in [(1, 1, 7000), (2, 7001, 2), (3, 7002, 7002)] {
        let user = aws_sdk_efs::types::PosixUser::builder().uid(uid).gid(gid).build().unwrap();
        bed.aws
            .create_access_point()
            .client_token(n.to_string())
            .file_system_id(&fs)
            .posix_user(user)
            .send()
            .await
            .unwrap();
    }
    let range = [("gidRangeStart", "7000"), ("gidRangeEnd", "7004")];
    let mut given = HashSet::new();
    for name in ["pvc-1", "pvc-2"] {
        bed.create(request(name, &fs, &range)).await.unwrap();
    }
    for point in bed.access_points(&fs).await {
        if point.client_token().unwrap().starts_with("pvc-") {
            given.insert(point.posix_user().unwrap().gid());
        }
    }
    assert_eq!(given, HashSet::from([7003, 7004]));
    let refused = bed.create(request("pvc-3", &fs, &range)).await;
    assert_refused(refused, Code::ResourceExhausted, &["all 5 ids", "gidRangeStart=7000", &fs]);
}

#[tokio::test]
async fn a_failed_call_gives_its_id_back() {
    let bed = Bed::new().await;
    let fs = bed.file_system(None).await;
    bed.fake.world().set_limits(|limits| limits.access_points = 0);
    let range = [("gidRangeStart", "7000"), ("gidRangeEnd", "7001")];
    for n in 0..5 {
        let refused = bed.create(request(&format!("pvc-{n}"), &fs, &range)).await;
        assert_refused(refused, Code::ResourceExhausted, &["AccessPointLimitExceeded"]);
    }
}

/// UB-15: the Go driver gives the id of a deleted volume to the next one, whose pods could then read what is left.
#[tokio::test]
async fn the_id_of_a_deleted_volume_rests_while_others_are_free() {
    let bed = Bed::new().await;
    let fs = bed.file_system(None).await;
    let range = [("gidRangeStart", "7000"), ("gidRangeEnd", "7003")];
    let gid = |points: Vec<aws_sdk_efs::types::AccessPointDescription>| points[0].posix_user().unwrap().gid();
    let mut seen = HashSet::new();
    for n in 0..4 {
        let id = bed.create(request(&format!("pvc-{n}"), &fs, &range)).await.unwrap().volume_id;
        assert!(seen.insert(gid(bed.access_points(&fs).await)), "an id was used again while others were free");
        bed.delete(&id).await.unwrap();
    }
    bed.create(request("pvc-last", &fs, &range)).await.expect("rested ids are better than none");
}

#[tokio::test]
async fn a_fixed_uid_or_gid_is_kept_and_the_other_one_allocated() {
    let bed = Bed::new().await;
    let fs = bed.file_system(None).await;
    bed.create(request("pvc-1", &fs, &[("uid", "0")])).await.unwrap();
    bed.create(request("pvc-2", &fs, &[("gid", "0")])).await.unwrap();
    bed.create(request("pvc-3", &fs, &[("gid", "0")])).await.unwrap();
    let mut allocated = HashSet::new();
    for point in bed.access_points(&fs).await {
        let user = point.posix_user().unwrap();
        let (zero, other) = if user.uid() == 0 { (user.uid(), user.gid()) } else { (user.gid(), user.uid()) };
        assert_eq!(zero, 0);
        assert!((50_000..=60_000).contains(&other), "the range of the Go driver's code (UB-7)");
        allocated.insert(other);
    }
    assert_eq!(allocated.len(), 3);
}

#[tokio::test]
async fn a_fresh_controller_knows_the_ids_in_use() {
    let bed = Bed::new().await;
    let fs = bed.file_system(None).await;
    let range = [("gidRangeStart", "7000"), ("gidRangeEnd", "7009")];
    for n in 0..5 {
        bed.create(request(&format!("pvc-{n}"), &fs, &range)).await.unwrap();
    }
    let (other, _socket) = bed.another_controller().await;
    for n in 5..10 {
        other.clone().create_volume(request(&format!("pvc-{n}"), &fs, &range)).await.unwrap();
    }
    let gids: HashSet<i64> = bed.access_points(&fs).await.iter().map(|it| it.posix_user().unwrap().gid()).collect();
    assert_eq!(gids.len(), 10);
}

#[tokio::test]
async fn a_repeated_call_finds_its_volume_even_when_no_id_is_free() {
    let bed = Bed::new().await;
    let fs = bed.file_system(None).await;
    let range = [("gidRangeStart", "7000"), ("gidRangeEnd", "7001")];
    let first = bed.create(request("pvc-1", &fs, &range)).await.unwrap();
    bed.create(request("pvc-2", &fs, &range)).await.unwrap();
    let (mut fresh, _served) = bed.another_controller().await;
    let again = fresh.create_volume(request("pvc-1", &fs, &range)).await.unwrap().into_inner().volume.unwrap();
    assert_eq!(again, first);
    assert_refused(bed.create(request("pvc-3", &fs, &range)).await, Code::ResourceExhausted, &["all 2 ids"]);
}

/// An access point that a driver of another cluster has made with this id.
async fn foreign(bed: &Bed, fs: &str, id: i64) {
    let user = aws_sdk_efs::types::PosixUser::builder().uid(id).gid(id).build().unwrap();
    let tag = aws_sdk_efs::types::Tag::builder().key("efs.csi.aws.com/cluster").value("true").build().unwrap();
    let made = bed.aws.create_access_point().client_token(format!("foreign-{id}")).file_system_id(fs);
    made.posix_user(user).tags(tag).send().await.unwrap();
}

/// Two clusters on one file system: a call is cut off after it has made its access point and before it has looked whether the other cluster
/// took the same id. The call that repeats it looks, as long as nobody uses the volume yet.
#[tokio::test]
async fn a_repeated_call_looks_at_the_id_of_the_one_that_was_cut_off() {
    for is_used in [false, true] {
        let bed = Bed::new().await;
        let fs = bed.file_system(None).await;
        *bed.cluster.id.lock().unwrap() = Some("own".to_owned());
        *bed.cluster.claimants.lock().unwrap() = Some(vec![]);
        foreign(&bed, &fs, 6000).await;
        let asked = || request("pvc-1", &fs, &[("gidRangeStart", "7000"), ("gidRangeEnd", "7001")]);
        // It waits until the other cluster must have seen its first access point.
        let cut_off = tokio::time::timeout(Duration::from_secs(3), bed.create(asked())).await;
        cut_off.expect_err("a cluster that comes to others waits");
        let points = bed.access_points(&fs).await;
        let [first] = points.iter().filter(|it| it.client_token() == Some("pvc-1")).collect::<Vec<_>>()[..] else {
            panic!("{points:?}")
        };
        let (first_id, first_gid) = (first.access_point_id().unwrap().to_owned(), first.posix_user().unwrap().gid());
        let handle = format!("efs:{fs}::{first_id}");
        foreign(&bed, &fs, first_gid).await;
        if is_used {
            *bed.cluster.claimants.lock().unwrap() = Some(vec![claimant("pvc-1", &handle, false)]);
        }
        let made = bed.create(asked()).await.unwrap();
        assert_eq!(made.volume_id == handle, is_used, "what a PersistentVolume names must not be made anew");
        let gids: Vec<i64> = bed.access_points(&fs).await.iter().map(|it| it.posix_user().unwrap().gid()).collect();
        let different: HashSet<i64> = gids.iter().copied().collect();
        assert_eq!((gids.len(), different.len()), if is_used { (3, 2) } else { (3, 3) }, "{gids:?}");
    }
}
