# The commands of this project; `./bootstrap RECIPE` installs what they need first. `just --list` shows them all.

set positional-arguments
set shell := ["bash", "-euc"]

# Recipes build the whole workspace: cargo resolves features for what is selected, and another selection would compile
# many dependencies once more. What has a build of its own anyway (fips, benches) selects packages.

target := env("CARGO_TARGET_DIR", justfile_directory() / "target")
tools := target / "tools"
export PATH := tools / "bin" + ":" + env("PATH")
lab := justfile_directory() / "e2e/vm/run"

# show this list
default:
    @just --list --unsorted

# the main job, narrated: create a volume, mount it over TLS, write as the enforced user, survive kill -9, delete
demo: build
    @{{ lab }} --timeout 600 {{ target }}/debug/efs-csi-demo --bin-dir {{ target }}/debug

# two tenants, one file system, each sees its own: mounts with the identity of the pod
demo-tenants: build
    @{{ lab }} --timeout 600 {{ target }}/debug/efs-csi-demo --bin-dir {{ target }}/debug --tenants

# all that must pass; the last line counts passed, failed and skipped checks
test:
    #!/usr/bin/env bash
    set -u
    rm -rf "{{ target }}/results"
    rc=0
    for layer in lint unit sanity mounts demo-check containers; do
        just "_$layer" || rc=1
    done
    just _tokens || rc=1
    .ci/layer --total || rc=1
    exit $rc

_lint:
    @.ci/layer fmt check cargo fmt --all --check
    @.ci/layer clippy check cargo clippy --quiet --workspace --all-targets --locked -- -D warnings
    @.ci/layer deny check just deny
    @.ci/layer fips check just _fips-resolves
    @.ci/layer links check just links

_unit:
    @.ci/layer unit nextest just unit
    @.ci/layer doctests check cargo test --doc --workspace --locked --quiet

_sanity:
    @.ci/layer sanity report just sanity

_mounts:
    @.ci/layer mounts report just mounts

_demo-check:
    @.ci/layer demo check just demo
    @.ci/layer demo-tenants check just demo-tenants

# Last: it looks through what all the layers before have written.
_tokens:
    @.ci/layer tokens check just _no-tokens

