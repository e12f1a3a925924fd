//! Listening sockets that outlive the process that serves them.
//!
//! While nothing listens on a tunnel's port, the kernel's NFS client is refused, and waits three seconds before it tries
//! again. So a small process of its own, the keeper, holds a copy of every tunnel's listening socket, with a note that says what
//! the tunnel stands for. It starts the data plane as its child; when that dies, connections wait in the sockets' queues until
//! the next one, started at once, goes on accepting with nobody's help.
//!
//! It can do nothing but hold sockets and start its child: it accepts no connection from the network, reads no note and knows no
//! secret. A keeper that takes another one's place begins by taking over what that one holds.
//!
//! The driver has it hold its registration socket, too, for the driver after it.

use std::collections::{HashMap, HashSet};
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustix::process::Pid;

use self::channel::{Channel, Message, Packet};

mod channel;
mod child;
pub mod process;

/// No keeper holds more sockets.
const SOCKETS_MAX: usize = 4096;

/// Where the data plane listens for drivers, beside the keeper's own socket.
pub(crate) const ORDERS: &str = "orders";

/// A port at which no tunnel can be: to have it released is to ask whether a keeper answers.
const NOBODYS: u16 = 1;

/// In the place of a port, 0 stands for the registration socket; nothing else listens on it.
const REGISTRATION: u16 = 0;

/// Listening sockets of another process with their notes, by port.
pub type Inherited = HashMap<u16, (TcpListener, Vec<u8>)>;

/// How a keeper is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Condition {
    /// It answers.
    Well,
    /// Nobody listens.
    Gone,
    /// It listens and doesn't answer. Its process, where that can be seen from here.
    Hangs(Option<Pid>),
    /// This process can't ask just now.
    Unknown,
}

/// The side of those who use a keeper: hands sockets over and takes them back. The keeper is never started from here; while it is
/// gone, it is waited for.
#[derive(Clone)]
pub struct Keeper {
    inner: Arc<Inner>,
}

struct Inner {
    directory: PathBuf,
    state: Mutex<State>,
    /// The last known of whether it answers, for those who don't wait.
    out_of_reach: AtomicBool,
}

#[derive(Default)]
struct State {
    channel: Option<Channel>,
    /// What the keeper holds, or should; given to a new keeper should this one die.
    kept: HashMap<u16, Kept>,
    /// Ports that it still holds, as it did not answer when it was to release them.
    unreleased: HashSet<u16>,
    /// What the process before left of its registration with the kubelet.
    registration: Option<OwnedFd>,
    /// Whether the last thing that was to be handed over was not: then [`Keeper::revive`] hands over everything, and nobody else
    /// waits for a keeper that does not answer.
    missed: bool,
}

/// What is to be held for a port.
#[derive(Clone)]
struct Kept {
    socket: Arc<OwnedFd>,
    note: Vec<u8>,
}

impl Keeper {
    /// The keeper that has its socket in `directory`.
    pub fn new(directory: PathBuf) -> Self {
        let inner = Inner { directory, state: Mutex::default(), out_of_reach: AtomicBool::default() };
        Self { inner: Arc::new(inner) }
    }

    /// Whether a keeper listens, be it one that hangs, whose queue is full. Doesn't wait.
    pub fn is_there(&self) -> bool {
        let connected = Channel::connect(&self.inner.directory);
        connected.map_or_else(|error| error.kind() == io::ErrorKind::WouldBlock, |_| true)
    }

    /// Whether the keeper did not answer the last time. Doesn't wait.
    pub fn is_out_of_reach(&self) -> bool {
        self.inner.out_of_reach.load(Ordering::Relaxed)
    }

