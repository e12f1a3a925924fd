//! fake-efs as a process, with AWS's own SDK as its client.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use aws_sdk_efs::config::{BehaviorVersion, Credentials, Region};
use aws_sdk_efs::types::LifeCycleState;
use http::Method;
use http_body_util::{BodyExt as _, Full};
use hyper_util::client::legacy::Client as HttpClient;
use hyper_util::rt::TokioExecutor;
use serde::Deserialize;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::Command;

use super::process::{Exit, Process};

/// Where a running fake-efs listens: the line `ready {…}` that it prints first.
#[derive(Clone, Debug, Deserialize)]
pub struct Ready {
    /// The EFS API, e.g. `http://127.0.0.1:40001`.
    pub http: String,
    /// The NFS server's main address.
    pub nfs: SocketAddr,
    /// The certificate authority of its TLS server certificates.
    pub ca_file: PathBuf,
    /// The AWS region it plays.
    pub region: String,
}

/// A running fake-efs.
#[derive(Debug)]
pub struct Fake {
    /// Where it listens.
    pub ready: Ready,
    /// The process.
    pub process: Process,
    client: aws_sdk_efs::Client,
    binary: PathBuf,
    dir: PathBuf,
    extra: Vec<String>,
}

impl Fake {
    /// Starts `binary` with free ports on loopback and waits until it is ready. Logs and the CA file go to `dir`.
    pub async fn start(binary: &Path, dir: &Path, extra: &[&str]) -> anyhow::Result<Self> {
        Self::start_at(binary, dir, (0, 0), extra).await
    }

    /// The same with these ports for HTTP and NFS. Whoever wants to [`Self::restart`] it should take ports below those that the
    /// kernel gives to connections: another socket might sit on them when it comes back.
    pub async fn start_at(binary: &Path, dir: &Path, ports: (u16, u16), extra: &[&str]) -> anyhow::Result<Self> {
        let mut command = Command::new(binary);
        command.args(["serve", "--region", "us-east-1"]);
        command.arg(format!("--http=127.0.0.1:{}", ports.0)).arg(format!("--nfs=127.0.0.1:{}", ports.1));
        command.arg("--ca-file").arg(dir.join("fake-ca.pem")).args(extra);
        let mut process = Process::spawn("fake-efs", command, &dir.join("fake-efs.log"), true)?;
        let stdout = process.take_stdout().context("standard output was asked for as a pipe")?;
        let mut lines = BufReader::new(stdout).lines();
        let first = tokio::time::timeout(Duration::from_secs(20), lines.next_line())
            .await
            .context("fake-efs printed no ready line within 20 s")??;
        let Some(first) = first else {
            process.wait(Duration::from_secs(5)).await?;
            anyhow::bail!("fake-efs ended before it was ready:\n{}", process.log_tail(20));
        };
        // Whatever else it prints must not fill the pipe.
        tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        let json = first.strip_prefix("ready ").with_context(|| format!("not a ready line: {first}"))?;
        let ready: Ready = serde_json::from_str(json).with_context(|| format!("parsing the ready line {json}"))?;
        let client = aws_sdk_efs::Client::from_conf(
            aws_sdk_efs::Config::builder()
                .behavior_version(BehaviorVersion::latest())
                .region(Region::new(ready.region.clone()))
                .credentials_provider(Credentials::new("AKIAIOSFODNN7EXAMPLE", "secret", None, None, "demo"))
                .endpoint_url(&ready.http)
                .build(),
        );
        let extra = extra.iter().map(|word| (*word).to_owned()).collect();
        Ok(Self { ready, process, client, binary: binary.to_owned(), dir: dir.to_owned(), extra })
    }

    /// Stops it, or kills it, and starts it again at the same addresses. With `--data` everything is as before.
    pub async fn restart(&mut self, kill: bool) -> anyhow::Result<()> {
        if kill {
            self.process.kill(Duration::from_secs(20)).await?;
        } else {
            self.stop().await?;
        }
        let http: http::Uri = self.ready.http.parse()?;
        let ports = (http.port_u16().context("no HTTP port")?, self.ready.nfs.port());
        let extra: Vec<&str> = self.extra.iter().map(String::as_str).collect();
        *self = Self::start_at(&self.binary, &self.dir, ports, &extra).await?;
        Ok(())
    }

