//! [`Files`] through a user-space NFSv4.1 client.

use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use nfs_rs::{Attr, DirectoryCookie, Mount, Nfs4ErrorCode as Code, NfsError, ObjRes};
use tokio::time::timeout;

use crate::files::{Files, FilesError, Handle, Kind, Listed, Node};

/// Limit of one operation.
const OPERATION: Duration = Duration::from_secs(10);

/// Bytes of a file that are read.
const MOST_BYTES: u32 = 64 * 1024;

/// A session with a file system.
pub struct NfsFiles {
    mount: Arc<dyn Mount>,
    lost: AtomicBool,
}

impl fmt::Debug for NfsFiles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NfsFiles").field("lost", &self.lost).finish_non_exhaustive()
    }
}

impl NfsFiles {
    /// Connects to `127.0.0.1:port`, where a tunnel or a server listens, as root.
    ///
    /// # Errors
    /// When there is no NFS server, or it lets us not in.
    pub async fn connect(port: u16) -> Result<Self, FilesError> {
        let url = format!("nfs://127.0.0.1/?version=4.1,4.0&nfsport={port}&noresvport=true&uid=0&gid=0");
        let mount = nfs_rs::parse_url_and_mount(&url).await.map_err(|error| FilesError::Lost(error.to_string()))?;
        Ok(Self { mount: mount.into(), lost: AtomicBool::new(false) })
    }

    /// Ends the session. A server that doesn't answer forgets it by itself.
    pub async fn close(&self) {
        self.lost.store(true, Ordering::Relaxed);
        if !matches!(timeout(OPERATION, self.mount.umount()).await, Ok(Ok(()))) {
            tracing::debug!("an NFS session was not closed cleanly; it expires by itself");
        }
    }

    /// Runs one operation under its deadline, to its end: a caller that gives up in between would leave the session in the middle of an
    /// exchange, and others that share it would fail.
    async fn run<T, W>(&self, work: impl FnOnce(Arc<dyn Mount>) -> W) -> Result<T, FilesError>
    where
        T: Send + 'static,
        W: Future<Output = nfs_rs::Result<T>> + Send + 'static,
    {
        let work = timeout(OPERATION, work(Arc::clone(&self.mount)));
        let result = match tokio::spawn(work).await {
            Ok(Ok(Ok(value))) => return Ok(value),
            Ok(Ok(Err(error))) => told(&error),
            Ok(Err(_)) => FilesError::Lost(format!("no answer within {} s", OPERATION.as_secs())),
            Err(ended) => FilesError::Lost(format!("the NFS client: {ended}")),
        };
        if matches!(result, FilesError::Lost(_)) {
            self.lost.store(true, Ordering::Relaxed);
        }
        Err(result)
    }

    async fn node(&self, found: ObjRes) -> Result<Node, FilesError> {
        let attr = match found.attr {
            Some(attr) => attr,
            None => {
                let handle = found.fh.clone();
                self.run(|mount| async move { mount.getattr(handle).await }).await?
            }
        };
        Ok(Node {
            handle: Handle(found.fh),
            kind: kind(&attr),
            file_id: attr.fileid,
            changed: (u64::from(attr.ctime.seconds), attr.ctime.nseconds),
        })
    }
}

/// RFC 8881 §3.2.1, `nfs_ftype4`.
fn kind(attr: &Attr) -> Kind {
    match attr.type_ {
        2 => Kind::Directory,
        5 => Kind::Link,
        _ => Kind::Other,
    }
}

fn told(error: &NfsError) -> FilesError {
    match error {
        NfsError::Nfs4(code) => match code {
            Code::NFS4ERR_NOENT => FilesError::NotFound,
            Code::NFS4ERR_EXIST => FilesError::Exists,
            Code::NFS4ERR_NOTDIR | Code::NFS4ERR_SYMLINK => FilesError::NotDirectory,
            Code::NFS4ERR_NOTEMPTY => FilesError::NotEmpty,
            Code::NFS4ERR_STALE | Code::NFS4ERR_FHEXPIRED => FilesError::Stale,
            Code::NFS4ERR_ACCESS | Code::NFS4ERR_PERM => FilesError::Denied,
            _ => FilesError::Refused(error.to_string()),
        },
        NfsError::ServerBusy(_) => FilesError::Lost(error.to_string()),
        other => FilesError::Lost(other.to_string()),
    }
}

