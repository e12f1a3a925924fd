//! The file server: NFSv4.1 and 4.0 over TLS or plain TCP on the same port, with one identity per connection.
//!
//! RFC 8881 (4.1), RFC 7530 (4.0). What EFS does not support is refused as EFS refuses it: no delegations, no deny modes, no
//! ACLs, no pNFS, no Kerberos, no special files.

mod attributes;
mod bind;
mod compound;
mod connection;
mod connections;
mod credentials;
mod duplicates;
mod faults;
mod handle;
mod ops;
mod pacing;
mod partition;
mod peer;
mod recent;
mod record;
pub mod rpc;
mod state;
mod status;
mod volume;
pub mod xdr;

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::admission::{Admit, Caller, Refusal};
use crate::store::Store;
use crate::tls::{self, Authority, AuthorityError, CertificateError, ServerFlaw};
pub use bind::{BindAnswer, Binding, ScaleUp};
use connection::Connection;
pub use connections::{ConnectionView, Connections};
pub use faults::{Faults, WireEffect, WireFault};
use pacing::Paced;
use partition::Partitions;
use peer::Peer;
pub use recent::{Outline, RecentCall};
pub use status::Status;
use volume::Volume;

/// Longest record: 1 MiB of data and what belongs to it.
const MAX_RECORD: usize = (1 << 20) + 64 * 1024;
/// How long a TLS handshake, or the first byte of a connection, may take.
const HANDSHAKE: Duration = Duration::from_secs(30);
/// First byte of a TLS record that begins a handshake; a plain RPC record begins with 0x80 or 0x00.
const TLS_HANDSHAKE: u8 = 0x16;

/// What can be chosen about a server.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// How long a client may be silent and keep its locks. EFS does not publish its own; 90 s is what Linux servers use.
    pub lease: Duration,
    /// Whether AWS's private RPC program is answered, so that its proxy may use several connections.
    pub partition_program: bool,
    /// What that program says about more connections.
    pub scale_up: ScaleUp,
    /// Partitions of each file system: a connection lands on one by chance, and a session of NFSv4.1 is known on its own only.
    pub partitions: u32,
    /// Seeds those chances. [`FakeEfs`](crate::FakeEfs) puts its own here.
    pub random_seed: u64,
    /// Most connections at a time; EFS has 25,000 a file system.
    pub max_connections: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            lease: Duration::from_secs(90),
            partition_program: true,
            scale_up: ScaleUp::default(),
            partitions: 1,
            random_seed: rand::random(),
            max_connections: 25_000,
        }
    }
}

struct Acceptors {
    good: TlsAcceptor,
    flawed: HashMap<ServerFlaw, TlsAcceptor>,
}

struct Shared {
    admit: Arc<dyn Admit>,
    acceptors: Acceptors,
    options: Options,
    connections: Arc<Connections>,
    faults: Arc<Faults>,
    volumes: Mutex<HashMap<[u8; 8], Arc<Volume>>>,
    room: Arc<tokio::sync::Semaphore>,
}

/// A file server for any number of addresses.
#[derive(Clone)]
pub struct Server(Arc<Shared>);

impl Server {
    /// A server that asks `admit` about every connection and shows certificates of `authority`.
    pub fn new(admit: Arc<dyn Admit>, authority: &Authority, options: Options) -> Result<Self, AuthorityError> {
        let acceptor = |flaw| authority.server_config(flaw).map(TlsAcceptor::from);
        let flaws = [ServerFlaw::Expired, ServerFlaw::WrongName];
        let flawed = flaws.into_iter().map(|flaw| acceptor(Some(flaw)).map(|acceptor| (flaw, acceptor)));
        let acceptors = Acceptors { good: acceptor(None)?, flawed: flawed.collect::<Result<_, _>>()? };
        Ok(Self(Arc::new(Shared {
            admit,
            acceptors,
            options,
            connections: Arc::default(),
            faults: Arc::default(),
            volumes: Mutex::default(),
            room: Arc::new(tokio::sync::Semaphore::new(options.max_connections)),
        })))
    }

