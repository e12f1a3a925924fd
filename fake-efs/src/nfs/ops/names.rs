//! Names in directories: looking up, making, removing, moving.

use super::super::attributes::{Bitmap, SetAttributes};
use super::super::compound::{Compound, OpResult};
use super::super::credentials::{EXECUTE, WRITE};
use super::super::status::Status;
use super::super::xdr::{Decoder, Encoder};
use super::decode_name;
use crate::store::{Attributes, Changes, DirectoryChange, FileId, Kind, NewBody, NewNode, StoreError};

pub(super) fn lookup(compound: &mut Compound<'_>, arguments: &mut Decoder<'_>) -> OpResult {
    let name = decode_name(arguments)?;
    let directory = directory_or_link(compound)?;
    compound.user.require(&directory, EXECUTE)?;
    let found = compound.store.lookup(directory.id, name)?;
    compound.set_file(found);
    Ok(())
}

pub(super) fn lookup_parent(compound: &mut Compound<'_>) -> OpResult {
    let directory = directory_or_link(compound)?;
    let parent = compound.peer.parent(directory.id)?;
    compound.user.require(&directory, EXECUTE)?;
    compound.set_file(parent);
    Ok(())
}

pub(super) fn create(compound: &mut Compound<'_>, arguments: &mut Decoder<'_>, result: &mut Encoder) -> OpResult {
    let body = match arguments.u32()? {
        2 => Ok(NewBody::Directory),
        5 => Ok(NewBody::Symlink { target: arguments.opaque(super::super::MAX_RECORD)?.to_vec() }),
        6 => Ok(NewBody::Socket),
        7 => Ok(NewBody::Fifo),
        3 | 4 => {
            arguments.u64()?;
            Err(Status::BadType)
        }
        1 | 8 | 9 => Err(Status::BadType),
        _ => return Err(Status::BadXdr),
    };
    let name = decode_name(arguments)?;
    let set = SetAttributes::decode(arguments, compound.minor_version)?;
    let body = body?;
    let default_mode = match body {
        NewBody::Symlink { .. } => 0o777,
        NewBody::Directory => 0o755,
        _ => 0o644,
    };
    if set.size.is_some() {
        return Err(Status::Inval);
    }
    let parent = parent_for_change(compound, compound.file()?)?;
    let (made, change, given) = create_node(compound, &parent, name, body, &set, default_mode)?;
    encode_change(result, change);
    given.encode(result);
    compound.set_file(made.id);
    Ok(())
}

/// Makes an object as the user, with the attributes that were asked for.
pub(super) fn create_node(
    compound: &Compound<'_>,
    parent: &Attributes,
    name: &[u8],
    body: NewBody,
    set: &SetAttributes,
    default_mode: u32,
) -> Result<(Attributes, DirectoryChange, Bitmap), Status> {
    let user = &compound.user;
    let inherits_group = parent.mode & 0o2000 != 0;
    let gid = if inherits_group { parent.gid } else { user.gid };
    let mut mode = set.mode.unwrap_or(default_mode);
    if inherits_group && matches!(body, NewBody::Directory) {
        mode |= 0o2000;
    } else if !user.is_root() && !user.is_in_group(gid) && !matches!(body, NewBody::Directory) {
        mode &= !0o2000;
    }
    // Asking for another owner needs the same right as giving a file away.
    let owned = set.uid.is_none_or(|uid| uid == user.uid) && set.gid.is_none_or(|gid| user.is_in_group(gid));
    if !owned && !user.is_root() {
        return Err(Status::Perm);
    }
    let node = NewNode { body, mode, uid: set.uid.unwrap_or(user.uid), gid: set.gid.unwrap_or(gid) };
    let (mut made, change) = compound.store.create(parent.id, name, &node)?;
    let now = compound.store.now();
    let rest = SetAttributes { mode: None, uid: None, gid: None, ..set.clone() };
    let changes = rest.changes(user, &made, true, now)?;
    if !changes.is_empty() {
        made = compound.store.set_attributes(made.id, &Changes { mode: None, ..changes })?;
    }
    Ok((made, change, set.given))
}

pub(super) fn link(compound: &mut Compound<'_>, arguments: &mut Decoder<'_>, result: &mut Encoder) -> OpResult {
    let name = decode_name(arguments)?;
    if !compound.peer.admission.dialect.has_hard_links() {
        return Err(Status::NotSupp);
    }
    let file = compound.store.attributes(compound.saved.ok_or(Status::NoFileHandle)?)?;
    let parent = parent_for_change(compound, compound.file()?)?;
    let change = compound.store.link(file.id, parent.id, name)?;
    encode_change(result, change);
    Ok(())
}

pub(super) fn remove(compound: &mut Compound<'_>, arguments: &mut Decoder<'_>, result: &mut Encoder) -> OpResult {
    let name = decode_name(arguments)?;
    let parent = parent_for_change(compound, compound.file()?)?;
    let victim = compound.store.attributes(compound.store.lookup(parent.id, name)?)?;
    compound.user.require_removal(&parent, &victim)?;
    let change = compound.store.remove(parent.id, name)?;
    encode_change(result, change);
    Ok(())
}

pub(super) fn rename(compound: &mut Compound<'_>, arguments: &mut Decoder<'_>, result: &mut Encoder) -> OpResult {
    let (from, to) = (decode_name(arguments)?, decode_name(arguments)?);
    let source = parent_for_change(compound, compound.saved.ok_or(Status::NoFileHandle)?)?;
    let destination = parent_for_change(compound, compound.file()?)?;
    let moved = compound.store.attributes(compound.store.lookup(source.id, from)?)?;
    compound.user.require_removal(&source, &moved)?;
    match compound.store.lookup(destination.id, to) {
        Ok(replaced) => {
            let replaced = compound.store.attributes(replaced)?;
            compound.user.require_removal(&destination, &replaced)?;
        }
        Err(StoreError::NotFound) => {}
        Err(error) => return Err(error.into()),
    }
    // A directory that changes its parent is itself changed (its ".."), which needs the right to write to it.
    if moved.kind == Kind::Directory && source.id != destination.id {
        compound.user.require(&moved, WRITE)?;
    }
    let (before, after) = compound.store.rename(source.id, from, destination.id, to)?;
    encode_change(result, before);
    encode_change(result, after);
    Ok(())
}

/// A directory in which the user may look up names.
pub(super) fn directory(compound: &Compound<'_>, id: FileId) -> Result<Attributes, Status> {
    let found = compound.store.attributes(id)?;
    if found.kind == Kind::Directory { Ok(found) } else { Err(Status::NotDir) }
}

/// The same for the current file of LOOKUP and LOOKUPP, which alone of these operations tell symbolic links from other files
/// (RFC 7530 §13.2, RFC 8881 §15.2).
fn directory_or_link(compound: &Compound<'_>) -> Result<Attributes, Status> {
    let found = compound.file_attributes()?;
    match found.kind {
        Kind::Directory => Ok(found),
        Kind::Symlink => Err(Status::Symlink),
        _ => Err(Status::NotDir),
    }
}

/// A directory whose entries the user may change.
pub(super) fn parent_for_change(compound: &Compound<'_>, id: FileId) -> Result<Attributes, Status> {
    let parent = directory(compound, id)?;
    compound.user.require(&parent, EXECUTE)?;
    compound.require_write()?;
    compound.user.require(&parent, WRITE)?;
    Ok(parent)
}

pub(super) fn encode_change(result: &mut Encoder, change: DirectoryChange) {
    result.boolean(true).u64(change.before).u64(change.after);
}
