//! A file system without a network: [`Files`] on a store of the fake. Every operation waits once before its work and once after it, so
//! that a call that is cut off has lost the operation or its answer.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use efs_directories::files::{Files, FilesError, Handle, Kind, Listed, Node};
use fake_efs::store::{Attributes, Changes, FileId, Kind as StoredKind, NewBody, NewNode, Store, StoreError};

/// A store, seen as root.
pub(crate) struct Stored(pub(crate) Arc<dyn Store>);

impl std::fmt::Debug for Stored {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Stored").finish_non_exhaustive()
    }
}

fn handle(id: FileId) -> Handle {
    Handle(Bytes::copy_from_slice(&id.0.to_be_bytes()))
}

fn id(handle: &Handle) -> FileId {
    FileId(u64::from_be_bytes(handle.0.as_ref().try_into().expect("a handle of eight bytes")))
}

fn told(error: StoreError) -> FilesError {
    match error {
        StoreError::Stale => FilesError::Stale,
        StoreError::NotFound => FilesError::NotFound,
        StoreError::Exists => FilesError::Exists,
        StoreError::NotDirectory => FilesError::NotDirectory,
        StoreError::NotEmpty => FilesError::NotEmpty,
        other => FilesError::Refused(other.to_string()),
    }
}

fn kind(kind: StoredKind) -> Kind {
    match kind {
        StoredKind::Directory => Kind::Directory,
        StoredKind::Symlink => Kind::Link,
        _ => Kind::Other,
    }
}

fn node(attributes: &Attributes) -> Node {
    let changed = attributes.changed;
    Node {
        handle: handle(attributes.id),
        kind: kind(attributes.kind),
        file_id: attributes.id.0,
        changed: (u64::try_from(changed.seconds).unwrap_or_default(), changed.nanoseconds),
    }
}

/// Gives others a turn. Tokio's own way wakes only when the runtime gets its turn, which it doesn't while a test polls by hand.
pub(crate) async fn wait_once() {
    let mut waited = false;
    std::future::poll_fn(|context| {
        if std::mem::replace(&mut waited, true) {
            return std::task::Poll::Ready(());
        }
        context.waker().wake_by_ref();
        std::task::Poll::Pending
    })
    .await;
}

impl Stored {
    async fn step<T>(&self, work: impl FnOnce(&dyn Store) -> Result<T, StoreError>) -> Result<T, FilesError> {
        wait_once().await;
        let result = work(&*self.0);
        wait_once().await;
        result.map_err(told)
    }

    fn make(
        &self,
        directory: &Handle,
        name: &str,
        body: NewBody,
        mode: u32,
    ) -> impl Future<Output = Result<Node, FilesError>> {
        let new = NewNode { body, mode, uid: 0, gid: 0 };
        let (directory, name) = (id(directory), name.to_owned());
        self.step(move |store| store.create(directory, name.as_bytes(), &new).map(|(made, _)| node(&made)))
    }
}

#[async_trait]
impl Files for Stored {
    async fn root(&self) -> Handle {
        handle(self.0.root())
    }

    async fn lookup(&self, directory: &Handle, name: &str) -> Result<Node, FilesError> {
        self.step(|store| store.attributes(store.lookup(id(directory), name.as_bytes())?).map(|found| node(&found)))
            .await
    }

    async fn make_directory(&self, directory: &Handle, name: &str, mode: u32) -> Result<Node, FilesError> {
        self.make(directory, name, NewBody::Directory, mode).await
    }

    async fn make_link(&self, directory: &Handle, name: &str, text: &str) -> Result<Node, FilesError> {
        self.make(directory, name, NewBody::Symlink { target: text.as_bytes().to_vec() }, 0o777).await
    }

    async fn read_link(&self, link: &Handle) -> Result<String, FilesError> {
        let text = self.step(|store| store.read_link(id(link))).await?;
        Ok(String::from_utf8_lossy(&text).into_owned())
    }

    async fn read_file(&self, directory: &Handle, name: &str) -> Result<Vec<u8>, FilesError> {
        self.step(|store| {
            let mut out = Vec::new();
            store.read(store.lookup(id(directory), name.as_bytes())?, 0, 64 * 1024, &mut out)?;
            Ok(out)
        })
        .await
    }

    async fn set_owner(&self, node: &Handle, mode: u32, uid: u32, gid: u32) -> Result<(), FilesError> {
        let changes = Changes { mode: Some(mode), uid: Some(uid), gid: Some(gid), ..Changes::default() };
        self.step(|store| store.set_attributes(id(node), &changes).map(drop)).await
    }

    async fn rename(&self, from: &Handle, name: &str, to: &Handle, new: &str) -> Result<(), FilesError> {
        self.step(|store| store.rename(id(from), name.as_bytes(), id(to), new.as_bytes()).map(drop)).await
    }

    async fn remove(&self, directory: &Handle, name: &str) -> Result<(), FilesError> {
        self.step(|store| store.remove(id(directory), name.as_bytes()).map(drop)).await
    }

    async fn list(&self, directory: &Handle, most: usize) -> Result<Vec<Listed>, FilesError> {
        self.step(|store| {
            let mut listed = Vec::new();
            store.read_directory(id(directory), 0, &mut |entry| {
                let attributes = node(entry.attributes);
                listed.push(Listed {
                    name: String::from_utf8_lossy(entry.name).into_owned(),
                    kind: Some(attributes.kind),
                    version: Some((attributes.file_id, attributes.changed)),
                });
                listed.len() < most
            })?;
            Ok(listed)
        })
        .await
    }
}
