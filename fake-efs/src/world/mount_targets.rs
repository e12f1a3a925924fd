//! Operations on mount targets.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use serde::Deserialize;
use sha2::{Digest, Sha256};
use tokio_util::sync::CancellationToken;

use super::errors::{EfsError, ErrorName, Result};
use super::ids::{AccessPointId, FileSystemId};
use super::lifecycle::Timer;
use super::limits::EC2_PATIENCE;
use super::model::{LifeCycleState, MountTarget};
use super::network::Subnet;
use super::paging::{DEFAULT_ROWS, Page, PageRequest};
use super::scope::{Requester, Scope};
use super::{Entity, State, World};

/// Input of CreateMountTarget.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct CreateMountTarget {
    /// Id or ARN.
    pub file_system_id: String,
    /// `subnet-…`
    pub subnet_id: String,
    /// A particular IPv4 address.
    pub ip_address: Option<String>,
    /// A particular IPv6 address.
    pub ipv6_address: Option<String>,
    /// Defaults to IPv4 only.
    pub ip_address_type: Option<IpAddressType>,
    /// Defaults to the VPC's default group.
    pub security_groups: Option<Vec<String>>,
}

/// Which kinds of address a mount target has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub enum IpAddressType {
    /// IPv4 only.
    #[serde(rename = "IPV4_ONLY")]
    V4,
    /// IPv6 only.
    #[serde(rename = "IPV6_ONLY")]
    V6,
    /// Both.
    #[serde(rename = "DUAL_STACK")]
    Dual,
}

/// Input of DescribeMountTargets: exactly one of the three ids.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct DescribeMountTargets {
    /// All of this file system.
    pub file_system_id: Option<String>,
    /// This one.
    pub mount_target_id: Option<String>,
    /// All of this access point's file system.
    pub access_point_id: Option<String>,
    /// Which page.
    #[serde(flatten)]
    pub page: PageRequest,
}

/// Input of ModifyMountTargetSecurityGroups.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct ModifySecurityGroups {
    /// `fsmt-…`
    pub mount_target_id: String,
    /// The new groups.
    pub security_groups: Option<Vec<String>>,
}

/// The addresses of a new mount target.
struct Addresses {
    v4: Option<IpAddr>,
    owned: bool,
    v6: Option<Ipv6Addr>,
}

impl State {
    /// Checks security groups, or picks the VPC's default one.
    fn security_groups(&self, groups: Option<Vec<String>>, vpc: &str) -> Result<Vec<String>> {
        let Some(groups) = groups.filter(|groups| !groups.is_empty()) else {
            return Ok(vec![self.network.default_security_group(vpc)]);
        };
        if groups.len() > self.limits.security_groups {
            return Err(EfsError::new(
                ErrorName::SecurityGroupLimitExceeded,
                format!("A mount target can have at most {} security groups.", self.limits.security_groups),
            ));
        }
        match groups.iter().find(|id| !self.network.has_security_group(id, vpc)) {
            Some(id) => Err(EfsError::new(
                ErrorName::SecurityGroupNotFound,
                format!("The security group '{id}' does not exist in '{vpc}'."),
            )),
            None => Ok(groups),
        }
    }

    /// Mount targets of a file system.
    pub(super) fn targets(&self, id: &FileSystemId) -> impl Iterator<Item = &Arc<MountTarget>> {
        let targets = self.targets_of.get(id).into_iter().flat_map(|targets| targets.values());
        targets.filter_map(|id| self.mount_targets.get(id))
    }

    /// Checks what AWS demands of a file system's mount targets among each other.
    fn check_neighbours(&self, file_system: &FileSystemId, subnet: &Subnet) -> Result<()> {
        let conflict = |why: String| Err(EfsError::new(ErrorName::MountTargetConflict, why));
        if let Some(other) = self.targets(file_system).find(|t| t.vpc != subnet.vpc) {
            return conflict(format!(
                "requested subnet for new mount target is not in the same VPC as existing mount targets ({})",
                other.vpc
            ));
        }
        let same_zone = self.targets(file_system).filter(|t| t.zone == subnet.zone).count();
        if same_zone >= self.limits.mount_targets_per_zone {
            return conflict("mount target already exists in this AZ".to_owned());
        }
        Ok(())
    }

