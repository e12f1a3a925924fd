//! AWS credentials for mounts with IAM authorization.

use std::path::{Path, PathBuf};

use async_trait::async_trait;
use aws_config::profile::ProfileFileCredentialsProvider;
use aws_config::provider_config::ProviderConfig;
use aws_config::web_identity_token::{StaticConfiguration, WebIdentityTokenCredentialsProvider};
use aws_config::{BehaviorVersion, Region};
use aws_credential_types::Credentials;
use aws_credential_types::provider::ProvideCredentials as Provider;

use efs_tunnel::{CredentialsError, IamSource, ProvideCredentials};

use super::credentials::{OwnCredentials, look_at_sources, look_at_token, usable};
use super::http_client::http_client;
use super::profiles::Profiles;
use crate::blocking::{Blocking, apart};

/// The name of our sessions in AWS's logs; the same as that of AWS's own client.
const SESSION: &str = "efs-mount-helper";

/// Credentials by the AWS SDK's providers. They are asked anew for every certificate, about once an hour per tunnel, so
/// that a rotated token file or profile counts at once.
#[derive(Clone, Debug, Default)]
pub struct AwsCredentials {
    blocking: Blocking,
}

impl AwsCredentials {
    /// Those whose reading of files is seen in `blocking`.
    pub fn new(blocking: Blocking) -> Self {
        Self { blocking }
    }
}

#[async_trait]
impl ProvideCredentials for AwsCredentials {
    async fn credentials(&self, source: &IamSource, region: &str) -> Result<Credentials, CredentialsError> {
        let region = Region::new(region.to_owned());
        let http = http_client(&self.blocking);
        let config = ProviderConfig::without_region().with_region(Some(region.clone())).with_http_client(http.clone());
        let credentials = match source {
            // Nothing of the driver's may take a pod's place.
            IamSource::Pod(identity) => {
                return Err(CredentialsError::Told(format!("{identity} has no credentials here")));
            }
            IamSource::Default => {
                let loader = move || {
                    let loader = aws_config::defaults(BehaviorVersion::latest());
                    loader.http_client(http.clone()).region(region.clone())
                };
                OwnCredentials::new(self.blocking.clone(), loader).provide_credentials().await
            }
            IamSource::Profile(name) => {
                let profiles = Profiles::of_process(&self.blocking).await.map_err(CredentialsError::provider)?;
                let looked = look_at_sources(&self.blocking, &profiles, Some(name)).await;
                let doubts = looked.map_err(CredentialsError::provider)?;
                let provider = ProfileFileCredentialsProvider::builder().configure(&config).profile_name(name);
                let provider = provider.profile_files(profiles.files()).build();
                apart(async move { usable(&provider, doubts).await }).await
            }
            IamSource::WebIdentity { role, token_file } => {
                let looked = look_at_token(&self.blocking, "the token of the role", Path::new(token_file)).await;
                let doubts = looked.map_err(CredentialsError::provider)?.into_iter().collect();
                let provider = WebIdentityTokenCredentialsProvider::builder()
                    .configure(&config)
                    .static_configuration(StaticConfiguration {
                        web_identity_token_file: PathBuf::from(token_file),
                        role_arn: role.clone(),
                        session_name: SESSION.to_owned(),
                    })
                    .build();
                apart(async move { usable(&provider, doubts).await }).await
            }
        };
        credentials.map_err(CredentialsError::provider)
    }
}
