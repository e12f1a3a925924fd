//! Open files and locks on the wire.

use fake_efs::nfs::Status;
use fake_efs::store::NewBody;

use super::client::*;
use super::operations::populated;

const MODE: &[u32] = &[33];

fn status(reply: &Reply) -> Option<Status> {
    (reply.status != OK).then(|| Status::from_number(reply.status).unwrap())
}

fn run(wire: &mut Wire, op: Op) -> Option<Status> {
    status(&wire.run(&[putrootfh(), op]))
}

#[test]
fn opening_what_is_no_file_is_refused_by_kind() {
    let running = populated();
    let mut wire = Wire::session(running.address, "wire");
    let client = wire.client;
    let expected = [
        (&b"missing"[..], Status::NoEnt),
        (b"d", Status::IsDir),
        (b"s", Status::Symlink),
        (b"p", Status::WrongType),
        (b"k", Status::WrongType),
        (b"", Status::Inval),
        (b".", Status::BadName),
        (b"a/b", Status::BadChar),
        (&[b'x'; 256], Status::NameTooLong),
    ];
    for (name, expected) in expected {
        assert_eq!(run(&mut wire, open(client, b"o", 1, name)), Some(expected));
    }
    let in_file = wire.run(&[putrootfh(), lookup(b"f"), open(client, b"o", 1, b"x")]);
    assert_eq!(status(&in_file), Some(Status::NotDir));
}

#[test]
fn opens_ask_for_something_and_deny_nothing() {
    let running = populated();
    let mut wire = Wire::session(running.address, "wire");
    let client = wire.client;
    let mut with = |access, deny| run(&mut wire, Open { access, deny, ..plain_open(client, b"f") }.encode());
    assert_eq!(with(0, 0), Some(Status::Inval));
    assert_eq!(with(4, 0), Some(Status::Inval));
    assert_eq!(with(1, 4), Some(Status::Inval));
    for deny in 1..=3 {
        assert_eq!(with(1, deny), Some(Status::NotSupp), "EFS has no share reservations");
    }
    // The bits by which a client asks for delegations are allowed, and no delegation is given.
    for want in [0x100, 0x200, 0x300, 0x400, 0x500] {
        assert_eq!(with(3 | want, 0), None);
    }
}

#[test]
fn delegations_can_not_be_claimed() {
    let running = populated();
    let mut wire = Wire::session(running.address, "wire");
    let client = wire.client;
    for claim in [2, 3, 5, 6] {
        let open = Open { claim: (claim, vec![0; 64]), ..plain_open(client, b"f") }.encode();
        assert_eq!(run(&mut wire, open), Some(Status::NotSupp));
    }
    let unknown = Open { claim: (7, vec![0; 64]), ..plain_open(client, b"f") }.encode();
    assert_eq!(run(&mut wire, unknown), Some(Status::BadXdr));
}

#[test]
fn nothing_can_be_reclaimed_outside_the_time_of_grace() {
    let running = populated();
    let mut wire = Wire::session(running.address, "wire");
    let open = Open { claim: (1, vec![0; 4]), ..plain_open(wire.client, b"") }.encode();
    let reply = wire.run(&[putrootfh(), lookup(b"f"), open]);
    assert_eq!(status(&reply), Some(Status::NoGrace));
    let (stateid, handle) = wire.open("f", 3);
    let client = wire.client;
    let reply = wire.run(&[putfh(&handle), lock(2, 0, 1, stateid, client, b"l")]);
    assert_eq!(status(&reply), None);
    let held = { reply }.op(22).op(12).stateid();
    let reclaim = lock_more(2, 1, 5, 1, held);
    assert_eq!(status(&wire.run(&[putfh(&handle), reclaim])), Some(Status::NoGrace));
}

