"""Compare results with a baseline: every cell, every ordering of backends, in words and as a figure."""

import argparse
from pathlib import Path

from knnbench.draw.chart_files import CONFIG, draw_files
from knnbench.draw.compare_runs import figure
from knnbench.exchange.compare_runs import compare


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--baseline", type=Path, required=True, help="results/SUITE, one of published/, or an artifact.zip")
    parser.add_argument("--folder", type=Path, required=True, help="the same, what is compared with it")
    parser.add_argument("--within", type=float, required=True, help="share by which a time may differ and be reproduced")
    parser.add_argument("--recall-within", type=float, required=True, help="difference of the recall that is no other answer")
    parser.add_argument("--fail-on", nargs="*", default=[], help="verdicts")
    parser.add_argument("--dpi", type=int, required=True)
    parser.add_argument("--cells", type=Path, required=True)
    parser.add_argument("--orderings", type=Path, required=True)
    parser.add_argument("--summary", type=Path, required=True)
    parser.add_argument("--failures", type=Path, required=True, help="what --fail-on found, empty if nothing")
    parser.add_argument("--figures", type=Path, nargs="+", required=True, help="the suffix is the format")
    arguments = parser.parse_args()

    cells, orderings, words = compare(arguments.baseline, arguments.folder, arguments.within, arguments.recall_within)
    failed = [
        f"{count} {verdict}"
        for table in (cells, orderings)
        for verdict, count in table["verdict"].value_counts().items()
        if verdict in arguments.fail_on
    ]
    cells.to_csv(arguments.cells, index=False)
    orderings.to_csv(arguments.orderings, index=False)
    arguments.summary.write_text(words, encoding="utf-8")
    arguments.failures.write_text(", ".join(failed), encoding="utf-8")
    draw_files({"config": CONFIG, **figure(cells, words, arguments.within)}, arguments.figures, arguments.dpi)


if __name__ == "__main__":
    main()
