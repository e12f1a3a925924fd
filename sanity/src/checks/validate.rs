//! Checks 26 to 29: ValidateVolumeCapabilities. They run for every driver, as in the Go suite.

use csi_proto::csi::{ValidateVolumeCapabilitiesRequest, VolumeCapability};
use tonic::Code;

use crate::{
    case::Case,
    check::Check,
    expect::{Expect, Outcome, ensure},
    names,
};

const CHECK: Check =
    Check { container: "Controller Service [Controller Server] ValidateVolumeCapabilities", ..Check::GO };

pub(super) const CHECKS: &[Check] = &[
    Check {
        number: 26,
        title: "should fail when no volume id is provided",
        rule: "volume_id is REQUIRED; without it the answer is INVALID_ARGUMENT (spec, ValidateVolumeCapabilities).",
        body: body!(no_volume_id),
        ..CHECK
    },
    Check {
        number: 27,
        title: "should fail when no volume capabilities are provided",
        rule: "volume_capabilities is REQUIRED; without it the answer is INVALID_ARGUMENT (spec, ValidateVolumeCapabilities).",
        body: body!(no_capabilities),
        ..CHECK
    },
    Check {
        number: 28,
        title: "should return appropriate values (no optional values added)",
        rule: "Confirmed capabilities are repeated in the answer (spec, ValidateVolumeCapabilitiesResponse).",
        body: body!(confirms),
        ..CHECK
    },
    Check {
        number: 29,
        title: "should fail when the requested volume does not exist",
        rule: "A volume that does not exist is refused with NOT_FOUND (spec, ValidateVolumeCapabilities errors).",
        body: body!(unknown_volume),
        ..CHECK
    },
];

fn request(case: &Case, volume_id: &str, capabilities: Vec<VolumeCapability>) -> ValidateVolumeCapabilitiesRequest {
    ValidateVolumeCapabilitiesRequest {
        volume_id: volume_id.to_owned(),
        volume_capabilities: capabilities,
        secrets: case.config.secrets.validate_volume_capabilities.clone(),
        ..ValidateVolumeCapabilitiesRequest::default()
    }
}

async fn no_volume_id(case: &Case) -> Outcome {
    let answer = case.session.validate_volume_capabilities(request(case, "", vec![])).await;
    answer.refused(Code::InvalidArgument, "ValidateVolumeCapabilities without a volume_id")
}

async fn no_capabilities(case: &Case) -> Outcome {
    let volume = case.volume("sanity-controller-validate-nocaps").await?;
    let answer = case.session.validate_volume_capabilities(request(case, &volume.volume_id, vec![])).await;
    answer.refused(Code::InvalidArgument, "ValidateVolumeCapabilities without volume_capabilities")
}

async fn confirms(case: &Case) -> Outcome {
    let volume = case.volume("sanity-controller-validate").await?;
    let request = request(case, &volume.volume_id, vec![case.capability()]);
    let response = case.session.validate_volume_capabilities(request).await.succeeds("ValidateVolumeCapabilities")?;
    match response.confirmed {
        Some(confirmed) => ensure(!confirmed.volume_capabilities.is_empty(), || {
            "the capabilities are confirmed, but the answer does not repeat them".into()
        }),
        None => Ok(()),
    }
}

async fn unknown_volume(case: &Case) -> Outcome {
    let request = request(case, &names::unknown_volume_id(), vec![case.capability()]);
    let answer = case.session.validate_volume_capabilities(request).await;
    answer.refused(Code::NotFound, "ValidateVolumeCapabilities of a volume that does not exist")
}
