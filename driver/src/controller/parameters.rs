//! StorageClass parameters, parsed once into [`CreateParameters`]; all problems are told at once.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::ops::RangeInclusive;

use crate::cli::{UnknownParameters, parse_go_bool};
use crate::endpoints::is_region;
use crate::node::pod::is_role;
use crate::volume::{FileSystemId, FileSystemKind};

use super::paths::{BasePath, Claim, Naming, PathError, Pattern};

/// The range that ids are taken from by default; the Go driver's code (not its documentation) says so.
pub const DEFAULT_GID_RANGE: RangeInclusive<u32> = 50_000..=60_000;

/// Prefix of the keys that external-provisioner adds by itself.
const PROVISIONER_PREFIX: &str = "csi.storage.k8s.io/";

/// The value of `provisioningMode` for directory volumes.
pub const DIRECTORY_MODE: &str = "efs-dir";

/// The value of `provisioningMode` for access points of S3 Files.
const S3_FILES_MODE: &str = "s3files-ap";

/// The parameters that say which file system.
const FILE_SYSTEM_KEYS: [&str; 3] = ["fileSystemId", "fileSystemIdConfigRef", "fileSystemIdSecretRef"];

/// A parameter as people read about it: `docs/parameters.md` holds this table.
#[derive(Debug, Clone, Copy)]
pub struct Documented {
    /// Its name.
    pub name: &'static str,
    /// Values that it may have.
    pub values: &'static str,
    /// What is taken when it is absent.
    pub default: &'static str,
    /// The rule for it, and what it does.
    pub rule: &'static str,
}

/// The parameters that StorageClasses may have.
pub const KNOWN: [Documented; 21] = [
    Documented {
        name: "provisioningMode",
        values: "`efs-ap`, `efs-dir`, `s3files-ap`",
        default: "required",
        rule: "`efs-ap` makes an access point a volume. `efs-dir` (ours) makes a plain directory: no limit of access points, \
               owners can be changed. `s3files-ap` makes an access point of a file system of S3 Files a volume, see [s3files.md](s3files.md)",
    },
    Documented {
        name: "fileSystemId",
        values: "`fs-` and 8 to 40 hex digits",
        default: "–",
        rule: "exactly one of the three. Blank counts as absent",
    },
    Documented {
        name: "fileSystemIdConfigRef",
        values: "`namespace/name/key` of a ConfigMap",
        default: "–",
        rule: "the controller's service account needs `get` on it",
    },
    Documented {
        name: "fileSystemIdSecretRef",
        values: "`namespace/name/key` of a Secret",
        default: "–",
        rule: "likewise",
    },
    Documented {
        name: "directoryPerms",
        values: "3 or 4 octal digits",
        default: "required",
        rule: "mode of the root directory when it is made. EFS leaves an existing directory alone",
    },
    Documented {
        name: "uid",
        values: "0 to 4294967295",
        default: "from the range",
        rule: "the user id that the access point enforces, and owner of the root directory. `efs-dir`: the owner, 0 by default",
    },
    Documented { name: "gid", values: "0 to 4294967295", default: "from the range", rule: "likewise, the group" },
    Documented {
        name: "gidRangeStart",
        values: "1 to 4294967295",
        default: "50000",
        rule: "both or none. An id that is not fixed is taken from here and is no other access point's uid or gid",
    },
    Documented {
        name: "gidRangeEnd",
        values: "1 to 4294967295, above the start",
        default: "60000",
        rule: "the last id of the range",
    },
    Documented {
        name: "basePath",
        values: "path",
        default: "`/`",
        rule: "directory that holds the volumes' directories. `..` is refused. A pattern that gives the base path itself is refused for \
               `efs-dir`; for `efs-ap` it becomes the volume's root, which is never removed",
    },
    Documented {
        name: "subPathPattern",
        values: "path with `${.PVC.name}`, `${.PVC.namespace}`, `${.PV.name}`",
        default: "the volume's name",
        rule: "needs csi-provisioner's `--extra-create-metadata`; a word without a value is an error. `..` is refused, so a \
               claim's name can't lead out of `basePath`",
    },
    Documented {
        name: "ensureUniqueDirectory",
        values: "boolean",
        default: "`true`",
        rule: "only with `subPathPattern`: appends `-` and a UUID that is the volume's own and stays the same when a call is \
               repeated",
    },
    Documented {
        name: "az",
        values: "zone name or id",
        default: "–",
        rule: "another account's file system only: use the mount target of this zone. Not with `s3files-ap`",
    },
    Documented {
        name: "reuseAccessPoint",
        values: "boolean",
        default: "`false`",
        rule: "use the access point that an earlier claim of the same name and namespace had on this file system, with its \
               directory below `basePath`. Access points made by the Go driver's rule (name alone) are recognised, unless a \
               PersistentVolume shows that they are another namespace's. Unless a PersistentVolume that is not being deleted \
               has the access point, the new claim waits for half a minute, for another controller may just be about to delete \
               it",
    },
    Documented {
        name: "adoptDirectory",
        values: "boolean",
        default: "`false`",
        rule: "ours, `efs-dir` only: use a directory that exists already. It keeps owner and mode, and stays when the volume is \
               deleted. Without it, a directory that exists is refused. Needs `subPathPattern` and `ensureUniqueDirectory=false`",
    },
    Documented {
        name: "enableTagging",
        values: "boolean",
        default: "`true`",
        rule: "`false` sends no tags: capacity is then not remembered, and ListVolumes and `orphans` don't see the volume. Not \
               together with `--tags`",
    },
    Documented {
        name: "enforceZoneAffinity",
        values: "boolean",
        default: "automatic",
        rule: "whether a One Zone file system binds its volumes to its zone. `true`: always; RESOURCE_EXHAUSTED when that is not \
               among the requisite zones. `false`: never. Absent: if the zone is among those that Kubernetes names",
    },
    Documented {
        name: "encryptInTransit",
        values: "boolean",
        default: "`true`",
        rule: "ours. `false`: nodes mount without TLS (the volumes carry the volume attribute of this name). `efs-dir` only; an \
               access point needs encryption",
    },
    Documented {
        name: "authenticationSource",
        values: "`driver`, `pod`",
        default: "`driver`",
        rule: "ours. `pod`: nodes mount with the role of the pod's service account, see [pod-identity.md](pod-identity.md) (the volumes \
               carry the volume attribute of this name). Not with `encryptInTransit=false`",
    },
    Documented {
        name: "roleArn",
        values: "ARN of a role",
        default: "the service account's",
        rule: "ours, only with `authenticationSource=pod`: the role, instead of the service account's annotation",
    },
    Documented {
        name: "stsRegion",
        values: "name of a region",
        default: "the file system's",
        rule: "ours, only with `authenticationSource=pod`: the region whose STS is asked",
    },
];

