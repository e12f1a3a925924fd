//! Client certificates with a pod's credentials: renewed at half the credentials' life, and presented as a last resort.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_credential_types::Credentials;
use efs_tunnel::dial::Dialer;
use efs_tunnel::{
    Admission, Binding, CredentialsError, DialDeps, DialError, DialLimits, IamSource, IssuerSlot, Locate, PodAuthority,
    PodIdentity, ProvideCredentials, TunnelSpec, roots,
};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::support::{At, Authority, SERVER_NAME, Server, spec, tunnels_with};
use crate::{nfs_or_echo, serials};

/// Credentials that live so long, as long as somebody gives them.
struct Lasting {
    life: Duration,
    given: AtomicUsize,
    is_away: AtomicBool,
}

impl Lasting {
    fn new(life: Duration) -> Arc<Self> {
        Arc::new(Self { life, given: AtomicUsize::new(0), is_away: AtomicBool::new(false) })
    }
}

#[async_trait::async_trait]
impl ProvideCredentials for Lasting {
    async fn credentials(&self, _: &IamSource, _: &str) -> Result<Credentials, CredentialsError> {
        if self.is_away.load(Ordering::Relaxed) {
            return Err(CredentialsError::Told("STS is away".to_owned()));
        }
        self.given.fetch_add(1, Ordering::Relaxed);
        Ok(Credentials::new("ASIAEXAMPLE", "secret", None, Some(SystemTime::now() + self.life), "test"))
    }
}

fn pods() -> IamSource {
    let by = PodAuthority::Agent;
    IamSource::Pod(PodIdentity { namespace: "team-a".to_owned(), service_account: "app".to_owned(), by })
}

fn signed_by(iam: IamSource) -> TunnelSpec {
    TunnelSpec { iam: Some(iam), ..spec("fsap-0123456789abcdef0") }
}

fn deps(authority: &Authority, address: SocketAddr, credentials: Arc<Lasting>) -> Arc<DialDeps> {
    let dir = tempfile::tempdir().expect("temp dir");
    Arc::new(DialDeps {
        issuer: IssuerSlot::new(None),
        roots: Arc::new(roots::from_file(&authority.write(dir.path())).expect("roots")),
        locate: Arc::new(At(vec![address])) as Arc<dyn Locate>,
        credentials,
        source: "k8s".to_owned(),
        limits: DialLimits::default(),
        binding: Binding::off(),
        changed: Arc::default(),
    })
}

/// Half of an hour is over: a pod's certificate is renewed, so that whoever gives the next credentials may be away for the other half. The
/// driver's own credentials come from a chain that renews them by itself.
#[tokio::test]
async fn a_pods_certificate_is_renewed_at_half_its_credentials_life_and_not_before() {
    let authority = Authority::new();
    let server = Server::start(authority.server(SERVER_NAME, 0, false), nfs_or_echo).await;
    for (iam, age, left, renewed) in
        [(pods(), 1700, 1900, false), (pods(), 1900, 1700, true), (IamSource::Default, 1900, 1700, false)]
    {
        let credentials = Lasting::new(Duration::from_secs(3600));
        let deps = deps(&authority, server.address, Arc::clone(&credentials));
        let dialer = || Dialer::new(Arc::new(signed_by(iam.clone())), Arc::clone(&deps));
        let before = dialer();
        before.dial().await.expect("dial");
        // As if it had been made a while ago.
        let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("later").as_secs();
        let mut remembered = serde_json::to_value(before.remembered()).expect("JSON");
        remembered["certificate"]["made"] = json!(now - age);
        remembered["certificate"]["ends"] = json!(now + left);
        let dialer = dialer();
        dialer.inherit(serde_json::from_value(remembered).expect("what is remembered"));
        dialer.dial().await.expect("dial");
        assert_eq!(credentials.given.load(Ordering::Relaxed), 1, "the inherited one is good");
        dialer.renew_ahead().await.expect("renewed, or not due");
        let given = credentials.given.load(Ordering::Relaxed);
        assert_eq!(given == 2, renewed, "{iam:?} of {age} s with {left} s left");
    }
}

/// Better a certificate that may be good than none; but only a pod's, and never one whose credentials have ended.
#[tokio::test]
async fn while_sts_is_away_a_pods_last_certificate_is_presented_until_its_credentials_end() {
    let authority = Authority::new();
    // Nearer to their end than is presented by choice.
    let life = Duration::from_secs(4);
    for (iam, serves) in [(pods(), true), (IamSource::Default, false)] {
        let server = Server::start(authority.server(SERVER_NAME, 0, false), nfs_or_echo).await;
        let (credentials, begun) = (Lasting::new(life), SystemTime::now());
        let provider = Arc::<Lasting>::clone(&credentials);
        let ours = Admission::OnlyUid(rustix::process::geteuid().as_raw());
        let limits = DialLimits::default();
        let tunnels = tunnels_with(&authority, server.address, limits, ours, provider, CancellationToken::new());
        let lease = tunnels.open(&signed_by(iam.clone()), &HashSet::new()).expect("open");
        lease.check().await.expect("check");
        credentials.is_away.store(true, Ordering::Relaxed);
        let again = lease.check().await;
        assert!(begun.elapsed().expect("a clock that goes on") < life, "this machine is too slow for the test");
        match again {
            Ok(()) if serves => assert_eq!(serials(&server), [0, 0], "the same certificate"),
            Err(DialError::Credentials { source, .. }) if !serves => assert_eq!(source.to_string(), "STS is away"),
            other => panic!("{iam:?}: {other:?}"),
        }
        tokio::time::sleep(life).await;
        let ended = lease.check().await.expect_err("nothing that a server would take");
        assert!(matches!(ended, DialError::Credentials { .. }), "{ended:?}");
    }
}
