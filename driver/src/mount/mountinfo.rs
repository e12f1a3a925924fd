//! What is mounted where, from /proc/self/mountinfo (proc_pid_mountinfo(5)). Reading it never touches a mounted file
//! system, so it is safe when a server hangs.

use std::collections::HashSet;
use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

/// One mount.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MountEntry {
    /// Device number of the file system as `major:minor`, the name of its directory in /sys/class/bdi.
    pub device: String,
    /// Where it is mounted, as seen by this process.
    pub mount_point: PathBuf,
    /// Options of this mount, e.g. `rw,relatime`.
    pub options: String,
    /// Whether mounts below it appear wherever else it is mounted (a shared mount, mount_namespaces(7)).
    pub shared: bool,
    /// File system type, e.g. `nfs4`.
    pub fs_type: String,
    /// What is mounted, e.g. `127.0.0.1:/`.
    pub source: String,
    /// Options of the file system, e.g. `rw,vers=4.1,…,addr=127.0.0.1`.
    pub super_options: String,
}

impl MountEntry {
    fn parse(line: &str) -> Option<Self> {
        let (mount, file_system) = line.split_once(" - ")?;
        let mut mount = mount.split(' ').skip(2);
        let device = mount.next()?.to_owned();
        let (_root, mount_point, options) = (mount.next()?, mount.next()?, mount.next()?);
        let mut file_system = file_system.split(' ');
        Some(Self {
            device,
            mount_point: unescaped(mount_point),
            options: options.to_owned(),
            shared: mount.any(|tag| tag.starts_with("shared:")),
            fs_type: file_system.next()?.to_owned(),
            source: String::from_utf8_lossy(&unescape(file_system.next()?)).into_owned(),
            super_options: file_system.next().unwrap_or_default().to_owned(),
        })
    }

    /// Whether this is an NFS mount.
    pub fn is_nfs(&self) -> bool {
        matches!(self.fs_type.as_str(), "nfs" | "nfs4")
    }

    /// Whether this mount refuses writes.
    pub fn read_only(&self) -> bool {
        self.options.split(',').any(|option| option == "ro")
    }

    /// The value of an option of the file system, e.g. `port`.
    pub fn super_option(&self, key: &str) -> Option<&str> {
        self.super_options.split(',').find_map(|option| option.strip_prefix(key)?.strip_prefix('='))
    }

    /// The local port that this mount's server is reached at, if it is a tunnel's.
    pub fn tunnel_port(&self) -> Option<u16> {
        let local = self.is_nfs() && self.super_option("addr") == Some("127.0.0.1");
        // The kernel leaves the option out when it is the default.
        local.then(|| self.super_option("port").map_or(Some(2049), |port| port.parse().ok()))?
    }
}

/// All mounts of this process's mount namespace, in the order of mounting.
pub fn table() -> io::Result<Vec<MountEntry>> {
    let text = fs::read("/proc/self/mountinfo")?;
    Ok(parse(&String::from_utf8_lossy(&text)))
}

/// The mounts at exactly `target`, lowest layer first.
pub fn at(target: &Path) -> io::Result<Vec<MountEntry>> {
    Ok(table()?.into_iter().filter(|entry| entry.mount_point == target).collect())
}

/// Local ports that the kernel's NFS client knows, mounted or not yet quite gone: those of `mounts` and those in the
/// client's own list.
pub fn nfs_ports(mounts: &[MountEntry]) -> HashSet<u16> {
    let mut ports: HashSet<u16> = mounts.iter().filter_map(MountEntry::tunnel_port).collect();
    // Absent without the nfs module, in which case there is nothing to add.
    if let Ok(text) = fs::read_to_string("/proc/fs/nfsfs/servers") {
        ports.extend(parse_servers(&text));
    }
    ports
}

pub(crate) fn parse(text: &str) -> Vec<MountEntry> {
    text.lines().filter_map(MountEntry::parse).collect()
}

/// Ports of servers on 127.0.0.1 in /proc/fs/nfsfs/servers (`NV SERVER PORT USE HOSTNAME`, numbers in hexadecimal).
fn parse_servers(text: &str) -> impl Iterator<Item = u16> {
    text.lines().filter_map(|line| {
        let mut fields = line.split_ascii_whitespace().skip(1);
        let local = fields.next()? == "7f000001";
        let port = u16::from_str_radix(fields.next()?, 16).ok()?;
        local.then_some(port)
    })
}

