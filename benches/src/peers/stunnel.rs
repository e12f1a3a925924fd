//! stunnel4 as AWS's client runs it: one process a mount.

use std::fmt::Write as _;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::ensure;
use efs_csi_e2e::stack::Process;
use tokio::process::Command;

use super::{TunnelSet, free_port, program};
use crate::endpoint::{Identity, SERVER_NAME};

/// The peer's name in reports.
pub const NAME: &str = "stunnel4";
/// The Debian package that brings it.
pub const MISSING: &str = "not installed (Debian package stunnel4)";

/// Starts `count` processes with one tunnel each. `None` when stunnel is not installed.
pub async fn start(
    upstream: SocketAddr,
    identity: &Identity,
    dir: &Path,
    count: usize,
) -> anyhow::Result<Option<TunnelSet>> {
    let Some(binary) = program("stunnel4").or_else(|| program("stunnel")) else { return Ok(None) };
    let mut set = TunnelSet { name: NAME, ports: Vec::new(), processes: Vec::new() };
    for number in 0..count {
        let port = free_port()?;
        let file = dir.join(format!("stunnel-{number}.conf"));
        std::fs::write(&file, configuration(port, upstream, identity))?;
        let mut command = Command::new(&binary);
        command.arg(&file);
        let mut process = Process::spawn(NAME, command, &dir.join("stunnel.log"), false)?;
        let begin = Instant::now();
        while TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err() {
            process.check_alive()?;
            ensure!(begin.elapsed() < Duration::from_secs(10), "stunnel does not listen:\n{}", process.log_tail(10));
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        set.ports.push(port);
        set.processes.push(process);
    }
    Ok(Some(set))
}

/// The options that AWS's client sets, but for the TLS version: the newest that both sides know, as with our tunnel.
fn configuration(port: u16, upstream: SocketAddr, identity: &Identity) -> String {
    let mut text =
        String::from("foreground = yes\npid =\ndebug = err\nfips = no\nsocket = l:SO_REUSEADDR=yes\n[efs]\n");
    let lines = [
        "client = yes".to_owned(),
        format!("accept = 127.0.0.1:{port}"),
        format!("connect = {upstream}"),
        format!("cert = {}", identity.client_file.display()),
        format!("CAfile = {}", identity.ca_file.display()),
        format!("checkHost = {SERVER_NAME}"),
        "verify = 2".to_owned(),
        "renegotiation = no".to_owned(),
        "TIMEOUTbusy = 20".to_owned(),
        "TIMEOUTclose = 0".to_owned(),
        "delay = yes".to_owned(),
    ];
    for line in lines {
        // Writing to a String can't fail.
        let _ = writeln!(text, "{line}");
    }
    text
}
