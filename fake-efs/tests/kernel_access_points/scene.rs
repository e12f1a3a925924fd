//! The fake and one file system for each row.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Context as _;

use crate::lab::fake::{AccessPoint, Fake, FileSystem, TlsMount};
use crate::lab::files::{self, Errno};
use crate::lab::mounts::Mounted;

/// A row's name and what it checks.
pub(crate) type Row = (&'static str, fn(&Scene<'_>) -> anyhow::Result<()>);

/// The fake that all rows share, started by the first one.
#[derive(Clone, Default)]
pub(crate) struct Shared(Arc<Mutex<Option<Fake>>>);

impl Shared {
    /// Runs a row on a file system of its own.
    pub(crate) fn with(&self, name: &str, check: fn(&Scene<'_>) -> anyhow::Result<()>) -> anyhow::Result<()> {
        let mut fake = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let folder = std::env::temp_dir().join(format!("kernel-access-points-{}", std::process::id()));
        let fake = match &mut *fake {
            Some(fake) => fake,
            nothing => nothing.insert(Fake::start(&folder, None)?),
        };
        let file_system = fake.file_system(name)?;
        let folder = folder.join(name);
        let scene = Scene { fake, file_system, folder };
        check(&scene).with_context(|| scene.fake.server.last_words())
    }

    /// Ends the fake.
    pub(crate) fn close(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
    }
}

/// What a row works with.
pub(crate) struct Scene<'a> {
    /// The fake.
    pub(crate) fake: &'a Fake,
    /// A new file system with a mount target.
    pub(crate) file_system: FileSystem,
    folder: PathBuf,
}

impl Scene<'_> {
    /// The rows' common fake.
    pub(crate) fn shared() -> Shared {
        Shared::default()
    }

    /// Where a mount of this row goes.
    pub(crate) fn target(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// Mounts the whole file system without TLS, as an administrator.
    pub(crate) fn plain(&self) -> anyhow::Result<Mounted> {
        Mounted::nfs(self.file_system.address, "/", &self.target("plain"), ",actimeo=0,lookupcache=none")
            .context("mounting without TLS")
    }

    /// Mounts through a new access point.
    pub(crate) fn through(&self, name: &str, wanted: &AccessPoint<'_>) -> anyhow::Result<TlsMount> {
        let id = self.fake.access_point(&self.file_system, wanted)?;
        self.fake.mount(&self.file_system, Some(&id), &self.target(name))
    }

    /// Fails unless a mount through this access point is denied.
    pub(crate) fn denied(&self, access_point: Option<&str>) -> anyhow::Result<()> {
        let errno = self.refusal(access_point)?;
        anyhow::ensure!(is_denial(errno), "expected a denial, got {errno:?}");
        Ok(())
    }

    /// What a mount through this access point is refused with.
    pub(crate) fn refusal(&self, access_point: Option<&str>) -> anyhow::Result<Errno> {
        match self.fake.mount(&self.file_system, access_point, &self.target("refused")) {
            Ok(_) => anyhow::bail!("the mount was expected to be refused"),
            Err(error) => error.downcast::<Errno>().context("a mount fails with an error number"),
        }
    }
}

/// Owner, group and mode of a path.
pub(crate) fn described(path: &Path) -> anyhow::Result<(u32, u32, u32)> {
    let told = files::lstat(path).with_context(|| format!("{path:?}"))?;
    Ok((told.st_uid, told.st_gid, told.st_mode & 0o7777))
}

/// Whether a mount failed because the server denied access. Linux makes EPERM of the server's NFS4ERR_ACCESS while it still
/// tries security flavours, which it does unless the mount names one (`sec=sys`).
pub(crate) fn is_denial(errno: Errno) -> bool {
    matches!(errno, Errno::ACCESS | Errno::PERM)
}
