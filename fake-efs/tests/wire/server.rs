//! A file server with an [`Admit`] of its own, so that its tests need no control plane.
#![allow(dead_code, reason = "each test target uses a part")]
#![allow(clippy::unwrap_used, reason = "a test that can not go on must panic")]

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use fake_efs::admission::{Admission, Admit, Caller, CreationInfo, Dialect, PosixUser, Rate, Refusal, Rights};
use fake_efs::nfs::{Options, Server};
use fake_efs::store::{MemoryStore, Store};
use fake_efs::tls::Authority;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio_util::sync::CancellationToken;

/// What the next connections are told. Change it between connections.
#[derive(Clone)]
pub(crate) struct Policy {
    pub(crate) access_point_id: Option<String>,
    pub(crate) root_path: String,
    pub(crate) creation_info: Option<CreationInfo>,
    pub(crate) posix_user: Option<PosixUser>,
    pub(crate) rights: Rights,
    pub(crate) refuse: bool,
    pub(crate) dialect: Dialect,
    pub(crate) revoked: CancellationToken,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) rate: Rate,
}

impl Policy {
    /// Everything allowed on one store.
    pub(crate) fn open(store: Arc<dyn Store>) -> Self {
        Self {
            access_point_id: None,
            root_path: "/".into(),
            creation_info: None,
            posix_user: None,
            rights: Rights { write: true, root: true },
            refuse: false,
            dialect: Dialect::Efs,
            revoked: CancellationToken::new(),
            store,
            rate: Rate::default(),
        }
    }
}

struct Admitter {
    policy: Arc<Mutex<Policy>>,
    callers: Arc<Mutex<Vec<Caller>>>,
}

impl Admit for Admitter {
    fn admit(&self, caller: &Caller) -> Result<Admission, Refusal> {
        self.callers.lock().unwrap().push(caller.clone());
        let policy = self.policy.lock().unwrap().clone();
        if policy.refuse {
            return Err(Refusal::FileSystem("fs-test".into()));
        }
        Ok(Admission {
            dialect: policy.dialect,
            file_system_id: "fs-test".into(),
            access_point_id: policy.access_point_id,
            principal: "anonymous".into(),
            mount_target_id: None,
            root_path: policy.root_path,
            creation_info: policy.creation_info,
            posix_user: policy.posix_user,
            rights: policy.rights,
            store: policy.store,
            rate: policy.rate,
            revoked: policy.revoked,
        })
    }
}

/// A running server; stops when dropped.
pub(crate) struct Running {
    pub(crate) address: SocketAddr,
    pub(crate) server: Server,
    pub(crate) authority: Authority,
    policy: Arc<Mutex<Policy>>,
    callers: Arc<Mutex<Vec<Caller>>>,
    stop: CancellationToken,
    // Dropped last, and with it every connection.
    _runtime: Runtime,
}

impl Running {
    /// Serves a new store in memory.
    pub(crate) fn memory() -> Self {
        Self::with(Arc::new(MemoryStore::default()), Options::default())
    }

    pub(crate) fn with(store: Arc<dyn Store>, options: Options) -> Self {
        Self::at("127.0.0.1:0".parse().unwrap(), store, options)
    }

    pub(crate) fn at(address: SocketAddr, store: Arc<dyn Store>, options: Options) -> Self {
        let policy = Arc::new(Mutex::new(Policy::open(store)));
        let authority = Authority::new(&["us-east-1"]).unwrap();
        let callers = Arc::default();
        let admitter = Admitter { policy: Arc::clone(&policy), callers: Arc::clone(&callers) };
        let server = Server::new(Arc::new(admitter), &authority, options).unwrap();
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let stop = CancellationToken::new();
        let listener = runtime.block_on(TcpListener::bind(address)).unwrap();
        let address = listener.local_addr().unwrap();
        let (running, until) = (server.clone(), stop.clone());
        runtime.spawn(async move { running.run(listener, until).await });
        Self { address, server, authority, policy, callers, stop, _runtime: runtime }
    }

    /// Changes what later connections are told.
    pub(crate) fn policy(&self, change: impl FnOnce(&mut Policy)) {
        change(&mut self.policy.lock().unwrap());
    }

    /// Who has connected so far.
    pub(crate) fn callers(&self) -> Vec<Caller> {
        self.callers.lock().unwrap().clone()
    }

    pub(crate) fn store(&self) -> Arc<dyn Store> {
        Arc::clone(&self.policy.lock().unwrap().store)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// Short leases, for tests that wait for one to end.
pub(crate) fn short_lease(seconds: u64) -> Options {
    Options { lease: Duration::from_secs(seconds), ..Options::default() }
}
