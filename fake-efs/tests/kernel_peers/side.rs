//! One server as the two clients of a round see it: what it calls the things that they know.

use std::collections::HashMap;
use std::net::SocketAddr;

use anyhow::{Context as _, bail, ensure};
use fake_efs::nfs::Status;

use crate::acts::{Act, Handle, Place, State, Twist};
use crate::answers::{self, Answer, Learnt, Reply};
use crate::client::*;
use crate::link::{Delivered, Link, record};
use crate::plan::{Delivery, Plan};

/// Users of the two clients.
pub(crate) const USERS: [u32; 2] = [0, 1000];

/// An open or lock that a client was given.
#[derive(Clone, Debug)]
pub(crate) struct Held {
    pub(crate) id: [u8; 16],
    pub(crate) owner: usize,
    pub(crate) lock: bool,
    /// Which of the known handles is its file's.
    pub(crate) file: Option<usize>,
    /// Whether its owner still has to be confirmed, in 4.0.
    pub(crate) unconfirmed: bool,
    pub(crate) closed: bool,
}

struct Client {
    link: Link,
    xid: u32,
    id: u64,
    session: [u8; 16],
    /// Of the first slot.
    sequence: u32,
    /// Of the second slot.
    second: u32,
    held: Vec<Held>,
}

/// A server and what is known of it.
pub(crate) struct Side {
    pub(crate) minor: u32,
    clients: Vec<Client>,
    base: Vec<u8>,
    pub(crate) handles: Vec<Vec<u8>>,
    numbers: HashMap<(usize, bool, usize), u32>,
}

impl Side {
    /// Introduces two clients of this round's name, and makes the round's directory below the one that is served.
    pub(crate) fn begin(address: SocketAddr, export: &str, minor: u32, round: &str) -> anyhow::Result<Self> {
        let mut side =
            Self { minor, clients: Vec::new(), base: Vec::new(), handles: Vec::new(), numbers: HashMap::new() };
        for (index, uid) in USERS.into_iter().enumerate() {
            let link = Link::new(address)?;
            let new = Client { link, xid: 1 << 8, id: 0, session: [0; 16], sequence: 0, second: 0, held: Vec::new() };
            side.clients.push(new);
            side.introduce(index, &format!("{round}-{uid}")).with_context(|| format!("client {index}"))?;
        }
        let export = export.split('/').filter(|name| !name.is_empty()).map(|name| lookup(name.as_bytes()));
        let mut ops = vec![putrootfh()];
        ops.extend(export);
        for name in [round, "in", "here"] {
            ops.push(create(2, name.as_bytes(), (&[33], &mode(0o777))));
        }
        ops.push(getfh());
        let reply = side.ask(0, &ops)?;
        let Reply::Compound { status: OK, answers } = &reply else { bail!("no directory of its own: {reply:?}") };
        match answers.last().and_then(|last| last.learnt.clone()) {
            Some(Learnt::Handle(handle)) => side.base = handle,
            other => bail!("no handle: {other:?}"),
        }
        Ok(side)
    }

    fn introduce(&mut self, client: usize, name: &str) -> anyhow::Result<()> {
        // Replies to these operations are read here: they come once.
        let raw = |side: &mut Self, minor: u32, op: Op| -> anyhow::Result<Vec<u8>> {
            let record = side.record(client, &compound_body(minor, &[op]));
            let Delivered::Reply(reply) = side.exchange(client, &record, &[])? else { bail!("closed") };
            // Accepted, status, tag, count, operation and status.
            ensure!(reply.len() >= 44 && reply[20..24] == [0; 4], "refused: {reply:?}");
            Ok(reply[44..].to_vec())
        };
        if self.minor == 0 {
            let known = raw(self, 0, setclientid(name, 1))?;
            let word = |at: usize| known[at..at + 8].try_into().map(u64::from_be_bytes);
            let (id, confirm) = (word(0)?, word(8)?);
            raw(self, 0, setclientid_confirm(id, confirm))?;
            self.clients[client].id = id;
            return Ok(());
        }
        let known = raw(self, 1, exchange_id(name, 1, 0))?;
        let id = known[..8].try_into().map(u64::from_be_bytes)?;
        let sequence = known[8..12].try_into().map(u32::from_be_bytes)?;
        let made = raw(self, 1, create_session(id, sequence))?;
        self.clients[client].id = id;
        self.clients[client].session = made[..16].try_into()?;
        let reply = self.ask(client, &[reclaim_complete()])?;
        ensure!(matches!(reply, Reply::Compound { status: OK, .. }), "RECLAIM_COMPLETE: {reply:?}");
        Ok(())
    }

