//! Client ids, sessions, slots, and where operations may stand.

use fake_efs::nfs::Status;

use super::client::*;
use super::operations::populated;

fn status(wire: &mut Wire, ops: &[Op]) -> u32 {
    wire.compound(1, ops).status
}

#[test]
fn minor_versions_above_1_are_told_that_they_are_not_served() {
    let running = populated();
    let mut wire = Wire::connect(running.address);
    for minor in [2, 3, 77] {
        let reply = wire.compound(minor, &[putrootfh()]);
        assert_eq!((reply.status, reply.count), (Status::MinorVersMismatch as u32, 0));
    }
}

#[test]
fn a_request_without_operations_succeeds() {
    let running = populated();
    let mut wire = Wire::connect(running.address);
    assert_eq!(wire.compound(1, &[]).status, OK);
    assert_eq!(wire.compound(0, &[]).status, OK);
}

#[test]
fn operations_outside_a_session_are_refused() {
    let running = populated();
    let mut wire = Wire::connect(running.address);
    for op in [putrootfh(), getfh(), reclaim_complete(), free_stateid([0; 16]), words(46, &[])] {
        assert_eq!(status(&mut wire, &[op]), Status::OpNotInSession as u32);
    }
    let two = [exchange_id("x", 1, 0), exchange_id("x", 1, 0)];
    assert_eq!(status(&mut wire, &two), Status::NotOnlyOp as u32);
}

#[test]
fn operations_that_no_version_has_are_illegal() {
    let running = populated();
    let mut wire = Wire::session(running.address, "wire");
    for number in [0, 1, 2, 59, 80, 10_043, 10_044, u32::MAX] {
        let mut reply = wire.run(&[words(number, &[])]);
        assert_eq!(reply.status, Status::OpIllegal as u32);
        assert_eq!(reply.head(), (10_044, Status::OpIllegal as u32));
    }
}

#[test]
fn sequence_stands_first_and_only_there() {
    let running = populated();
    let mut wire = Wire::session(running.address, "wire");
    let again = sequence(wire.session, 5, 1, 1, false);
    assert_eq!(wire.run(&[again]).status, Status::SequencePos as u32);
}

#[test]
fn exchange_id_checks_its_flags_and_protection() {
    let running = populated();
    let mut wire = Wire::connect(running.address);
    assert_eq!(status(&mut wire, &[exchange_id("x", 1, 0x8000_0000)]), Status::Inval as u32);
    assert_eq!(status(&mut wire, &[exchange_id("x", 1, 0x0800_0000)]), Status::Inval as u32);
    assert_eq!(status(&mut wire, &[exchange_id("x", 1, 0x0007_0003)]), OK);
    assert_eq!(status(&mut wire, &[exchange_id("unknown", 1, 0x4000_0000)]), Status::NoEnt as u32);
    assert_eq!(status(&mut wire, &[exchange_id_of_machine()]), Status::Inval as u32, "there is no Kerberos");
    for (algorithms, window, expected) in [
        ([0, 1], 1, Status::Inval),
        ([1, 0], 1, Status::Inval),
        ([1, 1], 0, Status::Inval),
        ([1, 1], 1, Status::EncrAlgUnsupp),
        ([100, 100], 1, Status::EncrAlgUnsupp),
    ] {
        assert_eq!(status(&mut wire, &[exchange_id_of_secret(algorithms, window)]), expected as u32, "{algorithms:?}");
    }
    wire.establish("known", 1);
    assert_eq!(status(&mut wire, &[exchange_id("known", 1, 0x4000_0000)]), OK);
    assert_eq!(status(&mut wire, &[exchange_id("known", 2, 0x4000_0000)]), Status::NotSame as u32);
}

