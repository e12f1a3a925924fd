//! A token for credentials.

use std::time::Duration;

use async_trait::async_trait;
use aws_credential_types::Credentials;
use efs_tunnel::{PodAuthority, PodIdentity};
use tokio::time::timeout;

use super::agent;
use super::errors::ExchangeError;
use super::sts::Sts;
use super::token::Token;
use crate::blocking::Blocking;
use crate::pod_agent::AgentUri;

/// An exchange has this long, retries included: a pod's start waits for it, and the kubelet tries again.
const WITHIN: Duration = Duration::from_secs(10);

/// Gives credentials for tokens.
#[async_trait]
pub trait Exchange: Send + Sync {
    /// Credentials for the service account `identity`, whose token this is.
    ///
    /// # Errors
    /// Why there are none.
    async fn exchange(&self, identity: &PodIdentity, token: &Token) -> Result<Credentials, ExchangeError>;
}

/// [`Exchange`] with AWS STS and the agent of EKS Pod Identity.
#[derive(Debug)]
pub struct AwsExchange {
    sts: Sts,
    agent: AgentUri,
}

impl AwsExchange {
    /// With the agent at this address. Nothing is asked before the first exchange.
    pub fn new(agent: AgentUri) -> Self {
        Self { sts: Sts::default(), agent }
    }

    /// The same, whose reading of files is seen in `blocking`.
    #[must_use]
    pub fn with_blocking(self, blocking: Blocking) -> Self {
        Self { sts: self.sts.with_blocking(blocking), ..self }
    }

    /// The same with STS at this URL, whatever environment and region say.
    #[must_use]
    pub fn with_sts_at(self, url: impl Into<String>) -> Self {
        Self { sts: Sts::at(url.into()), ..self }
    }
}

#[async_trait]
impl Exchange for AwsExchange {
    async fn exchange(&self, identity: &PodIdentity, token: &Token) -> Result<Credentials, ExchangeError> {
        let whom = match &identity.by {
            PodAuthority::Sts { region, .. } => format!("AWS STS in {region}"),
            PodAuthority::Agent => format!("the EKS Pod Identity agent at {}", self.agent),
        };
        let exchanging = async {
            match &identity.by {
                PodAuthority::Sts { role, region } => self.sts.assume(identity, role, region, token).await,
                PodAuthority::Agent => agent::ask(&self.agent, token).await,
            }
        };
        let given = timeout(WITHIN, exchanging)
            .await
            .unwrap_or_else(|_| Err(ExchangeError::Away(format!("no answer within {} s", WITHIN.as_secs()))));
        given.map_err(|error| {
            let said = |text: String| format!("{whom} says: {}", token.hide_in(&text));
            match error {
                ExchangeError::Denied(text) => ExchangeError::Denied(said(text)),
                ExchangeError::Token(text) => ExchangeError::Token(said(text)),
                ExchangeError::Away(text) => ExchangeError::Away(format!("{whom}: {}", token.hide_in(&text))),
            }
        })
    }
}
