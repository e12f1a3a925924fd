//! The controller service over its socket, with the AWS SDK, against the fake EFS.

#![allow(clippy::unwrap_used, reason = "a test that panics fails, as it should")]

#[path = "support/log.rs"]
mod log;
#[path = "controller/support.rs"]
mod support;

#[path = "controller/aws_errors.rs"]
mod aws_errors;
#[path = "controller/compatibility.rs"]
mod compatibility;
#[path = "controller/conflicts.rs"]
mod conflicts;
#[path = "controller/crashes.rs"]
mod crashes;
#[path = "controller/cross_account.rs"]
mod cross_account;
#[path = "controller/directories.rs"]
mod directories;
#[path = "controller/endpoint_urls.rs"]
mod endpoint_urls;
#[path = "controller/faults.rs"]
mod faults;
#[path = "controller/health.rs"]
mod health;
#[path = "controller/ids.rs"]
mod ids;
#[path = "controller/lifecycle.rs"]
mod lifecycle;
#[path = "controller/listing.rs"]
mod listing;
#[path = "controller/model.rs"]
mod model;
#[path = "controller/network.rs"]
mod network;
#[path = "controller/no_authorities.rs"]
mod no_authorities;
#[path = "controller/numbers.rs"]
mod numbers;
#[path = "controller/ownership.rs"]
mod ownership;
#[path = "controller/parameters.rs"]
mod parameters;
#[path = "controller/process.rs"]
mod process;
#[path = "controller/properties.rs"]
mod properties;
#[path = "controller/provisioner.rs"]
mod provisioner;
#[path = "controller/replicas.rs"]
mod replicas;
#[path = "controller/s3files.rs"]
mod s3files;
#[path = "controller/secrets.rs"]
mod secrets;