#[test]
fn after_a_restart_those_who_had_files_open_claim_them_and_the_others_wait() {
    let running = populated();
    let (_, handle) = Wire::session(running.address, "had").open("f", 3);
    running.server.restart(true);
    let mut other = Wire::connect(running.address);
    other.establish("other", 1);
    let mut had = Wire::connect(running.address);
    let claim = |wire: &Wire| Open { access: 3, claim: (1, vec![0; 4]), ..plain_open(wire.client, b"") }.encode();
    let new = |wire: &Wire| open(wire.client, b"o", 1, b"f");
    let (theirs, early) = (claim(&other), new(&other));
    assert_eq!(status(&other.run(&[putfh(&handle), theirs])), Some(Status::ReclaimBad));
    assert_eq!(status(&other.run(&[putrootfh(), early])), Some(Status::Grace));
    // The same name in the mouth of another user is another client.
    let mut thief = Wire::connect(running.address);
    thief.uid = 7;
    thief.establish("had", 9);
    let stolen = claim(&thief);
    assert_eq!(status(&thief.run(&[putfh(&handle), stolen])), Some(Status::ReclaimBad));
    let session = thief.session;
    assert_eq!(thief.run(&[destroy_session(session)]).status, OK);
    had.establish("had", 1);
    let (own, late) = (claim(&had), new(&other));
    assert_eq!(status(&had.run(&[putfh(&handle), own])), None);
    assert_eq!(status(&had.run(&[reclaim_complete()])), None);
    let again = claim(&had);
    assert_eq!(status(&had.run(&[putfh(&handle), again])), Some(Status::NoGrace));
    other.begin();
    assert_eq!(status(&other.run(&[putrootfh(), late])), None);
}

/// RFC 8881 §18.51.3: a client says first that it has nothing to claim back.
#[test]
fn nothing_is_opened_or_locked_before_reclaim_complete() {
    let running = populated();
    let mut wire = Wire::session(running.address, "wire");
    let client = wire.client;
    let (stateid, handle) = wire.open("f", 3);
    let held = wire.run(&[putfh(&handle), lock(2, 0, 1, stateid, client, b"l")]).op(22).op(12).stateid();
    assert_eq!(status(&wire.run(&[putfh(&handle), lock_more(2, 0, 5, 1, held)])), None);

    let mut early = Wire::connect(running.address);
    early.establish("early", 1);
    let client = early.client;
    let new = [open(client, b"o", 1, b"f"), open_create(client, 0, (MODE, &mode(0o600)), b"new")];
    for op in &new {
        assert_eq!(run(&mut early, op.clone()), Some(Status::Grace));
    }
    assert!(running.store().lookup(running.store().root(), b"new").is_err());
    // What needs no state is done.
    assert_eq!(run(&mut early, mkdir(b"made")), None);
    assert_eq!(status(&early.run(&[putrootfh(), lookup(b"f"), read(ANONYMOUS, 0, 1)])), None);
    assert_eq!(status(&early.run(&[reclaim_complete()])), None);
    for op in new {
        assert_eq!(run(&mut early, op), None);
    }
}

#[test]
fn only_what_has_a_name_is_made() {
    let running = populated();
    let mut wire = Wire::session(running.address, "wire");
    let create = Some((0, create_attrs((MODE, &mode(0o600)))));
    let by_handle = Open { access: 3, create, claim: (4, Vec::new()), ..plain_open(wire.client, b"") }.encode();
    let by_handle = wire.run(&[putrootfh(), lookup(b"f"), by_handle]);
    assert_eq!(status(&by_handle), Some(Status::Inval));
}

#[test]
fn a_file_has_at_most_177_links() {
    let running = populated();
    let mut wire = Wire::session(running.address, "wire");
    let link = |wire: &mut Wire, number: u32| {
        let name = format!("link {number}");
        status(&wire.run(&[putrootfh(), lookup(b"f"), savefh(), putrootfh(), link(name.as_bytes())]))
    };
    for number in 2..=177 {
        assert_eq!(link(&mut wire, number), None);
    }
    assert_eq!(link(&mut wire, 178), Some(Status::MLink));
}

#[test]
fn a_full_store_says_so() {
    use fake_efs::nfs::Options;
    use fake_efs::store::{Limits, MemoryStore};

    let limits = Limits { metered_bytes: 256 << 10, ..Limits::default() };
    let running = super::server::Running::with(std::sync::Arc::new(MemoryStore::new(limits)), Options::default());
    let mut wire = Wire::session(running.address, "wire");
    let client = wire.client;
    let mut reply = wire.run(&[putrootfh(), open_create(client, 0, (MODE, &mode(0o600)), b"f"), getfh()]);
    let opened = reply.op(24).op(18).open();
    let handle = reply.op(10).opaque();
    let data = vec![1; 512 << 10];
    assert_eq!(status(&wire.run(&[putfh(&handle), write(opened, 0, 0, &data)])), Some(Status::NoSpc));
    assert_eq!(status(&wire.run(&[putfh(&handle), write(opened, 0, 0, b"x")])), None);
}

