//! The model beside the controllers: PersistentVolumes, and whose every file is.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use async_trait::async_trait;
use csi_proto::csi;
use csi_proto::csi::controller_server::Controller as _;
use csi_proto::csi::volume_capability::access_mode::Mode;
use csi_proto::csi::volume_capability::{AccessMode, AccessType, MountVolume};
use efs_csi_driver::cli::UnknownParameters;
use efs_csi_driver::config::ControllerConfig;
use efs_csi_driver::controller::cluster::{Claimant, Cluster, ClusterFacts, SecretName, VolumeFacts, WaitingClaim};
use efs_csi_driver::controller::parameters::ObjectKey;
use efs_csi_driver::controller::sessions::{Place, Session, Sessions};
use efs_csi_driver::controller::status::is_final;
use efs_csi_driver::controller::uses::Used;
use efs_csi_driver::controller::{Controller, ControllerError, ControllerService};
use efs_csi_driver::efs::MountTarget;
use efs_csi_driver::metrics::Metrics;
use efs_csi_driver::volume::VolumeId;
use fake_efs::store::{FileId, Kind, NewBody, NewNode, Store};
use fake_efs::world::file_systems::CreateFileSystem;
use fake_efs::world::volumes::{MemoryVolumes, Volumes};
use tonic::{Request, Status};

use crate::account::{Account, Fault};
use crate::history::{Call, Class, Op, PLACES};
use crate::stored::Stored;

/// A PersistentVolume, or a volume that is about to get one.
#[derive(Debug, Clone)]
struct Volume {
    name: String,
    handle: String,
    stored: bool,
    retained: bool,
    /// Whether its deletion was asked for.
    leaving: bool,
    /// Its directory when it was made, if that was there.
    directory: Option<FileId>,
}

/// Whose a file is: that of the volumes with a handle, or nobody's who would ever delete it.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Owner {
    Handle(String),
    Nobody,
    /// It lies in a directory that somebody else may delete.
    Anybody,
}

/// What Kubernetes tells.
#[derive(Debug, Default)]
struct Kubernetes {
    volumes: Mutex<Vec<Volume>>,
    /// Claims of classes that take up access points, by the names of the volumes that are made for them.
    claims: Mutex<BTreeMap<String, &'static str>>,
}

#[async_trait]
impl Cluster for Kubernetes {
    async fn config_map(&self, _: &ObjectKey) -> Result<Option<String>, ControllerError> {
        Ok(None)
    }

    async fn secret(&self, _: &ObjectKey) -> Result<Option<String>, ControllerError> {
        Ok(None)
    }

    async fn claimants(&self) -> Result<Option<Vec<Claimant>>, ControllerError> {
        crate::stored::wait_once().await;
        let volumes = self.volumes.lock().unwrap();
        let stored = volumes.iter().filter(|it| it.stored).map(|it| Claimant {
            name: it.name.clone(),
            handle: it.handle.clone(),
            uses: Used::of_handle(&it.handle),
            namespace: Some("team".to_owned()),
            is_leaving: it.leaving && !it.retained,
        });
        Ok(Some(stored.collect()))
    }

    async fn waiting_claims(&self) -> Result<Option<Vec<WaitingClaim>>, ControllerError> {
        crate::stored::wait_once().await;
        let volumes = self.volumes.lock().unwrap();
        let is_bound = |name: &String| volumes.iter().any(|it| it.stored && it.name == *name);
        let claims = self.claims.lock().unwrap();
        let waiting = claims
            .iter()
            .filter(|(name, _)| !is_bound(name))
            .map(|(_, claim)| WaitingClaim { namespace: "team".to_owned(), name: (*claim).to_owned() });
        Ok(Some(waiting.collect()))
    }

    async fn id(&self) -> Result<Option<String>, ControllerError> {
        Ok(Some("0f8fad5b".to_owned()))
    }

    async fn facts(&self) -> Result<Option<ClusterFacts>, ControllerError> {
        let handle = |it: &Volume| VolumeFacts { handle: it.handle.clone(), secret: None };
        let volumes = self.volumes.lock().unwrap().iter().map(handle).collect();
        Ok(Some(ClusterFacts { classes: vec![], volumes }))
    }

