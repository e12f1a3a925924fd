//! The commands around the scenarios, as `--dry-run` prints them.

use std::path::PathBuf;
use std::process::Command;

use efs_csi_e2e::scenarios::catalogue::SCENARIOS;

/// The program, which cargo builds two folders above this test. (`CARGO_BIN_EXE_…` doesn't get through the shell of this
/// project's rustc wrapper: it is no name of a shell variable.)
fn executable() -> PathBuf {
    let test = std::env::current_exe().expect("a test is a file");
    test.ancestors().nth(2).expect("it lies in target/PROFILE/deps").join("efs-csi-e2e")
}

/// Runs the program as a shell would, without the caller's KUBECONFIG.
fn e2e(args: &[&str]) -> (Option<i32>, String, String) {
    let output = Command::new(executable()).args(args).env_remove("KUBECONFIG").output().expect("it runs");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

#[test]
fn a_run_on_kind_with_side_loaded_images() {
    let (code, script, _) = e2e(&["--dry-run"]);
    assert_eq!(code, Some(0));
    insta::assert_snapshot!("kind", script);
}

#[test]
fn a_run_on_an_old_kubernetes_with_a_registry() {
    let args = ["--dry-run", "--kubernetes-version=v1.29.14", "--registry=registry.example.com/storage/", "--tag=v7"];
    let (code, script, _) = e2e(&args);
    assert_eq!(code, Some(0));
    insta::assert_snapshot!("registry", script);
}

#[test]
fn a_run_on_a_given_cluster_with_a_real_file_system() {
    let args = ["--dry-run", "--kubeconfig=/etc/kube config", "--file-system=fs-01234567", "--values=my values.yaml"];
    let (code, script, _) = e2e(&args);
    assert_eq!(code, Some(0));
    insta::assert_snapshot!("given-cluster", script);
}

#[test]
fn a_run_without_cluster_dns() {
    let (code, script, _) = e2e(&["--dry-run", "--fake-address=192.0.2.7", "--keep"]);
    assert_eq!(code, Some(0));
    insta::assert_snapshot!("address", script);
}

#[test]
fn the_list_shows_what_the_filters_choose() {
    let (code, all, _) = e2e(&["--list"]);
    assert_eq!(code, Some(0));
    assert_eq!(all.lines().collect::<Vec<_>>(), SCENARIOS.iter().map(|s| s.name).collect::<Vec<_>>());
    let (_, some, _) = e2e(&["--list", "--filter=node-", "--filter=metrics"]);
    assert_eq!(some, "node-restart\nmetrics\n");
}

#[test]
fn a_filter_that_chooses_nothing_is_an_error() {
    let (code, _, stderr) = e2e(&["--filter=no-such-scenario"]);
    assert_eq!(code, Some(2));
    assert!(stderr.contains("no-such-scenario"), "{stderr}");
}

#[test]
fn images_that_were_not_built_are_named_before_anything_is_done() {
    let (code, stdout, stderr) = e2e(&["--archives=/nonexistent/images"]);
    assert_eq!((code, stdout.as_str()), (Some(2), ""));
    assert!(stderr.contains("/nonexistent/images/efs-csi-driver.tar") && stderr.contains("just image"), "{stderr}");
}

#[test]
fn scenarios_have_names_of_their_own_that_fit_into_namespaces() {
    let mut names: Vec<_> = SCENARIOS.iter().map(|s| s.name).collect();
    assert!(names.iter().all(|n| n.len() < 40 && n.chars().all(|c| c.is_ascii_lowercase() || c == '-')));
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), SCENARIOS.len());
    assert_eq!(SCENARIOS.last().map(|s| s.name), Some("uninstall"), "what comes after it would have no driver");
}
