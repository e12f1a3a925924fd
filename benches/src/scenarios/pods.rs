//! What a writer notices of what happens to the driver's pod: the chart's defaults, in a container of the lab.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use efs_csi_e2e::kubelet::disturbance::{Disturbance, NotOurs};
use efs_csi_e2e::kubelet::lab::{PodLab, PodVolume, STATE, Setup};
use efs_csi_e2e::pulse::Pulse;
use http_body_util::{BodyExt as _, Empty};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;

use super::{Board, Declaration, Setting};
use crate::peers::own_tunnel::NAME;
use crate::report::Better::Lower;

/// The same writers, with nothing happening to the pod, and what the runtime took to start the next container where it had to.
pub const UNDISTURBED: &str = "undisturbed";

const METHOD: &str = "The node pod of the chart's defaults under a container runtime in the lab, with a stand-in for the kubelet. A \
    program writes a record to each volume and waits until the server has it (fdatasync), with pauses of 20 ms (one volume) or \
    250 ms (100). The longest wait of one record. Undisturbed are the same writers right before, for 3.5 seconds, and on top, where \
    a container had to be started, what the runtime took for it.";
const FROZEN: &str = "The state directory's disk is frozen (FIFREEZE) for 30 seconds, or 3 in a quick run, while eight volumes are \
    to be published. The slowest answer of /healthz.";
const FROZEN_STALL: &str = "The same: the longest wait of one record on a volume that is mounted.";

/// One disturbance's rows.
struct Row {
    disturbance: Disturbance,
    one: &'static str,
    many: &'static str,
    one_title: &'static str,
    many_title: &'static str,
}

const ROWS: [Row; 6] = [
    Row {
        disturbance: Disturbance::RollingUpdate,
        one: "pods.update",
        many: "pods.update.many",
        one_title: "Rolling update of the node's pod, 1 volume",
        many_title: "Rolling update of the node's pod, 100 volumes",
    },
    Row {
        disturbance: Disturbance::FailedUpdate,
        one: "pods.failed",
        many: "pods.failed.many",
        one_title: "Update whose pod never gets ready, 1 volume",
        many_title: "Update whose pod never gets ready, 100 volumes",
    },
    Row {
        disturbance: Disturbance::DeletedByForce,
        one: "pods.force",
        many: "pods.force.many",
        one_title: "Pod deleted by force, 1 volume",
        many_title: "Pod deleted by force, 100 volumes",
    },
    Row {
        disturbance: Disturbance::OutOfMemory,
        one: "pods.memory",
        many: "pods.memory.many",
        one_title: "Container killed for its memory, 1 volume",
        many_title: "Container killed for its memory, 100 volumes",
    },
    Row {
        disturbance: Disturbance::Hung,
        one: "pods.hung",
        many: "pods.hung.many",
        one_title: "Container ended by its liveness probe, 1 volume",
        many_title: "Container ended by its liveness probe, 100 volumes",
    },
    Row {
        disturbance: Disturbance::DataPlaneKilled,
        one: "pods.plane",
        many: "pods.plane.many",
        one_title: "Data plane killed, 1 volume",
        many_title: "Data plane killed, 100 volumes",
    },
];

/// The measurements of this scenario.
pub fn declare(board: &mut Board) {
    let mut declare = |id, title, method, peers| {
        board.declare(Declaration { id, title, unit: "ms", better: Lower, method, peers });
    };
    for row in &ROWS {
        declare(row.one, row.one_title, METHOD, &[UNDISTURBED][..]);
        declare(row.many, row.many_title, METHOD, &[UNDISTURBED][..]);
    }
    declare("pods.frozen.health", "Answer of /healthz while the state's disk is frozen", FROZEN, &[][..]);
    declare("pods.frozen.stall", "Stall of I/O while the state's disk is frozen", FROZEN_STALL, &[UNDISTURBED][..]);
}

