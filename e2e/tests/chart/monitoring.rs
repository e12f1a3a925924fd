//! The dashboard and the alerts ask for metrics that the driver has.

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::Value;

fn monitoring(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/monitoring").join(name);
    std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// The driver's metrics that an expression names.
pub(crate) fn names(expression: &str) -> impl Iterator<Item = &str> {
    expression
        .split(|c: char| !c.is_ascii_alphanumeric() && c != '_')
        .filter(|word| word.starts_with("efs_csi_") || word.starts_with("aws_efs_csi_"))
}

/// The names that the driver registers. A page of a fresh driver lacks the metrics that nothing has happened to yet, so they
/// are read from the source.
pub(crate) fn registered() -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    let mut folders = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("../driver/src")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).expect("the driver's source is there") {
            let path = entry.expect("it is readable").path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let source = std::fs::read_to_string(&path).expect("source is text");
            let literals = source.split('"').filter(|text| self::names(text).next() == Some(text));
            // The log's target and what unit tests look for.
            let others = ["efs_csi_driver", "efs_csi_tunnel", "efs_csi_volume"];
            names.extend(literals.filter(|text| !others.contains(text)).map(str::to_owned));
        }
    }
    names
}

/// A histogram `x` has the series x_bucket, x_sum and x_count, a counter x_total.
pub(crate) fn exists(series: &str, registered: &BTreeSet<String>) -> bool {
    let suffixes = ["_bucket", "_sum", "_count", "_total"];
    let metric = suffixes.iter().find_map(|suffix| series.strip_suffix(suffix)).unwrap_or(series);
    registered.contains(metric)
}

#[test]
fn every_panel_asks_for_metrics_that_exist() {
    let dashboard: Value = serde_json::from_str(&monitoring("dashboard.json")).expect("JSON");
    let registered = registered();
    let mut asked = 0;
    for panel in dashboard["panels"].as_array().expect("there are panels") {
        for target in panel["targets"].as_array().expect("a panel has targets") {
            for name in names(target["expr"].as_str().expect("a target has an expression")) {
                assert!(exists(name, &registered), "{}: {name} is not of {registered:?}", panel["title"]);
                asked += 1;
            }
        }
    }
    assert!(asked >= 8, "only {asked}");
}

#[test]
fn every_alert_asks_for_metrics_that_exist_and_has_a_runbook() {
    let rules: Value = serde_yaml_ng::from_str(&monitoring("alerts.yaml")).expect("YAML");
    let runbook = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/operations.md");
    let runbook = std::fs::read_to_string(runbook).expect("there is a runbook");
    let registered = registered();
    for rule in rules["spec"]["groups"][0]["rules"].as_array().expect("there are rules") {
        let alert = rule["alert"].as_str().expect("a rule has a name");
        for name in names(rule["expr"].as_str().expect("a rule has an expression")) {
            assert!(exists(name, &registered), "{alert}: {name} is not of {registered:?}");
        }
        assert!(runbook.contains(&format!("### {alert}\n")), "docs/operations.md has nothing on {alert}");
    }
}

#[test]
fn a_metric_that_the_driver_lacks_is_noticed() {
    let registered = registered();
    assert!(exists("efs_csi_rpc_duration_seconds_count", &registered));
    assert!(!exists("efs_csi_rpc_latency_seconds_count", &registered));
}
