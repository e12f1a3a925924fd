//! A running fake: the world with its servers, in this process.

use std::collections::BTreeSet;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::path::PathBuf;
use std::sync::Arc;

use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::admission::Admit;
use crate::doors::Listeners;
use crate::faults::Faults;
use crate::gate::Gate;
use crate::identities::{Identities, Signatures};
use crate::journal::Journal;
use crate::nfs::{Options, Server};
use crate::rest::imds::{Machine, Metadata};
use crate::rest::{self, Activity, Front};
use crate::seed::{Seed, SeedError};
use crate::tls::{self, Authority, AuthorityError};
use crate::world::archive::ArchiveError;
use crate::world::network::AddressPlan;
use crate::world::volumes::DirectoryVolumes;
use crate::world::{Settings, World};

/// What a fake is started with. Made by [`FakeEfs::builder`].
pub struct FakeEfs {
    http: SocketAddr,
    nfs: SocketAddr,
    advertise: Option<IpAddr>,
    signatures: Signatures,
    machine: Machine,
    data: Option<PathBuf>,
    seed: Option<Seed>,
    authority: Option<AuthorityPem>,
    files: Options,
    settings: Settings,
}

/// A certificate authority that exists already, in PEM.
#[derive(Clone)]
pub struct AuthorityPem {
    /// Its certificate.
    pub certificate: String,
    /// Its private key.
    pub key: String,
}

