"""A scripted session of boto3 over every operation of the EFS API, against the fake whose address is the first argument; the
second is that of one with the network of network.yaml.

Provokes every documented error of every operation: by what the fake itself knows (`natural`), or, where AWS's own reasons
can't arise here, by a fault rule (`injected`). INJECTED says which and why."""

import json
import sys
import urllib.error
import urllib.request

from botocore.exceptions import ClientError

from conformance import Recorder

URL = sys.argv[1]
recorder = Recorder()
efs = recorder.client(URL)
raw = recorder.client(URL, validate=False)
seeded = recorder.client(sys.argv[2])


def admin(method, path, body=None):
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(URL + "/_fake/" + path, data=data, method=method)
    with urllib.request.urlopen(request) as answer:
        return json.load(answer)


def refused(code, call, **arguments):
    """Calls, and insists on an error."""
    try:
        answer = call(**arguments)
    except ClientError as error:
        got = error.response["Error"]["Code"]
        assert got == code, f"{call.__name__}({arguments}) was refused with {error}, not {code}"
        return error.response
    raise AssertionError(f"{call.__name__}({arguments}) answered {answer}, not {code}")


def file_system(client=efs, **arguments):
    return client.create_file_system(**arguments)["FileSystemId"]


NOBODY = "fs-0123456789abcdef0"
SUBNET = "subnet-01234560"


def file_systems():
    fs = efs.create_file_system(
        CreationToken="one",
        Encrypted=True,
        ThroughputMode="provisioned",
        ProvisionedThroughputInMibps=1.5,
        Tags=[{"Key": "Name", "Value": "ein Name"}],
        Backup=True,
    )
    assert fs["LifeCycleState"] == "creating" and fs["Name"] == "ein Name"
    error = refused("FileSystemAlreadyExists", efs.create_file_system, CreationToken="one")
    assert error["FileSystemId"] == fs["FileSystemId"]
    refused("BadRequest", efs.create_file_system, KmsKeyId="alias/key")
    refused("UnsupportedAvailabilityZone", efs.create_file_system, AvailabilityZoneName="us-east-1z")
    refused(
        "ThroughputLimitExceeded",
        efs.create_file_system,
        ThroughputMode="provisioned",
        ProvisionedThroughputInMibps=99999.0,
    )
    found = efs.describe_file_systems(FileSystemId=fs["FileSystemArn"])["FileSystems"]
    assert found[0]["LifeCycleState"] == "available"
    assert [f["FileSystemId"] for f in efs.describe_file_systems(CreationToken="one")["FileSystems"]] == [
        fs["FileSystemId"]
    ]
    refused("FileSystemNotFound", efs.describe_file_systems, FileSystemId=NOBODY)
    refused("BadRequest", efs.describe_file_systems, Marker="nonsense")
    for _ in range(4):
        file_system()
    pages = list(efs.get_paginator("describe_file_systems").paginate(PaginationConfig={"PageSize": 2}))
    assert [len(page["FileSystems"]) for page in pages] == [2, 2, 1]

    id = fs["FileSystemId"]
    assert efs.update_file_system(FileSystemId=id, ThroughputMode="elastic")["LifeCycleState"] == "updating"
    refused("TooManyRequests", efs.update_file_system, FileSystemId=id, ThroughputMode="bursting")
    refused("BadRequest", efs.update_file_system, FileSystemId=id)
    refused("FileSystemNotFound", efs.update_file_system, FileSystemId=NOBODY, ThroughputMode="elastic")
    provisioned = dict(ThroughputMode="provisioned")
    refused("ThroughputLimitExceeded", efs.update_file_system, FileSystemId=id, ProvisionedThroughputInMibps=9999.0, **provisioned)
    admin("PUT", "limits", {"throughput_capacity_mibps": 10})
    try:
        refused("InsufficientThroughputCapacity", efs.create_file_system, ProvisionedThroughputInMibps=11.0, **provisioned)
        admin("POST", "clock", {"advance_seconds": 86400})
        refused("InsufficientThroughputCapacity", efs.update_file_system, FileSystemId=id, ProvisionedThroughputInMibps=11.0, **provisioned)
    finally:
        admin("PUT", "limits", {"throughput_capacity_mibps": 1e9})
    admin("PUT", "limits", {"file_systems": 5})
    try:
        refused("FileSystemLimitExceeded", efs.create_file_system)
    finally:
        admin("PUT", "limits", {"file_systems": 1000})
    protection = efs.update_file_system_protection(FileSystemId=id, ReplicationOverwriteProtection="DISABLED")
    assert protection["ReplicationOverwriteProtection"] == "DISABLED"
    refused("BadRequest", efs.update_file_system_protection, FileSystemId=id, ReplicationOverwriteProtection="REPLICATING")
    refused("FileSystemNotFound", efs.update_file_system_protection, FileSystemId=NOBODY, ReplicationOverwriteProtection="ENABLED")
    refused("FileSystemNotFound", efs.delete_file_system, FileSystemId=NOBODY)
    gone = file_system()
    efs.delete_file_system(FileSystemId=gone)
    refused("FileSystemNotFound", efs.describe_file_systems, FileSystemId=gone)


