//! The fake that the chart installs: started here from the very arguments, seed and authority that the chart renders.

use aws_sdk_efs::config::{BehaviorVersion, Credentials, Region};
use base64::Engine as _;
use clap::Parser as _;
use csi_proto::csi;
use efs_csi_e2e::scenarios::options::Options;
use efs_csi_e2e::scenarios::plan::{OTHER_ACCOUNT, Plan};
use efs_csi_e2e::stack::{Driver, DriverOptions, Fake, many_writers};
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

/// What the scenario `cross-account` relies on: the other account's file system is that of its role alone.
#[tokio::test]
async fn a_role_of_the_other_account_makes_volumes_that_nodes_can_mount() {
    let Some(helm) = Helm::find() else { return };
    let plan = Plan::new(&Options::parse_from(["efs-csi-e2e", "--kubeconfig=/nowhere"]));
    let install = plan.upgrade(&[]);
    let set: Vec<_> = install.arguments.iter().map(String::as_str).filter(|a| a.starts_with("--set")).collect();
    let documents = helm.documents_with(&set);
    let folder = tempfile::tempdir().expect("a temporary directory");
    let seed = folder.path().join("seed.yaml");
    let text = find(&documents, "ConfigMap", "fake-efs-seed")["data"]["seed.yaml"].as_str().expect("the seed is text");
    std::fs::write(&seed, text).expect("the folder is ours");

    let test = std::env::current_exe().expect("a test is a file");
    let bin_dir = test.ancestors().nth(2).expect("it lies in target/PROFILE/deps");
    let seed = format!("--seed-file={}", seed.display());
    let mut fake = Fake::start(&bin_dir.join("fake-efs"), folder.path(), &[&seed]).await.expect("the fake starts");
    let mut options = DriverOptions::new(&bin_dir.join("efs-csi-driver"), &folder.path().join("driver"), &fake);
    options.mode = "controller";
    let mut driver = Driver::start(options).await.expect("the driver starts");

    let parameters =
        [("provisioningMode", "efs-ap"), ("fileSystemId", OTHER_ACCOUNT.file_system), ("directoryPerms", "700")];
    let create = async |name: &str, external_id: Option<&str>| {
        let role = format!("arn:aws:iam::{}:role/efs", OTHER_ACCOUNT.id);
        let secrets = external_id.map(|id| [("awsRoleArn".to_owned(), role), ("externalId".to_owned(), id.to_owned())]);
        let request = csi::CreateVolumeRequest {
            name: name.to_owned(),
            volume_capabilities: vec![many_writers()],
            parameters: parameters.map(|(key, value)| (key.to_owned(), value.to_owned())).into(),
            secrets: secrets.into_iter().flatten().collect(),
            ..Default::default()
        };
        driver.controller().create_volume(request).await
    };
    let volume = create("foreign", Some(OTHER_ACCOUNT.external_id)).await.expect("the role may").into_inner().volume;
    let context = volume.expect("a volume").volume_context;
    assert!(context.contains_key("mounttargetipmap"), "nodes know no mount target of that account: {context:?}");
    create("stranger", Some("wrong")).await.expect_err("the external id is asked for");
    create("home", None).await.expect_err("the fake's own account has no such file system");
    driver.stop().await.expect("the driver ends");
    fake.stop().await.expect("the fake ends");
}
