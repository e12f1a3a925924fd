//! RPC framing: records and call headers, whole, in fragments, and broken, in pieces of any size.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

use fake_efs::nfs::xdr::Encoder;
use rand::Rng;
use rand::rngs::StdRng;

use super::mutation::{bytes, mutate, one, word};
use super::rounds::run;
use super::server::Running;

const LAST: u32 = 0x8000_0000;

/// A call of the NULL procedure.
fn null(xid: u32) -> Vec<u8> {
    let mut call = Encoder::default();
    for word in [xid, 0, 2, 100_003, 4, 0, 0, 0, 0, 0] {
        call.u32(word);
    }
    call.buffer
}

/// A call with every field of its header up to chance.
fn strange(rng: &mut StdRng) -> Vec<u8> {
    let mut call = Encoder::default();
    call.u32(rng.random()).u32(rng.random_range(0..3)).u32(one(rng, &[2, 2, 2, 0, 1, 3]));
    call.u32(one(rng, &[100_003, 100_003, 100_005, 0, 400_001]))
        .u32(rng.random_range(0..6))
        .u32(rng.random_range(0..4));
    for _ in 0..2 {
        let body = bytes(rng, 420);
        call.u32(rng.random_range(0..8));
        if rng.random_bool(0.9) {
            call.opaque(&body);
        } else {
            call.u32(word(rng)).fixed(&body);
        }
    }
    call.buffer.extend(bytes(rng, 64));
    call.buffer
}

/// A record in some fragments.
fn fragments(rng: &mut StdRng, record: &[u8], stream: &mut Vec<u8>) {
    let mut rest = record;
    let count = one(rng, &[1, 1, 1, 2, 3, 70]);
    for _ in 1..count {
        let (piece, others) = rest.split_at(rng.random_range(0..=rest.len()));
        stream.extend_from_slice(&(piece.len() as u32).to_be_bytes());
        stream.extend_from_slice(piece);
        rest = others;
    }
    stream.extend_from_slice(&(rest.len() as u32 | LAST).to_be_bytes());
    stream.extend_from_slice(rest);
}

/// Sends all of a stream in pieces and says what came back until the server closed.
fn exchange(rng: &mut StdRng, address: SocketAddr, stream: &[u8]) -> Vec<u8> {
    let mut socket = TcpStream::connect(address).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    let mut rest = stream;
    while !rest.is_empty() {
        let (piece, others) = rest.split_at(rng.random_range(1..=rest.len().min(4096)));
        // The server may have closed already.
        if socket.write_all(piece).is_err() {
            break;
        }
        rest = others;
    }
    let _ = socket.shutdown(Shutdown::Write);
    let mut answers = Vec::new();
    if let Err(error) = socket.read_to_end(&mut answers) {
        assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset, "the server does not close: {error}");
    }
    answers
}

/// Replies are whole records that say that they are replies. After a reset the last one may be cut.
fn check(answers: &[u8]) {
    let mut rest = answers;
    while let Some((head, others)) = rest.split_first_chunk() {
        let head = u32::from_be_bytes(*head);
        assert!(head & LAST != 0, "a reply in fragments: {head:#x}");
        let length = (head & !LAST) as usize;
        assert!((20..=1 << 20).contains(&length), "a reply of {length} bytes");
        let Some((record, others)) = others.split_at_checked(length) else { return };
        assert_eq!(record[4..8], [0, 0, 0, 1], "not a reply");
        rest = others;
    }
}

#[test]
fn records_and_call_headers() {
    let running = Running::memory();
    run("framing", 360, |rng| {
        let mut tried = 0;
        for _ in 0..20 {
            let mut stream = Vec::new();
            for _ in 0..rng.random_range(1..20) {
                tried += 1;
                let record = if rng.random_bool(0.5) { null(rng.random()) } else { strange(rng) };
                match rng.random_range(0..10) {
                    0 => stream.extend(bytes(rng, 200)),
                    1 => {
                        let mut broken = Vec::new();
                        fragments(rng, &record, &mut broken);
                        mutate(rng, &mut broken, 0);
                        stream.extend(broken);
                    }
                    2 => stream.extend_from_slice(&word(rng).to_be_bytes()),
                    _ => fragments(rng, &record, &mut stream),
                }
            }
            let answers = exchange(rng, running.address, &stream);
            // What begins like TLS is answered in TLS.
            if stream.first() != Some(&0x16) {
                check(&answers);
            }
        }
        let mut whole = Vec::new();
        fragments(rng, &null(7), &mut whole);
        let answer = exchange(rng, running.address, &whole);
        // A record of 70 fragments is more than any client sends, and than the server takes.
        assert!(answer.len() == 28 || answer.is_empty() && whole.len() > 200, "no longer served: {answer:?}");
        tried
    });
    // Every connection is closed, so nothing may be left of them.
    while !running.server.connections().list().is_empty() {
        std::thread::yield_now();
    }
}
