//! The identity of a pod: what its volume and the kubelet say of it, and whose credentials that comes to.
//!
//! The order is the one of the S3 driver: a role that is named (by the volume, or by the service account's annotation) means IRSA, none
//! means EKS Pod Identity. What the CSIDriver asks the kubelet for decides which of the two there are: without tokens for STS nobody's
//! annotation is read, so that EKS Pod Identity needs no right to read service accounts. There is no second try with another identity.

use std::path::Path;

use csi_proto::csi;
use efs_tunnel::{IamSource, PodAuthority, PodIdentity};

use super::State;
use super::errors::NodeError;
use super::pod_errors::PodError;
use crate::efs::pod_identity::{Audience, PodTokens, Token};
use crate::limits::cut;

/// Where the kubelet puts the tokens.
pub const TOKENS_KEY: &str = "csi.storage.k8s.io/serviceAccount.tokens";
const NAMESPACE_KEY: &str = "csi.storage.k8s.io/pod.namespace";
const ACCOUNT_KEY: &str = "csi.storage.k8s.io/serviceAccount.name";

/// Bytes of a name, as Kubernetes limits those of service accounts (RFC 1123).
const NAME_MAX: usize = 253;

/// What the volume's attributes say of identities.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct PodAttributes {
    /// `authenticationSource: pod`.
    pub(super) is_asked_for: bool,
    /// `roleArn`.
    pub(super) role: Option<String>,
    /// `stsRegion`.
    pub(super) sts_region: Option<String>,
}

/// A pod whose own identity a mount is to have.
#[derive(Debug)]
pub struct PodRequest {
    namespace: String,
    account: String,
    role: Option<String>,
    /// The region whose STS is asked, if any is.
    region: String,
    tokens: PodTokens,
}

impl PodRequest {
    /// What a request says; nothing when the volume doesn't ask for the pod's identity. `region` is the file system's.
    pub(super) fn parse(
        request: &csi::NodePublishVolumeRequest,
        attributes: PodAttributes,
        region: &str,
    ) -> Result<Option<Self>, NodeError> {
        if !attributes.is_asked_for {
            return Ok(None);
        }
        let context = &request.volume_context;
        // Whole: a name whose end is left out is another one's, too.
        let said = |key: &'static str| -> Result<String, NodeError> {
            match context.get(key).filter(|value| !value.is_empty()) {
                Some(value) if value.len() > NAME_MAX => {
                    let reason = format!("has {} bytes; no name in Kubernetes has more than {NAME_MAX}", value.len());
                    Err(NodeError::request(format!("volume_context[{key:?}]"), reason))
                }
                Some(value) => Ok(value.clone()),
                None => Err(PodError::NoPodInfo(key).into()),
            }
        };
        let (namespace, account) = (said(NAMESPACE_KEY)?, said(ACCOUNT_KEY)?);
        let name = format!("service account {namespace}/{account}");
        // Where the CSIDriver has serviceAccountTokenInSecrets, they come as a secret.
        let tokens = request.secrets.get(TOKENS_KEY).or_else(|| context.get(TOKENS_KEY));
        let tokens =
            tokens.filter(|text| !text.is_empty()).ok_or_else(|| PodError::NoTokens { account: name.clone() })?;
        let tokens = PodTokens::parse(tokens, (&namespace, &account))
            .map_err(|source| PodError::Tokens { account: name, source })?;
        let PodAttributes { role, sts_region, .. } = attributes;
        let region = sts_region.unwrap_or_else(|| region.to_owned());
        Ok(Some(Self { namespace, account, role, region, tokens }))
    }

    fn name(&self) -> String {
        format!("service account {}/{}", self.namespace, self.account)
    }

    fn identity(&self, by: PodAuthority) -> PodIdentity {
        PodIdentity { namespace: self.namespace.clone(), service_account: self.account.clone(), by }
    }

    fn with_role(&self, role: String) -> PodIdentity {
        self.identity(PodAuthority::Sts { role, region: self.region.clone() })
    }

    /// Whether this may be the pod of a mount with such an identity. Which role an annotation names isn't asked again: it was when the
    /// mount was made.
    fn may_be(&self, identity: &PodIdentity) -> bool {
        let same = self.namespace == identity.namespace && self.account == identity.service_account;
        same && match &identity.by {
            PodAuthority::Sts { role, region } => {
                self.region == *region && self.role.as_ref().is_none_or(|own| own == role)
            }
            PodAuthority::Agent => self.role.is_none(),
        }
    }

    /// The token that proves `identity`; the others are dropped.
    fn token_for(self, identity: &PodIdentity) -> Result<Token, PodError> {
        let audience = match identity.by {
            PodAuthority::Sts { .. } => Audience::Sts,
            PodAuthority::Agent => Audience::Agent,
        };
        let (account, there) = (self.name(), self.tokens.audiences().to_vec());
        let missing = || PodError::OtherAudience { wanted: audience.name(), account, there };
        self.tokens.take(audience).ok_or_else(missing)
    }
}

