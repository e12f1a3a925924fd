//! The crate embednfs with its files in memory: written for the client of macOS, so it has 4.1 only, and runs in this process.

use std::net::{Ipv4Addr, SocketAddr};

use embednfs::{MemFs, NfsServer};
use tokio::net::TcpListener;
use tokio::runtime::Builder;

use crate::rounds::Asked;

/// Every other one is of 4.0, and most others end early: it has neither pipes nor permissions.
pub(crate) const ROUNDS: u64 = 400;

/// Starts it; it ends with its runtime.
pub(crate) fn start() -> anyhow::Result<Asked> {
    let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let listener = runtime.block_on(TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))))?;
    let address = listener.local_addr()?;
    runtime.spawn(NfsServer::new(MemFs::new()).serve(listener));
    Ok(Asked { name: "embednfs", address, export: "/", minors: &[1], _held: Box::new(runtime) })
}
