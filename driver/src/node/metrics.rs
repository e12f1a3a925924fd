//! Metrics of tunnels, mounts and walks, read when Prometheus asks.
//!
//! There are as many series as there are open tunnels; those of a tunnel end with it.

use std::fmt;
use std::sync::Weak;
use std::time::{Duration, SystemTime};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeGaugeValue, NoLabelSet};
use prometheus_client::metrics::MetricType;

use super::State;
use super::report::{NodeReport, TunnelReport};

/// Reads the numbers of a node service, as long as it exists.
pub(super) struct NodeCollector(Weak<State>);

impl NodeCollector {
    pub(super) fn new(node: Weak<State>) -> Self {
        Self(node)
    }
}

impl fmt::Debug for NodeCollector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NodeCollector").finish_non_exhaustive()
    }
}

impl Collector for NodeCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        match self.0.upgrade() {
            Some(node) => encode(&node.report(), SystemTime::now(), &mut encoder),
            None => Ok(()),
        }
    }
}

/// A counter of tunnels: name, meaning, value.
type TunnelCounter = (&'static str, &'static str, fn(&TunnelReport) -> u64);
/// A gauge of tunnels; `None` where there is no value now.
type TunnelGauge = (&'static str, &'static str, fn(&TunnelReport, Duration) -> Option<i64>);

const COUNTERS: [TunnelCounter; 11] = [
    ("efs_csi_tunnel_connected", "Connections made to the mount target for the kernel", |it| it.connected),
    ("efs_csi_tunnel_reconnected", "Connections that took the place of one that had ended", |it| it.reconnected),
    (
        "efs_csi_tunnel_added_connections",
        "Connections to the mount target that were added because a mount was busy",
        |it| it.added_connections,
    ),
    (
        "efs_csi_tunnel_lost_connections",
        "Connections to the mount target that were lost while others of the same mount went on",
        |it| it.lost_connections,
    ),
    ("efs_csi_tunnel_resent_calls", "Calls that were sent again on another connection", |it| it.resent_calls),
    ("efs_csi_tunnel_sent_bytes", "Bytes from the kernel to the mount target", |it| it.sent_bytes),
    ("efs_csi_tunnel_received_bytes", "Bytes from the mount target to the kernel", |it| it.received_bytes),
    ("efs_csi_tunnel_tls_handshakes", "TLS handshakes that succeeded", |it| it.handshakes),
    ("efs_csi_tunnel_tls_handshake_failures", "TLS handshakes that failed", |it| it.handshake_failures),
    ("efs_csi_tunnel_dial_failures", "Attempts to reach the mount target that failed", |it| it.dial_failures),
    ("efs_csi_tunnel_refused", "Local connections that were not the kernel's", |it| it.refused),
];

const GAUGES: [TunnelGauge; 5] = [
    (
        "efs_csi_tunnel_up",
        "1, or 0 while the mount target is out of reach or the data plane does not answer",
        |it, _| Some(it.trouble.is_none().into()),
    ),
    ("efs_csi_tunnel_connections", "Connections that are carried now", |it, _| it.connections.try_into().ok()),
    (
        "efs_csi_tunnel_multiplexed_connections",
        "Connections to the mount target of mounts that may have several",
        |it, _| it.multiplexed.try_into().ok(),
    ),
    (
        "efs_csi_tunnel_last_stall_timestamp_seconds",
        "When one of several connections last began to answer again that had not for a second and more",
        |it, now| (now.as_secs().saturating_sub(it.last_stall?)).try_into().ok(),
    ),
    (
        "efs_csi_tunnel_certificate_expiry_timestamp_seconds",
        "When the current client certificate expires; the next one is made when 80 % of its renewal interval is over",
        |it, now| (now.as_secs() + it.certificate_expires_in?).try_into().ok(),
    ),
];

fn encode(report: &NodeReport, now: SystemTime, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
    for (name, help, value) in COUNTERS {
        let mut family = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
        for tunnel in &report.tunnels {
            let labels = labels(tunnel);
            family.encode_family(&labels)?.encode_counter::<NoLabelSet, _, u64>(&value(tunnel), None)?;
        }
    }
    let now = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    for (name, help, value) in GAUGES {
        let mut family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
        for tunnel in &report.tunnels {
            let labels = labels(tunnel);
            if let Some(value) = value(tunnel, now) {
                family.encode_family(&labels)?.encode_gauge(&value)?;
            }
        }
    }
    let troubled = report.mounts.iter().filter(|mount| mount.trouble.is_some()).count();
    let walking = report.walks.iter().filter(|walk| walk.running.is_some()).count();
    let failed = report.walks.iter().filter(|walk| walk.failure.is_some()).count();
    plain(encoder, "efs_csi_mounts", "Published targets", report.mounts.len())?;
    plain(encoder, "efs_csi_mounts_troubled", "Published targets that are not mounted or have no tunnel", troubled)?;
    plain(encoder, "efs_csi_volume_walks", "Volumes that are being walked for their statistics", walking)?;
    plain(encoder, "efs_csi_volume_walks_failed", "Volumes whose last walk failed", failed)?;
    let pods = &report.pod_identities;
    let failing = pods.iter().filter(|it| it.trouble.is_some()).count();
    plain(
        encoder,
        "efs_csi_pod_identities",
        "Service accounts whose pods have mounts with an identity of their own",
        pods.len(),
    )?;
    plain(encoder, "efs_csi_pod_identities_failing", "Those whose last exchange of a token has failed", failing)
}

