//! READDIR.

use super::super::attributes::{Bitmap, WRITE_ONLY};
use super::super::compound::{Compound, OpResult};
use super::super::credentials::READ;
use super::super::status::Status;
use super::super::xdr::{Decoder, Encoder};
use super::files::{encode_attributes, usage};
use super::names::directory;

/// Positions never move, so they stay valid for as long as the directory exists.
const COOKIE_VERIFIER: [u8; 8] = [0; 8];
/// Closing words of the list, and the status before it.
const FRAME: usize = 24;

pub(super) fn read(compound: &mut Compound<'_>, arguments: &mut Decoder<'_>, result: &mut Encoder) -> OpResult {
    let (cookie, verifier) = (arguments.u64()?, arguments.array::<8>()?);
    let (_, maximum) = (arguments.u32()?, arguments.u32()?);
    let wanted = Bitmap::decode(arguments)?;
    let directory = directory(compound, compound.file()?)?;
    compound.user.require(&directory, READ)?;
    if !wanted.intersection(WRITE_ONLY).is_empty() {
        return Err(Status::Inval);
    }
    if matches!(cookie, 1 | 2) {
        return Err(Status::BadCookie);
    }
    if cookie != 0 && verifier != COOKIE_VERIFIER {
        return Err(Status::NotSame);
    }
    let maximum = (maximum as usize).min(compound.room(result)?);
    let start = result.buffer.len();
    result.fixed(&COOKIE_VERIFIER);
    let usage = usage(compound, wanted);
    let (mut shown, mut too_small) = (0usize, false);
    let complete = compound.store.read_directory(directory.id, cookie, &mut |entry| {
        let before = result.buffer.len();
        result.u32(1).u64(entry.cookie).opaque(entry.name);
        encode_attributes(compound, entry.attributes, wanted, usage, result);
        if result.buffer.len() - start + FRAME > maximum {
            result.buffer.truncate(before);
            too_small = shown == 0;
            return false;
        }
        shown += 1;
        true
    })?;
    if too_small {
        return Err(Status::TooSmall);
    }
    result.u32(0).boolean(complete);
    Ok(())
}
