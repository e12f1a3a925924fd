//! COMPOUND: a list of operations that share a current file, done in order until one fails (RFC 8881 §2.10, §16.2).

use super::credentials::User;
use super::duplicates::{self, Known, Ticket};
use super::ops;
use super::peer::Peer;
use super::recent::Outline;
use super::rpc::{Accepted, Call, encode_accepted};
use super::state::{
    Answered, Channel, Claimant, OwnerSequence, RequestSize, SequenceRequest, SequenceStart, SessionId, Stateid,
};
use super::status::Status;
use super::xdr::{Decoder, Encoder, Malformed};
use crate::store::{Attributes, FileId, Store};

/// Most operations in a request, in or out of a session.
pub(super) const MAX_OPERATIONS: u32 = 128;
/// Longest tag that is repeated.
const MAX_TAG: usize = 1024;
/// Replies up to this size are kept for repetition even if the client did not ask for that.
const ALWAYS_CACHED: usize = 512;
/// Room kept free in a reply for what follows bulk data; in a session of small replies less.
const RESERVE: usize = 1024;

/// Largest result of an operation that changes something: OPEN's. Such an operation is not begun unless its result fits.
const LARGEST_CHANGE: usize = 72;

/// SEQUENCE's result: session, five words.
const SEQUENCE_RESULT: usize = 36;

/// A COMPOUND as it came.
#[derive(Clone, Copy, Debug)]
pub(super) struct Request<'a> {
    /// What follows the header of the RPC message.
    pub(super) arguments: &'a [u8],
    /// Length of the whole message.
    pub(super) length: usize,
}

/// Result of an operation; its values are written to the encoder.
pub(super) type OpResult = Result<(), Status>;

/// What the operations of one request share.
pub(super) struct Compound<'a> {
    pub(super) peer: &'a Peer,
    pub(super) store: &'a dyn Store,
    pub(super) user: User,
    pub(super) minor_version: u32,
    pub(super) current: Option<FileId>,
    pub(super) saved: Option<FileId>,
    pub(super) current_stateid: Option<Stateid>,
    pub(super) saved_stateid: Option<Stateid>,
    /// The client of the session; `None` in NFSv4.0.
    pub(super) client: Option<u64>,
    /// The session that this request belongs to.
    pub(super) sequence: Option<(SequenceRequest, Channel)>,
    pub(super) cache_reply: bool,
    /// Position of the operation and number of operations.
    pub(super) position: (u32, u32),
    /// An earlier reply that is to be sent in place of doing the request.
    pub(super) whole_replay: Option<Vec<u8>>,
    /// The same for one operation of NFSv4.0, and the places whose answer is to be kept.
    pub(super) op_replay: Option<Vec<u8>>,
    pub(super) owner_sequences: Vec<OwnerSequence>,
    /// The request from the present operation on.
    pub(super) operation: &'a [u8],
    /// Place in the duplicate request cache.
    ticket: Option<Ticket>,
    /// The request is being done already; it gets no answer here.
    running: bool,
    call: &'a Call,
    /// The request behind the call's header.
    arguments: &'a [u8],
    /// Length of the whole RPC message.
    length: usize,
    /// Where the RPC message with the reply starts in the encoder.
    message: usize,
    done: u32,
    outline: Outline,
}

