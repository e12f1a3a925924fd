//! `docs/requirements.toml` lists what others demand of us, and what proves that we do it: the code and the tests that it names are
//! there, and `docs/requirements.md` is made of it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use serde::Deserialize;

use crate::architecture::read;
use crate::documents::root;

const FILE: &str = "docs/requirements.toml";
const PAGE: &str = "docs/requirements.md";

/// What a test of the list begins with that is a check of csi-sanity, named as in its reports.
const SANITY: &str = "csi-sanity: ";

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct List {
    sources: Vec<Source>,
    requirements: Vec<Requirement>,
}

/// A document that demands something.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Source {
    id: String,
    title: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Requirement {
    id: String,
    /// The id of a [`Source`].
    source: String,
    /// Where in the source.
    section: String,
    /// What is demanded, in our own words.
    demand: String,
    /// Where it is met: `file.rs:name` of a function, a type or a constant.
    #[serde(default)]
    code: Vec<String>,
    /// What fails when it is not met: `file.rs:name` of a test, or a check of csi-sanity.
    #[serde(default)]
    tests: Vec<String>,
    /// Why no test proves it.
    missing: Option<String>,
    /// Why it is not met, or is nothing for us to meet.
    not_met: Option<String>,
}

fn list() -> List {
    toml::from_str(&read(&root().join(FILE))).unwrap_or_else(|e| panic!("{FILE}: {e}"))
}

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
fn tests(source: &str, name: &str) -> bool {
    let lines: Vec<&str> = source.lines().map(str::trim).collect();
    let begins = |line: &str| ["fn ", "async fn "].iter().any(|f| line.starts_with(&format!("{f}{name}(")));
    let function = lines.iter().enumerate().any(|(at, line)| {
        let above = lines[..at].iter().rev().take_while(|line| line.starts_with("#[") || line.starts_with("//"));
        begins(line) && above.into_iter().any(|line| line.starts_with("#[test]") || line.starts_with("#[tokio::test"))
    });
    let row = |line: &&str| line.starts_with(&format!("{name}: [")) || line.starts_with(&format!("(\"{name}\", "));
    function || lines.iter().any(row)
}

/// The checks of csi-sanity by name, without those that are never run.
fn sanity_checks() -> BTreeSet<String> {
    csi_sanity::all_checks().iter().filter(|check| !check.pending()).map(csi_sanity::Check::name).collect()
}

/// What is wrong with a list, a line each.
fn problems(list: &List) -> Vec<String> {
    let sources: BTreeSet<&str> = list.sources.iter().map(|source| source.id.as_str()).collect();
    let checks = sanity_checks();
    let mut files: BTreeMap<String, Option<String>> = BTreeMap::new();
    let mut text = |file: &str| {
        let read = || std::fs::read_to_string(root().join(file)).ok();
        files.entry(file.to_owned()).or_insert_with(read).clone()
    };
    let (mut seen, mut wrong) = (BTreeSet::new(), Vec::new());
    for it in &list.requirements {
        let mut say = |what: String| wrong.push(format!("{}: {what}", it.id));
        if !seen.insert(it.id.as_str()) {
            say("the id is another one's, too".to_owned());
        }
        if !sources.contains(it.source.as_str()) {
            say(format!("there is no source {}", it.source));
        }
        if it.section.is_empty() || it.demand.is_empty() {
            say("it has no section, or demands nothing".to_owned());
        }
        match (it.tests.is_empty(), &it.missing, &it.not_met) {
            (false, None, None) | (true, Some(_), None) | (true, None, Some(_)) => {}
            _ => say("it needs one of tests, missing and not_met".to_owned()),
        }
        if [&it.missing, &it.not_met].into_iter().flatten().any(String::is_empty) {
            say("the reason is empty".to_owned());
        }
        if it.code.is_empty() && it.not_met.is_none() {
            say("no code meets it".to_owned());
        }
        for code in &it.code {
            let found = code.split_once(':').and_then(|(file, name)| Some(defines(&text(file)?, name)));
            if found != Some(true) {
                say(format!("there is no code {code}"));
            }
        }
        for test in &it.tests {
            let found = match test.strip_prefix(SANITY) {
                Some(name) => Some(checks.contains(name)),
                None => test.split_once(':').and_then(|(file, name)| Some(tests(&text(file)?, name))),
            };
            if found != Some(true) {
                say(format!("there is no test {test}"));
            }
        }
    }
    wrong
}

