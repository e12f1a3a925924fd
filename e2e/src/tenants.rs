//! Tenants of one file system: service accounts with roles of their own, which the file system's policy tells apart, and their pods' calls.
//!
//! What the kubelet brings is made here. Each token has [`MARK`] in it, which must be found nowhere: not in a log, not on disk.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use csi_proto::csi;
use serde_json::{Value, json};

use crate::mounts;
use crate::stack::{DriverOptions, Fake, many_writers};

/// The file system that all share.
pub const FILE_SYSTEM: &str = "fs-0123456789abcdef0";
/// The access point of [`TEAM_A`], whose root is `/team-a`.
pub const POINT_A: &str = "fsap-0000000000000000a";
/// The access point of [`TEAM_B`], whose root is `/team-b`.
pub const POINT_B: &str = "fsap-0000000000000000b";
/// A part of every token's signature.
pub const MARK: &str = "dGhpcy1pcy1hLXNlY3JldC1zaWduYXR1cmU";

/// May write below its own access point, by IRSA.
pub const TEAM_A: Tenant = Tenant { name: "team-a", way: Way::Irsa };
/// The same with an access point of its own, by EKS Pod Identity.
pub const TEAM_B: Tenant = Tenant { name: "team-b", way: Way::Agent };
/// May look at all of the file system and write nothing (no ClientWrite).
pub const AUDITOR: Tenant = Tenant { name: "auditor", way: Way::Irsa };
/// May write, with root squashed (no ClientRootAccess).
pub const WORKER: Tenant = Tenant { name: "worker", way: Way::Agent };
/// May do everything, as root, too.
pub const ADMIN: Tenant = Tenant { name: "admin", way: Way::Irsa };
const ALL: [Tenant; 5] = [TEAM_A, TEAM_B, AUDITOR, WORKER, ADMIN];

/// How a service account comes to its role.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// By STS, with the role that the volume names.
    Irsa,
    /// By the agent of EKS Pod Identity.
    Agent,
}

impl Way {
    fn audience(self) -> &'static str {
        match self {
            Self::Irsa => "sts.amazonaws.com",
            Self::Agent => "pods.eks.amazonaws.com",
        }
    }
}

/// The service account `app` of a namespace, with a role of the namespace's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tenant {
    /// The namespace.
    pub name: &'static str,
    /// How it comes to its role.
    pub way: Way,
}

impl Tenant {
    /// The ARN of its role.
    pub fn role(self) -> String {
        role(self.name)
    }

    /// What its sessions are called in the file system's journal.
    pub fn principal(self) -> String {
        let session = match self.way {
            Way::Irsa => format!("app@{}", self.name),
            Way::Agent => "eks-pod".to_owned(),
        };
        format!("arn:aws:sts::123456789012:assumed-role/{}/{session}", self.name)
    }

    /// The kubelet's call for a pod of it.
    pub fn request(self, volume: &str, target: &Path, serial: u32) -> csi::NodePublishVolumeRequest {
        request(self.name, self.way, volume, target, serial)
    }
}

/// The kubelet's call for a pod of the service account `app` in `namespace`, with a role of the namespace's name.
pub fn request(namespace: &str, way: Way, volume: &str, target: &Path, serial: u32) -> csi::NodePublishVolumeRequest {
    let mut context = vec![
        ("authenticationSource", "pod".to_owned()),
        ("csi.storage.k8s.io/pod.name", "app-0".to_owned()),
        ("csi.storage.k8s.io/pod.namespace", namespace.to_owned()),
        ("csi.storage.k8s.io/serviceAccount.name", "app".to_owned()),
    ];
    if way == Way::Irsa {
        context.push(("roleArn", role(namespace)));
    }
    csi::NodePublishVolumeRequest {
        volume_id: volume.to_owned(),
        target_path: target.display().to_string(),
        volume_capability: Some(many_writers()),
        volume_context: context.into_iter().map(|(key, value)| (key.to_owned(), value)).collect(),
        secrets: [("csi.storage.k8s.io/serviceAccount.tokens".to_owned(), tokens(namespace, way, serial))].into(),
        ..Default::default()
    }
}

fn role(namespace: &str) -> String {
    format!("arn:aws:iam::123456789012:role/{namespace}")
}

fn subject(namespace: &str) -> String {
    format!("system:serviceaccount:{namespace}:app")
}

/// What the kubelet gives the driver: a token for the audience of this way. `serial` tells one from another.
fn tokens(namespace: &str, way: Way, serial: u32) -> String {
    let audience = way.audience();
    let claims = json!({ "sub": subject(namespace), "aud": [audience], "exp": 4_102_444_800_u64, "jti": serial });
    let part = |value: Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let token = format!("{}.{}.{MARK}", part(json!({ "alg": "none" })), part(claims));
    json!({ audience: { "token": token, "expirationTimestamp": "2100-01-01T00:00:00Z" } }).to_string()
}

/// The handle of a volume behind an access point.
pub fn handle(access_point: &str) -> String {
    format!("{FILE_SYSTEM}::{access_point}")
}

