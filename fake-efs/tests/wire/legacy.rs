//! NFSv4.0: client ids without sessions, owners with sequence numbers.

use fake_efs::nfs::Status;

use super::client::*;
use super::operations::{populated, populated_with};

fn status(reply: &Reply) -> Option<Status> {
    (reply.status != OK).then(|| Status::from_number(reply.status).unwrap())
}

struct Legacy(Wire);

impl Legacy {
    fn run(&mut self, ops: &[Op]) -> Reply {
        self.0.compound(0, ops)
    }

    fn establish(&mut self, name: &str, verifier: u8) -> u64 {
        let mut reply = self.run(&[setclientid(name, verifier)]);
        let (client, confirm) = (reply.op(35).u64(), reply.u64());
        assert_eq!(status(&self.run(&[setclientid_confirm(client, confirm)])), None);
        self.0.client = client;
        client
    }

    fn open_op(&self, seqid: u32, access: u32, name: &[u8]) -> Op {
        Open { seqid, access, ..plain_open(self.0.client, name) }.encode()
    }

    /// Opens and confirms with the numbers 1 and 2.
    fn open(&mut self, name: &[u8]) -> ([u8; 16], Vec<u8>) {
        self.open_after(0, name)
    }

    /// Opens and confirms with the two numbers after this one.
    fn open_after(&mut self, seqid: u32, name: &[u8]) -> ([u8; 16], Vec<u8>) {
        let op = self.open_op(seqid + 1, 3, name);
        let mut reply = self.run(&[putrootfh(), op, getfh()]);
        let stateid = reply.op(24).op(18).open();
        let handle = reply.op(10).opaque();
        let mut reply = self.run(&[putfh(&handle), stateid_op(20, stateid, seqid + 2)]);
        (reply.op(22).op(20).stateid(), handle)
    }
}

fn setup() -> (super::server::Running, Legacy) {
    let running = populated();
    let mut legacy = Legacy(Wire::connect(running.address));
    legacy.establish("legacy", 1);
    (running, legacy)
}

#[test]
fn a_client_confirms_itself_and_renews() {
    let (running, mut legacy) = setup();
    let client = legacy.0.client;
    let renew = |client: u64| words(30, &[(client >> 32) as u32, client as u32]);
    assert_eq!(status(&legacy.run(&[renew(client)])), None);
    assert_eq!(status(&legacy.run(&[renew(77)])), Some(Status::StaleClientId));
    assert_eq!(status(&legacy.run(&[setclientid_confirm(client, 77)])), Some(Status::StaleClientId));
    let mut other = Legacy(Wire::connect(running.address));
    let mut reply = other.run(&[setclientid("unconfirmed", 1)]);
    let unconfirmed = reply.op(35).u64();
    assert_eq!(status(&other.run(&[renew(unconfirmed)])), Some(Status::StaleClientId));
    assert_eq!(other.establish("legacy", 1), client, "the same client comes back");
    assert_ne!(other.establish("legacy", 2), client, "the same machine after a restart");
}

/// RFC 7530 §16.33.5 and §16.34.5: who introduced a client speaks for it, and nobody else.
#[test]
fn a_client_belongs_to_who_introduced_it() {
    let running = populated();
    let mut legacy = Legacy(Wire::connect(running.address));
    let mut as_user = |uid: u32, op: Op| {
        legacy.0.uid = uid;
        legacy.run(&[op])
    };
    let in_use = Some(Status::ClidInUse);
    let mut reply = as_user(7, setclientid("name", 1));
    let (client, confirm) = (reply.op(35).u64(), reply.u64());
    assert_eq!(status(&as_user(8, setclientid_confirm(client, confirm))), in_use);
    assert_eq!(status(&as_user(7, setclientid_confirm(client, confirm))), None);
    assert_eq!(status(&as_user(7, setclientid_confirm(client, confirm))), None, "a repetition");
    assert_eq!(status(&as_user(8, setclientid_confirm(client, confirm))), in_use);
    for verifier in [1, 2] {
        let mut reply = as_user(8, setclientid("name", verifier));
        assert_eq!((status(&reply), reply.head()), (in_use, (35, Status::ClidInUse as u32)));
        assert_eq!((reply.opaque(), reply.opaque()), (b"tcp".to_vec(), b"127.0.0.1.0.0".to_vec()), "who has it");
    }
    // The verifier of before counts until the new one is confirmed.
    let mut reply = as_user(7, setclientid("name", 1));
    assert_eq!(reply.op(35).u64(), client);
    let later = reply.u64();
    assert_eq!(status(&as_user(7, setclientid_confirm(client, confirm))), None);
    assert_eq!(status(&as_user(8, setclientid_confirm(client, later))), in_use);
    assert_eq!(status(&as_user(7, setclientid_confirm(client, later))), None);
    assert_eq!(status(&as_user(7, setclientid_confirm(client, confirm))), Some(Status::StaleClientId));
}

