//! The seed file: what exists when a fake starts, in YAML.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::Value;

use self::buckets::SeedBucket;
pub use self::buckets::SeedBucketError;
use crate::faults::{Faults, Rule, RuleError};
use crate::identities::{Identities, PodAssociation, Role};
use crate::rest::imds::Machine;
use crate::rest::{AttachedPolicy, NewKey};
use crate::world::access_points::CreateAccessPoint;
use crate::world::errors::{EfsError, ErrorName};
use crate::world::file_systems::CreateFileSystem;
use crate::world::ids::{AccessPointId, FileSystemId};
use crate::world::limits::{Delays, Limits};
use crate::world::model::{CreationInfo, PerformanceMode, PosixUser, RootDirectory, Tag, ThroughputMode};
use crate::world::mount_targets::CreateMountTarget;
use crate::world::network::{Cidr, Network, SeededZone, Subnet, Zone};
use crate::world::policies::PutFileSystemPolicy;
use crate::world::s3files::CreateBucketFileSystem;
use crate::world::scope::{Requester, Scope, Service};
use crate::world::{Settings, World};

mod buckets;

/// A seed. Every part may be missing.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Seed {
    zones: Vec<SeedZone>,
    subnets: Option<Vec<SeedSubnet>>,
    security_groups: Option<Vec<SeedGroup>>,
    keys: Vec<NewKey>,
    roles: Vec<Role>,
    pod_associations: Vec<PodAssociation>,
    policies: Vec<AttachedPolicy>,
    machine: Option<Machine>,
    limits: Option<Limits>,
    delays: Option<Delays>,
    faults: Vec<Rule>,
    file_systems: Vec<SeedFileSystem>,
    buckets: Vec<SeedBucket>,
    s3_file_systems: Vec<SeedBucketFileSystem>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct SeedZone {
    name: String,
    id: String,
    #[serde(default = "yes")]
    one_zone: bool,
    #[serde(default = "yes")]
    mount_targets: bool,
}

