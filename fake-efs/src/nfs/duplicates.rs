//! The duplicate request cache of NFSv4.0 (RFC 7530 §16.33.5 takes it for granted): operations without a sequence number that
//! would fail or do harm if they were done again are answered from memory when their request is repeated.
//!
//! A client repeats a request only over a new connection (RFC 7530 §3.1.1), with the same transaction id. So an answer is found
//! by the client's address and identity, the transaction id, and a checksum of what was asked and as whom; and only by the
//! connection that the request came over first, or, where a client is known at the address, one that was made later. Sessions (NFSv4.1) have slots for that.

use std::collections::{HashMap, VecDeque};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::rpc::Call;

/// Most answers that are kept for one client; more requests than that are hardly on their way at a time.
const MAX_ANSWERS: usize = 1024;
/// Most clients that answers are kept for.
const MAX_CLIENTS: usize = 1024;
/// Longest answer that is kept: some attributes stand behind the change, and data hardly ever.
const MAX_ANSWER: usize = 4096;

/// Most that all answers together may take, in bytes.
const MAX_BYTES: usize = 64 << 20;
/// What an entry takes beside its answer, about.
const ENTRY: usize = 128;

/// Which connection a request came over, counted through all of them.
static CONNECTIONS: AtomicU64 = AtomicU64::new(0);

/// Whose requests these are.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Source {
    pub(super) identity: String,
    pub(super) address: IpAddr,
}

/// A connection as the cache knows it.
#[derive(Debug)]
pub(super) struct Link {
    number: u64,
    /// A client that introduces itself (SETCLIENTID) repeats nothing of what came over other connections: it may be a new
    /// process that counts its transactions from 1 as the one before did.
    anew: AtomicBool,
}

impl Link {
    pub(super) fn new() -> Self {
        Self { number: CONNECTIONS.fetch_add(1, Ordering::Relaxed), anew: AtomicBool::new(false) }
    }

    /// Forgets what came over other connections.
    pub(super) fn begin_anew(&self) {
        self.anew.store(true, Ordering::Relaxed);
    }

    /// Over another connection only a client repeats anything: programs that never introduce themselves may count their transactions
    /// as others at the same address do.
    fn may_repeat(&self, kept: &Kept, is_client: impl FnOnce() -> bool) -> bool {
        let later = || self.number > kept.newest && !self.anew.load(Ordering::Relaxed);
        self.number == kept.first || later() && is_client()
    }
}

/// A request that is being done, to be given to [`Duplicates::end`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ticket {
    xid: u32,
    checksum: u64,
    connection: u64,
}

/// What is known of a request.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Known {
    /// Nothing: do it, then call [`Duplicates::end`].
    New(Ticket),
    /// It is being done, with a store that takes its time.
    Running,
    /// Send this again.
    Answered(Vec<u8>),
}

#[derive(Debug)]
struct Kept {
    xid: u32,
    checksum: u64,
    /// The connection that it came over, and the newest one at that time.
    first: u64,
    newest: u64,
    at: Instant,
    answer: Option<Vec<u8>>,
}

/// The answers of one file system.
#[derive(Debug, Default)]
pub(super) struct Duplicates(Mutex<Answers>);

#[derive(Debug, Default)]
struct Answers {
    clients: HashMap<Source, VecDeque<Kept>>,
    /// What all of it takes.
    bytes: usize,
}

impl Kept {
    fn bytes(&self) -> usize {
        ENTRY + self.answer.as_ref().map_or(0, Vec::len)
    }
}

impl Answers {
    /// Forgets all of the client that was silent longest.
    fn forget_silent(&mut self) {
        let silent = self.clients.iter().min_by_key(|(_, kept)| kept.back().map(|kept| kept.at));
        let Some(silent) = silent.map(|(source, _)| source.clone()) else { return };
        let forgotten = self.clients.remove(&silent);
        self.bytes -= forgotten.iter().flatten().map(Kept::bytes).sum::<usize>();
    }
}

/// Checksum of what is asked, and as whom. The credential's stamp and machine name may differ in a repetition.
pub(super) fn checksum(call: &Call, arguments: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    call.credential.hash(&mut hasher);
    hasher.write(arguments);
    hasher.finish()
}

