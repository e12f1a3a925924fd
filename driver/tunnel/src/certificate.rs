//! The client certificate that tells EFS which file system, access point and IAM principal a connection belongs to.
//!
//! Self-signed, with five extensions in a fixed order and nothing else; the layout follows AWS's own client byte for
//! byte, because the service, not a standard, is what reads it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use aws_credential_types::Credentials;
use der::asn1::{OctetStringRef, UtcTime, Utf8StringRef};
use der::{Encode, Sequence};
use jiff::Timestamp;
use rcgen::{CertificateParams, CustomExtension, DistinguishedName, DnType, DnValue, SerialNumber};
use tokio_rustls::rustls::sign::CertifiedKey;

use super::identity::Service;
use super::key::ClientKey;
use super::signing::ConnectRequest;

const SUBJECT_KEY_IDENTIFIER: &[u64] = &[2, 5, 29, 14];
const ACCESS_POINT: &[u64] = &[1, 3, 6, 1, 4, 1, 4843, 7, 1];
const CLIENT_AUTH: &[u64] = &[1, 3, 6, 1, 4, 1, 4843, 7, 2];
const FILE_SYSTEM: &[u64] = &[1, 3, 6, 1, 4, 1, 4843, 7, 3];
const CLIENT_INFO: &[u64] = &[1, 3, 6, 1, 4, 1, 4843, 7, 4];

/// The version of AWS's client that this certificate format belongs to.
const CLIENT_VERSION: &str = "3.2.0";
/// Clocks may differ by this much.
const BACKDATED: Duration = Duration::from_secs(15 * 60);
/// Certificates are good for this long from now; tunnels make a new one long before.
pub(super) const LIFETIME: Duration = Duration::from_secs(3 * 60 * 60);
/// X.520's upper bound for a common name, in characters.
const COMMON_NAME_MAX: usize = 64;

/// Why a certificate could not be made.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// The certificate library refused.
    #[error("cannot make the client certificate: {0}")]
    Build(#[from] rcgen::Error),
    /// A value doesn't fit its ASN.1 type.
    #[error("cannot encode the client certificate: {0}")]
    Encode(der::Error),
}

// Not derived: without its `std` feature the crate's error is no `std::error::Error`, hence no source.
impl From<der::Error> for CertificateError {
    fn from(error: der::Error) -> Self {
        Self::Encode(error)
    }
}

/// Whom a certificate speaks for.
#[derive(Clone, Copy, Debug)]
pub struct Claims<'a> {
    /// The server's name; becomes the certificate's common name.
    pub host_name: &'a str,
    /// The file system's id.
    pub file_system: &'a str,
    /// The service that the file system belongs to (part of the signature).
    pub service: Service,
    /// The access point's id, when the mount names one.
    pub access_point: Option<&'a str>,
    /// The file system's region (part of the signature).
    pub region: &'a str,
    /// What the client calls itself, 1 to 100 characters.
    pub source: &'a str,
    /// Credentials for mounts with IAM authorization.
    pub credentials: Option<&'a Credentials>,
}

/// `EfsClientInfo`.
#[derive(Sequence)]
struct ClientInfo<'a> {
    source: Utf8StringRef<'a>,
    version: Utf8StringRef<'a>,
}

/// `EfsClientAuth`. The signature travels as hex text, not as raw bytes.
#[derive(Sequence)]
struct ClientAuth<'a> {
    access_key_id: Utf8StringRef<'a>,
    signature: OctetStringRef<'a>,
    signed_at: UtcTime,
    #[asn1(context_specific = "0", tag_mode = "EXPLICIT", optional = "true")]
    session_token: Option<Utf8StringRef<'a>>,
}

/// Makes certificates and numbers them, from 0 like AWS's client.
#[derive(Debug)]
pub struct Issuer {
    key: Arc<ClientKey>,
    serial: AtomicU64,
}

