//! The console at `/`: what exists, who is connected, what was asked and what goes wrong, live. The page comes from the server
//! complete; its one script fetches the same page again whenever something happens, and puts the new parts in place.

use std::convert::Infallible;
use std::fmt::Write;
use std::time::Duration;

use axum::response::sse::{Event, Sse};
use futures::{Stream, StreamExt};

use super::Front;
use super::reply::Reply;
use crate::faults::Effect;
use crate::journal::Query;

const STYLE: &str = include_str!("console/style.css");
const SCRIPT: &str = include_str!("console/script.js");
/// Calls that are shown.
const CALLS: usize = 50;
/// Connections and access points change without a call; the page looks for itself this often.
const HEARTBEAT: Duration = Duration::from_secs(2);

/// Text that can stand in HTML.
fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c => out.push(c),
        }
    }
    out
}

/// A table with a heading; cells are escaped here.
fn table(id: &str, title: &str, columns: &[&str], rows: impl Iterator<Item = Vec<String>>) -> String {
    let rows: Vec<_> = rows.collect();
    let mut out = format!("<section id=\"{id}\"><h2>{} <small>{}</small></h2>", escape(title), rows.len());
    if rows.is_empty() {
        out.push_str("<p class=\"none\">none</p></section>");
        return out;
    }
    out.push_str("<table><thead><tr>");
    for column in columns {
        let _ = write!(out, "<th>{}</th>", escape(column));
    }
    out.push_str("</tr></thead><tbody>");
    for row in rows {
        out.push_str("<tr>");
        for cell in row {
            let _ = write!(out, "<td>{}</td>", escape(&cell));
        }
        out.push_str("</tr>");
    }
    out.push_str("</tbody></table></section>");
    out
}

/// A value as its JSON string.
fn word(value: impl serde::Serialize) -> String {
    serde_json::to_value(value).ok().and_then(|value| value.as_str().map(str::to_owned)).unwrap_or_default()
}

impl Front {
    /// The whole page.
    pub(super) fn console(&self) -> Reply {
        let home = self.world.home();
        let page = format!(
            "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><title>fake-efs</title>\
             <meta name=\"viewport\" content=\"width=device-width\"><style>{STYLE}</style></head><body>\
             <header><h1>fake-efs</h1><p>account {} · region {} · <span id=\"clock\">{}</span></p></header>\
             <main id=\"main\">{}</main><script>{SCRIPT}</script></body></html>",
            escape(&home.account),
            escape(&home.region),
            self.world.now().strftime("%Y-%m-%d %H:%M:%S UTC"),
            self.console_parts(),
        );
        let mut reply = Reply::text(200, "text/html; charset=utf-8", page);
        reply.headers.push(("cache-control", "no-store".to_owned()));
        // The page shows what callers sent; nothing but its own style and script may run.
        let policy = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'";
        reply.headers.push(("content-security-policy", policy.to_owned()));
        reply
    }

