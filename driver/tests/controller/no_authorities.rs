//! The driver as a process on a system without certificate authorities.

use std::process::{Child, Command, Stdio};
use std::time::Duration;

use csi_proto::csi::controller_client::ControllerClient;
use fake_efs::FakeEfs;
use tonic::transport::Endpoint;

use crate::support::request;

/// Killed at the end, whatever happens.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test]
async fn a_driver_before_a_plain_http_endpoint_needs_no_certificate_authorities() {
    let fake = FakeEfs::builder().start().await.unwrap();
    let dir = tempfile::tempdir().unwrap();
    let (socket, empty) = (dir.path().join("csi.sock"), dir.path().join("none.pem"));
    std::fs::write(&empty, "").unwrap();
    let driver = Command::new(env!("CARGO_BIN_EXE_efs-csi-driver"))
        .args(["--mode=controller", "--region=us-east-1", &format!("--endpoint=unix://{}", socket.display())])
        .env_clear()
        .env("SSL_CERT_FILE", &empty)
        .env("AWS_ACCESS_KEY_ID", "AKIAEXAMPLE")
        .env("AWS_SECRET_ACCESS_KEY", "secret")
        .env("AWS_ENDPOINT_URL", fake.http_url())
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut driver = Process(driver);
    let peer = Endpoint::from_shared(format!("unix://{}", socket.display())).unwrap();
    let channel = loop {
        if let Ok(channel) = peer.connect().await {
            break channel;
        }
        assert!(driver.0.try_wait().unwrap().is_none(), "the driver ended by itself");
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    let requester = fake_efs::world::scope::Requester::root(fake.world().home().clone());
    let wanted = serde_json::from_value(serde_json::json!({"CreationToken": "t"})).unwrap();
    let fs = fake.world().create_file_system(&requester, wanted).unwrap().row.id.to_string();
    ControllerClient::new(channel).create_volume(request("pvc-1", &fs, &[])).await.unwrap();
    assert_eq!(fake.journal().count("CreateAccessPoint"), 1);
}
