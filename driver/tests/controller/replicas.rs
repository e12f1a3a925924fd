//! Two controllers, of which one leads at a time: no id is given out twice, at whatever point leadership changes.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use csi_proto::csi;
use csi_proto::csi::controller_server::Controller as _;
use efs_csi_driver::controller::ControllerService;
use tonic::{Code, Request};

use crate::model::{FS, Model, cut_off, driver, driver_in};
use crate::support::{MapCluster, claimant, request};

/// The lease of csi-provisioner's leader election: so long nobody leads after a leader has gone.
const LEASE: Duration = Duration::from_secs(15);

const TERMS: usize = 12;
const VOLUMES_A_TERM: usize = 5;

fn asked(term: usize, volume: usize) -> Request<csi::CreateVolumeRequest> {
    // As many ids as volumes, so that each has to be given out, and one given twice is missed.
    let last = (7000 + TERMS * (VOLUMES_A_TERM + 1) - 1).to_string();
    Request::new(request(&format!("pvc-{term}-{volume}"), FS, &[("gidRangeStart", "7000"), ("gidRangeEnd", &last)]))
}

async fn create(replica: &ControllerService, term: usize, volume: usize) -> String {
    replica.create_volume(asked(term, volume)).await.unwrap().into_inner().volume.unwrap().volume_id
}

#[tokio::test(start_paused = true)]
async fn a_change_of_leader_at_any_point_gives_no_id_twice() {
    let model = Model::default();
    let replicas = [driver(&model), driver(&model)];
    let mut handles = HashMap::new();
    for term in 0..TERMS {
        let leader = &replicas[term % 2];
        for volume in 0..VOLUMES_A_TERM {
            handles.insert((term, volume), create(leader, term, volume).await);
        }
        // The leader is cut off in the middle of a call, each time at another point of it; some calls have made their access point.
        cut_off(leader.create_volume(asked(term, VOLUMES_A_TERM)), term % 4);
        tokio::time::advance(LEASE).await;
    }
    // The ids of calls that were cut off are free again when listings can't lag behind any more.
    tokio::time::advance(Duration::from_secs(60)).await;
    for term in 0..TERMS {
        handles.insert((term, VOLUMES_A_TERM), create(&replicas[TERMS % 2], term, VOLUMES_A_TERM).await);
    }
    let points = model.points();
    let ids: BTreeSet<u32> = points.iter().map(|point| point.posix_user.as_ref().unwrap().gid).collect();
    let volumes: BTreeSet<&String> = handles.values().collect();
    assert_eq!((points.len(), ids.len(), volumes.len()), (handles.len(), handles.len(), handles.len()));
    let next = replicas[0].create_volume(asked(TERMS, 0)).await.unwrap_err();
    assert_eq!(next.code(), Code::ResourceExhausted, "all ids are given out: {next:?}");
}

/// What another leader has deleted is free again, and what it has made is not.
#[tokio::test(start_paused = true)]
async fn a_leader_that_returns_knows_what_the_other_one_did() {
    let model = Model::default();
    let (first, second) = (driver(&model), driver(&model));
    let range = [("gidRangeStart", "7000"), ("gidRangeEnd", "7001")];
    let asked = |name: &str| Request::new(request(name, FS, &range));
    let made = first.create_volume(asked("pvc-1")).await.unwrap().into_inner().volume.unwrap();
    tokio::time::advance(LEASE).await;
    second.create_volume(asked("pvc-2")).await.unwrap();
    let gone = csi::DeleteVolumeRequest { volume_id: made.volume_id, ..Default::default() };
    second.delete_volume(Request::new(gone)).await.unwrap();
    // Longer than a listing of EFS may lag behind, during which the first one trusts its own memory more.
    tokio::time::advance(Duration::from_secs(60)).await;
    first.create_volume(asked("pvc-3")).await.unwrap();
    let refused = first.create_volume(asked("pvc-4")).await.unwrap_err();
    assert_eq!(refused.code(), Code::ResourceExhausted, "{refused:?}");
    let ids: BTreeSet<u32> = model.points().iter().map(|point| point.posix_user.as_ref().unwrap().gid).collect();
    assert_eq!(ids, BTreeSet::from([7000, 7001]));
}

