//! Disks that take nothing more, in words that say what to do.

use std::error::Error;
use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::path::Path;

use crate::causes::chain;

/// Why nothing can be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unwritable {
    /// No block or no inode is left.
    #[error("disk full, of data or of files (see `df` and `df -i`); make room on it")]
    Full,
    /// The same for this user or project.
    #[error("the disk quota is used up; raise it, or make room")]
    Quota,
    /// It was mounted so, or the kernel has found errors on it.
    #[error("the disk is read-only; make it writable, and look for its errors in the kernel's log")]
    ReadOnly,
}

impl Unwritable {
    /// Whether that is what an error of the system means.
    pub fn of(error: &io::Error) -> Option<Self> {
        match error.kind() {
            io::ErrorKind::StorageFull => Some(Self::Full),
            io::ErrorKind::QuotaExceeded => Some(Self::Quota),
            io::ErrorKind::ReadOnlyFilesystem => Some(Self::ReadOnly),
            _ => None,
        }
    }

    /// The same of an error or one of its causes.
    pub fn among_causes(error: &(dyn Error + 'static)) -> Option<Self> {
        chain(error).find_map(|error| error.downcast_ref::<io::Error>().and_then(Self::of))
    }

    /// Whether room would help.
    pub fn is_full(self) -> bool {
        matches!(self, Self::Full | Self::Quota)
    }
}

/// What keeps files from being made in `directory`, if it is the disk: one is made and removed.
pub fn look(directory: &Path) -> Option<Unwritable> {
    let path = directory.join(format!(".room.{}", std::process::id()));
    let made = OpenOptions::new().write(true).create(true).truncate(true).open(&path);
    // Names find room for longer than data do.
    let written = made.and_then(|mut file| file.write_all(&[b' '; 4096]));
    // The next one may have the same name.
    let _gone = fs::remove_file(&path);
    written.err().and_then(|error| Unwritable::of(&error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_is_told_by_the_systems_errors() {
        let of = |errno: rustix::io::Errno| Unwritable::of(&errno.into());
        use rustix::io::Errno;
        assert_eq!(of(Errno::NOSPC), Some(Unwritable::Full));
        assert_eq!(of(Errno::DQUOT), Some(Unwritable::Quota));
        assert_eq!(of(Errno::ROFS), Some(Unwritable::ReadOnly));
        assert_eq!(of(Errno::ACCESS), None);
        let dir = tempfile::tempdir().expect("temp dir");
        assert_eq!(look(dir.path()), None);
        assert_eq!(fs::read_dir(dir.path()).expect("list").count(), 0);
        assert_eq!(look(&dir.path().join("none")), None);
    }
}