/// Whether volumes of a One Zone file system are bound to its zone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ZoneAffinity {
    /// If the zone is among those where the volume may be used.
    Automatic,
    /// Always; where that is impossible, there is no volume.
    Always,
    /// Never.
    Never,
}

/// What a volume is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProvisioningMode {
    /// `efs-ap` or `s3files-ap`: an access point of a file system of this service.
    AccessPoint(FileSystemKind),
    /// `efs-dir`: a plain directory.
    Directory,
}

impl ProvisioningMode {
    /// The word in a StorageClass.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::AccessPoint(FileSystemKind::Efs) => "efs-ap",
            Self::AccessPoint(FileSystemKind::S3Files) => "s3files-ap",
            Self::Directory => "efs-dir",
        }
    }

    /// The service of the file system.
    pub fn service(self) -> FileSystemKind {
        match self {
            Self::AccessPoint(kind) => kind,
            Self::Directory => FileSystemKind::Efs,
        }
    }
}

/// An object and a key in it, `namespace/name/key`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectKey {
    /// The object's namespace.
    pub namespace: String,
    /// The object's name.
    pub name: String,
    /// The key of its data.
    pub key: String,
}

/// Where the file system's id stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FileSystemSource {
    /// In the parameter.
    Id(FileSystemId),
    /// In a ConfigMap.
    ConfigMap(ObjectKey),
    /// In a Secret.
    Secret(ObjectKey),
}

