//! The conditions of requests: If-Match and its relatives.

use jiff::Timestamp;

use super::errors::{Condition, Refusal, Result};

/// What must hold for an object to be written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum WriteCondition {
    /// Nothing.
    #[default]
    Always,
    /// There is no object under this key (`If-None-Match: *`).
    Absent,
    /// The object has this ETag (`If-Match`).
    Unchanged(String),
}

impl WriteCondition {
    /// Checks against the ETag of what is there.
    pub(super) fn check(&self, there: Option<&str>) -> Result<()> {
        match (self, there) {
            (Self::Always, _) | (Self::Absent, None) => Ok(()),
            (Self::Absent, Some(_)) => Err(Refusal::PreconditionFailed(Condition::IfNoneMatch)),
            (Self::Unchanged(_), None) => Err(Refusal::NoSuchKey { marker: None }),
            (Self::Unchanged(wanted), Some(etag)) if wanted == etag => Ok(()),
            (Self::Unchanged(_), Some(_)) => Err(Refusal::PreconditionFailed(Condition::IfMatch)),
        }
    }
}

/// Which ETags are meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Etags {
    /// `*`
    Any,
    /// One of them, without quotation marks.
    One(String),
}

impl Etags {
    fn match_with(&self, etag: &str) -> bool {
        match self {
            Self::Any => true,
            Self::One(wanted) => wanted == etag,
        }
    }
}

/// What must hold for an object to be read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReadConditions {
    /// It has one of these.
    pub if_match: Option<Etags>,
    /// It has none of these.
    pub if_none_match: Option<Etags>,
    /// It is younger.
    pub if_modified_since: Option<Timestamp>,
    /// It isn't younger.
    pub if_unmodified_since: Option<Timestamp>,
}

impl ReadConditions {
    /// Checks them as RFC 9110 orders them: an ETag counts more than a time.
    pub fn check(&self, etag: &str, modified: Timestamp) -> Result<()> {
        // HTTP knows whole seconds only.
        let is_younger = |than: Timestamp| modified.as_second() > than.as_second();
        if let Some(wanted) = &self.if_match {
            if !wanted.match_with(etag) {
                return Err(Refusal::PreconditionFailed(Condition::IfMatch));
            }
        } else if self.if_unmodified_since.is_some_and(is_younger) {
            return Err(Refusal::PreconditionFailed(Condition::IfUnmodifiedSince));
        }
        let not_modified = match &self.if_none_match {
            Some(known) => known.match_with(etag),
            None => self.if_modified_since.is_some_and(|than| !is_younger(than)),
        };
        if not_modified { Err(Refusal::NotModified { etag: etag.to_owned() }) } else { Ok(()) }
    }

    /// Checks them for the source of a copy, where nobody has a copy already that could still be good.
    pub fn check_source(&self, etag: &str, modified: Timestamp) -> Result<()> {
        self.check(etag, modified).map_err(|refusal| match refusal {
            Refusal::NotModified { .. } if self.if_none_match.is_some() => {
                Refusal::PreconditionFailed(Condition::IfNoneMatch)
            }
            Refusal::NotModified { .. } => Refusal::PreconditionFailed(Condition::IfModifiedSince),
            other => other,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn a_write_is_refused_when_its_condition_does_not_hold() {
        let unchanged = WriteCondition::Unchanged("a".to_owned());
        assert_eq!(unchanged.check(Some("a")), Ok(()));
        assert_eq!(unchanged.check(Some("b")), Err(Refusal::PreconditionFailed(Condition::IfMatch)));
        assert_eq!(unchanged.check(None), Err(Refusal::NoSuchKey { marker: None }));
        assert_eq!(WriteCondition::Absent.check(None), Ok(()));
        let there = WriteCondition::Absent.check(Some("a"));
        assert_eq!(there, Err(Refusal::PreconditionFailed(Condition::IfNoneMatch)));
        assert_eq!(WriteCondition::Always.check(Some("a")), Ok(()));
    }

    #[test]
    fn an_etag_counts_more_than_a_time() {
        let one = |etag: &str| Some(Etags::One(etag.to_owned()));
        let conditions = |if_match, if_none_match, if_modified_since, if_unmodified_since| {
            ReadConditions { if_match, if_none_match, if_modified_since, if_unmodified_since }.check("a", at(100))
        };
        let (failed, not_modified) = (Refusal::PreconditionFailed, Refusal::NotModified { etag: "a".to_owned() });
        assert_eq!(conditions(None, None, None, None), Ok(()));
        assert_eq!(conditions(one("a"), None, None, Some(at(50))), Ok(()));
        assert_eq!(conditions(one("b"), None, None, Some(at(200))), Err(failed(Condition::IfMatch)));
        assert_eq!(conditions(Some(Etags::Any), None, None, None), Ok(()));
        assert_eq!(conditions(None, None, None, Some(at(50))), Err(failed(Condition::IfUnmodifiedSince)));
        assert_eq!(conditions(None, None, None, Some(at(100))), Ok(()));
        assert_eq!(conditions(None, one("a"), None, None), Err(not_modified.clone()));
        assert_eq!(conditions(None, Some(Etags::Any), None, None), Err(not_modified.clone()));
        assert_eq!(conditions(None, one("b"), Some(at(200)), None), Ok(()));
        assert_eq!(conditions(None, None, Some(at(100)), None), Err(not_modified));
        assert_eq!(conditions(None, None, Some(at(99)), None), Ok(()));
        let source = ReadConditions { if_modified_since: Some(at(100)), ..ReadConditions::default() };
        assert_eq!(source.check_source("a", at(100)), Err(failed(Condition::IfModifiedSince)));
    }
}
