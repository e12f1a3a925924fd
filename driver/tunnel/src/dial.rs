//! Connecting to a mount target: address, TCP, TLS, client certificate, and a first NFS call to see that all of it holds.

use std::error::Error;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use async_trait::async_trait;
use aws_credential_types::Credentials;
use efs_common::causes::causes;
use efs_common::open_files::OutOfFiles;
use rustix::net::sockopt;
use rustls_pki_types::ServerName;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::time::{self, timeout, timeout_at};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::client::{ResolvesClientCert, Resumption};
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::sign::CertifiedKey;
use tokio_rustls::rustls::{self, ClientConfig, RootCertStore, SignatureScheme};

use super::ahead::ReadAhead;
use super::bind::{BindError, Binding, Bound, Partition, Place, bind};
use super::certificate::{CertificateError, Claims, Issuer, LIFETIME};
use super::identity::{IamSource, TunnelSpec};
use super::key::KeyError;
use super::lock;
use super::race::{self, Lost};

/// A live, encrypted way to a mount target.
pub type Upstream = TlsStream<ReadAhead<TcpStream>>;

/// A connection to a mount target.
#[derive(Debug)]
pub struct Connection {
    /// Its bytes.
    pub stream: Upstream,
    /// What the server says about it, if it knows partitions.
    pub bound: Option<Bound>,
    /// The number that connections which carry the same session have in common.
    pub incarnation: i64,
}

impl Connection {
    /// The partition that it leads to.
    pub fn partition(&self) -> Option<Partition> {
        match self.bound {
            Some(Bound { place: Place::Ready(partition), .. }) => Some(partition),
            _ => None,
        }
    }
}

/// A server that does not know partitions, or doesn't answer when asked, isn't asked again for so long.
const UNBOUND_FOR: Duration = Duration::from_secs(600);

/// Plain text that the TLS library may hold back for a peer that doesn't read, in bytes.
const TLS_BUFFER: usize = 128 * 1024;

/// Finds the addresses of a mount target.
#[async_trait]
pub trait Locate: Send + Sync {
    /// The addresses to try, best first; never empty.
    async fn locate(&self, spec: &TunnelSpec) -> Result<Vec<SocketAddr>, LocateError>;

    /// Tells that nothing could be reached at the addresses, so that the next answer is found afresh.
    fn forget(&self, spec: &TunnelSpec);

    /// Gives the address that an earlier process has reached: until it fails, there is nothing to look up. Who never looks up has
    /// nothing to remember.
    fn remember(&self, _spec: &TunnelSpec, _address: SocketAddr) {}
}

/// No address for a mount target.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{message}")]
pub struct LocateError {
    /// What was tried and how to fix it.
    pub message: String,
    /// True when the file system or its mount target doesn't exist, false when finding out failed.
    pub missing: bool,
}

/// No credentials for a mount.
#[derive(Clone, Debug, thiserror::Error)]
pub enum CredentialsError {
    /// Who gives them says why not.
    #[error("{}", causes(.0.as_ref()))]
    Provider(#[source] Arc<dyn Error + Send + Sync>),
    /// The process that was asked for them says why not.
    #[error("{0}")]
    Told(String),
    /// The same, and it doesn't answer.
    #[error("the driver, which gets them, does not answer")]
    Away,
    /// Nobody has answered in time.
    #[error("the credential source didn't answer in time")]
    Late,
}

impl CredentialsError {
    /// From the error of who gives them.
    pub fn provider(error: impl Error + Send + Sync + 'static) -> Self {
        Self::Provider(Arc::new(error))
    }
}

/// Gives the credentials for mounts with IAM authorization.
#[async_trait]
pub trait ProvideCredentials: Send + Sync {
    /// Credentials from `source`, good for at least the next minutes.
    async fn credentials(&self, source: &IamSource, region: &str) -> Result<Credentials, CredentialsError>;

