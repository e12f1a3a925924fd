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

fn claimant(identity: &str) -> Claimant<'_> {
    Claimant { identity, principal: Some(USER) }
}

fn origin(identity: &str, partition: u32) -> Origin<'_> {
    Origin { identity, partition }
}

const BOTH: u32 = 3;

fn both() -> Access {
    Access::from_share(BOTH).unwrap()
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
    let open = setup.state.open(client, b"o", file, both(), USER).unwrap();
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

#[test]
fn an_open_is_widened_narrowed_and_closed() {
    let mut setup = setup();
    let (client, file) = (setup.client("host"), setup.file(b"f"));
    let read = setup.state.open(client, b"o", file, Access::READ, USER).unwrap();
    let check = |setup: &Setup, id, wanted| setup.state.check_io(id, Some(client), file, wanted, USER);
    assert_eq!(check(&setup, read, Access::READ), Ok(IoRight::Open));
    assert_eq!(check(&setup, read, Access::WRITE), Err(Status::OpenMode));
    let wide = setup.state.open(client, b"o", file, Access::WRITE, USER).unwrap();
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
    setup.state.open(client, b"o", file, both(), USER).unwrap();
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
    let open_a = setup.state.open(a, b"o", file, both(), USER).unwrap();
    let open_b = setup.state.open(b, b"o", file, Access::READ, USER).unwrap();
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

#[test]
fn a_silent_client_keeps_its_locks_until_somebody_else_wants_them() {
    let mut setup = setup();
    let (a, b, file) = (setup.client("a"), setup.client("b"), setup.file(b"f"));
    let open_a = setup.state.open(a, b"o", file, both(), USER).unwrap();
    let open_b = setup.state.open(b, b"o", file, both(), USER).unwrap();
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
    let open = setup.state.open(a, b"o", file, both(), USER).unwrap();
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

    setup.state.open(a, b"o", file, both(), USER).unwrap();
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
    let introduced = setup.state.set_client_id(owner, Some(USER), [1; 8], Callback::default()).unwrap();
    let Introduction::Known(client, confirm) = introduced else { panic!("nobody else has the name") };
    setup.state.confirm_client_id(client, confirm, claimant("fs")).unwrap();
    let place = |name: &[u8]| {
        let owner = OwnerName::Open(name.to_vec());
        OwnerSequence { client, owner, seqid: 7, step: Step::Open, request: 1 }
    };
    let answer = Answered { reply: b"reply".to_vec(), file: None };
    let file = setup.file(b"f");
    let stateid = setup.state.open(client, b"held", file, both(), USER).unwrap();
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
