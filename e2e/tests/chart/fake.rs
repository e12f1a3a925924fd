//! The fake that the chart installs: started here from the very arguments, seed and authority that the chart renders.

use aws_sdk_efs::config::{BehaviorVersion, Credentials, Region};
use base64::Engine as _;
use clap::Parser as _;
use fake_efs::seed::Seed;
use fake_efs::{AuthorityPem, FakeEfs};
use serde_json::Value;

use crate::helm::{Helm, container, find, values_file};

/// A PEM file out of the Secret with the authority.
fn pem(documents: &[Value], key: &str) -> String {
    let encoded = find(documents, "Secret", "fake-efs-ca")["data"][key].as_str().expect("the Secret has it").to_owned();
    let bytes = base64::engine::general_purpose::STANDARD.decode(encoded).expect("Secrets are base64");
    String::from_utf8(bytes).expect("PEM is text")
}

#[test]
fn the_fake_accepts_every_argument() {
    let Some(helm) = Helm::find() else { return };
    for more in ["", ", dataClaim: files, address: 192.0.2.7"] {
        let documents = helm.documents(&format!("fake-efs: {{enabled: true{more}}}"));
        let arguments = container(find(&documents, "Deployment", "fake-efs"), "fake-efs")["args"].clone();
        let arguments = arguments.as_array().expect("the container has arguments").iter();
        // The kubelet replaces the variable with the Service's address.
        let arguments =
            arguments.map(|a| a.as_str().expect("arguments are text").replace("$(FAKE_EFS_SERVICE_HOST)", "192.0.2.7"));
        let arguments: Vec<String> = std::iter::once("fake-efs".to_owned()).chain(arguments).collect();
        fake_efs::cli::Cli::try_parse_from(&arguments).unwrap_or_else(|e| panic!("{arguments:?}: {e}"));
    }
}

#[tokio::test]
async fn the_seed_makes_a_file_system_that_can_be_mounted() {
    let Some(helm) = Helm::find() else { return };
    for values in [
        values_file("fake-efs.yaml"),
        "fake-efs: {enabled: true, region: eu-central-1, availabilityZone: eu-central-1b, fileSystemId: fs-01234567}"
            .to_owned(),
    ] {
        let documents = helm.documents(&values);
        let folder = tempfile::tempdir().expect("a temporary directory");
        let path = folder.path().join("seed.yaml");
        let seed = &find(&documents, "ConfigMap", "fake-efs-seed")["data"]["seed.yaml"];
        std::fs::write(&path, seed.as_str().expect("the seed is text")).expect("the folder is ours");
        let settings: Value = serde_yaml_ng::from_str(&values).expect("YAML");
        let region = settings["fake-efs"]["region"].as_str().unwrap_or("us-east-1").to_owned();
        let zone = settings["fake-efs"]["availabilityZone"].as_str().unwrap_or("us-east-1a");
        let id = settings["fake-efs"]["fileSystemId"].as_str().unwrap_or("fs-0123456789abcdef0");

        let authority = AuthorityPem { certificate: pem(&documents, "tls.crt"), key: pem(&documents, "tls.key") };
        let fake = FakeEfs::builder()
            .seed(Some(Seed::read(&path).expect("the fake reads the seed")))
            .authority(Some(authority.clone()))
            .settings(|settings| settings.region = region.clone())
            .start()
            .await
            .expect("the fake starts");
        assert_eq!(fake.ca_pem(), authority.certificate);
        let config = aws_sdk_efs::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new(region))
            .endpoint_url(fake.http_url())
            .credentials_provider(Credentials::for_tests())
            .build();
        let client = aws_sdk_efs::Client::from_conf(config);
        let targets =
            client.describe_mount_targets().file_system_id(id).send().await.expect("the file system is there");
        let target = &targets.mount_targets()[0];
        assert_eq!(target.life_cycle_state().as_str(), "available");
        assert_eq!(target.availability_zone_name(), Some(zone));
        fake.shutdown().await;
    }
}
