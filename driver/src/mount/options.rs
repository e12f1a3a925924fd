//! Mount options as types.
//!
//! What a user writes under `mountOptions` is sorted into three kinds before anything happens: what EFS means by it
//! (`tls`, `iam`, `accesspoint=…`), what the VFS means by it (`ro`, `noatime`), and what the kernel's NFS client knows. Anything
//! else is an error that names the option. Values keep their case; the keys are compared in lower case.

use std::collections::BTreeMap;
use std::net::IpAddr;

use rustix::mount::MountAttrFlags;
use serde::{Deserialize, Serialize};

use crate::limits::cut;
use crate::volume::{FileSystemKind, capability};

/// Why an option can't be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("mount option {option:?}: {source}")]
pub struct OptionError {
    /// The option as written.
    pub option: String,
    /// What is wrong, and what to do.
    pub source: OptionProblem,
}

/// What is wrong with an option.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OptionProblem {
    /// A quote has no counterpart.
    #[error("has a quote that is not closed")]
    OpenQuote,
    /// It holds a character that no option has.
    #[error("holds the character {0:?}")]
    Character(char),
    /// The driver sets it itself, or it would weaken the driver.
    #[error("is not allowed: {0}")]
    NotAllowed(&'static str),
    /// Neither EFS nor the kernel knows it, but something that is written alike.
    #[error("unknown; did you mean {0:?}?")]
    Misspelt(&'static str),
    /// Neither EFS nor the kernel knows it.
    #[error("unknown to this driver and to the NFSv4 client")]
    Unknown,
    /// It is a flag.
    #[error("takes no value")]
    Value,
    /// It is no flag.
    #[error("needs a value")]
    NoValue,
    /// It isn't a number of connections.
    #[error("needs a number of connections from {} to {}", CONNECTIONS.start(), CONNECTIONS.end())]
    Connections,
    /// It isn't an address.
    #[error("is not an IP address")]
    Address,
    /// It isn't a label of SELinux.
    #[error("needs a label, such as \"system_u:object_r:container_file_t:s0:c1,c2\"")]
    Label,
    /// It isn't a number.
    #[error("needs a number from 0 to {}", u32::MAX)]
    Number,
    /// It isn't one of the words that the kernel knows.
    #[error("must be one of {}", .0.join(", "))]
    Word(&'static [&'static str]),
    /// One of two options that need each other is missing.
    #[error("rolearn and jwtpath go together")]
    Half,
    /// What is wrong is the rest of a label that was cut at its comma.
    #[error("{source}; if it belongs to {label}, write {label}=\"…\" with quotes around it")]
    AfterLabel {
        /// What is wrong with it as an option.
        source: Box<OptionProblem>,
        /// The label before.
        label: String,
    },
}

/// Options of the NFS client and the VFS, ready for the kernel.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MountOptions {
    /// Options of the NFS client: key, and value unless it is a flag.
    pub nfs: BTreeMap<String, Option<String>>,
    /// `MOUNT_ATTR_*` bits, `ro` among them.
    pub attributes: u32,
}

/// What EFS-specific options ask for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EfsOptions {
    /// `tls` was written out.
    pub tls: bool,
    /// `iam`: authorize with IAM credentials.
    pub iam: bool,
    /// `accesspoint=fsap-…`, not yet checked.
    pub access_point: Option<String>,
    /// `nodirects3read` or `nos3readcache` was written out.
    pub no_direct_reads: bool,
    /// `az=…`, or `azid=…` for S3 Files: the availability zone whose mount target to use.
    pub zone: Option<String>,
    /// `region=…`: the file system's region.
    pub region: Option<String>,
    /// `mounttargetip=…`.
    pub mount_target: Option<IpAddr>,
    /// `maxconn=…`: connections to the mount target for one of the kernel's, instead of the node's number.
    pub max_connections: Option<u8>,
    /// `awsprofile=…`.
    pub profile: Option<String>,
    /// `rolearn=…`.
    pub role: Option<String>,
    /// `jwtpath=…`.
    pub token_file: Option<String>,
}

/// A user's mount options, sorted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ParsedOptions {
    /// For us.
    pub efs: EfsOptions,
    /// For the kernel.
    pub kernel: MountOptions,
    /// Options that were understood and have no effect here, for a line in the log.
    pub ignored: Vec<String>,
}

