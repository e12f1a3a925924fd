//! The IAM part of a client certificate, signed with AWS's own signer (the recipe is that of AWS's mount helper).

use std::time::SystemTime;

use aws_sigv4::sign::v4::{calculate_signature, generate_signing_key};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use sha1::Sha1;
use sha2::{Digest as _, Sha256};

use super::der;

/// Everything but unreserved characters is encoded.
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// What a principal signs with.
#[derive(Clone, Debug)]
pub(crate) struct Keys {
    /// `AKIA…` or `ASIA…`
    pub(crate) id: String,
    /// The secret of the access key.
    pub(crate) secret: String,
    /// The token that goes with keys of a session.
    pub(crate) session_token: Option<String>,
}

impl Keys {
    /// Keys that do not expire.
    pub(crate) fn new(id: &str, secret: &str) -> Self {
        Self { id: id.to_owned(), secret: secret.to_owned(), session_token: None }
    }

    /// The content of extension 1.3.6.1.4.1.4843.7.2 for a certificate with this public key.
    pub(crate) fn client_auth(&self, file_system: &str, region: &str, public_key: &[u8]) -> Vec<u8> {
        let now = SystemTime::now();
        let at = jiff::Timestamp::try_from(now).expect("now is a time");
        let time = at.strftime("%Y%m%dT%H%M%SZ").to_string();
        let scope = format!("{}/{region}/elasticfilesystem/aws4_request", at.strftime("%Y%m%d"));
        let quote = |text: &str| utf8_percent_encode(text, RESERVED).to_string();
        let token = self.session_token.as_deref().map(|token| format!("&X-Amz-Security-Token={}", quote(token)));
        let query = format!(
            "Action=Connect&PublicKeyHash={}&X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential={}&X-Amz-Date={time}\
             &X-Amz-Expires=86400{}&X-Amz-SignedHeaders=host",
            hex::encode(Sha1::digest(public_key)),
            quote(&format!("{}/{scope}", self.id)),
            token.unwrap_or_default(),
        );
        let canonical = format!("GET\n/\n{query}\nhost:{file_system}\nhost\n{}", hex::encode(Sha256::digest(b"")));
        let to_sign = format!("AWS4-HMAC-SHA256\n{time}\n{scope}\n{}", hex::encode(Sha256::digest(canonical)));
        let key = generate_signing_key(&self.secret, now, region, "elasticfilesystem");
        let signature = calculate_signature(key, to_sign.as_bytes());
        let mut parts = vec![
            der::utf8(&self.id),
            der::octets(signature.as_bytes()),
            der::utc_time(&at.strftime("%y%m%d%H%M%SZ").to_string()),
        ];
        parts.extend(self.session_token.as_deref().map(|token| der::tagged(0, &der::utf8(token))));
        der::sequence(&parts)
    }
}
