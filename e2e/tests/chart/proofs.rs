//! Whether what a list names as code or as proof is there: functions and types, tests, checks of csi-sanity, budgets of the benches
//! and numbers in the code.

use std::collections::{BTreeMap, BTreeSet};

use crate::architecture::read;
use crate::documents::root;

/// What a proof begins with that is a check of csi-sanity, named as in its reports.
const SANITY: &str = "csi-sanity: ";
/// What a proof begins with that is a budget of the benches, named by its measurement.
pub(crate) const BENCH: &str = "bench: ";

const BUDGETS: &str = "benches/src/budgets.rs";

/// Is there a function, type or constant of this name?
pub(crate) fn defines(source: &str, name: &str) -> bool {
    let kinds = ["fn", "struct", "enum", "trait", "const", "static", "mod", "type"];
    source.lines().any(|line| {
        let words: Vec<&str> =
            line.split(|c: char| !c.is_alphanumeric() && c != '_').filter(|w| !w.is_empty()).collect();
        words.windows(2).any(|pair| kinds.contains(&pair[0]) && pair[1] == name) && !line.trim_start().starts_with("//")
    })
}

/// Is there a test of this name? A function with the attribute of one, a row of `cases!`, or a row of a list of trials.
pub(crate) fn tests(source: &str, name: &str) -> bool {
    let lines: Vec<&str> = source.lines().map(str::trim).collect();
    let begins = |line: &str| ["fn ", "async fn "].iter().any(|f| line.starts_with(&format!("{f}{name}(")));
    let function = lines.iter().enumerate().any(|(at, line)| {
        let above = lines[..at].iter().rev().take_while(|line| line.starts_with("#[") || line.starts_with("//"));
        begins(line) && above.into_iter().any(|line| line.starts_with("#[test]") || line.starts_with("#[tokio::test"))
    });
    let row = |line: &&str| line.starts_with(&format!("{name}: [")) || line.starts_with(&format!("(\"{name}\", "));
    function || lines.iter().any(row)
}

/// Has the constant or static `name` this value? Spaces and ends of lines don't count.
fn has_value(source: &str, name: &str, value: &str) -> bool {
    let packed = |text: &str| text.chars().filter(|c| !c.is_whitespace()).collect::<String>();
    let declarations = ["const ", "static "].map(|kind| format!("{kind}{name}:"));
    let mut values = declarations.iter().flat_map(|head| source.split(head.as_str()).skip(1));
    values.any(|rest| {
        let declared = rest.split_once('=').and_then(|(_, rest)| rest.split_once(';'));
        declared.is_some_and(|(declared, _)| packed(declared) == packed(value))
    })
}

/// One budget of the benches.
#[derive(Debug, PartialEq)]
pub(crate) struct Budget {
    /// As the report's table has it.
    pub(crate) what: String,
    /// The id of what is measured.
    pub(crate) measurement: String,
    pub(crate) limit: f64,
}

/// The budgets, read where the benches have them: the benches depend on this crate.
pub(crate) fn budgets() -> Vec<Budget> {
    let source = read(&root().join(BUDGETS));
    let (_, list) = source.split_once("const BUDGETS: &[Budget] = &[").expect("there are budgets");
    let (list, _) = list.split_once("\n];").expect("the list has an end");
    list.split("budget(").skip(1).filter_map(budget).collect()
}

fn budget(text: &str) -> Option<Budget> {
    let texts: Vec<&str> = text.split('"').collect();
    let (what, measurement, rule) = (texts.get(1)?, texts.get(3)?, texts.get(4)?);
    let limit: String =
        rule.split_once('(')?.1.chars().take_while(|c| c.is_ascii_digit() || "._".contains(*c)).collect();
    let limit = limit.replace('_', "").parse().ok()?;
    Some(Budget { what: (*what).to_owned(), measurement: (*measurement).to_owned(), limit })
}

/// Looks things up, and remembers the files that it has read.
pub(crate) struct Finder {
    checks: BTreeSet<String>,
    measurements: BTreeSet<String>,
    files: BTreeMap<String, Option<String>>,
}

impl Finder {
    pub(crate) fn new() -> Self {
        // Checks that are never run prove nothing.
        let checks = csi_sanity::all_checks();
        let checks = checks.iter().filter(|check| !check.pending()).map(csi_sanity::Check::name);
        let measurements = budgets().into_iter().map(|budget| budget.measurement);
        Self { checks: checks.collect(), measurements: measurements.collect(), files: BTreeMap::new() }
    }

    fn text(&mut self, file: &str) -> Option<&str> {
        let read = || std::fs::read_to_string(root().join(file)).ok();
        self.files.entry(file.to_owned()).or_insert_with(read).as_deref()
    }

    /// `file.rs:name` of a function, a type or a constant.
    pub(crate) fn has_code(&mut self, code: &str) -> bool {
        let Some((file, name)) = code.split_once(':') else { return false };
        self.text(file).is_some_and(|text| defines(text, name))
    }

    /// `file.rs:name` of a test, a check of csi-sanity, or a budget.
    pub(crate) fn has_proof(&mut self, proof: &str) -> bool {
        if let Some(name) = proof.strip_prefix(SANITY) {
            return self.checks.contains(name);
        }
        if let Some(measurement) = proof.strip_prefix(BENCH) {
            return self.measurements.contains(measurement);
        }
        let Some((file, name)) = proof.split_once(':') else { return false };
        self.text(file).is_some_and(|text| tests(text, name))
    }

    /// `file.rs:NAME = value` of a constant.
    pub(crate) fn has_number(&mut self, number: &str) -> bool {
        let parts = number.split_once(" = ").and_then(|(place, value)| Some((place.split_once(':')?, value)));
        let Some(((file, name), value)) = parts else { return false };
        self.text(file).is_some_and(|text| has_value(text, name, value))
    }
}

#[test]
fn budgets_are_read_as_the_benches_have_them() {
    let budgets = budgets();
    let source = read(&root().join(BUDGETS));
    let (_, list) = source.split_once("const BUDGETS").expect("there are budgets");
    let (list, _) = list.split_once("\n];").expect("the list has an end");
    assert_eq!(budgets.len(), list.matches("budget(").count(), "one of them can't be read");
    let of = |id: &str| budgets.iter().find(|budget| budget.measurement == id).map(|budget| budget.limit);
    assert_eq!(
        (of("memory.volume"), of("directory.delete.claims"), of("pods.plane")),
        (Some(128.0), Some(15_000.0), Some(150.0))
    );
}

#[test]
fn a_number_is_found_only_with_its_value() {
    let source = "/// How long.\npub(crate) const PATIENCE: Duration =\n    Duration::from_secs(10);\n";
    assert!(has_value(source, "PATIENCE", "Duration::from_secs(10)"));
    assert!(!has_value(source, "PATIENCE", "Duration::from_secs(1)"));
    assert!(!has_value(source, "IENCE", "Duration::from_secs(10)"));
}
