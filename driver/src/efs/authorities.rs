//! Which certificate authorities vouch for AWS endpoints: those of `AWS_CA_BUNDLE`, of the profile's `ca_bundle`, or the system's.

use std::fmt;
use std::path::PathBuf;

use aws_config::profile::ProfileSet;
use aws_smithy_http_client::tls::TrustStore;
use efs_tunnel::roots::{self, RootsError};
use tokio::sync::OnceCell;
use tokio_rustls::rustls::RootCertStore;

use super::profiles::Profiles;
use crate::blocking::{Blocking, apart};
use crate::files::{self, FileError};

/// As all AWS SDKs name it.
const VARIABLE: &str = "AWS_CA_BUNDLE";
const PROFILE_KEY: &str = "ca_bundle";
/// As OpenSSL names the file with the system's authorities. Those who read these honour it.
const SYSTEM: &str = "SSL_CERT_FILE";

/// A bundle of certificate authorities can't be used.
#[derive(Debug, thiserror::Error)]
pub(super) enum BundleError {
    /// It can't be read.
    #[error(transparent)]
    File(#[from] FileError),
    /// It has something else than authorities, or nothing.
    #[error("{named_by}: {source}")]
    Roots {
        /// What names it.
        named_by: String,
        /// What is wrong with it.
        source: RootsError,
    },
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
    blocking: Blocking,
    trust: OnceCell<Trust>,
}

impl Authorities {
    /// Those that this process's environment names.
    pub(super) fn of_process(blocking: Blocking) -> Self {
        Self { source: None, has_authorities: system_has_authorities, blocking, trust: OnceCell::new() }
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
            None => named(&self.blocking).await?,
        };
        let store = match &source {
            Source::Bundle { named_by, path } => {
                let text = files::read(&self.blocking, named_by, path).await?;
                let checked = roots::parse(path, &text);
                checked.map_err(|source| BundleError::Roots { named_by: named_by.clone(), source })?;
                TrustStore::empty().with_pem_certificate(text)
            }
            // The client reads the system's authorities by itself, once in a process. With debug assertions it panics where there
            // are none, even if nothing needs them.
            Source::System => {
                if let Some(path) = std::env::var_os(SYSTEM) {
                    files::look_at(&self.blocking, SYSTEM, path.as_ref()).await?;
                }
                let has_authorities = self.has_authorities;
                let usable = !cfg!(debug_assertions) || apart(async move { has_authorities() }).await;
                TrustStore::empty().with_native_roots(usable)
            }
        };
        tracing::debug!(?source, "certificate authorities of AWS endpoints");
        Ok(Trust { source, store })
    }
}

/// The source that the environment names, else the profile.
async fn named(blocking: &Blocking) -> Result<Source, FileError> {
    if let Some(source) = named_by_variable(|name| std::env::var(name).ok()) {
        return Ok(source);
    }
    let Some(profiles) = Profiles::of_process(blocking).await?.parse().await else {
        tracing::warn!("the AWS profile can't be read; a {PROFILE_KEY} in it has no effect");
        return Ok(Source::System);
    };
    Ok(of_profile(&profiles))
}

fn named_by_variable(variable: impl Fn(&str) -> Option<String>) -> Option<Source> {
    let path = variable(VARIABLE).filter(|path| !path.is_empty())?;
    Some(Source::Bundle { named_by: VARIABLE.to_owned(), path: path.into() })
}

fn of_profile(profiles: &ProfileSet) -> Source {
    match profiles.get(PROFILE_KEY).filter(|path| !path.is_empty()) {
        Some(path) => Source::Bundle {
            named_by: format!("{PROFILE_KEY} of profile {}", profiles.selected_profile()),
            path: path.into(),
        },
        None => Source::System,
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
    use aws_runtime::env_config::file::{EnvConfigFileKind, EnvConfigFiles};
    use aws_types::os_shim_internal::{Env, Fs};

    /// A system without authorities.
    pub(crate) fn none() -> Authorities {
        Authorities {
            source: Some(Source::System),
            has_authorities: || false,
            ..Authorities::of_process(Blocking::default())
        }
    }

    /// The authorities of a file.
    pub(crate) fn bundle(path: PathBuf) -> Authorities {
        let source = Source::Bundle { named_by: VARIABLE.to_owned(), path };
        Authorities { source: Some(source), has_authorities: || false, ..Authorities::of_process(Blocking::default()) }
    }

    #[tokio::test]
    async fn the_variable_comes_before_the_profile_and_an_empty_one_is_none() {
        let text = "[default]\nregion = x\n[profile team]\nca_bundle = /team.pem\n";
        let files = EnvConfigFiles::builder().with_contents(EnvConfigFileKind::Config, text).build();
        let bundle = |named_by: &str, path: &str| Source::Bundle { named_by: named_by.to_owned(), path: path.into() };
        let team = ("AWS_PROFILE", "team");
        for (variables, want) in [
            (&[][..], Source::System),
            (&[team], bundle("ca_bundle of profile team", "/team.pem")),
            (&[team, (VARIABLE, "/own.pem")], bundle(VARIABLE, "/own.pem")),
            (&[team, (VARIABLE, "")], bundle("ca_bundle of profile team", "/team.pem")),
        ] {
            let env = Env::from_slice(variables);
            let profiles = aws_config::profile::load(&Fs::from_slice(&[]), &env, &files, None).await.unwrap();
            let variable = |name: &str| env.get(name).ok();
            assert_eq!(named_by_variable(variable).unwrap_or_else(|| of_profile(&profiles)), want, "{variables:?}");
        }
    }

    /// It may be mounted late.
    #[tokio::test]
    async fn a_bundle_that_is_missing_is_named_and_looked_for_again() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("bundle.pem");
        let authorities = bundle(path.clone());
        let told = authorities.trust().await.unwrap_err().to_string();
        assert!(told.starts_with("AWS_CA_BUNDLE=") && told.contains(&path.display().to_string()), "{told}");
        std::fs::write(&path, rcgen::generate_simple_self_signed(vec!["x".to_owned()]).unwrap().cert.pem()).unwrap();
        assert!(authorities.trust().await.is_ok());
    }
}
