//! Tunnels over real sockets, against a TLS server in the place of EFS.

#[path = "tunnel/pods.rs"]
mod pods;
mod support;

use std::collections::HashSet;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use aws_credential_types::Credentials;
use efs_tunnel::{
    Admission, DialError, DialLimits, IamSource, Locate, LocateError, OpenError, PodAuthority, PodIdentity,
    ProvideCredentials, Route, TunnelLease, TunnelSpec,
};
use rustix::net::{AddressFamily, SocketType, socket};
use support::{Authority, SERVER_NAME, Server, spec, tunnels, tunnels_with};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

const NULL_ANSWER_TAIL: [u8; 20] = [0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];

/// Answers NULL calls like an NFS server; echoes everything else.
async fn nfs_or_echo(mut stream: tokio_rustls::server::TlsStream<TcpStream>) {
    let mut buffer = vec![0; 100_000];
    while let Ok(length @ 1..) = stream.read(&mut buffer).await {
        let answer = if length == 44 && buffer[..4] == [0x80, 0, 0, 40] {
            [&[0x80, 0, 0, 24], &buffer[4..8], &NULL_ANSWER_TAIL[..]].concat()
        } else {
            buffer[..length].to_vec()
        };
        if stream.write_all(&answer).await.is_err() || stream.flush().await.is_err() {
            return;
        }
    }
    let _ended = stream.shutdown().await;
}

fn quick() -> DialLimits {
    DialLimits {
        connect: Duration::from_millis(500),
        handshake: Duration::from_millis(500),
        first_call: Duration::from_millis(500),
        ..DialLimits::default()
    }
}

async fn connect(lease: &TunnelLease) -> TcpStream {
    TcpStream::connect((Ipv4Addr::LOCALHOST, lease.port())).await.expect("connect")
}

async fn ask(stream: &mut TcpStream, text: &[u8]) -> Vec<u8> {
    stream.write_all(text).await.expect("write");
    let mut answer = vec![0; text.len()];
    stream.read_exact(&mut answer).await.expect("read");
    answer
}

#[tokio::test]
async fn bytes_pass_and_the_certificate_names_file_system_and_access_point() {
    let authority = Authority::new();
    let server = Server::start(authority.server(SERVER_NAME, 0, false), nfs_or_echo).await;
    let tunnels = tunnels(&authority, server.address, DialLimits::default(), CancellationToken::new());
    let lease = tunnels.open(&spec("fsap-0123456789abcdef0"), &HashSet::new()).expect("open");
    lease.check().await.expect("check");

    let mut stream = connect(&lease).await;
    let long: Vec<u8> = (0..1_000_000_u32).map(|i| (i % 253) as u8).collect();
    assert_eq!(ask(&mut stream, b"hello").await, b"hello");
    let (mut read, mut write) = stream.split();
    let (sent, received) = tokio::join!(write.write_all(&long), async {
        let mut answer = vec![0; long.len()];
        read.read_exact(&mut answer).await.map(|_| answer)
    });
    sent.expect("write");
    assert!(received.expect("read") == long);

    let certificates = server.certificates.lock().expect("lock").clone();
    assert_eq!(certificates.len(), 1, "the checked connection must serve the first client");
    let text = String::from_utf8_lossy(&certificates[0]).into_owned();
    assert!(text.contains("fsap-0123456789abcdef0") && text.contains("fs-12345678"));
}

/// Specifications that differ from `own` in one thing each. A field that is added is an error of the compiler here until it is varied, too.
fn that_differ_in_one_thing(own: &TunnelSpec) -> Vec<TunnelSpec> {
    let route = Route {
        address: Some(Ipv4Addr::LOCALHOST.into()),
        by_zone: [("us-east-1a".to_owned(), vec![Ipv4Addr::LOCALHOST.into()].into())].into(),
        zone: Some("us-east-1b".to_owned()),
        max_connections: Some(2),
        cross_account: true,
    };
    let other = TunnelSpec {
        service: efs_tunnel::Service::S3Files,
        file_system: "fs-87654321".to_owned(),
        access_point: None,
        region: "eu-west-1".to_owned(),
        server_name: "fs-12345678.efs.example.com".to_owned(),
        iam: Some(IamSource::Default),
        route,
    };
    let TunnelSpec { service, file_system, access_point, region, server_name, iam, route } = other;
    let Route { address, by_zone, zone, max_connections, cross_account } = route;
    let by = |route: Route| TunnelSpec { route, ..own.clone() };
    let mut others = vec![
        TunnelSpec { service, ..own.clone() },
        TunnelSpec { file_system, ..own.clone() },
        TunnelSpec { access_point, ..own.clone() },
        TunnelSpec { region, ..own.clone() },
        TunnelSpec { server_name, ..own.clone() },
        TunnelSpec { iam, ..own.clone() },
        by(Route { address, ..Route::default() }),
        by(Route { by_zone, ..Route::default() }),
        by(Route { zone, ..Route::default() }),
        by(Route { max_connections, ..Route::default() }),
        by(Route { cross_account, ..Route::default() }),
    ];
    others.extend(named_sources().into_iter().map(|iam| TunnelSpec { iam: Some(iam), ..own.clone() }));
    others
}