def busy():
    """Everything that needs an available file system, while one is being made."""
    admin("PUT", "delays", {"file_system_create": 3600})
    try:
        fs = file_system()
    finally:
        admin("PUT", "delays", {"file_system_create": 0})
    state = "IncorrectFileSystemLifeCycleState"
    refused(state, efs.create_access_point, FileSystemId=fs)
    refused(state, efs.create_mount_target, FileSystemId=fs, SubnetId=SUBNET)
    refused(state, efs.update_file_system, FileSystemId=fs, ThroughputMode="elastic")
    refused(state, efs.update_file_system_protection, FileSystemId=fs, ReplicationOverwriteProtection="DISABLED")
    refused(state, efs.put_lifecycle_configuration, FileSystemId=fs, LifecyclePolicies=[])
    refused(state, efs.put_file_system_policy, FileSystemId=fs, Policy="{}")
    refused(state, efs.delete_file_system_policy, FileSystemId=fs)
    refused(state, efs.put_backup_policy, FileSystemId=fs, BackupPolicy={"Status": "ENABLED"})
    refused(state, efs.create_replication_configuration, SourceFileSystemId=fs, Destinations=[{"Region": "us-west-2"}])
    admin("POST", "clock", {"advance_seconds": 3600})
    efs.create_access_point(FileSystemId=fs)


def access_points():
    fs = file_system()
    point = efs.create_access_point(
        ClientToken="t",
        FileSystemId=fs,
        PosixUser={"Uid": 0, "Gid": 4294967295, "SecondaryGids": [1, 2]},
        RootDirectory={"Path": "/a/b", "CreationInfo": {"OwnerUid": 1, "OwnerGid": 2, "Permissions": "0755"}},
        Tags=[{"Key": "Name", "Value": "n"}, {"Key": "efs.csi.aws.com/cluster", "Value": "true"}],
    )
    error = refused("AccessPointAlreadyExists", efs.create_access_point, ClientToken="t", FileSystemId=fs)
    assert error["AccessPointId"] == point["AccessPointId"]
    refused("FileSystemNotFound", efs.create_access_point, FileSystemId=NOBODY)
    refused("BadRequest", efs.create_access_point, FileSystemId=fs, Tags=[{"Key": "a", "Value": ""}] * 2)
    refused("ValidationException", efs.create_access_point, FileSystemId=fs, RootDirectory={"Path": "//x"})
    refused("ValidationException", raw.create_access_point, FileSystemId=fs, PosixUser={"Uid": -1, "Gid": 0})
    refused("ValidationException", raw.create_access_point, ClientToken="x" * 65, FileSystemId=fs)
    for _ in range(4):
        efs.create_access_point(FileSystemId=fs)
    pages = list(efs.get_paginator("describe_access_points").paginate(FileSystemId=fs, PaginationConfig={"PageSize": 2}))
    assert [len(page["AccessPoints"]) for page in pages] == [2, 2, 1]
    for id in (point["AccessPointId"], point["AccessPointArn"]):
        assert efs.describe_access_points(AccessPointId=id)["AccessPoints"][0]["ClientToken"] == "t"
    refused("BadRequest", efs.describe_access_points, AccessPointId=point["AccessPointId"], FileSystemId=fs)
    refused("AccessPointNotFound", efs.describe_access_points, AccessPointId="fsap-01234567")
    refused("FileSystemNotFound", efs.describe_access_points, FileSystemId=NOBODY)
    admin("PUT", "limits", {"access_points": 5})
    try:
        refused("AccessPointLimitExceeded", efs.create_access_point, FileSystemId=fs)
    finally:
        admin("PUT", "limits", {"access_points": 10000})
    efs.delete_access_point(AccessPointId=point["AccessPointId"])
    refused("AccessPointNotFound", efs.delete_access_point, AccessPointId=point["AccessPointId"])


