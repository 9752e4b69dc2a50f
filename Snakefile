"""knnbench: measure K-nearest-neighbour search. The parts, in running order; config.yaml says what is measured."""

from snakemake.utils import min_version

min_version("9.27")


configfile: f"{workflow.basedir}/config.yaml"


include: "rules/common.smk"
include: "rules/environments.smk"
include: "rules/datasets.smk"
include: "rules/cells.smk"
include: "rules/results.smk"
include: "rules/figures.smk"
include: "rules/selftest.smk"


rule all:
    default_target: True
    input:
        f"results/{SUITE}/timings.csv",
        f"results/{SUITE}/samples.csv",
        f"results/{SUITE}/batches.csv",
        f"results/{SUITE}/comparisons.csv",
        f"results/{SUITE}/summary.txt",
        FIGURES,
    localrule: True


onsuccess:
    summary = Path(f"results/{SUITE}/summary.txt")
    print(summary.read_text() if summary.exists() else "")