impl Compound<'_> {
    /// Who asks, where records of clients are concerned: not the access point's user, which is all its clients' user.
    pub(super) fn claimant(&self) -> Claimant<'_> {
        Claimant { identity: &self.peer.identity, principal: self.call.credential.principal() }
    }

    /// The current file.
    pub(super) fn file(&self) -> Result<FileId, Status> {
        self.current.ok_or(Status::NoFileHandle)
    }

    /// The current file's attributes.
    pub(super) fn file_attributes(&self) -> Result<Attributes, Status> {
        Ok(self.store.attributes(self.file()?)?)
    }

    /// Makes a file the current one; what state id was current belongs to another file.
    pub(super) fn set_file(&mut self, id: FileId) {
        self.current = Some(id);
        self.current_stateid = None;
    }

    /// Fails when the policy does not let the connection write.
    pub(super) fn require_write(&self) -> OpResult {
        if self.peer.admission.rights.write { Ok(()) } else { Err(Status::RoFs) }
    }

    /// A state id as the client means it: "current" stands for the one before, in whatever version it is by now
    /// (RFC 8881 §8.2.3).
    pub(super) fn resolve(&self, stateid: Stateid) -> Result<Stateid, Status> {
        let resolved = self.resolve_version(stateid)?;
        Ok(if self.is_current(stateid) { resolved.in_any_version() } else { resolved })
    }

    /// The same for CLOSE and OPEN_DOWNGRADE, which name a version even so.
    pub(super) fn resolve_version(&self, stateid: Stateid) -> Result<Stateid, Status> {
        if self.is_current(stateid) {
            return self.current_stateid.ok_or(Status::BadStateId);
        }
        if stateid == Stateid::INVALID {
            return Err(Status::BadStateId);
        }
        // "Whatever version it is" came with 4.1; there 0 is a version before the first.
        Ok(if self.minor_version == 0 { stateid.in_its_version() } else { stateid })
    }

    fn is_current(&self, stateid: Stateid) -> bool {
        stateid == Stateid::CURRENT && self.minor_version > 0
    }

    /// How large the reply may become, and what is wrong with one that becomes larger. A reply that the client wants to be
    /// kept has to fit what may be kept (RFC 8881 §2.10.6.1.3).
    fn reply_limit(&self) -> Option<(usize, Status)> {
        let (_, channel) = self.sequence?;
        let (response, cached) = (channel.max_response as usize, channel.max_cached as usize);
        Some(if self.cache_reply && cached < response {
            (cached, Status::RepTooBigToCache)
        } else {
            (response, Status::RepTooBig)
        })
    }

    /// Fails when the reply can't grow by so many bytes.
    fn require_room(&self, encoder: &Encoder, bytes: usize) -> OpResult {
        match self.reply_limit() {
            Some((limit, too_big)) if encoder.buffer.len() - self.message + bytes > limit => Err(too_big),
            _ => Ok(()),
        }
    }

    /// Bytes that the reply may still grow by. Bulk data for which there is no room at all is refused: nothing, and not the
    /// end, would make a client ask for ever.
    pub(super) fn room(&self, encoder: &Encoder) -> Result<usize, Status> {
        let (limit, status) = self.reply_limit().unwrap_or((super::MAX_RECORD, Status::Resource));
        let reserve = RESERVE.min(limit / 4);
        match limit.saturating_sub(encoder.buffer.len() - self.message + reserve) {
            0 => Err(status),
            room => Ok(room),
        }
    }

    pub(super) fn session(&self) -> Option<SessionId> {
        self.sequence.map(|(request, _)| request.session)
    }
}

/// Answers a COMPOUND call: writes the whole RPC reply to the encoder, and says what was done. `None` when there is no reply, because
/// the same request is being done already: the connection ends then, which makes the client ask once more (RFC 7530 §3.1.1).
pub(super) fn answer(peer: &Peer, call: &Call, request: Request<'_>, encoder: &mut Encoder) -> Option<Outline> {
    let start = encoder.buffer.len();
    encode_accepted(encoder, call.xid, Accepted::Success);
    run(peer, call, request, start, encoder).unwrap_or_else(|Malformed| {
        encoder.buffer.truncate(start);
        encode_accepted(encoder, call.xid, Accepted::GarbageArguments);
        Some(Outline { status: Status::BadXdr as u32, ..Outline::default() })
    })
}

