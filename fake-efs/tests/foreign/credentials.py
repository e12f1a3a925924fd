"""The default credential chain of boto3 in all five environments that a driver runs in, every signature being checked.

Each source runs in a process of its own, because the chain reads the environment."""

import base64
import json
import os
import subprocess
import sys
import tempfile
import time

URL = sys.argv[1]

CHILD = """
import boto3, sys
url, want = sys.argv[1:]
session = boto3.Session(region_name="us-east-1")
who = session.client("sts", endpoint_url=url).get_caller_identity()["Arn"]
assert who.startswith(want), f"{who}, not {want}"
session.client("efs", endpoint_url=url).describe_file_systems()
"""

CROSS = """
import boto3, sys
from botocore.exceptions import ClientError
url, want = sys.argv[1:]
sts = boto3.client("sts", endpoint_url=url, region_name="us-east-1")
role = dict(RoleArn="arn:aws:iam::210987654321:role/cross", RoleSessionName="driver")
try:
    sts.assume_role(**role)
    raise SystemExit("assumed without the external id")
except ClientError as error:
    assert error.response["Error"]["Code"] == "AccessDenied", error
given = sts.assume_role(ExternalId="an-external-id", **role)
assert given["AssumedRoleUser"]["Arn"].startswith(want)
keys = given["Credentials"]
efs = boto3.client("efs", endpoint_url=url, region_name="us-east-1", aws_access_key_id=keys["AccessKeyId"],
    aws_secret_access_key=keys["SecretAccessKey"], aws_session_token=keys["SessionToken"])
assert efs.create_file_system()["OwnerId"] == "210987654321"
"""


def run(name, environment, want, script=CHILD):
    inherited = {k: v for k, v in os.environ.items() if not k.startswith("AWS_")}
    quiet = {"AWS_CONFIG_FILE": "/dev/null", "AWS_SHARED_CREDENTIALS_FILE": "/dev/null"}
    done = subprocess.run(
        [sys.executable, "-c", script, URL, want],
        env={**inherited, **quiet, **environment},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, f"{name}: {done.stdout}{done.stderr}"
    print("ok", name)


def token_file(folder, text):
    path = os.path.join(folder, "token")
    with open(path, "w") as file:
        file.write(text)
    return path


def jwt():
    def encode(value):
        return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")

    claims = {"iss": "https://oidc", "sub": "system:serviceaccount:kube-system:efs", "aud": ["sts.amazonaws.com"]}
    return ".".join([encode({"alg": "none"}), encode({**claims, "exp": int(time.time()) + 600}), "x"])


static = {"AWS_ACCESS_KEY_ID": "AKIDSTATIC", "AWS_SECRET_ACCESS_KEY": "static-secret", "AWS_EC2_METADATA_DISABLED": "true"}
run("static keys", static, "arn:aws:iam::123456789012:user/AKIDSTATIC")
with tempfile.TemporaryDirectory() as folder:
    irsa = {
        "AWS_ROLE_ARN": "arn:aws:iam::123456789012:role/irsa",
        "AWS_WEB_IDENTITY_TOKEN_FILE": token_file(folder, jwt()),
        "AWS_ROLE_SESSION_NAME": "pod",
        "AWS_ENDPOINT_URL_STS": URL,
    }
    run("web identity (IRSA)", irsa, "arn:aws:sts::123456789012:assumed-role/irsa/pod")
    pod = {
        "AWS_CONTAINER_CREDENTIALS_FULL_URI": URL + "/v1/credentials",
        "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE": token_file(folder, "a-pod-token"),
    }
    run("EKS Pod Identity", pod, "arn:aws:sts::123456789012:assumed-role/node-role/eks-pod")
run("instance role", {"AWS_EC2_METADATA_SERVICE_ENDPOINT": URL}, "arn:aws:sts::123456789012:assumed-role/node-role/i-")
run("cross-account role with external id", static, "arn:aws:sts::210987654321:assumed-role/cross/driver", CROSS)
print("5 sources")
