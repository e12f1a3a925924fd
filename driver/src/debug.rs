//! `efs-csi-driver debug`: shows the tunnels, mounts, certificates and recent errors of the node plug-in that runs here.

use std::fmt::{self, Write as _};
use std::io::{IsTerminal, Write as _};
use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use tokio::io::AsyncReadExt;
use tokio::net::UnixStream;
use tokio::time::timeout;

use crate::admin::{self, Report};
use crate::cli::DebugFlags;
use crate::node::report::{MountReport, PodIdentityReport, TunnelReport};
use crate::node::usage::WalkState;
use crate::registration::KubeletAnswer;

/// The plug-in answers at once, or not at all.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);
/// A report is never longer than this, in bytes.
const LONGEST: u64 = 16 * 1024 * 1024;
/// Moves the cursor home and clears the screen.
const CLEAR: &str = "\x1b[H\x1b[2J";

/// Prints the state once, or again and again.
///
/// # Errors
/// When no plug-in answers, or standard output is closed.
pub async fn run(flags: &DebugFlags) -> anyhow::Result<()> {
    let path = admin::socket_path(&flags.state_dir);
    let mut out = std::io::stdout();
    loop {
        let answer = ask(&path).await;
        let text = match (&answer, flags.json) {
            (Ok(report), true) => format!("{}\n", serde_json::to_string(report)?),
            (Ok(report), false) => View(report).to_string(),
            (Err(error), _) if flags.watch => format!("{error:#}\n"),
            (Err(_), _) => String::new(),
        };
        if !flags.watch {
            out.write_all(text.as_bytes())?;
            return answer.map(|_| ());
        }
        let clear = if out.is_terminal() && !flags.json { CLEAR } else { "" };
        out.write_all(format!("{clear}{text}").as_bytes())?;
        out.flush()?;
        tokio::time::sleep(flags.interval).await;
    }
}

/// The report of the plug-in behind an admin socket.
///
/// # Errors
/// When nobody answers there.
pub async fn ask(path: &Path) -> anyhow::Result<Report> {
    let conversation = async {
        let stream = UnixStream::connect(path).await?;
        let mut text = Vec::new();
        stream.take(LONGEST).read_to_end(&mut text).await?;
        Ok::<_, std::io::Error>(text)
    };
    let nobody = || {
        format!(
            "no node plug-in answers at {}; does one run here, with this --state-dir, and are you root?",
            path.display()
        )
    };
    let text = timeout(ANSWER_WITHIN, conversation).await.with_context(nobody)?.with_context(nobody)?;
    serde_json::from_slice(&text).context("the plug-in's answer can't be read; is it of another version?")
}

/// A report as text for people.
pub struct View<'a>(pub &'a Report);

impl fmt::Display for View<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(report) = self;
        let kubelet = match &report.kubelet {
            None => "a sidecar".to_owned(),
            Some(KubeletAnswer::None) => "itself, the kubelet hasn't answered".to_owned(),
            Some(KubeletAnswer::Registered) => "itself, the kubelet has accepted".to_owned(),
            Some(KubeletAnswer::Refused(reason)) => format!("itself, the kubelet REFUSES: {reason}"),
        };
        let up = span(report.up_seconds);
        writeln!(f, "efs-csi-driver {}, process {}, up {up}; registered by {kubelet}", report.version, report.pid)?;
        let node = &report.node;
        section(f, "tunnels", &TUNNELS, node.tunnels.iter().map(tunnel))?;
        let several: Vec<_> = node.tunnels.iter().flat_map(connections).collect();
        if !several.is_empty() {
            let heads = ["port", "partition", "connection", "sent", "received", "last stall"];
            section(f, "connections to partitions", &heads, several.into_iter())?;
        }
        section(f, "mounts", &["target", "volume", "mode", "server", "state"], node.mounts.iter().map(mount))?;
        if !node.walks.is_empty() {
            section(
                f,
                "volume statistics",
                &["volume", "inodes", "used", "age", "state"],
                node.walks.iter().map(walk),
            )?;
        }
        if !node.pod_identities.is_empty() {
            let heads = ["service account", "mounts", "credentials", "state"];
            section(f, "pod identities", &heads, node.pod_identities.iter().map(pod_identity))?;
        }
        writeln!(f, "\nrecent warnings and errors: {}", report.recent.len())?;
        for event in &report.recent {
            writeln!(f, "  {} ago  {}  {}", span(event.seconds_ago), event.level, event.text)?;
        }
        Ok(())
    }
}

