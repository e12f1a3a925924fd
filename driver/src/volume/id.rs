//! The grammar of volume handles and of the AWS ids inside them.
//!
//! A handle is `[efs:|s3files:]fs-…[:[path][:[fsap-…]]]`. The hex-only ids are a security boundary: a handle may come from a
//! PersistentVolume that anyone wrote, and its parts end up in mount options (CVE-2026-6437 of the Go driver).

use std::fmt;
use std::str::FromStr;

use crate::limits::cut;

/// Hex digits that an AWS id may carry: 8 in old accounts, 17 today, 40 by the API model.
const HEX_DIGITS: std::ops::RangeInclusive<usize> = 8..=40;

/// Why a handle or an id was refused. The message quotes the input and names the rule.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IdError {
    /// The text is not `fs-` and 8 to 40 lower-case hex digits.
    #[error("file system id {0:?} does not match fs-[0-9a-f]{{8,40}}")]
    FileSystem(String),
    /// The text is not `fsap-` and 8 to 40 lower-case hex digits.
    #[error("access point id {0:?} does not match fsap-[0-9a-f]{{8,40}}")]
    AccessPoint(String),
    /// The handle has more fields than its form allows.
    #[error(
        "volume id {handle:?} has {found} fields; at most {allowed} are allowed: [efs:|s3files:]fs-…[:path[:fsap-…]]"
    )]
    TooManyFields {
        /// The handle as it came in.
        handle: String,
        /// Fields found, separated by `:`.
        found: usize,
        /// Fields that this form allows.
        allowed: usize,
    },
    /// The handle holds a bad file system id, access point id or path.
    #[error("volume id {handle:?} is invalid: {reason}")]
    Handle {
        /// The handle as it came in.
        handle: String,
        /// Which part is wrong, and why.
        reason: String,
    },
}

fn is_id(text: &str, prefix: &str) -> bool {
    text.strip_prefix(prefix).is_some_and(|hex| {
        HEX_DIGITS.contains(&hex.len()) && hex.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
    })
}

macro_rules! aws_id {
    ($(#[$doc:meta])* $name:ident, $prefix:literal, $error:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(std::sync::Arc<str>);

        impl $name {
            /// The id as AWS writes it.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = IdError;

            fn from_str(text: &str) -> Result<Self, IdError> {
                if is_id(text, $prefix) { Ok(Self(text.into())) } else { Err(IdError::$error(cut(text))) }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

/// A file system: its id, `fs-` and 8 to 40 hex digits, and the service that it belongs to. Two services may know the same digits; what
/// is remembered of one file system is never taken for the other's.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FileSystemId {
    text: std::sync::Arc<str>,
    kind: FileSystemKind,
}

impl FileSystemId {
    /// The id as AWS writes it.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The service that it belongs to.
    pub fn kind(&self) -> FileSystemKind {
        self.kind
    }

    /// The file system of this id at another service.
    #[must_use]
    pub fn of(self, kind: FileSystemKind) -> Self {
        Self { kind, ..self }
    }
}

/// An id alone is one of EFS.
impl FromStr for FileSystemId {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        if is_id(text, "fs-") {
            Ok(Self { text: text.into(), kind: FileSystemKind::Efs })
        } else {
            Err(IdError::FileSystem(cut(text)))
        }
    }
}

impl fmt::Display for FileSystemId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for FileSystemId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

aws_id! {
    /// The id of an access point, `fsap-` and 8 to 40 hex digits.
    AccessPointId, "fsap-", AccessPoint
}

/// Which AWS service a file system belongs to; a handle says so by its prefix.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum FileSystemKind {
    /// Amazon EFS, the prefix `efs:` or none.
    Efs,
    /// Amazon S3 Files, the prefix `s3files:`.
    S3Files,
}

impl From<FileSystemKind> for efs_tunnel::Service {
    fn from(kind: FileSystemKind) -> Self {
        match kind {
            FileSystemKind::Efs => Self::Efs,
            FileSystemKind::S3Files => Self::S3Files,
        }
    }
}

impl From<efs_tunnel::Service> for FileSystemKind {
    fn from(service: efs_tunnel::Service) -> Self {
        match service {
            efs_tunnel::Service::Efs => Self::Efs,
            efs_tunnel::Service::S3Files => Self::S3Files,
        }
    }
}

impl FileSystemKind {
    /// The word in the handle.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Efs => "efs",
            Self::S3Files => "s3files",
        }
    }
}

