//! What we are measured against. Each peer is an ordinary program from a package registry, started as its users start it.

pub mod moto;
pub mod nfs_servers;
pub mod own_tunnel;
pub mod stunnel;

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use efs_csi_e2e::stack::Process;

use crate::usage::{self, CpuTime};

/// Running tunnels to an endpoint, ours or a peer's.
#[derive(Debug)]
pub struct TunnelSet {
    /// Who this is.
    pub name: &'static str,
    /// Local ports, one a tunnel.
    pub ports: Vec<u16>,
    /// The processes behind them: one for all, or one each.
    pub processes: Vec<Process>,
}

impl TunnelSet {
    /// Processor time of all processes.
    pub fn cpu_time(&self) -> anyhow::Result<CpuTime> {
        self.pids().map(usage::cpu_time).try_fold(CpuTime::default(), |sum, time| Ok(sum + time?))
    }

    /// Memory of all processes in KiB, shared pages counted once.
    pub fn memory(&self) -> anyhow::Result<u64> {
        self.pids().map(|pid| Ok(usage::memory(pid)?.pss)).sum()
    }

    fn pids(&self) -> impl Iterator<Item = u32> + '_ {
        self.processes.iter().filter_map(Process::id)
    }
}

/// A program on PATH or in a directory that a service's user may not have on PATH.
pub fn program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let usual = ["/usr/sbin", "/sbin", "/usr/bin", "/bin"].map(PathBuf::from);
    std::env::split_paths(&path).chain(usual).map(|dir| dir.join(name)).find(|path| is_program(path))
}

fn is_program(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt as _;
    path.metadata().is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
}

/// A local port that nothing listens on now.
pub fn free_port() -> std::io::Result<u16> {
    Ok(std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}
