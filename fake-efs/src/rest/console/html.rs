//! Pieces of pages. Text becomes markup here and nowhere else: what is not from this program is escaped.

use std::fmt::Write;

use percent_encoding::{NON_ALPHANUMERIC, percent_encode};

/// A value in a table.
#[derive(Clone, Debug)]
pub(super) enum Cell {
    Text(String),
    /// Text that leads to an address of this console.
    Link(String, String),
    /// Several of them, one below the other.
    Several(Vec<Cell>),
}

impl From<String> for Cell {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<&str> for Cell {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl Cell {
    fn write(&self, out: &mut String) {
        match self {
            Self::Text(text) => out.push_str(&escape(text)),
            Self::Link(text, address) => out.push_str(&link(text, address)),
            Self::Several(cells) => {
                for (index, cell) in cells.iter().enumerate() {
                    out.push_str(if index > 0 { "<br>" } else { "" });
                    cell.write(out);
                }
            }
        }
    }
}

/// A table under a heading.
pub(super) struct Table<'a> {
    /// Of the section; unique in the page.
    pub(super) id: &'a str,
    pub(super) title: &'a str,
    pub(super) columns: &'a [&'a str],
    pub(super) rows: Vec<Vec<Cell>>,
    /// How many rows there are, with those of other pages.
    pub(super) total: usize,
    /// Title and address of the other pages.
    pub(super) more: Vec<(&'a str, String)>,
}

impl Table<'_> {
    pub(super) fn html(&self) -> String {
        let Self { id, title, .. } = self;
        let title = escape(title);
        let shown = if self.rows.len() == self.total {
            self.total.to_string()
        } else {
            format!("{} of {}", self.rows.len(), self.total)
        };
        let mut out = format!(
            "<section id=\"{id}\" aria-labelledby=\"{id}-title\"><h2 id=\"{id}-title\">{title} <small>{shown}</small></h2>"
        );
        if self.rows.is_empty() {
            out.push_str("<p class=\"none\">none</p>");
        } else {
            self.write_table(&title, &mut out);
        }
        if !self.more.is_empty() {
            let _ = write!(out, "<nav aria-label=\"pages of {title}\" class=\"more\">");
            for (name, address) in &self.more {
                out.push_str(&link(name, address));
            }
            out.push_str("</nav>");
        }
        out.push_str("</section>");
        out
    }

    /// What is wider than the window is moved in its own box, with the keyboard too.
    fn write_table(&self, title: &str, out: &mut String) {
        let _ = write!(
            out,
            "<div class=\"scroll\" role=\"group\" aria-label=\"{title}, scrolls\" tabindex=\"0\"><table>\
             <caption class=\"unseen\">{title}</caption><thead><tr>"
        );
        for column in self.columns {
            let _ = write!(out, "<th scope=\"col\">{}</th>", escape(column));
        }
        out.push_str("</tr></thead><tbody>");
        for row in &self.rows {
            out.push_str("<tr>");
            for cell in row {
                out.push_str("<td>");
                cell.write(out);
                out.push_str("</td>");
            }
            out.push_str("</tr>");
        }
        out.push_str("</tbody></table></div>");
    }
}

/// Text that can stand in HTML, in attributes too. What changes the direction of text or controls a terminal is shown by its number:
/// file names are anybody's.
pub(super) fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => {
                out.extend(c.escape_unicode());
            }
            c if c.is_control() => out.extend(c.escape_default()),
            c => out.push(c),
        }
    }
    out
}

/// A link within the console.
pub(super) fn link(text: &str, address: &str) -> String {
    format!("<a href=\"{}\">{}</a>", escape(address), escape(text))
}

/// A part of an address.
pub(super) fn encode(bytes: &[u8]) -> String {
    percent_encode(bytes, NON_ALPHANUMERIC).to_string()
}

/// A value as its JSON string.
pub(super) fn word(value: impl serde::Serialize) -> String {
    serde_json::to_value(value).ok().and_then(|value| value.as_str().map(str::to_owned)).unwrap_or_default()
}

/// A number of bytes for people.
pub(super) fn bytes(count: u64) -> String {
    const UNITS: [&str; 5] = ["KiB", "MiB", "GiB", "TiB", "PiB"];
    let mut scaled = count as f64;
    let mut unit = "B";
    for next in UNITS {
        if scaled < 1024.0 {
            break;
        }
        (scaled, unit) = (scaled / 1024.0, next);
    }
    if unit == "B" { format!("{count} B") } else { format!("{scaled:.1} {unit}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_callers_sent_can_not_become_markup() {
        let hostile = "<script>alert('x')</script>\" onclick=\"\u{202e}\n";
        let rows = vec![vec![Cell::from(hostile), Cell::Link(hostile.to_owned(), format!("/?x={hostile}"))]];
        let table = Table { id: "t", title: hostile, columns: &[hostile], rows, total: 1, more: Vec::new() };
        let html = table.html();
        assert!(html.contains("&lt;script&gt;alert(&#39;x&#39;)"), "{html}");
        assert!(!html.contains("<script") && !html.contains("\" onclick") && !html.contains('\u{202e}'), "{html}");
        assert!(html.contains(r"\u{202e}\n"), "{html}");
    }

    #[test]
    fn addresses_hold_any_bytes() {
        assert_eq!(encode(b"a b/\xff&<"), "a%20b%2F%FF%26%3C");
    }

    #[test]
    fn bytes_have_their_unit() {
        let shown: Vec<_> = [0, 1023, 1024, 1 << 20, u64::MAX].map(bytes).into();
        assert_eq!(shown, ["0 B", "1023 B", "1.0 KiB", "1.0 MiB", "16384.0 PiB"]);
    }
}