/// A parsed volume handle. Its `Display` is the form that the Go driver v3 writes, with the service's prefix.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct VolumeId {
    /// The file system.
    pub file_system: FileSystemId,
    /// The directory inside the file system (or inside the access point), lexically cleaned, not empty.
    /// It may be relative, as the Go driver allows; [`VolumeId::subdirectory`] is the rooted form.
    pub path: Option<String>,
    /// The access point, if the volume has one.
    pub access_point: Option<AccessPointId>,
}

impl VolumeId {
    /// The service.
    pub fn kind(&self) -> FileSystemKind {
        self.file_system.kind()
    }

    /// The handle of a volume that is an access point.
    pub fn of_access_point(file_system: FileSystemId, access_point: AccessPointId) -> Self {
        Self { file_system, path: None, access_point: Some(access_point) }
    }

    /// The handle of a volume that is a plain directory of a file system. `path` is absolute and clean.
    pub fn of_directory(file_system: FileSystemId, path: String) -> Self {
        Self { file_system, path: Some(path), access_point: None }
    }

    /// The directory to mount, absolute, without `.`, `..` or repeated slashes; `/` when the handle names none.
    pub fn subdirectory(&self) -> String {
        clean_path(&format!("/{}", self.path.as_deref().unwrap_or_default()))
    }
}

impl FromStr for VolumeId {
    type Err = IdError;

    fn from_str(handle: &str) -> Result<Self, IdError> {
        let fields: Vec<&str> = handle.split(':').collect();
        let (kind, rest, allowed) = match fields[0] {
            "efs" => (FileSystemKind::Efs, &fields[1..], 4),
            "s3files" => (FileSystemKind::S3Files, &fields[1..], 4),
            _ => (FileSystemKind::Efs, &fields[..], 3),
        };
        if fields.len() > allowed {
            return Err(IdError::TooManyFields { handle: cut(handle), found: fields.len(), allowed });
        }
        let invalid = |reason: String| IdError::Handle { handle: cut(handle), reason };
        let file_system = rest.first().copied().unwrap_or_default();
        let file_system: FileSystemId = file_system.parse().map_err(|e: IdError| invalid(e.to_string()))?;
        let path = rest.get(1).copied().unwrap_or_default();
        if path.chars().any(char::is_control) {
            return Err(invalid(format!("path {:?} holds a control character", cut(path))));
        }
        let path = (!path.is_empty()).then(|| clean_path(path));
        let access_point = match rest.get(2).copied().unwrap_or_default() {
            "" => None,
            id => Some(id.parse().map_err(|e: IdError| invalid(e.to_string()))?),
        };
        Ok(Self { file_system: file_system.of(kind), path, access_point })
    }
}

impl fmt::Display for VolumeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.kind().as_str(), self.file_system)?;
        if self.path.is_some() || self.access_point.is_some() {
            write!(f, ":{}", self.path.as_deref().unwrap_or_default())?;
        }
        if let Some(access_point) = &self.access_point {
            write!(f, ":{access_point}")?;
        }
        Ok(())
    }
}

