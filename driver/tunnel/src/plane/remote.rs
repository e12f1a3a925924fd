//! Addresses and credentials, which only the driver can find out: asked of whichever driver is connected.
//!
//! The driver may be away, or hang, while a connection has to be made. Then the last answer is used, for as long as it can be right.

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use aws_credential_types::Credentials;
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

use super::wire::{Answer, Question, ToDriver};
use crate::dial::{CredentialsError, Locate, LocateError, ProvideCredentials};
use crate::identity::{IamSource, TunnelSpec};
use crate::lock;
use crate::staggered;

/// A driver that doesn't answer by then isn't waited for where there is an earlier answer. DNS and the EFS API take longer only when they fail.
const ANSWER_WITHIN: Duration = Duration::from_secs(3);
/// Where there is none, it has as long as it may need. A little less than the caller waits, whose words would say less.
const PATIENCE: Duration = Duration::from_millis(9_500);
/// A driver that hasn't answered by then may hang, and so the one before is asked, too: during an upgrade there are two.
const ASK_NEXT_AFTER: Duration = Duration::from_secs(1);
/// Credentials that end within this time aren't used again.
const ENDS_SOON: Duration = Duration::from_secs(60);
/// Earlier credentials are kept for so many sources. A node has two or three of its own, and one for each service account of its pods.
const SOURCES_MAX: usize = 1024;

/// The drivers that are connected, and what they have answered.
#[derive(Default)]
pub struct Remote {
    drivers: Mutex<BTreeMap<u64, mpsc::Sender<ToDriver>>>,
    waiting: Mutex<HashMap<u64, oneshot::Sender<Answer>>>,
    next: AtomicU64,
    addresses: Mutex<HashMap<TunnelSpec, Known>>,
    credentials: Mutex<HashMap<(IamSource, String), Credentials>>,
}

/// Addresses of a mount target.
#[derive(Clone)]
struct Known {
    addresses: Vec<SocketAddr>,
    /// Nothing could be reached there the last time.
    failed: bool,
}

impl Remote {
    /// A driver is connected. Later ones are asked first: an earlier one is on its way out.
    pub(super) fn join(&self, driver: u64, questions: mpsc::Sender<ToDriver>) {
        lock(&self.drivers).insert(driver, questions);
    }

    /// It isn't any more.
    pub(super) fn leave(&self, driver: u64) {
        lock(&self.drivers).remove(&driver);
    }

    /// A driver has answered a question.
    pub(super) fn answered(&self, id: u64, answer: Answer) {
        if let Some(waiting) = lock(&self.waiting).remove(&id) {
            // Whoever has asked may have given up.
            let _told = waiting.send(answer);
        }
    }

    /// Forgets all about a tunnel that is closed.
    pub(super) fn forget_tunnel(&self, spec: &TunnelSpec) {
        lock(&self.addresses).remove(spec);
    }

    /// Asks the newest driver, and the ones before when it has no answer or takes long; nothing when none answers.
    async fn ask(&self, question: &Question, within: Duration) -> Option<Answer> {
        let drivers: Vec<_> = lock(&self.drivers).values().rev().cloned().collect();
        let ask = |driver| async move {
            match self.ask_one(driver, question).await {
                None | Some(Answer::Unsupported) => Err(None),
                // The driver before may still have what this one waits for.
                Some(answer @ Answer::NotYet { .. }) => Err(Some(answer)),
                Some(answer) => Ok(answer),
            }
        };
        match timeout(within, staggered::first(drivers, ASK_NEXT_AFTER, ask)).await {
            Ok(Ok(answer)) => Some(answer),
            Ok(Err(others)) => others.into_iter().flatten().last(),
            Err(_) => None,
        }
    }

    /// The answer of one driver; nothing when it can't be asked or goes.
    async fn ask_one(&self, driver: mpsc::Sender<ToDriver>, question: &Question) -> Option<Answer> {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let (tell, answer) = oneshot::channel();
        lock(&self.waiting).insert(id, tell);
        let _forget = Forget { waiting: &self.waiting, id };
        // One whose queue is full hangs.
        driver.try_send(ToDriver::Question { id, question: question.clone() }).ok()?;
        answer.await.ok()
    }
}

