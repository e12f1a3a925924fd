//! OPEN, OPEN_DOWNGRADE and CLOSE.

use super::super::attributes::{Bitmap, SetAttributes, number};
use super::super::compound::{Compound, OpResult};
use super::super::credentials::{EXECUTE, READ, User, WRITE};
use super::super::state::{Access, Opener, OwnerName, Stateid, Step};
use super::super::status::Status;
use super::super::xdr::{Decoder, Encoder};
use super::names::{create_node, directory, encode_change, parent_for_change};
use super::{decode_name, legacy};
use crate::store::{Attributes, DirectoryChange, Kind, NewBody, StoreError};

const MAX_OWNER: usize = 1024;
const RESULT_CONFIRM: u32 = 2;
const RESULT_POSIX_LOCKS: u32 = 4;
const DELEGATE_NONE: u32 = 0;

/// How a file is made if it does not exist.
enum Creation {
    No,
    Unchecked(SetAttributes),
    Guarded(SetAttributes),
    Exclusive([u8; 8], SetAttributes),
}

/// How the file is named.
enum Claim<'a> {
    Name(&'a [u8]),
    /// The current file, which was open before the server restarted.
    Previous,
    /// The current file.
    Current,
}

pub(super) fn open(compound: &mut Compound<'_>, arguments: &mut Decoder<'_>, result: &mut Encoder) -> OpResult {
    let (seqid, share, deny) = (arguments.u32()?, arguments.u32()?, arguments.u32()?);
    let (client, owner) = (arguments.u64()?, arguments.opaque(MAX_OWNER)?);
    // All arguments are read before the owner's number is looked at: behind a repeated OPEN the request goes on.
    let creation = decode_creation(arguments, compound.minor_version);
    let claim = decode_claim(arguments, compound.minor_version);
    if creation.as_ref().is_err_and(|error| *error == Status::BadXdr)
        || claim.as_ref().is_err_and(|error| *error == Status::BadXdr)
    {
        return Err(Status::BadXdr);
    }
    let client = match compound.client {
        Some(client) => client,
        None => legacy::begin_open(compound, arguments, client, owner, seqid)?,
    };
    if compound.op_replay.is_some() {
        return Ok(());
    }
    let (creation, claim) = (creation?, claim?);
    let access = Access::from_share(share, compound.minor_version).ok_or(Status::Inval)?;
    if deny > 3 {
        return Err(Status::Inval);
    }
    if deny != 0 {
        // EFS has no share reservations.
        return Err(Status::NotSupp);
    }
    let reclaim = matches!(claim, Claim::Previous);
    compound.peer.volume.state().check_grace(client, reclaim)?;
    // Only what has a name can be made.
    if !matches!((&claim, &creation), (Claim::Name(_), _) | (_, Creation::No)) {
        return Err(Status::Inval);
    }
    if access.includes(Access::WRITE) {
        compound.require_write()?;
    }
    let opened = match claim {
        Claim::Name(name) => open_name(compound, name, &creation, access)?,
        Claim::Current | Claim::Previous => open_current(compound, access, reclaim)?,
    };
    let mut state = compound.peer.volume.state();
    let mut flags = RESULT_POSIX_LOCKS;
    if compound.minor_version == 0 {
        let name = OwnerName::Open(owner.to_vec());
        if reclaim {
            state.begin_confirmed(client, name, seqid);
        } else if !state.is_owner_confirmed(client, &name) {
            flags |= RESULT_CONFIRM;
        }
    }
    let opener = Opener { user: compound.user.uid, principal: compound.claimant().principal };
    let stateid = state.open(client, owner, opened.file.id, access, opener)?;
    drop(state);
    stateid.encode(result);
    encode_change(result, opened.change);
    result.u32(flags);
    opened.given.encode(result);
    result.u32(DELEGATE_NONE);
    compound.set_file(opened.file.id);
    compound.current_stateid = Some(stateid);
    Ok(())
}

