//! TLS as EFS does it: a server certificate for every file system's name, and any client certificate accepted, because what
//! counts is what it claims and who signed that claim.

mod authority;
mod identity;
mod verifier;

pub use authority::{Authority, AuthorityError, ServerFlaw};
pub use identity::{CertificateError, claims, verify_signature};
