//! Where the driver finds its credentials: the binary with an environment of its own, for each of the five sources, against a
//! fake that checks every signature. Its journal says who called the EFS API and who connected to the file system.

#![allow(clippy::unwrap_used, reason = "a test that panics fails, as it should")]

#[path = "credentials/files.rs"]
mod files;
mod support;

use std::collections::HashMap;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use csi_proto::csi;
use csi_proto::csi::controller_client::ControllerClient;
use csi_proto::csi::volume_capability::access_mode::Mode;
use csi_proto::csi::volume_capability::{AccessMode, AccessType, MountVolume};
use fake_efs::identities::{Credential, Role, Signatures};
use fake_efs::journal::Query;
use fake_efs::rest::imds::Machine;
use fake_efs::{FakeEfs, Instance};
use tempfile::TempDir;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status};

const STATIC_USER: &str = "arn:aws:iam::123456789012:user/static";
const CROSS_ACCOUNT_ROLE: &str = "arn:aws:iam::210987654321:role/cross";
/// `{"alg":"none"}`, `{"sub":"system:serviceaccount:kube-system:efs-csi-controller-sa","aud":["sts.amazonaws.com"],
/// "exp":4102444800}` and a signature that nobody checks.
const WEB_IDENTITY: &str = "eyJhbGciOiJub25lIn0.eyJzdWIiOiJzeXN0ZW06c2VydmljZWFjY291bnQ6a3ViZS1zeXN0ZW06ZWZzLWNzaS1jb250cm9sbGVyLXNhIiwiYXVkIjpbInN0cy5hbWF6b25hd3MuY29tIl0sImV4cCI6NDEwMjQ0NDgwMH0.c2lnbmF0dXJl";
const POD_TOKEN: &str = "a-token-of-the-pod";

/// A fake that knows one key, two roles, a machine and a pod; whoever is none of them is refused.
async fn strict() -> Instance {
    let machine = Machine { role: "node-role".to_owned(), pod_token: POD_TOKEN.to_owned(), ..Machine::default() };
    let fake = FakeEfs::builder().signatures(Signatures::Checked).machine(machine).start().await.unwrap();
    fake.identities().add_key(Credential {
        access_key_id: "AKIDSTATIC".to_owned(),
        secret: "static-secret".to_owned(),
        session_token: None,
        expires: None,
        account: "123456789012".to_owned(),
        principal: STATIC_USER.to_owned(),
    });
    let irsa = "arn:aws:iam::123456789012:role/irsa".to_owned();
    fake.identities().add_role(Role { arn: irsa, external_id: None, trusted: vec![], web_identity: true });
    fake.identities().add_role(Role {
        arn: CROSS_ACCOUNT_ROLE.to_owned(),
        external_id: Some("an-external-id".to_owned()),
        trusted: vec![STATIC_USER.to_owned()],
        web_identity: false,
    });
    fake
}

/// A file system with a mount target, made behind the API's back: its caller would need credentials.
fn file_system(fake: &Instance, account: &str) -> String {
    use fake_efs::world::scope::{Requester, Scope};
    let requester = Requester::root(Scope::new(account, "us-east-1"));
    let input = serde_json::from_value(serde_json::json!({ "CreationToken": account })).unwrap();
    let made = fake.world().create_file_system(&requester, input).unwrap().row.id.to_string();
    let subnet = serde_json::json!({ "FileSystemId": made, "SubnetId": "subnet-0123456789abcdef0" });
    fake.world().create_mount_target(&requester, serde_json::from_value(subnet).unwrap()).unwrap();
    made
}

/// The driver as a process with nothing of this one's environment.
struct Driver {
    process: Child,
    csi: ControllerClient<Channel>,
    endpoint: Endpoint,
    _folder: TempDir,
}

impl Drop for Driver {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Driver {
    async fn start(fake: &Instance, environment: &[(&str, String)]) -> Self {
        Self::start_with_log(fake, environment, Stdio::inherit()).await
    }

