//! Why a token gives no credentials.

/// Why there are no credentials. The texts hold no token.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ExchangeError {
    /// The service account may not have the role.
    #[error("{0}")]
    Denied(String),
    /// The token isn't good: it has ended, or was never one of this cluster.
    #[error("{0}")]
    Token(String),
    /// Nobody answers, or nothing that can be understood.
    #[error("{0}")]
    Away(String),
}

impl ExchangeError {
    /// What was given can't be used. A clock that is wrong has all that is given look so.
    pub(super) fn ended() -> Self {
        Self::Away(
            "the credentials that were given end within a minute, by this machine's clock; see whether that is right"
                .to_owned(),
        )
    }
}