#[test]
fn an_open_must_be_confirmed_and_numbers_must_follow() {
    let (_running, mut legacy) = setup();
    let op = legacy.open_op(5, 1, b"f");
    let mut reply = legacy.run(&[putrootfh(), op, getfh()]);
    let stateid = reply.op(24).op(18).stateid();
    for _ in 0..5 {
        reply.u32();
    }
    assert_eq!(reply.u32() & 2, 2, "confirm");
    reply.words();
    reply.u32();
    let handle = reply.op(10).opaque();
    let mut reply = legacy.run(&[putfh(&handle), stateid_op(20, stateid, 6)]);
    let confirmed = reply.op(22).op(20).stateid();
    let op = legacy.open_op(9, 1, b"f");
    assert_eq!(status(&legacy.run(&[putrootfh(), op])), Some(Status::BadSeqId));
    assert_eq!(status(&legacy.run(&[putfh(&handle), close(confirmed, 9)])), Some(Status::BadSeqId));
    assert_eq!(status(&legacy.run(&[putfh(&handle), close(confirmed, 7)])), None);
    assert_eq!(status(&legacy.run(&[putfh(&handle), close(confirmed, 7)])), None, "a repetition");
    let op = legacy.open_op(8, 1, b"f");
    let mut reply = legacy.run(&[putrootfh(), op]);
    reply.op(24).op(18).stateid();
    for _ in 0..5 {
        reply.u32();
    }
    assert_eq!(reply.u32() & 2, 0, "confirmed already");
}

#[test]
fn a_repeated_open_makes_nothing_twice() {
    let (running, mut legacy) = setup();
    let rest = create_attrs((&[33], &mode(0o600)));
    let op = Open { seqid: 1, access: 3, create: Some((1, rest)), ..plain_open(legacy.0.client, b"new") }.encode();
    let first = legacy.run(&[putrootfh(), op.clone()]);
    assert_eq!(status(&first), None);
    let again = legacy.run(&[putrootfh(), op]);
    assert_eq!(status(&again), None, "guarded, so done again it would be EXIST");
    assert_eq!(again.rest(), first.rest());
    let store = running.store();
    assert!(store.lookup(store.root(), b"new").is_ok());
}

/// RFC 7530 §9.1.7: the stored response takes the place of the operation, and nothing else of the request.
#[test]
fn a_request_goes_on_behind_a_repeated_open() {
    let (_running, mut legacy) = setup();
    let rest = create_attrs((&[33], &mode(0o600)));
    let create = Open { seqid: 1, access: 3, create: Some((1, rest)), ..plain_open(legacy.0.client, b"new") }.encode();
    let request = [putrootfh(), create, getfh(), getattr(&[1, 33])];
    let first = legacy.run(&request);
    assert_eq!((status(&first), first.count), (None, 4));
    let again = legacy.run(&request);
    assert_eq!((status(&again), again.count), (None, 4));
    assert_eq!(again.rest(), first.rest(), "the same file, and its attributes");
    // An error is repeated too, and still ends the request.
    let missing = legacy.open_op(2, 1, b"missing");
    for _ in 0..2 {
        let reply = legacy.run(&[putrootfh(), missing.clone(), getfh()]);
        assert_eq!((status(&reply), reply.count), (Some(Status::NoEnt), 2));
    }
}

/// What the server keeps for repeated requests of operations without a number (RFC 7530 §16.33.5).
#[test]
fn an_operation_without_a_number_is_not_done_again_when_its_reply_was_lost() {
    let (running, mut legacy) = setup();
    let (stateid, handle) = legacy.open(b"f");
    let cut = setattr(stateid, (&[4], &3u64.to_be_bytes()));
    let requests = [
        vec![putrootfh(), mkdir(b"made"), getfh()],
        vec![putrootfh(), savefh(), putrootfh(), rename(b"made", b"moved")],
        vec![putfh(&handle), savefh(), putrootfh(), link(b"linked")],
        vec![putrootfh(), remove(b"moved")],
        vec![putfh(&handle), cut],
    ];
    let mut other = Legacy(Wire::connect(running.address));
    for request in requests {
        let first = legacy.run(&request);
        assert_eq!(status(&first), None);
        let longer = [putfh(&handle), write(ANONYMOUS, 0, 0, b"longer than three")];
        assert_eq!(status(&other.run(&longer)), None);
        legacy = Legacy(legacy.0.reconnect(running.address));
        let again = legacy.run(&request);
        assert_eq!((status(&again), again.rest()), (None, first.rest()));
        let store = running.store();
        let file = store.attributes(store.lookup(store.root(), b"f").unwrap()).unwrap();
        assert_eq!(file.size, 17, "it was cut once more");
    }
}

