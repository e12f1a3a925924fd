//! What only NFSv4.0 needs: SETCLIENTID, and sequence numbers of owners in place of sessions (RFC 7530 §9.1.7, §16.33).

use std::collections::{HashMap, HashSet, VecDeque};
use std::net::IpAddr;
use std::time::Instant;

use super::super::duplicates::Source;
use super::super::rpc::Principal;
use super::super::status::Status;
use super::clients::Client;
use super::{Claimant, Owner, State, Stateid};
use crate::store::FileId;

/// From so many owners on, those that hold nothing are forgotten.
const MAX_OWNERS: usize = 4096;
/// Most closed state ids by which a repeated CLOSE is recognised.
const MAX_CLOSED: usize = 256;

/// An open owner or a lock owner.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(in super::super) enum OwnerName {
    Open(Vec<u8>),
    Lock(Vec<u8>),
}

#[derive(Debug)]
struct Sequenced {
    last: u32,
    /// Checksum of the request with that number; another one under the same number is no repetition.
    request: u64,
    answer: Answered,
    confirmed: bool,
    at: Instant,
}

impl Sequenced {
    /// Whether a number is the next one. 0 is left out after the highest one (RFC 7530 §9.1.3), but not by every client.
    fn is_next(&self, seqid: u32) -> bool {
        seqid == self.last.wrapping_add(1) || self.last == u32::MAX && seqid == 1
    }
}

/// What is needed to answer a repeated request, and to go on with the operations behind it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in super::super) struct Answered {
    /// Status and result of the one operation.
    pub(in super::super) reply: Vec<u8>,
    /// The file that it made the current one, if it did.
    pub(in super::super) file: Option<FileId>,
}

/// The part of a client's record that only NFSv4.0 uses.
#[derive(Debug, Default)]
pub(super) struct LegacyClient {
    confirm: [u8; 8],
    /// What SETCLIENTID of a client that is known answered last: it counts when it is confirmed, and the one before until then.
    unconfirmed: Option<[u8; 8]>,
    /// Where the client wants to be called, which is what is told about it: kind of network and address.
    pub(super) address: Callback,
    /// Where it has introduced itself from.
    from: Option<IpAddr>,
    owners: HashMap<OwnerName, Sequenced>,
    /// Number of owners at which it is worth looking for some that hold nothing.
    crowded: usize,
    closed: VecDeque<(u64, OwnerName)>,
}

impl LegacyClient {
    pub(super) fn is_confirmed(&self, owner: &OwnerName) -> bool {
        self.owners.get(owner).is_some_and(|owner| owner.confirmed)
    }
}

/// Where a client wants to be called.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in super::super) struct Callback {
    pub(in super::super) network: Vec<u8>,
    pub(in super::super) address: Vec<u8>,
}

/// What SETCLIENTID makes.
#[derive(Debug, PartialEq, Eq)]
pub(in super::super) enum Introduction {
    /// The client's number, and the verifier that it has to repeat.
    Known(u64, [u8; 8]),
    /// Somebody else has this name, and wants to be called there.
    InUse(Callback),
}

/// What an operation is to its owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum Step {
    Open,
    Confirm,
    Other,
}

/// A request's place in its owner's order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in super::super) struct OwnerSequence {
    pub(in super::super) client: u64,
    pub(in super::super) owner: OwnerName,
    pub(in super::super) seqid: u32,
    pub(in super::super) step: Step,
    /// Checksum of operation and arguments.
    pub(in super::super) request: u64,
}

impl State {
    /// SETCLIENTID (RFC 7530 §16.33.5).
    pub(in super::super) fn set_client_id(
        &mut self,
        owner: Owner,
        principal: Principal,
        verifier: [u8; 8],
        address: Callback,
        from: IpAddr,
    ) -> Result<Introduction, Status> {
        let mut known = self.owners.get(&owner).and_then(|records| records.confirmed);
        if let Some(id) = known
            && let Some(client) = self.clients.get(&id)
            && client.principal != principal
        {
            if !self.is_expired(id) {
                return Ok(Introduction::InUse(client.legacy.address.clone()));
            }
            self.forget_client(id);
            known = None;
        }
        let confirm = rand::random();
        let same = known.filter(|id| self.clients.get(id).is_some_and(|client| client.verifier == verifier));
        let id = match same {
            Some(id) => id,
            None => self.add_client(owner, principal, verifier)?,
        };
        let client = self.clients.get_mut(&id).ok_or(Status::ServerFault)?;
        (client.legacy.address, client.legacy.from) = (address, Some(from));
        if client.confirmed {
            client.legacy.unconfirmed = Some(confirm);
        } else {
            client.legacy.confirm = confirm;
        }
        Ok(Introduction::Known(id, confirm))
    }