/// A path as the kernel writes it in its tables.
pub(crate) fn unescaped(field: &str) -> PathBuf {
    PathBuf::from(OsString::from_vec(unescape(field)))
}

/// Undoes the kernel's `\ooo` escapes for space, tab, newline and backslash.
fn unescape(field: &str) -> Vec<u8> {
    let mut bytes = field.as_bytes();
    let mut plain = Vec::with_capacity(bytes.len());
    while let Some((&first, rest)) = bytes.split_first() {
        let octal = rest.get(..3).filter(|digits| first == b'\\' && digits.iter().all(|d| (b'0'..=b'7').contains(d)));
        match octal.and_then(|digits| u8::try_from(digits.iter().fold(0_u32, |n, d| n * 8 + u32::from(d - b'0'))).ok())
        {
            Some(byte) => {
                plain.push(byte);
                bytes = &rest[3..];
            }
            None => {
                plain.push(first);
                bytes = rest;
            }
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NFS: &str = "54 28 0:43 / /var/lib/kubelet/pods/a\\040b/mount rw,relatime shared:9 master:1 - nfs4 127.0.0.1:/ \
        rw,vers=4.1,rsize=1048576,wsize=1048576,namlen=255,hard,noresvport,proto=tcp,port=20049,timeo=600,retrans=2,\
        sec=sys,clientaddr=127.0.0.1,local_lock=none,addr=127.0.0.1";

    #[test]
    fn an_nfs_mount_is_understood() {
        let entry = &parse(NFS)[0];
        assert_eq!(entry.mount_point, Path::new("/var/lib/kubelet/pods/a b/mount"));
        assert_eq!((entry.source.as_str(), entry.device.as_str()), ("127.0.0.1:/", "0:43"));
        assert_eq!(entry.tunnel_port(), Some(20049));
        assert!(entry.is_nfs() && !entry.read_only());
        assert_eq!(entry.super_option("vers"), Some("4.1"));
        assert_eq!(entry.super_option("por"), None);
    }

    /// The kernel leaves out the port of NFS itself.
    #[test]
    fn a_mount_that_names_no_port_has_the_default_one() {
        let entry = &parse(&NFS.replace("port=20049,", ""))[0];
        assert_eq!((entry.super_option("port"), entry.tunnel_port()), (None, Some(2049)));
        assert!(nfs_ports(std::slice::from_ref(entry)).contains(&2049));
        assert_eq!(parse(&NFS.replace("port=20049", "port=x"))[0].tunnel_port(), None);
    }

    #[test]
    fn mounts_of_other_servers_have_no_tunnel_port() {
        let elsewhere = NFS.replace("addr=127.0.0.1", "addr=10.0.0.1");
        assert_eq!(parse(&elsewhere)[0].tunnel_port(), None);
        let tmpfs = "1 0 0:1 / /mnt ro,nosuid - tmpfs tmpfs rw,addr=127.0.0.1,port=20049";
        assert_eq!(parse(tmpfs)[0].tunnel_port(), None);
        assert!(parse(tmpfs)[0].read_only());
    }

    #[test]
    fn ports_of_lingering_clients_are_found() {
        let text = "NV SERVER   PORT USE HOSTNAME\nv4 7f000001 4e51   1 127.0.0.1\nv4 0a000001  801   2 10.0.0.1\n";
        assert_eq!(parse_servers(text).collect::<Vec<_>>(), [0x4e51]);
    }

    #[test]
    fn this_machine_has_a_root_mount() {
        assert!(!at(Path::new("/")).expect("mountinfo").is_empty());
    }

    proptest! {
        #[test]
        fn any_text_parses_without_panic(text in ".{0,200}") {
            let _entries = parse(&text);
            let _plain = unescape(&text);
        }

        #[test]
        fn escaped_paths_come_back(path in "[a-z \\\\\t\n]{0,20}") {
            let escaped: String = path.chars().map(|c| match c {
                ' ' | '\t' | '\n' | '\\' => format!("\\{:03o}", c as u32),
                c => c.to_string(),
            }).collect();
            prop_assert_eq!(unescape(&escaped), path.as_bytes());
        }
    }
}