#[test]
fn another_request_or_client_is_not_taken_for_a_repetition() {
    let (running, mut legacy) = setup();
    running.policy(|policy| policy.access_point_id = Some("fsap-nobody".to_owned()));
    let mut nobody = Legacy(Wire::connect(running.address));
    let file = [putrootfh(), create(7, b"pipe", (&[], &[]))];
    assert_eq!(status(&nobody.run(&file)), None);
    assert_eq!(status(&nobody.run(&[putrootfh(), remove(b"pipe")])), None);
    let mut same_number = Legacy(Wire::connect(running.address));
    same_number.0.xid = nobody.0.xid - 2;
    assert_eq!(status(&same_number.run(&file)), None, "done once more, since nobody there has introduced itself");
    assert_eq!(status(&same_number.run(&[putrootfh(), lookup(b"pipe")])), None, "and not from memory");
    running.policy(|policy| policy.access_point_id = None);
    let mut beside = Legacy(Wire::connect(running.address));
    assert_eq!(status(&beside.run(&[putrootfh()])), None);
    let make = [putrootfh(), mkdir(b"made")];
    assert_eq!(status(&legacy.run(&make)), None);
    let exist = Some(Status::Exist);
    beside.0.xid = legacy.0.xid - 1;
    assert_eq!(status(&beside.run(&make)), exist, "a connection that was there before");
    let mut other_user = Legacy(Wire::connect(running.address));
    (other_user.0.xid, other_user.0.gid) = (legacy.0.xid - 1, 77);
    assert_eq!(status(&other_user.run(&make)), exist);
    let mut new = Legacy(Wire::connect(running.address));
    new.establish("new", 1);
    new.0.xid = legacy.0.xid - 1;
    assert_eq!(status(&new.run(&make)), exist, "a client that introduces itself");
    running.policy(|policy| policy.access_point_id = Some("fsap-other".to_owned()));
    let mut stranger = Legacy(Wire::connect(running.address));
    stranger.0.xid = legacy.0.xid - 1;
    assert_eq!(status(&stranger.run(&make)), exist);
    assert_eq!(status(&legacy.run(&make)), exist, "the next transaction");
}

#[test]
fn files_are_read_written_and_locked() {
    let (_running, mut legacy) = setup();
    let (stateid, handle) = legacy.open(b"f");
    assert_eq!(status(&legacy.run(&[putfh(&handle), write(stateid, 0, 2, b"x")])), None);
    assert_eq!(status(&legacy.run(&[putfh(&handle), read(stateid, 0, 5)])), None);
    let client = legacy.0.client;
    let mut op = lock(2, 0, 5, stateid, client, b"l");
    // The open owner's number stands behind lock type, reclaim, offset, length and "new owner".
    op[4 + 28..4 + 32].copy_from_slice(&3u32.to_be_bytes());
    let mut reply = legacy.run(&[putfh(&handle), op]);
    assert_eq!(status(&reply), None);
    let held = reply.op(22).op(12).stateid();
    assert_eq!(status(&legacy.run(&[putfh(&handle), lockt(2, 0, 1, client, b"other")])), Some(Status::Denied));
    let unlock = |seqid: u32| {
        let mut op = locku(0, 5, held);
        op[8..12].copy_from_slice(&seqid.to_be_bytes());
        op
    };
    assert_eq!(status(&legacy.run(&[putfh(&handle), unlock(9)])), Some(Status::BadSeqId));
    assert_eq!(status(&legacy.run(&[putfh(&handle), unlock(1)])), None);
    assert_eq!(status(&legacy.run(&[putfh(&handle), lockt(2, 0, 1, client, b"other")])), None);
    let release = |owner: &[u8]| {
        let mut e = fake_efs::nfs::xdr::Encoder::default();
        e.u32(39).u64(client).opaque(owner);
        e.buffer
    };
    assert_eq!(status(&legacy.run(&[release(b"l")])), None);
    assert_eq!(status(&legacy.run(&[release(b"never seen")])), None);
}

