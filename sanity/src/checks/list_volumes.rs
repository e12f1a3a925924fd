//! Checks 4 to 9: what the controller says about itself, its capacity and its volumes.

use csi_proto::csi::{
    ControllerGetCapabilitiesRequest, GetCapacityRequest, ListVolumesRequest, controller_service_capability,
    controller_service_capability::rpc::Type as ControllerType,
};
use tonic::Code;

use crate::{
    case::Case,
    check::{Check, Need},
    config::Spec,
    expect::{Expect, Outcome, ensure, fail},
};

const LIST: &[Need] = &[Need::Controller(ControllerType::ListVolumes)];

pub(super) const CHECKS: &[Check] = &[
    Check {
        number: 4,
        container: "Controller Service [Controller Server] ControllerGetCapabilities",
        title: "should return appropriate capabilities",
        rule: "Each ControllerServiceCapability has an rpc of a type that CSI names (spec, ControllerGetCapabilities).",
        body: body!(capabilities),
        ..Check::GO
    },
    Check {
        number: 5,
        container: "Controller Service [Controller Server] GetCapacity",
        title: "should return capacity (no optional values added)",
        needs: &[Need::Controller(ControllerType::GetCapacity)],
        rule: "Every field of GetCapacityRequest is OPTIONAL (spec, GetCapacity).",
        body: body!(capacity),
        ..Check::GO
    },
    Check {
        number: 6,
        container: "Controller Service [Controller Server] ListVolumes",
        title: "should return appropriate values (no optional values added)",
        needs: LIST,
        rule: "Each entry has a volume, and a volume has a volume_id (spec, ListVolumes).",
        body: body!(entries),
        ..Check::GO
    },
    Check {
        number: 7,
        container: "Controller Service [Controller Server] ListVolumes",
        title: "should fail when an invalid starting_token is passed",
        needs: LIST,
        rule: "A starting_token that is not valid is refused with ABORTED (spec, ListVolumes errors).",
        body: body!(wrong_token),
        ..Check::GO
    },
    Check {
        number: 8,
        container: "Controller Service [Controller Server] ListVolumes",
        title: "check the presence of new volumes and absence of deleted ones in the volume list",
        needs: LIST,
        rule: "The plugin lists all the volumes that it knows about (spec, ListVolumes).",
        alone: true,
        body: body!(comes_and_goes),
        ..Check::GO
    },
    Check {
        number: 9,
        container: "Controller Service [Controller Server] ListVolumes",
        title: "pagination should detect volumes added between pages and accept tokens when the last volume from a page is deleted",
        needs: LIST,
        rule: "Tokens stay usable while volumes come and go (spec, ListVolumes); the Go suite has this check switched off.",
        body: None,
        ..Check::GO
    },
];

async fn capabilities(case: &Case) -> Outcome {
    let answer = case.session.controller_get_capabilities(ControllerGetCapabilitiesRequest {}).await;
    for capability in answer.succeeds("ControllerGetCapabilities")?.capabilities {
        let Some(controller_service_capability::Type::Rpc(rpc)) = capability.r#type else {
            return fail("a controller capability has no rpc");
        };
        // What 1.13 has retired (11) passes, as it does in the node's list.
        let last = match case.config.selection.spec {
            Spec::V1_12 => ControllerType::GetSnapshot,
            Spec::V1_13 => ControllerType::ListVolumeHealth,
        };
        let known = ControllerType::try_from(rpc.r#type)
            .is_ok_and(|kind| kind != ControllerType::Unknown && rpc.r#type <= last as i32);
        ensure(known, || format!("{} is not a type of a controller capability", rpc.r#type))?;
    }
    Ok(())
}

async fn capacity(case: &Case) -> Outcome {
    case.session.get_capacity(GetCapacityRequest::default()).await.succeeds("GetCapacity").map(|_| ())
}

async fn entries(case: &Case) -> Outcome {
    let response = case.session.list_volumes(ListVolumesRequest::default()).await.succeeds("ListVolumes")?;
    for entry in response.entries {
        let Some(volume) = entry.volume else { return fail("an entry has no volume") };
        ensure(!volume.volume_id.is_empty(), || "an entry's volume has an empty volume_id".into())?;
    }
    Ok(())
}

async fn wrong_token(case: &Case) -> Outcome {
    let token = &case.config.invalid_starting_token;
    let request = ListVolumesRequest { starting_token: token.clone(), ..ListVolumesRequest::default() };
    let answer = case.session.list_volumes(request).await;
    answer.refused(Code::Aborted, &format!("ListVolumes with starting_token {token:?}"))
}

async fn count(case: &Case) -> Outcome<usize> {
    let response = case.session.list_volumes(ListVolumesRequest::default()).await.succeeds("ListVolumes")?;
    Ok(response.entries.len())
}

async fn comes_and_goes(case: &Case) -> Outcome {
    let before = count(case).await?;
    let volume = case.must_create(case.volume_request("sanity")).await?;
    let with = count(case).await?;
    ensure(with == before + 1, || format!("{before} volumes were listed, and {with} after one was created"))?;
    case.delete_volume(&volume.volume_id).await.succeeds("DeleteVolume")?;
    let after = count(case).await?;
    ensure(after == before, || format!("{before} volumes were listed, and {after} after one was created and deleted"))
}
