//! CreateVolume: one access point a volume, made once however often and from wherever the call is repeated.

use std::collections::{BTreeMap, HashMap};

use csi_proto::csi;
use efs_directories::{Claim, DirectoryError, Relation};

use super::capacity::CapacityRange;
use super::directories::WantedDirectory;
use super::existing::{Verdict, Wanted, capacity_of, compare};
use super::gid_pool::Reservation;
use super::parameters::{CreateParameters, ProvisioningMode, ZoneAffinity};
use super::paths::{Root, client_token, is_named_after, sha256_hex};
use super::root_directories::RootOwner;
use super::secrets::CrossAccount;
use super::tagging::mutable_tags;
use super::{Controller, ControllerError, mount_targets};
use crate::efs::api::all_access_points;
use crate::efs::{AccessPoint, EfsApi, EfsError, EfsErrorKind, LifeCycle, NewAccessPoint, Owner, PosixUser};
use crate::volume::capability::Capability;
use crate::volume::{AccessPointId, FileSystemId, FileSystemKind, VolumeId};

/// The topology key of a zone.
pub(crate) const ZONE_KEY: &str = "topology.kubernetes.io/zone";

/// How often another id is tried because another cluster took the same one at the same time.
const ID_ATTEMPTS: usize = 8;

/// Components of an access point's root (S3 Files API, `Path`).
const MOST_COMPONENTS_OF_S3_FILES: usize = 4;

/// A CreateVolume request, checked.
#[derive(Debug)]
struct Request {
    name: String,
    capacity: CapacityRange,
    parameters: CreateParameters,
    account: CrossAccount,
    mutable: BTreeMap<String, String>,
    root: Root,
    zones: WantedZones,
}

/// From which zones a volume is to be accessible; empty where nothing is said.
#[derive(Debug, Default)]
struct WantedZones {
    /// From one of them at least.
    requisite: Vec<String>,
    /// From these if possible.
    preferred: Vec<String>,
}

impl Request {
    /// Whether name and tag of the access point are enough to tell that its directory is the volume's.
    fn is_told_by_name(&self) -> bool {
        let is_named = self.root.own().is_some_and(|path| is_named_after(&client_token(&self.name), path));
        self.root.is_unique() && self.parameters.tagging && !self.parameters.reuse && is_named
    }
}

impl WantedZones {
    fn read(wish: Option<&csi::TopologyRequirement>) -> Self {
        let zones = |topologies: &[csi::Topology]| {
            topologies.iter().filter_map(|topology| topology.segments.get(ZONE_KEY).cloned()).collect()
        };
        wish.map(|wish| Self { requisite: zones(&wish.requisite), preferred: zones(&wish.preferred) })
            .unwrap_or_default()
    }

    /// Whether a volume may be accessible from this zone alone. A preference without a requirement forbids nothing.
    fn allow(&self, zone: &String) -> bool {
        self.requisite.is_empty() || self.requisite.contains(zone)
    }

    /// Whether this zone is one that is spoken of. The preferred ones are the first choice where no other is required.
    fn name(&self, zone: &String) -> bool {
        if self.requisite.is_empty() { self.preferred.contains(zone) } else { self.requisite.contains(zone) }
    }
}

