//! How fast a connection may be.

use std::time::{Duration, Instant};

use super::client::*;
use super::operations::populated;

const RATE: u64 = 1 << 20;
/// What comes in half a second.
const BYTES: usize = 512 << 10;

fn seconds(work: impl FnOnce()) -> f64 {
    let start = Instant::now();
    work();
    start.elapsed().as_secs_f64()
}

#[test]
fn a_connection_is_as_fast_as_its_rate_in_each_direction() {
    let running = populated();
    running.policy(|policy| policy.rate.set(RATE));
    for piece in [BYTES, 8 << 10] {
        let mut wire = Wire::session(running.address, &format!("pieces of {piece}"));
        let (stateid, handle) = wire.open("f", 3);
        let data = vec![7; piece];
        let pieces = || (0..BYTES / piece).map(|number| (number * piece) as u64);
        let written = seconds(|| {
            for offset in pieces() {
                assert_eq!(wire.run(&[putfh(&handle), write(stateid, offset, 0, &data)]).status, OK);
            }
        });
        let read = seconds(|| {
            for offset in pieces() {
                let mut reply = wire.run(&[putfh(&handle), read(stateid, offset, piece as u32)]);
                reply.op(22).op(25).u32();
                assert_eq!(reply.opaque().len(), piece);
            }
        });
        // The first 64 KiB go at once.
        for took in [written, read] {
            assert!((0.42..5.0).contains(&took), "{took} s in pieces of {piece}");
        }
    }
    // Each connection has its own.
    let mut wires: Vec<_> = (0..8).map(|number| Wire::session(running.address, &format!("wire {number}"))).collect();
    let together = seconds(|| {
        std::thread::scope(|scope| {
            for wire in &mut wires {
                scope.spawn(|| {
                    let write = write(ANONYMOUS, 0, 0, &vec![7; BYTES]);
                    assert_eq!(wire.run(&[putrootfh(), lookup(b"f"), write]).status, OK);
                });
            }
        });
    });
    assert!((0.42..2.0).contains(&together), "{together} s for eight at the same time");
}

#[test]
fn a_rate_that_is_changed_counts_for_connections_that_wait() {
    let running = populated();
    running.policy(|policy| policy.rate.set(1 << 10));
    let mut wire = Wire::session(running.address, "wire");
    let (stateid, handle) = wire.open("f", 3);
    let store = running.store();
    store.write(store.lookup(store.root(), b"f").unwrap(), 0, &[7; BYTES]).unwrap();
    let took = seconds(|| {
        std::thread::scope(|scope| {
            let reading = scope.spawn(|| {
                let mut reply = wire.run(&[putfh(&handle), read(stateid, 0, BYTES as u32)]);
                reply.op(22).op(25).u32();
                assert_eq!(reply.opaque().len(), BYTES);
            });
            std::thread::sleep(Duration::from_millis(500));
            assert!(!reading.is_finished(), "it did not wait");
            running.policy(|policy| policy.rate.set(0));
        });
    });
    assert!(took < 5.0, "{took} s");
}