    /// Whether the reason for having none is that a pod's token is still to come. Who needs no tokens waits for none.
    fn awaits_token(&self, _source: &IamSource) -> bool {
        false
    }
}

/// Addresses that don't answer within this time are doubted. A handshake of TCP in one region takes some milliseconds.
const AFRESH_AFTER: Duration = Duration::from_millis(400);

/// Credentials that end within this time are as good as ended: a connection takes its time, and clocks differ.
const ENDS_SOON: Duration = Duration::from_secs(60);

/// The next certificate is made when this part of the renewal interval has gone by, ahead of need.
const RENEWED_AT: f64 = 0.8;
/// And so long before the last moment at which the credentials are good enough: room for several attempts while AWS doesn't answer.
const RENEWED_BEFORE: Duration = Duration::from_secs(4 * 60);

/// How long, and over how many connections, the partition of the last one is looked for.
const SAME_PARTITION: (Duration, usize) = (Duration::from_secs(2), 24);

/// Time limits of the steps of a connection.
#[derive(Clone, Copy, Debug)]
pub struct DialLimits {
    /// Finding the address.
    pub locate: Duration,
    /// TCP connection, per address.
    pub connect: Duration,
    /// TLS handshake.
    pub handshake: Duration,
    /// Answer to the first NFS call.
    pub first_call: Duration,
    /// Answer to the question for the partition.
    pub bind: Duration,
    /// A new certificate is made for connections that start this long after the last one was made, or when the credentials that signed it end.
    pub renew_after: Duration,
}

impl Default for DialLimits {
    fn default() -> Self {
        Self {
            locate: Duration::from_secs(10),
            connect: Duration::from_secs(4),
            handshake: Duration::from_secs(8),
            first_call: Duration::from_secs(8),
            bind: Duration::from_secs(3),
            renew_after: Duration::from_secs(60 * 60),
        }
    }
}

/// Why a mount target could not be reached. The text names the address and what to do.
#[derive(Debug, thiserror::Error)]
pub enum DialError {
    /// No address.
    #[error("no mount target address for {spec}: {source}")]
    Locate {
        /// The tunnel.
        spec: String,
        /// What was tried.
        source: LocateError,
    },
    /// TCP failed at every address.
    #[error(
        "cannot connect to the mount target of {spec} at {address}: {reason}; check that the mount target exists and \
         that its security group lets this node in on that port"
    )]
    Connect {
        /// The tunnel.
        spec: String,
        /// The last address tried.
        address: SocketAddr,
        /// What the system said, or that time was up.
        reason: String,
    },
    /// No socket can be made.
    #[error("cannot connect to the mount target of {spec}: {reason}")]
    Files {
        /// The tunnel.
        spec: String,
        /// The limit that is reached.
        reason: OutOfFiles,
    },
    /// The server's certificate isn't EFS's.
    #[error("the server at {address} is not {name}: {reason}; check the address, and --tls-ca-file if this is not AWS")]
    NotTheServer {
        /// The address.
        address: SocketAddr,
        /// The name that its certificate should carry.
        name: String,
        /// What the TLS library said.
        reason: String,
    },
    /// The server ended the handshake or the connection with an alert about us.
    #[error(
        "the mount target at {address} refused the client certificate of {spec}: {reason}; check that the access point \
         exists and that the file system's policy lets this identity mount"
    )]
    Refused {
        /// The tunnel.
        spec: String,
        /// The address.
        address: SocketAddr,
        /// What the TLS library said.
        reason: String,
    },
    /// The peer doesn't speak TLS, or stops in the middle.
    #[error(
        "no TLS connection with {address}: {reason}; something that is not an EFS mount target may listen there, or one \
         without TLS (then use encryptInTransit: \"false\")"
    )]
    Handshake {
        /// The address.
        address: SocketAddr,
        /// What happened.
        reason: String,
    },
    /// TLS works but NFS doesn't.
    #[error("{address} accepts TLS connections but doesn't answer NFS calls: {reason}")]
    NotNfs {
        /// The address.
        address: SocketAddr,
        /// What happened.
        reason: String,
    },
    /// No credentials for IAM authorization.
    #[error("no credentials for IAM authorization of {spec}: {source}")]
    Credentials {
        /// The tunnel.
        spec: String,
        /// What the credential source said.
        source: CredentialsError,
    },
    /// The client certificate could not be made.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    /// There is no client key.
    #[error("no client key: {0}")]
    Key(Arc<KeyError>),
    /// The TLS library refuses its configuration.
    #[error("TLS configuration: {0}")]
    Configuration(rustls::Error),
}

