"""Exchange results with other benchmarks: snakemake export; snakemake import --config foreign=/path/to/ann-benchmarks/results

Needs  a suite's results with the ids that its cells returned; others' results
Makes  results/{suite}/ann-benchmarks/: results/ and data/ as ann-benchmarks has them, for its plot.py --batch
       results/imported/: others' results as tables of ours, for `merge`, `report` and `compare`
"""

THEIR_NAMES = their_names()


rule export_results:
    input:
        config="results/{suite}/config.yaml",
        timings="results/{suite}/timings.csv",
        datasets=list(DATASETS.values()),
        code=code("export_results.py"),
    output:
        directory("results/{suite}/ann-benchmarks"),
    log:
        "logs/export_results/{suite}.log",
    params:
        datasets=lambda wildcards, input: Path(input.datasets[0]).parent,
        names=lambda wildcards: json.dumps(THEIR_NAMES),
    message:
        "Write suite {wildcards.suite} as ann-benchmarks would"
    shell:
        "{params.python} {input.code[0]:q} --config {input.config:q} --timings {input.timings:q}"
        " --cells results/cells --datasets {params.datasets:q} --names {params.names:q} --out {output:q} > {log:q} 2>&1"


rule export:
    input:
        f"results/{SUITE}/ann-benchmarks",
    localrule: True


rule import_results:
    input:
        schema=ROOT / "rules/schemas/timings.schema.yaml",
        code=code("import_results.py"),
    output:
        [f"results/imported/{name}" for name in (*TABLES, "summary.txt")],
    log:
        "logs/import_results.log",
    localrule: True
    params:
        foreign=foreign,
        written=lambda wildcards: written(foreign(wildcards)),
        names=lambda wildcards: json.dumps({theirs: ours for ours, theirs in THEIR_NAMES.items()}),
        config=lambda wildcards: json.dumps(
            {key: config[key] for key in ("datasets", "timing", "figures")}
        ),
        datasets=f"{RESOURCES}/datasets",
        folder=subpath(output[0], parent=True),
    message:
        "Import {params.foreign}"
    shell:
        "{params.python} {input.code[0]:q} --foreign {params.foreign:q} --names {params.names:q}"
        " --config {params.config:q} --datasets {params.datasets:q} --schema {input.schema:q}"
        " --out {params.folder:q} > {log:q} 2>&1"


rule import:
    input:
        "results/imported/summary.txt",
    localrule: True
