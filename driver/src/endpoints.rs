//! DNS names of EFS and of S3 Files, per partition.

use efs_tunnel::Service;

/// The DNS suffix of a region's partition.
pub fn dns_suffix(region: &str) -> &'static str {
    const BY_PREFIX: &[(&str, &str)] = &[
        ("cn-", "amazonaws.com.cn"),
        ("us-iso-", "c2s.ic.gov"),
        ("us-isob-", "sc2s.sgov.gov"),
        ("us-isof-", "csp.hci.ic.gov"),
        ("eu-isoe-", "cloud.adc-e.uk"),
        ("eusc-", "amazonaws.eu"),
    ];
    BY_PREFIX.iter().find(|(prefix, _)| region.starts_with(prefix)).map_or("amazonaws.com", |(_, suffix)| suffix)
}

/// The DNS suffix of S3 Files. Only two partitions have one of their own.
fn s3_files_suffix(region: &str) -> &'static str {
    match dns_suffix(region) {
        "amazonaws.com" => "on.aws",
        "amazonaws.com.cn" => "on.amazonwebservices.com.cn",
        suffix => suffix,
    }
}

/// The name in the certificate of a file system's mount targets. A mount target's own DNS name has a zone in front of it.
pub fn file_system_name(service: Service, file_system: &str, region: &str) -> String {
    match service {
        Service::Efs => format!("{file_system}.efs.{region}.{}", dns_suffix(region)),
        // As AWS's mount helper composes it. Its order of labels has not been seen on AWS.
        Service::S3Files => format!("{file_system}.s3files.{region}.{}", s3_files_suffix(region)),
    }
}

/// Whether `region` has the form of a region's name; it becomes part of DNS names.
pub fn is_region(region: &str) -> bool {
    let inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    (1..=32).contains(&region.len()) && region.chars().all(inner) && !region.starts_with('-') && !region.ends_with('-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_partition_has_its_suffix() {
        for (region, of_efs, of_s3_files) in [
            ("us-east-1", "amazonaws.com", "on.aws"),
            ("us-gov-west-1", "amazonaws.com", "on.aws"),
            ("cn-north-1", "amazonaws.com.cn", "on.amazonwebservices.com.cn"),
            ("us-iso-east-1", "c2s.ic.gov", "c2s.ic.gov"),
            ("us-isob-east-1", "sc2s.sgov.gov", "sc2s.sgov.gov"),
            ("us-isof-south-1", "csp.hci.ic.gov", "csp.hci.ic.gov"),
            ("eu-isoe-west-1", "cloud.adc-e.uk", "cloud.adc-e.uk"),
            ("eusc-de-east-1", "amazonaws.eu", "amazonaws.eu"),
        ] {
            assert_eq!(file_system_name(Service::Efs, "fs-1", region), format!("fs-1.efs.{region}.{of_efs}"));
            let name = file_system_name(Service::S3Files, "fs-1", region);
            assert_eq!(name, format!("fs-1.s3files.{region}.{of_s3_files}"));
        }
    }

    #[test]
    fn a_region_is_a_plain_label() {
        assert!(is_region("us-east-1") && is_region("xx-local-9"));
        for bad in ["", "-a", "a-", "us.east.1", "US-EAST-1", "a b", &"a".repeat(33)] {
            assert!(!is_region(bad), "{bad:?}");
        }
    }
}
