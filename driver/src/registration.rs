//! Registration with the kubelet, without a sidecar.
//!
//! The kubelet watches a directory for sockets and asks each one which plug-in it stands for (pluginregistration v1). The
//! socket lives as long as the driver serves CSI; should somebody remove it (a kubelet that cleans up, an administrator), or a
//! successor die that has taken its place, it comes back. When the driver stops, it goes, unless a successor serves it.

use std::path::PathBuf;
use std::sync::Arc;

use csi_proto::registration::registration_server::{Registration as Service, RegistrationServer};
use csi_proto::registration::{InfoRequest, PluginInfo, RegistrationStatus, RegistrationStatusResponse};
use efs_tunnel::keeper::Keeper;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tonic::transport::Server;
use tonic::{Request, Response, Status};

use crate::blocking::Blocking;
use crate::identity::PLUGIN_NAME;
use crate::socket::{self, KeptSocket, Place};

/// The kubelet and nobody else.
const MODE: u32 = 0o600;
/// The registration API's version as stock sidecars announce it.
const API_VERSION: &str = "1.0.0";

/// What the kubelet has said about this plug-in.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KubeletAnswer {
    /// Nothing, since this process started.
    #[default]
    None,
    /// The plug-in is registered.
    Registered,
    /// It refused, for this reason.
    Refused(String),
}

/// Where and what to register.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Registration {
    /// The kubelet's directory for registration sockets, as this process sees it.
    pub directory: PathBuf,
    /// The CSI socket as the kubelet sees it.
    pub csi_socket: PathBuf,
}

impl Registration {
    /// The registration socket's path.
    pub fn socket(&self) -> PathBuf {
        self.directory.join(format!("{PLUGIN_NAME}-reg.sock"))
    }

    /// Keeps the plug-in registered until `shutdown`. Call it when the CSI socket, `csi`, is served: the kubelet uses it at once.
    ///
    /// With a `keeper` that outlives this process, the socket does too: the successor goes on with it, and the kubelet, to which
    /// a new socket is a new plug-in, doesn't unregister the driver for a second or two in between.
    pub async fn keep(
        self,
        csi: Place,
        keeper: Option<Keeper>,
        answer: watch::Sender<KubeletAnswer>,
        blocking: Blocking,
        shutdown: CancellationToken,
    ) {
        let socket = tokio::select! {
            () = shutdown.cancelled() => return,
            socket = self.open(keeper.as_ref(), &answer, &blocking) => socket,
        };
        let place = socket.place().clone();
        if let Some(keeper) = keeper {
            tokio::spawn(hand_copies(place.clone(), keeper));
        }
        let end = async move {
            shutdown.cancelled().await;
            let leaving = tokio::task::spawn_blocking(move || {
                if csi.has_successor() {
                    place.leave();
                }
            });
            if leaving.await.is_err() {
                tracing::warn!("cannot find out whether a successor serves the registration socket");
            }
        };
        let plugin = Plugin { csi_socket: self.csi_socket.display().to_string(), answer };
        let service = RegistrationServer::new(plugin);
        let serving = Server::builder().add_service(service).serve_with_incoming_shutdown(socket::callers(socket), end);
        if let Err(error) = serving.await {
            tracing::error!(%error, "the registration socket failed");
        }
    }

    /// The socket of the process before, or a new one as soon as that is possible.
    async fn open(
        &self,
        keeper: Option<&Keeper>,
        answer: &watch::Sender<KubeletAnswer>,
        blocking: &Blocking,
    ) -> KeptSocket {
        const WHAT: &str = "registration socket";
        if let Some(left) = keeper.and_then(Keeper::take_registration)
            && let Some(socket) = KeptSocket::adopt(&self.socket(), MODE, left)
        {
            tracing::info!(socket = %self.socket().display(), "going on with the registration of the process before");
            answer.send_replace(KubeletAnswer::Registered);
            socket.tell_troubles(WHAT, blocking);
            return socket;
        }
        let socket = KeptSocket::bind_patiently(self.socket(), MODE, WHAT, blocking).await;
        tracing::info!(socket = %self.socket().display(), "waiting for the kubelet to register the driver");
        socket
    }
}

/// Gives the keeper the listening socket, and each that takes its place.
async fn hand_copies(place: Place, keeper: Keeper) {
    let mut copies = place.copies();
    loop {
        let (copy, keeper) = (Arc::clone(&copies.borrow_and_update()), keeper.clone());
        // A keeper that does not answer has said so itself.
        let _handed = tokio::task::spawn_blocking(move || keeper.keep_registration(copy)).await;
        if copies.changed().await.is_err() {
            return;
        }
    }
}

/// The answers to the kubelet.
struct Plugin {
    csi_socket: String,
    answer: watch::Sender<KubeletAnswer>,
}

#[tonic::async_trait]
impl Service for Plugin {
    async fn get_info(&self, _: Request<InfoRequest>) -> Result<Response<PluginInfo>, Status> {
        tracing::debug!("the kubelet asks who is there");
        Ok(Response::new(PluginInfo {
            r#type: "CSIPlugin".to_owned(),
            name: PLUGIN_NAME.to_owned(),
            endpoint: self.csi_socket.clone(),
            supported_versions: vec![API_VERSION.to_owned()],
        }))
    }

