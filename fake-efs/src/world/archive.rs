//! What keeps a world across restarts: a log of rows in one file.
//!
//! The first line names format and version. Every other line is a checksum and a JSON object, either a row that was made or
//! changed, or the name of one that is gone. Reading it from the start gives the world. A line is appended when an operation
//! is done, before its answer is sent; a last line without its end is what a crash leaves, and is dropped. Anything else that
//! is wrong means that somebody else wrote into the file: the archive is refused, never repaired.
//!
//! When a log is opened, and when it has grown to a multiple of what it says, it is written anew beside and renamed.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::Entity;
use super::ids::FileSystemId;
use super::model::{AccessPoint, FileSystem, MountTarget, Replication, ResourceIdType};
use super::scope::Scope;
use crate::store::OpenError;

/// First line of a log.
const HEADER: &str = r#"{"format":"fake-efs world","version":1}"#;
/// Hex digits of a line's checksum.
const CHECKSUM: usize = 16;
/// A log is written anew when it has this many lines for each row.
const SLACK: usize = 4;
/// Logs with fewer lines are left alone.
const SMALL: usize = 4096;

/// Why an archive can't be used.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// The file system of the host fails.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The files of a file system can't be opened.
    #[error("files of {id}: {source}")]
    Files {
        /// Whose.
        id: FileSystemId,
        /// Why.
        source: OpenError,
    },
    /// Another process has it.
    #[error("{} is in use by another process", .0.display())]
    InUse(PathBuf),
    /// It was written by a newer fake, or is something else.
    #[error("{} is not an archive of version 1: it begins with `{found}`", path.display())]
    Format {
        /// The file.
        path: PathBuf,
        /// Its first line, shortened.
        found: String,
    },
    /// It was damaged.
    #[error("{} is damaged at line {line}: {why}; move it away to start with an empty world", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Which line, counting from 1.
        line: usize,
        /// What is wrong.
        why: String,
    },
}

/// One row of a world.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Row {
    FileSystem(FileSystem),
    AccessPoint(AccessPoint),
    MountTarget(MountTarget),
    Replication(Replication),
    Preference(Scope, ResourceIdType),
}

/// A line's content.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
enum Line {
    Put(String, Value),
    Delete(String),
}

/// An open log.
pub(crate) struct Archive {
    path: PathBuf,
    file: File,
    lines: usize,
    /// Held for the life of the archive.
    _lock: File,
}

/// The name of an entity within a log.
fn key(entity: &Entity) -> String {
    match entity {
        Entity::FileSystem(id) => id.to_string(),
        Entity::AccessPoint(id) => id.to_string(),
        Entity::MountTarget(id) => id.to_string(),
        Entity::Replication(id) => format!("replication/{id}"),
        Entity::Preference(scope) => format!("preference/{}/{}", scope.account, scope.region),
    }
}

fn seal(json: &str) -> String {
    format!("{} {json}\n", &hex::encode(Sha256::digest(json))[..CHECKSUM])
}

/// Serialises a line; these types have string keys only, so it can't fail.
fn write_line(line: &Line) -> String {
    seal(&serde_json::to_string(line).expect("rows have string keys only"))
}

impl Archive {
    /// Opens or makes the archive in a folder, and reads what it holds.
    pub(crate) fn open(folder: &Path) -> Result<(Self, Vec<Row>), ArchiveError> {
        let io = |path: &Path| {
            let path = path.to_owned();
            move |source| ArchiveError::Io { path, source }
        };
        std::fs::create_dir_all(folder).map_err(io(folder))?;
        let lock_path = folder.join("lock");
        let lock =
            OpenOptions::new().create(true).truncate(false).write(true).open(&lock_path).map_err(io(&lock_path))?;
        if rustix::fs::flock(&lock, rustix::fs::FlockOperation::NonBlockingLockExclusive).is_err() {
            return Err(ArchiveError::InUse(folder.to_owned()));
        }
        let path = folder.join("world.log");
        let rows = match std::fs::read(&path) {
            Ok(bytes) => read(&path, &bytes)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => BTreeMap::new(),
            Err(error) => return Err(io(&path)(error)),
        };
        let typed = rows.iter().map(|(name, value)| {
            serde_json::from_value(value.clone()).map_err(|error| ArchiveError::Damaged {
                path: path.clone(),
                line: 0,
                why: format!("{name}: {error}"),
            })
        });
        let typed = typed.collect::<Result<_, _>>()?;
        let lines = rows.len();
        let file = rewrite(&path, rows).map_err(io(&path))?;
        Ok((Self { path, file, lines, _lock: lock }, typed))
    }

    /// Appends what changed: rows, or nothing for those that are gone.
    pub(crate) fn append(&mut self, changes: impl Iterator<Item = (Entity, Option<Row>)>) -> io::Result<()> {
        let mut text = String::new();
        for (entity, row) in changes {
            let key = key(&entity);
            text.push_str(&write_line(&match row {
                Some(row) => Line::Put(key, serde_json::to_value(row)?),
                None => Line::Delete(key),
            }));
            self.lines += 1;
        }
        // One write for one operation: a crash leaves all of it, or a torn end.
        self.file.write_all(text.as_bytes())
    }

