//! The connection between driver and keeper: a SOCK_SEQPACKET socket, one message per packet, with at most one file
//! descriptor.

use std::fs::File;
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::io::ioctl_fionbio;
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, SocketAddrUnix, SocketFlags, SocketType, accept_with, bind, connect, listen, recv, recvmsg, sendmsg,
    socket_with,
};

/// A peer on the same host that doesn't answer by then is broken.
const ANSWER_WITHIN: Duration = Duration::from_secs(2);
const SOCKET: &str = "socket";
const BACKLOG: i32 = 8;

/// What driver and keeper say to each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Message {
    /// With a socket: here is the listener of this port.
    Keep(u16),
    /// Close the listener of this port.
    Release(u16),
    /// Send all listeners, as [`Message::Keep`], then [`Message::Done`].
    List,
    /// Done.
    Done,
}

impl Message {
    fn encode(self) -> [u8; 3] {
        let (kind, port) = match self {
            Self::Keep(port) => (1, port),
            Self::Release(port) => (2, port),
            Self::List => (3, 0),
            Self::Done => (4, 0),
        };
        let [low, high] = port.to_le_bytes();
        [kind, low, high]
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let &[kind, low, high] = bytes else { return None };
        let port = u16::from_le_bytes([low, high]);
        match kind {
            1 => Some(Self::Keep(port)),
            2 => Some(Self::Release(port)),
            3 => Some(Self::List),
            4 => Some(Self::Done),
            _ => None,
        }
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
    pub(super) fn send(&self, message: Message, socket: Option<&OwnedFd>) -> io::Result<()> {
        let bytes = message.encode();
        let sockets: Vec<BorrowedFd<'_>> = socket.iter().map(|socket| socket.as_fd()).collect();
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        if !sockets.is_empty() && !control.push(SendAncillaryMessage::ScmRights(&sockets)) {
            return Err(io::Error::other("no room for a file descriptor"));
        }
        sendmsg(&self.socket, &[IoSlice::new(&bytes)], &mut control, SendFlags::NOSIGNAL)?;
        Ok(())
    }

    /// Receives a message and the socket with it; `None` when the other side is gone.
    pub(super) fn receive(&self) -> io::Result<Option<(Message, Option<OwnedFd>)>> {
        let mut bytes = [0_u8; 4];
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
            Some(message) => Ok(Some((message, socket))),
            None => Err(io::Error::new(io::ErrorKind::InvalidData, "unknown message")),
        }
    }

    /// Waits for [`Message::Done`].
    pub(super) fn acknowledged(&self) -> io::Result<()> {
        match self.receive()? {
            Some((Message::Done, _)) => Ok(()),
            _ => Err(io::Error::new(io::ErrorKind::InvalidData, "no acknowledgement")),
        }
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

/// Takes the keeper's name away, so that nobody else connects to it.
pub(super) fn close_door(directory: &Path) -> io::Result<()> {
    efs_common::durable::remove(&directory.join(SOCKET))
}

fn unconnected() -> io::Result<OwnedFd> {
    Ok(socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?)
}

/// Socket addresses hold 107 bytes of path, state directories may be longer: the way leads through an open directory.
fn with_address<T>(directory: &Path, name: &str, work: impl Fn(&SocketAddrUnix) -> io::Result<T>) -> io::Result<T> {
    let directory = File::open(directory)?;
    let address = SocketAddrUnix::new(format!("/proc/self/fd/{}/{name}", directory.as_raw_fd()))?;
    work(&address)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_survive_the_wire_form() {
        for message in [Message::Keep(20049), Message::Release(65535), Message::List, Message::Done] {
            assert_eq!(Message::decode(&message.encode()), Some(message));
        }
        for bad in [&[][..], &[1], &[9, 0, 0], &[1, 0, 0, 0]] {
            assert_eq!(Message::decode(bad), None);
        }
    }
}
