//! Who is at the other end of a loopback connection: the kernel tells its owner through sock_diag (sock_diag(7)), or less of
//! it through /proc/net/tcp where that module is missing.

use std::collections::HashSet;
use std::fs;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};

use rustix::net::netlink::{self, SocketAddrNetlink};
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, recv, sendto, socket_with};

const SOCK_DIAG_BY_FAMILY: u16 = 20;
const NLM_F_REQUEST: u16 = 1;
const NLMSG_ERROR: u16 = 2;
const TCP_ESTABLISHED: u8 = 1;
const TCP_LISTEN: u8 = 10;
const TABLE: &str = "/proc/net/tcp";
const HEADER: usize = 16;
const REQUEST: usize = HEADER + 56;
/// Offsets in `struct inet_diag_msg`.
const STATE: usize = HEADER + 1;
const UID: usize = HEADER + 64;
const INODE: usize = HEADER + 68;
/// Where `struct inet_diag_msg` ends and the attributes begin.
const ATTRIBUTES: usize = HEADER + 72;
/// `INET_DIAG_CGROUP_ID` of linux/inet_diag.h; since Linux 5.8 it comes unasked.
const CGROUP_ID: u16 = 21;

/// The owner of a live socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Owner {
    /// User id in our user namespace.
    pub uid: u32,
    /// The socket's inode, the number in `socket:[…]` of /proc/PID/fd.
    pub inode: u32,
    /// Id of the cgroup (version 2) of the thread that made the socket, wherever that thread is by now. `None` where the
    /// kernel doesn't tell.
    pub cgroup: Option<u64>,
}

/// Finds the owner of the socket at the other end of a connection between `peer` (theirs) and `ours`, both on this host.
///
/// `None` when there is no such socket in the established state. That matters: a socket in TIME_WAIT is reported as
/// uid 0 whoever it belonged to, so a peer that sent its data and closed at once must not be taken for root.
pub fn owner(peer: SocketAddr, ours: SocketAddr) -> io::Result<Option<Owner>> {
    let (SocketAddr::V4(peer), SocketAddr::V4(ours)) = (peer, ours) else {
        return Err(io::Error::new(io::ErrorKind::Unsupported, "tunnels listen on IPv4 loopback only"));
    };
    match by_sock_diag(peer, ours) {
        Ok(owner) => Ok(owner),
        Err(error) => {
            tracing::debug!(%error, "sock_diag is not available, reading /proc/net/tcp");
            Ok(in_table(&fs::read_to_string(TABLE)?, peer, ours))
        }
    }
}

/// Ports at which a program of this host listens, on 127.0.0.1 or on all IPv4 addresses.
pub fn listening_ports() -> io::Result<HashSet<u16>> {
    Ok(listeners(&fs::read_to_string(TABLE)?).collect())
}

fn by_sock_diag(peer: SocketAddrV4, ours: SocketAddrV4) -> io::Result<Option<Owner>> {
    let socket = socket_with(
        AddressFamily::NETLINK,
        SocketType::DGRAM,
        SocketFlags::CLOEXEC | SocketFlags::NONBLOCK,
        Some(netlink::SOCK_DIAG),
    )?;
    sendto(&socket, &request(peer, ours), SendFlags::empty(), &SocketAddrNetlink::new(0, 0))?;
    // The kernel answers a request for one socket before sendto returns, so the answer is there.
    let mut answer = [0_u8; 512];
    let (_, length) = recv(&socket, &mut answer[..], RecvFlags::empty())?;
    let answer = &answer[..length.min(answer.len())];
    match u16_at(answer, 4) {
        Some(SOCK_DIAG_BY_FAMILY) => {
            let (Some(&state), Some(uid), Some(inode)) =
                (answer.get(STATE), u32_at(answer, UID), u32_at(answer, INODE))
            else {
                return Err(io::Error::new(io::ErrorKind::InvalidData, "short sock_diag answer"));
            };
            let cgroup = attribute(answer.get(ATTRIBUTES..).unwrap_or_default(), CGROUP_ID);
            let cgroup = cgroup.and_then(|id| Some(u64::from_ne_bytes(id.try_into().ok()?)));
            Ok((state == TCP_ESTABLISHED).then_some(Owner { uid, inode, cgroup }))
        }
        Some(NLMSG_ERROR) => {
            let errno = u32_at(answer, HEADER).map_or(0, u32::cast_signed);
            let error = io::Error::from_raw_os_error(-errno);
            // ENOENT is both "no such socket" and "no such diagnostic module"; the table tells them apart.
            Err(error)
        }
        _ => Err(io::Error::new(io::ErrorKind::InvalidData, "unknown sock_diag answer")),
    }
}