    async fn secret_values(&self, _: &SecretName) -> Result<HashMap<String, String>, ControllerError> {
        Ok(HashMap::new())
    }
}

/// Sessions without a network.
#[derive(Debug)]
struct Direct(Arc<Stored>);

#[async_trait]
impl Sessions for Direct {
    async fn session(&self, _: &Place, _: &[MountTarget]) -> Result<Session, ControllerError> {
        Session::begin(Arc::clone(&self.0) as _).await
    }
}

/// Everything.
pub(crate) struct World {
    account: Account,
    store: Arc<dyn Store>,
    kubernetes: Arc<Kubernetes>,
    controllers: [ControllerService; 2],
    files: BTreeMap<u64, Owner>,
    /// The class of a volume's name: a claim keeps its StorageClass.
    classes: BTreeMap<u8, Class>,
    /// Names of volumes whose creation or deletion was cut off or is to be repeated: they may have a claim that nothing else shows.
    undecided: BTreeSet<String>,
    next: u64,
}

impl World {
    pub(crate) fn new() -> Self {
        let volumes = Arc::new(MemoryVolumes::default());
        let settings = fake_efs::world::Settings {
            volumes: Arc::<MemoryVolumes>::clone(&volumes) as _,
            random_seed: 7,
            ..Default::default()
        };
        let world = Arc::new(fake_efs::world::World::new(settings));
        let requester = fake_efs::world::scope::Requester::root(world.home().clone());
        let input: CreateFileSystem = serde_json::from_str(r#"{"CreationToken": "test"}"#).unwrap();
        let made = world.create_file_system(&requester, input).unwrap();
        let store = volumes.store(&made.row.id).unwrap();
        let file_system = made.row.id.as_str().parse().unwrap();
        let account = Account { world, file_system, fault: Arc::default() };
        let kubernetes = Arc::new(Kubernetes::default());
        let controllers = [0, 1].map(|_| controller(&account, &store, &kubernetes));
        Self {
            account,
            store,
            kubernetes,
            controllers,
            files: BTreeMap::new(),
            classes: BTreeMap::new(),
            undecided: BTreeSet::new(),
            next: 0,
        }
    }

    fn volumes(&self) -> std::sync::MutexGuard<'_, Vec<Volume>> {
        self.kubernetes.volumes.lock().unwrap()
    }

