//! The driver as a process with an environment of its own.

use std::process::{Child, Command, Stdio};
use std::time::Duration;

use csi_proto::csi::controller_client::ControllerClient;
use fake_efs::Instance;
use tonic::transport::{Channel, Endpoint};

/// Killed at the end, whatever happens.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A controller that runs until it is dropped.
pub(crate) struct Driver {
    _process: Process,
    pub(crate) dir: tempfile::TempDir,
    pub(crate) controller: ControllerClient<Channel>,
}

impl Driver {
    /// Starts one with these variables and nothing else but credentials and an empty file in the place of the system's authorities.
    /// `{dir}` in a value is the driver's folder, in which `files` are.
    pub(crate) async fn start(files: &[(&str, &str)], variables: &[(&str, &str)]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join("csi.sock");
        for (name, text) in files.iter().chain(&[("none.pem", "")]) {
            std::fs::write(dir.path().join(name), text).unwrap();
        }
        let usual = [
            ("SSL_CERT_FILE", "{dir}/none.pem"),
            ("AWS_ACCESS_KEY_ID", "AKIAEXAMPLE"),
            ("AWS_SECRET_ACCESS_KEY", "secret"),
            ("AWS_EC2_METADATA_DISABLED", "true"),
        ];
        let folder = dir.path().to_str().unwrap();
        let process = Command::new(env!("CARGO_BIN_EXE_efs-csi-driver"))
            .args(["--mode=controller", "--region=us-east-1", &format!("--endpoint=unix://{}", socket.display())])
            .env_clear()
            .envs(usual.iter().chain(variables).map(|(name, value)| (*name, value.replace("{dir}", folder))))
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut process = Process(process);
        let peer = Endpoint::from_shared(format!("unix://{}", socket.display())).unwrap();
        let channel = loop {
            if let Ok(channel) = peer.connect().await {
                break channel;
            }
            assert!(process.0.try_wait().unwrap().is_none(), "the driver ended by itself");
            tokio::time::sleep(Duration::from_millis(20)).await;
        };
        Self { _process: process, dir, controller: ControllerClient::new(channel) }
    }
}

/// Makes a file system in a fake and gives its id.
pub(crate) fn file_system(fake: &Instance) -> String {
    let requester = fake_efs::world::scope::Requester::root(fake.world().home().clone());
    let wanted = serde_json::from_value(serde_json::json!({"CreationToken": "t"})).unwrap();
    fake.world().create_file_system(&requester, wanted).unwrap().row.id.to_string()
}
