//! The HTTP endpoint: `/healthz`, `/readyz` and `/metrics`, over TLS when a certificate is given.
//!
//! Whoever reaches the port may connect, and the process that answers here also holds the mounts: connections are few, small and short, so
//! that nobody can take the memory and the open files that volumes need. HTTP/1.1 is enough, Prometheus and the kubelet speak it.

use std::collections::VecDeque;
use std::io::{self, ErrorKind};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use efs_common::open_files::{self, Spare};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpSocket};
use tokio::sync::watch;
use tokio::task::AbortHandle;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_util::sync::CancellationToken;

use crate::blocking::Blocking;
use crate::config::HttpConfig;
use crate::files;
use crate::metrics::Metrics;

/// Limit of a TLS handshake.
const HANDSHAKE: Duration = Duration::from_secs(5);

/// Connections at once, or fewer where few files may be open. One more ends the oldest: a probe that takes milliseconds gets its answer,
/// however many clients sit and wait.
const CONNECTIONS: usize = 128;

/// A request must be here this long after the connection, or after the answer before it: idle connections end then too.
const REQUEST: Duration = Duration::from_secs(10);

/// A connection takes no new request after this long.
const OPEN: Duration = Duration::from_secs(50);

/// Answers have this long once no new request is taken, so that no connection lives longer than a minute.
const LAST_ANSWER: Duration = Duration::from_secs(10);

/// Bytes of a request's head, and of what is buffered on a connection.
const BUFFER: usize = 16 * 1024;

/// Pause after the process ran out of file descriptors or memory for a new connection.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

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
        Some((certificate, key)) => Some(acceptor(&shared.blocking, certificate, key).await?),
    };
    let listener = bind(&config.address).await.map_err(listen)?;
    let address = listener.local_addr().map_err(listen)?;
    let app = Router::new()
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .route("/metrics", get(page))
        .with_state(shared);
    tokio::spawn(serve(listener, tls, app, shutdown));
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
    shared.metrics.refresh().await;
    match shared.metrics.page() {
        Ok(page) => ([(header::CONTENT_TYPE, OPEN_METRICS)], page).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")).into_response(),
    }
}

async fn acceptor(blocking: &Blocking, certificate: &Path, key: &Path) -> Result<TlsAcceptor, HealthError> {
    let pem = |path: &Path, reason: String| HealthError::Pem { path: path.to_owned(), reason };
    let read = async |flag, path| files::read(blocking, flag, path).await.map_err(|error| pem(path, error.to_string()));
    let chain = read("--metrics-cert-file", certificate).await?;
    let chain = CertificateDer::pem_slice_iter(&chain)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| pem(certificate, error.to_string()))?;
    let key_der = read("--metrics-key-file", key).await?;
    let key_der = PrivateKeyDer::from_pem_slice(&key_der).map_err(|error| pem(key, error.to_string()))?;
    let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(chain, key_der)?;
    Ok(TlsAcceptor::from(Arc::new(config)))
}

