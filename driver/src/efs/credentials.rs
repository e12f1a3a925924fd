//! The driver's own credentials: the AWS SDK's chain of sources, on threads that may hang.
//!
//! Some sources read files when they are asked (tokens of a web identity or a container, caches of SSO), and do it on the thread that asks.
//! So those files are looked at before, and the SDK runs on a thread of its own.

use std::path::{Path, PathBuf};
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

/// What the settings name that isn't there. The SDK passes such a source over, or says what went wrong with it but not where it stands; so it
/// is told when no source gives credentials.
#[derive(Debug, thiserror::Error)]
#[error("{}", .doubts.join("; "))]
pub(super) struct Doubtful {
    /// Each with the setting's name.
    pub(super) doubts: Vec<String>,
    #[source]
    source: CredentialsError,
}

impl Doubtful {
    /// The SDK's error, with what may be its cause.
    fn add(doubts: Vec<String>, error: CredentialsError) -> CredentialsError {
        match doubts.is_empty() {
            true => error,
            false => CredentialsError::provider_error(Self { doubts, source: error }),
        }
    }
}

/// Makes sure that the SDK can read the files with tokens that it may need for `profile`, or the selected one. Tells what of that isn't
/// there.
pub(super) async fn look_at_sources(
    blocking: &Blocking,
    profiles: &Profiles,
    profile: Option<&str>,
) -> Result<Vec<String>, FileError> {
    let named = |name: &str| Some((name.to_owned(), PathBuf::from(std::env::var_os(name)?)));
    let of_environment =
        if profile.is_none() { TOKENS.iter().filter_map(|name| named(name)).collect() } else { vec![] };
    let mut doubts = profiles.doubts(profile).await;
    for (named_by, path) in of_environment.into_iter().chain(profiles.token_files(profile).await) {
        doubts.extend(look_at_token(blocking, &named_by, &path).await?);
    }
    Ok(doubts)
}

/// Makes sure that the SDK can read a file with a token; tells what is wrong with it otherwise.
pub(super) async fn look_at_token(
    blocking: &Blocking,
    named_by: &str,
    path: &Path,
) -> Result<Option<String>, FileError> {
    match files::read(blocking, named_by, path).await {
        Ok(text) if text.trim_ascii().is_empty() => {
            Ok(Some(format!("{named_by}={}: the file is empty", path.display())))
        }
        Ok(_) => Ok(None),
        Err(error) if error.is_to_be_left_alone() => Err(error),
        Err(error) => Ok(Some(error.to_string())),
    }
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
        let doubts = match keys_are_given() {
            true => Vec::new(),
            false => {
                let looked = look_at_sources(&self.blocking, &profiles, None).await;
                looked.map_err(CredentialsError::provider_error)?
            }
        };
        let this = self.clone();
        apart(async move { usable(&this.chain(profiles).await?, doubts).await }).await
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

/// The credentials of a source, if AWS can take them. A source may give some that have ended (a program's cache, a token that nobody renews),
/// or a key with a line's end (a file made by an editor, put into a Secret): the SDK takes both, AWS's refusal of the first would name a
/// signature, and the second can't even be put into a request. `doubts` are told when there are none.
pub(super) async fn usable(
    source: &impl ProvideCredentials,
    doubts: Vec<String>,
) -> Result<Credentials, CredentialsError> {
    let credentials = source.provide_credentials().await.map_err(|error| Doubtful::add(doubts, error))?;
    let parts = [
        ("access key id", credentials.access_key_id()),
        ("secret access key", credentials.secret_access_key()),
        ("session token", credentials.session_token().unwrap_or_default()),
    ];
    if let Some((part, _)) = parts.iter().find(|(_, text)| !text.bytes().all(|byte| byte.is_ascii_graphic())) {
        return Err(CredentialsError::provider_error(format!(
            "the {part} of its credentials holds a blank, a line's end or another character that none of AWS's has: correct where it is \
             given (AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN, the profile, or the Secret that they come from)"
        )));
    }
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

    async fn refusal_of(credentials: Credentials) -> String {
        let error = usable(&credentials, Vec::new()).await.expect_err("refused");
        chain(&error).map(ToString::to_string).collect::<Vec<_>>().join(": ")
    }

    #[tokio::test]
    async fn credentials_that_have_ended_are_refused_with_what_to_do() {
        let ending = |end| Credentials::new("AKID", "secret", None, end, "test");
        let now = SystemTime::now();
        for good in [None, Some(now + Duration::from_secs(60))] {
            usable(&ending(good), Vec::new()).await.expect("good");
        }
        let text = refusal_of(ending(Some(now - Duration::from_secs(60)))).await;
        assert!(text.contains("have ended 60 s ago") && text.contains("clock"), "{text}");
        assert!(!text.contains("secret"), "{text}");
    }

    #[tokio::test]
    async fn a_key_with_a_lines_end_is_told_by_its_name_and_not_by_its_value() {
        let of =
            |id: &str, secret: &str, token: &str| Credentials::new(id, secret, Some(token.to_owned()), None, "test");
        for (credentials, part) in [
            (of("AKID\n", "marker", "marker"), "access key id"),
            (of("AKID", "marker ", "marker"), "secret access key"),
            (of("AKID", "marker", "mar\u{fc}ker"), "session token"),
        ] {
            let text = refusal_of(credentials).await;
            assert!(text.contains(&format!("the {part} of")), "{text}");
            assert!(!text.contains("mar") && !text.contains("AKID"), "{text}");
        }
        usable(&of("AKID", "a+b/c=", "FwoG//x=="), Vec::new()).await.expect("what AWS gives");
    }
}