    /// A request with a transaction id of its own.
    fn record(&mut self, client: usize, body: &[u8]) -> Vec<u8> {
        let known = &mut self.clients[client];
        known.xid += 1;
        record(known.xid, USERS[client], body)
    }

    fn exchange(&mut self, client: usize, record: &[u8], cuts: &[usize]) -> anyhow::Result<Delivered> {
        let xid = record.first_chunk().map(|word| u32::from_be_bytes(*word)).context("an empty record")?;
        let link = &mut self.clients[client].link;
        link.send(record, cuts)?;
        link.answer(xid)
    }

    /// The request's body: in 4.1 behind a SEQUENCE, whose number is so far from the next one.
    fn body(&self, client: usize, ops: &[Op], off: i32, keep: bool) -> Vec<u8> {
        if self.minor == 0 {
            return compound_body(0, ops);
        }
        let known = &self.clients[client];
        let number = (known.sequence + 1).wrapping_add_signed(off);
        let head = sequence(known.session, number, 0, 0, keep);
        compound_body(1, &[&[head], ops].concat())
    }

    /// Two requests that only read; in 4.1 they have a slot each.
    fn pair(&mut self, client: usize) -> [Vec<u8>; 2] {
        let read = [putfh(&self.base), getattr(&[1, 33])];
        if self.minor == 0 {
            return [compound_body(0, &read), compound_body(0, &read)];
        }
        let known = &mut self.clients[client];
        known.sequence += 1;
        known.second += 1;
        let slot = |number, slot| {
            let head = sequence(known.session, number, slot, 1, false);
            compound_body(1, &[&[head], &read[..]].concat())
        };
        [slot(known.sequence, 0), slot(known.second, 1)]
    }

    /// Sends operations as they are.
    fn ask(&mut self, client: usize, ops: &[Op]) -> anyhow::Result<Reply> {
        let body = self.body(client, ops, 0, false);
        let record = self.record(client, &body);
        let delivered = self.exchange(client, &record, &[])?;
        let reply = read(&delivered)?;
        self.count(client, &reply);
        Ok(reply)
    }

    /// In 4.1 a number is used up when SEQUENCE was done.
    fn count(&mut self, client: usize, reply: &Reply) {
        if self.minor > 0
            && let Reply::Compound { answers, .. } = reply
            && answers.first().is_some_and(|first| (first.operation, first.status) == (53, OK))
        {
            self.clients[client].sequence += 1;
        }
    }

