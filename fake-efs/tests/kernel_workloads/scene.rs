//! Two clients of one file system over TLS, whose connections break every second.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::Context as _;

use crate::lab::fake::{AccessPoint, Fake, TlsMount};

/// A named piece of work and the programs it needs.
#[derive(Clone, Copy)]
pub(crate) struct Workload {
    /// The test's name.
    pub(crate) name: &'static str,
    /// Programs without which it is skipped.
    pub(crate) needs: &'static [&'static str],
    /// The work.
    pub(crate) work: fn(&Scene) -> anyhow::Result<()>,
}

/// What a workload works on.
pub(crate) struct Scene {
    /// A client without an access point.
    pub(crate) one: TlsMount,
    /// Another client: an access point that shows the whole file system.
    pub(crate) two: TlsMount,
    /// A folder that is not on NFS.
    pub(crate) local: PathBuf,
    /// Whether the work is done at full size.
    pub(crate) full: bool,
}

impl Scene {
    /// One of two sizes.
    pub(crate) fn size<T>(&self, usual: T, full: T) -> T {
        if self.full { full } else { usual }
    }
}

/// Connections break after so long, again and again.
const RESETS: Duration = Duration::from_secs(1);

/// Does a piece of work while connections break, and says how many did.
pub(crate) fn run(workload: &Workload) -> anyhow::Result<()> {
    let folder = std::env::temp_dir().join(format!("kernel-workloads-{}", std::process::id())).join(workload.name);
    let fake = Fake::start(&folder, Some(&folder.join("data")))?;
    let file_system = fake.file_system(workload.name)?;
    let everything = fake.access_point(&file_system, &AccessPoint { path: Some("/"), ..AccessPoint::default() })?;
    let one = fake.mount(&file_system, None, &folder.join("one"))?;
    let two = fake.mount(&file_system, Some(&everything), &folder.join("two"))?;
    let local = folder.join("local");
    std::fs::create_dir_all(&local)?;
    let full = std::env::var_os("MOUNTS_FULL").is_some_and(|value| value == "1");
    let scene = Scene { one, two, local, full };
    let resetting = [scene.one.tunnel.reset_every(RESETS), scene.two.tunnel.reset_every(RESETS)];
    let start = Instant::now();
    let outcome = (workload.work)(&scene);
    let seconds = start.elapsed().as_secs_f64();
    let [one, two] = resetting;
    println!("{}: {seconds:.1} s, {} broken connections", workload.name, one.finish()? + two.finish()?);
    outcome.with_context(|| fake.server.last_words())
}
