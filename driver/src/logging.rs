//! The log of the process: where it goes, and what may never get into it.

use std::io::IsTerminal;

use tracing::level_filters::LevelFilter;
use tracing::subscriber::Interest;
use tracing::{Metadata, Subscriber};
use tracing_subscriber::layer::{Context, Filter, SubscriberExt};
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer};

use crate::cli::{LogFlags, LogFormat};
use crate::recent::{RecentEvents, Worrying};

/// What parts of libraries log at most, because above that they print secrets. The first prefix of an event's target counts.
const AT_MOST: [(&str, LevelFilter); 7] = [
    ("efs_csi_driver", LevelFilter::TRACE),
    ("efs_tunnel", LevelFilter::TRACE),
    ("efs_directories", LevelFilter::TRACE),
    ("csi_proto", LevelFilter::TRACE),
    // A profile's role with its external id, at INFO.
    ("aws_config::profile", LevelFilter::WARN),
    // A whole Kubernetes object that can't be read, be it a Secret, at WARN. Its caller gets the error and tells it.
    ("kube_client::client", LevelFilter::ERROR),
    // The AWS SDK's requests and answers with their bodies, what is signed, headers: all at TRACE.
    ("", LevelFilter::DEBUG),
];

/// Keeps what may hold secrets out of the log, whatever RUST_LOG asks for.
#[derive(Clone, Copy, Debug)]
struct Discreet;

impl Discreet {
    fn allows(metadata: &Metadata<'_>) -> bool {
        let most = AT_MOST.iter().find(|(prefix, _)| metadata.target().starts_with(prefix));
        most.is_some_and(|(_, most)| metadata.level() <= most)
    }
}

impl<S> Filter<S> for Discreet {
    fn enabled(&self, metadata: &Metadata<'_>, _: &Context<'_, S>) -> bool {
        Self::allows(metadata)
    }

    fn callsite_enabled(&self, metadata: &'static Metadata<'static>) -> Interest {
        if Self::allows(metadata) { Interest::always() } else { Interest::never() }
    }
}

/// A layer without what may hold secrets.
fn discreet<S: Subscriber + for<'a> LookupSpan<'a>>(layer: impl Layer<S>) -> impl Layer<S> {
    layer.with_filter(Discreet)
}

/// Starts logging to standard error; the answer keeps the last warnings and errors.
pub(crate) fn start(flags: &LogFlags) -> RecentEvents {
    let level = match flags.v {
        _ if flags.debug_logs => "debug",
        i32::MIN..=3 => "info",
        4..=5 => "debug",
        _ => "trace",
    };
    // The libraries below speak at info level of things that only matter to their own developers.
    let fallback = format!("warn,efs_csi_driver={level},efs_tunnel={level}");
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(fallback));
    let recent = RecentEvents::default();
    let logs = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    let logs = match flags.log_format {
        LogFormat::Json => logs.json().flatten_event(true).boxed(),
        LogFormat::Text => logs.with_ansi(std::io::stderr().is_terminal()).boxed(),
    };
    // Only the first call in a process sets the logger; a second one (tests) keeps it.
    let _ = tracing_subscriber::registry()
        .with(discreet(recent.clone().with_filter(Worrying)))
        .with(discreet(logs.with_filter(filter)))
        .try_init();
    recent
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libraries_are_kept_from_telling_secrets() {
        let recent = RecentEvents::default();
        let subscriber = tracing_subscriber::registry().with(discreet(recent.clone()));
        tracing::subscriber::with_default(subscriber, || {
            tracing::trace!(target: "efs_csi_driver::rpc", "ours");
            tracing::trace!(target: "aws_smithy_runtime::client::orchestrator", "a request with its body");
            tracing::debug!(target: "aws_smithy_runtime::client::orchestrator", "a phase");
            tracing::info!(target: "aws_config::profile::credentials", "a role with its external id");
            tracing::warn!(target: "kube_client::client", "an object that can't be read");
            tracing::error!(target: "kube_client::client", "an error");
        });
        let told: Vec<_> = recent.list().into_iter().map(|event| event.text).collect();
        assert_eq!(told, ["ours", "a phase", "an error"]);
    }
}