/// What all tunnels of a node share.
pub struct DialDeps {
    /// Makes client certificates; ready once the key exists.
    pub issuer: super::IssuerSlot,
    /// Authorities that the server's certificate must chain to.
    pub roots: Arc<RootCertStore>,
    /// Finds mount targets.
    pub locate: Arc<dyn Locate>,
    /// Gives IAM credentials.
    pub credentials: Arc<dyn ProvideCredentials>,
    /// What this client calls itself in certificates, e.g. `k8s`.
    pub source: String,
    /// Time limits.
    pub limits: DialLimits,
    /// How many connections a mount may have.
    pub binding: Binding,
    /// Told when what a tunnel would like to be remembered has changed, see [`Dialer::remembered`].
    pub changed: Arc<Notify>,
}

/// What a dialer would like to know again after a restart.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Remembered {
    /// Where the mount target was reached the last time.
    #[serde(default)]
    pub address: Option<SocketAddr>,
    /// The client certificate. Making one takes an RSA signature, and with IAM credentials, too.
    #[serde(default)]
    pub certificate: Option<RememberedCertificate>,
}

/// A client certificate without its key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RememberedCertificate {
    /// DER, in hexadecimal digits.
    der: String,
    /// When it was made, seconds since 1970.
    made: u64,
    /// When the credentials end that signed it, seconds since 1970.
    #[serde(default)]
    ends: Option<u64>,
}

/// Makes connections for one tunnel.
pub struct Dialer {
    spec: Arc<TunnelSpec>,
    deps: Arc<DialDeps>,
    binding: Binding,
    certificate: Mutex<Option<Presented>>,
    /// A pod's certificate before that one. It serves when there are no credentials for another and it has not ended.
    before: Mutex<Option<Presented>>,
    /// The certificate of the process before, until it is needed: its key may still be on its way from the disk.
    inherited: Mutex<Option<RememberedCertificate>>,
    handshakes: Handshakes,
    reached: Mutex<Option<SocketAddr>>,
    incarnations: AtomicI64,
    /// Until when the server isn't asked for partitions.
    unbound_until: Mutex<Option<Instant>>,
}

/// How TLS handshakes have ended.
#[derive(Debug, Default)]
pub struct Handshakes {
    succeeded: AtomicU64,
    failed: AtomicU64,
}

impl Handshakes {
    /// Handshakes that led to a connection.
    pub fn succeeded(&self) -> u64 {
        self.succeeded.load(Ordering::Relaxed)
    }

    /// Handshakes that failed or took too long.
    pub fn failed(&self) -> u64 {
        self.failed.load(Ordering::Relaxed)
    }
}

/// The client certificate that new connections present.
struct Presented {
    made: Instant,
    /// When the credentials end that signed it, by the wall clock, which goes on while the machine sleeps. EFS refuses it then.
    ends: Option<SystemTime>,
    certificate: Arc<CertifiedKey>,
}

impl Presented {
    fn is_good(&self, renew_after: Duration, now: SystemTime) -> bool {
        self.made.elapsed() < renew_after && self.ends.is_none_or(|ends| now + ENDS_SOON < ends)
    }

    /// Whether it is time for the next one, though it is good.
    fn is_due(&self, renew_after: Duration, now: SystemTime) -> bool {
        self.made.elapsed() >= renew_after.mul_f64(RENEWED_AT)
            || self.ends.is_some_and(|ends| now + ENDS_SOON + RENEWED_BEFORE >= ends)
    }

