//! AWS credentials for mounts with IAM authorization.

use std::path::PathBuf;

use async_trait::async_trait;
use aws_config::Region;
use aws_config::default_provider::credentials::DefaultCredentialsChain;
use aws_config::profile::ProfileFileCredentialsProvider;
use aws_config::provider_config::ProviderConfig;
use aws_config::web_identity_token::{StaticConfiguration, WebIdentityTokenCredentialsProvider};
use aws_credential_types::Credentials;
use aws_credential_types::provider::ProvideCredentials as Provider;

use efs_tunnel::{CredentialsError, IamSource, ProvideCredentials};

use super::http_client::http_client;

/// The name of our sessions in AWS's logs; the same as that of AWS's own client.
const SESSION: &str = "efs-mount-helper";

/// Credentials by the AWS SDK's providers. They are asked anew for every certificate, about once an hour per tunnel, so
/// that a rotated token file or profile counts at once.
#[derive(Clone, Copy, Debug, Default)]
pub struct AwsCredentials;

#[async_trait]
impl ProvideCredentials for AwsCredentials {
    async fn credentials(&self, source: &IamSource, region: &str) -> Result<Credentials, CredentialsError> {
        let region = Region::new(region.to_owned());
        let config = ProviderConfig::without_region().with_region(Some(region.clone())).with_http_client(http_client());
        let credentials = match source {
            // Nothing of the driver's may take a pod's place.
            IamSource::Pod(identity) => {
                return Err(CredentialsError::Told(format!("{identity} has no credentials here")));
            }
            IamSource::Default => {
                let chain = DefaultCredentialsChain::builder().configure(config).region(region).build().await;
                chain.provide_credentials().await
            }
            IamSource::Profile(name) => {
                let provider = ProfileFileCredentialsProvider::builder().configure(&config).profile_name(name).build();
                provider.provide_credentials().await
            }
            IamSource::WebIdentity { role, token_file } => {
                let provider = WebIdentityTokenCredentialsProvider::builder()
                    .configure(&config)
                    .static_configuration(StaticConfiguration {
                        web_identity_token_file: PathBuf::from(token_file),
                        role_arn: role.clone(),
                        session_name: SESSION.to_owned(),
                    })
                    .build();
                provider.provide_credentials().await
            }
        };
        credentials.map_err(CredentialsError::provider)
    }
}
