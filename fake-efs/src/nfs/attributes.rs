//! NFSv4 file attributes (RFC 8881 §5): bitmaps, encoding, and decoding of attributes to be set.

mod encode;
mod set;

use super::xdr::{Decoder, Encoder, Malformed};

pub(super) use encode::{Described, FileSystem, encode};
pub(super) use set::{SetAttributes, without_set_id};

/// Numbers of the attributes that EFS has.
pub(super) mod number {
    pub(crate) const SUPPORTED_ATTRS: u32 = 0;
    pub(crate) const TYPE: u32 = 1;
    pub(crate) const FH_EXPIRE_TYPE: u32 = 2;
    pub(crate) const CHANGE: u32 = 3;
    pub(crate) const SIZE: u32 = 4;
    pub(crate) const LINK_SUPPORT: u32 = 5;
    pub(crate) const SYMLINK_SUPPORT: u32 = 6;
    pub(crate) const NAMED_ATTR: u32 = 7;
    pub(crate) const FSID: u32 = 8;
    pub(crate) const UNIQUE_HANDLES: u32 = 9;
    pub(crate) const LEASE_TIME: u32 = 10;
    pub(crate) const RDATTR_ERROR: u32 = 11;
    pub(crate) const ACLSUPPORT: u32 = 13;
    pub(crate) const CANSETTIME: u32 = 15;
    pub(crate) const CASE_INSENSITIVE: u32 = 16;
    pub(crate) const CASE_PRESERVING: u32 = 17;
    pub(crate) const CHOWN_RESTRICTED: u32 = 18;
    pub(crate) const FILEHANDLE: u32 = 19;
    pub(crate) const FILEID: u32 = 20;
    pub(crate) const HOMOGENEOUS: u32 = 26;
    pub(crate) const MAXFILESIZE: u32 = 27;
    pub(crate) const MAXLINK: u32 = 28;
    pub(crate) const MAXNAME: u32 = 29;
    pub(crate) const MAXREAD: u32 = 30;
    pub(crate) const MAXWRITE: u32 = 31;
    pub(crate) const MODE: u32 = 33;
    pub(crate) const NO_TRUNC: u32 = 34;
    pub(crate) const NUMLINKS: u32 = 35;
    pub(crate) const OWNER: u32 = 36;
    pub(crate) const OWNER_GROUP: u32 = 37;
    pub(crate) const RAWDEV: u32 = 41;
    pub(crate) const SPACE_AVAIL: u32 = 42;
    pub(crate) const SPACE_FREE: u32 = 43;
    pub(crate) const SPACE_TOTAL: u32 = 44;
    pub(crate) const SPACE_USED: u32 = 45;
    pub(crate) const TIME_ACCESS: u32 = 47;
    pub(crate) const TIME_ACCESS_SET: u32 = 48;
    pub(crate) const TIME_CREATE: u32 = 50;
    pub(crate) const TIME_DELTA: u32 = 51;
    pub(crate) const TIME_METADATA: u32 = 52;
    pub(crate) const TIME_MODIFY: u32 = 53;
    pub(crate) const TIME_MODIFY_SET: u32 = 54;
    pub(crate) const MOUNTED_ON_FILEID: u32 = 55;
    pub(crate) const SUPPATTR_EXCLCREAT: u32 = 75;
}

/// A set of attribute numbers below 128.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Bitmap(u128);

impl Bitmap {
    /// The set of these numbers.
    pub(super) const fn of(numbers: &[u32]) -> Self {
        let (mut bits, mut index) = (0, 0);
        while index < numbers.len() {
            bits |= 1 << numbers[index];
            index += 1;
        }
        Self(bits)
    }

    /// Reads a bitmap. Numbers above 127 exist in no version of NFS, and 127 doesn't either: it stands for all of them.
    pub(super) fn decode(decoder: &mut Decoder<'_>) -> Result<Self, Malformed> {
        let words = decoder.words(64)?;
        let bits = words.iter().take(4).enumerate().map(|(i, word)| u128::from(*word) << (32 * i));
        let beyond = words.iter().skip(4).any(|word| *word != 0);
        Ok(Self(bits.fold(u128::from(beyond) << 127, |all, word| all | word)))
    }

    pub(super) fn encode(self, encoder: &mut Encoder) {
        let count = (128 - self.0.leading_zeros()).div_ceil(32);
        encoder.u32(count);
        for index in 0..count {
            encoder.u32((self.0 >> (32 * index)) as u32);
        }
    }

