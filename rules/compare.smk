"""Compare results with others: snakemake compare --config baseline=published/cpu-2core

`remeasure` is the same after everything else of the suite was made.

Needs  the tables of results/{suite}, and those of the baseline: results/SUITE, one of published/, an artifact.zip
Makes  results/{suite}/compare/: cells.csv, orderings.csv, summary.txt, ratios.{png,svg,pdf}
`snakemake compare` prints the summary; with fail_on, verdicts that are named there make the exit status 1.
"""


rule compare_results:
    input:
        candidate,
        code=code("compare.py"),
    output:
        cells="results/{suite}/compare/cells.csv",
        orderings="results/{suite}/compare/orderings.csv",
        summary="results/{suite}/compare/summary.txt",
        failures="results/{suite}/compare/failures.txt",
        figures=report(
            [
                f"results/{{suite}}/compare/ratios.{suffix}"
                for suffix in config["figures"]["formats"]
            ],
            caption="captions/compare.rst",
            category="Compared",
        ),
    log:
        "logs/compare/{suite}.log",
    params:
        # No inputs, or those of this folder would first be brought up to date.
        baseline=baseline,
        folder=lambda wildcards: config["candidate"] or f"results/{SUITE}",
        limits=[config["within"], config["recall_within"], config["figures"]["dpi"]],
        written=lambda wildcards: written(
            *(
                path if path.endswith(".zip") else f"{path}/timings.csv"
                for path in (baseline(wildcards), config["candidate"])
                if path
            )
        ),
        fail_on=config["fail_on"],
    message:
        "Compare {params.folder} with {params.baseline}"
    shell:
        "{params.python} {input.code[0]:q} --baseline {params.baseline:q} --folder {params.folder:q}"
        " --within {params.limits[0]} --recall-within {params.limits[1]} --dpi {params.limits[2]}"
        " --cells {output.cells:q} --orderings {output.orderings:q} --summary {output.summary:q}"
        " --failures {output.failures:q} --figures {output.figures:q} --fail-on {params.fail_on:q} > {log:q} 2>&1"


rule compare:
    input:
        f"results/{SUITE}/compare/summary.txt",
    log:
        "logs/compare.log",
    localrule: True
    message:
        "What reproduced"
    shell:
        "cat {input:q} | tee {log:q}"


rule remeasure:
    input:
        results=RESULTS,
        summary=f"results/{SUITE}/compare/summary.txt",
    log:
        "logs/remeasure.log",
    localrule: True
    message:
        "What reproduced"
    shell:
        "cat {input.summary:q} | tee {log:q}"
