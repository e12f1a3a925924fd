//! The numbers that the controller promises, over sockets and by the fake's journal.

use std::collections::HashSet;

use fake_efs::world::access_points::CreateAccessPoint;
use fake_efs::world::model::PosixUser;
use fake_efs::world::scope::Requester;
use futures::StreamExt;

use crate::support::{Bed, amount, request};

/// Access points as an earlier driver left them, without its calls.
fn populate(bed: &Bed, fs: &str, count: u32) {
    let requester = Requester::root(bed.fake.world().home().clone());
    for id in 50_000..50_000 + count {
        let point = CreateAccessPoint {
            client_token: format!("old-{id}"),
            file_system_id: fs.to_owned(),
            tags: Vec::new(),
            posix_user: Some(PosixUser { uid: id, gid: id, secondary_gids: None }),
            root_directory: None,
        };
        bed.fake.world().create_access_point(&requester, point).unwrap();
    }
}

fn all_calls(bed: &Bed) -> usize {
    bed.fake.journal().query(&fake_efs::journal::Query::default()).len()
}

#[tokio::test]
async fn a_volume_costs_one_call_at_any_number_of_access_points() {
    const VOLUMES: usize = 40;
    for population in [0, 900, 9000] {
        let bed = Bed::new().await;
        let fs = bed.file_system(None).await;
        populate(&bed, &fs, population);
        bed.fake.journal().clear();
        bed.create(request("pvc-first", &fs, &[])).await.unwrap();
        let pages = |count: u32| usize::try_from(count).unwrap().div_ceil(1000).max(1);
        let listings = pages(population) + pages(population + 1);
        assert_eq!(all_calls(&bed), 1 + listings, "the first volume lists all access points before and after");

        bed.fake.journal().clear();
        let calls = (0..VOLUMES).map(|n| bed.create(request(&format!("pvc-{n}"), &fs, &[])));
        let made: Vec<_> = futures::stream::iter(calls).buffer_unordered(32).collect().await;
        assert_eq!((bed.calls("CreateAccessPoint"), all_calls(&bed)), (VOLUMES, VOLUMES), "at {population}");

        bed.fake.journal().clear();
        let ids: Vec<String> = made.into_iter().map(|volume| volume.unwrap().volume_id).collect();
        for deleted in futures::future::join_all(ids.iter().map(|id| bed.delete(id))).await {
            deleted.unwrap();
        }
        assert_eq!((bed.calls("DeleteAccessPoint"), all_calls(&bed)), (VOLUMES, VOLUMES), "at {population}");
    }
}

#[tokio::test]
async fn a_thousand_concurrent_volumes_share_no_id() {
    let volumes = amount();
    let bed = Bed::new().await;
    let fs = bed.file_system(None).await;
    // Hardly more ids than volumes, so that calls that run at once want the same ones.
    let last = (7000 + volumes + 9).to_string();
    let range = [("gidRangeStart", "7000"), ("gidRangeEnd", last.as_str())];
    let calls = (0..volumes).map(|n| bed.create(request(&format!("pvc-{n}"), &fs, &range)));
    let made = futures::future::join_all(calls).await;
    assert!(made.iter().all(Result::is_ok), "{:?}", made.iter().find(|it| it.is_err()));
    let points = bed.access_points(&fs).await;
    let ids: HashSet<i64> = points.iter().map(|point| point.posix_user().unwrap().gid()).collect();
    assert_eq!((points.len(), ids.len()), (volumes, volumes));
}
