//! The whole product at work, from outside: real processes, real sockets, real kernel mounts.
//!
//! * [`stack`] starts fake-efs and the driver as processes and talks to them as AWS's and Kubernetes' clients do.
//! * [`demo`] is the main job, narrated: every step is checked and timed.
//! * [`sanity`] runs csi-sanity against our own driver.
//! * [`scenarios`] runs the chart and the driver on a real Kubernetes.
//! * [`soak`] does everything at once, for as long as wanted, and loses nothing.
//! * [`kubelet`] runs the shipped images in the lab as a node runs pods.
//! * [`mounts`] reads the kernel's view: mountinfo, listening ports, owners.
//! * [`tenants`] is a file system that service accounts share, each with a role of its own.
//! * [`pulse`] writes without end, and tells how long a mount stood still.

pub mod demo;
pub mod kubelet;
pub mod mounts;
pub mod pulse;
pub mod sanity;
pub mod scenarios;
pub mod soak;
pub mod stack;
pub mod tenants;
