//! The driver on a real Kubernetes: a cluster is made or given, the chart installed, and scenarios run as pods and claims.
//!
//! * [`options`] is the command line, [`plan`] the `kind`, `helm` and `docker` commands that follow from it.
//! * [`cluster`] talks to the API server; [`fake`] to fake-efs through it; [`workload`] makes the objects of scenarios.
//! * [`catalogue`] lists the scenarios, [`runner`] runs them, cleans up, and keeps [`evidence`] of failures.

pub mod catalogue;
pub mod cluster;
pub mod evidence;
pub mod fake;
pub mod options;
pub mod plan;
pub mod runner;
pub mod workload;

mod disruption;
mod identity;
mod lifecycle;
mod provisioning;
mod sharing;

/// The driver's name, as StorageClasses and PersistentVolumes give it.
pub const DRIVER: &str = "efs.csi.aws.com";