const TUNNELS: [&str; 10] = [
    "port",
    "file system",
    "access point",
    "iam",
    "connections",
    "reconnected",
    "sent",
    "received",
    "certificate",
    "state",
];

/// Each connection of a mount that may have several.
fn connections(tunnel: &TunnelReport) -> impl Iterator<Item = Vec<String>> {
    let partition = tunnel.partition.as_deref().unwrap_or("-");
    let stall = tunnel.last_stall.map_or_else(|| "-".to_owned(), |ago| format!("{} ago", span(ago)));
    tunnel.upstream.iter().enumerate().map(move |(index, it)| {
        let number = format!("{} of {}", index + 1, tunnel.upstream.len());
        vec![
            tunnel.port.to_string(),
            partition.to_owned(),
            number,
            size(it.sent_bytes),
            size(it.received_bytes),
            stall.clone(),
        ]
    })
}

fn pod_identity(it: &PodIdentityReport) -> Vec<String> {
    let credentials = it.expires_in.map_or_else(|| "none yet".to_owned(), |left| format!("{} left", span(left)));
    let state = it.trouble.as_ref().map_or_else(|| "ok".to_owned(), |trouble| format!("not renewed: {trouble}"));
    vec![it.identity.clone(), it.mounts.to_string(), credentials, state]
}

fn tunnel(tunnel: &TunnelReport) -> Vec<String> {
    let absent = || "-".to_owned();
    let state = match &tunnel.trouble {
        Some((error, seconds)) => format!("out of reach for {}: {error}", span(*seconds)),
        None if tunnel.handshake_failures + tunnel.refused > 0 => format!(
            "ok ({} of {} handshakes failed, {} strangers refused)",
            tunnel.handshake_failures,
            tunnel.handshakes + tunnel.handshake_failures,
            tunnel.refused
        ),
        None if tunnel.multiplexed > tunnel.connections || tunnel.lost_connections > 0 => format!(
            "ok ({} connections to partition {}, {} lost, {} calls sent again)",
            tunnel.multiplexed,
            tunnel.partition.as_deref().unwrap_or("-"),
            tunnel.lost_connections,
            tunnel.resent_calls
        ),
        None => "ok".to_owned(),
    };
    vec![
        tunnel.port.to_string(),
        tunnel.file_system.clone(),
        tunnel.access_point.clone().unwrap_or_else(absent),
        tunnel.iam.clone().unwrap_or_else(absent),
        tunnel.connections.to_string(),
        tunnel.reconnected.to_string(),
        size(tunnel.sent_bytes),
        size(tunnel.received_bytes),
        tunnel.certificate_expires_in.map_or_else(absent, |left| format!("{} left", span(left))),
        state,
    ]
}

fn mount(mount: &MountReport) -> Vec<String> {
    let mode = if mount.read_only { "ro" } else { "rw" };
    let state = mount.trouble.clone().unwrap_or_else(|| "ok".to_owned());
    vec![mount.target.clone(), mount.volume.clone(), mode.to_owned(), mount.server.clone(), state]
}

fn walk(walk: &WalkState) -> Vec<String> {
    let absent = || "-".to_owned();
    let result = walk.result.as_ref();
    let state = match (&walk.running, &walk.failure) {
        (Some((seconds, counted)), _) => format!("walking for {}, {} so far", span(*seconds), counted.inodes),
        (None, Some(failure)) => format!("failed: {failure}"),
        (None, None) => "ok".to_owned(),
    };
    vec![
        walk.volume.clone(),
        result.map_or_else(absent, |(_, totals)| totals.inodes.to_string()),
        result.map_or_else(absent, |(_, totals)| size(totals.bytes)),
        result.map_or_else(absent, |(age, _)| span(*age)),
        state,
    ]
}

