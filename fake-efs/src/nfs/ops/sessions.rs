//! Client ids and sessions (RFC 8881 §18.34 to 18.51).

use std::hash::{DefaultHasher, Hash, Hasher};

use super::super::compound::{self, Compound, OpResult};
use super::super::state::{Channel, ExchangeRequest, MAX_SLOTS, Owner, SequenceRequest, Stateid};
use super::super::status::Status;
use super::super::volume::IO_SIZE;
use super::super::xdr::{Decoder, Encoder, Malformed};

const MAX_OWNER: usize = 1024;
/// Room for headers and small operations beside the data of a READ or WRITE.
const OVERHEAD: u32 = 16 * 1024;
/// Largest reply that is kept for repetition.
const MAX_CACHED: u32 = 8 * 1024;
/// Smallest request and reply that are worth a session.
const MIN_CHANNEL: u32 = 512;

const FLAG_CONFIRMED: u32 = 0x8000_0000;
const FLAG_USE_NON_PNFS: u32 = 0x0001_0000;
const FLAG_UPDATE: u32 = 0x4000_0000;
/// CREATE_SESSION: the connection also carries callbacks.
const FLAG_BACK_CHANNEL: u32 = 2;
/// Every flag that RFC 8881 lets a client send.
const FLAGS_KNOWN: u32 = 0x4007_0103 | FLAG_CONFIRMED;

pub(super) fn exchange_id(compound: &mut Compound<'_>, arguments: &mut Decoder<'_>, result: &mut Encoder) -> OpResult {
    let verifier = arguments.array()?;
    let name = arguments.opaque(MAX_OWNER)?.to_vec();
    let flags = arguments.u32()?;
    let protection = arguments.u32()?;
    let secret = skip_protection(arguments, protection)?;
    skip_implementation(arguments)?;
    if flags & !FLAGS_KNOWN != 0 || flags & FLAG_CONFIRMED != 0 {
        return Err(Status::Inval);
    }
    // State protection needs Kerberos, which EFS does not have: a machine's credentials can't be any, and there is no
    // algorithm for a secret.
    match (protection, secret) {
        (0, _) => {}
        (1, _) | (_, Secret::Impossible) => return Err(Status::Inval),
        _ => return Err(Status::EncrAlgUnsupp),
    }
    let peer = compound.peer;
    let owner = Owner { identity: peer.identity.clone(), name, minor_version: 1 };
    let principal = compound.claimant().principal;
    let request = ExchangeRequest { owner, principal, verifier, update: flags & FLAG_UPDATE != 0 };
    let exchange = peer.volume.state().exchange_id(request)?;
    let confirmed = if exchange.confirmed { FLAG_CONFIRMED } else { 0 };
    result.u64(exchange.client).u32(exchange.sequence).u32(confirmed | FLAG_USE_NON_PNFS).u32(0);
    // The server's owner tells clients which connections lead to the same state: those of one identity only. Linux would
    // otherwise send one access point's traffic over another's connection. Partitions differ in the minor id: they share clients
    // and no sessions (RFC 8881 §2.10.5).
    let scope = hex::encode(peer.volume.file_system.instance.id);
    let major = format!("{scope}/{}", peer.identity);
    result.u64(peer.partition.into()).opaque(major.as_bytes()).opaque(scope.as_bytes());
    result.u32(1).opaque(b"fake-efs.invalid").opaque(concat!("fake-efs ", env!("CARGO_PKG_VERSION")).as_bytes());
    result.i64(0).u32(0);
    Ok(())
}

/// What a client asks for who wants its state to be protected by a secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Secret {
    /// Nothing, or something that a server could have.
    Possible,
    /// No algorithm to choose from, or no version of the secret at a time (RFC 8881 §18.35.3).
    Impossible,
}

fn skip_protection(arguments: &mut Decoder<'_>, kind: u32) -> Result<Secret, Malformed> {
    let skip_operations = |arguments: &mut Decoder<'_>| {
        arguments.words(16)?;
        arguments.words(16).map(|_| ())
    };
    match kind {
        0 => Ok(Secret::Possible),
        1 => skip_operations(arguments).map(|()| Secret::Possible),
        2 => {
            skip_operations(arguments)?;
            let (hashes, ciphers) = (skip_algorithms(arguments)?, skip_algorithms(arguments)?);
            let (window, _handles) = (arguments.u32()?, arguments.u32()?);
            let possible = hashes > 0 && ciphers > 0 && window > 0;
            Ok(if possible { Secret::Possible } else { Secret::Impossible })
        }
        _ => Err(Malformed),
    }
}

