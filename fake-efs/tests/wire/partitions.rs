//! Partitions: where connections land, and what is known there.

use fake_efs::nfs::{Options, Status};

use super::bind::bind;
use super::client::*;
use super::operations::populated_with;
use super::server::Running;

fn partitioned(partitions: u32, random_seed: u64) -> Running {
    populated_with(Options { partitions, random_seed, ..Options::default() })
}

/// The partition of a connection, as its client is told.
fn partition(wire: &mut Wire) -> u32 {
    let name = bind(wire);
    assert!(name[12..].iter().all(|byte| *byte == 0));
    u32::from_be_bytes(name[8..12].try_into().unwrap())
}

/// A connection that has landed where `wanted` says.
fn landed(running: &Running, wanted: impl Fn(u32) -> bool) -> Wire {
    for _ in 0..100 {
        let mut wire = Wire::connect(running.address);
        if wanted(partition(&mut wire)) {
            return wire;
        }
    }
    panic!("no connection landed there");
}

/// Makes a client's next session, over this connection.
fn next_session(wire: &mut Wire, client: u64, number: u32) -> u32 {
    let mut reply = wire.compound(1, &[create_session(client, number)]);
    if reply.status == OK {
        (wire.client, wire.session, wire.sequence) = (client, reply.op(43).stateid(), 0);
    }
    reply.status
}

fn status(wire: &mut Wire, ops: &[Op]) -> u32 {
    wire.compound(1, ops).status
}

#[test]
fn connections_land_on_partitions_by_seeded_chance() {
    let landings = |partitions, seed| {
        let running = partitioned(partitions, seed);
        let mut wires: Vec<_> = (0..32).map(|_| Wire::connect(running.address)).collect();
        let told: Vec<_> = wires.iter_mut().map(partition).collect();
        let list = running.server.connections().list();
        assert_eq!(list.iter().map(|view| view.partition.unwrap()).collect::<Vec<_>>(), told);
        told
    };
    assert_eq!(landings(4, 1), landings(4, 1));
    assert_ne!(landings(4, 1), landings(4, 2));
    assert_eq!(landings(4, 1).iter().max(), Some(&3));
    assert_eq!(landings(1, 1), [0; 32]);
}

/// RFC 8881 §2.10.5: server owners that differ in their minor ids share clients and no sessions.
#[test]
fn a_session_is_known_on_its_own_partition_and_its_client_on_all() {
    let running = partitioned(2, 3);
    let mut first = landed(&running, |_| true);
    let home = partition(&mut first);
    first.establish("wire", 1);
    first.begin();
    let (client, session) = (first.client, first.session);
    let (stateid, handle) = first.open("f", 3);
    let make = [sequence(session, 1, 2, 2, true), putrootfh(), mkdir(b"once")];
    assert_eq!(status(&mut first, &make), OK);

    let mut other = landed(&running, |partition| partition != home);
    let bad = Status::BadSession as u32;
    assert_eq!(status(&mut other, &[sequence(session, 2, 2, 2, false), putrootfh()]), bad);
    assert_eq!(status(&mut other, &make), bad, "a repetition is not answered either");
    assert_eq!(status(&mut other, &[bind_connection(session, 1)]), bad);
    assert_eq!(status(&mut other, &[destroy_session(session)]), bad);
    assert_eq!(first.run(&[putrootfh()]).status, OK, "the session is as it was");

    let mut same = landed(&running, |partition| partition == home);
    assert_eq!(status(&mut same, &make), OK, "a repetition over another connection to the partition");
    assert_eq!(status(&mut same, &[bind_connection(session, 1)]), OK);

    // What Linux does: it makes itself another session, without being another client, and has its files open there.
    let owner = |wire: &mut Wire| {
        let mut reply = wire.compound(1, &[exchange_id("wire", 1, 0)]);
        let (found, number) = (reply.op(42).u64(), reply.u32());
        assert_eq!((found, reply.u32() & 0x8000_0000), (client, 0x8000_0000), "it is known and confirmed");
        reply.u32();
        (number, reply.u64(), reply.opaque())
    };
    let (number, minor, major) = owner(&mut other);
    assert_eq!(owner(&mut first), (number, u64::from(home), major));
    assert_eq!(minor, u64::from(1 - home));
    assert_eq!(next_session(&mut other, client, number), OK);
    let mut reply = other.run(&[putfh(&handle), read(stateid, 0, 4)]);
    reply.op(22).op(25).u32();
    assert_eq!(reply.opaque(), b"0123");
    assert_eq!(first.run(&[putfh(&handle), read(stateid, 0, 4)]).status, OK);

    // The client ends where it is, and with it what it can't reach.
    assert_eq!(other.run(&[putfh(&handle), close(stateid, 0)]).status, OK);
    assert_eq!(status(&mut other, &[destroy_clientid(client)]), Status::ClientIdBusy as u32);
    let session = other.session;
    assert_eq!(status(&mut other, &[destroy_session(session)]), OK);
    assert_eq!(status(&mut other, &[destroy_clientid(client)]), OK);
    assert_eq!(first.run(&[putrootfh()]).status, bad);
}

