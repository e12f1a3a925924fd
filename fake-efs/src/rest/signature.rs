//! AWS Signature Version 4: reading it off a request, and checking it when that is asked for.

use http::HeaderMap;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use sha2::{Digest, Sha256};

use super::uri;
use crate::identities::{Credential, Identities};

/// How far the clocks of signer and server may be apart.
const SKEW: SignedDuration = SignedDuration::from_mins(15);
/// Stands for the hash of a body that isn't signed.
pub(super) const UNSIGNED: &str = "UNSIGNED-PAYLOAD";
/// How signatures write times.
const TIME: &str = "%Y%m%dT%H%M%SZ";
/// The service that signs paths as they came, and bodies by a hash that it states.
const S3: &str = "s3";
/// How long S3's presigned addresses may be good for.
const LONGEST_PRESIGNED: SignedDuration = SignedDuration::from_hours(7 * 24);
/// SHA-256's block size, for HMAC.
const BLOCK: usize = 64;
/// Everything but the unreserved characters of RFC 3986 is encoded.
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// What a request says about its signature.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Claim {
    /// The key that signed.
    pub(crate) access_key_id: String,
    /// `YYYYMMDD`
    date: String,
    /// Region of the credential's scope.
    pub(crate) region: String,
    /// Service of the credential's scope.
    pub(crate) service: String,
    signed_headers: Vec<String>,
    signature: String,
    /// Whether the signature is in the query string.
    presigned: bool,
}

/// Why a request is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum SignatureError {
    /// Not signed.
    #[error("Missing Authentication Token")]
    Missing,
    /// Signed in a way that nobody can read.
    #[error(
        "Authorization header requires 'Credential' parameter, 'SignedHeaders' parameter and 'Signature' parameter."
    )]
    Incomplete,
    /// Nobody has that key.
    #[error("The security token included in the request is invalid.")]
    UnknownKey,
    /// The session is over.
    #[error("The security token included in the request is expired")]
    Expired,
    /// Signed too long ago: the time, the earliest that is accepted, and the server's own.
    #[error("Signature expired: {0} is now earlier than {1} ({2} - 15 min.)")]
    Late(String, String, String),
    /// Signed in the future: the time, the latest that is accepted, and the server's own.
    #[error("Signature not yet current: {0} is still later than {1} ({2} + 15 min.)")]
    Early(String, String, String),
    /// A presigned address of S3 was good for some time only.
    #[error("Request has expired")]
    Over,
    /// It does not say when it was signed.
    #[error("Authorization header requires existence of either a 'X-Amz-Date' or a 'Date' header.")]
    Timeless,
    /// The scope's service or date is wrong.
    #[error("Credential should be scoped to correct service and date.")]
    Scope,
    /// The request is not what was signed.
    #[error(
        "The request signature we calculated does not match the signature you provided. Check your AWS Secret Access \
         Key and signing method. Consult the service documentation for details."
    )]
    Mismatch,
}

/// The parts of a request that a signature covers.
pub(crate) struct Signed<'a> {
    pub(crate) method: &'a str,
    /// As on the request line, without the query.
    pub(crate) path: &'a str,
    /// As on the request line, without the question mark.
    pub(crate) query: &'a str,
    pub(crate) headers: &'a HeaderMap,
    pub(crate) body: &'a [u8],
}

impl Claim {
    /// Reads a signature off a request; `None` if there is none.
    pub(crate) fn read(request: &Signed<'_>) -> Option<Result<Self, SignatureError>> {
        if let Some(header) = request.headers.get(http::header::AUTHORIZATION) {
            let header = header.to_str().ok()?;
            let parts = header.strip_prefix("AWS4-HMAC-SHA256")?;
            let value = |name: &str| {
                let mut parts = parts.split(',').map(str::trim);
                parts.find_map(|part| part.strip_prefix(name)?.strip_prefix('=')).map(str::to_owned)
            };
            return Some(Self::new(value("Credential"), value("SignedHeaders"), value("Signature"), false));
        }
        if !request.query.contains("X-Amz-Signature=") {
            return None;
        }
        let pairs = uri::query(request.query)?;
        let value = |name: &str| pairs.iter().find(|(key, _)| key == name).map(|(_, value)| value.clone());
        Some(Self::new(value("X-Amz-Credential"), value("X-Amz-SignedHeaders"), value("X-Amz-Signature"), true))
    }

