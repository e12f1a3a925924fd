//! Listening sockets that outlive the driver.
//!
//! While nothing listens on a tunnel's port, the kernel's NFS client is refused, and waits three seconds before it tries
//! again. So a small process of its own, the keeper, holds a copy of every listening socket that a mount depends on. When
//! the driver dies, connections wait in the socket's queue; the next driver asks the keeper for the sockets and goes on
//! accepting. The same works between an old and a new driver that run side by side during an upgrade.
//!
//! It can do nothing but hold sockets: it accepts no connection from the network and knows no secret. Without it (it may be
//! killed any time), everything still works, only slower: the next driver binds the recorded ports anew.
//!
//! Outside Kubernetes the driver starts it with the first mount, and it ends with the last. A pod has it as a container of its
//! own ([`Host::Sidecar`]): whatever ends the driver's container ends all of its processes. Such a keeper stays until it is told
//! to end, and begins by taking over what the keeper of the pod before holds.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use self::channel::{Channel, Message};

mod channel;
pub mod process;

/// The word on the command line that makes the program a keeper.
pub const COMMAND: &str = "port-keeper";
/// A keeper that doesn't listen by then has failed to start.
const START_WITHIN: Duration = Duration::from_secs(5);
/// Pause between two attempts to connect to a starting keeper.
const START_PAUSE: Duration = Duration::from_millis(2);
/// No keeper holds more sockets.
const SOCKETS_MAX: usize = 4096;

/// In the place of a port, 0 stands for the registration socket; nothing else listens on it.
const REGISTRATION: u16 = 0;

/// Listening sockets of another driver, by port.
pub type Inherited = HashMap<u16, TcpListener>;

/// The driver's side: hands sockets to the keeper and takes them back.
#[derive(Clone)]
pub struct Keeper {
    inner: Arc<Inner>,
}

/// Where the keeper runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Host {
    /// As a child of this process, from this executable, while there is something to keep.
    Child(PathBuf),
    /// In a container beside this one. It is never started from here; when it is gone, it is waited for.
    Sidecar,
}

struct Inner {
    host: Host,
    directory: PathBuf,
    state: Mutex<State>,
    /// The last known of whether it answers, for those who don't wait.
    out_of_reach: AtomicBool,
}

#[derive(Default)]
struct State {
    channel: Option<Channel>,
    /// What the keeper holds, or should; given to a new keeper should this one die.
    kept: HashMap<u16, Arc<OwnedFd>>,
    /// Ports that a sidecar still holds, as it did not answer when it was to release them.
    unreleased: HashSet<u16>,
    /// What the process before left of its registration with the kubelet.
    registration: Option<OwnedFd>,
    /// Whether the last thing that was to be handed over was not: then [`Keeper::revive`] hands over everything, and nobody else
    /// waits for a keeper that does not answer.
    missed: bool,
}

impl Keeper {
    /// The keeper of `state_dir`.
    pub fn new(host: Host, state_dir: &Path) -> Self {
        let inner = Inner {
            host,
            directory: state_dir.join("keeper"),
            state: Mutex::default(),
            out_of_reach: AtomicBool::default(),
        };
        Self { inner: Arc::new(inner) }
    }

    /// Whether a keeper in a container of its own did not answer the last time. Doesn't wait.
    pub fn is_out_of_reach(&self) -> bool {
        self.inner.out_of_reach.load(Ordering::Relaxed)
    }

    fn reached(&self, is_reached: bool) {
        self.inner.out_of_reach.store(self.inner.host == Host::Sidecar && !is_reached, Ordering::Relaxed);
    }

