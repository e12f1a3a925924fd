//! What the server remembers about the clients of one file system: client ids, sessions, open files and locks.

mod clients;
mod legacy;
mod locks;
mod opens;
mod ranges;
mod sessions;
mod stateid;

use std::collections::HashMap;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::rpc::Principal;
use super::status::Status;
use crate::store::{FileId, Store};
#[cfg(test)]
use clients::Exchange;
pub(super) use clients::{Claimant, ExchangeRequest, Owner};
pub(super) use legacy::{Answered, Callback, Introduction, OwnerName, OwnerSequence, Step};
pub(super) use locks::{LockRequest, Locker};
pub(super) use opens::{Access, IoRight, Opener};
pub(super) use ranges::{Conflict, Range};
pub(super) use sessions::{Channel, MAX_SLOTS, Origin, RequestSize, SequenceRequest, SequenceStart, SessionId};
pub(super) use stateid::Stateid;

/// Most clients of one file system, known but perhaps idle.
const MAX_CLIENTS: usize = 4096;
/// Most open files of one client, as on EFS.
const MAX_OPENS: usize = 65_536;
/// Most byte-range locks of one client, as on EFS.
const MAX_LOCKS: usize = 8192;
/// Most byte-range locks of one file, as on EFS.
const MAX_LOCKS_PER_FILE: usize = 512;
/// How long an expired client's state is kept when nobody else wants it.
const COURTESY: Duration = Duration::from_secs(24 * 60 * 60);

/// Says what time it is; an argument, so that tests need not wait for leases to end.
pub(super) type Clock = Arc<dyn Fn() -> Instant + Send + Sync>;

/// State of one file system.
pub(super) struct State {
    store: Weak<dyn Store>,
    lease: Duration,
    clock: Clock,
    /// Distinguishes state ids of this server's life from those of an earlier one.
    boot: u32,
    last_id: u64,
    clients: HashMap<u64, clients::Client>,
    /// Confirmed and unconfirmed records by owner.
    owners: HashMap<Arc<Owner>, clients::Records>,
    sessions: HashMap<SessionId, sessions::Session>,
    opens: HashMap<u64, opens::Open>,
    locks: HashMap<u64, locks::LockState>,
    ranges: HashMap<FileId, ranges::Ranges>,
    grace: Option<Grace>,
    /// Clients that a durable store knows to have state.
    recorded: Holders,
}

/// The time after a restart in which clients may only claim back what they had.
#[derive(Debug)]
struct Grace {
    until: Instant,
    /// Who had state before, and has not said that it is done reclaiming.
    waiting: Holders,
}

/// Clients that have, or had, state, and who speaks for them.
type Holders = HashMap<Arc<Owner>, Principal>;

/// One of them as a durable store keeps it.
#[derive(Serialize, Deserialize)]
struct Holder {
    #[serde(flatten)]
    owner: Owner,
    /// Records of versions that did not know it are root's, as those of Linux are.
    #[serde(default = "Holder::root")]
    principal: Principal,
}

impl Holder {
    fn root() -> Principal {
        Some(0)
    }
}

impl State {
    pub(super) fn new(store: Weak<dyn Store>, lease: Duration, clock: Clock) -> Self {
        Self {
            store,
            lease,
            clock,
            boot: rand::random(),
            last_id: 0,
            clients: HashMap::new(),
            owners: HashMap::new(),
            sessions: HashMap::new(),
            opens: HashMap::new(),
            locks: HashMap::new(),
            ranges: HashMap::new(),
            grace: None,
            recorded: HashMap::new(),
        }
    }

    /// Takes up what an earlier life of the server has recorded: its clients may claim back what they had.
    pub(super) fn recover(&mut self) {
        let Some(store) = self.store.upgrade() else { return };
        let saved = store.saved_clients();
        let saved = saved.iter().filter_map(|record| serde_json::from_slice::<Holder>(record).ok());
        let holders: Holders = saved.map(|holder| (Arc::new(holder.owner), holder.principal)).collect();
        self.recorded.clone_from(&holders);
        self.start_grace(holders);
    }

    /// Records that a client has state from now on.
    fn record_owner(&mut self, owner: Arc<Owner>, principal: Principal) {
        if self.recorded.get(&owner) != Some(&principal) && self.is_durable() {
            self.recorded.insert(owner, principal);
            self.save_recorded();
        }
    }

