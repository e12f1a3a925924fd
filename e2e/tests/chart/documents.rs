//! The documents tell the truth about names: links, files, recipes, flags, values of the chart and metrics that they mention are
//! there.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::{monitoring, proofs};

/// Flags of other programs that the documents call.
const FOREIGN_FLAGS: &[&str] = &[
    // the AWS CLI
    "--cluster-name",
    "--role-arn",
    "--service-account",
    // kind
    "--config",
    // helm
    "--namespace",
    "--set",
    "--set-string",
    // kubectl
    "--delete-emptydir-data",
    "--field-selector",
    "--for",
    "--ignore-daemonsets",
    "--post-renderer",
    "--prefix",
    "--previous",
    "--tail",
    // cargo and the test executables
    "--all-targets",
    "--bin",
    "--example",
    "--locked",
    "--nocapture",
    "--test",
    "--workspace",
    // perf
    "--call-graph",
    "--no-children",
    "--sort",
    // csi-provisioner
    "--extra-create-metadata",
    "--timeout",
    "--worker-threads",
    // pip and the AWS CLI
    "--url",
];

struct Document {
    /// Below the root of the repository.
    name: String,
    text: String,
}

pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Every Markdown file that people read.
fn documents() -> Vec<Document> {
    let folders = [".", "docs", "driver", "fake-efs", "fake-efs/docs", "sanity", "e2e", "benches", "deploy"];
    let mut documents = Vec::new();
    for folder in folders {
        for entry in std::fs::read_dir(root().join(folder)).into_iter().flatten() {
            let path = entry.expect("the folder is readable").path();
            if path.extension().is_some_and(|extension| extension == "md") {
                let name = format!("{folder}/{}", path.file_name().expect("a file has a name").to_string_lossy());
                let name = name.trim_start_matches("./").to_owned();
                // What has been changed over time may speak of what is gone.
                if name != "CHANGELOG.md" {
                    documents.push(Document { name, text: std::fs::read_to_string(&path).expect("it is text") });
                }
            }
        }
    }
    assert!(documents.len() >= 15, "only {} documents", documents.len());
    documents
}

/// What stands in backticks on one line.
pub(crate) fn code(text: &str) -> Vec<&str> {
    text.lines().flat_map(|line| line.split('`').skip(1).step_by(2)).collect()
}

/// The anchor that a heading gets.
fn anchor(heading: &str) -> String {
    let kept = heading.chars().filter(|c| c.is_alphanumeric() || " -_".contains(*c));
    kept.collect::<String>().trim().to_lowercase().replace(' ', "-")
}

#[test]
fn every_link_leads_somewhere() {
    let mut broken = Vec::new();
    let mut links = 0;
    for document in documents() {
        let folder = Path::new(&document.name).parent().expect("a file lies in a folder").to_owned();
        for (_, rest) in document.text.match_indices("](").map(|(at, _)| document.text.split_at(at + 2)) {
            let link = rest.split([')', ' ']).next().unwrap_or_default();
            if link.contains("://") {
                continue;
            }
            links += 1;
            let (file, wanted) = link.split_once('#').map_or((link, None), |(file, anchor)| (file, Some(anchor)));
            let path = if file.is_empty() { root().join(&document.name) } else { root().join(&folder).join(file) };
            if !path.exists() {
                broken.push(format!("{}: {link}: no such file", document.name));
            } else if let Some(wanted) = wanted {
                let text = std::fs::read_to_string(&path).expect("what has anchors is text");
                if !text.lines().any(|line| line.starts_with('#') && anchor(line.trim_start_matches('#')) == wanted) {
                    broken.push(format!("{}: {link}: no such heading", document.name));
                }
            }
        }
    }
    assert!(links > 40, "only {links} links");
    assert!(broken.is_empty(), "{broken:#?}");
}

