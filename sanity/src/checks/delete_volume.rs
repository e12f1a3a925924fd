//! Checks 23 to 25: DeleteVolume.

use csi_proto::csi::controller_service_capability::rpc::Type as ControllerType;
use tonic::Code;

use crate::{
    case::Case,
    check::{Check, Need},
    expect::{Expect, Outcome},
    names::MALFORMED_VOLUME_ID,
};

const CHECK: Check = Check {
    container: "Controller Service [Controller Server] DeleteVolume",
    needs: &[Need::Controller(ControllerType::CreateDeleteVolume)],
    ..Check::GO
};

pub(super) const CHECKS: &[Check] = &[
    Check {
        number: 23,
        title: "should fail when no volume id is provided",
        rule: "DeleteVolumeRequest.volume_id is REQUIRED; without it the answer is INVALID_ARGUMENT (spec, DeleteVolume).",
        body: body!(no_volume_id),
        ..CHECK
    },
    Check {
        number: 24,
        title: "should succeed when an invalid volume id is used",
        rule: "Deleting a volume that does not exist succeeds (spec, DeleteVolume).",
        body: body!(unknown_volume),
        ..CHECK
    },
    Check {
        number: 25,
        title: "should return appropriate values (no optional values added)",
        rule: "A volume that is not in use can be deleted (spec, DeleteVolume).",
        body: body!(deletes),
        ..CHECK
    },
];

async fn no_volume_id(case: &Case) -> Outcome {
    case.delete_volume("").await.refused(Code::InvalidArgument, "DeleteVolume without a volume_id")
}

async fn unknown_volume(case: &Case) -> Outcome {
    case.delete_volume(MALFORMED_VOLUME_ID).await.succeeds("DeleteVolume of a volume that does not exist").map(|_| ())
}

async fn deletes(case: &Case) -> Outcome {
    let volume = case.volume("sanity-controller-create-appropriate").await?;
    case.delete_volume(&volume.volume_id).await.succeeds("DeleteVolume").map(|_| ())
}
