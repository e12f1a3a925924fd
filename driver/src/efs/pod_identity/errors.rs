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