    /// Whether so much of its credentials' life has gone by as is left. A pod's are renewed then: whoever gives the next ones may be
    /// away for the other half.
    fn is_past_half(&self, now: SystemTime) -> bool {
        self.ends.is_some_and(|ends| ends.duration_since(now).unwrap_or_default() <= self.made.elapsed())
    }

    /// Whether the server may still take it, when there is no other.
    fn may_serve(&self, now: SystemTime) -> bool {
        self.made.elapsed() + ENDS_SOON < LIFETIME && self.ends.is_none_or(|ends| now < ends)
    }
}

impl Dialer {
    /// A dialer for `spec`.
    pub fn new(spec: Arc<TunnelSpec>, deps: Arc<DialDeps>) -> Self {
        let binding = deps.binding.with(spec.route.max_connections);
        Self {
            spec,
            deps,
            binding,
            certificate: Mutex::new(None),
            before: Mutex::new(None),
            inherited: Mutex::new(None),
            handshakes: Handshakes::default(),
            reached: Mutex::new(None),
            incarnations: AtomicI64::new(0),
            unbound_until: Mutex::new(None),
        }
    }

    /// How handshakes have ended so far.
    pub fn handshakes(&self) -> &Handshakes {
        &self.handshakes
    }

    /// The address of the last connection.
    pub fn reached(&self) -> Option<SocketAddr> {
        *lock(&self.reached)
    }

    /// For how long the current client certificate is still good; `None` while there is none.
    pub fn certificate_expires_in(&self) -> Option<Duration> {
        let slot = lock(&self.certificate);
        slot.as_ref().map(|presented| {
            let left = LIFETIME.saturating_sub(presented.made.elapsed());
            let signed = presented.ends.map(|ends| ends.duration_since(SystemTime::now()).unwrap_or_default());
            signed.map_or(left, |signed| left.min(signed))
        })
    }

    /// Connects, with every step under its own deadline. After a failure, address and certificate are found afresh.
    pub async fn dial(&self) -> Result<Connection, DialError> {
        // AWS's proxy begins with 1, too: 0 is that of a process that has carried nothing.
        let incarnation = self.incarnations.fetch_add(1, Ordering::Relaxed).wrapping_add(1).max(0);
        let result = self.dial_another(incarnation).await;
        if result.is_err() {
            self.reset();
        }
        result
    }

    /// Connects once more for the sessions of a connection that there is. A failure changes nothing for it.
    pub async fn dial_another(&self, incarnation: i64) -> Result<Connection, DialError> {
        let mut stream = self.try_dial().await?;
        if !self.asks_for_partition() {
            return Ok(Connection { stream, bound: None, incarnation });
        }
        let error = match bind(&mut stream, self.binding.client(), incarnation, self.deps.limits.bind).await {
            Ok(bound) => return Ok(Connection { stream, bound: Some(bound), incarnation }),
            Err(error) => error,
        };
        tracing::debug!(spec = %self.spec, %error, "goes on without a partition");
        match error {
            // What the server has said is a whole answer, so the connection is as good as before.
            BindError::Unknown => self.unbind(),
            // A policy that lets nobody in shows itself at the first answer, too: the next connection tells.
            BindError::Connection(_) => stream = self.try_dial().await?,
            BindError::Malformed(_) | BindError::Silent(_) => {
                self.unbind();
                stream = self.try_dial().await?;
            }
        }
        Ok(Connection { stream, bound: None, incarnation })
    }

    fn asks_for_partition(&self) -> bool {
        let until = *lock(&self.unbound_until);
        self.binding.is_on() && until.is_none_or(|until| until <= Instant::now())
    }

    fn unbind(&self) {
        *lock(&self.unbound_until) = Some(Instant::now() + UNBOUND_FOR);
    }

