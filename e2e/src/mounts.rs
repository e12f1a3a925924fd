//! The kernel's view of mounts and ports, read from /proc.

use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use rustix::mount::{MountFlags, UnmountFlags};

/// One line of /proc/self/mountinfo.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mount {
    /// Where it is mounted.
    pub path: PathBuf,
    /// The file system type, e.g. `nfs4`.
    pub kind: String,
    /// What is mounted, e.g. `127.0.0.1:/`.
    pub source: String,
    /// The super block's options.
    pub options: Vec<String>,
    /// The whole line.
    pub line: String,
}

impl Mount {
    fn parse(line: &str) -> Option<Self> {
        let (front, back) = line.split_once(" - ")?;
        let path = front.split(' ').nth(4)?.replace("\\040", " ");
        let mut back = back.splitn(3, ' ');
        let (kind, source, options) = (back.next()?, back.next()?, back.next()?);
        Some(Self {
            path: PathBuf::from(path),
            kind: kind.to_owned(),
            source: source.to_owned(),
            options: options.split(',').map(str::to_owned).collect(),
            line: line.to_owned(),
        })
    }

    /// The value of an option `name=value`, or the empty string for a bare `name`.
    pub fn option(&self, name: &str) -> Option<&str> {
        self.options.iter().find_map(|option| match option.split_once('=') {
            Some((key, value)) => (key == name).then_some(value),
            None => (option == name).then_some(""),
        })
    }
}

/// All mounts of this process's mount namespace.
pub fn all() -> anyhow::Result<Vec<Mount>> {
    let text = std::fs::read_to_string("/proc/self/mountinfo").context("reading /proc/self/mountinfo")?;
    Ok(text.lines().filter_map(Mount::parse).collect())
}

/// The mounts at exactly `path`, the one on top last.
pub fn at(path: &Path) -> anyhow::Result<Vec<Mount>> {
    Ok(all()?.into_iter().filter(|mount| mount.path == path).collect())
}

/// How many TCP connections that were begun on this host have failed so far: nobody listened, or nobody answered.
pub fn failed_connects() -> anyhow::Result<u64> {
    let text = std::fs::read_to_string("/proc/net/snmp").context("reading /proc/net/snmp")?;
    let mut rows = text.lines().filter_map(|line| line.strip_prefix("Tcp:"));
    let (names, values) = (rows.next().context("no TCP counters")?, rows.next().context("no TCP counters")?);
    let mut pairs = names.split_whitespace().zip(values.split_whitespace());
    let (_, count) = pairs.find(|(name, _)| *name == "AttemptFails").context("no AttemptFails")?;
    Ok(count.parse()?)
}

/// The ports on which something listens at 127.0.0.1.
pub fn listening_ports() -> anyhow::Result<Vec<u16>> {
    let text = std::fs::read_to_string("/proc/net/tcp").context("reading /proc/net/tcp")?;
    Ok(parse_listening(&text).into_iter().filter(|port| !CONTROLLER_PORTS.contains(port)).collect())
}

/// Local ports of the controller's sessions with file systems, which stay open for a minute after their last use. They belong to no mount.
const CONTROLLER_PORTS: std::ops::RangeInclusive<u16> = 21_300..=21_399;

fn parse_listening(table: &str) -> Vec<u16> {
    // Columns: slot, local address, remote address, state (0A is LISTEN). Addresses are little-endian hex.
    let loopback = format!("{:08X}", u32::from_le_bytes([127, 0, 0, 1]));
    let lines = table.lines().skip(1).filter_map(|line| {
        let mut columns = line.split_whitespace();
        let local = columns.nth(1)?;
        let state = columns.nth(1)?;
        let (address, port) = local.split_once(':')?;
        (state == "0A" && address == loopback).then(|| u16::from_str_radix(port, 16).ok())?
    });
    lines.collect()
}

/// Mounts a server's root over plain NFSv4.1 with the kernel's client, as an administrator who looks at the whole file system.
/// Attributes are not cached, so that what it shows is what the server has now.
pub fn mount_plain(server: IpAddr, port: u16, target: &Path) -> anyhow::Result<()> {
    mount(server, port, target, "vers=4.1,hard,timeo=600,retrans=2,noresvport,nosharecache,noac")
}

/// Mounts a server's root with the kernel's NFS client and these options; the address and the port are added.
pub fn mount(server: IpAddr, port: u16, target: &Path, options: &str) -> anyhow::Result<()> {
    let data = std::ffi::CString::new(format!("{options},addr={server},port={port}"))?;
    std::fs::create_dir_all(target)?;
    let source = match server {
        IpAddr::V4(v4) => format!("{v4}:/"),
        IpAddr::V6(v6) => format!("[{v6}]:/"),
    };
    rustix::mount::mount(source.as_str(), target, "nfs4", MountFlags::empty(), data.as_c_str())
        .with_context(|| format!("mounting {source} port {port}"))
}

/// Unmounts what [`mount`] or [`mount_plain`] mounted.
pub fn unmount(target: &Path) -> anyhow::Result<()> {
    rustix::mount::unmount(target, UnmountFlags::empty()).with_context(|| format!("unmounting {target:?}"))
}

/// Takes every NFS mount at or below `dir` out of sight without waiting for its server, for the way out after a failure.
pub fn abandon_below(dir: &Path) -> anyhow::Result<()> {
    for mount in all()?.into_iter().rev().filter(|mount| mount.kind == "nfs4" && mount.path.starts_with(dir)) {
        rustix::mount::unmount(&mount.path, UnmountFlags::FORCE | UnmountFlags::DETACH)
            .with_context(|| format!("detaching {:?}", mount.path))?;
    }
    Ok(())
}

/// Loopback, for callers that need an [`IpAddr`].
pub const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mountinfo_line_gives_path_kind_source_and_options() {
        let line = "88 22 0:41 / /run/p\\040v rw,relatime shared:7 - nfs4 127.0.0.1:/ rw,vers=4.1,hard,port=20049,addr=127.0.0.1";
        let mount = Mount::parse(line).unwrap();
        assert_eq!(mount.path, Path::new("/run/p v"));
        assert_eq!((mount.kind.as_str(), mount.source.as_str()), ("nfs4", "127.0.0.1:/"));
        assert_eq!(mount.option("vers"), Some("4.1"));
        assert_eq!(mount.option("hard"), Some(""));
        assert_eq!(mount.option("soft"), None);
    }

    #[test]
    fn only_listeners_on_loopback_are_listed() {
        let table = "  sl  local_address rem_address   st\n\
            0: 0100007F:4E51 00000000:0000 0A 0\n\
            1: 00000000:0016 00000000:0000 0A 0\n\
            2: 0100007F:4E52 0100007F:9999 01 0\n";
        assert_eq!(parse_listening(table), [0x4E51]);
    }
}
