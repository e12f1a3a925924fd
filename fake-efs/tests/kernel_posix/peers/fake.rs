//! fake-efs: memory and directory store, plain and TLS.

use super::{Running, UNCACHED, folder};
use crate::lab::fake::{AccessPoint, Fake, FileSystem};
use crate::lab::mounts::Mounted;

/// Files in memory, plain NFS.
pub(super) fn memory_plain(name: &str) -> anyhow::Result<Running> {
    plain(name, false)
}

/// Files in memory, TLS.
pub(super) fn memory_tls(name: &str) -> anyhow::Result<Running> {
    tls(name, false)
}

/// Files in a directory, plain NFS.
pub(super) fn directory_plain(name: &str) -> anyhow::Result<Running> {
    plain(name, true)
}

/// Files in a directory, TLS.
pub(super) fn directory_tls(name: &str) -> anyhow::Result<Running> {
    tls(name, true)
}

fn started(name: &str, kept: bool) -> anyhow::Result<(Fake, FileSystem)> {
    let folder = folder(name);
    let data = folder.join("data");
    let fake = Fake::start(&folder, kept.then_some(data.as_path()))?;
    let file_system = fake.file_system(name)?;
    Ok((fake, file_system))
}

/// Both mounts are one client to the server: they share its connection.
fn plain(name: &str, kept: bool) -> anyhow::Result<Running> {
    let (fake, file_system) = started(name, kept)?;
    let first = Mounted::nfs(file_system.address, "/", &folder(name).join("first"), "")?;
    let second = Mounted::nfs(file_system.address, "/", &folder(name).join("second"), UNCACHED)?;
    Ok(Running { first, second, _servers: vec![Box::new(fake)] })
}

/// The mounts are two clients: one names no access point, the other one that shows the whole file system.
fn tls(name: &str, kept: bool) -> anyhow::Result<Running> {
    let (fake, file_system) = started(name, kept)?;
    let everything = fake.access_point(&file_system, &AccessPoint { path: Some("/"), ..AccessPoint::default() })?;
    let one = fake.tunnel(&file_system, None)?;
    let two = fake.tunnel(&file_system, Some(&everything))?;
    let first = Mounted::nfs(one.address(), "/", &folder(name).join("first"), "")?;
    let second = Mounted::nfs(two.address(), "/", &folder(name).join("second"), UNCACHED)?;
    Ok(Running { first, second, _servers: vec![Box::new(one), Box::new(two), Box::new(fake)] })
}
