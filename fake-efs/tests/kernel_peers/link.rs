//! A connection whose records can be cut, lost and repeated.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use fake_efs::nfs::xdr::Encoder;
use rustix::net::sockopt::{set_socket_linger, set_socket_reuseaddr};
use rustix::net::{AddressFamily, SocketType};

/// How long an answer may take: the servers are on this machine, and have little to do.
const PATIENCE: Duration = Duration::from_secs(3);
/// Longest reply: the largest READ is far below.
const LARGEST: usize = 1 << 20;

/// What came back for a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Delivered {
    /// What follows the transaction id in the reply.
    Reply(Vec<u8>),
    /// The server ended the connection.
    Closed,
    /// The server said nothing.
    Silence,
}

/// A connection to one server, made again when it is broken.
pub(crate) struct Link {
    address: SocketAddr,
    stream: TcpStream,
}

impl Link {
    pub(crate) fn new(address: SocketAddr) -> anyhow::Result<Self> {
        Ok(Self { address, stream: connect(address, 0)? })
    }

    /// Breaks the connection and makes another one from the same port, as Linux does: some servers know a repetition by it.
    pub(crate) fn reconnect(&mut self) -> anyhow::Result<()> {
        let port = self.stream.local_addr()?.port();
        // The end is a reset: a connection that ends in peace keeps its port for minutes.
        set_socket_linger(&self.stream, Some(Duration::ZERO))?;
        let gone = std::mem::replace(&mut self.stream, connect(self.address, 0)?);
        drop(gone);
        self.stream = connect(self.address, port)?;
        Ok(())
    }

    /// Sends a record in fragments that end at these places, each in a write of its own.
    pub(crate) fn send(&mut self, record: &[u8], cuts: &[usize]) -> anyhow::Result<()> {
        let mut from = 0;
        for to in cuts.iter().copied().chain([record.len()]) {
            let to = to.clamp(from, record.len());
            let last = to == record.len();
            let head = (to - from) as u32 | if last { 0x8000_0000 } else { 0 };
            // The server may have closed already; then there is no answer either.
            let _ = self.stream.write_all(&[&head.to_be_bytes()[..], &record[from..to]].concat());
            from = to;
            if last {
                break;
            }
        }
        Ok(())
    }

    /// The next record's transaction id and the rest of it, or why there is none.
    pub(crate) fn receive(&mut self) -> anyhow::Result<Result<(u32, Vec<u8>), Delivered>> {
        let mut record = Vec::new();
        loop {
            let mut head = [0; 4];
            match self.stream.read_exact(&mut head) {
                Ok(()) => {}
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                    return Ok(Err(Delivered::Silence));
                }
                Err(_) => return Ok(Err(Delivered::Closed)),
            }
            let head = u32::from_be_bytes(head);
            let length = (head & 0x7fff_ffff) as usize;
            ensure!(record.len() + length <= LARGEST, "a reply of more than {LARGEST} bytes");
            let from = record.len();
            record.resize(from + length, 0);
            self.stream.read_exact(&mut record[from..]).context("a reply that ends early")?;
            if head & 0x8000_0000 != 0 {
                break;
            }
        }
        let xid = record.first_chunk().map(|word| u32::from_be_bytes(*word)).context("a reply without an id")?;
        Ok(Ok((xid, record.split_off(4))))
    }

    /// The reply to one request.
    pub(crate) fn answer(&mut self, xid: u32) -> anyhow::Result<Delivered> {
        match self.receive()? {
            Ok((answered, reply)) => {
                ensure!(answered == xid, "an answer to request {answered} in place of {xid}");
                Ok(Delivered::Reply(reply))
            }
            Err(why) => {
                self.stream = connect(self.address, 0)?;
                Ok(why)
            }
        }
    }
}

fn connect(address: SocketAddr, from: u16) -> anyhow::Result<TcpStream> {
    let socket = rustix::net::socket(AddressFamily::INET, SocketType::STREAM, None)?;
    set_socket_reuseaddr(&socket, true)?;
    rustix::net::bind(&socket, &SocketAddr::from((Ipv4Addr::LOCALHOST, from)))?;
    rustix::net::connect(&socket, &address).with_context(|| format!("connecting to {address} from port {from}"))?;
    let stream = TcpStream::from(socket);
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    Ok(stream)
}

/// A COMPOUND call with AUTH_SYS.
pub(crate) fn record(xid: u32, uid: u32, compound: &[u8]) -> Vec<u8> {
    let mut credential = Encoder::default();
    credential.u32(0).opaque(b"peers").u32(uid).u32(uid).words(&[]);
    let mut call = Encoder::default();
    call.u32(xid).u32(0).u32(2).u32(100_003).u32(4).u32(1);
    call.u32(1).opaque(&credential.buffer).u32(0).u32(0);
    call.buffer.extend_from_slice(compound);
    call.buffer
}
