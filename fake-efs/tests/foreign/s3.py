"""boto3's S3 client and its transfer manager over the fake's buckets, against the fake whose address is the only argument."""

import io
import sys
import urllib.error
import urllib.request

import boto3
from boto3.s3.transfer import TransferConfig
from botocore.compat import HAS_CRT
from botocore.config import Config
from botocore.exceptions import ClientError

URL = sys.argv[1]
session = boto3.session.Session(aws_access_key_id="AKIDEXAMPLE", aws_secret_access_key="secret", region_name="us-east-1")
used = set()


def client(**options):
    made = session.client("s3", endpoint_url=URL, config=Config(retries={"total_max_attempts": 1}, signature_version="s3v4", **options))
    made.meta.events.register("before-call.s3", lambda model, **_: used.add(model.name))
    return made


s3 = client()


def refused(code, call, **arguments):
    """Calls, and insists on an error."""
    try:
        answer = call(**arguments)
    except ClientError as error:
        got = error.response["Error"]["Code"]
        assert got == code, f"{call.__name__}({arguments}) was refused with {error}, not {code}"
        return error.response
    raise AssertionError(f"{call.__name__}({arguments}) answered {answer}, not {code}")


B = {"Bucket": "a-bucket"}


def buckets():
    assert s3.create_bucket(**B)["Location"] == "/a-bucket"
    s3.create_bucket(**B)
    elsewhere = {"LocationConstraint": "eu-central-1"}
    s3.create_bucket(Bucket="b-bucket", CreateBucketConfiguration=elsewhere)
    refused("BucketAlreadyOwnedByYou", s3.create_bucket, Bucket="b-bucket", CreateBucketConfiguration=elsewhere)
    refused("InvalidBucketName", client().create_bucket, Bucket="192.168.5.4")
    assert [bucket["Name"] for bucket in s3.list_buckets()["Buckets"]] == ["a-bucket", "b-bucket"]
    pages = s3.get_paginator("list_buckets").paginate(PaginationConfig={"PageSize": 1})
    assert [bucket["Name"] for page in pages for bucket in page["Buckets"]] == ["a-bucket", "b-bucket"]
    assert s3.get_bucket_location(**B)["LocationConstraint"] is None
    assert s3.get_bucket_location(Bucket="b-bucket")["LocationConstraint"] == "eu-central-1"
    assert s3.head_bucket(Bucket="b-bucket")["BucketRegion"] == "eu-central-1"
    refused("404", s3.head_bucket, Bucket="none")
    s3.delete_bucket(Bucket="b-bucket")
    refused("NoSuchBucket", s3.delete_bucket, Bucket="b-bucket")


