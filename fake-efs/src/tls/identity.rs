//! Who a client certificate says its holder is: the EFS extensions, and the signature that ties them to an AWS principal.

use sha1::{Digest as _, Sha1};
use sha2::Sha256;
use x509_parser::asn1_rs::{FromDer, OctetString, OptTaggedExplicit, Sequence, UtcTime, Utf8String};
use x509_parser::prelude::X509Certificate;

use crate::admission::{CertificateClaims, IamClaim};

const ACCESS_POINT: &str = "1.3.6.1.4.1.4843.7.1";
const CLIENT_AUTH: &str = "1.3.6.1.4.1.4843.7.2";
const FILE_SYSTEM: &str = "1.3.6.1.4.1.4843.7.3";
const CLIENT_INFO: &str = "1.3.6.1.4.1.4843.7.4";

/// Why a certificate claims nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CertificateError {
    /// Not an X.509 certificate.
    #[error("not an X.509 certificate")]
    Malformed,
    /// An EFS extension's content is not what it has to be.
    #[error("extension {0} is malformed")]
    Extension(&'static str),
    /// It does not name a file system, although it has other extensions of EFS.
    #[error("extension {FILE_SYSTEM} (file system) is missing")]
    NoFileSystem,
    /// It has no extension of EFS: a certificate like others.
    #[error("it has no extension of EFS")]
    NotOfEfs,
}

/// Reads the claims out of a client certificate in DER.
pub fn claims(certificate: &[u8]) -> Result<CertificateClaims, CertificateError> {
    let (_, parsed) = X509Certificate::from_der(certificate).map_err(|_| CertificateError::Malformed)?;
    let extension = |oid: &str| {
        parsed.extensions().iter().find(|extension| extension.oid.to_id_string() == oid).map(|found| found.value)
    };
    if [ACCESS_POINT, CLIENT_AUTH, FILE_SYSTEM, CLIENT_INFO].into_iter().all(|oid| extension(oid).is_none()) {
        return Err(CertificateError::NotOfEfs);
    }
    let text = |oid: &'static str| extension(oid).map(|value| whole_text(value, oid)).transpose();
    Ok(CertificateClaims {
        file_system_id: text(FILE_SYSTEM)?.ok_or(CertificateError::NoFileSystem)?,
        access_point_id: text(ACCESS_POINT)?,
        iam: extension(CLIENT_AUTH).map(client_auth).transpose()?,
        client_info: extension(CLIENT_INFO).map(client_info).transpose()?,
        public_key_hash: hex::encode(Sha1::digest(parsed.public_key().subject_public_key.data.as_ref())),
    })
}

fn whole_text(value: &[u8], oid: &'static str) -> Result<String, CertificateError> {
    match Utf8String::from_der(value) {
        Ok(([], text)) => Ok(text.string()),
        _ => Err(CertificateError::Extension(oid)),
    }
}

fn client_auth(value: &[u8]) -> Result<IamClaim, CertificateError> {
    let malformed = CertificateError::Extension(CLIENT_AUTH);
    let (rest, sequence) = Sequence::from_der(value).map_err(|_| malformed.clone())?;
    let parse = |data| -> Result<_, x509_parser::asn1_rs::Err<x509_parser::asn1_rs::Error>> {
        let (data, access_key_id) = Utf8String::from_der(data)?;
        let (data, signature) = OctetString::from_der(data)?;
        let (data, signed_at) = UtcTime::from_der(data)?;
        let (data, token) = OptTaggedExplicit::<Utf8String<'_>, x509_parser::asn1_rs::Error, 0>::from_der(data)?;
        Ok((data, access_key_id, signature, signed_at, token))
    };
    let (inner, access_key_id, signature, signed_at, token) =
        parse(sequence.content.as_ref()).map_err(|_| malformed.clone())?;
    let signature = std::str::from_utf8(signature.as_ref()).map_err(|_| malformed.clone())?;
    let is_hex = signature.len() == 64 && signature.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    if !rest.is_empty() || !inner.is_empty() || !is_hex {
        return Err(malformed);
    }
    let seconds = signed_at.utc_adjusted_datetime().map_err(|_| malformed.clone())?.unix_timestamp();
    Ok(IamClaim {
        access_key_id: access_key_id.string(),
        signature: signature.to_owned(),
        signed_at: jiff::Timestamp::from_second(seconds).map_err(|_| malformed)?,
        session_token: token.map(|token| token.into_inner().string()),
    })
}

fn client_info(value: &[u8]) -> Result<(String, String), CertificateError> {
    let malformed = |_| CertificateError::Extension(CLIENT_INFO);
    let (_, sequence) = Sequence::from_der(value).map_err(malformed)?;
    let (rest, source) = Utf8String::from_der(sequence.content.as_ref()).map_err(malformed)?;
    let (_, version) = Utf8String::from_der(rest).map_err(malformed)?;
    // Certificates that AWS's watchdog renewed have a space in front of both.
    Ok((source.string().trim_start().to_owned(), version.string().trim_start().to_owned()))
}

