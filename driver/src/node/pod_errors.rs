//! Why a pod has no identity.

use tonic::Code;

use super::cluster::{ClusterError, ROLE_ANNOTATION};
use crate::efs::pod_identity::store::NoCredentials;
use crate::efs::pod_identity::{ExchangeError, TokenError};

/// Why a pod has no identity, with the fix.
#[derive(Debug, thiserror::Error)]
pub enum PodError {
    /// The kubelet doesn't say whose pod it is.
    #[error(
        "volume_context[{0:?}] is missing: authenticationSource: pod needs the CSIDriver's podInfoOnMount: true (the chart's csiDriver.podInfoOnMount)"
    )]
    NoPodInfo(&'static str),
    /// There are no tokens.
    #[error(
        "no service account token for {account}: authenticationSource: pod needs the CSIDriver's tokenRequests (the chart's csiDriver.tokenRequests)"
    )]
    NoTokens {
        /// Whose.
        account: String,
    },
    /// The tokens can't be used.
    #[error("{account}: {source}")]
    Tokens {
        /// Whose.
        account: String,
        /// What is wrong with them.
        source: TokenError,
    },
    /// There are tokens, but for others.
    #[error("no token for audience {wanted} of {account}, only for [{}]: add it to the CSIDriver's tokenRequests (the chart's csiDriver.tokenRequests)", .there.join(", "))]
    OtherAudience {
        /// For whom it must be.
        wanted: &'static str,
        /// Whose.
        account: String,
        /// For whom there are.
        there: Vec<String>,
    },
    /// Nobody says which role.
    #[error(
        "no role for {account}: annotate the service account with {ROLE_ANNOTATION}, or name roleArn in the volume's attributes, or have the CSIDriver ask for tokens for pods.eks.amazonaws.com (EKS Pod Identity)"
    )]
    NoRole {
        /// Whose.
        account: String,
    },
    /// The annotation is no role.
    #[error("the annotation {ROLE_ANNOTATION} of {account} is {value:?}, which is not the ARN of a role")]
    WrongRole {
        /// Whose.
        account: String,
        /// What it says.
        value: String,
    },
    /// The service account can't be read.
    #[error(
        "cannot read the role of {account}: {source}; the chart grants it with node.serviceAccount.readServiceAccounts, and a volume with roleArn doesn't need it"
    )]
    Unread {
        /// Whose.
        account: String,
        /// Why.
        source: ClusterError,
    },
    /// The driver runs outside of a cluster.
    #[error(
        "the role of {account} is unknown: this driver has no way to the API server; name roleArn in the volume's attributes"
    )]
    NoCluster {
        /// Whose.
        account: String,
    },
    /// AWS gives no credentials.
    #[error(transparent)]
    NoCredentials(#[from] NoCredentials),
}

impl PodError {
    /// The gRPC code.
    pub(super) fn code(&self) -> Code {
        match self {
            Self::NoPodInfo(_)
            | Self::NoTokens { .. }
            | Self::OtherAudience { .. }
            | Self::NoRole { .. }
            | Self::WrongRole { .. }
            | Self::NoCluster { .. } => Code::FailedPrecondition,
            Self::Tokens { .. } => Code::InvalidArgument,
            Self::Unread { source, .. } if source.is_away => Code::Unavailable,
            Self::Unread { .. } => Code::FailedPrecondition,
            Self::NoCredentials(NoCredentials::NoToken(_)) => Code::Unavailable,
            Self::NoCredentials(NoCredentials::Refused { source, .. }) => match source {
                ExchangeError::Denied(_) => Code::PermissionDenied,
                ExchangeError::Token(_) => Code::Unauthenticated,
                ExchangeError::Away(_) => Code::Unavailable,
            },
        }
    }
}