    /// Does what is planned; the reply to the request, and those to its repetitions and what else was sent.
    pub(crate) fn perform(&mut self, plan: &Plan) -> anyhow::Result<Vec<Reply>> {
        let client = plan.client;
        let (mut ops, mut places, mut makes) = (Vec::new(), Vec::new(), Vec::new());
        for act in &plan.acts {
            let all: Vec<Place> = places.iter().flatten().copied().collect();
            let encoded = act.encode(self, client, &all);
            ops.push(encoded.bytes);
            places.push(encoded.places);
            makes.push(encoded.makes);
        }
        // Who asks for its reply to be kept gets less room for it.
        let keep = matches!(plan.delivery, Delivery::Twice | Delivery::Lost);
        let body = self.body(client, &ops, 0, keep);
        let mut replies = Vec::new();
        if let Delivery::Early = plan.delivery {
            // The request behind this one comes first.
            let body = self.body(client, &[putrootfh()], 1, false);
            let early = self.record(client, &body);
            let delivered = self.exchange(client, &early, &[])?;
            replies.push(read(&delivered)?);
        }
        let record = self.record(client, &body);
        let cuts = plan.cuts(record.len());
        let first = self.exchange(client, &record, &cuts)?;
        let reply = read(&first)?;
        self.count(client, &reply);
        self.learn(plan, &reply, &places, &makes);
        replies.insert(0, reply);
        match plan.delivery {
            Delivery::Once | Delivery::Early | Delivery::Pieces(_) => {}
            Delivery::Twice => replies.push(read(&self.exchange(client, &record, &[])?)?),
            Delivery::Lost => {
                self.clients[client].link.reconnect()?;
                replies.push(read(&self.exchange(client, &record, &[])?)?);
            }
            Delivery::Late => {
                // One from before, as a network may keep it.
                let body = self.body(client, &[putrootfh()], -2, false);
                let late = self.record(client, &body);
                replies.push(read(&self.exchange(client, &late, &[])?)?);
            }
            Delivery::Both => {
                // Two requests at a time that only read, over one connection; the answers come in any order.
                let bodies = self.pair(client);
                let slots = bodies.map(|body| self.record(client, &body));
                let link = &mut self.clients[client].link;
                for record in &slots {
                    link.send(record, &[record.len() / 8 * 4])?;
                }
                let mut answered = Vec::new();
                for _ in &slots {
                    let Ok((xid, reply)) = link.receive()? else { bail!("two requests at a time are not answered") };
                    answered.push((xid, read(&Delivered::Reply(reply))?));
                }
                answered.sort_by_key(|(xid, _)| *xid);
                replies.extend(answered.into_iter().map(|(_, reply)| reply));
            }
        }
        Ok(replies)
    }

    fn learn(&mut self, plan: &Plan, reply: &Reply, places: &[Vec<Place>], makes: &[Option<(usize, bool)>]) {
        let Reply::Compound { answers, .. } = reply else { return };
        let answers = &answers[usize::from(self.minor > 0).min(answers.len())..];
        let mut fresh: Vec<(usize, usize)> = Vec::new();
        let mut file = None;
        for (index, answer) in answers.iter().enumerate() {
            if !keeps_numbers(answer.status) {
                for place in &places[index] {
                    self.numbers.insert((place.client, place.lock, place.owner), place.number);
                }
            }
            if answer.status != OK {
                break;
            }
            let act = &plan.acts[index];
            if let Act::Put(Handle::Known(known)) = act {
                file = Some(known % self.handles.len().max(1));
            }
            match &answer.learnt {
                Some(Learnt::Handle(handle)) => {
                    let known = self.handles.iter().position(|known| known == handle).unwrap_or(self.handles.len());
                    if known == self.handles.len() {
                        self.handles.push(handle.clone());
                    }
                    for (client, held) in fresh.drain(..) {
                        self.clients[client].held[held].file = Some(known);
                    }
                }
                Some(Learnt::State(id)) => {
                    self.learn_state(plan.client, act, *id, makes[index], answer, file, &mut fresh);
                }
                None => {}
            }
        }
    }

