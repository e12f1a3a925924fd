use std::time::{Duration, Instant};

use aws_sdk_efs::error::ProvideErrorMetadata;
use fake_efs::faults::{Effect, Rule};
use fake_efs::journal::Query;
use fake_efs::world::errors::ErrorName;

use crate::support::{client, client_as, fake, file_system};

/// The test of each kind of fault: a new kind does not compile without one.
const _: fn(&Effect) -> fn() = |effect| match effect {
    Effect::Throttle => a_throttled_call_is_retried_by_the_sdk_and_noted_as_a_fault,
    Effect::Error { .. } => any_error_can_be_provoked,
    Effect::DropBefore | Effect::DropAfter | Effect::Truncate => {
        a_dropped_answer_leaves_the_work_done_and_a_dropped_call_does_not
    }
    Effect::Delay { .. } | Effect::Slow { .. } => delayed_and_slow_answers_arrive_late_and_whole,
};

#[tokio::test]
async fn a_throttled_call_is_retried_by_the_sdk_and_noted_as_a_fault() {
    let fake = fake(|_| {}).await;
    let client = client_as(&fake, "AKIDEXAMPLE", "us-east-1", 3);
    let rule = fake.faults().add(Rule::on("DescribeFileSystems", Effect::Throttle).times(1)).unwrap();
    client.describe_file_systems().send().await.unwrap();
    let calls = fake.journal().query(&Query::default());
    let seen: Vec<_> = calls.iter().map(|c| (c.status, c.error.as_deref(), c.fault)).collect();
    assert_eq!(seen, [(429, Some("ThrottlingException"), Some(rule)), (200, None, None)]);
    assert_eq!(calls[0].access_key_id.as_deref(), Some("AKIDEXAMPLE"));
}

#[tokio::test]
async fn any_error_can_be_provoked() {
    let fake = fake(|_| {}).await;
    let client = client(&fake);
    let timeout =
        fake.faults().add(Rule::on("DeleteMountTarget", Effect::error(ErrorName::DependencyTimeout))).unwrap();
    let error = client.delete_mount_target().mount_target_id("fsmt-01234567").send().await.unwrap_err();
    assert!(error.into_service_error().is_dependency_timeout());
    let effect = Effect::Error { name: "AccessDeniedException".to_owned(), status: Some(403), message: None };
    let denied = fake.faults().add(Rule::on("DeleteAccessPoint", effect)).unwrap();
    let error = client.delete_access_point().access_point_id("fsap-01234567").send().await.unwrap_err();
    assert_eq!(error.raw_response().map(|r| r.status().as_u16()), Some(403));
    assert_eq!(error.into_service_error().code(), Some("AccessDeniedException"));
    let calls = fake.journal().query(&Query::default());
    let seen: Vec<_> = calls.iter().map(|c| (c.status, c.error.as_deref(), c.fault)).collect();
    assert_eq!(
        seen,
        [(504, Some("DependencyTimeout"), Some(timeout)), (403, Some("AccessDeniedException"), Some(denied))]
    );
}

#[tokio::test]
async fn a_dropped_answer_leaves_the_work_done_and_a_dropped_call_does_not() {
    let fake = fake(|_| {}).await;
    let client = client(&fake);
    let fs = file_system(&client).await;
    for (effect, done) in [(Effect::DropBefore, 0), (Effect::DropAfter, 1), (Effect::Truncate, 2)] {
        let rule = fake.faults().add(Rule::on("CreateAccessPoint", effect.clone())).unwrap();
        let lost = client.create_access_point().file_system_id(&fs).send().await.unwrap_err();
        assert!(lost.as_service_error().is_none(), "{effect:?}: {lost:?}");
        fake.faults().remove(rule);
        let points = client.describe_access_points().file_system_id(&fs).send().await.unwrap();
        assert_eq!(points.access_points().len(), done, "{effect:?}");
    }
    let calls = fake.journal().query(&Query { operation: Some("CreateAccessPoint".to_owned()), ..Query::default() });
    assert_eq!(calls.iter().map(|c| c.status).collect::<Vec<_>>(), [0, 200, 200]);
    assert!(calls.iter().all(|c| c.fault.is_some()));
}

#[tokio::test]
async fn delayed_and_slow_answers_arrive_late_and_whole() {
    let fake = fake(|_| {}).await;
    let client = client(&fake);
    let fs = file_system(&client).await;
    // The answer has more than 100 bytes.
    for effect in [Effect::Delay { milliseconds: 100 }, Effect::Slow { milliseconds_per_byte: 1 }] {
        let rule = fake.faults().add(Rule::on("DescribeFileSystems", effect.clone())).unwrap();
        let started = Instant::now();
        let page = client.describe_file_systems().send().await.unwrap();
        assert!(started.elapsed() >= Duration::from_millis(100), "{effect:?} made nothing late");
        assert_eq!(page.file_systems()[0].file_system_id(), fs);
        fake.faults().remove(rule);
        let last = fake.journal().query(&Query::default()).pop().unwrap();
        assert_eq!((last.status, last.error, last.fault), (200, None, Some(rule)), "{effect:?}");
    }
}
