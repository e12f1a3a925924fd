//! Calls into the system that may not come back: on threads of their own, with a deadline, and seen by whoever looks.
//!
//! A disk that is frozen, or gone, holds up the thread that touches it. On a thread of the runtime that would be every tunnel and
//! every probe. Here such a call costs one thread of the pool; its caller gets an error that names what hangs, and so does everybody
//! who comes while it still does.
//!
//! A call that was given up goes on, and has its effect when the system answers at last. No later call to the same thing is begun
//! before that, so effects come in the order of the calls.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Local disks answer in milliseconds, busy ones in a second; kubelets wait two minutes for a call.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);
/// What takes longer is told to those who ask for the driver's health.
const SLOW_AFTER: Duration = Duration::from_secs(1);

/// The same of a file that the environment or a flag names. Who asks for credentials waits five seconds, and should hear which file it is.
const FILE_ANSWERS_WITHIN: Duration = Duration::from_secs(3);

/// What a call needs.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Dependency {
    /// The directory of `--state-dir`.
    StateDirectory,
    /// `/proc/self/mountinfo` and the kernel's list of NFS servers.
    MountTable,
    /// The disk with this program, of which helpers are started.
    Program,
    /// A file that the environment or a flag names.
    File {
        /// The variable or the flag.
        named_by: Arc<str>,
        /// The file.
        path: Arc<Path>,
    },
}

impl Dependency {
    fn answers_within(&self) -> Duration {
        match self {
            Self::StateDirectory | Self::MountTable | Self::Program => ANSWER_WITHIN,
            Self::File { .. } => FILE_ANSWERS_WITHIN,
        }
    }
}

impl fmt::Display for Dependency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::StateDirectory => f.write_str("the state directory (--state-dir)"),
            Self::MountTable => f.write_str("the kernel's mount table"),
            Self::Program => f.write_str("the disk of this program"),
            Self::File { named_by, path } => write!(f, "{named_by}={}", path.display()),
        }
    }
}

/// A call that has not come back.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{on} has not answered for {seconds} s ({doing}); see whether its disk is frozen, full of errors or gone", seconds = for_.as_secs())]
pub struct Hanging {
    /// What it needs.
    pub on: Dependency,
    /// What is being done.
    pub doing: &'static str,
    /// For how long.
    pub for_: Duration,
}

/// The calls of this process.
#[derive(Clone, Debug, Default)]
pub struct Blocking {
    running: Arc<Mutex<Running>>,
}

#[derive(Debug, Default)]
struct Running {
    calls: BTreeMap<u64, Call>,
    next: u64,
    /// What is wrong outside this process, by what it is.
    troubles: BTreeMap<&'static str, String>,
}

#[derive(Clone, Debug)]
struct Call {
    on: Dependency,
    doing: &'static str,
    since: Instant,
}

/// A call that counts as running as long as this lives.
#[derive(Debug)]
pub struct Entry {
    blocking: Blocking,
    number: u64,
}

impl Drop for Entry {
    fn drop(&mut self) {
        let ended = self.blocking.lock().calls.remove(&self.number);
        let given_up = |call: &Call| call.since.elapsed() >= call.on.answers_within();
        // Said once, by the last of those that hung together.
        if let Some(call) = ended.filter(given_up)
            && self.blocking.longest(|other| other.on == call.on && given_up(other)).is_none()
        {
            let seconds = call.since.elapsed().as_secs();
            tracing::info!(dependency = %call.on, doing = call.doing, seconds, "answers again");
        }
    }
}

impl Blocking {
    /// Does `work`, which needs `on`. Fails after ten seconds (a file that somebody names: three), and at once while an earlier call to the same hangs.
    ///
    /// # Errors
    /// What `work` answers; or [`Hanging`] as [`io::ErrorKind::TimedOut`].
    pub async fn run<T: Send + 'static>(
        &self,
        on: Dependency,
        doing: &'static str,
        work: impl FnOnce() -> io::Result<T> + Send + 'static,
    ) -> io::Result<T> {
        let entry = self.begin(on.clone(), doing)?;
        let answer = tokio::task::spawn_blocking(move || {
            let _entry = entry;
            work()
        });
        within(on, doing, async { answer.await.unwrap_or_else(|error| Err(io::Error::other(error))) }).await
    }

    /// The same for as long as it takes: for a start that nothing can go on without.
    ///
    /// # Errors
    /// What `work` answers.
    pub async fn run_patiently<T: Send + 'static>(
        &self,
        on: Dependency,
        doing: &'static str,
        work: impl FnOnce() -> io::Result<T> + Send + 'static,
    ) -> io::Result<T> {
        let entry = self.enter(on, doing);
        let answer = tokio::task::spawn_blocking(move || {
            let _entry = entry;
            work()
        });
        answer.await.unwrap_or_else(|error| Err(io::Error::other(error)))
    }

    /// Begins a call, unless an earlier one to the same hangs.
    ///
    /// # Errors
    /// [`Hanging`].
    pub fn begin(&self, on: Dependency, doing: &'static str) -> io::Result<Entry> {
        match self.longest(|call| call.on == on && call.since.elapsed() >= on.answers_within()) {
            Some(hanging) => Err(io::Error::new(io::ErrorKind::TimedOut, hanging)),
            None => Ok(self.enter(on, doing)),
        }
    }

    /// Notes what is wrong with something that this process needs, or that nothing is any more; it is said once.
    pub fn note(&self, what: &'static str, trouble: Option<String>) {
        let mut running = self.lock();
        let before = match trouble.clone() {
            Some(trouble) => running.troubles.insert(what, trouble),
            None => running.troubles.remove(what),
        };
        match (before, trouble) {
            (None, Some(trouble)) => tracing::error!(what, trouble, "degraded"),
            (Some(_), None) => tracing::info!(what, "well again"),
            _ => {}
        }
    }

    /// What is wrong outside this process, a line each.
    pub fn degraded(&self) -> Vec<String> {
        let troubles: Vec<String> = self.lock().troubles.values().cloned().collect();
        self.hanging().iter().map(ToString::to_string).chain(troubles).collect()
    }

    /// The longest call of each dependency that keeps its callers waiting.
    pub fn hanging(&self) -> Vec<Hanging> {
        let is_slow = |call: &&Call| call.since.elapsed() >= SLOW_AFTER;
        let slow: BTreeSet<_> = self.lock().calls.values().filter(is_slow).map(|call| call.on.clone()).collect();
        slow.into_iter().filter_map(|on| self.longest(|call| call.on == on)).collect()
    }

    fn longest(&self, wanted: impl Fn(&Call) -> bool) -> Option<Hanging> {
        let running = self.lock();
        let call = running.calls.values().filter(|call| wanted(call)).min_by_key(|call| call.since)?;
        Some(Hanging { on: call.on.clone(), doing: call.doing, for_: call.since.elapsed() })
    }

    fn enter(&self, on: Dependency, doing: &'static str) -> Entry {
        let mut running = self.lock();
        let number = running.next;
        running.next += 1;
        running.calls.insert(number, Call { on, doing, since: Instant::now() });
        Entry { blocking: self.clone(), number }
    }

    fn lock(&self) -> MutexGuard<'_, Running> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Waits for the answer of a call that was begun, not longer than callers should.
