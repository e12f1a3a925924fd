//! The inputs of all operations as the service model of API 2015-02-01 constrains them.

use crate::rest::forms;
use crate::rest::schema::{Field, Form, Shape, formed, optional, required, text};
use crate::world::ids::{Arn, is_id};
use crate::world::scope::Service;

/// Whether `text` is an id with that prefix, or an ARN of that kind.
fn is_reference(text: &str, kind: &str, prefix: &str) -> bool {
    is_id(text, prefix)
        || Arn::parse(text).is_some_and(|arn| arn.service == Service::Efs && arn.kind == kind && is_id(arn.id, prefix))
}

static FILE_SYSTEM_ID: Form = Form {
    pattern: "^(arn:aws[-a-z]*:elasticfilesystem:[0-9a-z-:]+:file-system/fs-[0-9a-f]{8,40}|fs-[0-9a-f]{8,40})$",
    matches: |text| is_reference(text, "file-system", "fs-"),
};
static ACCESS_POINT_ID: Form = Form {
    pattern: "^(arn:aws[-a-z]*:elasticfilesystem:[0-9a-z-:]+:access-point/fsap-[0-9a-f]{8,40}|fsap-[0-9a-f]{8,40})$",
    matches: |text| is_reference(text, "access-point", "fsap-"),
};
static RESOURCE_ID: Form = Form {
    pattern: "^(arn:aws[-a-z]*:elasticfilesystem:[0-9a-z-:]+:(access-point/fsap|file-system/fs)-[0-9a-f]{8,40}|fs(ap)?-[0-9a-f]{8,40})$",
    matches: |text| is_reference(text, "access-point", "fsap-") || is_reference(text, "file-system", "fs-"),
};
static MOUNT_TARGET_ID: Form = Form {
    // The model's own pattern knows no ARNs, but its documentation says that they are accepted when listing.
    pattern: "^fsmt-[0-9a-f]{8,40}$",
    matches: |text| is_reference(text, "mount-target", "fsmt-"),
};
static SUBNET_ID: Form = Form { pattern: "^subnet-[0-9a-f]{8,40}$", matches: |text| is_id(text, "subnet-") };
// The model's pattern has no `$`, so that anything may follow the eighth digit.
static SECURITY_GROUP: Form =
    Form { pattern: "^sg-[0-9a-f]{8,40}", matches: |text| text.get(..11).is_some_and(|start| is_id(start, "sg-")) };
static ANYTHING: Form = Form { pattern: ".+", matches: |text| text.chars().any(|c| c != '\n') };
static TAG_KEY: Form =
    Form { pattern: "^(?![aA]{1}[wW]{1}[sS]{1}:)([\\p{L}\\p{Z}\\p{N}_.:/=+\\-@]+)$", matches: forms::is_tag_key };
static TAG_VALUE: Form = Form { pattern: "^([\\p{L}\\p{Z}\\p{N}_.:/=+\\-@]*)$", matches: forms::is_tag_value };
static PATH: Form = Form { pattern: "^(\\/|(\\/(?!\\.)+[^$#<>;`|&?{}^*/\\n]+){1,4})$", matches: forms::is_path };
static PERMISSIONS: Form = Form { pattern: "^[0-7]{3,4}$", matches: forms::are_permissions };
static IP_ADDRESS: Form =
    Form { pattern: "^[0-9]{1,3}\\.[0-9]{1,3}\\.[0-9]{1,3}\\.[0-9]{1,3}$", matches: forms::is_ip_address };
static KMS_KEY_ID: Form = Form {
    pattern: "^([0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}|mrk-[0-9a-f]{32}|alias/[a-zA-Z0-9/_-]+|(arn:aws[-a-z]*:kms:[a-z0-9-]+:\\d{12}:((key/[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12})|(key/mrk-[0-9a-f]{32})|(alias/[a-zA-Z0-9/_-]+))))$",
    matches: forms::is_key,
};
static REGION_NAME: Form =
    Form { pattern: "^[a-z]{2}-((iso[a-z]{0,1}-)|(gov-)){0,1}[a-z]+-{0,1}[0-9]{0,1}$", matches: is_region };
