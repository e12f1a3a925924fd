//! What volumes own on a file system, kept on the file system itself.
//!
//! Two drivers that never heard of each other may work on one file system, and either may die between any two calls. So what
//! belongs to whom is not decided by names at the time of a call, but by a *claim*: a symbolic link in a folder of the file system,
//! made in one step with its text, that names the directory by path and by file id, and stays until the directory has been moved to
//! the trash.
//!
//! - [`path`]: paths as components
//! - [`files`]: the few operations on files that all of this needs, by handle
//! - [`nfs`]: these operations through a user-space NFS client
//! - [`walk`]: ways to a directory that no symbolic link can bend
//! - [`claim`]: whose a directory is
//! - [`ledger`]: claims; no two directories are equal or one inside the other
//! - [`volumes`]: directories made and given up under a claim
//! - [`trash`]: where deleted directories wait, and the intents of deletions that were cut off
//! - [`deletion`]: a directory volume's deletion beside other calls for it
//! - [`error`]: what can go wrong
//!
//! The crate knows NFS and paths. It knows neither CSI nor AWS.

pub mod claim;
pub mod deletion;
pub mod error;
pub mod files;
pub mod ledger;
pub mod nfs;
pub mod path;
pub mod trash;
pub mod volumes;
pub mod walk;

pub use claim::{Claim, ClaimId, Origin, Owner};
pub use error::{DirectoryError, Doing};
pub use files::{Files, FilesError, Handle, Kind, Node};
pub use ledger::Ledger;
pub use path::{DirectoryPath, PathError, Relation};
pub use trash::{Entry, Trash};
