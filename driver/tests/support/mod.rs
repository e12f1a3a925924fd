//! A TLS server in the place of EFS: its own authority, a certificate for any name, and a log of what clients present.

#![allow(dead_code, reason = "each test binary uses its own part")]

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use aws_credential_types::Credentials;
use efs_tunnel::roots;
use efs_tunnel::{
    Admission, Binding, DialDeps, DialLimits, IamSource, IssuerSlot, Locate, LocateError, ProvideCredentials, Route,
    TunnelSpec, Tunnels,
};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::client::danger::HandshakeSignatureValid;
use tokio_rustls::rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature};
use tokio_rustls::rustls::pki_types::UnixTime;
use tokio_rustls::rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use tokio_rustls::rustls::{self, DigitallySignedStruct, DistinguishedName, ServerConfig, SignatureScheme};
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;

/// The file system of these tests.
pub(crate) const FILE_SYSTEM: &str = "fs-12345678";
/// The region of these tests.
pub(crate) const REGION: &str = "us-east-1";
/// The name that a right certificate carries.
pub(crate) const SERVER_NAME: &str = "fs-12345678.efs.us-east-1.amazonaws.com";

/// A certificate authority.
pub(crate) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    /// The authority's certificate.
    pub(crate) pem: String,
}

impl Authority {
    pub(crate) fn new() -> Self {
        let key = KeyPair::generate().expect("key");
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        // Authorities with the same name and other keys would be mistaken for each other.
        params.distinguished_name.push(DnType::CommonName, uuid::Uuid::new_v4().to_string());
        let pem = params.self_signed(&key).expect("authority").pem();
        Self { issuer: Issuer::new(params, key), pem }
    }

    /// Writes the authority's certificate for `--tls-ca-file`.
    pub(crate) fn write(&self, dir: &Path) -> PathBuf {
        let path = dir.join("ca.pem");
        std::fs::write(&path, &self.pem).expect("write authority");
        path
    }

    /// A server configuration with a certificate for `name`, valid for some hours around now plus `shift_days`.
    pub(crate) fn server(&self, name: &str, shift_days: i64, refuse_clients: bool) -> ServerConfig {
        self.server_with(rustls::ALL_VERSIONS, name, shift_days, refuse_clients)
    }

    /// The same for particular TLS versions.
    pub(crate) fn server_with(
        &self,
        versions: &[&'static rustls::SupportedProtocolVersion],
        name: &str,
        shift_days: i64,
        refuse_clients: bool,
    ) -> ServerConfig {
        let key = KeyPair::generate().expect("key");
        let mut params = CertificateParams::new(vec![name.to_owned()]).expect("params");
        let now = std::time::SystemTime::now();
        let day = std::time::Duration::from_secs(86_400);
        let shift = day * u32::try_from(shift_days.unsigned_abs()).expect("days");
        let middle = if shift_days < 0 { now - shift } else { now + shift };
        params.not_before = (middle - day / 2).into();
        params.not_after = (middle + day / 2).into();
        let certificate = params.signed_by(&key, &self.issuer).expect("certificate");
        let chain: Vec<CertificateDer<'static>> = vec![certificate.der().clone()];
        let key = PrivateKeyDer::try_from(key.serialize_der()).expect("key");
        ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_protocol_versions(versions)
            .expect("versions")
            .with_client_cert_verifier(Arc::new(AnyClient { refuse: refuse_clients }))
            .with_single_cert(chain, key)
            .expect("certificate")
    }
}

/// Takes any self-signed client certificate, like EFS, or none.
#[derive(Debug)]
struct AnyClient {
    refuse: bool,
}

fn provider() -> CryptoProvider {
    aws_lc_rs::default_provider()
}

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
        if self.refuse {
            return Err(rustls::Error::General("no such access point".to_owned()));
        }
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, dss, &provider().signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, dss, &provider().signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        provider().signature_verification_algorithms.supported_schemes()
    }
}

/// A TLS server that hands each connection to a function. Ends when dropped.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    /// The client certificates seen, in order.
    pub(crate) certificates: Arc<Mutex<Vec<CertificateDer<'static>>>>,
    stop: CancellationToken,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl Server {
    pub(crate) async fn start<F, R>(config: ServerConfig, serve: F) -> Self
    where
        F: Fn(TlsStream<TcpStream>) -> R + Clone + Send + Sync + 'static,
        R: Future<Output = ()> + Send + 'static,
    {
        Self::start_at((Ipv4Addr::LOCALHOST, 0).into(), config, serve).await
    }

    pub(crate) async fn start_at<F, R>(address: SocketAddr, config: ServerConfig, serve: F) -> Self
    where
        F: Fn(TlsStream<TcpStream>) -> R + Clone + Send + Sync + 'static,
        R: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind(address).await.expect("bind");
        let address = listener.local_addr().expect("address");
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let stop = CancellationToken::new();
        let certificates = Arc::new(Mutex::new(Vec::new()));
        let (seen, token) = (Arc::clone(&certificates), stop.clone());
        tokio::spawn(async move {
            loop {
                let accepted = tokio::select! {
                    () = token.cancelled() => return,
                    accepted = listener.accept() => accepted,
                };
                let Ok((stream, _)) = accepted else { continue };
                let (acceptor, seen, serve, token) =
                    (acceptor.clone(), Arc::clone(&seen), serve.clone(), token.clone());
                tokio::spawn(async move {
                    let work = async {
                        let Ok(stream) = acceptor.accept(stream).await else { return };
                        if let Some([first, ..]) = stream.get_ref().1.peer_certificates() {
                            seen.lock().expect("lock").push(first.clone().into_owned());
                        }
                        serve(stream).await;
                    };
                    tokio::select! {
                        () = token.cancelled() => {}
                        () = work => {}
                    }
                });
            }
        });
        Self { address, certificates, stop }
    }
}

