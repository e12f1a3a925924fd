//! Finding a mount target's address.
//!
//! In this order: the address that the volume names, the address that it names for our zone, the file system's DNS name,
//! the EFS API. Several candidates are given best first, so that a dead zone costs one failed connection, not the mount.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use efs_tunnel::{Locate, LocateError, Route, Service, TunnelSpec};
use tokio::net::lookup_host;
use tokio::time::timeout;

use super::api::{LifeCycle, MountTarget};
use super::hosts::addresses_of;
use super::metadata::Metadata;
pub use super::patient::ListMountTargets;
use super::patient::{NoAnswer, PatientLister};
use crate::volume::FileSystemId;

/// Where the system keeps names of its own; a pod's `hostAliases` are written there.
const HOSTS: &str = "/etc/hosts";
/// A name that isn't resolved by then counts as unknown.
const DNS_WITHIN: Duration = Duration::from_secs(3);
/// Found addresses are used this long before they are looked up again.
const FRESH_FOR: Duration = Duration::from_secs(300);
/// At most this many file systems are remembered.
const REMEMBERED: usize = 4096;

/// Finds mount targets for the tunnels of a node.
pub struct MountTargets {
    efs: PatientLister,
    metadata: Arc<Metadata>,
    port: u16,
    hosts: PathBuf,
    known: Mutex<HashMap<TunnelSpec, (Instant, Vec<SocketAddr>)>>,
}

impl MountTargets {
    /// Mount targets listen on `port` (2049, except in tests).
    pub fn new(efs: Arc<dyn ListMountTargets>, metadata: Arc<Metadata>, port: u16) -> Self {
        let hosts = PathBuf::from(HOSTS);
        Self { efs: PatientLister::new(efs), metadata, port, hosts, known: Mutex::default() }
    }

    async fn find(&self, spec: &TunnelSpec) -> Result<Vec<SocketAddr>, LocateError> {
        let zone = match &spec.route.zone {
            Some(zone) => Some(zone.clone()),
            None => self.metadata.zone().await,
        };
        if !spec.route.by_zone.is_empty() {
            let zone_id = self.metadata.zone_id().await;
            return Ok(self.ports(from_map(spec, zone.as_deref(), zone_id.as_deref())));
        }
        if spec.service == Service::S3Files {
            return self.find_of_s3_files(spec).await;
        }
        let name = match (spec.route.cross_account, &spec.route.zone) {
            (true, _) => {
                let zone_id = self.metadata.zone_id().await.ok_or_else(|| LocateError {
                    message: "crossaccount needs this node's availability zone id, which is unknown".to_owned(),
                    missing: false,
                })?;
                format!("{zone_id}.{}", spec.server_name)
            }
            (false, Some(zone)) => format!("{zone}.{}", spec.server_name),
            (false, None) => spec.server_name.clone(),
        };
        let unresolved = match self.resolve(&name).await {
            Ok(addresses) => return Ok(addresses),
            Err(reason) => format!("{name} does not resolve ({reason})"),
        };
        if spec.route.cross_account {
            let message = format!("{unresolved}; make a private hosted zone with that name");
            return Err(LocateError { message, missing: false });
        }
        self.ask_api(spec, zone.as_deref(), &unresolved).await
    }

    /// The names of S3 Files begin with the id of a zone; there is none for the whole file system.
    async fn find_of_s3_files(&self, spec: &TunnelSpec) -> Result<Vec<SocketAddr>, LocateError> {
        let zone_id = match &spec.route.zone {
            Some(zone) => Some(zone.clone()),
            None => self.metadata.zone_id().await,
        };
        let unresolved = match &zone_id {
            Some(zone_id) => {
                let name = format!("{zone_id}.{}", spec.server_name);
                match self.resolve(&name).await {
                    Ok(addresses) => return Ok(addresses),
                    Err(reason) => format!("{name} does not resolve ({reason})"),
                }
            }
            None => {
                let how = "give the mount option azid, a label topology.k8s.aws/zone-id of the node, or the instance metadata service";
                format!("this node's availability zone id is unknown ({how})")
            }
        };
        self.ask_api(spec, zone_id.as_deref(), &unresolved).await
    }

    async fn resolve(&self, name: &str) -> Result<Vec<SocketAddr>, String> {
        let hosts = tokio::fs::read_to_string(&self.hosts).await.unwrap_or_default();
        let given = addresses_of(name, &hosts);
        if !given.is_empty() {
            return Ok(self.ports(given));
        }
        // The trailing dot keeps the resolver from trying every search domain of the pod.
        let lookup = lookup_host((format!("{name}."), self.port));
        match timeout(DNS_WITHIN, lookup).await {
            Ok(Ok(addresses)) => {
                let addresses: Vec<SocketAddr> = addresses.collect();
                if addresses.is_empty() { Err("no address".to_owned()) } else { Ok(addresses) }
            }
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => Err(format!("no answer within {} s", DNS_WITHIN.as_secs())),
        }
    }

