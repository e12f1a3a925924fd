//! `docs/compatibility.md` names a test for each difference to the Go driver and for each of its parameters, and
//! `docs/compatibility-node.md` for each of its traps on the node. They must exist.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use efs_csi_driver::controller::parameters::KNOWN;

const DOCUMENT: &str = include_str!("../../../docs/compatibility.md");

/// The upstream traps that concern the controller (the others are the node's).
const TRAPS: [u32; 28] =
    [2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 42, 43];

const NODE_DOCUMENT: &str = include_str!("../../../docs/compatibility-node.md");

/// The upstream traps that concern the node.
const NODE_TRAPS: [u32; 15] = [1, 28, 29, 30, 31, 32, 33, 34, 35, 36, 37, 38, 39, 40, 41];

/// The test functions below a directory, by file name without its ending.
fn tests_below(directory: &Path, tests: &mut BTreeMap<String, String>) {
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            tests_below(&path, tests);
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            let name = path.file_stem().unwrap().to_string_lossy().into_owned();
            let text = std::fs::read_to_string(&path).unwrap();
            let body = text.split_once("mod tests").map_or(text.as_str(), |(_, tests)| tests);
            // Unit tests and integration tests of the same subject share a name; both count.
            tests.entry(name).or_default().push_str(body);
        }
    }
}

/// Fails unless the test `file::function` is among these.
fn assert_exists(name: &str, tests: &BTreeMap<String, String>) {
    let (file, function) = name.split_once("::").unwrap();
    let text = tests.get(file).unwrap_or_else(|| panic!("{name}: no file {file}.rs"));
    assert!(text.contains(&format!("fn {function}(")), "{name}: {file}.rs has no such test");
}

/// The texts between backticks.
fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

#[test]
fn every_test_that_the_document_names_exists() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut tests = BTreeMap::new();
    tests_below(&root.join("src"), &mut tests);
    tests_below(&root.join("tests"), &mut tests);
    tests_below(&root.join("directories"), &mut tests);
    let mut named = BTreeSet::new();
    for row in DOCUMENT.lines().filter(|line| line.starts_with("| ") && !line.contains("| tests |")) {
        let column = row.trim_end_matches(" |").rsplit(" | ").next().unwrap();
        let names: Vec<&str> = quoted(column).filter(|text| text.contains("::")).collect();
        assert!(!names.is_empty(), "this row names no test: {row}");
        named.extend(names);
    }
    named.extend(quoted(DOCUMENT).filter(|text| text.contains("::") && !text.contains('/')));
    assert!(named.len() > 40, "{named:?}");
    for name in named {
        assert_exists(name, &tests);
    }
}

#[test]
fn every_trap_of_the_node_has_a_row_with_tests_that_exist() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut tests = BTreeMap::new();
    for directory in ["src", "tests", "tunnel/src", "../common/src", "../e2e/tests/mounts", "../e2e/tests/mounts_pods"]
    {
        tests_below(&root.join(directory), &mut tests);
    }
    for trap in NODE_TRAPS {
        let words = |row: &&str| row.split([' ', ',', ';', '(', ')']).any(|word| word == format!("UB-{trap}"));
        let rows: Vec<&str> = NODE_DOCUMENT.lines().filter(words).collect();
        let [row] = rows.as_slice() else { panic!("UB-{trap} has {} rows", rows.len()) };
        assert!(quoted(row).any(|text| text.contains("::")), "UB-{trap}: this row names no test: {row}");
    }
    for name in quoted(NODE_DOCUMENT).filter(|text| text.contains("::")) {
        assert_exists(name, &tests);
    }
}

#[test]
fn every_trap_and_every_parameter_has_a_row() {
    for trap in TRAPS {
        let rows = DOCUMENT.lines().filter(|line| line.starts_with("| UB-"));
        let words = |row: &str| row.split([' ', ',', '|']).any(|word| word == format!("UB-{trap}"));
        assert_eq!(rows.filter(|row| words(row)).count(), 1, "UB-{trap}");
    }
    let parameters = DOCUMENT.split_once("## Every parameter").unwrap().1;
    let secrets = ["awsRoleArn", "externalId", "crossaccount"];
    for name in KNOWN.iter().map(|parameter| parameter.name).chain(secrets) {
        assert!(parameters.contains(&format!("\n| `{name}`")), "{name} has no row");
    }
}
