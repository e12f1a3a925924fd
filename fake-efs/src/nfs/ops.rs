//! The operations by number. Each reads its arguments, does its work and writes its result.

mod directories;
mod files;
mod io;
mod legacy;
mod locks;
mod names;
mod open;
mod sessions;

use super::compound::{Compound, OpResult};
use super::status::Status;
use super::xdr::{Decoder, Encoder};

pub(super) const ILLEGAL: u32 = 10_044;
pub(super) const OPEN: u32 = 18;
pub(super) const SETATTR: u32 = 34;
pub(super) const BIND_CONN_TO_SESSION: u32 = 41;
pub(super) const SEQUENCE: u32 = 53;

const ACCESS: u32 = 3;
const CLOSE: u32 = 4;
const COMMIT: u32 = 5;
const CREATE: u32 = 6;
const DELEGPURGE: u32 = 7;
const DELEGRETURN: u32 = 8;
const GETATTR: u32 = 9;
const GETFH: u32 = 10;
const LINK: u32 = 11;
const LOCK: u32 = 12;
const LOCKT: u32 = 13;
const LOCKU: u32 = 14;
const LOOKUP: u32 = 15;
const LOOKUPP: u32 = 16;
const NVERIFY: u32 = 17;
const OPENATTR: u32 = 19;
const OPEN_CONFIRM: u32 = 20;
const OPEN_DOWNGRADE: u32 = 21;
const PUTFH: u32 = 22;
const PUTPUBFH: u32 = 23;
const PUTROOTFH: u32 = 24;
const READ: u32 = 25;
const READDIR: u32 = 26;
const READLINK: u32 = 27;
const REMOVE: u32 = 28;
const RENAME: u32 = 29;
const RENEW: u32 = 30;
const RESTOREFH: u32 = 31;
const SAVEFH: u32 = 32;
const SECINFO: u32 = 33;
const SETCLIENTID: u32 = 35;
const SETCLIENTID_CONFIRM: u32 = 36;
const VERIFY: u32 = 37;
const WRITE: u32 = 38;
const RELEASE_LOCKOWNER: u32 = 39;
const BACKCHANNEL_CTL: u32 = 40;
const EXCHANGE_ID: u32 = 42;
const CREATE_SESSION: u32 = 43;
const DESTROY_SESSION: u32 = 44;
const FREE_STATEID: u32 = 45;
const SECINFO_NO_NAME: u32 = 52;
const TEST_STATEID: u32 = 55;
const DESTROY_CLIENTID: u32 = 57;
const RECLAIM_COMPLETE: u32 = 58;
/// The last operation of NFSv4.2, with those of RFC 8276 on extended attributes.
const REMOVEXATTR: u32 = 75;

/// Whether the minor version has the operation at all. What it has but EFS does not support answers NOTSUPP instead.
pub(super) fn is_legal(number: u32, minor_version: u32) -> bool {
    let last = match minor_version {
        0 => RELEASE_LOCKOWNER,
        1 => RECLAIM_COMPLETE,
        _ => REMOVEXATTR,
    };
    (ACCESS..=last).contains(&number)
}

/// Whether 4.1 must not have an operation of 4.0 (RFC 8881 §17): it answers NOTSUPP, wherever it stands and whatever else is wrong.
pub(super) fn is_given_up(number: u32, minor_version: u32) -> bool {
    let given_up = matches!(number, OPEN_CONFIRM | RENEW | SETCLIENTID | SETCLIENTID_CONFIRM | RELEASE_LOCKOWNER);
    minor_version > 0 && given_up
}

/// Operations that may stand alone in a request outside a session.
pub(super) fn works_without_session(number: u32) -> bool {
    matches!(number, BIND_CONN_TO_SESSION | EXCHANGE_ID | CREATE_SESSION | DESTROY_SESSION | DESTROY_CLIENTID)
}

/// Whether the operation changes files or what a client holds of them.
pub(super) fn changes(number: u32) -> bool {
    matches!(
        number,
        CLOSE
            | CREATE
            | LINK
            | LOCK
            | LOCKU
            | OPEN
            | OPEN_DOWNGRADE
            | REMOVE
            | RENAME
            | SETATTR
            | WRITE
            | FREE_STATEID
            | RECLAIM_COMPLETE
    )
}

/// Whether the operation is about the current file: without one nothing else of it is looked at, whatever else is wrong.
pub(super) fn needs_file(number: u32) -> bool {
    matches!(
        number,
        ACCESS
            | CLOSE
            | COMMIT
            | CREATE
            | DELEGRETURN
            | GETATTR
            | GETFH
            | LINK
            | LOCK
            | LOCKT
            | LOCKU
            | LOOKUP
            | LOOKUPP
            | NVERIFY
            | OPEN
            | OPEN_CONFIRM
            | OPEN_DOWNGRADE
            | READ
            | READDIR
            | READLINK
            | REMOVE
            | RENAME
            | SAVEFH
            | SECINFO
            | SETATTR
            | VERIFY
            | WRITE
            | SECINFO_NO_NAME
    )
}