/// Sources of credentials that have a name: one of each kind, and for each part of it one that differs in it from the first.
fn named_sources() -> Vec<IamSource> {
    let web = |role: &str, token_file: &str| IamSource::WebIdentity {
        role: role.to_owned(),
        token_file: token_file.to_owned(),
    };
    let pod = |namespace: &str, service_account: &str, by: PodAuthority| {
        IamSource::Pod(PodIdentity { namespace: namespace.to_owned(), service_account: service_account.to_owned(), by })
    };
    let sts = |role: &str, region: &str| PodAuthority::Sts { role: role.to_owned(), region: region.to_owned() };
    let sources = vec![
        IamSource::Profile("one".to_owned()),
        IamSource::Profile("other".to_owned()),
        web("role/one", "/token"),
        web("role/other", "/token"),
        web("role/one", "/other-token"),
        pod("team-a", "app", sts("role/one", "us-east-1")),
        pod("team-b", "app", sts("role/one", "us-east-1")),
        pod("team-a", "batch", sts("role/one", "us-east-1")),
        pod("team-a", "app", sts("role/other", "us-east-1")),
        pod("team-a", "app", sts("role/one", "eu-west-1")),
        pod("team-a", "app", PodAuthority::Agent),
    ];
    for source in &sources {
        // Another kind, or another part of one, is an error of the compiler here: it belongs into the list above.
        match source {
            IamSource::Default | IamSource::Profile(_) => {}
            IamSource::WebIdentity { role: _, token_file: _ } => {}
            IamSource::Pod(PodIdentity { namespace: _, service_account: _, by }) => match by {
                PodAuthority::Sts { role: _, region: _ } | PodAuthority::Agent => {}
            },
        }
    }
    sources
}

#[tokio::test]
async fn equal_specifications_share_a_tunnel_and_others_do_not() {
    let authority = Authority::new();
    let server = Server::start(authority.server(SERVER_NAME, 0, false), nfs_or_echo).await;
    let tunnels = tunnels(&authority, server.address, DialLimits::default(), CancellationToken::new());
    let first = tunnels.open(&spec("fsap-0123456789abcdef0"), &HashSet::new()).expect("open");
    let same = tunnels.open(&spec("fsap-0123456789abcdef0"), &HashSet::new()).expect("open");
    assert_eq!(first.port(), same.port());
    assert_eq!(tunnels.list().len(), 1);
    let port = first.port();
    // Whatever differs of whose data it is and how to get there: another tunnel, with its own connections and certificate.
    let theirs = tunnels.open(&spec("fsap-0123456789abcdef1"), &HashSet::new()).expect("open");
    let others = that_differ_in_one_thing(&spec("fsap-0123456789abcdef0"));
    let count = others.len();
    let others: Vec<TunnelLease> =
        others.iter().map(|other| tunnels.open(other, &HashSet::new()).expect("open")).collect();
    let ports: HashSet<u16> = others.iter().map(|other| other.port()).chain([port, theirs.port()]).collect();
    assert_eq!(ports.len(), count + 2, "each has a port of its own: {ports:?}");
    assert_eq!(ask(&mut connect(&first).await, b"mine").await, b"mine");
    assert_eq!(ask(&mut connect(&theirs).await, b"theirs").await, b"theirs");
    let presented = server.certificates.lock().expect("lock").clone();
    let named: Vec<String> = presented.iter().map(|it| String::from_utf8_lossy(it).into_owned()).collect();
    let [my_own, foreign] = named.as_slice() else { panic!("two tunnels have made {} connections", named.len()) };
    let (one, other) = ("fsap-0123456789abcdef0", "fsap-0123456789abcdef1");
    assert!(my_own.contains(one) && !my_own.contains(other) && foreign.contains(other) && !foreign.contains(one));
    drop((others, theirs));
    drop(first);
    assert_eq!(ask(&mut connect(&same).await, b"still there").await, b"still there");
    drop(same);
    // The port is free again as soon as the listener's task has noticed.
    let bound = tokio::time::timeout(Duration::from_secs(10), async {
        loop {
            if let Ok(listener) = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await {
                return listener;
            }
            tokio::task::yield_now().await;
        }
    });
    bound.await.expect("the port of a dropped tunnel must be closed");
    assert!(tunnels.list().is_empty());
}

