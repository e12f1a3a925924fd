//! What can be granted of EFS and of S3 Files, by the service authorization reference: the operations of the APIs, and what clients and
//! other services do.

use super::like;
use crate::world::scope::Service;

const EFS: [&str; 38] = [
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

const S3_FILES: [&str; 24] = [
    "ClientMount",
    "ClientRootAccess",
    "ClientWrite",
    "CreateAccessPoint",
    "CreateFileSystem",
    "CreateMountTarget",
    "DeleteAccessPoint",
    "DeleteFileSystem",
    "DeleteFileSystemPolicy",
    "DeleteMountTarget",
    "GetAccessPoint",
    "GetFileSystem",
    "GetFileSystemPolicy",
    "GetMountTarget",
    "GetSynchronizationConfiguration",
    "ListAccessPoints",
    "ListFileSystems",
    "ListMountTargets",
    "ListTagsForResource",
    "PutFileSystemPolicy",
    "PutSynchronizationConfiguration",
    "TagResource",
    "UntagResource",
    "UpdateMountTarget",
];

/// Whether a pattern means an action of the service: a misspelt one would grant nothing, and silently.
pub(super) fn exists(pattern: &str, service: Service) -> bool {
    let name = pattern.strip_prefix(service.signing_name()).and_then(|rest| rest.strip_prefix(':'));
    let Some(name) = name else { return pattern == "*" };
    let name = name.to_lowercase();
    let names: &[&str] = match service {
        Service::Efs => &EFS,
        Service::S3Files => &S3_FILES,
    };
    names.iter().any(|action| like(&name, &action.to_lowercase()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_means_an_action_or_nothing() {
        for good in ["*", "elasticfilesystem:*", "elasticfilesystem:Client*", "elasticfilesystem:clientmount"] {
            assert!(exists(good, Service::Efs), "{good}");
        }
        for bad in [
            "elasticfilesystem:ClientMunt",
            "elasticfilesystem:",
            "s3:GetObject",
            "ClientMount",
            "elasticfilesystem:Nope*",
        ] {
            assert!(!exists(bad, Service::Efs), "{bad}");
        }
    }

    #[test]
    fn every_operation_is_an_action() {
        let efs = include_str!("../../rest/efs/operations.rs");
        let s3_files = include_str!("../../rest/s3files/operations.rs");
        for (source, service, count) in [(efs, Service::Efs, 31), (s3_files, Service::S3Files, 21)] {
            let rows = source.lines().filter(|line| line.starts_with("    ") && line.contains(" \"/"));
            let names: Vec<_> = rows.filter_map(|row| row.split_whitespace().next()).collect();
            assert_eq!(names.len(), count);
            for name in names {
                assert!(exists(&format!("{}:{name}", service.signing_name()), service), "{name}");
            }
        }
    }
}