    /// Serves the connections of a listener until `shutdown` is cancelled, then ends them. May run for several listeners at
    /// the same time; file systems and sessions are shared by all of them.
    pub async fn run(&self, listener: TcpListener, shutdown: CancellationToken) -> io::Result<()> {
        let tracker = TaskTracker::new();
        let mut sweep = tokio::time::interval(self.0.options.lease.max(Duration::from_secs(1)));
        loop {
            let accepted = tokio::select! {
                () = shutdown.cancelled() => break,
                _ = sweep.tick() => { self.sweep(); continue; }
                accepted = accept(&listener, &self.0.room) => accepted,
            };
            let (stream, permit) = match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    // Out of file descriptors, most likely; closing connections will help, spinning won't.
                    tracing::warn!(%error, "can't accept a connection");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    continue;
                }
            };
            let (server, shutdown) = (self.clone(), shutdown.clone());
            tracker.spawn(async move {
                tokio::select! {
                    () = shutdown.cancelled() => {}
                    served = server.serve(stream) => {
                        if let Err(error) = served {
                            tracing::debug!(%error, "connection ended");
                        }
                    }
                }
                drop(permit);
            });
        }
        tracker.close();
        tracker.wait().await;
        Ok(())
    }

    /// The connections, to be looked at or ended.
    pub fn connections(&self) -> &Connections {
        &self.0.connections
    }

    /// The faults on the wire.
    pub fn faults(&self) -> &Faults {
        &self.0.faults
    }

    /// Does what clients see of a restart: ends all connections and forgets all sessions, opens and locks. With `reclaim`
    /// clients may claim them back for the time of a lease; else they are lost.
    pub fn restart(&self, reclaim: bool) {
        for volume in self.volumes().values() {
            volume.state().restart(reclaim);
            volume.duplicates.clear();
        }
        self.0.connections.close(|_| true);
    }

    fn volumes(&self) -> std::sync::MutexGuard<'_, HashMap<[u8; 8], Arc<Volume>>> {
        self.0.volumes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn sweep(&self) {
        let mut volumes = self.volumes();
        volumes.retain(|_, volume| volume.is_alive());
        for volume in volumes.values() {
            volume.state().sweep();
            volume.duplicates.sweep(self.0.options.lease);
        }
    }

    fn volume(&self, store: &Arc<dyn Store>, file_system_id: &str) -> Arc<Volume> {
        let Options { lease, partitions, random_seed, .. } = self.0.options;
        let partitions = || Partitions::new(partitions, random_seed, file_system_id);
        let volume = || Arc::new(Volume::new(store, lease, partitions()));
        Arc::clone(self.volumes().entry(store.instance().id).or_insert_with(volume))
    }

    async fn serve(&self, stream: TcpStream) -> io::Result<()> {
        stream.set_nodelay(true)?;
        let mut caller = Caller { local: stream.local_addr()?, remote: stream.peer_addr()?, certificate: None };
        let mut first = [0];
        if timeout(HANDSHAKE, stream.peek(&mut first)).await?? == 0 {
            return Ok(());
        }
        // Boxed, here and below: an idle connection then costs what talking takes, not what shaking hands took as well.
        if first[0] != TLS_HANDSHAKE {
            return Box::pin(self.converse(stream, caller, None)).await;
        }
        let acceptor = match self.0.faults.strike_handshake() {
            Some(WireEffect::RefuseTls) => return Ok(()),
            Some(WireEffect::BadCertificate { flaw }) => self.0.acceptors.flawed.get(&flaw),
            _ => None,
        };
        let acceptor = acceptor.unwrap_or(&self.0.acceptors.good);
        // The session too: each future that hands it on would have room for a whole one.
        let stream = Box::new(Box::pin(timeout(HANDSHAKE, acceptor.accept(stream))).await??);
        let certificate = stream.get_ref().1.peer_certificates().and_then(<[_]>::first);
        let mut refusal = None;
        match certificate.map(|certificate| tls::claims(certificate)) {
            Some(Ok(claims)) => caller.certificate = Some(claims),
            None | Some(Err(CertificateError::NotOfEfs)) => {}
            Some(Err(error)) => refusal = Some(Refusal::Certificate(error.to_string())),
        }
        Box::pin(self.converse(stream, caller, refusal)).await
    }

    /// Serves a connection that is encrypted if it is to be; one whose certificate is refused already is admitted to nothing.
    async fn converse<S>(&self, stream: S, caller: Caller, refusal: Option<Refusal>) -> io::Result<()>
    where
        S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
    {
        let registered = self.0.connections.add(&caller);
        let verdict = match refusal {
            Some(refusal) => Err(refusal),
            None => self.0.admit.admit(&caller),
        };
        registered.entry.judged(&verdict);
        let peer = match verdict {
            Ok(admission) => {
                let volume = self.volume(&admission.store, &admission.file_system_id);
                let peer = Peer::admitted(admission, volume, caller.remote.ip());
                registered.entry.landed(peer.partition);
                peer
            }
            Err(refusal) => {
                tracing::info!(remote = %caller.remote, %refusal, "caller refused");
                Peer::refused(self.0.admit.dialect(&caller), self.0.options.lease, caller.remote.ip())
            }
        };
        let (revoked, end) = (peer.admission.revoked.clone(), registered.entry.end.clone());
        let stream = Paced::new(stream, peer.admission.rate.clone());
        let options = &self.0.options;
        let connection = Arc::new(Connection {
            peer: Arc::new(peer),
            view: registered.entry.view(),
            entry: Arc::clone(&registered.entry),
            faults: Arc::clone(&self.0.faults),
            scale_up: options.partition_program.then_some(options.scale_up),
        });
        tokio::select! {
            () = revoked.cancelled() => Ok(()),
            () = end.cancelled() => Ok(()),
            served = connection.serve(stream) => served,
        }
    }
}

async fn accept(
    listener: &TcpListener,
    room: &Arc<tokio::sync::Semaphore>,
) -> io::Result<(TcpStream, tokio::sync::OwnedSemaphorePermit)> {
    // The semaphore is never closed.
    let permit = Arc::clone(room).acquire_owned().await.map_err(io::Error::other)?;
    let (stream, _) = listener.accept().await?;
    Ok((stream, permit))
}
