//! The report as Ginkgo's JSON (`--ginkgo.json-report`), for pipelines that read the Go suite's: one suite with a spec report
//! for each check. Fields that only Ginkgo's own machinery fills are left out, as Ginkgo does where they are empty.

use serde_json::{Value, json};

use super::{CheckResult, Report, Status, Totals};
use crate::check::Group;

/// The document.
///
/// # Errors
/// Only if serialising fails, which no input can bring about.
pub fn document(report: &Report) -> Result<String, serde_json::Error> {
    let Totals { passed, failed, not_run, .. } = report.totals;
    let mut reasons = Vec::new();
    if let Some(reason) = &report.aborted {
        reasons.push(reason.clone());
    }
    let suite = json!({
        "SuitePath": report.driver.endpoint,
        "SuiteDescription": "CSI Driver Test Suite",
        "SuiteSucceeded": report.passed(),
        "SuiteHasProgrammaticFocus": false,
        "SpecialSuiteFailureReasons": reasons,
        "PreRunStats": { "TotalSpecs": report.checks.len(), "SpecsThatWillRun": passed + failed + not_run },
        "RunTime": nanoseconds(report.milliseconds),
        "SpecReports": report.checks.iter().map(spec).collect::<Vec<_>>(),
    });
    serde_json::to_string_pretty(&[suite])
}

fn spec(result: &CheckResult) -> Value {
    let (containers, text) = result.name.split_at(result.name.len() - result.title.len());
    let mut spec = json!({
        "ContainerHierarchyTexts": [containers.trim_end()],
        "LeafNodeType": "It",
        "LeafNodeText": text,
        "LeafNodeLabels": [result.group.label(), result.area.label()],
        "State": match result.status {
            Status::Passed => "passed",
            Status::Failed => "failed",
            Status::Skipped => "skipped",
            Status::Pending => "pending",
            Status::NotRun => "aborted",
        },
        "RunTime": nanoseconds(result.milliseconds),
        "ParallelProcess": 1,
        "NumAttempts": result.attempts,
    });
    if let (Group::Go, Some((file, line))) = (result.group, result.origin) {
        spec["LeafNodeLocation"] = json!({ "FileName": file, "LineNumber": line });
    }
    match result.status {
        Status::Failed => spec["Failure"] = json!({ "Message": result.explanation() }),
        Status::Skipped | Status::NotRun => {
            spec["Failure"] = json!({ "Message": result.reason.as_deref().unwrap_or_default() });
        }
        Status::Passed | Status::Pending => {}
    }
    spec
}

fn nanoseconds(milliseconds: u64) -> u64 {
    milliseconds.saturating_mul(1_000_000)
}
