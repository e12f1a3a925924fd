//! Random operations on a world, compared step by step with a reference model that keeps plain lists and computes every state
//! from timestamps, where the world has indexes and timers.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use fake_efs::world::access_points::{CreateAccessPoint, DescribeAccessPoints};
use fake_efs::world::clock::{Clock, ManualClock};
use fake_efs::world::errors::{EfsError, ErrorName};
use fake_efs::world::file_systems::{CreateFileSystem, DescribeFileSystems, UpdateFileSystem};
use fake_efs::world::limits::{Delays, Limits};
use fake_efs::world::model::{LifeCycleState, Tag, ThroughputMode};
use fake_efs::world::mount_targets::{CreateMountTarget, DescribeMountTargets, ModifySecurityGroups};
use fake_efs::world::policies::PutFileSystemPolicy;
use fake_efs::world::scope::{Requester, Scope};
use fake_efs::world::tags::ListTags;
use fake_efs::world::{Settings, World};
use jiff::{SignedDuration, Timestamp};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::TestRunner;

/// Steps of one run, five of six being operations.
const STEPS: usize = 320;
const RUNS: u32 = 400;
/// What every transition takes, in seconds.
const DELAY: i64 = 10;
const MOST_POINTS: usize = 4;
const MOST_SYSTEMS: usize = 5;
const MOST_TAGS: usize = 3;
const MOST_GROUPS: usize = 5;
/// How long the throughput mode stays as it is, in seconds.
const PAUSE: i64 = 24 * 3600;

#[derive(Clone, Debug)]
enum Step {
    CreateSystem { region: usize, token: u8 },
    DeleteSystem { region: usize, system: usize },
    CreatePoint { region: usize, system: usize, token: u8 },
    DeletePoint { region: usize, point: usize },
    CreateTarget { region: usize, system: usize, subnet: u8 },
    DeleteTarget { region: usize, target: usize },
    Tag { region: usize, system: usize, key: u8, value: u8 },
    Untag { region: usize, system: usize, key: u8 },
    TagPoint { region: usize, point: usize, key: u8, value: Option<u8> },
    Update { region: usize, system: usize, mode: ThroughputMode },
    SetPolicy { region: usize, system: usize, policy: Option<u8> },
    SetGroups { region: usize, target: usize, groups: usize },
    Advance { seconds: i64 },
}

fn step() -> impl Strategy<Value = Step> {
    let (region, index, token) = (0..2usize, 0..12usize, 0..8u8);
    prop_oneof![
        4 => (region.clone(), token.clone()).prop_map(|(region, token)| Step::CreateSystem { region, token }),
        1 => (region.clone(), index.clone()).prop_map(|(region, system)| Step::DeleteSystem { region, system }),
        6 => (region.clone(), index.clone(), token)
            .prop_map(|(region, system, token)| Step::CreatePoint { region, system, token }),
        3 => (region.clone(), index.clone()).prop_map(|(region, point)| Step::DeletePoint { region, point }),
        4 => (region.clone(), index.clone(), 0..16u8)
            .prop_map(|(region, system, subnet)| Step::CreateTarget { region, system, subnet }),
        2 => (region.clone(), index.clone()).prop_map(|(region, target)| Step::DeleteTarget { region, target }),
        2 => (region.clone(), index.clone(), 0..5u8, 0..3u8)
            .prop_map(|(region, system, key, value)| Step::Tag { region, system, key, value }),
        1 => (region.clone(), index.clone(), 0..5u8)
            .prop_map(|(region, system, key)| Step::Untag { region, system, key }),
        2 => (region.clone(), index.clone(), 0..5u8, proptest::option::of(0..3u8))
            .prop_map(|(region, point, key, value)| Step::TagPoint { region, point, key, value }),
        2 => (region.clone(), index.clone(), prop_oneof![Just(ThroughputMode::Bursting), Just(ThroughputMode::Elastic)])
            .prop_map(|(region, system, mode)| Step::Update { region, system, mode }),
        2 => (region.clone(), index.clone(), proptest::option::of(0..3u8))
            .prop_map(|(region, system, policy)| Step::SetPolicy { region, system, policy }),
        2 => (region, index, 1..=MOST_GROUPS + 2)
            .prop_map(|(region, target, groups)| Step::SetGroups { region, target, groups }),
        1 => (0..PAUSE).prop_map(|seconds| Step::Advance { seconds }),
        5 => (0..DELAY * 2).prop_map(|seconds| Step::Advance { seconds }),
    ]
}