/// Accepts connections until `stop`. Those that are open then may finish their answer.
async fn serve(listener: TcpListener, tls: Option<TlsAcceptor>, app: Router, stop: CancellationToken) {
    let most = open_files::most_connections(CONNECTIONS);
    let mut open: VecDeque<AbortHandle> = VecDeque::with_capacity(most);
    let mut spare = Spare::new(1);
    loop {
        let accepted = tokio::select! {
            biased;
            () = stop.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        open.retain(|connection| !connection.is_finished());
        let Ok((stream, _)) = accepted else {
            // Whoever has taken all files must not silence the one who tells it.
            if !spare.lend() {
                if let Some(oldest) = open.pop_front() {
                    oldest.abort();
                }
                sleep(ACCEPT_PAUSE).await;
            }
            continue;
        };
        spare.refill();
        if open.len() >= most
            && let Some(oldest) = open.pop_front()
        {
            oldest.abort();
        }
        let (tls, app, stop) = (tls.clone(), app.clone(), stop.clone());
        let connection = tokio::spawn(async move {
            match tls {
                None => answer(stream, app, stop).await,
                Some(tls) => {
                    if let Ok(Ok(stream)) = timeout(HANDSHAKE, tls.accept(stream)).await {
                        answer(stream, app, stop).await;
                    }
                }
            }
        });
        open.push_back(connection.abort_handle());
    }
}

/// Answers the requests of one connection, for a while.
async fn answer(stream: impl AsyncRead + AsyncWrite + Unpin, app: Router, stop: CancellationToken) {
    let mut connection = pin!(
        http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(REQUEST)
            .max_buf_size(BUFFER)
            .serve_connection(TokioIo::new(stream), TowerToHyperService::new(app))
    );
    let ended = tokio::select! {
        ended = connection.as_mut() => Some(ended),
        () = stop.cancelled() => None,
        () = sleep(OPEN) => None,
    };
    let ended = match ended {
        Some(ended) => ended,
        None => {
            connection.as_mut().graceful_shutdown();
            timeout(LAST_ANSWER, connection).await.unwrap_or(Ok(()))
        }
    };
    // A client that goes away or asks nonsense is its own affair.
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection of the HTTP endpoint broke");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::Request;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpStream;
    use tokio::time::Instant;

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

    async fn plain() -> (SocketAddr, CancellationToken) {
        let stop = CancellationToken::new();
        let config = HttpConfig { address: "127.0.0.1:0".into(), tls: None };
        let (_ready, is_ready) = watch::channel(true);
        (start(&config, with_ready(is_ready), stop.clone()).await.unwrap(), stop)
    }

    /// What comes until the other side ends the connection.
    async fn rest(stream: &mut TcpStream) -> String {
        let mut text = Vec::new();
        // A connection that is reset has ended too.
        drop(stream.read_to_end(&mut text).await);
        String::from_utf8(text).unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_that_asks_nothing_ends() {
        let (address, stop) = plain().await;
        for sent in ["", "GET /healthz HTTP/1.1\r\nHost: a\r\n", "GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n"] {
            let mut stream = TcpStream::connect(address).await.unwrap();
            stream.write_all(sent.as_bytes()).await.unwrap();
            let started = Instant::now();
            let answer = rest(&mut stream).await;
            assert_eq!(answer.contains("200 OK"), sent.ends_with("\r\n\r\n"), "{sent:?}: {answer}");
            assert!(started.elapsed() <= 2 * REQUEST, "{sent:?}: {:?}", started.elapsed());
        }
        stop.cancel();
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_that_asks_again_and_again_ends_after_a_minute() {
        let (address, stop) = plain().await;
        let mut stream = TcpStream::connect(address).await.unwrap();
        let started = Instant::now();
        let (mut buffer, mut answers) = ([0; 1024], 0);
        while stream.write_all(b"GET /readyz HTTP/1.1\r\nHost: a\r\n\r\n").await.is_ok()
            && matches!(stream.read(&mut buffer).await, Ok(1..))
        {
            answers += 1;
            sleep(REQUEST / 2).await;
            assert!(started.elapsed() <= OPEN + LAST_ANSWER, "{answers} answers");
        }
        assert!(answers >= 5, "{answers} answers");
        stop.cancel();
    }

    #[tokio::test]
    async fn clients_that_sit_and_wait_keep_no_probe_out() {
        let (address, stop) = plain().await;
        let mut waiting = Vec::new();
        for _ in 0..CONNECTIONS + 72 {
            let mut stream = TcpStream::connect(address).await.unwrap();
            stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: a\r\n").await.unwrap();
            waiting.push(stream);
        }
        let answer = timeout(REQUEST / 2, fetch(address, "/healthz", None)).await.expect("an answer in time");
        assert_eq!(answer.0, 200);
        let oldest = timeout(REQUEST / 2, rest(&mut waiting[0])).await;
        assert_eq!(oldest.expect("the oldest made room"), "");
        stop.cancel();
    }

    #[tokio::test]
    async fn a_head_of_a_request_has_a_size() {
        let (address, stop) = plain().await;
        let mut stream = TcpStream::connect(address).await.unwrap();
        let request = format!("GET /healthz HTTP/1.1\r\nHost: a\r\nX-Long: {}\r\n\r\n", "x".repeat(8 * BUFFER));
        // The rest may find nobody any more.
        drop(stream.write_all(request.as_bytes()).await);
        let answer = timeout(REQUEST / 2, rest(&mut stream)).await.expect("it ends at once");
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 431"), "{answer}");
        stop.cancel();
    }

    #[tokio::test]
    async fn a_stop_ends_idle_connections() {
        let (address, stop) = plain().await;
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
        let mut buffer = [0; 12];
        stream.read_exact(&mut buffer).await.unwrap();
        stop.cancel();
        timeout(REQUEST / 2, rest(&mut stream)).await.expect("it ends at once");
    }
}
