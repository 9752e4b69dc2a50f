"""Draw queries per second against K for one dataset, with the fit times below."""

import argparse
from pathlib import Path

import yaml

from knnbench.draw.figures import save, styles
from knnbench.draw.speed import draw
from knnbench.results.folder import read_timings, stand


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, required=True, help="results/SUITE, or one of published/")
    parser.add_argument("--dataset", required=True)
    parser.add_argument("--out", type=Path, nargs="+", required=True, help="the suffix is the format")
    arguments = parser.parse_args()

    config = yaml.safe_load((arguments.folder / "config.yaml").read_text(encoding="utf-8"))
    timings = stand(read_timings(arguments.folder))
    # NumPy in, NumPy out: what every backend has.
    timings = timings[(timings["dataset"] == arguments.dataset) & (timings["residency"] == "host")]
    figure = draw(timings, styles(config["backends"]))
    for path in arguments.out:
        save(figure, path, config["figures"]["dpi"])


if __name__ == "__main__":
    main()
