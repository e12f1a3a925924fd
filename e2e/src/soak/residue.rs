//! What must not be left, and how large the driver is.

use std::fmt;
use std::fs;
use std::ops::RangeInclusive;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use tokio::time::{Instant, sleep};

use crate::mounts;
use crate::stack::DriverOptions;

/// A tunnel may finish its last connection first, and a keeper may have to notice that it holds nothing.
const WITHIN: Duration = Duration::from_secs(60);
/// The local ports of tunnels.
const PORTS: RangeInclusive<u16> = 20049..=21048;

/// What a driver with its data plane has in its state directory while nothing is mounted.
const STATE: [&str; 6] = ["admin.sock", "mounts", "keeper", "keeper/client-key.pem", "keeper/orders", "keeper/socket"];

/// How large a process is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Usage {
    pub(super) rss: u64,
    pub(super) files: usize,
    threads: usize,
}

impl Usage {
    pub(super) fn of(pid: u32) -> anyhow::Result<Self> {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).context("reading the driver's status")?;
        let kilobytes = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
        let kilobytes: u64 = kilobytes.trim().trim_end_matches(" kB").parse()?;
        let count = |what: &str| Ok::<_, std::io::Error>(fs::read_dir(format!("/proc/{pid}/{what}"))?.count());
        Ok(Self { rss: kilobytes << 10, files: count("fd")?, threads: count("task")? })
    }
}

impl fmt::Display for Usage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.1} MiB RSS, {} open files, {} threads", self.rss as f64 / 1_048_576.0, self.files, self.threads)
    }
}

/// The processes that run `program` and whose command line has such words.
pub(super) fn processes(program: &Path, which: impl Fn(&[&str]) -> bool) -> anyhow::Result<Vec<i32>> {
    let program = program.canonicalize()?;
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc")?.flatten() {
        let Ok(pid) = entry.file_name().to_string_lossy().parse::<i32>() else { continue };
        // Whoever ends meanwhile has no files to read.
        let runs = fs::read_link(entry.path().join("exe")).is_ok_and(|exe| exe == program);
        let line = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let line = String::from_utf8_lossy(&line);
        let words: Vec<&str> = line.split('\0').collect();
        if runs && which(&words) {
            found.push(pid);
        }
    }
    Ok(found)
}

/// Waits until `left` finds nothing.
async fn nothing(mut left: impl FnMut() -> anyhow::Result<Vec<String>>) -> anyhow::Result<()> {
    let begin = Instant::now();
    loop {
        let found = left()?;
        if found.is_empty() {
            return Ok(());
        }
        ensure!(begin.elapsed() < WITHIN, "left for {WITHIN:?}: {}", found.join(", "));
        sleep(Duration::from_millis(50)).await;
    }
}

/// No mount and no target below `dir`, no tunnel's port, no process beside the driver, no record.
pub(super) async fn nothing_is_mounted(
    dir: &Path,
    options: &DriverOptions,
    driver: u32,
    ports_before: &[u16],
) -> anyhow::Result<()> {
    nothing(|| {
        let mut left: Vec<String> = Vec::new();
        let below = |mount: &mounts::Mount| mount.path.starts_with(dir) && mount.kind == "nfs4";
        left.extend(mounts::all()?.into_iter().filter(below).map(|mount| format!("mount {}", mount.line)));
        for pod in fs::read_dir(dir.join("pods"))? {
            for target in fs::read_dir(pod?.path())? {
                left.push(format!("directory {}", target?.path().display()));
            }
        }
        let ports = mounts::listening_ports()?.into_iter();
        let ours = ports.filter(|port| PORTS.contains(port) && !ports_before.contains(port));
        left.extend(ours.map(|port| format!("port {port}")));
        // The data plane stays as long as the driver.
        let planes = processes(&options.binary, |words| words.contains(&"tunnel"))?;
        let others = processes(&options.binary, |_| true)?.into_iter();
        let others = others.filter(|pid| u32::try_from(*pid) != Ok(driver) && !planes.contains(pid));
        left.extend(others.map(|pid| {
            let line = fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default().replace('\0', " ");
            format!("process {pid} {line}")
        }));
        left.extend(state_files(options)?);
        Ok(left)
    })
    .await
}

/// Records of mounts, unfinished files, and whatever nobody has thought of.
fn state_files(options: &DriverOptions) -> anyhow::Result<Vec<String>> {
    let state = options.dir.join("state");
    let mut left = Vec::new();
    for directory in [state.clone(), state.join("mounts"), state.join("keeper")] {
        let Ok(entries) = fs::read_dir(&directory) else { continue };
        for entry in entries {
            let path = entry?.path();
            let name = path.strip_prefix(&state)?.to_string_lossy().into_owned();
            if !STATE.contains(&name.as_str()) {
                left.push(format!("file {name} in the state directory"));
            }
        }
    }
    Ok(left)
}

/// After the driver's end: no process of it, no socket.
pub(super) async fn no_driver_is_left(options: &DriverOptions) -> anyhow::Result<()> {
    nothing(|| {
        let pids = processes(&options.binary, |_| true)?;
        let mut left: Vec<String> = pids.into_iter().map(|pid| format!("process {pid}")).collect();
        let sockets = [options.socket(), options.dir.join("state/admin.sock")];
        left.extend(sockets.iter().filter(|path| path.exists()).map(|path| format!("socket {}", path.display())));
        Ok(left)
    })
    .await
}
