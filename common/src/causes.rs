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

/// The texts of an error and its causes, outermost first. A text that the one before ends with is not repeated: many errors tell
/// their cause themselves.
pub fn causes(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let words = cause.to_string();
        if !text.ends_with(&words) {
            text.push_str(": ");
            text.push_str(&words);
        }
        next = cause.source();
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
}
