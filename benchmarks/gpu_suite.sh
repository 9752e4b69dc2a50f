#!/usr/bin/env bash
# The page's eight synthetic datasets, and the checks that need a GPU, on a machine that has PyTorch and JAX but no network.
#
#   benchmarks/gpu_suite.sh wheels              with a network: what the other machine lacks, into wheels/ (under 64 MiB)
#   benchmarks/gpu_suite.sh setup               there: install it beside its own packages, into .gpu/
#   benchmarks/gpu_suite.sh check               tests of exact neighbours and of what the driver says; suite float32 on its GPU
#   benchmarks/gpu_suite.sh run [SUITE [HOURS]] as many cells as fit into HOURS (0.15, under ten minutes); call it again to go on
#   benchmarks/gpu_suite.sh keep NAME [SUITE]   published/NAME from what is there; the rest is skipped
#
# PYTHON is the interpreter with PyTorch (python3). FAISS_GPU may name an archive with a FAISS for that machine, CUDA_PATH
# a folder with the toolkit's headers for KeOps. On a machine without a GPU the same steps run on its CPU: a rehearsal.
set -euo pipefail
cd "$(dirname "$0")/.."
python=${PYTHON:-python3}
step=${1:?a step: wheels, setup, check, run or keep}
shift
export PYTHONPATH=$PWD/.gpu${PYTHONPATH:+:$PYTHONPATH}
measure() { "$python" -m snakemake --cores 1 --resources gpu=1 --config deployment=none "$@"; }

case $step in
wheels)
    # Not what such a machine has; connection_pool and pykeops come as sources only.
    "$python" -m pip wheel --quiet --no-deps --wheel-dir wheels connection_pool pykeops keopscore
    "$python" -m pip download --quiet --dest wheels --python-version "${TARGET_PYTHON:-3.12}" --only-binary=:all: \
        --find-links wheels 'snakemake==9.27.*' faiss-cpu diptest
    rm -f wheels/{numpy,scipy,pandas,matplotlib,pillow,torch}-*.whl
    du -sh wheels
    ;;
setup)
    "$python" -m pip install --quiet --no-index --no-deps --target .gpu wheels/*.whl
    if [ -n "${FAISS_GPU:-}" ]; then
        rm -rf .gpu/faiss .gpu/faiss_cpu*
        tar -xf "$FAISS_GPU" -C .gpu
    fi
    "$python" -c 'import snakemake, torch; print(snakemake.__version__, torch.__version__, torch.cuda.is_available())'
    ;;
check)
    "$python" -m pytest -q tests/test_gpu.py tests/test_truth.py -k "not proposes"
    measure suite=float32 timing="{budget_h: ${1:-0.15}}"
    ;;
run)
    measure suite="${1:-synthetic}" timing="{budget_h: ${2:-0.15}}"
    ;;
keep)
    measure suite="${2:-synthetic}" timing="{budget_h: 0.0001}" -- "published/${1:?a name}"
    ;;
*)
    echo "no step $step: wheels, setup, check, run or keep" >&2
    exit 2
    ;;
esac