    fn new(
        credential: Option<String>,
        headers: Option<String>,
        signature: Option<String>,
        presigned: bool,
    ) -> Result<Self, SignatureError> {
        let (Some(credential), Some(headers), Some(signature)) = (credential, headers, signature) else {
            return Err(SignatureError::Incomplete);
        };
        let parts: Vec<_> = credential.rsplitn(5, '/').collect();
        let [terminator, service, region, date, access_key_id] = parts[..] else {
            return Err(SignatureError::Incomplete);
        };
        if terminator != "aws4_request" {
            return Err(SignatureError::Incomplete);
        }
        Ok(Self {
            access_key_id: access_key_id.to_owned(),
            date: date.to_owned(),
            region: region.to_owned(),
            service: service.to_owned(),
            signed_headers: headers.split(';').map(str::to_owned).collect(),
            signature,
            presigned,
        })
    }

    /// Checks the signature as AWS does: key, session, clock, scope, then every byte.
    pub(crate) fn verify(
        &self,
        request: &Signed<'_>,
        service: &str,
        identities: &Identities,
        now: Timestamp,
    ) -> Result<Credential, SignatureError> {
        let credential = identities.find(&self.access_key_id).ok_or(SignatureError::UnknownKey)?;
        let pairs = uri::query(request.query).ok_or(SignatureError::Incomplete)?;
        let stated = |name: &str| {
            let header = request.headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
            header.or_else(|| pairs.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, v)| v.clone()))
        };
        if credential.session_token.is_some() && stated("x-amz-security-token") != credential.session_token {
            return Err(SignatureError::UnknownKey);
        }
        if credential.expires.is_some_and(|expires| expires <= now) {
            return Err(SignatureError::Expired);
        }
        let time = stated("x-amz-date").ok_or(SignatureError::Timeless)?;
        let signed_at = parse_time(&time).ok_or(SignatureError::Incomplete)?;
        let shown = |time: Timestamp| time.strftime(TIME).to_string();
        let ahead = signed_at.duration_since(now);
        if ahead > SKEW {
            return Err(SignatureError::Early(time, shown(now.saturating_add(SKEW).unwrap_or(now)), shown(now)));
        }
        if self.presigned && service == S3 {
            let lifetime = stated("x-amz-expires").and_then(|text| Some(SignedDuration::from_secs(text.parse().ok()?)));
            let is_good = |lifetime: &SignedDuration| lifetime.is_positive() && *lifetime <= LONGEST_PRESIGNED;
            if -ahead > lifetime.filter(is_good).ok_or(SignatureError::Incomplete)? {
                return Err(SignatureError::Over);
            }
        } else if ahead < -SKEW {
            return Err(SignatureError::Late(time, shown(now.saturating_sub(SKEW).unwrap_or(now)), shown(now)));
        }
        if self.service != service || !time.starts_with(&self.date) {
            return Err(SignatureError::Scope);
        }
        let stated_hash = stated("x-amz-content-sha256");
        let stated_hash = if service == S3 {
            // Whether the body has this hash is S3's own question, with an error of its own.
            stated_hash.or_else(|| self.presigned.then(|| UNSIGNED.to_owned())).ok_or(SignatureError::Incomplete)?
        } else {
            let body_hash = hex::encode(Sha256::digest(request.body));
            let stated_hash = stated_hash.unwrap_or_else(|| body_hash.clone());
            if stated_hash != body_hash && stated_hash != UNSIGNED {
                return Err(SignatureError::Mismatch);
            }
            stated_hash
        };
        let canonical = self.canonical(request, &pairs, &stated_hash);
        let scope = format!("{}/{}/{}/aws4_request", self.date, self.region, self.service);
        let to_sign = format!("AWS4-HMAC-SHA256\n{time}\n{scope}\n{}", hex::encode(Sha256::digest(canonical)));
        let key = self.key(&credential.secret);
        if hex::encode(hmac(&key, to_sign.as_bytes())) == self.signature {
            Ok(credential)
        } else {
            Err(SignatureError::Mismatch)
        }
    }

    /// Checks the pieces of a body that is signed piece by piece, behind a request that was [verified](Self::verify).
    pub(crate) fn pieces(&self, request: &Signed<'_>, credential: &Credential) -> Pieces {
        let time = request.headers.get("x-amz-date").and_then(|value| value.to_str().ok()).unwrap_or_default();
        let head = format!("{time}\n{}/{}/{}/aws4_request", self.date, self.region, self.service);
        Pieces { key: self.key(&credential.secret), head, previous: self.signature.clone() }
    }

    /// The key that signs for a day, a region and a service.
    fn key(&self, secret: &str) -> [u8; 32] {
        let parts = [self.region.as_str(), &self.service, "aws4_request"];
        let first = hmac(format!("AWS4{secret}").as_bytes(), self.date.as_bytes());
        parts.iter().fold(first, |key, part| hmac(&key, part.as_bytes()))
    }

    /// The canonical request.
    fn canonical(&self, request: &Signed<'_>, pairs: &[(String, String)], body_hash: &str) -> String {
        let encode = |text: &str| utf8_percent_encode(text, RESERVED).to_string();
        let mut query: Vec<_> = pairs
            .iter()
            .filter(|(key, _)| !(self.presigned && key == "X-Amz-Signature"))
            .map(|(key, value)| (encode(key), encode(value)))
            .collect();
        query.sort();
        let query: Vec<_> = query.into_iter().map(|(key, value)| format!("{key}={value}")).collect();
        let headers: String = self
            .signed_headers
            .iter()
            .map(|name| {
                let values = request.headers.get_all(name.as_str()).iter();
                let values: Vec<_> = values
                    .map(|v| String::from_utf8_lossy(v.as_bytes()).split_whitespace().collect::<Vec<_>>().join(" "))
                    .collect();
                format!("{name}:{}\n", values.join(","))
            })
            .collect();
        // The path is encoded once more, slashes apart, as for every service but S3.
        let is_s3 = self.service == S3;
        let again = |part: &str| if is_s3 { encode(&uri::decode(part).unwrap_or_default()) } else { encode(part) };
        let path: Vec<_> = request.path.split('/').map(again).collect();
        format!(
            "{}\n{}\n{}\n{headers}\n{}\n{body_hash}",
            request.method,
            path.join("/"),
            query.join("&"),
            self.signed_headers.join(";"),
        )
    }
}

