//! `docs/promises.toml` lists what users may rely on, and `docs/specification.md` is made of it. Limits come from the benches' budgets and
//! what was measured from the table of README.md: a limit that was missed is told there as missed.

use crate::architecture::read;
use crate::documents::root;
use crate::lists::{List, Requirement, is_made, names, row};
use crate::proofs::{BENCH, Budget, budgets};

const LIST: &str = "docs/promises.toml";
const PAGE: &str = "docs/specification.md";

/// A line of the table of README.md: what was measured, and how that was judged.
struct Measured {
    what: String,
    budget: String,
    value: String,
    verdict: String,
}

/// The lines of the table that `just bench-table` writes.
fn measured(readme: &str) -> Vec<Measured> {
    let (_, table) = readme.split_once("<!-- bench:begin -->").expect("README.md has a table of the benches");
    let (table, _) = table.split_once("<!-- bench:end -->").expect("the table has an end");
    let lines = table.lines().filter(|line| line.starts_with("| ")).skip(1);
    lines
        .filter_map(|line| {
            let cells: Vec<&str> = line.trim_matches('|').split(" | ").map(str::trim).collect();
            let [what, budget, value, ratio, verdict] = cells[..] else { return None };
            // The ratio is what a budget of ratios is judged by.
            let value = if budget.contains('×') { ratio } else { value };
            let [what, budget, value, verdict] = [what, budget, value, verdict].map(str::to_owned);
            Some(Measured { what, budget, value, verdict })
        })
        .collect()
}

/// A limit, and whether the last run has kept it.
fn limit(budget: &Budget, measured: &[Measured]) -> String {
    match measured.iter().find(|it| it.what == budget.what) {
        Some(it) if matches!(it.verdict.as_str(), "holds" | "close") => {
            format!("{}: {} ({})", budget.what, it.budget, it.value)
        }
        Some(it) => format!("{}: {}, **not reached**: {}", budget.what, it.budget, it.value),
        None => format!("{}: **not measured yet**", budget.what),
    }
}

fn limits(promise: &Requirement, budgets: &[Budget], measured: &[Measured]) -> String {
    let of = |proof: &String| {
        let measurement = proof.strip_prefix(BENCH)?;
        budgets.iter().find(|budget| budget.measurement == measurement)
    };
    let all: Vec<String> = promise.tests.iter().filter_map(of).map(|budget| limit(budget, measured)).collect();
    if all.is_empty() { "–".to_owned() } else { all.join("; ") }
}

fn page(list: &List, readme: &str) -> String {
    let (budgets, measured) = (budgets(), measured(readme));
    let mut page = String::from(
        "# Specification\n\nWhat users may rely on, numbered, each with the check that fails when it is broken. Made of `docs/promises.toml` by\n\
         `e2e/tests/chart/promises.rs`; edit that, and run `INSTA_UPDATE=always just chart promises`. What is beside a limit in brackets was\n\
         measured in the run that the [README](../README.md#numbers) shows; tests of a time are in the benches alone (`just bench`).\n",
    );
    for source in &list.sources {
        page += &format!("\n## {}\n\n", source.title);
        if !source.text.is_empty() {
            page += &format!("{}\n\n", source.text);
        }
        page += "| | promise | limits | explained in | fails when it is broken |\n|---|---|---|---|---|\n";
        for it in list.of(source) {
            let tests: Vec<String> = it.tests.iter().filter(|test| !test.starts_with(BENCH)).cloned().collect();
            let proof = if it.tests.is_empty() { it.proof() } else { names(&tests) };
            let section = match it.section.strip_prefix("docs/") {
                Some(name) => format!("[{name}]({name})"),
                None => format!("[{0}](../{0})", it.section),
            };
            page += &row(&[&it.id, &it.demand, &limits(it, &budgets, &measured), &section, &proof]);
        }
    }
    page
}

#[test]
fn every_promise_names_code_and_a_check_that_exist_and_its_page_is_made_of_them() {
    let list = List::read(LIST);
    assert_eq!(list.problems(), Vec::<String>::new());
    is_made(PAGE, &page(&list, &read(&root().join("README.md"))));
}

#[test]
fn a_limit_that_was_missed_or_never_measured_is_told_as_that() {
    let readme = "<!-- bench:begin -->\n| what | budget | measured | ratio to the peer | verdict |\n|---|---|---|---|---|\n\
                  | driver, idle RSS | ≤ 12 MiB | 13 MiB | – | misses |\n\
                  | rolling update, 1 volume | ≤ 500 ms more than undisturbed | 70 ms | 12 ms more | holds |\n<!-- bench:end -->\n";
    let measured = measured(readme);
    let told = |what: &str| {
        let budget = Budget { what: what.to_owned(), measurement: String::new(), limit: 1.0 };
        limit(&budget, &measured)
    };
    assert_eq!(told("driver, idle RSS"), "driver, idle RSS: ≤ 12 MiB, **not reached**: 13 MiB");
    assert_eq!(told("rolling update, 1 volume"), "rolling update, 1 volume: ≤ 500 ms more than undisturbed (70 ms)");
    assert_eq!(told("image, compressed"), "image, compressed: **not measured yet**");
}