impl Controller {
    pub(crate) async fn create_volume(
        &self,
        request: csi::CreateVolumeRequest,
    ) -> Result<csi::CreateVolumeResponse, ControllerError> {
        let request = self.read(request)?;
        let kind = request.parameters.mode.service();
        let file_system = self.resolve(&request.parameters.file_system, kind).await?;
        let _lock = self.lock(&request.name).await?;
        self.made.check(&request.name, &file_system, &request.parameters)?;
        let api = self.api(&file_system, request.account.role.as_ref()).await?;
        // Everything that can be refused for good is asked before anything is made: csi-provisioner forgets a volume whose creation
        // was refused, and what had been made by then would stay.
        let topology = self.topology(api.as_ref(), &request, &file_system).await?;
        let mut volume_context = self.context(api.as_ref(), &request, &file_system).await?;
        let (volume_id, capacity_bytes) = match request.parameters.mode {
            ProvisioningMode::AccessPoint(_) => {
                let access_point = self.find_or_create(api.as_ref(), &request, &file_system).await?;
                let capacity = match capacity_of(&access_point) {
                    Some(remembered) if !request.parameters.reuse => remembered,
                    _ => request.capacity.required,
                };
                (VolumeId::of_access_point(file_system.clone(), access_point.id).to_string(), capacity)
            }
            ProvisioningMode::Directory => {
                let Request { name, root, parameters, capacity, account, .. } = &request;
                let wanted = WantedDirectory { name, root, parameters, capacity };
                let made = self.create_directory(api.as_ref(), &file_system, account.role.as_ref(), wanted).await;
                let made = self.forget_stale(&file_system, made).await?;
                // With it, nodes mount this directory or none, whatever its name or a link on the way means by then.
                volume_context.extend(made.file_id.map(|id| ("directoryId".to_owned(), id.to_string())));
                (made.handle, made.capacity)
            }
        };
        self.made.made(&request.name, &file_system, &request.parameters, &volume_id);
        let directories = request.parameters.mode == ProvisioningMode::Directory;
        self.known.learn(&file_system, request.account.role.as_ref(), directories);
        Ok(csi::CreateVolumeResponse {
            volume: Some(csi::Volume {
                volume_id,
                capacity_bytes,
                volume_context,
                accessible_topology: topology,
                ..Default::default()
            }),
        })
    }

    fn read(&self, request: csi::CreateVolumeRequest) -> Result<Request, ControllerError> {
        check_name(&request.name)?;
        check_capabilities(&request.volume_capabilities)?;
        if request.volume_content_source.is_some() {
            return Err(ControllerError::Invalid(
                "volume_content_source: EFS can't make volumes from snapshots or other volumes".to_owned(),
            ));
        }
        let capacity = CapacityRange::read(request.capacity_range.as_ref())?;
        let parameters =
            CreateParameters::parse(&request.parameters, self.config.unknown_parameters, self.tags.has_flag_tags())?;
        let mutable = mutable_tags(&request.mutable_parameters)?;
        if !parameters.tagging && !mutable.is_empty() {
            return Err(ControllerError::Invalid("mutable parameters need enableTagging=true".to_owned()));
        }
        let root = parameters
            .naming
            .root(&request.name)
            .map_err(|error| ControllerError::Invalid(format!("volume {:?}: {error}", request.name)))?;
        let account = CrossAccount::read(&request.secrets)?;
        if parameters.mode.service() == FileSystemKind::S3Files {
            check_for_s3_files(&root.path, &account)?;
        }
        Ok(Request {
            capacity,
            account,
            mutable,
            root,
            zones: WantedZones::read(request.accessibility_requirements.as_ref()),
            parameters,
            name: request.name,
        })
    }

    /// The zone of a One Zone file system, if pods shall be kept there. It is the only topology that such a volume can have, so
    /// among several preferred ones there is nothing to choose.
    async fn topology(
        &self,
        api: &dyn EfsApi,
        request: &Request,
        file_system: &FileSystemId,
    ) -> Result<Vec<csi::Topology>, ControllerError> {
        let WantedZones { requisite, preferred } = &request.zones;
        let automatic = match request.parameters.zone_affinity {
            ZoneAffinity::Never => return Ok(Vec::new()),
            ZoneAffinity::Automatic if requisite.is_empty() && preferred.is_empty() => return Ok(Vec::new()),
            ZoneAffinity::Automatic => true,
            ZoneAffinity::Always => false,
        };
        let zone = match self.zone(api, file_system).await {
            Ok(Some(zone)) => zone,
            Ok(None) => return Ok(Vec::new()),
            // The Go driver doesn't ask unless told to; its policies may not allow the question.
            Err(error) if automatic && error.kind == EfsErrorKind::AccessDenied => {
                tracing::warn!(%file_system, %error, "its zone can't be looked up; volumes are not bound to one");
                return Ok(Vec::new());
            }
            Err(error) => {
                return Err(ControllerError::efs(format!("cannot look up the zone of {file_system}"))(error));
            }
        };
        if automatic && !request.zones.name(&zone) {
            return Ok(Vec::new());
        }
        if !request.zones.allow(&zone) {
            let requisite = requisite.clone();
            return Err(ControllerError::Topology { file_system: file_system.clone(), zone, requisite });
        }
        Ok(vec![csi::Topology { segments: HashMap::from([(ZONE_KEY.to_owned(), zone)]) }])
    }

