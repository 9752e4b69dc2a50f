"""Tables for papers, LaTeX (booktabs) and Markdown: one per dataset, and one of the whole suite."""

import re
import string
import textwrap

import pandas as pd

from knnbench.config.names import POWER, mathematical, plain
from knnbench.config.suite import THREADS
from knnbench.draw.recalls import speeds_at_recalls
from knnbench.draw.threads import tables
from knnbench.measure.statuses import NOT_RUN
from knnbench.results.callers import thread_rows
from knnbench.results.curves import RECALLS, STANDS_AT
from knnbench.results.findings import number, pairs_of, seconds
from knnbench.results.flags import WORDS
from knnbench.results.folder import read
from knnbench.results.pairs import FASTER, SAME
from knnbench.results.tables import ONE_ROUND
from knnbench.results.words import typical_k

SPECIAL = str.maketrans(
    {each: rf"\{each}" for each in "&%$#_{}"}
    | {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\^{}", "µ": r"$\mu$", "×": r"$\times$"}
)


def latex(text):
    """Text as LaTeX prints it, powers such as R^D as mathematics."""
    pieces, end = [], 0
    for power in re.finditer(POWER, text):
        pieces += [text[end : power.start()].translate(SPECIAL), mathematical(power[0])]
        end = power.end()
    return "".join(pieces) + text[end:].translate(SPECIAL)


class Latex:
    """How a table is written for LaTeX with the package booktabs, and graphicx."""

    suffix = "tex"
    text = staticmethod(latex)

    @staticmethod
    def cell(text, mark, bold):
        text = rf"\textbf{{{latex(text)}}}" if bold else latex(text)
        return text + (rf"\textsuperscript{{{mark}}}" if mark else "")

    @staticmethod
    def table(frame, caption, label, notes):
        body = frame.style.hide(axis="index").to_latex(hrules=True, column_format="l" + "r" * (frame.shape[1] - 1))
        # Shrunk if it is too wide.
        body = f"\\resizebox{{\\ifdim\\width>\\linewidth\\linewidth\\else\\width\\fi}}{{!}}{{%\n{body}}}"
        lines = [f"\\textsuperscript{{{mark}}} {latex(note)}" if mark else latex(note) for mark, note in notes]
        return (
            f"\\begin{{table}}\n\\centering\n\\caption{{{latex(caption)}}}\n\\label{{{label}}}\n{body}\n"
            "\\par\\smallskip\\raggedright\\footnotesize\n" + "\\\\\n".join(lines) + "\n\\end{table}\n"
        )


class Markdown:
    """How a table is written in Markdown."""

    suffix = "md"

    @staticmethod
    def text(text):
        return re.sub(r"([\\`*_<\[|])", r"\\\1", plain(text))

    @staticmethod
    def cell(text, mark, bold):
        text = f"**{Markdown.text(text)}**" if bold else Markdown.text(text)
        return text + (f"<sup>{mark}</sup>" if mark else "")

    @staticmethod
    def table(frame, caption, label, notes):
        align = ("left", *["right"] * (frame.shape[1] - 1))
        body = frame.to_markdown(index=False, disable_numparse=True, colalign=align)
        lines = [f"<sup>{mark}</sup> {Markdown.text(note)}" if mark else Markdown.text(note) for mark, note in notes]
        return f"{Markdown.text(caption)}\n\n{body}\n\n" + "  \n".join(lines) + "\n"


def best_of(rows, comparisons):
    """The curves of the fastest of the rows of one search that find enough, and of those that are the same; none where one is
    undecided."""
    able = rows[(rows["status"] == "ok") & (rows["recall"] >= STANDS_AT)]
    best, *others = able.sort_values("query_median_s").to_dict("records") or [None]
    if not others:
        return []
    pairs = pairs_of(best, comparisons)
    verdicts = {row["curve"]: pairs[row["curve"]]["verdict"] if row["curve"] in pairs else None for row in others}
    if not {FASTER, SAME} >= set(verdicts.values()):
        return []
    return [best["curve"], *(curve for curve, verdict in verdicts.items() if verdict == SAME)]


def why_not(row):
    """What a footnote says of a cell: its status, and what its flags say; empty if there is nothing to say."""
    if row["status"] in NOT_RUN:
        return textwrap.shorten(f"{row['status']}: {row['reason']}", 120)
    flags = row["flags"].split("; ") if isinstance(row["flags"], str) else []
    return "; ".join([row["status"]] * (row["status"] != "ok") + [words for flag, words in WORDS.items() if flag in flags])


def write_table(form, rows, by, comparisons, before, caption, label):
    """Arrange rows as a table of speeds.

    Parameters
    ----------
    form : Latex or Markdown
    rows : DataFrame
        Of Results.timings: one machine, NumPy to NumPy, a row per curve and value of `by`.
    by : str
        Column of `rows` whose values are the headers of the speeds.
    comparisons : DataFrame
    before : dict, header -> function from the rows of a curve to the text of a column before the speeds
    caption, label : str

    Returns
    -------
    text : str
    """
    best = {value: best_of(group, comparisons) for value, group in rows.groupby(by, sort=False)}
    marks, body, silent = {}, [], {}
    for _, curve in rows.groupby("curve", sort=False):
        if curve["query_median_s"].isna().all():
            silent.setdefault("; ".join(dict.fromkeys(map(why_not, curve.to_dict("records")))), []).append(
                curve["name"].iloc[0]
            )
            continue
        line = [form.text(curve["name"].iloc[0]), *(form.text(text(curve)) for text in before.values())]
        for value in best:
            row = next(iter(curve[curve[by] == value].to_dict("records")), None)
            if row is None:  # on another machine only
                line.append("")
                continue
            mark, why = "", why_not(row)
            if why:
                name = string.ascii_lowercase[len(marks) % 26] * (1 + len(marks) // 26)
                mark = marks.setdefault(why, name)
            text = "–" if row["status"] in NOT_RUN else number(row["queries_per_s"])
            if text != "–" and not before and not row["exact"]:  # there is no column of recalls
                text += f" at {'an unknown recall' if pd.isna(row['recall']) else format(row['recall'], '.3f')}"
            line.append(form.cell(text, mark, row["curve"] in best[value]))
        body.append(line)
    bold = (
        f"Bold: of status ok and a recall of {STANDS_AT} or more, the fastest and those that are the same, where no other is"
        " undecided against it."
    )
    if not before and not rows["exact"].all():
        bold += " A speed at 0.95 is that of an approximate search with a recall of 0.95."
    if (rows["query_interval"].dropna() == ONE_ROUND).all():
        bold = "One round per cell: nothing is bold, since whether the fastest differs from the next was not tested."
    notes = [
        ("", bold),
        ("", f"{rows['machine'].iloc[0]}. NumPy in, NumPy out."),
        *((mark, note) for note, mark in marks.items()),
    ]
    notes += [("", f"No time of {', '.join(names)}: {why}") for why, names in silent.items()]
    headers = ["Backend", *before, *best]
    return form.table(pd.DataFrame(body, columns=[form.text(each) for each in headers]), caption, label, notes)


def write_recalls(form, points, k, caption, label):
    """Arrange what the backends give at some recalls as a table; arguments as of `write_table`, of Results.points."""
    rows, called = speeds_at_recalls(points, k)
    body = [
        [form.text(name), *(form.text(f"{speed} ({interval})" if interval else speed or "–") for speed, interval in words)]
        for name, words in rows
    ]
    headers = ["Backend", *(f"recall {recall:g}, queries/s" for recall in RECALLS)]
    ends = f"; in parentheses: {called}" * bool(called)
    notes = [
        ("", f"Between measured points of one index and never beyond them{ends}; –: not within the measured settings."),
        ("", f"{points['machine'].iloc[0]}. NumPy in, NumPy out."),
    ]
    return form.table(pd.DataFrame(body, columns=[form.text(each) for each in headers]), caption, label, notes)


def write_words(form, table, number):
    """Write a table that is in words already, as draw.threads.tables has it."""
    body = [[form.text(cell) for cell in row] for row in table["rows"]]
    frame = pd.DataFrame(body, columns=[form.text(each) for each in table["headers"]])
    return form.table(frame, table["title"], f"tab:{THREADS}-{number}", [("", note) for note in table["notes"]])


def first_of(column, words):
    """Function from the rows of a curve to its number in a column, the median where it has several, in words."""

    def text(curve):
        known = curve[column].dropna()
        return words(known.median()) if len(known) else "–"

    return text


def write_tables(folder, out):
    """Write the tables of a folder.

    Parameters
    ----------
    folder : Path, results/SUITE, results/merged or one of published/
    out : Path, folder; made
    """
    results = read(folder)
    suite, host = results.config["suite"], results.timings[results.timings["residency"] == "host"]
    k = typical_k(host)
    host = host.assign(
        at_k=[f"K = {k}, queries/s" for k in host["n_neighbors"]],
        of_dataset=[f"{title} ({dataset})" for title, dataset in zip(host["title"], host["dataset"], strict=True)],
    )
    before = {
        "Fit": first_of("fit_s", seconds),
        "Memory, MB": first_of("memory_bytes", lambda value: f"{value / 1e6:,.0f}"),
        f"Recall, K = {k}": lambda curve: first_of("recall", "{:.3f}".format)(curve[curve["n_neighbors"] == k]),
    }
    out.mkdir(parents=True, exist_ok=True)
    of_threads = tables(results, thread_rows(results.points))
    for form in (Latex, Markdown):
        for dataset, rows in host.groupby("dataset", sort=False):
            first = rows.iloc[0]
            size = "no such dataset"
            if pd.notna(first["n"]):
                size = f"{first['queries']:,.0f} queries, {first['n']:,.0f} points, d = {first['d']:,.0f}, {first['metric']}"
            texts = [
                write_table(
                    form, here, "at_k", results.comparisons, before, f"{first['title']}: {size}", f"tab:{dataset}-{number}"
                )
                for number, (_, here) in enumerate(rows.groupby("machine", sort=False), start=1)
            ]
            (out / f"{dataset}.{form.suffix}").write_text("\n".join(texts), encoding="utf-8")
            points = results.points[results.points["dataset"] == dataset]
            if (points["setting"] == "{}").all():  # there are no curves
                continue
            caption = f"{first['title']}: {size}, K = {k}"
            texts = [
                write_recalls(form, here, k, caption, f"tab:{dataset}-recalls-{number}")
                for number, (_, here) in enumerate(points.groupby("machine", sort=False), start=1)
            ]
            (out / f"{dataset}.recalls.{form.suffix}").write_text("\n".join(texts), encoding="utf-8")
        if of_threads:
            texts = [write_words(form, table, number) for number, table in enumerate(of_threads, start=1)]
            (out / f"{THREADS}.{form.suffix}").write_text("\n".join(texts), encoding="utf-8")
        texts = [
            write_table(
                form,
                here,
                "of_dataset",
                results.comparisons,
                {},
                f"Suite {suite}: queries per second at K = {k}",
                f"tab:suite-{number}",
            )
            for number, (_, here) in enumerate(host[host["n_neighbors"] == k].groupby("machine", sort=False), start=1)
        ]
        (out / f"suite.{form.suffix}").write_text("\n".join(texts), encoding="utf-8")