/// `struct nlmsghdr` followed by `struct inet_diag_req_v2` for one TCP socket.
fn request(peer: SocketAddrV4, ours: SocketAddrV4) -> [u8; REQUEST] {
    let mut bytes = [0_u8; REQUEST];
    bytes[0..4].copy_from_slice(&(REQUEST as u32).to_ne_bytes());
    bytes[4..6].copy_from_slice(&SOCK_DIAG_BY_FAMILY.to_ne_bytes());
    bytes[6..8].copy_from_slice(&NLM_F_REQUEST.to_ne_bytes());
    let body = &mut bytes[HEADER..];
    body[0] = AddressFamily::INET.as_raw() as u8;
    body[1] = rustix::net::ipproto::TCP.as_raw().get() as u8;
    body[4..8].copy_from_slice(&u32::MAX.to_ne_bytes());
    body[8..10].copy_from_slice(&peer.port().to_be_bytes());
    body[10..12].copy_from_slice(&ours.port().to_be_bytes());
    body[12..16].copy_from_slice(&peer.ip().octets());
    body[28..32].copy_from_slice(&ours.ip().octets());
    // No interface; "no cookie" is all ones.
    body[48..56].fill(0xff);
    bytes
}

/// The value of the first netlink attribute of type `wanted` (netlink(7): length with its own four bytes, type, value, padding
/// to four bytes).
fn attribute(mut bytes: &[u8], wanted: u16) -> Option<&[u8]> {
    loop {
        let (length, kind) = (usize::from(u16_at(bytes, 0)?), u16_at(bytes, 2)?);
        let value = bytes.get(4..length)?;
        if kind == wanted {
            return Some(value);
        }
        bytes = bytes.get(length.next_multiple_of(4)..)?;
    }
}

/// Looks the connection up in the text of /proc/net/tcp.
fn in_table(table: &str, peer: SocketAddrV4, ours: SocketAddrV4) -> Option<Owner> {
    let (local, remote) = (table_form(peer), table_form(ours));
    table.lines().skip(1).find_map(|line| {
        let mut fields = line.split_ascii_whitespace().skip(1);
        let found = fields.next()? == local && fields.next()? == remote;
        let state = u8::from_str_radix(fields.next()?, 16).ok()?;
        let uid = fields.nth(3)?.parse().ok()?;
        let inode = fields.nth(1)?.parse().ok()?;
        (found && state == TCP_ESTABLISHED).then_some(Owner { uid, inode, cgroup: None })
    })
}

/// Looks those who listen up in the text of /proc/net/tcp.
fn listeners(table: &str) -> impl Iterator<Item = u16> {
    let here = [Ipv4Addr::LOCALHOST, Ipv4Addr::UNSPECIFIED].map(ip_form);
    table.lines().skip(1).filter_map(move |line| {
        let mut fields = line.split_ascii_whitespace().skip(1);
        let (ip, port) = fields.next()?.split_once(':')?;
        let state = u8::from_str_radix(fields.nth(1)?, 16).ok()?;
        let listens = state == TCP_LISTEN && here.iter().any(|it| it == ip);
        listens.then(|| u16::from_str_radix(port, 16).ok())?
    })
}