/// Cleans a slash-separated path by its text alone, like Go's `path.Clean`: no `.`, no inner `..`, no repeated or trailing
/// slashes. A rooted path never rises above `/`; a relative one keeps its leading `..`. The empty path becomes `.`.
pub fn clean_path(path: &str) -> String {
    let rooted = path.starts_with('/');
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." if parts.last().is_some_and(|last| *last != "..") => {
                parts.pop();
            }
            ".." if rooted => {}
            part => parts.push(part),
        }
    }
    match (rooted, parts.is_empty()) {
        (true, _) => format!("/{}", parts.join("/")),
        (false, true) => ".".to_owned(),
        (false, false) => parts.join("/"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const FS: &str = "fs-0123456789abcdef0";
    const AP: &str = "fsap-0123456789abcdef0";

    fn parse(handle: &str) -> VolumeId {
        handle.parse().unwrap()
    }

    #[test]
    fn both_generations_of_handles_mean_the_same_volume() {
        for handle in [format!("efs:{FS}::{AP}"), format!("{FS}::{AP}")] {
            let id = parse(&handle);
            assert_eq!((id.kind(), id.file_system.as_str(), id.path.as_deref()), (FileSystemKind::Efs, FS, None));
            assert_eq!(id.access_point.as_ref().unwrap().as_str(), AP);
            assert_eq!(id.to_string(), format!("efs:{FS}::{AP}"));
        }
    }

    #[test]
    fn trailing_empty_fields_are_fine() {
        for handle in [FS.to_owned(), format!("{FS}:"), format!("{FS}::"), format!("efs:{FS}::")] {
            assert_eq!(parse(&handle).to_string(), format!("efs:{FS}"), "{handle}");
        }
    }

    #[test]
    fn a_path_is_cleaned_and_rooted_on_use() {
        assert_eq!(parse(&format!("{FS}:/a//b/../c/")).path.as_deref(), Some("/a/c"));
        assert_eq!(parse(&format!("{FS}:../../etc")).path.as_deref(), Some("../../etc"));
        assert_eq!(parse(&format!("{FS}:../../etc")).subdirectory(), "/etc");
        assert_eq!(parse(FS).subdirectory(), "/");
    }

    #[test]
    fn s3files_handles_are_told_apart() {
        let id = parse(&format!("s3files:{FS}:data:{AP}"));
        assert_eq!((id.kind(), id.path.as_deref()), (FileSystemKind::S3Files, Some("data")));
        assert_eq!(id.to_string(), format!("s3files:{FS}:data:{AP}"));
    }

    #[test]
    fn malformed_handles_are_refused_with_the_handle_and_the_rule() {
        let bad = [
            "",
            "efs",
            "efs:",
            "fake-vol-id",
            "fs-123",
            "fs-0123456G",
            "fs-0123ABCD",
            "fs-01234567:/:fsap-1,port=1",
            "fs-01234567:a:fsap-01234567:b",
            "efs:fs-01234567:a:fsap-01234567:b",
            "nfs:fs-01234567",
            "fs-01234567:/a\nb",
            "fs-01234567,tls",
        ];
        for handle in bad {
            let message = handle.parse::<VolumeId>().unwrap_err().to_string();
            assert!(message.contains(&format!("{handle:?}")), "{handle:?}: {message}");
        }
        let message = "fs-01234567::fsap-x".parse::<VolumeId>().unwrap_err().to_string();
        assert!(message.contains("fsap-[0-9a-f]{8,40}"), "{message}");
    }

    /// A comma would end a mount option and begin another.
    #[test]
    fn nothing_but_hex_digits_makes_an_id() {
        for c in (0..=0x17f).filter_map(char::from_u32) {
            let is_digit = matches!(c, '0'..='9' | 'a'..='f');
            assert_eq!(format!("fs-0123456{c}").parse::<FileSystemId>().is_ok(), is_digit, "{c:?}");
            assert_eq!(format!("fsap-{c}0123456").parse::<AccessPointId>().is_ok(), is_digit, "{c:?}");
            let handle = format!("fs-01234567::fsap-0123456{c}");
            assert_eq!(handle.parse::<VolumeId>().is_ok(), is_digit, "{c:?}");
        }
        for (digits, is_id) in [(0, false), (7, false), (8, true), (40, true), (41, false)] {
            assert_eq!(format!("fs-{}", "0".repeat(digits)).parse::<FileSystemId>().is_ok(), is_id, "{digits}");
        }
    }

    #[test]
    fn paths_are_cleaned_like_go_does() {
        for (path, clean) in [
            ("", "."),
            ("/", "/"),
            ("//", "/"),
            ("/../a", "/a"),
            ("a/../..", ".."),
            ("../../x", "../../x"),
            ("a/./b//c/", "a/b/c"),
            ("/a/b/../../..", "/"),
        ] {
            assert_eq!(clean_path(path), clean, "{path:?}");
        }
    }

    proptest! {
        #[test]
        fn display_and_parse_are_inverse(
            kind in prop_oneof![Just(FileSystemKind::Efs), Just(FileSystemKind::S3Files)],
            fs in "fs-[0-9a-f]{8,40}",
            path in proptest::option::of("/?[a-z .,=]{1,8}(/[a-z.]{1,6}){0,3}"),
            ap in proptest::option::of("fsap-[0-9a-f]{8,40}"),
        ) {
            let id = VolumeId {
                file_system: fs.parse::<FileSystemId>().unwrap().of(kind),
                path: path.map(|p| clean_path(&p)),
                access_point: ap.map(|a| a.parse().unwrap()),
            };
            prop_assert_eq!(id.to_string().parse::<VolumeId>().unwrap(), id);
        }

        #[test]
        fn no_text_makes_the_parser_panic_or_leak_an_option(text in "\\PC{0,80}") {
            if let Ok(id) = text.parse::<VolumeId>() {
                prop_assert!(!id.file_system.as_str().contains([',', ' ', '\n']));
                prop_assert!(id.subdirectory().starts_with('/'));
            }
        }

        #[test]
        fn a_rooted_path_never_rises_above_the_root(path in "(/|\\.\\.|\\.|[a-z]{1,3}){0,12}") {
            let clean = clean_path(&format!("/{path}"));
            prop_assert!(clean.starts_with('/'));
            prop_assert!(clean.split('/').all(|part| part != ".." && part != "."));
            prop_assert_eq!(clean_path(&clean), clean);
        }
    }
}
