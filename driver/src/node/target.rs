//! Target directories: making them, removing them, and the one name under which the mount table knows them.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::time::timeout;

use super::errors::NodeError;

/// The directories above a target are on a local disk; this is for a disk in trouble.
const LOCAL_WITHIN: Duration = Duration::from_secs(10);

/// Does something with local files that may block, for a limited time.
async fn locally<T: Send + 'static>(
    path: &Path,
    what: &'static str,
    work: impl FnOnce(&Path) -> Result<T, NodeError> + Send + 'static,
) -> Result<T, NodeError> {
    let owned = path.to_owned();
    match timeout(LOCAL_WITHIN, tokio::task::spawn_blocking(move || work(&owned))).await {
        Ok(Ok(result)) => result,
        Ok(Err(error)) => Err(NodeError::Internal(error.to_string())),
        Err(_) => {
            let source = io::Error::from(io::ErrorKind::TimedOut);
            Err(NodeError::File { what, path: path.to_owned(), source })
        }
    }
}

/// The target with its parent's symbolic links resolved, as /proc/self/mountinfo shows it. The kubelet's directory may be a
/// link; the target itself must not be one. Parents that don't exist yet stay as they are.
pub async fn resolve(target: &Path) -> Result<PathBuf, NodeError> {
    locally(target, "cannot resolve", |target| {
        let mut missing = Vec::new();
        let mut there = target;
        while let (Some(parent), Some(name)) = (there.parent(), there.file_name()) {
            missing.push(name);
            match fs::canonicalize(parent) {
                Ok(resolved) => return Ok(missing.iter().rev().fold(resolved, |path, name| path.join(name))),
                Err(error) if error.kind() == io::ErrorKind::NotFound => there = parent,
                Err(source) => {
                    return Err(NodeError::File { what: "cannot resolve", path: parent.to_owned(), source });
                }
            }
        }
        Ok(target.to_owned())
    })
    .await
}

/// Makes the target directory and the directories above it; tells which were made, lowest last. Call it only when nothing
/// is mounted there: looking at a dead mount may hang.
pub async fn create(target: &Path) -> Result<Vec<PathBuf>, NodeError> {
    locally(target, "cannot create", |target| {
        match fs::symlink_metadata(target) {
            Ok(found) if found.is_dir() => return Ok(Vec::new()),
            Ok(found) => {
                let kind = if found.is_symlink() { "a symbolic link" } else { "a file" };
                let reason = format!("{kind} is in the way; a volume is mounted on a directory");
                return Err(NodeError::Target { target: target.to_owned(), reason });
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(NodeError::Target { target: target.to_owned(), reason: error.to_string() }),
        }
        let mut made = Vec::new();
        let missing: Vec<&Path> = target.ancestors().take_while(|path| !path.exists()).collect();
        for path in missing.into_iter().rev() {
            match fs::create_dir(path) {
                Ok(()) => made.push(path.to_owned()),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(source) => {
                    remove_made(&made);
                    return Err(NodeError::File { what: "cannot create", path: path.to_owned(), source });
                }
            }
        }
        Ok(made)
    })
    .await
}

/// Rolls back what [`create`] made; leaves what somebody else has put something into.
pub async fn roll_back(target: &Path, made: Vec<PathBuf>) {
    let result = locally(target, "cannot remove", move |_| {
        remove_made(&made);
        Ok(())
    });
    if let Err(error) = result.await {
        tracing::warn!(target = %target.display(), %error, "the target directory of a failed mount stays");
    }
}

fn remove_made(made: &[PathBuf]) {
    for path in made.iter().rev() {
        if let Err(error) = fs::remove_dir(path) {
            tracing::debug!(path = %path.display(), %error, "a directory made for a failed mount stays");
            return;
        }
    }
}

/// Removes the unmounted target directory. Never what is in it: if there is something, it isn't ours.
pub async fn remove(target: &Path) -> Result<(), NodeError> {
    locally(target, "cannot remove", |target| {
        let wrong = |reason: &str| NodeError::Target { target: target.to_owned(), reason: reason.to_owned() };
        match fs::remove_dir(target) {
            Ok(()) => Ok(()),
            // A name that is too long for any file system is nobody's, either.
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::InvalidFilename) => Ok(()),
            Err(error) => Err(match error.kind() {
                io::ErrorKind::DirectoryNotEmpty => wrong("is not mounted and not empty, so it was not removed"),
                io::ErrorKind::NotADirectory => wrong("is not a directory, so it was not removed"),
                _ => NodeError::File { what: "cannot remove", path: target.to_owned(), source: error },
            }),
        }
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_was_made_is_rolled_back_and_nothing_else() {
        let dir = tempfile::tempdir().expect("temp dir");
        let target = dir.path().join("a/b/mount");
        let made = create(&target).await.expect("create");
        assert_eq!(made.len(), 3);
        assert_eq!(create(&target).await.expect("again"), Vec::<PathBuf>::new());
        fs::write(dir.path().join("a/keep"), "").expect("write");
        roll_back(&target, made).await;
        assert!(!dir.path().join("a/b").exists() && dir.path().join("a/keep").exists());
    }

    #[tokio::test]
    async fn files_and_links_are_no_targets_and_stay() {
        let dir = tempfile::tempdir().expect("temp dir");
        let file = dir.path().join("file");
        fs::write(&file, "x").expect("write");
        let link = dir.path().join("link");
        std::os::unix::fs::symlink(dir.path(), &link).expect("symlink");
        let full = dir.path().join("full");
        fs::create_dir(&full).expect("mkdir");
        fs::write(full.join("x"), "").expect("write");
        for path in [&file, &link] {
            assert!(matches!(create(path).await, Err(NodeError::Target { .. })), "{path:?}");
        }
        for path in [&file, &link, &full] {
            assert!(matches!(remove(path).await, Err(NodeError::Target { .. })), "{path:?}");
            assert!(path.symlink_metadata().is_ok());
        }
        remove(&dir.path().join("nothing")).await.expect("a missing target is fine");
    }

    #[tokio::test]
    async fn links_above_the_target_are_resolved_but_not_the_target() {
        let dir = tempfile::tempdir().expect("temp dir");
        let real = fs::canonicalize(dir.path()).expect("canonicalize").join("real");
        fs::create_dir(&real).expect("mkdir");
        let link = dir.path().join("link");
        std::os::unix::fs::symlink(&real, &link).expect("symlink");
        assert_eq!(resolve(&link.join("x/y")).await.expect("resolve"), real.join("x/y"));
        assert!(resolve(&link).await.expect("resolve").ends_with("link"));
    }
}