/// RFC 8881 §18.35.4 and §18.36.4: who introduced a client speaks for it, and nobody else.
#[test]
fn a_client_belongs_to_who_introduced_it() {
    let running = populated();
    let mut wire = Wire::connect(running.address);
    let mut as_user = |uid: u32, op: Op| {
        wire.uid = uid;
        wire.compound(1, &[op])
    };
    const UPDATE: u32 = 0x4000_0000;
    let in_use = Status::ClidInUse as u32;
    // Not confirmed yet: another user can't confirm it, but may take the name (cases 1 and 4).
    let first = as_user(7, exchange_id("name", 1, 0)).op(42).u64();
    assert_eq!(as_user(8, create_session(first, 1)).status, in_use);
    let client = as_user(8, exchange_id("name", 1, 0)).op(42).u64();
    assert_ne!(client, first);
    assert_eq!(as_user(7, create_session(first, 1)).status, Status::StaleClientId as u32);
    let mut made = as_user(8, create_session(client, 1));
    let session = made.op(43).stateid();
    // Confirmed: cases 2 (non-update), 3 (collision), 6 (update), 8 (wrong verifier), 9 (wrong principal).
    assert_eq!(as_user(8, exchange_id("name", 1, 0)).op(42).u64(), client);
    assert_eq!(as_user(7, exchange_id("name", 1, 0)).status, in_use);
    assert_eq!(as_user(7, exchange_id("name", 2, 0)).status, in_use);
    assert_eq!(as_user(8, exchange_id("name", 1, UPDATE)).op(42).u64(), client);
    assert_eq!(as_user(8, exchange_id("name", 2, UPDATE)).status, Status::NotSame as u32);
    assert_eq!(as_user(7, exchange_id("name", 1, UPDATE)).status, Status::Perm as u32);
    assert_eq!(as_user(7, exchange_id("nobodys", 1, UPDATE)).status, Status::NoEnt as u32);
    // Neither a new session nor the answer that names the old one.
    for sequence in [1, 2] {
        assert_eq!(as_user(7, create_session(client, sequence)).status, in_use);
    }
    // What is a client's, others don't end.
    assert_eq!(as_user(7, destroy_session(session)).status, Status::ConnNotBoundToSession as u32);
    assert_eq!(as_user(7, destroy_clientid(client)).status, Status::StaleClientId as u32);
    // A client that holds nothing loses its name (case 3), and so does its client id.
    assert_eq!(as_user(8, destroy_session(session)).status, OK);
    let other = as_user(7, exchange_id("name", 1, 0)).op(42).u64();
    assert_ne!(other, client);
    assert_eq!(as_user(8, create_session(client, 2)).status, Status::StaleClientId as u32);
    assert_eq!(as_user(7, create_session(other, 1)).status, OK);
}

/// RFC 8881 §18.35.3: nothing is bound to the principal that made it, because the server does not say that it is
/// (EXCHGID4_FLAG_BIND_PRINC_STATEID). A session is its client's, whoever of its users asks; Linux sends them all over root's.
#[test]
fn a_session_serves_all_users_of_its_client_and_no_other_s() {
    let running = populated();
    let mut root = Wire::session(running.address, "root");
    let (stateid, handle) = root.open("f", 3);
    let lock_f = lock(2, 0, 5, stateid, root.client, b"l");
    let held = root.run(&[putfh(&handle), lock_f]).op(22).op(12).stateid();
    let mut own = Wire::session(running.address, "own");
    let bad = Status::BadStateId as u32;
    // In another client's session the state is none, whoever asks.
    for uid in [0, 8] {
        own.uid = uid;
        let mut tested = own.run(&[test_stateid(&[stateid, held])]);
        assert_eq!(tested.op(55).words(), [bad, bad]);
        let ops = [
            free_stateid(held),
            free_stateid(stateid),
            locku(0, 5, held),
            lock_more(1, 0, 9, 1, held),
            lock(1, 9, 1, stateid, own.client, b"l"),
            downgrade(stateid, 1, 0),
            close(stateid, 0),
            read(stateid, 0, 1),
            write(stateid, 0, 0, b"x"),
            setattr(stateid, (&[4], &[0; 8])),
        ];
        for op in ops {
            let number = op[3];
            assert_eq!(own.run(&[putfh(&handle), op]).status, bad, "operation {number} as {uid}");
        }
    }
    // In its own session it is, for all users.
    root.uid = 8;
    assert_eq!(root.run(&[test_stateid(&[stateid, held])]).op(55).words(), [OK, OK]);
    assert_eq!(root.run(&[reclaim_complete()]).status, Status::CompleteAlready as u32);
    let session = root.session;
    assert_eq!(status(&mut root, &[bind_connection(session, 1)]), OK);
    for op in [locku(0, 5, held), free_stateid(bumped(held)), close(stateid, 0)] {
        let number = op[3];
        assert_eq!(root.run(&[putfh(&handle), op]).status, OK, "operation {number}");
    }
}