    /// Whether a mount target in that scope and subnet has the address.
    fn address_in_use(&self, scope: &Scope, address: IpAddr, subnet: &str) -> bool {
        let targets = self.mount_targets.range(scope, ..).map(|(_, target)| target);
        let mut same = targets.filter(|t| t.address == Some(address) || t.address_v6.map(IpAddr::V6) == Some(address));
        self.owned_addresses.contains_key(&address) || same.any(|t| t.subnet == subnet)
    }
}

/// Reads an address of the request that the model's pattern let through.
fn parse_address<A: std::str::FromStr>(text: Option<&String>) -> Result<Option<A>> {
    text.map(|text| text.parse().map_err(|_| EfsError::bad_request(format!("invalid IP address: {text}")))).transpose()
}

impl World {
    /// CreateMountTarget. The address is served as soon as this returns.
    pub fn create_mount_target(&self, requester: &Requester, input: CreateMountTarget) -> Result<MountTarget> {
        self.step(|state, now| {
            let fs = state.available_file_system(requester, &input.file_system_id)?.clone();
            let scope = &requester.scope;
            let subnet = state.network.subnet(&scope.region, &input.subnet_id).ok_or_else(|| {
                EfsError::new(ErrorName::SubnetNotFound, format!("The subnet ID '{}' does not exist", input.subnet_id))
            })?;
            if !state.network.has_mount_targets(&subnet.zone) {
                let text = format!("Mount targets are not supported in Availability Zone '{}'.", subnet.zone.name);
                return Err(EfsError::new(ErrorName::UnsupportedAvailabilityZone, text));
            }
            if let Some(zone) = fs.zone.as_ref().filter(|zone| **zone != subnet.zone) {
                return Err(EfsError::new(
                    ErrorName::AvailabilityZonesMismatch,
                    format!(
                        "The subnet is in Availability Zone '{}' but the One Zone file system is in '{}'.",
                        subnet.zone.name, zone.name
                    ),
                ));
            }
            let security_groups = state.security_groups(input.security_groups.clone(), &subnet.vpc)?;
            state.check_neighbours(&fs.id, &subnet)?;
            if state.mount_targets.count(scope) >= state.limits.network_interfaces {
                return Err(EfsError::new(
                    ErrorName::NetworkInterfaceLimitExceeded,
                    "The account has reached its limit of network interfaces in this Region.",
                ));
            }
            let Addresses { v4, owned, v6 } = self.find_addresses(state, scope, &fs.id, &input, &subnet)?;
            let target = MountTarget {
                id: state.ids.mount_target(),
                scope: scope.clone(),
                seq: state.mount_targets.next_seq(),
                file_system: fs.id.clone(),
                state: LifeCycleState::Creating,
                subnet: input.subnet_id,
                vpc: subnet.vpc,
                zone: subnet.zone,
                address: v4,
                owns_address: owned,
                address_v6: v6,
                network_interface: state.ids.network_interface(),
                security_groups,
            };
            state.add_mount_target(target.clone());
            state.change_file_system(&fs.id, |fs| fs.was_mountable = true);
            state.dirty.insert(Entity::MountTarget(target.id.clone()));
            state.schedule(now, state.delays.mount_target_create, Timer::MountTargetReady(target.id.clone()));
            Ok(target)
        })
    }