/// Flags of the kernel's NFS client (fs/nfs/fs_context.c) that make sense for EFS.
const NFS_FLAGS: &[&str] = &[
    "ac",
    "noac",
    "acl",
    "noacl",
    "alignwrite",
    "noalignwrite",
    "cto",
    "nocto",
    "fsc",
    "nofsc",
    "hard",
    "soft",
    "softerr",
    "softreval",
    "nosoftreval",
    "lock",
    "nolock",
    "rdirplus",
    "nordirplus",
    "resvport",
    "noresvport",
    "sharecache",
    "nosharecache",
    "migration",
    "nomigration",
    "trunkdiscovery",
    "notrunkdiscovery",
    "sync",
    "dirsync",
    "lazytime",
    "nolazytime",
    "posix",
    "noposix",
    "tcp",
];
/// Its options with a number.
const NFS_NUMBERS: &[&str] = &[
    "acdirmax",
    "acdirmin",
    "acregmax",
    "acregmin",
    "actimeo",
    "bsize",
    "max_connect",
    "namlen",
    "nconnect",
    "retrans",
    "rsize",
    "timeo",
    "wsize",
];
/// Its options with one of a few words.
const NFS_WORDS: &[(&str, &[&str])] = &[
    ("local_lock", &["none", "all", "flock", "posix"]),
    ("lookupcache", &["all", "none", "pos", "positive"]),
    ("write", &["lazy", "eager", "wait"]),
    ("rdirplus", &["none", "force"]),
    ("fsc", &[]),
    ("fatal_neterrors", &["default", "none", "ENETDOWN:ENETUNREACH", "ENETUNREACH:ENETDOWN"]),
    ("proto", &["tcp", "tcp6"]),
    ("sec", &["sys"]),
];
/// Versions of NFS, by the service.
const EFS_VERSIONS: &[(&str, &[&str])] =
    &[("vers", &["4", "4.0", "4.1"]), ("nfsvers", &["4", "4.0", "4.1"]), ("minorversion", &["0", "1"])];
const S3_FILES_VERSIONS: &[(&str, &[&str])] =
    &[("vers", &["4", "4.1", "4.2"]), ("nfsvers", &["4", "4.1", "4.2"]), ("minorversion", &["1", "2"])];
/// Options that a security module takes before the file system does: labels, which may hold commas.
pub const LABELS: &[&str] = &["context", "fscontext", "defcontext", "rootcontext"];
/// Connections to the mount target that `maxconn` can ask for.
pub const CONNECTIONS: std::ops::RangeInclusive<u8> = 1..=efs_tunnel::bind::CONNECTIONS_MAX as u8;
/// The versions of a service, and what one without a minor one means: the highest that it has. The kernel would take 4.0.
fn versions(kind: FileSystemKind) -> (&'static [(&'static str, &'static [&'static str])], &'static str) {
    match kind {
        FileSystemKind::Efs => (EFS_VERSIONS, "4.1"),
        FileSystemKind::S3Files => (S3_FILES_VERSIONS, "4.2"),
    }
}
/// Options that mean something to mount(8), fstab or AWS's helper programs and nothing here.
const IGNORED: &[&str] = &[
    "defaults",
    "_netdev",
    "auto",
    "noauto",
    "nofail",
    "user",
    "nouser",
    "users",
    "nousers",
    "owner",
    "noowner",
    "group",
    "nogroup",
    "async",
    "intr",
    "nointr",
    "bg",
    "fg",
    "retry",
    "mounthost",
    "mountaddr",
    "mountport",
    "mountproto",
    "mountvers",
    "sharetransport",
    "symfollow",
    "stunnel",
    "tlsport",
    "awscredsuri",
    "ocsp",
    "noocsp",
    "fsap",
    "sloppy",
    "suid",
    "dev",
    "exec",
    "iversion",
    "noiversion",
    "silent",
    "loud",
    "mand",
    "nomand",
    "relatime",
    "norelatime",
    "diratime",
    "atime",
    "nostrictatime",
];
/// Options that the driver sets itself or that would weaken it.
const REFUSED: &[(&str, &str)] = &[
    ("addr", "the driver chooses the address; use mounttargetip"),
    ("port", "the driver chooses the port"),
    ("clientaddr", "the kernel chooses it"),
    ("source", "the volume handle says what is mounted"),
    ("verify", "the server's certificate is always verified; give a private authority with --tls-ca-file"),
    ("cafile", "give a private certificate authority to the driver with --tls-ca-file"),
    ("capath", "give a private certificate authority to the driver with --tls-ca-file"),
    ("netns", "the node plug-in mounts in its own network namespace"),
    ("notls", "use the volume attribute encryptInTransit: \"false\""),
    ("xprtsec", "the driver encrypts; use the volume attribute encryptInTransit"),
    ("cert_serial", "the driver encrypts; use the volume attribute encryptInTransit"),
    ("privkey_serial", "the driver encrypts; use the volume attribute encryptInTransit"),
    ("udp", "EFS speaks TCP only"),
    ("rdma", "EFS speaks TCP only"),
    ("bind", "the driver mounts file systems only"),
    ("rbind", "the driver mounts file systems only"),
    ("move", "the driver mounts file systems only"),
    ("remount", "the driver mounts file systems only"),
];