#[test]
fn every_file_of_the_repository_that_is_named_exists() {
    let folders = ["common/", "deploy/", "docs/", "driver/", "e2e/", "sanity/", "fake-efs/", "benches/", ".ci/"];
    let mut missing = Vec::new();
    for document in documents() {
        for words in code(&document.text) {
            for word in words.split([' ', ',', '"', '\'']).filter(|word| folders.iter().any(|f| word.starts_with(f))) {
                // A function may follow its file, see below.
                let end = word.find(".rs:").map_or(word.len(), |at| at + ".rs".len());
                let path = word[..end].trim_end_matches(['.', ':']);
                let is_pattern = path.contains(['*', '{', '<', '$', '…']);
                if !is_pattern && !root().join(path).exists() {
                    missing.push(format!("{}: {path}", document.name));
                }
            }
        }
    }
    assert!(missing.is_empty(), "{missing:#?}");
}

/// Functions, types and tests are named by their files, `file.rs:function`: from the root of the repository, or from the driver's source.
#[test]
fn every_function_that_is_named_with_its_file_exists() {
    let mut missing = Vec::new();
    let mut named = 0;
    for document in documents() {
        for word in code(&document.text) {
            let Some((file, function)) = word.split_once(".rs:") else { continue };
            named += 1;
            let places = ["", "driver/src"].map(|folder| root().join(folder).join(format!("{file}.rs")));
            let source = places.iter().find_map(|path| std::fs::read_to_string(path).ok()).unwrap_or_default();
            // A test may be a row of a list.
            if !proofs::defines(&source, function) && !proofs::tests(&source, function) {
                missing.push(format!("{}: {word}", document.name));
            }
        }
    }
    assert!(named > 100, "only {named} functions");
    assert!(missing.is_empty(), "{missing:#?}");
}

/// The first text of each entry of the list `name` in a source.
fn entries<'a>(source: &'a str, name: &str) -> Vec<&'a str> {
    let list = source.split_once(&format!("const {name}: ")).and_then(|(_, rest)| rest.split_once("];"));
    let (list, _) = list.unwrap_or_else(|| panic!("there is no {name}"));
    // Entries that are pairs are in parentheses, of which a list of words has none.
    let starts = if list.contains("(\"") { "(\"" } else { "\"" };
    let texts = list.split(starts).skip(1).filter_map(|piece| piece.split('"').next());
    // Between two words stand a comma and perhaps the end of the line.
    texts.filter(|text| !text.is_empty() && !text.contains([',', '\n'])).collect()
}

#[test]
fn every_mount_option_that_is_known_is_documented() {
    let source = std::fs::read_to_string(root().join("driver/src/mount/options.rs")).expect("there are options");
    let page = std::fs::read_to_string(root().join("docs/parameters.md")).expect("there is a page");
    let section = page.split_once("\n## Mount options\n").and_then(|(_, rest)| rest.split_once("\n## "));
    let (section, _) = section.expect("the page has a section");
    let described: BTreeSet<&str> = code(section).into_iter().filter_map(|code| code.split('=').next()).collect();
    let lists = ["NFS_FLAGS", "NFS_NUMBERS", "NFS_WORDS", "LABELS", "IGNORED", "REFUSED"];
    let known: BTreeSet<&str> = lists.iter().flat_map(|list| entries(&source, list)).collect();
    assert!(known.len() > 100 && known.contains("nconnect") && known.contains("xprtsec"), "{known:?}");
    let missing: Vec<_> = known.difference(&described).collect();
    assert!(missing.is_empty(), "docs/parameters.md does not tell of {missing:?}");
}

#[test]
fn every_recipe_that_is_named_exists() {
    let justfile = std::fs::read_to_string(root().join("justfile")).expect("there are recipes");
    let recipes: BTreeSet<&str> = justfile
        .lines()
        .filter(|line| line.starts_with(|c: char| c.is_ascii_lowercase()) && line.contains(':') && !line.contains(":="))
        .filter_map(|line| line.split([' ', ':']).next())
        .collect();
    assert!(recipes.contains("test") && recipes.contains("e2e"), "{recipes:?}");
    let mut missing = Vec::new();
    for document in documents() {
        // Commands stand in backticks or at the beginning of a line of a code block.
        let lines = document.text.lines().map(|line| line.trim_start_matches([' ', '$']));
        for command in code(&document.text).into_iter().chain(lines) {
            let recipe = command.strip_prefix("just ").or_else(|| command.strip_prefix("./bootstrap "));
            let Some(recipe) = recipe.and_then(|rest| rest.split(' ').next()) else { continue };
            let is_name = recipe.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-');
            if is_name && !recipe.starts_with('-') && !recipes.contains(recipe) {
                missing.push(format!("{}: {command}", document.name));
            }
        }
    }
    assert!(missing.is_empty(), "{missing:#?}");
}