/// Says everything again.
pub(crate) async fn echo(mut stream: TlsStream<TcpStream>) {
    let mut buffer = vec![0; 1000];
    while let Ok(length @ 1..) = stream.read(&mut buffer).await {
        if stream.write_all(&buffer[..length]).await.is_err() || stream.flush().await.is_err() {
            return;
        }
    }
}

/// Mount targets at fixed addresses.
pub(crate) struct At(pub(crate) Vec<SocketAddr>);

#[async_trait]
impl Locate for At {
    async fn locate(&self, _: &TunnelSpec) -> Result<Vec<SocketAddr>, LocateError> {
        Ok(self.0.clone())
    }

    fn forget(&self, _: &TunnelSpec) {}
}

/// No credentials.
pub(crate) struct NoCredentials;

#[async_trait]
impl ProvideCredentials for NoCredentials {
    async fn credentials(&self, _: &IamSource, _: &str) -> Result<Credentials, efs_tunnel::CredentialsError> {
        Err(efs_tunnel::CredentialsError::Told("this test has no credentials".to_owned()))
    }
}

/// A specification for the tests' file system.
pub(crate) fn spec(access_point: &str) -> TunnelSpec {
    TunnelSpec {
        service: efs_tunnel::Service::Efs,
        file_system: FILE_SYSTEM.to_owned(),
        access_point: Some(access_point.to_owned()),
        region: REGION.to_owned(),
        server_name: SERVER_NAME.to_owned(),
        iam: None,
        route: Route::default(),
    }
}

/// Tunnels that trust `authority`, find their mount target at `address` and admit this user's sockets.
pub(crate) fn tunnels(
    authority: &Authority,
    address: SocketAddr,
    limits: DialLimits,
    stop: CancellationToken,
) -> Tunnels {
    tunnels_for(authority, address, limits, Admission::OnlyUid(rustix::process::geteuid().as_raw()), stop)
}

/// The same, admitting whom the caller says.
pub(crate) fn tunnels_for(
    authority: &Authority,
    address: SocketAddr,
    limits: DialLimits,
    admission: Admission,
    stop: CancellationToken,
) -> Tunnels {
    tunnels_with(authority, address, limits, admission, Arc::new(NoCredentials), stop)
}

/// The same with these credentials.
pub(crate) fn tunnels_with(
    authority: &Authority,
    address: SocketAddr,
    limits: DialLimits,
    admission: Admission,
    credentials: Arc<dyn ProvideCredentials>,
    stop: CancellationToken,
) -> Tunnels {
    tunnels_by(authority, Arc::new(At(vec![address])), limits, admission, credentials, stop)
}

/// Tunnels that find their mount targets by `locate`.
pub(crate) fn tunnels_found_by(authority: &Authority, locate: Arc<dyn Locate>, limits: DialLimits) -> Tunnels {
    let admission = Admission::OnlyUid(rustix::process::geteuid().as_raw());
    tunnels_by(authority, locate, limits, admission, Arc::new(NoCredentials), CancellationToken::new())
}

fn tunnels_by(
    authority: &Authority,
    locate: Arc<dyn Locate>,
    limits: DialLimits,
    admission: Admission,
    credentials: Arc<dyn ProvideCredentials>,
    stop: CancellationToken,
) -> Tunnels {
    let dir = tempfile::tempdir().expect("temp dir");
    let roots = roots::from_file(&authority.write(dir.path())).expect("roots");
    let deps = DialDeps {
        issuer: IssuerSlot::new(None),
        roots: Arc::new(roots),
        locate,
        credentials,
        source: "k8s".to_owned(),
        limits,
        binding: Binding::off(),
        changed: Arc::default(),
    };
    // Port 0: the system picks a free one.
    Tunnels::new(deps, 0..=0, admission, stop)
}

/// The driver's executable, which cargo builds next to the tests. (`CARGO_BIN_EXE_…` is lost in this project's rustc wrapper:
/// shells drop variables with a hyphen in their name.)
pub(crate) fn driver() -> PathBuf {
    let test = std::env::current_exe().expect("path of this test");
    let driver = test.ancestors().nth(2).expect("target directory").join("efs-csi-driver");
    assert!(driver.is_file(), "{} is missing", driver.display());
    driver
}
