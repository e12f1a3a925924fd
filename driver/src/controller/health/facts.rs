//! What AWS says of file systems, for the health of their volumes: asked when somebody wants to know, and seldom.
//!
//! A caller asks for each volume once a minute. There are three questions about a file system (itself, its mount targets, its access
//! points), and each answer holds for all its volumes. After the first look, in which all three are asked, there is one call a minute
//! for each file system, however many volumes it has: that of the oldest answer. So an answer is three minutes old at most while
//! somebody asks every minute.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::controller::lately::Lately;
use crate::efs::api::{LARGEST_PAGE, all_access_points};
use crate::efs::{AccessPoint, EfsApi, EfsError, LifeCycle};
use crate::volume::{AccessPointId, FileSystemId};

/// One call for each file system in this time, on the average.
const EVERY: Duration = Duration::from_secs(60);
/// As many calls may be made at once when there was none for long: one for each question.
const AT_ONCE: u32 = 3;
/// File systems of which something is kept; the one that was asked about longest ago goes first.
const MOST_FILE_SYSTEMS: usize = 1000;
/// How long it is remembered what this controller has made and deleted itself: longer than an answer lives, and the time by which
/// EFS's listings lag behind.
const UNSEEN: Duration = Duration::from_secs(300);

/// An access point, as far as health is concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Point {
    pub(super) state: LifeCycle,
    /// Whether a driver made it.
    pub(super) is_volume: bool,
}

/// What is known of a file system.
#[derive(Clone, Debug)]
pub(super) struct FileSystemFacts {
    /// Its state; nothing when it doesn't exist.
    pub(super) state: Option<LifeCycle>,
    /// Whether it has a mount target that is available.
    pub(super) has_mount_target: bool,
    /// Its access points.
    pub(super) points: BTreeMap<AccessPointId, Point>,
    /// How old the list of them is.
    pub(super) points_age: Duration,
}

/// The answers so far.
#[derive(Debug, Default)]
pub(in crate::controller) struct HealthFacts {
    file_systems: Mutex<HashMap<FileSystemId, Slot>>,
    unseen: Mutex<Unseen>,
}

#[derive(Debug)]
struct Slot {
    wanted: Instant,
    looked: Arc<tokio::sync::Mutex<Looked>>,
}

/// What this controller has done itself, which listings may not show yet.
#[derive(Debug)]
struct Unseen {
    made: Lately<AccessPointId, FileSystemId>,
    deleted: Lately<AccessPointId, ()>,
}

impl Default for Unseen {
    fn default() -> Self {
        Self { made: Lately::lasting(UNSEEN), deleted: Lately::lasting(UNSEEN) }
    }
}

/// An answer, or the failure to get one, and when it was asked for.
type Answer<T> = Option<(Instant, Result<T, EfsError>)>;

/// The answers about one file system. The lock around it is held while AWS is asked: who comes meanwhile gets the same answer.
#[derive(Debug, Default)]
struct Looked {
    state: Answer<Option<LifeCycle>>,
    targets: Answer<bool>,
    points: Answer<BTreeMap<AccessPointId, Point>>,
    /// The moment to which calls are paid for, at one for each [`EVERY`].
    paid: Option<Instant>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Question {
    State,
    Targets,
    Points,
}

impl HealthFacts {
    fn unseen(&self) -> MutexGuard<'_, Unseen> {
        self.unseen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// This controller has made an access point.
    pub(in crate::controller) fn made(&self, point: &AccessPoint) {
        self.unseen().made.note(point.id.clone(), point.file_system.clone());
    }

    /// This controller has deleted an access point.
    pub(in crate::controller) fn deleted(&self, id: &AccessPointId) {
        let mut unseen = self.unseen();
        unseen.made.remove(id);
        unseen.deleted.note(id.clone(), ());
    }

    /// Whether this controller has just deleted it.
    pub(super) fn has_deleted(&self, id: &AccessPointId) -> bool {
        self.unseen().deleted.get(id).is_some()
    }

    fn slot(&self, id: &FileSystemId) -> Arc<tokio::sync::Mutex<Looked>> {
        let mut all = self.file_systems.lock().unwrap_or_else(PoisonError::into_inner);
        if all.len() >= MOST_FILE_SYSTEMS
            && !all.contains_key(id)
            && let Some(oldest) = all.iter().min_by_key(|(_, slot)| slot.wanted).map(|(id, _)| id.clone())
        {
            all.remove(&oldest);
        }
        let slot = all.entry(id.clone()).or_insert_with(|| Slot { wanted: Instant::now(), looked: Arc::default() });
        slot.wanted = Instant::now();
        Arc::clone(&slot.looked)
    }

