//! An Amazon EFS CSI driver: a drop-in replacement for the Go driver in one binary.
//!
//! [`process`] starts and stops it; [`cli`] and [`config`] say what it should do; [`server`] serves the CSI services on one
//! socket, beginning with [`identity`]; [`efs`] is the AWS side, [`volume`] holds the types that all of them share.
//! [`efs_tunnel`] and [`mount`] are what the node needs: encrypted ways to EFS and kernel mounts; [`socket`] puts sockets at fixed
//! paths and keeps them there, [`tunnel`] runs the data plane, [`probe`] tells whether this very process serves;
//! [`blocking`] keeps what hangs outside from hanging everything here.

pub mod admin;
pub mod blocking;
mod bounded_program;
pub mod cli;
pub mod conditions;
pub mod config;
pub mod controller;
pub mod credential_process;
pub mod debug;
pub mod efs;
pub mod efs_utils;
pub mod endpoints;
pub mod exec_plugin;
pub mod files;
pub mod fips;
mod hand_over;
pub mod health;
pub mod identity;
mod kubernetes;
pub mod limits;
pub mod locks;
mod logging;
pub mod metrics;
pub mod mount;
pub mod node;
pub mod orphans;
pub mod pod_agent;
pub mod probe;
pub mod process;
pub mod proxy;
pub mod recent;
pub mod registration;
pub mod rpc;
pub mod server;
pub mod socket;
mod starter;
pub mod trash;
pub mod tunnel;
pub mod volume;
