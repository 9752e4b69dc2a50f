"""Measure the cells, one job each, one at a time on a machine.

Needs  a dataset, an environment
Makes  results/cells/{dataset}/{backend}-{device}/k{k}.round{round}.json, whatever happens to the worker
`--cores` does not bound the threads of a cell: timing.threads does, and the record says how many were used.
"""

# What a worker imports besides its backend: an edit can change the numbers.
HARNESS = ["measure_cell.py"] + [
    f"knnbench/{name}.py"
    for name in (
        "isolation",
        "record",
        "machine",
        "cell",
        "clock",
        "recall",
        "datasets",
        "metrics",
        "environment",
        "backends/base",
    )
]


def cell_environment(wildcards):
    """Name of the environment of a cell; the pipeline's own where there is no GPU and the cell can only say so."""
    if wildcards.device == "gpu" and not GPU:
        return "pipeline"
    return config["backends"][wildcards.backend]["environments"][wildcards.device]


def cell_marker(wildcards):
    env = cell_environment(wildcards)
    return [] if env == "pipeline" else environment(env)


def cell_code(wildcards):
    backend = config["backends"][wildcards.backend]
    return code(*HARNESS, f"knnbench/backends/{backend['module']}.py")


def cell_flags(wildcards):
    """What changes a cell's numbers, as flags of the script: a change of a value measures again."""
    backend = config["backends"][wildcards.backend]
    timing = {
        key: value
        for key, value in config["timing"].items()
        if key not in ("rounds", "threads", "memory_gb")
    }
    env = cell_environment(wildcards)
    flags = {
        "--module": backend["module"],
        "--parameters": json.dumps(backend["parameters"], sort_keys=True),
        "--timing": json.dumps(timing, sort_keys=True),
        "--threads": config["timing"]["threads"],
        "--memory-gb": config["timing"]["memory_gb"],
    }
    if cell_marker(wildcards):
        flags["--prefix"] = f"resources/environments/{env}"
    return [str(word) for flag in flags.items() for word in flag]


rule measure_cell:
    input:
        data="resources/datasets/{dataset}.hdf5",
        environment=cell_marker,
        spec=lambda wildcards: ROOT / f"envs/{cell_environment(wildcards)}.yaml",
        code=cell_code,
    output:
        "results/cells/{dataset}/{backend}-{device}/k{k}.round{round}.json",
    log:
        "logs/measure_cell/{dataset}/{backend}-{device}/k{k}.round{round}.log",
    conda:
        lambda wildcards: f"../envs/{cell_environment(wildcards)}.yaml"
    threads: config["timing"]["threads"] or machine.available_cpus()
    resources:
        machine=100,
        gpu=lambda wildcards: int(wildcards.device == "gpu" and GPU),
    params:
        python=lambda wildcards: python(cell_environment(wildcards)),
        flags=cell_flags,
    message:
        "{wildcards.dataset}: {wildcards.backend} on {wildcards.device}, K = {wildcards.k}"
    shell:
        # exec: the script is Snakemake's child and dies with it, even by kill -9.
        "exec {params.python} {input.code[0]:q} --data {input.data:q} --device {wildcards.device}"
        " --n-neighbors {wildcards.k} --spec {input.spec:q} {params.flags:q} --out {output:q} > {log:q} 2>&1"