    fn console_parts(&self) -> String {
        let all = self.world.overview();
        let systems = all.file_systems.iter().map(|shown| {
            let fs = &shown.row;
            let name = fs.tags.iter().find(|tag| tag.key == "Name").map_or_else(String::new, |tag| tag.value.clone());
            vec![
                fs.id.to_string(),
                name,
                word(fs.state),
                format!("{} {}", fs.scope.account, fs.scope.region),
                shown.bytes.to_string(),
            ]
        });
        let systems =
            table("file-systems", "File systems", &["id", "name", "state", "account, region", "bytes"], systems);
        let targets = all.mount_targets.iter().map(|t| {
            vec![
                t.id.to_string(),
                t.file_system.to_string(),
                word(t.state),
                t.zone.name.clone(),
                t.address.map_or_else(String::new, |address| address.to_string()),
            ]
        });
        let targets =
            table("mount-targets", "Mount targets", &["id", "file system", "state", "zone", "address"], targets);
        let points = all.access_points.iter().map(|p| {
            vec![
                p.id.to_string(),
                p.file_system.to_string(),
                word(p.state),
                p.root_directory.path.clone(),
                p.posix_user.as_ref().map_or_else(String::new, |user| format!("{}:{}", user.uid, user.gid)),
                p.client_token.clone(),
            ]
        });
        let columns = ["id", "file system", "state", "root", "user", "client token"];
        let points = table("access-points", "Access points", &columns, points);
        let connections = self.files.connections().list();
        let connections = connections.into_iter().map(|c| {
            vec![
                c.remote,
                c.file_system_id.unwrap_or_default(),
                c.access_point_id.unwrap_or_default(),
                c.principal.or(c.refusal).unwrap_or_default(),
                if c.tls { "TLS".to_owned() } else { "plain".to_owned() },
                c.partition.map_or_else(String::new, |partition| partition.to_string()),
                c.binding.map_or_else(String::new, |binding| format!("{} · {}", binding.uuid, binding.incarnation)),
                c.calls.to_string(),
                format!("{} / {}", c.bytes_in, c.bytes_out),
            ]
        });
        let columns = [
            "client",
            "file system",
            "access point",
            "principal",
            "",
            "partition",
            "bound by",
            "calls",
            "bytes in / out",
        ];
        let connections = table("connections", "Connected clients", &columns, connections);
        let mut calls = self.journal.query(&Query { limit: Some(CALLS), ..Query::default() });
        calls.reverse();
        let calls = calls.into_iter().map(|call| {
            vec![
                call.number.to_string(),
                call.time.strftime("%H:%M:%S").to_string(),
                call.service.to_owned(),
                call.operation,
                call.error.unwrap_or_else(|| call.status.to_string()),
                call.fault.map_or_else(String::new, |rule| format!("rule {rule}")),
                call.principal,
                call.arguments.to_string().chars().take(160).collect(),
            ]
        });
        let columns = ["#", "time", "service", "operation", "outcome", "fault", "principal", "arguments"];
        let calls = table("calls", "Calls", &columns, calls);
        format!("{}{systems}{targets}{points}{connections}{calls}", self.console_faults())
    }

    /// The fault rules with their switches, and a form for a new one.
    fn console_faults(&self) -> String {
        let mut out = String::from("<section id=\"faults\"><h2>Faults</h2><ul>");
        for rule in self.faults.list() {
            let what = rule.operation.as_deref().unwrap_or("every call");
            let effect = serde_json::to_string(&rule.effect).unwrap_or_default();
            let _ = write!(
                out,
                "<li><label><input type=\"checkbox\" data-rule=\"{}\"{}> {}: <code>{}</code></label> struck {} of {} \
                 <button data-remove=\"{}\">remove</button></li>",
                rule.id,
                if rule.enabled { " checked" } else { "" },
                escape(what),
                escape(&effect),
                rule.struck,
                rule.seen,
                rule.id,
            );
        }
        let kinds = [
            ("throttle", Effect::Throttle),
            ("internal error", Effect::error(crate::world::errors::ErrorName::InternalServerError)),
            ("delay 2 s", Effect::Delay { milliseconds: 2000 }),
            ("drop before the work", Effect::DropBefore),
            ("drop after the work", Effect::DropAfter),
            ("truncate the answer", Effect::Truncate),
        ];
        out.push_str("</ul><form id=\"new-fault\"><input name=\"operation\" placeholder=\"operation (all)\"> <select name=\"effect\">");
        for (title, effect) in kinds {
            let value = serde_json::to_string(&effect).unwrap_or_default();
            let _ = write!(out, "<option value=\"{}\">{}</option>", escape(&value), escape(title));
        }
        out.push_str("</select> <button>add</button></form></section>");
        out
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_callers_sent_can_not_become_markup() {
        let row = vec!["<script>alert('x')</script>".to_owned()];
        let html = table("t", "T", &["c"], std::iter::once(row));
        assert!(html.contains("&lt;script&gt;alert(&#39;x&#39;)"), "{html}");
        assert!(!html.contains("<script"));
    }
}
