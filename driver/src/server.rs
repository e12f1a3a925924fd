//! The gRPC server: one socket, the services of the mode, and a stop that lets running calls finish.

use std::sync::Arc;
use std::time::{Duration, Instant};

use csi_proto::csi::controller_server::ControllerServer;
use csi_proto::csi::identity_server::IdentityServer;
use csi_proto::csi::node_server::NodeServer;
use efs_common::open_files;
use efs_tunnel::roots::{self, RootsError};
use efs_tunnel::{Binding, DialDeps, DialLimits, IssuerSlot, Locate};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_stream::wrappers::TcpListenerStream;
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;
use tonic::transport::Server;

use crate::admin::{self, Report};
use crate::blocking::Blocking;
use crate::cli::Mode;
use crate::config::{Config, ControllerConfig, Endpoint};
use crate::controller::cluster::KubeCluster;
use crate::controller::sessions::{Addresses, TunnelSessions};
use crate::controller::{Controller, ControllerService};
use crate::efs::http_client;
use crate::efs::metadata::NodeObject;
use crate::efs::mount_credentials::AwsCredentials;
use crate::efs::pod_identity::AwsExchange;
use crate::efs::region;
use crate::efs::{AwsClients, EfsClients as _};
use crate::health;
use crate::identity::{IdentityService, PLUGIN_NAME, VERSION};
use crate::metrics::Metrics;
use crate::mount::Worker;
use crate::node::cluster::ThisNode;
use crate::node::prerequisites::Prerequisites;
use crate::node::{self, NodeDeps, NodeService, StartError};
use crate::recent::RecentEvents;
use crate::registration::KubeletAnswer;
use crate::rpc::RpcMetrics;
use crate::socket::{self, BindError, KeptSocket, Place};
use crate::{fips, hand_over, probe};

/// How long running calls may take to finish after the stop signal. The kubelet grants 30 s before SIGKILL.
const GRACE: Duration = Duration::from_secs(20);

/// How long the node service may take after that for what no caller waits for.
const FINISH: Duration = Duration::from_secs(5);

/// How long the registration socket may take to go after the last call.
const UNREGISTER: Duration = Duration::from_secs(2);

/// Mode of the Unix socket: the owner and the group of the socket's directory may connect, others may not.
const SOCKET_MODE: u32 = 0o660;

