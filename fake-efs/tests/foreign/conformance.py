"""Checks every answer of the fake against botocore's own service model, and keeps count of what was provoked."""

import datetime
import json
import re

import boto3
from botocore.config import Config

# A pattern of the model whose syntax Python does not know; its meaning here: letters, separators and numbers.
UNICODE_CLASSES = re.compile(r"\\p\{[LZN]\}")


class Mismatch(AssertionError):
    """An answer that the model does not allow."""


def check_shape(shape, value, path):
    """Raises Mismatch if a JSON value does not fit a shape."""

    def fail(why):
        raise Mismatch(f"{path}: {why}: {value!r}")

    kind = shape.type_name
    if kind == "structure":
        if not isinstance(value, dict):
            fail("not an object")
        for name in shape.required_members:
            if name not in value:
                fail(f"{name} is missing")
        for name, inner in value.items():
            if name not in shape.members:
                fail(f"unknown member {name}")
            check_shape(shape.members[name], inner, f"{path}.{name}")
    elif kind == "list":
        if not isinstance(value, list):
            fail("not a list")
        if "max" in shape.metadata and len(value) > shape.metadata["max"]:
            fail("too long")
        for i, inner in enumerate(value):
            check_shape(shape.member, inner, f"{path}[{i}]")
    elif kind == "string":
        if not isinstance(value, str):
            fail("not a string")
        if shape.enum and value not in shape.enum:
            fail(f"not one of {shape.enum}")
        if len(value) < shape.metadata.get("min", 0) or len(value) > shape.metadata.get("max", 1 << 30):
            fail("wrong length")
        pattern = shape.metadata.get("pattern")
        if pattern and not re.search(UNICODE_CLASSES.sub(r"\\w\\s", pattern), value):
            fail(f"does not match {pattern}")
    elif kind in ("integer", "long"):
        if not isinstance(value, int) or isinstance(value, bool):
            fail("not a whole number")
        if value < shape.metadata.get("min", value) or value > shape.metadata.get("max", value):
            fail("out of range")
    elif kind in ("double", "float", "timestamp"):
        if not isinstance(value, (int, float)) or isinstance(value, bool):
            fail("not a number")
        if kind == "timestamp" and not 2000 < datetime.datetime.fromtimestamp(value).year < 2200:
            fail("not in seconds")
    elif kind == "boolean":
        if not isinstance(value, bool):
            fail("not a boolean")
    else:
        fail(f"unknown kind {kind}")


class Recorder:
    """Hooks into a client; checks each answer when it arrives."""

    def __init__(self):
        self.succeeded = set()
        self.provoked = set()
        self.mismatches = []
        self.answers = 0

    def client(self, url, region="us-east-1", **options):
        """An EFS client whose answers are checked."""
        config = Config(retries={"total_max_attempts": 1}, parameter_validation=options.pop("validate", True))
        key = options.pop("key", "AKIDEXAMPLE")
        session = boto3.Session(aws_access_key_id=key, aws_secret_access_key="secret", region_name=region)
        client = session.client("efs", endpoint_url=url, config=config, **options)
        client.meta.events.register("after-call.efs", self.after_call)
        return client

    def after_call(self, http_response, parsed, model, **_):
        self.answers += 1
        try:
            self.check(http_response, parsed, model)
        except (Mismatch, ValueError) as mismatch:
            self.mismatches.append(f"{model.name} {http_response.status_code}: {mismatch}")

    def check(self, response, parsed, model):
        headers = {name.lower(): value for name, value in response.headers.items()}
        if not headers.get("x-amzn-requestid"):
            raise Mismatch("no request id")
        body = json.loads(response.content) if response.content else None
        if response.status_code < 300:
            expected = model.http.get("responseCode", 200)
            if response.status_code != expected:
                raise Mismatch(f"the status should be {expected}")
            if model.output_shape is not None:
                check_shape(model.output_shape, body, model.output_shape.name)
            elif body not in (None, {}):
                raise Mismatch(f"an answer without a shape: {body}")
            self.succeeded.add(model.name)
            return
        code = parsed["Error"]["Code"]
        if headers.get("x-amzn-errortype") != code:
            raise Mismatch(f"x-amzn-errortype is {headers.get('x-amzn-errortype')}, the code is {code}")
        shape = next((shape for shape in model.error_shapes if shape.name == code), None)
        if shape is None:
            # AWS sends these two wherever the service model or the signature is violated.
            if code not in ("ValidationException", "AccessDeniedException"):
                raise Mismatch(f"{code} is not an error of {model.name}")
            return
        if response.status_code != shape.metadata["error"]["httpStatusCode"]:
            raise Mismatch(f"{code} has status {response.status_code}")
        check_shape(shape, body, code)
        if body["ErrorCode"] != code:
            raise Mismatch(f"ErrorCode is {body['ErrorCode']}")
        self.provoked.add((model.name, code))
