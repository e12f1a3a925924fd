//! Faults in the Node service.

use std::{
    collections::{HashMap, HashSet},
    fs,
    sync::{Arc, Mutex},
};

use csi_proto::csi::{
    NodeUnpublishVolumeRequest, VolumeCapability,
    volume_capability::{AccessMode, access_mode::Mode},
};
use tonic::{Code, Status};

use super::{Mutant, Reach, accept, alter, change, mutant, recode, refuse};
use crate::reference::ReferenceDriver as Driver;

fn own(id: &str) -> bool {
    id.starts_with("volume-")
}

fn mode(capability: Option<&VolumeCapability>) -> Mode {
    capability.and_then(|capability| capability.access_mode.as_ref()).map_or(Mode::Unknown, AccessMode::mode)
}

fn shared(capability: &mut Option<VolumeCapability>) {
    if let Some(mode) = capability.as_mut().and_then(|capability| capability.access_mode.as_mut()) {
        mode.mode = Mode::MultiNodeMultiWriter.into();
    }
}

fn second(target: &str) -> bool {
    target.ends_with("second_target")
}

pub(super) const MUTANTS: &[Mutant] = &[
    mutant!("publish-nothing", "NodePublishVolume takes a request without a volume", [69],
        node_publish_volume => accept(Driver::node_publish_volume, |request| request.volume_id.is_empty())),
    mutant!("publish-nothing-wrong-code", "a missing volume_id is refused with NOT_FOUND", [69],
        node_publish_volume => refuse(Driver::node_publish_volume, |request| request.volume_id.is_empty(), Code::NotFound)),
    mutant!("publish-nowhere", "NodePublishVolume takes a request without a target", [70],
    node_publish_volume => accept(Driver::node_publish_volume, |request| {
        !request.volume_id.is_empty() && request.target_path.is_empty()
    })),
    mutant!("publish-nowhere-wrong-code", "a missing target_path is refused with NOT_FOUND", [70],
        node_publish_volume => refuse(Driver::node_publish_volume, |request| {
            !request.volume_id.is_empty() && request.target_path.is_empty()
        }, Code::NotFound)),
    mutant!("publish-incapable", "NodePublishVolume takes a request without a capability", [71],
    node_publish_volume => accept(Driver::node_publish_volume, |request| {
        !request.target_path.is_empty() && request.volume_capability.is_none()
    })),
    mutant!("publish-incapable-wrong-code", "a missing capability is refused with NOT_FOUND", [71],
        node_publish_volume => refuse(Driver::node_publish_volume, |request| {
            !request.target_path.is_empty() && request.volume_capability.is_none()
        }, Code::NotFound)),
    mutant!("publish-single-writer-twice", "a SINGLE_NODE_SINGLE_WRITER volume is published at two targets", [72],
    node_publish_volume => change(Driver::node_publish_volume, |_, request| {
        if mode(request.volume_capability.as_ref()) == Mode::SingleNodeSingleWriter {
            shared(&mut request.volume_capability);
        }
    })),
    mutant!("publish-single-writer-wrong-code", "a second target is refused with INTERNAL", [72, 102, 103, 176],
        node_publish_volume => recode(Driver::node_publish_volume, Code::FailedPrecondition, Code::Internal)),
    mutant!("unpublish-nothing", "NodeUnpublishVolume takes a request without a volume", [73],
        node_unpublish_volume => accept(Driver::node_unpublish_volume, |request| request.volume_id.is_empty())),
    mutant!("unpublish-nothing-wrong-code", "a missing volume_id is refused with NOT_FOUND", [73],
        node_unpublish_volume => refuse(Driver::node_unpublish_volume, |request| request.volume_id.is_empty(), Code::NotFound)),
    mutant!("unpublish-nowhere", "NodeUnpublishVolume takes a request without a target", [74],
    node_unpublish_volume => accept(Driver::node_unpublish_volume, |request| {
        !request.volume_id.is_empty() && request.target_path.is_empty()
    })),
    mutant!("unpublish-nowhere-wrong-code", "a missing target_path is refused with NOT_FOUND", [74],
        node_unpublish_volume => refuse(Driver::node_unpublish_volume, |request| {
            !request.volume_id.is_empty() && request.target_path.is_empty()
        }, Code::NotFound)),
    mutant!("publish-makes-nothing", "there is nothing at the target after NodePublishVolume", [75],
    node_publish_volume => Box::new(|driver, request| {
        let target = request.target_path.clone();
        let answer = driver.node_publish_volume(request)?;
        fs::remove_dir(target).map_err(|error| Status::internal(error.to_string()))?;
        Ok(answer)
    }))
    .callers("NodePublishVolume"),
    mutant!("unpublish-leaves-target", "NodeUnpublishVolume leaves the target behind", [75],
    node_unpublish_volume => Box::new(|driver, request| {
        let target = request.target_path.clone();
        let there = fs::metadata(&target).is_ok();
        let answer = driver.node_unpublish_volume(request)?;
        if there { fs::create_dir(target).map_err(|error| Status::internal(error.to_string()))?; }
        Ok(answer)
    }))
    .alone(),
    mutant!("stage-nothing", "NodeStageVolume takes a request without a volume", [76],
        node_stage_volume => accept(Driver::node_stage_volume, |request| request.volume_id.is_empty())),
    mutant!("stage-nothing-wrong-code", "a missing volume_id is refused with NOT_FOUND", [76],
        node_stage_volume => refuse(Driver::node_stage_volume, |request| request.volume_id.is_empty(), Code::NotFound)),
    mutant!("stage-nowhere", "NodeStageVolume takes a request without a path", [77],
        node_stage_volume => accept(Driver::node_stage_volume, |request| request.staging_target_path.is_empty())),
    mutant!("stage-nowhere-wrong-code", "a missing staging path is refused with NOT_FOUND", [77],
        node_stage_volume => refuse(Driver::node_stage_volume, |request| request.staging_target_path.is_empty(), Code::NotFound)),
    mutant!("stage-incapable", "NodeStageVolume takes a request without a capability", [78],
        node_stage_volume => accept(Driver::node_stage_volume, |request| request.volume_capability.is_none())),
    mutant!("stage-incapable-wrong-code", "a missing capability is refused with NOT_FOUND", [78],
        node_stage_volume => refuse(Driver::node_stage_volume, |request| request.volume_capability.is_none(), Code::NotFound)),
    mutant!("unstage-nothing", "NodeUnstageVolume takes a request without a volume", [79],
        node_unstage_volume => accept(Driver::node_unstage_volume, |request| request.volume_id.is_empty())),
    mutant!("unstage-nothing-wrong-code", "a missing volume_id is refused with NOT_FOUND", [79],
        node_unstage_volume => refuse(Driver::node_unstage_volume, |request| request.volume_id.is_empty(), Code::NotFound)),
    mutant!("unstage-nowhere", "NodeUnstageVolume takes a request without a path", [80],
        node_unstage_volume => accept(Driver::node_unstage_volume, |request| request.staging_target_path.is_empty())),
    mutant!("unstage-nowhere-wrong-code", "a missing staging path is refused with NOT_FOUND", [80],
        node_unstage_volume => refuse(Driver::node_unstage_volume, |request| {
            request.staging_target_path.is_empty()
        }, Code::NotFound)),
    mutant!("stats-of-nothing", "NodeGetVolumeStats takes a request without a volume", [81],
        node_get_volume_stats => accept(Driver::node_get_volume_stats, |request| request.volume_id.is_empty())),
    mutant!("stats-of-nothing-wrong-code", "a missing volume_id is refused with NOT_FOUND", [81],
        node_get_volume_stats => refuse(Driver::node_get_volume_stats, |request| request.volume_id.is_empty(), Code::NotFound)),
    mutant!("stats-nowhere", "NodeGetVolumeStats takes a request without a path", [82],
        node_get_volume_stats => accept(Driver::node_get_volume_stats, |request| request.volume_path.is_empty())),
    mutant!("stats-nowhere-wrong-code", "a missing volume_path is refused with NOT_FOUND", [82],
        node_get_volume_stats => refuse(Driver::node_get_volume_stats, |request| request.volume_path.is_empty(), Code::NotFound)),
    mutant!("stats-missing-volume", "NodeGetVolumeStats measures volumes that do not exist", [83],
    node_get_volume_stats => accept(Driver::node_get_volume_stats, |request| {
        request.volume_id.starts_with("fake") && !request.volume_path.is_empty()
    })),
    mutant!("stats-missing-volume-wrong-code", "a missing volume is refused with INVALID_ARGUMENT", [83],
        node_get_volume_stats => refuse(Driver::node_get_volume_stats, |request| {
            request.volume_id.starts_with("fake") && !request.volume_path.is_empty()
        }, Code::InvalidArgument)),
    mutant!("stats-any-path", "NodeGetVolumeStats answers for any path", [84],
    node_get_volume_stats => accept(Driver::node_get_volume_stats, |request| {
        own(&request.volume_id) && request.volume_path == "some/path"
    })),
    mutant!("stats-any-path-wrong-code", "a path without the volume is refused with INVALID_ARGUMENT", [84],
        node_get_volume_stats => refuse(Driver::node_get_volume_stats, |request| {
            own(&request.volume_id) && request.volume_path == "some/path"
        }, Code::InvalidArgument)),
    mutant!("node-expand-nothing", "NodeExpandVolume takes a request without a volume", [85],
        node_expand_volume => accept(Driver::node_expand_volume, |request| request.volume_id.is_empty())),
    mutant!("node-expand-nothing-wrong-code", "a missing volume_id is refused with NOT_FOUND", [85],
        node_expand_volume => refuse(Driver::node_expand_volume, |request| request.volume_id.is_empty(), Code::NotFound)),
    mutant!("node-expand-nowhere", "NodeExpandVolume takes a request without a path", [86],
        node_expand_volume => accept(Driver::node_expand_volume, |request| request.volume_path.is_empty())),
    mutant!("node-expand-nowhere-wrong-code", "a missing volume_path is refused with NOT_FOUND", [86],
        node_expand_volume => refuse(Driver::node_expand_volume, |request| request.volume_path.is_empty(), Code::NotFound)),
    mutant!("node-expand-missing", "NodeExpandVolume expands volumes that do not exist", [87],
        node_expand_volume => accept(Driver::node_expand_volume, |request| request.volume_id.starts_with("fake"))),
    mutant!("node-expand-missing-wrong-code", "a missing volume is refused with INVALID_ARGUMENT", [87],
        node_expand_volume => refuse(Driver::node_expand_volume, |request| {
            request.volume_id.starts_with("fake")
        }, Code::InvalidArgument)),
    mutant!("node-expand-fails", "NodeExpandVolume fails for a published volume", [88],
        node_expand_volume => refuse(Driver::node_expand_volume, |request| {
            own(&request.volume_id) && !request.volume_path.is_empty()
        }, Code::Internal)),
    mutant!("stats-empty", "NodeGetVolumeStats tells no usage", [89, 90],
        node_get_volume_stats => alter(Driver::node_get_volume_stats, |answer| answer.usage.clear()))
    .callers("NodeGetVolumeStats"),
    Mutant {
        name: "publish-twice-fails",
        fault: "NodePublishVolume refuses what is published already",
        killed_by: &[90],
        reach: Reach::Callers("NodePublishVolume"),
        arm: |hooks| {
            let seen = Mutex::new(HashSet::new());
            hooks.node_publish_volume = Some(Box::new(move |driver, request| {
                let call = (request.volume_id.clone(), request.target_path.clone(), request.readonly);
                let answer = driver.node_publish_volume(request)?;
                let first = seen.lock().is_ok_and(|mut seen| seen.insert(call));
                if first { Ok(answer) } else { Err(Status::internal("a mutant's answer")) }
            }));
        },
    },
    mutant!("publish-arguments-ignored", "other arguments at the same target are taken", [101, 106],
        node_publish_volume => change(Driver::node_publish_volume, |_, request| request.readonly = false)),
    mutant!("publish-single-writer-arguments-ignored", "other arguments for a single writer are taken", [106],
    node_publish_volume => change(Driver::node_publish_volume, |_, request| {
        if mode(request.volume_capability.as_ref()) == Mode::SingleNodeSingleWriter { request.readonly = false; }
    })),
    mutant!("publish-writer-everywhere", "a SINGLE_NODE_WRITER volume is published at two targets", [102],
    node_publish_volume => change(Driver::node_publish_volume, |_, request| {
        if mode(request.volume_capability.as_ref()) == Mode::SingleNodeWriter && second(&request.target_path) {
            shared(&mut request.volume_capability);
        }
    })),
    mutant!("publish-reader-everywhere", "a SINGLE_NODE_READER_ONLY volume is published at two targets", [103],
    node_publish_volume => change(Driver::node_publish_volume, |_, request| {
        if mode(request.volume_capability.as_ref()) == Mode::SingleNodeReaderOnly && second(&request.target_path) {
            shared(&mut request.volume_capability);
        }
    })),
    mutant!("publish-multi-node-once", "a MULTI_NODE volume is refused at a second target", [104, 107],
        node_publish_volume => refuse(Driver::node_publish_volume, |request| {
            mode(request.volume_capability.as_ref()) == Mode::MultiNodeMultiWriter && second(&request.target_path)
        }, Code::FailedPrecondition)),
    mutant!("publish-multi-writer-once", "a SINGLE_NODE_MULTI_WRITER volume is refused at a second target", [105],
        node_publish_volume => refuse(Driver::node_publish_volume, |request| {
            mode(request.volume_capability.as_ref()) == Mode::SingleNodeMultiWriter && second(&request.target_path)
        }, Code::FailedPrecondition)),
    mutant!("unpublish-everywhere", "NodeUnpublishVolume at one target unpublishes the others", [107],
    node_unpublish_volume => Box::new(|driver, request| {
        if second(&request.target_path) {
            let target_path = request.target_path.replace("second_target", "target");
            let volume_id = request.volume_id.clone();
            driver.node_unpublish_volume(NodeUnpublishVolumeRequest { volume_id, target_path })?;
        }
        driver.node_unpublish_volume(request)
    })),
    Mutant {
        name: "publish-stacks",
        fault: "a volume published three times has to be unpublished three times",
        killed_by: &[108],
        reach: Reach::Alone,
        arm: |hooks| {
            let layers = Arc::new(Mutex::new(HashMap::<String, u32>::new()));
            let counted = Arc::clone(&layers);
            hooks.node_publish_volume = Some(Box::new(move |driver, request| {
                let target = request.target_path.clone();
                let answer = driver.node_publish_volume(request)?;
                if let Ok(mut layers) = counted.lock() {
                    *layers.entry(target).or_default() += 1;
                }
                Ok(answer)
            }));
            hooks.node_unpublish_volume = Some(Box::new(move |driver, request| {
                if let Ok(mut layers) = layers.lock()
                    && let Some(count) = layers.get_mut(&request.target_path)
                {
                    *count -= 1;
                    if *count > 0 {
                        return Ok(Default::default());
                    }
                    layers.remove(&request.target_path);
                }
                driver.node_unpublish_volume(request)
            }));
        },
    },
    Mutant {
        name: "unpublish-twice-fails",
        fault: "NodeUnpublishVolume answers NOT_FOUND the second time",
        killed_by: &[109],
        reach: Reach::Callers("NodeUnpublishVolume"),
        arm: |hooks| {
            let done = Mutex::new(HashSet::new());
            hooks.node_unpublish_volume = Some(Box::new(move |driver, request| {
                let call = (request.volume_id.clone(), request.target_path.clone());
                let answer = driver.node_unpublish_volume(request)?;
                let first = done.lock().is_ok_and(|mut done| done.insert(call));
                if first { Ok(answer) } else { Err(Status::not_found("a mutant's answer")) }
            }));
        },
    },
];