fn run(
    peer: &Peer,
    call: &Call,
    Request { arguments, length }: Request<'_>,
    message: usize,
    encoder: &mut Encoder,
) -> Result<Option<Outline>, Malformed> {
    let mut decoder = Decoder::new(arguments);
    let tag = decoder.opaque(MAX_TAG)?;
    let (minor_version, count) = (decoder.u32()?, decoder.u32()?);
    let start = encoder.buffer.len();
    encoder.u32(0).opaque(tag);
    let count_at = encoder.buffer.len();
    encoder.u32(0);
    if !peer.admission.dialect.has_minor_version(minor_version) {
        let status = Status::MinorVersMismatch as u32;
        encoder.set_u32(start, status);
        return Ok(Some(Outline { minor_version, status, ..Outline::default() }));
    }
    if minor_version == 0 {
        let checksum = || duplicates::checksum(call, arguments);
        match peer.volume.duplicates.find(&peer.source, &peer.link, call.xid, checksum, || is_client(peer)) {
            Some(Known::Answered(reply)) => {
                encoder.buffer.truncate(start);
                encoder.buffer.extend_from_slice(&reply);
                return Ok(Some(Outline { minor_version, ..Outline::default() }.repetition(&reply)));
            }
            Some(Known::Running) => return Ok(None),
            Some(Known::New(_)) | None => {}
        }
    }
    let mut compound = Compound {
        peer,
        store: &*peer.admission.store,
        user: User::of_call(&call.credential, &peer.admission),
        minor_version,
        current: None,
        saved: None,
        current_stateid: None,
        saved_stateid: None,
        client: None,
        sequence: None,
        cache_reply: false,
        position: (0, count),
        whole_replay: None,
        op_replay: None,
        owner_sequences: Vec::new(),
        operation: arguments,
        ticket: None,
        running: false,
        call,
        arguments,
        length,
        message,
        done: 0,
        outline: Outline { minor_version, ..Outline::default() },
    };
    let status = run_operations(&mut compound, &mut decoder, encoder, count)?;
    if compound.running {
        return Ok(None);
    }
    if let Some(reply) = compound.whole_replay.take() {
        encoder.buffer.truncate(start);
        encoder.buffer.extend_from_slice(&reply);
        return Ok(Some(compound.outline.repetition(&reply)));
    }
    compound.outline.status = status.map_or(0, |status| status as u32);
    encoder.set_u32(start, compound.outline.status);
    encoder.set_u32(count_at, compound.done);
    if let Some((request, channel)) = &compound.sequence {
        let (reply, length) = (&encoder.buffer[start..], encoder.buffer.len() - message);
        let kept = compound.cache_reply || reply.len() <= ALWAYS_CACHED;
        let kept = (kept && length <= channel.max_cached as usize).then_some(reply);
        peer.volume.state().end_sequence(request, kept);
    }
    if let Some(ticket) = compound.ticket {
        peer.volume.duplicates.end(&peer.source, ticket, &encoder.buffer[start..]);
    }
    Ok(Some(compound.outline))
}

/// Does the operations; the status of the one that failed. An error means that not even an operation's number was there.
fn run_operations<'a>(
    compound: &mut Compound<'a>,
    decoder: &mut Decoder<'a>,
    encoder: &mut Encoder,
    count: u32,
) -> Result<Option<Status>, Malformed> {
    for index in 0..count {
        compound.operation = decoder.rest();
        let number = match decoder.u32() {
            Ok(number) => number,
            Err(error) if index == 0 => return Err(error),
            Err(_) => return Ok(Some(Status::BadXdr)),
        };
        compound.position = (index, count);
        let number = if ops::is_legal(number, compound.minor_version) { number } else { ops::ILLEGAL };
        encoder.u32(number);
        compound.outline.push(number);
        compound.done += 1;
        let at = encoder.buffer.len();
        encoder.u32(0);
        let result = check_position(compound, number)
            .and_then(|()| if ops::changes(number) { compound.require_room(encoder, LARGEST_CHANGE) } else { Ok(()) })
            .and_then(|()| begin_kept(compound, number))
            .and_then(|()| ops::run(compound, number, decoder, encoder));
        if compound.whole_replay.is_some() || compound.running {
            return Ok(None);
        }
        let status = finish(compound, number, at, result, encoder);
        if status.is_some() {
            return Ok(status);
        }
    }
    Ok(None)
}

/// Completes an operation's result in the reply and says whether the request goes on.
fn finish(
    compound: &mut Compound<'_>,
    number: u32,
    at: usize,
    result: OpResult,
    encoder: &mut Encoder,
) -> Option<Status> {
    let mut status = result.err();
    // In a session the server's earlier life has shown itself before any state id is looked at, so that 4.1 has no name for
    // state ids of that time (RFC 8881 §15.1.16.5).
    if status == Some(Status::StaleStateId) && compound.minor_version > 0 {
        status = Some(Status::BadStateId);
    }
    if let Some(reply) = compound.op_replay.take() {
        encoder.buffer.truncate(at);
        encoder.buffer.extend_from_slice(&reply);
        return reply.first_chunk().map(|word| u32::from_be_bytes(*word)).and_then(Status::from_number);
    }
    // Room is left for the error itself, so this can only happen with bulk data in several operations.
    if status.is_none() {
        status = compound.require_room(encoder, 0).err();
    }
    if let Some(status) = status {
        encoder.set_u32(at, status as u32);
        // The conflicting lock or client follows these errors, and the (empty) set of what was set any error of SETATTR.
        if !matches!(status, Status::Denied | Status::ClidInUse) {
            encoder.buffer.truncate(at + 4);
        }
        if number == ops::SETATTR {
            encoder.u32(0);
        }
    }
    let places = std::mem::take(&mut compound.owner_sequences);
    if !places.is_empty() && !status.is_some_and(leaves_owner_alone) {
        let file = compound.current.filter(|_| number == ops::OPEN && status.is_none());
        let answer = Answered { reply: encoder.buffer[at..].to_vec(), file };
        let mut state = compound.peer.volume.state();
        places.into_iter().for_each(|place| state.end_owner_sequence(place, answer.clone()));
    }
    status
}

