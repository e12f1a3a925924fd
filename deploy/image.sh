#!/bin/bash
# usage: deploy/image.sh [--profile release|dev] [--no-load] [IMAGE...]
# Builds the static executables and, from them, the images efs-csi-driver, fake-efs and csi-sanity as archives in
# target/images/, each with its bill of materials; loads them into Docker when there is one. Prints one JSON line an image.
# The same sources make the same image ids. Fails when the driver's image passes its size budget.
set -euo pipefail

budget=$((15 * 1024 * 1024))
profile=release
load=yes
while [ $# -gt 0 ]; do
    case $1 in
    --profile) profile=$2; shift 2 ;;
    --no-load) load=no; shift ;;
    --*) echo "deploy/image.sh: unknown option $1" >&2; exit 2 ;;
    *) break ;;
    esac
done
images=("$@")
[ ${#images[@]} -gt 0 ] || images=(efs-csi-driver fake-efs csi-sanity)

root=$(cd "$(dirname "$0")/.." && pwd)
cd "$root"
target=${CARGO_TARGET_DIR:-$root/target}
out=$target/images
folder=$profile
[ "$profile" = dev ] && folder=debug
version=$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -1)
revision=$(git rev-parse HEAD 2>/dev/null || echo unknown)
triple=$(rustc --version --verbose | sed -n 's/^host: //p')
case $triple in
x86_64-*) architecture=amd64 ;;
aarch64-*) architecture=arm64 ;;
*) echo "deploy/image.sh: no image is made for $triple" >&2; exit 1 ;;
esac

description() {
    case $1 in
    efs-csi-driver) echo "Amazon EFS CSI driver" ;;
    fake-efs) echo "Stand-in for Amazon EFS: its API and its NFS servers" ;;
    csi-sanity) echo "Conformance checks for CSI drivers" ;;
    *) echo "deploy/image.sh: there is no image $1" >&2; exit 2 ;;
    esac
}
for image in "${images[@]}"; do description "$image" >/dev/null; done

bins=()
for image in "${images[@]}"; do bins+=(--bin "$image"); done
cargo build --quiet --locked --workspace --profile "$profile" "${bins[@]}"

# The image is as old as its sources, not as the moment of its build. Exported only now: the build scripts of C libraries follow this
# variable, and with each commit they and all above them would be compiled again.
export SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct 2>/dev/null || echo 0)}

mkdir -p "$out"
for image in "${images[@]}"; do
    executable=$target/$folder/$image
    if readelf --program-headers "$executable" 2>/dev/null | grep -q INTERP; then
        echo "deploy/image.sh: $executable is not static, it can't run in an image with nothing else in it" >&2
        exit 1
    fi
    python3 deploy/image/sbom.py "$image" "$triple" "$executable" >"$out/$image.spdx.json"
    rm -rf "$out/$image.rootfs"
    deploy/image/rootfs.sh "$executable" "$out/$image.rootfs"
    cp "$out/$image.spdx.json" "$out/$image.rootfs/sbom.spdx.json"
    chmod 0644 "$out/$image.rootfs/sbom.spdx.json"
    [ "$profile" = dev ] && strip "$out/$image.rootfs/$image"
    command=()
    [ "$image" = fake-efs ] && command=(--command=serve --command=--http=0.0.0.0:8080 --command=--nfs=0.0.0.0:2049)
    python3 deploy/image/archive.py --rootfs "$out/$image.rootfs" --tag "$image:$version" --output "$out/$image.tar" \
        --architecture "$architecture" --user 65532:65532 --entrypoint "/$image" "${command[@]}" \
        --label "org.opencontainers.image.title=$image" \
        --label "org.opencontainers.image.description=$(description "$image")" \
        --label "org.opencontainers.image.version=$version" \
        --label "org.opencontainers.image.revision=$revision" \
        --label "org.opencontainers.image.licenses=Apache-2.0" >"$out/$image.json"
    cat "$out/$image.json"
    size=$(sed 's/.*"compressed_bytes": \([0-9]*\).*/\1/' "$out/$image.json")
    if [ "$image" = efs-csi-driver ] && [ "$profile" = release ] && [ "$size" -gt "$budget" ]; then
        echo "deploy/image.sh: $image has $size bytes compressed, more than its budget of $budget" >&2
        exit 1
    fi
    if [ "$load" = yes ] && docker info >/dev/null 2>&1; then
        docker load --quiet --input "$out/$image.tar" >/dev/null
    fi
done
