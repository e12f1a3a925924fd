//! The EFS API of a fake without a network. Every call waits once before its work and once after it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use efs_csi_driver::efs::{
    AccessPoint, AccessPointPage, EfsApi, EfsClients, EfsError, EfsErrorKind, FileSystem, LifeCycle, MountTarget,
    NewAccessPoint, Owner, PosixUser, Role,
};
use efs_csi_driver::volume::{AccessPointId, FileSystemId, FileSystemKind};
use fake_efs::world::access_points::{CreateAccessPoint, DescribeAccessPoints};
use fake_efs::world::errors::ErrorName;
use fake_efs::world::model;
use fake_efs::world::scope::Requester;

/// What goes wrong with the next change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// IAM refuses.
    Denied,
    /// The work is done, the answer is lost.
    Lost,
}

/// An account with one file system.
#[derive(Clone)]
pub(crate) struct Account {
    pub(crate) world: Arc<fake_efs::world::World>,
    pub(crate) file_system: FileSystemId,
    pub(crate) fault: Arc<Mutex<Option<Fault>>>,
}

impl std::fmt::Debug for Account {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Account").finish_non_exhaustive()
    }
}

fn failure(operation: &'static str, kind: EfsErrorKind) -> EfsError {
    EfsError { operation, kind, message: String::new(), request_id: None }
}

fn told(operation: &'static str, error: fake_efs::world::errors::EfsError) -> EfsError {
    let kind = match error.name {
        ErrorName::AccessPointAlreadyExists => {
            EfsErrorKind::AccessPointAlreadyExists(error.existing.and_then(|(_, id)| id.parse().ok()))
        }
        ErrorName::AccessPointNotFound => EfsErrorKind::AccessPointNotFound,
        ErrorName::FileSystemNotFound => EfsErrorKind::FileSystemNotFound,
        other => EfsErrorKind::Other(other.as_str().to_owned()),
    };
    failure(operation, kind)
}

fn point(it: &model::AccessPoint) -> AccessPoint {
    AccessPoint {
        id: it.id.as_str().parse().unwrap(),
        file_system: it.file_system.as_str().parse().unwrap(),
        client_token: it.client_token.clone(),
        posix_user: it.posix_user.as_ref().map(|it| PosixUser { uid: it.uid, gid: it.gid, secondary_gids: vec![] }),
        root: it.root_directory.path.clone(),
        root_owner: it.root_directory.creation_info.as_ref().map(|it| Owner {
            uid: it.owner_uid,
            gid: it.owner_gid,
            permissions: it.permissions.clone(),
        }),
        // Each step of the fake's world finishes what takes no time.
        state: match it.state {
            model::LifeCycleState::Deleting => LifeCycle::Deleting,
            model::LifeCycleState::Error => LifeCycle::Error,
            _ => LifeCycle::Available,
        },
        tags: it.tags.iter().map(|tag| (tag.key.clone(), tag.value.clone())).collect(),
        tags_told: true,
    }
}

impl Account {
    pub(crate) fn requester(&self) -> Requester {
        Requester::root(self.world.home().clone())
    }

    async fn call<T>(&self, work: impl FnOnce(&fake_efs::world::World, &Requester) -> T) -> T {
        crate::stored::wait_once().await;
        let result = work(&self.world, &self.requester());
        crate::stored::wait_once().await;
        result
    }

    /// A change, with the fault that waits for it.
    async fn change<T>(
        &self,
        operation: &'static str,
        work: impl FnOnce(&fake_efs::world::World, &Requester) -> Result<T, fake_efs::world::errors::EfsError>,
    ) -> Result<T, EfsError> {
        match self.fault.lock().unwrap().take() {
            Some(Fault::Denied) => return Err(failure(operation, EfsErrorKind::AccessDenied)),
            Some(Fault::Lost) => {
                drop(work(&self.world, &self.requester()));
                return Err(failure(operation, EfsErrorKind::Timeout));
            }
            None => {}
        }
        self.call(work).await.map_err(|error| told(operation, error))
    }

    /// All access points.
    pub(crate) fn points(&self) -> Vec<AccessPoint> {
        let input = page_of(Some(&self.file_system), 1000, None);
        let (points, _) = self.world.describe_access_points(&self.requester(), &input).unwrap();
        points.iter().map(|it| point(it)).collect()
    }

    /// Somebody deletes an access point by hand.
    pub(crate) fn remove(&self, id: &AccessPointId) {
        self.world.delete_access_point(&self.requester(), id.as_str()).unwrap();
    }

