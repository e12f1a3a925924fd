//! Checks 10 to 22: CreateVolume.

use std::time::Duration;

use csi_proto::csi::{
    CapacityRange, CreateVolumeRequest, Volume, VolumeContentSource,
    controller_service_capability::rpc::Type as ControllerType,
    volume_content_source::{self, SnapshotSource, VolumeSource},
};
use tonic::Code;

use crate::{
    case::{Case, pair, volume_of},
    check::{Check, Need},
    client::{Cause, Refusal},
    expect::{Expect, Outcome, Stop, ensure},
    names,
};

const CREATE: Need = Need::Controller(ControllerType::CreateDeleteVolume);
const CONTAINER: &str = "Controller Service [Controller Server] CreateVolume";
/// How long the Go suite waits before it asks again whether a snapshot is ready.
const SNAPSHOT_PAUSE: Duration = Duration::from_secs(5);

/// A mutable parameter that no driver knows.
pub(super) const UNKNOWN_PARAMETER: (&str, &str) = ("XXX_FakeKey", "XXX_FakeValue");

pub(super) const CHECKS: &[Check] = &[
    Check {
        number: 10,
        title: "should fail when no name is provided",
        rule: "CreateVolumeRequest.name is REQUIRED; without it the answer is INVALID_ARGUMENT (spec, CreateVolume).",
        body: body!(no_name),
        ..CHECK
    },
    Check {
        number: 11,
        title: "should fail when no volume capabilities are provided",
        rule: "CreateVolumeRequest.volume_capabilities is REQUIRED; without it the answer is INVALID_ARGUMENT (spec, CreateVolume).",
        body: body!(no_capabilities),
        ..CHECK
    },
    Check {
        number: 12,
        title: "should return appropriate values SingleNodeWriter NoCapacity",
        rule: "A created volume has a volume_id (spec, CreateVolumeResponse).",
        body: body!(no_capacity),
        ..CHECK
    },
    Check {
        number: 13,
        title: "should return appropriate values SingleNodeWriter WithCapacity 1Gi",
        rule: "The volume has at least required_bytes, or capacity_bytes is 0 for unknown (spec, CapacityRange and Volume).",
        body: body!(with_capacity),
        ..CHECK
    },
    Check {
        number: 14,
        title: "should not fail when requesting to create a volume with already existing name and same capacity",
        rule: "CreateVolume is idempotent by name: a compatible volume is returned again (spec, CreateVolume).",
        body: body!(same_name_same_capacity),
        ..CHECK
    },
    Check {
        number: 15,
        title: "should fail when requesting to create a volume with already existing name and different capacity",
        rule: "A name that exists with an incompatible capacity_range is refused with ALREADY_EXISTS (spec, CreateVolume errors).",
        body: body!(same_name_other_capacity),
        ..CHECK
    },
    Check {
        number: 16,
        title: "should not fail when creating volume with maximum-length name",
        rule: "String fields hold up to 128 bytes, CreateVolumeRequest.name among them (spec, Size Limits).",
        body: body!(longest_name),
        ..CHECK
    },
    Check {
        number: 17,
        title: "should create volume from an existing source snapshot",
        needs: &[CREATE, Need::Controller(ControllerType::CreateDeleteSnapshot)],
        rule: "A volume made from a content source names it in content_source (spec, CreateVolumeResponse).",
        body: body!(from_snapshot),
        ..CHECK
    },
    Check {
        number: 18,
        title: "should fail when the volume source snapshot is not found",
        needs: &[CREATE, Need::Controller(ControllerType::CreateDeleteSnapshot)],
        rule: "A content source that does not exist is refused with NOT_FOUND (spec, CreateVolume errors).",
        body: body!(from_missing_snapshot),
        ..CHECK
    },
    Check {
        number: 19,
        title: "should create volume from an existing source volume",
        needs: &[CREATE, Need::Controller(ControllerType::CloneVolume)],
        rule: "With CLONE_VOLUME a volume can be made from another one (spec, ControllerGetCapabilities).",
        body: body!(from_volume),
        ..CHECK
    },
    Check {
        number: 20,
        title: "should fail when the volume source volume is not found",
        needs: &[CREATE, Need::Controller(ControllerType::CloneVolume)],
        rule: "A content source that does not exist is refused with NOT_FOUND (spec, CreateVolume errors).",
        body: body!(from_missing_volume),
        ..CHECK
    },
    Check {
        number: 21,
        title: "should create volume with a volume attribute class",
        needs: &[CREATE, Need::Controller(ControllerType::ModifyVolume)],
        rule: "With MODIFY_VOLUME CreateVolume takes mutable_parameters (spec, CreateVolumeRequest).",
        body: body!(with_class),
        ..CHECK
    },
    Check {
        number: 22,
        title: "should not create volume with an invalid volume attribute class",
        needs: &[CREATE, Need::Controller(ControllerType::ModifyVolume)],
        rule: "Mutable parameters that are not supported are refused with INVALID_ARGUMENT (spec, CreateVolume errors).",
        body: body!(with_unknown_class),
        ..CHECK
    },
];

const CHECK: Check = Check { container: CONTAINER, needs: &[CREATE], ..Check::GO };

async fn no_name(case: &Case) -> Outcome {
    let request = CreateVolumeRequest {
        parameters: case.config.volume_parameters.clone(),
        secrets: case.config.secrets.create_volume.clone(),
        ..CreateVolumeRequest::default()
    };
    case.create_volume(request).await.refused(Code::InvalidArgument, "CreateVolume without a name")
}

