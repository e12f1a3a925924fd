//! Serves a [`ReferenceDriver`] over gRPC, each call through its [`Hooks`], with which mutants are made.

use std::{io, path::Path, sync::Arc};

use csi_proto::csi;
use tokio::net::UnixListener;
use tokio_stream::wrappers::UnixListenerStream;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, transport::Server};

use super::ReferenceDriver;

/// Stands between a call and the driver: it may change the request, the answer, or not ask the driver at all.
pub type Hook<Q, A> = Box<dyn Fn(&ReferenceDriver, Q) -> Result<A, Status> + Send + Sync>;

macro_rules! server {
    ($($service:ident $module:ident $trait:ident {
        $($method:ident($request:ident) -> $response:ident, $name:literal, $secrecy:ident;)*
    })*) => {
        /// A hook for each RPC; where there is none, the driver answers.
        #[derive(Default)]
        pub struct Hooks {
            $($(
                #[doc = concat!("Stands before `", $name, "`.")]
                pub $method: Option<Hook<csi::$request, csi::$response>>,
            )*)*
        }

        impl Hooks {
            /// The RPCs that have a hook.
            #[must_use]
            pub fn rpcs(&self) -> Vec<&'static str> {
                let mut rpcs = Vec::new();
                $($(
                    if self.$method.is_some() {
                        rpcs.push($name);
                    }
                )*)*
                rpcs
            }
        }

        $(
            #[tonic::async_trait]
            impl csi::$module::$trait for Service {
                $(
                    async fn $method(
                        &self,
                        request: Request<csi::$request>,
                    ) -> Result<Response<csi::$response>, Status> {
                        let request = request.into_inner();
                        let answer = match &self.0.hooks.$method {
                            Some(hook) => hook(&self.0.driver, request),
                            None => self.0.driver.$method(request),
                        };
                        answer.map(Response::new)
                    }
                )*
            }
        )*
    };
}
every_rpc!(server);

impl std::fmt::Debug for Hooks {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Hooks")
    }
}

#[derive(Debug)]
struct Hooked {
    driver: ReferenceDriver,
    hooks: Hooks,
}

#[derive(Debug, Clone)]
struct Service(Arc<Hooked>);

/// Serves the driver on a listening socket until `shutdown` is cancelled.
///
/// # Errors
/// When the server fails.
pub async fn run(
    listener: UnixListener,
    driver: ReferenceDriver,
    hooks: Hooks,
    shutdown: CancellationToken,
) -> Result<(), tonic::transport::Error> {
    let service = Service(Arc::new(Hooked { driver, hooks }));
    Server::builder()
        .add_service(csi::identity_server::IdentityServer::new(service.clone()))
        .add_service(csi::controller_server::ControllerServer::new(service.clone()))
        .add_service(csi::group_controller_server::GroupControllerServer::new(service.clone()))
        .add_service(csi::node_server::NodeServer::new(service))
        .serve_with_incoming_shutdown(UnixListenerStream::new(listener), shutdown.cancelled_owned())
        .await
}

/// Listens on a Unix socket; a stale one is replaced.
///
/// # Errors
/// When the path cannot be bound.
pub fn listen(path: &Path) -> io::Result<UnixListener> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => UnixListener::bind(path),
    }
}
