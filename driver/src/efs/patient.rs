//! Questions about mount targets, asked with patience: one at a time for each file system, however many tunnels want to know, and again only
//! after a pause that grows as long as the answer stays the same. A file system without a mount target would otherwise cost the account
//! several calls a second from every node that mounts it, for as long as it stays so.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use rand::Rng;
use tokio::time::{Instant, timeout};

use super::api::MountTarget;
use super::errors::EfsError;
use crate::locks::KeyedLocks;
use crate::volume::{AccessPointId, FileSystemId};

/// Lists the mount targets of a file system.
#[async_trait]
pub trait ListMountTargets: Send + Sync {
    /// All of them, in any state.
    async fn mount_targets(&self, file_system: &FileSystemId) -> Result<Vec<MountTarget>, EfsError>;

    /// Whether AWS has throttled a call a moment ago, which would explain that one takes long.
    fn throttled_lately(&self) -> bool {
        false
    }

    /// Whether AWS knows no access point of this id (any more).
    async fn is_gone(&self, file_system: &FileSystemId, access_point: &AccessPointId) -> Result<bool, EfsError>;
}

/// The first pause, and the longest. A pod that waits for a mount target which has just been made waits no longer than that.
const PAUSE: (Duration, Duration) = (Duration::from_secs(2), Duration::from_secs(120));
/// A question has this long, all pages and retries included.
const API_WITHIN: Duration = Duration::from_secs(6);
/// Nobody waits longer than that for a question that another one has asked.
const OTHERS_WITHIN: Duration = Duration::from_secs(7);
/// At most this many file systems are remembered.
const REMEMBERED: usize = 4096;

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum NoAnswer {
    /// AWS refused.
    #[error(transparent)]
    Refused(#[from] EfsError),
    /// It took too long.
    #[error("the EFS API gave no answer within {} s", API_WITHIN.as_secs())]
    Silent,
    /// It took too long, and AWS throttles.
    #[error("the EFS API throttles this driver's calls (ThrottlingException), so there was no answer within {} s", API_WITHIN.as_secs())]
    Throttled,
}

type Answer = Result<Vec<MountTarget>, NoAnswer>;

struct Known {
    answer: Answer,
    asked: Instant,
    pause: Duration,
}

/// Asks for mount targets.
pub(super) struct PatientLister {
    efs: Arc<dyn ListMountTargets>,
    asking: KeyedLocks<FileSystemId>,
    known: Mutex<HashMap<FileSystemId, Known>>,
}

impl PatientLister {
    /// Nothing is known yet.
    pub(super) fn new(efs: Arc<dyn ListMountTargets>) -> Self {
        Self { efs, asking: KeyedLocks::default(), known: Mutex::default() }
    }

    /// The mount targets of a file system, as AWS tells now or has told a moment ago.
    ///
    /// # Errors
    /// When AWS refused or was silent, now or a moment ago.
    pub(super) async fn mount_targets(&self, file_system: &FileSystemId) -> Answer {
        let Some(_asking) = self.asking.acquire(file_system.clone(), OTHERS_WITHIN).await else {
            return Err(NoAnswer::Silent);
        };
        if let Some(answer) = self.lately(file_system) {
            return answer;
        }
        let asked = Instant::now();
        let answer = match timeout(API_WITHIN, self.efs.mount_targets(file_system)).await {
            Ok(answer) => answer.map_err(NoAnswer::from),
            Err(_) if self.efs.throttled_lately() => Err(NoAnswer::Throttled),
            Err(_) => Err(NoAnswer::Silent),
        };
        self.learn(file_system, asked, answer.clone());
        answer
    }

    fn lately(&self, file_system: &FileSystemId) -> Option<Answer> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.get(file_system).filter(|it| it.asked.elapsed() < it.pause).map(|it| it.answer.clone())
    }

    fn learn(&self, file_system: &FileSystemId, asked: Instant, answer: Answer) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= REMEMBERED {
            known.retain(|_, it| it.asked.elapsed() < PAUSE.1);
        }
        // Nodes that lost a mount target at the same time must not ask at the same time.
        let jitter = rand::rng().random_range(0.75..1.25);
        let pause = match known.get(file_system) {
            Some(it) if is_same(&it.answer, &answer) => (it.pause * 2).min(PAUSE.1),
            _ => PAUSE.0,
        };
        known.insert(file_system.clone(), Known { answer, asked, pause: pause.mul_f64(jitter).min(PAUSE.1) });
    }
}

/// Whether AWS has told the same twice; a request's id does not count.
fn is_same(one: &Answer, other: &Answer) -> bool {
    match (one, other) {
        (Ok(one), Ok(other)) => one == other,
        (Err(NoAnswer::Refused(one)), Err(NoAnswer::Refused(other))) => one.kind == other.kind,
        (Err(one), Err(other)) => one == other,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::efs::{EfsErrorKind, LifeCycle};
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[derive(Default)]
    struct Counting {
        calls: AtomicUsize,
        is_there: std::sync::atomic::AtomicBool,
    }

    #[async_trait]
    impl ListMountTargets for Counting {
        async fn mount_targets(&self, _: &FileSystemId) -> Result<Vec<MountTarget>, EfsError> {
            let number = self.calls.fetch_add(1, Ordering::Relaxed);
            tokio::time::sleep(Duration::from_millis(200)).await;
            let target = MountTarget {
                id: "fsmt-1".to_owned(),
                state: LifeCycle::Available,
                availability_zone: None,
                availability_zone_id: None,
                addresses: Vec::new(),
            };
            match self.is_there.load(Ordering::Relaxed) {
                true => Ok(vec![target]),
                false => Err(EfsError {
                    operation: "DescribeMountTargets",
                    kind: EfsErrorKind::Throttled,
                    message: String::new(),
                    request_id: Some(number.to_string()),
                }),
            }
        }

        async fn is_gone(&self, _: &FileSystemId, _: &crate::volume::AccessPointId) -> Result<bool, EfsError> {
            Ok(false)
        }
    }

    fn id() -> FileSystemId {
        "fs-0123456789abcdef0".parse().unwrap()
    }

    /// Twenty mounts whose mount target is gone try every few seconds for half an hour; they were 144 calls in the first ten seconds.
    #[tokio::test(start_paused = true)]
    async fn many_tunnels_ask_one_question_and_less_and_less_often() {
        let efs = Arc::new(Counting::default());
        let lister = Arc::new(PatientLister::new(Arc::clone(&efs) as _));
        let mut asking = Vec::new();
        for n in 0..20 {
            let lister = Arc::clone(&lister);
            asking.push(tokio::spawn(async move {
                tokio::time::sleep(Duration::from_millis(n * 50)).await;
                for _ in 0..360 {
                    assert!(lister.mount_targets(&id()).await.is_err());
                    tokio::time::sleep(Duration::from_secs(5)).await;
                }
            }));
        }
        tokio::time::sleep(Duration::from_secs(10)).await;
        let soon = efs.calls.load(Ordering::Relaxed);
        assert!((1..=4).contains(&soon), "{soon} calls in the first ten seconds");
        for one in asking {
            one.await.unwrap();
        }
        let all = efs.calls.load(Ordering::Relaxed);
        assert!((15..=40).contains(&all), "{all} calls in half an hour");

        // One that comes back is found within the longest pause.
        efs.is_there.store(true, Ordering::Relaxed);
        tokio::time::sleep(PAUSE.1).await;
        assert_eq!(lister.mount_targets(&id()).await.unwrap().len(), 1);
    }
}
