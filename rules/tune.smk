"""Find the fastest setting of a backend that has a recall: snakemake tune

Needs  a dataset, an environment
Makes  results/tune/{dataset}/{backend}-{device}/k{k}-{digest}/, whose steps are kept and not measured again, with
       settings.csv, all that was tried, and recall{recall}.yaml, an overlay with what was found; a table on the terminal
The digest is of all that the numbers depend on.
"""


rule tune:
    input:
        data=lambda wildcards: f"{RESOURCES}/datasets/{tuned().dataset}.hdf5",
        environment=lambda wildcards: environment(cell_environment(tuned())),
    log:
        "logs/tune.log",
    conda:
        lambda wildcards: f"../envs/{cell_environment(tuned())}.yaml"
    threads: config["timing"]["threads"] or machine.available_cpus()
    resources:
        **queue(
            lambda wildcards: math.ceil(60 * (config["hours"] + 1)),
            lambda wildcards, attempt: MOST_MB,
            lambda wildcards: tuned().device,
        ),
        machine=100,
        gpu=lambda wildcards: int(tuned().device == "gpu"),
    params:
        python=python("pipeline"),
        script=SCRIPTS / "tune.py",
        name=lambda wildcards: config["backend"],
        entry=lambda wildcards: json.dumps(entries_of(config["backends"])[config["backend"]]),
        timing=lambda wildcards: json.dumps({key: config["timing"][key] for key in QUERY_TIMING}),
        k=lambda wildcards: tuned().k,
        recall=lambda wildcards: config["recall"],
        hours=lambda wildcards: config["hours"],
        made_of=tuned_of,
        out=lambda wildcards: f"results/tune/{tuned().dataset}/{config['backend']}-{tuned().device}",
        command=tuned_words,
    message:
        "Tune {params.name} for a recall of {params.recall}, {params.hours} h"
    shell:
        '"$KNNBENCH_PYTHON" {params.script:q} --name {params.name:q} --entry {params.entry:q} --timing {params.timing:q}'
        " --data {input.data:q} --n-neighbors {params.k} --recall {params.recall} --hours {params.hours}"
        " --made-of {params.made_of:q} --out {params.out:q} -- {params.command}"
        " 2>&1 | tee {log:q}"