/// Takes the samples.
pub async fn run(setting: &Setting, board: &mut Board) -> anyhow::Result<()> {
    let setup = Setup { state_on_disk: true, ..Setup::default() };
    let lab = PodLab::start(&setting.bin_dir, &setting.dir, setup).await?;
    let mut lab = lab.context("no container runtime (Debian package crun) or no helm")?;
    let mut volumes = vec![lab.publish("one").await?];
    for _ in setting.rounds(3, 1) {
        for row in &ROWS {
            disturbed(setting, board, &mut lab, row.disturbance, row.one, &volumes, Duration::from_millis(20)).await?;
        }
    }
    frozen(setting, board, &lab, &volumes).await?;
    for number in 1..setting.amount(100, 3) {
        volumes.push(lab.publish(&format!("many-{number}")).await?);
    }
    for _ in setting.rounds(2, 1) {
        for row in &ROWS {
            disturbed(setting, board, &mut lab, row.disturbance, row.many, &volumes, Duration::from_millis(250))
                .await?;
        }
    }
    for volume in &volumes {
        lab.unpublish(volume).await?;
    }
    lab.stop().await
}

async fn disturbed(
    setting: &Setting,
    board: &mut Board,
    lab: &mut PodLab,
    disturbance: Disturbance,
    id: &'static str,
    volumes: &[PodVolume],
    every: Duration,
) -> anyhow::Result<()> {
    let files: Vec<PathBuf> = volumes.iter().map(|volume| volume.path.join("records")).collect();
    // The kernel's client does not come back earlier than three seconds after it last connected (XS_TCP_INIT_REEST_TO).
    let settle = Duration::from_millis(setting.amount(3500, 200));
    let pulse = Pulse::start(&setting.bin_dir, every, &files)?;
    tokio::time::sleep(settle).await;
    let calm = pulse.stop().await?.longest;
    let pulse = Pulse::start(&setting.bin_dir, every, &files)?;
    tokio::time::sleep(settle).await;
    let NotOurs { runtime, detection } = disturbance.cause(lab).await?;
    tokio::time::sleep(Duration::from_millis(setting.amount(1500, 200))).await;
    let longest = pulse.stop().await?.longest;
    board.sample(id, NAME, millis(longest.saturating_sub(detection)));
    board.sample(id, UNDISTURBED, millis(calm + runtime));
    Ok(())
}

async fn frozen(setting: &Setting, board: &mut Board, lab: &PodLab, volumes: &[PodVolume]) -> anyhow::Result<()> {
    let files: Vec<PathBuf> = volumes.iter().map(|volume| volume.path.join("records")).collect();
    let length = Duration::from_secs(setting.amount(30, 3));
    let every = Duration::from_millis(20);
    let pulse = Pulse::start(&setting.bin_dir, every, &files)?;
    tokio::time::sleep(length / 10).await;
    board.sample("pods.frozen.stall", UNDISTURBED, millis(pulse.stop().await?.longest));
    let pulse = Pulse::start(&setting.bin_dir, every, &files)?;
    lab.node.host.freeze(STATE).await?;
    let publishing = async {
        // They fail, as they must; one after the other, like a kubelet's attempts.
        for number in 0..8 {
            let _refused = lab.publish(&format!("frozen-{number}")).await;
        }
    };
    let asking = async {
        let begin = Instant::now();
        let mut slowest = Duration::ZERO;
        while begin.elapsed() < length {
            slowest = slowest.max(health().await?);
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        anyhow::Ok(slowest)
    };
    let slowest = tokio::select! {
        slowest = asking => slowest?,
        () = async { publishing.await; std::future::pending().await } => Duration::MAX,
    };
    lab.node.host.thaw(STATE).await?;
    board.sample("pods.frozen.health", NAME, millis(slowest));
    board.sample("pods.frozen.stall", NAME, millis(pulse.stop().await?.longest));
    // What was given up is done by then.
    tokio::time::sleep(Duration::from_secs(2)).await;
    Ok(())
}

async fn health() -> anyhow::Result<Duration> {
    let begin = Instant::now();
    let client = Client::builder(TokioExecutor::new()).build_http::<Empty<bytes::Bytes>>();
    client.get("http://127.0.0.1:9809/healthz".parse()?).await?.into_body().collect().await?;
    Ok(begin.elapsed())
}

fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}
