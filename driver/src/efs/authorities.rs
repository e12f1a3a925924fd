//! Which certificate authorities vouch for AWS endpoints: those of `AWS_CA_BUNDLE`, of the profile's `ca_bundle`, or the system's.

use std::fmt;
use std::path::PathBuf;

use aws_runtime::env_config::file::EnvConfigFiles;
use aws_smithy_http_client::tls::TrustStore;
use aws_types::os_shim_internal::{Env, Fs};
use tokio::sync::OnceCell;
use tokio_rustls::rustls::RootCertStore;

use efs_tunnel::roots::{self, RootsError};

/// As all AWS SDKs name it.
const VARIABLE: &str = "AWS_CA_BUNDLE";
const PROFILE_KEY: &str = "ca_bundle";

/// A bundle of certificate authorities can't be used.
#[derive(Debug, thiserror::Error)]
#[error("{named_by}: {source}")]
pub(super) struct BundleError {
    named_by: String,
    source: RootsError,
}

/// Where the authorities come from.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Source {
    /// A PEM file, and what names it.
    Bundle {
        named_by: String,
        path: PathBuf,
    },
    System,
}

/// The authorities that are believed, as the HTTP client takes them.
#[derive(Debug)]
pub(super) struct Trust {
    source: Source,
    /// Their certificates.
    pub(super) store: TrustStore,
}

/// What to do when none of them vouches for an endpoint's certificate.
impl fmt::Display for Trust {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the endpoint's certificate is signed by none of ")?;
        match &self.source {
            Source::Bundle { named_by, path } => {
                write!(f, "the authorities in {} ({named_by}): add the right one to that file", path.display())
            }
            Source::System => write!(
                f,
                "this system's certificate authorities: install the package ca-certificates, or name a PEM file with the right \
                 authority in {VARIABLE}"
            ),
        }
    }
}

/// The authorities, read when the first connection with TLS is made and once.
#[derive(Debug)]
pub(super) struct Authorities {
    /// `None` until the environment and the profile are asked.
    source: Option<Source>,
    has_authorities: fn() -> bool,
    trust: OnceCell<Trust>,
}

impl Authorities {
    /// Those that this process's environment names.
    pub(super) fn of_process() -> Self {
        Self { source: None, has_authorities: system_has_authorities, trust: OnceCell::new() }
    }

    /// What to trust.
    ///
    /// # Errors
    /// When the bundle can't be used. The next call looks at it again.
    pub(super) async fn trust(&self) -> Result<&Trust, BundleError> {
        self.trust.get_or_try_init(|| self.read()).await
    }

    async fn read(&self) -> Result<Trust, BundleError> {
        let source = match &self.source {
            Some(source) => source.clone(),
            None => named(&Env::real(), &Fs::real()).await,
        };
        let store = match &source {
            Source::Bundle { named_by, path } => {
                let read = roots::read(path).map_err(|source| BundleError { named_by: named_by.clone(), source });
                TrustStore::empty().with_pem_certificate(read?.1)
            }
            // The client reads the system's authorities by itself, once in a process. With debug assertions it panics where there
            // are none, even if nothing needs them.
            Source::System => {
                TrustStore::empty().with_native_roots(!cfg!(debug_assertions) || (self.has_authorities)())
            }
        };
        tracing::debug!(?source, "certificate authorities of AWS endpoints");
        Ok(Trust { source, store })
    }
}

/// The source that the environment names, else the profile.
async fn named(env: &Env, fs: &Fs) -> Source {
    if let Ok(path) = env.get(VARIABLE)
        && !path.is_empty()
    {
        return Source::Bundle { named_by: VARIABLE.to_owned(), path: path.into() };
    }
    match aws_config::profile::load(fs, env, &EnvConfigFiles::default(), None).await {
        Ok(profiles) => match profiles.get(PROFILE_KEY).filter(|path| !path.is_empty()) {
            Some(path) => Source::Bundle {
                named_by: format!("{PROFILE_KEY} of profile {}", profiles.selected_profile()),
                path: path.into(),
            },
            None => Source::System,
        },
        Err(error) => {
            tracing::warn!(%error, "the AWS profile can't be read; a {PROFILE_KEY} in it has no effect");
            Source::System
        }
    }
}

/// Whether the system has certificate authorities that can be used.
fn system_has_authorities() -> bool {
    let found = rustls_native_certs::load_native_certs().certs;
    RootCertStore::empty().add_parsable_certificates(found).0 > 0
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use std::collections::HashMap;

    /// A system without authorities.
    pub(crate) fn none() -> Authorities {
        Authorities { source: Some(Source::System), has_authorities: || false, trust: OnceCell::new() }
    }

    /// The authorities of a file.
    pub(crate) fn bundle(path: PathBuf) -> Authorities {
        let source = Source::Bundle { named_by: VARIABLE.to_owned(), path };
        Authorities { source: Some(source), has_authorities: || false, trust: OnceCell::new() }
    }

    #[tokio::test]
    async fn the_variable_comes_before_the_profile_and_an_empty_one_is_none() {
        let profiles = "[default]\nregion = x\n[profile team]\nca_bundle = /team.pem\n";
        let fs = Fs::from_map(HashMap::from([("/config".to_owned(), profiles)]));
        let env = |pairs: &[(&str, &str)]| Env::from_slice(&[&[("AWS_CONFIG_FILE", "/config")], pairs].concat());
        let bundle = |named_by: &str, path: &str| Source::Bundle { named_by: named_by.to_owned(), path: path.into() };
        let team = ("AWS_PROFILE", "team");
        for (variables, want) in [
            (&[][..], Source::System),
            (&[team], bundle("ca_bundle of profile team", "/team.pem")),
            (&[team, (VARIABLE, "/own.pem")], bundle(VARIABLE, "/own.pem")),
            (&[team, (VARIABLE, "")], bundle("ca_bundle of profile team", "/team.pem")),
        ] {
            assert_eq!(named(&env(variables), &fs).await, want, "{variables:?}");
        }
    }

    /// It may be mounted late.
    #[tokio::test]
    async fn a_bundle_that_is_missing_is_named_and_looked_for_again() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("bundle.pem");
        let authorities = bundle(path.clone());
        let told = authorities.trust().await.unwrap_err().to_string();
        assert!(told.starts_with("AWS_CA_BUNDLE: ") && told.contains(&path.display().to_string()), "{told}");
        std::fs::write(&path, rcgen::generate_simple_self_signed(vec!["x".to_owned()]).unwrap().cert.pem()).unwrap();
        assert!(authorities.trust().await.is_ok());
    }
}
