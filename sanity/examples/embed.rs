//! How to run the suite from a program or a test: give it an address, get a report.
//!
//! `cargo run -p csi-sanity --example embed` checks the reference driver, served by the same program.

use csi_sanity::{
    Selection,
    config::Config,
    endpoint::Endpoint,
    reference::{
        Features, MUTABLE_PARAMETER, ReferenceDriver,
        server::{self, Hooks},
    },
    suite,
};
use tokio_util::sync::CancellationToken;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    // Your driver goes here; any socket will do.
    let directory = tempfile::tempdir()?;
    let socket = directory.path().join("csi.sock");
    let listener = server::listen(&socket)?;
    let shutdown = CancellationToken::new();
    let driver = ReferenceDriver::new(Features::all());
    tokio::spawn(server::run(listener, driver, Hooks::default(), shutdown.clone()));

    let mut config = Config::new(Endpoint::Unix(socket));
    config.mount_dir = Some(directory.path().join("mount"));
    config.staging_dir = Some(directory.path().join("staging"));
    config.mutable_parameters = [(MUTABLE_PARAMETER.to_owned(), "fast".to_owned())].into();
    config.selection = Selection::everything();
    let report = suite::run(&config).await?;
    println!("{report}");
    shutdown.cancel();
    anyhow::ensure!(report.passed(), "the driver does not conform");
    Ok(())
}