#[tokio::test]
async fn a_lost_server_is_reached_again_by_the_next_connection_while_the_client_waits() {
    let authority = Authority::new();
    let server = Server::start(authority.server(SERVER_NAME, 0, false), nfs_or_echo).await;
    let address = server.address;
    let tunnels = tunnels(&authority, address, DialLimits::default(), CancellationToken::new());
    let lease = tunnels.open(&spec("fsap-0123456789abcdef0"), &HashSet::new()).expect("open");
    let mut stream = connect(&lease).await;
    assert_eq!(ask(&mut stream, b"one").await, b"one");
    assert_eq!(lease.counters().reconnected.load(Ordering::Relaxed), 0);

    drop(server);
    let mut rest = Vec::new();
    let _ended = stream.read_to_end(&mut rest).await;
    let mut waiting = connect(&lease).await;
    waiting.write_all(b"two").await.expect("write");
    // Wait for the first failed attempt, so that the reconnection really is one.
    while lease.trouble().is_none() {
        tokio::task::yield_now().await;
    }
    let _server = tokio::time::timeout(Duration::from_secs(10), async {
        Server::start_at(address, authority.server(SERVER_NAME, 0, false), nfs_or_echo).await
    })
    .await
    .expect("restart");
    let mut answer = [0; 3];
    waiting.read_exact(&mut answer).await.expect("read");
    assert_eq!(&answer, b"two");
    assert!(lease.trouble().is_none());
    let (counters, handshakes) = (lease.counters(), lease.handshakes());
    assert_eq!(counters.connected.load(Ordering::Relaxed), 2);
    assert_eq!(counters.reconnected.load(Ordering::Relaxed), 1, "the second took the place of the first");
    assert_eq!((handshakes.succeeded(), handshakes.failed()), (2, 0), "a refused TCP connection is no handshake");
    assert!(lease.certificate_expires_in().is_some_and(|left| left > Duration::from_secs(3600)));
}

/// An address first, which is doubted later on, and then another one.
struct Moved {
    before: SocketAddr,
    now: SocketAddr,
    doubted: AtomicUsize,
}

#[async_trait::async_trait]
impl Locate for Moved {
    async fn locate(&self, _: &TunnelSpec) -> Result<Vec<SocketAddr>, LocateError> {
        Ok(vec![if self.doubted.load(Ordering::SeqCst) == 0 { self.before } else { self.now }])
    }

    fn forget(&self, _: &TunnelSpec) {
        self.doubted.fetch_add(1, Ordering::SeqCst);
    }
}

/// As after the loss of a zone: nothing says that the address is gone, there is just no answer.
#[tokio::test]
async fn an_address_that_does_not_answer_is_doubted_long_before_it_is_given_up() {
    let authority = Authority::new();
    let server = Server::start(authority.server(SERVER_NAME, 0, false), nfs_or_echo).await;
    // Its queue is full, so the system drops what else comes.
    let silent = socket(AddressFamily::INET, SocketType::STREAM, None).expect("a socket");
    rustix::net::bind(&silent, &SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).expect("a port");
    rustix::net::listen(&silent, 0).expect("listen");
    let silent = std::net::TcpListener::from(silent);
    let before = silent.local_addr().expect("an address");
    let _waiting: Vec<_> =
        (0..2).map(|_| std::net::TcpStream::connect_timeout(&before, Duration::from_millis(100))).collect();
    let moved = Moved { before, now: server.address, doubted: AtomicUsize::new(0) };
    let limits = DialLimits { connect: Duration::from_secs(600), ..DialLimits::default() };
    let tunnels = support::tunnels_found_by(&authority, Arc::new(moved), limits);
    let lease = tunnels.open(&spec("fsap-0123456789abcdef0"), &HashSet::new()).expect("open");
    lease.check().await.expect("the other address");
    assert_eq!(lease.mount_target(), Some(server.address));
}

