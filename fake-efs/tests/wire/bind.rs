//! AWS's private program: how a client learns its partition, and all the answers that it must be ready for.

use std::time::{Duration, Instant};

use fake_efs::nfs::xdr::{Decoder, Encoder};
use fake_efs::nfs::{BindAnswer, Binding, Options, ScaleUp, WireEffect, WireFault};

use super::client::*;
use super::operations::{populated, populated_with};
use super::rpc::words_of;
use super::server::Running;

/// The program and its procedure that binds: of the proxy's versions since 3.0, and of those before.
const PROGRAMS: [(u32, u32); 2] = [(400_123, 2), (100_200, 1)];
const AWS: u32 = PROGRAMS[0].0;
const BIND: u32 = PROGRAMS[0].1;
const NFS: u32 = 100_003;

const RETRY: u32 = 0;
const RETRY_LATER: u32 = 1;
const PREFERRED: u32 = 2;
const READY: u32 = 3;
const ERROR: u32 = 4;

/// Arguments of a call that binds.
fn binding(uuid: u8, incarnation: i64) -> Vec<u8> {
    let mut arguments = Encoder::default();
    arguments.opaque(&[uuid; 16]).opaque(&incarnation.to_be_bytes());
    arguments.buffer
}

/// An answer behind the xid, which must be a success: its type, and what follows it.
fn success(reply: &[u8]) -> (u32, &[u8]) {
    let (head, rest) = reply.split_at(4 * 6);
    assert_eq!(words_of(head)[..5], [1, 0, 0, 0, 0], "the call was not accepted");
    (words_of(head)[5], rest)
}

/// An answer that names a partition: its type, the name, and the numbers.
fn named(reply: &[u8]) -> (u32, [u8; 64], Vec<u32>) {
    let (kind, rest) = success(reply);
    let (name, numbers) = rest.split_at(64);
    (kind, name.try_into().unwrap(), words_of(numbers))
}

/// Binds a connection and returns the name of its partition.
pub(crate) fn bind(wire: &mut Wire) -> [u8; 64] {
    let (kind, name, _) = named(&wire.call(AWS, 1, BIND, &binding(7, 1)));
    assert_eq!(kind, READY);
    name
}

#[test]
fn a_client_that_binds_learns_its_partition_and_when_to_use_more_connections() {
    let running = populated();
    let (mut a, mut b) = (Wire::connect(running.address), Wire::connect(running.address));
    for (program, procedure) in PROGRAMS {
        let first = a.call(program, 1, procedure, &binding(7, 1));
        let (kind, name, numbers) = named(&first);
        assert_eq!((kind, &name[..8]), (READY, &running.store().instance().id[..]));
        assert_eq!(numbers, [5, 314_572_800, 1, 1]);
        assert_eq!(b.call(program, 1, procedure, &binding(7, 1)), first, "all connections lead to the same partition");
    }
    let scale_up =
        ScaleUp { max_connections: 4, threshold_bytes_per_second: -2, breached_seconds: 3, lookback_seconds: 6 };
    let running = populated_with(Options { scale_up, ..Options::default() });
    let mut wire = Wire::connect(running.address);
    for (program, procedure) in PROGRAMS {
        let (_, _, numbers) = named(&wire.call(program, 1, procedure, &binding(7, 1)));
        assert_eq!(numbers, [4, -2_i32 as u32, 3, 6]);
    }
}

#[test]
fn the_program_has_one_version_and_two_procedures() {
    let running = populated();
    let mut wire = Wire::connect(running.address);
    for (program, procedure) in PROGRAMS {
        assert_eq!(words_of(&wire.call(program, 1, 0, b"")), [1, 0, 0, 0, 0]);
        assert_eq!(words_of(&wire.call(program, 1, 3 - procedure, &binding(7, 1))), [1, 0, 0, 0, 3]);
        assert_eq!(words_of(&wire.call(program, 2, procedure, &binding(7, 1))), [1, 0, 0, 0, 2, 1, 1]);
        let mut short = Encoder::default();
        short.opaque(&[7; 15]).opaque(&[0; 8]);
        for arguments in [&[][..], &binding(7, 1)[..24], &short.buffer] {
            assert_eq!(words_of(&wire.call(program, 1, procedure, arguments)), [1, 0, 0, 0, 4], "garbage");
        }
    }
    let running = populated_with(Options { partition_program: false, ..Options::default() });
    let mut wire = Wire::connect(running.address);
    for (program, procedure) in PROGRAMS {
        assert_eq!(words_of(&wire.call(program, 1, procedure, &binding(7, 1))), [1, 0, 0, 0, 1]);
    }
}

