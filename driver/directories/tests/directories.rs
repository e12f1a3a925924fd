//! Claims, directories and trash on the files of a fake, with calls that are cut off at every point.

#![allow(clippy::unwrap_used, reason = "a test that panics fails, as it should")]

#[path = "support/stored.rs"]
mod stored;

#[path = "directories/claims.rs"]
mod claims;
#[path = "directories/deletions.rs"]
mod deletions;
#[path = "directories/legacy.rs"]
mod legacy;
#[path = "directories/schedules.rs"]
mod schedules;

use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use efs_directories::volumes::{self, Begun, Purpose, Wanted};
use efs_directories::{Claim, DirectoryError, DirectoryPath, Files, Ledger, Trash};
use fake_efs::store::{FileId, Limits, MemoryStore, NewBody, NewNode, Store};
use stored::Stored;

/// A file system and what tests do on it.
struct Disk(Arc<dyn Store>);

impl Disk {
    fn new() -> Self {
        Self(Arc::new(MemoryStore::new(Limits::default())))
    }

    fn files(&self) -> Arc<dyn Files> {
        Arc::new(Stored(Arc::clone(&self.0)))
    }

    /// A ledger as a fresh process opens it.
    fn ledger(&self) -> Ledger {
        Ledger::new(self.files())
    }

    fn trash(&self) -> Trash {
        Trash::new(self.files())
    }

    fn find(&self, at: &str) -> Option<FileId> {
        at.split('/')
            .filter(|part| !part.is_empty())
            .try_fold(self.0.root(), |directory, name| self.0.lookup(directory, name.as_bytes()).ok())
    }

    fn make(&self, at: &str, body: NewBody) {
        let (parent, name) = at.rsplit_once('/').unwrap();
        let node = NewNode { body, mode: 0o755, uid: 7, gid: 7 };
        self.0.create(self.find(parent).unwrap(), name.as_bytes(), &node).unwrap();
    }

    fn directory(&self, at: &str) {
        self.make(at, NewBody::Directory);
    }

    fn file(&self, at: &str) {
        self.make(at, NewBody::Regular { verifier: None });
    }

    fn link(&self, at: &str, target: &str) {
        self.make(at, NewBody::Symlink { target: target.as_bytes().to_vec() });
    }

    fn rename(&self, from: &str, to: &str) {
        let split =
            |at: &str| at.rsplit_once('/').map(|(parent, name)| (self.find(parent).unwrap(), name.to_owned())).unwrap();
        let ((from, old), (to, new)) = (split(from), split(to));
        self.0.rename(from, old.as_bytes(), to, new.as_bytes()).unwrap();
    }

    /// Everything outside the driver's folders, sorted.
    fn all(&self) -> Vec<String> {
        let mut all = Vec::new();
        self.walk(self.0.root(), "", &mut all);
        all.sort();
        all
    }

    fn walk(&self, directory: FileId, at: &str, all: &mut Vec<String>) {
        let mut entries = Vec::new();
        self.0
            .read_directory(directory, 0, &mut |entry| {
                entries.push((String::from_utf8_lossy(entry.name).into_owned(), *entry.attributes));
                true
            })
            .unwrap();
        for (name, attributes) in entries {
            if at.is_empty() && name.starts_with(".efs-csi") {
                continue;
            }
            let at = format!("{at}/{name}");
            all.push(at.clone());
            if attributes.kind == fake_efs::store::Kind::Directory {
                self.walk(attributes.id, &at, all);
            }
        }
    }
}

fn path(text: &str) -> DirectoryPath {
    text.parse().unwrap()
}

fn wanted(volume: &str, at: &str) -> Wanted {
    Wanted {
        volume: volume.to_owned(),
        path: path(at),
        uid: 1001,
        gid: 1002,
        permissions: "750".to_owned(),
        capacity: 1 << 30,
        purpose: Purpose::Own,
        cluster: None,
    }
}

/// A whole creation.
async fn create(ledger: &Ledger, wanted: &Wanted) -> Result<Claim, DirectoryError> {
    match volumes::begin(ledger, wanted).await? {
        Begun::Ready(claim) => Ok(claim),
        Begun::Claimed(claim) => volumes::place(ledger, &claim).await.map(|()| claim),
    }
}

/// Polls a call so many times and then drops it, as a crash does. Its result, if it had finished.
fn cut_off<T>(call: impl Future<Output = T>, polls: usize) -> Option<T> {
    let mut call = pin!(call);
    let mut context = Context::from_waker(Waker::noop());
    (0..polls).find_map(|_| match call.as_mut().poll(&mut context) {
        Poll::Ready(result) => Some(result),
        Poll::Pending => None,
    })
}
