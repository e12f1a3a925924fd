//! The commands around the scenarios: making the cluster, loading images, installing and removing the chart.
//!
//! They are made here as data, so that `--dry-run` prints exactly what a run does and a test can check it.

use std::ffi::OsString;
use std::fmt;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, bail};

use super::options::Options;

/// The Helm release.
pub const RELEASE: &str = "aws-efs-csi-driver";

/// A file system of another account, and what the role `efs` there asks for; the fake knows them.
#[derive(Clone, Copy, Debug)]
pub struct OtherAccount {
    /// 12 digits.
    pub id: &'static str,
    /// Its file system.
    pub file_system: &'static str,
    /// What its role wants to hear.
    pub external_id: &'static str,
}

/// The other account of a run with the fake.
pub const OTHER_ACCOUNT: OtherAccount =
    OtherAccount { id: "210987654321", file_system: "fs-0123456789abcdef1", external_id: "e2e" };

/// Two workers: some scenarios need pods on different nodes.
const KIND_CONFIG: &str = "deploy/kind.yaml";

/// One command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// The program's name, looked for in the tools folder and in PATH.
    pub program: &'static str,
    /// Its arguments.
    pub arguments: Vec<String>,
    /// How long it may take.
    pub limit: Duration,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.program)?;
        for argument in &self.arguments {
            let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=,@".contains(c);
            if !argument.is_empty() && argument.chars().all(plain) {
                write!(f, " {argument}")?;
            } else {
                write!(f, " '{}'", argument.replace('\'', r"'\''"))?;
            }
        }
        Ok(())
    }
}

impl Step {
    fn new<A: Into<String>>(program: &'static str, minutes: u64, arguments: impl IntoIterator<Item = A>) -> Self {
        Self {
            program,
            arguments: arguments.into_iter().map(Into::into).collect(),
            limit: Duration::from_secs(60 * minutes),
        }
    }

    /// Runs the command.
    ///
    /// # Errors
    /// When it can't be run, fails, or takes longer than its limit; with what it printed.
    pub async fn run(&self, tools: Option<&Path>) -> anyhow::Result<()> {
        let program = tools.map(|dir| dir.join(self.program)).filter(|path| path.exists());
        let program = program.map_or_else(|| OsString::from(self.program), Into::into);
        let child = tokio::process::Command::new(program)
            .args(&self.arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .with_context(|| match self.program {
                "kind" => "can't run kind; install it (https://kind.sigs.k8s.io), or name a cluster with KUBECONFIG"
                    .to_owned(),
                program => format!("can't run {program}"),
            })?;
        let output = tokio::time::timeout(self.limit, child.wait_with_output())
            .await
            .with_context(|| format!("{self} takes longer than {} s", self.limit.as_secs()))??;
        if !output.status.success() {
            bail!("{self} fails with {}: {}", output.status, String::from_utf8_lossy(&output.stderr).trim());
        }
        Ok(())
    }
}

/// Everything around the scenarios.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Before the scenarios.
    pub set_up: Vec<Step>,
    /// After them, whatever their outcome.
    pub tear_down: Vec<Step>,
    helm: Vec<String>,
}

impl Plan {
    /// What these options ask for.
    pub fn new(options: &Options) -> Self {
        let kubeconfig = match &options.kubeconfig {
            Some(path) => path.display().to_string(),
            None => options.output.join("kubeconfig").display().to_string(),
        };
        let mut set_up = Vec::new();
        let mut tear_down = Vec::new();
        if options.kubeconfig.is_none() {
            let name = format!("--name={}", options.kind_name);
            let mut create = vec![
                "create".to_owned(),
                "cluster".to_owned(),
                name.clone(),
                format!("--config={KIND_CONFIG}"),
                format!("--kubeconfig={kubeconfig}"),
                "--wait=5m".to_owned(),
            ];
            if let Some(version) = &options.kubernetes_version {
                create.push(format!("--image=kindest/node:v{}", version.trim_start_matches('v')));
            }
            set_up.push(Step::new("kind", 10, create));
            if options.registry.is_none() {
                let images: &[&str] =
                    if options.with_fake() { &["efs-csi-driver", "fake-efs"] } else { &["efs-csi-driver"] };
                for image in images {
                    let archive = options.archives.join(format!("{image}.tar")).display().to_string();
                    set_up.push(Step::new("kind", 5, ["load", "image-archive", &archive, &name]));
                }
            }
            if !options.keep {
                tear_down.push(Step::new(
                    "kind",
                    5,
                    ["delete", "cluster", &name, &format!("--kubeconfig={kubeconfig}")],
                ));
            }
        }
        let namespace = format!("--namespace={}", options.namespace);
        let mut helm = vec![namespace.clone(), format!("--kubeconfig={kubeconfig}")];
        helm.extend(options.values.iter().map(|file| format!("--values={}", file.display())));
        for (key, value) in values(options) {
            // "1.0" is a tag, not a number.
            let flag = if ["true", "false"].contains(&value.as_str()) { "set" } else { "set-string" };
            helm.push(format!("--{flag}={key}={value}"));
        }
        let plan = Self { set_up, tear_down, helm };
        plan.with_chart(options, &namespace, &kubeconfig)
    }

