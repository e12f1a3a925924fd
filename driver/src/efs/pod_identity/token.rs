//! Service accounts' tokens, as the kubelet brings them: one JSON object with a token for each audience.
//!
//! A token is a bearer's proof: whoever reads it can be the pod. It is never shown and is overwritten when it is dropped.

use std::collections::BTreeMap;
use std::fmt;
use std::time::SystemTime;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::Timestamp;
use serde::{Deserialize, Deserializer};
use zeroize::Zeroizing;

use crate::limits::cut;

/// All tokens of a pod have so many bytes at most. The kubelet's have 1 to 2 KiB each.
const TOKENS_MAX: usize = 48 * 1024;
/// A token is never longer: STS takes no more characters.
const TOKEN_MAX: usize = 20_000;
/// What stands in the place of a token that somebody has repeated.
const HIDDEN: &str = "***";

/// For whom a token is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Audience {
    /// AWS STS (IRSA).
    Sts,
    /// EKS Pod Identity.
    Agent,
}

impl Audience {
    /// Its name in tokens and in the CSIDriver's `tokenRequests`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Sts => "sts.amazonaws.com",
            Self::Agent => "pods.eks.amazonaws.com",
        }
    }
}

/// A service account's token.
pub struct Token {
    text: Zeroizing<String>,
    expires: SystemTime,
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(***)")
    }
}

impl PartialEq for Token {
    fn eq(&self, other: &Self) -> bool {
        *self.text == *other.text
    }
}

/// What is wrong with the tokens. Never says what is in them.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// They can't be read at all.
    #[error(
        "the service account's tokens are no JSON object of audiences with token and expirationTimestamp (line {line}, column {column})"
    )]
    NotJson {
        /// Where.
        line: usize,
        /// Where.
        column: usize,
    },
    /// They are too long.
    #[error("the service account's tokens have {0} bytes, the limit is {TOKENS_MAX}")]
    Enormous(usize),
    /// One of them is no token.
    #[error("the token for {audience} {reason}")]
    NoToken {
        /// Its audience.
        audience: String,
        /// Why not.
        reason: String,
    },
    /// It is somebody else's.
    #[error("the token for {audience} is {subject}'s, not the pod's own, which is {wanted}")]
    OtherSubject {
        /// Its audience.
        audience: String,
        /// Whose it is.
        subject: String,
        /// Whose it should be.
        wanted: String,
    },
}

impl Token {
    /// A token of this service account. Its signature isn't looked at, which is AWS's to do, and neither is the time when it ends: the
    /// node's clock may be wrong.
    ///
    /// # Errors
    /// When it is no JSON Web Token, or another one's.
    pub fn new(
        text: Zeroizing<String>,
        expires: SystemTime,
        audience: &str,
        (namespace, account): (&str, &str),
    ) -> Result<Self, TokenError> {
        let wrong = |reason: String| TokenError::NoToken { audience: cut(audience), reason };
        if text.len() > TOKEN_MAX {
            return Err(wrong(format!("has {} bytes, the limit is {TOKEN_MAX}", text.len())));
        }
        // It becomes a header's value, as it is.
        if !text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.=".contains(&byte)) {
            return Err(wrong("has characters that no token has".to_owned()));
        }
        let subject = subject(&text).ok_or_else(|| wrong("is no JSON Web Token with a subject".to_owned()))?;
        let wanted = format!("system:serviceaccount:{namespace}:{account}");
        if subject != wanted {
            return Err(TokenError::OtherSubject {
                audience: cut(audience),
                subject: cut(&subject),
                wanted: cut(&wanted),
            });
        }
        Ok(Self { text, expires })
    }

    /// The token itself, for whom it is meant, and for nobody else.
    pub(super) fn reveal(&self) -> &str {
        &self.text
    }

    /// When it ends, as the kubelet says.
    pub fn expires(&self) -> SystemTime {
        self.expires
    }

    /// What somebody has said, without the token or its parts, which an answer might repeat.
    pub(super) fn hide_in(&self, said: &str) -> String {
        let mut said = said.replace(self.text.as_str(), HIDDEN);
        // Shorter parts are in any text.
        for part in self.text.split('.').filter(|part| part.len() >= 8) {
            said = said.replace(part, HIDDEN);
        }
        cut(&said)
    }
}

/// Whose a token is, as it says itself.
fn subject(text: &str) -> Option<String> {
    #[derive(Deserialize)]
    struct Claims {
        sub: String,
    }
    let mut parts = text.split('.');
    let (Some(_), Some(payload), Some(_), None) = (parts.next(), parts.next(), parts.next(), parts.next()) else {
        return None;
    };
    let payload = Zeroizing::new(URL_SAFE_NO_PAD.decode(payload.trim_end_matches('=')).ok()?);
    serde_json::from_slice::<Claims>(&payload).ok().map(|claims| claims.sub)
}

/// A pod's tokens for AWS. Those for others are passed over.
#[derive(Debug, Default)]
pub struct PodTokens {
    sts: Option<Token>,
    agent: Option<Token>,
    /// What there is, for messages.
    audiences: Vec<String>,
}

