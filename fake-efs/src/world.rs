//! The control plane's state and its operations: file systems, access points, mount targets, and what hangs on them.
//!
//! [`World`] is one lock around one [`State`]. Every operation takes the lock once, first lets everything happen whose time
//! has come, does its work in memory and hands what changed to the [archive](archive). Nothing here knows about HTTP or NFS:
//! the REST server turns requests into calls, and the NFS server asks through [`crate::admission`].

pub mod access_points;
pub mod archive;
pub(crate) mod authorization;
pub(crate) mod bonds;
pub mod clock;
pub(crate) mod connections;
pub mod errors;
pub mod file_systems;
pub mod ids;
mod lifecycle;
pub mod limits;
pub mod model;
pub mod mount_targets;
pub mod network;
pub mod overview;
pub(crate) mod paging;
pub mod policies;
pub(crate) mod policy;
mod registry;
pub mod replication;
mod restore;
pub mod s3files;
pub mod scope;
pub mod tags;
mod throttle;
pub mod volumes;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use tokio_util::sync::CancellationToken;

use self::archive::Archive;
use self::bonds::Bonds;
use self::clock::{Clock, SystemClock};
use self::errors::{EfsError, ErrorName, Result};
use self::ids::{AccessPointId, FileSystemId, IdSource, MountTargetId};
use self::lifecycle::Timer;
use self::limits::{Delays, Limits};
use self::model::{AccessPoint, FileSystem, LifeCycleState, MountTarget, Replication, ResourceIdType};
use self::network::{AddressPlan, Doors, Network, NoDoors};
use self::paging::Page;
use self::registry::Registry;
use self::scope::{Requester, Scope};
use self::throttle::Allowances;
use self::volumes::{MemoryVolumes, Volumes};
use crate::admission::Rate;
use crate::buckets::Buckets;
use crate::store::FileClock;

/// What a world is made with.
pub struct Settings {
    /// Account of callers that nothing else is known of.
    pub account: String,
    /// Region of callers that don't say.
    pub region: String,
    /// Seeds ids and chances; equal seeds and calls give equal worlds.
    pub random_seed: u64,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// How much there may be.
    pub limits: Limits,
    /// How long things take.
    pub delays: Delays,
    /// Subnets and security groups.
    pub network: Network,
    /// Addresses of mount targets.
    pub addresses: AddressPlan,
    /// Opens those addresses.
    pub doors: Arc<dyn Doors>,
    /// Keeps the files.
    pub volumes: Arc<dyn Volumes>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            account: "123456789012".to_owned(),
            region: "us-east-1".to_owned(),
            random_seed: rand::random(),
            clock: Arc::new(SystemClock::default()),
            limits: Limits::default(),
            delays: Delays::default(),
            network: Network::default(),
            addresses: AddressPlan::Shared(Ipv4Addr::LOCALHOST.into()),
            doors: Arc::new(NoDoors),
            volumes: Arc::new(MemoryVolumes::default()),
        }
    }
}

/// The control plane.
pub struct World {
    /// Account and region of callers that nothing else is known of.
    home: Scope,
    clock: Arc<dyn Clock>,
    files: FileClock,
    /// The limit of connections to the file server as they see it.
    rate: Rate,
    doors: Arc<dyn Doors>,
    volumes: Arc<dyn Volumes>,
    /// What S3 keeps. They have a lock of their own, for their work is about bytes.
    buckets: Arc<Buckets>,
    bonds: Bonds,
    state: Mutex<State>,
}

/// Everything that exists.
struct State {
    ids: IdSource,
    limits: Limits,
    delays: Delays,
    network: Network,
    addresses: AddressPlan,
    file_systems: Registry<FileSystemId, FileSystem>,
    access_points: Registry<AccessPointId, AccessPoint>,
    mount_targets: Registry<MountTargetId, MountTarget>,
    /// By source.
    replications: Registry<FileSystemId, Replication>,
    /// Source by destination.
    replicated: HashMap<FileSystemId, FileSystemId>,
    /// Creation tokens of file systems.
    creation_tokens: HashMap<(Scope, String), FileSystemId>,
    /// Client tokens of access points.
    client_tokens: HashMap<(Scope, String), AccessPointId>,
    /// Access points of a file system, in order of creation.
    points_of: HashMap<FileSystemId, BTreeMap<u64, AccessPointId>>,
    /// Mount targets of a file system, in order of creation.
    targets_of: HashMap<FileSystemId, BTreeMap<u64, MountTargetId>>,
    /// Addresses that belong to one mount target only.
    owned_addresses: HashMap<IpAddr, MountTargetId>,
    /// Cancelled when connections through a mount target must end.
    target_revocations: HashMap<MountTargetId, CancellationToken>,
    /// Cancelled when a file system goes away.
    system_revocations: HashMap<FileSystemId, CancellationToken>,
    preferences: HashMap<Scope, ResourceIdType>,
    /// Calls that accounts have left.
    allowances: Allowances,
    /// What happens when.
    timers: BTreeMap<(Timestamp, u64), Timer>,
    next_timer: u64,
    /// What changed since the archive was last told.
    dirty: BTreeSet<Entity>,
    /// Keeps the rows across restarts.
    archive: Option<Archive>,
}

/// The name of something that the archive keeps.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Entity {
    FileSystem(FileSystemId),
    AccessPoint(AccessPointId),
    MountTarget(MountTargetId),
    Replication(FileSystemId),
    Preference(Scope),
}