/// The signatures of a body's pieces: each covers the one before, the first that of the request.
pub(crate) struct Pieces {
    key: [u8; 32],
    /// When, and for what.
    head: String,
    previous: String,
}

impl Pieces {
    /// Whether this is the signature of the next piece.
    pub(crate) fn verify(&mut self, piece: &[u8], signature: &str) -> bool {
        let nothing = hex::encode(Sha256::digest(b""));
        self.next("AWS4-HMAC-SHA256-PAYLOAD", &format!("{nothing}\n{}", hex::encode(Sha256::digest(piece))), signature)
    }

    /// Whether this is the signature of what follows the last piece.
    pub(crate) fn verify_trailer(&mut self, trailer: &str, signature: &str) -> bool {
        self.next("AWS4-HMAC-SHA256-TRAILER", &hex::encode(Sha256::digest(trailer)), signature)
    }

    fn next(&mut self, kind: &str, hashes: &str, signature: &str) -> bool {
        let to_sign = format!("{kind}\n{}\n{}\n{hashes}", self.head, self.previous);
        self.previous = hex::encode(hmac(&self.key, to_sign.as_bytes()));
        self.previous == signature
    }
}

/// Reads `YYYYMMDDTHHMMSSZ`.
fn parse_time(text: &str) -> Option<Timestamp> {
    let time = DateTime::strptime(TIME, text).ok()?;
    Some(time.to_zoned(TimeZone::UTC).ok()?.timestamp())
}

