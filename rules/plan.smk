"""Say what a run will take, and lay out what one adds: snakemake plan, snakemake new_backend

Needs  the configuration, and what was measured on this machine, or else published/
Makes  a table on the terminal; of new_backend, files of the project
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
        # By a pipe: the kernel takes no argument of more than 128 KiB.
        "printf %s {params.config:q} | {params.python} {params.script:q} --published {params.published:q}"
        " --environments {params.environments} 2>&1 | tee {log:q}"


rule new_backend:
    log:
        "logs/new_backend.log",
    localrule: True
    params:
        script=SCRIPTS / "new_backend.py",
        name=asked_name,
        package=lambda wildcards: config["package"] or config["name"],
    message:
        "Lay out backend {params.name}"
    shell:
        "{params.python} {params.script:q} --name {params.name:q} --package {params.package:q} > {log:q} 2>&1"
        " || {{ cat {log:q} >&2; exit 1; }}; cat {log:q}"
