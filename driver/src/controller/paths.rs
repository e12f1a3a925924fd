//! Root directories: where a volume's directory is, and names short enough for AWS.
//!
//! What a volume may own is a type: [`Root::own`] gives a directory strictly below the class's base path, or none.
//!
//! EFS allows 100 bytes of path, and no component that begins with a dot or holds one of ``$#<>;`|&?{}^*`` (EFS API,
//! `RootDirectory.Path`).

use efs_directories::DirectoryPath;
use sha2::{Digest, Sha256};

/// Most bytes of an access point's path (EFS API).
pub const LONGEST_ROOT: usize = 100;

/// Most components of a path that are sent to AWS. The API model says 4, the Go driver lets 5 pass; AWS decides.
pub const MOST_COMPONENTS: usize = 5;

/// Most characters of a client token (EFS API).
const LONGEST_TOKEN: usize = 64;

/// The words that a pattern may use, in the order that messages list them.
const TOKENS: [&str; 3] = ["${.PV.name}", "${.PVC.name}", "${.PVC.namespace}"];

/// The claim that a volume is made for; known with external-provisioner's `--extra-create-metadata`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Claim {
    /// The claim's name.
    pub name: Option<String>,
    /// The claim's namespace.
    pub namespace: Option<String>,
    /// The volume's name in Kubernetes.
    pub volume: Option<String>,
}

/// Why a path was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// A component is `..`.
    #[error("must not contain \"..\", which could lead out of the base path")]
    Parent,
    /// A component begins with a dot.
    #[error("component {0:?} begins with a dot, which EFS does not allow")]
    Hidden(String),
    /// A component holds a character that EFS refuses.
    #[error("component {0:?} holds {1:?}, which EFS does not allow in a path")]
    Character(String, char),
    /// Something like `${…}` is left after the known words were replaced.
    #[error("{0:?} holds an unknown or broken ${{…}}; known are ${{.PV.name}}, ${{.PVC.name}} and ${{.PVC.namespace}}")]
    UnknownToken(String),
    /// A word of the pattern has no value.
    #[error("{0} has no value; run csi-provisioner with --extra-create-metadata")]
    NoMetadata(&'static str),
    /// The path is the file system's root.
    #[error(
        "gives the root of the file system itself; name a directory, set basePath, or drop ensureUniqueDirectory=false"
    )]
    Root,
    /// The path is too long.
    #[error("root directory {path:?} has {length} bytes; EFS allows 100")]
    Long {
        /// The path.
        path: String,
        /// Its bytes.
        length: usize,
    },
    /// The path has too many components.
    #[error(
        "root directory {0:?} is too deep: at most 5 components are taken (AWS allows an access point 4 subdirectories); shorten basePath or subPathPattern"
    )]
    Deep(String),
}

/// The components of a path, checked one by one.
fn components(path: &str) -> Result<Vec<String>, PathError> {
    path.split('/')
        .filter(|part| !part.is_empty() && *part != ".")
        .map(|part| check_component(part).map(|()| part.to_owned()))
        .collect()
}

fn check_component(part: &str) -> Result<(), PathError> {
    if part == ".." {
        return Err(PathError::Parent);
    }
    if part.starts_with('.') {
        return Err(PathError::Hidden(part.to_owned()));
    }
    match part.chars().find(|c| c.is_control() || "$#<>;`|&?{}^*/".contains(*c)) {
        Some(c) => Err(PathError::Character(part.to_owned(), c)),
        None => Ok(()),
    }
}

/// The directory below which all directories of a StorageClass are.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BasePath(Vec<String>);

impl BasePath {
    /// Parses `basePath`; a leading slash makes no difference.
    ///
    /// # Errors
    /// A component that EFS doesn't allow, or `..`.
    pub fn parse(text: &str) -> Result<Self, PathError> {
        components(text.trim()).map(Self)
    }
}

/// A `subPathPattern` with its words filled in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern {
    filled: String,
    unique: bool,
}

