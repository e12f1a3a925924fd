//! Addresses of mount targets in another account, for the volume context: nodes there can't resolve the file system's name.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::time::Duration;

use super::ControllerError;
use crate::efs::{EfsApi, EfsError, LifeCycle, MountTarget, Role};
use crate::volume::FileSystemId;

/// How long a listing of mount targets is taken for true.
const AGE: Duration = Duration::from_secs(30);

/// File systems whose mount targets are kept.
const MOST_FILE_SYSTEMS: u64 = 1000;

/// Mount targets by file system and role; equal questions at once are asked once.
#[derive(Debug)]
pub(crate) struct MountTargetCache(moka::future::Cache<(FileSystemId, Option<Role>), Vec<MountTarget>>);

impl Default for MountTargetCache {
    fn default() -> Self {
        Self(moka::future::Cache::builder().max_capacity(MOST_FILE_SYSTEMS).time_to_live(AGE).build())
    }
}

impl MountTargetCache {
    pub(crate) async fn get(
        &self,
        api: &dyn EfsApi,
        file_system: &FileSystemId,
        role: Option<&Role>,
    ) -> Result<Vec<MountTarget>, EfsError> {
        let key = (file_system.clone(), role.cloned());
        self.0.try_get_with(key, api.mount_targets(file_system)).await.map_err(|error| (*error).clone())
    }
}

/// The volume context for a file system of another account, with the Go driver's keys.
///
/// The map has an entry for each zone by its id and by its name: ids mean the same zone in every account, names are what
/// the Go driver's nodes look for.
pub(crate) fn context(
    file_system: &FileSystemId,
    targets: &[MountTarget],
    az: Option<&str>,
) -> Result<HashMap<String, String>, ControllerError> {
    let mut usable: Vec<&MountTarget> =
        targets.iter().filter(|target| target.state == LifeCycle::Available && !target.addresses.is_empty()).collect();
    usable.sort_by_key(|target| &target.id);
    let address = |target: &MountTarget| target.addresses.first().map(IpAddr::to_string).unwrap_or_default();
    // The Go driver's nodes know one address a zone; a mount target with two is new, and a node may have either family only.
    let addresses = |target: &MountTarget| target.addresses.iter().map(IpAddr::to_string).collect::<Vec<_>>().join(",");
    let Some(first) = usable.first() else {
        let message = if targets.is_empty() {
            format!("file system {file_system} has no mount target; create one in each zone of the cluster")
        } else {
            format!("no mount target of file system {file_system} is available yet; retry in some minutes")
        };
        return Err(ControllerError::MountTarget(message));
    };
    if let Some(az) = az {
        let in_zone = |target: &&&MountTarget| {
            target.availability_zone.as_deref() == Some(az) || target.availability_zone_id.as_deref() == Some(az)
        };
        let chosen = usable.iter().find(in_zone).copied().unwrap_or_else(|| {
            tracing::warn!(%file_system, az, instead = first.id, "no available mount target in the zone asked for");
            first
        });
        return Ok(HashMap::from([("mounttargetip".to_owned(), address(chosen))]));
    }
    let mut map = BTreeMap::new();
    for target in usable {
        for zone in [&target.availability_zone, &target.availability_zone_id].into_iter().flatten() {
            map.insert(zone.as_str(), addresses(target));
        }
    }
    let map = serde_json::to_string(&map).expect("a map of strings is always JSON");
    Ok(HashMap::from([("mounttargetipmap".to_owned(), map)]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(n: u8, state: LifeCycle) -> MountTarget {
        MountTarget {
            id: format!("fsmt-{n}"),
            state,
            availability_zone: Some(format!("us-east-1{}", char::from(b'a' + n))),
            availability_zone_id: Some(format!("use1-az{n}")),
            addresses: vec![IpAddr::from([10, 0, 0, n])],
        }
    }

    fn made(targets: &[MountTarget], az: Option<&str>) -> Result<HashMap<String, String>, ControllerError> {
        context(&"fs-01234567".parse().unwrap(), targets, az)
    }

    #[test]
    fn the_map_names_each_zone_by_id_and_by_name() {
        let targets =
            [target(1, LifeCycle::Available), target(2, LifeCycle::Creating), target(3, LifeCycle::Available)];
        let map: BTreeMap<String, String> =
            serde_json::from_str(&made(&targets, None).unwrap()["mounttargetipmap"]).unwrap();
        let want = [
            ("us-east-1b", "10.0.0.1"),
            ("us-east-1d", "10.0.0.3"),
            ("use1-az1", "10.0.0.1"),
            ("use1-az3", "10.0.0.3"),
        ];
        assert_eq!(map, want.map(|(k, v)| (k.to_owned(), v.to_owned())).into());
    }

    #[test]
    fn the_map_has_both_addresses_of_a_mount_target() {
        let mut both = target(1, LifeCycle::Available);
        both.addresses.push("fd00::1".parse().unwrap());
        let map = made(std::slice::from_ref(&both), None).unwrap().remove("mounttargetipmap").unwrap();
        assert_eq!(map, r#"{"us-east-1b":"10.0.0.1,fd00::1","use1-az1":"10.0.0.1,fd00::1"}"#);
        assert_eq!(made(&[both], Some("us-east-1b")).unwrap()["mounttargetip"], "10.0.0.1");
    }

    #[test]
    fn a_zone_chooses_its_mount_target_or_another_available_one() {
        let targets = [target(1, LifeCycle::Available), target(2, LifeCycle::Available)];
        for (az, ip) in [("us-east-1c", "10.0.0.2"), ("use1-az2", "10.0.0.2"), ("elsewhere", "10.0.0.1")] {
            assert_eq!(made(&targets, Some(az)).unwrap()["mounttargetip"], ip, "{az}");
        }
    }

    #[test]
    fn none_at_all_and_none_available_are_told_apart() {
        assert!(made(&[], None).unwrap_err().to_string().contains("has no mount target"));
        let creating = [target(1, LifeCycle::Creating)];
        assert!(made(&creating, None).unwrap_err().to_string().contains("retry in some minutes"));
    }
}
