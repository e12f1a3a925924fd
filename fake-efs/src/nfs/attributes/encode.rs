//! Attributes on their way to the client.

use super::super::handle;
use super::super::xdr::Encoder;
use super::{Bitmap, SETTABLE, WRITE_ONLY, number, supported};
use crate::store::{Attributes, Instance, Kind, Limits, Time, Usage};

/// Size of every EFS file system as clients see it, in bytes.
const SPACE_TOTAL: u64 = 9_223_372_036_853_727_232;

/// What is the same for all files of a file system.
pub(in super::super) struct FileSystem {
    pub(in super::super) instance: Instance,
    pub(in super::super) limits: Limits,
    pub(in super::super) lease_seconds: u32,
    /// Most bytes in one READ or WRITE.
    pub(in super::super) io_size: u32,
}

/// A file to be described.
pub(in super::super) struct Described<'a> {
    pub(in super::super) file_system: &'a FileSystem,
    pub(in super::super) file: &'a Attributes,
    /// Matters only when the client wants to know about space.
    pub(in super::super) usage: Usage,
    pub(in super::super) minor_version: u32,
}

/// Writes the attributes of `wanted` that are supported, as an `fattr4`.
pub(in super::super) fn encode(encoder: &mut Encoder, wanted: Bitmap, described: &Described<'_>) {
    let sent = wanted.intersection(supported(described.minor_version)).without(WRITE_ONLY);
    sent.encode(encoder);
    let start = encoder.buffer.len();
    encoder.u32(0);
    for attribute in sent.iter() {
        encode_one(encoder, attribute, described);
    }
    let length = encoder.buffer.len() - start - 4;
    encoder.set_u32(start, length as u32);
}

fn encode_one(encoder: &mut Encoder, attribute: u32, described: &Described<'_>) {
    let Described { file_system, file, usage, minor_version } = described;
    match attribute {
        number::SUPPORTED_ATTRS => supported(*minor_version).encode(encoder),
        number::SUPPATTR_EXCLCREAT => SETTABLE.encode(encoder),
        number::TYPE => {
            encoder.u32(type_number(file.kind));
        }
        number::FH_EXPIRE_TYPE => {
            encoder.u32(0);
        }
        number::CHANGE => {
            encoder.u64(file.change);
        }
        number::SIZE => {
            encoder.u64(file.size);
        }
        number::LINK_SUPPORT | number::SYMLINK_SUPPORT | number::UNIQUE_HANDLES => {
            encoder.boolean(true);
        }
        number::CANSETTIME | number::CASE_PRESERVING | number::CHOWN_RESTRICTED => {
            encoder.boolean(true);
        }
        number::HOMOGENEOUS | number::NO_TRUNC => {
            encoder.boolean(true);
        }
        number::NAMED_ATTR | number::CASE_INSENSITIVE => {
            encoder.boolean(false);
        }
        number::FSID => {
            encoder.fixed(&file_system.instance.id).u64(0);
        }
        number::LEASE_TIME => {
            encoder.u32(file_system.lease_seconds);
        }
        number::RDATTR_ERROR | number::ACLSUPPORT => {
            encoder.u32(0);
        }
        number::FILEHANDLE => {
            encoder.opaque(&handle::encode(&file_system.instance, file.id));
        }
        number::FILEID | number::MOUNTED_ON_FILEID => {
            encoder.u64(file.id.0);
        }
        number::MAXFILESIZE => {
            encoder.u64(file_system.limits.file_size);
        }
        number::MAXLINK => {
            encoder.u32(file_system.limits.links);
        }
        number::MAXNAME => {
            encoder.u32(file_system.limits.name as u32);
        }
        number::MAXREAD | number::MAXWRITE => {
            encoder.u64(u64::from(file_system.io_size));
        }
        number::MODE => {
            encoder.u32(file.mode);
        }
        number::NUMLINKS => {
            encoder.u32(file.links);
        }
        number::OWNER => {
            encoder.opaque(file.uid.to_string().as_bytes());
        }
        number::OWNER_GROUP => {
            encoder.opaque(file.gid.to_string().as_bytes());
        }
        number::RAWDEV => {
            encoder.u32(0).u32(0);
        }
        number::SPACE_TOTAL => {
            encoder.u64(SPACE_TOTAL);
        }
        number::SPACE_AVAIL | number::SPACE_FREE => {
            encoder.u64(SPACE_TOTAL.saturating_sub(usage.metered_bytes));
        }
        number::SPACE_USED => {
            encoder.u64(file.used);
        }
        number::TIME_ACCESS => encode_time(encoder, file.accessed),
        number::TIME_CREATE => encode_time(encoder, file.created),
        number::TIME_DELTA => encode_time(encoder, Time { seconds: 0, nanoseconds: 1 }),
        number::TIME_METADATA => encode_time(encoder, file.changed),
        number::TIME_MODIFY => encode_time(encoder, file.modified),
        // Only numbers of SUPPORTED reach this function, and each of those is above.
        _ => {}
    }
}

fn encode_time(encoder: &mut Encoder, time: Time) {
    encoder.i64(time.seconds).u32(time.nanoseconds);
}

fn type_number(kind: Kind) -> u32 {
    match kind {
        Kind::Regular => 1,
        Kind::Directory => 2,
        Kind::Symlink => 5,
        Kind::Socket => 6,
        Kind::Fifo => 7,
    }
}
