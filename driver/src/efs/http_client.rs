//! The HTTP client of all AWS calls: proxies and certificate authorities from the environment, TLS by rustls and aws-lc.
//!
//! The SDK's own client makes a connector, with all of the system's certificate authorities, for every SDK client that is built. This
//! one makes a connector when the first request needs it: plain HTTP (a fake, the metadata service) reads no certificate.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use aws_smithy_http_client::proxy::ProxyConfig;
use aws_smithy_http_client::tls::rustls_provider::CryptoMode;
use aws_smithy_http_client::tls::{Provider, TlsContext};
use aws_smithy_http_client::{Connector, ConnectorBuilder};
use aws_smithy_runtime_api::client::connector_metadata::ConnectorMetadata;
use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpClient, SharedHttpConnector,
};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::body::SdkBody;
use efs_common::causes::{InContext, causes};
use http::Uri;
use http_body_util::Limited;

use super::authorities::Authorities;
use crate::blocking::{Blocking, apart};
use crate::proxy::{Proxies, Proxy, ProxyError};

/// More of an answer is not read: a thousand access points, which is EFS's longest answer, take less, and what is not AWS (a portal, a proxy, a
/// wrong endpoint) may go on for ever.
const LONGEST_ANSWER: usize = 16 * 1024 * 1024;

/// A client with connections of its own, so share it. The certificate authorities are read when the first connection with TLS is
/// made.
pub fn http_client(blocking: &Blocking) -> SharedHttpClient {
    client(Proxies::of_process(), Authorities::of_process(blocking.clone()))
}

/// What this process's environment or profile names and no call can use: proxies and certificate authorities.
pub async fn unusable_settings(blocking: &Blocking) -> Vec<String> {
    let proxies = Proxies::of_process();
    let mut found: Vec<_> = proxies.errors().iter().map(ToString::to_string).collect();
    let useless = proxies.all().filter_map(|proxy| usable(proxy).err());
    found.extend(useless.map(|error| error.to_string()));
    found.dedup();
    found.extend(Authorities::of_process(blocking.clone()).trust().await.err().map(|error| causes(&error)));
    found
}

fn client(proxies: Proxies, authorities: Authorities) -> SharedHttpClient {
    let network = Arc::new(Network { proxies, authorities });
    SharedHttpClient::new(Client { network, connectors: Mutex::default() })
}

/// Whether the SDK's client can go through this proxy.
fn usable(proxy: &Proxy) -> Result<(), ProxyError> {
    if matches!(proxy.scheme(), "http" | "https") {
        return Ok(());
    }
    let (what, schemes) = ("calls to AWS", "http:// or https://");
    Err(ProxyError::Protocol { proxy: proxy.to_string(), what, schemes })
}

/// What is to be known about the network before a connection can be made.
#[derive(Debug)]
struct Network {
    proxies: Proxies,
    authorities: Authorities,
}

/// Limits of a connect and of the first byte of an answer.
type Limits = (Option<Duration>, Option<Duration>);

#[derive(Debug)]
struct Client {
    network: Arc<Network>,
    /// One for all SDK clients with the same limits, so that they share connections.
    connectors: Mutex<HashMap<Limits, SharedHttpConnector>>,
}

impl HttpClient for Client {
    fn http_connector(&self, settings: &HttpConnectorSettings, components: &RuntimeComponents) -> SharedHttpConnector {
        let mut connectors = self.connectors.lock().unwrap_or_else(PoisonError::into_inner);
        let make = || {
            let mut template = ConnectorBuilder::default();
            template.set_connector_settings(Some(settings.clone()));
            template.set_sleep_impl(components.sleep_impl());
            SharedHttpConnector::new(Connectors(Arc::new(Ways {
                network: Arc::clone(&self.network),
                template,
                made: Mutex::default(),
            })))
        };
        connectors.entry((settings.connect_timeout(), settings.read_timeout())).or_insert_with(make).clone()
    }

    fn connector_metadata(&self) -> Option<ConnectorMetadata> {
        // The SDK's words for its own client; they are part of the User-Agent.
        Some(ConnectorMetadata::new("hyper", Some("1.x".into())))
    }
}

fn bounded(body: SdkBody) -> SdkBody {
    SdkBody::from_body_1_x(Limited::new(body, LONGEST_ANSWER))
}

/// How a request reaches its endpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Way {
    tls: bool,
    proxy: Option<Proxy>,
}

#[derive(Debug)]
struct Connectors(Arc<Ways>);

/// A connector for each way, made when first needed.
#[derive(Debug)]
struct Ways {
    network: Arc<Network>,
    template: ConnectorBuilder,
    made: Mutex<Vec<(Way, SharedHttpConnector)>>,
}

impl HttpConnector for Connectors {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let ways = Arc::clone(&self.0);
        HttpConnectorFuture::new(async move { ways.send(request).await })
    }
}