/// A resource's life by timestamps.
#[derive(Clone, Copy, Debug)]
struct Life {
    born: i64,
    deleted: Option<i64>,
}

impl Life {
    fn state(self, now: i64) -> Option<LifeCycleState> {
        match self.deleted {
            Some(at) if now >= at + DELAY => None,
            Some(_) => Some(LifeCycleState::Deleting),
            None if now >= self.born + DELAY => Some(LifeCycleState::Available),
            None => Some(LifeCycleState::Creating),
        }
    }
}

#[derive(Clone, Debug)]
struct System {
    id: String,
    region: usize,
    token: u8,
    life: Life,
    tags: Vec<(u8, u8)>,
    mode: ThroughputMode,
    /// When it was last updated, and when its mode last changed.
    updated: Option<i64>,
    mode_changed: Option<i64>,
    policy: Option<u8>,
}

impl System {
    fn state(&self, now: i64) -> Option<LifeCycleState> {
        match self.life.state(now)? {
            LifeCycleState::Available if self.updated.is_some_and(|at| now < at + DELAY) => {
                Some(LifeCycleState::Updating)
            }
            state => Some(state),
        }
    }
}

/// Adds a tag or overwrites the one with its key.
fn put_tag(tags: &mut Vec<(u8, u8)>, key: u8, value: u8) -> Result<(), ErrorName> {
    match tags.iter().position(|(known, _)| *known == key) {
        Some(at) => tags[at].1 = value,
        None if tags.len() >= MOST_TAGS => return Err(ErrorName::BadRequest),
        None => tags.push((key, value)),
    }
    Ok(())
}

/// Tags as the world lists them.
fn listed(tags: &[(u8, u8)]) -> Vec<(String, String)> {
    let mut tags: Vec<_> = tags.iter().map(|(k, v)| (format!("k{k}"), format!("v{v}"))).collect();
    tags.sort();
    tags
}

fn policy_text(number: u8) -> String {
    format!(
        r#"{{"Statement":{{"Sid":"s{number}","Effect":"Allow","Principal":"*","Action":"elasticfilesystem:Client*"}}}}"#
    )
}

#[derive(Clone, Debug)]
struct Point {
    id: String,
    system: String,
    region: usize,
    token: u8,
    life: Life,
    tags: Vec<(u8, u8)>,
}

#[derive(Clone, Debug)]
struct Target {
    id: String,
    system: String,
    region: usize,
    zone: u8,
    life: Life,
    /// As they were set; a new one has its network's own group.
    groups: Option<Vec<String>>,
}

/// Lists, nothing else.
#[derive(Default)]
struct Model {
    now: i64,
    systems: Vec<System>,
    points: Vec<Point>,
    targets: Vec<Target>,
}

impl Model {
    /// Forgets what is gone. Access points go with their file system.
    fn tidy(&mut self) {
        let now = self.now;
        self.systems.retain(|s| s.state(now).is_some());
        let systems = &self.systems;
        self.points.retain(|p| p.life.state(now).is_some() && systems.iter().any(|s| s.id == p.system));
        self.targets.retain(|t| t.life.state(now).is_some());
    }

    fn newborn(&self) -> Life {
        Life { born: self.now, deleted: None }
    }

    /// The `index`th of a region's file systems, as its id; an unknown id if there are fewer.
    fn pick_system(&self, region: usize, index: usize) -> String {
        let own: Vec<_> = self.systems.iter().filter(|s| s.region == region).collect();
        own.get(index).map_or_else(|| "fs-00000000".to_owned(), |s| s.id.clone())
    }

    fn available(&self, region: usize, id: &str) -> Result<(), ErrorName> {
        let system = self.systems.iter().find(|s| s.id == id && s.region == region);
        match system.and_then(|s| s.state(self.now)) {
            None => Err(ErrorName::FileSystemNotFound),
            Some(LifeCycleState::Available) => Ok(()),
            Some(_) => Err(ErrorName::IncorrectFileSystemLifeCycleState),
        }
    }
}

/// The world, the model, and the time that both have.
struct Pair {
    world: World,
    clock: Arc<ManualClock>,
    model: Model,
    who: [Requester; 2],
}

fn name<T>(result: Result<T, EfsError>) -> Result<T, ErrorName> {
    result.map_err(|error| error.name)
}

fn forget<T>(result: &Result<T, ErrorName>) -> Result<(), ErrorName> {
    result.as_ref().map(|_| ()).map_err(|name| *name)
}