fn decode_creation(arguments: &mut Decoder<'_>, minor_version: u32) -> Result<Creation, Status> {
    match arguments.u32()? {
        0 => Ok(Creation::No),
        1 => match arguments.u32()? {
            0 => SetAttributes::decode(arguments, minor_version).map(Creation::Unchecked),
            1 => SetAttributes::decode(arguments, minor_version).map(Creation::Guarded),
            2 => Ok(Creation::Exclusive(arguments.array()?, SetAttributes::default())),
            3 if minor_version > 0 => {
                let verifier = arguments.array()?;
                SetAttributes::decode(arguments, minor_version).map(|set| Creation::Exclusive(verifier, set))
            }
            _ => Err(Status::BadXdr),
        },
        _ => Err(Status::BadXdr),
    }
}

/// The last three kinds came with 4.1.
fn decode_claim<'a>(arguments: &mut Decoder<'a>, minor_version: u32) -> Result<Claim<'a>, Status> {
    match arguments.u32()? {
        4..=6 if minor_version == 0 => Err(Status::BadXdr),
        0 => decode_name(arguments).map(Claim::Name),
        // Only a client that holds a delegation can claim one, and nobody does.
        1 if arguments.u32()? == 0 => Ok(Claim::Previous),
        1 => Err(Status::ReclaimBad),
        4 => Ok(Claim::Current),
        2 | 3 | 5 | 6 => Err(Status::NotSupp),
        _ => Err(Status::BadXdr),
    }
}

struct Opened {
    file: Attributes,
    change: DirectoryChange,
    given: Bitmap,
}

fn open_current(compound: &Compound<'_>, access: Access, reclaim: bool) -> Result<Opened, Status> {
    let file = compound.file_attributes()?;
    require_openable(compound, &file)?;
    // Permissions were looked at when it was opened first; the mode may have changed since.
    if !reclaim {
        require_access(&compound.user, &file, access)?;
    }
    Ok(Opened { file, change: DirectoryChange { before: 0, after: 0 }, given: Bitmap::default() })
}

fn open_name(compound: &Compound<'_>, name: &[u8], creation: &Creation, access: Access) -> Result<Opened, Status> {
    let parent = directory(compound, compound.file()?)?;
    compound.user.require(&parent, EXECUTE)?;
    match (compound.store.lookup(parent.id, name), creation) {
        (Ok(found), _) => {
            let file = compound.store.attributes(found)?;
            open_existing(compound, &parent, file, creation, access)
        }
        (Err(StoreError::NotFound), Creation::No) => Err(Status::NoEnt),
        (Err(StoreError::NotFound), _) => make_and_open(compound, name, creation),
        (Err(error), _) => Err(error.into()),
    }
}

fn open_existing(
    compound: &Compound<'_>,
    parent: &Attributes,
    file: Attributes,
    creation: &Creation,
    access: Access,
) -> Result<Opened, Status> {
    let change = DirectoryChange { before: parent.change, after: parent.change };
    let mut opened = Opened { file, change, given: Bitmap::default() };
    match creation {
        Creation::Guarded(_) => return Err(Status::Exist),
        Creation::Exclusive(verifier, set) => {
            if compound.store.verifier(file.id).ok().flatten() != Some(*verifier) {
                return Err(Status::Exist);
            }
            // Most likely the caller's own file, whose first answer was lost, and which may do whatever its mode says. That somebody
            // else knows the verifier opens nothing.
            if !compound.user.owns(&file) {
                require_access(&compound.user, &file, access)?;
            }
            opened.given = set.given;
            return Ok(opened);
        }
        Creation::No | Creation::Unchecked(_) => {}
    }
    require_openable(compound, &file)?;
    require_access(&compound.user, &file, access)?;
    if let Creation::Unchecked(SetAttributes { size: Some(0), .. }) = creation {
        compound.require_write()?;
        compound.user.require(&file, WRITE)?;
        if file.size > 0 {
            let set = SetAttributes { size: Some(0), ..SetAttributes::default() };
            let changes = set.changes(&compound.user, &file, true, compound.store.now())?;
            opened.file = compound.store.set_attributes(file.id, &changes)?;
        }
        opened.given.insert(number::SIZE);
    }
    Ok(opened)
}