#[test]
fn a_client_that_leaves_sessions_behind_loses_the_oldest_of_them() {
    let running = partitioned(2, 3);
    let (mut here, mut there) = (landed(&running, |p| p == 0), landed(&running, |p| p == 1));
    there.establish("wire", 1);
    there.begin();
    let (client, mut number, mut left) = (there.client, 1, vec![there.session]);
    let mut make = |wire: &mut Wire| {
        number += 1;
        next_session(wire, client, number)
    };
    for _ in 0..7 {
        assert_eq!(make(&mut there), OK);
        left.push(there.session);
    }
    for _ in 0..8 {
        assert_eq!(make(&mut here), OK);
    }
    // It has 16. The first was used last, and stays longest.
    assert_eq!(status(&mut there, &[sequence(left[0], 1, 0, 0, false)]), OK);
    let known = |wire: &mut Wire| -> Vec<bool> {
        left.iter().map(|session| status(wire, &[bind_connection(*session, 1)]) == OK).collect()
    };
    assert_eq!(known(&mut there), [true; 8]);
    assert_eq!(make(&mut here), OK);
    assert_eq!(known(&mut there), [true, false, true, true, true, true, true, true]);
    for _ in 0..7 {
        assert_eq!(make(&mut here), OK);
    }
    assert_eq!(known(&mut there), [false; 8]);
    // What is left is here, where it can be destroyed.
    assert_eq!(make(&mut here), Status::NoSpc as u32);
}

#[test]
fn a_client_that_comes_back_is_not_kept_by_what_it_left() {
    let running = partitioned(2, 3);
    let (mut here, mut there) = (landed(&running, |p| p == 0), landed(&running, |p| p == 1));
    here.establish("wire", 1);
    let client = here.client;
    assert_eq!(next_session(&mut there, client, 2), OK);
    assert_eq!(next_session(&mut here, client, 3), OK);
    assert_eq!(status(&mut here, &[destroy_clientid(client)]), Status::ClientIdBusy as u32);
    let session = here.session;
    assert_eq!(status(&mut here, &[destroy_session(session)]), OK);
    assert_eq!(status(&mut here, &[destroy_clientid(client)]), OK);
}

#[test]
fn clients_without_sessions_are_served_on_all_partitions() {
    let running = partitioned(2, 3);
    let (mut here, mut there) = (landed(&running, |p| p == 0), landed(&running, |p| p == 1));
    let mut reply = here.compound(0, &[setclientid("wire", 1)]);
    let (client, confirm) = (reply.op(35).u64(), reply.u64());
    assert_eq!(there.compound(0, &[setclientid_confirm(client, confirm)]).status, OK);
    let opened = here.compound(0, &[putrootfh(), open(client, b"owner", 1, b"f"), getfh()]);
    assert_eq!(opened.status, OK);
    let renew = words(30, &[(client >> 32) as u32, client as u32]);
    assert_eq!(there.compound(0, &[renew]).status, OK);
}
