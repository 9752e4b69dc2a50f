"""What happens before the first job: checks, the lock of a run that was killed, downloads to ask for again."""

import time

from snakemake.resources import Resources
from snakemake.scheduling.job_scheduler import JobScheduler

from knnbench.workflow.files import check_files
from knnbench.workflow.progress import Progress, expected_jobs
from knnbench.workflow.terminal import Terminal

TERMINAL = Terminal.take_over(workflow, logger)


onstart:
    workflow.knnbench_running = run.hold(RUNNING)  # as long as this process lives
    # Snakemake bounds the jobs that it starts per second by looking through all waiting jobs again, once a second for every
    # job that it ever started: a third of a CPU after 45 jobs, beside what is timed. Cells take turns; there is nothing to bound.
    if workflow.local_exec:
        workflow.scheduler.job_rate_limiter = None
        due = {
            job.wildcards.backend
            for job in workflow.dag.needrun_jobs()
            if job.rule.name == "measure_cell"
        }
        if due and config["timing"]["rounds"] == AUTO:
            numbers = rounds_at_most(config["timing"])
            records = [
                Path("results/cells", cell.record(each)) for cell in CELLS for each in numbers
            ]
            with told():
                run.check_one_machine(records, machine.describe("cpu"))
        if not CONDA and (
            words := run.cannot_compile(
                [config["backends"][name] for name in sorted(due)], SCRIPTS
            )
        ):
            logger.warning(words)
    if TERMINAL:
        try:
            jobs = expected_jobs(
                list(workflow.dag.needrun_jobs()), config, CELLS, ROOT / "published"
            )
            TERMINAL.begin(Progress(jobs, time.time()), config, CELLS)
        except Exception as error:  # a line less is no reason to stop
            logger.warning(f"No progress is shown: {error!r}")


if workflow.is_main_process:
    run.hear_beside(JobScheduler)
    if not os.access(".", os.W_OK):
        raise WorkflowError(
            f"{Path.cwd()} may not be written; choose where results go: --directory ELSEWHERE"
        )
    if run.drop_stale_lock(LOCKS, RUNNING):
        logger.warning(
            "The last run here was killed; its lock is removed and what it completed is kept."
        )
    with told():
        check_files(config, workflow.overwrite_configfiles)
        run.check_clock(
            [*DATASETS.values(), *ENVIRONMENTS, *SCRIPTS.rglob("*.py"), *SPECS.glob("*.yaml")]
        )
        if KEPT_BY_OTHERS:
            resources.check_kept(config, ENVIRONMENTS, SPECS)
    if not KEPT_BY_OTHERS and not list(LOCKS.glob("*.lock")):  # nobody else is at it
        resources.age_changed_datasets(config)
        Path(f"results/{SUITE}/missing.txt").unlink(missing_ok=True)
        for reason in resources.ask_again(config):
            logger.warning(f"Still not to be had: {reason}")


# What the rules share and none of them says. Those that do not speak of the machine run in the pipeline's environment, where the
# workflow does, and take a hundredth of it.
for each in workflow.rules:
    if "code" in each.input.keys():
        each.set_params(made_by=made_by(each))
    if "machine" not in each.resources:
        each.resources.update(Resources.from_mapping({"machine": 1}))
        each.set_params(python=python("pipeline"))
        each.conda_env = str(Path(workflow.basedir, "envs/pipeline.yaml"))
        if LOCAL:
            workflow.localrules(each.name)
            # What is drawn comes after all cells, which take every CPU at any `--cores`: as many at once as there are CPUs.
            if Path(each.snakefile).name in ("figures.smk", "report.smk"):
                share = -(-100 // machine.available_cpus())
                each.resources.update(Resources.from_mapping({"machine": share, "_cores": 0}))
