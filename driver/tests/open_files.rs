//! What happens when as many files are open as may be. The limit is the process's: one test, alone in its program.

mod support;

use std::collections::HashSet;
use std::fs::File;
use std::process::{Child, Command};
use std::time::Duration;

use csi_proto::csi::identity_client::IdentityClient;
use efs_csi_driver::mount::{Job, Worker, WorkerError};
use efs_csi_driver::node::errors::NodeError;
use efs_tunnel::dial::check_plain;
use efs_tunnel::{DialError, DialLimits, OpenError};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use support::{Authority, spec, tunnels};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio_util::sync::CancellationToken;
use tonic::Code;
use tonic::transport::Endpoint;

/// A driver that ends with the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// The soft and the hard limit of another process.
fn limits_of(pid: u32) -> (String, String) {
    let limits = std::fs::read_to_string(format!("/proc/{pid}/limits")).expect("limits");
    let line = limits.lines().find(|line| line.starts_with("Max open files")).expect("open files");
    let mut words = line.split_whitespace().skip(3).map(str::to_owned);
    (words.next().expect("soft"), words.next().expect("hard"))
}

async fn the_driver_raises_its_soft_limit() {
    let dir = tempfile::tempdir().expect("temp dir");
    let endpoint = format!("unix://{}", dir.path().join("csi.sock").display());
    // The shell becomes the driver, with its own number.
    let script =
        format!("ulimit -Sn 64 && exec {} --mode=controller --endpoint={endpoint}", support::driver().display());
    let driver = Running(Command::new("sh").args(["-c", &script]).spawn().expect("start"));
    for _ in 0..200 {
        if dir.path().join("csi.sock").exists() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let (soft, hard) = limits_of(driver.0.id());
    assert_eq!(soft, hard);
    assert_ne!(soft, "64");
}

/// The answer of an HTTP endpoint, or why there is none.
async fn health(port: u16) -> std::io::Result<String> {
    let asked = async {
        let mut stream = tokio::net::TcpStream::connect(("127.0.0.1", port)).await?;
        stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        Ok(answer)
    };
    tokio::time::timeout(Duration::from_secs(5), asked).await?
}

/// Whoever connects and says nothing takes files, and neither health nor the kubelet may notice.
async fn connections_take_neither_health_nor_csi_along() {
    let dir = tempfile::tempdir().expect("temp dir");
    let socket = dir.path().join("csi.sock");
    let port = std::net::TcpListener::bind("127.0.0.1:0").expect("bind").local_addr().expect("address").port();
    let script = format!(
        "ulimit -n 64 && exec {} --mode=controller --endpoint=unix://{} --http-endpoint=127.0.0.1:{port}",
        support::driver().display(),
        socket.display()
    );
    let _driver = Running(Command::new("sh").args(["-c", &script]).spawn().expect("start"));
    for _ in 0..200 {
        if socket.exists() && health(port).await.is_ok() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let mut silent = Vec::new();
    let mut waiting = Vec::new();
    for _ in 0..100 {
        silent.push(tokio::net::UnixStream::connect(&socket).await.expect("connect"));
        if let Ok(Ok(stream)) =
            tokio::time::timeout(Duration::from_secs(1), tokio::net::TcpStream::connect(("127.0.0.1", port))).await
        {
            waiting.push(stream);
        }
    }
    for _ in 0..3 {
        let answer = health(port).await.expect("health answers");
        assert!(answer.contains("200 OK"), "{answer}");
        let endpoint = Endpoint::from_shared(format!("unix://{}", socket.display())).expect("endpoint");
        let probed = async {
            let mut client = IdentityClient::new(endpoint.connect().await.expect("connect"));
            client.probe(csi_proto::csi::ProbeRequest {}).await.expect("probe")
        };
        tokio::time::timeout(Duration::from_secs(5), probed).await.expect("CSI answers");
    }
}

#[tokio::test]
async fn the_limit_of_open_files_is_raised_and_named_when_it_is_reached() {
    the_driver_raises_its_soft_limit().await;
    connections_take_neither_health_nor_csi_along().await;

    let authority = Authority::new();
    let silent = std::net::TcpListener::bind("127.0.0.1:0").expect("bind");
    let address = silent.local_addr().expect("address");
    let tunnels = tunnels(&authority, address, DialLimits::default(), CancellationToken::new());
    let lease = tunnels.open(&spec("fsap-0123456789abcdef0"), &HashSet::new()).expect("open");
    let worker = Worker::new(support::driver());

    let before = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: Some(128), ..before }).expect("limit");
    let mut taken: Vec<File> = std::iter::from_fn(|| File::open("/dev/null").ok()).collect();
    assert!(!taken.is_empty());

    let another = tunnels.open(&spec("fsap-0123456789abcdef1"), &HashSet::new()).map(drop);
    let dialled = lease.check().await;
    let plain = check_plain("fs-12345678", &[address], DialLimits::default()).await.map(drop);
    let job = Job::Usage { path: "/".into() };
    let worked = worker.run(&job, Duration::from_secs(5)).await;
    taken.clear();
    setrlimit(Resource::Nofile, before).expect("limit");

    assert!(matches!(another, Err(OpenError::Files { .. })), "{another:?}");
    assert!(matches!(dialled, Err(DialError::Files { .. })), "{dialled:?}");
    assert!(matches!(plain, Err(DialError::Files { .. })), "{plain:?}");
    assert!(matches!(worked, Err(WorkerError::Files(_))), "{worked:?}");
    let told = [
        NodeError::from(another.expect_err("no tunnel")),
        NodeError::from(dialled.expect_err("no connection")),
        NodeError::mount("fs-12345678".to_owned(), "/pods/a".into(), worked.expect_err("no worker")),
    ];
    for error in told {
        assert_eq!(error.code(), Code::ResourceExhausted, "{error}");
        assert!(error.to_string().contains("128 files") && error.to_string().contains("LimitNOFILE"), "{error}");
    }
}