/// Everything that a StorageClass says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CreateParameters {
    /// What to make.
    pub mode: ProvisioningMode,
    /// On which file system.
    pub file_system: FileSystemSource,
    /// Mode of the root directory, 3 or 4 octal digits.
    pub permissions: String,
    /// The user id, if it is fixed.
    pub uid: Option<u32>,
    /// The group id, if it is fixed.
    pub gid: Option<u32>,
    /// The range for ids that are not fixed.
    pub gid_range: RangeInclusive<u32>,
    /// How the root directory is named.
    pub naming: Naming,
    /// The zone whose mount target the node shall use (cross-account only).
    pub az: Option<String>,
    /// Use the access point of an earlier claim of the same name.
    pub reuse: bool,
    /// Use a directory that is there already.
    pub adopt: bool,
    /// Tag what is made.
    pub tagging: bool,
    /// Whether to tell Kubernetes the zone of a One Zone file system.
    pub zone_affinity: ZoneAffinity,
    /// Let nodes encrypt what they send (directories only; access points are always reached over TLS).
    pub encrypted: bool,
    /// The volume attributes that give nodes the pod's identity; empty for the driver's.
    pub pod_identity: BTreeMap<&'static str, String>,
    /// For whom.
    pub claim: Claim,
}

/// One wrong parameter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The parameter's name.
    pub parameter: String,
    /// Its value, if it has one.
    pub value: Option<String>,
    /// The rule that it breaks, and the fix.
    pub rule: String,
}

/// All wrong parameters of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problems(pub Vec<Problem>);

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, problem) in self.0.iter().enumerate() {
            f.write_str(if n == 0 { "" } else { "; " })?;
            match &problem.value {
                Some(value) => write!(f, "parameter {}={value:?}: {}", problem.parameter, problem.rule)?,
                None => write!(f, "parameter {}: {}", problem.parameter, problem.rule)?,
            }
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}

/// Reads parameters one by one and collects what is wrong.
struct Reader<'a> {
    parameters: &'a HashMap<String, String>,
    problems: Vec<Problem>,
}

