//! The `fake-efs` program.

use std::io::IsTerminal as _;

use clap::Parser;
use fake_efs::cli::{self, Cli};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tracing_subscriber::EnvFilter;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    // What S3 refuses is no error of the fake's; the crate behind its door reports every refusal as one.
    let wanted = std::env::var(EnvFilter::DEFAULT_ENV).unwrap_or_else(|_| "info,s3s=off".to_owned());
    let filter = EnvFilter::builder().with_default_directive(tracing::Level::INFO.into()).parse_lossy(wanted);
    let logs = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    logs.with_ansi(std::io::stderr().is_terminal()).init();
    raise_open_files();
    cli::run(Cli::parse()).await
}

/// Each connection is an open file, and the usual soft limit of 1,024 is for programs that use `select`.
fn raise_open_files() {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }) {
        tracing::warn!(%error, "cannot raise the limit of open files");
    }
}
