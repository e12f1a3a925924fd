//! Whether the README's tables of what is proven where are true: each name is a test, and the tests call what they are named for.

use std::path::Path;

use super::Operation;

/// The part of the README that says what is proven where.
fn tables() -> &'static str {
    let readme = include_str!("../../../README.md");
    let start = readme.find("## What is proven where").expect("the section of the tables");
    readme[start + 3..].split("\n## ").next().unwrap()
}

/// The cells of the rows of the table whose header begins with this word.
fn rows(header: &str) -> Vec<Vec<&'static str>> {
    let lines = tables().lines().skip_while(|line| !line.starts_with(&format!("| {header} |")));
    let rows = lines.skip(2).take_while(|line| line.starts_with('|'));
    rows.map(|line| line.trim_matches('|').split('|').map(str::trim).collect()).collect()
}

/// What stands between backticks.
fn references(cell: &str) -> Vec<&str> {
    cell.split('`').skip(1).step_by(2).collect()
}

/// The part of a Python script that is one function.
fn function<'a>(script: &'a str, name: &str) -> Option<&'a str> {
    let start = script.find(&format!("\ndef {name}("))? + 1;
    script[start..].split("\ndef ").next()
}

/// The text of the tests that a reference means: a file, a target that is a folder, or a function of session.py that its main
/// calls.
fn tests_of(reference: &str) -> Option<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for folder in ["tests/control_plane", "src", "tests", "tests/foreign", ".", ".."] {
        let path = Path::new(folder).join(reference);
        if let Ok(text) = std::fs::read_to_string(root.join(&path)) {
            // Outside the folders of tests a file must have some of its own.
            let is_test = path.components().any(|part| part.as_os_str() == "tests") || text.contains("#[test]");
            return is_test.then_some(text);
        }
    }
    if root.join("tests").join(reference).join("main.rs").is_file() {
        return Some(String::new());
    }
    let session = include_str!("../../../tests/foreign/session.py");
    let main = function(session, "main")?;
    let called = [format!("{reference}, "), format!("{reference})")].iter().any(|call| main.contains(call));
    function(session, reference).filter(|_| called).map(str::to_owned)
}

/// `CreateTags` as the SDKs for Python and Rust call it: `create_tags`.
fn call(operation: &str) -> String {
    let mut text = String::new();
    for c in operation.chars() {
        if c.is_uppercase() && !text.is_empty() {
            text.push('_');
        }
        text.extend(c.to_lowercase());
    }
    text
}

#[test]
fn the_readme_names_a_test_of_every_operation_that_calls_it() {
    let rows = rows("operation");
    for row in &rows {
        let cells = format!("{} {}", row[1], row[2]);
        let text_of = |name: &str| tests_of(name).unwrap_or_else(|| panic!("`{name}` is no test"));
        let tests: Vec<String> = references(&cells).into_iter().map(text_of).collect();
        for operation in row[0].split(", ") {
            let call = call(operation);
            assert!(tests.iter().any(|text| text.contains(&call)), "no test in its row calls {operation}");
            // The world's names for three of them are shorter.
            let inner = call.replace("mount_target_security", "security").replace("tags_for_resource", "tags");
            let modelled = include_str!("../../../tests/state_machine.rs").contains(&format!("world.{inner}("));
            assert_eq!(modelled, row[3] == "yes", "whether the model has {operation}");
        }
    }
    let mut listed: Vec<&str> = rows.iter().flat_map(|row| row[0].split(", ")).collect();
    let mut all: Vec<&str> = Operation::ALL.iter().map(|operation| operation.name()).collect();
    listed.sort_unstable();
    all.sort_unstable();
    assert_eq!(listed, all);
}

#[test]
fn the_readme_names_a_test_of_every_part_of_the_semantics() {
    let rows = rows("semantics");
    assert!(rows.len() > 15, "only {} rows", rows.len());
    for row in rows {
        let names = references(row[1]);
        assert!(!names.is_empty(), "no test of: {}", row[0]);
        for name in names {
            assert!(tests_of(name).is_some(), "`{name}` is no test");
        }
    }
}
