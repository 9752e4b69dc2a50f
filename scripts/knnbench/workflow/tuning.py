"""Tune a backend on half of the queries, and say how fast its best setting is on the other half.

A step is a build with some searches, measured as a cell and its points are by scripts/measure_cell.py. What is chosen is built
anew, several times, and so is the fastest of the settings that the entry lists, with which it is compared.
"""

import hashlib
import json
import math
import shutil
import statistics
import subprocess
import time

import pandas as pd
import yaml
from tabulate import tabulate

from knnbench.config.names import speed_in_words
from knnbench.config.settings import SETTINGS
from knnbench.measure.halves import HALVES
from knnbench.measure.statuses import NOT_RUN
from knnbench.results.calls import at_point, median_of_known, times
from knnbench.results.intervals import CONFIDENCE, estimate, interval, ratio
from knnbench.system.files import write_atomically
from knnbench.workflow.proposals import Setting, Space, fastest, listed

# So many of the fastest settings are measured so often before one is chosen: of those that were measured once, the fastest is
# the luckiest. As many builds keep their index for another step.
LEADERS, TIMES = 4, 4
ROUNDS = 3  # builds of each of the two that are compared
# Of timing: calls with few queries are not looked at, and what is proposed is in no order that a curve could end in.
WHOLE_PASSES = {"batch_sizes": [], "batch_calls": 1, "batch_budget_s": 0, "enough_recall": math.inf}
BRIEF = WHOLE_PASSES | {"min_repeats": 3}


def read_json(path):
    return json.loads(path.read_text(encoding="utf-8"))


class Bench:
    """A folder of steps, each a folder with its index's fit.json, its record, cell.json, and at last its setting.json.

    Parameters
    ----------
    folder : Path
    entry : dict, of the configuration
    command : list of str
        Words that run scripts/measure_cell.py for this dataset, backend, device and environment.
    n_neighbors : int
    timing : dict, `--timing` of a cell
    """

    def __init__(self, folder, entry, command, n_neighbors, timing):
        self.folder, self.entry, self.command, self.k, self.timing = folder, entry, command, n_neighbors, timing

    def measure(self, folder, build, searches, half, number, timing, index=None, raced=False):
        """Measure searches of a build, unless that was done before.

        Parameters
        ----------
        folder : Path
        build, searches : dict, list of dict
        half : str, of HALVES
        number : int, of the build: another seed for each
        timing : dict, what differs from the bench's own
        index : Path, the folder of a step of the same build whose index is there; None to build one
        raced : bool, kept with it: whether the fastest are measured again

        Returns
        -------
        record : dict, of the cell
        """
        if not (folder / "setting.json").exists():
            folder.mkdir(parents=True, exist_ok=True)
            begun, records = time.monotonic(), [folder / "cell.json"]
            words = [*self.command, "--parameters", json.dumps(self.entry["parameters"] | build), "--build", str(number)]
            asked = ["--n-neighbors", str(self.k), "--timing", json.dumps(self.timing | timing), "--half", half]
            asked += ["--search", json.dumps(searches)] if "search" in self.entry else []
            with open(folder / "log", "w", encoding="utf-8") as log:
                if self.entry["saves"] and not index:
                    self.drop(folder / "index")
                    self.run([*words, "--index", folder], log)
                    records.append(folder / "fit.json")
                asked += ["--index", index or folder] if self.entry["saves"] else []
                self.run([*words, *asked, "--out", folder / "cell.json"], log)
            waited_s = sum(read_json(record).get("waited_s", 0.0) for record in records)  # for others on this machine
            step = {"build": build, "searches": searches, "raced": raced, "took_s": time.monotonic() - begun - waited_s}
            write_atomically(folder / "setting.json", json.dumps(step))
        return read_json(folder / "cell.json")

    def run(self, words, log):
        if subprocess.run(words, stdout=log, stderr=subprocess.STDOUT).returncode:
            raise SystemExit(f"{log.name}: a cell could not be measured; its last lines say why")

    def drop(self, index):
        shutil.rmtree(index) if index.is_dir() and not index.is_symlink() else index.unlink(missing_ok=True)

    def steps(self, raced=True):
        """What was measured for tuning, in its order: a list of (folder, its setting.json); `raced`: with what was raced."""
        found = [(path.parent, read_json(path)) for path in sorted(self.folder.glob("step*/setting.json"))]
        return [(folder, step) for folder, step in found if raced or not step.get("raced")]

    def settings(self, raced=True):
        """What was measured for tuning, of the entry as it is now: a list of Setting; medians of what was measured again."""
        space, found, build_s = Space(self.entry), {}, {}
        for folder, step in self.steps(raced):
            record, build = read_json(folder / "cell.json"), step["build"]
            searching_s = step["took_s"]
            if (folder / "fit.json").exists():
                build_s[str(build)] = read_json(folder / "fit.json")["cell_s"]
                searching_s -= build_s[str(build)]
            costs = {"build_s": build_s.get(str(build), 0.0), "search_s": searching_s / len(step["searches"])}
            for number, search in enumerate(step["searches"]):
                if space.has(build | search):
                    measured = found.setdefault(json.dumps([build, search]), [])
                    measured.append((costs, at_point(record, number)))
        own = [build | search for build, searches in listed(self.entry) for search in searches]
        settings = []
        for words, measured in found.items():
            build, search = json.loads(words)
            known = {"build": build, "search": search, "listed": build | search in own, **measured[0][0]}
            known |= {name: measured[-1][1][name] for name in ("status", "reason")} | {"measured": len(measured)}
            if parts := [part for _, part in measured if part["status"] not in NOT_RUN]:
                known |= {"recall": parts[0]["recall"], "margin": parts[0]["recall_error"]}
                known["seconds"] = statistics.median(median_of_known(rounds) for rounds in times(parts, "host"))
            settings.append(Setting(**known))
        return settings

    def step(self, build, searches, raced=False):
        """Measure searches of a build for tuning, in a folder of its own."""
        folder = self.folder / f"step{len(self.steps()):03}"
        self.measure(folder, build, searches, HALVES[0], 0, BRIEF, self.index_of(build), raced)

    def index_of(self, build):
        """The folder of a step whose index of this build is there, or None."""
        return next((folder for folder, step in self.steps() if step["build"] == build and (folder / "index").exists()), None)

    def drop_indexes(self, kept=()):
        for folder, step in self.steps():
            if step["build"] not in kept:
                self.drop(folder / "index")