#[tokio::test]
async fn a_socket_of_another_user_is_turned_away() {
    let authority = Authority::new();
    let server = Server::start(authority.server(SERVER_NAME, 0, false), nfs_or_echo).await;
    let stranger = rustix::process::geteuid().as_raw() + 1;
    let tunnels = support::tunnels_for(
        &authority,
        server.address,
        DialLimits::default(),
        Admission::OnlyUid(stranger),
        CancellationToken::new(),
    );
    let lease = tunnels.open(&spec("fsap-0123456789abcdef0"), &HashSet::new()).expect("open");
    let mut stream = connect(&lease).await;
    let _sent = stream.write_all(b"let me in").await;
    let mut answer = Vec::new();
    let _reset = stream.read_to_end(&mut answer).await;
    assert!(answer.is_empty());
    assert!(server.certificates.lock().expect("lock").is_empty(), "nothing may reach the server");
}

async fn check(address: SocketAddr, authority: &Authority) -> DialError {
    let tunnels = tunnels(authority, address, quick(), CancellationToken::new());
    let lease = tunnels.open(&spec("fsap-0123456789abcdef0"), &HashSet::new()).expect("open");
    lease.check().await.expect_err("must fail")
}

#[tokio::test]
async fn wrong_servers_are_refused_with_the_reason() {
    let authority = Authority::new();
    let other = Authority::new();
    for (config, reason) in [
        (authority.server("fs-87654321.efs.us-east-1.amazonaws.com", 0, false), "not valid for name"),
        (authority.server(SERVER_NAME, -3, false), "expired"),
        (authority.server(SERVER_NAME, 3, false), "not valid yet"),
        (other.server(SERVER_NAME, 0, false), "UnknownIssuer"),
    ] {
        let server = Server::start(config, nfs_or_echo).await;
        let error = check(server.address, &authority).await;
        assert!(matches!(error, DialError::NotTheServer { .. }), "{error}");
        assert!(error.to_string().contains(reason), "{reason}: {error}");
        assert!(error.to_string().contains(SERVER_NAME), "{error}");
    }
}

#[tokio::test]
async fn a_server_that_refuses_the_client_certificate_is_told_apart() {
    let authority = Authority::new();
    let server = Server::start(authority.server(SERVER_NAME, 0, true), nfs_or_echo).await;
    let error = check(server.address, &authority).await;
    assert!(matches!(error, DialError::Refused { .. }), "{error}");
    assert!(error.to_string().contains("fsap-0123456789abcdef0"), "{error}");
}

#[tokio::test]
async fn servers_that_do_not_speak_our_language_fail_in_time() {
    let authority = Authority::new();
    // Nobody listens.
    let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("bind").local_addr().expect("address");
    assert!(matches!(check(free, &authority).await, DialError::Connect { .. }));
    // Listens and says nothing.
    let silent = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("bind");
    let error = check(silent.local_addr().expect("address"), &authority).await;
    assert!(matches!(error, DialError::Handshake { .. }), "{error}");
    // Talks, but not TLS.
    let plain = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("bind");
    let address = plain.local_addr().expect("address");
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = plain.accept().await {
            let _sent = stream.write_all(b"220 mail.example.com ESMTP\r\n").await;
        }
    });
    let error = check(address, &authority).await;
    assert!(matches!(error, DialError::Handshake { .. }), "{error}");
    // TLS, but not NFS.
    let mute = Server::start(authority.server(SERVER_NAME, 0, false), |mut stream| async move {
        let mut rest = Vec::new();
        let _ended = stream.read_to_end(&mut rest).await;
    })
    .await;
    let error = check(mute.address, &authority).await;
    assert!(matches!(error, DialError::NotNfs { .. }), "{error}");
    let echo = Server::start(authority.server(SERVER_NAME, 0, false), |mut stream| async move {
        let _sent = stream.write_all(&[0x41; 28]).await;
        let mut rest = Vec::new();
        let _ended = stream.read_to_end(&mut rest).await;
    })
    .await;
    let error = check(echo.address, &authority).await;
    assert!(matches!(error, DialError::NotNfs { .. }), "{error}");
}

