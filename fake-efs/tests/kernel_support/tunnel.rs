//! A TLS tunnel to the fake, as a mount helper makes it: plain TCP here, TLS with a client certificate there.
//!
//! Written for these tests and sharing nothing with the driver's tunnel, so that the two prove the server twice.

use std::io::{ErrorKind, Read as _};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::Context as _;
use rcgen::{CertificateParams, CustomExtension, DistinguishedName, DnType, KeyPair, PKCS_RSA_SHA256};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::{ClientConfig, RootCertStore};
use tokio_util::sync::CancellationToken;

use super::der;
use super::signing::Keys;

/// Whom a tunnel speaks for.
#[derive(Clone, Debug)]
pub(crate) struct Identity {
    /// `fs-…`
    pub(crate) file_system: String,
    /// `fsap-…`
    pub(crate) access_point: Option<String>,
    /// The principal, unless it is nobody.
    pub(crate) iam: Option<Keys>,
}

/// A listener whose connections go through TLS; closed when dropped.
pub(crate) struct Tunnel {
    address: SocketAddr,
    resets: tokio::sync::broadcast::Sender<()>,
    established: Arc<AtomicUsize>,
    stop: CancellationToken,
    // Last, so that the tasks have been told to stop before the runtime waits for them.
    runtime: Runtime,
}

impl Tunnel {
    /// Listens on a free port for connections to `server`, which must prove itself with a certificate of `ca_file`.
    pub(crate) fn open(server: SocketAddr, ca_file: &Path, region: &str, who: &Identity) -> anyhow::Result<Self> {
        let name = format!("{}.efs.{region}.amazonaws.com", who.file_system);
        let connector = TlsConnector::from(Arc::new(client_config(&name, ca_file, region, who)?));
        let name = ServerName::try_from(name)?;
        Self::serve(Link::Tls(connector, name), server)
    }

    /// The same without TLS: a plain relay whose connections can be reset.
    pub(crate) fn plain(server: SocketAddr) -> anyhow::Result<Self> {
        Self::serve(Link::Plain, server)
    }

    fn serve(link: Link, server: SocketAddr) -> anyhow::Result<Self> {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().context("a runtime")?;
        let listener = runtime.block_on(TcpListener::bind(("127.0.0.1", 0)))?;
        let address = listener.local_addr()?;
        let (resets, _) = tokio::sync::broadcast::channel(1);
        let stop = CancellationToken::new();
        let established = Arc::new(AtomicUsize::new(0));
        let (subscriber, stopped, count) = (resets.clone(), stop.clone(), Arc::clone(&established));
        runtime.spawn(async move {
            while let Some(Ok((local, _))) = stopped.run_until_cancelled(listener.accept()).await {
                let (link, mut reset, stopped) = (link.clone(), subscriber.subscribe(), stopped.clone());
                let count = Arc::clone(&count);
                tokio::spawn(async move {
                    tokio::select! {
                        // The kernel opens a new connection when this one breaks, so nobody needs the error.
                        _ = relay(local, link, server, &count) => {}
                        _ = reset.recv() => {}
                        () = stopped.cancelled() => {}
                    }
                });
            }
        });
        Ok(Self { address, resets, established, stop, runtime })
    }

    /// Where the kernel connects to.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// How many connections reach the server now.
    pub(crate) fn established(&self) -> usize {
        self.established.load(Ordering::SeqCst)
    }

    /// Breaks all connections that are open now; says how many.
    pub(crate) fn reset(&self) -> usize {
        self.resets.send(()).unwrap_or(0)
    }

    /// Breaks all connections `period` after `period`, until the guard is dropped.
    pub(crate) fn reset_every(&self, period: std::time::Duration) -> Resetting {
        let (resets, stop) = (self.resets.clone(), CancellationToken::new());
        let stopped = stop.clone();
        let counting = self.runtime.spawn(async move {
            let mut count = 0;
            while stopped.run_until_cancelled(tokio::time::sleep(period)).await.is_some() {
                count += resets.send(()).unwrap_or(0);
            }
            count
        });
        Resetting { stop, counting, handle: self.runtime.handle().clone() }
    }
}

impl Drop for Tunnel {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// Connections are being broken as long as this lives.
pub(crate) struct Resetting {
    stop: CancellationToken,
    counting: tokio::task::JoinHandle<usize>,
    handle: tokio::runtime::Handle,
}

impl Resetting {
    /// Ends it and says how many connections were broken.
    pub(crate) fn finish(self) -> anyhow::Result<usize> {
        self.stop.cancel();
        Ok(self.handle.block_on(self.counting)?)
    }
}

#[derive(Clone)]
enum Link {
    Plain,
    Tls(TlsConnector, ServerName<'static>),
}

/// A connection that is counted while it lives.
struct Counted<'a>(&'a AtomicUsize);

impl<'a> Counted<'a> {
    fn new(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::SeqCst);
        Self(count)
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

async fn relay(mut local: TcpStream, link: Link, server: SocketAddr, count: &AtomicUsize) -> std::io::Result<()> {
    local.set_nodelay(true)?;
    let mut remote = TcpStream::connect(server).await?;
    remote.set_nodelay(true)?;
    match link {
        Link::Plain => {
            let _counted = Counted::new(count);
            tokio::io::copy_bidirectional(&mut local, &mut remote).await?
        }
        Link::Tls(connector, name) => {
            let mut remote = connector.connect(name, remote).await?;
            let _counted = Counted::new(count);
            tokio::io::copy_bidirectional(&mut local, &mut remote).await?
        }
    };
    Ok(())
}

/// Whether a server takes connections at an address and keeps them.
pub(crate) fn greets(address: SocketAddr) -> bool {
    let Ok(mut stream) = std::net::TcpStream::connect_timeout(&address, PATIENCE) else { return false };
    // A server that keeps the connection waits for us to speak: reading runs into the time limit.
    let waits = |error: &std::io::Error| matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut);
    stream.set_read_timeout(Some(PATIENCE)).is_ok() && stream.read(&mut [0]).is_err_and(|error| waits(&error))
}

/// How long a local server may take to close a connection.
const PATIENCE: std::time::Duration = std::time::Duration::from_millis(300);

fn client_config(name: &str, ca_file: &Path, region: &str, who: &Identity) -> anyhow::Result<ClientConfig> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(ca_file).with_context(|| format!("reading {ca_file:?}"))? {
        roots.add(certificate?)?;
    }
    let key = KeyPair::generate_for(&PKCS_RSA_SHA256)?;
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    let mut extend = |number: u64, der: Vec<u8>| {
        let oid = [1, 3, 6, 1, 4, 1, 4843, 7, number];
        params.custom_extensions.push(CustomExtension::from_oid_content(&oid, der));
    };
    if let Some(access_point) = &who.access_point {
        extend(1, der::utf8(access_point));
    }
    if let Some(keys) = &who.iam {
        extend(2, keys.client_auth(&who.file_system, region, key.public_key_raw()));
    }
    extend(3, der::utf8(&who.file_system));
    extend(4, der::sequence(&[der::utf8("k8s"), der::utf8("3.2.0")]));
    let certificate = params.self_signed(&key)?;
    let private = PrivateKeyDer::try_from(key.serialize_der()).map_err(anyhow::Error::msg)?;
    Ok(ClientConfig::builder()
        .with_root_certificates(roots)
        .with_client_auth_cert(vec![certificate.der().clone()], private)?)
}