/// The page, made of the list.
fn page(list: &List) -> String {
    let mut page = String::from(
        "# Requirements\n\nWhat others demand of the driver and of the fake, where it is met, and which test fails when it is not. Made of\n\
         `docs/requirements.toml` by `e2e/tests/chart/requirements.rs`; edit that, and run\n\
         `INSTA_UPDATE=always just chart requirements`. A test is named by its file and function, a check of csi-sanity by its title.\n\n\
         | source | requirements | proven | without a test | not met, or not ours |\n|---|---|---|---|---|\n",
    );
    let of = |source: &Source| list.requirements.iter().filter(|it| it.source == source.id).collect::<Vec<_>>();
    for source in &list.sources {
        let all = of(source);
        let count = |is: fn(&Requirement) -> bool| all.iter().filter(|it| is(it)).count();
        let proven = count(|it| !it.tests.is_empty());
        let (missing, not_met) = (count(|it| it.missing.is_some()), count(|it| it.not_met.is_some()));
        let _ = writeln!(page, "| {} | {} | {proven} | {missing} | {not_met} |", source.title, all.len());
    }
    let names = |names: &[String]| names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
    for source in &list.sources {
        let _ = write!(
            page,
            "\n## {}\n\n| id | section | demand | met by | proven by |\n|---|---|---|---|---|\n",
            source.title
        );
        for it in of(source) {
            let proof = match (&it.missing, &it.not_met) {
                (Some(why), _) => format!("**no test**: {why}"),
                (_, Some(why)) => format!("**not met**: {why}"),
                _ => names(&it.tests),
            };
            let met = if it.code.is_empty() { "–".to_owned() } else { names(&it.code) };
            let cells = [&it.id, &it.section, &it.demand, &met, &proof].map(|cell| cell.replace('|', "\\|"));
            let _ = writeln!(page, "| {} |", cells.join(" | "));
        }
    }
    page
}

#[test]
fn every_requirement_names_code_and_tests_that_exist_or_says_why_not() {
    let list = list();
    assert!(list.requirements.len() > 50, "only {} requirements", list.requirements.len());
    let wrong = problems(&list);
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn the_page_of_requirements_is_made_of_the_list() {
    let (path, made) = (root().join(PAGE), page(&list()));
    if std::env::var("INSTA_UPDATE").is_ok_and(|value| value == "always") {
        std::fs::write(&path, &made).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    }
    assert!(read(&path) == made, "{PAGE} is another one: INSTA_UPDATE=always just chart requirements");
}

#[test]
fn what_is_wrong_with_a_requirement_is_noticed() {
    let list = |fields: &str| -> List {
        let text = format!(
            "[[sources]]\nid = 's'\ntitle = 'S'\n[[requirements]]\nid = 'a'\nsource = 's'\nsection = '1'\ndemand = 'd'\n{fields}\n"
        );
        toml::from_str(&text).expect("a list")
    };
    let code = "code = ['e2e/tests/chart/requirements.rs:problems']";
    let test = "tests = ['e2e/tests/chart/requirements.rs:what_is_wrong_with_a_requirement_is_noticed']";
    let good = format!("{code}\n{test}");
    assert_eq!(problems(&list(&good)), Vec::<String>::new());
    let sanity = "tests = ['csi-sanity: Controller Service [Controller Server] DeleteVolume should fail when no volume id is provided']";
    assert_eq!(problems(&list(&format!("{code}\n{sanity}"))), Vec::<String>::new());
    for (fields, word) in [
        (good.replace(":problems", ":no_such"), "no code"),
        (good.replace("requirements.rs:problems", "no_such.rs:problems"), "no code"),
        (good.replace(":what_is", ":what_is_not"), "no test"),
        // A function is not yet a test.
        (good.replace(":what_is_wrong_with_a_requirement_is_noticed", ":problems"), "no test"),
        (format!("{code}\n{}", sanity.replace("no volume", "a volume")), "no test"),
        (code.to_owned(), "one of"),
        (format!("{good}\nmissing = 'why'"), "one of"),
        (format!("{code}\nmissing = ''"), "empty"),
        (test.to_owned(), "no code meets it"),
    ] {
        let wrong = problems(&list(&fields));
        assert!(wrong.len() == 1 && wrong[0].contains(word), "{fields}: {wrong:?}");
    }
    let mut twice = list(&good);
    twice.requirements.extend(list(&good).requirements);
    assert_eq!(problems(&twice), ["a: the id is another one's, too"]);
}
