//! The list of scenarios.

use std::pin::Pin;

use super::workload::Stage;
use super::{disruption, identity, lifecycle, provisioning, sharing};

/// What a scenario does when it runs.
pub type Run = fn(Stage) -> Pin<Box<dyn Future<Output = anyhow::Result<()>> + Send>>;

/// Something that must be there for a scenario to mean anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// Two nodes with the driver.
    TwoNodes,
    /// The fake.
    Fake,
    /// helm, and nothing else running: the whole installation is changed.
    Installation,
}

/// One scenario.
#[derive(Clone, Copy)]
pub struct Scenario {
    /// Its name, also in reports.
    pub name: &'static str,
    /// What it shows.
    pub about: &'static str,
    /// What it needs.
    pub needs: &'static [Need],
    /// Does it.
    pub run: Run,
}

impl std::fmt::Debug for Scenario {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Scenario").field("name", &self.name).field("needs", &self.needs).finish_non_exhaustive()
    }
}

macro_rules! scenario {
    ($name:literal, $run:path, [$($need:ident),*], $about:literal) => {
        Scenario { name: $name, about: $about, needs: &[$(Need::$need),*], run: |stage| Box::pin($run(stage)) }
    };
}

/// All scenarios, in the order in which they run. Those that change the installation come last, its removal at the very end.
pub const SCENARIOS: &[Scenario] = &[
    scenario!("dynamic", provisioning::dynamic, [], "a claim gets a volume that keeps its files from pod to pod"),
    scenario!("static", provisioning::whole_file_system, [], "a file system is mounted as it is"),
    scenario!("ownership", provisioning::ownership, [], "files belong to the access point's user, whoever writes"),
    scenario!("sub-path", provisioning::sub_path, [], "the directory is named after namespace and claim"),
    scenario!("directory-mode", provisioning::directory_mode, [], "a volume without an access point"),
    scenario!("cross-account", provisioning::cross_account, [Fake], "a role of another account makes the volume"),
    scenario!(
        "many-claims",
        provisioning::many_claims,
        [],
        "a hundred claims at once, each with an access point of its own"
    ),
    scenario!("shared", sharing::shared, [TwoNodes], "pods on two nodes write to and read from one volume"),
    scenario!("read-only", sharing::read_only, [], "a read-only mount of a volume refuses writes"),
    scenario!("one-pod", sharing::one_pod, [], "ReadWriteOncePod lets one pod in"),
    scenario!(
        "pod-identity-irsa",
        identity::irsa,
        [Fake],
        "a mount has the role of the pod's service account, by its annotation"
    ),
    scenario!(
        "pod-identity-agent",
        identity::agent,
        [Fake],
        "a mount has the role of the pod's service account, by EKS Pod Identity"
    ),
    scenario!("delete", lifecycle::delete, [], "access point and files go with the claim"),
    scenario!("retain", lifecycle::retain, [], "access point and files stay when the class says so"),
    scenario!("expansion", lifecycle::expansion, [], "a claim grows while it is mounted"),
    scenario!("api-outage", disruption::api_outage, [Fake], "claims wait for an API that is down or throttles"),
    scenario!("node-restart", disruption::node_restart, [], "I/O goes on when the node driver is replaced"),
    scenario!("crash-loop", disruption::crash_loop, [], "I/O goes on when the node driver dies again and again"),
    scenario!("startup-taint", disruption::startup_taint, [], "a new node's taint goes when the driver is up"),
    scenario!("metrics", disruption::metrics, [], "the controller's metrics can be scraped"),
    scenario!("chart-upgrade", disruption::chart_upgrade, [Installation], "I/O goes on while the chart is upgraded"),
    scenario!("uninstall", disruption::uninstall, [Installation], "nothing is left but the CSIDriver object"),
];
