#!/bin/bash
# Every ratio of docs/performance.md in one run, as Markdown, about an hour on two cores that have nothing else to do:
#     benchmarks/all.sh SEED_DIR ANN_BENCHMARKS_DIR
# in the environment of requirements.txt; vs_seed.py and vs_ann_benchmarks.py say what the folders are. Environments are made first.
set -euo pipefail
cd "$(dirname "$0")/.."
seed=$1 theirs=$2
unset PYTHONDONTWRITEBYTECODE # which would have every job compile our modules anew

section() {
    printf '\n## %s\n\n' "$1"
    python "benchmarks/$2" "${@:3}"
}

for spec in $(python -c 'import yaml; entries = yaml.safe_load(open("config.yaml"))["backends"].values()
print(*sorted({entry["environments"]["cpu"] for entry in entries if "cpu" in entry["environments"]}))'); do
    echo "resources/environments/$spec/freeze.txt"
done | xargs snakemake --cores 2 -- >&2

section "Adapters" adapters.py
section "The page's functions" page_functions.py
section "KeOps compiled for this CPU" native.py
section "The KeOps page's script" vs_seed.py --seed-dir "$seed"
section "ann-benchmarks" vs_ann_benchmarks.py --ann-benchmarks "$theirs"
section "A suite" overhead.py quick
section "Exact neighbours" truth.py
