"""The first figure of the KeOps page on this CPU: its own script, and this workflow on the same cells. Prints Markdown.

    python benchmarks/vs_seed.py --seed-dir DIR

DIR has the three files of pykeops/pykeops/benchmarks in https://github.com/getkeops/keops: benchmark_KNN.py, benchmark_utils.py
and dataset_utils.py. They run as they are up to their second figure, in an environment of the libraries' versions of envs/, and
search on a GPU with FAISS; here its functions for one give back the CPU's index. The workflow has the script's limits.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import yaml
from overhead import copy_of_project, environment_of, run_suite, tables
from shared import made_by

# What the script needs, and its backends by our names, in its order.
PACKAGES = ("si-prefix", "multiprocess", "matplotlib", "h5py")
LIBRARIES = {"keops": ("pykeops", "torch"), "faiss-cpu": ("faiss-cpu",), "jax-cpu": ("jax",), "sklearn": ("scikit-learn",)}
BACKENDS = [
    "keops",
    "faiss-flat",
    "faiss-ivfflat-fast",
    "faiss-ivfflat-slow",
    "torch-page-all",
    "torch-page",
    "jax-page",
    "faiss-hnsw-m4",
    "faiss-hnsw-m36",
    "sklearn-ball-tree",
    "sklearn-kd-tree",
]
OVERLAY = {
    "suite": "vs-seed",
    "suites": {"vs-seed": {"datasets": ["rd-a"], "backends": BACKENDS, "n_neighbors": [1, 10, 50, 100], "controls": False}},
    "timing": {"pass_s": float("inf"), "max_fit_s": 60, "max_query_s": 10},
}
SCRIPT = """
import functools, pathlib, sys, types
import faiss, matplotlib, numpy
matplotlib.use("Agg")
numpy.in1d = getattr(numpy, "in1d", numpy.isin)  # which NumPy 2.4 took away
faiss.StandardGpuResources = faiss.GpuClonerOptions = types.SimpleNamespace
faiss.index_cpu_to_gpu = lambda resources, device, index, options: index
faiss.IndexFlatL2.nprobe = 0  # which the script sets of it, and which FAISS refuses by now
text = pathlib.Path("benchmark_KNN.py").read_text()
first = text.index("run_KNN_benchmark(", text.index("def run_KNN_benchmark") + 30)
exec(compile(text[: text.index("run_KNN_benchmark(", first + 1)], "benchmark_KNN.py", "exec"))
"""


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed-dir", type=Path, required=True)
    seed = parser.parse_args().seed_dir
    with tempfile.TemporaryDirectory() as folder:
        python = Path(folder, "script/bin/python")
        environment_of(LIBRARIES, PACKAGES, python)
        os.environ["KEOPS_CACHE_FOLDER"] = str(Path(folder, "keops"))  # both compile
        begun = time.monotonic()
        done = subprocess.run(
            [python, "-c", SCRIPT],
            cwd=seed,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=os.environ | {"PYTHONPATH": str(seed)},
        )
        script_s = time.monotonic() - begun
        if done.returncode:
            sys.exit(f"The page's script failed:\n{done.stdout[-3000:]}")
        project = copy_of_project(folder)
        (project / "vs_seed.yaml").write_text(yaml.safe_dump(OVERLAY))
        seconds, cells, gap = run_suite(project, "--configfile", "vs_seed.yaml")
    ours_s = seconds["all"] + seconds["datasets"]
    print(f"The first figure of the KeOps page: {made_by('vs_seed.py')}")
    print(f"Its script took {script_s:.0f} s and gave {done.stdout.count('recall =')} of {4 * len(BACKENDS)} times.")
    print(f"The workflow took {ours_s:.0f} s with the dataset, {ours_s / script_s:.2f} of that. Environments were there.\n")
    print("\n".join(tables(seconds, cells, gap)))


if __name__ == "__main__":
    main()