static ROLE_ARN: Form =
    Form { pattern: "arn:(aws[a-zA-Z-]*)?:iam::\\d{12}:role/?[a-zA-Z_0-9+=,.@\\-_/]+", matches: forms::is_role };

fn is_region(text: &str) -> bool {
    let parts: Vec<_> = text.split('-').collect();
    let word = |s: &str| !s.is_empty() && s.bytes().all(|b| b.is_ascii_lowercase());
    let middle = |s: &str| s == "gov" || (s.starts_with("iso") && s.len() <= 4);
    let digit = |s: &str| s.len() <= 1 && s.bytes().all(|b| b.is_ascii_digit());
    let first = |s: &str| s.len() == 2 && word(s);
    match parts[..] {
        [a, b] => first(a) && word(b.trim_end_matches(|c: char| c.is_ascii_digit())),
        [a, b, c] => first(a) && word(b) && (digit(c) || middle(b) && word(c)),
        [a, b, c, d] => first(a) && middle(b) && word(c) && digit(d),
        _ => false,
    }
}

const FILE_SYSTEM: Shape = formed(0, 128, &FILE_SYSTEM_ID);
const ACCESS_POINT: Shape = formed(0, 128, &ACCESS_POINT_ID);
const MOUNT_TARGET: Shape = formed(13, 128, &MOUNT_TARGET_ID);
const RESOURCE: Shape = formed(0, 128, &RESOURCE_ID);
const TOKEN: Shape = formed(1, 64, &ANYTHING);
const PAGE_TOKEN: Shape = formed(1, 128, &ANYTHING);
const COUNT: Shape = Shape::Whole(1, i32::MAX as i64);
const ID: Shape = Shape::Whole(0, u32::MAX as i64);
const ZONE: Shape = formed(1, 64, &ANYTHING);
const THROUGHPUT_MODE: Shape = Shape::Choice(&["bursting", "provisioned", "elastic"]);
const DAYS: Shape = Shape::Choice(&[
    "AFTER_1_DAY",
    "AFTER_7_DAYS",
    "AFTER_14_DAYS",
    "AFTER_30_DAYS",
    "AFTER_60_DAYS",
    "AFTER_90_DAYS",
    "AFTER_180_DAYS",
    "AFTER_270_DAYS",
    "AFTER_365_DAYS",
]);

static TAG: Shape =
    Shape::Record(&[required("Key", formed(1, 128, &TAG_KEY)), required("Value", formed(0, 256, &TAG_VALUE))]);
const TAGS: Shape = Shape::List { item: &TAG, min: 0, max: 10_000 };
static KEY: Shape = formed(1, 128, &TAG_KEY);
const TAG_KEYS: Shape = Shape::List { item: &KEY, min: 1, max: 50 };
static GROUP: Shape = formed(11, 43, &SECURITY_GROUP);
const SECURITY_GROUPS: Shape = Shape::List { item: &GROUP, min: 0, max: 100 };
static GID: Shape = ID;
static LIFECYCLE_POLICY: Shape = Shape::Record(&[
    optional("TransitionToIA", DAYS),
    optional("TransitionToPrimaryStorageClass", Shape::Choice(&["AFTER_1_ACCESS"])),
    optional("TransitionToArchive", DAYS),
]);
static DESTINATION: Shape = Shape::Record(&[
    optional("Region", formed(1, 64, &REGION_NAME)),
    optional("AvailabilityZoneName", ZONE),
    optional("KmsKeyId", formed(0, 2048, &KMS_KEY_ID)),
    optional("FileSystemId", FILE_SYSTEM),
    optional("RoleArn", formed(0, 2048, &ROLE_ARN)),
]);