/// A pod's identity and the token that proves it.
#[derive(Debug)]
pub(super) struct Proven {
    pub(super) identity: PodIdentity,
    pub(super) token: Token,
}

impl State {
    /// Who the pod is, asking nobody about a mount that there is.
    pub(super) async fn prove(&self, pod: PodRequest, target: &Path) -> Result<Proven, PodError> {
        let identity = match self.identity_at(target).filter(|there| pod.may_be(there)) {
            Some(there) => there,
            None => self.identity_of(&pod).await?,
        };
        let token = pod.token_for(&identity)?;
        Ok(Proven { identity, token })
    }

    fn identity_at(&self, target: &Path) -> Option<PodIdentity> {
        match &self.published().get(target)?.record.mount.spec.iam {
            Some(IamSource::Pod(identity)) => Some(identity.clone()),
            _ => None,
        }
    }

    async fn identity_of(&self, pod: &PodRequest) -> Result<PodIdentity, PodError> {
        if let Some(role) = &pod.role {
            return Ok(pod.with_role(role.clone()));
        }
        if !pod.tokens.has(Audience::Sts) {
            return Ok(pod.identity(PodAuthority::Agent));
        }
        let account = pod.name();
        let cluster = self.cluster.as_ref().ok_or_else(|| PodError::NoCluster { account: account.clone() })?;
        match cluster.role_of(&pod.namespace, &pod.account).await {
            Ok(Some(role)) if is_role(&role) => Ok(pod.with_role(role)),
            Ok(Some(value)) => Err(PodError::WrongRole { account, value: cut(&value) }),
            Ok(None) if pod.tokens.has(Audience::Agent) => Ok(pod.identity(PodAuthority::Agent)),
            Ok(None) => Err(PodError::NoRole { account }),
            Err(source) => Err(PodError::Unread { account, source }),
        }
    }
}

/// Whether it is the ARN of a role: `arn:aws:iam::123456789012:role/name`.
pub(crate) fn is_role(arn: &str) -> bool {
    let parts: Vec<&str> = arn.splitn(6, ':').collect();
    let ["arn", partition, "iam", "", account, resource] = parts[..] else { return false };
    let visible = |text: &str| text.bytes().all(|byte| byte.is_ascii_graphic());
    (20..=2048).contains(&arn.len())
        && (partition == "aws" || partition.starts_with("aws-"))
        && account.len() == 12
        && account.bytes().all(|byte| byte.is_ascii_digit())
        && resource.strip_prefix("role/").is_some_and(|name| !name.is_empty() && visible(name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::efs::pod_identity::token::tests::jwt;

    #[test]
    fn a_role_is_told_from_what_is_none() {
        for well in [
            "arn:aws:iam::123456789012:role/app",
            "arn:aws-cn:iam::123456789012:role/path/app",
            "arn:aws-us-gov:iam::123456789012:role/app",
        ] {
            assert!(is_role(well), "{well}");
        }
        for wrong in [
            "",
            "app",
            "arn:aws:iam::123456789012:user/app",
            "arn:aws:iam::12345:role/app",
            "arn:aws:iam::123456789012:role/",
            "arn:aws:iam::123456789012:role/a b",
            "arn:gcp:iam::123456789012:role/app",
            "arn:aws:sts::123456789012:assumed-role/app/x",
        ] {
            assert!(!is_role(wrong), "{wrong}");
        }
    }

    /// Kubernetes allows names of 253 bytes. One whose end was left out would be another service account's, too.
    #[test]
    fn the_names_of_a_pod_are_taken_whole_or_refused() {
        let request = |account: &str| {
            let token = jwt("team-a", account, "1");
            let tokens = format!(
                r#"{{"sts.amazonaws.com":{{"token":"{token}","expirationTimestamp":"2100-01-01T00:00:00Z"}}}}"#
            );
            let context = [(NAMESPACE_KEY, "team-a"), (ACCOUNT_KEY, account), (TOKENS_KEY, tokens.as_str())];
            let volume_context = context.map(|(key, value)| (key.to_owned(), value.to_owned())).into();
            let request = csi::NodePublishVolumeRequest { volume_context, ..Default::default() };
            let attributes = PodAttributes { is_asked_for: true, ..PodAttributes::default() };
            PodRequest::parse(&request, attributes, "us-east-1")
        };
        let longest = "a".repeat(NAME_MAX);
        assert_eq!(request(&longest).expect("a name").expect("asked for").account, longest);
        let refused = request(&"a".repeat(NAME_MAX + 1)).expect_err("no name").to_string();
        assert!(refused.contains("serviceAccount.name") && refused.contains("253"), "{refused}");
    }
}
