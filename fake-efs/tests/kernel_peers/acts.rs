//! Operations with names for what each server calls otherwise: handles, state ids, owners' numbers.

use fake_efs::nfs::xdr::Encoder;

use crate::client::*;
use crate::side::Side;

/// A name or data, shown as text.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Bytes(pub(crate) Vec<u8>);

impl std::fmt::Debug for Bytes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let shown = String::from_utf8_lossy(&self.0[..self.0.len().min(12)]);
        if self.0.len() > 12 { write!(f, "{shown:?}..{}", self.0.len()) } else { write!(f, "{shown:?}") }
    }
}

impl std::ops::Deref for Bytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

/// A file, as a request names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Handle {
    /// The round's own directory.
    Base,
    /// One that was given out, counted from the first.
    Known(usize),
    /// The same with a bit changed.
    Forged(usize, usize),
    /// Bytes that never were one.
    Noise(Bytes),
}

/// What a request does to the state id that it names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Twist {
    /// Nothing.
    Present,
    /// Version 0: whatever is present, in 4.1.
    Whatever,
    /// A version before.
    Past,
    /// A version to come.
    Future,
}

/// Opens and locks, as a request names them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// One that was given to a client.
    Known(usize, usize, Twist),
    Anonymous,
    /// All ones.
    Bypass,
    /// The request's own, in 4.1.
    Current,
    /// Made up.
    Noise,
}

/// Where a request puts itself in its owner's order, in 4.0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    Next,
    /// As the last one, which was another request.
    Again,
    /// As if one had been lost.
    Ahead,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Creation {
    No,
    Unchecked,
    /// Unchecked, with a size of 0.
    Emptied,
    Guarded,
    Exclusive(u8),
}

/// First byte and length.
pub(crate) type Range = (u64, u64);

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Act {
    Put(Handle),
    Lookup(Bytes),
    Parent,
    GetHandle,
    Save,
    Restore,
    Attributes,
    Access(u32),
    List,
    ReadLink,
    Make(u32, Bytes, u32),
    Symlink(Bytes, Bytes),
    Remove(Bytes),
    Rename(Bytes, Bytes),
    Link(Bytes),
    SetMode(u32),
    SetOwner(u32),
    SetSize(State, u64),
    VerifyMode(u32, bool),
    Open { owner: usize, order: Order, access: u32, creation: Creation, name: Bytes },
    Confirm(State, Order),
    Close(State, Order),
    Downgrade(State, Order, u32),
    LockNew { open: State, owner: usize, orders: (Order, Order), kind: u32, range: Range },
    LockMore { lock: State, order: Order, kind: u32, range: Range },
    TestLock(usize, u32, Range),
    Unlock(State, Order, Range),
    ReleaseOwner(usize),
    Read(State, u64, u32),
    Write(State, u64, Bytes),
    Commit,
    FreeState(State),
    TestState(State),
    Renew,
    Security(Bytes),
    Number(u32),
}

/// An owner's place in its order that a request takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) client: usize,
    pub(crate) lock: bool,
    pub(crate) owner: usize,
    pub(crate) number: u32,
}

/// An operation as one server is to get it.
pub(crate) struct Encoded {
    pub(crate) bytes: Op,
    pub(crate) places: Vec<Place>,
    /// The owner of the state that it makes, and whether that is a lock's.
    pub(crate) makes: Option<(usize, bool)>,
}

/// What an owner is called; also on the wire.
pub(crate) fn owner_name(lock: bool, owner: usize) -> String {
    format!("{} owner {owner}", if lock { "lock" } else { "open" })
}

fn op(number: u32, arguments: impl FnOnce(&mut Encoder)) -> Op {
    let mut encoder = Encoder::default();
    encoder.u32(number);
    arguments(&mut encoder);
    encoder.buffer
}

