"""Write what people look at: snakemake report; snakemake published/NAME/report.html

Needs  the tables of a folder: results/{suite}, results/merged, published/{name}
Makes  {folder}/report.html: one page with everything in it
       {folder}/claims.csv: whether what was claimed holds
       {folder}/curves.csv: queries per second at fixed recalls
       {folder}/tables/: LaTeX and Markdown
`snakemake recommend` prints which backend to use for a problem, from all results that are here.
"""


rule check_claims:
    input:
        tables,
        code=code("check_claims.py"),
    output:
        report("{folder}/claims.csv", caption="captions/claims.rst", category="Claims"),
    log:
        "logs/check_claims/{folder}.log",
    priority: 1  # the page, which takes the longest, waits for it
    params:
        claims=lambda wildcards: json.dumps(config["claims"]),
    message:
        "Check the claims in {wildcards.folder}"
    shell:
        "{params.python} {input.code[0]:q} --folder {wildcards.folder:q} --claims {params.claims:q}"
        " --out {output:q} > {log:q} 2>&1"


rule trace_curves:
    input:
        tables,
        code=code("trace_curves.py"),
    output:
        report("{folder}/curves.csv", caption="captions/curves.rst", category="Tables"),
    log:
        "logs/trace_curves/{folder}.log",
    message:
        "Trace the curves of {wildcards.folder}"
    shell:
        "{params.python} {input.code[0]:q} --folder {wildcards.folder:q} --out {output:q} > {log:q} 2>&1"


rule make_tables:
    input:
        tables,
        code=code("make_tables.py"),
    output:
        report(
            directory("{folder}/tables"),
            patterns=["{table}.md"],
            caption="captions/tables.rst",
            category="Tables",
            labels={"table": "{table}"},
        ),
    log:
        "logs/make_tables/{folder}.log",
    message:
        "Write the tables of {wildcards.folder}"
    shell:
        "{params.python} {input.code[0]:q} --folder {wildcards.folder:q} --out {output:q} > {log:q} 2>&1"


rule make_report:
    input:
        tables,
        claims="{folder}/claims.csv",
        code=code("make_report.py"),
    output:
        report("{folder}/report.html", caption="captions/report.rst", category="Report"),
    log:
        "logs/make_report/{folder}.log",
    params:
        logs=lambda wildcards: (
            "logs" if wildcards.folder == f"results/{SUITE}" else f"{wildcards.folder}/logs"
        ),
    message:
        "Write {output}"
    shell:
        "{params.python} {input.code[0]:q} --folder {wildcards.folder:q} --claims {input.claims:q} --logs {params.logs:q}"
        " --out {output:q} > {log:q} 2>&1"


rule report:
    input:
        multiext(f"results/{SUITE}/", "report.html", "claims.csv", "tables"),
    localrule: True


rule recommend:
    log:
        "logs/recommend.log",
    localrule: True
    params:
        script=SCRIPTS / "recommend.py",
        problem=problem,
        folders=sorted(
            {
                path.parent
                for path in [
                    *Path("results").glob("*/timings.csv"),
                    *ROOT.glob("published/*/timings.csv"),
                ]
            }
        ),
    message:
        "Rank the backends for {params.problem}"
    shell:
        "{params.python} {params.script:q} --ask {params.problem:q} --folders {params.folders:q} 2>&1 | tee {log:q}"
