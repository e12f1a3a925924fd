#!/usr/bin/env python3
"""usage: sbom.py PACKAGE TARGET EXECUTABLE > sbom.spdx.json

Writes the bill of materials of EXECUTABLE in SPDX 2.3: the crates that cargo links into PACKAGE for TARGET, without build
and development dependencies, with versions, licences and checksums as Cargo.lock has them.
"""

import hashlib
import json
import os
import subprocess
import sys
import time
import tomllib


def main() -> None:
    package, target, executable = sys.argv[1:]
    cargo = ["cargo", "metadata", "--format-version=1", "--locked", f"--filter-platform={target}"]
    metadata = json.loads(subprocess.run(cargo, check=True, capture_output=True).stdout)
    with open(os.path.join(metadata["workspace_root"], "Cargo.lock"), "rb") as lock_file:
        lock = {(p["name"], p["version"]): p.get("checksum") for p in tomllib.load(lock_file)["package"]}
    packages = {p["id"]: p for p in metadata["packages"]}
    nodes = {n["id"]: n for n in metadata["resolve"]["nodes"]}
    root = next(p["id"] for p in packages.values() if p["name"] == package and p["id"] in metadata["workspace_members"])

    linked, todo = set(), [root]
    while todo:
        crate = todo.pop()
        if crate in linked:
            continue
        linked.add(crate)
        for dependency in nodes[crate]["deps"]:
            if any(kind["kind"] is None for kind in dependency["dep_kinds"]):
                todo.append(dependency["pkg"])

    with open(executable, "rb") as content:
        digest = hashlib.sha256(content.read()).hexdigest()
    created = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(int(os.environ["SOURCE_DATE_EPOCH"])))

    def spdx_id(crate: str) -> str:
        p = packages[crate]
        return f"SPDXRef-{p['name']}-{p['version']}".replace("_", "-").replace("+", "-")

    crates = sorted(linked, key=lambda c: (packages[c]["name"], packages[c]["version"]))
    document = {
        "spdxVersion": "SPDX-2.3",
        "dataLicense": "CC0-1.0",
        "SPDXID": "SPDXRef-DOCUMENT",
        "name": package,
        "documentNamespace": f"urn:sha256:{digest}",
        "creationInfo": {"created": created, "creators": ["Tool: deploy/image/sbom.py"]},
        "packages": [],
        "relationships": [
            {"spdxElementId": "SPDXRef-DOCUMENT", "relationshipType": "DESCRIBES", "relatedSpdxElement": spdx_id(root)}
        ],
    }
    for crate in crates:
        p = packages[crate]
        entry = {
            "SPDXID": spdx_id(crate),
            "name": p["name"],
            "versionInfo": p["version"],
            "downloadLocation": "NOASSERTION",
            "licenseConcluded": "NOASSERTION",
            "licenseDeclared": (p["license"] or "NOASSERTION").replace("/", " OR "),
            "copyrightText": "NOASSERTION",
            "filesAnalyzed": False,
        }
        if p["source"]:
            entry["externalRefs"] = [
                {
                    "referenceCategory": "PACKAGE-MANAGER",
                    "referenceType": "purl",
                    "referenceLocator": f"pkg:cargo/{p['name']}@{p['version']}",
                }
            ]
        checksum = lock.get((p["name"], p["version"])) or (digest if crate == root else None)
        if checksum:
            entry["checksums"] = [{"algorithm": "SHA256", "checksumValue": checksum}]
        document["packages"].append(entry)
        for dependency in sorted({d["pkg"] for d in nodes[crate]["deps"]} & linked):
            document["relationships"].append(
                {
                    "spdxElementId": spdx_id(crate),
                    "relationshipType": "DEPENDS_ON",
                    "relatedSpdxElement": spdx_id(dependency),
                }
            )
    json.dump(document, sys.stdout, indent=1)
    print()


main()