impl Pair {
    fn new() -> Self {
        let clock = Arc::new(ManualClock::new(Timestamp::UNIX_EPOCH));
        let seconds = DELAY as f64;
        let world = World::new(Settings {
            random_seed: 1,
            clock: Arc::<ManualClock>::clone(&clock),
            limits: Limits {
                file_systems: MOST_SYSTEMS,
                access_points: MOST_POINTS,
                tags: MOST_TAGS,
                ..Limits::default()
            },
            delays: Delays {
                file_system_create: seconds,
                file_system_update: seconds,
                file_system_delete: seconds,
                access_point_create: seconds,
                access_point_delete: seconds,
                mount_target_create: seconds,
                mount_target_delete: seconds,
                ..Delays::default()
            },
            ..Settings::default()
        });
        let who = ["us-east-1", "eu-west-1"].map(|region| Requester::root(Scope::new("123456789012", region)));
        Self { world, clock, model: Model::default(), who }
    }

    fn apply(&mut self, step: &Step) -> Result<(), TestCaseError> {
        match step {
            Step::Advance { seconds } => {
                self.clock.advance(SignedDuration::from_secs(*seconds));
                self.model.now += seconds;
                self.model.tidy();
            }
            Step::CreateSystem { region, token } => self.create_system(*region, *token)?,
            Step::DeleteSystem { region, system } => self.delete_system(*region, *system)?,
            Step::CreatePoint { region, system, token } => self.create_point(*region, *system, *token)?,
            Step::DeletePoint { region, point } => self.delete_point(*region, *point)?,
            Step::CreateTarget { region, system, subnet } => self.create_target(*region, *system, *subnet)?,
            Step::DeleteTarget { region, target } => self.delete_target(*region, *target)?,
            Step::Tag { region, system, key, value } => self.tag(*region, *system, *key, *value)?,
            Step::Untag { region, system, key } => self.untag(*region, *system, *key)?,
            Step::TagPoint { region, point, key, value } => self.tag_point(*region, *point, *key, *value)?,
            Step::Update { region, system, mode } => self.update(*region, *system, *mode)?,
            Step::SetPolicy { region, system, policy } => self.set_policy(*region, *system, *policy)?,
            Step::SetGroups { region, target, groups } => self.set_groups(*region, *target, *groups)?,
        }
        Ok(())
    }

    fn create_system(&mut self, region: usize, token: u8) -> Result<(), TestCaseError> {
        let own = || self.model.systems.iter().filter(|s| s.region == region);
        let expected = match own().find(|s| s.token == token) {
            Some(_) => Err(ErrorName::FileSystemAlreadyExists),
            None if own().count() >= MOST_SYSTEMS => Err(ErrorName::FileSystemLimitExceeded),
            None => Ok(()),
        };
        let input = CreateFileSystem {
            creation_token: format!("t{token}"),
            performance_mode: None,
            encrypted: None,
            kms_key_id: None,
            throughput_mode: None,
            provisioned_throughput_in_mibps: None,
            availability_zone_name: None,
            backup: None,
            tags: Vec::new(),
        };
        let got = name(self.world.create_file_system(&self.who[region], input));
        prop_assert_eq!(forget(&got), expected);
        if let Ok(view) = got {
            let (id, life) = (view.row.id.to_string(), self.model.newborn());
            let mode = ThroughputMode::Bursting;
            let (tags, updated, mode_changed, policy) = (Vec::new(), None, None, None);
            self.model.systems.push(System { id, region, token, life, tags, mode, updated, mode_changed, policy });
        }
        Ok(())
    }

    fn delete_system(&mut self, region: usize, index: usize) -> Result<(), TestCaseError> {
        let id = self.model.pick_system(region, index);
        let busy = self.model.targets.iter().any(|t| t.system == id);
        let now = self.model.now;
        let system = self.model.systems.iter_mut().find(|s| s.id == id);
        let expected = match &system {
            None => Err(ErrorName::FileSystemNotFound),
            Some(s) if s.life.deleted.is_none() && busy => Err(ErrorName::FileSystemInUse),
            Some(_) => Ok(()),
        };
        if let (Some(system), Ok(())) = (system, expected) {
            system.life.deleted.get_or_insert(now);
        }
        prop_assert_eq!(name(self.world.delete_file_system(&self.who[region], &id)), expected);
        Ok(())
    }

