//! The variables that name endpoints, before the driver as a process.

use std::process::{Command, Stdio};

use fake_efs::FakeEfs;

use crate::process::{Driver, file_system};
use crate::support::request;

/// As a chart leaves it whose value is not set.
#[tokio::test]
async fn an_empty_variable_counts_as_none() {
    let fake = FakeEfs::builder().start().await.unwrap();
    let fs = file_system(&fake);
    let url = fake.http_url();
    let variables = [("AWS_ENDPOINT_URL", url.as_str()), ("AWS_ENDPOINT_URL_EFS", ""), ("AWS_ENDPOINT_URL_STS", "")];
    let mut driver = Driver::start(&[], &variables).await;
    driver.controller.create_volume(request("pvc-1", &fs, &[])).await.unwrap();
    assert_eq!(fake.journal().count("CreateAccessPoint"), 1);
}

/// A profile is read when the first call needs it.
#[tokio::test]
async fn a_profiles_endpoint_that_is_none_is_named() {
    let profile = "[default]\nendpoint_url = 127.0.0.1:4991\n";
    let mut driver = Driver::start(&[("config", profile)], &[("AWS_CONFIG_FILE", "{dir}/config")]).await;
    let refused = driver.controller.create_volume(request("pvc-1", "fs-0123456789abcdef0", &[])).await.unwrap_err();
    let told = refused.message();
    assert!(told.contains("endpoint_url of the AWS profile") && told.contains("add http:// or https://"), "{told}");
}

#[test]
fn a_wrong_variable_is_refused_at_start() {
    for command in
        [&["--endpoint=unix:///nowhere/csi.sock"][..], &["trash", "list", "--file-system-id=fs-0123456789abcdef0"]]
    {
        let output = Command::new(env!("CARGO_BIN_EXE_efs-csi-driver"))
            .args(command)
            .env_clear()
            .env("AWS_ENDPOINT_URL_EFS", "127.0.0.1:4991")
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let told = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{told}");
        assert!(told.contains("AWS_ENDPOINT_URL_EFS=\"127.0.0.1:4991\"") && told.contains("add http://"), "{told}");
    }
}
