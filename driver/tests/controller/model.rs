//! EFS as a map in memory, where every call waits at known places, and a driver on it without a socket.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

use async_trait::async_trait;
use efs_csi_driver::controller::{Controller, ControllerService};
use efs_csi_driver::efs::{
    AccessPoint, AccessPointPage, EfsApi, EfsClients, EfsError, EfsErrorKind, FileSystem, LifeCycle, MountTarget,
    NewAccessPoint, Role,
};
use efs_csi_driver::metrics::Metrics;
use efs_csi_driver::volume::{AccessPointId, FileSystemId, FileSystemKind};

use crate::support::{MapCluster, config};

pub(crate) const FS: &str = "fs-0123456789abcdef0";

/// EFS in memory. Every call waits once before its work and once after it: a crash can lose the call or the answer.
#[derive(Debug, Default, Clone)]
pub(crate) struct Model {
    points: Arc<Mutex<BTreeMap<AccessPointId, AccessPoint>>>,
    /// How many were ever made: AWS gives no id twice, not even that of an access point that is gone.
    made: Arc<AtomicU64>,
    next_fault: Arc<Mutex<Option<Fault>>>,
}

/// What goes wrong with the next mutation.
#[derive(Debug, Clone)]
pub(crate) struct Fault {
    /// What the caller is told.
    pub(crate) kind: EfsErrorKind,
    /// Whether the work is done all the same.
    pub(crate) done: bool,
}

impl Model {
    async fn call<T>(&self, work: impl FnOnce(&mut BTreeMap<AccessPointId, AccessPoint>) -> T) -> T {
        tokio::task::yield_now().await;
        let result = work(&mut self.points.lock().unwrap());
        tokio::task::yield_now().await;
        result
    }

    /// Lets the next mutation go wrong.
    pub(crate) fn fail_next(&self, fault: Fault) {
        *self.next_fault.lock().unwrap() = Some(fault);
    }

    /// Takes back a fault that nothing has met.
    pub(crate) fn forget_fault(&self) {
        *self.next_fault.lock().unwrap() = None;
    }

    /// A mutation, with the fault that waits for it.
    async fn mutate<T>(
        &self,
        operation: &'static str,
        work: impl FnOnce(&mut BTreeMap<AccessPointId, AccessPoint>) -> Result<T, EfsError>,
    ) -> Result<T, EfsError> {
        let fault = self.next_fault.lock().unwrap().take();
        let Some(Fault { kind, done }) = fault else { return self.call(work).await };
        if done {
            drop(self.call(work).await);
        }
        Err(failure(operation, kind))
    }

    /// All access points.
    pub(crate) fn points(&self) -> Vec<AccessPoint> {
        self.points.lock().unwrap().values().cloned().collect()
    }

    pub(crate) fn len(&self) -> usize {
        self.points.lock().unwrap().len()
    }
}

fn failure(operation: &'static str, kind: EfsErrorKind) -> EfsError {
    EfsError { operation, kind, message: String::new(), request_id: None }
}

#[async_trait]
impl EfsApi for Model {
    async fn create_access_point(&self, new: &NewAccessPoint) -> Result<AccessPoint, EfsError> {
        self.mutate("CreateAccessPoint", |points| {
            if let Some(taken) = points.values().find(|point| point.client_token == new.client_token) {
                let kind = EfsErrorKind::AccessPointAlreadyExists(Some(taken.id.clone()));
                return Err(failure("CreateAccessPoint", kind));
            }
            let number = self.made.fetch_add(1, Ordering::Relaxed) + 1;
            let id: AccessPointId = format!("fsap-{number:017x}").parse().unwrap();
            let made = AccessPoint {
                id: id.clone(),
                file_system: new.file_system.clone(),
                client_token: new.client_token.clone(),
                posix_user: new.posix_user.clone(),
                root: new.root.clone(),
                root_owner: new.root_owner.clone(),
                state: LifeCycle::Available,
                tags: new.tags.clone(),
                tags_told: true,
            };
            points.insert(id, made.clone());
            Ok(made)
        })
        .await
    }

    async fn access_point(&self, _: &FileSystemId, id: &AccessPointId) -> Result<AccessPoint, EfsError> {
        let missing = || failure("DescribeAccessPoints", EfsErrorKind::AccessPointNotFound);
        self.call(|points| points.get(id).cloned().ok_or_else(missing)).await
    }

    async fn access_points(
        &self,
        _: Option<&FileSystemId>,
        _: u16,
        token: Option<&str>,
    ) -> Result<AccessPointPage, EfsError> {
        let position: usize = token.map_or(0, |token| token.parse().unwrap());
        self.call(|points| {
            let access_points = points.values().skip(position).take(1).cloned().collect();
            let next_token = (position + 1 < points.len()).then(|| (position + 1).to_string());
            Ok(AccessPointPage { access_points, next_token })
        })
        .await
    }

    async fn delete_access_point(&self, id: &AccessPointId) -> Result<(), EfsError> {
        let missing = || failure("DeleteAccessPoint", EfsErrorKind::AccessPointNotFound);
        self.mutate("DeleteAccessPoint", |points| points.remove(id).map(drop).ok_or_else(missing)).await
    }

    async fn file_system(&self, id: &FileSystemId) -> Result<FileSystem, EfsError> {
        let found = FileSystem {
            id: id.clone(),
            state: LifeCycle::Available,
            availability_zone: None,
            size_bytes: 0,
            status_message: None,
        };
        self.call(|_| Ok(found)).await
    }

    async fn mount_targets(&self, _: &FileSystemId) -> Result<Vec<MountTarget>, EfsError> {
        self.call(|_| Ok(Vec::new())).await
    }

    async fn tag(&self, id: &AccessPointId, tags: &BTreeMap<String, String>) -> Result<(), EfsError> {
        let missing = || failure("TagResource", EfsErrorKind::AccessPointNotFound);
        self.call(|points| points.get_mut(id).map(|it| it.tags.extend(tags.clone())).ok_or_else(missing)).await
    }
}

#[async_trait]
impl EfsClients for Model {
    async fn client(&self, _: FileSystemKind, _: Option<&Role>) -> Result<Arc<dyn EfsApi>, EfsError> {
        Ok(Arc::new(self.clone()))
    }

    async fn region(&self) -> Result<String, EfsError> {
        Ok("us-east-1".to_owned())
    }
}

/// A driver with this EFS.
pub(crate) fn driver(model: &Model) -> ControllerService {
    driver_in(model, &Arc::default())
}

/// The same in a cluster.
pub(crate) fn driver_in(model: &Model, cluster: &Arc<MapCluster>) -> ControllerService {
    let clients = Arc::new(model.clone());
    let controller = Controller::new(config(), clients, Arc::<MapCluster>::clone(cluster), Metrics::new());
    ControllerService::new(Arc::new(controller))
}

/// Polls a call so many times and then drops it, as a crash or a cancelled request does. True when it had finished.
pub(crate) fn cut_off<T>(call: impl Future<Output = T>, polls: usize) -> bool {
    let mut call = pin!(call);
    let mut context = Context::from_waker(Waker::noop());
    (0..polls).any(|_| matches!(call.as_mut().poll(&mut context), Poll::Ready(_)))
}
