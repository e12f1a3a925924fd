//! Every error of every AWS call that the controller makes, as the SDK reads it from AWS's own answers: which gRPC code comes out,
//! whether csi-provisioner takes it for final, and what the message says. The table is a snapshot, because people read it.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use aws_credential_types::provider::error::CredentialsError;
use aws_credential_types::provider::{ProvideCredentials, future};
use aws_sdk_efs::config::retry::RetryConfig;
use aws_sdk_efs::operation::create_access_point::CreateAccessPointOutput;
use aws_sdk_efs::operation::delete_access_point::DeleteAccessPointOutput;
use aws_sdk_efs::operation::describe_access_points::DescribeAccessPointsOutput;
use aws_sdk_efs::operation::describe_file_systems::DescribeFileSystemsOutput;
use aws_sdk_efs::operation::describe_mount_targets::DescribeMountTargetsOutput;
use aws_sdk_efs::operation::tag_resource::TagResourceOutput;
use aws_sdk_efs::types::{
    AccessPointDescription, FileSystemDescription, FileSystemSize, LifeCycleState, MountTargetDescription,
    PerformanceMode, PosixUser, RootDirectory,
};
use aws_smithy_mocks::{MockResponseInterceptor, Rule, RuleMode, create_mock_http_client, mock, mock_client};
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_runtime_api::http::StatusCode;
use aws_smithy_types::DateTime;
use csi_proto::csi::controller_server::Controller as _;
use csi_proto::{code_name, csi};
use efs_csi_driver::controller::status::is_final;
use efs_csi_driver::controller::{Controller, ControllerService};
use efs_csi_driver::efs::aws::{AwsEfs, OperationClients};
use efs_csi_driver::efs::{EfsApi, EfsClients, EfsError, Role};
use efs_csi_driver::metrics::Metrics;
use tonic::{Code, Request, Status};

use crate::support::{MapCluster, config, request};

const FS: &str = "fs-0123456789abcdef0";
const POINT: &str = "fsap-0123456789abcdef0";
const ZONE: &str = "us-east-1a";
const ROLE: &str = "arn:aws:iam::123456789012:role/efs-provisioner";

/// A reason for the controller to call AWS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Call {
    CreateAccessPoint,
    DeleteAccessPoint,
    /// All of a file system, for the ids in use.
    ListAccessPoints,
    /// One by its id, before it is deleted.
    DescribeAccessPoint,
    DescribeFileSystems,
    DescribeMountTargets,
    TagResource,
}

const CALLS: [Call; 7] = [
    Call::CreateAccessPoint,
    Call::ListAccessPoints,
    Call::DescribeFileSystems,
    Call::DescribeMountTargets,
    Call::DescribeAccessPoint,
    Call::DeleteAccessPoint,
    Call::TagResource,
];

/// What every operation may answer (AWS, "Common Errors", and the SDKs' retry rules).
const COMMON: [(&str, u16); 11] = [
    ("BadRequest", 400),
    ("ValidationException", 400),
    ("InternalServerError", 500),
    ("ServiceUnavailable", 503),
    ("ThrottlingException", 429),
    ("AccessDeniedException", 403),
    ("ExpiredTokenException", 403),
    ("UnrecognizedClientException", 403),
    ("InvalidSignatureException", 403),
    ("MissingAuthenticationToken", 403),
    ("NobodyKnowsThisException", 400),
];