fn lock_as(kind: u32, open: ([u8; 16], u32), client: u64, owner: &[u8], seqid: u32) -> Op {
    let mut e = fake_efs::nfs::xdr::Encoder::default();
    e.u32(12).u32(kind).u32(0).u64(0).u64(5).u32(1).u32(open.1).fixed(&open.0).u32(seqid).u64(client).opaque(owner);
    e.buffer
}

fn lock_again(kind: u32, held: [u8; 16], seqid: u32) -> Op {
    let mut e = fake_efs::nfs::xdr::Encoder::default();
    e.u32(12).u32(kind).u32(0).u64(0).u64(5).u32(0).fixed(&held).u32(seqid);
    e.buffer
}

/// RFC 7530 §16.18.5: three ways in which an open file whose owner is new goes on.
#[test]
fn an_open_that_is_not_confirmed_is_good_for_nothing_and_given_up_by_the_next() {
    let (_running, mut legacy) = setup();
    let client = legacy.0.client;
    let open_as = |seqid: u32, name: &[u8]| {
        [putrootfh(), Open { seqid, access: 3, ..plain_open(client, name) }.encode(), getfh()]
    };
    let mut reply = legacy.run(&open_as(5, b"f"));
    let stateid = reply.op(24).op(18).open();
    let handle = reply.op(10).opaque();
    let bad = Some(Status::BadStateId);
    let useless = [
        read(stateid, 0, 1),
        write(stateid, 0, 0, b"x"),
        setattr(stateid, (&[4], &[0; 8])),
        close(stateid, 6),
        lock_as(2, (stateid, 6), client, b"l", 0),
        [&words(21, &[])[..], &stateid, &6u32.to_be_bytes(), &[0, 0, 0, 1, 0, 0, 0, 0]].concat(),
    ];
    for op in useless {
        assert_eq!(status(&legacy.run(&[putfh(&handle), op])), bad);
    }
    // A confirmation must name the state id, the file, and the next number.
    let mut other = stateid;
    other[15] += 77;
    assert_eq!(status(&legacy.run(&[putfh(&handle), stateid_op(20, other, 6)])), bad);
    assert_eq!(status(&legacy.run(&[putrootfh(), lookup(b"mine"), stateid_op(20, stateid, 6)])), bad);
    assert_eq!(status(&legacy.run(&[putfh(&handle), stateid_op(20, stateid, 9)])), Some(Status::BadSeqId));
    assert_eq!(status(&legacy.run(&[putfh(&handle), stateid_op(20, stateid, 6)])), bad, "it was released");
    // Another OPEN with a number out of order takes the first one's place, and so does another one with the same number.
    for (owner, first, second) in [(b"a", 20, 40), (b"b", 20, 20)] {
        let mut open_as = |seqid: u32, name: &[u8]| {
            let op = Open { seqid, owner, ..plain_open(client, name) }.encode();
            let mut reply = legacy.run(&[putrootfh(), op, getfh()]);
            (reply.op(24).op(18).open(), reply.op(10).opaque())
        };
        let (given_up, _) = open_as(first, b"f");
        let (taken, mine) = open_as(second, b"mine");
        assert_eq!(status(&legacy.run(&[putfh(&handle), stateid_op(20, given_up, second + 1)])), bad);
        let confirm = [putfh(&mine), stateid_op(20, taken, second + 1)];
        let confirmed = legacy.run(&confirm).op(22).op(20).stateid();
        assert_eq!(status(&legacy.run(&confirm)), None, "a repetition");
        assert_eq!(
            status(&legacy.run(&[putfh(&mine), stateid_op(20, confirmed, second + 2)])),
            bad,
            "confirmed already"
        );
        assert_eq!(status(&legacy.run(&[putfh(&mine), close(confirmed, second + 2)])), None);
    }
}

#[test]
fn the_number_of_a_request_stands_for_one_request() {
    let (_running, mut legacy) = setup();
    let (stateid, handle) = legacy.open(b"f");
    let bad = Some(Status::BadSeqId);
    // Number 2 was OPEN_CONFIRM's: another operation, or another OPEN, is no repetition of it.
    assert_eq!(status(&legacy.run(&[putfh(&handle), close(stateid, 2)])), bad);
    let op = legacy.open_op(2, 1, b"f");
    assert_eq!(status(&legacy.run(&[putrootfh(), op])), bad);
    let op = legacy.open_op(3, 1, b"mine");
    assert_eq!(status(&legacy.run(&[putrootfh(), op])), None);
    let op = legacy.open_op(3, 1, b"f");
    assert_eq!(status(&legacy.run(&[putrootfh(), op])), bad, "another file");
    let op = legacy.open_op(u32::MAX, 1, b"f");
    assert_eq!(status(&legacy.run(&[putrootfh(), op])), bad);
    // Errors that say that the state could not be looked at leave the number as it is, others use it up.
    let mut unknown = stateid;
    unknown[15] += 77;
    assert_eq!(status(&legacy.run(&[putfh(&handle), close(unknown, 4)])), Some(Status::BadStateId));
    let op = legacy.open_op(4, 1, b"missing");
    assert_eq!(status(&legacy.run(&[putrootfh(), op])), Some(Status::NoEnt));
    assert_eq!(status(&legacy.run(&[putfh(&handle), close(stateid, 4)])), bad);
    assert_eq!(status(&legacy.run(&[putfh(&handle), close(stateid, 5)])), None);
}

