//! The network that AWS would have: zones, subnets, security groups and the addresses of mount targets.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// An availability zone.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Zone {
    /// For example `us-east-1a`.
    pub name: String,
    /// For example `use1-az1`.
    pub id: String,
}

/// Zones that a region has unless the seed says otherwise: `a` to `f`.
const ZONE_LETTERS: &[u8] = b"abcdef";

/// The VPC of every subnet unless the seed says otherwise.
const DEFAULT_VPC: &str = "vpc-0fa4e0ef500000001";

impl Zone {
    /// The zone of that name, if the region has it by the default rule: zone `a` is `…-az1`, and so on to `f`.
    pub fn by_rule(region: &str, name: &str) -> Option<Self> {
        let letter = name.strip_prefix(region).filter(|l| l.len() == 1)?.bytes().next()?;
        let index = ZONE_LETTERS.iter().position(|&l| l == letter)?;
        Some(Self { name: name.to_owned(), id: format!("{}-az{}", region_code(region), index + 1) })
    }
}

/// AWS's short form of a region's name in zone ids: `us-east-1` is `use1`, `ap-southeast-2` is `apse2`.
fn region_code(region: &str) -> String {
    let mut code = String::new();
    for (i, part) in region.split('-').enumerate() {
        match part {
            _ if i == 0 => code.push_str(part),
            "gov" => code.push('g'),
            "iso" | "isob" | "isoe" | "isof" => code.push_str(part.trim_start_matches("iso").get(..1).unwrap_or("i")),
            "northeast" => code.push_str("ne"),
            "northwest" => code.push_str("nw"),
            "southeast" => code.push_str("se"),
            "southwest" => code.push_str("sw"),
            _ if part.bytes().all(|b| b.is_ascii_digit()) => code.push_str(part),
            _ => code.push_str(&part[..1.min(part.len())]),
        }
    }
    code
}

/// An IPv4 network in CIDR notation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Cidr {
    base: u32,
    bits: u32,
}

impl Cidr {
    /// Whether the address lies in the network.
    pub fn contains(self, address: Ipv4Addr) -> bool {
        let mask = u32::MAX.checked_shl(32 - self.bits).unwrap_or(0);
        u32::from(address) & mask == self.base
    }

    /// The addresses that AWS hands out: all but the first four and the last.
    pub fn hosts(self) -> impl Iterator<Item = Ipv4Addr> {
        let size = 1u64 << (32 - self.bits);
        let base = u64::from(self.base);
        (4..size.saturating_sub(1)).filter_map(move |i| u32::try_from(base + i).ok()).map(Ipv4Addr::from)
    }
}

impl FromStr for Cidr {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is no IPv4 network like 10.0.1.0/24");
        let (address, bits) = text.split_once('/').ok_or_else(wrong)?;
        let address: Ipv4Addr = address.parse().map_err(|_| wrong())?;
        let bits: u32 = bits.parse().ok().filter(|b| (8..=30).contains(b)).ok_or_else(wrong)?;
        let base = u32::from(address) & (u32::MAX << (32 - bits));
        Ok(Self { base, bits })
    }
}

impl TryFrom<String> for Cidr {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Cidr> for String {
    fn from(cidr: Cidr) -> Self {
        cidr.to_string()
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", Ipv4Addr::from(self.base), self.bits)
    }
}

/// A subnet, as far as mount targets care.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subnet {
    /// Its zone.
    pub zone: Zone,
    /// Its VPC.
    pub vpc: String,
    /// Its addresses; without them any address will do.
    pub cidr: Option<Cidr>,
}

/// The subnets and security groups that exist. Without a seed, every well-formed id does.
#[derive(Clone, Debug, Default)]
pub struct Network {
    /// Zones by name that the seed names.
    pub zones: BTreeMap<String, SeededZone>,
    /// Subnets by id; `None` accepts all.
    pub subnets: Option<HashMap<String, Subnet>>,
    /// Security groups by id, with their VPC; `None` accepts all.
    pub security_groups: Option<BTreeMap<String, String>>,
}

/// A zone of the seed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SeededZone {
    /// Its id.
    pub id: String,
    /// Whether One Zone file systems can live there.
    pub one_zone: bool,
    /// Whether mount targets can live there.
    pub mount_targets: bool,
}

impl Network {
    /// A zone by name. With a seed that names zones of this region, only those exist.
    pub fn zone(&self, region: &str, name: &str) -> Option<Zone> {
        if let Some(zone) = self.zones.get(name) {
            return name.starts_with(region).then(|| Zone { name: name.to_owned(), id: zone.id.clone() });
        }
        let seeded = self.zones.keys().any(|z| z.starts_with(region));
        (!seeded).then(|| Zone::by_rule(region, name)).flatten()
    }

    /// A zone by name, if One Zone file systems can live there.
    pub fn one_zone(&self, region: &str, name: &str) -> Option<Zone> {
        self.zone(region, name).filter(|z| self.zones.get(&z.name).is_none_or(|z| z.one_zone))
    }

    /// Whether mount targets can live in a zone.
    pub fn has_mount_targets(&self, zone: &Zone) -> bool {
        self.zones.get(&zone.name).is_none_or(|zone| zone.mount_targets)
    }