impl Call {
    /// What the service's model lists for the operation beyond [`COMMON`].
    fn own_errors(self) -> &'static [(&'static str, u16)] {
        match self {
            Self::CreateAccessPoint => &[
                ("IncorrectFileSystemLifeCycleState", 409),
                ("FileSystemNotFound", 404),
                ("AccessPointLimitExceeded", 403),
            ],
            Self::DeleteAccessPoint => &[("AccessPointNotFound", 404)],
            Self::ListAccessPoints => &[("FileSystemNotFound", 404)],
            Self::DescribeAccessPoint => &[("AccessPointNotFound", 404)],
            Self::DescribeFileSystems => &[("FileSystemNotFound", 404)],
            Self::DescribeMountTargets => &[("FileSystemNotFound", 404), ("MountTargetNotFound", 404)],
            Self::TagResource => &[("FileSystemNotFound", 404), ("AccessPointNotFound", 404)],
        }
    }

    /// A rule that gives these answers, one an attempt; `None` is success.
    fn answers(self, answers: Vec<Option<(&'static str, u16)>>) -> Rule {
        macro_rules! sequence {
            ($operation:expr, $success:expr) => {{
                let (first, rest) = answers.split_first().unwrap();
                let start = $operation.sequence();
                let mut rule = match *first {
                    Some((name, status)) => start.http_response(move || answer(name, status)),
                    None => start.output($success),
                };
                for next in rest {
                    rule = match *next {
                        Some((name, status)) => rule.http_response(move || answer(name, status)),
                        None => rule.output($success),
                    };
                }
                rule.build()
            }};
        }
        use aws_sdk_efs::Client;
        match self {
            Self::CreateAccessPoint => sequence!(mock!(Client::create_access_point), created),
            Self::DeleteAccessPoint => sequence!(mock!(Client::delete_access_point), deleted),
            Self::ListAccessPoints => sequence!(
                mock!(Client::describe_access_points).match_requests(|it| it.access_point_id().is_none()),
                empty
            ),
            Self::DescribeAccessPoint => sequence!(
                mock!(Client::describe_access_points).match_requests(|it| it.access_point_id().is_some()),
                described
            ),
            Self::DescribeFileSystems => sequence!(mock!(Client::describe_file_systems), file_system),
            Self::DescribeMountTargets => sequence!(mock!(Client::describe_mount_targets), mount_target),
            Self::TagResource => sequence!(mock!(Client::tag_resource), tagged),
        }
    }

    /// The CSI call that leads to this one.
    async fn provoke(self, driver: &ControllerService) -> Result<(), Status> {
        let mut create = request("pvc-1", FS, &[("uid", "1000"), ("gid", "1000")]);
        match self {
            Self::CreateAccessPoint => {}
            Self::ListAccessPoints => create = request("pvc-1", FS, &[]),
            Self::DescribeFileSystems => create = request("pvc-1", FS, &[("enforceZoneAffinity", "true")]),
            Self::DescribeMountTargets => create.secrets = [("awsRoleArn".to_owned(), ROLE.to_owned())].into(),
            Self::DescribeAccessPoint | Self::DeleteAccessPoint => {
                let request = csi::DeleteVolumeRequest { volume_id: handle(), ..Default::default() };
                return driver.delete_volume(Request::new(request)).await.map(drop);
            }
            Self::TagResource => {
                let request = csi::ControllerModifyVolumeRequest {
                    volume_id: handle(),
                    mutable_parameters: [("tagSpecification_1".to_owned(), "env=prod".to_owned())].into(),
                    ..Default::default()
                };
                return driver.controller_modify_volume(Request::new(request)).await.map(drop);
            }
        }
        driver.create_volume(Request::new(create)).await.map(drop)
    }
}

fn handle() -> String {
    format!("efs:{FS}::{POINT}")
}

