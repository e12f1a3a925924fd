//! What every CSI call gets: a log line with its outcome, a request text without secrets, and its place in the metrics.

use std::fmt;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use futures::FutureExt;
use tokio::time::timeout;
use tonic::{Code, Response, Status};
use tower::{Layer, Service};
use tracing::{Instrument, Level};

use crate::limits::{self, Brief, Limited, cut};
use crate::metrics::Metrics;

/// What stands in the log in place of a secret.
pub const STRIPPED: &str = "***stripped***";

/// Calls that change nothing. Kubelet asks for the statistics of each volume every minute: at info level, 100 volumes would be 144,000
/// lines a day. Their failures are told like others'.
const QUESTIONS: [&str; 10] = [
    "ValidateVolumeCapabilities",
    "ListVolumes",
    "GetCapacity",
    "ControllerGetVolume",
    "NodeGetVolumeStats",
    "NodeGetInfo",
    "ControllerGetVolumeHealth",
    "ControllerListVolumeHealth",
    "NodeGetVolumeHealth",
    "NodeGetStorageHealth",
];

/// A call of the controller ends by then, however many questions it has asked of services that don't answer: one of them alone has 50 s, with
/// its retries. (The calls of a node wait for the kernel, too, and have limits for each thing that they wait for.)
const LONGEST_CALL: Duration = Duration::from_secs(55);

/// Runs one CSI call, unless a field of its request is too long: logs its request at debug level, and its outcome with the volume and the
/// time it took.
///
/// `subject` is the volume's id or name; `request` prints the request and must not hold secrets (see [`blanked`]).
///
/// # Errors
/// Those of the call, with a message that fits into an answer; `INTERNAL` if it panics.
pub async fn observe<T>(
    method: &'static str,
    subject: &str,
    request: impl fmt::Debug + Limited,
    call: impl Future<Output = Result<T, Status>>,
) -> Result<Response<T>, Status> {
    observe_in(method, tracing::info_span!("rpc", method, volume = cut(subject)), request, call).await
}

/// The same for a call about one target path, which every line of its log then names.
///
/// # Errors
/// As [`observe`].
pub async fn observe_target<T>(
    method: &'static str,
    subject: &str,
    target: &str,
    request: impl fmt::Debug + Limited,
    call: impl Future<Output = Result<T, Status>>,
) -> Result<Response<T>, Status> {
    let span = tracing::info_span!("rpc", method, volume = cut(subject), target = cut(target));
    observe_in(method, span, request, call).await
}

async fn observe_in<T>(
    method: &str,
    span: tracing::Span,
    request: impl fmt::Debug + Limited,
    call: impl Future<Output = Result<T, Status>>,
) -> Result<Response<T>, Status> {
    async {
        tracing::debug!(request = ?Brief(&request), "called");
        let started = Instant::now();
        let limit = if method.starts_with("Node") { Duration::MAX } else { LONGEST_CALL };
        let result = match request.check() {
            // Unwinding through the server would end the caller's stream without a word, and leave no line that names the call.
            Ok(()) => match timeout(limit, AssertUnwindSafe(call).catch_unwind()).await {
                Ok(ended) => ended.unwrap_or_else(|panic| Err(panicked(panic.as_ref()))),
                Err(_) => Err(too_long()),
            },
            Err(overlong) => Err(Status::invalid_argument(overlong.to_string())),
        };
        let result = result.map_err(|status| match limits::message(status.message().to_owned()) {
            message if message == status.message() => status,
            message => Status::new(status.code(), message),
        });
        let elapsed_ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
        match &result {
            Ok(_) if QUESTIONS.contains(&method) => tracing::debug!(elapsed_ms, "done"),
            Ok(_) => tracing::info!(elapsed_ms, "done"),
            Err(status) if is_fault_of_ours(status.code()) => {
                tracing::event!(Level::ERROR, elapsed_ms, code = ?status.code(), message = status.message(), "failed");
            }
            Err(status) => {
                tracing::event!(Level::WARN, elapsed_ms, code = ?status.code(), message = status.message(), "refused");
            }
        }
        result.map(Response::new)
    }
    .instrument(span)
    .await
}

fn panicked(panic: &(dyn std::any::Any + Send)) -> Status {
    let text = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
    Status::internal(format!("the driver panicked, which is a bug; please report it: {}", text.unwrap_or("no text")))
}

