//! An Amazon EFS without AWS: the control plane's REST API and, behind its mount targets, a real file server.
//!
//! * [`world`]: what exists and what may be done to it.
//! * [`rest`]: the HTTP server.
//! * [`nfs`]: the file server, over [`tls`] or plain.
//! * [`store`]: where files are kept.
//! * [`buckets`]: where objects are kept; the module `bond` makes files of S3 Files of them.
//! * [`admission`]: the seam between control plane and file server.
//! * [`FakeEfs`]: both servers, started in this process.
//! * [`faults`], [`journal`], [`identities`]: what goes wrong, what was asked, and who is who.

pub mod admission;
mod bond;
pub mod buckets;
pub mod cli;
mod doors;
pub mod faults;
mod gate;
pub mod identities;
mod instance;
pub mod journal;
pub mod nfs;
pub mod rest;
pub mod seed;
pub mod store;
pub mod tls;
pub mod world;

pub use instance::{AuthorityPem, FakeEfs, Instance, StartError};
