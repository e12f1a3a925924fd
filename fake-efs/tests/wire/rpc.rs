//! RPC itself: programs, versions, credentials, framing, and what is not RPC at all.

use fake_efs::nfs::xdr::Encoder;
use fake_efs::nfs::{WireEffect, WireFault};
use proptest::prelude::*;

use super::client::*;
use super::operations::populated;

const NFS: u32 = 100_003;

pub(crate) fn words_of(bytes: &[u8]) -> Vec<u32> {
    bytes.chunks(4).map(|word| u32::from_be_bytes(word.try_into().unwrap())).collect()
}

#[test]
fn programs_versions_and_procedures_are_told_apart() {
    let running = populated();
    let mut wire = Wire::connect(running.address);
    assert_eq!(words_of(&wire.call(NFS, 4, 0, b"")), [1, 0, 0, 0, 0]);
    assert_eq!(words_of(&wire.call(NFS, 4, 2, b"")), [1, 0, 0, 0, 3], "no such procedure");
    assert_eq!(words_of(&wire.call(NFS, 3, 0, b"")), [1, 0, 0, 0, 2, 4, 4], "version 4 only");
    assert_eq!(words_of(&wire.call(100_005, 3, 0, b"")), [1, 0, 0, 0, 1], "no such program");
    assert_eq!(words_of(&wire.call(NFS, 4, 1, b"")), [1, 0, 0, 0, 4], "garbage");
    assert_eq!(words_of(&wire.call(NFS, 4, 1, &[0xff; 40])), [1, 0, 0, 0, 4], "garbage");
}

#[test]
fn unknown_credentials_and_versions_are_denied() {
    let running = populated();
    let mut wire = Wire::connect(running.address);
    let mut call = Encoder::default();
    call.u32(9).u32(0).u32(2).u32(NFS).u32(4).u32(0).u32(6).u32(0).u32(0).u32(0);
    wire.send_record(&call.buffer);
    assert_eq!(words_of(&wire.receive().unwrap()), [9, 1, 1, 1, 1]);
    let mut call = Encoder::default();
    call.u32(10).u32(0).u32(3).u32(NFS).u32(4).u32(0);
    wire.send_record(&call.buffer);
    assert_eq!(words_of(&wire.receive().unwrap()), [10, 1, 1, 0, 2, 2]);
}

#[test]
fn a_record_in_pieces_is_put_together() {
    let running = populated();
    let mut wire = Wire::connect(running.address);
    let call = wire.call_head(NFS, 4, 0).buffer;
    for piece in call.chunks(7) {
        let last = if piece.as_ptr_range().end == call.as_ptr_range().end { 0x8000_0000 } else { 0 };
        wire.send(&(piece.len() as u32 | last).to_be_bytes());
        wire.send(piece);
    }
    assert_eq!(words_of(&wire.receive().unwrap())[1..], [1, 0, 0, 0, 0]);
}

/// RFC 5531 §11 sets no limit to the number of fragments.
#[test]
fn a_record_may_have_any_number_of_pieces() {
    let running = populated();
    let mut wire = Wire::session(running.address, "wire");
    let (stateid, handle) = wire.open("f", 3);
    wire.sequence += 1;
    let data: Vec<u8> = (0..20_000u32).map(|n| (n % 251) as u8).collect();
    let ops = [sequence(wire.session, wire.sequence, 0, 0, false), putfh(&handle), write(stateid, 0, 0, &data)];
    let mut call = wire.call_head(NFS, 4, 1).buffer;
    call.extend_from_slice(&compound_body(1, &ops));
    let mut bytes = Vec::new();
    for byte in &call {
        // An empty piece before each byte.
        bytes.extend_from_slice(&[0, 0, 0, 0, 0, 0, 0, 1, *byte]);
    }
    bytes.extend_from_slice(&0x8000_0000u32.to_be_bytes());
    wire.send(&bytes);
    assert_eq!(words_of(&wire.receive().unwrap())[1..7], [1, 0, 0, 0, 0, OK]);
    let mut reply = wire.run(&[putfh(&handle), read(stateid, 0, 30_000)]);
    reply.op(22).op(25).u32();
    assert!(reply.opaque() == data);
    // Cut in the middle, with nothing in the buffer, it is no record.
    wire.send(&[0, 0, 0, 1, 7]);
    drop(wire);
    assert_eq!(Wire::session(running.address, "after").run(&[putrootfh()]).status, OK);
}