/// An error as EFS sends it.
fn answer(name: &str, status: u16) -> HttpResponse {
    let body = format!(r#"{{"ErrorCode":"{name}","Message":"because","AccessPointId":"{POINT}"}}"#);
    let mut response = HttpResponse::new(StatusCode::try_from(status).unwrap(), body.into());
    response.headers_mut().insert("x-amzn-errortype", name.to_owned());
    response.headers_mut().insert("x-amzn-requestid", "1b-2c");
    response
}

fn created() -> CreateAccessPointOutput {
    CreateAccessPointOutput::builder()
        .access_point_id(POINT)
        .file_system_id(FS)
        .client_token("pvc-1")
        .life_cycle_state(LifeCycleState::Available)
        .build()
}

fn deleted() -> DeleteAccessPointOutput {
    DeleteAccessPointOutput::builder().build()
}

fn empty() -> DescribeAccessPointsOutput {
    DescribeAccessPointsOutput::builder().set_access_points(Some(vec![])).build()
}

fn described() -> DescribeAccessPointsOutput {
    let point = AccessPointDescription::builder()
        .access_point_id(POINT)
        .file_system_id(FS)
        .client_token("pvc-1")
        .posix_user(PosixUser::builder().uid(1000).gid(1000).build().unwrap())
        .root_directory(RootDirectory::builder().path("/pvc-1").build())
        .life_cycle_state(LifeCycleState::Available)
        .build();
    DescribeAccessPointsOutput::builder().access_points(point).build()
}

fn file_system() -> DescribeFileSystemsOutput {
    let it = FileSystemDescription::builder()
        .file_system_id(FS)
        .owner_id("123456789012")
        .creation_token("t")
        .creation_time(DateTime::from_secs(0))
        .life_cycle_state(LifeCycleState::Available)
        .number_of_mount_targets(1)
        .size_in_bytes(FileSystemSize::builder().value(0).build())
        .performance_mode(PerformanceMode::GeneralPurpose)
        .set_tags(Some(vec![]))
        .availability_zone_name(ZONE)
        .build()
        .unwrap();
    DescribeFileSystemsOutput::builder().file_systems(it).build()
}

fn mount_target() -> DescribeMountTargetsOutput {
    let it = MountTargetDescription::builder()
        .mount_target_id("fsmt-01234567")
        .file_system_id(FS)
        .subnet_id("subnet-01234567")
        .life_cycle_state(LifeCycleState::Available)
        .ip_address("10.0.0.1")
        .availability_zone_name(ZONE)
        .build()
        .unwrap();
    DescribeMountTargetsOutput::builder().mount_targets(it).build()
}

fn tagged() -> TagResourceOutput {
    TagResourceOutput::builder().build()
}

/// One client for all accounts.
#[derive(Debug)]
struct Mocked(Arc<dyn EfsApi>);

#[async_trait]
impl EfsClients for Mocked {
    async fn client(
        &self,
        _: efs_csi_driver::volume::FileSystemKind,
        _: Option<&Role>,
    ) -> Result<Arc<dyn EfsApi>, EfsError> {
        Ok(Arc::clone(&self.0))
    }

    async fn region(&self) -> Result<String, EfsError> {
        Ok("us-east-1".to_owned())
    }
}

fn retries(attempts: u32) -> RetryConfig {
    RetryConfig::standard().with_max_attempts(attempts).with_initial_backoff(Duration::from_millis(1))
}

/// A driver before an AWS that answers by `rule`, and with success to everything else.
fn driver(rule: &Rule, attempts: u32) -> ControllerService {
    let successes: Vec<Rule> = CALLS.iter().map(|call| call.answers(vec![None; 4])).collect();
    let rules: Vec<&Rule> = std::iter::once(rule).chain(&successes).collect();
    let client = mock_client!(aws_sdk_efs, RuleMode::MatchAny, rules, |conf| conf.retry_config(retries(attempts)));
    service(&client)
}

fn service(client: &aws_sdk_efs::Client) -> ControllerService {
    let clients = Arc::new(Mocked(Arc::new(AwsEfs::new(OperationClients::all(client)))));
    let controller = Controller::new(config(), clients, Arc::new(MapCluster::default()), Metrics::new());
    ControllerService::new(Arc::new(controller))
}

fn row(table: &mut String, call: &str, name: &str, result: &Result<(), Status>) {
    let (code, finality, message) = match result {
        Ok(()) => (Code::Ok, "", "-"),
        Err(status) => (status.code(), if is_final(status.code()) { "final" } else { "again" }, status.message()),
    };
    writeln!(table, "{call} {name}: {} {finality}\n    {message}", code_name(code)).unwrap();
}

#[tokio::test]
async fn every_error_of_every_call_has_its_code_and_its_message() {
    let mut table = String::new();
    for call in CALLS {
        for error in call.own_errors().iter().chain(&COMMON) {
            // Twice, because a denied creation is tried once more without the capacity tag.
            let rule = call.answers(vec![Some(*error); 2]);
            let result = call.provoke(&driver(&rule, 1)).await;
            assert!((1..=2).contains(&rule.num_calls()), "{call:?} {error:?}");
            if let Err(status) = &result {
                assert!(status.message().contains("AWS request id 1b-2c"), "{}", status.message());
            }
            row(&mut table, &format!("{call:?}"), error.0, &result);
        }
    }
    insta::assert_snapshot!("aws_errors", table);
}

#[tokio::test]
async fn throttled_and_failed_attempts_are_repeated_within_the_call() {
    for call in CALLS {
        for error in [("ThrottlingException", 429), ("InternalServerError", 500), ("ServiceUnavailable", 503)] {
            let rule = call.answers(vec![Some(error), Some(error), None]);
            let result = call.provoke(&driver(&rule, 3)).await;
            assert!(result.is_ok(), "{call:?} after two of {error:?}: {result:?}");
            assert_eq!(rule.num_calls(), 3, "{call:?} {error:?}");
        }
    }
}

#[tokio::test]
async fn refusals_are_not_repeated() {
    for call in CALLS {
        let rule = call.answers(vec![Some(("AccessDeniedException", 403)), None]);
        let refused = call.provoke(&driver(&rule, 3)).await;
        // Without its capacity tag, the access point may be allowed after all.
        if call == Call::CreateAccessPoint {
            assert!(refused.is_ok() && rule.num_calls() == 2, "{refused:?}");
        } else {
            assert_eq!((refused.unwrap_err().code(), rule.num_calls()), (Code::PermissionDenied, 1), "{call:?}");
        }
    }
}

/// The client token is taken: by this volume, as the description shows.
#[tokio::test]
async fn a_taken_token_is_resolved_by_the_id_in_the_error() {
    let rule = Call::CreateAccessPoint.answers(vec![Some(("AccessPointAlreadyExists", 409))]);
    let asked = Request::new(request("pvc-1", FS, &[("uid", "1000"), ("gid", "1000")]));
    let volume = driver(&rule, 1).create_volume(asked).await.unwrap().into_inner().volume.unwrap();
    assert_eq!((volume.volume_id, rule.num_calls()), (handle(), 1));
}

/// csi-provisioner forgets a volume after a final answer. An attempt whose answer was lost may have made the access point, so a
/// refusal of the attempt after it must not be final, whatever it says.
#[tokio::test]
async fn a_refusal_after_a_lost_attempt_is_not_final() {
    for refusal in Call::CreateAccessPoint.own_errors().iter().chain(&COMMON) {
        let rule = Call::CreateAccessPoint.answers(vec![Some(("InternalServerError", 500)), Some(*refusal)]);
        let status = Call::CreateAccessPoint.provoke(&driver(&rule, 2)).await.unwrap_err();
        assert!(!is_final(status.code()), "{refusal:?}: {status:?}");
        assert_eq!(rule.num_calls(), 2, "{refusal:?}");
    }
}

/// An answer that can't be read leaves open whether the access point was made.
#[tokio::test]
async fn an_unreadable_answer_is_not_final() {
    let unreadable = mock!(aws_sdk_efs::Client::create_access_point)
        .then_http_response(|| HttpResponse::new(StatusCode::try_from(200).unwrap(), "{".into()));
    let without_id = mock!(aws_sdk_efs::Client::create_access_point)
        .then_output(|| CreateAccessPointOutput::builder().file_system_id(FS).build());
    for rule in [unreadable, without_id] {
        let status = Call::CreateAccessPoint.provoke(&driver(&rule, 1)).await.unwrap_err();
        assert_eq!(status.code(), Code::Unavailable, "{status:?}");
        assert!(status.message().contains("unreadable answer"), "{status:?}");
    }
}

/// An access point in state `error` exists: it must not be forgotten either.
#[tokio::test]
async fn a_broken_access_point_is_named_and_not_final() {
    let broken = || {
        let point = described().access_points()[0].clone();
        CreateAccessPointOutput::builder()
            .set_access_point_id(point.access_point_id)
            .file_system_id(FS)
            .life_cycle_state(LifeCycleState::Error)
            .build()
    };
    let rule = mock!(aws_sdk_efs::Client::create_access_point).then_output(broken);
    let status = Call::CreateAccessPoint.provoke(&driver(&rule, 1)).await.unwrap_err();
    assert!(!is_final(status.code()) && status.message().contains(POINT), "{status:?}");
}

/// What AWS's own provider does with a refusal of STS, with a mocked STS.
#[derive(Debug)]
struct MockedRole(aws_sdk_sts::Client);

impl ProvideCredentials for MockedRole {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        future::ProvideCredentials::new(async {
            let call = self.0.assume_role().role_arn(ROLE).role_session_name("efs-csi-driver").send();
            Err(CredentialsError::provider_error(call.await.expect_err("the mock refuses")))
        })
    }
}

