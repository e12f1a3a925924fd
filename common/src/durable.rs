//! Files that are either the old version or the new one, whatever happens in between.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// Replaces `path` with what `fill` writes: a temporary file in the same directory, fsync, rename, fsync of the
/// directory. `mode` is the new file's permission bits. On an error the old file is untouched and nothing is left over.
pub fn write(path: &Path, mode: u32, fill: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> io::Result<()> {
    write_on(&Kernel, path, mode, fill)
}

/// The calls whose order makes a write durable. Nothing but a loss of power shows that one is missing, so tests record them.
trait Calls {
    fn sync(&self, file: &File) -> io::Result<()>;
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
}

struct Kernel;

impl Calls for Kernel {
    fn sync(&self, file: &File) -> io::Result<()> {
        file.sync_all()
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }
}

fn write_on(
    calls: &impl Calls,
    path: &Path,
    mode: u32,
    fill: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> io::Result<()> {
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a file path"));
    };
    let mut temporary_name = OsString::from(".");
    temporary_name.push(name);
    temporary_name.push(format!(".{}", uuid::Uuid::new_v4().simple()));
    let temporary = parent.join(temporary_name);
    let result = (|| {
        let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(&temporary)?;
        fill(&mut file)?;
        calls.sync(&file)?;
        calls.rename(&temporary, path)?;
        calls.sync(&File::open(parent)?)
    })();
    if result.is_err() {
        // The rename may or may not have happened; either way the temporary name must not stay.
        let _gone = fs::remove_file(&temporary);
    }
    result
}

/// Removes `path`; a file that is already gone is fine.
pub fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;

    #[test]
    fn a_failed_write_keeps_the_old_content_and_leaves_no_temporary_file() {
        let dir = tempfile::tempdir().expect("temp dir");
        let path = dir.path().join("state.json");
        write(&path, 0o600, |file| file.write_all(b"old")).expect("first");
        let error = write(&path, 0o600, |file| {
            file.write_all(b"half of the ne")?;
            Err(io::Error::from(io::ErrorKind::StorageFull))
        })
        .expect_err("must fail");
        assert_eq!(error.kind(), io::ErrorKind::StorageFull);
        assert_eq!(fs::read(&path).expect("read"), b"old");
        assert_eq!(fs::read_dir(dir.path()).expect("list").count(), 1);
    }

    /// Does what is asked and notes it, up to the call of this number.
    struct Recorded(RefCell<Vec<String>>, usize);

    impl Recorded {
        fn note(&self, call: String) -> io::Result<()> {
            self.0.borrow_mut().push(call);
            if self.0.borrow().len() > self.1 { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
        }
    }

    impl Calls for Recorded {
        fn sync(&self, file: &File) -> io::Result<()> {
            let found = file.metadata()?;
            let what = if found.is_dir() { "the directory".to_owned() } else { format!("{} bytes", found.len()) };
            self.note(format!("sync {what}"))?;
            Kernel.sync(file)
        }

        fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
            self.note("rename".to_owned())?;
            Kernel.rename(from, to)
        }
    }

    #[test]
    fn content_is_on_the_disk_before_the_name_and_the_name_before_the_end() {
        let order = ["sync 3 bytes", "rename", "sync the directory"];
        for failing in 0..=order.len() {
            let dir = tempfile::tempdir().expect("temp dir");
            let path = dir.path().join("state.json");
            fs::write(&path, "old").expect("write");
            let calls = Recorded(RefCell::default(), failing);
            let result = write_on(&calls, &path, 0o600, |file| file.write_all(b"new"));
            assert_eq!(calls.0.into_inner(), order[..order.len().min(failing + 1)]);
            assert_eq!(result.is_ok(), failing == order.len(), "an error of call {failing} is told");
            assert_eq!(fs::read(&path).expect("read"), if failing < 2 { b"old" } else { b"new" });
            assert_eq!(fs::read_dir(dir.path()).expect("list").count(), 1);
        }
    }
}