impl Ways {
    async fn send(&self, request: HttpRequest) -> Result<HttpResponse, ConnectorError> {
        let target: Uri = request.uri().parse().map_err(|error| ConnectorError::user(Box::new(error)))?;
        let way = self.way(&target).map_err(|error| ConnectorError::user(error.into()))?;
        let connector = self.connector(&way).await?;
        match connector.call(request).await {
            Ok(answer) => Ok(answer.map(bounded)),
            Err(error) => Err(self.explain(way, error).await),
        }
    }

    fn way(&self, target: &Uri) -> Result<Way, ProxyError> {
        let proxy = self.network.proxies.proxy_for(target)?.cloned();
        proxy.as_ref().map_or(Ok(()), usable)?;
        let to_proxy = proxy.as_ref().is_some_and(|proxy| proxy.scheme() == "https");
        Ok(Way { tls: to_proxy || target.scheme_str() == Some("https"), proxy })
    }

    async fn connector(&self, way: &Way) -> Result<SharedHttpConnector, ConnectorError> {
        let made = || self.made.lock().unwrap_or_else(PoisonError::into_inner);
        let find =
            |made: &[(Way, SharedHttpConnector)]| made.iter().find(|(it, _)| it == way).map(|(_, it)| it.clone());
        if let Some(connector) = find(&made()) {
            return Ok(connector);
        }
        let new = SharedHttpConnector::new(self.make(way).await?);
        // Calls that come at the same time share one connector, and so its connections.
        let mut made = made();
        let connector = find(&made);
        Ok(connector.unwrap_or_else(|| {
            made.push((way.clone(), new.clone()));
            new
        }))
    }

    async fn make(&self, way: &Way) -> Result<Connector, ConnectorError> {
        let user = |error: Box<dyn std::error::Error + Send + Sync>| ConnectorError::user(error);
        let proxy = match &way.proxy {
            Some(proxy) => ProxyConfig::all(proxy.url()).map_err(|error| user(error.into()))?,
            None => ProxyConfig::disabled(),
        };
        let template = self.template.clone().proxy_config(proxy);
        if !way.tls {
            return Ok(template.build_http());
        }
        let trust = self.network.authorities.trust().await.map_err(|error| user(error.into()))?;
        let context = TlsContext::builder().with_trust_store(trust.store.clone()).build();
        let context = context.map_err(|error| user(error.into()))?;
        // It reads the system's authorities.
        let build =
            async move { template.tls_provider(Provider::Rustls(CryptoMode::AwsLc)).tls_context(context).build() };
        Ok(apart(build).await)
    }

    /// Adds to a failure which proxy it went through, and which authorities were believed if it is about trust.
    async fn explain(&self, way: Way, error: ConnectorError) -> ConnectorError {
        let mut context: Vec<String> = way.proxy.iter().map(|proxy| format!("through {proxy}")).collect();
        let text = causes(&error);
        // An authority of the same name with another key signs badly.
        if ["UnknownIssuer", "BadSignature"].iter().any(|word| text.contains(word))
            && let Ok(trust) = self.network.authorities.trust().await
        {
            context.push(trust.to_string());
        }
        if context.is_empty() {
            return error;
        }
        // The kind decides whether the SDK tries again.
        let (is_timeout, is_io, is_user) = (error.is_timeout(), error.is_io(), error.is_user());
        let (other, connection) = (error.as_other(), error.connection_metadata().cloned());
        let source = Box::new(InContext { context: context.join("; "), source: error.into_source() });
        let explained = match () {
            () if is_timeout => ConnectorError::timeout(source),
            () if is_io => ConnectorError::io(source),
            () if is_user => ConnectorError::user(source),
            () => ConnectorError::other(source, other),
        };
        match connection {
            Some(connection) => explained.with_connection(connection),
            None => explained,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::efs::authorities::tests::none;
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
            .http_client(client(Proxies::new(|_| None), none()))
            .load()
            .await
    }

    #[tokio::test]
    async fn plain_http_works_without_certificate_authorities() {
        let fake = fake_efs::FakeEfs::builder().start().await.unwrap();
        let api = AwsClients::with_base(base(&fake.http_url()).await, Metrics::new())
            .client(crate::volume::FileSystemKind::Efs, None)
            .await
            .unwrap();
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
        let api = AwsClients::with_base(base(&url).await, Metrics::new())
            .client(crate::volume::FileSystemKind::Efs, None)
            .await
            .unwrap();
        let error = api.access_points(None, 1, None).await.unwrap_err();
        server.abort();
        assert_eq!(error.kind, EfsErrorKind::Connection);
        let advice =
            "none of this system's certificate authorities: install the package ca-certificates, or name a PEM file";
        assert!(error.message.contains(advice), "{error}");
    }
}
