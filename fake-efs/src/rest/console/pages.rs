//! The parts of a page: a filter, and tables of what it lets through, each id with a link to all about it.

use std::fmt::Write;

use serde_json::Value;

use super::Front;
use super::html::{Cell, Table, bytes, escape, link, word};
use super::view::View;
use crate::journal::{Entry, Query};
use crate::nfs::{ConnectionView, RecentCall, Status};
use crate::world::ids::{AccessPointId, FileSystemId};
use crate::world::model::Tag;
use crate::world::overview::Overview;

/// Rows of a page of calls.
const CALLS: usize = 50;
/// Rows of a page of anything else.
pub(super) const ROWS: usize = 100;
/// Longest arguments that are shown.
const ARGUMENTS: usize = 160;
/// Most entries of the journal that are looked at for those that failed.
const SEARCHED: usize = 2000;
/// Who calls.
const SERVICES: [&str; 7] = ["efs", "s3files", "s3", "sts", "imds", "pod-identity", "nfs"];

/// A page of rows, and the addresses of those before and behind it.
pub(super) fn paged<T>(
    view: &View,
    table: &'static str,
    size: usize,
    mut rows: Vec<T>,
) -> (Vec<T>, usize, Vec<(&'static str, String)>) {
    let (total, from) = (rows.len(), view.from(table));
    let rows: Vec<T> = if from < total { rows.drain(from..(from + size).min(total)).collect() } else { Vec::new() };
    (rows, total, pages(view, table, size, total))
}

fn pages(view: &View, table: &'static str, size: usize, total: usize) -> Vec<(&'static str, String)> {
    let from = view.from(table);
    let mut more = Vec::new();
    if from > 0 {
        more.push(("page before", view.page(table, from.saturating_sub(size))));
    }
    if from + size < total {
        more.push(("next page", view.page(table, from + size)));
    }
    more
}

fn name_of(tags: &[Tag]) -> String {
    tags.iter().find(|tag| tag.key == "Name").map_or_else(String::new, |tag| tag.value.clone())
}

pub(super) fn file_system(id: &FileSystemId) -> Cell {
    Cell::Link(id.to_string(), View::of_file_system(id).address())
}

fn access_point(id: &AccessPointId) -> Cell {
    Cell::Link(id.to_string(), View::of_access_point(id).address())
}

/// The file system and access point that something names, each with a link if it is an id.
fn subject(file_system_id: Option<&str>, access_point_id: Option<&str>) -> Cell {
    let mut cells = Vec::new();
    if let Some(text) = file_system_id {
        cells.push(FileSystemId::parse(text).map_or_else(|| text.into(), |id| file_system(&id)));
    }
    if let Some(text) = access_point_id {
        cells.push(AccessPointId::parse(text).map_or_else(|| text.into(), |id| access_point(&id)));
    }
    Cell::Several(cells)
}

impl View {
    /// What the page is about, for the window's title.
    pub(super) fn title(&self) -> String {
        let subject = match (&self.access_point, &self.file_system, self.connection) {
            (Some(id), _, _) => id.to_string(),
            (_, Some(id), _) => id.to_string(),
            (_, _, Some(number)) => format!("connection {number}"),
            _ => return String::new(),
        };
        format!("{subject} · ")
    }

    fn lets_through(&self, connection: &ConnectionView) -> bool {
        let is =
            |wanted: Option<&str>, found: &Option<String>| wanted.is_none_or(|wanted| found.as_deref() == Some(wanted));
        self.connection.is_none_or(|number| connection.number == number)
            && is(self.file_system.as_ref().map(FileSystemId::as_str), &connection.file_system_id)
            && is(self.access_point.as_ref().map(AccessPointId::as_str), &connection.access_point_id)
    }
}

impl Front {
    /// Everything below the heading.
    pub(super) fn console_parts(&self, view: &View) -> String {
        let all = self.world.overview();
        let mut connections = self.files.connections().list();
        connections.retain(|connection| view.lets_through(connection));
        let mut out = self.filter(view, &all);
        out.push_str(&self.console_faults());
        out.push_str(&self.console_files(view));
        out.push_str(&self.console_graphs(view, &connections));
        if view.connection.is_none() {
            out.push_str(&self.file_systems(view, &all));
            if view.access_point.is_none() {
                out.push_str(&self.buckets(view, &all));
                out.push_str(&mount_targets(view, &all));
            }
            out.push_str(&self.access_points(view));
        }
        let remote = view.connection.and_then(|_| connections.first().map(|connection| connection.remote.clone()));
        out.push_str(&connected(view, connections));
        if let Some(number) = view.connection {
            out.push_str(&requests(self.files.connections().recent(number)));
        }
        out.push_str(&self.calls(view, remote));
        out
    }

    /// A form that asks for another view.
    fn filter(&self, view: &View, all: &Overview) -> String {
        let mut out = String::from(
            "<form id=\"filter\" role=\"search\" aria-label=\"filter\" action=\"/\"><label>file system \
             <select name=\"file-system\"><option value=\"\">all</option>",
        );
        let mut option = |value: &str, title: &str, chosen: bool| {
            let chosen = if chosen { " selected" } else { "" };
            let _ = write!(out, "<option value=\"{}\"{chosen}>{}</option>", escape(value), escape(title));
        };
        for shown in all.file_systems.iter().take(ROWS) {
            let (id, name) = (shown.row.id.as_str(), name_of(&shown.row.tags));
            let title = if name.is_empty() { id.to_owned() } else { format!("{id} ({name})") };
            option(id, &title, view.file_system.as_ref() == Some(&shown.row.id));
        }
        out.push_str("</select></label> <label>service <select name=\"service\"><option value=\"\">all</option>");
        for service in SERVICES {
            let chosen = if view.service == service { " selected" } else { "" };
            let _ = write!(out, "<option{chosen}>{service}</option>");
        }
        let _ = write!(
            out,
            "</select></label> <label>outcome <select name=\"outcome\"><option value=\"\">all</option>\
             <option value=\"errors\"{}>errors</option></select></label> <label>text in a call \
             <input name=\"text\" value=\"{}\" autocomplete=\"off\"></label> <button>filter</button>",
            if view.errors { " selected" } else { "" },
            escape(&view.text),
        );
        if *view != View::default() {
            let _ = write!(out, " {}", link("all", "/"));
        }
        if let Some(id) = view.file_system.as_ref().filter(|_| view.directory.is_none()) {
            let _ = write!(out, " {}", link("files", &View::of_directory(id, &[]).address()));
        }
        out + "</form>"
    }

    fn file_systems(&self, view: &View, all: &Overview) -> String {
        // An access point's page shows the file system that it is of.
        let owner =
            view.access_point.as_ref().and_then(|id| self.world.access_point(id)).map(|point| point.file_system);
        let wanted = view.file_system.as_ref().or(owner.as_ref());
        let rows = all.file_systems.iter().filter(|shown| wanted.is_none_or(|id| shown.row.id == *id)).collect();
        let (rows, total, more) = paged(view, "file-systems", ROWS, rows);
        let rows = rows.into_iter().map(|shown| {
            let fs = &shown.row;
            vec![
                file_system(&fs.id),
                name_of(&fs.tags).into(),
                word(fs.state).into(),
                format!("{} {}", fs.scope.account, fs.scope.region).into(),
                bytes(shown.bytes).into(),
                Cell::Link("files".to_owned(), View::of_directory(&fs.id, &[]).address()),
            ]
        });
        let columns = &["id", "name", "state", "account, region", "size", "contents"];
        Table { id: "file-systems", title: "File systems", columns, rows: rows.collect(), total, more }.html()
    }

    fn access_points(&self, view: &View) -> String {
        let from = view.from("access-points");
        let (points, total) = match &view.access_point {
            Some(id) => {
                let found: Vec<_> = self.world.access_point(id).into_iter().collect();
                let total = found.len();
                (found, total)
            }
            None => self.world.newest_access_points(view.file_system.as_ref(), from, ROWS),
        };
        let more = pages(view, "access-points", ROWS, total);
        let rows = points.iter().map(|p| {
            // Its directory may not have been made yet; the browser says so then.
            let path = p.root_directory.path.split('/').filter(|name| !name.is_empty());
            let path: Vec<Vec<u8>> = path.map(|name| name.as_bytes().to_vec()).collect();
            vec![
                access_point(&p.id),
                file_system(&p.file_system),
                word(p.state).into(),
                Cell::Link(p.root_directory.path.clone(), View::of_directory(&p.file_system, &path).address()),
                p.posix_user.as_ref().map_or_else(String::new, |user| format!("{}:{}", user.uid, user.gid)).into(),
                p.client_token.clone().into(),
            ]
        });
        let columns = &["id", "file system", "state", "root", "user", "client token"];
        Table { id: "access-points", title: "Access points", columns, rows: rows.collect(), total, more }.html()
    }

    /// What the arguments of calls have that a view is about: an id, or the token with which it was made.
    fn marks(&self, view: &View, remote: Option<String>) -> Vec<String> {
        if let Some(id) = &view.access_point {
            let token = self.world.access_point(id).map(|point| point.client_token);
            return std::iter::once(id.to_string()).chain(token.filter(|token| !token.is_empty())).collect();
        }
        if let Some(id) = &view.file_system {
            let all = self.world.overview().file_systems;
            let token = all.into_iter().find(|shown| shown.row.id == *id).map(|shown| shown.row.creation_token);
            return std::iter::once(id.to_string()).chain(token.filter(|token| !token.is_empty())).collect();
        }
        remote.into_iter().collect()
    }

    /// Calls that the view is about, the newest first. Of a connection it is how it was received.
    fn calls(&self, view: &View, remote: Option<String>) -> String {
        let from = view.from("calls");
        let about = self.marks(view, remote);
        let service = Some(view.service.clone()).filter(|service| !service.is_empty());
        let seeks = view.errors || !view.text.is_empty() || !about.is_empty();
        let limit = if seeks { SEARCHED } else { from.saturating_add(CALLS + 1) };
        let mut calls = self.journal.query(&Query { service, limit: Some(limit), ..Query::default() });
        let is_about = |call: &Entry| {
            let arguments = call.arguments.to_string();
            about.is_empty() || about.iter().any(|mark| arguments.contains(mark))
        };
        calls.retain(is_about);
        calls.retain(|call| (!view.errors || call.error.is_some()) && has_text(call, &view.text));
        calls.reverse();
        let (calls, total, more) = paged(view, "calls", CALLS, calls);
        let rows = calls.into_iter().map(|call| {
            let argument = |name: &str| call.arguments.get(name).and_then(Value::as_str);
            vec![
                call.number.to_string().into(),
                call.time.strftime("%H:%M:%S").to_string().into(),
                call.service.into(),
                call.operation.clone().into(),
                call.error.clone().unwrap_or_else(|| call.status.to_string()).into(),
                call.fault.map_or_else(String::new, |rule| format!("rule {rule}")).into(),
                call.principal.clone().into(),
                subject(argument("FileSystemId"), argument("AccessPointId")),
                call.arguments.to_string().chars().take(ARGUMENTS).collect::<String>().into(),
            ]
        });
        let columns = &["#", "time", "service", "operation", "outcome", "fault", "principal", "about", "arguments"];
        Table { id: "calls", title: "Calls", columns, rows: rows.collect(), total, more }.html()
    }
}

fn has_text(call: &Entry, text: &str) -> bool {
    let found = |part: &str| part.contains(text);
    text.is_empty()
        || found(&call.operation)
        || found(&call.principal)
        || call.error.as_deref().is_some_and(found)
        || found(&call.arguments.to_string())
}

fn mount_targets(view: &View, all: &Overview) -> String {
    let wanted = |id: &FileSystemId| view.file_system.as_ref().is_none_or(|wanted| wanted == id);
    let rows = all.mount_targets.iter().filter(|target| wanted(&target.file_system)).collect();
    let (rows, total, more) = paged(view, "mount-targets", ROWS, rows);
    let rows = rows.into_iter().map(|t| {
        vec![
            t.id.to_string().into(),
            file_system(&t.file_system),
            word(t.state).into(),
            t.zone.name.clone().into(),
            t.address.map_or_else(String::new, |address| address.to_string()).into(),
        ]
    });
    let columns = &["id", "file system", "state", "zone", "address"];
    Table { id: "mount-targets", title: "Mount targets", columns, rows: rows.collect(), total, more }.html()
}

fn connected(view: &View, connections: Vec<ConnectionView>) -> String {
    let (connections, total, more) = paged(view, "connections", ROWS, connections);
    let rows = connections.into_iter().map(|c| {
        vec![
            Cell::Link(c.number.to_string(), View::of_connection(c.number).address()),
            c.remote.into(),
            subject(c.file_system_id.as_deref(), c.access_point_id.as_deref()),
            c.principal.or(c.refusal).unwrap_or_default().into(),
            if c.tls { "TLS" } else { "plain" }.into(),
            c.partition.map_or_else(String::new, |partition| partition.to_string()).into(),
            c.binding.map_or_else(String::new, |binding| format!("{} · {}", binding.uuid, binding.incarnation)).into(),
            c.calls.to_string().into(),
            format!("{} / {}", bytes(c.bytes_in), bytes(c.bytes_out)).into(),
        ]
    });
    let columns =
        &["#", "client", "leads to", "principal", "transport", "partition", "bound by", "calls", "bytes in / out"];
    Table { id: "connections", title: "Connected clients", columns, rows: rows.collect(), total, more }.html()
}

/// What a connection's client asked the file server last.
fn requests(calls: Vec<RecentCall>) -> String {
    let total = calls.len();
    let rows = calls.into_iter().map(|RecentCall { number, outline }| {
        let mut operations: Vec<&str> = outline.operations().collect();
        if operations.len() < outline.count() as usize {
            operations.push("…");
        }
        let outcome = match (outline.status, Status::from_number(outline.status)) {
            (0, _) => "OK".to_owned(),
            (_, Some(known)) => format!("{known:?}"),
            (other, None) => other.to_string(),
        };
        vec![
            number.to_string().into(),
            format!("4.{}", outline.minor_version).into(),
            operations.join(" ").into(),
            outcome.into(),
            if outline.repeated { "answered from memory" } else { "" }.into(),
        ]
    });
    let columns = &["#", "version", "operations", "outcome", "repetition"];
    Table { id: "requests", title: "Last requests", columns, rows: rows.collect(), total, more: Vec::new() }.html()
}
