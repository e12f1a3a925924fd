//! Sessions: each request has a slot and a number, so that a repeated one is answered without being done again.

use std::time::Instant;

use super::super::rpc::Principal;
use super::super::status::Status;
use super::clients::Client;
use super::{Claimant, State};

/// Name of a session.
pub(in super::super) type SessionId = [u8; 16];

/// Most requests that a client may have running in one session.
pub(in super::super) const MAX_SLOTS: u32 = 64;
/// Most sessions of one client.
const MAX_SESSIONS: usize = 16;

/// What a session's requests may be like. Sizes are those of whole RPC messages (RFC 8881 §18.36.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) struct Channel {
    /// Largest request in bytes.
    pub(in super::super) max_request: u32,
    /// Largest reply in bytes.
    pub(in super::super) max_response: u32,
    /// Largest reply that is kept.
    pub(in super::super) max_cached: u32,
    /// Most operations in a request.
    pub(in super::super) max_operations: u32,
    /// Number of slots.
    pub(in super::super) slots: u32,
}

#[derive(Debug, Default)]
struct Slot {
    /// Whether it had a request; numbers go round, so that 0 may be one's.
    begun: bool,
    sequence: u32,
    busy: bool,
    /// Of the request with that number; a different one under the same number is not a repetition.
    fingerprint: u64,
    reply: Option<Vec<u8>>,
}

/// Where a request about a session comes from: whose connection it is, and on which partition it has landed.
#[derive(Clone, Copy, Debug)]
pub(in super::super) struct Origin<'a> {
    pub(in super::super) identity: &'a str,
    pub(in super::super) partition: u32,
}

/// One session.
#[derive(Debug)]
pub(super) struct Session {
    client: u64,
    /// The only partition on which it is known.
    partition: u32,
    /// Its client has made itself another one on another partition since.
    left: bool,
    /// When its last request began, or when it was made.
    used: Instant,
    channel: Channel,
    slots: Vec<Slot>,
}

/// Arguments of SEQUENCE.
#[derive(Clone, Copy, Debug)]
pub(in super::super) struct SequenceRequest {
    pub(in super::super) session: SessionId,
    pub(in super::super) sequence: u32,
    pub(in super::super) slot: u32,
    pub(in super::super) highest_slot: u32,
    /// Hash of the whole request.
    pub(in super::super) fingerprint: u64,
}

/// How large a request is, and what is known of its reply.
#[derive(Clone, Copy, Debug)]
pub(in super::super) struct RequestSize {
    pub(in super::super) bytes: usize,
    pub(in super::super) operations: u32,
    /// Bytes of the reply with nothing behind SEQUENCE, and whether the client wants it to be kept.
    pub(in super::super) reply: usize,
    pub(in super::super) keep: bool,
}

/// What is to be done with a request.
#[derive(Debug, PartialEq, Eq)]
pub(in super::super) enum SequenceStart {
    /// Do it; then call [`State::end_sequence`].
    New { client: u64, channel: Channel },
    /// Send this again.
    Replay(Vec<u8>),
}

#[cfg(test)]
impl Session {
    /// As if a slot had had its last request with this number.
    pub(super) fn begin_at(&mut self, slot: usize, sequence: u32) {
        self.slots[slot] = Slot { begun: true, sequence, ..Slot::default() };
    }
}

impl State {
    /// CREATE_SESSION. `encode` makes the result out of the session's id, so that it can be repeated. Clients are known on all
    /// partitions, so that one whose connection has landed elsewhere makes itself a session there.
    pub(in super::super) fn create_session(
        &mut self,
        id: u64,
        claimant: Claimant<'_>,
        partition: u32,
        sequence: u32,
        channel: Channel,
        encode: impl FnOnce(&SessionId) -> Vec<u8>,
    ) -> Result<Vec<u8>, Status> {
        let client = self.claimed(id, claimant)?;
        // Before the repetition is looked at: its answer would name the session.
        if client.principal != claimant.principal {
            return Err(Status::ClidInUse);
        }
        let (last, reply) = &client.create_session;
        if sequence == *last
            && let Some(reply) = reply
        {
            return Ok(reply.clone());
        }
        if sequence != last.wrapping_add(1) {
            return Err(Status::SeqMisordered);
        }
        if client.sessions.len() >= MAX_SESSIONS && !self.forget_session_elsewhere(id, partition) {
            return Err(Status::NoSpc);
        }
        self.confirm(id)?;
        let mut session: SessionId = rand::random();
        session[..8].copy_from_slice(&id.to_be_bytes());
        let reply = encode(&session);
        let slots = (0..channel.slots).map(|_| Slot::default()).collect();
        for other in self.sessions.values_mut().filter(|other| other.client == id) {
            other.left |= other.partition != partition;
        }
        self.sessions.insert(session, Session { client: id, partition, left: false, used: self.now(), channel, slots });
        if let Some(client) = self.clients.get_mut(&id) {
            client.sessions.insert(session);
            client.create_session = (sequence, Some(reply.clone()));
        }
        Ok(reply)
    }