#[tokio::test]
async fn tls_1_2_only_servers_work() {
    let authority = Authority::new();
    let versions = [&tokio_rustls::rustls::version::TLS12];
    let config = authority.server_with(&versions, SERVER_NAME, 0, false);
    let server = Server::start(config, nfs_or_echo).await;
    let tunnels = tunnels(&authority, server.address, DialLimits::default(), CancellationToken::new());
    let lease = tunnels.open(&spec("fsap-0123456789abcdef0"), &HashSet::new()).expect("open");
    lease.check().await.expect("check");
    assert_eq!(server.certificates.lock().expect("lock").len(), 1);
}

/// The serial numbers of the certificates that a server was shown.
fn serials(server: &Server) -> Vec<u64> {
    let certificates = server.certificates.lock().expect("lock").clone();
    let serial = |der: &rustls_pki_types::CertificateDer<'_>| {
        let (_, parsed) = x509_parser::parse_x509_certificate(der).expect("a certificate");
        parsed.serial.clone().try_into().expect("a small number")
    };
    certificates.iter().map(serial).collect()
}

#[tokio::test]
async fn a_certificate_serves_for_its_time_and_no_longer() {
    let authority = Authority::new();
    for (renew_after, want) in [(Duration::from_secs(3600), [0, 0, 0]), (Duration::ZERO, [0, 1, 2])] {
        let server = Server::start(authority.server(SERVER_NAME, 0, false), nfs_or_echo).await;
        let limits = DialLimits { renew_after, ..DialLimits::default() };
        let tunnels = tunnels(&authority, server.address, limits, CancellationToken::new());
        let lease = tunnels.open(&spec("fsap-0123456789abcdef0"), &HashSet::new()).expect("open");
        for _ in want {
            assert_eq!(ask(&mut connect(&lease).await, b"hello").await, b"hello");
        }
        assert_eq!(serials(&server), want, "renewed after {renew_after:?}");
    }
}

/// Credentials that may be taken away.
struct Switched(AtomicUsize);

#[async_trait::async_trait]
impl efs_tunnel::ProvideCredentials for Switched {
    async fn credentials(
        &self,
        _: &efs_tunnel::IamSource,
        _: &str,
    ) -> Result<Credentials, efs_tunnel::CredentialsError> {
        match self.0.load(Ordering::Relaxed) {
            0 => Ok(Credentials::new("AKIAEXAMPLE", "secret", None, None, "test")),
            _ => Err(efs_tunnel::CredentialsError::Told("STS is away".to_owned())),
        }
    }
}

#[tokio::test]
async fn a_certificate_that_cannot_be_renewed_is_told_until_it_can() {
    let authority = Authority::new();
    let server = Server::start(authority.server(SERVER_NAME, 0, false), nfs_or_echo).await;
    // A new certificate is due at once.
    let limits = DialLimits { renew_after: Duration::ZERO, ..DialLimits::default() };
    let credentials = Arc::new(Switched(AtomicUsize::new(0)));
    let ours = Admission::OnlyUid(rustix::process::geteuid().as_raw());
    let shared = Arc::clone(&credentials);
    let tunnels = tunnels_with(&authority, server.address, limits, ours, shared, CancellationToken::new());
    let iam = Some(efs_tunnel::IamSource::Default);
    let spec = efs_tunnel::TunnelSpec { iam, ..spec("fsap-0123456789abcdef0") };
    let lease = tunnels.open(&spec, &HashSet::new()).expect("open");
    lease.check().await.expect("check");
    lease.renew_ahead().await.expect("renewed");
    assert_eq!(lease.not_renewed(), None);
    credentials.0.store(1, Ordering::Relaxed);
    lease.renew_ahead().await.expect_err("no credentials");
    let (error, _) = lease.not_renewed().expect("it is told");
    assert!(error.contains("STS is away"), "{error}");
    assert!(lease.trouble().is_none(), "connections that exist go on");
    credentials.0.store(0, Ordering::Relaxed);
    lease.renew_ahead().await.expect("renewed");
    assert_eq!(lease.not_renewed(), None);
}

/// A certificate that was made while the clock was ahead is not good yet when it has been set right, and the server refuses it.
#[tokio::test]
async fn after_a_failure_the_certificate_is_made_anew() {
    let authority = Authority::new();
    let connections = Arc::new(AtomicUsize::new(0));
    let server = Server::start(authority.server(SERVER_NAME, 0, false), move |stream| {
        let is_refused = connections.fetch_add(1, Ordering::Relaxed) == 1;
        async move {
            if !is_refused {
                nfs_or_echo(stream).await;
            }
        }
    })
    .await;
    let tunnels = tunnels(&authority, server.address, quick(), CancellationToken::new());
    let lease = tunnels.open(&spec("fsap-0123456789abcdef0"), &HashSet::new()).expect("open");
    lease.check().await.expect("check");
    lease.check().await.expect_err("refused");
    lease.check().await.expect("check");
    assert_eq!(serials(&server), [0, 0, 1]);
}

