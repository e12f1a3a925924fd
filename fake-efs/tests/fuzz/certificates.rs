//! Client certificates: EFS's extensions with broken contents in good certificates, and broken certificates.

use fake_efs::tls::{claims, verify_signature};
use rand::Rng;
use rand::rngs::StdRng;
use rcgen::{CertificateParams, CustomExtension, DnType, KeyPair};

use super::mutation::{mutate, one};
use super::rounds::run;

/// A DER value of a short form.
fn der(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = content.len();
    let head = match length {
        0..=127 => vec![tag, length as u8],
        128..=255 => vec![tag, 0x81, length as u8],
        _ => vec![tag, 0x82, (length >> 8) as u8, length as u8],
    };
    [&head[..], content].concat()
}

/// The four extensions as they should be.
fn extensions(rng: &mut StdRng) -> [(u64, Vec<u8>); 4] {
    let utf8 = |text: &str| der(0x0c, text.as_bytes());
    let signature: String = (0..64).map(|_| char::from(one(rng, b"0123456789abcdef"))).collect();
    let mut client_auth =
        [utf8("AKIAIOSFODNN7EXAMPLE"), der(0x04, signature.as_bytes()), der(0x17, b"260101120000Z")].concat();
    if rng.random_bool(0.5) {
        let token = "t".repeat(rng.random_range(0..400));
        client_auth.extend(der(0xa0, &utf8(&token)));
    }
    let info = [utf8("k8s"), utf8("1.0")].concat();
    [
        (1, utf8("fsap-0123456789abcdef0")),
        (2, der(0x30, &client_auth)),
        (3, utf8("fs-0123456789abcdef0")),
        (4, der(0x30, &info)),
    ]
}

#[test]
fn client_certificates() {
    let key = KeyPair::generate().unwrap();
    run("certificates", 2400, |rng| {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "x".repeat(rng.random_range(0..300)));
        let wanted = extensions(rng);
        let broken = rng.random_range(0..8);
        for (index, (last, mut content)) in wanted.into_iter().enumerate() {
            if index == broken {
                mutate(rng, &mut content, 0);
            }
            let oid = [1, 3, 6, 1, 4, 1, 4843, 7, last];
            if rng.random_bool(0.95) {
                params.custom_extensions.push(CustomExtension::from_oid_content(&oid, content));
            }
        }
        let whole = params.self_signed(&key).unwrap().der().to_vec();
        let mut tried = 0;
        for variant in 0..100 {
            let mut certificate = whole.clone();
            if variant > 0 {
                mutate(rng, &mut certificate, 0);
            }
            tried += 1;
            if let Ok(claimed) = claims(&certificate) {
                assert!(
                    !verify_signature(&claimed, "a secret", "us-east-1", "elasticfilesystem"),
                    "nobody signed {claimed:?}"
                );
                assert!(claimed.iam.is_none_or(|iam| iam.signature.len() == 64));
                assert_eq!(claimed.public_key_hash.len(), 40);
            }
        }
        tried
    });
}
