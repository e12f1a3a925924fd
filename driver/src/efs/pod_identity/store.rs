//! The service accounts whose pods have volumes on this node: their latest tokens, and credentials that are renewed at half their life.
//!
//! All pods of one service account share its credentials, so AWS is asked once for each identity and half-life, however many pods there
//! are. Everything is in memory: a driver that starts has no token until the kubelet comes by, and the data plane goes on with what it has.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use aws_credential_types::Credentials;
use efs_tunnel::{CredentialsError, IamSource, PodIdentity, ProvideCredentials};
use rand::Rng as _;
use tokio::sync::{Notify, Semaphore};
use tokio::time::{Instant, sleep};

use super::errors::ExchangeError;
use super::exchange::Exchange;
use super::token::Token;

/// Credentials that end within this time are as good as ended, as the data plane sees it, too.
const ENDS_SOON: Duration = Duration::from_secs(60);
/// Credentials are never renewed sooner than half of this, unless they end before: the agent gives what is left of its own.
const LIFE_MIN: Duration = Duration::from_secs(600);
/// First and longest pause after a failed exchange.
const PAUSES: (Duration, Duration) = (Duration::from_secs(5), Duration::from_secs(300));
/// The longest pause while there are no credentials at all, and mounts may wait for them.
const PAUSE_WITHOUT: Duration = Duration::from_secs(30);
/// The wall clock may jump, which no timer tells.
const LOOK_EVERY: Duration = Duration::from_secs(30);
/// Exchanges at a time: after a restart of the driver the kubelet brings the tokens of all pods within a minute.
const EXCHANGES: usize = 8;

/// Why an identity has no credentials now.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoCredentials {
    /// The kubelet has brought no token yet.
    #[error(
        "no token of {0} since the driver has started; the kubelet brings it within two minutes (requiresRepublish of the CSIDriver)"
    )]
    NoToken(Box<PodIdentity>),
    /// The exchange has failed.
    #[error("no credentials for {identity}: {source}")]
    Refused {
        /// Whose.
        identity: Box<PodIdentity>,
        /// Why.
        source: ExchangeError,
    },
}

impl NoCredentials {
    fn no_token(identity: &PodIdentity) -> Self {
        Self::NoToken(Box::new(identity.clone()))
    }
}

/// All identities.
pub struct PodIdentities {
    exchange: Arc<dyn Exchange>,
    known: Mutex<HashMap<PodIdentity, Arc<Known>>>,
    permits: Arc<Semaphore>,
}

impl std::fmt::Debug for PodIdentities {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PodIdentities").finish_non_exhaustive()
    }
}

/// What is known of one identity.
struct Known {
    identity: PodIdentity,
    exchange: Arc<dyn Exchange>,
    permits: Arc<Semaphore>,
    state: Mutex<KnownState>,
    /// Something has changed that the renewer should look at.
    wake: Arc<Notify>,
    /// Held during an exchange. Who comes meanwhile waits for its result.
    exchanging: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct KnownState {
    /// By the target of the pod's mount: a pod that goes takes its token along.
    tokens: HashMap<PathBuf, Arc<Token>>,
    held: Option<Held>,
    failed: Option<Failed>,
}

struct Held {
    credentials: Credentials,
    /// By both clocks: one stands still while the machine sleeps, the other may jump.
    since: (Instant, SystemTime),
}

struct Failed {
    error: ExchangeError,
    with: Arc<Token>,
    at: Instant,
    pause: Duration,
}

/// How an identity is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdentityReport {
    /// Whose credentials.
    pub identity: PodIdentity,
    /// Mounts that have brought a token since the driver has started.
    pub mounts: usize,
    /// Seconds until the credentials end; `None` without any.
    pub expires_in: Option<u64>,
    /// Why there are no newer ones, if the last exchange has failed.
    pub trouble: Option<String>,
}

impl Held {
    fn ends(&self) -> SystemTime {
        // Both ways give credentials that end.
        self.credentials.expiry().unwrap_or(self.since.1)
    }

    fn is_good(&self, now: SystemTime) -> bool {
        now + ENDS_SOON < self.ends()
    }

    fn half_life(&self) -> Duration {
        self.ends().duration_since(self.since.1).unwrap_or_default().max(LIFE_MIN) / 2
    }

