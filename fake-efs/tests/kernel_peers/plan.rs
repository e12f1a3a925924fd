//! What is asked next: made from a seed and from what the first server has given out so far, so that it is the same for all.

use rand::Rng;
use rand::rngs::StdRng;

use crate::acts::{Act, Bytes, Creation, Handle, Order, Range, State, Twist};
use crate::mutation::one;
use crate::side::Side;

/// Owners of a client, of opens and of locks each.
const OWNERS: usize = 2;
/// Most operations of a request.
const LONGEST: usize = 6;

/// How a request and its reply travel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Delivery {
    Once,
    /// In fragments that end at these thousandths of the record.
    Pieces(Vec<usize>),
    /// Sent again over the same connection.
    Twice,
    /// The reply is lost with the connection, and the request sent again over another one.
    Lost,
    /// A request with a later number of the slot comes first.
    Early,
    /// A request with an older number of the slot comes afterwards.
    Late,
    /// Two more requests are sent before the first of their answers is read.
    Both,
}

/// A request.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) client: usize,
    pub(crate) acts: Vec<Act>,
    pub(crate) delivery: Delivery,
}

impl Plan {
    /// Where the record is cut.
    pub(crate) fn cuts(&self, length: usize) -> Vec<usize> {
        match &self.delivery {
            // At whole words, and nowhere twice: ganesha takes no others. `wire/rpc.rs` has those.
            Delivery::Pieces(at) => {
                let mut cuts: Vec<usize> = at.iter().map(|thousandth| length * thousandth / 4000 * 4).collect();
                cuts.retain(|cut| *cut > 0);
                cuts.dedup();
                cuts
            }
            _ => Vec::new(),
        }
    }

    /// The next request of a round.
    pub(crate) fn next(rng: &mut StdRng, side: &Side) -> Self {
        let client = rng.random_range(0..2);
        let mut source = Source { rng, side, client };
        let acts = source.acts();
        let repeatable = side.minor > 0 || rng.random_bool(0.5);
        let delivery = match rng.random_range(0..20) {
            0 | 1 => {
                let mut cuts: Vec<usize> = (0..rng.random_range(1..6)).map(|_| rng.random_range(0..1000)).collect();
                cuts.sort_unstable();
                Delivery::Pieces(cuts)
            }
            2 | 3 if repeatable => Delivery::Twice,
            4 | 5 => Delivery::Lost,
            6 if side.minor > 0 => Delivery::Early,
            7 if side.minor > 0 => Delivery::Late,
            8 => Delivery::Both,
            _ => Delivery::Once,
        };
        Self { client, acts, delivery }
    }
}

struct Source<'a> {
    rng: &'a mut StdRng,
    side: &'a Side,
    client: usize,
}

