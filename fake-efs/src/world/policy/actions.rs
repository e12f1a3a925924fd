//! What can be granted of EFS, by the service authorization reference: the operations of the API, and what clients and other services do.

use super::like;

const NAMES: [&str; 38] = [
    "Backup",
    "ClientMount",
    "ClientRootAccess",
    "ClientWrite",
    "CreateAccessPoint",
    "CreateFileSystem",
    "CreateMountTarget",
    "CreateReplicationConfiguration",
    "CreateTags",
    "DeleteAccessPoint",
    "DeleteFileSystem",
    "DeleteFileSystemPolicy",
    "DeleteMountTarget",
    "DeleteReplicationConfiguration",
    "DeleteTags",
    "DescribeAccessPoints",
    "DescribeAccountPreferences",
    "DescribeBackupPolicy",
    "DescribeFileSystemPolicy",
    "DescribeFileSystems",
    "DescribeLifecycleConfiguration",
    "DescribeMountTargetSecurityGroups",
    "DescribeMountTargets",
    "DescribeReplicationConfigurations",
    "DescribeTags",
    "ListTagsForResource",
    "ModifyMountTargetSecurityGroups",
    "PutAccountPreferences",
    "PutBackupPolicy",
    "PutFileSystemPolicy",
    "PutLifecycleConfiguration",
    "ReplicationRead",
    "ReplicationWrite",
    "Restore",
    "TagResource",
    "UntagResource",
    "UpdateFileSystem",
    "UpdateFileSystemProtection",
];

/// Whether a pattern means an action of EFS: a misspelt one would grant nothing, and silently.
pub(super) fn exists(pattern: &str) -> bool {
    let Some(name) = pattern.strip_prefix("elasticfilesystem:") else { return pattern == "*" };
    let name = name.to_lowercase();
    NAMES.iter().any(|action| like(&name, &action.to_lowercase()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_means_an_action_or_nothing() {
        for good in ["*", "elasticfilesystem:*", "elasticfilesystem:Client*", "elasticfilesystem:clientmount"] {
            assert!(exists(good), "{good}");
        }
        for bad in [
            "elasticfilesystem:ClientMunt",
            "elasticfilesystem:",
            "s3:GetObject",
            "ClientMount",
            "elasticfilesystem:Nope*",
        ] {
            assert!(!exists(bad), "{bad}");
        }
    }

    #[test]
    fn every_operation_is_an_action() {
        let source = include_str!("../../rest/efs/operations.rs");
        let rows = source.lines().filter(|line| line.starts_with("    ") && line.contains(" \"/"));
        let names: Vec<_> = rows.filter_map(|row| row.split_whitespace().next()).collect();
        assert_eq!(names.len(), 31);
        for name in names {
            assert!(exists(&format!("elasticfilesystem:{name}")), "{name}");
        }
    }
}
