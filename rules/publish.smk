"""Keep a suite's results for others: snakemake published/NAME --config suite=paper

Needs  results/{suite}/
Makes  published/{name}/: the tables, the samples compressed, the figures, and where they come from
"""


rule publish:
    input:
        unpublished,
        tables=[f"results/{SUITE}/{name}" for name in TABLES + findings(config)],
        figures=FIGURES,
        code=code("publish.py"),
    output:
        directory("published/{name}"),
    log:
        "logs/publish/{name}.log",
    message:
        "Publish suite {config[suite]} as {wildcards.name}"
    shell:
        "{params.python} {input.code[0]:q} --tables {input.tables:q} --figures {input.figures:q} --out {output:q}"
        " > {log:q} 2>&1"