    /// What nodes need to know to mount the volume.
    async fn context(
        &self,
        api: &dyn EfsApi,
        request: &Request,
        file_system: &FileSystemId,
    ) -> Result<HashMap<String, String>, ControllerError> {
        let mut context = self.cross_account_context(api, request, file_system).await?;
        if !request.parameters.encrypted {
            context.insert("encryptInTransit".to_owned(), "false".to_owned());
        }
        let attributes = &request.parameters.pod_identity;
        context.extend(attributes.iter().map(|(key, value)| ((*key).to_owned(), value.clone())));
        Ok(context)
    }

    /// What nodes need to know to mount a file system of another account.
    async fn cross_account_context(
        &self,
        api: &dyn EfsApi,
        request: &Request,
        file_system: &FileSystemId,
    ) -> Result<HashMap<String, String>, ControllerError> {
        let Some(role) = &request.account.role else { return Ok(HashMap::new()) };
        if request.account.by_dns {
            return Ok(HashMap::from([("crossaccount".to_owned(), "true".to_owned())]));
        }
        let targets = self.mount_targets.get(api, file_system, Some(role)).await;
        let targets =
            targets.map_err(ControllerError::efs(format!("cannot list the mount targets of {file_system}")))?;
        mount_targets::context(file_system, &targets, request.parameters.az.as_deref())
    }

    async fn find_or_create(
        &self,
        api: &dyn EfsApi,
        request: &Request,
        file_system: &FileSystemId,
    ) -> Result<AccessPoint, ControllerError> {
        let parameters = &request.parameters;
        let wanted = Wanted {
            file_system,
            root: &request.root,
            uid: parameters.uid,
            gid: parameters.gid,
            range: &parameters.gid_range,
            permissions: &parameters.permissions,
            capacity: &request.capacity,
            reuse: parameters.reuse,
        };
        if !parameters.reuse {
            return self.make_or_accept(api, request, file_system, &wanted, client_token(&request.name)).await;
        }
        let claim = &parameters.claim;
        let tokens = reuse_tokens(
            file_system,
            claim.namespace.as_deref().unwrap_or_default(),
            claim.name.as_deref().unwrap_or_default(),
        );
        // In this order everywhere; a deletion holds one of them only.
        let _old = self.lock_token(&tokens.old).await?;
        let _scoped = self.lock_token(&tokens.scoped).await?;
        let earlier = match file_system.kind() {
            FileSystemKind::Efs => find_tokens(api, file_system, &[&tokens.scoped, &tokens.old]).await?,
            // Its lists don't tell tokens, and the Go driver's rule was never in use here: the creation finds what has the token.
            FileSystemKind::S3Files => Vec::new(),
        };
        let mut found = None;
        for it in earlier {
            // Claims of one name in other namespaces have the old token, too: what is another namespace's is not taken up.
            if it.client_token == tokens.scoped || self.is_of_namespace(&it, claim.namespace.as_deref()).await? {
                found = Some(it);
                break;
            }
        }
        let it = match found {
            Some(found) => {
                let accepted = self.accept(found, &wanted, request)?;
                self.wait_for_deletion(api, &accepted, &request.name).await?;
                accepted
            }
            None => {
                let it = self.make_or_accept(api, request, file_system, &wanted, tokens.scoped).await?;
                // Of S3 Files an earlier one is met here only; a new one is still being made.
                if file_system.kind() == FileSystemKind::S3Files && it.state != LifeCycle::Creating {
                    self.wait_for_deletion(api, &it, &request.name).await?;
                }
                it
            }
        };
        self.return_for_reuse(api, &it, &request.name).await?;
        Ok(it)
    }

