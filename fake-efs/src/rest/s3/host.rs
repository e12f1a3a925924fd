//! Buckets in the name of the host, as SDKs write them when they aren't told otherwise: `bucket.s3.us-east-1.amazonaws.com`, or
//! `bucket.localhost`.

use s3s::S3Result;
use s3s::host::{S3Host, VirtualHost};

/// Every host that could be one of S3's.
pub(super) struct Hosts;

impl S3Host for Hosts {
    fn parse_host_header<'a>(&'a self, host: &'a str) -> S3Result<VirtualHost<'a>> {
        Ok(match bucket(host) {
            Some(bucket) => VirtualHost::new(host).with_bucket(bucket),
            None => VirtualHost::new(host),
        })
    }
}

/// The bucket that stands in front of S3's own name, or of this machine's.
fn bucket(host: &str) -> Option<&str> {
    let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
    if let Some(bucket) = name.strip_suffix(".localhost") {
        return (bucket != "s3").then(|| bucket.strip_suffix(".s3").unwrap_or(bucket));
    }
    // Names of buckets may have dots: the last label that is S3's counts.
    [".s3.", ".s3-"].iter().filter_map(|own| name.rfind(own)).max().map(|at| &name[..at])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_is_what_stands_in_front_of_s3_s_name() {
        for (host, expected) in [
            ("localhost:4080", None),
            ("fake-efs:4080", None),
            ("s3.us-east-1.amazonaws.com", None),
            ("s3.localhost", None),
            ("b.localhost:4080", Some("b")),
            ("b.s3.localhost", Some("b")),
            ("b.s3.amazonaws.com", Some("b")),
            ("my.bucket.s3.eu-central-1.amazonaws.com:443", Some("my.bucket")),
            ("b.s3-fips.us-east-1.amazonaws.com", Some("b")),
        ] {
            assert_eq!(bucket(host), expected, "{host}");
        }
    }
}
