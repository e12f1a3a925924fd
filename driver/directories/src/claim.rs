//! The right of a volume to a directory, as it is noted on the file system.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::path::DirectoryPath;

/// What names a claim, whatever directory and volume it is for. A UUID in hex.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ClaimId(pub(crate) String);

impl ClaimId {
    /// A new one.
    pub fn random() -> Self {
        Self(uuid::Uuid::new_v4().simple().to_string())
    }

    /// As text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ClaimId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What kind of volume has a directory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Owner {
    /// A directory volume, with what was asked for.
    Directory {
        /// Owning user.
        uid: u32,
        /// Owning group.
        gid: u32,
        /// Mode, in octal digits.
        permissions: String,
        /// Bytes that it was made for.
        capacity: i64,
    },
    /// Volumes with access points whose class lets several of them share one directory.
    AccessPoints,
}

/// How the directory came about. Only what the driver made is ever removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Origin {
    /// Made for the volume: it was not there before.
    Made,
    /// There before.
    Adopted,
    /// Noted by a driver that did not tell the two apart.
    Unknown,
}

/// A claim on a directory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claim {
    /// The claim's own name.
    pub id: ClaimId,
    /// The volume's name.
    pub volume: String,
    /// The directory.
    pub path: DirectoryPath,
    /// For whom.
    pub owner: Owner,
    /// How the directory came about.
    pub origin: Origin,
    /// The directory's file id, where the driver has seen the directory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file_id: Option<u64>,
    /// The cluster that made the claim, if it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster: Option<String>,
}

impl Claim {
    /// Capacity in bytes that the claim was made with.
    pub fn capacity(&self) -> i64 {
        match self.owner {
            Owner::Directory { capacity, .. } => capacity,
            Owner::AccessPoints => 0,
        }
    }

    /// Whether it is that of a directory volume.
    pub fn is_directory_volume(&self) -> bool {
        matches!(self.owner, Owner::Directory { .. })
    }
}