    fn with_chart(mut self, options: &Options, namespace: &str, kubeconfig: &str) -> Self {
        self.set_up.push(self.upgrade(&[]));
        if !options.keep {
            let kubeconfig = format!("--kubeconfig={kubeconfig}");
            let remove = ["uninstall", RELEASE, namespace, &kubeconfig, "--wait", "--timeout=5m"];
            self.tear_down.insert(0, Step::new("helm", 6, remove));
        }
        self
    }

    /// The archives that are to be loaded into the kind cluster and aren't there.
    pub fn missing_archives(&self) -> Vec<&Path> {
        let loading = self.set_up.iter().filter(|step| step.arguments.first().is_some_and(|first| first == "load"));
        loading.filter_map(|step| step.arguments.get(2)).map(Path::new).filter(|archive| !archive.exists()).collect()
    }

    /// `helm upgrade --install` with more values.
    pub fn upgrade(&self, more: &[(&str, &str)]) -> Step {
        let fixed = ["upgrade", "--install", RELEASE, "deploy/chart", "--wait", "--timeout=5m"];
        let more = more.iter().map(|(key, value)| format!("--set={key}={value}"));
        Step::new("helm", 6, fixed.into_iter().map(str::to_owned).chain(self.helm.iter().cloned()).chain(more))
    }

    /// The shell lines of `--dry-run`.
    pub fn script(&self) -> String {
        let mut script = String::new();
        for step in &self.set_up {
            script += &format!("{step}\n");
        }
        script += "# the scenarios run here\n";
        for step in &self.tear_down {
            script += &format!("{step}\n");
        }
        script
    }
}

/// The chart's values for a run.
fn values(options: &Options) -> Vec<(&'static str, String)> {
    let registry = options.registry.as_ref().map(|r| format!("{}/", r.trim_end_matches('/'))).unwrap_or_default();
    let mut values = vec![
        ("image.repository", format!("{registry}efs-csi-driver")),
        ("image.tag", options.tag.clone()),
        ("controller.enableMetrics", "true".to_owned()),
        ("controller.deleteAccessPointRootDir", "true".to_owned()),
        ("sidecars.csiResizer.enabled", "true".to_owned()),
    ];
    if options.with_fake() {
        values.push(("fake-efs.enabled", "true".to_owned()));
        values.push(("fake-efs.image.repository", format!("{registry}fake-efs")));
        values.push(("fake-efs.image.tag", options.tag.clone()));
        values.push(("fake-efs.storageClassName", String::new()));
        values.push(("fake-efs.otherAccount.accountId", OTHER_ACCOUNT.id.to_owned()));
        values.push(("fake-efs.otherAccount.fileSystemId", OTHER_ACCOUNT.file_system.to_owned()));
        values.push(("fake-efs.otherAccount.externalId", OTHER_ACCOUNT.external_id.to_owned()));
        // The agent of EKS Pod Identity is the fake, too.
        values.push(("csiDriver.podInfoOnMount", "true".to_owned()));
        values.push(("csiDriver.requiresRepublish", "true".to_owned()));
        values.push(("csiDriver.tokenRequests[0].audience", "sts.amazonaws.com".to_owned()));
        values.push(("csiDriver.tokenRequests[1].audience", "pods.eks.amazonaws.com".to_owned()));
        values.push(("node.serviceAccount.readServiceAccounts", "true".to_owned()));
        values.push(("node.events.enabled", "true".to_owned()));
        if let Some(address) = options.fake_address {
            values.push(("fake-efs.address", address.to_string()));
        }
    }
    values
}