/// How many algorithms a list names.
fn skip_algorithms(arguments: &mut Decoder<'_>) -> Result<u32, Malformed> {
    let count = arguments.u32()?;
    for _ in 0..count {
        arguments.opaque(256)?;
    }
    Ok(count)
}

fn skip_implementation(arguments: &mut Decoder<'_>) -> Result<(), Malformed> {
    match arguments.u32()? {
        0 => Ok(()),
        1 => {
            arguments.opaque(1024)?;
            arguments.opaque(1024)?;
            arguments.fixed(12).map(|_| ())
        }
        _ => Err(Malformed),
    }
}

pub(super) fn create_session(
    compound: &mut Compound<'_>,
    arguments: &mut Decoder<'_>,
    result: &mut Encoder,
) -> OpResult {
    let (client, sequence, flags) = (arguments.u64()?, arguments.u32()?, arguments.u32()?);
    let fore = decode_channel(arguments)?;
    let back = decode_channel(arguments)?;
    arguments.u32()?;
    skip_callback_security(arguments)?;
    if flags & !7 != 0 {
        return Err(Status::Inval);
    }
    // A callback is CB_SEQUENCE and another operation.
    let wants_callbacks = flags & FLAG_BACK_CHANNEL != 0;
    fore.check(1)?;
    if wants_callbacks {
        back.check(2)?;
    }
    let granted = Channel {
        max_request: fore.max_request.min(IO_SIZE + OVERHEAD),
        max_response: fore.max_response.min(IO_SIZE + OVERHEAD),
        max_cached: fore.max_cached.min(MAX_CACHED),
        max_operations: fore.max_operations.min(compound::MAX_OPERATIONS),
        slots: fore.slots.min(MAX_SLOTS),
    };
    // Nothing is more than what the client offers, and nothing that comes back is kept.
    let offered = Channel {
        max_request: back.max_request.min(IO_SIZE + OVERHEAD),
        max_response: back.max_response.min(IO_SIZE + OVERHEAD),
        max_cached: back.max_cached.min(MAX_CACHED),
        max_operations: back.max_operations.min(compound::MAX_OPERATIONS),
        slots: back.slots.min(MAX_SLOTS),
    };
    let encode = |session: &[u8; 16]| {
        let mut reply = Encoder::default();
        // Some clients insist on a channel for callbacks; they get it, and nothing is ever sent over it. Replies are not
        // kept on disk.
        reply.fixed(session).u32(sequence).u32(flags & FLAG_BACK_CHANNEL);
        encode_channel(&mut reply, &granted);
        encode_channel(&mut reply, &offered);
        reply.buffer
    };
    let (claimant, partition) = (compound.claimant(), compound.peer.partition);
    let reply = compound.peer.volume.state().create_session(client, claimant, partition, sequence, granted, encode)?;
    result.buffer.extend_from_slice(&reply);
    Ok(())
}

impl Channel {
    /// Refuses a channel that is good for nothing.
    fn check(&self, least_operations: u32) -> OpResult {
        if self.slots == 0 {
            return Err(Status::Inval);
        }
        if self.max_request < MIN_CHANNEL || self.max_response < MIN_CHANNEL || self.max_operations < least_operations {
            return Err(Status::TooSmall);
        }
        Ok(())
    }
}

fn decode_channel(arguments: &mut Decoder<'_>) -> Result<Channel, Malformed> {
    arguments.u32()?;
    let channel = Channel {
        max_request: arguments.u32()?,
        max_response: arguments.u32()?,
        max_cached: arguments.u32()?,
        max_operations: arguments.u32()?,
        slots: arguments.u32()?,
    };
    arguments.words(1)?;
    Ok(channel)
}

fn encode_channel(reply: &mut Encoder, channel: &Channel) {
    reply.u32(0).u32(channel.max_request).u32(channel.max_response).u32(channel.max_cached);
    reply.u32(channel.max_operations).u32(channel.slots).u32(0);
}

