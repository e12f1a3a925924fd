//! What the node service tells about itself: its tunnels, mounts and walks, for the admin socket.

use efs_tunnel::{IamSource, Tunnel};
use serde::{Deserialize, Serialize};

use super::State;
use super::records::{Reached, Record};
use super::usage::WalkState;
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
}

/// One tunnel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TunnelReport {
    /// The local port.
    pub port: u16,
    /// The file system.
    pub file_system: String,
    /// The access point, if the mount goes through one.
    pub access_point: Option<String>,
    /// Where IAM credentials come from, for mounts with IAM authorization.
    pub iam: Option<String>,
    /// Connections now.
    pub connections: usize,
    /// Connections made.
    pub connected: u64,
    /// Connections made in place of lost ones.
    pub reconnected: u64,
    /// Connections to the mount target of those that may have several.
    #[serde(default)]
    pub multiplexed: usize,
    /// The partition of the mount target that they lead to.
    #[serde(default)]
    pub partition: Option<String>,
    /// Connections to the mount target that were lost while others went on.
    #[serde(default)]
    pub lost_connections: u64,
    /// Calls that were sent again on another connection.
    #[serde(default)]
    pub resent_calls: u64,
    /// Bytes from the kernel to the mount target.
    pub sent_bytes: u64,
    /// Bytes from the mount target to the kernel.
    pub received_bytes: u64,
    /// TLS handshakes that succeeded.
    pub handshakes: u64,
    /// TLS handshakes that failed.
    pub handshake_failures: u64,
    /// Attempts to reach the mount target that failed, handshakes included.
    pub dial_failures: u64,
    /// Local connections turned away because they weren't the kernel's.
    pub refused: u64,
    /// Seconds until the client certificate expires. It is renewed long before, at the first connection that needs it.
    pub certificate_expires_in: Option<u64>,
    /// The error and for how many seconds, while the mount target is out of reach.
    pub trouble: Option<(String, u64)>,
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

impl TunnelReport {
    /// The numbers of a tunnel now.
    pub(super) fn new(tunnel: &Tunnel) -> Self {
        use std::sync::atomic::Ordering::Relaxed;
        let (spec, counters) = (tunnel.spec(), tunnel.counters());
        Self {
            port: tunnel.port(),
            file_system: spec.file_system.clone(),
            access_point: spec.access_point.clone(),
            iam: spec.iam.as_ref().map(|source| match source {
                IamSource::Default => "default".to_owned(),
                IamSource::Profile(name) => format!("profile {name}"),
                IamSource::WebIdentity { role, .. } => format!("web identity {role}"),
            }),
            connections: tunnel.active(),
            connected: counters.connected.load(Relaxed),
            reconnected: counters.reconnected.load(Relaxed),
            multiplexed: counters.multiplexed.connections.load(Relaxed),
            partition: tunnel.partition().map(|partition| format!("{partition:?}")),
            lost_connections: counters.multiplexed.lost.load(Relaxed),
            resent_calls: counters.multiplexed.resent.load(Relaxed),
            sent_bytes: counters.traffic.sent.load(Relaxed),
            received_bytes: counters.traffic.received.load(Relaxed),
            handshakes: tunnel.handshakes().succeeded(),
            handshake_failures: tunnel.handshakes().failed(),
            dial_failures: counters.dial_failures.load(Relaxed),
            refused: counters.refused.load(Relaxed),
            certificate_expires_in: tunnel.certificate_expires_in().map(|left| left.as_secs()),
            trouble: tunnel.trouble().map(|(error, since)| (error, since.as_secs())),
        }
    }
}

impl State {
    /// The state of the node service now. Looks at no mounted file system, so it answers when a server hangs.
    pub(super) fn report(&self) -> NodeReport {
        let mounts = mountinfo::table();
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
                        Ok(_) if record.port().is_some() && published.lease.is_none() => Some(
                            "the tunnel's port is taken, by another program or by a port keeper that does not answer"
                                .to_owned(),
                        ),
                        Ok(_) => None,
                    },
                }
            })
            .collect();
        drop(published);
        list.sort_by(|a, b| a.target.cmp(&b.target));
        NodeReport {
            tunnels: self.tunnels.list().iter().map(|tunnel| TunnelReport::new(tunnel)).collect(),
            mounts: list,
            walks: self.walks.as_ref().map(super::usage::Walks::list).unwrap_or_default(),
        }
    }
}

fn is_mounted(record: &Record, mounts: &[MountEntry]) -> bool {
    mounts.iter().any(|mount| mount.mount_point == record.target && mount.is_nfs())
}
