//! A reference driver on a socket of its own, and a configuration for it.

use csi_sanity::{
    Selection,
    config::Config,
    endpoint::Endpoint,
    reference::{
        Features, MUTABLE_PARAMETER, ReferenceDriver,
        server::{self, Hooks},
    },
};
use tokio_util::sync::{CancellationToken, DropGuard};

/// A running reference driver; it stops when this is dropped.
pub(crate) struct Running {
    pub(crate) config: Config,
    _directory: tempfile::TempDir,
    _stop: DropGuard,
}

/// Starts a reference driver with its own directory.
pub(crate) fn start(features: Features, hooks: Hooks) -> Running {
    let directory = tempfile::tempdir().expect("the temporary directory is writable");
    let socket = directory.path().join("csi.sock");
    let listener = server::listen(&socket).expect("a fresh path can be bound");
    let stop = CancellationToken::new();
    tokio::spawn(server::run(listener, ReferenceDriver::new(features), hooks, stop.clone()));
    let mut config = Config::new(Endpoint::Unix(socket));
    config.mount_dir = Some(directory.path().join("mount"));
    config.staging_dir = Some(directory.path().join("staging"));
    config.mutable_parameters = [(MUTABLE_PARAMETER.to_owned(), "fast".to_owned())].into();
    config.volume_parameters = [("kind".to_owned(), "test".to_owned())].into();
    config.test_attach_limit = true;
    // The driver runs in this process; the checks of restarts see that nothing happens to it.
    config.restart_command = Some("true".into());
    config.selection = Selection::everything();
    Running { config, _directory: directory, _stop: stop.drop_guard() }
}
