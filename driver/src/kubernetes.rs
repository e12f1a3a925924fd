//! The way to the Kubernetes API server, and how long an answer is waited for.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use efs_common::causes::InContext;
use futures::future::BoxFuture;
use http::header::{AUTHORIZATION, HeaderValue};
use http::{Request, Uri};
use hyper::rt::{Read, Write};
use hyper_util::client::legacy::Client as HttpClient;
use hyper_util::client::legacy::connect::proxy::{SocksV5, Tunnel};
use hyper_util::client::legacy::connect::{Connection, HttpConnector};
use hyper_util::rt::TokioExecutor;
use kube::client::retry::RetryPolicy;
use kube::client::{ClientBuilder, ConfigExt};
use kube::config::{Cluster, InClusterError, KubeConfigOptions, Kubeconfig, KubeconfigError};
use kube::{Client, Config};
use tokio::time::{Instant, timeout};
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tower::filter::{AsyncFilterLayer, AsyncPredicate};
use tower::retry::RetryLayer;
use tower::{BoxError, Service, ServiceBuilder};

use crate::blocking::{Blocking, apart};
use crate::exec_plugin;
use crate::files::{self, FileError};
use crate::proxy::{Proxies, Proxy, ProxyError};

/// Limit of a connect to all addresses of the API server together, shorter than any caller waits.
const CONNECT: Duration = Duration::from_secs(4);

/// After a question without an answer, others fail at once for this long: a call that asks several must not wait for each.
const QUIET: Duration = Duration::from_secs(5);

/// Where Kubernetes puts a pod's token, the cluster's authority and the name of its namespace.
const SERVICE_ACCOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount";

/// Kubernetes renews tokens long before they end.
const TOKEN_GOOD_FOR: Duration = Duration::from_secs(60);

/// A failure that took longer than this was no refusal.
const SLOW: Duration = Duration::from_secs(1);

