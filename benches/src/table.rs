//! The README's table of numbers, made from a report.

use std::fmt::Write as _;

use anyhow::{Context as _, ensure};

use crate::page::{number, spread};
use crate::report::{Place, Report};

/// The table stands in the README between lines with this name.
const MARKER: &str = "bench";

/// `readme` with the table between the markers replaced by the report's.
pub fn insert(readme: &str, report: &Report) -> anyhow::Result<String> {
    ensure!(!report.quick, "this report is from a smoke test; its numbers mean nothing");
    between(readme, MARKER, &markdown(report))
}

/// `text` with what stands between `<!-- name:begin -->` and `<!-- name:end -->` replaced.
pub fn between(text: &str, name: &str, new: &str) -> anyhow::Result<String> {
    let (begin, end) = (format!("<!-- {name}:begin -->"), format!("<!-- {name}:end -->"));
    let no_markers = || format!("the lines {begin} and {end} must stand in the file, in this order");
    let (before, rest) = text.split_once(&begin).with_context(no_markers)?;
    let (_, after) = rest.split_once(&end).with_context(no_markers)?;
    Ok(format!("{before}{begin}\n{new}{end}{after}"))
}

/// The budgets as Markdown.
pub fn markdown(report: &Report) -> String {
    let mut text = String::from("| what | budget | measured | ratio to the peer | verdict |\n|---|---|---|---|---|\n");
    for verdict in &report.budgets {
        let found = report.measurement(&verdict.measurement);
        let ours = found.and_then(|m| {
            let place = if m.place == Place::Lab { ", in the lab" } else { "" };
            Some(format!("{} {}{place}", number(m.ours.summary()?.median), m.unit))
        });
        let ratio = found.and_then(|m| {
            let peer = m.peers.iter().find(|peer| !peer.samples.is_empty())?;
            Some(format!("{} {}", spread(&m.ratio(peer)?), peer.name))
        });
        let reason = verdict.reason.as_deref().map(|reason| format!(": {reason}")).unwrap_or_default();
        // Writing to a String can't fail, here and below.
        let _ = writeln!(
            text,
            "| {} | {} | {} | {} | {}{} |",
            verdict.what,
            verdict.budget,
            ours.as_deref().unwrap_or("–"),
            ratio.as_deref().unwrap_or("–"),
            verdict.outcome.word(),
            reason.replace('|', "/").replace('\n', " ")
        );
    }
    let machine = &report.machine;
    let date = report.started.split('T').next().unwrap_or_default();
    let _ = writeln!(
        text,
        "\nMeasured {date} on {} with {} processors, Linux {}, {}; `just bench` measures again, `just bench-table` writes this table.",
        machine.processor, machine.processors, machine.kernel, machine.system
    );
    text
}
