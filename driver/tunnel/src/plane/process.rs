//! The process of the data plane: what it begins with, and how it ends.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};
use std::{fs, io};

use efs_common::open_files::{self, Spare};
use rustix::process::{Signal, set_parent_process_death_signal};
use tokio::sync::Notify;
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::door::Door;
use super::greet::announce;
use super::remote::Remote;
use super::serve::Plane;
use crate::IssuerSlot;
use crate::admission::{Admission, kernel_is_distinct};
use crate::bind::Binding;
use crate::dial::{DialDeps, DialLimits, Locate, ProvideCredentials};
use crate::keeper::{self, Keeper};
use crate::roots::{self, RootsError};
use crate::supervisor::Tunnels;

/// How long a stopped data plane serves for a successor that has not come yet. Kubernetes starts the next pod beside one that is deleted by
/// force; a pod whose successor waits for its end must not make it wait.
const LINGER: Duration = Duration::from_secs(3);
/// Pause between two looks for one.
const LINGER_PAUSE: Duration = Duration::from_millis(10);
/// Connections end within this time: what is under way is answered, but a server that is away can't be waited for.
const ENDED_WITHIN: Duration = Duration::from_secs(1);
/// How often it is seen whether the name still leads here, and whether anybody needs this process.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// One that isn't to last ends so long after the last tunnel and driver.
const UNUSED_FOR: Duration = Duration::from_secs(3);
/// With tunnels and without a driver it is an uninstalled driver's afterlife, if it is to last no longer than this.
const ORPHANED_FOR: Duration = Duration::from_secs(15 * 60);
/// Pause after a driver could not be accepted.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What it is told when it is started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Where its socket and its keeper's are.
    pub directory: PathBuf,
    /// Authorities that mount targets' certificates must chain to, instead of Amazon's.
    pub tls_ca_file: Option<PathBuf>,
    /// What it calls itself in certificates.
    pub source: String,
    /// A certificate is renewed after this long.
    pub renew_after: Option<Duration>,
    /// Connections to the mount target for one of the kernel's.
    pub max_connections_per_mount: usize,
    /// Admit every socket of uid 0, instead of the kernel's alone.
    pub trusts_root: bool,
    /// Whether it stays when nobody needs it.
    pub stays: bool,
}