fn make_and_open(compound: &Compound<'_>, name: &[u8], creation: &Creation) -> Result<Opened, Status> {
    let parent = parent_for_change(compound, compound.file()?)?;
    let none = SetAttributes::default();
    let (verifier, set) = match creation {
        Creation::Exclusive(verifier, set) => (Some(*verifier), set),
        Creation::Unchecked(set) | Creation::Guarded(set) => (None, set),
        Creation::No => (None, &none),
    };
    let body = NewBody::Regular { verifier };
    let (file, change, given) = create_node(compound, &parent, name, body, set, 0o644)?;
    Ok(Opened { file, change, given })
}

fn require_openable(compound: &Compound<'_>, file: &Attributes) -> OpResult {
    match file.kind {
        Kind::Regular => Ok(()),
        Kind::Directory => Err(Status::IsDir),
        Kind::Symlink => Err(Status::Symlink),
        // 4.0 has no other name for special files, which a client can't know to be such (RFC 7530 §16.16.6).
        _ if compound.minor_version == 0 => Err(Status::Symlink),
        _ => Err(Status::WrongType),
    }
}

/// Reading is also allowed to who may execute; the client itself tells the two apart.
fn require_access(user: &User, file: &Attributes, access: Access) -> OpResult {
    let permissions = user.permissions(file);
    let readable = permissions & (READ | EXECUTE) != 0 || !access.includes(Access::READ);
    let writable = permissions & WRITE != 0 || !access.includes(Access::WRITE);
    if readable && writable { Ok(()) } else { Err(Status::Access) }
}

/// DELEGRETURN: nobody has a delegation, so that it always names something else.
pub(super) fn return_delegation(compound: &Compound<'_>, arguments: &mut Decoder<'_>) -> OpResult {
    let stateid = compound.resolve(Stateid::decode(arguments)?)?;
    // Tells the server's earlier life from the present one.
    compound.peer.volume.state().client_of(stateid)?;
    Err(Status::BadStateId)
}

pub(super) fn downgrade(compound: &mut Compound<'_>, arguments: &mut Decoder<'_>, result: &mut Encoder) -> OpResult {
    let stateid = Stateid::decode(arguments)?;
    let (seqid, share, deny) = (arguments.u32()?, arguments.u32()?, arguments.u32()?);
    let file = compound.file()?;
    let stateid = compound.resolve_version(stateid)?;
    if compound.minor_version == 0 {
        legacy::begin_state(compound, arguments, stateid, seqid, Step::Other)?;
        if compound.op_replay.is_some() {
            return Ok(());
        }
    }
    let access = Access::from_share(share, compound.minor_version).ok_or(Status::Inval)?;
    if deny != 0 {
        return Err(Status::Inval);
    }
    let narrowed = compound.peer.volume.state().downgrade(stateid, compound.client, file, access)?;
    narrowed.encode(result);
    compound.current_stateid = Some(narrowed);
    Ok(())
}

pub(super) fn close(compound: &mut Compound<'_>, arguments: &mut Decoder<'_>, result: &mut Encoder) -> OpResult {
    let seqid = arguments.u32()?;
    let stateid = Stateid::decode(arguments)?;
    let file = compound.file()?;
    let stateid = compound.resolve_version(stateid)?;
    let mut owner = None;
    if compound.minor_version == 0 {
        owner = Some(legacy::begin_state(compound, arguments, stateid, seqid, Step::Other)?);
        if compound.op_replay.is_some() {
            return Ok(());
        }
    }
    let mut state = compound.peer.volume.state();
    let closed = state.close(stateid, compound.client, file)?;
    if let Some((client, owner)) = owner {
        state.remember_closed(stateid, client, owner);
        closed.encode(result);
    } else {
        Stateid::INVALID.encode(result);
    }
    drop(state);
    compound.current_stateid = None;
    Ok(())
}