/// RFC 7530 §9.1.9, §16.10.5.
#[test]
fn a_lock_has_its_place_in_two_orders() {
    let (running, mut legacy) = setup();
    let (stateid, handle) = legacy.open(b"f");
    let client = legacy.0.client;
    let mut on_file = |op: Op| legacy.run(&[putfh(&handle), op]);
    // Whose lock owner it is must be known, and be who has the file open.
    assert_eq!(status(&on_file(lock_as(2, (stateid, 3), 77, b"l", 10))), Some(Status::StaleClientId));
    let mut other = Legacy(Wire::connect(running.address));
    other.establish("other", 1);
    let (theirs, _) = other.open(b"f");
    let foreign = lock_as(2, (stateid, 3), other.0.client, b"l", 10);
    assert_eq!(status(&on_file(foreign)), Some(Status::BadStateId));

    let first = lock_as(2, (stateid, 3), client, b"l", 10);
    let mut reply = on_file(first.clone());
    let held = reply.op(22).op(12).stateid();
    assert_eq!(on_file(first).op(22).op(12).stateid(), held, "a repetition");
    let bad = Some(Status::BadSeqId);
    assert_eq!(status(&on_file(lock_as(2, (stateid, 4), client, b"l", 11))), bad, "it has a state id by now");
    assert_eq!(status(&on_file(lock_as(2, (stateid, 9), client, b"m", 0))), bad, "the open owner's number");
    assert_eq!(status(&on_file(lock_again(2, held, 12))), bad);
    assert_eq!(status(&on_file(lock_again(2, held, 10))), bad, "the same number, and not the same request");
    let mut reply = on_file(lock_again(2, held, 11));
    let held = reply.op(22).op(12).stateid();
    assert_eq!(status(&on_file(lock_again(2, stateid, 4))), Some(Status::BadStateId), "an open is no lock");

    // In another file the lock owner is new, but its numbers go on.
    let op = Open { seqid: 4, access: 3, ..plain_open(client, b"mine") }.encode();
    let mut reply = legacy.run(&[putrootfh(), op, getfh()]);
    let second = reply.op(24).op(18).open();
    let mine = reply.op(10).opaque();
    assert_eq!(status(&legacy.run(&[putfh(&mine), lock_as(2, (second, 5), client, b"l", 99)])), bad);
    assert_eq!(status(&legacy.run(&[putfh(&mine), lock_as(2, (second, 5), client, b"l", 12)])), None);

    // A lock that is refused is refused again, and its owner, which holds nothing, may count from anywhere.
    for number in [3, 3, 4] {
        let op = lock_as(2, (theirs, number), other.0.client, b"x", 50 - number);
        assert_eq!(status(&other.run(&[putfh(&handle), op])), Some(Status::Denied));
    }
    // Released, an owner begins anew.
    let unlock = |seqid: u32| {
        let mut op = locku(0, 5, held);
        op[8..12].copy_from_slice(&seqid.to_be_bytes());
        op
    };
    assert_eq!(status(&legacy.run(&[putfh(&handle), unlock(13)])), None);
    assert_eq!(status(&legacy.run(&[putfh(&mine), close(second, 6)])), None);
    let mut release = fake_efs::nfs::xdr::Encoder::default();
    release.u32(39).u64(client).opaque(b"l");
    assert_eq!(status(&legacy.run(&[release.buffer])), None);
    assert_eq!(status(&legacy.run(&[putfh(&handle), lock_as(1, (stateid, 7), client, b"l", 0)])), None);
}

/// RFC 7530 §9.1.11: what is claimed back needs no confirmation.
#[test]
fn a_claimed_file_needs_no_confirmation() {
    let (running, mut legacy) = setup();
    let (_, handle) = legacy.open(b"f");
    running.server.restart(true);
    let mut legacy = Legacy(Wire::connect(running.address));
    let client = legacy.establish("legacy", 1);
    let claim = Open { seqid: 7, access: 3, claim: (1, vec![0; 4]), ..plain_open(client, b"") }.encode();
    let mut reply = legacy.run(&[putfh(&handle), claim]);
    let stateid = reply.op(22).op(18).open();
    assert_eq!(status(&legacy.run(&[putfh(&handle), read(stateid, 0, 1), close(stateid, 8)])), None);
}

