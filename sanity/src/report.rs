//! The result of a run.

use std::{collections::BTreeSet, fmt, time::Duration};

use crate::{
    check::{Area, Check, Group},
    client::CallRecord,
    selection::origin,
};

pub mod ginkgo;
pub mod junit;
pub mod terminal;

/// How many calls a failure shows at most; the last ones.
const CALLS_SHOWN: usize = 12;

/// The result of a run.
#[derive(Debug, Clone, serde::Serialize)]
pub struct Report {
    /// `csi-sanity` and its version.
    pub suite: &'static str,
    /// Who was checked.
    pub driver: Driver,
    /// What became of each check, in the order of the run.
    pub checks: Vec<CheckResult>,
    /// Why the run ended early: the driver died or hangs, time was up, or somebody interrupted it.
    pub aborted: Option<String>,
    /// What could not be removed from the driver.
    pub leftovers: Vec<String>,
    /// How many checks ended how.
    pub totals: Totals,
    /// How long the run took, in milliseconds.
    pub milliseconds: u64,
}

/// Who was checked.
#[derive(Debug, Clone, Default, serde::Serialize)]
pub struct Driver {
    /// `GetPluginInfo`'s name, empty when it did not tell.
    pub name: String,
    /// `GetPluginInfo`'s version.
    pub version: String,
    /// The address.
    pub endpoint: String,
    /// The controller's own address, if it has one.
    pub controller_endpoint: Option<String>,
}

/// How many checks ended how.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
#[allow(missing_docs, reason = "each is named after its status")]
pub struct Totals {
    pub passed: usize,
    pub failed: usize,
    pub skipped: usize,
    pub pending: usize,
    pub not_run: usize,
}

/// How a check ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// The driver does what the check asks for.
    Passed,
    /// It does not.
    Failed,
    /// The check does not apply to this driver or configuration.
    Skipped,
    /// The check is listed but never run.
    Pending,
    /// The run ended before it.
    NotRun,
}

impl Status {
    /// The word for it in reports.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::Failed => "failed",
            Self::Skipped => "skipped",
            Self::Pending => "pending",
            Self::NotRun => "not run",
        }
    }
}

/// What became of one check.
#[derive(Debug, Clone, serde::Serialize)]
pub struct CheckResult {
    /// Its number.
    pub number: u16,
    /// Containers and title as the Go suite prints them.
    pub name: String,
    /// The title alone.
    #[serde(skip)]
    pub(crate) title: &'static str,
    /// Where the check comes from.
    pub group: Group,
    /// File and line in the Go suite.
    #[serde(skip)]
    pub(crate) origin: Option<(&'static str, u32)>,
    /// What it belongs to.
    pub area: Area,
    /// The rule that it stands for.
    pub rule: &'static str,
    /// How it ended.
    pub status: Status,
    /// Why it was skipped, or what was wrong.
    pub reason: Option<String>,
    /// For a failure, the last calls.
    pub calls: Vec<CallRecord>,
    /// The RPCs that it called, cleaning up included.
    pub rpcs: BTreeSet<&'static str>,
    /// How often it was tried.
    pub attempts: u32,
    /// What was wrong at the attempts before the last one.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub earlier: Vec<String>,
    /// How long it took, in milliseconds.
    pub milliseconds: u64,
}

impl CheckResult {
    pub(crate) fn new(check: &Check, status: Status, reason: Option<String>) -> Self {
        Self {
            number: check.number,
            name: check.name(),
            title: check.title,
            origin: origin(check),
            group: check.group,
            area: check.area,
            rule: check.rule,
            status,
            reason,
            calls: vec![],
            rpcs: BTreeSet::new(),
            attempts: 0,
            earlier: vec![],
            milliseconds: 0,
        }
    }

    pub(crate) fn keep_last_calls(&mut self, mut calls: Vec<CallRecord>) {
        calls.drain(..calls.len().saturating_sub(CALLS_SHOWN));
        self.calls = calls;
    }

    /// What was expected, what the calls were, and the rule: the text of a failure.
    #[must_use]
    pub fn explanation(&self) -> String {
        use fmt::Write as _;
        let mut text = self.reason.clone().unwrap_or_default();
        // Writing to a String cannot fail.
        let _ = write!(text, "\n  rule: {}", self.rule);
        for call in &self.calls {
            let _ = write!(text, "\n  {} {} ({} ms)\n    → {}", call.rpc, call.request, call.milliseconds, call.answer);
        }
        text
    }
}

impl Report {
    pub(crate) fn new(
        driver: Driver,
        checks: Vec<CheckResult>,
        aborted: Option<String>,
        leftovers: Vec<String>,
    ) -> Self {
        let count = |status| checks.iter().filter(|check| check.status == status).count();
        let totals = Totals {
            passed: count(Status::Passed),
            failed: count(Status::Failed),
            skipped: count(Status::Skipped),
            pending: count(Status::Pending),
            not_run: count(Status::NotRun),
        };
        let suite = concat!("csi-sanity ", env!("CARGO_PKG_VERSION"));
        Self { suite, driver, checks, aborted, leftovers, totals, milliseconds: 0 }
    }

    pub(crate) fn took(mut self, time: Duration) -> Self {
        self.milliseconds = milliseconds(time);
        self
    }

    /// Whether the run was complete and no check failed.
    #[must_use]
    pub fn passed(&self) -> bool {
        self.exit_code() == 0
    }

    /// 0: all passed; 1: a check failed; 2: the run could not be completed.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match (&self.aborted, self.totals.failed) {
            (Some(_), _) => 2,
            (None, 0) => 0,
            (None, _) => 1,
        }
    }

    /// The numbers of the checks that failed.
    #[must_use]
    pub fn failures(&self) -> BTreeSet<u16> {
        self.checks.iter().filter(|check| check.status == Status::Failed).map(|check| check.number).collect()
    }

    /// The report as JSON.
    ///
    /// # Errors
    /// Only if serialising fails, which no input can bring about.
    pub fn to_json(&self) -> Result<String, serde_json::Error> {
        serde_json::to_string_pretty(self)
    }
}

impl fmt::Display for Report {
    /// Failures in full, those that did not come again too, then what was left behind, then the totals in one line.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for check in self.checks.iter().filter(|check| check.status == Status::Failed) {
            writeln!(f, "FAILED #{} {}\n  {}\n", check.number, check.name, check.explanation())?;
        }
        for check in self.checks.iter().filter(|check| check.status != Status::Failed) {
            for wrong in &check.earlier {
                writeln!(f, "FLAKY #{} {} (attempt {} passed)\n  {wrong}\n", check.number, check.name, check.attempts)?;
            }
        }
        if !self.leftovers.is_empty() {
            writeln!(f, "Left behind in the driver: {}", self.leftovers.join(", "))?;
        }
        if let Some(reason) = &self.aborted {
            writeln!(f, "The run was not completed: {reason}")?;
        }
        let Totals { passed, failed, skipped, pending, not_run } = self.totals;
        let run = passed + failed;
        let seconds = self.milliseconds as f64 / 1000.0;
        write!(
            f,
            "Ran {run} of {} checks in {seconds:.3} s: {passed} passed, {failed} failed, {pending} pending, {skipped} skipped",
            self.checks.len()
        )?;
        if not_run > 0 { write!(f, ", {not_run} not run") } else { Ok(()) }
    }
}

pub(crate) fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