impl Pattern {
    /// Replaces the words of a pattern by the claim's names. With `unique`, each volume gets a suffix of its own.
    ///
    /// # Errors
    /// An unknown word, a known one without a value, or a component that EFS doesn't allow.
    pub fn fill(pattern: &str, claim: &Claim, unique: bool) -> Result<Self, PathError> {
        let mut filled = pattern.to_owned();
        for (token, value) in TOKENS.into_iter().zip([&claim.volume, &claim.name, &claim.namespace]) {
            if filled.contains(token) {
                filled = filled.replace(token, value.as_deref().ok_or(PathError::NoMetadata(token))?);
            }
        }
        if filled.contains("${") || filled.contains('}') {
            return Err(PathError::UnknownToken(pattern.to_owned()));
        }
        components(&filled)?;
        Ok(Self { filled, unique })
    }

    /// Whether each volume gets a suffix of its own.
    pub(crate) fn is_unique(&self) -> bool {
        self.unique
    }

    /// Whether the pattern gives the root of the file system.
    pub(crate) fn is_root(&self, base: &BasePath) -> bool {
        !self.unique && base.0.is_empty() && components(&self.filled).is_ok_and(|parts| parts.is_empty())
    }
}

/// How the root directories of a StorageClass are named.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Naming {
    /// The directory that holds them.
    pub base: BasePath,
    /// The pattern; the volume's name without one.
    pub pattern: Option<Pattern>,
}

/// A volume's root directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Root {
    /// The absolute path.
    pub path: String,
    /// The path without the unique suffix, if it has one.
    stem: Option<String>,
    /// The directory that the volume can own.
    own: Option<DirectoryPath>,
    /// Whether the name is no other volume's.
    unique: bool,
    /// How many components the base path has.
    base: usize,
}

impl Root {
    /// The directory that the volume can own: below the base path. The base path itself is the class's, whatever its pattern says.
    pub fn own(&self) -> Option<&DirectoryPath> {
        self.own.as_ref()
    }

    /// Whether the directory bears the volume's own name or suffix, so that no other volume of the class can have it.
    pub fn is_unique(&self) -> bool {
        self.unique
    }

    /// Whether `existing` is some directory below the class's base path.
    pub fn is_sibling(&self, existing: &str) -> bool {
        let parts: Vec<&str> = existing.split('/').filter(|part| !part.is_empty()).collect();
        let own: Vec<&str> = self.path.split('/').filter(|part| !part.is_empty()).take(self.base).collect();
        parts.len() > own.len() && parts.starts_with(&own)
    }

    /// Whether `existing` is the directory of the same volume: the same path, or the same but for a random suffix that the
    /// Go driver has chosen.
    pub fn matches(&self, existing: &str) -> bool {
        let suffix =
            self.stem.as_deref().and_then(|stem| existing.strip_prefix(stem)).and_then(|s| s.strip_prefix('-'));
        existing == self.path || suffix.is_some_and(|suffix| uuid::Uuid::parse_str(suffix).is_ok())
    }
}

impl Naming {
    /// The root directory of the volume `name`.
    ///
    /// # Errors
    /// When a pattern gives a path that is too long, too deep or the root itself. A volume's own name never does: it is
    /// replaced by its hash where EFS would refuse it.
    pub fn root(&self, name: &str) -> Result<Root, PathError> {
        let mut parts = self.base.0.clone();
        let mut stem = None;
        let unique = !matches!(self.pattern, Some(Pattern { unique: false, .. }));
        match &self.pattern {
            None => {
                parts.push(name.to_owned());
                // A name that is the hash of another one would be that one's directory.
                if check_component(name).is_err() || is_hashed(name) || join(&parts).len() > LONGEST_ROOT {
                    parts.pop();
                    parts.push(sha256_hex(name));
                }
            }
            Some(Pattern { filled, unique: false }) => parts.extend(components(filled)?),
            Some(Pattern { filled, unique: true }) => {
                stem = Some(join(&[parts.clone(), trailing_kept(filled)].concat()));
                parts.extend(components(&format!("{filled}-{}", stable_uuid(name)))?);
            }
        }
        let path = join(&parts);
        if parts.is_empty() {
            Err(PathError::Root)
        } else if path.len() > LONGEST_ROOT {
            Err(PathError::Long { length: path.len(), path })
        } else if parts.len() > MOST_COMPONENTS {
            Err(PathError::Deep(path))
        } else {
            let own = (parts.len() > self.base.0.len()).then(|| path.parse().ok()).flatten();
            Ok(Root { path, stem, own, unique, base: self.base.0.len() })
        }
    }
}

