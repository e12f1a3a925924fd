//! Targets that somebody works on: one at a time.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::errors::NodeError;
use super::lock;

/// How long a call waits for what this process does at its target by itself, which takes milliseconds unless a disk hangs.
const OWN_WORK: Duration = Duration::from_secs(2);
/// How often it looks meanwhile.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// The targets, with the volume that a call is about; none for what this process does by itself.
#[derive(Clone, Default)]
pub(super) struct Claims(Arc<Mutex<HashMap<PathBuf, Option<String>>>>);

/// The right to work on a target; given back on drop.
pub(super) struct Claim {
    target: PathBuf,
    claims: Claims,
}

impl Drop for Claim {
    fn drop(&mut self) {
        lock(&self.claims.0).remove(&self.target);
    }
}

impl Claims {
    /// Claims a target for one call, if it is free.
    pub(super) fn for_call(&self, target: &Path, volume: &str) -> Result<Claim, NodeError> {
        self.claim(target, Some(volume))
    }

    /// The same, after what this process does there by itself: to the caller there is no other call.
    pub(super) async fn for_call_after_own_work(&self, target: &Path, volume: &str) -> Result<Claim, NodeError> {
        let begun = Instant::now();
        loop {
            match self.for_call(target, volume) {
                Err(_) if !self.is_of_a_call(target) && begun.elapsed() < OWN_WORK => sleep(LOOK_EVERY).await,
                claimed => return claimed,
            }
        }
    }

    /// Claims a target for what this process does by itself. A call in progress knows better.
    pub(super) fn for_own_work(&self, target: &Path) -> Option<Claim> {
        self.claim(target, None).ok()
    }

    /// Targets that calls about a volume work on.
    pub(super) fn targets_of(&self, volume: &str) -> Vec<PathBuf> {
        let claimed = lock(&self.0);
        claimed.iter().filter(|(_, of)| of.as_deref() == Some(volume)).map(|(target, _)| target.clone()).collect()
    }

    fn claim(&self, target: &Path, volume: Option<&str>) -> Result<Claim, NodeError> {
        let mut claimed = lock(&self.0);
        if claimed.contains_key(target) {
            return Err(NodeError::InProgress(target.to_owned()));
        }
        claimed.insert(target.to_owned(), volume.map(str::to_owned));
        Ok(Claim { target: target.to_owned(), claims: self.clone() })
    }

    fn is_of_a_call(&self, target: &Path) -> bool {
        lock(&self.0).get(target).is_some_and(Option::is_some)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_call_waits_for_this_processes_own_work_and_for_no_other_call() {
        let (claims, target) = (Claims::default(), Path::new("/pods/a"));
        let own = claims.for_own_work(target).expect("free");
        let (claimed, ()) = tokio::join!(claims.for_call_after_own_work(target, "fs-1"), async {
            sleep(OWN_WORK / 2).await;
            drop(own);
        });
        let begun = Instant::now();
        let other = claims.for_call_after_own_work(target, "fs-1").await;
        assert!(matches!(other, Err(NodeError::InProgress(_))), "another call works there");
        assert_eq!(begun.elapsed(), Duration::ZERO);
        drop(claimed.expect("it is free again"));
        let _hangs = claims.for_own_work(target).expect("free");
        assert!(claims.for_call_after_own_work(target, "fs-1").await.is_err(), "a disk may hang");
        assert!(begun.elapsed() >= OWN_WORK);
    }
}