impl Act {
    /// The operation for one server. `taken` are the places that operations before it in the request take.
    pub(crate) fn encode(&self, side: &Side, client: usize, taken: &[Place]) -> Encoded {
        let (mut places, mut makes) = (Vec::new(), None);
        let mut of = |lock: bool, who: usize, owner: usize, order: Order| {
            let place = Place { client: who, lock, owner, number: 0 };
            let last = taken.iter().rev().find(|it| (it.client, it.lock, it.owner) == (who, lock, owner));
            let last = last.map_or_else(|| side.last_number(place), |it| it.number);
            let number = match order {
                Order::Next => last.wrapping_add(1),
                Order::Again => last,
                Order::Ahead => last.wrapping_add(3),
            };
            if side.minor > 0 {
                return 0;
            }
            places.push(Place { number, ..place });
            number
        };
        let mut of_state = |state: &State, lock: bool, order: Order| match side.held(state) {
            Some((who, held)) => of(held.lock, who, held.owner, order),
            None => of(lock, client, 0, order),
        };
        let bytes = match self {
            Self::Put(handle) => putfh(&side.handle(handle)),
            Self::Lookup(name) => lookup(name),
            Self::Parent => lookupp(),
            Self::GetHandle => getfh(),
            Self::Save => savefh(),
            Self::Restore => restorefh(),
            Self::Attributes => getattr(&[1, 4, 33, 35, 36, 37]),
            Self::Access(wanted) => access(*wanted),
            Self::List => op(26, |e| {
                e.u64(0).u64(0).u32(8192).u32(65_536).words(&[1 << 1, 1 << (33 - 32)]);
            }),
            Self::ReadLink => readlink(),
            Self::Make(kind, name, bits) => create(*kind, name, (&[33], &mode(*bits))),
            Self::Symlink(name, target) => symlink(name, target),
            Self::Remove(name) => remove(name),
            Self::Rename(from, to) => rename(from, to),
            Self::Link(name) => link(name),
            Self::SetMode(bits) => setattr(ANONYMOUS, (&[33], &mode(*bits))),
            Self::SetOwner(uid) => setattr(ANONYMOUS, (&[36], &text(&uid.to_string()))),
            Self::SetSize(state, size) => setattr(side.state(state), (&[4], &size.to_be_bytes())),
            Self::VerifyMode(bits, true) => verify((&[33], &mode(*bits))),
            Self::VerifyMode(bits, false) => nverify((&[33], &mode(*bits))),
            Self::Open { owner, order, access, creation, name } => {
                makes = Some((*owner, false));
                let seqid = of(false, client, *owner, *order);
                let attributes = create_attrs((&[33], &mode(0o644)));
                let create = match creation {
                    Creation::No => None,
                    Creation::Unchecked => Some((0, attributes)),
                    Creation::Emptied => {
                        let both = [&0u64.to_be_bytes()[..], &mode(0o644)].concat();
                        Some((0, create_attrs((&[4, 33], &both))))
                    }
                    Creation::Guarded => Some((1, attributes)),
                    Creation::Exclusive(verifier) => Some((2, vec![*verifier; 8])),
                };
                let called = owner_name(false, *owner);
                let open = plain_open(side.client_id(client), name);
                Open { owner: called.as_bytes(), seqid, access: *access, create, ..open }.encode()
            }
            Self::Confirm(state, order) => stateid_op(20, side.state(state), of_state(state, false, *order)),
            Self::Close(state, order) => close(side.state(state), of_state(state, false, *order)),
            Self::Downgrade(state, order, access) => {
                let seqid = of_state(state, false, *order);
                op(21, |e| {
                    e.fixed(&side.state(state)).u32(seqid).u32(*access).u32(0);
                })
            }
            Self::LockNew { open, owner, orders, kind, range } => {
                makes = Some((*owner, true));
                let open_seqid = of_state(open, false, orders.0);
                let who = side.held(open).map_or(client, |(who, _)| who);
                let seqid = of(true, who, *owner, orders.1);
                op(12, |e| {
                    e.u32(*kind).u32(0).u64(range.0).u64(range.1).u32(1).u32(open_seqid).fixed(&side.state(open));
                    e.u32(seqid).u64(side.client_id(client)).opaque(owner_name(true, *owner).as_bytes());
                })
            }
            Self::LockMore { lock, order, kind, range } => {
                makes = side.held(lock).map(|(_, held)| (held.owner, true));
                let seqid = of_state(lock, true, *order);
                op(12, |e| {
                    e.u32(*kind).u32(0).u64(range.0).u64(range.1).u32(0).fixed(&side.state(lock)).u32(seqid);
                })
            }
            Self::TestLock(owner, kind, range) => op(13, |e| {
                e.u32(*kind).u64(range.0).u64(range.1).u64(side.client_id(client));
                e.opaque(owner_name(true, *owner).as_bytes());
            }),
            Self::Unlock(state, order, range) => {
                let seqid = of_state(state, true, *order);
                op(14, |e| {
                    e.u32(1).u32(seqid).fixed(&side.state(state)).u64(range.0).u64(range.1);
                })
            }
            Self::ReleaseOwner(owner) => op(39, |e| {
                e.u64(side.client_id(client)).opaque(owner_name(true, *owner).as_bytes());
            }),
            Self::Read(state, offset, count) => read(side.state(state), *offset, *count),
            Self::Write(state, offset, data) => write(side.state(state), *offset, 2, data),
            Self::Commit => commit(0, 0),
            Self::FreeState(state) => free_stateid(side.state(state)),
            Self::TestState(state) => test_stateid(&[side.state(state)]),
            Self::Renew => {
                let id = side.client_id(client);
                words(30, &[(id >> 32) as u32, id as u32])
            }
            Self::Security(name) => secinfo(name),
            Self::Number(number) => words(*number, &[]),
        };
        Encoded { bytes, places, makes }
    }

