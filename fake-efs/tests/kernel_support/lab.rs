//! What the kernel-client tests share: mounts, users, file calls, a running fake and a TLS tunnel to it.
//!
//! Each test target includes this file as its module `lab` and uses the parts that it needs.
#![allow(dead_code, reason = "each test target uses its own part of the lab")]

mod der;
pub(crate) mod fake;
pub(crate) mod files;
pub(crate) mod ganesha;
pub(crate) mod knfsd;
pub(crate) mod locks;
pub(crate) mod mounts;
pub(crate) mod process;
pub(crate) mod reference;
pub(crate) mod report;
pub(crate) mod signing;
pub(crate) mod tunnel;
pub(crate) mod users;
