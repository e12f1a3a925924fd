//! What the connections of a tunnel that may have several count, for whoever looks.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::time::Instant;

/// A connection that leaves a call without any answer for so long stalls. NFS over a healthy path takes milliseconds, EFS under its
/// throughput limit some hundred.
const STALL: Duration = Duration::from_secs(1);

/// Of all connections of a tunnel.
#[derive(Debug, Default)]
pub struct Counts {
    /// Connections to the mount target now.
    pub connections: AtomicUsize,
    /// Connections that were added to the first one of the kernel's, because it was busy.
    pub added: AtomicU64,
    /// Connections that were lost while others went on.
    pub lost: AtomicU64,
    /// Calls that were sent again on another connection.
    pub resent: AtomicU64,
    open: Mutex<Vec<Arc<Carried>>>,
    stalled: Mutex<Option<Instant>>,
}

/// What one connection has carried.
#[derive(Debug, Default)]
pub(super) struct Carried {
    pub(super) sent: AtomicU64,
    pub(super) received: AtomicU64,
}

/// One connection to the mount target, as it is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UpstreamReport {
    /// Bytes of calls.
    pub sent_bytes: u64,
    /// Bytes of replies.
    pub received_bytes: u64,
}

impl Counts {
    fn open(&self) -> MutexGuard<'_, Vec<Arc<Carried>>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn opened(&self, carried: &Arc<Carried>) {
        self.open().push(Arc::clone(carried));
    }

    pub(super) fn closed(&self, carried: &Arc<Carried>) {
        self.open().retain(|it| !Arc::ptr_eq(it, carried));
    }

    /// Each connection, the oldest first.
    pub fn each(&self) -> Vec<UpstreamReport> {
        let report = |it: &Arc<Carried>| UpstreamReport {
            sent_bytes: it.sent.load(Relaxed),
            received_bytes: it.received.load(Relaxed),
        };
        self.open().iter().map(report).collect()
    }

    fn stalled(&self) -> MutexGuard<'_, Option<Instant>> {
        self.stalled.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How long ago a connection began to answer again that had not for a second and more.
    pub fn since_stall(&self) -> Option<Duration> {
        self.stalled().map(|at| at.elapsed())
    }
}

/// For how long a connection has had something to answer and said nothing.
#[derive(Debug, Default)]
pub(super) struct Silence(Option<Instant>);

impl Silence {
    /// It has been asked, and owed nothing before.
    pub(super) fn begin(&mut self) {
        self.0 = Some(Instant::now());
    }

    /// It has said something, which may not be all that it owes.
    pub(super) fn end(&mut self, counts: &Counts, owes: bool) {
        let now = Instant::now();
        if owes && self.0.is_some_and(|since| now.duration_since(since) >= STALL) {
            *counts.stalled() = Some(now);
        }
        self.0 = Some(now);
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_stall_is_a_second_without_an_answer_that_is_owed() {
        let (counts, mut silence) = (Counts::default(), Silence::default());
        silence.begin();
        advance(STALL / 2).await;
        silence.end(&counts, true);
        advance(STALL * 60).await;
        silence.end(&counts, false);
        assert_eq!(counts.since_stall(), None, "nothing was owed for long");
        silence.begin();
        advance(STALL).await;
        silence.end(&counts, true);
        advance(STALL * 3).await;
        assert_eq!(counts.since_stall(), Some(STALL * 3));
    }
}