/// Takes a question off the list when nobody waits for its answer any more.
struct Forget<'a> {
    waiting: &'a Mutex<HashMap<u64, oneshot::Sender<Answer>>>,
    id: u64,
}

impl Drop for Forget<'_> {
    fn drop(&mut self) {
        lock(self.waiting).remove(&self.id);
    }
}

#[async_trait]
impl Locate for Remote {
    async fn locate(&self, spec: &TunnelSpec) -> Result<Vec<SocketAddr>, LocateError> {
        let known = lock(&self.addresses).get(spec).cloned();
        if let Some(known) = known.as_ref().filter(|known| !known.failed) {
            return Ok(known.addresses.clone());
        }
        let within = if known.is_some() { ANSWER_WITHIN } else { PATIENCE };
        match self.ask(&Question::Locate { spec: spec.clone() }, within).await {
            Some(Answer::Addresses { addresses }) if !addresses.is_empty() => {
                lock(&self.addresses).insert(spec.clone(), Known { addresses: addresses.clone(), failed: false });
                Ok(addresses)
            }
            Some(Answer::Addresses { .. }) => {
                Err(LocateError { message: "the driver knows no address".to_owned(), missing: false })
            }
            Some(Answer::NoAddress { message, missing }) => Err(LocateError { message, missing }),
            _ => match known {
                // They may work again, and nobody knows others.
                Some(known) => Ok(known.addresses),
                None => Err(LocateError {
                    message: "the driver, which finds it out, does not answer".to_owned(),
                    missing: false,
                }),
            },
        }
    }

    fn forget(&self, spec: &TunnelSpec) {
        if let Some(known) = lock(&self.addresses).get_mut(spec) {
            known.failed = true;
        }
        for driver in lock(&self.drivers).values() {
            let id = self.next.fetch_add(1, Ordering::Relaxed);
            // One that hangs will find out by itself.
            let _sent = driver.try_send(ToDriver::Question { id, question: Question::Forget { spec: spec.clone() } });
        }
    }

    fn remember(&self, spec: &TunnelSpec, address: SocketAddr) {
        let known = Known { addresses: vec![address], failed: false };
        lock(&self.addresses).entry(spec.clone()).or_insert(known);
    }
}

