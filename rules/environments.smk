"""Make the backends' environments from their pins with uv.

Needs  envs/{env}.yaml, the one source of truth, which conda reads too
Makes  resources/environments/{env}/, with freeze.txt as its marker and provenance
Only what the chosen cells use is made. UV_* variables of the caller (index, cache, UV_TORCH_BACKEND) are respected.
"""

# By variables: where Snakemake's own interpreter, a mirror or a GPU is must not be a reason to make everything again.
GPU_PYTHON = ""
if GPU and not CONDA:
    on_gpu = f"{RESOURCES}/environments/{for_driver('torch', CUDA, SPECS)}/bin/python"
    GPU_PYTHON = sys.executable if config["deployment"] == "none" else on_gpu
os.environ.update(
    KNNBENCH_PYTHON=sys.executable,
    KNNBENCH_MIRROR=config["mirror"],
    KNNBENCH_GPU=str(int(GPU)),
    KNNBENCH_CUDA=str(CUDA),
    KNNBENCH_GPU_PYTHON=GPU_PYTHON,
)
if workflow.is_main_process:
    os.environ["KNNBENCH_RUN"] = uuid.uuid4().hex


envvars:
    "KNNBENCH_PYTHON",
    "KNNBENCH_MIRROR",
    "KNNBENCH_GPU",
    "KNNBENCH_CUDA",
    "KNNBENCH_GPU_PYTHON",
    "KNNBENCH_RUN",


def python(env):
    """The interpreter of an environment, for the shell."""
    if CONDA:  # whose Python would also import what the user has in ~/.local
        return "env PYTHONNOUSERSITE=1 python"
    if env == "pipeline" or config["deployment"] == "none":
        return '"$KNNBENCH_PYTHON"'
    return shlex.quote(f"{RESOURCES}/environments/{env}/bin/python")


def environment(env):
    """What a job waits for to have an environment: nothing, if conda or the user provides it."""
    if CONDA or config["deployment"] == "none" or env == "pipeline":
        return []
    return [f"{RESOURCES}/environments/{env}/freeze.txt"]


def cell_environment(backend, device):
    """Name of the environment of a cell; for a GPU the one that its driver can run."""
    env = config["backends"][backend]["environments"][device]
    return for_driver(env, CUDA, SPECS) if device == "gpu" else env


# Which environment measures the ceilings of which device, and all that the cells and the ceilings need.
CEILINGS = {"cpu": "pipeline"}
if any(cell.device == "gpu" for cell in CELLS):
    CEILINGS["gpu"] = for_driver("torch", CUDA, SPECS)
needed = {cell_environment(cell.backend, cell.device) for cell in CELLS} | set(CEILINGS.values())
ENVIRONMENTS = sorted(path for env in needed for path in environment(env))


rule make_environment:
    input:
        spec=unless_kept(ROOT / "envs/{env}.yaml"),
        code=unless_kept(*code("make_environment.py")),
    output:
        f"{RESOURCES}/environments/{{env}}/freeze.txt",
    log:
        "logs/make_environment/{env}.log",
    priority: 1  # before datasets, whose exact neighbours a GPU finds if its PyTorch is there
    localrule: LOCAL
    conda:
        "../envs/pipeline.yaml"
    resources:
        machine=1,
    params:
        python=python("pipeline"),
        prefix=subpath(output[0], parent=True),
        made_by=made_by,
    message:
        "Make environment {wildcards.env}"
    shell:
        "{params.python} {input.code[0]:q} --spec {input.spec:q} --prefix {params.prefix:q} > {log:q} 2>&1"
