"""Gather the records of a suite.

Needs  the record of every cell and round
Makes  results/{suite}/missing.txt, as long as datasets of the suite could not be had
       results/{suite}/config.yaml, timings.csv (a row per cell and residency), controls.csv (those of controls),
       batches.csv (a row per batch size), callers.csv (a row per number of callers),
       comparisons.csv (a row per pair), samples.csv (a row per timed call), datasets.csv (a row per dataset and K),
       summary.txt, provenance.json
docs/results.md explains the columns; schemas/timings.schema.yaml is checked before anything is written.
"""


rule save_config:
    input:
        code=code("save_config.py"),
    output:
        "results/{suite}/config.yaml",
    log:
        "logs/save_config/{suite}.log",
    params:
        config=lambda wildcards: json.dumps(used(config)),
    shell:
        # By a pipe: the kernel takes no argument of more than 128 KiB.
        "printf %s {params.config:q} | {params.python} {input.code[0]:q} --out {output:q} > {log:q} 2>&1"


rule list_missing:
    output:
        "results/{suite}/missing.txt",
    log:
        "logs/list_missing/{suite}.log",
    params:
        missing=lambda wildcards: [
            f"{name}: {reason}" for name, reason in resources.not_had(config).items()
        ],
    message:
        "List the datasets that could not be had"
    shell:
        "printf '%s\\n' {params.missing:q} > {output:q} 2> {log:q}"


checkpoint choose_round:
    input:
        config="results/{suite}/config.yaml",
        records=lambda wildcards: records_before(int(wildcards.number)),
        datasets=list(DATASETS.values()),
        chosen=lambda wildcards: chosen_before(int(wildcards.number)),
        code=code("choose_round.py"),
    output:
        "results/{suite}/rounds/{number}.json",
    log:
        "logs/choose_round/{suite}/{number}.log",
    params:
        claims=json.dumps(config["claims"]),
        datasets=lambda wildcards, input: Path(input.datasets[0]).parent,
    message:
        "Choose the cells of round {wildcards.number} of suite {wildcards.suite}"
    shell:
        "{params.python} {input.code[0]:q} --config {input.config:q} --claims {params.claims:q} --cells results/cells"
        " --datasets {params.datasets:q} --chosen {input.chosen:q} --out {output:q} > {log:q} 2>&1"


rule gather_timings:
    input:
        chosen=lambda wildcards: (
            chosen_before(last_round()) if config["timing"]["rounds"] == AUTO else []
        ),
        config="results/{suite}/config.yaml",
        records=lambda wildcards: all_records(),
        datasets=list(DATASETS.values()),
        ceilings=expand("results/ceilings/{device}.json", device=CEILINGS),
        schema=ROOT / "rules/schemas/timings.schema.yaml",
        code=code("gather_timings.py"),
    output:
        timings=report(
            "results/{suite}/timings.csv",
            caption="captions/timings.rst",
            category="Tables",
        ),
        controls="results/{suite}/controls.csv",
        samples="results/{suite}/samples.csv",
        batches="results/{suite}/batches.csv",
        callers="results/{suite}/callers.csv",
        comparisons="results/{suite}/comparisons.csv",
        hardness="results/{suite}/datasets.csv",
        summary="results/{suite}/summary.txt",
    log:
        "logs/gather_timings/{suite}.log",
    params:
        datasets=lambda wildcards, input: Path(input.datasets[0]).parent,
    message:
        "Gather the results of suite {wildcards.suite}"
    shell:
        # The records are named by the configuration: a command line cannot hold thousands of paths.
        "{params.python} {input.code[0]:q} --config {input.config:q} --schema {input.schema:q} --cells results/cells"
        " --datasets {params.datasets:q} --ceilings {input.ceilings:q} --chosen {input.chosen:q}"
        " --timings {output.timings:q} --samples {output.samples:q} --batches {output.batches:q}"
        " --callers {output.callers:q} --comparisons {output.comparisons:q} --hardness {output.hardness:q} --summary {output.summary:q} > {log:q} 2>&1"


rule write_provenance:
    input:
        timings="results/{suite}/timings.csv",
        ceilings=expand("results/ceilings/{device}.json", device=CEILINGS),
        environments=ENVIRONMENTS,
        code=code("write_provenance.py"),
    output:
        "results/{suite}/provenance.json",
    log:
        "logs/write_provenance/{suite}.log",
    message:
        "Say where the results of suite {wildcards.suite} come from"
    shell:
        "{params.python} {input.code[0]:q} --timings {input.timings:q} --ceilings {input.ceilings:q}"
        " --environments {input.environments:q} --out {output:q} > {log:q} 2>&1"
