//! Attributes on their way from the client, and whether it may set them.

use super::super::credentials::{User, WRITE};
use super::super::status::Status;
use super::super::xdr::{Decoder, Malformed};
use super::{Bitmap, SETTABLE, number, supported};
use crate::store::{Attributes, Changes, Kind, Time};

/// Longest owner string that is looked at; numbers have at most ten digits.
const MAX_OWNER: usize = 1024;
const MAX_LIST: usize = 64 * 1024;

/// A time to be set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum SetTime {
    /// The server's present time.
    Server,
    /// Chosen by the client.
    Client(Time),
}

impl SetTime {
    fn resolve(self, now: Time) -> Time {
        match self {
            Self::Server => now,
            Self::Client(time) => time,
        }
    }

    fn decode(decoder: &mut Decoder<'_>) -> Result<Self, Status> {
        match decoder.u32()? {
            0 => Ok(Self::Server),
            1 => {
                let time = Time { seconds: decoder.i64()?, nanoseconds: decoder.u32()? };
                if time.nanoseconds >= 1_000_000_000 { Err(Status::Inval) } else { Ok(Self::Client(time)) }
            }
            _ => Err(Status::BadXdr),
        }
    }
}

/// Attributes that a client wants to set.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in super::super) struct SetAttributes {
    pub(in super::super) size: Option<u64>,
    pub(in super::super) mode: Option<u32>,
    pub(in super::super) uid: Option<u32>,
    pub(in super::super) gid: Option<u32>,
    pub(in super::super) accessed: Option<SetTime>,
    pub(in super::super) modified: Option<SetTime>,
    /// Which of them are given, to be repeated to the client.
    pub(in super::super) given: Bitmap,
}

impl SetAttributes {
    /// Reads an `fattr4`. The whole of it is taken from the decoder before anything in it is judged.
    pub(in super::super) fn decode(decoder: &mut Decoder<'_>, minor_version: u32) -> Result<Self, Status> {
        let given = Bitmap::decode(decoder)?;
        let list = decoder.opaque(MAX_LIST)?;
        if !given.without(supported(minor_version)).is_empty() {
            return Err(Status::AttrNotSupp);
        }
        if !given.without(SETTABLE).is_empty() {
            return Err(Status::Inval);
        }
        let mut list = Decoder::new(list);
        let mut set = Self { given, ..Self::default() };
        for attribute in given.iter() {
            match attribute {
                number::SIZE => set.size = Some(list.u64()?),
                number::MODE => set.mode = Some(mode(list.u32()?)?),
                number::OWNER => set.uid = Some(owner(list.opaque(MAX_OWNER)?)?),
                number::OWNER_GROUP => set.gid = Some(owner(list.opaque(MAX_OWNER)?)?),
                number::TIME_ACCESS_SET => set.accessed = Some(SetTime::decode(&mut list)?),
                _ => set.modified = Some(SetTime::decode(&mut list)?),
            }
        }
        if list.rest().is_empty() { Ok(set) } else { Err(Malformed.into()) }
    }

    /// What the store has to change, if the user may change all of it. `may_write` says that an open file or a permission
    /// lets the user write, so that the size may change.
    pub(in super::super) fn changes(
        &self,
        user: &User,
        file: &Attributes,
        may_write: bool,
        now: Time,
    ) -> Result<Changes, Status> {
        let writable = may_write || user.permissions(file) & WRITE != 0;
        if self.size.is_some() {
            match file.kind {
                Kind::Regular if writable => {}
                Kind::Regular => return Err(Status::Access),
                Kind::Directory => return Err(Status::IsDir),
                _ => return Err(Status::Inval),
            }
        }
        if self.mode.is_some() && !user.owns(file) {
            return Err(Status::Perm);
        }
        self.check_owner(user, file)?;
        for time in [self.accessed, self.modified].into_iter().flatten() {
            match time {
                _ if user.owns(file) => {}
                SetTime::Server if writable => {}
                SetTime::Server => return Err(Status::Access),
                SetTime::Client(_) => return Err(Status::Perm),
            }
        }
        Ok(Changes {
            mode: self.new_mode(user, file),
            uid: self.uid,
            gid: self.gid,
            size: self.size,
            accessed: self.accessed.map(|time| time.resolve(now)),
            modified: self.modified.map(|time| time.resolve(now)),
        })
    }