/// Whether the operation of NFSv4.0 must not be done again when its request is repeated, and no number of its owner shows the
/// repetition: repeated, it would fail (CREATE), or undo what came in between (SETATTR). CLOSE has a number, but may be the end of a
/// file that was removed, so that the repetition would fail before it.
pub(super) fn is_kept(number: u32) -> bool {
    matches!(number, CLOSE | CREATE | LINK | REMOVE | RENAME | SETATTR)
}

/// Does one operation.
pub(super) fn run(
    compound: &mut Compound<'_>,
    number: u32,
    arguments: &mut Decoder<'_>,
    result: &mut Encoder,
) -> OpResult {
    match number {
        ACCESS => files::access(compound, arguments, result),
        CLOSE => open::close(compound, arguments, result),
        COMMIT => io::commit(compound, arguments, result),
        CREATE => names::create(compound, arguments, result),
        DELEGRETURN => open::return_delegation(compound, arguments),
        GETATTR => files::get_attributes(compound, arguments, result),
        GETFH => files::get_handle(compound, result),
        LINK => names::link(compound, arguments, result),
        LOCK => locks::lock(compound, arguments, result),
        LOCKT => locks::test(compound, arguments, result),
        LOCKU => locks::unlock(compound, arguments, result),
        LOOKUP => names::lookup(compound, arguments),
        LOOKUPP => names::lookup_parent(compound),
        NVERIFY => files::verify(compound, arguments, false),
        OPEN => open::open(compound, arguments, result),
        OPEN_DOWNGRADE => open::downgrade(compound, arguments, result),
        PUTFH => files::put_handle(compound, arguments),
        PUTPUBFH | PUTROOTFH => files::put_root(compound),
        READ => io::read(compound, arguments, result),
        READDIR => directories::read(compound, arguments, result),
        READLINK => files::read_link(compound, result),
        REMOVE => names::remove(compound, arguments, result),
        RENAME => names::rename(compound, arguments, result),
        RESTOREFH => files::restore(compound),
        SAVEFH => files::save(compound),
        SECINFO => files::security_of_name(compound, arguments, result),
        SETATTR => files::set_attributes(compound, arguments, result),
        VERIFY => files::verify(compound, arguments, true),
        WRITE => io::write(compound, arguments, result),
        _ if compound.minor_version == 0 => run_legacy(compound, number, arguments, result),
        BIND_CONN_TO_SESSION => sessions::bind_connection(compound, arguments, result),
        EXCHANGE_ID => sessions::exchange_id(compound, arguments, result),
        CREATE_SESSION => sessions::create_session(compound, arguments, result),
        DESTROY_SESSION => sessions::destroy_session(compound, arguments),
        FREE_STATEID => sessions::free_stateid(compound, arguments),
        SECINFO_NO_NAME => files::security(compound, arguments, result),
        SEQUENCE => sessions::sequence(compound, arguments, result),
        TEST_STATEID => sessions::test_stateids(compound, arguments, result),
        DESTROY_CLIENTID => sessions::destroy_client(compound, arguments),
        RECLAIM_COMPLETE => sessions::reclaim_complete(compound, arguments),
        BACKCHANNEL_CTL | DELEGPURGE | OPENATTR => Err(Status::NotSupp),
        // Directory delegations, pNFS, SSV: legal in 4.1, and not supported by EFS. All that is new in 4.2 is optional (RFC 7862
        // §15). Their arguments need not be read, because an error ends the request.
        _ => Err(Status::NotSupp),
    }
}

fn run_legacy(compound: &mut Compound<'_>, number: u32, arguments: &mut Decoder<'_>, result: &mut Encoder) -> OpResult {
    match number {
        OPEN_CONFIRM => legacy::confirm_open(compound, arguments, result),
        RENEW => legacy::renew(compound, arguments),
        SETCLIENTID => legacy::set_client_id(compound, arguments, result),
        SETCLIENTID_CONFIRM => legacy::confirm_client_id(compound, arguments),
        RELEASE_LOCKOWNER => legacy::release_lock_owner(compound, arguments),
        _ => Err(Status::NotSupp),
    }
}

/// Reads a name and checks that it can be one (RFC 8881 §14.5).
fn decode_name<'a>(arguments: &mut Decoder<'a>) -> Result<&'a [u8], Status> {
    let name = arguments.opaque(super::MAX_RECORD)?;
    match name {
        b"" => Err(Status::Inval),
        b"." | b".." => Err(Status::BadName),
        _ if name.len() > 255 => Err(Status::NameTooLong),
        _ if name.iter().any(|byte| matches!(byte, b'/' | 0)) => Err(Status::BadChar),
        _ => Ok(name),
    }
}
