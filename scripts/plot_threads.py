"""Draw what more threads of a library, and more callers at once, give; write the table of numbers of threads."""

import argparse
import json
from pathlib import Path

from knnbench.draw.chart_files import CONFIG, NOTHING, draw_files
from knnbench.draw.threads import APART, charts
from knnbench.results.callers import thread_rows
from knnbench.results.folder import read


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, required=True, help="results/SUITE, results/merged or one of published/")
    parser.add_argument("--figures", type=json.loads, required=True, help="section of the configuration, JSON")
    parser.add_argument("--table", type=Path, required=True, help="threads.csv")
    parser.add_argument("--out", type=Path, nargs="+", required=True, help="figure; the suffix is the format")
    arguments = parser.parse_args()

    results = read(arguments.folder)
    rows = thread_rows(results.points)
    rows.to_csv(arguments.table, index=False)
    panels = charts(results, rows)
    title = f"Suite {results.config['suite']}: more threads and more callers" if panels else "Nothing was measured with several"
    spec = {"title": title, "concat": panels or [NOTHING], "columns": 2}
    draw_files(spec | APART | {"config": CONFIG}, arguments.out, arguments.figures["dpi"])


if __name__ == "__main__":
    main()