/// The default of what a zone can do.
fn yes() -> bool {
    true
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct SeedSubnet {
    id: String,
    zone: String,
    vpc: String,
    cidr: Option<Cidr>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct SeedGroup {
    id: String,
    vpc: String,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct SeedFileSystem {
    id: Option<FileSystemId>,
    account: Option<String>,
    region: Option<String>,
    creation_token: Option<String>,
    performance_mode: Option<PerformanceMode>,
    throughput_mode: Option<ThroughputMode>,
    provisioned_mibps: Option<f64>,
    encrypted: bool,
    zone: Option<String>,
    backup: Option<bool>,
    tags: BTreeMap<String, String>,
    /// As an object, or as JSON text.
    policy: Option<Value>,
    mount_targets: Vec<SeedTarget>,
    access_points: Vec<SeedPoint>,
}

/// A file system of S3 Files.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct SeedBucketFileSystem {
    id: Option<FileSystemId>,
    account: Option<String>,
    region: Option<String>,
    client_token: Option<String>,
    /// The bucket's name.
    bucket: String,
    prefix: Option<String>,
    /// ARN of the role as which the service uses the bucket; made up if it is missing.
    role: Option<String>,
    tags: BTreeMap<String, String>,
    /// As an object, or as JSON text.
    policy: Option<Value>,
    mount_targets: Vec<SeedTarget>,
    access_points: Vec<SeedPoint>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct SeedTarget {
    subnet: String,
    ip_address: Option<String>,
    #[serde(default)]
    security_groups: Vec<String>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct SeedPoint {
    id: Option<AccessPointId>,
    client_token: Option<String>,
    path: Option<String>,
    uid: Option<u32>,
    gid: Option<u32>,
    secondary_gids: Option<Vec<u32>>,
    /// Makes the directory at the first connection, with this mode, owned by `uid` and `gid` (0 without them).
    permissions: Option<String>,
    tags: BTreeMap<String, String>,
}

/// Why a seed can't be used.
#[derive(Debug, thiserror::Error)]
pub enum SeedError {
    /// It can't be read.
    #[error("{}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// It is no seed.
    #[error("{}: {source}", path.display())]
    Parse {
        /// The file.
        path: PathBuf,
        /// Where and why.
        source: serde_yaml_ng::Error,
    },
    /// A subnet is in a zone that does not exist.
    #[error("subnet {subnet}: there is no zone {zone}; declare it under `zones`")]
    Zone {
        /// The subnet.
        subnet: String,
        /// Its zone.
        zone: String,
    },
    /// A fault rule makes no sense.
    #[error("fault rule: {0}")]
    Fault(#[from] RuleError),
    /// A bucket, or an object in it, can't be made.
    #[error("{field}: {source}")]
    Bucket {
        /// Where in the seed.
        field: String,
        /// Why not.
        source: SeedBucketError,
    },
    /// The API would refuse it too.
    #[error("{what}: {source}")]
    Refused {
        /// What was to be made.
        what: String,
        /// Why not.
        source: EfsError,
    },
}

fn tags(tags: &BTreeMap<String, String>) -> Vec<Tag> {
    tags.iter().map(|(key, value)| Tag { key: key.clone(), value: value.clone() }).collect()
}

/// A region's name is a zone's without its letter.
fn region_of(zone: &str) -> &str {
    zone.trim_end_matches(|c: char| c.is_ascii_alphabetic())
}

impl Seed {
    /// Reads a seed file.
    pub fn read(path: &Path) -> Result<Self, SeedError> {
        let text = std::fs::read_to_string(path).map_err(|source| SeedError::Read { path: path.to_owned(), source })?;
        serde_yaml_ng::from_str(&text).map_err(|source| SeedError::Parse { path: path.to_owned(), source })
    }

    /// The machine that the metadata service describes.
    pub(crate) fn machine(&self) -> Option<Machine> {
        self.machine.clone()
    }

    /// The regions of its file systems.
    pub(crate) fn regions(&self) -> impl Iterator<Item = &str> {
        let of_s3 = self.s3_file_systems.iter().filter_map(|fs| fs.region.as_deref());
        self.file_systems.iter().filter_map(|fs| fs.region.as_deref()).chain(of_s3)
    }

    /// Sets limits and network before the world is made. Delays come with [`Seed::plant`], when the rest is there.
    pub(crate) fn prepare(&self, settings: &mut Settings) -> Result<(), SeedError> {
        if let Some(limits) = &self.limits {
            settings.limits = limits.clone();
        }
        let zones = self.zones.iter().map(|zone| {
            let SeedZone { name, id, one_zone, mount_targets } = zone.clone();
            (name, SeededZone { id, one_zone, mount_targets })
        });
        let mut network = Network { zones: zones.collect(), subnets: None, security_groups: None };
        if let Some(subnets) = &self.subnets {
            let subnets = subnets.iter().map(|subnet| {
                let error = || SeedError::Zone { subnet: subnet.id.clone(), zone: subnet.zone.clone() };
                let zone: Zone = network.zone(region_of(&subnet.zone), &subnet.zone).ok_or_else(error)?;
                Ok((subnet.id.clone(), Subnet { zone, vpc: subnet.vpc.clone(), cidr: subnet.cidr }))
            });
            network.subnets = Some(subnets.collect::<Result<_, SeedError>>()?);
        }
        network.security_groups =
            self.security_groups.as_ref().map(|all| all.iter().map(|g| (g.id.clone(), g.vpc.clone())).collect());
        settings.network = network;
        Ok(())
    }

    /// Makes what the seed names. What an archive brought back already is left as it is.
    pub(crate) fn plant(&self, world: &World, identities: &Identities, faults: &Faults) -> Result<(), SeedError> {
        for key in &self.keys {
            identities.add_key(key.clone().into_credential(world.home()));
        }
        for role in &self.roles {
            identities.add_role(role.clone());
        }
        for association in &self.pod_associations {
            identities.associate(association.clone());
        }
        for attached in &self.policies {
            let refused = |source| SeedError::Refused { what: format!("policy of {}", attached.principal), source };
            attached.attach(identities).map_err(refused)?;
        }
        for (i, fs) in self.file_systems.iter().enumerate() {
            fs.plant(world, i)?;
        }
        // Before the file systems that are bound to them.
        for (i, bucket) in self.buckets.iter().enumerate() {
            bucket.plant(world, i)?;
        }
        for (i, fs) in self.s3_file_systems.iter().enumerate() {
            fs.plant(world, i)?;
        }
        for rule in &self.faults {
            faults.add(rule.clone())?;
        }
        if let Some(delays) = &self.delays {
            world.set_delays(|old| *old = delays.clone());
        }
        Ok(())
    }
}

impl SeedFileSystem {
    fn plant(&self, world: &World, number: usize) -> Result<(), SeedError> {
        let home = world.home();
        let account = self.account.as_ref().unwrap_or(&home.account);
        let region = self.region.as_ref().unwrap_or(&home.region);
        let requester = Requester::root(Scope::new(account.clone(), region.clone()));
        let token = self.creation_token.clone().unwrap_or_else(|| format!("seed-{number}"));
        let what = format!("file system {token}");
        let refused = |source| SeedError::Refused { what: what.clone(), source };
        let input = CreateFileSystem {
            creation_token: token.clone(),
            performance_mode: self.performance_mode,
            encrypted: Some(self.encrypted),
            kms_key_id: None,
            throughput_mode: self.throughput_mode,
            provisioned_throughput_in_mibps: self.provisioned_mibps,
            availability_zone_name: self.zone.clone(),
            backup: self.backup,
            tags: tags(&self.tags),
        };
        let id = match world.seed_file_system(&requester, input, self.id.clone()) {
            Ok(made) => made.row.id.to_string(),
            Err(error) if error.name == ErrorName::FileSystemAlreadyExists => return Ok(()),
            Err(error) => return Err(refused(error)),
        };
        let parts = Parts {
            policy: self.policy.as_ref(),
            mount_targets: &self.mount_targets,
            access_points: &self.access_points,
        };
        parts.plant(world, &requester, &id, &token, &what)
    }
}

impl SeedBucketFileSystem {
    fn plant(&self, world: &World, number: usize) -> Result<(), SeedError> {
        let home = world.home();
        let account = self.account.as_ref().unwrap_or(&home.account);
        let region = self.region.as_ref().unwrap_or(&home.region);
        let requester = Requester::root(Scope::new(account.clone(), region.clone()).of(Service::S3Files));
        let token = self.client_token.clone().unwrap_or_else(|| format!("seed-{number}"));
        let what = format!("file system of S3 Files {token}");
        let partition = requester.scope.partition();
        let role = || format!("arn:{partition}:iam::{account}:role/s3files");
        let input = CreateBucketFileSystem {
            bucket: format!("arn:{partition}:s3:::{}", self.bucket),
            prefix: self.prefix.clone(),
            role_arn: self.role.clone().unwrap_or_else(role),
            kms_key_id: None,
            client_token: Some(token.clone()),
            tags: tags(&self.tags),
        };
        let id = match world.seed_bucket_file_system(&requester, input, self.id.clone()) {
            Ok(made) => made.id.to_string(),
            Err(error) if error.name == ErrorName::FileSystemAlreadyExists => return Ok(()),
            Err(source) => return Err(SeedError::Refused { what, source }),
        };
        let parts = Parts {
            policy: self.policy.as_ref(),
            mount_targets: &self.mount_targets,
            access_points: &self.access_points,
        };
        parts.plant(world, &requester, &id, &token, &what)
    }
}

/// What hangs on a file system of either service.
struct Parts<'a> {
    policy: Option<&'a Value>,
    mount_targets: &'a [SeedTarget],
    access_points: &'a [SeedPoint],
}

impl Parts<'_> {
    fn plant(&self, world: &World, requester: &Requester, id: &str, token: &str, what: &str) -> Result<(), SeedError> {
        if let Some(policy) = self.policy {
            let policy = policy.as_str().map_or_else(|| policy.to_string(), str::to_owned);
            let file_system_id = id.to_owned();
            let input = PutFileSystemPolicy { file_system_id, policy, bypass_policy_lockout_safety_check: true };
            world
                .put_file_system_policy(requester, input)
                .map_err(|source| SeedError::Refused { what: what.to_owned(), source })?;
        }
        for target in self.mount_targets {
            let input = CreateMountTarget {
                file_system_id: id.to_owned(),
                subnet_id: target.subnet.clone(),
                ip_address: target.ip_address.clone(),
                ipv6_address: None,
                ip_address_type: None,
                security_groups: Some(target.security_groups.clone()),
            };
            let what = format!("{what}, mount target in {}", target.subnet);
            world.create_mount_target(requester, input).map_err(|source| SeedError::Refused { what, source })?;
        }
        for (i, point) in self.access_points.iter().enumerate() {
            let client_token = point.client_token.clone().unwrap_or_else(|| format!("{token}-{i}"));
            let (uid, gid) = (point.uid.unwrap_or(0), point.gid.unwrap_or(0));
            let creation_info = point.permissions.clone().map(|permissions| CreationInfo {
                owner_uid: uid,
                owner_gid: gid,
                permissions,
            });
            let what = format!("{what}, access point {client_token}");
            let input = CreateAccessPoint {
                client_token,
                file_system_id: id.to_owned(),
                tags: tags(&point.tags),
                posix_user: point.uid.map(|uid| PosixUser { uid, gid, secondary_gids: point.secondary_gids.clone() }),
                root_directory: Some(RootDirectory {
                    path: point.path.clone().unwrap_or_else(|| "/".to_owned()),
                    creation_info,
                }),
            };
            world
                .seed_access_point(requester, input, point.id.clone())
                .map_err(|source| SeedError::Refused { what, source })?;
        }
        Ok(())
    }
}