    /// How long they need no renewal.
    fn rests(&self, now: SystemTime) -> Duration {
        let half = self.half_life();
        let by_the_wall = match now.duration_since(self.since.1) {
            Ok(passed) => half.saturating_sub(passed),
            // It was set back, and says nothing.
            Err(_) => half,
        };
        let good_for = self.ends().duration_since(now + ENDS_SOON).unwrap_or_default();
        half.saturating_sub(self.since.0.elapsed()).min(by_the_wall).min(good_for)
    }
}

impl KnownState {
    /// The token that lasts longest.
    fn token(&self) -> Option<Arc<Token>> {
        self.tokens.values().max_by_key(|token| token.expires()).cloned()
    }

    /// Credentials that can be used.
    fn good(&self) -> Option<&Credentials> {
        self.held.as_ref().filter(|held| held.is_good(SystemTime::now())).map(|held| &held.credentials)
    }

    /// Whether AWS has refused the role the last time.
    fn is_denied(&self) -> bool {
        matches!(self.failed, Some(Failed { error: ExchangeError::Denied(_), .. }))
    }

    /// In how long an exchange is due; `None` as long as there is no token.
    fn due_in(&self, now: SystemTime) -> Option<Duration> {
        let token = self.token()?;
        let rests = self.held.as_ref().map_or(Duration::ZERO, |held| held.rests(now));
        Some(match &self.failed {
            // Another token may be better than the one that was not good.
            Some(Failed { error: ExchangeError::Token(_), with, .. }) if *with != token => rests,
            Some(failed) => {
                let is_without = self.held.as_ref().is_none_or(|held| !held.is_good(now));
                let pause = if is_without { failed.pause.min(PAUSE_WITHOUT) } else { failed.pause };
                rests.max(pause.saturating_sub(failed.at.elapsed()))
            }
            None => rests,
        })
    }
}

impl Known {
    fn state(&self) -> MutexGuard<'_, KnownState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn refused(&self, source: ExchangeError) -> NoCredentials {
        NoCredentials::Refused { identity: Box::new(self.identity.clone()), source }
    }

    /// Exchanges the best token, unless `enough` says that somebody else just has.
    async fn exchange_unless(
        &self,
        enough: impl Fn(&KnownState) -> Option<Result<Credentials, NoCredentials>>,
    ) -> Result<Credentials, NoCredentials> {
        let _one = self.exchanging.lock().await;
        let token = {
            let state = self.state();
            if let Some(there) = enough(&state) {
                return there;
            }
            state.token().ok_or_else(|| NoCredentials::no_token(&self.identity))?
        };
        // The semaphore is never closed.
        let _permit = self.permits.acquire().await;
        let given = self.exchange.exchange(&self.identity, &token).await.and_then(|credentials| {
            let held = Held { credentials, since: (Instant::now(), SystemTime::now()) };
            // They would be asked for again at once, for ever.
            if held.is_good(SystemTime::now()) { Ok(held) } else { Err(ExchangeError::ended()) }
        });
        let mut state = self.state();
        match given {
            Ok(held) => {
                if state.failed.take().is_some() {
                    tracing::info!(identity = %self.identity, "has credentials again");
                }
                let credentials = held.credentials.clone();
                state.held = Some(held);
                Ok(credentials)
            }
            Err(error) => {
                let before = state.failed.as_ref();
                let is_new = before.is_none_or(|before| before.error != error);
                let pause = before.map_or(PAUSES.0, |before| (before.pause * 2).min(PAUSES.1));
                // All identities fail together when AWS is away, and must not come back together.
                let pause = pause.mul_f64(rand::rng().random_range(0.8..1.2));
                if is_new {
                    tracing::warn!(identity = %self.identity, %error, "no new credentials for a service account");
                }
                state.failed = Some(Failed { error: error.clone(), with: token, at: Instant::now(), pause });
                Err(self.refused(error))
            }
        }
    }

    /// Credentials at once if there are good ones, else by an exchange, else why not.
    async fn credentials(&self) -> Result<Credentials, NoCredentials> {
        let good = |state: &KnownState| state.good().cloned().map(Ok);
        if let Some(there) = good(&self.state()) {
            return there;
        }
        self.exchange_unless(|state| {
            // Whoever asks again and again is told the last answer.
            let resting = || {
                let failed = state.failed.as_ref()?;
                let due = state.due_in(SystemTime::now())?;
                (!due.is_zero()).then(|| Err(self.refused(failed.error.clone())))
            };
            good(state).or_else(resting)
        })
        .await
    }
}

