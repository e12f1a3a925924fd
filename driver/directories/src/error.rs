//! What can go wrong with directories. Messages name the directory and say what to do.

use efs_common::retry::Retry;

use crate::claim::Claim;
use crate::files::FilesError;
use crate::path::{DirectoryPath, Relation};

/// What the driver was about to do; the beginning of a message.
pub type Doing = String;

/// A failure.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DirectoryError {
    /// The file system could not be asked, or refused.
    #[error("cannot {doing}: {source}")]
    Files {
        /// What.
        doing: Doing,
        /// Why.
        #[source]
        source: FilesError,
    },
    /// A symbolic link stands where a directory should be. Following it could lead into somebody else's files.
    #[error(
        "directory {path}: {at} is a symbolic link, which the driver does not follow; name the directory that it points to, or \
         remove the link"
    )]
    Link {
        /// The directory.
        path: DirectoryPath,
        /// Where the link is.
        at: DirectoryPath,
    },
    /// A file stands where a directory should be.
    #[error("directory {path}: {at} is not a directory; choose another directory, or remove what is there")]
    NotDirectory {
        /// The directory.
        path: DirectoryPath,
        /// Where the file is.
        at: DirectoryPath,
    },
    /// Another volume has the directory, one around it or one in it.
    #[error("directory {path} {} volume {:?} (its directory is {}); choose another directory", lies(*.relation), .owner.volume, .owner.path)]
    Taken {
        /// The directory asked for.
        path: DirectoryPath,
        /// How the directory asked for lies to the owner's.
        relation: Relation,
        /// Who has it.
        owner: Box<Claim>,
    },
    /// The directory was there before and nobody said that it may be used.
    #[error(
        "directory {path} exists already and no volume of this driver owns it; choose another directory, or use it as it is with \
         adoptDirectory=\"true\" (it then keeps owner and mode, and is never removed)"
    )]
    Exists {
        /// The directory.
        path: DirectoryPath,
    },
    /// Something stands where a directory should be restored to.
    #[error("directory {path} exists already; choose another place with --to")]
    Occupied {
        /// The directory.
        path: DirectoryPath,
    },
    /// The directory that should be adopted isn't there.
    #[error("directory {path} does not exist, so it can't be adopted; make it first, or leave adoptDirectory out")]
    Missing {
        /// The directory.
        path: DirectoryPath,
    },
    /// A volume of this name exists elsewhere on the file system.
    #[error("volume {:?} has directory {} already", .0.volume, .0.path)]
    Elsewhere(Box<Claim>),
    /// Somebody else changes the same thing at this moment.
    #[error("directory {path}: {what}; the call can be repeated")]
    Contended {
        /// The directory.
        path: DirectoryPath,
        /// What was seen.
        what: String,
    },
    /// A note holds what no driver of this version writes.
    #[error("{at}: {reason}; nothing is changed")]
    Unreadable {
        /// The note.
        at: String,
        /// Why.
        reason: String,
    },
}

impl DirectoryError {
    /// Wraps a failure with what was being done.
    pub fn files(doing: impl Into<Doing>) -> impl FnOnce(FilesError) -> Self {
        move |source| Self::Files { doing: doing.into(), source }
    }

    /// Whether the same call is worth another try.
    pub fn retry(&self) -> Retry {
        match self {
            // A handle that was good a moment ago: somebody has exchanged the directory meanwhile, and the next call finds the new one.
            Self::Files { source: FilesError::Lost(_) | FilesError::Stale, .. } | Self::Contended { .. } => {
                Retry::Later
            }
            _ => Retry::Never,
        }
    }
}

fn lies(relation: Relation) -> &'static str {
    match relation {
        Relation::Same => "belongs to",
        Relation::Inside => "lies inside that of",
        Relation::Around => "would hold that of",
        Relation::Apart => "is contested by",
    }
}
