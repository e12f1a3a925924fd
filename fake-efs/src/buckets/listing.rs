//! Listings: keys in the order of their bytes, those behind a delimiter as one.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

use jiff::Timestamp;

use super::bucket::{Bucket, Versions, shown};
use super::errors::{Refusal, Result};
use super::object::Object;
use super::version::VersionId;

/// Most rows of a page.
pub const MOST_ROWS: usize = 1000;

/// What is to be listed.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    /// Only keys that begin so.
    pub prefix: String,
    /// Keys that have this behind the prefix are listed as one, up to there.
    pub delimiter: Option<String>,
    /// At most so many rows.
    pub most: usize,
    /// Where to go on.
    pub after: Option<Place>,
}

/// A place in a bucket's keys; listings go on behind it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// Behind this key, which need not exist.
    Key(String),
    /// Behind all keys that begin so.
    Prefix(String),
    /// Behind this version of a key.
    Version(String, VersionId),
}

impl Place {
    /// As the token of a listing, which only this fake can read.
    pub fn to_token(&self) -> String {
        let text = match self {
            Self::Key(key) => format!("k{key}"),
            Self::Prefix(prefix) => format!("p{prefix}"),
            Self::Version(key, id) => format!("v{id} {key}"),
        };
        hex::encode(text)
    }

    /// Reads a token.
    pub fn from_token(token: &str) -> Result<Self> {
        let text = hex::decode(token).ok().and_then(|bytes| String::from_utf8(bytes).ok());
        let text = text.ok_or(Refusal::InvalidToken)?;
        let rest = |text: &str| text.get(1..).unwrap_or_default().to_owned();
        match text.chars().next() {
            Some('k') => Ok(Self::Key(rest(&text))),
            Some('p') => Ok(Self::Prefix(rest(&text))),
            _ => Err(Refusal::InvalidToken),
        }
    }

    /// The place that a marker names: a key, or what a listing with this delimiter has shown as one.
    pub fn marked(marker: String, prefix: &str, delimiter: Option<&str>) -> Self {
        let behind = marker.strip_prefix(prefix).unwrap_or_default();
        let is_group = delimiter.is_some_and(|delimiter| {
            !delimiter.is_empty() && behind.find(delimiter).is_some_and(|at| at + delimiter.len() == behind.len())
        });
        if is_group { Self::Prefix(marker) } else { Self::Key(marker) }
    }
}

/// A page of a listing.
#[derive(Clone, Debug)]
pub struct Page<Row> {
    /// What was found.
    pub rows: Vec<Row>,
    /// Beginnings of keys that stand for all that follow up to the delimiter.
    pub prefixes: Vec<String>,
    /// Where the next page begins, if there is one.
    pub next: Option<Place>,
}

/// An object in a listing.
#[derive(Clone, Debug)]
pub struct ObjectRow {
    /// Its key.
    pub key: String,
    /// When it was written.
    pub modified: Timestamp,
    /// Its bytes and attributes.
    pub object: Arc<Object>,
}

/// A version in a listing.
#[derive(Clone, Debug)]
pub struct VersionRow {
    /// Its key.
    pub key: String,
    /// Its name.
    pub version_id: VersionId,
    /// Whether it is the latest of its key.
    pub latest: bool,
    /// When it was written.
    pub modified: Timestamp,
    /// None for delete markers.
    pub object: Option<Arc<Object>>,
}

impl Bucket {
    /// The objects that keys show.
    pub(super) fn list(&self, wanted: &Wanted) -> Page<ObjectRow> {
        wanted.page(
            &self.keys,
            |versions| shown(versions).is_some(),
            |key, versions, _, take| {
                if let Some((version, object)) = shown(versions) {
                    let (key, object) = (key.to_owned(), Arc::clone(object));
                    take(ObjectRow { key, modified: version.modified, object })
                } else {
                    true
                }
            },
        )
    }