    /// Only root gives files away; an owner may give a file to one of its own groups.
    fn check_owner(&self, user: &User, file: &Attributes) -> Result<(), Status> {
        if user.is_root() || (self.uid.is_none() && self.gid.is_none()) {
            return Ok(());
        }
        let same_owner = self.uid.is_none_or(|uid| uid == file.uid);
        let own_group = self.gid.is_none_or(|gid| gid == file.gid || user.is_in_group(gid));
        if user.owns(file) && same_owner && own_group { Ok(()) } else { Err(Status::Perm) }
    }

    /// The mode that results, with set-id bits cleared where POSIX wants that.
    fn new_mode(&self, user: &User, file: &Attributes) -> Option<u32> {
        let mut mode = self.mode.unwrap_or(file.mode);
        let gid = self.gid.unwrap_or(file.gid);
        if self.mode.is_some() && !user.is_root() && file.kind != Kind::Directory && !user.is_in_group(gid) {
            mode &= !0o2000;
        }
        let owner_changes = self.uid.is_some() || self.gid.is_some();
        let cleared = owner_changes || (self.size.is_some() && !user.is_root());
        if cleared && self.mode.is_none() && file.kind == Kind::Regular {
            mode = without_set_id(mode);
        }
        (self.mode.is_some() || mode != file.mode).then_some(mode)
    }
}

/// A mode as it is after somebody other than root wrote to the file: no set-user-id, and no set-group-id where that means
/// anything (without group execute permission the bit marks mandatory locking).
pub(in super::super) fn without_set_id(mode: u32) -> u32 {
    mode & !if mode & 0o010 != 0 { 0o6000 } else { 0o4000 }
}

fn mode(mode: u32) -> Result<u32, Status> {
    if mode > 0o7777 { Err(Status::Inval) } else { Ok(mode) }
}

/// Owners are decimal numbers; EFS has no names.
fn owner(text: &[u8]) -> Result<u32, Status> {
    if text.is_empty() {
        return Err(Status::Inval);
    }
    let digits = text.iter().all(u8::is_ascii_digit);
    let number = std::str::from_utf8(text).ok().filter(|_| digits).and_then(|text| text.parse().ok());
    number.ok_or(Status::BadOwner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nfs::xdr::Encoder;

    fn decode(numbers: &[u32], list: &[u8]) -> Result<SetAttributes, Status> {
        let mut encoder = Encoder::default();
        Bitmap::of(numbers).encode(&mut encoder);
        encoder.opaque(list);
        SetAttributes::decode(&mut Decoder::new(&encoder.buffer), 1)
    }

    #[test]
    fn owners_are_numbers_only() {
        assert_eq!(owner(b"0"), Ok(0));
        assert_eq!(owner(b"4294967295"), Ok(u32::MAX));
        assert_eq!(owner(b""), Err(Status::Inval));
        for text in [&b"4294967296"[..], b"root", b"-1", b"+1", b"1@example.org", b"\xff"] {
            assert_eq!(owner(text), Err(Status::BadOwner), "{text:?}");
        }
    }

    #[test]
    fn what_can_not_be_set_is_told_apart_from_what_is_unknown() {
        assert_eq!(decode(&[number::FILEID], &[0; 8]), Err(Status::Inval));
        for unsupported in [12, 14, 21, 22, 23, 24, 25, 32, 38, 39, 40, 46, 49, 74, 127] {
            assert_eq!(decode(&[unsupported], &[0; 8]), Err(Status::AttrNotSupp), "{unsupported}");
        }
    }

    #[test]
    fn malformed_values_are_refused() {
        assert_eq!(decode(&[number::MODE], &[0, 0, 0x10, 0]), Err(Status::Inval));
        assert_eq!(decode(&[number::MODE], &[0, 0]), Err(Status::BadXdr));
        assert_eq!(decode(&[number::MODE], &[0; 8]), Err(Status::BadXdr));
        assert_eq!(decode(&[number::TIME_ACCESS_SET], &[0, 0, 0, 2]), Err(Status::BadXdr));
        let mut late = Encoder::default();
        late.u32(1).i64(5).u32(1_000_000_000);
        assert_eq!(decode(&[number::TIME_MODIFY_SET], &late.buffer), Err(Status::Inval));
    }
}
