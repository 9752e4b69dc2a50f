"""knnbench: measure K-nearest-neighbour search. The parts, in running order; config.yaml says what is measured."""

from snakemake.utils import min_version

min_version("9.27")


configfile: f"{workflow.basedir}/config.yaml"
configfile: f"{workflow.basedir}/claims.yaml"


include: "rules/common.smk"
include: "rules/jobs.smk"
include: "rules/queue.smk"
include: "rules/asked.smk"
include: "rules/environments.smk"
include: "rules/datasets.smk"
include: "rules/cells.smk"
include: "rules/results.smk"
include: "rules/merge.smk"
include: "rules/compare.smk"
include: "rules/interchange.smk"
include: "rules/figures.smk"
include: "rules/report.smk"
include: "rules/publish.smk"
include: "rules/artifact.smk"
include: "rules/plan.smk"
include: "rules/tune.smk"
include: "rules/selftest.smk"
include: "rules/help.smk"
include: "rules/start.smk"


rule all:
    default_target: True
    input:
        RESULTS,
        [f"results/{SUITE}/missing.txt"] if resources.not_had(config) else [],  # a run that lacks datasets is never done
    localrule: True
    message:
        f"Suite {SUITE}: results/{SUITE}/report.html and all that it shows"


onsuccess:
    if any(job.rule.name in ("all", "report") for job in workflow.dag.targetjobs):
        page = Path(workflow.overwrite_workdir or "", f"results/{SUITE}/report.html")
        print(f"\nOpen {page}\n", flush=True)
    if any(job.rule.name == "all" for job in workflow.dag.targetjobs):
        print(Path(f"results/{SUITE}/summary.txt").read_text(encoding="utf-8"))
        if missing := resources.not_had(config):
            raise WorkflowError(
                "Everything else is done, but these datasets could not be had, and their cells are unavailable:",
                *(f"{name}: {reason}" for name, reason in missing.items()),
            )
    failures = Path(f"results/{SUITE}/compare/failures.txt")
    if any(job.rule.name in ("compare", "remeasure") for job in workflow.dag.targetjobs):
        if found := failures.read_text(encoding="utf-8"):
            raise WorkflowError(f"fail_on: {found}; results/{SUITE}/compare/ has them all")


onerror:
    logger.error(
        "Not all was made: what stopped it is above, with the log of its job. What is done is kept, and the same call goes on."
    )