    /// All versions and delete markers, the youngest of each key first.
    pub(super) fn list_versions(&self, wanted: &Wanted) -> Page<VersionRow> {
        wanted.page(
            &self.keys,
            |_| true,
            |key, versions, after, take| {
                let mut rows = versions.iter().enumerate().rev();
                if let Some(after) = after {
                    // A version that is gone meanwhile has no place: the key is shown from the beginning rather than not at all.
                    if versions.iter().any(|version| version.id == *after) {
                        rows.by_ref().find(|(_, version)| version.id == *after);
                    }
                }
                let latest = versions.len() - 1;
                for (i, version) in rows {
                    let row = VersionRow {
                        key: key.to_owned(),
                        version_id: version.id.clone(),
                        latest: i == latest,
                        modified: version.modified,
                        object: version.object.clone(),
                    };
                    if !take(row) {
                        return false;
                    }
                }
                true
            },
        )
    }
}

/// Something that can be a row: it knows the place behind itself.
trait Placed {
    fn place(&self) -> Place;
}

impl Placed for ObjectRow {
    fn place(&self) -> Place {
        Place::Key(self.key.clone())
    }
}

impl Placed for VersionRow {
    fn place(&self) -> Place {
        Place::Version(self.key.clone(), self.version_id.clone())
    }
}

impl Wanted {
    /// Walks over the keys until the page is full. `counts` says whether a key is there at all, `rows` hands its rows to a function that
    /// returns whether there is room for more.
    fn page<Row: Placed>(
        &self,
        keys: &BTreeMap<String, Versions>,
        counts: impl Fn(&Versions) -> bool,
        rows: impl Fn(&str, &Versions, Option<&VersionId>, &mut dyn FnMut(Row) -> bool) -> bool,
    ) -> Page<Row> {
        let mut page = Page { rows: Vec::new(), prefixes: Vec::new(), next: None };
        let most = self.most.min(MOST_ROWS);
        if most == 0 {
            return page;
        }
        let mut last = None;
        let mut from = self.begin();
        while let Some(bound) = from {
            let mut range = keys.range::<String, _>((bound, Bound::Unbounded));
            let Some((key, versions)) = range.find(|(_, versions)| counts(versions)) else { break };
            if !key.starts_with(&self.prefix) {
                break;
            }
            if let Some(group) = self.group(key) {
                if page.rows.len() + page.prefixes.len() == most {
                    page.next = last;
                    break;
                }
                page.prefixes.push(group.to_owned());
                last = Some(Place::Prefix(group.to_owned()));
                from = behind_prefix(group);
                continue;
            }
            let after = match &self.after {
                Some(Place::Version(at, id)) if at == key => Some(id),
                _ => None,
            };
            let prefixes = page.prefixes.len();
            let whole = rows(key, versions, after, &mut |row| {
                if page.rows.len() + prefixes == most {
                    return false;
                }
                last = Some(row.place());
                page.rows.push(row);
                true
            });
            if !whole {
                page.next = last;
                break;
            }
            from = Some(Bound::Excluded(key.clone()));
        }
        page
    }

    /// The first key that may be listed.
    fn begin(&self) -> Option<Bound<String>> {
        let begin = match &self.after {
            None => Bound::Included(self.prefix.clone()),
            Some(Place::Key(key)) => Bound::Excluded(key.clone()),
            Some(Place::Version(key, _)) => Bound::Included(key.clone()),
            Some(Place::Prefix(prefix)) => behind_prefix(prefix)?,
        };
        let before_prefix = match &begin {
            Bound::Included(key) | Bound::Excluded(key) => *key < self.prefix,
            Bound::Unbounded => true,
        };
        Some(if before_prefix { Bound::Included(self.prefix.clone()) } else { begin })
    }

    /// The beginning that stands for a key, if a delimiter follows the prefix.
    fn group<'a>(&self, key: &'a str) -> Option<&'a str> {
        let delimiter = self.delimiter.as_deref().filter(|delimiter| !delimiter.is_empty())?;
        let at = key[self.prefix.len()..].find(delimiter)?;
        Some(&key[..self.prefix.len() + at + delimiter.len()])
    }
}

/// The first place behind all texts that begin so; none if every later text does.
fn behind_prefix(prefix: &str) -> Option<Bound<String>> {
    let mut text = prefix.to_owned();
    while let Some(c) = text.pop() {
        // In the order of bytes, UTF-8 goes by code points.
        if let Some(next) = (c..=char::MAX).nth(1) {
            text.push(next);
            return Some(Bound::Included(text));
        }
    }
    None
}
