#!/usr/bin/env bash
# Our suites, and the checks that need a GPU, on a machine that has one, PyTorch and JAX, but no network.
#
#   benchmarks/gpu_suite.sh wheels      with a network: what that machine lacks, into wheels/1, wheels/2 ... of 60 MiB at most
#   benchmarks/gpu_suite.sh setup 1     there, for each of them: install it beside the machine's own packages, into .gpu/
#   benchmarks/gpu_suite.sh all NAME    there: gpu_smoke.sh, tests, self-test, suites float32, precision and synthetic, then
#                                       published/NAME
#
# `all` goes on where it was. With MINUTES=9 it ends within nine minutes, with status 75 as long as there is more to do.
#
# That machine needs gcc, too. PYTHON is the interpreter with PyTorch (python3); SUITES are others than these three, SMOKE what
# gpu_smoke.sh is told. FAISS_GPU may name an archive with a FAISS for that machine. Where there is no GPU, the same steps run
# on the CPU: a rehearsal.
set -euo pipefail
cd "$(dirname "$0")/.."
python=${PYTHON:-python3}
step=${1:?a step: wheels, setup or all}
deadline=$((SECONDS + ${MINUTES:-1000000} * 60))
MOST=$((60 * 2**20)) # bytes of a folder of wheels
SLICE=540            # seconds of a call of Snakemake
LEAST=60             # less is not worth a call
LEFT='import sys, pandas; print((pandas.read_csv(sys.argv[1])["status"] == "skipped").sum())'
LIMITS="max_fit_s: 240, max_query_s: 60" # of a cell: it has to fit into a slice

within() { # COMMAND...: until the deadline
    local left=$((deadline - SECONDS)) status=0
    if [ $left -ge $LEAST ]; then
        timeout --foreground --signal=INT --kill-after=30 $left "$@" || status=$?
        if [ $SECONDS -lt $deadline ]; then return $status; fi
    fi
    echo "There is more to do: call it again." # what is complete is kept
    exit 75
}

measure() { # SETTING... [-- TARGET]
    within .gpu/bin/python -m snakemake --cores 1 --resources gpu=1 --config deployment=none "$@"
}

once() { # STEP COMMAND...: what was done is not done again
    if [ -e ".gpu/done/$1" ]; then return; fi
    "${@:2}"
    mkdir -p .gpu/done
    touch ".gpu/done/$1"
}

suite() { # NAME [SETTING...]: cells, as many in a call as its time allows, until none is left
    local name=$1 slice budget left=-1 before
    while [ $left -ne 0 ]; do
        slice=$((deadline - SECONDS < SLICE ? deadline - SECONDS : SLICE))
        # The plan's times are rough: half of the slice is given to it, and what it thinks too long is tried all the same.
        budget=$(awk "BEGIN {print $slice / 7200}")
        if [ "$left" = "${before:-}" ]; then budget=0; fi
        before=$left
        measure suite="$name" timing="{budget_h: $budget, $LIMITS}" "${@:2}" -- "results/$name/timings.csv"
        left=$(.gpu/bin/python -c "$LEFT" "results/$name/timings.csv")
    done
}

smoke() { # what is wrong is said, and does not stop the rest
    local minutes=$(((deadline - SECONDS - 30) / 60))
    if [ $minutes -gt 10 ]; then minutes=10; fi
    # shellcheck disable=SC2086
    within benchmarks/gpu_smoke.sh --minutes $minutes ${SMOKE:-} | tee .gpu/smoke.md || [ "${PIPESTATUS[0]}" -ne 75 ] || exit 75
}

selftest() { # what it misses is said, and does not stop the rest
    measure suite=test -- selftest || echo "The self-test failed, see logs/selftest.log."
}

case $step in
wheels)
    rm -rf wheels
    # Not what such a machine has; connection_pool and pykeops come as sources only.
    "$python" -m pip wheel --quiet --no-deps --wheel-dir wheels connection_pool pykeops keopscore
    "$python" -m pip download --quiet --dest wheels --python-version "${TARGET_PYTHON:-3.12}" --only-binary=:all: \
        --find-links wheels 'snakemake==9.27.*' vl-convert-python pikepdf faiss-cpu diptest usearch pykdtree pynear \
        pytest pytest-xdist hypothesis pybind11
    rm -f wheels/{numpy,scipy,pandas,matplotlib,pillow,torch}-*.whl
    folder=1 size=0
    for wheel in wheels/*.whl; do
        bytes=$(stat --format=%s "$wheel")
        if [ $((size + bytes)) -gt $MOST ]; then folder=$((folder + 1)) size=0; fi
        size=$((size + bytes))
        mkdir -p "wheels/$folder"
        mv "$wheel" "wheels/$folder"
    done
    du -sh wheels/*
    ;;
setup)
    # An environment of its own, whose interpreter jobs run with (they inherit no PYTHONPATH), and in which the machine's packages
    # are found after ours.
    "$python" -m venv --without-pip .gpu
    packages=$(.gpu/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
    "$python" -c 'import sys; print(*(path for path in sys.path if path.endswith("-packages")), sep="\n")' >"$packages/there.pth"
    "$python" -m pip install --quiet --no-index --no-deps --upgrade --target "$packages" "wheels/${2:?a folder of wheels}"/*.whl
    if [ -n "${FAISS_GPU:-}" ]; then
        rm -rf "$packages"/faiss "$packages"/faiss_cpu*
        tar -xf "$FAISS_GPU" -C "$packages"
    fi
    ;;
all)
    name=${2:?a name for published/}
    suites=(${SUITES:-float32 precision synthetic})
    once smoke smoke
    once tests within .gpu/bin/python -m pytest -q -p no:cacheprovider tests/test_gpu.py tests/test_truth.py -k "not proposes"
    once selftest selftest
    for each in "${suites[@]}"; do
        if [ "$each" = synthetic ]; then # most want these
            of="datasets: [rd-a, rd-b, rd-c, rd-d, sphere, rd-f, rd-g, hyperbolic]"
            once synthetic-first suite synthetic suites="{synthetic: {$of, n_neighbors: [10, 100]}}"
        fi
        once "$each" suite "$each"
    done
    for each in "${suites[@]}"; do
        to=published/$name$([ "$each" = "${suites[-1]}" ] || echo "-$each")
        once "published-$name-$each" measure suite="$each" timing="{$LIMITS}" -- "$to"
        echo "$to"
    done
    ;;
*)
    echo "no step $step: wheels, setup or all" >&2
    exit 2
    ;;
esac
