//! TLS tunnels between the kernel's NFS client and EFS mount targets.
//!
//! The kernel mounts `127.0.0.1:<port>`; the tunnel behind that port speaks TLS to the mount target and presents the
//! client certificate that names file system, access point and IAM identity. One process serves all tunnels.
//!
//! - [`identity`]: what a tunnel stands for
//! - [`key`], [`certificate`], [`signing`]: who we are
//! - [`roots`]: whom we believe
//! - [`dial`]: one connection to a mount target
//! - `race`: which of its addresses
//! - `staggered`: the first of several attempts that succeeds
//! - [`ahead`]: reading several records at once
//! - [`bind`]: which of the server's partitions a connection leads to
//! - [`pump`]: bytes between the two sides, over one connection
//! - [`mux`]: calls and replies over several connections
//! - [`scale`]: how many connections there are
//! - [`record`], `buffer`: where records end, and what holds them
//! - [`peer`], [`admission`]: who connects to the port, and who may
//! - `failure`: what went wrong, in a form that crosses a socket
//! - `drain`: the last moments of a connection
//! - `warm`: connections made ahead of the kernel's
//! - [`listener`]: the port of one tunnel
//! - [`tunnel`]: one of them, and what is known of its mount target
//! - [`supervisor`]: all tunnels
//! - [`report`]: what a tunnel tells about itself
//! - [`plane`]: all of this as a process of its own, and the driver's way to it
//! - [`keeper`]: the process that holds the ports and starts that one

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::OnceCell;

pub mod admission;
pub mod ahead;
pub mod bind;
mod buffer;
pub mod certificate;
pub mod dial;
mod drain;
mod failure;
pub mod identity;
pub mod keeper;
pub mod key;
pub mod listener;
pub mod mux;
pub mod peer;
pub mod plane;
pub mod pump;
mod race;
pub mod record;
pub mod report;
pub mod roots;
pub mod scale;
pub mod signing;
mod staggered;
pub mod supervisor;
pub mod tunnel;
mod warm;

pub use admission::Admission;
pub use bind::Binding;
pub use dial::{CredentialsError, DialDeps, DialError, DialLimits, Locate, LocateError, ProvideCredentials};
pub use identity::{IamSource, PodAuthority, PodIdentity, Route, Service, TunnelSpec, ZoneAddresses};
pub use supervisor::{OpenError, TunnelLease, Tunnels};
pub use tunnel::Tunnel;

/// The certificate issuer, made on first use (or ahead of it, see [`IssuerSlot::prepare`]).
#[derive(Clone)]
pub struct IssuerSlot {
    state_dir: Option<PathBuf>,
    cell: Arc<OnceCell<Arc<certificate::Issuer>>>,
}

impl IssuerSlot {
    /// An issuer whose key is kept in `state_dir`; in memory only without one.
    pub fn new(state_dir: Option<PathBuf>) -> Self {
        Self { state_dir, cell: Arc::default() }
    }

    /// Starts making the key in the background, so that the first mount needn't wait for it.
    pub fn prepare(&self) {
        let slot = self.clone();
        tokio::spawn(async move {
            if let Err(error) = slot.get().await {
                tracing::error!(%error, "no client key yet; the next mount tries again");
            }
        });
    }

    /// The issuer. Waits for a key that is being made; after a failure, tries again.
    pub async fn get(&self) -> Result<Arc<certificate::Issuer>, Arc<key::KeyError>> {
        let make = || async {
            let state_dir = self.state_dir.clone();
            let made = tokio::task::spawn_blocking(move || match state_dir {
                Some(dir) => key::ClientKey::load_or_create(&dir),
                None => key::ClientKey::generate(),
            });
            let key = made.await.map_err(key::KeyError::Interrupted)??;
            Ok(Arc::new(certificate::Issuer::new(Arc::new(key))))
        };
        self.cell.get_or_try_init(make).await.cloned().map_err(|error: key::KeyError| Arc::new(error))
    }
}

/// A lock that a panic has poisoned is used all the same: nothing is left half done while one is held.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The README's example is compiled with the tests.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