impl World {
    /// An empty world.
    pub fn new(settings: Settings) -> Self {
        let Settings { account, region, random_seed, clock, limits, delays, network, addresses, doors, volumes } =
            settings;
        let rate = Rate::new(limits.connection_bytes_per_second);
        let buckets = Arc::new(Buckets::new(limits.bucket_bytes, random_seed));
        let state = State {
            ids: IdSource::new(random_seed),
            limits,
            delays,
            network,
            addresses,
            file_systems: Registry::default(),
            access_points: Registry::default(),
            mount_targets: Registry::default(),
            replications: Registry::default(),
            replicated: HashMap::new(),
            creation_tokens: HashMap::new(),
            client_tokens: HashMap::new(),
            points_of: HashMap::new(),
            targets_of: HashMap::new(),
            owned_addresses: HashMap::new(),
            target_revocations: HashMap::new(),
            system_revocations: HashMap::new(),
            preferences: HashMap::new(),
            allowances: Allowances::default(),
            timers: BTreeMap::new(),
            next_timer: 0,
            dirty: BTreeSet::new(),
            archive: None,
        };
        let files = FileClock::default();
        volumes.follow(&files);
        Self {
            home: Scope::new(account, region),
            clock,
            files,
            rate,
            doors,
            volumes,
            buckets,
            bonds: Bonds::default(),
            state: Mutex::new(state),
        }
    }

    /// Account and region of callers that nothing else is known of.
    pub fn home(&self) -> &Scope {
        &self.home
    }

    /// What S3 keeps.
    pub fn buckets(&self) -> &Arc<Buckets> {
        &self.buckets
    }

    /// The world's time.
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Moves the world's clock forward, and that of its files.
    pub fn advance(&self, by: jiff::SignedDuration) {
        self.clock.advance(by);
        self.files.advance(i64::try_from(by.as_nanos()).unwrap_or(i64::MAX));
        self.step(|_, _| ());
        self.synchronize();
    }

    /// Runs one operation: takes the lock, lets pass what is due, does the work and keeps what changed.
    fn step<R>(&self, work: impl FnOnce(&mut State, Timestamp) -> R) -> R {
        let mut state = self.lock();
        let now = self.clock.now();
        self.settle(&mut state, now);
        let result = work(&mut state, now);
        state.keep();
        result
    }

    /// The state stays usable when a test's thread panicked while holding it: operations check before they change.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes limits, for tests and the admin API.
    pub fn set_limits(&self, change: impl FnOnce(&mut Limits)) {
        self.step(|state, _| {
            change(&mut state.limits);
            self.rate.set(state.limits.connection_bytes_per_second);
            self.buckets.set_room(state.limits.bucket_bytes);
        });
    }

    /// The limits in force.
    pub fn limits(&self) -> Limits {
        self.step(|state, _| state.limits.clone())
    }

    /// Changes delays, for tests and the admin API.
    pub fn set_delays(&self, change: impl FnOnce(&mut Delays)) {
        self.step(|state, _| {
            change(&mut state.delays);
            self.renew_terms(state);
        });
    }

    /// The delays in force.
    pub fn delays(&self) -> Delays {
        self.step(|state, _| state.delays.clone())
    }
}

impl State {
    /// Finds a file system that the caller may see. `text` is an id or an ARN.
    fn file_system(&self, requester: &Requester, text: &str) -> Result<&FileSystem> {
        ids::bare(text, &requester.scope)
            .and_then(FileSystemId::parse)
            .and_then(|id| self.file_systems.get(&id))
            .filter(|fs| fs.scope == requester.scope)
            .map(|fs| &**fs)
            .ok_or_else(|| EfsError::file_system_not_found(text))
    }

    /// As [`State::file_system`], and it must be `available`.
    fn available_file_system(&self, requester: &Requester, text: &str) -> Result<&FileSystem> {
        let fs = self.file_system(requester, text)?;
        if fs.state == LifeCycleState::Available {
            return Ok(fs);
        }
        Err(EfsError::new(
            ErrorName::IncorrectFileSystemLifeCycleState,
            format!("File system '{}' is not in the 'available' lifecycle state.", fs.id),
        ))
    }

    /// Finds an access point that the caller may see. `text` is an id or an ARN.
    fn access_point(&self, requester: &Requester, text: &str) -> Result<&Arc<AccessPoint>> {
        ids::bare(text, &requester.scope)
            .and_then(AccessPointId::parse)
            .and_then(|id| self.access_points.get(&id))
            .filter(|point| point.scope == requester.scope)
            .ok_or_else(|| EfsError::access_point_not_found(text))
    }

    /// Finds a mount target that the caller may see. `text` is an id or an ARN.
    fn mount_target(&self, requester: &Requester, text: &str) -> Result<&Arc<MountTarget>> {
        ids::bare(text, &requester.scope)
            .and_then(MountTargetId::parse)
            .and_then(|id| self.mount_targets.get(&id))
            .filter(|target| target.scope == requester.scope)
            .ok_or_else(|| EfsError::mount_target_not_found(text))
    }

    /// Changes a file system that exists.
    fn change_file_system(&mut self, id: &FileSystemId, change: impl FnOnce(&mut FileSystem)) {
        if let Some(fs) = self.file_systems.get_mut(id) {
            change(fs);
            self.dirty.insert(Entity::FileSystem(id.clone()));
        }
    }

    /// Takes the page behind a token out of an ordered index of ids.
    fn page_of<K: Ord + Clone + std::hash::Hash, V>(
        index: Option<&BTreeMap<u64, K>>,
        registry: &Registry<K, V>,
        page: &Page,
    ) -> (Vec<Arc<V>>, Option<String>) {
        let rows = index.into_iter().flat_map(|index| index.range(page.range()));
        page.take(rows.filter_map(|(&seq, id)| Some((seq, Arc::clone(registry.get(id)?)))))
    }
}
