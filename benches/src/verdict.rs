//! How promises came out.

use serde::{Deserialize, Serialize};

use crate::stats::Summary;

/// How a promise came out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// It holds over the whole spread.
    Holds,
    /// The median keeps it, a part of the spread doesn't.
    Close,
    /// The median breaks it.
    Misses,
    /// Nothing to judge by; the reason is beside it.
    NotMeasured,
}

impl Outcome {
    /// The word for people.
    pub fn word(self) -> &'static str {
        match self {
            Self::Holds => "holds",
            Self::Close => "close",
            Self::Misses => "misses",
            Self::NotMeasured => "not measured",
        }
    }
}

/// A promise beside what was measured.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Verdict {
    /// What is promised for.
    pub what: String,
    /// The promise, e.g. `≥ 1.5 × stunnel4`.
    pub budget: String,
    /// The measurement that judges it.
    pub measurement: String,
    /// The judged number: our median, or the ratio to the peer.
    pub value: Option<Summary>,
    /// What the Go driver and its helpers took, measured elsewhere.
    pub upstream: String,
    /// How it came out.
    pub outcome: Outcome,
    /// Why it was not measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}