async fn no_capabilities(case: &Case) -> Outcome {
    let request = CreateVolumeRequest {
        name: case.names.unique("sanity-controller-create-no-volume-capabilities"),
        parameters: case.config.volume_parameters.clone(),
        secrets: case.config.secrets.create_volume.clone(),
        ..CreateVolumeRequest::default()
    };
    case.create_volume(request).await.refused(Code::InvalidArgument, "CreateVolume without volume_capabilities")
}

async fn no_capacity(case: &Case) -> Outcome {
    case.volume("sanity-controller-create-single-no-capacity").await.map(|_| ())
}

async fn with_capacity(case: &Case) -> Outcome {
    match case.create_volume(case.request_named("sanity-controller-create-single-with-capacity")).await {
        Err(refusal @ Refusal { code: Code::OutOfRange | Code::Unimplemented, cause: Cause::Driver, .. }) => {
            Err(Stop::Skipped(format!("the driver cannot make a volume of the test size: {refusal}")))
        }
        answer => large_enough(case, &volume_of(answer.succeeds("CreateVolume")?)?),
    }
}

/// At least the size that was asked for, or unknown.
fn large_enough(case: &Case, volume: &Volume) -> Outcome {
    let (has, wanted) = (volume.capacity_bytes, case.config.volume_size);
    ensure(has == 0 || has >= wanted, || format!("capacity_bytes is {has}, but {wanted} bytes were required"))
}

async fn same_name_same_capacity(case: &Case) -> Outcome {
    let request = case.request_named("sanity-controller-create-twice");
    let first = case.must_create(request.clone()).await?;
    large_enough(case, &first)?;
    let second = case.must_create(request).await?;
    large_enough(case, &second)?;
    ensure(first.volume_id == second.volume_id, || {
        format!("the same name gave two volumes: {} and {}", first.volume_id, second.volume_id)
    })
}

async fn same_name_other_capacity(case: &Case) -> Outcome {
    let exactly = |bytes| Some(CapacityRange { required_bytes: bytes, limit_bytes: bytes });
    let size = case.config.volume_size;
    let mut request = case.request_named("sanity-controller-create-twice-different");
    request.capacity_range = exactly(size);
    let first = case.must_create(request.clone()).await?;
    if first.capacity_bytes == 0 {
        return Err(Stop::Skipped("the driver does not tell the capacity of its volumes (capacity_bytes is 0)".into()));
    }
    ensure(first.capacity_bytes == size, || {
        format!("capacity_bytes is {}, but exactly {size} bytes were asked for", first.capacity_bytes)
    })?;
    request.capacity_range = exactly(size.saturating_mul(2));
    case.create_volume(request)
        .await
        .refused(Code::AlreadyExists, "CreateVolume of an existing name with twice the capacity")
}

async fn longest_name(case: &Case) -> Outcome {
    let name = case.names.longest("sanity-controller-create-maxlen");
    let volume = case.must_create(case.volume_request(name)).await?;
    large_enough(case, &volume)
}

fn snapshot_source(snapshot_id: &str) -> Option<VolumeContentSource> {
    let source = SnapshotSource { snapshot_id: snapshot_id.to_owned() };
    Some(VolumeContentSource { r#type: Some(volume_content_source::Type::Snapshot(source)) })
}

fn volume_source(volume_id: &str) -> Option<VolumeContentSource> {
    let source = VolumeSource { volume_id: volume_id.to_owned() };
    Some(VolumeContentSource { r#type: Some(volume_content_source::Type::Volume(source)) })
}

async fn from_snapshot(case: &Case) -> Outcome {
    let source = case.volume("sanity-controller-source-vol").await?;
    let name = case.names.unique("sanity-controller-snap-from-vol");
    let mut snapshot = case.must_snapshot(name.clone(), &source.volume_id).await?;
    while !snapshot.ready_to_use {
        tokio::time::sleep(SNAPSHOT_PAUSE).await;
        snapshot = case.must_snapshot(name.clone(), &source.volume_id).await?;
    }
    let mut request = case.request_named("sanity-controller-vol-from-snap");
    request.volume_content_source = snapshot_source(&snapshot.snapshot_id);
    let volume = case.must_create(request).await?;
    ensure(volume.content_source.is_some(), || "a volume made from a snapshot has no content_source".into())
}

async fn from_missing_snapshot(case: &Case) -> Outcome {
    let mut request = case.request_named("sanity-controller-vol-from-missing-snap");
    request.volume_content_source = snapshot_source("non-existing-snapshot-id");
    case.create_volume(request).await.refused(Code::NotFound, "CreateVolume from a snapshot that does not exist")
}

async fn from_volume(case: &Case) -> Outcome {
    let source = case.volume("sanity-controller-source-vol").await?;
    let mut request = case.request_named("sanity-controller-vol-from-vol");
    request.volume_content_source = volume_source(&source.volume_id);
    case.must_create(request).await.map(|_| ())
}

async fn from_missing_volume(case: &Case) -> Outcome {
    let mut request = case.request_named("sanity-controller-vol-from-missing-vol");
    request.volume_content_source = volume_source(&names::unknown_volume_id());
    case.create_volume(request).await.refused(Code::NotFound, "CreateVolume from a volume that does not exist")
}

async fn with_class(case: &Case) -> Outcome {
    let mut request = case.request_named("sanity-controller-create-with-class");
    request.mutable_parameters = case.config.mutable_parameters.clone();
    case.must_create(request).await.map(|_| ())
}

async fn with_unknown_class(case: &Case) -> Outcome {
    let mut request = case.request_named("sanity-controller-create-with-unknown-class");
    request.mutable_parameters = pair(UNKNOWN_PARAMETER.0, UNKNOWN_PARAMETER.1);
    case.create_volume(request)
        .await
        .refused(Code::InvalidArgument, "CreateVolume with a mutable parameter that is not supported")
}