impl PodIdentities {
    /// None yet.
    pub fn new(exchange: Arc<dyn Exchange>) -> Self {
        Self { exchange, known: Mutex::default(), permits: Arc::new(Semaphore::new(EXCHANGES)) }
    }

    fn known(&self) -> MutexGuard<'_, HashMap<PodIdentity, Arc<Known>>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn find(&self, identity: &PodIdentity) -> Option<Arc<Known>> {
        self.known().get(identity).cloned()
    }

    /// The same, where nothing can be done without.
    fn demand(&self, identity: &PodIdentity) -> Result<Arc<Known>, NoCredentials> {
        self.find(identity).ok_or_else(|| NoCredentials::no_token(identity))
    }

    /// Notes the token of a pod that has a mount at `target`. Waits for nobody.
    pub fn put(&self, identity: &PodIdentity, target: &Path, token: Token) {
        let mut all = self.known();
        let known = all.entry(identity.clone()).or_insert_with(|| {
            let known = Arc::new(Known {
                identity: identity.clone(),
                exchange: Arc::clone(&self.exchange),
                permits: Arc::clone(&self.permits),
                state: Mutex::default(),
                wake: Arc::default(),
                exchanging: tokio::sync::Mutex::default(),
            });
            tokio::spawn(renew(Arc::downgrade(&known)));
            known
        });
        let mut state = known.state();
        // Mostly the kubelet brings the same one again.
        if state.tokens.get(target).is_none_or(|there| **there != token) {
            state.tokens.insert(target.to_owned(), Arc::new(token));
            known.wake.notify_one();
        }
    }

    /// Credentials for the first mount of a pod, which has brought a token just now ([`Self::put`]).
    ///
    /// # Errors
    /// When AWS gives none, or didn't the last time: a role that was taken back lets no new pod in, though its earlier credentials haven't
    /// ended.
    pub async fn admit(&self, identity: &PodIdentity) -> Result<(), NoCredentials> {
        let known = self.demand(identity)?;
        let begun = Instant::now();
        let is_settled = |state: &KnownState| !state.is_denied() && state.good().is_some();
        if is_settled(&known.state()) {
            return Ok(());
        }
        let after = |state: &KnownState| {
            let held = state.held.as_ref().filter(|held| held.since.0 > begun && state.failed.is_none());
            let failed = state.failed.as_ref().filter(|failed| failed.at > begun);
            let failed = || failed.map(|failed| Err(known.refused(failed.error.clone())));
            held.map(|held| Ok(held.credentials.clone())).or_else(failed)
        };
        known.exchange_unless(after).await.map(drop)
    }

    /// Forgets the token of the pod whose mount at `target` is gone; with its last mount all of an identity.
    pub fn release(&self, target: &Path) {
        self.known().retain(|_, known| {
            let mut state = known.state();
            let was = state.tokens.remove(target).is_some();
            let goes = was && state.tokens.is_empty();
            if goes {
                // The renewer looks, and ends.
                known.wake.notify_one();
            }
            !goes
        });
    }

    /// What is wrong with an identity, if something is.
    pub fn trouble(&self, identity: &PodIdentity) -> Option<String> {
        let known = self.find(identity)?;
        let state = known.state();
        state.failed.as_ref().map(|failed| known.refused(failed.error.clone()).to_string())
    }

    /// All identities, by name.
    pub fn report(&self) -> Vec<IdentityReport> {
        let now = SystemTime::now();
        let mut all: Vec<_> = self
            .known()
            .values()
            .map(|known| {
                let state = known.state();
                let left = |held: &Held| held.ends().duration_since(now).unwrap_or_default().as_secs();
                IdentityReport {
                    identity: known.identity.clone(),
                    mounts: state.tokens.len(),
                    expires_in: state.held.as_ref().map(left),
                    trouble: state.failed.as_ref().map(|failed| failed.error.to_string()),
                }
            })
            .collect();
        all.sort_by_key(|it| it.identity.to_string());
        all
    }
}

