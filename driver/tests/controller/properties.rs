//! Whatever happens in whatever order, volumes and ids stay one to one.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use csi_proto::csi;
use csi_proto::csi::controller_server::Controller as _;
use efs_csi_driver::controller::ControllerService;
use efs_csi_driver::efs::EfsErrorKind;
use proptest::prelude::*;
use tonic::{Code, Request};

use crate::model::{FS, Fault, Model, cut_off, driver};
use crate::support::request;

/// Ids in the range: fewer than names, so that they run out.
const IDS: usize = 8;
const NAMES: u8 = 12;

/// The lease of csi-provisioner's leader election.
const LEASE: Duration = Duration::from_secs(15);

/// For so long, a listing of EFS may lag behind.
const LAG: Duration = Duration::from_secs(60);

/// What may happen to the volume of a name, or to the controllers.
#[derive(Debug, Clone)]
enum Event {
    Create(u8),
    /// The work is done, the answer is lost.
    CreateLost(u8),
    CreateRefused(u8),
    /// The process is cut off after so many polls.
    CreateCutOff(u8, usize),
    Delete(u8),
    DeleteLost(u8),
    DeleteCutOff(u8, usize),
    Restart,
    ChangeOfLeader,
}

fn event() -> impl Strategy<Value = Event> {
    let name = 0..NAMES;
    prop_oneof![
        6 => name.clone().prop_map(Event::Create),
        1 => name.clone().prop_map(Event::CreateLost),
        1 => name.clone().prop_map(Event::CreateRefused),
        2 => (name.clone(), 0..6usize).prop_map(|(name, polls)| Event::CreateCutOff(name, polls)),
        3 => name.clone().prop_map(Event::Delete),
        1 => name.clone().prop_map(Event::DeleteLost),
        1 => (name, 0..4usize).prop_map(|(name, polls)| Event::DeleteCutOff(name, polls)),
        1 => Just(Event::Restart),
        1 => Just(Event::ChangeOfLeader),
    ]
}

fn creation(name: u8) -> Request<csi::CreateVolumeRequest> {
    let last = (7000 + IDS - 1).to_string();
    Request::new(request(&format!("pvc-{name}"), FS, &[("gidRangeStart", "7000"), ("gidRangeEnd", &last)]))
}

/// The handle of a name's volume, by what EFS has.
fn handle(model: &Model, name: u8) -> String {
    let points = model.points();
    let point = points.iter().find(|point| point.client_token == format!("pvc-{name}"));
    let id = point.map_or_else(|| "fsap-ffffffff".to_owned(), |point| point.id.to_string());
    format!("efs:{FS}::{id}")
}

fn deletion(model: &Model, name: u8) -> Request<csi::DeleteVolumeRequest> {
    Request::new(csi::DeleteVolumeRequest { volume_id: handle(model, name), ..Default::default() })
}

async fn create(leader: &ControllerService, model: &Model, name: u8) {
    let before = model.len();
    match leader.create_volume(creation(name)).await {
        Ok(made) => assert_eq!(made.into_inner().volume.unwrap().volume_id, handle(model, name)),
        Err(status) => {
            assert_eq!(status.code(), Code::ResourceExhausted, "{status:?}");
            // A deletion that was cut off is believed when listings can't lag behind any more.
            tokio::time::advance(LAG).await;
            let again = leader.create_volume(creation(name)).await;
            assert_eq!(again.is_err(), before == IDS, "{before} volumes, {again:?}");
        }
    }
}

async fn happen(event: Event, model: &Model, replicas: &mut [ControllerService; 2]) {
    let fault = |kind, done| model.fail_next(Fault { kind, done });
    match event {
        Event::Create(name) => create(&replicas[0], model, name).await,
        Event::CreateLost(name) => {
            fault(EfsErrorKind::Timeout, true);
            drop(replicas[0].create_volume(creation(name)).await);
        }
        Event::CreateRefused(name) => {
            fault(EfsErrorKind::BadRequest, false);
            drop(replicas[0].create_volume(creation(name)).await);
        }
        Event::CreateCutOff(name, polls) => {
            cut_off(replicas[0].create_volume(creation(name)), polls);
        }
        Event::Delete(name) => {
            replicas[0].delete_volume(deletion(model, name)).await.unwrap();
            assert!(model.points().iter().all(|point| point.client_token != format!("pvc-{name}")));
        }
        Event::DeleteLost(name) => {
            fault(EfsErrorKind::Connection, true);
            drop(replicas[0].delete_volume(deletion(model, name)).await);
        }
        Event::DeleteCutOff(name, polls) => {
            cut_off(replicas[0].delete_volume(deletion(model, name)), polls);
        }
        Event::Restart => replicas[0] = driver(model),
        Event::ChangeOfLeader => {
            replicas.swap(0, 1);
            tokio::time::advance(LEASE + LAG).await;
        }
    }
    // A fault that nothing has met must not strike later.
    model.forget_fault();
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn every_volume_has_an_id_of_its_own_whatever_happens(events in prop::collection::vec(event(), 1..60)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(async {
            let model = Model::default();
            let mut replicas = [driver(&model), driver(&model)];
            for event in events {
                happen(event, &model, &mut replicas).await;
                let points = model.points();
                let ids: BTreeMap<u32, &str> = points
                    .iter()
                    .map(|point| (point.posix_user.as_ref().unwrap().gid, point.client_token.as_str()))
                    .collect();
                let names: BTreeSet<&str> = ids.values().copied().collect();
                assert_eq!((ids.len(), names.len()), (points.len(), points.len()), "{points:?}");
                assert!(ids.keys().all(|id| (7000..7000 + u32::try_from(IDS).unwrap()).contains(id)));
            }
        });
    }
}