    /// Makes the access point of this token, or takes the one that has it.
    async fn make_or_accept(
        &self,
        api: &dyn EfsApi,
        request: &Request,
        file_system: &FileSystemId,
        wanted: &Wanted<'_>,
        token: String,
    ) -> Result<AccessPoint, ControllerError> {
        self.name_for_new().await?;
        self.check_claims(api, request, file_system).await?;
        for _ in 0..ID_ATTEMPTS {
            let reserved = match self.reserve(api, request, file_system).await {
                Ok(reserved) => reserved,
                // One of the ids may be the volume's own, given out by a call whose answer was lost.
                Err(error @ ControllerError::IdsExhausted { .. }) => {
                    let found = find_token(api, file_system, &token).await?.ok_or(error)?;
                    return self.accept(found, wanted, request);
                }
                Err(error) => return Err(error),
            };
            let user = user_of(&request.parameters, reserved.as_ref());
            let claim = self.claim_directory(api, request, file_system, &token, &user).await?;
            let created = self.create(api, request, file_system, token.clone(), &user).await;
            // Where the access point exists, an attempt whose answer was lost may have made it with this claim.
            if let (Some(claim), Err(error)) = (&claim, &created)
                && error.kind.made_nothing()
            {
                // Left behind, it would keep others from the directory.
                self.release_root(api, file_system, request.account.role.as_ref(), claim).await;
            }
            match created {
                Ok(made) => {
                    self.pools.made(&made);
                    self.neighbours.made(&made);
                    self.health.made(&made);
                    if made.state == LifeCycle::Error {
                        return Err(broken(&made, request));
                    }
                    let Some(reserved) = reserved else {
                        return self.checked(api, request, file_system, made).await;
                    };
                    let is_doubled = self.is_doubled(api, file_system, &made).await;
                    reserved.release();
                    if !is_doubled.map_err(ControllerError::unfinished)? {
                        return self.checked(api, request, file_system, made).await;
                    }
                    tracing::info!(access_point = %made.id, "another cluster gave out the same id at the same time; taking another one");
                    self.roll_back(api, &made).await?;
                }
                Err(EfsError { kind: EfsErrorKind::AccessPointAlreadyExists(id), .. }) => {
                    let existing = self.existing(api, file_system, id, &token).await?;
                    self.pools.made(&existing);
                    if let Some(reserved) = reserved {
                        reserved.release_for(&existing);
                    }
                    let accepted = self.accept(existing, wanted, request)?;
                    if self.lost_its_id(api, file_system, &request.parameters, &accepted).await? {
                        tracing::info!(access_point = %accepted.id, "a call that was cut off left it with an id that another cluster has; making it anew");
                        self.roll_back(api, &accepted).await?;
                        continue;
                    }
                    // One that was taken up has another claim's directory, which that one's call has claimed.
                    let is_claimed = !request.root.is_unique() || !request.parameters.tagging;
                    if let (Some(user), true) = (&accepted.posix_user, is_claimed && request.root.path == accepted.root)
                    {
                        self.claim_directory(api, request, file_system, &token, user).await?;
                    }
                    return Ok(accepted);
                }
                Err(error) => {
                    if let (Some(reserved), true) = (reserved, error.kind.made_nothing()) {
                        reserved.release();
                    }
                    let doing = format!("cannot create the access point of volume {:?} on {file_system}", request.name);
                    return Err(ControllerError::efs(doing)(error));
                }
            }
        }
        Err(ControllerError::Busy(format!("other clusters take every id that is chosen on {file_system}")))
    }