///
/// # Errors
/// What it answers; or [`Hanging`] as [`io::ErrorKind::TimedOut`].
pub async fn within<T>(
    on: Dependency,
    doing: &'static str,
    answer: impl Future<Output = io::Result<T>>,
) -> io::Result<T> {
    let limit = on.answers_within();
    tokio::time::timeout(limit, answer).await.unwrap_or_else(|_| {
        let hanging = Hanging { on, doing, for_: limit };
        tracing::error!(%hanging, "gave a call up; it goes on when it can");
        Err(io::Error::new(io::ErrorKind::TimedOut, hanging))
    })
}

/// Runs `work`, which may make such calls between others, on a thread of its own. It has no deadline: the caller's counts.
pub(crate) async fn apart<T: Send + 'static>(work: impl Future<Output = T> + Send + 'static) -> T {
    let runtime = tokio::runtime::Handle::current();
    match tokio::task::spawn_blocking(move || runtime.block_on(work)).await {
        Ok(done) => done,
        Err(failed) => match failed.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            // The process ends.
            Err(_) => std::future::pending().await,
        },
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[tokio::test]
    async fn a_call_that_hangs_is_named_and_holds_up_only_its_own_kind() {
        let blocking = Blocking::default();
        let (release, held) = mpsc::channel::<()>();
        let (on, doing) = (Dependency::StateDirectory, "writing a record");
        let task = tokio::spawn({
            let blocking = blocking.clone();
            let on = on.clone();
            async move { blocking.run(on, doing, move || held.recv().map_err(io::Error::other)).await }
        });
        while blocking.lock().calls.is_empty() {
            tokio::task::yield_now().await;
        }
        assert_eq!(blocking.hanging(), [], "not yet");
        let long_ago = Instant::now().checked_sub(ANSWER_WITHIN).expect("a clock that runs for so long");
        blocking.lock().calls.values_mut().for_each(|call| call.since = long_ago);
        let hanging = blocking.hanging();
        assert_eq!(hanging.iter().map(|it| (&it.on, it.doing)).collect::<Vec<_>>(), [(&on, doing)]);
        assert!(hanging[0].to_string().starts_with("the state directory (--state-dir) has not answered for 10 s"));
        // Nobody joins the queue, which would only grow, and nothing overtakes what was given up.
        let error = blocking.run(on.clone(), "another", || Ok(())).await.expect_err("it hangs");
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert!(error.to_string().contains("writing a record"), "{error}");
        blocking.run(Dependency::MountTable, "reading it", || Ok(())).await.expect("another thing");
        release.send(()).expect("the call waits");
        task.await.expect("task").expect("it is done in the end");
        blocking.run(on, "another", || Ok(())).await.expect("it answers again");
        assert_eq!(blocking.hanging(), []);
    }

    #[test]
    fn what_is_wrong_is_told_until_it_is_well() {
        let blocking = Blocking::default();
        blocking.note("port keeper", Some("it does not answer".to_owned()));
        blocking.note("ports", None);
        assert_eq!(blocking.degraded(), ["it does not answer"]);
        blocking.note("port keeper", None);
        assert!(blocking.degraded().is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn a_caller_waits_for_ten_seconds() {
        let begin = tokio::time::Instant::now();
        let never = std::future::pending::<io::Result<()>>();
        let error = within(Dependency::MountTable, "reading it", never).await.expect_err("never");
        assert_eq!((error.kind(), begin.elapsed()), (io::ErrorKind::TimedOut, ANSWER_WITHIN));
    }
}