/// There is no way to an API server.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NoWay {
    /// Neither a kubeconfig nor a pod's service account.
    #[error("no kubeconfig ({kubeconfig}), and no service account ({in_cluster})")]
    Config {
        /// Why not by a kubeconfig.
        kubeconfig: Box<KubeconfigError>,
        /// Why not as a pod.
        #[source]
        in_cluster: Box<InClusterError>,
    },
    /// A file that tells the way can't be read.
    #[error(transparent)]
    File(#[from] FileError),
    /// A token is none.
    #[error("{} holds no token", .0.display())]
    Token(PathBuf),
    /// The proxy of the kubeconfig or the environment can't be used.
    #[error(transparent)]
    Proxy(#[from] ProxyError),
    /// Credentials or certificates can't be used.
    #[error("the credentials or certificates can't be used: {0}")]
    Credentials(#[source] Box<kube::Error>),
}

/// A client by the kubeconfig or the pod's service account.
///
/// A kubeconfig's own `proxy-url` counts for its cluster whatever NO_PROXY says, as in kubectl. Without one the environment counts. A
/// pod goes straight to the API server: the address of its service is good inside the cluster only.
///
/// # Errors
/// When there is neither, or it can't be used.
pub(crate) async fn client(blocking: &Blocking) -> Result<Client, NoWay> {
    for (named_by, path) in named_files() {
        files::look_at(blocking, named_by, &path).await?;
    }
    // kube reads files, and runs a program that gets credentials if the kubeconfig names one, without giving the thread back.
    let kubeconfig = apart(async { Kubeconfig::read() }).await;
    if let Some(authority) = kubeconfig.as_ref().ok().and_then(|it| own_cluster(it)?.certificate_authority.as_ref()) {
        files::look_at(blocking, "certificate-authority of the kubeconfig", authority.as_ref()).await?;
    }
    let (mut config, proxy) = apart(configured(kubeconfig)).await?;
    let auth = &mut config.auth_info;
    if let Some(exec) = &mut auth.exec {
        exec_plugin::bound(exec);
    }
    for (named_by, path) in [
        ("client-certificate of the kubeconfig", &auth.client_certificate),
        ("client-key of the kubeconfig", &auth.client_key),
    ] {
        if let Some(path) = path {
            files::look_at(blocking, named_by, path.as_ref()).await?;
        }
    }
    // An inline token comes first, and then the file is never read.
    let token_file = auth.token_file.take().filter(|_| auth.token.is_none());
    let token = match token_file {
        Some(path) => Some(TokenFile::read(blocking.clone(), path.into()).await?),
        None => None,
    };
    apart(async move { connect(config, proxy, token) }).await
}

/// The files that tell where the API server is and who this is: of the kubeconfig, and of the pod's service account.
fn named_files() -> Vec<(&'static str, PathBuf)> {
    let given = std::env::var_os("KUBECONFIG").filter(|value| !value.is_empty());
    let mut found: Vec<_> = match &given {
        Some(paths) => std::env::split_paths(paths).map(|path| ("KUBECONFIG", path)).collect(),
        None => std::env::home_dir().map(|home| ("the kubeconfig", home.join(".kube/config"))).into_iter().collect(),
    };
    found.retain(|(_, path)| !path.as_os_str().is_empty());
    let account = |name| ("the service account", Path::new(SERVICE_ACCOUNT).join(name));
    found.extend(["ca.crt", "namespace", "token"].map(account));
    found
}

async fn configured(kubeconfig: Result<Kubeconfig, KubeconfigError>) -> Result<(Config, Option<Proxy>), NoWay> {
    let of_file = async {
        let kubeconfig = kubeconfig?;
        let own = own_proxy(&kubeconfig);
        Ok((Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?, own))
    };
    match of_file.await {
        Ok((config, Some(own))) => Ok((config, Some(Proxy::new("proxy-url of the kubeconfig", &own)?))),
        Ok((config, None)) => {
            let proxy = Proxies::of_process().proxy_for(&config.cluster_url)?.cloned();
            Ok((config, proxy))
        }
        Err(kubeconfig) => match Config::incluster() {
            Ok(config) => Ok((config, None)),
            Err(in_cluster) => {
                Err(NoWay::Config { kubeconfig: Box::new(kubeconfig), in_cluster: Box::new(in_cluster) })
            }
        },
    }
}

/// The proxy that a kubeconfig names for the cluster of its current context.
fn own_proxy(kubeconfig: &Kubeconfig) -> Option<String> {
    own_cluster(kubeconfig)?.proxy_url.clone().filter(|url| !url.is_empty())
}

/// The cluster of the current context.
fn own_cluster(kubeconfig: &Kubeconfig) -> Option<&Cluster> {
    let current = kubeconfig.current_context.as_ref()?;
    let context = kubeconfig.contexts.iter().find(|it| it.name == *current)?.context.as_ref()?;
    kubeconfig.clusters.iter().find(|it| it.name == context.cluster)?.cluster.as_ref()
}

/// A token that is read again every minute, as kube does it, but on a thread that may hang.
#[derive(Clone)]
struct TokenFile {
    blocking: Blocking,
    path: PathBuf,
    /// The header, and when it was read.
    last: Arc<Mutex<(HeaderValue, Instant)>>,
}

impl TokenFile {
    async fn read(blocking: Blocking, path: PathBuf) -> Result<Self, NoWay> {
        let header = Self::header(&blocking, &path).await?;
        Ok(Self { blocking, path, last: Arc::new(Mutex::new((header, Instant::now()))) })
    }

    async fn header(blocking: &Blocking, path: &Path) -> Result<HeaderValue, NoWay> {
        let token = files::read(blocking, "the token", path).await?;
        let header = HeaderValue::from_bytes(&[b"Bearer ", token.trim_ascii()].concat());
        let mut header = header.map_err(|_| NoWay::Token(path.to_owned()))?;
        header.set_sensitive(true);
        Ok(header)
    }

    async fn current(self) -> HeaderValue {
        let last = || self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let (header, read) = last().clone();
        if read.elapsed() < TOKEN_GOOD_FOR {
            return header;
        }
        // As kube and Go do: what can't be read any more may still be good.
        let header = match Self::header(&self.blocking, &self.path).await {
            Ok(new) => new,
            Err(error) => {
                tracing::debug!(%error, "goes on with the token of before");
                header
            }
        };
        *last() = (header.clone(), Instant::now());
        header
    }
}

impl<B: Send + 'static> AsyncPredicate<Request<B>> for TokenFile {
    type Future = BoxFuture<'static, Result<Request<B>, BoxError>>;
    type Request = Request<B>;

    fn check(&mut self, mut request: Request<B>) -> Self::Future {
        let this = self.clone();
        Box::pin(async move {
            request.headers_mut().insert(AUTHORIZATION, this.current().await);
            Ok(request)
        })
    }
}

/// kube's own choice of a proxy is not taken: it holds the proxy's address, instead of the API server's, against NO_PROXY.
fn connect(config: Config, proxy: Option<Proxy>, token: Option<TokenFile>) -> Result<Client, NoWay> {
    // kube's TLS takes the process's provider. That it is there already is no failure.
    let _ = aws_lc_rs::default_provider().install_default();
    let mut direct = HttpConnector::new();
    direct.enforce_http(false);
    direct.set_nodelay(true);
    direct.set_connect_timeout(Some(CONNECT));
    let Some(proxy) = proxy else {
        return build(config, None, token, direct);
    };
    let intercept = proxy.intercept().clone();
    let to_proxy = intercept.uri().clone();
    match proxy.scheme() {
        "http" => {
            let tunnel = authenticated(Tunnel::new(to_proxy, direct), intercept.basic_auth());
            build(config, Some(proxy), token, tunnel)
        }
        // The cluster's authorities vouch for the proxy too, as in kubectl.
        "https" => {
            let tls = config.rustls_https_connector_with_connector(direct);
            let tunnel = Tunnel::new(to_proxy, tls.map_err(|error| NoWay::Credentials(Box::new(error)))?);
            build(config, Some(proxy), token, authenticated(tunnel, intercept.basic_auth()))
        }
        "socks5" | "socks5h" => {
            let mut socks = SocksV5::new(to_proxy, direct);
            if let Some((user, password)) = intercept.raw_auth() {
                socks = socks.with_auth(user.to_owned(), password.to_owned());
            }
            build(config, Some(proxy), token, socks)
        }
        _ => {
            let (what, schemes) = ("calls to Kubernetes", "http://, https:// or socks5://");
            Err(ProxyError::Protocol { proxy: proxy.to_string(), what, schemes }.into())
        }
    }
}

fn authenticated<C>(tunnel: Tunnel<C>, header: Option<&http::HeaderValue>) -> Tunnel<C> {
    match header {
        Some(header) => tunnel.with_auth(header.clone()),
        None => tunnel,
    }
}

fn build<C>(config: Config, proxy: Option<Proxy>, token: Option<TokenFile>, connector: C) -> Result<Client, NoWay>
where
    C: Service<Uri> + Clone + Send + Sync + 'static,
    C::Response: Connection + Read + Write + Send + Unpin + 'static,
    C::Future: Send + 'static,
    C::Error: Into<BoxError>,
{
    let unusable = |error| NoWay::Credentials(Box::new(error));
    let https = config.rustls_https_connector_with_connector(connector).map_err(unusable)?;
    let way = proxy.map(|proxy| format!(" through {proxy}")).unwrap_or_default();
    let context = format!("cannot reach the API server {}{way}", config.cluster_url);
    let explain = move |source: BoxError| -> BoxError { InContext { context: context.clone(), source }.into() };
    let service = ServiceBuilder::new()
        .layer(config.base_uri_layer())
        .layer(RetryLayer::new(RetryPolicy::server_retry()))
        .option_layer(config.auth_layer().map_err(unusable)?)
        .option_layer(token.map(AsyncFilterLayer::new))
        .layer(config.extra_headers_layer().map_err(unusable)?)
        .map_err(explain)
        .map_err(BoxError::from)
        .service(HttpClient::builder(TokioExecutor::new()).build(https));
    Ok(ClientBuilder::new(service, config.default_namespace).build())
}

/// Why a question has no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unanswered {
    #[error("no way to the API server: {0}")]
    NoWay(#[from] NoWay),
    #[error(transparent)]
    Kube(#[from] kube::Error),
}

impl Unanswered {
    /// Whether it says nothing about how long the API server takes.
    pub(crate) fn is_told(&self) -> bool {
        matches!(self, Self::NoWay(_) | Self::Kube(kube::Error::Api(_)))
    }

    /// Whether the API server can't be reached, or is out of order.
    pub(crate) fn is_away(&self) -> bool {
        match self {
            Self::NoWay(NoWay::File(error)) => error.hanging().is_some(),
            // A program that gives none now may give some later.
            Self::NoWay(NoWay::Credentials(error)) => matches!(**error, kube::Error::Auth(_)),
            Self::NoWay(_) => false,
            Self::Kube(kube::Error::Api(status)) => status.code == 429 || status.code >= 500,
            Self::Kube(_) => true,
        }
    }
}

/// No answer came in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the API server gave no answer within {} s", .0.as_secs())]
pub(crate) struct Silent(Duration);

/// Questions under a deadline, with a memory of the last one that got no answer.
#[derive(Debug)]
pub(crate) struct Deadline {
    limit: Duration,
    silent_since: Mutex<Option<Instant>>,
}

impl Deadline {
    /// Each question may take so long.
    pub(crate) const fn new(limit: Duration) -> Self {
        Self { limit, silent_since: Mutex::new(None) }
    }

    /// Asks, unless another question got no answer a moment ago. `is_answer` tells failures that the API server has answered with
    /// from those on the way to it.
    pub(crate) async fn ask<T, E: Error>(
        &self,
        question: impl Future<Output = Result<T, E>>,
        is_answer: fn(&E) -> bool,
    ) -> Result<Result<T, E>, Silent> {
        let since = || self.silent_since.lock().unwrap_or_else(PoisonError::into_inner);
        if since().is_some_and(|at| at.elapsed() < QUIET) {
            return Err(Silent(self.limit));
        }
        let begun = Instant::now();
        let asked = timeout(self.limit, question).await;
        let is_silent = match &asked {
            Ok(Ok(_)) => false,
            Ok(Err(error)) => !is_answer(error) && begun.elapsed() > SLOW,
            Err(_) => true,
        };
        *since() = is_silent.then(Instant::now);
        asked.map_err(|_| Silent(self.limit))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::time::sleep;

    #[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
    #[error("failed")]
    struct Failed {
        answered: bool,
    }

    async fn ask(deadline: &Deadline, takes: u64, answer: Result<u8, Failed>) -> Result<Result<u8, Failed>, Silent> {
        let question = async {
            sleep(Duration::from_secs(takes)).await;
            answer
        };
        deadline.ask(question, |error| error.answered).await
    }

    #[tokio::test(start_paused = true)]
    async fn after_a_silence_nobody_waits_for_a_while() {
        let deadline = Deadline::new(Duration::from_secs(8));
        let silent = Err(Silent(Duration::from_secs(8)));
        assert_eq!(ask(&deadline, 7, Ok(1)).await, Ok(Ok(1)));
        let begun = Instant::now();
        for _ in 0..100 {
            assert_eq!(ask(&deadline, 60, Ok(1)).await, silent);
        }
        assert_eq!(begun.elapsed(), Duration::from_secs(8));
        sleep(QUIET).await;
        assert_eq!(ask(&deadline, 0, Ok(2)).await, Ok(Ok(2)));
    }

    #[tokio::test(start_paused = true)]
    async fn only_slow_failures_on_the_way_count_as_silence() {
        for (takes, answered, is_silent) in [(4, true, false), (0, false, false), (4, false, true)] {
            let deadline = Deadline::new(Duration::from_secs(8));
            let failed = Failed { answered };
            assert_eq!(ask(&deadline, takes, Err(failed)).await, Ok(Err(failed)));
            assert_eq!(ask(&deadline, 0, Ok(1)).await.is_err(), is_silent, "{takes} {answered}");
        }
    }

    #[test]
    fn the_current_contexts_cluster_names_the_proxy() {
        let kubeconfig = |proxy: &str| -> Kubeconfig {
            serde_json::from_value(serde_json::json!({
                "current-context": "b",
                "contexts": [{"name": "a", "context": {"cluster": "a", "user": "u"}},
                             {"name": "b", "context": {"cluster": "b", "user": "u"}}],
                "clusters": [{"name": "a", "cluster": {"server": "https://a", "proxy-url": "http://wrong:1"}},
                             {"name": "b", "cluster": {"server": "https://b", "proxy-url": proxy}}],
            }))
            .unwrap()
        };
        assert_eq!(own_proxy(&kubeconfig("socks5://p:1")).as_deref(), Some("socks5://p:1"));
        assert_eq!(own_proxy(&kubeconfig("")), None);
    }
}
