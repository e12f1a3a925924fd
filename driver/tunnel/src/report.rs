//! What a tunnel tells about itself.

use std::sync::atomic::Ordering::Relaxed;

use serde::{Deserialize, Serialize};

use crate::failure::FailureKind;
use crate::identity::IamSource;
use crate::mux::UpstreamReport;
use crate::tunnel::Tunnel;

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
    /// What each of those that may have several has carried, the oldest first.
    #[serde(default)]
    pub upstream: Vec<UpstreamReport>,
    /// Connections to the mount target that were added because a mount was busy.
    #[serde(default)]
    pub added_connections: u64,
    /// Seconds since one of them began to answer again that had not for a second and more.
    #[serde(default)]
    pub last_stall: Option<u64>,
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
    /// The error and for how many seconds, while the mount target is out of reach or the data plane does not answer.
    pub trouble: Option<(String, u64)>,
    /// What kind of error that is.
    #[serde(default)]
    pub trouble_kind: Option<FailureKind>,
    /// Why the client certificate that is in use can't be renewed and for how many seconds, while it is time to.
    #[serde(default)]
    pub not_renewed: Option<(String, u64)>,
}

impl TunnelReport {
    /// What `tunnel` tells now.
    pub fn new(tunnel: &Tunnel) -> Self {
        let (spec, counters) = (tunnel.spec(), tunnel.counters());
        let trouble = tunnel.trouble();
        Self {
            port: tunnel.port(),
            file_system: spec.file_system.clone(),
            access_point: spec.access_point.clone(),
            iam: spec.iam.as_ref().map(|source| match source {
                IamSource::Default => "default".to_owned(),
                IamSource::Profile(name) => format!("profile {name}"),
                IamSource::WebIdentity { role, .. } => format!("web identity {role}"),
                IamSource::Pod(identity) => identity.to_string(),
            }),
            connections: tunnel.active(),
            connected: counters.connected.load(Relaxed),
            reconnected: counters.reconnected.load(Relaxed),
            multiplexed: counters.multiplexed.connections.load(Relaxed),
            partition: tunnel.partition().map(|partition| format!("{partition:?}")),
            lost_connections: counters.multiplexed.lost.load(Relaxed),
            resent_calls: counters.multiplexed.resent.load(Relaxed),
            upstream: counters.multiplexed.each(),
            added_connections: counters.multiplexed.added.load(Relaxed),
            last_stall: counters.multiplexed.since_stall().map(|ago| ago.as_secs()),
            sent_bytes: counters.traffic.sent.load(Relaxed),
            received_bytes: counters.traffic.received.load(Relaxed),
            handshakes: tunnel.handshakes().succeeded(),
            handshake_failures: tunnel.handshakes().failed(),
            dial_failures: counters.dial_failures.load(Relaxed),
            refused: counters.refused.load(Relaxed),
            certificate_expires_in: tunnel.certificate_expires_in().map(|left| left.as_secs()),
            trouble_kind: trouble.as_ref().map(|(error, _)| error.kind),
            trouble: trouble.map(|(error, since)| (error.message, since.as_secs())),
            not_renewed: tunnel.not_renewed().map(|(error, since)| (error, since.as_secs())),
        }
    }
}
