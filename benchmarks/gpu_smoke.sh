#!/usr/bin/env bash
# The first ten minutes on a card: every GPU backend under every metric, by gpu_smoke.py, which says what it looks at.
#
#   benchmarks/gpu_smoke.sh                                                 environments that are missing are made before
#   benchmarks/gpu_smoke.sh --shapes 10000x10 --queries 1000 --minutes 5    smaller: without a GPU it is a rehearsal
#
# Where gpu_suite.sh has set up .gpu/, all runs in it and nothing is made. Else PYTHON is the interpreter of the pipeline
# (python3). TMPDIR needs 5 GB for the points.
set -euo pipefail
cd "$(dirname "$0")/.."
python=${PYTHON:-python3}
if [ -x .gpu/bin/python ]; then
    python=.gpu/bin/python
else
    mapfile -t missing < <("$python" benchmarks/gpu_smoke.py --environments "$@")
    if [ -n "${missing[0]:-}" ]; then "$python" -m snakemake --cores 1 -- "${missing[@]}"; fi
fi
exec "$python" benchmarks/gpu_smoke.py "$@"
