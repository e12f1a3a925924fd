//! Metrics: the Go driver's names for AWS calls, and ours for CSI calls.
//!
//! All metrics live in a [`Registry`] that is passed around by value; there is no global.

use std::fmt;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use csi_proto::code_name;
use futures::future::BoxFuture;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

/// The default buckets of the Prometheus client libraries, in seconds; the Go driver uses them too.
const BUCKETS: [f64; 11] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

/// The AWS operations that the driver calls, so that their series exist from the start.
const OPERATIONS: [&str; 6] = [
    "CreateAccessPoint",
    "DeleteAccessPoint",
    "DescribeAccessPoints",
    "DescribeFileSystems",
    "DescribeMountTargets",
    "TagResource",
];

#[derive(Debug, Clone, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ApiLabels {
    request: String,
    service: &'static str,
}

#[derive(Debug, Clone, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ApiErrorLabels {
    request: String,
    service: &'static str,
    code: String,
}

#[derive(Debug, Clone, Hash, PartialEq, Eq, EncodeLabelSet)]
struct RpcLabels {
    method: String,
    code: &'static str,
}

#[derive(Debug, Clone, Hash, PartialEq, Eq, EncodeLabelSet)]
struct FileSystemLabels {
    file_system: String,
}

#[derive(Debug, Clone, Hash, PartialEq, Eq, EncodeLabelSet)]
struct MountLabels {
    operation: &'static str,
    outcome: &'static str,
}

/// What is in the trash of a file system.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct TrashCount {
    /// Directories that wait for being emptied.
    pub(crate) waiting: usize,
    /// Directories that are never emptied by themselves.
    pub(crate) kept: usize,
    /// For how long the oldest entry should have been gone, seconds.
    pub(crate) overdue_seconds: u64,
}

#[derive(Debug, Clone, Hash, PartialEq, Eq, EncodeLabelSet)]
struct TrashLabels {
    file_system: String,
    state: &'static str,
}

/// Gets what a page tells and another process knows.
type Refresh = Box<dyn Fn() -> BoxFuture<'static, ()> + Send + Sync>;

/// [`Refresh`], once there is one.
#[derive(Default)]
struct Refresher(OnceLock<Refresh>);

impl fmt::Debug for Refresher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Refresher").finish_non_exhaustive()
    }
}

/// The driver's metrics. Clones share their values.
#[derive(Debug, Clone)]
pub struct Metrics {
    registry: Arc<Mutex<Registry>>,
    refresher: Arc<Refresher>,
    api_duration: Family<ApiLabels, Histogram, fn() -> Histogram>,
    api_errors: Family<ApiErrorLabels, Counter>,
    api_throttles: Family<ApiLabels, Counter>,
    rpc_duration: Family<RpcLabels, Histogram, fn() -> Histogram>,
    gids_used: Family<FileSystemLabels, Gauge>,
    mount_duration: Family<MountLabels, Histogram, fn() -> Histogram>,
    trash_entries: Family<TrashLabels, Gauge>,
    trash_overdue: Family<FileSystemLabels, Gauge>,
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// Calls `refresh` before each page. Only the first call counts.
    pub fn refresh_with(&self, refresh: impl Fn() -> BoxFuture<'static, ()> + Send + Sync + 'static) {
        if self.refresher.0.set(Box::new(refresh)).is_err() {
            tracing::debug!("the metrics have something that refreshes them already");
        }
    }

    /// Gets what a page tells and another process knows. It has a deadline of its own.
    pub async fn refresh(&self) {
        if let Some(refresh) = self.refresher.0.get() {
            refresh().await;
        }
    }