/// The same for file systems of EFS alone.
const REFUSED_FOR_EFS: &[(&str, &str)] = &[
    ("azid", "use az"),
    ("crossaccount", capability::CROSS_ACCOUNT_INSTEAD),
    ("nodirects3read", "it is for volumes of S3 Files only"),
    ("nos3readcache", "it is for volumes of S3 Files only"),
];
/// And for those of S3 Files.
const REFUSED_FOR_S3_FILES: &[(&str, &str)] = &[
    ("az", "use azid"),
    ("crossaccount", "S3 Files doesn't have it; use mounttargetip"),
    ("stunnel", "it is for EFS only"),
];

impl ParsedOptions {
    /// Sorts `flags`. An entry may hold several options with commas between them; of contradicting ones the last counts,
    /// as with mount(8).
    pub fn parse<S: AsRef<str>>(flags: &[S], kind: FileSystemKind) -> Result<Self, OptionError> {
        let mut parsed = Self::default();
        for flag in flags.iter().map(AsRef::as_ref) {
            let wrong = |option: &str, source| OptionError { option: cut(option), source };
            if flag.matches('"').count() % 2 == 1 {
                return Err(wrong(flag, OptionProblem::OpenQuote));
            }
            let mut label = None;
            for option in capability::options(flag) {
                parsed.add(option, kind).map_err(|problem| match label.filter(|_| !option.contains('=')) {
                    Some(label) => {
                        let (source, label) = (Box::new(problem), str::to_owned(label));
                        wrong(option, OptionProblem::AfterLabel { source, label })
                    }
                    None => wrong(option, problem),
                })?;
                label = option
                    .split_once('=')
                    .filter(|(key, text)| is_label(key) && !text.contains('"'))
                    .map(|(key, _)| key);
            }
        }
        parsed.settle_version(versions(kind).1);
        if parsed.efs.role.is_some() != parsed.efs.token_file.is_some() {
            let option = if parsed.efs.role.is_some() { "rolearn" } else { "jwtpath" };
            return Err(OptionError { option: option.to_owned(), source: OptionProblem::Half });
        }
        Ok(parsed)
    }

    fn add(&mut self, option: &str, kind: FileSystemKind) -> Result<(), OptionProblem> {
        if let Some(bad) = option.chars().find(|c| c.is_control() || c.is_whitespace()) {
            return Err(OptionProblem::Character(bad));
        }
        let (key, value) = match option.split_once('=') {
            Some((key, value)) => (key.to_ascii_lowercase(), Some(value)),
            None => (option.to_ascii_lowercase(), None),
        };
        let key = key.as_str();
        let refused = match kind {
            FileSystemKind::Efs => REFUSED_FOR_EFS,
            FileSystemKind::S3Files => REFUSED_FOR_S3_FILES,
        };
        if let Some((_, why)) = REFUSED.iter().chain(refused).find(|(name, _)| *name == key) {
            return Err(OptionProblem::NotAllowed(why));
        }
        // mount(8) and the kernel write `v4.1` for `vers=4.1`.
        let (key, value) =
            match key.strip_prefix('v').filter(|version| version.starts_with(|c: char| c.is_ascii_digit())) {
                Some(version) if value.is_none() => ("vers", Some(version)),
                _ => (key, value),
            };
        if self.add_efs(key, value)?
            || self.add_attribute(key, value)
            || self.add_label(key, value)?
            || self.add_nfs(key, value, versions(kind).0)?
        {
            return Ok(());
        }
        if IGNORED.contains(&key) || key.starts_with("x-") || key.starts_with("comment") {
            self.ignored.push(option.to_owned());
            return Ok(());
        }
        Err(match closest(key) {
            Some(name) => OptionProblem::Misspelt(name),
            None => OptionProblem::Unknown,
        })
    }