def mount_targets():
    fs = file_system()
    groups = ["sg-01234567", "sg-0123456789abcdef0"]
    target = efs.create_mount_target(FileSystemId=fs, SubnetId=SUBNET, SecurityGroups=groups)
    id = target["MountTargetId"]
    refused("MountTargetConflict", efs.create_mount_target, FileSystemId=fs, SubnetId=SUBNET)
    refused("FileSystemNotFound", efs.create_mount_target, FileSystemId=NOBODY, SubnetId=SUBNET)
    refused("SecurityGroupLimitExceeded", efs.create_mount_target, FileSystemId=fs, SubnetId="subnet-01234561", SecurityGroups=groups * 3)
    refused("BadRequest", efs.create_mount_target, FileSystemId=fs, SubnetId="subnet-01234561", IpAddress="999.1.1.1")
    other = file_system()
    refused("IpAddressInUse", efs.create_mount_target, FileSystemId=other, SubnetId=SUBNET, IpAddress=target["IpAddress"])
    zone = file_system(AvailabilityZoneName="us-east-1b")
    refused("AvailabilityZonesMismatch", efs.create_mount_target, FileSystemId=zone, SubnetId=SUBNET)
    admin("PUT", "limits", {"network_interfaces": 1})
    try:
        refused("NetworkInterfaceLimitExceeded", efs.create_mount_target, FileSystemId=other, SubnetId=SUBNET)
    finally:
        admin("PUT", "limits", {"network_interfaces": 5000})
    point = efs.create_access_point(FileSystemId=fs)["AccessPointId"]
    for selector in ({"FileSystemId": fs}, {"MountTargetId": id}, {"AccessPointId": point}):
        assert [t["MountTargetId"] for t in efs.describe_mount_targets(**selector)["MountTargets"]] == [id]
    refused("BadRequest", efs.describe_mount_targets)
    refused("FileSystemNotFound", efs.describe_mount_targets, FileSystemId=NOBODY)
    refused("MountTargetNotFound", efs.describe_mount_targets, MountTargetId="fsmt-01234567")
    refused("AccessPointNotFound", efs.describe_mount_targets, AccessPointId="fsap-01234567")
    assert efs.describe_mount_target_security_groups(MountTargetId=id)["SecurityGroups"] == groups
    efs.modify_mount_target_security_groups(MountTargetId=id, SecurityGroups=groups[:1])
    assert efs.describe_mount_target_security_groups(MountTargetId=id)["SecurityGroups"] == groups[:1]
    refused("BadRequest", raw.modify_mount_target_security_groups, MountTargetId=id, SecurityGroups=[1])
    refused("SecurityGroupLimitExceeded", efs.modify_mount_target_security_groups, MountTargetId=id, SecurityGroups=groups * 3)
    for call in (efs.describe_mount_target_security_groups, efs.modify_mount_target_security_groups, efs.delete_mount_target):
        refused("MountTargetNotFound", call, MountTargetId="fsmt-01234567")
    refused("FileSystemInUse", efs.delete_file_system, FileSystemId=fs)
    admin("PUT", "delays", {"mount_target_delete": 3600})
    try:
        efs.delete_mount_target(MountTargetId=id)
    finally:
        admin("PUT", "delays", {"mount_target_delete": 0})
    assert efs.describe_mount_targets(MountTargetId=id)["MountTargets"][0]["LifeCycleState"] == "deleting"
    refused("IncorrectMountTargetState", efs.describe_mount_target_security_groups, MountTargetId=id)
    refused("IncorrectMountTargetState", efs.modify_mount_target_security_groups, MountTargetId=id, SecurityGroups=groups)
    admin("POST", "clock", {"advance_seconds": 3600})
    refused("MountTargetNotFound", efs.describe_mount_targets, MountTargetId=id)
    v6 = efs.create_mount_target(FileSystemId=other, SubnetId="subnet-01234562", IpAddressType="DUAL_STACK")
    assert v6["Ipv6Address"] and v6["IpAddress"]