    /// A subnet by id. Without a seed, its zone follows from the last hex digit `d` of its id: zone number `d mod 6`.
    pub fn subnet(&self, region: &str, id: &str) -> Option<Subnet> {
        match &self.subnets {
            Some(subnets) => subnets.get(id).filter(|s| s.zone.name.starts_with(region)).cloned(),
            None => {
                let digit = id.chars().last()?.to_digit(16)? as usize;
                let letter = char::from(ZONE_LETTERS[digit % ZONE_LETTERS.len()]);
                let zone = Zone::by_rule(region, &format!("{region}{letter}"))?;
                Some(Subnet { zone, vpc: DEFAULT_VPC.to_owned(), cidr: None })
            }
        }
    }

    /// Whether a security group exists in a VPC.
    pub fn has_security_group(&self, id: &str, vpc: &str) -> bool {
        self.security_groups.as_ref().is_none_or(|groups| groups.get(id).is_some_and(|of| of == vpc))
    }

    /// The group of a mount target that asked for none.
    pub fn default_security_group(&self, vpc: &str) -> String {
        let seeded = self.security_groups.iter().flatten().find(|(_, of)| of.as_str() == vpc).map(|(id, _)| id.clone());
        seeded.unwrap_or_else(|| format!("sg-0{}", &hex::encode(Sha256::digest(vpc))[..16]))
    }
}

/// Where mount targets get their addresses from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AddressPlan {
    /// Each gets a loopback address of its own; the server opens a door on it.
    Loopback {
        /// The main address, which those share that get none of their own.
        main: IpAddr,
    },
    /// All share one address.
    Shared(IpAddr),
}

impl AddressPlan {
    /// The address that all mount targets can share.
    pub fn main(self) -> IpAddr {
        match self {
            Self::Loopback { main } | Self::Shared(main) => main,
        }
    }

    /// Addresses to try for a new mount target, in order: from the subnet's network if that is loopback, otherwise
    /// 127.64.0.1 and up, starting at a place that depends on file system and subnet only.
    pub(crate) fn candidates(self, subnet: &str, file_system: &str, cidr: Option<Cidr>) -> Vec<Ipv4Addr> {
        let Self::Loopback { .. } = self else { return Vec::new() };
        if let Some(cidr) = cidr.filter(|c| Ipv4Addr::from(c.base).is_loopback()) {
            return cidr.hosts().collect();
        }
        let digest = Sha256::digest(format!("{file_system}/{subnet}"));
        let start = u32::from_be_bytes([0, digest[0], digest[1], digest[2]]) % (64 << 16);
        (0..8)
            .map(|i| (start + i) % (64 << 16))
            .map(|n| {
                let [_, b, c, d] = n.to_be_bytes();
                Ipv4Addr::new(127, 64 + b, c, d.clamp(1, 254))
            })
            .collect::<BTreeSet<_>>()
            .into_iter()
            .collect()
    }
}

/// Opens and closes the addresses of mount targets.
pub trait Doors: Send + Sync + 'static {
    /// Starts to serve an address; `false` if that can't be, and the target must share the main address.
    fn open(&self, address: IpAddr) -> bool;

    /// Stops serving it. Connections are ended by their own revocation.
    fn close(&self, address: IpAddr);
}

/// No data plane: no address can be opened.
#[derive(Clone, Copy, Debug)]
pub struct NoDoors;

impl Doors for NoDoors {
    fn open(&self, _: IpAddr) -> bool {
        false
    }

    fn close(&self, _: IpAddr) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zone_ids_follow_aws_names() {
        for (region, zone, id) in [
            ("us-east-1", "us-east-1a", "use1-az1"),
            ("ap-southeast-2", "ap-southeast-2c", "apse2-az3"),
            ("eu-central-1", "eu-central-1b", "euc1-az2"),
            ("us-gov-west-1", "us-gov-west-1a", "usgw1-az1"),
        ] {
            assert_eq!(Zone::by_rule(region, zone).map(|z| z.id), Some(id.to_owned()));
        }
        assert_eq!(Zone::by_rule("us-east-1", "us-west-2a"), None);
        assert_eq!(Zone::by_rule("us-east-1", "us-east-1z"), None);
    }

    #[test]
    fn an_unseeded_subnet_lies_in_the_zone_of_its_last_digit() {
        let network = Network::default();
        let zone = |id: &str| network.subnet("us-east-1", id).map(|s| s.zone.name);
        assert_eq!(zone("subnet-01234560"), Some("us-east-1a".to_owned()));
        assert_eq!(zone("subnet-01234567"), Some("us-east-1b".to_owned()));
        assert_eq!(zone("subnet-0123456f"), Some("us-east-1d".to_owned()));
    }

    #[test]
    fn a_network_has_all_its_addresses_but_five() {
        let cidr: Cidr = "127.9.8.0/28".parse().unwrap();
        assert_eq!(cidr.hosts().count(), 11);
        assert_eq!(cidr.hosts().next(), Some(Ipv4Addr::new(127, 9, 8, 4)));
        assert!(cidr.contains(Ipv4Addr::new(127, 9, 8, 15)) && !cidr.contains(Ipv4Addr::new(127, 9, 8, 16)));
        assert!("10.0.0.0/33".parse::<Cidr>().is_err());
    }

    #[test]
    fn candidates_are_loopback_and_stable() {
        let plan = AddressPlan::Loopback { main: Ipv4Addr::LOCALHOST.into() };
        let first = plan.candidates("subnet-01234567", "fs-01234567", None);
        assert_eq!(first, plan.candidates("subnet-01234567", "fs-01234567", None));
        assert!(first.iter().all(|a| a.is_loopback() && a.octets()[1] >= 64));
        assert!(!first.is_empty());
    }
}
