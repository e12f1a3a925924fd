//! The server behind the tunnels: it takes, gives or returns as many bytes as a client asks for, in TLS or without.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant, SystemTime};

use anyhow::Context as _;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, PKCS_RSA_SHA256, RsaKeySize};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::client::danger::HandshakeSignatureValid;
use tokio_rustls::rustls::crypto::{aws_lc_rs, verify_tls12_signature, verify_tls13_signature};
use tokio_rustls::rustls::server::NoServerSessionStorage;
use tokio_rustls::rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use tokio_rustls::rustls::{self, DigitallySignedStruct, DistinguishedName, ServerConfig, SignatureScheme};
use tokio_util::sync::{CancellationToken, DropGuard};

/// The name in the server's certificate, of the form that EFS uses.
pub const SERVER_NAME: &str = "fs-12345678.efs.us-east-1.amazonaws.com";
/// Bytes moved by one read or write at either end: the kernel's NFS client sends and asks for 1 MiB at a time.
const CHUNK: usize = 1 << 20;
/// A connection that stands still for this long ends the measurement with an error.
const PATIENCE: Duration = Duration::from_secs(20);

const TAKE: u8 = b't';
const GIVE: u8 = b'g';
const ECHO: u8 = b'e';
const STAMP: u8 = b's';

/// What stamps are counted from: both ends are in this process.
static EPOCH: LazyLock<Instant> = LazyLock::new(Instant::now);
/// Pause between two stamps.
const STAMP_EVERY: Duration = Duration::from_millis(1);
/// In the place of a stamp: no more will come.
const LAST_STAMP: [u8; 8] = [u8::MAX; 8];

/// Files that a tunnel in front of the endpoint needs.
#[derive(Clone, Debug)]
pub struct Identity {
    /// The authority that signed the server's certificate.
    pub ca_file: PathBuf,
    /// An RSA-3072 client key and a certificate for it, in one file, as stunnel wants them.
    pub client_file: PathBuf,
}

/// A running endpoint. Ends when dropped.
#[derive(Debug)]
pub struct Endpoint {
    /// Where it listens.
    pub address: SocketAddr,
    _stop: DropGuard,
}

impl Endpoint {
    /// Starts an endpoint that speaks TLS, and writes what its clients need to `dir`.
    ///
    /// It asks for a client certificate and takes any, like EFS. It resumes no session: the tunnel of the driver never
    /// does, because the server must see the new certificate, and the others shall do the same work.
    pub async fn tls(dir: &Path) -> anyhow::Result<(Self, Identity)> {
        let authority_key = KeyPair::generate()?;
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, "benchmark");
        let authority_pem = params.self_signed(&authority_key)?.pem();
        let issuer = Issuer::new(params, authority_key);
        // EFS's own certificates carry RSA-2048 keys.
        let key = KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_2048)?;
        let mut params = CertificateParams::new(vec![SERVER_NAME.to_owned()])?;
        let day = Duration::from_secs(86_400);
        params.not_before = (SystemTime::now() - day).into();
        params.not_after = (SystemTime::now() + day).into();
        let chain = vec![params.signed_by(&key, &issuer)?.der().clone()];
        let key = PrivateKeyDer::try_from(key.serialize_der()).map_err(anyhow::Error::msg)?;
        let mut config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_client_cert_verifier(Arc::new(AnyClient))
            .with_single_cert(chain, key)?;
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        let identity = write_identity(dir, &authority_pem)?;
        Ok((Self::start(Some(TlsAcceptor::from(Arc::new(config)))).await?, identity))
    }

    /// Starts an endpoint without TLS.
    pub async fn plain() -> anyhow::Result<Self> {
        Self::start(None).await
    }

    async fn start(acceptor: Option<TlsAcceptor>) -> anyhow::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let stop = CancellationToken::new();
        let token = stop.clone();
        tokio::spawn(async move {
            loop {
                let accepted = tokio::select! {
                    () = token.cancelled() => return,
                    accepted = listener.accept() => accepted,
                };
                let Ok((stream, _)) = accepted else { continue };
                let (acceptor, token) = (acceptor.clone(), token.clone());
                tokio::spawn(async move {
                    let work = async {
                        stream.set_nodelay(true)?;
                        match acceptor {
                            None => serve(stream).await,
                            Some(acceptor) => {
                                let grow =
                                    |session: &mut rustls::ServerConnection| session.set_buffer_limit(Some(CHUNK));
                                serve(acceptor.accept_with(stream, grow).await?).await
                            }
                        }
                    };
                    // A client that goes away is no error here; the client's side reports what matters.
                    tokio::select! {
                        () = token.cancelled() => {}
                        _ = work => {}
                    }
                });
            }
        });
        Ok(Self { address, _stop: stop.drop_guard() })
    }
}

