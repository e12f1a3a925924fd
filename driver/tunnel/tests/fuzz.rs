//! Streams that nobody should send, to what cuts records and to what spreads them over several connections. What has to hold for all of
//! them: no panic, an end, and an answer that is never put together from two connections.
//!
//! A plain run makes so many rounds from a fixed seed; `FUZZ_SECONDS`, `FUZZ_SEED` and `FUZZ_ROUNDS` as for the fake's targets.
#![allow(clippy::unwrap_used, reason = "a test that can not go on must panic")]

use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use efs_tunnel::mux::{Counts, Order, multiplex};
use efs_tunnel::pump::Traffic;
use efs_tunnel::record::{Cutter, Event, RecordError};
use rand::Rng;
use rand::rngs::StdRng;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex, split};
use tokio::sync::mpsc;
use tokio::time::timeout;

use mutation::{bytes, mutate, one, word};
use rounds::run;

#[path = "../../../fake-efs/tests/fuzz/mutation.rs"]
mod mutation;
#[path = "../../../fake-efs/tests/fuzz/rounds.rs"]
mod rounds;

const LAST: u32 = 1 << 31;

/// A message of the kind (0 a call, 1 a reply) in some fragments. A call begins with SEQUENCE, as those do that may be sent again; what
/// follows is filled with its transaction id, so that it can be seen whose it is.
fn record(rng: &mut StdRng, xid: u32, kind: u32) -> Vec<u8> {
    let head: &[u32] = if kind == 0 { &[xid, 0, 2, 100_003, 4, 1, 0, 0, 0, 0, 0, 0, 1, 53] } else { &[xid, 1] };
    let mut message: Vec<u8> = head.iter().flat_map(|word| word.to_be_bytes()).collect();
    let length = one(rng, &[0, 1, 30, 500, 5_000, 70_000]);
    message.extend(xid.to_be_bytes().repeat(rng.random_range(0..=length / 4)));
    let (mut rest, mut stream) = (&message[..], Vec::new());
    for _ in 1..one(rng, &[1, 1, 1, 2, 3, 40]) {
        let (piece, others) = rest.split_at(rng.random_range(0..=rest.len()));
        stream.extend(u32::try_from(piece.len()).unwrap().to_be_bytes());
        stream.extend(piece);
        rest = others;
    }
    stream.extend((u32::try_from(rest.len()).unwrap() | LAST).to_be_bytes());
    stream.extend(rest);
    stream
}

/// Some records, one of them perhaps broken, and perhaps something else between them.
fn stream(rng: &mut StdRng, kind: u32, is_broken: bool) -> Vec<u8> {
    let mut stream = Vec::new();
    for _ in 0..rng.random_range(1..12) {
        let xid = rng.random_range(0..8);
        let mut next = record(rng, xid, kind);
        if is_broken {
            match rng.random_range(0..6) {
                0 => mutate(rng, &mut next, 0),
                1 => next = bytes(rng, 100),
                2 => next = word(rng).to_be_bytes().to_vec(),
                _ => {}
            }
        }
        stream.extend(next);
    }
    stream
}

/// What is told of a stream that comes in pieces: the places and what is there, and how it ends.
fn told(stream: &[u8], mut piece: impl FnMut() -> usize) -> (Vec<(usize, Event)>, Option<RecordError>) {
    let (mut cutter, mut at, mut events) = (Cutter::default(), 0, Vec::new());
    while at < stream.len() {
        let end = (at + piece()).min(stream.len());
        while at < end {
            match cutter.next(&stream[at..end]) {
                Ok((seen, event)) => {
                    assert!(seen <= end - at, "more than there is");
                    at += seen;
                    let is_stuck = seen == 0 && event.is_none();
                    assert!(!is_stuck, "neither a byte nor an event");
                    events.extend(event.map(|event| (at, event)));
                }
                Err(error) => return (events, Some(error)),
            }
        }
        // An end is told before the next byte comes.
        match cutter.next(&[]) {
            Ok((_, event)) => events.extend(event.map(|event| (at, event))),
            Err(error) => return (events, Some(error)),
        }
    }
    (events, None)
}

