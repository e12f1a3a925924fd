//! The Linux kernel's own NFS server, mounted.

use super::{Running, folder};
use crate::lab::knfsd;

/// Starts it on a tmpfs of its own.
pub(super) fn start(name: &str) -> anyhow::Result<Running> {
    let folder = folder(name);
    Running::mount(knfsd::start(&folder)?, &folder)
}