/// An address as /proc/net/tcp writes it.
fn table_form(address: SocketAddrV4) -> String {
    format!("{}:{:04X}", ip_form(*address.ip()), address.port())
}

/// An IP as one native-endian hexadecimal word.
fn ip_form(ip: Ipv4Addr) -> String {
    format!("{:08X}", u32::from_ne_bytes(ip.octets()))
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::*;

    fn v4(address: SocketAddr) -> SocketAddrV4 {
        match address {
            SocketAddr::V4(address) => address,
            SocketAddr::V6(_) => unreachable!("bound to IPv4"),
        }
    }

    #[test]
    fn only_local_listeners_are_listening_ports() {
        let text = "  sl  local_address rem_address   st tx_queue rx_queue\n\
            0: 0100007F:4E51 00000000:0000 0A 00000000:00000000 00:00000000 00000000\n\
            1: 00000000:4E52 00000000:0000 0A 00000000:00000000 00:00000000 00000000\n\
            2: 0100007F:4E53 0100007F:4E51 01 00000000:00000000 00:00000000 00000000\n\
            3: 0200000A:4E54 00000000:0000 0A 00000000:00000000 00:00000000 00000000\n";
        assert_eq!(listeners(text).collect::<Vec<_>>(), [20049, 20050]);
    }

    #[test]
    fn both_ways_find_the_owner_of_a_live_connection_and_none_after_it_closed() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("bind");
        let client = TcpStream::connect(listener.local_addr().expect("address")).expect("connect");
        let (accepted, peer) = listener.accept().expect("accept");
        let ours = accepted.local_addr().expect("address");
        let uid = rustix::process::geteuid().as_raw();
        let inode = u32::try_from(rustix::fs::fstat(&client).expect("stat").st_ino).expect("inode");
        let told = owner(peer, ours).expect("look up").expect("a live socket");
        assert_eq!((told.uid, told.inode), (uid, inode));
        let table = fs::read_to_string("/proc/net/tcp").expect("table");
        assert_eq!(in_table(&table, v4(peer), v4(ours)), Some(Owner { uid, inode, cgroup: None }));

        // Closed by the peer first: its socket is in FIN_WAIT2 or TIME_WAIT, where the kernel may report uid 0.
        drop(client);
        assert_eq!(owner(peer, ours).expect("look up"), None);
        drop(accepted);
        assert_eq!(owner(peer, ours).expect("look up"), None);
    }

    #[test]
    fn a_time_wait_row_is_nobody_although_it_says_uid_0() {
        let table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n   \
                     0: 0100007F:C350 0100007F:4E51 06 00000000:00000000 03:00000A 00000000     0        0 0 3 0\n   \
                     1: 0100007F:C351 0100007F:4E51 01 00000000:00000000 00:00000 00000000  1000        0 77 1 0\n";
        let ours = "127.0.0.1:20049".parse().expect("address");
        assert_eq!(in_table(table, "127.0.0.1:50000".parse().expect("address"), ours), None);
        let live = Owner { uid: 1000, inode: 77, cgroup: None };
        assert_eq!(in_table(table, "127.0.0.1:50001".parse().expect("address"), ours), Some(live));
    }

    #[test]
    fn an_attribute_is_found_among_others_and_a_broken_list_is_none() {
        let mut list = vec![5, 0, 8, 0, 1, 0, 0, 0];
        list.extend([12, 0, 21, 0, 1, 2, 3, 4, 5, 6, 7, 8]);
        assert_eq!(attribute(&list, CGROUP_ID), Some(&[1, 2, 3, 4, 5, 6, 7, 8][..]));
        assert_eq!(attribute(&list, 8), Some(&[1][..]));
        assert_eq!(attribute(&list, 9), None);
        assert_eq!(attribute(&list[..16], CGROUP_ID), None, "cut off");
        assert_eq!(attribute(&[0; 8], CGROUP_ID), None, "a length of zero must not loop");
    }
}
