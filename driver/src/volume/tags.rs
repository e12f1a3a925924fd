//! The `--tags` flag: `key:value key:value …`, with a backslash before a space, a colon or a backslash.
//!
//! EFS's limits hold here too, so that a wrong flag stops the driver at start instead of every CreateVolume later.

use std::collections::BTreeMap;

/// Most tags that EFS keeps on a resource.
pub const MOST_TAGS: usize = 50;

/// Most characters of a tag's key (EFS API).
pub const LONGEST_KEY: usize = 128;

/// Most characters of a tag's value (EFS API).
pub const LONGEST_VALUE: usize = 256;

/// Why a list of tags was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TagError {
    /// A backslash stands at the end, with nothing to escape.
    #[error("a backslash at the end escapes nothing; write \\\\ for a backslash")]
    LoneBackslash,
    /// An entry has more than one colon that is not escaped.
    #[error("tag {0:?} is not key:value; write \\: for a colon inside a key or value")]
    Colons(String),
    /// An entry has no key.
    #[error("tag {0:?} has an empty key")]
    EmptyKey(String),
    /// The key begins with `aws:`, which AWS keeps to itself.
    #[error("tag key {0:?} begins with aws:, which is reserved")]
    Reserved(String),
    /// The key has more than 128 characters.
    #[error("tag key {0:?} is longer than 128 characters")]
    LongKey(String),
    /// The value has more than 256 characters.
    #[error("the value of tag {0:?} is longer than 256 characters")]
    LongValue(String),
    /// There are more tags than EFS keeps.
    #[error("{0} tags are more than the 50 that EFS keeps on a resource")]
    TooMany(usize),
}

/// Parses the flag. Entries are separated by spaces; a key alone has an empty value; of two equal keys the last one counts.
///
/// # Errors
/// The first entry that breaks a rule.
pub fn parse_tags(text: &str) -> Result<BTreeMap<String, String>, TagError> {
    let mut tags = BTreeMap::new();
    let mut fields = vec![String::new()];
    let mut escaped = false;
    for c in text.chars() {
        let field = fields.last_mut().expect("fields starts with one entry and never gets empty");
        match c {
            c if escaped => {
                field.push(c);
                escaped = false;
            }
            '\\' => escaped = true,
            ':' => fields.push(String::new()),
            ' ' => add_entry(&mut tags, std::mem::replace(&mut fields, vec![String::new()]))?,
            c => field.push(c),
        }
    }
    if escaped {
        return Err(TagError::LoneBackslash);
    }
    add_entry(&mut tags, fields)?;
    if tags.len() > MOST_TAGS {
        return Err(TagError::TooMany(tags.len()));
    }
    Ok(tags)
}

fn add_entry(tags: &mut BTreeMap<String, String>, fields: Vec<String>) -> Result<(), TagError> {
    let (key, value) = match fields.as_slice() {
        [key] if key.is_empty() => return Ok(()),
        [key] => (key.clone(), String::new()),
        [key, value] => (key.clone(), value.clone()),
        _ => return Err(TagError::Colons(fields.join(":"))),
    };
    check_tag(&key, &value)?;
    tags.insert(key, value);
    Ok(())
}

/// Checks one tag against EFS's rules.
///
/// # Errors
/// The rule that it breaks.
pub fn check_tag(key: &str, value: &str) -> Result<(), TagError> {
    if key.is_empty() {
        Err(TagError::EmptyKey(format!("{key}:{value}")))
    } else if key.get(..4).is_some_and(|start| start.eq_ignore_ascii_case("aws:")) {
        Err(TagError::Reserved(key.to_owned()))
    } else if key.chars().count() > LONGEST_KEY {
        Err(TagError::LongKey(key.to_owned()))
    } else if value.chars().count() > LONGEST_VALUE {
        Err(TagError::LongValue(key.to_owned()))
    } else {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn pairs(text: &str) -> Vec<(String, String)> {
        parse_tags(text).unwrap().into_iter().collect()
    }

    fn pair(key: &str, value: &str) -> (String, String) {
        (key.to_owned(), value.to_owned())
    }

    #[test]
    fn entries_are_split_at_spaces_and_colons() {
        assert_eq!(pairs(" env:prod  team:a\\ b "), [pair("env", "prod"), pair("team", "a b")]);
        assert_eq!(
            pairs("url:http\\://x dir:c\\\\d lone"),
            [pair("dir", "c\\d"), pair("lone", ""), pair("url", "http://x")]
        );
        assert_eq!(pairs(""), []);
        assert_eq!(pairs("a:1 a:2"), [pair("a", "2")]);
    }

    /// UB-24: the Go driver's parser goes wrong after text beyond ASCII, and at characters whose low byte is a separator.
    #[test]
    fn text_beyond_ascii_is_kept_whole() {
        assert_eq!(pairs("größe:groß\\ er Ġ:ĺ"), [pair("größe", "groß er"), pair("Ġ", "ĺ")]);
    }

    /// UB-23: the Go driver drops the whole list at a lone backslash.
    #[test]
    fn a_broken_list_is_an_error_and_not_an_empty_list() {
        assert_eq!(parse_tags("a:b c:\\"), Err(TagError::LoneBackslash));
        assert_eq!(parse_tags("a:b:c"), Err(TagError::Colons("a:b:c".into())));
        assert_eq!(parse_tags(":v"), Err(TagError::EmptyKey(":v".into())));
        assert_eq!(parse_tags("aws\\:x:1"), Err(TagError::Reserved("aws:x".into())));
        assert!(matches!(parse_tags(&"k".repeat(129)), Err(TagError::LongKey(_))));
        assert!(matches!(parse_tags(&format!("k:{}", "v".repeat(257))), Err(TagError::LongValue(_))));
        let many: Vec<String> = (0..51).map(|n| format!("k{n}:v")).collect();
        assert_eq!(parse_tags(&many.join(" ")), Err(TagError::TooMany(51)));
    }

    proptest! {
        #[test]
        fn any_tag_survives_escaping(key in "[^\\pC]{1,20}", value in "[^\\pC]{0,20}") {
            prop_assume!(!key.to_ascii_lowercase().starts_with("aws:"));
            let escape = |s: &str| s.replace('\\', "\\\\").replace(' ', "\\ ").replace(':', "\\:");
            let text = format!("{}:{}", escape(&key), escape(&value));
            prop_assert_eq!(parse_tags(&text).unwrap(), BTreeMap::from([(key, value)]));
        }
    }
}
