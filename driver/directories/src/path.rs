//! Paths as lists of components, so that `//a/./b/` and `/a/b` are one path and the root is none.

use std::fmt;
use std::str::FromStr;

/// The beginning of the names that the driver keeps for itself at the root of a file system. EFS lets no access point have a
/// root directory whose name begins with a dot, so no volume can be there.
pub const OWN_PREFIX: &str = ".efs-csi";

/// A directory below the root of a file system: at least one component, none of them empty, `.` or `..`.
///
/// Components are compared byte by byte, as the file system does: other cases and other Unicode forms are other names.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DirectoryPath(Vec<String>);

/// Why a text is no [`DirectoryPath`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// It is the file system itself.
    #[error("is the root of the file system, not a directory of its own")]
    Root,
    /// It leads upwards.
    #[error("must not contain \"..\"")]
    Parent,
    /// It is one of the driver's own.
    #[error("{0:?} belongs to the driver itself")]
    Reserved(String),
    /// A component that no file system takes.
    #[error("component {0:?} holds a NUL character or has more than 255 bytes")]
    Component(String),
}

/// How one directory lies to another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Relation {
    /// They are the same.
    Same,
    /// The first lies inside the second.
    Inside,
    /// The first holds the second.
    Around,
    /// Neither holds the other.
    Apart,
}

impl DirectoryPath {
    /// The components, from the root downwards.
    pub fn components(&self) -> impl DoubleEndedIterator<Item = &str> + ExactSizeIterator {
        self.0.iter().map(String::as_str)
    }

    /// The last component.
    pub fn name(&self) -> &str {
        self.0.last().map_or("", String::as_str)
    }

    /// The directories around this one, the outermost first, without the root.
    pub fn ancestors(&self) -> impl Iterator<Item = Self> + '_ {
        (1..self.0.len()).map(|n| Self(self.0[..n].to_vec()))
    }

    /// The directory that holds this one; nothing when that is the root.
    pub fn parent(&self) -> Option<Self> {
        (self.0.len() > 1).then(|| Self(self.0[..self.0.len() - 1].to_vec()))
    }

    /// A directory in this one.
    ///
    /// # Errors
    /// When `name` is not a single component.
    pub fn join(&self, name: &str) -> Result<Self, PathError> {
        if name.contains('/') {
            return Err(PathError::Component(name.to_owned()));
        }
        format!("{self}/{name}").parse()
    }

    /// How this directory lies to `other`.
    pub fn relation(&self, other: &Self) -> Relation {
        let common = self.0.iter().zip(&other.0).take_while(|(a, b)| a == b).count();
        match (common == self.0.len(), common == other.0.len()) {
            (true, true) => Relation::Same,
            (false, true) => Relation::Inside,
            (true, false) => Relation::Around,
            (false, false) => Relation::Apart,
        }
    }
}

impl FromStr for DirectoryPath {
    type Err = PathError;

    fn from_str(text: &str) -> Result<Self, PathError> {
        let mut components = Vec::new();
        for part in text.split('/').filter(|part| !part.is_empty() && *part != ".") {
            if part == ".." {
                return Err(PathError::Parent);
            }
            if components.is_empty() && part.starts_with(OWN_PREFIX) {
                return Err(PathError::Reserved(part.to_owned()));
            }
            if part.contains('\0') || part.len() > 255 {
                return Err(PathError::Component(part.to_owned()));
            }
            components.push(part.to_owned());
        }
        if components.is_empty() { Err(PathError::Root) } else { Ok(Self(components)) }
    }
}

impl fmt::Display for DirectoryPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|component| write!(f, "/{component}"))
    }
}

impl serde::Serialize for DirectoryPath {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> serde::Deserialize<'de> for DirectoryPath {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn path(text: &str) -> DirectoryPath {
        text.parse().unwrap()
    }

    #[test]
    fn spellings_of_one_path_are_equal() {
        for spelling in ["/a/b", "a/b", "//a///b//", "/./a/./b/.", "a/b/"] {
            assert_eq!(path(spelling), path("/a/b"), "{spelling}");
            assert_eq!(path(spelling).to_string(), "/a/b");
        }
    }

    #[test]
    fn other_cases_and_unicode_forms_are_other_paths() {
        assert_ne!(path("/Data"), path("/data"));
        assert_ne!(path("/caf\u{e9}"), path("/cafe\u{301}"));
        assert_eq!(path("/caf\u{e9}").relation(&path("/cafe\u{301}")), Relation::Apart);
    }

    #[test]
    fn the_root_what_leads_upwards_and_the_drivers_own_are_refused() {
        for root in ["", "/", "//", ".", "/./"] {
            assert_eq!(root.parse::<DirectoryPath>(), Err(PathError::Root), "{root:?}");
        }
        assert_eq!("/a/../b".parse::<DirectoryPath>(), Err(PathError::Parent));
        for own in ["/.efs-csi-deleted", ".efs-csi-volumes/x", "//.efs-csi/"] {
            assert!(matches!(own.parse::<DirectoryPath>(), Err(PathError::Reserved(_))), "{own}");
        }
        assert_eq!(path("/a/.efs-csi-deleted").to_string(), "/a/.efs-csi-deleted");
        assert!(matches!("/a\0b".parse::<DirectoryPath>(), Err(PathError::Component(_))));
        assert!("x".repeat(256).parse::<DirectoryPath>().is_err());
        assert!(path("/a").join("b/c").is_err());
    }

    #[test]
    fn names_that_merely_begin_alike_are_apart() {
        assert_eq!(path("/base").relation(&path("/basement")), Relation::Apart);
        assert_eq!(path("/base/x").relation(&path("/base")), Relation::Inside);
        assert_eq!(path("/base").relation(&path("/base/x/y")), Relation::Around);
        assert_eq!(path("/a/b/c").ancestors().map(|it| it.to_string()).collect::<Vec<_>>(), ["/a", "/a/b"]);
    }

    proptest! {
        #[test]
        fn relations_are_mirrored(a in "(/[ab]){1,4}", b in "(/[ab]){1,4}") {
            let (a, b) = (path(&a), path(&b));
            let mirrored = match a.relation(&b) {
                Relation::Inside => Relation::Around,
                Relation::Around => Relation::Inside,
                other => other,
            };
            prop_assert_eq!(b.relation(&a), mirrored);
            prop_assert_eq!(a.ancestors().any(|it| it == b), a.relation(&b) == Relation::Inside);
        }
    }
}