    /// SETCLIENTID_CONFIRM (RFC 7530 §16.34.5).
    pub(in super::super) fn confirm_client_id(
        &mut self,
        id: u64,
        confirm: [u8; 8],
        claimant: Claimant<'_>,
    ) -> Result<(), Status> {
        let client = self.claimed(id, claimant)?;
        if client.legacy.confirm != confirm && client.legacy.unconfirmed != Some(confirm) {
            return Err(Status::StaleClientId);
        }
        if client.principal != claimant.principal {
            return Err(Status::ClidInUse);
        }
        if client.legacy.unconfirmed == Some(confirm) {
            (client.legacy.confirm, client.legacy.unconfirmed) = (confirm, None);
        }
        if client.confirmed {
            // It never renews a lease (RFC 7530 §9.5).
            return Ok(());
        }
        self.confirm(id)
    }

    /// Whether a client of NFSv4.0 has introduced itself from there.
    pub(in super::super) fn has_legacy_client(&self, source: &Source) -> bool {
        self.clients.values().any(|client| {
            client.legacy.from == Some(source.address) && client.confirmed && client.owner().identity == source.identity
        })
    }

    /// The confirmed client with this number, whose lease is renewed by what it asks.
    pub(in super::super) fn legacy_client(&mut self, id: u64, identity: &str) -> Result<u64, Status> {
        let client = self.clients.get(&id).filter(|client| client.confirmed && client.owner().identity == identity);
        client.ok_or(Status::StaleClientId)?;
        self.renew(id)?;
        Ok(id)
    }

    /// The client that a state id was given to.
    pub(in super::super) fn client_of(&self, stateid: Stateid) -> Result<u64, Status> {
        let id = stateid.id(self.boot)?;
        let open = self.opens.get(&id).map(|open| open.client);
        open.or_else(|| self.locks.get(&id).map(|lock| lock.client)).ok_or(Status::BadStateId)
    }

    /// The client and owner behind a state id, which may have been closed a moment ago.
    pub(in super::super) fn owner_of(&self, stateid: Stateid) -> Result<(u64, OwnerName), Status> {
        let id = stateid.id(self.boot)?;
        if let Some(open) = self.opens.get(&id) {
            return Ok((open.client, OwnerName::Open(open.owner.clone())));
        }
        if let Some(lock) = self.locks.get(&id) {
            return Ok((lock.client, OwnerName::Lock(lock.owner.clone())));
        }
        let closed = |client: &Client| {
            let found = client.legacy.closed.iter().find(|(closed, _)| *closed == id);
            found.map(|(_, owner)| (client.id, owner.clone()))
        };
        self.clients.values().find_map(closed).ok_or(Status::BadStateId)
    }

    /// Refuses to change or end a state in the name of a principal who has not opened the file, nor introduced the client: there is
    /// no session to show on whose behalf the request is made. What is closed already has nothing to lose.
    pub(in super::super) fn check_speaker(&self, stateid: Stateid, principal: Principal) -> Result<(), Status> {
        let id = stateid.id(self.boot)?;
        let open = self.locks.get(&id).map_or(id, |lock| lock.open);
        let Some(client) = self.opens.get(&open).and_then(|open| self.clients.get(&open.client)) else { return Ok(()) };
        let speaks = client.principal == principal || self.is_opener(open, principal);
        if speaks { Ok(()) } else { Err(Status::BadStateId) }
    }

    /// RENEW: for who introduced the client, and for who has a file open by it (RFC 7530 §16.30.5).
    pub(in super::super) fn renew_for(&mut self, id: u64, claimant: Claimant<'_>) -> Result<(), Status> {
        let known = |client: &&Client| client.confirmed && client.owner().identity == claimant.identity;
        let client = self.clients.get(&id).filter(known).ok_or(Status::StaleClientId)?;
        let has_open = || client.opens.values().any(|open| self.is_opener(*open, claimant.principal));
        if client.principal != claimant.principal && !has_open() {
            return Err(Status::Access);
        }
        self.renew(id)
    }

