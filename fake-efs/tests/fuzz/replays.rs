//! Requests of two clients that come again: over the same connection, or over another one after the reply was lost. A repetition
//! has the same answer, to the byte, and changes nothing; a client's state ids are worth nothing to the other one; and what is
//! remembered for all of this is bounded.

use std::collections::BTreeMap;

use fake_efs::nfs::xdr::Decoder;
use fake_efs::store::{Attributes, Kind, Store};
use rand::Rng;
use rand::rngs::StdRng;

use super::client::*;
use super::compounds::Known;
use super::mutation::one;
use super::rounds::run;
use super::server::Running;

/// Operations of a round of each client and version.
const REQUESTS: usize = 60;
/// Bytes by which the process may grow after its first rounds: servers come and go with them.
const GROWTH: u64 = 96 << 20;
/// Rounds after which the process has its size.
const WARM: u64 = 5;

/// What one object of a store is. Times and change counters are left out where a WRITE may be done again.
type Object = (Vec<u8>, u32, u32, u32, u64, u32, Option<(i64, u32, u64)>);

/// A store by paths, and what its files hold.
fn contents(store: &dyn Store, exactly: bool) -> BTreeMap<Vec<u8>, Object> {
    let mut found = BTreeMap::new();
    let mut left = vec![(store.root(), Vec::new())];
    while let Some((directory, path)) = left.pop() {
        let mut entries: Vec<(Vec<u8>, Attributes)> = Vec::new();
        let all = store.read_directory(directory, 0, &mut |entry| {
            entries.push((entry.name.to_vec(), *entry.attributes));
            true
        });
        assert!(all.unwrap(), "the visit was not ended");
        for (name, file) in entries {
            let path = [&path[..], b"/", &name].concat();
            let mut data = Vec::new();
            match file.kind {
                Kind::Regular => drop(store.read(file.id, 0, 20_000, &mut data).unwrap()),
                Kind::Symlink => data = store.read_link(file.id).unwrap(),
                Kind::Directory => left.push((file.id, path.clone())),
                _ => {}
            }
            let moved = exactly.then_some((file.changed.seconds, file.changed.nanoseconds, file.change));
            found.insert(path, (data, file.mode, file.uid, file.gid, file.size, file.links, moved));
        }
    }
    found
}

/// A client that remembers the bytes of its last request.
struct Repeater {
    wire: Wire,
    known: Known,
    minor: u32,
    /// Last number of the one open owner, and the open that it must confirm, in 4.0.
    seqid: u32,
    unconfirmed: Option<([u8; 16], Vec<u8>)>,
    opened: Vec<([u8; 16], Vec<u8>)>,
}

impl Repeater {
    fn new(running: &Running, minor: u32, name: &str) -> Self {
        let mut wire = Wire::connect(running.address);
        if minor == 1 {
            wire.establish(name, 1);
            wire.begin();
        } else {
            let mut reply = wire.compound(0, &[setclientid(name, 1)]);
            let (client, confirm) = (reply.op(35).u64(), reply.u64());
            wire.compound(0, &[setclientid_confirm(client, confirm)]);
            wire.client = client;
        }
        let known = Known { handles: Vec::new(), stateids: Vec::new(), client: wire.client };
        Self { wire, known, minor, seqid: 0, unconfirmed: None, opened: Vec::new() }
    }

    /// A request that is as good as any, but for operations that end sessions and introduce clients.
    fn ops(&self, rng: &mut StdRng) -> Vec<Op> {
        let number = |op: &Op| u32::from_be_bytes([op[0], op[1], op[2], op[3]]);
        let mut ops = vec![putrootfh()];
        let wanted = rng.random_range(1..7);
        while ops.len() < wanted {
            let op = self.known.op(rng);
            let fits = match number(&op) {
                35 | 36 | 40..=44 | 53 | 57 => false,
                // What reads much, has a number or tells change counters has its turn below, or in 4.1.
                6 | 10 | 11 | 15 | 16 | 22 | 24 | 27..=29 | 31 | 32 | 34 => true,
                38 => true,
                _ => self.minor > 0,
            };
            if fits {
                ops.push(op);
            }
        }
        ops
    }