fn sts_client(rule: &Rule) -> aws_sdk_sts::Client {
    let config = aws_sdk_sts::Config::builder()
        .behavior_version_latest()
        .region(aws_sdk_sts::config::Region::new("us-east-1"))
        .credentials_provider(aws_credential_types::Credentials::new("AKIAEXAMPLE", "secret", None, None, "test"))
        .retry_config(retries(1))
        .http_client(create_mock_http_client())
        .interceptor(MockResponseInterceptor::new().with_rule(rule));
    aws_sdk_sts::Client::from_conf(config.build())
}

fn sts_answer(name: &str, status: u16) -> HttpResponse {
    let body = format!(
        "<ErrorResponse><Error><Type>Sender</Type><Code>{name}</Code><Message>because</Message></Error>\
         <RequestId>3d-4e</RequestId></ErrorResponse>"
    );
    let mut response = HttpResponse::new(StatusCode::try_from(status).unwrap(), body.into());
    response.headers_mut().insert("x-amzn-requestid", "3d-4e");
    response
}

#[tokio::test]
async fn every_error_of_assume_role_has_its_code_and_its_message() {
    let mut table = String::new();
    for (name, status) in [
        ("AccessDenied", 403),
        ("ExpiredToken", 403),
        ("ExpiredTokenException", 400),
        ("InvalidClientTokenId", 403),
        ("SignatureDoesNotMatch", 403),
        ("MalformedPolicyDocument", 400),
        ("PackedPolicyTooLarge", 400),
        ("RegionDisabledException", 403),
        ("ValidationError", 400),
        ("Throttling", 400),
        ("InternalFailure", 500),
        ("ServiceUnavailable", 503),
    ] {
        let refusal = mock!(aws_sdk_sts::Client::assume_role).then_http_response(move || sts_answer(name, status));
        let role = MockedRole(sts_client(&refusal));
        // The call gets as far as its credentials; behind them would be an EFS that knows no call.
        let efs = aws_sdk_efs::Config::builder()
            .with_test_defaults_v2()
            .credentials_provider(role)
            .retry_config(retries(1))
            .http_client(create_mock_http_client());
        let result = Call::CreateAccessPoint.provoke(&service(&aws_sdk_efs::Client::from_conf(efs.build()))).await;
        let message = result.as_ref().unwrap_err().message();
        assert!(message.contains("sts:AssumeRole") && message.contains("AWS request id 3d-4e"), "{message}");
        row(&mut table, "AssumeRole", name, &result);
    }
    insta::assert_snapshot!("sts_errors", table);
}
