"""Measure the cells, one job each, one at a time on a machine.

Needs  a dataset, an environment
Makes  results/cells/{dataset}/{backend}-{device}/k{k}.round{round}.json, whatever happens to the worker
`--cores` does not bound the threads of a cell: timing.threads does, and the record says how many were used.
"""


rule measure_cell:
    input:
        data="resources/datasets/{dataset}.hdf5",
        environment=lambda wildcards: environment(cell_environment(wildcards)),
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
