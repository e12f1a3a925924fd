//! NFS requests: sequences of operations with arguments that fit, that nearly fit, and that are noise, in both minor versions.

use fake_efs::nfs::Status;
use fake_efs::nfs::xdr::Decoder;
use rand::Rng;
use rand::rngs::StdRng;

use super::client::*;
use super::mutation::{bytes, mutate, one, word};
use super::rounds::run;
use super::server::Running;

/// What a client has learnt and may use again, rightly or wrongly.
pub(crate) struct Known {
    pub(crate) handles: Vec<Vec<u8>>,
    pub(crate) stateids: Vec<[u8; 16]>,
    pub(crate) client: u64,
}

const NAMES: [&[u8]; 9] = [b"a", b"b", b"dir", b"link", b"", b".", b"..", b"x/y", b"\xff\xfe"];

impl Known {
    fn name(&self, rng: &mut StdRng) -> Vec<u8> {
        if rng.random_bool(0.9) { one(rng, &NAMES).to_vec() } else { vec![b'n'; rng.random_range(250..2000)] }
    }

    fn stateid(&self, rng: &mut StdRng) -> [u8; 16] {
        let special = [ANONYMOUS, CURRENT, [0xff; 16]];
        let mut stateid = match self.stateids.is_empty() || rng.random_bool(0.3) {
            true => one(rng, &special),
            false => one(rng, &self.stateids),
        };
        if rng.random_bool(0.2) {
            stateid[rng.random_range(0..16)] ^= 1 << rng.random_range(0..8);
        }
        stateid
    }

    fn offset(&self, rng: &mut StdRng) -> u64 {
        match rng.random_range(0..4) {
            0 => rng.random_range(0..10_000),
            1 => u64::MAX - rng.random_range(0..3),
            2 => (1 << 63) - rng.random_range(0..3),
            _ => u64::from(word(rng)),
        }
    }

    /// One operation, more often than not a sensible one.
    pub(crate) fn op(&self, rng: &mut StdRng) -> Op {
        let (name, other, stateid) = (self.name(rng), self.name(rng), self.stateid(rng));
        let (offset, length, count) = (self.offset(rng), self.offset(rng), word(rng));
        let attributes: Vec<u32> = (0..rng.random_range(0..12)).map(|_| rng.random_range(0..96)).collect();
        match rng.random_range(0..43) {
            0..=3 => putrootfh(),
            4..=6 if !self.handles.is_empty() => putfh(&one(rng, &self.handles)),
            4..=6 => putfh(&bytes(rng, 140)),
            7 | 8 => lookup(&name),
            9 => lookupp(),
            10 | 11 => getfh(),
            12 => savefh(),
            13 => restorefh(),
            14 => getattr(&attributes),
            15 => setattr(stateid, (&attributes, &bytes(rng, 64))),
            16 => setattr(stateid, (&[4], &offset.to_be_bytes())),
            17 => mkdir(&name),
            18 => create(rng.random_range(0..9), &name, (&[33], &mode(rng.random()))),
            19 => symlink(&name, &other),
            20 => remove(&name),
            21 => rename(&name, &other),
            22 => link(&name),
            23 => readdir(offset, length, count),
            24 => read(stateid, offset, count),
            25 | 26 => write(stateid, offset, rng.random_range(0..4), &bytes(rng, 300)),
            27 => commit(offset, count),
            28..=30 => open_create(self.client, rng.random_range(0..4), (&[33], &mode(0o644)), &name),
            31 => open(self.client, &other, rng.random_range(0..5), &name),
            32 => close(stateid, count),
            33 => downgrade(stateid, rng.random_range(0..5), rng.random_range(0..2)),
            34 => lock(rng.random_range(0..6), offset, length, stateid, self.client, &other),
            35 => lock_more(rng.random_range(0..6), rng.random_range(0..3), offset, length, stateid),
            36 => match rng.random_bool(0.5) {
                true => lockt(rng.random_range(0..6), offset, length, self.client, &other),
                false => locku(offset, length, stateid),
            },
            37 => test_stateid(&vec![stateid; rng.random_range(0..4)]),
            38 => free_stateid(stateid),
            39 => match rng.random_bool(0.5) {
                true => verify((&attributes, &bytes(rng, 32))),
                false => nverify((&attributes, &bytes(rng, 32))),
            },
            40 => setclientid("fuzz", rng.random()),
            41 => stateid_op(20, stateid, one(rng, &[1, 1, 1, 2])),
            _ => words(rng.random_range(0..90), &(0..rng.random_range(0..8)).map(|_| word(rng)).collect::<Vec<_>>()),
        }
    }

