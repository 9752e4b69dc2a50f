#!/usr/bin/env bash
# Known vulnerabilities in anything that is pinned: requirements*.txt and envs/*.yaml, each a complete list with hashes.
set -euo pipefail
cd "$(dirname "$0")/.."
list=$(mktemp)
trap 'rm -f "$list"' EXIT

for lock in requirements.txt requirements-dev.txt envs/*.yaml; do
    echo "$lock"
    if [[ $lock == *.yaml ]]; then
        sed -n '/^  - pip:/,$p' "$lock" | sed -E '1d; s/^ +- //; s/^ +(--hash)/    \1/' |
            sed -E ':a;N;$!ba;s/\n +--hash/ --hash/g' >"$list"
    else
        cp "$lock" "$list"
    fi
    pip-audit --strict --disable-pip --require-hashes --requirement "$list" "$@"
done
