"""Measure the cells, one job each, one at a time on a machine, in shuffled order.

Needs  a dataset, an environment
Makes  results/indexes/{dataset}/{backend}-{device}/round{round}/, built for all K, of backends that save their index
       results/cells/{dataset}/{backend}-{device}/k{k}.round{round}.json, whatever happens to the worker
       results/ceilings/{device}.json, what the machine reaches at most
`--cores` does not bound the threads of a cell: timing.threads does, and the record says how many were used.
"""


rule build_index:
    input:
        data=f"{RESOURCES}/datasets/{{dataset}}.hdf5",
        first=first_index,
        environment=lambda wildcards: environment(cell_environment(wildcards)),
        spec=lambda wildcards: ROOT / f"envs/{cell_environment(wildcards)}.yaml",
        code=cell_code,
    output:
        directory("results/indexes/{dataset}/{backend}-{device}/round{round}"),
    log:
        "logs/build_index/{dataset}/{backend}-{device}/round{round}.log",
    priority: lambda wildcards: turn(SEED, *wildcards) - int(wildcards.round)
    group:
        GROUP
    conda:
        lambda wildcards: f"../envs/{cell_environment(wildcards)}.yaml"
    threads: config["timing"]["threads"] or machine.available_cpus()
    resources:
        **FOR_CELL,
        machine=100,
        gpu=lambda wildcards: int(wildcards.device == "gpu"),
    params:
        python=lambda wildcards: python(cell_environment(wildcards)),
        flags=index_flags,
        first=lambda wildcards, input: (
            ["--first", input.first, "--rebuild-s", config["timing"]["rebuild_s"]]
            if input.first
            else []
        ),
    message:
        "{wildcards.dataset}: {wildcards.backend} on {wildcards.device}, build the index"
    shell:
        "exec {params.python} {input.code[0]:q} --data {input.data:q} --device {wildcards.device}"
        " --spec {input.spec:q} {params.flags:q} {params.first:q} --build {wildcards.round} --index {output:q}"
        " --job {resources.runtime} {resources.mem_mb} {resources.most_mb} > {log:q} 2>&1"


rule measure_cell:
    input:
        data=f"{RESOURCES}/datasets/{{dataset}}.hdf5",
        index=index,
        first_round=first_round,
        environment=lambda wildcards: environment(cell_environment(wildcards)),
        spec=lambda wildcards: ROOT / f"envs/{cell_environment(wildcards)}.yaml",
        code=cell_code,
    output:
        "results/cells/{dataset}/{backend}-{device}/k{k}.round{round}.json",
    log:
        "logs/measure_cell/{dataset}/{backend}-{device}/k{k}.round{round}.log",
    priority: lambda wildcards: turn(SEED, *wildcards) - 1 - int(wildcards.round)
    group:
        GROUP
    conda:
        lambda wildcards: f"../envs/{cell_environment(wildcards)}.yaml"
    threads: config["timing"]["threads"] or machine.available_cpus()
    resources:
        **FOR_CELL,
        machine=100,
        gpu=lambda wildcards: int(wildcards.device == "gpu"),
    params:
        python=lambda wildcards: python(cell_environment(wildcards)),
        flags=cell_flags,
        index=lambda wildcards, input: ["--index", input.index] if input.index else [],
        asked=lambda wildcards, input: ["--asked", input.first_round] if input.first_round else [],
    message:
        "{wildcards.dataset}: {wildcards.backend} on {wildcards.device}, K = {wildcards.k}"
    shell:
        # exec: the script is Snakemake's child and dies with it, even by kill -9.
        "exec {params.python} {input.code[0]:q} --data {input.data:q} --device {wildcards.device}"
        " --n-neighbors {wildcards.k} --spec {input.spec:q} {params.flags:q} --build {wildcards.round} {params.index:q}"
        " {params.asked:q} --out {output:q}"
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
        threads=config["timing"]["threads"],
        gpu_mhz=config["timing"]["gpu_mhz"],
    message:
        "Measure what the {wildcards.device} reaches at most"
    shell:
        "exec {params.python} {input.code[0]:q} --device {wildcards.device} --threads {params.threads}"
        " --gpu-mhz {params.gpu_mhz} --out {output:q} > {log:q} 2>&1"