#[test]
fn creating_follows_its_mode() {
    let running = populated();
    let mut wire = Wire::session(running.address, "wire");
    let client = wire.client;
    let attrs = || (MODE, mode(0o640));
    let mut create = |how, (numbers, values): (&[u32], Vec<u8>), name: &[u8]| {
        run(&mut wire, open_create(client, how, (numbers, &values), name))
    };
    assert_eq!(create(0, attrs(), b"unchecked"), None);
    assert_eq!(create(0, attrs(), b"unchecked"), None);
    assert_eq!(create(1, attrs(), b"guarded"), None);
    assert_eq!(create(1, attrs(), b"guarded"), Some(Status::Exist));
    assert_eq!(create(0, (&[12], vec![0; 4]), b"acl"), Some(Status::AttrNotSupp));
    assert_eq!(create(9, attrs(), b"unknown"), Some(Status::BadXdr));
    assert_eq!(create(0, attrs(), b"d"), Some(Status::IsDir));
    let exclusive = |verifier: u8| {
        let rest = [vec![verifier; 8], create_attrs((MODE, &mode(0o600)))].concat();
        Open { access: 3, create: Some((3, rest)), ..plain_open(client, b"exclusive") }.encode()
    };
    assert_eq!(run(&mut wire, exclusive(1)), None);
    assert_eq!(run(&mut wire, exclusive(1)), None, "the same verifier: a repetition");
    assert_eq!(run(&mut wire, exclusive(2)), Some(Status::Exist));
    let old = Open { access: 3, create: Some((2, vec![5; 8])), ..plain_open(client, b"exclusive-4.0") }.encode();
    assert_eq!(run(&mut wire, old), None);
    let size = 0u64.to_be_bytes();
    assert_eq!(run(&mut wire, open_create(client, 0, (&[4], &size), b"f")), None);
    let store = running.store();
    let file = store.attributes(store.lookup(store.root(), b"f").unwrap()).unwrap();
    assert_eq!((file.size, file.mode), (0, 0o644), "cut, and nothing else changed");
}

#[test]
fn permissions_are_checked_at_open_and_not_again() {
    let running = populated();
    let mut wire = Wire::session(running.address, "wire");
    (wire.uid, wire.gid) = (1000, 1000);
    let client = wire.client;
    assert_eq!(run(&mut wire, open(client, b"o", 2, b"f")), Some(Status::Access));
    assert_eq!(run(&mut wire, open(client, b"o", 1, b"private")), Some(Status::Access));
    assert_eq!(run(&mut wire, open_create(client, 0, (MODE, &mode(0o600)), b"new")), Some(Status::Access));
    let (stateid, handle) = wire.open("mine", 3);
    let store = running.store();
    let id = store.lookup(store.root(), b"mine").unwrap();
    let closed = fake_efs::store::Changes { mode: Some(0), uid: Some(5), ..Default::default() };
    store.set_attributes(id, &closed).unwrap();
    assert_eq!(status(&wire.run(&[putfh(&handle), write(stateid, 0, 0, b"still open")])), None);
    assert_eq!(status(&wire.run(&[putfh(&handle), write(ANONYMOUS, 0, 0, b"x")])), Some(Status::Access));
    // A file made without permission to write may be written by who made it.
    let in_full = [putrootfh(), lookup(b"full"), open_create(client, 0, (MODE, &mode(0)), b"ro"), getfh()];
    let mut reply = wire.run(&in_full);
    let stateid = reply.op(24).op(15).op(18).open();
    let handle = reply.op(10).opaque();
    assert_eq!(status(&wire.run(&[putfh(&handle), write(stateid, 0, 2, b"x")])), None);
}

#[test]
fn a_stateid_is_good_for_its_file_client_and_access() {
    let running = populated();
    let mut wire = Wire::session(running.address, "wire");
    let (reading, handle) = wire.open("f", 1);
    assert_eq!(status(&wire.run(&[putfh(&handle), read(reading, 0, 5)])), None);
    assert_eq!(status(&wire.run(&[putfh(&handle), write(reading, 0, 0, b"x")])), Some(Status::OpenMode));
    assert_eq!(status(&wire.run(&[putrootfh(), lookup(b"private"), read(reading, 0, 5)])), Some(Status::BadStateId));
    let cut = setattr(reading, (&[4], &[0; 8]));
    assert_eq!(status(&wire.run(&[putfh(&handle), cut])), Some(Status::OpenMode));
    let mut other = Wire::session(running.address, "other");
    assert_eq!(status(&other.run(&[putfh(&handle), read(reading, 0, 5)])), Some(Status::BadStateId));
    let (wider, _) = wire.open("f", 2);
    assert_eq!(status(&wire.run(&[putfh(&handle), read(reading, 0, 5)])), Some(Status::OldStateId));
    assert_eq!(status(&wire.run(&[putfh(&handle), write(wider, 0, 0, b"x")])), None);
    let mut future = wider;
    future[3] += 5;
    assert_eq!(status(&wire.run(&[putfh(&handle), read(future, 0, 5)])), Some(Status::BadStateId));
    let mut newest = wider;
    newest[..4].fill(0);
    assert_eq!(status(&wire.run(&[putfh(&handle), read(newest, 0, 5)])), None);
    let mut unknown = wider;
    unknown[15] += 77;
    assert_eq!(status(&wire.run(&[putfh(&handle), read(unknown, 0, 5)])), Some(Status::BadStateId));
}