    fn create_point(&mut self, region: usize, index: usize, token: u8) -> Result<(), TestCaseError> {
        let system = self.model.pick_system(region, index);
        let taken = self.model.points.iter().any(|p| p.region == region && p.token == token);
        let full = self.model.points.iter().filter(|p| p.system == system).count() >= MOST_POINTS;
        let expected = if taken {
            Err(ErrorName::AccessPointAlreadyExists)
        } else {
            let available = self.model.available(region, &system);
            available.and(if full { Err(ErrorName::AccessPointLimitExceeded) } else { Ok(()) })
        };
        let input = CreateAccessPoint {
            client_token: format!("t{token}"),
            file_system_id: system.clone(),
            tags: Vec::new(),
            posix_user: None,
            root_directory: None,
        };
        let got = name(self.world.create_access_point(&self.who[region], input));
        prop_assert_eq!(forget(&got), expected);
        if let Ok(point) = got {
            let (id, life) = (point.id.to_string(), self.model.newborn());
            self.model.points.push(Point { id, system, region, token, life, tags: Vec::new() });
        }
        Ok(())
    }

    fn delete_point(&mut self, region: usize, index: usize) -> Result<(), TestCaseError> {
        let now = self.model.now;
        let mut own = self.model.points.iter_mut().filter(|p| p.region == region);
        let (id, expected) = match own.nth(index) {
            Some(point) => {
                point.life.deleted.get_or_insert(now);
                (point.id.clone(), Ok(()))
            }
            None => ("fsap-00000000".to_owned(), Err(ErrorName::AccessPointNotFound)),
        };
        prop_assert_eq!(name(self.world.delete_access_point(&self.who[region], &id)), expected);
        Ok(())
    }

    fn create_target(&mut self, region: usize, index: usize, subnet: u8) -> Result<(), TestCaseError> {
        let system = self.model.pick_system(region, index);
        // The documented rule: the zone is the last digit of the subnet's id modulo six.
        let zone = subnet % 6;
        let expected = self.model.available(region, &system).and_then(|()| {
            let taken = self.model.targets.iter().any(|t| t.system == system && t.zone == zone);
            if taken { Err(ErrorName::MountTargetConflict) } else { Ok(()) }
        });
        let input = CreateMountTarget {
            file_system_id: system.clone(),
            subnet_id: format!("subnet-0000000{subnet:x}"),
            ip_address: None,
            ipv6_address: None,
            ip_address_type: None,
            security_groups: None,
        };
        let got = name(self.world.create_mount_target(&self.who[region], input));
        prop_assert_eq!(forget(&got), expected);
        if let Ok(target) = got {
            let (id, life) = (target.id.to_string(), self.model.newborn());
            self.model.targets.push(Target { id, system, region, zone, life, groups: None });
        }
        Ok(())
    }

    fn delete_target(&mut self, region: usize, index: usize) -> Result<(), TestCaseError> {
        let now = self.model.now;
        let mut own = self.model.targets.iter_mut().filter(|t| t.region == region);
        let (id, expected) = match own.nth(index) {
            Some(target) => {
                target.life.deleted.get_or_insert(now);
                (target.id.clone(), Ok(()))
            }
            None => ("fsmt-00000000".to_owned(), Err(ErrorName::MountTargetNotFound)),
        };
        prop_assert_eq!(name(self.world.delete_mount_target(&self.who[region], &id)), expected);
        Ok(())
    }

    fn tag(&mut self, region: usize, index: usize, key: u8, value: u8) -> Result<(), TestCaseError> {
        let id = self.model.pick_system(region, index);
        let expected = match self.model.systems.iter_mut().find(|s| s.id == id) {
            None => Err(ErrorName::FileSystemNotFound),
            Some(system) => put_tag(&mut system.tags, key, value),
        };
        let tags = vec![Tag { key: format!("k{key}"), value: format!("v{value}") }];
        prop_assert_eq!(name(self.world.tag_resource(&self.who[region], &id, tags)), expected);
        Ok(())
    }

    fn untag(&mut self, region: usize, index: usize, key: u8) -> Result<(), TestCaseError> {
        let id = self.model.pick_system(region, index);
        let expected = match self.model.systems.iter_mut().find(|s| s.id == id) {
            None => Err(ErrorName::FileSystemNotFound),
            Some(system) => {
                system.tags.retain(|(k, _)| *k != key);
                Ok(())
            }
        };
        prop_assert_eq!(name(self.world.untag_resource(&self.who[region], &id, &[format!("k{key}")])), expected);
        Ok(())
    }

