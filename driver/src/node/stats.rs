//! NodeGetVolumeStats: how full a volume is and whether it is well, without ever waiting for a dead server.

use std::path::{Path, PathBuf};
use std::time::Duration;

use csi_proto::csi::{self, VolumeCondition, VolumeUsage, volume_usage::Unit};
use tokio::time::timeout;

use super::errors::NodeError;
use super::publish::mountinfo_error;
use super::request::target_path;
use super::target;
use super::walker::Totals;
use super::{State, health};
use crate::conditions::{Condition, Reason};
use crate::mount::kernel::Usage;
use crate::mount::mountinfo::MountEntry;

/// A healthy server answers in milliseconds; a call that takes longer than this is reported as the volume's condition.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);

/// Volumes whose servers are asked at once. Each costs a process, with about a MiB of its own.
pub(super) const ASKING: usize = 32;

/// How long a call waits for its turn. Kubelets wait two minutes for the answer.
const PLACE_WITHIN: Duration = Duration::from_secs(30);

/// Usage and condition of a published volume.
pub(super) async fn stats(
    state: &State,
    request: &csi::NodeGetVolumeStatsRequest,
) -> Result<csi::NodeGetVolumeStatsResponse, NodeError> {
    if request.volume_id.is_empty() {
        return Err(NodeError::request("volume_id", "is missing"));
    }
    let path = PathBuf::from(&request.volume_path);
    let not_published =
        |path: &Path| NodeError::NotPublished { volume: request.volume_id.clone(), path: path.to_owned() };
    // Only absolute paths are ever published, so a relative one is no bad request but a place where the volume isn't.
    if path.is_relative() && !request.volume_path.is_empty() {
        return Err(not_published(&path));
    }
    let path = target_path("volume_path", &request.volume_path)?;
    let path = target::resolve(&path).await?;
    let find = || state.published().get(&path).cloned();
    let mut published = find();
    if published.is_none() {
        match state.claims.for_call(&path, &request.volume_id) {
            Ok(_claim) => {
                let mounts = state.mounts_at(&path).await.map_err(|source| mountinfo_error(&path, source))?;
                state.adopt_at(&path, &mounts).await;
                published = find();
            }
            // Somebody is just publishing it, or taking it on from the process before.
            Err(busy) => {
                let there = path.clone();
                let record = state.on_disk("reading a record", move |records| Ok(records.get(&there))).await;
                if record.is_ok_and(|record| record.is_some_and(|record| record.volume == request.volume_id)) {
                    return Err(busy);
                }
            }
        }
    }
    let published = published.filter(|p| p.record.volume == request.volume_id).ok_or_else(|| not_published(&path))?;
    let layers = state.mounts_at(&path).await.map_err(|source| mountinfo_error(&path, source))?;
    if !layers.last().is_some_and(MountEntry::is_nfs) {
        return Ok(response(None, &[health::unmounted(&path)]));
    }
    let place = timeout(PLACE_WITHIN, state.asking.acquire()).await;
    let Ok(Ok(place)) = place else { return Err(NodeError::TooManyQuestions(ASKING)) };
    let usage = state.worker.usage(path.clone(), ANSWER_WITHIN).await;
    drop(place);
    let walked = state.walks.as_ref().and_then(|walks| {
        // A server in trouble is left alone; a walk would only wait in line.
        usage.as_ref().ok()?;
        walks.totals(&request.volume_id, &published.record.mount.spec.file_system, &path)
    });
    let silent = usage.as_ref().err().map(|error| format!("no answer from the server: {error}"));
    let mut wrong: Vec<_> = silent.map(|seen| Condition::new(Reason::ServerNotAnswering, seen)).into_iter().collect();
    wrong.extend(health::tunnel_wrong_now(state, &published).await);
    Ok(response(usage.ok().map(|usage| Counted { usage, walked }), &wrong))
}

/// The usage, and what is wrong in the words of [`health`].
fn response(counted: Option<Counted>, wrong: &[Condition]) -> csi::NodeGetVolumeStatsResponse {
    let message = match wrong {
        [] => "the volume is mounted and the server answers".to_owned(),
        wrong => wrong.iter().map(|condition| condition.seen.as_str()).collect::<Vec<_>>().join("; "),
    };
    csi::NodeGetVolumeStatsResponse {
        usage: counted.map(|counted| counted.entries()).unwrap_or_default(),
        volume_condition: Some(VolumeCondition { abnormal: !wrong.is_empty(), message }),
    }
}

/// What is known of a volume's size.
struct Counted {
    /// The file system's own numbers, for all its volumes together.
    usage: Usage,
    /// What a walk has counted in this volume.
    walked: Option<Totals>,
}

impl Counted {
    fn entries(&self) -> Vec<VolumeUsage> {
        let entry = |unit: Unit, total: u64, available: u64, used: u64| {
            let signed = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
            VolumeUsage { unit: unit.into(), total: signed(total), available: signed(available), used: signed(used) }
        };
        let Self { usage, walked } = self;
        let used = walked.map_or(usage.used_bytes, |walked| walked.bytes);
        let mut entries = vec![entry(Unit::Bytes, usage.total_bytes, usage.available_bytes, used)];
        // EFS has no limit of inodes and says 0; their number is known only when somebody has counted.
        let used = match walked {
            Some(walked) => Some(walked.inodes),
            None => (usage.total_inodes > 0).then(|| usage.total_inodes.saturating_sub(usage.free_inodes)),
        };
        entries.extend(used.map(|used| entry(Unit::Inodes, usage.total_inodes, usage.free_inodes, used)));
        entries
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const USAGE: Usage =
        Usage { total_bytes: 1 << 63, available_bytes: 1000, used_bytes: 500, total_inodes: 0, free_inodes: 0 };

    fn numbers(usage: Usage, walked: Option<Totals>) -> Vec<(Unit, i64, i64, i64)> {
        let entries = Counted { usage, walked }.entries();
        entries.iter().map(|it| (it.unit(), it.total, it.available, it.used)).collect()
    }

    #[test]
    fn without_a_walk_the_numbers_are_the_file_systems() {
        assert_eq!(numbers(USAGE, None), [(Unit::Bytes, i64::MAX, 1000, 500)]);
        let counting = Usage { total_inodes: 50, free_inodes: 20, ..USAGE };
        assert_eq!(numbers(counting, None)[1], (Unit::Inodes, 50, 20, 30));
    }

    #[test]
    fn a_walk_tells_what_this_volume_uses() {
        let walked = Totals { bytes: 8192, inodes: 3, directories: 1, unreadable: 0 };
        let want = [(Unit::Bytes, i64::MAX, 1000, 8192), (Unit::Inodes, 0, 0, 3)];
        assert_eq!(numbers(USAGE, Some(walked)), want);
    }
}
