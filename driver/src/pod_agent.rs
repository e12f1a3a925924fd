//! Where the agent of EKS Pod Identity listens.

use std::fmt;
use std::str::FromStr;

use http::Uri;

/// Where it does on every node that has it.
pub const DEFAULT: &str = "http://169.254.170.23/v1/credentials";

/// The agent's address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AgentUri(Uri);

impl Default for AgentUri {
    fn default() -> Self {
        Self(Uri::from_static(DEFAULT))
    }
}

impl fmt::Display for AgentUri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl AgentUri {
    /// The address.
    pub fn uri(&self) -> &Uri {
        &self.0
    }
}

/// What can't be the agent's address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be http://ADDRESS[:PORT]/PATH, with an address and no name")]
pub struct WrongAgent;

impl FromStr for AgentUri {
    type Err = WrongAgent;

    /// Addresses only: a name could lead a token to somebody else, and the agent has none.
    fn from_str(text: &str) -> Result<Self, WrongAgent> {
        let uri: Uri = text.parse().map_err(|_| WrongAgent)?;
        let host = uri.host().unwrap_or_default();
        let is_address = host.trim_matches(['[', ']']).parse::<std::net::IpAddr>().is_ok();
        match uri.scheme_str() == Some("http") && is_address {
            true => Ok(Self(uri)),
            false => Err(WrongAgent),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_goes_to_an_address_only() {
        assert_eq!(AgentUri::default().to_string(), DEFAULT);
        for well in [DEFAULT, "http://[fd00:ec2::23]/v1/credentials", "http://127.0.0.1:4991/v1/credentials"] {
            assert!(well.parse::<AgentUri>().is_ok(), "{well}");
        }
        for wrong in
            ["", "169.254.170.23", "https://169.254.170.23/", "http://agent.example/v1/credentials", "http:///x"]
        {
            assert!(wrong.parse::<AgentUri>().is_err(), "{wrong}");
        }
    }
}
