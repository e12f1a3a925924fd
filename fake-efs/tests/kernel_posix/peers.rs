//! The servers that the cases run against.

mod fake;
mod ganesha;
mod knfsd;
mod local;

use std::any::Any;
use std::path::{Path, PathBuf};

use anyhow::Context as _;

use crate::lab::mounts::Mounted;
use crate::lab::reference::Reference;
use crate::lab::{ganesha as ganesha_server, knfsd as knfsd_server};

/// A server, how it is started and why it might not be there.
#[derive(Clone, Copy)]
pub(crate) struct Peer {
    /// Its name in the names of trials and in the table of differences.
    pub(crate) name: &'static str,
    /// Whether it runs only when everything is asked for (`MOUNTS_FULL=1`), to keep the usual run short.
    pub(crate) only_in_full: bool,
    /// Why it can't be started here, if so.
    pub(crate) missing: fn() -> Option<String>,
    start: Start,
}

/// Starts a peer that is called so.
type Start = fn(&str) -> anyhow::Result<Running>;

impl Peer {
    /// Starts it and mounts it twice.
    pub(crate) fn start(&self) -> anyhow::Result<Running> {
        (self.start)(self.name)
    }
}

/// A server that is mounted twice. The mounts go before the server.
pub(crate) struct Running {
    /// A mount as pods have it.
    pub(crate) first: Mounted,
    /// Another one that caches nothing.
    pub(crate) second: Mounted,
    /// What must live as long as the mounts.
    _servers: Vec<Box<dyn Any + Send>>,
}

impl Running {
    /// Mounts a server that others wrote.
    fn mount(server: Reference, folder: &Path) -> anyhow::Result<Self> {
        let (address, export) = (server.address, server.export);
        let first = Mounted::nfs(address, export, &folder.join("first"), "").context("the first mount")?;
        let second = Mounted::nfs(address, export, &folder.join("second"), UNCACHED).context("the second mount")?;
        Ok(Self { first, second, _servers: vec![Box::new(server)] })
    }
}

/// Further options of the second mount.
const UNCACHED: &str = ",actimeo=0,lookupcache=none";

/// A folder of this peer on the guest's tmpfs.
fn folder(peer: &str) -> PathBuf {
    std::env::temp_dir().join(format!("kernel-posix-{peer}-{}", std::process::id()))
}

/// All peers in the order in which they run.
pub(crate) fn all() -> Vec<Peer> {
    let present: fn() -> Option<String> = || None;
    let peer = |name, only_in_full, missing, start| Peer { name, only_in_full, missing, start };
    vec![
        peer("memory-plain", false, present, fake::memory_plain as Start),
        peer("memory-tls", false, present, fake::memory_tls),
        peer("directory-plain", false, present, fake::directory_plain),
        peer("directory-tls", false, present, fake::directory_tls),
        peer("tmpfs", true, present, local::tmpfs),
        peer("ganesha", false, ganesha_server::missing, ganesha::start),
        peer("knfsd", false, knfsd_server::missing, knfsd::start),
    ]
}
