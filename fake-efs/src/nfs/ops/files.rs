//! The current file: choosing it, asking about it, changing its attributes.

use super::super::attributes::{self, Bitmap, Described, SPACE, SetAttributes, WRITE_ONLY, number, supported};
use super::super::compound::{Compound, OpResult};
use super::super::credentials::{EXECUTE, READ, WRITE};
use super::super::handle;
use super::super::rpc::AUTH_SYS;
use super::super::state::{Access, IoRight, Stateid};
use super::super::status::Status;
use super::super::xdr::{Decoder, Encoder};
use super::{decode_name, legacy};
use crate::store::{Attributes, Kind, Usage};

/// Longest handle of any NFS version.
const MAX_HANDLE: usize = 128;

pub(super) fn put_handle(compound: &mut Compound<'_>, arguments: &mut Decoder<'_>) -> OpResult {
    let given = arguments.opaque(MAX_HANDLE)?;
    compound.peer.require_admission()?;
    let id = handle::decode(&compound.peer.volume.file_system.instance, given)?;
    compound.store.attributes(id)?;
    compound.set_file(id);
    Ok(())
}

pub(super) fn put_root(compound: &mut Compound<'_>) -> OpResult {
    let root = compound.peer.root()?;
    compound.set_file(root);
    Ok(())
}

pub(super) fn get_handle(compound: &mut Compound<'_>, result: &mut Encoder) -> OpResult {
    result.opaque(&handle::encode(&compound.peer.volume.file_system.instance, compound.file()?));
    Ok(())
}

pub(super) fn save(compound: &mut Compound<'_>) -> OpResult {
    compound.saved = Some(compound.file()?);
    compound.saved_stateid = compound.current_stateid;
    Ok(())
}

pub(super) fn restore(compound: &mut Compound<'_>) -> OpResult {
    let none = if compound.minor_version == 0 { Status::RestoreFh } else { Status::NoFileHandle };
    compound.current = Some(compound.saved.ok_or(none)?);
    compound.current_stateid = compound.saved_stateid;
    Ok(())
}

pub(super) fn get_attributes(
    compound: &mut Compound<'_>,
    arguments: &mut Decoder<'_>,
    result: &mut Encoder,
) -> OpResult {
    let wanted = Bitmap::decode(arguments)?;
    if !wanted.intersection(WRITE_ONLY).is_empty() {
        return Err(Status::Inval);
    }
    let file = compound.file_attributes()?;
    encode_attributes(compound, &file, wanted, usage(compound, wanted), result);
    Ok(())
}

/// How much is stored, if the client wants to know about space. Whoever visits entries of a store asks before: the visit holds
/// the store's lock.
pub(super) fn usage(compound: &Compound<'_>, wanted: Bitmap) -> Usage {
    if wanted.intersection(SPACE).is_empty() { Usage::default() } else { compound.store.usage() }
}

pub(super) fn encode_attributes(
    compound: &Compound<'_>,
    file: &Attributes,
    wanted: Bitmap,
    usage: Usage,
    result: &mut Encoder,
) {
    let file_system = &compound.peer.volume.file_system;
    let described = Described { file_system, file, usage, minor_version: compound.minor_version };
    attributes::encode(result, wanted, &described);
}

pub(super) fn set_attributes(
    compound: &mut Compound<'_>,
    arguments: &mut Decoder<'_>,
    result: &mut Encoder,
) -> OpResult {
    let stateid = Stateid::decode(arguments)?;
    let set = SetAttributes::decode(arguments, compound.minor_version)?;
    let file = compound.file_attributes()?;
    compound.require_write()?;
    let mut may_write = false;
    if set.size.is_some() {
        let stateid = compound.resolve(stateid)?;
        let holder = legacy::holder(compound, stateid)?;
        let right =
            compound.peer.volume.state().check_io(stateid, holder, file.id, Access::WRITE, compound.user.uid)?;
        may_write = right == IoRight::Open;
    }
    let changes = set.changes(&compound.user, &file, may_write, compound.store.now())?;
    if !changes.is_empty() {
        compound.store.set_attributes(file.id, &changes)?;
    }
    set.given.encode(result);
    Ok(())
}