/// Renews an identity's credentials until it is forgotten.
async fn renew(known: Weak<Known>) {
    while let Some(there) = known.upgrade() {
        let due = there.state().due_in(SystemTime::now());
        if due.is_some_and(|due| due.is_zero()) {
            let is_done = |state: &KnownState| {
                let is_due = state.due_in(SystemTime::now()).is_some_and(|due| due.is_zero());
                (!is_due).then(|| Err(NoCredentials::no_token(&there.identity)))
            };
            // A failure is noted where it happens, and due again after a pause.
            let _noted = there.exchange_unless(is_done).await;
            continue;
        }
        let wake = Arc::clone(&there.wake);
        drop(there);
        tokio::select! {
            () = sleep(due.unwrap_or(LOOK_EVERY).min(LOOK_EVERY)) => {}
            () = wake.notified() => {}
        }
    }
}

/// Credentials of pods' service accounts from the store, and others from where they come.
pub struct WithPods {
    /// The service accounts.
    pub pods: Arc<PodIdentities>,
    /// The others.
    pub others: Arc<dyn ProvideCredentials>,
}

#[async_trait]
impl ProvideCredentials for WithPods {
    async fn credentials(&self, source: &IamSource, region: &str) -> Result<Credentials, CredentialsError> {
        let IamSource::Pod(identity) = source else { return self.others.credentials(source, region).await };
        let given = async { self.pods.demand(identity)?.credentials().await };
        given.await.map_err(|error: NoCredentials| CredentialsError::provider(error))
    }

