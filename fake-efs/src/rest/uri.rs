//! Paths and query strings, decoded strictly: what is not UTF-8 after decoding is refused.

use std::borrow::Cow;

use percent_encoding::percent_decode_str;

/// Decodes a path segment; `None` if it is not UTF-8.
pub(crate) fn decode(text: &str) -> Option<String> {
    percent_decode_str(text).decode_utf8().ok().map(Cow::into_owned)
}

/// Splits and decodes a query string or form; `None` if it is not UTF-8. `+` is a space.
pub(crate) fn query(text: &str) -> Option<Vec<(String, String)>> {
    let pairs = text.split('&').filter(|pair| !pair.is_empty());
    pairs
        .map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            Some((decode(&name.replace('+', " "))?, decode(&value.replace('+', " "))?))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries_are_split_before_they_are_decoded() {
        let pairs = query("tagKeys=a%26b&tagKeys=c+d&Empty").unwrap();
        let expected = [("tagKeys", "a&b"), ("tagKeys", "c d"), ("Empty", "")];
        assert_eq!(pairs, expected.map(|(k, v)| (k.to_owned(), v.to_owned())));
        assert_eq!(query("x=%FF"), None);
    }
}
