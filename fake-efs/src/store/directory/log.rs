//! The log of a directory store: lines of JSON, each the outcome of one step.
//!
//! `metadata` is read at start and then replaced by a shorter one that says the same. A step is one line, so that a crash
//! leaves a step either whole or, as a last line without an end, not at all.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader, BufWriter, Write};
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::super::Instance;
use super::super::memory::tables::{Change, Record, Tables};
use super::OpenError;

const METADATA: &str = "metadata";
const INSTANCE: &str = "instance";
const CLIENTS: &str = "clients";
/// The log is written anew when this much was appended, and more than it held at first.
const APPENDED: u64 = 64 << 20;

/// The open log.
#[derive(Debug)]
pub(super) struct Log {
    directory: std::path::PathBuf,
    file: File,
    base: u64,
    appended: u64,
    /// Whether a step could not be written down completely: the file may end in the middle of a line, and lacks the step.
    torn: bool,
}

#[derive(Serialize, Deserialize)]
struct SavedInstance {
    id: [u8; 8],
    key: [u8; 32],
}

/// The store's instance, drawn when it is opened first.
pub(super) fn instance(directory: &Path) -> Result<Instance, OpenError> {
    let path = directory.join(INSTANCE);
    let failed = |source| OpenError::Io { path: path.clone(), source };
    match fs::read(&path) {
        Ok(text) => {
            let saved: SavedInstance =
                serde_json::from_slice(&text).map_err(|_| OpenError::Damaged { path: path.clone(), line: 1 })?;
            Ok(Instance { id: saved.id, key: saved.key })
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let instance = Instance::random();
            let saved = SavedInstance { id: instance.id, key: instance.key };
            let text = serde_json::to_vec(&saved).map_err(|error| failed(error.into()))?;
            replace(&path, |file| file.write_all(&text)).map_err(failed)?;
            Ok(instance)
        }
        Err(error) => Err(failed(error)),
    }
}

/// Reads the log into the tables; whether there was one.
pub(super) fn read(directory: &Path, tables: &mut Tables) -> Result<bool, OpenError> {
    let path = directory.join(METADATA);
    let failed = |source| OpenError::Io { path: path.clone(), source };
    let file = match File::open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(failed(error)),
    };
    let (mut reader, mut text, mut line) = (BufReader::new(file), Vec::new(), 0);
    loop {
        text.clear();
        line += 1;
        if reader.read_until(b'\n', &mut text).map_err(failed)? == 0 {
            return Ok(true);
        }
        if text.last() != Some(&b'\n') {
            // The process died while it wrote this step, so nobody was told that it was done.
            tracing::warn!(path = %path.display(), line, "the last step was cut off and is left out");
            return Ok(true);
        }
        let records: Option<Vec<Record>> = serde_json::from_slice(&text).ok();
        let applied = records.is_some_and(|records| records.into_iter().all(|record| tables.apply(record)));
        if !applied {
            return Err(OpenError::Damaged { path, line });
        }
    }
}

impl Log {
    /// Writes a new log with the present state and keeps it open.
    pub(super) fn start(directory: &Path, tables: &Tables) -> Result<Self, OpenError> {
        let path = directory.join(METADATA);
        let failed = |source| OpenError::Io { path: path.clone(), source };
        let (file, base) = write_all(&path, tables).map_err(failed)?;
        Ok(Self { directory: directory.to_owned(), file, base, appended: 0, torn: false })
    }

    /// Appends one step.
    pub(super) fn append(&mut self, tables: &Tables, changes: &[Change]) -> io::Result<()> {
        let mut unique: Vec<&Change> = Vec::with_capacity(changes.len());
        for change in changes {
            if !unique.contains(&change) {
                unique.push(change);
            }
        }
        let records: Vec<Record> = unique.into_iter().filter_map(|change| tables.record(change)).collect();
        if records.is_empty() {
            return Ok(());
        }
        let mut line = serde_json::to_vec(&records)?;
        line.push(b'\n');
        if !self.torn {
            // Unless all of it is written, nothing may be appended any more.
            self.torn = true;
            self.file.write_all(&line)?;
            self.torn = false;
            self.appended += line.len() as u64;
        }
        if self.torn || self.appended > APPENDED.max(self.base) {
            (self.file, self.base) = write_all(&self.directory.join(METADATA), tables)?;
            (self.appended, self.torn) = (0, false);
        }
        Ok(())
    }