def network():
    """What depends on subnets, zones and groups that exist or don't, and on EC2 behind the service."""
    fs, subnet = file_system(seeded), "subnet-0000000a"
    create = seeded.create_mount_target
    refused("SubnetNotFound", create, FileSystemId=fs, SubnetId="subnet-0000000d")
    refused("UnsupportedAvailabilityZone", create, FileSystemId=fs, SubnetId="subnet-0000000e")
    refused("SecurityGroupNotFound", create, FileSystemId=fs, SubnetId=subnet, SecurityGroups=["sg-0000000b"])
    target = create(FileSystemId=fs, SubnetId=subnet)["MountTargetId"]
    refused("SecurityGroupNotFound", seeded.modify_mount_target_security_groups, MountTargetId=target, SecurityGroups=["sg-0000000b"])
    for _ in range(2):
        create(FileSystemId=file_system(seeded), SubnetId=subnet)
    refused("NoFreeAddressesInSubnet", create, FileSystemId=file_system(seeded), SubnetId=subnet)

    target = efs.create_mount_target(FileSystemId=file_system(), SubnetId=SUBNET)["MountTargetId"]
    admin("PUT", "delays", {"network_interface_delete": 31})
    try:
        refused("DependencyTimeout", efs.delete_mount_target, MountTargetId=target)
    finally:
        admin("PUT", "delays", {"network_interface_delete": 0})
    efs.delete_mount_target(MountTargetId=target)


def throttles():
    """A burst of calls, and what comes back with time."""
    fs = file_system()
    admin("PUT", "limits", {"call_burst": 2, "calls_per_second": 0.001})
    try:
        for _ in range(2):
            efs.create_access_point(FileSystemId=fs)
        assert refused("ThrottlingException", efs.create_access_point, FileSystemId=fs)["ResponseMetadata"]["HTTPStatusCode"] == 429
        efs.describe_access_points(FileSystemId=fs)
        admin("POST", "clock", {"advance_seconds": 1000})
        efs.create_access_point(FileSystemId=fs)
    finally:
        admin("PUT", "limits", {"call_burst": 0, "calls_per_second": 1})


def tags():
    fs = file_system()
    point = efs.create_access_point(FileSystemId=fs)["AccessPointId"]
    for id in (fs, point, efs.describe_file_systems(FileSystemId=fs)["FileSystems"][0]["FileSystemArn"]):
        efs.tag_resource(ResourceId=id, Tags=[{"Key": "a b=c", "Value": "ö"}])
        efs.tag_resource(ResourceId=id, Tags=[{"Key": "a b=c", "Value": "2"}, {"Key": "k", "Value": ""}])
        assert {t["Key"]: t["Value"] for t in efs.list_tags_for_resource(ResourceId=id)["Tags"]} == {"a b=c": "2", "k": ""}
        page = efs.list_tags_for_resource(ResourceId=id, MaxResults=1)
        rest = efs.list_tags_for_resource(ResourceId=id, MaxResults=1, NextToken=page["NextToken"])
        assert len(page["Tags"]) == len(rest["Tags"]) == 1 and "NextToken" not in rest
        efs.untag_resource(ResourceId=id, TagKeys=["a b=c", "unknown"])
        assert [t["Key"] for t in efs.list_tags_for_resource(ResourceId=id)["Tags"]] == ["k"]
    many = [{"Key": f"k{i}", "Value": "v"} for i in range(51)]
    refused("BadRequest", efs.tag_resource, ResourceId=fs, Tags=many)
    refused("ValidationException", efs.tag_resource, ResourceId=fs, Tags=[{"Key": "aws:x", "Value": "v"}])
    refused("BadRequest", efs.list_tags_for_resource, ResourceId=fs, NextToken="nonsense")
    for call, extra in (
        (efs.tag_resource, {"Tags": []}),
        (efs.untag_resource, {"TagKeys": ["k"]}),
        (efs.list_tags_for_resource, {}),
    ):
        refused("FileSystemNotFound", call, ResourceId=NOBODY, **extra)
        refused("AccessPointNotFound", call, ResourceId="fsap-01234567", **extra)
    efs.create_tags(FileSystemId=fs, Tags=[{"Key": "Name", "Value": "old"}])
    assert efs.describe_file_systems(FileSystemId=fs)["FileSystems"][0]["Name"] == "old"
    assert {"Key": "Name", "Value": "old"} in efs.describe_tags(FileSystemId=fs)["Tags"]
    refused("BadRequest", efs.create_tags, FileSystemId=fs, Tags=many)
    refused("BadRequest", efs.describe_tags, FileSystemId=fs, Marker="nonsense")
    efs.delete_tags(FileSystemId=fs, TagKeys=["Name"])
    assert "Name" not in efs.describe_file_systems(FileSystemId=fs)["FileSystems"][0]
    refused("BadRequest", raw.delete_tags, FileSystemId=fs, TagKeys=[1])
    for call, extra in ((efs.create_tags, {"Tags": []}), (efs.delete_tags, {"TagKeys": ["k"]}), (efs.describe_tags, {})):
        refused("FileSystemNotFound", call, FileSystemId=NOBODY, **extra)


