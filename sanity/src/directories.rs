//! The target and staging directories of one check.

use std::{
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use tokio::process::Command;

use crate::{
    config::Config,
    expect::{Outcome, Stop, fail},
};

/// The directories as the driver sees them.
#[derive(Debug, Clone, Default)]
pub(crate) struct Directories {
    target: String,
    staging: String,
}

/// What is found at a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Found {
    File,
    Directory,
    Nothing,
    Other,
}

impl Directories {
    /// Makes both directories, or has them made by the configured programs.
    pub(crate) async fn make(config: &Config) -> Outcome<Self> {
        let commands = &config.path_commands;
        let target =
            make(config.mount_dir.as_deref(), commands.create_mount.as_deref(), commands.create_timeout).await?;
        let staging =
            make(config.staging_dir.as_deref(), commands.create_staging.as_deref(), commands.create_timeout).await;
        match staging {
            Ok(staging) => Ok(Self { target, staging }),
            Err(stop) => {
                remove(&target, commands.remove_mount.as_deref(), commands.remove_timeout).await;
                Err(stop)
            }
        }
    }

    /// Removes both; failures are ignored as in the Go suite, the next check reports what is left.
    pub(crate) async fn remove(&self, config: &Config) {
        let commands = &config.path_commands;
        remove(&self.target, commands.remove_mount.as_deref(), commands.remove_timeout).await;
        remove(&self.staging, commands.remove_staging.as_deref(), commands.remove_timeout).await;
    }

    /// A path below the target's parent.
    pub(crate) fn below_target(&self, name: &str) -> String {
        Path::new(&self.target).join(name).to_string_lossy().into_owned()
    }

    /// The staging target path.
    pub(crate) fn staging(&self) -> String {
        self.staging.clone()
    }
}

async fn make(path: Option<&Path>, command: Option<&Path>, limit: Duration) -> Outcome<String> {
    let Some(path) = path else { return Ok(String::new()) };
    if let Some(command) = command {
        let output = run(command, &path.to_string_lossy(), limit).await.map_err(|reason| {
            Stop::Failed(format!("{} could not make {}: {reason}", command.display(), path.display()))
        })?;
        return Ok(output.trim().to_owned());
    }
    match std::fs::create_dir(path) {
        Ok(()) => Ok(path.to_string_lossy().into_owned()),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => fail(format!(
            "{} exists already; an earlier check (or an earlier run) left something in it: {}",
            path.display(),
            left_in(path)
        )),
        Err(error) => fail(format!("cannot make {}: {error}", path.display())),
    }
}

fn left_in(path: &Path) -> String {
    let mut names: Vec<String> = std::fs::read_dir(path)
        .map(|entries| {
            entries
                .filter_map(Result::ok)
                .take(8)
                .map(|entry| entry.file_name().to_string_lossy().into_owned())
                .collect()
        })
        .unwrap_or_default();
    names.sort();
    if names.is_empty() { "nothing now".to_owned() } else { names.join(", ") }
}

async fn remove(path: &str, command: Option<&Path>, limit: Duration) {
    if path.is_empty() {
        return;
    }
    let result = match command {
        Some(command) => run(command, path, limit).await.map(|_| ()),
        None => std::fs::remove_dir(path).map_err(|error| error.to_string()),
    };
    if let Err(reason) = result {
        tracing::debug!(path, reason, "a directory was not removed");
    }
}

/// Runs a program with one argument and returns what it prints.
async fn run(program: &Path, argument: &str, limit: Duration) -> Result<String, String> {
    let child = Command::new(program).arg(argument).kill_on_drop(true).output();
    let output = tokio::time::timeout(limit, child)
        .await
        .map_err(|_| format!("no end within {limit:?}"))?
        .map_err(|error| error.to_string())?;
    if !output.status.success() {
        return Err(format!("{}: {}", output.status, String::from_utf8_lossy(&output.stderr).trim()));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Looks at a path, with the configured program if there is one.
pub(crate) async fn look_at(path: &str, config: &Config) -> Outcome<Found> {
    if let Some(program) = &config.path_commands.check {
        let failed = |reason| Stop::Failed(format!("{} could not look at {path}: {reason}", program.display()));
        let word = run(program, path, config.path_commands.check_timeout).await.map_err(failed)?;
        return match word.trim() {
            "file" => Ok(Found::File),
            "directory" => Ok(Found::Directory),
            "not_found" => Ok(Found::Nothing),
            "other" => Ok(Found::Other),
            word => fail(format!(
                "{} printed {word:?} for {path}; it should print file, directory, not_found or other",
                program.display()
            )),
        };
    }
    let (looked_at, limit) = (PathBuf::from(path), config.call_deadline);
    // A dead mount can block a look at its path for ever, so it is done on a thread that we can leave behind.
    let metadata = tokio::task::spawn_blocking(move || std::fs::metadata(looked_at));
    let Ok(Ok(metadata)) = tokio::time::timeout(limit, metadata).await else {
        return fail(format!("looking at {path} did not end within {limit:?}"));
    };
    match metadata {
        Ok(metadata) if metadata.is_dir() => Ok(Found::Directory),
        Ok(metadata) if metadata.is_file() => Ok(Found::File),
        Ok(_) => Ok(Found::Other),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Found::Nothing),
        Err(error) => fail(format!("cannot look at {path}: {error}")),
    }
}
