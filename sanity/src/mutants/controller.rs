//! Faults in the Controller service.

use std::{collections::HashSet, sync::Mutex};

use csi_proto::csi::{
    ControllerPublishVolumeRequest, CreateVolumeRequest, ListVolumesRequest, list_volumes_response::Entry,
    volume_content_source::Type as SourceType,
};
use tonic::{Code, Status};

use super::{Mutant, accept, alter, change, forgive, mutant, recode, refuse, when};
use crate::reference::{MUTABLE_PARAMETER, NODE, ReferenceDriver as Driver};

pub(super) fn entries(driver: &Driver) -> Vec<Entry> {
    driver.list_volumes(ListVolumesRequest::default()).map(|answer| answer.entries).unwrap_or_default()
}

/// Whether a volume of this name exists.
pub(super) fn known(driver: &Driver, request: &CreateVolumeRequest) -> bool {
    let named = |entry: &Entry| {
        entry.volume.as_ref().is_some_and(|volume| volume.volume_context.get("name") == Some(&request.name))
    };
    entries(driver).iter().any(named)
}

pub(super) fn exists(driver: &Driver, id: &str) -> bool {
    entries(driver).iter().any(|entry| entry.volume.as_ref().is_some_and(|volume| volume.volume_id == id))
}

fn attached(driver: &Driver, request: &ControllerPublishVolumeRequest) -> bool {
    entries(driver).iter().any(|entry| {
        let this = entry.volume.as_ref().is_some_and(|volume| volume.volume_id == request.volume_id);
        this && entry.status.as_ref().is_some_and(|status| status.published_node_ids.contains(&request.node_id))
    })
}

