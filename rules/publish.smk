"""Keep a suite's results for others: snakemake published/NAME --config suite=paper

Needs  results/{suite}/
Makes  published/{name}/: the tables, the samples compressed, the figures, and where they come from
"""


def unpublished(wildcards):
    """Nothing; an error if there are results of that name, which another machine's must not replace."""
    if Path(f"published/{wildcards.name}").exists():
        raise WorkflowError(
            f"published/{wildcards.name} is there; take another name, or move it away"
        )
    return []


rule publish:
    input:
        unpublished,
        tables=[f"results/{SUITE}/{name}" for name in TABLES + FINDINGS],
        figures=FIGURES,
        code=code("publish.py"),
    output:
        directory("published/{name}"),
    log:
        "logs/publish/{name}.log",
    localrule: LOCAL
    conda:
        "../envs/pipeline.yaml"
    resources:
        machine=1,
    params:
        python=python("pipeline"),
    message:
        "Publish suite {config[suite]} as {wildcards.name}"
    shell:
        "{params.python} {input.code[0]:q} --tables {input.tables:q} --figures {input.figures:q} --out {output:q}"
        " > {log:q} 2>&1"