    fn awaits_token(&self, source: &IamSource) -> bool {
        match source {
            // Until this process has had some, those that the data plane has of the process before are better than none; unless AWS has
            // taken the role back.
            IamSource::Pod(identity) => self.pods.find(identity).is_none_or(|known| {
                let state = known.state();
                state.held.is_none() && !state.is_denied()
            }),
            others => self.others.awaits_token(others),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use efs_tunnel::PodAuthority;
    use zeroize::Zeroizing;

    use super::super::token::tests::jwt;
    use super::*;

    /// STS: counts its calls, and says what the test wants.
    #[derive(Default)]
    struct Sts {
        calls: AtomicUsize,
        refuses: Mutex<Option<ExchangeError>>,
        /// Of the credentials that it gives.
        life: Mutex<Duration>,
    }

    #[async_trait]
    impl Exchange for Sts {
        async fn exchange(&self, _: &PodIdentity, token: &Token) -> Result<Credentials, ExchangeError> {
            sleep(Duration::from_millis(100)).await;
            let call = self.calls.fetch_add(1, Ordering::SeqCst) + 1;
            if let Some(error) = self.refuses.lock().unwrap().clone() {
                return Err(error);
            }
            let ends = SystemTime::now() + *self.life.lock().unwrap();
            let name =
                format!("{call} by {}", token.expires().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs());
            Ok(Credentials::new(name, "secret", Some("session".to_owned()), Some(ends), "test"))
        }
    }

    impl Sts {
        fn calls(&self) -> usize {
            self.calls.load(Ordering::SeqCst)
        }

        fn refuse(&self, error: Option<ExchangeError>) {
            *self.refuses.lock().unwrap() = error;
        }
    }

    fn identity(namespace: &str) -> PodIdentity {
        PodIdentity { namespace: namespace.to_owned(), service_account: "app".to_owned(), by: PodAuthority::Agent }
    }

    fn token(namespace: &str, serial: &str, ends: u64) -> Token {
        let ends = SystemTime::UNIX_EPOCH + Duration::from_secs(ends);
        Token::new(Zeroizing::new(jwt(namespace, "app", serial)), ends, "x", (namespace, "app")).unwrap()
    }

    fn start() -> (Arc<Sts>, PodIdentities) {
        let sts = Arc::new(Sts { life: Mutex::new(Duration::from_secs(3600)), ..Sts::default() });
        (Arc::clone(&sts), PodIdentities::new(sts))
    }

    async fn key(pods: &PodIdentities, namespace: &str) -> Result<String, NoCredentials> {
        pods.demand(&identity(namespace))?.credentials().await.map(|it| it.access_key_id().to_owned())
    }

    #[tokio::test(start_paused = true)]
    async fn aws_is_asked_once_for_each_identity_and_half_life_however_many_pods_there_are() {
        let (sts, pods) = start();
        let (a, b) = (identity("a"), identity("b"));
        let admitted = (0..100).map(async |pod| {
            pods.put(&a, Path::new(&format!("/pods/{pod}")), token("a", &pod.to_string(), 100 + pod));
            pods.admit(&a).await
        });
        futures::future::try_join_all(admitted).await.expect("all of them");
        pods.put(&b, Path::new("/pods/b"), token("b", "1", 1));
        pods.admit(&b).await.expect("the other");
        assert_eq!(sts.calls(), 2);
        for minute in 0..29 {
            for pod in 0..100 {
                pods.put(&a, Path::new(&format!("/pods/{pod}")), token("a", &format!("{pod} {minute}"), 1000 + minute));
            }
            sleep(Duration::from_secs(60)).await;
        }
        assert_eq!(sts.calls(), 2, "republishing asks nobody");
        sleep(Duration::from_secs(120)).await;
        assert_eq!(sts.calls(), 4, "at half their life");
        assert!(key(&pods, "a").await.expect("credentials").ends_with("by 1028"), "by the token that lasts longest");
    }

    #[tokio::test(start_paused = true)]
    async fn an_sts_that_is_away_is_asked_with_growing_pauses_while_the_credentials_serve() {
        let (sts, pods) = start();
        pods.put(&identity("a"), Path::new("/pods/a"), token("a", "1", 1));
        pods.admit(&identity("a")).await.expect("credentials");
        let first = key(&pods, "a").await.expect("credentials");
        sts.refuse(Some(ExchangeError::Away("no answer".to_owned())));
        sleep(Duration::from_secs(1790 + 600)).await;
        assert!((5..15).contains(&sts.calls()), "{} calls", sts.calls());
        assert_eq!(key(&pods, "a").await.expect("the earlier ones"), first);
        assert!(pods.trouble(&identity("a")).expect("told").contains("service account a/app"));
        sts.refuse(None);
        sleep(Duration::from_secs(400)).await;
        assert_ne!(key(&pods, "a").await.expect("new ones"), first);
        assert_eq!(pods.trouble(&identity("a")), None);
    }

    /// The agent gives what is left of its own, and what was given may have ended while nobody could be asked.
    #[test]
    fn credentials_are_due_before_they_end_and_asked_for_often_once_they_have() {
        let held = |life: u64, since: SystemTime| Held {
            credentials: Credentials::new("a", "b", None, Some(since + Duration::from_secs(life)), "test"),
            since: (Instant::now(), since),
        };
        let now = SystemTime::now();
        for life in [61, 120, 300] {
            let rests = held(life, now).rests(now);
            assert!(rests <= Duration::from_secs(life) - ENDS_SOON, "of {life} s: {rests:?}");
        }
        let an_hour_ago = now - Duration::from_secs(3600);
        let mut state = KnownState {
            tokens: [(PathBuf::from("/pods/a"), Arc::new(token("a", "1", 1)))].into(),
            held: Some(held(120, an_hour_ago)),
            failed: None,
        };
        assert_eq!(state.due_in(now), Some(Duration::ZERO));
        let (error, with) = (ExchangeError::Away("no answer".to_owned()), Arc::new(token("a", "1", 1)));
        state.failed = Some(Failed { error, with, at: Instant::now(), pause: PAUSES.1 });
        assert!(state.due_in(now).is_some_and(|due| due <= PAUSE_WITHOUT && due > PAUSE_WITHOUT / 2));
        state.held = Some(held(3600, now - Duration::from_secs(2000)));
        assert!(state.due_in(now).is_some_and(|due| due > PAUSE_WITHOUT), "these still serve");
    }

    #[tokio::test(start_paused = true)]
    async fn credentials_that_have_ended_when_they_come_are_a_failure_with_its_pauses() {
        let (sts, pods) = start();
        *sts.life.lock().unwrap() = Duration::from_secs(30);
        pods.put(&identity("a"), Path::new("/pods/a"), token("a", "1", 1));
        let refused = pods.admit(&identity("a")).await.expect_err("they have ended");
        assert!(refused.to_string().contains("clock"), "{refused}");
        sleep(Duration::from_secs(600)).await;
        assert!((5..60).contains(&sts.calls()), "{} calls", sts.calls());
        *sts.life.lock().unwrap() = Duration::from_secs(3600);
        sleep(Duration::from_secs(60)).await;
        assert!(key(&pods, "a").await.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn a_role_that_was_taken_back_lets_no_new_pod_in() {
        let (sts, pods) = start();
        pods.put(&identity("a"), Path::new("/pods/1"), token("a", "1", 1));
        pods.admit(&identity("a")).await.expect("credentials");
        sts.refuse(Some(ExchangeError::Denied("AccessDenied".to_owned())));
        sleep(Duration::from_secs(1900)).await;
        pods.put(&identity("a"), Path::new("/pods/2"), token("a", "2", 2));
        let refused = pods.admit(&identity("a")).await.expect_err("taken back");
        assert!(matches!(refused, NoCredentials::Refused { source: ExchangeError::Denied(_), .. }), "{refused}");
        assert!(key(&pods, "a").await.is_ok(), "what was given serves those that are there until it ends");
        sts.refuse(None);
        pods.admit(&identity("a")).await.expect("given again");
    }

    #[tokio::test(start_paused = true)]
    async fn a_token_goes_with_its_pod_and_all_of_an_identity_with_the_last() {
        let (sts, pods) = start();
        let a = identity("a");
        pods.put(&a, Path::new("/pods/1"), token("a", "1", 1));
        pods.put(&a, Path::new("/pods/2"), token("a", "2", 2));
        pods.admit(&a).await.expect("credentials");
        assert!(key(&pods, "a").await.expect("credentials").ends_with("by 2"));
        pods.release(Path::new("/pods/2"));
        sleep(Duration::from_secs(1900)).await;
        assert!(key(&pods, "a").await.expect("credentials").ends_with("by 1"), "the dead pod's token isn't used");
        pods.release(Path::new("/pods/1"));
        assert_eq!(pods.report(), []);
        let calls = sts.calls();
        sleep(Duration::from_secs(7200)).await;
        assert_eq!(sts.calls(), calls, "nobody renews what nobody needs");
        assert_eq!(key(&pods, "a").await, Err(NoCredentials::NoToken(Box::new(a))));
    }

    #[tokio::test(start_paused = true)]
    async fn a_fresh_token_takes_the_place_of_one_that_had_ended_at_once() {
        let (sts, pods) = start();
        sts.refuse(Some(ExchangeError::Token("ExpiredToken".to_owned())));
        pods.put(&identity("a"), Path::new("/pods/1"), token("a", "1", 1));
        pods.admit(&identity("a")).await.expect_err("it has ended");
        let calls = sts.calls();
        sts.refuse(None);
        pods.put(&identity("a"), Path::new("/pods/1"), token("a", "2", 2));
        sleep(Duration::from_millis(500)).await;
        assert_eq!(sts.calls(), calls + 1, "without the pause after a failure");
        assert!(key(&pods, "a").await.is_ok());
    }

    /// The driver begins, and the kubelet hasn't come by.
    #[tokio::test(start_paused = true)]
    async fn without_a_token_the_data_plane_is_told_to_go_on_with_what_it_has() {
        struct Nobody;
        #[async_trait]
        impl ProvideCredentials for Nobody {
            async fn credentials(&self, _: &IamSource, _: &str) -> Result<Credentials, CredentialsError> {
                Ok(Credentials::new("the driver's own", "secret", None, None, "test"))
            }
        }
        let (sts, pods) = start();
        let with = WithPods { pods: Arc::new(pods), others: Arc::new(Nobody) };
        let source = IamSource::Pod(identity("a"));
        let refused = with.credentials(&source, "us-east-1").await.expect_err("never another identity");
        assert!(refused.to_string().contains("no token of service account a/app"), "{refused}");
        assert!(with.awaits_token(&source) && !with.awaits_token(&IamSource::Default));
        sts.refuse(Some(ExchangeError::Denied("AccessDenied".to_owned())));
        with.pods.put(&identity("a"), Path::new("/pods/1"), token("a", "1", 1));
        with.credentials(&source, "us-east-1").await.expect_err("denied");
        assert!(!with.awaits_token(&source), "a role that was taken back isn't waited for");
    }

    #[test]
    fn a_wall_clock_that_jumps_makes_renewals_early_and_never_late() {
        let rests = |since: SystemTime, now: SystemTime| {
            let ends = since + Duration::from_secs(3600);
            let credentials = Credentials::new("a", "b", None, Some(ends), "test");
            Held { credentials, since: (Instant::now(), since) }.rests(now).as_secs()
        };
        let (now, hour) = (SystemTime::now(), Duration::from_secs(3600));
        assert!((1799..=1800).contains(&rests(now, now)));
        assert_eq!(rests(now, now + hour), 0, "forward: they look ended");
        assert!((1799..=1800).contains(&rests(now, now - 2 * hour)), "back: the other clock counts");
    }
}