    /// Finds addresses for a new mount target, and opens its door.
    fn find_addresses(
        &self,
        state: &State,
        scope: &Scope,
        file_system: &FileSystemId,
        input: &CreateMountTarget,
        subnet: &Subnet,
    ) -> Result<Addresses> {
        let kind = input.ip_address_type.unwrap_or(IpAddressType::V4);
        let wanted: Option<Ipv4Addr> = parse_address(input.ip_address.as_ref())?;
        let wanted_v6: Option<Ipv6Addr> = parse_address(input.ipv6_address.as_ref())?;
        if kind == IpAddressType::V6 && wanted.is_some() || kind == IpAddressType::V4 && wanted_v6.is_some() {
            return Err(EfsError::bad_request("The given address does not match the IpAddressType."));
        }
        let in_use = |address: IpAddr| {
            let free = !state.address_in_use(scope, address, &input.subnet_id);
            let error =
                || EfsError::new(ErrorName::IpAddressInUse, format!("The address {address} is already in use."));
            free.then_some(()).ok_or_else(error)
        };
        let v6 = match (kind, wanted_v6) {
            (IpAddressType::V4, _) => None,
            (_, Some(address)) => {
                in_use(address.into())?;
                Some(address)
            }
            (_, None) => Some(made_up_v6(file_system, &input.subnet_id)),
        };
        if kind == IpAddressType::V6 {
            return Ok(Addresses { v4: None, owned: false, v6 });
        }
        if let Some(address) = wanted {
            if subnet.cidr.is_some_and(|cidr| !cidr.contains(address)) {
                return Err(EfsError::bad_request(format!(
                    "Address {address} does not fall within the subnet's address range"
                )));
            }
            in_use(address.into())?;
            let owned = address.is_loopback() && self.doors.open(address.into());
            return Ok(Addresses { v4: Some(address.into()), owned, v6 });
        }
        if let Some(cidr) = subnet.cidr {
            let used = state.mount_targets.range(scope, ..).filter(|(_, t)| t.subnet == input.subnet_id).count();
            if used >= cidr.hosts().count() {
                return Err(EfsError::new(
                    ErrorName::NoFreeAddressesInSubnet,
                    format!("The subnet '{}' has no free addresses.", input.subnet_id),
                ));
            }
        }
        let own = state
            .addresses
            .candidates(&input.subnet_id, file_system.as_str(), subnet.cidr)
            .into_iter()
            .map(IpAddr::from)
            .filter(|address| *address != state.addresses.main() && !state.owned_addresses.contains_key(address))
            .find(|address| self.doors.open(*address));
        Ok(Addresses { v4: Some(own.unwrap_or_else(|| state.addresses.main())), owned: own.is_some(), v6 })
    }

    /// DescribeMountTargets: one page, and the next one's token.
    pub fn describe_mount_targets(
        &self,
        requester: &Requester,
        input: &DescribeMountTargets,
    ) -> Result<(Vec<Arc<MountTarget>>, Option<String>)> {
        self.step(|state, _| {
            let file_system = match (&input.file_system_id, &input.mount_target_id, &input.access_point_id) {
                (Some(text), None, None) => state.file_system(requester, text)?.id.clone(),
                (None, Some(text), None) => {
                    return Ok((vec![Arc::clone(state.mount_target(requester, text)?)], None));
                }
                (None, None, Some(text)) => state.access_point(requester, text)?.file_system.clone(),
                _ => {
                    return Err(EfsError::bad_request(
                        "Specify exactly one of FileSystemId, MountTargetId and AccessPointId.",
                    ));
                }
            };
            let page = Page::new(&input.page, "mount-targets", DEFAULT_ROWS)?;
            Ok(State::page_of(state.targets_of.get(&file_system), &state.mount_targets, &page))
        })
    }

    /// GetMountTarget.
    pub fn get_mount_target(&self, requester: &Requester, text: &str) -> Result<MountTarget> {
        self.step(|state, _| state.mount_target(requester, text).map(|target| (**target).clone()))
    }