def candidates(settings, recall):
    """The fastest setting with a recall, and the fastest that the entry lists, if there is one and it is another."""
    found = [fastest(settings, recall), fastest([each for each in settings if each.listed], recall)]
    return [each for number, each in enumerate(found) if each and each not in found[:number]]


def tune(bench, recall, hours, seed, say):
    """Measure settings for as long as there is time, and race the fastest of them.

    Whether there is more to do depends on nothing that was raced: a second call ends where the first one did.

    Parameters
    ----------
    bench : Bench
    recall : float
    hours : float
        Of builds and cells, with those that were measured before and those of the comparison in the end; not what others had
        this machine for meanwhile.
    seed : int
    say : callable, of a line

    Returns
    -------
    settings : list of Setting
    """
    space = Space(bench.entry)
    while True:
        settings, took_s = bench.settings(raced=False), [step["took_s"] for _, step in bench.steps(raced=False)]
        steps, spent_s = len(took_s), sum(took_s)
        best = fastest(settings, recall)
        if steps:
            now = f"fastest: {best.words()}, recall {best.recall:.3f}" if best else f"none with a recall of {recall:g}"
            say(f"{spent_s / 60:.1f} min, {steps} steps, {len(settings)} settings; {now}")
        ending_s = sum(
            ROUNDS * each.build_s + (ROUNDS + LEADERS * TIMES) * each.search_s for each in candidates(settings, recall)
        )
        proposed = space.step(settings, recall, seed + steps, best)
        if proposed is None:
            say("Nothing is left to try in these ranges.")
        if proposed is None or spent_s + ending_s >= 3600 * hours:
            say("Measuring the fastest again, in turns.")
            settings = race(bench, recall)
            bench.drop_indexes()
            return settings
        bench.step(*proposed)
        measured = bench.settings(raced=False)
        ranked = sorted((each for each in measured if each.seconds < math.inf), key=lambda each: each.seconds)
        enough = [each.build for each in ranked if each.recall >= recall]
        bench.drop_indexes([build for number, build in enumerate(enough) if build not in enough[:number]][:LEADERS])