fn too_long() -> Status {
    let limit = LONGEST_CALL.as_secs();
    Status::deadline_exceeded(format!(
        "not through after {limit} s: AWS or the API server leaves questions unanswered; check the ways there (DNS, VPC endpoint, proxy, \
         security group); the call is repeated"
    ))
}

fn is_fault_of_ours(code: Code) -> bool {
    matches!(code, Code::Internal | Code::Unknown | Code::DataLoss | Code::Unavailable | Code::DeadlineExceeded)
}

/// A copy of a request's secrets with the values blanked, for logging. The keys stay, they help.
pub fn blanked(secrets: &std::collections::HashMap<String, String>) -> std::collections::HashMap<String, String> {
    secrets.keys().map(|key| (key.clone(), STRIPPED.to_owned())).collect()
}

/// A copy of a request's parameters or volume context, for logging: without what is secret by its name. Tokens belong under one key, but what
/// somebody has written by hand may stand under a similar one.
pub fn without_tokens(map: &std::collections::HashMap<String, String>) -> std::collections::HashMap<String, String> {
    let is_secret = |key: &str| {
        let key = key.to_ascii_lowercase();
        ["token", "secret", "password"].iter().any(|word| key.contains(word))
    };
    let shown = |(key, value): (&String, &String)| {
        (key.clone(), if is_secret(key) { STRIPPED.to_owned() } else { value.clone() })
    };
    map.iter().map(shown).collect()
}

/// Counts and times every gRPC call by method and code.
#[derive(Debug, Clone)]
pub struct RpcMetrics(Metrics);

impl RpcMetrics {
    /// Records into `metrics`.
    pub fn new(metrics: Metrics) -> Self {
        Self(metrics)
    }
}

impl<S> Layer<S> for RpcMetrics {
    type Service = Measured<S>;

    fn layer(&self, inner: S) -> Measured<S> {
        Measured { inner, metrics: self.0.clone() }
    }
}

/// A service whose calls are measured.
#[derive(Debug, Clone)]
pub struct Measured<S> {
    inner: S,
    metrics: Metrics,
}