    /// Whether the log says much more than it needs to.
    pub(crate) fn is_bloated(&self, rows: usize) -> bool {
        self.lines > SMALL && self.lines > SLACK * rows
    }

    /// Writes the log anew.
    pub(crate) fn compact(&mut self, rows: impl Iterator<Item = (Entity, Row)>) -> io::Result<()> {
        let rows: Result<BTreeMap<_, _>, _> =
            rows.map(|(entity, row)| serde_json::to_value(row).map(|row| (key(&entity), row))).collect();
        let rows = rows?;
        self.lines = rows.len();
        self.file = rewrite(&self.path, rows)?;
        Ok(())
    }
}

/// Reads a whole log.
fn read(path: &Path, bytes: &[u8]) -> Result<BTreeMap<String, Value>, ArchiveError> {
    let mut rows = BTreeMap::new();
    // What follows the last line's end is the torn end of a crash.
    let whole = bytes.iter().rposition(|&b| b == b'\n').map_or(0, |end| end + 1);
    let mut lines = bytes[..whole].split_inclusive(|&b| b == b'\n').map(|line| &line[..line.len() - 1]).enumerate();
    match lines.next() {
        Some((_, line)) if line == HEADER.as_bytes() => {}
        None => return Ok(rows),
        Some((_, line)) => {
            let found = String::from_utf8_lossy(line).chars().take(60).collect();
            return Err(ArchiveError::Format { path: path.to_owned(), found });
        }
    }
    for (i, line) in lines {
        let damaged = |why: &str| ArchiveError::Damaged { path: path.to_owned(), line: i + 1, why: why.to_owned() };
        let text = std::str::from_utf8(line).map_err(|_| damaged("not UTF-8"))?;
        let (checksum, json) = text.split_once(' ').ok_or_else(|| damaged("no checksum"))?;
        if !seal(json).starts_with(checksum) || checksum.len() != CHECKSUM {
            return Err(damaged("wrong checksum"));
        }
        match serde_json::from_str(json).map_err(|error| damaged(&error.to_string()))? {
            Line::Put(name, row) => rows.insert(name, row),
            Line::Delete(name) => rows.remove(&name),
        };
    }
    Ok(rows)
}

/// Writes a log with these rows in place of the one there, at once or not at all, and opens it for appending.
fn rewrite(path: &Path, rows: BTreeMap<String, Value>) -> io::Result<File> {
    let new = path.with_extension("new");
    let mut out = BufWriter::new(File::create(&new)?);
    writeln!(out, "{HEADER}")?;
    for (name, row) in rows {
        out.write_all(write_line(&Line::Put(name, row)).as_bytes())?;
    }
    out.into_inner()?.sync_all()?;
    std::fs::rename(&new, path)?;
    if let Some(folder) = path.parent() {
        File::open(folder)?.sync_all()?;
    }
    OpenOptions::new().append(true).open(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scope(region: &str) -> Scope {
        Scope::new("123456789012", region)
    }

    fn put(region: &str) -> (Entity, Option<Row>) {
        (Entity::Preference(scope(region)), Some(Row::Preference(scope(region), ResourceIdType::LongId)))
    }

    fn regions(rows: &[Row]) -> Vec<String> {
        rows.iter()
            .filter_map(|row| match row {
                Row::Preference(scope, _) => Some(scope.region.clone()),
                _ => None,
            })
            .collect()
    }

    #[test]
    fn an_archive_gives_back_what_was_put_and_not_what_was_deleted() {
        let folder = tempfile::tempdir().unwrap();
        let (mut archive, rows) = Archive::open(folder.path()).unwrap();
        assert!(rows.is_empty());
        archive.append([put("a"), put("b"), (Entity::Preference(scope("a")), None)].into_iter()).unwrap();
        assert!(matches!(Archive::open(folder.path()), Err(ArchiveError::InUse(_))));
        drop(archive);
        assert_eq!(regions(&Archive::open(folder.path()).unwrap().1), ["b"]);
    }

    #[test]
    fn a_torn_end_is_dropped_and_damage_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let (mut archive, _) = Archive::open(folder.path()).unwrap();
        archive.append([put("a"), put("b")].into_iter()).unwrap();
        drop(archive);
        let path = folder.path().join("world.log");
        let good = std::fs::read(&path).unwrap();
        std::fs::write(&path, &good[..good.len() - 5]).unwrap();
        assert_eq!(regions(&Archive::open(folder.path()).unwrap().1), ["a"]);

        let flipped: Vec<u8> = good.iter().map(|b| if *b == b'L' { b'X' } else { *b }).collect();
        std::fs::write(&path, flipped).unwrap();
        let error = Archive::open(folder.path()).err().unwrap().to_string();
        assert!(error.contains("damaged at line 2: wrong checksum"), "{error}");

        std::fs::write(&path, "{\"format\":\"fake-efs world\",\"version\":2}\n").unwrap();
        assert!(matches!(Archive::open(folder.path()), Err(ArchiveError::Format { .. })));
    }
}
