//! The inputs of all operations as the service model of API 2025-05-05 constrains them.

use crate::rest::forms;
use crate::rest::schema::{Field, Form, Shape, formed, optional, required, text};
use crate::world::ids::{Arn, is_id};
use crate::world::scope::Service;

/// Whether `text` is an id with that prefix; S3 Files never had the short ones of EFS.
fn is_long_id(text: &str, prefix: &str) -> bool {
    is_id(text, prefix) && text.len() - prefix.len() >= 17
}

fn is_reference(text: &str, kind: &str, prefix: &str) -> bool {
    let named = Arn::parse(text)
        .is_some_and(|arn| arn.service == Service::S3Files && arn.kind == kind && is_long_id(arn.id, prefix));
    named || is_long_id(text, prefix)
}

static FILE_SYSTEM_ID: Form = Form {
    pattern: "(arn:aws[-a-z]*:s3files:[0-9a-z-:]+:file-system/fs-[0-9a-f]{17,40}|fs-[0-9a-f]{17,40})",
    matches: |text| is_reference(text, "file-system", "fs-"),
};
static ACCESS_POINT_ID: Form = Form {
    pattern: "(arn:aws[-a-z]*:s3files:[0-9a-z-:]+:file-system/fs-[0-9a-f]{17,40}/access-point/fsap-[0-9a-f]{17,40}|fsap-[0-9a-f]{17,40})",
    matches: |text| is_reference(text, "access-point", "fsap-"),
};
static RESOURCE_ID: Form = Form {
    pattern: "(arn:aws[-a-z]*:s3files:[0-9a-z-:]+:file-system/fs-[0-9a-f]{17,40}(/access-point/fsap-[0-9a-f]{17,40})?|fs(ap)?-[0-9a-f]{17,40})",
    matches: |text| is_reference(text, "access-point", "fsap-") || is_reference(text, "file-system", "fs-"),
};
static MOUNT_TARGET_ID: Form = Form { pattern: "fsmt-[0-9a-f]{17,40}", matches: |text| is_long_id(text, "fsmt-") };
static SUBNET_ID: Form = Form { pattern: "subnet-[0-9a-f]{8,40}", matches: |text| is_id(text, "subnet-") };
static SECURITY_GROUP: Form = Form { pattern: "(sg-[0-9a-f]{8,40})", matches: |text| is_id(text, "sg-") };
static ANYTHING: Form = Form { pattern: "(.+)", matches: |text| text.chars().any(|c| c != '\n') };
static TAG_KEY: Form = Form { pattern: "(?!aws:)([\\p{L}\\p{Z}\\p{N}_.:/=+\\-@]+)", matches: forms::is_tag_key };
static TAG_VALUE: Form = Form { pattern: "([\\p{L}\\p{Z}\\p{N}_.:/=+\\-@]*)", matches: forms::is_tag_value };
static PATH: Form = Form { pattern: "(\\/|(\\/(?!\\.)+[^$#<>;;`|&?{}^*/\\n]+){1,4})", matches: forms::is_path };
static PERMISSIONS: Form = Form { pattern: "[0-7]{3,4}", matches: forms::are_permissions };
static IP_ADDRESS: Form =
    Form { pattern: "[0-9]{1,3}\\.[0-9]{1,3}\\.[0-9]{1,3}\\.[0-9]{1,3}", matches: forms::is_ip_address };
static KMS_KEY_ID: Form = Form {
    pattern: "([0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}|mrk-[0-9a-f]{32}|alias/[a-zA-Z0-9/_-]+|(arn:aws[-a-z]*:kms:[a-z0-9-]+:\\d{12}:((key/[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12})|(key/mrk-[0-9a-f]{32})|(alias/[a-zA-Z0-9/_-]+))))",
    matches: forms::is_key,
};
static ROLE_ARN: Form =
    Form { pattern: "arn:(aws[a-zA-Z-]*)?:iam::\\d{12}:role/?[a-zA-Z_0-9+=,.@\\-_/]+", matches: forms::is_role };
static BUCKET_ARN: Form = Form {
    pattern: "(arn:aws[a-zA-Z0-9-]*:s3:::.+)",
    matches: |text| {
        let mut parts = text.splitn(6, ':');
        parts.next() == Some("arn")
            && parts.next().is_some_and(|partition| partition.starts_with("aws"))
            && [parts.next(), parts.next(), parts.next()] == [Some("s3"), Some(""), Some("")]
            && parts.next().is_some_and(|bucket| !bucket.is_empty())
    },
};
static PREFIX: Form =
    Form { pattern: "(|.*/)", matches: |text| text.is_empty() || text.ends_with('/') && !text.contains('\n') };

const FILE_SYSTEM: Shape = formed(0, 128, &FILE_SYSTEM_ID);
const ACCESS_POINT: Shape = formed(0, 256, &ACCESS_POINT_ID);
const MOUNT_TARGET: Shape = formed(22, 45, &MOUNT_TARGET_ID);
const RESOURCE: Shape = formed(0, 256, &RESOURCE_ID);
const TOKEN: Shape = formed(1, 64, &ANYTHING);
const PAGE_TOKEN: Shape = text(0, 4096);
const ID: Shape = Shape::Whole(0, u32::MAX as i64);
const BUCKET: Shape = formed(0, 2048, &BUCKET_ARN);

static TAG: Shape =
    Shape::Record(&[required("key", formed(1, 128, &TAG_KEY)), required("value", formed(0, 256, &TAG_VALUE))]);