/// RFC 8881 §2.10.6.1.3.1: the answer that is kept was for one user, and is not shown to another.
#[test]
fn a_repetition_by_another_user_is_a_false_one() {
    let running = populated();
    let mut root = Wire::session(running.address, "root");
    let ask = [sequence(root.session, 1, 0, 0, true), putrootfh(), lookup(b"f"), read(ANONYMOUS, 0, 10)];
    let first = root.compound(1, &ask);
    assert_eq!(first.status, OK);
    let mut beside = Wire::connect(running.address);
    for (uid, gid, gids, expected) in [
        (0, 0, vec![], OK),
        (1000, 0, vec![], Status::SeqFalseRetry as u32),
        (0, 1000, vec![], Status::SeqFalseRetry as u32),
        (0, 0, vec![7], Status::SeqFalseRetry as u32),
    ] {
        (beside.uid, beside.gid, beside.gids) = (uid, gid, gids);
        let again = beside.compound(1, &ask);
        assert_eq!(again.status, expected, "{uid} {gid}");
        assert_eq!(again.rest() == first.rest(), expected == OK);
    }
}

/// The state id's next version.
fn bumped(mut stateid: [u8; 16]) -> [u8; 16] {
    stateid[3] += 1;
    stateid
}

/// RFC 8881 §17: what 4.1 has given up of 4.0 is NOTSUPP before anything else is looked at.
#[test]
fn what_4_1_has_given_up_is_not_supported_wherever_it_stands() {
    let running = populated();
    let mut wire = Wire::session(running.address, "wire");
    for number in [20, 30, 35, 36, 39] {
        let expected = (number, Status::NotSupp as u32);
        // Without arguments, file or session.
        assert_eq!(wire.run(&[words(number, &[])]).head(), expected, "in a session");
        assert_eq!(wire.compound(1, &[words(number, &[])]).head(), expected, "alone");
        assert_eq!(wire.compound(1, &[words(number, &[]), putrootfh()]).head(), expected, "at the front");
    }
}

/// RFC 8881 §8.2.3: "current" is the state in whatever version it is by now, but for CLOSE and OPEN_DOWNGRADE.
#[test]
fn the_current_stateid_has_no_version_but_where_it_ends() {
    let running = populated();
    let mut wire = Wire::session(running.address, "wire");
    let client = wire.client;
    let open_f = || open(client, b"owner", 3, b"f");
    let mut outdated = |op: Op| {
        let ops = [putrootfh(), open_f(), savefh(), putrootfh(), open_f(), restorefh(), op];
        wire.run(&ops).status
    };
    assert_eq!(outdated(read(CURRENT, 0, 1)), OK);
    assert_eq!(outdated(write(CURRENT, 0, 0, b"x")), OK);
    assert_eq!(outdated(lock(2, 0, 5, CURRENT, client, b"l")), OK);
    let old = Status::OldStateId as u32;
    assert_eq!(outdated(downgrade(CURRENT, 1, 0)), old);
    assert_eq!(outdated(close(CURRENT, 0)), old);
}

/// The principal is the caller of AUTH_SYS although the access point replaces the user of every operation.
#[test]
fn an_access_point_s_user_is_nobodys_principal() {
    let running = populated();
    running.policy(|policy| {
        let user = fake_efs::admission::PosixUser { uid: 0, gid: 0, secondary_gids: Vec::new() };
        policy.posix_user = Some(user);
    });
    let mut wire = Wire::connect(running.address);
    wire.uid = 7;
    wire.establish("name", 1);
    wire.begin();
    let (stateid, handle) = wire.open("private", 3);
    wire.uid = 8;
    assert_eq!(status(&mut wire, &[exchange_id("name", 1, 0)]), Status::ClidInUse as u32);
    // To the files all callers are the same user, whose open file this is.
    assert_eq!(wire.run(&[putfh(&handle), write(stateid, 0, 0, b"x")]).status, OK);
}

