//! The HTTP endpoint: `/healthz`, `/readyz` and `/metrics`, over TLS when a certificate is given.

use std::io::{self, ErrorKind};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;

use crate::blocking::Blocking;
use crate::config::HttpConfig;
use crate::metrics::Metrics;

/// Limit of a TLS handshake.
const HANDSHAKE: Duration = Duration::from_secs(5);

/// Handshakes at once; further clients wait in the listen queue.
const MOST_HANDSHAKES: usize = 32;

/// Pause before an endpoint that could not be served is tried again.
const RETRY: Duration = Duration::from_secs(5);

/// Connections that wait to be accepted.
const BACKLOG: u32 = 128;

/// Media type of OpenMetrics text.
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Why the endpoint can't be served.
#[derive(Debug, thiserror::Error)]
pub enum HealthError {
    /// The address can't be listened on.
    #[error("cannot listen on --http-endpoint {address}: {source}")]
    Listen {
        /// The address.
        address: String,
        /// The system's reason.
        source: io::Error,
    },
    /// A PEM file can't be used.
    #[error("cannot use {path} for the TLS of --http-endpoint: {reason}")]
    Pem {
        /// The file.
        path: PathBuf,
        /// Why not.
        reason: String,
    },
    /// Certificate and key don't make a TLS server.
    #[error("cannot serve TLS on --http-endpoint: {0}")]
    Tls(#[from] tokio_rustls::rustls::Error),
}

/// What the endpoint tells.
#[derive(Debug, Clone)]
pub struct Shared {
    ready: watch::Receiver<bool>,
    metrics: Metrics,
    blocking: Blocking,
}

impl Shared {
    /// Whether the services have started, the process's metrics, and the calls that it waits for.
    pub fn new(ready: watch::Receiver<bool>, metrics: Metrics, blocking: Blocking) -> Self {
        Self { ready, metrics, blocking }
    }
}

/// Serves the endpoint as soon as that is possible: a port that is taken, or a certificate that isn't there yet, keeps nobody's mounts from
/// being served.
pub async fn keep(config: HttpConfig, shared: Shared, shutdown: CancellationToken) {
    let mut told = None;
    loop {
        match start(&config, shared.clone(), shutdown.clone()).await {
            Ok(address) => {
                tracing::info!(%address, tls = config.tls.is_some(), "serving health and metrics");
                return;
            }
            Err(error) => {
                let error = error.to_string();
                if told.as_ref() != Some(&error) {
                    let seconds = RETRY.as_secs();
                    tracing::error!(
                        error,
                        seconds,
                        "no health and metrics are served; it is tried again, everything else goes on"
                    );
                    told = Some(error);
                }
            }
        }
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = tokio::time::sleep(RETRY) => {}
        }
    }
}

/// Binds the endpoint and serves it in the background until `shutdown`; gives the address with its real port.
///
/// # Errors
/// When the address or the certificate can't be used.
pub async fn start(
    config: &HttpConfig,
    shared: Shared,
    shutdown: CancellationToken,
) -> Result<SocketAddr, HealthError> {
    let listen = |source| HealthError::Listen { address: config.address.clone(), source };
    let tls = match &config.tls {
        None => None,
        Some((certificate, key)) => Some(acceptor(certificate.clone(), key.clone())?),
    };
    let listener = bind(&config.address).await.map_err(listen)?;
    let address = listener.local_addr().map_err(listen)?;
    let app = Router::new()
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .route("/metrics", get(page))
        .with_state(shared);
    tokio::spawn(async move {
        let stop = shutdown.cancelled_owned();
        let served = match tls {
            None => axum::serve(listener, app).with_graceful_shutdown(stop).await,
            Some(tls) => {
                let listener = TlsListener { tcp: listener, tls, handshakes: JoinSet::new() };
                axum::serve(listener, app).with_graceful_shutdown(stop).await
            }
        };
        if let Err(error) = served {
            tracing::error!(%error, "the HTTP endpoint stopped");
        }
    });
    Ok(address)
}