fn plain(encoder: &mut DescriptorEncoder<'_>, name: &str, help: &str, value: impl EncodeGaugeValue) -> fmt::Result {
    encoder.encode_descriptor(name, help, None, MetricType::Gauge)?.encode_gauge(&value)
}

/// A file system has a tunnel for each identity and route, so only the port tells them all apart.
fn labels(tunnel: &TunnelReport) -> [(&'static str, String); 3] {
    [
        ("file_system", tunnel.file_system.clone()),
        ("access_point", tunnel.access_point.clone().unwrap_or_default()),
        ("port", tunnel.port.to_string()),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::Metrics;
    use std::sync::{Arc, Mutex};

    /// Collects a report that the test can change.
    #[derive(Debug)]
    struct Fixed(Arc<Mutex<NodeReport>>);

    impl Collector for Fixed {
        fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
            let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000);
            encode(&self.0.lock().expect("lock"), now, &mut encoder)
        }
    }

    fn tunnel(port: u16) -> TunnelReport {
        TunnelReport {
            port,
            file_system: "fs-12345678".to_owned(),
            access_point: Some("fsap-12345678".to_owned()),
            iam: None,
            connections: 1,
            connected: 4,
            reconnected: 3,
            multiplexed: 2,
            partition: None,
            lost_connections: 11,
            resent_calls: 12,
            upstream: Vec::new(),
            added_connections: 13,
            last_stall: Some(14),
            sent_bytes: 5,
            received_bytes: 6,
            handshakes: 7,
            handshake_failures: 8,
            dial_failures: 9,
            refused: 10,
            certificate_expires_in: Some(3600),
            trouble: None,
            trouble_kind: None,
            not_renewed: None,
        }
    }

    fn lines(metrics: &Metrics) -> Vec<String> {
        let page = metrics.page().expect("page");
        let ours = |line: &&str| {
            line.starts_with("efs_csi_tunnel")
                || line.starts_with("efs_csi_mounts")
                || line.starts_with("efs_csi_volume")
        };
        page.lines().filter(ours).map(str::to_owned).collect()
    }

    #[test]
    fn the_series_of_a_tunnel_come_and_go_with_it() {
        let report = Arc::new(Mutex::new(NodeReport { tunnels: vec![tunnel(20049)], ..NodeReport::default() }));
        let metrics = Metrics::new();
        metrics.register(|registry| registry.register_collector(Box::new(Fixed(Arc::clone(&report)))));
        insta::assert_snapshot!(lines(&metrics).join("\n"), @r#"
        efs_csi_tunnel_connected_total{file_system="fs-12345678",access_point="fsap-12345678",port="20049"} 4
        efs_csi_tunnel_reconnected_total{file_system="fs-12345678",access_point="fsap-12345678",port="20049"} 3
        efs_csi_tunnel_added_connections_total{file_system="fs-12345678",access_point="fsap-12345678",port="20049"} 13
        efs_csi_tunnel_lost_connections_total{file_system="fs-12345678",access_point="fsap-12345678",port="20049"} 11
        efs_csi_tunnel_resent_calls_total{file_system="fs-12345678",access_point="fsap-12345678",port="20049"} 12
        efs_csi_tunnel_sent_bytes_total{file_system="fs-12345678",access_point="fsap-12345678",port="20049"} 5
        efs_csi_tunnel_received_bytes_total{file_system="fs-12345678",access_point="fsap-12345678",port="20049"} 6
        efs_csi_tunnel_tls_handshakes_total{file_system="fs-12345678",access_point="fsap-12345678",port="20049"} 7
        efs_csi_tunnel_tls_handshake_failures_total{file_system="fs-12345678",access_point="fsap-12345678",port="20049"} 8
        efs_csi_tunnel_dial_failures_total{file_system="fs-12345678",access_point="fsap-12345678",port="20049"} 9
        efs_csi_tunnel_refused_total{file_system="fs-12345678",access_point="fsap-12345678",port="20049"} 10
        efs_csi_tunnel_up{file_system="fs-12345678",access_point="fsap-12345678",port="20049"} 1
        efs_csi_tunnel_connections{file_system="fs-12345678",access_point="fsap-12345678",port="20049"} 1
        efs_csi_tunnel_multiplexed_connections{file_system="fs-12345678",access_point="fsap-12345678",port="20049"} 2
        efs_csi_tunnel_last_stall_timestamp_seconds{file_system="fs-12345678",access_point="fsap-12345678",port="20049"} 1799999986
        efs_csi_tunnel_certificate_expiry_timestamp_seconds{file_system="fs-12345678",access_point="fsap-12345678",port="20049"} 1800003600
        efs_csi_mounts 0
        efs_csi_mounts_troubled 0
        efs_csi_volume_walks 0
        efs_csi_volume_walks_failed 0
        "#);
        let ill = TunnelReport {
            access_point: None,
            certificate_expires_in: None,
            last_stall: None,
            trouble: Some(("no answer".to_owned(), 5)),
            ..tunnel(20050)
        };
        report.lock().expect("lock").tunnels = vec![ill];
        let page = lines(&metrics).join("\n");
        assert!(!page.contains("20049") && !page.contains("expiry") && !page.contains("stall"), "{page}");
        assert!(
            page.contains(r#"efs_csi_tunnel_up{file_system="fs-12345678",access_point="",port="20050"} 0"#),
            "{page}"
        );
    }
}
