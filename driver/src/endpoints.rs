//! DNS names of EFS, per partition.

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

/// The name in the certificate of a file system's mount targets.
pub fn file_system_name(file_system: &str, region: &str) -> String {
    format!("{file_system}.efs.{region}.{}", dns_suffix(region))
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
        for (region, name) in [
            ("us-east-1", "fs-1.efs.us-east-1.amazonaws.com"),
            ("us-gov-west-1", "fs-1.efs.us-gov-west-1.amazonaws.com"),
            ("cn-north-1", "fs-1.efs.cn-north-1.amazonaws.com.cn"),
            ("us-iso-east-1", "fs-1.efs.us-iso-east-1.c2s.ic.gov"),
            ("us-isob-east-1", "fs-1.efs.us-isob-east-1.sc2s.sgov.gov"),
            ("us-isof-south-1", "fs-1.efs.us-isof-south-1.csp.hci.ic.gov"),
            ("eu-isoe-west-1", "fs-1.efs.eu-isoe-west-1.cloud.adc-e.uk"),
            ("eusc-de-east-1", "fs-1.efs.eusc-de-east-1.amazonaws.eu"),
        ] {
            assert_eq!(file_system_name("fs-1", region), name);
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
