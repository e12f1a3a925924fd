//! The driver's own credentials: the AWS SDK's chain of sources, on threads that may hang.
//!
//! Some sources read files when they are asked (tokens of a web identity or a container, caches of SSO), and do it on the thread that asks.
//! So those files are looked at before, and the SDK runs on a thread of its own.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use aws_config::Region;
use aws_credential_types::Credentials;
use aws_credential_types::provider::error::CredentialsError;
use aws_credential_types::provider::{ProvideCredentials, SharedCredentialsProvider, future};

use super::profiles::Profiles;
use crate::blocking::{Blocking, apart};
use crate::files::{self, FileError};

/// Variables that name files which the SDK reads when it needs credentials.
const TOKENS: [&str; 2] = ["AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE"];

/// Makes sure that the SDK can read the files with tokens that it may need for `profile`, or the selected one.
pub(super) async fn look_at_tokens(
    blocking: &Blocking,
    profiles: &Profiles,
    profile: Option<&str>,
) -> Result<(), FileError> {
    let named = |name: &str| Some((name.to_owned(), PathBuf::from(std::env::var_os(name)?)));
    let of_environment =
        if profile.is_none() { TOKENS.iter().filter_map(|name| named(name)).collect() } else { vec![] };
    for (named_by, path) in of_environment.into_iter().chain(profiles.token_files(profile).await) {
        files::look_at(blocking, &named_by, &path).await?;
    }
    Ok(())
}

/// The SDK's chain of sources, as this process's environment and profiles say. A profile that changes counts when it is next asked.
#[derive(Clone, Debug)]
pub(super) struct OwnCredentials {
    blocking: Blocking,
    loader: Loader,
    /// The chain, and the profiles that it was made for. It is kept, as it knows what to do while the metadata service is away.
    made: Arc<Mutex<Option<(Profiles, SharedCredentialsProvider)>>>,
}

/// What chains are made with.
#[derive(Clone)]
struct Loader(Arc<dyn Fn() -> aws_config::ConfigLoader + Send + Sync>);

impl std::fmt::Debug for Loader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Loader")
    }
}

impl OwnCredentials {
    /// A chain whose calls are made as `loader` says, in `region` if it is known.
    pub(super) fn new(
        blocking: Blocking,
        loader: impl Fn() -> aws_config::ConfigLoader + Send + Sync + 'static,
    ) -> Self {
        Self { blocking, loader: Loader(Arc::new(loader)), made: Arc::default() }
    }

    async fn get(&self) -> Result<Credentials, CredentialsError> {
        let profiles = Profiles::of_process(&self.blocking).await.map_err(CredentialsError::provider_error)?;
        if !keys_are_given() {
            let looked = look_at_tokens(&self.blocking, &profiles, None).await;
            looked.map_err(CredentialsError::provider_error)?;
        }
        let this = self.clone();
        apart(async move { unended(&this.chain(profiles).await?).await }).await
    }

    async fn chain(&self, profiles: Profiles) -> Result<SharedCredentialsProvider, CredentialsError> {
        let made = || self.made.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((of, chain)) = &*made()
            && *of == profiles
        {
            return Ok(chain.clone());
        }
        let config = self.loader.0().profile_files(profiles.files()).load().await;
        let chain = config.credentials_provider().ok_or_else(|| CredentialsError::not_loaded("no source is known"))?;
        *made() = Some((profiles, chain.clone()));
        Ok(chain)
    }
}

/// The credentials of a source, unless they have ended. A source may give such (a program's cache, a token that nobody renews), the SDK takes
/// them, and AWS's refusal would name a signature.
pub(super) async fn unended(source: &impl ProvideCredentials) -> Result<Credentials, CredentialsError> {
    let credentials = source.provide_credentials().await?;
    match credentials.expiry().map(|end| SystemTime::now().duration_since(end)) {
        Some(Ok(ago)) => Err(CredentialsError::provider_error(format!(
            "its credentials have ended {} s ago: have their source renewed, and see whether this machine's clock is right",
            ago.as_secs()
        ))),
        _ => Ok(credentials),
    }
}

/// The first source of the chain; with it no other is asked.
fn keys_are_given() -> bool {
    let given = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    given("AWS_ACCESS_KEY_ID") && given("AWS_SECRET_ACCESS_KEY")
}

impl ProvideCredentials for OwnCredentials {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        future::ProvideCredentials::new(self.get())
    }
}

/// The region that chains use when they have to ask STS.
pub(super) fn in_region(loader: aws_config::ConfigLoader, region: Option<&String>) -> aws_config::ConfigLoader {
    match region {
        Some(region) => loader.region(Region::new(region.clone())),
        None => loader,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use efs_common::causes::chain;

    use super::*;

    #[tokio::test]
    async fn credentials_that_have_ended_are_refused_with_what_to_do() {
        let ending = |end| Credentials::new("AKID", "secret", None, end, "test");
        let now = SystemTime::now();
        for good in [None, Some(now + Duration::from_secs(60))] {
            unended(&ending(good)).await.expect("good");
        }
        let error = unended(&ending(Some(now - Duration::from_secs(60)))).await.expect_err("ended");
        let text = chain(&error).map(ToString::to_string).collect::<Vec<_>>().join(": ");
        assert!(text.contains("have ended 60 s ago") && text.contains("clock"), "{text}");
        assert!(!text.contains("secret"), "{text}");
    }
}