/// Why a fake can't start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The address can't be had.
    #[error("can't listen on {address} for {what}: {source}")]
    Listen {
        /// HTTP or NFS.
        what: &'static str,
        /// The address asked for.
        address: SocketAddr,
        /// Why not.
        source: io::Error,
    },
    /// The archive can't be used.
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    /// The seed can't be used.
    #[error(transparent)]
    Seed(#[from] SeedError),
    /// The certificate authority can't be made.
    #[error("can't make a certificate authority: {0}")]
    Authority(#[from] AuthorityError),
}

impl FakeEfs {
    /// Starts with free ports on 127.0.0.1, an empty world and AWS's limits.
    pub fn builder() -> Self {
        Self {
            http: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            nfs: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            advertise: None,
            signatures: Signatures::Ignored,
            machine: Machine::default(),
            data: None,
            seed: None,
            authority: None,
            files: Options::default(),
            settings: Settings::default(),
        }
    }

    /// Where to serve HTTP; port 0 picks a free one.
    #[must_use]
    pub fn http(self, http: SocketAddr) -> Self {
        Self { http, ..self }
    }

    /// Where to serve NFS; port 0 picks a free one. The same port serves the addresses of mount targets.
    #[must_use]
    pub fn nfs(self, nfs: SocketAddr) -> Self {
        Self { nfs, ..self }
    }

    /// The address of all mount targets, if they can't have one each: needed when NFS is not served on loopback.
    #[must_use]
    pub fn advertise(self, advertise: Option<IpAddr>) -> Self {
        Self { advertise, ..self }
    }

    /// Whether signatures are checked.
    #[must_use]
    pub fn signatures(self, signatures: Signatures) -> Self {
        Self { signatures, ..self }
    }

    /// The machine that the metadata service describes.
    #[must_use]
    pub fn machine(self, machine: Machine) -> Self {
        Self { machine, ..self }
    }

    /// The folder that keeps the world across restarts; without one it is in memory only.
    #[must_use]
    pub fn data(self, data: Option<PathBuf>) -> Self {
        Self { data, ..self }
    }

    /// What exists at the start.
    #[must_use]
    pub fn seed(self, seed: Option<Seed>) -> Self {
        Self { seed, ..self }
    }

    /// The certificate authority to use; a new one without.
    #[must_use]
    pub fn authority(self, authority: Option<AuthorityPem>) -> Self {
        Self { authority, ..self }
    }

    /// Leases, partitions and what else can be chosen about the file server. Its chances follow the seed of the settings.
    #[must_use]
    pub fn files(mut self, change: impl FnOnce(&mut Options)) -> Self {
        change(&mut self.files);
        self
    }

    /// Account, region, clock, limits, delays and network. Addresses and volumes are set by [`FakeEfs::start`].
    #[must_use]
    pub fn settings(mut self, change: impl FnOnce(&mut Settings)) -> Self {
        change(&mut self.settings);
        self
    }

    /// Binds all addresses and starts to serve.
    pub async fn start(self) -> Result<Instance, StartError> {
        let Self { http, nfs, advertise, signatures, machine, data, seed, authority, files, mut settings } = self;
        let listen = |what, address| async move {
            TcpListener::bind(address).await.map_err(|source| StartError::Listen { what, address, source })
        };
        let http = listen("HTTP", http).await?;
        let nfs = listen("NFS", nfs).await?;
        let bound = |listener: &TcpListener, what, address| {
            listener.local_addr().map_err(|source| StartError::Listen { what, address, source })
        };
        let http_address = bound(&http, "HTTP", self.http)?;
        let nfs_address = bound(&nfs, "NFS", self.nfs)?;
        settings.addresses = address_plan(nfs_address.ip(), advertise);
        let (stop, servers) = (CancellationToken::new(), TaskTracker::new());
        let doors = Arc::new(Listeners::new(nfs_address.port(), stop.clone(), servers.clone()));
        settings.doors = Arc::<Listeners>::clone(&doors);
        let seed = seed.unwrap_or_default();
        seed.prepare(&mut settings)?;
        let machine = seed.machine().unwrap_or(machine);
        let regions: BTreeSet<_> = std::iter::once(settings.region.as_str()).chain(seed.regions()).collect();
        let regions: Vec<&str> = regions.into_iter().collect();
        let authority = match (authority, &data) {
            (Some(pem), _) => Authority::load(&pem.certificate, &pem.key, &regions)?,
            (None, Some(folder)) => Authority::kept_in(folder, &regions)?,
            (None, None) => Authority::new(&regions)?,
        };
        let chances = settings.random_seed;
        if let Some(folder) = &data {
            settings.volumes = Arc::new(DirectoryVolumes::new(folder.join("files")));
        }
        let world = Arc::new(World::new(settings));
        if let Some(folder) = &data {
            world.restore(folder)?;
        }
        let journal = Arc::new(Journal::default());
        let identities = Arc::new(Identities::new(world.home().clone(), signatures, chances));
        let gate: Arc<dyn Admit> = Arc::new(Gate {
            world: Arc::clone(&world),
            identities: Arc::clone(&identities),
            journal: Arc::clone(&journal),
            check_signature: tls::verify_signature,
        });
        let server = Server::new(Arc::clone(&gate), &authority, Options { random_seed: chances, ..files })?;
        doors.lead_to(Some(server.clone()));
        world.reopen_doors();
        let faults = Arc::new(Faults::new(chances));
        seed.plant(&world, &identities, &faults)?;
        let front = Arc::new(Front {
            journal,
            faults,
            identities,
            files: server.clone(),
            stop: stop.clone(),
            activity: Activity::default(),
            metadata: Metadata::new(machine, world.home().clone()),
            world,
        });
        servers.spawn(rest::run(http, Arc::clone(&front), stop.clone()));
        let stopped = stop.clone();
        servers.spawn(async move {
            if let Err(error) = server.run(nfs, stopped).await {
                tracing::error!(%error, "the file server failed");
            }
        });
        servers.close();
        Ok(Instance {
            http: http_address,
            nfs: nfs_address,
            ca_pem: authority.pem(),
            front,
            gate,
            doors,
            stop,
            servers,
        })
    }
}

/// A fake that runs. Dropping it stops it without waiting.
pub struct Instance {
    http: SocketAddr,
    nfs: SocketAddr,
    ca_pem: String,
    front: Arc<Front>,
    gate: Arc<dyn Admit>,
    doors: Arc<Listeners>,
    stop: CancellationToken,
    servers: TaskTracker,
}

impl Instance {
    /// Where the APIs are, for `AWS_ENDPOINT_URL_EFS` and its like.
    pub fn http_url(&self) -> String {
        format!("http://{}", reachable(self.http))
    }

    /// The main address of the file server, which stands for every mount target.
    pub fn nfs_addr(&self) -> SocketAddr {
        self.nfs
    }

    /// The certificate authority that clients of the file server must trust, in PEM.
    pub fn ca_pem(&self) -> &str {
        &self.ca_pem
    }

    /// The file server: its connections and faults on the wire.
    pub fn files(&self) -> &Server {
        &self.front.files
    }

    /// What exists.
    pub fn world(&self) -> &Arc<World> {
        &self.front.world
    }

    /// What was asked.
    pub fn journal(&self) -> &Journal {
        &self.front.journal
    }

    /// What goes wrong.
    pub fn faults(&self) -> &Faults {
        &self.front.faults
    }

    /// Who is who.
    pub fn identities(&self) -> &Identities {
        &self.front.identities
    }

    /// Decides about clients of the file server.
    pub fn gate(&self) -> Arc<dyn Admit> {
        Arc::clone(&self.gate)
    }

    /// Stops all servers and waits until they have.
    pub async fn shutdown(self) {
        self.stop.cancel();
        self.servers.wait().await;
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        self.stop.cancel();
        self.doors.lead_to(None);
        self.front.world.close();
    }
}

/// An address that a client on this machine can use: an unspecified one becomes loopback.
fn reachable(address: SocketAddr) -> SocketAddr {
    if address.ip().is_unspecified() { (Ipv4Addr::LOCALHOST, address.port()).into() } else { address }
}

/// How mount targets get addresses when NFS is served at this one.
fn address_plan(bound: IpAddr, advertise: Option<IpAddr>) -> AddressPlan {
    match (advertise, bound) {
        (Some(address), _) => AddressPlan::Shared(address),
        (None, IpAddr::V4(main)) if main.is_loopback() => AddressPlan::Loopback { main: bound },
        (None, _) if bound.is_unspecified() => AddressPlan::Shared(own_address()),
        (None, _) => AddressPlan::Shared(bound),
    }
}

/// The address that this machine would use to reach others. Connecting a UDP socket sends nothing.
fn own_address() -> IpAddr {
    let probe = || -> io::Result<IpAddr> {
        let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
        // An address of the documentation's network: only the route to it matters.
        socket.connect((Ipv4Addr::new(192, 0, 2, 1), 9))?;
        Ok(socket.local_addr()?.ip())
    };
    probe().unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST))
}
