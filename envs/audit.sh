#!/usr/bin/env bash
# Known vulnerabilities in anything that is pinned: requirements*.txt and envs/*.yaml, each a complete list with hashes.
set -euo pipefail
cd "$(dirname "$0")/.."
list=$(mktemp)
trap 'rm -f "$list"' EXIT

for lock in requirements.txt requirements-dev.txt envs/*.yaml; do
    echo "$lock"
    if [[ $lock == *.yaml ]]; then
        python -c 'import sys, yaml; print(*yaml.safe_load(sys.stdin)["dependencies"][-1]["pip"], sep="\n")' <"$lock" >"$list"
    else
        cp "$lock" "$list"
    fi
    pip-audit --strict --disable-pip --require-hashes --requirement "$list" "$@"
done