    fn tag_point(&mut self, region: usize, index: usize, key: u8, value: Option<u8>) -> Result<(), TestCaseError> {
        let mut own = self.model.points.iter_mut().filter(|p| p.region == region);
        let (id, expected) = match (own.nth(index), value) {
            (None, _) => ("fsap-00000000".to_owned(), Err(ErrorName::AccessPointNotFound)),
            (Some(point), Some(value)) => (point.id.clone(), put_tag(&mut point.tags, key, value)),
            (Some(point), None) => {
                point.tags.retain(|(known, _)| *known != key);
                (point.id.clone(), Ok(()))
            }
        };
        let (who, key) = (&self.who[region], format!("k{key}"));
        let got = match value {
            Some(value) => self.world.tag_resource(who, &id, vec![Tag { key, value: format!("v{value}") }]),
            None => self.world.untag_resource(who, &id, &[key]),
        };
        prop_assert_eq!(name(got), expected);
        Ok(())
    }

    fn update(&mut self, region: usize, index: usize, mode: ThroughputMode) -> Result<(), TestCaseError> {
        let (id, now) = (self.model.pick_system(region, index), self.model.now);
        let available = self.model.available(region, &id);
        let system = self.model.systems.iter_mut().find(|s| s.id == id);
        let expected = available.and_then(|()| match system {
            Some(s) if s.mode != mode && s.mode_changed.is_some_and(|at| now < at + PAUSE) => {
                Err(ErrorName::TooManyRequests)
            }
            Some(s) => {
                s.mode_changed = if s.mode == mode { s.mode_changed } else { Some(now) };
                (s.mode, s.updated) = (mode, Some(now));
                Ok(())
            }
            None => Err(ErrorName::FileSystemNotFound),
        });
        let input =
            UpdateFileSystem { file_system_id: id, throughput_mode: Some(mode), provisioned_throughput_in_mibps: None };
        prop_assert_eq!(forget(&name(self.world.update_file_system(&self.who[region], &input))), expected);
        Ok(())
    }

    fn set_policy(&mut self, region: usize, index: usize, policy: Option<u8>) -> Result<(), TestCaseError> {
        let id = self.model.pick_system(region, index);
        let expected = self.model.available(region, &id);
        let who = &self.who[region];
        let got = match policy {
            Some(number) => {
                let (file_system_id, policy) = (id.clone(), policy_text(number));
                let input = PutFileSystemPolicy { file_system_id, policy, bypass_policy_lockout_safety_check: false };
                self.world.put_file_system_policy(who, input).map(|_| ())
            }
            None => self.world.delete_file_system_policy(who, &id),
        };
        prop_assert_eq!(name(got), expected);
        if let (Ok(()), Some(system)) = (expected, self.model.systems.iter_mut().find(|s| s.id == id)) {
            system.policy = policy;
        }
        Ok(())
    }

    fn set_groups(&mut self, region: usize, index: usize, count: usize) -> Result<(), TestCaseError> {
        let now = self.model.now;
        let groups: Vec<_> = (0..count).map(|n| format!("sg-0000000{n}")).collect();
        let mut own = self.model.targets.iter_mut().filter(|t| t.region == region);
        let (id, expected) = match own.nth(index) {
            None => ("fsmt-00000000".to_owned(), Err(ErrorName::MountTargetNotFound)),
            Some(t) if t.life.state(now) == Some(LifeCycleState::Deleting) => {
                (t.id.clone(), Err(ErrorName::IncorrectMountTargetState))
            }
            Some(t) if count > MOST_GROUPS => (t.id.clone(), Err(ErrorName::SecurityGroupLimitExceeded)),
            Some(t) => {
                t.groups = Some(groups.clone());
                (t.id.clone(), Ok(()))
            }
        };
        let input = ModifySecurityGroups { mount_target_id: id, security_groups: Some(groups) };
        prop_assert_eq!(name(self.world.modify_security_groups(&self.who[region], input)), expected);
        Ok(())
    }

