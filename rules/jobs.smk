"""How jobs are run: their code, interpreters, environments and flags."""

import functools

from snakemake.io import apply_wildcards


def code(*names):
    """Source files that a result depends on: a script, and all that it imports."""
    return closure(SCRIPTS, *names)


def made_by(rule):
    """Which code and pins results are of, whatever the times of these files say: a function for the parameters.

    Of wildcards alone: what is a function of the input, Snakemake does not compare with what it was.
    """
    files = [rule.input[name] for name in ("code", "spec") if name in rule.input.keys()]

    def digest(wildcards):
        paths = []
        for found in files:
            found = found(wildcards) if callable(found) else found
            paths += [found] if isinstance(found, (str, Path)) else found
        return content(*(apply_wildcards(str(path), wildcards) for path in paths))

    return digest


def unless_kept(*paths):
    """Inputs of a rule that makes resources; where others keep them, newer inputs are no reason to make them again."""
    return [ancient(path) for path in paths] if KEPT_BY_OTHERS else list(paths)


# By variables: where Snakemake's own interpreter, a mirror or a GPU is must not be a reason to make everything again.
GPU_PYTHON = ""
if GPU and not CONDA:
    on_gpu = f"{RESOURCES}/environments/{for_driver('torch', CUDA, SPECS)}/bin/python"
    GPU_PYTHON = sys.executable if config["deployment"] == "none" else on_gpu
os.environ.update(
    KNNBENCH_PYTHON=sys.executable,
    KNNBENCH_VARIABLES=json.dumps(VARIABLES),
    KNNBENCH_MIRROR=config["mirror"],
    KNNBENCH_GPU=str(int(GPU)),
    KNNBENCH_CUDA=str(CUDA),
    KNNBENCH_GPU_PYTHON=GPU_PYTHON,
)
if workflow.is_main_process:
    os.environ["KNNBENCH_RUN"] = uuid.uuid4().hex


envvars:
    "KNNBENCH_PYTHON",
    "KNNBENCH_VARIABLES",
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


def cell_environment(cell):
    """Name of the environment of a cell, or of its wildcards; for a GPU the one that its driver can run."""
    env = config["backends"][cell.backend]["environments"][cell.device]
    return for_driver(env, CUDA, SPECS) if cell.device == "gpu" else env


# Which environment measures the ceilings of which device, and all that the cells and the ceilings need.
CEILINGS = {"cpu": "pipeline"}
if any(cell.device == "gpu" for cell in CELLS):
    CEILINGS["gpu"] = for_driver("torch", CUDA, SPECS)
needed = {cell_environment(cell) for cell in CELLS} | set(CEILINGS.values())
ENVIRONMENTS = sorted(path for env in needed for path in environment(env))


@functools.cache
def check_measuring():
    """When the jobs are listed: Snakemake does not know its triggers before, and what only draws asks nothing of the machine."""
    with told():
        run.check_triggers(map(str, workflow.dag_settings.rerun_triggers))
        facts = None if CLUSTER else machine.describe("cpu")
        if facts:
            check_machine(config["timing"], facts, len(os.sched_getaffinity(0)))
        if config["timing"]["rounds"] == AUTO and config["timing"]["budget_h"]:
            if workflow.is_main_process:
                plan.check_hours(expected, config["timing"]["budget_h"])


def dataset_receipt(wildcards):
    """The receipt of a dataset's download; the user's own files are known by their content instead: made_from."""
    check_measuring()
    return [] if KEPT_BY_OTHERS else resources.receipts(config, wildcards.dataset)


SEED = config["timing"]["seed"]


def cell_code(wildcards):
    check_measuring()
    backend = config["backends"][wildcards.backend]
    return code("measure_cell.py", f"knnbench/backends/{backend['module']}.py")


def index_of(wildcards, number):
    return (
        f"results/indexes/{wildcards.dataset}/{wildcards.backend}-{wildcards.device}/round{number}"
    )


def index(wildcards):
    """Where a cell finds its round's index, if its backend saves one."""
    saves = config["backends"][wildcards.backend]["saves"]
    return index_of(wildcards, wildcards.round) if saves else []


def first_index(wildcards):
    """What a later round takes in place of an index of its own, if it took too long to build: that of the first round."""
    return index_of(wildcards, 0) if wildcards.round != "0" else []


def first_round(wildcards):
    """The record that tells a later round how many queries to ask.

    Not `ancient`: where the first round runs again, Snakemake looks for no reason of its own to run what waits for it, and later
    rounds would stay as they were after a change of the settings.
    """
    cell = (
        f"results/cells/{wildcards.dataset}/{wildcards.backend}-{wildcards.device}/k{wildcards.k}"
    )
    return f"{cell}.round0.json" if wildcards.round != "0" else []


def index_flags(wildcards, parameters=None):
    """What changes a fit, as flags of the script; with `parameters` in place of the entry's, if given.

    Snakemake hands a function with `**` all that it knows of the job, its number of threads above all.
    """
    env = cell_environment(wildcards)
    prefix = f"{RESOURCES}/environments/{env}" if environment(env) else None
    # The pipeline's, which only controls run in, is the one that is here.
    unpinned = (config["deployment"] == "none" or env == "pipeline") and not CONDA
    backend = config["backends"][wildcards.backend]
    if parameters is not None:
        backend = backend | {"parameters": parameters}
    return fit_flags(backend, config["timing"], prefix, unpinned)


def cell_flags(wildcards):
    """What changes a cell's numbers: its fit, and how its queries are timed."""
    backend = config["backends"][wildcards.backend]
    asked = backend.get("search", ()), backend.get("callers", ())
    return index_flags(wildcards) + query_flags(config["timing"], *asked)


def chosen(number):
    """Of `rounds: auto` the file that says which cells a round has, from the second on; asked for, it is made before all else."""
    return checkpoints.choose_round.get(suite=SUITE, number=number).output[0]


def chosen_before(number):
    """These files of the rounds before one."""
    return [chosen(each) for each in range(1, number)]


def records_before(number):
    """The records of the rounds before one, of `rounds: auto`."""
    found = [cell.record(0) for cell in CELLS]
    for each, path in enumerate(chosen_before(number), start=1):
        with told():
            found += [cell.record(each) for cell in cells_of_round(Path(path))]
    return [f"results/cells/{name}" for name in found]


def last_round():
    """Of `rounds: auto` the number of the first round that has no cells, or of the one after the last that may be."""
    for number in rounds_at_most(config["timing"])[1:]:
        with told():
            if not cells_of_round(Path(chosen(number))):
                return number
    return config["timing"]["max_rounds"]


def all_records():
    """The records that the tables of the suite are made from."""
    if config["timing"]["rounds"] == AUTO:
        return records_before(last_round())
    return [f"results/cells/{cell.record(number)}" for cell in CELLS for number in ROUNDS]
