//! Client records: who they are, whether they are still alive, and what they lose when they are not.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Instant;

use serde::{Deserialize, Serialize};

use super::super::rpc::Principal;
use super::super::status::Status;
use super::{MAX_CLIENTS, Origin, OwnerName, SessionId, State};
use crate::store::FileId;

/// Whom a client record belongs to. The identity of the connection is part of it: the same machine is another client over
/// another access point.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(in super::super) struct Owner {
    pub(in super::super) identity: String,
    /// The client's name for itself (co_ownerid; the id string of NFSv4.0).
    pub(in super::super) name: Vec<u8>,
    /// NFSv4.0 and 4.1 clients with the same name are not the same.
    pub(in super::super) minor_version: u32,
}

/// Who asks something about a client: the connection's identity, and in whose name the call is made.
#[derive(Clone, Copy, Debug)]
pub(in super::super) struct Claimant<'a> {
    pub(in super::super) identity: &'a str,
    pub(in super::super) principal: Principal,
}

/// How many clients go at once when there are too many.
const CROWD: usize = MAX_CLIENTS / 64;

/// The records that one owner can have at a time.
#[derive(Debug, Default)]
pub(super) struct Records {
    pub(super) confirmed: Option<u64>,
    pub(super) unconfirmed: Option<u64>,
}

/// One client.
#[derive(Debug)]
pub(super) struct Client {
    pub(super) id: u64,
    owner: Arc<Owner>,
    /// Who introduced the client; nobody else may speak for it.
    pub(super) principal: Principal,
    /// Changes when the client restarts.
    pub(super) verifier: [u8; 8],
    pub(super) confirmed: bool,
    pub(super) renewed: Instant,
    pub(super) sessions: HashSet<SessionId>,
    pub(super) opens: HashMap<(Vec<u8>, FileId), u64>,
    pub(super) locks: HashMap<(Vec<u8>, FileId), u64>,
    /// Byte ranges that it holds by them.
    pub(super) locked: usize,
    pub(super) reclaim_complete: bool,
    /// Sequence number and result of the last CREATE_SESSION.
    pub(super) create_session: (u32, Option<Vec<u8>>),
    /// Of NFSv4.0.
    pub(super) legacy: super::legacy::LegacyClient,
}

impl Client {
    pub(super) fn owner(&self) -> Arc<Owner> {
        Arc::clone(&self.owner)
    }

    /// Whether the numbers of an open owner are believed; only 4.0 has any.
    pub(super) fn is_confirmed_opener(&self, owner: &[u8]) -> bool {
        self.owner.minor_version > 0 || self.legacy.is_confirmed(&OwnerName::Open(owner.to_vec()))
    }

    pub(super) fn has_state(&self) -> bool {
        !self.opens.is_empty() || !self.locks.is_empty()
    }

    /// Whether it may ask for what it did not have before: NFSv4.0 has no RECLAIM_COMPLETE.
    pub(super) fn may_begin(&self) -> bool {
        self.reclaim_complete || self.owner.minor_version == 0
    }

    /// Whether it has state or sessions.
    pub(super) fn is_in_use(&self) -> bool {
        self.has_state() || !self.sessions.is_empty()
    }
}

/// Arguments of EXCHANGE_ID as far as records are concerned.
pub(in super::super) struct ExchangeRequest {
    pub(in super::super) owner: Owner,
    pub(in super::super) principal: Principal,
    pub(in super::super) verifier: [u8; 8],
    /// The client wants to change a confirmed record rather than to make one.
    pub(in super::super) update: bool,
}

/// Result of EXCHANGE_ID.
#[derive(Debug, PartialEq, Eq)]
pub(in super::super) struct Exchange {
    pub(in super::super) client: u64,
    /// For the first or next CREATE_SESSION.
    pub(in super::super) sequence: u32,
    pub(in super::super) confirmed: bool,
}

impl State {
    /// Makes or finds the record of a client, by the nine cases of RFC 8881 §18.35.4.
    pub(in super::super) fn exchange_id(&mut self, request: ExchangeRequest) -> Result<Exchange, Status> {
        let confirmed = self.owners.get(&request.owner).and_then(|records| records.confirmed);
        if let Some(id) = confirmed
            && let Some(client) = self.clients.get(&id)
        {
            let (principal, verifier) = (client.principal == request.principal, client.verifier == request.verifier);
            let sequence = client.create_session.0.wrapping_add(1);
            match (request.update, principal, verifier) {
                (true, false, _) => return Err(Status::Perm),
                (true, true, false) => return Err(Status::NotSame),
                (_, true, true) => {
                    self.forget_unconfirmed(&request.owner);
                    return Ok(Exchange { client: id, sequence, confirmed: true });
                }
                // Two clients with the same name by chance: the other one keeps it while it holds anything.
                (false, false, _) if client.is_in_use() && !self.is_expired(id) => return Err(Status::ClidInUse),
                (false, false, _) => self.forget_client(id),
                (false, true, false) => {}
            }
        } else if request.update {
            return Err(Status::NoEnt);
        }
        let client = self.add_client(request.owner, request.principal, request.verifier)?;
        Ok(Exchange { client, sequence: 1, confirmed: false })
    }