def policies():
    fs = file_system()
    assert efs.describe_lifecycle_configuration(FileSystemId=fs)["LifecyclePolicies"] == []
    rules = [{"TransitionToIA": "AFTER_30_DAYS"}, {"TransitionToPrimaryStorageClass": "AFTER_1_ACCESS"}]
    assert efs.put_lifecycle_configuration(FileSystemId=fs, LifecyclePolicies=rules)["LifecyclePolicies"] == rules
    assert efs.describe_lifecycle_configuration(FileSystemId=fs)["LifecyclePolicies"] == rules
    refused("BadRequest", efs.put_lifecycle_configuration, FileSystemId=fs, LifecyclePolicies=[{}])
    refused("BadRequest", efs.put_lifecycle_configuration, FileSystemId=fs, LifecyclePolicies=[{"TransitionToArchive": "AFTER_90_DAYS"}])
    refused("FileSystemNotFound", efs.put_lifecycle_configuration, FileSystemId=NOBODY, LifecyclePolicies=[])
    refused("FileSystemNotFound", efs.describe_lifecycle_configuration, FileSystemId=NOBODY)
    efs.put_lifecycle_configuration(FileSystemId=fs, LifecyclePolicies=[])
    assert efs.describe_lifecycle_configuration(FileSystemId=fs)["LifecyclePolicies"] == []

    refused("PolicyNotFound", efs.describe_file_system_policy, FileSystemId=fs)
    statement = {"Effect": "Allow", "Principal": {"AWS": "*"}, "Action": "elasticfilesystem:ClientMount"}
    policy = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
    assert efs.put_file_system_policy(FileSystemId=fs, Policy=policy)["Policy"] == policy
    assert efs.describe_file_system_policy(FileSystemId=fs)["Policy"] == policy
    refused("InvalidPolicyException", efs.put_file_system_policy, FileSystemId=fs, Policy="{}")
    refused("BadRequest", raw.put_file_system_policy, FileSystemId=fs, Policy=policy, BypassPolicyLockoutSafetyCheck="no")
    locked = json.dumps({"Statement": {"Effect": "Deny", "Principal": "*", "Action": "*"}})
    refused("InvalidPolicyException", efs.put_file_system_policy, FileSystemId=fs, Policy=locked)
    efs.put_file_system_policy(FileSystemId=fs, Policy=locked, BypassPolicyLockoutSafetyCheck=True)
    efs.delete_file_system_policy(FileSystemId=fs)
    refused("PolicyNotFound", efs.describe_file_system_policy, FileSystemId=fs)
    refused("FileSystemNotFound", efs.put_file_system_policy, FileSystemId=NOBODY, Policy=policy)
    refused("FileSystemNotFound", efs.describe_file_system_policy, FileSystemId=NOBODY)
    refused("FileSystemNotFound", efs.delete_file_system_policy, FileSystemId=NOBODY)

    refused("PolicyNotFound", efs.describe_backup_policy, FileSystemId=fs)
    assert efs.put_backup_policy(FileSystemId=fs, BackupPolicy={"Status": "ENABLED"})["BackupPolicy"]["Status"] == "ENABLING"
    assert efs.describe_backup_policy(FileSystemId=fs)["BackupPolicy"]["Status"] == "ENABLED"
    refused("BadRequest", efs.put_backup_policy, FileSystemId=fs, BackupPolicy={"Status": "ENABLING"})
    refused("FileSystemNotFound", efs.put_backup_policy, FileSystemId=NOBODY, BackupPolicy={"Status": "ENABLED"})
    refused("FileSystemNotFound", efs.describe_backup_policy, FileSystemId=NOBODY)
    admin("PUT", "limits", {"regions_without_backup": ["us-east-1"]})
    try:
        refused("ValidationException", efs.put_backup_policy, FileSystemId=fs, BackupPolicy={"Status": "ENABLED"})
        refused("ValidationException", efs.describe_backup_policy, FileSystemId=fs)
    finally:
        admin("PUT", "limits", {"regions_without_backup": []})

    assert efs.put_account_preferences(ResourceIdType="LONG_ID")["ResourceIdPreference"]["ResourceIdType"] == "LONG_ID"
    refused("BadRequest", efs.put_account_preferences, ResourceIdType="SHORT_ID")
    assert efs.describe_account_preferences(MaxResults=5)["ResourceIdPreference"]["Resources"] == ["FILE_SYSTEM", "MOUNT_TARGET"]