    /// What is known of a file system, after the calls that are due.
    ///
    /// # Errors
    /// The last answer to one of the questions, when that was a failure: what AWS doesn't tell is not known.
    pub(super) async fn of(&self, api: &dyn EfsApi, id: &FileSystemId) -> Result<FileSystemFacts, EfsError> {
        let slot = self.slot(id);
        let mut looked = slot.lock().await;
        looked.look(api, id).await;
        let mut facts = looked.facts()?;
        let unseen = self.unseen();
        facts.points.retain(|point, _| unseen.deleted.get(point).is_none());
        for (point, file_system) in unseen.made.iter() {
            if file_system == id {
                facts.points.entry(point.clone()).or_insert(Point { state: LifeCycle::Available, is_volume: true });
            }
        }
        Ok(facts)
    }
}

impl Looked {
    /// Asks what is due, the oldest first, for as long as there is something left to spend.
    async fn look(&mut self, api: &dyn EfsApi, id: &FileSystemId) {
        while let Some(question) = self.next(Instant::now()) {
            let asked = Instant::now();
            let calls = match question {
                Question::State => {
                    let answer = match api.file_system(id).await {
                        Ok(found) => Ok(Some(found.state)),
                        Err(error) if error.is_not_found() => Ok(None),
                        Err(error) => Err(error),
                    };
                    self.state = Some((asked, answer));
                    1
                }
                Question::Targets => {
                    let answer = match api.mount_targets(id).await {
                        Ok(targets) => Ok(targets.iter().any(|target| target.state == LifeCycle::Available)),
                        Err(error) if error.is_not_found() => Ok(false),
                        Err(error) => Err(error),
                    };
                    self.targets = Some((asked, answer));
                    1
                }
                Question::Points => {
                    let answer = match all_access_points(api, Some(id)).await {
                        Ok(points) => Ok(points.into_iter().map(point).collect::<BTreeMap<_, _>>()),
                        Err(error) if error.is_not_found() => Ok(BTreeMap::new()),
                        Err(error) => Err(error),
                    };
                    let listed = answer.as_ref().map_or(0, BTreeMap::len);
                    self.points = Some((asked, answer));
                    u32::try_from(listed.div_ceil(usize::from(LARGEST_PAGE))).unwrap_or(u32::MAX).max(1)
                }
            };
            self.paid = Some(self.paid.unwrap_or(asked).max(asked) + EVERY * calls);
        }
    }

    /// The question to ask now, if there is one.
    fn next(&self, now: Instant) -> Option<Question> {
        let ahead = self.paid.map_or(Duration::ZERO, |paid| paid.saturating_duration_since(now));
        if ahead > EVERY * (AT_ONCE - 1) {
            return None;
        }
        let at = |asked: Option<Instant>, question| (asked, question);
        let mut all = [
            at(self.state.as_ref().map(|(at, _)| *at), Question::State),
            at(self.targets.as_ref().map(|(at, _)| *at), Question::Targets),
            at(self.points.as_ref().map(|(at, _)| *at), Question::Points),
        ];
        // What was never asked comes first.
        all.sort_by_key(|(asked, _)| *asked);
        let (oldest, question) = all[0];
        oldest.is_none_or(|asked| now.duration_since(asked) >= EVERY).then_some(question)
    }

