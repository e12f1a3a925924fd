//! Operations and steps that only NFSv4.0 has (RFC 7530).

use std::hash::{DefaultHasher, Hash, Hasher};

use super::super::compound::{Compound, OpResult};
use super::super::state::{Answered, Callback, Introduction, Owner, OwnerName, OwnerSequence, Stateid, Step};
use super::super::status::Status;
use super::super::xdr::{Decoder, Encoder};
use crate::store::FileId;

const MAX_OWNER: usize = 1024;

pub(super) fn set_client_id(
    compound: &mut Compound<'_>,
    arguments: &mut Decoder<'_>,
    result: &mut Encoder,
) -> OpResult {
    let verifier = arguments.array()?;
    let name = arguments.opaque(MAX_OWNER)?.to_vec();
    // Where to call back; nobody ever is, but who finds the name taken is told.
    arguments.u32()?;
    let (network, address) = (arguments.opaque(256)?.to_vec(), arguments.opaque(256)?.to_vec());
    arguments.u32()?;
    compound.peer.link.begin_anew();
    let owner = Owner { identity: compound.peer.identity.clone(), name, minor_version: 0 };
    let (principal, callback) = (compound.claimant().principal, Callback { network, address });
    let from = compound.peer.source.address;
    match compound.peer.volume.state().set_client_id(owner, principal, verifier, callback, from)? {
        Introduction::Known(client, confirm) => {
            result.u64(client).fixed(&confirm);
            Ok(())
        }
        Introduction::InUse(Callback { network, address }) => {
            result.opaque(&network).opaque(&address);
            Err(Status::ClidInUse)
        }
    }
}

pub(super) fn confirm_client_id(compound: &mut Compound<'_>, arguments: &mut Decoder<'_>) -> OpResult {
    let (client, confirm) = (arguments.u64()?, arguments.array()?);
    compound.peer.volume.state().confirm_client_id(client, confirm, compound.claimant())
}

pub(super) fn renew(compound: &mut Compound<'_>, arguments: &mut Decoder<'_>) -> OpResult {
    let client = arguments.u64()?;
    compound.peer.volume.state().renew_for(client, compound.claimant())
}

/// RELEASE_LOCKOWNER. Whoever asks: it takes no lock from anybody (LOCKS_HELD), and Linux sends it as whoever was the last to close
/// the file, which a process that has got it from another user may be.
pub(super) fn release_lock_owner(compound: &mut Compound<'_>, arguments: &mut Decoder<'_>) -> OpResult {
    let (client, owner) = (arguments.u64()?, arguments.opaque(MAX_OWNER)?);
    let mut state = compound.peer.volume.state();
    let client = state.legacy_client(client, &compound.peer.identity)?;
    state.release_lock_owner(client, owner)
}

pub(super) fn confirm_open(compound: &mut Compound<'_>, arguments: &mut Decoder<'_>, result: &mut Encoder) -> OpResult {
    let stateid = Stateid::decode(arguments)?;
    let seqid = arguments.u32()?;
    let file = compound.file()?;
    begin_state(compound, arguments, stateid, seqid, Step::Confirm)?;
    if compound.op_replay.is_some() {
        return Ok(());
    }
    let confirmed = compound.peer.volume.state().confirm_open(stateid, file)?;
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
    let client = state.client_of(stateid)?;
    match state.legacy_client(client, &compound.peer.identity) {
        Err(Status::StaleClientId) => Err(Status::BadStateId),
        client => client.map(Some),
    }
}

/// Takes the place of an OPEN in its owner's order.
pub(super) fn begin_open(
    compound: &mut Compound<'_>,
    arguments: &Decoder<'_>,
    client: u64,
    owner: &[u8],
    seqid: u32,
) -> Result<u64, Status> {
    let request = checksum(compound, arguments);
    let mut state = compound.peer.volume.state();
    let client = state.legacy_client(client, &compound.peer.identity)?;
    let place = OwnerSequence { client, owner: OwnerName::Open(owner.to_vec()), seqid, step: Step::Open, request };
    let answered = state.check_owner_sequence(&place)?;
    drop(state);
    begin(compound, vec![place], answered);
    Ok(client)
}

/// Takes the place of a request that names a state, in the order of the state's owner. If it was answered before,
/// `op_replay` is set and nothing is to be done.
pub(super) fn begin_state(
    compound: &mut Compound<'_>,
    arguments: &Decoder<'_>,
    stateid: Stateid,
    seqid: u32,
    step: Step,
) -> Result<(u64, OwnerName), Status> {
    let request = checksum(compound, arguments);
    let mut state = compound.peer.volume.state();
    let (client, owner) = state.owner_of(stateid)?;
    state.check_speaker(stateid, compound.claimant().principal)?;
    let client = state.legacy_client(client, &compound.peer.identity).map_err(|_| Status::BadStateId)?;
    let place = OwnerSequence { client, owner: owner.clone(), seqid, step, request };
    let answered = state.check_owner_sequence(&place)?;
    drop(state);
    begin(compound, vec![place], answered);
    Ok((client, owner))
}

/// A lock owner that is new to a file, as LOCK names it.
pub(super) struct NewLocker<'a> {
    /// The open file under which it locks, and the place in the open owner's order.
    pub(super) open: Stateid,
    pub(super) open_seqid: u32,
    /// Whose the lock owner is.
    pub(super) client: u64,
    pub(super) owner: &'a [u8],
    pub(super) seqid: u32,
}

/// Takes the places of LOCK by a new lock owner, in the orders of the open owner and of the lock owner.
pub(super) fn begin_new_lock(
    compound: &mut Compound<'_>,
    arguments: &Decoder<'_>,
    locker: &NewLocker<'_>,
    file: FileId,
) -> Result<u64, Status> {
    let request = checksum(compound, arguments);
    let mut state = compound.peer.volume.state();
    let client = state.legacy_client(locker.client, &compound.peer.identity)?;
    let (opener, owner) = state.owner_of(locker.open)?;
    if opener != client || !matches!(owner, OwnerName::Open(_)) {
        return Err(Status::BadStateId);
    }
    state.check_speaker(locker.open, compound.claimant().principal)?;
    let open = OwnerSequence { client, owner, seqid: locker.open_seqid, step: Step::Other, request };
    let owner = OwnerName::Lock(locker.owner.to_vec());
    let lock = OwnerSequence { client, owner, seqid: locker.seqid, step: Step::Other, request };
    let answered = state.check_lock_sequence(&open, &lock, file)?;
    drop(state);
    begin(compound, vec![open, lock], answered);
    Ok(client)
}

fn begin(compound: &mut Compound<'_>, places: Vec<OwnerSequence>, answered: Option<Answered>) {
    let Some(answered) = answered else {
        compound.owner_sequences = places;
        return;
    };
    if let Some(file) = answered.file {
        compound.set_file(file);
    }
    compound.op_replay = Some(answered.reply);
}

/// Checksum of an operation on the current file whose arguments end where `behind` begins, and of who asks: the answer is not for
/// others.
fn checksum(compound: &Compound<'_>, behind: &Decoder<'_>) -> u64 {
    let mut hasher = DefaultHasher::new();
    compound.current.hash(&mut hasher);
    compound.user.hash(&mut hasher);
    hasher.write(&compound.operation[..compound.operation.len() - behind.rest().len()]);
    hasher.finish()
}