def race(bench, recall):
    """Measure the fastest settings, and the fastest that is listed, again and in turns: `TIMES` times in all.

    Returns
    -------
    settings : list of Setting
    """
    while True:
        settings = bench.settings()
        ranked = sorted((each for each in settings if each.reaches(recall)), key=lambda each: each.seconds)
        leaders = [*ranked[:LEADERS], *[each for each in ranked[LEADERS:] if each.listed][:1]]
        behind = [each for each in leaders if each.measured < TIMES]
        if not behind:
            return settings
        least = min(behind, key=lambda each: each.measured)
        bench.step(least.build, [each.search for each in leaders if each.build == least.build], raced=True)


def hold_out(bench, settings):
    """Build settings anew and ask them the other half of the queries, in turns.

    Returns
    -------
    records : list of list of dict, of each setting a record for each of `ROUNDS` builds
    """
    records = [[] for _ in settings]
    for number in range(1, ROUNDS + 1):
        for setting, rounds in zip(settings, records, strict=True):
            name = hashlib.sha256(json.dumps(setting.values).encode()).hexdigest()[:8]
            folder = bench.folder / f"held-out-{name}" / f"round{number}"
            record = bench.measure(folder, setting.build, [setting.search], HALVES[1], number, WHOLE_PASSES)
            bench.drop(folder / "index")
            rounds.append(at_point(record, 0))
    return records


def overlay(name, entry, setting, words):
    """The text of a configuration with an entry for a setting: `name`-tuned."""
    kept = {key: value for key, value in entry.items() if key not in (*SETTINGS, "origins", "method", "label")}
    kept |= {"label": f"{entry['label']}, tuned", "parameters": entry["parameters"] | setting.build}
    kept |= {"search": setting.search} if setting.search else {}
    return f"# {words}\n" + yaml.safe_dump({"backends": {f"{name}-tuned": kept}}, sort_keys=False, allow_unicode=True)


def report(settings, records, recall):
    """What came out, in words and a table.

    Parameters
    ----------
    settings : list of Setting, of `candidates`
    records : list of list of dict, of `hold_out`
    recall : float, that was asked for

    Returns
    -------
    text : str
    """
    rows, found = [], []
    for setting, rounds in zip(settings, records, strict=True):
        row = {"": "listed" if found else "tuned", "setting": setting.words()}
        row["recall, tuning half"] = f"{setting.recall:.4f}"
        if any(each["status"] in NOT_RUN for each in rounds):
            worst = next(each for each in rounds if each["status"] in NOT_RUN)
            raise SystemExit(f"{setting.words()}: {worst['status']} on the other half of the queries: {worst['reason']}")
        recalls, queries = [each["recall"] for each in rounds], rounds[0]["dataset"]["queries"]
        pooled = estimate(times(rounds, "host"))
        speeds = [queries / seconds for seconds in (math.exp(pooled.log), *reversed(interval(pooled)))]
        found.append((pooled, median_of_known(recalls)))
        row["recall, other half"] = f"{found[-1][1]:.4f} ({min(recalls):.4f} to {max(recalls):.4f})"
        row["queries/s, other half"] = "{} ({} to {})".format(*map(speed_in_words, speeds))
        rows.append(row)
    lines = [tabulate(rows, headers="keys", disable_numparse=True)]
    if len(found) == 2:
        factor, low, high = ratio(found[1][0], found[0][0], CONFIDENCE)  # of one pair, not of a table
        apart = ": they cannot be told apart" if low <= 1 <= high else ""
        lines.append(f"On the other half the tuned setting is {factor:.2f} times as fast ({low:.2f} to {high:.2f}){apart}.")
    elif settings[0].listed:
        lines.append("It is one of the settings that the entry lists: no other one was faster.")
    else:
        lines.append("None of the settings that the entry lists has the recall.")
    if found[0][1] < recall:
        lines.append(f"On the other half its recall is below {recall:g}: ask for a higher one.")
    return "\n".join(lines)


def table(settings):
    """What was measured on the tuning half: a DataFrame, a row per setting, in the order of measurement."""
    rows = [
        {
            "build": json.dumps(each.build),
            "search": json.dumps(each.search),
            "listed": each.listed,
            "status": each.status,
            "reason": each.reason,
            "recall": each.recall or None,
            "seconds": each.seconds if each.seconds < math.inf else None,
        }
        for each in settings
    ]
    return pd.DataFrame(rows)
