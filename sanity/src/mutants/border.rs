//! Faults at the borders of fields: pages, sizes, names, secrets, paths.

use csi_proto::csi::{CapacityRange, VolumeCapability, volume_usage::Unit};
use tonic::{Code, Status};

use super::{
    Mutant, accept, alter, change,
    controller::{known, own},
    forgive, mutant, recode, refuse,
};
use crate::reference::ReferenceDriver as Driver;

fn incomplete(capability: &VolumeCapability) -> bool {
    capability.access_type.is_none() || capability.access_mode.is_none()
}

/// The longest target path that the mutant takes.
const SHORT_PATH: usize = 128;

pub(super) const MUTANTS: &[Mutant] = &[
    mutant!("list-unlimited", "ListVolumes ignores max_entries", [121, 122],
        list_volumes => change(Driver::list_volumes, |_, request| request.max_entries = request.max_entries.min(0))),
    mutant!("list-no-token", "ListVolumes gives no token", [121, 122],
        list_volumes => alter(Driver::list_volumes, |answer| answer.next_token.clear())),
    mutant!("list-skips", "a page after the first lacks its last volume", [122],
    list_volumes => Box::new(|driver, request| {
        let later = !request.starting_token.is_empty();
        let mut answer = driver.list_volumes(request)?;
        if later { answer.entries.pop(); }
        Ok(answer)
    })),
    mutant!("list-negative", "ListVolumes takes a negative max_entries", [124],
        list_volumes => change(Driver::list_volumes, |_, request| request.max_entries = request.max_entries.max(0))),
    mutant!("get-nothing", "ControllerGetVolume takes a request without a volume", [131],
        controller_get_volume => accept(Driver::controller_get_volume, |request| request.volume_id.is_empty())),
    mutant!("get-nothing-wrong-code", "a missing volume_id is refused with NOT_FOUND", [131],
        controller_get_volume => recode(Driver::controller_get_volume, Code::InvalidArgument, Code::NotFound)),
    mutant!("get-deleted", "ControllerGetVolume describes volumes that were deleted", [132],
        controller_get_volume => forgive(Driver::controller_get_volume, Code::NotFound)),
    mutant!("get-deleted-wrong-code", "a deleted volume is refused with INTERNAL", [132],
        controller_get_volume => recode(Driver::controller_get_volume, Code::NotFound, Code::Internal)),
    mutant!("get-other", "ControllerGetVolume describes another volume", [133],
    controller_get_volume => alter(Driver::controller_get_volume, |answer| {
        if let Some(volume) = &mut answer.volume { volume.volume_id.push('0'); }
    })),
    mutant!("get-statusless", "ControllerGetVolume leaves out the status", [133, 134],
        controller_get_volume => alter(Driver::controller_get_volume, |answer| answer.status = None)),
    mutant!("get-conditionless", "ControllerGetVolume leaves out the condition", [134],
    controller_get_volume => alter(Driver::controller_get_volume, |answer| {
        if let Some(status) = &mut answer.status { status.volume_condition = None; }
    })),
    mutant!("list-conditionless", "ListVolumes leaves out the conditions", [135],
    list_volumes => alter(Driver::list_volumes, |answer| {
        for status in answer.entries.iter_mut().filter_map(|entry| entry.status.as_mut()) {
            status.volume_condition = None;
        }
    })),
    mutant!("stats-negative", "NodeGetVolumeStats tells negative numbers", [136],
    node_get_volume_stats => alter(Driver::node_get_volume_stats, |answer| {
        for usage in &mut answer.usage { usage.used = -1; }
    })),
    mutant!("stats-unitless", "NodeGetVolumeStats tells no unit", [136],
    node_get_volume_stats => alter(Driver::node_get_volume_stats, |answer| {
        for usage in &mut answer.usage { usage.unit = Unit::Unknown.into(); }
    })),
    mutant!("stats-overfull", "NodeGetVolumeStats tells more used than there is", [136],
    node_get_volume_stats => alter(Driver::node_get_volume_stats, |answer| {
        for usage in &mut answer.usage { usage.used = usage.total + 1; }
    })),
    mutant!("stats-conditionless", "NodeGetVolumeStats leaves out the condition", [137],
        node_get_volume_stats => alter(Driver::node_get_volume_stats, |answer| answer.volume_condition = None)),
    mutant!("stats-speechless", "the condition has no message", [137],
    node_get_volume_stats => alter(Driver::node_get_volume_stats, |answer| {
        if let Some(condition) = &mut answer.volume_condition { condition.message.clear(); }
    })),
    mutant!("stats-unpublished", "NodeGetVolumeStats answers for a volume that was unpublished", [138],
    node_get_volume_stats => Box::new(|driver, request| {
        let absolute = request.volume_path.starts_with('/');
        match driver.node_get_volume_stats(request) {
            Err(status) if absolute && status.code() == Code::NotFound => Ok(Default::default()),
            answer => answer,
        }
    })),
    mutant!("size-negative", "CreateVolume takes negative sizes", [141],
    create_volume => change(Driver::create_volume, |_, request| {
        if request.capacity_range.is_some_and(|range| range.required_bytes < 0 || range.limit_bytes < 0) {
            request.capacity_range = None;
        }
    })),
    mutant!("size-impossible", "CreateVolume ignores a limit below the required size", [142],
    create_volume => change(Driver::create_volume, |_, request| {
        if let Some(range) = &mut request.capacity_range
            && 0 < range.limit_bytes && range.limit_bytes < range.required_bytes
        {
            range.limit_bytes = 0;
        }
    })),
    mutant!("size-rounded", "CreateVolume rounds an exact size up", [15, 143],
    create_volume => Box::new(|driver, request| {
        let exact = request.capacity_range.is_some_and(|range| range.required_bytes == range.limit_bytes);
        let mut answer = driver.create_volume(request)?;
        if let (true, Some(volume)) = (exact, &mut answer.volume) { volume.capacity_bytes += 1; }
        Ok(answer)
    })),
    mutant!("size-unlimited", "CreateVolume ignores a limit alone", [144],
    create_volume => change(Driver::create_volume, |_, request| {
        if let Some(CapacityRange { required_bytes: 0, limit_bytes }) = request.capacity_range
            && limit_bytes > 0
        {
            request.capacity_range = Some(CapacityRange { required_bytes: limit_bytes * 2, limit_bytes: 0 });
        }
    })),
    mutant!("size-required", "CreateVolume demands a capacity range", [145],
        create_volume => refuse(Driver::create_volume, |request| {
            request.capacity_range.is_none() && !request.name.is_empty() && !request.volume_capabilities.is_empty()
        }, Code::InvalidArgument)),
    mutant!("capacity-negative", "GetCapacity tells a negative number", [146],
        get_capacity => alter(Driver::get_capacity, |answer| answer.available_capacity = -1)),
    mutant!("expand-missing", "volumes that do not exist are expanded", [147],
        controller_expand_volume => forgive(Driver::controller_expand_volume, Code::NotFound)),
    mutant!("expand-missing-wrong-code", "expanding a missing volume is refused with INTERNAL", [147],
        controller_expand_volume => recode(Driver::controller_expand_volume, Code::NotFound, Code::Internal)),
    mutant!("expand-shrinks", "ControllerExpandVolume shrinks volumes", [148],
    controller_expand_volume => Box::new(|driver, request| {
        let required = request.capacity_range.map_or(0, |range| range.required_bytes);
        let mut answer = driver.controller_expand_volume(request)?;
        answer.capacity_bytes = required;
        Ok(answer)
    })),
    mutant!("name-too-short", "CreateVolume refuses names of one character", [151],
        create_volume => refuse(Driver::create_volume, |request| request.name.len() == 1, Code::InvalidArgument)),
    mutant!("name-ascii-only", "CreateVolume refuses names that are not ASCII", [152],
        create_volume => refuse(Driver::create_volume, |request| {
            request.name.chars().any(|c| !c.is_ascii() && !c.is_control())
        }, Code::InvalidArgument)),
    mutant!("name-control-characters", "CreateVolume takes control characters in names", [153],
        create_volume => change(Driver::create_volume, |_, request| request.name.retain(|c| !c.is_control()))),
    mutant!("name-is-a-path", "CreateVolume cleans names like paths", [154],
    create_volume => change(Driver::create_volume, |_, request| {
        if let Some((_, last)) = request.name.rsplit_once("/../") { request.name = last.to_owned(); }
    })),
    mutant!("name-cut", "CreateVolume looks at the first 127 bytes of a name", [155],
    create_volume => change(Driver::create_volume, |_, request| {
        let end = request.name.floor_char_boundary(127);
        request.name.truncate(end);
    })),
    mutant!("secret-in-error", "errors of CreateVolume show the request with its secrets", [161],
    create_volume => Box::new(|driver, request| {
        let shown = format!("{request:?}");
        driver.create_volume(request).map_err(|status| Status::new(status.code(), shown))
    })),
    mutant!("secret-in-context", "the volume context holds the secrets", [161],
    create_volume => Box::new(|driver, request| {
        let secrets = request.secrets.clone();
        let mut answer = driver.create_volume(request)?;
        if let Some(volume) = &mut answer.volume { volume.volume_context.extend(secrets); }
        Ok(answer)
    })),
    mutant!("secret-in-node-error", "errors of NodePublishVolume show the request with its secrets", [162],
    node_publish_volume => Box::new(|driver, request| {
        let shown = format!("{request:?}");
        driver.node_publish_volume(request).map_err(|status| Status::new(status.code(), shown))
    })),
    mutant!("publish-missing", "volumes that do not exist are published", [165],
        node_publish_volume => forgive(Driver::node_publish_volume, Code::NotFound)),
    mutant!("publish-missing-wrong-code", "publishing a missing volume is refused with INTERNAL", [165],
        node_publish_volume => recode(Driver::node_publish_volume, Code::NotFound, Code::Internal)),
    mutant!("publish-missing-leaves-directory", "a refused NodePublishVolume leaves a directory behind", [165],
    node_publish_volume => Box::new(|driver, request| {
        let target = request.target_path.clone();
        driver.node_publish_volume(request).inspect_err(|status| {
            // The directory may be there already; the answer is the same.
            if status.code() == Code::NotFound { let _ = std::fs::create_dir(target); }
        })
    }))
    .alone(),
    mutant!("publish-relative", "NodePublishVolume takes relative paths", [166],
    node_publish_volume => accept(Driver::node_publish_volume, |request| {
        !request.target_path.is_empty() && !request.target_path.starts_with('/')
    })),
    mutant!("publish-incomplete", "NodePublishVolume takes capabilities without a type or a mode", [167],
    node_publish_volume => accept(Driver::node_publish_volume, |request| {
        request.volume_capability.as_ref().is_some_and(incomplete)
    })),
    mutant!("create-incomplete", "CreateVolume takes capabilities without a type or a mode", [168],
        create_volume => accept(Driver::create_volume, |request| request.volume_capabilities.iter().any(incomplete))),
    mutant!("validate-deleted", "volumes that were deleted are confirmed", [171],
    validate_volume_capabilities => Box::new(|driver, request| {
        let ours = own(&request.volume_id);
        match driver.validate_volume_capabilities(request) {
            Err(status) if ours && status.code() == Code::NotFound => Ok(Default::default()),
            answer => answer,
        }
    })),
    mutant!("validate-confirms-else", "other capabilities are confirmed than were asked about", [172],
    validate_volume_capabilities => alter(Driver::validate_volume_capabilities, |answer| {
        for capability in answer.confirmed.iter_mut().flat_map(|confirmed| &mut confirmed.volume_capabilities) {
            capability.access_mode = None;
        }
    })),
    mutant!("create-larger", "CreateVolume returns a volume that is too small for a name that exists", [173],
    create_volume => change(Driver::create_volume, |driver, request| {
        if known(driver, request) && request.capacity_range.is_some_and(|range| range.limit_bytes == 0) {
            request.capacity_range = None;
        }
    })),
    mutant!("stage-missing", "volumes that do not exist are staged", [175],
        node_stage_volume => forgive(Driver::node_stage_volume, Code::NotFound)),
    mutant!("publish-unstaged", "NodePublishVolume does not need a staged volume", [176],
    node_publish_volume => accept(Driver::node_publish_volume, |request| {
        own(&request.volume_id) && request.staging_target_path.is_empty()
    })),
    mutant!("detach-twice-fails", "ControllerUnpublishVolume refuses what is not attached", [177],
    controller_unpublish_volume => Box::new(|driver, request| {
        let attached = super::controller::entries(driver).into_iter().any(|entry| {
            entry.volume.is_some_and(|volume| volume.volume_id == request.volume_id)
                && entry.status.is_some_and(|status| status.published_node_ids.contains(&request.node_id))
        });
        if own(&request.volume_id) && !attached { return Err(Status::internal("a mutant's answer")); }
        driver.controller_unpublish_volume(request)
    }))
    .callers("ControllerUnpublishVolume"),
    mutant!("context-too-large", "the volume context has more than 4 KiB", [185],
    create_volume => alter(Driver::create_volume, |answer| {
        if let Some(volume) = &mut answer.volume { volume.volume_context.insert("padding".into(), "x".repeat(5000)); }
    })),
    mutant!("version-too-long", "the plugin's version has more than 128 bytes", [186],
        get_plugin_info => alter(Driver::get_plugin_info, |answer| answer.vendor_version = "1".repeat(200))),
    mutant!("target-path-short", "NodePublishVolume takes short paths only", [187],
        node_publish_volume => refuse(Driver::node_publish_volume, |request| {
            request.target_path.len() > SHORT_PATH
        }, Code::InvalidArgument)),
];