impl<S, B, R> Service<http::Request<B>> for Measured<S>
where
    S: Service<http::Request<B>, Response = http::Response<R>>,
    S::Future: Send + 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<S::Response, S::Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: http::Request<B>) -> Self::Future {
        let path = request.uri().path();
        // Only the methods of CSI become series; anything else that a client may ask for does not.
        let method = path.strip_prefix("/csi.v1.").and_then(|path| path.split_once('/')).map(|(_, m)| m.to_owned());
        let metrics = self.metrics.clone();
        let started = Instant::now();
        let call = self.inner.call(request);
        Box::pin(async move {
            let response = call.await?;
            // A failed unary call has its status in the headers; a successful one in the trailers, which are still to come.
            let code = response.headers().get("grpc-status").map_or(Code::Ok, |code| Code::from_bytes(code.as_bytes()));
            match method {
                Some(method) if code != Code::Unimplemented => metrics.rpc(&method, code, started.elapsed()),
                _ => {}
            }
            Ok(response)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recent::{RecentEvents, Worrying};
    use std::sync::{Arc, Mutex};
    use tracing_subscriber::Layer as _;
    use tracing_subscriber::layer::SubscriberExt;

    #[test]
    fn what_is_secret_by_its_name_is_blanked_for_the_log_however_the_key_is_written() {
        let secret =
            ["csi.storage.k8s.io/serviceAccount.tokens", "CSI.storage.k8s.io/serviceaccount.TOKEN", "clientSecret"];
        let map = secret.iter().map(|key| ((*key).to_owned(), "marker".to_owned()));
        let map = map.chain([("path".to_owned(), "z".to_owned())]).collect();
        let shown = without_tokens(&map);
        assert_eq!((shown["path"].as_str(), shown.len()), ("z", 4));
        assert_eq!(shown.values().filter(|value| *value == STRIPPED).count(), 3, "{shown:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_of_the_controller_ends_and_one_of_the_node_has_limits_of_its_own() {
        let slow = || async {
            tokio::time::sleep(LONGEST_CALL * 2).await;
            Ok(())
        };
        let error = observe("GetCapacity", "", "the request", slow()).await.expect_err("too long");
        assert_eq!(error.code(), Code::DeadlineExceeded);
        assert!(error.message().starts_with("not through after 55 s"), "{error}");
        observe("NodeUnpublishVolume", "fs-1", "the request", slow()).await.expect("done");
    }

    #[tokio::test]
    async fn only_what_changes_something_is_told_at_info_level() {
        use tracing_subscriber::filter::LevelFilter;
        let lines = Arc::new(Mutex::new(Vec::new()));
        let writer = Arc::clone(&lines);
        let logs = tracing_subscriber::fmt::layer().with_ansi(false).with_writer(move || Sink(Arc::clone(&writer)));
        let _logging =
            tracing::subscriber::set_default(tracing_subscriber::registry().with(logs.with_filter(LevelFilter::INFO)));
        for method in QUESTIONS.into_iter().chain(["NodePublishVolume", "CreateVolume"]) {
            observe(method, "fs-1", "the request", async { Ok(()) }).await.expect("done");
        }
        observe("NodeGetVolumeStats", "fs-2", "the request", async { Err::<(), _>(Status::internal("broken")) })
            .await
            .expect_err("fails");
        let text = String::from_utf8(lines.lock().unwrap().clone()).unwrap();
        let told: Vec<_> = text.lines().map(|line| line.split('"').nth(1).unwrap_or_default()).collect();
        assert_eq!(told, ["NodePublishVolume", "CreateVolume", "NodeGetVolumeStats"], "{text}");
    }

    /// Keeps what is written.
    struct Sink(Arc<Mutex<Vec<u8>>>);

    impl std::io::Write for Sink {
        fn write(&mut self, text: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(text);
            Ok(text.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[tokio::test]
    async fn what_a_caller_sends_is_told_in_part() {
        let recent = RecentEvents::default();
        let lines = Arc::new(Mutex::new(Vec::new()));
        let writer = Arc::clone(&lines);
        let logs = tracing_subscriber::fmt::layer().with_ansi(false).with_writer(move || Sink(Arc::clone(&writer)));
        let _logging = tracing::subscriber::set_default(tracing_subscriber::registry().with(logs).with(recent.clone()));
        let long = "x".repeat(3_500_000);
        let call = async { Err::<(), _>(Status::not_found(format!("no volume {long:?}"))) };
        let status = observe_target("NodePublishVolume", &long, &long, "the request", call).await.expect_err("fails");
        assert_eq!(status.code(), Code::NotFound);
        assert!(
            status.message().ends_with("x… (3500012 bytes)") && status.message().len() < 5000,
            "{}",
            status.message()
        );
        let never = async { panic!("is not called") };
        let status = observe::<()>("CreateVolume", &long, long.as_str(), never).await.expect_err("too long");
        assert_eq!(status.code(), Code::InvalidArgument);
        assert_eq!(status.message(), "the request: has 3500000 bytes, the limit is 128");
        let logged = lines.lock().unwrap().len();
        assert!(logged < 30_000, "{logged} bytes in the log");
    }

    #[tokio::test]
    async fn a_panic_is_an_answer_and_a_line_of_the_log() {
        let recent = RecentEvents::default();
        let subscriber = tracing_subscriber::registry().with(recent.clone().with_filter(Worrying));
        let _logging = tracing::subscriber::set_default(subscriber);
        let call = async { panic!("URL was unset") };
        let status = observe::<()>("CreateVolume", "pvc-1", "the request", call).await.expect_err("fails");
        assert_eq!(status.code(), Code::Internal);
        assert!(status.message().ends_with("report it: URL was unset"), "{}", status.message());
        let told = recent.list().pop().expect("a line").text;
        assert!(told.contains("URL was unset") && told.contains(r#"volume="pvc-1""#), "{told}");
    }

    #[tokio::test]
    async fn every_line_of_a_call_names_volume_and_target() {
        let recent = RecentEvents::default();
        let subscriber = tracing_subscriber::registry().with(recent.clone().with_filter(Worrying));
        let _logging = tracing::subscriber::set_default(subscriber);
        let call = async {
            tracing::warn!("the server is slow");
            Err::<(), _>(Status::unavailable("no answer"))
        };
        observe_target("NodePublishVolume", "fs-1", "/pods/a", "the request", call).await.expect_err("fails");
        let lines: Vec<_> = recent.list().into_iter().map(|event| event.text).collect();
        assert_eq!(lines.len(), 2);
        for (line, start) in lines.iter().zip(["the server is slow", "failed elapsed_ms="]) {
            assert!(line.starts_with(start), "{line}");
            assert!(line.ends_with(r#" method="NodePublishVolume" volume="fs-1" target="/pods/a""#), "{line}");
        }
        assert!(lines[1].contains(r#"message="no answer""#), "{}", lines[1]);
    }
}