def objects():
    key = {**B, "Key": "a dir/ä+&<\u20ac>?.txt"}
    etag = s3.put_object(**key, Body=b"hello", ContentType="text/plain", Metadata={"colour": "red"})["ETag"]
    assert etag == '"5d41402abc4b2a76b9719d911017c592"'
    got = s3.get_object(**key)
    assert got["Body"].read() == b"hello" and got["Metadata"] == {"colour": "red"}, got
    assert got["ContentType"] == "text/plain" and got["ETag"] == etag and "VersionId" not in got
    part = s3.get_object(**key, Range="bytes=1-3")
    assert part["Body"].read() == b"ell" and part["ContentRange"] == "bytes 1-3/5"
    refused("InvalidRange", s3.get_object, **key, Range="bytes=5-")
    assert s3.get_object(**key, IfMatch=etag)["ETag"] == etag
    refused("PreconditionFailed", s3.get_object, **key, IfMatch='"other"')
    refused("304", s3.get_object, **key, IfNoneMatch=etag)
    refused("PreconditionFailed", s3.put_object, **key, Body=b"x", IfNoneMatch="*")
    refused("404", s3.head_object, **B, Key="none")
    refused("NoSuchKey", s3.get_object, **B, Key="none")
    refused("KeyTooLongError", s3.put_object, **B, Key="k" * 1025, Body=b"")
    # boto3 sends a CRC32 with each object and checks the one that comes back; SHA-256 does as well.
    assert s3.put_object(**key, Body=b"hello", ChecksumAlgorithm="SHA256", Metadata=got["Metadata"])["ChecksumSHA256"]
    assert s3.head_object(**key, ChecksumMode="ENABLED")["ChecksumSHA256"]
    refused("BadDigest", s3.put_object, **key, Body=b"hello", ChecksumCRC32="AAAAAA==")

    copy = s3.copy_object(**B, Key="copy", CopySource=key)
    assert copy["CopyObjectResult"]["ETag"] == etag
    assert s3.head_object(**B, Key="copy")["Metadata"] == {"colour": "red"}
    replaced = {"MetadataDirective": "REPLACE", "Metadata": {"colour": "blue"}, "ContentType": "text/html"}
    s3.copy_object(**B, Key="copy", CopySource={**B, "Key": "copy"}, **replaced)
    head = s3.head_object(**B, Key="copy")
    assert head["Metadata"] == {"colour": "blue"} and head["ContentType"] == "text/html"
    refused("InvalidRequest", s3.copy_object, **B, Key="copy", CopySource={**B, "Key": "copy"})
    refused("NoSuchKey", s3.copy_object, **B, Key="copy", CopySource={**B, "Key": "none"})
    refused("PreconditionFailed", s3.copy_object, **B, Key="copy2", CopySource=key, CopySourceIfMatch="other")

    url = s3.generate_presigned_url("get_object", Params=key, ExpiresIn=60)
    with urllib.request.urlopen(url) as answer:
        assert answer.read() == b"hello"
    # Without being told otherwise, boto3 presigns by the older method, which new regions don't know.
    older = session.client("s3", endpoint_url=URL).generate_presigned_url("get_object", Params=key)
    try:
        urllib.request.urlopen(older)
        raise AssertionError(f"{older} was answered")
    except urllib.error.HTTPError as error:
        assert error.code == 400 and b"AWS4-HMAC-SHA256" in error.read()
    url = s3.generate_presigned_url("put_object", Params={**B, "Key": "presigned"}, ExpiresIn=60)
    with urllib.request.urlopen(urllib.request.Request(url, data=b"by address", method="PUT")) as answer:
        assert answer.status == 200
    assert s3.get_object(**B, Key="presigned")["Body"].read() == b"by address"
    refused("AccessControlListNotSupported", s3.put_object, **key, Body=b"", ACL="public-read")
    refused("NotImplemented", s3.put_object, **key, Body=b"", Tagging="a=b")
    s3.delete_object(**B, Key="presigned")
    # The bucket in the name of the host, as boto3 writes it for hosts with names.
    host = URL.replace("127.0.0.1", "localhost")
    named = session.client("s3", endpoint_url=host, config=Config(signature_version="s3v4", s3={"addressing_style": "virtual"}))
    address = named.generate_presigned_url("get_object", Params=key)
    assert "//a-bucket.localhost:" in address
    plain = urllib.request.Request(address.replace("//a-bucket.localhost:", "//127.0.0.1:"))
    plain.add_header("Host", address.split("/")[2])
    with urllib.request.urlopen(plain) as answer:
        assert answer.read() == b"hello"


def parts():
    """Large objects, as the transfer manager sends and fetches them: in parts, several at a time."""
    config = TransferConfig(multipart_threshold=6 << 20, multipart_chunksize=5 << 20)
    data = bytes(range(256)) * (44 << 10)
    assert len(data) == 11 << 20
    s3.upload_fileobj(io.BytesIO(data), "a-bucket", "big", Config=config, ExtraArgs={"Metadata": {"a": "b"}})
    head = s3.head_object(**B, Key="big", PartNumber=3)
    assert head["PartsCount"] == 3 and head["ContentLength"] == 1 << 20 and head["ETag"].endswith('-3"'), head
    fetched = io.BytesIO()
    s3.download_fileobj("a-bucket", "big", fetched, Config=config)
    assert fetched.getvalue() == data
    s3.copy({**B, "Key": "big"}, "a-bucket", "big copy", Config=config)
    copied = s3.get_object(**B, Key="big copy")
    assert copied["Body"].read() == data and copied["ETag"] == head["ETag"]
    for algorithm in ["CRC32C", "SHA256", "CRC64NVME"] if HAS_CRT else ["SHA256", "SHA1"]:
        extra = {"ChecksumAlgorithm": algorithm}
        s3.upload_fileobj(io.BytesIO(data), "a-bucket", "summed", Config=config, ExtraArgs=extra)
        assert s3.head_object(**B, Key="summed", ChecksumMode="ENABLED")["Checksum" + algorithm]
    begun = s3.create_multipart_upload(**B, Key="aborted")
    upload = {**B, "Key": "aborted", "UploadId": begun["UploadId"]}
    s3.upload_part(**upload, PartNumber=1, Body=b"x")
    assert [part["PartNumber"] for part in s3.list_parts(**upload)["Parts"]] == [1]
    assert [row["Key"] for row in s3.list_multipart_uploads(**B)["Uploads"]] == ["aborted"]
    s3.abort_multipart_upload(**upload)
    refused("NoSuchUpload", s3.list_parts, **upload)
    for key in ["big", "big copy", "summed"]:
        s3.delete_object(**B, Key=key)


