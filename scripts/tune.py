"""Find the fastest setting of a backend that reaches a recall, and write it as an overlay of the configuration."""

import argparse
import json
from pathlib import Path

from knnbench.workflow.tuning import ROUNDS, Bench, candidates, hold_out, overlay, report, table, tune


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--name", required=True, help="of the backend")
    parser.add_argument("--entry", type=json.loads, required=True, help="of the configuration, JSON")
    parser.add_argument("--timing", type=json.loads, required=True, help="of a cell, JSON")
    parser.add_argument("--n-neighbors", type=int, required=True)
    parser.add_argument("--recall", type=float, required=True)
    parser.add_argument("--hours", type=float, required=True)
    parser.add_argument("--out", type=Path, required=True, help="folder of steps; those that are there are not measured again")
    parser.add_argument("command", nargs="+", help="measure_cell.py for this dataset, backend and device")
    asked = parser.parse_args()

    def say(line):
        print(line, flush=True)

    bench = Bench(asked.out, asked.entry, asked.command, asked.n_neighbors, asked.timing)
    settings = tune(bench, asked.recall, asked.hours, asked.timing["seed"], say)
    table(settings).to_csv(asked.out / "settings.csv", index=False)
    chosen = candidates(settings, asked.recall)
    if not chosen:
        best = max(settings, key=lambda each: each.recall)
        why = f"the largest was {best.recall:.4f} ({best.words()})" if best.recall else f"{best.status}: {best.reason}"
        raise SystemExit(f"No setting has a recall of {asked.recall:g}: {why}. Give it more hours, or wider ranges in `tune`.")
    say(f"Building the fastest anew, {ROUNDS} times, beside the fastest that is listed.")
    text = report(chosen, hold_out(bench, chosen), asked.recall)
    path = asked.out / f"recall{asked.recall:g}.yaml"
    path.write_text(overlay(asked.name, asked.entry, chosen[0], f"Tuned for a recall of {asked.recall:g}."), encoding="utf-8")
    say(f"\n{text}\n\nEvery setting: {asked.out}/settings.csv. To measure it beside others:")
    say(f"snakemake --cores 1 --configfile {path} --config suite=SUITE backends='[{asked.name}-tuned, ...]'")


if __name__ == "__main__":
    main()
