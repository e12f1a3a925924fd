//! An error and its causes in one line.

use std::error::Error;

/// A failure with what was used on the way.
#[derive(Debug, thiserror::Error)]
#[error("{context}")]
pub struct InContext {
    /// What was used.
    pub context: String,
    /// What failed.
    pub source: Box<dyn Error + Send + Sync>,
}

/// An error and its causes, outermost first.
pub fn chain<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |&error| error.source())
}

/// The texts of an error and its causes, outermost first. What a text tells of its cause at its end is not repeated: many errors tell
/// their cause themselves, some with the causes of that.
pub fn causes(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let Some(cause) = error.source() else { return text };
    let (words, rest) = (cause.to_string(), causes(cause));
    if text.ends_with(&rest) {
        return text;
    }
    if text.ends_with(&words) {
        text.push_str(&rest[words.len()..]);
    } else {
        text.push_str(": ");
        text.push_str(&rest);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io;

    #[derive(Debug, thiserror::Error)]
    #[error("cannot read {path}{}", if *.told { format!(": {source}") } else { String::new() })]
    struct Outer {
        path: &'static str,
        told: bool,
        source: io::Error,
    }

    #[test]
    fn each_cause_is_told_once() {
        for told in [true, false] {
            let error = Outer { path: "/x", told, source: io::Error::other("it is gone") };
            assert_eq!(causes(&error), "cannot read /x: it is gone");
        }
    }

    /// A cause that tells its own cause isn't told twice, wherever the chain begins.
    #[test]
    fn an_error_that_tells_its_whole_chain_is_believed() {
        #[derive(Debug, thiserror::Error)]
        #[error("asking failed: {}", causes(.0))]
        struct Whole(#[source] Outer);
        let outer = Outer { path: "a", told: false, source: io::Error::other("b") };
        let text = causes(&Whole(outer));
        assert_eq!(text, "asking failed: cannot read a: b");
        let outer = Outer { path: "a", told: true, source: io::Error::other("b") };
        assert_eq!(causes(&Whole(outer)), text);
    }
}
