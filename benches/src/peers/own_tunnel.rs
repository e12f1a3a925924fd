//! The driver's tunnel in a process of its own, with nothing else of the driver in it.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use async_trait::async_trait;
use aws_credential_types::Credentials;
use efs_csi_e2e::stack::Process;
use efs_tunnel::{
    Admission, Binding, DialDeps, DialLimits, IamSource, IssuerSlot, Locate, LocateError, ProvideCredentials, Route,
    TunnelSpec, Tunnels, roots,
};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::Command;
use tokio_util::sync::CancellationToken;

use super::TunnelSet;
use crate::endpoint::{Identity, SERVER_NAME};

/// Our name in reports.
pub const NAME: &str = "efs-csi-driver";

/// Starts `program tunnel`, which calls [`hold`], and reads the ports that it prints.
pub async fn start(
    program: &Path,
    upstream: SocketAddr,
    identity: &Identity,
    dir: &Path,
    count: usize,
) -> anyhow::Result<TunnelSet> {
    let mut command = Command::new(program);
    command.arg("tunnel").arg("--upstream").arg(upstream.to_string());
    command.arg("--ca-file").arg(&identity.ca_file).arg("--count").arg(count.to_string());
    let mut process = Process::spawn(NAME, command, &dir.join("tunnel.log"), true)?;
    let stdout = process.take_stdout().context("standard output was asked for as a pipe")?;
    let mut lines = BufReader::new(stdout).lines();
    let line = tokio::time::timeout(Duration::from_secs(30), lines.next_line())
        .await
        .context("the tunnel process printed no ports within 30 s")??
        .with_context(|| format!("the tunnel process ended at once:\n{}", process.log_tail(10)))?;
    let ports = line.split(' ').map(str::parse).collect::<Result<_, _>>().with_context(|| format!("ports: {line}"))?;
    Ok(TunnelSet { name: NAME, ports, processes: vec![process] })
}

/// Opens `count` tunnels to `upstream`, prints their ports in one line and carries connections until the process is ended.
pub async fn hold(upstream: SocketAddr, ca_file: &Path, count: usize) -> anyhow::Result<()> {
    let deps = DialDeps {
        issuer: IssuerSlot::new(None),
        roots: Arc::new(roots::from_file(ca_file)?),
        locate: Arc::new(At(upstream)),
        credentials: Arc::new(NoCredentials),
        source: "k8s".to_owned(),
        limits: DialLimits::default(),
        binding: Binding::off(),
        changed: Arc::default(),
    };
    deps.issuer.get().await.context("making the client key")?;
    let stop = CancellationToken::new();
    let uid = rustix::process::geteuid().as_raw();
    // Port 0: the system picks a free one.
    let tunnels = Tunnels::new(deps, 0..=0, Admission::OnlyUid(uid), stop.clone());
    let mut leases = Vec::with_capacity(count);
    for number in 0..count {
        let spec = TunnelSpec {
            service: efs_tunnel::Service::Efs,
            file_system: "fs-12345678".to_owned(),
            access_point: Some(format!("fsap-{number:017x}")),
            region: "us-east-1".to_owned(),
            server_name: SERVER_NAME.to_owned(),
            iam: None,
            route: Route::default(),
        };
        leases.push(tunnels.open(&spec, &HashSet::new())?);
    }
    let ports: Vec<String> = leases.iter().map(|lease| lease.port().to_string()).collect();
    println!("{}", ports.join(" "));
    stop.cancelled().await;
    Ok(())
}

struct At(SocketAddr);

#[async_trait]
impl Locate for At {
    async fn locate(&self, _: &TunnelSpec) -> Result<Vec<SocketAddr>, LocateError> {
        Ok(vec![self.0])
    }

    fn forget(&self, _: &TunnelSpec) {}
}

struct NoCredentials;

#[async_trait]
impl ProvideCredentials for NoCredentials {
    async fn credentials(&self, _: &IamSource, _: &str) -> Result<Credentials, efs_tunnel::CredentialsError> {
        Err(efs_tunnel::CredentialsError::Told("a benchmark has no credentials".to_owned()))
    }
}