/// Another controller has looked who uses a reused access point, and is about to delete it, when a new claim wants it.
#[tokio::test(start_paused = true)]
async fn an_access_point_whose_volume_is_being_deleted_is_not_taken_up_at_once() {
    let model = Model::default();
    let cluster = Arc::new(MapCluster::default());
    let (leaving, taking) = (driver_in(&model, &cluster), driver_in(&model, &cluster));
    let claim = [("reuseAccessPoint", "true"), ("csi.storage.k8s.io/pvc/name", "data")];
    let claim = [claim[0], claim[1], ("csi.storage.k8s.io/pvc/namespace", "a")];
    let asked = |name: &str| Request::new(request(name, FS, &claim));
    let made = leaving.create_volume(asked("pvc-1")).await.unwrap().into_inner().volume.unwrap().volume_id;
    *cluster.claimants.lock().unwrap() = Some(vec![claimant("pvc-1", &made, true)]);
    let mut refused = taking.create_volume(asked("pvc-2")).await.unwrap_err();
    for _ in 0..2 {
        assert_eq!(refused.code(), Code::Aborted, "{refused:?}");
        assert!(refused.message().contains("pvc-1"), "{refused:?}");
        tokio::time::advance(Duration::from_secs(14)).await;
        refused = taking.create_volume(asked("pvc-2")).await.unwrap_err();
    }
    let gone = csi::DeleteVolumeRequest { volume_id: made.clone(), ..Default::default() };
    leaving.delete_volume(Request::new(gone.clone())).await.unwrap();
    let anew = taking.create_volume(asked("pvc-2")).await.unwrap().into_inner().volume.unwrap().volume_id;
    assert_ne!(anew, made);

    // A deletion that leaves the access point to the claim that waits does not hold that up for ever.
    *cluster.claimants.lock().unwrap() = Some(vec![claimant("pvc-2", &anew, true)]);
    taking.create_volume(asked("pvc-3")).await.unwrap_err();
    tokio::time::advance(Duration::from_secs(31)).await;
    let taken = taking.create_volume(asked("pvc-3")).await.unwrap().into_inner().volume.unwrap().volume_id;
    assert_eq!(taken, anew);
}

/// Another cluster's PersistentVolumes are not seen. Its tag is, by both: whoever deletes after it was written leaves the access point.
#[tokio::test(start_paused = true)]
async fn another_clusters_access_point_is_announced_before_it_is_taken_up() {
    let model = Model::default();
    let clusters = ["blue", "green"].map(|id| {
        let cluster = Arc::new(MapCluster::default());
        *cluster.id.lock().unwrap() = Some(id.to_owned());
        *cluster.claimants.lock().unwrap() = Some(vec![]);
        cluster
    });
    let [blue, green] = clusters.each_ref().map(|cluster| driver_in(&model, cluster));
    let claim = [("uid", "1"), ("gid", "1"), ("reuseAccessPoint", "true"), ("csi.storage.k8s.io/pvc/name", "data")];
    let claim = [claim.as_slice(), &[("csi.storage.k8s.io/pvc/namespace", "a")]].concat();
    let asked = |name: &str| Request::new(request(name, FS, &claim));
    let made = blue.create_volume(asked("pvc-1")).await.unwrap().into_inner().volume.unwrap().volume_id;
    let refused = green.create_volume(asked("pvc-2")).await.unwrap_err();
    assert_eq!(refused.code(), Code::Aborted, "{refused:?}");
    *clusters[0].claimants.lock().unwrap() = Some(vec![claimant("pvc-1", &made, true)]);
    let gone = csi::DeleteVolumeRequest { volume_id: made.clone(), ..Default::default() };
    blue.delete_volume(Request::new(gone)).await.unwrap();
    tokio::time::advance(Duration::from_secs(31)).await;
    let taken = green.create_volume(asked("pvc-2")).await.unwrap().into_inner().volume.unwrap().volume_id;
    assert_eq!(taken, made);
    // One that this cluster uses already is taken up at once.
    *clusters[1].claimants.lock().unwrap() = Some(vec![claimant("pvc-2", &taken, false)]);
    green.create_volume(asked("pvc-3")).await.unwrap();
}

/// Two controllers at once so rarely choose the same id for different volumes, and a repeated call gets the id of the first one.
#[tokio::test]
async fn a_volumes_name_decides_its_id() {
    let mut ids = [Vec::new(), Vec::new()];
    for ids in &mut ids {
        let model = Model::default();
        let driver = driver(&model);
        for n in 0..20 {
            driver.create_volume(Request::new(request(&format!("pvc-{n}"), FS, &[]))).await.unwrap();
        }
        ids.extend(model.points().iter().map(|point| point.posix_user.as_ref().unwrap().gid));
    }
    assert_eq!(ids[0], ids[1]);
    assert!(!ids[0].is_sorted(), "not simply the first free ones: {:?}", ids[0]);
}