#[test]
fn a_connection_is_known_by_who_has_bound_it() {
    let running = populated();
    let known = || running.server.connections().list().into_iter().map(|view| view.binding).collect::<Vec<_>>();
    let of = |uuid: u8, incarnation| Some(Binding { uuid: uuid::Uuid::from_bytes([uuid; 16]), incarnation });
    let mut a = Wire::session(running.address, "wire");
    assert_eq!(known(), [None]);
    let mut b = Wire::connect(running.address);
    for (program, procedure) in PROGRAMS {
        a.call(program, 1, procedure, &binding(1, 5));
        b.call(program, 1, procedure, &binding(2, -1));
        assert_eq!(known(), [of(1, 5), of(2, -1)]);
        a.call(program, 1, procedure, &binding(3, 6));
        a.call(program, 1, procedure, b"");
        a.call(program, 1, 0, b"");
        assert_eq!(known(), [of(3, 6), of(2, -1)], "who came last, and no garbage");
    }
    assert_eq!(a.run(&[putrootfh()]).status, OK);
    // Who was not answered as it should be has said its name nevertheless.
    running.server.faults().add(WireFault::new(WireEffect::BindAnswer { answer: BindAnswer::Retry }).times(1));
    a.call(AWS, 1, BIND, &binding(4, 7));
    assert_eq!(known()[0], of(4, 7));
}

/// The test of each answer: a new one does not compile without.
const _: fn(&BindAnswer) -> fn() = |answer| match answer {
    BindAnswer::Preferred
    | BindAnswer::ThreeInts
    | BindAnswer::OversizedRecord
    | BindAnswer::MaxConnections(_)
    | BindAnswer::ChangingMax => answers_may_name_a_partition_in_odd_ways,
    BindAnswer::Retry | BindAnswer::RetryLater | BindAnswer::Error(_) | BindAnswer::UnknownType => {
        answers_may_name_no_partition
    }
    BindAnswer::ProgUnavail | BindAnswer::GarbageArgs => answers_may_be_refusals,
    BindAnswer::Silence | BindAnswer::WrongXid => answers_may_be_missing_or_somebody_else_s,
    BindAnswer::EndlessRecord => an_answer_may_never_end,
};

/// A server whose next calls that bind are answered so.
fn answering(answer: BindAnswer) -> (Running, Wire) {
    let running = populated();
    running.server.faults().add(WireFault::new(WireEffect::BindAnswer { answer }));
    let wire = Wire::connect(running.address);
    (running, wire)
}

/// The same connection goes on.
fn works(wire: &mut Wire) -> bool {
    words_of(&wire.call(NFS, 4, 0, b"")) == [1, 0, 0, 0, 0]
}

#[test]
fn answers_may_name_a_partition_in_odd_ways() {
    let usual = [5, 314_572_800, 1, 1];
    for (answer, kind, wanted) in [
        (BindAnswer::Preferred, PREFERRED, &usual[..]),
        (BindAnswer::ThreeInts, READY, &usual[..3]),
        (BindAnswer::MaxConnections(0), READY, &[0, 314_572_800, 1, 1]),
        (BindAnswer::MaxConnections(1), READY, &[1, 314_572_800, 1, 1]),
        (BindAnswer::MaxConnections(-1), READY, &[u32::MAX, 314_572_800, 1, 1]),
    ] {
        let (running, mut wire) = answering(answer.clone());
        for (program, procedure) in PROGRAMS {
            let (found, name, numbers) = named(&wire.call(program, 1, procedure, &binding(7, 1)));
            assert_eq!((found, &numbers[..]), (kind, wanted), "{answer:?}");
            assert_eq!(name[..8], running.store().instance().id, "{answer:?}");
        }
        assert!(works(&mut wire), "{answer:?}");
    }
    let (running, mut wire) = answering(BindAnswer::OversizedRecord);
    let (kind, _, numbers) = named(&wire.call(AWS, 1, BIND, &binding(7, 1)));
    assert_eq!((kind, &numbers[..4], numbers.len()), (READY, &usual[..], 4 + (1 << 20)));
    assert!(numbers[4..].iter().all(|word| *word == 0) && works(&mut wire));
    running.server.faults().clear();
    running.server.faults().add(WireFault::new(WireEffect::BindAnswer { answer: BindAnswer::ChangingMax }));
    let most = (0..6).map(|_| named(&Wire::connect(running.address).call(AWS, 1, BIND, &binding(7, 1))).2[0]);
    let most: Vec<_> = most.collect();
    assert!(most.windows(2).all(|pair| pair[0] != pair[1]) && most.iter().all(|max| (3..=5).contains(max)), "{most:?}");
}

