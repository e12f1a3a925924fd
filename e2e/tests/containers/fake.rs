//! The fake's image, and the fake as a peer for the driver.

use std::time::Duration;

use aws_sdk_efs::config::{BehaviorVersion, Credentials, Region};
use testcontainers::core::{IntoContainerPort, WaitFor};
use testcontainers::runners::AsyncRunner;
use testcontainers::{ContainerAsync, GenericImage, ImageExt};

use crate::docker::{confined, have, outcome, run, unique};

const IMAGE: &str = "fake-efs";
const HTTP: u16 = 8080;

/// A fake on a network of its own.
pub(crate) struct Fake {
    /// The Docker network's name.
    pub(crate) network: String,
    name: String,
    client: aws_sdk_efs::Client,
    container: ContainerAsync<GenericImage>,
}

impl Fake {
    pub(crate) async fn start() -> Self {
        let (network, name) = (unique("efs-net"), unique("fake"));
        let args =
            ["serve", "--http=0.0.0.0:8080", "--nfs=0.0.0.0:2049", "--region=us-east-1", "--ca-file=/tmp/ca.pem"];
        let container = confined(IMAGE, WaitFor::message_on_stdout("ready "), args)
            .with_network(&network)
            .with_container_name(&name)
            .with_mapped_port(0, HTTP.tcp())
            .with_mount(testcontainers::core::Mount::tmpfs_mount("/tmp").with_mode(0o1777))
            .start()
            .await
            .expect("the fake starts");
        let port = container.get_host_port_ipv4(HTTP).await.expect("the port is mapped");
        let config = aws_sdk_efs::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new("us-east-1"))
            .endpoint_url(format!("http://127.0.0.1:{port}"))
            .credentials_provider(Credentials::for_tests())
            .build();
        Self { network, name, client: aws_sdk_efs::Client::from_conf(config), container }
    }

    /// The API as other containers of the network reach it.
    pub(crate) fn url_inside(&self) -> String {
        format!("http://{}:{HTTP}", self.name)
    }

    /// Makes a file system and waits until it is available.
    pub(crate) async fn create_file_system(&self) -> String {
        let made = self.client.create_file_system().creation_token(unique("t")).send().await.expect("a file system");
        let id = made.file_system_id().to_owned();
        for _ in 0..100 {
            let all = self.client.describe_file_systems().file_system_id(&id).send().await.expect("it is listed");
            if all.file_systems()[0].life_cycle_state().as_str() == "available" {
                return id;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("{id} does not become available");
    }

    /// The ids of all access points.
    pub(crate) async fn access_points(&self) -> Vec<String> {
        let all = self.client.describe_access_points().send().await.expect("they are listed");
        all.access_points().iter().filter_map(|a| a.access_point_id().map(str::to_owned)).collect()
    }
}

#[tokio::test]
async fn sigterm_ends_the_fake_with_0() {
    if !have(&[IMAGE]) {
        return;
    }
    let fake = Fake::start().await;
    fake.container.stop_with_timeout(Some(30)).await.expect("docker stops it");
    let (code, stdout, stderr) = outcome(&fake.container).await;
    assert_eq!(code, 0, "{stderr}");
    let ready = stdout.lines().next().and_then(|line| line.strip_prefix("ready ")).expect("the first line says it");
    let ready: serde_json::Value = serde_json::from_str(ready).expect("JSON");
    assert_eq!(ready["region"], "us-east-1");
}

#[tokio::test]
async fn wrong_flags_exit_with_2() {
    if !have(&[IMAGE]) {
        return;
    }
    let (code, _, stderr) = run(IMAGE, &["serve", "--no-such-flag"]).await;
    assert_eq!(code, 2, "{stderr}");
    assert!(stderr.contains("--no-such-flag"), "{stderr}");
}
