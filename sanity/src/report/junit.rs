//! The report as JUnit XML, one test case for each check, named as the Go suite names it.

use std::time::Duration;

use quick_junit::{NonSuccessKind, Report as JunitReport, SerializeError, TestCase, TestCaseStatus, TestSuite};

use super::{CheckResult, Report, Status};
use crate::check::Group;

/// The JUnit document.
///
/// # Errors
/// When the XML cannot be written.
pub fn document(report: &Report) -> Result<String, SerializeError> {
    let mut document = JunitReport::new("csi-sanity");
    document.set_time(Duration::from_millis(report.milliseconds));
    for (group, name) in [(Group::Go, "CSI Driver Test Suite"), (Group::Extra, "csi-sanity beyond the Go suite")] {
        let results: Vec<_> = report.checks.iter().filter(|check| check.group == group).collect();
        if results.is_empty() {
            continue;
        }
        let mut suite = TestSuite::new(name);
        suite.set_time(Duration::from_millis(results.iter().map(|result| result.milliseconds).sum()));
        suite.add_property(("driver", report.driver.name.as_str()));
        suite.add_property(("driver version", report.driver.version.as_str()));
        suite.add_property(("endpoint", report.driver.endpoint.as_str()));
        suite.add_test_cases(results.into_iter().map(|result| test_case(result, name)));
        if let Some(reason) = &report.aborted {
            suite.set_system_err(format!("The run was not completed: {reason}"));
        }
        document.add_test_suite(suite);
    }
    document.to_string()
}

fn test_case(result: &CheckResult, suite: &str) -> TestCase {
    let reason = result.reason.as_deref().unwrap_or_default();
    let status = match result.status {
        Status::Passed => TestCaseStatus::success(),
        Status::Failed => {
            let mut status = TestCaseStatus::non_success(NonSuccessKind::Failure);
            status.set_message(reason).set_type("failed").set_description(result.explanation());
            status
        }
        Status::Skipped | Status::Pending => {
            let mut status = TestCaseStatus::skipped();
            status.set_message(format!("{} - {reason}", result.status.word()));
            status
        }
        Status::NotRun => {
            let mut status = TestCaseStatus::non_success(NonSuccessKind::Error);
            status.set_message(reason).set_type("not run");
            status
        }
    };
    let mut case = TestCase::new(result.name.as_str(), status);
    case.set_classname(suite).set_time(Duration::from_millis(result.milliseconds));
    case.extra.insert("status".into(), result.status.word().into());
    case.add_property(("number", result.number.to_string().as_str()));
    case
}