#[async_trait]
impl Files for NfsFiles {
    async fn root(&self) -> Handle {
        Handle(self.mount.getfh().await)
    }

    async fn lookup(&self, directory: &Handle, name: &str) -> Result<Node, FilesError> {
        let (directory, name) = (directory.0.clone(), name.to_owned());
        let found = self.run(|mount| async move { mount.lookup(directory, &name).await }).await?;
        self.node(found).await
    }

    async fn make_directory(&self, directory: &Handle, name: &str, mode: u32) -> Result<Node, FilesError> {
        let (directory, name) = (directory.0.clone(), name.to_owned());
        let made = self.run(|mount| async move { mount.mkdir(directory, &name, mode).await }).await?;
        self.node(made).await
    }

    async fn make_link(&self, directory: &Handle, name: &str, text: &str) -> Result<Node, FilesError> {
        let (directory, name, text) = (directory.0.clone(), name.to_owned(), text.to_owned());
        let made = self.run(|mount| async move { mount.symlink(&text, directory, &name).await }).await?;
        self.node(made).await
    }

    async fn read_link(&self, link: &Handle) -> Result<String, FilesError> {
        let link = link.0.clone();
        self.run(|mount| async move { mount.readlink(link).await }).await
    }

    async fn read_file(&self, directory: &Handle, name: &str) -> Result<Vec<u8>, FilesError> {
        let (directory, name) = (directory.0.clone(), name.to_owned());
        let read = |mount: Arc<dyn Mount>| async move {
            let file = mount.open(directory, &name, nfs_rs::OPEN_READ).await?;
            let data = mount.read(file.fh.clone(), 0, MOST_BYTES).await;
            mount.close(file.fh).await?;
            data
        };
        self.run(read).await.map(|data| data.to_vec())
    }

    async fn set_owner(&self, node: &Handle, mode: u32, uid: u32, gid: u32) -> Result<(), FilesError> {
        let node = node.0.clone();
        let set = |mount: Arc<dyn Mount>| async move {
            mount.setattr(node, None, Some(mode), Some(uid), Some(gid), None, None, None).await
        };
        self.run(set).await.map(drop)
    }

    async fn rename(&self, from: &Handle, name: &str, to: &Handle, new: &str) -> Result<(), FilesError> {
        let ((from, name), (to, new)) = ((from.0.clone(), name.to_owned()), (to.0.clone(), new.to_owned()));
        self.run(|mount| async move { mount.rename(from, &name, to, &new).await }).await
    }

    async fn remove(&self, directory: &Handle, name: &str) -> Result<(), FilesError> {
        let (directory, name) = (directory.0.clone(), name.to_owned());
        self.run(|mount| async move { mount.remove(directory, &name).await }).await
    }

    async fn list(&self, directory: &Handle, most: usize) -> Result<Vec<Listed>, FilesError> {
        let (mut listed, mut position) = (Vec::new(), DirectoryCookie::default());
        let mut seen = HashSet::new();
        // Page by page, each with a deadline of its own: a directory may be of any size.
        loop {
            let from = directory.0.clone();
            let page = self.run(move |mount| async move { mount.readdirplus_page(from, position).await }).await?;
            for entry in page.entries.into_iter().filter(|entry| entry.file_name != "." && entry.file_name != "..") {
                let attr = entry.attr.as_ref();
                listed.push(Listed {
                    name: entry.file_name,
                    kind: attr.map(kind),
                    version: attr.map(|it| (it.fileid, (u64::from(it.ctime.seconds), it.ctime.nseconds))),
                });
                if listed.len() >= most {
                    return Ok(listed);
                }
            }
            if page.eof {
                return Ok(listed);
            }
            // A server whose positions come round again would be asked for ever.
            if !seen.insert(page.next.cookie) {
                return Err(FilesError::Refused("the server's positions in a directory come round again".to_owned()));
            }
            position = page.next;
        }
    }

    fn is_lost(&self) -> bool {
        self.lost.load(Ordering::Relaxed)
    }
}
