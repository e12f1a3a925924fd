//! Checks 61 to 66: ControllerModifyVolume.

use csi_proto::csi::{
    ControllerModifyVolumeRequest, ControllerModifyVolumeResponse, Volume,
    controller_service_capability::rpc::Type as ControllerType,
};
use tonic::Code;

use super::create_volume::UNKNOWN_PARAMETER;
use crate::{
    case::{Case, pair},
    check::{Check, Need},
    client::Answer,
    config::Pairs,
    expect::{Expect, Outcome},
};

const CHECK: Check = Check {
    container: "ModifyVolume [Controller Server]",
    needs: &[Need::Controller(ControllerType::ModifyVolume)],
    node_cleanup: false,
    ..Check::GO
};

pub(super) const CHECKS: &[Check] = &[
    Check {
        number: 61,
        title: "should fail if no volume id is given",
        rule: "volume_id is REQUIRED; without it the answer is INVALID_ARGUMENT (spec, ControllerModifyVolume).",
        body: body!(no_volume_id),
        ..CHECK
    },
    Check {
        number: 62,
        title: "should fail if volume does not exist",
        rule: "A volume that does not exist is refused with NOT_FOUND (spec, ControllerModifyVolume errors).",
        body: body!(unknown_volume),
        ..CHECK
    },
    Check {
        number: 63,
        title: "should fail if specified mutable parameters are not supported by the volume",
        rule: "Parameters that are not supported are refused with INVALID_ARGUMENT (spec, ControllerModifyVolume errors).",
        body: body!(unsupported),
        ..CHECK
    },
    Check {
        number: 64,
        title: "should modify a volume created without a volume attribute class",
        rule: "Supported mutable parameters are applied (spec, ControllerModifyVolume).",
        body: body!(created_without),
        ..CHECK
    },
    Check {
        number: 65,
        title: "should modify a volume created with a volume attribute class",
        rule: "ControllerModifyVolume is idempotent: what holds already is applied again (spec, ControllerModifyVolume).",
        body: body!(created_with),
        ..CHECK
    },
    Check {
        number: 66,
        title: "should fail to modify a volume created with a volume attribute class if new mutable parameters are not supported by volume",
        rule: "Parameters that are not supported are refused with INVALID_ARGUMENT (spec, ControllerModifyVolume errors).",
        body: body!(created_with_unsupported),
        ..CHECK
    },
];

async fn modify(case: &Case, volume_id: &str, parameters: Pairs) -> Answer<ControllerModifyVolumeResponse> {
    let request = ControllerModifyVolumeRequest {
        volume_id: volume_id.to_owned(),
        secrets: case.config.secrets.controller_modify_volume.clone(),
        mutable_parameters: parameters,
    };
    case.session.controller_modify_volume(request).await
}

fn unknown_parameters() -> Pairs {
    pair(UNKNOWN_PARAMETER.0, UNKNOWN_PARAMETER.1)
}

async fn classed_volume(case: &Case, name: &str) -> Outcome<Volume> {
    let mut request = case.request_named(name);
    request.mutable_parameters = case.config.mutable_parameters.clone();
    case.must_create(request).await
}

async fn no_volume_id(case: &Case) -> Outcome {
    let answer = modify(case, "", case.config.mutable_parameters.clone()).await;
    answer.refused(Code::InvalidArgument, "ControllerModifyVolume without a volume_id")
}

async fn unknown_volume(case: &Case) -> Outcome {
    let answer = modify(case, "non-existing-volume-id", case.config.mutable_parameters.clone()).await;
    answer.refused(Code::NotFound, "ControllerModifyVolume of a volume that does not exist")
}

async fn unsupported(case: &Case) -> Outcome {
    let volume = case.volume("sanity-modify-volume-unsupported").await?;
    let answer = modify(case, &volume.volume_id, unknown_parameters()).await;
    answer.refused(Code::InvalidArgument, "ControllerModifyVolume with a parameter that is not supported")
}

async fn created_without(case: &Case) -> Outcome {
    let volume = case.volume("sanity-modify-volume-without-class").await?;
    let answer = modify(case, &volume.volume_id, case.config.mutable_parameters.clone()).await;
    answer.succeeds("ControllerModifyVolume").map(|_| ())
}

async fn created_with(case: &Case) -> Outcome {
    let volume = classed_volume(case, "sanity-modify-volume-with-class").await?;
    let answer = modify(case, &volume.volume_id, case.config.mutable_parameters.clone()).await;
    answer.succeeds("ControllerModifyVolume").map(|_| ())
}

async fn created_with_unsupported(case: &Case) -> Outcome {
    let volume = classed_volume(case, "sanity-modify-volume-with-class-unsupported").await?;
    let answer = modify(case, &volume.volume_id, unknown_parameters()).await;
    answer.refused(Code::InvalidArgument, "ControllerModifyVolume with a parameter that is not supported")
}