#[test]
fn several_requests_at_once_are_answered_in_order() {
    let running = populated();
    let mut wire = Wire::connect(running.address);
    let mut bytes = Vec::new();
    for _ in 0..100 {
        let call = wire.call_head(NFS, 4, 0).buffer;
        bytes.extend_from_slice(&(call.len() as u32 | 0x8000_0000).to_be_bytes());
        bytes.extend_from_slice(&call);
    }
    wire.send(&bytes);
    for number in 2..102 {
        assert_eq!(words_of(&wire.receive().unwrap()), [number, 1, 0, 0, 0, 0]);
    }
}

#[test]
fn what_is_not_rpc_ends_the_connection() {
    let running = populated();
    // One empty piece more than the longest record has bytes.
    let endless = vec![0; 4 * ((1 << 20) + (64 << 10) + 1)];
    let junk: [&[u8]; 5] =
        [b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", &[0xff; 64], &[0x80, 0, 0, 4, 1, 2, 3, 4], &[0x80, 0, 0, 0], &endless];
    for bytes in junk {
        let mut wire = Wire::connect(running.address);
        wire.send(bytes);
        assert_eq!(wire.receive(), None);
    }
    let mut wire = Wire::session(running.address, "after");
    assert_eq!(wire.run(&[putrootfh()]).status, OK);
}

#[test]
fn faults_strike_what_they_are_meant_for() {
    let running = populated();
    let mut wire = Wire::session(running.address, "wire");
    let faults = running.server.faults();
    faults.add(WireFault::new(WireEffect::Reset).times(1).on_access_point("fsap-other"));
    assert_eq!(wire.run(&[putrootfh()]).status, OK);
    faults.clear();
    let mut reset = Wire::connect(running.address);
    faults.add(WireFault::new(WireEffect::Reset).times(1));
    let call = reset.call_head(NFS, 4, 0).buffer;
    reset.send_record(&call);
    assert_eq!(reset.receive(), None);
    faults.add(WireFault::new(WireEffect::Slow { bytes_per_second: 1 << 20 }).times(1));
    assert_eq!(wire.run(&[putrootfh()]).status, OK);
    // The work is done although the reply is lost; the repetition over a new connection gets it.
    faults.add(WireFault::new(WireEffect::DropReply).times(1));
    let make = [sequence(wire.session, 3, 0, 0, true), putrootfh(), mkdir(b"once")];
    let mut call = wire.call_head(NFS, 4, 1).buffer;
    call.extend_from_slice(&compound_body(1, &make));
    wire.send_record(&call);
    assert_eq!(wire.receive(), None);
    let mut again = Wire::connect(running.address);
    assert_eq!(again.compound(1, &make).status, OK);
    assert!(faults.list().is_empty());
}

#[test]
fn connections_are_listed_counted_and_ended() {
    let running = populated();
    running.policy(|policy| policy.access_point_id = Some("fsap-1".into()));
    let mut wire = Wire::session(running.address, "wire");
    assert_eq!(wire.run(&[putrootfh()]).status, OK);
    let list = running.server.connections().list();
    assert_eq!(list.len(), 1);
    assert_eq!((list[0].calls, list[0].tls), (4, false));
    assert!(list[0].bytes_in > 300 && list[0].bytes_out > 200);
    assert_eq!(list[0].file_system_id.as_deref(), Some("fs-test"));
    assert_eq!(running.server.connections().close(|view| view.tls), 0);
    assert_eq!(running.server.connections().close(|view| !view.tls), 1);
    assert_eq!(wire.receive(), None);
}

#[test]
fn a_revoked_connection_is_closed() {
    let running = populated();
    let mut wire = Wire::session(running.address, "wire");
    running.policy(|policy| policy.revoked.cancel());
    assert_eq!(wire.receive(), None);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 8, max_shrink_iters: 50, ..ProptestConfig::default() })]

    #[test]
    fn no_request_takes_the_server_down(
        bodies in prop::collection::vec((any::<bool>(), prop::collection::vec((0u32..62, prop::collection::vec(
            prop_oneof![Just(0u32), Just(1), Just(2), 0u32..64, any::<u32>()], 0..24)), 1..6)), 1..30)
    ) {
        let running = populated();
        let mut wire = Wire::session(running.address, "wire");
        for (legacy, ops) in bodies {
            let ops: Vec<Op> = ops.iter().map(|(number, arguments)| words(*number, arguments)).collect();
            let ops: Vec<Op> = std::iter::once(putrootfh()).chain(ops).collect();
            let (reply, limit) = if legacy { (wire.compound(0, &ops), ops.len()) } else { (wire.run(&ops), ops.len() + 1) };
            prop_assert!(reply.count as usize <= limit);
        }
        let mut after = Wire::session(running.address, "after");
        prop_assert_eq!(after.run(&[putrootfh()]).status, OK);
    }
}
