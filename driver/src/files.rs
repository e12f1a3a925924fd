//! Files that the environment or a flag names: read on a thread that may hang, and only if they are files.

use std::io;
use std::path::{Path, PathBuf};

use efs_common::regular_file;

use crate::blocking::{Blocking, Dependency, Hanging};

/// A file that the environment, a profile or a flag names can't be read.
#[derive(Debug, thiserror::Error)]
pub struct FileError {
    named_by: String,
    path: PathBuf,
    /// The system's reason, or [`regular_file::Unusable`], or [`Hanging`].
    #[source]
    pub source: io::Error,
}

impl std::fmt::Display for FileError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // What hangs is told with its name.
        match self.hanging() {
            Some(hanging) => hanging.fmt(f),
            None => write!(f, "{}={}: {}", self.named_by, self.path.display(), self.source),
        }
    }
}

impl FileError {
    /// The call that has not come back, if that is the reason.
    pub fn hanging(&self) -> Option<&Hanging> {
        self.source.get_ref()?.downcast_ref()
    }

    /// Whether reading it again later may help, and reading it elsewhere would hurt: it hangs, or is no file.
    pub fn is_to_be_left_alone(&self) -> bool {
        self.hanging().is_some() || regular_file::Unusable::of(&self.source).is_some()
    }
}

/// What is in the file `path`, which `named_by` names.
///
/// # Errors
/// When it can't be read, doesn't answer within three seconds, or is no regular file.
pub async fn read(blocking: &Blocking, named_by: &str, path: &Path) -> Result<Vec<u8>, FileError> {
    let on = Dependency::File { named_by: named_by.into(), path: path.into() };
    let owned = path.to_owned();
    let read = blocking.run(on, "reading it", move || regular_file::read(&owned)).await;
    read.map_err(|source| FileError { named_by: named_by.to_owned(), path: path.to_owned(), source })
}

/// Makes sure that others can read the file without being held up. Whatever else is wrong with it they will say.
///
/// # Errors
/// When it doesn't answer, or is no regular file.
pub async fn look_at(blocking: &Blocking, named_by: &str, path: &Path) -> Result<(), FileError> {
    match read(blocking, named_by, path).await {
        Err(error) if error.is_to_be_left_alone() => Err(error),
        _ => Ok(()),
    }
}
