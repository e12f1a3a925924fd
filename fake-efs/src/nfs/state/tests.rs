//! Sessions, opens and locks without a network.

use std::sync::atomic::{AtomicU64, Ordering};

use super::*;
use crate::store::{MemoryStore, NewBody, NewNode};

struct Setup {
    store: Arc<dyn Store>,
    state: State,
    /// Seconds that the clock is ahead.
    ahead: Arc<AtomicU64>,
}

fn setup() -> Setup {
    let store: Arc<dyn Store> = Arc::new(MemoryStore::default());
    let (start, ahead) = (Instant::now(), Arc::new(AtomicU64::new(0)));
    let seconds = Arc::clone(&ahead);
    let clock = Arc::new(move || start + Duration::from_secs(seconds.load(Ordering::Relaxed)));
    let state = State::new(Arc::downgrade(&store), Duration::from_secs(90), clock);
    Setup { store, state, ahead }
}

const CHANNEL: Channel =
    Channel { max_request: 1 << 20, max_response: 1 << 20, max_cached: 4096, max_operations: 16, slots: 2 };

impl Setup {
    fn exchange(&mut self, identity: &str, name: &str, verifier: u8) -> Exchange {
        let owner = Owner { identity: identity.into(), name: name.into(), minor_version: 1 };
        self.state
            .exchange_id(ExchangeRequest { owner, principal: Some(USER), verifier: [verifier; 8], update: false })
            .unwrap()
    }

    fn session(&mut self, client: u64, sequence: u32) -> SessionId {
        let made = self.state.create_session(client, claimant("fs"), 0, sequence, CHANNEL, |id| id.to_vec()).unwrap();
        made.try_into().unwrap()
    }

    fn client(&mut self, name: &str) -> u64 {
        let client = self.exchange("fs", name, 1).client;
        self.session(client, 1);
        client
    }

    fn file(&self, name: &[u8]) -> FileId {
        let node = NewNode { body: NewBody::Regular { verifier: None }, mode: 0o644, uid: 0, gid: 0 };
        self.store.create(self.store.root(), name, &node).unwrap().0.id
    }

    fn lock(&mut self, open: Stateid, owner: &str, range: Range, exclusive: bool, file: FileId) -> Option<Stateid> {
        let locker = Locker::New { open, owner: owner.into() };
        self.state.lock(&LockRequest { file, range, exclusive, locker }, None).unwrap().ok()
    }
}

fn request(session: SessionId, slot: u32, sequence: u32) -> SequenceRequest {
    SequenceRequest { session, sequence, slot, highest_slot: slot, fingerprint: 7 }
}

const SMALL: RequestSize = RequestSize { bytes: 100, operations: 2, reply: 100, keep: true };

const USER: u32 = 1000;
const HERE: std::net::IpAddr = std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);
const OPENER: Opener = Opener { user: USER, principal: Some(USER) };

fn claimant(identity: &str) -> Claimant<'_> {
    Claimant { identity, principal: Some(USER) }
}

fn origin(identity: &str, partition: u32) -> Origin<'_> {
    Origin { identity, partition }
}

const BOTH: u32 = 3;

fn both() -> Access {
    Access::from_share(BOTH, 1).unwrap()
}

#[test]
fn identities_and_names_get_clients_of_their_own() {
    let mut setup = setup();
    let a = setup.exchange("fs/a", "host", 1);
    let b = setup.exchange("fs/b", "host", 1);
    let c = setup.exchange("fs/a", "other", 1);
    assert!(a.client != b.client && a.client != c.client);
    assert!(!a.confirmed);
    assert_eq!(
        setup.state.create_session(a.client, claimant("fs/b"), 0, 1, CHANNEL, |id| id.to_vec()),
        Err(Status::StaleClientId)
    );
}

