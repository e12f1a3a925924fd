//! [`Files`] through a user-space NFSv4.1 client.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use futures::StreamExt;
use nfs_rs::{Attr, Mount, Nfs4ErrorCode as Code, NfsError, ObjRes};
use tokio::time::timeout;

use crate::files::{Files, FilesError, Handle, Kind, Listed, Node};

/// Limit of one operation.
const OPERATION: Duration = Duration::from_secs(10);

/// Bytes of a file that are read.
const MOST_BYTES: u32 = 64 * 1024;

/// A session with a file system.
pub struct NfsFiles {
    mount: Box<dyn Mount>,
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
        Ok(Self { mount, lost: AtomicBool::new(false) })
    }

    /// Ends the session. A server that doesn't answer forgets it by itself.
    pub async fn close(&self) {
        self.lost.store(true, Ordering::Relaxed);
        if !matches!(timeout(OPERATION, self.mount.umount()).await, Ok(Ok(()))) {
            tracing::debug!("an NFS session was not closed cleanly; it expires by itself");
        }
    }

    /// Runs one operation under its deadline.
    async fn run<T>(&self, work: impl Future<Output = nfs_rs::Result<T>>) -> Result<T, FilesError> {
        let result = match timeout(OPERATION, work).await {
            Ok(Ok(value)) => return Ok(value),
            Ok(Err(error)) => told(&error),
            Err(_) => FilesError::Lost(format!("no answer within {} s", OPERATION.as_secs())),
        };
        if matches!(result, FilesError::Lost(_)) {
            self.lost.store(true, Ordering::Relaxed);
        }
        Err(result)
    }

    async fn node(&self, found: ObjRes) -> Result<Node, FilesError> {
        let attr = match found.attr {
            Some(attr) => attr,
            None => self.run(self.mount.getattr(found.fh.clone())).await?,
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
        let found = self.run(self.mount.lookup(directory.0.clone(), name)).await?;
        self.node(found).await
    }

    async fn make_directory(&self, directory: &Handle, name: &str, mode: u32) -> Result<Node, FilesError> {
        let made = self.run(self.mount.mkdir(directory.0.clone(), name, mode)).await?;
        self.node(made).await
    }

    async fn make_link(&self, directory: &Handle, name: &str, text: &str) -> Result<Node, FilesError> {
        let made = self.run(self.mount.symlink(text, directory.0.clone(), name)).await?;
        self.node(made).await
    }

    async fn read_link(&self, link: &Handle) -> Result<String, FilesError> {
        self.run(self.mount.readlink(link.0.clone())).await
    }

    async fn read_file(&self, directory: &Handle, name: &str) -> Result<Vec<u8>, FilesError> {
        let read = async {
            let file = self.mount.open(directory.0.clone(), name, nfs_rs::OPEN_READ).await?;
            let data = self.mount.read(file.fh.clone(), 0, MOST_BYTES).await;
            self.mount.close(file.fh).await?;
            data
        };
        self.run(read).await.map(|data| data.to_vec())
    }

    async fn set_owner(&self, node: &Handle, mode: u32, uid: u32, gid: u32) -> Result<(), FilesError> {
        let set = self.mount.setattr(node.0.clone(), None, Some(mode), Some(uid), Some(gid), None, None, None);
        self.run(set).await.map(drop)
    }

    async fn rename(&self, from: &Handle, name: &str, to: &Handle, new: &str) -> Result<(), FilesError> {
        self.run(self.mount.rename(from.0.clone(), name, to.0.clone(), new)).await
    }

    async fn remove(&self, directory: &Handle, name: &str) -> Result<(), FilesError> {
        self.run(self.mount.remove(directory.0.clone(), name)).await
    }

    async fn list(&self, directory: &Handle, most: usize) -> Result<Vec<Listed>, FilesError> {
        let mut listed = Vec::new();
        let mut entries = self.mount.readdirplus(directory.0.clone()).await;
        // The deadline is for each page, not for a directory of any size.
        while let Some(entry) = self.run(async { Ok(entries.next().await) }).await? {
            let entry = match entry {
                Ok(entry) => entry,
                Err(error) => {
                    let error = told(&error);
                    self.lost.fetch_or(matches!(error, FilesError::Lost(_)), Ordering::Relaxed);
                    return Err(error);
                }
            };
            if entry.file_name != "." && entry.file_name != ".." {
                let attr = entry.attr.as_ref();
                listed.push(Listed {
                    name: entry.file_name,
                    kind: attr.map(kind),
                    version: attr.map(|it| (it.fileid, (u64::from(it.ctime.seconds), it.ctime.nseconds))),
                });
            }
            if listed.len() >= most {
                break;
            }
        }
        Ok(listed)
    }

    fn is_lost(&self) -> bool {
        self.lost.load(Ordering::Relaxed)
    }
}
