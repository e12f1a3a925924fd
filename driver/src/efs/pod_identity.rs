//! Credentials for the service accounts of pods, by the tokens that the kubelet brings.
//!
//! - [`token`]: a token, and what may be done with it
//! - [`exchange`]: who gives credentials for one
//! - `sts`, `agent`: the two who do
//! - [`errors`]: why there are none
//! - [`store`]: the identities of this node, each with its latest tokens and credentials, renewed ahead of need
//!
//! Nothing here falls back to another identity: a service account has its own credentials or none.

mod agent;
pub mod errors;
pub mod exchange;
pub mod store;
mod sts;
pub mod token;

pub use errors::ExchangeError;
pub use exchange::{AwsExchange, Exchange};
pub use store::{PodIdentities, WithPods};
pub use token::{Audience, PodTokens, Token, TokenError};