    /// A connection to `wanted` in the place of one that leads elsewhere, unless that takes too long.
    ///
    /// A session can be used at the partition only where it was made. Elsewhere the kernel makes a new one, which takes longer than
    /// some more connections, and with several of its own (nconnect) it never comes to an end.
    pub(super) async fn lead_to(&self, wanted: Option<Partition>, mut connection: Connection) -> Connection {
        if let Some(wanted) = wanted.filter(|wanted| connection.partition().is_some_and(|is| is != *wanted)) {
            let deadline = time::Instant::now() + SAME_PARTITION.0;
            for _ in 0..SAME_PARTITION.1 {
                let again = timeout_at(deadline, self.dial_another(connection.incarnation)).await;
                let Ok(Ok(another)) = again else { break };
                connection = another;
                if connection.partition() == Some(wanted) {
                    break;
                }
            }
        }
        connection
    }

    /// How many connections a mount may have.
    pub(crate) fn binding(&self) -> &Binding {
        &self.binding
    }

    /// Connects and makes an NFS NULL call, which also brings to light a server that refuses us after the handshake.
    pub async fn dial_checked(&self) -> Result<Connection, DialError> {
        let mut connection = self.dial().await?;
        let result = self.null_call(&mut connection.stream).await;
        if result.is_err() {
            self.reset();
        }
        result.map(|()| connection)
    }

    fn reset(&self) {
        self.deps.locate.forget(&self.spec);
        let last = lock(&self.certificate).take();
        if self.is_pods() && last.is_some() {
            *lock(&self.before) = last;
        }
    }

    /// Whether a pod's own credentials sign.
    fn is_pods(&self) -> bool {
        matches!(self.spec.iam, Some(IamSource::Pod(_)))
    }

    async fn try_dial(&self) -> Result<Upstream, DialError> {
        let addresses = self.locate().await?;
        let certificate = self.certificate().await?;
        let tcp = self.connect(&addresses).await?;
        let result = self.handshake(tcp, certificate).await;
        let counter = match &result {
            Ok(stream) => {
                let address = stream.get_ref().0.get_ref().peer_addr().ok();
                let before = std::mem::replace(&mut *lock(&self.reached), address);
                if before != address {
                    self.deps.changed.notify_one();
                }
                &self.handshakes.succeeded
            }
            Err(_) => &self.handshakes.failed,
        };
        counter.fetch_add(1, Ordering::Relaxed);
        result
    }

    async fn locate(&self) -> Result<Vec<SocketAddr>, DialError> {
        let limit = self.deps.limits.locate;
        let no_address = |source| DialError::Locate { spec: self.spec.to_string(), source };
        let late =
            || LocateError { message: format!("the search took longer than {} s", limit.as_secs()), missing: false };
        let located = timeout(limit, self.deps.locate.locate(&self.spec)).await;
        located.unwrap_or_else(|_| Err(late())).map_err(no_address)
    }

    /// Connects to one of `addresses`. When none of them answers soon, their zone may be dead, or the file system may have moved: the way is
    /// looked for afresh, beside the attempts that go on.
    async fn connect(&self, addresses: &[SocketAddr]) -> Result<TcpStream, DialError> {
        let mut known = pin!(self.connect_to(addresses));
        if let Ok(ended) = timeout(AFRESH_AFTER, known.as_mut()).await {
            return ended;
        }
        self.deps.locate.forget(&self.spec);
        let afresh = async {
            let mut found = self.locate().await?;
            found.retain(|address| !addresses.contains(address));
            self.connect_to(&found).await
        };
        let mut afresh = pin!(afresh);
        tokio::select! {
            ended = known.as_mut() => match ended {
                Ok(stream) => Ok(stream),
                Err(error) => afresh.await.map_err(|_| error),
            },
            ended = afresh.as_mut() => match ended {
                Ok(stream) => Ok(stream),
                Err(_) => known.await,
            },
        }
    }

    async fn connect_to(&self, addresses: &[SocketAddr]) -> Result<TcpStream, DialError> {
        let spec = self.spec.to_string();
        let (address, stream) = reach(&spec, addresses, self.deps.limits.connect).await?;
        tune(&stream).map_err(|error| unreached(&spec, Lost { address, error }))?;
        Ok(stream)
    }