#[test]
fn a_confirmed_client_is_found_again_and_a_restarted_one_loses_its_state_only_when_confirmed() {
    let mut setup = setup();
    let client = setup.client("host");
    let again = setup.exchange("fs", "host", 1);
    assert_eq!(again, Exchange { client, sequence: 2, confirmed: true });
    let file = setup.file(b"f");
    let open = setup.state.open(client, b"o", file, both(), OPENER).unwrap();
    let restarted = setup.exchange("fs", "host", 2).client;
    assert_ne!(restarted, client);
    assert!(setup.state.check_io(open, Some(client), file, Access::READ, USER).is_ok());
    setup.session(restarted, 1);
    assert_eq!(setup.state.check_io(open, Some(client), file, Access::READ, USER), Err(Status::BadStateId));
    assert_eq!(setup.state.destroy_client(client, origin("fs", 0), Some(USER)), Err(Status::StaleClientId));
}

#[test]
fn create_session_is_repeated_and_ordered() {
    let mut setup = setup();
    let client = setup.exchange("fs", "host", 1).client;
    let first = setup.session(client, 1);
    assert_eq!(setup.session(client, 1), first);
    assert_ne!(setup.session(client, 2), first);
    for wrong in [1, 4, 0] {
        let made = setup.state.create_session(client, claimant("fs"), 0, wrong, CHANNEL, |id| id.to_vec());
        assert_eq!(made, Err(Status::SeqMisordered));
    }
    assert_eq!(setup.state.destroy_client(client, origin("fs", 0), Some(USER)), Err(Status::ClientIdBusy));
}

#[test]
fn a_client_that_is_not_confirmed_is_forgotten_after_a_lease_and_an_idle_one_later() {
    let mut setup = setup();
    let confirmed = setup.client("confirmed");
    let unconfirmed = setup.exchange("fs", "unconfirmed", 1).client;
    let late = setup.exchange("fs", "late", 1).client;
    let known = |setup: &Setup| [confirmed, unconfirmed, late].map(|client| setup.state.clients.contains_key(&client));
    setup.ahead.fetch_add(89, Ordering::Relaxed);
    setup.state.sweep();
    assert_eq!(known(&setup), [true, true, true]);
    setup.ahead.fetch_add(2, Ordering::Relaxed);
    // Whether or not somebody has swept.
    let made = setup.state.create_session(late, claimant("fs"), 0, 1, CHANNEL, |id| id.to_vec());
    assert_eq!(made, Err(Status::StaleClientId));
    setup.state.sweep();
    assert_eq!(known(&setup), [true, false, false]);
    setup.ahead.fetch_add(90, Ordering::Relaxed);
    setup.state.sweep();
    assert_eq!(known(&setup), [false, false, false]);
    assert!(setup.state.sessions.is_empty() && setup.state.owners.is_empty());
}

#[test]
fn slots_replay_what_they_kept_and_refuse_disorder() {
    let mut setup = setup();
    let client = setup.exchange("fs", "host", 1).client;
    let session = setup.session(client, 1);
    let begin = |setup: &mut Setup, request| setup.state.begin_sequence(&request, SMALL, origin("fs", 0));
    assert_eq!(begin(&mut setup, request(session, 0, 0)), Err(Status::SeqMisordered));
    assert_eq!(begin(&mut setup, request(session, 0, 2)), Err(Status::SeqMisordered));
    assert_eq!(begin(&mut setup, request(session, 2, 1)), Err(Status::BadHighSlot));
    let bad_slot = SequenceRequest { slot: 2, highest_slot: 0, ..request(session, 0, 1) };
    assert_eq!(begin(&mut setup, bad_slot), Err(Status::BadSlot));
    assert_eq!(begin(&mut setup, request([0; 16], 0, 1)), Err(Status::BadSession));
    assert_eq!(setup.state.begin_sequence(&request(session, 0, 1), SMALL, origin("other", 0)), Err(Status::BadSession));

    let new = SequenceStart::New { client, channel: CHANNEL };
    assert_eq!(begin(&mut setup, request(session, 0, 1)), Ok(new));
    assert_eq!(begin(&mut setup, request(session, 0, 1)), Err(Status::Delay));
    setup.state.end_sequence(&request(session, 0, 1), Some(b"reply"));
    assert_eq!(begin(&mut setup, request(session, 0, 1)), Ok(SequenceStart::Replay(b"reply".to_vec())));
    let other = SequenceRequest { fingerprint: 8, ..request(session, 0, 1) };
    assert_eq!(begin(&mut setup, other), Err(Status::SeqFalseRetry));
    begin(&mut setup, request(session, 0, 2)).unwrap();
    setup.state.end_sequence(&request(session, 0, 2), None);
    assert_eq!(begin(&mut setup, request(session, 0, 2)), Err(Status::RetryUncachedRep));
    // The other slot has its own order.
    begin(&mut setup, request(session, 1, 1)).unwrap();
}

