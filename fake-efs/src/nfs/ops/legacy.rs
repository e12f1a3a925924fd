//! Operations and steps that only NFSv4.0 has (RFC 7530).

use super::super::compound::{Compound, OpResult};
use super::super::state::{Owner, OwnerName, OwnerSequence, Stateid};
use super::super::status::Status;
use super::super::xdr::{Decoder, Encoder};

const MAX_OWNER: usize = 1024;

pub(super) fn set_client_id(
    compound: &mut Compound<'_>,
    arguments: &mut Decoder<'_>,
    result: &mut Encoder,
) -> OpResult {
    let verifier = arguments.array()?;
    let name = arguments.opaque(MAX_OWNER)?.to_vec();
    // Where to call back; nobody ever is.
    arguments.u32()?;
    arguments.opaque(256)?;
    arguments.opaque(256)?;
    arguments.u32()?;
    compound.peer.link.begin_anew();
    let owner = Owner { identity: compound.peer.identity.clone(), name, minor_version: 0 };
    let (client, confirm) = compound.peer.volume.state().set_client_id(owner, verifier)?;
    result.u64(client).fixed(&confirm);
    Ok(())
}

pub(super) fn confirm_client_id(compound: &mut Compound<'_>, arguments: &mut Decoder<'_>) -> OpResult {
    let (client, confirm) = (arguments.u64()?, arguments.array()?);
    compound.peer.volume.state().confirm_client_id(client, confirm, &compound.peer.identity)
}

pub(super) fn renew(compound: &mut Compound<'_>, arguments: &mut Decoder<'_>) -> OpResult {
    let client = arguments.u64()?;
    compound.peer.volume.state().legacy_client(client, &compound.peer.identity).map(|_| ())
}

pub(super) fn release_lock_owner(compound: &mut Compound<'_>, arguments: &mut Decoder<'_>) -> OpResult {
    let (client, owner) = (arguments.u64()?, arguments.opaque(MAX_OWNER)?);
    let mut state = compound.peer.volume.state();
    let client = state.legacy_client(client, &compound.peer.identity)?;
    state.release_lock_owner(client, owner)
}

pub(super) fn confirm_open(compound: &mut Compound<'_>, arguments: &mut Decoder<'_>, result: &mut Encoder) -> OpResult {
    let stateid = Stateid::decode(arguments)?;
    let seqid = arguments.u32()?;
    compound.file()?;
    let (client, owner) = begin_state(compound, stateid, seqid)?;
    if compound.op_replay.is_some() {
        return Ok(());
    }
    let mut state = compound.peer.volume.state();
    state.confirm_owner(client, &owner, seqid);
    let confirmed = state.touch_open(stateid)?;
    confirmed.encode(result);
    Ok(())
}

/// The client whose state this must be: that of the session. In 4.0 it is the one that the state was given to, whose lease this
/// renews, and which must have the identity of this connection: another's state is none here.
pub(super) fn holder(compound: &Compound<'_>, stateid: Stateid) -> Result<Option<u64>, Status> {
    if compound.minor_version > 0 || stateid.is_special() {
        return Ok(compound.client);
    }
    let mut state = compound.peer.volume.state();
    let (client, _) = state.owner_of(stateid)?;
    match state.legacy_client(client, &compound.peer.identity) {
        Err(Status::StaleClientId) => Err(Status::BadStateId),
        client => client.map(Some),
    }
}

/// Takes the place of an OPEN in its owner's order.
pub(super) fn begin_open(compound: &mut Compound<'_>, client: u64, owner: &[u8], seqid: u32) -> Result<u64, Status> {
    let client = compound.peer.volume.state().legacy_client(client, &compound.peer.identity)?;
    begin(compound, OwnerSequence { client, owner: OwnerName::Open(owner.to_vec()), seqid })?;
    Ok(client)
}

/// Takes the place of a request that names a state, in the order of the state's owner. If it was answered before,
/// `op_replay` is set and nothing is to be done.
pub(super) fn begin_state(
    compound: &mut Compound<'_>,
    stateid: Stateid,
    seqid: u32,
) -> Result<(u64, OwnerName), Status> {
    let (client, owner) = {
        let mut state = compound.peer.volume.state();
        let (client, owner) = state.owner_of(stateid)?;
        (state.legacy_client(client, &compound.peer.identity).map_err(|_| Status::BadStateId)?, owner)
    };
    begin(compound, OwnerSequence { client, owner: owner.clone(), seqid })?;
    Ok((client, owner))
}

fn begin(compound: &mut Compound<'_>, place: OwnerSequence) -> OpResult {
    let answered = compound.peer.volume.state().check_owner_sequence(&place)?;
    match answered {
        Some(answered) => {
            if let Some(file) = answered.file {
                compound.set_file(file);
            }
            compound.op_replay = Some(answered.reply);
        }
        None => compound.owner_sequence = Some(place),
    }
    Ok(())
}