#[test]
fn answers_may_name_no_partition() {
    let error = "the door is closed";
    for (answer, kind, text) in [
        (BindAnswer::Retry, RETRY, Some("try again")),
        (BindAnswer::RetryLater, RETRY_LATER, Some("try again later")),
        (BindAnswer::Error(error.to_owned()), ERROR, Some(error)),
        (BindAnswer::UnknownType, 99, None),
    ] {
        let (_running, mut wire) = answering(answer.clone());
        for (program, procedure) in PROGRAMS {
            let reply = wire.call(program, 1, procedure, &binding(7, 1));
            let (found, rest) = success(&reply);
            let mut decoder = Decoder::new(rest);
            assert_eq!(found, kind);
            if let Some(text) = text {
                assert_eq!(decoder.opaque(100).unwrap(), text.as_bytes());
            }
            assert_eq!(words_of(decoder.rest()), [5, 314_572_800, 1, 1], "{answer:?}");
        }
        assert!(works(&mut wire), "{answer:?}");
    }
}

#[test]
fn answers_may_be_refusals() {
    for (answer, outcome) in [(BindAnswer::ProgUnavail, 1), (BindAnswer::GarbageArgs, 4)] {
        let (_running, mut wire) = answering(answer);
        assert_eq!(words_of(&wire.call(AWS, 1, BIND, &binding(7, 1))), [1, 0, 0, 0, outcome]);
        assert!(works(&mut wire));
    }
}

#[test]
fn answers_may_be_missing_or_somebody_else_s() {
    let call = |wire: &mut Wire| {
        let mut call = wire.call_head(AWS, 1, BIND).buffer;
        call.extend_from_slice(&binding(7, 1));
        wire.send_record(&call);
    };
    let (_running, mut wire) = answering(BindAnswer::Silence);
    call(&mut wire);
    // What comes first is the answer to what was asked next.
    assert!(works(&mut wire));
    let (_running, mut wire) = answering(BindAnswer::WrongXid);
    call(&mut wire);
    let reply = wire.receive().unwrap();
    assert_eq!(words_of(&reply[..4]), [!wire.xid]);
    assert_eq!(named(&reply[4..]).0, READY);
    assert!(works(&mut wire));
}

#[test]
fn an_answer_may_never_end() {
    let (running, mut wire) = answering(BindAnswer::EndlessRecord);
    let mut call = wire.call_head(AWS, 1, BIND).buffer;
    call.extend_from_slice(&binding(7, 1));
    wire.send_record(&call);
    let mut head = [0; 4];
    wire.receive_bytes(&mut head);
    assert_eq!(head, [0xff; 4]);
    let mut bytes = vec![1; 1 << 20];
    for _ in 0..8 {
        wire.receive_bytes(&mut bytes);
        assert!(bytes.iter().all(|byte| *byte == 0));
    }
    assert!(works(&mut Wire::connect(running.address)), "others are served");
    drop(wire);
    let deadline = Instant::now() + Duration::from_secs(20);
    while !running.server.connections().list().is_empty() {
        assert!(Instant::now() < deadline, "it went on although nobody listens");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn such_answers_strike_calls_that_bind_and_count_nothing_else() {
    let running = populated();
    let faults = running.server.faults();
    let fault = WireFault::new(WireEffect::BindAnswer { answer: BindAnswer::Preferred }).times(2);
    faults.add(WireFault { skip: 1, ..fault.clone() });
    let mut wire = Wire::session(running.address, "wire");
    let mut kinds = Vec::new();
    for (program, procedure) in [PROGRAMS, PROGRAMS].concat() {
        assert_eq!(wire.run(&[putrootfh()]).status, OK);
        assert_eq!(words_of(&wire.call(program, 1, 0, b"")), [1, 0, 0, 0, 0]);
        kinds.push(named(&wire.call(program, 1, procedure, &binding(7, 1))).0);
    }
    assert_eq!(kinds, [READY, PREFERRED, PREFERRED, READY]);
    assert!(faults.list().is_empty());
    // Other connections' calls are not meant, and faults of any request strike these too.
    faults.add(fault.on_access_point("fsap-other"));
    faults.add(WireFault::new(WireEffect::DropReply).times(1));
    let mut call = wire.call_head(AWS, 1, BIND).buffer;
    call.extend_from_slice(&binding(7, 1));
    wire.send_record(&call);
    assert_eq!(wire.receive(), None);
    assert_eq!(faults.list().len(), 1);
}