/// RFC 8881 §2.10.6.1: numbers go round, and 0 is one like others then.
#[test]
fn the_numbers_of_a_slot_go_round() {
    let mut setup = setup();
    let client = setup.exchange("fs", "host", 1).client;
    let session = setup.session(client, 1);
    let begin = |setup: &mut Setup, request| setup.state.begin_sequence(&request, SMALL, origin("fs", 0));
    setup.state.sessions.get_mut(&session).unwrap().begin_at(0, u32::MAX - 1);
    for number in [u32::MAX, 0] {
        begin(&mut setup, request(session, 0, number)).unwrap();
        setup.state.end_sequence(&request(session, 0, number), Some(b"reply"));
        let again = begin(&mut setup, request(session, 0, number));
        assert_eq!(again, Ok(SequenceStart::Replay(b"reply".to_vec())), "{number}");
    }
}

/// RFC 8881 §18.16.3: since 4.1 the word also says what the client would like.
#[test]
fn only_known_bits_ask_for_access() {
    for (word, in_4_0, in_4_1) in [
        (0, false, false),
        (3, true, true),
        (4, false, false),
        (0x0401, false, true),
        (0x0501, false, true),
        (0x0601, false, false),
        (0x0003_0101, false, true),
        (0x0004_0001, false, false),
        (0x8000_0001, false, false),
    ] {
        let known = [0, 1].map(|minor| Access::from_share(word, minor).is_some());
        assert_eq!(known, [in_4_0, in_4_1], "{word:#x}");
    }
}

#[test]
fn an_open_is_widened_narrowed_and_closed() {
    let mut setup = setup();
    let (client, file) = (setup.client("host"), setup.file(b"f"));
    let read = setup.state.open(client, b"o", file, Access::READ, OPENER).unwrap();
    let check = |setup: &Setup, id, wanted| setup.state.check_io(id, Some(client), file, wanted, USER);
    assert_eq!(check(&setup, read, Access::READ), Ok(IoRight::Open));
    assert_eq!(check(&setup, read, Access::WRITE), Err(Status::OpenMode));
    let wide = setup.state.open(client, b"o", file, Access::WRITE, OPENER).unwrap();
    assert_eq!(check(&setup, wide, Access::WRITE), Ok(IoRight::Open));
    assert_eq!(check(&setup, read, Access::READ), Err(Status::OldStateId));
    let newest = Stateid { seqid: 0, ..wide };
    assert_eq!(check(&setup, newest, Access::WRITE), Ok(IoRight::Open));
    let future = Stateid { seqid: 9, ..wide };
    assert_eq!(check(&setup, future, Access::WRITE), Err(Status::BadStateId));
    assert_eq!(check(&setup, Stateid::ANONYMOUS, Access::WRITE), Ok(IoRight::Permissions));
    let narrow = setup.state.downgrade(wide, Some(client), file, Access::READ).unwrap();
    assert_eq!(check(&setup, narrow, Access::WRITE), Err(Status::OpenMode));
    assert_eq!(setup.state.downgrade(narrow, Some(client), file, Access::WRITE), Err(Status::Inval));
    let other = setup.file(b"g");
    assert_eq!(setup.state.check_io(narrow, Some(client), other, Access::READ, USER), Err(Status::BadStateId));
    assert_eq!(setup.state.close(narrow, Some(client), other), Err(Status::BadStateId));
    assert_eq!(setup.state.close(narrow, Some(client + 1), file), Err(Status::BadStateId));
    setup.state.close(narrow, Some(client), file).unwrap();
    assert_eq!(check(&setup, narrow, Access::READ), Err(Status::BadStateId));
}