    /// ListMountTargets: as DescribeMountTargets, but those of all file systems if none is named.
    pub fn list_mount_targets(
        &self,
        requester: &Requester,
        input: &DescribeMountTargets,
    ) -> Result<(Vec<Arc<MountTarget>>, Option<String>)> {
        if input.file_system_id.is_some() || input.access_point_id.is_some() {
            return self.describe_mount_targets(requester, input);
        }
        self.step(|state, _| {
            let page = Page::new(&input.page, "mount-targets", DEFAULT_ROWS)?;
            Ok(State::page_of(state.mount_targets.index(&requester.scope), &state.mount_targets, &page))
        })
    }

    /// DeleteMountTarget. Its connections end at once, its id is gone when the delay has passed.
    pub fn delete_mount_target(&self, requester: &Requester, text: &str) -> Result<()> {
        self.step(|state, now| {
            let id = state.mount_target(requester, text)?.id.clone();
            let Some(target) = state.mount_targets.get_mut(&id) else { return Ok(()) };
            if target.state == LifeCycleState::Deleting {
                return Ok(());
            }
            if state.delays.network_interface_delete > EC2_PATIENCE {
                let text = format!("The network interface of mount target '{id}' could not be removed in time.");
                return Err(EfsError::new(ErrorName::DependencyTimeout, text));
            }
            target.state = LifeCycleState::Deleting;
            let address = target.address.filter(|_| target.owns_address);
            if let Some(revocation) = state.target_revocations.remove(&id) {
                revocation.cancel();
            }
            if let Some(address) = address {
                state.owned_addresses.remove(&address);
                self.doors.close(address);
            }
            state.dirty.insert(Entity::MountTarget(id.clone()));
            state.schedule(now, state.delays.mount_target_delete, Timer::MountTargetGone(id));
            Ok(())
        })
    }

    /// DescribeMountTargetSecurityGroups.
    pub fn describe_security_groups(&self, requester: &Requester, text: &str) -> Result<Vec<String>> {
        self.step(|state, _| Ok(living(state.mount_target(requester, text)?)?.security_groups.clone()))
    }

    /// ModifyMountTargetSecurityGroups.
    pub fn modify_security_groups(&self, requester: &Requester, input: ModifySecurityGroups) -> Result<()> {
        self.step(|state, _| {
            let target = living(state.mount_target(requester, &input.mount_target_id)?)?;
            let id = target.id.clone();
            let groups = state.security_groups(input.security_groups, &target.vpc)?;
            if let Some(target) = state.mount_targets.get_mut(&id) {
                target.security_groups = groups;
            }
            state.dirty.insert(Entity::MountTarget(id));
            Ok(())
        })
    }

    /// Whether an access point is one of the caller's, for tests.
    pub fn has_access_point(&self, requester: &Requester, id: &AccessPointId) -> bool {
        self.step(|state, _| state.access_point(requester, id.as_str()).is_ok())
    }
}

impl State {
    /// Puts a mount target into all indexes.
    pub(super) fn add_mount_target(&mut self, target: MountTarget) {
        if let Some(address) = target.address.filter(|_| target.owns_address) {
            self.owned_addresses.insert(address, target.id.clone());
        }
        self.target_revocations.insert(target.id.clone(), CancellationToken::new());
        self.targets_of.entry(target.file_system.clone()).or_default().insert(target.seq, target.id.clone());
        self.mount_targets.insert(target.id.clone(), target);
    }
}

/// Refuses a mount target that is being deleted.
fn living(target: &MountTarget) -> Result<&MountTarget> {
    if target.state != LifeCycleState::Deleting {
        return Ok(target);
    }
    Err(EfsError::new(
        ErrorName::IncorrectMountTargetState,
        format!("Mount target '{}' is not in a state for this operation.", target.id),
    ))
}

/// An IPv6 address of the documentation's network. Nothing is served there.
fn made_up_v6(file_system: &FileSystemId, subnet: &str) -> Ipv6Addr {
    let digest = Sha256::digest(format!("{file_system}/{subnet}"));
    let word = |i: usize| u16::from_be_bytes([digest[i], digest[i + 1]]);
    Ipv6Addr::new(0x2001, 0xdb8, 0xef5, word(0), word(2), word(4), word(6), word(8))
}
