"""How far a run is, and when the rest will be done."""

import collections

from knnbench.config.suite import Cell
from knnbench.problem.download import file_name

# What jobs make, by their rules; all others make results. Of two kinds nobody counts the jobs, but they take time.
KINDS = {
    "make_environment": "environments",
    "download_dataset": "datasets",
    "make_dataset": "datasets",
    "measure_ceilings": "ceilings",
    "build_index": "indexes",
    "measure_cell": "cells",
}
COUNTED = ("environments", "datasets", "cells", "results")
FETCHED = {"environments", "datasets"}
CHARTS_S = 10.0  # all charts of a dataset
BELIEVED_S = 10.0  # of what is expected, besides what this run took


def in_words(seconds):
    """A duration as people say it."""
    minutes = round(seconds / 60)
    if seconds < 60:
        return f"{seconds:.0f} s"
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02} min"


def expected_jobs(jobs, config, listed, published):
    """What the jobs of a run make, and what they are expected to take.

    Parameters
    ----------
    jobs : list of Snakemake's jobs
    config : dict, resolved
    listed : list of Cell
    published : Path, folder of results of other machines

    Returns
    -------
    expected : dict, job id -> (kind, seconds); without jobs that make no file
    """
    from knnbench.system import machine  # Pandas: only for a run
    from knnbench.workflow import plan

    facts = machine.describe("cpu")
    cells = {}
    if any(job.rule.name in ("measure_cell", "build_index") for job in jobs):
        cells = {each.cell: each for each in plan.expect(config, listed, published, facts)}
    builds = {(cell.dataset, cell.backend, cell.device): each.build_s for cell, each in cells.items()}
    megabytes = {file_name(each["url"]): each.get("megabytes", 0) for each in config["datasets"].values() if "url" in each}
    fixed = {"environments": plan.ENVIRONMENT_S, "ceilings": plan.CEILINGS_S, "results": plan.FIGURE_S}

    def seconds(job):
        of = job.wildcards
        if job.rule.name == "measure_cell":
            return cells[Cell(of.dataset, of.backend, of.device, int(of.k))].each_s
        if job.rule.name == "build_index":
            return builds[of.dataset, of.backend, of.device]
        if job.rule.name == "make_dataset":
            return plan.dataset_s(plan.size_of(of.dataset, config["datasets"][of.dataset]), facts["cpus"])
        if job.rule.name == "download_dataset":
            return megabytes.get(of.file, 0) * 1e6 / plan.DOWNLOADED_PER_S
        if job.rule.name == "plot_charts":
            return CHARTS_S
        return fixed[KINDS.get(job.rule.name, "results")]

    return {job.jobid: (KINDS.get(job.rule.name, "results"), plan.JOB_S + seconds(job)) for job in jobs if job.output}


class Progress:
    """How far a run is.

    What is left of each kind goes on at the pace that its jobs had so far: the time from the end of a job to the end of the
    next one against what was expected, so that jobs that run side by side count once. A kind of which little was seen goes on
    at the pace of the whole; but how fast a network is says nothing about a processor.

    Parameters
    ----------
    expected : dict, job id -> (kind, seconds)
    begun : float, seconds since the epoch
    """

    def __init__(self, expected, begun):
        self.waiting = dict(expected)
        self.total = collections.Counter(kind for kind, _ in expected.values())
        self.done = collections.Counter()
        self.statuses = collections.Counter()
        self.expected_s, self.taken_s = collections.Counter(), collections.Counter()  # of the jobs that have ended
        self.last = begun

    def join(self, job, kind):
        """A job begins. If it was not expected it is of a further round, which takes as long as others of its kind, or one that
        got another number when that round was added."""
        if job in self.waiting:
            return
        alike = [other for other, (known, _) in self.waiting.items() if known == kind]
        if kind == "results" and alike:
            self.waiting[job] = self.waiting.pop(alike[0])
            return
        self.total[kind] += 1
        self.waiting[job] = kind, self.expected_s[kind] / max(1, self.done[kind])

    def end(self, job, now, status=None, waited_s=0.0):
        """A job has ended, a cell with a status, that waited for others before it worked; what kind of job it was."""
        kind, seconds = self.waiting.pop(job)
        self.done[kind] += 1
        self.expected_s[kind] += seconds
        self.taken_s[kind] += max(0.0, now - self.last - waited_s)  # others are no pace of ours
        self.last = now
        if status:
            self.statuses[status] += 1
        return kind

    def left_s(self):
        """Seconds that the rest will take."""

        def pace(kinds, believed):
            taken, expected = (sum(seconds[kind] for kind in kinds) for seconds in (self.taken_s, self.expected_s))
            return (taken + believed * BELIEVED_S) / (expected + BELIEVED_S)

        here = pace(self.total.keys() - FETCHED, 1.0)
        paces = {kind: pace([kind], 1.0 if kind in FETCHED else here) for kind in self.total}
        return sum(seconds * paces[kind] for kind, seconds in self.waiting.values())

    def counts(self):
        """How the cells ended, in words."""
        return ", ".join(f"{n} {status}" for status, n in self.statuses.most_common())

    def left(self):
        """When the rest will be done, in words."""
        return f"about {in_words(self.left_s())} left"

    def line(self):
        """A line about the cells."""
        return f"Cells: {self.done['cells']} of {self.total['cells']}; {self.counts()}; {self.left()}"