    /// Checks a request's number (RFC 7530 §9.1.7, §16.18); the answer to be repeated if it was answered before.
    pub(in super::super) fn check_owner_sequence(&mut self, place: &OwnerSequence) -> Result<Option<Answered>, Status> {
        let client = self.clients.get(&place.client).ok_or(Status::StaleClientId)?;
        let Some(owner) = client.legacy.owners.get(&place.owner) else { return Ok(None) };
        let is_last = owner.last == place.seqid;
        match place.step {
            // Nothing can be done with an open file whose owner was not confirmed.
            Step::Other if !owner.confirmed && owner.is_next(place.seqid) => Err(Status::BadStateId),
            _ if owner.is_next(place.seqid) => Ok(None),
            _ if is_last && owner.request == place.request => Ok(Some(owner.answer.clone())),
            // The first OPEN was one of long ago that came late, or the client has given it up.
            Step::Open if !owner.confirmed => {
                self.cancel_owner(place.client, &place.owner);
                Ok(None)
            }
            Step::Confirm if !owner.confirmed => {
                self.cancel_owner(place.client, &place.owner);
                Err(Status::BadSeqId)
            }
            _ => Err(Status::BadSeqId),
        }
    }

    /// The same for LOCK by a lock owner that is new to the file, which has a place in two orders (RFC 7530 §9.1.9, §16.10.5).
    pub(in super::super) fn check_lock_sequence(
        &mut self,
        open: &OwnerSequence,
        lock: &OwnerSequence,
        file: FileId,
    ) -> Result<Option<Answered>, Status> {
        let answered = self.check_owner_sequence(open)?;
        let client = self.clients.get(&open.client).ok_or(Status::StaleClientId)?;
        if client.legacy.owners.contains_key(&lock.owner) {
            let same = self.check_owner_sequence(lock)?.is_some() == answered.is_some();
            return if same { self.check_new_locker(answered, lock, file) } else { Err(Status::BadSeqId) };
        }
        self.check_new_locker(answered, lock, file)
    }

    /// An owner that has locks in the file names them by their state id.
    fn check_new_locker(
        &self,
        answered: Option<Answered>,
        lock: &OwnerSequence,
        file: FileId,
    ) -> Result<Option<Answered>, Status> {
        let OwnerName::Lock(name) = &lock.owner else { return Err(Status::ServerFault) };
        let client = self.clients.get(&lock.client);
        let known = client.is_some_and(|client| client.locks.contains_key(&(name.clone(), file)));
        if known && answered.is_none() { Err(Status::BadSeqId) } else { Ok(answered) }
    }

    /// Forgets an open owner that was not confirmed, and what it has opened.
    fn cancel_owner(&mut self, client: u64, owner: &OwnerName) {
        let OwnerName::Open(name) = owner else { return };
        let Some(record) = self.clients.get_mut(&client) else { return };
        record.legacy.owners.remove(owner);
        let opened = record.opens.iter().filter(|((owner, _), _)| owner == name).map(|(_, id)| *id);
        for open in opened.collect::<Vec<_>>() {
            self.forget_open(open);
        }
    }

    /// Keeps the answer to a request.
    pub(in super::super) fn end_owner_sequence(&mut self, place: OwnerSequence, answer: Answered) {
        let now = self.now();
        let Some(client) = self.clients.get_mut(&place.client) else { return };
        if let Some(owner) = client.legacy.owners.get_mut(&place.owner) {
            (owner.last, owner.request, owner.answer, owner.at) = (place.seqid, place.request, answer, now);
            return;
        }
        // A lock owner that was refused its first lock holds nothing to be known for.
        let confirmed = match &place.owner {
            OwnerName::Lock(name) if !client.has_locks_of(name) => return,
            OwnerName::Lock(_) => true,
            OwnerName::Open(_) => false,
        };
        client.make_room_for_owner();
        let owner = Sequenced { last: place.seqid, request: place.request, answer, confirmed, at: now };
        client.legacy.owners.insert(place.owner, owner);
    }

    pub(in super::super) fn is_owner_confirmed(&self, client: u64, owner: &OwnerName) -> bool {
        self.clients.get(&client).is_some_and(|client| client.legacy.is_confirmed(owner))
    }

    /// OPEN_CONFIRM: advances the open's state id. Only the owner's first open needs it.
    pub(in super::super) fn confirm_open(&mut self, stateid: Stateid, file: FileId) -> Result<Stateid, Status> {
        let (id, open) = self.find_open(stateid, None)?;
        if open.confirmed || open.file != file {
            return Err(Status::BadStateId);
        }
        let (client, owner) = (open.client, OwnerName::Open(open.owner.clone()));
        self.confirm_owner(client, &owner);
        let boot = self.boot;
        let open = self.opens.get_mut(&id).ok_or(Status::BadStateId)?;
        open.seqid = super::stateid::following(open.seqid);
        Ok(Stateid::new(boot, id, open.seqid))
    }