    /// The state that it names.
    pub(crate) fn state(&self) -> Option<&State> {
        match self {
            Self::SetSize(state, _)
            | Self::Confirm(state, _)
            | Self::Close(state, _)
            | Self::Downgrade(state, ..)
            | Self::LockNew { open: state, .. }
            | Self::LockMore { lock: state, .. }
            | Self::Unlock(state, ..)
            | Self::Read(state, ..)
            | Self::Write(state, ..)
            | Self::FreeState(state)
            | Self::TestState(state) => Some(state),
            _ => None,
        }
    }

    /// Whether it has the number of its owner's last request.
    pub(crate) fn is_again(&self) -> bool {
        match self {
            Self::Open { order, .. }
            | Self::Confirm(_, order)
            | Self::Close(_, order)
            | Self::Downgrade(_, order, _)
            | Self::LockMore { order, .. }
            | Self::Unlock(_, order, _) => *order == Order::Again,
            Self::LockNew { orders: (open, lock), .. } => *open == Order::Again || *lock == Order::Again,
            _ => false,
        }
    }

    /// Its names.
    fn names(&self) -> Vec<&Bytes> {
        match self {
            Self::Lookup(name)
            | Self::Make(_, name, _)
            | Self::Symlink(name, _)
            | Self::Remove(name)
            | Self::Link(name)
            | Self::Open { name, .. }
            | Self::Security(name) => vec![name],
            Self::Rename(from, to) => vec![from, to],
            _ => Vec::new(),
        }
    }

    /// Whether one of its names can't be a file's.
    pub(crate) fn is_misnamed(&self) -> bool {
        self.names().into_iter().any(|name| {
            let odd = |byte: &u8| matches!(byte, b'/' | 0);
            matches!(&name[..], b"" | b"." | b"..") || name.len() > 255 || name.iter().any(odd)
        })
    }

    /// Whether one of its names is no UTF-8.
    pub(crate) fn is_no_text(&self) -> bool {
        self.names().into_iter().any(|name| std::str::from_utf8(name).is_err())
    }
}