/// Listens at `host:port`, or at `:port` of every address that there is: IPv6 and IPv4 at once, or IPv4 alone on a machine without
/// IPv6.
async fn bind(address: &str) -> io::Result<TcpListener> {
    if let Some(port) = address.strip_prefix(':') {
        let port = port.parse().map_err(io::Error::other)?;
        return match shared((Ipv6Addr::UNSPECIFIED, port).into()) {
            Err(error) if !matches!(error.kind(), ErrorKind::AddrInUse | ErrorKind::PermissionDenied) => {
                tracing::info!(%error, "no IPv6 here, serving HTTP on IPv4 alone");
                shared((Ipv4Addr::UNSPECIFIED, port).into())
            }
            bound => bound,
        };
    }
    let mut last = io::Error::from(ErrorKind::AddrNotAvailable);
    for address in tokio::net::lookup_host(address).await? {
        match shared(address) {
            Ok(listener) => return Ok(listener),
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// A listener beside which the same user's next driver can listen already: node pods share the host's network, and an upgrade
/// with surge starts the new one before it ends the old.
fn shared(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv6() { TcpSocket::new_v6()? } else { TcpSocket::new_v4()? };
    if address.is_ipv6() && address.ip().is_unspecified() {
        rustix::net::sockopt::set_ipv6_v6only(&socket, false)?;
    }
    socket.set_reuseaddr(true)?;
    socket.set_reuseport(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// The process is well whatever hangs outside it: to start it again would end the mounts that still work, and help nothing.
async fn healthz(State(shared): State<Shared>) -> String {
    let degraded = shared.blocking.degraded();
    std::iter::once("ok\n".to_owned()).chain(degraded.iter().map(|it| format!("degraded: {it}\n"))).collect()
}

async fn readyz(State(shared): State<Shared>) -> Response {
    if *shared.ready.borrow() {
        "ready\n".into_response()
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "starting\n").into_response()
    }
}

async fn page(State(shared): State<Shared>) -> Response {
    match shared.metrics.page() {
        Ok(page) => ([(header::CONTENT_TYPE, OPEN_METRICS)], page).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")).into_response(),
    }
}

fn acceptor(certificate: PathBuf, key: PathBuf) -> Result<TlsAcceptor, HealthError> {
    let pem = |path: &PathBuf, reason: String| HealthError::Pem { path: path.clone(), reason };
    let chain = CertificateDer::pem_file_iter(&certificate)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| pem(&certificate, error.to_string()))?;
    let key_der = PrivateKeyDer::from_pem_file(&key).map_err(|error| pem(&key, error.to_string()))?;
    let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(chain, key_der)?;
    Ok(TlsAcceptor::from(Arc::new(config)))
}

/// Accepts TLS connections; a client that stalls in the handshake is in nobody's way.
struct TlsListener {
    tcp: TcpListener,
    tls: TlsAcceptor,
    handshakes: JoinSet<Option<(TlsStream<TcpStream>, SocketAddr)>>,
}

impl axum::serve::Listener for TlsListener {
    type Io = TlsStream<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        loop {
            tokio::select! {
                Some(done) = self.handshakes.join_next() => {
                    if let Ok(Some(connection)) = done {
                        return connection;
                    }
                }
                accepted = self.tcp.accept(), if self.handshakes.len() < MOST_HANDSHAKES => match accepted {
                    Ok((stream, peer)) => {
                        let tls = self.tls.clone();
                        self.handshakes.spawn(async move {
                            let stream = tokio::time::timeout(HANDSHAKE, tls.accept(stream)).await.ok()?.ok()?;
                            Some((stream, peer))
                        });
                    }
                    // Out of file descriptors, most likely: trying again at once would only burn time.
                    Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
                }
            }
        }
    }

    fn local_addr(&self) -> io::Result<Self::Addr> {
        self.tcp.local_addr()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::Request;
    use hyper_util::rt::TokioIo;

    async fn fetch(address: SocketAddr, path: &str, tls: Option<tokio_rustls::TlsConnector>) -> (u16, String) {
        use axum::body::{Body, to_bytes};
        let tcp = TcpStream::connect(address).await.unwrap();
        let request = Request::get(path).header("host", "localhost").body(Body::empty()).unwrap();
        let response = match tls {
            None => {
                let (mut send, connection) = hyper::client::conn::http1::handshake(TokioIo::new(tcp)).await.unwrap();
                tokio::spawn(connection);
                send.send_request(request).await.unwrap()
            }
            Some(tls) => {
                let stream = tls.connect("localhost".try_into().unwrap(), tcp).await.unwrap();
                let (mut send, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
                tokio::spawn(connection);
                send.send_request(request).await.unwrap()
            }
        };
        let status = response.status().as_u16();
        let body = to_bytes(Body::new(response.into_body()), 1 << 20).await.unwrap();
        (status, String::from_utf8(body.to_vec()).unwrap())
    }

    fn with_ready(ready: watch::Receiver<bool>) -> Shared {
        Shared::new(ready, Metrics::new(), Blocking::default())
    }

    #[tokio::test]
    async fn the_endpoint_tells_health_readiness_and_metrics() {
        let (set_ready, ready) = watch::channel(false);
        let stop = CancellationToken::new();
        let config = HttpConfig { address: "127.0.0.1:0".into(), tls: None };
        let metrics = Metrics::new();
        metrics.rpc("CreateVolume", tonic::Code::Aborted, Duration::from_millis(1));
        let address = start(&config, Shared::new(ready, metrics, Blocking::default()), stop.clone()).await.unwrap();
        assert_eq!(fetch(address, "/healthz", None).await, (200, "ok\n".into()));
        assert_eq!(fetch(address, "/readyz", None).await.0, 503);
        set_ready.send_replace(true);
        assert_eq!(fetch(address, "/readyz", None).await.0, 200);
        let (status, page) = fetch(address, "/metrics", None).await;
        assert_eq!(status, 200);
        assert!(
            page.contains(r#"efs_csi_rpc_duration_seconds_count{method="CreateVolume",code="ABORTED"} 1"#),
            "{page}"
        );
        assert!(page.ends_with("# EOF\n"));
        stop.cancel();
    }

    #[tokio::test(start_paused = true)]
    async fn an_endpoint_that_can_not_be_served_is_tried_again() {
        let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = taken.local_addr().unwrap();
        let config = HttpConfig { address: address.to_string(), tls: None };
        let (_ready, is_ready) = watch::channel(true);
        let stop = CancellationToken::new();
        let keeping = tokio::spawn(keep(config, with_ready(is_ready), stop.clone()));
        tokio::time::sleep(3 * RETRY).await;
        assert!(!keeping.is_finished(), "it is tried again");
        drop(taken);
        keeping.await.unwrap();
        tokio::time::resume();
        assert_eq!(fetch(address, "/healthz", None).await.0, 200);
        stop.cancel();
    }

    #[tokio::test]
    async fn a_port_alone_is_served_on_ipv4_too_and_a_successor_can_listen_beside() {
        let (_ready, is_ready) = watch::channel(true);
        let stop = CancellationToken::new();
        let mut config = HttpConfig { address: ":0".into(), tls: None };
        let first = start(&config, with_ready(is_ready.clone()), stop.clone()).await.unwrap();
        let on_ipv4 = SocketAddr::from((Ipv4Addr::LOCALHOST, first.port()));
        assert_eq!(fetch(on_ipv4, "/healthz", None).await.0, 200);
        config.address = format!(":{}", first.port());
        let second = start(&config, with_ready(is_ready), CancellationToken::new()).await.unwrap();
        assert_eq!(second.port(), first.port());
        stop.cancel();
    }

    #[tokio::test]
    async fn the_endpoint_speaks_tls_when_it_has_a_certificate() {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let dir = tempfile::tempdir().unwrap();
        let (certificate, key) = (dir.path().join("tls.crt"), dir.path().join("tls.key"));
        std::fs::write(&certificate, made.cert.pem()).unwrap();
        std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
        let config = HttpConfig { address: "127.0.0.1:0".into(), tls: Some((certificate.clone(), key)) };
        let stop = CancellationToken::new();
        let (_ready, is_ready) = watch::channel(true);
        let address = start(&config, with_ready(is_ready.clone()), stop.clone()).await.unwrap();
        // A client that never shakes hands must not keep others out.
        let _stalled = TcpStream::connect(address).await.unwrap();
        let mut roots = tokio_rustls::rustls::RootCertStore::empty();
        roots.add(made.cert.der().clone()).unwrap();
        let client = tokio_rustls::rustls::ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let connector = tokio_rustls::TlsConnector::from(Arc::new(client));
        assert_eq!(fetch(address, "/readyz", Some(connector)).await.0, 200);

        let config = HttpConfig { address: "127.0.0.1:0".into(), tls: Some((certificate, "/none".into())) };
        let error = start(&config, with_ready(is_ready), stop.clone()).await.unwrap_err().to_string();
        assert!(error.contains("/none"), "{error}");
        stop.cancel();
    }
}