/// RFC 7530 §16.18.5: what is not confirmed within a lease is given up.
#[test]
fn an_open_that_is_never_confirmed_ends_with_the_lease() {
    let running = populated_with(super::server::short_lease(1));
    let mut legacy = Legacy(Wire::connect(running.address));
    let client = legacy.establish("legacy", 1);
    let op = legacy.open_op(1, 3, b"f");
    assert_eq!(status(&legacy.run(&[putrootfh(), op])), None);
    let store = running.store();
    let file = store.lookup(store.root(), b"f").unwrap();
    store.remove(store.root(), b"f").unwrap();
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(30);
    let renew = words(30, &[(client >> 32) as u32, client as u32]);
    while store.attributes(file).is_ok() {
        assert!(std::time::Instant::now() < deadline, "it is open for ever");
        assert_eq!(status(&legacy.run(std::slice::from_ref(&renew))), None);
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
}

#[test]
fn special_files_are_told_from_links_only_since_4_1() {
    let (_running, mut legacy) = setup();
    for (seqid, name) in [(1, b"p"), (2, b"k"), (3, b"s")] {
        let op = legacy.open_op(seqid, 1, name);
        assert_eq!(status(&legacy.run(&[putrootfh(), op])), Some(Status::Symlink));
        let read = [putrootfh(), lookup(name), read(ANONYMOUS, 0, 1)];
        assert_eq!(status(&legacy.run(&read)), Some(Status::Inval));
    }
    for op in [mkdir(b"x"), remove(b"x"), readdir(0, 0, 1000)] {
        assert_eq!(status(&legacy.run(&[putrootfh(), lookup(b"s"), op])), Some(Status::NotDir));
    }
    assert_eq!(status(&legacy.run(&[putrootfh(), lookup(b"s"), lookup(b"x")])), Some(Status::Symlink));
}

#[test]
fn operations_of_4_1_are_illegal() {
    let (_running, mut legacy) = setup();
    for number in (0..3).chain(40..=60).chain([10_044]) {
        let mut reply = legacy.run(&[words(number, &[0; 8])]);
        assert_eq!(reply.head(), (10_044, Status::OpIllegal as u32));
    }
    assert_eq!(status(&legacy.run(&[putrootfh(), lookup(b"s"), readlink()])), None);
    assert_eq!(status(&legacy.run(&[putrootfh(), readlink()])), Some(Status::Inval));
    assert_eq!(status(&legacy.run(&[restorefh()])), Some(Status::RestoreFh));
    let read_current = [putrootfh(), lookup(b"f"), read(CURRENT, 0, 1)];
    assert_eq!(status(&legacy.run(&read_current)), Some(Status::BadStateId));
    let of_an_earlier_life = [putrootfh(), lookup(b"f"), read([9; 16], 0, 1)];
    assert_eq!(status(&legacy.run(&of_an_earlier_life)), Some(Status::StaleStateId));
    assert_eq!(status(&legacy.run(&vec![putrootfh(); 200])), Some(Status::Resource));
}

/// RFC 7530 §9.1.4: a state id is the client's that got it, and clients of different identities are different clients.
#[test]
fn a_state_id_is_worth_nothing_on_a_connection_of_another_identity() {
    let (running, mut own) = setup();
    let (stateid, handle) = own.open(b"f");
    running.policy(|policy| policy.access_point_id = Some("fsap-other".to_owned()));
    let mut stranger = Legacy(Wire::connect(running.address));
    stranger.establish("legacy", 1);
    let bad = Some(Status::BadStateId);
    let ops = [read(stateid, 0, 10), write(stateid, 0, 0, b"x"), setattr(stateid, (&[4], &0u64.to_be_bytes()))];
    for op in ops {
        assert_eq!(status(&stranger.run(&[putfh(&handle), op.clone()])), bad);
        assert_eq!(status(&own.run(&[putfh(&handle), op])), None);
    }
    assert_eq!(status(&stranger.run(&[putfh(&handle), close(stateid, 3)])), bad);
    assert_eq!(status(&own.run(&[putfh(&handle), close(stateid, 3)])), None);
}

/// RFC 7530 §3.1.1: the whole request has its answer again, even when its first operation would fail now.
#[test]
fn a_request_whose_file_is_gone_since_is_answered_again() {
    let (running, mut legacy) = setup();
    let (stateid, handle) = legacy.open(b"f");
    assert_eq!(status(&legacy.run(&[putrootfh(), remove(b"f")])), None);
    let last_close = [putfh(&handle), close(stateid, 3)];
    let first = legacy.run(&last_close);
    assert_eq!(status(&first), None);
    let mut again = Legacy(legacy.0.reconnect(running.address));
    let repeated = again.run(&last_close);
    assert_eq!((status(&repeated), repeated.rest()), (None, first.rest()));
    // A request that comes for the first time finds nothing.
    assert_eq!(status(&again.run(&last_close)), Some(Status::Stale));
    let mine = again.run(&[putrootfh(), lookup(b"mine"), getfh()]).op(24).op(15).op(10).opaque();
    let removal = [putfh(&mine), getattr(&[1]), putrootfh(), remove(b"mine")];
    let first = again.run(&removal);
    assert_eq!(status(&first), None);
    let mut again = Legacy(again.0.reconnect(running.address));
    let repeated = again.run(&removal);
    assert_eq!((status(&repeated), repeated.rest()), (None, first.rest()));
}

/// RFC 7530 §16.30.5: a lease is renewed for who introduced the client, or has a file open by it.
#[test]
fn a_lease_is_renewed_only_for_who_introduced_the_client_or_has_a_file_open() {
    let (_running, mut legacy) = setup();
    let client = legacy.0.client;
    let renew = words(30, &[(client >> 32) as u32, client as u32]);
    let mut as_user = |uid: u32, ops: &[Op]| {
        legacy.0.uid = uid;
        legacy.run(ops)
    };
    let refused = Some(Status::Access);
    assert_eq!(status(&as_user(0, std::slice::from_ref(&renew))), None);
    assert_eq!(status(&as_user(1000, std::slice::from_ref(&renew))), refused);
    let mut opened = as_user(1000, &[putrootfh(), Open { seqid: 1, ..plain_open(client, b"mine") }.encode(), getfh()]);
    let stateid = opened.op(24).op(18).open();
    let handle = opened.op(10).opaque();
    assert_eq!(status(&as_user(1000, std::slice::from_ref(&renew))), None);
    assert_eq!(status(&as_user(1001, std::slice::from_ref(&renew))), refused, "another user's open is not theirs");
    let confirmed = as_user(1000, &[putfh(&handle), stateid_op(20, stateid, 2)]).op(22).op(20).stateid();
    assert_eq!(status(&as_user(1000, &[putfh(&handle), close(confirmed, 3)])), None);
    assert_eq!(status(&as_user(1000, &[renew])), refused, "nothing is open any more");
}

/// RFC 7530 §9.1.4: there is no session to show on whose behalf a request is made, so that only who has opened a file, or has
/// introduced the client, changes or ends what is held of it.
#[test]
fn what_is_held_is_changed_only_for_who_opened_the_file_or_introduced_the_client() {
    let running = populated();
    let mut legacy = Legacy(Wire::connect(running.address));
    legacy.establish("host", 1);
    let client = legacy.0.client;
    // A user who has a client of its own, and one who has nothing here.
    let mut stranger = Legacy(Wire::connect(running.address));
    stranger.0.uid = 2000;
    stranger.establish("stranger", 1);
    let own = stranger.0.client;
    let bad = Some(Status::BadStateId);

    legacy.0.uid = 1000;
    let op = Open { seqid: 1, access: 3, ..plain_open(client, b"mine") }.encode();
    let mut opened = legacy.run(&[putrootfh(), op, getfh()]);
    let stateid = opened.op(24).op(18).open();
    let handle = opened.op(10).opaque();
    let mut foreign = |op: &Op| {
        for uid in [2000, 3000] {
            stranger.0.uid = uid;
            assert_eq!(status(&stranger.run(&[putfh(&handle), op.clone()])), bad, "operation {} as {uid}", op[3]);
        }
    };
    let mut own_turn = |uid: u32, op: &Op| {
        legacy.0.uid = uid;
        let mut reply = legacy.run(&[putfh(&handle), op.clone()]);
        assert_eq!(status(&reply), None, "operation {} as {uid}", op[3]);
        reply.op(22).head();
        reply.stateid()
    };
    let confirm = stateid_op(20, stateid, 2);
    foreign(&confirm);
    let stateid = own_turn(1000, &confirm);
    // Somebody else's turn leaves the owner's number as it is, and nothing locked.
    foreign(&lock_as(2, (stateid, 3), own, b"l", 0));
    let first = lock_as(2, (stateid, 3), client, b"l", 0);
    foreign(&first);
    let held = own_turn(1000, &first);
    let more = lock_again(1, held, 1);
    foreign(&more);
    let held = own_turn(1000, &more);
    let unlock = |seqid: u32| {
        let mut op = locku(0, 5, held);
        op[8..12].copy_from_slice(&seqid.to_be_bytes());
        op
    };
    foreign(&unlock(2));
    let narrower = |seqid: u32, access: u32| {
        let mut op = downgrade(stateid, access, 0);
        op[20..24].copy_from_slice(&seqid.to_be_bytes());
        op
    };
    foreign(&narrower(4, 3));
    foreign(&close(stateid, 4));
    // What Linux sends as whoever closed last takes nothing away.
    let release = [&words(39, &[(client >> 32) as u32, client as u32, 1])[..], b"l\0\0\0"].concat();
    let denied = [putfh(&handle), lockt(2, 0, 1, own, b"other")];
    let mut anybody = Legacy(Wire::connect(running.address));
    anybody.0.uid = 3000;
    assert_eq!(status(&anybody.run(&[release])), Some(Status::LocksHeld));
    assert_eq!(status(&anybody.run(&denied)), Some(Status::Denied));
    // The machine may speak for its users.
    own_turn(0, &unlock(2));
    let stateid = own_turn(0, &narrower(4, 3));
    let closed = close(stateid, 5);
    own_turn(0, &closed);
}

/// RFC 7530 §16.16.5: `share_access` is one of three words, and claims by handle came with 4.1.
#[test]
fn what_came_with_4_1_is_unknown_to_open_and_to_attributes() {
    let (_running, mut legacy) = setup();
    for (seqid, access) in [(1, 0x0401), (2, 0x0001_0001), (3, 4), (4, 0)] {
        let op = legacy.open_op(seqid, access, b"f");
        assert_eq!(status(&legacy.run(&[putrootfh(), op])), Some(Status::Inval), "{access:#x}");
    }
    for kind in 4..=7 {
        let op = Open { seqid: 5, claim: (kind, vec![0; 20]), ..plain_open(legacy.0.client, b"") }.encode();
        assert_eq!(status(&legacy.run(&[putrootfh(), lookup(b"f"), op])), Some(Status::BadXdr), "claim {kind}");
    }
    let not_supported = Some(Status::AttrNotSupp);
    assert_eq!(status(&legacy.run(&[putrootfh(), verify((&[75], &[0; 4]))])), not_supported);
    assert_eq!(status(&legacy.run(&[putrootfh(), setattr(ANONYMOUS, (&[75], &[0; 4]))])), not_supported);
    // Version 0 is one before the first.
    let (mut stateid, handle) = legacy.open_after(5, b"f");
    assert_eq!(status(&legacy.run(&[putfh(&handle), read(stateid, 0, 1)])), None);
    stateid[..4].fill(0);
    assert_eq!(status(&legacy.run(&[putfh(&handle), read(stateid, 0, 1)])), Some(Status::OldStateId));
    assert_eq!(status(&legacy.run(&[words(8, &[0; 4])])), Some(Status::NoFileHandle));
    assert_eq!(status(&legacy.run(&[putrootfh(), words(8, &[9; 4])])), Some(Status::StaleStateId));
}

/// RFC 7530 §9.1.7: a repetition is of the same request, and somebody else's is another one.
#[test]
fn nobody_is_told_what_another_user_was_answered() {
    let (_running, mut legacy) = setup();
    let open_private = [putrootfh(), legacy.open_op(1, 3, b"private"), getfh()];
    let first = legacy.run(&open_private);
    assert_eq!(status(&first), None);
    legacy.0.uid = 1000;
    // In the place of one that is not confirmed it is an OPEN like others, which this user may not do.
    assert_eq!(status(&legacy.run(&open_private)), Some(Status::Access));
    legacy.0.uid = 0;
    let (_, handle) = legacy.open_after(5, b"private");
    let close_twice = |stateid| [putfh(&handle), close(stateid, 9)];
    let open_again = [putrootfh(), legacy.open_op(8, 3, b"private")];
    let stateid = legacy.run(&open_again).op(24).op(18).open();
    legacy.0.uid = 1000;
    assert_eq!(status(&legacy.run(&open_again)), Some(Status::BadSeqId));
    legacy.0.uid = 0;
    assert_eq!(status(&legacy.run(&open_again)), None, "a repetition");
    assert_eq!(status(&legacy.run(&close_twice(stateid))), None);
    legacy.0.uid = 1000;
    assert_eq!(status(&legacy.run(&close_twice(stateid))), Some(Status::BadSeqId));
}