    fn add_efs(&mut self, key: &str, value: Option<&str>) -> Result<bool, OptionProblem> {
        let flag = |slot: &mut bool| match value {
            None => {
                *slot = true;
                Ok(true)
            }
            Some(_) => Err(OptionProblem::Value),
        };
        let text = |slot: &mut Option<String>| match value {
            Some(value) if !value.is_empty() => {
                *slot = Some(value.to_owned());
                Ok(true)
            }
            _ => Err(OptionProblem::NoValue),
        };
        let efs = &mut self.efs;
        match key {
            "tls" => flag(&mut efs.tls),
            "iam" => flag(&mut efs.iam),
            "accesspoint" => text(&mut efs.access_point),
            "az" | "azid" => text(&mut efs.zone),
            // Reads never go around the file system here, so that there is nothing to turn off.
            "nodirects3read" | "nos3readcache" => flag(&mut efs.no_direct_reads),
            "region" => text(&mut efs.region),
            "awsprofile" => text(&mut efs.profile),
            "rolearn" => text(&mut efs.role),
            "jwtpath" => text(&mut efs.token_file),
            "maxconn" => {
                let given = value.unwrap_or_default().parse().ok().filter(|number| CONNECTIONS.contains(number));
                efs.max_connections = Some(given.ok_or(OptionProblem::Connections)?);
                Ok(true)
            }
            "mounttargetip" => {
                let address = value.unwrap_or_default().parse().map_err(|_| OptionProblem::Address)?;
                efs.mount_target = Some(address);
                Ok(true)
            }
            _ => Ok(false),
        }
    }

    fn add_attribute(&mut self, key: &str, value: Option<&str>) -> bool {
        if value.is_some() {
            return false;
        }
        let times = MountAttrFlags::MOUNT_ATTR__ATIME;
        let (clear, set) = match key {
            "ro" => (MountAttrFlags::empty(), MountAttrFlags::MOUNT_ATTR_RDONLY),
            "rw" => (MountAttrFlags::MOUNT_ATTR_RDONLY, MountAttrFlags::empty()),
            "nosuid" => (MountAttrFlags::empty(), MountAttrFlags::MOUNT_ATTR_NOSUID),
            "nodev" => (MountAttrFlags::empty(), MountAttrFlags::MOUNT_ATTR_NODEV),
            "noexec" => (MountAttrFlags::empty(), MountAttrFlags::MOUNT_ATTR_NOEXEC),
            "noatime" => (times, MountAttrFlags::MOUNT_ATTR_NOATIME),
            "strictatime" => (times, MountAttrFlags::MOUNT_ATTR_STRICTATIME),
            "nodiratime" => (MountAttrFlags::empty(), MountAttrFlags::MOUNT_ATTR_NODIRATIME),
            "nosymfollow" => (MountAttrFlags::empty(), MountAttrFlags::MOUNT_ATTR_NOSYMFOLLOW),
            _ => return false,
        };
        let attributes = MountAttrFlags::from_bits_retain(self.kernel.attributes);
        self.kernel.attributes = ((attributes - clear) | set).bits();
        true
    }

    /// A label, without the quotes that keep its commas together on a command line.
    fn add_label(&mut self, key: &str, value: Option<&str>) -> Result<bool, OptionProblem> {
        if !LABELS.contains(&key) {
            return Ok(false);
        }
        let label = value.unwrap_or_default();
        let label = label.strip_prefix('"').and_then(|label| label.strip_suffix('"')).unwrap_or(label);
        if label.is_empty() || label.contains('"') {
            return Err(OptionProblem::Label);
        }
        self.kernel.nfs.insert(key.to_owned(), Some(label.to_owned()));
        Ok(true)
    }

