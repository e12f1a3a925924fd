//! No circles of modules, in any crate: of modules that lie beside each other, none imports what leads back to it. (A module and those below
//! it may name each other: they are one matter in several files.)

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use crate::architecture::{members, page, read, table};
use crate::documents::{code, root};

/// A module's place in its crate.
type Place = Vec<String>;

/// The sources of a crate's library by place, without comments and unit tests.
fn sources(top: &Path) -> BTreeMap<Place, String> {
    let (mut sources, mut paths) = (BTreeMap::new(), vec![top.to_owned()]);
    while let Some(path) = paths.pop() {
        if path.is_dir() {
            let entries = std::fs::read_dir(&path).expect("the folder is readable");
            paths.extend(entries.map(|entry| entry.expect("the folder is readable").path()));
            continue;
        }
        let below = path.strip_prefix(top).expect("it was found there").with_extension("");
        let place: Place = below.iter().map(|name| name.to_string_lossy().into_owned()).collect();
        let (first, last) = (place[0].as_str(), place[place.len() - 1].as_str());
        let is_apart = ["lib", "main", "bin"].contains(&first) || last == "tests";
        if path.extension().is_some_and(|extension| extension == "rs") && !is_apart {
            let text = read(&path);
            let text = text.split("#[cfg(test)]\nmod ").next().unwrap_or_default();
            let lines: Vec<&str> = text.lines().map(|line| line.split("//").next().unwrap_or_default()).collect();
            sources.insert(place, lines.join("\n"));
        }
    }
    sources
}

/// The paths of a tree of imports that begins here, with what stands before it.
fn tree(text: &str, before: &[String], found: &mut Vec<Place>) {
    let text = text.trim_start();
    if let Some(list) = text.strip_prefix('{') {
        let (mut depth, mut begin) = (0, 0);
        for (at, c) in list.char_indices() {
            match c {
                '{' => depth += 1,
                '}' if depth > 0 => depth -= 1,
                ',' | '}' if depth == 0 => {
                    if !list[begin..at].trim().is_empty() {
                        tree(&list[begin..], before, found);
                    }
                    begin = at + 1;
                    if c == '}' {
                        return;
                    }
                }
                _ => {}
            }
        }
        return;
    }
    let end = text.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(text.len());
    let path: Place = before.iter().cloned().chain([text[..end].to_owned()]).collect();
    match text[end..].strip_prefix("::") {
        Some(rest) => tree(rest, &path, found),
        None => found.push(path),
    }
}

/// What a module names of its own crate.
fn named(place: &Place, source: &str) -> Vec<Place> {
    let mut found = Vec::new();
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
    for (word, up) in [("crate::", None), ("super::", Some(1))] {
        for (at, _) in source.match_indices(word) {
            if source[..at].ends_with(is_word) {
                continue;
            }
            let (mut rest, mut up) = (&source[at + word.len()..], up);
            while let (Some(higher), Some(levels)) = (rest.strip_prefix("super::"), up) {
                (rest, up) = (higher, Some(levels + 1));
            }
            let base = up.map_or(&[][..], |up| &place[..place.len().saturating_sub(up)]);
            tree(rest, base, &mut found);
        }
    }
    found
}

/// What lies beside what and imports it: the folder, the module, and those that it imports.
type Beside = BTreeMap<Place, BTreeMap<String, BTreeSet<String>>>;

fn beside(sources: &BTreeMap<Place, String>) -> Beside {
    let mut graphs = Beside::new();
    for (place, source) in sources {
        for path in named(place, source) {
            let Some(length) = (1..=path.len()).rev().find(|length| sources.contains_key(&path[..*length])) else {
                continue;
            };
            let common = place.iter().zip(&path[..length]).take_while(|(a, b)| a == b).count();
            if common < place.len() && common < length {
                let graph = graphs.entry(place[..common].to_vec()).or_default();
                graph.entry(place[common].clone()).or_default().insert(path[common].clone());
            }
        }
    }
    graphs
}

/// Whatever can be reached from a module.
fn reached<'a>(graph: &'a BTreeMap<String, BTreeSet<String>>, from: &str) -> BTreeSet<&'a str> {
    let (mut reached, mut open) = (BTreeSet::new(), vec![from]);
    while let Some(module) = open.pop() {
        for next in graph.get(module).into_iter().flatten() {
            if reached.insert(next.as_str()) {
                open.push(next);
            }
        }
    }
    reached
}

/// The circles of a crate, each as the set of its modules.
fn circles(sources: &BTreeMap<Place, String>) -> BTreeSet<(String, BTreeSet<String>)> {
    let mut circles = BTreeSet::new();
    for (folder, graph) in &beside(sources) {
        for module in graph.keys() {
            let there = reached(graph, module);
            let circle = there.iter().filter(|other| reached(graph, other).contains(module.as_str()));
            let circle: BTreeSet<String> = circle.map(|module| (*module).to_owned()).collect();
            if circle.len() > 1 {
                circles.insert((folder.join("/"), circle));
            }
        }
    }
    circles
}

#[test]
fn no_modules_import_each_other_in_a_circle_but_for_those_the_page_owns_up_to() {
    let mut is = BTreeSet::new();
    for member in members() {
        let top = root().join(&member).join("src");
        for (folder, circle) in circles(&sources(&top)) {
            let path = if folder.is_empty() { format!("{member}/src") } else { format!("{member}/src/{folder}") };
            is.insert((path, circle));
        }
    }
    let page = page();
    let said: BTreeSet<(String, BTreeSet<String>)> = table(&page, "| folder | circle | for how long |")
        .iter()
        .map(|row| (code(row[0])[0].to_owned(), code(row[1]).into_iter().map(str::to_owned).collect()))
        .collect();
    assert_eq!(is, said, "the circles in the source, and those that the page tells");
}

#[test]
fn a_circle_is_found_in_every_form() {
    let crate_of = |files: &[(&str, &str)]| -> BTreeMap<Place, String> {
        let place = |path: &str| path.split('/').map(str::to_owned).collect();
        files.iter().map(|(path, source)| (place(path), (*source).to_owned())).collect()
    };
    let direct = crate_of(&[("a", "use crate::b::{C, d::E};"), ("b", "use super::a;")]);
    let [found] = &circles(&direct).into_iter().collect::<Vec<_>>()[..] else { panic!("one circle") };
    assert_eq!(*found, (String::new(), ["a", "b"].map(str::to_owned).into()));
    let around = crate_of(&[
        ("x", ""),
        ("x/a", "use super::{b::B, c};"),
        ("x/b", "fn f() { crate::x::c::g() }"),
        ("x/c", ""),
        ("x/c/deep", "use super::super::a::A;"),
    ]);
    let [found] = &circles(&around).into_iter().collect::<Vec<_>>()[..] else { panic!("one circle") };
    assert_eq!(*found, ("x".to_owned(), ["a", "b", "c"].map(str::to_owned).into()));
    let none = crate_of(&[("a", "use crate::b::c;"), ("b", "mod c;"), ("b/c", "use super::B; use other_crate::a;")]);
    assert_eq!(circles(&none), BTreeSet::new());
}
