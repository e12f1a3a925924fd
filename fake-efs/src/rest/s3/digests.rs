//! MD5 sums and checksums: what callers claim of the bytes that they send, and what the bytes say.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use s3s::checksum::ChecksumHasher;
use s3s::crypto::{Checksum as _, Crc32, Crc32c, Crc64Nvme, Sha1, Sha256};
use s3s::{S3Error, S3ErrorCode, S3Result};
use tokio::task::spawn_blocking;

use crate::buckets::{Algorithm, Attributes, Checksum, Content, Object};

/// The checksums in an input that has them.
macro_rules! given {
    ($input:expr) => {
        [
            ($crate::buckets::Algorithm::Crc32, $input.checksum_crc32.clone()),
            ($crate::buckets::Algorithm::Crc32c, $input.checksum_crc32c.clone()),
            ($crate::buckets::Algorithm::Crc64Nvme, $input.checksum_crc64nvme.clone()),
            ($crate::buckets::Algorithm::Sha1, $input.checksum_sha1.clone()),
            ($crate::buckets::Algorithm::Sha256, $input.checksum_sha256.clone()),
        ]
    };
}
pub(super) use given;

/// What a caller claims of a body.
pub(super) struct Claims {
    md5: Option<String>,
    checksums: Vec<Checksum>,
}

impl Claims {
    pub(super) fn new(md5: Option<&str>, given: [(Algorithm, Option<String>); 5]) -> Self {
        let given = given.into_iter();
        let checksums = given.filter_map(|(algorithm, value)| Some(Checksum { algorithm, value: value? })).collect();
        Self { md5: md5.map(str::to_owned), checksums }
    }

    /// Compares the claims with the bytes.
    pub(super) async fn check(self, content: Content) -> S3Result<(Arc<Content>, Option<Checksum>)> {
        let content = Arc::new(content);
        let checked = Arc::clone(&content);
        let checksum = off_the_loop(move || self.hold_for(&checked)).await??;
        Ok((content, checksum))
    }

    fn hold_for(self, content: &Content) -> S3Result<Option<Checksum>> {
        let Self { md5, mut checksums } = self;
        if checksums.len() > 1 {
            let words = "Expecting a single x-amz-checksum- header. Multiple checksum Types are not allowed.";
            return Err(S3Error::with_message(S3ErrorCode::InvalidRequest, words));
        }
        if let Some(md5) = md5 {
            let claimed = STANDARD.decode(&md5).ok().filter(|sum| sum.len() == 16).ok_or_else(|| {
                S3Error::with_message(S3ErrorCode::InvalidDigest, "The Content-MD5 you specified was invalid.")
            })?;
            if claimed != content.md5() {
                let words = "The Content-MD5 you specified did not match what we received.";
                return Err(S3Error::with_message(S3ErrorCode::BadDigest, words));
            }
        }
        let Some(claimed) = checksums.pop() else { return Ok(None) };
        let found = checksum(claimed.algorithm, content);
        if found == claimed.value {
            return Ok(Some(claimed));
        }
        let name = name(claimed.algorithm);
        if STANDARD.decode(&claimed.value).map(|sum| sum.len()).ok()
            != STANDARD.decode(&found).map(|sum| sum.len()).ok()
        {
            let words = format!("Value for x-amz-checksum-{} header is invalid.", name.to_ascii_lowercase());
            return Err(S3Error::with_message(S3ErrorCode::InvalidRequest, words));
        }
        let words = format!("The {name} you specified did not match the calculated checksum.");
        Err(S3Error::with_message(S3ErrorCode::BadDigest, words))
    }
}

/// S3's name of an algorithm.
pub(super) fn name(algorithm: Algorithm) -> &'static str {
    match algorithm {
        Algorithm::Crc32 => "CRC32",
        Algorithm::Crc32c => "CRC32C",
        Algorithm::Crc64Nvme => "CRC64NVME",
        Algorithm::Sha1 => "SHA1",
        Algorithm::Sha256 => "SHA256",
    }
}

/// The algorithm of S3's name.
pub(super) fn algorithm(wanted: &str) -> Option<Algorithm> {
    use Algorithm::*;
    [Crc32, Crc32c, Crc64Nvme, Sha1, Sha256].into_iter().find(|it| name(*it) == wanted)
}

/// Hexadecimal MD5.
pub(super) async fn md5(content: &Arc<Content>) -> S3Result<String> {
    let content = Arc::clone(content);
    off_the_loop(move || hex::encode(content.md5())).await
}

