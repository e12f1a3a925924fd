#!/usr/bin/env python3
"""Writes an image archive (the format of `docker save`) from a directory that holds the image's whole file system.

No container engine is needed, and nothing of the machine or the moment gets into the archive: owners are root, times are
SOURCE_DATE_EPOCH, names are sorted. The same executable therefore always makes the same image id.
"""

import argparse
import gzip
import hashlib
import io
import json
import os
import tarfile
import time


def layer(rootfs: str, mtime: int) -> bytes:
    """The directory as one tar layer."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for folder, folders, files in os.walk(rootfs):
            folders.sort()
            for name in sorted(folders + files):
                path = os.path.join(folder, name)
                info = tar.gettarinfo(path, os.path.relpath(path, rootfs))
                info.uid = info.gid = 0
                info.uname = info.gname = ""
                info.mtime = mtime
                if info.isfile():
                    with open(path, "rb") as content:
                        tar.addfile(info, content)
                else:
                    tar.addfile(info)
    return out.getvalue()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rootfs", required=True)
    parser.add_argument("--tag", required=True)
    parser.add_argument("--architecture", required=True)
    parser.add_argument("--user", required=True)
    parser.add_argument("--entrypoint", required=True)
    parser.add_argument("--command", action="append", default=[])
    parser.add_argument("--label", action="append", default=[])
    parser.add_argument("--output", required=True)
    args = parser.parse_args()

    epoch = int(os.environ["SOURCE_DATE_EPOCH"])
    created = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(epoch))
    tar = layer(args.rootfs, epoch)
    diff_id = "sha256:" + hashlib.sha256(tar).hexdigest()
    config = {
        "architecture": args.architecture,
        "os": "linux",
        "created": created,
        "config": {
            "User": args.user,
            "Entrypoint": [args.entrypoint],
            "Cmd": args.command or None,
            "Labels": dict(sorted(label.split("=", 1) for label in args.label)),
        },
        "rootfs": {"type": "layers", "diff_ids": [diff_id]},
        "history": [{"created": created, "created_by": "deploy/image.sh"}],
    }
    config_bytes = json.dumps(config, sort_keys=True, separators=(",", ":")).encode()
    image_id = hashlib.sha256(config_bytes).hexdigest()
    manifest = [{"Config": f"{image_id}.json", "RepoTags": [args.tag], "Layers": ["layer.tar"]}]

    temporary = args.output + ".part"
    with tarfile.open(temporary, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for name, content in [
            (f"{image_id}.json", config_bytes),
            ("layer.tar", tar),
            ("manifest.json", json.dumps(manifest, separators=(",", ":")).encode()),
        ]:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            info.mtime = epoch
            archive.addfile(info, io.BytesIO(content))
    os.replace(temporary, args.output)
    compressed = len(gzip.compress(tar, compresslevel=9, mtime=0))
    print(json.dumps({"tag": args.tag, "id": f"sha256:{image_id}", "compressed_bytes": compressed, "archive": args.output}))


main()