/// Whether the certificate's IAM claim was signed with this secret key for this region and service, over the certificate's own
/// public key. Age and session token are for the caller to judge.
pub fn verify_signature(claims: &CertificateClaims, secret_key: &str, region: &str, service: &str) -> bool {
    let Some(iam) = &claims.iam else { return false };
    let expected = signature(claims, iam, secret_key, region, service);
    // Constant time in the only thing that depends on the secret.
    let differences = expected.bytes().zip(iam.signature.bytes()).fold(0, |all, (a, b)| all | (a ^ b));
    expected.len() == iam.signature.len() && differences == 0
}

fn signature(claims: &CertificateClaims, iam: &IamClaim, secret_key: &str, region: &str, service: &str) -> String {
    let time = iam.signed_at.strftime("%Y%m%dT%H%M%SZ").to_string();
    let date = &time[..8];
    let scope = format!("{date}/{region}/{service}/aws4_request");
    let mut query = format!(
        "Action=Connect&PublicKeyHash={}&X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential={}&X-Amz-Date={time}\
         &X-Amz-Expires=86400",
        claims.public_key_hash,
        quote(&format!("{}/{scope}", iam.access_key_id)),
    );
    if let Some(token) = &iam.session_token {
        query.push_str("&X-Amz-Security-Token=");
        query.push_str(&quote(token));
    }
    query.push_str("&X-Amz-SignedHeaders=host");
    // Unlike SigV4 elsewhere, no empty line stands between the headers and their names.
    let canonical =
        ["GET", "/", &query, &format!("host:{}", claims.file_system_id), "host", &hex::encode(Sha256::digest(b""))]
            .join("\n");
    let to_sign = ["AWS4-HMAC-SHA256", &time, &scope, &hex::encode(Sha256::digest(canonical.as_bytes()))].join("\n");
    let parts = [date, region, service, "aws4_request", &to_sign];
    let first = format!("AWS4{secret_key}").into_bytes();
    hex::encode(parts.iter().fold(first, |key, part| hmac(&key, part.as_bytes()).to_vec()))
}

/// HMAC-SHA256 (RFC 2104).
fn hmac(key: &[u8], message: &[u8]) -> [u8; 32] {
    let mut block = [0u8; 64];
    if key.len() > block.len() {
        block[..32].copy_from_slice(&Sha256::digest(key));
    } else {
        block[..key.len()].copy_from_slice(key);
    }
    let inner = Sha256::new().chain_update(block.map(|b| b ^ 0x36)).chain_update(message).finalize();
    Sha256::new().chain_update(block.map(|b| b ^ 0x5c)).chain_update(inner).finalize().into()
}

