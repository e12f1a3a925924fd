//! Runs the checks: one after the other, or several at the same time.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use csi_proto::csi::{GetPluginInfoRequest, NodeGetInfoRequest, ProbeRequest};
use futures::{Stream, StreamExt, stream};
use tokio_util::sync::CancellationToken;
use tonic::{Code, transport::Channel};

use crate::{
    capabilities::Capabilities,
    case::Case,
    check::{Body, Check},
    checks,
    client::{Cause, Session},
    config::Config,
    directories::Directories,
    endpoint::EndpointError,
    expect::{Outcome, Stop},
    names::Names,
    report::{CheckResult, Driver, Report, Status, milliseconds},
    resources::{Cleaner, Leftovers, Resources},
};

/// How long a driver that stopped answering is asked whether it still lives.
const LIFE_SIGN_PATIENCE: Duration = Duration::from_secs(5);
/// Longest time that one check may take, cleaning up not included.
const CHECK_LIMIT: Duration = Duration::from_secs(900);

/// Why a run could not start.
#[derive(Debug, thiserror::Error)]
pub enum SuiteError {
    /// Nobody answers at an address.
    #[error(transparent)]
    Endpoint(#[from] EndpointError),
    /// What answers is not a CSI driver.
    #[error("{endpoint} is not a CSI driver: {reason}")]
    NotCsi {
        /// The address.
        endpoint: String,
        /// What it did.
        reason: String,
    },
    /// The driver took the connection and did not answer.
    #[error("the driver at {endpoint} hangs: {reason}")]
    Hangs {
        /// The address.
        endpoint: String,
        /// What it did not answer.
        reason: String,
    },
    /// The selection is empty.
    #[error("no check matches the selection")]
    NothingChosen,
    /// Several checks at once need directories of their own.
    #[error("checks can't run in parallel without directories: give a mount directory and a staging directory")]
    NoDirectories,
}

/// Runs the chosen checks.
///
/// # Errors
/// [`SuiteError`] when no check could be run at all.
pub async fn run(config: &Config) -> Result<Report, SuiteError> {
    run_with(config, &CancellationToken::new(), |_, _, _| {}).await
}

/// Runs the chosen checks, tells `observe` of each result (how many are done, of how many, and the result), and stops when
/// `interrupt` is cancelled, after cleaning up.
///
/// # Errors
/// [`SuiteError`] when no check could be run at all.
pub async fn run_with(
    config: &Config,
    interrupt: &CancellationToken,
    mut observe: impl FnMut(usize, usize, &CheckResult),
) -> Result<Report, SuiteError> {
    let chosen = choose(config)?;
    let start = Instant::now();
    let session = connect(config).await?;
    let driver = introduce(&session, config).await?;
    let workers = workers(&session, config, &chosen).await?;
    let run = Run {
        session,
        interrupt: interrupt.clone(),
        ends: start.checked_add(config.run_limit),
        limit: config.run_limit,
        end: Mutex::default(),
    };
    let all = chosen.len();
    let mut results = Vec::with_capacity(all);
    let mut note = |result: CheckResult| {
        observe(results.len() + 1, all, &result);
        if config.fail_fast && result.status == Status::Failed {
            run.abort(format!("check #{} failed and the run stops at the first failure", result.number));
        }
        results.push(result);
    };
    let (together, alone): (Vec<Check>, Vec<Check>) = chosen.into_iter().partition(|check| workers > 1 && !check.alone);
    for (checks, workers) in [(together, workers), (alone, 1)] {
        let mut running = run.at_once(checks, (0..workers).map(|number| Worker::new(config, number)).collect());
        while let Some(result) = running.next().await {
            note(result);
        }
    }
    results.sort_by_key(|result| result.number);
    let End { aborted, leftovers } = run.end.into_inner().unwrap_or_else(PoisonError::into_inner);
    Ok(Report::new(driver, results, aborted, leftovers).took(start.elapsed()))
}

/// How many checks may run at once. A check attaches one volume at a time, so there are no more than the node takes.
async fn workers(session: &Session, config: &Config, chosen: &[Check]) -> Result<usize, SuiteError> {
    let wanted = config.parallel.min(chosen.len());
    if wanted <= 1 {
        return Ok(1);
    }
    if config.mount_dir.is_none() || config.staging_dir.is_none() {
        return Err(SuiteError::NoDirectories);
    }
    let info = session.fresh_log().node_get_info(NodeGetInfoRequest {}).await;
    let most = info.ok().and_then(|info| usize::try_from(info.max_volumes_per_node).ok()).filter(|most| *most > 0);
    Ok(most.map_or(wanted, |most| wanted.min(most)))
}

fn choose(config: &Config) -> Result<Vec<Check>, SuiteError> {
    let mut chosen: Vec<Check> = checks::all().into_iter().filter(|check| config.selection.chooses(check)).collect();
    if chosen.is_empty() {
        return Err(SuiteError::NothingChosen);
    }
    if let Some(seed) = config.shuffle {
        shuffle(&mut chosen, seed);
    }
    Ok(chosen)
}

/// Orders by a seed, the same for the same seed everywhere (Fisher and Yates over SplitMix64).
fn shuffle<T>(items: &mut [T], mut seed: u64) {
    for index in (1..items.len()).rev() {
        seed = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = seed;
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        word ^= word >> 31;
        let other = usize::try_from(word % (index as u64 + 1)).unwrap_or(index);
        items.swap(index, other);
    }
}

async fn connect(config: &Config) -> Result<Session, SuiteError> {
    let node: Channel = config.endpoint.connect(config.connect_timeout).await?;
    let controller = match &config.controller_endpoint {
        Some(endpoint) => endpoint.connect(config.connect_timeout).await?,
        None => node.clone(),
    };
    Ok(Session::new(node, controller, config.call_deadline))
}

/// Asks both addresses who they are, so that what is no CSI driver is told apart from one that fails checks.
async fn introduce(session: &Session, config: &Config) -> Result<Driver, SuiteError> {
    let mut driver = Driver {
        endpoint: config.endpoint.to_string(),
        controller_endpoint: config.controller_endpoint.as_ref().map(ToString::to_string),
        ..Driver::default()
    };
    let session = session.fresh_log();
    let both = [
        Some((config.endpoint.to_string(), session.clone())),
        config.controller_endpoint.as_ref().map(|endpoint| (endpoint.to_string(), session.identity_of_controller())),
    ];
    for (endpoint, session) in both.into_iter().flatten() {
        match session.get_plugin_info(GetPluginInfoRequest {}).await {
            Ok(info) if driver.name.is_empty() => {
                driver.name = info.name;
                driver.version = info.vendor_version;
            }
            Ok(_) => {}
            Err(refusal) => match (refusal.cause, refusal.code) {
                (Cause::Deadline, _) => return Err(SuiteError::Hangs { endpoint, reason: refusal.to_string() }),
                (Cause::Transport, _) => {
                    let reason = format!("it does not speak gRPC ({refusal})");
                    return Err(SuiteError::NotCsi { endpoint, reason });
                }
                (Cause::Driver, Code::Unimplemented) => {
                    let reason = format!("it speaks gRPC, but knows no csi.v1.Identity service ({refusal})");
                    return Err(SuiteError::NotCsi { endpoint, reason });
                }
                // These words are our own gRPC library's, about bytes that are no message.
                (Cause::Driver, Code::Internal)
                    if ["failed to decode Protobuf", "protocol error"]
                        .iter()
                        .any(|w| refusal.message.starts_with(w)) =>
                {
                    let reason = format!("its answer to GetPluginInfo is garbage ({refusal})");
                    return Err(SuiteError::NotCsi { endpoint, reason });
                }
                (Cause::Driver, _) => tracing::warn!(endpoint, %refusal, "the driver does not say who it is"),
            },
        }
    }
    Ok(driver)
}

/// What checks that run at the same time must not share.
struct Worker {
    config: Arc<Config>,
    names: Names,
}

impl Worker {
    fn new(config: &Config, number: usize) -> Self {
        Self { config: Arc::new(config.of_worker(number)), names: Names::new() }
    }
}

/// What the end of a run tells.
#[derive(Default)]
struct End {
    aborted: Option<String>,
    leftovers: Vec<String>,
}

/// What all checks of a run share.
struct Run {
    session: Session,
    interrupt: CancellationToken,
    ends: Option<Instant>,
    limit: Duration,
    end: Mutex<End>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Run {
    /// Lets no further check start. The first reason stays.
    fn abort(&self, reason: String) {
        lock(&self.end).aborted.get_or_insert(reason);
    }

    fn aborted(&self) -> Option<String> {
        lock(&self.end).aborted.clone()
    }

    /// Runs checks, as many at a time as there are workers; results come as they are ready.
    fn at_once(&self, checks: Vec<Check>, workers: Vec<Worker>) -> impl Stream<Item = CheckResult> + Unpin {
        let queue = Arc::new(Mutex::new(checks.into_iter()));
        stream::select_all(workers.into_iter().map(|worker| {
            let start = (worker, Arc::clone(&queue));
            Box::pin(stream::unfold(start, async |(worker, queue)| {
                let check = lock(&queue).next()?;
                let result = self.result(&worker, check).await;
                Some((result, (worker, queue)))
            }))
        }))
    }

    async fn result(&self, worker: &Worker, check: Check) -> CheckResult {
        if self.ends.is_some_and(|end| Instant::now() >= end) {
            self.abort(format!("its limit of {:?} is over", self.limit));
        }
        if self.interrupt.is_cancelled() {
            self.abort("it was interrupted".into());
        }
        if let Some(reason) = self.aborted() {
            return CheckResult::new(&check, Status::NotRun, Some(reason));
        }
        let Some(body) = check.body else {
            return CheckResult::new(&check, Status::Pending, Some("listed but not run, as in the Go suite".into()));
        };
        let mut attempt = 1;
        let mut earlier = Vec::new();
        loop {
            let mut result = self.attempt(worker, &check, body).await;
            if result.status != Status::Failed || attempt >= worker.config.attempts || self.aborted().is_some() {
                result.attempts = attempt;
                result.earlier = earlier;
                return result;
            }
            earlier.push(result.explanation());
            attempt += 1;
        }
    }

    async fn attempt(&self, worker: &Worker, check: &Check, body: Body) -> CheckResult {
        let start = Instant::now();
        let session = self.session.fresh_log();
        let (outcome, leftovers) = self.carry_out(worker, check, body, &session).await;
        let mut problems = Vec::new();
        let mut result = match outcome {
            Ok(()) => CheckResult::new(check, Status::Passed, None),
            Err(Stop::Skipped(reason)) => CheckResult::new(check, Status::Skipped, Some(reason)),
            Err(Stop::Failed(reason)) => {
                problems.push(reason);
                CheckResult::new(check, Status::Failed, None)
            }
        };
        problems.extend(leftovers.errors);
        lock(&self.end).leftovers.extend(leftovers.resources);
        if !problems.is_empty() {
            result.status = Status::Failed;
            result.reason = Some(problems.join("\n"));
            result.keep_last_calls(session.calls());
        }
        result.rpcs = session.rpcs();
        result.milliseconds = milliseconds(start.elapsed());
        if let Some((cause, trouble)) = session.trouble() {
            let patience = LIFE_SIGN_PATIENCE.min(worker.config.call_deadline);
            if let Some(reason) = self.life_sign(cause, patience).await {
                self.abort(format!("after check #{} ({trouble}), {reason}", check.number));
            }
        }
        result
    }

    async fn carry_out(&self, worker: &Worker, check: &Check, body: Body, session: &Session) -> (Outcome, Leftovers) {
        let nothing = Leftovers::default();
        let config = worker.config.as_ref();
        let directories = match Directories::make(config).await {
            Ok(directories) => directories,
            Err(stop) => return (Err(stop), nothing),
        };
        let capabilities = match Capabilities::ask(session, check).await {
            Ok(capabilities) => capabilities,
            Err(stop) => {
                directories.remove(config).await;
                return (Err(stop), nothing);
            }
        };
        if let Some(reason) = capabilities.missing(check.needs) {
            directories.remove(config).await;
            return (Err(Stop::Skipped(reason)), nothing);
        }
        let case = Case {
            number: check.number,
            session: session.clone(),
            config: Arc::clone(&worker.config),
            capabilities,
            directories,
            names: worker.names.clone(),
            resources: Resources::default(),
        };
        let outcome = tokio::select! {
            outcome = body(&case) => outcome,
            () = self.grace(config.call_deadline) => Err(Stop::Failed("the run was interrupted during this check".into())),
            () = tokio::time::sleep(CHECK_LIMIT) => {
                Err(Stop::Failed(format!("the check did not end within {CHECK_LIMIT:?}")))
            }
        };
        let cleaner = Cleaner {
            session,
            config,
            capabilities: &case.capabilities,
            directories: &case.directories,
            node_calls: check.node_cleanup,
        };
        let leftovers = case.resources.clean_up(&cleaner).await;
        case.directories.remove(config).await;
        (outcome, leftovers)
    }

    /// Ends some time after an interruption: a check in the middle of a call may finish, so that it knows what it made.
    async fn grace(&self, grace: Duration) {
        self.interrupt.cancelled().await;
        tokio::time::sleep(grace).await;
    }

    /// Asks a driver that failed to answer whether it lives; what is wrong if it does not.
    async fn life_sign(&self, cause: Cause, patience: Duration) -> Option<String> {
        let session = self.session.fresh_log().with_deadline(patience);
        let start = Instant::now();
        loop {
            match session.probe(ProbeRequest {}).await {
                Err(refusal) if refusal.cause == Cause::Deadline => {
                    return Some(format!("the driver hangs: {refusal}"));
                }
                Err(refusal) if refusal.cause == Cause::Transport => {
                    if cause == Cause::Deadline || start.elapsed() >= patience {
                        return Some(format!("the driver is gone: {refusal}"));
                    }
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
                _ => return None,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shuffling_keeps_every_check_and_repeats_by_seed() {
        let order = |seed| {
            let mut items: Vec<u32> = (0..50).collect();
            shuffle(&mut items, seed);
            items
        };
        assert_eq!(order(7), order(7));
        assert_ne!(order(7), order(8));
        let mut sorted = order(7);
        sorted.sort_unstable();
        assert_eq!(sorted, (0..50).collect::<Vec<_>>());
    }
}