    async fn notify_registration_status(
        &self,
        request: Request<RegistrationStatus>,
    ) -> Result<Response<RegistrationStatusResponse>, Status> {
        let status = request.into_inner();
        if status.plugin_registered {
            tracing::info!("the kubelet has registered the driver");
            self.answer.send_replace(KubeletAnswer::Registered);
        } else {
            // The kubelet tries again by itself, with growing pauses.
            tracing::error!(error = status.error, "the kubelet refuses to register the driver");
            self.answer.send_replace(KubeletAnswer::Refused(status.error));
        }
        Ok(Response::new(RegistrationStatusResponse {}))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use csi_proto::registration::registration_client::RegistrationClient;
    use std::path::Path;
    use tokio::task::JoinHandle;
    use tonic::transport::{Channel, Endpoint};

    struct Running {
        dir: tempfile::TempDir,
        _csi: KeptSocket,
        socket: PathBuf,
        answer: watch::Receiver<KubeletAnswer>,
        stop: CancellationToken,
        task: JoinHandle<()>,
    }

    fn start(directory: Option<&Path>) -> Running {
        let dir = tempfile::tempdir().expect("temp dir");
        let directory = directory.unwrap_or_else(|| dir.path()).to_owned();
        let csi = KeptSocket::bind(&directory.with_extension("csi"), MODE).expect("CSI socket");
        let registration = Registration { directory, csi_socket: "/var/lib/kubelet/plugins/x/csi.sock".into() };
        let (socket, stop) = (registration.socket(), CancellationToken::new());
        let (sender, answer) = watch::channel(KubeletAnswer::None);
        let task =
            tokio::spawn(registration.keep(csi.place().clone(), None, sender, Blocking::default(), stop.clone()));
        Running { dir, _csi: csi, socket, answer, stop, task }
    }

    /// Like the kubelet: a connection of its own for each exchange.
    async fn connect(socket: &Path) -> RegistrationClient<Channel> {
        let url = format!("unix://{}", socket.display());
        loop {
            if let Ok(channel) = Endpoint::from_shared(url.clone()).expect("URL").connect().await {
                return RegistrationClient::new(channel);
            }
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn the_kubelet_learns_name_and_socket_and_its_answer_is_kept() {
        let mut running = start(None);
        assert_eq!(running.socket.file_name().expect("name"), "efs.csi.aws.com-reg.sock");
        let mut kubelet = connect(&running.socket).await;
        let info = kubelet.get_info(InfoRequest {}).await.expect("info").into_inner();
        assert_eq!((info.r#type.as_str(), info.name.as_str()), ("CSIPlugin", "efs.csi.aws.com"));
        assert_eq!(info.endpoint, "/var/lib/kubelet/plugins/x/csi.sock");
        assert_eq!(info.supported_versions, ["1.0.0"]);

        let refusal = RegistrationStatus { plugin_registered: false, error: "no such node".to_owned() };
        kubelet.notify_registration_status(refusal).await.expect("notify");
        assert_eq!(*running.answer.borrow_and_update(), KubeletAnswer::Refused("no such node".to_owned()));
        let consent = RegistrationStatus { plugin_registered: true, error: String::new() };
        kubelet.notify_registration_status(consent).await.expect("notify");
        assert_eq!(*running.answer.borrow_and_update(), KubeletAnswer::Registered);
        drop(kubelet);

        running.stop.cancel();
        running.task.await.expect("task");
        assert_eq!(std::fs::read_dir(running.dir.path()).expect("list").count(), 0, "the socket goes with the driver");
    }

    #[tokio::test]
    async fn a_removed_socket_comes_back() {
        let running = start(None);
        drop(connect(&running.socket).await);
        std::fs::remove_file(&running.socket).expect("remove");
        let mut kubelet = connect(&running.socket).await;
        kubelet.get_info(InfoRequest {}).await.expect("the new socket answers");
        running.stop.cancel();
    }

    #[tokio::test]
    async fn a_directory_that_appears_later_is_used() {
        let parent = tempfile::tempdir().expect("temp dir");
        let directory = parent.path().join("plugins_registry");
        let running = start(Some(&directory));
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
        assert!(!running.task.is_finished(), "a missing directory must not end the registration");
        std::fs::create_dir(&directory).expect("mkdir");
        connect(&running.socket).await.get_info(InfoRequest {}).await.expect("info");
        running.stop.cancel();
    }

    /// During an update with surge, the new pod's socket takes the place of the old one's.
    #[tokio::test]
    async fn a_successor_takes_over_and_its_predecessor_leaves_the_socket_to_it() {
        let old = start(None);
        drop(connect(&old.socket).await);
        let new = start(Some(old.dir.path()));
        let inode = |path: &Path| {
            use std::os::unix::fs::MetadataExt;
            std::fs::metadata(path).map(|found| found.ino()).ok()
        };
        let before = inode(&old.socket);
        while inode(&old.socket) == before {
            tokio::task::yield_now().await;
        }
        old.stop.cancel();
        old.task.await.expect("task");
        connect(&new.socket).await.get_info(InfoRequest {}).await.expect("the successor answers");
        new.stop.cancel();
        new.task.await.expect("task");
        assert!(!new.socket.exists());
    }
}
