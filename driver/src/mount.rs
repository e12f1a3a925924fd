//! Kernel mounts: options, the calls themselves, and the table of what is mounted.
//!
//! Every call that may hang on a dead server runs in a child process with a deadline, because a process can be killed
//! and a thread cannot.
//!
//! - [`client_name`]: one NFS client of the kernel for each way to a server
//! - [`options`]: mount options as types, checked before the kernel sees them
//! - [`kernel`]: fsopen, fsconfig, fsmount, move_mount, umount2, statfs
//! - [`worker`]: the child process that makes these calls, and its parent's side
//! - [`mountinfo`]: the table of mounts

pub mod client_name;
pub mod kernel;
pub mod mountinfo;
pub mod options;
pub mod worker;

pub use kernel::{Job, JobError, Outcome};
pub use options::MountOptions;
pub use worker::{Worker, WorkerError};
