//! tmpfs: no network and no server, only Linux. It shows what the cases owe to NFS.

use super::{Running, folder};
use crate::lab::mounts::Mounted;

/// A tmpfs, shown at two places.
pub(super) fn tmpfs(name: &str) -> anyhow::Result<Running> {
    let folder = folder(name);
    let first = Mounted::tmpfs(&folder.join("first"))?;
    let second = Mounted::bind(first.path(), &folder.join("second"))?;
    Ok(Running { first, second, _servers: Vec::new() })
}
