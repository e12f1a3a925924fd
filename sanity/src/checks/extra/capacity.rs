//! 141 to 148: capacities at the border.

use csi_proto::csi::{
    CapacityRange, CreateVolumeResponse, GetCapacityRequest, Volume,
    controller_service_capability::rpc::Type as ControllerType,
};
use tonic::Code;

use crate::{
    case::{Case, volume_of},
    check::{Check, Need},
    checks::expand,
    client::{Answer, Cause, Refusal},
    expect::{Expect, Outcome, Stop, ensure},
    names,
};

const CREATE: Need = Need::Controller(ControllerType::CreateDeleteVolume);
const CHECK: Check = Check { container: "Capacity", needs: &[CREATE], ..Check::EXTRA };
const EXPAND: Check = Check {
    container: "ControllerExpandVolume",
    needs: &[CREATE, Need::Controller(ControllerType::ExpandVolume)],
    node_cleanup: false,
    ..Check::EXTRA
};

pub(in crate::checks) const CHECKS: &[Check] = &[
    Check {
        number: 141,
        title: "should refuse a negative size",
        rule: "required_bytes and limit_bytes MUST NOT be negative (spec, CapacityRange).",
        body: body!(negative),
        ..CHECK
    },
    Check {
        number: 142,
        title: "should refuse a limit below the required size",
        rule: "A capacity range that cannot be met is refused (spec, CapacityRange and CreateVolume errors).",
        body: body!(impossible),
        ..CHECK
    },
    Check {
        number: 143,
        title: "should make a volume of exactly the size when both bounds are the same",
        rule: "Equal bounds ask for a volume of exactly that size (spec, CapacityRange).",
        body: body!(exact),
        ..CHECK
    },
    Check {
        number: 144,
        title: "should make a volume within a limit alone",
        rule: "The volume MUST NOT be bigger than limit_bytes (spec, CapacityRange).",
        body: body!(limited),
        ..CHECK
    },
    Check {
        number: 145,
        title: "should make a volume without a capacity range",
        rule: "capacity_range is OPTIONAL (spec, CreateVolumeRequest).",
        body: body!(unspecified),
        ..CHECK
    },
    Check {
        number: 146,
        title: "should tell a capacity that is not negative",
        needs: &[Need::Controller(ControllerType::GetCapacity)],
        rule: "available_capacity, maximum_volume_size and minimum_volume_size MUST NOT be negative (spec, GetCapacityResponse).",
        body: body!(available),
        ..CHECK
    },
    Check {
        number: 147,
        title: "should fail when the volume does not exist",
        rule: "A volume that does not exist is refused with NOT_FOUND (spec, ControllerExpandVolume errors).",
        body: body!(expand_missing),
        ..EXPAND
    },
    Check {
        number: 148,
        title: "should be idempotent and never shrink a volume",
        rule: "A volume that is large enough already is left as it is, with OK (spec, ControllerExpandVolume).",
        body: body!(expand_twice),
        ..EXPAND
    },
];

async fn create(case: &Case, name: &str, required_bytes: i64, limit_bytes: i64) -> Answer<CreateVolumeResponse> {
    let mut request = case.request_named(name);
    request.capacity_range = Some(CapacityRange { required_bytes, limit_bytes });
    case.create_volume(request).await
}

/// The volume made, or a skip when the driver has no such size.
fn volume_unless_out_of_range(answer: Answer<CreateVolumeResponse>) -> Outcome<Volume> {
    match answer {
        Err(refusal @ Refusal { code: Code::OutOfRange, cause: Cause::Driver, .. }) => {
            Err(Stop::Skipped(format!("the driver cannot make a volume of this size: {refusal}")))
        }
        answer => volume_of(answer.succeeds("CreateVolume")?),
    }
}

const INVALID: &[Code] = &[Code::InvalidArgument, Code::OutOfRange];

async fn negative(case: &Case) -> Outcome {
    let answer = create(case, "sanity-capacity-negative", -1, 0).await;
    answer.refused_with_any(INVALID, "CreateVolume with required_bytes -1")?;
    let answer = create(case, "sanity-capacity-negative", case.config.volume_size, -1).await;
    answer.refused_with_any(INVALID, "CreateVolume with limit_bytes -1")
}

async fn impossible(case: &Case) -> Outcome {
    let size = case.config.volume_size;
    let answer = create(case, "sanity-capacity-impossible", size, size - 1).await;
    answer.refused_with_any(INVALID, "CreateVolume with limit_bytes below required_bytes")
}

async fn exact(case: &Case) -> Outcome {
    let size = case.config.volume_size;
    let volume = volume_unless_out_of_range(create(case, "sanity-capacity-exact", size, size).await)?;
    let has = volume.capacity_bytes;
    ensure(has == size || has == 0, || format!("exactly {size} bytes were asked for, the volume has {has}"))
}

async fn limited(case: &Case) -> Outcome {
    let size = case.config.volume_size;
    let volume = volume_unless_out_of_range(create(case, "sanity-capacity-limited", 0, size).await)?;
    let has = volume.capacity_bytes;
    ensure((0..=size).contains(&has), || format!("at most {size} bytes were asked for, the volume has {has}"))
}

async fn unspecified(case: &Case) -> Outcome {
    let mut request = case.request_named("sanity-capacity-unspecified");
    request.capacity_range = None;
    let volume = case.must_create(request).await?;
    ensure(volume.capacity_bytes >= 0, || format!("the volume has {} bytes", volume.capacity_bytes))
}

async fn available(case: &Case) -> Outcome {
    let capacity = case.session.get_capacity(GetCapacityRequest::default()).await.succeeds("GetCapacity")?;
    let (most, least) = (capacity.maximum_volume_size.unwrap_or(i64::MAX), capacity.minimum_volume_size.unwrap_or(0));
    ensure(capacity.available_capacity >= 0 && most >= 0 && least >= 0, || {
        format!("a number is negative: {capacity:?}")
    })?;
    ensure(least <= most, || format!("the smallest volume has {least} bytes, the largest {most}"))
}

async fn expand_missing(case: &Case) -> Outcome {
    let answer = case.session.controller_expand_volume(expand::request(case, &names::unknown_volume_id())).await;
    answer.refused(Code::NotFound, "ControllerExpandVolume of a volume that does not exist")
}

async fn expand_twice(case: &Case) -> Outcome {
    let id = case.volume("sanity-expand-twice").await?.volume_id;
    expand::expand(case, &id).await?;
    expand::expand(case, &id).await?;
    let mut request = expand::request(case, &id);
    request.capacity_range = Some(CapacityRange { required_bytes: case.config.volume_size, limit_bytes: 0 });
    let answer = case.session.controller_expand_volume(request).await;
    let has = answer.succeeds("ControllerExpandVolume to a size that the volume has already")?.capacity_bytes;
    let wanted = case.config.expanded_size();
    ensure(has >= wanted, || format!("the volume had {wanted} bytes and has {has} now"))
}
