//! fake-efs as a process, and AWS's SDK to tell it what there is.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use aws_sdk_efs::Client;
use aws_sdk_efs::config::{BehaviorVersion, Credentials, Region};
use aws_sdk_efs::types::{CreationInfo, LifeCycleState, PosixUser, RootDirectory};
use serde::Deserialize;
use tokio::runtime::Runtime;

use super::mounts::Mounted;
use super::process::Server;
use super::signing::Keys;
use super::tunnel::{Identity, Tunnel};

/// A cold start in a debug build on one slow CPU.
const START: Duration = Duration::from_secs(20);
const STATE_CHANGE: Duration = Duration::from_secs(10);

/// The line `ready {…}` that the fake prints first.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Ready {
    /// The EFS API.
    pub(crate) http: String,
    /// The main address of the file server.
    pub(crate) nfs: SocketAddr,
    /// The authority of its TLS certificates.
    pub(crate) ca_file: PathBuf,
    /// The region it plays.
    pub(crate) region: String,
}

/// A running fake.
pub(crate) struct Fake {
    /// Where it listens.
    pub(crate) ready: Ready,
    /// The process.
    pub(crate) server: Server,
    client: Client,
    runtime: Runtime,
}

/// A file system and where it is mounted from.
#[derive(Clone, Debug)]
pub(crate) struct FileSystem {
    /// `fs-…`
    pub(crate) id: String,
    /// `fsmt-…`
    pub(crate) mount_target: String,
    /// Address and port of the mount target.
    pub(crate) address: SocketAddr,
}

