//! Running `helm` on the chart.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

/// The chart under test.
pub(crate) fn chart() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/chart")
}

/// A file with values that belongs to these tests.
pub(crate) fn values_file(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/chart/values").join(name);
    std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// The program, ready to be asked.
#[derive(Clone)]
pub(crate) struct Helm(PathBuf);

impl Helm {
    /// Finds helm, or says why the calling test is skipped.
    pub(crate) fn find() -> Option<Self> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from);
        let path = std::env::var_os("PATH").unwrap_or_default();
        let candidates = std::env::var_os("HELM")
            .map(PathBuf::from)
            .into_iter()
            .chain(std::env::split_paths(&path).map(|dir| dir.join("helm")))
            .chain([target.join("tools/bin/helm"), target.join("tools/helm"), root.join("target/tools/helm")]);
        for candidate in candidates {
            let answers = Command::new(&candidate).arg("version").stdout(Stdio::null()).stderr(Stdio::null()).status();
            if answers.is_ok_and(|status| status.success()) {
                return Some(Self(candidate));
            }
        }
        let reason = "helm is not installed; deploy/tools.sh fetches it";
        assert!(std::env::var_os("REQUIRE_ALL").is_none(), "REQUIRE_ALL is set, but {reason}");
        println!("SKIP {reason}");
        None
    }

    /// Runs helm with `values` (YAML) as its values file; what it prints, or what it complains about.
    fn run(&self, args: &[&str], values: &str) -> Result<String, String> {
        let mut child = Command::new(&self.0)
            .args(args)
            .arg("--values=-")
            // Helm must not look at the developer's clusters, plug-ins and repositories.
            .env("KUBECONFIG", "/dev/null")
            .env("HELM_CONFIG_HOME", std::env::temp_dir().join("helm-config"))
            .env("HELM_CACHE_HOME", std::env::temp_dir().join("helm-cache"))
            .env("HELM_DATA_HOME", std::env::temp_dir().join("helm-data"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("helm answered before");
        child.stdin.take().expect("is piped").write_all(values.as_bytes()).expect("helm reads its values");
        let output = child.wait_with_output().expect("helm ends");
        if output.status.success() {
            Ok(String::from_utf8(output.stdout).expect("helm prints UTF-8"))
        } else {
            Err(String::from_utf8_lossy(&output.stderr).into_owned())
        }
    }

    /// The manifests for these values.
    pub(crate) fn template(&self, values: &str) -> Result<String, String> {
        let chart = chart();
        self.run(&["template", "efs", &chart.to_string_lossy(), "--namespace=kube-system"], values)
    }

    /// The manifests as documents.
    pub(crate) fn documents(&self, values: &str) -> Vec<Value> {
        parse(&self.template(values).unwrap_or_else(|e| panic!("{e}")))
    }

    /// The manifests for these values with one more argument.
    pub(crate) fn template_for(&self, argument: &str, values: &str) -> Result<String, String> {
        let chart = chart();
        self.run(&["template", "efs", &chart.to_string_lossy(), "--namespace=kube-system", argument], values)
    }

    /// The same as documents.
    pub(crate) fn documents_for(&self, argument: &str, values: &str) -> Vec<Value> {
        parse(&self.template_for(argument, values).unwrap_or_else(|e| panic!("{argument}: {e}")))
    }

    /// The manifests for values given as arguments.
    pub(crate) fn documents_with(&self, set: &[&str]) -> Vec<Value> {
        let chart = chart();
        let chart = chart.to_string_lossy();
        let args: Vec<&str> = ["template", "efs", &chart].into_iter().chain(set.iter().copied()).collect();
        parse(&self.run(&args, "").unwrap_or_else(|e| panic!("{set:?}: {e}")))
    }

    /// What a user sees after an installation: manifests, hooks and notes.
    pub(crate) fn install(&self, values: &str) -> Result<String, String> {
        let chart = chart();
        let chart = chart.to_string_lossy();
        self.run(&["install", "efs", &chart, "--namespace=kube-system", "--dry-run=client"], values)
    }

    /// `helm lint --strict`.
    pub(crate) fn lint(&self, values: &str) -> Result<String, String> {
        self.run(&["lint", "--strict", &chart().to_string_lossy()], values)
    }
}

/// Splits a stream of YAML documents.
pub(crate) fn parse(stream: &str) -> Vec<Value> {
    use serde::Deserialize;
    serde_yaml_ng::Deserializer::from_str(stream)
        .map(|document| Value::deserialize(document).expect("helm prints YAML"))
        .filter(|document| !document.is_null())
        .collect()
}

/// The document of this kind and name.
pub(crate) fn find<'a>(documents: &'a [Value], kind: &str, name: &str) -> &'a Value {
    documents
        .iter()
        .find(|d| d["kind"] == kind && d["metadata"]["name"] == name)
        .unwrap_or_else(|| panic!("there is no {kind} {name}"))
}

/// The container of this name in a workload.
pub(crate) fn container<'a>(workload: &'a Value, name: &str) -> &'a Value {
    let containers = workload["spec"]["template"]["spec"]["containers"].as_array().expect("a workload has containers");
    containers.iter().find(|c| c["name"] == name).unwrap_or_else(|| panic!("there is no container {name}"))
}
