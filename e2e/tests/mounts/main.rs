//! Whole-product tests with kernel mounts: real processes, run in the lab by `just mounts`.

#![expect(clippy::unwrap_used, reason = "a test may panic; the allowance for tests does not reach their helpers")]

mod bad_input;
mod deletion;
mod faults;
mod fixture;
mod health;
mod links;
mod node_features;
mod plain;
mod s3files;
mod several_connections;
mod strangers;
mod tenants;
mod unpublish;
mod upgrade;
