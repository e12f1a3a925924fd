//! Who may use the local port of a tunnel.
//!
//! The port carries the access point's rights, and every process of the same network namespace can connect to it. That the
//! owner is uid 0 doesn't make a connection the kernel's: a pod in the host's network may run as root too, without a single
//! capability. What tells them apart is the cgroup in which the socket was made. The kernel's NFS client makes its TCP sockets
//! in a worker thread of the workqueue xprtiod (net/sunrpc/xprtsock.c, `xs_tcp_setup_socket`), and the kernel lets nobody move
//! such threads out of the root cgroup (kernel/cgroup/cgroup.c, `cgroup_procs_write_start`); the processes of pods, and those
//! of systemd's services, are in cgroups of their own, and can't get out without CAP_SYS_ADMIN.

use std::fs;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};

use super::peer::{self, Owner};

/// Id of the root of the cgroup v2 hierarchy: the first node of a kernfs (fs/kernfs/dir.c), whose 64-bit ids have no generation.
const ROOT_CGROUP: u64 = 1;
/// Version 1 controllers that, before Linux 5.15, take the place in a socket where its cgroup stands (include/linux/cgroup-defs.h,
/// `sock_cgroup_data`): all sockets made from then on count as the root's.
const SHARING_THE_PLACE: [&str; 2] = ["net_cls", "net_prio"];

/// Who may use a tunnel's port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    /// The kernel's NFS client alone. Needs a node where it can be told from processes, see [`kernel_is_distinct`].
    Kernel,
    /// Only sockets of this user id.
    OnlyUid(u32),
    /// Only sockets that this process holds.
    ThisProcess,
    /// Nobody, where [`Admission::Kernel`] would admit others too.
    Nobody,
}

/// Why a local connection gets nothing.
#[derive(Debug, thiserror::Error)]
pub(super) enum Refused {
    /// Another user's.
    #[error("the socket belongs to uid {uid}, only uid {wanted} may use the tunnel")]
    Uid { uid: u32, wanted: u32 },
    /// A process's where only the kernel may come.
    #[error("a process of the cgroup with id {0} made the socket, not the kernel")]
    Cgroup(u64),
    /// The same, perhaps.
    #[error("the kernel does not tell in which cgroup the socket was made")]
    NoCgroup,
    /// Not ours.
    #[error("another process holds the socket (uid {0})")]
    AnotherProcess(u32),
    /// Ours or not.
    #[error("cannot read /proc/self/fd: {0}")]
    Descriptors(#[source] io::Error),
    /// Nobody's business.
    #[error("nobody may use the tunnel: the kernel can't be told from processes here")]
    Nobody,
    /// It was closed meanwhile.
    #[error("the connection is gone already")]
    Gone,
    /// sock_diag says nothing.
    #[error("cannot find out whose socket it is: {0}")]
    Owner(#[source] io::Error),
    /// It has no address.
    #[error("{0}")]
    Address(#[source] io::Error),
}

impl Admission {
    /// Admits the owner of a socket, or says why not.
    pub(super) fn admit(self, owner: Owner) -> Result<(), Refused> {
        let uid_alone = |wanted| match owner.uid == wanted {
            true => Ok(()),
            false => Err(Refused::Uid { uid: owner.uid, wanted }),
        };
        match self {
            Self::OnlyUid(uid) => uid_alone(uid),
            Self::Kernel => {
                uid_alone(0)?;
                match owner.cgroup {
                    Some(ROOT_CGROUP) => Ok(()),
                    Some(id) => Err(Refused::Cgroup(id)),
                    None => Err(Refused::NoCgroup),
                }
            }
            Self::ThisProcess => match holds(owner.inode) {
                Ok(true) => Ok(()),
                Ok(false) => Err(Refused::AnotherProcess(owner.uid)),
                Err(error) => Err(Refused::Descriptors(error)),
            },
            Self::Nobody => Err(Refused::Nobody),
        }
    }
}

/// Whether this process has the socket with this inode open.
fn holds(inode: u32) -> io::Result<bool> {
    let name = format!("socket:[{inode}]");
    for entry in fs::read_dir("/proc/self/fd")? {
        // A descriptor that another thread closes meanwhile is none.
        if fs::read_link(entry?.path()).is_ok_and(|link| link.as_os_str() == name.as_str()) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Why sockets of the kernel can't be told from sockets of processes.
#[derive(Debug, thiserror::Error)]
pub enum Indistinct {
    /// sock_diag is missing, or silent about cgroups.
    #[error(
        "the kernel does not tell the cgroup of a socket (Linux 5.8 and later do, with CONFIG_INET_DIAG and CONFIG_SOCK_CGROUP_DATA)"
    )]
    Untold,
    /// All processes, or all sockets, may count as the root's.
    #[error(
        "this node keeps pods apart in cgroups of version 1; the sockets of all processes may look like the kernel's"
    )]
    Version1,
    /// It can't be found out.
    #[error("cannot find out whether sockets tell their cgroup: {0}")]
    Io(#[from] io::Error),
}

/// Whether [`Admission::Kernel`] admits the kernel alone on this node.
///
/// # Errors
/// The reason why not.
pub fn kernel_is_distinct() -> Result<(), Indistinct> {
    let own = own_socket()?.and_then(|owner| owner.cgroup).ok_or(Indistinct::Untold)?;
    match separates(own, &fs::read_to_string("/proc/self/cgroup")?) {
        true => Ok(()),
        false => Err(Indistinct::Version1),
    }
}

/// What the kernel tells about a socket of ours.
fn own_socket() -> io::Result<Option<Owner>> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let ours: SocketAddr = listener.local_addr()?;
    let client = TcpStream::connect(ours)?;
    peer::owner(client.local_addr()?, ours)
}

/// Whether pods are in cgroups of the version 2 hierarchy, given the cgroup of a socket of ours and the text of
/// /proc/self/cgroup (cgroups(7)). In the root ourselves, we must see that there is no other hierarchy that could do it.
fn separates(own_socket: u64, memberships: &str) -> bool {
    let is_version_2 = |line: &&str| line.starts_with("0::");
    let mut version_1 = memberships.lines().filter(|line| !is_version_2(line));
    let shares_the_place = |line: &str| {
        let controllers = line.split(':').nth(1).unwrap_or_default();
        controllers.split(',').any(|controller| SHARING_THE_PLACE.contains(&controller))
    };
    memberships.lines().any(|line| is_version_2(&line))
        && match own_socket {
            ROOT_CGROUP => version_1.next().is_none(),
            _ => !version_1.any(shares_the_place),
        }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROOT: Owner = Owner { uid: 0, inode: 77, cgroup: Some(ROOT_CGROUP) };

    #[test]
    fn only_root_sockets_of_the_root_cgroup_are_the_kernels() {
        Admission::Kernel.admit(ROOT).expect("the kernel");
        for (stranger, why) in [
            (Owner { cgroup: Some(4711), ..ROOT }, "4711"),
            (Owner { cgroup: None, ..ROOT }, "does not tell"),
            (Owner { uid: 1000, ..ROOT }, "uid 1000"),
        ] {
            let reason = Admission::Kernel.admit(stranger).expect_err("refused").to_string();
            assert!(reason.contains(why), "{reason}");
        }
        assert!(Admission::Nobody.admit(ROOT).is_err());
        Admission::OnlyUid(0).admit(Owner { cgroup: None, ..ROOT }).expect("root");
    }

    #[test]
    fn a_socket_is_this_processs_as_long_as_it_is_open() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("bind");
        let client = TcpStream::connect(listener.local_addr().expect("address")).expect("connect");
        let (accepted, from) = listener.accept().expect("accept");
        let owner = peer::owner(from, accepted.local_addr().expect("address")).expect("look up").expect("live");
        Admission::ThisProcess.admit(owner).expect("ours");
        drop(client);
        assert!(Admission::ThisProcess.admit(owner).is_err());
    }

