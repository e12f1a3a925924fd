//! AWS fails in every way it can, over the wire: the code says what to do, and nothing is doubled or lost.

use fake_efs::faults::{Effect, Rule};
use fake_efs::world::errors::ErrorName;
use tonic::Code;

use crate::support::{Bed, assert_refused, request};

fn error(name: &str, status: u16) -> Effect {
    Effect::Error { name: name.to_owned(), status: Some(status), message: Some("because".to_owned()) }
}

#[tokio::test]
async fn every_error_of_create_access_point_has_its_code_and_its_request_id() {
    let bed = Bed::new().await;
    let fs = bed.file_system(None).await;
    let cases = [
        ("AccessPointLimitExceeded", 403, Code::ResourceExhausted),
        ("FileSystemNotFound", 404, Code::InvalidArgument),
        ("IncorrectFileSystemLifeCycleState", 409, Code::FailedPrecondition),
        ("BadRequest", 400, Code::InvalidArgument),
        ("ValidationException", 400, Code::InvalidArgument),
        ("ThrottlingException", 429, Code::Unavailable),
        ("AccessDeniedException", 403, Code::PermissionDenied),
        ("ExpiredTokenException", 403, Code::Unauthenticated),
        ("UnrecognizedClientException", 403, Code::Unauthenticated),
        ("InternalServerError", 500, Code::Unavailable),
        ("ServiceUnavailable", 503, Code::Unavailable),
        ("NobodyKnowsThisException", 400, Code::Internal),
    ];
    for (name, status, code) in cases {
        let rule = bed.fake.faults().add(Rule::on("CreateAccessPoint", error(name, status))).unwrap();
        let refused = bed.create(request("pvc-1", &fs, &[])).await;
        assert_refused(refused, code, &["CreateAccessPoint", "because", &fs, "AWS request id"]);
        bed.fake.faults().remove(rule);
    }
    bed.create(request("pvc-1", &fs, &[])).await.unwrap();
    assert_eq!(bed.access_points(&fs).await.len(), 1);
}

#[tokio::test]
async fn a_missing_permission_is_named_as_policies_name_it() {
    let bed = Bed::new().await;
    let fs = bed.file_system(None).await;
    let volume = bed.create(request("pvc-1", &fs, &[])).await.unwrap();
    let deny = |operation| bed.fake.faults().add(Rule::on(operation, error("AccessDeniedException", 403))).unwrap();
    let rule = deny("CreateAccessPoint");
    let refused = bed.create(request("pvc-2", &fs, &[])).await;
    assert_refused(refused, Code::PermissionDenied, &["elasticfilesystem:CreateAccessPoint"]);
    bed.fake.faults().remove(rule);
    deny("DeleteAccessPoint");
    assert_refused(
        bed.delete(&volume.volume_id).await,
        Code::PermissionDenied,
        &["elasticfilesystem:DeleteAccessPoint"],
    );
}

#[tokio::test]
async fn every_error_of_delete_access_point_has_its_code() {
    let bed = Bed::new().await;
    let fs = bed.file_system(None).await;
    let id = bed.create(request("pvc-1", &fs, &[])).await.unwrap().volume_id;
    // The first controller knows the access point and need not look at it; a fresh one must.
    let (fresh, _served) = bed.another_controller().await;
    for (operation, csi) in [("DescribeAccessPoints", fresh), ("DeleteAccessPoint", bed.csi.clone())] {
        for (name, status, code) in [
            ("ThrottlingException", 429, Code::Unavailable),
            ("AccessDeniedException", 403, Code::PermissionDenied),
            ("InternalServerError", 500, Code::Unavailable),
            ("BadRequest", 400, Code::InvalidArgument),
        ] {
            let rule = bed.fake.faults().add(Rule::on(operation, error(name, status))).unwrap();
            let request = csi_proto::csi::DeleteVolumeRequest { volume_id: id.clone(), ..Default::default() };
            assert_refused(csi.clone().delete_volume(request).await, code, &[operation, "because"]);
            bed.fake.faults().remove(rule);
        }
    }
    let gone = Effect::error(ErrorName::AccessPointNotFound);
    bed.fake.faults().add(Rule::on("DeleteAccessPoint", gone).times(1)).unwrap();
    bed.delete(&id).await.unwrap();
}

#[tokio::test]
async fn a_lost_answer_is_followed_by_the_same_volume() {
    for effect in [Effect::DropAfter, Effect::Truncate] {
        let bed = Bed::new().await;
        let fs = bed.file_system(None).await;
        // The SDK's own retry meets the access point that its first attempt made.
        bed.fake.faults().add(Rule::on("CreateAccessPoint", effect).times(1)).unwrap();
        let volume = bed.create(request("pvc-1", &fs, &[])).await.unwrap();
        assert_eq!(volume.capacity_bytes, crate::support::GIB);
        assert_eq!(bed.access_points(&fs).await.len(), 1);
    }
}