impl Issuer {
    /// An issuer that signs with `key`.
    pub fn new(key: Arc<ClientKey>) -> Self {
        Self { key, serial: AtomicU64::new(0) }
    }

    /// A certificate for `claims`, valid from a quarter of an hour before `now` for about three hours, with its key.
    pub fn issue(&self, claims: &Claims<'_>, now: SystemTime) -> Result<CertifiedKey, CertificateError> {
        let extensions = extensions(claims, self.key.public_key_hash(), now)?;
        let mut params = CertificateParams::default();
        params.serial_number = Some(SerialNumber::from(self.serial.fetch_add(1, Ordering::Relaxed)));
        params.not_before = (now - BACKDATED).into();
        params.not_after = (now + LIFETIME).into();
        params.distinguished_name = DistinguishedName::new();
        let common_name: String = claims.host_name.chars().take(COMMON_NAME_MAX).collect();
        params.distinguished_name.push(DnType::CommonName, DnValue::Utf8String(common_name));
        params.custom_extensions =
            extensions.into_iter().map(|(oid, der)| CustomExtension::from_oid_content(oid, der)).collect();
        let certificate = params.self_signed(self.key.pair())?;
        Ok(CertifiedKey::new(vec![certificate.der().clone()], self.key.signer()))
    }
}

impl Issuer {
    /// A certificate that an earlier process has made, with our key; nothing if it was made with another.
    pub(super) fn again(&self, der: Vec<u8>) -> Option<CertifiedKey> {
        let certified = CertifiedKey::new(vec![der.into()], self.key.signer());
        certified.keys_match().is_ok().then_some(certified)
    }
}

