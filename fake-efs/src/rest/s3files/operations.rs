//! The operations of the API: their names, addresses, inputs and status codes.

use http::Method;

use super::shapes;
use crate::rest::operations::operations;
use crate::rest::schema::Field;

operations! {
    /// An operation of API 2025-05-05.
    CreateFileSystem PUT "/file-systems" 201 CREATE_FILE_SYSTEM,
    GetFileSystem GET "/file-systems/{fileSystemId}" 200 ONE_FILE_SYSTEM,
    ListFileSystems GET "/file-systems" 200 LIST_FILE_SYSTEMS,
    DeleteFileSystem DELETE "/file-systems/{fileSystemId}" 204 DELETE_FILE_SYSTEM,
    PutFileSystemPolicy PUT "/file-systems/{fileSystemId}/policy" 200 PUT_POLICY,
    GetFileSystemPolicy GET "/file-systems/{fileSystemId}/policy" 200 ONE_FILE_SYSTEM,
    DeleteFileSystemPolicy DELETE "/file-systems/{fileSystemId}/policy" 204 ONE_FILE_SYSTEM,
    PutSynchronizationConfiguration PUT "/file-systems/{fileSystemId}/synchronization-configuration" 200 PUT_SYNCHRONIZATION,
    GetSynchronizationConfiguration GET "/file-systems/{fileSystemId}/synchronization-configuration" 200 ONE_FILE_SYSTEM,
    CreateAccessPoint PUT "/access-points" 200 CREATE_ACCESS_POINT,
    GetAccessPoint GET "/access-points/{accessPointId}" 200 ONE_ACCESS_POINT,
    ListAccessPoints GET "/access-points" 200 LIST_ACCESS_POINTS,
    DeleteAccessPoint DELETE "/access-points/{accessPointId}" 204 ONE_ACCESS_POINT,
    CreateMountTarget PUT "/mount-targets" 200 CREATE_MOUNT_TARGET,
    GetMountTarget GET "/mount-targets/{mountTargetId}" 200 ONE_MOUNT_TARGET,
    UpdateMountTarget PUT "/mount-targets/{mountTargetId}" 200 UPDATE_MOUNT_TARGET,
    ListMountTargets GET "/mount-targets" 200 LIST_MOUNT_TARGETS,
    DeleteMountTarget DELETE "/mount-targets/{mountTargetId}" 204 ONE_MOUNT_TARGET,
    TagResource POST "/resource-tags/{resourceId}" 200 TAG_RESOURCE,
    UntagResource DELETE "/resource-tags/{resourceId}" 200 UNTAG_RESOURCE,
    ListTagsForResource GET "/resource-tags/{resourceId}" 200 LIST_TAGS,
}

impl Operation {
    /// The member that a query parameter stands for.
    pub(super) fn query_member(self, parameter: &str) -> Option<&'static str> {
        // This one operation writes its paging as EFS does.
        let parameter = match (self, parameter) {
            (Self::ListTagsForResource, "MaxResults") => "maxResults",
            (Self::ListTagsForResource, "NextToken") => "nextToken",
            (Self::ListTagsForResource, _) => return None,
            (_, other) => other,
        };
        let in_path = self.path().contains(&format!("{{{parameter}}}"));
        let member = self.input().iter().map(|field| field.name).find(|field| *field == parameter);
        member.filter(|_| !self.takes_body() && !in_path)
    }

    /// Whether the input is, or may be, in the body.
    pub(super) fn takes_body(self) -> bool {
        matches!(self.method(), Method::PUT | Method::POST)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_api_has_21_operations() {
        assert_eq!(Operation::ALL.len(), 21);
    }

    /// The tests with AWS's SDK call every operation.
    #[test]
    fn every_operation_is_called_by_a_test() {
        let tests = include_str!("../../../tests/control_plane/s3files.rs");
        for operation in Operation::ALL {
            let mut call = String::new();
            for c in operation.name().chars() {
                if c.is_uppercase() {
                    call.push('_');
                }
                call.extend(c.to_lowercase());
            }
            let call = format!(".{}()", call.trim_start_matches('_'));
            assert!(tests.contains(&call), "no test calls {call}");
        }
    }
}
