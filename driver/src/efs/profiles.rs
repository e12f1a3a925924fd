//! The shared configuration files, `~/.aws/config` and `~/.aws/credentials`, as the SDK is given them.
//!
//! The SDK would read them by itself, on a thread that serves others. So their text is read here, and given to it.

use std::io;
use std::path::{Path, PathBuf};

use aws_config::profile::ProfileSet;
use aws_runtime::env_config::file::{EnvConfigFileKind, EnvConfigFiles};
use aws_types::os_shim_internal::{Env, Fs};

use crate::blocking::Blocking;
use crate::credential_process;
use crate::files::{self, FileError};

/// The keys of profiles that name files which the SDK reads when it needs credentials.
const TOKEN_FILE: &str = "web_identity_token_file";
/// Profiles that take another one's credentials go on with that one; no chain is so long.
const LONGEST_CHAIN: usize = 16;

/// The text of both files.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Profiles {
    config: String,
    credentials: String,
    /// Files that the environment names and that can't be read, each with its variable.
    missing: Vec<String>,
}

impl std::fmt::Debug for Profiles {
    /// Without secrets.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Profiles").finish_non_exhaustive()
    }
}

impl Profiles {
    /// Those that this process's environment names. As for the SDK, a file that isn't there, or that nobody may read, is empty.
    ///
    /// # Errors
    /// When a file hangs, or is none.
    pub(super) async fn of_process(blocking: &Blocking) -> Result<Self, FileError> {
        let mut missing = Vec::new();
        let config = text(blocking, "AWS_CONFIG_FILE", "~/.aws/config", &mut missing).await?;
        let credentials = text(blocking, "AWS_SHARED_CREDENTIALS_FILE", "~/.aws/credentials", &mut missing).await?;
        Ok(Self { config, credentials, missing }.with_processes_that_end().await)
    }

    /// What may be why the profile `name`, or the selected one, gives no credentials: files that are missing, or the profile itself.
    pub(super) async fn doubts(&self, name: Option<&str>) -> Vec<String> {
        let mut doubts = self.missing.clone();
        if let Some(set) = self.parse().await {
            let selected = name.unwrap_or_else(|| set.selected_profile());
            // Nobody need have the default one.
            if selected != "default" && set.get_profile(selected).is_none() {
                let named_by = if name.is_some() { "profile" } else { "AWS_PROFILE" };
                doubts.push(format!(
                    "{named_by}={selected}: neither the config file nor the credentials file has this profile"
                ));
            }
        }
        doubts
    }

    /// In the form that the SDK takes.
    pub(super) fn files(&self) -> EnvConfigFiles {
        EnvConfigFiles::builder()
            .with_contents(EnvConfigFileKind::Config, self.config.clone())
            .with_contents(EnvConfigFileKind::Credentials, self.credentials.clone())
            .build()
    }

    /// What they say; `None` when the SDK can't make sense of them, which it will tell by itself.
    pub(super) async fn parse(&self) -> Option<ProfileSet> {
        // The texts are given: nothing is read.
        aws_config::profile::load(&Fs::real(), &Env::real(), &self.files(), None).await.ok()
    }

    /// The files with tokens that the profile `name`, or the selected one, and those whose credentials it takes, name.
    pub(super) async fn token_files(&self, name: Option<&str>) -> Vec<(String, PathBuf)> {
        let Some(set) = self.parse().await else { return Vec::new() };
        let mut next = Some(name.unwrap_or_else(|| set.selected_profile()).to_owned());
        let mut found = Vec::new();
        for _ in 0..LONGEST_CHAIN {
            let Some(name) = next else { break };
            let Some(profile) = set.get_profile(&name) else { break };
            let named = |path: &str| (format!("{TOKEN_FILE} of profile {name:?}"), PathBuf::from(path));
            found.extend(profile.get(TOKEN_FILE).map(named));
            next = profile.get("source_profile").filter(|source| *source != name).map(str::to_owned);
        }
        found
    }