/// RFC 7530 §16.16.6: a READ or WRITE need not be of who opened the file, so it is checked by itself.
#[test]
fn a_stateid_gives_other_users_no_right() {
    let running = populated();
    let mut wire = Wire::session(running.address, "wire");
    let (stateid, handle) = wire.open("private", 3);
    let ops = || [read(stateid, 0, 5), write(stateid, 0, 0, b"x"), setattr(stateid, (&[4], &[0; 8]))];
    for (uid, expected) in [(0, None), (1000, Some(Status::Access)), (1001, Some(Status::Access))] {
        wire.uid = uid;
        for op in ops() {
            assert_eq!(status(&wire.run(&[putfh(&handle), op])), expected, "{uid}");
        }
    }
    // What everybody may do, others may do with it, but for nothing that it was not opened for.
    wire.uid = 0;
    let (reading, handle) = wire.open("f", 1);
    wire.uid = 1000;
    assert_eq!(status(&wire.run(&[putfh(&handle), read(reading, 0, 5)])), None);
    assert_eq!(status(&wire.run(&[putfh(&handle), write(reading, 0, 0, b"x")])), Some(Status::OpenMode));
    // One user of the owner opened it to write, another to read: neither gets what the other has.
    let client = wire.client;
    let mut open_mine = |uid: u32, access: u32| {
        wire.uid = uid;
        let mut reply = wire.run(&[putrootfh(), open(client, b"shared", access, b"mine"), getfh()]);
        (reply.op(24).op(18).open(), reply.op(10).opaque())
    };
    open_mine(0, 1);
    let (both, handle) = open_mine(1000, 2);
    for (uid, expected) in [(1000, None), (1001, Some(Status::Access))] {
        wire.uid = uid;
        assert_eq!(status(&wire.run(&[putfh(&handle), write(both, 0, 0, b"x")])), expected);
    }
}

#[test]
fn the_current_stateid_follows_the_current_file() {
    let running = populated();
    let mut wire = Wire::session(running.address, "wire");
    let client = wire.client;
    let opened = || open(client, b"o", 3, b"f");
    let all = [putrootfh(), opened(), read(CURRENT, 0, 5), write(CURRENT, 0, 0, b"x"), close(CURRENT, 0)];
    assert_eq!(status(&wire.run(&all)), None);
    let moved = [putrootfh(), opened(), lookupp(), lookup(b"f"), read(CURRENT, 0, 5)];
    assert_ne!(status(&wire.run(&moved)), None);
    let saved = [putrootfh(), opened(), savefh(), putrootfh(), restorefh(), read(CURRENT, 0, 5)];
    assert_eq!(status(&wire.run(&saved)), None);
}

#[test]
fn opens_are_narrowed_and_closed_once() {
    let running = populated();
    let mut wire = Wire::session(running.address, "wire");
    let (_, handle) = wire.open("f", 1);
    let (both, _) = wire.open("f", 3);
    assert_eq!(status(&wire.run(&[putfh(&handle), downgrade(both, 0, 0)])), Some(Status::Inval));
    assert_eq!(status(&wire.run(&[putfh(&handle), downgrade(both, 1, 1)])), Some(Status::Inval));
    let mut reply = wire.run(&[putfh(&handle), downgrade(both, 1, 0)]);
    let narrow = reply.op(22).op(21).stateid();
    assert_eq!(status(&wire.run(&[putfh(&handle), write(narrow, 0, 0, b"x")])), Some(Status::OpenMode));
    assert_eq!(status(&wire.run(&[putfh(&handle), downgrade(narrow, 3, 0)])), Some(Status::Inval));
    assert_eq!(status(&wire.run(&[putfh(&handle), close(both, 0)])), Some(Status::OldStateId));
    assert_eq!(status(&wire.run(&[putrootfh(), close(narrow, 0)])), Some(Status::BadStateId));
    assert_eq!(status(&wire.run(&[putfh(&handle), close(narrow, 0)])), None);
    assert_eq!(status(&wire.run(&[putfh(&handle), close(narrow, 0)])), Some(Status::BadStateId));
    assert_eq!(status(&wire.run(&[putfh(&handle), close(ANONYMOUS, 0)])), Some(Status::BadStateId));
}

