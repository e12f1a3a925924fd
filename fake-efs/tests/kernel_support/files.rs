//! File calls that answer an error number, so that tests can say which one they expect.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{self, AtFlags, CWD, Timespec, Timestamps};
pub(crate) use rustix::fs::{Mode, OFlags, Stat};
pub(crate) use rustix::io::Errno;
use rustix::process::{Gid, Uid};

/// What a file call answers.
pub(crate) type Answer<T> = Result<T, Errno>;

fn errno(error: &std::io::Error) -> Errno {
    Errno::from_io_error(error).unwrap_or(Errno::IO)
}

/// Opens with flags; a new file gets `mode`.
pub(crate) fn open(path: &Path, flags: OFlags, mode: u32) -> Answer<File> {
    fs::openat(CWD, path, flags | OFlags::CLOEXEC, Mode::from_raw_mode(mode)).map(File::from)
}

/// Opens for reading.
pub(crate) fn open_read(path: &Path) -> Answer<File> {
    open(path, OFlags::RDONLY, 0)
}

/// Opens for writing.
pub(crate) fn open_write(path: &Path) -> Answer<File> {
    open(path, OFlags::WRONLY, 0)
}

/// Opens for both.
pub(crate) fn open_both(path: &Path) -> Answer<File> {
    open(path, OFlags::RDWR, 0)
}

/// Opens for both; the file must be new.
pub(crate) fn create_new(path: &Path, mode: u32) -> Answer<File> {
    open(path, OFlags::RDWR | OFlags::CREATE | OFlags::EXCL, mode)
}

/// Makes or replaces a file with this content, mode 0644.
pub(crate) fn put(path: &Path, content: impl AsRef<[u8]>) -> Answer<()> {
    let mut file = open(path, OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC, 0o644)?;
    file.write_all(content.as_ref()).map_err(|error| errno(&error))
}

/// A file's content.
pub(crate) fn get(path: &Path) -> Answer<Vec<u8>> {
    let mut content = Vec::new();
    open_read(path)?.read_to_end(&mut content).map_err(|error| errno(&error))?;
    Ok(content)
}

/// A file's content as text.
pub(crate) fn text(path: &Path) -> Answer<String> {
    get(path).map(|content| String::from_utf8_lossy(&content).into_owned())
}

/// Writes all of `content` at an offset.
pub(crate) fn write_at(file: &File, content: impl AsRef<[u8]>, offset: u64) -> Answer<()> {
    file.write_all_at(content.as_ref(), offset).map_err(|error| errno(&error))
}

/// Writes at the file's position.
pub(crate) fn write(mut file: &File, content: impl AsRef<[u8]>) -> Answer<()> {
    file.write_all(content.as_ref()).map_err(|error| errno(&error))
}

/// Up to `length` bytes from an offset; fewer only at the end of the file.
pub(crate) fn read_at(file: &File, length: usize, offset: u64) -> Answer<Vec<u8>> {
    let mut content = vec![0; length];
    let mut filled = 0;
    while filled < length {
        let at = offset + u64::try_from(filled).expect("a length in memory");
        match file.read_at(&mut content[filled..], at).map_err(|error| errno(&error))? {
            0 => break,
            read => filled += read,
        }
    }
    content.truncate(filled);
    Ok(content)
}

/// Makes a directory.
pub(crate) fn mkdir(path: &Path, mode: u32) -> Answer<()> {
    fs::mkdirat(CWD, path, Mode::from_raw_mode(mode))
}

/// Removes a directory.
pub(crate) fn rmdir(path: &Path) -> Answer<()> {
    fs::unlinkat(CWD, path, AtFlags::REMOVEDIR)
}

/// Removes a name.
pub(crate) fn unlink(path: &Path) -> Answer<()> {
    fs::unlinkat(CWD, path, AtFlags::empty())
}

/// Renames.
pub(crate) fn rename(from: &Path, to: &Path) -> Answer<()> {
    fs::renameat(CWD, from, CWD, to)
}

/// Gives a file another name.
pub(crate) fn link(existing: &Path, name: &Path) -> Answer<()> {
    fs::linkat(CWD, existing, CWD, name, AtFlags::empty())
}

/// Makes a symbolic link.
pub(crate) fn symlink(target: impl AsRef<Path>, name: &Path) -> Answer<()> {
    fs::symlinkat(target.as_ref(), CWD, name)
}