    /// An id for what has no fixed one.
    async fn reserve(
        &self,
        api: &dyn EfsApi,
        request: &Request,
        file_system: &FileSystemId,
    ) -> Result<Option<Reservation>, ControllerError> {
        let parameters = &request.parameters;
        if parameters.uid.is_some() && parameters.gid.is_some() {
            return Ok(None);
        }
        let own = self.cluster_id().await;
        let range = &parameters.gid_range;
        self.pools.reserve(api, file_system, range, &request.name, own.as_deref()).await.map(Some)
    }

    /// Notes whose the directory is where its name doesn't tell; gives a claim that is new.
    async fn claim_directory(
        &self,
        api: &dyn EfsApi,
        request: &Request,
        file_system: &FileSystemId,
        token: &str,
        user: &PosixUser,
    ) -> Result<Option<Claim>, ControllerError> {
        let Some(path) = request.root.own() else { return Ok(None) };
        let parameters = &request.parameters;
        // What bears the volume's name is known by it; of all else a deletion has to know whether it was made for the volume.
        if !self.config.delete_root_directory {
            return Ok(None);
        }
        let role = request.account.role.as_ref();
        let root = RootOwner { token, path, user, permissions: &parameters.permissions };
        if !request.is_told_by_name() {
            return self.claim_root(api, file_system, role, root).await;
        }
        match self.is_there(api, file_system, role, path).await {
            Ok(true) => match find_token(api, file_system, token).await? {
                // The volume is there already, and its pods have made the directory.
                Some(_) => Ok(None),
                // It bears the volume's name and is not the volume's: a note says so, or the deletion would take it along.
                None => self.claim_root(api, file_system, role, root).await,
            },
            Ok(false) => Ok(None),
            // Nobody can use the file system yet, and there is nobody to ask.
            Err(ControllerError::MountTarget(_)) if !self.has_mount_targets(api, file_system, role).await? => Ok(None),
            Err(error) => Err(error.unfinished()),
        }
    }

    /// Refuses a directory that a directory volume has.
    async fn check_claims(
        &self,
        api: &dyn EfsApi,
        request: &Request,
        file_system: &FileSystemId,
    ) -> Result<(), ControllerError> {
        // Where no directory volume is known, none is looked for: it would look for access points by itself.
        if !self.may_have_directories(file_system).await {
            return Ok(());
        }
        let Ok(path) = request.root.path.parse() else { return Ok(()) };
        match self.directory_volume_at(api, file_system, request.account.role.as_ref(), &path).await? {
            None => Ok(()),
            // The base path of a class is around all of its volumes and nobody's own.
            Some((Relation::Around, _)) if request.root.own().is_none() => Ok(()),
            Some((relation, owner)) => Err(DirectoryError::Taken { path, relation, owner: Box::new(owner) }.into()),
        }
    }

    /// An access point that was just made, after another look at the claims of directory volumes: one may have come in between.
    async fn checked(
        &self,
        api: &dyn EfsApi,
        request: &Request,
        file_system: &FileSystemId,
        it: AccessPoint,
    ) -> Result<AccessPoint, ControllerError> {
        match self.check_claims(api, request, file_system).await {
            Ok(()) => Ok(it),
            Err(error @ ControllerError::Directories(DirectoryError::Taken { .. })) => {
                self.roll_back(api, &it).await?;
                Err(error)
            }
            Err(error) => Err(error.unfinished()),
        }
    }

    /// Deletes an access point that was made by this call and has not been told to anybody.
    async fn roll_back(&self, api: &dyn EfsApi, made: &AccessPoint) -> Result<(), ControllerError> {
        match api.delete_access_point(&made.id).await {
            Ok(()) => {}
            Err(error) if error.is_not_found() => {}
            Err(error) => {
                let doing = format!("cannot take access point {} back", made.id);
                return Err(ControllerError::efs(doing)(error).unfinished());
            }
        }
        self.pools.deleted(&made.file_system, &made.id, made.posix_user.as_ref());
        self.neighbours.deleted(&made.id);
        self.health.deleted(&made.id);
        Ok(())
    }