/// HMAC-SHA256 (RFC 2104).
fn hmac(key: &[u8], message: &[u8]) -> [u8; 32] {
    let mut block = [0; BLOCK];
    if key.len() > BLOCK {
        block[..32].copy_from_slice(&Sha256::digest(key));
    } else {
        block[..key.len()].copy_from_slice(key);
    }
    let inner = Sha256::new().chain_update(block.map(|b| b ^ 0x36)).chain_update(message).finalize();
    Sha256::new().chain_update(block.map(|b| b ^ 0x5c)).chain_update(inner).finalize().into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identities::Signatures;
    use crate::world::scope::Scope;

    /// The `get-vanilla` example of AWS's SigV4 test suite.
    fn vanilla(signature: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert("host", "example.amazonaws.com".parse().unwrap());
        headers.insert("x-amz-date", "20150830T123600Z".parse().unwrap());
        let authorization = format!(
            "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, \
             SignedHeaders=host;x-amz-date, Signature={signature}"
        );
        headers.insert("authorization", authorization.parse().unwrap());
        headers
    }

    fn verify(signature: &str, now: &str, body: &[u8]) -> Result<Credential, SignatureError> {
        let identities = Identities::new(Scope::new("123456789012", "us-east-1"), Signatures::Checked, 1);
        identities.add_key(Credential {
            access_key_id: "AKIDEXAMPLE".to_owned(),
            secret: "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY".to_owned(),
            session_token: None,
            expires: None,
            account: "123456789012".to_owned(),
            principal: "arn:aws:iam::123456789012:user/u".to_owned(),
        });
        let headers = vanilla(signature);
        let request = Signed { method: "GET", path: "/", query: "", headers: &headers, body };
        let claim = Claim::read(&request).unwrap().unwrap();
        claim.verify(&request, "service", &identities, now.parse().unwrap())
    }

    const GOOD: &str = "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31";

    #[test]
    fn a_signature_of_the_published_suite_is_accepted() {
        assert!(verify(GOOD, "2015-08-30T12:40:00Z", b"").is_ok());
    }

    #[test]
    fn a_wrong_signature_a_changed_body_and_a_skewed_clock_are_refused() {
        let wrong = GOOD.replace('5', "6");
        assert!(matches!(verify(&wrong, "2015-08-30T12:40:00Z", b""), Err(SignatureError::Mismatch)));
        assert!(matches!(verify(GOOD, "2015-08-30T12:40:00Z", b"x"), Err(SignatureError::Mismatch)));
        let words = |now| verify(GOOD, now, b"").err().map(|error| error.to_string()).unwrap_or_default();
        assert_eq!(
            words("2015-08-30T13:00:00Z"),
            "Signature expired: 20150830T123600Z is now earlier than 20150830T124500Z (20150830T130000Z - 15 min.)"
        );
        assert_eq!(
            words("2015-08-30T12:00:00Z"),
            "Signature not yet current: 20150830T123600Z is still later than 20150830T121500Z (20150830T120000Z + 15 min.)"
        );
    }

    /// The example of S3's reference, "Transferring Payload in Multiple Chunks".
    #[test]
    fn pieces_are_signed_one_behind_the_other() {
        let mut headers = HeaderMap::new();
        headers.insert("host", "s3.amazonaws.com".parse().unwrap());
        headers.insert("x-amz-date", "20130524T000000Z".parse().unwrap());
        headers.insert("x-amz-storage-class", "REDUCED_REDUNDANCY".parse().unwrap());
        headers.insert("x-amz-content-sha256", "STREAMING-AWS4-HMAC-SHA256-PAYLOAD".parse().unwrap());
        headers.insert("content-encoding", "aws-chunked".parse().unwrap());
        headers.insert("x-amz-decoded-content-length", "66560".parse().unwrap());
        headers.insert("content-length", "66824".parse().unwrap());
        let authorization = "AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request, \
             SignedHeaders=content-encoding;content-length;host;x-amz-content-sha256;x-amz-date;\
             x-amz-decoded-content-length;x-amz-storage-class, \
             Signature=4f232c4386841ef735655705268965c44a0e4690baa4adea153f7db9fa80a0a9";
        headers.insert("authorization", authorization.parse().unwrap());
        let identities = Identities::new(Scope::new("123456789012", "us-east-1"), Signatures::Checked, 1);
        identities.add_key(Credential {
            access_key_id: "AKIAIOSFODNN7EXAMPLE".to_owned(),
            secret: "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY".to_owned(),
            session_token: None,
            expires: None,
            account: "123456789012".to_owned(),
            principal: "arn:aws:iam::123456789012:user/u".to_owned(),
        });
        let request =
            Signed { method: "PUT", path: "/examplebucket/chunkObject.txt", query: "", headers: &headers, body: &[] };
        let claim = Claim::read(&request).unwrap().unwrap();
        let now = "2013-05-24T00:00:00Z".parse().unwrap();
        let credential = claim.verify(&request, "s3", &identities, now).unwrap();
        let mut pieces = claim.pieces(&request, &credential);
        for (size, signature) in [
            (65_536, "ad80c730a21e5b8d04586a2213dd63b9a0e99e0e2307b0ade35a65485a288648"),
            (1024, "0055627c9e194cb4542bae2aa5492e3c1575bbb81b612b7d234b86a503ef5497"),
            (0, "b6c6ea8a5354eaf15b3cb7646744f4275b71ea724fed81ceb9323e279d449df9"),
        ] {
            assert!(pieces.verify(&vec![b'a'; size], signature), "{size}");
        }
        let mut pieces = claim.pieces(&request, &credential);
        assert!(!pieces.verify(b"b", "ad80c730a21e5b8d04586a2213dd63b9a0e99e0e2307b0ade35a65485a288648"));
    }

    #[test]
    fn hmac_agrees_with_rfc_4231() {
        assert_eq!(
            hex::encode(hmac(b"Jefe", b"what do ya want for nothing?")),
            "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
        );
    }
}