    async fn ask_api(
        &self,
        spec: &TunnelSpec,
        zone: Option<&str>,
        unresolved: &str,
    ) -> Result<Vec<SocketAddr>, LocateError> {
        let failed = |reason: &str, missing| LocateError { message: format!("{unresolved}, and {reason}"), missing };
        let file_system = file_system_of(spec).ok_or_else(|| failed("the file system's id is malformed", true))?;
        let targets = self.efs.mount_targets(&file_system).await.map_err(|error| {
            let missing = matches!(&error, NoAnswer::Refused(refused) if refused.is_not_found());
            failed(&error.to_string(), missing)
        })?;
        let zone_id = self.metadata.zone_id().await;
        let addresses = self.ports(usable(targets, zone, zone_id.as_deref()));
        if addresses.is_empty() {
            let reason = "the file system has no available mount target; create one in this node's availability zone";
            return Err(failed(reason, false));
        }
        Ok(addresses)
    }

    fn known(&self) -> MutexGuard<'_, HashMap<TunnelSpec, (Instant, Vec<SocketAddr>)>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn know(&self, key: TunnelSpec, addresses: Vec<SocketAddr>) {
        let mut known = self.known();
        if known.len() >= REMEMBERED {
            known.clear();
        }
        known.insert(key, (Instant::now(), addresses));
    }

    fn ports(&self, addresses: Vec<IpAddr>) -> Vec<SocketAddr> {
        addresses.into_iter().map(|address| SocketAddr::new(address, self.port)).collect()
    }
}

#[async_trait]
impl Locate for MountTargets {
    async fn locate(&self, spec: &TunnelSpec) -> Result<Vec<SocketAddr>, LocateError> {
        if let Some(address) = spec.route.address {
            return Ok(vec![SocketAddr::new(address, self.port)]);
        }
        let key = key(spec);
        if let Some((found, addresses)) = self.known().get(&key)
            && found.elapsed() < FRESH_FOR
        {
            return Ok(addresses.clone());
        }
        let addresses = self.find(spec).await?;
        self.know(key, addresses.clone());
        Ok(addresses)
    }

    fn forget(&self, spec: &TunnelSpec) {
        self.known().remove(&key(spec));
    }

    fn remember(&self, spec: &TunnelSpec, address: SocketAddr) {
        self.know(key(spec), vec![address]);
    }
}

/// The file system of a tunnel; nothing if its id is malformed.
pub(crate) fn file_system_of(spec: &TunnelSpec) -> Option<FileSystemId> {
    spec.file_system.parse().ok().map(|id: FileSystemId| id.of(spec.service.into()))
}

/// Access points and identities of a file system share its addresses.
fn key(spec: &TunnelSpec) -> TunnelSpec {
    let route = Route { max_connections: None, ..spec.route.clone() };
    TunnelSpec { access_point: None, iam: None, route, ..spec.clone() }
}

/// The addresses of the volume's map: our zone's first, then the others as a way out when that one is dead.
fn from_map(spec: &TunnelSpec, zone: Option<&str>, zone_id: Option<&str>) -> Vec<IpAddr> {
    let ours = |key: &str| Some(key) == zone || Some(key) == zone_id;
    let (mine, others): (Vec<_>, Vec<_>) = spec.route.by_zone.iter().partition(|(key, _)| ours(key));
    if mine.is_empty() {
        tracing::warn!(tunnel = %spec, ?zone, "mounttargetip map has no entry for this node's zone, using another zone's");
    }
    mine.into_iter().chain(others).flat_map(|(_, addresses)| addresses.all()).copied().collect()
}

