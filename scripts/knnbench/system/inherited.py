"""What a job inherits of the user's variables: what is listed here, and nothing else. Standard library only.

Variables of other tools bind threads, choose devices, replace modules and move caches without a word. A list of what is kept
can be complete; a list of what does harm never is.
"""

import fnmatch

# Name or pattern -> why it is kept.
INHERITED = {
    "PATH": "programs: bash, g++, git, scontrol",
    "HOME": "caches of uv and Snakemake",
    "USER": "whom a queue and Snakemake work for",
    "LOGNAME": "the same",
    "TMPDIR": "where there is room",
    "TZ": "times in logs",
    "TERM": "colours of Snakemake",
    "XDG_*": "caches of uv and Snakemake where HOME may not be written",
    "LD_LIBRARY_PATH": "libraries that a Python or a driver of an environment module needs",
    "CXX": "the compiler that KeOps calls",
    "CXXFLAGS": "what KeOps gives it besides its own flags",
    "CUDA_PATH": "the CUDA toolkit, whose headers KeOps reads where PyTorch came without them",
    "CUDA_HOME": "the same",
    "CUDA_VISIBLE_DEVICES": "which GPUs a queue gave us",
    "NVIDIA_*": "which GPUs a container gave us",
    "HDF5_USE_FILE_LOCKING": "file systems without locks",
    "UV_*": "package indexes, caches and builds, by uv",
    "PIP_*INDEX_URL": "package indexes, by conda's pip",
    "PIP_FIND_LINKS": "the same",
    "PIP_TRUSTED_HOST": "the same",
    "PIP_CERT": "the same",
    "PIP_C[AO]*": "its cache and configuration file",
    "CONDA_*": "conda, and what it has activated",
    "MAMBA_*": "the same",
    "_C[EO]*": "_CE_CONDA and _CONDA_*, of an activated conda",
    "PYENV_*": "which Python uv finds",
    "SSL_CERT_*": "certificates of a proxy that looks into connections",
    "REQUESTS_CA_BUNDLE": "the same",
    "CURL_CA_BUNDLE": "the same",
    "*_[pP][rR][oO][xX][yY]": "the network",
    "SNAKEMAKE_*": "caches and profiles of Snakemake",
    "KNNBENCH_*": "what the workflow tells its jobs",
    "SLURM*": "SLURM",
    "SBATCH_*": "the same",
    "SRUN_*": "the same",
    "LS[BF]_*": "LSF",
    "PBS_*": "PBS",
    "SGE_*": "Grid Engine",
    "KUBE*": "Kubernetes",
    "AWS_*": "AWS Batch and S3",
    "GOOGLE_*": "Google's batch and storage",
    "AZURE_*": "Azure's batch and storage",
}
# Of these, what may change numbers: a record says what it was.
RECORDED = ("LD_LIBRARY_PATH", "CXX", "CXXFLAGS", "CUDA_PATH", "CUDA_HOME", "CUDA_VISIBLE_DEVICES")
# Text is UTF-8, messages are English; every C library has the locale C.
OURS = {"LC_ALL": "C", "PYTHONUTF8": "1"}


def inherited(variables):
    """The variables of a job.

    Parameters
    ----------
    variables : mapping, name -> value, such as os.environ

    Returns
    -------
    kept : dict, those of `variables` that `INHERITED` lists, and `OURS`
    """
    kept = {name: value for name, value in variables.items() if any(fnmatch.fnmatchcase(name, each) for each in INHERITED)}
    return kept | OURS


def recorded(variables):
    """What of the variables of a job may change its numbers: a dict of those that are set."""
    return {name: variables[name] for name in RECORDED if variables.get(name)}
