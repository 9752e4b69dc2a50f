"""Find the fastest setting of a backend that reaches a recall, and write it as an overlay of the configuration."""

import argparse
import hashlib
import json
from pathlib import Path

import h5py

from knnbench.workflow.tuning import ROUNDS, Bench, candidates, hold_out, overlay, report, table, tune


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--name", required=True, help="of the backend")
    parser.add_argument("--entry", type=json.loads, required=True, help="of the configuration, JSON")
    parser.add_argument("--timing", type=json.loads, required=True, help="of a cell, JSON")
    parser.add_argument("--data", type=Path, required=True, help="dataset file")
    parser.add_argument("--n-neighbors", type=int, required=True)
    parser.add_argument("--recall", type=float, required=True)
    parser.add_argument("--hours", type=float, required=True)
    parser.add_argument("--made-of", required=True, help="what its numbers depend on besides the dataset, a text")
    parser.add_argument("--out", type=Path, required=True, help="folder of a folder for each digest of that")
    parser.add_argument("command", nargs="+", help="measure_cell.py for this backend and device")
    asked = parser.parse_args()

    def say(line):
        print(line, flush=True)

    with h5py.File(asked.data, "r") as file:
        if reason := file.attrs.get("unavailable"):
            raise SystemExit(f"{asked.data}: {reason}")
        digest = hashlib.sha256(f"{file.attrs['sha256']} {asked.made_of}".encode()).hexdigest()[:8]
    folder = asked.out / f"k{asked.n_neighbors}-{digest}"
    bench = Bench(folder, asked.entry, [*asked.command, "--data", str(asked.data)], asked.n_neighbors, asked.timing)
    settings = tune(bench, asked.recall, asked.hours, asked.timing["seed"], say)
    table(settings).to_csv(folder / "settings.csv", index=False)
    chosen = candidates(settings, asked.recall)
    if not chosen:
        best = max(settings, key=lambda each: each.recall)
        why = f"the largest was {best.recall:.4f} ({best.words()})" if best.recall else f"{best.status}: {best.reason}"
        if best.recall >= asked.recall:
            why += (
                f", by so few queries that it has a standard error of {best.margin:.2g}, and a setting counts if it has what is"
                f" asked for with that to spare; ask for {best.recall - best.margin:.4f}, or take a dataset with more queries"
            )
        raise SystemExit(f"No setting has a recall of {asked.recall:g}: {why}. Give it more hours, or wider ranges in `tune`.")
    say(f"Building the fastest anew, {ROUNDS} times, beside the fastest that is listed.")
    text = report(chosen, hold_out(bench, chosen), asked.recall)
    path = folder / f"recall{asked.recall:g}.yaml"
    path.write_text(overlay(asked.name, asked.entry, chosen[0], f"Tuned for a recall of {asked.recall:g}."), encoding="utf-8")
    say(f"\n{text}\n\nEvery setting: {folder}/settings.csv. To measure it beside others:")
    say(f"snakemake --cores 1 --configfile {path} --config suite=SUITE backends='[{asked.name}-tuned, ...]'")


if __name__ == "__main__":
    main()