/// Where a symbolic link points.
pub(crate) fn readlink(path: &Path) -> Answer<PathBuf> {
    let target = fs::readlinkat(CWD, path, Vec::new())?;
    Ok(PathBuf::from(String::from_utf8_lossy(target.as_bytes()).into_owned()))
}

/// Makes a FIFO.
pub(crate) fn mkfifo(path: &Path, mode: u32) -> Answer<()> {
    fs::mknodat(CWD, path, fs::FileType::Fifo, Mode::from_raw_mode(mode), 0)
}

/// Makes a device, socket or other special file.
pub(crate) fn mknod(path: &Path, kind: fs::FileType) -> Answer<()> {
    fs::mknodat(CWD, path, kind, Mode::from_raw_mode(0o644), fs::makedev(1, 3))
}

/// Attributes, through a symbolic link.
pub(crate) fn stat(path: &Path) -> Answer<Stat> {
    fs::statat(CWD, path, AtFlags::empty())
}

/// Attributes of the name itself.
pub(crate) fn lstat(path: &Path) -> Answer<Stat> {
    fs::statat(CWD, path, AtFlags::SYMLINK_NOFOLLOW)
}

/// Attributes of an open file.
pub(crate) fn fstat(file: &File) -> Answer<Stat> {
    fs::fstat(file)
}

/// Permission bits with set-id and sticky bits.
pub(crate) fn mode(path: &Path) -> Answer<u32> {
    lstat(path).map(|stat| stat.st_mode & 0o7777)
}

/// Size in bytes.
pub(crate) fn size(path: &Path) -> Answer<i64> {
    stat(path).map(|stat| stat.st_size)
}

/// Sets the permission bits.
pub(crate) fn chmod(path: &Path, mode: u32) -> Answer<()> {
    fs::chmodat(CWD, path, Mode::from_raw_mode(mode), AtFlags::empty())
}

/// Changes owner and group of the name itself; `None` leaves one alone.
pub(crate) fn chown(path: &Path, uid: Option<u32>, gid: Option<u32>) -> Answer<()> {
    fs::chownat(CWD, path, uid.map(Uid::from_raw), gid.map(Gid::from_raw), AtFlags::SYMLINK_NOFOLLOW)
}

/// Sets the size by name.
pub(crate) fn truncate(path: &Path, size: u64) -> Answer<()> {
    fs::ftruncate(open_write(path)?, size)
}

/// Sets the size of an open file.
pub(crate) fn ftruncate(file: &File, size: u64) -> Answer<()> {
    fs::ftruncate(file, size)
}

/// Seconds and nanoseconds of a time to set.
pub(crate) fn at(seconds: i64, nanoseconds: i64) -> Timespec {
    Timespec { tv_sec: seconds, tv_nsec: nanoseconds }
}

/// Sets access and modification time of the name itself.
pub(crate) fn set_times(path: &Path, access: Timespec, modification: Timespec) -> Answer<()> {
    let times = Timestamps { last_access: access, last_modification: modification };
    fs::utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW)
}

/// What `set_times` takes for "now".
pub(crate) const NOW: Timespec = Timespec { tv_sec: 0, tv_nsec: fs::UTIME_NOW };
/// What `set_times` takes for "leave alone".
pub(crate) const OMIT: Timespec = Timespec { tv_sec: 0, tv_nsec: fs::UTIME_OMIT };

/// Modification time in nanoseconds.
pub(crate) fn mtime(stat: &Stat) -> i128 {
    i128::from(stat.st_mtime) * 1_000_000_000 + i128::from(stat.st_mtime_nsec)
}

/// Change time in nanoseconds.
pub(crate) fn ctime(stat: &Stat) -> i128 {
    i128::from(stat.st_ctime) * 1_000_000_000 + i128::from(stat.st_ctime_nsec)
}

/// Access time in nanoseconds.
pub(crate) fn atime(stat: &Stat) -> i128 {
    i128::from(stat.st_atime) * 1_000_000_000 + i128::from(stat.st_atime_nsec)
}

/// The names in a directory, sorted, without `.` and `..`.
pub(crate) fn names(path: &Path) -> Answer<Vec<String>> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(path).map_err(|error| errno(&error))? {
        names.push(entry.map_err(|error| errno(&error))?.file_name().to_string_lossy().into_owned());
    }
    names.sort();
    Ok(names)
}

/// Whether the caller may do what `wanted` says, as access(2) tells for the effective ids.
pub(crate) fn access(path: &Path, wanted: fs::Access) -> Answer<()> {
    fs::accessat(CWD, path, wanted, AtFlags::EACCESS)
}
