//! The first success among several candidates that may each take long or never answer.

use std::collections::VecDeque;
use std::time::Duration;

use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use tokio::time::{Instant, sleep_until};

/// Tries the candidates in their order. The next attempt begins when the last has failed, or has not ended for `next_after`; the others go
/// on meanwhile. The first success wins and the others are dropped.
///
/// # Errors
/// All failures, in the order in which they came, when no attempt succeeds.
pub(crate) async fn first<C, T, E, F>(
    candidates: impl IntoIterator<Item = C>,
    next_after: Duration,
    attempt: impl Fn(C) -> F,
) -> Result<T, Vec<E>>
where
    F: Future<Output = Result<T, E>>,
{
    let mut waiting: VecDeque<C> = candidates.into_iter().collect();
    let mut running = FuturesUnordered::new();
    let mut failures = Vec::new();
    let mut next_at = Instant::now();
    loop {
        if (running.is_empty() || next_at <= Instant::now())
            && let Some(candidate) = waiting.pop_front()
        {
            running.push(attempt(candidate));
            next_at = Instant::now() + next_after;
        }
        tokio::select! {
            biased;
            Some(ended) = running.next() => match ended {
                Ok(won) => return Ok(won),
                Err(failure) => {
                    failures.push(failure);
                    next_at = Instant::now();
                }
            },
            () = sleep_until(next_at), if !waiting.is_empty() => {}
            else => return Err(failures),
        }
    }
}