/// The checksum of all bytes of a content, in base64.
pub(super) async fn checksum_of(algorithm: Algorithm, content: Arc<Content>) -> S3Result<String> {
    off_the_loop(move || checksum(algorithm, &content)).await
}

/// The checksum of a few bytes, in base64.
pub(super) fn checksum_of_bytes(algorithm: Algorithm, bytes: &[u8]) -> String {
    hashed(algorithm, |hasher| hasher.update(bytes))
}

/// A checksum in base64.
fn checksum(algorithm: Algorithm, content: &Content) -> String {
    hashed(algorithm, |hasher| {
        for slice in content.slice(0..content.size()) {
            hasher.update(&slice);
        }
    })
}

fn hashed(algorithm: Algorithm, update: impl FnOnce(&mut ChecksumHasher)) -> String {
    let mut hasher = ChecksumHasher::default();
    match algorithm {
        Algorithm::Crc32 => hasher.crc32 = Some(Crc32::new()),
        Algorithm::Crc32c => hasher.crc32c = Some(Crc32c::new()),
        Algorithm::Crc64Nvme => hasher.crc64nvme = Some(Crc64Nvme::new()),
        Algorithm::Sha1 => hasher.sha1 = Some(Sha1::new()),
        Algorithm::Sha256 => hasher.sha256 = Some(Sha256::new()),
    }
    update(&mut hasher);
    let sums = hasher.finalize();
    let all =
        [sums.checksum_crc32, sums.checksum_crc32c, sums.checksum_crc64nvme, sums.checksum_sha1, sums.checksum_sha256];
    all.into_iter().flatten().next().unwrap_or_default()
}

/// An object of these bytes.
pub(super) async fn object(
    content: Arc<Content>,
    attributes: Attributes,
    checksum: Option<Checksum>,
) -> S3Result<Arc<Object>> {
    off_the_loop(move || Arc::new(Object::new(content, attributes, checksum))).await
}

/// Does what takes a second for a gigabyte where it keeps nobody waiting.
async fn off_the_loop<R: Send + 'static>(work: impl FnOnce() -> R + Send + 'static) -> S3Result<R> {
    spawn_blocking(work).await.map_err(S3Error::internal_error)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::buckets::Buckets;

    /// The checksums of the nine digits that such catalogues give for every algorithm.
    const KNOWN: [(Algorithm, &str); 5] = [
        (Algorithm::Crc32, "y/Q5Jg=="),
        (Algorithm::Crc32c, "4waSgw=="),
        (Algorithm::Crc64Nvme, "rosUhgp5mIg="),
        (Algorithm::Sha1, "98O8HYCOBHMq32eZZczDTKeuNEE="),
        (Algorithm::Sha256, "FeKw08M4keuw8e9gnsQZQgwg4yDOlMZfvIwzEkSOsiU="),
    ];

    fn digits() -> Content {
        let room = Buckets::new(100, 1).room(9).unwrap();
        Content::new(Bytes::from_static(b"123456789"), room)
    }

    fn code(md5: Option<&str>, checksums: Vec<(Algorithm, &str)>) -> Option<String> {
        let mut given = [
            (Algorithm::Crc32, None),
            (Algorithm::Crc32c, None),
            (Algorithm::Crc64Nvme, None),
            (Algorithm::Sha1, None),
            (Algorithm::Sha256, None),
        ];
        for (algorithm, value) in checksums {
            given.iter_mut().filter(|(it, _)| *it == algorithm).for_each(|it| it.1 = Some(value.to_owned()));
        }
        Claims::new(md5, given).hold_for(&digits()).err().map(|error| error.code().as_str().to_owned())
    }

    #[test]
    fn right_claims_hold_and_wrong_ones_are_refused() {
        assert_eq!(code(None, vec![]), None);
        assert_eq!(code(Some("JfnnlDI7RTiF9RgfGpDmLQ=="), vec![]).as_deref(), Some("BadDigest"));
        assert_eq!(code(Some("JfnnlDI7RTiF9RgfG2JNCw=="), vec![]), None);
        assert_eq!(code(Some("short"), vec![]).as_deref(), Some("InvalidDigest"));
        for known in KNOWN {
            assert_eq!(code(None, vec![known]), None, "{known:?}");
        }
        assert_eq!(code(None, vec![(Algorithm::Crc32, "AAAAAA==")]).as_deref(), Some("BadDigest"));
        assert_eq!(code(None, vec![(Algorithm::Crc32, "AAAA")]).as_deref(), Some("InvalidRequest"));
        assert_eq!(code(None, vec![KNOWN[0], KNOWN[1]]).as_deref(), Some("InvalidRequest"));
    }
}
