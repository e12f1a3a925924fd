//! Checks 58 to 60: ControllerExpandVolume.

use csi_proto::csi::{
    CapacityRange, ControllerExpandVolumeRequest, controller_service_capability::rpc::Type as ControllerType,
};
use tonic::Code;

use crate::{
    case::Case,
    check::{Check, Need},
    expect::{Expect, Outcome, ensure},
};

const CHECK: Check = Check {
    container: "ExpandVolume [Controller Server]",
    needs: &[Need::Controller(ControllerType::ExpandVolume)],
    node_cleanup: false,
    ..Check::GO
};

pub(super) const CHECKS: &[Check] = &[
    Check {
        number: 58,
        title: "should fail if no volume id is given",
        rule: "volume_id is REQUIRED; without it the answer is INVALID_ARGUMENT (spec, ControllerExpandVolume).",
        body: body!(no_volume_id),
        ..CHECK
    },
    Check {
        number: 59,
        title: "should fail if no capacity range is given",
        rule: "capacity_range is REQUIRED; without it the answer is INVALID_ARGUMENT (spec, ControllerExpandVolume).",
        body: body!(no_capacity_range),
        ..CHECK
    },
    Check {
        number: 60,
        title: "should work",
        rule: "The answer tells the new capacity (spec, ControllerExpandVolumeResponse).",
        body: body!(works),
        ..CHECK
    },
];

/// A request for the configured size.
pub(super) fn request(case: &Case, volume_id: &str) -> ControllerExpandVolumeRequest {
    ControllerExpandVolumeRequest {
        volume_id: volume_id.to_owned(),
        capacity_range: Some(CapacityRange { required_bytes: case.config.expanded_size(), limit_bytes: 0 }),
        secrets: case.config.secrets.controller_expand_volume.clone(),
        volume_capability: Some(case.capability()),
    }
}

/// Expands to the configured size, which must be reached exactly.
pub(super) async fn expand(case: &Case, volume_id: &str) -> Outcome {
    let answer = case.session.controller_expand_volume(request(case, volume_id)).await;
    let (has, wanted) = (answer.succeeds("ControllerExpandVolume")?.capacity_bytes, case.config.expanded_size());
    ensure(has == wanted, || format!("the volume should have {wanted} bytes now, the answer says {has}"))
}

async fn no_volume_id(case: &Case) -> Outcome {
    let answer = case.session.controller_expand_volume(request(case, "")).await;
    answer.refused(Code::InvalidArgument, "ControllerExpandVolume without a volume_id")
}

async fn no_capacity_range(case: &Case) -> Outcome {
    let request = ControllerExpandVolumeRequest { capacity_range: None, ..request(case, "") };
    let answer = case.session.controller_expand_volume(request).await;
    answer.refused(Code::InvalidArgument, "ControllerExpandVolume without a capacity_range")
}

async fn works(case: &Case) -> Outcome {
    let volume = case.volume("sanity-expand-volume").await?;
    expand(case, &volume.volume_id).await
}
