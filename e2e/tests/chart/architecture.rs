//! `ARCHITECTURE.md` tells the truth about what depends on what: crates, and the modules of the driver.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use crate::documents::{code, root};

pub(crate) fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

pub(crate) fn page() -> String {
    read(&root().join("ARCHITECTURE.md"))
}

/// The cells of the table that has this header.
pub(crate) fn table<'a>(page: &'a str, header: &str) -> Vec<Vec<&'a str>> {
    let rows = page.lines().skip_while(|line| *line != header).skip(2).take_while(|line| line.starts_with('|'));
    let rows: Vec<Vec<&str>> = rows.map(|row| row.trim_matches('|').split(" | ").map(str::trim).collect()).collect();
    assert!(!rows.is_empty(), "there is no table with the header {header}");
    rows
}

/// The folders of the workspace's crates.
pub(crate) fn members() -> Vec<String> {
    let workspace = read(&root().join("Cargo.toml"));
    let members = workspace.split("members = [").nth(1).and_then(|rest| rest.split(']').next());
    members.expect("the workspace has members").split('"').skip(1).step_by(2).map(str::to_owned).collect()
}

#[test]
fn crates_depend_on_what_the_page_says() {
    let mut manifests = BTreeMap::new();
    for member in members() {
        let manifest = read(&root().join(member).join("Cargo.toml"));
        let name = manifest.lines().find_map(|line| line.strip_prefix("name = "));
        manifests.insert(name.expect("a package has a name").trim_matches('"').to_owned(), manifest);
    }
    // The crates of the workspace that a section of a manifest names, or the text around backticks.
    let ours = |words: &[&str]| -> BTreeSet<String> {
        words.iter().filter(|word| manifests.contains_key(**word)).map(|word| (*word).to_owned()).collect()
    };
    let mut is = BTreeMap::new();
    for (name, manifest) in &manifests {
        let of = |section: &str| {
            let heading = format!("\n[{section}]\n");
            let lines = manifest.split(heading.as_str()).nth(1).unwrap_or_default();
            let lines = lines.split("\n[").next().unwrap_or_default().lines();
            let words: Vec<&str> = lines.filter_map(|line| line.split(['.', ' ']).next()).collect();
            ours(&words)
        };
        is.insert(name.clone(), (of("dependencies"), of("dev-dependencies")));
    }
    let page = page();
    let mut said = BTreeMap::new();
    for row in table(&page, "| crate | depends on | its tests also on | is |") {
        let name = code(row[0]).first().map(|name| (*name).to_owned());
        said.insert(name.expect("a row names its crate"), (ours(&code(row[1])), ours(&code(row[2]))));
    }
    assert_eq!(said, is, "the page, and the manifests");
}

/// The word that a text begins with.
fn word(text: &str) -> String {
    text.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect()
}

/// What a source takes from its own crate: the names behind `crate::`, one by one or in braces.
fn imported(source: &str) -> Vec<String> {
    let mut names = Vec::new();
    for (at, path) in source.match_indices("crate::") {
        let rest = &source[at + path.len()..];
        let Some(list) = rest.strip_prefix('{') else {
            names.push(word(rest));
            continue;
        };
        let (mut depth, mut begins) = (0, true);
        for (at, c) in list.char_indices() {
            match c {
                '{' => depth += 1,
                '}' if depth == 0 => break,
                '}' => depth -= 1,
                ',' if depth == 0 => begins = true,
                _ if begins && !c.is_whitespace() => {
                    names.push(word(&list[at..]));
                    begins = false;
                }
                _ => {}
            }
        }
    }
    names
}

/// The driver's modules and what they import from each other, comments and unit tests aside.
fn modules() -> BTreeMap<String, BTreeSet<String>> {
    let mut modules: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let top = root().join("driver/src");
    let mut paths: Vec<PathBuf> = vec![top.clone()];
    while let Some(path) = paths.pop() {
        if path.is_dir() {
            let entries = std::fs::read_dir(&path).expect("the folder is readable");
            paths.extend(entries.map(|entry| entry.expect("the folder is readable").path()));
            continue;
        }
        let below = path.strip_prefix(&top).expect("it was found there").with_extension("");
        let module = below.iter().next().expect("a file has a name").to_string_lossy().into_owned();
        let is_source = path.extension().is_some_and(|extension| extension == "rs");
        if !is_source || module == "lib" || module == "main" {
            continue;
        }
        let text = read(&path);
        let text = text.split("#[cfg(test)]\nmod ").next().unwrap_or_default();
        let text: Vec<&str> = text.lines().map(|line| line.split("//").next().unwrap_or_default()).collect();
        modules.entry(module).or_default().extend(imported(&text.join("\n")));
    }
    let names: BTreeSet<String> = modules.keys().cloned().collect();
    for (name, imports) in &mut modules {
        imports.retain(|other| other != name && names.contains(other));
    }
    modules
}

#[test]
fn modules_import_from_lower_floors() {
    let page = page();
    let mut floors = BTreeMap::new();
    for row in table(&page, "| floor | modules |") {
        let floor: u32 = row[0].parse().expect("floors are numbers");
        floors.extend(code(row[1]).into_iter().map(|module| (module.to_owned(), floor)));
    }
    let modules = modules();
    let (said, there): (Vec<&String>, Vec<&String>) = (floors.keys().collect(), modules.keys().collect());
    assert_eq!(said, there, "the page, and the source");
    let mut upwards = BTreeSet::new();
    for (module, imports) in &modules {
        let up = imports.iter().filter(|other| floors[*other] >= floors[module]);
        upwards.extend(up.map(|other| (module.clone(), other.clone())));
    }
    assert_eq!(upwards, BTreeSet::new(), "what imports upwards");
}

#[test]
fn an_import_is_found_in_every_form() {
    let source =
        "use crate::one::Two;\nuse crate::{\n    three::{four, five},\n    six,\n};\nlet it = crate::seven::eight();";
    assert_eq!(imported(source), ["one", "three", "six", "seven"]);
}
