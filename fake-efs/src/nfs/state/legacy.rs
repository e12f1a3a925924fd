//! What only NFSv4.0 needs: SETCLIENTID, and sequence numbers of owners in place of sessions (RFC 7530 §9.1.7, §16.33).

use std::collections::{HashMap, VecDeque};

use super::super::status::Status;
use super::{Owner, State, Stateid};
use crate::store::FileId;

/// Most owners whose last reply is kept for one client.
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
    answer: Answered,
    confirmed: bool,
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
    owners: HashMap<OwnerName, Sequenced>,
    closed: VecDeque<(u64, OwnerName)>,
}

/// A request's place in its owner's order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in super::super) struct OwnerSequence {
    pub(in super::super) client: u64,
    pub(in super::super) owner: OwnerName,
    pub(in super::super) seqid: u32,
}

impl State {
    /// SETCLIENTID: the client's number and the verifier that it has to repeat.
    pub(in super::super) fn set_client_id(
        &mut self,
        owner: Owner,
        verifier: [u8; 8],
    ) -> Result<(u64, [u8; 8]), Status> {
        let known = self.owners.get(&owner).and_then(|records| records.confirmed);
        let same = known.filter(|id| self.clients.get(id).is_some_and(|client| client.verifier == verifier));
        let id = match same {
            Some(id) => id,
            None => self.add_client(owner, verifier)?,
        };
        let confirm = rand::random();
        self.clients.get_mut(&id).ok_or(Status::ServerFault)?.legacy.confirm = confirm;
        Ok((id, confirm))
    }

    /// SETCLIENTID_CONFIRM.
    pub(in super::super) fn confirm_client_id(
        &mut self,
        id: u64,
        confirm: [u8; 8],
        identity: &str,
    ) -> Result<(), Status> {
        let client = self.clients.get(&id).filter(|client| client.owner().identity == identity);
        if client.is_none_or(|client| client.legacy.confirm != confirm) {
            return Err(Status::StaleClientId);
        }
        self.confirm(id)
    }

    /// The confirmed client with this number, whose lease is renewed by what it asks.
    pub(in super::super) fn legacy_client(&mut self, id: u64, identity: &str) -> Result<u64, Status> {
        let client = self.clients.get(&id).filter(|client| client.confirmed && client.owner().identity == identity);
        client.ok_or(Status::StaleClientId)?;
        self.renew(id)?;
        Ok(id)
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
        let closed = |client: &super::clients::Client| {
            let found = client.legacy.closed.iter().find(|(closed, _)| *closed == id);
            found.map(|(_, owner)| (client.id, owner.clone()))
        };
        self.clients.values().find_map(closed).ok_or(Status::BadStateId)
    }

    /// Checks a request's number; the answer to be repeated if it was answered before.
    pub(in super::super) fn check_owner_sequence(&self, place: &OwnerSequence) -> Result<Option<Answered>, Status> {
        let client = self.clients.get(&place.client).ok_or(Status::StaleClientId)?;
        match client.legacy.owners.get(&place.owner) {
            None => Ok(None),
            Some(owner) if place.seqid == owner.last.wrapping_add(1) => Ok(None),
            Some(owner) if place.seqid == owner.last => Ok(Some(owner.answer.clone())),
            // An owner that was never confirmed may start anew.
            Some(owner) if !owner.confirmed && matches!(place.owner, OwnerName::Open(_)) => Ok(None),
            Some(_) => Err(Status::BadSeqId),
        }
    }

    /// Keeps the answer to a request.
    pub(in super::super) fn end_owner_sequence(&mut self, place: OwnerSequence, answer: Answered) {
        let Some(client) = self.clients.get_mut(&place.client) else { return };
        let owners = &mut client.legacy.owners;
        if owners.len() >= MAX_OWNERS && !owners.contains_key(&place.owner) {
            owners.clear();
        }
        let entry = owners.entry(place.owner).or_insert_with(|| Sequenced {
            last: place.seqid,
            answer: Answered::default(),
            confirmed: false,
        });
        entry.last = place.seqid;
        entry.answer = answer;
    }

    pub(in super::super) fn is_owner_confirmed(&self, client: u64, owner: &OwnerName) -> bool {
        let client = self.clients.get(&client);
        client.and_then(|client| client.legacy.owners.get(owner)).is_some_and(|owner| owner.confirmed)
    }

    /// OPEN_CONFIRM.
    pub(in super::super) fn confirm_owner(&mut self, client: u64, owner: &OwnerName, seqid: u32) {
        if let Some(client) = self.clients.get_mut(&client) {
            let new = Sequenced { last: seqid, answer: Answered::default(), confirmed: true };
            client.legacy.owners.entry(owner.clone()).or_insert(new).confirmed = true;
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

    /// Advances an open's state id, as OPEN_CONFIRM does.
    pub(in super::super) fn touch_open(&mut self, stateid: Stateid) -> Result<Stateid, Status> {
        let (id, _) = self.find_open(stateid, None)?;
        let boot = self.boot;
        let open = self.opens.get_mut(&id).ok_or(Status::BadStateId)?;
        open.seqid = super::stateid::following(open.seqid);
        Ok(Stateid::new(boot, id, open.seqid))
    }
}
