//! The driver is cut off at every point where it waits; a fresh one repeats the call and finds or makes exactly one volume.

use csi_proto::csi;
use csi_proto::csi::controller_server::Controller as _;
use tonic::Request;

use crate::model::{FS, Model, cut_off, driver};
use crate::support::request;

fn asked() -> Request<csi::CreateVolumeRequest> {
    Request::new(request("pvc-1", FS, &[]))
}

#[tokio::test]
async fn a_creation_that_is_cut_off_anywhere_ends_with_one_volume() {
    for same_process in [false, true] {
        let mut polls = 0;
        loop {
            let model = Model::default();
            let first = driver(&model);
            let finished = cut_off(first.create_volume(asked()), polls);
            assert!(model.len() <= 1);
            let next = if same_process { first } else { driver(&model) };
            let made = next.create_volume(asked()).await.unwrap().into_inner().volume.unwrap();
            assert_eq!(made, next.create_volume(asked()).await.unwrap().into_inner().volume.unwrap());
            assert_eq!(model.len(), 1, "after {polls} polls");
            if finished {
                break;
            }
            polls += 1;
        }
        assert!(polls >= 5, "the call waits in at least five places, not {polls}");
    }
}

#[tokio::test]
async fn a_deletion_that_is_cut_off_anywhere_ends_with_none() {
    for same_process in [false, true] {
        let mut polls = 0;
        loop {
            let model = Model::default();
            let first = driver(&model);
            let id = first.create_volume(asked()).await.unwrap().into_inner().volume.unwrap().volume_id;
            let delete = || Request::new(csi::DeleteVolumeRequest { volume_id: id.clone(), ..Default::default() });
            let finished = cut_off(first.delete_volume(delete()), polls);
            let next = if same_process { first } else { driver(&model) };
            next.delete_volume(delete()).await.unwrap();
            assert_eq!(model.len(), 0, "after {polls} polls");
            if finished {
                break;
            }
            polls += 1;
        }
        // One call, because this controller made the access point and need not look at it: it waits before and after the work.
        assert!(polls >= 2, "the call waits in at least two places, not {polls}");
    }
}