/// Addresses of available mount targets: those of our zone first. The id counts before the name, which means another zone in
/// every account.
fn usable(targets: Vec<MountTarget>, zone: Option<&str>, zone_id: Option<&str>) -> Vec<IpAddr> {
    let mut targets: Vec<MountTarget> =
        targets.into_iter().filter(|target| target.state == LifeCycle::Available).collect();
    targets.sort_by_key(|target| {
        if zone_id.is_some() && target.availability_zone_id.as_deref() == zone_id {
            0
        } else if zone.is_some()
            && (target.availability_zone.as_deref() == zone || target.availability_zone_id.as_deref() == zone)
        {
            1
        } else {
            2
        }
    });
    targets.into_iter().flat_map(|target| target.addresses).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::efs::EfsError;
    use crate::volume::{AccessPointId, FileSystemId};

    fn target(zone: &str, id: &str, state: LifeCycle, last: u8) -> MountTarget {
        MountTarget {
            id: format!("fsmt-{last}"),
            state,
            availability_zone: Some(zone.to_owned()),
            availability_zone_id: Some(id.to_owned()),
            addresses: vec![[10, 0, 0, last].into()],
        }
    }

    struct Nobody;

    #[async_trait]
    impl ListMountTargets for Nobody {
        async fn mount_targets(&self, _: &FileSystemId) -> Result<Vec<MountTarget>, EfsError> {
            Ok(Vec::new())
        }

        async fn is_gone(&self, _: &FileSystemId, _: &AccessPointId) -> Result<bool, EfsError> {
            Ok(false)
        }
    }

    /// The chart's node.hostAliases, and a name that only the hosts file knows.
    #[tokio::test]
    async fn the_hosts_file_comes_first() {
        let dir = tempfile::tempdir().unwrap();
        let hosts = dir.path().join("hosts");
        let spec = TunnelSpec {
            service: efs_tunnel::Service::Efs,
            file_system: "fs-0123456789abcdef0".to_owned(),
            access_point: None,
            region: "us-east-1".to_owned(),
            server_name: "fs-0123456789abcdef0.efs.us-east-1.amazonaws.invalid".to_owned(),
            iam: None,
            route: Route::default(),
        };
        std::fs::write(&hosts, format!("10.0.0.9 {}\n", spec.server_name)).unwrap();
        let given = crate::efs::metadata::Given {
            node_id: Some("node".to_owned()),
            region: Some("us-east-1".to_owned()),
            availability_zone: Some("us-east-1a".to_owned()),
        };
        let metadata = Arc::new(Metadata::new(given, None).without_imds());
        let mut targets = MountTargets::new(Arc::new(Nobody), metadata, 2049);
        targets.hosts = hosts;
        assert_eq!(targets.locate(&spec).await.unwrap(), ["10.0.0.9:2049".parse().unwrap()]);
    }

    /// Has one mount target in each of two zones.
    struct TwoZones;

    #[async_trait]
    impl ListMountTargets for TwoZones {
        async fn mount_targets(&self, of: &FileSystemId) -> Result<Vec<MountTarget>, EfsError> {
            assert_eq!(of.kind(), crate::volume::FileSystemKind::S3Files, "the other service is asked");
            let zones = [("", "use1-az1", 1), ("", "use1-az2", 2)];
            Ok(zones.map(|(zone, id, last)| target(zone, id, LifeCycle::Available, last)).to_vec())
        }

        async fn is_gone(&self, _: &FileSystemId, _: &AccessPointId) -> Result<bool, EfsError> {
            Ok(false)
        }
    }

    #[tokio::test]
    async fn s3_files_is_found_by_the_zones_id_and_then_by_the_api() {
        let dir = tempfile::tempdir().unwrap();
        let hosts = dir.path().join("hosts");
        let server_name = "fs-0123456789abcdef0.s3files.us-east-1.on.invalid".to_owned();
        std::fs::write(&hosts, format!("10.0.0.9 use1-az2.{server_name}\n10.0.0.8 {server_name}\n")).unwrap();
        let metadata = || Arc::new(Metadata::new(crate::efs::metadata::Given::default(), None).without_imds());
        let mut targets = MountTargets::new(Arc::new(TwoZones), metadata(), 2049);
        targets.hosts = hosts;
        let spec = |zone: Option<&str>| TunnelSpec {
            service: Service::S3Files,
            file_system: "fs-0123456789abcdef0".to_owned(),
            access_point: None,
            region: "us-east-1".to_owned(),
            server_name: server_name.clone(),
            iam: None,
            route: Route { zone: zone.map(str::to_owned), ..Route::default() },
        };
        let found = async |zone| {
            let found = targets.locate(&spec(zone)).await.unwrap();
            found.iter().map(|address| address.ip().to_string()).collect::<Vec<_>>()
        };
        assert_eq!(found(Some("use1-az2")).await, ["10.0.0.9"]);
        // No such name: the API knows the zone's mount target, and another one as a way out.
        assert_eq!(found(Some("use1-az1")).await, ["10.0.0.1", "10.0.0.2"]);
        // A file system as a whole has no name, whatever resolves.
        assert_eq!(found(None).await, ["10.0.0.1", "10.0.0.2"]);
    }

    #[test]
    fn targets_of_our_zone_come_first_and_unavailable_ones_not_at_all() {
        let list = || {
            vec![
                target("us-east-1a", "use1-az1", LifeCycle::Available, 1),
                target("us-east-1b", "use1-az2", LifeCycle::Available, 2),
                target("us-east-1c", "use1-az3", LifeCycle::Creating, 3),
            ]
        };
        let last = |zone, id| usable(list(), zone, id).iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(last(None, None), ["10.0.0.1", "10.0.0.2"]);
        assert_eq!(last(Some("us-east-1b"), None), ["10.0.0.2", "10.0.0.1"]);
        assert_eq!(last(Some("us-east-1a"), Some("use1-az2")), ["10.0.0.2", "10.0.0.1"]);
        assert_eq!(last(Some("us-east-1c"), None), ["10.0.0.1", "10.0.0.2"]);
    }

    /// Which family works is known when one answers, not before.
    #[test]
    fn both_addresses_of_a_mount_target_are_tried() {
        let both: Vec<IpAddr> = vec![[10, 0, 0, 1].into(), "fd00::1".parse().unwrap()];
        let target =
            MountTarget { addresses: both.clone(), ..target("us-east-1a", "use1-az1", LifeCycle::Available, 1) };
        assert_eq!(usable(vec![target], None, None), both);
    }
}