/// Why the server did not start or stopped by itself.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The CSI address can't be listened on.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// The address.
        address: String,
        /// The system's reason.
        source: std::io::Error,
    },
    /// The CSI socket can't be put in its place.
    #[error("--endpoint: {0}")]
    Socket(#[from] BindError),
    /// The gRPC server failed.
    #[error("the gRPC server failed: {0}")]
    Grpc(#[from] tonic::transport::Error),
    /// The file of --tls-ca-file can't be used.
    #[error("cannot use --tls-ca-file: {0}")]
    Roots(#[from] RootsError),
    /// The node service could not start.
    #[error("the node service cannot start: {0}")]
    Node(#[from] StartError),
}

/// Runs the driver until `shutdown` is cancelled. `recent` holds the events that the admin socket tells.
///
/// # Errors
/// When a part can't start, or the gRPC server breaks.
pub async fn run(config: Config, recent: RecentEvents, shutdown: CancellationToken) -> Result<(), ServeError> {
    for note in &config.notes {
        tracing::warn!("{note}");
    }
    let open_files = open_files::raise_limit();
    if let Some(limit) = open_files {
        tracing::info!(
            limit,
            volumes = open_files::most_volumes(limit),
            "open files, and volumes with a tunnel that they are enough for"
        );
    }
    let (ready, is_ready) = watch::channel(false);
    let blocking = Blocking::default();
    let metrics = Metrics::new();
    if let Some(http) = config.http.clone() {
        tokio::spawn(health::keep(
            http,
            health::Shared::new(is_ready.clone(), metrics.clone(), blocking.clone()),
            shutdown.clone(),
        ));
    }
    let identity = IdentityService::new(is_ready);
    let mut routes = Routes::new(IdentityServer::new(identity));
    let node = this_node(&blocking);
    let object = node.clone().map(|node| node as Arc<dyn NodeObject>);
    let clients = Arc::new(
        AwsClients::new(config.aws.clone(), metrics.clone()).with_node(object).with_blocking(blocking.clone()),
    );
    tokio::spawn(tell_unusable_settings(blocking.clone()));
    tokio::spawn(prepare(Arc::clone(&clients), config.mode));
    if config.mode != Mode::Node {
        let cluster = Arc::new(KubeCluster::default().with_blocking(blocking.clone()));
        let controller = Controller::new(config.controller.clone(), clients.clone(), cluster, metrics.clone())
            .with_sessions(Arc::new(sessions(&config.controller, blocking.clone(), shutdown.clone()).await?));
        routes = routes.add_service(ControllerServer::new(ControllerService::new(Arc::new(controller))));
    }
    let seen = blocking.clone();
    let mut node_service = None;
    let tunnels_end = CancellationToken::new();
    let _end_tunnels = tunnels_end.clone().drop_guard();
    if config.mode != Mode::Controller {
        let about = AboutNode { kubernetes: node, open_files, blocking };
        let service = start_node(&config, clients, metrics.clone(), about, tunnels_end, shutdown.clone()).await?;
        routes = routes.add_service(NodeServer::new(service.clone()));
        node_service = Some(service);
    }
    let listener = Listener::bind(&config.endpoint).await?;
    tracing::info!(
        driver = PLUGIN_NAME,
        version = VERSION,
        mode = ?config.mode,
        fips = fips::MODULE,
        address = %listener.address(),
        "serving CSI"
    );
    ready.send_replace(true);
    listener.tell_troubles(&seen);
    let csi = listener.place().cloned();
    if let (Some(node), Some(path)) = (node_service.clone(), config.node.probe_socket.clone()) {
        let (set, serving) = watch::channel(probe::Serving::NotYet);
        tokio::spawn(hand_over::tell_when_serving(node, set));
        tokio::spawn(probe::serve(path, serving, seen.clone(), shutdown.clone()));
    }
    let (answer, kubelet) = watch::channel(KubeletAnswer::None);
    if let Some(node) = node_service.clone() {
        let (started, registers) = (Instant::now(), config.node.registration.is_some());
        let report = move || Report {
            version: VERSION.to_owned(),
            pid: std::process::id(),
            up_seconds: started.elapsed().as_secs(),
            kubelet: registers.then(|| kubelet.borrow().clone()),
            node: node.report(),
            recent: recent.list(),
        };
        tokio::spawn(admin::serve(
            admin::socket_path(&config.node.state_dir),
            Arc::new(report),
            seen.clone(),
            shutdown.clone(),
        ));
    }
    let keeper = node_service.as_ref().and_then(NodeService::lasting_keeper);
    let registering = config.node.registration.clone().zip(csi.clone()).map(|(registration, csi)| {
        tokio::spawn(registration.keep(csi, keeper, answer, seen.clone(), shutdown.clone()))
    });
    let result = serve(listener, routes, metrics, shutdown.clone()).await;
    shutdown.cancel();
    if let Some(node) = &node_service
        && tokio::time::timeout(FINISH, node.finish()).await.is_err()
    {
        tracing::warn!("a call that nobody waits for is broken off");
    }
    if let Some(registering) = registering
        && tokio::time::timeout(UNREGISTER, registering).await.is_err()
    {
        tracing::warn!("the kubelet still talks to the registration socket; stopping anyway");
    }
    result
}

/// The controller's way to the files of EFS. Nothing is connected before the first directory is made or removed.
pub(crate) async fn sessions(
    config: &ControllerConfig,
    blocking: Blocking,
    shutdown: CancellationToken,
) -> Result<TunnelSessions, RootsError> {
    let roots = match &config.tls_ca_file {
        Some(path) => roots::load(path).await?,
        None => roots::amazon(),
    };
    let addresses = Arc::new(Addresses::default());
    let deps = DialDeps {
        issuer: IssuerSlot::new(None),
        roots: Arc::new(roots),
        locate: Arc::clone(&addresses) as Arc<dyn Locate>,
        credentials: Arc::new(AwsCredentials::new(blocking)),
        source: "k8s".to_owned(),
        limits: DialLimits::default(),
        binding: Binding::off(),
        changed: Arc::default(),
    };
    Ok(TunnelSessions::new(deps, addresses, shutdown))
}

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// This node in Kubernetes, within a cluster.
fn this_node(blocking: &Blocking) -> Option<Arc<ThisNode>> {
    variable("KUBERNETES_SERVICE_HOST").or_else(|| variable("KUBECONFIG"))?;
    variable("CSI_NODE_NAME").map(|name| Arc::new(ThisNode::new(name).with_blocking(blocking.clone())))
}

/// Says once that there is no region, before the first call fails for want of it. A controller has calls to make, and its first one needn't
/// wait until all is made that calls need; a node may never make one.
async fn prepare(clients: Arc<AwsClients>, mode: Mode) {
    let prepared = match mode {
        Mode::Node => clients.region().await.map(drop),
        Mode::Controller | Mode::All => clients.prepare().await,
    };
    if let Err(error) = prepared {
        tracing::error!(%error, "calls that need AWS will fail");
    }
}

/// Says once what no call of AWS will be able to use.
async fn tell_unusable_settings(blocking: Blocking) {
    for setting in http_client::unusable_settings(&blocking).await {
        tracing::warn!(setting, "calls of AWS that need this setting will fail");
    }
}

/// What was found out about this process and its node.
struct AboutNode {
    kubernetes: Option<Arc<ThisNode>>,
    open_files: Option<u64>,
    blocking: Blocking,
}

/// Starts the node service. Mounts of an earlier process are served again when it returns.
async fn start_node(
    config: &Config,
    clients: Arc<AwsClients>,
    metrics: Metrics,
    about: AboutNode,
    tunnels_end: CancellationToken,
    shutdown: CancellationToken,
) -> Result<NodeService, ServeError> {
    let name = variable("CSI_NODE_NAME");
    // On SageMaker HyperPod the metadata service describes the machine below, in another account.
    let is_hyper_pod = name.as_ref().is_some_and(|name| name.starts_with("hyperpod-"));
    let imds_disabled = variable("AWS_EC2_METADATA_DISABLED").is_some_and(|it| it.eq_ignore_ascii_case("true"));
    let deps = NodeDeps {
        kubernetes: about.kubernetes,
        imds: !is_hyper_pod && !imds_disabled,
        remove_taint: variable("DISABLE_TAINT_WATCHER").is_none(),
        efs: clients,
        credentials: Arc::new(AwsCredentials::new(about.blocking.clone())),
        exchange: Arc::new(
            AwsExchange::new(config.node.pod_identity_agent.clone()).with_blocking(about.blocking.clone()),
        ),
        worker: Worker::this_program().with_metrics(metrics.clone()).with_blocking(about.blocking.clone()),
        metrics,
        open_files: about.open_files,
        blocking: about.blocking,
        ports: node::port_range(variable("PORT_RANGE_UPPER_BOUND").as_deref(), &config.node.efs_utils),
        prerequisites: Prerequisites::of_process(
            config.node.tunnels_trust_root,
            variable("KUBERNETES_SERVICE_HOST").is_some(),
            config.node.registration.is_some(),
        ),
        region_variable: region::of_environment(),
        data_plane: None,
        tunnels_end,
    };
    Ok(NodeService::start(config.node.clone(), deps, shutdown).await?)
}

/// A bound CSI address.
#[derive(Debug)]
pub enum Listener {
    /// A Unix socket.
    Unix(KeptSocket),
    /// A TCP socket.
    Tcp(TcpListener),
}

impl Listener {
    /// Binds the address. A socket file that an earlier process left is replaced in one step, so that clients never find
    /// the path missing.
    ///
    /// # Errors
    /// When the path is something else than a socket, or the system refuses.
    pub async fn bind(endpoint: &Endpoint) -> Result<Self, ServeError> {
        match endpoint {
            Endpoint::Unix(path) => Ok(Self::Unix(KeptSocket::bind_apart(path.clone(), SOCKET_MODE).await?)),
            Endpoint::Tcp(address) => {
                let listener = TcpListener::bind(address)
                    .await
                    .map_err(|source| ServeError::Listen { address: address.clone(), source })?;
                Ok(Self::Tcp(listener))
            }
        }
    }

    /// Has health tell when nobody can call any more.
    fn tell_troubles(&self, blocking: &Blocking) {
        if let Self::Unix(socket) = self {
            socket.tell_troubles("CSI socket", blocking);
        }
    }

    /// Where its socket is, if it is a Unix socket.
    fn place(&self) -> Option<&Place> {
        match self {
            Self::Unix(socket) => Some(socket.place()),
            Self::Tcp(_) => None,
        }
    }

    /// The address in the form that `--endpoint` takes, with the real port.
    pub fn address(&self) -> String {
        match self {
            Self::Unix(socket) => format!("unix://{}", socket.place().path().display()),
            Self::Tcp(listener) => match listener.local_addr() {
                Ok(address) => format!("tcp://{address}"),
                Err(error) => format!("tcp (address unknown: {error})"),
            },
        }
    }
}

/// Calls that a caller may give up before they were begun; beyond, its connection is closed with all that goes on there. Of the library's 20
/// a sidecar with a hundred workers, whose deadlines pass together, has too few.
const GIVEN_UP_MAX: usize = 1024;

/// Serves `routes` on `listener` until `shutdown`, then lets running calls finish for [`GRACE`].
///
/// # Errors
/// When the gRPC server breaks.
pub async fn serve(
    listener: Listener,
    routes: Routes,
    metrics: Metrics,
    shutdown: CancellationToken,
) -> Result<(), ServeError> {
    let builder = Server::builder()
        .http2_max_header_list_size(socket::HEADERS_MAX)
        .http2_max_pending_accept_reset_streams(Some(GIVEN_UP_MAX));
    let router = builder.layer(RpcMetrics::new(metrics)).add_routes(routes);
    let stop = shutdown.clone().cancelled_owned();
    let serving = async {
        match listener {
            Listener::Unix(socket) => router.serve_with_incoming_shutdown(socket::callers(socket), stop).await,
            Listener::Tcp(listener) => {
                router.serve_with_incoming_shutdown(TcpListenerStream::new(listener), stop).await
            }
        }
    };
    let result = tokio::select! {
        result = serving => result.map_err(ServeError::from),
        () = async { shutdown.cancelled().await; tokio::time::sleep(GRACE).await } => {
            tracing::warn!(seconds = GRACE.as_secs(), "calls still run after the grace period; stopping anyway");
            Ok(())
        }
    };
    result
}