    /// In 4.0 an owner's request: OPEN, its confirmation, or CLOSE.
    fn numbered(&mut self, rng: &mut StdRng) -> Vec<Op> {
        let seqid = self.seqid + 1;
        if let Some((stateid, handle)) = &self.unconfirmed {
            return vec![putfh(handle), stateid_op(20, *stateid, seqid)];
        }
        if !self.opened.is_empty() && rng.random_bool(0.4) {
            let (stateid, handle) = one(rng, &self.opened);
            return vec![putfh(&handle), close(stateid, seqid)];
        }
        let name: &[u8] = one(rng, &[b"a", b"b", b"made"]);
        let create = rng.random_bool(0.8).then(|| (rng.random_range(0..2), create_attrs((&[33], &mode(0o644)))));
        let open = Open { seqid, access: 3, create, ..plain_open(self.wire.client, name) }.encode();
        let mut ops = vec![putrootfh(), open, getfh()];
        if rng.random_bool(0.5) {
            ops.extend([putrootfh(), mkdir(&[b'd', rng.random_range(b'0'..=b'9')])]);
        }
        ops
    }

    /// Sends a request once and, more often than not, again; how many times it was sent.
    fn request(&mut self, rng: &mut StdRng, running: &Running) -> u64 {
        let numbered = self.minor == 0 && rng.random_bool(0.4);
        let ops = if numbered { self.numbered(rng) } else { self.ops(rng) };
        let body = if self.minor == 0 {
            compound_body(0, &ops)
        } else {
            self.wire.sequence += 1;
            let head = sequence(self.wire.session, self.wire.sequence, 0, 0, true);
            compound_body(1, &[&[head], &ops[..]].concat())
        };
        let mut record = self.wire.call_head(100_003, 4, 1).buffer;
        record.extend_from_slice(&body);
        self.wire.send_record(&record);
        let first = self.wire.receive().expect("an answer");
        let store = running.store();
        let before = contents(&*store, self.minor > 0);
        let again = rng.random_range(0..3);
        for _ in 0..again {
            if rng.random() {
                self.wire = self.wire.reconnect(running.address);
                self.wire.xid += 1;
            }
            self.wire.send_record(&record);
            let repeated = self.wire.receive().expect("an answer to the repetition");
            assert!(repeated == first, "another answer to {record:?}:\n{first:?}\n{repeated:?}");
        }
        assert_eq!(contents(&*store, self.minor > 0), before, "the repetition of {record:?} did something");
        self.learn(&first, numbered);
        1 + again
    }

    fn learn(&mut self, reply: &[u8], numbered: bool) {
        // Transaction id, reply, accepted, verifier, success, status, tag.
        let mut decoder = Decoder::new(&reply[24..]);
        let status = decoder.u32().unwrap();
        decoder.opaque(1024).unwrap();
        decoder.u32().unwrap();
        let mut results = decoder.rest();
        if self.minor > 0 {
            assert_eq!(results[..8], [0, 0, 0, 53, 0, 0, 0, 0], "the slot was not taken");
            results = &results[44..];
        }
        self.known.learn(results);
        if numbered {
            self.count(results, status);
        }
    }

    /// Follows the owner's number, and what it has open.
    fn count(&mut self, results: &[u8], status: u32) {
        let mut results = Decoder::new(results);
        // PUTFH or PUTROOTFH came first, and may have failed.
        if results.u32().is_err() || results.u32() != Ok(OK) {
            return;
        }
        let (number, done) = (results.u32().unwrap(), results.u32().unwrap());
        assert!(![10_026, 10_023].contains(&done), "operation {number} of a right number answers {done}, {status}");
        if done == 10_025 {
            // The state went with its file's last name or owner: nothing counts.
            return;
        }
        self.seqid += 1;
        match (number, done) {
            (18, OK) => {
                let stateid = results.array().unwrap();
                results.fixed(20).unwrap();
                let confirm = results.u32().unwrap() & 2 != 0;
                results.words(8).unwrap();
                results.fixed(12).unwrap();
                let handle = results.opaque(128).unwrap().to_vec();
                self.opened.retain(|(open, _)| open[4..] != stateid[4..]);
                self.opened.push((stateid, handle.clone()));
                self.unconfirmed = confirm.then_some((stateid, handle));
            }
            (20, OK) => {
                let stateid: [u8; 16] = results.array().unwrap();
                self.unconfirmed = None;
                let open = self.opened.iter_mut().find(|(open, _)| open[4..] == stateid[4..]);
                open.unwrap().0 = stateid;
            }
            (4, OK) => {
                let closed: [u8; 16] = results.array().unwrap();
                self.opened.retain(|(open, _)| open[4..] != closed[4..]);
            }
            _ => {}
        }
    }

