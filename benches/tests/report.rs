//! What people see of a report, made from recorded ones.

use std::path::Path;

use efs_csi_benches::budgets::judge;
use efs_csi_benches::report::Report;
use efs_csi_benches::{compare, page, table};

/// A recorded report, judged by today's budgets.
fn recorded(name: &str) -> Report {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(name);
    let mut report = Report::read(&path).expect("a recorded report");
    report.budgets = judge(&report.measurements);
    report
}

#[test]
fn the_page_shows_budgets_samples_and_what_is_missing_and_needs_no_network() {
    let html = page::html(&recorded("old.json"));
    for part in ["http://", "https://", "<script", "src="] {
        assert!(!html.contains(part), "the page contains {part}");
    }
    assert!(html.contains("Some &lt;fast&gt; processor"));
    assert_eq!(html.matches("<circle").count(), 3 + 3 * 7 + 2 * 3, "every sample is a dot");
    insta::assert_snapshot!(html);
}

#[test]
fn the_table_replaces_what_stands_between_the_markers_and_nothing_else() {
    let readme = "# Title\n\n<!-- bench:begin -->\nold\n<!-- bench:end -->\nrest\n";
    let once = table::insert(readme, &recorded("old.json")).expect("markers are there");
    let twice = table::insert(&once, &recorded("old.json")).expect("markers are there");
    assert_eq!(once, twice);
    insta::assert_snapshot!(once);
}

#[test]
fn a_file_without_markers_and_a_smoke_test_are_refused() {
    assert!(table::insert("# Title\n", &recorded("old.json")).is_err());
    let quick = Report { quick: true, ..recorded("old.json") };
    assert!(table::insert("<!-- bench:begin --><!-- bench:end -->", &quick).is_err());
}

#[test]
fn a_comparison_tells_what_moved_beyond_the_spread() {
    insta::assert_snapshot!(compare::compare(&recorded("old.json"), &recorded("new.json")));
    let same = compare::compare(&recorded("old.json"), &recorded("old.json"));
    assert_eq!(same, "3 measurements did not change beyond their spread\n");
}

#[test]
fn a_report_of_another_schema_is_refused() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("report.json");
    let report = Report { schema: 99, ..recorded("old.json") };
    report.write(&path).expect("writing");
    let error = Report::read(&path).expect_err("schema 99 is not known").to_string();
    assert!(error.contains("schema 99"), "{error}");
}
