//! Drivers that register, as a kubelet sees them, and the calls that it makes to them.

use std::collections::HashMap;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use csi_proto::csi::node_client::NodeClient;
use csi_proto::registration::registration_client::RegistrationClient;
use csi_proto::registration::{InfoRequest, RegistrationStatus};
use tokio::task::JoinHandle;
use tonic::transport::{Channel, Endpoint};

use super::pod::Node;

/// A kubelet hears of new sockets at once; here its directory is read this often.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// What happened to a plug-in's registration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// A kubelet learnt of it, and may use it from now on.
    Registered,
    /// Its socket went or was replaced by another one, which a kubelet takes for the end of one plug-in and the begin of the
    /// next: for a second or more no pod with such a volume starts.
    Unregistered,
}

/// The kubelet's watch over its directory of registration sockets.
#[derive(Debug)]
pub struct Plugins {
    node: Arc<Node>,
    seen: Arc<Mutex<Seen>>,
    watch: JoinHandle<()>,
}

#[derive(Debug, Default)]
struct Seen {
    events: Vec<(Instant, Event)>,
    /// The inode of each socket, and where the plug-in serves CSI.
    registered: HashMap<PathBuf, (u64, String)>,
}

impl Plugins {
    /// Watches until it is dropped.
    pub fn watch(node: Arc<Node>) -> Self {
        let seen = Arc::new(Mutex::default());
        let (directory, into) = (node.host.at("/var/lib/kubelet/plugins_registry"), Arc::clone(&seen));
        let watch = tokio::spawn(async move {
            loop {
                look(&directory, &into).await;
                tokio::time::sleep(LOOK_EVERY).await;
            }
        });
        Self { node, seen, watch }
    }

    /// What has happened so far.
    pub fn events(&self) -> Vec<Event> {
        lock(&self.seen).events.iter().map(|(_, event)| *event).collect()
    }

    /// A client of the registered driver. Kubelets make a connection for each call.
    pub async fn node_client(&self) -> anyhow::Result<NodeClient<Channel>> {
        let endpoint = lock(&self.seen).registered.values().next().map(|(_, endpoint)| endpoint.clone());
        let socket = self.node.host.at(endpoint.context("no driver is registered")?);
        let channel = Endpoint::from_shared(format!("unix://{}", socket.display()))?.connect().await?;
        Ok(NodeClient::new(channel))
    }
}

impl Drop for Plugins {
    fn drop(&mut self) {
        self.watch.abort();
    }
}

async fn look(directory: &Path, seen: &Mutex<Seen>) {
    let mut present = HashMap::new();
    for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
        // Kubelets leave names with a leading dot alone.
        if !entry.file_name().to_string_lossy().starts_with('.')
            && let Ok(found) = entry.metadata()
        {
            present.insert(entry.path(), found.ino());
        }
    }
    let gone: Vec<PathBuf> = {
        let seen = lock(seen);
        let kept = |path: &PathBuf, inode: u64| present.get(path) == Some(&inode);
        seen.registered.iter().filter(|(path, (inode, _))| !kept(path, *inode)).map(|(path, _)| path.clone()).collect()
    };
    for path in gone {
        let mut seen = lock(seen);
        seen.registered.remove(&path);
        seen.events.push((Instant::now(), Event::Unregistered));
    }
    for (path, inode) in present {
        if lock(seen).registered.contains_key(&path) {
            continue;
        }
        // A socket that nobody serves yet is tried again, as kubelets do it.
        if let Ok(endpoint) = register(&path).await {
            let mut seen = lock(seen);
            seen.registered.insert(path, (inode, endpoint));
            seen.events.push((Instant::now(), Event::Registered));
        }
    }
}

async fn register(socket: &Path) -> anyhow::Result<String> {
    let channel = Endpoint::from_shared(format!("unix://{}", socket.display()))?.connect().await?;
    let mut client = RegistrationClient::new(channel);
    let info = client.get_info(InfoRequest {}).await?.into_inner();
    let status = RegistrationStatus { plugin_registered: true, error: String::new() };
    client.notify_registration_status(status).await?;
    Ok(info.endpoint)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
