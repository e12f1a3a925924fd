//! IRSA: AWS STS lets the owner of a token assume a role. The call is a POST, so no log of URLs has the token; it is not signed.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use aws_config::retry::RetryConfig;
use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, Region};
use aws_credential_types::Credentials;
use aws_sdk_sts::error::{ProvideErrorMetadata, SdkError};
use aws_smithy_runtime_api::client::http::SharedHttpClient;
use efs_common::causes::causes;
use efs_tunnel::PodIdentity;
use sha2::{Digest, Sha256};

use super::errors::ExchangeError;
use super::token::Token;
use crate::blocking::Blocking;
use crate::efs::http_client::http_client;
use crate::efs::profiles::Profiles;

/// Clients that are kept, one for each region. A PersistentVolume may name any.
const REGIONS_MAX: usize = 32;
/// AWS's limit for the name of a session, in bytes.
const SESSION_MAX: usize = 64;
/// Limits of a connect and of an attempt. A call has two attempts.
const CONNECT_WITHIN: Duration = Duration::from_secs(3);
const ATTEMPT_WITHIN: Duration = Duration::from_millis(4_500);

/// AWS STS, in all regions.
#[derive(Debug, Default)]
pub(super) struct Sts {
    http: Mutex<Option<SharedHttpClient>>,
    clients: Mutex<HashMap<String, aws_sdk_sts::Client>>,
    blocking: Blocking,
    /// Where it is, if not where environment and region say.
    url: Option<String>,
}

impl Sts {
    pub(super) fn at(url: String) -> Self {
        Self { url: Some(url), ..Self::default() }
    }

    pub(super) fn with_blocking(self, blocking: Blocking) -> Self {
        Self { blocking, ..self }
    }

    async fn client(&self, region: &str) -> Result<aws_sdk_sts::Client, ExchangeError> {
        let known = || self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(client) = known().get(region) {
            return Ok(client.clone());
        }
        let profiles = Profiles::of_process(&self.blocking).await;
        let profiles = profiles.map_err(|error| ExchangeError::Away(error.to_string()))?;
        let make = || http_client(&self.blocking);
        let http = self.http.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert_with(make).clone();
        let timeouts =
            TimeoutConfig::builder().connect_timeout(CONNECT_WITHIN).operation_attempt_timeout(ATTEMPT_WITHIN).build();
        // Without credentials: nothing that the driver has may take the token's place.
        let mut config = aws_config::defaults(BehaviorVersion::latest());
        if let Some(url) = &self.url {
            config = config.endpoint_url(url);
        }
        let config = config
            .no_credentials()
            .profile_files(profiles.files())
            .region(Region::new(region.to_owned()))
            .http_client(http)
            .retry_config(RetryConfig::standard().with_max_attempts(2))
            .timeout_config(timeouts)
            .load()
            .await;
        let client = aws_sdk_sts::Client::new(&config);
        let mut known = known();
        if known.len() >= REGIONS_MAX {
            known.clear();
        }
        known.insert(region.to_owned(), client.clone());
        Ok(client)
    }

    /// Credentials of `role` for the token's owner.
    pub(super) fn assume<'a>(
        &'a self,
        identity: &'a PodIdentity,
        role: &'a str,
        region: &'a str,
        token: &'a Token,
    ) -> Pin<Box<dyn Future<Output = Result<Credentials, ExchangeError>> + Send + 'a>> {
        // Boxed: the SDK's futures are large, and callers would carry them.
        Box::pin(async move {
            let client = self.client(region).await?;
            let call = client
                .assume_role_with_web_identity()
                .role_arn(role)
                .role_session_name(session_name(identity))
                .web_identity_token(token.reveal());
            let answer = call.send().await.map_err(|error| explain(&error))?;
            let given =
                answer.credentials().ok_or_else(|| ExchangeError::Away("an answer without credentials".to_owned()))?;
            let expires = SystemTime::try_from(*given.expiration())
                .map_err(|_| ExchangeError::Away("an answer with credentials that end at no time".to_owned()))?;
            if given.access_key_id().is_empty() || given.secret_access_key().is_empty() {
                return Err(ExchangeError::Away("an answer with empty credentials".to_owned()));
            }
            let (key, secret, session) = (given.access_key_id(), given.secret_access_key(), given.session_token());
            Ok(Credentials::new(key, secret, Some(session.to_owned()), Some(expires), "pod"))
        })
    }
}

/// What CloudTrail shows. It is the same for all pods of a service account, and after each renewal: the server takes the principal with its
/// session's name for the identity of an NFS client.
pub(super) fn session_name(identity: &PodIdentity) -> String {
    let name = format!("{}@{}", identity.service_account, identity.namespace);
    let fits = |c: char| c.is_ascii_alphanumeric() || "_+=,.@-".contains(c);
    let mut session: String = name.chars().map(|c| if fits(c) { c } else { '-' }).collect();
    if session.len() > SESSION_MAX {
        // What is left out still tells one from another.
        let hash = hex::encode(&Sha256::digest(name.as_bytes())[..8]);
        session.truncate(SESSION_MAX - hash.len() - 1);
        session = format!("{session}.{hash}");
    }
    session
}

fn explain<E>(error: &SdkError<E>) -> ExchangeError
where
    E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
{
    let SdkError::ServiceError(context) = error else { return ExchangeError::Away(causes(error)) };
    let (code, message) = (error.code().unwrap_or_default(), error.message().unwrap_or_default());
    let status = context.raw().status().as_u16();
    let said = match (code, message) {
        ("", "") => format!("HTTP status {status}"),
        (code, "") => code.to_owned(),
        (code, message) => format!("{code}: {message}"),
    };
    match code {
        "ExpiredTokenException" | "InvalidIdentityToken" | "IDPRejectedClaim" => ExchangeError::Token(said),
        "IDPCommunicationError" | "Throttling" | "ThrottlingException" | "RequestLimitExceeded" => {
            ExchangeError::Away(said)
        }
        // Without a code it is something else than STS that answers.
        "" => ExchangeError::Away(said),
        _ if status >= 500 || status == 429 => ExchangeError::Away(said),
        _ => ExchangeError::Denied(said),
    }
}

#[cfg(test)]
mod tests {
    use efs_tunnel::PodAuthority;

    use super::*;

    #[test]
    fn a_session_has_the_service_accounts_name_and_fits() {
        let name = |namespace: &str, account: &str| {
            session_name(&PodIdentity {
                namespace: namespace.to_owned(),
                service_account: account.to_owned(),
                by: PodAuthority::Agent,
            })
        };
        assert_eq!(name("team-a", "app"), "app@team-a");
        let long = |namespace| name(namespace, &"a".repeat(253));
        assert!(long("n").starts_with(&"a".repeat(47)) && long("n").len() == SESSION_MAX, "{}", long("n"));
        assert_ne!(long("n"), long("m"), "the namespace counts although it isn't seen");
        assert_eq!(name("n/ä", "a:b"), "a-b@n--");
    }
}