    /// Fresh metrics in a registry of their own.
    pub fn new() -> Self {
        let histogram: fn() -> Histogram = || Histogram::new(BUCKETS);
        let metrics = Self {
            registry: Arc::default(),
            refresher: Arc::default(),
            api_duration: Family::new_with_constructor(histogram),
            api_errors: Family::default(),
            api_throttles: Family::default(),
            rpc_duration: Family::new_with_constructor(histogram),
            gids_used: Family::default(),
            mount_duration: Family::new_with_constructor(histogram),
            trash_entries: Family::default(),
            trash_overdue: Family::default(),
        };
        for request in OPERATIONS {
            drop(metrics.api_duration.get_or_create(&ApiLabels { request: request.to_owned(), service: "efs" }));
        }
        metrics.register(|registry| {
            registry.register(
                "aws_efs_csi_api_request_duration_seconds",
                "Latency of each attempt of an AWS API call",
                metrics.api_duration.clone(),
            );
            registry.register(
                "aws_efs_csi_api_request_errors",
                "Attempts of AWS API calls that failed, throttling aside",
                metrics.api_errors.clone(),
            );
            registry.register(
                "aws_efs_csi_api_request_throttles",
                "Attempts of AWS API calls that were throttled",
                metrics.api_throttles.clone(),
            );
            registry.register(
                "efs_csi_rpc_duration_seconds",
                "Time that CSI calls took, by method and gRPC code",
                metrics.rpc_duration.clone(),
            );
            registry.register(
                "efs_csi_ids_used",
                "Group and user ids in use by access points of a file system, as far as the pool knows",
                metrics.gids_used.clone(),
            );
            registry.register(
                "efs_csi_mount_duration_seconds",
                "Time that the kernel took to mount, to unmount and to tell how full a file system is, by outcome",
                metrics.mount_duration.clone(),
            );
            registry.register(
                "efs_csi_trash_entries",
                "Deleted directories in the trash of a file system: waiting to be emptied, or kept because they were moved by mistake",
                metrics.trash_entries.clone(),
            );
            registry.register(
                "efs_csi_trash_overdue_seconds",
                "For how long the oldest entry of a file system's trash should have been emptied, 0 when none is late",
                metrics.trash_overdue.clone(),
            );
        });
        metrics
    }

    /// Adds further metrics, such as those of the node service.
    pub fn register(&self, add: impl FnOnce(&mut Registry)) {
        // A panic elsewhere while metrics were added is no reason to go without metrics.
        add(&mut self.registry.lock().unwrap_or_else(std::sync::PoisonError::into_inner));
    }

    /// The page that Prometheus reads (OpenMetrics text 1.0).
    ///
    /// # Errors
    /// When a value can't be printed.
    pub fn page(&self) -> Result<String, std::fmt::Error> {
        let mut page = String::new();
        let registry = self.registry.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        encode(&mut page, &registry)?;
        Ok(page)
    }

    /// Records one attempt of an AWS call to `efs` or `s3files`; `code` is AWS's error name.
    pub(crate) fn api_attempt(
        &self,
        service: &'static str,
        request: &str,
        took: Duration,
        outcome: Result<(), (&str, bool)>,
    ) {
        let labels = ApiLabels { request: request.to_owned(), service };
        self.api_duration.get_or_create(&labels).observe(took.as_secs_f64());
        match outcome {
            Ok(()) => {}
            Err((_, true)) => {
                self.api_throttles.get_or_create(&labels).inc();
            }
            Err((code, false)) => {
                let labels = ApiErrorLabels { request: request.to_owned(), service, code: code.to_owned() };
                self.api_errors.get_or_create(&labels).inc();
            }
        }
    }

    /// Records one CSI call.
    pub fn rpc(&self, method: &str, code: tonic::Code, took: Duration) {
        let labels = RpcLabels { method: method.to_owned(), code: code_name(code) };
        self.rpc_duration.get_or_create(&labels).observe(took.as_secs_f64());
    }

    /// Records one job of a mount worker; `operation` and `outcome` are of a few fixed words.
    pub fn mount_job(&self, operation: &'static str, outcome: &'static str, took: Duration) {
        self.mount_duration.get_or_create(&MountLabels { operation, outcome }).observe(took.as_secs_f64());
    }

    /// Records how many ids of a file system are in use.
    pub(crate) fn ids_used(&self, file_system: &str, count: usize) {
        let labels = FileSystemLabels { file_system: file_system.to_owned() };
        self.gids_used.get_or_create(&labels).set(i64::try_from(count).unwrap_or(i64::MAX));
    }

    /// Records what is in the trash of a file system.
    pub(crate) fn trash(&self, file_system: &str, count: TrashCount) {
        let set = |state, value: usize| {
            let labels = TrashLabels { file_system: file_system.to_owned(), state };
            self.trash_entries.get_or_create(&labels).set(i64::try_from(value).unwrap_or(i64::MAX));
        };
        set("waiting", count.waiting);
        set("kept", count.kept);
        let labels = FileSystemLabels { file_system: file_system.to_owned() };
        self.trash_overdue.get_or_create(&labels).set(i64::try_from(count.overdue_seconds).unwrap_or(i64::MAX));
    }
}
