//! The IAM signature inside a client certificate: a SigV4 query-string signature over the hash of the client's key.
//!
//! The recipe is AWS's own and differs from standard SigV4 in one place: there is no blank line between the canonical
//! headers and the list of signed headers. A standard signer gets it wrong, hence this module.

use std::time::SystemTime;

use aws_credential_types::Credentials;
use aws_sigv4::sign::v4::{calculate_signature, generate_signing_key};
use jiff::Timestamp;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use sha2::{Digest, Sha256};

use crate::identity::Service;

/// How long the signature claims to be good for, in seconds. The server decides.
const EXPIRES: u32 = 86_400;
/// Everything but the RFC 3986 unreserved characters is escaped.
const QUERY: &AsciiSet = &NON_ALPHANUMERIC.remove(b'_').remove(b'.').remove(b'-').remove(b'~');

/// What is signed: "the holder of this key may connect to this file system".
#[derive(Clone, Copy, Debug)]
pub struct ConnectRequest<'a> {
    /// The service that the file system belongs to.
    pub service: Service,
    /// The file system's id, `fs-…`; stands where SigV4 has the host.
    pub file_system: &'a str,
    /// The file system's region.
    pub region: &'a str,
    /// Lowercase hex SHA-1 of the public key.
    pub public_key_hash: &'a str,
    /// The moment of signing; also written into the certificate, to the second.
    pub time: Timestamp,
}

impl ConnectRequest<'_> {
    /// The signature as 64 lowercase hex digits.
    pub fn sign(&self, credentials: &Credentials) -> String {
        let service = self.service.signing_name();
        let scope = format!("{}/{}/{service}/aws4_request", self.time.strftime("%Y%m%d"), self.region);
        let string_to_sign = format!(
            "AWS4-HMAC-SHA256\n{}\n{scope}\n{}",
            self.date_time(),
            hex::encode(Sha256::digest(self.canonical(&scope, credentials)))
        );
        let key =
            generate_signing_key(credentials.secret_access_key(), SystemTime::from(self.time), self.region, service);
        calculate_signature(key, string_to_sign.as_bytes())
    }

    fn date_time(&self) -> String {
        self.time.strftime("%Y%m%dT%H%M%SZ").to_string()
    }

    fn canonical(&self, scope: &str, credentials: &Credentials) -> String {
        let credential = format!("{}/{scope}", credentials.access_key_id());
        let mut query = format!(
            "Action=Connect&PublicKeyHash={}&X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential={}&X-Amz-Date={}&X-Amz-Expires={EXPIRES}",
            self.public_key_hash,
            utf8_percent_encode(&credential, QUERY),
            self.date_time(),
        );
        if let Some(token) = credentials.session_token() {
            query.push_str(&format!("&X-Amz-Security-Token={}", utf8_percent_encode(token, QUERY)));
        }
        query.push_str("&X-Amz-SignedHeaders=host");
        let empty = hex::encode(Sha256::digest(b""));
        format!("GET\n/\n{query}\nhost:{}\nhost\n{empty}", self.file_system)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Recorded from AWS's own client for these inputs: (token, SHA-256 of the canonical request, signature).
    const VECTORS: [(Option<&str>, &str, &str); 2] = [
        (
            None,
            "2acbc476c5a3a90c91dbaee4f83b492c65566fcb5181398d278601bf4acf0414",
            "1aff47ddac9cb89bc6f44dcff3f3dc606c65adf99f4067b40b3a6760a9430d78",
        ),
        (
            Some("AQoDYXdz+EJr1K/abc=="),
            "7cc1de3c3e649ef5d84e584b31c12802bd6e411a62d557304e885e4dbdf05d8b",
            "6d16d5cab099d6c8508f1e940670103f8769ca17e4b49a4828d4f78d2b9999c9",
        ),
    ];

    #[test]
    fn signatures_equal_those_of_the_aws_client() {
        for (token, canonical, signature) in VECTORS {
            let credentials = Credentials::new(
                "AKIAIOSFODNN7EXAMPLE",
                "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
                token.map(str::to_owned),
                None,
                "test",
            );
            let request = ConnectRequest {
                service: Service::Efs,
                file_system: "fs-deadbeef",
                region: "us-east-1",
                public_key_hash: "fe05bcdcdc4928012781a5f1a2a77cbb5398e106",
                time: "2026-07-13T10:21:56Z".parse().expect("timestamp"),
            };
            let text = request.canonical("20260713/us-east-1/elasticfilesystem/aws4_request", &credentials);
            assert_eq!(hex::encode(Sha256::digest(text)), canonical);
            assert_eq!(request.sign(&credentials), signature);
            let of_s3_files = ConnectRequest { service: Service::S3Files, ..request };
            assert_ne!(of_s3_files.sign(&credentials), signature, "the service is a part of what is signed");
        }
    }
}