const TAGS: Shape = Shape::List { item: &TAG, min: 1, max: 50 };
static KEY: Shape = formed(1, 128, &TAG_KEY);
static GROUP: Shape = formed(11, 43, &SECURITY_GROUP);
const SECURITY_GROUPS: Shape = Shape::List { item: &GROUP, min: 0, max: 100 };
static GID: Shape = ID;
/// The largest object of S3.
const LARGEST_OBJECT: i64 = 52_673_613_135_872;
static IMPORT_DATA_RULE: Shape = Shape::Record(&[
    required("prefix", formed(0, 1024, &PREFIX)),
    required("trigger", Shape::Choice(&["ON_DIRECTORY_FIRST_ACCESS", "ON_FILE_ACCESS"])),
    required("sizeLessThan", Shape::Whole(0, LARGEST_OBJECT)),
]);
static EXPIRATION_DATA_RULE: Shape = Shape::Record(&[required("daysAfterLastAccess", Shape::Whole(1, 365))]);

pub(super) static CREATE_FILE_SYSTEM: &[Field] = &[
    required("bucket", BUCKET),
    optional("prefix", formed(0, 1024, &PREFIX)),
    optional("clientToken", TOKEN),
    optional("kmsKeyId", formed(0, 2048, &KMS_KEY_ID)),
    required("roleArn", formed(0, 2048, &ROLE_ARN)),
    optional("tags", TAGS),
    optional("acceptBucketWarning", Shape::Flag),
];
pub(super) static ONE_FILE_SYSTEM: &[Field] = &[required("fileSystemId", FILE_SYSTEM)];
pub(super) static LIST_FILE_SYSTEMS: &[Field] =
    &[optional("bucket", BUCKET), optional("maxResults", Shape::Whole(1, 100)), optional("nextToken", PAGE_TOKEN)];
pub(super) static DELETE_FILE_SYSTEM: &[Field] =
    &[required("fileSystemId", FILE_SYSTEM), optional("forceDelete", Shape::Flag)];
pub(super) static PUT_POLICY: &[Field] = &[required("fileSystemId", FILE_SYSTEM), required("policy", text(0, 20_000))];
pub(super) static PUT_SYNCHRONIZATION: &[Field] = &[
    required("fileSystemId", FILE_SYSTEM),
    optional("latestVersionNumber", Shape::Whole(i32::MIN as i64, i32::MAX as i64)),
    required("importDataRules", Shape::List { item: &IMPORT_DATA_RULE, min: 1, max: 10 }),
    required("expirationDataRules", Shape::List { item: &EXPIRATION_DATA_RULE, min: 1, max: 1 }),
];
pub(super) static CREATE_ACCESS_POINT: &[Field] = &[
    optional("clientToken", TOKEN),
    optional("tags", TAGS),
    required("fileSystemId", FILE_SYSTEM),
    optional(
        "posixUser",
        Shape::Record(&[
            required("uid", ID),
            required("gid", ID),
            optional("secondaryGids", Shape::List { item: &GID, min: 0, max: 16 }),
        ]),
    ),
    optional(
        "rootDirectory",
        Shape::Record(&[
            optional("path", formed(1, 100, &PATH)),
            optional(
                "creationPermissions",
                Shape::Record(&[
                    required("ownerUid", ID),
                    required("ownerGid", ID),
                    required("permissions", formed(3, 4, &PERMISSIONS)),
                ]),
            ),
        ]),
    ),
];
pub(super) static ONE_ACCESS_POINT: &[Field] = &[required("accessPointId", ACCESS_POINT)];
pub(super) static LIST_ACCESS_POINTS: &[Field] = &[
    required("fileSystemId", FILE_SYSTEM),
    optional("maxResults", Shape::Whole(1, 1000)),
    optional("nextToken", PAGE_TOKEN),
];
pub(super) static CREATE_MOUNT_TARGET: &[Field] = &[
    required("fileSystemId", FILE_SYSTEM),
    required("subnetId", formed(15, 47, &SUBNET_ID)),
    optional("ipv4Address", formed(7, 15, &IP_ADDRESS)),
    optional("ipv6Address", text(3, 39)),
    optional("ipAddressType", Shape::Choice(&["IPV4_ONLY", "IPV6_ONLY", "DUAL_STACK"])),
    optional("securityGroups", SECURITY_GROUPS),
];
pub(super) static ONE_MOUNT_TARGET: &[Field] = &[required("mountTargetId", MOUNT_TARGET)];
pub(super) static UPDATE_MOUNT_TARGET: &[Field] =
    &[required("mountTargetId", MOUNT_TARGET), required("securityGroups", SECURITY_GROUPS)];
pub(super) static LIST_MOUNT_TARGETS: &[Field] = &[
    optional("fileSystemId", FILE_SYSTEM),
    optional("accessPointId", ACCESS_POINT),
    optional("maxResults", Shape::Whole(1, 100)),
    optional("nextToken", PAGE_TOKEN),
];
pub(super) static TAG_RESOURCE: &[Field] = &[required("resourceId", RESOURCE), required("tags", TAGS)];
pub(super) static UNTAG_RESOURCE: &[Field] =
    &[required("resourceId", RESOURCE), required("tagKeys", Shape::List { item: &KEY, min: 1, max: 50 })];
pub(super) static LIST_TAGS: &[Field] =
    &[required("resourceId", RESOURCE), optional("maxResults", Shape::Whole(1, 50)), optional("nextToken", PAGE_TOKEN)];