/// The flags in a text: words that begin with two dashes.
fn flags(text: &str) -> impl Iterator<Item = &str> {
    text.match_indices("--").filter_map(|(at, _)| {
        let before = text[..at].chars().next_back().unwrap_or(' ');
        let rest = &text[at..];
        let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && !"-._".contains(c)).unwrap_or(rest.len());
        let flag = rest[..end].trim_end_matches('.');
        let is_flag = flag[2..].starts_with(|c: char| c.is_ascii_lowercase());
        (is_flag && !before.is_ascii_alphanumeric() && before != '-').then_some(flag)
    })
}

/// What a program of this workspace says about itself. (`CARGO_BIN_EXE_…` doesn't come through the compiler wrapper's shell.)
fn help(program: &str, subcommand: &[&str]) -> String {
    let test = std::env::current_exe().expect("a test is a file");
    let path = test.ancestors().nth(2).expect("it lies in target/PROFILE/deps").join(program);
    let output = Command::new(&path).args(subcommand).arg("--help").output();
    let output = output.unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    assert!(output.status.success(), "{program} {subcommand:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("help is text")
}

#[test]
fn every_flag_that_is_named_exists() {
    let programs: &[(&str, &[&str])] = &[
        ("efs-csi-driver", &[]),
        ("efs-csi-driver", &["orphans"]),
        ("efs-csi-driver", &["trash", "restore"]),
        ("efs-csi-driver", &["trash", "purge"]),
        ("efs-csi-driver", &["debug"]),
        ("fake-efs", &["serve"]),
        ("fake-efs", &["env"]),
        ("csi-sanity", &[]),
        ("csi-reference-driver", &[]),
        ("efs-csi-e2e", &[]),
        ("efs-csi-sanity-lab", &[]),
        ("efs-csi-bench", &["run"]),
        ("efs-csi-bench", &["scale"]),
        ("efs-csi-bench", &["flame"]),
    ];
    let helps: Vec<String> = programs.iter().map(|(program, subcommand)| help(program, subcommand)).collect();
    let mut known: BTreeSet<&str> = helps.iter().flat_map(|help| flags(help)).collect();
    assert!(known.len() > 100, "{known:?}");
    known.extend(FOREIGN_FLAGS);
    // The shell scripts, the soak and the port keeper have flags, too.
    known.extend(["--profile", "--no-load", "--seed", "--volumes", "--stay", "--check"]);
    let mut unknown = Vec::new();
    for document in documents() {
        for line in document.text.lines() {
            // Ginkgo's flags are listed as a table of bare names, and its prefix stands alone.
            let wrong = flags(line).filter(|flag| !known.contains(flag) && !flag.starts_with("--ginkgo"));
            unknown.extend(wrong.filter(|flag| *flag != "--csi").map(|flag| format!("{}: {flag}", document.name)));
        }
    }
    assert!(unknown.is_empty(), "{unknown:#?}");
}

/// Is there such a value? What is below a list or a map of the user's own is the user's.
fn is_value(values: &Value, path: &str) -> bool {
    let mut at = values;
    for key in path.split('.') {
        match at {
            Value::Object(map) if map.is_empty() => return true,
            Value::Object(map) => match map.get(key.split('[').next().unwrap_or(key)) {
                Some(value) => at = value,
                None => return false,
            },
            Value::Array(_) => return true,
            _ => return false,
        }
    }
    true
}

#[test]
fn every_value_of_the_chart_that_is_named_exists() {
    let text = std::fs::read_to_string(root().join("deploy/chart/values.yaml")).expect("there are values");
    let values: Value = serde_yaml_ng::from_str(&text).expect("YAML");
    let sections: Vec<&String> = values.as_object().expect("a map").keys().collect();
    let mut missing = Vec::new();
    let mut found = 0;
    for document in
        documents().iter().filter(|document| document.name.starts_with("docs/") || document.name == "README.md")
    {
        let set = document.text.split_whitespace().collect::<Vec<_>>();
        let set = set.windows(2).filter(|pair| pair[0] == "--set").map(|pair| pair[1]);
        for word in code(&document.text).into_iter().flat_map(|code| code.split([' ', ','])).chain(set) {
            let path = word.split(['=', ':']).next().unwrap_or_default().trim_end_matches('.').trim_matches('`');
            // An annotation's own dots are escaped.
            let path = path.replace("\\.", "-").replace('"', "");
            let Some((section, rest)) = path.split_once('.') else { continue };
            let is_file = rest.ends_with("rs") || rest.ends_with("json") || rest.contains('/');
            if is_file || !sections.iter().any(|known| *known == section) {
                continue;
            }
            found += 1;
            if !is_value(&values, &path) {
                missing.push(format!("{}: {path}", document.name));
            }
        }
    }
    assert!(found > 30, "only {found} values");
    assert!(missing.is_empty(), "{missing:#?}");
}

#[test]
fn every_metric_is_described_and_every_metric_described_exists() {
    let registered = monitoring::registered();
    let page = std::fs::read_to_string(root().join("docs/operations.md")).expect("there is a handbook");
    let described: BTreeSet<&str> =
        code(&page).into_iter().filter(|code| monitoring::names(code).next() == Some(code)).collect();
    let unknown: Vec<_> = described.iter().filter(|name| !monitoring::exists(name, &registered)).collect();
    assert!(unknown.is_empty(), "{unknown:?} are not of {registered:?}");
    let is_described = |name: &str| described.iter().any(|d| *d == name || d.strip_suffix("_total") == Some(name));
    let secret: Vec<_> = registered.iter().filter(|name| !is_described(name)).collect();
    assert!(secret.is_empty(), "docs/operations.md has nothing on {secret:?}");
}

#[test]
fn every_page_is_in_the_index_and_in_the_book() {
    let documents = documents();
    let text = |name: &str| {
        let found = documents.iter().find(|document| document.name == name);
        found.map(|document| document.text.as_str()).unwrap_or_else(|| panic!("there is no {name}"))
    };
    let (index, book) = (text("docs/README.md"), text("docs/SUMMARY.md"));
    let pages = documents.iter().filter_map(|document| document.name.strip_prefix("docs/"));
    let pages = pages.filter(|page| !["README.md", "SUMMARY.md"].contains(page));
    let missing: Vec<&str> = pages
        .filter(|page| {
            let link = format!("]({page})");
            !index.contains(&link) || !book.contains(&link)
        })
        .collect();
    assert!(missing.is_empty(), "{missing:#?}");
}

#[test]
fn crates_chart_and_instructions_have_one_version() {
    let version = env!("CARGO_PKG_VERSION");
    let chart = std::fs::read_to_string(root().join("deploy/chart/Chart.yaml")).expect("there is a chart");
    for key in ["version", "appVersion"] {
        assert!(chart.lines().any(|line| line == format!("{key}: {version}")), "{key} of the chart is not {version}");
    }
    let install = std::fs::read_to_string(root().join("docs/install.md")).expect("there are instructions");
    assert!(install.contains(&format!("efs-csi-driver:{version} ")), "docs/install.md names images of another version");
}

#[test]
fn what_is_not_there_is_noticed() {
    assert_eq!(flags("`--a-b=c` and a--b, ---, --x.y. --Z").collect::<Vec<_>>(), ["--a-b", "--x.y"]);
    assert_eq!(anchor(" What `csi` is, then"), "what-csi-is-then");
    let values = serde_json::json!({"node": {"env": [], "tags": {}, "port": 1}});
    assert!(
        is_value(&values, "node.port") && is_value(&values, "node.env[0].name") && is_value(&values, "node.tags.a")
    );
    assert!(!is_value(&values, "node.ports") && !is_value(&values, "node.port.x"));
}