    /// One CreateAccessPoint call; a second one without what the driver remembers in tags when AWS refuses them.
    async fn create(
        &self,
        api: &dyn EfsApi,
        request: &Request,
        file_system: &FileSystemId,
        client_token: String,
        user: &PosixUser,
    ) -> Result<AccessPoint, EfsError> {
        let parameters = &request.parameters;
        let PosixUser { uid, gid, .. } = *user;
        let mut new = NewAccessPoint {
            client_token,
            file_system: file_system.clone(),
            posix_user: Some(user.clone()),
            root: request.root.path.clone(),
            root_owner: Some(Owner { uid, gid, permissions: parameters.permissions.clone() }),
            tags: BTreeMap::new(),
        };
        if !parameters.tagging {
            return api.create_access_point(&new).await;
        }
        new.tags = self.tags.base(&request.mutable).map_err(|error| EfsError {
            operation: "CreateAccessPoint",
            kind: EfsErrorKind::BadRequest,
            message: error.to_string(),
            request_id: None,
        })?;
        let memory = self.tags.memory(request.capacity.required, self.cluster_id().await.as_deref());
        if memory.is_empty() {
            return api.create_access_point(&new).await;
        }
        let base = new.tags.clone();
        new.tags.extend(memory);
        match api.create_access_point(&new).await {
            Err(EfsError { kind: EfsErrorKind::AccessDenied, .. }) => {
                new.tags = base;
                let made = api.create_access_point(&new).await;
                if made.is_ok() {
                    self.tags.refused();
                }
                made
            }
            other => other,
        }
    }

    /// The access point that has the token.
    async fn existing(
        &self,
        api: &dyn EfsApi,
        file_system: &FileSystemId,
        id: Option<AccessPointId>,
        token: &str,
    ) -> Result<AccessPoint, ControllerError> {
        let found = match &id {
            Some(id) => match api.access_point(file_system, id).await {
                Ok(found) => Some(found),
                Err(error) if error.is_not_found() => None,
                Err(error) => return Err(ControllerError::efs(format!("cannot look up access point {id}"))(error)),
            },
            None => find_token(api, file_system, token).await?,
        };
        found.ok_or_else(|| ControllerError::Busy("the volume's earlier access point is just being deleted".to_owned()))
    }

    fn accept(
        &self,
        existing: AccessPoint,
        wanted: &Wanted<'_>,
        request: &Request,
    ) -> Result<AccessPoint, ControllerError> {
        match compare(&existing, wanted) {
            Verdict::Same => Ok(existing),
            Verdict::Leaving => Err(ControllerError::Busy(format!(
                "access point {} of an earlier volume is being deleted",
                existing.id
            ))),
            Verdict::Broken => Err(broken(&existing, request)),
            Verdict::Different(difference) => Err(ControllerError::Conflict {
                name: request.name.clone(),
                existing: format!("access point {}", existing.id),
                difference,
            }),
        }
    }
}

/// What S3 Files refuses and EFS doesn't.
fn check_for_s3_files(root: &str, account: &CrossAccount) -> Result<(), ControllerError> {
    let components = root.split('/').filter(|part| !part.is_empty()).count();
    if components > MOST_COMPONENTS_OF_S3_FILES {
        return Err(ControllerError::Invalid(format!(
            "root directory {root:?} is too deep: S3 Files takes at most {MOST_COMPONENTS_OF_S3_FILES} components; shorten basePath or \
             subPathPattern"
        )));
    }
    if account.by_dns {
        let why =
            "secret key crossaccount is for EFS only; leave it out, and nodes get the addresses of the mount targets";
        return Err(ControllerError::Secret(why.to_owned()));
    }
    Ok(())
}

/// The identity of a new access point.
fn user_of(parameters: &CreateParameters, reserved: Option<&Reservation>) -> PosixUser {
    let id = |fixed: Option<u32>| fixed.or_else(|| reserved.map(Reservation::id)).unwrap_or_default();
    PosixUser { uid: id(parameters.uid), gid: id(parameters.gid), secondary_gids: Vec::new() }
}

