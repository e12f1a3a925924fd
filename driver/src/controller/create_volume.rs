//! CreateVolume: one access point a volume, made once however often and from wherever the call is repeated.

use std::collections::{BTreeMap, HashMap};

use csi_proto::csi;

use super::capacity::{CAPACITY_TAG, CapacityRange};
use super::directories::WantedDirectory;
use super::existing::{Verdict, Wanted, capacity_of, compare};
use super::gid_pool::Reservation;
use super::parameters::{CreateParameters, ProvisioningMode, ZoneAffinity};
use super::paths::{Root, client_token, sha256_hex};
use super::secrets::CrossAccount;
use super::tagging::mutable_tags;
use super::{Controller, ControllerError, mount_targets};
use crate::efs::{AccessPoint, EfsApi, EfsError, EfsErrorKind, LifeCycle, NewAccessPoint, Owner, PosixUser};
use crate::volume::capability::Capability;
use crate::volume::{AccessPointId, FileSystemId, VolumeId};

/// The topology key of a zone.
pub(crate) const ZONE_KEY: &str = "topology.kubernetes.io/zone";

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
        let file_system = self.resolve(&request.parameters.file_system).await?;
        let _lock = self.lock(&request.name).await?;
        let api = self.efs(request.account.role.as_ref()).await?;
        // Everything that can be refused for good is asked before anything is made: csi-provisioner forgets a volume whose creation
        // was refused, and what had been made by then would stay.
        let topology = self.topology(api.as_ref(), &request, &file_system).await?;
        let volume_context = self.context(api.as_ref(), &request, &file_system).await?;
        let (volume_id, capacity_bytes) = match request.parameters.mode {
            ProvisioningMode::AccessPoint => {
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
                self.create_directory(api.as_ref(), &file_system, account.role.as_ref(), wanted).await?
            }
        };
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
        Ok(Request {
            capacity,
            account: CrossAccount::read(&request.secrets)?,
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
        let mut token = client_token(&request.name);
        if parameters.reuse {
            let tokens = reuse_tokens(request, file_system);
            if let Some(found) = find_token(api, file_system, &tokens.old).await? {
                return self.accept(found, &wanted, request);
            }
            token = tokens.scoped;
        }
        let reserved = match (parameters.uid, parameters.gid) {
            (Some(_), Some(_)) => None,
            _ => match self.pools.reserve(api, file_system, &parameters.gid_range, &request.name).await {
                Ok(reserved) => Some(reserved),
                // One of the ids may be the volume's own, given out by a call whose answer was lost.
                Err(error @ ControllerError::IdsExhausted { .. }) => {
                    let found = find_token(api, file_system, &token).await?.ok_or(error)?;
                    return self.accept(found, &wanted, request);
                }
                Err(error) => return Err(error),
            },
        };
        match self.create(api, request, file_system, token.clone(), reserved.as_ref()).await {
            Ok(made) => {
                self.pools.made(&made);
                if let Some(reserved) = reserved {
                    reserved.release();
                }
                match made.state {
                    LifeCycle::Error => Err(broken(&made, request)),
                    _ => Ok(made),
                }
            }
            Err(EfsError { kind: EfsErrorKind::AccessPointAlreadyExists(id), .. }) => {
                let existing = self.existing(api, file_system, id, &token).await?;
                self.pools.made(&existing);
                if let Some(reserved) = reserved {
                    reserved.release_for(&existing);
                }
                self.accept(existing, &wanted, request)
            }
            Err(error) => {
                if let (Some(reserved), true) = (reserved, error.kind.made_nothing()) {
                    reserved.release();
                }
                let doing = format!("cannot create the access point of volume {:?} on {file_system}", request.name);
                Err(ControllerError::efs(doing)(error))
            }
        }
    }

    /// One CreateAccessPoint call; a second one without the capacity tag when AWS refuses it.
    async fn create(
        &self,
        api: &dyn EfsApi,
        request: &Request,
        file_system: &FileSystemId,
        client_token: String,
        reserved: Option<&Reservation>,
    ) -> Result<AccessPoint, EfsError> {
        let parameters = &request.parameters;
        let id = |fixed: Option<u32>| fixed.or_else(|| reserved.map(Reservation::id)).unwrap_or_default();
        let (uid, gid) = (id(parameters.uid), id(parameters.gid));
        let mut new = NewAccessPoint {
            client_token,
            file_system: file_system.clone(),
            posix_user: Some(PosixUser { uid, gid, secondary_gids: Vec::new() }),
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
        let Some((key, value)) = self.tags.capacity(request.capacity.required) else {
            return api.create_access_point(&new).await;
        };
        new.tags.insert(key, value);
        match api.create_access_point(&new).await {
            Err(EfsError { kind: EfsErrorKind::AccessDenied, .. }) => {
                new.tags.remove(CAPACITY_TAG);
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
            Some(id) => match api.access_point(id).await {
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

fn broken(access_point: &AccessPoint, request: &Request) -> ControllerError {
    ControllerError::Broken { name: request.name.clone(), access_point: access_point.id.clone() }
}

/// Checks a volume's name by the rules of the CSI specification.
fn check_name(name: &str) -> Result<(), ControllerError> {
    if name.is_empty() {
        return Err(ControllerError::Invalid("name: is missing".to_owned()));
    }
    match name.chars().find(|c| c.is_control() && !matches!(c, '\t' | '\n' | '\r')) {
        Some(c) => Err(ControllerError::Invalid(format!("name: {name:?} holds the control character {c:?}"))),
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
struct ReuseTokens {
    /// The Go driver's: the claim's name alone, so that equal names collide across namespaces and file systems.
    old: String,
    /// Ours: with namespace and file system.
    scoped: String,
}

fn reuse_tokens(request: &Request, file_system: &FileSystemId) -> ReuseTokens {
    let claim = &request.parameters.claim;
    let name = claim.name.as_deref().unwrap_or_default();
    let namespace = claim.namespace.as_deref().unwrap_or_default();
    ReuseTokens { old: sha256_hex(name), scoped: sha256_hex(&format!("{file_system}/{namespace}/{name}")) }
}

/// Looks for an access point by its token, through all pages.
async fn find_token(
    api: &dyn EfsApi,
    file_system: &FileSystemId,
    token: &str,
) -> Result<Option<AccessPoint>, ControllerError> {
    let mut page_token: Option<String> = None;
    loop {
        let page = api
            .access_points(Some(file_system), crate::efs::api::LARGEST_PAGE, page_token.as_deref())
            .await
            .map_err(ControllerError::efs(format!("cannot look for an earlier access point on {file_system}")))?;
        if let Some(found) = page.access_points.into_iter().find(|it| it.client_token == token) {
            return Ok(Some(found));
        }
        match page.next_token {
            Some(next) => page_token = Some(next),
            None => return Ok(None),
        }
    }
}
