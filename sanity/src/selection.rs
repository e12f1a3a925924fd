//! Which checks run.

use regex_lite::Regex;

use crate::{
    check::{Check, Group},
    config::Spec,
};

mod files;

pub use files::FileFilter;
pub(crate) use files::origin;

/// A choice of checks by group, name, number and label. An empty list chooses everything.
#[derive(Debug, Clone)]
pub struct Selection {
    /// The version of CSI: later ones' checks take no part, and numbers that they added are unknown.
    pub spec: Spec,
    /// The groups that take part.
    pub groups: Vec<Group>,
    /// A check must match one of these, if there are any.
    pub focus: Vec<Regex>,
    /// A check must match none of these.
    pub skip: Vec<Regex>,
    /// A check must be in one of these files of the Go suite, if there are any.
    pub focus_files: Vec<FileFilter>,
    /// A check must be in none of these.
    pub skip_files: Vec<FileFilter>,
    /// A check must have one of these numbers, if there are any.
    pub numbers: Vec<u16>,
    /// A check must satisfy this, if it is given.
    pub labels: Option<LabelFilter>,
}

impl Default for Selection {
    fn default() -> Self {
        Self {
            spec: Spec::V1_13,
            groups: vec![Group::Go],
            focus: vec![],
            skip: vec![],
            focus_files: vec![],
            skip_files: vec![],
            numbers: vec![],
            labels: None,
        }
    }
}

impl Selection {
    /// Every check of both groups.
    #[must_use]
    pub fn everything() -> Self {
        Self { groups: vec![Group::Go, Group::Extra], ..Self::default() }
    }

    /// Whether the check runs.
    #[must_use]
    pub fn chooses(&self, check: &Check) -> bool {
        let name = check.name();
        let named = self.numbers.contains(&check.number);
        check.since <= self.spec
            && (named || self.numbers.is_empty() && self.groups.contains(&check.group))
            && (self.focus.is_empty() || self.focus.iter().any(|pattern| pattern.is_match(&name)))
            && !self.skip.iter().any(|pattern| pattern.is_match(&name))
            && (self.focus_files.is_empty() || self.focus_files.iter().any(|filter| filter.matches(check)))
            && !self.skip_files.iter().any(|filter| filter.matches(check))
            && self.labels.as_ref().is_none_or(|filter| filter.matches(&check.labels()))
    }
}

/// A label expression: labels joined with `&&`, `||` or `,`, negated with `!`, grouped with parentheses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LabelFilter(Expression);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Expression {
    Label(String),
    Not(Box<Expression>),
    Both(Box<Expression>, Box<Expression>),
    Either(Box<Expression>, Box<Expression>),
}

impl LabelFilter {
    fn matches(&self, labels: &[&str]) -> bool {
        fn holds(expression: &Expression, labels: &[&str]) -> bool {
            match expression {
                Expression::Label(label) => labels.iter().any(|own| own.eq_ignore_ascii_case(label)),
                Expression::Not(inner) => !holds(inner, labels),
                Expression::Both(left, right) => holds(left, labels) && holds(right, labels),
                Expression::Either(left, right) => holds(left, labels) || holds(right, labels),
            }
        }
        holds(&self.0, labels)
    }
}

impl std::str::FromStr for LabelFilter {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut parser = Parser { tokens: tokens(text), next: 0, depth: 0 };
        let expression = parser.either()?;
        match parser.peek() {
            None => Ok(Self(expression)),
            Some(token) => Err(format!("{token:?} is not expected in the label filter {text:?}")),
        }
    }
}

fn tokens(text: &str) -> Vec<String> {
    let spaced = ["&&", "||", ",", "!", "(", ")"]
        .iter()
        .fold(text.to_owned(), |text, mark| text.replace(mark, &format!(" {mark} ")));
    spaced.split_whitespace().map(str::to_owned).collect()
}

/// How deep parentheses and negations may nest.
const DEPTH_LIMIT: usize = 32;

struct Parser {
    tokens: Vec<String>,
    next: usize,
    depth: usize,
}

impl Parser {
    fn peek(&self) -> Option<&str> {
        self.tokens.get(self.next).map(String::as_str)
    }

    fn either(&mut self) -> Result<Expression, String> {
        let mut left = self.both()?;
        while matches!(self.peek(), Some("||" | ",")) {
            self.next += 1;
            left = Expression::Either(Box::new(left), Box::new(self.both()?));
        }
        Ok(left)
    }

    fn both(&mut self) -> Result<Expression, String> {
        let mut left = self.single()?;
        while self.peek() == Some("&&") {
            self.next += 1;
            left = Expression::Both(Box::new(left), Box::new(self.single()?));
        }
        Ok(left)
    }

    fn single(&mut self) -> Result<Expression, String> {
        self.depth += 1;
        if self.depth > DEPTH_LIMIT {
            return Err(format!("the label filter nests deeper than {DEPTH_LIMIT}"));
        }
        let token = self.peek().ok_or("the label filter ends too early")?.to_owned();
        self.next += 1;
        let expression = match token.as_str() {
            "!" => Expression::Not(Box::new(self.single()?)),
            "(" => {
                let inner = self.either()?;
                if self.peek() != Some(")") {
                    return Err("a parenthesis is not closed in the label filter".into());
                }
                self.next += 1;
                inner
            }
            "&&" | "||" | "," | ")" => return Err(format!("{token:?} is not expected in the label filter")),
            label => Expression::Label(label.to_owned()),
        };
        self.depth -= 1;
        Ok(expression)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(filter: &str) -> bool {
        filter.parse::<LabelFilter>().unwrap().matches(&["go", "controller"])
    }

    #[test]
    fn label_expressions_follow_the_usual_precedence() {
        assert!(matches("go && controller"));
        assert!(matches("node || go && controller"));
        assert!(!matches("(node || go) && !controller"));
        assert!(matches("node, GO"));
        assert!(!matches("!go"));
    }

    #[test]
    fn broken_label_expressions_are_refused() {
        for text in ["", "go &&", "(go", "go)", "&& go", "go node"] {
            assert!(text.parse::<LabelFilter>().is_err(), "{text}");
        }
        assert!("!".repeat(100_000).parse::<LabelFilter>().is_err());
    }

    #[test]
    fn focus_skip_and_numbers_combine() {
        let check = Check { number: 12, container: "Controller Service", title: "should work", ..Check::GO };
        let mut selection = Selection { focus: vec![Regex::new("Service should").unwrap()], ..Selection::default() };
        assert!(selection.chooses(&check));
        selection.numbers = vec![13];
        assert!(!selection.chooses(&check));
        selection.numbers.push(12);
        assert!(selection.chooses(&check));
        selection.skip = vec![Regex::new("work$").unwrap()];
        assert!(!selection.chooses(&check));
    }
}
