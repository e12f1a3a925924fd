//! The command line.

mod files;

use std::io::Write;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::{Parser, Subcommand};
use tokio::signal::unix::{SignalKind, signal};

use crate::faults::Rule;
use crate::identities::Signatures;
use crate::instance::{AuthorityPem, FakeEfs, Instance};
use crate::seed::Seed;

/// An Amazon EFS without AWS: its API and a file server behind it.
#[derive(Debug, Parser)]
#[command(name = "fake-efs", version)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve until SIGTERM or SIGINT.
    Serve(Box<Serve>),
    /// Print the exports that a shell needs to use a running fake.
    Env(Env),
}

#[derive(Debug, clap::Args)]
struct Serve {
    /// Where to serve the APIs of EFS, S3 Files and S3, STS, the metadata service and the console; port 0 picks a free one.
    #[arg(long, default_value = "127.0.0.1:4080")]
    http: SocketAddr,
    /// Where to serve NFS, plain and in TLS. On loopback each mount target gets an address of its own with this port.
    #[arg(long, default_value = "127.0.0.1:2049")]
    nfs: SocketAddr,
    /// The address to give to mount targets when NFS isn't served on loopback.
    #[arg(long)]
    nfs_advertise: Option<IpAddr>,
    /// Folder that keeps everything across restarts; without it, all is in memory.
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// What exists at the start: zones, subnets, keys, file systems and so on; see the README.
    #[arg(long, value_name = "YAML")]
    seed_file: Option<PathBuf>,
    /// Where to write the certificate authority that clients of the file server must trust; a file in the folder for
    /// temporary files if missing.
    #[arg(long, value_name = "PEM")]
    ca_file: Option<PathBuf>,
    /// Use this certificate authority, so that clients which trust it go on doing so; without it a new one is made.
    #[arg(long, value_name = "PEM", requires = "ca_key_file")]
    ca_cert_file: Option<PathBuf>,
    /// The private key of --ca-cert-file.
    #[arg(long, value_name = "PEM", requires = "ca_cert_file")]
    ca_key_file: Option<PathBuf>,
    /// Region of callers that don't say.
    #[arg(long, env = "AWS_REGION", default_value = "us-east-1")]
    region: String,
    /// Account of callers that nothing else is known of.
    #[arg(long, default_value = "123456789012")]
    account: String,
    /// Check signatures: only known keys may call.
    #[arg(long)]
    strict_signatures: bool,
    /// Seeds ids and chances, so that a run can be repeated.
    #[arg(long)]
    random_seed: Option<u64>,
    #[command(flatten)]
    files: files::Files,
    /// A fault rule as JSON, as the admin API takes it. May be repeated.
    #[arg(long = "fault", value_name = "JSON", value_parser = parse_rule)]
    faults: Vec<Rule>,
}

#[derive(Debug, clap::Args)]
struct Env {
    /// Where the fake serves HTTP.
    #[arg(long, default_value = "http://127.0.0.1:4080")]
    url: String,
    /// The region to use.
    #[arg(long, default_value = "us-east-1")]
    region: String,
}

fn parse_rule(text: &str) -> Result<Rule, String> {
    serde_json::from_str(text).map_err(|error| error.to_string())
}

/// Runs a command.
pub async fn run(cli: Cli) -> anyhow::Result<()> {
    match cli.command {
        Command::Serve(options) => serve(*options).await,
        Command::Env(options) => {
            print!("{}", exports(&options.url, &options.region));
            Ok(())
        }
    }
}

async fn serve(options: Serve) -> anyhow::Result<()> {
    // Before the ready line: whoever reads it may send the signal at once.
    let mut terminate = signal(SignalKind::terminate()).context("can't watch for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("can't watch for SIGINT")?;
    let signatures = if options.strict_signatures { Signatures::Checked } else { Signatures::Ignored };
    let region = options.region.clone();
    let authority = match (&options.ca_cert_file, &options.ca_key_file) {
        (Some(certificate), Some(key)) => Some(AuthorityPem { certificate: read(certificate)?, key: read(key)? }),
        _ => None,
    };
    let instance = FakeEfs::builder()
        .http(options.http)
        .nfs(options.nfs)
        .advertise(options.nfs_advertise)
        .signatures(signatures)
        .data(options.data)
        .seed(options.seed_file.as_deref().map(Seed::read).transpose()?)
        .authority(authority)
        .files(|files| options.files.choose(files))
        .settings(|settings| {
            settings.account = options.account;
            settings.region = options.region;
            settings.random_seed = options.random_seed.unwrap_or(settings.random_seed);
        })
        .start()
        .await?;
    // After the seed file, whose limits it overrides.
    instance.world().set_limits(|limits| options.files.limit(limits));
    for rule in options.faults {
        instance.faults().add(rule)?;
    }
    let ca = CaFile::write(options.ca_file, instance.ca_pem())?;
    announce(&instance, &region, &ca.path)?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    instance.shutdown().await;
    ca.remove();
    Ok(())
}

/// The certificate authority's file. One that nobody asked for goes when the fake does.
struct CaFile {
    path: PathBuf,
    temporary: bool,
}

impl CaFile {
    fn write(wanted: Option<PathBuf>, pem: &str) -> anyhow::Result<Self> {
        let temporary = wanted.is_none();
        let name = || std::env::temp_dir().join(format!("fake-efs-ca-{}.pem", uuid::Uuid::new_v4()));
        let path = std::path::absolute(wanted.unwrap_or_else(name)).context("no current folder")?;
        std::fs::write(&path, pem).with_context(|| format!("can't write {}", path.display()))?;
        Ok(Self { path, temporary })
    }

    fn remove(self) {
        if self.temporary
            && let Err(error) = std::fs::remove_file(&self.path)
        {
            tracing::warn!(path = %self.path.display(), %error, "can't remove");
        }
    }
}

/// Where everything is, in the order in which it is printed.
#[derive(serde::Serialize)]
struct Ready<'a> {
    http: &'a str,
    nfs: &'a str,
    ca_file: &'a Path,
    region: &'a str,
}

fn read(path: &Path) -> anyhow::Result<String> {
    std::fs::read_to_string(path).with_context(|| format!("can't read {}", path.display()))
}

/// Prints the line that says that all is up.
fn announce(instance: &Instance, region: &str, ca_file: &Path) -> anyhow::Result<()> {
    let http = instance.http_url();
    let nfs = instance.nfs_addr().to_string();
    let ready = serde_json::to_string(&Ready { http: &http, nfs: &nfs, ca_file, region })?;
    let mut stdout = std::io::stdout().lock();
    writeln!(stdout, "ready {ready}").and_then(|()| stdout.flush()).context("can't write to standard output")
}

/// The exports of `fake-efs env`.
fn exports(url: &str, region: &str) -> String {
    let url = url.trim_end_matches('/');
    [
        ("AWS_ENDPOINT_URL_EFS", url),
        ("AWS_ENDPOINT_URL_S3FILES", url),
        ("AWS_ENDPOINT_URL_S3", url),
        ("AWS_ENDPOINT_URL_STS", url),
        ("AWS_EC2_METADATA_SERVICE_ENDPOINT", url),
        ("AWS_REGION", region),
        ("AWS_DEFAULT_REGION", region),
        ("AWS_ACCESS_KEY_ID", "AKIAFAKEFAKEFAKEFAKE"),
        ("AWS_SECRET_ACCESS_KEY", "fake"),
    ]
    .map(|(name, value)| format!("export {name}={value}\n"))
    .concat()
}