    /// Keeps handles and state ids that a reply gave, as long as its results can be told apart.
    pub(crate) fn learn(&mut self, results: &[u8]) {
        let mut decoder = Decoder::new(results);
        while let (Ok(number), Ok(0)) = (decoder.u32(), decoder.u32()) {
            match number {
                10 => match decoder.opaque(128) {
                    Ok(handle) => self.handles.push(handle.to_vec()),
                    Err(_) => return,
                },
                12 | 14 | 18 | 21 => {
                    if let Ok(stateid) = decoder.array() {
                        self.stateids.push(stateid);
                    }
                    if number == 18 {
                        return;
                    }
                }
                // No results of their own.
                15 | 16 | 17 | 22 | 24 | 31 | 32 | 37 => {}
                _ => return,
            }
        }
    }
}

/// Checks the reply to a call whose header was sound: a COMPOUND's result, or that its arguments don't decode. The results.
fn check(reply: &[u8], sent: u32) -> Option<(u32, Vec<u8>)> {
    let mut decoder = Decoder::new(reply);
    let head: Vec<u32> = (0..4).map(|_| decoder.u32().unwrap()).collect();
    assert_eq!(head, [1, 0, 0, 0], "the call was not accepted");
    match decoder.u32().unwrap() {
        0 => {}
        4 => return None,
        other => panic!("accept status {other}"),
    }
    let status = decoder.u32().unwrap();
    decoder.opaque(1024).unwrap();
    let count = decoder.u32().unwrap();
    assert!(count <= sent, "{count} results for {sent} operations");
    if status != OK {
        let known = Status::from_number(status).unwrap_or_else(|| panic!("{status} is no status of NFS"));
        assert_ne!(known, Status::ServerFault, "the server does not know what it does");
    }
    Some((status, decoder.rest().to_vec()))
}

/// One client's life: requests in a session (or, in 4.0, without), and what it makes of the answers.
fn life(rng: &mut StdRng, running: &Running, minor: u32, requests: u64) -> u64 {
    let mut wire = Wire::connect(running.address);
    if minor == 1 {
        wire.establish("fuzz", rng.random());
        wire.begin();
    } else {
        let mut reply = wire.compound(0, &[setclientid("fuzz", rng.random())]);
        let (client, confirm) = (reply.op(35).u64(), reply.u64());
        wire.compound(0, &[setclientid_confirm(client, confirm)]);
        wire.client = client;
    }
    wire.uid = one(rng, &[0, 0, 1000]);
    let mut known = Known { handles: Vec::new(), stateids: Vec::new(), client: wire.client };
    for _ in 0..requests {
        let mut ops: Vec<Op> = Vec::new();
        let in_session = minor == 1 && rng.random_bool(0.97);
        if in_session {
            ops.push(sequence(wire.session, wire.sequence + 1, 0, 0, rng.random()));
        }
        if rng.random_bool(0.8) {
            ops.push(putrootfh());
        }
        ops.extend((0..rng.random_range(0..8)).map(|_| known.op(rng)));
        let fixed = if in_session { 16 + ops[0].len() } else { 0 };
        let mut sent = ops.len() as u32;
        let mut body = compound_body(minor, &ops);
        if rng.random_bool(0.4) {
            mutate(rng, &mut body, fixed);
            // The number of operations may be one of the words that changed.
            sent = u32::MAX;
        }
        let Some((status, results)) = check(&wire.call(100_003, 4, 1, &body), sent) else { continue };
        let began = results.starts_with(&[0, 0, 0, 53, 0, 0, 0, 0]);
        if in_session && began {
            wire.sequence += 1;
            known.learn(results.get(44..).unwrap_or_default());
        } else {
            known.learn(&results);
        }
        if minor == 1 && in_session && !began || status == Status::BadSession as u32 {
            // One of the operations ended the session, or the client. Only who introduced the client may do so again.
            let uid = std::mem::take(&mut wire.uid);
            wire.establish("fuzz", rng.random());
            wire.begin();
            wire.uid = uid;
            known.client = wire.client;
        }
    }
    requests
}

#[test]
fn compounds() {
    run("compounds", 140, |rng| {
        let running = Running::memory();
        let tried = life(rng, &running, 1, 250) + life(rng, &running, 0, 150);
        // Whatever was done to it, the server serves the next client.
        let mut next = Wire::session(running.address, "next");
        assert_eq!(next.run(&[putrootfh(), getattr(&[1, 20])]).status, OK);
        tried
    });
}