    /// Compares everything that can be listed, page by page.
    fn compare(&self) -> Result<(), TestCaseError> {
        for (region, who) in self.who.iter().enumerate() {
            let mut seen = Vec::new();
            let mut input = DescribeFileSystems::default();
            input.page.max = Some(2);
            loop {
                let (page, token) = name(self.world.describe_file_systems(who, &input)).map_err(fail)?;
                prop_assert!(page.len() <= 2);
                seen.extend(
                    page.iter().map(|v| (v.row.id.to_string(), v.row.state, v.row.throughput_mode, v.mount_targets)),
                );
                input.page.token = token;
                if input.page.token.is_none() {
                    break;
                }
            }
            let systems = self.model.systems.iter().filter(|s| s.region == region);
            let expected: Vec<_> = systems
                .clone()
                .filter_map(|s| {
                    let targets = self.model.targets.iter().filter(|t| t.system == s.id).count();
                    Some((s.id.clone(), s.state(self.model.now)?, s.mode, targets))
                })
                .collect();
            prop_assert_eq!(seen, expected);
            for system in systems {
                self.compare_children(who, system)?;
            }
        }
        Ok(())
    }

    fn compare_children(&self, who: &Requester, system: &System) -> Result<(), TestCaseError> {
        let now = self.model.now;
        let mut seen = Vec::new();
        let mut input = DescribeAccessPoints { file_system_id: Some(system.id.clone()), ..Default::default() };
        input.page.max = Some(3);
        loop {
            let (page, token) = name(self.world.describe_access_points(who, &input)).map_err(fail)?;
            seen.extend(page.iter().map(|p| (p.id.to_string(), p.client_token.clone(), p.state)));
            input.page.token = token;
            if input.page.token.is_none() {
                break;
            }
        }
        let points = self.model.points.iter().filter(|p| p.system == system.id);
        let expected: Vec<_> =
            points.clone().filter_map(|p| Some((p.id.clone(), format!("t{}", p.token), p.life.state(now)?))).collect();
        prop_assert_eq!(seen, expected);
        for point in points {
            self.compare_tags(who, &point.id, &point.tags)?;
        }

        let input = DescribeMountTargets { file_system_id: Some(system.id.clone()), ..Default::default() };
        let (page, _) = name(self.world.describe_mount_targets(who, &input)).map_err(fail)?;
        let seen: Vec<_> = page.iter().map(|t| (t.id.to_string(), t.state)).collect();
        let targets = self.model.targets.iter().filter(|t| t.system == system.id);
        let expected: Vec<_> = targets.clone().filter_map(|t| Some((t.id.clone(), t.life.state(now)?))).collect();
        prop_assert_eq!(seen, expected);
        for target in targets {
            let seen = name(self.world.describe_security_groups(who, &target.id));
            match (&target.groups, target.life.state(now)) {
                (_, Some(LifeCycleState::Deleting)) => {
                    prop_assert_eq!(seen, Err(ErrorName::IncorrectMountTargetState));
                }
                (Some(groups), _) => prop_assert_eq!(seen.as_ref(), Ok(groups)),
                (None, _) => prop_assert_eq!(seen.map(|groups| groups.len()), Ok(1)),
            }
        }

        let seen = name(self.world.describe_file_system_policy(who, &system.id));
        prop_assert_eq!(seen, system.policy.map(policy_text).ok_or(ErrorName::PolicyNotFound));
        self.compare_tags(who, &system.id, &system.tags)
    }

    fn compare_tags(&self, who: &Requester, id: &str, tags: &[(u8, u8)]) -> Result<(), TestCaseError> {
        let input = ListTags { resource_id: id.to_owned(), page: Default::default() };
        let (page, _) = name(self.world.list_tags(who, &input)).map_err(fail)?;
        let seen: Vec<_> = page.iter().map(|t| (t.key.clone(), t.value.clone())).collect();
        prop_assert_eq!(seen, listed(tags));
        Ok(())
    }
}

fn fail(name: ErrorName) -> TestCaseError {
    TestCaseError::fail(format!("a listing was refused: {name:?}"))
}

#[test]
fn the_world_agrees_with_a_plain_model_over_100_000_operations() {
    let operations = AtomicUsize::new(0);
    let config = ProptestConfig { cases: RUNS, ..ProptestConfig::with_source_file(file!()) };
    let outcome = TestRunner::new(config).run(&vec(step(), STEPS), |steps| {
        let mut pair = Pair::new();
        for step in &steps {
            pair.apply(step)?;
            pair.compare()?;
            if !matches!(step, Step::Advance { .. }) {
                operations.fetch_add(1, Ordering::Relaxed);
            }
        }
        Ok(())
    });
    if let Err(failure) = outcome {
        panic!("{failure}");
    }
    let operations = operations.into_inner();
    println!("{operations} operations, beside steps of the clock and what is listed after each");
    assert!(operations >= 100_000, "only {operations}");
}