def replication():
    source = file_system(Encrypted=True)
    create = efs.create_replication_configuration
    refused("BadRequest", create, SourceFileSystemId=source, Destinations=[])
    refused("FileSystemNotFound", create, SourceFileSystemId=NOBODY, Destinations=[{"Region": "us-west-2"}])
    refused("ValidationException", create, SourceFileSystemId=source, Destinations=[{"Region": "nowhere at all"}])
    zone = [{"AvailabilityZoneName": "us-east-1z", "Region": "us-east-1"}]
    refused("UnsupportedAvailabilityZone", create, SourceFileSystemId=source, Destinations=zone)
    refused("ReplicationNotFound", efs.describe_replication_configurations, FileSystemId=source)
    refused("ReplicationNotFound", efs.delete_replication_configuration, SourceFileSystemId=source)
    plain = file_system()
    refused("BadRequest", create, SourceFileSystemId=source, Destinations=[{"FileSystemId": plain}])
    efs.update_file_system_protection(FileSystemId=plain, ReplicationOverwriteProtection="DISABLED")
    refused("ConflictException", create, SourceFileSystemId=source, Destinations=[{"FileSystemId": plain}])
    admin("PUT", "limits", {"file_systems": 0})
    try:
        refused("FileSystemLimitExceeded", create, SourceFileSystemId=source, Destinations=[{"Region": "us-west-2"}])
    finally:
        admin("PUT", "limits", {"file_systems": 1000})
    fast = file_system(ThroughputMode="provisioned", ProvisionedThroughputInMibps=100.0)
    for limit, error in (
        ("provisioned_mibps", "ThroughputLimitExceeded"),
        ("throughput_capacity_mibps", "InsufficientThroughputCapacity"),
    ):
        before = admin("GET", "limits")
        admin("PUT", "limits", {limit: 50})
        try:
            refused(error, create, SourceFileSystemId=fast, Destinations=[{"Region": "us-west-2"}])
        finally:
            admin("PUT", "limits", before)
    made = create(SourceFileSystemId=source, Destinations=[{"Region": "us-west-2"}])
    assert made["Destinations"][0]["Status"] == "ENABLING"
    destination = made["Destinations"][0]["FileSystemId"]
    there = recorder.client(URL, region="us-west-2")
    found = there.describe_file_systems(FileSystemId=destination)["FileSystems"][0]
    assert found["FileSystemProtection"]["ReplicationOverwriteProtection"] == "REPLICATING"
    refused("BadRequest", create, SourceFileSystemId=source, Destinations=[{"Region": "us-west-2"}])
    refused("FileSystemInUse", efs.delete_file_system, FileSystemId=source)
    refused("ReplicationAlreadyExists", efs.update_file_system_protection, FileSystemId=source, ReplicationOverwriteProtection="DISABLED")
    shown = efs.describe_replication_configurations(FileSystemId=source)["Replications"][0]
    assert shown["Destinations"][0]["Status"] == "ENABLED"
    assert len(efs.describe_replication_configurations()["Replications"]) == 1
    refused("BadRequest", efs.describe_replication_configurations, NextToken="nonsense")
    refused("ValidationException", raw.describe_replication_configurations, FileSystemId="nonsense")
    refused("FileSystemNotFound", efs.describe_replication_configurations, FileSystemId=NOBODY)
    refused("FileSystemNotFound", efs.delete_replication_configuration, SourceFileSystemId=NOBODY)
    efs.delete_replication_configuration(SourceFileSystemId=source)
    refused("ReplicationNotFound", efs.describe_replication_configurations, FileSystemId=source)
    found = there.describe_file_systems(FileSystemId=destination)["FileSystems"][0]
    assert found["FileSystemProtection"]["ReplicationOverwriteProtection"] == "ENABLED"
    local = file_system()
    create(SourceFileSystemId=local, Destinations=[{"Region": "us-east-1"}])
    refused("BadRequest", efs.delete_replication_configuration, SourceFileSystemId=local, DeletionMode="LOCAL_CONFIGURATION_ONLY")
    efs.delete_replication_configuration(SourceFileSystemId=local, DeletionMode="ALL_CONFIGURATIONS")


