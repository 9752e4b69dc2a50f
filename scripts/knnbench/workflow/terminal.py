"""What a run says on the terminal: bars, a line for each cell that ends, and errors as Snakemake has them."""

import json
import logging
import os
import statistics
import textwrap
import threading
from pathlib import Path

import h5py
from snakemake_interface_logger_plugins.common import LogEvent

from knnbench.config.names import speed_in_words
from knnbench.system.turns import PATIENCE_S, holder_in_words, waiting_below
from knnbench.workflow.progress import COUNTED, KINDS, in_words

# What only the log in .snakemake/log has: the bars and lines here say it shorter.
LOGGED = {
    LogEvent.JOB_INFO,
    LogEvent.JOB_STARTED,
    LogEvent.JOB_FINISHED,
    LogEvent.GROUP_INFO,
    LogEvent.PROGRESS,
    LogEvent.RESOURCES_INFO,
    LogEvent.RUN_INFO,
    LogEvent.SHELLCMD,
}
SMALL_TALK = (
    "Assuming unrestricted shared filesystem usage.",
    "Conda environments: ignored",
    "Group jobs: inactive",
    "Select jobs to execute...",
    "Using shell: ",
    "Workflow defines that rule make_dataset is eligible for caching",
)
BAR = 20  # characters
REASON = 60  # characters
# Rules that measure, one at a time on a machine -> where in their output their record is.
RECORDS = {"measure_cell": "", "build_index": "fit.json", "measure_ceilings": ""}
SELDOM_S = 60  # without bars, between lines about all cells
RED, GREEN, YELLOW = 31, 32, 33


def measured(record, exact):
    """What a cell has found, in words, of its points between what; its status, if it is not ok."""
    done = [
        (part["queries_timed"] / statistics.median(part["query_ns"]["host"]) * 1e9, part["recall"])
        for part in record.get("points", {"": record}).values()
        if part["status"] in ("ok", "low_recall") and part.get("query_ns", {}).get("host")
    ]
    words = []
    if done:
        speeds, recalls = zip(*sorted(done), strict=True)
        least, most = map(speed_in_words, (speeds[0], speeds[-1]))
        words.append(f"{least:>12} {f'to {most} ' * (len(done) > 1)}queries/s")
        span = f" to {max(recalls):.3f}" * (len(done) > 1)
        words += [] if exact else [f"recall {min(recalls):.3f}{span}"]
    if record["status"] != "ok":
        words.append(textwrap.shorten(f"{record['status']}: {record['reason']}", REASON, placeholder=" ..."))
    return "   ".join(words)


