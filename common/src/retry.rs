//! Whether a failed call is worth repeating.

/// What to do with a call that has failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retry {
    /// The same call may succeed later, without anybody changing anything.
    Later,
    /// It fails again until somebody changes something.
    Never,
}
