//! Names of open files and locks as clients hold them (RFC 8881 §8.2).

use super::super::status::Status;
use super::super::xdr::{Decoder, Encoder, Malformed};

/// A state id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) struct Stateid {
    pub(in super::super) seqid: u32,
    pub(super) other: [u8; 12],
}

impl Stateid {
    /// "No particular state": plain permission checks decide.
    pub(in super::super) const ANONYMOUS: Self = Self { seqid: 0, other: [0; 12] };
    /// "Read whatever the locks are"; there are no mandatory locks, so the same as anonymous.
    const BYPASS: Self = Self { seqid: u32::MAX, other: [0xff; 12] };
    /// "The one that the operation before gave" (since 4.1).
    pub(in super::super) const CURRENT: Self = Self { seqid: 1, other: [0; 12] };
    /// Never valid; the answer to CLOSE.
    pub(in super::super) const INVALID: Self = Self { seqid: u32::MAX, other: [0; 12] };

    pub(super) fn new(boot: u32, id: u64, seqid: u32) -> Self {
        let mut other = [0; 12];
        other[..4].copy_from_slice(&boot.to_be_bytes());
        other[4..].copy_from_slice(&id.to_be_bytes());
        Self { seqid, other }
    }

    pub(in super::super) fn is_special(self) -> bool {
        self == Self::ANONYMOUS || self == Self::BYPASS
    }

    /// The same state in whatever version it is.
    pub(in super::super) fn in_any_version(self) -> Self {
        Self { seqid: 0, ..self }
    }

    /// The same state id for those to whom 0 is a version like others: the one before the first, and versions go round.
    pub(in super::super) fn in_its_version(self) -> Self {
        let is_zero = self.seqid == 0 && !self.is_special();
        if is_zero { Self { seqid: u32::MAX, ..self } } else { self }
    }

    /// The number behind it, if it was given out by the server with this boot number.
    pub(super) fn id(self, boot: u32) -> Result<u64, Status> {
        let (its_boot, id) = self.other.split_at(4);
        if self.other == [0; 12] || self.other == [0xff; 12] {
            return Err(Status::BadStateId);
        }
        if its_boot != boot.to_be_bytes() {
            return Err(Status::StaleStateId);
        }
        id.try_into().map(u64::from_be_bytes).map_err(|_| Status::BadStateId)
    }

    /// Compares with the present sequence number of the state; 0 means the newest.
    pub(super) fn check_seqid(self, present: u32) -> Result<(), Status> {
        match self.seqid {
            0 => Ok(()),
            seqid if seqid == present => Ok(()),
            seqid if present.wrapping_sub(seqid) < u32::MAX / 2 => Err(Status::OldStateId),
            _ => Err(Status::BadStateId),
        }
    }

    pub(in super::super) fn decode(decoder: &mut Decoder<'_>) -> Result<Self, Malformed> {
        Ok(Self { seqid: decoder.u32()?, other: decoder.array()? })
    }

    pub(in super::super) fn encode(self, encoder: &mut Encoder) {
        encoder.u32(self.seqid).fixed(&self.other);
    }
}

/// The sequence number after this one; 0 is left out because it means "newest".
pub(super) fn following(seqid: u32) -> u32 {
    seqid.checked_add(1).unwrap_or(1)
}
