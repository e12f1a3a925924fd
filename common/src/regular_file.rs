//! Files that somebody else names, by a variable or a flag: read only if they are regular ones, and not without end.
//!
//! To open a named pipe waits for whoever writes, a terminal for its user, and a device may never end.

use std::fs::{FileType, Metadata, OpenOptions};
use std::io::{self, Read as _};
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;

use rustix::fs::OFlags;

/// Bytes of a file at most. A system's bundle of certificate authorities has a quarter of a MiB.
const LARGEST: u64 = 4 * 1024 * 1024;

/// A file can't be read, whoever asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unusable {
    /// It is something else.
    #[error("it is {0}, and must be a regular file")]
    Kind(&'static str),
    /// It has more bytes than make sense.
    #[error("it has more than {} MiB", LARGEST / 1024 / 1024)]
    Large,
}

impl Unusable {
    /// Whether that is what an error of [`read`] means.
    pub fn of(error: &io::Error) -> Option<Self> {
        error.get_ref().and_then(|inner| inner.downcast_ref()).copied()
    }
}

impl From<Unusable> for io::Error {
    fn from(unusable: Unusable) -> Self {
        Self::new(io::ErrorKind::InvalidInput, unusable)
    }
}

/// What is in a regular file. `/dev/null` is as good as an empty one: people name it where there is to be none.
///
/// # Errors
/// What the system says, or [`Unusable`].
pub fn read(path: &Path) -> io::Result<Vec<u8>> {
    // Before it is opened, which alone may have an effect on a device.
    let found = path.metadata()?;
    if is_null(&found) {
        return Ok(Vec::new());
    }
    check(&found)?;
    let nonblocking = OFlags::NONBLOCK | OFlags::NOCTTY;
    let file = OpenOptions::new().read(true).custom_flags(nonblocking.bits().cast_signed()).open(path)?;
    // It may be another one by now.
    check(&file.metadata()?)?;
    let mut text = Vec::new();
    file.take(LARGEST + 1).read_to_end(&mut text)?;
    if text.len() as u64 > LARGEST {
        return Err(Unusable::Large.into());
    }
    Ok(text)
}

fn is_null(file: &Metadata) -> bool {
    file.file_type().is_char_device() && file.rdev() == rustix::fs::makedev(1, 3)
}

fn check(file: &Metadata) -> Result<(), Unusable> {
    if !file.is_file() {
        return Err(Unusable::Kind(kind(file.file_type())));
    }
    // Files of /proc and /sys have none until they are read.
    if file.len() > LARGEST {
        return Err(Unusable::Large);
    }
    Ok(())
}

fn kind(found: FileType) -> &'static str {
    match () {
        () if found.is_dir() => "a directory",
        () if found.is_fifo() => "a named pipe (FIFO)",
        () if found.is_socket() => "a socket",
        () if found.is_char_device() => "a character device",
        () if found.is_block_device() => "a block device",
        () => "of an unknown kind",
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use super::*;

    #[test]
    fn what_is_no_regular_file_is_named_and_never_waited_for() {
        let dir = tempfile::tempdir().expect("temp dir");
        let path = |name: &str| dir.path().join(name);
        rustix::fs::mknodat(
            rustix::fs::CWD,
            path("fifo"),
            rustix::fs::FileType::Fifo,
            rustix::fs::Mode::from_raw_mode(0o600),
            0,
        )
        .expect("a pipe");
        let _socket = UnixListener::bind(path("socket")).expect("bind");
        std::os::unix::fs::symlink(path("fifo"), path("link")).expect("link");
        for (path, want) in [
            (path("fifo"), "a named pipe (FIFO)"),
            (path("link"), "a named pipe (FIFO)"),
            (path("socket"), "a socket"),
            (dir.path().to_owned(), "a directory"),
            ("/dev/zero".into(), "a character device"),
        ] {
            let error = read(&path).expect_err("refused");
            assert_eq!(Unusable::of(&error), Some(Unusable::Kind(want)), "{path:?}");
            assert!(error.to_string().contains(want), "{error}");
        }
        assert_eq!(read(Path::new("/dev/null")).expect("as good as empty"), b"");
        assert!(!read(Path::new("/proc/self/status")).expect("a file without a size").is_empty());
        assert_eq!(read(&path("none")).expect_err("missing").kind(), io::ErrorKind::NotFound);
        let large = std::fs::File::create(path("large")).expect("create");
        large.set_len(LARGEST + 1).expect("a hole");
        assert_eq!(Unusable::of(&read(&path("large")).expect_err("refused")), Some(Unusable::Large));
        large.set_len(LARGEST).expect("a hole");
        assert_eq!(read(&path("large")).expect("just small enough").len() as u64, LARGEST);
    }
}
