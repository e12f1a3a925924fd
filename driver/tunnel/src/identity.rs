//! What a tunnel stands for: file system, access point, IAM identity and the way to the mount target.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

/// The AWS service that a file system belongs to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Service {
    /// Amazon EFS.
    #[default]
    Efs,
    /// Amazon S3 Files.
    S3Files,
}

impl Service {
    /// As it stands in signatures.
    pub fn signing_name(self) -> &'static str {
        match self {
            Self::Efs => "elasticfilesystem",
            Self::S3Files => "s3files",
        }
    }

    /// What is written of it: nothing of EFS, so that processes of earlier versions read what is theirs.
    fn is_efs(&self) -> bool {
        *self == Self::Efs
    }
}

/// Everything that decides whose data a tunnel serves and how it gets there. Two mounts share a tunnel exactly when
/// their specifications are equal; this is also what the state directory remembers of a tunnel.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TunnelSpec {
    /// The service that the file system belongs to.
    #[serde(default, skip_serializing_if = "Service::is_efs")]
    pub service: Service,
    /// The file system's id, `fs-…`.
    pub file_system: String,
    /// The access point's id, `fsap-…`, if the mount goes through one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub access_point: Option<String>,
    /// The file system's region.
    pub region: String,
    /// The name that the server's certificate must carry: `fs-….efs.<region>.<suffix>`, or that of S3 Files.
    pub server_name: String,
    /// Where the IAM credentials come from; `None` for mounts without IAM authorization.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub iam: Option<IamSource>,
    /// How the mount target's address is found.
    #[serde(default)]
    pub route: Route,
}

impl fmt::Display for TunnelSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.file_system)?;
        if let Some(access_point) = &self.access_point {
            write!(f, "/{access_point}")?;
        }
        Ok(())
    }
}

/// How to find a mount target, from the volume's context and mount options. The first rule that applies wins:
/// `address`, `by_zone`, then names, then the EFS API.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Route {
    /// `mounttargetip`: this address and no other.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub address: Option<IpAddr>,
    /// `mounttargetipmap`: the addresses per availability zone name or id.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub by_zone: BTreeMap<String, ZoneAddresses>,
    /// `az`: the zone to use instead of the node's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub zone: Option<String>,
    /// `maxconn`: connections to the mount target for one of the kernel's, instead of the node's number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_connections: Option<u8>,
    /// `crossaccount`: the name starts with the node's zone id; there is no fall-back to the API.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub cross_account: bool,
}

/// The addresses of the mount target in one zone: one, or one of each family. A single one is written as a text, as it was when there
/// was never more.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(untagged)]
pub enum ZoneAddresses {
    /// One.
    One(IpAddr),
    /// Several, best first.
    Several(Vec<IpAddr>),
}

impl ZoneAddresses {
    /// All of them, best first.
    pub fn all(&self) -> &[IpAddr] {
        match self {
            Self::One(address) => std::slice::from_ref(address),
            Self::Several(addresses) => addresses,
        }
    }
}

impl From<Vec<IpAddr>> for ZoneAddresses {
    fn from(addresses: Vec<IpAddr>) -> Self {
        match addresses[..] {
            [address] => Self::One(address),
            _ => Self::Several(addresses),
        }
    }
}

/// Where the credentials of a mount with IAM authorization come from. Only the source is kept, never a secret.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "snake_case")]
pub enum IamSource {
    /// The driver's own credentials, as the AWS SDK finds them.
    Default,
    /// A named profile of the shared configuration files.
    Profile(String),
    /// A role assumed with a web identity token that is read from a file.
    WebIdentity {
        /// ARN of the role.
        role: String,
        /// The token's file.
        token_file: String,
    },
    /// The pod's own: credentials for its service account, by a token that the kubelet gives for it.
    Pod(PodIdentity),
}

/// Whose credentials a pod's mount is signed with, and how they are come by. Two mounts with different ones share nothing.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PodIdentity {
    /// The pod's namespace.
    pub namespace: String,
    /// The name of its service account.
    pub service_account: String,
    /// Who gives credentials for its token.
    pub by: PodAuthority,
}

/// Who gives credentials for a service account's token.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "snake_case")]
pub enum PodAuthority {
    /// AWS STS, which lets the token's owner assume a role (IRSA).
    Sts {
        /// ARN of the role.
        role: String,
        /// The region whose STS is asked.
        region: String,
    },
    /// The agent of EKS Pod Identity on the node; EKS knows the role.
    Agent,
}

impl fmt::Display for PodIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "service account {}/{}", self.namespace, self.service_account)?;
        match &self.by {
            PodAuthority::Sts { role, .. } => write!(f, " with role {role}"),
            PodAuthority::Agent => write!(f, " with EKS Pod Identity"),
        }
    }
}
