//! A report as one HTML file that needs no network.

mod plot;

use std::fmt::Write as _;

use crate::report::{Measurement, Place, Report};
use crate::stats::Summary;
use crate::verdict::{Outcome, Verdict};

const STYLE: &str = "\
:root{color-scheme:light dark;--ours:#0a6;--peer:#888;--bad:#c22;--close:#b70;--line:#8884}\
body{font:15px/1.5 system-ui,sans-serif;max-width:1060px;margin:2em auto;padding:0 1em}\
table{border-collapse:collapse;width:100%;font-variant-numeric:tabular-nums}\
th,td{text-align:left;padding:.35em .7em .35em 0;border-bottom:1px solid var(--line);vertical-align:top}\
.holds{color:var(--ours)}.misses{color:var(--bad);font-weight:600}.close{color:var(--close)}.not-measured{opacity:.65}\
small,.method{opacity:.75}.method{max-width:48em}section{margin:2.4em 0}svg{max-width:100%;height:auto}\
svg text{font:12px system-ui,sans-serif;fill:currentColor}svg .name{text-anchor:end}svg .tick{text-anchor:middle;opacity:.7}\
svg .grid{stroke:var(--line)}svg .ours{fill:var(--ours);stroke:none}svg .peer{fill:var(--peer);stroke:none}\
svg .spread{opacity:.25}svg line.median.ours{stroke:var(--ours);stroke-width:2.5}svg line.median.peer{stroke:var(--peer);stroke-width:2.5}";

/// The page.
pub fn html(report: &Report) -> String {
    let mut page = format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\">\
         <title>Benchmarks of efs-csi-driver</title><style>{STYLE}</style></head>\n<body>\n<h1>Benchmarks of efs-csi-driver</h1>\n"
    );
    let machine = &report.machine;
    // Writing to a String can't fail, here and below.
    let _ = writeln!(
        page,
        "<p>{} · {} · {} processors, {} MiB · Linux {} · {} · load {} at the start · took {:.0} s</p>",
        escape(&report.started),
        escape(&machine.processor),
        machine.processors,
        machine.memory_mib,
        escape(&machine.kernel),
        escape(&machine.system),
        escape(&machine.load),
        report.seconds
    );
    if report.quick {
        page.push_str("<p class=\"misses\">A smoke test with tiny amounts: these numbers mean nothing.</p>\n");
    }
    page.push_str(
        "<p class=\"method\">Ours and a peer are measured in turns in the same run. A ratio is the median of the ratios of \
         neighbouring rounds. Behind it stands the interval that holds the true median with 95 % (by Student's t when \
         there are fewer than six samples; one alone has none), and that of the passes' medians too. In the lab system calls \
         are slow and there is one processor: compare its ratios, not its times.</p>\n",
    );
    page.push_str(
        "<h2>Budgets</h2>\n<table><tr><th>what</th><th>budget</th><th>ours</th><th>peer</th><th>ratio</th>\
         <th>verdict</th><th>Go driver, measured elsewhere</th></tr>\n",
    );
    for verdict in &report.budgets {
        budget_row(&mut page, verdict, report.measurement(&verdict.measurement));
    }
    page.push_str("</table>\n<h2>Measurements</h2>\n");
    for measurement in &report.measurements {
        section(&mut page, measurement);
    }
    page.push_str("<h2>Versions</h2>\n<table>\n");
    for (name, version) in &report.versions {
        let _ = writeln!(page, "<tr><td>{}</td><td>{}</td></tr>", escape(name), escape(version));
    }
    let _ = writeln!(page, "</table>\n<p>Made by <code>{}</code></p>\n</body></html>", escape(&report.command));
    page
}

