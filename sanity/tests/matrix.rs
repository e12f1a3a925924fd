//! The matrix of mutants: every check notices at least one fault, and a fault makes no unrelated check fail.

mod support;

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    time::Duration,
};

use csi_sanity::{
    Selection, all_checks,
    mutants::{self, Mutant, Reach},
    reference::{Features, server::Hooks},
    report::Report,
    suite,
};
use futures::StreamExt;
use support::start;

/// How many mutants are tried at the same time.
const AT_ONCE: usize = 4;
/// How many callers the concurrency checks use here: enough for every fault to show.
const CALLERS: usize = 12;
/// How long a mutant that never says that it lives is asked again. The others say so at once.
const RESTART_LIMIT: Duration = Duration::from_millis(500);

async fn run(hooks: Hooks, numbers: &[u16]) -> Report {
    let mut running = start(Features::all(), hooks);
    running.config.callers = CALLERS;
    running.config.restart_limit = RESTART_LIMIT;
    running.config.selection = Selection { numbers: numbers.to_vec(), ..Selection::everything() };
    suite::run(&running.config).await.expect("the mutants all serve")
}

/// The checks that a mutant has to face: those that call the RPC where its fault is. No other can meet the fault, which
/// `FULL_MATRIX=1` proves by running them all.
fn chosen(mutant: &Mutant, callers: &BTreeMap<&str, BTreeSet<u16>>) -> Vec<u16> {
    if mutant.reach == Reach::Alone {
        return mutant.killed_by.to_vec();
    }
    if std::env::var_os("FULL_MATRIX").is_some() {
        return vec![];
    }
    let hooks = mutant.hooks();
    let calling = hooks.rpcs().into_iter().filter_map(|rpc| callers.get(rpc)).flatten();
    calling.chain(mutant.killed_by).copied().collect::<BTreeSet<_>>().into_iter().collect()
}

/// What is wrong with a mutant's result.
fn complaints(mutant: &Mutant, report: &Report, callers: &BTreeMap<&str, BTreeSet<u16>>) -> Vec<String> {
    let mut wrong = Vec::new();
    let failed = report.failures();
    let named: BTreeSet<u16> = mutant.killed_by.iter().copied().collect();
    if let Some(reason) = &report.aborted {
        wrong.push(format!("the run was aborted: {reason}"));
    }
    for check in named.difference(&failed) {
        wrong.push(format!("check {check} does not notice it"));
    }
    let none = BTreeSet::new();
    let allowed = match mutant.reach {
        Reach::Exact | Reach::Alone => &none,
        Reach::Callers(rpc) => callers.get(rpc).unwrap_or(&none),
    };
    for check in failed.difference(&named).filter(|check| !allowed.contains(check)) {
        let reason =
            report.checks.iter().find(|result| result.number == *check).and_then(|result| result.reason.clone());
        wrong.push(format!("check {check} fails too: {}", reason.unwrap_or_default()));
    }
    wrong.into_iter().map(|text| format!("{}: {text}", mutant.name)).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_check_notices_a_fault_and_only_related_checks_do() {
    let healthy = run(Hooks::default(), &[]).await;
    assert!(healthy.passed(), "{healthy}");
    let mut callers: BTreeMap<&str, BTreeSet<u16>> = BTreeMap::new();
    for check in &healthy.checks {
        for rpc in &check.rpcs {
            callers.entry(rpc).or_default().insert(check.number);
        }
    }
    let results: Vec<(Mutant, Report)> = futures::stream::iter(mutants::all())
        .map(|mutant| {
            let numbers = chosen(&mutant, &callers);
            async move { (mutant, run(mutant.hooks(), &numbers).await) }
        })
        .buffer_unordered(AT_ONCE)
        .collect()
        .await;
    let wrong: Vec<String> = results.iter().flat_map(|(mutant, report)| complaints(mutant, report, &callers)).collect();
    let mut killers: BTreeMap<u16, Vec<&str>> = BTreeMap::new();
    for (mutant, _) in &results {
        for check in mutant.killed_by {
            killers.entry(*check).or_default().push(mutant.name);
        }
    }
    println!("{:>5}  {:<7}  {:<90}  killed mutants", "check", "", "name");
    let mut unproven = Vec::new();
    for check in all_checks().iter().filter(|check| !check.pending()) {
        let mut names = killers.remove(&check.number()).unwrap_or_default();
        names.sort_unstable();
        if names.is_empty() {
            unproven.push(check.number());
        }
        let verdict = if names.is_empty() { "UNPROVEN" } else { "killed" };
        println!("{:>5}  {verdict:<7}  {:<90.90}  {}", check.number(), check.name(), names.join(", "));
    }
    println!("{} mutants, {} checks", results.len(), all_checks().len());
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(unproven.is_empty(), "no mutant for {unproven:?}");
}

#[test]
fn mutants_have_names_of_their_own_and_checks_that_exist() {
    let numbers: HashSet<u16> = all_checks().iter().map(|check| check.number()).collect();
    let mut names = HashSet::new();
    for mutant in mutants::all() {
        assert!(names.insert(mutant.name), "{mutant:?} is named twice");
        assert!(
            !mutant.killed_by.is_empty() && mutant.killed_by.iter().all(|check| numbers.contains(check)),
            "{mutant:?}"
        );
    }
}
