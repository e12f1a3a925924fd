"""The AWS CLI's commands for S3, against the fake whose address is the only argument: `aws s3 …` and `aws s3api …`."""

import contextlib
import io
import json
import os
import pathlib
import sys
import tempfile

import awscli.clidriver

URL = sys.argv[1]
os.environ.update(AWS_ACCESS_KEY_ID="AKIDEXAMPLE", AWS_SECRET_ACCESS_KEY="secret", AWS_DEFAULT_REGION="us-east-1")
os.environ.update(AWS_ENDPOINT_URL_S3=URL, AWS_MAX_ATTEMPTS="1", AWS_PAGER="")
used = set()


def run(*arguments, fails=None):
    used.add(" ".join(arguments[:2]))
    # Some commands write bytes.
    out, err = io.TextIOWrapper(io.BytesIO(), encoding="utf-8"), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = awscli.clidriver.create_clidriver().main(list(arguments))
    out.flush()
    text = out.buffer.getvalue().decode()
    if fails:
        assert code != 0 and fails in err.getvalue(), (arguments, code, err.getvalue())
        return None
    assert code == 0, (arguments, code, text, err.getvalue())
    return text


def api(command, *arguments, fails=None):
    text = run("s3api", command, "--bucket", "cli-bucket", *arguments, fails=fails)
    return json.loads(text) if text and text.strip() else None


run("s3", "mb", "s3://cli-bucket")
assert "cli-bucket" in run("s3", "ls")
api("put-bucket-versioning", "--versioning-configuration", "Status=Enabled")
assert api("get-bucket-versioning")["Status"] == "Enabled"
assert api("get-bucket-location")["LocationConstraint"] is None
api("head-bucket")

with tempfile.TemporaryDirectory() as folder:
    folder = pathlib.Path(folder)
    (folder / "tree" / "deep").mkdir(parents=True)
    (folder / "tree" / "one.txt").write_text("one")
    (folder / "tree" / "deep" / "two words.txt").write_text("two")
    run("s3", "cp", str(folder / "tree" / "one.txt"), "s3://cli-bucket/one.txt")
    assert run("s3", "cp", "s3://cli-bucket/one.txt", "-") == "one"
    run("s3", "sync", str(folder / "tree"), "s3://cli-bucket/tree")
    assert run("s3", "sync", str(folder / "tree"), "s3://cli-bucket/tree") == "", "nothing has changed"
    assert "PRE tree/" in run("s3", "ls", "s3://cli-bucket")
    assert len(run("s3", "ls", "--recursive", "s3://cli-bucket").splitlines()) == 3
    run("s3", "cp", "--recursive", "s3://cli-bucket/tree", str(folder / "back"))
    assert (folder / "back" / "deep" / "two words.txt").read_text() == "two"
    run("s3", "mv", "s3://cli-bucket/tree/one.txt", "s3://cli-bucket/moved.txt")
    run("s3", "cp", "s3://cli-bucket/none", str(folder / "none"), fails="404")

    # From 8 MiB on, the CLI sends in parts, and copies in parts.
    (folder / "big").write_bytes(bytes(range(256)) * (36 << 10))
    run("s3", "cp", str(folder / "big"), "s3://cli-bucket/big")
    assert api("head-object", "--key", "big")["ETag"].endswith('-2"')
    run("s3", "mv", "s3://cli-bucket/big", "s3://cli-bucket/big2")
    run("s3", "cp", "s3://cli-bucket/big2", str(folder / "big2"))
    assert (folder / "big").read_bytes() == (folder / "big2").read_bytes()
    run("s3", "rm", "s3://cli-bucket/big2")
    first = api("put-object", "--key", "k", "--body", str(folder / "tree" / "one.txt"), "--metadata", "colour=red")
    second = api("put-object", "--key", "k", "--body", str(folder / "back" / "deep" / "two words.txt"))
    got = api("get-object", "--key", "k", "--version-id", first["VersionId"], "--range", "bytes=1-", str(folder / "got"))
    assert (folder / "got").read_text() == "ne" and got["ContentRange"] == "bytes 1-2/3" and got["Metadata"]["colour"] == "red"
    api("get-object", "--key", "k", "--if-match", first["ETag"], str(folder / "got"), fails="PreconditionFailed")
    assert api("head-object", "--key", "k")["VersionId"] == second["VersionId"]
    copied = api("copy-object", "--key", "copy", "--copy-source", f"cli-bucket/k?versionId={first['VersionId']}")
    assert copied["CopySourceVersionId"] == first["VersionId"]
    marker = api("delete-object", "--key", "k")
    assert marker["DeleteMarker"] is True
    api("head-object", "--key", "k", fails="404")
    listed = api("list-object-versions", "--prefix", "k")
    assert len(listed["Versions"]) == 2 and listed["DeleteMarkers"][0]["VersionId"] == marker["VersionId"]
    assert len(api("list-objects-v2", "--page-size", "1")["Contents"]) == 4
    run("s3", "rb", "s3://cli-bucket", fails="BucketNotEmpty")
    run("s3", "rm", "--recursive", "s3://cli-bucket")
    listed = api("list-object-versions")
    rows = [{"Key": row["Key"], "VersionId": row["VersionId"]} for row in listed["Versions"] + listed["DeleteMarkers"]]
    answer = api("delete-objects", "--delete", json.dumps({"Objects": rows}))
    assert len(answer["Deleted"]) == len(rows)
    api("delete-bucket")
print(f"{len(used)} commands")