#[test]
fn an_open_file_is_pinned_until_its_client_is_gone() {
    let mut setup = setup();
    let (client, file) = (setup.client("host"), setup.file(b"f"));
    setup.state.open(client, b"o", file, both(), OPENER).unwrap();
    setup.store.remove(setup.store.root(), b"f").unwrap();
    assert!(setup.store.attributes(file).is_ok());
    setup.client("other");
    let restarted = setup.exchange("fs", "host", 2).client;
    setup.session(restarted, 1);
    assert!(setup.store.attributes(file).is_err());
}

#[test]
fn locks_conflict_between_owners_and_are_freed() {
    let mut setup = setup();
    let (a, b, file) = (setup.client("a"), setup.client("b"), setup.file(b"f"));
    let open_a = setup.state.open(a, b"o", file, both(), OPENER).unwrap();
    let open_b = setup.state.open(b, b"o", file, Access::READ, OPENER).unwrap();
    let range = Range::new(10, 10).unwrap();
    let held = setup.lock(open_a, "la", range, true, file).unwrap();
    assert_eq!(setup.lock(open_b, "lb", range, false, file), None);
    let (conflict, owner) = setup.state.test_lock(b, b"lb", file, range, false).unwrap().unwrap();
    assert_eq!((conflict.range, conflict.exclusive, owner), (range, true, (a, b"la".to_vec())));
    assert!(setup.state.test_lock(a, b"la", file, range, true).unwrap().is_none());
    assert!(setup.lock(open_b, "lb", Range::new(20, 5).unwrap(), false, file).is_some());
    let locker = Locker::New { open: open_b, owner: b"lb".to_vec() };
    let exclusive = LockRequest { file, range: Range::new(30, 1).unwrap(), exclusive: true, locker };
    assert_eq!(setup.state.lock(&exclusive, Some(b)).unwrap_err(), Status::OpenMode);
    assert_eq!(setup.state.free_stateid(held, a), Err(Status::LocksHeld));
    let freed = setup.state.unlock(held, Some(a), file, range).unwrap();
    assert_eq!(setup.state.free_stateid(freed, b), Err(Status::BadStateId));
    setup.state.free_stateid(freed, a).unwrap();
    assert_eq!(setup.state.test_stateid(freed, a), Err(Status::BadStateId));
    assert!(setup.lock(open_b, "lb", range, false, file).is_some());
    setup.state.close(open_b, Some(b), file).unwrap();
    assert!(setup.lock(open_a, "la", Range::new(0, u64::MAX).unwrap(), true, file).is_some());
}