fn budget_row(page: &mut String, verdict: &Verdict, measurement: Option<&Measurement>) {
    let ours = measurement.and_then(|m| m.ours.summary().map(|s| with_unit(&s, &m.unit)));
    let peer = measurement.and_then(|m| {
        let peer = m.peers.first()?;
        let text = match (&peer.missing, peer.summary()) {
            (Some(reason), _) => reason.clone(),
            (None, Some(summary)) => with_unit(&summary, &m.unit),
            (None, None) => "no samples".to_owned(),
        };
        Some(format!("{}: {text}", peer.name))
    });
    let ratio = measurement.and_then(|m| m.ratio(m.peers.first()?)).map(|ratio| spread(&ratio));
    let word = verdict.outcome.word();
    let reason = verdict.reason.as_deref().map(|r| format!("<br><small>{}</small>", escape(r))).unwrap_or_default();
    let cell = |text: Option<String>| text.map_or_else(|| "–".to_owned(), |text| escape(&text));
    let _ = writeln!(
        page,
        "<tr><td><a href=\"#{}\">{}</a></td><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td class=\"{}\">{word}{reason}</td><td><small>{}</small></td></tr>",
        verdict.measurement,
        escape(&verdict.what),
        escape(&verdict.budget),
        cell(ours),
        cell(peer),
        cell(ratio),
        class(verdict.outcome),
        escape(&verdict.upstream)
    );
}

fn class(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Holds => "holds",
        Outcome::Close => "close",
        Outcome::Misses => "misses",
        Outcome::NotMeasured => "not-measured",
    }
}

fn section(page: &mut String, measurement: &Measurement) {
    let place = match measurement.place {
        Place::Host => "on this machine",
        Place::Lab => "in the lab",
    };
    let _ = writeln!(
        page,
        "<section id=\"{}\"><h3>{} <small>{}, {place}</small></h3>\n<p class=\"method\">{}</p>",
        measurement.id,
        escape(&measurement.title),
        escape(&measurement.unit),
        escape(&measurement.method)
    );
    page.push_str("<table><tr><th></th><th>median</th><th>spread</th><th>rounds</th><th>ours ÷ theirs</th></tr>\n");
    for (index, series) in std::iter::once(&measurement.ours).chain(&measurement.peers).enumerate() {
        let ratio = if index == 0 { None } else { measurement.ratio(series) };
        let numbers = match (&series.missing, series.summary()) {
            (Some(reason), _) => format!("<td colspan=\"3\">{}</td>", escape(reason)),
            (None, None) => "<td colspan=\"3\">no samples</td>".to_owned(),
            (None, Some(s)) => format!(
                "<td>{}</td><td>{} – {}</td><td>{}</td>",
                number(s.median),
                number(s.low),
                number(s.high),
                s.samples
            ),
        };
        let ratio = ratio.map_or_else(String::new, |ratio| spread(&ratio));
        let _ = writeln!(page, "<tr><td>{}</td>{numbers}<td>{ratio}</td></tr>", escape(&series.name));
    }
    let _ = writeln!(page, "</table>\n{}</section>", plot::plot(measurement));
}

/// A median with its unit.
fn with_unit(summary: &Summary, unit: &str) -> String {
    format!("{} {unit}", number(summary.median)).trim_end().to_owned()
}

/// A ratio with its spread.
pub(crate) fn spread(ratio: &Summary) -> String {
    format!("{} × ({} – {})", number(ratio.median), number(ratio.low), number(ratio.high))
}

/// A number with three significant digits, thousands kept whole.
pub(crate) fn number(value: f64) -> String {
    match value.abs() {
        0.0 => "0".to_owned(),
        x if x >= 100.0 => {
            let digits = format!("{value:.0}");
            let (sign, digits) = digits.strip_prefix('-').map_or(("", digits.as_str()), |rest| ("-", rest));
            let mut out = String::new();
            for (index, digit) in digits.chars().enumerate() {
                if index > 0 && (digits.len() - index).is_multiple_of(3) {
                    out.push(',');
                }
                out.push(digit);
            }
            format!("{sign}{out}")
        }
        x => {
            // x < 100 and not 0: the logarithm is small, the cast exact.
            let decimals = (2 - x.log10().floor() as i32).clamp(0, 6) as usize;
            let text = format!("{value:.decimals$}");
            if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
        }
    }
}

/// Text inside HTML.
fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_three_digits() {
        for (value, text) in [
            (0.0, "0"),
            (1.0, "1"),
            (1.234, "1.23"),
            (12.34, "12.3"),
            (0.012_34, "0.0123"),
            (99.96, "100"),
            (1234.5, "1,234"),
            (1_234_567.0, "1,234,567"),
            (250.0, "250"),
        ] {
            assert_eq!(number(value), text);
        }
    }

    #[test]
    fn text_cannot_become_markup() {
        assert_eq!(escape("a<b>&\"c\""), "a&lt;b&gt;&amp;&quot;c&quot;");
    }
}