#[test]
fn an_open_is_narrowed_only_to_what_some_of_its_opens_asked_for() {
    let running = populated();
    let mut wire = Wire::session(running.address, "wire");
    let (_, handle) = wire.open("f", 3);
    let (wide, _) = wire.open("f", 1);
    assert_eq!(status(&wire.run(&[putfh(&handle), downgrade(wide, 2, 0)])), Some(Status::Inval));
    let (wide, _) = wire.open("f", 2);
    assert_eq!(status(&wire.run(&[putfh(&handle), downgrade(wide, 3, 0)])), None);
    let (wide, _) = wire.open("f", 1);
    let mut reply = wire.run(&[putfh(&handle), downgrade(wide, 2, 0)]);
    let narrow = reply.op(22).op(21).stateid();
    assert_eq!(status(&wire.run(&[putfh(&handle), read(narrow, 0, 1)])), Some(Status::OpenMode));
    // What was given up stays so until it is opened again.
    let (wide, _) = wire.open("f", 3);
    assert_eq!(status(&wire.run(&[putfh(&handle), downgrade(wide, 1, 0)])), Some(Status::Inval));
    assert_eq!(status(&wire.run(&[putfh(&handle), downgrade(wide, 2, 0)])), None);
}

#[test]
fn locks_are_checked_granted_reported_and_freed() {
    let running = populated();
    let (mut a, mut b) = (Wire::session(running.address, "a"), Wire::session(running.address, "b"));
    let (ca, cb) = (a.client, b.client);
    let (open_a, handle) = a.open("f", 3);
    let (open_b, _) = b.open("f", 1);
    let mut on_a = |op: Op| status(&a.run(&[putfh(&handle), op]));
    assert_eq!(on_a(lock(2, 0, 0, open_a, ca, b"la")), Some(Status::Inval));
    assert_eq!(on_a(lock(2, 9, u64::MAX - 5, open_a, ca, b"la")), Some(Status::Inval));
    assert_eq!(on_a(lock(9, 0, 1, open_a, ca, b"la")), Some(Status::BadXdr));
    assert_eq!(on_a(lock(2, 0, 1, [9; 16], ca, b"la")), Some(Status::BadStateId));
    assert_eq!(on_a(lockt(2, 0, 0, ca, b"la")), Some(Status::Inval));
    let on_directory = [lock(1, 0, 1, open_a, ca, b"la"), lockt(1, 0, 1, ca, b"la")];
    for op in on_directory {
        assert_eq!(status(&a.run(&[putrootfh(), op])), Some(Status::IsDir));
    }
    let mut reply = a.run(&[putfh(&handle), lock(2, 10, 10, open_a, ca, b"la")]);
    let held = reply.op(22).op(12).stateid();

    let mut reply = b.run(&[putfh(&handle), lock(1, 15, u64::MAX, open_b, cb, b"lb")]);
    assert_eq!(status(&reply), Some(Status::Denied));
    reply.op(22).head();
    assert_eq!((reply.u64(), reply.u64(), reply.u32(), reply.u64()), (10, 10, 2, ca));
    assert_eq!(reply.opaque(), b"la");
    let mut reply = b.run(&[putfh(&handle), lockt(1, 15, 1, cb, b"lb")]);
    assert_eq!(status(&reply), Some(Status::Denied));
    reply.op(22).head();
    assert_eq!(reply.u64(), 10);
    assert_eq!(status(&b.run(&[putfh(&handle), lockt(1, 20, 1, cb, b"lb")])), None);
    assert_eq!(status(&b.run(&[putfh(&handle), lock(2, 50, 1, open_b, cb, b"lb")])), Some(Status::OpenMode));

    // A part is given back, another owner takes it.
    let mut reply = a.run(&[putfh(&handle), locku(15, 2, held)]);
    let held = reply.op(22).op(14).stateid();
    assert_eq!(status(&b.run(&[putfh(&handle), lock(1, 15, 2, open_b, cb, b"lb")])), None);
    assert_eq!(status(&a.run(&[putfh(&handle), lock_more(2, 0, 15, 1, held)])), Some(Status::Denied));
    assert_eq!(status(&a.run(&[free_stateid(held)])), Some(Status::LocksHeld));
    assert_eq!(status(&a.run(&[free_stateid(open_a)])), Some(Status::LocksHeld));
    let mut reply = a.run(&[putfh(&handle), locku(0, u64::MAX, held)]);
    let held = reply.op(22).op(14).stateid();
    let mut reply = a.run(&[test_stateid(&[held, open_a, open_b, ANONYMOUS])]);
    let bad = Status::BadStateId as u32;
    assert_eq!(reply.op(55).words(), [OK, OK, bad, bad]);
    assert_eq!(status(&a.run(&[free_stateid(held)])), None);
    assert_eq!(status(&a.run(&[putfh(&handle), locku(0, 1, held)])), Some(Status::BadStateId));
    // Closing frees what is left.
    assert_eq!(status(&b.run(&[putfh(&handle), close(open_b, 0)])), None);
    assert_eq!(status(&a.run(&[putfh(&handle), lock(2, 0, u64::MAX, open_a, ca, b"la")])), None);
}