    pub(crate) async fn step(&mut self, op: &Op) {
        match op {
            Op::Run(n, call, fault) => {
                *self.account.fault.lock().unwrap() = *fault;
                let started = self.start(*call);
                let result = run(self.controllers[*n].clone(), started.clone()).await;
                // A fault that nothing has met must not strike later.
                *self.account.fault.lock().unwrap() = None;
                self.settle(started, Some(result), *fault);
            }
            Op::CutOff(n, call, polls) => {
                let started = self.start(*call);
                let result = cut_off(run(self.controllers[*n].clone(), started.clone()), *polls);
                self.controllers[*n] = controller(&self.account, &self.store, &self.kubernetes);
                self.settle(started, result, None);
            }
            Op::Race(a, b, order) => {
                let mut calls = [self.start(*a), self.start(*b)];
                let names = calls.each_ref().map(Started::name);
                if names[0] == names[1] && matches!(calls, [Started::Create(..), Started::Delete(..)]) {
                    calls[0] = Started::Nothing;
                }
                let mut running = [0, 1].map(|n| Box::pin(run(self.controllers[n].clone(), calls[n].clone())));
                let mut results = [None, None];
                for second in order {
                    let n = usize::from(*second);
                    if results[n].is_none()
                        && let Poll::Ready(result) = futures::poll!(&mut running[n])
                    {
                        results[n] = Some(result);
                    }
                }
                for (n, call) in running.iter_mut().enumerate() {
                    if results[n].is_none() {
                        results[n] = Some(call.await);
                    }
                }
                for (call, result) in calls.into_iter().zip(results) {
                    self.settle(call, result, None);
                }
            }
            Op::Store => {
                self.volumes().iter_mut().for_each(|it| it.stored = true);
                // Who has waited for a volume in vain, gives up.
                let known: Vec<String> = self.volumes().iter().map(|it| it.name.clone()).collect();
                self.kubernetes.claims.lock().unwrap().retain(|name, _| known.contains(name));
            }
            Op::Retain(n) => {
                if let Some(it) = self.volumes().get_mut(*n)
                    && !it.leaving
                {
                    it.retained = true;
                }
            }
            Op::Write(n) => self.write(*n),
            Op::TenantDirectory(n, at) => self.tenant(*n, NewBody::Directory, last(PLACES[*at])),
            Op::TenantLink(n, at) => {
                self.tenant(*n, NewBody::Symlink { target: b"../other".to_vec() }, last(PLACES[*at]));
            }
            Op::TenantMove(n) => self.tenant_move(*n),
            Op::AdminFile(at) => {
                self.make_way(PLACES[*at]);
                self.admin_file(PLACES[*at]);
            }
            Op::AdminMove(at, again) => self.admin_move(PLACES[*at], *again),
            Op::ForeignPoint(at) => {
                self.next += 1;
                self.account.make(&format!("foreign-{}", self.next), PLACES[*at]);
                self.make_way(PLACES[*at]);
                self.admin_file(PLACES[*at]);
            }
            Op::ForeignGone(n) => {
                let points = self.account.points();
                let mut foreign = points.iter().filter(|it| it.client_token.starts_with("foreign"));
                if let Some(it) = foreign.nth(*n) {
                    self.account.remove(&it.id);
                }
            }
            Op::PointGone(n) => {
                let handle = self.volumes().get(*n).map(|it| it.handle.clone());
                let id = handle.and_then(|handle| handle.parse::<VolumeId>().ok()?.access_point);
                if let Some(it) = self.account.points().iter().find(|it| Some(&it.id) == id.as_ref()) {
                    self.account.remove(&it.id);
                }
            }
            Op::StaticGone(at) => {
                self.volumes().retain(|it| it.name != format!("static-{at}"));
                // What its pods wrote inside another volume is that one's from now on.
                if let Some(directory) = self.find(PLACES[*at]) {
                    self.give_away(PLACES[*at], directory);
                }
            }
            Op::Static(at) => {
                self.make_way(PLACES[*at]);
                let handle = format!("{}:{}", self.account.file_system, PLACES[*at]);
                let name = format!("static-{at}");
                if self.find(PLACES[*at]).is_some() && self.volumes().iter().all(|it| it.name != name) {
                    self.volumes().push(Volume {
                        name,
                        handle,
                        stored: true,
                        retained: true,
                        leaving: false,
                        directory: None,
                    });
                }
            }
            Op::Purge(n) => {
                // What is asked first makes a controller look after the trash.
                let fresh = controller(&self.account, &self.store, &self.kubernetes);
                self.controllers[*n] = fresh;
                let asked = csi::ControllerGetCapabilitiesRequest {};
                self.controllers[*n].controller_get_capabilities(Request::new(asked)).await.unwrap();
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            Op::Restart(n) => self.controllers[*n] = controller(&self.account, &self.store, &self.kubernetes),
            Op::Pass(seconds) => tokio::time::advance(Duration::from_secs(*seconds)).await,
        }
    }

    /// A call as it goes out, and what Kubernetes knows by then.
    fn start(&mut self, call: Call) -> Started {
        match call {
            Call::Create(name, class) => {
                let class = *self.classes.entry(name).or_insert(class);
                // csi-provisioner names a volume after its claim's uid: none is made while one of its name is deleted.
                if self.volumes().iter().any(|it| it.leaving && it.name == format!("pvc-{name}")) {
                    return Started::Nothing;
                }
                if let Class::Reusing(claim) = class {
                    self.kubernetes.claims.lock().unwrap().insert(format!("pvc-{name}"), claim_name(claim));
                }
                Started::Create(format!("pvc-{name}"), Box::new(self.creation(name, class)))
            }
            Call::Delete(n) => {
                let mut volumes = self.volumes();
                let count = volumes.len();
                let Some(it) = volumes.get_mut(n % count.max(1)) else { return Started::Nothing };
                if it.retained || !it.stored {
                    return Started::Nothing;
                }
                it.leaving = true;
                Started::Delete(it.name.clone(), it.handle.clone())
            }
        }
    }

    fn creation(&self, name: u8, class: Class) -> csi::CreateVolumeRequest {
        let fs = self.account.file_system.to_string();
        let mut parameters = vec![("fileSystemId", fs.as_str()), ("directoryPerms", "700")];
        let (directory, point) = (("provisioningMode", "efs-dir"), ("provisioningMode", "efs-ap"));
        let at = |place: usize| [("subPathPattern", PLACES[place]), ("ensureUniqueDirectory", "false")];
        let ids = [("uid", "1000"), ("gid", "1000")];
        match class {
            Class::Directory(place) => {
                parameters.push(directory);
                parameters.extend(at(place));
            }
            Class::Adopting(place) => {
                parameters.extend([directory, ("adoptDirectory", "true")]);
                parameters.extend(at(place));
            }
            Class::Plain => parameters.extend([directory, ("basePath", "/base")]),
            Class::Point => parameters.extend([point, ("basePath", "/base")]),
            Class::PointAt(place) => {
                parameters.push(point);
                parameters.extend(at(place));
                parameters.extend(ids);
            }
            Class::Untagged(place) => {
                parameters.extend([point, ("enableTagging", "false")]);
                parameters.extend(at(place));
                parameters.extend(ids);
            }
            Class::Reusing(claim) => {
                parameters.extend([point, ("basePath", "/base"), ("reuseAccessPoint", "true")]);
                parameters.extend([
                    ("csi.storage.k8s.io/pvc/name", claim_name(claim)),
                    ("csi.storage.k8s.io/pvc/namespace", "team"),
                ]);
                parameters.extend(ids);
            }
        }
        csi::CreateVolumeRequest {
            name: format!("pvc-{name}"),
            volume_capabilities: vec![csi::VolumeCapability {
                access_mode: Some(AccessMode { mode: Mode::MultiNodeMultiWriter.into() }),
                access_type: Some(AccessType::Mount(MountVolume::default())),
            }],
            parameters: parameters.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect(),
            ..Default::default()
        }
    }

    /// What csi-provisioner makes of an answer; none when the controller died.
    fn settle(&mut self, started: Started, result: Option<Result<Option<String>, Status>>, fault: Option<Fault>) {
        if let Some(name) = started.name() {
            match &result {
                Some(Ok(_)) => drop(self.undecided.remove(&name)),
                // A final answer says that nothing was made.
                Some(Err(status)) if matches!(started, Started::Create(..)) && is_final(status.code()) => {}
                Some(Err(_)) | None => drop(self.undecided.insert(name)),
            }
        }
        match (started, result) {
            (Started::Create(name, _), Some(Ok(Some(handle)))) => {
                let directory = handle.parse::<VolumeId>().ok().and_then(|id| self.find(&id.subdirectory()));
                // A directory volume's handle is its path. What was written to an earlier one there, whose deletion was asked for and is not
                // answered yet, is nobody's any more.
                if self.volumes().iter().any(|it| it.handle == handle && it.name != name && it.leaving && !it.retained)
                {
                    let earlier = self.files.values_mut().filter(|owner| **owner == Owner::Handle(handle.clone()));
                    earlier.for_each(|owner| *owner = Owner::Anybody);
                }
                let mut volumes = self.volumes();
                match volumes.iter().find(|it| it.name == name) {
                    Some(known) => {
                        let point = known.handle.parse::<VolumeId>().ok().and_then(|id| id.access_point);
                        // Made anew after somebody has deleted it behind the driver's back.
                        let is_gone = point.is_some_and(|id| self.account.points().iter().all(|it| it.id != id));
                        let is_known = known.handle == handle || known.leaving || is_gone;
                        assert!(is_known, "{name} was {known:?}, is {handle}");
                    }
                    None => {
                        volumes.push(Volume {
                            name,
                            handle,
                            stored: false,
                            retained: false,
                            leaving: false,
                            directory,
                        });
                    }
                }
            }
            (Started::Delete(name, handle), Some(Ok(_))) => {
                self.volumes().retain(|it| it.name != name);
                // What was its own may be gone now or later.
                if !self.is_alive(&handle) {
                    self.files.retain(|_, owner| *owner != Owner::Handle(handle.clone()));
                }
            }
            // A refusal by AWS leaves every byte where it was, as if nobody had asked. What an earlier call has moved is gone already.
            (Started::Delete(name, handle), Some(Err(_))) if fault == Some(Fault::Denied) => {
                let exists = handle
                    .parse::<VolumeId>()
                    .is_ok_and(|id| self.account.points().iter().any(|it| Some(&it.id) == id.access_point.as_ref()));
                if exists {
                    self.volumes().iter_mut().filter(|it| it.name == name).for_each(|it| it.leaving = false);
                }
            }
            _ => {}
        }
    }

    /// Whether somebody has a volume of this handle and has not asked for its deletion.
    fn is_alive(&self, handle: &str) -> bool {
        self.volumes().iter().any(|it| it.handle == handle && (it.retained || !it.leaving))
    }

    /// What must hold at any time.
    pub(crate) fn check(&self, op: &Op) {
        let mut seen = BTreeSet::new();
        walk(&*self.store, self.store.root(), "", &mut |at, id, _| {
            if !at.starts_with("/.efs-csi") {
                seen.insert(id.0);
            }
        });
        for (id, owner) in &self.files {
            let must_be = match owner {
                Owner::Nobody => true,
                Owner::Anybody => false,
                Owner::Handle(handle) => self.is_alive(handle),
            };
            assert!(
                !must_be || seen.contains(id),
                "after {op:?}: file {id} of {owner:?} is gone; {:#?}",
                self.volumes()
            );
        }
        // A directory volume's directory is reached without a link, and is nobody else's.
        let prefix = format!("efs:{}:", self.account.file_system);
        let mut paths: Vec<(String, String)> = Vec::new();
        for it in self.volumes().iter().filter(|it| !it.leaving) {
            if let Some(path) = it.handle.strip_prefix(&prefix).and_then(|rest| rest.strip_suffix(':'))
                && path.starts_with('/')
                // One that an administrator has moved away is nowhere.
                && self.find(path) == it.directory
            {
                paths.push((path.to_owned(), it.name.clone()));
            }
        }
        for (n, (a, name)) in paths.iter().enumerate() {
            for (b, other) in &paths[n + 1..] {
                let (a, b) = (format!("{a}/"), format!("{b}/"));
                assert!(!a.starts_with(&b) && !b.starts_with(&a), "after {op:?}: {name} {a} and {other} {b} overlap");
            }
        }
    }

    /// Everything that is deleted in the end is gone in the end, and what is nobody's to delete is there.
    pub(crate) async fn end(&mut self) {
        self.step(&Op::Store).await;
        self.step(&Op::Pass(3600)).await;
        for round in 0..6 {
            let count = self.volumes().len();
            for n in 0..count {
                self.step(&Op::Run(round % 2, Call::Delete(n), None)).await;
                self.check(&Op::Store);
            }
            self.step(&Op::Pass(3600)).await;
        }
        self.step(&Op::Purge(0)).await;
        self.check(&Op::Store);
    }

    fn find(&self, at: &str) -> Option<FileId> {
        let mut id = self.store.root();
        for part in at.split('/').filter(|part| !part.is_empty()) {
            id = self.store.lookup(id, part.as_bytes()).ok()?;
            if self.store.attributes(id).ok()?.kind != Kind::Directory {
                return None;
            }
        }
        Some(id)
    }

    fn make_way(&self, at: &str) {
        let mut id = self.store.root();
        for part in at.split('/').filter(|part| !part.is_empty()) {
            let node = NewNode { body: NewBody::Directory, mode: 0o755, uid: 0, gid: 0 };
            drop(self.store.create(id, part.as_bytes(), &node));
            let Ok(next) = self.store.lookup(id, part.as_bytes()) else { return };
            id = next;
        }
    }

    fn file(&mut self, directory: FileId, owner: Owner) {
        self.next += 1;
        let node = NewNode { body: NewBody::Regular { verifier: None }, mode: 0o644, uid: 7, gid: 7 };
        let name = format!("file-{}", self.next);
        if let Ok((made, _)) = self.store.create(directory, name.as_bytes(), &node) {
            self.files.insert(made.id.0, owner);
        }
    }

    /// An administrator's file. In the directory of a volume it would be that volume's.
    fn admin_file(&mut self, at: &str) {
        if let Some(directory) = self.find(at)
            && !self.is_inside_a_volume(at)
        {
            self.file(directory, Owner::Nobody);
        }
    }

    /// Whether a directory is that of a volume that a driver made, or inside it.
    fn is_inside_a_volume(&self, at: &str) -> bool {
        let at = format!("{at}/");
        let prefix = format!("efs:{}:", self.account.file_system);
        let is_in = |root: &str| root != "/" && at.starts_with(&format!("{root}/"));
        let directories = self
            .volumes()
            .iter()
            .any(|it| it.handle.strip_prefix(&prefix).and_then(|rest| rest.strip_suffix(':')).is_some_and(is_in));
        directories
            || self.is_claimed(&at)
            || self.account.points().iter().any(|it| !it.client_token.starts_with("foreign") && is_in(&it.root))
    }

    /// Whether a creation that was cut off has claimed a directory or one around it.
    fn is_claimed(&self, at: &str) -> bool {
        let Some(mut folder) = self.find("/.efs-csi-volumes/tree") else { return false };
        for part in at.split('/').filter(|part| !part.is_empty()) {
            let Ok(next) = self.store.lookup(folder, part.as_bytes()) else { return false };
            if self.store.attributes(next).is_ok_and(|it| it.kind == Kind::Symlink) {
                let text = self.store.read_link(next).unwrap_or_default();
                let claim: serde_json::Value = serde_json::from_slice(&text).unwrap_or_default();
                let volume = claim["volume"].as_str().unwrap_or_default();
                // A token that is a hash is that of a claim that takes up what an earlier one had.
                let is_there = self.volumes().iter().any(|it| it.name == volume);
                return is_there || self.undecided.contains(volume) || !volume.starts_with("pvc-");
            }
            folder = next;
        }
        false
    }

    /// The directory that a pod of this volume sees, made by EFS where it is an access point's.
    fn mounted(&self, n: usize) -> Option<(FileId, String)> {
        let it = self.volumes().get(n).filter(|it| !it.leaving).cloned()?;
        let id: VolumeId = it.handle.parse().ok()?;
        let path = match &id.access_point {
            None => id.subdirectory(),
            Some(point) => {
                let root = self.account.points().into_iter().find(|found| found.id == *point)?.root;
                self.make_way(&root);
                root
            }
        };
        Some((self.find(&path)?, it.handle))
    }

    fn write(&mut self, n: usize) {
        if let Some((directory, handle)) = self.mounted(n) {
            let is_static = !handle.starts_with("efs:");
            self.file(directory, if is_static { Owner::Nobody } else { Owner::Handle(handle) });
        }
    }

    fn tenant(&self, n: usize, body: NewBody, name: &str) {
        if let Some((directory, _)) = self.mounted(n) {
            drop(self.store.create(directory, name.as_bytes(), &NewNode { body, mode: 0o755, uid: 7, gid: 7 }));
        }
    }

    fn tenant_move(&mut self, n: usize) {
        let Some((directory, handle)) = self.mounted(n) else { return };
        let mut names = Vec::new();
        self.store
            .read_directory(directory, 0, &mut |entry| {
                names.push(entry.name.to_vec());
                true
            })
            .unwrap();
        if let [first, second, ..] = names.as_slice() {
            // Into a directory next to it, if it is one; a file under another name otherwise, so that nothing is replaced.
            match self.store.lookup(directory, second) {
                Ok(into) if self.store.attributes(into).is_ok_and(|it| it.kind == Kind::Directory) => {
                    if self.store.rename(directory, first, into, first).is_ok() && !handle.starts_with("efs:") {
                        let within = handle.rsplit(':').next().unwrap_or_default();
                        self.give_away(&format!("{within}/{}", String::from_utf8_lossy(second)), into);
                    }
                }
                _ => drop(self.store.rename(directory, first, directory, &[first.as_slice(), b"-moved"].concat())),
            }
        }
    }

    /// Somebody has left something in a directory. If that is a volume's, what is in it is that volume's from now on.
    fn give_away(&mut self, at: &str, into: FileId) {
        if !self.is_inside_a_volume(at) {
            return;
        }
        let mut inside = BTreeSet::new();
        walk(&*self.store, into, "", &mut |_, id, _| {
            inside.insert(id.0);
        });
        for (id, owner) in &mut self.files {
            if inside.contains(id) {
                *owner = Owner::Anybody;
            }
        }
    }

    fn admin_move(&mut self, at: &str, again: bool) {
        if self.find(at).is_none() {
            return;
        }
        self.next += 1;
        let (parent, name) = at.rsplit_once('/').unwrap();
        let (from, to) = (self.find(parent).unwrap(), format!("moved-{}", self.next));
        self.store.rename(from, name.as_bytes(), self.store.root(), to.as_bytes()).unwrap();
        if again {
            // A claim on the place itself is on what was there, not on what comes there now.
            let is_new = !self.is_claimed(parent) && !self.is_inside_a_volume(parent);
            self.make_way(at);
            let directory = self.find(at).unwrap();
            self.file(directory, if is_new { Owner::Nobody } else { Owner::Anybody });
        }
    }
}

/// A call that is on its way.
#[derive(Debug, Clone)]
enum Started {
    Create(String, Box<csi::CreateVolumeRequest>),
    Delete(String, String),
    Nothing,
}

impl Started {
    fn name(&self) -> Option<String> {
        match self {
            Self::Create(name, _) | Self::Delete(name, _) => Some(name.clone()),
            Self::Nothing => None,
        }
    }
}

fn claim_name(claim: u8) -> &'static str {
    if claim == 0 { "data" } else { "logs" }
}