/// What a client holds is counted as it comes and goes, so that a LOCK need not look at all its others.
#[test]
fn byte_ranges_are_counted_and_bounded() {
    let mut setup = setup();
    let (a, b) = (setup.client("a"), setup.client("b"));
    let files: Vec<_> = (0..17u8).map(|n| setup.file(&[b'f', n])).collect();
    let opens: Vec<_> = files.iter().map(|file| setup.state.open(a, b"o", *file, both(), OPENER).unwrap()).collect();
    let locked = |setup: &Setup, client| setup.state.clients[&client].locked;
    let range = |at| Range::new(at, 1).unwrap();
    let one = setup.lock(opens[0], "l", Range::new(0, 9).unwrap(), true, files[0]).unwrap();
    let split = setup.state.unlock(one, Some(a), files[0], range(4)).unwrap();
    assert_eq!(locked(&setup, a), 2);
    assert!(setup.lock(opens[0], "other", range(4), true, files[0]).is_some());
    assert_eq!(locked(&setup, a), 3);
    setup.state.unlock(split, Some(a), files[0], Range::new(0, u64::MAX).unwrap()).unwrap();
    assert_eq!(locked(&setup, a), 1);
    setup.state.close(opens[0], Some(a), files[0]).unwrap();
    assert_eq!((locked(&setup, a), setup.state.ranges.len()), (0, 0));

    for (open, file) in opens.iter().zip(&files).skip(1) {
        for at in 0..MAX_LOCKS_PER_FILE as u64 {
            assert!(setup.lock(*open, "l", range(2 * at), true, *file).is_some());
        }
    }
    assert_eq!(locked(&setup, a), MAX_LOCKS);
    let again = setup.state.open(a, b"o", files[0], both(), OPENER).unwrap();
    let refused = |setup: &mut Setup, client, open: Stateid, file| {
        let locker = Locker::New { open, owner: b"l".to_vec() };
        setup.state.lock(&LockRequest { file, range: range(0), exclusive: true, locker }, Some(client)).unwrap_err()
    };
    assert_eq!(refused(&mut setup, a, again, files[0]), Status::DQuot, "too many of a client");
    let beside = setup.state.open(b, b"o", files[1], both(), OPENER).unwrap();
    let locker = Locker::New { open: beside, owner: b"l".to_vec() };
    let free = LockRequest { file: files[1], range: range(1), exclusive: true, locker };
    assert_eq!(setup.state.lock(&free, Some(b)).unwrap_err(), Status::DQuot, "too many of a file");
    setup.state.forget_client(a);
    assert!(setup.state.ranges.is_empty());
    assert!(setup.state.lock(&free, Some(b)).unwrap().is_ok());
    assert_eq!(locked(&setup, b), 1);
}

#[test]
fn a_flood_of_clients_takes_the_place_of_those_that_hold_nothing() {
    let mut setup = setup();
    let (holder, file) = (setup.client("holder"), setup.file(b"f"));
    let open = setup.state.open(holder, b"o", file, both(), OPENER).unwrap();
    let idle = setup.client("idle");
    for number in 0..MAX_CLIENTS + 10 {
        setup.exchange("fs", &number.to_string(), 1);
        assert!(setup.state.clients.len() <= MAX_CLIENTS);
    }
    assert!(setup.state.clients.len() > MAX_CLIENTS - 100, "no more than a few go at once");
    assert!(setup.state.check_io(open, Some(holder), file, Access::READ, USER).is_ok());
    assert!(setup.state.clients.contains_key(&idle), "those that nobody has confirmed go first");
}

#[test]
fn a_silent_client_keeps_its_locks_until_somebody_else_wants_them() {
    let mut setup = setup();
    let (a, b, file) = (setup.client("a"), setup.client("b"), setup.file(b"f"));
    let open_a = setup.state.open(a, b"o", file, both(), OPENER).unwrap();
    let open_b = setup.state.open(b, b"o", file, both(), OPENER).unwrap();
    let range = Range::new(0, 1).unwrap();
    assert!(setup.lock(open_a, "l", range, true, file).is_some());
    setup.ahead.fetch_add(89, Ordering::Relaxed);
    assert!(setup.lock(open_b, "l", range, true, file).is_none());
    setup.ahead.fetch_add(2, Ordering::Relaxed);
    setup.state.sweep();
    assert!(setup.state.check_io(open_a, Some(a), file, Access::READ, USER).is_ok());
    assert!(setup.lock(open_b, "l", range, true, file).is_some());
    assert_eq!(setup.state.check_io(open_a, Some(a), file, Access::READ, USER), Err(Status::BadStateId));
}

