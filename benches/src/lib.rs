//! Numbers that people can believe: whole-process scenarios with peers measured in the same run.
//!
//! * [`report`] is what a run leaves behind (`report.json`), [`stats`] the arithmetic on it.
//! * [`budgets`] are the promises of the design, each judged by one measurement; [`verdict`] is how one came out.
//! * [`page`], [`table`] and [`compare`] show a report: as HTML, in the README, against another run; [`flame`] shows a profile.
//! * [`scenarios`] measure, [`scale`] makes the curves of the scale study; [`peers`] start what we are measured against; [`endpoint`] is the TLS server behind the tunnels.
//! * [`workloads`] is what is done to a mounted file system; [`rest`] is a bare HTTP client; [`machine`] and [`usage`] read what the system knows about itself and about a process.

pub mod budgets;
pub mod compare;
pub mod endpoint;
pub mod flame;
pub mod machine;
pub mod page;
pub mod peers;
pub mod report;
pub mod rest;
pub mod run;
pub mod scale;
pub mod scenarios;
pub mod stats;
pub mod table;
pub mod usage;
pub mod verdict;
pub mod workloads;
