"""Pack a suite's results with everything that somebody else needs to check them: snakemake artifact

Needs  results/{suite}/, the records, the logs of what failed; with artifact_data also the files of the datasets
Makes  results/{suite}/artifact.zip, a Workflow Run RO-Crate; the same results give the same bytes
`snakemake rerender --config baseline=published/NAME` makes everything that can be made of those tables again, and compares the bytes.
"""


rule make_artifact:
    input:
        results=RESULTS,
        code=code("make_artifact.py"),
    output:
        "results/{suite}/artifact.zip",
    log:
        "logs/make_artifact/{suite}.log",
    params:
        said=lambda wildcards: json.dumps(
            {
                "claims": config["claims"],
                "claimed": claimed(config),
                "artifact": config["artifact"],
            }
        ),
        receipts=[path for name in DATASETS for path in resources.receipts(config, name)],
        data=["--data"] * config["artifact_data"],
    message:
        "Pack suite {wildcards.suite}"
    shell:
        # By a pipe: the kernel takes no argument of more than 128 KiB.
        "printf %s {params.said:q} | {params.python} {input.code[0]:q} --results {input.results:q}"
        " --cells results/cells --logs logs --receipts {params.receipts:q} {params.data:q} --out {output:q} > {log:q} 2>&1"


rule artifact:
    input:
        f"results/{SUITE}/artifact.zip",
    localrule: True


rule copy_tables:
    input:
        code=code("rerender.py"),
    output:
        [f"results/rerendered/{name}" for name in TABLES],
    log:
        "logs/copy_tables.log",
    localrule: True
    params:
        baseline=baseline,
        written=lambda wildcards: written(*Path(baseline(wildcards)).glob("*.csv")),
    message:
        "Take the tables of {params.baseline}"
    shell:
        "{params.python} {input.code[0]:q} copy --baseline {params.baseline:q} --out {output:q} > {log:q} 2>&1"


rule rerender:
    input:
        # What the baseline has of what is made of tables.
        made=lambda wildcards: [
            f"results/rerendered/{path.relative_to(config['baseline'])}"
            for pattern in (
                "figures/*.*",
                "tables",
                "report.html",
                "c*s.csv",
                "scaling.csv",
                "threads.csv",
            )
            for path in sorted(Path(baseline(wildcards)).glob(pattern))
            if path.name not in TABLES
        ],
    log:
        "logs/rerender.log",
    localrule: True
    params:
        script=SCRIPTS / "rerender.py",
        baseline=baseline,
    message:
        "Compare what was made again with {params.baseline}"
    shell:
        "{params.python} {params.script:q} check --baseline {params.baseline:q} --out {input.made:q} | tee {log:q}"