/// Writes the fake's seed: the tenants' roles and associations, the file system with its access points, and the policy that tells them
/// apart.
pub fn write_seed(dir: &Path) -> anyhow::Result<PathBuf> {
    let point = |id: &str| format!("arn:aws:elasticfilesystem:us-east-1:123456789012:access-point/{id}");
    let allow = |tenant: Tenant, actions: &[&str], only: Option<&str>| {
        let actions: Vec<_> = actions.iter().map(|action| format!("elasticfilesystem:{action}")).collect();
        let condition = only.map(|id| json!({ "StringEquals": { "elasticfilesystem:AccessPointArn": point(id) } }));
        let mut statement = json!({ "Effect": "Allow", "Principal": { "AWS": tenant.role() }, "Action": actions });
        if let Some(condition) = condition {
            statement["Condition"] = condition;
        }
        statement
    };
    let write = ["ClientMount", "ClientWrite"];
    let statements = [
        allow(TEAM_A, &write, Some(POINT_A)),
        allow(TEAM_B, &write, Some(POINT_B)),
        allow(AUDITOR, &["ClientMount"], None),
        allow(WORKER, &write, None),
        allow(ADMIN, &["ClientMount", "ClientWrite", "ClientRootAccess"], None),
    ];
    let root = |id: &str, tenant: Tenant, uid: u32| json!({ "id": id, "path": format!("/{}", tenant.name), "uid": uid, "gid": uid, "permissions": "0755" });
    let associated = ALL.iter().filter(|it| it.way == Way::Agent);
    let seed = json!({
        "keys": [{ "access_key_id": "AKIAIOSFODNN7EXAMPLE", "secret_access_key": "secret" }],
        "roles": ALL.map(|it| json!({ "arn": it.role(), "trusted": [subject(it.name)] })),
        "pod_associations": associated
            .map(|it| json!({ "namespace": it.name, "service_account": "app", "role": it.role() }))
            .collect::<Vec<_>>(),
        "file_systems": [{
            "id": FILE_SYSTEM,
            "creation_token": "tenants",
            "encrypted": true,
            "policy": { "Version": "2012-10-17", "Statement": statements },
            "mount_targets": [{ "subnet": "subnet-0123456789abcdef0" }],
            "access_points": [root(POINT_A, TEAM_A, 51_001), root(POINT_B, TEAM_B, 51_002)],
        }],
    });
    let path = dir.join("tenants.yaml");
    // JSON is YAML.
    std::fs::write(&path, seed.to_string()).with_context(|| format!("writing {path:?}"))?;
    Ok(path)
}

/// Lets a driver ask the fake where it would ask the agent of EKS Pod Identity.
pub fn with_agent(options: &mut DriverOptions) {
    options.arguments.push(format!("--pod-identity-agent={}/v1/credentials", options.endpoint_url));
}

/// Whom the fake sees on its living connections, each principal with the number of its connections.
pub async fn connected(fake: &Fake) -> anyhow::Result<std::collections::BTreeMap<String, usize>> {
    let answer = fake.admin("/_fake/connections").await?;
    let mut found = std::collections::BTreeMap::new();
    for connection in answer["Connections"].as_array().context("no list of connections")? {
        if connection["Refusal"].is_null() {
            *found.entry(connection["Principal"].as_str().unwrap_or_default().to_owned()).or_default() += 1;
        }
    }
    Ok(found)
}

/// How often the fake was asked for credentials, by either way.
pub async fn exchanges(fake: &Fake) -> anyhow::Result<usize> {
    let mut found = 0;
    for operation in ["AssumeRoleWithWebIdentity", "GetCredentials"] {
        found += journal(fake, operation).await?.len();
    }
    Ok(found)
}

/// The fake's journal of an operation.
pub async fn journal(fake: &Fake, operation: &str) -> anyhow::Result<Vec<Value>> {
    let answer = fake.admin(&format!("/_fake/journal?operation={operation}")).await?;
    Ok(answer["entries"].as_array().context("no journal")?.clone())
}

/// The tunnel's port of a mount.
pub fn port(target: &Path) -> anyhow::Result<u16> {
    let mounted = mounts::at(target)?;
    ensure!(mounted.len() == 1, "{} mounts at {target:?}", mounted.len());
    Ok(mounted[0].option("port").context("no port among the options")?.parse()?)
}

/// The files below a folder that a token is in: logs, records, notes.
pub fn files_with_tokens(dir: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let (mut found, mut folders) = (Vec::new(), vec![dir.to_owned()]);
    // What is mounted there belongs to the tenants.
    let mounted: Vec<_> = mounts::all()?.into_iter().map(|mount| mount.path).collect();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).with_context(|| format!("reading {folder:?}"))? {
            let path = entry?.path();
            let kind = std::fs::symlink_metadata(&path).map(|it| it.file_type());
            match kind {
                Ok(kind) if kind.is_dir() && !mounted.contains(&path) => folders.push(path),
                Ok(kind) if kind.is_file() && has_token(&std::fs::read(&path).unwrap_or_default()) => found.push(path),
                _ => {}
            }
        }
    }
    Ok(found)
}

/// Whether a token is in it, or the part of one that says who it is.
pub fn has_token(bytes: &[u8]) -> bool {
    // What each JSON Web Token begins with: `{"` in base64.
    [MARK.as_bytes(), b"eyJhbGciOi"].iter().any(|needle| bytes.windows(needle.len()).any(|part| part == *needle))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_found_in_files_and_a_folder_without_one_has_none() {
        let dir = tempfile::tempdir().expect("a folder");
        std::fs::create_dir(dir.path().join("state")).expect("mkdir");
        std::fs::write(dir.path().join("driver.log"), "nothing").expect("write");
        assert_eq!(files_with_tokens(dir.path()).expect("look"), Vec::<PathBuf>::new());
        let kept = dir.path().join("state/token");
        std::fs::write(&kept, tokens(TEAM_A.name, TEAM_A.way, 1)).expect("write");
        assert_eq!(files_with_tokens(dir.path()).expect("look"), [kept]);
        for tenant in ALL {
            let request = tenant.request(FILE_SYSTEM, Path::new("/x"), 1);
            assert!(request.secrets.values().all(|token| has_token(token.as_bytes())), "{request:?}");
        }
    }
}
