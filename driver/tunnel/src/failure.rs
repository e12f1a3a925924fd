//! Why the data plane could not do something, in a form that crosses a socket: what kind of failure it is, and the words for people.

use efs_common::disk::Unwritable;
use serde::{Deserialize, Serialize};

use crate::dial::DialError;

/// What went wrong. The text names the address, field or limit, and what to do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct Failure {
    /// What kind of failure it is.
    pub kind: FailureKind,
    /// The words.
    pub message: String,
}

/// Kinds of failures that callers tell apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FailureKind {
    /// All ports are taken.
    NoPort,
    /// A particular port can't be had.
    Port,
    /// The limit of open files is reached.
    Files,
    /// The file system or its mount target doesn't exist.
    Missing,
    /// The mount target's address can't be found out, or nothing answers there.
    Unreachable,
    /// What answers isn't the mount target.
    NotTheServer,
    /// The mount target refuses this identity.
    Refused,
    /// No credentials.
    Credentials,
    /// The data plane itself doesn't answer.
    Away,
    /// No room is left on the data plane's disk.
    DiskFull,
    /// Nothing can be written on it.
    ReadOnlyDisk,
    /// Something is broken here.
    #[serde(other)]
    Internal,
}

impl Failure {
    /// A failure that a disk is the reason for, or one of this kind.
    pub(crate) fn by_disk(disk: Option<Unwritable>, otherwise: FailureKind) -> FailureKind {
        match disk {
            Some(disk) if disk.is_full() => FailureKind::DiskFull,
            Some(_) => FailureKind::ReadOnlyDisk,
            None => otherwise,
        }
    }

    /// A failure of this kind.
    pub fn new(kind: FailureKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into() }
    }
}

impl From<DialError> for Failure {
    fn from(error: DialError) -> Self {
        let kind = match &error {
            DialError::Locate { source, .. } if source.missing => FailureKind::Missing,
            DialError::Locate { .. }
            | DialError::Connect { .. }
            | DialError::NotNfs { .. }
            | DialError::Handshake { .. } => FailureKind::Unreachable,
            DialError::Files { .. } => FailureKind::Files,
            DialError::NotTheServer { .. } => FailureKind::NotTheServer,
            DialError::Refused { .. } => FailureKind::Refused,
            DialError::Credentials { .. } => FailureKind::Credentials,
            DialError::Key(reason) => Self::by_disk(Unwritable::among_causes(reason.as_ref()), FailureKind::Internal),
            DialError::Certificate(_) | DialError::Configuration(_) => FailureKind::Internal,
        };
        Self::new(kind, error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kind_of_a_newer_version_is_taken_as_internal() {
        let text = r#"{"kind":"out_of_luck","message":"no luck","more":1}"#;
        let failure: Failure = serde_json::from_str(text).expect("parse");
        assert_eq!(failure, Failure::new(FailureKind::Internal, "no luck"));
        let text = serde_json::to_string(&Failure::new(FailureKind::NoPort, "x")).expect("json");
        assert_eq!(text, r#"{"kind":"no_port","message":"x"}"#);
    }
}