/// The components before a suffix, with an empty last one when the suffix is a component of its own.
fn trailing_kept(filled: &str) -> Vec<String> {
    let mut parts = components(filled).unwrap_or_default();
    if filled.is_empty() || filled.ends_with('/') {
        parts.push(String::new());
    }
    parts
}

fn join(parts: &[String]) -> String {
    format!("/{}", parts.join("/"))
}

/// The SHA-256 of a text, 64 hex digits.
pub fn sha256_hex(text: &str) -> String {
    hex::encode(Sha256::digest(text.as_bytes()))
}

/// Whether a client token is a hash, as that of a reused access point; a volume's name is one only if it is too long for EFS.
pub(super) fn is_hashed(token: &str) -> bool {
    token.len() == LONGEST_TOKEN && token.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// Whether a directory bears the name of its volume: the name itself, its hash, or the suffix that is the volume's own. `volume` is the
/// volume's name or its client token. A token that is the hash of the directory's name tells nothing: with `reuseAccessPoint` the Go
/// driver's is that of the claim's name, which a pattern may give to any directory.
pub fn is_named_after(volume: &str, path: &DirectoryPath) -> bool {
    let last = path.name();
    let is_suffixed = uuid_suffix(last).is_some_and(|uuid| uuid == stable_uuid(volume));
    !volume.is_empty() && (last == volume || last == sha256_hex(volume) || is_suffixed)
}

/// Whether a directory may be one that the Go driver made unique for the volume of this token: it ends with a UUID, which is random there, and
/// the token is a name that csi-provisioner gives.
pub(super) fn is_made_unique(token: &str, path: &DirectoryPath) -> bool {
    uuid_suffix(token).is_some() && uuid_suffix(path.name()).is_some()
}

/// The UUID at the end of a name, behind a dash.
fn uuid_suffix(name: &str) -> Option<uuid::Uuid> {
    let (stem, uuid) = name.split_at_checked(name.len().checked_sub(36)?)?;
    stem.ends_with('-').then(|| uuid::Uuid::parse_str(uuid).ok()).flatten()
}

/// A UUID that is the same for the same volume name, so that a repeated call finds the directory of the first one.
pub(super) fn stable_uuid(name: &str) -> uuid::Uuid {
    let digest = Sha256::digest(name.as_bytes());
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&digest[..16]);
    uuid::Builder::from_random_bytes(bytes).into_uuid()
}