class Terminal(logging.Handler):
    """Speaks in the place of Snakemake's handler on the terminal, as long as nobody asked for other words than the usual.

    Nothing is drawn but when a job begins or ends: a thread that moves bars would run beside what is timed.

    Parameters
    ----------
    usual : logging.StreamHandler
        Snakemake's, through which everything else is said.
    logger : logging.Logger
        Snakemake's, which has it.
    is_aside : function, () -> bool
        Whether Snakemake is to say everything itself, as in a dry run.
    """

    def __init__(self, usual, logger, is_aside):
        super().__init__()
        self.usual, self.logger, self.is_aside = usual, logger, is_aside
        self.has_bars = usual.is_tty and os.environ.get("TERM") != "dumb"
        self.progress = None
        self.running = {}  # job id -> what was said when it began
        self.looks = {}  # job id -> who looks, once, whether it waits for the machine
        self.drawn = 0  # lines of bars below the text

    @classmethod
    def take_over(cls, workflow, logger):
        """Take the place of Snakemake's handler.

        Returns
        -------
        terminal : Terminal or None
            None if Snakemake was asked for other words: by --quiet, --verbose, --printshellcmds, --logger.
        """
        asked = workflow.output_settings
        usual = [each for each in logger.handlers if each.name == "DefaultStreamHandler"]
        loud = asked.verbose or asked.debug_dag or asked.printshellcmds
        quiet = {str(each) for each in asked.quiet or ()} - {"reason", "host"}
        if not usual or loud or quiet or not workflow.is_main_process:
            return None
        # Known later; without hooks, nobody calls `begin`.
        terminal = cls(usual[0], logger, lambda: workflow.dryrun or getattr(workflow.execution_settings, "no_hooks", False))
        terminal.replace(usual[0], terminal)
        return terminal

    def begin(self, progress, config, listed):
        """Say what a run will do, and follow it from here on.

        Parameters
        ----------
        progress : Progress
        config : dict, resolved
        listed : list of Cell
        """
        with self.lock:
            self.config = config
            self.widths = (
                max([len("environment"), *(len(cell.dataset) for cell in listed)]),
                max([0, *(len(f"{cell.backend}-{cell.device}") for cell in listed)]),
            )
            self.progress = progress
            self.said_s = progress.last  # without bars, when there was a line about all cells
            many = [(progress.total[kind], kind) for kind in COUNTED if progress.total[kind]]
            parts = [f"{total} {kind if total > 1 else kind.removesuffix('s')}" for total, kind in many]
            if parts:
                suite = f"Suite {config['suite']}: " * bool(progress.total["cells"])
                self.write(f"{suite}{', '.join(parts)} to make; {progress.left()}\n")

    def emit(self, record):
        try:
            self.follow(record)
        except Exception:  # fewer words are no reason to stop: Snakemake's come back
            self.handleError(record)
            self.replace(self, self.usual)
            self.usual.handle(record)

    def replace(self, old, new):
        """Exchange handlers of the logger, which may be going through them."""
        self.logger.handlers[self.logger.handlers.index(old)] = new

    def follow(self, record):
        event = getattr(record, "event", None)
        if self.is_aside() or not (event in LOGGED or (event is None and str(record.msg).startswith(SMALL_TALK))):
            self.write(record=record)
        if event == LogEvent.JOB_ERROR:
            self.running.pop(record.jobid, None)
            self.look_no_more(record.jobid)
        if self.progress is None:
            return
        if event == LogEvent.JOB_INFO:
            self.running[record.jobid] = record
            if record.output:
                self.progress.join(record.jobid, KINDS.get(record.rule_name, "results"))
            if record.rule_name in RECORDS:
                self.looks[record.jobid] = look = threading.Timer(PATIENCE_S + 1, self.look_who_waits, [record.jobid])
                look.daemon = True
                look.start()
            self.write()
        elif event == LogEvent.JOB_FINISHED and record.job_id in self.running:
            begun, text = self.running.pop(record.job_id), ""
            self.look_no_more(record.job_id)
            if record.job_id in self.progress.waiting:  # it makes something
                text, status, waited_s = self.ended(begun, record.created - begun.created)
                kind = self.progress.end(record.job_id, record.created, status, waited_s)
                text += self.about_all(kind, record.created)
            self.write(text)
        elif event == LogEvent.PROGRESS and record.done == record.total:
            self.leave()

    def ended(self, begun, seconds):
        """A line about a job that has ended, "" for those that draw and count; the status of a cell, else None; and for how
        long the job waited for others on this machine."""
        of, record, waited_s = begun.wildcards, {}, 0.0
        if begun.rule_name in RECORDS:
            with open(Path(begun.output[0], RECORDS[begun.rule_name]), encoding="utf-8") as file:
                record = json.load(file)
            waited_s = record.get("waited_s") or 0.0
        took = in_words(max(0.0, seconds - waited_s))
        waited = f", after {in_words(waited_s)} of waiting for others" if waited_s >= PATIENCE_S else ""
        line, status = "", None
        if begun.rule_name == "measure_cell":
            status, place = record["status"], f"K = {of['k']}"
            place += f", round {of['round']}" * (self.config["timing"]["rounds"] != 1)
            words = measured(record, self.config["backends"][of["backend"]]["exact"])
            colour = {"ok": GREEN}.get(status, YELLOW)
            line = self.row(of["dataset"], f"{of['backend']}-{of['device']}", place, words + waited, colour)
        elif begun.rule_name == "build_index":
            words = f"built in {took}" if record["status"] == "ok" else measured(record, True)
            line = self.row(of["dataset"], f"{of['backend']}-{of['device']}", "index", words + waited)
        elif begun.rule_name == "make_dataset":
            with h5py.File(begun.output[0], "r") as file:
                reason = file.attrs.get("unavailable")
            line = self.row("dataset", of["dataset"], "", f"unavailable: {reason}" if reason else f"made in {took}")
        elif begun.rule_name == "download_dataset":
            with open(begun.output[0], encoding="utf-8") as file:
                receipt = json.load(file)
            lost = receipt["status"] == "unavailable"
            line = self.row("download", of["file"], "", f"unavailable: {receipt['reason']}" if lost else f"took {took}")
        elif begun.rule_name == "make_environment":
            line = self.row("environment", of["env"], "", f"made in {took}")
        elif begun.rule_name == "measure_ceilings":
            line = self.row("ceilings", of["device"], "", f"measured in {took}{waited}")
        return line, status, waited_s

    def look_no_more(self, job):
        if look := self.looks.pop(job, None):
            look.cancel()
            look.join(0.1)  # it may be at it, and wait for us

    def look_who_waits(self, job):
        """Say who has the machine, if a job that began `PATIENCE_S` ago still waits for it."""
        with self.lock:
            if job in self.running and self.progress is not None and waiting_below(os.getpid()):
                self.write(f"waiting for this machine: {holder_in_words()}\n")

    def row(self, first, second, place, words, colour=None):
        left, middle = self.widths
        return f"{first:{left}}  {second:{middle}}  {place:7}  {self.paint(words, colour)}".rstrip() + "\n"

    def paint(self, text, colour):
        return text if colour is None or self.usual.nocolor else f"\033[{colour}m{text}\033[0m"

    def about_all(self, kind, now):
        """A line about all cells, after a job of a kind; "" where there are bars, or was such a line a moment ago."""
        progress = self.progress
        last = not progress.waiting or (kind == "cells" and progress.done[kind] == progress.total[kind])
        if self.has_bars or not progress.done["cells"] or not (last or now >= self.said_s + SELDOM_S):
            return ""
        self.said_s = now
        return f"{progress.line()}\n"

    def bars(self):
        """The lines below the text: a bar for what is counted, and what is done now."""
        progress = self.progress
        speaking = any(not begun.output for begun in self.running.values())  # a job that itself writes to the terminal
        if not self.has_bars or progress is None or speaking:
            return []
        try:
            columns = os.get_terminal_size(self.usual.stream.fileno()).columns or 80
        except OSError:  # it is none
            columns = 80
        full, empty = "█░" if "utf" in (self.usual.stream.encoding or "").lower() else "#."
        lines = []
        for kind in COUNTED:
            if total := progress.total[kind]:
                done = progress.done[kind]
                many = BAR * done // total
                counts = f"   {progress.counts()}" if kind == "cells" else ""
                lines.append(f"{kind:13}{full * many}{empty * (BAR - many)} {done:>4} of {total}{counts}")
        if lines and self.running:
            first, *others = (begun.rule_msg or begun.rule_name for begun in self.running.values())
            more = f" and {len(others)} more" if others else ""
            lines.append(f"{progress.left()}   now: {first}{more}")
        return [line[: columns - 1] for line in lines]

    def write(self, text="", record=None):
        """Write a text, or what Snakemake says, above the bars; and draw the bars anew."""
        stream = self.usual.stream
        up = f"\r\033[{self.drawn}A\033[J" if self.drawn else ""
        if record is not None:
            stream.write(up)
            self.usual.handle(record)
            up = ""
        bars = self.bars()
        self.drawn = len(bars)
        stream.write(up + text + "".join(f"{line}\n" for line in bars))
        stream.flush()

    def leave(self):
        """Leave the bars as they are: what follows is written below them."""
        self.running.clear()
        self.write()
        self.drawn, self.progress = 0, None

    def close(self):
        with self.lock:
            if self.progress is not None:
                self.leave()
        self.usual.close()
        super().close()