    async fn handshake(&self, tcp: TcpStream, certificate: Arc<CertifiedKey>) -> Result<Upstream, DialError> {
        let limit = self.deps.limits.handshake;
        let address = tcp
            .peer_addr()
            .map_err(|error| DialError::Handshake { address: ([0, 0, 0, 0], 0).into(), reason: error.to_string() })?;
        let name = ServerName::try_from(self.spec.server_name.clone()).map_err(|error| DialError::NotTheServer {
            address,
            name: self.spec.server_name.clone(),
            reason: error.to_string(),
        })?;
        let mut config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
            .map_err(DialError::Configuration)?
            .with_root_certificates(Arc::clone(&self.deps.roots))
            .with_client_cert_resolver(Arc::new(OneCertificate(certificate)));
        // A resumed session would not show the server the new certificate.
        config.resumption = Resumption::disabled();
        let connector = TlsConnector::from(Arc::new(config));
        let tcp = ReadAhead::new(tcp);
        let connecting = connector.connect_with(name, tcp, |session| session.set_buffer_limit(Some(TLS_BUFFER)));
        match timeout(limit, connecting).await {
            Ok(Ok(stream)) => Ok(stream),
            Ok(Err(error)) => Err(self.explain(address, &error)),
            Err(_) => {
                let reason = format!("no answer within {} s", limit.as_secs());
                Err(DialError::Handshake { address, reason })
            }
        }
    }

