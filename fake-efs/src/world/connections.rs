//! The control plane's side of a connection to the file server: whether a client may use a file system, and as whom.

use std::net::SocketAddr;
use std::sync::Arc;

use super::ids::{AccessPointId, FileSystemId};
use super::model::{FileSystem, LifeCycleState, MountTarget, Protection};
use super::policy::{Grants, IdentityPolicy, Policy, Question, joint_grants};
use super::scope::Service;
use super::{State, World};
use crate::admission::{Admission, CreationInfo, PosixUser, Refusal, Rights};

/// A client that wants in, its signature already checked.
pub(crate) struct Visitor<'a> {
    /// The address that it connected to.
    pub(crate) local: SocketAddr,
    /// Its own address.
    pub(crate) remote: SocketAddr,
    /// What its certificate names, if it has one.
    pub(crate) named: Option<(&'a str, Option<&'a str>)>,
    /// ARN of its principal, if it has one.
    pub(crate) principal: Option<&'a str>,
    /// The principal's own policy, if it has one.
    pub(crate) policy: Option<Arc<IdentityPolicy>>,
}

impl World {
    /// Account and region of a file system, whoever asks.
    pub(crate) fn scope_of(&self, file_system: &str) -> Option<super::scope::Scope> {
        let id = FileSystemId::parse(file_system)?;
        self.step(|state, _| state.file_systems.get(&id).map(|fs| fs.scope.clone()))
    }

    /// Decides about a client.
    pub(crate) fn admit(&self, visitor: &Visitor<'_>) -> Result<Admission, Refusal> {
        self.step(|state, _| {
            let owner = state.owned_addresses.get(&visitor.local.ip()).and_then(|id| state.mount_targets.get(id));
            let fs = state.visited(visitor, owner.map(|target| &**target))?;
            let target = state.entrance(fs, owner, visitor.local)?;
            let (id, point) = match visitor.named {
                Some((name, Some(point))) => {
                    let refusal = || Refusal::AccessPoint(point.to_owned(), name.to_owned());
                    let row = AccessPointId::parse(point).and_then(|id| state.access_points.get(&id));
                    let row = row.filter(|row| row.file_system == fs.id && row.state == LifeCycleState::Available);
                    (Some(point.to_owned()), Some(row.ok_or_else(refusal)?))
                }
                _ => (None, None),
            };
            let arn = point.map(|point| point.arn());
            if fs.scope.service == Service::S3Files && visitor.principal.is_none() {
                return Err(Refusal::Unsigned(fs.id.to_string()));
            }
            let grants = grants(fs, visitor, arn.as_deref());
            let principal = visitor.principal.unwrap_or("anonymous").to_owned();
            if !grants.mount {
                let action = fs.scope.service.action("ClientMount");
                return Err(Refusal::Policy { action, principal });
            }
            let revoked = match &target {
                Some(target) => state.target_revocations.get(&target.id),
                None => state.system_revocations.get(&fs.id),
            };
            let store = self.store_of(state, fs);
            let (Some(revoked), Some(store)) = (revoked, store) else {
                return Err(Refusal::FileSystem(fs.id.to_string()));
            };
            let root = point.map(|point| &point.root_directory);
            Ok(Admission {
                dialect: fs.scope.service.into(),
                file_system_id: fs.id.to_string(),
                access_point_id: id,
                principal,
                mount_target_id: target.map(|target| target.id.to_string()),
                root_path: root.map_or_else(|| "/".to_owned(), |root| root.path.clone()),
                creation_info: root.and_then(|root| root.creation_info.as_ref()).map(|info| CreationInfo {
                    owner_uid: info.owner_uid,
                    owner_gid: info.owner_gid,
                    // Three or four octal digits, checked when it was made.
                    permissions: u32::from_str_radix(&info.permissions, 8).unwrap_or(0o755),
                }),
                posix_user: point.and_then(|point| point.posix_user.as_ref()).map(|user| PosixUser {
                    uid: user.uid,
                    gid: user.gid,
                    secondary_gids: user.secondary_gids.clone().unwrap_or_default(),
                }),
                rights: Rights { write: grants.write && fs.protection == Protection::Enabled, root: grants.root },
                store,
                rate: self.rate.clone(),
                revoked: revoked.clone(),
            })
        })
    }
}

impl State {
    /// The file system that a client means: by its certificate, by the address, or because there is only one.
    fn visited(&self, visitor: &Visitor<'_>, owner: Option<&MountTarget>) -> Result<&FileSystem, Refusal> {
        let available = |fs: &FileSystem| matches!(fs.state, LifeCycleState::Available | LifeCycleState::Updating);
        let id = match (visitor.named, owner) {
            (Some((name, _)), owner) => {
                let id = FileSystemId::parse(name).filter(|id| owner.is_none_or(|owner| owner.file_system == *id));
                id.ok_or_else(|| Refusal::FileSystem(name.to_owned()))?
            }
            (None, Some(owner)) => owner.file_system.clone(),
            (None, None) => {
                let of_efs = |fs: &FileSystem| fs.scope.service == Service::Efs;
                let mut all = self.file_systems.values().filter(|fs| available(fs) && of_efs(fs));
                match (all.next(), all.next()) {
                    (Some(fs), None) => fs.id.clone(),
                    (Some(_), Some(_)) => return Err(Refusal::Ambiguous(visitor.local)),
                    (None, _) => return Err(Refusal::NoMountTarget(visitor.local)),
                }
            }
        };
        let row = self.file_systems.get(&id).filter(|fs| available(fs));
        row.map(|fs| &**fs).ok_or_else(|| Refusal::FileSystem(id.to_string()))
    }

    /// The mount target that a client came through. The main address stands for any of the file system's targets; a file
    /// system that never had one is served there too, which AWS would not do, so that the shortest script works.
    fn entrance<'a>(
        &'a self,
        fs: &FileSystem,
        owner: Option<&'a Arc<MountTarget>>,
        local: SocketAddr,
    ) -> Result<Option<&'a Arc<MountTarget>>, Refusal> {
        let ready = |target: &&Arc<MountTarget>| target.state == LifeCycleState::Available;
        let target = match owner {
            Some(owner) => Some(owner).filter(ready),
            None => self.targets(&fs.id).find(ready),
        };
        if target.is_none() && fs.was_mountable { Err(Refusal::NoMountTarget(local)) } else { Ok(target) }
    }
}

/// What the file system's policy allows; where the service asks for it, what the principal's own does.
fn grants(fs: &FileSystem, visitor: &Visitor<'_>, access_point: Option<&str>) -> Grants {
    let arn = fs.arn();
    let service = fs.scope.service;
    let question = Question {
        service,
        principal: visitor.principal,
        file_system: &arn,
        access_point,
        secure: visitor.named.is_some(),
        source: Some(visitor.remote.ip()),
    };
    const NOTHING: Grants = Grants { mount: false, write: false, root: false };
    // It was understood when it was put; a policy that no longer is grants nothing.
    let Ok(policy) = fs.policy.as_deref().map(|text| Policy::parse(text, service)).transpose() else { return NOTHING };
    match (service, &policy) {
        (Service::Efs, None) => Grants::ALL,
        (Service::Efs, Some(policy)) => policy.grants(&question),
        (Service::S3Files, policy) => joint_grants(visitor.policy.as_deref(), policy.as_ref(), &question),
    }
}
