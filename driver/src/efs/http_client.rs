//! The HTTP client of all AWS calls.
//!
//! The SDK's default client insists on the system's certificate authorities: with debug assertions it panics where there are
//! none, even if nothing but plain HTTP is asked for (a fake, the metadata service). This one looks whether there are any.
//! Without them plain HTTP works, and TLS fails with an error that says what is missing.

use aws_smithy_http_client::proxy::ProxyConfig;
use aws_smithy_http_client::tls::rustls_provider::CryptoMode;
use aws_smithy_http_client::tls::{Provider, TlsContext, TrustStore};
use aws_smithy_http_client::{Builder, ConnectorBuilder};
use aws_smithy_runtime_api::client::http::SharedHttpClient;
use tokio_rustls::rustls::RootCertStore;

/// What to do when nobody vouches for an endpoint's certificate.
const ADVICE: &str = "the endpoint's certificate is signed by none of this system's certificate authorities: install the package \
    ca-certificates, or name a PEM file with the right authority in SSL_CERT_FILE";

/// A client like the SDK's default one: TLS by rustls and aws-lc, proxies from the environment. Its connections are its own, so
/// share it. The certificate authorities are read when the first connection is made.
pub fn http_client() -> SharedHttpClient {
    client(system_has_authorities)
}

fn client(has_authorities: fn() -> bool) -> SharedHttpClient {
    Builder::new().build_with_connector_fn(move |settings, components| {
        let store = TrustStore::empty().with_native_roots(has_authorities());
        let context = TlsContext::builder().with_trust_store(store).build();
        let mut connector = ConnectorBuilder::default()
            .tls_provider(Provider::Rustls(CryptoMode::AwsLc))
            .tls_context(context.expect("a trust store without PEM texts has nothing that could be wrong"));
        connector.set_connector_settings(settings.cloned());
        connector.set_sleep_impl(components.and_then(|components| components.sleep_impl()));
        connector.set_proxy_config(Some(ProxyConfig::from_env()));
        connector.build()
    })
}

/// Whether the system has certificate authorities that can be used.
fn system_has_authorities() -> bool {
    let found = rustls_native_certs::load_native_certs().certs;
    RootCertStore::empty().add_parsable_certificates(found).0 > 0
}

/// Adds what to do to the text of a TLS failure, if it is about trust.
pub(super) fn with_advice(failure: String) -> String {
    if failure.contains("UnknownIssuer") { format!("{failure}; {ADVICE}") } else { failure }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::efs::{AwsClients, EfsClients, EfsErrorKind};
    use crate::metrics::Metrics;
    use aws_config::{BehaviorVersion, Region, SdkConfig, retry::RetryConfig};
    use aws_credential_types::Credentials;
    use std::sync::Arc;
    use tokio_rustls::TlsAcceptor;
    use tokio_rustls::rustls::ServerConfig;

    async fn base(url: &str) -> SdkConfig {
        aws_config::defaults(BehaviorVersion::latest())
            .region(Region::new("us-east-1"))
            .credentials_provider(Credentials::new("AKIAEXAMPLE", "secret", None, None, "test"))
            .retry_config(RetryConfig::disabled())
            .endpoint_url(url)
            .http_client(client(|| false))
            .load()
            .await
    }

    #[tokio::test]
    async fn plain_http_works_without_certificate_authorities() {
        let fake = fake_efs::FakeEfs::builder().start().await.unwrap();
        let api = AwsClients::with_base(base(&fake.http_url()).await, Metrics::new()).client(None).await.unwrap();
        let page = api.access_points(None, 1, None).await.unwrap();
        assert!(page.access_points.is_empty());
    }

    #[tokio::test]
    async fn tls_without_certificate_authorities_fails_and_says_what_to_do() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("https://127.0.0.1:{}", listener.local_addr().unwrap().port());
        let signed = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()]).unwrap();
        let key = rustls_pki_types::PrivateKeyDer::try_from(signed.signing_key.serialize_der()).unwrap();
        let provider = Arc::new(tokio_rustls::rustls::crypto::aws_lc_rs::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![signed.cert.der().clone()], key)
            .unwrap();
        let server = tokio::spawn(async move {
            let acceptor = TlsAcceptor::from(Arc::new(config));
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                drop(acceptor.accept(stream).await);
            }
        });
        let api = AwsClients::with_base(base(&url).await, Metrics::new()).client(None).await.unwrap();
        let error = api.access_points(None, 1, None).await.unwrap_err();
        server.abort();
        assert_eq!(error.kind, EfsErrorKind::Connection);
        assert!(error.message.ends_with(ADVICE), "{error}");
    }
}