/// A heading, then a table with its columns under each other; the last column runs free.
fn section(
    f: &mut fmt::Formatter<'_>,
    name: &str,
    heads: &[&str],
    rows: impl Iterator<Item = Vec<String>>,
) -> fmt::Result {
    let mut rows: Vec<Vec<String>> = rows.collect();
    writeln!(f, "\n{name}: {}", rows.len())?;
    if rows.is_empty() {
        return Ok(());
    }
    rows.insert(0, heads.iter().map(|head| head.to_uppercase()).collect());
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or_default();
    let widths: Vec<usize> = (0..heads.len()).map(width).collect();
    for row in &rows {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(&widths) {
            write!(line, "  {cell:<width$}")?;
        }
        writeln!(f, "{}", line.trim_end())?;
    }
    Ok(())
}

/// A time span in its two largest units.
fn span(seconds: u64) -> String {
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3600 => format!("{} min {} s", seconds / 60, seconds % 60),
        3600..86_400 => format!("{} h {} min", seconds / 3600, seconds % 3600 / 60),
        _ => format!("{} d {} h", seconds / 86_400, seconds % 86_400 / 3600),
    }
}

/// A number of bytes in the unit that leaves at most four digits before the point.
fn size(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let mut value = bytes as f64 / 1024.0;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    format!("{value:.1} {}", UNITS[unit])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::report::NodeReport;
    use crate::node::walker::Totals;
    use crate::recent::RecentEvent;
    use efs_tunnel::mux::UpstreamReport;
    use std::sync::Arc;
    use tokio_util::sync::CancellationToken;

    fn report() -> Report {
        let healthy = TunnelReport {
            port: 20049,
            file_system: "fs-0123456789abcdef0".to_owned(),
            access_point: Some("fsap-0123456789abcdef0".to_owned()),
            iam: None,
            connections: 1,
            connected: 3,
            reconnected: 2,
            multiplexed: 1,
            partition: Some("0123456789abcdef".to_owned()),
            lost_connections: 0,
            resent_calls: 0,
            upstream: Vec::new(),
            added_connections: 0,
            last_stall: None,
            sent_bytes: 1_234_567,
            received_bytes: 9_876_543_210,
            handshakes: 3,
            handshake_failures: 0,
            dial_failures: 0,
            refused: 0,
            certificate_expires_in: Some(9_999),
            trouble: None,
            trouble_kind: None,
            not_renewed: None,
        };
        let ill = TunnelReport {
            port: 20050,
            access_point: None,
            iam: Some("default".to_owned()),
            connections: 0,
            sent_bytes: 12,
            received_bytes: 0,
            certificate_expires_in: None,
            trouble: Some(("cannot connect to the mount target of fs-1 at 192.0.2.1:2049".to_owned(), 75)),
            ..healthy.clone()
        };
        let stranger = TunnelReport { port: 20051, handshake_failures: 1, refused: 2, ..healthy.clone() };
        let busy =
            TunnelReport { port: 20052, multiplexed: 4, lost_connections: 1, resent_calls: 17, ..healthy.clone() };
        let carried = |sent_bytes, received_bytes| UpstreamReport { sent_bytes, received_bytes };
        let busy = TunnelReport {
            partition: Some("5f2a".to_owned()),
            upstream: vec![carried(1 << 30, 5 << 20), carried(900 << 20, 4 << 20)],
            added_connections: 3,
            last_stall: Some(130),
            ..busy
        };
        let well = MountReport {
            target: "/var/lib/kubelet/pods/a/volumes/kubernetes.io~csi/pv-1/mount".to_owned(),
            volume: "efs:fs-0123456789abcdef0::fsap-0123456789abcdef0".to_owned(),
            read_only: false,
            server: "127.0.0.1:20049".to_owned(),
            trouble: None,
        };
        let lost = MountReport {
            target: "/var/lib/kubelet/pods/b/volumes/kubernetes.io~csi/pv-2/mount".to_owned(),
            volume: "fs-0123456789abcdef0:/sub".to_owned(),
            read_only: true,
            server: "192.0.2.1:2049".to_owned(),
            trouble: Some("nothing is mounted there".to_owned()),
        };
        let totals = Totals { bytes: 5 << 30, inodes: 123_456, directories: 789, unreadable: 0 };
        let walked =
            WalkState { volume: well.volume.clone(), result: Some((4000, totals)), running: None, failure: None };
        let walking =
            WalkState { volume: lost.volume.clone(), result: None, running: Some((61, totals)), failure: None };
        let event = |seconds_ago, level: &str, text: &str| RecentEvent {
            seconds_ago,
            level: level.to_owned(),
            text: text.to_owned(),
        };
        Report {
            version: "0.1.0".to_owned(),
            pid: 4711,
            up_seconds: 200_000,
            kubelet: Some(KubeletAnswer::Registered),
            node: NodeReport {
                tunnels: vec![healthy, ill, stranger, busy],
                mounts: vec![well, lost],
                walks: vec![walked, walking],
                pod_identities: vec![
                    PodIdentityReport {
                        identity: "service account team-a/app with role arn:aws:iam::123456789012:role/team-a"
                            .to_owned(),
                        mounts: 3,
                        expires_in: Some(3000),
                        trouble: None,
                    },
                    PodIdentityReport {
                        identity: "service account team-b/app with EKS Pod Identity".to_owned(),
                        mounts: 1,
                        expires_in: None,
                        trouble: Some("the EKS Pod Identity agent says: HTTP status 403".to_owned()),
                    },
                ],
            },
            recent: vec![
                event(90, "WARN", "cannot reach the mount target port=20050"),
                event(3, "ERROR", r#"failed code=Unavailable method="NodePublishVolume" volume="fs-1""#),
            ],
        }
    }

    #[test]
    fn a_report_is_printed_as_recorded() {
        insta::assert_snapshot!(View(&report()).to_string());
    }

    #[test]
    fn an_idle_plugin_says_so() {
        let idle = Report { kubelet: None, node: NodeReport::default(), recent: Vec::new(), up_seconds: 5, ..report() };
        insta::assert_snapshot!(View(&idle).to_string(), @r"
        efs-csi-driver 0.1.0, process 4711, up 5 s; registered by a sidecar

        tunnels: 0

        mounts: 0

        recent warnings and errors: 0
        ");
    }

    #[tokio::test]
    async fn the_admin_socket_tells_the_report_to_its_owner_only() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().expect("temp dir");
        let path = admin::socket_path(dir.path());
        let stop = CancellationToken::new();
        let serving = tokio::spawn(admin::serve(
            path.clone(),
            Arc::new(report),
            crate::blocking::Blocking::default(),
            stop.clone(),
        ));
        while !path.exists() {
            tokio::task::yield_now().await;
        }
        assert_eq!(std::fs::metadata(&path).expect("there").permissions().mode() & 0o777, 0o600);
        // A client that connects and reads nothing is not in the way for ever; one report fits into the socket's buffer.
        let _idle = UnixStream::connect(&path).await.expect("connect");
        for _ in 0..2 {
            assert_eq!(ask(&path).await.expect("report"), report());
        }
        stop.cancel();
        serving.await.expect("task");
        assert!(!path.exists());
        let error = format!("{:#}", ask(&path).await.expect_err("nobody there"));
        assert!(error.contains("no node plug-in answers at") && error.contains("admin.sock"), "{error}");
    }

    #[test]
    fn spans_and_sizes_are_short() {
        let spans = [0, 59, 60, 3599, 3600, 86_399, 86_400].map(span);
        assert_eq!(spans, ["0 s", "59 s", "1 min 0 s", "59 min 59 s", "1 h 0 min", "23 h 59 min", "1 d 0 h"]);
        let sizes = [0, 1023, 1024, 1536, 1 << 20, u64::MAX].map(size);
        assert_eq!(sizes, ["0 B", "1023 B", "1.0 KiB", "1.5 KiB", "1.0 MiB", "16.0 EiB"]);
    }
}