    /// One version: the last one that was given, and never a bare 4.
    fn settle_version(&mut self, highest: &str) {
        let nfs = &mut self.kernel.nfs;
        let has_version = ["vers", "nfsvers"].iter().any(|key| nfs.contains_key(*key));
        if !has_version && let Some(Some(minor)) = nfs.remove("minorversion") {
            // The kernel takes it only with a version beside it.
            nfs.insert("vers".to_owned(), Some(format!("4.{minor}")));
        }
        if nfs.contains_key("minorversion") {
            return;
        }
        for key in ["vers", "nfsvers"] {
            if let Some(value) = nfs.get_mut(key).filter(|value| value.as_deref() == Some("4")) {
                *value = Some(highest.to_owned());
            }
        }
    }

    fn add_nfs(
        &mut self,
        key: &str,
        value: Option<&str>,
        versions: &'static [(&'static str, &'static [&'static str])],
    ) -> Result<bool, OptionProblem> {
        let words = |key: &str| NFS_WORDS.iter().chain(versions).find(|(name, _)| *name == key);
        match value {
            None if NFS_FLAGS.contains(&key) => {
                self.kernel.nfs.retain(|other, _| !contradict(key, other));
            }
            None if NFS_NUMBERS.contains(&key) || words(key).is_some() => {
                return Err(OptionProblem::NoValue);
            }
            Some(value) if NFS_NUMBERS.contains(&key) => {
                if value.parse::<u32>().is_err() {
                    return Err(OptionProblem::Number);
                }
            }
            Some(value) => {
                let Some((_, words)) = words(key) else {
                    return if NFS_FLAGS.contains(&key) { Err(OptionProblem::Value) } else { Ok(false) };
                };
                if !words.is_empty() && !words.contains(&value) {
                    return Err(OptionProblem::Word(words));
                }
            }
            None => return Ok(false),
        }
        // Two words for one thing.
        match key {
            "vers" => drop(self.kernel.nfs.remove("nfsvers")),
            "nfsvers" => drop(self.kernel.nfs.remove("vers")),
            _ => {}
        }
        self.kernel.nfs.insert(key.to_owned(), value.map(str::to_owned));
        Ok(true)
    }
}

fn is_label(key: &str) -> bool {
    LABELS.iter().any(|label| key.eq_ignore_ascii_case(label))
}

impl MountOptions {
    /// Whether the mount refuses writes.
    pub fn read_only(&self) -> bool {
        MountAttrFlags::from_bits_retain(self.attributes).contains(MountAttrFlags::MOUNT_ATTR_RDONLY)
    }

    /// Makes the mount refuse writes.
    pub fn set_read_only(&mut self) {
        self.attributes |= MountAttrFlags::MOUNT_ATTR_RDONLY.bits();
    }

    /// The read size in bytes that will be asked for.
    pub fn read_size(&self) -> u32 {
        let given = self.nfs.get("rsize").and_then(|value| value.as_deref()?.parse().ok());
        given.unwrap_or(DEFAULT_TRANSFER)
    }

    /// Whether the user says which version of NFS.
    pub fn has_version(&self) -> bool {
        ["vers", "nfsvers", "minorversion"].iter().any(|key| self.nfs.contains_key(*key))
    }

    /// The complete list for the kernel: what the user gave, AWS's recommended values for what he didn't, and the server. `version` is of
    /// NFS, should he not say which.
    pub fn for_server(&self, address: IpAddr, port: u16, version: &str) -> Vec<(String, Option<String>)> {
        let given = |names: &[&str]| names.iter().any(|name| self.nfs.contains_key(*name));
        let mut list = Vec::new();
        let mut default = |names: &[&str], key: &str, value: Option<&str>| {
            if !given(names) {
                list.push((key.to_owned(), value.map(str::to_owned)));
            }
        };
        default(&["vers", "nfsvers", "minorversion"], "vers", Some(version));
        default(&["rsize"], "rsize", Some("1048576"));
        default(&["wsize"], "wsize", Some("1048576"));
        default(&["hard", "soft", "softerr"], "hard", None);
        default(&["timeo"], "timeo", Some("600"));
        default(&["retrans"], "retrans", Some("2"));
        default(&["resvport", "noresvport"], "noresvport", None);
        list.extend(self.nfs.iter().map(|(key, value)| (key.clone(), value.clone())));
        if address.is_ipv6() && !given(&["proto"]) {
            list.push(("proto".to_owned(), Some("tcp6".to_owned())));
        }
        list.push(("addr".to_owned(), Some(address.to_string())));
        list.push(("port".to_owned(), Some(port.to_string())));
        list
    }
}

