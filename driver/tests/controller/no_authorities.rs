//! The driver on a system without certificate authorities.

use fake_efs::FakeEfs;

use crate::process::{Driver, file_system};
use crate::support::request;

#[tokio::test]
async fn a_driver_before_a_plain_http_endpoint_needs_no_certificate_authorities() {
    let fake = FakeEfs::builder().start().await.unwrap();
    let fs = file_system(&fake);
    let mut driver = Driver::start(&[], &[("AWS_ENDPOINT_URL", &fake.http_url())]).await;
    driver.controller.create_volume(request("pvc-1", &fs, &[])).await.unwrap();
    assert_eq!(fake.journal().count("CreateAccessPoint"), 1);
}
