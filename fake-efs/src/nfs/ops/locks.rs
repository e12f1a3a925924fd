//! LOCK, LOCKT and LOCKU.

use super::super::compound::{Compound, OpResult};
use super::super::state::{Conflict, LockRequest, Locker, OwnerName, Range, Stateid};
use super::super::status::Status;
use super::super::xdr::{Decoder, Encoder};
use super::legacy;
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
    let mut lock_seqid = 0;
    let (locker, seqid) = if arguments.boolean()? {
        let seqid = arguments.u32()?;
        let open = Stateid::decode(arguments)?;
        lock_seqid = arguments.u32()?;
        arguments.u64()?;
        let owner = arguments.opaque(MAX_OWNER)?.to_vec();
        (Locker::New { open: compound.resolve(open)?, owner }, seqid)
    } else {
        let known = Stateid::decode(arguments)?;
        let seqid = arguments.u32()?;
        (Locker::Known(compound.resolve(known)?), seqid)
    };
    let file = lockable_file(compound)?;
    let (Locker::New { open: named, .. } | Locker::Known(named)) = &locker;
    let (named, mut client) = (*named, compound.client);
    if compound.minor_version == 0 {
        let (owner_client, _) = legacy::begin_state(compound, named, seqid)?;
        if compound.op_replay.is_some() {
            return Ok(());
        }
        client = Some(owner_client);
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
            // The new lock owner's own numbers start here.
            if let (0, Some(client), Locker::New { owner, .. }) = (compound.minor_version, client, &request.locker) {
                state.confirm_owner(client, &OwnerName::Lock(owner.clone()), lock_seqid);
            }
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
        legacy::begin_state(compound, stateid, seqid)?;
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
