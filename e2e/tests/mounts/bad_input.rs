//! Wrong requests and broken peers: each is answered within its deadline, with the right code, with words that name the
//! field or address and the fix, and leaves nothing behind.

use std::time::Duration;

use csi_proto::csi;
use tonic::Code;

use efs_csi_e2e::stack::many_writers;

use crate::fixture::{Fixture, can_mount};

/// No bad input may take longer than this to be answered.
const LIMIT: Duration = Duration::from_secs(45);

#[track_caller]
fn assert_says(status: &tonic::Status, words: &[&str]) {
    for word in words {
        assert!(status.message().contains(word), "{word:?} is missing in: {}", status.message());
    }
}

#[tokio::test]
async fn a_malformed_handle_is_refused_and_quoted() {
    if !can_mount() {
        return;
    }
    let fixture = Fixture::start().await;
    for handle in ["not-a-handle", "efs:fs-XYZ", "fs-12345678:/a:fsap-!", "fs-12345678:/:fsap-12345678:x"] {
        let status = fixture.publish_fails(fixture.publish_request(handle, &[]), LIMIT).await;
        assert_eq!(status.code(), Code::InvalidArgument, "{handle}");
        assert_says(&status, &[handle]);
    }
    fixture.stop().await;
}

#[tokio::test]
async fn create_volume_names_the_missing_parameter() {
    if !can_mount() {
        return;
    }
    let fixture = Fixture::start().await;
    let all =
        [("provisioningMode", "efs-ap"), ("fileSystemId", fixture.file_system.as_str()), ("directoryPerms", "0700")];
    for missing in ["provisioningMode", "fileSystemId", "directoryPerms"] {
        let parameters = all.iter().filter(|(key, _)| *key != missing);
        let request = csi::CreateVolumeRequest {
            name: "pvc-bad".into(),
            volume_capabilities: vec![many_writers()],
            parameters: parameters.map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect(),
            ..Default::default()
        };
        let status = fixture.driver.controller().create_volume(request).await.expect_err("must be refused");
        assert_eq!(status.code(), Code::InvalidArgument, "without {missing}");
        assert_says(&status, &[missing]);
    }
    assert_eq!(fixture.access_points().await, 0);
    fixture.stop().await;
}

#[tokio::test]
async fn create_volume_names_an_unknown_file_system() {
    if !can_mount() {
        return;
    }
    let fixture = Fixture::start().await;
    let parameters =
        [("provisioningMode", "efs-ap"), ("fileSystemId", "fs-0123456789abcdef0"), ("directoryPerms", "0700")];
    let request = csi::CreateVolumeRequest {
        name: "pvc-bad".into(),
        volume_capabilities: vec![many_writers()],
        parameters: parameters.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect(),
        ..Default::default()
    };
    let status = fixture.driver.controller().create_volume(request).await.expect_err("must be refused");
    // The StorageClass names a file system that does not exist: the request is wrong, retrying won't help.
    assert_eq!(status.code(), Code::InvalidArgument);
    assert_says(&status, &["fs-0123456789abcdef0", "fileSystemId"]);
    assert_eq!(fixture.access_points().await, 0);
    fixture.stop().await;
}

#[tokio::test]
async fn publishing_an_unknown_file_system_fails_and_names_it() {
    if !can_mount() {
        return;
    }
    let fixture = Fixture::start().await;
    let status = fixture.publish_fails(fixture.publish_request("fs-0123456789abcdef0", &[]), LIMIT).await;
    assert_eq!(status.code(), Code::NotFound);
    assert_says(&status, &["fs-0123456789abcdef0"]);
    fixture.stop().await;
}

#[tokio::test]
async fn publishing_an_unknown_access_point_fails_and_names_it() {
    if !can_mount() {
        return;
    }
    let fixture = Fixture::start().await;
    let handle = format!("{}::fsap-0123456789abcdef0", fixture.file_system);
    let status = fixture.publish_fails(fixture.publish_request(&handle, &[]), LIMIT).await;
    // The server refuses it as it refuses what a policy forbids; AWS tells the two apart.
    assert_eq!(status.code(), Code::NotFound, "{status:?}");
    assert_says(&status, &["fsap-0123456789abcdef0"]);
    fixture.stop().await;
}

#[tokio::test]
async fn a_mount_target_that_refuses_connections_is_named() {
    if !can_mount() {
        return;
    }
    let fixture = Fixture::start().await;
    let handle = fixture.file_system.clone();
    let request = fixture.publish_request(&handle, &[("mounttargetip", "127.77.77.77")]);
    let status = fixture.publish_fails(request, LIMIT).await;
    assert_eq!(status.code(), Code::Unavailable);
    assert_says(&status, &["127.77.77.77"]);
    fixture.stop().await;
}

#[tokio::test]
async fn a_mount_target_that_never_answers_is_given_up_at_the_deadline() {
    if !can_mount() {
        return;
    }
    let fixture = Fixture::start().await;
    // Accepts connections (the backlog does) and never says a word.
    let _silent = std::net::TcpListener::bind(("127.77.77.78", fixture.fake.ready.nfs.port())).unwrap();
    let request = fixture.publish_request(&fixture.file_system, &[("mounttargetip", "127.77.77.78")]);
    let status = fixture.publish_fails(request, LIMIT).await;
    assert!(matches!(status.code(), Code::Unavailable | Code::DeadlineExceeded), "{status:?}");
    assert_says(&status, &["127.77.77.78"]);
    fixture.stop().await;
}

#[tokio::test]
async fn a_server_with_another_authority_is_refused() {
    if !can_mount() {
        return;
    }
    // The certificate authority of another fake: well-formed, but not the one that signed the server's certificate.
    let other = Fixture::start().await;
    let ca = other.path("other-ca.pem");
    std::fs::copy(&other.fake.ready.ca_file, &ca).unwrap();
    let fixture = Fixture::start_with(|options| options.ca_file = ca).await;
    let status = fixture.publish_fails(fixture.publish_request(&fixture.file_system, &[]), LIMIT).await;
    assert!(
        matches!(status.code(), Code::FailedPrecondition | Code::Unavailable | Code::PermissionDenied),
        "{status:?}"
    );
    assert_says(&status, &["certificate", "--tls-ca-file"]);
    fixture.stop().await;
    other.stop().await;
}

#[tokio::test]
async fn a_volume_context_key_that_is_not_known_is_refused_and_named() {
    if !can_mount() {
        return;
    }
    let fixture = Fixture::start().await;
    let request = fixture.publish_request(&fixture.file_system, &[("encryptInTransitt", "true")]);
    let status = fixture.publish_fails(request, LIMIT).await;
    assert_eq!(status.code(), Code::InvalidArgument);
    assert_says(&status, &["encryptInTransitt"]);
    fixture.stop().await;
}