/// Bytes per read and write call; the kernel's and EFS's maximum.
const DEFAULT_TRANSFER: u32 = 1_048_576;

/// Whether two different flags can't hold both.
fn contradict(one: &str, other: &str) -> bool {
    const HARDNESS: [&str; 3] = ["hard", "soft", "softerr"];
    one.strip_prefix("no") == Some(other)
        || other.strip_prefix("no") == Some(one)
        || (one != other && HARDNESS.contains(&one) && HARDNESS.contains(&other))
}

/// A known option that `key` may be a misspelling of.
fn closest(key: &str) -> Option<&'static str> {
    const EFS: &[&str] =
        &["tls", "iam", "accesspoint", "region", "awsprofile", "rolearn", "jwtpath", "mounttargetip", "maxconn"];
    let known = NFS_FLAGS
        .iter()
        .chain(NFS_NUMBERS)
        .chain(EFS)
        .copied()
        .chain(NFS_WORDS.iter().chain(EFS_VERSIONS).map(|(name, _)| *name));
    known
        .map(|name| (strsim::damerau_levenshtein(key, name), name))
        .filter(|(distance, name)| *distance <= 2 && *distance < name.len() / 2)
        .min()
        .map(|(_, name)| name)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parse(flags: &[&str]) -> ParsedOptions {
        ParsedOptions::parse(flags, FileSystemKind::Efs).unwrap_or_else(|error| panic!("{flags:?}: {error}"))
    }

    fn text(options: &[(String, Option<String>)]) -> String {
        let words: Vec<String> =
            options.iter().map(|(k, v)| v.as_ref().map_or_else(|| k.clone(), |v| format!("{k}={v}"))).collect();
        words.join(",")
    }

    #[test]
    fn the_defaults_are_those_that_aws_recommends() {
        let options = MountOptions::default().for_server([127, 0, 0, 1].into(), 20049, "4.1");
        assert_eq!(
            text(&options),
            "vers=4.1,rsize=1048576,wsize=1048576,hard,timeo=600,retrans=2,noresvport,addr=127.0.0.1,port=20049"
        );
    }

    #[test]
    fn what_the_user_gives_replaces_the_default() {
        let parsed = parse(&["nfsvers=4.0", "soft", "rsize=65536,timeo=150", "resvport", "NConnect=4"]);
        assert_eq!(
            text(&parsed.kernel.for_server("fd00::1".parse().expect("ip"), 2049, "4.1")),
            "wsize=1048576,retrans=2,nconnect=4,nfsvers=4.0,resvport,rsize=65536,soft,timeo=150,proto=tcp6,addr=fd00::1,port=2049"
        );
        assert_eq!(parsed.kernel.read_size(), 65536);
    }

    #[test]
    fn options_of_efs_are_recognized_and_keep_the_case_of_their_values() {
        let parsed = parse(&["tls", "IAM", "awsprofile=TeamA", "az=us-east-1b", "mounttargetip=10.0.0.9", "_netdev"]);
        assert!(parsed.efs.tls && parsed.efs.iam);
        assert_eq!(parsed.efs.profile.as_deref(), Some("TeamA"));
        assert_eq!(parsed.efs.mount_target, Some([10, 0, 0, 9].into()));
        assert_eq!(parsed.ignored, ["_netdev"]);
        assert!(parsed.kernel.nfs.is_empty());
    }

    #[test]
    fn of_contradicting_options_the_last_counts() {
        assert!(!parse(&["ro", "rw"]).kernel.read_only());
        assert!(parse(&["rw", "ro"]).kernel.read_only());
        assert_eq!(parse(&["soft", "hard"]).kernel.nfs.keys().collect::<Vec<_>>(), ["hard"]);
        assert_eq!(parse(&["noac", "ac"]).kernel.nfs.keys().collect::<Vec<_>>(), ["ac"]);
        let parsed = parse(&["noatime", "strictatime"]);
        assert_eq!(parsed.kernel.attributes, MountAttrFlags::MOUNT_ATTR_STRICTATIME.bits());
    }

    #[test]
    fn bad_options_are_refused_with_the_reason() {
        for (option, reason) in [
            ("rsise=1", "did you mean \"rsize\"?"),
            ("bogus", "unknown to this driver"),
            ("port=9", "the driver chooses the port"),
            ("addr=1.2.3.4", "mounttargetip"),
            ("rsize=big", "needs a number"),
            ("rsize=99999999999999", "a number from 0 to 4294967295"),
            ("rsize", "needs a value"),
            ("vers=3", "must be one of 4, 4.0, 4.1"),
            ("v3", "must be one of 4, 4.0, 4.1"),
            ("v4.2", "must be one of 4, 4.0, 4.1"),
            ("minorversion=2", "must be one of 0, 1"),
            ("context=\"\"", "needs a label"),
            ("context=\"a\"b\"", "a quote that is not closed"),
            ("context=\"a\"\"b\"", "needs a label"),
            ("ro,context=\"a,noatime", "a quote that is not closed"),
            ("context=u:r:t:s0:c1,c2", "write context=\"…\" with quotes"),
            ("tls=1", "takes no value"),
            ("verify=0", "--tls-ca-file"),
            ("mounttargetip=10.0.0.1:22", "not an IP address"),
            ("accesspoint=fsap 1", "holds the character ' '"),
            ("rolearn=arn:aws:iam::1:role/x", "rolearn and jwtpath go together"),
        ] {
            let error = ParsedOptions::parse(&[option], FileSystemKind::Efs).expect_err(option);
            assert!(error.to_string().contains(reason), "{option}: {error}");
        }
    }

    /// nfs(5) of nfs-utils 2.6 and the table of fs/nfs/fs_context.c in Linux 6.18, with what becomes of each here.
    #[test]
    fn every_option_of_mount_and_of_the_kernel_is_known() {
        let passed = "ac,noac,acdirmax=1,acdirmin=1,acl,noacl,acregmax=1,acregmin=1,actimeo=1,alignwrite,noalignwrite,bsize=1,cto,nocto,\
            fatal_neterrors=none,fsc,fsc=x,nofsc,hard,local_lock=flock,lock,nolock,lookupcache=pos,migration,nomigration,minorversion=1,\
            max_connect=2,namlen=255,nconnect=2,nfsvers=4.1,posix,noposix,proto=tcp,rdirplus,rdirplus=force,nordirplus,resvport,noresvport,\
            retrans=2,rsize=4096,sec=sys,sharecache,nosharecache,soft,softerr,softreval,nosoftreval,tcp,timeo=600,trunkdiscovery,\
            notrunkdiscovery,v4,v4.0,v4.1,vers=4,wsize=4096,write=eager,sync,dirsync,lazytime,nolazytime,context=a,fscontext=a,defcontext=a,\
            rootcontext=a";
        let refused = "addr=1.2.3.4,clientaddr=1.2.3.4,port=1,source=x,rdma,udp,xprtsec=tls,cert_serial=1,privkey_serial=1,v2,v3,v4.2,vers=3,\
            sec=krb5,proto=udp";
        let ignored = "bg,fg,intr,nointr,mountaddr=x,mounthost=x,mountport=1,mountproto=tcp,mountvers=3,retry=1,sloppy,suid,dev,exec,\
            relatime,async,symfollow,user,nouser,users,nousers,owner,noowner,group,nogroup";
        for option in passed.split(',') {
            assert!(!parse(&[option]).kernel.nfs.is_empty(), "{option}");
        }
        for option in refused.split(',') {
            let refused = ParsedOptions::parse(&[option], FileSystemKind::Efs).expect_err(option).to_string();
            assert!(!refused.contains("unknown"), "{refused}");
        }
        for option in ignored.split(',') {
            assert_eq!(parse(&[option]).ignored, [option]);
        }
        for option in ["ro", "nosuid", "nodev", "noexec", "noatime", "strictatime", "nodiratime", "nosymfollow"] {
            assert_ne!(parse(&[option]).kernel.attributes, 0, "{option}");
        }
    }

    #[test]
    fn s3_files_has_versions_and_options_of_its_own() {
        let list = |flags: &[&str]| {
            let parsed = ParsedOptions::parse(flags, FileSystemKind::S3Files);
            let parsed = parsed.unwrap_or_else(|error| panic!("{flags:?}: {error}"));
            text(&parsed.kernel.for_server([127, 0, 0, 1].into(), 1, "4.2"))
        };
        for flags in [&[][..], &["vers=4"], &["nfsvers=4"], &["vers=4.2"], &["v4.2"], &["minorversion=2"]] {
            assert!(list(flags).contains("vers=4.2,"), "{flags:?}: {}", list(flags));
        }
        assert!(list(&["nfsvers=4.1"]).contains("vers=4.1,"));
        assert!(!list(&["azid=use1-az1,nodirects3read,nos3readcache"]).contains("direct"));
        let refused = |option: &str, kind| ParsedOptions::parse(&[option], kind).expect_err(option).to_string();
        for (option, words) in [
            ("az=use1-az1", "use azid"),
            ("stunnel", "EFS only"),
            ("crossaccount", "mounttargetip"),
            ("vers=4.0", "one of 4, 4.1, 4.2"),
            ("minorversion=0", "one of 1, 2"),
        ] {
            let told = refused(option, FileSystemKind::S3Files);
            assert!(told.contains(words), "{told}");
        }
        for (option, words) in
            [("azid=use1-az1", "use az"), ("nodirects3read", "S3 Files only"), ("nos3readcache", "S3 Files only")]
        {
            let told = refused(option, FileSystemKind::Efs);
            assert!(told.contains(words), "{told}");
        }
    }

    #[test]
    fn a_version_without_a_minor_one_is_the_highest_that_efs_has() {
        for option in ["vers=4", "nfsvers=4", "v4", "vers=4.0,nfsvers=4", "NFSVERS=4"] {
            let list = text(&parse(&[option]).kernel.for_server([127, 0, 0, 1].into(), 1, "4.1"));
            assert!(list.contains("vers=4.1,") && !list.contains("4.0"), "{option}: {list}");
        }
        let old = text(&parse(&["v4.0"]).kernel.for_server([127, 0, 0, 1].into(), 1, "4.1"));
        assert!(old.contains("vers=4.0,"), "{old}");
        for (option, want) in [("minorversion=1", "vers=4.1,"), ("minorversion=0", "vers=4.0,")] {
            let alone = text(&parse(&[option]).kernel.for_server([127, 0, 0, 1].into(), 1, "4.1"));
            assert!(alone.contains(want) && !alone.contains("minor"), "{option}: {alone}");
        }
        let apart = text(&parse(&["vers=4,minorversion=0"]).kernel.for_server([127, 0, 0, 1].into(), 1, "4.1"));
        assert!(apart.contains("minorversion=0,vers=4,"), "{apart}");
    }

    /// As kubelet writes it (`%q`), and as people write it.
    #[test]
    fn labels_keep_their_commas() {
        let label = "system_u:object_r:container_file_t:s0:c1,c2";
        for written in [format!("context=\"{label}\""), format!("ro,context=\"{label}\",noatime")] {
            let parsed = parse(&[&written]);
            assert_eq!(parsed.kernel.nfs.get("context"), Some(&Some(label.to_owned())), "{written}");
        }
        assert!(parse(&[&format!("ro,fscontext=\"{label}\",noatime")]).kernel.read_only());
        assert_eq!(parse(&["rootcontext=u:r:t:s0"]).kernel.nfs["rootcontext"].as_deref(), Some("u:r:t:s0"));
    }

    proptest! {
        #[test]
        fn nothing_unknown_ever_reaches_the_kernel(flags in proptest::collection::vec(".{0,30}", 0..4)) {
            if let Ok(parsed) = ParsedOptions::parse(&flags, FileSystemKind::Efs) {
                for (key, value) in parsed.kernel.for_server([127, 0, 0, 1].into(), 1, "4.1") {
                    prop_assert!(key.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'));
                    let value = value.unwrap_or_default();
                    prop_assert!(!value.contains([' ', '\n', '"']) && !value.chars().any(char::is_control));
                    prop_assert!(LABELS.contains(&key.as_str()) || !value.contains(','));
                }
            }
        }
    }
}