#[test]
fn a_file_has_at_most_512_locks() {
    let running = populated();
    let mut wire = Wire::session(running.address, "wire");
    let client = wire.client;
    let (opened, handle) = wire.open("f", 3);
    for number in 0..512 {
        let op = lock(2, number * 2, 1, opened, client, b"l");
        assert_eq!(status(&wire.run(&[putfh(&handle), op])), None);
    }
    let op = lock(2, 5000, 1, opened, client, b"l");
    assert_eq!(status(&wire.run(&[putfh(&handle), op])), Some(Status::DQuot));
}

#[test]
fn a_removed_file_can_be_used_until_it_is_closed() {
    let running = populated();
    let mut wire = Wire::session(running.address, "wire");
    let (opened, handle) = wire.open("f", 3);
    assert_eq!(run(&mut wire, remove(b"f")), None);
    let mut reply = wire.run(&[putfh(&handle), read(opened, 0, 100), getattr(&[35])]);
    assert_eq!(reply.op(22).op(25).u32(), 1);
    assert_eq!(reply.opaque(), b"0123456789");
    reply.op(9).words();
    assert_eq!(reply.opaque(), [0; 4], "no links");
    assert_eq!(status(&wire.run(&[putfh(&handle), close(opened, 0)])), None);
    assert_eq!(status(&wire.run(&[putfh(&handle)])), Some(Status::Stale));
}

#[test]
fn what_is_written_is_read_and_committed() {
    let running = populated();
    let mut wire = Wire::session(running.address, "wire");
    let (opened, handle) = wire.open("f", 3);
    let data: Vec<u8> = (0..1 << 20).map(|n: u32| (n % 251) as u8).collect();
    let mut reply = wire.run(&[putfh(&handle), write(opened, 3, 0, &data), commit(0, 0)]);
    assert_eq!(status(&reply), None);
    assert_eq!((reply.op(22).op(38).u32(), reply.u32()), (1 << 20, 0));
    let verifier = reply.u64();
    assert_eq!(reply.op(5).u64(), verifier);
    let mut reply = wire.run(&[putfh(&handle), read(opened, 3, 1 << 20)]);
    assert_eq!(reply.op(22).op(25).u32(), 1, "the end");
    assert!(reply.opaque() == data);
    for stable in [1, 2] {
        let mut reply = wire.run(&[putfh(&handle), write(opened, 0, stable, b"x")]);
        assert_eq!((reply.op(22).op(38).u32(), reply.u32()), (1, 2), "synced");
    }
}

#[test]
fn writing_takes_the_set_id_bits_away_unless_root_writes() {
    let running = populated();
    let mut wire = Wire::session(running.address, "wire");
    let store = running.store();
    let mine = store.lookup(store.root(), b"mine").unwrap();
    let set = |mode| store.set_attributes(mine, &fake_efs::store::Changes { mode: Some(mode), ..Default::default() });
    set(0o6755).unwrap();
    let op = || write(ANONYMOUS, 0, 0, b"x");
    assert_eq!(status(&wire.run(&[putrootfh(), lookup(b"mine"), op()])), None);
    assert_eq!(store.attributes(mine).unwrap().mode, 0o6755);
    (wire.uid, wire.gid) = (1000, 1000);
    assert_eq!(status(&wire.run(&[putrootfh(), lookup(b"mine"), op()])), None);
    assert_eq!(store.attributes(mine).unwrap().mode, 0o755);
}