    /// A driver that is just being started.
    fn spawn_with(fake: &Instance, environment: &[(&str, String)], log: Stdio, flags: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        let (socket, ca): (PathBuf, PathBuf) = (path("csi.sock"), path("ca.pem"));
        std::fs::write(&ca, fake.ca_pem()).unwrap();
        let mut command = Command::new(support::driver());
        command.env_clear().env("HOME", folder.path()).env("AWS_ENDPOINT_URL", fake.http_url());
        command.envs(environment.iter().map(|(name, value)| (name, value)));
        command.args(["--mode", "controller", "--region", "us-east-1", "--endpoint"]);
        command.arg(format!("unix://{}", socket.display())).arg("--state-dir").arg(path("state"));
        command.arg("--tls-ca-file").arg(&ca).arg("--mount-target-port").arg(fake.nfs_addr().port().to_string());
        let process = command.args(flags).stdout(Stdio::null()).stderr(log).spawn().unwrap();
        let endpoint = Endpoint::from_shared(format!("unix://{}", socket.display())).unwrap();
        Self { process, csi: ControllerClient::new(endpoint.connect_lazy()), endpoint, _folder: folder }
    }

    async fn start_with_log(fake: &Instance, environment: &[(&str, String)], log: Stdio) -> Self {
        let mut driver = Self::spawn_with(fake, environment, log, &[]);
        let endpoint = driver.endpoint.clone();
        let connect = async {
            loop {
                if let Ok(channel) = endpoint.connect().await {
                    return channel;
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        let channel = tokio::time::timeout(Duration::from_secs(60), connect).await.expect("the driver serves");
        driver.csi = ControllerClient::new(channel);
        driver
    }

    async fn delete(&mut self, volume_id: &str) -> Result<(), Status> {
        let request = csi::DeleteVolumeRequest { volume_id: volume_id.to_owned(), ..Default::default() };
        self.csi.delete_volume(request).await.map(drop)
    }

    async fn create(&mut self, mode: &str, fs: &str, secrets: &[(&str, &str)]) -> Result<(), Status> {
        let own = |pairs: &[(&str, &str)]| -> HashMap<String, String> {
            pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
        };
        let request = csi::CreateVolumeRequest {
            name: format!("pvc-{mode}"),
            capacity_range: Some(csi::CapacityRange { required_bytes: 1 << 30, limit_bytes: 0 }),
            volume_capabilities: vec![csi::VolumeCapability {
                access_mode: Some(AccessMode { mode: Mode::MultiNodeMultiWriter.into() }),
                access_type: Some(AccessType::Mount(MountVolume::default())),
            }],
            parameters: own(&[("provisioningMode", mode), ("fileSystemId", fs), ("directoryPerms", "700")]),
            secrets: own(secrets),
            ..Default::default()
        };
        self.csi.create_volume(request).await.map(drop)
    }
}

/// Who did something, as the journal knows; all the same one.
fn who(fake: &Instance, operation: &str) -> String {
    let query = Query { operation: Some(operation.to_owned()), ..Query::default() };
    let calls = fake.journal().query(&query);
    let mut principals: Vec<_> =
        calls.into_iter().filter(|call| call.error.is_none()).map(|call| call.principal).collect();
    principals.dedup();
    assert_eq!(principals.len(), 1, "{operation} by {principals:?}");
    principals.remove(0)
}

/// Lets a driver with such an environment make a volume of either kind: one needs the API, the other the file system too.
async fn arrives_as(fake: &Instance, environment: &[(&str, String)], principal: &str) {
    let fs = file_system(fake, "123456789012");
    let mut driver = Driver::start(fake, environment).await;
    driver.create("efs-ap", &fs, &[]).await.unwrap();
    driver.create("efs-dir", &fs, &[]).await.unwrap();
    assert_eq!(who(fake, "CreateAccessPoint"), principal);
    assert_eq!(who(fake, "Connect"), principal, "on the file system");
}

fn keys() -> [(&'static str, String); 3] {
    [
        ("AWS_ACCESS_KEY_ID", "AKIDSTATIC".to_owned()),
        ("AWS_SECRET_ACCESS_KEY", "static-secret".to_owned()),
        ("AWS_EC2_METADATA_DISABLED", "true".to_owned()),
    ]
}

#[tokio::test]
async fn static_keys() {
    arrives_as(&strict().await, &keys(), STATIC_USER).await;
}

#[tokio::test]
async fn a_web_identity_of_irsa() {
    let (fake, folder) = (strict().await, tempfile::tempdir().unwrap());
    let token = folder.path().join("token");
    std::fs::write(&token, WEB_IDENTITY).unwrap();
    let environment = [
        ("AWS_ROLE_ARN", "arn:aws:iam::123456789012:role/irsa".to_owned()),
        ("AWS_WEB_IDENTITY_TOKEN_FILE", token.display().to_string()),
        ("AWS_ROLE_SESSION_NAME", "a-pod".to_owned()),
        ("AWS_EC2_METADATA_DISABLED", "true".to_owned()),
    ];
    arrives_as(&fake, &environment, "arn:aws:sts::123456789012:assumed-role/irsa/a-pod").await;
}

#[tokio::test]
async fn eks_pod_identity() {
    let (fake, folder) = (strict().await, tempfile::tempdir().unwrap());
    let token = folder.path().join("token");
    std::fs::write(&token, POD_TOKEN).unwrap();
    let environment = [
        ("AWS_CONTAINER_CREDENTIALS_FULL_URI", format!("{}/v1/credentials", fake.http_url())),
        ("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", token.display().to_string()),
        ("AWS_EC2_METADATA_DISABLED", "true".to_owned()),
    ];
    arrives_as(&fake, &environment, "arn:aws:sts::123456789012:assumed-role/node-role/eks-pod").await;
}

#[tokio::test]
async fn the_role_of_the_instance() {
    let fake = strict().await;
    let environment = [("AWS_EC2_METADATA_SERVICE_ENDPOINT", fake.http_url())];
    let principal = "arn:aws:sts::123456789012:assumed-role/node-role/i-0fa4e0ef500000001";
    arrives_as(&fake, &environment, principal).await;
}

#[tokio::test]
async fn a_role_of_another_account_with_its_external_id() {
    let fake = strict().await;
    let fs = file_system(&fake, "210987654321");
    let mut driver = Driver::start(&fake, &keys()).await;
    let role = ("awsRoleArn", CROSS_ACCOUNT_ROLE);
    let refused = driver.create("efs-ap", &fs, &[role]).await.unwrap_err();
    assert_eq!(refused.code(), Code::PermissionDenied, "{refused}");
    let refused = driver.create("efs-ap", &fs, &[role, ("externalId", "another-id")]).await.unwrap_err();
    assert_eq!(refused.code(), Code::PermissionDenied, "{refused}");
    driver.create("efs-ap", &fs, &[role, ("externalId", "an-external-id")]).await.unwrap();
    assert_eq!(who(&fake, "AssumeRole"), STATIC_USER);
    assert_eq!(who(&fake, "CreateAccessPoint"), "arn:aws:sts::210987654321:assumed-role/cross/efs-csi-driver");
}

/// Lets a driver make volumes with RUST_LOG=trace and gives its log.
async fn traced(fake: &Instance, environment: &[(&str, String)], secrets: &[(&str, &str)], fs: &str) -> String {
    let log = tempfile::NamedTempFile::new().unwrap();
    let environment = [environment, &[("RUST_LOG", "trace".to_owned())]].concat();
    let mut driver = Driver::start_with_log(fake, &environment, log.reopen().unwrap().into()).await;
    driver.create("efs-ap", fs, secrets).await.unwrap();
    drop(driver);
    std::fs::read_to_string(log.path()).unwrap()
}

/// Not the driver's own lines, nor those of the libraries below it, for whoever may read the log.
#[tokio::test]
async fn no_secret_is_in_the_log_at_any_level() {
    let (fake, folder) = (strict().await, tempfile::tempdir().unwrap());
    let token = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    let (own, other) = (file_system(&fake, "123456789012"), file_system(&fake, "210987654321"));
    let no_metadata = ("AWS_EC2_METADATA_DISABLED", "true".to_owned());
    let web_identity = [
        ("AWS_ROLE_ARN", "arn:aws:iam::123456789012:role/irsa".to_owned()),
        ("AWS_WEB_IDENTITY_TOKEN_FILE", token("web", WEB_IDENTITY)),
        no_metadata.clone(),
    ];
    let pod_identity = [
        ("AWS_CONTAINER_CREDENTIALS_FULL_URI", format!("{}/v1/credentials", fake.http_url())),
        ("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", token("pod", POD_TOKEN)),
        no_metadata,
    ];
    let role = [("awsRoleArn", CROSS_ACCOUNT_ROLE), ("externalId", "an-external-id")];
    let logs = [
        traced(&fake, &keys(), &role, &other).await,
        traced(&fake, &web_identity, &[], &own).await,
        traced(&fake, &pod_identity, &[], &own).await,
    ];
    // The parts of tokens that the fake makes up; of a web identity, its claims.
    let (_, claims) = WEB_IDENTITY.split_once('.').unwrap();
    let secrets = ["an-external-id", "static-secret", claims, POD_TOKEN, "FAKE", "SecretAccessKey"];
    for log in &logs {
        assert!(log.contains("efs_csi_driver::rpc: called"), "{log}");
        assert!(log.contains("DEBUG") && log.contains("aws_smithy_runtime"), "the SDK is heard: {log}");
        for secret in secrets {
            let line = log.lines().find(|line| line.contains(secret));
            assert_eq!(line, None, "{secret} is in the log");
        }
    }
}

/// The fake would notice: a wrong secret, and no credentials at all, get nowhere.
#[tokio::test]
async fn whoever_can_not_prove_it_is_refused() {
    let fake = strict().await;
    let fs = file_system(&fake, "123456789012");
    let [key, _, no_metadata] = keys();
    let wrong = [key, ("AWS_SECRET_ACCESS_KEY", "wrong".to_owned()), no_metadata.clone()];
    for environment in [&wrong[..], &[no_metadata]] {
        let refused = Driver::start(&fake, environment).await.create("efs-ap", &fs, &[]).await.unwrap_err();
        assert!(matches!(refused.code(), Code::Unauthenticated | Code::PermissionDenied), "{refused}");
    }
    assert!(fake.journal().query(&Query::default()).iter().all(|call| call.error.is_some()), "nothing was done");
}

/// The first policy of the handbook, without the statements of these names.
fn documented_policy(without: &[&str]) -> String {
    let handbook = include_str!("../../docs/iam.md");
    let (_, rest) = handbook.split_once("```json").unwrap();
    let (text, _) = rest.split_once("```").unwrap();
    let mut policy: serde_json::Value = serde_json::from_str(text).unwrap();
    let statements = policy["Statement"].as_array_mut().unwrap();
    let before = statements.len();
    statements.retain(|statement| !without.contains(&statement["Sid"].as_str().unwrap()));
    assert_eq!(statements.len() + without.len(), before, "{without:?} are statements of the policy");
    policy.to_string()
}

/// The id of the access point that was made last.
fn newest_access_point(fake: &Instance, fs: &str) -> String {
    let requester = fake_efs::world::scope::Requester::root(fake.world().home().clone());
    let input = serde_json::from_value(serde_json::json!({ "FileSystemId": fs })).unwrap();
    let (points, _) = fake.world().describe_access_points(&requester, &input).unwrap();
    points.last().unwrap().id.to_string()
}

#[tokio::test]
async fn the_handbook_s_policy_is_enough_for_volumes_and_not_more_than_that() {
    let fake = strict().await;
    let fs = file_system(&fake, "123456789012");
    let mut driver = Driver::start(&fake, &keys()).await;
    let permit = |without: &[&str]| fake.identities().attach_policy(STATIC_USER, &documented_policy(without)).unwrap();
    permit(&[]);
    driver.create("efs-ap", &fs, &[]).await.unwrap();
    let handle = format!("{fs}::{}", newest_access_point(&fake, &fs));
    permit(&["DeleteWhatWasMade"]);
    assert_eq!(driver.delete(&handle).await.unwrap_err().code(), Code::PermissionDenied);
    permit(&[]);
    driver.delete(&handle).await.unwrap();
    permit(&["MakeTagged"]);
    assert_eq!(driver.create("efs-ap", &fs, &[]).await.unwrap_err().code(), Code::PermissionDenied);

    // An access point that somebody else made does not have the driver's tag.
    permit(&[]);
    let requester = fake_efs::world::scope::Requester::root(fake.world().home().clone());
    let foreign = serde_json::json!({ "FileSystemId": fs, "ClientToken": "foreign" });
    let foreign = fake.world().create_access_point(&requester, serde_json::from_value(foreign).unwrap()).unwrap();
    let refused = driver.delete(&format!("{fs}::{}", foreign.id)).await.unwrap_err();
    assert_eq!(refused.code(), Code::PermissionDenied, "{refused}");
}