    /// Asks the keeper whether it is well. Blocks until it has answered, for two seconds at most.
    pub fn look(&self) -> Condition {
        let condition = match Channel::connect(&self.inner.directory) {
            Ok(channel) => match channel.send(Message::Release(NOBODYS)).and_then(|()| channel.acknowledged()) {
                Ok(()) => Condition::Well,
                Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
                    Condition::Hangs(channel.peer())
                }
                // It has ended meanwhile.
                Err(_) => Condition::Gone,
            },
            Err(error) => match error.kind() {
                io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => Condition::Gone,
                // Its queue is full.
                io::ErrorKind::WouldBlock => Condition::Hangs(None),
                _ => Condition::Unknown,
            },
        };
        match condition {
            Condition::Well => {
                let missed = self.state().missed;
                self.reached(!missed);
            }
            Condition::Gone | Condition::Hangs(_) => self.reached(false),
            Condition::Unknown => {}
        }
        condition
    }

    fn reached(&self, is_reached: bool) {
        self.inner.out_of_reach.store(!is_reached, Ordering::Relaxed);
    }

    /// The listening sockets of the `wanted` ports that an earlier process has left, by port. Every one is checked to
    /// be what it claims; empty without a keeper. Blocks until the keeper has answered.
    pub fn inherit(&self, wanted: impl Fn(u16) -> bool) -> Inherited {
        let mut state = self.state();
        let Ok(channel) = Channel::connect(&self.inner.directory) else {
            self.reached(false);
            return HashMap::new();
        };
        let taken = match take_all(&channel) {
            Ok(taken) => {
                self.reached(true);
                taken
            }
            Err(error) => {
                self.reached(false);
                tracing::warn!(%error, "the port keeper does not answer; binding the ports anew");
                return HashMap::new();
            }
        };
        let mut listeners = HashMap::new();
        for Taken { port, socket, note } in taken {
            if port == REGISTRATION {
                state.registration = Some(socket);
                continue;
            }
            if !wanted(port) {
                continue;
            }
            match checked(port, &socket) {
                Ok(listener) => {
                    listeners.insert(port, (listener, note.clone()));
                    state.kept.insert(port, Kept { socket: Arc::new(socket), note });
                }
                Err(error) => {
                    tracing::warn!(port, %error, "the port keeper holds something else than the port's listener");
                }
            }
        }
        state.channel = Some(channel);
        listeners
    }

    /// The listening registration socket that an earlier driver left, once. Known after [`Self::inherit`].
    pub fn take_registration(&self) -> Option<OwnedFd> {
        self.state().registration.take()
    }

    /// Has the keeper hold the listening registration socket, in the place of another one.
    pub fn keep_registration(&self, socket: Arc<OwnedFd>) {
        let mut state = self.state();
        let kept = Kept { socket, note: Vec::new() };
        state.kept.insert(REGISTRATION, kept.clone());
        if state.missed {
            return;
        }
        if let Err(error) = self.put(&mut state, REGISTRATION, &kept) {
            tracing::warn!(%error, "no port keeper; the kubelet will register the next driver anew");
        }
    }

    /// Has the keeper hold a copy of a listening socket with a note, in the place of an earlier one. Best effort.
    pub fn keep(&self, port: u16, socket: Arc<OwnedFd>, note: Vec<u8>) {
        let mut state = self.state();
        state.unreleased.remove(&port);
        let kept = Kept { socket, note };
        let before = state.kept.insert(port, kept.clone());
        let is_kept = before.is_some_and(|before| before.note == kept.note) && state.channel.is_some();
        if is_kept || state.missed {
            return;
        }
        if let Err(error) = self.put(&mut state, port, &kept) {
            tracing::warn!(port, %error, "no port keeper; if the data plane dies, this mount stalls for some seconds");
        }
    }

    /// Has the keeper close its copy.
    pub fn release(&self, port: u16) {
        let mut state = self.state();
        state.kept.remove(&port);
        let asked = |channel: &Channel| channel.send(Message::Release(port)).and_then(|()| channel.acknowledged());
        if state.channel.as_ref().is_none_or(|channel| asked(channel).is_err()) {
            // One that is only slow still holds it when it answers again.
            state.unreleased.insert(port);
            state.channel = None;
            state.missed = true;
            self.reached(false);
        }
    }

    /// The ports of whose sockets there are copies here.
    pub fn ports(&self) -> Vec<u16> {
        self.state().kept.keys().copied().filter(|port| *port != REGISTRATION).collect()
    }

    /// Has the keeper close all tunnels' sockets but those of the `wanted` ports, be they known here or not.
    pub fn keep_only(&self, wanted: &HashSet<u16>) {
        let held = match Channel::connect(&self.inner.directory).and_then(|channel| take(&channel, Message::List)) {
            Ok(held) => held,
            Err(error) => return tracing::debug!(%error, "cannot see what the port keeper holds"),
        };
        for Taken { port, .. } in held {
            if port != REGISTRATION && !wanted.contains(&port) {
                self.release(port);
            }
        }
    }

    /// Drops the copy here of a socket that its owner has closed.
    pub fn forget(&self, port: u16) {
        self.state().kept.remove(&port);
    }

    /// Tells a keeper that has taken the place of one that died, or that was away, everything that it has missed.
    pub fn revive(&self) {
        let mut state = self.state();
        let dead = state.missed || state.channel.as_ref().is_some_and(Channel::is_closed);
        if !dead {
            return;
        }
        // It has missed nothing of this process.
        if state.kept.is_empty() && state.unreleased.is_empty() {
            state.channel = None;
            state.missed = false;
            return;
        }
        let again = state.missed;
        match self.reconnect(&mut state) {
            Ok(()) => tracing::info!("the port keeper had gone; there is another"),
            // Said once, until it is there again.
            Err(error) if again => tracing::debug!(%error, "no port keeper"),
            Err(error) => tracing::warn!(%error, "no port keeper"),
        }
    }

    fn put(&self, state: &mut State, port: u16, kept: &Kept) -> io::Result<()> {
        if let Some(channel) = &state.channel
            && hand_over(channel, port, kept).is_ok()
        {
            return Ok(());
        }
        self.reconnect(state)
    }

    /// Connects to a keeper and hands everything over.
    fn reconnect(&self, state: &mut State) -> io::Result<()> {
        state.channel = None;
        state.missed = true;
        self.reached(false);
        let channel = Channel::connect(&self.inner.directory)?;
        for port in &state.unreleased {
            channel.send(Message::Release(*port))?;
            channel.acknowledged()?;
        }
        for (port, kept) in &state.kept {
            hand_over(&channel, *port, kept)?;
        }
        state.unreleased.clear();
        state.channel = Some(channel);
        state.missed = false;
        self.reached(true);
        Ok(())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.inner.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn hand_over(channel: &Channel, port: u16, kept: &Kept) -> io::Result<()> {
    channel.send_socket(port, &kept.socket, &kept.note)?;
    channel.acknowledged()
}

/// What a keeper holds for a port.
struct Taken {
    port: u16,
    socket: OwnedFd,
    note: Vec<u8>,
}

fn take_all(channel: &Channel) -> io::Result<Vec<Taken>> {
    take(channel, Message::ListNoted)
}

fn take(channel: &Channel, list: Message) -> io::Result<Vec<Taken>> {
    channel.send(list)?;
    let mut taken = Vec::new();
    while taken.len() <= SOCKETS_MAX {
        match channel.receive()? {
            Some(Packet { message: Message::Keep(port), socket: Some(socket), note }) => {
                taken.push(Taken { port, socket, note });
            }
            Some(Packet { message: Message::Done, .. }) => return Ok(taken),
            _ => break,
        }
    }
    Err(io::Error::new(io::ErrorKind::InvalidData, "unexpected message from the port keeper"))
}

/// The socket as a listener, if it is one on 127.0.0.1 and `port`.
fn checked(port: u16, socket: &OwnedFd) -> io::Result<TcpListener> {
    let listener = TcpListener::from(socket.try_clone()?);
    let address = listener.local_addr()?;
    if address != SocketAddr::from((Ipv4Addr::LOCALHOST, port)) || !rustix::net::sockopt::socket_acceptconn(socket)? {
        return Err(io::Error::new(io::ErrorKind::InvalidData, format!("a socket for {address}")));
    }
    Ok(listener)
}

#[cfg(test)]
mod tests {
    use rustix::net::{AddressFamily, SocketType, bind, socket};

    use super::*;

    /// A socket under the wrong port would lead a mount into another volume; one that others can reach would let them in.
    #[test]
    fn only_the_ports_own_listener_on_loopback_is_inherited() {
        let listener = |address: Ipv4Addr| TcpListener::bind((address, 0)).expect("bind");
        let right = listener(Ipv4Addr::LOCALHOST);
        let port = right.local_addr().expect("address").port();
        let right = OwnedFd::from(right);
        assert!(checked(port, &right).is_ok());
        assert!(checked(port ^ 1, &right).is_err(), "another port's");
        let open = listener(Ipv4Addr::UNSPECIFIED);
        let port = open.local_addr().expect("address").port();
        assert!(checked(port, &open.into()).is_err(), "everybody's");
        let silent = socket(AddressFamily::INET, SocketType::STREAM, None).expect("socket");
        bind(&silent, &SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).expect("bind");
        let port = TcpListener::from(silent.try_clone().expect("clone")).local_addr().expect("address").port();
        assert!(checked(port, &silent).is_err(), "not listening");
    }
}