/// Why it can't run.
#[derive(Debug, thiserror::Error)]
pub enum PlaneError {
    /// `--tls-ca-file` can't be used.
    #[error("--tls-ca-file: {0}")]
    Roots(#[from] RootsError),
    /// The directory can't be used.
    #[error("cannot listen in {directory}: {source}")]
    Door {
        /// The directory.
        directory: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// Files for drivers when all others are in use: the one that is there, the next one, and who looks whether this process answers.
const SPARE_FILES: usize = 4;

/// Serves tunnels until `stop`, or until nobody needs it if it isn't to stay.
///
/// # Errors
/// When it can't begin.
pub async fn run(settings: Settings, stop: CancellationToken) -> Result<(), PlaneError> {
    if settings.stays {
        // Its keeper is the container's first process, and nobody else would end this one with it. Without a container, one that isn't to
        // stay goes on for as long as there is a driver.
        if let Err(error) = set_parent_process_death_signal(Some(Signal::TERM)) {
            tracing::warn!(%error, "would not notice the keeper's end");
        }
    }
    let _limit = open_files::raise_limit();
    let roots = match &settings.tls_ca_file {
        Some(path) => roots::load(path).await?,
        None => roots::amazon(),
    };
    let issuer = IssuerSlot::new(Some(settings.directory.clone()));
    issuer.prepare();
    let (remote, changed) = (Arc::new(Remote::default()), Arc::new(Notify::new()));
    let default = DialLimits::default();
    let deps = DialDeps {
        issuer,
        roots: Arc::new(roots),
        locate: Arc::clone(&remote) as Arc<dyn Locate>,
        credentials: Arc::clone(&remote) as Arc<dyn ProvideCredentials>,
        source: settings.source.clone(),
        limits: DialLimits { renew_after: settings.renew_after.unwrap_or(default.renew_after), ..default },
        binding: Binding::up_to(settings.max_connections_per_mount),
        changed: Arc::clone(&changed),
    };
    // The drivers say which ports.
    let tunnels = Tunnels::new(deps, 0..=0, admission(settings.trusts_root), CancellationToken::new());
    let plane = Plane::new(tunnels, remote, Some(Keeper::new(settings.directory.clone())), changed);
    // Before anything else, and with nobody's help: the kernel waits.
    let restored = plane.restore().await;
    let looking_after = plane.clone();
    tokio::spawn(async move { looking_after.look_after().await });
    let door = open_door(&settings, restored > 0, &stop).await?;
    tracing::info!(version = super::VERSION, tunnels = restored, "the data plane serves");
    let door = serve(door, &plane, &settings, &stop).await;
    hand_over(&door, &plane, &settings).await;
    if timeout(ENDED_WITHIN, plane.end()).await.is_err() {
        tracing::warn!("connections are cut off");
    }
    if let Err(error) = door.close() {
        tracing::debug!(%error, "cannot remove the socket's name");
    }
    Ok(())
}

/// Listens for drivers. A process that carries volumes goes on with that when it can't, and tries again.
async fn open_door(settings: &Settings, carries: bool, stop: &CancellationToken) -> Result<Door, PlaneError> {
    let mut is_told = false;
    loop {
        let directory = settings.directory.clone();
        let opened = tokio::task::spawn_blocking(move || open_in(&directory)).await;
        let source = match opened.unwrap_or_else(|panic| Err(io::Error::other(panic))) {
            Ok(door) => return Ok(door),
            Err(source) => source,
        };
        let error = PlaneError::Door { directory: settings.directory.clone(), source };
        if !carries {
            return Err(error);
        }
        if !std::mem::replace(&mut is_told, true) {
            tracing::error!(%error, "volumes are carried, and no driver can give orders");
        }
        tokio::select! {
            () = stop.cancelled() => return Err(error),
            () = sleep(LOOK_EVERY) => {}
        }
    }
}

/// Who can write in the directory could put a socket of their own in the place of ours, and be told credentials.
fn open_in(directory: &Path) -> io::Result<Door> {
    let found = fs::metadata(directory)?;
    if found.permissions().mode() & 0o077 != 0 {
        tracing::warn!(directory = %directory.display(), mode = format!("{:o}", found.permissions().mode() & 0o777), "was open to others; closing it");
        fs::set_permissions(directory, fs::Permissions::from_mode(0o700))?;
    }
    Door::open(directory)
}

fn admission(trusts_root: bool) -> Admission {
    if trusts_root {
        return Admission::OnlyUid(0);
    }
    match kernel_is_distinct() {
        Ok(()) => Admission::Kernel,
        Err(error) => {
            tracing::error!(%error, "nobody may use the tunnels; see --tunnels-trust-root");
            Admission::Nobody
        }
    }
}

/// Serves drivers until `stop`, or until nobody needs this process.
async fn serve(mut door: Door, plane: &Plane, settings: &Settings, stop: &CancellationToken) -> Door {
    let mut look = interval(LOOK_EVERY);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    // Volumes take the files, and without a driver nobody can take any back.
    let mut spare = Spare::new(SPARE_FILES);
    loop {
        tokio::select! {
            () = stop.cancelled() => return door,
            accepted = door.accept() => match accepted {
                Ok(Some(stream)) => {
                    spare.refill();
                    let plane = plane.clone();
                    tokio::spawn(async move { plane.attend(stream).await });
                }
                Ok(None) => {}
                Err(error) => {
                    if !spare.lend() {
                        tracing::warn!(%error, "cannot accept a driver");
                        sleep(ACCEPT_PAUSE).await;
                    }
                }
            },
            _ = look.tick() => {
                spare.refill();
                if !settings.stays && is_done(&door, plane) {
                    return door;
                }
                if door.is_lost() {
                    match Door::open(&settings.directory) {
                        Ok(again) => door = again,
                        Err(error) => tracing::debug!(%error, "cannot put the socket back in its place"),
                    }
                }
            }
        }
    }
}

/// Whether nobody needs a process that isn't to stay.
fn is_done(door: &Door, plane: &Plane) -> bool {
    let Some(alone) = plane.alone_for() else { return false };
    // Without a keeper the next data plane could not go on with the sockets, and nobody waits for it.
    let patience = if plane.is_used() && !plane.is_without_keeper() { ORPHANED_FOR } else { UNUSED_FOR };
    door.has_successor() || alone >= patience
}

/// Serves on until a successor serves, not longer than that helps, and makes sure that it has the sockets.
async fn hand_over(door: &Door, plane: &Plane, settings: &Settings) {
    let begin = Instant::now();
    while plane.is_used() && !door.has_successor() && begin.elapsed() < LINGER {
        sleep(LINGER_PAUSE).await;
    }
    if !door.has_successor() {
        return;
    }
    // The successor's keeper takes over what is new here before it answers.
    let directory = settings.directory.clone();
    let asked = tokio::task::spawn_blocking(move || keeper::process::check(&directory)).await;
    if !matches!(asked, Ok(Ok(()))) {
        tracing::warn!("the next data plane's keeper does not answer; it may miss what was opened last");
    }
    // What it has ready the kernel need not wait for.
    if let Err(error) = announce(&settings.directory, plane.carried()).await {
        tracing::info!(%error, "the next data plane makes its connections when the kernel asks for them");
    }
    tracing::info!("a successor serves; going");
}
