"""Measure the cells, one job each, one at a time on a machine, in shuffled order.

Needs  a dataset, an environment
Makes  results/indexes/{dataset}/{backend}-{device}/, built once for all K, of backends that save their index
       results/cells/{dataset}/{backend}-{device}/k{k}.round{round}.json, whatever happens to the worker
       results/ceilings/{device}.json, what the machine reaches at most
`--cores` does not bound the threads of a cell: timing.threads does, and the record says how many were used.
"""

SEED = config["timing"]["seed"]


def cell_env(wildcards):
    return cell_environment(wildcards.backend, wildcards.device)


def cell_code(wildcards):
    check_triggers()
    backend = config["backends"][wildcards.backend]
    return code("measure_cell.py", f"knnbench/backends/{backend['module']}.py")


def index(wildcards):
    """Where a cell finds its index, if its backend saves one."""
    saves = config["backends"][wildcards.backend]["saves"]
    place = f"results/indexes/{wildcards.dataset}/{wildcards.backend}-{wildcards.device}"
    return place if saves else []


def index_flags(wildcards):
    """What changes a fit, as flags of the script."""
    env = cell_env(wildcards)
    prefix = f"{RESOURCES}/environments/{env}" if environment(env) else None
    unpinned = config["deployment"] == "none" and not CONDA
    return fit_flags(config["backends"][wildcards.backend], config["timing"], prefix, unpinned)


def cell_flags(wildcards):
    """What changes a cell's numbers: its fit, and how its queries are timed."""
    return index_flags(wildcards) + query_flags(config["timing"])


rule build_index:
    input:
        data=f"{RESOURCES}/datasets/{{dataset}}.hdf5",
        environment=lambda wildcards: environment(cell_env(wildcards)),
        spec=lambda wildcards: ROOT / f"envs/{cell_env(wildcards)}.yaml",
        code=cell_code,
    output:
        directory("results/indexes/{dataset}/{backend}-{device}"),
    log:
        "logs/build_index/{dataset}/{backend}-{device}.log",
    priority: lambda wildcards: turn(SEED, *wildcards)
    group:
        GROUP
    conda:
        lambda wildcards: f"../envs/{cell_env(wildcards)}.yaml"
    threads: config["timing"]["threads"] or machine.available_cpus()
    resources:
        **FOR_CELL,
        machine=100,
        gpu=lambda wildcards: int(wildcards.device == "gpu"),
    params:
        python=lambda wildcards: python(cell_env(wildcards)),
        made_by=made_by,
        flags=index_flags,
    message:
        "{wildcards.dataset}: {wildcards.backend} on {wildcards.device}, build the index"
    shell:
        "exec {params.python} {input.code[0]:q} --data {input.data:q} --device {wildcards.device}"
        " --spec {input.spec:q} {params.flags:q} --index {output:q}"
        " --job {resources.runtime} {resources.mem_mb} {resources.most_mb} > {log:q} 2>&1"


rule measure_cell:
    input:
        data=f"{RESOURCES}/datasets/{{dataset}}.hdf5",
        index=index,
        environment=lambda wildcards: environment(cell_env(wildcards)),
        spec=lambda wildcards: ROOT / f"envs/{cell_env(wildcards)}.yaml",
        code=cell_code,
    output:
        "results/cells/{dataset}/{backend}-{device}/k{k}.round{round}.json",
    log:
        "logs/measure_cell/{dataset}/{backend}-{device}/k{k}.round{round}.log",
    priority: lambda wildcards: turn(SEED, *wildcards) - 1 - int(wildcards.round)
    group:
        GROUP
    conda:
        lambda wildcards: f"../envs/{cell_env(wildcards)}.yaml"
    threads: config["timing"]["threads"] or machine.available_cpus()
    resources:
        **FOR_CELL,
        machine=100,
        gpu=lambda wildcards: int(wildcards.device == "gpu"),
    params:
        python=lambda wildcards: python(cell_env(wildcards)),
        made_by=made_by,
        flags=cell_flags,
        index=lambda wildcards, input: ["--index", input.index] if input.index else [],
    message:
        "{wildcards.dataset}: {wildcards.backend} on {wildcards.device}, K = {wildcards.k}"
    shell:
        # exec: the script is Snakemake's child and dies with it, even by kill -9.
        "exec {params.python} {input.code[0]:q} --data {input.data:q} --device {wildcards.device}"
        " --n-neighbors {wildcards.k} --spec {input.spec:q} {params.flags:q} {params.index:q} --out {output:q}"
        " --job {resources.runtime} {resources.mem_mb} {resources.most_mb} > {log:q} 2>&1"


rule measure_ceilings:
    input:
        environment=lambda wildcards: environment(CEILINGS[wildcards.device]),
        code=code("measure_ceilings.py"),
    output:
        "results/ceilings/{device}.json",
    log:
        "logs/measure_ceilings/{device}.log",
    priority: -1
    conda:
        lambda wildcards: f"../envs/{CEILINGS[wildcards.device]}.yaml"
    threads: config["timing"]["threads"] or machine.available_cpus()
    resources:
        **FOR_CEILINGS,
        machine=100,
        gpu=lambda wildcards: int(wildcards.device == "gpu"),
    params:
        python=lambda wildcards: python(CEILINGS[wildcards.device]),
        made_by=made_by,
        threads=config["timing"]["threads"],
    message:
        "Measure what the {wildcards.device} reaches at most"
    shell:
        "exec {params.python} {input.code[0]:q} --device {wildcards.device} --threads {params.threads}"
        " --out {output:q} > {log:q} 2>&1"
