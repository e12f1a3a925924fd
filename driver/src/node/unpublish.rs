//! NodeUnpublishVolume: unmount, first politely, then forced and lazily (MNT_FORCE, MNT_DETACH); always within the time limit.

use std::path::Path;
use std::time::Duration;

use csi_proto::csi;
use rustix::io::Errno;
use tokio::time::{Instant, sleep};

use super::errors::NodeError;
use super::publish::mountinfo_error;
use super::request::target_path;
use super::{State, target};
use crate::mount::{Job, JobError, WorkerError};

/// The forced unmount has this long. It does not wait for the server.
const FORCE_WITHIN: Duration = Duration::from_secs(10);
/// A busy mount is tried again for this long: a container that is being torn down lets go a moment later.
const BUSY_FOR: Duration = Duration::from_secs(3);
/// Pause between two such attempts.
const BUSY_PAUSE: Duration = Duration::from_millis(100);
/// A server that doesn't say by then how full a busy mount is counts as silent.
const SILENT_AFTER: Duration = Duration::from_secs(5);

/// Unpublishes a volume. What is gone already, whichever part, is fine.
pub(super) async fn unpublish(state: &State, request: &csi::NodeUnpublishVolumeRequest) -> Result<(), NodeError> {
    if request.volume_id.is_empty() {
        return Err(NodeError::request("volume_id", "is missing"));
    }
    let target = target_path("target_path", &request.target_path)?;
    let target = target::resolve(&target).await?;
    let _claim = state.claims.for_call_after_own_work(&target, &request.volume_id).await?;
    let mounts = state.mounts().await.map_err(|source| mountinfo_error(&target, source))?;
    state.adopt_at(&target, &mounts).await;
    let record = state.published().get(&target).map(|published| published.record.clone());
    if record.is_some_and(|record| record.volume != request.volume_id) {
        return Err(NodeError::NotPublished { volume: request.volume_id.clone(), path: target });
    }
    let layers: Vec<_> = mounts.into_iter().filter(|mount| mount.mount_point == target).collect();
    if let Some(foreign) = layers.iter().find(|mount| !mount.is_nfs()) {
        let what = format!("{} ({}) is mounted there, which this driver did not do", foreign.source, foreign.fs_type);
        return Err(NodeError::Target { target, reason: what });
    }
    if !layers.is_empty() {
        state.unmount_all(&target).await?;
    }
    target::remove(&target).await?;
    state.forget(&target).await
}

impl State {
    /// Unmounts every layer at `target`.
    pub(super) async fn unmount_all(&self, target: &Path) -> Result<(), NodeError> {
        let count = async || {
            let layers = self.mounts_at(target).await;
            layers.map(|layers| layers.len()).map_err(|source| mountinfo_error(target, source))
        };
        let mut left = count().await?;
        while left > 0 {
            self.unmount_one(target, left).await?;
            let now = count().await?;
            if now >= left {
                return Err(NodeError::StillMounted { target: target.to_owned(), after: self.config.unmount_timeout });
            }
            left = now;
        }
        Ok(())
    }

    /// Whether a mount is busy because its server is silent: a process that was killed in the middle of a write goes away only
    /// when the server has answered, however dead the server is.
    async fn holds_a_process(&self, failure: &WorkerError, target: &Path) -> bool {
        is_busy(failure)
            && matches!(self.worker.usage(target.to_owned(), SILENT_AFTER).await, Err(WorkerError::Timeout(_)))
    }

    async fn unmount_one(&self, target: &Path, layers: usize) -> Result<(), NodeError> {
        let gone = async || self.mounts_at(target).await.is_ok_and(|now| now.len() < layers);
        let started = Instant::now();
        let polite = Job::Unmount { target: target.to_owned(), force: false };
        let failure = loop {
            let left = self.config.unmount_timeout.saturating_sub(started.elapsed());
            match self.worker.run(&polite, left).await {
                Ok(()) => return Ok(()),
                Err(failure) if is_busy(&failure) && started.elapsed() < BUSY_FOR => sleep(BUSY_PAUSE).await,
                Err(failure) => break failure,
            }
        };
        // With a dead server the mount vanishes at once and the call goes on waiting for the server's farewell.
        if gone().await {
            tracing::warn!(target = %target.display(), %failure, "unmounted without the server's answer");
            return Ok(());
        }
        if !matches!(failure, WorkerError::Timeout(_)) && !self.holds_a_process(&failure, target).await {
            return Err(NodeError::Unmount { target: target.to_owned(), reason: failure });
        }
        tracing::warn!(target = %target.display(), after = ?started.elapsed(), "unmounting lazily and by force");
        let force = Job::Unmount { target: target.to_owned(), force: true };
        match self.worker.run(&force, FORCE_WITHIN).await {
            Ok(()) => Ok(()),
            Err(_) if gone().await => Ok(()),
            Err(WorkerError::Timeout(_)) => {
                Err(NodeError::StillMounted { target: target.to_owned(), after: started.elapsed() })
            }
            Err(reason) => Err(NodeError::Unmount { target: target.to_owned(), reason }),
        }
    }
}

fn is_busy(failure: &WorkerError) -> bool {
    matches!(failure, WorkerError::Job(JobError { errno, .. }) if *errno == Errno::BUSY.raw_os_error())
}
