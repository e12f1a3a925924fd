//! One question of a probe, as a kubelet asks it.

use std::time::Duration;

use http_body_util::Empty;
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use k8s_openapi::api::core::v1::Probe;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::runtime::Runtime;

/// The settings of a probe with the API's defaults.
#[derive(Clone, Copy, Debug)]
pub struct Timing {
    /// Pause between the container's start and the first question.
    pub initial_delay: Duration,
    /// Pause between two questions.
    pub period: Duration,
    /// Limit of one question.
    pub timeout: Duration,
    /// Failures in a row that count.
    pub failure_threshold: u32,
    /// Successes in a row that count.
    pub success_threshold: u32,
}

impl Timing {
    /// The settings of `probe`.
    pub fn of(probe: &Probe) -> Self {
        let seconds = |given: Option<i32>, default: u64| {
            Duration::from_secs(given.and_then(|it| u64::try_from(it).ok()).filter(|it| *it > 0).unwrap_or(default))
        };
        let count = |given: Option<i32>, default: u32| {
            given.and_then(|it| u32::try_from(it).ok()).filter(|it| *it > 0).unwrap_or(default)
        };
        Self {
            initial_delay: seconds(probe.initial_delay_seconds, 0),
            period: seconds(probe.period_seconds, 10),
            timeout: seconds(probe.timeout_seconds, 1),
            failure_threshold: count(probe.failure_threshold, 3),
            success_threshold: count(probe.success_threshold, 1),
        }
    }
}

/// Asks `probe` of the container `id` once; the reason if it fails. Only what charts use here is understood: HTTP and commands.
pub async fn ask(probe: &Probe, runtime: &Runtime, id: &str) -> Result<(), String> {
    let timeout = Timing::of(probe).timeout;
    let asked = async {
        if let Some(http) = &probe.http_get {
            let IntOrString::Int(port) = http.port else { return Err("a named port on the host's network".to_owned()) };
            get(&format!("http://127.0.0.1:{port}{}", http.path.as_deref().unwrap_or("/"))).await
        } else if let Some(exec) = &probe.exec {
            runtime.exec(id, exec.command.as_deref().unwrap_or_default()).await
        } else {
            Err("a kind of probe that is not known here".to_owned())
        }
    };
    tokio::time::timeout(timeout, asked).await.unwrap_or_else(|_| Err(format!("no answer within {timeout:?}")))
}

async fn get(url: &str) -> Result<(), String> {
    // A connection for each question, as a kubelet makes it.
    let client = Client::builder(TokioExecutor::new()).pool_max_idle_per_host(0).build_http::<Empty<bytes::Bytes>>();
    let answer = client.get(url.parse().map_err(|error| format!("{url}: {error}"))?).await;
    let status = answer.map_err(|error| format!("{url}: {error}"))?.status();
    // A kubelet takes redirections for success too.
    if status.is_success() || status.is_redirection() { Ok(()) } else { Err(format!("{url}: {status}")) }
}