fn skip_callback_security(arguments: &mut Decoder<'_>) -> Result<(), Malformed> {
    for _ in 0..arguments.u32()? {
        match arguments.u32()? {
            0 => {}
            1 => {
                arguments.u32()?;
                arguments.opaque(255)?;
                arguments.u32()?;
                arguments.u32()?;
                arguments.words(16)?;
            }
            6 => {
                arguments.u32()?;
                arguments.opaque(400)?;
                arguments.opaque(400)?;
            }
            _ => return Err(Malformed),
        }
    }
    Ok(())
}

pub(super) fn sequence(compound: &mut Compound<'_>, arguments: &mut Decoder<'_>, result: &mut Encoder) -> OpResult {
    let mut request = SequenceRequest {
        session: arguments.array()?,
        sequence: arguments.u32()?,
        slot: arguments.u32()?,
        highest_slot: arguments.u32()?,
        fingerprint: 0,
    };
    compound.cache_reply = arguments.boolean()?;
    // Only the beginning of what follows: a repeated request may name another highest slot, and the bytes of a repeated
    // WRITE may have changed in the client's page cache.
    let mut hasher = DefaultHasher::new();
    hasher.write(&arguments.rest()[..arguments.rest().len().min(48)]);
    hasher.write_u32(compound.position.1);
    // What one user was answered is not for another (RFC 8881 §2.10.6.1.3.1).
    compound.user.hash(&mut hasher);
    request.fingerprint = hasher.finish();
    let channel = compound::begin_sequence(compound, request, result)?;
    result.fixed(&request.session).u32(request.sequence).u32(request.slot);
    result.u32(channel.slots - 1).u32(channel.slots - 1).u32(0);
    Ok(())
}

pub(super) fn destroy_session(compound: &mut Compound<'_>, arguments: &mut Decoder<'_>) -> OpResult {
    let session = arguments.array()?;
    let (index, count) = compound.position;
    if compound.session() == Some(session) && index + 1 != count {
        return Err(Status::NotOnlyOp);
    }
    let principal = compound.claimant().principal;
    compound.peer.volume.state().destroy_session(&session, compound.peer.origin(), principal)
}

pub(super) fn bind_connection(
    compound: &mut Compound<'_>,
    arguments: &mut Decoder<'_>,
    result: &mut Encoder,
) -> OpResult {
    let session = arguments.array()?;
    let direction = arguments.u32()?;
    arguments.boolean()?;
    compound.peer.volume.state().session_client(&session, compound.peer.origin())?;
    // Every connection of the right identity and partition is bound implicitly (there is no state protection); this only says so.
    let bound = match direction {
        1 => 1,
        2 => 2,
        3 | 7 => 3,
        _ => return Err(Status::Inval),
    };
    result.fixed(&session).u32(bound).boolean(false);
    Ok(())
}

pub(super) fn destroy_client(compound: &mut Compound<'_>, arguments: &mut Decoder<'_>) -> OpResult {
    let client = arguments.u64()?;
    let principal = compound.claimant().principal;
    compound.peer.volume.state().destroy_client(client, compound.peer.origin(), principal)
}

pub(super) fn reclaim_complete(compound: &mut Compound<'_>, arguments: &mut Decoder<'_>) -> OpResult {
    let one_file_system = arguments.boolean()?;
    if one_file_system {
        // For file systems that moved here from another server; there are none.
        return compound.file().map(|_| ());
    }
    compound.peer.volume.state().reclaim_complete(client(compound)?)
}

pub(super) fn free_stateid(compound: &mut Compound<'_>, arguments: &mut Decoder<'_>) -> OpResult {
    let stateid = compound.resolve(Stateid::decode(arguments)?)?;
    compound.peer.volume.state().free_stateid(stateid, client(compound)?)
}

pub(super) fn test_stateids(
    compound: &mut Compound<'_>,
    arguments: &mut Decoder<'_>,
    result: &mut Encoder,
) -> OpResult {
    let count = arguments.u32()?;
    if count as usize > arguments.rest().len() / 16 {
        return Err(Status::BadXdr);
    }
    let (client, state) = (client(compound)?, compound.peer.volume.state());
    result.u32(count);
    for _ in 0..count {
        let stateid = Stateid::decode(arguments)?;
        result.u32(state.test_stateid(stateid, client).err().map_or(0, |status| status as u32));
    }
    Ok(())
}

fn client(compound: &Compound<'_>) -> Result<u64, Status> {
    compound.client.ok_or(Status::OpNotInSession)
}