#[test]
fn after_a_restart_only_those_who_had_state_may_claim_it_until_they_are_done() {
    let mut setup = setup();
    let (a, file) = (setup.client("a"), setup.file(b"f"));
    let open = setup.state.open(a, b"o", file, both(), OPENER).unwrap();
    setup.state.restart(true);
    assert_eq!(setup.state.check_io(open, None, file, Access::READ, USER), Err(Status::StaleStateId));
    let (a, b) = (setup.client("a"), setup.client("b"));
    assert_eq!(setup.state.check_grace(b, false), Err(Status::Grace));
    assert_eq!(setup.state.check_grace(b, true), Err(Status::ReclaimBad));
    assert_eq!(setup.state.check_grace(a, true), Ok(()));
    setup.state.reclaim_complete(a).unwrap();
    assert_eq!(setup.state.reclaim_complete(a), Err(Status::CompleteAlready));
    assert_eq!(setup.state.check_grace(b, false), Err(Status::Grace), "it may have something to claim back itself");
    setup.state.reclaim_complete(b).unwrap();
    assert_eq!(setup.state.check_grace(b, false), Ok(()));
    assert_eq!(setup.state.check_grace(a, true), Err(Status::NoGrace));

    setup.state.open(a, b"o", file, both(), OPENER).unwrap();
    setup.state.restart(true);
    let b = setup.client("b");
    assert_eq!(setup.state.check_grace(b, false), Err(Status::Grace));
    setup.state.reclaim_complete(b).unwrap();
    assert_eq!(setup.state.check_grace(b, false), Err(Status::Grace));
    setup.ahead.fetch_add(91, Ordering::Relaxed);
    assert_eq!(setup.state.check_grace(b, false), Ok(()));
    setup.state.restart(false);
    let a = setup.client("a");
    assert_eq!(setup.state.check_grace(a, true), Err(Status::NoGrace));
}

/// RFC 7530 §9.1.7: the last answer is kept for as long as an owner has state; §9.1.10: others may be forgotten.
#[test]
fn owners_that_hold_something_are_remembered_and_the_others_are_bounded() {
    let mut setup = setup();
    let owner = Owner { identity: "fs".into(), name: b"legacy".to_vec(), minor_version: 0 };
    let introduced = setup.state.set_client_id(owner, Some(USER), [1; 8], Callback::default(), HERE).unwrap();
    let Introduction::Known(client, confirm) = introduced else { panic!("nobody else has the name") };
    setup.state.confirm_client_id(client, confirm, claimant("fs")).unwrap();
    let place = |name: &[u8]| {
        let owner = OwnerName::Open(name.to_vec());
        OwnerSequence { client, owner, seqid: 7, step: Step::Open, request: 1 }
    };
    let answer = Answered { reply: b"reply".to_vec(), file: None };
    let file = setup.file(b"f");
    let stateid = setup.state.open(client, b"held", file, both(), OPENER).unwrap();
    setup.state.end_owner_sequence(place(b"held"), answer.clone());
    setup.state.confirm_open(stateid, file).unwrap();
    for number in 0..10_000u32 {
        setup.state.end_owner_sequence(place(&number.to_be_bytes()), answer.clone());
        let kept = setup.state.check_owner_sequence(&place(b"held"));
        assert_eq!(kept, Ok(Some(answer.clone())), "forgotten after {number} others");
    }
    let known = |setup: &Setup| setup.state.clients[&client].owner_count();
    assert!((2..5000).contains(&known(&setup)), "{}", known(&setup));
    for _ in 0..3 {
        setup.ahead.fetch_add(89, Ordering::Relaxed);
        setup.state.renew(client).unwrap();
        setup.state.sweep();
    }
    assert_eq!(known(&setup), 1);
    assert_eq!(setup.state.check_owner_sequence(&place(b"held")), Ok(Some(answer)));
}
