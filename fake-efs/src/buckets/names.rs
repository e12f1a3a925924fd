//! What names buckets and keys may have.

use super::errors::{Refusal, Result};

/// Longest key, in bytes.
const LONGEST_KEY: usize = 1024;
/// Beginnings that S3 keeps for itself.
const RESERVED_PREFIXES: [&str; 3] = ["xn--", "sthree-", "amzn-s3-demo-"];
/// Ends that S3 keeps for itself.
const RESERVED_SUFFIXES: [&str; 5] = ["-s3alias", "--ol-s3", ".mrap", "--x-s3", "--table-s3"];

/// Checks a bucket's name by the rules for general purpose buckets.
pub(super) fn check_bucket(name: &str) -> Result<()> {
    let alphanumeric = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let good = (3..=63).contains(&name.len())
        && name.chars().all(|c| alphanumeric(c) || c == '.' || c == '-')
        && name.starts_with(alphanumeric)
        && name.ends_with(alphanumeric)
        && !name.contains("..")
        && name.parse::<std::net::Ipv4Addr>().is_err()
        && !RESERVED_PREFIXES.iter().any(|start| name.starts_with(start))
        && !RESERVED_SUFFIXES.iter().any(|end| name.ends_with(end));
    if good { Ok(()) } else { Err(Refusal::InvalidBucketName) }
}

/// Checks a key.
pub(super) fn check_key(key: &str) -> Result<()> {
    if (1..=LONGEST_KEY).contains(&key.len()) { Ok(()) } else { Err(Refusal::KeyTooLong) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bucket_names_follow_the_published_rules() {
        for good in ["abc", "a.b-c", "1a2", "my-bucket.with.dots", &"a".repeat(63)] {
            assert_eq!(check_bucket(good), Ok(()), "{good}");
        }
        let long = "a".repeat(64);
        for bad in ["ab", &long, "Abc", "a_b", "-ab", "ab-", ".ab", "a..b", "192.168.5.4", "xn--a", "a-s3alias", "ä12"]
        {
            assert_eq!(check_bucket(bad), Err(Refusal::InvalidBucketName), "{bad}");
        }
    }

    #[test]
    fn keys_are_measured_in_bytes() {
        assert_eq!(check_key(&"ä".repeat(512)), Ok(()));
        assert_eq!(check_key(&"ä".repeat(513)), Err(Refusal::KeyTooLong));
        assert_eq!(check_key(""), Err(Refusal::KeyTooLong));
    }
}