    /// The error for what the TLS library said, before or after the handshake.
    fn explain(&self, address: SocketAddr, error: &io::Error) -> DialError {
        let reason = error.to_string();
        match error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
            Some(rustls::Error::InvalidCertificate(_) | rustls::Error::NoCertificatesPresented) => {
                DialError::NotTheServer { address, name: self.spec.server_name.clone(), reason }
            }
            Some(rustls::Error::AlertReceived(_)) => {
                DialError::Refused { spec: self.spec.to_string(), address, reason }
            }
            _ => DialError::Handshake { address, reason },
        }
    }

    /// What is worth knowing again after a restart.
    pub fn remembered(&self) -> Remembered {
        let since_1970 = |time: SystemTime| time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let made = lock(&self.certificate).as_ref().and_then(|presented| {
            Some(RememberedCertificate {
                der: hex::encode(presented.certificate.cert.first()?),
                made: since_1970(SystemTime::now() - presented.made.elapsed()),
                ends: presented.ends.map(since_1970),
            })
        });
        Remembered { address: self.reached(), certificate: made.or_else(|| lock(&self.inherited).clone()) }
    }

    /// Goes on with what an earlier process remembered. Its address is for [`Locate::remember`].
    pub fn inherit(&self, remembered: Remembered) {
        *lock(&self.inherited) = remembered.certificate;
    }

    /// The certificate of the process before, if it is of our key and still good.
    fn take_inherited(&self, issuer: &Issuer) -> Option<Presented> {
        let RememberedCertificate { der, made, ends } = lock(&self.inherited).take()?;
        let certificate = issuer.again(hex::decode(der).ok()?)?;
        let age = SystemTime::now().duration_since(UNIX_EPOCH + Duration::from_secs(made)).ok()?;
        let ends = ends.map(|ends| UNIX_EPOCH + Duration::from_secs(ends));
        let presented = Presented { made: Instant::now().checked_sub(age)?, ends, certificate: Arc::new(certificate) };
        presented.is_good(self.deps.limits.renew_after, SystemTime::now()).then_some(presented)
    }

    async fn certificate(&self) -> Result<Arc<CertifiedKey>, DialError> {
        if let Some(presented) = &*lock(&self.certificate)
            && presented.is_good(self.deps.limits.renew_after, SystemTime::now())
        {
            return Ok(Arc::clone(&presented.certificate));
        }
        let issuer = self.deps.issuer.get().await.map_err(DialError::Key)?;
        if let Some(presented) = self.take_inherited(&issuer) {
            let certificate = Arc::clone(&presented.certificate);
            *lock(&self.certificate) = Some(presented);
            return Ok(certificate);
        }
        match self.make_certificate(&issuer).await {
            // The token or those who take it are away for the moment: better what may be good than nothing.
            Err(error @ DialError::Credentials { .. }) => self.last_resort().ok_or(error),
            made => made,
        }
    }

    /// A pod's certificate that is too old to be presented by choice.
    fn last_resort(&self) -> Option<Arc<CertifiedKey>> {
        let now = SystemTime::now();
        let of = |slot: &Mutex<Option<Presented>>| {
            lock(slot).as_ref().filter(|it| it.may_serve(now)).map(|it| Arc::clone(&it.certificate))
        };
        self.is_pods().then(|| of(&self.certificate).or_else(|| of(&self.before))).flatten()
    }

    /// Makes a new certificate before the one that there is ends, so that no connection waits for credentials.
    ///
    /// # Errors
    /// When there are no credentials. The one that there is goes on being used.
    pub async fn renew_ahead(&self) -> Result<(), DialError> {
        let is_due = lock(&self.certificate).as_ref().is_some_and(|presented| {
            let now = SystemTime::now();
            presented.is_due(self.deps.limits.renew_after, now) || self.is_pods() && presented.is_past_half(now)
        });
        if !is_due {
            return Ok(());
        }
        let issuer = self.deps.issuer.get().await.map_err(DialError::Key)?;
        self.make_certificate(&issuer).await.map(drop)
    }

    async fn make_certificate(&self, issuer: &Issuer) -> Result<Arc<CertifiedKey>, DialError> {
        let credentials = match &self.spec.iam {
            None => None,
            Some(source) => {
                let result =
                    timeout(self.deps.limits.locate, self.deps.credentials.credentials(source, &self.spec.region))
                        .await
                        .unwrap_or(Err(CredentialsError::Late));
                let failed = |source| DialError::Credentials { spec: self.spec.to_string(), source };
                Some(result.map_err(failed)?)
            }
        };
        let certificate = Arc::new(self.issue(issuer, credentials.as_ref())?);
        let ends = credentials.as_ref().and_then(Credentials::expiry);
        *lock(&self.certificate) =
            Some(Presented { made: Instant::now(), ends, certificate: Arc::clone(&certificate) });
        *lock(&self.before) = None;
        self.deps.changed.notify_one();
        Ok(certificate)
    }

    fn issue(&self, issuer: &Issuer, credentials: Option<&Credentials>) -> Result<CertifiedKey, CertificateError> {
        let claims = Claims {
            host_name: &self.spec.server_name,
            service: self.spec.service,
            file_system: &self.spec.file_system,
            access_point: self.spec.access_point.as_deref(),
            region: &self.spec.region,
            source: &self.deps.source,
            credentials,
        };
        issuer.issue(&claims, SystemTime::now())
    }

    /// One NFSv4 NULL call and its answer.
    async fn null_call(&self, stream: &mut Upstream) -> Result<(), DialError> {
        let address = stream.get_ref().0.get_ref().peer_addr().unwrap_or_else(|_| ([0, 0, 0, 0], 0).into());
        null_exchange(stream, self.deps.limits.first_call).await.map_err(|error| match self.explain(address, &error) {
            DialError::Handshake { reason, .. } => DialError::NotNfs { address, reason },
            explained => explained,
        })
    }
}

/// Whether an NFS server without TLS answers at one of `addresses`: the first that does.
pub async fn check_plain(what: &str, addresses: &[SocketAddr], limits: DialLimits) -> Result<SocketAddr, DialError> {
    let (address, mut stream) = reach(what, addresses, limits.connect).await?;
    let not_nfs = |error: io::Error| DialError::NotNfs { address, reason: error.to_string() };
    null_exchange(&mut stream, limits.first_call).await.map_err(not_nfs)?;
    Ok(address)
}

/// A connection to one of `addresses` for `what`, and to which.
async fn reach(what: &str, addresses: &[SocketAddr], limit: Duration) -> Result<(SocketAddr, TcpStream), DialError> {
    let raced = race::connect(addresses, limit).await.ok_or_else(|| no_addresses(what))?;
    raced.map_err(|lost| unreached(what, lost))
}

