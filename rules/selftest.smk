"""Test the harness on this machine: snakemake selftest

Makes  a table on the terminal; fails if the clock or the scores missed a lie that is known
"""


rule selftest:
    log:
        "logs/selftest.log",
    localrule: True
    params:
        script=SCRIPTS / "selftest.py",
    message:
        "Test the harness"
    shell:
        "{params.python} {params.script:q} 2>&1 | tee {log:q}"
