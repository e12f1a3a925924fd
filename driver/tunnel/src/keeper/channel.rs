//! The connection between the keeper and those who use it: a SOCK_SEQPACKET socket, one message per packet, with at most one file
//! descriptor and one note.

use std::fs::File;
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::io::ioctl_fionbio;
use rustix::net::sockopt::{Timeout, set_socket_timeout, socket_peercred};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, SocketAddrUnix, SocketFlags, SocketType, accept_with, bind, connect, listen, recv, recvmsg, sendmsg,
    socket_with,
};
use rustix::process::{Pid, geteuid, getpid};

/// A peer on the same host that doesn't answer by then is broken.
const ANSWER_WITHIN: Duration = Duration::from_secs(2);
const SOCKET: &str = "socket";
const BACKLOG: i32 = 8;
/// A note is never longer: a specification, an address and a certificate are some KiB.
pub(super) const NOTE_MAX: usize = 16 * 1024;
/// Kind and port.
const HEAD: usize = 3;

/// What the keeper and its users say to each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Message {
    /// With a socket: here is the listener of this port.
    Keep(u16),
    /// Close the listener of this port.
    Release(u16),
    /// Send all listeners, as [`Message::Keep`] without notes, then [`Message::Done`].
    List,
    /// Done.
    Done,
    /// The same as [`Message::List`] with the notes. Keepers up to 0.2.0 don't know it.
    ListNoted,
}

/// A message with what comes along.
#[derive(Debug)]
pub(super) struct Packet {
    pub(super) message: Message,
    pub(super) socket: Option<OwnedFd>,
    pub(super) note: Vec<u8>,
}

impl Message {
    fn encode(self) -> [u8; HEAD] {
        let (kind, port) = match self {
            Self::Keep(port) => (1, port),
            Self::Release(port) => (2, port),
            Self::List => (3, 0),
            Self::Done => (4, 0),
            Self::ListNoted => (5, 0),
        };
        let [low, high] = port.to_le_bytes();
        [kind, low, high]
    }

    /// The message, and the note behind it.
    fn decode(bytes: &[u8]) -> Option<(Self, &[u8])> {
        let (&[kind, low, high], note) = bytes.split_first_chunk::<HEAD>()?;
        let port = u16::from_le_bytes([low, high]);
        let message = match kind {
            1 => Self::Keep(port),
            2 => Self::Release(port),
            3 => Self::List,
            4 => Self::Done,
            5 => Self::ListNoted,
            _ => return None,
        };
        (note.is_empty() || matches!(message, Self::Keep(_))).then_some((message, note))
    }
}

/// One end of a connection.
#[derive(Debug)]
pub(super) struct Channel {
    socket: OwnedFd,
}

impl Channel {
    /// Connects to the keeper in `directory`.
    pub(super) fn connect(directory: &Path) -> io::Result<Self> {
        let socket = unconnected()?;
        // Without waiting: the queue of a keeper that hangs is full after some attempts, and a connection to it comes when it goes on.
        ioctl_fionbio(&socket, true)?;
        with_address(directory, SOCKET, |address| Ok(connect(&socket, address)?))?;
        ioctl_fionbio(&socket, false)?;
        Self::new(socket)
    }

    fn new(socket: OwnedFd) -> io::Result<Self> {
        set_socket_timeout(&socket, Timeout::Send, Some(ANSWER_WITHIN))?;
        set_socket_timeout(&socket, Timeout::Recv, Some(ANSWER_WITHIN))?;
        Ok(Self { socket })
    }

    /// Sends a message.
    pub(super) fn send(&self, message: Message) -> io::Result<()> {
        self.send_with(message, None, &[])
    }

    /// Sends a listening socket with its note.
    pub(super) fn send_socket(&self, port: u16, socket: &OwnedFd, note: &[u8]) -> io::Result<()> {
        self.send_with(Message::Keep(port), Some(socket), note)
    }