    #[allow(clippy::too_many_arguments, reason = "the parts of one answer, taken apart by its only caller")]
    fn learn_state(
        &mut self,
        client: usize,
        act: &Act,
        id: [u8; 16],
        makes: Option<(usize, bool)>,
        answer: &Answer,
        file: Option<usize>,
        fresh: &mut Vec<(usize, usize)>,
    ) {
        let same = |held: &Held| held.id[4..] == id[4..];
        for (index, known) in self.clients.iter_mut().enumerate() {
            if let Some(at) = known.held.iter().position(same) {
                let held = &mut known.held[at];
                held.id = id;
                held.unconfirmed &= answer.operation != 20;
                if matches!(act, Act::Open { .. }) {
                    fresh.push((index, at));
                }
                return;
            }
        }
        if let Some(state) = act.state().filter(|_| answer.operation == 4)
            && let Some((who, at)) = self.index(state)
        {
            self.clients[who].held[at].closed = true;
            return;
        }
        if let Some((owner, lock)) = makes {
            let unconfirmed = answer.confirms();
            let held = Held { id, owner, lock, file, unconfirmed, closed: false };
            self.clients[client].held.push(held);
            if !lock {
                fresh.push((client, self.clients[client].held.len() - 1));
            }
        }
    }

    pub(crate) fn held_by(&self, client: usize) -> &[Held] {
        &self.clients[client].held
    }

    pub(crate) fn client_id(&self, client: usize) -> u64 {
        self.clients[client].id
    }

    pub(crate) fn last_number(&self, place: Place) -> u32 {
        self.numbers.get(&(place.client, place.lock, place.owner)).copied().unwrap_or(0)
    }

    fn index(&self, state: &State) -> Option<(usize, usize)> {
        let State::Known(client, index, _) = state else { return None };
        let count = self.clients[*client].held.len();
        (count > 0).then(|| (*client, index % count))
    }

    pub(crate) fn held(&self, state: &State) -> Option<(usize, &Held)> {
        let (client, index) = self.index(state)?;
        Some((client, &self.clients[client].held[index]))
    }

    pub(crate) fn handle(&self, handle: &Handle) -> Vec<u8> {
        let known = |index: &usize| match self.handles.len() {
            0 => self.base.clone(),
            count => self.handles[index % count].clone(),
        };
        match handle {
            Handle::Base => self.base.clone(),
            Handle::Known(index) => known(index),
            Handle::Forged(index, bit) => {
                let mut handle = known(index);
                let bit = bit % (8 * handle.len());
                handle[bit / 8] ^= 1 << (bit % 8);
                handle
            }
            Handle::Noise(bytes) => bytes.0.clone(),
        }
    }

    pub(crate) fn state(&self, state: &State) -> [u8; 16] {
        let mut id = match state {
            State::Known(..) => match self.held(state) {
                Some((_, held)) => held.id,
                None => return ANONYMOUS,
            },
            State::Anonymous => return ANONYMOUS,
            State::Bypass => return [0xff; 16],
            State::Current => return CURRENT,
            State::Noise => return [7; 16],
        };
        let State::Known(_, _, twist) = state else { return id };
        let version = u32::from_be_bytes([id[0], id[1], id[2], id[3]]);
        let version = match twist {
            Twist::Present => version,
            Twist::Whatever => 0,
            Twist::Past => version.saturating_sub(1),
            Twist::Future => version + 5,
        };
        id[..4].copy_from_slice(&version.to_be_bytes());
        id
    }
}

/// Errors that leave an owner's number as it was (RFC 7530 §9.1.7).
fn keeps_numbers(status: u32) -> bool {
    use Status::{BadSeqId, BadStateId, BadXdr, NoFileHandle, Resource, StaleClientId, StaleStateId};
    [StaleClientId, StaleStateId, BadStateId, BadSeqId, BadXdr, Resource, NoFileHandle]
        .iter()
        .any(|known| *known as u32 == status)
}

fn read(delivered: &Delivered) -> anyhow::Result<Reply> {
    match delivered {
        Delivered::Reply(reply) => {
            Ok(answers::read(reply).unwrap_or_else(|error| Reply::Garbled(format!("{error:#}"))))
        }
        Delivered::Closed => Ok(Reply::Closed),
        Delivered::Silence => Ok(Reply::Silence),
    }
}