impl<'a> Reader<'a> {
    fn text(&self, key: &str) -> Option<&'a str> {
        self.parameters.get(key).map(String::as_str)
    }

    /// A parameter whose blank value means that it is absent.
    fn filled(&self, key: &str) -> Option<&'a str> {
        self.text(key).map(str::trim).filter(|value| !value.is_empty())
    }

    fn problem(&mut self, key: &str, rule: impl Into<String>) {
        let value = self.text(key).map(str::to_owned);
        self.problems.push(Problem { parameter: key.to_owned(), value, rule: rule.into() });
    }

    fn boolean(&mut self, key: &str, default: bool) -> bool {
        match self.text(key).map(parse_go_bool) {
            None => default,
            Some(Ok(value)) => value,
            Some(Err(_)) => {
                self.problem(key, "must be a boolean, true or false");
                default
            }
        }
    }

    /// The rules are the node's, which would refuse the volume later.
    fn pod_identity(&mut self, encrypted: bool) -> BTreeMap<&'static str, String> {
        const KEY: &str = "authenticationSource";
        // An empty one is a template that lost its value: the driver's identity must not be what comes of it.
        let is_pods = match self.text(KEY).map(str::trim) {
            None | Some("driver") => false,
            Some("pod") => true,
            Some(_) => {
                self.problem(KEY, "must be driver or pod");
                return BTreeMap::new();
            }
        };
        if is_pods && !encrypted {
            self.problem(KEY, "pod needs encryption, not encryptInTransit=false");
        }
        let mut attributes = BTreeMap::new();
        if is_pods {
            attributes.insert(KEY, "pod".to_owned());
        }
        type Rule = fn(&str) -> bool;
        let rules: [(&'static str, Rule, &str); 2] = [
            ("roleArn", is_role, "must be the ARN of a role"),
            ("stsRegion", is_region, "must be the name of a region"),
        ];
        for (key, fits, rule) in rules {
            match self.filled(key) {
                None => {}
                Some(_) if !is_pods => self.problem(key, "needs authenticationSource=pod"),
                Some(value) if !fits(value) => self.problem(key, rule),
                Some(value) => drop(attributes.insert(key, value.to_owned())),
            }
        }
        attributes
    }

    fn id(&mut self, key: &str, least: u32) -> Option<u32> {
        let value = self.text(key)?.trim().parse::<i128>();
        match value.map(u32::try_from) {
            Ok(Ok(id)) if id >= least => Some(id),
            Ok(_) => {
                self.problem(key, format!("must be {least} to {}", u32::MAX));
                None
            }
            Err(_) => {
                self.problem(key, "must be a whole number");
                None
            }
        }
    }

    fn mode(&mut self) -> ProvisioningMode {
        const KEY: &str = "provisioningMode";
        match self.text(KEY) {
            Some("efs-ap") => return ProvisioningMode::AccessPoint(FileSystemKind::Efs),
            Some(S3_FILES_MODE) => return ProvisioningMode::AccessPoint(FileSystemKind::S3Files),
            Some(DIRECTORY_MODE) => return ProvisioningMode::Directory,
            Some(_) => self.problem(KEY, "is not supported; use efs-ap, efs-dir or s3files-ap"),
            None => {
                self.problem(
                    KEY,
                    "is missing; use efs-ap (an access point a volume), efs-dir (a directory a volume) or s3files-ap (an access point of S3 Files)",
                );
            }
        }
        ProvisioningMode::AccessPoint(FileSystemKind::Efs)
    }

    fn file_system(&mut self) -> Option<FileSystemSource> {
        const KEYS: [&str; 3] = FILE_SYSTEM_KEYS;
        let given: Vec<&str> = KEYS.into_iter().filter(|key| self.filled(key).is_some()).collect();
        let key = match given.as_slice() {
            [key] => *key,
            [] => {
                self.problem(KEYS[0], format!("is missing; one of {} must be given", KEYS.join(", ")));
                return None;
            }
            many => {
                self.problem(many[0], format!("only one of {} may be given", many.join(", ")));
                return None;
            }
        };
        let value = self.filled(key).unwrap_or_default().to_owned();
        if key == KEYS[0] {
            return match value.parse() {
                Ok(id) => Some(FileSystemSource::Id(id)),
                Err(_) => {
                    self.problem(key, "must match fs-[0-9a-f]{8,40}");
                    None
                }
            };
        }
        let parts: Vec<&str> = value.split('/').map(str::trim).collect();
        let [namespace, name, data_key] = parts.as_slice() else {
            self.problem(key, "must be namespace/name/key");
            return None;
        };
        if parts.iter().any(|part| part.is_empty()) {
            self.problem(key, "must be namespace/name/key with no empty part");
            return None;
        }
        let object = ObjectKey { namespace: (*namespace).into(), name: (*name).into(), key: (*data_key).into() };
        Some(if key == KEYS[1] { FileSystemSource::ConfigMap(object) } else { FileSystemSource::Secret(object) })
    }

    fn permissions(&mut self) -> String {
        const KEY: &str = "directoryPerms";
        match self.text(KEY).map(str::trim) {
            None => self.problem(KEY, "is missing; give the mode of the root directory in octal, such as 700"),
            Some(value) => {
                if (3..=4).contains(&value.len()) && value.bytes().all(|digit| (b'0'..=b'7').contains(&digit)) {
                    return value.to_owned();
                }
                self.problem(KEY, "must be 3 or 4 octal digits, such as 700");
            }
        }
        String::new()
    }

    fn gid_range(&mut self) -> RangeInclusive<u32> {
        const START: &str = "gidRangeStart";
        const END: &str = "gidRangeEnd";
        match (self.text(START).is_some(), self.text(END).is_some()) {
            (false, false) => return DEFAULT_GID_RANGE,
            (true, false) => {
                self.id(START, 1);
                self.problem(END, "is missing; gidRangeStart needs it");
            }
            (false, true) => {
                self.id(END, 1);
                self.problem(START, "is missing; gidRangeEnd needs it");
            }
            (true, true) => {
                let (start, end) = (self.id(START, 1), self.id(END, 1));
                if let (Some(start), Some(end)) = (start, end) {
                    if end > start {
                        return start..=end;
                    }
                    self.problem(END, format!("must be above gidRangeStart={start}"));
                }
            }
        }
        DEFAULT_GID_RANGE
    }

    fn naming(&mut self, claim: &Claim) -> Naming {
        let base = BasePath::parse(self.text("basePath").unwrap_or_default()).unwrap_or_else(|error| {
            self.problem("basePath", error.to_string());
            BasePath::default()
        });
        // Like the Go driver, only a word that means false turns it off; but nonsense is refused.
        let unique = self.boolean("ensureUniqueDirectory", true);
        let pattern = match self.text("subPathPattern") {
            None => None,
            Some(text) => match Pattern::fill(text, claim, unique) {
                Ok(pattern) => Some(pattern),
                Err(error) => {
                    self.problem("subPathPattern", error.to_string());
                    None
                }
            },
        };
        let naming = Naming { base, pattern };
        if naming.pattern.as_ref().is_some_and(|p| p.is_root(&naming.base)) {
            self.problem("subPathPattern", PathError::Root.to_string());
        }
        naming
    }

    fn unknown(&mut self) {
        let mut unknown: Vec<&str> = self
            .parameters
            .keys()
            .map(String::as_str)
            .filter(|key| !names().any(|name| name == *key) && !key.starts_with(PROVISIONER_PREFIX))
            .collect();
        unknown.sort_unstable();
        for key in unknown {
            let nearest = names()
                .map(|known| (strsim::damerau_levenshtein(&known.to_lowercase(), &key.to_lowercase()), known))
                .min()
                .filter(|(distance, known)| *distance * 2 <= known.len());
            let hint = nearest.map_or_else(
                || format!("known are {}", names().collect::<Vec<_>>().join(", ")),
                |(_, n)| format!("did you mean {n}?"),
            );
            self.problem(key, format!("is not known; {hint} (--unknown-parameters=ignore lets it pass)"));
        }
    }
}

