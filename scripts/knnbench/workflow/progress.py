"""How far a run is, and when the rest will be done."""

import collections
import json
import time
from pathlib import Path

from knnbench.workflow.plan import CELLS


def in_words(seconds):
    """A duration as people say it."""
    minutes = round(seconds / 60)
    if seconds < 60:
        return f"{seconds:.0f} s"
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02} min"


class Progress:
    """How far a run is.

    Parameters
    ----------
    expected : list of Expected
    jobs : list of str, paths of the records that the run is to make
    """

    def __init__(self, expected, jobs):
        listed = {str(CELLS / Path(each.cell.record(0)).parent / f"k{each.cell.k}."): each for each in expected}
        self.seconds = {path: listed[path[: path.rindex("round")]].each_s for path in jobs}
        self.begun = time.time()
        self.statuses = {}
        self.first = None  # when the first record was there: datasets and environments come before it

    def line(self):
        """A line about the records that are there; None if there is none since the last one."""
        waiting = [path for path in self.seconds if path not in self.statuses and Path(path).exists()]
        new = [path for path in waiting if Path(path).stat().st_mtime >= self.begun]  # not one that will be replaced
        if not new:
            return None
        self.statuses |= {path: json.loads(Path(path).read_text(encoding="utf-8"))["status"] for path in new}
        done = sum(self.seconds[path] for path in self.statuses)
        self.first = self.first or (time.monotonic(), done)
        elapsed, planned = time.monotonic() - self.first[0], done - self.first[1]
        pace = elapsed / planned if planned > 0 else 1.0  # of this run, against the plan
        left = max(0.0, sum(self.seconds[path] for path in self.seconds if path not in self.statuses) * pace)
        counts = ", ".join(f"{n} {status}" for status, n in collections.Counter(self.statuses.values()).most_common())
        return f"Cells: {len(self.statuses)} of {len(self.seconds)}; {counts}; about {in_words(left)} left"