    /// Makes an unconfirmed record in place of the owner's present unconfirmed one.
    pub(super) fn add_client(&mut self, owner: Owner, principal: Principal, verifier: [u8; 8]) -> Result<u64, Status> {
        if self.clients.len() >= MAX_CLIENTS {
            self.make_room_for_client();
        }
        self.forget_unconfirmed(&owner);
        let owner = Arc::new(owner);
        // Random, so that two file systems, or two lives of the server, never give out the same one.
        let id: u64 = rand::random();
        self.owners.entry(Arc::clone(&owner)).or_default().unconfirmed = Some(id);
        let client = Client {
            id,
            owner,
            principal,
            verifier,
            confirmed: false,
            renewed: self.now(),
            sessions: HashSet::new(),
            opens: HashMap::new(),
            locks: HashMap::new(),
            locked: 0,
            reclaim_complete: false,
            create_session: (0, None),
            legacy: super::legacy::LegacyClient::default(),
        };
        self.clients.insert(id, client);
        Ok(id)
    }

    /// Forgets those that were silent longest. Of those that hold nothing several, so that not every introduction has to look at all.
    fn make_room_for_client(&mut self) {
        self.sweep();
        let mut silent: Vec<_> = self.clients.values().map(|c| (c.has_state(), c.confirmed, c.renewed, c.id)).collect();
        silent.sort_unstable();
        let without_state = silent.iter().take(CROWD).take_while(|(has_state, ..)| !has_state).count();
        for (.., id) in silent.into_iter().take(without_state.max(1)) {
            self.forget_client(id);
        }
    }

    fn forget_unconfirmed(&mut self, owner: &Owner) {
        if let Some(old) = self.owners.get(owner).and_then(|records| records.unconfirmed) {
            self.forget_client(old);
        }
    }

    /// Makes a record the owner's valid one; the one before, of the client's life before its restart, goes with its state.
    pub(super) fn confirm(&mut self, id: u64) -> Result<(), Status> {
        let now = self.now();
        let client = self.clients.get_mut(&id).ok_or(Status::StaleClientId)?;
        client.renewed = now;
        if client.confirmed {
            return Ok(());
        }
        client.confirmed = true;
        let records = self.owners.entry(client.owner()).or_default();
        records.unconfirmed = records.unconfirmed.filter(|unconfirmed| *unconfirmed != id);
        if let Some(old) = records.confirmed.replace(id) {
            self.forget_client(old);
        }
        Ok(())
    }

    /// DESTROY_CLIENTID: only a client that holds nothing can be destroyed. Sessions on other partitions, and
    /// those that the client has left for them, don't count: Linux does not destroy them, and would ask in vain for ten seconds
    /// when it unmounts.
    pub(in super::super) fn destroy_client(
        &mut self,
        id: u64,
        origin: Origin<'_>,
        principal: Principal,
    ) -> Result<(), Status> {
        let is_theirs = |client: &&Client| client.owner.identity == origin.identity && client.principal == principal;
        let client = self.clients.get(&id).filter(is_theirs);
        let client = client.ok_or(Status::StaleClientId)?;
        if client.has_state() || self.has_session_on(client, origin.partition) {
            return Err(Status::ClientIdBusy);
        }
        self.forget_client(id);
        Ok(())
    }

    /// RECLAIM_COMPLETE: the client will not claim back anything any more.
    pub(in super::super) fn reclaim_complete(&mut self, id: u64) -> Result<(), Status> {
        let client = self.clients.get_mut(&id).ok_or(Status::Expired)?;
        if client.reclaim_complete {
            return Err(Status::CompleteAlready);
        }
        client.reclaim_complete = true;
        let owner = client.owner();
        self.end_reclaim(&owner);
        Ok(())
    }

    /// Removes a client with everything that it holds.
    pub(super) fn forget_client(&mut self, id: u64) {
        let Some(client) = self.clients.remove(&id) else { return };
        for session in &client.sessions {
            self.sessions.remove(session);
        }
        for lock in client.locks.values() {
            self.drop_lock(*lock);
        }
        for open in client.opens.values() {
            if let Some(open) = self.opens.remove(open) {
                self.unpin(open.file);
            }
        }
        if let Some(records) = self.owners.get_mut(&client.owner) {
            records.confirmed = records.confirmed.filter(|other| *other != id);
            records.unconfirmed = records.unconfirmed.filter(|other| *other != id);
            if records.confirmed.is_none() && records.unconfirmed.is_none() {
                self.owners.remove(&client.owner);
            }
        }
    }

    /// The client that is about to be confirmed, or to get another session. A record that nobody has confirmed ends with the
    /// lease.
    pub(super) fn claimed(&mut self, id: u64, claimant: Claimant<'_>) -> Result<&mut Client, Status> {
        if self.is_expired(id) && self.clients.get(&id).is_some_and(|client| !client.confirmed) {
            self.forget_client(id);
        }
        let client = self.clients.get_mut(&id).filter(|client| client.owner.identity == claimant.identity);
        client.ok_or(Status::StaleClientId)
    }

    /// Whether a client has been silent for longer than its lease. Its state is kept until somebody else needs it.
    pub(super) fn is_expired(&self, id: u64) -> bool {
        self.clients.get(&id).is_none_or(|client| self.now().duration_since(client.renewed) > self.lease)
    }

    pub(in super::super) fn renew(&mut self, id: u64) -> Result<(), Status> {
        let now = self.now();
        let client = self.clients.get_mut(&id).ok_or(Status::StaleClientId)?;
        client.renewed = now;
        Ok(())
    }
}
