//! Checks of the Helm chart in `deploy/chart` that need no cluster: what it renders for many values, that Kubernetes and the
//! programs in the pods understand it, which values it refuses, and that values of the Go driver's chart still count.
//!
//! They run `helm`, looked for in `$HELM`, in `$PATH` and where `deploy/tools.sh` puts it. Without it each test prints why it
//! is skipped.

mod architecture;
mod arguments;
mod circles;
mod documents;
mod examples;
mod fake;
mod go_driver;
mod helm;
mod lists;
mod manifests;
mod monitoring;
mod promises;
mod proofs;
mod refusals;
mod rendering;
mod requirements;
mod storage_suite;