/// Percent-encodes everything but letters, digits and `_.-~`.
fn quote(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"_.-~".contains(&byte) {
            quoted.push(char::from(byte));
        } else {
            quoted.push_str(&format!("%{byte:02X}"));
        }
    }
    quoted
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rcgen::{CertificateParams, CustomExtension, KeyPair, PKCS_RSA_SHA256, PublicKeyData, SigningKey};

    use super::*;

    const EFS: &str = "elasticfilesystem";
    const SECRET: &str = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY";

    /// The vectors of the recipe; they were made with AWS's own code.
    fn vector(token: Option<&str>, signature: &str) -> CertificateClaims {
        CertificateClaims {
            file_system_id: "fs-deadbeef".into(),
            access_point_id: None,
            iam: Some(IamClaim {
                access_key_id: "AKIAIOSFODNN7EXAMPLE".into(),
                signature: signature.into(),
                signed_at: "2026-07-13T10:21:56Z".parse().unwrap(),
                session_token: token.map(Into::into),
            }),
            client_info: None,
            public_key_hash: "fe05bcdcdc4928012781a5f1a2a77cbb5398e106".into(),
        }
    }

    #[test]
    fn signatures_made_by_aws_code_verify() {
        let plain = vector(None, "1aff47ddac9cb89bc6f44dcff3f3dc606c65adf99f4067b40b3a6760a9430d78");
        let token =
            vector(Some("AQoDYXdz+EJr1K/abc=="), "6d16d5cab099d6c8508f1e940670103f8769ca17e4b49a4828d4f78d2b9999c9");
        for claims in [&plain, &token] {
            assert!(verify_signature(claims, SECRET, "us-east-1", EFS));
            assert!(!verify_signature(claims, SECRET, "us-east-2", EFS));
            assert!(!verify_signature(claims, SECRET, "us-east-1", "s3files"));
            assert!(!verify_signature(claims, "other", "us-east-1", EFS));
            let other = CertificateClaims { file_system_id: "fs-deadbeee".into(), ..(*claims).clone() };
            assert!(!verify_signature(&other, SECRET, "us-east-1", EFS));
            let other = CertificateClaims { public_key_hash: "00".repeat(20), ..(*claims).clone() };
            assert!(!verify_signature(&other, SECRET, "us-east-1", EFS));
        }
        let mut cut = plain.clone();
        cut.iam.as_mut().unwrap().signature.truncate(10);
        assert!(!verify_signature(&cut, SECRET, "us-east-1", EFS));
        assert!(!verify_signature(&CertificateClaims { iam: None, ..plain }, SECRET, "us-east-1", EFS));
    }

    fn certificate(key: &impl SigningKey, extensions: &[(u64, Vec<u8>)]) -> Vec<u8> {
        let mut params = CertificateParams::default();
        for (last, content) in extensions {
            let oid = [1, 3, 6, 1, 4, 1, 4843, 7, *last];
            params.custom_extensions.push(CustomExtension::from_oid_content(&oid, content.clone()));
        }
        params.self_signed(key).unwrap().der().to_vec()
    }

    fn text(text: &str) -> Vec<u8> {
        [&[0x0c, text.len() as u8], text.as_bytes()].concat()
    }

    fn auth(signature: &str) -> Vec<u8> {
        let token = text("token");
        let body = [
            text("AKIAIOSFODNN7EXAMPLE"),
            [&[4, signature.len() as u8], signature.as_bytes()].concat(),
            [&[0x17, 13], &b"260713102156Z"[..]].concat(),
            [&[0xa0, token.len() as u8], &token[..]].concat(),
        ]
        .concat();
        [&[0x30, 0x81, body.len() as u8], &body[..]].concat()
    }

    #[test]
    fn all_four_extensions_are_read() {
        let pem = include_str!("../../tests/data/rsa-3072.pem");
        let key = KeyPair::from_pkcs8_pem_and_sign_algo(pem, &PKCS_RSA_SHA256).unwrap();
        let signature = "0123456789abcdef".repeat(4);
        let info = [&[0x30, 14][..], &text(" k8s"), &text(" 3.2.0")].concat();
        let der = certificate(
            &key,
            &[(1, text("fsap-0123456789abcdef0")), (2, auth(&signature)), (3, text("fs-deadbeef")), (4, info)],
        );
        let claims = claims(&der).unwrap();
        assert_eq!(claims.file_system_id, "fs-deadbeef");
        assert_eq!(claims.access_point_id.as_deref(), Some("fsap-0123456789abcdef0"));
        assert_eq!(claims.client_info, Some(("k8s".into(), "3.2.0".into())));
        let iam = claims.iam.unwrap();
        assert_eq!(iam.access_key_id, "AKIAIOSFODNN7EXAMPLE");
        assert_eq!(iam.signature, signature);
        assert_eq!(iam.signed_at.to_string(), "2026-07-13T10:21:56Z");
        assert_eq!(iam.session_token.as_deref(), Some("token"));
        let (_, parsed) = X509Certificate::from_der(&der).unwrap();
        let bits = parsed.public_key().subject_public_key.data.to_vec();
        assert_eq!(bits, key.der_bytes());
        assert_eq!(claims.public_key_hash, hex::encode(Sha1::digest(&bits)));
    }

    #[test]
    fn what_is_missing_or_malformed_is_named() {
        let key = KeyPair::generate().unwrap();
        assert_eq!(claims(b"junk"), Err(CertificateError::Malformed));
        assert_eq!(claims(&certificate(&key, &[(5, text("fs-1"))])), Err(CertificateError::NotOfEfs));
        assert_eq!(claims(&certificate(&key, &[(1, text("fsap-1"))])), Err(CertificateError::NoFileSystem));
        let bad = [
            (3, b"fs-1".to_vec(), FILE_SYSTEM),
            (3, [text("fs-1"), vec![0]].concat(), FILE_SYSTEM),
            (1, vec![0x0c, 2, 0xff, 0xff], ACCESS_POINT),
            (2, auth("0123"), CLIENT_AUTH),
            (2, auth(&"A".repeat(64)), CLIENT_AUTH),
            (4, text("k8s"), CLIENT_INFO),
        ];
        for (last, content, oid) in bad {
            let mut extensions = vec![(last, content)];
            if last != 3 {
                extensions.push((3, text("fs-1")));
            }
            assert_eq!(claims(&certificate(&key, &extensions)), Err(CertificateError::Extension(oid)));
        }
    }

    proptest! {
        #[test]
        fn no_input_makes_the_parser_panic(
            content in prop::collection::vec(any::<u8>(), 0..200), last in 1u64..5, flips: Vec<(u16, u8)>
        ) {
            let key = KeyPair::generate().unwrap();
            let mut der = certificate(&key, &[(last, content.clone()), (3, text("fs-1"))]);
            for (position, value) in flips {
                let position = usize::from(position) % der.len();
                der[position] ^= value;
            }
            let _ = claims(&der);
            let _ = claims(&content);
        }
    }
}