fn unreached(what: &str, Lost { address, error }: Lost) -> DialError {
    let spec = what.to_owned();
    match OutOfFiles::of(&error) {
        Some(reason) => DialError::Files { spec, reason },
        None => DialError::Connect { spec, address, reason: error.to_string() },
    }
}

fn no_addresses(what: &str) -> DialError {
    let source = LocateError { message: "the list of addresses is empty".to_owned(), missing: false };
    DialError::Locate { spec: what.to_owned(), source }
}

/// Sends a NULL call and checks the answer.
async fn null_exchange<S: AsyncRead + AsyncWrite + Unpin>(stream: &mut S, limit: Duration) -> io::Result<()> {
    let exchange = async {
        stream.write_all(&null_request()).await?;
        stream.flush().await?;
        let mut answer = [0; 28];
        stream.read_exact(&mut answer).await?;
        if answer == null_answer() {
            return Ok(());
        }
        Err(io::Error::new(io::ErrorKind::InvalidData, format!("unexpected answer {}", hex::encode(answer))))
    };
    match timeout(limit, exchange).await {
        Ok(Err(error)) if error.kind() == io::ErrorKind::UnexpectedEof => {
            Err(io::Error::new(error.kind(), "the server closed the connection"))
        }
        Ok(result) => result,
        Err(_) => Err(io::Error::new(io::ErrorKind::TimedOut, format!("no answer within {} s", limit.as_secs()))),
    }
}

/// Transaction id of the check; the kernel's client never sees this call or its answer.
const CHECK_XID: u32 = 0x6566_7363;

/// Record mark, xid, CALL, RPC version 2, program 100003 (NFS), version 4, procedure 0, no credential, no verifier.
fn null_request() -> Vec<u8> {
    let words = [0x8000_0000 | 40, CHECK_XID, 0, 2, 100_003, 4, 0, 0, 0, 0, 0];
    words.iter().flat_map(|word: &u32| word.to_be_bytes()).collect()
}

/// Record mark, xid, REPLY, accepted, no verifier, success.
fn null_answer() -> [u8; 28] {
    let words: [u32; 7] = [0x8000_0000 | 24, CHECK_XID, 1, 0, 0, 0, 0];
    let mut bytes = [0; 28];
    for (slot, word) in bytes.chunks_exact_mut(4).zip(words) {
        slot.copy_from_slice(&word.to_be_bytes());
    }
    bytes
}

/// Small packets at once; a dead peer is noticed after half a minute, idle or not.
fn tune(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    sockopt::set_socket_keepalive(stream, true)?;
    sockopt::set_tcp_keepidle(stream, Duration::from_secs(15))?;
    sockopt::set_tcp_keepintvl(stream, Duration::from_secs(5))?;
    sockopt::set_tcp_keepcnt(stream, 3)?;
    sockopt::set_tcp_user_timeout(stream, 30_000)?;
    Ok(())
}

/// Always presents the one certificate, whatever authorities the server says it knows: ours is self-signed.
#[derive(Debug)]
struct OneCertificate(Arc<CertifiedKey>);

impl ResolvesClientCert for OneCertificate {
    fn resolve(&self, _hints: &[&[u8]], _schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0))
    }

    fn has_certs(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{BufStream, duplex};

    use super::*;

    /// The TLS library may keep what is written until it is flushed.
    #[tokio::test(start_paused = true)]
    async fn the_first_call_leaves_a_stream_that_holds_it_back() {
        let (mut far, near) = duplex(1000);
        let server = async {
            let mut call = vec![0; null_request().len()];
            far.read_exact(&mut call).await?;
            far.write_all(&null_answer()).await
        };
        let mut near = BufStream::new(near);
        let (answered, served) = tokio::join!(null_exchange(&mut near, Duration::from_secs(8)), async {
            timeout(Duration::from_secs(9), server).await
        });
        answered.expect("an answer");
        served.expect("a call").expect("served");
    }
}
