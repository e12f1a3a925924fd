//! Pages of listings. A token names the last row that was shown, so rows that come and go elsewhere don't disturb it.

use std::fmt::Display;
use std::ops::Bound;
use std::str::FromStr;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;

use super::errors::{EfsError, Result};

/// Rows of a page when nothing is asked for, and the most where AWS fixes the number.
pub(crate) const DEFAULT_ROWS: usize = 100;
/// The most rows that a caller gets by asking.
pub(crate) const MOST_ROWS: usize = 1000;

/// The paging part of a request: `MaxItems`/`Marker` or `MaxResults`/`NextToken`.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct PageRequest {
    /// Rows wanted, at least 1.
    #[serde(alias = "MaxItems", alias = "MaxResults")]
    pub max: Option<u32>,
    /// Token of an earlier answer.
    #[serde(alias = "Marker", alias = "NextToken")]
    pub token: Option<String>,
}

/// Where a page starts and how long it may be. Rows are in the order of their keys.
pub(crate) struct Page<K = u64> {
    after: Option<K>,
    rows: usize,
    listing: &'static str,
}

impl<K: Clone + Display + FromStr> Page<K> {
    /// Reads a request. `listing` names what is listed: a token of another listing is refused. `most` caps the rows.
    pub(crate) fn new(request: &PageRequest, listing: &'static str, most: usize) -> Result<Self> {
        let rows = request.max.map_or(DEFAULT_ROWS, |n| n as usize).clamp(1, most);
        let after = match &request.token {
            None => None,
            Some(token) => Some(
                read_token(token, listing)
                    .ok_or_else(|| EfsError::bad_request(format!("The pagination token '{token}' is not valid.")))?,
            ),
        };
        Ok(Self { after, rows, listing })
    }

    /// The keys behind the token.
    pub(crate) fn range(&self) -> (Bound<K>, Bound<K>) {
        (self.after.clone().map_or(Bound::Unbounded, Bound::Excluded), Bound::Unbounded)
    }

    /// Takes this page's rows, and makes the next page's token if any row is left.
    pub(crate) fn take<T>(&self, mut rows: impl Iterator<Item = (K, T)>) -> (Vec<T>, Option<String>) {
        let (mut last, mut page) = (None, Vec::new());
        for (key, row) in rows.by_ref().take(self.rows) {
            last = Some(key);
            page.push(row);
        }
        let token = last.filter(|_| rows.next().is_some());
        (page, token.map(|last| URL_SAFE_NO_PAD.encode(format!("{}:{last}", self.listing))))
    }
}

/// The key inside a token of this listing.
fn read_token<K: FromStr>(token: &str, listing: &str) -> Option<K> {
    let text = String::from_utf8(URL_SAFE_NO_PAD.decode(token).ok()?).ok()?;
    text.strip_prefix(listing)?.strip_prefix(':')?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(max: Option<u32>, token: Option<String>) -> Result<Page<u64>> {
        Page::new(&PageRequest { max, token }, "things", MOST_ROWS)
    }

    #[test]
    fn pages_continue_behind_the_last_row_even_if_it_is_gone() {
        let rows = [(1, 'a'), (2, 'b'), (5, 'c'), (9, 'd')];
        let (first, token) = page(Some(2), None).unwrap().take(rows.into_iter());
        assert_eq!(first, ['a', 'b']);
        let second = page(Some(2), token).unwrap();
        let left = [(5, 'c'), (9, 'd')].into_iter().filter(|(seq, _)| {
            let (Bound::Excluded(after), _) = second.range() else { panic!("pages start behind a row") };
            *seq > after
        });
        let (rows, token) = second.take(left);
        assert_eq!((rows, token), (vec!['c', 'd'], None));
    }

    #[test]
    fn a_token_of_nothing_or_of_another_listing_is_refused() {
        assert!(page(None, Some("nonsense!".to_owned())).is_err());
        assert!(page(None, Some(URL_SAFE_NO_PAD.encode("other:3"))).is_err());
        assert!(page(None, Some(URL_SAFE_NO_PAD.encode("things:3"))).is_ok());
    }
}