async fn serve<S: AsyncRead + AsyncWrite + Unpin>(mut stream: S) -> io::Result<()> {
    let mut buffer = vec![0; CHUNK];
    loop {
        let mut command = [0; 9];
        stream.read_exact(&mut command).await?;
        let mut left = usize::try_from(u64::from_be_bytes(command[1..].try_into().unwrap_or_default())).unwrap_or(0);
        match command[0] {
            TAKE => {
                while left > 0 {
                    let part = left.min(CHUNK);
                    let read = stream.read(&mut buffer[..part]).await?;
                    if read == 0 {
                        return Ok(());
                    }
                    left -= read;
                }
                stream.write_all(&[0]).await?;
            }
            GIVE => {
                while left > 0 {
                    let part = left.min(CHUNK);
                    stream.write_all(&buffer[..part]).await?;
                    left -= part;
                }
            }
            ECHO => {
                let part = left.min(CHUNK);
                stream.read_exact(&mut buffer[..part]).await?;
                stream.write_all(&buffer[..part]).await?;
            }
            STAMP => stamp(&mut stream, &mut buffer, left).await?,
            _ => return Err(io::ErrorKind::InvalidData.into()),
        }
        stream.flush().await?;
    }
}

/// Takes bytes, and says what time it is meanwhile.
async fn stamp<S: AsyncRead + AsyncWrite + Unpin>(
    stream: &mut S,
    buffer: &mut [u8],
    mut left: usize,
) -> io::Result<()> {
    let (mut reader, mut writer) = tokio::io::split(stream);
    let taken = AtomicBool::new(false);
    let take = async {
        while left > 0 {
            let part = left.min(buffer.len());
            left -= reader.read_exact(&mut buffer[..part]).await?;
        }
        taken.store(true, Ordering::Relaxed);
        io::Result::Ok(())
    };
    let tell = async {
        loop {
            let now = u64::try_from(EPOCH.elapsed().as_nanos()).unwrap_or_default();
            writer.write_all(&now.to_be_bytes()).await?;
            writer.flush().await?;
            if taken.load(Ordering::Relaxed) {
                break;
            }
            tokio::time::sleep(STAMP_EVERY).await;
        }
        writer.write_all(&LAST_STAMP).await
    };
    tokio::try_join!(take, tell).map(drop)
}

/// A connection to an endpoint, directly or through a tunnel. It blocks: use it on a thread of its own.
#[derive(Debug)]
pub struct Client {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Client {
    /// Connects; the tunnel behind the port may not have reached the endpoint yet.
    pub fn connect(port: u16) -> io::Result<Self> {
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        Ok(Self { stream, buffer: vec![0x5a; CHUNK] })
    }

    /// Sends bytes and waits until the endpoint has all of them.
    pub fn send(&mut self, bytes: usize) -> io::Result<Duration> {
        let begin = Instant::now();
        self.command(TAKE, bytes)?;
        let mut left = bytes;
        while left > 0 {
            let part = left.min(CHUNK);
            self.stream.write_all(&self.buffer[..part])?;
            left -= part;
        }
        self.stream.read_exact(&mut [0])?;
        Ok(begin.elapsed())
    }