impl Source<'_> {
    fn chance(&mut self, of: f64) -> bool {
        self.rng.random_bool(of)
    }

    fn name(&mut self) -> Bytes {
        const NAMES: [&[u8]; 6] = [b"a", b"b", b"c", b"dir", b"link", b"gone"];
        const ODD: [&[u8]; 7] = [b"", b".", b"..", b"x/y", b"nul\0", b"\xff\xfe", &[b'n'; 256]];
        match self.chance(0.93) {
            true => Bytes(one(self.rng, &NAMES).to_vec()),
            false => Bytes(one(self.rng, &ODD).to_vec()),
        }
    }

    fn handle(&mut self) -> Handle {
        let index = self.rng.random_range(0..64);
        match self.rng.random_range(0..40) {
            0 => Handle::Forged(index, self.rng.random_range(0..2048)),
            1 => Handle::Noise(Bytes(vec![3; one(self.rng, &[0, 1, 28, 128])])),
            2..=18 => Handle::Base,
            _ => Handle::Known(index),
        }
    }

    /// A state, more often than not of the client that asks, and its file's handle.
    fn state(&mut self) -> (State, Handle) {
        let client = if self.chance(0.9) { self.client } else { 1 - self.client };
        let held = self.side.held_by(client);
        if held.is_empty() || self.chance(0.08) {
            let special = [State::Anonymous, State::Bypass, State::Noise, State::Current];
            return (one(self.rng, &special), self.handle());
        }
        let mut index = self.rng.random_range(0..held.len());
        if held[index].closed && self.rng.random_bool(0.8) {
            index = held.iter().rposition(|held| !held.closed).unwrap_or(index);
        }
        let twist = match self.rng.random_range(0..40) {
            0 => Twist::Whatever,
            1 => Twist::Past,
            2 => Twist::Future,
            _ => Twist::Present,
        };
        let file = held[index].file.map_or(Handle::Base, Handle::Known);
        let file = if self.rng.random_bool(0.05) { self.handle() } else { file };
        (State::Known(client, index, twist), file)
    }

    fn order(&mut self) -> Order {
        match self.rng.random_range(0..30) {
            0 => Order::Again,
            1 => Order::Ahead,
            _ => Order::Next,
        }
    }

    fn range(&mut self) -> Range {
        const FIRST: [u64; 5] = [0, 5, 10, 100, u64::MAX];
        const LENGTH: [u64; 6] = [1, 5, 10, 100, u64::MAX, 0];
        // In 4.0 servers differ in whether these errors count in its owner's order.
        let length = if self.side.minor > 0 && self.chance(0.03) { 0 } else { one(self.rng, &LENGTH[..5]) };
        let first = if self.side.minor > 0 && self.chance(0.03) { u64::MAX } else { one(self.rng, &FIRST[..4]) };
        (first, length)
    }

    fn mode(&mut self) -> u32 {
        one(self.rng, &[0o755, 0o644, 0o600, 0o777, 0o700, 0o444, 0o4755, 0o2770, 0o1777, 0])
    }

    fn creation(&mut self) -> Creation {
        match self.rng.random_range(0..10) {
            0..=2 => Creation::No,
            3..=6 => Creation::Unchecked,
            7 => Creation::Emptied,
            8 => Creation::Guarded,
            // The file's mode is for the client to set afterwards.
            _ => Creation::Exclusive(self.rng.random_range(0..2)),
        }
    }

    fn acts(&mut self) -> Vec<Act> {
        // Who has opened a file confirms it at once, mostly.
        if self.side.minor == 0
            && let Some(at) = self.side.held_by(self.client).iter().rposition(|held| held.unconfirmed)
            && self.chance(0.9)
        {
            let file = self.side.held_by(self.client)[at].file.map_or(Handle::Base, Handle::Known);
            let state = State::Known(self.client, at, Twist::Present);
            return vec![Act::Put(file), Act::Confirm(state, self.order())];
        }
        match self.rng.random_range(0..20) {
            0..=4 => self.opening(),
            5..=11 => self.using(),
            12..=16 => self.naming(),
            17 => vec![Act::Put(Handle::Base), Act::Number(one(self.rng, &[0, 1, 2, 100, 10_044]))],
            _ => (0..self.rng.random_range(1..=LONGEST)).map(|_| self.any()).collect(),
        }
    }

    fn opening(&mut self) -> Vec<Act> {
        let directory = if self.chance(0.9) { Handle::Base } else { self.handle() };
        let access = if self.chance(0.03) { 0 } else { self.rng.random_range(1..4) };
        let open = Act::Open {
            owner: self.rng.random_range(0..OWNERS),
            order: self.order(),
            access,
            creation: self.creation(),
            name: self.name(),
        };
        let exclusive = matches!(open, Act::Open { creation: Creation::Exclusive(_), .. });
        let mut acts = vec![Act::Put(directory), open, Act::GetHandle];
        if exclusive {
            acts.push(Act::SetMode(0o644));
        }
        if self.chance(0.3) {
            acts.push(Act::Attributes);
        }
        if self.side.minor > 0 && self.chance(0.2) {
            acts.push(Act::Write(State::Current, 0, Bytes(b"current".to_vec())));
        }
        acts
    }

    /// Something with what is open or locked.
    fn using(&mut self) -> Vec<Act> {
        let (state, file) = self.state();
        let mut acts = vec![Act::Put(file)];
        let use_of_it = if self.chance(0.7) { self.fitting_use_of(state) } else { self.use_of(state) };
        acts.push(use_of_it);
        if self.chance(0.2) {
            acts.push(Act::Attributes);
        }
        acts
    }

    /// What is done with a state of this kind.
    fn fitting_use_of(&mut self, state: State) -> Act {
        let is_lock = self.side.held(&state).is_some_and(|(_, held)| held.lock);
        let (order, range, kind) = (self.order(), self.range(), self.rng.random_range(1..5));
        match (is_lock, self.rng.random_range(0..8)) {
            (true, 0..=2) => Act::LockMore { lock: state, order, kind, range },
            (true, 3..=6) => Act::Unlock(state, order, range),
            (true, _) if self.side.minor > 0 => Act::FreeState(state),
            (false, 0) => Act::Close(state, order),
            (false, 1) => Act::Downgrade(state, order, self.rng.random_range(1..4)),
            (false, 2..=5) => {
                let owner = self.rng.random_range(0..OWNERS);
                Act::LockNew { open: state, owner, orders: (order, Order::Next), kind, range }
            }
            (false, 6) => Act::Read(state, 0, 4096),
            _ => Act::Write(state, one(self.rng, &[0, 7]), Bytes(b"some words".to_vec())),
        }
    }

    fn use_of(&mut self, state: State) -> Act {
        let (order, range) = (self.order(), self.range());
        let kind = self.rng.random_range(1..5);
        let owner = self.rng.random_range(0..OWNERS);
        let offset = one(self.rng, &[0, 1, 7, 100, 5000]);
        match self.rng.random_range(0..24) {
            0..=2 => Act::Close(state, order),
            3 => Act::Downgrade(state, order, self.rng.random_range(0..4)),
            4..=7 => Act::LockNew { open: state, owner, orders: (order, self.order()), kind, range },
            8 | 9 => Act::LockMore { lock: state, order, kind, range },
            10 | 11 => Act::TestLock(owner, kind, range),
            12 | 13 => Act::Unlock(state, order, range),
            14..=16 => Act::Read(state, offset, one(self.rng, &[0, 1, 10, 4096])),
            17..=19 => Act::Write(state, offset, Bytes(vec![b'w'; one(self.rng, &[0, 1, 10, 300])])),
            20 => Act::SetSize(state, offset),
            21 if self.side.minor > 0 => Act::FreeState(state),
            22 if self.side.minor > 0 => Act::TestState(state),
            21 => Act::ReleaseOwner(owner),
            22 => Act::Renew,
            _ => Act::Commit,
        }
    }

    /// Something with names.
    fn naming(&mut self) -> Vec<Act> {
        let directory = if self.chance(0.9) { Handle::Base } else { self.handle() };
        let (name, other) = (self.name(), self.name());
        let mut acts = vec![Act::Put(directory.clone())];
        match self.rng.random_range(0..12) {
            0 | 1 => acts.extend([Act::Lookup(name), Act::GetHandle, Act::Attributes]),
            2 => acts.extend([Act::Save, Act::Put(self.handle()), Act::Restore, Act::Access(63)]),
            3 | 4 => acts.extend([Act::Make(2, name, self.mode()), Act::GetHandle]),
            5 => acts.extend([Act::Symlink(name, Bytes(b"a/target".to_vec())), Act::GetHandle, Act::ReadLink]),
            6 | 7 => acts.push(Act::Remove(name)),
            8 => acts.extend([Act::Save, Act::Put(self.handle()), Act::Rename(name, other)]),
            9 => {
                acts = vec![Act::Put(self.handle()), Act::Save, Act::Put(directory), Act::Link(name)];
            }
            10 => acts.push(Act::List),
            _ => acts.extend([Act::Make(one(self.rng, &[6, 7]), name, self.mode()), Act::GetHandle, Act::Attributes]),
        }
        acts
    }

    fn any(&mut self) -> Act {
        let (state, _) = self.state();
        match self.rng.random_range(0..24) {
            0..=3 => Act::Put(self.handle()),
            4 => Act::Lookup(self.name()),
            5 => Act::Parent,
            6 => Act::GetHandle,
            7 => Act::Save,
            8 => Act::Restore,
            9 => Act::Attributes,
            10 => Act::Access(one(self.rng, &[1, 2, 4, 63, 0])),
            11 => Act::List,
            12 => Act::ReadLink,
            13 => Act::Make(one(self.rng, &[1, 2, 6, 7, 8, 9]), self.name(), self.mode()),
            14 => Act::Remove(self.name()),
            15 => Act::SetMode(self.mode()),
            16 => Act::SetOwner(one(self.rng, &[0, 1000, 1001])),
            17 => Act::SetSize(state, one(self.rng, &[0, 3, 100])),
            18 => Act::VerifyMode(self.mode(), self.rng.random()),
            19 => Act::Security(self.name()),
            _ => self.use_of(state),
        }
    }
}
