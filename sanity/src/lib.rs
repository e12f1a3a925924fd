//! `csi-sanity`: conformance checks for any driver of the Container Storage Interface (CSI v1.13, and v1.12).
//!
//! It carries the 98 live checks of the Go suite `kubernetes-csi/csi-test` v5.6.0 under the same titles, and
//! a group of its own that goes further. The parts:
//!
//! * [`config`]: what a run is given (addresses, directories, secrets, parameters, deadlines),
//! * [`client`]: connections to the driver; every call has a deadline and is written down,
//! * [`suite`]: runs the checks and returns a [`report::Report`],
//! * [`report`]: the result, as JUnit, JSON or text,
//! * [`reference`]: a small in-memory driver that has every capability,
//! * [`mutants`]: the reference driver with one fault each, which prove that every check can fail.
//!
//! To run the suite from a Rust test:
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use csi_sanity::{config::Config, suite};
//!
//! let config = Config::new("unix:///tmp/csi.sock".parse()?);
//! let report = suite::run(&config).await?;
//! assert!(report.passed(), "{report}");
//! # Ok(())
//! # }
//! ```

mod capabilities;
mod case;
#[macro_use]
mod check;
mod checks;
mod directories;
mod expect;
mod names;
mod resources;
mod selection;

#[macro_use]
mod rpc;

/// Compiles the example of the README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
pub struct Readme;

pub mod cli;
pub mod client;
pub mod config;
pub mod endpoint;
pub mod mutants;
pub mod reference;
pub mod report;
pub mod suite;

pub use check::{Area, Check, Group};
pub use checks::all as all_checks;
pub use selection::{FileFilter, LabelFilter, Selection};
