//! READ, WRITE and COMMIT.

use super::super::attributes::without_set_id;
use super::super::compound::{Compound, OpResult};
use super::super::credentials::{EXECUTE, READ, WRITE};
use super::super::state::{Access, IoRight, Stateid};
use super::super::status::Status;
use super::super::volume::IO_SIZE;
use super::super::xdr::{Decoder, Encoder};
use super::legacy;
use crate::store::{Attributes, Changes, Kind};

const UNSTABLE: u32 = 0;
const FILE_SYNC: u32 = 2;

pub(super) fn read(compound: &mut Compound<'_>, arguments: &mut Decoder<'_>, result: &mut Encoder) -> OpResult {
    let stateid = compound.resolve(Stateid::decode(arguments)?)?;
    let (offset, count) = (arguments.u64()?, arguments.u32()?);
    let file = regular_file(compound)?;
    let holder = legacy::holder(compound, stateid)?;
    let right = compound.peer.volume.state().check_io(stateid, holder, file.id, Access::READ, compound.user.uid)?;
    // What may be executed may be read by the server's measure: clients read programs in order to run them.
    if right == IoRight::Permissions
        && compound.user.permissions(&file) & (READ | EXECUTE) == 0
        && !compound.user.owns(&file)
    {
        return Err(Status::Access);
    }
    let count = count.min(IO_SIZE) as usize;
    let count = if count == 0 { 0 } else { count.min(compound.room(result)?) };
    let at = result.buffer.len();
    result.u32(0).u32(0);
    let before = result.buffer.len();
    result.buffer.reserve(count + 4);
    let end = compound.store.read(file.id, offset, count, &mut result.buffer)?;
    let length = result.buffer.len() - before;
    result.pad(length);
    result.set_u32(at, u32::from(end));
    result.set_u32(at + 4, length as u32);
    Ok(())
}

pub(super) fn write(compound: &mut Compound<'_>, arguments: &mut Decoder<'_>, result: &mut Encoder) -> OpResult {
    let stateid = compound.resolve(Stateid::decode(arguments)?)?;
    let (offset, stable) = (arguments.u64()?, arguments.u32()?);
    let data = arguments.opaque(super::super::MAX_RECORD)?;
    if stable > FILE_SYNC {
        return Err(Status::BadXdr);
    }
    let file = regular_file(compound)?;
    compound.require_write()?;
    let holder = legacy::holder(compound, stateid)?;
    let right = compound.peer.volume.state().check_io(stateid, holder, file.id, Access::WRITE, compound.user.uid)?;
    if right == IoRight::Permissions && !compound.user.owns(&file) {
        compound.user.require(&file, WRITE)?;
    }
    // Nothing written changes nothing, neither times nor set-id bits (RFC 8881 §18.32.3).
    if !data.is_empty() {
        let written = compound.store.write(file.id, offset, data)?;
        let cleared = without_set_id(written.mode);
        if !compound.user.is_root() && cleared != written.mode {
            compound.store.set_attributes(file.id, &Changes { mode: Some(cleared), ..Changes::default() })?;
        }
    }
    if stable != UNSTABLE {
        compound.store.commit(file.id)?;
    }
    let committed = if stable == UNSTABLE { UNSTABLE } else { FILE_SYNC };
    result.u32(data.len() as u32).u32(committed).fixed(&write_verifier(compound));
    Ok(())
}

pub(super) fn commit(compound: &mut Compound<'_>, arguments: &mut Decoder<'_>, result: &mut Encoder) -> OpResult {
    let (offset, count) = (arguments.u64()?, arguments.u32()?);
    let file = regular_file(compound)?;
    if offset.checked_add(u64::from(count)).is_none() {
        return Err(Status::Inval);
    }
    compound.store.commit(file.id)?;
    result.fixed(&write_verifier(compound));
    Ok(())
}

/// Changes when unstable data may have been lost, which makes clients write it again.
fn write_verifier(compound: &Compound<'_>) -> [u8; 8] {
    compound.peer.volume.verifier
}

fn regular_file(compound: &Compound<'_>) -> Result<Attributes, Status> {
    let file = compound.file_attributes()?;
    match file.kind {
        Kind::Regular => Ok(file),
        Kind::Directory => Err(Status::IsDir),
        Kind::Symlink if compound.minor_version > 0 => Err(Status::Symlink),
        _ if compound.minor_version > 0 => Err(Status::WrongType),
        _ => Err(Status::Inval),
    }
}
