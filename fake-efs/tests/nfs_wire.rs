//! The file server as bytes on a socket: every operation, sessions, state, and what is not RPC at all.
#![allow(clippy::unwrap_used, reason = "a test that can not go on must panic")]

#[path = "wire/bind.rs"]
mod bind;
#[path = "wire/client.rs"]
mod client;
#[path = "wire/coverage.rs"]
mod coverage;
#[path = "wire/legacy.rs"]
mod legacy;
#[path = "wire/operations.rs"]
mod operations;
#[path = "wire/pacing.rs"]
mod pacing;
#[path = "wire/partitions.rs"]
mod partitions;
#[path = "wire/rpc.rs"]
mod rpc;
#[path = "wire/s3files.rs"]
mod s3files;
#[path = "wire/server.rs"]
mod server;
#[path = "wire/sessions.rs"]
mod sessions;
#[path = "wire/state.rs"]
mod state;
