//! What a page is to show, from its address.

use std::collections::BTreeMap;

use percent_encoding::percent_decode_str;

use super::html::encode;
use crate::world::ids::{AccessPointId, FileSystemId};

/// Furthest that pages reach: what is behind is found by filtering.
const FURTHEST: usize = 100_000;
/// Longest text to look for.
const LONGEST: usize = 200;
/// Most steps from a root directory to another one; more than a file system has levels.
const DEEPEST: usize = 1001;

/// The tables that have pages, by their names in the address.
const PAGED: [&str; 6] = ["file-systems", "buckets", "mount-targets", "access-points", "connections", "calls"];

/// An address that means nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum BadView {
    #[error("{0} is no {1}")]
    Malformed(String, &'static str),
    #[error("the address is not UTF-8")]
    Encoding,
}

/// What is shown.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct View {
    pub(super) file_system: Option<FileSystemId>,
    pub(super) access_point: Option<AccessPointId>,
    pub(super) connection: Option<u64>,
    pub(super) service: String,
    pub(super) text: String,
    /// Calls that failed only.
    pub(super) errors: bool,
    /// A directory of the file system, as names from the root on, and the position behind which to go on.
    pub(super) directory: Option<Vec<Vec<u8>>>,
    pub(super) after: u64,
    /// Rows that are on pages before, by table.
    pub(super) from: BTreeMap<&'static str, usize>,
}

impl View {
    /// Reads an address's query. What is not known is left out.
    pub(super) fn parse(query: &str) -> Result<Self, BadView> {
        let mut view = Self::default();
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let raw: Vec<u8> = percent_decode_str(&value.replace('+', " ")).collect();
            if name == "directory" {
                view.directory = Some(steps(&raw)?);
                continue;
            }
            let value = String::from_utf8(raw).map_err(|_| BadView::Encoding)?;
            if value.is_empty() {
                continue;
            }
            let no = |what| BadView::Malformed(value.chars().take(60).collect(), what);
            match name {
                "file-system" => view.file_system = Some(FileSystemId::parse(&value).ok_or_else(|| no("file system"))?),
                "access-point" => {
                    view.access_point = Some(AccessPointId::parse(&value).ok_or_else(|| no("access point"))?);
                }
                "connection" => view.connection = Some(value.parse().map_err(|_| no("connection"))?),
                "after" => view.after = value.parse().map_err(|_| no("position"))?,
                "service" => view.service = value,
                "text" => view.text = value.chars().take(LONGEST).collect(),
                "outcome" => view.errors = value == "errors",
                _ => {
                    let table = PAGED.into_iter().find(|table| name.strip_suffix("-from") == Some(table));
                    if let Some(table) = table {
                        let from: usize = value.parse().map_err(|_| no("number"))?;
                        view.from.insert(table, from.min(FURTHEST));
                    }
                }
            }
        }
        Ok(view)
    }

    /// How many rows of a table are on pages before.
    pub(super) fn from(&self, table: &str) -> usize {
        self.from.get(table).copied().unwrap_or(0)
    }

    /// The address of the same view with another page of a table.
    pub(super) fn page(&self, table: &'static str, from: usize) -> String {
        let mut other = self.clone();
        other.from.insert(table, from);
        format!("{}#{table}-title", other.address())
    }

    /// Its address.
    pub(super) fn address(&self) -> String {
        let mut parts: Vec<String> = Vec::new();
        let mut add = |name: &str, value: &[u8]| parts.push(format!("{name}={}", encode(value)));
        if let Some(id) = &self.file_system {
            add("file-system", id.as_str().as_bytes());
        }
        if let Some(id) = &self.access_point {
            add("access-point", id.as_str().as_bytes());
        }
        if let Some(number) = self.connection {
            add("connection", number.to_string().as_bytes());
        }
        for (name, value) in [("service", &self.service), ("text", &self.text)] {
            if !value.is_empty() {
                add(name, value.as_bytes());
            }
        }
        if self.errors {
            add("outcome", b"errors");
        }
        if let Some(directory) = &self.directory {
            add("directory", &directory.join(&b'/'));
        }
        if self.after > 0 {
            add("after", self.after.to_string().as_bytes());
        }
        for (table, from) in self.from.iter().filter(|(_, from)| **from > 0) {
            add(&format!("{table}-from"), from.to_string().as_bytes());
        }
        if parts.is_empty() { "/".to_owned() } else { format!("/?{}", parts.join("&")) }
    }

    /// Everything about a file system.
    pub(super) fn of_file_system(id: &FileSystemId) -> Self {
        Self { file_system: Some(id.clone()), ..Self::default() }
    }

    /// Everything about an access point.
    pub(super) fn of_access_point(id: &AccessPointId) -> Self {
        Self { access_point: Some(id.clone()), ..Self::default() }
    }

    /// Everything about a connection.
    pub(super) fn of_connection(number: u64) -> Self {
        Self { connection: Some(number), ..Self::default() }
    }

    /// A directory of a file system.
    pub(super) fn of_directory(id: &FileSystemId, directory: &[Vec<u8>]) -> Self {
        Self { directory: Some(directory.to_vec()), ..Self::of_file_system(id) }
    }
}

/// The names in a path. A name is never a step up or aside: stores have no entries of these names.
fn steps(path: &[u8]) -> Result<Vec<Vec<u8>>, BadView> {
    let names: Vec<Vec<u8>> =
        path.split(|byte| *byte == b'/').filter(|name| !name.is_empty()).map(<[u8]>::to_vec).collect();
    let odd = names.iter().any(|name| matches!(&name[..], b"." | b".."));
    if odd || names.len() > DEEPEST {
        return Err(BadView::Malformed(String::from_utf8_lossy(&path[..path.len().min(60)]).into_owned(), "directory"));
    }
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_view_is_read_back_from_its_address() {
        let fs = FileSystemId::parse("fs-01234567").unwrap();
        let views = [
            View::default(),
            View::of_connection(7),
            View::of_access_point(&AccessPointId::parse("fsap-01234567").unwrap()),
            View { after: 9, ..View::of_directory(&fs, &[b"a b".to_vec(), b"\xff<&\"%".to_vec()]) },
            View::of_directory(&fs, &[]),
            View { text: "a&b=c+d".to_owned(), service: "efs".to_owned(), errors: true, ..View::of_file_system(&fs) },
        ];
        for view in views {
            let address = view.address();
            let query = address.strip_prefix("/?").unwrap_or_default();
            assert_eq!(View::parse(query), Ok(view), "{address}");
        }
        let view = View::parse(View::default().page("calls", 50).split(['?', '#']).nth(1).unwrap()).unwrap();
        assert_eq!((view.from("calls"), view.from("connections")), (50, 0));
    }

    #[test]
    fn what_means_nothing_is_refused_or_left_out() {
        for bad in [
            "file-system=../etc",
            "access-point=fs-01234567",
            "connection=-1",
            "after=x",
            "calls-from=x",
            "text=%ff",
            "directory=a/../b",
            "directory=%2e%2e",
        ] {
            assert!(View::parse(bad).is_err(), "{bad}");
        }
        assert_eq!(View::parse("unknown=1&&=&file-system="), Ok(View::default()));
        let far = View::parse("calls-from=999999999").unwrap();
        assert_eq!(far.from("calls"), FURTHEST);
        assert!(View::parse(&format!("directory={}", "a/".repeat(2000))).is_err());
    }
}
