//! What happens to the driver's pod in production, from its cause until the driver is ready again.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use rustix::process::{Pid, Signal, kill_process};
use tokio::time::sleep;

use super::lab::{DRIVER, PodLab, READY_WITHIN, TUNNEL};
use super::pod::Pod;
use crate::stack::Exit;

/// One of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Disturbance {
    /// `kubectl rollout restart`.
    RollingUpdate,
    /// An update whose pod never gets ready, and is taken back.
    FailedUpdate,
    /// `kubectl delete pod --force`.
    DeletedByForce,
    /// The kernel ends the container for its memory.
    OutOfMemory,
    /// The driver hangs, and its liveness probe has it ended.
    Hung,
    /// The process that carries the bytes is killed.
    DataPlaneKilled,
}

/// How much of a standstill is not the driver's.
#[derive(Clone, Copy, Debug, Default)]
pub struct NotOurs {
    /// What the runtime took to start the next container.
    pub runtime: Duration,
    /// From the hang until the kubelet had ended the container.
    pub detection: Duration,
}

impl Disturbance {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::RollingUpdate,
        Self::FailedUpdate,
        Self::DeletedByForce,
        Self::OutOfMemory,
        Self::Hung,
        Self::DataPlaneKilled,
    ];

    /// Has it happen, and waits until the driver is ready again.
    pub async fn cause(self, lab: &mut PodLab) -> anyhow::Result<NotOurs> {
        match self {
            Self::RollingUpdate => lab.pods.rollout_restart(READY_WITHIN).await.map(|()| NotOurs::default()),
            Self::FailedUpdate => failed_update(lab).await.map(|()| NotOurs::default()),
            Self::DeletedByForce => {
                lab.pods.delete_by_force(READY_WITHIN).await?;
                let runtime = lab.pods.pod()?.container(DRIVER).start_took.unwrap_or_default();
                Ok(NotOurs { runtime, ..NotOurs::default() })
            }
            Self::OutOfMemory => {
                let pod = lab.pods.pod()?;
                let group = Path::new("/sys/fs/cgroup/kubepods").join(format!("pod{}", pod.identity.uid)).join(DRIVER);
                // What a kubelet of 1.28 or later sets for every container.
                std::fs::write(group.join("memory.oom.group"), "1")?;
                let restarts = pod.container(DRIVER).restarts;
                // The kernel may end the writer of a limit that can't be kept; it is told in the background.
                std::fs::write(group.join("memory.max"), "1M")?;
                restarted(pod, restarts).await?;
                let status = pod.container(DRIVER);
                ensure!(matches!(status.ended, Some((_, Exit::Signal(9)))), "it was not killed: {status:?}");
                Ok(NotOurs { runtime: status.start_took.unwrap_or_default(), ..NotOurs::default() })
            }
            Self::Hung => {
                let pod = lab.pods.pod()?;
                let (restarts, begin) = (pod.container(DRIVER).restarts, Instant::now());
                kill_process(pod.container(DRIVER).pid.context("the driver runs")?, Signal::STOP)?;
                restarted(pod, restarts).await?;
                let status = pod.container(DRIVER);
                let (ended, _) = status.ended.context("it has ended")?;
                Ok(NotOurs { runtime: status.start_took.unwrap_or_default(), detection: ended - begin })
            }
            Self::DataPlaneKilled => {
                let keeper = lab.pods.pod()?.container(TUNNEL).pid.context("the data plane's keeper runs")?;
                let killed = child_of(keeper)?.context("the data plane runs")?;
                kill_process(killed, Signal::KILL)?;
                let begin = Instant::now();
                while child_of(keeper)?.is_none_or(|child| child == killed) {
                    ensure!(begin.elapsed() < READY_WITHIN, "the data plane is not started again");
                    // A look costs the guest's only processor some milliseconds, which the next one needs to start.
                    sleep(Duration::from_millis(100)).await;
                }
                Ok(NotOurs::default())
            }
        }
    }
}

async fn failed_update(lab: &mut PodLab) -> anyhow::Result<()> {
    let (good, broken) = (lab.daemon_set("").await?, lab.daemon_set("node: {additionalArgs: [--no-such-flag]}").await?);
    lab.pods.apply(broken);
    let successor = lab.pods.surge()?;
    let failed = successor.until(READY_WITHIN, |pod| pod.container(DRIVER).restarts > 0).await;
    ensure!(failed, "the successor should have failed: {:?}", successor.containers());
    successor.end(Some(Duration::ZERO)).await?;
    lab.pods.apply(good);
    Ok(())
}

async fn restarted(pod: &Pod, before: u32) -> anyhow::Result<()> {
    let again = |pod: &Pod| pod.container(DRIVER).restarts > before && pod.is_ready();
    ensure!(pod.until(READY_WITHIN, again).await, "it has not come back: {:?}", pod.containers());
    Ok(())
}

/// The only child of a process.
fn child_of(parent: Pid) -> anyhow::Result<Option<Pid>> {
    let parent = parent.as_raw_nonzero().to_string();
    for entry in std::fs::read_dir("/proc")?.flatten() {
        // Whoever ends meanwhile has no file to read.
        let Ok(stat) = std::fs::read_to_string(entry.path().join("stat")) else { continue };
        // The name in parentheses may hold spaces; state and the parent's id follow.
        let mut after = stat.rsplit_once(") ").map_or("", |(_, rest)| rest).split(' ');
        let is_zombie = after.next() == Some("Z");
        if after.next() == Some(parent.as_str()) && !is_zombie {
            return Ok(entry.file_name().to_string_lossy().parse().ok().and_then(Pid::from_raw));
        }
    }
    Ok(None)
}