    /// Asks for bytes and waits until all are here.
    pub fn receive(&mut self, bytes: usize) -> io::Result<Duration> {
        let begin = Instant::now();
        self.command(GIVE, bytes)?;
        let mut left = bytes;
        while left > 0 {
            let part = left.min(CHUNK);
            let read = self.stream.read(&mut self.buffer[..part])?;
            if read == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            left -= read;
        }
        Ok(begin.elapsed())
    }

    /// Sends bytes (at most 1 MiB) and waits until the same number has come back.
    pub fn exchange(&mut self, bytes: usize) -> io::Result<Duration> {
        let begin = Instant::now();
        let bytes = bytes.min(CHUNK);
        self.command(ECHO, bytes)?;
        self.stream.write_all(&self.buffer[..bytes])?;
        self.stream.read_exact(&mut self.buffer[..bytes])?;
        Ok(begin.elapsed())
    }

    /// Sends bytes as fast as they are taken. Returns how long each of the endpoint's small messages, which come all the time, was
    /// on its way here meanwhile.
    pub fn delays_while_sending(&mut self, bytes: usize) -> io::Result<Vec<Duration>> {
        let begin = *EPOCH;
        let mut sending = Self { stream: self.stream.try_clone()?, buffer: vec![0x5a; CHUNK] };
        std::thread::scope(|scope| {
            let sent = scope.spawn(move || {
                sending.command(STAMP, bytes)?;
                let mut left = bytes;
                while left > 0 {
                    let part = left.min(CHUNK);
                    sending.stream.write_all(&sending.buffer[..part])?;
                    left -= part;
                }
                io::Result::Ok(())
            });
            let mut delays = Vec::new();
            loop {
                let mut stamp = [0; 8];
                self.stream.read_exact(&mut stamp)?;
                if stamp == LAST_STAMP {
                    break;
                }
                delays.push(begin.elapsed().saturating_sub(Duration::from_nanos(u64::from_be_bytes(stamp))));
            }
            sent.join().map_err(|_| io::Error::other("the sending thread panicked"))??;
            Ok(delays)
        })
    }

    fn command(&mut self, kind: u8, count: usize) -> io::Result<()> {
        let mut command = [kind; 9];
        command[1..].copy_from_slice(&(count as u64).to_be_bytes());
        self.stream.write_all(&command)
    }
}

fn write_identity(dir: &Path, authority_pem: &str) -> anyhow::Result<Identity> {
    let ca_file = dir.join("ca.pem");
    std::fs::write(&ca_file, authority_pem).context("writing the authority")?;
    let key = KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_3072)?;
    let certificate = CertificateParams::new(Vec::new())?.self_signed(&key)?;
    let client_file = dir.join("client.pem");
    std::fs::write(&client_file, key.serialize_pem() + &certificate.pem()).context("writing the client's key")?;
    Ok(Identity { ca_file, client_file })
}

/// Takes any self-signed client certificate, like EFS, or none.
#[derive(Debug)]
struct AnyClient;

impl ClientCertVerifier for AnyClient {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = aws_lc_rs::default_provider().signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signature, &algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = aws_lc_rs::default_provider().signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, &algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        aws_lc_rs::default_provider().signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(flavor = "multi_thread")]
    async fn every_command_moves_the_bytes_it_names() {
        let endpoint = Endpoint::plain().await.unwrap();
        let port = endpoint.address.port();
        tokio::task::spawn_blocking(move || {
            let mut client = Client::connect(port)?;
            client.send(3_000_000)?;
            client.receive(2_000_001)?;
            client.exchange(4096)?;
            let delays = client.delays_while_sending(3_000_000)?;
            assert!(!delays.is_empty() && delays.iter().all(|delay| *delay < PATIENCE), "{delays:?}");
            client.send(0)
        })
        .await
        .unwrap()
        .unwrap();
    }
}
