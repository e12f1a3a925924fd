//! Lists of what is demanded, promised or claimed, in TOML: each entry says where it is met and what proves it, or why not. What
//! it names is there, and pages are made of the lists.

use std::collections::BTreeSet;

use serde::Deserialize;

use crate::architecture::read;
use crate::documents::root;
use crate::proofs::Finder;

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct List {
    #[serde(default)]
    pub(crate) sources: Vec<Source>,
    #[serde(default)]
    pub(crate) requirements: Vec<Requirement>,
}

/// Who demands something: a document, users, somebody who attacks.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Source {
    pub(crate) id: String,
    pub(crate) title: String,
    /// More about it, for its page.
    #[serde(default)]
    pub(crate) text: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Requirement {
    pub(crate) id: String,
    /// The id of a [`Source`].
    pub(crate) source: String,
    /// Where in the source.
    pub(crate) section: String,
    /// What is demanded, in our own words.
    pub(crate) demand: String,
    /// Where it is met: `file.rs:name` of a function, a type or a constant.
    #[serde(default)]
    pub(crate) code: Vec<String>,
    /// What fails when it is not met: `file.rs:name` of a test, a check of csi-sanity, or a budget of the benches.
    #[serde(default)]
    pub(crate) tests: Vec<String>,
    /// Numbers that the demand names: `file.rs:NAME = value` of a constant.
    #[serde(default)]
    pub(crate) numbers: Vec<String>,
    /// Why no test proves it.
    pub(crate) missing: Option<String>,
    /// Why it is not met, or is nothing for us to meet.
    pub(crate) not_met: Option<String>,
}

impl List {
    /// The list in a file, or in all files of a folder one after the other.
    pub(crate) fn read(place: &str) -> Self {
        let path = root().join(place);
        let mut files = vec![path.clone()];
        if path.is_dir() {
            let entries = std::fs::read_dir(&path).unwrap_or_else(|e| panic!("{place}: {e}"));
            files = entries.map(|entry| entry.expect("the folder is readable").path()).collect();
            files.sort();
        }
        let mut all = Self::default();
        for file in files {
            let one: Self = toml::from_str(&read(&file)).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
            all.sources.extend(one.sources);
            all.requirements.extend(one.requirements);
        }
        all
    }

    /// What a source demands.
    pub(crate) fn of<'a>(&'a self, source: &'a Source) -> impl Iterator<Item = &'a Requirement> {
        self.requirements.iter().filter(|it| it.source == source.id)
    }

    /// What is wrong with it, a line each.
    pub(crate) fn problems(&self) -> Vec<String> {
        let sources: BTreeSet<&str> = self.sources.iter().map(|source| source.id.as_str()).collect();
        let mut finder = Finder::new();
        let (mut seen, mut wrong) = (BTreeSet::new(), Vec::new());
        for it in &self.requirements {
            let mut found = it.problems(&mut finder);
            if !seen.insert(it.id.as_str()) {
                found.push("the id is another one's, too".to_owned());
            }
            if !sources.contains(it.source.as_str()) {
                found.push(format!("there is no source {}", it.source));
            }
            wrong.extend(found.into_iter().map(|what| format!("{}: {what}", it.id)));
        }
        wrong
    }
}

impl Requirement {
    fn problems(&self, finder: &mut Finder) -> Vec<String> {
        let mut wrong = Vec::new();
        if self.section.is_empty() || self.demand.is_empty() {
            wrong.push("it has no section, or demands nothing".to_owned());
        }
        match (self.tests.is_empty(), &self.missing, &self.not_met) {
            (false, None, None) | (true, Some(_), None) | (true, None, Some(_)) => {}
            _ => wrong.push("it needs one of tests, missing and not_met".to_owned()),
        }
        if [&self.missing, &self.not_met].into_iter().flatten().any(String::is_empty) {
            wrong.push("the reason is empty".to_owned());
        }
        if self.code.is_empty() && self.not_met.is_none() {
            wrong.push("no code meets it".to_owned());
        }
        let lacks = |kind: &str, names: &[String], has: &mut dyn FnMut(&str) -> bool| -> Vec<String> {
            names.iter().filter(|name| !has(name)).map(|name| format!("there is no {kind} {name}")).collect()
        };
        wrong.extend(lacks("code", &self.code, &mut |name| finder.has_code(name)));
        wrong.extend(lacks("test", &self.tests, &mut |name| finder.has_proof(name)));
        wrong.extend(lacks("number", &self.numbers, &mut |name| finder.has_number(name)));
        wrong
    }