    fn facts(&self) -> Result<FileSystemFacts, EfsError> {
        // The budget of a file system that is new is enough for all three.
        let (state, targets) = (answer(&self.state)?, answer(&self.targets)?);
        let points = answer(&self.points)?;
        let age = self.points.as_ref().map_or(Duration::MAX, |(at, _)| at.elapsed());
        Ok(FileSystemFacts {
            state: state.unwrap_or_default(),
            has_mount_target: targets.unwrap_or_default(),
            points: points.unwrap_or_default(),
            points_age: age,
        })
    }
}

fn answer<T: Clone>(answer: &Answer<T>) -> Result<Option<T>, EfsError> {
    answer.as_ref().map(|(_, answer)| answer.clone()).transpose()
}

fn point(point: AccessPoint) -> (AccessPointId, Point) {
    let is_volume = point.may_have_tag(crate::controller::CLUSTER_TAG);
    (point.id, Point { state: point.state, is_volume })
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use async_trait::async_trait;
    use tokio::time::advance;

    use super::*;
    use crate::efs::api::{AccessPointPage, NewAccessPoint};
    use crate::efs::{EfsErrorKind, FileSystem, MountTarget};

    /// An EFS that counts what it is asked.
    #[derive(Debug, Default)]
    struct Counting {
        calls: Mutex<Vec<Question>>,
        is_broken: AtomicBool,
    }

    impl Counting {
        fn count<T>(&self, question: Question, answer: T) -> Result<T, EfsError> {
            self.calls.lock().unwrap().push(question);
            match self.is_broken.load(Ordering::Relaxed) {
                true => Err(error(EfsErrorKind::Throttled)),
                false => Ok(answer),
            }
        }

        fn taken(&self) -> Vec<Question> {
            std::mem::take(&mut self.calls.lock().unwrap())
        }
    }

    fn error(kind: EfsErrorKind) -> EfsError {
        EfsError { operation: "Describe", kind, message: String::new(), request_id: None }
    }

    fn id() -> FileSystemId {
        "fs-01234567".parse().unwrap()
    }

    #[async_trait]
    impl EfsApi for Counting {
        async fn create_access_point(&self, _: &NewAccessPoint) -> Result<AccessPoint, EfsError> {
            panic!("health changes nothing")
        }

        async fn access_point(&self, _: &FileSystemId, _: &AccessPointId) -> Result<AccessPoint, EfsError> {
            panic!("one call for each volume would be too many")
        }

        async fn access_points(
            &self,
            _: Option<&FileSystemId>,
            _: u16,
            _: Option<&str>,
        ) -> Result<AccessPointPage, EfsError> {
            self.count(Question::Points, AccessPointPage { access_points: Vec::new(), next_token: None })
        }

        async fn delete_access_point(&self, _: &AccessPointId) -> Result<(), EfsError> {
            panic!("health changes nothing")
        }

        async fn file_system(&self, id: &FileSystemId) -> Result<FileSystem, EfsError> {
            let state = LifeCycle::Available;
            self.count(
                Question::State,
                FileSystem { id: id.clone(), state, availability_zone: None, size_bytes: 0, status_message: None },
            )
        }

        async fn mount_targets(&self, _: &FileSystemId) -> Result<Vec<MountTarget>, EfsError> {
            self.count(Question::Targets, Vec::new())
        }

        async fn tag(&self, _: &AccessPointId, _: &BTreeMap<String, String>) -> Result<(), EfsError> {
            panic!("health changes nothing")
        }
    }

    #[tokio::test(start_paused = true)]
    async fn after_the_first_look_there_is_one_call_a_minute_however_often_somebody_asks() {
        let (facts, aws) = (HealthFacts::default(), Counting::default());
        for _ in 0..100 {
            facts.of(&aws, &id()).await.unwrap();
        }
        assert_eq!(aws.taken(), [Question::State, Question::Targets, Question::Points]);
        // A hundred volumes, each asked for once a minute.
        for minute in 0..30 {
            let mut calls = 0;
            for _ in 0..100 {
                advance(EVERY / 100).await;
                facts.of(&aws, &id()).await.unwrap();
                calls += aws.taken().len();
            }
            assert!(calls <= 1, "{calls} calls in minute {minute}");
        }
        // What nobody asked about for long is asked anew at once.
        advance(EVERY * 5).await;
        facts.of(&aws, &id()).await.unwrap();
        let mut asked = aws.taken();
        asked.sort_by_key(|question| *question as u8);
        assert_eq!(asked, [Question::State, Question::Targets, Question::Points]);
    }

    #[tokio::test(start_paused = true)]
    async fn no_answer_is_older_than_three_minutes_while_somebody_asks_every_minute() {
        let (facts, aws) = (HealthFacts::default(), Counting::default());
        let mut last = HashMap::new();
        for _ in 0..40 {
            facts.of(&aws, &id()).await.unwrap();
            for question in aws.taken() {
                last.insert(question as u8, Instant::now());
            }
            assert_eq!(last.len(), 3);
            assert!(last.values().all(|at| at.elapsed() <= EVERY * 3), "{last:?}");
            advance(EVERY).await;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_failure_stays_a_failure_until_aws_answers_and_is_not_asked_more_often() {
        let (facts, aws) = (HealthFacts::default(), Counting::default());
        aws.is_broken.store(true, Ordering::Relaxed);
        for _ in 0..100 {
            assert_eq!(facts.of(&aws, &id()).await.unwrap_err().kind, EfsErrorKind::Throttled);
        }
        assert_eq!(aws.taken().len(), 3);
        aws.is_broken.store(false, Ordering::Relaxed);
        for _ in 0..4 {
            advance(EVERY).await;
            drop(facts.of(&aws, &id()).await);
        }
        assert!(facts.of(&aws, &id()).await.is_ok());
    }
}