    fn send_with(&self, message: Message, socket: Option<&OwnedFd>, note: &[u8]) -> io::Result<()> {
        if note.len() > NOTE_MAX {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, format!("a note of {} bytes", note.len())));
        }
        let head = message.encode();
        let sockets: Vec<BorrowedFd<'_>> = socket.iter().map(|socket| socket.as_fd()).collect();
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        if !sockets.is_empty() && !control.push(SendAncillaryMessage::ScmRights(&sockets)) {
            return Err(io::Error::other("no room for a file descriptor"));
        }
        sendmsg(&self.socket, &[IoSlice::new(&head), IoSlice::new(note)], &mut control, SendFlags::NOSIGNAL)?;
        Ok(())
    }

    /// Receives a message; `None` when the other side is gone.
    pub(super) fn receive(&self) -> io::Result<Option<Packet>> {
        // One more than there may be, so that what is longer shows.
        let mut bytes = vec![0_u8; HEAD + NOTE_MAX + 1];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let mut parts = [IoSliceMut::new(&mut bytes)];
        let received = recvmsg(&self.socket, &mut parts, &mut control, RecvFlags::CMSG_CLOEXEC)?;
        let mut socket = None;
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(sockets) = message {
                socket = sockets.last();
            }
        }
        if received.bytes == 0 {
            return Ok(None);
        }
        match Message::decode(&bytes[..received.bytes.min(bytes.len())]) {
            Some((message, note)) if note.len() <= NOTE_MAX => {
                Ok(Some(Packet { message, socket, note: note.to_vec() }))
            }
            _ => Err(io::Error::new(io::ErrorKind::InvalidData, "unknown message")),
        }
    }

    /// Waits for [`Message::Done`].
    pub(super) fn acknowledged(&self) -> io::Result<()> {
        match self.receive()? {
            Some(Packet { message: Message::Done, .. }) => Ok(()),
            _ => Err(io::Error::new(io::ErrorKind::InvalidData, "no acknowledgement")),
        }
    }

    /// The process that listens, if it is this user's and can be seen from here.
    pub(super) fn peer(&self) -> Option<Pid> {
        let peer = socket_peercred(&self.socket).ok()?;
        (peer.uid == geteuid() && peer.pid != getpid() && peer.pid.as_raw_nonzero().get() > 0).then_some(peer.pid)
    }

    /// Whether the other side is gone. Doesn't wait.
    pub(super) fn is_closed(&self) -> bool {
        let mut byte = [0_u8; 1];
        match recv(&self.socket, &mut byte[..], RecvFlags::PEEK | RecvFlags::DONTWAIT) {
            Ok((_, length)) => length == 0,
            Err(error) => error != rustix::io::Errno::AGAIN,
        }
    }
}

impl AsFd for Channel {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// The keeper's end: where drivers connect.
pub(super) struct Door {
    socket: OwnedFd,
    directory: PathBuf,
    inode: u64,
}

impl Door {
    /// Listens in `directory`, in the place of an earlier keeper.
    pub(super) fn open(directory: &Path) -> io::Result<Self> {
        let socket = unconnected()?;
        let fresh = format!("{SOCKET}.{}", std::process::id());
        match std::fs::remove_file(directory.join(&fresh)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        with_address(directory, &fresh, |address| Ok(bind(&socket, address)?))?;
        listen(&socket, BACKLOG)?;
        let inode = std::fs::symlink_metadata(directory.join(&fresh))?.ino();
        std::fs::rename(directory.join(&fresh), directory.join(SOCKET))?;
        Ok(Self { socket, directory: directory.to_owned(), inode })
    }

    /// Whether the name leads to nobody: somebody has removed it, or what is there does not listen any more.
    pub(super) fn is_lost(&self) -> bool {
        match std::fs::symlink_metadata(self.directory.join(SOCKET)) {
            Ok(found) if found.ino() == self.inode => false,
            Ok(_) => Channel::connect(&self.directory).is_err_and(|error| error.kind() != io::ErrorKind::WouldBlock),
            Err(error) => error.kind() == io::ErrorKind::NotFound,
        }
    }

    /// Takes the keeper's name away, unless another keeper has it by now.
    pub(super) fn close(self) -> io::Result<()> {
        let path = self.directory.join(SOCKET);
        match std::fs::symlink_metadata(&path) {
            Ok(found) if found.ino() == self.inode => efs_common::durable::remove(&path),
            _ => Ok(()),
        }
    }

    /// Accepts a driver.
    pub(super) fn accept(&self) -> io::Result<Channel> {
        Channel::new(accept_with(&self.socket, SocketFlags::CLOEXEC)?)
    }
}

impl AsFd for Door {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

fn unconnected() -> io::Result<OwnedFd> {
    Ok(socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?)
}

/// Socket addresses hold 107 bytes of path, state directories may be longer: the way leads through an open directory.
pub(super) fn with_address<T>(
    directory: &Path,
    name: &str,
    work: impl Fn(&SocketAddrUnix) -> io::Result<T>,
) -> io::Result<T> {
    let directory = File::open(directory)?;
    let address = SocketAddrUnix::new(format!("/proc/self/fd/{}/{name}", directory.as_raw_fd()))?;
    work(&address)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_survive_the_wire_form() {
        use Message::{Done, Keep, List, ListNoted, Release};
        for message in [Keep(20049), Release(65535), List, Done, ListNoted] {
            assert_eq!(Message::decode(&message.encode()), Some((message, &[][..])));
        }
        assert_eq!(Message::decode(&[1, 0, 1, b'n']), Some((Keep(256), &b"n"[..])));
        for bad in [&[][..], &[1], &[9, 0, 0], &[2, 0, 0, 0]] {
            assert_eq!(Message::decode(bad), None);
        }
    }
}
