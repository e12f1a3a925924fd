//! The operations of the API: their names, addresses, inputs and status codes.

use http::Method;

use super::shapes;
use crate::rest::operations::operations;
use crate::rest::schema::Field;

operations! {
    /// An operation of API 2015-02-01.
    CreateFileSystem POST "/file-systems" 201 CREATE_FILE_SYSTEM,
    DescribeFileSystems GET "/file-systems" 200 DESCRIBE_FILE_SYSTEMS,
    UpdateFileSystem PUT "/file-systems/{FileSystemId}" 202 UPDATE_FILE_SYSTEM,
    UpdateFileSystemProtection PUT "/file-systems/{FileSystemId}/protection" 200 UPDATE_PROTECTION,
    DeleteFileSystem DELETE "/file-systems/{FileSystemId}" 204 ONE_FILE_SYSTEM,
    CreateReplicationConfiguration POST "/file-systems/{SourceFileSystemId}/replication-configuration" 200 CREATE_REPLICATION,
    DescribeReplicationConfigurations GET "/file-systems/replication-configurations" 200 DESCRIBE_REPLICATIONS,
    DeleteReplicationConfiguration DELETE "/file-systems/{SourceFileSystemId}/replication-configuration" 204 DELETE_REPLICATION,
    CreateAccessPoint POST "/access-points" 200 CREATE_ACCESS_POINT,
    DescribeAccessPoints GET "/access-points" 200 DESCRIBE_ACCESS_POINTS,
    DeleteAccessPoint DELETE "/access-points/{AccessPointId}" 204 ONE_ACCESS_POINT,
    CreateMountTarget POST "/mount-targets" 200 CREATE_MOUNT_TARGET,
    DescribeMountTargets GET "/mount-targets" 200 DESCRIBE_MOUNT_TARGETS,
    DeleteMountTarget DELETE "/mount-targets/{MountTargetId}" 204 ONE_MOUNT_TARGET,
    DescribeMountTargetSecurityGroups GET "/mount-targets/{MountTargetId}/security-groups" 200 ONE_MOUNT_TARGET,
    ModifyMountTargetSecurityGroups PUT "/mount-targets/{MountTargetId}/security-groups" 204 MODIFY_SECURITY_GROUPS,
    TagResource POST "/resource-tags/{ResourceId}" 200 TAG_RESOURCE,
    UntagResource DELETE "/resource-tags/{ResourceId}" 200 UNTAG_RESOURCE,
    ListTagsForResource GET "/resource-tags/{ResourceId}" 200 LIST_TAGS,
    CreateTags POST "/create-tags/{FileSystemId}" 204 CREATE_TAGS,
    DeleteTags POST "/delete-tags/{FileSystemId}" 204 DELETE_TAGS,
    DescribeTags GET "/tags/{FileSystemId}" 200 DESCRIBE_TAGS,
    PutLifecycleConfiguration PUT "/file-systems/{FileSystemId}/lifecycle-configuration" 200 PUT_LIFECYCLE,
    DescribeLifecycleConfiguration GET "/file-systems/{FileSystemId}/lifecycle-configuration" 200 ONE_FILE_SYSTEM,
    PutFileSystemPolicy PUT "/file-systems/{FileSystemId}/policy" 200 PUT_POLICY,
    DescribeFileSystemPolicy GET "/file-systems/{FileSystemId}/policy" 200 ONE_FILE_SYSTEM,
    DeleteFileSystemPolicy DELETE "/file-systems/{FileSystemId}/policy" 200 ONE_FILE_SYSTEM,
    PutBackupPolicy PUT "/file-systems/{FileSystemId}/backup-policy" 200 PUT_BACKUP,
    DescribeBackupPolicy GET "/file-systems/{FileSystemId}/backup-policy" 200 ONE_FILE_SYSTEM,
    PutAccountPreferences PUT "/account-preferences" 200 PUT_PREFERENCES,
    DescribeAccountPreferences GET "/account-preferences" 200 DESCRIBE_PREFERENCES,
}

impl Operation {
    /// The member that a query parameter stands for.
    pub(super) fn query_member(self, parameter: &str) -> Option<&'static str> {
        match (self, parameter) {
            (Self::UntagResource, "tagKeys") => Some("TagKeys"),
            (Self::DeleteReplicationConfiguration, "deletionMode") => Some("DeletionMode"),
            (
                Self::DescribeFileSystems
                | Self::DescribeReplicationConfigurations
                | Self::DescribeAccessPoints
                | Self::DescribeMountTargets
                | Self::ListTagsForResource
                | Self::DescribeTags,
                name,
            ) => self.input().iter().map(|field| field.name).find(|field| *field == name),
            _ => None,
        }
    }

    /// Whether the input is, or may be, in the body.
    pub(super) fn takes_body(self) -> bool {
        !matches!(
            self,
            Self::DescribeFileSystems
                | Self::DeleteFileSystem
                | Self::DescribeReplicationConfigurations
                | Self::DeleteReplicationConfiguration
                | Self::DescribeAccessPoints
                | Self::DeleteAccessPoint
                | Self::DescribeMountTargets
                | Self::DeleteMountTarget
                | Self::DescribeMountTargetSecurityGroups
                | Self::UntagResource
                | Self::ListTagsForResource
                | Self::DescribeTags
                | Self::DescribeLifecycleConfiguration
                | Self::DescribeFileSystemPolicy
                | Self::DeleteFileSystemPolicy
                | Self::DescribeBackupPolicy
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_api_has_31_operations() {
        assert_eq!(Operation::ALL.len(), 31);
    }
}