/// A resumed session keeps the identity that its first connection has shown, whatever certificate the tunnel has by now.
#[tokio::test]
async fn no_connection_resumes_the_session_of_an_earlier_one() {
    use tokio_rustls::rustls::HandshakeKind;
    use tokio_rustls::rustls::version::{TLS12, TLS13};
    let authority = Authority::new();
    for version in [&TLS12, &TLS13] {
        let kinds = Arc::new(std::sync::Mutex::new(Vec::new()));
        let seen = Arc::clone(&kinds);
        let config = authority.server_with(&[version], SERVER_NAME, 0, false);
        let server = Server::start(config, move |stream| {
            seen.lock().expect("lock").push(stream.get_ref().1.handshake_kind());
            nfs_or_echo(stream)
        })
        .await;
        let tunnels = tunnels(&authority, server.address, DialLimits::default(), CancellationToken::new());
        let lease = tunnels.open(&spec("fsap-0123456789abcdef0"), &HashSet::new()).expect("open");
        for _ in 0..3 {
            assert_eq!(ask(&mut connect(&lease).await, b"hello").await, b"hello");
        }
        assert_eq!(*kinds.lock().expect("lock"), [Some(HandshakeKind::Full); 3], "{version:?}");
    }
}

/// A mount would see another volume's files.
#[tokio::test]
async fn a_port_is_opened_again_for_its_own_volume_only() {
    let authority = Authority::new();
    let server = Server::start(authority.server(SERVER_NAME, 0, false), nfs_or_echo).await;
    let tunnels = tunnels(&authority, server.address, DialLimits::default(), CancellationToken::new());
    let (own, other) = (spec("fsap-0123456789abcdef0"), spec("fsap-0123456789abcdef1"));
    let lease = tunnels.open(&own, &HashSet::new()).expect("open");
    assert_eq!(tunnels.reopen(&own, lease.port(), None).expect("its own").port(), lease.port());
    let refused = tunnels.reopen(&other, lease.port(), None).map(drop).expect_err("another volume's");
    assert!(matches!(refused, OpenError::OtherTunnel { .. }), "{refused}");
}

/// Credentials that end after so many seconds; how often they were asked for.
struct Ending(u64, AtomicUsize);

#[async_trait::async_trait]
impl ProvideCredentials for Ending {
    async fn credentials(&self, _: &IamSource, _: &str) -> Result<Credentials, efs_tunnel::CredentialsError> {
        self.1.fetch_add(1, Ordering::Relaxed);
        let ends = std::time::SystemTime::now() + Duration::from_secs(self.0);
        Ok(Credentials::new("AKIAEXAMPLE", "secret", Some("token".to_owned()), Some(ends), "test"))
    }
}

/// A certificate is no longer good than the credentials that signed it: a session of 15 minutes, say.
#[tokio::test]
async fn new_connections_are_signed_with_credentials_that_have_not_ended() {
    let authority = Authority::new();
    let server = Server::start(authority.server(SERVER_NAME, 0, false), nfs_or_echo).await;
    for (seconds, asked) in [(0, 3), (30, 3), (15 * 60, 1)] {
        let credentials = Arc::new(Ending(seconds, AtomicUsize::new(0)));
        let admission = Admission::OnlyUid(rustix::process::geteuid().as_raw());
        let provider = Arc::<Ending>::clone(&credentials);
        let tunnels = tunnels_with(
            &authority,
            server.address,
            DialLimits::default(),
            admission,
            provider,
            CancellationToken::new(),
        );
        let signed = TunnelSpec { iam: Some(IamSource::Default), ..spec("fsap-0123456789abcdef0") };
        let lease = tunnels.open(&signed, &HashSet::new()).expect("open");
        for _ in 0..3 {
            assert_eq!(ask(&mut connect(&lease).await, b"hello").await, b"hello");
        }
        assert_eq!(credentials.1.load(Ordering::Relaxed), asked, "credentials that end after {seconds} s");
        assert!(lease.certificate_expires_in().expect("a certificate") <= Duration::from_secs(seconds));
    }
}