    /// The same with programs for credentials that are ended in time. What a file says last counts, and the credentials' file comes before
    /// the other one.
    async fn with_processes_that_end(mut self) -> Self {
        let Some(set) = self.parse().await else { return self };
        for name in set.profiles() {
            let command = set.get_profile(name).and_then(|profile| profile.get(credential_process::KEY));
            if let Some(bounded) = command.and_then(|command| credential_process::bounded(name, command)) {
                self.credentials += &format!("\n[{name}]\n{} = {bounded}\n", credential_process::KEY);
            }
        }
        self
    }
}

async fn text(
    blocking: &Blocking,
    variable: &str,
    otherwise: &str,
    missing: &mut Vec<String>,
) -> Result<String, FileError> {
    let given = std::env::var(variable).ok();
    let path = expanded(given.as_deref().unwrap_or(otherwise), std::env::var("HOME").ok().as_deref());
    match files::read(blocking, variable, &path).await {
        Ok(text) => Ok(String::from_utf8(text).unwrap_or_else(|error| {
            tracing::warn!(variable, path = %path.display(), %error, "not read, it is no text");
            String::new()
        })),
        Err(error) if error.is_to_be_left_alone() => Err(error),
        Err(error) => {
            match given {
                Some(_) => {
                    tracing::warn!(%error, "goes on without this file");
                    missing.push(error.to_string());
                }
                None if error.source.kind() == io::ErrorKind::NotFound => {}
                None => tracing::debug!(%error, "goes on without this file"),
            }
            Ok(String::new())
        }
    }
}

/// As the SDK does it.
fn expanded(path: &str, home: Option<&str>) -> PathBuf {
    match (path.strip_prefix('~'), home) {
        (Some(rest), Some(home)) if rest.is_empty() || rest.starts_with('/') => {
            Path::new(home).join(rest.trim_start_matches('/'))
        }
        _ => path.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn profiles(config: &str, credentials: &str) -> Profiles {
        Profiles { config: config.to_owned(), credentials: credentials.to_owned(), missing: Vec::new() }
    }

    #[test]
    fn a_home_directory_is_put_in() {
        for (path, home, want) in [
            ("~/.aws/config", Some("/h"), "/h/.aws/config"),
            ("~", Some("/h"), "/h/"),
            ("~x/y", Some("/h"), "~x/y"),
            ("~/y", None, "~/y"),
            ("/a/~", Some("/h"), "/a/~"),
        ] {
            assert_eq!(expanded(path, home), Path::new(want), "{path}");
        }
    }

    #[tokio::test]
    async fn the_tokens_of_a_chain_of_profiles_are_found() {
        let config = "[default]\nsource_profile = a\nrole_arn = r\n[profile a]\nsource_profile = b\nweb_identity_token_file = /a\n\
                      [profile b]\nsource_profile = b\nweb_identity_token_file = /b\n[profile c]\nweb_identity_token_file = /c\n";
        let found = |name| async move { profiles(config, "").token_files(name).await };
        let all = found(Some("a")).await;
        let want = [("a", "/a"), ("b", "/b")]
            .map(|(name, path)| (format!("web_identity_token_file of profile {name:?}"), PathBuf::from(path)));
        assert_eq!(all, want);
        assert_eq!(found(Some("c")).await.len(), 1);
        assert_eq!(found(Some("none")).await, []);
        assert_eq!(profiles("[broken", "").token_files(Some("a")).await, []);
    }

    #[tokio::test]
    async fn programs_for_credentials_run_under_one_of_ours_whichever_file_names_them() {
        let config = "[default]\nregion = r\n[profile a-b]\ncredential_process = one | two # comment\n";
        let bounded = profiles(config, "[default]\ncredential_process=/three 'x y'").with_processes_that_end().await;
        let set = bounded.parse().await.expect("it can be read");
        for (name, command) in [("a-b", "one | two"), ("default", "/three 'x y'")] {
            let got = set.get_profile(name).and_then(|it| it.get("credential_process")).map(str::to_owned);
            assert_eq!(got, credential_process::bounded(name, command), "{name}");
        }
        assert_eq!(set.get_profile("default").and_then(|it| it.get("region")), Some("r"));
        let none = profiles("[default]\nregion = r\n", "");
        assert_eq!(none.clone().with_processes_that_end().await, none);
    }
}