    /// What proves it, or why nothing does, for a cell of a table.
    pub(crate) fn proof(&self) -> String {
        match (&self.missing, &self.not_met) {
            (Some(why), _) => format!("**no test**: {why}"),
            (_, Some(why)) => format!("**not met**: {why}"),
            _ => names(&self.tests),
        }
    }
}

/// Names as code, between commas.
pub(crate) fn names(names: &[String]) -> String {
    names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}

/// A line of a table.
pub(crate) fn row(cells: &[&str]) -> String {
    let cells: Vec<String> = cells.iter().map(|cell| cell.replace('|', "\\|")).collect();
    format!("| {} |\n", cells.join(" | "))
}

/// A file has this text. `INSTA_UPDATE=always` writes it.
pub(crate) fn is_made(file: &str, made: &str) {
    let path = root().join(file);
    if std::env::var("INSTA_UPDATE").is_ok_and(|value| value == "always") {
        std::fs::write(&path, made).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    }
    assert!(read(&path) == made, "{file} is another one: INSTA_UPDATE=always just chart");
}

#[test]
fn what_is_wrong_with_an_entry_is_noticed() {
    let list = |fields: &str| -> List {
        let text = format!(
            "[[sources]]\nid = 's'\ntitle = 'S'\n[[requirements]]\nid = 'a'\nsource = 's'\nsection = '1'\ndemand = 'd'\n{fields}\n"
        );
        toml::from_str(&text).expect("a list")
    };
    let code = "code = ['e2e/tests/chart/lists.rs:names']";
    let test = "tests = ['e2e/tests/chart/lists.rs:what_is_wrong_with_an_entry_is_noticed']";
    let good = format!("{code}\n{test}");
    assert_eq!(list(&good).problems(), Vec::<String>::new());
    let sanity = "tests = ['csi-sanity: Controller Service [Controller Server] DeleteVolume should fail when no volume id is provided']";
    let bench = "tests = ['bench: memory.volume']\nnumbers = ['e2e/tests/chart/documents.rs:FOREIGN = 1']";
    assert_eq!(list(&format!("{code}\n{sanity}")).problems(), Vec::<String>::new());
    for (fields, word) in [
        (good.replace(":names", ":no_such"), "no code"),
        (good.replace("lists.rs:names", "no_such.rs:names"), "no code"),
        (good.replace(":what_is", ":what_is_not"), "no test"),
        // A function is not yet a test.
        (good.replace(":what_is_wrong_with_an_entry_is_noticed", ":names"), "no test"),
        (format!("{code}\n{}", sanity.replace("no volume", "a volume")), "no test"),
        (format!("{code}\n{}", bench.replace("memory", "memories").replace("\nnumbers", "\n#")), "no test"),
        (format!("{code}\n{bench}"), "no number"),
        (code.to_owned(), "one of"),
        (format!("{good}\nmissing = 'why'"), "one of"),
        (format!("{code}\nmissing = ''"), "empty"),
        (test.to_owned(), "no code meets it"),
    ] {
        let wrong = list(&fields).problems();
        assert!(wrong.len() == 1 && wrong[0].contains(word), "{fields}: {wrong:?}");
    }
    let mut twice = list(&good);
    twice.requirements.extend(list(&good).requirements);
    assert_eq!(twice.problems(), ["a: the id is another one's, too"]);
}