    /// The client that a session belongs to, if the connection's identity is the same and the session is known where the
    /// connection leads.
    pub(in super::super) fn session_client(&self, session: &SessionId, origin: Origin<'_>) -> Result<u64, Status> {
        let session = self.sessions.get(session).filter(|session| session.partition == origin.partition);
        let client = session.map(|session| session.client).ok_or(Status::BadSession)?;
        let same = self.clients.get(&client).is_some_and(|client| client.owner().identity == origin.identity);
        if same { Ok(client) } else { Err(Status::BadSession) }
    }

    pub(in super::super) fn destroy_session(
        &mut self,
        session: &SessionId,
        origin: Origin<'_>,
        principal: Principal,
    ) -> Result<(), Status> {
        let client = self.session_client(session, origin)?;
        // It takes a connection that is bound to the session (RFC 8881 §18.37.3). Connections are bound by being used, so what tells a
        // stranger's is who is at its other end.
        if self.clients.get(&client).is_some_and(|client| client.principal != principal) {
            return Err(Status::ConnNotBoundToSession);
        }
        self.forget_session(client, session);
        Ok(())
    }

    fn forget_session(&mut self, client: u64, session: &SessionId) {
        self.sessions.remove(session);
        if let Some(client) = self.clients.get_mut(&client) {
            client.sessions.remove(session);
        }
    }

    /// Forgets the session of a client that was used longest ago of those on other partitions than this one and those that it has
    /// left; whether there was any. Linux does not destroy them, and would run out of sessions if its connections landed elsewhere
    /// often enough.
    fn forget_session_elsewhere(&mut self, client: u64, partition: u32) -> bool {
        let elsewhere =
            self.sessions.iter().filter(|(_, s)| s.client == client && (s.left || s.partition != partition));
        let oldest = elsewhere.min_by_key(|(_, session)| session.used).map(|(id, _)| *id);
        oldest.inspect(|id| self.forget_session(client, id)).is_some()
    }

    /// Whether a client has sessions on a partition, but for those that it has left.
    pub(super) fn has_session_on(&self, client: &Client, partition: u32) -> bool {
        let mut sessions = client.sessions.iter().filter_map(|id| self.sessions.get(id));
        sessions.any(|session| session.partition == partition && !session.left)
    }

    /// Takes a slot for a request (RFC 8881 §2.10.6.1) and renews the client's lease. An error leaves slot and lease as they
    /// are (§18.46.3).
    pub(in super::super) fn begin_sequence(
        &mut self,
        request: &SequenceRequest,
        size: RequestSize,
        origin: Origin<'_>,
    ) -> Result<SequenceStart, Status> {
        let client = self.session_client(&request.session, origin)?;
        let now = self.now();
        let session = self.sessions.get_mut(&request.session).ok_or(Status::BadSession)?;
        let count = session.channel.slots;
        if request.highest_slot >= count {
            return Err(Status::BadHighSlot);
        }
        let slot = session.slots.get_mut(request.slot as usize).ok_or(Status::BadSlot)?;
        // A reply that can't hold SEQUENCE's own result can't be kept, or sent.
        if size.keep && size.reply > session.channel.max_cached as usize {
            return Err(Status::RepTooBigToCache);
        }
        if size.reply > session.channel.max_response as usize {
            return Err(Status::RepTooBig);
        }
        if size.bytes > session.channel.max_request as usize {
            return Err(Status::ReqTooBig);
        }
        if size.operations > session.channel.max_operations {
            return Err(Status::TooManyOps);
        }
        let mut renew = || {
            session.used = now;
            if let Some(client) = self.clients.get_mut(&client) {
                client.renewed = now;
            }
        };
        if request.sequence == slot.sequence.wrapping_add(1) {
            if slot.busy {
                return Err(Status::SeqMisordered);
            }
            renew();
            let SequenceRequest { sequence, fingerprint, .. } = *request;
            *slot = Slot { begun: true, sequence, busy: true, fingerprint, reply: None };
            return Ok(SequenceStart::New { client, channel: session.channel });
        }
        if request.sequence != slot.sequence || !slot.begun {
            return Err(Status::SeqMisordered);
        }
        match &slot.reply {
            _ if slot.busy => Err(Status::Delay),
            _ if slot.fingerprint != request.fingerprint => Err(Status::SeqFalseRetry),
            Some(reply) => {
                renew();
                Ok(SequenceStart::Replay(reply.clone()))
            }
            None => Err(Status::RetryUncachedRep),
        }
    }

    /// Frees the slot and keeps the reply, if there is one to keep.
    pub(in super::super) fn end_sequence(&mut self, request: &SequenceRequest, reply: Option<&[u8]>) {
        let session = self.sessions.get_mut(&request.session);
        let slot = session.and_then(|session| session.slots.get_mut(request.slot as usize));
        // The session may have been destroyed by its own request.
        if let Some(slot) = slot.filter(|slot| slot.sequence == request.sequence) {
            slot.busy = false;
            slot.reply = reply.map(<[u8]>::to_vec);
        }
    }
}