pub(super) static CREATE_FILE_SYSTEM: &[Field] = &[
    required("CreationToken", TOKEN),
    optional("PerformanceMode", Shape::Choice(&["generalPurpose", "maxIO"])),
    optional("Encrypted", Shape::Flag),
    optional("KmsKeyId", formed(0, 2048, &KMS_KEY_ID)),
    optional("ThroughputMode", THROUGHPUT_MODE),
    optional("ProvisionedThroughputInMibps", Shape::Real(1.0)),
    optional("AvailabilityZoneName", ZONE),
    optional("Backup", Shape::Flag),
    optional("Tags", TAGS),
];
pub(super) static DESCRIBE_FILE_SYSTEMS: &[Field] = &[
    optional("MaxItems", COUNT),
    optional("Marker", PAGE_TOKEN),
    optional("CreationToken", TOKEN),
    optional("FileSystemId", FILE_SYSTEM),
];
pub(super) static UPDATE_FILE_SYSTEM: &[Field] = &[
    required("FileSystemId", FILE_SYSTEM),
    optional("ThroughputMode", THROUGHPUT_MODE),
    optional("ProvisionedThroughputInMibps", Shape::Real(1.0)),
];
pub(super) static UPDATE_PROTECTION: &[Field] = &[
    required("FileSystemId", FILE_SYSTEM),
    optional("ReplicationOverwriteProtection", Shape::Choice(&["ENABLED", "DISABLED", "REPLICATING"])),
];
pub(super) static ONE_FILE_SYSTEM: &[Field] = &[required("FileSystemId", FILE_SYSTEM)];
pub(super) static CREATE_REPLICATION: &[Field] = &[
    required("SourceFileSystemId", FILE_SYSTEM),
    required("Destinations", Shape::List { item: &DESTINATION, min: 0, max: 100 }),
];
pub(super) static DESCRIBE_REPLICATIONS: &[Field] =
    &[optional("FileSystemId", FILE_SYSTEM), optional("NextToken", PAGE_TOKEN), optional("MaxResults", COUNT)];
pub(super) static DELETE_REPLICATION: &[Field] = &[
    required("SourceFileSystemId", FILE_SYSTEM),
    optional("DeletionMode", Shape::Choice(&["ALL_CONFIGURATIONS", "LOCAL_CONFIGURATION_ONLY"])),
];
pub(super) static CREATE_ACCESS_POINT: &[Field] = &[
    required("ClientToken", TOKEN),
    optional("Tags", TAGS),
    required("FileSystemId", FILE_SYSTEM),
    optional(
        "PosixUser",
        Shape::Record(&[
            required("Uid", ID),
            required("Gid", ID),
            optional("SecondaryGids", Shape::List { item: &GID, min: 0, max: 16 }),
        ]),
    ),
    optional(
        "RootDirectory",
        Shape::Record(&[
            optional("Path", formed(1, 100, &PATH)),
            optional(
                "CreationInfo",
                Shape::Record(&[
                    required("OwnerUid", ID),
                    required("OwnerGid", ID),
                    required("Permissions", formed(3, 4, &PERMISSIONS)),
                ]),
            ),
        ]),
    ),
];
pub(super) static DESCRIBE_ACCESS_POINTS: &[Field] = &[
    optional("MaxResults", COUNT),
    optional("NextToken", PAGE_TOKEN),
    optional("AccessPointId", ACCESS_POINT),
    optional("FileSystemId", FILE_SYSTEM),
];
pub(super) static ONE_ACCESS_POINT: &[Field] = &[required("AccessPointId", ACCESS_POINT)];
pub(super) static CREATE_MOUNT_TARGET: &[Field] = &[
    required("FileSystemId", FILE_SYSTEM),
    required("SubnetId", formed(15, 47, &SUBNET_ID)),
    optional("IpAddress", formed(7, 15, &IP_ADDRESS)),
    optional("Ipv6Address", text(3, 39)),
    optional("IpAddressType", Shape::Choice(&["IPV4_ONLY", "IPV6_ONLY", "DUAL_STACK"])),
    optional("SecurityGroups", SECURITY_GROUPS),
];
pub(super) static DESCRIBE_MOUNT_TARGETS: &[Field] = &[
    optional("MaxItems", COUNT),
    optional("Marker", PAGE_TOKEN),
    optional("FileSystemId", FILE_SYSTEM),
    optional("MountTargetId", MOUNT_TARGET),
    optional("AccessPointId", ACCESS_POINT),
];
pub(super) static ONE_MOUNT_TARGET: &[Field] = &[required("MountTargetId", MOUNT_TARGET)];
pub(super) static MODIFY_SECURITY_GROUPS: &[Field] =
    &[required("MountTargetId", MOUNT_TARGET), optional("SecurityGroups", SECURITY_GROUPS)];
