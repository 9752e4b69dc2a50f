"""Draw the figures.

Needs  results/{suite}/timings.csv
Makes  results/{suite}/figures/{dataset}.{png,svg,pdf}: queries per second against K, with the fit times
"""


rule plot_speed:
    input:
        config="results/{suite}/config.yaml",
        timings="results/{suite}/timings.csv",
        code=code("plot_speed.py", "knnbench/figures.py", "knnbench/results.py"),
    output:
        report(
            [
                f"results/{{suite}}/figures/{{dataset}}.{suffix}"
                for suffix in config["figures"]["formats"]
            ],
            caption="captions/speed.rst",
            category="Queries per second",
            labels={"dataset": "{dataset}"},
        ),
    log:
        "logs/plot_speed/{suite}/{dataset}.log",
    localrule: True
    conda:
        "../envs/pipeline.yaml"
    resources:
        machine=1,
    params:
        python=python("pipeline"),
    message:
        "Draw {wildcards.dataset}"
    shell:
        "{params.python} {input.code[0]:q} --config {input.config:q} --timings {input.timings:q}"
        " --dataset {wildcards.dataset:q} --out {output:q} > {log:q} 2>&1"