#[tokio::test]
async fn lost_calls_that_outlast_the_retries_are_answered_as_not_final() {
    let bed = Bed::new().await;
    let fs = bed.file_system(None).await;
    for effect in [Effect::DropBefore, Effect::DropAfter] {
        let rule = bed.fake.faults().add(Rule::on("CreateAccessPoint", effect)).unwrap();
        let code = bed.create(request("pvc-1", &fs, &[])).await.unwrap_err().code();
        assert!(!efs_csi_driver::controller::status::is_final(code), "{code:?}");
        bed.fake.faults().remove(rule);
    }
    bed.create(request("pvc-1", &fs, &[])).await.unwrap();
    assert_eq!(bed.access_points(&fs).await.len(), 1);
}

/// The policy that AWS manages for EFS CSI drivers lets a request carry the cluster tag only.
#[tokio::test]
async fn a_policy_that_forbids_the_capacity_tag_costs_only_the_memory_of_capacities() {
    let bed = Bed::new().await;
    let fs = bed.file_system(None).await;
    let mut rule = Rule::on("CreateAccessPoint", error("AccessDeniedException", 403));
    rule.resource = Some("efs.csi.aws.com/capacity".to_owned());
    bed.fake.faults().add(rule).unwrap();
    bed.create(request("pvc-1", &fs, &[])).await.unwrap();
    assert_eq!(bed.calls("CreateAccessPoint"), 2);
    bed.create(request("pvc-2", &fs, &[])).await.unwrap();
    assert_eq!(bed.calls("CreateAccessPoint"), 3, "the second volume doesn't try again");
    let tags: Vec<_> = bed.access_points(&fs).await.iter().map(|point| point.tags().len()).collect();
    assert_eq!(tags, [1, 1]);
}

#[tokio::test]
async fn a_file_system_that_does_not_exist_is_an_invalid_argument_with_or_without_ids() {
    let bed = Bed::new().await;
    let words = ["fs-0123456789abcdef0", "FileSystemNotFound"];
    let refused = bed.create(request("pvc-1", "fs-0123456789abcdef0", &[])).await;
    assert_refused(refused, Code::InvalidArgument, &words);
    let refused = bed.create(request("pvc-1", "fs-0123456789abcdef0", &[("uid", "1"), ("gid", "1")])).await;
    assert_refused(refused, Code::InvalidArgument, &words);
}

#[tokio::test]
async fn the_quota_of_access_points_is_resource_exhausted() {
    let bed = Bed::new().await;
    let fs = bed.file_system(None).await;
    bed.fake.world().set_limits(|limits| limits.access_points = 1);
    bed.create(request("pvc-1", &fs, &[])).await.unwrap();
    let refused = bed.create(request("pvc-2", &fs, &[])).await;
    assert_refused(refused, Code::ResourceExhausted, &["AccessPointLimitExceeded", "orphans"]);
}

#[tokio::test]
async fn attempts_are_counted_under_the_go_drivers_names() {
    let bed = Bed::new().await;
    let fs = bed.file_system(None).await;
    bed.fake.faults().add(Rule::on("CreateAccessPoint", Effect::Throttle).times(2)).unwrap();
    bed.create(request("pvc-1", &fs, &[("uid", "1"), ("gid", "1")])).await.unwrap();
    let refused = bed.create(request("pvc-2", "fs-00000000", &[("uid", "1"), ("gid", "1")])).await;
    assert!(refused.is_err());
    let page = bed.metrics.page().unwrap();
    for line in [
        r#"aws_efs_csi_api_request_duration_seconds_count{request="CreateAccessPoint",service="efs"} 4"#,
        r#"aws_efs_csi_api_request_throttles_total{request="CreateAccessPoint",service="efs"} 2"#,
        r#"aws_efs_csi_api_request_errors_total{request="CreateAccessPoint",service="efs",code="FileSystemNotFound"} 1"#,
        r#"aws_efs_csi_api_request_duration_seconds_count{request="DescribeMountTargets",service="efs"} 0"#,
    ] {
        assert!(page.contains(line), "{line} is not in\n{page}");
    }
}

/// A provisioner's way with one volume: repeat until a final answer, then delete until it is gone.
async fn live_and_die(bed: &Bed, name: String, fs: &str) -> String {
    let id = loop {
        match bed.create(request(&name, fs, &[])).await {
            Ok(volume) => break volume.volume_id,
            Err(status) => assert!(!efs_csi_driver::controller::status::is_final(status.code()), "{status:?}"),
        }
    };
    while bed.delete(&id).await.is_err() {}
    id
}

#[tokio::test]
async fn a_thousand_volumes_under_throttling_and_lost_answers_leave_nothing_behind() {
    use futures::StreamExt;
    let volumes = crate::support::amount();
    let bed = Bed::new().await;
    let fs = bed.file_system(None).await;
    for (effect, probability) in [(Effect::Throttle, 0.20), (Effect::DropAfter, 0.05)] {
        for operation in ["CreateAccessPoint", "DeleteAccessPoint", "DescribeAccessPoints"] {
            bed.fake.faults().add(Rule { probability, ..Rule::on(operation, effect.clone()) }).unwrap();
        }
    }
    let lives = (0..volumes).map(|n| live_and_die(&bed, format!("pvc-{n}"), &fs));
    let ids: std::collections::HashSet<String> = futures::stream::iter(lives).buffer_unordered(32).collect().await;
    bed.fake.faults().clear();
    assert_eq!(ids.len(), volumes, "every name had a volume of its own");
    assert!(bed.access_points(&fs).await.is_empty());
}
