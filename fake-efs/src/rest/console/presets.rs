//! What can go wrong: rules that are there, with their switches, and faults to be had with one click.

use std::fmt::Write;

use serde_json::{Value, json};

use super::Front;
use super::html::escape;
use crate::faults::Effect;
use crate::world::errors::ErrorName;

/// A fault that a button makes: a request to the fake's own API.
struct Preset {
    title: &'static str,
    /// What it does to whom.
    does: &'static str,
    method: &'static str,
    path: &'static str,
    body: Option<Value>,
}

/// Faults of the APIs.
fn of_calls() -> Vec<Preset> {
    let preset = |title, does, body| Preset { title, does, method: "POST", path: "faults", body: Some(body) };
    vec![
        preset(
            "Throttle ten calls",
            "The next ten calls of the EFS API answer ThrottlingException; nothing is done. SDKs wait and try again.",
            json!({ "service": "efs", "times": 10, "effect": Effect::Throttle }),
        ),
        preset(
            "Half of the calls fail",
            "Each call of the EFS API answers InternalServerError with a chance of one half until the rule is removed.",
            json!({ "service": "efs", "probability": 0.5, "effect": Effect::error(ErrorName::InternalServerError) }),
        ),
        preset(
            "Lose five answers",
            "The next five CreateAccessPoint do their work, and the connection ends without the answer. Repeated with the same \
             token they must find what was made.",
            json!({ "operation": "CreateAccessPoint", "times": 5, "effect": Effect::DropAfter }),
        ),
        preset(
            "Slow API",
            "Every call of the EFS API takes two seconds more until the rule is removed.",
            json!({ "service": "efs", "effect": Effect::Delay { milliseconds: 2000 } }),
        ),
        preset(
            "No credentials",
            "The instance metadata service is cut off in the middle of each answer until the rule is removed.",
            json!({ "service": "imds", "effect": Effect::Truncate }),
        ),
    ]
}

/// Faults of the file server.
fn of_files() -> Vec<Preset> {
    let preset = |title, does, body| Preset { title, does, method: "POST", path: "wire-faults", body: Some(body) };
    vec![
        preset(
            "Lose a reply",
            "The next request is done and its connection ends without the reply. The client asks again over another one.",
            json!({ "times": 1, "effect": { "kind": "drop-reply" } }),
        ),
        preset(
            "Slow files",
            "Every request is answered half a second later until the fault is removed.",
            json!({ "effect": { "kind": "delay", "milliseconds": 500 } }),
        ),
        preset(
            "Hang",
            "No request is answered, and connections stay open, until the fault is removed: mounts hang as with a lost network.",
            json!({ "effect": { "kind": "stall" } }),
        ),
        preset(
            "Refuse TLS",
            "New TLS connections end before the handshake until the fault is removed.",
            json!({ "effect": { "kind": "refuse-tls" } }),
        ),
        preset(
            "Wrong certificate",
            "The next ten TLS connections see a certificate with another name, which clients must refuse.",
            json!({ "times": 10, "effect": { "kind": "bad-certificate", "flaw": "wrong-name" } }),
        ),
        Preset {
            title: "End all connections",
            does: "Every client of the file server is disconnected at once and may come back.",
            method: "DELETE",
            path: "connections",
            body: None,
        },
        Preset {
            title: "Restart the file server",
            does: "All clients, opens and locks are forgotten as by a restart, and may be claimed back.",
            method: "POST",
            path: "restart-files",
            body: Some(json!({ "reclaim": true })),
        },
    ]
}

impl Front {
    /// The rules with their switches, presets, and a form for a rule of one's own.
    pub(super) fn console_faults(&self) -> String {
        let mut out = String::from(
            "<section id=\"faults\" aria-labelledby=\"faults-title\"><h2 id=\"faults-title\">Faults</h2>\
             <ul id=\"rules\" aria-label=\"faults that are set\">",
        );
        for rule in self.faults.list() {
            let (what, id) = (rule.operation.as_deref().or(rule.service.as_deref()).unwrap_or("every call"), rule.id);
            let effect = serde_json::to_string(&rule.effect).unwrap_or_default();
            let _ = write!(
                out,
                "<li><label><input type=\"checkbox\" data-rule=\"{id}\"{}> {}: <code>{}</code></label> struck {} of {} \
                 <button type=\"button\" data-method=\"DELETE\" data-path=\"faults/{id}\" data-done=\"Rule {id} is gone.\" \
                 data-remove=\"{id}\">remove<span class=\"unseen\"> rule {id}</span></button></li>",
                if rule.enabled { " checked" } else { "" },
                escape(what),
                escape(&effect),
                rule.struck,
                rule.seen,
            );
        }
        for fault in self.files.faults().list() {
            let id = fault.id;
            let effect = serde_json::to_string(&fault.effect).unwrap_or_default();
            let left = fault.times.map_or_else(|| "without end".to_owned(), |times| format!("{times} more"));
            let _ = write!(
                out,
                "<li>on the wire: <code>{}</code> {left} <button type=\"button\" data-method=\"DELETE\" \
                 data-path=\"wire-faults/{id}\" data-done=\"Wire fault {id} is gone.\">remove<span class=\"unseen\"> wire fault \
                 {id}</span></button></li>",
                escape(&effect),
            );
        }
        out.push_str("</ul>");
        for (title, presets) in [("of calls", of_calls()), ("of the file server", of_files())] {
            let _ = write!(out, "<details><summary>Presets {title}</summary><dl class=\"presets\">");
            for preset in presets {
                let body = preset
                    .body
                    .map_or_else(String::new, |body| format!(" data-body=\"{}\"", escape(&body.to_string())));
                let _ = write!(
                    out,
                    "<dt><button type=\"button\" data-method=\"{}\" data-path=\"{}\"{body} data-done=\"{}: done.\">{}</button></dt>\
                     <dd>{}</dd>",
                    preset.method,
                    preset.path,
                    escape(preset.title),
                    escape(preset.title),
                    escape(preset.does),
                );
            }
            out.push_str("</dl></details>");
        }
        out.push_str(&form());
        out.push_str("</section>");
        out
    }
}

/// A form for a new rule.
fn form() -> String {
    let kinds = [
        ("throttle", Effect::Throttle),
        ("internal error", Effect::error(ErrorName::InternalServerError)),
        ("delay 2 s", Effect::Delay { milliseconds: 2000 }),
        ("drop before the work", Effect::DropBefore),
        ("drop after the work", Effect::DropAfter),
        ("truncate the answer", Effect::Truncate),
    ];
    let mut out = String::from(
        "<form id=\"new-fault\" aria-label=\"new fault\"><label>operation <input name=\"operation\" placeholder=\"all\" \
         autocomplete=\"off\"></label> <label>effect <select name=\"effect\">",
    );
    for (title, effect) in kinds {
        let value = serde_json::to_string(&effect).unwrap_or_default();
        let _ = write!(out, "<option value=\"{}\">{}</option>", escape(&value), escape(title));
    }
    out + "</select></label> <button>add</button></form>"
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::faults::Rule;
    use crate::nfs::WireFault;

    #[test]
    fn every_preset_is_something_that_the_fake_understands() {
        for preset in of_calls() {
            serde_json::from_value::<Rule>(preset.body.unwrap())
                .unwrap_or_else(|error| panic!("{}: {error}", preset.title));
        }
        for preset in of_files().into_iter().filter(|preset| preset.path == "wire-faults") {
            let body = preset.body.unwrap();
            serde_json::from_value::<WireFault>(body).unwrap_or_else(|error| panic!("{}: {error}", preset.title));
        }
    }
}