impl Duplicates {
    /// Looks a request up before anything of it is done, even what may be done twice: the file of its first operations may be gone
    /// since, by its own doing. The checksum is asked for only if there is something to compare it with. `None` if it is new.
    pub(super) fn find(
        &self,
        source: &Source,
        link: &Link,
        xid: u32,
        checksum: impl FnOnce() -> u64,
        is_client: impl Fn() -> bool,
    ) -> Option<Known> {
        let answers = self.answers();
        let same_number = |kept: &&Kept| kept.xid == xid && link.may_repeat(kept, &is_client);
        let mut candidates = answers.clients.get(source)?.iter().rev().filter(same_number).peekable();
        candidates.peek()?;
        let checksum = checksum();
        let kept = candidates.find(|kept| kept.checksum == checksum)?;
        Some(kept.answer.clone().map_or(Known::Running, Known::Answered))
    }

    /// Looks a request up, and remembers that it is being done if it is new.
    pub(super) fn begin(
        &self,
        source: &Source,
        link: &Link,
        xid: u32,
        checksum: u64,
        is_client: impl Fn() -> bool,
    ) -> Known {
        let mut answers = self.answers();
        if answers.bytes >= MAX_BYTES || answers.clients.len() >= MAX_CLIENTS && !answers.clients.contains_key(source) {
            answers.forget_silent();
        }
        let Answers { clients, bytes } = &mut *answers;
        let kept = clients.entry(source.clone()).or_default();
        let same = |kept: &&Kept| kept.xid == xid && kept.checksum == checksum && link.may_repeat(kept, &is_client);
        if let Some(kept) = kept.iter().rev().find(same) {
            return kept.answer.clone().map_or(Known::Running, Known::Answered);
        }
        if kept.len() >= MAX_ANSWERS {
            *bytes -= kept.pop_front().map_or(0, |oldest| oldest.bytes());
        }
        *bytes += ENTRY;
        let newest = CONNECTIONS.load(Ordering::Relaxed).saturating_sub(1);
        kept.push_back(Kept { xid, checksum, first: link.number, newest, at: Instant::now(), answer: None });
        Known::New(Ticket { xid, checksum, connection: link.number })
    }

    /// Keeps the answer of a request that was new.
    pub(super) fn end(&self, source: &Source, ticket: Ticket, answer: &[u8]) {
        let mut answers = self.answers();
        let Answers { clients, bytes } = &mut *answers;
        let Some(kept) = clients.get_mut(source) else { return };
        let same =
            |kept: &Kept| (kept.xid, kept.checksum, kept.first) == (ticket.xid, ticket.checksum, ticket.connection);
        let Some(at) = kept.iter().rposition(same) else { return };
        if answer.len() > MAX_ANSWER {
            *bytes -= kept.remove(at).map_or(0, |removed| removed.bytes());
        } else {
            kept[at].answer = Some(answer.to_vec());
            *bytes += answer.len();
        }
    }

    /// Forgets clients that have been silent for so long.
    pub(super) fn sweep(&self, silent: Duration) {
        let mut answers = self.answers();
        answers.clients.retain(|_, kept| kept.back().is_some_and(|kept| kept.at.elapsed() <= silent));
        answers.bytes = answers.clients.values().flatten().map(Kept::bytes).sum();
    }

    /// Forgets everything, as a server that restarts does.
    pub(super) fn clear(&self) {
        *self.answers() = Answers::default();
    }

