//! nfs-ganesha, mounted.

use super::{Running, folder};
use crate::lab::ganesha;

/// Starts it on a tmpfs of its own.
pub(super) fn start(name: &str) -> anyhow::Result<Running> {
    let folder = folder(name);
    Running::mount(ganesha::start(&folder)?, &folder)
}