def accounts():
    """Resources of one account and region are invisible in the others."""
    fs = file_system()
    admin("POST", "keys", {"access_key_id": "AKIDOTHER", "secret_access_key": "secret", "account": "210987654321"})
    other = recorder.client(URL, key="AKIDOTHER")
    refused("FileSystemNotFound", other.describe_file_systems, FileSystemId=fs)
    assert other.describe_file_systems()["FileSystems"] == []
    assert file_system(other)
    refused("FileSystemNotFound", recorder.client(URL, region="eu-west-1").describe_file_systems, FileSystemId=fs)


# What only a fault rule provokes, beside InternalServerError, which no server gives on purpose.
INJECTED = {
    # All that the caller sends is text in path or query; what does not fit is a ValidationException.
    ("DeleteAccessPoint", "BadRequest"),
    ("DeleteFileSystem", "BadRequest"),
    ("DeleteFileSystemPolicy", "BadRequest"),
    ("DeleteMountTarget", "BadRequest"),
    ("DescribeBackupPolicy", "BadRequest"),
    ("DescribeFileSystemPolicy", "BadRequest"),
    ("DescribeLifecycleConfiguration", "BadRequest"),
    ("DescribeMountTargetSecurityGroups", "BadRequest"),
    ("UntagResource", "BadRequest"),
    # The model lists them, but the operation has nothing to do with them: protection is not throughput, and what is being
    # created can't be missing.
    ("CreateReplicationConfiguration", "ReplicationNotFound"),
    ("UpdateFileSystemProtection", "InsufficientThroughputCapacity"),
    ("UpdateFileSystemProtection", "ThroughputLimitExceeded"),
    ("UpdateFileSystemProtection", "TooManyRequests"),
}

MINIMAL = {
    "string": {
        "FileSystemId": NOBODY,
        "SourceFileSystemId": NOBODY,
        "AccessPointId": "fsap-01234567",
        "MountTargetId": "fsmt-01234567",
        "ResourceId": NOBODY,
        "SubnetId": SUBNET,
        "Policy": "{}",
        "ResourceIdType": "LONG_ID",
        "Status": "ENABLED",
    },
    "list": {"Tags": [], "TagKeys": ["k"], "LifecyclePolicies": [], "Destinations": []},
}


