//! Capacity: EFS has none to give out, so the driver checks the request and remembers the number in a tag.

use std::fmt;

use csi_proto::csi;

use super::ControllerError;

/// The tag that remembers a volume's capacity in bytes.
pub const CAPACITY_TAG: &str = "efs.csi.aws.com/capacity";

/// The capacity of a file system without limits, in bytes (what EFS itself reports: 8 EiB less one).
pub const UNLIMITED: i64 = i64::MAX;

/// A checked capacity range in bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CapacityRange {
    /// At least this much; 0 when nothing is asked for.
    pub required: i64,
    /// At most this much, if there is a limit.
    pub limit: Option<i64>,
}

impl CapacityRange {
    /// Checks a request's range.
    ///
    /// # Errors
    /// Negative numbers are invalid; a limit below the requirement is out of range.
    pub fn read(range: Option<&csi::CapacityRange>) -> Result<Self, ControllerError> {
        let Some(range) = range else { return Ok(Self::default()) };
        let (required, limit) = (range.required_bytes, range.limit_bytes);
        if required < 0 || limit < 0 {
            return Err(ControllerError::Invalid(format!(
                "capacity_range: required_bytes={required} and limit_bytes={limit} must not be negative"
            )));
        }
        if limit > 0 && limit < required {
            return Err(ControllerError::OutOfRange(format!(
                "capacity_range: limit_bytes={limit} is below required_bytes={required}"
            )));
        }
        Ok(Self { required, limit: (limit > 0).then_some(limit) })
    }

    /// Whether a volume of this capacity is within the range.
    pub fn allows(&self, capacity: i64) -> bool {
        capacity >= self.required && self.limit.is_none_or(|limit| capacity <= limit)
    }
}

impl fmt::Display for CapacityRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.limit {
            Some(limit) if limit == self.required => write!(f, "exactly {limit}"),
            Some(limit) => write!(f, "{} to {limit}", self.required),
            None => write!(f, "at least {}", self.required),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(required_bytes: i64, limit_bytes: i64) -> Result<CapacityRange, ControllerError> {
        CapacityRange::read(Some(&csi::CapacityRange { required_bytes, limit_bytes }))
    }

    #[test]
    fn ranges_are_checked() {
        assert!(matches!(read(-1, 0), Err(ControllerError::Invalid(_))));
        assert!(matches!(read(0, -1), Err(ControllerError::Invalid(_))));
        assert!(matches!(read(2, 1), Err(ControllerError::OutOfRange(_))));
        assert_eq!(CapacityRange::read(None).unwrap(), read(0, 0).unwrap());
        let range = read(5, 7).unwrap();
        assert!(!range.allows(4) && range.allows(5) && range.allows(7) && !range.allows(8));
        assert!(read(5, 0).unwrap().allows(i64::MAX));
    }
}