    /// Makes what was appended survive a crash of the host.
    pub(super) fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }
}

/// Replaces the log by the present state.
fn write_all(path: &Path, tables: &Tables) -> io::Result<(File, u64)> {
    replace(path, |file| {
        let mut writer = BufWriter::new(file);
        for record in tables.records() {
            serde_json::to_writer(&mut writer, &[record])?;
            writer.write_all(b"\n")?;
        }
        writer.flush()
    })?;
    let file = OpenOptions::new().append(true).open(path)?;
    let length = file.metadata()?.len();
    Ok((file, length))
}

/// Replaces a file by a new one as a whole.
fn replace(path: &Path, write: impl FnOnce(&mut File) -> io::Result<()>) -> io::Result<()> {
    let new = path.with_extension("new");
    let mut file = File::create(&new)?;
    write(&mut file)?;
    file.sync_data()?;
    fs::rename(&new, path)?;
    path.parent().map_or(Ok(()), sync_names)
}

/// Makes the names in a directory of the host survive a crash of the host.
pub(super) fn sync_names(directory: &Path) -> io::Result<()> {
    File::open(directory)?.sync_all()
}

/// Keeps records of clients.
pub(super) fn save_clients(directory: &Path, clients: &[Vec<u8>]) -> io::Result<()> {
    let text: String = clients.iter().map(|client| hex::encode(client) + "\n").collect();
    replace(&directory.join(CLIENTS), |file| file.write_all(text.as_bytes()))
}

/// The records that were kept; what is damaged is left out, because losing a lock is better than not starting.
pub(super) fn saved_clients(directory: &Path) -> Vec<Vec<u8>> {
    let text = fs::read_to_string(directory.join(CLIENTS)).unwrap_or_default();
    text.lines().filter_map(|line| hex::decode(line).ok()).collect()
}

#[cfg(test)]
mod tests {
    use crate::store::{DirectoryStore, FileId, Limits, NewBody, NewNode, Store};

    fn create(store: &DirectoryStore, name: &[u8]) -> crate::store::Result<FileId> {
        let node = NewNode { body: NewBody::Regular { verifier: None }, mode: 0o644, uid: 0, gid: 0 };
        store.create(store.root(), name, &node).map(|(made, _)| made.id)
    }

    /// A file that can't be written, as on a full disk, after the first half of a line.
    fn break_log(store: &DirectoryStore) {
        use std::io::Write;
        let mut log = store.log.lock().unwrap();
        log.file.write_all(b"[{\"torn").unwrap();
        log.file = std::fs::File::open(store.path.join(super::METADATA)).unwrap();
    }

    #[test]
    fn a_step_that_could_not_be_written_down_fails_and_the_next_one_mends_the_log() {
        let folder = tempfile::TempDir::new().unwrap();
        let open = || DirectoryStore::open(folder.path(), Limits::default()).unwrap();
        let store = open();
        create(&store, b"before").unwrap();
        break_log(&store);
        create(&store, b"lost").unwrap_err();
        // A crash now: the half line is left out.
        drop(store);
        let store = open();
        store.lookup(store.root(), b"before").unwrap();
        store.lookup(store.root(), b"lost").unwrap_err();

        break_log(&store);
        create(&store, b"shown").unwrap_err();
        let after = create(&store, b"after").unwrap();
        store.write(after, 0, b"bytes").unwrap();
        store.commit(after).unwrap();
        drop(store);
        let store = open();
        for name in [&b"before"[..], b"shown", b"after"] {
            store.lookup(store.root(), name).unwrap();
        }
    }
}