fn broken(access_point: &AccessPoint, request: &Request) -> ControllerError {
    ControllerError::Broken { name: request.name.clone(), access_point: access_point.id.clone() }
}

/// Checks a volume's name by the rules of the CSI specification.
fn check_name(name: &str) -> Result<(), ControllerError> {
    if name.is_empty() {
        return Err(ControllerError::Invalid("name: is missing".to_owned()));
    }
    match name.chars().find(|c| c.is_control() && !matches!(c, '\t' | '\n' | '\r')) {
        Some(c) => Err(ControllerError::Invalid(format!(
            "name: {:?} holds the control character {c:?}",
            crate::limits::cut(name)
        ))),
        None => Ok(()),
    }
}

/// Checks that all capabilities are supported.
pub(crate) fn check_capabilities(capabilities: &[csi::VolumeCapability]) -> Result<(), ControllerError> {
    if capabilities.is_empty() {
        return Err(ControllerError::Invalid("volume_capabilities: at least one is needed".to_owned()));
    }
    for capability in capabilities {
        Capability::try_from(capability)
            .map_err(|error| ControllerError::Invalid(format!("volume_capabilities: not supported: {error}")))?;
    }
    Ok(())
}

/// The tokens under which a claim's access point may be found again.
pub(super) struct ReuseTokens {
    /// The Go driver's: the claim's name alone, so that equal names collide across namespaces and file systems.
    pub(super) old: String,
    /// Ours: with namespace and file system.
    pub(super) scoped: String,
}

pub(super) fn reuse_tokens(file_system: &FileSystemId, namespace: &str, name: &str) -> ReuseTokens {
    ReuseTokens { old: sha256_hex(name), scoped: sha256_hex(&format!("{file_system}/{namespace}/{name}")) }
}

/// Looks for an access point by its token, through all pages. Where lists don't tell tokens, the directory that bears the volume's name
/// shows which ones to ask for.
async fn find_token(
    api: &dyn EfsApi,
    file_system: &FileSystemId,
    token: &str,
) -> Result<Option<AccessPoint>, ControllerError> {
    if file_system.kind() == FileSystemKind::Efs {
        return Ok(find_tokens(api, file_system, &[token]).await?.pop());
    }
    let doing = || ControllerError::efs(format!("cannot look for an earlier access point on {file_system}"));
    for it in all_access_points(api, Some(file_system)).await.map_err(doing())? {
        if !it.root.parse().is_ok_and(|root| is_named_after(token, &root)) {
            continue;
        }
        match api.access_point(file_system, &it.id).await {
            // One whose token AWS doesn't tell is taken by its name.
            Ok(found) if found.client_token == token || !found.tags_told => return Ok(Some(found)),
            Ok(_) => {}
            Err(error) if error.is_not_found() => {}
            Err(error) => return Err(doing()(error)),
        }
    }
    Ok(None)
}

/// The access points with these tokens, in the tokens' order.
async fn find_tokens(
    api: &dyn EfsApi,
    file_system: &FileSystemId,
    tokens: &[&str],
) -> Result<Vec<AccessPoint>, ControllerError> {
    let mut found: Vec<(usize, AccessPoint)> = Vec::new();
    let mut page_token: Option<String> = None;
    loop {
        let page = api
            .access_points(Some(file_system), crate::efs::api::LARGEST_PAGE, page_token.as_deref())
            .await
            .map_err(ControllerError::efs(format!("cannot look for an earlier access point on {file_system}")))?;
        for it in page.access_points {
            if let Some(n) = tokens.iter().position(|token| it.client_token == *token) {
                found.push((n, it));
            }
        }
        match page.next_token {
            Some(next) if found.len() < tokens.len() => page_token = Some(next),
            _ => break,
        }
    }
    found.sort_by_key(|(n, _)| *n);
    Ok(found.into_iter().map(|(_, it)| it).collect())
}