    /// The listening sockets of the `wanted` ports that an earlier driver left with its keeper, by port. Every one is checked to
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
        for (port, socket) in taken {
            if port == REGISTRATION {
                state.registration = Some(socket);
                continue;
            }
            if !wanted(port) {
                continue;
            }
            match checked(port, &socket) {
                Ok(listener) => {
                    listeners.insert(port, listener);
                    state.kept.insert(port, Arc::new(socket));
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
        state.kept.insert(REGISTRATION, Arc::clone(&socket));
        if state.missed {
            return;
        }
        if let Err(error) = self.put(&mut state, REGISTRATION, &socket) {
            tracing::warn!(%error, "no port keeper; the kubelet will register the next driver anew");
        }
    }

    /// Has the keeper hold a copy of a listening socket; starts a keeper if there is none. Best effort. Blocks for some
    /// milliseconds, with a new keeper.
    pub fn keep(&self, port: u16, socket: Arc<OwnedFd>) {
        let mut state = self.state();
        state.unreleased.remove(&port);
        let is_kept = state.kept.insert(port, Arc::clone(&socket)).is_some() && state.channel.is_some();
        if is_kept || state.missed {
            return;
        }
        if let Err(error) = self.put(&mut state, port, &socket) {
            tracing::warn!(port, %error, "no port keeper; a restart of the driver will stall this mount for some seconds");
        }
    }

    /// Has the keeper close its copy. One that was started from here and holds nothing more goes away.
    pub fn release(&self, port: u16) {
        let mut state = self.state();
        state.kept.remove(&port);
        let asked =
            |channel: &Channel| channel.send(Message::Release(port), None).and_then(|()| channel.acknowledged());
        let released = state.channel.as_ref().is_some_and(|channel| asked(channel).is_ok());
        if self.inner.host == Host::Sidecar {
            // One that is only slow still holds it when it answers again.
            if !released {
                state.unreleased.insert(port);
                state.channel = None;
                state.missed = true;
                self.reached(false);
            }
        } else if state.channel.is_some() && (!released || state.kept.is_empty()) {
            // The name goes first: the next connection must reach the next keeper, not this one on its way out.
            if let Err(error) = channel::close_door(&self.inner.directory) {
                tracing::warn!(%error, "cannot remove the port keeper's socket");
            }
            state.channel = None;
        }
    }

    /// Starts a new keeper if the old one has died, or tells a sidecar that was away everything that it has missed.
    pub fn revive(&self) {
        let mut state = self.state();
        let dead = state.missed || state.channel.as_ref().is_some_and(Channel::is_closed);
        if !dead || (state.kept.is_empty() && state.unreleased.is_empty()) {
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

    fn put(&self, state: &mut State, port: u16, socket: &OwnedFd) -> io::Result<()> {
        if let Some(channel) = &state.channel
            && hand_over(channel, port, socket).is_ok()
        {
            return Ok(());
        }
        self.reconnect(state)
    }

    /// Connects to a keeper, starting one where that is to be done from here, and hands everything over.
    fn reconnect(&self, state: &mut State) -> io::Result<()> {
        state.channel = None;
        state.missed = true;
        self.reached(false);
        let channel = match &self.inner.host {
            Host::Child(program) => self.start(program)?,
            Host::Sidecar => Channel::connect(&self.inner.directory)?,
        };
        for port in &state.unreleased {
            channel.send(Message::Release(*port), None)?;
            channel.acknowledged()?;
        }
        for (port, socket) in &state.kept {
            hand_over(&channel, *port, socket)?;
        }
        state.unreleased.clear();
        state.channel = Some(channel);
        state.missed = false;
        self.reached(true);
        Ok(())
    }

    /// Starts a keeper and connects to it.
    fn start(&self, program: &Path) -> io::Result<Channel> {
        // On a frozen disk even making what is there waits.
        if !self.inner.directory.is_dir() {
            match fs::DirBuilder::new().mode(0o700).create(&self.inner.directory) {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
                _ => {}
            }
        }
        let mut child = Command::new(program)
            .arg(COMMAND)
            .arg(&self.inner.directory)
            .env_clear()
            .current_dir("/")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            // A signal for the driver's process group is not meant for the keeper.
            .process_group(0)
            .spawn()?;
        let started = Instant::now();
        let channel = loop {
            match Channel::connect(&self.inner.directory) {
                Ok(channel) => break channel,
                Err(error) if started.elapsed() > START_WITHIN => {
                    child.kill()?;
                    child.wait()?;
                    return Err(error);
                }
                Err(_) => std::thread::sleep(START_PAUSE),
            }
        };
        // Whoever is still running when the keeper ends must collect it.
        std::thread::Builder::new().name("keeper-exit".to_owned()).stack_size(64 * 1024).spawn(move || child.wait())?;
        Ok(channel)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.inner.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn hand_over(channel: &Channel, port: u16, socket: &OwnedFd) -> io::Result<()> {
    channel.send(Message::Keep(port), Some(socket))?;
    channel.acknowledged()
}

fn take_all(channel: &Channel) -> io::Result<Vec<(u16, OwnedFd)>> {
    channel.send(Message::List, None)?;
    let mut taken = Vec::new();
    while taken.len() <= SOCKETS_MAX {
        match channel.receive()? {
            Some((Message::Keep(port), Some(socket))) => taken.push((port, socket)),
            Some((Message::Done, _)) => return Ok(taken),
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