/// The client token of a volume: its name, or the name's hash when EFS would refuse it.
pub fn client_token(name: &str) -> String {
    let is_fit = name.chars().count() <= LONGEST_TOKEN && name.is_ascii();
    // A name that is itself a hash would have the token of the name that it is the hash of.
    if is_fit && !is_hashed(name) { name.to_owned() } else { sha256_hex(name) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn claim() -> Claim {
        Claim { name: Some("data".into()), namespace: Some("team-a".into()), volume: Some("pvc-1".into()) }
    }

    fn naming(base: &str, pattern: Option<(&str, bool)>) -> Naming {
        Naming {
            base: BasePath::parse(base).unwrap(),
            pattern: pattern.map(|(text, unique)| Pattern::fill(text, &claim(), unique).unwrap()),
        }
    }

    fn path(base: &str, pattern: Option<(&str, bool)>) -> String {
        naming(base, pattern).root("pvc-1").unwrap().path
    }

    #[test]
    fn a_volume_without_a_pattern_is_named_like_itself() {
        assert_eq!(path("", None), "/pvc-1");
        assert_eq!(path("/dynamic", None), "/dynamic/pvc-1");
        assert_eq!(path("a//b/", None), "/a/b/pvc-1");
    }

    #[test]
    fn a_name_that_efs_refuses_is_replaced_by_its_hash() {
        for name in ["x".repeat(128), "a/../../etc".into(), "..".into(), ".hidden".into(), "a*b".into()] {
            let root = naming("/base", None).root(&name).unwrap();
            assert_eq!(root.path, format!("/base/{}", sha256_hex(&name)));
            assert!(root.path.len() <= LONGEST_ROOT);
        }
    }

    #[test]
    fn patterns_are_filled_with_the_claims_names() {
        let pattern = "${.PVC.namespace}/${.PVC.name}/${.PV.name}/${.PVC.name}";
        assert_eq!(path("", Some((pattern, false))), "/team-a/data/pvc-1/data");
        assert_eq!(path("/base", Some(("", false))), "/base");
    }

    #[test]
    fn a_unique_directory_is_the_same_on_every_retry() {
        let root = naming("/b", Some(("/foo", true))).root("pvc-1").unwrap();
        assert_eq!(root, naming("/b", Some(("foo", true))).root("pvc-1").unwrap());
        assert_ne!(root.path, naming("/b", Some(("foo", true))).root("pvc-2").unwrap().path);
        let suffix = root.path.strip_prefix("/b/foo-").unwrap();
        assert_eq!(uuid::Uuid::parse_str(suffix).unwrap().get_version_num(), 4);
    }

    #[test]
    fn a_directory_with_the_go_drivers_random_suffix_is_recognised() {
        let uuid = "0f8fad5b-d9cb-469f-a165-70867728950e";
        let root = naming("/b", Some(("foo", true))).root("pvc-1").unwrap();
        assert!(root.matches(&root.path) && root.matches(&format!("/b/foo-{uuid}")));
        assert!(!root.matches("/b/foo") && !root.matches("/b/foo-x") && !root.matches(&format!("/b/food-{uuid}")));
        let empty = naming("/b", Some(("", true))).root("pvc-1").unwrap();
        assert!(empty.path.starts_with("/b/-") && empty.matches(&format!("/b/-{uuid}")));
        let exact = naming("/b", Some(("foo", false))).root("pvc-1").unwrap();
        assert!(!exact.matches(&format!("/b/foo-{uuid}")));
    }

    #[test]
    fn patterns_that_lead_elsewhere_are_refused() {
        let fill = |pattern: &str| Pattern::fill(pattern, &claim(), false).unwrap_err();
        assert_eq!(fill("../x"), PathError::Parent);
        assert_eq!(fill("a/../../x"), PathError::Parent);
        assert!(matches!(fill("${.PVC.annotations}"), PathError::UnknownToken(_)));
        assert!(matches!(fill("a}"), PathError::UnknownToken(_)));
        assert!(matches!(fill("a/.b"), PathError::Hidden(_)));
        assert!(matches!(fill("a*"), PathError::Character(_, '*')));
        let hostile = Claim { name: Some("../../etc".into()), ..claim() };
        assert_eq!(Pattern::fill("${.PVC.name}", &hostile, false).unwrap_err(), PathError::Parent);
        assert_eq!(
            Pattern::fill("${.PVC.name}", &Claim::default(), true).unwrap_err(),
            PathError::NoMetadata("${.PVC.name}")
        );
        assert_eq!(BasePath::parse("/a/..").unwrap_err(), PathError::Parent);
    }

    #[test]
    fn the_base_path_is_nobodys_own() {
        let own = |base: &str, pattern| naming(base, pattern).root("pvc-1").unwrap().own().map(ToString::to_string);
        for pattern in ["", "/", "."] {
            assert_eq!(own("/base", Some((pattern, false))), None, "{pattern:?}");
        }
        assert_eq!(own("//base/./", Some(("x//", false))), Some("/base/x".to_owned()));
        assert_eq!(own("", None), Some("/pvc-1".to_owned()));
        let root = naming("/base", None).root("pvc-1").unwrap();
        assert!(root.is_sibling("/base/other") && root.is_sibling("//base/a/b"));
        assert!(!root.is_sibling("/base") && !root.is_sibling("/basement/x") && !root.is_sibling("/"));
    }

    #[test]
    fn directories_that_bear_their_volumes_name_are_recognised() {
        let is = |volume: &str, path: &str| is_named_after(volume, &path.parse().unwrap());
        for naming in [naming("/b", None), naming("/b", Some(("x", true))), naming("", Some(("", true)))] {
            let root = naming.root("pvc-1").unwrap();
            assert!(root.is_unique() && is("pvc-1", &root.path), "{}", root.path);
        }
        let long = "x".repeat(128);
        assert!(is(&client_token(&long), &naming("/b", None).root(&long).unwrap().path));
        let suffixed = "/b/data-0f8fad5b-d9cb-469f-a165-70867728950e";
        assert!(!is("pvc-1", suffixed), "anybody may have a UUID");
        let by_go = |token: &str| is_made_unique(token, &suffixed.parse().unwrap());
        assert!(by_go("pvc-7d9c2a1e-0b7f-4a34-9d52-5f0c3a1b2c3d") && !by_go("backup") && !by_go(&sha256_hex("data")));
        assert!(!is("pvc-1", "/b/pvc-2") && !is("", "/b/x") && !is("pvc-1", "/pvc-1/x"));
        assert!(!naming("/b", Some(("x", false))).root("pvc-1").unwrap().is_unique());
    }

    #[test]
    fn the_file_systems_root_is_never_a_volume() {
        for pattern in ["", "/", "./"] {
            let naming = naming("", Some((pattern, false)));
            assert!(naming.pattern.as_ref().unwrap().is_root(&naming.base));
            assert_eq!(naming.root("pvc-1"), Err(PathError::Root));
        }
    }

    #[test]
    fn long_and_deep_patterns_are_refused() {
        let long = "x".repeat(100);
        assert!(matches!(naming("", Some((&long, false))).root("v"), Err(PathError::Long { length: 101, .. })));
        assert!(matches!(naming("a/b/c", Some(("d/e/f", false))).root("v"), Err(PathError::Deep(_))));
        assert_eq!(path("a/b/c", Some(("d/e", false))), "/a/b/c/d/e");
    }

    #[test]
    fn client_tokens_fit_64_characters() {
        assert_eq!(client_token("pvc-1"), "pvc-1");
        assert_eq!(client_token(&"x".repeat(64)), "x".repeat(64));
        assert_eq!(client_token(&"x".repeat(65)), sha256_hex(&"x".repeat(65)));
        assert_eq!(client_token("größe").len(), 64);
        let long = "x".repeat(65);
        assert_ne!(client_token(&long), client_token(&sha256_hex(&long)));
        let root = |name: &str| naming("", None).root(name).unwrap().path;
        assert_ne!(root(".h"), root(&sha256_hex(".h")));
    }

    proptest! {
        #[test]
        fn every_name_gets_a_root_that_efs_takes(name in "\\PC{1,128}", base in "([a-z]{1,9}/){0,3}") {
            let root = Naming { base: BasePath::parse(&base).unwrap(), pattern: None }.root(&name).unwrap();
            prop_assert!(root.path.len() <= LONGEST_ROOT);
            let below = format!("/{base}");
            prop_assert!(root.path.starts_with(&below));
            prop_assert!(components(&root.path).unwrap().len() == base.matches('/').count() + 1);
        }

        #[test]
        fn no_pattern_escapes_the_base_path(text in "[a-z./${}*]{0,20}", unique: bool) {
            if let Ok(pattern) = Pattern::fill(&text, &claim(), unique) {
                let naming = Naming { base: BasePath::parse("/base").unwrap(), pattern: Some(pattern) };
                if let Ok(root) = naming.root("pvc-1") {
                    prop_assert!(root.path == "/base" || root.path.starts_with("/base/"), "{}", root.path);
                    prop_assert!(root.matches(&root.path));
                }
            }
        }
    }
}