def listings():
    s3.create_bucket(Bucket="listed")
    L = {"Bucket": "listed"}
    keys = ["a", "a/1", "a/2", "b c+d", "b/1", "z\u00e4"]
    for key in keys:
        s3.put_object(**L, Key=key, Body=key.encode())
    page = s3.list_objects_v2(**L)
    assert [row["Key"] for row in page["Contents"]] == keys and page["KeyCount"] == 6 and not page["IsTruncated"]
    assert page["Contents"][1]["Size"] == 3 and page["Contents"][1]["StorageClass"] == "STANDARD"
    page = s3.list_objects_v2(**L, Delimiter="/", FetchOwner=True)
    assert [row["Prefix"] for row in page["CommonPrefixes"]] == ["a/", "b/"]
    assert [row["Key"] for row in page["Contents"]] == ["a", "b c+d", "z\u00e4"] and page["Contents"][0]["Owner"]["ID"]
    assert [row["Key"] for row in s3.list_objects_v2(**L, Prefix="a/")["Contents"]] == ["a/1", "a/2"]
    assert [row["Key"] for row in s3.list_objects_v2(**L, StartAfter="b/1")["Contents"]] == ["z\u00e4"]
    for name in ["list_objects_v2", "list_objects"]:
        pages = s3.get_paginator(name).paginate(**L, PaginationConfig={"PageSize": 2})
        assert [row["Key"] for page in pages for row in page["Contents"]] == keys
        pages = s3.get_paginator(name).paginate(**L, Delimiter="/", PaginationConfig={"PageSize": 1})
        seen = [row.get("Key") or row["Prefix"] for page in pages for kind in ["Contents", "CommonPrefixes"] for row in page.get(kind, [])]
        assert seen == ["a", "a/", "b c+d", "b/", "z\u00e4"], seen
    answer = s3.delete_objects(**L, Delete={"Objects": [{"Key": key} for key in keys]})
    assert [row["Key"] for row in answer["Deleted"]] == keys
    s3.delete_bucket(**L)


def versions():
    s3.put_bucket_versioning(**B, VersioningConfiguration={"Status": "Enabled"})
    assert s3.get_bucket_versioning(**B)["Status"] == "Enabled"
    k = {**B, "Key": "versioned"}
    ids = [s3.put_object(**k, Body=text)["VersionId"] for text in [b"one", b"two"]]
    assert s3.get_object(**k, VersionId=ids[0])["Body"].read() == b"one"
    assert s3.get_object(**k)["VersionId"] == ids[1]
    gone = s3.delete_object(**k)
    assert gone["DeleteMarker"] is True
    missing = refused("NoSuchKey", s3.get_object, **k)
    assert missing["ResponseMetadata"]["HTTPHeaders"]["x-amz-delete-marker"] == "true"
    refused("MethodNotAllowed", s3.get_object, **k, VersionId=gone["VersionId"])
    refused("NoSuchVersion", s3.get_object, **k, VersionId="0" * 32)
    refused("InvalidArgument", s3.get_object, **k, VersionId="nonsense")
    listed = s3.list_object_versions(**B, Prefix="versioned")
    assert [row["VersionId"] for row in listed["Versions"]] == ids[::-1]
    assert listed["DeleteMarkers"][0]["IsLatest"] is True
    pages = s3.get_paginator("list_object_versions").paginate(**B, PaginationConfig={"PageSize": 2})
    rows = [row for page in pages for kind in ["Versions", "DeleteMarkers"] for row in page.get(kind, [])]
    assert len(rows) == len({(row["Key"], row["VersionId"]) for row in rows}) == 5, rows
    restored = s3.copy_object(**k, CopySource={**k, "VersionId": ids[0]})
    assert restored["CopySourceVersionId"] == ids[0]
    assert s3.get_object(**k)["Body"].read() == b"one"
    refused("BucketNotEmpty", s3.delete_bucket, **B)
    s3.put_bucket_versioning(**B, VersioningConfiguration={"Status": "Suspended"})
    assert s3.put_object(**k, Body=b"three")["VersionId"] == "null"


def everything_goes():
    pages = s3.get_paginator("list_object_versions").paginate(**B)
    rows = [row for page in pages for kind in ["Versions", "DeleteMarkers"] for row in page.get(kind, [])]
    objects = [{"Key": row["Key"], "VersionId": row["VersionId"]} for row in rows]
    answer = s3.delete_objects(**B, Delete={"Objects": objects, "Quiet": True})
    assert "Errors" not in answer and "Deleted" not in answer, answer
    s3.delete_bucket(**B)


buckets()
objects()
parts()
listings()
versions()
everything_goes()
print(f"{len(used)} operations of S3: {', '.join(sorted(used))}")
