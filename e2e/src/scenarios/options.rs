//! The command line of `efs-csi-e2e`.

use std::net::IpAddr;
use std::path::PathBuf;

use clap::Parser;

/// Runs the scenarios on Kubernetes: on the cluster of KUBECONFIG if it is set, else on a kind cluster made for the run.
#[derive(Clone, Debug, Parser)]
#[command(name = "efs-csi-e2e", version)]
pub struct Options {
    /// Print the names of the scenarios that would run, and end.
    #[arg(long)]
    pub list: bool,
    /// Run only scenarios whose name contains this; may be repeated.
    #[arg(long, value_name = "TEXT")]
    pub filter: Vec<String>,
    /// Print the commands that would be run around the scenarios, and end.
    #[arg(long)]
    pub dry_run: bool,
    /// Write a JUnit report here.
    #[arg(long, value_name = "FILE")]
    pub junit: Option<PathBuf>,
    /// Where evidence of failures is kept.
    #[arg(long, value_name = "DIR", default_value = "target/e2e")]
    pub output: PathBuf,
    /// The cluster to use; without it a kind cluster is made.
    #[arg(long, env = "KUBECONFIG", value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,
    /// Name of the kind cluster.
    #[arg(long, default_value = "efs-csi-e2e")]
    pub kind_name: String,
    /// Kubernetes version of the kind cluster, e.g. 1.33.1; kind's own by default.
    #[arg(long, value_name = "VERSION")]
    pub kubernetes_version: Option<String>,
    /// Keep the kind cluster and the installation.
    #[arg(long)]
    pub keep: bool,
    /// Pull the images efs-csi-driver and fake-efs from this registry. Without it they are loaded from the archives of
    /// deploy/image.sh into the kind cluster, or expected to be on the nodes.
    #[arg(long, value_name = "REGISTRY")]
    pub registry: Option<String>,
    /// Tag of both images.
    #[arg(long, default_value = env!("CARGO_PKG_VERSION"))]
    pub tag: String,
    /// Folder with the image archives.
    #[arg(long, value_name = "DIR", default_value = "target/images")]
    pub archives: PathBuf,
    /// Image with a shell for the pods of scenarios.
    #[arg(long, default_value = "busybox:1.37")]
    pub pod_image: String,
    /// Namespace of the driver.
    #[arg(long, default_value = "kube-system")]
    pub namespace: String,
    /// Address that the fake's mount targets get; the fake's Service by default.
    #[arg(long, value_name = "IP")]
    pub fake_address: Option<IpAddr>,
    /// A real file system to use; the chart's fake by default.
    #[arg(long, value_name = "ID")]
    pub file_system: Option<String>,
    /// More values for the chart.
    #[arg(long, value_name = "FILE")]
    pub values: Vec<PathBuf>,
    /// Seconds that a single wait of a scenario may take.
    #[arg(long, default_value_t = 180)]
    pub patience: u64,
    /// Folder with helm and kind; otherwise they are looked for in PATH.
    #[arg(long, value_name = "DIR")]
    pub tools: Option<PathBuf>,
}

impl Options {
    /// The file system that scenarios use.
    pub fn file_system(&self) -> &str {
        self.file_system.as_deref().unwrap_or("fs-0123456789abcdef0")
    }

    /// Whether the chart's fake is installed.
    pub fn with_fake(&self) -> bool {
        self.file_system.is_none()
    }
}