impl PodTokens {
    /// Reads the kubelet's JSON text.
    ///
    /// # Errors
    /// When it can't be used.
    pub fn parse(text: &str, owner: (&str, &str)) -> Result<Self, TokenError> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Entry {
            #[serde(deserialize_with = "zeroizing")]
            token: Zeroizing<String>,
            expiration_timestamp: Timestamp,
        }
        fn zeroizing<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Zeroizing<String>, D::Error> {
            String::deserialize(deserializer).map(Zeroizing::new)
        }
        if text.len() > TOKENS_MAX {
            return Err(TokenError::Enormous(text.len()));
        }
        // The parser's own words repeat what it has read.
        let entries: BTreeMap<String, Entry> = serde_json::from_str(text)
            .map_err(|error| TokenError::NotJson { line: error.line(), column: error.column() })?;
        let mut tokens = Self { audiences: entries.keys().map(|name| cut(name)).collect(), ..Self::default() };
        for (name, Entry { token, expiration_timestamp }) in entries {
            let slot = match name.as_str() {
                name if name == Audience::Sts.name() => &mut tokens.sts,
                name if name == Audience::Agent.name() => &mut tokens.agent,
                _ => continue,
            };
            *slot = Some(Token::new(token, expiration_timestamp.into(), &name, owner)?);
        }
        Ok(tokens)
    }

    /// Whether there is a token for `audience`.
    pub fn has(&self, audience: Audience) -> bool {
        match audience {
            Audience::Sts => self.sts.is_some(),
            Audience::Agent => self.agent.is_some(),
        }
    }

    /// Takes the token for `audience`; the others are overwritten.
    pub fn take(self, audience: Audience) -> Option<Token> {
        match audience {
            Audience::Sts => self.sts,
            Audience::Agent => self.agent,
        }
    }

    /// The audiences that there are tokens for.
    pub fn audiences(&self) -> &[String] {
        &self.audiences
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    const OWNER: (&str, &str) = ("team-a", "app");

    /// A token as a cluster's API server makes them, with a signature that nobody checks.
    pub(crate) fn jwt(namespace: &str, account: &str, serial: &str) -> String {
        let part = |text: &str| URL_SAFE_NO_PAD.encode(text);
        let claims = format!(r#"{{"sub":"system:serviceaccount:{namespace}:{account}","jti":"{serial}"}}"#);
        format!("{}.{}.{}", part(r#"{"alg":"none"}"#), part(&claims), part("a-signature"))
    }

    fn json(audience: &str, token: &str) -> String {
        format!(r#"{{"{audience}":{{"token":"{token}","expirationTimestamp":"2030-01-01T00:00:00Z"}}}}"#)
    }

    #[test]
    fn tokens_are_told_apart_by_their_audience_and_never_shown() {
        let (text, other) = (jwt("team-a", "app", "1"), jwt("team-a", "app", "2"));
        let both = format!(
            r#"{{"sts.amazonaws.com":{{"token":"{text}","expirationTimestamp":"2030-01-01T00:00:00Z"}},
                "pods.eks.amazonaws.com":{{"token":"{other}","expirationTimestamp":"2031-01-01T00:00:00Z"}},
                "vault":{{"token":"no token at all","expirationTimestamp":"2031-01-01T00:00:00Z"}}}}"#
        );
        let tokens = PodTokens::parse(&both, OWNER).expect("tokens");
        let shown = format!("{tokens:?} {tokens:#?}");
        assert!(!text.split('.').chain(other.split('.')).any(|part| shown.contains(part)), "{shown}");
        assert!(tokens.has(Audience::Sts) && tokens.has(Audience::Agent));
        assert_eq!(tokens.audiences(), ["pods.eks.amazonaws.com", "sts.amazonaws.com", "vault"]);
        let token = tokens.take(Audience::Agent).expect("the agent's");
        assert_eq!(token.reveal(), other);
        assert_eq!(Timestamp::try_from(token.expires()).expect("a time").to_string(), "2031-01-01T00:00:00Z");
    }

    #[test]
    fn what_is_wrong_is_told_without_what_is_in_it() {
        let (good, secret) = (jwt("team-a", "app", "1"), jwt("team-b", "app", "1"));
        let cases = [
            ("not JSON".to_owned(), "line 1, column"),
            (good.clone(), "line 1, column"),
            // The parser would say: invalid type: string "eyJ…".
            (format!(r#"{{"sts.amazonaws.com":"{good}"}}"#), "line 1, column"),
            (format!(r#"{{"sts.amazonaws.com":{{"token":"{good}"}}}}"#), "line 1, column"),
            (format!("[\"{good}\"]"), "line 1, column"),
            ("x".repeat(TOKENS_MAX + 1), "the limit is 49152"),
            (json("sts.amazonaws.com", &"x".repeat(TOKEN_MAX + 1)), "has 20001 bytes"),
            (json("sts.amazonaws.com", ""), "is no JSON Web Token"),
            (json("sts.amazonaws.com", "abcdefgh.abcdefgh.abcdefgh"), "is no JSON Web Token"),
            (json("pods.eks.amazonaws.com", &format!("{good}\\r\\nHost: evil")), "has characters that no token has"),
            (json("sts.amazonaws.com", &secret), "is system:serviceaccount:team-b:app's, not the pod's own"),
        ];
        for (text, told) in cases {
            let error = PodTokens::parse(&text, OWNER).expect_err(told).to_string();
            assert!(error.contains(told), "{error}");
            for part in good.split('.').chain(secret.split('.')) {
                assert!(!error.contains(part), "{error}");
            }
        }
    }

    #[test]
    fn a_repeated_token_is_hidden() {
        let text = jwt("team-a", "app", "1");
        let token = Token::new(Zeroizing::new(text.clone()), SystemTime::now(), "x", OWNER).expect("token");
        let payload = text.split('.').nth(1).expect("payload");
        assert_eq!(token.hide_in(&format!("bad token {text}, of {payload}")), "bad token ***, of ***");
    }
}
