"""Say what a run will take: snakemake plan

Needs  the configuration, and what was measured on this machine, or else published/
Makes  a table on the terminal
"""


rule plan:
    log:
        "logs/plan.log",
    localrule: True
    params:
        script=SCRIPTS / "plan.py",
        config=lambda wildcards: json.dumps(used(config)),
        published=ROOT / "published",
        environments=len([path for path in ENVIRONMENTS if not Path(path).exists()]),
    message:
        "Plan suite {config[suite]}"
    shell:
        "{params.python} {params.script:q} --config {params.config:q} --published {params.published:q}"
        " --environments {params.environments} 2>&1 | tee {log:q}"
