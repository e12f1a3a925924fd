//! Names and identifiers that the checks use.

use uuid::Uuid;

/// Names of volumes and snapshots: the suffix is the same for the whole run, so a name repeats within a run and never
/// between two.
#[derive(Debug, Clone)]
pub(crate) struct Names {
    suffix: String,
}

/// The longest name that a driver has to take, in bytes (CSI's limit of a string field).
pub(crate) const LONGEST_NAME: usize = 128;

impl Names {
    pub(crate) fn new() -> Self {
        let random = Uuid::new_v4().simple().to_string();
        let (first, rest) = random.split_at(8);
        Self { suffix: format!("{first}-{}", &rest[..8]) }
    }

    /// `prefix-xxxxxxxx-xxxxxxxx`.
    pub(crate) fn unique(&self, prefix: &str) -> String {
        format!("{prefix}-{}", self.suffix)
    }

    /// The same padded with `a` to 128 bytes.
    pub(crate) fn longest(&self, prefix: &str) -> String {
        format!("{:a<LONGEST_NAME$}", self.unique(prefix))
    }
}

/// An identifier of a volume that does not exist but might.
pub(crate) fn unknown_volume_id() -> String {
    format!("{MALFORMED_VOLUME_ID}-{}", random_part())
}

/// An identifier of a node that does not exist but might.
pub(crate) fn unknown_node_id() -> String {
    format!("fake-node-id-{}", random_part())
}

/// An identifier that no driver gives out.
pub(crate) const MALFORMED_VOLUME_ID: &str = "fake-vol-id";

/// The first ten characters of a version 4 UUID, as the Go suite takes them.
fn random_part() -> String {
    Uuid::new_v4().to_string().chars().take(10).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_repeat_within_a_run_and_differ_between_runs() {
        let names = Names::new();
        assert_eq!(names.unique("sanity"), names.unique("sanity"));
        assert_ne!(names.unique("sanity"), Names::new().unique("sanity"));
        assert_eq!(names.unique("x").len(), "x-01234567-01234567".len());
    }

    #[test]
    fn the_longest_name_has_128_bytes() {
        let name = Names::new().longest("sanity-controller-create-maxlen");
        assert_eq!(name.len(), 128);
        assert!(name.starts_with("sanity-controller-create-maxlen-") && name.ends_with("aaa"));
    }
}