    /// What it has open or locked now: state ids and the handles of their files.
    fn holdings(&mut self) -> Vec<([u8; 16], Vec<u8>)> {
        if self.minor == 0 {
            return self.opened.clone();
        }
        let open = open_create(self.wire.client, 0, (&[33], &mode(0o600)), b"held");
        let mut reply = self.wire.run(&[putrootfh(), open, getfh()]);
        let open = reply.op(24).op(18).open();
        let handle = reply.op(10).opaque();
        let mut reply = self.wire.run(&[putfh(&handle), lock(1, 0, 10, open, self.wire.client, b"locker")]);
        let locked = reply.op(22).op(12).stateid();
        vec![(open, handle.clone()), (locked, handle)]
    }

    /// Uses the other client's state ids, on its files.
    fn trespass(&mut self, rng: &mut StdRng, holdings: Vec<([u8; 16], Vec<u8>)>, store: &dyn Store) {
        for (stateid, handle) in holdings {
            let uses = [
                read(stateid, 0, 10),
                write(stateid, 0, 0, b"trespass"),
                setattr(stateid, (&[4], &[0; 8])),
                close(stateid, 1),
                downgrade(stateid, 1, 0),
                locku(0, 10, stateid),
                lock_more(1, 0, 0, 10, stateid),
                lock(1, 0, 10, stateid, self.wire.client, b"trespasser"),
            ];
            let before = contents(store, true);
            let ops = [putfh(&handle), one(rng, &uses)];
            let reply = if self.minor > 0 { self.wire.run(&ops) } else { self.wire.compound(0, &ops) };
            assert_ne!(reply.status, OK, "another client's state id is good for {ops:?}");
            if self.minor > 0 {
                let mut reply = self.wire.run(&[test_stateid(&[stateid]), free_stateid(stateid)]);
                assert_ne!(reply.op(55).words(), [OK], "another client's state id is known");
                assert_ne!(reply.status, OK, "another client's state id was freed");
            }
            assert!(contents(store, true) == before, "{ops:?} did something");
        }
    }
}

/// Bytes of memory that the process has.
fn resident() -> u64 {
    let pages = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    pages.split(' ').nth(1).and_then(|pages| pages.parse::<u64>().ok()).unwrap_or(0) * 4096
}

#[test]
fn replays() {
    let (mut round, mut warm) = (0, u64::MAX);
    run("replays", 40, |rng| {
        let running = Running::memory();
        let mut sent = 0;
        for minor in [1, 0] {
            let mut first = Repeater::new(&running, minor, "first");
            // In 4.0 a state id says whose it is, and everybody on connections of the same identity may use it.
            running.policy(|policy| policy.access_point_id = (minor == 0).then(|| "fsap-0123456789abcdef0".to_owned()));
            let mut second = Repeater::new(&running, minor, "second");
            running.policy(|policy| policy.access_point_id = None);
            let store = running.store();
            for _ in 0..REQUESTS {
                sent += first.request(rng, &running);
                if minor > 0 {
                    sent += second.request(rng, &running);
                    first.trespass(rng, second.holdings(), &*store);
                }
                second.trespass(rng, first.holdings(), &*store);
            }
        }
        let mut next = Wire::session(running.address, "next");
        assert_eq!(next.run(&[putrootfh(), getattr(&[1, 20])]).status, OK, "the next client is served");
        drop(running);
        round += 1;
        if round == WARM {
            warm = resident();
        }
        assert!(
            resident() < warm.saturating_add(GROWTH),
            "grown from {warm} to {} bytes in {round} rounds",
            resident()
        );
        sent
    });
}

/// Replies of two kilobytes to 20,000 requests would be 44 megabytes.
#[test]
fn replies_that_are_kept_for_repetition_are_bounded() {
    const REQUESTS: u64 = 20_000;
    const MOST: u64 = 16 << 20;
    let running = Running::memory();
    let mut wire = Wire::connect(running.address);
    let mut ops = vec![putrootfh(), mkdir(b"d")];
    ops.extend(std::iter::repeat_n(getfh(), 60));
    ops.extend([putrootfh(), remove(b"d")]);
    let mut warm = 0;
    for request in 0..REQUESTS {
        assert_eq!(wire.compound(0, &ops).status, OK);
        if request == REQUESTS / 10 {
            warm = resident();
        }
    }
    assert!(resident() < warm + MOST, "grown from {warm} to {} bytes", resident());
}