# No log, report or state that the tests leave has a token of theirs: what each one is signed with, and what each JSON Web Token begins with.
_no-tokens:
    #!/usr/bin/env bash
    set -euo pipefail
    places=()
    for place in {{ target }}/results {{ target }}/lab {{ target }}/sanity; do [ -e "$place" ] && places+=("$place"); done
    [ ${#places[@]} -gt 0 ] || { echo "no layer has run" >&2; exit 1; }
    # This layer's own log, which tee is writing, would be found by what it says.
    if found=$(grep -rlaE --exclude=tokens.log 'dGhpcy1pcy1hLXNlY3JldC1zaWduYXR1cmU|eyJhbGciOi' "${places[@]}"); then
        printf 'a token is in %s\n' $found >&2; exit 1
    fi
    echo "no token in ${places[*]}"

# Docker is a matter of the machine: without an engine this layer is skipped, not failed.
_containers:
    #!/usr/bin/env bash
    if docker info >/dev/null 2>&1; then .ci/layer containers nextest just containers
    else .ci/layer containers check echo "SKIP no Docker engine answers: the images are not tested"; fi

# build every program and test of the workspace
build:
    @cargo build --quiet --workspace --all-targets --locked

# unit and integration tests that need neither a kernel mount nor Docker
unit *ARGS:
    @cargo nextest run --workspace --locked -E 'not binary(containers) and not binary(/^(mounts|kernel)/)' "$@"

# csi-sanity against our driver in the lab, in every setup; reports (JUnit, JSON) go to target/sanity
sanity *ARGS: build
    #!/usr/bin/env bash
    set -uo pipefail
    # The lab can write to target/lab only.
    rm -rf {{ target }}/lab/sanity {{ target }}/sanity && mkdir -p {{ target }}/lab/sanity
    {{ lab }} --timeout 900 {{ target }}/debug/efs-csi-sanity-lab --bin-dir {{ target }}/debug --reports {{ target }}/lab/sanity "$@"
    rc=$?
    cp -R {{ target }}/lab/sanity {{ target }}/sanity
    exit $rc

# every test that needs kernel mounts: test targets named mounts* or kernel*, each in a guest of its own, two at once
mounts *ARGS:
    #!/usr/bin/env bash
    set -euo pipefail
    # Whatever mounts volumes takes longest, so it begins.
    executables=$(just _test-executables '(mounts|kernel)' | sort --reverse)
    # shellcheck disable=SC2086
    {{ justfile_directory() }}/e2e/vm/run-guests $executables -- "$@"

# static binaries and the images efs-csi-driver, fake-efs and csi-sanity, FROM scratch, in target/images
image *ARGS:
    @deploy/image.sh "$@"

# fio, git, tar, rsync, SQLite and two renaming clients at full size, on mounts whose connections break every second
workloads *ARGS:
    #!/usr/bin/env bash
    set -euo pipefail
    executable=$(just _test-executables kernel_workloads)
    MOUNTS_FULL=1 VM_MEMORY=${VM_MEMORY:-3G} {{ lab }} --timeout 3600 "$executable" --test-threads=1 --show-output "$@"

# The paths of the test executables whose names begin like this, a line each.
_test-executables NAME:
    #!/usr/bin/env bash
    set -euo pipefail
    found=$(cargo test --workspace --locked --no-run --tests 2>&1 | grep -oE "tests/$1[^ ]* \([^)]*\)" | grep -oE '\([^)]*\)' | tr -d '()' | sed "s|^target/|{{ target }}/|") ||
        { echo "no test target is named $1*" >&2; exit 1; }
    echo "$found"

# the images that we ship, in Docker
containers *ARGS: image
    @cargo nextest run --workspace --locked -E 'binary(containers)' "$@"

# every scenario on Kubernetes: a kind cluster of its own, or the cluster of KUBECONFIG; --list, --filter, --dry-run, --junit
e2e *ARGS: build
    @{{ target }}/debug/efs-csi-e2e --tools {{ tools }}/bin --archives {{ target }}/images --output {{ target }}/e2e "$@"

# N random histories of volumes, tenants, administrators, crashes and refusals; after every step each byte that its owner didn't delete is there
ownership N:
    @OWNERSHIP_HISTORIES="$1" cargo nextest run --workspace --locked --profile fuzz -E 'binary(ownership)'

# feed every fuzz target for SECONDS with input that is new each time (HTTP requests, RPC records, NFS requests, certificates)
fuzz SECONDS:
    @FUZZ_SECONDS="$1" cargo nextest run --workspace --locked --profile fuzz -E 'binary(fuzz)'

# SECONDS of random publish, unpublish and verified I/O over 30 volumes while connections, server and driver fail; --seed N, --volumes N
soak SECONDS *ARGS: build
    #!/usr/bin/env bash
    set -euo pipefail
    mkdir -p {{ target }}/lab
    {{ lab }} --timeout $(($1 * 2 + 600)) {{ target }}/debug/efs-csi-soak --bin-dir {{ target }}/debug --log-dir {{ target }}/lab "$@"

# the Helm chart: lint, rendering, schema
chart *ARGS:
    @cargo nextest run --workspace --locked -E 'binary(/^chart/)' "$@"

# run CMD as root on a kernel with an NFS client (one argument is a shell line); VM_TIMEOUT limits it, 600 seconds by default
vm *CMD:
    @{{ lab }} "$@"

# format the code
fmt:
    cargo fmt --all

# rustfmt, clippy, cargo-deny, and the documents
lint:
    cargo fmt --all --check
    cargo clippy --workspace --all-targets --locked -- -D warnings
    just deny
    just links

# links, files, functions, recipes, flags, values and metrics that the documents name are there; part of unit, too
links *ARGS:
    @cargo nextest run --workspace --locked -E 'binary(chart) and test(/^(architecture|documents)::/)' "$@"

# licences, sources and banned crates
deny:
    @cargo deny --log-level error check bans licenses sources

# measure everything beside its peers (release builds, about 20 minutes once they are made); the report goes to target/bench-report
bench *ARGS:
    #!/usr/bin/env bash
    set -euo pipefail
    ./bootstrap _bench-peers
    just _measured --release
    mkdir -p {{ target }}/lab {{ target }}/bench-report
    PATH={{ target }}/bench-peers/bin:$PATH PYTHONPATH={{ target }}/bench-peers${PYTHONPATH:+:$PYTHONPATH} \
        {{ target }}/release/efs-csi-bench run --bin-dir {{ target }}/release --out {{ target }}/bench-report \
        --lab {{ lab }} --lab-artifacts {{ target }}/lab "$@"

# the driver with a FIPS 140-3 module in target/release; needs CMake, Go, a C compiler and libclang, and some minutes
fips *ARGS:
    @cargo build --release --locked -p efs-csi-driver --features fips "$@"

# the feature must go on resolving with the versions of the lock file, whoever builds it
_fips-resolves:
    @cargo tree --quiet --locked -p efs-csi-driver --features fips --invert aws-lc-fips-sys --depth 1

# criterion benches of parsing, volumes and the tunnel
bench-criterion *ARGS:
    @just _measured --release
    cargo bench --locked -p efs-csi-benches -- "$@"

# the curves of docs/scale.md, measured again and written there (about two minutes once the builds are made)
bench-scale:
    @just _measured --release
    @{{ target }}/release/efs-csi-bench scale --bin-dir {{ target }}/release docs/scale.md

# where the time goes: a flame graph of PROGRAM while a scenario runs (tunnel efs-csi-bench, controller efs-csi-driver, api fake-efs)
flame SCENARIO PROGRAM:
    #!/usr/bin/env bash
    set -euo pipefail
    command -v perf >/dev/null || { echo "flame: perf is missing (Debian package linux-perf)" >&2; exit 1; }
    # Frame pointers make call graphs cheap and whole; perf's own unwinding of optimised code is neither.
    RUSTFLAGS="-C force-frame-pointers=yes" just _measured --profile profiling --target-dir {{ target }}/flame
    out={{ target }}/bench-report
    mkdir -p "$out"
    bin={{ target }}/flame/profiling
    perf record --quiet -e cpu-clock -F 997 --call-graph fp -o "$out/perf.data" \
        "$bin/efs-csi-bench" run --bin-dir "$bin" --out {{ target }}/flame/report --filter "$1" >/dev/null
    perf script -i "$out/perf.data" 2>/dev/null | "$bin/efs-csi-bench" flame --title "$2 in the scenario $1" --program "$2" >"$out/flame-$1.svg"
    echo "$out/flame-$1.svg"

# what changed between two reports, beyond noise
bench-compare OLD NEW:
    @cargo run --quiet --locked -p efs-csi-benches --bin efs-csi-bench -- compare "$1" "$2"

# put the numbers of the last report into README.md
bench-table REPORT=(target / "bench-report/report.json"):
    @cargo run --quiet --locked -p efs-csi-benches --bin efs-csi-bench -- table "{{ REPORT }}" README.md

# What is measured is built as the images build it, so it is what is shipped; the measuring program comes apart from it.
_measured *ARGS:
    @cargo build --quiet --locked --workspace --bin efs-csi-driver --bin fake-efs --bin csi-sanity "$@"
    @cargo build --quiet --locked --workspace --bin efs-csi-bench --bin efs-csi-pulse "$@"

# Peers come from package registries. A peer that can't be had is a row that says so.
_bench-peers:
    #!/usr/bin/env bash
    peers={{ target }}/bench-peers
    if [ ! -x "$peers/bin/moto_server" ]; then
        python3 -m pip install --quiet --disable-pip-version-check --root-user-action=ignore --target "$peers" 'moto[server]==5.2.5' \
            2>/dev/null || echo "bench: can't install moto" >&2
    fi