#[test]
fn records_are_cut_alike_however_they_come() {
    run("cutter", 2_000, |rng| {
        let kind = rng.random_range(0..2);
        let stream = stream(rng, kind, true);
        let whole = told(&stream, || usize::MAX);
        assert_eq!(whole, told(&stream, || 1), "byte by byte");
        assert_eq!(whole, told(&stream, || rng.random_range(1..200)), "in pieces");
        1
    });
}

/// What a side says in pieces, until it has said all; it hears everything and ends when it is told to, or in the middle.
async fn talk(side: DuplexStream, says: Vec<u8>, mut rng: StdRng) -> Vec<u8> {
    let (mut read, mut write) = split(side);
    let saying = async move {
        let mut rest = &says[..];
        while !rest.is_empty() {
            let (piece, others) = rest.split_at(rng.random_range(1..=rest.len().min(9_000)));
            if write.write_all(piece).await.is_err() {
                return;
            }
            rest = others;
            tokio::time::sleep(Duration::from_millis(rng.random_range(0..5))).await;
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
        let _gone = write.shutdown().await;
    };
    let mut heard = Vec::new();
    let hearing = async {
        let _reset = read.read_to_end(&mut heard).await;
    };
    tokio::join!(saying, hearing);
    heard
}

/// Replies of one connection are filled with one transaction id each: none is mixed with another. The last may be cut.
fn assert_unmixed(heard: &[u8]) {
    let mut rest = heard;
    let mut message = Vec::new();
    while let Some((mark, others)) = rest.split_first_chunk() {
        let mark = u32::from_be_bytes(*mark);
        let Some((fragment, others)) = others.split_at_checked((mark & !LAST) as usize) else { return };
        message.extend(fragment);
        rest = others;
        if mark & LAST != 0 {
            let words: Vec<&[u8]> = message.chunks_exact(4).collect();
            assert_eq!(words[1], [0, 0, 0, 1], "no reply");
            assert!(words[2..].iter().all(|word| *word == words[0]), "a reply from two connections");
            message.clear();
        }
    }
}

#[test]
fn whatever_the_sides_send_ends_and_no_reply_is_mixed_with_another() {
    use rand::SeedableRng as _;
    run("multiplexer", 120, |rng| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        // Who sends garbage: nobody, the kernel, or a server. A server's garbage may look like anything, also like a mixed reply.
        let broken = rng.random_range(0..3);
        let lanes = rng.random_range(1..5);
        let kernel_says = stream(rng, 0, broken == 1);
        let servers_say: Vec<Vec<u8>> = (0..lanes).map(|_| stream(rng, 1, broken == 2)).collect();
        let heard = runtime.block_on(async {
            let (kernel, local) = duplex(rng.random_range(1..5_000));
            let (orders, received) = mpsc::channel(16);
            let mut nears = Vec::new();
            for says in servers_say {
                let (near, far) = duplex(rng.random_range(1..5_000));
                tokio::spawn(talk(far, says, StdRng::seed_from_u64(rng.random())));
                nears.push(near);
            }
            let first = nears.remove(0);
            for near in nears {
                orders.send(Order::Add(near)).await.unwrap();
            }
            let kernel = tokio::spawn(talk(kernel, kernel_says, StdRng::seed_from_u64(rng.random())));
            let (traffic, counts, connections) = (Traffic::default(), Counts::default(), AtomicUsize::new(0));
            let carried = multiplex(local, first, received, &traffic, &counts, &connections);
            let ended = timeout(Duration::from_secs(3_600), carried).await;
            assert!(ended.is_ok(), "it never ends");
            drop(orders);
            kernel.await.unwrap()
        });
        if broken != 2 {
            assert_unmixed(&heard);
        }
        1
    });
}
