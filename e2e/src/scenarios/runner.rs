//! Running scenarios: selection, a namespace for each, clean-up, evidence, the report.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use quick_junit::{NonSuccessKind, Report, TestCase, TestCaseStatus, TestSuite};

use super::catalogue::{Need, SCENARIOS, Scenario};
use super::cluster::{Cluster, namespace};
use super::evidence;
use super::fake::FakeAdmin;
use super::options::Options;
use super::plan::Plan;
use super::workload::Stage;

/// How a scenario ended.
#[derive(Debug)]
pub enum Verdict {
    /// All that it shows holds.
    Passed,
    /// Something doesn't hold, or something was left behind.
    Failed(anyhow::Error),
    /// It can't run here; the reason.
    Skipped(String),
}

/// A scenario that has ended.
#[derive(Debug)]
pub struct Outcome {
    /// Which one.
    pub name: &'static str,
    /// How.
    pub verdict: Verdict,
    /// How long it took, clean-up included.
    pub took: Duration,
}

/// The scenarios that the filters choose; all of them without filters.
pub fn chosen(filters: &[String]) -> Vec<&'static Scenario> {
    let wanted = |s: &&Scenario| filters.is_empty() || filters.iter().any(|f| s.name.contains(f.as_str()));
    SCENARIOS.iter().filter(wanted).collect()
}

/// Why a scenario can't run, if it can't.
async fn obstacle(scenario: &Scenario, stage: &Stage) -> anyhow::Result<Option<String>> {
    for need in scenario.needs {
        match need {
            Need::Fake if stage.fake.is_none() => return Ok(Some("needs the fake, a real file system is used".into())),
            Need::TwoNodes if stage.nodes().await?.len() < 2 => {
                return Ok(Some("needs two nodes with the driver".into()));
            }
            Need::Installation if stage.options.keep => {
                return Ok(Some("changes the installation, which --keep forbids".into()));
            }
            _ => {}
        }
    }
    Ok(None)
}

/// Runs one scenario in a namespace of its own and removes what it made.
pub async fn run_one(scenario: &'static Scenario, cluster: &Cluster, options: &Options) -> Outcome {
    let start = Instant::now();
    let stage = Stage {
        cluster: cluster.clone(),
        fake: options.with_fake().then(|| FakeAdmin::new(cluster.clone(), &options.namespace)),
        namespace: format!("e2e-{}-{:06x}", scenario.name, rand::random::<u32>() & 0xff_ffff),
        options: options.clone(),
        plan: Plan::new(options),
    };
    let verdict = match obstacle(scenario, &stage).await {
        Ok(None) => on_stage(scenario, &stage).await,
        Ok(Some(reason)) => Verdict::Skipped(reason),
        Err(error) => Verdict::Failed(error),
    };
    Outcome { name: scenario.name, verdict, took: start.elapsed() }
}

async fn on_stage(scenario: &Scenario, stage: &Stage) -> Verdict {
    let outcome = match stage.cluster.create(namespace(&stage.namespace)).await {
        Ok(()) => (scenario.run)(stage.clone()).await,
        Err(error) => Err(error),
    };
    if let Err(failure) = &outcome {
        let folder = evidence::collect(stage, scenario.name, failure, &stage.options.output).await;
        eprintln!("{}: {failure:#}; see {}", scenario.name, folder.display());
    }
    let cleaned = stage.cluster.clean_up(&stage.namespace).await;
    match (outcome, cleaned) {
        (Ok(()), Ok(())) => Verdict::Passed,
        (Err(failure), Ok(())) => Verdict::Failed(failure),
        (Ok(()), Err(left)) => Verdict::Failed(left.context("something is left behind")),
        (Err(failure), Err(left)) => Verdict::Failed(failure.context(format!("{left:#}"))),
    }
}

/// Runs the scenarios one after the other, a line on standard output for each.
pub async fn run_all(scenarios: &[&'static Scenario], cluster: &Cluster, options: &Options) -> Vec<Outcome> {
    let mut outcomes = Vec::new();
    for scenario in scenarios {
        let outcome = run_one(scenario, cluster, options).await;
        let seconds = outcome.took.as_secs_f64();
        match &outcome.verdict {
            Verdict::Passed => println!("ok   {:<16} {seconds:6.1} s  {}", outcome.name, scenario.about),
            Verdict::Failed(error) => println!("FAIL {:<16} {seconds:6.1} s  {error:#}", outcome.name),
            Verdict::Skipped(reason) => println!("SKIP {:<16} {reason}", outcome.name),
        }
        outcomes.push(outcome);
    }
    outcomes
}

/// Writes the outcomes as JUnit XML.
///
/// # Errors
/// When the file can't be written.
pub fn write_junit(outcomes: &[Outcome], path: &Path) -> anyhow::Result<()> {
    let mut suite = TestSuite::new("efs-csi-e2e");
    for outcome in outcomes {
        let status = match &outcome.verdict {
            Verdict::Passed => TestCaseStatus::success(),
            Verdict::Failed(error) => {
                let mut status = TestCaseStatus::non_success(NonSuccessKind::Failure);
                status.set_message(format!("{error:#}")).set_description(format!("{error:?}"));
                status
            }
            Verdict::Skipped(reason) => {
                let mut status = TestCaseStatus::skipped();
                status.set_message(reason.clone());
                status
            }
        };
        let mut case = TestCase::new(outcome.name, status);
        case.set_time(outcome.took);
        suite.add_test_case(case);
    }
    let mut report = Report::new("efs-csi-e2e");
    report.add_test_suite(suite);
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)?;
    }
    std::fs::write(path, report.to_string()?).with_context(|| format!("can't write {}", path.display()))
}