    /// Brings the record up to date with who has state now. Not done at every close, because a file is soon opened again.
    fn review_recorded(&mut self) {
        if !self.is_durable() {
            return;
        }
        let waiting = self.grace.iter().flat_map(|grace| grace.waiting.clone());
        let present: Holders = waiting.chain(self.holders()).collect();
        if present != self.recorded {
            self.recorded = present;
            self.save_recorded();
        }
    }

    /// The clients that have state now.
    fn holders(&self) -> impl Iterator<Item = (Arc<Owner>, Principal)> {
        let with_state = self.clients.values().filter(|client| client.has_state());
        with_state.map(|client| (client.owner(), client.principal))
    }

    fn is_durable(&self) -> bool {
        self.store.upgrade().is_some_and(|store| store.is_durable())
    }

    fn save_recorded(&self) {
        if let Some(store) = self.store.upgrade() {
            let holders = self.recorded.iter();
            let holders =
                holders.map(|(owner, principal)| Holder { owner: Owner::clone(owner), principal: *principal });
            let records: Vec<_> = holders.filter_map(|holder| serde_json::to_vec(&holder).ok()).collect();
            store.save_clients(&records);
        }
    }

    /// Forgets all clients, as a server that restarts does. Those that had state may reclaim it if `reclaim` is set.
    pub(super) fn restart(&mut self, reclaim: bool) {
        let waiting: Holders = self.holders().collect();
        for id in self.clients.keys().copied().collect::<Vec<_>>() {
            self.forget_client(id);
        }
        self.boot = self.boot.wrapping_add(1);
        self.start_grace(if reclaim { waiting } else { HashMap::new() });
    }

    /// Lets only these owners claim state, until they are done or a lease has passed.
    fn start_grace(&mut self, waiting: Holders) {
        self.grace = (!waiting.is_empty()).then(|| Grace { until: self.now() + self.lease, waiting });
    }

    fn now(&self) -> Instant {
        (self.clock)()
    }

    fn in_grace(&mut self) -> bool {
        let now = self.now();
        if self.grace.as_ref().is_some_and(|grace| grace.waiting.is_empty() || grace.until <= now) {
            self.grace = None;
        }
        self.grace.is_some()
    }

    /// Decides whether an open or a lock may be made now: claiming back only in the time of grace, anything else only
    /// outside it and after the client is done with claiming back.
    pub(super) fn check_grace(&mut self, client: u64, reclaim: bool) -> Result<(), Status> {
        let in_grace = self.in_grace();
        let client = self.clients.get(&client).ok_or(Status::Expired)?;
        let holder = self.grace.as_ref().and_then(|grace| grace.waiting.get(&client.owner()));
        let may_reclaim = holder == Some(&client.principal);
        match (reclaim, in_grace) {
            // A client says itself when it is done with claiming back, and that it is, before anything else (RFC 8881 §18.51.3).
            (true, true) if client.reclaim_complete => Err(Status::NoGrace),
            (false, _) if !client.may_begin() => Err(Status::Grace),
            (true, true) if may_reclaim => Ok(()),
            (true, true) => Err(Status::ReclaimBad),
            (true, false) => Err(Status::NoGrace),
            (false, true) => Err(Status::Grace),
            (false, false) => Ok(()),
        }
    }

    fn end_reclaim(&mut self, owner: &Owner) {
        if let Some(grace) = &mut self.grace {
            grace.waiting.remove(owner);
        }
    }

    fn next_id(&mut self) -> u64 {
        self.last_id += 1;
        self.last_id
    }

    fn unpin(&self, file: FileId) {
        if let Some(store) = self.store.upgrade() {
            store.unpin(file);
        }
    }

    /// Drops clients that have been silent for so long that nobody can expect their state to be kept.
    pub(super) fn sweep(&mut self) {
        let now = self.now();
        let (lease, mut gone) = (self.lease, Vec::new());
        for (id, client) in &self.clients {
            let silent = now.duration_since(client.renewed);
            let kept = match client.confirmed {
                true if client.has_state() => lease + COURTESY,
                true => 2 * lease,
                false => lease,
            };
            if silent > kept {
                gone.push(*id);
            }
        }
        for id in gone {
            self.forget_client(id);
        }
        self.sweep_owners();
        self.in_grace();
        self.review_recorded();
    }
}

#[cfg(test)]
mod tests;