    fn answers(&self) -> std::sync::MutexGuard<'_, Answers> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(name: &str) -> Source {
        Source { identity: name.to_owned(), address: IpAddr::from([127, 0, 0, 1]) }
    }

    fn ticket(known: Known) -> Ticket {
        match known {
            Known::New(ticket) => ticket,
            other => panic!("{other:?} is not new"),
        }
    }

    fn begin(cache: &Duplicates, source: &Source, link: &Link, xid: u32, checksum: u64) -> Known {
        cache.begin(source, link, xid, checksum, || true)
    }

    fn find(
        cache: &Duplicates,
        source: &Source,
        link: &Link,
        xid: u32,
        checksum: impl FnOnce() -> u64,
    ) -> Option<Known> {
        cache.find(source, link, xid, checksum, || true)
    }

    #[test]
    fn where_no_client_is_known_a_connection_repeats_only_its_own_requests() {
        let (cache, a, first) = (Duplicates::default(), source("a"), Link::new());
        let begun = ticket(begin(&cache, &a, &first, 7, 1));
        cache.end(&a, begun, b"done");
        let again = Known::Answered(b"done".to_vec());
        assert_eq!(cache.find(&a, &first, 7, || 1, || false).as_ref(), Some(&again));
        let later = Link::new();
        assert_eq!(cache.find(&a, &later, 7, || 1, || false), None);
        ticket(cache.begin(&a, &later, 7, 1, || false));
    }

    #[test]
    fn an_answer_is_found_over_the_same_connection_or_a_later_one() {
        let (cache, a) = (Duplicates::default(), source("a"));
        let (first, beside) = (Link::new(), Link::new());
        let begun = ticket(begin(&cache, &a, &first, 7, 1));
        assert_eq!(begin(&cache, &a, &first, 7, 1), Known::Running);
        cache.end(&a, begun, b"done");
        let again = Known::Answered(b"done".to_vec());
        assert_eq!(find(&cache, &a, &first, 7, || 1).as_ref(), Some(&again));
        assert_eq!(find(&cache, &a, &Link::new(), 7, || 1).as_ref(), Some(&again));
        assert_eq!(find(&cache, &a, &first, 7, || 2), None);
        assert_eq!(find(&cache, &a, &first, 8, || panic!("nothing to compare with")), None);
        assert_eq!(begin(&cache, &a, &first, 7, 1), again);
        assert_eq!(begin(&cache, &a, &Link::new(), 7, 1), again);
        ticket(begin(&cache, &a, &beside, 7, 1));
        ticket(begin(&cache, &a, &first, 8, 1));
        ticket(begin(&cache, &a, &first, 7, 2));
        ticket(begin(&cache, &source("b"), &first, 7, 1));
    }

    #[test]
    fn who_introduces_itself_repeats_only_its_own_requests() {
        let (cache, a, first) = (Duplicates::default(), source("a"), Link::new());
        let begun = ticket(begin(&cache, &a, &first, 7, 1));
        cache.end(&a, begun, b"done");
        let later = Link::new();
        later.begin_anew();
        let begun = ticket(begin(&cache, &a, &later, 7, 1));
        cache.end(&a, begun, b"other");
        assert_eq!(begin(&cache, &a, &later, 7, 1), Known::Answered(b"other".to_vec()));
    }

    #[test]
    fn all_answers_together_are_bounded() {
        let (cache, link) = (Duplicates::default(), Link::new());
        let answer = [0; MAX_ANSWER];
        for client in 0..MAX_BYTES / MAX_ANSWER / 100 {
            for xid in 0..150 {
                let source = source(&client.to_string());
                let begun = ticket(begin(&cache, &source, &link, xid, 1));
                cache.end(&source, begun, &answer);
                assert!(cache.answers().bytes <= MAX_BYTES + MAX_ANSWER + ENTRY);
            }
        }
        let answers = cache.answers();
        let counted: usize = answers.clients.values().flatten().map(Kept::bytes).sum();
        assert_eq!(answers.bytes, counted);
        assert!(counted > MAX_BYTES / 2, "no more than need be is forgotten");
    }

    #[test]
    fn the_cache_is_bounded() {
        let (cache, a, link) = (Duplicates::default(), source("a"), Link::new());
        for xid in 0..=MAX_ANSWERS as u32 {
            let begun = ticket(begin(&cache, &a, &link, xid, 1));
            cache.end(&a, begun, b"done");
        }
        assert_eq!(cache.answers().clients[&a].len(), MAX_ANSWERS);
        ticket(begin(&cache, &a, &link, 0, 1));
        for client in 0..=MAX_CLIENTS {
            ticket(begin(&cache, &source(&client.to_string()), &link, 1, 1));
        }
        assert_eq!(cache.answers().clients.len(), MAX_CLIENTS);
        assert!(!cache.answers().clients.contains_key(&a), "the one that was silent longest goes");
        let long = ticket(begin(&cache, &source("1"), &link, 9, 9));
        cache.end(&source("1"), long, &[0; MAX_ANSWER + 1]);
        ticket(begin(&cache, &source("1"), &link, 9, 9));
        cache.sweep(Duration::ZERO);
        assert!(cache.answers().clients.is_empty());
    }
}