pub(super) static TAG_RESOURCE: &[Field] = &[required("ResourceId", RESOURCE), required("Tags", TAGS)];
pub(super) static UNTAG_RESOURCE: &[Field] = &[required("ResourceId", RESOURCE), required("TagKeys", TAG_KEYS)];
pub(super) static LIST_TAGS: &[Field] =
    &[required("ResourceId", RESOURCE), optional("MaxResults", COUNT), optional("NextToken", PAGE_TOKEN)];
pub(super) static CREATE_TAGS: &[Field] = &[required("FileSystemId", FILE_SYSTEM), required("Tags", TAGS)];
pub(super) static DELETE_TAGS: &[Field] = &[required("FileSystemId", FILE_SYSTEM), required("TagKeys", TAG_KEYS)];
pub(super) static DESCRIBE_TAGS: &[Field] =
    &[required("FileSystemId", FILE_SYSTEM), optional("MaxItems", COUNT), optional("Marker", PAGE_TOKEN)];
pub(super) static PUT_LIFECYCLE: &[Field] = &[
    required("FileSystemId", FILE_SYSTEM),
    required("LifecyclePolicies", Shape::List { item: &LIFECYCLE_POLICY, min: 0, max: 3 }),
];
pub(super) static PUT_POLICY: &[Field] = &[
    required("FileSystemId", FILE_SYSTEM),
    required("Policy", text(1, 20_000)),
    optional("BypassPolicyLockoutSafetyCheck", Shape::Flag),
];
pub(super) static PUT_BACKUP: &[Field] = &[
    required("FileSystemId", FILE_SYSTEM),
    required(
        "BackupPolicy",
        Shape::Record(&[required("Status", Shape::Choice(&["ENABLED", "ENABLING", "DISABLED", "DISABLING"]))]),
    ),
];
pub(super) static PUT_PREFERENCES: &[Field] = &[required("ResourceIdType", Shape::Choice(&["LONG_ID", "SHORT_ID"]))];
pub(super) static DESCRIBE_PREFERENCES: &[Field] = &[optional("NextToken", PAGE_TOKEN), optional("MaxResults", COUNT)];

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::rest::forms::{is_key, is_path};
    use crate::rest::schema::check;

    fn refusal(fields: &[Field], input: serde_json::Value) -> String {
        check(fields, input.as_object().unwrap()).map_or_else(|e| e.message, |()| "accepted".to_owned())
    }

    #[test]
    fn a_path_has_at_most_four_components_none_starting_with_a_dot() {
        for good in ["/", "/a", "/a/b/c/d", "/a.b", "/with space", "/ä"] {
            assert!(is_path(good), "{good}");
        }
        for bad in ["", "a", "//a", "/a/", "/a/b/c/d/e", "/.a", "/a/..", "/a$b", "/a\nb", "/a?"] {
            assert!(!is_path(bad), "{bad}");
        }
    }

    #[test]
    fn refusals_are_worded_as_aws_words_them() {
        let input = json!({"FileSystemId": "fs-01234567", "ClientToken": "t", "RootDirectory": {"Path": "//pvc-1"}});
        assert_eq!(
            refusal(CREATE_ACCESS_POINT, input),
            "1 validation error detected: Value '//pvc-1' at 'rootDirectory.path' failed to satisfy constraint: \
             Member must satisfy regular expression pattern: ^(\\/|(\\/(?!\\.)+[^$#<>;`|&?{}^*/\\n]+){1,4})$"
        );
        assert_eq!(
            refusal(TAG_RESOURCE, json!({"ResourceId": "fs-01234567", "Tags": [{"Key": "", "Value": "x"}]})),
            "2 validation errors detected: Value '' at 'tags.1.member.key' failed to satisfy constraint: Member must \
             have length greater than or equal to 1; Value '' at 'tags.1.member.key' failed to satisfy constraint: \
             Member must satisfy regular expression pattern: ^(?![aA]{1}[wW]{1}[sS]{1}:)([\\p{L}\\p{Z}\\p{N}_.:/=+\\-@]+)$"
        );
        assert_eq!(
            refusal(CREATE_FILE_SYSTEM, json!({"ThroughputMode": "fast"})),
            "2 validation errors detected: Value null at 'creationToken' failed to satisfy constraint: Member must not \
             be null; Value 'fast' at 'throughputMode' failed to satisfy constraint: Member must satisfy enum value \
             set: [bursting, provisioned, elastic]"
        );
    }

    /// As Lambda, IAM and CloudFormation word it, whose answers have been published.
    #[test]
    fn a_list_of_simple_values_is_refused_as_a_whole() {
        assert_eq!(
            refusal(
                CREATE_MOUNT_TARGET,
                json!({"FileSystemId": "fs-01234567", "SubnetId": "subnet-01234567", "SecurityGroups": ["sg-01234567", "x"]})
            ),
            "1 validation error detected: Value '[sg-01234567, x]' at 'securityGroups' failed to satisfy constraint: \
             Member must satisfy constraint: [Member must have length less than or equal to 43, Member must have length \
             greater than or equal to 11, Member must satisfy regular expression pattern: ^sg-[0-9a-f]{8,40}]"
        );
        assert_eq!(
            refusal(UNTAG_RESOURCE, json!({"ResourceId": "fs-01234567", "TagKeys": []})),
            "1 validation error detected: Value '[]' at 'tagKeys' failed to satisfy constraint: Member must have length \
             greater than or equal to 1"
        );
    }

    #[test]
    fn ids_and_arns_are_accepted_where_ids_are() {
        let arn = "arn:aws:elasticfilesystem:us-east-1:123456789012:file-system/fs-01234567";
        assert_eq!(refusal(ONE_FILE_SYSTEM, json!({"FileSystemId": arn})), "accepted");
        assert_eq!(refusal(ONE_FILE_SYSTEM, json!({"FileSystemId": "fs-0123456789abcdef0"})), "accepted");
        for bad in ["fs-xyz", "../../etc/passwd", "fsap-01234567", &arn.replace("file-system", "access-point")] {
            assert_ne!(refusal(ONE_FILE_SYSTEM, json!({"FileSystemId": bad})), "accepted", "{bad}");
        }
    }

    #[test]
    fn tag_keys_may_not_start_with_aws() {
        for bad in ["aws:x", "AWS:x", "a#b", ""] {
            assert!(!(TAG_KEY.matches)(bad), "{bad}");
        }
        assert!((TAG_KEY.matches)("awsome") && (TAG_KEY.matches)("efs.csi.aws.com/cluster"));
    }

    #[test]
    fn regions_and_keys_have_their_forms() {
        for good in ["us-east-1", "us-gov-west-1", "us-isob-east-1", "ap-southeast-2"] {
            assert!(is_region(good), "{good}");
        }
        for bad in ["useast1", "us_east_1", "us-east-12x", ""] {
            assert!(!is_region(bad), "{bad}");
        }
        assert!(is_key("1234abcd-12ab-34cd-56ef-1234567890ab") && is_key("alias/k"));
        assert!(is_key("arn:aws:kms:us-west-2:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab"));
        assert!(!is_key("arn:aws:kms:us-west-2:1:key/x") && !is_key("nonsense"));
    }
}
