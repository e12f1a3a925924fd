//! The last warnings and errors of this process, for `efs-csi-driver debug`: what the log says, without looking for the log.

use std::collections::VecDeque;
use std::fmt::{self, Write as _};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use serde::{Deserialize, Serialize};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id};
use tracing::{Event, Level, Metadata, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::{Context, Filter};
use tracing_subscriber::registry::LookupSpan;

/// Events that are kept.
const KEPT: usize = 64;
/// Longest text of an event, in bytes.
const LONGEST: usize = 1024;

/// One warning or error.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecentEvent {
    /// Its age in seconds.
    pub seconds_ago: u64,
    /// `WARN` or `ERROR`.
    pub level: String,
    /// The message with its fields.
    pub text: String,
}

/// The last events, oldest first. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct RecentEvents(Arc<Mutex<VecDeque<(Instant, Level, String)>>>);

impl RecentEvents {
    /// What has been kept.
    pub fn list(&self) -> Vec<RecentEvent> {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.iter()
            .map(|(at, level, text)| RecentEvent {
                seconds_ago: at.elapsed().as_secs(),
                level: level.to_string(),
                text: text.clone(),
            })
            .collect()
    }

    fn keep(&self, level: Level, mut text: String) {
        if text.len() > LONGEST {
            text.truncate(text.floor_char_boundary(LONGEST));
            text.push('…');
        }
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() == KEPT {
            kept.pop_front();
        }
        kept.push_back((Instant::now(), level, text));
    }
}

/// What is interesting of the log: warnings, errors, and the calls of ours in which they happen.
#[derive(Clone, Copy, Debug)]
pub struct Worrying;

impl<S> Filter<S> for Worrying {
    fn enabled(&self, metadata: &Metadata<'_>, _: &Context<'_, S>) -> bool {
        if metadata.is_span() {
            return *metadata.level() <= Level::INFO && metadata.target().starts_with("efs_csi_driver");
        }
        *metadata.level() <= Level::WARN
    }
}

/// The fields of a span as text.
struct SpanText(String);

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for RecentEvents {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        if let Some(span) = context.span(id) {
            let mut text = Text::default();
            attributes.record(&mut text);
            span.extensions_mut().insert(SpanText(text.fields));
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let mut text = Text::default();
        event.record(&mut text);
        for span in context.event_scope(event).into_iter().flatten() {
            if let Some(SpanText(fields)) = span.extensions().get::<SpanText>() {
                text.fields.push_str(fields);
            }
        }
        self.keep(*event.metadata().level(), format!("{}{}", text.message, text.fields));
    }
}

/// Turns fields into ` key=value` text, the message apart.
#[derive(Default)]
struct Text {
    message: String,
    fields: String,
}

impl Visit for Text {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        // Writing to a String can't fail.
        let _ = match field.name() {
            "message" if self.message.is_empty() => write!(self.message, "{value:?}"),
            name => write!(self.fields, " {name}={value:?}"),
        };
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        match field.name() {
            "message" if self.message.is_empty() => self.message.push_str(value),
            _ if value.is_empty() => {}
            name => {
                let _ = write!(self.fields, " {name}={value:?}");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tracing_subscriber::layer::SubscriberExt;

    #[test]
    fn warnings_and_errors_are_kept_with_their_call_and_nothing_else_is() {
        let recent = RecentEvents::default();
        let subscriber = tracing_subscriber::registry().with(recent.clone().with_filter(Worrying));
        tracing::subscriber::with_default(subscriber, || {
            tracing::info!("all is well");
            tracing::warn!(port = 20049, "no answer");
            let call = tracing::info_span!("rpc", method = "NodePublishVolume", volume = "fs-1");
            call.in_scope(|| tracing::error!(code = "INTERNAL", "failed"));
            for number in 0..KEPT - 2 {
                tracing::warn!(number, "again");
            }
        });
        let list = recent.list();
        assert_eq!(list.len(), KEPT);
        assert_eq!((list[0].level.as_str(), list[0].text.as_str()), ("WARN", "no answer port=20049"));
        let want = r#"failed code="INTERNAL" method="NodePublishVolume" volume="fs-1""#;
        assert_eq!((list[1].level.as_str(), list[1].text.as_str()), ("ERROR", want));
    }

    #[test]
    fn neither_number_nor_length_grows_without_end() {
        let recent = RecentEvents::default();
        for number in 0..3 * KEPT {
            recent.keep(Level::WARN, format!("{number}{}", "ä".repeat(LONGEST)));
        }
        let list = recent.list();
        assert_eq!(list.len(), KEPT);
        assert!(list[0].text.starts_with("128ä") && list[0].text.len() <= LONGEST + '…'.len_utf8());
    }
}