#[test]
fn a_write_of_nothing_changes_nothing() {
    let running = populated();
    let mut wire = Wire::session(running.address, "wire");
    let store = running.store();
    let mine = store.lookup(store.root(), b"mine").unwrap();
    let set = fake_efs::store::Changes { mode: Some(0o6755), ..Default::default() };
    let before = store.set_attributes(mine, &set).unwrap();
    (wire.uid, wire.gid) = (1000, 1000);
    let mut reply = wire.run(&[putrootfh(), lookup(b"mine"), write(ANONYMOUS, 1000, 2, b"")]);
    assert_eq!(status(&reply), None);
    assert_eq!(reply.op(24).op(15).op(38).u32(), 0);
    assert_eq!(store.attributes(mine).unwrap(), before);
    wire.uid = 1001;
    let refused = wire.run(&[putrootfh(), lookup(b"mine"), write(ANONYMOUS, 0, 0, b"")]);
    assert_eq!(status(&refused), Some(Status::Access), "who may not write may not write nothing");
}

#[test]
fn a_set_group_id_directory_hands_its_group_down() {
    let running = populated();
    let store = running.store();
    let full = store.lookup(store.root(), b"full").unwrap();
    let set = fake_efs::store::Changes { mode: Some(0o2777), gid: Some(77), ..Default::default() };
    store.set_attributes(full, &set).unwrap();
    let mut wire = Wire::session(running.address, "wire");
    (wire.uid, wire.gid) = (1000, 1000);
    let client = wire.client;
    assert_eq!(status(&wire.run(&[putrootfh(), lookup(b"full"), mkdir(b"sub")])), None);
    let made = open_create(client, 0, (MODE, &mode(0o644)), b"file");
    assert_eq!(status(&wire.run(&[putrootfh(), lookup(b"full"), made])), None);
    let attributes = |name: &[u8]| store.attributes(store.lookup(full, name).unwrap()).unwrap();
    assert_eq!((attributes(b"sub").gid, attributes(b"sub").mode), (77, 0o2755));
    assert_eq!((attributes(b"file").gid, attributes(b"file").mode), (77, 0o644));
}

#[test]
fn a_listing_in_small_pages_is_complete_under_change() {
    let running = populated();
    let store = running.store();
    let directory = store.lookup(store.root(), b"d").unwrap();
    for number in 0..300 {
        let name = format!("n{number:03}");
        super::operations::make(&store, directory, name.as_bytes(), fake_efs::store::NewBody::Fifo, 0o644, (0, 0));
    }
    let mut wire = Wire::session(running.address, "wire");
    let (mut cookie, mut names, mut page) = (0, Vec::new(), 0);
    loop {
        let mut reply = wire.run(&[putrootfh(), lookup(b"d"), readdir(cookie, 0, 1000)]);
        assert_eq!(status(&reply), None);
        assert!(reply.rest().len() < 1100);
        reply.op(24).op(15).op(26).u64();
        while reply.u32() == 1 {
            cookie = reply.u64();
            names.push(String::from_utf8(reply.opaque()).unwrap());
            reply.words();
            reply.opaque();
        }
        if reply.u32() == 1 {
            break;
        }
        store.remove(directory, format!("n{page:03}").as_bytes()).unwrap();
        page += 1;
    }
    names.retain(|name| *name >= format!("n{page:03}"));
    let expected: Vec<String> = (page..300).map(|number| format!("n{number:03}")).collect();
    assert_eq!(names, expected);
}

/// RFC 8881 §18.10.3: offset and length together are a number, unless the range goes to the end.
#[test]
fn only_a_range_to_the_end_has_the_last_byte() {
    let running = populated();
    let mut wire = Wire::session(running.address, "wire");
    let (stateid, handle) = wire.open("f", 3);
    let client = wire.client;
    for (offset, length, expected) in [
        (u64::MAX, 1, Some(Status::Inval)),
        (u64::MAX - 1, 2, Some(Status::Inval)),
        (u64::MAX - 1, 1, None),
        (u64::MAX, u64::MAX, None),
    ] {
        let reply = wire.run(&[putfh(&handle), lock(2, offset, length, stateid, client, b"locker")]);
        assert_eq!(status(&reply), expected, "{offset} and {length}");
    }
}

/// RFC 8881 §18.4.3, §18.16.3: what was set is told, which is nothing that was not asked for.
#[test]
fn what_was_not_asked_for_is_not_told_to_be_set() {
    let running = populated();
    let mut wire = Wire::session(running.address, "wire");
    let mut set_by_create = |op: Op| {
        let mut reply = wire.run(&[putrootfh(), op]);
        reply.op(24).op(6);
        reply.u32();
        reply.u64();
        reply.u64();
        reply.words()
    };
    assert_eq!(set_by_create(symlink(b"new-link", b"f")), Vec::<u32>::new());
    assert_eq!(set_by_create(mkdir(b"new")), [0, 1 << 1], "the mode");
    let exclusive = Open { access: 3, create: Some((2, vec![7; 8])), ..plain_open(wire.client, b"new-file") }.encode();
    let mut reply = wire.run(&[putrootfh(), exclusive]);
    reply.op(24).op(18).stateid();
    reply.u32();
    reply.u64();
    reply.u64();
    reply.u32();
    assert_eq!(reply.words(), Vec::<u32>::new());
}

