//! What the node service tells about itself: its tunnels, mounts and walks, for the admin socket.

pub use efs_tunnel::report::TunnelReport;
use serde::{Deserialize, Serialize};

use super::State;
use super::records::{Reached, Record};
use super::usage::WalkState;
use crate::efs::pod_identity::store::IdentityReport;
use crate::mount::mountinfo::{self, MountEntry};

/// The state of the node service.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeReport {
    /// Open tunnels by port.
    pub tunnels: Vec<TunnelReport>,
    /// Published targets by path.
    pub mounts: Vec<MountReport>,
    /// Volumes that are or were walked for their statistics.
    pub walks: Vec<WalkState>,
    /// Service accounts whose pods' mounts have their identity.
    #[serde(default)]
    pub pod_identities: Vec<PodIdentityReport>,
}

/// A service account whose pods' mounts have its identity. Holds no token and no credentials.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PodIdentityReport {
    /// The service account, with its role or the word for EKS Pod Identity.
    pub identity: String,
    /// Mounts that have brought a token since the driver has started.
    pub mounts: usize,
    /// Seconds until its credentials end, if it has some.
    pub expires_in: Option<u64>,
    /// Why there are no newer ones, if the last exchange has failed.
    pub trouble: Option<String>,
}

impl From<IdentityReport> for PodIdentityReport {
    fn from(it: IdentityReport) -> Self {
        let IdentityReport { identity, mounts, expires_in, trouble } = it;
        Self { identity: identity.to_string(), mounts, expires_in, trouble }
    }
}

/// One published target.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MountReport {
    /// The target path.
    pub target: String,
    /// The volume's handle.
    pub volume: String,
    /// True for read-only.
    pub read_only: bool,
    /// What the kernel talks to: `127.0.0.1:<port>` of a tunnel, or a mount target.
    pub server: String,
    /// What is wrong with it, if something is.
    pub trouble: Option<String>,
}

impl State {
    /// The state of the node service now, with the tunnels of the last report. Looks at no mounted file system, so it answers when a server
    /// hangs.
    pub(super) fn report(&self) -> NodeReport {
        let mounts = mountinfo::table();
        let is_away = self.plane.is_away();
        let published = self.published();
        let mut list: Vec<_> = published
            .values()
            .map(|published| {
                let record = &published.record;
                MountReport {
                    target: record.target.display().to_string(),
                    volume: record.volume.clone(),
                    read_only: record.mount.options.read_only(),
                    server: match record.reached {
                        Reached::Tunnel(port) => format!("127.0.0.1:{port}"),
                        Reached::Direct(address, port) => std::net::SocketAddr::new(address, port).to_string(),
                    },
                    trouble: match &mounts {
                        Err(error) => Some(format!("the mount table can't be read: {error}")),
                        Ok(mounts) if !is_mounted(record, mounts) => Some("nothing is mounted there".to_owned()),
                        Ok(_) if !published.is_served() => Some(
                            "the tunnel's port is taken, by another program or by a port keeper that does not answer"
                                .to_owned(),
                        ),
                        Ok(_) if is_away && record.port().is_some() => {
                            Some("the data plane, which has its tunnel, does not answer".to_owned())
                        }
                        Ok(_) => None,
                    },
                }
            })
            .collect();
        drop(published);
        list.sort_by(|a, b| a.target.cmp(&b.target));
        NodeReport {
            tunnels: self.plane.last_report(),
            mounts: list,
            walks: self.walks.as_ref().map(super::usage::Walks::list).unwrap_or_default(),
            pod_identities: self.pods.report().into_iter().map(PodIdentityReport::from).collect(),
        }
    }
}

fn is_mounted(record: &Record, mounts: &[MountEntry]) -> bool {
    mounts.iter().any(|mount| mount.mount_point == record.target && mount.is_nfs())
}
