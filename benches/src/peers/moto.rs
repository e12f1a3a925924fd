//! moto's server, a Python fake of AWS with twenty of EFS's calls.

use std::net::{Ipv4Addr, TcpStream};
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::ensure;
use efs_csi_e2e::stack::Process;
use tokio::process::Command;

use super::{free_port, program};

/// The peer's name in reports.
pub const NAME: &str = "moto server";
/// How to get it.
pub const MISSING: &str = "not installed (PyPI package moto[server]; `just bench` installs it below target/)";

/// Starts `moto_server`; answers the process and its address. `None` when it is not installed.
pub async fn start(dir: &Path) -> anyhow::Result<Option<(Process, String)>> {
    let Some(binary) = program("moto_server") else { return Ok(None) };
    let port = free_port()?;
    let mut command = Command::new(binary);
    command.args(["--host", "127.0.0.1", "--port"]).arg(port.to_string());
    let mut process = Process::spawn(NAME, command, &dir.join("moto.log"), false)?;
    let begin = Instant::now();
    while TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err() {
        process.check_alive()?;
        ensure!(begin.elapsed() < Duration::from_secs(60), "moto does not listen:\n{}", process.log_tail(10));
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Ok(Some((process, format!("http://127.0.0.1:{port}"))))
}
