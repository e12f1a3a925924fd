//! How a check says what it expects.

use csi_proto::code_name;
use tonic::Code;

use crate::client::{Answer, Cause, Refusal};

/// Why a check ends early.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Stop {
    /// The driver does not do what the check asks for.
    Failed(String),
    /// The driver's answer says that the check does not apply.
    Skipped(String),
}

/// What a check, or a part of one, ends with.
pub(crate) type Outcome<T = ()> = Result<T, Stop>;

/// A failure with this text.
pub(crate) fn fail<T>(text: impl Into<String>) -> Outcome<T> {
    Err(Stop::Failed(text.into()))
}

/// Fails with the text when the condition does not hold.
pub(crate) fn ensure(condition: bool, text: impl FnOnce() -> String) -> Outcome {
    if condition { Ok(()) } else { fail(text()) }
}

/// Expectations of an answer.
pub(crate) trait Expect<T> {
    /// The call must succeed.
    fn succeeds(self, call: &str) -> Outcome<T>;
    /// The call must be refused with this code.
    fn refused(self, code: Code, call: &str) -> Outcome;
    /// The call must be refused with one of these codes.
    fn refused_with_any(self, codes: &[Code], call: &str) -> Outcome;
    /// The driver must refuse the call with any code.
    fn fails(self, call: &str) -> Outcome;
}

impl<T> Expect<T> for Answer<T> {
    fn succeeds(self, call: &str) -> Outcome<T> {
        self.or_else(|refusal| fail(format!("{call} should succeed, but it ended with {refusal}")))
    }

    fn refused(self, code: Code, call: &str) -> Outcome {
        self.refused_with_any(&[code], call)
    }

    fn refused_with_any(self, codes: &[Code], call: &str) -> Outcome {
        let wanted = codes.iter().map(|code| code_name(*code)).collect::<Vec<_>>().join(" or ");
        match self {
            Err(Refusal { code, cause: Cause::Driver, .. }) if codes.contains(&code) => Ok(()),
            Err(refusal) => fail(format!("{call} should be refused with {wanted}, but it ended with {refusal}")),
            Ok(_) => fail(format!("{call} should be refused with {wanted}, but it succeeded")),
        }
    }

    fn fails(self, call: &str) -> Outcome {
        match self {
            Err(Refusal { cause: Cause::Driver, .. }) => Ok(()),
            Err(refusal) => fail(format!("{call} should be refused by the driver, but {refusal}")),
            Ok(_) => fail(format!("{call} should be refused, but it succeeded")),
        }
    }
}
