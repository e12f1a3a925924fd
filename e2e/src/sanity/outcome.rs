//! What a run of csi-sanity says about our driver: it may skip only what the driver rightly lacks.

use std::collections::BTreeMap;

use anyhow::Context as _;
use serde::Deserialize;

/// Why a check may be skipped. EFS has no snapshots, clones, block devices or attaching, nothing is staged, and a node has nothing
/// to do when a volume grows.
const RIGHTLY_LACKED: &[&str] = &[
    "controller capability CREATE_DELETE_SNAPSHOT",
    "controller capability LIST_SNAPSHOTS",
    "controller capability GET_SNAPSHOT",
    "controller capability CLONE_VOLUME",
    "controller capability PUBLISH_UNPUBLISH_VOLUME",
    "controller capability PUBLISH_READONLY",
    "node capability STAGE_UNSTAGE_VOLUME",
    "node capability EXPAND_VOLUME",
    "plugin capability GROUP_CONTROLLER_SERVICE",
    "plugin capability SNAPSHOT_ACCESSIBILITY_CONSTRAINTS",
    // Check 170 is for drivers without MODIFY_VOLUME.
    "the driver supports mutable parameters",
];

/// How many checks ended how.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Checks that passed.
    pub passed: usize,
    /// Checks that failed, did not run, or were skipped without a good reason.
    pub failed: usize,
    /// Checks whose capability the driver rightly lacks, and the one that the Go suite has switched off.
    pub skipped: usize,
}

impl std::ops::AddAssign for Totals {
    fn add_assign(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.skipped += other.skipped;
    }
}

/// How one run ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// The counts.
    pub totals: Totals,
    /// The numbers of the skipped checks by reason.
    pub skips: BTreeMap<String, Vec<u16>>,
    /// What is wrong, a line each.
    pub wrong: Vec<String>,
    /// What was wrong at first and then passed, a line each.
    pub flaky: Vec<String>,
}

#[derive(Deserialize)]
struct Report {
    checks: Vec<Check>,
    aborted: Option<String>,
    leftovers: Vec<String>,
}

#[derive(Deserialize)]
struct Check {
    number: u16,
    name: String,
    status: String,
    reason: Option<String>,
    #[serde(default)]
    earlier: Vec<String>,
}

impl Outcome {
    /// Reads csi-sanity's JSON report.
    pub fn of_report(json: &str) -> anyhow::Result<Self> {
        let report: Report = serde_json::from_str(json).context("parsing csi-sanity's report")?;
        let mut outcome = Self::default();
        for check in report.checks {
            let reason = check.reason.unwrap_or_default();
            let rightly = check.status == "pending" || RIGHTLY_LACKED.iter().any(|lacked| reason.contains(lacked));
            match check.status.as_str() {
                "passed" => {
                    outcome.totals.passed += 1;
                    let first = check.earlier.first().and_then(|earlier| earlier.lines().next());
                    outcome.flaky.extend(first.map(|wrong| format!("#{} {}: {wrong}", check.number, check.name)));
                }
                "skipped" | "pending" if rightly => {
                    outcome.totals.skipped += 1;
                    outcome.skips.entry(reason).or_default().push(check.number);
                }
                status => {
                    outcome.totals.failed += 1;
                    outcome.wrong.push(format!("#{} {} {status}: {reason}", check.number, check.name));
                }
            }
        }
        outcome.wrong.extend(report.aborted.map(|reason| format!("the run was not completed: {reason}")));
        outcome.wrong.extend(report.leftovers.iter().map(|left| format!("left behind: {left}")));
        if outcome.totals.failed == 0 {
            outcome.totals.failed = outcome.wrong.len();
        }
        Ok(outcome)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(status: &str, reason: &str, rest: &str) -> Outcome {
        let check =
            format!(r#"{{"number": 17, "name": "a b", "status": "{status}", "reason": "{reason}", "calls": []}}"#);
        let passed = r#"{"number": 1, "name": "c", "status": "passed", "reason": null}"#;
        Outcome::of_report(&format!(r#"{{"checks": [{check}, {passed}], {rest}}}"#)).unwrap()
    }

    const CLEAN: &str = r#""aborted": null, "leftovers": []"#;

    #[test]
    fn what_the_driver_rightly_lacks_is_skipped_and_named() {
        let lacked = "the driver does not declare the controller capability CREATE_DELETE_SNAPSHOT";
        let outcome = report("skipped", lacked, CLEAN);
        assert_eq!(outcome.totals, Totals { passed: 1, failed: 0, skipped: 1 });
        assert_eq!(outcome.skips[lacked], [17]);
    }

    #[test]
    fn any_other_skip_is_a_failure() {
        let outcome = report("skipped", "the driver does not declare the controller capability LIST_VOLUMES", CLEAN);
        assert_eq!(outcome.totals, Totals { passed: 1, failed: 1, skipped: 0 });
        assert!(outcome.wrong[0].contains("LIST_VOLUMES"), "{outcome:?}");
    }

    #[test]
    fn what_passes_only_when_it_is_repeated_is_named() {
        let check = r#"{"number": 5, "name": "a b", "status": "passed", "reason": null, "earlier": ["too late\n  rule: soon"]}"#;
        let outcome = Outcome::of_report(&format!(r#"{{"checks": [{check}], {CLEAN}}}"#)).unwrap();
        assert_eq!(outcome.totals, Totals { passed: 1, failed: 0, skipped: 0 });
        assert_eq!(outcome.flaky, ["#5 a b: too late"]);
        let check = check.replace("passed", "failed");
        let outcome = Outcome::of_report(&format!(r#"{{"checks": [{check}], {CLEAN}}}"#)).unwrap();
        assert_eq!((outcome.totals.failed, outcome.flaky.len()), (1, 0), "{outcome:?}");
    }

    #[test]
    fn a_run_that_ended_early_or_left_something_failed() {
        assert_eq!(report("not_run", "gone", CLEAN).totals.failed, 1);
        assert_eq!(report("passed", "", r#""aborted": "the driver is gone", "leftovers": []"#).totals.failed, 1);
        assert_eq!(report("passed", "", r#""aborted": null, "leftovers": ["volume v"]"#).totals.failed, 1);
    }
}
