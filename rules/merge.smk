"""Merge results of several machines: snakemake merge --config sources='[results/quick, /elsewhere/results/quick]'

Needs  the tables of the sources, as a run or published/ has them
Makes  results/merged/: the same tables with the column origin, and for every dataset a figure with a part for each machine
"""


rule merge_tables:
    input:
        code=code("merge.py"),
    output:
        expand(
            "results/merged/{name}",
            name=(
                "config.yaml",
                "timings.csv",
                "controls.csv",
                "samples.csv",
                "batches.csv",
                "callers.csv",
                "comparisons.csv",
                "datasets.csv",
                "summary.txt",
            ),
        ),
    log:
        "logs/merge_tables.log",
    params:
        # No inputs, or those of this folder would first be brought up to date.
        sources=sources,
        written=lambda wildcards: written(
            *(f"{source}/timings.csv" for source in sources(wildcards))
        ),
        figures=lambda wildcards: json.dumps(config["figures"]),
        folder=subpath(output[0], parent=True),
    message:
        "Merge {params.sources}"
    shell:
        "{params.python} {input.code[0]:q} --sources {params.sources:q} --figures {params.figures:q}"
        " --out {params.folder:q} > {log:q} 2>&1"


rule merge:
    input:
        multiext("results/merged/", "timings.csv", "report.html", "tables"),
        expand(
            "results/merged/figures/{dataset}{chart}.{suffix}",
            dataset=MERGED,
            chart=["", *(f".{chart}" for chart in CHARTS)],
            suffix=config["figures"]["formats"],
        ),
    localrule: True