/// Errors after which an owner's sequence number stays what it was (RFC 7530 §9.1.7).
fn leaves_owner_alone(status: Status) -> bool {
    use Status::{BadSeqId, BadStateId, BadXdr, NoFileHandle, Resource, StaleClientId, StaleStateId};
    matches!(status, StaleClientId | StaleStateId | BadStateId | BadSeqId | BadXdr | Resource | NoFileHandle)
}

/// In 4.1 a request starts with SEQUENCE, or is one of the operations that set up and tear down sessions, alone. What is about
/// the current file needs one.
fn check_position(compound: &Compound<'_>, number: u32) -> OpResult {
    let (index, count) = compound.position;
    if number == ops::ILLEGAL {
        return Err(Status::OpIllegal);
    }
    if ops::is_given_up(number, compound.minor_version) {
        return Err(Status::NotSupp);
    }
    if count > MAX_OPERATIONS {
        return Err(if compound.minor_version == 0 { Status::Resource } else { Status::TooManyOps });
    }
    let fileless = compound.current.is_none() && ops::needs_file(number);
    let has_file = || if fileless { Err(Status::NoFileHandle) } else { Ok(()) };
    if compound.minor_version == 0 {
        return has_file();
    }
    match (index, number) {
        (0, ops::SEQUENCE) => Ok(()),
        (0, _) if !ops::works_without_session(number) => Err(Status::OpNotInSession),
        (0, _) if count > 1 => Err(Status::NotOnlyOp),
        (0, _) => Ok(()),
        (_, ops::SEQUENCE) => Err(Status::SequencePos),
        // The others that work without a session may follow SEQUENCE; this one says which connection it came over.
        (_, ops::BIND_CONN_TO_SESSION) => Err(Status::NotOnlyOp),
        _ => has_file(),
    }
}

/// Whether a client of NFSv4.0 has introduced itself from where the connection comes from.
fn is_client(peer: &Peer) -> bool {
    peer.volume.state().has_legacy_client(&peer.source)
}

/// Gives a request of NFSv4.0 its place in the duplicate request cache before the first of its operations that must not be done
/// again. What came before, such as PUTFH, changes nothing.
fn begin_kept(compound: &mut Compound<'_>, number: u32) -> OpResult {
    if compound.minor_version > 0 || compound.ticket.is_some() || !ops::is_kept(number) {
        return Ok(());
    }
    let (peer, xid) = (compound.peer, compound.call.xid);
    let checksum = duplicates::checksum(compound.call, compound.arguments);
    match peer.volume.duplicates.begin(&peer.source, &peer.link, xid, checksum, || is_client(peer)) {
        Known::New(ticket) => compound.ticket = Some(ticket),
        Known::Answered(reply) => compound.whole_replay = Some(reply),
        Known::Running => compound.running = true,
    }
    // An error only keeps the operation from being done; it is not seen.
    if compound.ticket.is_some() { Ok(()) } else { Err(Status::Delay) }
}

/// Begins a request in its session (SEQUENCE has been decoded).
pub(super) fn begin_sequence(
    compound: &mut Compound<'_>,
    request: SequenceRequest,
    encoder: &Encoder,
) -> Result<Channel, Status> {
    let origin = compound.peer.origin();
    let size = RequestSize {
        bytes: compound.length,
        operations: compound.position.1,
        reply: encoder.buffer.len() - compound.message + SEQUENCE_RESULT,
        keep: compound.cache_reply,
    };
    let start = compound.peer.volume.state().begin_sequence(&request, size, origin)?;
    match start {
        SequenceStart::Replay(reply) => {
            compound.whole_replay = Some(reply);
            Err(Status::RetryUncachedRep)
        }
        SequenceStart::New { client, channel } => {
            compound.client = Some(client);
            compound.sequence = Some((request, channel));
            Ok(channel)
        }
    }
}