#[test]
fn a_client_whose_lease_has_ended_loses_its_name_to_another_principal() {
    let running = super::operations::populated_with(super::server::short_lease(1));
    let mut first = Wire::session(running.address, "name");
    first.open("f", 3);
    let mut second = Wire::connect(running.address);
    second.uid = 7;
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(30);
    while status(&mut second, &[exchange_id("name", 1, 0)]) == Status::ClidInUse as u32 {
        assert!(std::time::Instant::now() < deadline, "it keeps it for ever");
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    second.establish("name", 1);
    assert_eq!(first.run(&[putrootfh()]).status, Status::BadSession as u32);
}

#[test]
fn a_client_learns_who_serves_it() {
    let running = populated();
    let mut wire = Wire::session(running.address, "wire");
    let mut reply = wire.compound(1, &[exchange_id("wire", 1, 0)]);
    assert_eq!(reply.op(42).u64(), wire.client);
    assert_eq!(reply.u32(), 2, "number of the next CREATE_SESSION");
    assert_eq!(reply.u32(), 0x8001_0000, "confirmed, no pNFS");
    assert_eq!(reply.u32(), 0, "no state protection");
    reply.u64();
    let (major, scope) = (reply.opaque(), reply.opaque());
    assert!(major.starts_with(&scope));
    // Another access point is another server, so that Linux does not merge the mounts.
    running.policy(|policy| policy.access_point_id = Some("fsap-2".into()));
    let mut other = Wire::connect(running.address);
    let mut reply = other.compound(1, &[exchange_id("wire", 1, 0)]);
    assert_ne!(reply.op(42).u64(), wire.client);
    reply.u32();
    assert_eq!(reply.u32(), 0x0001_0000, "not confirmed");
    reply.u32();
    reply.u64();
    assert_ne!(reply.opaque(), major);
    let session = wire.session;
    let stolen = other.compound(1, &[sequence(session, 1, 0, 0, false)]);
    assert_eq!(stolen.status, Status::BadSession as u32);
    assert_eq!(status(&mut other, &[create_session(wire.client, 2)]), Status::StaleClientId as u32);
    assert_eq!(status(&mut other, &[destroy_clientid(wire.client)]), Status::StaleClientId as u32);
    assert_eq!(status(&mut other, &[destroy_session(session)]), Status::BadSession as u32);
    assert_eq!(status(&mut other, &[bind_connection(session, 1)]), Status::BadSession as u32);
}

#[test]
fn create_session_checks_client_order_flags_and_sizes() {
    let running = populated();
    let mut wire = Wire::connect(running.address);
    assert_eq!(status(&mut wire, &[create_session(77, 1)]), Status::StaleClientId as u32);
    let mut reply = wire.compound(1, &[exchange_id("x", 1, 0)]);
    let client = reply.op(42).u64();
    assert_eq!(status(&mut wire, &[create_session(client, 5)]), Status::SeqMisordered as u32);
    let with = |flags, channel| create_session_with(client, 1, flags, channel);
    assert_eq!(status(&mut wire, &[with(8, [4096, 4096, 0, 8, 1])]), Status::Inval as u32);
    assert_eq!(status(&mut wire, &[with(0, [10, 4096, 0, 8, 1])]), Status::TooSmall as u32);
    assert_eq!(status(&mut wire, &[with(0, [4096, 10, 0, 8, 1])]), Status::TooSmall as u32);
    assert_eq!(status(&mut wire, &[with(0, [4096, 4096, 0, 0, 1])]), Status::TooSmall as u32);
    let greedy = with(3, [u32::MAX; 5]);
    let mut reply = wire.compound(1, std::slice::from_ref(&greedy));
    let session = reply.op(43).stateid();
    assert_eq!((reply.u32(), reply.u32()), (1, 2), "sequence; back channel, not persistent");
    let fore: Vec<u32> = (0..7).map(|_| reply.u32()).collect();
    assert!(fore[1] >= 1 << 20 && fore[1] < 2 << 20, "{fore:?}");
    assert!(fore[4] <= 128 && fore[5] <= 64, "{fore:?}");
    // Repeated, it makes no second session.
    let mut reply = wire.compound(1, &[greedy]);
    assert_eq!(reply.op(43).stateid(), session);
}

/// RFC 8881 §18.36.3: nothing is granted that was not offered, and a channel that is good for nothing is refused.
#[test]
fn both_channels_are_checked_and_limited() {
    let running = populated();
    let mut wire = Wire::connect(running.address);
    let client = wire.compound(1, &[exchange_id("x", 1, 0)]).op(42).u64();
    let usual = [4096, 4096, 0, 8, 1];
    let with = |flags, fore, back| create_session_channels(client, 1, flags, [fore, back]);
    let no_requests = [4096, 4096, 0, 8, 0];
    assert_eq!(status(&mut wire, &[with(0, no_requests, usual)]), Status::Inval as u32);
    let back = [
        (no_requests, Status::Inval),
        ([10, 4096, 0, 8, 1], Status::TooSmall),
        ([4096, 10, 0, 8, 1], Status::TooSmall),
    ];
    for (back, expected) in back.into_iter().chain([([4096, 4096, 0, 1, 1], Status::TooSmall)]) {
        assert_eq!(status(&mut wire, &[with(2, usual, back)]), expected as u32, "{back:?}");
    }
    let mut reply = wire.compound(1, &[with(2, [1000, 1 << 30, 600, 3, 1], [700, u32::MAX, u32::MAX, 2, 1])]);
    wire.session = reply.op(43).stateid();
    assert_eq!((reply.u32(), reply.u32()), (1, 2));
    let mut channel = || -> Vec<u32> { (0..7).map(|_| reply.u32()).collect() };
    let (fore, back) = (channel(), channel());
    assert_eq!((fore[1], fore[3], fore[4], fore[5]), (1000, 600, 3, 1));
    assert!(fore[2] > 1 << 20 && fore[2] < 2 << 20);
    assert_eq!((back[1], back[4], back[5]), (700, 2, 1));
    assert!(back[2] < 2 << 20 && back[3] < 2 << 20, "{back:?}");
    // Without callbacks nobody cares for their channel.
    assert_eq!(status(&mut wire, &[create_session_channels(client, 2, 0, [usual, [0; 5]])]), OK);
}

/// Sizes are those of whole RPC messages, with their headers (RFC 8881 §18.36.3).
#[test]
fn a_message_is_as_long_as_its_header_and_what_follows() {
    let running = populated();
    let mut wire = Wire::connect(running.address);
    let client = wire.compound(1, &[exchange_id("x", 1, 0)]).op(42).u64();
    let mut reply = wire.compound(1, &[create_session_with(client, 1, 0, [600, 1024, 600, 8, 1])]);
    wire.session = reply.op(43).stateid();
    let head = wire.call_head(100_003, 4, 1).buffer.len();
    let request = |wire: &Wire, name: usize| {
        let name = lookup(&vec![b'x'; name]);
        compound_body(1, &[sequence(wire.session, wire.sequence + 1, 0, 0, false), putrootfh(), name])
    };
    let longest = (1..600).rev().find(|name| head + request(&wire, *name).len() <= 600).unwrap();
    let reply = wire.compound_body(&request(&wire, longest + 4));
    assert_eq!((reply.status, reply.count), (Status::ReqTooBig as u32, 1));
    assert_ne!(wire.compound_body(&request(&wire, longest)).status, Status::ReqTooBig as u32);
}

/// RFC 8881 §2.10.6.1.3: what is to be kept has to fit, SEQUENCE's own result included.
#[test]
fn a_reply_that_can_not_be_kept_is_refused_before_its_slot_is_taken() {
    let running = populated();
    let mut wire = Wire::connect(running.address);
    let client = wire.compound(1, &[exchange_id("x", 1, 0)]).op(42).u64();
    let mut reply = wire.compound(1, &[create_session_with(client, 1, 0, [4096, 1024, 60, 8, 1])]);
    wire.session = reply.op(43).stateid();
    let at = |wire: &Wire, cache| sequence(wire.session, 1, 0, 0, cache);
    let reply = wire.compound(1, &[at(&wire, true), putrootfh(), mkdir(b"new")]);
    assert_eq!((reply.status, reply.count), (Status::RepTooBigToCache as u32, 1));
    // A tag is repeated in the reply.
    let mut tagged = fake_efs::nfs::xdr::Encoder::default();
    tagged.opaque(&[b't'; 1000]).u32(1).u32(1);
    tagged.buffer.extend_from_slice(&at(&wire, false));
    assert_eq!(wire.compound_body(&tagged.buffer).status, Status::RepTooBig as u32);
    assert!(running.store().lookup(running.store().root(), b"new").is_err());
    // The slot is where it was.
    let make = [at(&wire, false), putrootfh(), mkdir(b"new")];
    assert_eq!(wire.compound(1, &make).status, OK);
    assert_eq!(wire.compound(1, &make).status, Status::RetryUncachedRep as u32, "60 bytes hold nothing");
}

#[test]
fn sessions_and_clients_are_destroyed_in_order() {
    let running = populated();
    let mut wire = Wire::session(running.address, "wire");
    let (client, session) = (wire.client, wire.session);
    assert_eq!(status(&mut wire, &[destroy_clientid(client)]), Status::ClientIdBusy as u32);
    assert_eq!(status(&mut wire, &[destroy_session([7; 16])]), Status::BadSession as u32);
    assert_eq!(wire.run(&[destroy_session(session), putrootfh()]).status, Status::NotOnlyOp as u32);
    assert_eq!(wire.run(&[destroy_session(session)]).status, OK);
    assert_eq!(wire.run(&[putrootfh()]).status, Status::BadSession as u32);
    assert_eq!(status(&mut wire, &[destroy_session(session)]), Status::BadSession as u32);
    assert_eq!(status(&mut wire, &[destroy_clientid(client)]), OK);
    assert_eq!(status(&mut wire, &[destroy_clientid(client)]), Status::StaleClientId as u32);
}

#[test]
fn slots_keep_their_order_and_answer_repetitions() {
    let running = populated();
    let mut wire = Wire::session(running.address, "wire");
    let session = wire.session;
    let at = |slot, number, highest| sequence(session, number, slot, highest, true);
    assert_eq!(status(&mut wire, &[at(9, 1, 3)]), Status::BadSlot as u32);
    assert_eq!(status(&mut wire, &[at(0, 1, 9)]), Status::BadHighSlot as u32);
    assert_eq!(status(&mut wire, &[at(0, 0, 3)]), Status::SeqMisordered as u32);
    assert_eq!(status(&mut wire, &[at(0, 2, 3)]), Status::SeqMisordered as u32);
    let make = [at(0, 1, 3), putrootfh(), mkdir(b"once"), getfh()];
    let first = wire.compound(1, &make);
    assert_eq!(first.status, OK);
    let again = wire.compound(1, &make);
    assert_eq!(again.rest(), first.rest(), "the repetition has the same answer and not EXIST");
    let other = [at(0, 1, 3), putrootfh(), remove(b"once")];
    assert_eq!(status(&mut wire, &other), Status::SeqFalseRetry as u32);
    assert_eq!(status(&mut wire, &[at(3, 1, 3), putrootfh(), lookup(b"once")]), OK);
    let failed = [at(0, 2, 3), putrootfh(), lookup(b"missing")];
    assert_eq!(status(&mut wire, &failed), Status::NoEnt as u32);
    assert_eq!(status(&mut wire, &failed), Status::NoEnt as u32);
}

#[test]
fn a_large_reply_that_nobody_asked_to_keep_is_not_kept() {
    let running = populated();
    let mut wire = Wire::session(running.address, "wire");
    let store = running.store();
    let file = store.lookup(store.root(), b"f").unwrap();
    store.write(file, 0, &[7; 2000]).unwrap();
    let large = [sequence(wire.session, 1, 0, 0, false), putrootfh(), lookup(b"f"), read(ANONYMOUS, 0, 2000)];
    assert_eq!(status(&mut wire, &large), OK);
    assert_eq!(status(&mut wire, &large), Status::RetryUncachedRep as u32);
}

#[test]
fn a_session_works_on_several_connections_bound_or_not() {
    let running = populated();
    let mut first = Wire::session(running.address, "wire");
    let mut second = Wire::connect(running.address);
    let session = first.session;
    assert_eq!(status(&mut second, &[sequence(session, 1, 2, 2, false), putrootfh()]), OK);
    assert_eq!(first.run(&[putrootfh()]).status, OK);
    for (asked, bound) in [(1, 1), (3, 3), (2, 2), (7, 3)] {
        let mut reply = second.compound(1, &[bind_connection(session, asked)]);
        assert_eq!(reply.op(41).stateid(), session);
        assert_eq!(reply.u32(), bound);
    }
    assert_eq!(status(&mut second, &[bind_connection(session, 9)]), Status::Inval as u32);
    assert_eq!(status(&mut second, &[bind_connection([7; 16], 1)]), Status::BadSession as u32);
    assert_eq!(first.run(&[bind_connection(session, 1)]).status, Status::NotOnlyOp as u32);
    // A repetition may come over the other connection, as after a break.
    let make = [sequence(session, 2, 2, 2, true), putrootfh(), mkdir(b"once")];
    assert_eq!(status(&mut first, &make), OK);
    assert_eq!(status(&mut second, &make), OK);
}

#[test]
fn requests_beyond_what_was_agreed_are_refused() {
    let running = populated();
    let mut wire = Wire::connect(running.address);
    let mut reply = wire.compound(1, &[exchange_id("x", 1, 0)]);
    let client = reply.op(42).u64();
    let mut reply = wire.compound(1, &[create_session_with(client, 1, 0, [1024, 1024, 512, 4, 1])]);
    wire.session = reply.op(43).stateid();
    assert_eq!(wire.run(&[putrootfh(), getfh(), getfh()]).status, OK);
    assert_eq!(wire.run(&[putrootfh(), getfh(), getfh(), getfh()]).status, Status::TooManyOps as u32);
    // SEQUENCE itself was refused, and has not taken the slot.
    wire.sequence -= 1;
    assert_eq!(wire.run(&[putrootfh(), lookup(&[b'x'; 1100])]).status, Status::ReqTooBig as u32);
    wire.sequence -= 1;
    let store = running.store();
    let file = store.lookup(store.root(), b"f").unwrap();
    store.write(file, 0, &[7; 5000]).unwrap();
    let mut reply = wire.run(&[putrootfh(), lookup(b"f"), read(ANONYMOUS, 0, 5000)]);
    assert_eq!(reply.status, OK);
    reply.op(24).op(15).op(25);
    assert_eq!(reply.u32(), 0, "not the end");
    let short = reply.opaque().len();
    assert!((1..1024).contains(&short), "a read is shortened to what fits: {short}");
    let mut unlimited = Wire::session(running.address, "y");
    assert_eq!(unlimited.run(&vec![putrootfh(); 200]).status, Status::TooManyOps as u32);
}

/// The numbers of all attributes that can be read; those that the server does not have are left out of its answer.
fn everything() -> Op {
    let readable: Vec<u32> = (0..96).filter(|number| !matches!(number, 48 | 54)).collect();
    getattr(&readable)
}

#[test]
fn replies_beyond_what_was_agreed_are_refused_before_anything_is_done() {
    let running = populated();
    let mut wire = Wire::connect(running.address);
    let mut reply = wire.compound(1, &[exchange_id("x", 1, 0)]);
    let client = reply.op(42).u64();
    let mut reply = wire.compound(1, &[create_session_with(client, 1, 0, [4096, 1024, 512, 64, 1])]);
    wire.session = reply.op(43).stateid();
    let twice = [putrootfh(), everything(), everything(), everything()];
    assert_eq!(wire.run(&twice).status, Status::RepTooBig as u32);
    assert_eq!(wire.run_cached(&twice, true).status, Status::RepTooBigToCache as u32);
    // The answer of what changes something must fit before it is begun.
    let store = running.store();
    for (cached, expected) in [(true, Status::RepTooBigToCache), (false, Status::RepTooBig)] {
        // The reply is filled more and more until there is no room left.
        let refused = (0..50).find_map(|fill| {
            let name = format!("new {cached} {fill}");
            let ops = [vec![putrootfh()], vec![getfh(); fill], vec![mkdir(name.as_bytes())]].concat();
            let reply = wire.run_cached(&ops, cached);
            (reply.status != OK).then(|| (name, reply.status, reply.count as usize == ops.len() + 1))
        });
        let (name, status, by_the_last) = refused.unwrap();
        assert_eq!((status, by_the_last), (expected as u32, true));
        assert!(store.lookup(store.root(), name.as_bytes()).is_err(), "it was done all the same");
    }
    // A read is shortened, but never to nothing, which would make a client ask for ever.
    let file = store.lookup(store.root(), b"f").unwrap();
    store.write(file, 0, &[7; 5000]).unwrap();
    let mut reply = wire.run(&[putrootfh(), lookup(b"f"), everything(), read(ANONYMOUS, 0, 5000)]);
    assert_eq!(reply.status, OK);
    reply.op(24).op(15).op(9).words();
    reply.opaque();
    assert_eq!(reply.op(25).u32(), 0, "not the end");
    assert!(!reply.opaque().is_empty());
    let full = [putrootfh(), lookup(b"f"), everything(), everything(), read(ANONYMOUS, 0, 5000)];
    assert_eq!(wire.run(&full).status, Status::RepTooBig as u32);
    assert_eq!(wire.run_cached(&[putrootfh(), mkdir(b"new")], true).status, OK);
}

#[test]
fn a_client_has_at_most_16_sessions() {
    let running = populated();
    let mut wire = Wire::session(running.address, "wire");
    let client = wire.client;
    for number in 2..=16 {
        assert_eq!(status(&mut wire, &[create_session(client, number)]), OK);
    }
    assert_eq!(status(&mut wire, &[create_session(client, 17)]), Status::NoSpc as u32);
    assert_eq!(wire.run(&[putrootfh()]).status, OK);
}

#[test]
fn a_callers_refusal_comes_at_the_first_file_handle() {
    let running = populated();
    running.policy(|policy| policy.refuse = true);
    let mut wire = Wire::session(running.address, "wire");
    assert_eq!(wire.run(&[putrootfh()]).status, Status::Access as u32);
    assert_eq!(wire.run(&[putfh(&[7; 28])]).status, Status::Access as u32);
    assert_eq!(wire.run(&[words(23, &[])]).status, Status::Access as u32);
}

#[test]
fn without_the_right_to_write_every_change_is_refused() {
    let running = populated();
    running.policy(|policy| policy.rights.write = false);
    let mut wire = Wire::session(running.address, "wire");
    let client = wire.client;
    let changes = [
        vec![mkdir(b"new")],
        vec![symlink(b"new", b"x")],
        vec![remove(b"f")],
        vec![savefh(), rename(b"f", b"new")],
        vec![lookup(b"f"), savefh(), putrootfh(), link(b"new")],
        vec![lookup(b"f"), write(ANONYMOUS, 0, 0, b"x")],
        vec![lookup(b"f"), setattr(ANONYMOUS, (&[33], &mode(0o600)))],
        vec![lookup(b"f"), setattr(ANONYMOUS, (&[4], &[0; 8]))],
        vec![open(client, b"o", 2, b"f")],
        vec![open_create(client, 0, (&[33], &mode(0o600)), b"new")],
    ];
    for ops in changes {
        let ops: Vec<Op> = std::iter::once(putrootfh()).chain(ops).collect();
        assert_eq!(wire.run(&ops).status, Status::RoFs as u32);
    }
    let mut reply = wire.run(&[putrootfh(), access(63)]);
    reply.op(24).op(3);
    assert_eq!((reply.u32(), reply.u32()), (31, 3), "read and look up");
    assert_eq!(wire.run(&[putrootfh(), open(client, b"o", 1, b"f")]).status, OK);
}

#[test]
fn root_without_root_access_is_nobody() {
    let running = populated();
    running.policy(|policy| policy.rights.root = false);
    let mut wire = Wire::session(running.address, "wire");
    assert_eq!(wire.run(&[putrootfh(), lookup(b"private"), read(ANONYMOUS, 0, 1)]).status, Status::Access as u32);
    let mut reply = wire.run(&[putrootfh(), lookup(b"full"), mkdir(b"new"), getattr(&[36])]);
    reply.op(24).op(15).op(6);
    for _ in 0..5 {
        reply.u32();
    }
    reply.words();
    reply.op(9).words();
    assert_eq!(reply.opaque(), text("65534"));
}
