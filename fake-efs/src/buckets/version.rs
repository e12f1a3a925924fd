//! The names of versions.

use std::fmt;
use std::sync::Arc;

/// How long the ids of versions are.
pub(super) const LENGTH: usize = 32;

/// The name of a version.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum VersionId {
    /// Written while the bucket kept no versions; there is one at most.
    Null,
    /// Made up by S3.
    Made(Arc<str>),
}

impl VersionId {
    /// Reads an id; `None` if S3 can't have given it.
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "null" => Some(Self::Null),
            _ if text.len() == LENGTH && text.bytes().all(|b| b.is_ascii_alphanumeric()) => {
                Some(Self::Made(text.into()))
            }
            _ => None,
        }
    }
}

impl fmt::Display for VersionId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => out.write_str("null"),
            Self::Made(id) => out.write_str(id),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_that_nobody_gave_are_refused() {
        assert_eq!(VersionId::parse("null"), Some(VersionId::Null));
        let id = "a1".repeat(16);
        assert_eq!(VersionId::parse(&id).unwrap().to_string(), id);
        assert_eq!(VersionId::parse("x"), None);
        assert_eq!(VersionId::parse(&"/".repeat(32)), None);
    }
}
