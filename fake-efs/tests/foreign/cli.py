"""The AWS CLI over every operation, against the fake whose address is the only argument. It runs in this process: starting
it 31 times would cost most of a minute."""

import contextlib
import io
import json
import os
import sys

import awscli.clidriver

URL = sys.argv[1]
os.environ.update(AWS_ACCESS_KEY_ID="AKIDEXAMPLE", AWS_SECRET_ACCESS_KEY="secret", AWS_DEFAULT_REGION="us-east-1")
os.environ.update(AWS_ENDPOINT_URL_EFS=URL, AWS_MAX_ATTEMPTS="1", AWS_PAGER="")
used = set()


def aws(command, *arguments, fails=None):
    used.add(command)
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = awscli.clidriver.create_clidriver().main(["efs", command, *arguments])
    if fails:
        assert code != 0 and fails in err.getvalue(), (command, code, err.getvalue())
        return None
    assert code == 0, (command, arguments, code, err.getvalue())
    text = out.getvalue()
    return json.loads(text) if text.strip() else None


fs = aws("create-file-system", "--creation-token", "cli", "--encrypted", "--tags", "Key=Name,Value=x")["FileSystemId"]
aws("create-file-system", "--creation-token", "cli", fails="FileSystemAlreadyExists")
assert aws("describe-file-systems", "--file-system-id", fs)["FileSystems"][0]["LifeCycleState"] == "available"
aws("update-file-system", "--file-system-id", fs, "--throughput-mode", "elastic")
aws("update-file-system-protection", "--file-system-id", fs, "--replication-overwrite-protection", "ENABLED")
root = "Path=/a,CreationInfo={OwnerUid=1,OwnerGid=2,Permissions=0755}"
point = aws("create-access-point", "--file-system-id", fs, "--posix-user", "Uid=1,Gid=2", "--root-directory", root)
assert point["RootDirectory"]["CreationInfo"]["OwnerGid"] == 2
listed = aws("describe-access-points", "--file-system-id", fs, "--page-size", "1")["AccessPoints"]
assert listed[0]["AccessPointId"] == point["AccessPointId"]
target = aws("create-mount-target", "--file-system-id", fs, "--subnet-id", "subnet-01234560")["MountTargetId"]
assert aws("describe-mount-targets", "--file-system-id", fs)["MountTargets"][0]["MountTargetId"] == target
aws("modify-mount-target-security-groups", "--mount-target-id", target, "--security-groups", "sg-01234567")
assert aws("describe-mount-target-security-groups", "--mount-target-id", target)["SecurityGroups"] == ["sg-01234567"]
aws("tag-resource", "--resource-id", fs, "--tags", "Key=a,Value=b")
assert {"Key": "a", "Value": "b"} in aws("list-tags-for-resource", "--resource-id", fs)["Tags"]
aws("untag-resource", "--resource-id", fs, "--tag-keys", "a")
aws("create-tags", "--file-system-id", fs, "--tags", "Key=c,Value=d")
assert {"Key": "c", "Value": "d"} in aws("describe-tags", "--file-system-id", fs)["Tags"]
aws("delete-tags", "--file-system-id", fs, "--tag-keys", "c")
aws("put-lifecycle-configuration", "--file-system-id", fs, "--lifecycle-policies", "TransitionToIA=AFTER_7_DAYS")
assert aws("describe-lifecycle-configuration", "--file-system-id", fs)["LifecyclePolicies"]
policy = {"Statement": {"Effect": "Allow", "Principal": "*", "Action": "elasticfilesystem:ClientMount"}}
aws("put-file-system-policy", "--file-system-id", fs, "--policy", json.dumps(policy))
assert json.loads(aws("describe-file-system-policy", "--file-system-id", fs)["Policy"]) == policy
aws("delete-file-system-policy", "--file-system-id", fs)
aws("describe-file-system-policy", "--file-system-id", fs, fails="PolicyNotFound")
aws("put-backup-policy", "--file-system-id", fs, "--backup-policy", "Status=ENABLED")
assert aws("describe-backup-policy", "--file-system-id", fs)["BackupPolicy"]["Status"] == "ENABLED"
aws("put-account-preferences", "--resource-id-type", "LONG_ID")
assert aws("describe-account-preferences")["ResourceIdPreference"]["ResourceIdType"] == "LONG_ID"
aws("create-replication-configuration", "--source-file-system-id", fs, "--destinations", "Region=eu-west-1")
assert aws("describe-replication-configurations", "--file-system-id", fs)["Replications"]
aws("delete-replication-configuration", "--source-file-system-id", fs)
aws("delete-file-system", "--file-system-id", fs, fails="FileSystemInUse")
aws("delete-access-point", "--access-point-id", point["AccessPointId"])
aws("delete-mount-target", "--mount-target-id", target)
aws("delete-file-system", "--file-system-id", fs)
assert aws("describe-file-systems")["FileSystems"] == []
print(f"{len(used)} commands")
