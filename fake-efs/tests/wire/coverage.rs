//! Whether the cases here provoke all that the server can say.

use std::collections::BTreeSet;
use std::path::Path;

/// What the server's source can answer with and no case of this suite provokes, and why.
const ELSEWHERE: [(&str, &str); 4] = [
    ("Delay", "two requests in one slot at the same instant: src/nfs/state/tests.rs"),
    ("Expired", "a client that is forgotten between two operations of its request"),
    ("Io", "a host whose disk fails"),
    ("ServerFault", "never meant to be seen: tests/fuzz.rs fails when it is"),
];

/// The text of all Rust files in a folder and below, but for unit tests.
fn sources(folder: &Path) -> String {
    let mut text = String::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            text += &sources(&path);
        } else if path.extension().is_some_and(|it| it == "rs") && path.file_name().is_some_and(|it| it != "tests.rs") {
            let source = std::fs::read_to_string(&path).unwrap();
            text += source.split("#[cfg(test)]").next().unwrap_or_default();
        }
    }
    text
}

/// The names of statuses that follow a prefix in a text.
fn named(text: &str, prefix: &str) -> BTreeSet<String> {
    let names = text.split(prefix).skip(1).map(|rest| rest.split(|c: char| !c.is_alphanumeric()).next().unwrap_or(""));
    names.filter(|name| name.starts_with(|c: char| c.is_ascii_uppercase())).map(str::to_owned).collect()
}

#[test]
fn every_status_that_the_server_can_give_is_provoked() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut given = named(&sources(&root.join("src/nfs")), "Status::");
    given.extend(named(&std::fs::read_to_string(root.join("src/nfs/status.rs")).unwrap(), "Self::"));
    let provoked = named(&sources(&root.join("tests/wire")), "Status::");
    let missing: BTreeSet<_> = given.difference(&provoked).map(String::as_str).collect();
    let elsewhere = BTreeSet::from(ELSEWHERE.map(|(name, _)| name));
    assert_eq!(missing, elsewhere, "given by the server, provoked by no case");
    assert!(given.len() > 55, "only {given:?}");
}

/// `docs/nfs.md` lists the rules that are checked, and by which case.
#[test]
fn every_rule_of_the_documentation_names_its_section_and_cases() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(root.join("docs/nfs.md")).unwrap();
    let rules = text.split("\n## ").find(|part| part.starts_with("Rules\n")).unwrap();
    // Some need a clock or a state that no request brings about.
    let beside = std::fs::read_to_string(root.join("src/nfs/state/tests.rs")).unwrap();
    let on_the_wire = sources(&root.join("tests/wire"));
    let cases = on_the_wire.clone() + &beside;
    let (mut rows, mut documented) = (0, BTreeSet::new());
    for row in rules.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| RFC")) {
        let cells: Vec<_> = row.trim_matches('|').split(" | ").map(str::trim).collect();
        let [_, section, names] = cells[..] else { panic!("{row} has not three cells") };
        assert!(section.starts_with(|c: char| c.is_ascii_digit()), "{row} names no section");
        for name in names.split(", ").map(|name| name.trim_matches('`')) {
            let is_case = cases.contains(&format!("fn {name}()")) || cases.contains(&format!("\n    {name}: ["));
            assert!(is_case, "there is no case {name}");
            documented.insert(name);
        }
        rows += 1;
    }
    assert!(rows > 30, "only {rows}");
    // A case that is said to stand for a section is in the list.
    for case in on_the_wire.split("/// RFC ").skip(1) {
        let name = case.split("fn ").nth(1).and_then(|rest| rest.split('(').next()).unwrap();
        assert!(documented.contains(name), "{name} is not in docs/nfs.md");
    }
}

#[test]
fn there_are_more_than_200_cases() {
    let text = sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/wire"));
    let rows = text.lines().filter(|line| line.contains("] => ") && line.ends_with(';')).count();
    let tests = text.lines().filter(|line| line.trim() == "#[test]").count();
    assert!(rows + tests > 280, "{rows} rows and {tests} tests");
}