    #[test]
    fn hosts_that_keep_pods_apart_are_known_by_their_hierarchies() {
        let systemd = "12:pids:/\n3:net_cls,net_prio:/\n1:name=systemd:/x\n0::/x\n";
        for (own_socket, memberships, want) in [
            (4711, "0::/kubepods.slice/pod1\n", true),
            (4711, "0::/\n", true),
            (ROOT_CGROUP, "0::/\n", true),
            (4711, "5:misc:/\n0::/kubepods/pod1\n", true),
            (ROOT_CGROUP, "5:memory:/kubepods/pod1\n0::/\n", false),
            (4711, systemd, false),
            (ROOT_CGROUP, systemd, false),
            (4711, "5:memory:/kubepods/pod1\n", false),
            (ROOT_CGROUP, "", false),
        ] {
            assert_eq!(separates(own_socket, memberships), want, "{own_socket} {memberships:?}");
        }
    }

    /// As the file system of the hierarchy tells it: the inode of our cgroup's directory (cgroups(7)) is its id.
    #[test]
    fn a_socket_of_ours_tells_our_own_cgroup() {
        use std::os::unix::fs::MetadataExt as _;
        let mounts = fs::read_to_string("/proc/self/mountinfo").expect("mounts");
        let own = fs::read_to_string("/proc/self/cgroup").expect("cgroups");
        let (Some(hierarchy), Some(path)) = (
            mounts.lines().find(|mount| mount.contains(" - cgroup2 ")).and_then(|mount| mount.split(' ').nth(4)),
            own.lines().find_map(|it| it.strip_prefix("0::/")),
        ) else {
            println!("SKIP no cgroup v2 hierarchy is mounted here");
            return;
        };
        let inode = fs::metadata(format!("{hierarchy}{path}")).expect("our cgroup").ino();
        let told = own_socket().expect("a connection").expect("a live socket").cgroup;
        assert_eq!(told, Some(inode));
        assert!(!matches!(kernel_is_distinct(), Err(Indistinct::Untold)));
    }
}
