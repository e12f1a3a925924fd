//! LOCK, LOCKT and LOCKU.

use super::super::compound::{Compound, OpResult};
use super::super::state::{Conflict, LockRequest, Locker, Range, Stateid, Step};
use super::super::status::Status;
use super::super::xdr::{Decoder, Encoder};
use super::legacy::{self, NewLocker};
use crate::store::Kind;

const MAX_OWNER: usize = 1024;

/// Whether a lock type is exclusive. Waiting types are the same to a server that never calls back: clients ask again.
fn is_exclusive(kind: u32) -> Result<bool, Status> {
    match kind {
        1 | 3 => Ok(false),
        2 | 4 => Ok(true),
        _ => Err(Status::BadXdr),
    }
}

pub(super) fn lock(compound: &mut Compound<'_>, arguments: &mut Decoder<'_>, result: &mut Encoder) -> OpResult {
    let (kind, reclaim) = (arguments.u32()?, arguments.boolean()?);
    let (offset, length) = (arguments.u64()?, arguments.u64()?);
    let (mut new, mut known_seqid) = (None, 0);
    let locker = if arguments.boolean()? {
        let (open_seqid, open) = (arguments.u32()?, Stateid::decode(arguments)?);
        let (seqid, client, owner) = (arguments.u32()?, arguments.u64()?, arguments.opaque(MAX_OWNER)?);
        let open = compound.resolve(open)?;
        new = Some(NewLocker { open, open_seqid, client, owner, seqid });
        Locker::New { open, owner: owner.to_vec() }
    } else {
        let known = Stateid::decode(arguments)?;
        known_seqid = arguments.u32()?;
        Locker::Known(compound.resolve(known)?)
    };
    let file = lockable_file(compound)?;
    let client = match (&locker, &new) {
        // Since 4.1 the client is that of the session, whatever the arguments say (RFC 8881 §18.10.3).
        _ if compound.minor_version > 0 => compound.client,
        (_, Some(new)) => Some(legacy::begin_new_lock(compound, arguments, new, file)?),
        (Locker::New { open: known, .. } | Locker::Known(known), None) => {
            Some(legacy::begin_state(compound, arguments, *known, known_seqid, Step::Other)?.0)
        }
    };
    if compound.op_replay.is_some() {
        return Ok(());
    }
    let exclusive = is_exclusive(kind)?;
    let range = Range::new(offset, length).ok_or(Status::Inval)?;
    let mut state = compound.peer.volume.state();
    if let Some(client) = client {
        state.check_grace(client, reclaim)?;
    }
    let request = LockRequest { file, range, exclusive, locker };
    match state.lock(&request, client)? {
        Ok(stateid) => {
            drop(state);
            stateid.encode(result);
            compound.current_stateid = Some(stateid);
            Ok(())
        }
        Err((conflict, owner)) => {
            encode_conflict(result, &conflict, &owner);
            Err(Status::Denied)
        }
    }
}

pub(super) fn test(compound: &mut Compound<'_>, arguments: &mut Decoder<'_>, result: &mut Encoder) -> OpResult {
    let (kind, offset, length) = (arguments.u32()?, arguments.u64()?, arguments.u64()?);
    let (client, owner) = (arguments.u64()?, arguments.opaque(MAX_OWNER)?);
    let file = lockable_file(compound)?;
    let exclusive = is_exclusive(kind)?;
    let range = Range::new(offset, length).ok_or(Status::Inval)?;
    let mut state = compound.peer.volume.state();
    let client = match compound.client {
        Some(client) => client,
        None => state.legacy_client(client, &compound.peer.identity)?,
    };
    match state.test_lock(client, owner, file, range, exclusive)? {
        None => Ok(()),
        Some((conflict, owner)) => {
            encode_conflict(result, &conflict, &owner);
            Err(Status::Denied)
        }
    }
}

pub(super) fn unlock(compound: &mut Compound<'_>, arguments: &mut Decoder<'_>, result: &mut Encoder) -> OpResult {
    let (kind, seqid) = (arguments.u32()?, arguments.u32()?);
    let stateid = Stateid::decode(arguments)?;
    let (offset, length) = (arguments.u64()?, arguments.u64()?);
    let file = compound.file()?;
    let stateid = compound.resolve(stateid)?;
    if compound.minor_version == 0 {
        legacy::begin_state(compound, arguments, stateid, seqid, Step::Other)?;
        if compound.op_replay.is_some() {
            return Ok(());
        }
    }
    is_exclusive(kind)?;
    let range = Range::new(offset, length).ok_or(Status::Inval)?;
    let unlocked = compound.peer.volume.state().unlock(stateid, compound.client, file, range)?;
    unlocked.encode(result);
    compound.current_stateid = Some(unlocked);
    Ok(())
}

fn lockable_file(compound: &Compound<'_>) -> Result<crate::store::FileId, Status> {
    let file = compound.file_attributes()?;
    match file.kind {
        Kind::Regular => Ok(file.id),
        Kind::Directory => Err(Status::IsDir),
        Kind::Symlink if compound.minor_version > 0 => Err(Status::Symlink),
        _ if compound.minor_version > 0 => Err(Status::WrongType),
        _ => Err(Status::Inval),
    }
}

fn encode_conflict(result: &mut Encoder, conflict: &Conflict, owner: &(u64, Vec<u8>)) {
    result.u64(conflict.range.first).u64(conflict.range.length()).u32(if conflict.exclusive { 2 } else { 1 });
    result.u64(owner.0).opaque(&owner.1);
}