def inject_the_rest():
    """Provokes what has no natural cause here by fault rules."""
    model = efs.meta.service_model
    injected = []
    for name in model.operation_names:
        operation = model.operation_model(name)
        for shape in operation.error_shapes:
            if (name, shape.name) in recorder.provoked:
                continue
            call = getattr(efs, {v: k for k, v in efs.meta.method_to_api_mapping.items()}[name])
            arguments = {}
            for member in operation.input_shape.required_members:
                kind = operation.input_shape.members[member].type_name
                if kind == "structure":
                    arguments[member] = {"Status": "ENABLED"}
                elif kind in MINIMAL and member in MINIMAL[kind]:
                    arguments[member] = MINIMAL[kind][member]
            rule = {"operation": name, "times": 1, "effect": {"kind": "error", "name": shape.name}}
            admin("POST", "faults", rule)
            refused(shape.name, call, **arguments)
            injected.append((name, shape.name))
    admin("DELETE", "faults")
    return injected


def nonsense():
    """What no SDK would send."""
    fs = file_system()
    cases = [
        ("POST", "/2015-02-01/access-points", b"{", 400, "BadRequest"),
        ("POST", "/2015-02-01/access-points", b"[]", 400, "BadRequest"),
        ("POST", "/2015-02-01/access-points", b'{"ClientToken":1,"FileSystemId":"fs-01234567"}', 400, "BadRequest"),
        ("POST", "/2015-02-01/access-points", b"\xff\xfe", 400, "BadRequest"),
        ("POST", "/2015-02-01/access-points", b"[" * 100000, 400, "BadRequest"),
        ("POST", "/2015-02-01/access-points", b"x" * 2000000, 413, "RequestEntityTooLargeException"),
        ("POST", "/2015-02-01/access-points", b'{"ClientToken":"u","Nonsense":1,"FileSystemId":"%s"}' % fs.encode(), 200, None),
        ("GET", "/2015-02-01/file-systems?MaxItems=x", b"", 400, "BadRequest"),
        ("GET", "/2015-02-01/file-systems?Marker=%ff", b"", 400, "BadRequest"),
        ("GET", "/2015-02-01/file-systems/..%2f..%2fetc%2fpasswd/policy", b"", 400, "ValidationException"),
        ("GET", "/2015-02-01/file-systems/%ff/policy", b"", 404, "UnknownOperationException"),
        ("PATCH", "/2015-02-01/file-systems", b"", 404, "UnknownOperationException"),
        ("GET", "/2015-02-01/nothing", b"", 404, "UnknownOperationException"),
    ]
    for method, path, body, status, code in cases:
        request = urllib.request.Request(URL + path, data=body or None, method=method)
        try:
            with urllib.request.urlopen(request) as answer:
                got = answer.status, answer.headers.get("x-amzn-errortype")
        except urllib.error.HTTPError as error:
            got = error.code, error.headers.get("x-amzn-errortype")
        assert got == (status, code), f"{method} {path} {body[:60]!r}: {got}, not {(status, code)}"


def too_long():
    """A body that is too long is refused in words, however much of it there is."""
    # The model does not know this error, so that no recorder looks at it.
    unchecked = Recorder().client(URL, validate=False)
    for length in (2_000_000, 20_000_000):
        tags = [{"Key": "k", "Value": "x" * length}]
        error = refused("RequestEntityTooLargeException", unchecked.create_file_system, Tags=tags)
        assert error["ResponseMetadata"]["HTTPStatusCode"] == 413, error
        assert error["Error"]["Message"] == "The request body is larger than 1048576 bytes.", error


def main():
    for part in (file_systems, busy, access_points, mount_targets, network, throttles, tags, policies, replication, accounts, nonsense, too_long):
        part()
        print("ok", part.__name__)
    natural = len(recorder.provoked)
    injected = inject_the_rest()
    unexplained = {pair for pair in injected if pair[1] != "InternalServerError"} ^ INJECTED
    assert not unexplained, f"neither natural nor explained, or no longer injected: {sorted(unexplained)}"
    model = efs.meta.service_model
    wanted = {(name, s.name) for name in model.operation_names for s in model.operation_model(name).error_shapes}
    missing = wanted - recorder.provoked
    assert not missing, f"never provoked: {sorted(missing)}"
    silent = set(model.operation_names) - recorder.succeeded
    assert not silent, f"never succeeded: {sorted(silent)}"
    assert not recorder.mismatches, "\n".join(recorder.mismatches)
    print(
        f"{len(recorder.succeeded)} operations, {len(wanted)} documented errors ({natural} natural, {len(injected)} "
        f"injected), {recorder.answers} answers checked against the model"
    )


main()