/// What an access point is made of.
#[derive(Clone, Debug, Default)]
pub(crate) struct AccessPoint<'a> {
    /// Its root; the file system's root if none is named.
    pub(crate) path: Option<&'a str>,
    /// Enforced user, group and further groups.
    pub(crate) user: Option<(i64, i64, &'a [i64])>,
    /// Owner, group and mode of a root that is missing.
    pub(crate) creation: Option<(i64, i64, &'a str)>,
}

impl Fake {
    /// Starts a fake on free ports. With `data`, files are kept in that directory, else in memory.
    pub(crate) fn start(dir: &Path, data: Option<&Path>) -> anyhow::Result<Self> {
        std::fs::create_dir_all(dir)?;
        let mut command = Command::new(program());
        command.args(["serve", "--region", "us-east-1", "--http", "127.0.0.1:0", "--nfs", "127.0.0.1:0"]);
        command.arg("--ca-file").arg(dir.join("ca.pem"));
        if let Some(data) = data {
            command.arg("--data").arg(data);
        }
        let mut server = Server::start(command, &dir.join("fake-efs.log"))?;
        let line = server.first_line(START)?;
        let json = line.strip_prefix("ready ").with_context(|| format!("not a ready line: {line}"))?;
        let ready: Ready = serde_json::from_str(json).with_context(|| format!("parsing {json}"))?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let client = Client::from_conf(
            aws_sdk_efs::Config::builder()
                .behavior_version(BehaviorVersion::latest())
                .region(Region::new(ready.region.clone()))
                .credentials_provider(Credentials::new("AKIAIOSFODNN7EXAMPLE", "secret", None, None, "test"))
                .endpoint_url(&ready.http)
                .build(),
        );
        Ok(Self { ready, server, client, runtime })
    }

    /// Makes a file system with a mount target and waits until both are available.
    pub(crate) fn file_system(&self, token: &str) -> anyhow::Result<FileSystem> {
        self.runtime.block_on(async {
            let made = self.client.create_file_system().creation_token(token).send().await?;
            let id = made.file_system_id;
            self.until("the file system is available", async || {
                let described = self.client.describe_file_systems().file_system_id(&id).send().await?;
                Ok(described.file_systems().first().is_some_and(|it| it.life_cycle_state == LifeCycleState::Available))
            })
            .await?;
            let subnet = "subnet-0123456789abcdef0";
            let target = self.client.create_mount_target().file_system_id(&id).subnet_id(subnet).send().await?;
            let mount_target = target.mount_target_id;
            self.until("the mount target is available", async || {
                let described = self.client.describe_mount_targets().mount_target_id(&mount_target).send().await?;
                Ok(described.mount_targets().first().is_some_and(|it| it.life_cycle_state == LifeCycleState::Available))
            })
            .await?;
            let ip = target.ip_address.context("a mount target has an address")?;
            let address = SocketAddr::new(ip.parse()?, self.ready.nfs.port());
            Ok(FileSystem { id, mount_target, address })
        })
    }

    /// Makes an access point and waits until it is available.
    pub(crate) fn access_point(&self, of: &FileSystem, wanted: &AccessPoint<'_>) -> anyhow::Result<String> {
        let creation = match wanted.creation {
            Some((uid, gid, mode)) => {
                Some(CreationInfo::builder().owner_uid(uid).owner_gid(gid).permissions(mode).build()?)
            }
            None => None,
        };
        let user = match wanted.user {
            Some((uid, gid, groups)) => {
                let groups = (!groups.is_empty()).then(|| groups.to_vec());
                Some(PosixUser::builder().uid(uid).gid(gid).set_secondary_gids(groups).build()?)
            }
            None => None,
        };
        let root = wanted.path.map(|path| RootDirectory::builder().path(path).set_creation_info(creation).build());
        self.runtime.block_on(async {
            let request = self.client.create_access_point().file_system_id(&of.id).set_posix_user(user);
            let made = request.set_root_directory(root).send().await?;
            let id = made.access_point_id.context("an access point has an id")?;
            self.until("the access point is available", async || {
                let described = self.client.describe_access_points().access_point_id(&id).send().await?;
                let state = described.access_points().first().and_then(|it| it.life_cycle_state.clone());
                Ok(state == Some(LifeCycleState::Available))
            })
            .await?;
            Ok(id)
        })
    }

    /// Replaces the policy of a file system.
    pub(crate) fn set_policy(&self, of: &FileSystem, policy: &serde_json::Value) -> anyhow::Result<()> {
        let request = self.client.put_file_system_policy().file_system_id(&of.id).policy(policy.to_string());
        self.runtime.block_on(request.send())?;
        Ok(())
    }

    /// Removes an access point.
    pub(crate) fn delete_access_point(&self, id: &str) -> anyhow::Result<()> {
        self.runtime.block_on(self.client.delete_access_point().access_point_id(id).send())?;
        Ok(())
    }

    /// Removes the mount target of a file system.
    pub(crate) fn delete_mount_target(&self, of: &FileSystem) -> anyhow::Result<()> {
        let request = self.client.delete_mount_target().mount_target_id(&of.mount_target);
        self.runtime.block_on(request.send())?;
        Ok(())
    }

    /// A TLS tunnel to a file system, through an access point if one is named.
    pub(crate) fn tunnel(&self, to: &FileSystem, access_point: Option<&str>) -> anyhow::Result<Tunnel> {
        self.tunnel_as(to, access_point, None)
    }

    fn tunnel_as(&self, to: &FileSystem, access_point: Option<&str>, keys: Option<&Keys>) -> anyhow::Result<Tunnel> {
        let access_point = access_point.map(str::to_owned);
        let who = Identity { file_system: to.id.clone(), access_point, iam: keys.cloned() };
        Tunnel::open(to.address, &self.ready.ca_file, &self.ready.region, &who)
    }

    /// A mount through a tunnel of its own.
    pub(crate) fn mount(&self, of: &FileSystem, access_point: Option<&str>, path: &Path) -> anyhow::Result<TlsMount> {
        self.mount_as(of, access_point, None, path)
    }

    /// The same as a principal.
    pub(crate) fn mount_as(
        &self,
        of: &FileSystem,
        access_point: Option<&str>,
        keys: Option<&Keys>,
        path: &Path,
    ) -> anyhow::Result<TlsMount> {
        let tunnel = self.tunnel_as(of, access_point, keys)?;
        let mount = Mounted::nfs(tunnel.address(), "/", path, "")
            .with_context(|| format!("mounting {}; {}", of.id, self.server.last_words()))?;
        Ok(TlsMount { mount, tunnel })
    }

    /// Sends something to the fake's own API.
    pub(crate) fn admin(&self, call: &str, body: &serde_json::Value) -> anyhow::Result<()> {
        let (host, body) = (self.ready.http.trim_start_matches("http://"), body.to_string());
        let mut stream = TcpStream::connect(host)?;
        let head = format!("POST /_fake/{call} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n");
        write!(stream, "{head}content-length: {}\r\n\r\n{body}", body.len())?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        ensure!(answer.starts_with("HTTP/1.1 200 "), "{call}: {answer}");
        Ok(())
    }

    /// A new session of a role.
    pub(crate) fn assume_role(&self, arn: &str) -> anyhow::Result<Keys> {
        let config = aws_sdk_sts::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new(self.ready.region.clone()))
            .credentials_provider(Credentials::new("AKIAIOSFODNN7EXAMPLE", "secret", None, None, "test"))
            .endpoint_url(&self.ready.http)
            .build();
        let call = aws_sdk_sts::Client::from_conf(config).assume_role().role_arn(arn).role_session_name("kernel-test");
        let given = self.runtime.block_on(call.send())?.credentials.context("credentials")?;
        Ok(Keys { id: given.access_key_id, secret: given.secret_access_key, session_token: Some(given.session_token) })
    }

    async fn until(&self, what: &str, check: impl AsyncFn() -> anyhow::Result<bool>) -> anyhow::Result<()> {
        let end = Instant::now() + STATE_CHANGE;
        while !check().await? {
            ensure!(Instant::now() < end, "not within {STATE_CHANGE:?}: {what}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        Ok(())
    }
}

/// The program, which Cargo builds next to the tests. (`CARGO_BIN_EXE_…` is lost in this project's compiler wrapper: shells
/// drop variables with a hyphen in their name.)
fn program() -> PathBuf {
    let test = std::env::current_exe().expect("path of this test");
    test.ancestors().nth(2).expect("target directory").join("fake-efs")
}

/// A mount and the tunnel it goes through; the mount goes first.
pub(crate) struct TlsMount {
    /// The mount.
    pub(crate) mount: Mounted,
    /// The tunnel.
    pub(crate) tunnel: Tunnel,
}

impl TlsMount {
    /// A path below the mount.
    pub(crate) fn at(&self, name: &str) -> PathBuf {
        self.mount.path().join(name)
    }

    /// The mount's root.
    pub(crate) fn root(&self) -> &Path {
        self.mount.path()
    }
}
