"""Draw the figures.

Needs  the tables of a folder: results/{suite}, results/merged, results/rerendered, published/{name}
Makes  {folder}/figures/{dataset}.{png,svg,pdf}: queries per second against K, with the fit times
       {folder}/figures/roofline.{png,svg,pdf}: how much of the machine the exact backends use
       {folder}/figures/{dataset}.{recall,build,break-even,batches,memory,phases}.{png,svg,pdf}
       {folder}/figures/scaling.{png,svg,pdf}, scaling.csv, crossings.csv: how times grow, and where libraries overtake others
       {folder}/figures/threads.{png,svg,pdf}, threads.csv: what more threads, and more callers, give
"""


rule plot_speed:
    input:
        config="{folder}/config.yaml",
        timings="{folder}/timings.csv",
        code=code("plot_speed.py"),
    output:
        report(
            [
                f"{{folder}}/figures/{{dataset}}.{suffix}"
                for suffix in config["figures"]["formats"]
            ],
            caption="captions/speed.rst",
            category="Queries per second",
            labels={"dataset": "{dataset}"},
        ),
    log:
        "logs/plot_speed/{folder}/{dataset}.log",
    wildcard_constraints:
        dataset="|".join(map(re.escape, {*config["datasets"], *ELSEWHERE})),
    message:
        "Draw {wildcards.dataset}"
    shell:
        "{params.python} {input.code[0]:q} --folder {wildcards.folder:q} --dataset {wildcards.dataset:q}"
        " --out {output:q} > {log:q} 2>&1"


rule plot_roofline:
    input:
        config="{folder}/config.yaml",
        timings="{folder}/timings.csv",
        provenance="{folder}/provenance.json",
        code=code("plot_roofline.py"),
    output:
        report(
            [f"{{folder}}/figures/roofline.{suffix}" for suffix in config["figures"]["formats"]],
            caption="captions/roofline.rst",
            category="Roofline",
        ),
    log:
        "logs/plot_roofline/{folder}.log",
    message:
        "Draw the roofline"
    shell:
        "{params.python} {input.code[0]:q} --config {input.config:q} --timings {input.timings:q}"
        " --provenance {input.provenance:q} --out {output:q} > {log:q} 2>&1"


rule plot_charts:
    input:
        tables,
        code=code("plot_charts.py"),
    output:
        [
            report(
                f"{{folder}}/figures/{{dataset}}.{chart}.{suffix}",
                caption=f"captions/{chart}.rst",
                category=chart.capitalize(),
                labels={"dataset": "{dataset}", "file": suffix},
            )
            for chart in CHARTS
            for suffix in config["figures"]["formats"]
        ],
    log:
        "logs/plot_charts/{folder}/{dataset}.log",
    wildcard_constraints:
        dataset="|".join(map(re.escape, {*config["datasets"], *ELSEWHERE})),
    params:
        figures=lambda wildcards: json.dumps(config["figures"]),
    message:
        "Draw the charts of {wildcards.dataset}"
    shell:
        "{params.python} {input.code[0]:q} --folder {wildcards.folder:q} --dataset {wildcards.dataset:q}"
        " --figures {params.figures:q} --out {output:q} > {log:q} 2>&1"


rule plot_scaling:
    input:
        tables,
        code=code("plot_scaling.py"),
    output:
        exponents=report(
            "{folder}/scaling.csv", caption="captions/exponents.rst", category="Scaling"
        ),
        crossings=report(
            "{folder}/crossings.csv", caption="captions/crossings.rst", category="Scaling"
        ),
        figures=report(
            [f"{{folder}}/figures/scaling.{suffix}" for suffix in config["figures"]["formats"]],
            caption="captions/scaling.rst",
            category="Scaling",
        ),
    log:
        "logs/plot_scaling/{folder}.log",
    params:
        figures=lambda wildcards: json.dumps(config["figures"]),
    message:
        "Draw how times grow"
    shell:
        "{params.python} {input.code[0]:q} --folder {wildcards.folder:q} --figures {params.figures:q}"
        " --table {output.exponents:q} --crossings {output.crossings:q} --out {output.figures:q} > {log:q} 2>&1"


rule plot_threads:
    input:
        tables,
        code=code("plot_threads.py"),
    output:
        table=report("{folder}/threads.csv", caption="captions/threads.rst", category="Threads"),
        figures=report(
            [f"{{folder}}/figures/threads.{suffix}" for suffix in config["figures"]["formats"]],
            caption="captions/threads.rst",
            category="Threads",
        ),
    log:
        "logs/plot_threads/{folder}.log",
    params:
        figures=lambda wildcards: json.dumps(config["figures"]),
    message:
        "Draw what more threads and more callers give"
    shell:
        "{params.python} {input.code[0]:q} --folder {wildcards.folder:q} --figures {params.figures:q}"
        " --table {output.table:q} --out {output.figures:q} > {log:q} 2>&1"