/// The names of all parameters.
fn names() -> impl Iterator<Item = &'static str> {
    KNOWN.iter().map(|parameter| parameter.name)
}

/// Which file system a StorageClass names; `None` if it names none in a way that CreateVolume would take.
pub(super) fn file_system_source(parameters: &HashMap<String, String>) -> Option<FileSystemSource> {
    Reader { parameters, problems: Vec::new() }.file_system()
}

/// The service that a class of this provisioning mode is about.
pub(super) fn service_of(mode: Option<&str>) -> FileSystemKind {
    if mode == Some(S3_FILES_MODE) { FileSystemKind::S3Files } else { FileSystemKind::Efs }
}

impl CreateParameters {
    /// Parses the parameters. `has_flag_tags` says whether `--tags` names any.
    ///
    /// # Errors
    /// Every parameter that is wrong, in the order of the parameters' documentation.
    pub fn parse(
        parameters: &HashMap<String, String>,
        unknown: UnknownParameters,
        has_flag_tags: bool,
    ) -> Result<Self, Problems> {
        let mut reader = Reader { parameters, problems: Vec::new() };
        let meta = |key: &str| parameters.get(&format!("{PROVISIONER_PREFIX}{key}")).filter(|v| !v.is_empty()).cloned();
        let claim = Claim { name: meta("pvc/name"), namespace: meta("pvc/namespace"), volume: meta("pv/name") };
        let mode = reader.mode();
        let file_system = reader.file_system();
        let permissions = reader.permissions();
        let (uid, gid) = (reader.id("uid", 0), reader.id("gid", 0));
        let gid_range = reader.gid_range();
        let naming = reader.naming(&claim);
        let reuse = reader.boolean("reuseAccessPoint", false);
        let adopt = reader.boolean("adoptDirectory", false);
        let tagging = reader.boolean("enableTagging", true);
        let zone_affinity = match (reader.boolean("enforceZoneAffinity", false), parameters.get("enforceZoneAffinity"))
        {
            (_, None) => ZoneAffinity::Automatic,
            (true, _) => ZoneAffinity::Always,
            (false, _) => ZoneAffinity::Never,
        };
        let encrypted = reader.boolean("encryptInTransit", true);
        if !tagging && has_flag_tags {
            reader.problem(
                "enableTagging",
                "is false although the driver's --tags names tags; set it to true or drop --tags",
            );
        }
        if reuse && claim.name.is_none() {
            reader.problem(
                "reuseAccessPoint",
                "needs the claim's name; run csi-provisioner with --extra-create-metadata",
            );
        }
        if reuse && mode == ProvisioningMode::Directory {
            reader.problem("reuseAccessPoint", "is for provisioningMode=efs-ap and s3files-ap only");
        }
        if adopt && mode != ProvisioningMode::Directory {
            reader.problem(
                "adoptDirectory",
                "is for provisioningMode=efs-dir only; an access point always uses an existing directory as it is",
            );
        } else if adopt && !matches!(&naming.pattern, Some(pattern) if !pattern.is_unique()) {
            reader.problem(
                "adoptDirectory",
                "needs a subPathPattern that names the directory, and ensureUniqueDirectory=false",
            );
        }
        if !encrypted && mode != ProvisioningMode::Directory {
            reader.problem(
                "encryptInTransit",
                "can be false with provisioningMode=efs-dir only; an access point needs encryption",
            );
        }
        if mode.service() == FileSystemKind::S3Files && reader.text("az").is_some() {
            reader.problem("az", "is for EFS only; nodes find the mount target of their own zone by themselves");
        }
        if unknown == UnknownParameters::Refuse {
            reader.unknown();
        }
        let az = reader.filled("az").map(str::to_owned);
        let pod_identity = reader.pod_identity(encrypted);
        match (file_system, reader.problems) {
            (Some(file_system), problems) if problems.is_empty() => Ok(Self {
                mode,
                file_system,
                permissions,
                uid,
                gid,
                gid_range,
                naming,
                az,
                reuse,
                adopt,
                tagging,
                zone_affinity,
                encrypted,
                pod_identity,
                claim,
            }),
            (_, problems) => Err(Problems(problems)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The document is what people read; it must say what the code does.
    #[test]
    fn the_document_of_parameters_holds_the_table() {
        let mut table = String::from("| parameter | value | default | rule |\n|---|---|---|---|\n");
        for Documented { name, values, default, rule } in KNOWN {
            table += &format!("| `{name}` | {values} | {default} | {rule} |\n");
        }
        let document = include_str!("../../../docs/parameters.md");
        assert!(document.contains(&table), "docs/parameters.md must hold this table:\n{table}");
    }

    /// A parameter that is documented but not read would be accepted in silence: each must be able to be wrong, or to matter.
    #[test]
    fn every_documented_parameter_is_read() {
        let usual = [("provisioningMode", "efs-ap"), ("fileSystemId", "fs-01234567"), ("directoryPerms", "700")];
        let parse = |extra: &[(&str, &str)]| {
            let all = usual.iter().chain(extra).map(|(k, v)| ((*k).to_owned(), (*v).to_owned()));
            CreateParameters::parse(&all.collect(), UnknownParameters::Refuse, false)
        };
        let plain = parse(&[]).unwrap();
        for name in names() {
            // A word that no parameter takes as it is, except the three that take any text; those change the result.
            let result =
                parse(&[(name, "../7"), ("subPathPattern", if name == "subPathPattern" { ".." } else { "x" })]);
            match result {
                Err(problems) => {
                    assert!(problems.0.iter().any(|it| it.parameter.starts_with(name) || it.rule.contains(name)));
                }
                Ok(parameters) => assert_ne!(parameters, CreateParameters { az: None, ..plain.clone() }, "{name}"),
            }
        }
    }

    /// The rows of the Go driver's table of parameters: what is wrong, and the words that the answer must have.
    #[test]
    fn each_parameter_has_its_rule() {
        type Parameters<'a> = &'a [(&'a str, &'a str)];
        let usual: Parameters<'_> =
            &[("provisioningMode", "efs-ap"), ("fileSystemId", "fs-01234567"), ("directoryPerms", "700")];
        // Parameters on top of the usual ones; an empty value takes one away.
        let cases: &[(Parameters<'_>, &[&str])] = &[
            (&[("provisioningMode", "")], &["provisioningMode", "is missing", "efs-ap"]),
            (&[("provisioningMode", "efs-fs")], &["provisioningMode=\"efs-fs\"", "efs-ap"]),
            (&[("provisioningMode", "s3files-ap"), ("az", "use1-az1")], &["az=\"use1-az1\"", "for EFS only"]),
            (&[("provisioningMode", "s3files-ap"), ("encryptInTransit", "false")], &["encryptInTransit=\"false\""]),
            (&[("provisioningMode", "s3files-ap"), ("adoptDirectory", "true")], &["adoptDirectory", "efs-dir only"]),
            (&[("fileSystemId", "")], &["one of fileSystemId", "must be given"]),
            (&[("fileSystemId", "fs-xyz")], &["fileSystemId=\"fs-xyz\"", "fs-[0-9a-f]{8,40}"]),
            (&[("fileSystemIdConfigRef", "a/b/c")], &["only one of fileSystemId, fileSystemIdConfigRef"]),
            (&[("directoryPerms", "")], &["directoryPerms", "is missing", "octal"]),
            (&[("directoryPerms", "rwx")], &["directoryPerms=\"rwx\"", "3 or 4 octal digits"]),
            (&[("directoryPerms", "0888")], &["directoryPerms=\"0888\""]),
            (&[("uid", "many")], &["uid=\"many\"", "whole number"]),
            (&[("uid", "-1")], &["uid=\"-1\"", "must be 0 to 4294967295"]),
            (&[("gid", "4294967296")], &["gid=\"4294967296\"", "must be 0 to 4294967295"]),
            (&[("gidRangeStart", "5")], &["gidRangeEnd", "is missing"]),
            (&[("gidRangeEnd", "5")], &["gidRangeStart", "is missing"]),
            (&[("gidRangeStart", "0")], &["gidRangeStart=\"0\"", "gidRangeEnd", "is missing"]),
            (&[("gidRangeStart", "0"), ("gidRangeEnd", "5")], &["gidRangeStart=\"0\"", "must be 1 to"]),
            (&[("gidRangeStart", "5"), ("gidRangeEnd", "5")], &["gidRangeEnd=\"5\"", "above gidRangeStart=5"]),
            (&[("basePath", "/a/../b")], &["basePath=\"/a/../b\"", "\"..\""]),
            (
                &[("subPathPattern", "${.PVC.x}")],
                &["subPathPattern", "${.PV.name}, ${.PVC.name} and ${.PVC.namespace}"],
            ),
            (&[("subPathPattern", "x"), ("ensureUniqueDirectory", "maybe")], &["ensureUniqueDirectory=\"maybe\""]),
            (&[("reuseAccessPoint", "maybe")], &["reuseAccessPoint=\"maybe\"", "boolean"]),
            (&[("reuseAccessPoint", "true")], &["reuseAccessPoint", "--extra-create-metadata"]),
            (&[("enableTagging", "maybe")], &["enableTagging=\"maybe\"", "boolean"]),
            (&[("enforceZoneAffinity", "maybe")], &["enforceZoneAffinity=\"maybe\"", "boolean"]),
            (&[("authenticationSource", "node")], &["authenticationSource=\"node\"", "driver or pod"]),
            (&[("authenticationSource", " ")], &["authenticationSource=\" \"", "driver or pod"]),
            (&[("roleArn", "arn:aws:iam::123456789012:role/a")], &["roleArn", "needs authenticationSource=pod"]),
            (&[("authenticationSource", "pod"), ("roleArn", "a")], &["roleArn=\"a\"", "the ARN of a role"]),
            (&[("authenticationSource", "pod"), ("stsRegion", "A.b")], &["stsRegion=\"A.b\"", "name of a region"]),
            (
                &[("authenticationSource", "pod"), ("provisioningMode", "efs-dir"), ("encryptInTransit", "false")],
                &["authenticationSource=\"pod\"", "needs encryption"],
            ),
        ];
        for (changes, words) in cases {
            let mut all: HashMap<String, String> =
                usual.iter().chain(*changes).map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
            all.retain(|_, value| !value.is_empty());
            let message = CreateParameters::parse(&all, UnknownParameters::Refuse, false).unwrap_err().to_string();
            for word in *words {
                assert!(message.contains(word), "{changes:?}: {word:?} is not in {message:?}");
            }
        }
    }

    #[test]
    fn the_pods_identity_is_passed_on_to_nodes() {
        let parse = |extra: &[(&str, &str)]| {
            let usual = [("provisioningMode", "efs-ap"), ("fileSystemId", "fs-01234567"), ("directoryPerms", "700")];
            let all = usual.iter().chain(extra).map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
            CreateParameters::parse(&all, UnknownParameters::Refuse, false).unwrap().pod_identity
        };
        assert!(parse(&[]).is_empty() && parse(&[("authenticationSource", "driver")]).is_empty());
        let role = "arn:aws:iam::123456789012:role/a";
        let all = parse(&[("authenticationSource", "pod"), ("roleArn", role), ("stsRegion", "eu-west-1")]);
        let all: Vec<_> = all.iter().map(|(key, value)| (*key, value.as_str())).collect();
        assert_eq!(all, [("authenticationSource", "pod"), ("roleArn", role), ("stsRegion", "eu-west-1")]);
    }

    #[test]
    fn zone_affinity_is_automatic_unless_it_is_said() {
        let parse = |value: Option<&str>| {
            let usual = [("provisioningMode", "efs-ap"), ("fileSystemId", "fs-01234567"), ("directoryPerms", "700")];
            let all = usual.into_iter().chain(value.map(|value| ("enforceZoneAffinity", value)));
            let all = all.map(|(k, v)| (k.to_owned(), v.to_owned())).collect();
            CreateParameters::parse(&all, UnknownParameters::Refuse, false).unwrap().zone_affinity
        };
        assert_eq!(parse(None), ZoneAffinity::Automatic);
        assert_eq!((parse(Some("true")), parse(Some("F"))), (ZoneAffinity::Always, ZoneAffinity::Never));
    }
}
