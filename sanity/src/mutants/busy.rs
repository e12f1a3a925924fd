//! Faults that show when there are many calls, many volumes, or a restart.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex},
};

use tonic::{Code, Status};

use super::{
    Mutant, Reach,
    controller::{entries, exists, known},
    mutant, when,
};
use crate::reference::{ReferenceDriver as Driver, server::Hooks};

/// How many calls of a kind go well before the fault shows.
const PATIENCE: u32 = 4;
/// How many volumes there may be before the fault shows.
const CROWD: usize = 8;

/// Counts calls by a key; says whether this one is one too many.
#[derive(Default)]
struct Counter(Mutex<HashMap<String, u32>>);

impl Counter {
    fn too_many(&self, key: &str) -> bool {
        self.0.lock().is_ok_and(|mut counts| {
            let count = counts.entry(key.to_owned()).or_default();
            *count += 1;
            *count > PATIENCE
        })
    }
}

fn fault<T>() -> Result<T, Status> {
    Err(Status::internal("a mutant's answer"))
}

/// What the driver knew when it was last asked whether it lives, which the checks of restarts do after a restart.
#[derive(Default)]
struct Memory {
    names: HashSet<String>,
    targets: HashSet<String>,
}

/// A memory that is filled with the volumes' names at each Probe, and with targets as they are published.
fn memory(hooks: &mut Hooks) -> Arc<Mutex<Memory>> {
    let memory = Arc::new(Mutex::new(Memory::default()));
    let seen = Arc::clone(&memory);
    hooks.probe = Some(Box::new(move |driver, request| {
        if let Ok(mut memory) = seen.lock() {
            let volumes = entries(driver).into_iter().filter_map(|entry| entry.volume);
            memory.names = volumes.filter_map(|mut volume| volume.volume_context.remove("name")).collect();
        }
        driver.probe(request)
    }));
    memory
}

pub(super) const MUTANTS: &[Mutant] = &[
    Mutant {
        name: "create-races",
        fault: "many calls for one name make a second volume",
        killed_by: &[111],
        reach: Reach::Exact,
        arm: |hooks| {
            let counter = Counter::default();
            hooks.create_volume = Some(Box::new(move |driver, mut request| {
                if counter.too_many(&request.name) && !request.name.is_empty() {
                    request.name.push('2');
                }
                driver.create_volume(request)
            }));
        },
    },
    mutant!("create-crowded", "there is room for 8 volumes", [112, 116],
        create_volume => when(Driver::create_volume,
            |driver, request| entries(driver).len() >= CROWD && !known(driver, request),
            |_, _| Err(Status::resource_exhausted("a mutant's answer")))),
    Mutant {
        name: "delete-many-fails",
        fault: "many calls to delete one volume fail",
        killed_by: &[113],
        reach: Reach::Callers("DeleteVolume"),
        arm: |hooks| {
            let counter = Counter::default();
            hooks.delete_volume = Some(Box::new(move |driver, request| {
                let too_many = request.volume_id.starts_with("volume-") && counter.too_many(&request.volume_id);
                if too_many { fault() } else { driver.delete_volume(request) }
            }));
        },
    },
    Mutant {
        name: "publish-many-fails",
        fault: "many calls to publish at one target fail",
        killed_by: &[90, 114, 115],
        reach: Reach::Callers("NodePublishVolume"),
        arm: |hooks| {
            let counter = Counter::default();
            hooks.node_publish_volume = Some(Box::new(move |driver, request| {
                let key = format!("{} at {}", request.volume_id, request.target_path);
                let answer = driver.node_publish_volume(request)?;
                if counter.too_many(&key) { fault() } else { Ok(answer) }
            }));
        },
    },
    mutant!("unpublish-unpublished-fails", "unpublishing what is not published fails", [109, 115, 174],
    node_unpublish_volume => Box::new(|driver, request| {
        let nothing = request.target_path.starts_with('/') && std::fs::metadata(&request.target_path).is_err();
        if nothing { fault() } else { driver.node_unpublish_volume(request) }
    }))
    .callers("NodeUnpublishVolume"),
    mutant!("probe-crowded", "Probe fails when there are many volumes", [116],
    probe => when(Driver::probe, |driver, _| entries(driver).len() > CROWD, |_, _| {
        Err(Status::unavailable("a mutant's answer"))
    })),
    Mutant {
        name: "publish-few-targets",
        fault: "a volume is published at four targets at most",
        killed_by: &[117],
        reach: Reach::Exact,
        arm: |hooks| {
            let targets = Mutex::new(HashMap::<String, HashSet<String>>::new());
            hooks.node_publish_volume = Some(Box::new(move |driver, request| {
                let crowded = targets.lock().is_ok_and(|mut all| {
                    let own = all.entry(request.volume_id.clone()).or_default();
                    own.insert(request.target_path.clone());
                    own.len() > 4
                });
                if crowded {
                    Err(Status::failed_precondition("a mutant's answer"))
                } else {
                    driver.node_publish_volume(request)
                }
            }));
        },
    },
    mutant!("list-token-lost", "a token whose volume was deleted makes ListVolumes fail", [123],
        list_volumes => when(Driver::list_volumes,
            |driver, request| request.starting_token.strip_prefix("after:").is_some_and(|id| !exists(driver, id)),
            |_, _| fault())),
    Mutant {
        name: "restart-forgets-names",
        fault: "after a restart CreateVolume makes volumes again that exist",
        killed_by: &[195],
        reach: Reach::Exact,
        arm: |hooks| {
            let memory = memory(hooks);
            hooks.create_volume = Some(Box::new(move |driver, mut request| {
                if memory.lock().is_ok_and(|memory| memory.names.contains(&request.name)) {
                    request.name.push('2');
                }
                driver.create_volume(request)
            }));
        },
    },
    Mutant {
        name: "restart-forgets-targets",
        fault: "after a restart NodePublishVolume fails for what is published",
        killed_by: &[196],
        reach: Reach::Exact,
        arm: |hooks| {
            let memory = memory(hooks);
            hooks.node_publish_volume = Some(Box::new(move |driver, request| {
                let name = request.volume_context.get("name").cloned().unwrap_or_default();
                let target = format!("{name} at {}", request.target_path);
                let answer = driver.node_publish_volume(request)?;
                let lost = memory
                    .lock()
                    .is_ok_and(|mut memory| !memory.targets.insert(target) && memory.names.contains(&name));
                if lost { fault() } else { Ok(answer) }
            }));
        },
    },
    Mutant {
        name: "restart-breaks-unpublish",
        fault: "after a restart the first NodeUnpublishVolume of each volume fails",
        killed_by: &[196, 197],
        reach: Reach::Callers("NodeUnpublishVolume"),
        arm: |hooks| {
            let memory = memory(hooks);
            let failed = Mutex::new(HashSet::new());
            hooks.node_unpublish_volume = Some(Box::new(move |driver, request| {
                let volumes = entries(driver).into_iter().filter_map(|entry| entry.volume);
                let name = volumes
                    .filter(|volume| volume.volume_id == request.volume_id)
                    .find_map(|mut volume| volume.volume_context.remove("name"));
                let before = name.is_some_and(|name| memory.lock().is_ok_and(|memory| memory.names.contains(&name)));
                if before && failed.lock().is_ok_and(|mut failed| failed.insert(request.volume_id.clone())) {
                    return Err(Status::new(Code::Internal, "a mutant's answer"));
                }
                driver.node_unpublish_volume(request)
            }));
        },
    },
];