    pub(super) fn contains(self, number: u32) -> bool {
        self.0 & (1 << number) != 0
    }

    pub(super) fn is_empty(self) -> bool {
        self.0 == 0
    }

    pub(super) fn insert(&mut self, number: u32) {
        self.0 |= 1 << number;
    }

    pub(super) fn intersection(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    pub(super) fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// The numbers in ascending order, which is their order on the wire.
    pub(super) fn iter(self) -> impl Iterator<Item = u32> {
        (0..128).filter(move |number| self.contains(*number))
    }
}

/// What a client may set.
pub(super) const SETTABLE: Bitmap = Bitmap::of(&[
    number::SIZE,
    number::MODE,
    number::OWNER,
    number::OWNER_GROUP,
    number::TIME_ACCESS_SET,
    number::TIME_MODIFY_SET,
]);

/// What may only be set, not read.
pub(super) const WRITE_ONLY: Bitmap = Bitmap::of(&[number::TIME_ACCESS_SET, number::TIME_MODIFY_SET]);
/// Attributes that depend on how much is stored.
pub(super) const SPACE: Bitmap = Bitmap::of(&[number::SPACE_AVAIL, number::SPACE_FREE]);

/// All attributes that EFS supports. Left out on purpose: archive, acl, files_avail, files_free, files_total, fs_locations,
/// hidden, mimetype, quota_*, system, time_backup.
const SUPPORTED: Bitmap = Bitmap::of(&[
    number::SUPPORTED_ATTRS,
    number::TYPE,
    number::FH_EXPIRE_TYPE,
    number::CHANGE,
    number::SIZE,
    number::LINK_SUPPORT,
    number::SYMLINK_SUPPORT,
    number::NAMED_ATTR,
    number::FSID,
    number::UNIQUE_HANDLES,
    number::LEASE_TIME,
    number::RDATTR_ERROR,
    number::ACLSUPPORT,
    number::CANSETTIME,
    number::CASE_INSENSITIVE,
    number::CASE_PRESERVING,
    number::CHOWN_RESTRICTED,
    number::FILEHANDLE,
    number::FILEID,
    number::HOMOGENEOUS,
    number::MAXFILESIZE,
    number::MAXLINK,
    number::MAXNAME,
    number::MAXREAD,
    number::MAXWRITE,
    number::MODE,
    number::NO_TRUNC,
    number::NUMLINKS,
    number::OWNER,
    number::OWNER_GROUP,
    number::RAWDEV,
    number::SPACE_AVAIL,
    number::SPACE_FREE,
    number::SPACE_TOTAL,
    number::SPACE_USED,
    number::TIME_ACCESS,
    number::TIME_ACCESS_SET,
    number::TIME_CREATE,
    number::TIME_DELTA,
    number::TIME_METADATA,
    number::TIME_MODIFY,
    number::TIME_MODIFY_SET,
    number::MOUNTED_ON_FILEID,
    number::SUPPATTR_EXCLCREAT,
]);

/// Attributes that NFSv4.0 does not have.
const SINCE_4_1: Bitmap = Bitmap::of(&[number::SUPPATTR_EXCLCREAT]);

/// What a minor version has of [`SUPPORTED`].
pub(super) fn supported(minor_version: u32) -> Bitmap {
    if minor_version == 0 { SUPPORTED.without(SINCE_4_1) } else { SUPPORTED }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_bitmap_is_read_back_as_written(bits: u128) {
            let mut encoder = Encoder::default();
            Bitmap(bits).encode(&mut encoder);
            prop_assert_eq!(Bitmap::decode(&mut Decoder::new(&encoder.buffer)), Ok(Bitmap(bits)));
            let collected: Vec<u32> = Bitmap(bits).iter().collect();
            prop_assert_eq!(Bitmap::of(&collected), Bitmap(bits));
        }
    }

    #[test]
    fn trailing_zero_words_are_not_sent_but_accepted() {
        let mut encoder = Encoder::default();
        Bitmap::of(&[number::MODE]).encode(&mut encoder);
        assert_eq!(encoder.buffer, [0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 2]);
        let long = [0, 0, 0, 3, 0, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0, 0];
        assert_eq!(Bitmap::decode(&mut Decoder::new(&long)), Ok(Bitmap::of(&[number::CHANGE])));
    }
}