fn from_snapshot(request: &CreateVolumeRequest) -> bool {
    let source = request.volume_content_source.as_ref();
    source.is_some_and(|source| matches!(source.r#type, Some(SourceType::Snapshot(_))))
}

/// The volume that a request wants to copy.
fn copied(request: &CreateVolumeRequest) -> Option<&str> {
    match request.volume_content_source.as_ref().map(|source| &source.r#type) {
        Some(Some(SourceType::Volume(source))) => Some(&source.volume_id),
        _ => None,
    }
}

/// Whether an id looks like one of the driver's.
pub(super) fn own(id: &str) -> bool {
    id.starts_with("volume-")
}

fn unknown_parameter(parameters: &crate::config::Pairs) -> bool {
    parameters.keys().any(|key| key != MUTABLE_PARAMETER)
}

pub(super) const MUTANTS: &[Mutant] = &[
    mutant!("capacity-fails", "GetCapacity fails", [5],
        get_capacity => refuse(Driver::get_capacity, |_| true, Code::Internal)).callers("GetCapacity"),
    mutant!("list-entry-empty", "ListVolumes has an entry without a volume", [6],
        list_volumes => alter(Driver::list_volumes, |answer| answer.entries.push(Entry::default()))).callers("ListVolumes"),
    mutant!("list-id-empty", "ListVolumes has a volume without an id", [6],
        list_volumes => alter(Driver::list_volumes, |answer| {
            answer.entries.push(Entry { volume: Some(Default::default()), status: None });
        })).callers("ListVolumes"),
    mutant!("list-token-ignored", "ListVolumes ignores a token that it never gave", [7],
        list_volumes => change(Driver::list_volumes, |_, request| {
            if request.starting_token == "invalid-token" { request.starting_token.clear(); }
        })),
    mutant!("list-token-wrong-code", "ListVolumes refuses a wrong token with INVALID_ARGUMENT", [7],
        list_volumes => recode(Driver::list_volumes, Code::Aborted, Code::InvalidArgument)),
    mutant!("list-empty", "ListVolumes lists nothing", [8],
        list_volumes => alter(Driver::list_volumes, |answer| answer.entries.clear())).callers("ListVolumes"),
    mutant!("list-forgets-newest", "ListVolumes leaves out the newest volume", [8],
        list_volumes => alter(Driver::list_volumes, |answer| { answer.entries.pop(); })).callers("ListVolumes"),
    mutant!("create-nameless", "CreateVolume takes a request without a name", [10],
        create_volume => accept(Driver::create_volume, |request| request.name.is_empty())),
    mutant!("create-nameless-wrong-code", "CreateVolume refuses a missing name with INTERNAL", [10],
        create_volume => refuse(Driver::create_volume, |request| request.name.is_empty(), Code::Internal)),
    mutant!("create-incapable", "CreateVolume takes a request without capabilities", [11],
        create_volume => accept(Driver::create_volume, |request| {
            !request.name.is_empty() && request.volume_capabilities.is_empty()
        })),
    mutant!("create-incapable-wrong-code", "CreateVolume refuses missing capabilities with NOT_FOUND", [11],
        create_volume => refuse(Driver::create_volume, |request| {
            !request.name.is_empty() && request.volume_capabilities.is_empty()
        }, Code::NotFound)),
    mutant!("create-without-id", "CreateVolume answers with an empty volume_id", [12],
        create_volume => alter(Driver::create_volume, |answer| {
            if let Some(volume) = &mut answer.volume { volume.volume_id.clear(); }
        })).callers("CreateVolume"),
    mutant!("create-without-volume", "CreateVolume answers without a volume", [12],
        create_volume => alter(Driver::create_volume, |answer| answer.volume = None)).callers("CreateVolume"),
    mutant!("create-too-small", "volumes are a byte smaller than required", [13, 14, 15, 16],
        create_volume => alter(Driver::create_volume, |answer| {
            if let Some(volume) = &mut answer.volume { volume.capacity_bytes -= 1; }
        })).callers("CreateVolume"),
    mutant!("create-twice-refused", "CreateVolume refuses every name that exists", [14],
        create_volume => when(Driver::create_volume, known, |_, _| Err(Status::already_exists("a mutant's answer"))))
    .callers("CreateVolume"),
    mutant!("create-twice-two-volumes", "CreateVolume makes a new volume each time", [14],
        create_volume => change(Driver::create_volume, |driver, request| {
            if known(driver, request) && request.capacity_range.is_some_and(|range| range.limit_bytes == 0) {
                request.name = request.name.chars().rev().collect();
            }
        })).callers("CreateVolume"),
    mutant!("create-other-size", "CreateVolume returns a volume of another size for a name that exists", [15, 173],
        create_volume => change(Driver::create_volume, |driver, request| {
            if known(driver, request) { request.capacity_range = None; }
        })),
    mutant!("create-other-size-wrong-code", "CreateVolume refuses another size with INTERNAL", [15],
        create_volume => recode(Driver::create_volume, Code::AlreadyExists, Code::Internal)).callers("CreateVolume"),
    mutant!("create-short-names", "CreateVolume takes names of 64 bytes at most", [16],
        create_volume => refuse(Driver::create_volume, |request| request.name.len() > 64, Code::InvalidArgument))
    .callers("CreateVolume"),
    mutant!("create-source-unnamed", "a volume does not name its source", [17],
        create_volume => alter(Driver::create_volume, |answer| {
            if let Some(volume) = &mut answer.volume { volume.content_source = None; }
        })),
    mutant!("create-from-missing-snapshot", "a snapshot that does not exist gives an empty volume", [18],
        create_volume => change(Driver::create_volume, |_, request| {
            if from_snapshot(request) && format!("{request:?}").contains("non-existing") {
                request.volume_content_source = None;
            }
        })),
    mutant!("create-from-missing-snapshot-wrong-code", "a missing snapshot is refused with INTERNAL", [18],
        create_volume => refuse(Driver::create_volume, |request| {
            from_snapshot(request) && format!("{request:?}").contains("non-existing")
        }, Code::Internal)),
    mutant!("create-no-clones", "CreateVolume does not copy volumes", [19],
        create_volume => when(Driver::create_volume,
            |driver, request| copied(request).is_some_and(|id| exists(driver, id)),
            |_, _| Err(Status::invalid_argument("a mutant's answer")))),
    mutant!("create-from-missing-volume", "a source that does not exist gives an empty volume", [20],
        create_volume => change(Driver::create_volume, |driver, request| {
            if copied(request).is_some_and(|id| !exists(driver, id)) { request.volume_content_source = None; }
        })),
    mutant!("create-from-missing-volume-wrong-code", "a missing source is refused with INVALID_ARGUMENT", [20],
        create_volume => when(Driver::create_volume,
            |driver, request| copied(request).is_some_and(|id| !exists(driver, id)),
            |_, _| Err(Status::invalid_argument("a mutant's answer")))),
    mutant!("create-no-class", "CreateVolume takes no mutable parameters", [21, 65, 66],
        create_volume => refuse(Driver::create_volume, |request| !request.mutable_parameters.is_empty(), Code::InvalidArgument)),
    mutant!("create-any-class", "CreateVolume takes mutable parameters that it does not know", [22],
        create_volume => change(Driver::create_volume, |_, request| {
            if unknown_parameter(&request.mutable_parameters) { request.mutable_parameters.clear(); }
        })),
    mutant!("create-any-class-wrong-code", "an unknown mutable parameter is refused with NOT_FOUND", [22],
        create_volume => refuse(Driver::create_volume, |request| unknown_parameter(&request.mutable_parameters), Code::NotFound)),
    mutant!("delete-nothing", "DeleteVolume takes a request without an id", [23],
        delete_volume => accept(Driver::delete_volume, |request| request.volume_id.is_empty())),
    mutant!("delete-nothing-wrong-code", "DeleteVolume refuses a missing id with NOT_FOUND", [23],
        delete_volume => refuse(Driver::delete_volume, |request| request.volume_id.is_empty(), Code::NotFound)),
    mutant!("delete-malformed", "DeleteVolume refuses ids that it never gave", [24],
        delete_volume => refuse(Driver::delete_volume, |request| {
            !request.volume_id.is_empty() && !own(&request.volume_id)
        }, Code::InvalidArgument)),
    mutant!("delete-missing", "DeleteVolume refuses volumes that do not exist", [24],
        delete_volume => when(Driver::delete_volume,
            |driver, request| !request.volume_id.is_empty() && !exists(driver, &request.volume_id),
            |_, _| Err(Status::not_found("a mutant's answer")))).callers("DeleteVolume"),
    mutant!("delete-fails", "DeleteVolume fails", [25],
        delete_volume => refuse(Driver::delete_volume, |request| own(&request.volume_id), Code::Internal))
    .callers("DeleteVolume"),
    mutant!("validate-nothing", "ValidateVolumeCapabilities takes a request without an id", [26],
        validate_volume_capabilities => accept(Driver::validate_volume_capabilities, |request| request.volume_id.is_empty())),
    mutant!("validate-nothing-wrong-code", "a missing id is refused with NOT_FOUND", [26],
        validate_volume_capabilities => refuse(Driver::validate_volume_capabilities, |request| {
            request.volume_id.is_empty()
        }, Code::NotFound)),
    mutant!("validate-incapable", "ValidateVolumeCapabilities takes a request without capabilities", [27],
        validate_volume_capabilities => accept(Driver::validate_volume_capabilities, |request| {
            !request.volume_id.is_empty() && request.volume_capabilities.is_empty()
        })),
    mutant!("validate-incapable-wrong-code", "missing capabilities are refused with INTERNAL", [27],
        validate_volume_capabilities => refuse(Driver::validate_volume_capabilities, |request| {
            !request.volume_id.is_empty() && request.volume_capabilities.is_empty()
        }, Code::Internal)),
    mutant!("validate-forgets", "the answer does not repeat what it confirms", [28],
        validate_volume_capabilities => alter(Driver::validate_volume_capabilities, |answer| {
            if let Some(confirmed) = &mut answer.confirmed { confirmed.volume_capabilities.clear(); }
        })).callers("ValidateVolumeCapabilities"),
    mutant!("validate-missing", "volumes that do not exist are confirmed", [29],
        validate_volume_capabilities => forgive(Driver::validate_volume_capabilities, Code::NotFound))
    .callers("ValidateVolumeCapabilities"),
    mutant!("validate-missing-wrong-code", "a missing volume is refused with INVALID_ARGUMENT", [29],
        validate_volume_capabilities => recode(Driver::validate_volume_capabilities, Code::NotFound, Code::InvalidArgument))
    .callers("ValidateVolumeCapabilities"),
    mutant!("attach-nothing", "ControllerPublishVolume takes a request without a volume", [30],
        controller_publish_volume => accept(Driver::controller_publish_volume, |request| request.volume_id.is_empty())),
    mutant!("attach-nothing-wrong-code", "a missing volume_id is refused with NOT_FOUND", [30],
        controller_publish_volume => refuse(Driver::controller_publish_volume, |request| {
            request.volume_id.is_empty()
        }, Code::NotFound)),
    mutant!("attach-nowhere", "ControllerPublishVolume takes a request without a node", [31],
        controller_publish_volume => accept(Driver::controller_publish_volume, |request| {
            !request.volume_id.is_empty() && request.node_id.is_empty()
        })),
    mutant!("attach-nowhere-wrong-code", "a missing node_id is refused with NOT_FOUND", [31],
        controller_publish_volume => refuse(Driver::controller_publish_volume, |request| {
            !request.volume_id.is_empty() && request.node_id.is_empty()
        }, Code::NotFound)),
    mutant!("attach-incapable", "ControllerPublishVolume takes a request without a capability", [32],
        controller_publish_volume => accept(Driver::controller_publish_volume, |request| {
            !request.node_id.is_empty() && request.volume_capability.is_none()
        })),
    mutant!("attach-incapable-wrong-code", "a missing capability is refused with NOT_FOUND", [32],
        controller_publish_volume => refuse(Driver::controller_publish_volume, |request| {
            !request.node_id.is_empty() && request.volume_capability.is_none()
        }, Code::NotFound)),
    mutant!("attach-without-limit", "the node takes more volumes than it says", [33],
        controller_publish_volume => forgive(Driver::controller_publish_volume, Code::ResourceExhausted)),
    mutant!("attach-missing-volume", "volumes that do not exist are attached", [34],
        controller_publish_volume => accept(Driver::controller_publish_volume, |request| {
            request.volume_capability.is_some() && !own(&request.volume_id)
        })),
    mutant!("attach-missing-volume-wrong-code", "a missing volume is refused with INVALID_ARGUMENT", [34],
        controller_publish_volume => refuse(Driver::controller_publish_volume, |request| {
            request.volume_capability.is_some() && !own(&request.volume_id)
        }, Code::InvalidArgument)),
    mutant!("attach-missing-node", "volumes are attached to nodes that do not exist", [35],
        controller_publish_volume => accept(Driver::controller_publish_volume, |request| {
            own(&request.volume_id) && request.node_id != NODE
        })),
    mutant!("attach-missing-node-wrong-code", "a missing node is refused with INTERNAL", [35],
        controller_publish_volume => refuse(Driver::controller_publish_volume, |request| {
            own(&request.volume_id) && request.node_id != NODE
        }, Code::Internal)),
    mutant!("attach-readonly-ignored", "a volume attached read-write is attached read-only too", [36],
        controller_publish_volume => change(Driver::controller_publish_volume, |_, request| request.readonly = false)),
    mutant!("attach-readonly-wrong-code", "attaching in another way is refused with INTERNAL", [36],
        controller_publish_volume => recode(Driver::controller_publish_volume, Code::AlreadyExists, Code::Internal)),
    mutant!("attach-fails", "ControllerPublishVolume fails", [37],
        controller_publish_volume => refuse(Driver::controller_publish_volume, |request| request.node_id == NODE, Code::Internal))
    .callers("ControllerPublishVolume"),
    mutant!("attach-twice-fails", "ControllerPublishVolume refuses what is attached already", [38],
        controller_publish_volume => when(Driver::controller_publish_volume, attached, |_, _| {
            Err(Status::already_exists("a mutant's answer"))
        })),
    mutant!("detach-nothing", "ControllerUnpublishVolume takes a request without a volume", [39],
        controller_unpublish_volume => accept(Driver::controller_unpublish_volume, |request| request.volume_id.is_empty())),
    mutant!("detach-nothing-wrong-code", "a missing volume_id is refused with NOT_FOUND", [39],
        controller_unpublish_volume => refuse(Driver::controller_unpublish_volume, |request| {
            request.volume_id.is_empty()
        }, Code::NotFound)),
    mutant!("expand-nothing", "ControllerExpandVolume takes a request without a volume", [58],
        controller_expand_volume => accept(Driver::controller_expand_volume, |request| {
            request.volume_id.is_empty() && request.capacity_range.is_some()
        })),
    mutant!("expand-nothing-wrong-code", "a missing volume_id is refused with NOT_FOUND", [58],
        controller_expand_volume => refuse(Driver::controller_expand_volume, |request| {
            request.volume_id.is_empty() && request.capacity_range.is_some()
        }, Code::NotFound)),
    mutant!("expand-by-nothing", "ControllerExpandVolume takes a request without a size", [59],
        controller_expand_volume => accept(Driver::controller_expand_volume, |request| request.capacity_range.is_none())),
    mutant!("expand-by-nothing-wrong-code", "a missing capacity_range is refused with OUT_OF_RANGE", [59],
        controller_expand_volume => refuse(Driver::controller_expand_volume, |request| {
            request.capacity_range.is_none()
        }, Code::OutOfRange)),
    mutant!("expand-silent", "ControllerExpandVolume does not tell the new size", [60, 88],
        controller_expand_volume => alter(Driver::controller_expand_volume, |answer| answer.capacity_bytes = 0))
    .callers("ControllerExpandVolume"),
    mutant!("modify-nothing", "ControllerModifyVolume takes a request without a volume", [61],
        controller_modify_volume => accept(Driver::controller_modify_volume, |request| request.volume_id.is_empty())),
    mutant!("modify-nothing-wrong-code", "a missing volume_id is refused with NOT_FOUND", [61],
        controller_modify_volume => refuse(Driver::controller_modify_volume, |request| {
            request.volume_id.is_empty()
        }, Code::NotFound)),
    mutant!("modify-missing", "volumes that do not exist are modified", [62],
        controller_modify_volume => forgive(Driver::controller_modify_volume, Code::NotFound)),
    mutant!("modify-missing-wrong-code", "a missing volume is refused with INVALID_ARGUMENT", [62],
        controller_modify_volume => recode(Driver::controller_modify_volume, Code::NotFound, Code::InvalidArgument)),
    mutant!("modify-anything", "unknown mutable parameters are taken", [63, 66],
        controller_modify_volume => accept(Driver::controller_modify_volume, |request| {
            unknown_parameter(&request.mutable_parameters)
        })),
    mutant!("modify-anything-wrong-code", "unknown mutable parameters are refused with INTERNAL", [63, 66],
        controller_modify_volume => refuse(Driver::controller_modify_volume, |request| {
            unknown_parameter(&request.mutable_parameters)
        }, Code::Internal)),
    mutant!("modify-never", "ControllerModifyVolume refuses what it should apply", [64, 65],
        controller_modify_volume => refuse(Driver::controller_modify_volume, |request| {
            own(&request.volume_id) && !unknown_parameter(&request.mutable_parameters)
        }, Code::InvalidArgument)),
    Mutant {
        name: "modify-once",
        fault: "a volume that has its class already cannot be given it again",
        killed_by: &[65],
        reach: super::Reach::Exact,
        arm: |hooks| {
            let classed = std::sync::Arc::new(Mutex::new(HashSet::new()));
            let remembered = std::sync::Arc::clone(&classed);
            hooks.create_volume = Some(Box::new(move |driver, request| {
                let has_class = !request.mutable_parameters.is_empty();
                let answer = driver.create_volume(request)?;
                if let (true, Some(volume), Ok(mut ids)) = (has_class, &answer.volume, remembered.lock()) {
                    ids.insert(volume.volume_id.clone());
                }
                Ok(answer)
            }));
            hooks.controller_modify_volume = Some(Box::new(move |driver, request| {
                let known = !unknown_parameter(&request.mutable_parameters);
                if known && classed.lock().is_ok_and(|ids| ids.contains(&request.volume_id)) {
                    return Err(Status::failed_precondition("a mutant's answer"));
                }
                driver.controller_modify_volume(request)
            }));
        },
    },
];
