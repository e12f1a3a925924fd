//! What 5,000 idle connections cost the fake's file server.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, ensure};
use efs_csi_e2e::stack::Fake;
use efs_tunnel::certificate::{Claims, Issuer};
use efs_tunnel::key::ClientKey;
use efs_tunnel::roots;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustls_pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::ClientConfig;
use tokio_rustls::rustls::client::ResolvesClientCert;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::sign::SingleCertAndKey;

use super::{Board, Declaration, Setting};
use crate::peers::own_tunnel::NAME;
use crate::report::Better::Lower;
use crate::usage;

/// Connections that are being opened at a time.
const AT_ONCE: usize = 32;

/// The fake gives a connection's buffers back after five seconds without a request.
const SETTLE: Duration = Duration::from_secs(7);

/// The measurements of this scenario.
pub fn declare(board: &mut Board) {
    let method = "Resident set of fake-efs with 5,000 connections that have made one NFS NULL call each and are idle for longer than \
        the five seconds after which buffers are given back, less that before the first. Kernel memory is not counted.";
    for (id, title) in [
        ("fake.idle.plain", "fake-efs: memory of 5,000 idle connections, plain"),
        ("fake.idle.tls", "fake-efs: memory of 5,000 idle connections, TLS"),
    ] {
        board.declare(Declaration { id, title, unit: "MiB", better: Lower, method, peers: &[] });
    }
}

/// Whether connections are encrypted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// NFS on TCP.
    Plain,
    /// NFS in TLS with a client certificate.
    Tls,
}

/// Takes the samples.
pub async fn run(setting: &Setting, board: &mut Board) -> anyhow::Result<()> {
    let count = setting.amount(5000, 20);
    for _ in setting.rounds(3, 1) {
        for (id, kind) in [("fake.idle.plain", Kind::Plain), ("fake.idle.tls", Kind::Tls)] {
            board.sample(id, NAME, memory(setting, kind, count).await?);
        }
    }
    Ok(())
}

/// MiB that so many idle connections take in a new fake.
pub async fn memory(setting: &Setting, kind: Kind, count: usize) -> anyhow::Result<f64> {
    // Here and in the fake, which inherits the limit.
    let wanted = count as u64 + 200;
    let limit = getrlimit(Resource::Nofile);
    if limit.current.is_some_and(|current| current < wanted) {
        setrlimit(Resource::Nofile, Rlimit { current: Some(wanted), maximum: limit.maximum })
            .with_context(|| format!("{wanted} open files are needed"))?;
    }
    let dir = tempfile::tempdir_in(&setting.dir)?;
    let mut fake = Fake::start(&setting.bin_dir.join("fake-efs"), dir.path(), &[]).await?;
    let (file_system, address) = fake.create_file_system("bench").await?;
    let server = SocketAddr::new(address.parse()?, fake.ready.nfs.port());
    let pid = fake.process.id().context("the fake has ended")?;
    let before = usage::memory(pid)?.rss;
    let open = match kind {
        Kind::Plain => {
            let connect = |_| async { pinged(TcpStream::connect(server).await?).await };
            Open::Plain(stream::iter(0..count).map(connect).buffer_unordered(AT_ONCE).try_collect().await?)
        }
        Kind::Tls => {
            let connector = connector(&fake, &file_system)?;
            let name = ServerName::try_from(server_name(&file_system))?;
            let connect = |_| async {
                let stream = TcpStream::connect(server).await?;
                pinged(connector.connect(name.clone(), stream).await?).await
            };
            Open::Tls(stream::iter(0..count).map(connect).buffer_unordered(AT_ONCE).try_collect().await?)
        }
    };
    tokio::time::sleep(setting.amount(SETTLE, Duration::ZERO)).await;
    let after = usage::memory(pid)?.rss;
    ensure!(open.len() == count, "{} of {count} connections are open", open.len());
    drop(open);
    fake.stop().await?;
    Ok(after.saturating_sub(before) as f64 / 1024.0)
}

/// Connections that must stay open until memory has been read.
enum Open {
    Plain(Vec<TcpStream>),
    Tls(Vec<tokio_rustls::client::TlsStream<TcpStream>>),
}

impl Open {
    fn len(&self) -> usize {
        match self {
            Self::Plain(open) => open.len(),
            Self::Tls(open) => open.len(),
        }
    }
}

fn server_name(file_system: &str) -> String {
    format!("{file_system}.efs.us-east-1.amazonaws.com")
}

/// A TLS client with a certificate for the file system, as a tunnel would make it.
fn connector(fake: &Fake, file_system: &str) -> anyhow::Result<TlsConnector> {
    let issuer = Issuer::new(Arc::new(ClientKey::generate()?));
    let host_name = server_name(file_system);
    let claims = Claims {
        service: efs_tunnel::Service::Efs,
        host_name: &host_name,
        file_system,
        access_point: None,
        region: "us-east-1",
        source: "k8s",
        credentials: None,
    };
    let certified: Arc<dyn ResolvesClientCert> =
        Arc::new(SingleCertAndKey::from(issuer.issue(&claims, SystemTime::now())?));
    let config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots::from_file(&fake.ready.ca_file)?)
        .with_client_cert_resolver(certified);
    Ok(TlsConnector::from(Arc::new(config)))
}

/// Makes one NULL call of NFSv4 (RFC 5531 §9, RFC 8881 §16.1) and waits for its reply, so that the server has everything
/// that a connection in use needs.
async fn pinged<S: AsyncRead + AsyncWrite + Unpin>(mut stream: S) -> anyhow::Result<S> {
    // One last fragment; xid, call, RPC version 2, program NFS, version 4, procedure 0; no credential, no verifier.
    let words: [u32; 11] = [0x8000_0028, 1, 0, 2, 100_003, 4, 0, 0, 0, 0, 0];
    let call: Vec<u8> = words.into_iter().flat_map(u32::to_be_bytes).collect();
    stream.write_all(&call).await?;
    stream.flush().await?;
    // Fragment header, xid, reply, accepted, verifier (two words), success.
    let mut reply = [0; 28];
    stream.read_exact(&mut reply).await.context("waiting for the reply to NULL")?;
    ensure!(reply[4..8] == 1u32.to_be_bytes() && reply[24..] == [0; 4], "NULL was refused: {reply:02x?}");
    Ok(stream)
}