#[async_trait]
impl ProvideCredentials for Remote {
    async fn credentials(&self, source: &IamSource, region: &str) -> Result<Credentials, CredentialsError> {
        let key = (source.clone(), region.to_owned());
        let good = |it: &Credentials| it.expiry().is_some_and(|end| SystemTime::now() + ENDS_SOON < end);
        let known = lock(&self.credentials).get(&key).filter(|it| good(it)).cloned();
        let within = if known.is_some() { ANSWER_WITHIN } else { PATIENCE };
        let question = Question::Credentials { source: source.clone(), region: region.to_owned() };
        match self.ask(&question, within).await {
            Some(Answer::Credentials(secret)) => {
                let credentials = Credentials::from(secret);
                let mut all = lock(&self.credentials);
                all.retain(|_, it| good(it));
                if all.len() < SOURCES_MAX && good(&credentials) {
                    all.insert(key, credentials.clone());
                }
                Ok(credentials)
            }
            Some(Answer::NoCredentials { reason }) => Err(CredentialsError::Told(reason)),
            Some(Answer::NotYet { reason }) => known.ok_or(CredentialsError::Told(reason)),
            _ => known.ok_or(CredentialsError::Away),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::identity::Route;

    fn spec() -> TunnelSpec {
        TunnelSpec {
            service: crate::Service::Efs,
            file_system: "fs-12345678".to_owned(),
            access_point: None,
            region: "us-east-1".to_owned(),
            server_name: "fs-12345678.efs.us-east-1.amazonaws.com".to_owned(),
            iam: None,
            route: Route::default(),
        }
    }

    fn shared() -> Arc<Remote> {
        Arc::default()
    }

    /// A driver that answers every question with the same.
    fn driver(remote: &Arc<Remote>, number: u64, answer: Answer) {
        let (questions, mut asked) = mpsc::channel(4);
        remote.join(number, questions);
        let remote = Arc::clone(remote);
        tokio::spawn(async move {
            while let Some(ToDriver::Question { id, .. }) = asked.recv().await {
                remote.answered(id, answer.clone());
            }
        });
    }

    fn at(address: &str) -> Answer {
        Answer::Addresses { addresses: vec![address.parse().expect("address")] }
    }

    #[tokio::test(start_paused = true)]
    async fn the_newest_driver_is_asked_and_its_answer_used_until_it_fails() {
        let remote = shared();
        let error = remote.locate(&spec()).await.expect_err("nobody is there");
        assert!(error.message.contains("does not answer"), "{error}");
        driver(&remote, 1, at("10.0.0.1:2049"));
        driver(&remote, 2, at("10.0.0.2:2049"));
        assert_eq!(remote.locate(&spec()).await.expect("addresses"), ["10.0.0.2:2049".parse().expect("address")]);
        remote.leave(2);
        assert_eq!(remote.locate(&spec()).await.expect("addresses"), ["10.0.0.2:2049".parse().expect("address")]);
        remote.forget(&spec());
        assert_eq!(remote.locate(&spec()).await.expect("addresses"), ["10.0.0.1:2049".parse().expect("address")]);
    }

    #[tokio::test(start_paused = true)]
    async fn without_a_driver_that_answers_the_last_answers_serve() {
        let remote = shared();
        remote.remember(&spec(), "10.0.0.9:2049".parse().expect("address"));
        remote.forget(&spec());
        // It hangs.
        let (questions, _asked) = mpsc::channel(1);
        remote.join(1, questions);
        assert_eq!(remote.locate(&spec()).await.expect("addresses"), ["10.0.0.9:2049".parse().expect("address")]);
        assert!(lock(&remote.waiting).is_empty(), "a question that nobody waits for is forgotten");
        remote.forget_tunnel(&spec());
        assert!(remote.locate(&spec()).await.is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn a_frozen_driver_keeps_no_question_from_the_one_before() {
        let remote = shared();
        driver(&remote, 1, at("10.0.0.1:2049"));
        let (questions, _asked) = mpsc::channel(4);
        remote.join(2, questions);
        let begun = tokio::time::Instant::now();
        assert_eq!(remote.locate(&spec()).await.expect("addresses"), ["10.0.0.1:2049".parse().expect("address")]);
        assert_eq!(begun.elapsed(), ASK_NEXT_AFTER);
        assert!(lock(&remote.waiting).is_empty(), "the frozen one's answer is not waited for");
    }

    #[tokio::test(start_paused = true)]
    async fn credentials_are_used_again_only_while_they_are_good() {
        let remote = shared();
        let ends = |seconds| Some(SystemTime::now() + Duration::from_secs(seconds));
        let give = |end| Answer::Credentials((&Credentials::new("AKID", "secret", None, end, "test")).into());
        let ask = async || remote.credentials(&IamSource::Default, "us-east-1").await;
        assert!(ask().await.is_err());
        driver(&remote, 1, give(ends(3600)));
        assert_eq!(ask().await.expect("credentials").access_key_id(), "AKID");
        remote.leave(1);
        assert_eq!(ask().await.expect("the earlier ones").access_key_id(), "AKID");
        driver(&remote, 2, Answer::NoCredentials { reason: "taken away".to_owned() });
        assert_eq!(ask().await.expect_err("refused").to_string(), "taken away");
        remote.leave(2);
        let waits = || Answer::NotYet { reason: "no token yet".to_owned() };
        driver(&remote, 2, waits());
        assert_eq!(ask().await.expect("the earlier ones").access_key_id(), "AKID");
        lock(&remote.credentials).clear();
        assert_eq!(ask().await.expect_err("there are no earlier ones").to_string(), "no token yet");
        driver(&remote, 1, give(ends(3600)));
        assert_eq!(ask().await.expect("those of the driver before").access_key_id(), "AKID");
        lock(&remote.credentials).clear();
        remote.leave(1);
        remote.leave(2);
        driver(&remote, 3, give(ends(30)));
        ask().await.expect("credentials");
        remote.leave(3);
        assert!(ask().await.is_err(), "they end too soon");
    }
}