    /// An access point that somebody makes by hand.
    pub(crate) fn make(&self, token: &str, root: &str) -> Option<AccessPointId> {
        let made =
            self.world.create_access_point(&self.requester(), input(token, &self.file_system, root, None, &[].into()));
        made.ok().map(|it| it.id.as_str().parse().unwrap())
    }
}

fn page_of(file_system: Option<&FileSystemId>, rows: u32, token: Option<&str>) -> DescribeAccessPoints {
    let id = file_system.map(ToString::to_string);
    serde_json::from_value(serde_json::json!({ "FileSystemId": id, "MaxResults": rows, "NextToken": token })).unwrap()
}

fn input(
    token: &str,
    file_system: &FileSystemId,
    root: &str,
    owner: Option<(&PosixUser, &Owner)>,
    tags: &BTreeMap<String, String>,
) -> CreateAccessPoint {
    CreateAccessPoint {
        client_token: token.to_owned(),
        file_system_id: file_system.to_string(),
        tags: tags.iter().map(|(key, value)| model::Tag { key: key.clone(), value: value.clone() }).collect(),
        posix_user: owner.map(|(user, _)| model::PosixUser { uid: user.uid, gid: user.gid, secondary_gids: None }),
        root_directory: Some(model::RootDirectory {
            path: root.to_owned(),
            creation_info: owner.map(|(_, owner)| model::CreationInfo {
                owner_uid: owner.uid,
                owner_gid: owner.gid,
                permissions: owner.permissions.clone(),
            }),
        }),
    }
}

#[async_trait]
impl EfsApi for Account {
    async fn create_access_point(&self, new: &NewAccessPoint) -> Result<AccessPoint, EfsError> {
        let owner = new.posix_user.as_ref().zip(new.root_owner.as_ref());
        let input = input(&new.client_token, &new.file_system, &new.root, owner, &new.tags);
        let made = self.change("CreateAccessPoint", |world, who| world.create_access_point(who, input)).await?;
        Ok(point(&made))
    }

    async fn access_point(&self, _: &FileSystemId, id: &AccessPointId) -> Result<AccessPoint, EfsError> {
        let input = DescribeAccessPoints { access_point_id: Some(id.to_string()), ..DescribeAccessPoints::default() };
        let found = self.call(|world, who| world.describe_access_points(who, &input)).await;
        let (points, _) = found.map_err(|error| told("DescribeAccessPoints", error))?;
        Ok(point(&points[0]))
    }

    async fn access_points(
        &self,
        file_system: Option<&FileSystemId>,
        _: u16,
        token: Option<&str>,
    ) -> Result<AccessPointPage, EfsError> {
        // Small pages, so that things happen between them.
        let input = page_of(file_system, 3, token);
        let found = self.call(|world, who| world.describe_access_points(who, &input)).await;
        let (points, next_token) = found.map_err(|error| told("DescribeAccessPoints", error))?;
        Ok(AccessPointPage { access_points: points.iter().map(|it| point(it)).collect(), next_token })
    }

    async fn delete_access_point(&self, id: &AccessPointId) -> Result<(), EfsError> {
        self.change("DeleteAccessPoint", |world, who| world.delete_access_point(who, id.as_str())).await
    }

    async fn file_system(&self, id: &FileSystemId) -> Result<FileSystem, EfsError> {
        let found = FileSystem {
            id: id.clone(),
            state: LifeCycle::Available,
            availability_zone: None,
            size_bytes: 0,
            status_message: None,
        };
        self.call(|_, _| Ok(found)).await
    }

    async fn mount_targets(&self, _: &FileSystemId) -> Result<Vec<MountTarget>, EfsError> {
        self.call(|_, _| Ok(Vec::new())).await
    }

    async fn tag(&self, id: &AccessPointId, tags: &BTreeMap<String, String>) -> Result<(), EfsError> {
        let tags = tags.iter().map(|(key, value)| model::Tag { key: key.clone(), value: value.clone() }).collect();
        self.change("TagResource", |world, who| world.tag_resource(who, id.as_str(), tags)).await
    }
}

#[async_trait]
impl EfsClients for Account {
    async fn client(&self, _: FileSystemKind, _: Option<&Role>) -> Result<Arc<dyn EfsApi>, EfsError> {
        Ok(Arc::new(self.clone()))
    }

    async fn region(&self) -> Result<String, EfsError> {
        Ok("us-east-1".to_owned())
    }
}