fn last(path: &str) -> &str {
    path.rsplit('/').next().unwrap()
}

fn controller(account: &Account, store: &Arc<dyn Store>, kubernetes: &Arc<Kubernetes>) -> ControllerService {
    let config = ControllerConfig {
        delete_root_directory: true,
        tags: [].into(),
        unknown_parameters: UnknownParameters::Refuse,
        access_point_quota: 10_000,
        tls_ca_file: None,
        mount_target_port: 2049,
        trash_retention: Duration::ZERO,
        cluster_id: None,
    };
    let sessions = Arc::new(Direct(Arc::new(Stored(Arc::clone(store)))));
    let cluster = Arc::<Kubernetes>::clone(kubernetes);
    let controller = Controller::new(config, Arc::new(account.clone()), cluster, Metrics::new());
    ControllerService::new(Arc::new(controller.with_sessions(sessions)))
}

/// The handle that a creation gives.
async fn run(controller: ControllerService, started: Started) -> Result<Option<String>, Status> {
    match started {
        Started::Create(_, request) => {
            let made = controller.create_volume(Request::new(*request)).await?;
            Ok(Some(made.into_inner().volume.unwrap().volume_id))
        }
        Started::Delete(_, volume_id) => {
            let request = csi::DeleteVolumeRequest { volume_id, ..Default::default() };
            controller.delete_volume(Request::new(request)).await.map(|_| None)
        }
        Started::Nothing => Ok(None),
    }
}

/// Polls a call so many times and then drops it, as a crash does.
fn cut_off<T>(call: impl Future<Output = T>, polls: usize) -> Option<T> {
    let mut call = pin!(call);
    let mut context = Context::from_waker(Waker::noop());
    (0..polls).find_map(|_| match call.as_mut().poll(&mut context) {
        Poll::Ready(result) => Some(result),
        Poll::Pending => None,
    })
}

fn walk(store: &dyn Store, directory: FileId, at: &str, visit: &mut dyn FnMut(&str, FileId, Kind)) {
    let mut entries = Vec::new();
    store
        .read_directory(directory, 0, &mut |entry| {
            entries.push((
                String::from_utf8_lossy(entry.name).into_owned(),
                entry.attributes.id,
                entry.attributes.kind,
            ));
            true
        })
        .unwrap();
    for (name, id, kind) in entries {
        let at = format!("{at}/{name}");
        visit(&at, id, kind);
        if kind == Kind::Directory {
            walk(store, id, &at, visit);
        }
    }
}
