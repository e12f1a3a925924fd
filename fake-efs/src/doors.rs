//! The addresses of mount targets: each gets a listener of the file server for as long as the target exists.

use std::collections::HashMap;
use std::net::{IpAddr, TcpListener};
use std::sync::{Mutex, PoisonError};

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{debug, warn};

use crate::nfs::Server;
use crate::world::network::Doors;

/// Opens listeners on the file server's port.
pub(crate) struct Listeners {
    /// Set once the server exists, and taken away at the end: the server asks the world, and the world opens doors, so
    /// that neither would ever be dropped.
    server: Mutex<Option<Server>>,
    port: u16,
    stop: CancellationToken,
    tasks: TaskTracker,
    open: Mutex<HashMap<IpAddr, CancellationToken>>,
}

impl Listeners {
    pub(crate) fn new(port: u16, stop: CancellationToken, tasks: TaskTracker) -> Self {
        Self { server: Mutex::default(), port, stop, tasks, open: Mutex::default() }
    }

    /// Says which server the doors lead to. Without one, no door opens.
    pub(crate) fn lead_to(&self, server: Option<Server>) {
        *self.server.lock().unwrap_or_else(PoisonError::into_inner) = server;
    }
}

impl Doors for Listeners {
    fn open(&self, address: IpAddr) -> bool {
        let Some(server) = self.server.lock().unwrap_or_else(PoisonError::into_inner).clone() else { return false };
        let listener = TcpListener::bind((address, self.port))
            .and_then(|listener| listener.set_nonblocking(true).map(|()| listener))
            .and_then(tokio::net::TcpListener::from_std);
        let listener = match listener {
            Ok(listener) => listener,
            Err(error) => {
                debug!(%address, %error, "can't listen; the mount target shares the main address or takes another");
                return false;
            }
        };
        let closed = self.stop.child_token();
        self.open.lock().unwrap_or_else(PoisonError::into_inner).insert(address, closed.clone());
        self.tasks.spawn(async move {
            if let Err(error) = server.run(listener, closed).await {
                warn!(%address, %error, "a mount target's listener failed");
            }
        });
        true
    }

    fn close(&self, address: IpAddr) {
        if let Some(closed) = self.open.lock().unwrap_or_else(PoisonError::into_inner).remove(&address) {
            closed.cancel();
        }
    }
}
