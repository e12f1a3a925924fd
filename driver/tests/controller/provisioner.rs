//! The rules of csi-provisioner about answers of CreateVolume and DeleteVolume, against every way in which AWS can fail.
//!
//! 1. After a final code the volume is forgotten: nothing of it may exist.
//! 2. After RESOURCE_EXHAUSTED a volume whose topology was chosen late is scheduled elsewhere: nothing of it may exist either.
//! 3. After any other code the same call is repeated until a final one: it must end with one volume.
//! 4. DeleteVolume is repeated after every error until it succeeds: then nothing may exist.

use csi_proto::csi;
use csi_proto::csi::controller_server::Controller as _;
use efs_csi_driver::controller::status::is_final;
use efs_csi_driver::efs::EfsErrorKind;
use tonic::{Code, Request};

use crate::model::{FS, Fault, Model, driver};
use crate::support::request;

/// Every way to fail, and whether the work may have been done. A refusal by AWS itself says that it was not.
fn faults() -> Vec<Fault> {
    let refusals = [
        EfsErrorKind::AccessPointLimitExceeded,
        EfsErrorKind::FileSystemNotFound,
        EfsErrorKind::IncorrectFileSystemLifeCycleState,
        EfsErrorKind::BadRequest,
        EfsErrorKind::Throttled,
        EfsErrorKind::AccessDenied,
        EfsErrorKind::Unauthenticated,
        EfsErrorKind::Other("NobodyKnowsThisException".to_owned()),
    ];
    let open = [
        EfsErrorKind::Server,
        EfsErrorKind::Timeout,
        EfsErrorKind::Connection,
        EfsErrorKind::Unreadable,
        EfsErrorKind::AfterLostAttempt(Box::new(EfsErrorKind::AccessDenied)),
        EfsErrorKind::AfterLostAttempt(Box::new(EfsErrorKind::AccessPointLimitExceeded)),
    ];
    let told = refusals.into_iter().map(|kind| Fault { kind, done: false });
    let untold = open.into_iter().flat_map(|kind| [true, false].map(|done| Fault { kind: kind.clone(), done }));
    told.chain(untold).collect()
}

/// With ids of its own, a creation is one call; without a capacity, it is not tried twice.
fn asked() -> Request<csi::CreateVolumeRequest> {
    let mut asked = request("pvc-1", FS, &[("uid", "1"), ("gid", "1")]);
    asked.capacity_range = None;
    Request::new(asked)
}

#[tokio::test]
async fn nothing_exists_after_a_final_answer_or_one_that_moves_the_pod() {
    for fault in faults() {
        let model = Model::default();
        model.fail_next(fault.clone());
        let code = driver(&model).create_volume(asked()).await.unwrap_err().code();
        if is_final(code) || code == Code::ResourceExhausted {
            assert_eq!(model.len(), 0, "{fault:?} was answered with {code:?}");
        }
        assert_eq!(fault.done, model.len() == 1);
    }
}

#[tokio::test]
async fn a_repeated_call_ends_with_one_volume_whatever_went_wrong_before() {
    for fault in faults() {
        let model = Model::default();
        let driver = driver(&model);
        model.fail_next(fault.clone());
        driver.create_volume(asked()).await.unwrap_err();
        let made = driver.create_volume(asked()).await.unwrap().into_inner().volume.unwrap();
        assert_eq!(made.volume_id, format!("efs:{FS}::{}", model.points()[0].id), "{fault:?}");
        assert_eq!(model.len(), 1, "{fault:?}");
    }
}

#[tokio::test]
async fn a_repeated_deletion_ends_with_nothing_whatever_went_wrong_before() {
    for fault in faults() {
        for same_process in [true, false] {
            let model = Model::default();
            let first = driver(&model);
            let volume_id = first.create_volume(asked()).await.unwrap().into_inner().volume.unwrap().volume_id;
            let gone = || Request::new(csi::DeleteVolumeRequest { volume_id: volume_id.clone(), ..Default::default() });
            let next = if same_process { first } else { driver(&model) };
            model.fail_next(fault.clone());
            // A file system that is gone has taken the access point along.
            let is_done = fault.kind == EfsErrorKind::FileSystemNotFound;
            assert_eq!(next.delete_volume(gone()).await.is_ok(), is_done, "{fault:?}");
            if !is_done {
                next.delete_volume(gone()).await.unwrap();
                assert_eq!(model.len(), 0, "{fault:?}");
            }
        }
    }
}

/// What can be refused for good is refused before anything is made.
#[tokio::test]
async fn a_volume_whose_context_is_refused_is_not_made() {
    let model = Model::default();
    let mut asked = asked();
    asked.get_mut().secrets = [("awsRoleArn".to_owned(), "arn:aws:iam::123456789012:role/x".to_owned())].into();
    // The model has no mount targets, which nodes of another account need.
    let refused = driver(&model).create_volume(asked).await.unwrap_err();
    assert!(is_final(refused.code()), "{refused:?}");
    assert_eq!(model.len(), 0);
}