/// Without a current file nothing else of an operation is looked at, in both versions.
#[test]
fn what_needs_a_file_says_so_first() {
    let running = populated();
    let mut wire = Wire::session(running.address, "wire");
    for op in [lookup(b""), create(1, b"x/y", (&[], &[])), open(wire.client, b"owner", 0, b"f"), remove(b".")] {
        assert_eq!(status(&wire.run(std::slice::from_ref(&op))), Some(Status::NoFileHandle));
        assert_eq!(wire.compound(0, &[op]).status, Status::NoFileHandle as u32);
    }
}

/// The connection's root is `/`, and what is not below it has nothing above it, however its handle was come by.
#[test]
fn nothing_above_or_beside_an_access_point_s_directory_is_shown() {
    let running = populated();
    let store = running.store();
    let directory =
        |parent, name: &[u8]| super::operations::make(&store, parent, name, NewBody::Directory, 0o755, (0, 0));
    let a = directory(store.root(), b"a");
    let inner = directory(a, b"inner");
    let deep = directory(inner, b"deep");
    let b = directory(store.root(), b"b");
    let mut all = Wire::session(running.address, "all");
    let mut handle = |path: &[&[u8]]| {
        let names = path.iter().map(|name| lookup(name));
        let mut reply = all.run(&[vec![putrootfh()], names.collect(), vec![getfh()]].concat());
        reply.op(24);
        path.iter().for_each(|_| {
            reply.op(15);
        });
        reply.op(10).opaque()
    };
    let handles = [handle(&[b"a"]), handle(&[b"a", b"inner"]), handle(&[b"a", b"inner", b"deep"]), handle(&[b"b"])];
    let [root, inner_handle, deep_handle, beside] = handles;
    running.policy(|policy| policy.root_path = "/a".to_owned());
    // A connection that has not asked for its root yet, as after a reconnection.
    let mut point = Wire::session(running.address, "point");
    let (above, no_entry) = (|| [lookupp(), words(52, &[1])], Status::NoEnt as u32);
    for op in above() {
        assert_eq!(point.run(&[putfh(&root), op]).status, no_entry, "above the root");
    }
    assert_eq!(point.run(&[putfh(&deep_handle), lookupp(), lookupp(), getfh()]).status, OK);
    for op in above() {
        assert_eq!(point.run(&[putfh(&beside), op.clone()]).status, no_entry, "beside it");
        assert_eq!(point.run(&[putfh(&deep_handle), lookupp(), lookupp(), op]).status, no_entry);
    }
    // Moved away, a directory is beside the root, too, and so is what is in it.
    store.rename(a, b"inner", b, b"inner").unwrap();
    for op in above() {
        for handle in [&inner_handle, &deep_handle] {
            assert_eq!(point.run(&[putfh(handle), op.clone()]).status, no_entry, "moved away");
        }
    }
    assert!(store.attributes(deep).is_ok());
}

/// RFC 8881 §18.16.3: a verifier says that a file need not be made, and gives nobody a right to it.
#[test]
fn another_user_s_verifier_opens_nothing() {
    let running = populated();
    let mut maker = Wire::session(running.address, "maker");
    let (everybody, uid) = (putrootfh(), 1000);
    let create = |client: u64, mode_bits: u32| {
        let rest = [&[b'V'; 8][..], &create_attrs((MODE, &mode(mode_bits)))].concat();
        Open { access: 3, create: Some((3, rest)), ..plain_open(client, b"made") }.encode()
    };
    (maker.uid, maker.gid) = (uid, uid);
    let make = [everybody, lookup(b"full"), create(maker.client, 0)];
    assert_eq!(maker.run(&make).status, OK);
    assert_eq!(maker.run(&make).status, OK, "whoever made it may open it, whatever its mode");
    let mut other = Wire::session(running.address, "other");
    (other.uid, other.gid) = (2000, 2000);
    let guess = [putrootfh(), lookup(b"full"), create(other.client, 0)];
    assert_eq!(other.run(&guess).status, Status::Access as u32);
    let store = running.store();
    let full = store.lookup(store.root(), b"full").unwrap();
    let made = store.lookup(full, b"made").unwrap();
    assert_eq!(store.attributes(made).unwrap().uid, uid);
}
