//! The forms of texts that both APIs know, as code. Their models write the same patterns differently.

/// Whether a text can be a tag's key: those that begin with `aws:` are AWS's own.
pub(super) fn is_tag_key(text: &str) -> bool {
    let reserved = text.get(..4).is_some_and(|start| start.eq_ignore_ascii_case("aws:"));
    !reserved && !text.is_empty() && is_tag_value(text)
}

/// Whether a text can be a tag's value.
pub(super) fn is_tag_value(text: &str) -> bool {
    text.chars().all(is_tag_char)
}

/// Whether a text is a file mode of three or four octal digits.
pub(super) fn are_permissions(text: &str) -> bool {
    (3..=4).contains(&text.len()) && text.bytes().all(|b| (b'0'..=b'7').contains(&b))
}

/// Whether a text looks like an IPv4 address; its numbers may be too large.
pub(super) fn is_ip_address(text: &str) -> bool {
    text.split('.').count() == 4
        && text.split('.').all(|part| (1..=3).contains(&part.len()) && part.bytes().all(|b| b.is_ascii_digit()))
}

/// Whether a text is the ARN of an IAM role.
pub(super) fn is_role(text: &str) -> bool {
    let mut parts = text.splitn(6, ':');
    parts.next() == Some("arn")
        && parts.next().is_some()
        && parts.next() == Some("iam")
        && parts.next() == Some("")
        && parts.next().is_some_and(|account| account.len() == 12 && account.bytes().all(|b| b.is_ascii_digit()))
        && parts.next().is_some_and(|name| name.starts_with("role") && name.len() > 4)
}

/// Letters, separators and numbers of any script, and `_.:/=+-@`.
fn is_tag_char(c: char) -> bool {
    c.is_alphanumeric() || "_.:/=+-@".contains(c) || (c.is_whitespace() && !c.is_control())
}

/// `/`, or one to four components that don't start with a dot and have none of the forbidden characters.
pub(super) fn is_path(text: &str) -> bool {
    text == "/"
        || text.strip_prefix('/').is_some_and(|rest| {
            let mut parts = rest.split('/');
            let good = |part: &str| {
                !part.is_empty() && !part.starts_with('.') && !part.contains(|c| "$#<>;`|&?{}^*\n".contains(c))
            };
            rest.split('/').count() <= 4 && parts.all(good)
        })
}

/// Whether a text names a key of KMS: an id, an alias, or an ARN of either.
pub(super) fn is_key(text: &str) -> bool {
    let hex = |s: &str, len: usize| s.len() == len && s.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    let uuid =
        |s: &str| s.split('-').count() == 5 && s.split('-').zip([8, 4, 4, 4, 12]).all(|(part, len)| hex(part, len));
    let key = |s: &str| uuid(s) || s.strip_prefix("mrk-").is_some_and(|rest| hex(rest, 32));
    let alias = |s: &str| {
        let name = s.strip_prefix("alias/");
        name.is_some_and(|n| !n.is_empty() && n.bytes().all(|b| b.is_ascii_alphanumeric() || b"/_-".contains(&b)))
    };
    match text.strip_prefix("arn:aws") {
        Some(rest) => {
            let parts: Vec<_> = rest.splitn(5, ':').collect();
            matches!(parts[..], [_, "kms", _, account, path] if account.len() == 12
                && (alias(path) || path.strip_prefix("key/").is_some_and(key)))
        }
        None => key(text) || alias(text),
    }
}