    /// Believes the numbers of an open owner.
    fn confirm_owner(&mut self, client: u64, owner: &OwnerName) {
        let (Some(client), OwnerName::Open(name)) = (self.clients.get_mut(&client), owner) else { return };
        if let Some(owner) = client.legacy.owners.get_mut(owner) {
            owner.confirmed = true;
        }
        for ((_, _), id) in client.opens.iter().filter(|((owner, _), _)| owner == name) {
            if let Some(open) = self.opens.get_mut(id) {
                open.confirmed = true;
            }
        }
    }

    /// An owner that claims back what it had open needs no confirmation (RFC 7530 §9.1.11).
    pub(in super::super) fn begin_confirmed(&mut self, client: u64, owner: OwnerName, seqid: u32) {
        let at = self.now();
        if let Some(client) = self.clients.get_mut(&client) {
            let new = Sequenced { last: seqid, request: 0, answer: Answered::default(), confirmed: true, at };
            client.legacy.owners.entry(owner).or_insert(new).confirmed = true;
        }
    }

    /// Cancels what was opened and not confirmed within a lease, and forgets owners that hold nothing and were not seen for
    /// two leases.
    pub(super) fn sweep_owners(&mut self) {
        let (now, lease) = (self.now(), self.lease);
        let mut unconfirmed = Vec::new();
        for (id, client) in &mut self.clients {
            let busy = Busy::of(&client.opens, &client.locks);
            client.legacy.owners.retain(|name, owner| {
                let silent = now.duration_since(owner.at);
                if !owner.confirmed && silent > lease {
                    unconfirmed.push((*id, name.clone()));
                }
                silent <= 2 * lease || busy.has(name)
            });
        }
        for (client, owner) in unconfirmed {
            self.cancel_owner(client, &owner);
        }
    }

    /// Remembers whose state id this was, so that a repeated CLOSE can be answered.
    pub(in super::super) fn remember_closed(&mut self, stateid: Stateid, client: u64, owner: OwnerName) {
        let Ok(id) = stateid.id(self.boot) else { return };
        if let Some(client) = self.clients.get_mut(&client) {
            client.legacy.closed.push_front((id, owner));
            client.legacy.closed.truncate(MAX_CLOSED);
        }
    }
}

type States = HashMap<(Vec<u8>, FileId), u64>;

/// The owners of a client that have files open or locked.
struct Busy<'a> {
    opening: HashSet<&'a [u8]>,
    locking: HashSet<&'a [u8]>,
}

impl<'a> Busy<'a> {
    fn of(opens: &'a States, locks: &'a States) -> Self {
        let names = |states: &'a States| states.keys().map(|(owner, _)| owner.as_slice()).collect();
        Self { opening: names(opens), locking: names(locks) }
    }

    fn has(&self, owner: &OwnerName) -> bool {
        match owner {
            OwnerName::Open(name) => self.opening.contains(name.as_slice()),
            OwnerName::Lock(name) => self.locking.contains(name.as_slice()),
        }
    }
}

impl Client {
    #[cfg(test)]
    pub(super) fn owner_count(&self) -> usize {
        self.legacy.owners.len()
    }

    fn has_locks_of(&self, owner: &[u8]) -> bool {
        self.locks.keys().any(|(name, _)| name == owner)
    }

    /// Forgets a lock owner that holds nothing any more: the client may use the name again, and count from the beginning.
    pub(super) fn forget_idle_locker(&mut self, owner: &[u8]) {
        if !self.legacy.owners.is_empty() && !self.has_locks_of(owner) {
            self.legacy.owners.remove(&OwnerName::Lock(owner.to_vec()));
        }
    }

    /// The last answer is kept for as long as an owner holds something; others are forgotten when there are many.
    fn make_room_for_owner(&mut self) {
        let legacy = &mut self.legacy;
        if legacy.owners.len() < MAX_OWNERS.max(legacy.crowded) {
            return;
        }
        let busy = Busy::of(&self.opens, &self.locks);
        legacy.owners.retain(|name, _| busy.has(name));
        legacy.crowded = 2 * legacy.owners.len();
    }
}