pub(super) fn access(compound: &mut Compound<'_>, arguments: &mut Decoder<'_>, result: &mut Encoder) -> OpResult {
    const READ_BIT: u32 = 1;
    const LOOKUP: u32 = 2;
    const MODIFY: u32 = 4;
    const EXTEND: u32 = 8;
    const DELETE: u32 = 16;
    const EXECUTE_BIT: u32 = 32;
    let asked = arguments.u32()?;
    let file = compound.file_attributes()?;
    if asked & !63 != 0 {
        return Err(Status::Inval);
    }
    let is_directory = file.kind == Kind::Directory;
    let known = READ_BIT | MODIFY | EXTEND | if is_directory { LOOKUP | DELETE } else { EXECUTE_BIT };
    let permissions = compound.user.permissions(&file);
    let mut granted = 0;
    if permissions & READ != 0 {
        granted |= READ_BIT;
    }
    if permissions & WRITE != 0 && compound.require_write().is_ok() {
        granted |= MODIFY | EXTEND | DELETE;
    }
    if permissions & EXECUTE != 0 {
        granted |= LOOKUP | EXECUTE_BIT;
    }
    result.u32(asked & known).u32(granted & asked & known);
    Ok(())
}

pub(super) fn verify(compound: &mut Compound<'_>, arguments: &mut Decoder<'_>, want_same: bool) -> OpResult {
    let wanted = Bitmap::decode(arguments)?;
    let given = arguments.opaque(64 * 1024)?;
    let file = compound.file_attributes()?;
    if !wanted.without(supported(compound.minor_version)).is_empty() {
        return Err(Status::AttrNotSupp);
    }
    if !wanted.intersection(WRITE_ONLY).is_empty() || wanted.contains(number::RDATTR_ERROR) {
        return Err(Status::Inval);
    }
    let mut present = Encoder::default();
    encode_attributes(compound, &file, wanted, usage(compound, wanted), &mut present);
    let mut present = Decoder::new(&present.buffer);
    Bitmap::decode(&mut present)?;
    match (present.opaque(usize::MAX)? == given, want_same) {
        (false, true) => Err(Status::NotSame),
        (true, false) => Err(Status::Same),
        _ => Ok(()),
    }
}

pub(super) fn read_link(compound: &mut Compound<'_>, result: &mut Encoder) -> OpResult {
    let file = compound.file_attributes()?;
    if file.kind != Kind::Symlink {
        return Err(if compound.minor_version == 0 { Status::Inval } else { Status::WrongType });
    }
    result.opaque(&compound.store.read_link(file.id)?);
    Ok(())
}

/// SECINFO: like LOOKUP, but says how the name may be reached, which is always the same way.
pub(super) fn security_of_name(
    compound: &mut Compound<'_>,
    arguments: &mut Decoder<'_>,
    result: &mut Encoder,
) -> OpResult {
    let name = decode_name(arguments)?;
    let directory = compound.file_attributes()?;
    if directory.kind != Kind::Directory {
        return Err(Status::NotDir);
    }
    compound.user.require(&directory, EXECUTE)?;
    compound.store.lookup(directory.id, name)?;
    encode_flavours(compound, result);
    Ok(())
}

/// SECINFO_NO_NAME: the same for the current file or its parent.
pub(super) fn security(compound: &mut Compound<'_>, arguments: &mut Decoder<'_>, result: &mut Encoder) -> OpResult {
    match arguments.u32()? {
        0 => {
            compound.file()?;
        }
        1 => {
            compound.peer.parent(compound.file()?)?;
        }
        _ => return Err(Status::BadXdr),
    }
    encode_flavours(compound, result);
    Ok(())
}

fn encode_flavours(compound: &mut Compound<'_>, result: &mut Encoder) {
    result.words(&[AUTH_SYS]);
    // Since 4.1 the file is used up (RFC 8881 §2.6.3.1.1.8).
    if compound.minor_version > 0 {
        compound.current = None;
        compound.current_stateid = None;
    }
}
