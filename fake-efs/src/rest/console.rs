//! The console at `/`: what exists, who is connected, what was asked and what goes wrong, live. A page comes from the server complete;
//! its one script fetches the same page again whenever something happens, and puts the new parts in place. What a page shows is in its
//! address (see [`view`]), so that everything can be linked.

mod buckets;
mod files;
mod graphs;
mod html;
mod pages;
mod presets;
mod view;

use std::convert::Infallible;
use std::sync::LazyLock;
use std::time::Duration;

use axum::response::sse::{Event, Sse};
use base64::Engine;
use futures::{Stream, StreamExt};
use sha2::{Digest, Sha256};

pub(crate) use self::graphs::{Activity, watch};
use self::html::{escape, link};
use self::view::View;
use super::Front;
use super::reply::Reply;

const STYLE: &str = include_str!("console/style.css");
const SCRIPT: &str = include_str!("console/script.js");
/// Connections and access points change without a call; the page looks for itself this often.
const HEARTBEAT: Duration = Duration::from_secs(2);

/// The page shows what callers sent, and file names; nothing but its own style and script may run.
static POLICY: LazyLock<String> = LazyLock::new(|| {
    let hash = |text: &str| base64::engine::general_purpose::STANDARD.encode(Sha256::digest(text.as_bytes()));
    format!(
        "default-src 'none'; style-src 'sha256-{}'; script-src 'sha256-{}'; connect-src 'self'; form-action 'self'; \
         base-uri 'none'; frame-ancestors 'none'",
        hash(STYLE),
        hash(SCRIPT)
    )
});

impl Front {
    /// The page that an address's query asks for.
    pub(super) fn console(&self, query: &str) -> Reply {
        let (status, view, parts) = match View::parse(query) {
            Ok(view) => (200, view.clone(), self.console_parts(&view)),
            Err(error) => {
                let text = format!(
                    "<section id=\"problem\"><p>{}. {}</p></section>",
                    escape(&error.to_string()),
                    link("All", "/")
                );
                (400, View::default(), text)
            }
        };
        let home = self.world.home();
        let page = format!(
            "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><title>{}fake-efs</title>\
             <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"><style>{STYLE}</style></head><body>\
             <a class=\"skip\" href=\"#main\">to the contents</a>\
             <header><h1>{}</h1><p>account {} · region {} · <span id=\"clock\">{}</span></p>\
             <label><input type=\"checkbox\" id=\"live\" checked> live</label></header>\
             <p id=\"status\" role=\"status\"></p><main id=\"main\" tabindex=\"-1\">{parts}</main><script>{SCRIPT}</script></body></html>",
            escape(&view.title()),
            link("fake-efs", "/"),
            escape(&home.account),
            escape(&home.region),
            self.world.now().strftime("%Y-%m-%d %H:%M:%S UTC"),
        );
        let mut reply = Reply::text(status, "text/html; charset=utf-8", page);
        let headers = [
            ("cache-control", "no-store"),
            ("content-security-policy", POLICY.as_str()),
            ("x-content-type-options", "nosniff"),
        ];
        reply.headers.extend(headers.map(|(name, value)| (name, value.to_owned())));
        reply
    }

    /// A stream that says when there is something new: server-sent events, one at each call and one at each heartbeat.
    pub(super) fn events(&self) -> Sse<impl Stream<Item = Result<Event, Infallible>> + use<>> {
        let newest = self.journal.watch();
        let stop = self.stop.clone();
        let ticks = futures::stream::unfold((newest, false), move |(mut newest, started)| {
            let stop = stop.clone();
            async move {
                if started {
                    tokio::select! {
                        () = stop.cancelled() => return None,
                        changed = newest.changed() => changed.ok()?,
                        () = tokio::time::sleep(HEARTBEAT) => {}
                    }
                }
                let number = *newest.borrow_and_update();
                Some((number, (newest, true)))
            }
        });
        Sse::new(ticks.map(|number| Ok(Event::default().data(number.to_string()))))
    }
}