    /// AWS's SDK, pointed at this fake.
    pub fn client(&self) -> &aws_sdk_efs::Client {
        &self.client
    }

    /// Makes a file system with one mount target and waits until both are available. Answers the file system's id and the
    /// mount target's address.
    pub async fn create_file_system(&self, name: &str) -> anyhow::Result<(String, String)> {
        let made = self.client.create_file_system().creation_token(name).encrypted(true).send().await?;
        let id = made.file_system_id;
        for _ in 0..100 {
            let described = self.client.describe_file_systems().file_system_id(&id).send().await?;
            if described.file_systems().first().is_some_and(|f| f.life_cycle_state == LifeCycleState::Available) {
                break;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        self.client.create_mount_target().file_system_id(&id).subnet_id("subnet-0123456789abcdef0").send().await?;
        for _ in 0..100 {
            let described = self.client.describe_mount_targets().file_system_id(&id).send().await?;
            let target = described.mount_targets().first();
            if let Some(target) = target.filter(|t| t.life_cycle_state == LifeCycleState::Available) {
                return Ok((id, target.ip_address().context("a mount target without an address")?.to_owned()));
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        anyhow::bail!("the mount target of {id} did not become available within 5 s")
    }

    /// GETs a path of the fake's admin API, e.g. `/_fake/connections`, and parses the JSON answer.
    pub async fn admin(&self, path: &str) -> anyhow::Result<serde_json::Value> {
        self.command(Method::GET, path, &serde_json::Value::Null).await
    }

    /// The partition of each open connection that a client has bound.
    pub async fn bound_partitions(&self) -> anyhow::Result<Vec<u64>> {
        let answer = self.admin("/_fake/connections").await?;
        let list = answer.as_array().or_else(|| answer.get("Connections").and_then(serde_json::Value::as_array));
        let bound = list.context("a list of connections")?.iter().filter(|it| !it["Binding"].is_null());
        Ok(bound.filter_map(|it| it["Partition"].as_u64()).collect())
    }

    /// Sends any request to the fake's admin API, and parses the JSON answer.
    pub async fn command(
        &self,
        method: Method,
        path: &str,
        body: &serde_json::Value,
    ) -> anyhow::Result<serde_json::Value> {
        let client = HttpClient::builder(TokioExecutor::new()).build_http::<Full<bytes::Bytes>>();
        let body = if body.is_null() { bytes::Bytes::new() } else { body.to_string().into() };
        let what = format!("{method} {path}");
        let request = http::Request::builder().method(method).uri(format!("{}{path}", self.ready.http));
        let answer = client.request(request.body(Full::new(body))?).await.with_context(|| what.clone())?;
        let status = answer.status();
        let body = answer.into_body().collect().await?.to_bytes();
        ensure!(status.is_success(), "{what} answered {status}: {}", String::from_utf8_lossy(&body));
        serde_json::from_slice(&body).with_context(|| format!("parsing the answer of {what}"))
    }

    /// Switches a fault on the wire on, e.g. `{"effect": {"kind": "reset"}, "times": 1}`.
    pub async fn add_wire_fault(&self, fault: &serde_json::Value) -> anyhow::Result<()> {
        self.command(Method::POST, "/_fake/wire-faults", fault).await.map(drop)
    }

    /// Switches all faults on the wire off.
    pub async fn clear_wire_faults(&self) -> anyhow::Result<()> {
        self.command(Method::DELETE, "/_fake/wire-faults", &serde_json::Value::Null).await.map(drop)
    }

    /// Ends every connection to the file server.
    pub async fn end_connections(&self) -> anyhow::Result<()> {
        self.command(Method::DELETE, "/_fake/connections", &serde_json::Value::Null).await.map(drop)
    }

    /// Stops it as an operator would; a clean stop exits 0.
    pub async fn stop(&mut self) -> anyhow::Result<()> {
        let exit = self.process.stop(Duration::from_secs(10)).await?;
        ensure!(
            exit == Exit::Code(0),
            "fake-efs ended with {exit:?} on SIGTERM; its last words:\n{}",
            self.process.log_tail(20)
        );
        Ok(())
    }
}