/// Object identifier and DER content.
type Extension = (&'static [u64], Vec<u8>);

/// The extensions in their order.
fn extensions(claims: &Claims<'_>, key_hash: [u8; 20], now: SystemTime) -> Result<Vec<Extension>, CertificateError> {
    let mut list = vec![(SUBJECT_KEY_IDENTIFIER, OctetStringRef::new(&key_hash)?.to_der()?)];
    if let Some(access_point) = claims.access_point {
        list.push((ACCESS_POINT, Utf8StringRef::new(access_point)?.to_der()?));
    }
    if let Some(credentials) = claims.credentials {
        list.push((CLIENT_AUTH, client_auth(claims, credentials, key_hash, now)?));
    }
    list.push((FILE_SYSTEM, Utf8StringRef::new(claims.file_system)?.to_der()?));
    let info = ClientInfo { source: Utf8StringRef::new(claims.source)?, version: Utf8StringRef::new(CLIENT_VERSION)? };
    list.push((CLIENT_INFO, info.to_der()?));
    Ok(list)
}

fn client_auth(
    claims: &Claims<'_>,
    credentials: &Credentials,
    key_hash: [u8; 20],
    now: SystemTime,
) -> Result<Vec<u8>, CertificateError> {
    let since_epoch = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let seconds = Duration::from_secs(since_epoch.as_secs());
    let time = Timestamp::from_second(seconds.as_secs().cast_signed()).unwrap_or(Timestamp::UNIX_EPOCH);
    let signature = ConnectRequest {
        service: claims.service,
        file_system: claims.file_system,
        region: claims.region,
        public_key_hash: &hex::encode(key_hash),
        time,
    }
    .sign(credentials);
    let auth = ClientAuth {
        access_key_id: Utf8StringRef::new(credentials.access_key_id())?,
        signature: OctetStringRef::new(signature.as_bytes())?,
        signed_at: UtcTime::from_unix_duration(seconds)?,
        session_token: credentials.session_token().map(Utf8StringRef::new).transpose()?,
    };
    Ok(auth.to_der()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claims<'a>(credentials: Option<&'a Credentials>) -> Claims<'a> {
        Claims {
            service: Service::Efs,
            host_name: "fs-deadbeef.efs.us-east-1.amazonaws.com",
            file_system: "fs-deadbeef",
            access_point: Some("fsap-0123456789abcdef0"),
            region: "us-east-1",
            source: "k8s",
            credentials,
        }
    }

    #[test]
    fn extension_contents_equal_the_recorded_der() {
        let credentials = Credentials::new("AKIAIOSFODNN7EXAMPLE", "secret", Some("A".repeat(20)), None, "test");
        let now = SystemTime::UNIX_EPOCH + Duration::new(1_783_938_116, 999_000_000);
        let list = extensions(&claims(Some(&credentials)), [7; 20], now).expect("encode");
        let hex: Vec<(String, &[u64])> = list.iter().map(|(oid, der)| (hex::encode_upper(der), *oid)).collect();
        assert_eq!(hex[0], (format!("0414{}", "07".repeat(20)), SUBJECT_KEY_IDENTIFIER));
        assert_eq!(hex[1], (format!("0C16{}", hex::encode_upper("fsap-0123456789abcdef0")), ACCESS_POINT));
        assert_eq!(hex[3], (format!("0C0B{}", hex::encode_upper("fs-deadbeef")), FILE_SYSTEM));
        let info = format!("300C0C03{}0C05{}", hex::encode_upper("k8s"), hex::encode_upper("3.2.0"));
        assert_eq!(hex[4], (info, CLIENT_INFO));
        let (auth, oid) = &hex[2];
        assert_eq!(*oid, CLIENT_AUTH);
        assert!(auth.starts_with(&format!("307F0C14{}0440", hex::encode_upper("AKIAIOSFODNN7EXAMPLE"))), "{auth}");
        let tail = format!("170D{}A0160C14{}", hex::encode_upper("260713102156Z"), hex::encode_upper("A".repeat(20)));
        assert!(auth.ends_with(&tail), "{auth}");
    }

    #[test]
    fn a_certificate_of_the_process_before_is_taken_with_its_own_key_only() {
        let key = Arc::new(ClientKey::generate().expect("key"));
        let der =
            Issuer::new(Arc::clone(&key)).issue(&claims(None), SystemTime::now()).expect("issue").cert[0].to_vec();
        assert!(Issuer::new(key).again(der.clone()).is_some_and(|again| again.cert[0].to_vec() == der));
        let other = Issuer::new(Arc::new(ClientKey::generate().expect("key")));
        assert!(other.again(der).is_none() && other.again(vec![0; 300]).is_none());
    }

    #[test]
    fn a_certificate_has_the_layout_that_efs_reads() {
        use x509_parser::prelude::*;
        let issuer = Issuer::new(Arc::new(ClientKey::generate().expect("key")));
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_783_938_116);
        for serial in 0_u64..2 {
            let certified = issuer.issue(&claims(None), now).expect("issue");
            let (_, parsed) = X509Certificate::from_der(&certified.cert[0]).expect("parse");
            assert_eq!(parsed.serial, serial.into());
            assert_eq!(parsed.subject(), parsed.issuer());
            assert_eq!(parsed.subject().to_string(), "CN=fs-deadbeef.efs.us-east-1.amazonaws.com");
            assert_eq!(parsed.validity().not_before.timestamp(), 1_783_938_116 - 900);
            assert_eq!(parsed.validity().not_after.timestamp(), 1_783_938_116 + 10_800);
            let oids: Vec<String> = parsed.extensions().iter().map(|e| e.oid.to_id_string()).collect();
            assert_eq!(oids, ["2.5.29.14", "1.3.6.1.4.1.4843.7.1", "1.3.6.1.4.1.4843.7.3", "1.3.6.1.4.1.4843.7.4"]);
            assert!(parsed.extensions().iter().all(|e| !e.critical));
            let key_bits = &parsed.subject_pki.subject_public_key.data;
            assert_eq!(<sha1::Sha1 as sha1::Digest>::digest(key_bits)[..], issuer.key.public_key_hash()[..]);
            parsed.verify_signature(None).expect("self-signed");
        }
    }
}
