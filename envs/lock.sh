#!/usr/bin/env bash
# Pins everything that knnbench installs: envs/*.yaml, requirements.txt and requirements-dev.txt.
# Run it to update versions (needs uv), then run the tests: editing a pin times that environment's cells again. With names of
# environments, only these are made anew.
# What each environment asks for stands here; the files hold the complete list that follows from it.
set -euo pipefail
cd "$(dirname "$0")/.."
compile() { uv pip compile --quiet --no-header --python-version 3.11 --fork-strategy fewest "$@"; }

only=" $* "

environment() { # NAME REQUIREMENT...: a conda environment file whose pip list is complete
    local name=$1
    shift
    if [[ $only != "  " && $only != *" $name "* ]]; then return; fi
    {
        echo "# Made by envs/lock.sh from: $*"
        printf '%s\n' "channels:" "  - conda-forge" "  - nodefaults" "dependencies:" \
            "  - python >=3.11,<3.15" "  - pip" "  - pip:"
        printf '%s\n' "$@" | compile --python-platform x86_64-manylinux_2_28 --no-annotate --generate-hashes - |
            sed -E 's/ \\$//; s/^([^ ])/      - \1/; s/^    (--hash)/        \1/' # a pin and its hashes are one entry of the list
    } >"envs/$name.yaml"
}

if [[ $only == "  " ]]; then
    compile --universal --generate-hashes -o requirements.txt requirements.in
    compile --universal --generate-hashes -c requirements.txt -o requirements-dev.txt requirements-dev.in
fi

environment pipeline "-r requirements.in" "-c requirements.txt" # --sdm conda: the rules that are not cells
environment torch torch==2.13.0 numpy h5py nvidia-ml-py # 2.13 also comes as a CPU build
environment torch-cuda12 torch==2.10.0 numpy h5py nvidia-ml-py # the last PyTorch on PyPI with CUDA 12
environment keops pykeops torch==2.13.0 'cuda-toolkit[cccl,crt]' numpy h5py nvidia-ml-py # headers, of PyTorch's CUDA
environment keops-cuda12 pykeops torch==2.10.0 nvidia-cuda-nvcc-cu12==12.8.* nvidia-cuda-cccl-cu12==12.8.* numpy h5py nvidia-ml-py
environment sklearn scikit-learn numpy h5py
environment usearch usearch numpy h5py
environment pykdtree pykdtree numpy h5py
environment pynear pynear numpy h5py
environment hnswlib hnswlib numpy h5py # no wheel: compiled where it is installed
environment nmslib nmslib numpy h5py
environment voyager voyager numpy h5py
environment annoy annoy numpy h5py # no wheel
environment sklearnex scikit-learn-intelex scikit-learn numpy h5py
environment pynndescent pynndescent numpy h5py
environment scann scann numpy h5py
environment svs scalable-vs numpy h5py
environment ngt ngt numpy h5py
environment rabitqlib rabitqlib numpy h5py
environment jax-cpu jax numpy h5py
environment jax-gpu 'jax[cuda13]' numpy h5py nvidia-ml-py
environment jax-gpu-cuda12 'jax[cuda12]' numpy h5py nvidia-ml-py
environment faiss-cpu faiss-cpu numpy h5py
environment cuvs cuvs-cu13 torch==2.13.0 numpy h5py nvidia-ml-py
environment cuvs-cuda12 cuvs-cu12 torch==2.10.0 numpy h5py nvidia-ml-py
environment flashlib 'flashlib[cutedsl]' torch==2.13.0 numpy h5py nvidia-ml-py
environment flashlib-cuda12 'flashlib[cutedsl]' torch==2.10.0 numpy h5py nvidia-ml-py
environment faiss-gpu faiss-gpu torch==2.10.0 numpy h5py nvidia-ml-py # CUDA 12, which newer drivers run too; torch: tensors
